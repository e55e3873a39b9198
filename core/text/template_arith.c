/*
 * template_arith.c - what the operators of a chat template give.
 *
 * Arithmetic is Python's on 64-bit ints (an overflow is refused) and doubles: / always gives
 * a float, // and % round down.  + joins two texts or two lists, * repeats one.
 */
#include <math.h>
#include <string.h>

#include "text/template_impl.h"

static bool
is_int(const struct tv *v)
{
	return v->kind == TV_INT || v->kind == TV_BOOL;
}

static bool
is_number(const struct tv *v)
{
	return is_int(v) || v->kind == TV_FLOAT;
}

static int64_t
as_int(const struct tv *v)
{
	return v->kind == TV_BOOL ? v->b : v->i;
}

static double
as_float(const struct tv *v)
{
	return v->kind == TV_FLOAT ? v->f : (double)as_int(v);
}

static struct tv
int_overflow(struct tpl_render *r)
{
	tpl_fail(r, "an int of more than 64 bits");
	return tv_undefined();
}

/* base ** exponent for exponent >= 0. */
static struct tv
int_power(struct tpl_render *r, int64_t base, int64_t exponent)
{
	int64_t out = 1;

	if (base == 0 || base == 1)
		return tv_int(exponent ? base : 1);
	if (base == -1)
		return tv_int(exponent % 2 ? -1 : 1);
	for (; exponent > 0; exponent--)
		if (__builtin_mul_overflow(out, base, &out))
			return int_overflow(r);
	return tv_int(out);
}

/* + - * // % of ints; b is not 0 for the last two.  C rounds towards zero, Python down. */
static struct tv
int_binary(struct tpl_render *r, int op, int64_t a, int64_t b)
{
	int64_t out = 0, rest;
	bool is_over;

	switch (op) {
	case '+':
		is_over = __builtin_add_overflow(a, b, &out);
		return is_over ? int_overflow(r) : tv_int(out);
	case '-':
		is_over = __builtin_sub_overflow(a, b, &out);
		return is_over ? int_overflow(r) : tv_int(out);
	case '*':
		is_over = __builtin_mul_overflow(a, b, &out);
		return is_over ? int_overflow(r) : tv_int(out);
	default:
		break;
	}
	if (a == INT64_MIN && b == -1)
		return int_overflow(r);
	rest = a % b;
	if (rest && (rest < 0) != (b < 0))
		return tv_int(op == '%' ? rest + b : a / b - 1);
	return tv_int(op == '%' ? rest : a / b);
}

/* a // b and a % b as Python's float does it. */
static struct tv
float_floor(int op, double a, double b)
{
	double rest = fmod(a, b), quotient = (a - rest) / b, floored;

	if (rest != 0 && (rest < 0) != (b < 0)) {
		rest += b;
		quotient -= 1;
	} else if (rest == 0) {
		rest = copysign(0.0, b);
	}
	if (op == '%')
		return tv_float(rest);
	if (quotient == 0)
		return tv_float(copysign(0.0, a / b));
	floored = floor(quotient);
	return tv_float(quotient - floored > 0.5 ? floored + 1 : floored);
}

/* Two numbers: ints stay ints but for / and a negative exponent. */
static struct tv
number_binary(struct tpl_render *r, int op, const struct tv *a, const struct tv *b)
{
	const double x = as_float(a), y = as_float(b);
	const bool is_power = op == TOK_PAIR('*', '*');
	const bool divides = op == '/' || op == '%' || op == TOK_PAIR('/', '/');

	if ((divides && y == 0) || (is_power && x == 0 && y < 0)) {
		tpl_fail(r, "division by zero");
		return tv_undefined();
	}
	if (is_power && x < 0 && y != floor(y)) {
		tpl_fail(r, "complex numbers are not offered");
		return tv_undefined();
	}
	if (is_int(a) && is_int(b) && is_power && as_int(b) >= 0)
		return int_power(r, as_int(a), as_int(b));
	if (is_int(a) && is_int(b) && op != '/' && !is_power)
		return int_binary(r, op, as_int(a), as_int(b));
	switch (op) {
	case '+':
		return tv_float(x + y);
	case '-':
		return tv_float(x - y);
	case '*':
		return tv_float(x * y);
	case '/':
		return tv_float(x / y);
	case TOK_PAIR('*', '*'):
		if (!isfinite(pow(x, y)) && isfinite(x) && isfinite(y))
			tpl_fail(r, "a float out of range");
		return tv_float(pow(x, y));
	default:
		return float_floor(op, x, y);
	}
}

