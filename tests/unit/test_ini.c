/*
 * test_ini.c - what the INI reader accepts, what it refuses, and where it says it stands.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "config/ini.h"
#include "support.h"

/* Parses a text and gives what was found as one string: "section.key=value@line:column"
 * lines, then the diagnostics. */
static char *
parse(const char *text, size_t n)
{
	struct hn_ini ini = {0};
	struct hn_diagnostics found = {0};
	struct hn_str out = {0};

	hn_ini_parse(&ini, "a.ini", text, n, &found);
	for (size_t i = 0; i < ini.n; i++)
		hn_str_printf(&out, "%s.%s=%s@%d:%d\n", ini.items[i].section, ini.items[i].key,
			ini.items[i].value, ini.items[i].line, ini.items[i].value_column);
	for (size_t i = 0; i < found.n; i++) {
		hn_diagnostic_format(&found.items[i], &out);
		hn_str_putc(&out, '\n');
	}
	hn_ini_fini(&ini);
	hn_diagnostics_fini(&found);
	return hn_str_take(&out);
}

static void
expect(const char *text, const char *wanted)
{
	char *found = parse(text, strlen(text));

	assert_string_equal(found, wanted);
	free(found);
}

/* Would catch: a column or line counted from inih's chunks instead of physical lines. */
static void
test_ini_keys_have_line_and_column(void **state)
{
	(void)state;
	expect("; c\n\n[a]\nx = 1\n  \n# c\ny=2\n[b.c]\nx   =  z",
		"a.x=1@4:5\na.y=2@7:3\nb.c.x=z@9:8\n");
	expect("\xEF\xBB\xBF[a]\r\nx = 1\r\n", "a.x=1@2:5\n");
}

/* Would catch: inih's reading of " ;" inside quotes, and escapes that are not undone. */
static void
test_ini_quotes_keep_comment_signs_and_escapes(void **state)
{
	(void)state;
	expect("[a]\nx = \"b ; c\" ; d\n", "a.x=b ; c@2:5\n");
	expect("[a]\nx = b;c ; d\n", "a.x=b;c@2:5\n");
	expect("[a]\nx = ; d\ny =\n", "a.x=@2:5\na.y=@3:4\n");
	expect("[a]\nx = \"\\\"\\\\\\n\\t\"\n", "a.x=\"\\\n\t@2:5\n");
	expect("[a]\nx = a \"b\" \\n\n", "a.x=a \"b\" \\n@2:5\n");
	expect("[a]\nx = \"\"\n", "a.x=@2:5\n");
}

/* Would catch: a quoted value that swallows the rest of the file, or text lost behind it. */
static void
test_ini_broken_quotes_are_errors(void **state)
{
	static const char behind[] =
		"error: text behind the closing quote; write \\\" for a quote inside\n";
	char wanted[200];

	(void)state;
	expect("[a]\nx = \"b\ny = 1\n",
		"a.y=1@3:5\na.ini:2:7: error: the closing quote is missing\n");
	(void)snprintf(wanted, sizeof wanted, "a.ini:2:9: %s", behind);
	expect("[a]\nx = \"b\" c\n", wanted);
	(void)snprintf(wanted, sizeof wanted, "a.ini:2:8: %s", behind);
	expect("[a]\nx = \"b\";c\n", wanted);
	expect("[a]\nx = \"b\\", "a.ini:2:8: error: the closing quote is missing\n");
	expect("[a]\nx = \"b\\d\"\n",
		"a.ini:2:7: error: not an escape; the escapes are \\n \\t \\\" \\\\, and a "
		"backslash "
		"itself is \\\\\n");
	/* Columns count characters, as editors do: two of them are in the quotes here. */
	(void)snprintf(wanted, sizeof wanted, "a.ini:2:10: %s", behind);
	expect("[a]\nx = \"\xC3\xA4\xE2\x82\xAC\" \xC3\xA4\n", wanted);
}

/* Would catch: inih's silent cut at 199 bytes, whose tail became a key of its own. */
static void
test_ini_long_value_arrives_whole(void **state)
{
	static const size_t sizes[] = {150, 199, 200, 201, 400, 70000, HN_INI_VALUE_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		struct hn_ini ini = {0};
		struct hn_diagnostics found = {0};
		struct hn_str text = {0};

		hn_str_puts(&text, "[a]\nprompt = ");
		while (text.len < sizes[i] + 12)
			hn_str_puts(&text, text.len % 7 ? "x" : "=");
		hn_str_puts(&text, "z\nlast = 1\n");
		hn_ini_parse(&ini, "a.ini", text.text, text.len, &found);
		assert_int_equal(found.n, 0);
		assert_int_equal(ini.n, 2);
		assert_int_equal(strlen(ini.items[0].value), sizes[i]);
		assert_memory_equal(ini.items[0].value, text.text + 13, sizes[i]);
		assert_int_equal(ini.items[1].line, 3);
		hn_str_fini(&text);
		hn_ini_fini(&ini);
		hn_diagnostics_fini(&found);
	}
}

