/*
 * test_graph_ops.c - every differentiable op, through hn_graph_backward, against central
 * differences in double.
 *
 * Each case builds a graph of few nodes from trained values; the loss is a weighted sum of
 * the result, so that every element has its own cotangent.  The arena is full of NaN before
 * each run.  Would catch a rule of ops/ that forgets an operand, sums over the wrong axis of
 * a broadcast, passes operands in another order than the kernel takes them, or has a gradient
 * lost between its op and the parameter.
 */
#include "graph_lab.h"
#include "support.h"

/* ---- elementwise ---- */

static void
unary(struct lab *lab, int32_t kind)
{
	const bool is_positive = kind == HONE_UNARY_LOG || kind == HONE_UNARY_SQRT ||
		kind == HONE_UNARY_RSQRT || kind == HONE_UNARY_RECIPROCAL;

	lab_loss(lab,
		hone_unary(lab->g,
			lab_rows(lab, 3, is_positive ? 2.0 : 0.1, is_positive ? 0.3 : 1.0), kind));
}

static void
scale(struct lab *lab, int32_t kind)
{
	(void)kind;
	lab_loss(lab, hone_affine(lab->g, lab_rows(lab, 3, 0.0, 1.0), -1.5, 0.25));
}

static void
cast(struct lab *lab, int32_t kind)
{
	const struct hone_attr_cast attr = {kind, 0};
	const hone_node x = hone_affine(lab->g, lab_rows(lab, 3, 0.0, 1.0), 2.0, 0.0);

	lab_loss(lab,
		hone_node_make(lab->g, HONE_OP_CAST, x, hone_node_none(), hone_node_none(), &attr,
			sizeof attr));
}

static void
binary_same(struct lab *lab, int32_t kind)
{
	lab_loss(lab,
		hone_binary(lab->g, lab_rows(lab, 3, 0.0, 1.0), lab_rows(lab, 3, 3.0, 0.4), kind));
}

static void
binary_row(struct lab *lab, int32_t kind)
{
	lab_loss(lab,
		hone_binary(
			lab->g, lab_rows(lab, 3, 0.0, 1.0), lab_param(lab, 3, 0, 2.0, 0.4), kind));
	lab_loss(lab,
		hone_binary(
			lab->g, lab_rows(lab, 3, 0.0, 1.0), lab_param(lab, 1, 3, 2.0, 0.4), kind));
}

static void
binary_column(struct lab *lab, int32_t kind)
{
	lab_loss(lab,
		hone_binary(lab->g, lab_rows(lab, 3, 0.0, 1.0), lab_rows(lab, 1, 2.0, 0.4), kind));
}

static void
binary_static_column(struct lab *lab, int32_t kind)
{
	lab_loss(lab,
		hone_binary(lab->g, lab_param(lab, 4, 3, 0.0, 1.0), lab_param(lab, 4, 1, 2.0, 0.4),
			kind));
}

static void
binary_scalar(struct lab *lab, int32_t kind)
{
	lab_loss(lab,
		hone_binary(
			lab->g, lab_rows(lab, 3, 0.0, 1.0), lab_param(lab, 1, 0, 2.0, 0.4), kind));
}

static void
binary_static(struct lab *lab, int32_t kind)
{
	lab_loss(lab,
		hone_binary(lab->g, lab_param(lab, 4, 3, 0.0, 1.0), lab_param(lab, 4, 3, 2.0, 0.4),
			kind));
}

/* ---- norms and positions ---- */

static void
norm(struct lab *lab, int32_t kind)
{
	const struct hone_attr_norm attr = {1e-5};
	const hone_node in[3] = {hone_scale(lab->g, lab_rows(lab, 6, 0.2, 1.0), 1.5),
		lab_param(lab, 6, 0, 1.0, 0.3), lab_param(lab, 6, 0, 0.0, 0.3)};
	const bool is_layer = kind == HONE_OP_LAYER_NORM;
	hone_node out[3] = {{0}, {0}, {0}};

	(void)lab->g->vt->node(lab->g, (uint32_t)kind, is_layer ? 3 : 2, in, &attr, sizeof attr,
		is_layer ? 3 : 2, out);
	lab_loss(lab, out[0]);
	if (!is_layer)
		lab_loss(lab, in[2]);
}

