/*
 * support/op_cases_parts.c - see op_cases_parts.h.
 */
#include "op_cases_parts.h"

#include <stdio.h>
#include <string.h>

/* Appends a case whose name starts with the operation's. */
struct ops_case *
case_add(struct op_cases *t, uint32_t op, const char *fmt, ...)
{
	struct ops_case *c;
	va_list args;
	char what[64];

	t->too_many = t->n == CASES_MAX;
	c = &t->items[t->too_many ? CASES_MAX - 1 : t->n++];
	memset(c, 0, sizeof *c);
	c->op = op;
	c->seed = 7 * t->n;
	c->step = 3;
	va_start(args, fmt);
	(void)vsnprintf(what, sizeof what, fmt, args);
	va_end(args);
	(void)snprintf(c->name, sizeof c->name, "%s %s", op_name(op), what);
	return c;
}

/* [rows, cols] of a row space, with spare capacity, or static. */
struct ops_operand
case_mat(int32_t dtype, uint32_t space, int64_t rows, int64_t cols)
{
	return (struct ops_operand){.dtype = dtype,
		.rank = 2,
		.space = space,
		.dim = {rows + (space ? SPARE : 0), cols}};
}

struct ops_operand
case_vec(int32_t dtype, int64_t n)
{
	return (struct ops_operand){.dtype = dtype, .rank = 1, .dim = {n}};
}

struct ops_operand
case_filled(struct ops_operand o, enum ops_fill fill, double a, double b)
{
	o.fill = (int32_t)fill;
	o.a = a;
	o.b = b;
	return o;
}

struct ops_operand
case_valued(struct ops_operand o, size_t value)
{
	const struct case_value *v = &case_values[value];

	return case_filled(o, v->fill, v->a, v->b);
}

/* The numbers of a list, in rows of `cols` (1: a vector). */
struct ops_operand
case_listed(uint32_t space, int64_t cols, const int32_t *list, int64_t n)
{
	return (struct ops_operand){.dtype = HONE_DTYPE_I32,
		.rank = cols > 1 ? 2 : 1,
		.space = space,
		.dim = {n / cols + SPARE, cols},
		.fill = OPS_FILL_LIST,
		.list = list,
		.n_list = n};
}

void
case_input(struct ops_case *c, struct ops_operand o)
{
	c->in[c->n_in++] = o;
}

void
case_output(struct ops_case *c, struct ops_operand o)
{
	c->out[c->n_out++] = o;
}

void
case_tokens(struct ops_case *c, int64_t n)
{
	c->live[TOKENS] = n;
}

const struct case_value case_values[N_CASE_VALUES] = {
	{"normal", OPS_FILL_NORMAL, 1, 0},
	{"1e4", OPS_FILL_NORMAL, 1e4, 0},
	{"zeros", OPS_FILL_CONST, 0, 0},
	{"subnormal", OPS_FILL_NORMAL, 1e-39, 0},
	{"large mean", OPS_FILL_NORMAL, 0.5, 100},
};

const int64_t case_rows[N_CASE_ROWS][2] = {
	{0, 5}, {1, 1}, {1, 17}, {3, 1}, {5, 16}, {7, 33}, {13, 65}, {2, 577}, {129, 31}};
