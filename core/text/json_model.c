/*
 * json_model.c - the vocabulary and the merges of a tokenizer.json, read without a tree.
 *
 * Nearly all of such a file is two values, model.vocab and model.merges.  Building a tree of
 * them takes a JSON library about 30 ns a byte; here they are cut out and read in one pass, and
 * the library reads the rest, in which the two stand empty.  The rest keeps every line break, so
 * its errors name the right line.
 *
 *     "vocab":  {"!": 0, "\"": 1, ...}               spelling: id
 *     "merges": ["h e", ...] or [["h", "e"], ...]    by rank
 *
 * The scan for the two does not judge what it passes over: the JSON library does, afterwards.
 * Inside the two values the grammar is checked here, strictly.  Nothing recurses.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "text/parts.h"

struct scan {
	const char *origin, *text;
	size_t n, i;
	struct hone_error *err;
};

enum hone_status
hn_json_fail(struct hone_error *err, const char *origin, const char *text, size_t offset,
	const char *what)
{
	int64_t line = 1;
	size_t start = 0;

	for (size_t i = 0; i < offset; i++)
		if (text[i] == '\n') {
			line++;
			start = i + 1;
		}
	return hone_fail_at(
		err, HONE_EMODEL, origin, line, (int64_t)(offset - start) + 1, "%s", what);
}

static enum hone_status
fail(const struct scan *s, const char *what)
{
	return hn_json_fail(s->err, s->origin, s->text, s->i < s->n ? s->i : s->n, what);
}

static void
skip_space(struct scan *s)
{
	while (s->i < s->n &&
		(s->text[s->i] == ' ' || s->text[s->i] == '\n' || s->text[s->i] == '\r' ||
			s->text[s->i] == '\t'))
		s->i++;
}

/* Steps over one expected character and the space around it. */
static bool
accept(struct scan *s, char c)
{
	skip_space(s);
	if (s->i >= s->n || s->text[s->i] != c)
		return false;
	s->i++;
	skip_space(s);
	return true;
}

/* Steps over a string; the raw text between its quotes. */
static bool
skip_string(struct scan *s, struct hn_text *raw)
{
	const size_t start = s->i + 1;

	if (s->i >= s->n || s->text[s->i] != '"')
		return false;
	for (size_t i = start; i < s->n; i++) {
		if (s->text[i] == '\\') {
			i++;
		} else if (s->text[i] == '"') {
			*raw = (struct hn_text){s->text + start, i - start};
			s->i = i + 1;
			return true;
		}
	}
	return false;
}

/* Steps over any value, by counting brackets. */
static bool
skip_value(struct scan *s)
{
	struct hn_text raw;
	size_t depth = 0;

	while (s->i < s->n) {
		const char c = s->text[s->i];

		if (c == '"') {
			if (!skip_string(s, &raw))
				return false;
			if (depth == 0)
				return true;
			continue;
		}
		if (c == '{' || c == '[') {
			depth++;
		} else if (c == '}' || c == ']') {
			if (depth == 0)
				return true; /* the end of what a scalar stands in */
			depth--;
			if (depth == 0) {
				s->i++;
				return true;
			}
		} else if (c == ',' && depth == 0) {
			return true;
		}
		s->i++;
	}
	return false;
}

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The 16 bits of \uXXXX at text[0..6), or -1. */
static int32_t
code_unit(const char *text, size_t n)
{
	int32_t unit = 0;

	if (n < 6 || text[0] != '\\' || text[1] != 'u')
		return -1;
	for (size_t i = 2; i < 6; i++) {
		const int digit = hex(text[i]);

		if (digit < 0)
			return -1;
		unit = unit * 16 + digit;
	}
	return unit;
}

static size_t
put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	const size_t width = c < 0x800 ? 2 : (c < 0x10000 ? 3 : 4);
	static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};

	for (size_t i = width - 1; i > 0; i--, c >>= 6)
		out[i] = (char)(uint8_t)(0x80 | (c & 0x3F));
	out[0] = (char)(uint8_t)(lead[width] | c);
	return width;
}

