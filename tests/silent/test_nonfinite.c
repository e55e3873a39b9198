/*
 * test_nonfinite.c - A7: a value that is not finite voids the whole window and is named.
 *
 * Would catch a window that goes on without the micro-batch that failed (half a window over a
 * whole denominator), parameters or moments that take a NaN, and a report that says nothing.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "train_run.h"

static const struct train_options runs[] = {
	{.adapters = {{.section = "lora"}}},
	{.adapters = {{.section = "lora"}}, .backend = "cpu", .compute = HONE_DTYPE_F32},
	{.adapters = {{.section = "lora"}}, .backend = "cpu", .compute = HONE_DTYPE_BF16},
	{.adapters = {{.section = "full"}}, .backend = "cpu", .compute = HONE_DTYPE_F32},
};
enum { RUNS = sizeof runs / sizeof runs[0] };

static const double poisons[] = {NAN, INFINITY, -INFINITY};

struct snapshot {
	double *values[3];
	size_t n_bytes;
};

static const int32_t kept[3] = {HN_MEMORY_PARAMS, HN_MEMORY_MOMENT1, HN_MEMORY_MOMENT2};

static struct snapshot
snapshot_take(const struct train_run *run)
{
	struct snapshot s;

	for (int i = 0; i < 3; i++)
		s.values[i] = train_take(run, kept[i]);
	s.n_bytes = (size_t)run->bench.params.n_elems * sizeof(double);
	return s;
}

static void
assert_unchanged(const struct train_run *run, struct snapshot *s)
{
	struct snapshot now = snapshot_take(run);

	for (int i = 0; i < 3; i++) {
		assert_memory_equal(now.values[i], s->values[i], s->n_bytes);
		free(now.values[i]);
		free(s->values[i]);
	}
}

static void
poison(struct train_run *run, int32_t kind, uint64_t at, double value)
{
	double *values = train_take(run, kind);

	values[at] = value;
	train_put(run, kind, values);
	free(values);
}

static void
assert_says(const struct hone_error *err, const char *a, const char *b)
{
	if (!strstr(err->text, a) || !strstr(err->text, b))
		fail_msg("does not say %s and %s: %s", a, b, err->text);
}

/* A parameter that is not finite: the loss is not, and the step ends there. */
static void
test_nonfinite_parameter_is_named_by_term_and_step(void **state)
{
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 4, 4, 5, 20, 263);
	for (int r = 0; r < RUNS; r++)
		for (size_t p = 0; p < 3; p++) {
			struct hone_error err = {0};
			struct snapshot before;
			struct train_run run;

			train_open(&run, &runs[r]);
			train_disturb(&run, 51, 0.02);
			train_steps(&run, &texts, 2, 2, 1e-3, NULL);
			poison(&run, HN_MEMORY_PARAMS, run.bench.params.list[3].offset, poisons[p]);
			before = snapshot_take(&run);
			hn_step_begin(&run.step);
			hn_step_set_denominator(&run.step, 0, 10.0);
			train_bind(&run.step.train, &texts, 0, 4, 0);
			assert_int_equal(hn_step_micro(&run.step, 1, 2, &err), HONE_ENOTFINITE);
			assert_says(&err, "'nll'", "step 3");
			assert_unchanged(&run, &before);
			train_close(&run);
		}
}

/* The loss is finite, a gradient is not: named by parameter, and nothing moves. */
static void
test_nonfinite_gradient_is_named_by_tensor_and_step(void **state)
{
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 4, 4, 5, 20, 263);
	for (int r = 0; r < RUNS; r++)
		for (size_t p = 0; p < 3; p++) {
			struct hone_error err = {0};
			const struct hn_param *param;
			struct snapshot before;
			struct train_run run;
			double norm = -1.0;

			train_open(&run, &runs[r]);
			train_steps(&run, &texts, 2, 2, 1e-3, NULL);
			param = &run.bench.params.list[5];
			(void)train_gradient(&run, &texts, 0, 4, 2, 2);
			poison(&run, HN_MEMORY_GRADS, param->offset + 7, poisons[p]);
			before = snapshot_take(&run);
			assert_int_equal(
				hn_step_end(&run.step, 2, 1e-3, &run.adamw, 1.0, &norm, &err),
				HONE_ENOTFINITE);
			assert_says(&err, param->key, "step 3");
			assert_says(&err, "element 7", "not finite");
			assert_true(norm == -1.0);
			assert_unchanged(&run, &before);
			train_close(&run);
		}
}

/* A7: only the second of three micro-batches fails: the window says so at that one. */
static void
test_nonfinite_second_micro_batch_stops_the_window(void **state)
{
	static const struct train_options options = {
		.adapters = {{.section = "full"}}, .model = "golden/models/tiny-llama-untied"};
	struct train_texts texts;
	struct train_run run;
	struct hone_error err = {0};
	const struct hn_param *embedding;
	struct snapshot before;

	(void)state;
	train_texts_make(&texts, 4, 3, 5, 9, 250);
	texts.ids[texts.offsets[1] + 1] = 255; /* in no other text */
	train_open(&run, &options);
	embedding = hn_params_find(&run.bench.params, "full",
		&hn_model_site_at(&run.bench.model, "embed.token", -1)->pub, "weight");
	poison(&run, HN_MEMORY_PARAMS, embedding->offset + (uint64_t)(255 * embedding->spec.dim[1]),
		NAN);
	before = snapshot_take(&run);
	hn_step_begin(&run.step);
	hn_step_set_denominator(&run.step, 0, 10.0);
	train_bind(&run.step.train, &texts, 0, 1, 0);
	assert_int_equal(hn_step_micro(&run.step, 1, 0, &err), HONE_OK);
	train_bind(&run.step.train, &texts, 1, 1, 0);
	assert_int_equal(hn_step_micro(&run.step, 1, 0, &err), HONE_ENOTFINITE);
	assert_false(hn_is_finite(run.step.sums[0]));
	/* even a caller that goes on cannot apply it: the gradients are not finite either */
	train_bind(&run.step.train, &texts, 2, 1, 0);
	assert_int_equal(hn_step_micro(&run.step, 1, 0, &err), HONE_ENOTFINITE);
	assert_int_equal(hn_step_end(&run.step, 0, 1e-3, &run.adamw, 0.0, &(double){0.0}, &err),
		HONE_ENOTFINITE);
	assert_unchanged(&run, &before);
	train_close(&run);
}

/* Would catch a test by comparison that -ffast-math or a subnormal would fool. */
static void
test_nonfinite_bits_are_told_apart(void **state)
{
	(void)state;
	assert_false(hn_is_finite(NAN));
	assert_false(hn_is_finite(-NAN));
	assert_false(hn_is_finite(INFINITY));
	assert_false(hn_is_finite(-INFINITY));
	assert_true(hn_is_finite(0.0));
	assert_true(hn_is_finite(5e-324));
	assert_true(hn_is_finite(-1.7976931348623157e308));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nonfinite_parameter_is_named_by_term_and_step),
		cmocka_unit_test(test_nonfinite_gradient_is_named_by_tensor_and_step),
		cmocka_unit_test(test_nonfinite_second_micro_batch_stops_the_window),
		cmocka_unit_test(test_nonfinite_bits_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
