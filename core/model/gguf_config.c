/*
 * gguf_config.c - the hyper-parameters of a GGUF file under Hugging Face's names.
 *
 *     llama.embedding_length                   hidden_size
 *     llama.block_count                        num_hidden_layers
 *     llama.feed_forward_length                intermediate_size
 *     llama.context_length                     max_position_embeddings
 *     llama.attention.head_count               num_attention_heads
 *     llama.attention.head_count_kv            num_key_value_heads (absent: all heads)
 *     llama.attention.key_length               head_dim (absent: width / heads)
 *     llama.attention.layer_norm_rms_epsilon   rms_norm_eps
 *     llama.rope.freq_base                     rope_theta (absent: 10000)
 *     llama.rope.scaling.{type,factor}         rope_scaling
 *
 * What GGUF keeps in tensors is read from them: the vocabulary's size from token_embd, tied
 * embeddings from the absence of output.weight, biases from their presence, and llama3's
 * rope scaling from rope_freqs (Llama 3.1, section 3.4.2): with wavelength w = 2 pi / f,
 *
 *     w < P / hi: 1      w > P / lo: factor      else 1 / ((1 - s) / factor + s),
 *     s = (P / w - lo) / (hi - lo)
 *
 * The factor is the largest entry; the published lo = 1, hi = 4, P = 8192 are tried and every
 * entry is compared, so a file with other numbers is reported and never guessed at.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/hf_config.h"

#define LAYERS_MAX 1024
#define PI         3.14159265358979323846

struct derive {
	const struct hn_tensor_file *gguf;
	const char *arch;
	json_t *doc;
	struct hone_error *err;
};

/* Both parts are bounded, so a hostile architecture name is cut and then simply not found. */
static const char *
key_of(const struct derive *d, const char *suffix, char out[128])
{
	(void)snprintf(out, 128, "%.60s.%.60s", d->arch, suffix);
	return out;
}

/* Copies a whole number; `absent` < 0 means that it must be there. */
static enum hone_status
take_i64(const struct derive *d, const char *suffix, const char *name, int64_t absent)
{
	char key[128];
	int64_t value;
	enum hone_status st = hn_meta_i64(d->gguf, key_of(d, suffix, key), &value, d->err);

	if (st == HONE_ENOTFOUND && absent >= 0) {
		value = absent;
		st = HONE_OK;
	} else if (st == HONE_ENOTFOUND) {
		d->err->status = st = HONE_EMODEL;
	}
	if (!st && value < 1)
		st = hone_fail_at(d->err, HONE_EMODEL, d->gguf->path, 0, 0,
			"metadata \"%s\" is %lld; it must be above 0", key, (long long)value);
	if (!st)
		(void)json_object_set_new(d->doc, name, json_integer(value));
	return st;
}

/* The same for floats above 0. */
static enum hone_status
take_f64(const struct derive *d, const char *suffix, const char *name, double absent)
{
	char key[128];
	double value;
	enum hone_status st = hn_meta_f64(d->gguf, key_of(d, suffix, key), &value, d->err);

	if (st == HONE_ENOTFOUND && absent > 0) {
		value = absent;
		st = HONE_OK;
	} else if (st == HONE_ENOTFOUND) {
		d->err->status = st = HONE_EMODEL;
	}
	if (!st && !(value > 0 && isfinite(value)))
		st = hone_fail_at(d->err, HONE_EMODEL, d->gguf->path, 0, 0,
			"metadata \"%s\" is %g; it must be above 0", key, value);
	if (!st)
		(void)json_object_set_new(d->doc, name, json_real(hn_meta_decimal(value)));
	return st;
}

static int64_t
doc_i64(const struct derive *d, const char *name)
{
	return json_integer_value(json_object_get(d->doc, name));
}

/* ---- sizes ---- */

