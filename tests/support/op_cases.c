/*
 * support/op_cases.c - see op_cases.h.
 *
 * The table: each family, in a file of its own, appends its cases; then some are repeated in
 * windows and in place.  Shapes are chosen where kernels break: 0 rows, 1 row, 1 column, primes,
 * and one more or less than the sizes of registers, panels and blocks (16, 32, 64, 128).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op_cases_parts.h"

const char *
op_name(uint32_t op)
{
	switch (op) {
#define NAME(name, value, text, flags)                                                             \
	case value:                                                                                \
		return text;
		HONE_OP_LIST(NAME)
#undef NAME
	default:
		return "?";
	}
}

/* ---- windows ---- */

/* Whether an operation may stand in a region that runs in row chunks. */
static bool
may_be_chunked(uint32_t op)
{
	switch (op) {
#define FLAGS(name, value, text, flags)                                                            \
	case value:                                                                                \
		return strchr(flags, 'R') || strchr(flags, 'A');
		HONE_OP_LIST(FLAGS)
#undef FLAGS
	default:
		return false;
	}
}

/* Some rows, and no memory shared between operands. */
static bool
is_plain(const struct ops_case *c)
{
	bool plain = c->live[TOKENS] >= 5 || c->live[SELECTION] >= 5;

	for (uint32_t i = 0; i < c->n_out; i++)
		plain = plain && !c->out[i].alias;
	return plain;
}

/* Repeats one case of each operation as a chunk sees it: inputs, then outputs too, lie in
 * tensors that begin before the chunk. */
static void
add_windows(struct op_cases *t)
{
	const size_t n = t->n;
	bool done[64] = {false};

	for (size_t i = 0; i < n; i++) {
		const struct ops_case from = t->items[i];

		if (!may_be_chunked(from.op) || done[from.op] || !is_plain(&from))
			continue;
		done[from.op] = true;
		for (int both = 0; both < 2; both++) {
			struct ops_case *c = case_add(t, from.op, "%s", "");

			*c = from;
			(void)snprintf(c->name, sizeof c->name, "%s in a window%s",
				op_name(from.op), both ? ", into a window" : "");
			for (uint32_t k = 0; k < OPS_SPACES; k++)
				c->begin[k] = SPARE - 1;
			for (uint32_t k = 0; k < c->n_in; k++)
				c->in[k].flags = c->in[k].space ? HONE_OPERAND_WINDOW : 0;
			for (uint32_t k = 0; both && k < c->n_out; k++)
				c->out[k].flags = c->out[k].space ? HONE_OPERAND_WINDOW : 0;
		}
	}
}

/* Repeats a case of each operation whose output may lie in the memory of operand 0 so. */
static void
add_in_place(struct op_cases *t)
{
	static const uint32_t ops[] = {HONE_OP_UNARY, HONE_OP_UNARY_BACK, HONE_OP_BINARY,
		HONE_OP_SCALE, HONE_OP_ROPE, HONE_OP_DROPOUT};
	const size_t n = t->n;

	for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++)
		for (size_t i = 0; i < n; i++) {
			const struct ops_case from = t->items[i];
			struct ops_case *c;

			if (from.op != ops[k] || !is_plain(&from) || from.begin[TOKENS] ||
				from.in[0].dtype != from.out[0].dtype)
				continue;
			c = case_add(t, from.op, "%s", "");
			*c = from;
			(void)snprintf(c->name, sizeof c->name, "%.80s in place", from.name);
			c->out[0].alias = 1;
		}
}

bool
op_cases_init(struct op_cases *cases)
{
	memset(cases, 0, sizeof *cases);
	cases->items = calloc(CASES_MAX, sizeof *cases->items);
	if (!cases->items)
		return false;
	op_cases_product(cases);
	op_cases_elementwise(cases);
	op_cases_norms(cases);
	op_cases_rope(cases);
	op_cases_attention(cases);
	op_cases_rows(cases);
	op_cases_segments(cases);
	op_cases_reductions(cases);
	op_cases_loss(cases);
	op_cases_shape(cases);
	add_windows(cases);
	add_in_place(cases);
	return !cases->too_many;
}

void
op_cases_fini(struct op_cases *cases)
{
	free(cases->items);
	memset(cases, 0, sizeof *cases);
}
