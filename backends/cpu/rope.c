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

/* Whole heads of one row, as bf16 or f32 in place, through a buffer else. */
static void
turn_heads(const struct hn_cpu_kernels *k, const struct hone_attr_rope *attr,
	const struct cpu_mat *x, const struct cpu_mat *y, const float *turns, int64_t n, int64_t at)
{
	const int64_t K = attr->head_dim;
	const int bf16 = x->dtype == HONE_DTYPE_BF16 && y->dtype == HONE_DTYPE_BF16;
	float buffer[HN_CPU_BLOCK];
	const void *from = bf16 ? cpu_at(x, at) : (const void *)cpu_read(k, x, at, K, buffer);
	void *to = bf16 ? cpu_at(y, at) : (void *)cpu_target(y, at, buffer);
	const struct hn_rotate turn = {.bf16 = bf16,
		.interleaved = attr->layout == HONE_ROPE_INTERLEAVED,
		.y = to,
		.x = from,
		.cosine = turns,
		.sine = turns + n,
		.n = n,
		.sign = attr->inverse ? -1.0f : 1.0f};
	const int64_t element = bf16 ? 2 : 4, rest = (K - 2 * n) * element;

	k->rotate(&turn);
	if (rest && to != from)
		memmove((uint8_t *)to + 2 * n * element, (const uint8_t *)from + 2 * n * element,
			(size_t)rest);
	if (!bf16)
		cpu_write(k, y, at, K, to);
}

void
cpu_rope_row(const struct hn_cpu_kernels *k, const struct hone_attr_rope *attr,
	const struct cpu_mat *x, const struct cpu_mat *table, const struct cpu_mat *y, int64_t row,
	int64_t col, int64_t D)
{
	const int64_t n = table->cols / 2, at = row * x->cols + col;
	float buffer[256];
	const float *turns = cpu_read(k, table, row * 2 * n, 2 * n, buffer);

	for (int64_t h = 0; h < D; h += attr->head_dim)
		turn_heads(k, attr, x, y, turns, n, at + h);
}

static void
rope_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct rope *f = ctx;
	const int64_t end = cpu_min((i + 1) * f->rows, f->x.rows);

	(void)worker;
	for (int64_t r = i * f->rows; r < end; r++)
		cpu_rope_row(f->call->k, f->attr, &f->x, &f->table, &f->y, r, 0, f->x.cols);
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

	(void)err;
	f.rows = D >= HN_CPU_PIECE ? 1 : HN_CPU_PIECE / (D ? D : 1);
	cpu_run(call->d, cpu_ceil(f.x.rows, f.rows), rope_piece, &f);
	return HONE_OK;
}
