/*
 * test_ia3.c - an adapter of factors, trained, merged and exported: the merged model is it.
 *
 * Would catch: factors that do not train, a merge along the wrong axis (all linear layers are
 * adapted, the square ones too), a gradient that a view of a parameter loses, exports that
 * cannot be read again.
 */
#include <stdlib.h>
#include <string.h>

#include "ia3.h"
#include "support.h"
#include "train/export.h"
#include "train_run.h"

static struct ia3_values chosen; /* resolved when the model is open */

static void
choose(struct bench_model *bench)
{
	chosen.target_modules = bench_sites(bench, "all-linear");
	chosen.feedforward_modules = bench_sites(bench, "q_proj, v_proj, down_proj");
}

static const struct train_options ia3 = {
	.adapters = {{.section = "ia3", .factory = &ia3_factory, .values = &chosen}},
	.on_open = choose,
};

static struct hn_adapted
adapted_of(const struct train_run *run)
{
	return (struct hn_adapted){.model = &run->bench.model,
		.params = &run->bench.params,
		.engine = &run->bench.engine,
		.adapters = run->bench.adapters,
		.n_adapters = run->bench.n_adapters,
		.seed = 1};
}

static double *
logits_of(struct train_run *run, struct hn_program *program, const struct train_texts *texts,
	int64_t *n)
{
	double *out;

	*n = texts->offsets[texts->n] * train_vocabulary(run);
	out = calloc((size_t)*n, sizeof *out);
	train_logits(run, program, texts, 0, texts->n, out);
	return out;
}

/* The same parameters without rounding. */
static double *
exact_logits(const struct train_run *run, const struct train_texts *texts)
{
	double *values = train_take(run, HN_MEMORY_PARAMS), *out;
	struct train_run exact;
	int64_t n;

	train_open(&exact, &ia3);
	train_put(&exact, HN_MEMORY_PARAMS, values);
	out = logits_of(&exact, &exact.logits, texts, &n);
	train_close(&exact);
	free(values);
	return out;
}

/* Factors of one change no bit; steps lower the loss; what they learned is in the weights.
 * `tolerance` 0: bf16, which rounds l y and (l W) x at different places, so that the merged
 * model may be as far from the exact logits as the adapter is, times two. */
static void
train_and_merge(const char *backend, int32_t compute, double tolerance)
{
	char *root = test_folder_make(), *model = hn_path_join(root, "model");
	struct train_options options = ia3;
	struct train_texts texts;
	struct train_run run, whole;
	struct hn_adapted adapted;
	struct hone_error err = {0};
	double losses[20], *base, *policy, *merged, *exact, noise;
	int64_t n, m;

	train_texts_make(&texts, 4, 4, 5, 20, 263);
	options.backend = backend;
	options.compute = compute;
	train_open(&run, &options);
	base = logits_of(&run, &run.base, &texts, &n);
	policy = logits_of(&run, &run.logits, &texts, &n);
	/* in bf16 a sum that is folded into the base's product rounds once, l y + h twice */
	if (compute != HONE_DTYPE_BF16)
		assert_memory_equal(base, policy, (size_t)n * sizeof *base);
	free(policy);
	train_steps(&run, &texts, 20, 2, 2e-2, losses);
	assert_true(losses[19] < 0.8 * losses[0]);
	policy = logits_of(&run, &run.logits, &texts, &n);
	assert_true(train_distance(policy, base, n) > 0.05);
	adapted = adapted_of(&run);
	if (hn_export_model(&adapted, model, HN_EXPORT_F32, NULL, NULL, &err))
		fail_msg("%s: %s", err.place, err.text);
	options.model = model;
	train_open(&whole, &options);
	merged = logits_of(&whole, &whole.base, &texts, &m);
	assert_int_equal(n, m);
	print_message("%-9s %s loss %.3f to %.3f, merged logits from adapter %.1e\n", backend,
		hone_dtype_name(compute), losses[0], losses[19], train_distance(merged, policy, n));
	exact = exact_logits(&run, &texts);
	noise = train_distance(policy, exact, n);
	if (tolerance == 0.0)
		print_message("  from the exact ones: adapter %.1e, merged %.1e\n", noise,
			train_distance(merged, exact, n));
	assert_true(tolerance > 0.0 ? train_distance(merged, policy, n) <= tolerance
				    : train_distance(merged, exact, n) <= 2.0 * noise);
	free(exact);
	free(base);
	free(policy);
	free(merged);
	free(model);
	train_close(&run);
	train_close(&whole);
	test_folder_remove(root);
}

static void
test_ia3_merged_model_is_the_trained_adapter(void **state)
{
	(void)state;
	/* weights are rounded to f32 once */
	train_and_merge("reference", HONE_DTYPE_F64, 1e-6);
	train_and_merge("cpu", HONE_DTYPE_F32, 1e-5);
	train_and_merge("cpu", HONE_DTYPE_BF16, 0.0);
}

/* What was exported is what is read: the same values in a run that did not train. */
static void
test_ia3_exported_adapter_is_read_again(void **state)
{
	char *root = test_folder_make(), *dir = hn_path_join(root, "adapter");
	struct train_texts texts;
	struct train_run run, again;
	struct hn_adapted adapted;
	struct hone_error err = {0};
	double *a, *b;

	(void)state;
	train_texts_make(&texts, 4, 4, 5, 20, 263);
	train_open(&run, &ia3);
	train_steps(&run, &texts, 3, 2, 1e-2, NULL);
	adapted = adapted_of(&run);
	if (hn_export_adapter(&adapted, dir, NULL, &err))
		fail_msg("%s: %s", err.place, err.text);
	train_open(&again, &ia3);
	adapted = adapted_of(&again);
	if (hn_import_adapter(&adapted, 0, dir, &err))
		fail_msg("%s: %s", err.place, err.text);
	a = train_take(&run, HN_MEMORY_PARAMS);
	b = train_take(&again, HN_MEMORY_PARAMS);
	for (int64_t i = 0; i < run.bench.params.n_elems; i++)
		assert_true((float)a[i] == (float)b[i]);
	free(a);
	free(b);
	free(dir);
	train_close(&run);
	train_close(&again);
	test_folder_remove(root);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ia3_merged_model_is_the_trained_adapter),
		cmocka_unit_test(test_ia3_exported_adapter_is_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
