/*
 * tokenizer_json.c - a tokenizer from Hugging Face's tokenizer.json.
 *
 *     {"version", "truncation", "padding", "added_tokens": [], "normalizer", "pre_tokenizer",
 *      "post_processor", "decoder", "model": {"type": "BPE", "vocab", "merges", ...}}
 *
 * truncation and padding are settings of somebody's last call and are not followed.  A part of
 * a kind that is not supported is an error that names it: leaving it out would give other ids.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "text/parts.h"

enum { DEPTH_MAX = 8, HOLES_MAX = 65536 };

void
hn_text_beside(const char *origin, const char *name, char *out, size_t n)
{
	const char *slash = strrchr(origin, '/');
	const int dir = slash ? (int)(slash + 1 - origin) : 0;

	(void)snprintf(out, n, "%.*s%s", dir < (int)n ? dir : 0, origin, name);
}

json_t *
hn_json_parse(const char *text, size_t len, size_t flags, const char *origin, const char *name,
	struct hone_error *err)
{
	json_error_t why;
	json_t *json = json_loadb(text, len, flags | JSON_REJECT_DUPLICATES, &why);
	char place[200];

	if (json_is_object(json))
		return json;
	(void)snprintf(place, sizeof place, "%.199s", origin);
	if (*name)
		hn_text_beside(origin, name, place, sizeof place);
	if (json)
		(void)hone_fail_at(err, HONE_EMODEL, place, 1, 1, "a JSON object is expected");
	else
		(void)hone_fail_at(err, HONE_EMODEL, place, why.line, why.column, "%s", why.text);
	json_decref(json);
	return NULL;
}

/* The place of an error in a part of the file is the path from that part on. */
void
hn_json_path(struct hone_error *err, const char *list, size_t i)
{
	char rest[sizeof err->place];

	if (!err)
		return;
	memcpy(rest, err->place, sizeof rest);
	(void)snprintf(err->place, sizeof err->place, ".%s[%zu]%.150s", list, i, rest);
}

static bool
is_set(const json_t *value)
{
	return value && !json_is_null(value) &&
		!(json_is_string(value) && json_string_length(value) == 0) &&
		!json_is_false(value) &&
		!(json_is_number(value) && json_number_value(value) == 0.0);
}

/* --- model ---------------------------------------------------------------------------------- */

