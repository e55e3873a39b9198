/*
 * tokenizer.c - a tokenizer's parts put together, asked and turned back into text.
 *
 * Made from GGUF metadata here; tokenizer_json.c makes one from a Hugging Face folder; both end
 * in hn_tokenizer_build.  Encoding is encode.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "text/parts.h"

struct hn_tokenizer *
hn_tokenizer_alloc(const char *origin)
{
	struct hn_tokenizer *tok = hn_alloc(sizeof *tok);

	*tok = (struct hn_tokenizer){.bos = -1, .eos = -1, .unk = -1, .pad = -1};
	tok->bpe.unk = -1;
	tok->origin = hn_strdup(origin ? origin : "tokenizer");
	return tok;
}

void
hn_tokenizer_destroy(struct hn_tokenizer *tok)
{
	if (!tok)
		return;
	hn_vocab_fini(&tok->vocab);
	hn_bpe_fini(&tok->bpe);
	hn_addeds_fini(&tok->addeds);
	hn_norms_fini(&tok->norms);
	hn_pres_fini(&tok->pres);
	free(tok->origin);
	free(tok->is_special);
	free(tok->is_added);
	free(tok->norms_json);
	free(tok->pres_json);
	free(tok->before);
	free(tok->after);
	free(tok->ends);
	free(tok->chat_template);
	free(tok->template_file);
	free(tok->source);
	free(tok->config_source);
	free(tok);
}

/* Vocabulary, merges and added tokens; normalizer and added tokens' contents are there. */
enum hone_status
hn_tokenizer_build(
	struct hn_tokenizer *tok, const struct hn_tokenizer_build *build, struct hone_error *err)
{
	enum hone_status st;

	st = hn_vocab_init(&tok->vocab, build->tokens, build->n_tokens, build->in_model, err);
	if (!st)
		st = hn_bpe_init(&tok->bpe, &tok->vocab, build->merges, build->n_merges,
			build->first_merge_wins, err);
	if (st)
		return st;
	tok->is_special = hn_alloc(build->n_tokens);
	tok->is_added = hn_alloc(build->n_tokens);
	memset(tok->is_special, 0, build->n_tokens);
	memset(tok->is_added, 0, build->n_tokens);
	for (size_t i = 0; i < tok->addeds.n; i++) {
		const struct hn_added *added = &tok->addeds.at[i];

		tok->is_special[added->id] = added->special;
		tok->is_added[added->id] = true;
	}
	return hn_addeds_finish(&tok->addeds, &tok->norms, err);
}

void
hn_tokenizer_set_ends(struct hn_tokenizer *tok, const int32_t *ids, size_t n)
{
	free(tok->ends);
	tok->ends = hn_alloc((n + 1) * sizeof *tok->ends);
	tok->n_ends = 0;
	for (size_t i = 0; i <= n; i++) {
		const int32_t id = i < n ? ids[i] : tok->eos;
		size_t at = 0;

		while (at < tok->n_ends && tok->ends[at] < id)
			at++;
		if (id < 0 || (at < tok->n_ends && tok->ends[at] == id))
			continue;
		memmove(&tok->ends[at + 1], &tok->ends[at], (tok->n_ends - at) * sizeof *tok->ends);
		tok->ends[at] = id;
		tok->n_ends++;
	}
}

/* --- from GGUF metadata --------------------------------------------------------------------- */

static enum hone_status
check_spec(const struct hn_tokenizer_spec *spec, struct hone_error *err)
{
	const int32_t ids[] = {spec->bos, spec->eos, spec->unk, spec->pad};
	static const char *const names[] = {"bos", "eos", "unknown", "padding"};

	if (!spec->n_tokens || spec->n_tokens > INT32_MAX / 4)
		return hone_fail(err, HONE_EMODEL, "a vocabulary of %zu tokens", spec->n_tokens);
	for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
		if (ids[i] < -1 || ids[i] >= (int64_t)spec->n_tokens)
			return hone_fail(err, HONE_EMODEL,
				"tokenizer.ggml.%s_token_id is %d; there are %zu tokens", names[i],
				ids[i], spec->n_tokens);
	for (size_t i = 0; i < spec->n_tokens; i++) {
		if (spec->types && (spec->types[i] < 1 || spec->types[i] > 6))
			return hone_fail(err, HONE_EMODEL,
				"token %zu has the type %d; 1 to 6 are known", i, spec->types[i]);
		if (hn_utf8_check(spec->tokens[i].bytes, spec->tokens[i].len) !=
			spec->tokens[i].len)
			return hone_fail(err, HONE_EMODEL, "token %zu is not valid UTF-8", i);
	}
	return HONE_OK;
}

