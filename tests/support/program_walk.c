/*
 * program_walk.c - who wrote each 4 bytes of the arena last.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program_walk.h"

enum { CELL = 4 };

struct walk {
	const struct hn_program *program;
	uint32_t *owner; /* by cell: value id, 0 = nobody */
	char *why;
};

static uint64_t
bytes_of(const struct hone_operand *operand)
{
	int64_t n = operand->dim[0];

	for (uint32_t i = 1; i < operand->rank; i++)
		n *= operand->dim[i];
	return (uint64_t)(n * hone_dtype_bytes(operand->dtype));
}

static const struct hn_location *
place_of(const struct walk *w, const struct hone_operand *operand)
{
	return &w->program->operand_places[operand - w->program->operands];
}

static bool
is_in_arena(const struct walk *w, const struct hone_operand *operand)
{
	return operand->rank && place_of(w, operand)->kind == HN_MEMORY_ARENA;
}

/* Are all bytes of the operand those of `value`? */
static bool
owns(const struct walk *w, const struct hone_operand *operand, uint32_t value)
{
	const uint64_t at = place_of(w, operand)->offset / CELL;
	const uint64_t n = (bytes_of(operand) + CELL - 1) / CELL;

	if ((at + n) * CELL > w->program->arena_bytes)
		return false;
	for (uint64_t i = 0; i < n; i++)
		if (w->owner[at + i] != value)
			return false;
	return true;
}

static bool
own(struct walk *w, const struct hone_operand *operand, uint32_t value)
{
	const uint64_t at = place_of(w, operand)->offset / CELL;
	const uint64_t n = (bytes_of(operand) + CELL - 1) / CELL;

	if ((at + n) * CELL > w->program->arena_bytes)
		return false;
	for (uint64_t i = 0; i < n; i++)
		w->owner[at + i] = value;
	return true;
}

/* Operand that the memory rule of op.h lets output 0 replace; -1 = none. */
static int
replaceable(uint32_t op)
{
	switch (op) {
	case HONE_OP_UNARY:
	case HONE_OP_UNARY_BACK:
	case HONE_OP_BINARY:
	case HONE_OP_SCALE:
	case HONE_OP_ROPE:
	case HONE_OP_DROPOUT:
	case HONE_OP_PUT_ROWS:
		return 0;
	case HONE_OP_MATMUL:
		return 2;
	case HONE_OP_NLL_BACK:
		return 1;
	default:
		return -1;
	}
}

static bool
overlap(const struct walk *w, const struct hone_operand *a, const struct hone_operand *b)
{
	const uint64_t at = place_of(w, a)->offset, from = place_of(w, b)->offset;

	return at < from + bytes_of(b) && from < at + bytes_of(a);
}

/* Results apart from each other, and from operands unless one replaces the other exactly. */
static bool
results_are_apart(const struct walk *w, const struct hone_command *c)
{
	for (uint32_t k = 0; k < c->n_out; k++) {
		if (!is_in_arena(w, &c->out[k]))
			continue;
		for (uint32_t j = 0; j < k; j++)
			if (is_in_arena(w, &c->out[j]) && overlap(w, &c->out[k], &c->out[j]))
				return false;
		for (uint32_t j = 0; j < c->n_in; j++) {
			const bool may = k == 0 && (int)j == replaceable(c->op) &&
				place_of(w, &c->out[k])->offset == place_of(w, &c->in[j])->offset;

			if (is_in_arena(w, &c->in[j]) && !may && overlap(w, &c->out[k], &c->in[j]))
				return false;
		}
	}
	return true;
}

static bool
fail_at(const struct walk *w, uint32_t t, const char *what, uint32_t k)
{
	(void)snprintf(w->why, 256, "command %u (op %u at %s): %s %u", t,
		w->program->commands[t].op, w->program->commands[t].name, what, k);
	return false;
}

static bool
step(struct walk *w, uint32_t t, bool is_later)
{
	const struct hn_program *p = w->program;
	const struct hn_node *node = &p->graph.nodes[p->order[t]];
	const struct hone_command *c = &p->commands[t];

	for (uint32_t k = 0; k < c->n_in; k++)
		if (is_in_arena(w, &c->in[k]) && !owns(w, &c->in[k], node->in[k]))
			return fail_at(w, t, "has lost operand", k);
	if (!results_are_apart(w, c))
		return fail_at(w, t, "overlapping results of", c->n_out);
	for (uint32_t k = 0; k < c->n_out; k++) {
		const bool is_sum = p->unit_space[t] && c->out[k].space != p->unit_space[t];

		if (!is_in_arena(w, &c->out[k]))
			continue;
		if (is_sum && is_later && !owns(w, &c->out[k], node->first_out + k))
			return fail_at(w, t, "has lost its sum", k);
		if (!own(w, &c->out[k], node->first_out + k))
			return fail_at(w, t, "leaves the arena with result", k);
	}
	return true;
}

static bool
walk_blocks(struct walk *w)
{
	const struct hn_program *p = w->program;

	for (uint32_t b = 0; b < p->n_blocks; b++)
		for (int pass = 0; pass < (p->blocks[b].space ? 2 : 1); pass++)
			for (uint32_t t = p->blocks[b].begin;
				t < p->blocks[b].end && t < p->n_order; t++)
				if (!step(w, t, pass > 0))
					return false;
	return true;
}

/* The additions at the end, and what is read by name after the run. */
static bool
walk_end(struct walk *w)
{
	const struct hn_program *p = w->program;

	for (uint32_t i = 0; i < p->graph.n_outputs; i++) {
		const uint32_t value = p->graph.outputs[i].value;
		const struct hn_location *place = &p->places[value];
		const int64_t n = hn_program_rows(p, value) *
			hn_value_cols(&p->graph.values[value]) *
			hone_dtype_bytes(p->graph.values[value].dtype);

		if (place->kind != HN_MEMORY_ARENA)
			continue;
		for (uint64_t at = 0; at < (uint64_t)n; at += CELL)
			if (w->owner[(place->offset + at) / CELL] != value) {
				(void)snprintf(w->why, 256, "output %u does not last", i);
				return false;
			}
	}
	return true;
}

bool
program_walk(const struct hn_program *program, char why[256])
{
	struct walk w = {.program = program, .why = why};
	bool is_right;

	w.owner = calloc(program->arena_bytes / CELL + 1, sizeof *w.owner);
	is_right = walk_blocks(&w) && walk_end(&w);
	free(w.owner);
	return is_right;
}
