/*
 * text/template_impl.h - what the parts of the chat template share; private to template_*.c.
 *
 *   text -> [template_lex] tokens -> [template_parse, template_expr] tree
 *        -> [template_exec, template_eval] values and output
 *
 * Failure is latched: the first error is kept in the parser or renderer, later calls do
 * nothing and give an undefined value, and every loop looks at the latch.  So straight-line
 * code needs no check per call.
 */
#ifndef HN_TEXT_TEMPLATE_IMPL_H
#define HN_TEXT_TEMPLATE_IMPL_H

#include "base/arena.h"
#include "text/template.h"

#define TPL_PLACE     HN_TEMPLATE_PLACE
#define TPL_DEPTH_MAX 200 /* of the tree, and of nested values */
#define TPL_ARGS_MAX  4   /* named parameters of a filter or method */

/* ---- tokens ---- */

enum tok_kind {
	TOK_EOF,
	TOK_DATA,
	TOK_BLOCK_BEGIN,
	TOK_BLOCK_END,
	TOK_PRINT_BEGIN,
	TOK_PRINT_END,
	TOK_NAME,
	TOK_STRING,
	TOK_INT,
	TOK_FLOAT,
	TOK_OP,
};

/* Operators are their characters: '+', or first | second << 8. */
#define TOK_PAIR(a, b) ((a) | (b) << 8)

struct tok {
	enum tok_kind kind;
	int32_t line, column;
	int op;
	const char *text; /* data, name, decoded string */
	size_t len;
	int64_t i;
	double f;
};

struct tok_list {
	struct tok *items;
	size_t n, cap;
};

/* Cuts `text` into tokens that end with TOK_EOF; strings live in the arena, the array is the
 * caller's to free, also on error. */
enum hone_status tpl_lex(struct hn_arena *arena, const char *text, size_t len, struct tok_list *out,
	struct hone_error *err);

/* ---- tree ---- */

enum node_kind {
	/* expressions */
	NODE_CONST,   /* value */
	NODE_NAME,    /* text */
	NODE_LIST,    /* list */
	NODE_TUPLE,   /* list */
	NODE_DICT,    /* list: key, value, key, value ... */
	NODE_ATTR,    /* a . text */
	NODE_ITEM,    /* a [ b ] */
	NODE_SLICE,   /* list of 3, NULL = absent; only as b of NODE_ITEM */
	NODE_CALL,    /* a ( list ), names of the keyword arguments */
	NODE_FILTER,  /* a | filter(list); a = NULL in filter and set blocks */
	NODE_TEST,    /* a is test(list) */
	NODE_NOT,     /* a */
	NODE_NEG,     /* a */
	NODE_POS,     /* a */
	NODE_AND,     /* a, b */
	NODE_OR,      /* a, b */
	NODE_BINARY,  /* a op b */
	NODE_CONCAT,  /* list */
	NODE_COMPARE, /* list of operands, ops[i] between i and i + 1 */
	NODE_IF_EXPR, /* a if b else c; c may be NULL */
	NODE_NSREF,   /* text . attr, an assignment target only */
	/* statements */
	NODE_DATA,         /* text */
	NODE_PRINT,        /* a */
	NODE_IF,           /* list: test, body, test, body ..., [else body] */
	NODE_FOR,          /* a in b if c; list: body, else body or NULL */
	NODE_SET,          /* a = b */
	NODE_SET_BLOCK,    /* a; b = filters or NULL; c = body */
	NODE_WITH,         /* list: target, value ...; a = body */
	NODE_MACRO,        /* text; list: parameter names; defaults; a = body */
	NODE_CALL_BLOCK,   /* a = NODE_MACRO of the body, b = the call */
	NODE_FILTER_BLOCK, /* a = filters, b = body */
	NODE_GENERATION,   /* a = body */
	NODE_BREAK,
	NODE_CONTINUE,
	NODE_BODY, /* list of statements */
};

