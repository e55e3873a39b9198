/*
 * rope.c - ROPE_TABLE and ROPE: rotary position embedding (Su et al. 2021, arXiv:2104.09864).
 *
 * The table is formed in double, once per batch.  ROPE turns the first 2n columns of every
 * head and copies the rest; a row goes through L1 once and may be turned in place.  Twins:
 * reference's rope.c.
 */
#include <math.h>
#include <string.h>

#include "cpu.h"

struct rope {
	const struct cpu_call *call;
	struct cpu_mat x, table, y;
	int64_t rows;
	const struct hone_attr_rope *attr;
	const struct hone_attr_rope_table *angles;
};

static void
table_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct rope *f = ctx;
	const struct hone_attr_rope_table *attr = f->angles;
	const int64_t end = cpu_min((i + 1) * f->rows, f->y.rows);

	(void)worker;
	for (int64_t r = i * f->rows; r < end; r++) {
		const int32_t position = ((const int32_t *)(const void *)f->x.p)[r];
		float *y = (float *)(void *)cpu_at(&f->y, r * f->y.cols);

		for (int64_t j = 0; j < attr->n; j++) {
			const double angle = (double)position * attr->inv_freq[j];

			y[j] = (float)(attr->scale * cos(angle));
			y[attr->n + j] = (float)(attr->scale * sin(angle));
		}
	}
}

enum hone_status
cpu_rope_table(const struct cpu_call *call, struct hone_error *err)
{
	struct rope f = {.call = call,
		.x = cpu_in(call, 0),
		.y = cpu_out(call, 0),
		.rows = 16,
		.angles = call->c->attr};

	(void)err;
	cpu_run(call->d, cpu_ceil(f.y.rows, f.rows), table_piece, &f);
	return HONE_OK;
}

static void
rope_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct rope *f = ctx;
	const struct hn_cpu_kernels *k = f->call->k;
	const int64_t D = f->x.cols, K = f->attr->head_dim, n = f->table.cols / 2;
	const int64_t end = cpu_min((i + 1) * f->rows, f->x.rows);
	float *buffer = (float *)(void *)f->call->d->worker[worker].memory, turns[256];

	for (int64_t r = i * f->rows; r < end; r++) {
		const float *x = cpu_read(k, &f->x, r * D, D, buffer);
		const float *table = cpu_read(k, &f->table, r * 2 * n, 2 * n, turns);
		float *y = cpu_target(&f->y, r * D, buffer);

		for (int64_t h = 0; h < D; h += K) {
			const struct hn_rotate turn = {.y = y + h,
				.x = x + h,
				.cosine = table,
				.sine = table + n,
				.n = n,
				.sign = f->attr->inverse ? -1.0f : 1.0f,
				.interleaved = f->attr->layout == HONE_ROPE_INTERLEAVED};

			k->rotate(&turn);
			if (2 * n < K && y != x)
				memmove(y + h + 2 * n, x + h + 2 * n, (size_t)(K - 2 * n) * 4);
		}
		cpu_write(k, &f->y, r * D, D, y);
	}
}

enum hone_status
cpu_rope(const struct cpu_call *call, struct hone_error *err)
{
	struct rope f = {.call = call,
		.x = cpu_in(call, 0),
		.table = cpu_in(call, 1),
		.y = cpu_out(call, 0),
		.attr = call->c->attr};
	const int64_t D = f.x.cols;
	const enum hone_status st = cpu_reserve(call->d, 0, (uint64_t)D * 4, err);

	if (st)
		return st;
	f.rows = D >= HN_CPU_PIECE ? 1 : HN_CPU_PIECE / (D ? D : 1);
	cpu_run(call->d, cpu_ceil(f.x.rows, f.rows), rope_piece, &f);
	return HONE_OK;
}
