/*
 * rope.c - ROPE_TABLE and ROPE: rotary positions.
 *
 * Su et al. 2021, arXiv:2104.09864.  The pair (u, v) of a row at position p turns by the
 * angle p f_j:
 *
 *     u' = u cos - v sin          v' = u sin + v cos          inverse: sin -> -sin
 *
 * The pairs of a head are (j, j + n) or (2j, 2j + 1); columns from 2n on stay.  Angles are
 * formed in double, because an angle of 1e5 has no correct digits behind the point in f32.
 */
#include "reference.h"

#include <math.h>
#include <stdlib.h>

static enum hone_status
rope_table(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_rope_table *attr = call->command->attr;
	const struct ref_tensor *y = &call->out[0];

	(void)err;
	for (int64_t i = 0; i < y->rows; i++)
		for (int64_t j = 0; j < attr->n; j++) {
			const double angle = ref_get(&call->in[0], i) * attr->inv_freq[j];

			ref_put(y, i * y->cols + j, attr->scale * cos(angle));
			ref_put(y, i * y->cols + attr->n + j, attr->scale * sin(angle));
		}
	return HONE_OK;
}

/* Turns the first 2n columns of one head. */
static void
turn(double *head, const double *cosines, const double *sines, int64_t n,
	const struct hone_attr_rope *attr)
{
	const bool halves = attr->layout == HONE_ROPE_HALVES;

	for (int64_t j = 0; j < n; j++) {
		double *u = halves ? &head[j] : &head[2 * j];
		double *v = halves ? &head[j + n] : &head[2 * j + 1];
		const double s = attr->inverse ? -sines[j] : sines[j], c = cosines[j];
		const double turned = *u * c - *v * s;

		*v = *u * s + *v * c;
		*u = turned;
	}
}

static enum hone_status
rope(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_rope *attr = call->command->attr;
	const struct ref_tensor *x = &call->in[0], *table = &call->in[1];
	const int64_t n = table->cols / 2, K = attr->head_dim;
	double *row = ref_scratch(1, x->cols, err), *turns = ref_scratch(1, table->cols, err);
	enum hone_status st = row && turns ? HONE_OK : HONE_ENOMEM;

	for (int64_t i = 0; st == HONE_OK && i < x->rows; i++) {
		st = ref_load_row(x, i, row, err);
		if (st == HONE_OK)
			st = ref_load_row(table, i, turns, err);
		for (int64_t h = 0; st == HONE_OK && h < x->cols / K; h++)
			turn(row + h * K, turns, turns + n, n, attr);
		if (st == HONE_OK)
			ref_store_row(&call->out[0], i, row);
	}
	free(row);
	free(turns);
	return st;
}

static enum hone_status
check_table(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_rope_table *attr = c->attr;

	if (attr->n < 1 || attr->n > 128 || hone_operand_row_elems(&c->out[0]) != 2 * attr->n)
		return hone_fail(err, HONE_EUNSUPPORTED, "rope_table has %lld frequencies",
			(long long)attr->n);
	return HONE_OK;
}

static enum hone_status
check_rope(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_rope *attr = c->attr;

	if (attr->layout != HONE_ROPE_HALVES && attr->layout != HONE_ROPE_INTERLEAVED)
		return hone_fail(err, HONE_EUNSUPPORTED, "rope has no layout %d", attr->layout);
	if (attr->head_dim < 1 || hone_operand_row_elems(&c->in[0]) % attr->head_dim ||
		hone_operand_row_elems(&c->in[1]) > attr->head_dim)
		return hone_fail(err, HONE_EUNSUPPORTED,
			"rope: heads of %lld columns fit neither x nor the table",
			(long long)attr->head_dim);
	return HONE_OK;
}

const struct ref_op ref_ops_rope[] = {
	{HONE_OP_ROPE_TABLE, sizeof(struct hone_attr_rope_table), 1, 1, 1, 1, 0, rope_table,
		check_table},
	{HONE_OP_ROPE, sizeof(struct hone_attr_rope), 2, 2, 1, 1, 0, rope, check_rope},
	{0},
};
