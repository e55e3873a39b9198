/*
 * ini.c - lines, sections and keys of an INI file.
 *
 *     text --take_line--> physical line --read_section / read_pair--> texts, kept here
 *                                   \--next_line--> "[@3]" or "key=@12" --> inih
 *     inih --take_pair(section, key)--> item with the texts that were kept
 *
 * One pass: inih asks our reader for a line, the reader takes the next physical line from
 * the text, and either hands over a short line that stands for it or reports what is wrong
 * and hands over an empty one.  inih then calls the handler with the stand-ins, and the
 * handler looks the texts up.  inih sees only lines below 120 bytes, made here: its limits
 * and its over-reads at a NUL or at a line's end cannot be reached from a file.
 *
 * Memory: every text is copied once into the arena of struct hn_ini, so it is bounded by the
 * file's size; items and sections are bounded by HN_INI_ITEMS_MAX; reading stops after
 * HN_DIAGNOSTICS_MAX errors.
 */
#include "config/ini.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <ini.h>

#include "base/file.h"
#include "base/table.h"

#define NO_SECTION (-1) /* after a broken "[...": its keys are checked, then dropped */

/* What the reader has proven of the line that inih looks at. */
struct pending {
	const char *value;
	int32_t line, value_column;
	bool is_quoted, is_commented;
};

struct source {
	struct hn_ini *ini;
	struct hn_diagnostics *diagnostics;
	const char *next, *end;
	const char *line; /* the physical line, without its end */
	size_t len;
	int32_t line_number;
	struct pending pending;
	struct hn_table keys;     /* "section\nkey" -> index of the item */
	struct hn_table sections; /* name -> index of the section */
	bool is_full;             /* one of the limits was met and reported */
};

void
hn_ini_fini(struct hn_ini *ini)
{
	free(ini->items);
	free(ini->sections);
	hn_arena_fini(&ini->arena);
	*ini = (struct hn_ini){0};
}

/* Column, in characters from 1, of byte `offset` of the line. */
static int32_t
column_at(const struct source *source, size_t offset)
{
	int32_t column = 1;

	for (size_t i = 0; i < offset && i < source->len; i++)
		if (((unsigned char)source->line[i] & 0xC0) != 0x80 && column < INT32_MAX)
			column++;
	return column;
}

/* The place of byte `offset` of the line that is being read. */
static struct hn_ini_place
place_at(const struct source *source, size_t offset)
{
	return (struct hn_ini_place){
		.path = source->ini->path,
		.line = source->line_number,
		.column = column_at(source, offset),
	};
}

/* An error at byte `offset` of the line that is being read. */
static void
complain(struct source *source, size_t offset, const char *text)
{
	hn_diagnose(source->diagnostics, HN_SEVERITY_ERROR, place_at(source, offset), "%s", text);
}

/* A piece of the file, fit for a message. */
static const char *
clip(struct source *source, const char *text, size_t n)
{
	return hn_clip(&source->diagnostics->arena, text, n);
}

/* Blanks inside a line; other white space has been refused as control characters. */
static bool
is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* Of keys and sections.  Dots part an instance from its section. */
static bool
is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '_' || c == '-' || c == '.';
}

/* Bytes at the start of `text` that can be a name. */
static size_t
name_length(const char *text, size_t n)
{
	size_t i = 0;

	while (i < n && is_name_char(text[i]))
		i++;
	return i;
}

/* Takes the next physical line; false at the end of the text. */
static bool
take_line(struct source *source)
{
	const char *end;

	if (source->next >= source->end)
		return false;
	end = memchr(source->next, '\n', (size_t)(source->end - source->next));
	source->line = source->next;
	source->next = end ? end + 1 : source->end;
	if (!end)
		end = source->end;
	if (end > source->line && end[-1] == '\r')
		end--;
	source->len = (size_t)(end - source->line);
	source->line_number++;
	return true;
}

/* UTF-8 without control characters but tab: everything after this may trust the bytes. */
static bool
has_clean_text(struct source *source)
{
	/* Only the valid part is looked at; what is behind it gets the other message. */
	size_t valid = hn_utf8_check(source->line, source->len);

	for (size_t i = 0; i < valid; i++) {
		unsigned char c = (unsigned char)source->line[i];

		if (c == '\r') {
			complain(source, i,
				"a carriage return without a newline; "
				"save the file with Unix or Windows line ends");
			return false;
		}
		if ((c < 0x20 && c != '\t') || c == 0x7f) {
			hn_diagnose(source->diagnostics, HN_SEVERITY_ERROR, place_at(source, i),
				"a control character (byte 0x%02x) cannot stand in a configuration",
				c);
			return false;
		}
	}
	if (valid == source->len)
		return true;
	hn_diagnose(source->diagnostics, HN_SEVERITY_ERROR, place_at(source, valid),
		"byte 0x%02x is not UTF-8; save the file as UTF-8",
		(unsigned char)source->line[valid]);
	return false;
}

