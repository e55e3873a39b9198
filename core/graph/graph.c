/*
 * graph.c - appending nodes: operands are checked, shapes inferred, equal nodes merged.
 *
 * Nothing is computed here.  What an op means for shapes and gradients stands in ops/, one
 * file per family.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "graph/custom.h"
#include "graph/graph.h"

/* The host's side of a plugin's graph: the public part is the first member. */
static struct hn_graph *
host_graph(const struct hone_graph *graph)
{
	return (struct hn_graph *)(uintptr_t)graph;
}

/* The first error is the cause; what follows from it would only hide it. */
void
hn_graph_fail(struct hn_graph *graph, enum hone_status status, const char *fmt, ...)
{
	va_list args;

	if (graph->error.status)
		return;
	graph->error.status = (int32_t)status;
	va_start(args, fmt);
	(void)vsnprintf(graph->error.text, sizeof graph->error.text, fmt, args);
	va_end(args);
	if (graph->where)
		(void)snprintf(graph->error.place, sizeof graph->error.place, "%s", graph->where);
}

/* Ids are positions and never change; pointers into the list do, when it grows. */
static uint32_t
add_value(struct hn_graph *graph, const struct hn_value *value)
{
	graph->values = hn_grow(
		graph->values, &graph->cap_values, graph->n_values + 1u, sizeof *graph->values);
	graph->values[graph->n_values] = *value;
	return graph->n_values++;
}

/* Whether computing a result again costs less than keeping it: one pass over its operands.
 * Sums are not among them, because they chain from layer to layer. */
static bool
is_cheap(const struct hn_node *node, const struct hn_value *out)
{
	const struct hone_attr_binary *binary = node->attr;

	switch (node->op) {
	case HONE_OP_UNARY:
	case HONE_OP_RMS_NORM:
	case HONE_OP_LAYER_NORM:
	case HONE_OP_DROPOUT:
		return out->space != 0;
	case HONE_OP_BINARY:
		return out->space != 0 && binary->kind == HONE_BINARY_MUL;
	default:
		return false;
	}
}

/* Appends a node whose outputs are described; returns its id. */
static uint32_t
add_node(struct hn_graph *graph, const struct hn_node *node, const struct hn_value *out)
{
	const uint32_t id = graph->n_nodes;
	struct hn_node *new;

	graph->nodes =
		hn_grow(graph->nodes, &graph->cap_nodes, graph->n_nodes + 1u, sizeof *graph->nodes);
	new = &graph->nodes[graph->n_nodes++];
	*new = *node;
	new->attr =
		node->attr_size ? hn_arena_copy(&graph->arena, node->attr, node->attr_size) : NULL;
	new->name = graph->where;
	new->group = graph->recomputes_cheap && !graph->in_backward &&is_cheap(node, out)
		? HN_GROUP_CHEAP
		: graph->group;
	new->is_backward = graph->in_backward;
	new->is_clone = graph->in_clone;
	new->first_out = graph->n_values;
	for (uint32_t i = 0; i < node->n_out; i++) {
		struct hn_value value = out[i];

		value.node = id;
		value.slot = i;
		(void)add_value(graph, &value);
	}
	return id;
}

/* The bytes by which equal pure nodes are recognised. */
static size_t
equality_key(const struct hn_graph *graph, const struct hn_node *node, uint8_t *key, size_t cap)
{
	const uint32_t head[6] = {node->op, node->n_in, node->n_out, (uint32_t)node->leaf,
		node->leaf_index, graph->in_backward};
	const size_t n = sizeof head + node->n_in * sizeof node->in[0] + node->attr_size;

	if (n > cap)
		return 0;
	memcpy(key, head, sizeof head);
	memcpy(key + sizeof head, node->in, node->n_in * sizeof node->in[0]);
	if (node->attr_size)
		memcpy(key + n - node->attr_size, node->attr, node->attr_size);
	return n;
}

/* Equal pure nodes are one node: a table over (op, operands, attributes). Clones are
 * never merged, else a recomputation would be its original; nor are nodes of forward and
 * backward, whose lifetimes differ. A node too large for the key is just appended. */
