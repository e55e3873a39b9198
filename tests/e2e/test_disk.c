/*
 * test_disk.c - a disk that is full, and a folder that another process has.
 *
 * Would catch: a checkpoint that replaces the old one before it is whole, half a file under a
 * file's name, an error without the bytes that are missing, two runs in one folder.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "place.h"

/* A finished run of <output> made to look as if it had been killed after step 10 of 40. */
static void
begin_run(const struct place *place, const char *output)
{
	char words[128], name[128], *path;

	(void)snprintf(words, sizeof words,
		"--set run.output=%s --set checkpoint.save_total_limit=99", output);
	(void)place_run(place, "train", words, 0);
	for (int i = 12; i <= 40; i += 2) {
		(void)snprintf(name, sizeof name, "%s/checkpoints/step-%06d", output, i);
		path = place_path(place, name);
		assert_int_equal(hn_dir_remove(path, NULL), HONE_OK);
		free(path);
	}
	(void)snprintf(name, sizeof name, "%s/state.json", output);
	place_write(
		place, name, "{\"schema\": \"hone.run/1\", \"state\": \"running\", \"step\": 0}\n");
}

/* Exit 8 with what is missing, and nothing half written under any name. */
static void
check_full(const struct place *place, const char *output, const char *cause)
{
	char words[128], name[128], *path;

	(void)snprintf(words, sizeof words, "--set run.output=%s", output);
	(void)place_run(place, "train", words, 8);
	place_assert_says(place, "checkpoint", "needed", "free", cause, NULL);
	assert_int_equal(place_newest_step(place, output), 10);
	(void)snprintf(name, sizeof name, "%s/checkpoints/.tmp-step-000012", output);
	path = place_path(place, name);
	assert_false(hn_path_is_dir(path));
	free(path);
}

/* With room again the run goes on from the old checkpoint and ends the same. */
static void
check_goes_on(const struct place *place, const char *output)
{
	char words[128];

	(void)snprintf(words, sizeof words, "--set run.output=%s", output);
	(void)place_run(place, "train", words, 0);
	place_assert_says(place, "going on from", "step-000010", NULL);
	place_assert_same_result(place, "whole", output);
}

static void
test_disk_limit_of_file_size_keeps_the_old_checkpoint(void **state)
{
	struct place place;

	(void)state;
	place_open(&place);
	(void)place_run(&place, "train", "--set run.output=whole", 0);
	begin_run(&place, "run");
	place.file_bytes_max = 20000; /* less than params.safetensors has */
	check_full(&place, "run", "ulimit -f");
	place.file_bytes_max = 0;
	check_goes_on(&place, "run");
	place_close(&place);
}

/* Writes until nothing more fits, and gives back `room` bytes. */
static char *
fill_disk(const struct place *place, off_t room)
{
	static const char block[4096] = "full";
	char *path = place_path(place, "disk/fill");
	const int fd = open(path, O_WRONLY | O_CREAT, 0666);

	assert_true(fd >= 0);
	while (write(fd, block, sizeof block) == (ssize_t)sizeof block)
		;
	assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_END) - room), 0);
	(void)close(fd);
	return path;
}

/* Mounts a small file system that goes with this process; only root may. */
static bool
mount_disk(const char *path)
{
	return !unshare(CLONE_NEWNS) && !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
		!mount("hone-test", path, "tmpfs", 0, "size=8m");
}

static void
test_disk_full_keeps_the_old_checkpoint(void **state)
{
	struct hone_error err = {0};
	struct place place;
	char *disk, *fill;

	(void)state;
	place_open(&place);
	disk = place_path(&place, "disk");
	assert_int_equal(hn_dir_make(disk, &err), HONE_OK);
	if (!mount_disk(disk)) {
		free(disk);
		place_close(&place);
		print_message("skipped: only root may mount a file system\n");
		skip();
	}
	(void)place_run(&place, "train", "--set run.output=whole", 0);
	begin_run(&place, "disk/run");
	fill = fill_disk(&place, 65536);
	check_full(&place, "disk/run", "free some space");
	assert_int_equal(unlink(fill), 0);
	check_goes_on(&place, "disk/run");
	assert_int_equal(umount2(disk, MNT_DETACH), 0);
	free(fill);
	free(disk);
	place_close(&place);
}

/* The second process is refused at once and disturbs nothing; when the first is gone, by a
 * kill, the folder is free. */
static void
test_folder_two_processes_never_share_it(void **state)
{
	struct place place;
	pid_t first;
	char *lock;

	(void)state;
	place_open(&place);
	(void)place_run(&place, "train", "--set run.output=whole", 0);
	lock = place_path(&place, "run/metrics.jsonl");
	first = place_start(&place, "train", "run.ini", "");
	while (!hn_path_is_file(lock))
		place_sleep(1e-3);
	(void)kill(first, SIGSTOP);
	(void)place_run(&place, "train", "", 3);
	place_assert_says(&place, "is in use by another run", "process", NULL);
	(void)place_run(&place, "train", "--fresh", 3);
	(void)kill(first, SIGCONT);
	assert_int_equal(place_wait(first).code, 0);
	place_assert_same_result(&place, "whole", "run");
	place_assert_same_metrics(&place, "whole", "run");
	free(lock);
	place_close(&place);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_disk_limit_of_file_size_keeps_the_old_checkpoint),
		cmocka_unit_test(test_disk_full_keeps_the_old_checkpoint),
		cmocka_unit_test(test_folder_two_processes_never_share_it),
	};

	return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
