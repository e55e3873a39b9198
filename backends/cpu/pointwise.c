/*
 * pointwise.c - UNARY, UNARY_BACK, BINARY, SCALE, CAST, FILL.
 *
 * Memory-bound: one pass, blocks of HN_CPU_BLOCK elements through L1 as f32, so that a block
 * of bf16 is widened, computed and rounded while it is there.  A result may be the memory of
 * an operand of its type.  Bytes: each operand once.  Twins: reference's elementwise.c.
 */
#include "cpu.h"

/* ---- Flat: element i of everything ---- */

struct flat {
	const struct cpu_call *call;
	struct cpu_mat x, z, y; /* y = f(x), or f(x, z) */
	int64_t n;
	int32_t kind;
	float alpha, beta;
	void (*block)(const struct flat *f, float *y, int64_t at, int64_t n);
};

static void
flat_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct flat *f = ctx;
	const int64_t end = cpu_min((i + 1) * HN_CPU_PIECE, f->n);
	float buffer[HN_CPU_BLOCK];

	(void)worker;
	for (int64_t at = i * HN_CPU_PIECE; at < end; at += HN_CPU_BLOCK) {
		const int64_t n = cpu_min(HN_CPU_BLOCK, end - at);
		float *y = cpu_target(&f->y, at, buffer);

		f->block(f, y, at, n);
		cpu_write(f->call->k, &f->y, at, n, y);
	}
}

static enum hone_status
flat_run(struct flat *f)
{
	f->y = cpu_out(f->call, 0);
	f->n = f->y.rows * f->y.cols;
	cpu_run(f->call->d, cpu_ceil(f->n, HN_CPU_PIECE), flat_piece, f);
	return HONE_OK;
}

static void
unary_block(const struct flat *f, float *y, int64_t at, int64_t n)
{
	float x[HN_CPU_BLOCK];

	f->call->k->unary(f->kind, y, cpu_read(f->call->k, &f->x, at, n, x), n);
}

static void
unary_back_block(const struct flat *f, float *y, int64_t at, int64_t n)
{
	float dy[HN_CPU_BLOCK], x[HN_CPU_BLOCK];
	const struct hn_cpu_kernels *k = f->call->k;

	k->unary_back(f->kind, y, cpu_read(k, &f->x, at, n, dy), cpu_read(k, &f->z, at, n, x), n);
}

static void
binary_block(const struct flat *f, float *y, int64_t at, int64_t n)
{
	float a[HN_CPU_BLOCK], b[HN_CPU_BLOCK];
	const struct hn_cpu_kernels *k = f->call->k;

	k->binary(f->kind, y, cpu_read(k, &f->x, at, n, a), cpu_read(k, &f->z, at, n, b), n);
}

static void
binary_scalar_block(const struct flat *f, float *y, int64_t at, int64_t n)
{
	float a[HN_CPU_BLOCK];

	f->call->k->binary_scalar(f->kind, y, cpu_read(f->call->k, &f->x, at, n, a), f->alpha, n);
}

static void
scale_block(const struct flat *f, float *y, int64_t at, int64_t n)
{
	float x[HN_CPU_BLOCK];

	f->call->k->affine(y, cpu_read(f->call->k, &f->x, at, n, x), f->alpha, f->beta, n);
}

static void
cast_block(const struct flat *f, float *y, int64_t at, int64_t n)
{
	f->call->k->to_f32(y, cpu_at(&f->x, at), f->x.dtype, n);
}

static void
fill_block(const struct flat *f, float *y, int64_t at, int64_t n)
{
	(void)at;
	for (int64_t i = 0; i < n; i++)
		y[i] = f->beta;
}

enum hone_status
cpu_unary(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_unary *attr = call->c->attr;
	struct flat f = {
		.call = call, .x = cpu_in(call, 0), .kind = attr->kind, .block = unary_block};

	(void)err;
	return flat_run(&f);
}

enum hone_status
cpu_unary_back(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_unary *attr = call->c->attr;
	struct flat f = {.call = call,
		.x = cpu_in(call, 0),
		.z = cpu_in(call, 1),
		.kind = attr->kind,
		.block = unary_back_block};

	(void)err;
	return flat_run(&f);
}

enum hone_status
cpu_scale(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_scale *attr = call->c->attr;
	struct flat f = {.call = call,
		.x = cpu_in(call, 0),
		.alpha = (float)attr->alpha,
		.beta = (float)attr->beta,
		.block = scale_block};

	(void)err;
	return flat_run(&f);
}

enum hone_status
cpu_fill(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_scale *attr = call->c->attr;
	struct flat f = {.call = call, .beta = (float)attr->beta, .block = fill_block};

	(void)err;
	return flat_run(&f);
}

/* ---- CAST ---- */

static void
copy_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct flat *f = ctx;
	const int64_t at = i * HN_CPU_PIECE, n = cpu_min(HN_CPU_PIECE, f->n - at);

	(void)worker;
	memmove(cpu_at(&f->y, at), cpu_at(&f->x, at), (size_t)(n * hone_dtype_bytes(f->x.dtype)));
}

/* Integers beyond 2^24 between integer types go through f32 only when they are narrowed to
 * u8, where they saturate alike. */
