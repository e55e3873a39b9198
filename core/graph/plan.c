/*
 * plan.c - where every value lies: lifetimes, shared memory, offsets in one arena.
 *
 * A value lives from the command that makes it to the last that reads it; in a region, what
 * comes from outside and what is summed over chunks lives as long as the region.  Values are
 * placed largest first at the lowest offset that is free during their lifetime (first-fit
 * decreasing; Pisarchyk and Lee 2020 find it within a few per cent of the bound).  The
 * result of an op may take the memory of an operand that dies there.
 *
 * What a product reads lives until the elementwise commands behind it have run, so that none of
 * them is given its memory: a backend may then run them on each block that the product forms.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/program.h"

enum { ALIGN = 64 };
enum { NEAR = 12 }; /* commands from a product to the last that a backend may run with it */

struct life {
	uint32_t first, last; /* positions in the order */
	uint32_t root;        /* value whose memory this one shares */
	uint64_t n_bytes;
	bool is_placed;
};

struct plan {
	struct hn_program *program;
	const struct hn_graph *graph;
	struct life *life;                    /* by value */
	uint32_t *region_first, *region_last; /* by space */
	bool *is_read;                        /* by value: an operand of a node that runs */
	uint32_t *until;                      /* by position: how long its operands are held */
};

/* Columns of a chunked space lie whole in the host's memory; only what commands make
 * inside the region is a chunk. */
bool
hn_program_is_inner(const struct hn_program *program, uint32_t value)
{
	const struct hn_value *v = &program->graph.values[value];

	return program->graph.spaces[v->space].is_chunked && !program->graph.nodes[v->node].leaf;
}

int64_t
hn_program_rows(const struct hn_program *program, uint32_t value)
{
	return hn_program_is_inner(program, value) ? program->chunk_rows
						   : program->graph.values[value].dim[0];
}

const struct hn_output *
hn_program_store_of(const struct hn_program *program, uint32_t value)
{
	const struct hn_graph *graph = &program->graph;

	for (uint32_t i = 0; i < graph->n_outputs; i++)
		if (graph->outputs[i].value == value && graph->outputs[i].leaf)
			return &graph->outputs[i];
	return NULL;
}

