/*
 * support/op_cases.c - see op_cases.h.
 *
 * One function per op family appends its cases.  Row spaces: tokens, selection,
 * segments, their offsets, another key stream; all have capacity beyond their live rows.  Shapes are
 * chosen where kernels break: 0 rows, 1 row, 1 column, primes, and one more or less than the
 * sizes of registers, panels and blocks (16, 32, 64, 128).  The file is long because it is one
 * table: a family is read by itself.
 */
#include "op_cases.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATIC = 0, TOKENS = 1, SELECTION = 2, SEGMENTS = 3, KEYS = 4, OFFSETS = 5 };
#define CAPACITY 1800
#define SPARE    3 /* rows of capacity beyond the live ones */

const char *
op_name(uint32_t op)
{
	switch (op) {
#define NAME(name, value, text, flags)                                                             \
	case value:                                                                                \
		return text;
		HONE_OP_LIST(NAME)
#undef NAME
	default:
		return "?";
	}
}

/* ---- building blocks ---- */

/* Appends a case whose name starts with the operation's. */
HONE_PRINTF(3, 4)
static struct ops_case *
add(struct op_cases *t, uint32_t op, const char *fmt, ...)
{
	struct ops_case *c;
	va_list args;
	char what[64];

	t->too_many = t->n == CAPACITY;
	c = &t->items[t->too_many ? CAPACITY - 1 : t->n++];
	memset(c, 0, sizeof *c);
	c->op = op;
	c->seed = 7 * t->n;
	c->step = 3;
	va_start(args, fmt);
	(void)vsnprintf(what, sizeof what, fmt, args);
	va_end(args);
	(void)snprintf(c->name, sizeof c->name, "%s %s", op_name(op), what);
	return c;
}

/* [rows, cols] of a row space, with spare capacity, or static. */
static struct ops_operand
mat(int32_t dtype, uint32_t space, int64_t rows, int64_t cols)
{
	return (struct ops_operand){.dtype = dtype,
		.rank = 2,
		.space = space,
		.dim = {rows + (space ? SPARE : 0), cols}};
}

static struct ops_operand
vec(int32_t dtype, int64_t n)
{
	return (struct ops_operand){.dtype = dtype, .rank = 1, .dim = {n}};
}

static struct ops_operand
filled(struct ops_operand o, enum ops_fill fill, double a, double b)
{
	o.fill = (int32_t)fill;
	o.a = a;
	o.b = b;
	return o;
}

/* The numbers of a list, in rows of `cols` (1: a vector). */
static struct ops_operand
listed(uint32_t space, int64_t cols, const int32_t *list, int64_t n)
{
	return (struct ops_operand){.dtype = HONE_DTYPE_I32,
		.rank = cols > 1 ? 2 : 1,
		.space = space,
		.dim = {n / cols + SPARE, cols},
		.fill = OPS_FILL_LIST,
		.list = list,
		.n_list = n};
}

static void
input(struct ops_case *c, struct ops_operand o)
{
	c->in[c->n_in++] = o;
}

static void
output(struct ops_case *c, struct ops_operand o)
{
	c->out[c->n_out++] = o;
}

static void
tokens(struct ops_case *c, int64_t n)
{
	c->live[TOKENS] = n;
}

/* Values as kernels meet them at their worst. */
static const struct {
	const char *name;
	enum ops_fill fill;
	double a, b;
} values[] = {
	{"normal", OPS_FILL_NORMAL, 1, 0},
	{"1e4", OPS_FILL_NORMAL, 1e4, 0},
	{"zeros", OPS_FILL_CONST, 0, 0},
	{"subnormal", OPS_FILL_NORMAL, 1e-39, 0},
	{"large mean", OPS_FILL_NORMAL, 0.5, 100},
};
#define N_VALUES (sizeof values / sizeof values[0])

/* Rows and columns of what works row by row. */
static const int64_t row_shapes[][2] = {
	{0, 5}, {1, 1}, {1, 17}, {3, 1}, {5, 16}, {7, 33}, {13, 65}, {2, 577}, {129, 31}};
#define N_ROW_SHAPES (sizeof row_shapes / sizeof row_shapes[0])

/* ---- product ---- */

static const int64_t products[][3] = {/* N, O, I */
	{0, 5, 7}, {1, 1, 1}, {1, 64, 1}, {1, 3, 129}, {2, 17, 16}, {13, 7, 3}, {17, 33, 65},
	{31, 1, 129}, {64, 64, 64}, {65, 15, 31}, {63, 127, 32}, {129, 577, 65}};

static struct ops_case *
add_matmul(struct op_cases *t, int32_t form, const int64_t s[3], const char *what)
{
	static const char *const forms[] = {"nt", "nn", "tn"};
	const int64_t N = s[0], O = s[1], I = s[2];
	struct ops_case *c = add(t, HONE_OP_MATMUL, "%s %lldx%lldx%lld %s", forms[form],
		(long long)N, (long long)O, (long long)I, what);

	c->attr.matmul.form = form;
	c->attr_size = sizeof c->attr.matmul;
	tokens(c, N);
	input(c, mat(OPS_COMPUTE, TOKENS, N, form == HONE_MATMUL_NT ? I : O));
	if (form == HONE_MATMUL_TN) {
		input(c, mat(OPS_COMPUTE, TOKENS, N, I));
		output(c, mat(OPS_STAT, STATIC, O, I));
	} else {
		input(c, mat(OPS_COMPUTE, STATIC, O, I));
		output(c, mat(OPS_COMPUTE, TOKENS, N, form == HONE_MATMUL_NT ? O : I));
	}
	return c;
}