/* key_length stands there only where it is not width / heads. */
static enum hone_status
derive_sizes(const struct derive *d)
{
	enum hone_status st = take_i64(d, "embedding_length", "hidden_size", -1);
	int64_t heads, head_dim;

	if (!st)
		st = take_i64(d, "block_count", "num_hidden_layers", -1);
	if (!st)
		st = take_i64(d, "feed_forward_length", "intermediate_size", -1);
	if (!st)
		st = take_i64(d, "attention.head_count", "num_attention_heads", -1);
	if (!st)
		st = take_i64(d, "context_length", "max_position_embeddings", -1);
	if (st)
		return st;
	heads = doc_i64(d, "num_attention_heads");
	st = take_i64(d, "attention.head_count_kv", "num_key_value_heads", heads);
	head_dim = doc_i64(d, "hidden_size") / heads;
	if (!st && doc_i64(d, "hidden_size") % heads)
		st = hone_fail_at(d->err, HONE_EMODEL, d->gguf->path, 0, 0,
			"%s.embedding_length %lld is no multiple of %s.attention.head_count %lld",
			d->arch, (long long)doc_i64(d, "hidden_size"), d->arch, (long long)heads);
	if (!st)
		st = take_i64(d, "attention.key_length", "head_dim", head_dim);
	if (!st)
		st = take_f64(d, "attention.layer_norm_rms_epsilon", "rms_norm_eps", -1);
	return st;
}

/* The embedding's shape against the metadata. */
static enum hone_status
derive_vocabulary(const struct derive *d)
{
	const struct hn_tensor_info *embed = hn_tensor_file_find(d->gguf, "token_embd.weight");
	const struct hn_meta *tokens;
	char key[128];
	int64_t rows;

	if (!embed || embed->rank != 2)
		return hone_fail_at(d->err, HONE_EMODEL, d->gguf->path, 0, 0,
			"tensor \"token_embd.weight\" is missing or no matrix");
	if (embed->dim[1] != doc_i64(d, "hidden_size"))
		return hone_fail_at(d->err, HONE_EMODEL, d->gguf->path, 0, 0,
			"rows of token_embd.weight have %lld elements, and "
			"%s.embedding_length is %lld",
			(long long)embed->dim[1], d->arch, (long long)doc_i64(d, "hidden_size"));
	if (!hn_meta_i64(d->gguf, key_of(d, "vocab_size", key), &rows, NULL) &&
		rows != embed->dim[0])
		return hone_fail_at(d->err, HONE_EMODEL, d->gguf->path, 0, 0,
			"%s is %lld, and token_embd.weight has %lld rows", key, (long long)rows,
			(long long)embed->dim[0]);
	if (!hn_meta_array(d->gguf, "tokenizer.ggml.tokens", -1, &tokens, NULL) &&
		tokens->n_elems > (uint64_t)embed->dim[0])
		return hone_fail_at(d->err, HONE_EMODEL, d->gguf->path, 0, 0,
			"the vocabulary has %llu tokens, and token_embd.weight has %lld rows",
			(unsigned long long)tokens->n_elems, (long long)embed->dim[0]);
	(void)json_object_set_new(d->doc, "vocab_size", json_integer(embed->dim[0]));
	return HONE_OK;
}

/* blk.0 to blk.(n-1) are there and no further one is. */
static enum hone_status
check_blocks(const struct derive *d)
{
	const int64_t n = doc_i64(d, "num_hidden_layers");
	char name[64];

	if (n > LAYERS_MAX)
		return hone_fail_at(d->err, HONE_EMODEL, d->gguf->path, 0, 0,
			"%s.block_count is %lld; at most %d are read", d->arch, (long long)n,
			LAYERS_MAX);
	for (int64_t i = 0; i <= n; i++) {
		(void)snprintf(name, sizeof name, "blk.%lld.attn_norm.weight", (long long)i);
		if ((hn_tensor_file_find(d->gguf, name) != NULL) != (i < n))
			return hone_fail_at(d->err, HONE_EMODEL, d->gguf->path, 0, 0,
				"%s.block_count is %lld, and tensor \"%s\" is %s", d->arch,
				(long long)n, name, i < n ? "missing" : "there");
	}
	return HONE_OK;
}

/* ---- rope ---- */