/* Remembers a section and gives its index; one that was there gives the old index. */
static int64_t
add_section(struct source *source, const char *name)
{
	struct hn_ini *ini = source->ini;
	const uint64_t *old = hn_table_get(&source->sections, name);

	if (old) {
		hn_diagnose(source->diagnostics, HN_SEVERITY_ERROR, place_at(source, 0),
			"[%s] is given twice; the first is in line %d. Join the two",
			clip(source, name, strlen(name)), ini->sections[*old].line);
		return (int64_t)*old;
	}
	if (ini->n_sections >= HN_INI_ITEMS_MAX) {
		if (!source->is_full)
			complain(source, 0, "too many sections; this is not a configuration");
		source->is_full = true;
		return NO_SECTION;
	}
	ini->sections = hn_grow(
		ini->sections, &ini->cap_sections, ini->n_sections + 1, sizeof *ini->sections);
	ini->sections[ini->n_sections] = (struct hn_ini_section){
		.name = hn_arena_strdup(&ini->arena, name),
		.line = source->line_number,
	};
	(void)hn_table_set(&source->sections, name, ini->n_sections);
	return (int64_t)ini->n_sections++;
}

/* "[name]" or "[name.instance]", then nothing or a comment.  The section's index. */
static int64_t
read_section(struct source *source)
{
	const char *line = source->line;
	size_t n = name_length(line + 1, source->len - 1), i = n + 1;
	char *name;

	/* The order of these tests is the order in which a person would see the mistakes. */
	if (i >= source->len) {
		complain(source, source->len, "the section's ']' is missing");
		return NO_SECTION;
	}
	if (line[i] != ']' || n == 0) {
		complain(source, i,
			"a section reads [name] or [name.instance], of letters, digits, '_' and "
			"'-'");
		return NO_SECTION;
	}
	if (line[1] == '.' || line[n] == '.' || memmem(line + 1, n, "..", 2)) {
		complain(source, 1, "a '.' in a section stands between its name and its instance");
		return NO_SECTION;
	}
	for (i++; i < source->len && is_space(line[i]); i++)
		;
	if (i < source->len && line[i] != ';') {
		complain(source, i,
			"text behind the section's ']'; a comment there starts with ';'");
		return NO_SECTION;
	}
	name = hn_arena_strndup(&source->ini->arena, line + 1, n);
	return add_section(source, name);
}

/* What may stand behind a closing quote: nothing, or a comment. */
static bool
read_after_quote(struct source *source, size_t i)
{
	size_t rest = i;

	while (rest < source->len && is_space(source->line[rest]))
		rest++;
	if (rest == source->len)
		return true;
	if (source->line[rest] == ';' && rest > i) {
		source->pending.is_commented = true;
		return true;
	}
	complain(source, rest, "text behind the closing quote; write \\\" for a quote inside");
	return false;
}

/* The value that opens with a quote at byte `i`. */
static bool
read_quoted(struct source *source, size_t i)
{
	const char *line = source->line;
	char *out = hn_arena_alloc(&source->ini->arena, source->len - i + 1);
	size_t n = 0;

	/* Unescaping never makes a text longer, so the rest of the line is room enough. */
	source->pending.value = out;
	source->pending.is_quoted = true;
	for (i++; i < source->len && line[i] != '"'; i++) {
		if (line[i] != '\\') {
			out[n++] = line[i];
			continue;
		}
		if (i + 1 == source->len)
			break;
		i++;
		if (line[i] == 'n')
			out[n++] = '\n';
		else if (line[i] == 't')
			out[n++] = '\t';
		else if (line[i] == '"' || line[i] == '\\')
			out[n++] = line[i];
		else {
			complain(source, i - 1,
				"not an escape; the escapes are \\n \\t \\\" \\\\, "
				"and a backslash itself is \\\\");
			return false;
		}
	}
	out[n] = '\0';
	if (i >= source->len || line[i] != '"') {
		complain(source, source->len, "the closing quote is missing");
		return false;
	}
	return read_after_quote(source, i + 1);
}

/* The value between byte `from` (just behind the '=') and a comment, trimmed. */
static void
read_plain(struct source *source, size_t from)
{
	const char *line = source->line;
	size_t end = from, first = from;

	/* As inih: " ;" starts a comment, also right behind the '='; "a;b" does not. */
	while (end < source->len && !(line[end] == ';' && end > from && is_space(line[end - 1])))
		end++;
	source->pending.is_commented = end < source->len;
	while (first < end && is_space(line[first]))
		first++;
	while (end > first && is_space(line[end - 1]))
		end--;
	source->pending.value = hn_arena_strndup(&source->ini->arena, line + first, end - first);
}

