/*
 * rows.c - moving rows: gather, scatter-add, put.
 *
 * Gathering repeats rows, so its backward adds them up: scatter-add, in the order of the
 * rows, without atomics.
 */
#include "graph/ops/ops.h"

/* [V,D], i32 [M] -> [M,D] in the index's row space. A stored table comes out in the
 * activation type, whatever its format. */
static bool
infer_gather(struct hn_infer *infer)
{
	const struct hn_value *table = infer->in[0], *index = infer->in[1];
	const bool is_weight = infer->graph->nodes[table->node].leaf == HN_LEAF_WEIGHT ||
		infer->graph->nodes[table->node].leaf == HN_LEAF_PARAM;

	if (table->rank != 2 || index->dtype != HONE_DTYPE_I32 || hn_value_cols(index) != 1)
		return hn_infer_fail(infer, "a matrix and one i32 per row");
	hn_infer_rows(
		infer, 0, index, table->dim[1], is_weight ? infer->graph->compute : table->dtype);
	return true;
}

/* [M,D], i32 [M] -> [V,D]: into a row space, or into a static table, whose gradient is a
 * sum and has the statistics type. */
static bool
infer_scatter(struct hn_infer *infer)
{
	const struct hone_attr_rows *attr = infer->attr;
	const struct hn_value *rows = infer->in[0];
	const struct hn_space *space = &infer->graph->spaces[attr->space];

	if (rows->space != infer->in[1]->space)
		return hn_infer_fail(infer, "rows and index are of two row spaces");
	infer->out[0] = (struct hn_value){.dtype = attr->space ? rows->dtype : infer->graph->stat,
		.rank = 2,
		.space = attr->space,
		.dim = {attr->space ? space->capacity : attr->rows, hn_value_cols(rows)}};
	return true;
}

/* The rows put are of the index's row space; x keeps its own. */
static bool
infer_put(struct hn_infer *infer)
{
	const struct hn_value *x = infer->in[0], *rows = infer->in[1];

	if (hn_value_cols(x) != hn_value_cols(rows) || rows->space != infer->in[2]->space)
		return hn_infer_fail(infer, "rows do not fit");
	hn_infer_like(infer, 0, x, x->dtype);
	return true;
}

/* A row that was read k times gets k contributions, a row that nobody read 0. */
static void
backward_gather(struct hn_gradient *grad)
{
	const struct hn_value *table = hn_graph_value(grad->graph, grad->in[0].id);
	const struct hone_attr_rows attr = {table->space ? 0 : table->dim[0], table->space, 0};

	grad->dx[0] = hone_node_make(&grad->graph->base, HONE_OP_SCATTER_ADD_ROWS, grad->dy[0],
		grad->in[1], hone_node_none(), &attr, sizeof attr);
}

static void
backward_scatter(struct hn_gradient *grad)
{
	grad->dx[0] = hone_gather_rows(&grad->graph->base, grad->dy[0], grad->in[1]);
}

/* Rows that were replaced send nothing back to x; what replaced them gets theirs. */
static void
backward_put(struct hn_gradient *grad)
{
	struct hone_graph *g = &grad->graph->base;
	const struct hone_attr_scale zero = {0.0, 0.0};
	hone_node rows;

	if (grad->wants[0]) {
		rows = hone_node_make(g, HONE_OP_FILL, grad->in[1], hone_node_none(),
			hone_node_none(), &zero, sizeof zero);
		grad->dx[0] = hone_put_rows(g, grad->dy[0], rows, grad->in[2]);
	}
	if (grad->wants[1])
		grad->dx[1] = hone_gather_rows(g, grad->dy[0], grad->in[2]);
}

static const struct hn_op table[] = {
	{HONE_OP_GATHER_ROWS, "gather_rows", HN_OP_PURE, 0, 2, 2, 1, -1, infer_gather,
		backward_gather},
	{HONE_OP_SCATTER_ADD_ROWS, "scatter_add_rows", HN_OP_PURE | HN_OP_ACCUMULATES,
		sizeof(struct hone_attr_rows), 2, 2, 1, -1, infer_scatter, backward_scatter},
	{HONE_OP_PUT_ROWS, "put_rows", HN_OP_PURE, 0, 3, 3, 1, 0, infer_put, backward_put},
};

const struct hn_op_family hn_ops_rows = HN_OP_FAMILY(table);
