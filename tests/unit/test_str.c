/*
 * test_str.c - the growing string, UTF-8, numbers in any locale, and nearest words.
 */
#include <fcntl.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/rng.h"
#include "base/str.h"
#include "support.h"

/* Catches: a lost NUL, a cut printf, a take that gives NULL for the empty string. */
static void
test_str_appends_stay_terminated(void **state)
{
	struct hn_str str = {0};
	char *taken = hn_str_take(&str);

	(void)state;
	assert_string_equal(taken, "");
	free(taken);
	for (int i = 0; i < 1000; i++) {
		hn_str_printf(&str, "%d,", i);
		assert_int_equal(strlen(str.text), str.len);
	}
	assert_int_equal(str.len, 10 * 2 + 90 * 3 + 900 * 4);
	hn_str_clear(&str);
	assert_string_equal(str.text, "");
	hn_str_puts(&str, "ab");
	hn_str_putc(&str, 'c');
	hn_str_add(&str, NULL, 0);
	taken = hn_str_take(&str);
	assert_string_equal(taken, "abc");
	assert_null(str.text);
	free(taken);
	hn_str_fini(&str);
}

/* Catches: an encoder and a decoder that disagree at any code point. */
static void
test_str_every_code_point_round_trips(void **state)
{
	struct hn_str str = {0};

	(void)state;
	for (uint32_t c = 0; c <= 0x110000; c++) {
		bool is_valid = c < 0xD800 || (c > 0xDFFF && c <= 0x10FFFF);
		uint32_t back = 0;

		hn_str_clear(&str);
		hn_str_put_utf8(&str, c);
		assert_int_equal(hn_utf8_decode(str.text, str.len, &back), str.len);
		assert_int_equal(back, is_valid ? c : 0xFFFD);
		if (str.len > 1)
			assert_int_equal(hn_utf8_decode(str.text, str.len - 1, &back), 0);
	}
	hn_str_fini(&str);
}

/* Catches: overlong forms, surrogates and stray bytes taken as text. */
static void
test_str_invalid_utf8_is_refused(void **state)
{
	static const char *const invalid[] = {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80",
		"\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x80\x80\x80",
		"\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3(",
		"\xE2\x82", "\xF0\x9F\x98"};
	uint32_t c;

	(void)state;
	for (size_t i = 0; i < sizeof invalid / sizeof invalid[0]; i++)
		assert_int_equal(hn_utf8_decode(invalid[i], strlen(invalid[i]), &c), 0);
	assert_int_equal(hn_utf8_decode("", 0, &c), 0);
	assert_int_equal(hn_utf8_check("a\xC3\xA9z", 4), 4);
	assert_int_equal(hn_utf8_check("a\xC3\xA9\xFFz", 5), 3);
	assert_int_equal(hn_utf8_check("a\xC3", 2), 1);
}

