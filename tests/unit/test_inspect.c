/*
 * test_inspect.c - what `hone inspect` says of a file.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "modelfile.h"

#include "model/gguf.h"
#include "model/inspect.h"

/* A name with an escape sequence of the terminal in it, a vocabulary, a quantised tensor. */
static struct hn_tensor_file
strange_file(struct hn_str *bytes)
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};

	test_put_gguf(bytes, 3, 1, 3);
	test_put_kv_string(bytes, "general.name", "evil \033[2J \"quoted\"");
	test_put_kv_f32(bytes, "eps", 1e-5f);
	test_put_key(bytes, "words", 9);
	test_put_u32(bytes, 8);
	test_put_u64(bytes, 20);
	for (int i = 0; i < 20; i++)
		test_put_string(bytes, "w");
	test_put_info(bytes, "blk\033[31m", (uint64_t[]){64, 3, 0}, 2, 0);
	test_put_padding(bytes, 32);
	for (int i = 0; i < 128; i++)
		test_put_u8(bytes, 0);
	if (hn_gguf_parse(&file, (uint8_t *)bytes->text, bytes->len, "a \"file\"", &err))
		fail_msg("%s", err.text);
	return file;
}

/* The document is a promise to other people's scripts: schema, keys, types. */
static void
test_inspect_json_has_the_promised_keys(void **state)
{
	struct hn_str bytes = {0}, out = {0};
	struct hn_tensor_file file = strange_file(&bytes);
	const char *schema, *format, *type, *name, *value, *of;
	int rows, width, n_bytes, parameters, count;
	double eps;
	json_t *doc;

	(void)state;
	hn_inspect_json(&file, "{\"model_type\": \"llama\"}", &out);
	doc = json_loads(out.text, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(doc);
	assert_int_equal(json_unpack(doc, "{s:s, s:s, s:[{s:s, s:s, s:[i,i], s:i}], s:{s:i}}",
				 "schema", &schema, "format", &format, "tensors", "name", &name,
				 "type", &type, "shape", &rows, &width, "bytes", &n_bytes, "totals",
				 "parameters", &parameters),
		0);
	assert_string_equal(schema, "hone.inspect/1");
	assert_string_equal(format, "gguf");
	assert_string_equal(type, "q4_0");
	assert_string_equal(name, "blk\033[31m");
	assert_int_equal(rows, 3);
	assert_int_equal(width, 64);
	assert_int_equal(n_bytes, 3 * 2 * 18);
	assert_int_equal(parameters, 192);
	assert_int_equal(
		json_unpack(doc, "{s:{s:{s:s}, s:{s:f}, s:{s:s, s:i}}}", "metadata", "general.name",
			"value", &value, "eps", "value", &eps, "words", "of", &of, "count", &count),
		0);
	assert_string_equal(value, "evil \033[2J \"quoted\"");
	assert_true(eps == 1e-5);
	assert_string_equal(of, "string");
	assert_int_equal(count, 20);
	json_decref(doc);
	hn_str_fini(&out);
	hn_tensor_file_close(&file);
	hn_str_fini(&bytes);
}

/* A file from a stranger must not be able to write to the terminal's controls. */
static void
test_inspect_text_has_no_control_characters(void **state)
{
	struct hn_str bytes = {0}, out = {0};
	struct hn_tensor_file file = strange_file(&bytes);

	(void)state;
	hn_inspect_text(&file, NULL, &out);
	for (size_t i = 0; i < out.len; i++)
		assert_true((unsigned char)out.text[i] >= 0x20 || out.text[i] == '\n');
	assert_non_null(strstr(out.text, "1 tensors (1 x q4_0), 192 parameters, 108 bytes"));
	assert_non_null(strstr(out.text, "20 x string"));
	hn_str_fini(&out);
	hn_tensor_file_close(&file);
	hn_str_fini(&bytes);
}

/* A folder is described with its configuration; a path that is nothing is an error. */
static void
test_inspect_folder_shows_its_configuration(void **state)
{
	static const char header[] =
		"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
	static const char config[] = "{\"model_type\": \"bert\"}";
	char *folder = test_folder_make();
	struct hone_error err = {0};
	struct hn_str bytes = {0}, out = {0};
	const char *type;
	json_t *doc;

	(void)state;
	test_put_safetensors(&bytes, header, 1);
	free(test_write(folder, "model.safetensors", bytes.text, bytes.len));
	free(test_write(folder, "config.json", config, strlen(config)));
	assert_int_equal(hn_inspect(folder, true, &out, &err), HONE_OK);
	doc = json_loads(out.text, JSON_REJECT_DUPLICATES, NULL);
	assert_int_equal(json_unpack(doc, "{s:{s:s}}", "config", "model_type", &type), 0);
	assert_string_equal(type, "bert");
	json_decref(doc);
	hn_str_clear(&out);
	assert_int_equal(hn_inspect("/nowhere", false, &out, &err), HONE_EMODEL);
	assert_int_equal(out.len, 0);
	hn_str_fini(&out);
	hn_str_fini(&bytes);
	test_folder_remove(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inspect_json_has_the_promised_keys),
		cmocka_unit_test(test_inspect_text_has_no_control_characters),
		cmocka_unit_test(test_inspect_folder_shows_its_configuration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
