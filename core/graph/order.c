/*
 * order.c - which nodes run, and when.
 *
 * Dead nodes are dropped.  All live nodes that touch rows of a chunked space become one
 * unit that runs as a block; every other node is a unit of its own.  Units are emitted in
 * the order of their first node, dependencies first.  A region that cannot run in chunks (an
 * op that couples rows, or a result that the region itself needs) is planned whole.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/program.h"

struct order {
	struct hn_program *program;
	const struct hn_graph *graph;
	bool *is_live;         /* by node */
	uint32_t *unit;        /* by node: the chunked space it belongs to, 0 = alone */
	uint8_t *state;        /* by node: 0 new, 1 on the stack, 2 emitted */
	uint8_t *region_state; /* by space */
	bool has_cycle;
	uint32_t cyclic_space;
};

/* From the outputs backwards; nodes are in topological order, so one pass is enough. */
static void
mark_live(struct order *o)
{
	const struct hn_graph *graph = o->graph;

	for (uint32_t i = 0; i < graph->n_outputs; i++)
		o->is_live[graph->values[graph->outputs[i].value].node] = true;
	for (uint32_t id = graph->n_nodes; id-- > 1;) {
		if (!o->is_live[id])
			continue;
		for (uint32_t k = 0; k < graph->nodes[id].n_in; k++)
			o->is_live[graph->values[graph->nodes[id].in[k]].node] = true;
	}
	o->is_live[0] = false;
}

/* The chunked space whose rows a node touches; 0 = none. */
static uint32_t
touched_space(const struct hn_graph *graph, const struct hn_node *node)
{
	for (uint32_t i = 0; i < node->n_out; i++) {
		const uint32_t space = graph->values[node->first_out + i].space;

		if (graph->spaces[space].is_chunked)
			return space;
	}
	for (uint32_t i = 0; i < node->n_in; i++) {
		const uint32_t space = graph->values[node->in[i]].space;

		if (graph->spaces[space].is_chunked)
			return space;
	}
	return 0;
}

/* May this node run on a part of the rows of `space` at a time? */
static bool
runs_in_chunks(const struct hn_graph *graph, const struct hn_node *node, uint32_t space)
{
	const struct hn_op *op = hn_op_of(graph, node->op);
	const bool makes_rows = graph->values[node->first_out].space == space;

	if (node->op == HONE_OP_GATHER_ROWS)
		return makes_rows && graph->values[node->in[0]].space != space;
	if (makes_rows)
		return (op->flags & HN_OP_ROW_LOCAL) != 0;
	return (op->flags & HN_OP_ACCUMULATES) != 0;
}

/* Does it read a sum over the rows of `space`?  Only the last chunk would have it whole. */
static bool
needs_sum(const struct hn_graph *graph, const struct hn_node *node, uint32_t space)
{
	for (uint32_t k = 0; k < node->n_in; k++) {
		const struct hn_value *value = &graph->values[node->in[k]];
		const struct hn_node *from = &graph->nodes[value->node];

		if (value->space != space && !from->leaf && touched_space(graph, from) == space)
			return true;
	}
	return false;
}

/* A space is planned whole when its rows fit into one chunk anyway, or when one of its
 * nodes cannot run on a part of them. Taking a space out may hand its nodes to a second
 * chunked space that they touch, so the search starts again; each round takes one out,
 * so it ends. */
static void
find_regions(struct order *o)
{
	struct hn_graph *graph = &o->program->graph;

	for (uint32_t s = 1; s < graph->n_spaces; s++)
		if (graph->spaces[s].capacity <= o->program->chunk_rows)
			graph->spaces[s].is_chunked = false;
	for (uint32_t id = 1; id < graph->n_nodes; id++) {
		const struct hn_node *node = &graph->nodes[id];
		const uint32_t space =
			o->is_live[id] && !node->leaf ? touched_space(graph, node) : 0;

		if (space &&
			(!runs_in_chunks(graph, node, space) || needs_sum(graph, node, space))) {
			graph->spaces[space].is_chunked = false;
			id = 0; /* its other nodes may touch a second space */
		}
	}
	for (uint32_t id = 1; id < graph->n_nodes; id++)
		o->unit[id] = o->is_live[id] && !graph->nodes[id].leaf
			? touched_space(graph, &graph->nodes[id])
			: 0;
}