/* llama3's divisor of frequency j. */
static double
llama3_divisor(double theta, int64_t j, int64_t head_dim, double factor)
{
	const double lo = 1, hi = 4, P = 8192;
	const double w = 2 * PI * pow(theta, 2.0 * (double)j / (double)head_dim);
	const double s = (P / w - lo) / (hi - lo);

	if (w < P / hi)
		return 1;
	return w > P / lo ? factor : 1 / ((1 - s) / factor + s);
}

/* rope_scaling from rope_freqs.weight, when its entries are those of llama3; else the flag. */
static enum hone_status
derive_rope_freqs(const struct derive *d, bool *has_unexplained)
{
	const struct hn_tensor_info *freqs = hn_tensor_file_find(d->gguf, "rope_freqs.weight");
	const double theta = json_real_value(json_object_get(d->doc, "rope_theta"));
	const int64_t head_dim = doc_i64(d, "head_dim");
	double factor = 0;
	float *values;

	*has_unexplained = false;
	if (!freqs)
		return HONE_OK;
	if (!hn_streq(freqs->storage, "f32") || freqs->n_elems != head_dim / 2)
		return hone_fail_at(d->err, HONE_EMODEL, d->gguf->path, 0, 0,
			"tensor \"rope_freqs.weight\" should hold %lld f32",
			(long long)(head_dim / 2));
	values = hn_alloc(((size_t)freqs->n_elems + 1) * sizeof *values);
	hn_tensor_decode_host(freqs, 0, freqs->n_elems, values);
	for (int64_t j = 0; j < freqs->n_elems; j++)
		factor = fmax(factor, (double)values[j]);
	for (int64_t j = 0; j < freqs->n_elems; j++) {
		const double wanted = llama3_divisor(theta, j, head_dim, factor);

		/* f32 rounding, and a converter that computed in f32. */
		if (!(fabs((double)values[j] - wanted) <= 1e-4 * wanted))
			*has_unexplained = true;
	}
	free(values);
	if (!*has_unexplained && factor > 1)
		(void)json_object_set_new(d->doc, "rope_scaling",
			json_pack("{s:s, s:f, s:f, s:f, s:i}", "rope_type", "llama3", "factor",
				hn_meta_decimal(factor), "low_freq_factor", 1.0, "high_freq_factor",
				4.0, "original_max_position_embeddings", 8192));
	return HONE_OK;
}

/* linear and yarn, which metadata can say. */
static enum hone_status
derive_rope_scaling(const struct derive *d)
{
	const char *type = NULL;
	char key[128];
	double factor;
	int64_t original;
	json_t *scaling;
	enum hone_status st =
		hn_meta_string(d->gguf, key_of(d, "rope.scaling.type", key), &type, d->err);

	if (st == HONE_ENOTFOUND || (!st && hn_streq(type, "none")))
		return HONE_OK;
	if (st)
		return st;
	st = hn_meta_f64(d->gguf, key_of(d, "rope.scaling.factor", key), &factor, d->err);
	if (st) {
		d->err->status = HONE_EMODEL;
		return HONE_EMODEL;
	}
	scaling = json_pack("{s:s, s:f}", "rope_type", type, "factor", hn_meta_decimal(factor));
	if (!scaling)
		return hone_fail_at(d->err, HONE_EMODEL, d->gguf->path, 0, 0,
			"metadata \"%s.rope.scaling.type\" is not text", d->arch);
	if (!hn_meta_i64(d->gguf, key_of(d, "rope.scaling.original_context_length", key), &original,
		    NULL))
		(void)json_object_set_new(
			scaling, "original_max_position_embeddings", json_integer(original));
	(void)json_object_set_new(d->doc, "rope_scaling", scaling);
	return HONE_OK;
}

/* ---- the rest ---- */

static void
take_id(const struct derive *d, const char *key, const char *name)
{
	int64_t id;

	if (!hn_meta_i64(d->gguf, key, &id, NULL))
		(void)json_object_set_new(d->doc, name, json_integer(id));
}

