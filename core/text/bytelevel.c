/*
 * bytelevel.c - the alphabet of byte-level BPE: one printable character for each byte.
 *
 * Radford et al. 2019 (GPT-2) write vocabularies as text by giving each byte a character.
 * Printable Latin-1 (33-126, 161-172, 174-255) stands for itself; the other 68 bytes, in
 * increasing order, are U+0100, U+0101 and so on.  In closed form:
 *
 *     0-32 -> U+0100-U+0120     127-160 -> U+0121-U+0142     173 -> U+0143
 */
#include "text/parts.h"

enum { FIRST = 0x100, FIRST_DEL = 0x121, SOFT_HYPHEN = 0x143 };

uint32_t
hn_alphabet_char(uint8_t byte)
{
	if (byte <= 32)
		return FIRST + (uint32_t)byte;
	if (byte >= 127 && byte <= 160)
		return FIRST_DEL + (uint32_t)byte - 127;
	return byte == 173 ? SOFT_HYPHEN : byte;
}

int32_t
hn_alphabet_byte(uint32_t code_point)
{
	if (code_point > SOFT_HYPHEN)
		return -1;
	if (code_point == SOFT_HYPHEN)
		return 173;
	if (code_point >= FIRST_DEL)
		return (int32_t)(code_point - FIRST_DEL + 127);
	if (code_point >= FIRST)
		return (int32_t)(code_point - FIRST);
	return hn_alphabet_char((uint8_t)code_point) == code_point ? (int32_t)code_point : -1;
}

void
hn_alphabet_spell(struct hn_str *out, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		hn_str_put_utf8(out, hn_alphabet_char((uint8_t)bytes[i]));
}

bool
hn_alphabet_read(struct hn_str *out, const char *spelling, size_t n)
{
	const size_t start = out->len;

	for (size_t i = 0; i < n;) {
		uint32_t c = 0;
		const size_t width = hn_utf8_decode(spelling + i, n - i, &c);
		const int32_t byte = width ? hn_alphabet_byte(c) : -1;

		if (byte < 0) {
			out->len = start;
			if (out->text)
				out->text[start] = '\0';
			return false;
		}
		hn_str_putc(out, (char)(uint8_t)byte);
		i += width;
	}
	return true;
}