static uint32_t
find_or_add(struct hn_graph *graph, const struct hn_node *node, const struct hn_value *out,
	bool is_pure)
{
	uint8_t key[2048];
	const size_t n =
		is_pure && !graph->in_clone ? equality_key(graph, node, key, sizeof key) : 0;
	const uint64_t *found;
	uint32_t id;

	if (n && (found = hn_table_find(&graph->equal, (const char *)key, n)))
		return (uint32_t)*found;
	id = add_node(graph, node, out);
	if (n)
		(void)hn_table_put(&graph->equal, (const char *)key, n, id);
	return id;
}

/* ---- the table of functions that plugins see ---- */

/* Ids come from plugins, so they are checked here and nowhere else. */
static bool
collect_operands(struct hn_graph *graph, const struct hn_op *op, uint32_t n_in, const hone_node *in,
	struct hn_infer *infer, struct hn_node *node)
{
	if (n_in < op->min_in || n_in > op->max_in) {
		hn_graph_fail(graph, HONE_EBUG, "%s takes %u to %u operands, not %u", op->name,
			op->min_in, op->max_in, n_in);
		return false;
	}
	for (uint32_t i = 0; i < n_in; i++) {
		if (in[i].id >= graph->n_values || (in[i].id == 0 && i < op->min_in)) {
			hn_graph_fail(graph, HONE_EBUG, "%s: operand %u is no node of this graph",
				op->name, i);
			return false;
		}
		node->in[i] = in[i].id;
		infer->in[i] = in[i].id ? &graph->values[in[i].id] : NULL;
	}
	return true;
}

/* A result depends on a parameter that trains when an operand does and the op can pass
 * it on. This is what cuts the backward off below the lowest trained parameter. */
static bool
any_needs_grad(const struct hn_graph *graph, const struct hn_node *node, const struct hn_op *op)
{
	if (!op->backward)
		return false;
	for (uint32_t i = 0; i < node->n_in; i++)
		if (node->in[i] && graph->values[node->in[i]].needs_grad)
			return true;
	return false;
}

/* The one way by which ops get into a graph: checks, shape rule, merging. On any error
 * all outputs are the node 0 and the graph is done. */
static enum hone_status
graph_node(struct hone_graph *g, uint32_t op_id, uint32_t n_in, const hone_node *in,
	const void *attr, uint32_t attr_size, uint32_t n_out, hone_node *out)
{
	struct hn_graph *graph = host_graph(g);
	const struct hn_op *op = hn_op_of(graph, op_id);
	struct hn_infer infer = {.graph = graph, .n_in = n_in, .n_out = n_out};
	struct hn_node node = {.op = op_id, .n_in = n_in, .n_out = n_out};
	uint32_t id;
	bool needs_grad;

	for (uint32_t i = 0; i < n_out; i++)
		out[i].id = 0;
	if (graph->error.status)
		return (enum hone_status)graph->error.status;
	if (!op || n_in > HN_MAX_IN || n_out == 0 || n_out > HN_MAX_OUT) {
		hn_graph_fail(graph, HONE_EBUG, "no op %u with %u operands and %u results", op_id,
			n_in, n_out);
		return HONE_EBUG;
	}
	if (attr_size != op->attr_size || (op->n_out && n_out != op->n_out)) {
		hn_graph_fail(graph, HONE_EBUG,
			"%s: attributes of %u bytes and %u results, not %u and %u", op->name,
			attr_size, n_out, op->attr_size, op->n_out);
		return HONE_EBUG;
	}
	if (!collect_operands(graph, op, n_in, in, &infer, &node))
		return HONE_EBUG;
	infer.attr = node.attr = attr;
	infer.attr_size = node.attr_size = attr_size;
	infer.op_name = op->name;
	infer.op = op_id;
	if (!op->infer(&infer))
		return (enum hone_status)graph->error.status;
	needs_grad = any_needs_grad(graph, &node, op);
	for (uint32_t i = 0; i < n_out; i++)
		infer.out[i].needs_grad = needs_grad && hn_is_float(infer.out[i].dtype);
	id = find_or_add(graph, &node, infer.out, (op->flags & HN_OP_PURE) != 0);
	for (uint32_t i = 0; i < n_out; i++)
		out[i].id = graph->nodes[id].first_out + i;
	return HONE_OK;
}

