/*
 * rows.c - GATHER_ROWS, SCATTER_ADD_ROWS, PUT_ROWS: rows by index.
 *
 *     gather:  y[m] = table[index[m]]        scatter:  y[index[m]] += rows[m], ascending m
 *     put:     y = x, then y[index[m]] = rows[m], ascending m
 *
 * The host checks the columns it binds; here an index out of range is still an error with its
 * row, so that nothing outside a tensor is ever touched.
 */
#include "reference.h"

#include <stdlib.h>

/* index[m], refused unless it is one of n rows. */
static enum hone_status
target(const struct ref_tensor *index, int64_t m, int64_t n, int64_t *row, struct hone_error *err)
{
	*row = (int64_t)ref_get(index, m);
	if (*row < 0 || *row >= n)
		return hone_fail(err, HONE_EBUG, "index %lld of row %lld is not one of %lld rows",
			(long long)*row, (long long)m, (long long)n);
	return HONE_OK;
}

static enum hone_status
gather(const struct ref_call *call, struct hone_error *err)
{
	const struct ref_tensor *table = &call->in[0], *index = &call->in[1];
	double *row = ref_scratch(1, table->cols, err);
	enum hone_status st = row ? HONE_OK : HONE_ENOMEM;

	for (int64_t m = 0; st == HONE_OK && m < index->rows; m++) {
		int64_t from;

		st = target(index, m, table->rows, &from, err);
		if (st == HONE_OK)
			st = ref_load_row(table, from, row, err);
		if (st == HONE_OK)
			ref_store_row(&call->out[0], m, row);
	}
	free(row);
	return st;
}

static enum hone_status
scatter_add(const struct ref_call *call, struct hone_error *err)
{
	const struct ref_tensor *rows = &call->in[0], *index = &call->in[1], *y = &call->out[0];
	const int64_t D = y->cols;
	double *sum = ref_scratch(y->rows, D, err);
	enum hone_status st = sum ? HONE_OK : HONE_ENOMEM;

	for (int64_t m = 0; st == HONE_OK && m < index->rows; m++) {
		int64_t to;

		st = target(index, m, y->rows, &to, err);
		for (int64_t j = 0; st == HONE_OK && j < D; j++)
			sum[to * D + j] += ref_get(rows, m * D + j);
	}
	for (int64_t i = 0; st == HONE_OK && i < ref_elems(y); i++)
		ref_put_sum(y, i, sum[i], ref_accumulates(call));
	free(sum);
	return st;
}

static enum hone_status
put(const struct ref_call *call, struct hone_error *err)
{
	const struct ref_tensor *rows = &call->in[1], *index = &call->in[2], *y = &call->out[0];
	const int64_t D = y->cols;
	enum hone_status st = HONE_OK;

	for (int64_t i = 0; i < ref_elems(y); i++)
		ref_put(y, i, ref_get(&call->in[0], i));
	for (int64_t m = 0; st == HONE_OK && m < index->rows; m++) {
		int64_t to;

		st = target(index, m, y->rows, &to, err);
		for (int64_t j = 0; st == HONE_OK && j < D; j++)
			ref_put(y, to * D + j, ref_get(rows, m * D + j));
	}
	return st;
}

const struct ref_op ref_ops_rows[] = {
	{HONE_OP_GATHER_ROWS, 0, 2, 2, 1, 1, REF_STORED_0, gather, NULL},
	{HONE_OP_SCATTER_ADD_ROWS, sizeof(struct hone_attr_rows), 2, 2, 1, 1, REF_ACCUMULATES,
		scatter_add, NULL},
	{HONE_OP_PUT_ROWS, 0, 3, 3, 1, 1, 0, put, NULL},
	{0},
};