struct tv;
struct node;
struct tpl_render;

enum cmp_op { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE, CMP_IN, CMP_NOT_IN };

struct node_kwarg {
	const char *name;
	size_t len;
	struct node *value;
};

struct node {
	enum node_kind kind;
	int32_t line, column;
	int32_t depth; /* of the tree below */
	int op;        /* of NODE_BINARY */
	struct node *a, *b, *c;
	struct node **list;
	size_t n;
	struct node_kwarg *kwargs; /* of calls; parameters of macros: name and default or NULL */
	size_t n_kwargs;
	enum cmp_op *ops;
	const char *text, *attr;
	size_t len, attr_len;
	const struct tv *value;
	const struct tpl_filter *filter;
	const struct tpl_test *test;
};

struct hn_template {
	struct hn_arena arena;
	struct node *body;
	bool has_generation;
};

struct tpl_parse {
	struct hn_arena *arena;
	const struct tok *tok; /* the current one; stays on TOK_EOF */
	struct hone_error *err;
	enum hone_status status;
	int32_t depth;
	int32_t loops; /* for loops around the current place, within this function body */
	bool has_generation;
};

HONE_PRINTF(3, 4)
void tpl_parse_fail(struct tpl_parse *p, const struct tok *at, const char *fmt, ...);
struct node *tpl_node(struct tpl_parse *p, enum node_kind kind, const struct tok *at);
/* Notes that `child` (may be NULL) hangs below `parent`; fails when the tree gets too deep. */
void tpl_node_adopt(struct tpl_parse *p, struct node *parent, const struct node *child);
/* Appends to parent->list and adopts; amortised growth inside the arena. */
void tpl_node_append(struct tpl_parse *p, struct node *parent, struct node *child);
bool tpl_at_op(const struct tpl_parse *p, int op);
bool tpl_at_name(const struct tpl_parse *p, const char *name);
bool tpl_skip_op(struct tpl_parse *p, int op);
bool tpl_skip_name(struct tpl_parse *p, const char *name);
void tpl_next(struct tpl_parse *p);
void tpl_expect_op(struct tpl_parse *p, int op);
const struct tok *tpl_expect_name(struct tpl_parse *p);
void tpl_kwarg_append(
	struct tpl_parse *p, struct node *node, const struct tok *name, struct node *value);

/* Enters one level of recursion; false (and a failure) beyond the limit.  The caller leaves
 * with p->depth-- in either case. */
bool tpl_enter(struct tpl_parse *p);
struct node *tpl_node_two(struct tpl_parse *p, enum node_kind kind, const struct tok *at,
	struct node *a, struct node *b);
/* true, none and their like. */
bool tpl_constant_of_name(const struct tok *tok, struct tv *out);

/* Expressions.  An expression, or a tuple where commas follow; `with_if` = "a if b" is read.
 * Never NULL, also after a failure. */
struct node *tpl_parse_expr(struct tpl_parse *p, bool with_if);
struct node *tpl_parse_tuple(struct tpl_parse *p, bool with_if, bool in_parentheses);
struct node *tpl_parse_unary(struct tpl_parse *p, bool with_filter);
/* A name, namespace attribute or tuple of them to assign to. */
struct node *tpl_parse_target(struct tpl_parse *p, bool with_namespace);
/* "| f | g(x)" behind `node`, which may be NULL; `inline_first` = the first has no bar. */
struct node *tpl_parse_filters(struct tpl_parse *p, struct node *node, bool inline_first);
/* Statements: the whole template. */
struct node *tpl_parse_template(struct tpl_parse *p);

/* ---- values ---- */

enum tv_kind {
	TV_ABSENT, /* an argument that was not given; never a value of the template */
	TV_UNDEFINED,
	TV_NONE,
	TV_BOOL,
	TV_INT,
	TV_FLOAT,
	TV_STR,
	TV_SEQ,
	TV_DICT,
	TV_NAMESPACE,
	TV_LOOP,
	TV_MACRO,
	TV_METHOD,
	TV_GLOBAL,
};

