/*
 * test_checkpoint_disk.c - a disk that is full while a checkpoint is saved (entry 93).
 *
 * Whatever the write that fails, the old checkpoint stays as it was and nothing is left beside
 * it; the message says how much was needed and how much is free.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "state_bench.h"
#include "support.h"

#define SITES "q_proj, v_proj"

static struct bench_model bench; /* one engine for all cases; children get copies */

static int
setup(void **state)
{
	(void)state;
	state_bench_open(&bench, 4, SITES, HONE_DTYPE_F32);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	bench_close(&bench);
	return 0;
}

/* ---- a disk that is full ---- */

/* In a child: what `act` says, by its exit code.  125 = not possible here. */
static int
run_child(int (*act)(const char *path, int64_t arg), const char *path, int64_t arg)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child)
		_exit(act(path, arg));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* 0 when saving step 2 fails as it should, with step 1 as before and nothing beside it;
 * 1 when it is saved. */
static int
check_failed_save(struct hn_folder *folder, const char *word)
{
	struct hone_error err = {0};
	struct hn_saved saved;
	char **list;
	size_t n;

	if (!state_save(&bench, folder, 2, 2, false, 2, &err))
		return 1;
	if (err.status != HONE_EIO || !hn_starts_with(err.place, folder->checkpoints))
		return 10;
	if (!strstr(err.text, word) || !strstr(err.text, "needed") || !strstr(err.text, "free"))
		return 11;
	memset(&err, 0, sizeof err);
	if (hn_dir_list(folder->checkpoints, &list, &n, &err) || n != 1)
		return 12;
	if (hn_checkpoint_newest(folder, &saved, &err) || saved.progress.tokens != 1000003)
		return 13;
	return 0;
}

static int
save_limited(const char *path, int64_t bytes)
{
	const struct rlimit limit = {(rlim_t)bytes, (rlim_t)bytes};
	struct hone_error err = {0};
	struct hn_folder folder;
	struct hn_log log;

	(void)signal(SIGXFSZ, SIG_IGN);
	hn_log_init(&log, NULL);
	if (hn_folder_open(&folder, path, false, &log, &err) ||
		state_save(&bench, &folder, 1, 1, false, 2, &err) ||
		setrlimit(RLIMIT_FSIZE, &limit))
		return 100;
	return check_failed_save(&folder, "File too large");
}

/* Would catch: a write error that is not looked at, or one that leaves litter or costs the old
 * checkpoint; in each of the four files. */
static void
test_checkpoint_write_fails_old_one_stays(void **state)
{
	int n_failed = 0, got = 0;

	(void)state;
	for (int64_t bytes = 1; got == 0; bytes *= 2) {
		char *path = test_folder_make_in_memory();

		got = run_child(save_limited, path, bytes);
		n_failed += got == 0;
		test_folder_remove(path);
	}
	assert_int_equal(got, 1);
	assert_true(n_failed > 8);
}

/* A tmpfs of our own, seen by this process only. */
static int
mount_small(const char *path, const char *options)
{
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("none", path, "tmpfs", 0, options))
		return 125;
	return 0;
}

/* Step 1 fits on the disk, step 2 does not and says why. */
static int
save_on_disk(const char *path, const char *options, const char *why)
{
	struct hone_error err = {0};
	struct hn_folder folder;
	struct hn_log log;

	if (mount_small(path, options))
		return 125;
	hn_log_init(&log, NULL);
	if (hn_folder_open(&folder, path, false, &log, &err) ||
		state_save(&bench, &folder, 1, 1, false, 2, &err))
		return 100;
	return check_failed_save(&folder, why);
}

/* A disk with room for step 1 and not for step 2. */
static int
save_on_small_disk(const char *path, int64_t kib)
{
	char options[64];

	(void)snprintf(options, sizeof options, "size=%dk", (int)kib);
	return save_on_disk(path, options, "no room");
}

/* A disk that has bytes but no more places for files: no preflight sees it. */
static int
save_without_inodes(const char *path, int64_t n)
{
	char options[64];

	(void)snprintf(options, sizeof options, "size=16m,nr_inodes=%d", (int)n);
	return save_on_disk(path, options, "No space left");
}

/* Would catch: a full disk that is seen only after the old checkpoint was pruned, or that
 * leaves half a new one. */
static void
test_checkpoint_disk_full_old_one_stays(void **state)
{
	char *path = test_folder_make();
	int got, n_failed = 0;

	(void)state;
	for (int64_t kib = 64; (got = run_child(save_on_small_disk, path, kib)) != 1; kib += 8) {
		if (got == 125) {
			test_folder_remove(path);
			skip();
		}
		assert_true(got == 100 || got == 0);
		n_failed += got == 0;
	}
	print_message("no room at %d sizes\n", n_failed);
	assert_true(n_failed > 0);
	n_failed = 0;
	for (int64_t n = 8; n < 40; n++) {
		got = run_child(save_without_inodes, path, n);
		assert_true(got == 100 || got == 0 || got == 1);
		n_failed += got == 0;
	}
	print_message("out of inodes at %d places\n", n_failed);
	assert_true(n_failed >= 4 && got == 1);
	test_folder_remove(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_checkpoint_write_fails_old_one_stays),
		cmocka_unit_test(test_checkpoint_disk_full_old_one_stays),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
