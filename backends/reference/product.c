/*
 * product.c - MATMUL in its three forms.
 *
 *     NT: y[n,o] = sum_i a[n,i] b[o,i]      NN: y[n,i] = sum_o a[n,o] b[o,i]
 *     TN: y[o,i] = sum_n a[n,o] b[n,i]      each plus c where it is given
 *
 * b of NT and NN may be stored: its rows are decoded one after the other and each is used
 * for all rows of a, so that a weight is decoded once per command.  Sums run in ascending
 * order of the summed index.
 */
#include "reference.h"

#include <stdlib.h>

/* Rows of the result of TN that are summed in one pass over the live rows. */
#define TN_BLOCK 64

static double
addend(const struct ref_call *call, int64_t i)
{
	return call->n_in > 2 && call->in[2].data ? ref_get(&call->in[2], i) : 0;
}

/* All rows of a as doubles. */
static double *
load_all(const struct ref_tensor *a, struct hone_error *err)
{
	double *x = ref_scratch(a->rows, a->cols, err);

	for (int64_t i = 0; x && i < ref_elems(a); i++)
		x[i] = ref_get(a, i);
	return x;
}

static enum hone_status
product_nt(const struct ref_call *call, struct hone_error *err)
{
	const struct ref_tensor *b = &call->in[1], *y = &call->out[0];
	const int64_t N = call->in[0].rows, I = call->in[0].cols, O = y->cols;
	double *a = load_all(&call->in[0], err), *row = ref_scratch(1, I, err);
	enum hone_status st = a && row ? HONE_OK : HONE_ENOMEM;

	for (int64_t o = 0; st == HONE_OK && o < b->rows && N > 0; o++) {
		st = ref_load_row(b, o, row, err);
		for (int64_t n = 0; st == HONE_OK && n < N; n++) {
			double sum = 0;

			for (int64_t i = 0; i < I; i++)
				sum += a[n * I + i] * row[i];
			ref_put(y, n * O + o, sum + addend(call, n * O + o));
		}
	}
	free(a);
	free(row);
	return st;
}

static enum hone_status
product_nn(const struct ref_call *call, struct hone_error *err)
{
	const struct ref_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
	const int64_t N = a->rows, O = b->rows, I = y->cols;
	double *sum = ref_scratch(N, I, err), *row = ref_scratch(1, I, err);
	enum hone_status st = sum && row ? HONE_OK : HONE_ENOMEM;

	for (int64_t o = 0; st == HONE_OK && o < O && N > 0; o++) {
		st = ref_load_row(b, o, row, err);
		for (int64_t n = 0; st == HONE_OK && n < N; n++) {
			const double factor = ref_get(a, n * a->cols + o);

			for (int64_t i = 0; i < I; i++)
				sum[n * I + i] += factor * row[i];
		}
	}
	for (int64_t i = 0; st == HONE_OK && i < N * I; i++)
		ref_put(y, i, sum[i] + addend(call, i));
	free(sum);
	free(row);
	return st;
}

/* Adds the products of all live rows for rows o .. o + n_o of the result. */
static void
sum_tn(const struct ref_call *call, int64_t o, int64_t n_o, double *row, double *sum)
{
	const struct ref_tensor *a = &call->in[0], *b = &call->in[1];
	const int64_t I = b->cols;

	for (int64_t i = 0; i < n_o * I; i++)
		sum[i] = 0;
	for (int64_t n = 0; n < a->rows; n++) {
		for (int64_t i = 0; i < I; i++)
			row[i] = ref_get(b, n * I + i);
		for (int64_t k = 0; k < n_o; k++) {
			const double factor = ref_get(a, n * a->cols + o + k);

			for (int64_t i = 0; i < I; i++)
				sum[k * I + i] += factor * row[i];
		}
	}
}

static enum hone_status
product_tn(const struct ref_call *call, struct hone_error *err)
{
	const struct ref_tensor *y = &call->out[0];
	const int64_t O = call->in[0].cols, I = call->in[1].cols;
	double *sum = ref_scratch(TN_BLOCK, I, err), *row = ref_scratch(1, I, err);
	const enum hone_status st = sum && row ? HONE_OK : HONE_ENOMEM;

	for (int64_t o = 0; st == HONE_OK && o < O; o += TN_BLOCK) {
		const int64_t n_o = O - o < TN_BLOCK ? O - o : TN_BLOCK;

		sum_tn(call, o, n_o, row, sum);
		for (int64_t i = 0; i < n_o * I; i++)
			ref_put_sum(y, o * I + i, sum[i] + addend(call, o * I + i),
				ref_accumulates(call));
	}
	free(sum);
	free(row);
	return st;
}

static enum hone_status
product(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_matmul *attr = call->command->attr;

	switch (attr->form) {
	case HONE_MATMUL_NT:
		return product_nt(call, err);
	case HONE_MATMUL_NN:
		return product_nn(call, err);
	default:
		return product_tn(call, err);
	}
}

static enum hone_status
check(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_matmul *attr = c->attr;

	if (attr->form < HONE_MATMUL_NT || attr->form > HONE_MATMUL_TN)
		return hone_fail(err, HONE_EUNSUPPORTED, "matmul has no form %d", attr->form);
	if (attr->form != HONE_MATMUL_TN && c->flags & HONE_COMMAND_ACCUMULATE)
		return hone_fail(
			err, HONE_EUNSUPPORTED, "matmul nt and nn do not add to their output");
	if (attr->form == HONE_MATMUL_TN && c->in[1].storage)
		return hone_fail(err, HONE_EUNSUPPORTED, "matmul tn has no stored operand");
	return HONE_OK;
}

const struct ref_op ref_ops_product[] = {
	{HONE_OP_MATMUL, sizeof(struct hone_attr_matmul), 2, 3, 1, 1,
		REF_ACCUMULATES | REF_STORED_1, product, check},
	{0},
};