enum seq_kind { SEQ_LIST, SEQ_TUPLE, SEQ_RANGE, SEQ_VIEW, SEQ_GENERATOR };

struct tv {
	uint8_t kind;
	bool flag;    /* string: markup of safe and escape; undefined: a missing attribute */
	uint32_t len; /* string in bytes, undefined: of its name */
	union {
		bool b;
		int64_t i;
		double f;
		const char *text; /* not NUL-terminated */
		struct tv_seq *seq;
		struct tv_dict *dict; /* dict and namespace */
		struct tv_loop *loop;
		struct tv_macro *macro;
		struct tv_bound *bound;
		const struct tpl_global *global;
	};
};

struct tv_seq {
	enum seq_kind kind;
	bool is_spent; /* a generator that was read */
	struct tv *items;
	size_t n, cap;
};

struct tv_pair {
	struct tv key, value;
};

struct tv_dict {
	struct tv_pair *items; /* in the order of insertion */
	size_t n, cap;
};

struct tv_loop {
	const struct tv_seq *seq;
	size_t index0;
};

struct tv_binding {
	const char *name;
	size_t len;
	struct tv value;
	struct tv_binding *next;
};

struct tv_scope {
	struct tv_scope *parent;
	struct tv_binding *first;
};

struct tv_macro {
	const struct node *node;
	struct tv_scope *scope; /* where it was written */
};

struct tv_bound {
	struct tv self;
	const struct tpl_method *method;
};

/* Arguments of a call. */
struct tv_args {
	struct tv *items;
	size_t n;
	struct tv_arg_kw {
		const char *name;
		size_t len;
		struct tv value;
	} * kw;
	size_t n_kw;
};

/* One rendering. */
struct tpl_render {
	struct hn_arena arena;
	struct hn_template_limits limits;
	uint64_t steps, mem;
	int32_t depth;
	int32_t captures; /* open bodies whose text is a value, not yet output */
	struct hn_str *out;
	size_t out_start;
	struct hn_spans *spans;
	struct tv_scope *scope;
	const struct node *at; /* for errors: the node being evaluated */
	struct hone_error *err;
	enum hone_status status;
};

HONE_PRINTF(2, 3) void tpl_fail(struct tpl_render *r, const char *fmt, ...);
/* Spends steps for `bytes` that are moved or compared; false once something has failed. */
bool tpl_spend(struct tpl_render *r, uint64_t bytes);
/* Memory of the rendering, or NULL (and the latch set) beyond the limit. */
void *tpl_alloc(struct tpl_render *r, uint64_t bytes);
void tpl_emit(struct tpl_render *r, const char *text, size_t len);

static inline struct tv
tv_undefined(void)
{
	return (struct tv){.kind = TV_UNDEFINED, .text = ""};
}
static inline struct tv
tv_none(void)
{
	return (struct tv){.kind = TV_NONE};
}
static inline struct tv
tv_bool(bool b)
{
	return (struct tv){.kind = TV_BOOL, .b = b};
}
static inline struct tv
tv_int(int64_t i)
{
	return (struct tv){.kind = TV_INT, .i = i};
}
static inline struct tv
tv_float(double f)
{
	return (struct tv){.kind = TV_FLOAT, .f = f};
}
/* A string that borrows its bytes (at most 4 GiB: every text has passed tpl_alloc or lies
 * in the template). */
static inline struct tv
tv_str(const char *text, size_t len)
{
	return (struct tv){.kind = TV_STR, .text = text, .len = (uint32_t)len};
}
static inline bool
tv_is(const struct tv *v, enum tv_kind kind)
{
	return v->kind == kind;
}

