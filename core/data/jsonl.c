/*
 * jsonl.c - lines found, checked and parsed.
 *
 * Whatever a line holds is looked at before jansson sees it: length, NUL, UTF-8, depth.  So
 * jansson's own limits (2048 levels, on the stack) are never reached.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/str.h"
#include "data/jsonl.h"

/* How files begin that people take for JSON lines. */
struct magic {
	const char *bytes;
	size_t n;
	const char *what;
};

static const struct magic magics[] = {
	{"\x1f\x8b", 2, "compressed with gzip; gunzip it first"},
	{"\x28\xb5\x2f\xfd", 4, "compressed with zstd; unzstd it first"},
	{"\xfd"
	 "7zXZ",
		5, "compressed with xz; unxz it first"},
	{"BZh", 3, "compressed with bzip2; bunzip2 it first"},
	{"PK\x03\x04", 4, "a ZIP archive; unzip it first"},
	{"PAR1", 4, "a Parquet file; write it as JSON lines, for example with duckdb or pandas"},
	{"ARROW1", 6, "an Arrow file; write it as JSON lines with datasets' to_json"},
	{"\xff\xfe", 2, "UTF-16; save it as UTF-8 (iconv -f utf-16 -t utf-8)"},
	{"\xfe\xff", 2, "UTF-16; save it as UTF-8 (iconv -f utf-16 -t utf-8)"},
	{"\x80\x02", 2, "a pickle, which is never read; write the rows as JSON lines"},
	{"\x80\x04", 2, "a pickle, which is never read; write the rows as JSON lines"},
	{"version https://git-lfs", 23, "a Git LFS pointer, not the data; run git lfs pull"},
	{"<!DOCTYPE", 9, "an HTML page, not the data; download it again"},
	{"<html", 5, "an HTML page, not the data; download it again"},
};

static enum hone_status
check_magic(const char *path, const uint8_t *bytes, uint64_t size, struct hone_error *err)
{
	for (size_t i = 0; i < sizeof magics / sizeof magics[0]; i++)
		if (size >= magics[i].n && memcmp(bytes, magics[i].bytes, magics[i].n) == 0)
			return hone_fail_at(
				err, HONE_EDATA, path, 0, 0, "this is %s", magics[i].what);
	return HONE_OK;
}

/* Tables and plain text have no bytes of their own: what their names say counts, unless the
 * content is JSON all the same. */
static enum hone_status
check_name(const char *path, const uint8_t *bytes, uint64_t size, struct hone_error *err)
{
	static const struct {
		const char *suffix, *what;
	} kinds[] = {
		{".csv", "a table; 'mlr --icsv --ojsonl cat' makes them of it"},
		{".tsv", "a table; 'mlr --itsv --ojsonl cat' makes them of it"},
		{".txt",
			"plain text; \"jq -cR '{text: .}'\" makes a row of each line, \"jq -cRs "
			"'{text: .}'\" one of the whole"},
		{".md", "plain text; \"jq -cRs '{text: .}'\" makes a row of it"},
	};
	uint64_t at = size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

	while (at < size && (bytes[at] <= ' '))
		at++;
	if (at < size && (bytes[at] == '{' || bytes[at] == '['))
		return HONE_OK;
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		if (hn_ends_with(path, kinds[i].suffix))
			return hone_fail_at(err, HONE_EDATA, path, 0, 0,
				"rows are JSON objects, one a line, and this is %s", kinds[i].what);
	return HONE_OK;
}

static bool
is_blank(const uint8_t *text, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
			return false;
	return true;
}

static enum hone_status
add_row(struct hn_jsonl *file, uint64_t begin, uint64_t n, uint64_t line, struct hone_error *err)
{
	const uint8_t *text = file->map.bytes + begin;

	if (is_blank(text, n)) {
		file->n_empty++;
		return HONE_OK;
	}
	if (n > HN_JSONL_LINE_MAX)
		return hone_fail_at(err, HONE_EDATA, file->path, (int64_t)line, 0,
			"this line has %llu bytes; a row may have %llu: split it",
			(unsigned long long)n, (unsigned long long)HN_JSONL_LINE_MAX);
	if (line > INT32_MAX)
		return hone_fail_at(err, HONE_EDATA, file->path, 0, 0,
			"more than %d lines; split the file", INT32_MAX);
	file->rows = hn_grow(file->rows, &file->cap, file->n + 1, sizeof *file->rows);
	file->rows[file->n++] = (struct hn_jsonl_row){begin, (uint32_t)n, (uint32_t)line};
	return HONE_OK;
}

static enum hone_status
find_rows(struct hn_jsonl *file, struct hone_error *err)
{
	const uint8_t *bytes = file->map.bytes;
	const uint64_t size = file->map.size;
	uint64_t at = size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	enum hone_status st = HONE_OK;

	for (uint64_t line = 1; at < size && !st; line++) {
		const uint8_t *end = memchr(bytes + at, '\n', size - at);
		uint64_t n = end ? (uint64_t)(end - (bytes + at)) : size - at;
		const uint64_t next = at + n + (end ? 1u : 0u);

		if (n > 0 && bytes[at + n - 1] == '\r') {
			n--;
			file->n_crlf++;
		}
		file->has_newline = end != NULL;
		st = add_row(file, at, n, line, err);
		at = next;
	}
	return st;
}

