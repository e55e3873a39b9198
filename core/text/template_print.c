/*
 * template_print.c - values as text: Python's str() and repr(), and json.dumps().
 *
 * str of a string is itself, of anything else its repr: True, None, 1e-05, ['a', "it's"],
 * {'k': (1,)}.  JSON is that of transformers' tojson: ensure_ascii off unless asked for, no
 * HTML escapes, ", " and ": " between items, and a newline per item with an indent.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/template_impl.h"

/* The digits of the shortest text that reads back as f, and the power of ten of the first. */
static int
shortest_digits(double f, char digits[32])
{
	char text[40];
	double back;
	int n = 0, exponent = 0;

	for (int precision = 0; precision <= 17; precision++) {
		(void)snprintf(text, sizeof text, "%.*e", precision, f);
		if (hn_parse_f64(text, &back) && back == f)
			break;
	}
	for (const char *c = text; *c && *c != 'e'; c++)
		if (*c >= '0' && *c <= '9')
			digits[n++] = *c;
	digits[n] = 0;
	const char *e = strchr(text, 'e');

	for (const char *c = e ? e + 2 : ""; *c >= '0' && *c <= '9'; c++)
		exponent = exponent * 10 + (*c - '0');
	while (n > 1 && digits[n - 1] == '0')
		digits[--n] = 0;
	return e && e[1] == '-' ? -exponent : exponent;
}

