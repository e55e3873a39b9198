/*
 * test_process.c - the program in a process that is short of something (entries 89, 90, 93, 94, 97).
 *
 * Would catch: a crash, a wrong code or a half-written result where there is no home, no folder,
 * no reader, no room, no descriptor or no memory; and a run that has to be begun anew because of
 * it.  What is a matter of the disk alone is in test_checkpoint_disk.c.
 */
#include "support.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sched.h>

#include "cli.h"
#include "place.h"

#define MODEL HONE_TEST_DATA "/golden/models/tiny-llama"

/* ---- 89: surroundings ---- */

static void
without_environment(const struct cli *cli)
{
	(void)cli;
	(void)clearenv();
}

static void
with_bad_environment(const struct cli *cli)
{
	(void)cli;
	(void)setenv("HOME", "/nonexistent", 1);
	(void)setenv("TMPDIR", "/nonexistent", 1);
	(void)setenv("TZ", "\x01garbage", 1);
	(void)setenv("LC_ALL", "xx_YY.nonsense", 1);
}

static void
with_closed_umask(const struct cli *cli)
{
	(void)cli;
	(void)umask(0777);
}

static void
in_removed_folder(const struct cli *cli)
{
	(void)cli;
	if (mkdir("gone", 0700) || chdir("gone") || rmdir("../gone"))
		_exit(125);
}

static void
test_process_89_environment_is_not_needed(void **state)
{
	void (*const prepare[])(const struct cli *) = {without_environment, with_bad_environment};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct cli cli;

		cli_open(&cli, NULL);
		cli.prepare = prepare[i];
		(void)cli_run(&cli, "train", "run.ini", NULL);
		cli_expect(&cli, 0, NULL);
		assert_true(cli_has(&cli, "out/adapter/adapter_model.safetensors"));
		cli_close(&cli);
	}
}

/* Everything that is made has no rights at all: only root goes on. */
static void
test_process_89_closed_umask_does_not_crash(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	cli.prepare = with_closed_umask;
	(void)cli_run(&cli, "train", "run.ini", NULL);
	if (geteuid() == 0)
		cli_expect(&cli, 0, NULL);
	else
		cli_expect(&cli, 8, "Permission denied", NULL);
	cli_close(&cli);
}

static void
test_process_89_removed_folder_is_no_hindrance_to_full_paths(void **state)
{
	char path[4096];
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	cli.prepare = in_removed_folder;
	assert_in_range(snprintf(path, sizeof path, "%s/run.ini", cli.folder), 1, sizeof path - 1);
	(void)cli_run(&cli, "check", path, NULL);
	cli_expect(&cli, 0, NULL);
	(void)cli_run(&cli, "train", "run.ini", NULL);
	cli_expect(&cli, 3, "run.ini: No such file or directory", NULL);
	cli_close(&cli);
}

/* ---- 89: streams ---- */

static void
close_stdout(const struct cli *cli)
{
	(void)cli;
	(void)close(STDOUT_FILENO);
}

static void
close_stderr(const struct cli *cli)
{
	(void)cli;
	(void)close(STDERR_FILENO);
}

static void
fill(int fd)
{
	if (dup2(open("/dev/full", O_WRONLY), fd) < 0)
		_exit(125);
}

static void
fill_stdout(const struct cli *cli)
{
	(void)cli;
	fill(STDOUT_FILENO);
}

static void
fill_stderr(const struct cli *cli)
{
	(void)cli;
	fill(STDERR_FILENO);
}

/* stdout is a pipe that nobody reads, as of `hone inspect | head -0`. */
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

