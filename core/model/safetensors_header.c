/*
 * safetensors_header.c - a strict reader for the one JSON shape that a header has.
 *
 *     { "name": { "dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24] }, ...
 *       "__metadata__": { "text": "text", ... } }  spaces
 *
 * A JSON library would build a tree of twenty times the text before we could say no, and
 * would accept what the format does not: numbers with fractions, nesting, duplicate keys.
 * Here memory is three strings, each as long as the longest name.
 *
 * Every function reads from r->at and leaves it behind what it read; after a failure the
 * position is that of the fault, and fail() puts it into the message.
 *
 * The depth is fixed by the grammar, so nothing recurses.  Integers are digits only: no
 * sign, no fraction, no exponent, no leading zero.  Members other than the three are
 * refused: nobody writes them, and skipping would need a general reader.
 */
#include "model/safetensors_header.h"

#include <string.h>

struct reader {
	const char *text;
	size_t n, at;
	const char *path;
	struct hone_error *err;
	struct hn_str key, member, value; /* decoded strings */
};

HONE_PRINTF(2, 3) static enum hone_status fail(const struct reader *r, const char *fmt, ...)
{
	char text[300];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	return hone_fail_at(r->err, HONE_EMODEL, r->path, 0, 0,
		"the safetensors header is damaged at byte %zu: %s", r->at + 8, text);
}

/* JSON's four; spaces behind the object are the padding of the format. */
static void
skip_space(struct reader *r)
{
	while (r->at < r->n &&
		(r->text[r->at] == ' ' || r->text[r->at] == '\n' || r->text[r->at] == '\r' ||
			r->text[r->at] == '\t'))
		r->at++;
}

/* The next character after spaces, or 0 at the end. */
static char
peek(struct reader *r)
{
	skip_space(r);
	return r->at < r->n ? r->text[r->at] : '\0';
}

/* The next character must be this one. */
static enum hone_status
expect(struct reader *r, char c)
{
	if (peek(r) != c)
		return fail(r, "expected '%c'", c);
	r->at++;
	return HONE_OK;
}

/* After an element: true when another follows (the comma is taken), else `close` is next. */
static enum hone_status
separator(struct reader *r, char close, bool *more)
{
	const char c = peek(r);

	if (c != ',' && c != close)
		return fail(r, "expected ',' or '%c'", close);
	r->at++;
	*more = c == ',';
	return HONE_OK;
}

/* -1 when it is none. */
static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Four hex digits at r->at. */
static bool
hex4(struct reader *r, uint32_t *out)
{
	uint32_t u = 0;

	if (r->n - r->at < 4)
		return false;
	for (int i = 0; i < 4; i++) {
		const int digit = hex_digit(r->text[r->at + (size_t)i]);

		if (digit < 0)
			return false;
		u = u << 4 | (uint32_t)digit;
	}
	r->at += 4;
	*out = u;
	return true;
}

/* \uXXXX, a surrogate pair as one code point; r->at is behind the 'u'. */
static enum hone_status
read_unicode_escape(struct reader *r, struct hn_str *out)
{
	uint32_t high, low;

	if (!hex4(r, &high))
		return fail(r, "\\u needs four hexadecimal digits");
	if (high >= 0xd800 && high < 0xdc00) {
		if (r->n - r->at < 6 || r->text[r->at] != '\\' || r->text[r->at + 1] != 'u')
			return fail(r, "half of a surrogate pair");
		r->at += 2;
		if (!hex4(r, &low) || low < 0xdc00 || low > 0xdfff)
			return fail(r, "half of a surrogate pair");
		high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
	} else if ((high >= 0xdc00 && high < 0xe000) || high == 0) {
		return fail(r, "\\u%04x is not a character", (unsigned)high);
	}
	hn_str_put_utf8(out, high);
	return HONE_OK;
}

/* r->at is behind the backslash. */
static enum hone_status
read_escape(struct reader *r, struct hn_str *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char c = r->at < r->n ? r->text[r->at++] : '\0';
	const char *found = c ? strchr(from, c) : NULL;

	if (c == 'u')
		return read_unicode_escape(r, out);
	if (!found)
		return fail(r, "unknown escape in a string");
	hn_str_putc(out, to[found - from]);
	return HONE_OK;
}

