/*
 * template_operand.c - parses what stands between the operators of a chat template: names,
 * literals, what follows them (.name [item] (call)), filters, tests and signs.
 *
 * Filters and tests are resolved here: a template that names an unknown one is refused when
 * it is loaded, not when a conversation reaches it.
 */
#include <string.h>

#include "text/template_impl.h"

bool
tpl_enter(struct tpl_parse *p)
{
	if (++p->depth <= TPL_DEPTH_MAX)
		return true;
	tpl_parse_fail(p, p->tok, "the template is nested too deeply (more than %d levels)",
		TPL_DEPTH_MAX);
	return false;
}

static struct node *
node_const(struct tpl_parse *p, const struct tok *tok, struct tv value)
{
	struct node *node = tpl_node(p, NODE_CONST, tok);

	node->value = hn_arena_copy(p->arena, &value, sizeof value);
	return node;
}

struct node *
tpl_node_two(struct tpl_parse *p, enum node_kind kind, const struct tok *at, struct node *a,
	struct node *b)
{
	struct node *node = tpl_node(p, kind, at);

	node->a = a;
	node->b = b;
	tpl_node_adopt(p, node, a);
	tpl_node_adopt(p, node, b);
	return node;
}

/* True, false, none in both spellings. */
bool
tpl_constant_of_name(const struct tok *tok, struct tv *out)
{
	static const struct {
		const char *name;
		struct tv value;
	} names[] = {{"true", {.kind = TV_BOOL, .b = true}}, {"True", {.kind = TV_BOOL, .b = true}},
		{"false", {.kind = TV_BOOL, .b = false}}, {"False", {.kind = TV_BOOL, .b = false}},
		{"none", {.kind = TV_NONE}}, {"None", {.kind = TV_NONE}}};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (strlen(names[i].name) == tok->len &&
			!memcmp(names[i].name, tok->text, tok->len)) {
			*out = names[i].value;
			return true;
		}
	}
	return false;
}

/* A constant by name, or a variable. */
static struct node *
parse_name(struct tpl_parse *p)
{
	const struct tok *tok = p->tok;
	struct tv value;
	struct node *node;

	tpl_next(p);
	if (tpl_constant_of_name(tok, &value))
		return node_const(p, tok, value);
	node = tpl_node(p, NODE_NAME, tok);
	node->text = tok->text;
	node->len = tok->len;
	return node;
}

/* Strings side by side are one. */
static struct node *
parse_string(struct tpl_parse *p)
{
	const struct tok *first = p->tok;
	struct hn_str text = {0};
	struct node *node;

	for (; p->tok->kind == TOK_STRING; tpl_next(p))
		hn_str_add(&text, p->tok->text, p->tok->len);
	node = node_const(p, first,
		tv_str(hn_arena_copy(p->arena, text.text ? text.text : "", text.len), text.len));
	hn_str_fini(&text);
	return node;
}

/* [a, b] from its bracket. */
static struct node *
parse_list(struct tpl_parse *p)
{
	struct node *node = tpl_node(p, NODE_LIST, p->tok);

	tpl_next(p);
	while (!p->status && !tpl_at_op(p, ']')) {
		if (node->n)
			tpl_expect_op(p, ',');
		if (tpl_at_op(p, ']'))
			break;
		tpl_node_append(p, node, tpl_parse_expr(p, true));
	}
	tpl_expect_op(p, ']');
	return node;
}

/* {a: b} from its brace. */
static struct node *
parse_dict(struct tpl_parse *p)
{
	struct node *node = tpl_node(p, NODE_DICT, p->tok);

	tpl_next(p);
	while (!p->status && !tpl_at_op(p, '}')) {
		if (node->n)
			tpl_expect_op(p, ',');
		if (tpl_at_op(p, '}'))
			break;
		tpl_node_append(p, node, tpl_parse_expr(p, true));
		tpl_expect_op(p, ':');
		tpl_node_append(p, node, tpl_parse_expr(p, true));
	}
	tpl_expect_op(p, '}');
	return node;
}

