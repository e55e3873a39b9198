/*
 * test_malformed_shards.c - a model in several files whose index is wrong (entry 43).
 *
 * Would catch: a shard that is missed, a tensor that comes from another shard than the index
 * says, and a name of the index that leads out of the folder.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "modelfile.h"
#include "refused.h"

#include "base/file.h"
#include "model/checkpoint.h"

#define SHARD(name) "{\"" name "\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}    "

static void
write_shard(const char *folder, const char *file, const char *header)
{
	struct hn_str bytes = {0};

	test_put_safetensors(&bytes, header, 4);
	free(test_write(folder, file, bytes.text, bytes.len));
	hn_str_fini(&bytes);
}

static void
test_safetensors_index_fault_is_named(void **state)
{
	static const char one[] = "model-00001-of-00002.safetensors";
	static const char two[] = "model-00002-of-00002.safetensors";
	static const struct {
		const char *fault, *index, *second, *extra, *place, *cause;
	} cases[] = {
		{"43 shard missing", "{\"a\":\"1\",\"b\":\"2\"}", NULL, NULL, "index.json",
			"names the file \"model-00002-of-00002.safetensors\", which is missing"},
		{"43 tensor in two shards", "{\"a\":\"1\",\"b\":\"2\"}", SHARD("a"), NULL,
			"00002-of", "\"a\" stands there twice"},
		{"43 tensor not in its shard", "{\"a\":\"1\",\"b\":\"1\",\"c\":\"2\"}", SHARD("c"),
			NULL, "index.json",
			"tensor \"b\" is in \"model-00001-of-00002.safetensors\", and it is not"},
		{"43 tensors in each other's shard", "{\"a\":\"2\",\"b\":\"1\"}", SHARD("b"), NULL,
			"index.json",
			"tensor \"a\" is in \"model-00002-of-00002.safetensors\", and it is not"},
		{"43 tensor not in the index", "{\"a\":\"1\",\"b\":\"2\"}",
			"{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
			"\"c\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
			NULL, "00002-of", "\"c\" is not named in the index"},
		{"43 path upwards", "{\"a\":\"../model.safetensors\"}", NULL, NULL, "index.json",
			"not the name of a file beside the index"},
		{"43 absolute path", "{\"a\":\"/etc/passwd\"}", NULL, NULL, "index.json",
			"not the name of a file"},
		{"43 dots", "{\"a\":\"..\"}", NULL, NULL, "index.json", "not the name of a file"},
		{"43 empty name", "{\"a\":\"\"}", NULL, NULL, "index.json",
			"not the name of a file"},
		{"43 no name", "{\"a\":1}", NULL, NULL, "index.json", "not the name of a file"},
		{"43 shard of another save", "{\"a\":\"1\",\"b\":\"2\"}", SHARD("b"),
			"model-00003-of-00003.safetensors", "index.json", "does not name it"},
		{"43 empty map", "{}", NULL, NULL, "index.json", "no \"weight_map\""},
		{"43 map of another kind", "[]", NULL, NULL, "index.json", "no \"weight_map\""},
		{"43 tensor twice in the map", "{\"a\":\"1\",\"a\":\"1\"}", NULL, NULL,
			"index.json", "not JSON: duplicate"},
		{"43 valid", "{\"a\":\"1\",\"b\":\"2\"}", SHARD("b"), NULL, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char *folder = test_folder_make(),
		     *path = hn_path_join(folder, "model.safetensors.index.json");
		struct hn_tensor_file file = {0};
		struct hone_error err = {0};
		struct hn_str index = {0};

		hn_str_puts(&index, "{\"weight_map\": ");
		for (const char *at = cases[i].index; *at; at++) {
			/* "1" and "2" stand for the shards' names. */
			const bool is_value = at[0] == '"' && (at[1] == '1' || at[1] == '2');

			if (is_value)
				hn_str_printf(&index, "\"%s\"", at[1] == '1' ? one : two);
			else
				hn_str_putc(&index, *at);
			at += is_value ? 2 : 0;
		}
		hn_str_puts(&index, "}");
		free(test_write(folder, "model.safetensors.index.json", index.text, index.len));
		write_shard(folder, one, SHARD("a"));
		if (cases[i].second)
			write_shard(folder, two, cases[i].second);
		if (cases[i].extra)
			write_shard(folder, cases[i].extra, SHARD("x"));
		if (cases[i].cause) {
			test_refused(hn_tensors_open(&file, folder, &err), &err, cases[i].fault,
				cases[i].place, cases[i].cause);
		} else if (hn_tensors_open(&file, folder, &err)) {
			fail_msg("%s: %s", err.place, err.text);
		} else {
			assert_int_equal(file.n_tensors, 2);
			assert_int_equal(file.n_maps, 2);
			hn_tensor_file_close(&file);
		}
		hn_str_fini(&index);
		free(path);
		test_folder_remove(folder);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_safetensors_index_fault_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
