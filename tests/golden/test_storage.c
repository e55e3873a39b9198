/*
 * test_storage.c - the plugin ggml against llama.cpp's own package.
 *
 * tests/data/files/storage.safetensors holds blocks and values made by gguf-py
 * (etc/golden/storage.py).  Decoding must give the same bits: both sides are one
 * multiplication and one subtraction in f32 per value.  The plugin is the built .so; its loops
 * are compiled into this test as well, because the plugin shows the best path alone.
 */
#include "support.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <hone/plugin.h>
#include <hone/storage.h>

#include "../../plugins/storages/ggml/decode.c"
#include "base/rng.h"
#include "model/safetensors.h"

static struct hn_tensor_file golden;

static const struct hone_storage_vt *
format(const char *name)
{
	void *so = dlopen(HONE_BINARY_DIR "/lib/hone/ggml.so", RTLD_NOW | RTLD_LOCAL);
	const struct hone_plugin *plugin;

	assert_non_null(so);
	plugin = dlsym(so, "hone_plugin_v1");
	assert_non_null(plugin);
	for (uint32_t i = 0; i < plugin->n_factories; i++)
		if (strcmp(plugin->factories[i]->name, name) == 0)
			return plugin->factories[i]->vt;
	fail_msg("the plugin has no format %s", name);
	return NULL;
}

static const struct hn_tensor_info *
tensor(const char *format_name, const char *what)
{
	char name[64];
	const struct hn_tensor_info *found;

	(void)snprintf(name, sizeof name, "%s.%s", format_name, what);
	found = hn_tensor_file_find(&golden, name);
	assert_non_null(found);
	return found;
}

/* What a tensor of a host storage holds, in memory of its own. */
static float *
values_of(const struct hn_tensor_info *info)
{
	float *values = malloc((size_t)info->n_elems * sizeof *values);

	assert_non_null(values);
	hn_tensor_decode_host(info, 0, info->n_elems, values);
	return values;
}

static uint32_t
paths(const struct ggml_decoders *out[3])
{
	const struct ggml_decoders *best = ggml_decoders_find();
	uint32_t n = 0;

	out[n++] = &ggml_portable;
#ifdef __x86_64__
	if (best != &ggml_portable)
		out[n++] = &ggml_avx2;
#endif
	if (best != out[n - 1])
		out[n++] = best;
	return n;
}

/* bf16 of blocks is the rounding of their f32, whatever the bytes are. */
static void
check_bf16(const struct hone_storage_vt *vt, const struct ggml_decoders *path,
	const uint8_t *blocks, int64_t n)
{
	const void *parts[1] = {blocks};
	float *values = calloc((size_t)n, sizeof *values);
	uint16_t *found = calloc((size_t)n, sizeof *found);

	vt->decode(&ggml_portable, parts, 0, n, values);
	vt->decode_bf16(path, parts, 0, n, found);
	for (int64_t i = 0; i < n; i++)
		if (found[i] != hone_bf16_from_f32(values[i]))
			fail_msg("%s: %lld of %lld: %04x is not the bf16 of %a", vt->id,
				(long long)i, (long long)n, found[i], (double)values[i]);
	free(values);
	free(found);
}

/* A wrong nibble order, scale, sign or packed bit shows in the first block; a path that rounds
 * otherwise, or makes numbers of what is none, in blocks of any bytes. */
static void
check_decode(const char *name)
{
	const struct hone_storage_vt *vt = format(name);
	const struct hn_tensor_info *blocks = tensor(name, "blocks");
	const struct hn_tensor_info *wanted = tensor(name, "values");
	const int64_t n = wanted->n_elems, B = vt->block_elems, n_any = 500;
	float *expected = values_of(wanted), *found = calloc((size_t)n, sizeof *found);
	uint8_t *any = malloc((size_t)n_any * vt->block_bytes);
	const void *parts[1] = {blocks->bytes};
	const struct ggml_decoders *path[3];

	assert_string_equal(vt->id, name);
	assert_int_equal(blocks->n_bytes, (uint64_t)(n / B) * vt->block_bytes);
	for (uint64_t i = 0; i < (uint64_t)n_any * vt->block_bytes; i++)
		any[i] = (uint8_t)hn_rng_below(5, i, 0, 0, 256);
	for (uint32_t i = 0; i < paths(path); i++) {
		vt->decode(path[i], parts, 0, n, found);
		assert_memory_equal(found, expected, (size_t)n * sizeof *found);
		/* From the middle, one block: `first` counts elements, not bytes or blocks. */
		memset(found, 0, (size_t)n * sizeof *found);
		vt->decode(path[i], parts, 3 * B, B, found);
		assert_memory_equal(found, expected + 3 * B, (size_t)B * sizeof *found);
		assert_true(found[B] == 0);
		check_bf16(vt, path[i], blocks->bytes, n);
		check_bf16(vt, path[i], any, n_any * B);
	}
	free(expected);
	free(found);
	free(any);
}

