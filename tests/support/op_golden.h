/*
 * support/op_golden.h - the cases of tests/data/golden/ops.json, computed by PyTorch.
 *
 * etc/golden/ops.py writes them: operation, attributes, operands, and what the outputs should
 * be.  All operands are static; numbers are kept as doubles in ops.bin.
 */
#ifndef HONE_SUPPORT_OP_GOLDEN_H
#define HONE_SUPPORT_OP_GOLDEN_H

#include "ops.h"

struct op_golden {
	size_t n;
	struct op_golden_case {
		struct ops_case command;
		struct ops_data data; /* inputs, and the wanted outputs */
	} * cases;
};

/* Reads both files; false with a reason.  op_golden_fini in any case. */
bool op_golden_load(struct op_golden *golden, char why[OPS_WHY]);
void op_golden_fini(struct op_golden *golden);

#endif
