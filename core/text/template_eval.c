/*
 * template_eval.c - evaluates the expressions of a chat template.
 *
 * and, or and comparisons stop at the first operand that decides; what an operator gives is in
 * template_arith.c.  An undefined value may be printed, tested, compared for equality, iterated and
 * joined with ~; anything else fails with its name.
 */
#include <math.h>
#include <string.h>

#include "text/template_impl.h"

/* Both sides are evaluated before anything fails. */
static struct tv
eval_binary(struct tpl_render *r, const struct node *node)
{
	struct tv a = tpl_eval(r, node->a), b = tpl_eval(r, node->b);

	if (tpl_is_undefined(r, &a) || tpl_is_undefined(r, &b))
		return tv_undefined();
	return tpl_binary(r, node->op, &a, &b);
}

static struct tv
eval_sign(struct tpl_render *r, const struct node *node)
{
	struct tv v = tpl_eval(r, node->a);

	if (tpl_is_undefined(r, &v))
		return v;
	return tpl_sign(r, node->kind == NODE_NEG, &v);
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
			(tpl_is_undefined(r, &left) || tpl_is_undefined(r, &right)))
			break;
		if (r->status || !tv_compare(r, op, &left, &right))
			return tv_bool(false);
		left = right;
	}
	return tv_bool(true);
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
	if (tpl_is_undefined(r, &v))
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
	if (tpl_is_undefined(r, &callee))
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
