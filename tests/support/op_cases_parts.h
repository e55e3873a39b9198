/*
 * support/op_cases_parts.h - what the families of op_cases are written with: operands, values
 * at their worst, ragged shapes.  For the files op_cases*.c only.
 *
 * Row spaces: tokens, selection, segments, their offsets, another key stream; all have capacity
 * beyond their live rows.
 */
#ifndef HONE_SUPPORT_OP_CASES_PARTS_H
#define HONE_SUPPORT_OP_CASES_PARTS_H

#include "op_cases.h"

enum { STATIC = 0, TOKENS = 1, SELECTION = 2, SEGMENTS = 3, KEYS = 4, OFFSETS = 5 };
enum { CASES_MAX = 1800, N_CASE_VALUES = 5, N_CASE_ROWS = 9 };
#define SPARE 3 /* rows of capacity beyond the live ones */

/* Values as kernels meet them at their worst. */
struct case_value {
	const char *name;
	enum ops_fill fill;
	double a, b;
};
extern const struct case_value case_values[N_CASE_VALUES];

/* Rows and columns of what works row by row. */
extern const int64_t case_rows[N_CASE_ROWS][2];

/* Appends a case whose name starts with the operation's. */
HONE_PRINTF(3, 4)
struct ops_case *case_add(struct op_cases *t, uint32_t op, const char *fmt, ...);

/* [rows, cols] of a row space, with spare capacity, or static. */
struct ops_operand case_mat(int32_t dtype, uint32_t space, int64_t rows, int64_t cols);
struct ops_operand case_vec(int32_t dtype, int64_t n);
struct ops_operand case_filled(struct ops_operand o, enum ops_fill fill, double a, double b);

struct ops_operand case_valued(struct ops_operand o, size_t value); /* of case_values */

/* The numbers of a list, in rows of `cols` (1: a vector). */
struct ops_operand case_listed(uint32_t space, int64_t cols, const int32_t *list, int64_t n);

void case_input(struct ops_case *c, struct ops_operand o);
void case_output(struct ops_case *c, struct ops_operand o);
void case_tokens(struct ops_case *c, int64_t n); /* live rows of TOKENS */

/* The families: each appends its cases. */
void op_cases_product(struct op_cases *t);
void op_cases_elementwise(struct op_cases *t);
void op_cases_norms(struct op_cases *t);
void op_cases_rope(struct op_cases *t);
void op_cases_attention(struct op_cases *t);
void op_cases_rows(struct op_cases *t);
void op_cases_segments(struct op_cases *t);
void op_cases_reductions(struct op_cases *t);
void op_cases_loss(struct op_cases *t);
void op_cases_shape(struct op_cases *t);

#endif
