/*
 * test_malformed_data.c - the catalogue of bad data files, each with what a user is told.
 *
 * One row is one file through the whole way: lines, JSON, schema, tokens, examples.  The numbers
 * are those of the field's catalogue of bad inputs (18 to 34).  Would catch: a crash, a row that
 * is skipped in silence, a message without line, cause or remedy, a place that is off.  A second
 * table has what looks bad and is fine.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/str.h"
#include "bench_data.h"
#include "support.h"

#define GOOD "{\"text\":\"good\"}\n"

struct bad {
	int entry; /* of the catalogue */
	const char *rows;
	size_t n; /* 0 = strlen */
	int32_t line, column;
	const char *says;
};

#define BYTES(text) (text), sizeof(text) - 1

static const struct bad bads[] = {
	/* 18: bad JSON */
	{18, GOOD "{\"text\": \"a\" \"b\"}\n", 0, 2, 16, "expected"},
	{18, GOOD "{'text': 'a'}\n", 0, 2, 2, "'"},
	{18, GOOD "{\"text\": NaN}\n", 0, 2, 0, "NaN"},
	{18, "{\"text\": \"a\"}{\"text\": \"b\"}\n", 0, 1, 0, "one line holds one record"},
	{18, "{\"text\": \"a\"},\n{\"text\": \"b\"}\n", 0, 1, 0, "one line holds one record"},
	{18, "{\n\"text\": \"a\"\n}\n", 0, 1, 0, "jq -c"},
	{18, "[\n{\"text\": \"a\"}]\n", 0, 1, 0, "jq -c"},
	{18, "[{\"text\": \"a\"}]\n", 0, 1, 0, "jq -c '.[]'"},
	{18, GOOD "text\n", 0, 2, 1, "begins with '{'"},
	{18, GOOD "{\"text\": \"a\x01\"}\n", 0, 2, 0, "control character"},
	{18, GOOD "{\"text\": \"\\x41\"}\n", 0, 2, 0, "escape"},
	/* 19: cut in the last record */
	{19, GOOD "{\"text\": \"cut he", 0, 2, 0, "looks cut"},
	{19, GOOD "{", 0, 2, 0, "looks cut"},
	/* 20: fields */
	{20, GOOD "{\"txt\":\"a\"}\n", 0, 2, 0, "'text' is missing"},
	{20, GOOD "{\"text\":null}\n", 0, 2, 0, "'text' is null"},
	{20, GOOD "{\"text\":7}\n", 0, 2, 0, "'text' is a number"},
	{20, GOOD "{\"text\":[\"a\"]}\n", 0, 2, 0, "'text' is a list"},
	{20, GOOD "{\"text\":\"\"}\n", 0, 2, 0, "'text' is empty"},
	{20, "{\"prompt\":\"a\",\"completion\":\"\"}\n", 0, 1, 0, "'completion' is empty"},
	{20, "{\"prompt\":\"a\",\"completion\":[]}\n", 0, 1, 0, "'completion' is a list"},
	{20, "{\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}],\"completion\":\"b\"}\n", 0, 1, 0,
		"'completion' is a string"},
	{20, "{\"prompt\":null,\"completion\":\"b\"}\n", 0, 1, 0, "'prompt' is null"},
	{20, "{}\n", 0, 1, 0, "keys none"},
	/* 20: misspelt */
	{20, "{\"promt\":\"a\",\"completion\":\"b\"}\n", 0, 1, 0,
		"did you mean 'prompt' for 'promt' (prompt: prompt + completion)?"},
	{20, "{\"txt\":\"a\"}\n", 0, 1, 0, "did you mean 'text' for 'txt' (text: text)?"},
	{20, "{\"mesages\":[]}\n", 0, 1, 0, "did you mean 'messages' for 'mesages'"},
	{20, "{\"instruciton\":\"a\",\"ouput\":\"b\"}\n", 0, 1, 0,
		"did you mean 'instruction' for 'instruciton' and 'output' for 'ouput' (alpaca: "
		"instruction + output)?"},
	{20, GOOD "{\"tetx\":\"a\"}\n", 0, 2, 0, "'text' is missing; did you mean it by 'tetx'?"},
	{20, "{\"foo\":1,\"bar\":2}\n", 0, 1, 0, "foo, bar"},
	{20, "{\"k\\u001b[31m\\ty\":1}\n", 0, 1, 0, "keys k?[31m?y"},
	{20, "{\"text\":\"a\",\"messages\":[]}\n", 0, 1, 0, "schema ="},
	{20, "{\"instruction\":\"a\",\"output\":\"\"}\n", 0, 1, 0, "'output' is empty"},
	{20, "{\"instruction\":\"a\",\"input\":3,\"output\":\"b\"}\n", 0, 1, 0, "'input'"},
	/* 20, by name: what is not carried */
	{20, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":[{}]}\n", 0, 1, 0,
		"'tools' cannot be carried"},
	{20, "{\"instruction\":\"a\",\"output\":\"b\",\"history\":[[\"c\",\"d\"]]}\n", 0, 1, 0,
		"'history' cannot be carried"},
	{20, "{\"text\":\"a\",\"images\":[\"x.png\"]}\n", 0, 1, 0, "'images' cannot be carried"},
	{20, "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"weight\":0}]}\n", 0, 1, 0,
		"'weight' cannot be carried"},
	{20, "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{}]}]}\n", 0,
		1, 0, "'content' is null"},
	{20, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}\n", 0, 1, 0,
		"'content' is a list"},
	/* 21: what JSON allows and hone does not */
	{21, GOOD "{\"text\":\"a\",\"text\":\"b\"}\n", 0, 2, 0, "duplicate"},
	{21, GOOD "{\"text\":\"a\\u0000b\"}\n", 0, 2, 0, "0000"},
	{21, GOOD "{\"text\":\"\\ud800\"}\n", 0, 2, 0, "invalid Unicode"},
	{21, GOOD "{\"text\":\"a\",\"x\":1e400}\n", 0, 2, 0, "overflow"},
	{21, BYTES(GOOD "{\"text\":\"a\xc0\xaf\"}\n"), 2, 11, "UTF-8"},
	{21, BYTES(GOOD "{\"text\":\"\xed\xa0\x80\"}\n"), 2, 10, "UTF-8"},
	{21, BYTES(GOOD "{\"text\":\"\xc3\xa4\xc3\xa4\xff\"}\n"), 2, 12, "0xff"},
	{21, BYTES(GOOD "{\"text\":\"a\0b\"}\n"), 2, 11, "NUL"},
	/* 23: nothing there */
	{23, " \n\n\r\n", 0, 0, 0, "no row"},
	{23, "\xef\xbb\xbf", 0, 0, 0, "no row"},
	{23, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n", 0, 0, 0,
		"none of 1 rows has a token to learn"},
	/* 28: roles */
	{28, "{\"messages\":[]}\n", 0, 1, 0, "no message"},
	{28, "{\"messages\":[7]}\n", 0, 1, 0, "message 1 is a number"},
	{28, "{\"messages\":[{\"content\":\"a\"}]}\n", 0, 1, 0, "'role' is missing"},
	{28, "{\"messages\":[{\"role\":\"robot\",\"content\":\"a\"}]}\n", 0, 1, 0, "'robot'"},
	{28, "{\"messages\":[{\"role\":\"tool\",\"content\":\"a\"}]}\n", 0, 1, 0, "'tool'"},
	{28, "{\"messages\":[{\"role\":\"human\",\"content\":\"a\"}]}\n", 0, 1, 0, "'human'"},
	{28,
		"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
		"{\"role\":\"assistant\",\"content\":\" \"}]}\n",
		0, 1, 0, "message 2, the assistant's, is empty"},
	{28, "{\"conversations\":[{\"from\":\"observation\",\"value\":\"a\"}]}\n", 0, 1, 0,
		"'observation'"},
	{28, "{\"conversations\":[{\"role\":\"user\",\"content\":\"a\"}]}\n", 0, 1, 0,
		"'from' is missing"},
	{28,
		"{\"prompt\":[{\"role\":\"assistant\",\"content\":\"a\"}],"
		"\"completion\":[{\"role\":\"assistant\",\"content\":\"b\"}]}\n",
		0, 1, 0, "ends with an assistant's turn"},
	/* 33: another kind of file */
	{33, BYTES("\x1f\x8b\x08\x00\x00"), 0, 0, "gzip"},
	{33, BYTES("\x28\xb5\x2f\xfd\x00"), 0, 0, "zstd"},
	{33, BYTES("PAR1\x15\x04"), 0, 0, "Parquet"},
	{33, BYTES("PK\x03\x04\x14"), 0, 0, "ZIP"},
	{33, BYTES("\x80\x04\x95"), 0, 0, "pickle"},
	{33, BYTES("\xff\xfe{\0\"\0"), 0, 0, "UTF-16"},
	{33, BYTES("{\0\"\0t\0\n\0"), 1, 2, "NUL"},
	{33, BYTES("version https://git-lfs.github.com/spec/v1\noid\n"), 0, 0, "git lfs pull"},
	{33, BYTES("<!DOCTYPE html>\n"), 0, 0, "HTML"},
	{33, BYTES("text,label\na,b\n"), 1, 1, "begins with '{'"},
	/* 34: lone CR */
	{34, "{\"text\":\"a\"}\r{\"text\":\"b\"}\r", 0, 1, 0, "CR alone"},
};