static void
add_product(struct op_cases *t)
{
	static const int32_t types[] = {HONE_DTYPE_F32, HONE_DTYPE_BF16, HONE_DTYPE_F16};
	static const int64_t odd[3] = {19, 35, 67};
	struct ops_case *c;

	for (int32_t form = HONE_MATMUL_NT; form <= HONE_MATMUL_TN; form++) {
		for (size_t i = 0; i < sizeof products / sizeof products[0]; i++)
			(void)add_matmul(t, form, products[i], "");
		for (size_t i = 1; i < N_VALUES; i++) {
			c = add_matmul(t, form, odd, values[i].name);
			c->in[0] = filled(c->in[0], values[i].fill, values[i].a, values[i].b);
		}
		for (size_t i = 0; i < 3; i++) {
			c = add_matmul(t, form, odd, hone_dtype_name(types[i]));
			c->in[1].dtype = types[i];
		}
		/* Plus a third operand, apart and in place. */
		c = add_matmul(t, form, odd, "plus c");
		input(c, c->out[0]);
		c = add_matmul(t, form, odd, "plus c in place");
		input(c, c->out[0]);
		c->out[0].alias = 3;
		/* The row operand lies outside a chunk. */
		c = add_matmul(t, form, odd, "window");
		c->in[0].flags = HONE_OPERAND_WINDOW;
		c->begin[TOKENS] = 2;
	}
	/* The similarity of rows with carried rows: the sum ends at the last live one. */
	c = add_matmul(t, HONE_MATMUL_NN, odd, "b of a row space");
	c->in[1] = mat(OPS_COMPUTE, KEYS, odd[1], odd[2]);
	c->in[0].dim[1] = c->in[1].dim[0];
	c->live[KEYS] = odd[1];
	c = add_matmul(t, HONE_MATMUL_TN, odd, "accumulate");
	c->flags = HONE_COMMAND_ACCUMULATE;
	c = add_matmul(t, HONE_MATMUL_TN, products[0], "accumulate");
	c->flags = HONE_COMMAND_ACCUMULATE;
	c = add_matmul(t, HONE_MATMUL_TN, odd, "both in a window");
	c->in[0].flags = c->in[1].flags = HONE_OPERAND_WINDOW;
	c->begin[TOKENS] = 3;
}

/* ---- elementwise ---- */

static void
add_unary(struct op_cases *t, int32_t kind, const int64_t shape[2], size_t value)
{
	const bool positive = kind == HONE_UNARY_LOG || kind == HONE_UNARY_SQRT ||
		kind == HONE_UNARY_RSQRT || kind == HONE_UNARY_RECIPROCAL;

	for (int back = 0; back < 2; back++) {
		struct ops_case *c =
			add(t, back ? HONE_OP_UNARY_BACK : HONE_OP_UNARY, "kind %d %lldx%lld %s",
				kind, (long long)shape[0], (long long)shape[1], values[value].name);
		struct ops_operand x = mat(OPS_COMPUTE, TOKENS, shape[0], shape[1]);

		c->attr.unary.kind = kind;
		c->attr_size = sizeof c->attr.unary;
		tokens(c, shape[0]);
		if (back)
			input(c, x);
		output(c, x);
		if (positive)
			x = filled(x, OPS_FILL_UNIFORM, 0.01, value == 1 ? 1e4 : 4);
		else if (kind != HONE_UNARY_EXP || value != 1)
			x = filled(x, values[value].fill, values[value].a, values[value].b);
		input(c, x);
	}
}

static void
add_binary(struct op_cases *t, int32_t kind, const int64_t shape[2])
{
	static const char *const how[] = {"full", "row", "1xD row", "column", "scalar"};

	for (int b = 0; b < 5; b++) {
		struct ops_case *c = add(t, HONE_OP_BINARY, "kind %d %lldx%lld %s", kind,
			(long long)shape[0], (long long)shape[1], how[b]);
		struct ops_operand x = mat(OPS_COMPUTE, TOKENS, shape[0], shape[1]), y = x;

		if (b == 1)
			y = vec(HONE_DTYPE_F32, shape[1]);
		else if (b == 2)
			y = mat(OPS_COMPUTE, STATIC, 1, shape[1]);
		else if (b == 3)
			y = mat(OPS_STAT, TOKENS, shape[0], 1);
		else if (b == 4)
			y = vec(OPS_STAT, 1);
		if (kind == HONE_BINARY_DIV)
			y = filled(y, OPS_FILL_UNIFORM, 0.25, 4);
		if (kind >= HONE_BINARY_MIN) { /* ties */
			x = filled(x, OPS_FILL_INTEGER, -2, 3);
			y = filled(y, OPS_FILL_INTEGER, -2, 3);
		}
		c->attr.binary.kind = kind;
		c->attr_size = sizeof c->attr.binary;
		tokens(c, shape[0]);
		input(c, x);
		input(c, y);
		output(c, mat(OPS_COMPUTE, TOKENS, shape[0], shape[1]));
	}
}

