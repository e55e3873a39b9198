/*
 * test_resume.c - a run that was stopped and goes on is the run that was never stopped.
 *
 * Real training of a tiny model: after a checkpoint and a new start, every value, moment and
 * loss has the bits of the uninterrupted run.  With a negative control: without the moments
 * the same comparison fails.
 *
 * D9   moments dropped or a schedule begun anew; a missing file that goes unnoticed
 * D15  the wrong checkpoint chosen as best, or lost
 *
 * D1, D2, D5 and D6, which need data and epochs, are in test_resumes.c.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_model.h"
#include "plugin_values.h"
#include "state_bench.h"
#include "support.h"
#include "train/checkpoint.h"
#include "train/schedule.h"
#include "train/step.h"

enum { N_STEPS = 6, STOP_AFTER = 3, N_TOKENS = 12 };

static const struct hn_adamw adamw = {0.9, 0.999, 1e-8, 0.01};

/* A model that can be trained. */
struct trainer {
	struct bench_model bench;
	struct lora_values lora;
	struct hn_layout layout;
	struct hn_step step;
	double losses[N_STEPS];
};

static void
trainer_open(struct trainer *trainer)
{
	const struct bench_training training = {.sft = {1, 1, 0.0},
		.adamw = adamw,
		.capacity = {64, 4, 64, 64, 0},
		.chunk_rows = 16,
		.compute = HONE_DTYPE_F32};
	struct bench_model *bench = &trainer->bench;

	memset(trainer, 0, sizeof *trainer);
	bench_open(bench, "golden/models/tiny-llama", "reference");
	trainer->lora = (struct lora_values){.r = 2,
		.lora_alpha = 4,
		.lora_dropout = 0.1,
		.target_modules = bench_sites(bench, "all-linear"),
		.init_lora_weights = 1};
	bench_adapter(bench, "lora", "lora", "lora", &trainer->lora);
	bench_training(bench, &trainer->step, &trainer->layout, &training);
}

static void
trainer_close(struct trainer *trainer)
{
	bench_close(&trainer->bench);
	hn_layout_fini(&trainer->layout);
}

static void
trainer_init(struct trainer *trainer)
{
	struct bench_model *bench = &trainer->bench;
	struct hone_error err = {0};

	for (uint32_t i = 0; i < bench->params.n; i++) {
		const struct hn_param *param = &bench->params.list[i];
		float *values = malloc((size_t)param->n_elems * sizeof *values);

		if (hn_param_init(param, &bench->model, bench->factories[0],
			    bench->adapters[0].self, 1, values, &err) ||
			hn_engine_set(&bench->engine, HN_MEMORY_PARAMS, param, values, &err))
			fail_msg("%s", err.text);
		free(values);
	}
}

/* One segment whose tokens follow from the step; every position predicts the next. */
static void
bind_step(struct hn_program *program, int64_t t)
{
	const int32_t offsets[] = {0, N_TOKENS};
	int32_t *index = hn_program_column(program, "text.supervised.index");
	int32_t *labels = hn_program_column(program, "text.supervised.labels");
	int32_t ids[N_TOKENS + 1];

	for (int32_t i = 0; i <= N_TOKENS; i++)
		ids[i] = (int32_t)((7 * t + 5 * i) % 50);
	for (int32_t i = 0; i < N_TOKENS; i++) {
		index[i] = i;
		labels[i] = ids[i + 1];
	}
	bench_bind(program, ids, offsets, 1);
	hn_program_set_live(program, "text.supervised", N_TOKENS);
}

/* Steps [from, to). */
static void
train(struct trainer *trainer, int64_t from, int64_t to)
{
	const struct hn_schedule_plan plan = {
		.type = HN_SCHEDULE_LINEAR, .base = 1e-2, .warmup = 2, .total = N_STEPS};
	struct hn_step *step = &trainer->step;
	struct hone_error err = {0};
	double norm;

	for (int64_t t = from; t < to; t++) {
		hn_step_begin(step);
		hn_step_set_denominator(step, 0, N_TOKENS);
		bind_step(&step->train, t);
		if (hn_step_micro(step, 1, (uint64_t)t, &err) ||
			hn_step_end(step, (uint64_t)t, hn_schedule_rate(&plan, t), &adamw, 1.0,
				&norm, &err))
			fail_msg("%s", err.text);
		trainer->losses[t] = step->sums[0];
	}
}

