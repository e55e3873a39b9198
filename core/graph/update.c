/*
 * update.c - the two programs behind the micro-batches: the norm of all gradients, and AdamW.
 *
 * Both are graphs of leaves alone, one node for each trained parameter, and both leave frozen
 * parameters and buffers out.  The norm is asked for first, because its size decides about
 * clipping and whether there is an update at all:
 *
 *     norm2 = sum over parameters of sum g^2       in the order of declaration: one fixed sum
 *     update: p, m, v in place; then g = 0         the next window adds to zeros
 */
#include "graph/build.h"

/* The value, gradient or moment of parameter i: the four buffers have one layout. */
static hone_node
leaf_of(struct hn_graph *graph, int32_t leaf, uint32_t i, const struct hn_param *param)
{
	return hn_graph_leaf(graph, leaf, i, graph->stat, 0, param->spec.rank, param->spec.dim);
}

/* The rate, both bias corrections and the factor of clipping change from step to step
 * and come through one column of four; what never changes is an attribute of each node. */
enum hone_status
hn_build_update(const struct hn_params *params, const struct hn_adamw *adamw, int32_t compute,
	struct hn_graph *graph, struct hone_error *err)
{
	const int64_t four = 4;
	hone_node hyper;

	hn_graph_init(graph, compute);
	hyper = hn_graph_column(graph, "step.hyper", HONE_DTYPE_F32, 0, 1, &four);
	for (uint32_t i = 0; i < params->n; i++) {
		const struct hn_param *param = &params->list[i];
		const struct hone_attr_adamw attr = {adamw->beta1, adamw->beta2, adamw->eps,
			param->spec.flags & HONE_PARAM_NO_DECAY ? 0.0 : adamw->weight_decay,
			param->spec.lr_scale};
		const hone_node in[5] = {leaf_of(graph, HN_LEAF_PARAM, i, param),
			leaf_of(graph, HN_LEAF_GRAD, i, param),
			leaf_of(graph, HN_LEAF_MOMENT1, i, param),
			leaf_of(graph, HN_LEAF_MOMENT2, i, param), hyper};
		const struct hone_attr_scale zero = {0.0, 0.0};
		hone_node out[3] = {{0}, {0}, {0}};

		if (!(param->spec.flags & HONE_PARAM_TRAIN))
			continue;
		graph->where = param->key;
		(void)graph->base.vt->node(
			&graph->base, HONE_OP_ADAMW, 5, in, &attr, sizeof attr, 3, out);
		hn_graph_store(graph, out[0], HN_LEAF_PARAM, i, false);
		hn_graph_store(graph, out[1], HN_LEAF_MOMENT1, i, false);
		hn_graph_store(graph, out[2], HN_LEAF_MOMENT2, i, false);
		hn_graph_store(graph,
			hone_node_make(&graph->base, HONE_OP_FILL, out[0], hone_node_none(),
				hone_node_none(), &zero, sizeof zero),
			HN_LEAF_GRAD, i, false);
	}
	return hone_graph_status(&graph->base, err);
}

enum hone_status
hn_build_norm(const struct hn_params *params, int32_t compute, struct hn_graph *graph,
	struct hone_error *err)
{
	hone_node sum = {0};

	hn_graph_init(graph, compute);
	for (uint32_t i = 0; i < params->n; i++) {
		const struct hn_param *param = &params->list[i];
		hone_node square;

		if (!(param->spec.flags & HONE_PARAM_TRAIN))
			continue;
		graph->where = param->key;
		square = hone_node_make(&graph->base, HONE_OP_SUM_SQUARES,
			leaf_of(graph, HN_LEAF_GRAD, i, param), hone_node_none(), hone_node_none(),
			NULL, 0);
		sum = sum.id ? hone_add(&graph->base, sum, square) : square;
	}
	if (sum.id)
		hn_graph_output(graph, sum, "norm2");
	return hone_graph_status(&graph->base, err);
}
