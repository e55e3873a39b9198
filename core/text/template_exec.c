/*
 * template_exec.c - runs the statements of a chat template and collects its output.
 *
 * Scopes are those of Jinja2: for bodies (anew for each round), with, macros, block sets,
 * filter and generation blocks have one, if does not; a name that is set inside is gone
 * outside, and only a namespace() carries values out of a loop.  A macro sees the scope it
 * was written in, as it is when it is called.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "text/template_impl.h"

#define OUT_BYTES (UINT64_C(16) << 20)
#define MEM_BYTES (UINT64_C(128) << 20)
#define STEPS     UINT64_C(1000000)
#define DEPTH     400

enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };

static enum flow exec(struct tpl_render *r, const struct node *node);

/* Keeps the first failure, with the place of the node that is being evaluated. */
void
tpl_fail(struct tpl_render *r, const char *fmt, ...)
{
	char text[480];
	va_list args;

	if (r->status)
		return;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	r->status = hone_fail_at(r->err, HONE_EMODEL, TPL_PLACE, r->at ? r->at->line : 0,
		r->at ? r->at->column : 0, "%s", text);
}

void
tpl_emit(struct tpl_render *r, const char *text, size_t len)
{
	const uint64_t used = r->captures ? r->out->len : r->out->len - r->out_start;

	if (!tpl_spend(r, len))
		return;
	if (used + len > r->limits.out_bytes)
		tpl_fail(r, "the rendered text has more than %llu bytes",
			(unsigned long long)r->limits.out_bytes);
	else
		hn_str_add(r->out, text, len);
}

struct tv_scope *
tpl_scope_new(struct tpl_render *r, struct tv_scope *parent)
{
	struct tv_scope *scope = tpl_alloc(r, sizeof *scope);

	if (!scope)
		return parent;
	scope->parent = parent;
	return scope;
}

void
tpl_scope_set(
	struct tpl_render *r, struct tv_scope *scope, const char *name, size_t len, struct tv value)
{
	struct tv_binding *b;

	for (b = scope->first; b; b = b->next) {
		if (b->len == len && !memcmp(b->name, name, len)) {
			b->value = value;
			return;
		}
	}
	b = tpl_alloc(r, sizeof *b);
	if (!b)
		return;
	*b = (struct tv_binding){.name = name, .len = len, .value = value, .next = scope->first};
	scope->first = b;
}

/* Scopes from the inside out, then global functions; a name unknown to all is undefined. */
struct tv
tpl_lookup(struct tpl_render *r, const char *name, size_t len)
{
	struct tv out = tv_undefined();
	const struct tpl_global *global;

	for (const struct tv_scope *scope = r->scope; scope; scope = scope->parent) {
		(void)tpl_spend(r, 0);
		for (const struct tv_binding *b = scope->first; b; b = b->next)
			if (b->len == len && !memcmp(b->name, name, len))
				return b->value;
	}
	global = tpl_global_find(name, len);
	if (global)
		return (struct tv){.kind = TV_GLOBAL, .global = global};
	if (tpl_global_is_refused(name, len))
		tpl_fail(r, "\"%.*s\" is not offered", (int)len, name);
	out.text = name;
	out.len = (uint32_t)len;
	return out;
}

/* Text that is collected for a value instead of the output. */
struct capture {
	struct hn_str text;
	struct hn_str *outer;
};

static void
capture_begin(struct tpl_render *r, struct capture *capture)
{
	*capture = (struct capture){.outer = r->out};
	r->out = &capture->text;
	r->captures++;
}

static struct tv
capture_end(struct tpl_render *r, struct capture *capture)
{
	r->out = capture->outer;
	r->captures--;
	return tv_str_take(r, &capture->text);
}

/* Runs a body in a scope of its own. */
static enum flow
exec_scoped(struct tpl_render *r, const struct node *body)
{
	struct tv_scope *const outer = r->scope;
	enum flow flow;

	r->scope = tpl_scope_new(r, outer);
	flow = exec(r, body);
	r->scope = outer;
	return flow;
}

static void
assign_item(struct tpl_render *r, const struct node *target, struct tv value)
{
	struct tv ns;

	if (target->kind != NODE_NSREF) {
		tpl_scope_set(r, r->scope, target->text, target->len, value);
		return;
	}
	ns = tpl_lookup(r, target->text, target->len);
	if (ns.kind == TV_NAMESPACE)
		tv_dict_put(r, ns.dict, tv_str(target->attr, target->attr_len), value);
	else
		tpl_fail(r, "only attributes of a namespace() can be set");
}

