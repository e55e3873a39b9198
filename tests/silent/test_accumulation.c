/*
 * test_accumulation.c - a window is one batch, however it is split; its loss is what the
 * formula says; its gradient is clipped once.
 *
 * These faults pass every other test and make a model a little worse: means of means,
 * labels shifted twice, masks that depend on the micro-batch, clipping per micro-batch.  The
 * letters are those of the catalogue of silent bugs that test_data.c begins:
 *
 * A1  a mean of means under gradient accumulation
 * A4  labels shifted twice or not at all
 * A5  a wrong count with ignored rows or label smoothing; a micro-batch without a label
 * A6  clipping per micro-batch, or a norm that changes what it measures
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "train_run.h"

struct kind {
	const char *name;
	struct train_options options;
	double tolerance;
};

/* f64: micro-batches are summed in another order; f32: the same with 24 bits. */
static const struct kind kinds[] = {
	{"lora sft", {.adapters = {{.section = "lora"}}, .dropout = 0.3}, 1e-12},
	{"lora next_token",
		{.adapters = {{.section = "lora"}}, .dropout = 0.3, .objective = "next_token"},
		1e-12},
	{"lora recomputed", {.adapters = {{.section = "lora"}}, .dropout = 0.3, .recomputes = true},
		1e-12},
	{"full smoothed", {.adapters = {{.section = "full"}}, .label_smoothing = 0.1}, 1e-12},
	{"lora cpu",
		{.adapters = {{.section = "lora"}},
			.dropout = 0.3,
			.backend = "cpu",
			.compute = HONE_DTYPE_F32},
		2e-5},
};

/* A1, A5: would catch a mean of means, a smoothed loss over another count, and dropout keyed by rows of the micro-batch. */
static void
test_accumulation_any_split_gives_same_gradient(void **state)
{
	static const int64_t micros[] = {1, 2, 3};
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 4, 8, 3, 40, 263);
	for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
		struct train_run run;
		double *whole, *split, loss;

		train_open(&run, &kinds[k].options);
		train_disturb(&run, 41, 0.02);
		loss = train_gradient(&run, &texts, 0, 8, 8, 5);
		whole = train_take(&run, HN_MEMORY_GRADS);
		for (size_t m = 0; m < sizeof micros / sizeof micros[0]; m++) {
			const double again = train_gradient(&run, &texts, 0, 8, micros[m], 5);
			double distance;

			split = train_take(&run, HN_MEMORY_GRADS);
			distance = train_distance(split, whole, run.bench.params.n_elems);
			free(split);
			if (!(distance <= kinds[k].tolerance &&
				    fabs(again - loss) <= kinds[k].tolerance * loss))
				fail_msg("%s, micro-batches of %d: %.15g for %.15g, gradients %.2e",
					kinds[k].name, (int)micros[m], again, loss, distance);
		}
		free(whole);
		train_close(&run);
	}
}

/* A5: would catch a mean over no rows, which is not a number, and a share of the window's mean
 * for a micro-batch that has nothing to learn, wherever it stands. */
static void
test_accumulation_micro_batch_without_a_label_adds_nothing(void **state)
{
	struct train_texts texts;
	struct train_run run;

	(void)state;
	train_open(&run, &kinds[3].options);
	train_disturb(&run, 41, 0.02);
	for (int64_t empty = 0; empty < 4; empty++) {
		double *whole, *split, loss, again;

		train_texts_make(&texts, 4, 4, 3, 20, 263);
		memset(texts.learned + texts.offsets[empty], 0,
			(size_t)(texts.offsets[empty + 1] - texts.offsets[empty]));
		loss = train_gradient(&run, &texts, 0, 4, 4, 5);
		whole = train_take(&run, HN_MEMORY_GRADS);
		again = train_gradient(&run, &texts, 0, 4, 1, 5);
		split = train_take(&run, HN_MEMORY_GRADS);
		assert_true(loss > 0.0);
		assert_true(fabs(again - loss) <= 1e-12 * loss);
		assert_true(train_distance(split, whole, run.bench.params.n_elems) <= 1e-12);
		free(whole);
		free(split);
	}
	train_close(&run);
}

/* Would catch masks that do not depend on the step, or that do nothing. */
static void
test_accumulation_dropout_differs_between_steps(void **state)
{
	struct train_texts texts;
	struct train_run run;
	double one, other, same;

	(void)state;
	train_texts_make(&texts, 4, 4, 3, 20, 263);
	train_open(&run, &kinds[0].options);
	train_disturb(&run, 41, 0.02);
	one = train_window(&run, &texts, 0, 4, 4, 5);
	other = train_window(&run, &texts, 0, 4, 4, 6);
	same = train_window(&run, &texts, 0, 4, 4, 5);
	assert_true(one != other);
	assert_true(one == same);
	train_close(&run);
}

static double
log_sum_exp(const double *x, int64_t n)
{
	double most = x[0], sum = 0.0;

	for (int64_t i = 1; i < n; i++)
		most = fmax(most, x[i]);
	for (int64_t i = 0; i < n; i++)
		sum += exp(x[i] - most);
	return most + log(sum);
}

/* A4, A5: would catch labels shifted twice or not at all, and a mean over rows without a label: the
 * second token of four is not learned. */