/* Rounded up to a cache line, so that no two values share one. */
static uint64_t
value_bytes(const struct hn_program *program, uint32_t value)
{
	const struct hn_value *v = &program->graph.values[value];
	const uint64_t n = (uint64_t)(hn_program_rows(program, value) * hn_value_cols(v) *
		hone_dtype_bytes(v->dtype));

	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* First and last position of each region: it runs as one block, over and over. */
static void
find_region_spans(struct plan *plan)
{
	const struct hn_program *p = plan->program;

	for (uint32_t s = 0; s < plan->graph->n_spaces; s++) {
		plan->region_first[s] = UINT32_MAX;
		plan->region_last[s] = 0;
	}
	for (uint32_t t = 0; t < p->n_order; t++) {
		const uint32_t s = p->unit_space[t];

		if (plan->region_first[s] == UINT32_MAX)
			plan->region_first[s] = t;
		plan->region_last[s] = t;
	}
}

/* May a backend run the node on the blocks of a product before it? */
static bool
ends_products(const struct hn_node *node)
{
	switch (node->op) {
	case HONE_OP_MATMUL: /* one that is added to another */
	case HONE_OP_UNARY:
	case HONE_OP_UNARY_BACK:
	case HONE_OP_BINARY:
	case HONE_OP_ROPE:
		return true;
	default:
		return false;
	}
}

/* From the end, so that a chain is held until its last command. */
static void
find_holds(struct plan *plan)
{
	const struct hn_program *p = plan->program;
	uint32_t *position = hn_alloc(plan->graph->n_nodes * sizeof *position);

	for (uint32_t i = 0; i < plan->graph->n_nodes; i++)
		position[i] = UINT32_MAX;
	for (uint32_t t = 0; t < p->n_order; t++) {
		position[p->order[t]] = t;
		plan->until[t] = t;
	}
	for (uint32_t t = p->n_order; t-- > 0;) {
		const struct hn_node *node = &plan->graph->nodes[p->order[t]];
		const uint32_t first = node->op == HONE_OP_MATMUL ? 2 : 0;

		for (uint32_t k = first; k < node->n_in && ends_products(node); k++) {
			const uint32_t made = position[plan->graph->values[node->in[k]].node];
			uint32_t last;

			if (made == UINT32_MAX || made >= t || t - made > NEAR ||
				!ends_products(&plan->graph->nodes[p->order[made]]) ||
				p->unit_space[made] != p->unit_space[t])
				continue;
			last = plan->until[t] < made + NEAR ? plan->until[t] : made + NEAR;
			if (last > plan->until[made])
				plan->until[made] = last;
		}
	}
	free(position);
}

/* In positions of the order. What a region reads from outside, or sums over its chunks,
 * lives as long as the region: the next chunk needs it again. Named outputs live to the
 * end. */
static void
find_lifetimes(struct plan *plan)
{
	const struct hn_program *p = plan->program;

	for (uint32_t t = 0; t < p->n_order; t++) {
		const struct hn_node *node = &plan->graph->nodes[p->order[t]];
		const uint32_t s = p->unit_space[t];
		const int32_t in_place = hn_op_of(plan->graph, node->op)->in_place;

		for (uint32_t k = 0; k < node->n_in; k++) {
			struct life *life = &plan->life[node->in[k]];
			const bool is_outer = s && !hn_program_is_inner(p, node->in[k]);
			const uint32_t end = (int32_t)k == in_place ? t : plan->until[t];
			const uint32_t last = is_outer ? plan->region_last[s] : end;

			plan->is_read[node->in[k]] = true;
			if (last > life->last)
				life->last = last;
		}
		for (uint32_t k = 0; k < node->n_out; k++) {
			const uint32_t value = node->first_out + k;
			struct life *life = &plan->life[value];
			const bool is_sum = s && !hn_program_is_inner(p, value);

			life->first = is_sum ? plan->region_first[s] : t;
			life->last = is_sum ? plan->region_last[s] : t;
			life->root = value;
			life->n_bytes = value_bytes(p, value);
			life->is_placed = true;
		}
	}
	for (uint32_t i = 0; i < plan->graph->n_outputs; i++)
		if (!plan->graph->outputs[i].leaf)
			plan->life[plan->graph->outputs[i].value].last = p->n_order;
}

/* Can this node add to what its outputs hold? */
static bool
accumulates(const struct hn_graph *graph, const struct hn_node *node)
{
	const struct hone_attr_matmul *attr = node->attr;

	if (node->op == HONE_OP_MATMUL && attr->form != HONE_MATMUL_TN)
		return false;
	return (hn_op_of(graph, node->op)->flags & HN_OP_ACCUMULATES) != 0;
}

/* A value may be the gradient of two parameters, or an output and a gradient. */
static uint32_t
count_outputs(const struct hn_graph *graph, uint32_t value)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < graph->n_outputs; i++)
		n += graph->outputs[i].value == value;
	return n;
}

/* Stored results lie in the leaves' own memory where the op works in place, or adds there
 * and they are for nothing else: all results of a node or none, as one flag says so. */
static bool
stores_directly(const struct plan *plan, const struct hn_node *node)
{
	for (uint32_t k = 0; k < node->n_out; k++) {
		const uint32_t value = node->first_out + k;
		const struct hn_output *store = hn_program_store_of(plan->program, value);

		if (!store)
			return false;
		if (store->accumulates &&
			(!accumulates(plan->graph, node) || plan->is_read[value] ||
				count_outputs(plan->graph, value) != 1))
			return false;
	}
	return true;
}

/* Gradients that the program itself adds to their memory, at its end, last until then. */
static void
keep_until_added(struct plan *plan)
{
	for (uint32_t i = 0; i < plan->graph->n_outputs; i++) {
		const struct hn_output *output = &plan->graph->outputs[i];
		struct life *life = &plan->life[output->value];

		if (output->leaf && life->is_placed)
			life->last = plan->program->n_order;
	}
}

