/*
 * ops/ops.h - the op families: one file each, shape rule and backward beside each other.
 *
 * Adding an op: one line in hone/op.h, one entry in its family's table here, a kernel in
 * backends/reference, and cases in tests/support/op_cases.c.
 */
#ifndef HN_GRAPH_OPS_H
#define HN_GRAPH_OPS_H

#include "graph/graph.h"

struct hn_op_family {
	const struct hn_op *ops;
	uint32_t n;
};

extern const struct hn_op_family hn_ops_product, hn_ops_elementwise, hn_ops_norm, hn_ops_attention,
	hn_ops_rows, hn_ops_segment, hn_ops_reduce, hn_ops_loss, hn_ops_shape, hn_ops_optimizer;

#define HN_OP_FAMILY(table)                                                                        \
	{                                                                                          \
		table, (uint32_t)(sizeof(table) / sizeof((table)[0]))                              \
	}

/* For messages where a vector meets a matrix. */
#define HN_SCALE_HINT                                                                              \
	"; a vector along an axis: hone_scale_cols (one number per column) or hone_scale_rows "    \
	"(one per row)"

/* n numbers in one row or one column. */
static inline bool
hn_is_vector(const struct hn_value *value)
{
	return value->rank == 1 ||
		(value->rank == 2 && (value->dim[1] == 1 || (!value->space && value->dim[0] == 1)));
}

/* Gradient of a broadcast operand: `full` [N,D] summed to the shape of `like`. */
hone_node hn_reduce_to(struct hn_graph *graph, hone_node full, hone_node like);

#endif
