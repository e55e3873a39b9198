/*
 * reduce.c - REDUCE_COLS, REDUCE_ROWS, SUM_SQUARES, and the sums over rows of other files.
 *
 * Sums over rows: blocks of 64 rows by 256 columns each add up in f32 in ascending order; the
 * blocks of a column are then added in order, in double.  SUM_SQUARES: double sums of 64Ki
 * elements, added pairwise.  Both trees depend on sizes alone.  Twins: reference's reduce.c
 * and optimizer.c.
 */
#include <math.h>
#include <string.h>

#include "sums.h"

#define SUM_ROWS 64
#define SUM_COLS 256
#define SQUARES  65536

/* ---- Sums over rows ---- */

struct sums {
	const struct cpu_sums *s;
	int64_t D, n_cols, n_blocks; /* column blocks; row blocks */
	float *part;                 /* [n_blocks, D] */
};

static void
part_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct sums *t = ctx;
	const int64_t at = i % t->n_cols * SUM_COLS, block = i / t->n_cols;
	const int64_t n = cpu_min(SUM_COLS, t->D - at);
	const int64_t end = cpu_min((block + 1) * SUM_ROWS, t->s->n_rows);
	float *part = t->part + block * t->D + at, row[SUM_COLS];

	(void)worker;
	memset(part, 0, (size_t)n * 4);
	for (int64_t r = block * SUM_ROWS; r < end; r++) {
		t->s->row(t->s->ctx, r, at, n, row);
		t->s->call->k->axpy(part, row, 1.0f, n);
	}
}

enum hone_status
cpu_sum_rows(const struct cpu_sums *s, struct hone_error *err)
{
	struct sums t = {.s = s, .D = s->y.rows * s->y.cols};
	const int add = (s->call->c->flags & HONE_COMMAND_ACCUMULATE) != 0;
	float *y = (float *)(void *)s->y.p;
	enum hone_status st;

	t.n_cols = cpu_ceil(t.D, SUM_COLS);
	t.n_blocks = cpu_ceil(s->n_rows, SUM_ROWS);
	st = cpu_reserve(s->call->d, (uint64_t)(t.n_blocks * t.D * 4), 0, err);
	if (st)
		return st;
	t.part = (float *)(void *)s->call->d->shared.memory;
	cpu_run(s->call->d, t.n_cols * t.n_blocks, part_piece, &t);
	for (int64_t j = 0; j < t.D; j++) {
		double sum = add ? (double)y[j] : 0;

		for (int64_t b = 0; b < t.n_blocks; b++)
			sum += (double)t.part[b * t.D + j];
		y[j] = (float)sum;
	}
	return HONE_OK;
}

static void
plain_row(const void *ctx, int64_t row, int64_t at, int64_t n, float *out)
{
	const struct cpu_sums *s = ctx;
	const struct cpu_mat x = cpu_in(s->call, 0);

	s->call->k->to_f32(out, cpu_at(&x, row * x.cols + at), x.dtype, n);
}

enum hone_status
cpu_reduce_rows(const struct cpu_call *call, struct hone_error *err)
{
	struct cpu_sums s = {.call = call,
		.row = plain_row,
		.n_rows = cpu_in(call, 0).rows,
		.y = cpu_out(call, 0)};

	s.ctx = &s;
	return cpu_sum_rows(&s, err);
}

/* ---- REDUCE_COLS ---- */

struct cols {
	const struct cpu_call *call;
	struct cpu_mat x, y;
	int64_t rows;
	int32_t kind;
};

static double
sum_of(const struct cols *f, int64_t row)
{
	const int64_t D = f->x.cols;
	float x[HN_CPU_BLOCK];
	double sum = 0;

	for (int64_t j = 0; j < D; j += HN_CPU_BLOCK) {
		const int64_t n = cpu_min(HN_CPU_BLOCK, D - j);

		sum += f->call->k->sum(cpu_read(f->call->k, &f->x, row * D + j, n, x), n);
	}
	return sum;
}

static float
top_of(const struct cols *f, int64_t row)
{
	const int64_t D = f->x.cols;
	float x[HN_CPU_BLOCK], top = -INFINITY;

	for (int64_t j = 0; j < D; j += HN_CPU_BLOCK) {
		const int64_t n = cpu_min(HN_CPU_BLOCK, D - j);
		const float t = f->call->k->top(cpu_read(f->call->k, &f->x, row * D + j, n, x), n);

		top = t > top || t != t ? t : top;
		if (top != top)
			break;
	}
	return top;
}

