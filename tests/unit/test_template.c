/*
 * Chat templates: what is refused and where, limits, and the sandbox.
 *
 * What they render is in tests/golden/test_template.c.
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "support.h"
#include "text/template.h"

/* Parses and renders with the variables s = "text", l = [1, 2], d = {"k": "v"}. */
static enum hone_status
render(const char *text, const struct hn_template_limits *limits, struct hn_str *out,
	struct hone_error *err)
{
	json_t *vars =
		json_loads("{\"s\": \"text\", \"l\": [1, 2], \"d\": {\"k\": \"v\"}}", 0, NULL);
	struct hn_template *tpl = NULL;
	enum hone_status st = hn_template_parse(text, strlen(text), &tpl, err);

	if (!st)
		st = hn_template_render(tpl, vars, limits, out, NULL, err);
	hn_template_destroy(tpl);
	json_decref(vars);
	return st;
}

/* The template fails at the place that "@" marks, which is taken out first, and the message
 * holds `why`. */
static void
assert_refused(const char *marked, const char *why)
{
	const char *mark = strchr(marked, '@');
	struct hone_error err = {0};
	struct hn_str out = {0}, text = {0};
	int line = 1, column = 1;

	assert_non_null(mark);
	for (const char *c = marked; c < mark; c++) {
		column = *c == '\n' ? 1 : column + (((unsigned char)*c & 0xc0u) != 0x80u);
		line += *c == '\n';
	}
	hn_str_add(&text, marked, (size_t)(mark - marked));
	hn_str_puts(&text, mark + 1);
	if (render(text.text, NULL, &out, &err) == HONE_OK)
		fail_msg("%s is rendered as [%s]", text.text, out.text);
	if (!strstr(err.text, why) || err.line != line || err.column != column)
		fail_msg("%s fails at %d:%d with \"%s\", not at %d:%d with \"%s\"", text.text,
			err.line, err.column, err.text, line, column, why);
	assert_string_equal(err.place, "chat_template");
	assert_int_equal(out.len, 0);
	hn_str_fini(&out);
	hn_str_fini(&text);
}

/* Would catch an error that names no place, or the wrong one. */
static void
test_template_syntax_error_names_line_and_column(void **state)
{
	(void)state;
	assert_refused("{{ 'a' | @nofilter }}", "\"nofilter\" is not offered");
	assert_refused("é\n\n  {{ s is @notest }}", "\"notest\" is not offered");
	assert_refused("{% if s %}\n{% @import 'x' as y %}{% endif %}", "\"import\"");
	assert_refused("{% @include 'x' %}", "\"include\"");
	assert_refused("{% @extends 'x' %}", "\"extends\"");
	assert_refused("{% @block x %}{% endblock %}", "\"block\"");
	assert_refused("{% for i in l @recursive %}{% endfor %}", "recursive");
	assert_refused("{{ s(@*l) }}", "* or **");
	assert_refused("a @{# b \n{% if %}", "comment");
}

/* Would catch a value's insides within reach of a template, or names that read as undefined
 * although Python has them. */
static void
test_template_attribute_outside_the_list_is_refused(void **state)
{
	(void)state;
	assert_refused("{{ s@.__class__ }}", "__class__");
	assert_refused("{{ s@['__class__'] }}", "__class__");
	assert_refused("{{ ''@.__class__.__mro__[1].__subclasses__() }}", "__class__");
	assert_refused("{{ l@.append(3) }}", "append");
	assert_refused("{{ d@.update({'a': 1}) }}", "update");
	assert_refused("{{ d@.pop('k') is defined }}", "pop");
	assert_refused("{{ s@.format(1) }}", "format");
	assert_refused("{{ s@.encode() }}", "encode");
	assert_refused("{{ l | @map(attribute='__class__') | list }}", "__class__");
	assert_refused("{{ @lipsum }}", "lipsum");
	assert_refused("{{ @self.x }}", "self");
	assert_refused("{% macro m() %}{{ @varargs }}{% endmacro %}{{ m() }}", "varargs");
	assert_refused("{{ d@.items }}", "method");
	assert_refused("{{ 'a %s' @% s }}", "formatting");
	assert_refused("{{ range@(3) }}", "range");
}

/* Would catch a range, a repetition or a loop that eats the machine. */
static void
test_template_that_grows_without_end_is_stopped(void **state)
{
	(void)state;
	assert_refused("{{ range@(100001) }}", "range");
	assert_refused("{{ 'x' @* 1000000000000 }}", "repetition");
	assert_refused("{{ [1] @* 1000000000000 }}", "repetition");
	assert_refused("{% set ns = namespace(x='xxxxxxxxxxxxxxxx') %}{% for i in range(64) %}"
		       "{% set ns.x = ns.x @+ ns.x %}{% endfor %}",
		"more than");
	assert_refused("{{ 9223372036854775807 @+ 1 }}", "64 bits");
	assert_refused("{{ 10 @** 30 }}", "64 bits");
}

