/*
 * shape.c - SLICE_COLS, CONCAT_COLS, BROADCAST: elements move, and are converted where the
 * types differ.
 */
#include "reference.h"

static enum hone_status
slice_cols(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_slice *attr = call->command->attr;
	const struct ref_tensor *x = &call->in[0], *y = &call->out[0];

	(void)err;
	for (int64_t i = 0; i < y->rows; i++)
		for (int64_t j = 0; j < y->cols; j++)
			ref_put(y, i * y->cols + j, ref_get(x, i * x->cols + attr->begin + j));
	return HONE_OK;
}

static enum hone_status
check_slice(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_slice *attr = c->attr;

	if (attr->begin < 0 || attr->end > hone_operand_row_elems(&c->in[0]) ||
		attr->end - attr->begin != hone_operand_row_elems(&c->out[0]))
		return hone_fail(err, HONE_EUNSUPPORTED, "columns %lld..%lld of %lld are no slice",
			(long long)attr->begin, (long long)attr->end,
			(long long)hone_operand_row_elems(&c->in[0]));
	return HONE_OK;
}

static enum hone_status
concat_cols(const struct ref_call *call, struct hone_error *err)
{
	const struct ref_tensor *y = &call->out[0];
	int64_t begin = 0;

	(void)err;
	for (uint32_t k = 0; k < call->n_in; k++) {
		const struct ref_tensor *x = &call->in[k];

		for (int64_t i = 0; i < y->rows; i++)
			for (int64_t j = 0; j < x->cols; j++)
				ref_put(y, i * y->cols + begin + j, ref_get(x, i * x->cols + j));
		begin += x->cols;
	}
	return HONE_OK;
}

static enum hone_status
check_concat(const struct hone_command *c, struct hone_error *err)
{
	int64_t cols = 0;

	for (uint32_t k = 0; k < c->n_in; k++)
		cols += c->in[k].rank ? hone_operand_row_elems(&c->in[k]) : 0;
	if (cols != hone_operand_row_elems(&c->out[0]))
		return hone_fail(err, HONE_EUNSUPPORTED, "%lld columns side by side are not %lld",
			(long long)cols, (long long)hone_operand_row_elems(&c->out[0]));
	return HONE_OK;
}

static enum hone_status
broadcast(const struct ref_call *call, struct hone_error *err)
{
	const struct ref_tensor *x = &call->in[0], *y = &call->out[0];
	const bool scalar = ref_elems(x) == 1;

	(void)err;
	for (int64_t i = 0; i < ref_elems(y); i++)
		ref_put(y, i, ref_get(x, scalar ? 0 : i % y->cols));
	return HONE_OK;
}

static enum hone_status
check_broadcast(const struct hone_command *c, struct hone_error *err)
{
	const int64_t elems = c->in[0].dim[0] * hone_operand_row_elems(&c->in[0]);

	if (c->in[0].space || (elems != 1 && elems != hone_operand_row_elems(&c->out[0])))
		return hone_fail(err, HONE_EUNSUPPORTED, "broadcast: the operand is not one row");
	return HONE_OK;
}

const struct ref_op ref_ops_shape[] = {
	{HONE_OP_SLICE_COLS, sizeof(struct hone_attr_slice), 1, 1, 1, 1, 0, slice_cols,
		check_slice},
	{HONE_OP_CONCAT_COLS, 0, 1, REF_MAX_IN, 1, 1, 0, concat_cols, check_concat},
	{HONE_OP_BROADCAST, 0, 2, 2, 1, 1, 0, broadcast, check_broadcast},
	{0},
};
