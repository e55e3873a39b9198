/*
 * fuse.c - additions folded into the product before them.
 *
 *     y = a b^T;  z = c + y   becomes   z = a b^T + c
 *
 * where nothing else reads y.  It serves residual connections, adapters and sums of
 * cotangents alike, whoever wrote the nodes, and saves one pass over memory and one rounding.
 * The addition's node turns into the product, so every reader of z stays as it is.
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

/* Which operand of an addition is a product to fold; -1 = none. */
static int
foldable(const struct hn_graph *graph, const struct hn_node *add, const uint32_t *readers)
{
	const struct hone_attr_binary *attr = add->attr;

	if (add->leaf || add->op != HONE_OP_BINARY || attr->kind != HONE_BINARY_ADD ||
		!same_shape(&graph->values[add->in[0]], &graph->values[add->in[1]]))
		return -1;
	/* The later product, so that the other operand is there when it runs. */
	for (int side = 1; side >= 0; side--)
		if (is_plain_product(graph, add->in[side], readers) &&
			(graph->values[add->in[side]].node > graph->values[add->in[1 - side]].node ||
				!is_plain_product(graph, add->in[1 - side], readers)))
			return side;
	return -1;
}

void
hn_graph_fuse(struct hn_graph *graph)
{
	uint32_t *readers = count_readers(graph);

	for (uint32_t i = 1; i < graph->n_nodes; i++) {
		struct hn_node *add = &graph->nodes[i];
		const int side = foldable(graph, add, readers);
		struct hn_node *product;
		uint32_t c;

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
