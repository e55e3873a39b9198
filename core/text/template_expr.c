/*
 * template_expr.c - parses the expressions of a chat template.
 *
 * Precedence as in Jinja2, loosest first (it is not Python's: ~ binds tighter than +, ** to
 * the left, and a filter tighter than any operator but the sign before a primary):
 *
 *   a if b else c | or | and | not | == != < <= > >= in, not in (chained) | + - | ~
 *   | * / // % | ** | sign | .name [item] (call) | |filter, is test
 *
 * Filters and tests are resolved here: a template that names an unknown one is refused when
 * it is loaded, not when a conversation reaches it.
 */
#include <string.h>

#include "text/template_impl.h"

/* Enters one level of recursion; false (and a failure) beyond the limit.  The caller leaves
 * with p->depth-- in either case. */
static bool
enter(struct tpl_parse *p)
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

static struct node *
node_two(struct tpl_parse *p, enum node_kind kind, const struct tok *at, struct node *a,
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
static bool
constant_of_name(const struct tok *tok, struct tv *out)
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
	if (constant_of_name(tok, &value))
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
		node = node_two(p, NODE_ITEM, at, left, parse_subscript(p));
		if (tpl_at_op(p, ','))
			tpl_parse_fail(p, p->tok, "a subscript of several values is not offered");
		tpl_expect_op(p, ']');
		return node;
	}
	tpl_next(p);
	if (p->tok->kind == TOK_INT) {
		const struct tok *number = p->tok;

		tpl_next(p);
		return node_two(p, NODE_ITEM, at, left, node_const(p, number, tv_int(number->i)));
	}
	node = node_two(p, NODE_ATTR, at, left, NULL);
	at = tpl_expect_name(p);
	node->text = at->text;
	node->len = at->len;
	return node;
}

static struct node *
parse_call(struct tpl_parse *p, struct node *left)
{
	struct node *node = node_two(p, NODE_CALL, p->tok, left, NULL);

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
		struct node *filter = node_two(p, NODE_FILTER, name, node, NULL);

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
	struct node *node = node_two(p, NODE_TEST, is, left, NULL);
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
	return is_negated ? node_two(p, NODE_NOT, is, node, NULL) : node;
}

/* Signs bind looser than .name [item] (call), and tighter than filters: -1 | abs is 1. */
struct node *
tpl_parse_unary(struct tpl_parse *p, bool with_filter)
{
	const struct tok *at = p->tok;
	struct node *node;

	if (!enter(p))
		node = tpl_node(p, NODE_LIST, at);
	else if (tpl_skip_op(p, '-'))
		node = node_two(p, NODE_NEG, at, tpl_parse_unary(p, false), NULL);
	else if (tpl_skip_op(p, '+'))
		node = node_two(p, NODE_POS, at, tpl_parse_unary(p, false), NULL);
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

/* Operators of one level, all to the left.  0 ends the list. */
static const int level_pow[] = {TOK_PAIR('*', '*'), 0};
static const int level_mul[] = {'*', '/', TOK_PAIR('/', '/'), '%', 0};
static const int level_add[] = {'+', '-', 0};

static int
at_level(const struct tpl_parse *p, const int *level)
{
	for (; *level; level++)
		if (tpl_at_op(p, *level))
			return *level;
	return 0;
}

static struct node *
parse_pow(struct tpl_parse *p)
{
	struct node *left = tpl_parse_unary(p, true);
	const struct tok *at;
	int op;

	while (!p->status && (op = at_level(p, level_pow))) {
		at = p->tok;
		tpl_next(p);
		left = node_two(p, NODE_BINARY, at, left, tpl_parse_unary(p, true));
		left->op = op;
	}
	return left;
}

static struct node *
parse_mul(struct tpl_parse *p)
{
	struct node *left = parse_pow(p);
	const struct tok *at;
	int op;

	while (!p->status && (op = at_level(p, level_mul))) {
		at = p->tok;
		tpl_next(p);
		left = node_two(p, NODE_BINARY, at, left, parse_pow(p));
		left->op = op;
	}
	return left;
}

/* Between + and *, unlike anything in Python. */
static struct node *
parse_concat(struct tpl_parse *p)
{
	const struct tok *at = p->tok;
	struct node *left = parse_mul(p), *node;

	if (!tpl_at_op(p, '~'))
		return left;
	node = tpl_node(p, NODE_CONCAT, at);
	tpl_node_append(p, node, left);
	while (!p->status && tpl_skip_op(p, '~'))
		tpl_node_append(p, node, parse_mul(p));
	return node;
}

static struct node *
parse_add(struct tpl_parse *p)
{
	struct node *left = parse_concat(p);
	const struct tok *at;
	int op;

	while (!p->status && (op = at_level(p, level_add))) {
		at = p->tok;
		tpl_next(p);
		left = node_two(p, NODE_BINARY, at, left, parse_concat(p));
		left->op = op;
	}
	return left;
}

/* Reads a comparison's operator, or returns false and reads nothing. */
static bool
read_comparison(struct tpl_parse *p, enum cmp_op *op)
{
	static const struct {
		int op;
		enum cmp_op cmp;
	} ops[] = {{TOK_PAIR('=', '='), CMP_EQ}, {TOK_PAIR('!', '='), CMP_NE},
		{TOK_PAIR('<', '='), CMP_LE}, {TOK_PAIR('>', '='), CMP_GE}, {'<', CMP_LT},
		{'>', CMP_GT}};

	for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
		if (tpl_skip_op(p, ops[i].op)) {
			*op = ops[i].cmp;
			return true;
		}
	}
	if (tpl_skip_name(p, "in")) {
		*op = CMP_IN;
		return true;
	}
	if (tpl_at_name(p, "not") && p->tok[1].kind == TOK_NAME && p->tok[1].len == 2 &&
		!memcmp(p->tok[1].text, "in", 2)) {
		tpl_next(p);
		tpl_next(p);
		*op = CMP_NOT_IN;
		return true;
	}
	return false;
}