static float
lse_of(const struct cols *f, int64_t row)
{
	const int64_t D = f->x.cols;
	const float top = top_of(f, row);
	float x[HN_CPU_BLOCK];
	double sum = 0;

	if (isinf(top) || top != top)
		return top;
	for (int64_t j = 0; j < D; j += HN_CPU_BLOCK) {
		const int64_t n = cpu_min(HN_CPU_BLOCK, D - j);

		sum += f->call->k->sum_exp(cpu_read(f->call->k, &f->x, row * D + j, n, x), top, n);
	}
	return (float)((double)top + log(sum));
}

/* The first column that holds the maximum; with a NaN in the row, that of the NaN. */
static int32_t
argmax_of(const struct cols *f, int64_t row)
{
	const int64_t D = f->x.cols;
	const float top = top_of(f, row);
	float x[HN_CPU_BLOCK];

	for (int64_t j = 0; j < D; j += HN_CPU_BLOCK) {
		const int64_t n = cpu_min(HN_CPU_BLOCK, D - j);
		const float *v = cpu_read(f->call->k, &f->x, row * D + j, n, x);

		for (int64_t i = 0; i < n; i++)
			if (v[i] == top || (top != top && v[i] != v[i]))
				return (int32_t)(j + i);
	}
	return 0;
}

static void
cols_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct cols *f = ctx;
	const int64_t end = cpu_min((i + 1) * f->rows, f->x.rows);

	(void)worker;
	for (int64_t r = i * f->rows; r < end; r++) {
		float *y = (float *)(void *)cpu_at(&f->y, r);

		switch (f->kind) {
		case HONE_REDUCE_SUM:
			*y = (float)sum_of(f, r);
			break;
		case HONE_REDUCE_MEAN:
			*y = (float)(sum_of(f, r) / (double)f->x.cols);
			break;
		case HONE_REDUCE_MAX:
			*y = top_of(f, r);
			break;
		case HONE_REDUCE_LSE:
			*y = lse_of(f, r);
			break;
		default:
			*(int32_t *)(void *)cpu_at(&f->y, r) = argmax_of(f, r);
			break;
		}
	}
}

enum hone_status
cpu_reduce_cols(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_reduce *attr = call->c->attr;
	struct cols f = {
		.call = call, .x = cpu_in(call, 0), .y = cpu_out(call, 0), .kind = attr->kind};
	const int64_t D = f.x.cols;

	(void)err;
	f.rows = D >= HN_CPU_PIECE ? 1 : HN_CPU_PIECE / (D ? D : 1);
	cpu_run(call->d, cpu_ceil(f.x.rows, f.rows), cols_piece, &f);
	return HONE_OK;
}

/* ---- SUM_SQUARES ---- */

struct squares {
	const struct cpu_call *call;
	struct cpu_mat x;
	int64_t n;
	double *part;
};

static void
squares_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct squares *f = ctx;
	const int64_t end = cpu_min((i + 1) * SQUARES, f->n);
	float x[HN_CPU_BLOCK];
	double sum = 0;

	(void)worker;
	for (int64_t at = i * SQUARES; at < end; at += HN_CPU_BLOCK) {
		const int64_t n = cpu_min(HN_CPU_BLOCK, end - at);

		sum += f->call->k->square_about(cpu_read(f->call->k, &f->x, at, n, x), 0.0f, n);
	}
	f->part[i] = sum;
}

enum hone_status
cpu_sum_squares(const struct cpu_call *call, struct hone_error *err)
{
	struct squares f = {.call = call, .x = cpu_in(call, 0)};
	const struct cpu_mat out = cpu_out(call, 0);
	const int add = (call->c->flags & HONE_COMMAND_ACCUMULATE) != 0;
	float *y = (float *)(void *)out.p;
	int64_t n;
	enum hone_status st;

	f.n = f.x.rows * f.x.cols;
	n = cpu_ceil(f.n, SQUARES);
	st = cpu_reserve(call->d, (uint64_t)(n + 1) * 8, 0, err);
	if (st)
		return st;
	f.part = (double *)(void *)call->d->shared.memory;
	f.part[0] = 0;
	cpu_run(call->d, n, squares_piece, &f);
	for (int64_t step = 1; step < n; step *= 2)
		for (int64_t i = 0; i + step < n; i += 2 * step)
			f.part[i] += f.part[i + step];
	*y = (float)(f.part[0] + (add ? (double)*y : 0));
	return HONE_OK;
}
