/*
 * segment.c - SEGMENT_REDUCE, SEGMENT_REDUCE_BACK, SEGMENT_BROADCAST.
 *
 *     sum    y = sum x            dx = dy
 *     mean   y = sum x / n        dx = dy / n
 *     max    y = max x            dx = dy for the first row that holds it, else 0
 *     lse    y = log sum e^x      dx = dy e^(x - y)
 *
 * A piece is one segment by 256 columns; rows are taken in ascending order.  The number of
 * segments is that of the rows of y (or x in BROADCAST).  Rows of no segment get 0.  Twins:
 * reference's segment.c.
 */
#include <math.h>
#include <string.h>

#include "cpu.h"

#define COLS 256

struct segments {
	const struct cpu_call *call;
	struct cpu_mat x, y, dy, out;
	const int32_t *offsets;
	int64_t S, D, n_cols;
	int32_t kind;
};

/* The largest of rows [begin, end) of columns [at, at + n). */
static void
top_rows(const struct segments *f, int64_t begin, int64_t end, int64_t at, int64_t n, float *top)
{
	const struct hn_cpu_kernels *k = f->call->k;
	float x[COLS];

	k->to_f32(top, cpu_at(&f->x, begin * f->D + at), f->x.dtype, n);
	for (int64_t r = begin + 1; r < end; r++)
		k->pick_max(top, cpu_read(k, &f->x, r * f->D + at, n, x), n);
}

static void
sum_rows(const struct segments *f, int64_t begin, int64_t end, int64_t at, int64_t n, float *sum)
{
	const struct hn_cpu_kernels *k = f->call->k;
	float x[COLS];

	memset(sum, 0, (size_t)n * 4);
	for (int64_t r = begin; r < end; r++)
		k->axpy(sum, cpu_read(k, &f->x, r * f->D + at, n, x), 1.0f, n);
	if (f->kind == HONE_REDUCE_MEAN && end > begin)
		k->affine(sum, sum, 1.0f / (float)(end - begin), 0.0f, n);
}

static void
lse_rows(const struct segments *f, int64_t begin, int64_t end, int64_t at, int64_t n, float *y)
{
	const struct hn_cpu_kernels *k = f->call->k;
	float top[COLS], x[COLS], e[COLS];

	top_rows(f, begin, end, at, n, top);
	memset(y, 0, (size_t)n * 4);
	for (int64_t r = begin; r < end; r++) {
		k->binary(HONE_BINARY_SUB, e, cpu_read(k, &f->x, r * f->D + at, n, x), top, n);
		k->unary(HONE_UNARY_EXP, e, e, n);
		k->axpy(y, e, 1.0f, n);
	}
	k->unary(HONE_UNARY_LOG, y, y, n);
	for (int64_t j = 0; j < n; j++)
		y[j] = isfinite(top[j]) ? top[j] + y[j] : top[j];
}

static void
reduce_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct segments *f = ctx;
	const int64_t s = i / f->n_cols, at = i % f->n_cols * COLS, n = cpu_min(COLS, f->D - at);
	const int64_t begin = f->offsets[s], end = f->offsets[s + 1];
	float *y = (float *)(void *)cpu_at(&f->out, s * f->D + at);

	(void)worker;
	if (begin == end)
		memset(y, 0, (size_t)n * 4);
	else if (f->kind == HONE_REDUCE_MAX)
		top_rows(f, begin, end, at, n, y);
	else if (f->kind == HONE_REDUCE_LSE)
		lse_rows(f, begin, end, at, n, y);
	else
		sum_rows(f, begin, end, at, n, y);
}

enum hone_status
cpu_segment_reduce(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_reduce *attr = call->c->attr;
	struct segments f = {.call = call,
		.x = cpu_in(call, 0),
		.out = cpu_out(call, 0),
		.offsets = (const int32_t *)(const void *)cpu_in(call, 1).p,
		.kind = attr->kind};

	(void)err;
	f.S = f.out.rows;
	f.D = f.out.cols;
	f.n_cols = cpu_ceil(f.D, COLS);
	cpu_run(call->d, f.S * f.n_cols, reduce_piece, &f);
	return HONE_OK;
}

/* ---- Backward ---- */

/* The gradient goes to the first row that holds the maximum: where x equals y and no earlier
 * row did. */
