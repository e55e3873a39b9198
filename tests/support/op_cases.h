/*
 * support/op_cases.h - the cases that every backend is held to: each operation in ragged,
 * odd and extreme shapes and with extreme values.  The table is the same for all backends;
 * a backend's parity test runs each case for f32 and for bf16 on itself and on the reference
 * and compares with ops_near.
 */
#ifndef HONE_SUPPORT_OP_CASES_H
#define HONE_SUPPORT_OP_CASES_H

#include "ops.h"

struct op_cases {
	struct ops_case *items;
	size_t n;
	bool too_many; /* the table's fixed capacity is used up */
};

/* Builds the table; false when memory is short.  op_cases_fini in any case. */
bool op_cases_init(struct op_cases *cases);
void op_cases_fini(struct op_cases *cases);

/* The name of an operation of the list in hone/op.h; "?" for another. */
const char *op_name(uint32_t op);

#endif
