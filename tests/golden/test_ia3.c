/*
 * test_ia3.c - an adapter that multiplies outputs and inputs, against PEFT's (IA)^3.
 *
 * Would catch: rows scaled where columns are meant (q_proj and o_proj are square, so no shape
 * tells), rows of q and k in the wrong order on a GGUF base, a merge that differs from the
 * adapter, an export that PEFT would not read as what was trained.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_adapter.h"
#include "ia3.h"
#include "support.h"

#define FOLDER  "golden/models/tiny-llama"
#define GGUF    "golden/gguf/tiny-llama-f32.gguf"
#define ADAPTER "golden/peft/ia3"

/* f64: transformers' rotary frequencies are float32 (see test_logits.c). */
#define F64_TOLERANCE    1e-5
#define F32_TOLERANCE    2e-4
#define MERGED_TOLERANCE 1e-5

/* Where it runs; bf16 products are not compared with float64 ones. */
static const struct {
	const char *model, *backend;
	int32_t compute;
	double tolerance;
} ways[] = {
	{FOLDER, "reference", HONE_DTYPE_F64, F64_TOLERANCE},
	{FOLDER, "reference", HONE_DTYPE_F32, F32_TOLERANCE},
	{FOLDER, "cpu", HONE_DTYPE_F32, F32_TOLERANCE},
	{GGUF, "reference", HONE_DTYPE_F64, F64_TOLERANCE},
	{GGUF, "cpu", HONE_DTYPE_F32, F32_TOLERANCE},
};
enum { WAYS = sizeof ways / sizeof ways[0] };

struct ia3_bench {
	struct bench_adapter b;
	struct ia3_values values;
};

/* The model with the adapter of peft/ia3 and its values. */
static void
open_way(struct ia3_bench *way, size_t i, const struct golden_text *text)
{
	char *folder = test_data_path(ADAPTER);
	struct hone_error err = {0};

	bench_adapter_open(&way->b, ways[i].model, ways[i].backend, ways[i].compute);
	way->values.target_modules =
		bench_sites(&way->b.bench, "q_proj, k_proj, v_proj, o_proj, down_proj");
	way->values.feedforward_modules = bench_sites(&way->b.bench, "o_proj, down_proj");
	bench_adapter_of(&way->b.bench, &ia3_factory, "ia3", &way->values);
	bench_adapter_start(&way->b, text);
	if (hn_import_adapter(&way->b.adapted, 0, folder, &err))
		fail_msg("%s: %s", err.place, err.text);
	free(folder);
}

static double
distance_from_golden(
	const struct hn_tensor_file *golden, const struct golden_text *text, const double *logits)
{
	const double *want = (const void *)need_tensor(golden, "logits_f64")->bytes;
	double worst = 0.0;

	for (int64_t r = 0; r < text->n_rows; r++)
		worst = fmax(worst,
			greatest_distance(logits + text->rows[r] * 263, want + r * 263, 263));
	return worst;
}

/* The greatest distance of the golden merged weights from those of a folder; counts them. */
static double
merged_distance(const struct hn_tensor_file *golden, const char *dir, size_t *n)
{
	static const char prefix[] = "merged.";
	struct hn_tensor_file merged;
	double worst = 0.0;

	golden_open_in(&merged, dir, "model.safetensors");
	*n = 0;
	for (size_t i = 0; i < golden->n_tensors; i++) {
		const struct hn_tensor_info *want = &golden->tensors[i], *is;

		if (!hn_starts_with(want->name, prefix))
			continue;
		is = need_tensor(&merged, want->name + strlen(prefix));
		assert_int_equal(is->n_elems, want->n_elems);
		(*n)++;
		for (int64_t e = 0; e < is->n_elems; e++) {
			float x, y;

			hn_tensor_decode_host(want, e, 1, &x);
			hn_tensor_decode_host(is, e, 1, &y);
			worst = fmax(worst, (double)fabsf(x - y));
		}
	}
	hn_tensor_file_close(&merged);
	return worst;
}

static void
assert_same_tensors(const char *a, const char *b)
{
	struct hn_tensor_file x, y;

	golden_open_in(&x, a, "adapter_model.safetensors");
	golden_open_in(&y, b, "adapter_model.safetensors");
	assert_int_equal(x.n_tensors, y.n_tensors);
	for (size_t i = 0; i < x.n_tensors; i++) {
		const struct hn_tensor_info *is = need_tensor(&y, x.tensors[i].name);

		assert_int_equal(is->rank, x.tensors[i].rank);
		assert_memory_equal(is->dim, x.tensors[i].dim, is->rank * sizeof is->dim[0]);
		assert_memory_equal(is->bytes, x.tensors[i].bytes, is->n_bytes);
	}
	hn_tensor_file_close(&x);
	hn_tensor_file_close(&y);
}

/* Adapter, its export, the merged model: each as PEFT has it. */
static void
check_way(size_t i, const struct golden_text *text, const struct hn_tensor_file *golden)
{
	char *root = test_folder_make(), *model = hn_path_join(root, "model");
	char *adapter = hn_path_join(root, "adapter"), *origin = test_data_path(ADAPTER);
	struct hn_proof proof = golden_text_proof(text);
	struct bench_adapter whole;
	struct ia3_bench way;
	struct hone_error err = {0};
	double *before, *after, d, weights, gap;
	size_t n;

	open_way(&way, i, text);
	before = bench_adapter_logits(&way.b, text);
	d = distance_from_golden(golden, text, before);
	if (hn_export_adapter(&way.b.adapted, adapter, NULL, &err) ||
		hn_export_model(&way.b.adapted, model, HN_EXPORT_F32, NULL, &proof, &err))
		fail_msg("%s: %s", err.place, err.text);
	assert_same_tensors(origin, adapter);
	assert_true(proof.is_done && proof.merge <= 0.1 * proof.merge_limit);
	weights = merged_distance(golden, model, &n);
	assert_int_equal(n, 5);
	bench_adapter_open(&whole, model, ways[i].backend, ways[i].compute);
	bench_adapter_start(&whole, text);
	after = bench_adapter_logits(&whole, text);
	gap = greatest_distance(before, after, text->n * 263);
	print_message("%-32s %-9s %s logits %.1e, merged weights %.1e, logits %.1e\n",
		ways[i].model, ways[i].backend, hone_dtype_name(ways[i].compute), d, weights, gap);
	assert_true(d <= ways[i].tolerance);
	assert_true(weights <= 1e-6);
	assert_true(gap <= fmax(MERGED_TOLERANCE, ways[i].tolerance));
	free(before);
	free(after);
	free(model);
	free(adapter);
	free(origin);
	bench_adapter_close(&whole);
	bench_adapter_close(&way.b);
	test_folder_remove(root);
}

static void
test_ia3_logits_export_and_merge_are_those_of_peft(void **state)
{
	char *folder = test_data_path("golden/peft");
	struct hn_tensor_file golden;
	struct golden_text text;

	(void)state;
	golden_text_open(&text);
	golden_open_in(&golden, folder, "ia3.safetensors");
	for (size_t i = 0; i < WAYS; i++)
		check_way(i, &text, &golden);
	hn_tensor_file_close(&golden);
	golden_text_close(&text);
	free(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ia3_logits_export_and_merge_are_those_of_peft),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