/* A name, an attribute of a namespace, or a tuple of targets. */
static void
assign(struct tpl_render *r, const struct node *target, struct tv value)
{
	const struct tv_seq *seq;

	if (r->status)
		return;
	if (target->kind != NODE_TUPLE) {
		assign_item(r, target, value);
		return;
	}
	seq = tv_iterate(r, &value);
	if (seq && seq->n != target->n)
		tpl_fail(r, "%zu values for %zu names", seq->n, target->n);
	for (size_t i = 0; i < target->n && !r->status; i++)
		assign(r, target->list[i], seq->items[i]);
}

/* The arguments of a macro become names of its scope, which is the current one. */
static void
bind_parameters(struct tpl_render *r, const struct node *node, const struct tv_args *args)
{
	if (args->n > node->n_kwargs)
		tpl_fail(r, "the macro \"%.*s\" takes at most %zu arguments", (int)node->len,
			node->text, node->n_kwargs);
	for (size_t k = 0; k < args->n_kw; k++) {
		bool is_known = false;

		for (size_t i = args->n; i < node->n_kwargs && !is_known; i++)
			is_known = node->kwargs[i].len == args->kw[k].len &&
				!memcmp(node->kwargs[i].name, args->kw[k].name, args->kw[k].len);
		if (!is_known)
			tpl_fail(r, "the macro \"%.*s\" has no place for the argument \"%.*s\"",
				(int)node->len, node->text, (int)args->kw[k].len, args->kw[k].name);
	}
	for (size_t i = 0; i < node->n_kwargs && !r->status; i++) {
		const struct node_kwarg *param = &node->kwargs[i];
		struct tv value = {.kind = TV_ABSENT};

		if (i < args->n)
			value = args->items[i];
		for (size_t k = 0; k < args->n_kw; k++)
			if (args->kw[k].len == param->len &&
				!memcmp(args->kw[k].name, param->name, param->len))
				value = args->kw[k].value;
		if (value.kind == TV_ABSENT && param->value) {
			value = tpl_eval(r, param->value);
		} else if (value.kind == TV_ABSENT) {
			value = tv_undefined();
			value.text = param->name;
			value.len = (uint32_t)param->len;
		}
		tpl_scope_set(r, r->scope, param->name, param->len, value);
	}
}

/* Runs the body in a scope below the macro's own, and gives its text. */
struct tv
tpl_call_macro(struct tpl_render *r, const struct tv_macro *macro, const struct tv_args *args,
	const struct tv *caller)
{
	struct tv_scope *const outer = r->scope;
	struct capture capture;

	if (++r->depth > r->limits.depth)
		tpl_fail(r, "rendering is nested more than %d levels deep", r->limits.depth);
	capture_begin(r, &capture);
	r->scope = tpl_scope_new(r, macro->scope);
	if (caller && !r->status)
		tpl_scope_set(r, r->scope, "caller", 6, *caller);
	if (!r->status)
		bind_parameters(r, macro->node, args);
	if (!r->status)
		(void)exec(r, macro->node->a);
	r->scope = outer;
	r->depth--;
	return capture_end(r, &capture);
}

/* A macro remembers the scope it stands in, not a copy of it. */
static struct tv
macro_value(struct tpl_render *r, const struct node *node)
{
	struct tv_macro *macro = tpl_alloc(r, sizeof *macro);

	if (!macro)
		return tv_undefined();
	macro->node = node;
	macro->scope = r->scope;
	return (struct tv){.kind = TV_MACRO, .macro = macro};
}

static void
print(struct tpl_render *r, const struct node *expr)
{
	struct tv v = tpl_eval(r, expr);

	r->at = expr;
	v = tv_to_str(r, &v);
	if (!r->status)
		tpl_emit(r, v.text, v.len);
}

/* No scope: what an if sets is seen behind it. */
static enum flow
exec_if(struct tpl_render *r, const struct node *node)
{
	size_t i = 0;

	for (; i + 1 < node->n && !r->status; i += 2) {
		struct tv test = tpl_eval(r, node->list[i]);

		if (tv_truth(&test))
			return exec(r, node->list[i + 1]);
	}
	return i < node->n ? exec(r, node->list[i]) : FLOW_ON;
}