static void
add_elementwise(struct op_cases *t)
{
	static const int32_t types[] = {OPS_COMPUTE, OPS_STAT, HONE_DTYPE_F32, HONE_DTYPE_BF16,
		HONE_DTYPE_F16, HONE_DTYPE_I32, HONE_DTYPE_U8};
	struct ops_case *c;

	for (int32_t kind = HONE_UNARY_NEG; kind <= HONE_UNARY_QUICK_GELU; kind++) {
		for (size_t i = 0; i < N_ROW_SHAPES; i += 2)
			add_unary(t, kind, row_shapes[i], 0);
		for (size_t i = 1; i < N_VALUES; i++)
			add_unary(t, kind, row_shapes[5], i);
	}
	for (int32_t kind = HONE_BINARY_ADD; kind <= HONE_BINARY_EQUAL; kind++)
		for (size_t i = 0; i < N_ROW_SHAPES; i += 2)
			add_binary(t, kind, row_shapes[i]);
	for (int32_t kind = HONE_BINARY_LESS; kind <= HONE_BINARY_EQUAL; kind++) {
		c = add(t, HONE_OP_BINARY, "kind %d of i32", kind);
		c->attr.binary.kind = kind;
		c->attr_size = sizeof c->attr.binary;
		tokens(c, 13);
		input(c, filled(mat(HONE_DTYPE_I32, TOKENS, 13, 1), OPS_FILL_INTEGER, -2, 3));
		input(c, filled(mat(HONE_DTYPE_I32, TOKENS, 13, 1), OPS_FILL_INTEGER, -2, 3));
		output(c, mat(OPS_STAT, TOKENS, 13, 1));
	}
	for (size_t i = 0; i < N_ROW_SHAPES; i++) {
		const int64_t N = row_shapes[i][0], D = row_shapes[i][1];

		c = add(t, HONE_OP_SCALE, "%lldx%lld", (long long)N, (long long)D);
		c->attr.scale = (struct hone_attr_scale){-0.37, 1.25};
		c->attr_size = sizeof c->attr.scale;
		tokens(c, N);
		input(c, mat(OPS_COMPUTE, TOKENS, N, D));
		output(c, mat(OPS_COMPUTE, TOKENS, N, D));
		c = add(t, HONE_OP_FILL, "%lldx%lld", (long long)N, (long long)D);
		c->attr.scale = (struct hone_attr_scale){9, -2.5};
		c->attr_size = sizeof c->attr.scale;
		tokens(c, N);
		input(c, mat(OPS_COMPUTE, TOKENS, N, D));
		output(c, mat(OPS_COMPUTE, TOKENS, N, D));
	}
	for (size_t from = 0; from < 7; from++)
		for (size_t to = 2; to < 7; to++) {
			c = add(t, HONE_OP_CAST, "%d to %s", types[from],
				hone_dtype_name(types[to]));
			c->attr.cast.dtype = types[to];
			c->attr_size = sizeof c->attr.cast;
			tokens(c, 7);
			/* Within all types' range; the fractions of negative numbers too. */
			input(c,
				filled(mat(types[from], TOKENS, 7, 33), OPS_FILL_UNIFORM,
					types[from] == HONE_DTYPE_U8 || types[to] == HONE_DTYPE_U8
						? 0
						: -100,
					200));
			output(c, mat(types[to], TOKENS, 7, 33));
		}
}

/* ---- norms ---- */

static void
add_rms(struct op_cases *t, const int64_t shape[2], size_t value, uint32_t flags)
{
	const int64_t N = shape[0], D = shape[1];
	const struct ops_operand x = filled(mat(OPS_COMPUTE, TOKENS, N, D), values[value].fill,
		values[value].a, values[value].b);
	const struct ops_operand w = filled(vec(HONE_DTYPE_F32, D), OPS_FILL_NORMAL, 0.3, 1);
	const struct ops_operand y = mat(OPS_COMPUTE, TOKENS, N, D);
	const struct ops_operand stat = mat(OPS_STAT, TOKENS, N, 1);
	static const uint32_t ops[] = {
		HONE_OP_RMS_NORM, HONE_OP_RMS_NORM_BACK, HONE_OP_RMS_NORM_WEIGHT_BACK};

	for (size_t i = 0; i < 3; i++) {
		struct ops_case *c = add(t, ops[i], "%lldx%lld %s%s", (long long)N, (long long)D,
			values[value].name, flags && i == 2 ? " accumulate" : "");

		c->attr.norm.eps = 1e-6; /* the gradients have no attributes, their forward has */
		c->attr_size = i == 0 ? sizeof c->attr.norm : 0;
		c->slack = 4;
		tokens(c, N);
		if (i == 0) {
			input(c, x);
			input(c, w);
			output(c, y);
			output(c, stat);
			continue;
		}
		input(c, y);
		input(c, x);
		if (i == 1)
			input(c, w);
		input(c, stat);
		if (i == 1) {
			output(c, y);
			c->forward = (struct ops_forward){.op = HONE_OP_RMS_NORM,
				.attr_size = sizeof c->attr.norm,
				.n_out = 2,
				.in = {2, 3},
				.to = {0, 4},
				.out = {y, stat}};
		} else {
			output(c, vec(OPS_STAT, D));
			c->in[2] = filled(stat, OPS_FILL_UNIFORM, 0.5, 2);
			c->flags = flags;
		}
	}
}