/* Which tokens are cut out of text, by their types. */
static void
add_spec_tokens(struct hn_tokenizer *tok, const struct hn_tokenizer_spec *spec)
{
	for (size_t i = 0; spec->types && i < spec->n_tokens; i++) {
		const int32_t type = spec->types[i];
		const struct hn_added added = {
			.content = (char *)(uintptr_t)spec->tokens[i].bytes,
			.content_len = spec->tokens[i].len,
			.id = (int32_t)i,
			.special = type != HN_TOKEN_USER_DEFINED,
		};

		if (added.content_len &&
			(type == HN_TOKEN_CONTROL || type == HN_TOKEN_UNKNOWN ||
				type == HN_TOKEN_USER_DEFINED))
			hn_addeds_push(&tok->addeds, &added);
	}
}

/* The pre-tokenizer that the file names; the vocabulary is there. */
static enum hone_status
set_pre(struct hn_tokenizer *tok, const struct hn_pre_name *pre, struct hone_error *err)
{
	struct hn_str text = {0};
	json_error_t why;
	json_t *json;
	enum hone_status st;

	hn_pre_name_json(pre, tok->bpe.byte_id, &text);
	json = json_loadb(text.text, text.len, JSON_REJECT_DUPLICATES, &why);
	hn_str_fini(&text);
	if (!json)
		return hone_fail(err, HONE_EBUG, "the pre-tokenizer '%s': %s", pre->name, why.text);
	st = hn_pres_parse(&tok->pres, json, err);
	tok->pres_json = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
	tok->norms_json = hn_strdup("null");
	json_decref(json);
	return st;
}

static void
put_around(struct hn_tokenizer *tok, const struct hn_tokenizer_spec *spec,
	const struct hn_pre_name *pre)
{
	const bool add_bos = spec->add_bos < 0 ? pre->add_bos : spec->add_bos > 0;

	tok->before = hn_alloc(sizeof *tok->before);
	tok->after = hn_alloc(sizeof *tok->after);
	if (add_bos && spec->bos >= 0)
		tok->before[tok->n_before++] = spec->bos;
	if (spec->add_eos > 0 && spec->eos >= 0)
		tok->after[tok->n_after++] = spec->eos;
}

static enum hone_status
fill_from_spec(
	struct hn_tokenizer *tok, const struct hn_tokenizer_spec *spec, struct hone_error *err)
{
	const struct hn_pre_name *pre = hn_pre_name_find(spec->pre ? spec->pre : "");
	const struct hn_tokenizer_build build = {
		.tokens = spec->tokens,
		.n_tokens = spec->n_tokens,
		.merges = spec->merges,
		.n_merges = spec->n_merges,
		.first_merge_wins = true,
	};
	enum hone_status st;

	if (!pre)
		return hone_fail(err, HONE_EMODEL,
			"tokenizer.ggml.pre is '%s', which is not known; a guess would give wrong "
			"tokens, "
			"so train from the model's Hugging Face folder instead",
			spec->pre ? spec->pre : "");
	st = check_spec(spec, err);
	if (st)
		return st;
	add_spec_tokens(tok, spec);
	st = hn_tokenizer_build(tok, &build, err);
	if (!st)
		st = set_pre(tok, pre, err);
	if (st)
		return st;
	tok->bpe.ignore_merges = pre->ignore_merges;
	tok->bpe.drop_keeps_place = true;
	put_around(tok, spec, pre);
	tok->bos = spec->bos;
	tok->eos = spec->eos;
	tok->unk = spec->unk;
	tok->pad = spec->pad;
	tok->chat_template_len = spec->chat_template.len;
	tok->chat_template = hn_alloc(spec->chat_template.len + 1);
	if (spec->chat_template.len)
		memcpy(tok->chat_template, spec->chat_template.bytes, spec->chat_template.len);
	tok->chat_template[spec->chat_template.len] = '\0';
	tok->template_file = hn_strdup(tok->origin);
	hn_tokenizer_set_ends(tok, NULL, 0);
	return HONE_OK;
}