enum hone_status
hn_jsonl_open(struct hn_jsonl *file, const char *path, struct hone_error *err)
{
	enum hone_status st;

	memset(file, 0, sizeof *file);
	file->path = hn_strdup(path);
	st = hn_path_check_regular(path, HONE_EDATA, err);
	if (!st)
		st = hn_map_open(&file->map, path, HONE_EDATA, err);
	if (!st)
		st = check_magic(path, file->map.bytes, file->map.size, err);
	if (!st)
		st = check_name(path, file->map.bytes, file->map.size, err);
	if (!st)
		st = find_rows(file, err);
	if (st)
		return st;
	if (file->n == 0)
		return hone_fail_at(err, HONE_EDATA, path, 0, 0,
			"there is no row in this file; each line is one JSON object, for example "
			"{\"text\": \"...\"}");
	if (!file->has_newline && file->n == 1 &&
		memchr(file->map.bytes + file->rows[0].offset, '\r', file->rows[0].n_bytes))
		return hone_fail_at(err, HONE_EDATA, path, 1, 0,
			"lines end in CR alone; write them with LF (tr '\\r' '\\n')");
	hn_hash_hex(file->map.bytes, file->map.size, file->hash);
	return HONE_OK;
}

void
hn_jsonl_close(struct hn_jsonl *file)
{
	free(file->path);
	free(file->rows);
	hn_map_close(&file->map);
	memset(file, 0, sizeof *file);
}

/* ---- one line ---- */

/* The column of a byte: characters before it, and one. */
static int64_t
column_of(const char *text, size_t at)
{
	int64_t column = 1;

	for (size_t i = 0; i < at; i++)
		column += ((uint8_t)text[i] & 0xc0) != 0x80;
	return column;
}

/* Offset of the bracket that goes deeper than allowed, or n. */
static size_t
check_depth(const char *text, size_t n)
{
	int depth = 0;
	bool is_string = false;

	for (size_t i = 0; i < n; i++) {
		const char c = text[i];

		if (is_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				is_string = false;
		} else if (c == '"') {
			is_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > HN_JSONL_DEPTH_MAX)
				return i;
		} else if (c == '}' || c == ']') {
			depth--;
		}
	}
	return n;
}

static enum hone_status
check_line(const char *text, size_t n, const char *path, int64_t line, struct hone_error *err)
{
	const char *nul = memchr(text, 0, n);
	size_t at;

	if (nul)
		return hone_fail_at(err, HONE_EDATA, path, line,
			column_of(text, (size_t)(nul - text)),
			"a NUL byte; is the file UTF-16, or damaged? Save it as UTF-8");
	at = hn_utf8_check(text, n);
	if (at < n)
		return hone_fail_at(err, HONE_EDATA, path, line, column_of(text, at),
			"byte 0x%02x is not valid UTF-8 here; save the file as UTF-8",
			(uint8_t)text[at]);
	at = check_depth(text, n);
	if (at < n)
		return hone_fail_at(err, HONE_EDATA, path, line, column_of(text, at),
			"more than %d levels of lists and objects", HN_JSONL_DEPTH_MAX);
	for (at = 0; at < n && (text[at] == ' ' || text[at] == '\t');)
		at++;
	if (at == n || (text[at] != '{' && text[at] != '['))
		return hone_fail_at(err, HONE_EDATA, path, line, column_of(text, at),
			"a row is a JSON object and begins with '{'; make lines of JSON of other "
			"kinds of files");
	return HONE_OK;
}

static void
clean(char *text)
{
	text[hn_utf8_check(text, strlen(text))] = 0;
	for (char *c = text; *c; c++)
		if ((uint8_t)*c < 0x20 || *c == 0x7f)
			*c = '?';
}

enum hone_status
hn_data_clean(enum hone_status st, struct hone_error *err)
{
	if (st && err)
		clean(err->text);
	return st;
}

static enum hone_status
fail_parse(json_error_t *why, const char *path, int64_t line, bool is_last, struct hone_error *err)
{
	const enum json_error_code code = json_error_code(why);
	const char *remedy = "";

	clean(why->text);
	if (code == json_error_premature_end_of_input && is_last)
		remedy = "; the file looks cut: its last record is incomplete";
	else if (code == json_error_premature_end_of_input)
		remedy = "; a record stands on one line (jq -c . writes it so)";
	else if (code == json_error_end_of_input_expected)
		remedy = "; one line holds one record";
	else if (code == json_error_null_character)
		return hone_fail_at(err, HONE_EDATA, path, line, why->column > 0 ? why->column : 1,
			"the character U+0000 (\\u0000) cannot be carried; take it out");
	return hone_fail_at(err, HONE_EDATA, path, line, why->column > 0 ? why->column : 1, "%s%s",
		why->text, remedy);
}

enum hone_status
hn_jsonl_parse_line(const char *text, size_t n, const char *path, int64_t line, bool is_last,
	json_t **out, struct hone_error *err)
{
	const size_t flags = JSON_REJECT_DUPLICATES;
	json_error_t why;
	json_t *row;
	enum hone_status st;

	*out = NULL;
	st = check_line(text, n, path, line, err);
	if (st)
		return st;
	row = json_loadb(text, n, flags, &why);
	if (!row && json_error_code(&why) == json_error_numeric_overflow)
		row = json_loadb(text, n, flags | JSON_DECODE_INT_AS_REAL, &why);
	if (!row)
		return fail_parse(&why, path, line, is_last, err);
	if (!json_is_object(row)) {
		json_decref(row);
		return hone_fail_at(err, HONE_EDATA, path, line, 1,
			"a row is a JSON object, this is a list; of one big list make lines with "
			"jq -c '.[]'");
	}
	*out = row;
	return HONE_OK;
}

enum hone_status
hn_jsonl_parse(const struct hn_jsonl *file, size_t i, json_t **out, struct hone_error *err)
{
	const struct hn_jsonl_row *row = &file->rows[i];

	return hn_jsonl_parse_line((const char *)file->map.bytes + row->offset, row->n_bytes,
		file->path, row->line, i + 1 == file->n && !file->has_newline, out, err);
}