static void
add_layer(struct op_cases *t, const int64_t shape[2], size_t value, uint32_t flags)
{
	const int64_t N = shape[0], D = shape[1];
	const struct ops_operand x = filled(mat(OPS_COMPUTE, TOKENS, N, D), values[value].fill,
		values[value].a, values[value].b);
	const struct ops_operand w = filled(vec(OPS_COMPUTE, D), OPS_FILL_NORMAL, 0.3, 1);
	const struct ops_operand y = mat(OPS_COMPUTE, TOKENS, N, D);
	const struct ops_operand stat = mat(OPS_STAT, TOKENS, N, 1);
	struct ops_case *c;

	c = add(t, HONE_OP_LAYER_NORM, "%lldx%lld %s", (long long)N, (long long)D,
		values[value].name);
	c->attr.norm.eps = 1e-5;
	c->attr_size = sizeof c->attr.norm;
	c->slack = 4;
	tokens(c, N);
	input(c, x);
	input(c, w);
	input(c, vec(OPS_COMPUTE, D));
	output(c, y);
	output(c, stat);
	output(c, stat);

	c = add(t, HONE_OP_LAYER_NORM_BACK, "%lldx%lld %s", (long long)N, (long long)D,
		values[value].name);
	c->attr.norm.eps = 1e-5; /* of the forward */
	c->slack = 4;
	tokens(c, N);
	input(c, y);
	input(c, x);
	input(c, w);
	input(c, stat);
	input(c, stat);
	output(c, y);
	c->forward = (struct ops_forward){.op = HONE_OP_LAYER_NORM,
		.attr_size = sizeof c->attr.norm,
		.n_out = 3,
		.in = {2, 3, 3},
		.to = {0, 4, 5},
		.out = {y, stat, stat}};

	c = add(t, HONE_OP_LAYER_NORM_WEIGHT_BACK, "%lldx%lld %s%s", (long long)N, (long long)D,
		values[value].name, flags ? " accumulate" : "");
	c->slack = 4;
	c->flags = flags;
	tokens(c, N);
	input(c, y);
	input(c, x);
	input(c, stat);
	input(c, filled(stat, OPS_FILL_UNIFORM, 0.5, 2));
	output(c, vec(OPS_STAT, D));
	output(c, vec(OPS_STAT, D));
}

static void
add_norms(struct op_cases *t)
{
	for (size_t i = 0; i < N_ROW_SHAPES; i++) {
		add_rms(t, row_shapes[i], 0, 0);
		add_layer(t, row_shapes[i], 0, 0);
	}
	for (size_t i = 1; i < N_VALUES; i++) {
		add_rms(t, row_shapes[6], i, 0);
		add_layer(t, row_shapes[6], i, 0);
	}
	add_rms(t, row_shapes[6], 0, HONE_COMMAND_ACCUMULATE);
	add_layer(t, row_shapes[6], 0, HONE_COMMAND_ACCUMULATE);
	add_rms(t, row_shapes[0], 0, HONE_COMMAND_ACCUMULATE);
	add_layer(t, row_shapes[0], 0, HONE_COMMAND_ACCUMULATE);
}

/* ---- rope ---- */

static void
add_rope_case(struct op_cases *t, int64_t N, int64_t H, int64_t K, int64_t n)
{
	struct ops_case *c =
		add(t, HONE_OP_ROPE_TABLE, "%lld rows, %lld", (long long)N, (long long)n);

	c->attr.rope_table.n = n;
	c->attr.rope_table.scale = 1.25;
	for (int64_t j = 0; j < n; j++)
		c->attr.rope_table.inv_freq[j] = pow(10000, -(double)j / (double)n);
	c->attr_size = sizeof c->attr.rope_table;
	tokens(c, N);
	input(c, filled(mat(HONE_DTYPE_I32, TOKENS, N, 1), OPS_FILL_INTEGER, 0, 100000));
	c->in[0].rank = 1;
	output(c, mat(OPS_STAT, TOKENS, N, 2 * n));
	for (int32_t layout = 0; layout < 2; layout++)
		for (int32_t inverse = 0; inverse < 2; inverse++) {
			c = add(t, HONE_OP_ROPE, "%lldx%lldx%lld of %lld, layout %d%s",
				(long long)N, (long long)H, (long long)K, (long long)n, layout,
				inverse ? " inverse" : "");
			c->attr.rope = (struct hone_attr_rope){K, layout, inverse};
			c->attr_size = sizeof c->attr.rope;
			tokens(c, N);
			input(c, mat(OPS_COMPUTE, TOKENS, N, H * K));
			input(c, filled(mat(OPS_STAT, TOKENS, N, 2 * n), OPS_FILL_UNIFORM, -1, 1));
			output(c, mat(OPS_COMPUTE, TOKENS, N, H * K));
		}
}

static void
add_rope(struct op_cases *t)
{
	add_rope_case(t, 0, 2, 4, 2);
	add_rope_case(t, 1, 1, 2, 1);
	add_rope_case(t, 7, 3, 64, 32);
	add_rope_case(t, 5, 2, 80, 16); /* partial: 32 of 80 columns turn */
	add_rope_case(t, 33, 9, 6, 3);
	add_rope_case(t, 2, 1, 256, 128);
}

/* ---- attention ---- */
struct attention_shape {
	const char *name;
	int64_t H, G, K, window, P;
	int32_t causal;
	double scale, softcap;
	double size;              /* of q */
	int64_t n_segments, N, L; /* L = 0: the keys are in the rows of the queries */
	const int32_t *q_offsets, *kv_ranges;
};

static const int32_t one_q[] = {0, 1}, one_kv[] = {0, 1};
static const int32_t few_q[] = {0, 5, 6, 6, 23}, few_kv[] = {0, 5, 5, 6, 6, 6, 6, 23};
static const int32_t two_q[] = {0, 65, 129}, two_kv[] = {0, 65, 65, 129};
static const int32_t long_q[] = {0, 131}, long_kv[] = {0, 131};
/* Keys of their own: more, fewer and no keys, shared keys, and keys of nobody (18, 19). */
static const int32_t own_q[] = {0, 3, 9, 10, 14, 17};
static const int32_t own_kv[] = {0, 7, 7, 10, 10, 10, 10, 18, 2, 9};

/* Queries 0, 6 and 7 are in no segment, and keys 0 and 7 in no range. */
static const int32_t gap_q[] = {1, 4, 4, 6}, gap_kv[] = {1, 4, 4, 4, 4, 7};