/* The items for which the loop's condition holds. */
static const struct tv_seq *
filter_items(struct tpl_render *r, const struct node *node, const struct tv_seq *seq)
{
	struct tv_scope *const outer = r->scope;
	struct tv out = tv_seq_new(r, SEQ_LIST, 0), test;

	for (size_t i = 0; i < seq->n && !r->status; i++) {
		r->scope = tpl_scope_new(r, outer);
		assign(r, node->a, seq->items[i]);
		test = tpl_eval(r, node->c);
		if (tv_truth(&test))
			tv_seq_push(r, out.seq, seq->items[i]);
		r->scope = outer;
	}
	return r->status ? NULL : out.seq;
}

/* The loop's names live for one round; the else body runs when there is no item. */
static enum flow
exec_for(struct tpl_render *r, const struct node *node)
{
	struct tv_scope *const outer = r->scope;
	struct tv over = tpl_eval(r, node->b), loop = {.kind = TV_LOOP};
	const struct tv_seq *seq = r->status ? NULL : tv_iterate(r, &over);
	enum flow flow = FLOW_ON;

	if (seq && node->c)
		seq = filter_items(r, node, seq);
	if (seq && !seq->n && node->n > 1)
		return exec_scoped(r, node->list[1]);
	for (size_t i = 0; seq && i < seq->n && flow != FLOW_BREAK && !r->status; i++) {
		/* Anew each round: a macro or the data's own list may keep the old one. */
		loop.loop = tpl_alloc(r, sizeof *loop.loop);
		r->scope = tpl_scope_new(r, outer);
		if (r->status)
			break;
		*loop.loop = (struct tv_loop){.seq = seq, .index0 = i};
		tpl_scope_set(r, r->scope, "loop", 4, loop);
		assign(r, node->a, seq->items[i]);
		flow = exec(r, node->list[0]);
		r->scope = outer;
	}
	r->scope = outer;
	return FLOW_ON;
}

/* Values are evaluated outside of the new scope, as Jinja2 does. */
static enum flow
exec_with(struct tpl_render *r, const struct node *node)
{
	struct tv_scope *const outer = r->scope, *inner = tpl_scope_new(r, outer);
	enum flow flow;

	for (size_t i = 0; i + 1 < node->n && !r->status; i += 2) {
		struct tv value = tpl_eval(r, node->list[i + 1]);

		r->scope = inner;
		assign(r, node->list[i], value);
		r->scope = outer;
	}
	r->scope = inner;
	flow = exec(r, node->a);
	r->scope = outer;
	return flow;
}

/* {% set x | filters %}body{% endset %}: x is set outside of the body's scope. */
static void
exec_set_block(struct tpl_render *r, const struct node *node)
{
	struct capture capture;
	struct tv value;

	capture_begin(r, &capture);
	(void)exec_scoped(r, node->c);
	value = capture_end(r, &capture);
	value = tpl_eval_filters(r, node->b, value);
	assign(r, node->a, value);
}

/* The body's text through the filters, to the output. */
static enum flow
exec_filter_block(struct tpl_render *r, const struct node *node)
{
	struct capture capture;
	enum flow flow;
	struct tv value;

	capture_begin(r, &capture);
	flow = exec_scoped(r, node->b);
	value = capture_end(r, &capture);
	value = tpl_eval_filters(r, node->a, value);
	value = tv_to_str(r, &value);
	if (!r->status)
		tpl_emit(r, value.text, value.len);
	return flow;
}

/* The body is a macro of its own, which the called one knows as caller. */
static void
exec_call_block(struct tpl_render *r, const struct node *node)
{
	struct tv caller = macro_value(r, node->a), value;

	value = tpl_eval_call(r, node->b, &caller);
	if (!r->status)
		tpl_emit(r, value.text, value.len);
}

/* The body goes to the output; where it begins and ends goes to the spans. */
static void
exec_generation(struct tpl_render *r, const struct node *node)
{
	const size_t begin = r->out->len - r->out_start;
	struct hn_spans *spans = r->spans;

	if (spans && r->captures)
		tpl_fail(r,
			"a generation block inside a macro or a set, call or filter block "
			"has no place in the text");
	(void)exec_scoped(r, node->a);
	if (!spans || r->status)
		return;
	spans->items = hn_grow(spans->items, &spans->cap, spans->n + 1, sizeof *spans->items);
	spans->items[spans->n++] =
		(struct hn_span){.begin = begin, .end = r->out->len - r->out_start, .message = -1};
}

