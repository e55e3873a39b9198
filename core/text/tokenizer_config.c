/*
 * tokenizer_config.c - the files beside tokenizer.json: special tokens, ends, chat template.
 *
 *     tokenizer_config.json    bos_token ... pad_token: text or {"content": text};
 *                              chat_template: text or [{"name", "template"}, ...]
 *     special_tokens_map.json  the same tokens, of older repositories; second choice
 *     generation_config.json   eos_token_id: number or list, where generation stops; in
 *                              folders without it config.json says the same
 *     chat_template.jinja      wins over tokenizer_config.json
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "text/parts.h"

enum { FILE_MAX = 1 << 30, ENDS_MAX = 256 };

/* The three documents; NULL where the file is absent. */
struct sides {
	json_t *config, *map, *generation;
};

static enum hone_status
read_side(json_t **out, const struct hn_text *text, const char *origin, const char *name,
	struct hone_error *err)
{
	if (!text->len)
		return HONE_OK;
	/* model_max_length is 1e30 written as an integer, in nearly every file. */
	*out = hn_json_parse(text->bytes, text->len, JSON_DECODE_INT_AS_REAL, origin, name, err);
	return *out ? HONE_OK : HONE_EMODEL;
}

/* An error of one of the files beside tokenizer.json. */
static enum hone_status
fail_beside(
	const struct hn_tokenizer *tok, const char *name, const char *text, struct hone_error *err)
{
	char place[200];

	hn_text_beside(tok->origin, name, place, sizeof place);
	return hone_fail_at(err, HONE_EMODEL, place, 0, 0, "%s", text);
}

/* A special token is text or {"content": text}, in the first file that has it; null is none. */
static enum hone_status
set_special(const struct hn_tokenizer *tok, const struct sides *sides, const char *key,
	bool is_needed, int32_t *id, struct hone_error *err)
{
	const json_t *value = json_object_get(sides->config, key);
	const bool is_in_map = !value || json_is_null(value);
	const char *name = is_in_map ? "special_tokens_map.json" : "tokenizer_config.json";
	char text[160];

	if (is_in_map)
		value = json_object_get(sides->map, key);
	if (!value || json_is_null(value))
		return HONE_OK;
	if (json_is_object(value))
		value = json_object_get(value, "content");
	if (!json_is_string(value)) {
		(void)snprintf(text, sizeof text,
			"%s must be a text, or an object with its text as \"content\"", key);
		return fail_beside(tok, name, text, err);
	}
	*id = hn_tokenizer_find(tok, json_string_value(value), json_string_length(value));
	if (*id >= 0 || !is_needed)
		return HONE_OK;
	(void)snprintf(text, sizeof text, "%s is '%.60s', which is no token of tokenizer.json", key,
		json_string_value(value));
	return fail_beside(tok, name, text, err);
}

/* A number, or -1: ids of generation_config.json are only ever a second choice. */
static int32_t
id_of(const struct hn_tokenizer *tok, const json_t *value)
{
	const double id = json_is_number(value) ? json_number_value(value) : -1.0;

	return id >= 0.0 && id < (double)tok->vocab.n ? (int32_t)id : -1;
}

static void
set_ends(struct hn_tokenizer *tok, const json_t *generation)
{
	const json_t *value = json_object_get(generation, "eos_token_id");
	int32_t ids[ENDS_MAX];
	size_t n = 0;

	if (json_is_array(value)) {
		for (size_t i = 0; i < json_array_size(value) && n < ENDS_MAX; i++)
			ids[n++] = id_of(tok, json_array_get(value, i));
	} else {
		ids[n++] = id_of(tok, value);
	}
	if (tok->eos < 0 && n)
		tok->eos = ids[0];
	if (tok->bos < 0)
		tok->bos = id_of(tok, json_object_get(generation, "bos_token_id"));
	if (tok->pad < 0)
		tok->pad = id_of(tok, json_object_get(generation, "pad_token_id"));
	hn_tokenizer_set_ends(tok, ids, n);
}

/* The template in tokenizer_config.json; of several, the one called "default". */
static const json_t *
config_template(const json_t *config)
{
	const json_t *value = json_object_get(config, "chat_template");

	for (size_t i = 0; i < json_array_size(value); i++) {
		const json_t *item = json_array_get(value, i);
		const char *name = json_string_value(json_object_get(item, "name"));

		if (name && hn_streq(name, "default"))
			return json_object_get(item, "template");
	}
	return value;
}

static enum hone_status
set_template(struct hn_tokenizer *tok, const json_t *config, const struct hn_text *jinja,
	struct hone_error *err)
{
	const json_t *value = config_template(config);
	struct hn_text text = *jinja;
	char place[200];

