/*
 * template_parse.c - parses the statements of a chat template into a tree.
 *
 *   for if elif else set with macro call filter generation break continue
 *
 * The tree is immutable and lives in the template's arena.  Its depth is limited while it is
 * built (a chain a + a + ... is deep too), so that nothing that walks it can run out of
 * stack.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "text/template_impl.h"

void
tpl_parse_fail(struct tpl_parse *p, const struct tok *at, const char *fmt, ...)
{
	char text[400];
	va_list args;

	if (p->status)
		return;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	p->status = hone_fail_at(p->err, HONE_EMODEL, TPL_PLACE, at->line, at->column, "%s", text);
	while (p->tok->kind != TOK_EOF)
		p->tok++;
}

struct node *
tpl_node(struct tpl_parse *p, enum node_kind kind, const struct tok *at)
{
	struct node *node = hn_arena_alloc(p->arena, sizeof *node);

	node->kind = kind;
	node->line = at->line;
	node->column = at->column;
	node->depth = 1;
	node->text = "";
	return node;
}

void
tpl_node_adopt(struct tpl_parse *p, struct node *parent, const struct node *child)
{
	if (!child || child->depth < parent->depth)
		return;
	parent->depth = child->depth + 1;
	if (parent->depth > TPL_DEPTH_MAX && !p->status)
		tpl_parse_fail(p, p->tok, "the template is nested too deeply (more than %d levels)",
			TPL_DEPTH_MAX);
}

/* Makes room for one more behind n elements of a list whose capacity is the next power of
 * two. */
static void *
list_grow(struct hn_arena *arena, void *old, size_t n, size_t bytes)
{
	void *list;

	if (n & (n - 1) || (n > 0 && n < 4))
		return old;
	list = hn_arena_array(arena, n < 4 ? 4 : 2 * n, bytes);
	if (n)
		memcpy(list, old, n * bytes);
	return list;
}

void
tpl_node_append(struct tpl_parse *p, struct node *parent, struct node *child)
{
	parent->list = list_grow(p->arena, parent->list, parent->n, sizeof child);
	parent->list[parent->n++] = child;
	tpl_node_adopt(p, parent, child);
}

void
tpl_kwarg_append(struct tpl_parse *p, struct node *node, const struct tok *name, struct node *value)
{
	for (size_t i = 0; i < node->n_kwargs; i++)
		if (node->kwargs[i].len == name->len &&
			!memcmp(node->kwargs[i].name, name->text, name->len))
			tpl_parse_fail(p, name, "the name \"%.*s\" is given twice",
				(int)(name->len < 80 ? name->len : 80), name->text);
	node->kwargs = list_grow(p->arena, node->kwargs, node->n_kwargs, sizeof *node->kwargs);
	node->kwargs[node->n_kwargs++] = (struct node_kwarg){name->text, name->len, value};
	tpl_node_adopt(p, node, value);
}

bool
tpl_at_op(const struct tpl_parse *p, int op)
{
	return p->tok->kind == TOK_OP && p->tok->op == op;
}

bool
tpl_at_name(const struct tpl_parse *p, const char *name)
{
	return p->tok->kind == TOK_NAME && p->tok->len == strlen(name) &&
		!memcmp(p->tok->text, name, p->tok->len);
}

void
tpl_next(struct tpl_parse *p)
{
	if (p->tok->kind != TOK_EOF)
		p->tok++;
}

bool
tpl_skip_op(struct tpl_parse *p, int op)
{
	if (!tpl_at_op(p, op))
		return false;
	tpl_next(p);
	return true;
}

bool
tpl_skip_name(struct tpl_parse *p, const char *name)
{
	if (!tpl_at_name(p, name))
		return false;
	tpl_next(p);
	return true;
}

void
tpl_expect_op(struct tpl_parse *p, int op)
{
	if (!tpl_skip_op(p, op))
		tpl_parse_fail(p, p->tok, "\"%c\" is expected here", op & 0xff);
}

