/*
 * template_filter.c - the filters of a chat template that make texts and numbers.
 *
 * A filter is a function of a value and named arguments.  Those of texts take any value and
 * begin with its str(); numbers are read from texts as Python's int() and float() read them.
 * The filters of sequences are in template_sequence.c.
 */
#include <math.h>
#include <string.h>

#include "text/template_impl.h"

/* str(v), as most filters on strings begin. */
struct tv
tpl_soft_str(struct tpl_render *r, const struct tv *v)
{
	return v->kind == TV_STR ? *v : tv_to_str(r, v);
}

bool
tpl_flag_of(const struct tv *arg, bool missing)
{
	return arg->kind == TV_ABSENT ? missing : tv_truth(arg);
}

/* An optional int argument. */
int64_t
tpl_int_of(struct tpl_render *r, const struct tv *arg, int64_t missing, const char *what)
{
	if (arg->kind == TV_ABSENT || arg->kind == TV_NONE)
		return missing;
	if (arg->kind != TV_INT && arg->kind != TV_BOOL) {
		tpl_fail(r, "%s takes an int, not a %s", what, tv_type_name(arg));
		return missing;
	}
	return arg->kind == TV_BOOL ? arg->b : arg->i;
}

/* ---- strings ---- */

static struct tv
filter_trim(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	struct tv text = tpl_soft_str(r, v);

	return text_strip(r, &text, &arg[0], TEXT_BOTH);
}

static struct tv
filter_lower(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	struct tv text = tpl_soft_str(r, v);

	(void)arg;
	return text_case(r, &text, CASE_LOWER);
}

static struct tv
filter_upper(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	struct tv text = tpl_soft_str(r, v);

	(void)arg;
	return text_case(r, &text, CASE_UPPER);
}

static struct tv
filter_capitalize(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	struct tv text = tpl_soft_str(r, v);

	(void)arg;
	return text_case(r, &text, CASE_CAPITALIZE);
}

static struct tv
filter_title(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	struct tv text = tpl_soft_str(r, v);

	(void)arg;
	return text_case(r, &text, CASE_TITLE_FILTER);
}

static struct tv
filter_string(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)arg;
	return tpl_soft_str(r, v);
}

/* Marks a text as markup: + then escapes what it is joined with. */
static struct tv
filter_safe(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	struct tv text = tpl_soft_str(r, v);

	(void)arg;
	text.flag = text.kind == TV_STR;
	return text;
}

static struct tv
filter_escape(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	struct tv text = tpl_soft_str(r, v);

	(void)arg;
	return r->status ? tv_undefined() : text_escape(r, &text);
}

/* str() of all three, so numbers may be given. */
static struct tv
filter_replace(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	struct tv text = tpl_soft_str(r, v), old = tpl_soft_str(r, &arg[0]),
		  by = tpl_soft_str(r, &arg[1]);

	if (r->status)
		return tv_undefined();
	return text_replace(r, &text, &old, &by, tpl_int_of(r, &arg[2], -1, "replace"));
}

/* Lines but the first (and empty ones) get an indent of blanks or of a given str. */
static struct tv
filter_indent(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	const bool first = tpl_flag_of(&arg[1], false), blank = tpl_flag_of(&arg[2], false);
	struct tv text = tpl_soft_str(r, v), lines;
	struct hn_str out = {0}, pad = {0};

	if (arg[0].kind == TV_STR)
		hn_str_add(&pad, arg[0].text, arg[0].len);
	else
		for (int64_t i = tpl_int_of(r, &arg[0], 4, "indent"); i > 0 && tpl_spend(r, 0); i--)
			hn_str_putc(&pad, ' ');
	lines = text_lines(r, &text);
	/* Jinja2 adds a newline before it splits, so there is always a line, and an end of
	 * line at the text's end makes an empty last one. */
	if (!r->status && (!text.len || text.text[text.len - 1] == '\n'))
		tv_seq_push(r, lines.seq, tv_str("", 0));
	for (size_t i = 0; !r->status && i < lines.seq->n; i++) {
		const struct tv *line = &lines.seq->items[i];

		if (i)
			hn_str_putc(&out, '\n');
		if (i ? blank || line->len : first)
			hn_str_add(&out, pad.text ? pad.text : "", pad.len);
		hn_str_add(&out, line->text, line->len);
		if (!tpl_spend(r, pad.len) || out.len > r->limits.mem_bytes)
			tpl_fail(r, "indent makes too long a text");
	}
	hn_str_fini(&pad);
	return tv_str_take(r, &out);
}