	if (hn_utf8_check(jinja->bytes, jinja->len) != jinja->len)
		return fail_beside(tok, "chat_template.jinja", "is not valid UTF-8", err);
	if (value && !json_is_null(value) && !json_is_string(value) && !json_is_array(value))
		return fail_beside(tok, "tokenizer_config.json",
			"chat_template must be a text, or a list of objects with \"name\" and "
			"\"template\"",
			err);
	hn_text_beside(tok->origin, text.len ? "chat_template.jinja" : "tokenizer_config.json",
		place, sizeof place);
	tok->template_file = hn_strdup(place);
	if (!text.len && json_is_string(value))
		text = (struct hn_text){json_string_value(value), json_string_length(value)};
	tok->chat_template = hn_alloc(text.len + 1);
	if (text.len)
		memcpy(tok->chat_template, text.bytes, text.len);
	tok->chat_template[text.len] = '\0';
	tok->chat_template_len = text.len;
	return HONE_OK;
}

enum hone_status
hn_tokenizer_read_config(
	struct hn_tokenizer *tok, const struct hn_tokenizer_files *files, struct hone_error *err)
{
	struct sides sides = {NULL, NULL, NULL};
	enum hone_status st;

	st = read_side(
		&sides.config, &files->tokenizer_config, tok->origin, "tokenizer_config.json", err);
	if (!st)
		st = read_side(&sides.map, &files->special_tokens_map, tok->origin,
			"special_tokens_map.json", err);
	if (!st)
		st = read_side(&sides.generation, &files->generation_config, tok->origin,
			"generation_config.json", err);
	if (!st)
		st = set_special(tok, &sides, "bos_token", true, &tok->bos, err);
	if (!st)
		st = set_special(tok, &sides, "eos_token", true, &tok->eos, err);
	if (!st)
		st = set_special(tok, &sides, "unk_token", false, &tok->unk, err);
	if (!st)
		st = set_special(tok, &sides, "pad_token", false, &tok->pad, err);
	if (!st)
		st = set_template(tok, sides.config, &files->chat_template, err);
	if (!st)
		set_ends(tok, sides.generation);
	json_decref(sides.config);
	json_decref(sides.map);
	json_decref(sides.generation);
	return st;
}

/* --- from a folder --------------------------------------------------------------------------- */

/* Reads a file of the folder; one that is not there is empty unless it is needed. */
static enum hone_status
slurp(const char *folder, const char *name, bool is_needed, struct hn_text *text,
	struct hone_error *err)
{
	char *path = hn_path_join(folder, name), *bytes = NULL;
	enum hone_status st = HONE_OK;

	st = hn_path_check_regular(path, HONE_EMODEL, err);
	if (!st && (is_needed || hn_path_is_file(path)))
		st = hn_file_read(path, FILE_MAX, HONE_EMODEL, &bytes, &text->len, err);
	text->bytes = bytes;
	free(path);
	return st;
}

/* No tokenizer.json: names what lies there instead, which is never read. */
static enum hone_status
check_there(const char *folder, const char *path, struct hone_error *err)
{
	static const char *const others[] = {
		"tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tokenizer.tiktoken"};

	if (hn_path_is_file(path))
		return HONE_OK;
	if (hn_path_check_regular(path, HONE_EMODEL, err))
		return HONE_EMODEL;
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		char *other = hn_path_join(folder, others[i]);
		const bool is_there = hn_path_is_file(other);

		free(other);
		if (is_there)
			return hone_fail_at(err, HONE_EMODEL, folder, 0, 0,
				"there is a %s in it, which is not read, and no tokenizer.json; "
				"make one with AutoTokenizer's save_pretrained",
				others[i]);
	}
	return hone_fail_at(err, HONE_EMODEL, folder, 0, 0,
		"there is no tokenizer.json in it; get it from where the model comes from");
}

enum hone_status
hn_tokenizer_load(struct hn_tokenizer **out, const char *folder, struct hone_error *err)
{
	struct hn_tokenizer_files files = {0};
	char *origin = hn_path_join(folder, "tokenizer.json");
	enum hone_status st = check_there(folder, origin, err);

	*out = NULL;
	files.origin = origin;
	if (!st)
		st = slurp(folder, "tokenizer.json", true, &files.tokenizer_json, err);
	if (!st)
		st = slurp(folder, "tokenizer_config.json", false, &files.tokenizer_config, err);
	if (!st)
		st = slurp(
			folder, "special_tokens_map.json", false, &files.special_tokens_map, err);
	if (!st)
		st = slurp(folder, "generation_config.json", false, &files.generation_config, err);
	if (!st && !files.generation_config.len) /* older folders: transformers does the same */
		st = slurp(folder, "config.json", false, &files.generation_config, err);
	if (!st)
		st = slurp(folder, "chat_template.jinja", false, &files.chat_template, err);
	if (!st)
		st = hn_tokenizer_parse(out, &files, err);
	free((void *)(uintptr_t)files.tokenizer_json.bytes);
	free((void *)(uintptr_t)files.tokenizer_config.bytes);
	free((void *)(uintptr_t)files.special_tokens_map.bytes);
	free((void *)(uintptr_t)files.generation_config.bytes);
	free((void *)(uintptr_t)files.chat_template.bytes);
	free(origin);
	return st;
}
