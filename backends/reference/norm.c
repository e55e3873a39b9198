/*
 * norm.c - RMS_NORM and LAYER_NORM, their gradients for x, and for weight and bias.
 *
 * With xhat = (x - mean) rstd (mean = 0 for RMS) and g = dy w, over the D columns of a row:
 *
 *     y  = xhat w + b                 rstd = 1 / sqrt(mean((x - mean)^2) + eps)
 *     dx = rstd (g - mean(g) - xhat mean(g xhat))        RMS: without mean(g)
 *     dw = sum_n dy xhat              db = sum_n dy
 *
 * Zhang, Sennrich 2019, arXiv:1910.07467; Ba, Kiros, Hinton 2016, arXiv:1607.06450.  The
 * variance is taken in a second pass and divided by D, as PyTorch does.  One kernel serves
 * both norms; the operands that differ are found by `struct shape`.
 */
#include "reference.h"

#include <math.h>
#include <stdlib.h>

static double
mean_of(const double *x, int64_t D)
{
	double sum = 0;

	for (int64_t j = 0; j < D; j++)
		sum += x[j];
	return sum / (double)D;
}

static enum hone_status
norm_rows(const struct ref_call *call, bool layer, struct hone_error *err)
{
	const struct hone_attr_norm *attr = call->command->attr;
	const struct ref_tensor *x = &call->in[0], *y = &call->out[0];
	const struct ref_tensor *rstd_out = &call->out[layer ? 2 : 1];
	const int64_t D = x->cols;
	double *row = ref_scratch(1, D, err);

	if (!row)
		return HONE_ENOMEM;
	for (int64_t n = 0; n < x->rows; n++) {
		double mean = 0, square = 0;

		for (int64_t j = 0; j < D; j++)
			row[j] = ref_get(x, n * D + j);
		if (layer)
			mean = mean_of(row, D);
		for (int64_t j = 0; j < D; j++)
			square += (row[j] - mean) * (row[j] - mean);
		const double rstd = 1 / sqrt(square / (double)D + attr->eps);

		for (int64_t j = 0; j < D; j++)
			ref_put(y, n * D + j,
				(row[j] - mean) * rstd * ref_get(&call->in[1], j) +
					(layer ? ref_get(&call->in[2], j) : 0));
		if (layer)
			ref_put(&call->out[1], n, mean);
		ref_put(rstd_out, n, rstd);
	}
	free(row);
	return HONE_OK;
}

static enum hone_status
norm_rows_back(const struct ref_call *call, bool layer, struct hone_error *err)
{
	const struct ref_tensor *dy = &call->in[0], *x = &call->in[1], *w = &call->in[2];
	const struct ref_tensor *rstd_in = &call->in[layer ? 4 : 3];
	const int64_t D = x->cols;
	double *g = ref_scratch(2, D, err), *xhat = g ? g + D : NULL;

	if (!g)
		return HONE_ENOMEM;
	for (int64_t n = 0; n < x->rows; n++) {
		const double rstd = ref_get(rstd_in, n);
		const double mean = layer ? ref_get(&call->in[3], n) : 0;
		double along = 0; /* mean(g xhat) */

		for (int64_t j = 0; j < D; j++) {
			g[j] = ref_get(dy, n * D + j) * ref_get(w, j);
			xhat[j] = (ref_get(x, n * D + j) - mean) * rstd;
			along += g[j] * xhat[j] / (double)D;
		}
		const double level = layer ? mean_of(g, D) : 0;

		for (int64_t j = 0; j < D; j++)
			ref_put(&call->out[0], n * D + j, rstd * (g[j] - level - xhat[j] * along));
	}
	free(g);
	return HONE_OK;
}

static enum hone_status
norm_weight_back(const struct ref_call *call, bool layer, struct hone_error *err)
{
	const struct ref_tensor *dy = &call->in[0], *x = &call->in[1];
	const struct ref_tensor *rstd = &call->in[layer ? 3 : 2];
	const int64_t D = x->cols;
	double *dw = ref_scratch(2, D, err), *db = dw ? dw + D : NULL;

	if (!dw)
		return HONE_ENOMEM;
	for (int64_t n = 0; n < x->rows; n++) {
		const double mean = layer ? ref_get(&call->in[2], n) : 0;

		for (int64_t j = 0; j < D; j++) {
			const double d = ref_get(dy, n * D + j);

			dw[j] += d * (ref_get(x, n * D + j) - mean) * ref_get(rstd, n);
			db[j] += d;
		}
	}
	for (int64_t j = 0; j < D; j++) {
		ref_put_sum(&call->out[0], j, dw[j], ref_accumulates(call));
		if (layer)
			ref_put_sum(&call->out[1], j, db[j], ref_accumulates(call));
	}
	free(dw);
	return HONE_OK;
}

static enum hone_status
rms_norm(const struct ref_call *call, struct hone_error *err)
{
	return norm_rows(call, false, err);
}

static enum hone_status
rms_norm_back(const struct ref_call *call, struct hone_error *err)
{
	return norm_rows_back(call, false, err);
}

static enum hone_status
rms_norm_weight_back(const struct ref_call *call, struct hone_error *err)
{
	return norm_weight_back(call, false, err);
}

static enum hone_status
layer_norm(const struct ref_call *call, struct hone_error *err)
{
	return norm_rows(call, true, err);
}

static enum hone_status
layer_norm_back(const struct ref_call *call, struct hone_error *err)
{
	return norm_rows_back(call, true, err);
}

static enum hone_status
layer_norm_weight_back(const struct ref_call *call, struct hone_error *err)
{
	return norm_weight_back(call, true, err);
}

/* The gradients take rstd as it is given, so eps is an attribute of the forward alone. */
const struct ref_op ref_ops_norm[] = {
	{HONE_OP_RMS_NORM, sizeof(struct hone_attr_norm), 2, 2, 2, 2, 0, rms_norm, NULL},
	{HONE_OP_RMS_NORM_BACK, 0, 4, 4, 1, 1, 0, rms_norm_back, NULL},
	{HONE_OP_RMS_NORM_WEIGHT_BACK, 0, 3, 3, 1, 1, REF_ACCUMULATES, rms_norm_weight_back, NULL},
	{HONE_OP_LAYER_NORM, sizeof(struct hone_attr_norm), 3, 3, 3, 3, 0, layer_norm, NULL},
	{HONE_OP_LAYER_NORM_BACK, 0, 5, 5, 1, 1, 0, layer_norm_back, NULL},
	{HONE_OP_LAYER_NORM_WEIGHT_BACK, 0, 4, 4, 2, 2, REF_ACCUMULATES, layer_norm_weight_back,
		NULL},
	{0},
};