/* A result that nobody got is an error, but for a reader who had enough of it. */
static void
test_process_89_result_that_cannot_be_written_is_told(void **state)
{
	static const struct {
		void (*prepare)(const struct cli *);
		int code;
		const char *says;
	} cases[] = {
		{close_stdout, 8, "could not be written to stdout"},
		{fill_stdout, 8, "could not be written to stdout"},
		{leave_stdout, 141, ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct cli cli;

		cli_open(&cli, NULL);
		cli.prepare = cases[i].prepare;
		(void)cli_run(&cli, "inspect", MODEL, NULL);
		cli_expect(&cli, cases[i].code, cases[i].says, NULL);
		if (!cases[i].says[0])
			assert_string_equal(cli.err, "");
		(void)cli_run(&cli, "train", "run.ini", NULL); /* has nothing for stdout */
		cli_expect(&cli, 0, NULL);
		cli_close(&cli);
	}
}

/* What a run says is in log.txt too: a terminal that is gone does not end hours of training. */
static void
test_process_89_run_goes_on_without_stderr(void **state)
{
	void (*const prepare[])(const struct cli *) = {close_stderr, fill_stderr};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct cli cli;
		char *log;

		cli_open(&cli, NULL);
		cli.prepare = prepare[i];
		(void)cli_run(&cli, "train", "run.ini", NULL);
		cli_expect(&cli, 0, NULL);
		assert_true(cli_has(&cli, "out/adapter/adapter_model.safetensors"));
		log = cli_read(&cli, "out/log.txt");
		assert_non_null(strstr(log, "step 4/4"));
		free(log);
		cli_close(&cli);
	}
}

/* ---- 90: limits ---- */

static void
limit(int resource, rlim_t value)
{
	const struct rlimit both = {value, value};

	if (setrlimit((__rlimit_resource_t)resource, &both))
		_exit(125);
}

/* So many and no more: what the runner of the tests left open is closed. */
static void
limit_files(rlim_t n)
{
	for (int fd = 3; fd < 64; fd++)
		(void)close(fd);
	limit(RLIMIT_NOFILE, n);
}

static void
limit_files_16(const struct cli *cli)
{
	(void)cli;
	limit_files(16);
}

static void
limit_files_7(const struct cli *cli)
{
	(void)cli;
	limit_files(7);
}

static void
limit_stack(const struct cli *cli)
{
	(void)cli;
	limit(RLIMIT_STACK, 64 * 1024);
	limit(RLIMIT_CORE, 0);
}

static void
limit_memory(const struct cli *cli)
{
	limit(RLIMIT_AS, (rlim_t)cli->memory_limit);
}

static void
test_process_90_small_limits_are_enough_or_told(void **state)
{
	static const struct {
		void (*prepare)(const struct cli *);
		int code;
		const char *says;
	} cases[] = {{limit_files_16, 0, ""}, {limit_stack, 8, "raise it (ulimit -s"}};

	(void)state;
	if (place_is_instrumented())
		skip(); /* sanitizers need a larger stack */
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct cli cli;

		cli_open(&cli, NULL);
		cli.prepare = cases[i].prepare;
		(void)cli_run(&cli, "train", "run.ini", NULL);
		cli_expect(&cli, cases[i].code, cases[i].says, NULL);
		cli_close(&cli);
	}
}

/* The cause is the limit, not the file that was being opened: 8, whatever the file is for. */
static void
test_process_90_too_few_descriptors_are_8_and_the_run_goes_on(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	cli.prepare = limit_files_7;
	(void)cli_run(&cli, "train", "run.ini", NULL);
	cli_expect(&cli, 8, "Too many open files", "ulimit -n", NULL);
	assert_false(cli_has(&cli, "out/adapter"));
	cli.prepare = NULL;
	(void)cli_run(&cli, "train", "run.ini", NULL);
	cli_expect(&cli, 0, NULL);
	cli_close(&cli);
}