/* One escape at in[0..n): bytes taken, 0 when it is none; *written bytes go to out. */
static size_t
unescape_one(const char *in, size_t n, char *out, size_t *written)
{
	static const char plain[] = "\"\\/bfnrt", meaning[] = "\"\\/\b\f\n\r\t";
	const char *at = n > 1 && in[1] ? strchr(plain, in[1]) : NULL;
	int32_t high, low;

	if (at) {
		*out = meaning[at - plain];
		*written = 1;
		return 2;
	}
	high = code_unit(in, n);
	if (high < 0 || (high >= 0xDC00 && high <= 0xDFFF))
		return 0;
	if (high < 0xD800 || high > 0xDFFF) {
		*written = put_utf8(out, (uint32_t)high);
		return 6;
	}
	low = code_unit(in + 6, n - 6);
	if (low < 0xDC00 || low > 0xDFFF)
		return 0;
	*written = put_utf8(
		out, 0x10000 + (((uint32_t)high - 0xD800) << 10) + ((uint32_t)low - 0xDC00));
	return 12;
}

/* Reads a string into *out, which never grows by it; moves *out past the text. */
static enum hone_status
read_string(struct scan *s, char **out, struct hn_text *text)
{
	struct hn_text raw;
	const size_t start = s->i;
	char *to = *out;

	if (!skip_string(s, &raw))
		return fail(s, "a text in quotes is expected here");
	for (size_t i = 0; i < raw.len;) {
		size_t taken = 1, written = 1;

		if (raw.bytes[i] == '\\') {
			taken = unescape_one(raw.bytes + i, raw.len - i, to, &written);
		} else {
			taken = (uint8_t)raw.bytes[i] >= 0x20;
			*to = raw.bytes[i];
		}
		if (!taken) {
			s->i = start + 1 + i;
			return fail(s, "an invalid character or escape in a text");
		}
		i += taken;
		to += written;
	}
	*text = (struct hn_text){*out, (size_t)(to - *out)};
	*out = to;
	return HONE_OK;
}

static enum hone_status
read_id(struct scan *s, int32_t *id)
{
	int64_t value = 0;
	const size_t start = s->i;

	while (s->i < s->n && s->text[s->i] >= '0' && s->text[s->i] <= '9' && value <= INT32_MAX)
		value = value * 10 + (s->text[s->i++] - '0');
	if (s->i == start || value >= INT32_MAX || (s->text[start] == '0' && s->i - start > 1)) {
		s->i = start;
		return fail(s, "a token's id is expected here: a number from 0 to 2147483646");
	}
	*id = (int32_t)value;
	return HONE_OK;
}

static enum hone_status
read_vocab(struct hn_json_model *model, struct scan *s, char **out)
{
	enum hone_status st;

	if (!accept(s, '{'))
		return fail(s, "model.vocab must be an object: token to id");
	if (accept(s, '}'))
		return HONE_OK;
	do {
		const size_t n = model->n_tokens;

		model->tokens =
			hn_grow(model->tokens, &model->tokens_cap, n + 1, sizeof *model->tokens);
		model->ids = hn_grow(model->ids, &model->ids_cap, n + 1, sizeof *model->ids);
		st = read_string(s, out, &model->tokens[n]);
		if (st)
			return st;
		if (!accept(s, ':'))
			return fail(s, "':' is expected here");
		st = read_id(s, &model->ids[n]);
		if (st)
			return st;
		model->n_tokens++;
	} while (accept(s, ','));
	return accept(s, '}') ? HONE_OK : fail(s, "',' or '}' is expected here");
}

/* "a b", or ["a", "b"], which becomes "a b": in the byte-level alphabet no token has a space. */
static enum hone_status
read_merge(struct scan *s, char **out, struct hn_text *merge)
{
	struct hn_text right;
	enum hone_status st;

	if (s->i < s->n && s->text[s->i] == '"')
		return read_string(s, out, merge);
	if (!accept(s, '['))
		return fail(s, "a merge is expected here: \"left right\" or [\"left\", \"right\"]");
	st = read_string(s, out, merge);
	if (st)
		return st;
	if (!accept(s, ','))
		return fail(s, "',' is expected here");
	*(*out)++ = ' ';
	st = read_string(s, out, &right);
	if (st)
		return st;
	merge->len += 1 + right.len;
	skip_space(s);
	if (s->i >= s->n || s->text[s->i] != ']')
		return fail(s, "']' is expected here");
	s->i++;
	return HONE_OK;
}

