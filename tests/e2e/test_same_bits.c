/*
 * test_same_bits.c - what a run may change without changing a bit, and what it may not change.
 *
 * Would catch: a sum whose order follows the threads, a run that goes on with another learning
 * rate, other data or another model and gives neither run's result, a message that names no
 * remedy.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "place.h"

static void
check_threads(const char *compute)
{
	struct place place;
	char words[128];

	place_open(&place);
	for (int threads = 1; threads <= 3; threads++) {
		(void)snprintf(words, sizeof words,
			"--set cpu.threads=%d --set run.output=t%d --set train.compute=%s", threads,
			threads, compute);
		(void)place_run(&place, "train", words, 0);
	}
	place_assert_same_result(&place, "t1", "t2");
	place_assert_same_result(&place, "t1", "t3");
	place_assert_same_metrics(&place, "t1", "t2");
	place_assert_same_metrics(&place, "t1", "t3");
	/* The comparison sees a difference where there is one. */
	(void)snprintf(words, sizeof words,
		"--set run.output=s --set run.seed=8 --set train.compute=%s", compute);
	(void)place_run(&place, "train", words, 0);
	{
		char *path[2] = {place_path(&place, "t1/adapter/adapter_model.safetensors"),
			place_path(&place, "s/adapter/adapter_model.safetensors")};
		char hash[2][33];

		for (int i = 0; i < 2; i++) {
			assert_int_equal(hn_hash_file(path[i], HONE_EIO, hash[i], NULL), HONE_OK);
			free(path[i]);
		}
		assert_string_not_equal(hash[0], hash[1]);
	}
	place_close(&place);
}

static void
test_threads_f32_give_the_same_bits(void **state)
{
	(void)state;
	check_threads("f32");
}

static void
test_threads_bf16_give_the_same_bits(void **state)
{
	(void)state;
	check_threads("bf16");
}

/* Makes the folder as if the run had been killed after step 12 of 40. */
static void
cut_after_step_12(const struct place *place)
{
	(void)place_run(place, "train", "--set checkpoint.save_total_limit=99", 0);
	for (int step = 14; step <= 40; step += 2) {
		char name[64], *path;

		(void)snprintf(name, sizeof name, "run/checkpoints/step-%06d", step);
		path = place_path(place, name);
		assert_int_equal(hn_dir_remove(path, NULL), HONE_OK);
		free(path);
	}
	place_write(place, "run/state.json",
		"{\"schema\": \"hone.run/1\", \"state\": \"running\", \"step\": 0}\n");
}

/* Threads, logging and saving may change; the bytes do not. */
static void
test_resume_with_other_threads_logging_and_saving_gives_the_same_bytes(void **state)
{
	struct place place;

	(void)state;
	place_open(&place);
	(void)place_run(&place, "train", "--set run.output=whole", 0);
	cut_after_step_12(&place);
	(void)place_run(&place, "train",
		"--set cpu.threads=1 --set train.logging_steps=1 --set checkpoint.save_steps=5 "
		"--set checkpoint.save_total_limit=1 --set eval.eval_steps=10",
		0);
	place_assert_says(&place, "going on from", "step-000012", NULL);
	place_assert_same_result(&place, "whole", "run");
	place_close(&place);
}

/* Refused with exit 3; `run` is as it was and can go on with what it began with. */
static void
check_refused(const struct place *place, const char *words, const char *key, const char *old,
	const char *now)
{
	char *before = place_read(place, "run/metrics.jsonl"), *after;

	(void)place_run(place, "train", words, 3);
	place_assert_says(place, key, old, now, "put it back", "--fresh", NULL);
	after = place_read(place, "run/metrics.jsonl");
	assert_string_equal(before, after);
	assert_int_equal(place_newest_step(place, "run"), 12);
	free(before);
	free(after);
}

/* Another model: the same shapes with one weight's bit changed. */
static void
make_other_model(const struct place *place)
{
	static const char *const names[] = {"config.json", "tokenizer.json",
		"tokenizer_config.json", "model.safetensors", NULL};
	static const uint8_t one[4] = {0x00, 0x00, 0x80, 0x3f};

	place_copy_files(place, "other", names, one);
}

static void
test_resume_with_other_options_data_or_model_is_refused(void **state)
{
	struct place place;

	(void)state;
	place_open(&place);
	(void)place_run(&place, "train", "--set run.output=whole", 0);
	cut_after_step_12(&place);
	check_refused(&place, "--set train.learning_rate=2e-2", "learning_rate", "0.01", "0.02");
	check_refused(&place, "--set lora.lora_dropout=0", "lora_dropout", "0.1", "0");
	place_write_sums(&place, "other.jsonl", 3, 40);
	check_refused(
		&place, "--set data.train=other.jsonl", "train", "train.jsonl", "other.jsonl");
	make_other_model(&place);
	check_refused(&place, "--set model.path=other", "path", "tiny-llama", "other");
	/* The same name with other content. */
	place_write_sums(&place, "train.jsonl", 3, 40);
	check_refused(&place, "", "[data] train", "had 40 rows in", "and has 40 rows in");
	place_write_sums(&place, "train.jsonl", 1, 40);
	(void)place_run(&place, "train", "", 0);
	place_assert_same_result(&place, "whole", "run");
	place_close(&place);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads_f32_give_the_same_bits),
		cmocka_unit_test(test_threads_bf16_give_the_same_bits),
		cmocka_unit_test(
			test_resume_with_other_threads_logging_and_saving_gives_the_same_bytes),
		cmocka_unit_test(test_resume_with_other_options_data_or_model_is_refused),
	};

	return cmocka_run_group_tests_name("same_bits", tests, NULL, NULL);
}
