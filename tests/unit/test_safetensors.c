/*
 * test_safetensors.c - the writer, and choosing among the files of a folder.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "modelfile.h"

#include "model/safetensors.h"

/* Fails the test with the error's text. */
#define OK(call)                                                                                   \
	do {                                                                                       \
		if (call)                                                                          \
			fail_msg("%s: %s", err.place, err.text);                                   \
	} while (0)

/* Row r of a matrix is r, r + 1, ...; asserts that rows come in order and none twice. */
struct rows {
	int64_t next;
	int calls;
};

static enum hone_status
fill(void *ctx, const struct hn_tensor_out *tensor, int64_t first, int64_t n, void *dst,
	struct hone_error *err)
{
	struct rows *rows = ctx;
	const int64_t I = tensor->dim[tensor->rank - 1];
	float *out = dst;

	(void)err;
	assert_int_equal(first, rows->next);
	rows->next += n;
	rows->calls++;
	for (int64_t r = 0; r < n; r++)
		for (int64_t i = 0; i < I; i++)
			out[r * I + i] = (float)(first + r + i);
	return HONE_OK;
}

static enum hone_status
fill_failing(void *ctx, const struct hn_tensor_out *tensor, int64_t first, int64_t n, void *dst,
	struct hone_error *err)
{
	(void)ctx;
	(void)tensor;
	(void)n;
	(void)dst;
	return hone_fail(err, HONE_ENOTFINITE, "row %lld", (long long)first);
}

/* A merged model is written from a function: a wrong chunk border would mix up rows. */
static void
test_safetensors_filled_rows_are_read_back(void **state)
{
	char *folder = test_folder_make(), *path = hn_path_join(folder, "m.safetensors");
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct rows rows = {0};
	const float bias[3] = {1, 2, 3};
	const struct hn_tensor_out tensors[] = {
		{.name = "w",
			.storage = "f32",
			.rank = 3,
			.dim = {3, 1000, 300},
			.fill = fill,
			.ctx = &rows},
		{.name = "b", .storage = "f32", .rank = 1, .dim = {3}, .bytes = bias},
		{.name = "none", .storage = "f32", .rank = 2, .dim = {0, 3}, .fill = fill_failing},
	};
	const struct hn_tensor_info *w;
	float row[300];

	(void)state;
	OK(hn_safetensors_write(path, tensors, 3, &(struct hn_meta_out){"k", "v\n\""}, 1, &err));
	assert_int_equal(rows.next, 3000);
	assert_true(rows.calls > 1);
	OK(hn_safetensors_open(&file, path, &err));
	assert_int_equal(file.n_tensors, 3);
	w = hn_tensor_file_find(&file, "w");
	for (int64_t r = 0; r < 3000; r++) {
		hn_tensor_decode_host(w, r * 300, 300, row);
		assert_true(row[0] == (float)r && row[299] == (float)(r + 299));
	}
	assert_memory_equal(hn_tensor_file_find(&file, "b")->bytes, bias, sizeof bias);
	assert_string_equal(hn_meta_find(&file, "k")->value.string, "v\n\"");
	assert_string_equal(hn_meta_find(&file, "format")->value.string, "pt");
	hn_tensor_file_close(&file);
	free(path);
	test_folder_remove(folder);
}

/* A failed export must leave what was there before. */
static void
test_safetensors_failed_write_leaves_the_old_file(void **state)
{
	char *folder = test_folder_make(), *path = test_write(folder, "m.safetensors", "old", 3);
	struct hone_error err = {0};
	const struct hn_tensor_out tensor = {
		.name = "w", .storage = "f32", .rank = 2, .dim = {4, 4}, .fill = fill_failing};
	char **names = NULL, *text = NULL;
	size_t n = 0;

	(void)state;
	assert_int_equal(hn_safetensors_write(path, &tensor, 1, NULL, 0, &err), HONE_ENOTFINITE);
	OK(hn_file_read(path, 10, HONE_EIO, &text, &n, &err));
	assert_string_equal(text, "old");
	free(text);
	OK(hn_dir_list(folder, &names, &n, &err));
	assert_int_equal(n, 1);
	free(names[0]);
	free(names);
	free(path);
	test_folder_remove(folder);
}

/* What the reader refuses must not be written. */
static void
test_safetensors_write_refuses_what_cannot_be_read(void **state)
{
	const float x[4] = {0};
	const struct hn_tensor_out good = {
		.name = "w", .storage = "f32", .rank = 1, .dim = {4}, .bytes = x};
	struct hn_tensor_out twice[2] = {good, good}, bad = good;
	struct hone_error err = {0};

	(void)state;
	assert_int_equal(hn_safetensors_write("/nowhere/x", twice, 2, NULL, 0, &err), HONE_EINVAL);
	bad.storage = "q4_1";
	assert_int_equal(hn_safetensors_write("/nowhere/x", &bad, 1, NULL, 0, &err), HONE_EINVAL);
	bad = good;
	bad.dim[0] = -1;
	assert_int_equal(hn_safetensors_write("/nowhere/x", &bad, 1, NULL, 0, &err), HONE_EINVAL);
	bad = good;
	bad.name = "__metadata__";
	assert_int_equal(hn_safetensors_write("/nowhere/x", &bad, 1, NULL, 0, &err), HONE_EINVAL);
}