/* The name token, or on failure the token that stands in its place. */
const struct tok *
tpl_expect_name(struct tpl_parse *p)
{
	const struct tok *tok = p->tok;

	if (tok->kind != TOK_NAME)
		tpl_parse_fail(p, tok, "a name is expected here");
	else
		tpl_next(p);
	return tok;
}

static void
expect_block_end(struct tpl_parse *p)
{
	if (p->tok->kind == TOK_BLOCK_END)
		tpl_next(p);
	else
		tpl_parse_fail(p, p->tok, "the end of the tag, %%}, is expected here");
}

static struct node *parse_statement(struct tpl_parse *p);

/* Is the current tag's name one of `ends` (NULL-terminated, may be NULL)? */
static bool
at_end(const struct tpl_parse *p, const char *const *ends)
{
	for (; ends && *ends; ends++)
		if (tpl_at_name(p, *ends))
			return true;
	return false;
}

/* Statements and data up to a tag that is one of `ends`, whose name is the current token
 * then; or up to the template's end when `ends` is NULL. */
static struct node *
parse_body(struct tpl_parse *p, const char *const *ends)
{
	struct node *body = tpl_node(p, NODE_BODY, p->tok), *child;

	while (!p->status && p->tok->kind != TOK_EOF) {
		const struct tok *at = p->tok;

		if (at->kind == TOK_DATA) {
			child = tpl_node(p, NODE_DATA, at);
			child->text = at->text;
			child->len = at->len;
			tpl_next(p);
		} else if (at->kind == TOK_PRINT_BEGIN) {
			tpl_next(p);
			child = tpl_node(p, NODE_PRINT, at);
			child->a = tpl_parse_tuple(p, true, false);
			tpl_node_adopt(p, child, child->a);
			if (p->tok->kind != TOK_PRINT_END)
				tpl_parse_fail(p, p->tok,
					"the end of the expression, }}, is expected here");
			tpl_next(p);
		} else {
			tpl_next(p);
			if (at_end(p, ends))
				return body;
			child = parse_statement(p);
			expect_block_end(p);
		}
		tpl_node_append(p, body, child);
	}
	if (ends && !p->status)
		tpl_parse_fail(p, p->tok, "the template ends before {%% %s %%}", ends[0]);
	return body;
}

/* The body behind a statement's head: [:] %} body {% end.  The end's name is read when it is
 * the only one that fits. */
static struct node *
parse_block(struct tpl_parse *p, const char *const *ends)
{
	struct node *body;

	(void)tpl_skip_op(p, ':');
	expect_block_end(p);
	if (++p->depth > TPL_DEPTH_MAX)
		tpl_parse_fail(p, p->tok, "the template is nested too deeply (more than %d levels)",
			TPL_DEPTH_MAX);
	body = parse_body(p, ends);
	p->depth--;
	if (!ends[1])
		tpl_next(p);
	return body;
}

/* A body that is a function of its own in Jinja2: break and continue do not reach out. */
static struct node *
parse_function_body(struct tpl_parse *p, const char *end)
{
	const char *const ends[] = {end, NULL};
	const int32_t loops = p->loops;
	struct node *body;

	p->loops = 0;
	body = parse_block(p, ends);
	p->loops = loops;
	return body;
}

/* One node for all arms, so that elif chains are not deep. */
static struct node *
parse_if(struct tpl_parse *p, struct node *node)
{
	static const char *const arms[] = {"endif", "elif", "else", NULL};
	static const char *const end[] = {"endif", NULL};

	node->kind = NODE_IF;
	do {
		tpl_node_append(p, node, tpl_parse_tuple(p, false, false));
		tpl_node_append(p, node, parse_block(p, arms));
	} while (!p->status && tpl_skip_name(p, "elif"));
	if (tpl_skip_name(p, "else"))
		tpl_node_append(p, node, parse_block(p, end));
	else
		tpl_next(p);
	return node;
}

