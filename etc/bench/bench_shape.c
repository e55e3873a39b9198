/*
 * bench_shape.c - names and shapes of a Llama with 30 layers of 576, written row by row.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hone/random.h>
#include <hone/tensor.h>

#include "base/file.h"
#include "base/rng.h"
#include "bench_shape.h"
#include "model/safetensors.h"

enum { D = 576, F = 1536, KV = 192, V = 49152, L = 30 };

static const char config[] =
	"{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": "
	"49152,"
	" \"hidden_size\": 576, \"intermediate_size\": 1536, \"num_hidden_layers\": 30,"
	" \"num_attention_heads\": 9, \"num_key_value_heads\": 3, \"hidden_act\": \"silu\","
	" \"rms_norm_eps\": 1e-05, \"rope_theta\": 100000.0, \"max_position_embeddings\": 8192,"
	" \"tie_word_embeddings\": true, \"torch_dtype\": \"bfloat16\"}\n";

/* Normal numbers with deviation 0.02; norms are 1. */
static enum hone_status
fill(void *ctx, const struct hn_tensor_out *tensor, int64_t first, int64_t n, void *dst,
	struct hone_error *err)
{
	const int64_t cols = tensor->rank > 1 ? tensor->dim[1] : tensor->dim[0];
	const uint64_t stream = hn_rng_stream(tensor->name);
	uint16_t *out = dst;

	(void)ctx;
	(void)err;
	for (int64_t i = 0; i < n * cols; i++) {
		const uint64_t at = (uint64_t)(first * cols + i);
		uint32_t bits[4];

		if (tensor->rank == 1) {
			out[i] = hone_bf16_from_f32(1.0f);
			continue;
		}
		hone_random_draw(1, stream, at, 0, bits);
		out[i] = hone_bf16_from_f32(
			((float)(bits[0] >> 8) / 16777216.0f - 0.5f) * 0.0693f);
	}
	return HONE_OK;
}

static void
add(struct hn_tensor_out *list, size_t *n, char *name, int64_t rows, int64_t cols)
{
	list[*n] = (struct hn_tensor_out){.name = name,
		.storage = "bf16",
		.rank = cols ? 2 : 1,
		.dim = {rows, cols},
		.fill = fill};
	(*n)++;
}

static char *
layer(int i, const char *part)
{
	char text[128];

	(void)snprintf(text, sizeof text, "model.layers.%d.%s.weight", i, part);
	return hn_strdup(text);
}

static enum hone_status
write_weights(const char *path, struct hone_error *err)
{
	struct hn_tensor_out list[L * 9 + 2];
	enum hone_status st;
	size_t n = 0;

	add(list, &n, hn_strdup("model.embed_tokens.weight"), V, D);
	for (int i = 0; i < L; i++) {
		add(list, &n, layer(i, "input_layernorm"), D, 0);
		add(list, &n, layer(i, "self_attn.q_proj"), D, D);
		add(list, &n, layer(i, "self_attn.k_proj"), KV, D);
		add(list, &n, layer(i, "self_attn.v_proj"), KV, D);
		add(list, &n, layer(i, "self_attn.o_proj"), D, D);
		add(list, &n, layer(i, "post_attention_layernorm"), D, 0);
		add(list, &n, layer(i, "mlp.gate_proj"), F, D);
		add(list, &n, layer(i, "mlp.up_proj"), F, D);
		add(list, &n, layer(i, "mlp.down_proj"), D, F);
	}
	add(list, &n, hn_strdup("model.norm.weight"), D, 0);
	st = hn_safetensors_write(path, list, n, NULL, 0, err);
	for (size_t i = 0; i < n; i++)
		free((void *)(uintptr_t)list[i].name);
	return st;
}

static enum hone_status
copy(const char *folder, const char *name, struct hone_error *err)
{
	char *from = hn_path_join(HONE_SOURCE_DIR "/tests/data/golden/models/tiny-llama", name);
	char *to = hn_path_join(folder, name), *text = NULL;
	size_t n = 0;
	enum hone_status st = hn_file_read(from, 1 << 24, HONE_EIO, &text, &n, err);

	if (!st)
		st = hn_file_replace(to, text, n, err);
	free(text);
	free(from);
	free(to);
	return st;
}

enum hone_status
bench_shape_write(const char *folder, struct hone_error *err)
{
	char *weights = hn_path_join(folder, "model.safetensors");
	char *json = hn_path_join(folder, "config.json");
	enum hone_status st = hn_dir_make(folder, err);

	if (!st && !hn_path_is_file(weights)) {
		st = hn_file_replace(json, config, sizeof config - 1, err);
		if (!st)
			st = copy(folder, "tokenizer.json", err);
		if (!st)
			st = copy(folder, "tokenizer_config.json", err);
		if (!st)
			st = write_weights(weights, err);
	}
	free(weights);
	free(json);
	return st;
}