/* Would catch: tensors after the refused one, which have no sizes yet, being sorted. */
static void
test_safetensors_write_of_a_name_twice_before_others_is_refused(void **state)
{
	const float x[4] = {0};
	struct hn_tensor_out tensors[64];
	struct hone_error err = {0};
	char names[64][8];

	(void)state;
	for (int i = 0; i < 64; i++) {
		(void)snprintf(names[i], sizeof names[i], "w%d", i ? i - 1 : 0);
		tensors[i] = (struct hn_tensor_out){
			.name = names[i], .storage = "f32", .rank = 1, .dim = {4}, .bytes = x};
	}
	assert_int_equal(
		hn_safetensors_write("/nowhere/x", tensors, 64, NULL, 0, &err), HONE_EINVAL);
	assert_non_null(strstr(err.text, "\"w0\" would be written twice"));
}

/* Old writers do not pad the header: such files are legal, and reading them with aligned loads
 * is undefined behaviour. */
static void
test_safetensors_misaligned_tensor_is_marked_and_readable(void **state)
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str bytes = {0};
	float x[2];

	(void)state;
	test_put_safetensors(
		&bytes, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}} ", 0);
	while (((uintptr_t)bytes.text + bytes.len) % 4 != 1) {
		hn_str_putc(&bytes, ' ');
		bytes.text[0]++;
	}
	test_put_f32(&bytes, 1.5f);
	test_put_f32(&bytes, -2.5f);
	OK(hn_safetensors_parse(&file, (uint8_t *)bytes.text, bytes.len, "x", &err));
	assert_true(file.tensors[0].flags & HN_TENSOR_MISALIGNED);
	assert_true(file.tensors[0].flags & HN_TENSOR_DECODABLE);
	hn_tensor_decode_host(&file.tensors[0], 0, 2, x);
	assert_true(x[0] == 1.5f && x[1] == -2.5f);
	hn_tensor_file_close(&file);
	hn_str_fini(&bytes);
}

/* model.safetensors is the model even where an adapter or a stray index lies beside it. */
static void
test_safetensors_folder_prefers_the_single_file(void **state)
{
	char *folder = test_folder_make();
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str bytes = {0};

	(void)state;
	assert_int_equal(hn_safetensors_open_folder(&file, folder, &err), HONE_ENOTFOUND);
	test_put_safetensors(
		&bytes, "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
	free(test_write(folder, "other.safetensors", bytes.text, bytes.len));
	free(test_write(folder, "adapter_model.safetensors", "broken", 6));
	OK(hn_safetensors_open_folder(&file, folder, &err));
	assert_true(hn_ends_with(file.map_paths[0], "/other.safetensors"));
	hn_tensor_file_close(&file);
	free(test_write(folder, "model.safetensors", bytes.text, bytes.len));
	free(test_write(folder, "model.safetensors.index.json", "broken", 6));
	OK(hn_safetensors_open_folder(&file, folder, &err));
	assert_true(hn_ends_with(file.map_paths[0], "/model.safetensors"));
	hn_tensor_file_close(&file);
	hn_str_fini(&bytes);
	test_folder_remove(folder);
}

static bool
knows_u8(void *ctx, const char *storage)
{
	(void)ctx;
	return hn_streq(storage, "u8");
}

/* The registry's answer decides what is decodable; the host's own types always are. */
static void
test_tensor_file_resolve_marks_what_the_registry_knows(void **state)
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str bytes = {0};

	(void)state;
	test_put_safetensors(&bytes,
		"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
		"\"b\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[1,3]},"
		"\"c\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[3,4]}}",
		4);
	OK(hn_safetensors_parse(&file, (uint8_t *)bytes.text, bytes.len, "x", &err));
	assert_int_equal(hn_tensor_check_decodable(&file, &file.tensors[0], &err), HONE_EMODEL);
	hn_tensor_file_resolve(&file, knows_u8, NULL);
	assert_int_equal(hn_tensor_check_decodable(&file, &file.tensors[0], &err), HONE_OK);
	assert_int_equal(hn_tensor_check_decodable(&file, &file.tensors[1], &err), HONE_OK);
	assert_int_equal(hn_tensor_check_decodable(&file, &file.tensors[2], &err), HONE_EMODEL);
	hn_tensor_file_close(&file);
	hn_str_fini(&bytes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_safetensors_filled_rows_are_read_back),
		cmocka_unit_test(test_safetensors_failed_write_leaves_the_old_file),
		cmocka_unit_test(test_safetensors_write_refuses_what_cannot_be_read),
		cmocka_unit_test(test_safetensors_write_of_a_name_twice_before_others_is_refused),
		cmocka_unit_test(test_safetensors_misaligned_tensor_is_marked_and_readable),
		cmocka_unit_test(test_safetensors_folder_prefers_the_single_file),
		cmocka_unit_test(test_tensor_file_resolve_marks_what_the_registry_knows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
