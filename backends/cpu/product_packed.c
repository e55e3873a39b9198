/*
 * product_packed.c - y = x w^T for a few rows of x and a weight that is read as it is stored.
 *
 * Generating text is this: each weight is read once a token, so its bytes are the bound, and
 * unpacking into scratch would cost more than the product.  Formats that the kernels know are
 * read in place and decoded in registers (leaf_packed.h); of others, some rows at a time are
 * decoded into a worker's scratch, in f32, and read from L1 or L2.  x is brought to f32 and
 * into the order of the codes first, once for all pieces.
 *
 * Commands that multiply the same rows (q, k and v; gate and up) and may run beside each other
 * are one job: x is turned once, and threads meet once.
 *
 * A piece is a block of rows of w, of a size in bytes that depends on the shape alone; more
 * rows of x than HN_THIN pass one after the other while the block is in cache.  A row of y does
 * not depend on the others.  Flops 2 m n k; bytes of w once.  Twin: matmul of reference.
 */
#include <string.h>

#include <hone/storage.h>

#include "joined.h"
#include "product.h"

#define PIECE      24576 /* bytes of w, about */
#define PIECE_ROWS 256
#define DECODED    8192 /* elements decoded at a time */

#define TOGETHER 4 /* products of a job at most */

struct packed {
	struct cpu_product p;
	const struct hone_operand *b;
	int64_t row_bytes, rows; /* of w; of a piece */
	int64_t decoded;         /* rows decoded at a time, 0 = none */
	int64_t end;             /* pieces of this product and of those before it */
	uint64_t w_at, buf_at;   /* scratch of a worker */
};

struct job {
	const struct cpu_call *call;
	struct hn_packed kernel; /* all but w, n, out */
	struct packed product[TOGETHER];
	int32_t n, pad;
	uint64_t bytes; /* scratch of a worker */
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
	return p->form == CPU_NT && p->m > 0 && p->n > HN_THIN && p->k > 0 &&
		p->m <= (b->storage ? CPU_FEW : HN_THIN) && (b->storage || !b->space);
}

int
cpu_is_packed(const struct hone_command *c, const struct hone_run *run)
{
	struct cpu_product p;

	if (c->op != HONE_OP_MATMUL)
		return 0;
	p = cpu_product_of(c, run);
	return cpu_product_is_packed(&p, &c->in[1]);
}

/* ---- running ---- */

/* x as f32 in the order of the codes. */
static void
turn(const struct job *job, float *x, float *sums, float *buffer)
{
	const struct cpu_product *p = &job->product[0].p;
	const struct hn_cpu_kernels *k = job->call->k;

	for (int64_t r = 0; r < p->m; r++)
		k->packed_turn(job->kernel.packing, cpu_read(k, &p->a, r * p->lda, p->k, buffer),
			p->k, x + r * job->kernel.ldx, sums + r * job->kernel.ld_sums);
}

/* n rows of w against all of x, into a piece's results. */
static void
some_rows(const struct job *job, const struct packed *t, const void *w, int64_t n, float *out)
{
	struct hn_packed k = job->kernel;

	k.w = w;
	k.n = n;
	k.ldo = t->rows;
	for (int64_t r = 0; r < t->p.m; r += HN_THIN) {
		k.m = cpu_min(HN_THIN, t->p.m - r);
		k.x = job->kernel.x + r * k.ldx;
		k.sums = job->kernel.sums + r * k.ld_sums;
		k.out = out + r * k.ldo;
		job->call->k->packed(&k);
	}
}