/* Would catch: a way to drive a terminal by a name, or a name that is not its own any more. */
static void
test_str_visible_has_no_controls(void **state)
{
	static const struct {
		const char *text, *kept, *shown;
	} rows[] = {
		{"a b/c.ini", "", "a b/c.ini"},
		{"\x1b[31m\r\x07\x7f", "", "\\x1b[31m\\x0d\\x07\\x7f"},
		{"a\n\tb", "", "a\\x0a\\x09b"},
		{"a\n\tb", "\n\t", "a\n\tb"},
		{"\xc2\x9b"
		 "31m",
			"", "\\x9b31m"}, /* C1 as UTF-8 */
		{"\x9b"
		 "31m",
			"", "\\x9b31m"},               /* and as a byte */
		{"\xe2\x80\xaegnp", "", "\\x202egnp"}, /* right to left from here on */
		{"caf\xe9 \xc3\xa9 \xe6\x97\xa5", "", "caf\xe9 \xc3\xa9 \xe6\x97\xa5"},
		{"\xf0\x9f\x98\x80", "", "\xf0\x9f\x98\x80"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct hn_str out = {0};

		hn_str_put_visible(&out, rows[i].text, rows[i].kept);
		assert_string_equal(out.text, rows[i].shown);
		hn_str_fini(&out);
	}
}

/* Catches: JSON that no reader takes: bare control characters, quotes, broken UTF-8. */
static void
test_str_json_is_escaped(void **state)
{
	struct hn_str str = {0};

	(void)state;
	hn_str_put_json(&str, "a\"\\\n\x01\0\xC3\xA9\xFF/", 10);
	assert_string_equal(str.text, "\"a\\\"\\\\\\n\\u0001\\u0000\xC3\xA9\xEF\xBF\xBD/\"");
	hn_str_fini(&str);
}

/* Catches: wrapping at the ends, and anything left over being ignored. */
static void
test_str_integers_are_strict(void **state)
{
	static const char *const refused[] = {"", "-", "+", " 1", "1 ", "1x", "0x1", "1.0", "--1",
		"9223372036854775808", "-9223372036854775809", "99999999999999999999"};
	int64_t value = 5;

	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		assert_false(hn_parse_i64(refused[i], &value));
		assert_int_equal(value, 5);
	}
	assert_true(hn_parse_i64("9223372036854775807", &value));
	assert_true(value == INT64_MAX);
	assert_true(hn_parse_i64("-9223372036854775808", &value));
	assert_true(value == INT64_MIN);
	assert_true(hn_parse_i64("+007", &value));
	assert_true(value == 7);
}

/* Catches: spaces, hexadecimal and words that strtod takes. */
static void
test_str_doubles_are_strict(void **state)
{
	static const char *const refused[] = {"", ".", "-", "e5", "1e", "1e+", " 1", "1 ", "1,5",
		"0x1p3", "inf", "nan", "-Infinity", "1e999", "1.5.2", "1f", "1_0"};
	double value = 5;

	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		assert_false(hn_parse_f64(refused[i], &value));
		assert_true(value == 5);
	}
	assert_true(hn_parse_f64("-1.5e-3", &value) && value == -1.5e-3);
	assert_true(hn_parse_f64(".5", &value) && value == 0.5);
	assert_true(hn_parse_f64("5.", &value) && value == 5);
	assert_true(hn_parse_f64("+2E2", &value) && value == 200);
	assert_true(hn_parse_f64("4.9406564584124654e-324", &value) && value > 0);
	assert_true(hn_parse_f64("1e-999", &value) && value == 0);
}

static void
assert_written(double value, const char *expected)
{
	struct hn_str str = {0};

	hn_str_put_f64(&str, value);
	assert_string_equal(str.text, expected);
	hn_str_fini(&str);
}

/* Catches: digits that a person did not write, and ".0" or a comma. */
static void
test_str_doubles_print_short(void **state)
{
	(void)state;
	assert_written(3, "3");
	assert_written(0.1, "0.1");
	assert_written(-0.0, "-0");
	assert_written(1e-5, "1e-05");
	assert_written(0.1 + 0.2, "0.30000000000000004");
	assert_written(5e-324, "5e-324");
	assert_written(DBL_MAX, "1.7976931348623157e+308");
	assert_written((double)INFINITY, "inf");
	assert_written(-(double)INFINITY, "-inf");
	assert_written((double)NAN, "nan");
}

/* Catches: a double that comes back as its neighbour; bit patterns of all magnitudes. */
static void
test_str_doubles_round_trip(void **state)
{
	struct hn_str str = {0};

	(void)state;
	for (uint64_t i = 0; i < 20000; i++) {
		uint64_t bits = hn_rng_below(1, 2, i, 0, UINT64_MAX);
		double value, back;

		memcpy(&value, &bits, sizeof value);
		if (!isfinite(value))
			continue;
		hn_str_clear(&str);
		hn_str_put_f64(&str, value);
		assert_true(hn_parse_f64(str.text, &back));
		assert_memory_equal(&back, &value, sizeof back);
	}
	hn_str_fini(&str);
}

