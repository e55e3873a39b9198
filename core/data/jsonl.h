/*
 * data/jsonl.h - a file of rows, one JSON object a line.
 *
 * The file is mapped and its lines are found once; a row is parsed when it is asked for, by any
 * thread.  Errors are HONE_EDATA with file, line and column (in characters).
 *
 * Taken: UTF-8, with or without a byte order mark, lines that end in LF or CRLF, empty lines
 * (skipped, counted), integers beyond 64 bits (read as reals).  Refused: anything that is not
 * strict UTF-8, NUL bytes and \u0000, keys that stand twice in an object, more than 64 levels,
 * reals beyond a double, lines of more than 64 MiB, a file without rows, and what is another
 * kind of file (compressed, Parquet, UTF-16, one big array ...), by its name and with a remedy.
 */
#ifndef HN_DATA_JSONL_H
#define HN_DATA_JSONL_H

#include <jansson.h>

#include "base/file.h"

#define HN_JSONL_LINE_MAX  ((uint64_t)64 << 20)
#define HN_JSONL_DEPTH_MAX 64

struct hn_jsonl_row {
	uint64_t offset;
	uint32_t n_bytes; /* without line break */
	uint32_t line;    /* from 1 */
};

struct hn_jsonl {
	char *path;
	struct hn_map map;
	struct hn_jsonl_row *rows;
	size_t n, cap;
	int64_t n_empty;  /* lines without anything on them */
	int64_t n_crlf;   /* lines that end in CRLF */
	bool has_newline; /* the last line ends in one */
	char hash[33];    /* of the file's bytes */
};

/* Maps the file and finds its rows; nothing is parsed.  Closed by the caller in any case. */
enum hone_status hn_jsonl_open(struct hn_jsonl *file, const char *path, struct hone_error *err);
/* NULL-safe in its parts: a zeroed or closed file is fine. */
void hn_jsonl_close(struct hn_jsonl *file);

/* Row `i` as an object that the caller decrefs; NULL in *out on error.  [any thread] */
enum hone_status hn_jsonl_parse(
	const struct hn_jsonl *file, size_t i, json_t **out, struct hone_error *err);

/* One line's text (no line break) as an object: what hn_jsonl_parse does, for a text from
 * anywhere.  is_last: nothing follows it, so an incomplete record was cut off. */
enum hone_status hn_jsonl_parse_line(const char *text, size_t n, const char *path, int64_t line,
	bool is_last, json_t **out, struct hone_error *err);

/* Takes control characters and a cut last character out of an error's text: what a file says
 * may be quoted in it.  Returns `st`. */
enum hone_status hn_data_clean(enum hone_status st, struct hone_error *err);

#endif