static void
piece(void *ctx, int64_t i, int32_t worker)
{
	const struct job *job = ctx;
	const struct packed *t = job->product;
	const struct cpu_product *p;
	uint8_t *scratch = job->call->d->worker[worker].memory;
	float *out = (float *)(void *)scratch;
	int64_t at, n;

	while (i >= t->end)
		t++;
	p = &t->p;
	at = (i - (t == job->product ? 0 : t[-1].end)) * t->rows;
	n = cpu_min(t->rows, p->n - at);
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
		some_rows(job, t, (const uint8_t *)t->b->buffer + t->b->offset + at * t->row_bytes,
			n, out);
	for (int64_t j = 0; t->decoded && j < n; j += t->decoded) {
		const int64_t some = cpu_min(t->decoded, n - j);
		float *w = (float *)(void *)(scratch + t->w_at);

		cpu_stored_read(t->b, (at + j) * p->k, some * p->k, w,
			(float *)(void *)(scratch + t->buf_at));
		some_rows(job, t, w, some, out + j);
	}
	job->call->k->finish(&f);
}

/* ---- what runs together ---- */

/* Adds a product; scratch of a worker grows by what it needs. */
static void
add(void *ctx, const struct hone_command *c)
{
	struct job *job = ctx;
	struct packed *t = &job->product[job->n];
	const int64_t before = job->n ? t[-1].end : 0;
	uint64_t need;

	t->p = cpu_product_of(c, job->call->run);
	t->b = &c->in[1];
	t->decoded = 0;
	if (packing_of(t->b, &t->row_bytes) == HN_PACKED_NONE) {
		t->row_bytes = t->p.k;
		t->decoded = cpu_ceil(DECODED, t->p.k);
	}
	t->rows = cpu_round_up(cpu_min(cpu_ceil(PIECE, t->row_bytes), PIECE_ROWS), 16);
	t->w_at = (uint64_t)(t->p.m * t->rows * 4);
	t->buf_at = t->w_at + (uint64_t)cpu_round_up(t->decoded * t->p.k * 4, 64);
	need = t->buf_at + (uint64_t)cpu_stored_buffer(t->b) * 4;
	job->bytes = need > job->bytes ? need : job->bytes;
	t->end = before + cpu_ceil(t->p.n, t->rows);
	job->n++;
}

/* The same rows, read in the same order, from a weight of the same kind? */
static int
fits(const void *ctx, const struct hone_command *c)
{
	const struct job *job = ctx;
	const struct packed *first = &job->product[0];
	struct cpu_product p;
	int64_t bytes;

	if (job->n == TOGETHER || !cpu_is_packed(c, job->call->run))
		return 0;
	p = cpu_product_of(c, job->call->run);
	return p.a.p == first->p.a.p && p.a.dtype == first->p.a.dtype && p.m == first->p.m &&
		p.k == first->p.k && p.lda == first->p.lda &&
		packing_of(&c->in[1], &bytes) == packing_of(first->b, &bytes);
}

enum hone_status
cpu_product_packed(const struct cpu_call *call, struct hone_error *err)
{
	struct job job = {.call = call};
	const struct cpu_party party = {.fits = fits, .add = add, .job = &job};
	int64_t m, k, ldx, ld_sums, unused;
	float *shared;
	enum hone_status st;

	add(&job, call->c);
	cpu_take_party(call, &party);
	m = job.product[0].p.m;
	k = job.product[0].p.k;
	ldx = HN_PACKED_X(k);
	ld_sums = HN_PACKED_SUMS(k);
	st = cpu_reserve(call->d, (uint64_t)(m * (ldx + ld_sums) + k) * 4, job.bytes, err);
	if (st)
		return st;
	shared = (float *)(void *)call->d->shared.memory;
	job.kernel = (struct hn_packed){.packing = packing_of(job.product[0].b, &unused),
		.k = k,
		.x = shared,
		.sums = shared + m * ldx,
		.ldx = ldx,
		.ld_sums = ld_sums};
	if (job.kernel.packing == HN_PACKED_NONE)
		job.kernel.packing = HN_PACKED_F32;
	turn(&job, shared, shared + m * ldx, shared + m * (ldx + ld_sums));
	cpu_run(call->d, job.product[job.n - 1].end, piece, &job);
	return HONE_OK;
}
