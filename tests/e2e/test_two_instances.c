/*
 * test_two_instances.c - one run with two instances of LoRA: interrupted, resumed, evaluated,
 * exported and merged.
 *
 * Would catch: state that is kept by plugin instead of by instance (moments, masks, names in a
 * checkpoint), a result that holds the first instance only, an evaluation or a merge that
 * leaves one of the two out or applies one twice.
 */
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "place.h"

#define PATIENCE_S 60.0

/* Merged weights are rounded to f32 once, and losses are sums in f32. */
#define MERGED_TOLERANCE 1e-4

static const char ini[] = "[run]\n"
			  "output = run\n"
			  "adapter = lora, lora.second\n"
			  "objective = sft\n"
			  "backend = cpu\n"
			  "seed = 7\n"
			  "[model]\n"
			  "path = " HONE_TEST_DATA "/golden/models/tiny-llama\n"
			  "[data]\n"
			  "train = train.jsonl\n"
			  "validation = validation.jsonl\n"
			  "max_length = 64\n"
			  "[train]\n"
			  "learning_rate = 1e-2\n"
			  "num_train_epochs = 4\n"
			  "per_device_train_batch_size = 4\n"
			  "compute = f32\n"
			  "[eval]\n"
			  "eval_steps = 10\n"
			  "[checkpoint]\n"
			  "save_steps = 3\n"
			  "[lora]\n"
			  "r = 4\n"
			  "lora_alpha = 8\n"
			  "lora_dropout = 0.1\n"
			  "target_modules = q_proj, v_proj\n"
			  "[lora.second]\n"
			  "r = 2\n"
			  "lora_alpha = 4\n"
			  "lora_dropout = 0.2\n"
			  "target_modules = all-linear\n"
			  "[cpu]\n"
			  "threads = 2\n";

/* The trained run in "run". */
static void
open_trained(struct place *place)
{
	place_open(place);
	place_write(place, "run.ini", ini);
	(void)place_run(place, "train", "", 0);
}

/* The first and the last validation loss in metrics.jsonl. */
static void
read_validation(const struct place *place, double *first, double *last)
{
	char *text = place_read(place, "run/metrics.jsonl");
	int n = 0;

	for (const char *at = text; *at; at += strcspn(at, "\n"), at += *at == '\n') {
		json_t *line = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
		const json_t *loss = json_object_get(line, "eval_loss");

		assert_non_null(line);
		if (loss)
			*last = json_number_value(loss);
		if (loss && n++ == 0)
			*first = *last;
		json_decref(line);
	}
	assert_true(n > 2);
	free(text);
}

/* SIGINT as soon as there is a checkpoint: the handler stands, and most steps are to come. */
static void
interrupt(const struct place *place, const char *output, const char *words)
{
	const double limit = place_now_s() + PATIENCE_S;
	const pid_t pid = place_start(place, "train", "run.ini", words);
	struct place_end end;

	while (place_newest_step(place, output) < 3 && place_now_s() < limit)
		place_sleep(1e-3);
	(void)kill(pid, SIGINT);
	end = place_wait(pid);
	assert_int_equal(end.code, 130);
	place_assert_says(place, "the same command goes on", NULL);
	print_message("interrupted after step %d of 40\n", (int)place_newest_step(place, output));
	assert_in_range(place_newest_step(place, output), 3, 39);
}

static void
test_two_instances_interrupted_and_resumed_give_the_same_bytes(void **state)
{
	static const char words[] = "--set run.output=parted";
	struct place place;

	(void)state;
	open_trained(&place);
	interrupt(&place, "parted", words);
	(void)place_run(&place, "train", words, 0);
	place_assert_says(&place, "going on from", NULL);
	place_assert_same_result(&place, "run", "parted");
	place_assert_same_folder(&place, "run/adapter/lora.second", "parted/adapter/lora.second");
	place_assert_same_metrics(&place, "run", "parted");
	place_close(&place);
}

/* Both adapters are read back: the loss is the one of the run's end to the bit, and neither
 * the base model's nor that of the first instance alone. */
static void
test_two_instances_are_evaluated_together(void **state)
{
	double first = 0.0, last = 0.0, base;
	struct place place;

	(void)state;
	open_trained(&place);
	read_validation(&place, &first, &last);
	assert_true(last < first);
	assert_true(place_eval_loss(&place, "--json --split validation") == last);
	base = place_eval_loss(&place, "--json --split validation --base");
	assert_true(fabs(base - first) <= MERGED_TOLERANCE);
	assert_true(fabs(base - last) > 100 * MERGED_TOLERANCE);
	place_close(&place);
}

static void
test_two_instances_merge_into_one_model(void **state)
{
	struct place place;
	double adapted, merged;

	(void)state;
	open_trained(&place);
	adapted = place_eval_loss(&place, "--json --split validation");
	(void)place_run(&place, "export", "--merge --to merged", 0);
	merged = place_eval_loss(&place,
		"--json --split validation --base --set model.path=merged "
		"--set run.output=none");
	print_message("loss %.9f with adapters, %.9f merged\n", adapted, merged);
	assert_true(fabs(merged - adapted) <= MERGED_TOLERANCE);
	place_close(&place);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_instances_interrupted_and_resumed_give_the_same_bytes),
		cmocka_unit_test(test_two_instances_are_evaluated_together),
		cmocka_unit_test(test_two_instances_merge_into_one_model),
	};

	return cmocka_run_group_tests_name("two_instances", tests, NULL, NULL);
}
