/*
 * option.c - texts to typed values.
 *
 * The number grammars are checked here, character by character, before hn_parse_i64 and
 * hn_parse_f64 see anything: so a message can point at what is left over, and what C's
 * parsers would let through (hex, nan, leading spaces) is refused.  Digits go through a small
 * buffer without their '_'; a text that does not fit it is refused rather than cut.
 *
 * What becomes of a value is in option_value.c; tables themselves are looked at in
 * option_table.c.
 */
#include "config/option.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "config/diagnostic.h"

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Both bounds zero say that there is no range. */
static bool
has_range(const struct hone_option *option)
{
	return option->min != 0 || option->max != 0;
}

/* Whether a number lies in the range; a bound belongs to it unless a flag opens it. */
static bool
is_in_range(const struct hone_option *option, double value)
{
	if (!has_range(option))
		return true;
	if (value < option->min || (value == option->min && option->flags & HONE_OPTION_OPEN_MIN))
		return false;
	return value < option->max ||
		(value == option->max && !(option->flags & HONE_OPTION_OPEN_MAX));
}

/* "key = value: reason".  The value is clipped: it may be a megabyte, or hold a newline. */
HONE_PRINTF(4, 5)
static enum hone_status
refuse(const struct hone_option *option, const char *text, struct hone_error *err, const char *fmt,
	...)
{
	struct hn_arena arena = {0};
	const char *hint = "";
	char reason[400];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(reason, sizeof reason, fmt, args);
	va_end(args);
	if (strstr(text, " #"))
		hint = " ('#' starts a comment only at a line's start; ' ;' does here)";
	(void)hone_fail(err, HONE_ECONFIG, "%s = %s: %s%s", option->key,
		hn_clip(&arena, text, strlen(text)), reason, hint);
	hn_arena_fini(&arena);
	return HONE_ECONFIG;
}

/* A bound, written as a person would: 4096 rather than 4096.0 or 4.096e3. */
static void
put_number(const struct hone_option *option, double value, struct hn_str *out)
{
	if (option->type == HONE_OPTION_F64 || fabs(value) >= 9e15)
		hn_str_put_f64(out, value);
	else
		hn_str_printf(out, "%.0f", value);
}

/* Also used by explain: the sentence of an error and of a page is the same one. */
void
hn_option_put_range(const struct hone_option *option, struct hn_str *out)
{
	bool has_min = option->min > -INFINITY, has_max = option->max < INFINITY;

	if (!has_range(option) || (!has_min && !has_max))
		return;
	hn_str_puts(out, "must be ");
	if (has_min) {
		hn_str_puts(out, option->flags & HONE_OPTION_OPEN_MIN ? "above " : "at least ");
		put_number(option, option->min, out);
	}
	if (has_min && has_max)
		hn_str_puts(out, " and ");
	if (has_max) {
		hn_str_puts(out, option->flags & HONE_OPTION_OPEN_MAX ? "below " : "at most ");
		put_number(option, option->max, out);
	}
}

/* Refuses a number outside its range; `meant` is "; did you mean ...", or "". */
static enum hone_status
refuse_range(const struct hone_option *option, const char *text, const char *meant,
	struct hone_error *err)
{
	struct hn_str range = {0};

	hn_option_put_range(option, &range);
	(void)refuse(option, text, err, "%s%s", range.text ? range.text : "is out of range", meant);
	hn_str_fini(&range);
	return HONE_ECONFIG;
}

/* yes, true, on and their opposites in any case: Python users write True. */
static enum hone_status
parse_bool(const struct hone_option *option, const char *text, struct hn_option_value *out,
	struct hone_error *err)
{
	static const char *const yes[] = {"yes", "true", "on"},
				 *const no[] = {"no", "false", "off"};

	for (size_t i = 0; i < 3; i++) {
		if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
			out->index = strcasecmp(text, yes[i]) == 0;
			return HONE_OK;
		}
	}
	return refuse(option, text, err, "must be yes or no");
}