static void
rope(struct lab *lab, int32_t kind)
{
	struct hone_attr_rope_table table = {.n = 2, .scale = 1.1, .inv_freq = {1.0, 0.3}};
	const struct hone_attr_rope attr = {.head_dim = 6, .layout = kind};
	const hone_node t = hone_node_make(lab->g, HONE_OP_ROPE_TABLE, lab_positions(lab),
		hone_node_none(), hone_node_none(), &table, sizeof table);

	lab_loss(lab,
		hone_node_make(lab->g, HONE_OP_ROPE, lab_rows(lab, 12, 0.0, 1.0), t,
			hone_node_none(), &attr, sizeof attr));
}

/* ---- attention ---- */

enum { PREFIX = 1, CAUSAL = 2, WINDOW = 4, CAP = 8, SHARED = 16 };

static void
attention(struct lab *lab, int32_t kind)
{
	const struct hone_attr_attention attr = {.n_heads = 4,
		.n_kv_heads = 2,
		.head_dim = 3,
		.causal = (kind & CAUSAL) != 0,
		.window = kind & WINDOW ? 2 : 0,
		.softcap = kind & CAP ? 1.5 : 0.0,
		.scale = 0.6};
	hone_node in[7], out[2] = {{0}, {0}};

	in[0] = lab_rows(lab, 12, 0.0, 1.0);
	in[1] = lab_rows(lab, 6, 0.0, 1.0);
	in[2] = kind & SHARED ? in[1] : lab_rows(lab, 6, 0.0, 1.0);
	in[3] = lab_offsets(lab);
	in[4] = lab_ranges(lab);
	in[5] = kind & PREFIX ? lab_param(lab, 2, 6, 0.0, 1.0) : hone_node_none();
	in[6] = kind & PREFIX ? lab_param(lab, 2, 6, 0.0, 1.0) : hone_node_none();
	(void)lab->g->vt->node(
		lab->g, HONE_OP_ATTENTION, kind & PREFIX ? 7 : 5, in, &attr, sizeof attr, 2, out);
	lab_loss(lab, out[0]);
}

/* ---- rows and segments ---- */

static void
gather(struct lab *lab, int32_t kind)
{
	(void)kind;
	lab_loss(lab, hone_gather_rows(lab->g, lab_rows(lab, 3, 0.0, 1.0), lab_index(lab)));
	lab_loss(lab, hone_gather_rows(lab->g, lab_param(lab, 8, 2, 0.0, 1.0), lab_index(lab)));
}

static void
scatter(struct lab *lab, int32_t kind)
{
	const struct hone_attr_rows attr = {.rows = kind ? 0 : 9, .space = kind ? lab->rows : 0};

	lab_loss(lab,
		hone_node_make(lab->g, HONE_OP_SCATTER_ADD_ROWS, lab_picked(lab, 3, 0.0, 1.0),
			lab_index(lab), hone_node_none(), &attr, sizeof attr));
}

/* An index that holds a row twice would have two gradients for one place. */
static void
put(struct lab *lab, int32_t kind)
{
	const hone_node x = lab_rows(lab, 3, 0.0, 1.0);

	(void)kind;
	lab_loss(lab,
		hone_put_rows(lab->g, lab_param(lab, 20, 3, 0.0, 1.0),
			hone_unary(lab->g, x, HONE_UNARY_TANH), lab_positions(lab)));
}

static void
segment_reduce(struct lab *lab, int32_t kind)
{
	lab_loss(lab,
		hone_segment_reduce(lab->g, lab_rows(lab, 3, 0.0, 1.0), lab_offsets(lab), kind));
}

static void
segment_broadcast(struct lab *lab, int32_t kind)
{
	const hone_node x = lab_rows(lab, 3, 0.0, 1.0);
	const hone_node mean = hone_segment_reduce(lab->g, x, lab_offsets(lab), HONE_REDUCE_MEAN);

	(void)kind;
	lab_loss(lab,
		hone_mul(lab->g, x,
			hone_node_make(lab->g, HONE_OP_SEGMENT_BROADCAST, mean, lab_offsets(lab), x,
				NULL, 0)));
}