/* A chain in one node, so that each operand is evaluated once. */
static struct node *
parse_compare(struct tpl_parse *p)
{
	const struct tok *at = p->tok;
	struct node *left = parse_add(p), *node;
	enum cmp_op op, ops[16];
	size_t n = 0;

	if (p->status || !read_comparison(p, &op))
		return left;
	node = tpl_node(p, NODE_COMPARE, at);
	tpl_node_append(p, node, left);
	do {
		if (n == sizeof ops / sizeof ops[0]) {
			tpl_parse_fail(p, p->tok, "a chain of comparisons is too long");
			break;
		}
		ops[n++] = op;
		tpl_node_append(p, node, parse_add(p));
	} while (!p->status && read_comparison(p, &op));
	node->ops = hn_arena_copy(p->arena, ops, n * sizeof ops[0]);
	return node;
}

static struct node *
parse_not(struct tpl_parse *p)
{
	const struct tok *at = p->tok;
	struct node *node;

	if (!tpl_at_name(p, "not"))
		return parse_compare(p);
	if (!enter(p)) {
		node = tpl_node(p, NODE_LIST, at);
	} else {
		tpl_next(p);
		node = node_two(p, NODE_NOT, at, parse_not(p), NULL);
	}
	p->depth--;
	return node;
}

static struct node *
parse_and(struct tpl_parse *p)
{
	const struct tok *at = p->tok;
	struct node *left = parse_not(p);

	while (!p->status && tpl_skip_name(p, "and"))
		left = node_two(p, NODE_AND, at, left, parse_not(p));
	return left;
}

static struct node *
parse_or(struct tpl_parse *p)
{
	const struct tok *at = p->tok;
	struct node *left = parse_and(p);

	while (!p->status && tpl_skip_name(p, "or"))
		left = node_two(p, NODE_OR, at, left, parse_and(p));
	return left;
}

/* "a if b else c"; the else part may be missing. */
struct node *
tpl_parse_expr(struct tpl_parse *p, bool with_if)
{
	const struct tok *at = p->tok;
	struct node *node;

	if (!enter(p)) {
		p->depth--;
		return tpl_node(p, NODE_LIST, at);
	}
	node = parse_or(p);
	while (with_if && !p->status && tpl_skip_name(p, "if")) {
		struct node *choice = node_two(p, NODE_IF_EXPR, at, node, parse_or(p));

		if (tpl_skip_name(p, "else")) {
			choice->c = tpl_parse_expr(p, true);
			tpl_node_adopt(p, choice, choice->c);
		}
		node = choice;
	}
	p->depth--;
	return node;
}

/* Is this where a tuple without parentheses ends? */
static bool
at_tuple_end(const struct tpl_parse *p)
{
	return p->tok->kind == TOK_PRINT_END || p->tok->kind == TOK_BLOCK_END ||
		p->tok->kind == TOK_EOF || tpl_at_op(p, ')') || tpl_at_name(p, "recursive");
}

/* Without a comma it is the expression itself. */
struct node *
tpl_parse_tuple(struct tpl_parse *p, bool with_if, bool in_parentheses)
{
	struct node *tuple = tpl_node(p, NODE_TUPLE, p->tok), *first = NULL;

	while (!p->status && !at_tuple_end(p)) {
		struct node *item = tpl_parse_expr(p, with_if);

		if (!first && !tpl_at_op(p, ','))
			return item;
		first = item;
		tpl_node_append(p, tuple, item);
		if (!tpl_skip_op(p, ','))
			break;
	}
	if (!first && !in_parentheses)
		tpl_parse_fail(p, p->tok, "an expression is expected here");
	return tuple;
}

/* One name or namespace attribute to assign to, or a tuple in parentheses. */
static struct node *
parse_target_part(struct tpl_parse *p, bool with_namespace)
{
	struct node *node;

	if (!enter(p)) {
		node = tpl_node(p, NODE_LIST, p->tok);
	} else if (tpl_skip_op(p, '(')) {
		node = tpl_parse_target(p, with_namespace);
		tpl_expect_op(p, ')');
	} else {
		const struct tok *name = tpl_expect_name(p), *attr;
		struct tv ignored;

		node = tpl_node(p, NODE_NAME, name);
		node->text = name->text;
		node->len = name->len;
		if (constant_of_name(name, &ignored) ||
			(name->len == 4 && !memcmp(name->text, "loop", 4)))
			tpl_parse_fail(p, name, "\"%.*s\" cannot be assigned to", (int)name->len,
				name->text);
		if (with_namespace && tpl_skip_op(p, '.')) {
			node->kind = NODE_NSREF;
			attr = tpl_expect_name(p);
			node->attr = attr->text;
			node->attr_len = attr->len;
		}
	}
	p->depth--;
	return node;
}

struct node *
tpl_parse_target(struct tpl_parse *p, bool with_namespace)
{
	const struct tok *at = p->tok;
	struct node *first = parse_target_part(p, with_namespace), *tuple;

	if (!tpl_at_op(p, ','))
		return first;
	tuple = tpl_node(p, NODE_TUPLE, at);
	tpl_node_append(p, tuple, first);
	while (!p->status && tpl_skip_op(p, ',')) {
		if (p->tok->kind != TOK_NAME && !tpl_at_op(p, '('))
			break;
		if (tpl_at_name(p, "in"))
			break;
		tpl_node_append(p, tuple, parse_target_part(p, with_namespace));
	}
	return tuple;
}
