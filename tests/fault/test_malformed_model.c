/*
 * test_malformed_model.c - config.json with one fault each, and folders that are no model.
 *
 * The numbers are those of the catalogue of bad inputs: 64, 65 and 67.  Would catch: a model
 * built from a configuration that nothing checked, or code of a repository that is run.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "modelfile.h"
#include "refused.h"

#include "base/file.h"
#include "model/checkpoint.h"

static void
test_config_fault_is_named(void **state)
{
	static const struct {
		const char *fault, *text, *cause;
	} cases[] = {
		{"64 not JSON", "{\"a\": 1,}", "not JSON"},
		{"64 empty", "", "not JSON"},
		{"64 duplicate key", "{\"a\": 1, \"a\": 2}", "not JSON: duplicate"},
		{"64 not an object", "[1]", "JSON object"},
		{"64 heads do not divide", "{\"hidden_size\": 10, \"num_attention_heads\": 4}",
			"hidden_size 10 is no multiple of num_attention_heads 4"},
		{"64 kv heads 0", "{\"num_attention_heads\": 4, \"num_key_value_heads\": 0}",
			"\"num_key_value_heads\" is 0"},
		{"64 kv heads do not divide",
			"{\"num_attention_heads\": 4, \"num_key_value_heads\": 3}", "no multiple"},
		{"64 negative size", "{\"hidden_size\": -8}", "\"hidden_size\" is -8"},
		{"64 layers", "{\"num_hidden_layers\": 100000}", "1 to 1024"},
		{"64 text for a number", "{\"hidden_size\": \"8\"}", "should be a whole number"},
		{"64 float for a number", "{\"hidden_size\": 8.5}", "should be a whole number"},
		{"64 eps", "{\"rms_norm_eps\": 0}", "\"rms_norm_eps\" is 0"},
		{"64 theta", "{\"rope_theta\": -1}", "\"rope_theta\" is -1"},
		{"64 theta of version 5", "{\"rope_parameters\": {\"rope_theta\": 0}}",
			"\"rope_theta\" is 0"},
		{"64 scaling unknown",
			"{\"rope_scaling\": {\"rope_type\": \"magic\", \"factor\": 2}}",
			"rope_scaling of type \"magic\" is not known"},
		{"64 scaling unknown, old spelling",
			"{\"rope_scaling\": {\"type\": \"magic\", \"factor\": 2}}", "\"magic\""},
		{"64 scaling unknown, version 5",
			"{\"rope_parameters\": {\"rope_type\": \"magic\", \"rope_theta\": 1}}",
			"\"magic\""},
		{"64 scaling without type", "{\"rope_scaling\": {\"factor\": 2}}", "rope_type"},
		{"64 scaling factor",
			"{\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 0}}",
			"\"rope_scaling.factor\" is 0"},
	};
	struct hn_model_config config = {0};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct hone_error err = {0};

		test_refused(hn_model_config_parse(&config, cases[i].text, strlen(cases[i].text),
				     REFUSED_PATH, &err),
			&err, cases[i].fault, REFUSED_PATH, cases[i].cause);
		assert_null(config.stored);
	}
}

/* 64, 65: an architecture nobody knows, with code in the folder. */
static void
test_config_unknown_architecture_says_that_no_code_is_run(void **state)
{
	static const char text[] =
		"{\"model_type\": \"lama\", \"auto_map\": {\"AutoModel\": \"x.Y\"}}";
	static const char *const known[] = {"llama", "gpt2"};
	struct hn_model_config config = {0};
	struct hone_error err = {0};

	(void)state;
	assert_int_equal(
		hn_model_config_parse(&config, text, strlen(text), REFUSED_PATH, &err), HONE_OK);
	test_refused(hn_model_config_fail_unknown(&config, known, 2, &err), &err, "64",
		REFUSED_PATH, "\"lama\" (did you mean \"llama\"?); known are llama, gpt2");
	test_refused(hn_model_config_fail_unknown(&config, known, 2, &err), &err, "65",
		REFUSED_PATH, "hone runs no code from model repositories");
	hn_model_config_close(&config);
}

static void
check_folder(
	const char *fault, const char *const names[], const char *const texts[], const char *cause)
{
	char *folder = test_folder_make();
	struct hn_checkpoint checkpoint = {0};
	struct hone_error err = {0};

	for (size_t i = 0; names[i]; i++)
		free(test_write(folder, names[i], texts[i], strlen(texts[i])));
	test_refused(hn_checkpoint_open(&checkpoint, folder, &err), &err, fault, folder, cause);
	assert_null(checkpoint.path);
	test_folder_remove(folder);
}

/* 67 and what else a folder may be instead of a model. */
static void
test_folder_that_is_no_model_says_what_to_do(void **state)
{
	struct hn_checkpoint checkpoint = {0};
	struct hone_error err = {0};

	(void)state;
	check_folder("empty", (const char *const[]){NULL}, NULL, "there is no config.json in it");
	check_folder("67 pickle", (const char *const[]){"config.json", "pytorch_model.bin", NULL},
		(const char *const[]){"{}", "x"}, "pickle (pytorch_model.bin)");
	check_folder("config only", (const char *const[]){"config.json", NULL},
		(const char *const[]){"{}"}, "there is no safetensors file in it");
	check_folder("a GGUF file in it", (const char *const[]){"m.gguf", NULL},
		(const char *const[]){"GGUF"}, "m.gguf");
	check_folder("two files, no index",
		(const char *const[]){"config.json", "x.safetensors", "y.safetensors", NULL},
		(const char *const[]){"{}", "x", "x"}, "there are 2 .safetensors files");
	test_refused(hn_checkpoint_open(&checkpoint, "/nowhere/at/all", &err), &err, "absent",
		"/nowhere/at/all", "no such file");
}

/* 64: two different tensors where the configuration promises one. */
static void
test_folder_with_tied_and_different_head_asks_which(void **state)
{
	static const char header[] =
		"{\"lm_head.weight\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
		"\"model.embed_tokens.weight\":"
		"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}";
	static const char config[] = "{\"tie_word_embeddings\": true}";
	char *folder = test_folder_make();
	struct hn_checkpoint checkpoint = {0};
	struct hone_error err = {0};
	struct hn_str bytes = {0};

	(void)state;
	test_put_safetensors(&bytes, header, 8);
	free(test_write(folder, "model.safetensors", bytes.text, bytes.len));
	free(test_write(folder, "config.json", config, strlen(config)));
	test_refused(hn_checkpoint_open(&checkpoint, folder, &err), &err, "64", "config.json",
		"differs from model.embed_tokens.weight");
	/* The same bytes twice are what some tools write, and they are fine. */
	memcpy(bytes.text + bytes.len - 4, bytes.text + bytes.len - 8, 4);
	free(test_write(folder, "model.safetensors", bytes.text, bytes.len));
	assert_int_equal(hn_checkpoint_open(&checkpoint, folder, &err), HONE_OK);
	hn_checkpoint_close(&checkpoint);
	hn_str_fini(&bytes);
	test_folder_remove(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config_fault_is_named),
		cmocka_unit_test(test_config_unknown_architecture_says_that_no_code_is_run),
		cmocka_unit_test(test_folder_that_is_no_model_says_what_to_do),
		cmocka_unit_test(test_folder_with_tied_and_different_head_asks_which),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
