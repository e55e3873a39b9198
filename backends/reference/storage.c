/*
 * storage.c - stored (quantised) weights: DECODE, and rows of them for the other families.
 *
 * The one place that knows hone/storage.h.  A format decodes whole blocks of the row-major
 * order of elements, and a block may straddle rows: a row is decoded with the blocks that its
 * ends lie in.
 */
#include "reference.h"

#include <hone/storage.h>

#include <stdlib.h>

/* More parts than any format has. */
#define MAX_PARTS 16

enum hone_status
ref_decode_row(const struct ref_tensor *t, int64_t row, double *dst, struct hone_error *err)
{
	const struct hone_operand *o = t->operand;
	const struct hone_storage_vt *format = o->storage;
	const int64_t block = format->block_elems, end = (row + 1) * t->cols;
	const int64_t first = row * t->cols / block * block;
	const int64_t rounded = (end + block - 1) / block * block, all = t->rows * t->cols;
	const int64_t n = (rounded < all ? rounded : all) - first;
	const void *parts[MAX_PARTS];
	float *decoded;

	if (format->n_parts > MAX_PARTS || (format->n_parts > 1 && !o->part_offset))
		return hone_fail(err, HONE_EUNSUPPORTED, "a weight of format %s has %u parts",
			format->id, format->n_parts);
	decoded = malloc((size_t)n * sizeof *decoded);
	if (!decoded)
		return hone_fail(err, HONE_ENOMEM, "no memory for a row of a stored weight");
	parts[0] = t->data;
	for (uint32_t i = 1; i < format->n_parts; i++)
		parts[i] = (const uint8_t *)o->buffer + o->part_offset[i - 1];
	format->decode(o->storage_self, parts, first, n, decoded);
	for (int64_t j = 0; j < t->cols; j++)
		dst[j] = (double)decoded[row * t->cols - first + j];
	free(decoded);
	return HONE_OK;
}

static enum hone_status
decode(const struct ref_call *call, struct hone_error *err)
{
	const struct ref_tensor *x = &call->in[0];
	double *row = ref_scratch(1, x->cols, err);
	enum hone_status st = row ? HONE_OK : HONE_ENOMEM;

	for (int64_t i = 0; st == HONE_OK && i < x->rows; i++) {
		st = ref_load_row(x, i, row, err);
		if (st == HONE_OK)
			ref_store_row(&call->out[0], i, row);
	}
	free(row);
	return st;
}

static enum hone_status
check(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_cast *attr = c->attr;

	if (attr->dtype != c->out[0].dtype)
		return hone_fail(err, HONE_EUNSUPPORTED, "decode to %s has an output of type %s",
			hone_dtype_name(attr->dtype), hone_dtype_name(c->out[0].dtype));
	return HONE_OK;
}

const struct ref_op ref_ops_storage[] = {
	{HONE_OP_DECODE, sizeof(struct hone_attr_cast), 1, 1, 1, 1, REF_STORED_0, decode, check},
	{0},
};
