/*
 * elementwise.c - unary and binary functions, affine maps, casts, fills.
 *
 * The second operand of a binary op may be a row, a column or a scalar; its gradient is then
 * the sum over what was repeated:
 *
 *     y = x o row:     drow    = sum over rows of dx         [1,D]
 *     y = x o column:  dcolumn = sum over columns of dx      [N,1]
 *     y = x o scalar:  dscalar = sum over both               [1,1]
 */
#include "graph/ops/ops.h"

/* One number without rows. */
static bool
is_scalar(const struct hn_value *value)
{
	return !value->space && hn_value_elems(value) == 1;
}

/* One number per column: [D] or [1,D]. */
static bool
is_row(const struct hn_value *value, int64_t cols)
{
	return !value->space && hn_value_elems(value) == cols &&
		(value->rank == 1 || value->dim[0] == 1);
}

/* [n] as [n,1] or the reverse, which meet as equals: added to nothing of the shape wanted. */
static hone_node
in_shape_of(struct hone_graph *g, hone_node x, hone_node like)
{
	const struct hone_attr_scale zero = {0.0, 0.0};

	return hone_add(g,
		hone_node_make(g, HONE_OP_FILL, like, hone_node_none(), hone_node_none(), &zero,
			(uint32_t)sizeof zero),
		x);
}

/* Sums what was repeated: over both axes for a scalar, over rows for a row, over columns
 * for a column. */
hone_node
hn_reduce_to(struct hn_graph *graph, hone_node full, hone_node like)
{
	struct hone_graph *g = &graph->base;
	const struct hn_value *f = hn_graph_value(graph, full.id);
	const struct hn_value *l = hn_graph_value(graph, like.id);

	if (f->space == l->space && hn_value_elems(f) == hn_value_elems(l) &&
		f->dim[0] == l->dim[0])
		return f->rank == l->rank ? full : in_shape_of(g, full, like);
	if (is_scalar(l))
		return hone_sum_rows(g, hone_reduce_cols(g, full, HONE_REDUCE_SUM));
	if (is_row(l, hn_value_cols(f)))
		return hone_sum_rows(g, full);
	return hone_reduce_cols(g, full, HONE_REDUCE_SUM);
}

/* Shape and type of the operand. */
static bool
infer_same(struct hn_infer *infer)
{
	if (!hn_is_float(infer->in[0]->dtype))
		return hn_infer_fail(infer, "the operand holds no numbers");
	hn_infer_like(infer, 0, infer->in[0], infer->in[0]->dtype);
	return true;
}

/* A vector may be a row or a column of a static matrix; its length does not tell where the
 * matrix is square, so it is refused beside every one.  A row [1,D], a column [R,1] and rows
 * of a row space leave no doubt. */
static bool
names_no_axis(const struct hn_value *a, const struct hn_value *b)
{
	return !a->space && a->rank == 2 && a->dim[0] > 1 && a->dim[1] > 1 && !b->space &&
		b->rank == 1 && b->dim[0] > 1;
}

static bool
infer_binary(struct hn_infer *infer)
{
	const struct hone_attr_binary *attr = infer->attr;
	const struct hn_value *a = infer->in[0], *b = infer->in[1];
	const bool is_same = a->space == b->space && a->dim[0] == b->dim[0] &&
		hn_value_cols(a) == hn_value_cols(b);
	const bool is_column = a->space == b->space && a->dim[0] == b->dim[0] &&
		hn_value_cols(b) == 1 && (b->rank == 2 || b->space);

	if (names_no_axis(a, b))
		return hn_infer_fail(infer,
			"a vector beside a matrix names no axis; hone_scale_rows and "
			"hone_scale_cols do");
	if (!is_same && !is_column && !is_row(b, hn_value_cols(a)) && !is_scalar(b)) {
		if (a->space != b->space && a->space && b->space)
			return hn_infer_fail(infer, "rows of '%s' meet rows of '%s'",
				infer->graph->spaces[a->space].name,
				infer->graph->spaces[b->space].name);
		return hn_infer_fail(infer,
			"the second operand is neither of the same shape nor a row, a column, a "
			"scalar%s",
			hn_is_vector(b) ? HN_SCALE_HINT : "");
	}
	if (a->dtype == HONE_DTYPE_I32 && b->dtype == HONE_DTYPE_I32 &&
		(attr->kind == HONE_BINARY_LESS || attr->kind == HONE_BINARY_EQUAL)) {
		hn_infer_like(infer, 0, a, infer->graph->stat);
		return true;
	}
	if (!hn_is_float(a->dtype) || !hn_is_float(b->dtype))
		return hn_infer_fail(infer, "whole numbers can only be compared with each other");
	hn_infer_like(infer, 0, a, a->dtype);
	return true;
}

static bool
infer_back(struct hn_infer *infer)
{
	if (hn_value_elems(infer->in[0]) != hn_value_elems(infer->in[1]) ||
		infer->in[0]->space != infer->in[1]->space)
		return hn_infer_fail(infer, "gradient and operand differ in shape");
	hn_infer_like(infer, 0, infer->in[0], infer->in[0]->dtype);
	return true;
}