/* Statements in a row, up to a break or continue. */
static enum flow
exec_body(struct tpl_render *r, const struct node *node)
{
	enum flow flow = FLOW_ON;

	for (size_t i = 0; i < node->n && flow == FLOW_ON && !r->status; i++)
		flow = exec(r, node->list[i]);
	return flow;
}

static enum flow
exec_node(struct tpl_render *r, const struct node *node)
{
	switch (node->kind) {
	case NODE_BODY:
		return exec_body(r, node);
	case NODE_DATA:
		tpl_emit(r, node->text, node->len);
		return FLOW_ON;
	case NODE_PRINT:
		print(r, node->a);
		return FLOW_ON;
	case NODE_IF:
		return exec_if(r, node);
	case NODE_FOR:
		return exec_for(r, node);
	case NODE_SET:
		assign(r, node->a, tpl_eval(r, node->b));
		return FLOW_ON;
	case NODE_SET_BLOCK:
		exec_set_block(r, node);
		return FLOW_ON;
	case NODE_WITH:
		return exec_with(r, node);
	case NODE_MACRO:
		tpl_scope_set(r, r->scope, node->text, node->len, macro_value(r, node));
		return FLOW_ON;
	case NODE_CALL_BLOCK:
		exec_call_block(r, node);
		return FLOW_ON;
	case NODE_FILTER_BLOCK:
		return exec_filter_block(r, node);
	case NODE_GENERATION:
		exec_generation(r, node);
		return FLOW_ON;
	case NODE_BREAK:
		return FLOW_BREAK;
	case NODE_CONTINUE:
		return FLOW_CONTINUE;
	default:
		tpl_fail(r, "this is no statement");
		return FLOW_ON;
	}
}

static enum flow
exec(struct tpl_render *r, const struct node *node)
{
	const struct node *const outer = r->at;
	enum flow flow = FLOW_ON;

	if (!tpl_spend(r, 0))
		return FLOW_ON;
	r->at = node;
	if (++r->depth > r->limits.depth)
		tpl_fail(r, "rendering is nested more than %d levels deep", r->limits.depth);
	else
		flow = exec_node(r, node);
	r->depth--;
	r->at = outer;
	return flow;
}

/* Fills in the defaults; lengths of texts and the stack set upper bounds. */
static void
set_limits(struct tpl_render *r, const struct hn_template_limits *limits)
{
	if (limits)
		r->limits = *limits;
	if (!r->limits.out_bytes)
		r->limits.out_bytes = OUT_BYTES;
	/* Lengths of strings have 32 bits. */
	if (!r->limits.mem_bytes || r->limits.mem_bytes > UINT32_MAX / 2)
		r->limits.mem_bytes = r->limits.mem_bytes ? UINT32_MAX / 2 : MEM_BYTES;
	if (!r->limits.steps)
		r->limits.steps = STEPS;
	if (r->limits.depth <= 0 || r->limits.depth > DEPTH)
		r->limits.depth = DEPTH;
}

enum hone_status
hn_template_render(const struct hn_template *tpl, const json_t *vars,
	const struct hn_template_limits *limits, struct hn_str *out, struct hn_spans *spans,
	struct hone_error *err)
{
	struct tpl_render r = {.out = out, .out_start = out->len, .spans = spans, .err = err};
	const size_t n_spans = spans ? spans->n : 0;
	struct tv all;

	set_limits(&r, limits);
	r.scope = tpl_scope_new(&r, NULL);
	if (json_is_object(vars) && !r.status) {
		all = tv_from_json(&r, vars, 0);
		for (size_t i = 0; !r.status && i < all.dict->n; i++) {
			const struct tv_pair *pair = &all.dict->items[i];

			tpl_scope_set(&r, r.scope, pair->key.text, pair->key.len, pair->value);
		}
	}
	/* What the template sets does not overwrite the caller's: a scope of its own. */
	r.scope = tpl_scope_new(&r, r.scope);
	if (!r.status)
		(void)exec(&r, tpl->body);
	hn_arena_fini(&r.arena);
	if (r.status) {
		out->len = r.out_start;
		if (out->text)
			out->text[out->len] = 0;
		if (spans)
			spans->n = n_spans;
	}
	return r.status;
}

void
hn_spans_fini(struct hn_spans *spans)
{
	free(spans->items);
	*spans = (struct hn_spans){0};
}
