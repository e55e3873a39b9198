/*
 * product_packed.c - y = x w^T for a few rows of x and a weight that is read as it is stored.
 *
 * Generating text is this: each weight is read once a token, so its bytes are the bound, and
 * unpacking into scratch would cost more than the product.  Formats that the kernels know are
 * read in place and decoded in registers (leaf_packed.h); of others, some rows at a time are
 * decoded into a worker's scratch, in f32, and read from L1 or L2.  x is brought to f32 and
 * into the order of the codes first, once for all pieces.
 *
 * A piece is a block of rows of w, of a size in bytes that depends on the shape alone; more
 * rows of x than HN_THIN pass one after the other while the block is in cache.  A row of y does
 * not depend on the others.  Flops 2 m n k; bytes of w once.  Twin: matmul of reference.
 */
#include <string.h>

#include <hone/storage.h>

#include "product.h"

#define PIECE      24576 /* bytes of w, about */
#define PIECE_ROWS 256
#define DECODED    8192 /* elements decoded at a time */

struct packed {
	const struct cpu_call *call;
	const struct cpu_product *p;
	const struct hone_operand *b;
	struct hn_packed kernel; /* all but w, n, out */
	int64_t row_bytes, rows; /* of w; of a piece */
	int64_t decoded;         /* rows decoded at a time, 0 = none */
	uint64_t w_at, buf_at;   /* scratch of a worker */
};

static const struct {
	const char *id;
	int32_t packing, elems, bytes;
} formats[] = {{"q8_0", HN_PACKED_Q8_0, 32, 34}, {"q4_0", HN_PACKED_Q4_0, 32, 18},
	{"q4_1", HN_PACKED_Q4_1, 32, 20}, {"q4_k", HN_PACKED_Q4_K, 256, 144},
	{"q6_k", HN_PACKED_Q6_K, 256, 210}};

/* How the kernels read rows of b; NONE where they cannot. */
static int32_t
packing_of(const struct hone_operand *b, int64_t *row_bytes)
{
	const int64_t k = hone_operand_row_elems(b);

	*row_bytes = k * hone_dtype_bytes(b->dtype);
	if (!b->storage && b->dtype == HONE_DTYPE_F32)
		return HN_PACKED_F32;
	if (!b->storage && b->dtype == HONE_DTYPE_BF16)
		return HN_PACKED_BF16;
	if (!b->storage && b->dtype == HONE_DTYPE_F16)
		return HN_PACKED_F16;
	for (size_t i = 0; b->storage && i < sizeof formats / sizeof *formats; i++) {
		if (strcmp(b->storage->id, formats[i].id) != 0 || k % formats[i].elems)
			continue;
		if ((int64_t)b->storage->block_elems != formats[i].elems ||
			(int64_t)b->storage->block_bytes != formats[i].bytes)
			continue;
		*row_bytes = k / formats[i].elems * formats[i].bytes;
		return formats[i].packing;
	}
	return HN_PACKED_NONE;
}

int
cpu_product_is_packed(const struct cpu_product *p, const struct hone_operand *b)
{
	return p->form == CPU_NT && !p->r && p->m > 0 && p->n > HN_THIN && p->k > 0 &&
		p->m <= (b->storage ? CPU_FEW : HN_THIN) && (b->storage || !b->space);
}

/* x as f32 in the order of the codes. */
static void
turn(const struct packed *t, float *x, float *sums, float *buffer)
{
	const struct cpu_product *p = t->p;

	for (int64_t r = 0; r < p->m; r++)
		t->call->k->packed_turn(t->kernel.packing,
			cpu_read(t->call->k, &p->a, r * p->lda, p->k, buffer), p->k,
			x + r * t->kernel.ldx, sums + r * t->kernel.ld_sums);
}

/* Rows [first, first + n) of w against all of x, into the piece's results from `at`. */
static void
some_rows(const struct packed *t, const void *w, int64_t n, float *out)
{
	struct hn_packed k = t->kernel;

	k.w = w;
	k.n = n;
	for (int64_t r = 0; r < t->p->m; r += HN_THIN) {
		k.m = cpu_min(HN_THIN, t->p->m - r);
		k.x = t->kernel.x + r * k.ldx;
		k.sums = t->kernel.sums + r * k.ld_sums;
		k.out = out + r * k.ldo;
		t->call->k->packed(&k);
	}
}

static void
piece(void *ctx, int64_t i, int32_t worker)
{
	const struct packed *t = ctx;
	const struct cpu_product *p = t->p;
	const int64_t at = i * t->rows, n = cpu_min(t->rows, p->n - at);
	uint8_t *scratch = t->call->d->worker[worker].memory;
	float *out = (float *)(void *)(scratch);
	float *w = (float *)(void *)(scratch + t->w_at);
	const struct hn_finish f = {.m = p->m,
		.n = n,
		.tile = out,
		.ldt = t->rows,
		.y = cpu_at(&p->y, at),
		.ldy = p->ldy,
		.c = p->c.p ? cpu_at(&p->c, at) : NULL,
		.ldc = p->ldy,
		.y_dtype = p->y.dtype,
		.c_dtype = p->c.dtype};

	if (!t->decoded)
		some_rows(t, (const uint8_t *)t->b->buffer + t->b->offset + at * t->row_bytes, n,
			out);
	for (int64_t j = 0; t->decoded && j < n; j += t->decoded) {
		const int64_t some = cpu_min(t->decoded, n - j);

		cpu_stored_read(t->b, (at + j) * p->k, some * p->k, w,
			(float *)(void *)(scratch + t->buf_at));
		some_rows(t, w, some, out + j);
	}
	t->call->k->finish(&f);
}

enum hone_status
cpu_product_packed(const struct cpu_call *call, const struct hone_operand *b,
	const struct cpu_product *p, struct hone_error *err)
{
	struct packed t = {.call = call, .p = p, .b = b};
	const int64_t ldx = HN_PACKED_X(p->k), ld_sums = HN_PACKED_SUMS(p->k);
	float *shared;
	enum hone_status st;

	t.kernel = (struct hn_packed){
		.packing = packing_of(b, &t.row_bytes), .k = p->k, .ldx = ldx, .ld_sums = ld_sums};
	if (t.kernel.packing == HN_PACKED_NONE) {
		t.kernel.packing = HN_PACKED_F32;
		t.row_bytes = p->k;
		t.decoded = cpu_ceil(DECODED, p->k);
	}
	t.rows = cpu_round_up(cpu_min(cpu_ceil(PIECE, t.row_bytes), PIECE_ROWS), 16);
	t.kernel.ldo = t.rows;
	t.w_at = (uint64_t)(p->m * t.rows * 4);
	t.buf_at = t.w_at + (uint64_t)cpu_round_up(t.decoded * p->k * 4, 64);
	st = cpu_reserve(call->d, (uint64_t)(p->m * (ldx + ld_sums) + p->k) * 4,
		t.buf_at + (uint64_t)cpu_stored_buffer(b) * 4, err);
	if (st)
		return st;
	shared = (float *)(void *)call->d->shared.memory;
	t.kernel.x = shared;
	t.kernel.sums = shared + p->m * ldx;
	turn(&t, shared, shared + p->m * ldx, shared + p->m * (ldx + ld_sums));
	cpu_run(call->d, cpu_ceil(p->n, t.rows), piece, &t);
	return HONE_OK;
}