/* Copies the digits of `text` from *at on, without single '_' between digits.  False when
 * there is no digit. */
static bool
copy_digits(const char *text, size_t *at, char *out, size_t *n, size_t max)
{
	size_t first = *n;

	while (is_digit(text[*at]) || (text[*at] == '_' && *n > first && is_digit(text[*at + 1]))) {
		if (text[*at] != '_' && *n < max)
			out[(*n)++] = text[*at];
		(*at)++;
	}
	return *n > first;
}

/* Refuses a number with something left over at `rest`; a decimal comma gets its own words. */
static enum hone_status
refuse_rest(const struct hone_option *option, const char *text, const char *rest,
	const char *wanted, struct hone_error *err)
{
	struct hn_arena arena = {0};

	if (*rest == ',' && is_digit(rest[1]))
		return refuse(option, text, err,
			"use a decimal point, or '_' between thousands; ',' separates lists");
	if (rest == text || (rest == text + 1 && (*text == '-' || *text == '+')))
		return refuse(option, text, err, "must be %s", wanted);
	(void)refuse(option, text, err, "must be %s; '%s' is left over", wanted,
		hn_clip(&arena, rest, strlen(rest)));
	hn_arena_fini(&arena);
	return HONE_ECONFIG;
}

/* [sign] digits, with single '_' between digits.  Out of 64 bits is out of range. */
static enum hone_status
parse_i64(const struct hone_option *option, const char *text, struct hn_option_value *out,
	struct hone_error *err)
{
	char digits[72];
	size_t at = 0, n = 0;

	if (text[at] == '-' || text[at] == '+') {
		if (text[at] == '-')
			digits[n++] = '-';
		at++;
	}
	if (!copy_digits(text, &at, digits, &n, sizeof digits - 1) || text[at])
		return refuse_rest(option, text, text + at, "a whole number", err);
	digits[n] = '\0';
	/* A full buffer may lack digits: such a number is above every range. */
	if (n == sizeof digits - 1 || !hn_parse_i64(digits, &out->i64))
		return refuse_range(option, text, "", err);
	if (!is_in_range(option, (double)out->i64))
		return refuse_range(option, text, "", err);
	return HONE_OK;
}

/* Reads [sign] digits [. digits] [e [sign] digits] into `out`; the offset behind it. */
static size_t
copy_decimal(const char *text, char *out, size_t max, bool *is_number, bool *has_exponent)
{
	size_t at = 0, n = 0, mark, mark_n;

	if (text[at] == '-' || text[at] == '+')
		out[n++] = text[at++];
	*is_number = copy_digits(text, &at, out, &n, max);
	if (text[at] == '.' && (*is_number || is_digit(text[at + 1]))) {
		if (n < max)
			out[n++] = '.';
		at++;
		*is_number |= copy_digits(text, &at, out, &n, max);
	}
	/* An 'e' without digits behind it is no exponent: step back, it is left over. */
	*has_exponent = false;
	if (*is_number && (text[at] == 'e' || text[at] == 'E') && n + 2 < max) {
		mark = at;
		mark_n = n;
		out[n++] = text[at++];
		if (text[at] == '-' || text[at] == '+')
			out[n++] = text[at++];
		*has_exponent = copy_digits(text, &at, out, &n, max);
		if (!*has_exponent) {
			at = mark;
			n = mark_n;
		}
	}
	out[n] = '\0';
	return at;
}

/* The text with its exponent negated, if that is in range: 2e4 was meant as 2e-4. */
static void
guess_exponent(const struct hone_option *option, const char *decimal, char *out, size_t size)
{
	char flipped[520];
	const char *e = strpbrk(decimal, "eE");
	double value;

	out[0] = '\0';
	if (!e || e[1] == '-')
		return;
	(void)snprintf(flipped, sizeof flipped, "%.*se-%s", (int)(e - decimal), decimal,
		e[1] == '+' ? e + 2 : e + 1);
	if (strlen(flipped) < 32 && hn_parse_f64(flipped, &value) && is_in_range(option, value) &&
		value >= 1e-12)
		(void)snprintf(out, size, "; did you mean %s?", flipped);
}

