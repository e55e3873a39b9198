/*
 * optimizer.c - ADAMW: one step of Adam with decoupled weight decay, in place.
 *
 *     g *= factor        p -= lr wd p
 *     m = b1 m + (1 - b1) g         v = b2 v + (1 - b2) g^2
 *     p -= lr / bias1 * m / (sqrt(v) / sqrt(bias2) + eps)
 *
 * with lr = hyper[0] lr_scale, bias1 = 1 - b1^t, bias2 = 1 - b2^t, factor the clipping.
 * Loshchilov, Hutter 2019, arXiv:1711.05101; the order is that of torch.optim.AdamW.  The
 * step uses m and v before they are rounded to the type that they are kept in.
 */
#include "reference.h"

#include <math.h>

static enum hone_status
adamw(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_adamw *attr = call->command->attr;
	const struct ref_tensor *hyper = &call->in[4];
	const double lr = ref_get(hyper, 0) * attr->lr_scale;
	const double bias1 = ref_get(hyper, 1), bias2 = ref_get(hyper, 2);
	const double factor = ref_get(hyper, 3), b1 = attr->beta1, b2 = attr->beta2;

	(void)err;
	for (int64_t i = 0; i < ref_elems(&call->in[0]); i++) {
		const double g = ref_get(&call->in[1], i) * factor;
		const double m = b1 * ref_get(&call->in[2], i) + (1 - b1) * g;
		const double v = b2 * ref_get(&call->in[3], i) + (1 - b2) * g * g;
		const double p = ref_get(&call->in[0], i) * (1 - lr * attr->weight_decay);

		ref_put(&call->out[0], i, p - lr / bias1 * m / (sqrt(v) / sqrt(bias2) + attr->eps));
		ref_put(&call->out[1], i, m);
		ref_put(&call->out[2], i, v);
	}
	return HONE_OK;
}

const struct ref_op ref_ops_optimizer[] = {
	{HONE_OP_ADAMW, sizeof(struct hone_attr_adamw), 5, 5, 3, 3, 0, adamw, NULL},
	{0},
};
