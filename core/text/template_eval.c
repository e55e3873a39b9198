/*
 * template_eval.c - evaluates the expressions of a chat template.
 *
 * Arithmetic is Python's on 64-bit ints (an overflow is refused) and doubles: / always gives
 * a float, // and % round down.  and, or and comparisons stop at the first operand that
 * decides.  An undefined value may be printed, tested, compared for equality, iterated and
 * joined with ~; anything else fails with its name.
 */
#include <math.h>
#include <string.h>

#include "text/template_impl.h"

/* Fails when v is undefined; true = failed. */
static bool
refuse_undefined(struct tpl_render *r, const struct tv *v)
{
	if (v->kind == TV_UNDEFINED && !r->status)
		tpl_fail(r, "%s\"%.*s\" is undefined", v->flag ? "the attribute " : "",
			(int)(v->len < 80 ? v->len : 80), v->text);
	return r->status != HONE_OK;
}

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

/* Numbers first, then texts and lists; both sides are evaluated before anything fails. */
static struct tv
eval_binary(struct tpl_render *r, const struct node *node)
{
	struct tv a = tpl_eval(r, node->a), b = tpl_eval(r, node->b);

	if (refuse_undefined(r, &a) || refuse_undefined(r, &b))
		return tv_undefined();
	if (is_number(&a) && is_number(&b))
		return number_binary(r, node->op, &a, &b);
	if (node->op == '+' && a.kind == TV_STR && b.kind == TV_STR)
		return join_two(r, a, b);
	if (node->op == '+' && is_list(&a) && is_list(&b) && a.seq->kind == b.seq->kind)
		return join_lists(r, a.seq, b.seq);
	if (node->op == '*' && (a.kind == TV_STR || is_list(&a)) && is_int(&b))
		return repeat(r, &a, as_int(&b));
	if (node->op == '*' && (b.kind == TV_STR || is_list(&b)) && is_int(&a))
		return repeat(r, &b, as_int(&a));
	if (node->op == '%' && a.kind == TV_STR)
		tpl_fail(r, "formatting with %% is not offered");
	else
		tpl_fail(r, "%c between a %s and a %s is not offered", node->op & 0xff,
			tv_type_name(&a), tv_type_name(&b));
	return tv_undefined();
}

/* a ~ b ~ c: str() of each; an undefined one is empty. */
static struct tv
eval_concat(struct tpl_render *r, const struct node *node)
{
	struct hn_str out = {0};

	for (size_t i = 0; i < node->n && !r->status; i++) {
		struct tv item = tpl_eval(r, node->list[i]);

		item = tv_to_str(r, &item);
		if (r->status)
			break;
		if (out.len + (uint64_t)item.len > r->limits.mem_bytes)
			tpl_fail(r, "~ makes too long a text");
		hn_str_add(&out, item.text, item.len);
	}
	return tv_str_take(r, &out);
}

/* a < b < c as a < b and b < c, each operand evaluated once. */
static struct tv
eval_compare(struct tpl_render *r, const struct node *node)
{
	struct tv left = tpl_eval(r, node->list[0]);

	for (size_t i = 1; i < node->n && !r->status; i++) {
		struct tv right = tpl_eval(r, node->list[i]);
		const enum cmp_op op = node->ops[i - 1];

		if (op >= CMP_LT && op <= CMP_GE &&
			(refuse_undefined(r, &left) || refuse_undefined(r, &right)))
			break;
		if (r->status || !tv_compare(r, op, &left, &right))
			return tv_bool(false);
		left = right;
	}
	return tv_bool(true);
}

static struct tv
eval_sign(struct tpl_render *r, const struct node *node)
{
	struct tv v = tpl_eval(r, node->a);

	if (refuse_undefined(r, &v))
		return v;
	if (!is_number(&v)) {
		tpl_fail(r, "a sign before a %s", tv_type_name(&v));
		return tv_undefined();
	}
	if (v.kind == TV_FLOAT)
		return tv_float(node->kind == NODE_NEG ? -v.f : v.f);
	if (node->kind == NODE_NEG && as_int(&v) == INT64_MIN)
		return int_overflow(r);
	return tv_int(node->kind == NODE_NEG ? -as_int(&v) : as_int(&v));
}

static struct tv
eval_sequence(struct tpl_render *r, const struct node *node)
{
	struct tv out = tv_seq_new(r, node->kind == NODE_LIST ? SEQ_LIST : SEQ_TUPLE, node->n);

	for (size_t i = 0; i < node->n && !r->status; i++)
		tv_seq_push(r, out.seq, tpl_eval(r, node->list[i]));
	return out;
}

static struct tv
eval_dict(struct tpl_render *r, const struct node *node)
{
	struct tv out = tv_dict_new(r, TV_DICT, node->n / 2);

	for (size_t i = 0; i + 1 < node->n && !r->status; i += 2) {
		struct tv key = tpl_eval(r, node->list[i]);

		tv_dict_put(r, out.dict, key, tpl_eval(r, node->list[i + 1]));
	}
	return out;
}

/* a[b] and a[b:c:d]. */
static struct tv
eval_item(struct tpl_render *r, const struct node *node)
{
	struct tv v = tpl_eval(r, node->a), bounds[3], key;

	if (node->b->kind != NODE_SLICE) {
		key = tpl_eval(r, node->b);
		return r->status ? v : tpl_get_item(r, &v, &key);
	}
	for (int i = 0; i < 3; i++)
		bounds[i] = node->b->list[i] ? tpl_eval(r, node->b->list[i])
					     : (struct tv){.kind = TV_ABSENT};
	if (refuse_undefined(r, &v))
		return v;
	return tpl_get_slice(r, &v, bounds);
}