static void
test_malformed_data_is_named_with_line_and_remedy(void **state)
{
	struct bench_data bench;
	int bad = 0;

	(void)state;
	bench_data_open(&bench, "sft");
	for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
		const struct bad *b = &bads[i];
		const enum hone_status st =
			bench_data_read_bytes(&bench, b->rows, b->n ? b->n : strlen(b->rows));
		const struct hone_error *err = &bench.err;

		if (st == HONE_EDATA && strstr(err->text, b->says) && err->line == b->line &&
			(!b->column || err->column == b->column) &&
			strstr(err->place, "rows.jsonl") && strlen(err->text) <= 240 &&
			hn_utf8_check(err->text, strlen(err->text)) == strlen(err->text) &&
			!strpbrk(err->text, "\n\r\t\x1b\x01"))
			continue;
		print_message("row %zu (%d): status %d %s:%d:%d: %s\n  wants %d:%d: %s\n", i,
			b->entry, (int)st, err->place, err->line, err->column, err->text, b->line,
			b->column, b->says);
		bad++;
	}
	bench_data_close(&bench);
	assert_int_equal(bad, 0);
}

/* 33, by name: a table or plain text gets the command that makes rows of it; content that is
 * JSON is read whatever its name. */
static void
test_malformed_data_33_other_kinds_of_text_get_a_remedy(void **state)
{
	static const struct {
		const char *name, *text, *says;
	} files[] = {
		{"a.csv", "text,label\na,b\n", "a table; 'mlr --icsv"},
		{"a.csv", "\xef\xbb\xbftext\na\n", "a table; 'mlr --icsv"},
		{"a.tsv", "text\tlabel\n", "a table; 'mlr --itsv"},
		{"a.txt", "Once upon a time\n", "plain text; \"jq -cR"},
		{"a.md", "# Once\n", "plain text; \"jq -cRs"},
		{"a.txt", GOOD, NULL},
		{"a.csv", " \n" GOOD, NULL},
	};
	char *dir = test_folder_make();

	(void)state;
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		char *path = hn_path_join(dir, files[i].name);
		struct hone_error err = {0};
		struct hn_jsonl file;
		enum hone_status st;

		assert_int_equal(
			hn_file_replace(path, files[i].text, strlen(files[i].text), &err), 0);
		st = hn_jsonl_open(&file, path, &err);
		assert_int_equal(st, files[i].says ? HONE_EDATA : HONE_OK);
		if (st && !strstr(err.text, files[i].says))
			fail_msg("%s: %s", files[i].name, err.text);
		hn_jsonl_close(&file);
		free(path);
	}
	test_folder_remove(dir);
}

