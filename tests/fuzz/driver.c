/*
 * driver.c - runs a fuzz target over files and folders, where libFuzzer is not linked.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static int
run_file(const char *path)
{
	struct hone_error err = {0};
	char *text = NULL;
	size_t n = 0;

	if (hn_file_read(path, UINT64_C(1) << 28, HONE_EIO, &text, &n, &err)) {
		(void)fprintf(stderr, "%s: %s\n", path, err.text);
		return 1;
	}
	(void)LLVMFuzzerTestOneInput((const uint8_t *)text, n);
	free(text);
	return 0;
}

static int
run_folder(const char *path)
{
	struct hone_error err = {0};
	char **names = NULL;
	size_t n = 0;
	int failed = 0;

	if (hn_dir_list(path, &names, &n, &err)) {
		(void)fprintf(stderr, "%s: %s\n", path, err.text);
		return 1;
	}
	for (size_t i = 0; i < n; i++) {
		char *file = hn_path_join(path, names[i]);

		failed |= run_file(file);
		free(file);
		free(names[i]);
	}
	free(names);
	(void)printf("%zu seeds of %s\n", n, path);
	return failed || n == 0;
}

int
main(int argc, char **argv)
{
	int failed = argc < 2;

	for (int i = 1; i < argc; i++)
		failed |= hn_path_is_dir(argv[i]) ? run_folder(argv[i]) : run_file(argv[i]);
	return failed;
}
