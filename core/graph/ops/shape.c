/*
 * shape.c - columns sliced and joined, rows repeated, dropout.
 */
#include "graph/ops/ops.h"

static bool
infer_slice(struct hn_infer *infer)
{
	const struct hone_attr_slice *attr = infer->attr;
	const struct hn_value *x = infer->in[0];

	if (x->rank != 2 || attr->begin < 0 || attr->begin >= attr->end || attr->end > x->dim[1])
		return hn_infer_fail(infer, "columns outside the operand");
	hn_infer_rows(infer, 0, x, attr->end - attr->begin, x->dtype);
	return true;
}

/* All parts have the rows and the type of the first. */
static bool
infer_concat(struct hn_infer *infer)
{
	int64_t cols = 0;

	for (uint32_t i = 0; i < infer->n_in; i++) {
		const struct hn_value *x = infer->in[i];

		if (x->rank != 2 || x->space != infer->in[0]->space ||
			x->dim[0] != infer->in[0]->dim[0] || x->dtype != infer->in[0]->dtype)
			return hn_infer_fail(infer, "rows or types differ");
		cols += x->dim[1];
	}
	hn_infer_rows(infer, 0, infer->in[0], cols, infer->in[0]->dtype);
	return true;
}

/* [1,D], [D] or [1] -> the rows of `like`, whose values are not read. */
static bool
infer_broadcast(struct hn_infer *infer)
{
	const struct hn_value *x = infer->in[0];

	if (x->space || (x->rank == 2 && x->dim[0] != 1))
		return hn_infer_fail(infer, "the operand is no single row");
	hn_infer_rows(infer, 0, infer->in[1], hn_value_elems(x), x->dtype);
	return true;
}

/* Keys name the rows, so they must be those of x. */
static bool
infer_dropout(struct hn_infer *infer)
{
	const struct hone_attr_dropout *attr = infer->attr;

	if (!(attr->p >= 0.0 && attr->p < 1.0))
		return hn_infer_fail(infer, "a probability in [0, 1)");
	if (infer->in[1]->space != infer->in[0]->space || infer->in[1]->dtype != HONE_DTYPE_I32)
		return hn_infer_fail(infer, "row keys of another row space");
	hn_infer_like(infer, 0, infer->in[0], infer->in[0]->dtype);
	return true;
}

/* Zero columns [begin, end) of x's rows; the node 0 when there are none. */
static hone_node
zeros(struct hone_graph *g, hone_node x, int64_t begin, int64_t end)
{
	const struct hone_attr_scale zero = {0.0, 0.0};

	if (begin == end)
		return hone_node_none();
	return hone_node_make(g, HONE_OP_FILL, hone_slice_cols(g, x, begin, end), hone_node_none(),
		hone_node_none(), &zero, sizeof zero);
}

/* dy between zeros: a gradient as wide as x, which adds to those of other slices. */
static void
backward_slice(struct hn_gradient *grad)
{
	const struct hone_attr_slice *attr = grad->node->attr;
	struct hone_graph *g = &grad->graph->base;
	const struct hn_value *x = hn_graph_value(grad->graph, grad->in[0].id);
	const hone_node parts[3] = {zeros(g, grad->in[0], 0, attr->begin), grad->dy[0],
		zeros(g, grad->in[0], attr->end, x->dim[1])};
	hone_node in[3];
	uint32_t n = 0;

	for (uint32_t i = 0; i < 3; i++)
		if (parts[i].id)
			in[n++] = parts[i];
	(void)g->vt->node(g, HONE_OP_CONCAT_COLS, n, in, NULL, 0, 1, &grad->dx[0]);
}

/* Each part gets its columns of dy. */
static void
backward_concat(struct hn_gradient *grad)
{
	int64_t begin = 0;

	for (uint32_t i = 0; i < grad->node->n_in; i++) {
		const int64_t end =
			begin + hn_value_cols(hn_graph_value(grad->graph, grad->in[i].id));

		if (grad->wants[i])
			grad->dx[i] = hone_slice_cols(&grad->graph->base, grad->dy[0], begin, end);
		begin = end;
	}
}

static void
backward_broadcast(struct hn_gradient *grad)
{
	grad->dx[0] = hone_sum_rows(&grad->graph->base, grad->dy[0]);
}

/* The same draws, because they are keyed by place: the mask is never stored. */
static void
backward_dropout(struct hn_gradient *grad)
{
	grad->dx[0] = hone_node_make(&grad->graph->base, HONE_OP_DROPOUT, grad->dy[0], grad->in[1],
		hone_node_none(), grad->node->attr, grad->node->attr_size);
}

enum { LOCAL = HN_OP_ROW_LOCAL | HN_OP_PURE };

static const struct hn_op table[] = {
	{HONE_OP_SLICE_COLS, "slice_cols", LOCAL, sizeof(struct hone_attr_slice), 1, 1, 1, -1,
		infer_slice, backward_slice},
	{HONE_OP_CONCAT_COLS, "concat_cols", LOCAL, 0, 1, HN_MAX_IN, 1, -1, infer_concat,
		backward_concat},
	{HONE_OP_BROADCAST, "broadcast", LOCAL, 0, 2, 2, 1, -1, infer_broadcast,
		backward_broadcast},
	{HONE_OP_DROPOUT, "dropout", LOCAL | HN_OP_RANDOM, sizeof(struct hone_attr_dropout), 2, 2,
		1, 0, infer_dropout, backward_dropout},
};

const struct hn_op_family hn_ops_shape = HN_OP_FAMILY(table);
