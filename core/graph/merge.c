/*
 * merge.c - the graph that writes the adapters into one site's weight and bias.
 *
 * It starts from the weight that the policy view has at the site (a stored one is decoded to
 * f32, a trained copy is f32 already) and lets each adapter change it in turn.  The adapters'
 * own parameters are read as they are; nothing here is differentiated.
 *
 * A request with is_merged builds a forward whose every site has the weight that this gives: so
 * a merge is compared with what it stands for, before anything is written or rounded.  Merged
 * weights are values like any other and live from their making to their product.
 */
#include "graph/build_state.h"

/* The weight as dense f32 [O,I]: a stored format is decoded as a whole. */
static hone_node
dense_weight(const struct hn_at *at, const struct hn_site *site)
{
	const struct hone_attr_cast f32 = {HONE_DTYPE_F32, 0};
	struct hn_graph *graph = at->builder->graph;
	const hone_node node = hn_slot_node(at, site, HONE_SLOT_WEIGHT);

	if (!node.id || graph->nodes[graph->values[node.id].node].leaf != HN_LEAF_WEIGHT)
		return node;
	return hone_node_make(&graph->base, HONE_OP_DECODE, node, hone_node_none(),
		hone_node_none(), &f32, sizeof f32);
}

/* What stands at a site before and after the adapters' merge hooks. */
static struct hone_merge_io
merge_site(const struct hn_at *at, const struct hn_site *site, hone_node *before)
{
	struct hone_merge_io io = {.struct_size = sizeof io};

	*before = io.weight = dense_weight(at, site);
	io.bias = hn_slot_node(at, site, HONE_SLOT_BIAS);
	hn_hooks_run(at, HN_HOOK_MERGE, &site->pub, &io);
	return io;
}

/* A weight that no hook touched stays as it is stored, and decoding it is a node that nobody
 * reads.  A bias is one only where the model's file has it, as in an export. */
hone_node
hn_merged_node(const struct hn_at *at, const struct hn_site *site, int32_t slot)
{
	struct hn_at here = *at;
	struct hone_merge_io io;
	hone_node before;

	here.is_merged = false; /* what the hooks ask for is not merged again */
	if (slot == HONE_SLOT_BIAS && site->bias < 0)
		return hone_node_none();
	io = merge_site(&here, site, &before);
	if (slot == HONE_SLOT_BIAS)
		return io.bias;
	return io.weight.id == before.id ? hn_slot_node(&here, site, slot) : io.weight;
}

enum hone_status
hn_build_merge(const struct hn_build_request *request, const struct hn_site *site,
	struct hn_graph *graph, struct hone_error *err)
{
	const struct hone_view view = {
		.struct_size = sizeof view, .name = "policy", .model = request->model->name};
	struct hn_builder b = {.request = request, .graph = graph};
	const struct hn_at at = {
		.pub = {sizeof at.pub, 0, &graph->base, &view, &request->model->base, &hn_build_vt},
		.builder = &b,
		.instance = HN_NO_INSTANCE,
		.has_adapters = true};
	struct hone_merge_io io;
	hone_node before;

	hn_graph_init(graph, HONE_DTYPE_F32);
	graph->custom = request->custom;
	graph->where = site->pub.name;
	io = merge_site(&at, site, &before);
	/* A copy, so that an untouched weight has memory of its own, too. */
	hn_graph_output(graph, hone_affine(&graph->base, io.weight, 1.0, 0.0), "weight");
	if (io.bias.id)
		hn_graph_output(graph, hone_affine(&graph->base, io.bias, 1.0, 0.0), "bias");
	return hone_graph_status(&graph->base, err);
}
