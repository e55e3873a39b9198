/*
 * ini_write.c - values as ini.c reads them back: which can stand in a file at all, which need
 * quotes, and the escapes inside them.
 */
#include <string.h>

#include "config/ini.h"

static bool
is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* Whether the reader would trim, cut or unquote this value if it stood there bare. */
static bool
wants_quotes(const char *value)
{
	size_t n = strlen(value);

	if (n == 0 || value[0] == '"' || value[0] == ';' || is_space(value[0]) ||
		is_space(value[n - 1]))
		return true;
	return strpbrk(value, "\n\t") || strstr(value, " ;");
}

/* The inverse of read_quoted: escapes what ends the value or the line, and nothing else. */
void
hn_ini_put_quoted(struct hn_str *out, const char *value)
{
	hn_str_putc(out, '"');
	for (const char *c = value; *c; c++) {
		if (*c == '\n')
			hn_str_puts(out, "\\n");
		else if (*c == '\t')
			hn_str_puts(out, "\\t");
		else if (*c == '"' || *c == '\\')
			hn_str_printf(out, "\\%c", *c);
		else
			hn_str_putc(out, *c);
	}
	hn_str_putc(out, '"');
}

void
hn_ini_put_value(struct hn_str *out, const char *value)
{
	if (wants_quotes(value))
		hn_ini_put_quoted(out, value);
	else
		hn_str_puts(out, value);
}

enum hone_status
hn_ini_check_value(const char *value, struct hone_error *err)
{
	size_t n = strlen(value);

	if (n > HN_INI_VALUE_MAX)
		return hone_fail(err, HONE_ECONFIG, "the value is %zu bytes long, the limit is %u",
			n, HN_INI_VALUE_MAX);
	if (hn_utf8_check(value, n) != n)
		return hone_fail(err, HONE_ECONFIG, "the value is not UTF-8");
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)value[i];

		if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
			return hone_fail(err, HONE_ECONFIG,
				"a control character (byte 0x%02x) cannot stand in a value", c);
	}
	return HONE_OK;
}