/* What computes has single precision.  A number that it takes for 0, for infinity, or for the
 * bound that it must keep away from (adam_beta2 = 0.999999999 is 1) would give a run that goes
 * wrong without a word of this key. */
static enum hone_status
check_single(
	const struct hone_option *option, const char *text, double value, struct hone_error *err)
{
	const float single = fabs(value) <= (double)FLT_MAX ? (float)value : INFINITY;

	if (value != 0 && fabsf(single) < FLT_MIN)
		return refuse(option, text, err,
			"is 0 in single precision; %smust be at least 1.2e-38",
			has_range(option) && option->min == 0 &&
					option->flags & HONE_OPTION_OPEN_MIN
				? ""
				: "if not 0, ");
	if (isinf(single))
		return refuse(option, text, err, "is above 3.4e38, the largest f32");
	if (has_range(option) &&
		((option->flags & HONE_OPTION_OPEN_MIN && (double)single <= option->min) ||
			(option->flags & HONE_OPTION_OPEN_MAX && (double)single >= option->max)))
		return refuse(option, text, err, "is %.9g in single precision; keep farther away",
			(double)single);
	return HONE_OK;
}

/* A decimal number, or one with '%' behind it.  10% becomes the text "10e-2" and not a
 * division, so it is the same double as 0.1. */
static enum hone_status
parse_f64(const struct hone_option *option, const char *text, struct hn_option_value *out,
	struct hone_error *err)
{
	char decimal[512], meant[64];
	bool is_number, has_exponent;
	size_t at = copy_decimal(text, decimal, sizeof decimal - 4, &is_number, &has_exponent);

	if (is_number && text[at] == '%' && !has_exponent) {
		memcpy(decimal + strlen(decimal), "e-2", 4);
		at++;
	}
	if (!is_number || text[at])
		return refuse_rest(
			option, text, text + at, "a number such as 2e-4, 0.5 or 10%", err);
	if (strlen(decimal) >= sizeof decimal - 5)
		return refuse(option, text, err, "has too many digits");
	if (!hn_parse_f64(decimal, &out->f64) || !isfinite(out->f64))
		return refuse(option, text, err, "does not fit a double");
	if (!is_in_range(option, out->f64)) {
		guess_exponent(option, decimal, meant, sizeof meant);
		return refuse_range(option, text, meant, err);
	}
	if (out->f64 == 0)
		out->f64 = 0; /* never -0 */
	return check_single(option, text, out->f64, err);
}

/* Factor of "", "B", "K", "KiB", "KB" ...; 0 for anything else. */
static double
unit_factor(const char *unit)
{
	static const char prefixes[] = "KMGT";
	const char *prefix;
	double power;

	if (*unit == '\0' || strcasecmp(unit, "B") == 0)
		return 1;
	prefix = strchr(prefixes, *unit >= 'a' && *unit <= 'z' ? *unit - 'a' + 'A' : *unit);
	if (!prefix || *prefix == '\0')
		return 0;
	power = (double)(prefix - prefixes + 1);
	if (unit[1] == '\0' || strcasecmp(unit + 1, "iB") == 0)
		return pow(1024, power);
	return strcasecmp(unit + 1, "B") == 0 ? pow(1000, power) : 0;
}

/* A number with a unit.  K, KiB are 1024; KB is 1000, as on a disk's label. */
static enum hone_status
parse_bytes(const struct hone_option *option, const char *text, struct hn_option_value *out,
	struct hone_error *err)
{
	char decimal[64];
	bool is_number, has_exponent;
	size_t at = copy_decimal(text, decimal, sizeof decimal - 4, &is_number, &has_exponent);
	double number = 0, factor;