/* Which buffer the bytes of a leaf are in. */
static int32_t
memory_of_leaf(int32_t leaf)
{
	switch (leaf) {
	case HN_LEAF_COLUMN:
	case HN_LEAF_COUNT:
	case HN_LEAF_CONST:
		return HN_MEMORY_COLUMNS;
	case HN_LEAF_WEIGHT:
		return HN_MEMORY_WEIGHTS;
	case HN_LEAF_PARAM:
		return HN_MEMORY_PARAMS;
	case HN_LEAF_GRAD:
		return HN_MEMORY_GRADS;
	case HN_LEAF_MOMENT1:
		return HN_MEMORY_MOMENT1;
	case HN_LEAF_MOMENT2:
		return HN_MEMORY_MOMENT2;
	case HN_LEAF_STATE:
		return HN_MEMORY_STATES;
	default:
		return HN_MEMORY_NONE;
	}
}

/* Leaves, and results that are stored in a leaf's memory.  Offsets of parameters are found
 * at link time by index (kept in `weight`). */
static void
place_leaves(struct plan *plan)
{
	struct hn_program *p = plan->program;
	uint64_t columns = 0, states = 0;
	uint64_t *state_offset = hn_alloc((plan->graph->n_states + 1u) * sizeof *state_offset);

	for (uint32_t i = 0; i < plan->graph->n_states; i++) {
		state_offset[i] = states;
		states += (plan->graph->states[i].n_bytes + ALIGN - 1) / ALIGN * ALIGN;
	}
	for (uint32_t id = 1; id < plan->graph->n_nodes; id++) {
		const struct hn_node *node = &plan->graph->nodes[id];
		struct hn_location *place = &p->places[node->first_out];

		if (!node->leaf)
			continue;
		place->kind = memory_of_leaf(node->leaf);
		place->n_bytes = value_bytes(p, node->first_out);
		place->weight = node->leaf_index;
		if (place->kind == HN_MEMORY_COLUMNS) {
			place->offset = columns;
			columns += place->n_bytes;
		} else if (place->kind == HN_MEMORY_STATES) {
			place->offset = state_offset[node->leaf_index];
		}
	}
	for (uint32_t t = 0; t < p->n_order; t++) {
		const struct hn_node *node = &plan->graph->nodes[p->order[t]];
		const bool is_direct = stores_directly(plan, node);

		for (uint32_t k = 0; k < node->n_out && is_direct; k++) {
			const uint32_t value = node->first_out + k;
			const struct hn_output *store = hn_program_store_of(p, value);

			p->places[value] = (struct hn_location){.kind = memory_of_leaf(store->leaf),
				.weight = store->leaf_index,
				.n_bytes = plan->life[value].n_bytes};
			if (store->leaf == HN_LEAF_STATE)
				p->places[value].offset = state_offset[store->leaf_index];
			plan->life[value].is_placed = false;
		}
	}
	p->column_bytes = columns;
	p->state_bytes = states;
	free(state_offset);
}

/* Lets a result take the memory of an operand that dies with this command. */
static void
share_in_place(struct plan *plan)
{
	const struct hn_program *p = plan->program;

	for (uint32_t t = 0; t < p->n_order; t++) {
		const struct hn_node *node = &plan->graph->nodes[p->order[t]];
		const int32_t k = hn_op_of(plan->graph, node->op)->in_place;
		struct life *out = &plan->life[node->first_out], *in, *root;

		if (k < 0 || (uint32_t)k >= node->n_in || !out->is_placed)
			continue;
		in = &plan->life[node->in[k]];
		if (!in->is_placed || in->last != t || in->n_bytes != out->n_bytes ||
			plan->graph->values[node->in[k]].dtype !=
				plan->graph->values[node->first_out].dtype ||
			hn_program_is_inner(p, node->in[k]) !=
				hn_program_is_inner(p, node->first_out))
			continue;
		for (uint32_t j = 0; j < node->n_in; j++)
			if ((int32_t)j != k && node->in[j] == node->in[k])
				in = NULL; /* the same value twice: the other use needs it whole */
		if (!in)
			continue;
		root = &plan->life[in->root];
		out->root = in->root;
		if (out->last > root->last)
			root->last = out->last;
	}
}

struct block {
	uint32_t value;
	const struct life *life;
	uint64_t offset;
};