/* For plugins, which may ask for the node 0 after an error: that is no second error. */
static enum hone_status
graph_value(const struct hone_graph *g, hone_node node, struct hone_value *out)
{
	const struct hn_graph *graph = host_graph(g);
	const struct hn_value *value;

	if (node.id == 0 || node.id >= graph->n_values)
		return HONE_EINVAL;
	value = &graph->values[node.id];
	out->dtype = value->dtype;
	out->rank = value->rank;
	out->space.id = value->space;
	memcpy(out->dim, value->dim, sizeof out->dim);
	return HONE_OK;
}

/* Bytes of its own in the graph's arena, as each constant is a value of the column
 * memory. */
static hone_node
graph_constant(
	struct hone_graph *g, int32_t dtype, uint32_t rank, const int64_t *dim, const void *data)
{
	struct hn_graph *graph = host_graph(g);
	struct hn_value probe = {.dtype = dtype, .rank = rank};
	uint64_t n_bytes;

	if (graph->error.status)
		return hone_node_none();
	if (rank == 0 || rank > HONE_MAX_RANK || !hone_dtype_bytes(dtype)) {
		hn_graph_fail(graph, HONE_EBUG, "a constant of rank %u and type %d", rank, dtype);
		return hone_node_none();
	}
	memcpy(probe.dim, dim, rank * sizeof *dim);
	n_bytes = (uint64_t)(hn_value_elems(&probe) * hone_dtype_bytes(dtype));
	graph->constants = hn_grow(graph->constants, &graph->cap_constants, graph->n_constants + 1u,
		sizeof *graph->constants);
	graph->constants[graph->n_constants].bytes = hn_arena_copy(&graph->arena, data, n_bytes);
	graph->constants[graph->n_constants].n_bytes = n_bytes;
	return hn_graph_leaf(graph, HN_LEAF_CONST, graph->n_constants++, dtype, 0, rank, dim);
}

/* Live rows as a value, filled by the program: the capacity never enters the maths. */
static hone_node
graph_count(struct hone_graph *g, hone_space space)
{
	struct hn_graph *graph = host_graph(g);
	const int64_t one = 1;

	if (space.id >= graph->n_spaces || space.id == 0) {
		hn_graph_fail(graph, HONE_EBUG, "count of a row space that does not exist");
		return hone_node_none();
	}
	return hn_graph_leaf(graph, HN_LEAF_COUNT, space.id, graph->stat, 0, 1, &one);
}

/* A scale by one that keeps its own identity: merged with an ordinary scale by one it
 * would stop that gradient as well. Where nothing trains below, the node itself is
 * enough. */
static hone_node
graph_stop_gradient(struct hone_graph *g, hone_node node)
{
	struct hn_graph *graph = host_graph(g);
	const struct hone_attr_scale same = {1.0, 0.0};
	hone_node out;

	if (node.id >= graph->n_values)
		hn_graph_fail(graph, HONE_EBUG, "stop_gradient of no node of this graph");
	if (graph->error.status || !graph->values[node.id].needs_grad)
		return node;
	graph->in_clone = true; /* never merged with a scale through which gradients flow */
	out = hone_node_make(
		g, HONE_OP_SCALE, node, hone_node_none(), hone_node_none(), &same, sizeof same);
	graph->in_clone = false;
	if (out.id) {
		graph->nodes[graph->values[out.id].node].stops_gradient = true;
		graph->nodes[graph->values[out.id].node].is_clone = false;
		graph->values[out.id].needs_grad = false;
	}
	return out;
}

/* Copies the sticky error out. */
static enum hone_status
graph_status(const struct hone_graph *g, struct hone_error *err)
{
	const struct hn_graph *graph = host_graph(g);

	if (graph->error.status && err)
		*err = graph->error;
	return (enum hone_status)graph->error.status;
}

static void
graph_fail(struct hone_graph *g, enum hone_status status, const char *text)
{
	hn_graph_fail(host_graph(g), status, "%s", text);
}

