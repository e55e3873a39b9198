/*
 * base/log.h - what a person sees while the program works; results go to stdout elsewhere.
 *
 * One log per process, owned by main and passed down.  Lines go to stderr and, once a run
 * folder is open, to its log.txt without colours.
 */
#ifndef HN_BASE_LOG_H
#define HN_BASE_LOG_H

#include <stdbool.h>
#include <stdio.h>

#include <hone/status.h>

struct hn_log {
	FILE *stream; /* stderr; NULL = silent */
	FILE *file;   /* log.txt, or NULL */
	bool is_terminal;
	bool has_colour;
	bool has_progress; /* a progress line is on the screen */
	bool is_quiet;     /* warnings and errors only */
};

void hn_log_init(struct hn_log *log, FILE *stream);
HONE_PRINTF(2, 3) void hn_log_info(struct hn_log *log, const char *fmt, ...);
HONE_PRINTF(2, 3) void hn_log_warn(struct hn_log *log, const char *fmt, ...);
/* "error: place:line:column: text", the one form of every error. */
void hn_log_error(struct hn_log *log, const struct hone_error *err);
/* Overwrites the progress line on a terminal; nothing elsewhere. */
HONE_PRINTF(2, 3) void hn_log_progress(struct hn_log *log, const char *fmt, ...);
void hn_log_progress_end(struct hn_log *log);

/* Formats an error as it is printed, without the leading "error: ". */
void hn_error_format(const struct hone_error *err, char *out, size_t n);

#endif