/* Whether all values and moments have the same bits. */
static bool
is_equal(const struct trainer *a, const struct trainer *b)
{
	static const int32_t kinds[] = {HN_MEMORY_PARAMS, HN_MEMORY_MOMENT1, HN_MEMORY_MOMENT2};
	struct hone_error err = {0};
	bool equal = true;

	for (uint32_t i = 0; i < a->bench.params.n; i++)
		for (size_t k = 0; k < 3; k++) {
			const struct hn_param *param = &a->bench.params.list[i];
			const size_t n = (size_t)param->n_elems * sizeof(float);
			float *x = malloc(n), *y = malloc(n);

			if (hn_engine_get(&a->bench.engine, kinds[k], param, x, &err) ||
				hn_engine_get(&b->bench.engine, kinds[k], param, y, &err))
				fail_msg("%s", err.text);
			equal &= memcmp(x, y, n) == 0;
			free(x);
			free(y);
		}
	return equal;
}

static void
save(struct hn_folder *folder, const struct trainer *trainer, int64_t step)
{
	const struct hn_progress progress = {
		.step = step, .best_step = -1, .last_eval_step = -1, .loss_sum = 0.1};
	const struct hn_save_request request = {
		.engine = &trainer->bench.engine, .progress = &progress, .config = "", .limit = 2};
	struct hone_error err = {0};

	if (hn_checkpoint_save(folder, &request, &err))
		fail_msg("%s: %s", err.place, err.text);
}

/* D9: would catch moments that are dropped, a schedule or a bias correction that starts anew, a
 * dropout mask that depends on when the process began. */
static void
test_resume_stopped_run_equals_uninterrupted(void **state)
{
	char *path = test_folder_make();
	struct trainer whole, half, rest;
	struct hn_folder folder;
	struct hn_saved saved;
	struct hn_log log;
	struct hone_error err = {0};

	(void)state;
	state_folder_open(&folder, &log, path);
	trainer_open(&whole);
	trainer_init(&whole);
	train(&whole, 0, N_STEPS);

	trainer_open(&half);
	trainer_init(&half);
	train(&half, 0, STOP_AFTER);
	save(&folder, &half, STOP_AFTER);
	trainer_close(&half);

	/* a new start knows nothing but the folder */
	trainer_open(&rest);
	assert_int_equal(hn_checkpoint_newest(&folder, &saved, &err), HONE_OK);
	assert_int_equal(saved.progress.step, STOP_AFTER);
	if (hn_checkpoint_load(&saved, &rest.bench.engine, &err))
		fail_msg("%s: %s", err.place, err.text);
	train(&rest, saved.progress.step, N_STEPS);
	assert_true(is_equal(&whole, &rest));
	for (int t = STOP_AFTER; t < N_STEPS; t++)
		assert_memory_equal(&whole.losses[t], &rest.losses[t], sizeof(double));

	/* the control: the same without moments is another run */
	assert_int_equal(hn_checkpoint_load(&saved, &rest.bench.engine, &err), HONE_OK);
	assert_int_equal(hn_engine_clear(&rest.bench.engine, HN_MEMORY_MOMENT1, &err), HONE_OK);
	train(&rest, saved.progress.step, N_STEPS);
	assert_false(is_equal(&whole, &rest));

	hn_saved_close(&saved);
	trainer_close(&whole);
	trainer_close(&rest);
	hn_folder_close(&folder);
	test_folder_remove(path);
}

/* D9: would catch an optimizer that quietly starts from zero because its file is not there. */
static void
test_resume_without_moments_is_refused(void **state)
{
	char *path = test_folder_make();
	struct trainer trainer;
	struct hn_folder folder;
	struct hn_saved saved;
	struct hn_log log;
	struct hone_error err = {0};

	(void)state;
	state_folder_open(&folder, &log, path);
	trainer_open(&trainer);
	trainer.bench.engine.has_moments = false; /* an engine that only evaluates */
	trainer_init(&trainer);
	save(&folder, &trainer, 1);
	assert_int_equal(hn_checkpoint_newest(&folder, &saved, &err), HONE_OK);
	assert_false(saved.has_moments);
	assert_int_equal(hn_checkpoint_load(&saved, &trainer.bench.engine, &err), HONE_OK);
	trainer.bench.engine.has_moments = true;
	assert_int_equal(hn_checkpoint_load(&saved, &trainer.bench.engine, &err), HONE_EIO);
	assert_non_null(strstr(err.text, "moments"));
	hn_saved_close(&saved);
	trainer_close(&trainer);
	hn_folder_close(&folder);
	test_folder_remove(path);
}