static enum hone_status
check_model(const json_t *json, struct hone_error *err)
{
	static const char *const refused[] = {
		"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
	const json_t *type = json_object_get(json, "type");

	if (!json_is_object(json))
		return hone_fail(
			err, HONE_EMODEL, "there is no 'model'; is this a tokenizer.json?");
	if (type && !hn_streq(json_is_string(type) ? json_string_value(type) : "", "BPE"))
		return hone_fail(err, HONE_EMODEL,
			"model.type is '%s'; byte-level BPE is what is supported, WordPiece, "
			"Unigram and "
			"SentencePiece models are not",
			json_is_string(type) ? json_string_value(type) : "?");
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		if (is_set(json_object_get(json, refused[i])))
			return hone_fail(err, HONE_EMODEL,
				"model.%s is set, which is not supported", refused[i]);
	return HONE_OK;
}

/* The flags of the model, when vocabulary and merges are there. */
static enum hone_status
set_model(struct hn_tokenizer *tok, const json_t *json, struct hone_error *err)
{
	const json_t *unk = json_object_get(json, "unk_token");

	tok->bpe.ignore_merges = json_is_true(json_object_get(json, "ignore_merges"));
	tok->bpe.fuse_unk = json_is_true(json_object_get(json, "fuse_unk"));
	if (json_is_string(unk)) {
		tok->bpe.unk = tok->unk =
			hn_vocab_find(&tok->vocab, json_string_value(unk), json_string_length(unk));
		if (tok->unk < 0)
			return hone_fail(err, HONE_EMODEL,
				"model.unk_token '%s' is not in the vocabulary",
				json_string_value(unk));
	}
	for (int b = 0; b < 256 && is_set(json_object_get(json, "byte_fallback")); b++)
		if (tok->bpe.byte_id[b] < 0)
			return hone_fail(err, HONE_EMODEL,
				"model.byte_fallback is set and byte 0x%02X has no token; not "
				"supported",
				b);
	return HONE_OK;
}

/* --- added tokens --------------------------------------------------------------------------- */

static enum hone_status
read_added(struct hn_tokenizer *tok, const json_t *list, struct hone_error *err)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *json = json_array_get(list, i);
		const json_t *id = json_object_get(json, "id");
		const json_t *content = json_object_get(json, "content");
		const bool fits = json_is_integer(id) && json_integer_value(id) >= 0 &&
			json_integer_value(id) < INT32_MAX / 4;
		const struct hn_added added = {
			.content = (char *)(uintptr_t)json_string_value(content),
			.content_len = json_string_length(content),
			.id = fits ? (int32_t)json_integer_value(id) : -1,
			.special = json_is_true(json_object_get(json, "special")),
			.normalized = json_is_true(json_object_get(json, "normalized")),
			.single_word = json_is_true(json_object_get(json, "single_word")),
			.lstrip = json_is_true(json_object_get(json, "lstrip")),
			.rstrip = json_is_true(json_object_get(json, "rstrip")),
		};

		if (!fits || !added.content_len)
			return hone_fail(err, HONE_EMODEL,
				"added_tokens[%zu] needs an 'id' of 0 or more and a 'content'", i);
		hn_addeds_push(&tok->addeds, &added);
	}
	return HONE_OK;
}

/* --- vocabulary: by id, with the added tokens ----------------------------------------------- */

struct by_id {
	struct hn_text *tokens;
	bool *in_model;
	size_t n;
};

static enum hone_status
size_by_id(const struct hn_tokenizer *tok, const struct hn_json_model *model, struct by_id *by_id,
	struct hone_error *err)
{
	const size_t have = model->n_tokens + tok->addeds.n;
	int32_t last = -1;

	for (size_t i = 0; i < model->n_tokens; i++)
		last = model->ids[i] > last ? model->ids[i] : last;
	for (size_t i = 0; i < tok->addeds.n; i++)
		last = tok->addeds.at[i].id > last ? tok->addeds.at[i].id : last;
	if (!model->n_tokens || (size_t)last >= have + HOLES_MAX)
		return hone_fail(
			err, HONE_EMODEL, "ids go up to %d, but there are %zu tokens", last, have);
	by_id->n = (size_t)last + 1;
	by_id->tokens = hn_alloc(by_id->n * sizeof *by_id->tokens);
	by_id->in_model = hn_alloc(by_id->n);
	memset(by_id->tokens, 0, by_id->n * sizeof *by_id->tokens);
	memset(by_id->in_model, 0, by_id->n);
	return HONE_OK;
}

static enum hone_status
place_tokens(const struct hn_tokenizer *tok, const struct hn_json_model *model, struct by_id *by_id,
	struct hone_error *err)
{
	for (size_t i = 0; i < model->n_tokens; i++) {
		struct hn_text *token = &by_id->tokens[model->ids[i]];

		if (token->len)
			return hone_fail(err, HONE_EMODEL,
				"id %d has two tokens, '%.*s' and '%.*s'", model->ids[i],
				(int)(token->len < 40 ? token->len : 40), token->bytes,
				(int)(model->tokens[i].len < 40 ? model->tokens[i].len : 40),
				model->tokens[i].bytes);
		*token = model->tokens[i];
		by_id->in_model[model->ids[i]] = true;
	}
	for (size_t i = 0; i < tok->addeds.n; i++) {
		const struct hn_added *added = &tok->addeds.at[i];
		struct hn_text *token = &by_id->tokens[added->id];

		if (token->len &&
			(token->len != added->content_len ||
				memcmp(token->bytes, added->content, token->len) != 0))
			return hone_fail(err, HONE_EMODEL,
				"added token '%.60s' has the id %d, which is the token '%.*s'",
				added->content, added->id, (int)(token->len < 40 ? token->len : 40),
				token->bytes);
		*token = (struct hn_text){added->content, added->content_len};
	}
	return HONE_OK;
}