/* Would catch a loop of loops, or output, that goes past the caller's limits. */
static void
test_template_limits_of_the_caller_stop_it(void **state)
{
	const struct hn_template_limits few_steps = {.steps = 1000}, few_bytes = {.out_bytes = 10},
					shallow = {.depth = 20};
	struct hone_error err = {0};
	struct hn_str out = {0};

	(void)state;
	assert_int_not_equal(render("{% for i in range(999) %}{% for j in range(999) %}"
				    "{% endfor %}{% endfor %}",
				     NULL, &out, &err),
		HONE_OK);
	assert_non_null(strstr(err.text, "steps"));
	assert_int_not_equal(
		render("{% for i in range(500) %}{{ i }}{% endfor %}", &few_steps, &out, &err),
		HONE_OK);
	assert_int_equal(render("123456789{{ 0 }}", &few_bytes, &out, &err), HONE_OK);
	hn_str_clear(&out);
	assert_int_not_equal(render("123456789{{ 10 }}", &few_bytes, &out, &err), HONE_OK);
	assert_non_null(strstr(err.text, "more than 10 bytes"));
	assert_int_not_equal(render("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
				     &shallow, &out, &err),
		HONE_OK);
	assert_non_null(strstr(err.text, "deep"));
	hn_str_fini(&out);
}

/* Would catch a parser or a printer that runs out of stack. */
static void
test_template_nested_deeply_is_refused(void **state)
{
	static const char *const pieces[][3] = {{"{{ ", "(", ""}, {"{{ ", "[", ""},
		{"{{ ", "not ", "1 }}"}, {"{{ 1", " + 1", " }}"}, {"{{ s", ".x", " }}"},
		{"{{ s", " | trim", " }}"}, {"{{ ", "- ", "1 }}"}, {"", "{% if s %}", ""},
		{"{{ 1", " if 1 else 1", " }}"}, {"{{ ", "{1:", ""}, {"{% for ", "(", ""},
		{"{{ 1", " if 1", " }}"}, {"{{ 1", " and 1", " }}"}};

	(void)state;
	for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
		struct hone_error err = {0};
		struct hn_template *tpl = NULL;
		struct hn_str text = {0};

		hn_str_puts(&text, pieces[i][0]);
		for (int k = 0; k < 20000; k++)
			hn_str_puts(&text, pieces[i][1]);
		hn_str_puts(&text, pieces[i][2]);
		/* When it is read, not when it runs. */
		assert_int_equal(hn_template_parse(text.text, text.len, &tpl, &err), HONE_EMODEL);
		assert_non_null(strstr(err.text, "deep"));
		hn_str_fini(&text);
	}
	assert_refused("{% set ns = namespace(x=[]) %}{% for i in range(9999) %}"
		       "{% set ns.x = [ns.x] %}{% endfor %}{{ ns@.x }}",
		"deeply");
}

/* Would catch a date that follows the clock, or a leap year that is off. */
static void
test_template_date_is_the_one_given(void **state)
{
	static const struct {
		int64_t now;
		const char *text;
	} dates[] = {{0, "01 Jan 1970 Thu 00:00:00"}, {951782400, "29 Feb 2000 Tue 00:00:00"},
		{-1, "31 Dec 1969 Wed 23:59:59"}, {4102444799, "31 Dec 2099 Thu 23:59:59"}};

	(void)state;
	for (size_t i = 0; i < sizeof dates / sizeof dates[0]; i++) {
		const struct hn_template_limits limits = {.now = dates[i].now};
		struct hone_error err = {0};
		struct hn_str out = {0};

		assert_int_equal(
			render("{{ strftime_now('%d %b %Y %a %H:%M:%S') }}", &limits, &out, &err),
			HONE_OK);
		assert_string_equal(out.text, dates[i].text);
		hn_str_fini(&out);
	}
	assert_refused("{{ strftime_now@('%c') }}", "strftime_now offers");
}

/* Would catch output of a failed rendering that is left in the caller's text, or an error
 * struct that is written although all went well. */
static void
test_template_failure_leaves_the_output_as_it_was(void **state)
{
	struct hone_error err = {0};
	struct hn_str out = {0};

	(void)state;
	hn_str_puts(&out, "before");
	assert_int_equal(
		render("more {{ raise_exception('not so') }}", NULL, &out, &err), HONE_EDATA);
	assert_string_equal(out.text, "before");
	assert_non_null(strstr(err.text, "not so"));
	assert_int_equal(err.status, HONE_EDATA);
	memset(&err, 0, sizeof err);
	assert_int_equal(render(" and {{ s }}", NULL, &out, &err), HONE_OK);
	assert_string_equal(out.text, "before and text");
	assert_int_equal(err.status, HONE_OK);
	hn_str_fini(&out);
}

/* Would catch invalid UTF-8 that reaches the tokenizer. */
static void
test_template_of_invalid_utf8_is_refused(void **state)
{
	struct hone_error err = {0};
	struct hn_template *tpl = NULL;

	(void)state;
	assert_int_equal(hn_template_parse("ab\n\xff", 4, &tpl, &err), HONE_EMODEL);
	assert_null(tpl);
	assert_int_equal(err.line, 2);
	assert_int_equal(err.column, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_template_syntax_error_names_line_and_column),
		cmocka_unit_test(test_template_attribute_outside_the_list_is_refused),
		cmocka_unit_test(test_template_that_grows_without_end_is_stopped),
		cmocka_unit_test(test_template_limits_of_the_caller_stop_it),
		cmocka_unit_test(test_template_nested_deeply_is_refused),
		cmocka_unit_test(test_template_date_is_the_one_given),
		cmocka_unit_test(test_template_failure_leaves_the_output_as_it_was),
		cmocka_unit_test(test_template_of_invalid_utf8_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
