/*
 * test_card.c - the commands in the README.md of a result work as they stand.
 *
 * Would catch: placeholders in them, paths that are relative to a folder that nobody is in,
 * names that a shell takes apart.  The lines in Python are run by etc/golden/load_exports.py.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "cli.h"
#include "probe.h"
#include "support.h"

#define BEGIN "```sh\n"

/* Runs the commands of a folder's card in that folder; how many there were. */
static int
paste(const struct cli *cli, const char *folder)
{
	char *card = hn_path_join(folder, "README.md"), *text = cli_read(cli, card);
	char *here = hn_path_join(cli->folder, folder);
	int n = 0;

	assert_non_null(text);
	for (const char *at = strstr(text, BEGIN); at; at = strstr(at, BEGIN), n++) {
		const char *end = strstr(at += strlen(BEGIN), "```");
		struct hn_str script = {0};

		assert_non_null(end);
		hn_str_printf(&script,
			"set -e; cd \"$0\"; PATH=%s/bin:$PATH; exec >/dev/null 2>&1\n%.*s",
			HONE_BINARY_DIR, (int)(end - at), at);
		test_run((const char *[]){"sh", "-c", script.text, here, NULL});
		hn_str_fini(&script);
	}
	free(here);
	free(card);
	free(text);
	return n;
}

static void
test_card_commands_work_when_pasted(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, "[generate]\nmax_new_tokens = 2\n");
	(void)cli_run(&cli, "train", "run.ini", "--set", "run.output=it's a \"$HOME\"", NULL);
	cli_expect(&cli, 0, NULL);
	assert_int_equal(paste(&cli, "it's a \"$HOME\"/adapter"), 1);
	(void)cli_run(&cli, "train", "run.ini", NULL);
	(void)cli_run(&cli, "export", "run.ini", "--to", "copy's", NULL);
	cli_expect(&cli, 0, NULL);
	assert_int_equal(paste(&cli, "copy's"), 1);
	(void)cli_run(&cli, "export", "run.ini", "--merge", "--to", "merged", NULL);
	cli_expect(&cli, 0, NULL);
	assert_int_equal(paste(&cli, "merged"), 1);
	cli_close(&cli);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_card_commands_work_when_pasted),
	};

	return cmocka_run_group_tests_name("card", tests, NULL, NULL);
}
