/*
 * str.c - the growing string, strict UTF-8, numbers without a locale, distances of words.
 *
 * UTF-8 is that of Unicode 15, table 3-7: no surrogates, no overlong forms, nothing above
 * U+10FFFF.  Numbers are written and read in the "C" locale whatever the process has set,
 * because files must mean the same everywhere.
 */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/str.h"

#define REPLACEMENT 0xFFFDu

/* Room for n more bytes and the NUL. */
static void
reserve(struct hn_str *str, size_t n)
{
	size_t need;

	/* A wrapped sum asks for all of memory, which ends the process with its line. */
	if (__builtin_add_overflow(str->len, n, &need) || need == SIZE_MAX)
		need = SIZE_MAX - 1;
	str->text = hn_grow(str->text, &str->cap, need + 1, 1);
}

/* An empty string owns nothing, so fini of one that was never used is fine. */
void
hn_str_fini(struct hn_str *str)
{
	free(str->text);
	*str = (struct hn_str){0};
}

/* Keeps the memory for the next text. */
void
hn_str_clear(struct hn_str *str)
{
	str->len = 0;
	if (str->text)
		str->text[0] = '\0';
}

/* Bytes, not text: NULs are kept, and one stands behind them always. */
void
hn_str_add(struct hn_str *str, const char *text, size_t n)
{
	reserve(str, n);
	if (n)
		memcpy(str->text + str->len, text, n);
	str->len += n;
	str->text[str->len] = '\0';
}

void
hn_str_puts(struct hn_str *str, const char *text)
{
	hn_str_add(str, text, strlen(text));
}

void
hn_str_putc(struct hn_str *str, char c)
{
	hn_str_add(str, &c, 1);
}

/* Measured first, as reserve must know; the arguments are therefore walked twice. */
void
hn_str_printf(struct hn_str *str, const char *fmt, ...)
{
	va_list args, again;
	int n;

	va_start(args, fmt);
	va_copy(again, args);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	HONE_BUG_ON(n < 0);
	reserve(str, (size_t)n);
	(void)vsnprintf(str->text + str->len, (size_t)n + 1, fmt, again);
	va_end(again);
	str->len += (size_t)n;
}

/* What is no character becomes U+FFFD instead of bytes that nobody can read back. */
void
hn_str_put_utf8(struct hn_str *str, uint32_t code_point)
{
	char bytes[4];
	size_t n;

	if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF))
		code_point = REPLACEMENT;
	if (code_point < 0x80) {
		bytes[0] = (char)code_point;
		n = 1;
	} else if (code_point < 0x800) {
		bytes[0] = (char)(0xC0 | code_point >> 6);
		n = 2;
	} else if (code_point < 0x10000) {
		bytes[0] = (char)(0xE0 | code_point >> 12);
		n = 3;
	} else {
		bytes[0] = (char)(0xF0 | code_point >> 18);
		n = 4;
	}
	for (size_t i = 1; i < n; i++)
		bytes[i] = (char)(0x80 | (code_point >> (6 * (n - 1 - i)) & 0x3F));
	hn_str_add(str, bytes, n);
}

/* One ASCII character inside a JSON string. */
static void
put_json_ascii(struct hn_str *str, char c)
{
	static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
	const char *at = c ? strchr(from, c) : NULL;

	if (at) {
		hn_str_putc(str, '\\');
		hn_str_putc(str, to[at - from]);
	} else if ((unsigned char)c < 0x20) {
		hn_str_printf(str, "\\u%04x", (unsigned)c);
	} else {
		hn_str_putc(str, c);
	}
}

/* Each byte that is not UTF-8 becomes U+FFFD: the output is valid JSON for every input. */
void
hn_str_put_json(struct hn_str *str, const char *text, size_t n)
{
	uint32_t code_point = 0;

	hn_str_putc(str, '"');
	for (size_t i = 0; i < n;) {
		size_t bytes = hn_utf8_decode(text + i, n - i, &code_point);

		if (bytes == 1)
			put_json_ascii(str, text[i]);
		else if (bytes)
			hn_str_add(str, text + i, bytes);
		else
			hn_str_put_utf8(str, REPLACEMENT);
		i += bytes ? bytes : 1;
	}
	hn_str_putc(str, '"');
}

/* Controls, and the marks that turn the direction of what stands behind them. */
static bool
is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e) ||
		(c >= 0x2066 && c <= 0x2069);
}

void
hn_str_put_visible(struct hn_str *str, const char *text, const char *kept)
{
	const char *end = text + strlen(text);

	while (text < end) {
		uint32_t c = (unsigned char)*text;
		size_t n = hn_utf8_decode(text, (size_t)(end - text), &c);

		n = n ? n : 1; /* a byte that is no UTF-8 is judged by itself */
		if (is_control(c) && !(c < 0x80 && strchr(kept, (int)c)))
			hn_str_printf(str, "\\x%02x", (unsigned)c);
		else
			hn_str_add(str, text, n);
		text += n;
	}
}

/* Never NULL: an empty string is a NUL of its own, owned by the caller. */
char *
hn_str_take(struct hn_str *str)
{
	char *text;

	hn_str_add(str, "", 0);
	text = str->text;
	*str = (struct hn_str){0};
	return text;
}

/* Bytes of the first character of n, 0 where they are none. The second byte alone tells
 * overlong forms, surrogates and what lies above U+10FFFF; the value says the same, and
 * is simpler to be sure of. */
