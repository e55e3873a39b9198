/*
 * rows.c - GATHER_ROWS, SCATTER_ADD_ROWS, PUT_ROWS: rows chosen by an index.
 *
 * Gather: pieces of the index; a stored table is decoded by rows.  Scatter: pieces are ranges
 * of the result's rows; each walks the whole index and takes what falls into it, so rows are
 * added in ascending m without locks.  A result that is not f32 is summed in f32 first.
 * Twins: reference's rows.c.
 */
#include <string.h>

#include "cpu.h"

struct rows {
	const struct cpu_call *call;
	struct cpu_mat x, y;
	const int32_t *index;
	int64_t M, D, rows;
	int32_t add;
};

static const int32_t *
index_of(const struct cpu_call *call, uint32_t i)
{
	return (const int32_t *)(const void *)cpu_in(call, i).p;
}

static void
copy_row(const struct hn_cpu_kernels *k, const struct cpu_mat *y, int64_t to,
	const struct cpu_mat *x, int64_t from, int64_t D)
{
	float buffer[HN_CPU_BLOCK];

	if (x->dtype == y->dtype) {
		memcpy(cpu_at(y, to * D), cpu_at(x, from * D),
			(size_t)(D * hone_dtype_bytes(x->dtype)));
		return;
	}
	for (int64_t j = 0; j < D; j += HN_CPU_BLOCK) {
		const int64_t n = cpu_min(HN_CPU_BLOCK, D - j);
		float *target = cpu_target(y, to * D + j, buffer);

		k->to_f32(target, cpu_at(x, from * D + j), x->dtype, n);
		cpu_write(k, y, to * D + j, n, target);
	}
}

static void
gather_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct rows *f = ctx;
	const struct cpu_call *call = f->call;
	const struct hone_operand *table = &call->c->in[0];
	const int64_t end = cpu_min((i + 1) * f->rows, f->M), D = f->D;
	float *row = (float *)(void *)call->d->worker[worker].memory;

	for (int64_t m = i * f->rows; m < end; m++) {
		if (!table->storage) {
			copy_row(call->k, &f->y, m, &f->x, f->index[m], D);
			continue;
		}
		cpu_stored_read(table, f->index[m] * D, D, row, row + D);
		call->k->from_f32(cpu_at(&f->y, m * D), f->y.dtype, row, D);
	}
}

enum hone_status
cpu_gather_rows(const struct cpu_call *call, struct hone_error *err)
{
	struct rows f = {.call = call,
		.x = cpu_in(call, 0),
		.y = cpu_out(call, 0),
		.index = index_of(call, 1)};
	enum hone_status st;

	f.M = f.y.rows;
	f.D = f.y.cols;
	f.rows = f.D >= HN_CPU_PIECE ? 1 : HN_CPU_PIECE / (f.D ? f.D : 1);
	st = cpu_reserve(call->d, 0, (uint64_t)(f.D + cpu_stored_buffer(&call->c->in[0])) * 4, err);
	if (st)
		return st;
	cpu_run(call->d, cpu_ceil(f.M, f.rows), gather_piece, &f);
	return HONE_OK;
}

static void
scatter_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct rows *f = ctx;
	const struct cpu_call *call = f->call;
	const struct hn_cpu_kernels *k = call->k;
	const int64_t D = f->D, first = i * f->rows, end = cpu_min(first + f->rows, f->y.rows);
	const int64_t n = (end - first) * D;
	float *const sums =
		cpu_target(&f->y, first * D, (float *)(void *)call->d->worker[worker].memory);

	if (!f->add)
		memset(sums, 0, (size_t)n * 4);
	else if (f->y.dtype != HONE_DTYPE_F32)
		k->to_f32(sums, cpu_at(&f->y, first * D), f->y.dtype, n);
	for (int64_t m = 0; m < f->M; m++) {
		float buffer[HN_CPU_BLOCK];

		if (f->index[m] < first || f->index[m] >= end)
			continue;
		for (int64_t j = 0; j < D; j += HN_CPU_BLOCK) {
			const int64_t some = cpu_min(HN_CPU_BLOCK, D - j);

			k->axpy(sums + (f->index[m] - first) * D + j,
				cpu_read(k, &f->x, m * D + j, some, buffer), 1.0f, some);
		}
	}
	cpu_write(k, &f->y, first * D, n, sums);
}

enum hone_status
cpu_scatter_add_rows(const struct cpu_call *call, struct hone_error *err)
{
	struct rows f = {.call = call,
		.x = cpu_in(call, 0),
		.y = cpu_out(call, 0),
		.index = index_of(call, 1),
		.add = (call->c->flags & HONE_COMMAND_ACCUMULATE) != 0};
	enum hone_status st;

	f.M = f.x.rows;
	f.D = f.y.cols;
	/* 64 ranges for a large table, but no range below a piece's worth of elements. */
	f.rows = cpu_ceil(f.y.rows, 64);
	if (f.rows * f.D < 4 * HN_CPU_PIECE)
		f.rows = cpu_ceil(4 * HN_CPU_PIECE, f.D ? f.D : 1);
	st = cpu_reserve(
		call->d, 0, f.y.dtype == HONE_DTYPE_F32 ? 0 : (uint64_t)(f.rows * f.D) * 4, err);
	if (st)
		return st;
	cpu_run(call->d, cpu_ceil(f.y.rows, f.rows), scatter_piece, &f);
	return HONE_OK;
}

static void
copy_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct rows *f = ctx;
	const int64_t end = cpu_min((i + 1) * f->rows, f->y.rows);

	(void)worker;
	for (int64_t r = i * f->rows; r < end; r++)
		copy_row(f->call->k, &f->y, r, &f->x, r, f->D);
}

/* Rows are put one after the other: with an index twice, the last one stays. */
enum hone_status
cpu_put_rows(const struct cpu_call *call, struct hone_error *err)
{
	const struct cpu_mat rows = cpu_in(call, 1);
	struct rows f = {.call = call,
		.x = cpu_in(call, 0),
		.y = cpu_out(call, 0),
		.index = index_of(call, 2)};

	(void)err;
	f.D = f.y.cols;
	f.rows = f.D >= HN_CPU_PIECE ? 1 : HN_CPU_PIECE / (f.D ? f.D : 1);
	if (f.x.p != f.y.p)
		cpu_run(call->d, cpu_ceil(f.y.rows, f.rows), copy_piece, &f);
	for (int64_t m = 0; m < rows.rows; m++)
		copy_row(call->k, &f.y, f.index[m], &rows, m, f.D);
	return HONE_OK;
}