static struct node *
parse_primary(struct tpl_parse *p)
{
	const struct tok *tok = p->tok;
	struct node *node;

	switch (tok->kind) {
	case TOK_NAME:
		return parse_name(p);
	case TOK_STRING:
		return parse_string(p);
	case TOK_INT:
		tpl_next(p);
		return node_const(p, tok, tv_int(tok->i));
	case TOK_FLOAT:
		tpl_next(p);
		return node_const(p, tok, tv_float(tok->f));
	default:
		break;
	}
	if (tpl_at_op(p, '['))
		return parse_list(p);
	if (tpl_at_op(p, '{'))
		return parse_dict(p);
	if (tpl_skip_op(p, '(')) {
		node = tpl_parse_tuple(p, true, true);
		tpl_expect_op(p, ')');
		return node;
	}
	tpl_parse_fail(p, tok, "an expression is expected here");
	return tpl_node(p, NODE_LIST, tok);
}

/* ( args ) onto node->list and node->kwargs. */
static void
parse_args(struct tpl_parse *p, struct node *node)
{
	tpl_expect_op(p, '(');
	while (!p->status && !tpl_at_op(p, ')')) {
		const struct tok *tok = p->tok;

		if (node->n || node->n_kwargs) {
			tpl_expect_op(p, ',');
			tok = p->tok;
			if (tpl_at_op(p, ')'))
				break;
		}
		if (tpl_at_op(p, '*') || tpl_at_op(p, TOK_PAIR('*', '*'))) {
			tpl_parse_fail(p, tok, "arguments with * or ** are not offered");
		} else if (tok->kind == TOK_NAME && tok[1].kind == TOK_OP && tok[1].op == '=') {
			tpl_next(p);
			tpl_next(p);
			tpl_kwarg_append(p, node, tok, tpl_parse_expr(p, true));
		} else if (node->n_kwargs) {
			tpl_parse_fail(p, tok, "an argument without a name follows a named one");
		} else {
			tpl_node_append(p, node, tpl_parse_expr(p, true));
		}
	}
	tpl_expect_op(p, ')');
}

/* What stands between [ and ]. */
static struct node *
parse_subscript(struct tpl_parse *p)
{
	struct node *part[3] = {NULL, NULL, NULL}, *slice;
	const struct tok *at = p->tok;

	if (!tpl_at_op(p, ':')) {
		part[0] = tpl_parse_expr(p, true);
		if (!tpl_at_op(p, ':'))
			return part[0];
	}
	slice = tpl_node(p, NODE_SLICE, at);
	for (int i = 1; i < 3 && tpl_skip_op(p, ':'); i++)
		if (!tpl_at_op(p, ':') && !tpl_at_op(p, ']') && !tpl_at_op(p, ','))
			part[i] = tpl_parse_expr(p, true);
	for (int i = 0; i < 3; i++)
		tpl_node_append(p, slice, part[i]);
	return slice;
}

/* .name, .0 and [item] behind `left`. */
static struct node *
parse_member(struct tpl_parse *p, struct node *left)
{
	const struct tok *at = p->tok;
	struct node *node;

	if (tpl_skip_op(p, '[')) {
		node = tpl_node_two(p, NODE_ITEM, at, left, parse_subscript(p));
		if (tpl_at_op(p, ','))
			tpl_parse_fail(p, p->tok, "a subscript of several values is not offered");
		tpl_expect_op(p, ']');
		return node;
	}
	tpl_next(p);
	if (p->tok->kind == TOK_INT) {
		const struct tok *number = p->tok;

		tpl_next(p);
		return tpl_node_two(
			p, NODE_ITEM, at, left, node_const(p, number, tv_int(number->i)));
	}
	node = tpl_node_two(p, NODE_ATTR, at, left, NULL);
	at = tpl_expect_name(p);
	node->text = at->text;
	node->len = at->len;
	return node;
}

static struct node *
parse_call(struct tpl_parse *p, struct node *left)
{
	struct node *node = tpl_node_two(p, NODE_CALL, p->tok, left, NULL);

	parse_args(p, node);
	return node;
}