/* 21: levels; 21: digits; 22: a line that is too long.  Made, not written. */
static void
test_malformed_data_limits_are_held(void **state)
{
	struct bench_data bench;
	struct hn_str rows = {0};
	enum hone_status st;

	(void)state;
	bench_data_open(&bench, "sft");
	hn_str_puts(&rows, "{\"text\":\"[[[[{{{{\\\"[[\",\"x\":");
	for (int i = 0; i < 63; i++)
		hn_str_putc(&rows, '[');
	for (int i = 0; i < 63; i++)
		hn_str_putc(&rows, ']');
	hn_str_puts(&rows, "}\n");
	assert_int_equal(bench_data_read(&bench, rows.text), HONE_OK);

	hn_str_clear(&rows);
	hn_str_puts(&rows, "{\"text\":");
	for (int i = 0; i < 100000; i++)
		hn_str_putc(&rows, '[');
	assert_int_equal(bench_data_read(&bench, rows.text), HONE_EDATA);
	assert_non_null(strstr(bench.err.text, "64 levels"));
	assert_int_equal(bench.err.column, 72);

	hn_str_clear(&rows);
	hn_str_puts(&rows, "{\"text\":\"a\",\"id\":1");
	for (int i = 0; i < 40; i++)
		hn_str_putc(&rows, '0'); /* a number beyond 64 bits that hone does not need */
	hn_str_puts(&rows, "}\n");
	assert_int_equal(bench_data_read(&bench, rows.text), HONE_OK);
	hn_str_clear(&rows);
	hn_str_puts(&rows, "{\"text\":\"a\",\"id\":1");
	for (int i = 0; i < 1000000; i++)
		hn_str_putc(&rows, '0');
	hn_str_puts(&rows, "}\n");
	st = bench_data_read(&bench, rows.text);
	assert_int_equal(st, HONE_EDATA);
	assert_non_null(strstr(bench.err.text, "overflow"));

	hn_str_clear(&rows);
	hn_str_puts(&rows, GOOD);
	for (size_t i = 0; i < HN_JSONL_LINE_MAX + 1; i += 1024)
		hn_str_printf(&rows, "%1024s", "");
	hn_str_puts(&rows, "x");
	assert_int_equal(bench_data_read_bytes(&bench, rows.text, rows.len), HONE_EDATA);
	assert_int_equal(bench.err.line, 2);
	assert_non_null(strstr(bench.err.text, "67108864"));
	hn_str_fini(&rows);
	bench_data_close(&bench);
}

