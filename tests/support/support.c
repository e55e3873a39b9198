/*
 * support.c - paths and temporary folders for tests.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/str.h"
#include "support.h"

#define PREFIX "hone-test-"

char *
test_data_path(const char *name)
{
	return hn_path_join(HONE_TEST_DATA, name);
}

/* The process in "hone-test-<pid>-XXXXXX"; 0 for any other name. */
static pid_t
owner_of(const char *name)
{
	const char *digits = hn_starts_with(name, PREFIX) ? name + strlen(PREFIX) : "";
	char text[16];
	int64_t pid = 0;

	(void)snprintf(text, sizeof text, "%.*s", (int)strcspn(digits, "-"), digits);
	return hn_parse_i64(text, &pid) && pid > 1 && pid <= INT_MAX ? (pid_t)pid : 0;
}

/* What tests left that were killed: folders whose process is no more. */
static void
sweep(const char *base)
{
	char **names = NULL;
	size_t n = 0;

	if (hn_dir_list(base, &names, &n, NULL))
		return;
	while (n) {
		const pid_t pid = owner_of(names[--n]);
		char *path = hn_path_join(base, names[n]);

		if (pid && kill(pid, 0) && errno == ESRCH)
			(void)hn_dir_remove(path, NULL);
		free(path);
		free(names[n]);
	}
	free(names);
}

static char *
make_in(const char *base)
{
	struct hn_str name = {0};
	char *path;

	sweep(base);
	hn_str_printf(&name, PREFIX "%ld-XXXXXX", (long)getpid());
	path = hn_path_join(base, name.text);
	hn_str_fini(&name);
	if (mkdtemp(path))
		return path;
	free(path);
	return NULL;
}

char *
test_folder_make(void)
{
	const char *base = getenv("TMPDIR");
	char *path = make_in(base ? base : "/tmp");

	if (!path)
		fail_msg("mkdtemp in %s", base ? base : "/tmp");
	return path;
}

char *
test_folder_make_in_memory(void)
{
	char *path = make_in("/dev/shm");

	return path ? path : test_folder_make();
}

void
test_folder_remove(char *path)
{
	struct hone_error err = {0};

	(void)hn_dir_remove(path, &err);
	free(path);
}