static struct node *
parse_postfix(struct tpl_parse *p, struct node *node)
{
	while (!p->status) {
		if (tpl_at_op(p, '.') || tpl_at_op(p, '['))
			node = parse_member(p, node);
		else if (tpl_at_op(p, '('))
			node = parse_call(p, node);
		else
			break;
	}
	return node;
}

struct node *
tpl_parse_filters(struct tpl_parse *p, struct node *node, bool inline_first)
{
	while (!p->status && (inline_first || tpl_skip_op(p, '|'))) {
		const struct tok *name = tpl_expect_name(p);
		struct node *filter = tpl_node_two(p, NODE_FILTER, name, node, NULL);

		filter->filter = tpl_filter_find(name->text, name->len);
		if (!filter->filter)
			tpl_parse_fail(p, name, "the filter \"%.*s\" is not offered",
				(int)(name->len < 80 ? name->len : 80), name->text);
		if (tpl_at_op(p, '('))
			parse_args(p, filter);
		node = filter;
		inline_first = false;
	}
	return node;
}

/* Does an argument without parentheses follow a test's name? */
static bool
at_test_argument(const struct tpl_parse *p)
{
	if (tpl_at_name(p, "else") || tpl_at_name(p, "or") || tpl_at_name(p, "and"))
		return false;
	return p->tok->kind == TOK_NAME || p->tok->kind == TOK_STRING || p->tok->kind == TOK_INT ||
		p->tok->kind == TOK_FLOAT || tpl_at_op(p, '[') || tpl_at_op(p, '{');
}

/* [not] name [argument] behind "is". */
static struct node *
parse_test(struct tpl_parse *p, struct node *left)
{
	const struct tok *is = p->tok, *name;
	struct node *node = tpl_node_two(p, NODE_TEST, is, left, NULL);
	bool is_negated;

	tpl_next(p);
	is_negated = tpl_skip_name(p, "not");
	name = tpl_expect_name(p);
	node->test = tpl_test_find(name->text, name->len);
	if (!node->test) {
		tpl_parse_fail(p, name, "the test \"%.*s\" is not offered",
			(int)(name->len < 80 ? name->len : 80), name->text);
		return node;
	}
	if (tpl_at_op(p, '(')) {
		parse_args(p, node);
	} else if (at_test_argument(p)) {
		if (tpl_at_name(p, "is"))
			tpl_parse_fail(p, p->tok, "tests cannot be chained with is");
		tpl_node_append(p, node, parse_postfix(p, parse_primary(p)));
	}
	if (node->n != (size_t)node->test->n_args || node->n_kwargs)
		tpl_parse_fail(p, name, "the test \"%s\" takes %d argument%s", node->test->name,
			node->test->n_args, node->test->n_args == 1 ? "" : "s");
	return is_negated ? tpl_node_two(p, NODE_NOT, is, node, NULL) : node;
}

/* Signs bind looser than .name [item] (call), and tighter than filters: -1 | abs is 1. */
struct node *
tpl_parse_unary(struct tpl_parse *p, bool with_filter)
{
	const struct tok *at = p->tok;
	struct node *node;

	if (!tpl_enter(p))
		node = tpl_node(p, NODE_LIST, at);
	else if (tpl_skip_op(p, '-'))
		node = tpl_node_two(p, NODE_NEG, at, tpl_parse_unary(p, false), NULL);
	else if (tpl_skip_op(p, '+'))
		node = tpl_node_two(p, NODE_POS, at, tpl_parse_unary(p, false), NULL);
	else
		node = parse_primary(p);
	node = parse_postfix(p, node);
	while (with_filter && !p->status) {
		if (tpl_at_op(p, '|'))
			node = tpl_parse_filters(p, node, false);
		else if (tpl_at_name(p, "is"))
			node = parse_test(p, node);
		else if (tpl_at_op(p, '('))
			node = parse_call(p, node);
		else
			break;
	}
	p->depth--;
	return node;
}
