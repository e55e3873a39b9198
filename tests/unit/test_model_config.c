/*
 * test_model_config.c - the getters, the two spellings of transformers, and writing back.
 */
#include "support.h"

#include <string.h>

#include <jansson.h>

#include "model/hf_config.h"

/* Fails the test with the error's text. */
#define OK(call)                                                                                   \
	do {                                                                                       \
		if (call)                                                                          \
			fail_msg("%s: %s", err.place, err.text);                                   \
	} while (0)

static struct hn_model_config
parse(const char *text)
{
	struct hn_model_config config = {0};
	struct hone_error err = {0};

	OK(hn_model_config_parse(&config, text, strlen(text), "config.json", &err));
	return config;
}

/* Absent, null and wrongly typed are three different things to a reader of configurations. */
static void
test_config_getters_tell_absent_from_wrong(void **state)
{
	struct hn_model_config config = parse("{\"i\": 3, \"f\": 1e-5, \"b\": true, \"s\": \"x\","
					      "\"n\": null, \"o\": {\"k\": [7, 8.5]}}");
	struct hone_error err = {0};
	const char *s;
	int64_t i;
	double f;
	bool b;

	(void)state;
	OK(hn_config_i64(&config, "i", &i, &err));
	assert_int_equal(i, 3);
	OK(hn_config_f64(&config, "f", &f, &err));
	assert_true(f == 1e-5);
	OK(hn_config_f64(&config, "i", &f, &err));
	assert_true(f == 3);
	OK(hn_config_bool(&config, "b", &b, &err));
	assert_true(b);
	OK(hn_config_string(&config, "s", &s, &err));
	assert_string_equal(s, "x");
	OK(hn_config_i64(&config, "o.k.0", &i, &err));
	assert_int_equal(i, 7);
	assert_int_equal(hn_config_count(&config, "o.k"), 2);
	assert_int_equal(hn_config_count(&config, "i"), -1);
	assert_int_equal(hn_config_i64(&config, "o.k.2", &i, &err), HONE_ENOTFOUND);
	assert_int_equal(hn_config_i64(&config, "n", &i, &err), HONE_ENOTFOUND);
	assert_int_equal(hn_config_i64(&config, "absent.deeply", &i, &err), HONE_ENOTFOUND);
	assert_int_equal(hn_config_i64(&config, "f", &i, &err), HONE_EMODEL);
	assert_int_equal(hn_config_bool(&config, "i", &b, &err), HONE_EMODEL);
	assert_int_equal(hn_config_string(&config, "i", &s, &err), HONE_EMODEL);
	OK(hn_config_i64_or(&config, "n", 5, &i, &err));
	assert_int_equal(i, 5);
	assert_int_equal(hn_config_i64_or(&config, "s", 5, &i, &err), HONE_EMODEL);
	hn_model_config_close(&config);
}

static void
check_rope(const char *text, double theta, const char *type, double factor)
{
	struct hn_model_config config = parse(text);
	struct hone_error err = {0};
	const char *found;
	double f;

	OK(hn_config_f64(&config, "rope_theta", &f, &err));
	assert_true(f == theta);
	assert_int_equal(hn_config_has(&config, "rope_scaling"), type != NULL);
	if (type) {
		OK(hn_config_string(&config, "rope_scaling.rope_type", &found, &err));
		assert_string_equal(found, type);
		OK(hn_config_f64(&config, "rope_scaling.factor", &f, &err));
		assert_true(f == factor);
	}
	hn_model_config_close(&config);
}