/* eos_token_id is a list where the end of a turn is another token. */
static void
derive_token_ids(const struct derive *d)
{
	int64_t eos, eot;

	take_id(d, "tokenizer.ggml.bos_token_id", "bos_token_id");
	take_id(d, "tokenizer.ggml.eos_token_id", "eos_token_id");
	take_id(d, "tokenizer.ggml.padding_token_id", "pad_token_id");
	if (!hn_meta_i64(d->gguf, "tokenizer.ggml.eos_token_id", &eos, NULL) &&
		!hn_meta_i64(d->gguf, "tokenizer.ggml.eot_token_id", &eot, NULL) && eos != eot)
		(void)json_object_set_new(d->doc, "eos_token_id",
			json_pack("[I, I]", (json_int_t)eos, (json_int_t)eot));
}

/* What GGUF leaves out because llama.cpp has it in code.  The first three follow from which
 * tensors there are. */
static void
derive_llama_constants(const struct derive *d)
{
	static const struct {
		const char *name, *tensor;
		bool if_there; /* the key's value when the tensor is there */
	} flags[] = {
		{"tie_word_embeddings", "output.weight", false},
		{"attention_bias", "blk.0.attn_q.bias", true},
		{"mlp_bias", "blk.0.ffn_up.bias", true},
	};

	for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
		const bool is_there = hn_tensor_file_find(d->gguf, flags[i].tensor) != NULL;

		(void)json_object_set_new(
			d->doc, flags[i].name, json_boolean(is_there == flags[i].if_there));
	}
	(void)json_object_set_new(d->doc, "attention_dropout", json_real(0));
	(void)json_object_set_new(d->doc, "hidden_act", json_string("silu"));
	(void)json_object_set_new(d->doc, "initializer_range", json_real(0.02));
	(void)json_object_set_new(d->doc, "pretraining_tp", json_integer(1));
	(void)json_object_set_new(d->doc, "use_cache", json_true());
}

/* In an order in which each part finds in the document what it needs. */
static enum hone_status
derive_llama(const struct derive *d, bool *has_rope_freqs)
{
	enum hone_status st = derive_sizes(d);

	if (!st)
		st = derive_vocabulary(d);
	if (!st)
		st = check_blocks(d);
	if (!st)
		st = take_f64(d, "rope.freq_base", "rope_theta", 10000);
	if (!st)
		st = derive_rope_scaling(d);
	if (!st)
		st = derive_rope_freqs(d, has_rope_freqs);
	if (st)
		return st;
	derive_token_ids(d);
	derive_llama_constants(d);
	return HONE_OK;
}

/* Errors are collected in a local struct, because absent keys with a default fill it on the way. */
enum hone_status
hn_model_config_from_gguf(
	struct hn_model_config *config, const struct hn_tensor_file *gguf, struct hone_error *err)
{
	struct hn_model_config made = {.is_derived = true};
	struct hone_error local = {0};
	struct derive d = {.gguf = gguf, .err = &local};
	enum hone_status st = hn_meta_string(gguf, "general.architecture", &d.arch, &local);

	if (st == HONE_ENOTFOUND)
		st = hone_fail_at(&local, HONE_EMODEL, gguf->path, 0, 0,
			"metadata \"general.architecture\" is missing; this is no model");
	else if (!st && !hn_streq(d.arch, "llama"))
		st = hone_fail_at(&local, HONE_EMODEL, gguf->path, 0, 0,
			"GGUF files of architecture \"%.60s\" are not read; llama is: "
			"use the model's Hugging Face folder",
			d.arch);
	if (!st)
		st = hn_gguf_check_tokens(gguf, &local);
	if (!st) {
		made.path = hn_strdup(gguf->path);
		made.stored = d.doc = json_pack(
			"{s:[s], s:s}", "architectures", "LlamaForCausalLM", "model_type", "llama");
		st = derive_llama(&d, &made.has_rope_freqs);
	}
	if (!st) {
		made.neutral = json_deep_copy(made.stored);
		st = hn_model_config_check(&made, &local);
	}
	if (!st) {
		*config = made;
		return HONE_OK;
	}
	hn_model_config_close(&made);
	if (err)
		*err = local;
	return st;
}

