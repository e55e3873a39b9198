/*
 * norm.c - RMS_NORM and LAYER_NORM, forward, backward, and the gradients of their weights.
 *
 *     xhat = (x - mean) rstd       y = xhat w + b            (RMS: mean = 0, no b)
 *     g = dy w      dx = rstd (g - mean(g) - xhat mean(g xhat))   (RMS: without mean(g))
 *     dw = sum over rows of dy xhat      db = sum of dy
 *
 * Pieces are rows; a row of f32 stays in L1 between its passes, so memory is read and
 * written once.  The weights' sums are formed over blocks of 64 rows and then in the order
 * of the blocks.  Twins: reference's norm.c.
 */
#include <math.h>
#include <string.h>

#include "sums.h"

struct norm {
	const struct cpu_call *call;
	struct cpu_mat x, w, b, dy, y, mean, rstd;
	int64_t rows; /* of a piece */
	int32_t layer;
	double eps;
};

static float *
stat(const struct cpu_mat *m, int64_t row)
{
	return (float *)(void *)cpu_at(m, row);
}

static enum hone_status
run(struct norm *f, int64_t buffers, void (*piece)(void *ctx, int64_t i, int32_t worker),
	struct hone_error *err)
{
	const int64_t D = f->x.cols;
	const enum hone_status st =
		cpu_reserve(f->call->d, 0, (uint64_t)(buffers * cpu_round_up(D, 16) * 4), err);

	if (st)
		return st;
	f->rows = D >= HN_CPU_PIECE ? 1 : HN_CPU_PIECE / (D ? D : 1);
	cpu_run(f->call->d, cpu_ceil(f->x.rows, f->rows), piece, f);
	return HONE_OK;
}

static void
norm_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct norm *f = ctx;
	const struct hn_cpu_kernels *k = f->call->k;
	const int64_t D = f->x.cols, step = cpu_round_up(D, 16);
	const int64_t end = cpu_min((i + 1) * f->rows, f->x.rows);
	float *buffer = (float *)(void *)f->call->d->worker[worker].memory;
	const float *w = cpu_read(k, &f->w, 0, D, buffer + 2 * step);
	const float *b = f->layer ? cpu_read(k, &f->b, 0, D, buffer + 3 * step) : NULL;

	for (int64_t r = i * f->rows; r < end; r++) {
		const float *x = cpu_read(k, &f->x, r * D, D, buffer);
		float *y = cpu_target(&f->y, r * D, buffer + step);
		const float mean = f->layer ? (float)(k->sum(x, D) / (double)D) : 0.0f;
		const float rstd =
			(float)(1 / sqrt(k->square_about(x, mean, D) / (double)D + f->eps));

		k->normalize(y, x, mean, rstd, w, b, D);
		cpu_write(k, &f->y, r * D, D, y);
		*stat(&f->rstd, r) = rstd;
		if (f->layer)
			*stat(&f->mean, r) = mean;
	}
}

/* The operands of one row, when all are of one type that kernels read themselves. */
static int
is_typed(const struct norm *f)
{
	const int32_t dtype = f->x.dtype;

	return (dtype == HONE_DTYPE_BF16 || dtype == HONE_DTYPE_F32) && f->y.dtype == dtype &&
		(!f->dy.p || f->dy.dtype == dtype);
}

/* RMS norms of one type, forward or (dy) backward. */
static void
rms_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct norm *f = ctx;
	const struct hn_cpu_kernels *k = f->call->k;
	const int64_t D = f->x.cols, end = cpu_min((i + 1) * f->rows, f->x.rows);
	float *buffer = (float *)(void *)f->call->d->worker[worker].memory;
	struct hn_rms r = {.bf16 = f->x.dtype == HONE_DTYPE_BF16,
		.n = D,
		.w = cpu_read(k, &f->w, 0, D, buffer)};

	for (int64_t row = i * f->rows; row < end; row++) {
		r.x = cpu_at(&f->x, row * D);
		r.y = cpu_at(&f->y, row * D);
		if (f->dy.p) {
			r.dy = cpu_at(&f->dy, row * D);
			k->rms_norm_back(&r, *stat(&f->rstd, row));
		} else {
			*stat(&f->rstd, row) = k->rms_norm(&r, f->eps);
		}
	}
}

enum hone_status
cpu_rms_norm(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_norm *attr = call->c->attr;
	struct norm f = {.call = call,
		.x = cpu_in(call, 0),
		.w = cpu_in(call, 1),
		.y = cpu_out(call, 0),
		.rstd = cpu_out(call, 1),
		.eps = attr->eps};

	return run(&f, 4, is_typed(&f) ? rms_piece : norm_piece, err);
}

