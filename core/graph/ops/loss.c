/*
 * loss.c - negative log-likelihood of a label per row of logits.
 *
 * The backward needs the logits and their log-sum-exp only; in a row-chunked region both
 * live for one chunk.
 */
#include "graph/ops/ops.h"

/* Both results are [M,1] of the statistics type, whatever type the logits have. */
static bool
infer_nll(struct hn_infer *infer)
{
	const struct hn_value *logits = infer->in[0], *labels = infer->in[1];

	if (labels->dtype != HONE_DTYPE_I32 || labels->space != logits->space)
		return hn_infer_fail(infer, "rows of '%s' meet labels of '%s'",
			infer->graph->spaces[logits->space].name,
			infer->graph->spaces[labels->space].name);
	hn_infer_rows(infer, 0, logits, 1, infer->graph->stat);
	hn_infer_rows(infer, 1, logits, 1, infer->graph->stat);
	return true;
}

static bool
infer_nll_back(struct hn_infer *infer)
{
	hn_infer_like(infer, 0, infer->in[1], infer->in[1]->dtype);
	return true;
}

/* dlogits = dnll (softmax - target); nobody may differentiate through lse, the second
 * result. */
static void
backward_nll(struct hn_gradient *grad)
{
	const hone_node in[4] = {grad->dy[0], grad->in[0], grad->in[1], grad->out[1]};

	if (grad->wants[0])
		(void)grad->graph->base.vt->node(&grad->graph->base, HONE_OP_NLL_BACK, 4, in,
			grad->node->attr, grad->node->attr_size, 1, &grad->dx[0]);
}

static const struct hn_op table[] = {
	{HONE_OP_NLL, "nll", HN_OP_ROW_LOCAL | HN_OP_PURE, sizeof(struct hone_attr_nll), 2, 2, 2,
		-1, infer_nll, backward_nll},
	{HONE_OP_NLL_BACK, "nll_back", HN_OP_ROW_LOCAL | HN_OP_PURE, sizeof(struct hone_attr_nll),
		4, 4, 1, 1, infer_nll_back, NULL},
};

const struct hn_op_family hn_ops_loss = HN_OP_FAMILY(table);