enum hone_status
hn_tokenizer_create(
	struct hn_tokenizer **out, const struct hn_tokenizer_spec *spec, struct hone_error *err)
{
	struct hone_error inner = {0};
	enum hone_status st;

	*out = hn_tokenizer_alloc(spec->origin);
	st = fill_from_spec(*out, spec, &inner);
	if (!st)
		return HONE_OK;
	hn_tokenizer_destroy(*out);
	*out = NULL;
	return hone_fail_at(
		err, st, spec->origin ? spec->origin : "tokenizer", 0, 0, "%s", inner.text);
}

/* --- questions ------------------------------------------------------------------------------ */

int32_t
hn_tokenizer_vocab_size(const struct hn_tokenizer *tok)
{
	return tok->vocab.n;
}

int32_t
hn_tokenizer_find(const struct hn_tokenizer *tok, const char *token, size_t len)
{
	for (size_t i = 0; i < tok->addeds.n; i++)
		if (tok->addeds.at[i].content_len == len &&
			!memcmp(tok->addeds.at[i].content, token, len))
			return tok->addeds.at[i].id;
	return hn_vocab_find(&tok->vocab, token, len);
}

struct hn_text
hn_tokenizer_token(const struct hn_tokenizer *tok, int32_t id)
{
	return hn_vocab_text(&tok->vocab, id);
}

bool
hn_tokenizer_is_special(const struct hn_tokenizer *tok, int32_t id)
{
	return id >= 0 && id < tok->vocab.n && tok->is_special[id];
}

int32_t
hn_tokenizer_bos(const struct hn_tokenizer *tok)
{
	return tok->bos;
}

int32_t
hn_tokenizer_eos(const struct hn_tokenizer *tok)
{
	return tok->eos;
}

int32_t
hn_tokenizer_pad(const struct hn_tokenizer *tok)
{
	return tok->pad;
}

int32_t
hn_tokenizer_unk(const struct hn_tokenizer *tok)
{
	return tok->unk;
}

const int32_t *
hn_tokenizer_ends(const struct hn_tokenizer *tok, size_t *n)
{
	*n = tok->n_ends;
	return tok->ends;
}

bool
hn_tokenizer_adds_bos(const struct hn_tokenizer *tok)
{
	return tok->n_before > 0;
}

bool
hn_tokenizer_adds_eos(const struct hn_tokenizer *tok)
{
	return tok->n_after > 0;
}

struct hn_text
hn_tokenizer_chat_template(const struct hn_tokenizer *tok)
{
	return (struct hn_text){tok->chat_template, tok->chat_template_len};
}

const char *
hn_tokenizer_template_file(const struct hn_tokenizer *tok)
{
	return tok->template_file ? tok->template_file : tok->origin;
}

/* A spelling that is not all in the alphabet stands for itself, as do added tokens. */
enum hone_status
hn_tokenizer_decode(const struct hn_tokenizer *tok, const int32_t *ids, size_t n, bool skip_special,
	struct hn_str *out, struct hone_error *err)
{
	hn_str_add(out, "", 0);
	for (size_t i = 0; i < n; i++) {
		const struct hn_text text = hn_vocab_text(&tok->vocab, ids[i]);

		if (!text.len)
			return hone_fail(err, HONE_EINVAL,
				"id %d at %zu is not a token; the vocabulary has %d", ids[i], i,
				tok->vocab.n);
		if (skip_special && tok->is_special[ids[i]])
			continue;
		if (tok->is_added[ids[i]] || !hn_alphabet_read(out, text.bytes, text.len))
			hn_str_add(out, text.bytes, text.len);
	}
	return HONE_OK;
}
