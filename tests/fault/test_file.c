/*
 * test_file.c - what a failed write leaves behind: the old file, whole, and nothing else.
 *
 * A full disk is hard to make; the limit on file sizes (RLIMIT_FSIZE) fails write(2) in the
 * same way, after a part has been written.  It holds for a whole process, so each case runs
 * in a child that says by its exit code which expectation broke.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "support.h"

#define LIMIT_BYTES 100000
#define STRANGER    65534 /* "nobody" */

static const char large[3 * LIMIT_BYTES];

/* Runs `act` in a child in which no file may grow beyond LIMIT_BYTES. */
static int
run_limited(int (*act)(const char *path), const char *path)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child) {
		const struct rlimit limit = {LIMIT_BYTES, LIMIT_BYTES};

		(void)signal(SIGXFSZ, SIG_IGN);
		if (setrlimit(RLIMIT_FSIZE, &limit))
			_exit(100);
		_exit(act(path));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* The folder holds exactly the file `path` with the text "old". */
static void
assert_old_file_alone(const char *folder, const char *path)
{
	struct hone_error err = {0};
	char **names, *text;
	size_t n, len;

	assert_int_equal(hn_file_read(path, 1000, HONE_EDATA, &text, &len, &err), HONE_OK);
	assert_string_equal(text, "old");
	free(text);
	assert_int_equal(hn_dir_list(folder, &names, &n, &err), HONE_OK);
	assert_int_equal(n, 1);
	free(names[0]);
	free(names);
}

static int
replace_large(const char *path)
{
	struct hone_error err = {0};

	if (hn_file_replace(path, large, sizeof large, &err) != HONE_EIO)
		return 1;
	if (strcmp(err.place, path) != 0 || !strstr(err.text, "File too large"))
		return 2;
	return 0;
}

/* The first error of three writes must be what commit says, though the caller looked at none. */
static int
write_pieces(const char *path)
{
	struct hone_error err = {0};
	struct hn_writer *writer;

	if (hn_writer_create(&writer, path, &err))
		return 1;
	if (hn_writer_write(writer, large, 1000, NULL))
		return 2;
	if (hn_writer_write(writer, large, sizeof large, NULL) != HONE_EIO)
		return 3;
	if (hn_writer_write(writer, "x", 1, NULL) != HONE_EIO)
		return 4;
	if (hn_writer_commit(writer, &err) != HONE_EIO || !strstr(err.text, "cannot be written"))
		return 5;
	return 0;
}

/* All fits in the buffer's first 64 KiB but not in the file: only commit can fail. */
static int
write_late(const char *path)
{
	const struct rlimit limit = {10, 10};
	struct hone_error err = {0};
	struct hn_writer *writer;

	if (setrlimit(RLIMIT_FSIZE, &limit) || hn_writer_create(&writer, path, &err))
		return 1;
	if (hn_writer_write(writer, large, 1000, &err))
		return 2;
	return hn_writer_commit(writer, &err) == HONE_EIO ? 0 : 3;
}

static void
check_limited(int (*act)(const char *path))
{
	char *folder = test_folder_make(), *path = hn_path_join(folder, "a");
	struct hone_error err = {0};

	assert_int_equal(hn_file_replace(path, "old", 3, &err), HONE_OK);
	assert_int_equal(run_limited(act, path), 0);
	assert_old_file_alone(folder, path);
	free(path);
	test_folder_remove(folder);
}

/* Catches: a short write taken for a whole one, and a temporary left on a full disk. */
static void
test_file_replace_beyond_limit_keeps_the_old(void **state)
{
	(void)state;
	check_limited(replace_large);
}

/* Catches: a commit that forgets the error of an earlier piece. */
static void
test_file_writer_error_is_kept_until_commit(void **state)
{
	(void)state;
	check_limited(write_pieces);
}

/* Catches: a flush at the end whose failure is not looked at. */
static void
test_file_writer_last_flush_fails_commit(void **state)
{
	(void)state;
	check_limited(write_late);
}

static int
replace_as_a_stranger(const char *path)
{
	struct hone_error err = {0};

	/* Nothing is read-only for root. */
	if (geteuid() == 0 && setuid(STRANGER))
		return 1;
	if (hn_file_replace(path, "new", 3, &err) != HONE_EIO || strcmp(err.place, path) != 0)
		return 2;
	return strstr(err.text, "Permission denied; check its permissions") ? 0 : 3;
}

/* Catches: a failure to create that is not reported, in a folder that may not be written. */
static void
test_file_replace_in_read_only_folder_names_it(void **state)
{
	char *folder = test_folder_make(), *path = hn_path_join(folder, "a");
	struct hone_error err = {0};

	(void)state;
	assert_int_equal(hn_file_replace(path, "old", 3, &err), HONE_OK);
	assert_int_equal(chmod(folder, 0555), 0);
	assert_int_equal(run_limited(replace_as_a_stranger, path), 0);
	assert_int_equal(chmod(folder, 0700), 0);
	assert_old_file_alone(folder, path);
	free(path);
	test_folder_remove(folder);
}

/* Catches: a rename whose failure leaves the temporary: the place became a folder meanwhile. */
static void
test_file_commit_over_a_folder_leaves_nothing(void **state)
{
	char *folder = test_folder_make(), *path = hn_path_join(folder, "a");
	struct hone_error err = {0};
	struct hn_writer *writer;
	char **names;
	size_t n;

	(void)state;
	assert_int_equal(hn_writer_create(&writer, path, &err), HONE_OK);
	assert_int_equal(hn_writer_write(writer, "x", 1, &err), HONE_OK);
	assert_int_equal(hn_dir_make(path, &err), HONE_OK);
	assert_int_equal(hn_writer_commit(writer, &err), HONE_EIO);
	assert_non_null(strstr(err.text, "cannot be replaced"));
	assert_int_equal(hn_dir_list(folder, &names, &n, &err), HONE_OK);
	assert_int_equal(n, 1);
	assert_string_equal(names[0], "a");
	free(names[0]);
	free(names);
	free(path);
	test_folder_remove(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_replace_beyond_limit_keeps_the_old),
		cmocka_unit_test(test_file_writer_error_is_kept_until_commit),
		cmocka_unit_test(test_file_writer_last_flush_fails_commit),
		cmocka_unit_test(test_file_replace_in_read_only_folder_names_it),
		cmocka_unit_test(test_file_commit_over_a_folder_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