/* A scaling that is overlooked gives wrong positions and no error. */
static void
test_config_rope_is_found_in_every_spelling(void **state)
{
	(void)state;
	check_rope("{\"rope_theta\": 5.0, \"rope_scaling\": null}", 5, NULL, 0);
	check_rope("{\"rope_theta\": 5, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}}",
		5, "linear", 2);
	check_rope(
		"{\"rope_theta\": 5, \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4}}",
		5, "yarn", 4);
	/* Said twice: etc/golden/rope_spellings.py prints what transformers makes of these. */
	check_rope("{\"rope_theta\": 5, \"rope_parameters\": {\"rope_theta\": 7, \"rope_type\": "
		   "\"default\"}}",
		7, NULL, 0);
	check_rope("{\"rope_theta\": null, \"rope_parameters\": {\"rope_theta\": 7}}", 7, NULL, 0);
	check_rope("{\"rope_scaling\": null, \"rope_parameters\": {\"rope_theta\": 7, "
		   "\"rope_type\": \"linear\", \"factor\": 4}}",
		7, "linear", 4);
	check_rope("{\"rope_theta\": 5, \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": "
		   "2}, \"rope_parameters\": {\"rope_theta\": 7, \"rope_type\": \"linear\", "
		   "\"factor\": 4}}",
		5, "linear", 2);
	check_rope("{\"rope_theta\": 5, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2, "
		   "\"rope_theta\": 7}}",
		7, "linear", 2);
	check_rope("{\"rope_parameters\": {\"rope_theta\": 7, \"type\": \"linear\", \"factor\": "
		   "4}}",
		7, "linear", 4);
	check_rope("{\"rope_parameters\": {\"rope_theta\": 7, \"rope_type\": \"default\"}}", 7,
		NULL, 0);
	check_rope("{\"rope_parameters\": {\"rope_theta\": 7, \"rope_type\": \"llama3\","
		   "\"factor\": 8}}",
		7, "llama3", 8);
}

/* An end token may be a number or a list; taking only the first never stops a chat. */
static void
test_config_ids_are_one_or_many(void **state)
{
	struct hn_model_config config =
		parse("{\"one\": 4, \"many\": [5, 6, 7], \"bad\": [\"x\"]}");
	struct hone_error err = {0};
	int64_t ids[2] = {0};
	size_t n;

	(void)state;
	OK(hn_config_i64s(&config, "one", ids, 2, &n, &err));
	assert_int_equal(n, 1);
	assert_int_equal(ids[0], 4);
	OK(hn_config_i64s(&config, "many", ids, 2, &n, &err));
	assert_int_equal(n, 3);
	assert_int_equal(ids[1], 6);
	OK(hn_config_i64s(&config, "absent", ids, 2, &n, &err));
	assert_int_equal(n, 0);
	assert_int_equal(hn_config_i64s(&config, "bad", ids, 2, &n, &err), HONE_EMODEL);
	hn_model_config_close(&config);
}

static void
check_render(const char *text, const char *dtype, const char *wanted)
{
	struct hn_model_config config = parse(text);
	struct hone_error err = {0};
	struct hn_str out = {0};

	OK(hn_model_config_render(&config, dtype, &out, &err));
	assert_string_equal(out.text, wanted);
	hn_str_fini(&out);
	hn_model_config_close(&config);
}

/* An export must not change keys that nobody asked about, nor lose digits of a float. */
static void
test_config_is_written_with_the_spelling_it_had(void **state)
{
	(void)state;
	check_render(
		"{\"z\": 1e-05, \"a\": [1, 2.0, {}], \"rope_parameters\": {\"rope_theta\": 1e6}}",
		NULL,
		"{\n  \"z\": 1e-05,\n  \"a\": [\n    1,\n    2.0,\n    {}\n  ],\n"
		"  \"rope_parameters\": {\n    \"rope_theta\": 1000000.0\n  }\n}\n");
	check_render("{\"torch_dtype\": \"bfloat16\"}", "float32",
		"{\n  \"torch_dtype\": \"float32\"\n}\n");
	check_render("{\"dtype\": \"bfloat16\"}", "float32", "{\n  \"dtype\": \"float32\"\n}\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config_getters_tell_absent_from_wrong),
		cmocka_unit_test(test_config_rope_is_found_in_every_spelling),
		cmocka_unit_test(test_config_ids_are_one_or_many),
		cmocka_unit_test(test_config_is_written_with_the_spelling_it_had),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