/* Ids of plugins' ops are their place in the host's list, valid in this process only. */
static uint32_t
graph_custom_op(const struct hone_graph *g, const char *name)
{
	struct hn_graph *graph = host_graph(g);

	for (uint32_t i = 0; graph->custom && i < graph->custom->n; i++)
		if (hn_streq(graph->custom->list[i].name, name))
			return HONE_OP_CUSTOM + i;
	hn_graph_fail(graph, HONE_EPLUGIN, "no plugin has the op '%s'", name);
	return 0;
}

static hone_node
graph_scale_axis(struct hone_graph *g, hone_node x, hone_node v, int32_t axis)
{
	return hn_graph_scale_axis(host_graph(g), x, v, axis);
}

static const struct hone_graph_vt graph_vt = {
	.struct_size = sizeof graph_vt,
	.node = graph_node,
	.value = graph_value,
	.constant = graph_constant,
	.count = graph_count,
	.stop_gradient = graph_stop_gradient,
	.status = graph_status,
	.fail = graph_fail,
	.custom_op = graph_custom_op,
	.scale_axis = graph_scale_axis,
};

/* ---- for the host ---- */

/* Value 0 and node 0 exist and are nothing, so that id 0 can mean "none" everywhere.
 * Space 0 is "static": rows that are an ordinary dimension. */
void
hn_graph_init(struct hn_graph *graph, int32_t compute)
{
	memset(graph, 0, sizeof *graph);
	graph->base.vt = &graph_vt;
	graph->compute = compute;
	graph->stat = compute == HONE_DTYPE_F64 ? HONE_DTYPE_F64 : HONE_DTYPE_F32;
	(void)hn_graph_space(graph, "static", 0);
	graph->values = hn_grow(NULL, &graph->cap_values, 256, sizeof *graph->values);
	graph->nodes = hn_grow(NULL, &graph->cap_nodes, 256, sizeof *graph->nodes);
	memset(&graph->values[0], 0, sizeof graph->values[0]);
	memset(&graph->nodes[0], 0, sizeof graph->nodes[0]);
	graph->n_values = graph->n_nodes = 1;
}

void
hn_graph_fini(struct hn_graph *graph)
{
	free(graph->spaces);
	free(graph->values);
	free(graph->nodes);
	free(graph->columns);
	free(graph->constants);
	free(graph->states);
	free(graph->outputs);
	hn_table_fini(&graph->equal);
	hn_arena_fini(&graph->arena);
	memset(graph, 0, sizeof *graph);
}

/* The capacity is an upper bound of live rows; it shapes memory and nothing else. */
uint32_t
hn_graph_space(struct hn_graph *graph, const char *name, int64_t capacity)
{
	graph->spaces = hn_grow(
		graph->spaces, &graph->cap_spaces, graph->n_spaces + 1u, sizeof *graph->spaces);
	graph->spaces[graph->n_spaces] = (struct hn_space){
		.name = hn_arena_strdup(&graph->arena, name), .capacity = capacity};
	return graph->n_spaces++;
}

/* Leaves belong to no pass: the same parameter read in forward and backward is one leaf. */
hone_node
hn_graph_leaf(struct hn_graph *graph, int32_t leaf, uint32_t index, int32_t dtype, uint32_t space,
	uint32_t rank, const int64_t *dim)
{
	struct hn_node node = {.leaf = leaf, .leaf_index = index, .n_out = 1};
	struct hn_value value = {.dtype = dtype, .rank = rank, .space = space};
	const bool in_backward = graph->in_backward, in_clone = graph->in_clone;
	hone_node out = {0};
	uint32_t id;

	if (graph->error.status)
		return out;
	memcpy(value.dim, dim, rank * sizeof *dim);
	graph->in_backward = graph->in_clone = false;
	id = find_or_add(graph, &node, &value, true);
	out.id = graph->nodes[id].first_out;
	graph->in_backward = in_backward;
	graph->in_clone = in_clone;
	return out;
}

