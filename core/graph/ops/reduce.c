/*
 * reduce.c - sums and maxima along columns, and sums over rows.
 */
#include "graph/ops/ops.h"

/* [N,D] -> [N,1], of the rows' own space: still one number per row, so it may run in
 * chunks. */
static bool
infer_cols(struct hn_infer *infer)
{
	const struct hone_attr_reduce *attr = infer->attr;

	if (attr->kind < HONE_REDUCE_SUM || attr->kind > HONE_REDUCE_ARGMAX)
		return hn_infer_fail(infer, "no reduction %d", attr->kind);
	hn_infer_rows(infer, 0, infer->in[0], 1,
		attr->kind == HONE_REDUCE_ARGMAX ? HONE_DTYPE_I32 : infer->graph->stat);
	return true;
}

/* [N,D] -> [1,D], static: rows of any space become an ordinary row. */
static bool
infer_rows(struct hn_infer *infer)
{
	infer->out[0] = (struct hn_value){
		.dtype = infer->graph->stat, .rank = 2, .dim = {1, hn_value_cols(infer->in[0])}};
	return true;
}

/* A constant of the shape of rows whose number is known only when they are bound. */
static hone_node
ones_like(struct hone_graph *g, hone_node x, double value)
{
	const struct hone_attr_scale attr = {0.0, value};

	return hone_node_make(
		g, HONE_OP_FILL, x, hone_node_none(), hone_node_none(), &attr, sizeof attr);
}

/* dx = dy d, with d the derivative of the reduction along each row: 1, 1/D, where the
 * maximum is (each of several equal ones), or softmax(x) = e^(x - lse). ARGMAX has none. */
static void
backward_cols(struct hn_gradient *grad)
{
	const struct hone_attr_reduce *attr = grad->node->attr;
	struct hone_graph *g = &grad->graph->base;
	const hone_node x = grad->in[0], y = grad->out[0];
	const double n = (double)hn_value_cols(hn_graph_value(grad->graph, x.id));
	hone_node d;

	switch (attr->kind) {
	case HONE_REDUCE_SUM:
		d = ones_like(g, x, 1.0);
		break;
	case HONE_REDUCE_MEAN:
		d = ones_like(g, x, 1.0 / n);
		break;
	case HONE_REDUCE_MAX:
		d = hone_binary(g, x, y, HONE_BINARY_EQUAL);
		break;
	case HONE_REDUCE_LSE:
		d = hone_unary(g, hone_sub(g, x, y), HONE_UNARY_EXP);
		break;
	default:
		return;
	}
	grad->dx[0] = hone_mul(g, d, grad->dy[0]);
}

/* Every row had the weight 1. */
static void
backward_rows(struct hn_gradient *grad)
{
	grad->dx[0] = hone_broadcast(&grad->graph->base, grad->dy[0], grad->in[0]);
}

static bool
infer_scalar(struct hn_infer *infer)
{
	infer->out[0] = (struct hn_value){.dtype = infer->graph->stat, .rank = 1, .dim = {1}};
	return true;
}

static const struct hn_op table[] = {
	{HONE_OP_REDUCE_COLS, "reduce_cols", HN_OP_ROW_LOCAL | HN_OP_PURE,
		sizeof(struct hone_attr_reduce), 1, 1, 1, -1, infer_cols, backward_cols},
	{HONE_OP_REDUCE_ROWS, "reduce_rows", HN_OP_PURE | HN_OP_ACCUMULATES, 0, 1, 1, 1, -1,
		infer_rows, backward_rows},
	{HONE_OP_SUM_SQUARES, "sum_squares", HN_OP_PURE | HN_OP_ACCUMULATES, 0, 1, 1, 1, -1,
		infer_scalar, NULL},
};

const struct hn_op_family hn_ops_reduce = HN_OP_FAMILY(table);
