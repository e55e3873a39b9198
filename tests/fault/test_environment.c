/*
 * test_environment.c - the catalogue of odd surroundings (91, 92, 95, 96), as the program's user
 * meets them.
 *
 * 88 is in e2e/test_command_line.c.  Would catch: an environment variable that gains rights, a
 * path that is too long cut to another path, an export over the model that it reads, a result
 * that depends on time zone or language.
 */
#include <grp.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/str.h"
#include "cli.h"
#include "probe.h"
#include "support.h"

#define MODEL HONE_TEST_DATA "/golden/models/tiny-llama"

/* Root's rights cut down before a program is started; other users keep theirs. */
enum rights {
	AS_NOBODY,    /* another user: nothing in root's home can be started so */
	WITHOUT_KEYS, /* root, whom permissions bind like everybody */
};

static int
cut_rights(enum rights rights)
{
	if (geteuid() != 0)
		return 0;
	if (rights == AS_NOBODY)
		return setgroups(0, NULL) || setgid(65534) || setuid(65534);
	return prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) ||
		prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH, 0, 0, 0);
}

/* Runs a program in the folder.  Its streams are opened before. */
static void
run_with(enum rights rights, struct cli *cli, const char *const *words)
{
	int status;
	pid_t child;

	cli_write(cli, "stdout", "");
	cli_write(cli, "stderr", "");
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		if (chdir(cli->folder) || !freopen("stdout", "w", stdout) ||
			!freopen("stderr", "w", stderr) || cut_rights(rights))
			_exit(126);
		(void)execv(words[0], (char *const *)(uintptr_t)words);
		_exit(127);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	cli->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	free(cli->out);
	free(cli->err);
	cli->out = cli_read(cli, "stdout");
	cli->err = cli_read(cli, "stderr");
}

/* 91: in a set-user-id program the environment is the caller's and names no plugins.  Needs
 * root, who can make such a program and run it as somebody else. */
static void
test_environment_91_set_user_id_reads_no_plugin_path(void **state)
{
	struct cli cli;
	char *bin, *hone;

	(void)state;
	if (geteuid() != 0)
		skip();
	cli_open(&cli, NULL);
	bin = hn_path_join(cli.folder, "bin");
	hone = hn_path_join(bin, "hone");
	assert_int_equal(mkdir(bin, 0755), 0);
	assert_int_equal(chmod(cli.folder, 0755), 0);
	{
		const char *copy[] = {"cp", HONE_BINARY_DIR "/bin/hone", hone, NULL};

		test_run(copy);
	}
	for (int is_set = 0; is_set < 2; is_set++) {
		const char *words[] = {hone, "plugins", NULL};

		assert_int_equal(chmod(hone, is_set ? 04755 : 0755), 0);
		assert_int_equal(setenv("HONE_PLUGIN_PATH", "/nowhere/at/all", 1), 0);
		run_with(AS_NOBODY, &cli, words);
		assert_int_equal(unsetenv("HONE_PLUGIN_PATH"), 0);
		assert_int_equal(cli.code, 0);
		assert_int_equal(strstr(cli.out, "/nowhere/at/all") == NULL, is_set);
	}
	free(hone);
	free(bin);
	cli_close(&cli);
}

/* 92: paths of 4,096 bytes and more are refused whole, wherever they are given. */
static void
test_environment_92_path_that_is_too_long_is_told(void **state)
{
	static const struct {
		const char *key;
		int code;
	} rows[] = {{"run.output", 8}, {"data.train", 4}, {"model.path", 5}};
	char path[5001], first[100], *set;
	struct cli cli;

	(void)state;
	for (size_t i = 0; i < sizeof path - 1; i++)
		path[i] = i % 100 == 99 ? '/' : 'a';
	path[sizeof path - 1] = '\0';
	(void)snprintf(first, sizeof first, "%.99s", path); /* its first folder */
	cli_open(&cli, NULL);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		set = malloc(sizeof path + 32);
		(void)snprintf(set, sizeof path + 32, "%s=%s", rows[i].key, path);
		(void)cli_run(&cli, "train", "run.ini", "--set", set, NULL);
		cli_expect(&cli, rows[i].code, "aaaa", NULL);
		assert_true(strlen(cli.err) < 1200);
		assert_false(cli_has(&cli, first));
		free(set);
	}
	(void)cli_run(&cli, "check", path, NULL);
	cli_expect(&cli, 3, "File name too long", NULL);
	(void)cli_run(&cli, "inspect", path, NULL);
	cli_expect(&cli, 5, "aaaa", NULL);
	(void)cli_run(&cli, "export", "run.ini", "--base", "--to", path, NULL);
	cli_expect(&cli, 8, "aaaa", NULL);
	(void)cli_run(&cli, "plugins", "--plugin-dir", path, NULL);
	cli_expect(&cli, 2, "no such folder", NULL);
	cli_close(&cli);
}

/* 92: a folder that cannot be written, a parent that cannot be entered.  Root can do both, and
 * so is somebody else here. */
