/*
 * golden_file.c - files that must be there.
 */
#include "golden_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/safetensors.h"
#include "support.h"

void
golden_open_in(struct hn_tensor_file *file, const char *folder, const char *name)
{
	char *path = hn_path_join(folder, name);
	struct hone_error err = {0};

	memset(file, 0, sizeof *file);
	if (hn_safetensors_open(file, path, &err))
		fail_msg("%s: %s", path, err.text);
	free(path);
}

void
golden_open(struct hn_tensor_file *file, const char *name)
{
	golden_open_in(file, HONE_TEST_DATA, name);
}

const struct hn_tensor_info *
need_tensor(const struct hn_tensor_file *file, const char *name)
{
	const struct hn_tensor_info *info = hn_tensor_file_find(file, name);

	if (!info)
		fail_msg("%s has no tensor %s", file->path, name);
	return info;
}