	while (is_number && text[at] == ' ')
		at++;
	factor = is_number && !has_exponent ? unit_factor(text + at) : 0;
	if (has_exponent) /* 1e3 bytes: point at the 'e' */
		at = strcspn(text, "eE");
	if (factor == 0 || strlen(decimal) >= sizeof decimal - 5)
		return refuse_rest(option, text, text + at, "a size such as 512, 64K or 8GiB", err);
	/* Two ways: whole bytes as integers, everything else in double and then checked. */
	if (factor == 1 && !strchr(decimal, '.')) { /* whole bytes are exact to the last one */
		if (!hn_parse_i64(decimal[0] == '+' ? decimal + 1 : decimal, &out->i64))
			return refuse(option, text, err, "does not fit 64 bits");
	} else {
		if (!hn_parse_f64(decimal, &number) || !(fabs(number * factor) < 9.2e18))
			return refuse(option, text, err, "does not fit 64 bits");
		out->i64 = (int64_t)(number * factor);
		if ((double)out->i64 != number * factor)
			return refuse(option, text, err, "is not a whole number of bytes");
	}
	if (out->i64 < 0)
		return refuse(option, text, err, "must be at least 0");
	if (!is_in_range(option, (double)out->i64))
		return refuse_range(option, text, "", err);
	return HONE_OK;
}

/* One of the table's words, exactly. */
static enum hone_status
parse_choice(const struct hone_option *option, const char *text, struct hn_option_value *out,
	struct hone_error *err)
{
	struct hn_arena arena = {0};
	struct hn_str list = {0};
	const char **words, *near;
	size_t n = 0;

	if (hn_words_find(option->choices, text, &out->index))
		return HONE_OK;
	words = hn_words_split(option->choices, &arena, &n);
	for (size_t i = 0; i < n; i++)
		hn_str_printf(&list, "%s%s", i ? ", " : "", words[i]);
	near = n > 1 ? hn_nearest(text, words, n) : NULL;
	(void)refuse(option, text, err, "must be %s%s%s%s%s", n > 1 ? "one of " : "",
		list.text ? list.text : "", near ? "; did you mean " : "", near ? near : "",
		near ? "?" : "");
	hn_str_fini(&list);
	hn_arena_fini(&arena);
	return HONE_ECONFIG;
}

/* What a list trims. */
static bool
is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* One item from text[*at] to the next comma, trimmed; "\\," is a comma in it. */
static const char *
take_item(const char *text, size_t *at, struct hn_arena *arena)
{
	size_t first = *at, end = *at, n = 0;
	char *item;

	while (text[end] && !(text[end] == ',' && (end == first || text[end - 1] != '\\')))
		end++;
	*at = text[end] ? end + 1 : end;
	while (first < end && is_space(text[first]))
		first++;
	while (end > first && is_space(text[end - 1]))
		end--;
	item = hn_arena_alloc(arena, end - first + 1);
	for (size_t i = first; i < end; i++)
		if (text[i] != '\\' || text[i + 1] != ',' || i + 1 == end)
			item[n++] = text[i];
	item[n] = '\0';
	return item;
}

/* ["a", 'b'] or [a, b], as JSON and YAML write a list.  A regular expression may begin with a
 * bracket, too, but does not end with the same one's. */
static bool
is_bracketed(const char *text)
{
	const size_t n = strlen(text);

	return n > 1 && text[0] == '[' && text[n - 1] == ']' && !strchr(text + 1, '[');
}

/* The same list as one writes it here. */
static enum hone_status
refuse_brackets(const struct hone_option *option, const char *text, struct hone_error *err)
{
	struct hn_arena arena = {0};
	struct hn_str plain = {0};

	for (const char *c = text + 1; c[1]; c++)
		if (*c != '"' && *c != '\'')
			hn_str_putc(&plain, *c);
	(void)refuse(option, text, err, "a list is written without brackets and quotes: write %s",
		hn_clip(&arena, plain.text ? plain.text : "", plain.len));
	hn_str_fini(&plain);
	hn_arena_fini(&arena);
	return HONE_ECONFIG;
}

