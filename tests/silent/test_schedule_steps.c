/*
 * test_schedule_steps.c - D10: the schedule counts optimizer steps, and nothing else.
 *
 * Would catch: a schedule that is stepped per micro-batch or per example, a total that counts
 * them, a rate that is one step late, an end that is not the minimum.  The learning rates are
 * those that a run of the built program writes to metrics.jsonl; the closed forms stand here.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "place.h"
#include "train/schedule.h"

/* 40 examples, 8 a step, 4 epochs. */
enum { STEPS = 20, WARMUP = 3 };

static const double pi = 3.14159265358979323846;
static const double base = 1e-2, lowest = 1e-3;

#define ONE_EACH                                                                                   \
	"--set train.per_device_train_batch_size=1 --set train.gradient_accumulation_steps=8 "     \
	"--set train.micro_batch_tokens=16 --set data.max_length=16"

/* The same eight examples a step: one micro-batch, asked for in two ways; a few; one each. */
static const char *const windows[] = {
	"--set train.per_device_train_batch_size=8 --set train.gradient_accumulation_steps=1",
	"--set train.per_device_train_batch_size=1 --set train.gradient_accumulation_steps=8",
	"--set train.per_device_train_batch_size=8 --set train.micro_batch_tokens=64",
	ONE_EACH,
};

static double
linear(int t)
{
	return t < WARMUP ? base * t / WARMUP : base * (STEPS - t) / (STEPS - WARMUP);
}

static double
cosine(int t)
{
	const double share = (double)(t - WARMUP) / (STEPS - WARMUP);

	return t < WARMUP ? base * t / WARMUP
			  : lowest + (base - lowest) * (1.0 + cos(pi * share)) / 2.0;
}

/* Every line of training: step t + 1 was made with the rate of t, and there are STEPS. */
static void
check_rates(const struct place *place, double (*rate)(int), const char *words)
{
	char *text = place_read(place, "run/metrics.jsonl");
	int n = 0;

	for (const char *at = text; *at; at += strcspn(at, "\n"), at += *at == '\n') {
		json_t *line = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
		const json_t *got = json_object_get(line, "learning_rate");

		assert_non_null(line);
		if (got) {
			const double have = json_number_value(got);

			assert_int_equal(json_integer_value(json_object_get(line, "step")), n + 1);
			if (!(fabs(have - rate(n)) <= 1e-12 * base))
				fail_msg("%s: step %d: %.17g, the formula has %.17g", words, n + 1,
					have, rate(n));
			n++;
		}
		json_decref(line);
	}
	assert_int_equal(n, STEPS);
	free(text);
}

static void
check_schedule(const char *schedule, double (*rate)(int))
{
	for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
		struct place place;
		char words[512];

		place_open(&place);
		(void)snprintf(words, sizeof words,
			"--set train.logging_steps=1 --set train.warmup_steps=%d %s %s", WARMUP,
			windows[i], schedule);
		(void)place_run(&place, "train", words, 0);
		check_rates(&place, rate, words);
		place_close(&place);
	}
}

static void
test_schedule_steps_linear_is_the_same_for_any_accumulation(void **state)
{
	(void)state;
	check_schedule("--set train.lr_scheduler_type=linear", linear);
}

static void
test_schedule_steps_cosine_is_the_same_for_any_accumulation(void **state)
{
	(void)state;
	check_schedule(
		"--set train.lr_scheduler_type=cosine_with_min_lr --set train.min_lr=1e-3", cosine);
}

/* After the last step the rate is the minimum: 0 of linear, and what the others are told. */
static void
test_schedule_steps_end_at_the_minimum(void **state)
{
	static const struct {
		int32_t type;
		double end;
	} cases[] = {
		{HN_SCHEDULE_LINEAR, 0.0},
		{HN_SCHEDULE_COSINE, 0.0},
		{HN_SCHEDULE_POLYNOMIAL, 1e-4},
		{HN_SCHEDULE_COSINE_WITH_MIN_LR, 1e-3},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct hn_train_options train = {.lr_scheduler_type = cases[i].type,
			.learning_rate = base,
			.warmup_steps = WARMUP,
			.lr_power = 1.0,
			.lr_end = 1e-4,
			.min_lr = lowest};
		const struct hn_schedule_plan plan = hn_schedule_make(&train, STEPS);

		assert_true(fabs(hn_schedule_rate(&plan, STEPS) - cases[i].end) <= 1e-12 * base);
		for (int t = WARMUP; t < STEPS; t++)
			assert_true(hn_schedule_rate(&plan, t) > hn_schedule_rate(&plan, t + 1));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_schedule_steps_linear_is_the_same_for_any_accumulation),
		cmocka_unit_test(test_schedule_steps_cosine_is_the_same_for_any_accumulation),
		cmocka_unit_test(test_schedule_steps_end_at_the_minimum),
	};

	return cmocka_run_group_tests_name("schedule_steps", tests, NULL, NULL);
}
