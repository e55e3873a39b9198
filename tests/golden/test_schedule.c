/*
 * test_schedule.c - learning rates of every step, and the length of the warm-up, against
 * transformers' get_scheduler and TrainingArguments.
 *
 * Would catch: a schedule that is off by one step, a warm-up that is counted into the decay,
 * half a cosine taken for a whole one, a minimum that is taken for a share, a rate below zero
 * or a NaN beyond the last step, a share of all steps that is rounded down.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/host_options.h"
#include "model/safetensors.h"
#include "support.h"
#include "train/schedule.h"

enum { TOTAL = 37, STEPS = 40 };

/* The same formulas in the same type: only the order of operations may differ. */
#define TOLERANCE 1e-12

/* Names of transformers that an INI has, too; warmup_stable_decay is not among them. */
static const struct {
	const char *name;
	int32_t type;
} types[] = {
	{"linear", HN_SCHEDULE_LINEAR},
	{"cosine", HN_SCHEDULE_COSINE},
	{"cosine_with_restarts", HN_SCHEDULE_COSINE_WITH_RESTARTS},
	{"polynomial", HN_SCHEDULE_POLYNOMIAL},
	{"constant", HN_SCHEDULE_CONSTANT},
	{"constant_with_warmup", HN_SCHEDULE_CONSTANT_WITH_WARMUP},
	{"inverse_sqrt", HN_SCHEDULE_INVERSE_SQRT},
	{"cosine_with_min_lr", HN_SCHEDULE_COSINE_WITH_MIN_LR},
};

static double
number(const json_t *given, const char *key, double otherwise)
{
	const json_t *value = json_object_get(given, key);

	return value ? json_number_value(value) : otherwise;
}

/* Options that say the same as a case's arguments at base rate `base`; false where no INI can
 * say it: another type, or inverse_sqrt's timescale. */
static bool
options_of(const json_t *given, double base, struct hn_train_options *out)
{
	const char *type = json_string_value(json_object_get(given, "lr_scheduler_type"));

	*out = (struct hn_train_options){.lr_scheduler_type = -1,
		.learning_rate = base,
		.lr_num_cycles = number(given, "num_cycles", 0.0),
		.lr_power = number(given, "power", 1.0),
		.lr_end = number(given, "lr_end", 1e-7),
		.min_lr = number(given, "min_lr_rate", 0.0) * base};
	assert_non_null(type);
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
		if (!strcmp(types[i].name, type))
			out->lr_scheduler_type = types[i].type;
	return out->lr_scheduler_type >= 0 && !json_object_get(given, "timescale");
}

/* Greatest relative distance over 40 steps, three of them beyond the end. */
static double
compare(const char *name, const struct hn_schedule_plan *plan, const double *want)
{
	double worst = 0.0;

	for (int64_t t = 0; t < STEPS; t++) {
		const double got = hn_schedule_rate(plan, t);
		const double distance = fabs(got - want[t] * plan->base) /
			fmax(fabs(want[t] * plan->base), 1e-3 * plan->base);

		if (!(distance <= TOLERANCE))
			fail_msg("%s, step %d: rate %.17g, transformers has %.17g", name, (int)t,
				got, want[t] * plan->base);
		worst = fmax(worst, distance);
	}
	return worst;
}

static void
open_golden(struct hn_tensor_file *file, json_t **facts)
{
	char *path = test_data_path("golden/optimizer/schedules.safetensors");
	const char *text = NULL;
	struct hone_error err = {0};

	memset(file, 0, sizeof *file);
	if (hn_safetensors_open(file, path, &err) || hn_meta_string(file, "facts", &text, &err))
		fail_msg("%s", err.text);
	*facts = json_loads(text, 0, NULL);
	assert_non_null(*facts);
	assert_int_equal(json_integer_value(json_object_get(*facts, "total_steps")), TOTAL);
	free(path);
}

/* Base rates 1, as recorded, and 1/4, which no schedule may treat differently: but polynomial's
 * end is a rate and no share, so it is scaled along. */
static void
test_schedule_rates_equal_transformers(void **state)
{
	static const double bases[] = {1.0, 0.25};
	struct hn_tensor_file file;
	json_t *facts, *given;
	const char *name;
	double worst = 0.0;
	int n = 0, n_unsaid = 0;

	(void)state;
	open_golden(&file, &facts);
	json_object_foreach(json_object_get(facts, "cases"), name, given)
	{
		for (int i = 0; i < 4; i++) {
			const int warmup = i / 2 * 5;
			struct hn_train_options train;
			struct hn_schedule_plan plan;
			const struct hn_tensor_info *info;
			char key[96];

			if (!options_of(given, bases[i % 2], &train)) {
				n_unsaid += i == 0;
				continue;
			}
			(void)snprintf(key, sizeof key, "%s.warmup%d", name, warmup);
			info = hn_tensor_file_find(&file, key);
			assert_non_null(info);
			assert_int_equal(info->n_elems, STEPS);
			train.warmup_steps = warmup;
			train.lr_end *= bases[i % 2];
			plan = hn_schedule_make(&train, TOTAL);
			worst = fmax(worst, compare(key, &plan, (const void *)info->bytes));
			n += i % 2 == 0;
		}
	}
	print_message("%d curves of %d steps: %.1e; %d cases that no INI says\n", n, STEPS, worst,
		n_unsaid);
	assert_int_equal(n, 22);
	assert_int_equal(n_unsaid, 2);
	json_decref(facts);
	hn_tensor_file_close(&file);
}

/* "<warmup_steps> of <total>": steps. */
static void
test_schedule_warmup_share_becomes_transformers_steps(void **state)
{
	char *path = test_data_path("golden/optimizer/warmup.json");
	json_t *cases = json_load_file(path, 0, NULL), *want;
	const char *name;

	(void)state;
	assert_non_null(cases);
	assert_int_equal(json_object_size(cases), 21);
	json_object_foreach(cases, name, want)
	{
		struct hn_train_options train = {
			.lr_scheduler_type = HN_SCHEDULE_LINEAR, .learning_rate = 1.0};
		char *end;
		int64_t total, got;

		train.warmup_steps = strtod(name, &end);
		assert_int_equal(strncmp(end, " of ", 4), 0);
		total = strtoll(end + 4, NULL, 10);
		got = hn_schedule_make(&train, total).warmup;
		if (got != json_integer_value(want))
			fail_msg("warm-up %s: %d steps, transformers has %d", name, (int)got,
				(int)json_integer_value(want));
	}
	json_decref(cases);
	free(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_schedule_rates_equal_transformers),
		cmocka_unit_test(test_schedule_warmup_share_becomes_transformers_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