static void
test_environment_92_folder_without_rights_is_named(void **state)
{
	const char *train[] = {HONE_BINARY_DIR "/bin/hone", "train", "run.ini", NULL};
	const char *check[] = {HONE_BINARY_DIR "/bin/hone", "check", "run.ini", "--set",
		"data.train=locked/a.jsonl", NULL};
	const char *model[] = {HONE_BINARY_DIR "/bin/hone", "check", "run.ini", "--set",
		"model.path=locked/m", NULL};
	struct cli cli;
	char *folder;

	(void)state;
	cli_open(&cli, NULL);
	folder = hn_path_join(cli.folder, "locked");
	assert_int_equal(mkdir(folder, 0600), 0);
	assert_int_equal(chmod(cli.folder, 0500), 0);
	run_with(WITHOUT_KEYS, &cli, train);
	cli_expect(&cli, 8, "/out", "Permission denied; check its permissions", NULL);
	run_with(WITHOUT_KEYS, &cli, check);
	cli_expect(&cli, 4, "locked/a.jsonl", "Permission denied; check its permissions", NULL);
	run_with(WITHOUT_KEYS, &cli, model);
	cli_expect(&cli, 5, "locked/m", "Permission denied; check its permissions", NULL);
	assert_int_equal(chmod(cli.folder, 0700), 0);
	free(folder);
	cli_close(&cli);
}

/* 95: the model's folder by its name, by a link, and as the place of the run. */
static void
test_environment_95_export_over_its_own_model_is_refused(void **state)
{
	static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json"};
	static const char *const places[] = {"m", "link", "./m/../m/"};
	struct cli cli;
	char *model, *link, *weights, before[33], after[33];
	struct hone_error err = {0};

	(void)state;
	cli_open(&cli, NULL);
	model = hn_path_join(cli.folder, "m");
	link = hn_path_join(cli.folder, "link");
	weights = hn_path_join(model, "model.safetensors");
	assert_int_equal(mkdir(model, 0755), 0);
	assert_int_equal(symlink("m", link), 0);
	for (int i = 0; i < 3; i++) {
		char *from = hn_path_join(MODEL, names[i]), *to = hn_path_join(model, names[i]);
		const char *copy[] = {"cp", from, to, NULL};

		test_run(copy);
		free(from);
		free(to);
	}
	assert_int_equal(hn_hash_file(weights, HONE_EIO, before, &err), 0);
	for (int i = 0; i < 3; i++) {
		(void)cli_run(&cli, "export", "run.ini", "--base", "--to", places[i], "--set",
			"model.path=m", NULL);
		cli_expect(&cli, 2, "this is the model itself", NULL);
		assert_int_equal(hn_hash_file(weights, HONE_EIO, after, &err), 0);
		assert_string_equal(before, after);
	}
	/* a run beside the weights, in the model's own folder: they stay what they are */
	(void)cli_run(
		&cli, "train", "run.ini", "--set", "model.path=m", "--set", "run.output=m", NULL);
	assert_int_equal(hn_hash_file(weights, HONE_EIO, after, &err), 0);
	assert_string_equal(before, after);
	free(weights);
	free(link);
	free(model);
	cli_close(&cli);
}

/* 96: neither zone nor language changes a byte of the result. */
static void
test_environment_96_time_zone_and_language_change_nothing(void **state)
{
	static const char *const settings[][2] = {{"TZ", ":/etc/passwd"}, {"TZ", "\xff\xff+99:99"},
		{"LANG", NULL}, {"LC_ALL", "xx_XX.NONE"}, {"LC_ALL", ""}, {"LC_NUMERIC", "de_DE"}};
	struct cli cli;
	struct hone_error err = {0};
	char *path, wanted[33], is[33];

	(void)state;
	cli_open(&cli, NULL);
	path = hn_path_join(cli.folder, "out/adapter/adapter_model.safetensors");
	(void)cli_run(&cli, "train", "run.ini", NULL);
	cli_expect(&cli, 0, NULL);
	assert_int_equal(hn_hash_file(path, HONE_EIO, wanted, &err), 0);
	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
		char *old = getenv(settings[i][0]) ? hn_strdup(getenv(settings[i][0])) : NULL;

		(void)(settings[i][1] ? setenv(settings[i][0], settings[i][1], 1)
				      : unsetenv(settings[i][0]));
		(void)cli_run(&cli, "train", "run.ini", "--fresh", NULL);
		(void)(old ? setenv(settings[i][0], old, 1) : unsetenv(settings[i][0]));
		free(old);
		cli_expect(&cli, 0, NULL);
		assert_int_equal(hn_hash_file(path, HONE_EIO, is, &err), 0);
		assert_string_equal(wanted, is);
	}
	free(path);
	cli_close(&cli);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_environment_91_set_user_id_reads_no_plugin_path),
		cmocka_unit_test(test_environment_92_path_that_is_too_long_is_told),
		cmocka_unit_test(test_environment_92_folder_without_rights_is_named),
		cmocka_unit_test(test_environment_95_export_over_its_own_model_is_refused),
		cmocka_unit_test(test_environment_96_time_zone_and_language_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