static void
reduce_cols(struct lab *lab, int32_t kind)
{
	const hone_node x = lab_rows(lab, 4, 0.0, 1.0);

	lab_loss(lab, hone_mul(lab->g, x, hone_reduce_cols(lab->g, x, kind)));
}

static void
reduce_rows(struct lab *lab, int32_t kind)
{
	const hone_node x = lab_rows(lab, 4, 0.0, 1.0);

	(void)kind;
	lab_loss(lab, hone_mul(lab->g, x, hone_sum_rows(lab->g, x)));
}

static void
nll(struct lab *lab, int32_t kind)
{
	lab_loss(lab,
		hone_nll(lab->g, lab_picked(lab, 5, 0.0, 1.0), lab_labels(lab),
			(double)kind / 10.0));
}

/* ---- shapes and dropout ---- */

static void
slice_concat(struct lab *lab, int32_t kind)
{
	const hone_node x = lab_rows(lab, 6, 0.0, 1.0);
	const hone_node in[3] = {hone_slice_cols(lab->g, x, 4, 6), hone_slice_cols(lab->g, x, 0, 3),
		lab_rows(lab, 2, 0.0, 1.0)};
	hone_node out = {0};

	(void)kind;
	(void)lab->g->vt->node(lab->g, HONE_OP_CONCAT_COLS, 3, in, NULL, 0, 1, &out);
	lab_loss(lab, hone_unary(lab->g, out, HONE_UNARY_SQUARE));
}

static void
broadcast(struct lab *lab, int32_t kind)
{
	const hone_node like = lab_rows(lab, 2, 0.0, 1.0);
	const hone_node x = kind == 2 ? lab_param(lab, 1, 3, 0.0, 1.0)
				      : lab_param(lab, kind ? 3 : 1, 0, 0.0, 1.0);

	lab_loss(lab, hone_broadcast(lab->g, x, like));
	lab_loss(lab, like);
}

static void
dropout(struct lab *lab, int32_t kind)
{
	const struct hone_attr_dropout attr = {.p = 0.4, .stream = 99};

	(void)kind;
	lab_loss(lab,
		hone_node_make(lab->g, HONE_OP_DROPOUT, lab_rows(lab, 6, 0.0, 1.0), lab_keys(lab),
			hone_node_none(), &attr, sizeof attr));
}

/* ---- products ---- */

static void
matmul(struct lab *lab, int32_t form)
{
	const hone_node a = lab_rows(lab, 4, 0.0, 1.0);
	const hone_node b = form == HONE_MATMUL_TN ? lab_rows(lab, 3, 0.0, 1.0)
		: form == HONE_MATMUL_NT           ? lab_param(lab, 5, 4, 0.0, 1.0)
						   : lab_param(lab, 4, 5, 0.0, 1.0);

	lab_loss(lab, hone_matmul(lab->g, a, b, form));
}

/* Both operands are parameters, as in B A of a merged update. */
static void
matmul_static(struct lab *lab, int32_t form)
{
	const hone_node a = form == HONE_MATMUL_TN ? lab_param(lab, 4, 3, 0.0, 1.0)
						   : lab_param(lab, 3, 4, 0.0, 1.0);
	const hone_node b = form == HONE_MATMUL_NT ? lab_param(lab, 5, 4, 0.0, 1.0)
						   : lab_param(lab, 4, 5, 0.0, 1.0);

	lab_loss(lab, hone_matmul(lab->g, a, b, form));
}

static void
matmul_addend(struct lab *lab, int32_t form)
{
	const struct hone_attr_matmul attr = {form, 0};

	lab_loss(lab,
		hone_node_make(lab->g, HONE_OP_MATMUL, lab_rows(lab, 4, 0.0, 1.0),
			form == HONE_MATMUL_NT ? lab_param(lab, 5, 4, 0.0, 1.0)
					       : lab_param(lab, 4, 5, 0.0, 1.0),
			lab_rows(lab, 5, 0.0, 1.0), &attr, sizeof attr));
}

#define UNARY(name)                                                                                \
	{                                                                                          \
		"unary " #name, unary, HONE_UNARY_##name                                           \
	}