/* Any type of the closed list; the shape stays. */
static bool
infer_cast(struct hn_infer *infer)
{
	const struct hone_attr_cast *attr = infer->attr;

	if (!hone_dtype_bytes(attr->dtype))
		return hn_infer_fail(infer, "no type %d", attr->dtype);
	hn_infer_like(infer, 0, infer->in[0], attr->dtype);
	return true;
}

static void
backward_unary(struct hn_gradient *grad)
{
	grad->dx[0] = hone_node_make(&grad->graph->base, HONE_OP_UNARY_BACK, grad->dy[0],
		grad->in[0], hone_node_none(), grad->node->attr, grad->node->attr_size);
}

/* Where a < b, per kind of minimum or maximum: 1 for the side that was taken. */
static void
backward_choice(struct hn_gradient *grad, bool is_max)
{
	struct hone_graph *g = &grad->graph->base;
	const hone_node less = hone_binary(g, grad->in[0], grad->in[1], HONE_BINARY_LESS);
	const hone_node not_less = hone_affine(g, less, -1.0, 1.0);

	if (grad->wants[0])
		grad->dx[0] = hone_mul(g, grad->dy[0], is_max ? not_less : less);
	if (grad->wants[1])
		grad->dx[1] = hone_mul(g, grad->dy[0], is_max ? less : not_less);
}

/* By the kind: a + b: dy, dy. a - b: dy, -dy. a b: dy b, dy a. a / b: dy / b, -dy y / b.
 * min, max: dy to the side that was taken. The second operand's is then summed over what
 * was repeated. */
static void
backward_binary(struct hn_gradient *grad)
{
	const struct hone_attr_binary *attr = grad->node->attr;
	struct hone_graph *g = &grad->graph->base;
	const hone_node a = grad->in[0], b = grad->in[1], dy = grad->dy[0];

	switch (attr->kind) {
	case HONE_BINARY_ADD:
		grad->dx[0] = grad->dx[1] = dy;
		break;
	case HONE_BINARY_SUB:
		grad->dx[0] = dy;
		if (grad->wants[1])
			grad->dx[1] = hone_scale(g, dy, -1.0);
		break;
	case HONE_BINARY_MUL:
		if (grad->wants[0])
			grad->dx[0] = hone_mul(g, dy, b);
		if (grad->wants[1])
			grad->dx[1] = hone_mul(g, dy, a);
		break;
	case HONE_BINARY_DIV:
		if (grad->wants[0])
			grad->dx[0] = hone_div(g, dy, b);
		if (grad->wants[1])
			grad->dx[1] =
				hone_scale(g, hone_div(g, hone_mul(g, dy, grad->out[0]), b), -1.0);
		break;
	case HONE_BINARY_MIN:
	case HONE_BINARY_MAX:
		backward_choice(grad, attr->kind == HONE_BINARY_MAX);
		break;
	default: /* comparisons have no gradient */
		return;
	}
	if (grad->wants[1] && grad->dx[1].id)
		grad->dx[1] = hn_reduce_to(grad->graph, grad->dx[1], b);
}

/* d(alpha x + beta) = alpha dx. */
static void
backward_scale(struct hn_gradient *grad)
{
	const struct hone_attr_scale *attr = grad->node->attr;

	grad->dx[0] = hone_scale(&grad->graph->base, grad->dy[0], attr->alpha);
}

/* Back to the operand's type: the rounding itself has slope 1. */
static void
backward_cast(struct hn_gradient *grad)
{
	const struct hone_attr_cast attr = {hn_graph_value(grad->graph, grad->in[0].id)->dtype, 0};

	grad->dx[0] = hone_node_make(&grad->graph->base, HONE_OP_CAST, grad->dy[0],
		hone_node_none(), hone_node_none(), &attr, sizeof attr);
}

enum { LOCAL = HN_OP_ROW_LOCAL | HN_OP_PURE };

static const struct hn_op table[] = {
	{HONE_OP_UNARY, "unary", LOCAL, sizeof(struct hone_attr_unary), 1, 1, 1, 0, infer_same,
		backward_unary},
	{HONE_OP_UNARY_BACK, "unary_back", LOCAL, sizeof(struct hone_attr_unary), 2, 2, 1, 0,
		infer_back, NULL},
	{HONE_OP_BINARY, "binary", LOCAL, sizeof(struct hone_attr_binary), 2, 2, 1, 0, infer_binary,
		backward_binary},
	{HONE_OP_SCALE, "scale", LOCAL, sizeof(struct hone_attr_scale), 1, 1, 1, 0, infer_same,
		backward_scale},
	{HONE_OP_CAST, "cast", LOCAL, sizeof(struct hone_attr_cast), 1, 1, 1, -1, infer_cast,
		backward_cast},
	{HONE_OP_FILL, "fill", LOCAL, sizeof(struct hone_attr_scale), 1, 1, 1, -1, infer_same,
		NULL},
};

const struct hn_op_family hn_ops_elementwise = HN_OP_FAMILY(table);
