/*
 * test_nf4.c - the plugin nf4 against bitsandbytes.
 *
 * tests/data/golden/nf4/nf4.safetensors holds what bitsandbytes makes of tensors with zeros,
 * huge and tiny values, ragged ends and values at every midpoint (etc/golden/nf4.py).  Codes,
 * block maxima, the codes of the scales and what is read back must be the same bits on every
 * path that this processor has; only the mean of the scales, a sum whose order is torch's own,
 * may differ by its rounding.  The kernels are compiled into this test, because the built
 * plugin shows the best path alone.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hone/plugin.h>
#include <hone/storage.h>

#include "../../plugins/storages/nf4/books.c"
#include "../../plugins/storages/nf4/kernels.c"
#include "model/safetensors.h"
#include "support.h"

static struct hn_tensor_file golden;

static const char *const cases[] = {
	"normal", "zeros", "huge", "mixed", "edges", "ragged", "short", "large"};
enum { N_CASES = sizeof cases / sizeof cases[0] };

/* The format, and as `self` the paths one after the other; NULL after the last. */
static const struct hone_storage_vt *
format(const void **best)
{
	void *so = dlopen(HONE_BINARY_DIR "/lib/hone/nf4.so", RTLD_NOW | RTLD_LOCAL);
	const struct hone_plugin *plugin = so ? dlsym(so, "hone_plugin_v1") : NULL;
	struct hone_error err = {0};
	void *self = NULL;

	assert_non_null(plugin);
	assert_int_equal(plugin->factories[0]->create(NULL, NULL, NULL, &self, &err), HONE_OK);
	*best = self;
	return plugin->factories[0]->vt;
}

static uint32_t
paths(const struct nf4_kernels *out[3])
{
	const struct nf4_kernels *best = nf4_kernels_find();
	uint32_t n = 0;

	out[n++] = &nf4_portable;
#ifdef __x86_64__
	if (best != &nf4_portable)
		out[n++] = &avx2;
#endif
	if (best != out[n - 1])
		out[n++] = best;
	return n;
}

static const struct hn_tensor_info *
tensor(const char *of, const char *what)
{
	char name[64];
	const struct hn_tensor_info *found;

	(void)snprintf(name, sizeof name, "%s%s%s", of, *of ? "." : "", what);
	found = hn_tensor_file_find(&golden, name);
	if (!found)
		fail_msg("no golden tensor %s", name);
	return found;
}

static float *
values_of(const struct hn_tensor_info *info)
{
	float *values = malloc((size_t)(info->n_elems + 1) * sizeof *values);

	assert_non_null(values);
	hn_tensor_decode_host(info, 0, info->n_elems, values);
	return values;
}

/* Catches a wrong digit of a code book. */
static void
test_nf4_books_equal_bitsandbytes(void **state)
{
	(void)state;
	assert_memory_equal(nf4_book, tensor("", "book")->bytes, sizeof nf4_book);
	assert_memory_equal(nf4_scale_map, tensor("", "map")->bytes, sizeof nf4_scale_map);
}

struct stored {
	void *parts[NF4_PARTS + 1];
	uint64_t bytes[NF4_PARTS];
};

/* Parts with a guard byte behind each. */
static struct stored
make_parts(const struct hone_storage_vt *vt, int64_t n)
{
	struct stored s;

	for (uint32_t i = 0; i < NF4_PARTS; i++) {
		s.bytes[i] = vt->part_bytes(NULL, i, n);
		s.parts[i] = malloc(s.bytes[i] + 1);
		assert_non_null(s.parts[i]);
		memset(s.parts[i], 0x5a, s.bytes[i] + 1);
	}
	s.parts[NF4_WORK] = malloc(vt->work_bytes(NULL, n));
	assert_non_null(s.parts[NF4_WORK]);
	return s;
}

static void
free_parts(struct stored *s)
{
	for (uint32_t i = 0; i < NF4_PARTS; i++) {
		assert_int_equal(((uint8_t *)s->parts[i])[s->bytes[i]], 0x5a);
		free(s->parts[i]);
	}
	free(s->parts[NF4_WORK]);
}