static void
back_max(const struct segments *f, int64_t begin, int64_t end, int64_t at, int64_t n,
	const float *dy)
{
	const struct hn_cpu_kernels *k = f->call->k;
	float x[COLS], top[COLS], dx[COLS];
	uint8_t given[COLS] = {0};

	top_rows(f, begin, end, at, n, top);
	for (int64_t r = begin; r < end; r++) {
		const float *v = cpu_read(k, &f->x, r * f->D + at, n, x);

		for (int64_t j = 0; j < n; j++) {
			const int holds = !given[j] && (v[j] == top[j] || v[j] != v[j]);

			dx[j] = holds ? dy[j] : 0.0f;
			given[j] |= (uint8_t)holds;
		}
		k->from_f32(cpu_at(&f->out, r * f->D + at), f->out.dtype, dx, n);
	}
}

static void
back_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct segments *f = ctx;
	const struct hn_cpu_kernels *k = f->call->k;
	const int64_t s = i / f->n_cols, at = i % f->n_cols * COLS, n = cpu_min(COLS, f->D - at);
	const int64_t begin = f->offsets[s], end = f->offsets[s + 1];
	float g[COLS], w[COLS], x[COLS], e[COLS];
	const float *dy = cpu_read(k, &f->dy, s * f->D + at, n, g), *y;

	(void)worker;
	if (begin == end)
		return;
	if (f->kind == HONE_REDUCE_MAX) {
		back_max(f, begin, end, at, n, dy);
		return;
	}
	if (f->kind == HONE_REDUCE_MEAN) {
		k->affine(g, dy, 1.0f / (float)(end - begin), 0.0f, n);
		dy = g;
	}
	y = cpu_read(k, &f->y, s * f->D + at, n, w);
	for (int64_t r = begin; r < end; r++) {
		const float *dx = dy;

		if (f->kind == HONE_REDUCE_LSE) {
			const float *v = cpu_read(k, &f->x, r * f->D + at, n, x);

			k->binary(HONE_BINARY_SUB, e, v, y, n);
			k->unary(HONE_UNARY_EXP, e, e, n);
			for (int64_t j = 0; j < n; j++)
				e[j] = v[j] == -INFINITY ? 0.0f : e[j];
			k->binary(HONE_BINARY_MUL, e, e, dy, n);
			dx = e;
		}
		k->from_f32(cpu_at(&f->out, r * f->D + at), f->out.dtype, dx, n);
	}
}

/* Zeroes the rows of no segment; segments ascend. */
static void
clear_between(const struct segments *f)
{
	const size_t row = (size_t)(f->D * hone_dtype_bytes(f->out.dtype));
	int64_t done = 0;

	for (int64_t s = 0; s <= f->S; s++) {
		const int64_t begin = s < f->S ? f->offsets[s] : f->out.rows;

		if (begin > done)
			memset(cpu_at(&f->out, done * f->D), 0, (size_t)(begin - done) * row);
		if (s < f->S && f->offsets[s + 1] > done)
			done = f->offsets[s + 1];
	}
}

enum hone_status
cpu_segment_reduce_back(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_reduce *attr = call->c->attr;
	struct segments f = {.call = call,
		.dy = cpu_in(call, 0),
		.x = cpu_in(call, 1),
		.y = cpu_in(call, 2),
		.offsets = (const int32_t *)(const void *)cpu_in(call, 3).p,
		.out = cpu_out(call, 0),
		.kind = attr->kind};

	(void)err;
	f.S = f.dy.rows;
	f.D = f.out.cols;
	f.n_cols = cpu_ceil(f.D, COLS);
	clear_between(&f);
	cpu_run(call->d, f.S * f.n_cols, back_piece, &f);
	return HONE_OK;
}

static void
broadcast_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct segments *f = ctx;
	const struct hn_cpu_kernels *k = f->call->k;
	const int64_t s = i / f->n_cols, at = i % f->n_cols * COLS, n = cpu_min(COLS, f->D - at);
	float buffer[COLS];
	const float *x = cpu_read(k, &f->x, s * f->D + at, n, buffer);

	(void)worker;
	for (int64_t r = f->offsets[s]; r < f->offsets[s + 1]; r++)
		k->from_f32(cpu_at(&f->out, r * f->D + at), f->out.dtype, x, n);
}

enum hone_status
cpu_segment_broadcast(const struct cpu_call *call, struct hone_error *err)
{
	struct segments f = {.call = call,
		.x = cpu_in(call, 0),
		.offsets = (const int32_t *)(const void *)cpu_in(call, 1).p,
		.out = cpu_out(call, 0)};

	(void)err;
	f.S = f.x.rows;
	f.D = f.out.cols;
	f.n_cols = cpu_ceil(f.D, COLS);
	clear_between(&f);
	cpu_run(call->d, f.S * f.n_cols, broadcast_piece, &f);
	return HONE_OK;
}
