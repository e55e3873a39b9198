/*
 * norm.c - RMSNorm and LayerNorm.  Only the statistics of a row are kept for the backward;
 * gradients do not flow through them.
 */
#include "graph/ops/ops.h"

/* Operands from `weight` to `last` are vectors of one number per column. */
static bool
check_norm(struct hn_infer *infer, uint32_t weight, uint32_t last)
{
	const struct hn_value *x = infer->in[0];

	if (x->rank != 2 || !hn_is_float(x->dtype))
		return hn_infer_fail(infer, "the operand is no matrix of numbers");
	for (uint32_t i = weight; i <= last; i++)
		if (infer->in[i]->space || hn_value_elems(infer->in[i]) != x->dim[1])
			return hn_infer_fail(infer, "weight or bias is not one number per column");
	return true;
}

/* y [N,D], rstd [N,1]. */
static bool
infer_rms(struct hn_infer *infer)
{
	if (!check_norm(infer, 1, 1))
		return false;
	hn_infer_like(infer, 0, infer->in[0], infer->graph->compute);
	hn_infer_rows(infer, 1, infer->in[0], 1, infer->graph->stat);
	return true;
}

/* y [N,D], mean [N,1], rstd [N,1]. */
static bool
infer_layer(struct hn_infer *infer)
{
	if (!check_norm(infer, 1, 2))
		return false;
	hn_infer_like(infer, 0, infer->in[0], infer->graph->compute);
	hn_infer_rows(infer, 1, infer->in[0], 1, infer->graph->stat);
	hn_infer_rows(infer, 2, infer->in[0], 1, infer->graph->stat);
	return true;
}

static bool
infer_back(struct hn_infer *infer)
{
	const struct hn_value *dy = infer->in[0], *x = infer->in[1];

	if (dy->space != x->space || hn_value_cols(dy) != hn_value_cols(x))
		return hn_infer_fail(infer, "gradient and operand differ in shape");
	hn_infer_like(infer, 0, x, infer->graph->compute);
	return true;
}

/* dw (and db), [D] each: sums over all rows, of the statistics type. */
static bool
infer_weight_back(struct hn_infer *infer)
{
	for (uint32_t i = 0; i < infer->n_out; i++)
		infer->out[i] = (struct hn_value){.dtype = infer->graph->stat,
			.rank = 1,
			.dim = {hn_value_cols(infer->in[1])}};
	return true;
}

/* Without attributes: eps is in rstd already. */
static void
make(struct hn_gradient *grad, uint32_t op, uint32_t n_in, const hone_node *in, uint32_t n_out,
	hone_node *out)
{
	(void)grad->graph->base.vt->node(&grad->graph->base, op, n_in, in, NULL, 0, n_out, out);
}

/* dx = rstd (w dy - x rstd^2 mean(w dy x)), dw = sum over rows of dy x rstd: two ops, as
 * a frozen norm needs only the first. */
static void
backward_rms(struct hn_gradient *grad)
{
	const hone_node x[] = {grad->dy[0], grad->in[0], grad->in[1], grad->out[1]};
	const hone_node w[] = {grad->dy[0], grad->in[0], grad->out[1]};

	if (grad->wants[0])
		make(grad, HONE_OP_RMS_NORM_BACK, 4, x, 1, &grad->dx[0]);
	if (grad->wants[1])
		make(grad, HONE_OP_RMS_NORM_WEIGHT_BACK, 3, w, 1, &grad->dx[1]);
}

/* Weight and bias come from one pass over dy, so they are one op, even when one of them
 * is frozen. */
static void
backward_layer(struct hn_gradient *grad)
{
	const hone_node x[] = {grad->dy[0], grad->in[0], grad->in[1], grad->out[1], grad->out[2]};
	const hone_node w[] = {grad->dy[0], grad->in[0], grad->out[1], grad->out[2]};

	if (grad->wants[0])
		make(grad, HONE_OP_LAYER_NORM_BACK, 5, x, 1, &grad->dx[0]);
	if (grad->wants[1] || grad->wants[2])
		make(grad, HONE_OP_LAYER_NORM_WEIGHT_BACK, 4, w, 2, &grad->dx[1]);
}

enum { LOCAL = HN_OP_ROW_LOCAL | HN_OP_PURE, SUM = HN_OP_PURE | HN_OP_ACCUMULATES };

static const struct hn_op table[] = {
	{HONE_OP_RMS_NORM, "rms_norm", LOCAL, sizeof(struct hone_attr_norm), 2, 2, 2, -1, infer_rms,
		backward_rms},
	{HONE_OP_RMS_NORM_BACK, "rms_norm_back", LOCAL, 0, 4, 4, 1, -1, infer_back, NULL},
	{HONE_OP_RMS_NORM_WEIGHT_BACK, "rms_norm_weight_back", SUM, 0, 3, 3, 1, -1,
		infer_weight_back, NULL},
	{HONE_OP_LAYER_NORM, "layer_norm", LOCAL, sizeof(struct hone_attr_norm), 3, 3, 3, -1,
		infer_layer, backward_layer},
	{HONE_OP_LAYER_NORM_BACK, "layer_norm_back", LOCAL, 0, 5, 5, 1, -1, infer_back, NULL},
	{HONE_OP_LAYER_NORM_WEIGHT_BACK, "layer_norm_weight_back", SUM, 0, 4, 4, 2, -1,
		infer_weight_back, NULL},
};

const struct hn_op_family hn_ops_norm = HN_OP_FAMILY(table);
