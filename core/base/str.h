/*
 * base/str.h - a growing string, UTF-8 checks, and distances between words.
 */
#ifndef HN_BASE_STR_H
#define HN_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hone/status.h>

/* A growing byte string, always NUL-terminated once text is non-NULL.  A zeroed struct is
 * the empty string; fini frees it. */
struct hn_str {
	char *text;
	size_t len, cap;
};

void hn_str_fini(struct hn_str *str);
void hn_str_clear(struct hn_str *str); /* keeps the memory */
void hn_str_add(struct hn_str *str, const char *text, size_t n);
void hn_str_puts(struct hn_str *str, const char *text);
void hn_str_putc(struct hn_str *str, char c);
HONE_PRINTF(2, 3) void hn_str_printf(struct hn_str *str, const char *fmt, ...);
/* Appends a code point as UTF-8; an invalid one as U+FFFD. */
void hn_str_put_utf8(struct hn_str *str, uint32_t code_point);
/* Appends `text` (n bytes of UTF-8) as a JSON string with its quotes. */
void hn_str_put_json(struct hn_str *str, const char *text, size_t n);
/* Appends `text` with what could drive a terminal or forge a line made visible as \xNN: control
 * characters (C0, DEL, C1) and marks of direction.  ASCII ones in `kept` pass; bytes that are no
 * UTF-8 pass, unless a terminal takes them for C1. */
void hn_str_put_visible(struct hn_str *str, const char *text, const char *kept);
/* Moves the text out (never NULL) and leaves the empty string; the caller frees it. */
char *hn_str_take(struct hn_str *str);

/* Decodes one code point of strict UTF-8 (no surrogates, no overlongs) at text[0..n).
 * Returns its bytes, 0 when invalid or n = 0. */
size_t hn_utf8_decode(const char *text, size_t n, uint32_t *code_point);
/* Offset of the first invalid byte, or n when all is valid. */
size_t hn_utf8_check(const char *text, size_t n);

bool hn_streq(const char *a, const char *b);
bool hn_starts_with(const char *text, const char *prefix);
bool hn_ends_with(const char *text, const char *suffix);

/* Parse a whole string; false, and *out as it was, when anything is left over or out of
 * range: spaces, hexadecimal, "inf" and "nan" are refused.  Never locale dependent. */
bool hn_parse_i64(const char *text, int64_t *out);
bool hn_parse_f64(const char *text, double *out);

/* Appends the text of the fewest digits that reads back as the same double, as %g writes it
 * ("3", "0.1", "1e-05"), in any locale.  For JSON and INI, which have no words for numbers
 * that are not finite: those give "nan", "inf", "-inf", and the caller asks before. */
void hn_str_put_f64(struct hn_str *str, double value);

/* Damerau-Levenshtein distance (adjacent transpositions count one), for "did you mean". */
size_t hn_edit_distance(const char *a, const char *b);
/* The nearest of n words, or NULL when none is near enough (distance <= 1 + length / 4). */
const char *hn_nearest(const char *word, const char *const *words, size_t n);

#endif
