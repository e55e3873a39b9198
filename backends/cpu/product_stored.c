/*
 * product_stored.c - products with a stored (quantised) weight, NT and NN.
 *
 * The weight is decoded in groups of rows, by all threads together, into dense scratch of the
 * compute type; then the dense product runs on the group.  A group is at most GROUP_ELEMS
 * elements, so the weight never exists whole unless it is that small.  NT: a group is a block
 * of columns of y.  NN: a group is a block of the contraction, so when there are several the
 * sums of y wait in f32 scratch and are converted, plus c, at the end.  Twin: matmul of
 * reference.
 */
#include <string.h>

#include <hone/storage.h>

#include "product.h"

#define GROUP_ELEMS (INT64_C(2) << 20)

struct group {
	const struct cpu_call *call;
	const struct hone_operand *b;
	struct cpu_mat dense;             /* rows of this group */
	int64_t first, rows, cols, block; /* block: rows of a piece */
};

static void
decode_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct group *g = ctx;
	const int64_t row = i * g->block, n = cpu_min(g->block, g->rows - row) * g->cols;
	float *scratch = (float *)(void *)g->call->d->worker[worker].memory;
	float *out = cpu_target(&g->dense, row * g->cols, scratch);

	if (g->dense.dtype == HONE_DTYPE_BF16 &&
		cpu_stored_read_bf16(g->b, (g->first + row) * g->cols, n,
			(uint16_t *)(void *)cpu_at(&g->dense, row * g->cols)))
		return;
	cpu_stored_read(g->b, (g->first + row) * g->cols, n, out, scratch + g->block * g->cols);
	cpu_write(g->call->k, &g->dense, row * g->cols, n, out);
}

struct last {
	const struct cpu_call *call;
	const struct cpu_product *p;
	const float *sums;
};

/* y = sums + c, 16 rows a piece. */
static void
last_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct last *l = ctx;
	const struct cpu_product *p = l->p;
	const int64_t row = i * 16, m = cpu_min(16, p->m - row);
	const struct hn_finish f = {.m = m,
		.n = p->n,
		.tile = l->sums + row * p->n,
		.ldt = p->n,
		.y = cpu_at(&p->y, row * p->ldy),
		.ldy = p->ldy,
		.c = p->c.p ? cpu_at(&p->c, row * p->ldy) : NULL,
		.ldc = p->ldy,
		.y_dtype = p->y.dtype,
		.c_dtype = p->c.dtype};

	(void)worker;
	l->call->k->finish(&f);
}

/* The dense product of one group.  NN with several groups adds to the f32 sums. */
static struct cpu_product
group_product(const struct cpu_product *p, const struct group *g, float *sums)
{
	struct cpu_product part = *p;

	part.b = g->dense;
	part.ldb = g->cols;
	if (p->form == CPU_NT) {
		part.n = g->rows;
		part.y.p = cpu_at(&p->y, g->first);
		if (p->c.p)
			part.c.p = cpu_at(&p->c, g->first);
		if (p->r)
			part.v.p = cpu_at(&p->v, g->first * p->ldv);
		return part;
	}
	part.k = g->rows;
	part.r = g->first + g->rows == g->b->dim[0] ? p->r : 0;
	part.a.p = cpu_at(&p->a, g->first);
	if (!sums)
		return part;
	part.y = (struct cpu_mat){.p = (uint8_t *)sums, .dtype = HONE_DTYPE_F32};
	part.ldy = p->n;
	part.c = g->first ? part.y : (struct cpu_mat){0};
	return part;
}

enum hone_status
cpu_product_stored(const struct cpu_call *call, const struct hone_operand *b,
	const struct cpu_product *p, struct hone_error *err)
{
	const int64_t O = b->dim[0], I = hone_operand_row_elems(b);
	const int32_t bf16 = cpu_product_bf16(call->d, p);
	int64_t rows = GROUP_ELEMS / (I ? I : 1) / 16 * 16;
	struct group g = {.call = call, .b = b, .cols = I};
	struct last last = {.call = call, .p = p};
	uint64_t dense_bytes, sums_bytes;
	enum hone_status st;

	rows = cpu_min(O, rows < 16 ? 16 : rows);
	g.block = cpu_ceil(HN_CPU_PIECE, I ? I : 1);
	g.dense.dtype = bf16 ? HONE_DTYPE_BF16 : HONE_DTYPE_F32;
	dense_bytes = (uint64_t)cpu_round_up(rows * I * (bf16 ? 2 : 4), 64);
	sums_bytes = p->form == CPU_NN && rows < O ? (uint64_t)(p->m * p->n) * 4 : 0;
	for (g.first = 0; g.first < O && p->m > 0; g.first += rows) {
		struct cpu_product part;

		g.rows = cpu_min(rows, O - g.first);
		part = group_product(p, &g, NULL);
		st = cpu_reserve(call->d,
			dense_bytes + sums_bytes + cpu_product_shared(call->d, &part),
			(uint64_t)(g.block * I + cpu_stored_buffer(b)) * 4, err);
		if (st)
			return st;
		g.dense.p = call->d->shared.memory;
		last.sums = (float *)(void *)(g.dense.p + dense_bytes);
		cpu_run(call->d, cpu_ceil(g.rows, g.block), decode_piece, &g);
		part = group_product(
			p, &g, sums_bytes ? (float *)(void *)(g.dense.p + dense_bytes) : NULL);
		st = cpu_product_run(call->d, &part, NULL, dense_bytes + sums_bytes, err);
		if (st)
			return st;
	}
	if (sums_bytes)
		cpu_run(call->d, cpu_ceil(p->m, 16), last_piece, &last);
	return HONE_OK;
}
