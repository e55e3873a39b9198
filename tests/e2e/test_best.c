/*
 * test_best.c - D15: early stopping, and the best step's weights as the result.
 *
 * Would catch: the last step's weights under the name of the best one, patience that starts
 * anew when a run goes on, a run that was stopped early and trains on after it was killed.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "place.h"

#define COMMON                                                                                     \
	"--set checkpoint.load_best_model_at_end=yes --set eval.eval_steps=4 "                     \
	"--set checkpoint.save_steps=4 --set train.learning_rate=0.1 "                             \
	"--set train.lr_scheduler_type=constant "

/* Steps with their validation loss; returns how many, and the index of the lowest after 0. */
struct evaluations {
	int64_t step[64];
	double loss[64];
	int n, best;
};

static struct evaluations
read_evaluations(const struct place *place, const char *name)
{
	struct evaluations e = {.best = 1};
	char *text = place_read(place, name);

	for (const char *at = text; *at;) {
		json_t *line = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);

		assert_non_null(line);
		if (json_object_get(line, "eval_loss")) {
			assert_true(e.n < 64);
			e.step[e.n] = (int64_t)json_integer_value(json_object_get(line, "step"));
			e.loss[e.n++] = json_number_value(json_object_get(line, "eval_loss"));
		}
		json_decref(line);
		at += strcspn(at, "\n");
		at += *at == '\n';
	}
	for (int i = 1; i < e.n; i++)
		if (e.loss[i] < e.loss[e.best])
			e.best = i;
	free(text);
	return e;
}

/* At this rate the loss goes up again before the end. */
static void
test_best_model_is_the_result(void **state)
{
	struct evaluations e;
	struct place place;
	char *card, shown[64];

	(void)state;
	place_open(&place);
	(void)place_run(&place, "train", COMMON, 0);
	e = read_evaluations(&place, "run/metrics.jsonl");
	assert_true(e.n > 5);
	assert_true(e.best < e.n - 1);
	assert_true(place_eval_loss(&place, COMMON "--json --split validation") == e.loss[e.best]);
	(void)snprintf(shown, sizeof shown, "the best step was %d", (int)e.step[e.best]);
	card = place_read(&place, "run/log.txt");
	assert_non_null(strstr(card, shown));
	free(card);
	place_close(&place);
}

static void
test_early_stopping_stops_and_stays_stopped_after_a_kill(void **state)
{
	static const char words[] = COMMON "--set train.early_stopping_patience=2";
	struct evaluations e, again;
	struct place place;
	char *result[2];

	(void)state;
	place_open(&place);
	(void)place_run(&place, "train", words, 0);
	e = read_evaluations(&place, "run/metrics.jsonl");
	/* Two evaluations without a gain after the best one, and not one more. */
	assert_int_equal(e.n - 1, e.best + 2);
	assert_true(e.step[e.n - 1] < 40);
	place_assert_says(&place, "stopped early after step", NULL);
	result[0] = place_read(&place, "run/adapter/adapter_config.json");
	assert_true(place_eval_loss(&place,
			    COMMON "--set train.early_stopping_patience=2 --json "
				   "--split validation") == e.loss[e.best]);
	/* As if it had been killed after the last checkpoint and before the result. */
	place_write(&place, "run/state.json",
		"{\"schema\": \"hone.run/1\", \"state\": \"running\", \"step\": 0}\n");
	(void)place_run(&place, "train", words, 0);
	again = read_evaluations(&place, "run/metrics.jsonl");
	assert_int_equal(again.n, e.n);
	assert_int_equal(place_newest_step(&place, "run"), e.step[e.n - 1]);
	result[1] = place_read(&place, "run/adapter/adapter_config.json");
	assert_string_equal(result[0], result[1]);
	free(result[0]);
	free(result[1]);
	place_close(&place);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_best_model_is_the_result),
		cmocka_unit_test(test_early_stopping_stops_and_stays_stopped_after_a_kill),
	};

	return cmocka_run_group_tests_name("best", tests, NULL, NULL);
}
