/*
 * Chat templates against Jinja2: every case of tests/data/template/ (etc/golden/chat_template.py).
 *
 * Would catch: white space trimmed differently, another precedence, a filter that differs from
 * Python's, an undefined value that prints, a template that renders where Jinja2 fails.
 * With an argument: the cases of that folder instead.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "support.h"
#include "text/template.h"

static const char *folder;

/* Returns whether the case came out as Jinja2 has it, and says what differs. */
static bool
check_case(const struct hn_template *tpl, const json_t *item, int64_t now, const char *file)
{
	const struct hn_template_limits limits = {.now = now};
	const json_t *want = json_object_get(item, "out"), *ranges;
	struct hone_error err = {0};
	struct hn_spans spans = {0};
	struct hn_str out = {0};
	enum hone_status st;
	bool is_good = true;

	ranges = json_object_get(item, "generation");
	st = hn_template_render(
		tpl, json_object_get(item, "vars"), &limits, &out, ranges ? &spans : NULL, &err);
	if (json_object_get(item, "refused"))
		is_good = st == HONE_EDATA &&
			strstr(err.text, json_string_value(json_object_get(item, "refused")));
	else if (!want)
		is_good = st != HONE_OK && err.line > 0 && err.column > 0;
	else
		is_good = !st && out.len == json_string_length(want) &&
			(!out.len || !memcmp(out.text, json_string_value(want), out.len));
	for (size_t i = 0; is_good && ranges && i < spans.n; i++) {
		const json_t *range = json_array_get(ranges, i);

		is_good = json_array_size(ranges) == spans.n &&
			spans.items[i].begin ==
				(size_t)json_integer_value(json_array_get(range, 0)) &&
			spans.items[i].end == (size_t)json_integer_value(json_array_get(range, 1));
	}
	if (!is_good)
		print_message("%s, case %s:\nstatus %d at %d:%d %s\ngot  [%s]\nwant [%s]\n", file,
			json_string_value(json_object_get(item, "name")), (int)st, err.line,
			err.column, err.text, out.text ? out.text : "",
			want ? json_string_value(want) : "a failure");
	hn_str_fini(&out);
	hn_spans_fini(&spans);
	return is_good;
}

/* One template with its cases; a template that Jinja2 does not parse fails in all of them. */
static size_t
check_group(const json_t *group, int64_t now, const char *file, size_t *n_cases)
{
	const json_t *text = json_object_get(group, "template");
	const json_t *cases = json_object_get(group, "cases"), *item;
	struct hn_template *tpl = NULL;
	struct hone_error err = {0};
	size_t bad = 0, i;
	enum hone_status st =
		hn_template_parse(json_string_value(text), json_string_length(text), &tpl, &err);

	json_array_foreach(cases, i, item)
	{
		++*n_cases;
		if (!st) {
			bad += !check_case(tpl, item, now, file);
		} else if (!json_object_get(item, "fails") || err.line < 1 || err.column < 1) {
			print_message("%s, case %s: not parsed, %d:%d %s\n", file,
				json_string_value(json_object_get(item, "name")), err.line,
				err.column, err.text);
			bad++;
		}
	}
	hn_template_destroy(tpl);
	return bad;
}

static void
test_template_cases_match_jinja2(void **state)
{
	struct hone_error err = {0};
	size_t n_names = 0, n_cases = 0, bad = 0, i;
	char **names = NULL;

	(void)state;
	assert_int_equal(hn_dir_list(folder, &names, &n_names, &err), HONE_OK);
	for (size_t k = 0; k < n_names; k++) {
		char *path = hn_path_join(folder, names[k]);
		json_t *file = json_load_file(path, JSON_ALLOW_NUL, NULL), *group;

		assert_non_null(file);
		json_array_foreach(json_object_get(file, "groups"), i, group)
		{
			bad += check_group(group, json_integer_value(json_object_get(file, "now")),
				names[k], &n_cases);
		}
		json_decref(file);
		free(path);
		free(names[k]);
	}
	free(names);
	print_message("%zu cases\n", n_cases);
	assert_true(n_cases >= 60);
	assert_int_equal(bad, 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_template_cases_match_jinja2),
	};
	char *data = test_data_path("template");
	int failed;

	folder = argc > 1 ? argv[1] : data;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(data);
	return failed;
}
