/*
 * test_log.c - the one form of errors, what is quiet, what is coloured, what is on a line.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "support.h"

struct sink {
	struct hn_log log;
	char *screen, *file;
	size_t n_screen, n_file;
};

/* A log whose stream and file are memory. */
static void
sink_open(struct sink *sink)
{
	FILE *stream = open_memstream(&sink->screen, &sink->n_screen);

	assert_non_null(stream);
	hn_log_init(&sink->log, stream);
	sink->log.file = open_memstream(&sink->file, &sink->n_file);
	assert_non_null(sink->log.file);
}

static void
sink_close(struct sink *sink)
{
	(void)fclose(sink->log.stream);
	(void)fclose(sink->log.file);
	free(sink->screen);
	free(sink->file);
}

static struct hone_error
make_error(const char *place, int32_t line, int32_t column, const char *text)
{
	struct hone_error err = {.status = HONE_ECONFIG, .line = line, .column = column};

	(void)snprintf(err.place, sizeof err.place, "%s", place);
	(void)snprintf(err.text, sizeof err.text, "%s", text);
	return err;
}

static void
assert_format(const struct hone_error err, const char *expected)
{
	char text[1600];

	hn_error_format(&err, text, sizeof text);
	assert_string_equal(text, expected);
}

/* Catches: ":0:0" in lines, a missing place, and an error that is cut without its NUL. */
static void
test_log_error_has_place_line_column(void **state)
{
	struct hone_error err = make_error("run.ini", 14, 0, "r is too large");
	char small[8];

	(void)state;
	assert_format(make_error("run.ini", 14, 3, "r"), "run.ini:14:3: r");
	assert_format(make_error("run.ini", 14, 0, "r"), "run.ini:14: r");
	assert_format(make_error("run.ini", 0, 3, "r"), "run.ini: r");
	assert_format(make_error("", 2, 1, "r"), "line 2:1: r");
	assert_format(make_error("", 0, 0, "r"), "r");
	assert_format(make_error("a", 0, 0, ""), "a: failed without saying why");
	hn_error_format(&err, small, sizeof small);
	assert_string_equal(small, "run.ini");
}

/* Catches: a name in a hostile file that drives the terminal or forges a second line. */
static void
test_log_control_characters_are_visible(void **state)
{
	struct sink sink = {0};

	(void)state;
	assert_format(make_error("a\nb", 0, 0, "\033[2Jx\r\x7F\xC3\xA9"),
		"a\\x0ab: \\x1b[2Jx\\x0d\\x7f\xC3\xA9");
	sink_open(&sink);
	hn_log_info(&sink.log, "name %s", "\033]0;x\007");
	hn_log_info(&sink.log, "two\nlines");
	assert_string_equal(sink.screen, "name \\x1b]0;x\\x07\ntwo\nlines\n");
	sink_close(&sink);
}

/* Catches: colours in log.txt or off a terminal. */
static void
test_log_colours_only_on_the_screen(void **state)
{
	const struct hone_error err = make_error("run.ini", 1, 2, "no");
	struct sink sink = {0};

	(void)state;
	sink_open(&sink);
	assert_false(sink.log.has_colour);
	hn_log_warn(&sink.log, "%d rows", 3);
	hn_log_error(&sink.log, &err);
	assert_string_equal(sink.screen, "warning: 3 rows\nerror: run.ini:1:2: no\n");
	sink.log.has_colour = true;
	hn_log_error(&sink.log, &err);
	hn_log_info(&sink.log, "plain");
	assert_non_null(strstr(sink.screen, "\033[31merror: \033[0mrun.ini:1:2: no\nplain\n"));
	assert_null(strchr(sink.file, '\033'));
	assert_string_equal(sink.file,
		"warning: 3 rows\nerror: run.ini:1:2: no\n"
		"error: run.ini:1:2: no\nplain\n");
	sink_close(&sink);
}

/* Catches: --quiet that hides errors, or that empties log.txt. */
static void
test_log_quiet_shows_warnings_and_errors(void **state)
{
	const struct hone_error err = make_error("", 0, 0, "e");
	struct sink sink = {0};

	(void)state;
	sink_open(&sink);
	sink.log.is_quiet = sink.log.is_terminal = true;
	hn_log_info(&sink.log, "i");
	hn_log_progress(&sink.log, "p");
	hn_log_warn(&sink.log, "w");
	hn_log_error(&sink.log, &err);
	assert_string_equal(sink.screen, "warning: w\nerror: e\n");
	assert_string_equal(sink.file, "i\nwarning: w\nerror: e\n");
	sink_close(&sink);
}

/* Catches: progress in files and pipes, and a line printed behind a progress line. */
static void
test_log_progress_is_erased_before_a_line(void **state)
{
	struct sink sink = {0};

	(void)state;
	sink_open(&sink);
	hn_log_progress(&sink.log, "step 1");
	assert_int_equal(fflush(sink.log.stream), 0);
	assert_int_equal(sink.n_screen, 0);
	sink.log.is_terminal = true;
	hn_log_progress(&sink.log, "step %d", 2);
	assert_true(sink.log.has_progress);
	hn_log_info(&sink.log, "saved");
	assert_false(sink.log.has_progress);
	hn_log_progress(&sink.log, "step 3");
	hn_log_progress_end(&sink.log);
	hn_log_progress_end(&sink.log);
	assert_string_equal(sink.screen, "\r\033[Kstep 2\r\033[Ksaved\n\r\033[Kstep 3\r\033[K");
	assert_string_equal(sink.file, "saved\n");
	sink_close(&sink);
}

/* Catches: a progress line that wraps, and a character cut in its middle. */
static void
test_log_progress_is_cut_to_the_terminal(void **state)
{
	struct sink sink = {0};
	char text[301] = {0};

	(void)state;
	sink_open(&sink);
	sink.log.is_terminal = true;
	for (int i = 0; i < 300; i += 2)
		memcpy(text + i, "\xC3\xA9", 2);
	hn_log_progress(&sink.log, "%s", text);
	assert_int_equal(sink.n_screen, 4 + 2 * 79);
	sink_close(&sink);
}

/* Catches: a crash of the silent log, and lines that are cut at a buffer. */
static void
test_log_silent_and_long_lines(void **state)
{
	struct hn_log silent;
	struct sink sink = {0};

	(void)state;
	hn_log_init(&silent, NULL);
	hn_log_warn(&silent, "x");
	hn_log_progress(&silent, "x");
	hn_log_progress_end(&silent);
	sink_open(&sink);
	hn_log_info(&sink.log, "%020000d", 1);
	hn_log_info(&sink.log, "%s", "");
	assert_int_equal(sink.n_screen, 20002);
	sink_close(&sink);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_log_error_has_place_line_column),
		cmocka_unit_test(test_log_control_characters_are_visible),
		cmocka_unit_test(test_log_colours_only_on_the_screen),
		cmocka_unit_test(test_log_quiet_shows_warnings_and_errors),
		cmocka_unit_test(test_log_progress_is_erased_before_a_line),
		cmocka_unit_test(test_log_progress_is_cut_to_the_terminal),
		cmocka_unit_test(test_log_silent_and_long_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