/* Would catch: inih's cut of section names at 49 bytes, which merges two sections. */
static void
test_ini_long_section_names_stay_apart(void **state)
{
	char text[1024], name[301];
	struct hn_ini ini = {0};
	struct hn_diagnostics found = {0};

	(void)state;
	memset(name, 's', 300);
	name[300] = '\0';
	(void)snprintf(text, sizeof text, "[%s1]\nx=1\n[%s2]\nx=2\n", name, name);
	hn_ini_parse(&ini, "a.ini", text, strlen(text), &found);
	assert_int_equal(found.n, 0);
	assert_int_equal(ini.n_sections, 2);
	assert_int_equal(ini.n, 2);
	assert_int_equal(strlen(ini.items[1].section), 301);
	assert_string_not_equal(ini.items[0].section, ini.items[1].section);
	hn_ini_fini(&ini);
	hn_diagnostics_fini(&found);
}

/* Would catch: only the first error reported, or good keys lost beside bad ones. */
static void
test_ini_all_errors_come_at_once(void **state)
{
	(void)state;
	expect("k = 1\n[a\nlost = 1\n[b]\nx = 1\n  y = 2\nz\nhttps://h/x\nx = 3\n[b]\nw = 4\n",
		"b.x=1@5:5\nb.w=4@11:5\n"
		"a.ini:1:1: error: a key before the first [section]\n"
		"a.ini:2:3: error: the section's ']' is missing\n"
		"a.ini:6:3: error: the line is indented; keys and sections start at the line's "
		"first "
		"column, and values do not go on in a second line\n"
		"a.ini:7:1: error: expected key = value, found 'z'\n"
		"a.ini:8:6: error: expected key = value, found 'https://h/x': is the key missing, "
		"or "
		"':' meant as '='?\n"
		"a.ini:9:1: error: [b] x is given twice; the first is in line 5\n"
		"a.ini:10:1: error: [b] is given twice; the first is in line 4. Join the two\n");
}

/* Would catch: names that plugins can never own accepted as sections. */
static void
test_ini_section_names_are_checked(void **state)
{
	static const char *const bad[] = {"[]\n", "[a b]\n", "[a \"b\"]\n", "[.a]\n", "[a.]\n",
		"[a..b]\n", "[a]b\n", "[a] # c\n", "[a", "["};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char *found = parse(bad[i], strlen(bad[i]));

		assert_non_null(strstr(found, "a.ini:1:"));
		free(found);
	}
	expect("[a] ; c\nx=1\n", "a.x=1@2:3\n");
}

/* Would catch: a value that print writes and the reader reads as another one. */
static void
test_ini_put_value_reads_back(void **state)
{
	static const char *const values[] = {"", " ", "a", " a", "a ", "a ; b", ";a", "a;b",
		"\"a\"", "\"", "\\", "\\n", "a\nb", "a\tb", "\t", "a\t; b", "# a", "a # b", "a = b",
		"[a]", "\xC3\xA4 ; \"\\", "=", ":", "'a'", "a\\", "a\" ; b"};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof values / sizeof values[0]; i++) {
		struct hn_str text = {0};
		struct hn_ini ini = {0};
		struct hn_diagnostics found = {0};

		hn_str_puts(&text, "[a]\nx = ");
		if (i % 2)
			hn_ini_put_quoted(&text, values[i / 2]);
		else
			hn_ini_put_value(&text, values[i / 2]);
		hn_str_puts(&text, " ; comment\n");
		hn_ini_parse(&ini, "a.ini", text.text, text.len, &found);
		assert_int_equal(found.n, 0);
		assert_string_equal(ini.items[0].value, values[i / 2]);
		hn_str_fini(&text);
		hn_ini_fini(&ini);
		hn_diagnostics_fini(&found);
	}
}

/* Would catch: a file that is read from disk differently than from memory. */
static void
test_ini_file_reads_like_text(void **state)
{
	struct hn_ini ini = {0};
	struct hn_diagnostics found = {0};
	struct hone_error err = {0};
	char *dir = test_folder_make(), *path = hn_path_join(dir, "a.ini");

	(void)state;
	assert_int_equal(hn_file_replace(path, "[a]\nx = 1\n", 10, &err), HONE_OK);
	assert_int_equal(hn_ini_read(&ini, path, &found, &err), HONE_OK);
	assert_int_equal(ini.n, 1);
	assert_string_equal(ini.items[0].path, path);
	hn_ini_fini(&ini);
	hn_diagnostics_fini(&found);
	free(path);
	test_folder_remove(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ini_keys_have_line_and_column),
		cmocka_unit_test(test_ini_quotes_keep_comment_signs_and_escapes),
		cmocka_unit_test(test_ini_broken_quotes_are_errors),
		cmocka_unit_test(test_ini_long_value_arrives_whole),
		cmocka_unit_test(test_ini_long_section_names_stay_apart),
		cmocka_unit_test(test_ini_all_errors_come_at_once),
		cmocka_unit_test(test_ini_section_names_are_checked),
		cmocka_unit_test(test_ini_put_value_reads_back),
		cmocka_unit_test(test_ini_file_reads_like_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