/* A text or list n times. */
static struct tv
repeat(struct tpl_render *r, const struct tv *v, int64_t n)
{
	const uint64_t len = v->kind == TV_STR ? v->len : v->seq->n;
	struct tv out;
	char *text;

	if (n < 0 || !len)
		n = 0;
	if (n && (uint64_t)n > r->limits.mem_bytes / len) {
		tpl_fail(r, "a repetition of more than %llu bytes",
			(unsigned long long)r->limits.mem_bytes);
		return tv_undefined();
	}
	if (v->kind == TV_STR) {
		text = tpl_alloc(r, len * (uint64_t)n);
		for (int64_t i = 0; text && i < n; i++)
			memcpy(text + (uint64_t)i * len, v->text, len);
		out = tv_str(text ? text : "", text ? len * (uint64_t)n : 0);
		out.flag = v->flag;
		return out;
	}
	out = tv_seq_new(r, v->seq->kind, len * (size_t)n);
	for (size_t i = 0; i < len * (size_t)n && !r->status; i++)
		tv_seq_push(r, out.seq, v->seq->items[i % len]);
	return out;
}

/* Two texts in a row; beside markup the other one is escaped. */
static struct tv
join_two(struct tpl_render *r, struct tv a, struct tv b)
{
	const bool is_markup = a.flag || b.flag;
	struct tv out;
	char *text;

	if (is_markup) {
		a = text_escape(r, &a);
		b = text_escape(r, &b);
	}
	if (r->status)
		return tv_undefined();
	text = tpl_alloc(r, (uint64_t)a.len + b.len);
	if (!text)
		return tv_undefined();
	memcpy(text, a.text, a.len);
	memcpy(text + a.len, b.text, b.len);
	out = tv_str(text, (size_t)a.len + b.len);
	out.flag = is_markup;
	return out;
}

static bool
is_list(const struct tv *v)
{
	return v->kind == TV_SEQ && v->seq->kind <= SEQ_TUPLE;
}

static struct tv
join_lists(struct tpl_render *r, const struct tv_seq *a, const struct tv_seq *b)
{
	struct tv out = tv_seq_new(r, a->kind, a->n + b->n);

	for (size_t i = 0; i < a->n && !r->status; i++)
		tv_seq_push(r, out.seq, a->items[i]);
	for (size_t i = 0; i < b->n && !r->status; i++)
		tv_seq_push(r, out.seq, b->items[i]);
	return out;
}

/* Numbers first, then texts and lists. */
struct tv
tpl_binary(struct tpl_render *r, int op, const struct tv *a, const struct tv *b)
{
	if (is_number(a) && is_number(b))
		return number_binary(r, op, a, b);
	if (op == '+' && a->kind == TV_STR && b->kind == TV_STR)
		return join_two(r, *a, *b);
	if (op == '+' && is_list(a) && is_list(b) && a->seq->kind == b->seq->kind)
		return join_lists(r, a->seq, b->seq);
	if (op == '*' && (a->kind == TV_STR || is_list(a)) && is_int(b))
		return repeat(r, a, as_int(b));
	if (op == '*' && (b->kind == TV_STR || is_list(b)) && is_int(a))
		return repeat(r, b, as_int(a));
	if (op == '%' && a->kind == TV_STR)
		tpl_fail(r, "formatting with %% is not offered");
	else
		tpl_fail(r, "%c between a %s and a %s is not offered", op & 0xff, tv_type_name(a),
			tv_type_name(b));
	return tv_undefined();
}

struct tv
tpl_sign(struct tpl_render *r, bool is_minus, const struct tv *v)
{
	if (!is_number(v)) {
		tpl_fail(r, "a sign before a %s", tv_type_name(v));
		return tv_undefined();
	}
	if (v->kind == TV_FLOAT)
		return tv_float(is_minus ? -v->f : v->f);
	if (is_minus && as_int(v) == INT64_MIN)
		return int_overflow(r);
	return tv_int(is_minus ? -as_int(v) : as_int(v));
}