/* Compiles a locale with a decimal comma into `folder`; few machines have one installed. */
static bool
make_locale(const char *folder)
{
	char *path = hn_path_join(folder, "de_DE.UTF-8");
	char *const args[] = {"localedef", "-i", "de_DE", "-f", "UTF-8", path, NULL};
	posix_spawn_file_actions_t actions;
	int status = -1;
	pid_t child;

	assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
	(void)posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	if (!posix_spawnp(&child, args[0], &actions, NULL, args, environ))
		(void)waitpid(child, &status, 0);
	(void)posix_spawn_file_actions_destroy(&actions);
	free(path);
	return status == 0 && !setenv("LOCPATH", folder, 1);
}

/* Catches: a decimal comma in files where the person's locale has one. */
static void
test_str_numbers_ignore_the_locale(void **state)
{
	char *folder = test_folder_make(), text[16];
	bool has_locale = make_locale(folder) && setlocale(LC_ALL, "de_DE.UTF-8");
	double value;

	(void)state;
	test_folder_remove(folder);
	if (!has_locale)
		skip(); /* no localedef, or no sources for it */
	(void)snprintf(text, sizeof text, "%.1f", 1.5);
	assert_string_equal(text, "1,5");
	assert_written(1.5, "1.5");
	assert_true(hn_parse_f64("1.5", &value) && value == 1.5);
	assert_false(hn_parse_f64("1,5", &value));
	(void)snprintf(text, sizeof text, "%.1f", 1.5);
	assert_string_equal(text, "1,5");
	(void)setlocale(LC_ALL, "C");
}

/* Catches: a prefix or suffix longer than the text, and equality of prefixes. */
static void
test_str_ends_compare(void **state)
{
	(void)state;
	assert_true(hn_streq("a", "a"));
	assert_false(hn_streq("a", "ab"));
	assert_true(hn_starts_with("lora_A", "lora"));
	assert_true(hn_starts_with("x", ""));
	assert_false(hn_starts_with("lo", "lora"));
	assert_true(hn_ends_with("x.weight", ".weight"));
	assert_false(hn_ends_with("weight", ".weight"));
}

/* Catches: transpositions that count two, and rows that are mixed up. */
static void
test_str_distance_of_known_pairs(void **state)
{
	(void)state;
	assert_int_equal(hn_edit_distance("", ""), 0);
	assert_int_equal(hn_edit_distance("", "abc"), 3);
	assert_int_equal(hn_edit_distance("abc", ""), 3);
	assert_int_equal(hn_edit_distance("kitten", "sitting"), 3);
	assert_int_equal(hn_edit_distance("saturday", "sunday"), 3);
	assert_int_equal(hn_edit_distance("lora_aplha", "lora_alpha"), 1);
	assert_int_equal(hn_edit_distance("abcd", "badc"), 2);
}

/* Catches: a suggestion that is far off, or none where a letter was swapped. */
static void
test_str_nearest_only_when_near(void **state)
{
	static const char *const words[] = {"lora_alpha", "lora_dropout", "r", "target_modules"};

	(void)state;
	assert_string_equal(hn_nearest("lora_aplha", words, 4), "lora_alpha");
	assert_string_equal(hn_nearest("lora_dropuot", words, 4), "lora_dropout");
	assert_string_equal(hn_nearest("target_modules", words, 4), "target_modules");
	assert_null(hn_nearest("learning_rate", words, 4));
	assert_null(hn_nearest("anything", words, 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_str_appends_stay_terminated),
		cmocka_unit_test(test_str_every_code_point_round_trips),
		cmocka_unit_test(test_str_invalid_utf8_is_refused),
		cmocka_unit_test(test_str_visible_has_no_controls),
		cmocka_unit_test(test_str_json_is_escaped),
		cmocka_unit_test(test_str_integers_are_strict),
		cmocka_unit_test(test_str_doubles_are_strict),
		cmocka_unit_test(test_str_doubles_print_short),
		cmocka_unit_test(test_str_doubles_round_trip),
		cmocka_unit_test(test_str_numbers_ignore_the_locale),
		cmocka_unit_test(test_str_ends_compare),
		cmocka_unit_test(test_str_distance_of_known_pairs),
		cmocka_unit_test(test_str_nearest_only_when_near),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