static void
test_accumulation_loss_of_four_tokens_equals_formula(void **state)
{
	static const struct train_texts texts = {
		.n = 1, .offsets = {0, 4}, .ids = {17, 200, 3, 42}, .learned = {0, 0, 1, 1}};
	struct train_run run;
	double *logits, want = 0.0, loss;
	int64_t V;

	(void)state;
	train_open(&run, &(struct train_options){.adapters = {{.section = "lora"}}});
	V = train_vocabulary(&run);
	logits = calloc((size_t)(4 * V), sizeof *logits);
	train_logits(&run, &run.logits, &texts, 0, 1, logits);
	/* tokens 2 and 3 are foretold by rows 1 and 2 */
	want += log_sum_exp(logits + V, V) - logits[V + 3];
	want += log_sum_exp(logits + 2 * V, V) - logits[2 * V + 42];
	want /= 2.0;
	loss = train_gradient(&run, &texts, 0, 1, 1, 0);
	assert_true(fabs(loss - want) <= 1e-12 * want);
	assert_true(fabs(train_eval(&run, &texts, 0, 1) - want) <= 1e-12 * want);
	free(logits);
	train_close(&run);
}

/* ---- clipping ---- */

static double
norm_of(const double *values, int64_t n)
{
	double sum = 0.0;

	for (int64_t i = 0; i < n; i++)
		sum += values[i] * values[i];
	return sqrt(sum);
}

/* The gradient that AdamW saw in its first step: its first moment over 1 - beta1. */
static double *
seen_gradient(struct train_run *run)
{
	double *seen = train_take(run, HN_MEMORY_MOMENT1);

	for (int64_t i = 0; i < run->bench.params.n_elems; i++)
		seen[i] /= 1.0 - 0.9;
	return seen;
}

static void
check_clipping(const struct train_options *options, double share, double tolerance)
{
	struct train_texts texts;
	struct train_run run;
	double *gradient, *seen, norm, max_norm, factor;
	int64_t n;

	train_texts_make(&texts, 4, 6, 3, 20, 263);
	train_open(&run, options);
	train_disturb(&run, 41, 0.02);
	n = run.bench.params.n_elems;
	(void)train_gradient(&run, &texts, 0, 6, 2, 0);
	gradient = train_take(&run, HN_MEMORY_GRADS);
	max_norm = share * norm_of(gradient, n);
	norm = train_update(&run, 0, 1e-3, max_norm);
	assert_true(fabs(norm - norm_of(gradient, n)) <= tolerance * norm);
	seen = seen_gradient(&run);
	factor = share > 0.0 && share < 1.0 ? max_norm / (norm + 1e-6) : 1.0;
	if (factor < 1.0)
		assert_true(norm_of(seen, n) <= max_norm * (1.0 + 1e-6));
	for (int64_t i = 0; i < n; i++)
		gradient[i] *= factor;
	assert_true(train_distance(seen, gradient, n) <= 1e-6);
	free(gradient);
	free(seen);
	train_close(&run);
}

/* A6: would catch clipping of each micro-batch, a norm of other gradients, a factor above 1. */
static void
test_accumulation_clipped_norm_is_the_maximum(void **state)
{
	static const double shares[] = {0.1, 0.5, 1.5, 0.0};

	(void)state;
	for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
		check_clipping(&kinds[1].options, shares[i], 1e-12);
		check_clipping(&kinds[3].options, shares[i], 1e-12);
		check_clipping(&kinds[4].options, shares[i], 1e-6);
	}
}

/* A6: would catch a norm that is measured by scaling what it measures. */
static void
test_accumulation_measuring_the_norm_changes_nothing(void **state)
{
	struct train_texts texts;
	struct train_run run;
	struct hone_error err = {0};
	double *before, *after;

	(void)state;
	train_texts_make(&texts, 4, 4, 3, 20, 263);
	train_open(&run, &kinds[0].options);
	(void)train_gradient(&run, &texts, 0, 4, 2, 0);
	before = train_take(&run, HN_MEMORY_GRADS);
	assert_int_equal(hn_program_run(&run.step.norm, 0, 0, &err), HONE_OK);
	assert_int_equal(hn_program_run(&run.step.norm, 0, 0, &err), HONE_OK);
	after = train_take(&run, HN_MEMORY_GRADS);
	assert_memory_equal(before, after, (size_t)run.bench.params.n_elems * sizeof *after);
	free(before);
	free(after);
	train_close(&run);
}

/* Would catch gradients of a step that stay for the next one. */
static void
test_accumulation_next_window_starts_from_zero(void **state)
{
	struct train_texts texts;
	struct train_run run;
	double *left;

	(void)state;
	train_texts_make(&texts, 4, 4, 3, 20, 263);
	train_open(&run, &kinds[0].options);
	train_steps(&run, &texts, 2, 2, 1e-3, NULL);
	left = train_take(&run, HN_MEMORY_GRADS);
	for (int64_t i = 0; i < run.bench.params.n_elems; i++)
		assert_true(left[i] == 0.0);
	free(left);
	train_close(&run);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accumulation_any_split_gives_same_gradient),
		cmocka_unit_test(test_accumulation_micro_batch_without_a_label_adds_nothing),
		cmocka_unit_test(test_accumulation_dropout_differs_between_steps),
		cmocka_unit_test(test_accumulation_loss_of_four_tokens_equals_formula),
		cmocka_unit_test(test_accumulation_clipped_norm_is_the_maximum),
		cmocka_unit_test(test_accumulation_measuring_the_norm_changes_nothing),
		cmocka_unit_test(test_accumulation_next_window_starts_from_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