/* Arguments in the order they are written, the named ones last. */
void
tpl_eval_args(struct tpl_render *r, const struct node *node, struct tv_args *args)
{
	*args = (struct tv_args){0};
	if (node->n)
		args->items = tpl_alloc(r, node->n * sizeof *args->items);
	if (node->n_kwargs)
		args->kw = tpl_alloc(r, node->n_kwargs * sizeof *args->kw);
	for (size_t i = 0; i < node->n && !r->status; i++)
		args->items[args->n++] = tpl_eval(r, node->list[i]);
	for (size_t i = 0; i < node->n_kwargs && !r->status; i++) {
		struct tv_arg_kw *kw = &args->kw[args->n_kw++];

		kw->name = node->kwargs[i].name;
		kw->len = node->kwargs[i].len;
		kw->value = tpl_eval(r, node->kwargs[i].value);
	}
}

static struct tv
call_method(struct tpl_render *r, const struct tv_bound *bound, const struct tv_args *args)
{
	const struct tpl_method *method = bound->method;
	struct tv values[TPL_ARGS_MAX];

	if (method->fn_any)
		return method->fn_any(r, &bound->self, args);
	if (!tpl_bind(r, method->name, method->params, args, values))
		return tv_undefined();
	return method->fn(r, &bound->self, values);
}

struct tv
tpl_eval_call(struct tpl_render *r, const struct node *node, const struct tv *caller)
{
	struct tv callee = tpl_eval(r, node->a), out = tv_undefined();
	struct tv_args args;

	tpl_eval_args(r, node, &args);
	if (refuse_undefined(r, &callee))
		return out;
	if (callee.kind == TV_MACRO)
		out = tpl_call_macro(r, callee.macro, &args, caller);
	else if (caller)
		tpl_fail(r, "a call block calls a macro, not a %s", tv_type_name(&callee));
	else if (callee.kind == TV_METHOD)
		out = call_method(r, callee.bound, &args);
	else if (callee.kind == TV_GLOBAL)
		out = callee.global->fn(r, &args);
	else
		tpl_fail(r, "a value of type %s cannot be called", tv_type_name(&callee));
	return r->status ? tv_undefined() : out;
}

struct tv
tpl_eval_filters(struct tpl_render *r, const struct node *node, struct tv input)
{
	struct tv_args args;

	if (!node)
		return input;
	input = tpl_eval_filters(r, node->a, input);
	tpl_eval_args(r, node, &args);
	return tpl_filter_apply(r, node->filter, &input, &args);
}

static struct tv
eval_filter(struct tpl_render *r, const struct node *node)
{
	struct tv v = tpl_eval(r, node->a);
	struct tv_args args;

	tpl_eval_args(r, node, &args);
	return tpl_filter_apply(r, node->filter, &v, &args);
}

/* x is test(y); "is defined" sees the undefined value and does not fail. */
static struct tv
eval_test(struct tpl_render *r, const struct node *node)
{
	struct tv v = tpl_eval(r, node->a);
	struct tv_args args;

	tpl_eval_args(r, node, &args);
	return tv_bool(tpl_test_apply(r, node->test, &v, &args));
}

/* and, or give the operand that decides, not a truth; "a if b" without else is undefined. */
static struct tv
eval_choice(struct tpl_render *r, const struct node *node)
{
	struct tv v;

	if (node->kind == NODE_IF_EXPR) {
		v = tpl_eval(r, node->b);
		if (tv_truth(&v))
			return tpl_eval(r, node->a);
		return node->c ? tpl_eval(r, node->c) : tv_undefined();
	}
	v = tpl_eval(r, node->a);
	if (tv_truth(&v) == (node->kind == NODE_AND))
		return tpl_eval(r, node->b);
	return v;
}

static struct tv
eval_node(struct tpl_render *r, const struct node *node)
{
	struct tv v;

	switch (node->kind) {
	case NODE_CONST:
		return *node->value;
	case NODE_NAME:
		return tpl_lookup(r, node->text, node->len);
	case NODE_LIST:
	case NODE_TUPLE:
		return eval_sequence(r, node);
	case NODE_DICT:
		return eval_dict(r, node);
	case NODE_ATTR:
		v = tpl_eval(r, node->a);
		return r->status ? v : tpl_get_attr(r, &v, node->text, node->len);
	case NODE_ITEM:
		return eval_item(r, node);
	case NODE_CALL:
		return tpl_eval_call(r, node, NULL);
	case NODE_FILTER:
		return eval_filter(r, node);
	case NODE_TEST:
		return eval_test(r, node);
	case NODE_NOT:
		v = tpl_eval(r, node->a);
		return tv_bool(!tv_truth(&v));
	case NODE_NEG:
	case NODE_POS:
		return eval_sign(r, node);
	case NODE_AND:
	case NODE_OR:
	case NODE_IF_EXPR:
		return eval_choice(r, node);
	case NODE_BINARY:
		return eval_binary(r, node);
	case NODE_CONCAT:
		return eval_concat(r, node);
	case NODE_COMPARE:
		return eval_compare(r, node);
	default:
		tpl_fail(r, "this is no expression");
		return tv_undefined();
	}
}

/* One node: counts a step and a level, and is where errors point to meanwhile. */
struct tv
tpl_eval(struct tpl_render *r, const struct node *node)
{
	const struct node *const outer = r->at;
	struct tv out = tv_undefined();

	if (!tpl_spend(r, 0))
		return out;
	r->at = node;
	if (++r->depth > r->limits.depth)
		tpl_fail(r, "rendering is nested more than %d levels deep", r->limits.depth);
	else
		out = eval_node(r, node);
	r->depth--;
	r->at = outer;
	return r->status ? tv_undefined() : out;
}