#define BINARY(name)                                                                               \
	{"binary same " #name, binary_same, HONE_BINARY_##name},                                   \
		{"binary row " #name, binary_row, HONE_BINARY_##name},                             \
		{"binary column " #name, binary_column, HONE_BINARY_##name},                       \
		{"binary static column " #name, binary_static_column, HONE_BINARY_##name},         \
		{"binary scalar " #name, binary_scalar, HONE_BINARY_##name},                       \
	{                                                                                          \
		"binary static " #name, binary_static, HONE_BINARY_##name                          \
	}

static const struct lab_case cases[] = {
	UNARY(NEG),
	UNARY(EXP),
	UNARY(LOG),
	UNARY(SQRT),
	UNARY(RSQRT),
	UNARY(SQUARE),
	UNARY(ABS),
	UNARY(RECIPROCAL),
	UNARY(SIGMOID),
	UNARY(LOGSIGMOID),
	UNARY(SOFTPLUS),
	UNARY(TANH),
	UNARY(RELU),
	UNARY(SILU),
	UNARY(GELU),
	UNARY(GELU_TANH),
	UNARY(QUICK_GELU),
	{"scale", scale, 0},
	{"cast", cast, HONE_DTYPE_F64},
	BINARY(ADD),
	BINARY(SUB),
	BINARY(MUL),
	BINARY(DIV),
	BINARY(MIN),
	BINARY(MAX),
	{"rms_norm", norm, HONE_OP_RMS_NORM},
	{"layer_norm", norm, HONE_OP_LAYER_NORM},
	{"rope halves", rope, HONE_ROPE_HALVES},
	{"rope interleaved", rope, HONE_ROPE_INTERLEAVED},
	{"attention", attention, 0},
	{"attention causal", attention, CAUSAL},
	{"attention window", attention, CAUSAL | WINDOW},
	{"attention softcap", attention, CAUSAL | CAP},
	{"attention prefix", attention, CAUSAL | PREFIX},
	{"attention prefix window softcap", attention, PREFIX | WINDOW | CAP},
	{"attention k is v", attention, CAUSAL | SHARED},
	{"gather", gather, 0},
	{"scatter static", scatter, 0},
	{"scatter rows", scatter, 1},
	{"put", put, 0},
	{"segment sum", segment_reduce, HONE_REDUCE_SUM},
	{"segment mean", segment_reduce, HONE_REDUCE_MEAN},
	{"segment max", segment_reduce, HONE_REDUCE_MAX},
	{"segment lse", segment_reduce, HONE_REDUCE_LSE},
	{"segment broadcast", segment_broadcast, 0},
	{"cols sum", reduce_cols, HONE_REDUCE_SUM},
	{"cols mean", reduce_cols, HONE_REDUCE_MEAN},
	{"cols max", reduce_cols, HONE_REDUCE_MAX},
	{"cols lse", reduce_cols, HONE_REDUCE_LSE},
	{"rows sum", reduce_rows, 0},
	{"nll", nll, 0},
	{"nll smoothed", nll, 2},
	{"slice and concat", slice_concat, 0},
	{"broadcast [1]", broadcast, 0},
	{"broadcast [D]", broadcast, 1},
	{"broadcast [1,D]", broadcast, 2},
	{"dropout", dropout, 0},
	{"matmul NT", matmul, HONE_MATMUL_NT},
	{"matmul NN", matmul, HONE_MATMUL_NN},
	{"matmul TN", matmul, HONE_MATMUL_TN},
	{"matmul NT static", matmul_static, HONE_MATMUL_NT},
	{"matmul NN static", matmul_static, HONE_MATMUL_NN},
	{"matmul TN static", matmul_static, HONE_MATMUL_TN},
	{"matmul NT addend", matmul_addend, HONE_MATMUL_NT},
	{"matmul NN addend", matmul_addend, HONE_MATMUL_NN},
};

static void
test_graph_ops_gradients_equal_differences(void **state)
{
	(void)state;
	assert_int_equal(lab_check_cases(cases, sizeof cases / sizeof cases[0], false), 0);
}

/* Would catch an addition that is folded into a product whose value is read elsewhere. */
static void
test_graph_ops_fused_gradients_equal_differences(void **state)
{
	(void)state;
	assert_int_equal(lab_check_cases(cases, sizeof cases / sizeof cases[0], true), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_graph_ops_gradients_equal_differences),
		cmocka_unit_test(test_graph_ops_fused_gradients_equal_differences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
