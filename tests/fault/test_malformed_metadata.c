/*
 * test_malformed_metadata.c - GGUF files that are sound, with metadata that contradicts itself
 * or the tensors (entries 56, 57).
 *
 * Would catch: a model that is built from numbers that do not fit each other, and tokens whose
 * arrays are of another length or type than they should be.
 */
#include "support.h"

#include <math.h>
#include <string.h>

#include "modelfile.h"
#include "refused.h"

#include "model/gguf.h"
#include "model/hf_config.h"

struct llama {
	uint32_t width, heads, kv_heads, layers, vocab;
	float eps, theta;
	uint32_t n_scores, n_types, type_type, token_type;
	float score;
	const char *token;
};

static const struct llama valid_llama = {.width = 8,
	.heads = 4,
	.kv_heads = 2,
	.layers = 1,
	.vocab = 3,
	.eps = 1e-5f,
	.theta = 10000,
	.n_scores = 3,
	.n_types = 3,
	.type_type = 5,
	.token_type = 8,
	.score = -1,
	.token = "<0x0A>"};

static void
put_array(struct hn_str *out, const char *key, uint32_t type, uint64_t n)
{
	test_put_key(out, key, 9);
	test_put_u32(out, type);
	test_put_u64(out, n);
}

static void
make_llama(struct hn_str *out, const struct llama *llama)
{
	test_put_gguf(out, 3, 2, 13);
	test_put_kv_string(out, "general.architecture", "llama");
	test_put_kv_u32(out, "llama.embedding_length", llama->width);
	test_put_kv_u32(out, "llama.attention.head_count", llama->heads);
	test_put_kv_u32(out, "llama.attention.head_count_kv", llama->kv_heads);
	test_put_kv_u32(out, "llama.block_count", llama->layers);
	test_put_kv_u32(out, "llama.feed_forward_length", 16);
	test_put_kv_u32(out, "llama.context_length", 64);
	test_put_kv_u32(out, "llama.vocab_size", llama->vocab);
	test_put_kv_f32(out, "llama.attention.layer_norm_rms_epsilon", llama->eps);
	test_put_kv_f32(out, "llama.rope.freq_base", llama->theta);
	put_array(out, "tokenizer.ggml.tokens", llama->token_type, 3);
	for (int i = 0; i < 3 && llama->token_type == 8; i++)
		test_put_string(out, llama->token);
	for (int i = 0; i < 3 && llama->token_type == 4; i++)
		test_put_u32(out, 0);
	put_array(out, "tokenizer.ggml.scores", 6, llama->n_scores);
	for (uint32_t i = 0; i < llama->n_scores; i++)
		test_put_f32(out, llama->score);
	put_array(out, "tokenizer.ggml.token_type", llama->type_type, llama->n_types);
	for (uint32_t i = 0; i < llama->n_types; i++)
		test_put_u32(out, 1);
	test_put_info(out, "token_embd.weight", (uint64_t[]){8, 3, 0}, 0, 0);
	test_put_info(out, "blk.0.attn_norm.weight", (uint64_t[]){8, 0}, 0, 96);
	test_put_padding(out, 32);
	for (int i = 0; i < 96 + 32; i++)
		test_put_u8(out, 0);
}

static enum hone_status
derive(const struct llama *llama, struct hone_error *err)
{
	struct hn_tensor_file file = {0};
	struct hn_model_config config = {0};
	struct hn_str bytes = {0};
	enum hone_status st;

	make_llama(&bytes, llama);
	st = hn_gguf_parse(&file, (uint8_t *)bytes.text, bytes.len, REFUSED_PATH, err);
	if (st)
		fail_msg("the file itself: %s", err->text);
	st = hn_model_config_from_gguf(&config, &file, err);
	hn_model_config_close(&config);
	hn_tensor_file_close(&file);
	hn_str_fini(&bytes);
	return st;
}