size_t
hn_utf8_decode(const char *text, size_t n, uint32_t *code_point)
{
	/* The smallest code point that needs so many bytes: less is overlong. */
	static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *byte = (const unsigned char *)text;
	uint32_t value;
	size_t len;

	if (!n)
		return 0;
	if (byte[0] < 0x80) {
		*code_point = byte[0];
		return 1;
	}
	if (byte[0] < 0xC2 || byte[0] > 0xF4)
		return 0;
	len = byte[0] < 0xE0 ? 2 : byte[0] < 0xF0 ? 3 : 4;
	if (len > n)
		return 0;
	value = byte[0] & (0x7Fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((byte[i] & 0xC0) != 0x80)
			return 0;
		value = value << 6 | (byte[i] & 0x3Fu);
	}
	if (value < least[len] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
		return 0;
	*code_point = value;
	return len;
}

/* How many bytes from the start are sound: n when all are. */
size_t
hn_utf8_check(const char *text, size_t n)
{
	uint32_t code_point;
	size_t at = 0, bytes;

	while (at < n && (bytes = hn_utf8_decode(text + at, n - at, &code_point)) > 0)
		at += bytes;
	return at;
}

bool
hn_streq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

bool
hn_starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool
hn_ends_with(const char *text, const char *suffix)
{
	size_t n = strlen(text), m = strlen(suffix);

	return n >= m && memcmp(text + n - m, suffix, m) == 0;
}

/* Not isdigit, which asks the locale. */
static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Counted downwards, because the least number has no positive twin. */
bool
hn_parse_i64(const char *text, int64_t *out)
{
	bool is_negative = *text == '-';
	int64_t value = 0;

	if (*text == '-' || *text == '+')
		text++;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (!is_digit(*text) || __builtin_mul_overflow(value, 10, &value) ||
			__builtin_sub_overflow(value, *text - '0', &value))
			return false;
	}
	if (!is_negative && value == INT64_MIN)
		return false;
	*out = is_negative ? value : -value;
	return true;
}

/* [+-] digits [. digits] [e [+-] digits], with a digit on one side of the point: neither
 * spaces nor hexadecimal nor names such as "nan". */
static bool
is_decimal(const char *text)
{
	size_t n_digits = 0;

	if (*text == '-' || *text == '+')
		text++;
	for (; is_digit(*text); text++)
		n_digits++;
	if (*text == '.')
		for (text++; is_digit(*text); text++)
			n_digits++;
	if (!n_digits)
		return false;
	if (*text == 'e' || *text == 'E') {
		text++;
		if (*text == '-' || *text == '+')
			text++;
		if (!is_digit(*text))
			return false;
		while (is_digit(*text))
			text++;
	}
	return !*text;
}

/* The C library's own constant object: asking for all of "C" allocates nothing. */
static locale_t
c_locale(void)
{
	locale_t locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);

	HONE_BUG_ON(!locale);
	return locale;
}

/* A number too small for a double is read as the nearest, which may be 0; one too large is
 * out of range. */
bool
hn_parse_f64(const char *text, double *out)
{
	locale_t locale;
	double value;

	if (!is_decimal(text))
		return false;
	locale = c_locale();
	value = strtod_l(text, NULL, locale);
	freelocale(locale);
	if (!isfinite(value))
		return false;
	*out = value;
	return true;
}

/* 15 digits survive every normal double's round trip from text, 17 always do; below DBL_MIN
 * fewer may be enough.  Not finite: "nan", "inf", "-inf", which JSON does not have. */
void
hn_str_put_f64(struct hn_str *str, double value)
{
	locale_t locale = c_locale(), old = uselocale(locale);
	char text[40];

	if (isnan(value))
		(void)snprintf(text, sizeof text, "nan");
	for (int digits = fabs(value) < DBL_MIN ? 1 : 15; !isnan(value) && digits <= 17; digits++) {
		(void)snprintf(text, sizeof text, "%.*g", digits, value);
		if (strtod_l(text, NULL, locale) == value)
			break;
	}
	(void)uselocale(old);
	freelocale(locale);
	hn_str_puts(str, text);
}

static size_t
least_of(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Optimal string alignment, three rows of the table at a time, on bytes. */
size_t
hn_edit_distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b), distance;
	size_t *rows = hn_alloc(3 * (m + 1) * sizeof *rows);
	size_t *before = rows, *above = rows + m + 1, *row = rows + 2 * (m + 1);

	for (size_t j = 0; j <= m; j++)
		row[j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t *oldest = before;

		before = above;
		above = row;
		row = oldest;
		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			row[j] = above[j - 1] + (a[i - 1] != b[j - 1]);
			row[j] = least_of(row[j], least_of(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least_of(row[j], before[j - 2] + 1);
		}
	}
	distance = row[m];
	free(rows);
	return distance;
}

/* Words whose lengths alone differ by too much are not compared, so a word of a hostile
 * length costs nothing.  The first of equally near ones wins. */
const char *
hn_nearest(const char *word, const char *const *words, size_t n)
{
	size_t len = strlen(word), limit = 1 + len / 4;
	const char *nearest = NULL;

	for (size_t i = 0; i < n; i++) {
		size_t other = strlen(words[i]), distance;

		if ((other > len ? other - len : len - other) > limit)
			continue;
		distance = hn_edit_distance(word, words[i]);
		if (distance <= limit && (!nearest || distance < limit)) {
			nearest = words[i];
			limit = distance;
		}
	}
	return nearest;
}