/* Encoding must give llama.cpp's bytes, or files made here differ from everybody's. */
static void
check_encode(const char *name)
{
	const struct hone_storage_vt *vt = format(name);
	const struct hn_tensor_info *blocks = tensor(name, "blocks");
	const struct hn_tensor_info *source = tensor(name, "source");
	const int64_t n = source->n_elems, B = vt->block_elems;
	float *src = values_of(source);
	uint8_t *found = calloc(blocks->n_bytes + 1, 1);
	void *parts[1] = {found};

	/* In two pieces, so that the place of a block follows from `first`. */
	vt->encode(NULL, src, 0, 5 * B, parts);
	vt->encode(NULL, src + 5 * B, 5 * B, n - 5 * B, parts);
	assert_memory_equal(found, blocks->bytes, blocks->n_bytes);
	assert_int_equal(found[blocks->n_bytes], 0);
	free(src);
	free(found);
}

static void
test_storage_q8_0_equals_ggml(void **state)
{
	(void)state;
	check_decode("q8_0");
	check_encode("q8_0");
}

static void
test_storage_q4_0_equals_ggml(void **state)
{
	(void)state;
	check_decode("q4_0");
	check_encode("q4_0");
}

static void
test_storage_q4_1_equals_ggml(void **state)
{
	(void)state;
	check_decode("q4_1");
	check_encode("q4_1");
}

static void
test_storage_q4_k_equals_ggml(void **state)
{
	(void)state;
	check_decode("q4_k");
}

static void
test_storage_q6_k_equals_ggml(void **state)
{
	(void)state;
	check_decode("q6_k");
}

/* 1 / d overflows for subnormal scales: converting infinity to an integer is undefined, and the
 * bytes would be noise. */
static void
test_storage_encoding_tiny_values_gives_them_back_as_zero(void **state)
{
	static const char *const names[] = {"q8_0", "q4_0", "q4_1"};
	static const uint8_t zero[] = {0, 0x88, 0}; /* the code of 0 in each */
	float src[32], found[32];
	uint8_t block[40];
	void *out[1] = {block};
	const void *in[1] = {block};

	(void)state;
	for (int i = 0; i < 32; i++)
		src[i] = (float)(i - 16) * 0x1p-149f;
	for (size_t f = 0; f < 3; f++) {
		memset(block, 0xff, sizeof block);
		format(names[f])->encode(NULL, src, 0, 32, out);
		format(names[f])->decode(ggml_decoders_find(), in, 0, 32, found);
		for (int i = 0; i < 32; i++)
			assert_true(found[i] == 0);
		assert_int_equal(block[10], zero[f]);
	}
}

/* A conversion that is wrong for subnormals, ties or overflow would spoil every scale. */
static void
test_storage_f16_equals_numpy_both_ways(void **state)
{
	const struct hn_tensor_info *stored = tensor("f16", "stored");
	const struct hn_tensor_info *wide = tensor("f16", "wide");
	float *found = values_of(stored), *expected = values_of(tensor("f16", "values"));
	float *source = values_of(wide);
	const uint8_t *rounded = tensor("f16", "rounded")->bytes;

	(void)state;
	assert_memory_equal(found, expected, (size_t)stored->n_elems * sizeof *found);
	for (int64_t i = 0; i < wide->n_elems; i++) {
		uint16_t h;

		memcpy(&h, rounded + 2 * i, sizeof h);
		assert_int_equal(hone_f16_from_f32(source[i]), h);
	}
	free(found);
	free(expected);
	free(source);
}

static int
open_golden(void **state)
{
	char *path = test_data_path("files/storage.safetensors");
	struct hone_error err = {0};
	const int failed = hn_safetensors_open(&golden, path, &err) != HONE_OK;

	(void)state;
	if (failed)
		print_error("%s: %s\n", err.place, err.text);
	free(path);
	return failed;
}

static int
close_golden(void **state)
{
	(void)state;
	hn_tensor_file_close(&golden);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_storage_q8_0_equals_ggml),
		cmocka_unit_test(test_storage_q4_0_equals_ggml),
		cmocka_unit_test(test_storage_q4_1_equals_ggml),
		cmocka_unit_test(test_storage_q4_k_equals_ggml),
		cmocka_unit_test(test_storage_q6_k_equals_ggml),
		cmocka_unit_test(test_storage_encoding_tiny_values_gives_them_back_as_zero),
		cmocka_unit_test(test_storage_f16_equals_numpy_both_ways),
	};

	return cmocka_run_group_tests(tests, open_golden, close_golden);
}