/* The signature is that of transformers, not that of Jinja2. */
static struct tv
filter_tojson(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	struct json_style style = {.ensure_ascii = tpl_flag_of(&arg[0], false),
		.sort_keys = tpl_flag_of(&arg[3], false),
		.indent = tpl_int_of(r, &arg[1], -1, "tojson"),
		.key_separator = tv_str(": ", 2)};
	const struct tv_seq *pair = arg[2].kind == TV_SEQ ? arg[2].seq : NULL;
	struct hn_str out = {0};

	if (style.indent > 64)
		tpl_fail(r, "an indent of more than 64 is not offered");
	style.item_separator = style.indent < 0 ? tv_str(", ", 2) : tv_str(",", 1);
	if (pair && pair->n == 2 && pair->items[0].kind == TV_STR &&
		pair->items[1].kind == TV_STR) {
		style.item_separator = pair->items[0];
		style.key_separator = pair->items[1];
	} else if (arg[2].kind != TV_ABSENT && arg[2].kind != TV_NONE) {
		tpl_fail(r, "the separators of tojson are two strs");
	}
	tv_put_json(r, &out, v, &style);
	return tv_str_take(r, &out);
}

/* ---- numbers ---- */

/* The number that a text is for Python's int() or float(); false when it is none. */
static bool
parse_number(struct tpl_render *r, const struct tv *text, struct tv *out)
{
	const struct tv none = {.kind = TV_ABSENT};
	struct tv trimmed = text_strip(r, text, &none, TEXT_BOTH);
	char buffer[64];
	const char *number = buffer;

	if (!trimmed.len)
		return false;
	if (trimmed.len >= sizeof buffer || memchr(trimmed.text, '_', trimmed.len)) {
		tpl_fail(r, "a number written like this is not offered");
		return false;
	}
	memcpy(buffer, trimmed.text, trimmed.len);
	buffer[trimmed.len] = 0;
	if (strspn(buffer, "0123456789+-.eE") != trimmed.len)
		return false;
	if (*number == '+' && number[1] != '-' && number[1] != '+')
		number++;
	if (hn_parse_i64(number, &out->i)) {
		out->kind = TV_INT;
		return true;
	}
	out->kind = TV_FLOAT;
	return hn_parse_f64(number, &out->f);
}

bool
tpl_is_undefined(struct tpl_render *r, const struct tv *v)
{
	if (v->kind == TV_UNDEFINED && !r->status)
		tpl_fail(r, "%s\"%.*s\" is undefined", v->flag ? "the attribute " : "",
			(int)(v->len < 80 ? v->len : 80), v->text);
	return r->status != HONE_OK;
}

/* Texts by way of float where they are no int: "1.9" is 1; else the default. */
static struct tv
filter_int(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	struct tv number = *v;
	const struct tv fallback = arg[0].kind == TV_ABSENT ? tv_int(0) : arg[0];

	if (tpl_int_of(r, &arg[1], 10, "int") != 10)
		tpl_fail(r, "int with a base other than 10 is not offered");
	if (tpl_is_undefined(r, v))
		return tv_undefined();
	if (v->kind == TV_STR && !parse_number(r, v, &number))
		return fallback;
	if (number.kind == TV_BOOL)
		return tv_int(number.b);
	if (number.kind == TV_INT)
		return number;
	if (number.kind != TV_FLOAT || !isfinite(number.f))
		return fallback;
	if (fabs(number.f) >= 9223372036854775807.0) {
		tpl_fail(r, "an int of more than 64 bits");
		return tv_undefined();
	}
	return tv_int((int64_t)number.f);
}

