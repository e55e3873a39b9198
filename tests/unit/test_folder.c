/*
 * test_folder.c - a run's folder: whose it is, who holds it, what --fresh does, metrics.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "support.h"
#include "train/folder.h"

static enum hone_status
try_open(struct hn_folder *folder, struct hn_log *log, const char *path, bool fresh,
	struct hone_error *err)
{
	memset(err, 0, sizeof *err);
	hn_log_init(log, NULL);
	return hn_folder_open(folder, path, fresh, log, err);
}

static void
open_ok(struct hn_folder *folder, struct hn_log *log, const char *path, bool fresh)
{
	struct hone_error err;

	if (try_open(folder, log, path, fresh, &err))
		fail_msg("%s: %s", err.place, err.text);
}

static char *
read_text(const char *dir, const char *name)
{
	char *path = hn_path_join(dir, name), *text;
	struct hone_error err = {0};
	size_t len;

	if (hn_file_read(path, 1 << 20, HONE_EIO, &text, &len, &err))
		fail_msg("%s: %s", err.place, err.text);
	free(path);
	return text;
}

static void
write_text(const char *dir, const char *name, const char *text)
{
	char *path = hn_path_join(dir, name);
	struct hone_error err = {0};

	assert_int_equal(hn_file_replace(path, text, strlen(text), &err), HONE_OK);
	free(path);
}

static void
expect_text(const char *dir, const char *name, const char *want)
{
	char *text = read_text(dir, name);

	assert_string_equal(text, want);
	free(text);
}

/* Would catch: states that are mixed up; a finished run that is trained again. */
static void
test_folder_states_follow_the_run(void **state)
{
	char *base = test_folder_make(), *path = hn_path_join(base, "a/b/out/");
	const struct hn_made_with with = {"0123", "4567"};
	struct hn_made_with was;
	struct hone_error err = {0};
	struct hn_folder folder;
	struct hn_log log;
	char *step;

	(void)state;
	open_ok(&folder, &log, path, false);
	assert_int_equal(folder.state, HN_FOLDER_EMPTY);
	assert_int_equal(hn_folder_write(&folder, "config.ini", "[run]\n", &err), HONE_OK);
	hn_log_info(&log, "hello");
	hn_folder_close(&folder);
	assert_null(log.file);
	hn_folder_close(&folder); /* twice is fine */

	open_ok(&folder, &log, path, false);
	assert_int_equal(folder.state, HN_FOLDER_EMPTY);
	step = hn_path_join(folder.checkpoints, "step-000010");
	assert_int_equal(hn_dir_make(step, &err), HONE_OK);
	hn_log_info(&log, "again");
	hn_folder_close(&folder);
	expect_text(path, "log.txt", "hello\nagain\n");
	expect_text(path, "config.ini", "[run]\n");

	open_ok(&folder, &log, path, false);
	assert_int_equal(folder.state, HN_FOLDER_RESUMABLE);
	assert_int_equal(hn_folder_finish(&folder, 10, &with, &err), HONE_OK);
	hn_folder_close(&folder);
	open_ok(&folder, &log, path, false);
	assert_int_equal(folder.state, HN_FOLDER_FINISHED);
	assert_int_equal(folder.finished_step, 10);
	hn_folder_close(&folder);
	hn_folder_made_with(path, &was);
	assert_string_equal(was.model, "0123");
	assert_string_equal(was.tokenizer, "4567");
	free(step);
	free(path);
	test_folder_remove(base);
}

/* Would catch: a home folder named as output that fills with our files, or that --fresh
 * renames. */
static void
test_folder_foreign_is_left_alone(void **state)
{
	char *path = test_folder_make();
	struct hn_folder folder;
	struct hn_log log;
	struct hone_error err;
	char **names;
	size_t n;

	(void)state;
	write_text(path, "thesis.txt", "x");
	for (int fresh = 0; fresh < 2; fresh++) {
		assert_int_equal(try_open(&folder, &log, path, fresh, &err), HONE_ECONFIG);
		assert_non_null(strstr(err.text, "thesis.txt"));
		hn_folder_close(&folder);
	}
	/* nor one that has a state.json of its own */
	write_text(path, "state.json", "{\"schema\": \"x\", \"state\": \"y\", \"step\": 0}");
	for (int fresh = 0; fresh < 2; fresh++) {
		assert_int_equal(try_open(&folder, &log, path, fresh, &err), HONE_ECONFIG);
		assert_non_null(strstr(err.text, "not what hone writes"));
		hn_folder_close(&folder);
	}
	assert_int_equal(hn_dir_list(path, &names, &n, &err), HONE_OK);
	assert_int_equal(n, 2);
	free(names[0]);
	free(names[1]);
	free(names);
	test_folder_remove(path);
}

