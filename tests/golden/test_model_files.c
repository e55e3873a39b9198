/*
 * test_model_files.c - files made by the formats' own packages, read here; and our writer
 * against theirs.
 *
 * Files and script: tests/data/files, etc/golden/storage.py.
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint.h"
#include "model/gguf.h"
#include "model/safetensors.h"

/* Fails the test with the error's text. */
#define OK(call)                                                                                   \
	do {                                                                                       \
		if (call)                                                                          \
			fail_msg("%s: %s", err.place, err.text);                                   \
	} while (0)

static struct hn_tensor_file
open_file(const char *name)
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	char *path = test_data_path(name);

	OK(hn_tensors_open(&file, path, &err));
	free(path);
	return file;
}

static void
check_tensor(const struct hn_tensor_file *file, const char *name, const char *storage,
	uint32_t rank, const int64_t *dim)
{
	const struct hn_tensor_info *tensor = NULL;
	struct hone_error err = {0};

	OK(hn_tensor_file_expect(file, name, rank, dim, &tensor, &err));
	assert_string_equal(tensor->storage, storage);
}

/* Types, shapes, scalars, empty tensors and escaped names of the reference implementation. */
static void
test_safetensors_of_the_package_is_read(void **state)
{
	struct hn_tensor_file file = open_file("files/sample.safetensors");
	struct hone_error err = {0};
	const char *format;

	(void)state;
	assert_int_equal(file.n_tensors, 9);
	check_tensor(&file, "w.f32", "f32", 2, (int64_t[]){3, 5});
	check_tensor(&file, "w.bf16", "bf16", 3, (int64_t[]){2, 3, 4});
	check_tensor(&file, "w.f16", "f16", 1, (int64_t[]){7});
	check_tensor(&file, "w.i64", "i64", 1, (int64_t[]){2});
	check_tensor(&file, "w.u8", "u8", 2, (int64_t[]){1, 3});
	check_tensor(&file, "w.bool", "bool", 1, (int64_t[]){5});
	check_tensor(&file, "scalar", "f32", 0, NULL);
	check_tensor(&file, "empty", "f32", 2, (int64_t[]){0, 4});
	check_tensor(&file, "name \"with\" \\ \303\274ml\303\244ut \360\237\230\200", "i32", 5,
		(int64_t[]){1, 1, 1, 1, 2});
	OK(hn_meta_string(&file, "format", &format, &err));
	assert_string_equal(format, "pt");
	hn_tensor_file_close(&file);
}

/* Another order, padding or spacing would make our files differ from everybody's for no reason. */
static void
test_safetensors_written_equals_the_package_byte_for_byte(void **state)
{
	static const char *const names[] = {
		"files/sample.safetensors", "files/storage.safetensors"};
	char *folder = test_folder_make();
	struct hone_error err = {0};

	(void)state;
	for (size_t f = 0; f < 2; f++) {
		struct hn_tensor_file file = open_file(names[f]);
		struct hn_tensor_out *tensors = calloc(file.n_tensors, sizeof *tensors);
		char *path = hn_path_join(folder, "out.safetensors"), *text = NULL;
		size_t len;

		/* Handed over backwards: the order of the file is the writer's. */
		for (size_t i = 0; i < file.n_tensors; i++) {
			const struct hn_tensor_info *from = &file.tensors[file.n_tensors - 1 - i];

			tensors[i] = (struct hn_tensor_out){.name = from->name,
				.storage = from->storage,
				.rank = from->rank,
				.bytes = from->bytes};
			memcpy(tensors[i].dim, from->dim, sizeof from->dim);
		}
		OK(hn_safetensors_write(path, tensors, file.n_tensors, NULL, 0, &err));
		OK(hn_file_read(path, 1 << 20, HONE_EIO, &text, &len, &err));
		assert_int_equal(len, file.maps[0].size);
		assert_memory_equal(text, file.maps[0].bytes, len);
		free(text);
		free(path);
		free(tensors);
		hn_tensor_file_close(&file);
	}
	test_folder_remove(folder);
}