static struct tv
filter_float(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	struct tv number = *v;
	const struct tv fallback = arg[0].kind == TV_ABSENT ? tv_float(0) : arg[0];

	if (tpl_is_undefined(r, v) || (v->kind == TV_STR && !parse_number(r, v, &number)))
		return fallback;
	if (number.kind == TV_BOOL)
		return tv_float(number.b);
	if (number.kind == TV_INT)
		return tv_float((double)number.i);
	return number.kind == TV_FLOAT ? number : fallback;
}

static struct tv
filter_abs(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)arg;
	if (v->kind == TV_FLOAT)
		return tv_float(fabs(v->f));
	if (v->kind == TV_BOOL)
		return tv_int(v->b);
	if (v->kind != TV_INT || v->i == INT64_MIN) {
		tpl_fail(r, "abs takes a number, not a %s", tv_type_name(v));
		return tv_undefined();
	}
	return tv_int(v->i < 0 ? -v->i : v->i);
}

/* Rounds to the nearest decimal of the exact value, halves to even, as Python does; the C
 * library prints decimals with the same rule. */
static struct tv
filter_round(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	const int64_t digits = tpl_int_of(r, &arg[0], 0, "round");
	char text[400];
	double rounded = 0;

	if (arg[1].kind != TV_ABSENT && !tv_equals_text(&arg[1], "common"))
		tpl_fail(r, "round offers the method \"common\" only");
	if (digits < 0 || digits > 30)
		tpl_fail(r, "round to 0 to 30 digits only");
	if (v->kind == TV_INT || r->status)
		return *v;
	if (v->kind != TV_FLOAT) {
		tpl_fail(r, "round takes a number, not a %s", tv_type_name(v));
		return tv_undefined();
	}
	(void)snprintf(text, sizeof text, "%.*f", (int)digits, v->f);
	return tv_float(isfinite(v->f) && hn_parse_f64(text, &rounded) ? rounded : v->f);
}

static const struct tpl_filter filters[] = {
	{"abs", "", filter_abs, NULL},
	{"capitalize", "", filter_capitalize, NULL},
	{"e", "", filter_escape, NULL},
	{"escape", "", filter_escape, NULL},
	{"float", "default", filter_float, NULL},
	{"indent", "width first blank", filter_indent, NULL},
	{"int", "default base", filter_int, NULL},
	{"lower", "", filter_lower, NULL},
	{"replace", "old new count", filter_replace, NULL},
	{"round", "precision method", filter_round, NULL},
	{"safe", "", filter_safe, NULL},
	{"string", "", filter_string, NULL},
	{"title", "", filter_title, NULL},
	{"tojson", "ensure_ascii indent separators sort_keys", filter_tojson, NULL},
	{"trim", "chars", filter_trim, NULL},
	{"upper", "", filter_upper, NULL},
};

const struct tpl_filter *
tpl_filter_find(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++)
		if (strlen(filters[i].name) == len && !memcmp(filters[i].name, name, len))
			return &filters[i];
	return tpl_sequence_filter_find(name, len);
}

/* Named parameters are laid out here; "*" filters read their own. */
struct tv
tpl_filter_apply(struct tpl_render *r, const struct tpl_filter *filter, const struct tv *v,
	const struct tv_args *args)
{
	struct tv bound[TPL_ARGS_MAX];
	struct tv out;

	if (r->status)
		return tv_undefined();
	if (filter->fn_any)
		out = filter->fn_any(r, v, args);
	else if (tpl_bind(r, filter->name, filter->params, args, bound))
		out = filter->fn(r, v, bound);
	else
		out = tv_undefined();
	return r->status ? tv_undefined() : out;
}