/* A decoded string, NUL-terminated, in `out`; U+0000 cannot be in it (read_unicode_escape), so
 * strlen is its length.  UTF-8 was checked for the whole text before. */
static enum hone_status
read_string(struct reader *r, struct hn_str *out)
{
	enum hone_status st = expect(r, '"');

	hn_str_clear(out);
	hn_str_add(out, "", 0);
	while (!st) {
		const size_t from = r->at;

		while (r->at < r->n && r->text[r->at] != '"' && r->text[r->at] != '\\' &&
			(unsigned char)r->text[r->at] >= 0x20)
			r->at++;
		hn_str_add(out, r->text + from, r->at - from);
		if (r->at >= r->n)
			return fail(r, "a string does not end");
		if (r->text[r->at] == '"') {
			r->at++;
			return HONE_OK;
		}
		if (r->text[r->at] != '\\')
			return fail(r, "a control character in a string");
		r->at++;
		st = read_escape(r, out);
	}
	return st;
}

/* Digits up to 2^63 - 1: neither a dimension nor an offset can be larger.  "4.0", "4e0", "-4" and
 * "04" are refused, as the reference does, instead of being understood somehow. */
static enum hone_status
read_integer(struct reader *r, uint64_t *out)
{
	uint64_t u = 0;
	size_t from;

	(void)peek(r);
	from = r->at;
	while (r->at < r->n && r->text[r->at] >= '0' && r->text[r->at] <= '9') {
		if (__builtin_mul_overflow(u, 10, &u) ||
			__builtin_add_overflow(u, (uint64_t)(r->text[r->at] - '0'), &u) ||
			u > INT64_MAX)
			return fail(r, "a number of tensor \"%.100s\" is too large", r->key.text);
		r->at++;
	}
	if (r->at == from || (r->text[from] == '0' && r->at > from + 1) ||
		(r->at < r->n &&
			(r->text[r->at] == '.' || r->text[r->at] == 'e' || r->text[r->at] == 'E')))
		return fail(r,
			"shape and data_offsets of tensor \"%.100s\" take whole numbers "
			"that are not negative",
			r->key.text);
	*out = u;
	return HONE_OK;
}

/* [a, b, ...] of at most `cap` numbers. */
static enum hone_status
read_integers(struct reader *r, uint64_t *out, uint32_t cap, uint32_t *n)
{
	enum hone_status st = expect(r, '[');
	bool more = true;

	*n = 0;
	if (!st && peek(r) == ']') {
		r->at++;
		return HONE_OK;
	}
	while (!st && more) {
		if (*n == cap)
			return fail(r, "%.100s of tensor \"%.100s\" has more than %u numbers",
				r->member.text, r->key.text, (unsigned)cap);
		st = read_integer(r, &out[(*n)++]);
		if (!st)
			st = separator(r, ']', &more);
	}
	return st;
}

enum member { MEMBER_DTYPE = 1, MEMBER_SHAPE = 2, MEMBER_OFFSETS = 4, MEMBER_ALL = 7 };

/* [] is a scalar. */
static enum hone_status
read_shape(struct reader *r, struct hn_st_entry *entry)
{
	uint64_t dim[HN_TENSOR_MAX_RANK];
	enum hone_status st = read_integers(r, dim, HN_TENSOR_MAX_RANK, &entry->rank);

	for (uint32_t i = 0; !st && i < entry->rank; i++)
		entry->dim[i] = (int64_t)dim[i]; /* read_integer stops at INT64_MAX */
	return st;
}

/* Exactly [begin, end]. */
static enum hone_status
read_offsets(struct reader *r, struct hn_st_entry *entry)
{
	uint64_t offsets[2];
	uint32_t n;
	enum hone_status st = read_integers(r, offsets, 2, &n);

	if (st)
		return st;
	if (n != 2)
		return fail(r, "data_offsets of tensor \"%.100s\" needs two numbers", r->key.text);
	entry->begin = offsets[0];
	entry->end = offsets[1];
	return HONE_OK;
}

