/*
 * grad.c - reverse-mode differentiation that emits nodes, with recomputation.
 *
 * Nodes are visited from last to first.  A node whose result depends on a trained parameter
 * and has a cotangent asks its family for the cotangents of its operands; sums of several
 * are additions.  Backward stops below the lowest trained parameter by itself, because
 * nothing below needs a gradient, and no gradient of a frozen weight is ever formed.
 *
 * Recomputation: a node of a group (a layer) is not kept for the backward.  Where the
 * backward reads one of its results, the nodes that lead to it from kept values are appended
 * again, marked as clones so that they are not merged with their originals.  Random ops draw
 * the same numbers, because they are keyed by place and not by time.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"

struct backward {
	struct hn_graph *graph;
	uint32_t *cotangent; /* by value: node id of its gradient, 0 = none */
	uint32_t *clone;     /* by value: its recomputation, 0 = none */
	uint32_t n;          /* values that existed before */
};

/* The value itself, or its recomputation when it belongs to a group. */
static uint32_t
recomputed(struct backward *b, uint32_t value)
{
	struct hn_graph *graph = b->graph;
	const uint32_t id = value ? graph->values[value].node : 0;
	struct hn_node node;
	hone_node in[HN_MAX_IN], out[HN_MAX_OUT];

	if (!value || value >= b->n || !graph->nodes[id].group || graph->nodes[id].leaf)
		return value;
	if (b->clone[value])
		return b->clone[value];
	node = graph->nodes[id];
	for (uint32_t i = 0; i < node.n_in; i++)
		in[i].id = recomputed(b, node.in[i]);
	graph->in_clone = true;
	(void)graph->base.vt->node(
		&graph->base, node.op, node.n_in, in, node.attr, node.attr_size, node.n_out, out);
	graph->in_clone = false;
	for (uint32_t i = 0; i < node.n_out; i++)
		b->clone[node.first_out + i] = out[i].id;
	return b->clone[value];
}

static void
add_cotangent(struct backward *b, uint32_t value, hone_node dx)
{
	if (!dx.id)
		return;
	if (!b->cotangent[value])
		b->cotangent[value] = dx.id;
	else
		b->cotangent[value] =
			hone_add(&b->graph->base, (hone_node){b->cotangent[value]}, dx).id;
}

/* A gradient of a parameter goes where gradients are kept, each contribution by itself: the
 * memory accumulates. */
static void
store_gradient(struct backward *b, uint32_t value, hone_node dx)
{
	const struct hn_node *leaf = &b->graph->nodes[b->graph->values[value].node];

	if (dx.id)
		hn_graph_store(b->graph, dx, HN_LEAF_GRAD, leaf->leaf_index, true);
}

static void
visit(struct backward *b, uint32_t id)
{
	struct hn_graph *graph = b->graph;
	const struct hn_node node = graph->nodes[id];
	const struct hn_op *op = hn_op_of(graph, node.op);
	struct hn_gradient grad = {.graph = graph, .node = &node};
	bool has_cotangent = false;

	for (uint32_t i = 0; i < node.n_out; i++) {
		grad.dy[i].id = b->cotangent[node.first_out + i];
		has_cotangent |= grad.dy[i].id != 0;
	}
	if (!has_cotangent || node.stops_gradient || !op->backward)
		return;
	graph->where = node.name;
	for (uint32_t i = 0; i < node.n_in; i++) {
		grad.wants[i] = node.in[i] && graph->values[node.in[i]].needs_grad;
		grad.in[i].id = recomputed(b, node.in[i]);
	}
	for (uint32_t i = 0; i < node.n_out; i++)
		grad.out[i].id = recomputed(b, node.first_out + i);
	op->backward(&grad);
	for (uint32_t i = 0; i < node.n_in; i++) {
		if (!grad.wants[i])
			continue;
		if (graph->nodes[graph->values[node.in[i]].node].leaf == HN_LEAF_PARAM)
			store_gradient(b, node.in[i], grad.dx[i]);
		else
			add_cotangent(b, node.in[i], grad.dx[i]);
	}
}

enum hone_status
hn_graph_backward(
	struct hn_graph *graph, const struct hn_seed *seeds, uint32_t n, struct hone_error *err)
{
	const uint32_t n_nodes = graph->n_nodes;
	const char *where = graph->where;
	struct backward b = {.graph = graph, .n = graph->n_values};

	if (graph->error.status)
		return hone_graph_status(&graph->base, err);
	b.cotangent = hn_alloc(graph->n_values * sizeof *b.cotangent);
	b.clone = hn_alloc(graph->n_values * sizeof *b.clone);
	memset(b.cotangent, 0, graph->n_values * sizeof *b.cotangent);
	memset(b.clone, 0, graph->n_values * sizeof *b.clone);
	graph->in_backward = true;
	graph->group = 0;
	for (uint32_t i = 0; i < n; i++)
		add_cotangent(&b, seeds[i].value.id, seeds[i].cotangent);
	for (uint32_t id = n_nodes; id-- > 1 && !graph->error.status;) {
		const struct hn_node *node = &graph->nodes[id];

		if (!node->leaf && graph->values[node->first_out].needs_grad)
			visit(&b, id);
	}
	graph->in_backward = false;
	graph->where = where;
	free(b.cotangent);
	free(b.clone);
	return hone_graph_status(&graph->base, err);
}