/* An added token that the model knows under another id would have two ids. */
static enum hone_status
check_added(const struct hn_tokenizer *tok, struct hone_error *err)
{
	for (size_t i = 0; i < tok->addeds.n; i++) {
		const struct hn_added *added = &tok->addeds.at[i];
		const int32_t id = hn_vocab_find(&tok->vocab, added->content, added->content_len);

		if (id >= 0 && id != added->id)
			return hone_fail(err, HONE_EMODEL,
				"added token '%.60s' has the id %d, in the vocabulary it is %d",
				added->content, added->id, id);
	}
	return HONE_OK;
}

static enum hone_status
build(struct hn_tokenizer *tok, const struct hn_json_model *model, struct hone_error *err)
{
	struct by_id by_id = {0};
	enum hone_status st = size_by_id(tok, model, &by_id, err);

	if (!st)
		st = place_tokens(tok, model, &by_id, err);
	if (!st)
		st = hn_tokenizer_build(tok,
			&(struct hn_tokenizer_build){
				.tokens = by_id.tokens,
				.in_model = by_id.in_model,
				.n_tokens = by_id.n,
				.merges = model->merges,
				.n_merges = model->n_merges,
			},
			err);
	free(by_id.tokens);
	free(by_id.in_model);
	return st ? st : check_added(tok, err);
}

/* --- what is put around a text --------------------------------------------------------------- */

/* Sets the ids of one side; a second processor that sets them is refused, as Hugging Face's
 * library cannot run two either. */
static enum hone_status
set_around(struct hn_tokenizer *tok, bool in_front, const int32_t *ids, size_t n,
	struct hone_error *err)
{
	int32_t **list = in_front ? &tok->before : &tok->after;
	size_t *count = in_front ? &tok->n_before : &tok->n_after;

	if (*list)
		return hone_fail(
			err, HONE_EMODEL, "post_processor: more than one part adds special tokens");
	for (size_t i = 0; i < n; i++)
		if (!hn_vocab_text(&tok->vocab, ids[i]).len)
			return hone_fail(err, HONE_EMODEL,
				"post_processor puts id %d, which is no token", ids[i]);
	*list = hn_alloc((n + 1) * sizeof **list);
	if (n)
		memcpy(*list, ids, n * sizeof *ids);
	*count = n;
	return HONE_OK;
}

/* The ids of {"SpecialToken": {"id": name}}, looked up in special_tokens. */
static enum hone_status
template_ids(const json_t *json, const char *name, int32_t *ids, size_t max, size_t *n,
	struct hone_error *err)
{
	const json_t *special = json_object_get(json_object_get(json, "special_tokens"), name);
	const json_t *list = json_object_get(special, "ids");

	if (!json_array_size(list) || json_array_size(list) > max - *n)
		return hone_fail(err, HONE_EMODEL,
			"post_processor names the special token '%s' and gives no ids for it",
			name);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_int_t id = json_integer_value(json_array_get(list, i));

		if (!json_is_integer(json_array_get(list, i)) || id < 0 || id > INT32_MAX)
			return hone_fail(err, HONE_EMODEL, "post_processor: bad id for '%s'", name);
		ids[(*n)++] = (int32_t)id;
	}
	return HONE_OK;
}