static const struct attention_shape attentions[] = {
	{"no rows", 2, 1, 4, 0, 0, 1, 0.5, 0, 1, 0, 0, 0, few_q, few_kv},
	{"one row", 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 1, 0, one_q, one_kv},
	{"causal", 4, 2, 16, 0, 0, 1, 0.25, 0, 1, 4, 23, 0, few_q, few_kv},
	{"bidirectional", 3, 3, 5, 0, 0, 0, 0.4, 0, 1, 4, 23, 0, few_q, few_kv},
	{"9 heads of 64", 9, 3, 64, 0, 0, 1, 0.125, 0, 1, 2, 129, 0, two_q, two_kv},
	{"head of 80", 2, 2, 80, 0, 0, 1, 0.11, 0, 1, 2, 129, 0, two_q, two_kv},
	{"head of 128", 2, 1, 128, 0, 0, 0, 0.09, 0, 1, 1, 131, 0, long_q, long_kv},
	{"window 1", 2, 1, 8, 1, 0, 1, 0.35, 0, 1, 4, 23, 0, few_q, few_kv},
	{"window 4", 2, 1, 8, 4, 0, 1, 0.35, 0, 1, 4, 23, 0, few_q, few_kv},
	{"window 70", 2, 2, 32, 70, 0, 1, 0.2, 0, 1, 1, 131, 0, long_q, long_kv},
	{"window, bidirectional", 2, 1, 8, 3, 0, 0, 0.35, 0, 1, 4, 23, 0, few_q, few_kv},
	{"softcap", 2, 1, 16, 0, 0, 1, 1, 5, 3, 4, 23, 0, few_q, few_kv},
	{"prefix", 4, 2, 16, 0, 5, 1, 0.25, 0, 1, 4, 23, 0, few_q, few_kv},
	{"prefix, window, softcap", 4, 1, 16, 3, 33, 1, 0.25, 2, 1, 4, 23, 0, few_q, few_kv},
	{"own keys", 2, 1, 8, 0, 0, 0, 0.35, 0, 1, 5, 17, 20, own_q, own_kv},
	{"own keys, causal", 2, 1, 8, 0, 0, 1, 0.35, 0, 1, 5, 17, 20, own_q, own_kv},
	{"own keys, causal, window", 2, 1, 8, 2, 0, 1, 0.35, 0, 1, 5, 17, 20, own_q, own_kv},
	{"own keys, prefix", 2, 2, 8, 0, 3, 1, 0.35, 0, 1, 5, 17, 20, own_q, own_kv},
	{"rows of no segment", 2, 1, 8, 0, 0, 1, 0.35, 0, 1, 3, 8, 0, gap_q, gap_kv},
	{"scores of 1e4", 2, 1, 16, 0, 0, 1, 1, 0, 3e3, 4, 23, 0, few_q, few_kv},
	{"zeros", 2, 1, 16, 0, 0, 1, 1, 0, 0, 4, 23, 0, few_q, few_kv},
};

static void
add_attention_case(struct op_cases *t, const struct attention_shape *a, bool back)
{
	const uint32_t keys = a->L ? KEYS : TOKENS;
	const int64_t L = a->L ? a->L : a->N;
	const struct ops_operand q = filled(mat(OPS_COMPUTE, TOKENS, a->N, a->H * a->K),
		a->size != 0 ? OPS_FILL_NORMAL : OPS_FILL_CONST, a->size, 0);
	const struct ops_operand o = mat(OPS_COMPUTE, TOKENS, a->N, a->H * a->K);
	const struct ops_operand k = mat(OPS_COMPUTE, keys, L, a->G * a->K);
	const struct ops_operand lse = mat(OPS_STAT, TOKENS, a->N, a->H);
	const struct ops_operand prefix = mat(HONE_DTYPE_F32, STATIC, a->P, a->G * a->K);
	const struct ops_operand ranges = listed(SEGMENTS, 2, a->kv_ranges, 2 * a->n_segments);
	struct ops_case *c =
		add(t, back ? HONE_OP_ATTENTION_BACK : HONE_OP_ATTENTION, "%s", a->name);

	c->attr.attention = (struct hone_attr_attention){
		a->H, a->G, a->K, a->window, a->causal, 0, a->scale, a->softcap};
	c->attr_size = sizeof c->attr.attention;
	c->slack = a->size > 100 ? 64 : 8; /* rounded q of 1e3: scores move by whole numbers */
	c->live[TOKENS] = a->N;
	c->live[KEYS] = a->L;
	c->live[SEGMENTS] = a->n_segments;
	c->live[OFFSETS] = a->n_segments + 1;
	if (back)
		input(c, o);
	input(c, q);
	input(c, k);
	input(c, k);
	if (back) {
		input(c, o);
		input(c, lse);
	}
	input(c, listed(OFFSETS, 1, a->q_offsets, a->n_segments + 1));
	input(c, ranges);
	if (a->P) {
		input(c, prefix);
		input(c, prefix);
	}
	output(c, o);
	if (!back) {
		output(c, lse);
		return;
	}
	output(c, k);
	output(c, k);
	c->forward = (struct ops_forward){.op = HONE_OP_ATTENTION,
		.attr_size = sizeof c->attr.attention,
		.n_out = 2,
		.in = {2, 3, 4, 7, 8},
		.to = {5, 6},
		.out = {o, lse}};
	if (a->P) {
		c->forward.in[5] = 9;
		c->forward.in[6] = 10;
		output(c, mat(OPS_STAT, STATIC, a->P, a->G * a->K));
		output(c, mat(OPS_STAT, STATIC, a->P, a->G * a->K));
	}
}

static void
add_attention(struct op_cases *t)
{
	for (size_t i = 0; i < sizeof attentions / sizeof attentions[0]; i++) {
		add_attention_case(t, &attentions[i], false);
		add_attention_case(t, &attentions[i], true);
	}
}

/* ---- rows and segments ---- */

