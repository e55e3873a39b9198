/*
 * vocabulary.c - from tokenizer.ggml.* in GGUF metadata to a tokenizer.
 */
#include <stdlib.h>
#include <string.h>

#include "data/vocabulary.h"

/* An array of strings as borrowed texts; NULL when the key is absent. */
static struct hn_text *
read_texts(const struct hn_tensor_file *file, const char *key, size_t *n)
{
	const struct hn_meta *array = NULL;
	struct hn_meta_cursor cursor = {0};
	struct hn_meta_value value;
	struct hn_text *texts;

	*n = 0;
	if (hn_meta_array(file, key, HN_META_STRING, &array, NULL))
		return NULL;
	cursor.array = array;
	texts = hn_alloc((array->n_elems + 1) * sizeof *texts);
	while (hn_meta_next(&cursor, &value))
		texts[(*n)++] = (struct hn_text){value.string, value.string_len};
	return texts;
}

static int32_t *
read_types(const struct hn_tensor_file *file, size_t n_tokens)
{
	const struct hn_meta *array = NULL;
	struct hn_meta_cursor cursor = {0};
	struct hn_meta_value value;
	int32_t *types;
	size_t n = 0;

	if (hn_meta_array(file, "tokenizer.ggml.token_type", -1, &array, NULL) ||
		array->n_elems != n_tokens)
		return NULL;
	cursor.array = array;
	types = hn_alloc((n_tokens + 1) * sizeof *types);
	while (n < n_tokens && hn_meta_next(&cursor, &value))
		types[n++] = (int32_t)value.as.i64;
	return types;
}

static int32_t
read_id(const struct hn_tensor_file *file, const char *key)
{
	int64_t id = -1;

	return hn_meta_i64(file, key, &id, NULL) || id < 0 || id > INT32_MAX ? -1 : (int32_t)id;
}

static int32_t
read_flag(const struct hn_tensor_file *file, const char *key)
{
	bool flag = false;

	return hn_meta_bool(file, key, &flag, NULL) ? -1 : flag;
}

static enum hone_status
open_gguf(struct hn_tokenizer **out, const struct hn_tensor_file *file, struct hone_error *err)
{
	struct hn_tokenizer_spec spec = {.origin = file->path,
		.bos = read_id(file, "tokenizer.ggml.bos_token_id"),
		.eos = read_id(file, "tokenizer.ggml.eos_token_id"),
		.unk = read_id(file, "tokenizer.ggml.unknown_token_id"),
		.pad = read_id(file, "tokenizer.ggml.padding_token_id"),
		.add_bos = read_flag(file, "tokenizer.ggml.add_bos_token"),
		.add_eos = read_flag(file, "tokenizer.ggml.add_eos_token")};
	const char *model = "", *template = NULL;
	struct hn_text *tokens, *merges;
	int32_t *types;
	enum hone_status st;

	(void)hn_meta_string(file, "tokenizer.ggml.model", &model, NULL);
	if (!hn_streq(model, "gpt2"))
		return hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
			"tokenizer.ggml.model is '%s'; only 'gpt2' (byte-level BPE) is offered: use a "
			"model with such a tokenizer",
			model);
	(void)hn_meta_string(file, "tokenizer.ggml.pre", &spec.pre, NULL);
	if (!hn_meta_string(file, "tokenizer.chat_template", &template, NULL))
		spec.chat_template = (struct hn_text){template, strlen(template)};
	tokens = read_texts(file, "tokenizer.ggml.tokens", &spec.n_tokens);
	merges = read_texts(file, "tokenizer.ggml.merges", &spec.n_merges);
	types = read_types(file, spec.n_tokens);
	spec.tokens = tokens;
	spec.merges = merges;
	spec.types = types;
	st = hn_tokenizer_create(out, &spec, err);
	free(tokens);
	free(merges);
	free(types);
	return st;
}

enum hone_status
hn_vocabulary_open(
	struct hn_tokenizer **out, const struct hn_model *model, struct hone_error *err)
{
	const struct hn_tensor_file *file = &model->checkpoint.tensors;

	if (!model->is_random && file->format == HN_FILE_GGUF)
		return open_gguf(out, file, err);
	return hn_tokenizer_load(out, model->checkpoint.path, err);
}