static enum hone_status
read_template(struct hn_tokenizer *tok, const json_t *json, struct hone_error *err)
{
	int32_t ids[2][64];
	size_t n[2] = {0, 0};
	int side = 0;
	const json_t *single = json_object_get(json, "single");
	enum hone_status st;

	for (size_t i = 0; i < json_array_size(single); i++) {
		const json_t *item = json_array_get(single, i);
		const char *name = json_string_value(
			json_object_get(json_object_get(item, "SpecialToken"), "id"));

		if (name) {
			st = template_ids(json, name, ids[side], 64, &n[side], err);
			if (st)
				return st;
		} else if (json_object_get(item, "Sequence") && side == 0) {
			side = 1;
		} else {
			return hone_fail(err, HONE_EMODEL,
				"post_processor: 'single' must have one Sequence and "
				"SpecialTokens");
		}
	}
	if (side == 0)
		return hone_fail(err, HONE_EMODEL, "post_processor: 'single' has no Sequence");
	st = set_around(tok, true, ids[0], n[0], err);
	return st ? st : set_around(tok, false, ids[1], n[1], err);
}

static enum hone_status
read_roberta(struct hn_tokenizer *tok, const json_t *json, struct hone_error *err)
{
	static const char *const keys[] = {"cls", "sep"};

	for (int side = 0; side < 2; side++) {
		const json_t *pair = json_object_get(json, keys[side]);
		const json_t *value = json_array_get(pair, 1);
		enum hone_status st;

		if (!json_is_integer(value) || json_integer_value(value) < 0 ||
			json_integer_value(value) > INT32_MAX)
			return hone_fail(err, HONE_EMODEL,
				"post_processor: '%s' must be [token, id]", keys[side]);
		const int32_t id = (int32_t)json_integer_value(value);
		st = set_around(tok, side == 0, &id, 1, err);
		if (st)
			return st;
	}
	return HONE_OK;
}

static enum hone_status
read_post(struct hn_tokenizer *tok, const json_t *json, int depth, struct hone_error *err)
{
	const char *type = json_string_value(json_object_get(json, "type"));
	const json_t *list = json_object_get(json, "processors");
	enum hone_status st = HONE_OK;

	if (!json || json_is_null(json))
		return HONE_OK;
	if (!type || depth > DEPTH_MAX)
		return hone_fail(err, HONE_EMODEL, "post_processor: %s",
			type ? "nested too deep" : "a step without a type");
	if (hn_streq(type, "ByteLevel")) /* trims offsets, which stay exact here */
		return HONE_OK;
	if (hn_streq(type, "TemplateProcessing"))
		return read_template(tok, json, err);
	if (hn_streq(type, "RobertaProcessing"))
		return read_roberta(tok, json, err);
	if (!hn_streq(type, "Sequence"))
		return hone_fail(err, HONE_EMODEL,
			"post_processor '%s' is not supported; there are ByteLevel, "
			"TemplateProcessing, "
			"RobertaProcessing and Sequence",
			type);
	for (size_t i = 0; i < json_array_size(list) && !st; i++) {
		st = read_post(tok, json_array_get(list, i), depth + 1, err);
		if (st)
			hn_json_path(err, "processors", i);
	}
	return st;
}

/* Decoding is that of ByteLevel; a file that wants another is refused. */
static enum hone_status
check_decoder(const json_t *json, struct hone_error *err)
{
	const char *type = json_string_value(json_object_get(json, "type"));
	const json_t *list = json_object_get(json, "decoders");

	if (!json || json_is_null(json) || hn_streq(type ? type : "", "ByteLevel"))
		return HONE_OK;
	if (hn_streq(type ? type : "", "Sequence") && json_array_size(list) == 1)
		type = json_string_value(json_object_get(json_array_get(list, 0), "type"));
	if (hn_streq(type ? type : "", "ByteLevel"))
		return HONE_OK;
	return hone_fail(
		err, HONE_EMODEL, "decoder '%s' is not supported; ByteLevel is", type ? type : "?");
}

/* --- the whole file -------------------------------------------------------------------------- */

static char *
canonical(const json_t *json)
{
	char *text =
		json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;

	return text ? text : hn_strdup("null");
}

