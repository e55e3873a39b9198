/*
 * product_thin.c - products with one side of a few rows or columns: adapters, decoding.
 *
 *     NT, n <= 8   x A^T       rows of a against 8 rows of b: dot products along k
 *     NT, m <= 8   a few rows  the same with the roles exchanged: b is read once, unpacked
 *     NN, n <= 8   dy B        B is transposed first (8 rows of k), then as NT
 *     TN, m or n <= 32         the gradients of adapters: product_strips.c
 *
 * Commands that multiply the same rows by some rows each (the adapters of q, k and v) and may run
 * beside each other are one job: the rows are read once, and threads meet once.  A SCALE of the
 * result in place, as adapters have it, is done with each piece; the bits stay those of its own
 * command.
 *
 * The thin operand is brought into scratch once, in the compute type and padded with zeros
 * to HN_THIN; nothing else is packed, so each pass costs one read of the wide operand.
 * Flops 2 m n k on (m + n) k elements read: with 8 rows memory-bound from L3 on.  Twin:
 * matmul of reference.
 */
#include "product.h"

#include <string.h>

#include "joined.h"

#define ROWS 33 /* rows of the long side in a piece of dot products, which go by threes */

#define TOGETHER   4 /* products of a job of dot products at most */
#define LOOK_AHEAD 12

struct thin {
	const struct cpu_product *p;
	const struct cpu_device *d;
	const struct hn_cpu_kernels *k;
	int32_t bf16, direct, turned;        /* turned: the result comes as [long][thin] of y^T */
	struct cpu_mat wide;                 /* the long operand */
	int64_t ld, length;                  /* of wide: elements of a row, rows */
	int64_t steps, row_words;            /* words along k; of a row of the thin operand */
	float *narrow;                       /* the thin operand in the compute type */
	const struct hone_attr_scale *scale; /* of the result, NULL = none */
	uint64_t c_at;
};

int
cpu_product_is_thin(const struct cpu_product *p)
{
	if (p->m == 0 || p->n == 0 || p->k == 0 || p->stored)
		return 0;
	if (p->form == CPU_TN)
		return !p->c.p && (p->m <= 4 * HN_THIN || p->n <= 4 * HN_THIN);
	return p->n <= HN_THIN || (p->form == CPU_NT && p->m <= HN_THIN);
}

/* ---- Dot products ---- */

/* y^T of a block: column `at + i` of y for each row i of the tile. */
static void
finish_turned(const struct thin *t, float *tile, int64_t at, int64_t n)
{
	const struct cpu_product *p = t->p;
	float line[ROWS];

	for (int64_t r = 0; r < p->m; r++) {
		const struct hn_finish f = {.m = 1,
			.n = n,
			.tile = line,
			.y = cpu_at(&p->y, r * p->ldy + at),
			.c = p->c.p ? cpu_at(&p->c, r * p->ldy + at) : NULL,
			.y_dtype = p->y.dtype,
			.c_dtype = p->c.dtype};

		for (int64_t i = 0; i < n; i++)
			line[i] = tile[i * HN_THIN + r];
		t->k->finish(&f);
	}
}

/* Dot products of the same rows with some thin operands. */
struct dots {
	const struct cpu_call *call;
	struct cpu_product p[TOGETHER];
	struct thin t[TOGETHER];
	int64_t n;
};

/* Rows of y, which lie behind each other, times their factor. */
static void
scale_rows(const struct thin *t, int64_t row, int64_t n)
{
	const struct cpu_mat *y = &t->p->y;
	float buffer[ROWS * HN_THIN], *out = cpu_target(y, row * t->p->n, buffer);
	const float *x = cpu_read(t->k, y, row * t->p->n, n * t->p->n, buffer);

	t->k->affine(out, x, (float)t->scale->alpha, (float)t->scale->beta, n * t->p->n);
	cpu_write(t->k, y, row * t->p->n, n * t->p->n, out);
}