static void
add_rows(struct op_cases *t)
{
	static const int64_t shapes[][3] = {/* V, M, D */
		{5, 0, 3}, {1, 1, 1}, {7, 13, 17}, {50, 31, 65}, {3, 129, 33}};
	static const int32_t types[] = {
		OPS_COMPUTE, HONE_DTYPE_F32, HONE_DTYPE_BF16, HONE_DTYPE_F16};
	struct ops_case *c;

	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
		const int64_t V = shapes[i][0], M = shapes[i][1], D = shapes[i][2];
		struct ops_operand index = mat(HONE_DTYPE_I32, SELECTION, M, 1);

		index.rank = 1;
		index = filled(index, OPS_FILL_INTEGER, 0, (double)V);
		for (size_t k = 0; k < 4; k++) {
			c = add(t, HONE_OP_GATHER_ROWS, "%lld of %lldx%lld, type %d", (long long)M,
				(long long)V, (long long)D, types[k]);
			c->live[SELECTION] = M;
			input(c, mat(types[k], STATIC, V, D));
			input(c, index);
			output(c, mat(OPS_COMPUTE, SELECTION, M, D));
		}
		for (int k = 0; k < 3; k++) { /* a static table, added to, a row space */
			const uint32_t space = k == 2 ? TOKENS : STATIC;

			c = add(t, HONE_OP_SCATTER_ADD_ROWS, "%lld into %lldx%lld%s", (long long)M,
				(long long)V, (long long)D,
				k == 0           ? ""
					: k == 1 ? " accumulate"
						 : " of a row space");
			c->attr.rows = (struct hone_attr_rows){space ? 0 : V, space, 0};
			c->attr_size = sizeof c->attr.rows;
			c->flags = k == 1 ? HONE_COMMAND_ACCUMULATE : 0;
			c->live[SELECTION] = M;
			c->live[TOKENS] = V;
			input(c, mat(OPS_COMPUTE, SELECTION, M, D));
			input(c, index);
			output(c, mat(space ? OPS_COMPUTE : OPS_STAT, space, V, D));
		}
		for (uint32_t alias = 0; alias < 2; alias++) {
			c = add(t, HONE_OP_PUT_ROWS, "%lld into %lldx%lld%s",
				(long long)(M < V ? M : V), (long long)V, (long long)D,
				alias ? " in place" : "");
			c->live[TOKENS] = V;
			c->live[SELECTION] = M < V ? M : V;
			input(c, mat(OPS_COMPUTE, TOKENS, V, D));
			input(c, mat(OPS_COMPUTE, SELECTION, M, D));
			input(c, filled(index, OPS_FILL_IOTA, (double)(V - 1), -1));
			output(c, mat(OPS_COMPUTE, TOKENS, V, D));
			c->out[0].alias = alias;
		}
	}
}

static const int32_t seg_none[] = {0}, seg_one[] = {0, 1};
static const int32_t seg_few[] = {0, 0, 5, 6, 6, 23, 23}, seg_long[] = {0, 64, 193, 210};
static const int32_t seg_gap[] = {2, 5, 5, 6}; /* rows 0, 1 and 6 are in none */
static const struct {
	const int32_t *offsets;
	int64_t S, N, D;
} segments[] = {{seg_none, 0, 0, 3}, {seg_one, 1, 1, 1}, {seg_few, 6, 23, 17}, {seg_few, 6, 23, 1},
	{seg_long, 3, 210, 65}, {seg_gap, 3, 7, 3}};

static void
add_segments(struct op_cases *t)
{
	static const int32_t kinds[] = {
		HONE_REDUCE_SUM, HONE_REDUCE_MEAN, HONE_REDUCE_MAX, HONE_REDUCE_LSE, -1};

	for (size_t i = 0; i < sizeof segments / sizeof segments[0]; i++) {
		const int64_t S = segments[i].S, N = segments[i].N, D = segments[i].D;
		const struct ops_operand offsets = listed(OFFSETS, 1, segments[i].offsets, S + 1);
		const struct ops_operand y = mat(OPS_STAT, SEGMENTS, S, D);
		struct ops_case *c;

		for (size_t k = 0; kinds[k] > 0; k++)
			for (int ties = 0; ties < 2; ties++) {
				struct ops_operand x = mat(OPS_COMPUTE, TOKENS, N, D);

				x = ties ? filled(x, OPS_FILL_INTEGER, -2, 3) : x;
				c = add(t, HONE_OP_SEGMENT_REDUCE, "kind %d %lldx%lld%s", kinds[k],
					(long long)N, (long long)D, ties ? " ties" : "");
				c->attr.reduce.kind = kinds[k];
				c->attr_size = sizeof c->attr.reduce;
				c->live[TOKENS] = N;
				c->live[SEGMENTS] = S;
				c->live[OFFSETS] = S + 1;
				input(c, x);
				input(c, offsets);
				output(c, y);
				c = add(t, HONE_OP_SEGMENT_REDUCE_BACK, "kind %d %lldx%lld%s",
					kinds[k], (long long)N, (long long)D, ties ? " ties" : "");
				c->attr.reduce.kind = kinds[k];
				c->attr_size = sizeof c->attr.reduce;
				c->live[TOKENS] = N;
				c->live[SEGMENTS] = S;
				c->live[OFFSETS] = S + 1;
				input(c, y);
				input(c, x);
				input(c, y);
				input(c, offsets);
				output(c, mat(OPS_COMPUTE, TOKENS, N, D));
				c->forward = (struct ops_forward){.op = HONE_OP_SEGMENT_REDUCE,
					.attr_size = sizeof c->attr.reduce,
					.n_out = 1,
					.in = {2, 4},
					.to = {3},
					.out = {y}};
			}
		c = add(t, HONE_OP_SEGMENT_BROADCAST, "%lldx%lld", (long long)N, (long long)D);
		c->live[TOKENS] = N;
		c->live[SEGMENTS] = S;
		c->live[OFFSETS] = S + 1;
		input(c, mat(OPS_STAT, SEGMENTS, S, D));
		input(c, offsets);
		input(c, mat(OPS_COMPUTE, TOKENS, N, 3));
		output(c, mat(OPS_STAT, TOKENS, N, D));
	}
}