/* Encodes in two pieces, the later blocks first: the place of a block follows from `first`. */
static void
encode(const struct hone_storage_vt *vt, const void *self, const float *src, int64_t n,
	struct stored *s)
{
	const int64_t half = n / 2 / NF4_BLOCK * NF4_BLOCK;

	vt->encode(self, src + half, half, n - half, s->parts);
	if (half)
		vt->encode(self, src, 0, half, s->parts);
	vt->finish(self, n, s->parts);
}

static void
check_parts(const char *name, int64_t n, const struct stored *s)
{
	const float mean = nf4_load(s->parts[NF4_NESTED], 0);
	float want = 0;

	hn_tensor_decode_host(tensor(name, "offset"), 0, 1, &want);
	assert_memory_equal(s->parts[NF4_CODES], tensor(name, "codes")->bytes, (size_t)(n + 1) / 2);
	assert_memory_equal(
		s->parts[NF4_WORK], tensor(name, "absmax")->bytes, tensor(name, "absmax")->n_bytes);
	if (!(fabsf(mean - want) <= 2e-7f * fabsf(want)))
		fail_msg("%s: mean %.9g, bitsandbytes has %.9g", name, (double)mean, (double)want);
}

/* Catches a tie that goes the other way, a scale by division instead of by reciprocal, a short
 * block treated as a full one, nibbles in the other order, a zero block that becomes NaN. */
static void
test_nf4_codes_and_maxima_equal_bitsandbytes(void **state)
{
	const struct nf4_kernels *path[3];
	const uint32_t n_paths = paths(path);
	const void *best;
	const struct hone_storage_vt *vt = format(&best);

	(void)state;
	for (uint32_t p = 0; p <= n_paths; p++) {
		for (int i = 0; i < N_CASES; i++) {
			const int64_t n = tensor(cases[i], "source")->n_elems;
			float *src = values_of(tensor(cases[i], "source"));
			struct stored s = make_parts(vt, n);

			encode(vt, p < n_paths ? path[p] : best, src, n, &s);
			check_parts(cases[i], n, &s);
			free_parts(&s);
			free(src);
		}
	}
	print_message("%u paths\n", n_paths);
}

/* Catches a wrong nearest code of a scale, and scales of scales over the wrong blocks.  With
 * torch's mean in the place of ours every byte is bitsandbytes'. */
static void
test_nf4_double_quantisation_equals_bitsandbytes(void **state)
{
	const void *best;
	const struct hone_storage_vt *vt = format(&best);
	int64_t differ = 0, all = 0;

	(void)state;
	for (int i = 0; i < N_CASES; i++) {
		const struct hn_tensor_info *scales = tensor(cases[i], "scales");
		const struct hn_tensor_info *nested = tensor(cases[i], "nested");
		const int64_t n = tensor(cases[i], "source")->n_elems;
		float *src = values_of(tensor(cases[i], "source")), *want = values_of(nested);
		struct stored s = make_parts(vt, n);

		encode(vt, best, src, n, &s);
		for (int64_t b = 0; b < scales->n_elems; b++, all++)
			differ += ((uint8_t *)s.parts[NF4_SCALES])[b] != scales->bytes[b];
		for (int64_t b = 0; b < nested->n_elems; b++)
			assert_true(fabsf(nf4_load(s.parts[NF4_NESTED], 1 + b) - want[b]) <=
				1e-6f * fabsf(want[b]) +
					1e-7f * fabsf(nf4_load(s.parts[NF4_NESTED], 0)));
		free_parts(&s);
		free(src);
		free(want);
	}
	print_message("%d of %d scales have another code\n", (int)differ, (int)all);
	assert_int_equal(differ, 0);
}

/* bitsandbytes' parts as ours. */
static struct stored
golden_parts(const struct hone_storage_vt *vt, const char *name, int64_t n)
{
	struct stored s = make_parts(vt, n);
	const struct hn_tensor_info *nested = tensor(name, "nested");

	memcpy(s.parts[NF4_CODES], tensor(name, "codes")->bytes, (size_t)(n + 1) / 2);
	memcpy(s.parts[NF4_SCALES], tensor(name, "scales")->bytes, s.bytes[NF4_SCALES]);
	memcpy(s.parts[NF4_NESTED], tensor(name, "offset")->bytes, 4);
	memcpy((uint8_t *)s.parts[NF4_NESTED] + 4, nested->bytes, nested->n_bytes);
	return s;
}

