/*
 * shape.c - DROPOUT, SLICE_COLS, CONCAT_COLS, BROADCAST: rows moved, masked, repeated.
 *
 * Pieces are rows; a row goes through L1 in blocks where a type changes and is copied where
 * none does.  Dropout draws its bits again each time it is asked (hone/random.h), sixteen
 * columns of Philox a vector.  Twins: reference's random.c and shape.c.
 */
#include <math.h>
#include <string.h>

#include <hone/random.h>

#include "cpu.h"

/* n elements from x to y, whatever their types. */
static void
move(const struct hn_cpu_kernels *k, const struct cpu_mat *y, int64_t to, const struct cpu_mat *x,
	int64_t from, int64_t n)
{
	float buffer[HN_CPU_BLOCK];

	if (x->dtype == y->dtype) {
		memmove(cpu_at(y, to), cpu_at(x, from), (size_t)(n * hone_dtype_bytes(x->dtype)));
		return;
	}
	for (int64_t i = 0; i < n; i += HN_CPU_BLOCK) {
		const int64_t some = cpu_min(HN_CPU_BLOCK, n - i);
		float *target = cpu_target(y, to + i, buffer);

		k->to_f32(target, cpu_at(x, from + i), x->dtype, some);
		cpu_write(k, y, to + i, some, target);
	}
}

struct rows {
	const struct cpu_call *call;
	struct cpu_mat x, y, keys;
	int64_t rows;      /* of a piece */
	int64_t begin, at; /* first column taken of x; where it goes in y */
	int64_t n;
	struct hn_keep keep;
};

static void
run_rows(struct rows *f, int64_t cols, void (*piece)(void *ctx, int64_t i, int32_t worker))
{
	f->rows = cols >= HN_CPU_PIECE ? 1 : HN_CPU_PIECE / (cols ? cols : 1);
	cpu_run(f->call->d, cpu_ceil(f->y.rows, f->rows), piece, f);
}

static void
move_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct rows *f = ctx;
	const int64_t end = cpu_min((i + 1) * f->rows, f->y.rows);

	(void)worker;
	for (int64_t r = i * f->rows; r < end; r++)
		move(f->call->k, &f->y, r * f->y.cols + f->at, &f->x, r * f->x.cols + f->begin,
			f->n);
}

enum hone_status
cpu_slice_cols(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_slice *attr = call->c->attr;
	struct rows f = {.call = call,
		.x = cpu_in(call, 0),
		.y = cpu_out(call, 0),
		.begin = attr->begin,
		.n = attr->end - attr->begin};

	(void)err;
	run_rows(&f, f.n, move_piece);
	return HONE_OK;
}

enum hone_status
cpu_concat_cols(const struct cpu_call *call, struct hone_error *err)
{
	struct rows f = {.call = call, .y = cpu_out(call, 0)};

	(void)err;
	for (uint32_t i = 0; i < call->c->n_in; i++) {
		f.x = cpu_in(call, i);
		f.n = f.x.cols;
		run_rows(&f, f.n, move_piece);
		f.at += f.n;
	}
	return HONE_OK;
}

static void
broadcast_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct rows *f = ctx;
	const int64_t end = cpu_min((i + 1) * f->rows, f->y.rows), D = f->y.cols;
	const int64_t first = i * f->rows;
	float one[1];

	(void)worker;
	if (f->n > 1 || D == 1) {
		for (int64_t r = first; r < end; r++)
			move(f->call->k, &f->y, r * D, &f->x, 0, D);
		return;
	}
	one[0] = 0;
	f->call->k->to_f32(one, f->x.p, f->x.dtype, 1);
	for (int64_t j = first * D; j < end * D; j++)
		f->call->k->from_f32(cpu_at(&f->y, j), f->y.dtype, one, 1);
}

enum hone_status
cpu_broadcast(const struct cpu_call *call, struct hone_error *err)
{
	struct rows f = {.call = call, .x = cpu_in(call, 0), .y = cpu_out(call, 0)};

	(void)err;
	f.n = f.x.rows * f.x.cols;
	run_rows(&f, f.y.cols, broadcast_piece);
	return HONE_OK;
}

static void
dropout_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct rows *f = ctx;
	const struct hn_cpu_kernels *k = f->call->k;
	const int64_t end = cpu_min((i + 1) * f->rows, f->y.rows), D = f->y.cols;
	const int32_t *keys = (const int32_t *)(const void *)f->keys.p;
	float x[HN_CPU_BLOCK], y[HN_CPU_BLOCK];
	struct hn_keep d = f->keep;

	(void)worker;
	for (int64_t r = i * f->rows; r < end; r++) {
		d.row[0] = (uint32_t)keys[2 * r + 1];
		d.row[1] = (uint32_t)keys[2 * r];
		for (int64_t j = 0; j < D; j += HN_CPU_BLOCK) {
			d.n = cpu_min(HN_CPU_BLOCK, D - j);
			d.column = j;
			d.x = cpu_read(k, &f->x, r * D + j, d.n, x);
			d.y = cpu_target(&f->y, r * D + j, y);
			k->keep(&d);
			cpu_write(k, &f->y, r * D + j, d.n, d.y);
		}
	}
}

/* A column is kept when its 24 bits / 2^24 >= p: bits >= ceil(p 2^24). */
enum hone_status
cpu_dropout(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_dropout *attr = call->c->attr;
	const uint64_t key = hone_random_key(call->run->seed, attr->stream ^ call->run->step);
	struct rows f = {.call = call,
		.x = cpu_in(call, 0),
		.y = cpu_out(call, 0),
		.keys = cpu_in(call, 1),
		.keep = {.key = {(uint32_t)key, (uint32_t)(key >> 32)},
			.threshold = (uint32_t)ceil(attr->p * 16777216.0),
			.factor = attr->p < 1 ? (float)(1 / (1 - attr->p)) : 0.0f}};

	(void)err;
	run_rows(&f, f.y.cols, dropout_piece);
	return HONE_OK;
}