/* A line that is no section and has no "key =": say what it looks like. */
static void
complain_no_key(struct source *source, size_t n)
{
	const char *line = source->line;
	const char *equals = memchr(line, '=', source->len);
	const char *colon = memchr(line, ':', source->len);

	if (colon && (!equals || colon < equals))
		hn_diagnose(source->diagnostics, HN_SEVERITY_ERROR, place_at(source, n),
			"expected key = value, found '%s': is the key missing, or ':' meant as "
			"'='?",
			clip(source, line, source->len));
	else if (equals == line)
		complain(source, 0, "a key is missing before '='");
	else if (equals)
		hn_diagnose(source->diagnostics, HN_SEVERITY_ERROR, place_at(source, n),
			"a key is of letters, digits, '_', '-' and '.', this is '%s'",
			clip(source, line, (size_t)(equals - line)));
	else
		hn_diagnose(source->diagnostics, HN_SEVERITY_ERROR, place_at(source, 0),
			"expected key = value, found '%s'", clip(source, line, source->len));
}

/* "key = value"; the key's length, or 0 when the line is wrong. */
static size_t
read_pair(struct source *source)
{
	size_t n = name_length(source->line, source->len), i = n, first;

	while (i < source->len && is_space(source->line[i]))
		i++;
	if (n == 0 || i == source->len || source->line[i] != '=') {
		complain_no_key(source, n);
		return 0;
	}
	if (n > HN_INI_KEY_MAX) {
		hn_diagnose(source->diagnostics, HN_SEVERITY_ERROR, place_at(source, 0),
			"the key is %zu bytes long, the limit is %u", n, HN_INI_KEY_MAX);
		return 0;
	}
	for (first = i + 1; first < source->len && is_space(source->line[first]); first++)
		;
	source->pending = (struct pending){
		.line = source->line_number,
		.value_column = column_at(source, first),
	};
	if (first < source->len && source->line[first] == '"') {
		if (!read_quoted(source, first))
			return 0;
	} else {
		read_plain(source, i + 1);
	}
	if (strlen(source->pending.value) > HN_INI_VALUE_MAX) {
		hn_diagnose(source->diagnostics, HN_SEVERITY_ERROR, place_at(source, first),
			"the value is %zu bytes long, the limit is %u; put long text into a file",
			strlen(source->pending.value), HN_INI_VALUE_MAX);
		return 0;
	}
	return n;
}

/* ini_reader: the stand-in of the next physical line, NULL at the end. */
static char *
next_line(char *out, int size, void *stream)
{
	struct source *source = stream;
	size_t blank = 0, key;

	/* Whoever has that many errors has given us something else than an INI file. */
	if (source->diagnostics->n_errors >= HN_DIAGNOSTICS_MAX || !take_line(source))
		return NULL;
	(void)snprintf(out, (size_t)size, "\n");
	if (!has_clean_text(source)) /* an empty line keeps inih's place in the grammar */
		return out;
	while (blank < source->len && is_space(source->line[blank]))
		blank++;
	if (blank == source->len || source->line[0] == ';' || source->line[0] == '#')
		return out;
	if (blank > 0) {
		complain(source, blank,
			"the line is indented; keys and sections start at the line's first "
			"column, and values do not go on in a second line");
	} else if (source->line[0] == '[') {
		(void)snprintf(out, (size_t)size, "[@%" PRId64 "]\n", read_section(source));
	} else {
		key = read_pair(source);
		if (key)
			(void)snprintf(out, (size_t)size, "%.*s=@%d\n", (int)key, source->line,
				source->line_number);
	}
	return out;
}

/* Adds the pending pair as an item, unless it was there or there are too many. */
static void
add_item(struct source *source, const char *section, const char *key)
{
	struct hn_ini *ini = source->ini;
	char *full = hn_arena_printf(&ini->arena, "%s\n%s", section, key);
	const uint64_t *old = hn_table_get(&source->keys, full);

	if (old) {
		hn_diagnose(source->diagnostics, HN_SEVERITY_ERROR, place_at(source, 0),
			"[%s] %s is given twice; the first is in line %d",
			clip(source, section, strlen(section)), key, ini->items[*old].line);
		return;
	}
	if (ini->n >= HN_INI_ITEMS_MAX) {
		if (!source->is_full)
			complain(source, 0, "too many keys; this is not a configuration");
		source->is_full = true;
		return;
	}
	(void)hn_table_set(&source->keys, full, ini->n);
	ini->items = hn_grow(ini->items, &ini->cap, ini->n + 1, sizeof *ini->items);
	ini->items[ini->n++] = (struct hn_ini_item){
		.section = section,
		.key = hn_arena_strdup(&ini->arena, key),
		.value = source->pending.value,
		.path = ini->path,
		.line = source->pending.line,
		.column = 1,
		.value_column = source->pending.value_column,
		.is_quoted = source->pending.is_quoted,
		.is_commented = source->pending.is_commented,
	};
}

