/*
 * template_expr.c - parses the expressions of a chat template.
 *
 * Precedence as in Jinja2, loosest first (it is not Python's: ~ binds tighter than +, ** to
 * the left, and a filter tighter than any operator but the sign before a primary):
 *
 *   a if b else c | or | and | not | == != < <= > >= in, not in (chained) | + - | ~
 *   | * / // % | ** | sign | .name [item] (call) | |filter, is test
 *
 * From the sign on it is template_operand.c's.
 */
#include <string.h>

#include "text/template_impl.h"

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
		left = tpl_node_two(p, NODE_BINARY, at, left, tpl_parse_unary(p, true));
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
		left = tpl_node_two(p, NODE_BINARY, at, left, parse_pow(p));
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
		left = tpl_node_two(p, NODE_BINARY, at, left, parse_concat(p));
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
	if (!tpl_enter(p)) {
		node = tpl_node(p, NODE_LIST, at);
	} else {
		tpl_next(p);
		node = tpl_node_two(p, NODE_NOT, at, parse_not(p), NULL);
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
		left = tpl_node_two(p, NODE_AND, at, left, parse_not(p));
	return left;
}

static struct node *
parse_or(struct tpl_parse *p)
{
	const struct tok *at = p->tok;
	struct node *left = parse_and(p);

	while (!p->status && tpl_skip_name(p, "or"))
		left = tpl_node_two(p, NODE_OR, at, left, parse_and(p));
	return left;
}

/* "a if b else c"; the else part may be missing. */
struct node *
tpl_parse_expr(struct tpl_parse *p, bool with_if)
{
	const struct tok *at = p->tok;
	struct node *node;

	if (!tpl_enter(p)) {
		p->depth--;
		return tpl_node(p, NODE_LIST, at);
	}
	node = parse_or(p);
	while (with_if && !p->status && tpl_skip_name(p, "if")) {
		struct node *choice = tpl_node_two(p, NODE_IF_EXPR, at, node, parse_or(p));

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

	if (!tpl_enter(p)) {
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
		if (tpl_constant_of_name(name, &ignored) ||
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
