/*
 * loss.c - NLL and NLL_BACK: cross-entropy of rows of logits against one label each.
 *
 *     lse = log sum_v exp(x_v)
 *     nll = (1 - e) (lse - x_label) + e (lse - mean(x))        e = label smoothing
 *     dx_v = dnll (exp(x_v - lse) - (1 - e) [v = label] - e / V)
 *
 * Szegedy et al. 2016, arXiv:1512.00567, section 7, as torch.nn.functional.cross_entropy
 * computes it.  A label below 0 is no label: nll = 0, dx = 0, lse as ever.  mean(x) is not
 * formed when e = 0, so a logit of -infinity is harmless then.
 */
#include "reference.h"

#include <math.h>
#include <stdlib.h>

/* The label of row m, refused when it is no column. */
static enum hone_status
label_of(const struct ref_tensor *labels, int64_t m, int64_t V, int64_t *label,
	struct hone_error *err)
{
	*label = (int64_t)ref_get(labels, m);
	if (*label >= V)
		return hone_fail(err, HONE_EBUG,
			"label %lld of row %lld is not one of %lld columns", (long long)*label,
			(long long)m, (long long)V);
	return HONE_OK;
}

static double
row_loss(const double *x, int64_t V, int64_t label, double lse, double e)
{
	double sum = 0;

	if (label < 0)
		return 0;
	if (e == 0)
		return lse - x[label];
	for (int64_t v = 0; v < V; v++)
		sum += x[v];
	return (1 - e) * (lse - x[label]) + e * (lse - sum / (double)V);
}

static enum hone_status
nll(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_nll *attr = call->command->attr;
	const struct ref_tensor *x = &call->in[0];
	const int64_t V = x->cols;
	double *row = ref_scratch(1, V, err);
	enum hone_status st = row ? HONE_OK : HONE_ENOMEM;

	for (int64_t m = 0; st == HONE_OK && m < x->rows; m++) {
		int64_t label;

		st = label_of(&call->in[1], m, V, &label, err);
		if (st == HONE_OK)
			st = ref_load_row(x, m, row, err);
		if (st != HONE_OK)
			break;
		const double lse = ref_log_sum_exp(row, V, 1);

		ref_put(&call->out[0], m, row_loss(row, V, label, lse, attr->label_smoothing));
		ref_put(&call->out[1], m, lse);
	}
	free(row);
	return st;
}

static enum hone_status
nll_back(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_nll *attr = call->command->attr;
	const struct ref_tensor *x = &call->in[1];
	const int64_t V = x->cols;
	const double e = attr->label_smoothing;
	enum hone_status st = HONE_OK;

	for (int64_t m = 0; st == HONE_OK && m < x->rows; m++) {
		const double d = ref_get(&call->in[0], m), lse = ref_get(&call->in[3], m);
		int64_t label;

		st = label_of(&call->in[2], m, V, &label, err);
		for (int64_t v = 0; st == HONE_OK && v < V; v++) {
			const double wanted = (v == label ? 1 - e : 0) + e / (double)V;
			const double slope = exp(ref_get(x, m * V + v) - lse) - wanted;

			ref_put(&call->out[0], m * V + v, label < 0 ? 0 : d * slope);
		}
	}
	return st;
}

const struct ref_op ref_ops_loss[] = {
	{HONE_OP_NLL, sizeof(struct hone_attr_nll), 2, 2, 2, 2, 0, nll, NULL},
	{HONE_OP_NLL_BACK, sizeof(struct hone_attr_nll), 4, 4, 1, 1, 0, nll_back, NULL},
	{0},
};
