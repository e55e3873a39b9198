/*
 * folder_discard.c - taking back the folder of a run that was refused before it began.
 *
 * A data file that cannot be read is found when the folder is there already, because the log
 * goes into it.  What such a start leaves says nothing that was not on the terminal, and a
 * person who tries three times should not find three of them; so what this opening made is
 * removed, and only that: a folder that was there, or that has anything else in it, stays.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/guard.h"
#include "base/str.h"
#include "train/folder.h"

/* What opening writes; the lock is the last to go. */
static const char *const bare[] = {"metrics.jsonl", "log.txt", "state.json", ".lock"};

enum { N_BARE = sizeof bare / sizeof bare[0] };

char *
hn_folder_first_absent(const char *path)
{
	char *absent = NULL, *at = hn_strdup(path);

	while (!hn_path_is_dir(at)) {
		char *up = hn_path_dir(at);
		const bool is_top = hn_streq(up, at);

		free(absent);
		absent = at;
		at = up;
		if (is_top)
			break;
	}
	free(at);
	return absent;
}

static bool
is_bare(const char *name, const char *path)
{
	struct stat info;

	for (int i = 0; i < N_BARE; i++)
		if (hn_streq(name, bare[i]))
			return i > 0 || (!stat(path, &info) && info.st_size == 0);
	return false;
}

static bool
holds_nothing(const struct hn_folder *folder)
{
	bool is_empty = true;
	char **names = NULL;
	size_t n = 0;

	if (hn_dir_list(folder->path, &names, &n, NULL))
		return false;
	for (size_t i = 0; i < n; i++) {
		char *path = hn_path_join(folder->path, names[i]);

		is_empty &= is_bare(names[i], path);
		free(path);
		free(names[i]);
	}
	free(names);
	return is_empty;
}

/* The run's folder and those above it that were made for it; rmdir leaves what is not empty. */
static void
remove_made(const struct hn_folder *folder)
{
	char *at = hn_strdup(folder->path), *up;

	while (!rmdir(at) && !hn_streq(at, folder->made)) {
		up = hn_path_dir(at);
		free(at);
		at = up;
	}
	free(at);
}

void
hn_folder_discard(struct hn_folder *folder)
{
	if (!folder->made || folder->lock < 0 || !holds_nothing(folder) ||
		hn_folder_check_there(folder, NULL))
		return;
	if (folder->log && folder->log->file) {
		hn_guard_log(-1);
		(void)fclose(folder->log->file);
		folder->log->file = NULL;
	}
	for (int i = 0; i < N_BARE; i++) {
		char *path = hn_path_join(folder->path, bare[i]);

		(void)unlink(path);
		free(path);
	}
	remove_made(folder);
	if (!folder->renamed ||
		renameat2(AT_FDCWD, folder->renamed, AT_FDCWD, folder->path, RENAME_NOREPLACE))
		return;
	if (folder->log)
		hn_log_info(
			folder->log, "nothing was begun: the older run is %s again", folder->path);
}