static void
check_i64(const struct hn_tensor_file *file, const char *key, int64_t wanted)
{
	struct hone_error err = {0};
	int64_t found;

	OK(hn_meta_i64(file, key, &found, &err));
	assert_true(found == wanted);
}

/* A wrong width or sign of one of the twelve value types moves every later key. */
static void
test_gguf_metadata_of_every_type_is_read(void **state)
{
	struct hn_tensor_file file = open_file("files/sample.gguf");
	struct hone_error err = {0};
	const char *text;
	uint64_t u;
	double d;
	bool b;

	(void)state;
	check_i64(&file, "k.uint8", 200);
	check_i64(&file, "k.int8", -100);
	check_i64(&file, "k.uint16", 60000);
	check_i64(&file, "k.int16", -30000);
	check_i64(&file, "k.uint32", 4000000000);
	check_i64(&file, "k.int32", -2000000000);
	check_i64(&file, "k.int64", -(INT64_C(1) << 62));
	OK(hn_meta_u64(&file, "k.uint64", &u, &err));
	assert_true(u == (UINT64_C(1) << 63) + 5);
	OK(hn_meta_f64(&file, "k.float32", &d, &err));
	assert_true(d == 1.5);
	OK(hn_meta_f64(&file, "k.float64", &d, &err));
	assert_true(d == -2.25);
	OK(hn_meta_bool(&file, "k.bool", &b, &err));
	assert_true(b);
	OK(hn_meta_string(&file, "k.string", &text, &err));
	assert_string_equal(text, "gr\303\274\303\237e");
	/* What does not fit or is of another kind is refused, not converted. */
	assert_int_equal(hn_meta_i64(&file, "k.uint64", &(int64_t){0}, &err), HONE_EMODEL);
	assert_int_equal(hn_meta_u64(&file, "k.int8", &u, &err), HONE_EMODEL);
	assert_int_equal(hn_meta_string(&file, "k.bool", &text, &err), HONE_EMODEL);
	assert_int_equal(hn_meta_u64(&file, "k.absent", &u, &err), HONE_ENOTFOUND);
	hn_tensor_file_close(&file);
}

/* Arrays are walked in the mapping; a wrong stride shows in the second element. */
static void
test_gguf_arrays_are_walked(void **state)
{
	static const char *const words[] = {"a", "", "long enough"};
	static const int64_t numbers[] = {1, -2, 3};
	struct hn_tensor_file file = open_file("files/sample.gguf");
	struct hn_meta_cursor cursor = {0};
	struct hn_meta_value value;
	struct hone_error err = {0};

	(void)state;
	OK(hn_meta_array(&file, "k.words", HN_META_STRING, &cursor.array, &err));
	for (size_t i = 0; i < 3; i++) {
		assert_true(hn_meta_next(&cursor, &value));
		assert_int_equal(value.string_len, strlen(words[i]));
		assert_memory_equal(value.string, words[i], value.string_len);
	}
	assert_false(hn_meta_next(&cursor, &value));
	cursor = (struct hn_meta_cursor){0};
	OK(hn_meta_array(&file, "k.numbers", HN_META_I32, &cursor.array, &err));
	for (size_t i = 0; i < 3; i++) {
		assert_true(hn_meta_next(&cursor, &value));
		assert_true(value.as.i64 == numbers[i]);
	}
	assert_false(hn_meta_next(&cursor, &value));
	assert_int_equal(hn_meta_array(&file, "k.numbers", HN_META_STRING, &cursor.array, &err),
		HONE_EMODEL);
	hn_tensor_file_close(&file);
}

