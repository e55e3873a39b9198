/*
 * segment.c - SEGMENT_REDUCE, SEGMENT_REDUCE_BACK, SEGMENT_BROADCAST: between rows and the
 * segments that they belong to, each column by itself.
 *
 *     sum    y = sum x            dx = dy
 *     mean   y = sum x / n        dx = dy / n
 *     max    y = max x            dx = dy for the first row that holds it, else 0
 *     lse    y = log sum exp x    dx = dy exp(x - y)
 *
 * The number of segments is that of the rows of y, never that of the offsets.  An empty
 * segment gives 0; a row of no segment gets 0.
 */
#include "reference.h"

#include <math.h>
#include <stdlib.h>

/* The first row of x[begin..end) that holds the maximum of column j. */
static int64_t
first_max(const struct ref_tensor *x, int64_t begin, int64_t end, int64_t j)
{
	int64_t best = begin;

	for (int64_t i = begin + 1; i < end; i++) {
		const double v = ref_get(x, i * x->cols + j), m = ref_get(x, best * x->cols + j);

		if (v > m || (v != v && m == m))
			best = i;
	}
	return best;
}

/* Column j of rows [begin, end); `column` holds their values. */
static double
reduce_column(int32_t kind, const double *column, int64_t n)
{
	double sum = 0, max = -INFINITY;

	if (n == 0)
		return 0;
	if (kind == HONE_REDUCE_LSE)
		return ref_log_sum_exp(column, n, 1);
	for (int64_t i = 0; i < n; i++) {
		sum += column[i];
		max = ref_max(max, column[i]);
	}
	return kind == HONE_REDUCE_MAX ? max : kind == HONE_REDUCE_MEAN ? sum / (double)n : sum;
}

static enum hone_status
reduce(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_reduce *attr = call->command->attr;
	const struct ref_tensor *x = &call->in[0], *y = &call->out[0];
	double *column = ref_scratch(1, x->rows, err);
	enum hone_status st = column ? HONE_OK : HONE_ENOMEM;

	for (int64_t s = 0; st == HONE_OK && s < y->rows; s++) {
		int64_t begin, end;

		st = ref_segment(&call->in[1], s, x->rows, &begin, &end, err);
		for (int64_t j = 0; st == HONE_OK && j < x->cols; j++) {
			for (int64_t i = begin; i < end; i++)
				column[i - begin] = ref_get(x, i * x->cols + j);
			ref_put(y, s * x->cols + j, reduce_column(attr->kind, column, end - begin));
		}
	}
	free(column);
	return st;
}

/* The gradient of column j for the rows [begin, end) of one segment. */
static void
reduce_column_back(const struct ref_call *call, int64_t s, int64_t begin, int64_t end, int64_t j)
{
	const struct hone_attr_reduce *attr = call->command->attr;
	const struct ref_tensor *x = &call->in[1];
	const double dy = ref_get(&call->in[0], s * x->cols + j);
	const double y = ref_get(&call->in[2], s * x->cols + j);
	const int64_t held = attr->kind == HONE_REDUCE_MAX ? first_max(x, begin, end, j) : 0;

	for (int64_t i = begin; i < end; i++) {
		const double v = ref_get(x, i * x->cols + j);
		double factor = 1;

		if (attr->kind == HONE_REDUCE_MEAN)
			factor = 1 / (double)(end - begin);
		else if (attr->kind == HONE_REDUCE_MAX)
			factor = i == held ? 1 : 0;
		else if (attr->kind == HONE_REDUCE_LSE)
			factor = v == -INFINITY ? 0 : exp(v - y);
		ref_put(&call->out[0], i * x->cols + j, dy * factor);
	}
}

static void
clear(const struct ref_tensor *t)
{
	for (int64_t i = 0; i < ref_elems(t); i++)
		ref_put(t, i, 0);
}

static enum hone_status
reduce_back(const struct ref_call *call, struct hone_error *err)
{
	const struct ref_tensor *dy = &call->in[0], *x = &call->in[1];
	enum hone_status st = HONE_OK;

	clear(&call->out[0]);
	for (int64_t s = 0; st == HONE_OK && s < dy->rows; s++) {
		int64_t begin, end;

		st = ref_segment(&call->in[3], s, x->rows, &begin, &end, err);
		for (int64_t j = 0; st == HONE_OK && j < x->cols; j++)
			reduce_column_back(call, s, begin, end, j);
	}
	return st;
}

static enum hone_status
broadcast(const struct ref_call *call, struct hone_error *err)
{
	const struct ref_tensor *x = &call->in[0], *y = &call->out[0];
	enum hone_status st = HONE_OK;

	clear(y);
	for (int64_t s = 0; st == HONE_OK && s < x->rows; s++) {
		int64_t begin, end;

		st = ref_segment(&call->in[1], s, y->rows, &begin, &end, err);
		for (int64_t i = begin; st == HONE_OK && i < end; i++)
			for (int64_t j = 0; j < y->cols; j++)
				ref_put(y, i * y->cols + j, ref_get(x, s * x->cols + j));
	}
	return st;
}

static enum hone_status
check(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_reduce *attr = c->attr;

	if (attr->kind < HONE_REDUCE_SUM || attr->kind > HONE_REDUCE_LSE)
		return hone_fail(
			err, HONE_EUNSUPPORTED, "segments have no reduction %d", attr->kind);
	return HONE_OK;
}

const struct ref_op ref_ops_segment[] = {
	{HONE_OP_SEGMENT_REDUCE, sizeof(struct hone_attr_reduce), 2, 2, 1, 1, 0, reduce, check},
	{HONE_OP_SEGMENT_REDUCE_BACK, sizeof(struct hone_attr_reduce), 4, 4, 1, 1, 0, reduce_back,
		check},
	{HONE_OP_SEGMENT_BROADCAST, 0, 3, 3, 1, 1, 0, broadcast, NULL},
	{0},
};