/* ---- what else metadata says ---- */

/* The repository of this model, not of the one it was made from (general.base_model.*): an adapter
 * trained here fits this one. */
const char *
hn_gguf_repository(const struct hn_tensor_file *gguf)
{
	static const char *const keys[] = {"general.source.huggingface.repository",
		"general.repo_url", "general.source.repo_url"};
	static const char site[] = "https://huggingface.co/";

	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		const char *text;

		if (hn_meta_string(gguf, keys[i], &text, NULL) || !text[0])
			continue;
		if (hn_starts_with(text, site))
			text += sizeof site - 1;
		if (!strstr(text, "://") && strchr(text, '/'))
			return text;
	}
	return NULL;
}

/* "<0x0A>" is a byte; "<0xZZ>" claims to be one. */
static bool
is_bad_byte_token(const struct hn_meta_value *token)
{
	static const char digits[] = "0123456789ABCDEF";

	if (token->string_len != 6 || memcmp(token->string, "<0x", 3) != 0 ||
		token->string[5] != '>')
		return false;
	return !memchr(digits, token->string[3], 16) || !memchr(digits, token->string[4], 16);
}

/* Absent arrays are fine: byte-level vocabularies have no scores. */
static enum hone_status
check_token_array(const struct hn_tensor_file *gguf, const char *key, int32_t type, uint64_t n,
	struct hone_error *err)
{
	const struct hn_meta *array;
	enum hone_status st = hn_meta_array(gguf, key, type, &array, err);

	if (st == HONE_ENOTFOUND)
		return HONE_OK;
	if (!st && array->n_elems != n)
		st = hone_fail_at(err, HONE_EMODEL, gguf->path, 0, 0,
			"\"%s\" has %llu elements, and there are %llu tokens", key,
			(unsigned long long)array->n_elems, (unsigned long long)n);
	return st;
}

/* A NaN would make the order of merges depend on the sort. */
static enum hone_status
check_scores(const struct hn_tensor_file *gguf, struct hone_error *err)
{
	struct hn_meta_cursor cursor = {0};
	struct hn_meta_value score;

	if (hn_meta_array(gguf, "tokenizer.ggml.scores", HN_META_F32, &cursor.array, NULL))
		return HONE_OK;
	while (hn_meta_next(&cursor, &score))
		if (!isfinite(score.as.f64))
			return hone_fail_at(err, HONE_EMODEL, gguf->path, 0, 0,
				"the score of token %llu is not finite",
				(unsigned long long)(cursor.idx - 1));
	return HONE_OK;
}

/* What the tokenizer takes for granted when it reads the arrays side by side. */
enum hone_status
hn_gguf_check_tokens(const struct hn_tensor_file *gguf, struct hone_error *err)
{
	static const struct {
		const char *key;
		int32_t type;
	} arrays[] = {
		{"tokenizer.ggml.scores", HN_META_F32},
		{"tokenizer.ggml.token_type", HN_META_I32},
	};
	struct hn_meta_cursor cursor = {0};
	struct hn_meta_value token;
	enum hone_status st =
		hn_meta_array(gguf, "tokenizer.ggml.tokens", HN_META_STRING, &cursor.array, err);

	if (st)
		return st == HONE_ENOTFOUND ? HONE_OK : st;
	for (size_t i = 0; !st && i < sizeof arrays / sizeof arrays[0]; i++)
		st = check_token_array(
			gguf, arrays[i].key, arrays[i].type, cursor.array->n_elems, err);
	while (!st && hn_meta_next(&cursor, &token))
		if (is_bad_byte_token(&token))
			st = hone_fail_at(err, HONE_EMODEL, gguf->path, 0, 0,
				"token %llu, \"%.6s\", looks like a byte and is none",
				(unsigned long long)(cursor.idx - 1), token.string);
	return st ? st : check_scores(gguf, err);
}