/* One "member": value of a tensor; `seen` collects which were there. */
static enum hone_status
read_member(struct reader *r, struct hn_st_entry *entry, unsigned *seen)
{
	enum hone_status st = read_string(r, &r->member);
	unsigned which;

	if (st || (st = expect(r, ':')))
		return st;
	which = hn_streq(r->member.text, "dtype")          ? MEMBER_DTYPE
		: hn_streq(r->member.text, "shape")        ? MEMBER_SHAPE
		: hn_streq(r->member.text, "data_offsets") ? MEMBER_OFFSETS
							   : 0;
	if (which == 0)
		return fail(r, "unknown member \"%.100s\" of tensor \"%.100s\"", r->member.text,
			r->key.text);
	if (*seen & which)
		return fail(r, "\"%.100s\" of tensor \"%.100s\" stands there twice", r->member.text,
			r->key.text);
	*seen |= which;
	if (which == MEMBER_DTYPE)
		return read_string(r, &r->value);
	return which == MEMBER_SHAPE ? read_shape(r, entry) : read_offsets(r, entry);
}

/* {"dtype": ..., "shape": ..., "data_offsets": ...} of the tensor in r->key. */
static enum hone_status
read_tensor(struct reader *r, const struct hn_st_handler *handler)
{
	struct hn_st_entry entry = {.name = r->key.text, .name_len = r->key.len};
	enum hone_status st = expect(r, '{');
	unsigned seen = 0;
	bool more = true;

	while (!st && more) {
		st = read_member(r, &entry, &seen);
		if (!st)
			st = separator(r, '}', &more);
	}
	if (st)
		return st;
	if (seen != MEMBER_ALL)
		return fail(r, "tensor \"%.100s\" lacks %s", r->key.text,
			!(seen & MEMBER_DTYPE)           ? "dtype"
				: !(seen & MEMBER_SHAPE) ? "shape"
							 : "data_offsets");
	entry.dtype = r->value.text;
	return handler->tensor(handler->ctx, &entry, r->err);
}

/* {"text": "text", ...} */
static enum hone_status
read_metadata(struct reader *r, const struct hn_st_handler *handler)
{
	enum hone_status st = expect(r, '{');
	bool more = true;

	if (!st && peek(r) == '}') {
		r->at++;
		return HONE_OK;
	}
	while (!st && more) {
		st = read_string(r, &r->member);
		if (!st)
			st = expect(r, ':');
		if (!st && peek(r) != '"')
			return fail(
				r, "\"%.100s\" of __metadata__ is not a string", r->member.text);
		if (!st)
			st = read_string(r, &r->value);
		if (!st)
			st = handler->meta(handler->ctx, r->member.text, r->member.len,
				r->value.text, r->value.len, r->err);
		if (!st)
			st = separator(r, '}', &more);
	}
	return st;
}

/* The object of all tensors.  A tensor that is named twice is found where tensors are added. */
static enum hone_status
read_header(struct reader *r, const struct hn_st_handler *handler)
{
	enum hone_status st = expect(r, '{');
	bool more = true, has_metadata = false;

	if (!st && peek(r) == '}') {
		r->at++;
		more = false;
	}
	while (!st && more) {
		st = read_string(r, &r->key);
		if (!st)
			st = expect(r, ':');
		if (!st && hn_streq(r->key.text, "__metadata__")) {
			if (has_metadata)
				return fail(r, "__metadata__ stands there twice");
			has_metadata = true;
			st = read_metadata(r, handler);
		} else if (!st) {
			st = read_tensor(r, handler);
		}
		if (!st)
			st = separator(r, '}', &more);
	}
	if (!st && (peek(r) || r->at < r->n))
		st = fail(r, "text after the closing brace");
	return st;
}

/* UTF-8 is checked once for the whole text: afterwards bytes are bytes. */
enum hone_status
hn_st_header_read(const char *text, size_t n, const char *path, const struct hn_st_handler *handler,
	struct hone_error *err)
{
	struct reader r = {.text = text, .n = n, .path = path, .err = err};
	enum hone_status st;

	if (n == 0 || text[0] != '{')
		return fail(&r, "it does not begin with '{'; is this a safetensors file?");
	r.at = hn_utf8_check(text, n);
	if (r.at != n)
		return fail(&r, "not UTF-8");
	r.at = 0;
	st = read_header(&r, handler);
	hn_str_fini(&r.key);
	hn_str_fini(&r.member);
	hn_str_fini(&r.value);
	return st;
}
