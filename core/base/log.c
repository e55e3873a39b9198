/*
 * log.c - lines for a person, and the one progress line below them.
 *
 * Each line is put together first and written by one call, so lines of different threads do
 * not mix; the struct itself belongs to the main thread.  Texts carry names out of files, so
 * control characters are written as \xNN and a file cannot drive the terminal.  Whether
 * NO_COLOR is set is asked by main, which then clears has_colour.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/str.h"

#define ERASE_LINE "\r\033[K"
#define YELLOW     "\033[33m"
#define RED        "\033[31m"
#define PLAIN      "\033[0m"

#define COLUMNS_DEFAULT 80

/* A progress line and colours are for a terminal; a file gets neither. */
void
hn_log_init(struct hn_log *log, FILE *stream)
{
	*log = (struct hn_log){.stream = stream};
	log->is_terminal = stream && isatty(fileno(stream));
	log->has_colour = log->is_terminal;
}

/* Before every ordinary line, which would else begin behind the progress. */
static void
erase_progress(struct hn_log *log)
{
	if (log->has_progress && log->stream)
		(void)fputs(ERASE_LINE, log->stream);
	log->has_progress = false;
}

/* One line to the stream, where `label` may be coloured, and to the file. */
static void
put_line(struct hn_log *log, const char *label, const char *colour, const char *text)
{
	struct hn_str line = {0};

	hn_str_put_visible(&line, text, "\n\t");
	if (log->stream && (label[0] || !log->is_quiet)) {
		bool is_coloured = log->has_colour && label[0];

		erase_progress(log);
		(void)fprintf(log->stream, "%s%s%s%s\n", is_coloured ? colour : "", label,
			is_coloured ? PLAIN : "", line.text ? line.text : "");
		(void)fflush(log->stream);
	}
	if (log->file) {
		(void)fprintf(log->file, "%s%s\n", label, line.text ? line.text : "");
		(void)fflush(log->file);
	}
	hn_str_fini(&line);
}

/* The arguments as text, of any length. */
HONE_PRINTF(2, 0)
static void
format(struct hn_str *out, const char *fmt, va_list args)
{
	va_list again;
	char *text;
	int n;

	va_copy(again, args);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	text = hn_alloc((size_t)(n > 0 ? n : 0) + 1);
	if (n > 0)
		(void)vsnprintf(text, (size_t)n + 1, fmt, args);
	hn_str_puts(out, text);
	free(text);
}

void
hn_log_info(struct hn_log *log, const char *fmt, ...)
{
	struct hn_str text = {0};
	va_list args;

	va_start(args, fmt);
	format(&text, fmt, args);
	va_end(args);
	put_line(log, "", "", text.text);
	hn_str_fini(&text);
}

void
hn_log_warn(struct hn_log *log, const char *fmt, ...)
{
	struct hn_str text = {0};
	va_list args;

	va_start(args, fmt);
	format(&text, fmt, args);
	va_end(args);
	put_line(log, "warning: ", YELLOW, text.text);
	hn_str_fini(&text);
}

/* Errors are shown even when quiet: they say why there is no result. */
void
hn_log_error(struct hn_log *log, const struct hone_error *err)
{
	char text[2 * sizeof *err];

	hn_error_format(err, text, sizeof text);
	put_line(log, "error: ", RED, text);
}

/* Keeps the first `columns` code points: a line that wraps cannot be erased. */
static void
cut(struct hn_str *text, size_t columns)
{
	size_t at = 0, used = 0;

	for (; at < text->len; at++) {
		if (((unsigned char)text->text[at] & 0xC0) != 0x80 && used++ == columns)
			break;
	}
	text->text[at] = '\0';
	text->len = at;
}

/* Asked for every line, as windows change their size while a run goes on. */
static size_t
terminal_columns(FILE *stream)
{
	struct winsize size = {0};

	if (ioctl(fileno(stream), TIOCGWINSZ, &size) || size.ws_col < 2)
		return COLUMNS_DEFAULT;
	return size.ws_col;
}

/* One line that replaces itself, and only where a person sees it: files keep lines that
 * stay true. */
void
hn_log_progress(struct hn_log *log, const char *fmt, ...)
{
	struct hn_str text = {0}, line = {0};
	va_list args;

	if (!log->stream || !log->is_terminal || log->is_quiet)
		return;
	va_start(args, fmt);
	format(&text, fmt, args);
	va_end(args);
	hn_str_puts(&line, "");
	hn_str_put_visible(&line, text.text, "");
	cut(&line, terminal_columns(log->stream) - 1);
	(void)fprintf(log->stream, ERASE_LINE "%s", line.text);
	(void)fflush(log->stream);
	log->has_progress = true;
	hn_str_fini(&text);
	hn_str_fini(&line);
}

void
hn_log_progress_end(struct hn_log *log)
{
	if (!log->has_progress)
		return;
	erase_progress(log);
	(void)fflush(log->stream);
}

/* "place:line:column: text" with what is known; one line whatever the text holds. */
void
hn_error_format(const struct hone_error *err, char *out, size_t n)
{
	struct hn_str text = {0};

	hn_str_put_visible(&text, err->place, "");
	if (err->line > 0)
		hn_str_printf(&text, "%s%d", err->place[0] ? ":" : "line ", err->line);
	if (err->line > 0 && err->column > 0)
		hn_str_printf(&text, ":%d", err->column);
	if (text.len)
		hn_str_puts(&text, ": ");
	hn_str_put_visible(&text, err->text[0] ? err->text : "failed without saying why", "");
	(void)snprintf(out, n, "%s", text.text);
	hn_str_fini(&text);
}