/* Would catch: an old run that --fresh deletes or overwrites; a second --fresh that fails. */
static void
test_folder_fresh_renames_with_a_number(void **state)
{
	char *base = test_folder_make(), *path = hn_path_join(base, "out");
	struct hone_error err = {0};
	struct hn_folder folder;
	struct hn_log log;

	(void)state;
	open_ok(&folder, &log, path, true); /* nothing to rename */
	assert_null(folder.renamed);
	for (int i = 1; i <= 2; i++) {
		char name[32], text[32];

		(void)snprintf(text, sizeof text, "run %d", i);
		assert_int_equal(hn_folder_write(&folder, "config.ini", text, &err), HONE_OK);
		hn_folder_close(&folder);
		open_ok(&folder, &log, path, true);
		(void)snprintf(name, sizeof name, "/out.%d", i);
		assert_non_null(folder.renamed);
		assert_true(hn_ends_with(folder.renamed, name));
		assert_int_equal(folder.state, HN_FOLDER_EMPTY);
		expect_text(folder.renamed, "config.ini", text);
	}
	hn_folder_close(&folder);
	free(path);
	test_folder_remove(base);
}

/* Opens the folder and holds it until `hold` is closed. */
static void
hold_folder(const char *path, int tell, int hold)
{
	struct hn_folder folder;
	struct hn_log log;
	struct hone_error err;
	char byte = try_open(&folder, &log, path, false, &err) ? 'n' : 'y';

	if (write(tell, &byte, 1) != 1)
		_exit(1);
	_exit(read(hold, &byte, 1) == 0 ? 0 : 2);
}

/* Would catch: two runs that write one folder, or one that renames it under the other; a lock
 * that outlives a killed process. */