/* A column is found by its name, which says whose it is; the first use gives its shape. */
hone_node
hn_graph_column(struct hn_graph *graph, const char *name, int32_t dtype, uint32_t space,
	uint32_t rank, const int64_t *dim)
{
	struct hn_column *column;
	hone_node node;

	if (graph->error.status)
		return hone_node_none();
	for (uint32_t i = 0; i < graph->n_columns; i++)
		if (hn_streq(graph->columns[i].name, name))
			return (hone_node){graph->columns[i].value};
	graph->columns = hn_grow(
		graph->columns, &graph->cap_columns, graph->n_columns + 1u, sizeof *graph->columns);
	column = &graph->columns[graph->n_columns];
	*column = (struct hn_column){.name = hn_arena_strdup(&graph->arena, name),
		.dtype = dtype,
		.rank = rank,
		.space = space};
	memcpy(column->dim, dim, rank * sizeof *dim);
	node = hn_graph_leaf(graph, HN_LEAF_COLUMN, graph->n_columns++, dtype, space, rank, dim);
	column->value = node.id;
	return node;
}

hone_node
hn_graph_weight(struct hn_graph *graph, uint32_t index, uint32_t rank, const int64_t *dim)
{
	return hn_graph_leaf(graph, HN_LEAF_WEIGHT, index, graph->compute, 0, rank, dim);
}

hone_node
hn_graph_param(
	struct hn_graph *graph, uint32_t index, uint32_t rank, const int64_t *dim, bool needs_grad)
{
	/* one leaf per use: a view without gradient, and each shape, has its own */
	int64_t use[2 + HONE_MAX_RANK] = {needs_grad, rank};
	struct hn_node node = {.leaf = HN_LEAF_PARAM,
		.leaf_index = index,
		.n_out = 1,
		.attr = use,
		.attr_size = sizeof use};
	struct hn_value value = {.dtype = graph->stat, .rank = rank, .needs_grad = needs_grad};
	uint32_t id;

	if (graph->error.status)
		return hone_node_none();
	memcpy(value.dim, dim, rank * sizeof *dim);
	memcpy(use + 2, dim, rank * sizeof *dim);
	id = find_or_add(graph, &node, &value, true);
	return (hone_node){graph->nodes[id].first_out};
}

/* Never merged by name: each call is memory of its own that lives across submissions. */
hone_node
hn_graph_state(struct hn_graph *graph, const char *name, int32_t dtype, uint32_t space,
	uint32_t rank, const int64_t *dim)
{
	struct hn_value probe = {.dtype = dtype, .rank = rank};
	hone_node node;

	if (graph->error.status)
		return hone_node_none();
	memcpy(probe.dim, dim, rank * sizeof *dim);
	graph->states = hn_grow(
		graph->states, &graph->cap_states, graph->n_states + 1u, sizeof *graph->states);
	node = hn_graph_leaf(graph, HN_LEAF_STATE, graph->n_states, dtype, space, rank, dim);
	graph->states[graph->n_states++] = (struct hn_state){hn_arena_strdup(&graph->arena, name),
		(uint64_t)(hn_value_elems(&probe) * hone_dtype_bytes(dtype)), node.id};
	return node;
}

/* An output is what must be there after the run: read by name, or stored in a leaf. */
static struct hn_output *
add_output(struct hn_graph *graph, uint32_t value)
{
	graph->outputs = hn_grow(
		graph->outputs, &graph->cap_outputs, graph->n_outputs + 1u, sizeof *graph->outputs);
	graph->outputs[graph->n_outputs] = (struct hn_output){.value = value};
	return &graph->outputs[graph->n_outputs++];
}

void
hn_graph_output(struct hn_graph *graph, hone_node value, const char *name)
{
	if (!graph->error.status)
		add_output(graph, value.id)->name = hn_arena_strdup(&graph->arena, name);
}

void
hn_graph_store(
	struct hn_graph *graph, hone_node value, int32_t leaf, uint32_t index, bool accumulates)
{
	struct hn_output *output;

	if (graph->error.status)
		return;
	output = add_output(graph, value.id);
	output->leaf = leaf;
	output->leaf_index = index;
	output->accumulates = accumulates;
}