/* The loop counts for break and continue in its body only, not in its else. */
static struct node *
parse_for(struct tpl_parse *p, struct node *node)
{
	static const char *const ends[] = {"endfor", "else", NULL};
	static const char *const end[] = {"endfor", NULL};

	node->kind = NODE_FOR;
	node->a = tpl_parse_target(p, false);
	if (!tpl_skip_name(p, "in"))
		tpl_parse_fail(p, p->tok, "\"in\" is expected here");
	node->b = tpl_parse_tuple(p, false, false);
	if (tpl_skip_name(p, "if"))
		node->c = tpl_parse_expr(p, true);
	if (tpl_at_name(p, "recursive"))
		tpl_parse_fail(p, p->tok, "recursive loops are not offered");
	tpl_node_adopt(p, node, node->a);
	tpl_node_adopt(p, node, node->b);
	tpl_node_adopt(p, node, node->c);
	p->loops++;
	tpl_node_append(p, node, parse_block(p, ends));
	p->loops--;
	if (tpl_skip_name(p, "else"))
		tpl_node_append(p, node, parse_block(p, end));
	else
		tpl_next(p);
	return node;
}

/* {% set a = b %}, or {% set a | filters %}body{% endset %}. */
static struct node *
parse_set(struct tpl_parse *p, struct node *node)
{
	node->a = tpl_parse_target(p, true);
	tpl_node_adopt(p, node, node->a);
	if (tpl_skip_op(p, '=')) {
		node->kind = NODE_SET;
		node->b = tpl_parse_tuple(p, true, false);
		tpl_node_adopt(p, node, node->b);
		return node;
	}
	node->kind = NODE_SET_BLOCK;
	node->b = tpl_parse_filters(p, NULL, false);
	node->c = parse_function_body(p, "endset");
	tpl_node_adopt(p, node, node->b);
	tpl_node_adopt(p, node, node->c);
	return node;
}

static struct node *
parse_with(struct tpl_parse *p, struct node *node)
{
	static const char *const ends[] = {"endwith", NULL};

	node->kind = NODE_WITH;
	while (!p->status && p->tok->kind != TOK_BLOCK_END) {
		if (node->n)
			tpl_expect_op(p, ',');
		tpl_node_append(p, node, tpl_parse_target(p, false));
		tpl_expect_op(p, '=');
		tpl_node_append(p, node, tpl_parse_expr(p, true));
	}
	node->a = parse_block(p, ends);
	tpl_node_adopt(p, node, node->a);
	return node;
}

/* ( a, b = default ) as keyword arguments of `node`, NULL where there is no default. */
static void
parse_parameters(struct tpl_parse *p, struct node *node)
{
	bool has_default = false;

	tpl_expect_op(p, '(');
	while (!p->status && !tpl_at_op(p, ')')) {
		const struct tok *name;
		struct node *value = NULL;

		if (node->n_kwargs)
			tpl_expect_op(p, ',');
		if (tpl_at_op(p, ')'))
			break;
		name = tpl_expect_name(p);
		if (tpl_skip_op(p, '='))
			value = tpl_parse_expr(p, true);
		else if (has_default)
			tpl_parse_fail(
				p, name, "a parameter without a default follows one that has one");
		has_default = value != NULL;
		tpl_kwarg_append(p, node, name, value);
	}
	tpl_expect_op(p, ')');
}

static struct node *
parse_macro(struct tpl_parse *p, struct node *node)
{
	const struct tok *name = tpl_expect_name(p);

	node->kind = NODE_MACRO;
	node->text = name->text;
	node->len = name->len;
	parse_parameters(p, node);
	node->a = parse_function_body(p, "endmacro");
	tpl_node_adopt(p, node, node->a);
	return node;
}

/* {% call(parameters) macro(...) %}: the body is a macro named caller. */
static struct node *
parse_call_block(struct tpl_parse *p, struct node *node)
{
	const struct tok *at = p->tok;

	node->kind = NODE_CALL_BLOCK;
	node->a = tpl_node(p, NODE_MACRO, at);
	node->a->text = "caller";
	node->a->len = 6;
	if (tpl_at_op(p, '('))
		parse_parameters(p, node->a);
	at = p->tok;
	node->b = tpl_parse_expr(p, true);
	if (node->b->kind != NODE_CALL)
		tpl_parse_fail(p, at, "a call is expected here");
	node->a->a = parse_function_body(p, "endcall");
	tpl_node_adopt(p, node->a, node->a->a);
	tpl_node_adopt(p, node, node->a);
	tpl_node_adopt(p, node, node->b);
	return node;
}