static void
test_folder_second_process_is_refused(void **state)
{
	char *base = test_folder_make(), *path = hn_path_join(base, "out");
	int tell[2], hold[2], status;
	struct hn_folder folder;
	struct hn_log log;
	struct hone_error err;
	char byte = 0, who[64];
	pid_t child;

	(void)state;
	assert_int_equal(pipe(tell) | pipe(hold), 0);
	child = fork();
	if (!child) {
		(void)close(hold[1]);
		hold_folder(path, tell[1], hold[0]);
	}
	assert_int_equal(read(tell[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	(void)snprintf(who, sizeof who, "process %ld on ", (long)child);
	for (int fresh = 0; fresh < 2; fresh++) {
		assert_int_equal(try_open(&folder, &log, path, fresh, &err), HONE_ECONFIG);
		assert_non_null(strstr(err.text, who));
		assert_string_equal(err.place, path);
		hn_folder_close(&folder);
	}
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	open_ok(&folder, &log, path, false);
	hn_folder_close(&folder);
	for (int i = 0; i < 2; i++) {
		(void)close(tell[i]);
		(void)close(hold[i]);
	}
	free(path);
	test_folder_remove(base);
}

/* ---- metrics ---- */

static void
put_lines(struct hn_folder *folder, int64_t first, int64_t last)
{
	struct hone_error err = {0};
	char line[64];

	for (int64_t step = first; step <= last; step++) {
		(void)snprintf(line, sizeof line, "{\"step\": %" PRId64 ", \"loss\": 0.5}", step);
		assert_int_equal(hn_folder_metrics(folder, line, &err), HONE_OK);
	}
}

/* Would catch: steps that stand twice in the metrics of a resumed run, or a gap; a torn last
 * line that swallows the next one. */
static void
test_folder_metrics_are_cut_to_the_step(void **state)
{
	char *path = test_folder_make();
	struct hone_error err = {0};
	struct hn_folder folder;
	struct hn_log log;

	(void)state;
	open_ok(&folder, &log, path, false);
	put_lines(&folder, 1, 5);
	assert_int_equal(write(folder.metrics, "{\"step\": 2, \"lo", 15), 15);
	hn_folder_close(&folder);
	open_ok(&folder, &log, path, false);
	assert_int_equal(hn_folder_metrics_cut(&folder, 3, &err), HONE_OK);
	put_lines(&folder, 4, 4);
	expect_text(path, "metrics.jsonl",
		"{\"step\": 1, \"loss\": 0.5}\n{\"step\": 2, \"loss\": 0.5}\n"
		"{\"step\": 3, \"loss\": 0.5}\n{\"step\": 4, \"loss\": 0.5}\n");
	assert_int_equal(hn_folder_metrics_cut(&folder, -1, &err), HONE_OK);
	expect_text(path, "metrics.jsonl", "");
	assert_int_equal(hn_folder_metrics_cut(&folder, 7, &err), HONE_OK); /* of an empty file */
	/* a whole line that is no JSON goes, too, and so does one without a step */
	assert_int_equal(hn_folder_metrics(&folder, "{\"step\": 1", &err), HONE_OK);
	assert_int_equal(hn_folder_metrics(&folder, "{\"loss\": 1}", &err), HONE_OK);
	put_lines(&folder, 2, 2);
	assert_int_equal(hn_folder_metrics_cut(&folder, 7, &err), HONE_OK);
	expect_text(path, "metrics.jsonl", "{\"step\": 2, \"loss\": 0.5}\n");
	hn_folder_close(&folder);
	test_folder_remove(path);
}

/* Fills the file up to a limit in the middle of a line, then raises the limit. */
static int
write_half_a_line(const char *path)
{
	struct rlimit limit;
	struct hn_folder folder;
	struct hn_log log;
	struct hone_error err;

	(void)signal(SIGXFSZ, SIG_IGN);
	if (try_open(&folder, &log, path, false, &err) || getrlimit(RLIMIT_FSIZE, &limit))
		return 1;
	limit.rlim_cur = 30;
	if (setrlimit(RLIMIT_FSIZE, &limit))
		return 2;
	if (hn_folder_metrics(&folder, "{\"step\": 1, \"a\": 12345}", &err))
		return 3;
	if (hn_folder_metrics(&folder, "{\"step\": 2, \"a\": 12345}", &err) != HONE_EIO)
		return 4;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_FSIZE, &limit))
		return 5;
	return hn_folder_metrics(&folder, "{\"step\": 3}", &err) ? 6 : 0;
}

/* Would catch: half a line on a full disk that is glued to the next. */
static void
test_folder_metrics_half_line_is_taken_back(void **state)
{
	char *path = test_folder_make();
	int status;
	pid_t child;

	(void)state;
	child = fork();
	if (!child)
		_exit(write_half_a_line(path));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	expect_text(path, "metrics.jsonl", "{\"step\": 1, \"a\": 12345}\n{\"step\": 3}\n");
	test_folder_remove(path);
}

/* Would catch: leftovers of a killed process that stay for ever, or files that we did not
 * make and that go. */
static void
test_folder_leftovers_are_swept(void **state)
{
	char *path = test_folder_make();
	struct hone_error err = {0};
	struct hn_folder folder;
	struct hn_log log;
	char *dir, *file;

	(void)state;
	open_ok(&folder, &log, path, false);
	dir = hn_path_join(folder.checkpoints, ".tmp-step-000002/x");
	file = hn_path_join(path, "config.ini.tmp-123");
	assert_int_equal(hn_dir_make(dir, &err), HONE_OK);
	write_text(path, "config.ini.tmp-123", "x");
	write_text(path, "notes.txt", "mine");
	hn_folder_close(&folder);
	open_ok(&folder, &log, path, false);
	assert_false(hn_path_is_dir(dir));
	assert_false(hn_path_is_file(file));
	expect_text(path, "notes.txt", "mine");
	assert_int_equal(folder.state, HN_FOLDER_EMPTY);
	hn_folder_close(&folder);
	free(dir);
	free(file);
	test_folder_remove(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_folder_states_follow_the_run),
		cmocka_unit_test(test_folder_foreign_is_left_alone),
		cmocka_unit_test(test_folder_fresh_renames_with_a_number),
		cmocka_unit_test(test_folder_second_process_is_refused),
		cmocka_unit_test(test_folder_metrics_are_cut_to_the_step),
		cmocka_unit_test(test_folder_metrics_half_line_is_taken_back),
		cmocka_unit_test(test_folder_leftovers_are_swept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
