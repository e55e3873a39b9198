/*
 * e2e/test_exit_codes.c - what goes wrong, and what the program's caller sees of it.
 *
 * Would catch: an exit code that scripts cannot rely on, a message without file, line or
 * remedy, errors on stdout, results on stderr.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "cli.h"
#include "support.h"

static void
test_exit_codes_usage_is_2_and_names_the_nearest(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	(void)cli_run(&cli, "trian", "run.ini", NULL);
	cli_expect(&cli, 2, "'trian'", "did you mean 'train'", NULL);
	(void)cli_run(&cli, "train", "run.ini", "--frehs", NULL);
	cli_expect(&cli, 2, "'--frehs'", "did you mean '--fresh'", NULL);
	(void)cli_run(&cli, "train", NULL);
	cli_expect(&cli, 2, "hone train needs run.ini", NULL);
	cli_close(&cli);
}

static void
test_exit_codes_typo_in_key_is_3_with_file_line_and_nearest(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, "[checkpoint]\nsave_step = 3\n");
	for (int i = 0; i < 3; i++) {
		static const char *const commands[] = {"check", "plan", "train"};

		(void)cli_run(&cli, commands[i], "run.ini", NULL);
		cli_expect(&cli, 3, "run.ini:19:1: error:", "[checkpoint]", "'save_step'",
			"did you mean 'save_steps'", NULL);
		assert_false(cli_has(&cli, "out"));
	}
	cli_close(&cli);
}

/* A token without a row would be read from beside the embeddings. */
static void
test_exit_codes_tokenizer_of_another_model_is_5(void **state)
{
	static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json"};
	struct hone_error err = {0};
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	for (int i = 0; i < 3; i++) {
		char *from = hn_path_join(HONE_TEST_DATA "/golden/models/tiny-llama", names[i]);
		char *folder = hn_path_join(cli.folder, "other"),
		     *to = hn_path_join(folder, names[i]);
		char *text = NULL, *at;
		size_t n = 0;

		assert_int_equal(hn_dir_make(folder, &err), HONE_OK);
		assert_int_equal(hn_file_read(from, 1 << 24, HONE_EIO, &text, &n, &err), HONE_OK);
		/* one more token than rows: the last one gets the next id */
		if (i == 2 && (at = strstr(text, "262")))
			memcpy(at, "263", 3);
		assert_int_equal(hn_file_replace(to, text, n, &err), HONE_OK);
		free(text);
		free(from);
		free(folder);
		free(to);
	}
	(void)cli_run(&cli, "check", "run.ini", "--set", "model.path=other", NULL);
	cli_expect(&cli, 5, "the embeddings have 263 rows", NULL);
	cli_close(&cli);
}

/* All faults at once, each with its line: nobody runs a command four times to find four. */
static void
test_exit_codes_several_faults_are_told_together(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, "seed_of_all = 1\n[lroa]\nr = 3\n[eval]\neval_steps = few\n");
	(void)cli_run(&cli, "check", "run.ini", NULL);
	cli_expect(&cli, 3, "run.ini:18:1: error:", "'seed_of_all'",
		"run.ini:19:1: error:", "[lroa]", "run.ini:22:", "eval_steps = few", NULL);
	cli_close(&cli);
}

static void
test_exit_codes_bad_row_is_4_with_its_line(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	cli_write(&cli, "train.jsonl",
		"{\"prompt\": \"a\", \"completion\": \" b\"}\n{\"prompt\": \"a\", \"comp\n");
	(void)cli_run(&cli, "train", "run.ini", NULL);
	cli_expect(&cli, 4, "train.jsonl:2:", NULL);
	cli_write(&cli, "train.jsonl",
		"{\"prompt\": \"a\", \"completion\": \" b\"}\n{\"prompt\": \"a\", \"completion\": "
		"\"\"}\n");
	(void)cli_run(&cli, "train", "run.ini", NULL);
	cli_expect(&cli, 4, "train.jsonl:2:", NULL);
	cli_close(&cli);
}

static void
test_exit_codes_broken_model_is_5_and_names_the_file(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	cli_write(&cli, "broken.gguf", "GGUF\x03");
	(void)cli_run(&cli, "inspect", "broken.gguf", NULL);
	cli_expect(&cli, 5, "broken.gguf", NULL);
	(void)cli_run(&cli, "train", "run.ini", "--set", "model.path=broken.gguf", NULL);
	cli_expect(&cli, 5, "broken.gguf", NULL);
	cli_close(&cli);
}