enum hone_status
cpu_cast(const struct cpu_call *call, struct hone_error *err)
{
	struct flat f = {.call = call, .x = cpu_in(call, 0), .block = cast_block};

	(void)err;
	f.y = cpu_out(call, 0);
	f.n = f.y.rows * f.y.cols;
	if (f.x.dtype != f.y.dtype)
		return flat_run(&f);
	if (f.x.p != f.y.p)
		cpu_run(call->d, cpu_ceil(f.n, HN_CPU_PIECE), copy_piece, &f);
	return HONE_OK;
}

/* ---- BINARY ---- */

static int
same_rows(const struct hone_operand *a, const struct hone_operand *b)
{
	return a->space == b->space && (a->space || a->dim[0] == b->dim[0]);
}

enum cpu_beside
cpu_beside(const struct hone_operand *a, const struct hone_operand *b)
{
	const int64_t D = hone_operand_row_elems(a), n = hone_operand_row_elems(b);

	if (same_rows(a, b) && n == D)
		return CPU_BESIDE_FULL;
	if (!b->space && b->dim[0] == 1 && n == 1)
		return CPU_BESIDE_SCALAR;
	if (same_rows(a, b) && (b->rank > 1 || b->space) && n == 1)
		return CPU_BESIDE_COLUMN;
	if (!b->space && ((b->rank == 1 && b->dim[0] == D) || (b->dim[0] == 1 && n == D)))
		return CPU_BESIDE_ROW;
	/* A static vector is a row where it can be one, else a column. */
	return same_rows(a, b) && n == 1 ? CPU_BESIDE_COLUMN : CPU_BESIDE_NEITHER;
}

struct by_row {
	const struct cpu_call *call;
	struct cpu_mat a, b, y;
	int64_t rows; /* of a piece */
	int32_t kind;
	int32_t column; /* b is a column, else a row */
};

static void
by_row_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct by_row *f = ctx;
	const struct hn_cpu_kernels *k = f->call->k;
	const int64_t D = f->a.cols, end = cpu_min((i + 1) * f->rows, f->a.rows);
	float a[HN_CPU_BLOCK], b[HN_CPU_BLOCK], buffer[HN_CPU_BLOCK], one[1];

	(void)worker;
	for (int64_t j = 0; j < D; j += HN_CPU_BLOCK) {
		const int64_t n = cpu_min(HN_CPU_BLOCK, D - j);
		const float *row = f->column ? NULL : cpu_read(k, &f->b, j, n, b);

		for (int64_t r = i * f->rows; r < end; r++) {
			const int64_t at = r * D + j;
			const float *x = cpu_read(k, &f->a, at, n, a);
			float *y = cpu_target(&f->y, at, buffer);

			if (row)
				k->binary(f->kind, y, x, row, n);
			else
				k->binary_scalar(
					f->kind, y, x, cpu_read(k, &f->b, r, 1, one)[0], n);
			cpu_write(k, &f->y, at, n, y);
		}
	}
}

/* Comparisons of whole numbers, exact beyond 2^24: identities of examples, labels. */
static void
compare_whole(const struct by_row *f, enum cpu_beside how)
{
	const int32_t *a = (const int32_t *)(const void *)f->a.p;
	const int32_t *b = (const int32_t *)(const void *)f->b.p;
	float *y = (float *)(void *)f->y.p;

	for (int64_t r = 0; r < f->a.rows; r++) {
		for (int64_t j = 0; j < f->a.cols; j++) {
			const int64_t at = r * f->a.cols + j;
			const int32_t right = b[how == CPU_BESIDE_FULL ? at
					: how == CPU_BESIDE_ROW        ? j
					: how == CPU_BESIDE_COLUMN     ? r
								       : 0];

			y[at] = (f->kind == HONE_BINARY_LESS ? a[at] < right : a[at] == right)
				? 1.0f
				: 0.0f;
		}
	}
}

enum hone_status
cpu_binary(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_binary *attr = call->c->attr;
	const enum cpu_beside how = cpu_beside(&call->c->in[0], &call->c->in[1]);
	const struct cpu_mat a = cpu_in(call, 0), b = cpu_in(call, 1);
	struct flat flat = {
		.call = call, .x = a, .z = b, .kind = attr->kind, .block = binary_block};
	struct by_row by_row = {.call = call,
		.a = a,
		.b = b,
		.y = cpu_out(call, 0),
		.rows = a.cols >= HN_CPU_PIECE ? 1 : HN_CPU_PIECE / (a.cols ? a.cols : 1),
		.kind = attr->kind,
		.column = how == CPU_BESIDE_COLUMN};
	float one[1];

	(void)err;
	if (a.rows == 0)
		return HONE_OK;
	if (a.dtype == HONE_DTYPE_I32) {
		compare_whole(&by_row, how);
		return HONE_OK;
	}
	if (how == CPU_BESIDE_SCALAR) {
		flat.alpha = cpu_read(call->k, &b, 0, 1, one)[0];
		flat.block = binary_scalar_block;
	}
	if (how == CPU_BESIDE_FULL || how == CPU_BESIDE_SCALAR)
		return flat_run(&flat);
	cpu_run(call->d, cpu_ceil(a.rows, by_row.rows), by_row_piece, &by_row);
	return HONE_OK;
}