/* Items between commas.  An empty item is a comma too many, never an empty name. */
static enum hone_status
parse_list(const struct hone_option *option, const char *text,
	const struct hn_option_ground *ground, struct hn_option_value *out, struct hone_error *err)
{
	size_t n_max = 1, n = 0, at = 0;
	const char **items;

	if (*text == '\0')
		return HONE_OK; /* key = "" is the empty list */
	if (is_bracketed(text))
		return refuse_brackets(option, text, err);
	for (const char *c = text; *c; c++)
		n_max += *c == ',';
	items = hn_arena_array(ground->arena, n_max, sizeof *items);
	/* n_max counts every comma, also escaped ones: never too small. */
	do {
		items[n] = take_item(text, &at, ground->arena);
		if (*items[n] == '\0')
			return refuse(option, text, err, "item %zu of the list is empty", n + 1);
		n++;
	} while (text[at]);
	if (text[at - 1] == ',' && (at < 2 || text[at - 2] != '\\'))
		return refuse(option, text, err, "the list ends with a comma");
	out->list = (struct hone_strings){.n = (int64_t)n, .items = items};
	return HONE_OK;
}

/* A path from the folder of its file.  ".." stays: folding it would step over links. */
static enum hone_status
parse_path(const struct hone_option *option, const char *text,
	const struct hn_option_ground *ground, struct hn_option_value *out, struct hone_error *err)
{
	char *path;

	if (*text == '\0')
		return refuse(option, text, err, "the path is empty");
	if (text[0] == '~' && (text[1] == '/' || text[1] == '\0'))
		return refuse(option, text, err, "'~' is not expanded here; write the whole path");
	/* "./a" reads as "a", so both give one path and no difference on resume. */
	while (text[0] == '.' && text[1] == '/' && text[2] && text[2] != '/')
		text += 2;
	path = hn_path_join(ground->dir, text);
	out->text = hn_arena_strdup(ground->arena, path);
	free(path);
	return HONE_OK;
}

/* Kept as text, and resolved where the model is known. */
static enum hone_status
parse_sites(const struct hone_option *option, const char *text,
	const struct hn_option_ground *ground, struct hn_option_value *out, struct hone_error *err)
{
	struct hone_error why = {0};

	if (is_bracketed(text))
		return refuse_brackets(option, text, err);
	out->text = hn_arena_strdup(ground->arena, text);
	if (!ground->resolve)
		return HONE_OK;
	if (ground->resolve(ground->resolve_ctx, option, text, &out->resolved, &why))
		return refuse(option, text, err, "%s", why.text);
	return HONE_OK;
}

/* Adding a type?  Also store and put (option_value.c), member_bytes (option_table.c), type_name and json_type
 * (explain.c). */
enum hone_status
hn_option_parse(const struct hone_option *option, const char *text,
	const struct hn_option_ground *ground, struct hn_option_value *out, struct hone_error *err)
{
	*out = (struct hn_option_value){.is_absent = text == NULL};
	if (!text) {
		out->index = option->type == HONE_OPTION_CHOICE ? -1 : 0;
		return HONE_OK;
	}
	switch (option->type) {
	case HONE_OPTION_BOOL:
		return parse_bool(option, text, out, err);
	case HONE_OPTION_I64:
		return parse_i64(option, text, out, err);
	case HONE_OPTION_F64:
		return parse_f64(option, text, out, err);
	case HONE_OPTION_STRING:
		out->text = hn_arena_strdup(ground->arena, text);
		return HONE_OK;
	case HONE_OPTION_CHOICE:
		return parse_choice(option, text, out, err);
	case HONE_OPTION_LIST:
		return parse_list(option, text, ground, out, err);
	case HONE_OPTION_PATH:
		return parse_path(option, text, ground, out, err);
	case HONE_OPTION_BYTES:
		return parse_bytes(option, text, out, err);
	case HONE_OPTION_SITES:
	case HONE_OPTION_SITE_MAP:
		return parse_sites(option, text, ground, out, err);
	default:
		return hone_fail(err, HONE_EPLUGIN, "%s: option type %d is not known to this host",
			option->key, option->type);
	}
}