/* 24, 25: cut rows and rows without anything to learn; an error when strict. */
static void
test_malformed_data_strict_makes_warnings_errors(void **state)
{
	static const char *const rows[] = {
		GOOD "{\"text\":\"far too long for sixteen tokens, and some more, and more\"}\n",
		GOOD "{\"text\":\"spells <|im_start|> inside\"}\n",
	};
	struct bench_data bench;

	(void)state;
	bench_data_open(&bench, "sft");
	bench.request.max_length = 16;
	for (int strict = 0; strict < 2; strict++) {
		bench.request.is_strict = strict;
		for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
			assert_int_equal(
				bench_data_read(&bench, rows[i]), strict ? HONE_EDATA : HONE_OK);
			if (strict)
				assert_non_null(strstr(bench.err.text, "strict = yes"));
		}
		assert_int_equal(bench_data_read(&bench, GOOD), HONE_OK);
	}
	bench_data_close(&bench);
}

/* 34 and other things that look bad and are fine. */
static void
test_malformed_data_of_other_systems_is_read(void **state)
{
	static const struct {
		const char *rows;
		int64_t n;
	} goods[] = {
		{"\xef\xbb\xbf{\"text\":\"a\"}\n", 1},
		{"{\"text\":\"a\"}\r\n{\"text\":\"b\"}\r\n", 2},
		{"{\"text\":\"a\"}\r\n{\"text\":\"b\"}\n", 2},
		{"{\"text\":\"a\"}\n{\"text\":\"b\"}", 2},
		{"\n{\"text\":\"a\"}\n\n  \t\n{\"text\":\"b\"}\n\n", 2},
		{"  {\"text\" : \"a\"}  \n", 1},
		{"{\"text\":\"a\\ud83c\\udffd\",\"id\":18446744073709551615,\"meta\":{\"k\":[1,2]}}"
		 "\n",
			1},
		{"{\"text\":\"a\",\"tools\":null,\"images\":[],\"history\":[]}\n", 1},
		{"{\"prompt\":\"\",\"completion\":\"a\"}\n", 1},
		{"{\"instruction\":\"a\",\"input\":null,\"output\":\"b\",\"system\":\"s\"}\n", 1},
		{"{\"messages\":[{\"role\":\"system\",\"content\":\"\"},{\"role\":\"user\","
		 "\"content\":\"a\",\"name\":\"n\"},{\"role\":\"assistant\",\"content\":\"b\","
		 "\"tool_calls\":null}],\"prompt\":\"p\",\"prompt_id\":\"1\"}\n",
			1},
	};
	struct bench_data bench;

	(void)state;
	bench_data_open(&bench, "sft");
	for (size_t i = 0; i < sizeof goods / sizeof goods[0]; i++) {
		if (bench_data_read(&bench, goods[i].rows))
			fail_msg("%zu: %s", i, bench.err.text);
		assert_int_equal(bench.data.report.rows, goods[i].n);
		assert_int_equal(bench.data.n_examples, goods[i].n);
	}
	bench_data_close(&bench);
}