/* Puts the name of a part before the path in it. */
static enum hone_status
in_part(const char *part, enum hone_status st, struct hone_error *err)
{
	char path[sizeof err->place];

	if (!st)
		return st;
	memcpy(path, err->place, sizeof path);
	(void)snprintf(err->place, sizeof err->place, "%s%.200s", part, path);
	return st;
}

static enum hone_status
fill(struct hn_tokenizer *tok, const json_t *json, const struct hn_json_model *model,
	struct hone_error *err)
{
	const json_t *bpe = json_object_get(json, "model");
	enum hone_status st = check_model(bpe, err);

	if (!st)
		st = in_part("normalizer",
			hn_norms_parse(&tok->norms, json_object_get(json, "normalizer"), err), err);
	if (!st)
		st = in_part("pre_tokenizer",
			hn_pres_parse(&tok->pres, json_object_get(json, "pre_tokenizer"), err),
			err);
	if (!st)
		st = check_decoder(json_object_get(json, "decoder"), err);
	if (!st && (!model->has_vocab || !model->has_merges))
		return hone_fail(err, HONE_EMODEL, "model.%s is missing",
			model->has_vocab ? "merges" : "vocab");
	if (!st)
		st = read_added(tok, json_object_get(json, "added_tokens"), err);
	if (!st)
		st = build(tok, model, err);
	if (!st)
		st = set_model(tok, bpe, err);
	if (!st)
		st = in_part("post_processor",
			read_post(tok, json_object_get(json, "post_processor"), 0, err), err);
	tok->norms_json = canonical(json_object_get(json, "normalizer"));
	tok->pres_json = canonical(json_object_get(json, "pre_tokenizer"));
	return st;
}

static char *
copy_text(const struct hn_text *text, size_t *len)
{
	char *copy = hn_alloc(text->len + 1);

	if (text->len)
		memcpy(copy, text->bytes, text->len);
	copy[text->len] = '\0';
	*len = text->len;
	return copy;
}

static enum hone_status
parse(struct hn_tokenizer *tok, const struct hn_tokenizer_files *files, struct hone_error *err)
{
	const struct hn_text *text = &files->tokenizer_json;
	struct hn_json_model model = {0};
	struct hone_error inner = {0};
	enum hone_status st;
	json_t *json = NULL;

	if (hn_utf8_check(text->bytes, text->len) != text->len)
		return hn_json_fail(err, tok->origin, text->bytes,
			hn_utf8_check(text->bytes, text->len), "not valid UTF-8");
	if (text->len > 40 && !memcmp(text->bytes, "version https://git-lfs", 23))
		return hone_fail_at(err, HONE_EMODEL, tok->origin, 1, 1,
			"this is a Git LFS pointer, not the file; run git lfs pull");
	st = hn_json_model_cut(&model, tok->origin, text->bytes, text->len, err);
	if (!st) {
		json = hn_json_parse(model.rest.text, model.rest.len, 0, tok->origin, "", err);
		st = json ? fill(tok, json, &model, &inner) : HONE_EMODEL;
		if (json && st)
			(void)hone_fail_at(err, st, tok->origin, 0, 0, "%s%s%s%s", inner.text,
				inner.place[0] ? " (at " : "", inner.place,
				inner.place[0] ? ")" : "");
	}
	json_decref(json);
	hn_json_model_fini(&model);
	if (st)
		return st;
	tok->source = copy_text(text, &tok->source_len);
	tok->config_source = copy_text(&files->tokenizer_config, &tok->config_source_len);
	return hn_tokenizer_read_config(tok, files, err);
}

enum hone_status
hn_tokenizer_parse(
	struct hn_tokenizer **out, const struct hn_tokenizer_files *files, struct hone_error *err)
{
	enum hone_status st;

	*out = hn_tokenizer_alloc(files->origin);
	st = parse(*out, files, err);
	if (st) {
		hn_tokenizer_destroy(*out);
		*out = NULL;
	}
	return st;
}
