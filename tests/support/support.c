/*
 * support.c - paths and temporary folders for tests.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/file.h"
#include "support.h"

char *
test_data_path(const char *name)
{
	return hn_path_join(HONE_TEST_DATA, name);
}

char *
test_folder_make(void)
{
	const char *base = getenv("TMPDIR");
	char *path = hn_path_join(base ? base : "/tmp", "hone-test-XXXXXX");

	if (!mkdtemp(path))
		fail_msg("mkdtemp %s", path);
	return path;
}

void
test_folder_remove(char *path)
{
	struct hone_error err = {0};

	(void)hn_dir_remove(path, &err);
	free(path);
}