/* ne is innermost first: a shape that is not reversed would pass for square matrices only. */
static void
test_gguf_tensors_have_shape_type_and_values(void **state)
{
	struct hn_tensor_file file = open_file("files/sample.gguf");
	const struct hn_tensor_info *tensor;
	float wide[256], half[256];

	(void)state;
	assert_int_equal(file.n_tensors, 9);
	check_tensor(&file, "a.f32", "f32", 2, (int64_t[]){4, 64});
	check_tensor(&file, "c.q4_1", "q4_1", 2, (int64_t[]){4, 64});
	check_tensor(&file, "f.deep", "f32", 4, (int64_t[]){2, 2, 4, 16});
	hn_tensor_decode_host(hn_tensor_file_find(&file, "a.f32"), 0, 256, wide);
	hn_tensor_decode_host(hn_tensor_file_find(&file, "b.f16"), 0, 256, half);
	for (int i = 0; i < 256; i++)
		assert_true(fabsf(wide[i] - half[i]) <= fabsf(wide[i]) * 0x1p-11f + 0x1p-25f);
	hn_tensor_decode_host(hn_tensor_file_find(&file, "c.bf16"), 0, 256, half);
	for (int i = 0; i < 256; i++)
		assert_true(fabsf(wide[i] - half[i]) <= fabsf(wide[i]) * 0x1p-8f);
	hn_tensor_decode_host(hn_tensor_file_find(&file, "e.vector"), 0, 64, half);
	assert_memory_equal(half, wide, 64 * sizeof *half);
	/* Listed by name although nothing here reads it. */
	tensor = hn_tensor_file_find(&file, "d.q5_0");
	assert_string_equal(tensor->storage, "q5_0");
	assert_int_equal(tensor->n_bytes, 256 / 32 * 22);
	assert_int_equal(hn_tensor_check_decodable(&file, tensor, NULL), HONE_EMODEL);
	hn_tensor_file_close(&file);
}

static int64_t
config_i64(const struct hn_model_config *config, const char *key)
{
	struct hone_error err = {0};
	int64_t value;

	OK(hn_config_i64(config, key, &value, &err));
	return value;
}

/* The scaling of Llama 3.1 lives in a tensor of GGUF: lost, a long context is garbage. */
static void
test_gguf_llama_gives_hugging_face_config(void **state)
{
	struct hn_checkpoint checkpoint = {0};
	struct hone_error err = {0};
	char *path = test_data_path("files/llama.gguf");
	const char *text;
	int64_t ids[2];
	double d;
	size_t n;
	bool b;

	(void)state;
	OK(hn_checkpoint_open(&checkpoint, path, &err));
	assert_int_equal(config_i64(&checkpoint.config, "hidden_size"), 64);
	assert_int_equal(config_i64(&checkpoint.config, "num_hidden_layers"), 2);
	assert_int_equal(config_i64(&checkpoint.config, "num_key_value_heads"), 2);
	assert_int_equal(config_i64(&checkpoint.config, "head_dim"), 16);
	assert_int_equal(config_i64(&checkpoint.config, "vocab_size"), 40);
	OK(hn_config_f64(&checkpoint.config, "rms_norm_eps", &d, &err));
	assert_true(d == 1e-5);
	OK(hn_config_string(&checkpoint.config, "rope_scaling.rope_type", &text, &err));
	assert_string_equal(text, "llama3");
	OK(hn_config_f64(&checkpoint.config, "rope_scaling.factor", &d, &err));
	assert_true(d == 8);
	assert_false(checkpoint.config.has_rope_freqs);
	OK(hn_config_bool(&checkpoint.config, "tie_word_embeddings", &b, &err));
	assert_true(b);
	OK(hn_config_i64s(&checkpoint.config, "eos_token_id", ids, 2, &n, &err));
	assert_int_equal(n, 2);
	assert_int_equal(ids[1], 3);
	assert_string_equal(hn_gguf_repository(&checkpoint.tensors), "someone/tiny");
	hn_checkpoint_close(&checkpoint);
	free(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_safetensors_of_the_package_is_read),
		cmocka_unit_test(test_safetensors_written_equals_the_package_byte_for_byte),
		cmocka_unit_test(test_gguf_metadata_of_every_type_is_read),
		cmocka_unit_test(test_gguf_arrays_are_walked),
		cmocka_unit_test(test_gguf_tensors_have_shape_type_and_values),
		cmocka_unit_test(test_gguf_llama_gives_hugging_face_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
