/*
 * test_schema.c - shapes of rows: found, named, read.
 *
 * Would catch: a row that fits two shapes and is guessed, an input that is glued to its
 * instruction without a line break, a role or a system prompt that is lost, rows that are the
 * same and hash apart or the other way round, a reference answer of the wrong turn.
 */
#include <stdlib.h>
#include <string.h>

#include "data/schema.h"
#include "support.h"

static const struct hn_place place = {"rows.jsonl", 3};

/* The sample as one line of JSON, or the error's text. */
static char *
read_row(const char *schema_name, const char *text, uint64_t *hash)
{
	json_t *row = json_loads(text, 0, NULL), *out = json_object();
	enum hn_schema schema = HN_SCHEMA_AUTO;
	struct hn_sample sample;
	struct hone_error err = {0};
	char *line;

	assert_non_null(row);
	assert_int_equal(hn_schema_parse(schema_name, &schema, &err), HONE_OK);
	if (schema == HN_SCHEMA_AUTO && hn_schema_detect(row, &place, &schema, &err))
		fail_msg("%s", err.text);
	assert_int_equal(hn_sample_read(&sample, schema, row, &place, &err), HONE_OK);
	if (hash)
		*hash = hn_sample_hash(&sample);
	(void)json_object_set_new(out, "kind", json_integer(sample.kind));
	if (sample.prompt)
		(void)json_object_set_new(out, "prompt", json_string(sample.prompt));
	if (sample.text)
		(void)json_object_set_new(out, "text", json_string(sample.text));
	if (json_array_size(sample.messages))
		(void)json_object_set(out, "messages", sample.messages);
	if (hn_sample_reference(&sample))
		(void)json_object_set_new(
			out, "reference", json_string(hn_sample_reference(&sample)));
	line = json_dumps(out, JSON_COMPACT);
	hn_sample_fini(&sample);
	json_decref(out);
	json_decref(row);
	return line;
}

static void
test_schema_each_shape_is_read(void **state)
{
	static const char *const cases[][3] = {
		{"text", "{\"text\":\"a\"}", "{\"kind\":1,\"text\":\"a\"}"},
		{"prompt", "{\"prompt\":\"a\",\"completion\":\"b\"}",
			"{\"kind\":2,\"prompt\":\"a\",\"text\":\"b\",\"reference\":\"b\"}"},
		{"alpaca",
			"{\"instruction\":\"a\",\"input\":\"in\",\"output\":\"b\",\"system\":"
			"\"s\"}",
			"{\"kind\":3,\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{"
			"\"role\":"
			"\"user\",\"content\":\"a\\nin\"},{\"role\":\"assistant\",\"content\":"
			"\"b\"}],"
			"\"reference\":\"b\"}"},
		{"alpaca", "{\"instruction\":\"a\",\"input\":\"\",\"output\":\"b\"}",
			"{\"kind\":3,\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
			"\"assistant\",\"content\":\"b\"}],\"reference\":\"b\"}"},
		{"sharegpt",
			"{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":"
			"\"gpt\","
			"\"value\":\"b\"},{\"from\":\"human\",\"value\":\"c\"}]}",
			"{\"kind\":3,\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
			"\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"c\"}],"
			"\"reference\":\"b\"}"},
		{"prompt",
			"{\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}],\"completion\":[{"
			"\"role\":"
			"\"assistant\",\"content\":\"b\"}]}",
			"{\"kind\":4,\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
			"\"assistant\",\"content\":\"b\"}],\"reference\":\"b\"}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char *named = read_row(cases[i][0], cases[i][1], NULL);
		char *found = read_row("auto", cases[i][1], NULL);

		assert_string_equal(named, cases[i][2]);
		assert_string_equal(found, cases[i][2]);
		free(named);
		free(found);
	}
}

static void
test_schema_row_of_two_shapes_is_asked_not_guessed(void **state)
{
	static const char text[] = "{\"text\":\"t\",\"instruction\":\"a\",\"output\":\"b\"}";
	json_t *row = json_loads(text, 0, NULL);
	enum hn_schema schema;
	struct hone_error err = {0};
	char *line;

	(void)state;
	assert_int_equal(hn_schema_detect(row, &place, &schema, &err), HONE_EDATA);
	assert_int_equal(err.line, 3);
	assert_non_null(strstr(err.text, "text or alpaca"));
	json_decref(row);
	line = read_row("text", text, NULL);
	assert_string_equal(line, "{\"kind\":1,\"text\":\"t\"}");
	free(line);
}

static void
test_schema_unknown_name_gives_the_nearest(void **state)
{
	enum hn_schema schema;
	struct hone_error err = {0};

	(void)state;
	assert_int_equal(hn_schema_parse("mesages", &schema, &err), HONE_ECONFIG);
	assert_non_null(strstr(err.text, "did you mean messages"));
	for (int i = 0; i < HN_SCHEMA_COUNT; i++) {
		assert_int_equal(
			hn_schema_parse(hn_schema_name((enum hn_schema)i), &schema, &err), HONE_OK);
		assert_int_equal(schema, i);
	}
}

static void
test_schema_hash_is_of_what_is_said(void **state)
{
	uint64_t a, b, c, d, e;

	(void)state;
	free(read_row("auto", "{\"prompt\":\"a\",\"completion\":\"b\"}", &a));
	free(read_row("auto", "{ \"id\":7, \"completion\":\"b\", \"prompt\":\"\\u0061\"}", &b));
	free(read_row("auto", "{\"prompt\":\"ab\",\"completion\":\"b\"}", &c));
	free(read_row("auto", "{\"prompt\":\"a\",\"completion\":\"ab\"}", &d));
	free(read_row("auto", "{\"text\":\"ab\"}", &e));
	assert_true(a == b);
	assert_true(a != c && a != d && c != d && a != e && c != e && d != e);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_schema_each_shape_is_read),
		cmocka_unit_test(test_schema_row_of_two_shapes_is_asked_not_guessed),
		cmocka_unit_test(test_schema_unknown_name_gives_the_nearest),
		cmocka_unit_test(test_schema_hash_is_of_what_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