/* ini_handler: `section` is "" or "@index".  The pending pair is that of this very line,
 * because inih handles a line before it asks for the next. */
static int
take_pair(void *user, const char *section, const char *key, const char *value)
{
	struct source *source = user;
	int64_t index = 0;

	/* The stand-in's number is not needed: the pending pair is this line's. */
	(void)value;
	if (section[0] == '\0')
		complain(source, 0, "a key before the first [section]");
	else if (hn_parse_i64(section + 1, &index) && index >= 0 &&
		(size_t)index < source->ini->n_sections)
		add_item(source, source->ini->sections[index].name, key);
	return 1;
}

/* A file in another encoding is one error, not one for each line. */
static bool
is_utf16(const char *text, size_t n)
{
	if (n < 2)
		return false;
	return memcmp(text, "\xFF\xFE", 2) == 0 || memcmp(text, "\xFE\xFF", 2) == 0 ||
		(text[0] == '\0') != (text[1] == '\0');
}

void
hn_ini_parse(struct hn_ini *ini, const char *path, const char *text, size_t n,
	struct hn_diagnostics *diagnostics)
{
	struct source source = {.ini = ini, .diagnostics = diagnostics, .next = text};
	struct hn_ini_place whole = {.path = path};
	int broken;

	ini->path = hn_arena_strdup(&ini->arena, path);
	if (n == 0) {
		hn_diagnose(diagnostics, HN_SEVERITY_ERROR, whole, "the file is empty");
		ini->is_unread = true;
		return;
	}
	if (is_utf16(text, n)) {
		hn_diagnose(diagnostics, HN_SEVERITY_ERROR, whole,
			"the file looks like UTF-16; save it as UTF-8");
		ini->is_unread = true;
		return;
	}
	if (memchr(text, '\r', n) && !memchr(text, '\n', n)) {
		hn_diagnose(diagnostics, HN_SEVERITY_ERROR, whole,
			"the lines end with a carriage return alone; save the file with Unix or "
			"Windows line ends");
		ini->is_unread = true;
		return;
	}
	source.end = text + n;
	/* A byte order mark says UTF-8 and nothing else. */
	if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
		source.next += 3;
	/* inih cannot find a fault in lines that we made; if it does, that is our bug. */
	broken = ini_parse_stream(next_line, &source, take_pair, &source);
	if (broken)
		hn_diagnose(diagnostics, HN_SEVERITY_ERROR, whole,
			"the INI library stopped with %d; please report this file", broken);
	hn_table_fini(&source.keys);
	hn_table_fini(&source.sections);
}

/* Only a regular file in a folder of files is a configuration: a folder reads as empty, a pipe
 * may never end, and paths in what comes by a descriptor would start from /dev. */
static enum hone_status
check_kind(const char *path, struct hone_error *err)
{
	struct stat info;

	if (stat(path, &info))
		return hone_fail_at(err, HONE_ECONFIG, path, 0, 0, "%s", strerror(errno));
	if (S_ISDIR(info.st_mode))
		return hone_fail_at(
			err, HONE_ECONFIG, path, 0, 0, "is a folder; give the INI file inside it");
	if (hn_streq(path, "/dev/stdin") || hn_starts_with(path, "/dev/fd/") ||
		hn_starts_with(path, "/proc/"))
		return hone_fail_at(err, HONE_ECONFIG, path, 0, 0,
			"is no place for a configuration, whose relative paths start from its "
			"folder; save it as a file and name that");
	if (!S_ISREG(info.st_mode))
		return hn_path_check_regular(path, HONE_ECONFIG, err);
	if (info.st_size > (off_t)HN_INI_FILE_MAX)
		return hone_fail_at(err, HONE_ECONFIG, path, 0, 0,
			"is %" PRId64 " bytes long; a configuration has at most %u",
			(int64_t)info.st_size, HN_INI_FILE_MAX);
	return HONE_OK;
}

enum hone_status
hn_ini_read(struct hn_ini *ini, const char *path, struct hn_diagnostics *diagnostics,
	struct hone_error *err)
{
	enum hone_status status;
	char *text = NULL;
	size_t n = 0;

	if (!path[0])
		return hone_fail(err, HONE_ECONFIG,
			"the name of the INI file is empty; give a path such as run.ini");
	status = check_kind(path, err);
	if (!status)
		status = hn_file_read(path, HN_INI_FILE_MAX, HONE_ECONFIG, &text, &n, err);
	if (status)
		return status;
	hn_ini_parse(ini, path, text, n, diagnostics);
	free(text);
	return HONE_OK;
}
