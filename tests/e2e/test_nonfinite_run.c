/*
 * test_nonfinite_run.c - A8: a run whose numbers overflow stops at that step and says where.
 *
 * Would catch: NaN written into the parameters and into the next checkpoint, a run that goes on
 * with a loss of NaN, a message from which nobody can tell step, loss term and tensor.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "place.h"

/* A copy of the model with +inf as an element of its last tensor (safetensors: the data end
 * with the file). */
static void
make_poisoned(const struct place *place)
{
	static const char *const names[] = {"config.json", "tokenizer.json",
		"tokenizer_config.json", "model.safetensors", NULL};
	static const uint8_t inf[4] = {0x00, 0x00, 0x80, 0x7f};

	place_copy_files(place, "poisoned", names, inf);
}

static void
test_nonfinite_weight_of_the_file_is_named(void **state)
{
	struct place place;

	(void)state;
	place_open(&place);
	make_poisoned(&place);
	place_write(&place, "run.ini",
		"[run]\noutput = run\nadapter = lora\nobjective = sft\n"
		"[model]\npath = poisoned\n[data]\ntrain = train.jsonl\nmax_length = 64\n"
		"[train]\nlearning_rate = 1e-3\ncompute = f32\n");
	(void)place_run(&place, "train", "", 9);
	/* No place before it: an error that was met and mended earlier has left one. */
	place_assert_says(&place, "error: step 1:", "'nll'", "model.norm.weight", "damaged", NULL);
	assert_int_equal(place_newest_step(&place, "run"), -1);
	place_close(&place);
}

/* Each step multiplies the parameters by 1 - 10 * 10 until they overflow. */
#define EXPLODES                                                                                   \
	"--set train.learning_rate=10 --set train.weight_decay=10 --set train.max_grad_norm=0 "    \
	"--set train.lr_scheduler_type=constant --set checkpoint.save_steps=1 "                    \
	"--set eval.eval_steps=1000 --set train.logging_steps=1 --set "                            \
	"checkpoint.save_total_limit=2 --set train.compute=f32"

/* Every line of metrics.jsonl is a number of a step that was made: at most `last`. */
static void
assert_nothing_logged_after(const struct place *place, int64_t last)
{
	char *text = place_read(place, "run/metrics.jsonl");
	int64_t step = -1;

	for (const char *at = text; *at; at += strcspn(at, "\n"), at += *at == '\n') {
		json_t *line = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);

		assert_non_null(line);
		step = (int64_t)json_integer_value(json_object_get(line, "step"));
		json_decref(line);
	}
	assert_int_equal(step, last);
	free(text);
}

static void
test_nonfinite_training_stops_at_its_step_and_keeps_the_checkpoint(void **state)
{
	struct place place;
	int64_t newest;
	char step[64], path[128], *before, *after;

	(void)state;
	place_open(&place);
	(void)place_run(&place, "train", EXPLODES, 9);
	newest = place_newest_step(&place, "run");
	assert_true(newest >= 1 && newest < 39);
	(void)snprintf(step, sizeof step, "step %d:", (int)newest + 1);
	place_assert_says(&place, step, "not finite", "lora_", "learning_rate", NULL);
	assert_nothing_logged_after(&place, newest);
	(void)snprintf(path, sizeof path, "run/checkpoints/step-%06d/manifest.json", (int)newest);
	before = place_read(&place, path);
	/* The checkpoint can be read and gives the same end again. */
	(void)place_run(&place, "train", EXPLODES, 9);
	place_assert_says(&place, "going on from", step, NULL);
	after = place_read(&place, path);
	assert_true(before[0]);
	assert_string_equal(before, after);
	assert_int_equal(place_newest_step(&place, "run"), newest);
	free(before);
	free(after);
	place_close(&place);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nonfinite_weight_of_the_file_is_named),
		cmocka_unit_test(
			test_nonfinite_training_stops_at_its_step_and_keeps_the_checkpoint),
	};

	return cmocka_run_group_tests_name("nonfinite_run", tests, NULL, NULL);
}