static void
test_exit_codes_refused_plugin_is_told_with_its_reason(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	cli_write(&cli, "broken.so", "\177ELF, but no more of it");
	(void)cli_run(&cli, "plugins", "--plugin-dir", ".", NULL);
	assert_int_equal(cli.code, 0);
	assert_non_null(strstr(cli.out, "broken.so"));
	(void)cli_run(
		&cli, "check", "run.ini", "--plugin-dir", ".", "--set", "run.adapter=broken", NULL);
	cli_expect(&cli, 6, "broken.so was refused", "an ELF header", NULL);
	cli_close(&cli);
}

/* A file size limit stands for a full disk: write() fails in the same places. */
static void
test_exit_codes_full_disk_is_8_and_leaves_no_half_result(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	cli.file_limit = 2048;
	(void)cli_run(&cli, "train", "run.ini", NULL);
	cli_expect(&cli, 8, "out", NULL);
	assert_false(cli_has(&cli, "out/adapter/adapter_model.safetensors"));
	cli.file_limit = 0;
	(void)cli_run(&cli, "train", "run.ini", NULL);
	cli_expect(&cli, 0, NULL);
	assert_true(cli_has(&cli, "out/adapter/adapter_model.safetensors"));
	cli_close(&cli);
}

/* The largest rate and factor that are allowed, unclipped, leave nothing finite by step 2. */
static void
test_exit_codes_not_finite_is_9_and_names_the_step(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, "max_grad_norm = 0\n");
	(void)cli_run(&cli, "train", "run.ini", "--set", "train.learning_rate=10", "--set",
		"lora.lora_alpha=1e6", NULL);
	cli_expect(&cli, 9, "step 2", "'lora/model.layers.0.self_attn.q_proj", NULL);
	assert_false(cli_has(&cli, "out/adapter"));
	cli_close(&cli);
}

/* Starts `words` and sends a signal once a step was logged after stderr said `text`. */
static void
start_and_stop(struct cli *cli, const char *const *words, const char *text, int number)
{
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
	int has = 0;

	cli_write(cli, "stderr", "");
	cli_start(cli, words);
	for (int i = 0; i < 3000 && !has; i++) {
		char *said = cli_read(cli, "stderr");
		const char *at = strstr(said, text);

		has = at && strstr(at, "\nstep ");
		free(said);
		(void)nanosleep(&pause, NULL);
	}
	(void)kill(cli->child, has ? number : SIGKILL);
	(void)cli_wait(cli);
	if (!has)
		fail_msg("a minute without '%s' and a step:\n%s", text, cli->err);
}

static void
test_exit_codes_signal_saves_and_the_same_command_goes_on(void **state)
{
	static const struct {
		int number, code;
	} signals[] = {{SIGINT, 130}, {SIGTERM, 143}};
	static const char *const words[] = {
		"train", "run.ini", "--set", "train.num_train_epochs=100000", NULL};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct cli cli;

		cli_open(&cli, NULL);
		start_and_stop(&cli, words, "steps", signals[i].number);
		cli_expect(&cli, signals[i].code, "the same command goes on", NULL);
		assert_true(cli_has(&cli, "out/checkpoints"));
		assert_false(cli_has(&cli, "out/adapter"));
		start_and_stop(&cli, words, "going on from", signals[i].number);
		cli_expect(&cli, signals[i].code, "checkpoints/step-", NULL);
		cli_close(&cli);
	}
}

/* Would catch: a run that goes on with another rate, so that its figures mean nothing. */
static void
test_exit_codes_other_configuration_is_3_with_both_values(void **state)
{
	static const char *const words[] = {
		"train", "run.ini", "--set", "train.num_train_epochs=100000", NULL};
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	start_and_stop(&cli, words, "steps", SIGINT);
	(void)cli_run(&cli, "train", "run.ini", "--set", "train.num_train_epochs=100000", "--set",
		"train.learning_rate=2e-3", NULL);
	cli_expect(&cli, 3, "learning_rate", "0.001", "0.002", "--fresh", NULL);
	cli_close(&cli);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_codes_usage_is_2_and_names_the_nearest),
		cmocka_unit_test(test_exit_codes_typo_in_key_is_3_with_file_line_and_nearest),
		cmocka_unit_test(test_exit_codes_several_faults_are_told_together),
		cmocka_unit_test(test_exit_codes_bad_row_is_4_with_its_line),
		cmocka_unit_test(test_exit_codes_broken_model_is_5_and_names_the_file),
		cmocka_unit_test(test_exit_codes_tokenizer_of_another_model_is_5),
		cmocka_unit_test(test_exit_codes_refused_plugin_is_told_with_its_reason),
		cmocka_unit_test(test_exit_codes_full_disk_is_8_and_leaves_no_half_result),
		cmocka_unit_test(test_exit_codes_not_finite_is_9_and_names_the_step),
		cmocka_unit_test(test_exit_codes_signal_saves_and_the_same_command_goes_on),
		cmocka_unit_test(test_exit_codes_other_configuration_is_3_with_both_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
