/*
 * fuse.c - additions folded into the product before them.
 *
 *     y = a b^T;  z = c + y   becomes   z = a b^T + c
 *
 * where nothing else reads y.  It serves residual connections, adapters and sums of
 * cotangents alike, whoever wrote the nodes, and saves one pass over memory and one rounding.
 * The addition's node turns into the product, so every reader of z stays as it is.
 *
 * In a chain z = c + (x W^T + u B^T) the addend goes to the first product, x W^T + c: so the
 * same roundings happen with and without an adapter behind a frozen product, and an update
 * that is zero changes no bit.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"

static uint32_t *
count_readers(const struct hn_graph *graph)
{
	uint32_t *readers = hn_alloc(graph->n_values * sizeof *readers);

	memset(readers, 0, graph->n_values * sizeof *readers);
	for (uint32_t i = 1; i < graph->n_nodes; i++)
		for (uint32_t k = 0; k < graph->nodes[i].n_in; k++)
			readers[graph->nodes[i].in[k]]++;
	for (uint32_t i = 0; i < graph->n_outputs; i++)
		readers[graph->outputs[i].value]++;
	return readers;
}

static bool
is_plain_product(const struct hn_graph *graph, uint32_t value, const uint32_t *readers)
{
	const struct hn_node *node = &graph->nodes[graph->values[value].node];
	const struct hone_attr_matmul *attr = node->attr;

	return !node->leaf && node->op == HONE_OP_MATMUL && node->n_in == 2 &&
		attr->form != HONE_MATMUL_TN && readers[value] == 1;
}

static bool
same_shape(const struct hn_value *a, const struct hn_value *b)
{
	return a->space == b->space && a->rank == 2 && b->rank == 2 && a->dim[0] == b->dim[0] &&
		a->dim[1] == b->dim[1] && a->dtype == b->dtype;
}

/* The first product of a chain of products that add to each other, each read by the next
 * alone; 0 when `value` is no such chain. */
static uint32_t
chain_begin(const struct hn_graph *graph, uint32_t value, const uint32_t *readers)
{
	const struct hn_node *node = &graph->nodes[graph->values[value].node];
	uint32_t begin = 0;

	while (!node->leaf && node->op == HONE_OP_MATMUL && node->n_in == 3 &&
		readers[value] == 1) {
		value = node->in[2];
		if (is_plain_product(graph, value, readers))
			begin = graph->values[value].node;
		node = &graph->nodes[graph->values[value].node];
	}
	return begin;
}

/* Puts the other operand of `add` at the begin of the chain that it adds to; the node of the
 * addition takes over the chain's last product. */
static bool
fold_chain(struct hn_graph *graph, struct hn_node *add, uint32_t *readers)
{
	for (uint32_t side = 0; side < 2; side++) {
		const uint32_t c = add->in[1 - side], chain = add->in[side];
		const uint32_t begin = chain_begin(graph, chain, readers);
		struct hn_node *last = &graph->nodes[graph->values[chain].node];

		if (!begin || graph->values[c].node >= begin ||
			!same_shape(&graph->values[c], &graph->values[chain]))
			continue;
		graph->nodes[begin].in[2] = c;
		graph->nodes[begin].n_in = 3;
		add->op = HONE_OP_MATMUL;
		add->attr = last->attr;
		add->attr_size = last->attr_size;
		add->n_in = 3;
		memcpy(add->in, last->in, 3 * sizeof *add->in);
		add->name = last->name;
		last->n_in = 0;
		readers[chain] = 0;
		return true;
	}
	return false;
}

static bool
is_addition(const struct hn_node *node)
{
	const struct hone_attr_binary *attr = node->attr;

	return !node->leaf && node->op == HONE_OP_BINARY && attr->kind == HONE_BINARY_ADD;
}

/* Which operand of an addition is a product to fold; -1 = none. */
static int
foldable(const struct hn_graph *graph, const struct hn_node *add, const uint32_t *readers)
{
	if (!same_shape(&graph->values[add->in[0]], &graph->values[add->in[1]]))
		return -1;
	/* The later product, so that the other operand is there when it runs. */
	for (int side = 1; side >= 0; side--)
		if (is_plain_product(graph, add->in[side], readers) &&
			(graph->values[add->in[side]].node >
					graph->values[add->in[1 - side]].node ||
				!is_plain_product(graph, add->in[1 - side], readers)))
			return side;
	return -1;
}

void
hn_graph_fuse(struct hn_graph *graph)
{
	uint32_t *readers = count_readers(graph);

	for (uint32_t i = 1; i < graph->n_nodes; i++) {
		struct hn_node *add = &graph->nodes[i], *product;
		uint32_t c;
		int side;

		if (!is_addition(add) || fold_chain(graph, add, readers))
			continue;
		side = foldable(graph, add, readers);
		if (side < 0)
			continue;
		product = &graph->nodes[graph->values[add->in[side]].node];
		c = add->in[1 - side];
		readers[add->in[side]] = 0;
		add->op = HONE_OP_MATMUL;
		add->attr = product->attr;
		add->attr_size = product->attr_size;
		add->n_in = 3;
		add->in[0] = product->in[0];
		add->in[1] = product->in[1];
		add->in[2] = c;
		add->name = product->name;
		product->n_in = 0; /* nothing reads it: the plan drops it */
	}
	free(readers);
}