static void
check_llama(const char *fault, struct llama llama, const char *cause)
{
	struct hone_error err = {0};

	test_refused(derive(&llama, &err), &err, fault, REFUSED_PATH, cause);
}

static struct llama
with(const struct llama *from, size_t offset, const void *value, size_t n)
{
	struct llama llama = *from;

	memcpy((char *)&llama + offset, value, n);
	return llama;
}

static void
test_gguf_metadata_contradiction_is_named(void **state)
{
	static const struct {
		const char *fault;
		size_t offset;
		uint32_t value;
		const char *cause;
	} whole[] = {
		{"56 no heads", offsetof(struct llama, heads), 0, "head_count\" is 0"},
		{"56 no kv heads", offsetof(struct llama, kv_heads), 0, "head_count_kv\" is 0"},
		{"56 more kv heads than heads", offsetof(struct llama, kv_heads), 8, "no multiple"},
		{"56 kv heads do not divide", offsetof(struct llama, kv_heads), 3, "no multiple"},
		{"56 heads do not divide the width", offsetof(struct llama, heads), 3,
			"llama.embedding_length 8 is no multiple"},
		{"56 width is not the rows'", offsetof(struct llama, width), 16,
			"rows of token_embd.weight have 8 elements"},
		{"56 more blocks than allowed", offsetof(struct llama, layers), 1025,
			"at most 1024"},
		{"56 more blocks than tensors", offsetof(struct llama, layers), 2,
			"\"blk.1.attn_norm.weight\" is missing"},
		{"56 no block", offsetof(struct llama, layers), 0, "block_count\" is 0"},
		{"56 vocabulary is not the rows", offsetof(struct llama, vocab), 4,
			"llama.vocab_size is 4, and token_embd.weight has 3 rows"},
		{"57 fewer scores than tokens", offsetof(struct llama, n_scores), 2,
			"\"tokenizer.ggml.scores\" has 2 elements, and there are 3 tokens"},
		{"57 more types than tokens", offsetof(struct llama, n_types), 4, "has 4 elements"},
		{"57 types of another type", offsetof(struct llama, type_type), 6,
			"should be an array of i32 and is one of f32"},
		{"57 tokens of another type", offsetof(struct llama, token_type), 4,
			"should be an array of string and is one of u32"},
	};
	struct hone_error err = {0};

	(void)state;
	if (derive(&valid_llama, &err))
		fail_msg("the valid file: %s", err.text);
	for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
		check_llama(whole[i].fault,
			with(&valid_llama, whole[i].offset, &whole[i].value, sizeof(uint32_t)),
			whole[i].cause);
}

static void
test_gguf_number_or_token_out_of_range_is_named(void **state)
{
	static const struct {
		const char *fault;
		size_t offset;
		float value;
		const char *cause;
	} floats[] = {
		{"56 eps 0", offsetof(struct llama, eps), 0, "epsilon\" is 0; it must be above 0"},
		{"56 eps NaN", offsetof(struct llama, eps), NAN, "must be above 0"},
		{"56 rope base 0", offsetof(struct llama, theta), 0, "freq_base\" is 0"},
		{"56 rope base negative", offsetof(struct llama, theta), -1, "freq_base\" is -1"},
		{"56 rope base NaN", offsetof(struct llama, theta), NAN, "must be above 0"},
		{"57 score NaN", offsetof(struct llama, score), NAN,
			"score of token 0 is not finite"},
	};
	static const char *const tokens[] = {"<0xZZ>", "<0x-1>", "<0x0a>"};
	struct llama llama = valid_llama;

	(void)state;
	for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++)
		check_llama(floats[i].fault,
			with(&valid_llama, floats[i].offset, &floats[i].value, sizeof(float)),
			floats[i].cause);
	for (size_t i = 0; i < 3; i++) {
		llama.token = tokens[i];
		check_llama("57 byte token", llama, "looks like a byte");
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gguf_metadata_contradiction_is_named),
		cmocka_unit_test(test_gguf_number_or_token_out_of_range_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
