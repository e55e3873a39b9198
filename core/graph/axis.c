/*
 * axis.c - a vector along one axis of a value: y[i][j] = x[i][j] v[i], or x[i][j] v[j].
 *
 * A vector of n numbers says by itself nothing about which axis of a matrix it runs along, and
 * beside a square matrix its length does not either.  So the caller names the axis, and the
 * vector is brought into the shape that says it, [n,1] or [1,n], before the product:
 *
 *     a parameter        read in that shape, where it lies: no node at all
 *     [n] -> [1,n]       repeated for one row
 *     [1,n] -> [n,1]     v^T 1, a product over one row: exact, in the statistics type
 *     [n,1] -> [1,n]     1 v^T, a product like any other: in the activation type
 *
 * The products make both turns differentiable without a kernel of their own.
 */
#include <inttypes.h>

#include "graph/graph.h"

/* The matrix [1,1] that holds 1. */
static hone_node
one(struct hn_graph *graph)
{
	static const float value = 1.0f;
	static const int64_t dim[2] = {1, 1};

	return graph->base.vt->constant(&graph->base, HONE_DTYPE_F32, 2, dim, &value);
}

/* The parameter behind `v` read with another shape of as many numbers. */
static hone_node
param_as(struct hn_graph *graph, hone_node v, const int64_t dim[2])
{
	const struct hn_value *value = hn_graph_value(graph, v.id);

	return hn_graph_param(
		graph, graph->nodes[value->node].leaf_index, 2, dim, value->needs_grad);
}

static bool
is_param(const struct hn_graph *graph, hone_node v)
{
	return graph->nodes[hn_graph_value(graph, v.id)->node].leaf == HN_LEAF_PARAM;
}

/* A static vector as one column [n,1]. */
static hone_node
as_column(struct hn_graph *graph, hone_node v)
{
	const int64_t dim[2] = {hn_value_elems(hn_graph_value(graph, v.id)), 1};

	if (is_param(graph, v))
		return param_as(graph, v, dim);
	if (hn_graph_value(graph, v.id)->rank == 1)
		v = hone_broadcast(&graph->base, v, one(graph));
	return v.id && hn_graph_value(graph, v.id)->dim[0] == 1
		? hone_matmul_tn(&graph->base, v, one(graph))
		: v;
}

/* A static vector as one row [1,n]. */
static hone_node
as_row(struct hn_graph *graph, hone_node v)
{
	const int64_t dim[2] = {1, hn_value_elems(hn_graph_value(graph, v.id))};

	if (is_param(graph, v))
		return param_as(graph, v, dim);
	if (hn_graph_value(graph, v.id)->rank == 1)
		return hone_broadcast(&graph->base, v, one(graph));
	return hn_graph_value(graph, v.id)->dim[0] == 1
		? v
		: hone_matmul_nt(&graph->base, one(graph), v);
}

/* Whether v is n numbers in a row or a column, of the row space `space` (0: static). */
static bool
is_vector(const struct hn_value *v, int64_t n, uint32_t space)
{
	return hn_is_float(v->dtype) && v->space == space && hn_value_elems(v) == n &&
		(v->rank == 1 || (v->rank == 2 && (v->dim[0] == n || v->dim[0] == 1)));
}

static void
fail_axis(struct hn_graph *graph, const struct hn_value *x, const struct hn_value *v, int64_t n,
	int32_t axis)
{
	struct hn_str of = {0}, by = {0};

	hn_value_print(graph, x, &of);
	hn_value_print(graph, v, &by);
	if (axis == 0 && x->space)
		hn_graph_fail(graph, HONE_EINVAL,
			"scale_rows(%s, %s): the second operand must be numbers of rows of '%s', "
			"one per row",
			of.text, by.text, graph->spaces[x->space].name);
	else
		hn_graph_fail(graph, HONE_EINVAL,
			"scale_%s(%s, %s): the second operand must be a static vector of %" PRId64
			" numbers, one per %s",
			axis == 0 ? "rows" : "cols", of.text, by.text, n,
			axis == 0 ? "row" : "column");
	hn_str_fini(&of);
	hn_str_fini(&by);
}

hone_node
hn_graph_scale_axis(struct hn_graph *graph, hone_node x, hone_node v, int32_t axis)
{
	const struct hn_value *a, *b;
	int64_t n;

	if (graph->error.status)
		return hone_node_none();
	if (!x.id || !v.id || x.id >= graph->n_values || v.id >= graph->n_values ||
		(axis != 0 && axis != 1)) {
		hn_graph_fail(graph, HONE_EBUG, "scale: no such node, or no axis %" PRId32, axis);
		return hone_node_none();
	}
	a = hn_graph_value(graph, x.id);
	b = hn_graph_value(graph, v.id);
	if (a->rank == 1) /* a vector has one axis */
		axis = 0;
	n = axis == 0 ? a->dim[0] : hn_value_cols(a);
	if (a->rank > 2 || !is_vector(b, n, axis == 0 ? a->space : 0)) {
		fail_axis(graph, a, b, n, axis);
		return hone_node_none();
	}
	if (axis == 1)
		v = as_row(graph, v);
	else if (!a->space) /* rows of a row space have their numbers in a column already */
		v = as_column(graph, v);
	return hone_mul(&graph->base, x, v);
}