static enum hone_status
read_merges(struct hn_json_model *model, struct scan *s, char **out)
{
	enum hone_status st;

	if (!accept(s, '['))
		return fail(s, "model.merges must be a list");
	if (accept(s, ']'))
		return HONE_OK;
	do {
		const size_t n = model->n_merges;

		model->merges =
			hn_grow(model->merges, &model->merges_cap, n + 1, sizeof *model->merges);
		st = read_merge(s, out, &model->merges[n]);
		if (st)
			return st;
		model->n_merges++;
	} while (accept(s, ','));
	return accept(s, ']') ? HONE_OK : fail(s, "',' or ']' is expected here");
}

/* Where the two values lie; empty = absent. */
struct places {
	size_t vocab[2], merges[2];
};

/* Steps through the members of an object: of the document (`model` NULL inside), or of model. */
static bool
find_places(struct scan *s, struct places *places, bool in_model)
{
	struct hn_text key;

	if (!accept(s, '{'))
		return false;
	do {
		if (!skip_string(s, &key) || !accept(s, ':'))
			return false;
		const size_t start = s->i;
		const bool is_vocab = in_model && key.len == 5 && !memcmp(key.bytes, "vocab", 5);
		const bool is_merges = in_model && key.len == 6 && !memcmp(key.bytes, "merges", 6);

		if (!in_model && key.len == 5 && !memcmp(key.bytes, "model", 5) && s->i < s->n &&
			s->text[s->i] == '{') {
			if (!find_places(s, places, true))
				return false;
			continue;
		}
		if (!skip_value(s))
			return false;
		if (is_vocab && s->text[start] == '{') {
			places->vocab[0] = start;
			places->vocab[1] = s->i;
		} else if (is_merges && s->text[start] == '[') {
			places->merges[0] = start;
			places->merges[1] = s->i;
		}
	} while (accept(s, ','));
	return accept(s, '}');
}

/* Appends an empty value of the same kind, with the line breaks of the original. */
static void
put_emptied(struct hn_str *rest, const char *text, size_t begin, size_t end)
{
	const bool is_object = text[begin] == '{';

	hn_str_putc(rest, is_object ? '{' : '[');
	for (const char *at = text + begin; (at = memchr(at, '\n', (size_t)(text + end - at)));
		at++)
		hn_str_putc(rest, '\n');
	hn_str_putc(rest, is_object ? '}' : ']');
}

static void
put_rest(struct hn_json_model *model, const char *text, size_t len, const struct places *places)
{
	const bool vocab_first = places->vocab[0] <= places->merges[0];
	const size_t *order[2] = {vocab_first ? places->vocab : places->merges,
		vocab_first ? places->merges : places->vocab};
	size_t done = 0;

	for (int k = 0; k < 2; k++) {
		if (order[k][1] == 0)
			continue;
		hn_str_add(&model->rest, text + done, order[k][0] - done);
		put_emptied(&model->rest, text, order[k][0], order[k][1]);
		done = order[k][1];
	}
	hn_str_add(&model->rest, text + done, len - done);
}

enum hone_status
hn_json_model_cut(struct hn_json_model *model, const char *origin, const char *text, size_t len,
	struct hone_error *err)
{
	struct scan s = {origin, text, len, 0, err};
	struct places places = {{0, 0}, {0, 0}};
	enum hone_status st = HONE_OK;
	char *out;

	skip_space(&s);
	/* What is not well formed is left whole for the JSON library to say why. */
	if (!find_places(&s, &places, false))
		places = (struct places){{0, 0}, {0, 0}};
	put_rest(model, text, len, &places);
	model->has_vocab = places.vocab[1] > 0;
	model->has_merges = places.merges[1] > 0;
	/* No text is longer than its JSON, and [..] has more bytes than the space it becomes. */
	model->bytes = out = hn_alloc(
		places.vocab[1] - places.vocab[0] + places.merges[1] - places.merges[0] + 1);
	if (model->has_vocab) {
		s = (struct scan){origin, text, places.vocab[1], places.vocab[0], err};
		st = read_vocab(model, &s, &out);
	}
	if (!st && model->has_merges) {
		s = (struct scan){origin, text, places.merges[1], places.merges[0], err};
		st = read_merges(model, &s, &out);
	}
	return st;
}

void
hn_json_model_fini(struct hn_json_model *model)
{
	free(model->tokens);
	free(model->ids);
	free(model->merges);
	free(model->bytes);
	hn_str_fini(&model->rest);
	*model = (struct hn_json_model){0};
}