/* From too little for the model to enough: each ends with 0 or 8, and says what was wanted. */
static void
test_process_90_too_little_memory_is_8(void **state)
{
	int n_refused = 0;

	(void)state;
	if (place_is_instrumented())
		skip(); /* sanitizers map terabytes */
	for (long mib = 5; mib < 64; mib += mib / 4) {
		struct cli cli;

		cli_open(&cli, NULL);
		cli.prepare = limit_memory;
		cli.memory_limit = mib << 20;
		(void)cli_run(&cli, "train", "run.ini", NULL);
		if (strstr(cli.err, "failed to map segment")) { /* a library or a plugin */
			cli_close(&cli);
			continue;
		}
		if (cli.code != 0 && cli.code != 8)
			fail_msg("%ld MiB: exit %d\n%s", mib, cli.code, cli.err);
		if (cli.code == 8 && !strstr(cli.err, "emory") &&
			!strstr(cli.err, "cannot be started"))
			fail_msg("%ld MiB: %s", mib, cli.err);
		assert_int_equal(
			cli_has(&cli, "out/adapter/adapter_model.safetensors"), cli.code == 0);
		n_refused += cli.code == 8;
		cli_close(&cli);
	}
	print_message("%d limits were too small\n", n_refused);
	assert_true(n_refused > 0);
}

/* ---- 93: places that cannot be written ---- */

static void
on_read_only_disk(const struct cli *cli)
{
	(void)cli;
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mkdir("ro", 0700) || mount("none", "ro", "tmpfs", MS_RDONLY, NULL))
		_exit(125);
}

static void
on_disk_without_inodes(const struct cli *cli)
{
	(void)cli;
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mkdir("ro", 0700) || mount("none", "ro", "tmpfs", 0, "size=1m,nr_inodes=4"))
		_exit(125);
}

static void
test_process_93_place_that_cannot_be_written_is_8(void **state)
{
	static const struct {
		void (*prepare)(const struct cli *);
		const char *set, *says;
	} cases[] = {
		{NULL, "run.output=train.jsonl", "train.jsonl: cannot be created as a folder"},
		{NULL, "run.output=/proc/x", "/proc/x: cannot be created"},
		{on_read_only_disk, "run.output=ro/out", "Read-only file system; choose another"},
		{on_disk_without_inodes, "run.output=ro/out", "No space left on device; free some"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct cli cli;
		char *rows;

		cli_open(&cli, NULL);
		cli.prepare = cases[i].prepare;
		(void)cli_run(&cli, "train", "run.ini", "--set", cases[i].set, NULL);
		if (cli.code != 125) /* else this user cannot mount */
			cli_expect(&cli, 8, cases[i].says, NULL);
		rows = cli_read(&cli, "train.jsonl");
		assert_non_null(strstr(rows, "15 and 15 make"));
		free(rows);
		cli_close(&cli);
	}
}

/* ---- 97: processors ---- */

/* Would catch: kernels that this processor has not, and more threads than processors, that end
 * the run; a path that is taken without a word. */
static void
test_process_97_portable_path_and_many_threads_run(void **state)
{
	static const struct {
		const char *set, *says;
	} cases[] = {
		{"cpu.threads=64", "this processor ("},
		{"cpu.path=portable", "this processor (portable)"},
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct cli cli;

		cli_open(&cli, NULL);
		(void)cli_run(&cli, "train", "run.ini", "--set", "run.backend=cpu", "--set",
			cases[i].set, NULL);
		cli_expect(&cli, 0, cases[i].says, NULL);
		cli_close(&cli);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_process_89_environment_is_not_needed),
		cmocka_unit_test(test_process_89_closed_umask_does_not_crash),
		cmocka_unit_test(test_process_89_removed_folder_is_no_hindrance_to_full_paths),
		cmocka_unit_test(test_process_89_result_that_cannot_be_written_is_told),
		cmocka_unit_test(test_process_89_run_goes_on_without_stderr),
		cmocka_unit_test(test_process_90_small_limits_are_enough_or_told),
		cmocka_unit_test(test_process_90_too_few_descriptors_are_8_and_the_run_goes_on),
		cmocka_unit_test(test_process_90_too_little_memory_is_8),
		cmocka_unit_test(test_process_93_place_that_cannot_be_written_is_8),
		cmocka_unit_test(test_process_97_portable_path_and_many_threads_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