/* Catches a fused multiply-add in a scale, a rounding of bf16 by truncation, codes read beyond
 * the end of a short block, `first` taken for blocks. */
static void
test_nf4_values_equal_bitsandbytes(void **state)
{
	const struct nf4_kernels *path[3];
	const uint32_t n_paths = paths(path);
	const void *best;
	const struct hone_storage_vt *vt = format(&best);

	(void)state;
	for (int i = 0; i < N_CASES; i++) {
		const struct hn_tensor_info *want = tensor(cases[i], "values");
		const struct hn_tensor_info *want_bf16 = tensor(cases[i], "values_bf16");
		const int64_t n = want->n_elems, half = n / 2 / NF4_BLOCK * NF4_BLOCK;
		struct stored s = golden_parts(vt, cases[i], n);
		const void *parts[NF4_PARTS] = {s.parts[0], s.parts[1], s.parts[2]};
		float *found = calloc((size_t)n + 1, sizeof *found);
		uint16_t *found_bf16 = calloc((size_t)n + 1, sizeof *found_bf16);

		for (uint32_t p = 0; p <= n_paths; p++) {
			const void *self = p < n_paths ? path[p] : best;

			found[n] = 7;
			found_bf16[n] = 7;
			vt->decode(self, parts, 0, half, found);
			vt->decode(self, parts, half, n - half, found + half);
			vt->decode_bf16(self, parts, 0, half, found_bf16);
			vt->decode_bf16(self, parts, half, n - half, found_bf16 + half);
			for (int64_t k = 0; k < n; k++)
				if (memcmp(&found[k], want->bytes + 4 * k, 4) != 0)
					fail_msg("%s, element %d: %.9g", cases[i], (int)k,
						(double)found[k]);
			assert_memory_equal(found_bf16, want_bf16->bytes, (size_t)n * 2);
			assert_true(found[n] == 7 && found_bf16[n] == 7);
		}
		free(found);
		free(found_bf16);
		free_parts(&s);
	}
}

/* Catches parts of another weight's size being taken for this one's. */
static void
test_nf4_check_refuses_parts_of_other_sizes(void **state)
{
	const void *best;
	const struct hone_storage_vt *vt = format(&best);
	const void *parts[NF4_PARTS] = {0};
	uint64_t bytes[NF4_PARTS];
	const struct hone_storage_weight weight = {.struct_size = sizeof weight,
		.rank = 2,
		.dim = {7, 31},
		.name = "w",
		.parts = parts,
		.part_bytes = bytes};
	struct hone_error err = {0};

	(void)state;
	for (uint32_t i = 0; i < NF4_PARTS; i++)
		bytes[i] = vt->part_bytes(best, i, 7 * 31);
	assert_int_equal(vt->check(best, &weight, &err), HONE_OK);
	bytes[1]--;
	assert_int_equal(vt->check(best, &weight, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "part 1 has 3 bytes, 4 are needed"));
}

static int
open_golden(void **state)
{
	char *path = test_data_path("golden/nf4/nf4.safetensors");
	struct hone_error err = {0};
	const enum hone_status st = hn_safetensors_open(&golden, path, &err);

	(void)state;
	free(path);
	return st != HONE_OK;
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
		cmocka_unit_test(test_nf4_books_equal_bitsandbytes),
		cmocka_unit_test(test_nf4_codes_and_maxima_equal_bitsandbytes),
		cmocka_unit_test(test_nf4_double_quantisation_equals_bitsandbytes),
		cmocka_unit_test(test_nf4_values_equal_bitsandbytes),
		cmocka_unit_test(test_nf4_check_refuses_parts_of_other_sizes),
	};

	return cmocka_run_group_tests(tests, open_golden, close_golden);
}