/* Copies into the rendering's memory; moves a finished hn_str there and frees it. */
struct tv tv_str_copy(struct tpl_render *r, const char *text, size_t len);
struct tv tv_str_take(struct tpl_render *r, struct hn_str *str);
struct tv tv_seq_new(struct tpl_render *r, enum seq_kind kind, size_t cap);
void tv_seq_push(struct tpl_render *r, struct tv_seq *seq, struct tv item);
struct tv tv_dict_new(struct tpl_render *r, enum tv_kind kind, size_t cap);
void tv_dict_put(struct tpl_render *r, struct tv_dict *dict, struct tv key, struct tv value);
const struct tv *tv_dict_find(
	struct tpl_render *r, const struct tv_dict *dict, const struct tv *key);
struct tv tv_from_json(struct tpl_render *r, const json_t *json, int depth);

bool tv_truth(const struct tv *v);
bool tv_eq(struct tpl_render *r, const struct tv *a, const struct tv *b, int depth);
/* < 0, 0, > 0; fails where Python has no order. */
int tv_order(struct tpl_render *r, const struct tv *a, const struct tv *b, int depth);
bool tv_compare(struct tpl_render *r, enum cmp_op op, const struct tv *a, const struct tv *b);
bool tv_equals_text(const struct tv *v, const char *text);
/* Items of anything that can be iterated, as one sequence; spends a generator. */
const struct tv_seq *tv_iterate(struct tpl_render *r, const struct tv *v);
/* Python's str(): a borrowed or new string. */
struct tv tv_to_str(struct tpl_render *r, const struct tv *v);
const char *tv_type_name(const struct tv *v);
void tv_put_float(struct hn_str *out, double f);
/* json.dumps. */
struct json_style {
	bool ensure_ascii, sort_keys;
	int64_t indent; /* -1 = one line */
	struct tv item_separator, key_separator;
};
void tv_put_json(struct tpl_render *r, struct hn_str *out, const struct tv *v,
	const struct json_style *style);

/* ---- texts (template_text.c) ---- */

bool text_is_space(uint32_t code_point);
/* Bytes of the code point at text[0..len); 1 for a stray byte. */
size_t text_next(const char *text, size_t len, uint32_t *code_point);
size_t text_count(const char *text, size_t len);
/* Where text[0..len) begins and ends without `chars` (absent or none = whitespace). */
enum text_side { TEXT_LEFT = 1, TEXT_RIGHT = 2, TEXT_BOTH = 3 };
struct tv text_strip(
	struct tpl_render *r, const struct tv *text, const struct tv *chars, enum text_side side);
/* Offset of needle in text from `from`, or SIZE_MAX. */
size_t text_find(const char *text, size_t len, size_t from, const char *needle, size_t n);
struct tv text_replace(struct tpl_render *r, const struct tv *text, const struct tv *old,
	const struct tv *by, int64_t count);
struct tv text_split(
	struct tpl_render *r, const struct tv *text, const struct tv *separator, int64_t max);
struct tv text_lines(struct tpl_render *r, const struct tv *text);
enum text_case { CASE_LOWER, CASE_UPPER, CASE_CAPITALIZE, CASE_TITLE, CASE_TITLE_FILTER };
struct tv text_case(struct tpl_render *r, const struct tv *text, enum text_case how);
struct tv text_slice(struct tpl_render *r, const struct tv *text, const struct tv bounds[3]);
struct tv text_escape(struct tpl_render *r, const struct tv *text);
/* Python's slice.indices(): start, stop, step and the number of items. */
bool slice_indices(struct tpl_render *r, const struct tv bounds[3], size_t n, int64_t *start,
	int64_t *step, size_t *count);

/* ---- operators ---- */

/* a op b of two defined values; op is the token's character, or two as TOK_PAIR. */
struct tv tpl_binary(struct tpl_render *r, int op, const struct tv *a, const struct tv *b);
struct tv tpl_sign(struct tpl_render *r, bool is_minus, const struct tv *v);

/* ---- filters, tests, attributes, calls ---- */