/* ---- reductions, loss, randomness, shape, optimizer ---- */

static void
add_reductions(struct op_cases *t)
{
	struct ops_case *c;

	for (size_t i = 0; i < N_ROW_SHAPES; i++) {
		const int64_t N = row_shapes[i][0], D = row_shapes[i][1];

		for (int32_t kind = HONE_REDUCE_SUM; kind <= HONE_REDUCE_ARGMAX; kind++)
			for (size_t v = 0; v < 4; v++) {
				c = add(t, HONE_OP_REDUCE_COLS, "kind %d %lldx%lld %s", kind,
					(long long)N, (long long)D,
					v == 3 ? "ties" : values[v].name);
				c->attr.reduce.kind = kind;
				c->attr_size = sizeof c->attr.reduce;
				c->slack = 4;
				tokens(c, N);
				input(c,
					v == 3 ? filled(mat(OPS_COMPUTE, TOKENS, N, D),
							 OPS_FILL_INTEGER, -2, 3)
					       : filled(mat(OPS_COMPUTE, TOKENS, N, D),
							 values[v].fill, values[v].a, values[v].b));
				output(c,
					mat(kind == HONE_REDUCE_ARGMAX ? HONE_DTYPE_I32 : OPS_STAT,
						TOKENS, N, 1));
			}
		for (uint32_t flags = 0; flags < 2; flags++) {
			c = add(t, HONE_OP_REDUCE_ROWS, "%lldx%lld%s", (long long)N, (long long)D,
				flags ? " accumulate" : "");
			c->flags = flags;
			c->slack = 4;
			tokens(c, N);
			input(c, mat(OPS_COMPUTE, TOKENS, N, D));
			output(c, mat(OPS_STAT, STATIC, 1, D));
			c = add(t, HONE_OP_SUM_SQUARES, "%lldx%lld%s", (long long)N, (long long)D,
				flags ? " accumulate" : "");
			c->flags = flags;
			tokens(c, N);
			input(c, mat(OPS_COMPUTE, TOKENS, N, D));
			output(c, vec(OPS_STAT, 1));
		}
	}
}

static void
add_loss(struct op_cases *t)
{
	static const int64_t shapes[][2] = {{0, 7}, {1, 1}, {1, 2}, {13, 17}, {5, 577}, {66, 33}};

	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
		for (size_t v = 0; v < 4; v++)
			for (int kind = 0; kind < 3; kind++) { /* forward, backward, in place */
				const int64_t M = shapes[i][0], V = shapes[i][1];
				const struct ops_operand x =
					filled(mat(OPS_COMPUTE, SELECTION, M, V), values[v].fill,
						values[v].a, values[v].b);
				const struct ops_operand stat = mat(OPS_STAT, SELECTION, M, 1);
				struct ops_operand labels = mat(HONE_DTYPE_I32, SELECTION, M, 1);
				struct ops_case *c = add(t, kind ? HONE_OP_NLL_BACK : HONE_OP_NLL,
					"%lldx%lld %s%s", (long long)M, (long long)V,
					values[v].name, kind == 2 ? " in place" : "");

				labels.rank = 1;
				c->attr.nll.label_smoothing = v & 1 ? 0.1 : 0;
				c->attr_size = sizeof c->attr.nll;
				c->live[SELECTION] = M;
				if (kind)
					input(c, stat);
				input(c, x);
				input(c,
					filled(labels, OPS_FILL_INTEGER, M > 2 ? -2 : 0,
						(double)V));
				if (!kind) {
					output(c, stat);
					output(c, stat);
					continue;
				}
				input(c, stat);
				output(c, mat(OPS_COMPUTE, SELECTION, M, V));
				c->out[0].alias = kind == 2 ? 2 : 0;
				c->forward = (struct ops_forward){.op = HONE_OP_NLL,
					.attr_size = sizeof c->attr.nll,
					.n_out = 2,
					.in = {2, 3},
					.to = {0, 4},
					.out = {stat, stat}};
			}
}

