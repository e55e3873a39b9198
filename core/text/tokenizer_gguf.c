/*
 * tokenizer_gguf.c - GGUF metadata as the description that hn_tokenizer_create takes.
 *
 *     tokenizer.ggml.model       "gpt2" is byte-level BPE; others are refused by name
 *     tokenizer.ggml.pre         which pre-tokenizer (pre_names.c)
 *     tokenizer.ggml.tokens      strings, by id
 *     tokenizer.ggml.token_type  i32, as many (optional)
 *     tokenizer.ggml.merges      "left right", by rank
 *     tokenizer.ggml.{bos,eos,unknown,padding}_token_id, .add_bos_token, .add_eos_token
 *     tokenizer.chat_template    Jinja
 */
#include "text/tokenizer_gguf.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

/* What the description borrows, beside the mapping. */
struct lists {
	struct hn_text *tokens, *merges;
	int32_t *types;
};

/* "not there" is no error here. */
static enum hone_status
optional(enum hone_status st)
{
	return st == HONE_ENOTFOUND ? HONE_OK : st;
}

static enum hone_status
check_kind(const struct hn_tensor_file *gguf, const char **pre, struct hone_error *err)
{
	const char *model = NULL;
	enum hone_status st = hn_meta_string(gguf, "tokenizer.ggml.model", &model, err);

	if (st)
		return st;
	if (!hn_streq(model, "gpt2"))
		return hone_fail_at(err, HONE_EMODEL, gguf->path, 0, 0,
			"tokenizer.ggml.model is '%s'; 'gpt2', byte-level BPE, is what is "
			"supported, "
			"SentencePiece (llama), WordPiece (bert) and Unigram (t5) are not",
			model);
	st = hn_meta_string(gguf, "tokenizer.ggml.pre", pre, err);
	if (st == HONE_ENOTFOUND)
		return hone_fail_at(err, HONE_EMODEL, gguf->path, 0, 0,
			"tokenizer.ggml.pre is missing, and a guess would give wrong tokens; "
			"convert "
			"the model again with a current llama.cpp");
	return st;
}

/* An array of strings, borrowed from the mapping. */
static enum hone_status
read_texts(const struct hn_tensor_file *gguf, const char *key, struct hn_text **texts, size_t *n,
	struct hone_error *err)
{
	const struct hn_meta *array = NULL;
	enum hone_status st = hn_meta_array(gguf, key, HN_META_STRING, &array, err);
	struct hn_meta_cursor cursor;
	struct hn_meta_value value;

	if (st)
		return st;
	*texts = hn_alloc((size_t)array->n_elems * sizeof **texts + 1);
	*n = 0;
	cursor = (struct hn_meta_cursor){.array = array};
	while (*n < array->n_elems && hn_meta_next(&cursor, &value))
		(*texts)[(*n)++] = (struct hn_text){value.string, (size_t)value.string_len};
	return HONE_OK;
}

static enum hone_status
read_types(
	const struct hn_tensor_file *gguf, size_t n_tokens, int32_t **types, struct hone_error *err)
{
	static const char key[] = "tokenizer.ggml.token_type";
	const struct hn_meta *array = NULL;
	enum hone_status st = hn_meta_array(gguf, key, HN_META_I32, &array, err);
	struct hn_meta_cursor cursor;
	struct hn_meta_value value;
	size_t n = 0;

	if (st)
		return optional(st);
	if (array->n_elems != n_tokens)
		return hone_fail_at(err, HONE_EMODEL, gguf->path, 0, 0,
			"%s has %llu values for %zu tokens", key,
			(unsigned long long)array->n_elems, n_tokens);
	*types = hn_alloc(n_tokens * sizeof **types + 1);
	cursor = (struct hn_meta_cursor){.array = array};
	while (n < n_tokens && hn_meta_next(&cursor, &value))
		(*types)[n++] = (int32_t)value.as.i64;
	return HONE_OK;
}

static enum hone_status
read_id(const struct hn_tensor_file *gguf, const char *key, int32_t *id, struct hone_error *err)
{
	uint64_t value = 0;
	enum hone_status st = hn_meta_u64(gguf, key, &value, err);

	*id = -1;
	if (st)
		return optional(st);
	if (value >= INT32_MAX)
		return hone_fail_at(err, HONE_EMODEL, gguf->path, 0, 0, "%s is %llu", key,
			(unsigned long long)value);
	*id = (int32_t)value;
	return HONE_OK;
}

static enum hone_status
read_flag(const struct hn_tensor_file *gguf, const char *key, int32_t *flag, struct hone_error *err)
{
	bool value = false;
	enum hone_status st = hn_meta_bool(gguf, key, &value, err);

	*flag = st ? -1 : value;
	return optional(st);
}

static enum hone_status
read_specials(
	const struct hn_tensor_file *gguf, struct hn_tokenizer_spec *spec, struct hone_error *err)
{
	enum hone_status st = read_id(gguf, "tokenizer.ggml.bos_token_id", &spec->bos, err);

	if (!st)
		st = read_id(gguf, "tokenizer.ggml.eos_token_id", &spec->eos, err);
	if (!st)
		st = read_id(gguf, "tokenizer.ggml.unknown_token_id", &spec->unk, err);
	if (!st)
		st = read_id(gguf, "tokenizer.ggml.padding_token_id", &spec->pad, err);
	if (!st)
		st = read_flag(gguf, "tokenizer.ggml.add_bos_token", &spec->add_bos, err);
	if (!st)
		st = read_flag(gguf, "tokenizer.ggml.add_eos_token", &spec->add_eos, err);
	return st;
}

static enum hone_status
describe(const struct hn_tensor_file *gguf, struct hn_tokenizer_spec *spec, struct lists *lists,
	struct hone_error *err)
{
	const char *chat = NULL;
	enum hone_status st = check_kind(gguf, &spec->pre, err);

	if (!st)
		st = read_texts(
			gguf, "tokenizer.ggml.tokens", &lists->tokens, &spec->n_tokens, err);
	if (!st)
		st = read_texts(
			gguf, "tokenizer.ggml.merges", &lists->merges, &spec->n_merges, err);
	if (!st)
		st = read_types(gguf, spec->n_tokens, &lists->types, err);
	if (!st)
		st = read_specials(gguf, spec, err);
	if (!st)
		st = optional(hn_meta_string(gguf, "tokenizer.chat_template", &chat, err));
	spec->origin = gguf->path;
	spec->tokens = lists->tokens;
	spec->merges = lists->merges;
	spec->types = lists->types;
	spec->chat_template = (struct hn_text){chat, chat ? strlen(chat) : 0};
	return st;
}

enum hone_status
hn_tokenizer_from_gguf(
	struct hn_tokenizer **out, const struct hn_tensor_file *gguf, struct hone_error *err)
{
	struct hn_tokenizer_spec spec = {0};
	struct lists lists = {NULL, NULL, NULL};
	struct hone_error inner = {0};
	enum hone_status st = describe(gguf, &spec, &lists, &inner);

	*out = NULL;
	if (!st)
		st = hn_tokenizer_create(out, &spec, &inner);
	if (st && err)
		*err = inner;
	free(lists.tokens);
	free(lists.merges);
	free(lists.types);
	return st;
}
