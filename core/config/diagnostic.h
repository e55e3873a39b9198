/*
 * config/diagnostic.h - everything that is wrong with a configuration, at once.
 *
 * A person who mistyped three keys wants to hear of three keys.  So the readers of this
 * folder do not stop at the first error: they add to a list, and whoever called them asks
 * the list at the end.  One entry prints as
 *
 *     run.ini:14:1: error: [lora] unknown key 'rnak'; did you mean 'r' (rank)?
 *
 * It is not a log: nothing is printed here, and nothing but configuration uses it.
 */
#ifndef HN_CONFIG_DIAGNOSTIC_H
#define HN_CONFIG_DIAGNOSTIC_H

#include <stddef.h>
#include <stdint.h>

#include <hone/status.h>

#include "base/arena.h"
#include "base/str.h"

enum hn_severity {
	HN_SEVERITY_ERROR = 1,
	HN_SEVERITY_WARNING = 2,
};

/* Where something stands.  `path` as the user gave it, or the flag ("--set lora.r=4");
 * line and column count from 1, columns in characters, 0 = none. */
struct hn_ini_place {
	const char *path;
	int32_t line, column;
};

struct hn_diagnostic {
	enum hn_severity severity;
	struct hn_ini_place place;
	const char *text;
};

/* A zeroed struct is the empty list.  After HN_DIAGNOSTICS_MAX entries the rest is only
 * counted, so a hostile file cannot make the list grow without end. */
#define HN_DIAGNOSTICS_MAX 100
struct hn_diagnostics {
	struct hn_arena arena; /* of paths and texts */
	struct hn_diagnostic *items;
	size_t n, cap;
	size_t n_errors, n_warnings; /* with those that were only counted */
};

void hn_diagnostics_fini(struct hn_diagnostics *list);

/* Adds one entry; path and text are copied.  An entry equal to one that is there is left
 * out, so a section may be read twice.  [any thread, one at a time] */
HONE_PRINTF(4, 5)
void hn_diagnose(struct hn_diagnostics *list, enum hn_severity severity, struct hn_ini_place place,
	const char *fmt, ...);

/* Orders by file (first seen first), then line, then column; equal ones keep their order. */
void hn_diagnostics_sort(struct hn_diagnostics *list);

/* Appends one entry as one line, without a newline. */
void hn_diagnostic_format(const struct hn_diagnostic *item, struct hn_str *out);

/* Appends all entries, a line each, and a last line "2 errors, 1 warning". */
void hn_diagnostics_format(const struct hn_diagnostics *list, struct hn_str *out);

/* HONE_OK when the list holds no error; else HONE_ECONFIG with the first one in `err`. */
enum hone_status hn_diagnostics_status(const struct hn_diagnostics *list, struct hone_error *err);

/* At most 60 characters of `text` for a message, with "..." where it was cut; owned by
 * `arena`.  Control characters and what is not UTF-8 become '?', so that no file writes to
 * the terminal.  Every text that is not a checked name goes through here. */
const char *hn_clip(struct hn_arena *arena, const char *text, size_t n);

#endif