static void
add_shape(struct op_cases *t)
{
	struct ops_case *c;

	for (size_t i = 0; i < N_ROW_SHAPES; i++) {
		const int64_t N = row_shapes[i][0], D = row_shapes[i][1];

		c = add(t, HONE_OP_DROPOUT, "%lldx%lld", (long long)N, (long long)D);
		c->attr.dropout =
			(struct hone_attr_dropout){i % 3 ? 0.25 : 0.5, 0x1234567890abcdefu + i};
		c->attr_size = sizeof c->attr.dropout;
		tokens(c, N);
		input(c, mat(OPS_COMPUTE, TOKENS, N, D));
		input(c, filled(mat(HONE_DTYPE_I32, TOKENS, N, 2), OPS_FILL_INTEGER, 0, 1000));
		output(c, mat(OPS_COMPUTE, TOKENS, N, D));

		c = add(t, HONE_OP_SLICE_COLS, "%lldx%lld", (long long)N, (long long)D);
		c->attr.slice = (struct hone_attr_slice){D / 3, D - D / 4};
		c->attr_size = sizeof c->attr.slice;
		tokens(c, N);
		input(c, mat(OPS_COMPUTE, TOKENS, N, D));
		output(c, mat(OPS_COMPUTE, TOKENS, N, D - D / 4 - D / 3));

		c = add(t, HONE_OP_CONCAT_COLS, "%lldx%lld", (long long)N, (long long)D);
		tokens(c, N);
		input(c, mat(OPS_COMPUTE, TOKENS, N, D));
		input(c, mat(OPS_COMPUTE, TOKENS, N, 1));
		input(c, mat(HONE_DTYPE_F32, TOKENS, N, 2 * D));
		output(c, mat(OPS_COMPUTE, TOKENS, N, 3 * D + 1));

		for (int from = 0; from < 3; from++) {
			c = add(t, HONE_OP_BROADCAST, "%lldx%lld from %d", (long long)N,
				(long long)D, from);
			tokens(c, N);
			input(c,
				from == 0 ? mat(OPS_STAT, STATIC, 1, D)
					  : vec(OPS_STAT, from == 1 ? D : 1));
			input(c, mat(OPS_COMPUTE, TOKENS, N, 2));
			output(c, mat(OPS_STAT, TOKENS, N, D));
		}
	}
	for (int64_t n = 1; n < 300; n = 3 * n + 2) {
		c = add(t, HONE_OP_ADAMW, "%lld", (long long)n);
		c->attr.adamw = (struct hone_attr_adamw){0.9, 0.999, 1e-8, 0.01, 0.5};
		c->attr_size = sizeof c->attr.adamw;
		input(c, mat(HONE_DTYPE_F32, STATIC, 1, n));
		input(c, mat(OPS_STAT, STATIC, 1, n));
		input(c, mat(HONE_DTYPE_F32, STATIC, 1, n));
		input(c, filled(mat(HONE_DTYPE_F32, STATIC, 1, n), OPS_FILL_UNIFORM, 0, 2));
		input(c, filled(vec(HONE_DTYPE_F32, 4), OPS_FILL_UNIFORM, 0.1, 0.9));
		for (uint32_t k = 0; k < 3; k++) {
			static const uint32_t in_place[] = {1, 3, 4};

			output(c, mat(HONE_DTYPE_F32, STATIC, 1, n));
			c->out[k].alias = in_place[k];
		}
	}
}

/* ---- windows ---- */

/* Whether an operation may stand in a region that runs in row chunks. */
static bool
may_be_chunked(uint32_t op)
{
	switch (op) {
#define FLAGS(name, value, text, flags)                                                            \
	case value:                                                                                \
		return strchr(flags, 'R') || strchr(flags, 'A');
		HONE_OP_LIST(FLAGS)
#undef FLAGS
	default:
		return false;
	}
}

/* Some rows, and no memory shared between operands. */
static bool
is_plain(const struct ops_case *c)
{
	bool plain = c->live[TOKENS] >= 5 || c->live[SELECTION] >= 5;

	for (uint32_t i = 0; i < c->n_out; i++)
		plain = plain && !c->out[i].alias;
	return plain;
}

/* Repeats one case of each operation as a chunk sees it: inputs, then outputs too, lie in
 * tensors that begin before the chunk. */
static void
add_windows(struct op_cases *t)
{
	const size_t n = t->n;
	bool done[64] = {false};

	for (size_t i = 0; i < n; i++) {
		const struct ops_case from = t->items[i];

		if (!may_be_chunked(from.op) || done[from.op] || !is_plain(&from))
			continue;
		done[from.op] = true;
		for (int both = 0; both < 2; both++) {
			struct ops_case *c = add(t, from.op, "%s", "");

			*c = from;
			(void)snprintf(c->name, sizeof c->name, "%s in a window%s",
				op_name(from.op), both ? ", into a window" : "");
			for (uint32_t k = 0; k < OPS_SPACES; k++)
				c->begin[k] = SPARE - 1;
			for (uint32_t k = 0; k < c->n_in; k++)
				c->in[k].flags = c->in[k].space ? HONE_OPERAND_WINDOW : 0;
			for (uint32_t k = 0; both && k < c->n_out; k++)
				c->out[k].flags = c->out[k].space ? HONE_OPERAND_WINDOW : 0;
		}
	}
}

/* Repeats a case of each operation whose output may lie in the memory of operand 0 so. */
static void
add_in_place(struct op_cases *t)
{
	static const uint32_t ops[] = {HONE_OP_UNARY, HONE_OP_UNARY_BACK, HONE_OP_BINARY,
		HONE_OP_SCALE, HONE_OP_ROPE, HONE_OP_DROPOUT};
	const size_t n = t->n;

	for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++)
		for (size_t i = 0; i < n; i++) {
			const struct ops_case from = t->items[i];
			struct ops_case *c;

			if (from.op != ops[k] || !is_plain(&from) || from.begin[TOKENS] ||
				from.in[0].dtype != from.out[0].dtype)
				continue;
			c = add(t, from.op, "%s", "");
			*c = from;
			(void)snprintf(c->name, sizeof c->name, "%.80s in place", from.name);
			c->out[0].alias = 1;
		}
}

bool
op_cases_init(struct op_cases *cases)
{
	memset(cases, 0, sizeof *cases);
	cases->items = calloc(CAPACITY, sizeof *cases->items);
	if (!cases->items)
		return false;
	add_product(cases);
	add_elementwise(cases);
	add_norms(cases);
	add_rope(cases);
	add_attention(cases);
	add_rows(cases);
	add_segments(cases);
	add_reductions(cases);
	add_loss(cases);
	add_shape(cases);
	add_windows(cases);
	add_in_place(cases);
	return !cases->too_many;
}

void
op_cases_fini(struct op_cases *cases)
{
	free(cases->items);
	memset(cases, 0, sizeof *cases);
}
