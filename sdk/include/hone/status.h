/*
 * hone/status.h - how a function says that it failed, and what a person can do about it.
 *
 * Every function that can fail returns an enum hone_status and fills a caller's
 * struct hone_error.  The text names what the user can change: a key, a value, a layer, a
 * shape.  Whoever knows the place (a file and line, a site) adds it; nobody prints.
 *
 * struct hone_error is frozen: it is the one struct on the border without a struct_size.
 */
#ifndef HONE_STATUS_H
#define HONE_STATUS_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Name, value, exit code of the program, meaning.  Values are explicit and only grow. */
#define HONE_STATUS_LIST(X)                                                                        \
	X(OK, 0, 0, "done")                                                                        \
	X(EBUG, 1, 1, "a bug in hone or a plugin that broke its contract")                         \
	X(EUSAGE, 2, 2, "the command line")                                                        \
	X(ECONFIG, 3, 3, "the configuration")                                                      \
	X(EDATA, 4, 4, "a data file")                                                              \
	X(EMODEL, 5, 5, "a model or tokenizer file")                                               \
	X(EPLUGIN, 6, 6, "a plugin")                                                               \
	X(EDEVICE, 7, 7, "a device")                                                               \
	X(ENOMEM, 8, 8, "memory")                                                                  \
	X(EIO, 9, 8, "disk")                                                                       \
	X(ENOTFINITE, 10, 9, "a value that is not finite")                                         \
	X(EINVAL, 11, 3, "an argument out of its range")                                           \
	X(EUNSUPPORTED, 12, 3, "not offered here; ordinary, never fatal by itself")                \
	X(EINTERRUPTED, 13, 130, "stopped by a signal")                                            \
	X(ENOTFOUND, 14, 3, "no such thing")

enum hone_status {
#define HONE_STATUS_ENUM(name, value, exit_code, meaning) HONE_##name = value,
	HONE_STATUS_LIST(HONE_STATUS_ENUM)
#undef HONE_STATUS_ENUM
};

/* What went wrong.  Lives on the caller's stack, zeroed by the caller, untouched on
 * success.  `place` is a file, a site or a section; empty when not known (yet). */
struct hone_error {
	int32_t status; /* enum hone_status */
	int32_t line;   /* from 1; 0 = none */
	int32_t column; /* from 1; 0 = none */
	int32_t reserved;
	char place[244];
	char text[512];
};

#if defined(__GNUC__)
#define HONE_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define HONE_UNUSED             __attribute__((unused))
#else
#define HONE_PRINTF(fmt, first)
#define HONE_UNUSED
#endif

/* Fills `err` (may be NULL) and returns `status`, so that a failure is one statement.
 * An error that is already set is overwritten, its place too.  [any thread] */
HONE_PRINTF(3, 4)
HONE_UNUSED static inline enum hone_status
hone_fail(struct hone_error *err, enum hone_status status, const char *fmt, ...)
{
	va_list args;

	if (!err)
		return status;
	err->status = (int32_t)status;
	err->line = err->column = 0;
	err->place[0] = '\0';
	va_start(args, fmt);
	(void)vsnprintf(err->text, sizeof err->text, fmt, args);
	va_end(args);
	return status;
}

/* The same with a place: hone_fail_at(err, HONE_EDATA, path, line, column, "..."). [any thread] */
HONE_PRINTF(6, 7)
HONE_UNUSED static inline enum hone_status
hone_fail_at(struct hone_error *err, enum hone_status status, const char *place, int64_t line,
	int64_t column, const char *fmt, ...)
{
	va_list args;

	if (!err)
		return status;
	err->status = (int32_t)status;
	err->line = line > INT32_MAX ? INT32_MAX : (int32_t)line;
	err->column = column > INT32_MAX ? INT32_MAX : (int32_t)column;
	(void)snprintf(err->place, sizeof err->place, "%s", place);
	va_start(args, fmt);
	(void)vsnprintf(err->text, sizeof err->text, fmt, args);
	va_end(args);
	return status;
}

/* Appends " (while ...)" once; each layer may add what it was doing.  [any thread] */
HONE_PRINTF(2, 3)
HONE_UNUSED static inline void
hone_error_while(struct hone_error *err, const char *fmt, ...)
{
	va_list args;
	size_t n;

	if (!err)
		return;
	n = strlen(err->text);
	if (n + 16 >= sizeof err->text)
		return;
	n += (size_t)snprintf(err->text + n, sizeof err->text - n, " (while ");
	va_start(args, fmt);
	(void)vsnprintf(err->text + n, sizeof err->text - n, fmt, args);
	va_end(args);
	n = strlen(err->text);
	if (n + 1 < sizeof err->text)
		memcpy(err->text + n, ")", 2);
}

#ifdef __cplusplus
}
#endif
#endif