/* float.__repr__: plain between 1e-4 and 1e16, else with an exponent. */
void
tv_put_float(struct hn_str *out, double f)
{
	char digits[32];
	int n, exponent;

	if (!isfinite(f)) {
		hn_str_puts(out, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
		return;
	}
	if (signbit(f))
		hn_str_putc(out, '-');
	exponent = shortest_digits(fabs(f), digits);
	n = (int)strlen(digits);
	if (exponent < -4 || exponent >= 16) {
		hn_str_putc(out, digits[0]);
		if (n > 1)
			hn_str_printf(out, ".%s", digits + 1);
		hn_str_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
		return;
	}
	if (exponent < 0) {
		hn_str_printf(out, "0.%.*s%s", -exponent - 1, "0000", digits);
		return;
	}
	for (int i = 0; i < n || i <= exponent; i++) {
		if (i == exponent + 1)
			hn_str_putc(out, '.');
		hn_str_putc(out, i < n ? digits[i] : '0');
	}
	if (n <= exponent + 1)
		hn_str_puts(out, ".0");
}

/* str.isprintable for one code point. */
static bool
is_printable(uint32_t c)
{
	switch (utf8proc_category((utf8proc_int32_t)c)) {
	case UTF8PROC_CATEGORY_CC:
	case UTF8PROC_CATEGORY_CF:
	case UTF8PROC_CATEGORY_CS:
	case UTF8PROC_CATEGORY_CO:
	case UTF8PROC_CATEGORY_CN:
	case UTF8PROC_CATEGORY_ZL:
	case UTF8PROC_CATEGORY_ZP:
		return false;
	case UTF8PROC_CATEGORY_ZS:
		return c == ' ';
	default:
		return true;
	}
}

/* repr of a string: single quotes unless only a single quote is inside. */
static void
put_repr_text(struct hn_str *out, const char *text, size_t len)
{
	const bool has_single = memchr(text, '\'', len) != NULL;
	const char quote = has_single && !memchr(text, '"', len) ? '"' : '\'';
	uint32_t c;

	hn_str_putc(out, quote);
	for (size_t i = 0, n; i < len; i += n) {
		n = text_next(text + i, len - i, &c);
		if (c == (uint32_t)quote || c == '\\')
			hn_str_printf(out, "\\%c", (char)c);
		else if (c == '\n' || c == '\r' || c == '\t')
			hn_str_puts(out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
		else if (is_printable(c))
			hn_str_add(out, text + i, n);
		else
			hn_str_printf(out,
				c < 0x100             ? "\\x%02x"
					: c < 0x10000 ? "\\u%04x"
						      : "\\U%08x",
				(unsigned)c);
	}
	hn_str_putc(out, quote);
}

static void put_repr(struct tpl_render *r, struct hn_str *out, const struct tv *v, int depth);

static void
put_repr_items(struct tpl_render *r, struct hn_str *out, const struct tv_seq *seq, int depth)
{
	const bool is_tuple = seq->kind == SEQ_TUPLE;

	hn_str_putc(out, is_tuple ? '(' : '[');
	for (size_t i = 0; i < seq->n && !r->status; i++) {
		if (i)
			hn_str_puts(out, ", ");
		put_repr(r, out, &seq->items[i], depth + 1);
	}
	hn_str_puts(out, is_tuple && seq->n == 1 ? ",)" : is_tuple ? ")" : "]");
}

static void
put_repr_dict(struct tpl_render *r, struct hn_str *out, const struct tv_dict *dict, int depth)
{
	hn_str_putc(out, '{');
	for (size_t i = 0; i < dict->n && !r->status; i++) {
		if (i)
			hn_str_puts(out, ", ");
		put_repr(r, out, &dict->items[i].key, depth + 1);
		hn_str_puts(out, ": ");
		put_repr(r, out, &dict->items[i].value, depth + 1);
	}
	hn_str_putc(out, '}');
}

/* Room for a text that is being built, which is not in the arena yet. */
static bool
has_room(struct tpl_render *r, const struct hn_str *out, int depth)
{
	if (depth > TPL_DEPTH_MAX)
		tpl_fail(r, "a value is nested too deeply to be printed");
	if (out->len > r->limits.mem_bytes - r->mem)
		tpl_fail(r, "rendering takes more than %llu bytes of memory",
			(unsigned long long)r->limits.mem_bytes);
	return tpl_spend(r, 0);
}

static void
put_repr(struct tpl_render *r, struct hn_str *out, const struct tv *v, int depth)
{
	if (!has_room(r, out, depth))
		return;
	switch ((enum tv_kind)v->kind) {
	case TV_NONE:
		hn_str_puts(out, "None");
		return;
	case TV_BOOL:
		hn_str_puts(out, v->b ? "True" : "False");
		return;
	case TV_INT:
		hn_str_printf(out, "%lld", (long long)v->i);
		return;
	case TV_FLOAT:
		tv_put_float(out, v->f);
		return;
	case TV_STR:
		if (v->flag)
			break;
		(void)tpl_spend(r, v->len);
		put_repr_text(out, v->text, v->len);
		return;
	case TV_UNDEFINED:
		hn_str_puts(out, "Undefined");
		return;
	case TV_SEQ:
		if (v->seq->kind > SEQ_TUPLE)
			break;
		put_repr_items(r, out, v->seq, depth);
		return;
	case TV_DICT:
		put_repr_dict(r, out, v->dict, depth);
		return;
	default:
		break;
	}
	tpl_fail(r, "a value of type %s has no text here; convert it, for example with | list",
		tv_type_name(v));
}

/* A text is its own str(); an undefined value is empty; anything else its repr. */
struct tv
tv_to_str(struct tpl_render *r, const struct tv *v)
{
	struct hn_str out = {0};

	if (v->kind == TV_STR)
		return *v;
	if (v->kind == TV_UNDEFINED)
		return tv_str("", 0);
	put_repr(r, &out, v, 0);
	return tv_str_take(r, &out);
}

/* ---- JSON ---- */

/* Control characters by \u, the rest as it is unless ASCII is asked for. */
static void
put_json_text(struct hn_str *out, const char *text, size_t len, bool ensure_ascii)
{
	static const char letters[] = "\"\\\n\r\t\f\b", escapes[] = "\"\\nrtfb";
	const char *letter;
	uint32_t c;

	hn_str_putc(out, '"');
	for (size_t i = 0, n; i < len; i += n) {
		n = text_next(text + i, len - i, &c);
		letter = c && c < 0x80 ? strchr(letters, (int)c) : NULL;
		if (letter)
			hn_str_printf(out, "\\%c", escapes[letter - letters]);
		else if (c < 0x20 || (ensure_ascii && c >= 0x7f && c < 0x10000))
			hn_str_printf(out, "\\u%04x", (unsigned)c);
		else if (ensure_ascii && c >= 0x10000)
			hn_str_printf(out, "\\u%04x\\u%04x", 0xd7c0u + (unsigned)(c >> 10),
				0xdc00u + (unsigned)(c & 0x3ff));
		else
			hn_str_add(out, text + i, n);
	}
	hn_str_putc(out, '"');
}

struct json_out {
	struct tpl_render *r;
	struct hn_str *out;
	const struct json_style *style;
};

/* What stands before an item of a level: its newline and indent, and the separator. */
static void
put_json_gap(const struct json_out *j, bool is_first, int level)
{
	const struct json_style *style = j->style;

	if (!is_first)
		hn_str_add(j->out, style->item_separator.text, style->item_separator.len);
	if (style->indent < 0)
		return;
	hn_str_putc(j->out, '\n');
	for (int64_t i = 0; i < style->indent * level; i++)
		hn_str_putc(j->out, ' ');
}

static void put_json(const struct json_out *j, const struct tv *v, int level);

/* A dict's key: strings, and what json.dumps makes strings of. */
static void
put_json_key(const struct json_out *j, const struct tv *key)
{
	struct tv text;

	if (key->kind == TV_STR) {
		put_json(j, key, 0);
	} else if (key->kind == TV_BOOL || key->kind == TV_NONE) {
		hn_str_puts(j->out,
			key->kind == TV_NONE ? "\"null\""
				: key->b     ? "\"true\""
					     : "\"false\"");
	} else {
		text = tv_to_str(j->r, key);
		if (!j->r->status)
			put_json_text(j->out, text.text, text.len, j->style->ensure_ascii);
	}
}

static int
compare_keys(const void *a, const void *b)
{
	const struct tv *x = &((const struct tv_pair *)a)->key,
			*y = &((const struct tv_pair *)b)->key;
	const int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);

	return order ? order : x->len < y->len ? -1 : x->len > y->len;
}

/* The pairs in the order of their keys; `dict` itself is left alone. */
static const struct tv_pair *
sorted_pairs(const struct json_out *j, const struct tv_dict *dict)
{
	struct tv_pair *pairs = tpl_alloc(j->r, dict->n * sizeof *pairs);

	for (size_t i = 0; pairs && i < dict->n; i++) {
		pairs[i] = dict->items[i];
		if (pairs[i].key.kind != TV_STR) {
			tpl_fail(j->r, "sorting keys that are no strings is not offered");
			return NULL;
		}
	}
	if (pairs)
		qsort(pairs, dict->n, sizeof *pairs, compare_keys);
	return pairs;
}

/* An empty one has no newline inside, whatever the indent. */
static void
put_json_dict(const struct json_out *j, const struct tv_dict *dict, int level)
{
	const struct tv_pair *pairs = dict->items;

	if (!dict->n) {
		hn_str_puts(j->out, "{}");
		return;
	}
	if (j->style->sort_keys)
		pairs = sorted_pairs(j, dict);
	hn_str_putc(j->out, '{');
	for (size_t i = 0; i < dict->n && !j->r->status; i++) {
		put_json_gap(j, i == 0, level + 1);
		put_json_key(j, &pairs[i].key);
		hn_str_add(j->out, j->style->key_separator.text, j->style->key_separator.len);
		put_json(j, &pairs[i].value, level + 1);
	}
	put_json_gap(j, true, level);
	hn_str_putc(j->out, '}');
}

static void
put_json_list(const struct json_out *j, const struct tv_seq *seq, int level)
{
	if (!seq->n) {
		hn_str_puts(j->out, "[]");
		return;
	}
	hn_str_putc(j->out, '[');
	for (size_t i = 0; i < seq->n && !j->r->status; i++) {
		put_json_gap(j, i == 0, level + 1);
		put_json(j, &seq->items[i], level + 1);
	}
	put_json_gap(j, true, level);
	hn_str_putc(j->out, ']');
}

static void
put_json(const struct json_out *j, const struct tv *v, int level)
{
	if (!has_room(j->r, j->out, level))
		return;
	switch ((enum tv_kind)v->kind) {
	case TV_NONE:
		hn_str_puts(j->out, "null");
		return;
	case TV_BOOL:
		hn_str_puts(j->out, v->b ? "true" : "false");
		return;
	case TV_INT:
		hn_str_printf(j->out, "%lld", (long long)v->i);
		return;
	case TV_FLOAT:
		if (isfinite(v->f))
			tv_put_float(j->out, v->f);
		else
			hn_str_puts(j->out,
				isnan(v->f)        ? "NaN"
					: v->f < 0 ? "-Infinity"
						   : "Infinity");
		return;
	case TV_STR:
		(void)tpl_spend(j->r, v->len);
		put_json_text(j->out, v->text, v->len, j->style->ensure_ascii);
		return;
	case TV_SEQ:
		if (v->seq->kind > SEQ_TUPLE)
			break;
		put_json_list(j, v->seq, level);
		return;
	case TV_DICT:
		put_json_dict(j, v->dict, level);
		return;
	default:
		break;
	}
	if (v->kind == TV_UNDEFINED)
		tpl_fail(j->r, "\"%.*s\" is undefined and cannot be written as JSON",
			(int)(v->len < 80 ? v->len : 80), v->text);
	else
		tpl_fail(j->r, "a value of type %s cannot be written as JSON", tv_type_name(v));
}

void
tv_put_json(struct tpl_render *r, struct hn_str *out, const struct tv *v,
	const struct json_style *style)
{
	const struct json_out j = {.r = r, .out = out, .style = style};

	put_json(&j, v, 0);
}