enum hone_status
cpu_layer_norm(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_norm *attr = call->c->attr;
	struct norm f = {.call = call,
		.x = cpu_in(call, 0),
		.w = cpu_in(call, 1),
		.b = cpu_in(call, 2),
		.y = cpu_out(call, 0),
		.mean = cpu_out(call, 1),
		.rstd = cpu_out(call, 2),
		.layer = 1,
		.eps = attr->eps};

	return run(&f, 4, norm_piece, err);
}

static void
back_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct norm *f = ctx;
	const struct hn_cpu_kernels *k = f->call->k;
	const int64_t D = f->x.cols, step = cpu_round_up(D, 16);
	const int64_t end = cpu_min((i + 1) * f->rows, f->x.rows);
	float *buffer = (float *)(void *)f->call->d->worker[worker].memory;
	float *const g = buffer + step, *const xhat = buffer + 2 * step;
	const float *w = cpu_read(k, &f->w, 0, D, buffer + 3 * step);

	for (int64_t r = i * f->rows; r < end; r++) {
		const float mean = f->layer ? *stat(&f->mean, r) : 0.0f, rstd = *stat(&f->rstd, r);
		const float *x = cpu_read(k, &f->x, r * D, D, xhat);
		const float *dy = cpu_read(k, &f->dy, r * D, D, g);
		float *dx = cpu_target(&f->y, r * D, buffer);
		double along, level;

		k->normalize(xhat, x, mean, rstd, NULL, NULL, D);
		k->binary(HONE_BINARY_MUL, g, dy, w, D);
		along = k->dot(g, xhat, D) / (double)D;
		level = f->layer ? k->sum(g, D) / (double)D : 0;
		k->axpy(g, xhat, (float)-along, D);
		k->affine(dx, g, rstd, (float)(-level) * rstd, D);
		cpu_write(k, &f->y, r * D, D, dx);
	}
}

enum hone_status
cpu_rms_norm_back(const struct cpu_call *call, struct hone_error *err)
{
	struct norm f = {.call = call,
		.dy = cpu_in(call, 0),
		.x = cpu_in(call, 1),
		.w = cpu_in(call, 2),
		.rstd = cpu_in(call, 3),
		.y = cpu_out(call, 0)};

	return run(&f, 4, is_typed(&f) ? rms_piece : back_piece, err);
}

enum hone_status
cpu_layer_norm_back(const struct cpu_call *call, struct hone_error *err)
{
	struct norm f = {.call = call,
		.dy = cpu_in(call, 0),
		.x = cpu_in(call, 1),
		.w = cpu_in(call, 2),
		.mean = cpu_in(call, 3),
		.rstd = cpu_in(call, 4),
		.y = cpu_out(call, 0),
		.layer = 1};

	return run(&f, 4, back_piece, err);
}

/* ---- Gradients of the weights ---- */

/* dy xhat of one row; see sums.h. */
static void
weight_row(const void *ctx, int64_t row, int64_t at, int64_t n, float *out)
{
	const struct norm *f = ctx;
	const struct hn_cpu_kernels *k = f->call->k;
	const int64_t D = f->x.cols;
	const float mean = f->layer ? *stat(&f->mean, row) : 0.0f;
	float x[HN_CPU_BLOCK], dy[HN_CPU_BLOCK];

	k->normalize(out, cpu_read(k, &f->x, row * D + at, n, x), mean, *stat(&f->rstd, row), NULL,
		NULL, n);
	k->binary(HONE_BINARY_MUL, out, out, cpu_read(k, &f->dy, row * D + at, n, dy), n);
}

static void
bias_row(const void *ctx, int64_t row, int64_t at, int64_t n, float *out)
{
	const struct norm *f = ctx;

	f->call->k->to_f32(out, cpu_at(&f->dy, row * f->x.cols + at), f->dy.dtype, n);
}

enum hone_status
cpu_rms_norm_weight_back(const struct cpu_call *call, struct hone_error *err)
{
	struct norm f = {
		.call = call, .dy = cpu_in(call, 0), .x = cpu_in(call, 1), .rstd = cpu_in(call, 2)};
	const struct cpu_sums dw = {.call = call,
		.ctx = &f,
		.row = weight_row,
		.n_rows = f.x.rows,
		.y = cpu_out(call, 0)};

	return cpu_sum_rows(&dw, err);
}

enum hone_status
cpu_layer_norm_weight_back(const struct cpu_call *call, struct hone_error *err)
{
	struct norm f = {.call = call,
		.dy = cpu_in(call, 0),
		.x = cpu_in(call, 1),
		.mean = cpu_in(call, 2),
		.rstd = cpu_in(call, 3),
		.layer = 1};
	struct cpu_sums sums = {.call = call,
		.ctx = &f,
		.row = weight_row,
		.n_rows = f.x.rows,
		.y = cpu_out(call, 0)};
	const enum hone_status st = cpu_sum_rows(&sums, err);

	if (st)
		return st;
	sums.row = bias_row;
	sums.y = cpu_out(call, 1);
	return cpu_sum_rows(&sums, err);
}