/* The first bad row is told, whichever thread came to it first. */
static void
test_malformed_data_first_of_many_is_told(void **state)
{
	struct bench_data bench;
	struct hn_str rows = {0};

	(void)state;
	bench_data_open(&bench, "sft");
	for (int i = 1; i <= 1000; i++)
		hn_str_puts(&rows, i >= 321 ? "{\"text\":\"\"}\n" : GOOD);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(bench_data_read(&bench, rows.text), HONE_EDATA);
		assert_int_equal(bench.err.line, 321);
	}
	hn_str_fini(&rows);
	bench_data_close(&bench);
}

/* 32: the file changes under us. */
static void
test_malformed_data_changed_file_is_noticed(void **state)
{
	struct bench_data bench;
	struct hn_sample sample;
	struct hone_error err = {0};
	json_t *row;
	FILE *file;

	(void)state;
	bench_data_open(&bench, "sft");
	assert_int_equal(bench_data_read(&bench, GOOD GOOD), HONE_OK);
	assert_int_equal(hn_dataset_sample(&bench.data, 1, &sample, &row, &err), HONE_OK);
	assert_string_equal(sample.text, "good");
	hn_sample_fini(&sample);
	json_decref(row);
	file = fopen(bench.path, "ab");
	assert_non_null(file);
	assert_true(fputs(GOOD, file) >= 0 && fclose(file) == 0);
	assert_false(hn_dataset_unchanged(&bench.data));
	assert_int_equal(hn_dataset_sample(&bench.data, 1, &sample, &row, &err), HONE_EDATA);
	hn_sample_fini(&sample);
	json_decref(row);
	bench_data_close(&bench);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_malformed_data_is_named_with_line_and_remedy),
		cmocka_unit_test(test_malformed_data_33_other_kinds_of_text_get_a_remedy),
		cmocka_unit_test(test_malformed_data_limits_are_held),
		cmocka_unit_test(test_malformed_data_strict_makes_warnings_errors),
		cmocka_unit_test(test_malformed_data_of_other_systems_is_read),
		cmocka_unit_test(test_malformed_data_first_of_many_is_told),
		cmocka_unit_test(test_malformed_data_changed_file_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
