/*
 * product.c - matrix products: NT (a b^T), NN (a b), TN (a^T b, a sum over rows).
 *
 *     y = a b^T:  da = dy b      db = dy^T a
 *     y = a b:    da = dy b^T    db = a^T dy
 *     y = a^T b:  da = b dy^T    db = a dy
 */
#include <inttypes.h>

#include "graph/ops/ops.h"

/* Which sizes must agree, and the form that would fit. */
static bool
fail_inner(struct hn_infer *infer, int32_t form)
{
	const struct hn_value *a = infer->in[0], *b = infer->in[1];
	const bool is_nt = form == HONE_MATMUL_NT;
	const bool other_fits = a->dim[1] == b->dim[is_nt ? 0 : 1];

	return hn_infer_fail(infer,
		"%s multiplies the %" PRId64 " columns of the first with the "
		"%" PRId64 " %s of the second%s%s",
		is_nt ? "a b^T (hone_matmul_nt)" : "a b (hone_matmul_nn)", a->dim[1],
		b->dim[is_nt ? 1 : 0], is_nt ? "columns" : "rows",
		!other_fits     ? ""
			: is_nt ? "; a b is hone_matmul_nn"
				: "; a b^T is hone_matmul_nt",
		hn_is_vector(b) ? HN_SCALE_HINT : "");
}

static bool
infer_matmul(struct hn_infer *infer)
{
	const struct hone_attr_matmul *attr = infer->attr;
	const struct hn_value *a = infer->in[0], *b = infer->in[1], *c = infer->in[2];
	const int32_t compute = infer->graph->compute, stat = infer->graph->stat;

	if (a->rank != 2 || b->rank != 2 || !hn_is_float(a->dtype) || !hn_is_float(b->dtype))
		return hn_infer_fail(infer, "both operands must be matrices of numbers%s",
			a->rank == 1 || b->rank == 1 ? HN_SCALE_HINT : "");
	if (attr->form == HONE_MATMUL_TN) {
		if (a->dim[0] != b->dim[0] || a->space != b->space)
			return hn_infer_fail(infer, "the rows that are summed differ");
		infer->out[0] =
			(struct hn_value){.dtype = stat, .rank = 2, .dim = {a->dim[1], b->dim[1]}};
		return infer->n_in == 2 || hn_infer_fail(infer, "a sum over rows takes no addend");
	}
	if (b->space)
		return hn_infer_fail(infer, "the second operand has a row space");
	if (a->dim[1] != b->dim[attr->form == HONE_MATMUL_NT ? 1 : 0])
		return fail_inner(infer, attr->form);
	hn_infer_rows(infer, 0, a, b->dim[attr->form == HONE_MATMUL_NT ? 0 : 1], compute);
	if (c &&
		(c->rank != 2 || c->space != a->space || c->dim[0] != a->dim[0] ||
			c->dim[1] != infer->out[0].dim[1]))
		return hn_infer_fail(infer, "the addend has another shape");
	return true;
}

/* The gradient of b first: then what follows that of a, elementwise, stands right behind it. */
static void
backward_matmul(struct hn_gradient *grad)
{
	const struct hone_attr_matmul *attr = grad->node->attr;
	struct hone_graph *g = &grad->graph->base;
	const hone_node a = grad->in[0], b = grad->in[1], dy = grad->dy[0];

	switch (attr->form) {
	case HONE_MATMUL_NT:
		if (grad->wants[1])
			grad->dx[1] = hone_matmul_tn(g, dy, a);
		if (grad->wants[0])
			grad->dx[0] = hone_matmul_nn(g, dy, b);
		break;
	case HONE_MATMUL_NN:
		if (grad->wants[1])
			grad->dx[1] = hone_matmul_tn(g, a, dy);
		if (grad->wants[0])
			grad->dx[0] = hone_matmul_nt(g, dy, b);
		break;
	default:
		if (grad->wants[0])
			grad->dx[0] = hone_matmul_nt(g, b, dy);
		if (grad->wants[1])
			grad->dx[1] = hone_matmul_nn(g, a, dy);
		break;
	}
	if (grad->node->n_in > 2 && grad->wants[2])
		grad->dx[2] = dy;
}

static const struct hn_op table[] = {
	{HONE_OP_MATMUL, "matmul", HN_OP_ROW_LOCAL | HN_OP_PURE | HN_OP_ACCUMULATES,
		sizeof(struct hone_attr_matmul), 2, 3, 1, 2, infer_matmul, backward_matmul},
};

const struct hn_op_family hn_ops_product = HN_OP_FAMILY(table);
