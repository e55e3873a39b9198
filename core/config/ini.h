/*
 * config/ini.h - an INI file as an ordered list of keys with their places.
 *
 *     [section]              [name] or [name.instance]
 *     key = value ; comment  trimmed; " ;" starts a comment, ';' and '#' do at a line's start
 *     key = "a ; b\n"        quoted: \n \t \" \\ are escapes, everything else is literal
 *
 * inih knows the grammar of sections and keys; this file feeds it through
 * ini_parse_stream.  The packaged inih cuts lines at 199 bytes and section names at 49,
 * gives no line numbers, calls the handler again for indented lines and reads an inline
 * comment inside quotes.  So our reader takes each physical line, proves it, keeps its
 * texts, and hands inih a short line that stands for it: "[@3]" for a section, "key=@12"
 * for a value.  Nothing is ever cut, and each key knows its line and column.
 *
 * Refused, all at once and with their places: indented lines, "key: value", a line that is
 * neither, keys before the first section, keys and sections given twice, text that is not
 * UTF-8, control characters, a lone carriage return.  There are no includes, no environment
 * variables and no continuation lines.
 */
#ifndef HN_CONFIG_INI_H
#define HN_CONFIG_INI_H

#include <stdbool.h>

#include "config/diagnostic.h"

#define HN_INI_FILE_MAX  (16u << 20) /* bytes of a file */
#define HN_INI_VALUE_MAX (1u << 20)  /* bytes of one value */
#define HN_INI_ITEMS_MAX 10000u      /* keys of a file, and sections of it */
#define HN_INI_KEY_MAX   100u        /* bytes of a key: it travels through inih's line */

struct hn_ini_section {
	const char *name;
	int32_t line;
};

struct hn_ini_item {
	const char *section, *key, *value;
	const char *path;
	int32_t line, column, value_column;
	bool is_quoted;
	bool is_commented; /* text behind the value was dropped as a comment */
};

/* A zeroed struct is the empty file; texts live in its arena until fini. */
struct hn_ini {
	struct hn_arena arena;
	const char *path;
	struct hn_ini_item *items;
	size_t n, cap;
	struct hn_ini_section *sections; /* in order, also those without keys */
	size_t n_sections, cap_sections;
	bool is_unread; /* a fault of the whole file was told, and nothing of it was read */
};

void hn_ini_fini(struct hn_ini *ini);

/* Reads a file.  Fails with HONE_ECONFIG where there is nothing to parse: not there, not a
 * regular file, too large.  Everything wrong inside goes to `diagnostics`, and what is right
 * is in the list all the same. */
enum hone_status hn_ini_read(struct hn_ini *ini, const char *path,
	struct hn_diagnostics *diagnostics, struct hone_error *err);

/* The same of n bytes; `path` is only used for places. */
void hn_ini_parse(struct hn_ini *ini, const char *path, const char *text, size_t n,
	struct hn_diagnostics *diagnostics);

/* Appends `value` so that the parser above reads it back: as it is, or quoted where it must
 * be; the second always quotes. */
void hn_ini_put_value(struct hn_str *out, const char *value);
void hn_ini_put_quoted(struct hn_str *out, const char *value);

/* Whether a value can stand in an INI file at all: UTF-8, no control characters but tab and
 * newline, at most HN_INI_VALUE_MAX bytes.  The reason goes to `err`. */
enum hone_status hn_ini_check_value(const char *value, struct hone_error *err);

#endif