struct tpl_filter {
	const char *name;
	const char *params; /* names with one space between; "*" = takes what comes */
	struct tv (*fn)(struct tpl_render *r, const struct tv *v, const struct tv *arg);
	struct tv (*fn_any)(struct tpl_render *r, const struct tv *v, const struct tv_args *args);
};
const struct tpl_filter *tpl_filter_find(const char *name, size_t len);
const struct tpl_filter *tpl_sequence_filter_find(const char *name, size_t len);
/* Arguments of filters: str(v); a truth, an int (none = missing), or what stands for them. */
struct tv tpl_soft_str(struct tpl_render *r, const struct tv *v);
bool tpl_flag_of(const struct tv *arg, bool missing);
int64_t tpl_int_of(struct tpl_render *r, const struct tv *arg, int64_t missing, const char *what);
/* Fails when v is undefined; true once anything has failed. */
bool tpl_is_undefined(struct tpl_render *r, const struct tv *v);

struct tpl_test {
	const char *name;
	int n_args;
	bool (*fn)(struct tpl_render *r, const struct tv *v, const struct tv *arg);
};
const struct tpl_test *tpl_test_find(const char *name, size_t len);

struct tpl_method {
	const char *name;
	uint8_t kind; /* enum tv_kind of self */
	const char *params;
	struct tv (*fn)(struct tpl_render *r, const struct tv *self, const struct tv *arg);
	struct tv (*fn_any)(
		struct tpl_render *r, const struct tv *self, const struct tv_args *args);
};

struct tpl_global {
	const char *name;
	struct tv (*fn)(struct tpl_render *r, const struct tv_args *args);
};
/* Is name[0..len) this word, or one of these with spaces between? */
bool tpl_is_word(const char *name, size_t len, const char *word);
bool tpl_has_word(const char *words, const char *name, size_t len);

const struct tpl_global *tpl_global_find(const char *name, size_t len);
/* True for names that Jinja2 or transformers define and we do not. */
bool tpl_global_is_refused(const char *name, size_t len);

/* Lays `args` out by the parameter names; what is not given is TV_ABSENT. */
bool tpl_bind(struct tpl_render *r, const char *what, const char *params,
	const struct tv_args *args, struct tv out[TPL_ARGS_MAX]);
struct tv tpl_filter_apply(struct tpl_render *r, const struct tpl_filter *filter,
	const struct tv *v, const struct tv_args *args);
bool tpl_test_apply(struct tpl_render *r, const struct tpl_test *test, const struct tv *v,
	const struct tv_args *args);
/* v.name and v[key] as Jinja2's environment.getattr and getitem. */
struct tv tpl_get_attr(struct tpl_render *r, const struct tv *v, const char *name, size_t len);
struct tv tpl_get_item(struct tpl_render *r, const struct tv *v, const struct tv *key);
struct tv tpl_get_slice(struct tpl_render *r, const struct tv *v, const struct tv bounds[3]);

/* ---- running ---- */

struct tv tpl_eval(struct tpl_render *r, const struct node *node);
void tpl_eval_args(struct tpl_render *r, const struct node *node, struct tv_args *args);
struct tv tpl_call_macro(struct tpl_render *r, const struct tv_macro *macro,
	const struct tv_args *args, const struct tv *caller);
/* Runs the call of a {% call %} block; `caller` is its body. */
struct tv tpl_eval_call(struct tpl_render *r, const struct node *node, const struct tv *caller);
/* `input` through the filters of `node`, which may be NULL and ends in a filter without a. */
struct tv tpl_eval_filters(struct tpl_render *r, const struct node *node, struct tv input);
struct tv_scope *tpl_scope_new(struct tpl_render *r, struct tv_scope *parent);
void tpl_scope_set(struct tpl_render *r, struct tv_scope *scope, const char *name, size_t len,
	struct tv value);
struct tv tpl_lookup(struct tpl_render *r, const char *name, size_t len);

#endif