/* Order of placing; ties by id, so that the plan is the same everywhere. */
static int
larger_first(const void *a, const void *b)
{
	const struct block *x = a, *y = b;

	if (x->life->n_bytes != y->life->n_bytes)
		return x->life->n_bytes < y->life->n_bytes ? 1 : -1;
	return x->value < y->value ? -1 : x->value > y->value;
}

/* The lowest offset where `block` fits beside the blocks placed before that live with it;
 * `placed` is in the order of their offsets. */
static uint64_t
lowest_fit(const struct block *block, const struct block *const *placed, uint32_t n)
{
	uint64_t at = 0;

	for (uint32_t i = 0; i < n && placed[i]->offset < at + block->life->n_bytes; i++) {
		const struct life *life = placed[i]->life;

		if (life->first > block->life->last || block->life->first > life->last)
			continue;
		if (placed[i]->offset + life->n_bytes > at)
			at = placed[i]->offset + life->n_bytes;
	}
	return at;
}

/* Puts a block behind those of lower or the same offset. */
static void
insert(const struct block **placed, uint32_t n, const struct block *block)
{
	uint32_t low = 0, high = n;

	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;

		if (placed[middle]->offset <= block->offset)
			low = middle + 1;
		else
			high = middle;
	}
	memmove(placed + low + 1, placed + low, (n - low) * sizeof(const struct block *));
	placed[low] = block;
}

/* Every value of its own, largest first; those that took over an operand's memory follow
 * it. */
static void
place_values(struct plan *plan)
{
	struct hn_program *p = plan->program;
	struct block *blocks = hn_alloc(plan->graph->n_values * sizeof *blocks);
	const struct block **placed = hn_alloc(plan->graph->n_values * sizeof *placed);
	uint32_t n = 0;

	for (uint32_t v = 1; v < plan->graph->n_values; v++)
		if (plan->life[v].is_placed && plan->life[v].root == v)
			blocks[n++] = (struct block){.value = v, .life = &plan->life[v]};
	qsort(blocks, n, sizeof *blocks, larger_first);
	p->arena_bytes = 0;
	for (uint32_t i = 0; i < n; i++) {
		blocks[i].offset = lowest_fit(&blocks[i], placed, i);
		insert(placed, i, &blocks[i]);
		p->places[blocks[i].value] = (struct hn_location){.kind = HN_MEMORY_ARENA,
			.offset = blocks[i].offset,
			.n_bytes = blocks[i].life->n_bytes};
		if (blocks[i].offset + blocks[i].life->n_bytes > p->arena_bytes)
			p->arena_bytes = blocks[i].offset + blocks[i].life->n_bytes;
	}
	for (uint32_t v = 1; v < plan->graph->n_values; v++)
		if (plan->life[v].is_placed && plan->life[v].root != v)
			p->places[v] = p->places[plan->life[v].root];
	free(blocks);
	free(placed);
}

enum hone_status
hn_program_place(struct hn_program *program, struct hone_error *err)
{
	const struct hn_graph *graph = &program->graph;
	struct plan plan = {.program = program, .graph = graph};

	(void)err;
	program->places = hn_alloc(graph->n_values * sizeof *program->places);
	memset(program->places, 0, graph->n_values * sizeof *program->places);
	plan.life = hn_alloc(graph->n_values * sizeof *plan.life);
	memset(plan.life, 0, graph->n_values * sizeof *plan.life);
	plan.is_read = hn_alloc(graph->n_values * sizeof *plan.is_read);
	memset(plan.is_read, 0, graph->n_values * sizeof *plan.is_read);
	plan.until = hn_alloc((program->n_order + 1u) * sizeof *plan.until);
	plan.region_first = hn_alloc(graph->n_spaces * sizeof *plan.region_first);
	plan.region_last = hn_alloc(graph->n_spaces * sizeof *plan.region_last);
	find_region_spans(&plan);
	find_holds(&plan);
	find_lifetimes(&plan);
	place_leaves(&plan);
	keep_until_added(&plan);
	share_in_place(&plan);
	place_values(&plan);
	free(plan.life);
	free(plan.is_read);
	free(plan.until);
	free(plan.region_first);
	free(plan.region_last);
	return HONE_OK;
}