static struct node *
parse_filter_block(struct tpl_parse *p, struct node *node)
{
	static const char *const ends[] = {"endfilter", NULL};

	node->kind = NODE_FILTER_BLOCK;
	node->a = tpl_parse_filters(p, NULL, true);
	node->b = parse_block(p, ends);
	tpl_node_adopt(p, node, node->a);
	tpl_node_adopt(p, node, node->b);
	return node;
}

/* The tag of transformers; its body is a function there, so it has a scope. */
static struct node *
parse_generation(struct tpl_parse *p, struct node *node)
{
	node->kind = NODE_GENERATION;
	node->a = parse_function_body(p, "endgeneration");
	tpl_node_adopt(p, node, node->a);
	p->has_generation = true;
	return node;
}

static struct node *
parse_loop_control(
	struct tpl_parse *p, struct node *node, enum node_kind kind, const struct tok *at)
{
	node->kind = kind;
	if (!p->loops)
		tpl_parse_fail(p, at, "break and continue stand in loops only");
	return node;
}

/* A statement from its name; up to, and not with, the last %}. */
static struct node *
parse_statement(struct tpl_parse *p)
{
	const struct tok *name = tpl_expect_name(p);
	struct node *node = tpl_node(p, NODE_BODY, name);
	static const struct {
		const char *name;
		struct node *(*parse)(struct tpl_parse *p, struct node *node);
	} statements[] = {{"for", parse_for}, {"if", parse_if}, {"set", parse_set},
		{"with", parse_with}, {"macro", parse_macro}, {"call", parse_call_block},
		{"filter", parse_filter_block}, {"generation", parse_generation}};

	for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
		if (name->len == strlen(statements[i].name) &&
			!memcmp(name->text, statements[i].name, name->len))
			return statements[i].parse(p, node);
	if (name->len == 5 && !memcmp(name->text, "break", 5))
		return parse_loop_control(p, node, NODE_BREAK, name);
	if (name->len == 8 && !memcmp(name->text, "continue", 8))
		return parse_loop_control(p, node, NODE_CONTINUE, name);
	tpl_parse_fail(p, name, "the tag \"%.*s\" is not offered here",
		(int)(name->len < 80 ? name->len : 80), name->text);
	return node;
}

struct node *
tpl_parse_template(struct tpl_parse *p)
{
	return parse_body(p, NULL);
}

/* The tokens are gone at the end; the tree keeps texts in the arena only. */
enum hone_status
hn_template_parse(const char *text, size_t len, struct hn_template **out, struct hone_error *err)
{
	struct hn_template *tpl = NULL;
	struct tok_list tokens = {0};
	struct tpl_parse p = {.err = err};
	enum hone_status st;

	if (len > UINT32_MAX / 2)
		return hone_fail_at(
			err, HONE_EMODEL, TPL_PLACE, 0, 0, "the template has more than 2 GiB");
	tpl = hn_alloc(sizeof *tpl);
	st = tpl_lex(&tpl->arena, text, len, &tokens, err);
	if (!st) {
		p.arena = &tpl->arena;
		p.tok = tokens.items;
		tpl->body = tpl_parse_template(&p);
		tpl->has_generation = p.has_generation;
		st = p.status;
	}
	free(tokens.items);
	if (st) {
		hn_template_destroy(tpl);
		return st;
	}
	*out = tpl;
	return HONE_OK;
}

void
hn_template_destroy(struct hn_template *tpl)
{
	if (!tpl)
		return;
	hn_arena_fini(&tpl->arena);
	free(tpl);
}

bool
hn_template_has_generation(const struct hn_template *tpl)
{
	return tpl->has_generation;
}
