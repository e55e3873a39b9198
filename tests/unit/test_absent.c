/*
 * test_absent.c - what is said of a model's path that names nothing.
 *
 * Would catch: a mistyped file name that is answered with "hone downloads nothing", a message
 * that does not say which part of a path is missing or what lies beside it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/checkpoint.h"
#include "support.h"

/* A folder with models/tiny.gguf, models/other.safetensors and models/hf/config.json. */
static char *
make_models(void)
{
	static const char *const names[] = {"tiny.gguf", "other.safetensors", "hf/config.json"};
	char *root = test_folder_make(), *models = hn_path_join(root, "models");
	char *folder = hn_path_join(models, "hf");
	struct hone_error err = {0};

	assert_int_equal(hn_dir_make(folder, &err), HONE_OK);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char *path = hn_path_join(models, names[i]);

		assert_int_equal(hn_file_replace(path, "{}", 2, &err), HONE_OK);
		free(path);
	}
	free(folder);
	free(models);
	return root;
}

static void
test_absent_path_is_answered_with_what_lies_near(void **state)
{
	static const struct {
		const char *path, *says, *never;
	} rows[] = {
		{"models/tiny.guf", "did you mean 'tiny.gguf' in ", "downloads"},
		{"models/Llama-3.1-8B.gguf", "; in ", "downloads"},
		{"models/Llama-3.1-8B.gguf", "/models lie hf, other.safetensors, tiny.gguf",
			"no model"},
		{"modles/tiny.gguf", "did you mean 'models' in ", "downloads"},
		{"elsewhere/tiny.gguf", "no folder 'elsewhere' in ", "downloads"},
		{"elsewhere/deep/er/model", "no folder 'elsewhere' in ", "downloads"},
		{"models/hf/x", "no model lies in ", "downloads"},
		{"org/Model-1.5B", "hub is no path, and hone downloads nothing", "did you mean"},
	};
	char *root = make_models();

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char *path = hn_path_join(root, rows[i].path);
		struct hn_tensor_file file = {0};
		struct hone_error err = {0};

		assert_int_equal(hn_tensors_open(&file, path, &err), HONE_EMODEL);
		assert_string_equal(err.place, path);
		if (!strstr(err.text, rows[i].says) || strstr(err.text, rows[i].never))
			fail_msg("%s: %s", rows[i].path, err.text);
		free(path);
	}
	test_folder_remove(root);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_absent_path_is_answered_with_what_lies_near),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