/* y of one product, from its sums. */
static void
finish_dots(const struct thin *t, float *tile, int64_t at, int64_t n)
{
	const struct cpu_product *p = t->p;
	const struct hn_finish f = {.m = n,
		.n = p->n,
		.tile = tile,
		.ldt = HN_THIN,
		.y = cpu_at(&p->y, at * p->ldy),
		.ldy = p->ldy,
		.c = p->c.p ? cpu_at(&p->c, at * p->ldy) : NULL,
		.ldc = p->ldy,
		.y_dtype = p->y.dtype,
		.c_dtype = p->c.dtype};

	if (t->turned)
		finish_turned(t, tile, at, n);
	else
		t->k->finish(&f);
	if (t->scale)
		scale_rows(t, at, n);
}

static void
piece_dots(void *ctx, int64_t i, int32_t worker)
{
	const struct dots *all = ctx;
	const struct thin *t = all->t;
	const int64_t at = i * ROWS, n = cpu_min(ROWS, t->length - at);
	uint8_t *scratch = t->d->worker[worker].memory;
	float *tile = (float *)(void *)(scratch + t->c_at);
	struct hn_tile dots = {.bf16 = t->bf16,
		.m = n,
		.w = t->row_words,
		.steps = t->steps,
		.a = cpu_at(&t->wide, at * t->ld),
		.lda = t->bf16 ? t->ld / 2 : t->ld,
		.c = tile,
		.ldc = HN_THIN};
	const struct hn_pack pack = {.bf16 = t->bf16,
		.dtype = t->wide.dtype,
		.out = scratch,
		.w = t->steps,
		.in = dots.a,
		.ld = t->ld,
		.n = n,
		.k = t->p->k};

	if (!t->direct) {
		t->k->pack_copy(&pack);
		dots.a = scratch;
		dots.lda = t->steps;
	}
	for (int64_t j = 0; j < all->n; j++) {
		dots.b = t[j].narrow;
		t->k->dots(&dots);
		finish_dots(&t[j], tile, at, n);
	}
}

/* The thin operand as HN_THIN rows of k: rows of a matrix, or (NN) columns of one. */
static void
make_rows(const struct thin *t, const struct cpu_mat *from, int64_t ld, int64_t n, int columns)
{
	const int64_t k = t->p->k, w = cpu_round_up(k, t->k->lanes);
	float *turned = t->narrow + HN_THIN * t->row_words;
	struct hn_pack pack = {.bf16 = t->bf16,
		.dtype = from->dtype,
		.out = t->narrow,
		.w = t->row_words,
		.in = from->p,
		.ld = ld,
		.n = n,
		.k = k};
	const struct hn_pack turn = {.dtype = from->dtype,
		.out = turned,
		.w = w,
		.in = from->p,
		.ld = ld,
		.n = k,
		.k = n};

	memset(t->narrow, 0, (size_t)(HN_THIN * t->row_words) * 4);
	if (columns) {
		/* k rows as the columns of a panel k wide: that is the transpose. */
		t->k->pack_nt(&turn);
		pack.dtype = HONE_DTYPE_F32;
		pack.in = turned;
		pack.ld = w;
	}
	t->k->pack_copy(&pack);
}

/* All but scratch. */
static struct thin
thin_of(const struct cpu_device *d, const struct cpu_product *p)
{
	const int few_rows = p->form == CPU_NT && p->n > HN_THIN;
	struct thin t = {.p = p, .d = d, .k = d->k, .bf16 = cpu_product_bf16(d, p)};

	t.turned = few_rows;
	t.wide = few_rows ? p->b : p->a;
	t.ld = few_rows ? p->ldb : p->lda;
	t.length = few_rows ? p->n : p->m;
	t.direct = cpu_product_direct(&t.wide, t.ld, p->k, t.bf16);
	t.steps = t.bf16 ? (p->k + 1) / 2 : p->k;
	t.row_words = cpu_round_up(t.steps, d->k->lanes);
	t.c_at = (uint64_t)(t.direct ? 0 : cpu_round_up(ROWS * t.steps * 4, 64));
	return t;
}