/* D15: would catch an inverted comparison, a NaN that is chosen as best or that can never be
 * beaten, a tie that replaces the earlier one. */
static void
test_resume_best_is_never_not_a_number(void **state)
{
	const double nan = (double)NAN, inf = (double)INFINITY;

	(void)state;
	assert_true(hn_is_better(3.0, false, 0.0, false, 0.0)); /* the first */
	assert_true(hn_is_better(-3.0, false, 0.0, true, 0.0));
	assert_false(hn_is_better(nan, false, 0.0, false, 0.0));
	assert_false(hn_is_better(inf, false, 0.0, true, 0.0));
	assert_false(hn_is_better(-inf, false, 0.0, false, 0.0));
	assert_true(hn_is_better(1.0, true, 2.0, false, 0.0)); /* a loss */
	assert_false(hn_is_better(2.0, true, 1.0, false, 0.0));
	assert_true(hn_is_better(2.0, true, 1.0, true, 0.0)); /* an accuracy */
	assert_false(hn_is_better(1.0, true, 2.0, true, 0.0));
	assert_false(hn_is_better(1.0, true, 1.0, false, 0.0)); /* a tie */
	assert_false(hn_is_better(1.0, true, 1.0, true, 0.0));
	assert_false(hn_is_better(nan, true, 1.0, false, 0.0));
	assert_false(hn_is_better(-inf, true, 1.0, false, 0.0));
	assert_false(hn_is_better(0.95, true, 1.0, false, 0.1)); /* too little gained */
	assert_true(hn_is_better(0.85, true, 1.0, false, 0.1));
}

/* D15: would catch a best checkpoint that is pruned, or a link that follows the newest. */
static void
test_resume_best_checkpoint_survives_pruning(void **state)
{
	static const double metrics[] = {3.0, 1.0, (double)NAN, 2.0, 1.5};
	char *path = test_folder_make();
	struct hn_progress progress = {.best_step = -1, .last_eval_step = -1};
	struct trainer trainer;
	struct hn_folder folder;
	struct hn_saved saved;
	struct hn_log log;
	struct hone_error err = {0};

	(void)state;
	state_folder_open(&folder, &log, path);
	trainer_open(&trainer);
	assert_int_equal(hn_checkpoint_best(&folder, &saved, &err), HONE_ENOTFOUND);
	for (int i = 0; i < 5; i++) {
		struct hn_save_request request = {.engine = &trainer.bench.engine,
			.progress = &progress,
			.config = "",
			.limit = 1};

		progress.step = i + 1;
		request.is_best = hn_is_better(
			metrics[i], progress.best_step >= 0, progress.best_metric, false, 0.0);
		if (request.is_best) {
			progress.best_metric = metrics[i];
			progress.best_step = progress.step;
		}
		assert_int_equal(hn_checkpoint_save(&folder, &request, &err), HONE_OK);
	}
	assert_int_equal(hn_checkpoint_best(&folder, &saved, &err), HONE_OK);
	assert_int_equal(saved.progress.step, 2);
	hn_saved_close(&saved);
	assert_int_equal(hn_checkpoint_newest(&folder, &saved, &err), HONE_OK);
	assert_int_equal(saved.progress.step, 5);
	assert_int_equal(saved.progress.best_step, 2);
	assert_true(saved.progress.best_metric == 1.0);
	hn_saved_close(&saved);
	trainer_close(&trainer);
	hn_folder_close(&folder);
	test_folder_remove(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resume_stopped_run_equals_uninterrupted),
		cmocka_unit_test(test_resume_without_moments_is_refused),
		cmocka_unit_test(test_resume_best_is_never_not_a_number),
		cmocka_unit_test(test_resume_best_checkpoint_survives_pruning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
