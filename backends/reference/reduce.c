/*
 * reduce.c - REDUCE_COLS, REDUCE_ROWS, SUM_SQUARES.
 *
 * Sums run in ascending order in double, which is a fixed tree of depth n.  SUM_SQUARES is
 * over all live elements: the host adds tensors up with ACCUMULATE for the norm of all
 * gradients.  0 live rows give 0, or what the output held when it is added to.
 */
#include "reference.h"

#include <math.h>
#include <stdlib.h>

static double
reduce_row(int32_t kind, const double *x, int64_t D)
{
	double sum = 0, max = D > 0 ? x[0] : 0;
	int64_t best = 0;

	for (int64_t j = 0; j < D; j++) {
		sum += x[j];
		if (x[j] > max || (x[j] != x[j] && max == max)) {
			max = x[j];
			best = j;
		}
	}
	switch (kind) {
	case HONE_REDUCE_SUM:
		return sum;
	case HONE_REDUCE_MEAN:
		return sum / (double)D;
	case HONE_REDUCE_MAX:
		return max;
	case HONE_REDUCE_LSE:
		return ref_log_sum_exp(x, D, 1);
	default:
		return (double)best;
	}
}

static enum hone_status
reduce_cols(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_reduce *attr = call->command->attr;
	const struct ref_tensor *x = &call->in[0];
	double *row = ref_scratch(1, x->cols, err);
	enum hone_status st = row ? HONE_OK : HONE_ENOMEM;

	for (int64_t i = 0; st == HONE_OK && i < x->rows; i++) {
		st = ref_load_row(x, i, row, err);
		ref_put(&call->out[0], i, reduce_row(attr->kind, row, x->cols));
	}
	free(row);
	return st;
}

static enum hone_status
reduce_rows(const struct ref_call *call, struct hone_error *err)
{
	const struct ref_tensor *x = &call->in[0];
	double *sum = ref_scratch(1, x->cols, err);

	if (!sum)
		return HONE_ENOMEM;
	for (int64_t i = 0; i < x->rows; i++)
		for (int64_t j = 0; j < x->cols; j++)
			sum[j] += ref_get(x, i * x->cols + j);
	for (int64_t j = 0; j < x->cols; j++)
		ref_put_sum(&call->out[0], j, sum[j], ref_accumulates(call));
	free(sum);
	return HONE_OK;
}

static enum hone_status
sum_squares(const struct ref_call *call, struct hone_error *err)
{
	double sum = 0;

	(void)err;
	for (int64_t i = 0; i < ref_elems(&call->in[0]); i++) {
		const double v = ref_get(&call->in[0], i);

		sum += v * v;
	}
	ref_put_sum(&call->out[0], 0, sum, ref_accumulates(call));
	return HONE_OK;
}

static enum hone_status
check(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_reduce *attr = c->attr;

	if (attr->kind < HONE_REDUCE_SUM || attr->kind > HONE_REDUCE_ARGMAX)
		return hone_fail(
			err, HONE_EUNSUPPORTED, "columns have no reduction %d", attr->kind);
	return HONE_OK;
}

const struct ref_op ref_ops_reduce[] = {
	{HONE_OP_REDUCE_COLS, sizeof(struct hone_attr_reduce), 1, 1, 1, 1, 0, reduce_cols, check},
	{HONE_OP_REDUCE_ROWS, 0, 1, 1, 1, 1, REF_ACCUMULATES, reduce_rows, NULL},
	{HONE_OP_SUM_SQUARES, 0, 1, 1, 1, 1, REF_ACCUMULATES, sum_squares, NULL},
	{0},
};