static enum hone_status
run_dots(struct cpu_device *d, struct dots *all, struct hone_error *err)
{
	const struct thin *first = all->t;
	const int64_t each = HN_THIN * first->row_words;
	const int64_t turned = cpu_round_up(first->p->k, d->k->lanes) * HN_THIN;
	const enum hone_status st = cpu_reserve(d, (uint64_t)(each * all->n + turned) * 4 + 64,
		first->c_at + ROWS * HN_THIN * 4, err);

	for (int64_t j = 0; j < all->n && !st; j++) {
		struct thin *t = &all->t[j];
		const struct cpu_product *p = t->p;

		t->narrow = (float *)(void *)d->shared.memory + j * each;
		make_rows(t, t->turned ? &p->a : &p->b, t->turned ? p->lda : p->ldb,
			t->turned ? p->m : p->n, p->form == CPU_NN);
	}
	if (!st)
		cpu_run(d, cpu_ceil(first->length, ROWS), piece_dots, all);
	return st;
}

/* ---- What follows ---- */

/* The command behind later command `from` - 1 (0: behind the call's) that scales `y` in place, if
 * none between touches it: it is noted as taken. */
static const struct hone_attr_scale *
find_scale(const struct cpu_call *call, uint32_t from, const struct hone_operand *y)
{
	for (uint32_t i = from; i < call->n_later && i < from + LOOK_AHEAD; i++) {
		const struct hone_command *c = cpu_later(call, i);

		if (!call->taken || i >= CPU_TAKEN_MAX || *call->taken & CPU_TAKEN(i))
			continue;
		if (c->op == HONE_OP_SCALE && !(c->flags & HONE_COMMAND_ACCUMULATE) &&
			cpu_same_place(&c->in[0], y, call->run) &&
			cpu_same_place(&c->out[0], y, call->run)) {
			*call->taken |= CPU_TAKEN(i);
			return c->attr;
		}
		if (cpu_touches(c, y, call->run))
			return NULL;
	}
	return NULL;
}

/* ---- Adapters side by side ---- */

int
cpu_is_stack(const struct hone_command *c, const struct hone_run *run)
{
	struct cpu_product p;

	if (c->op != HONE_OP_MATMUL || c->in[1].storage)
		return 0;
	p = cpu_product_of(c, run);
	return p.form == CPU_NT && p.n <= HN_THIN && cpu_product_is_thin(&p);
}

static int
fits(const void *job, const struct hone_command *c)
{
	const struct dots *all = job;
	const struct cpu_product *first = all->p;
	struct cpu_product p;

	if (all->n == TOGETHER || !cpu_is_stack(c, all->call->run))
		return 0;
	p = cpu_product_of(c, all->call->run);
	return p.a.p == first->a.p && p.a.dtype == first->a.dtype && p.m == first->m &&
		p.k == first->k && p.lda == first->lda;
}

static void
add(void *job, const struct hone_command *c)
{
	struct dots *all = job;
	const struct cpu_call *call = all->call;
	struct cpu_product *p = &all->p[all->n];
	const int64_t at = c == call->c ? 0 : ((const uint8_t *)c - call->later) / call->stride + 1;

	*p = cpu_product_of(c, call->run);
	all->t[all->n] = thin_of(call->d, p);
	if (p->n == p->ldy) /* a space has fewer live rows: SCALE is of all columns */
		all->t[all->n].scale = find_scale(call, (uint32_t)at, &c->out[0]);
	all->n++;
}

enum hone_status
cpu_product_stack(const struct cpu_call *call, struct hone_error *err)
{
	struct dots all = {.call = call};
	const struct cpu_party party = {.fits = fits, .add = add, .job = &all};

	add(&all, call->c);
	cpu_take_party(call, &party);
	return run_dots(call->d, &all, err);
}

/* ---- A product alone ---- */

enum hone_status
cpu_product_thin(const struct cpu_call *call, const struct cpu_product *p, struct hone_error *err)
{
	struct dots one = {.call = call, .n = 1};

	if (p->form == CPU_TN)
		return cpu_strips_put(call, p, err);
	if (call->d->is_probe) /* packs here, before any piece runs; its scratch is small */
		return HONE_OK;
	one.t[0] = thin_of(call->d, p);
	if (!one.t[0].turned && p->n == p->ldy)
		one.t[0].scale = find_scale(call, 0, &call->c->out[0]);
	return run_dots(call->d, &one, err);
}
