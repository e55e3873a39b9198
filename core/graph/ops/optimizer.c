/*
 * optimizer.c - ops that change parameters, and decoding of stored weights.  None has a
 * gradient.
 */
#include "graph/ops/ops.h"

/* p, g, m, v, hyper -> p, m, v in place: the program binds results to operands. */
static bool
infer_adamw(struct hn_infer *infer)
{
	for (uint32_t i = 1; i < 4; i++)
		if (hn_value_elems(infer->in[i]) != hn_value_elems(infer->in[0]))
			return hn_infer_fail(infer, "gradient or moments of another shape");
	hn_infer_like(infer, 0, infer->in[0], infer->in[0]->dtype);
	hn_infer_like(infer, 1, infer->in[2], infer->in[2]->dtype);
	hn_infer_like(infer, 2, infer->in[3], infer->in[3]->dtype);
	return true;
}

static bool
infer_decode(struct hn_infer *infer)
{
	const struct hone_attr_cast *attr = infer->attr;

	hn_infer_like(infer, 0, infer->in[0], attr->dtype);
	return true;
}

static const struct hn_op table[] = {
	{HONE_OP_ADAMW, "adamw", 0, sizeof(struct hone_attr_adamw), 5, 5, 3, -1, infer_adamw, NULL},
	{HONE_OP_DECODE, "decode", HN_OP_ROW_LOCAL | HN_OP_PURE, sizeof(struct hone_attr_cast), 1,
		1, 1, -1, infer_decode, NULL},
};

const struct hn_op_family hn_ops_optimizer = HN_OP_FAMILY(table);
