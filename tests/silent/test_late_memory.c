/*
 * test_late_memory.c - memory that is cleared when it is first needed is 0 for whoever asks.
 *
 * Gradients and moments of a training run are not touched before its first step.  Here every
 * buffer comes full of bytes that make NaN of any number.
 *
 * Would catch: a step, a value read or a value set that finds the allocator's bytes instead of
 * zeros; a clearing that comes after values were set, as a resumed run's would be lost.
 */
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "train_run.h"

static struct hone_backend_vt foul_vt;
static const struct hone_backend_vt *true_vt;

static enum hone_status
create_foul(void *device, uint64_t bytes, hone_buffer *out, struct hone_error *err)
{
	const enum hone_status st = true_vt->buffer_create(device, bytes, out, err);

	if (!st)
		memset(*out, 0xff, bytes);
	return st;
}

static void
foul(struct bench_model *bench)
{
	true_vt = bench->devices[0].vt;
	foul_vt = *true_vt;
	foul_vt.buffer_create = create_foul;
	bench->devices[0].vt = &foul_vt;
}

static const struct train_options options[] = {
	{.adapters = {{.section = "full"}}},
	{.adapters = {{.section = "full"}}, .on_open = foul},
	{.adapters = {{.section = "lora"}}, .backend = "cpu", .compute = HONE_DTYPE_F32},
	{.adapters = {{.section = "lora"}},
		.backend = "cpu",
		.compute = HONE_DTYPE_F32,
		.on_open = foul},
};

static const int32_t kinds[] = {HN_MEMORY_GRADS, HN_MEMORY_MOMENT1, HN_MEMORY_MOMENT2};

/* Same parameters after three steps, whatever memory held. */
static void
test_late_memory_steps_are_those_of_clean_memory(void **state)
{
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 4, 4, 5, 20, 263);
	for (size_t i = 0; i < sizeof options / sizeof *options; i += 2) {
		struct train_run clean, run;

		train_open(&clean, &options[i]);
		train_open(&run, &options[i + 1]);
		train_steps(&clean, &texts, 3, 2, 1e-3, NULL);
		train_steps(&run, &texts, 3, 2, 1e-3, NULL);
		train_assert_same_params(&run, &clean);
		train_close(&clean);
		train_close(&run);
	}
}

/* Nobody has stepped yet: all three kinds are 0 to the reader. */
static void
test_late_memory_before_a_step_reads_as_zero(void **state)
{
	struct train_run run;

	(void)state;
	train_open(&run, &options[1]);
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
		for (uint32_t p = 0; p < run.bench.params.n; p++) {
			const struct hn_param *param = &run.bench.params.list[p];
			float *values = malloc((size_t)param->n_elems * sizeof *values);
			struct hone_error err = {0};

			assert_non_null(values);
			assert_int_equal(
				hn_engine_get(&run.bench.engine, kinds[k], param, values, &err),
				HONE_OK);
			for (int64_t i = 0; i < param->n_elems; i++)
				assert_true(values[i] == 0.0f);
			free(values);
		}
	train_close(&run);
}

/* Moments of one parameter are set, as resuming does, before anything else: a step starts from
 * them, and from 0 for the others. */
static void
test_late_memory_set_values_outlive_the_clearing(void **state)
{
	struct train_texts texts;
	struct train_run runs[2];

	(void)state;
	train_texts_make(&texts, 4, 4, 5, 20, 263);
	for (int r = 0; r < 2; r++) {
		const struct hn_param *param;
		struct hone_error err = {0};
		float *values, *found;

		train_open(&runs[r], &options[r]);
		param = &runs[r].bench.params.list[1];
		values = malloc((size_t)param->n_elems * sizeof *values);
		found = malloc((size_t)param->n_elems * sizeof *found);
		assert_true(values && found);
		for (int64_t i = 0; i < param->n_elems; i++)
			values[i] = 0.25f + (float)(i % 7);
		for (size_t k = 1; k < 3; k++) {
			assert_int_equal(
				hn_engine_set(&runs[r].bench.engine, kinds[k], param, values, &err),
				HONE_OK);
			assert_int_equal(
				hn_engine_get(&runs[r].bench.engine, kinds[k], param, found, &err),
				HONE_OK);
			assert_memory_equal(values, found, (size_t)param->n_elems * sizeof *found);
		}
		train_steps(&runs[r], &texts, 1, 2, 1e-3, NULL);
		assert_int_equal(
			hn_engine_get(&runs[r].bench.engine, HN_MEMORY_MOMENT1, param, found, &err),
			HONE_OK);
		assert_true(found[3] > 0.5f); /* 0.9 of what was set, and a small gradient */
		free(values);
		free(found);
	}
	train_assert_same_params(&runs[1], &runs[0]);
	train_close(&runs[0]);
	train_close(&runs[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_late_memory_steps_are_those_of_clean_memory),
		cmocka_unit_test(test_late_memory_before_a_step_reads_as_zero),
		cmocka_unit_test(test_late_memory_set_values_outlive_the_clearing),
	};

	return cmocka_run_group_tests_name("late_memory", tests, NULL, NULL);
}
