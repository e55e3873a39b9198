/*
 * random.c - DROPOUT: y = x m / (1 - p), m = 1 where a draw is at least p.
 *
 * The draw of column j of row i is a pure function of (seed, stream ^ step, key of the row,
 * j), see hone/random.h: it is the same for the gradient, when recomputed, and wherever the
 * row lies in a batch.  It has 24 bits and is compared with p in double.
 */
#include "reference.h"

#include <hone/random.h>

static enum hone_status
dropout(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_dropout *attr = call->command->attr;
	const struct ref_tensor *x = &call->in[0], *keys = &call->in[1];
	const uint64_t stream = attr->stream ^ call->run->step;

	(void)err;
	for (int64_t i = 0; i < x->rows; i++) {
		const int32_t example = (int32_t)ref_get(keys, 2 * i);
		const int32_t position = (int32_t)ref_get(keys, 2 * i + 1);

		for (int64_t j = 0; j < x->cols; j++) {
			const double draw = (double)hone_random_uniform(
				call->run->seed, stream, example, position, j);

			ref_put(&call->out[0], i * x->cols + j,
				draw >= attr->p ? ref_get(x, i * x->cols + j) / (1 - attr->p) : 0);
		}
	}
	return HONE_OK;
}

const struct ref_op ref_ops_random[] = {
	{HONE_OP_DROPOUT, sizeof(struct hone_attr_dropout), 2, 2, 1, 1, 0, dropout, NULL},
	{0},
};