static void emit_node(struct order *o, uint32_t id);

/* Leaves have memory but no command. */
static void
append(struct order *o, uint32_t id)
{
	struct hn_program *p = o->program;

	o->state[id] = 2;
	if (o->graph->nodes[id].leaf)
		return;
	p->order[p->n_order] = id;
	p->unit_space[p->n_order++] = o->unit[id];
}

/* What a node, or a whole region, waits for; nodes of the same region come with it. */
static void
emit_operands(struct order *o, uint32_t id)
{
	const struct hn_node *node = &o->graph->nodes[id];

	for (uint32_t k = 0; k < node->n_in; k++) {
		const uint32_t from = o->graph->values[node->in[k]].node;

		if (node->in[k] && (!o->unit[from] || o->unit[from] != o->unit[id]))
			emit_node(o, from);
	}
}

/* All nodes of a region follow each other in their own order, behind everything that any
 * of them needs from outside. Coming back to a region that is still waiting means that
 * it needs itself through another unit: then it cannot run in chunks. */
static void
emit_region(struct order *o, uint32_t space)
{
	if (o->region_state[space] == 2)
		return;
	if (o->region_state[space] == 1) {
		o->has_cycle = true;
		o->cyclic_space = space;
		return;
	}
	o->region_state[space] = 1;
	for (uint32_t id = 1; id < o->graph->n_nodes; id++)
		if (o->unit[id] == space)
			emit_operands(o, id);
	for (uint32_t id = 1; id < o->graph->n_nodes; id++)
		if (o->unit[id] == space)
			append(o, id);
	o->region_state[space] = 2;
}

/* Depth is that of the chain of units, and each is entered once. */
static void
emit_node(struct order *o, uint32_t id)
{
	if (o->has_cycle || o->state[id] == 2 || !o->is_live[id])
		return;
	if (o->unit[id]) {
		emit_region(o, o->unit[id]);
		return;
	}
	if (o->state[id] == 1)
		return;
	o->state[id] = 1;
	emit_operands(o, id);
	append(o, id);
}

/* In the order of creation, so equal graphs are ordered equally on every machine. */
static void
emit_all(struct order *o)
{
	struct hn_program *p = o->program;

	p->n_order = 0;
	o->has_cycle = false;
	memset(o->state, 0, o->graph->n_nodes);
	memset(o->region_state, 0, o->graph->n_spaces);
	for (uint32_t id = 1; id < o->graph->n_nodes && !o->has_cycle; id++)
		if (o->is_live[id])
			emit_node(o, id);
}

/* Each round that finds a cycle gives up the chunks of one space: at worst none are
 * left, and a graph without regions has no cycle. */
enum hone_status
hn_program_order(struct hn_program *program, struct hone_error *err)
{
	const struct hn_graph *graph = &program->graph;
	struct order o = {.program = program, .graph = graph};

	if (graph->error.status)
		return hone_graph_status(&graph->base, err);
	program->order = hn_alloc(graph->n_nodes * sizeof *program->order);
	program->unit_space = hn_alloc(graph->n_nodes * sizeof *program->unit_space);
	o.is_live = hn_alloc(graph->n_nodes * sizeof *o.is_live);
	o.unit = hn_alloc(graph->n_nodes * sizeof *o.unit);
	o.state = hn_alloc(graph->n_nodes);
	o.region_state = hn_alloc(graph->n_spaces);
	memset(o.is_live, 0, graph->n_nodes * sizeof *o.is_live);
	mark_live(&o);
	do {
		find_regions(&o);
		emit_all(&o);
		if (o.has_cycle)
			program->graph.spaces[o.cyclic_space].is_chunked = false;
	} while (o.has_cycle);
	free(o.is_live);
	free(o.unit);
	free(o.state);
	free(o.region_state);
	return HONE_OK;
}
