/*
 * test_closed_pipe.c - every command whose result nobody reads: `hone ... | head -0`.
 *
 * Would catch: an ignored SIGPIPE that ends as a failure of the disk (8), a message about it,
 * and a run that is torn because its result on stdout had no reader.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "support.h"

/* stdout is a pipe without a reader. */
static void
leave_stdout(const struct cli *cli)
{
	int fds[2];

	(void)cli;
	if (pipe(fds) || dup2(fds[1], STDOUT_FILENO) < 0)
		_exit(125);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

enum { WORDS = 10 };

static void
test_closed_pipe_ends_every_command_with_141(void **state)
{
	static const char model[] = HONE_TEST_DATA "/golden/models/tiny-llama";
	static const char *const commands[][WORDS] = {
		{"--help"},
		{"train", "--help"},
		{"--version"},
		{"version", "--json"},
		{"plugins"},
		{"plugins", "--json"},
		{"explain"},
		{"explain", "lora"},
		{"explain", "--json"},
		{"inspect", model},
		{"inspect", model, "--json"},
		{"check", "run.ini"},
		{"check", "run.ini", "--json"},
		{"check", "run.ini", "--show-origin"},
		{"plan", "run.ini"},
		{"plan", "run.ini", "--graph"},
		{"plan", "run.ini", "--json"},
		{"train", "run.ini", "--json"},
		{"eval", "run.ini", "--split", "train"},
		{"eval", "run.ini", "--split", "train", "--json"},
		{"generate", "run.ini", "--prompt", "1 and 1", "--max-new-tokens", "4"},
		{"generate", "run.ini", "--prompt", "1 and 1", "--max-new-tokens", "4", "--json"},
		{"generate", "--model", model, "--prompt", "1 and 1", "--max-new-tokens", "4"},
		{"export", "run.ini", "--to", "adapter"},
		{"export", "run.ini", "--to", "model", "--merge", "--json"},
		{"tokenizer", "--train", "train.jsonl", "--vocab-size", "270", "--to", "tok"},
	};
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	cli.prepare = leave_stdout;
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		cli_start(&cli, commands[i]);
		(void)cli_wait(&cli);
		if (cli.code != 141 || strstr(cli.err, "error"))
			fail_msg("hone %s %s: exit %d\n%s", commands[i][0],
				commands[i][1] ? commands[i][1] : "", cli.code, cli.err);
	}
	/* What they made is whole. */
	cli.prepare = NULL;
	(void)cli_run(&cli, "train", "run.ini", NULL);
	cli_expect(&cli, 0, "is finished after step 4", NULL);
	assert_true(cli_has(&cli, "out/adapter/adapter_model.safetensors"));
	assert_true(cli_has(&cli, "adapter/README.md"));
	assert_true(cli_has(&cli, "model/README.md"));
	assert_true(cli_has(&cli, "tok/tokenizer.json"));
	cli_close(&cli);
}

/* A command that fails by itself and has nothing for stdout says its own reason. */
static void
test_closed_pipe_hides_no_other_failure(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	cli.prepare = leave_stdout;
	(void)cli_run(&cli, "plan", "none.ini", NULL);
	cli_expect(&cli, 3, "none.ini", NULL);
	cli_close(&cli);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_closed_pipe_ends_every_command_with_141),
		cmocka_unit_test(test_closed_pipe_hides_no_other_failure),
	};

	return cmocka_run_group_tests_name("closed_pipe", tests, NULL, NULL);
}
