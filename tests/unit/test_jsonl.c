/*
 * test_jsonl.c - rows of a file: where they stand, and that the hash is the content's.
 *
 * Would catch: line numbers that forget empty lines, a row that takes its line break or the byte
 * order mark along, a hash that does not follow the bytes.  Refusals are in
 * tests/fault/test_malformed_data.c.
 */
#include <stdlib.h>
#include <string.h>

#include "data/jsonl.h"
#include "support.h"

static void
test_jsonl_rows_know_their_lines(void **state)
{
	static const char text[] =
		"\xef\xbb\xbf{\"a\":1}\r\n\n  \n{\"b\":\"\xc3\xa4\"}\n\n{\"c\":3}";
	static const uint32_t lines[] = {1, 4, 6}, bytes[] = {7, 10, 7};
	char *folder = test_folder_make(), *path = hn_path_join(folder, "r.jsonl");
	struct hn_jsonl file;
	struct hone_error err = {0};

	(void)state;
	assert_int_equal(hn_file_replace(path, text, sizeof text - 1, &err), HONE_OK);
	assert_int_equal(hn_jsonl_open(&file, path, &err), HONE_OK);
	assert_int_equal(file.n, 3);
	assert_int_equal(file.n_empty, 3);
	assert_int_equal(file.n_crlf, 1);
	assert_false(file.has_newline);
	for (size_t i = 0; i < 3; i++) {
		json_t *row;

		assert_int_equal(file.rows[i].line, lines[i]);
		assert_int_equal(file.rows[i].n_bytes, bytes[i]);
		assert_int_equal(hn_jsonl_parse(&file, i, &row, &err), HONE_OK);
		assert_int_equal(json_object_size(row), 1);
		json_decref(row);
	}
	hn_jsonl_close(&file);
	hn_jsonl_close(&file);
	free(path);
	test_folder_remove(folder);
}

static void
test_jsonl_hash_follows_the_bytes(void **state)
{
	char *folder = test_folder_make(), *path = hn_path_join(folder, "r.jsonl");
	struct hn_jsonl file;
	struct hone_error err = {0};
	char first[33];

	(void)state;
	assert_int_equal(hn_file_replace(path, "{\"a\":1}\n", 8, &err), HONE_OK);
	assert_int_equal(hn_jsonl_open(&file, path, &err), HONE_OK);
	memcpy(first, file.hash, sizeof first);
	assert_int_equal(strlen(first), 32);
	hn_jsonl_close(&file);
	assert_int_equal(hn_file_replace(path, "{\"a\":2}\n", 8, &err), HONE_OK);
	assert_int_equal(hn_jsonl_open(&file, path, &err), HONE_OK);
	assert_string_not_equal(first, file.hash);
	hn_jsonl_close(&file);
	free(path);
	test_folder_remove(folder);
}

static void
test_jsonl_file_that_is_none_is_named(void **state)
{
	char *folder = test_folder_make(), *path = hn_path_join(folder, "absent.jsonl");
	struct hn_jsonl file;
	struct hone_error err = {0};

	(void)state;
	assert_int_equal(hn_jsonl_open(&file, path, &err), HONE_EDATA);
	assert_string_equal(err.place, path);
	hn_jsonl_close(&file);
	assert_int_equal(hn_jsonl_open(&file, folder, &err), HONE_EDATA);
	hn_jsonl_close(&file);
	free(path);
	test_folder_remove(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_jsonl_rows_know_their_lines),
		cmocka_unit_test(test_jsonl_hash_follows_the_bytes),
		cmocka_unit_test(test_jsonl_file_that_is_none_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
