/*
 * attention_back.c - ATTENTION_BACK: scores are formed again, block by block.
 *
 *     p = e^(s - lse)    dv += p^T do    dp = do v^T    ds = p (dp - delta) slope scale
 *     dq += ds k         dk += ds^T q    delta = sum of do o          (five products)
 *
 * A piece is one segment and one key head with the query heads it serves, or half of the keys
 * of a long segment.  It walks blocks of keys; for each the gradients of keys and values stay
 * in f32 scratch while all queries that see it pass; the gradients of the queries gather in
 * f32 scratch over the blocks.  Nothing is shared between pieces that run at once: halves
 * write apart and are added in order, and so are the prefix's gradients over segments.
 *
 * Flops 10 T U K a head (half when causal).  Twin: reference's attention.c.
 */
#include <math.h>
#include <string.h>

#include "attention.h"

#define HALVES_FROM 2048 /* keys from which a segment is two pieces a key head */

struct work {
	int32_t s, half, halves, pad;
	int64_t dq; /* halves = 2: first float of this half's rows in the shared scratch */
};

struct backward {
	struct attention a;
	struct cpu_mat dout, o, lse, dq, dk, dv, dprefix_k, dprefix_v;
	struct work *work;
	float *shared;  /* dq of halves */
	float *prefix;  /* [S, G, P, 2 wide] */
	float *overlap; /* [L, G, 2 K] sums of keys that several segments read; or NULL */
	int64_t T_max;
};

/* A worker's scratch. */
struct space {
	float *kt, *vt, *kn;    /* packed: k and v along the head, k along the rows */
	float *q, *dout;        /* packed along the rows, a block of queries */
	float *scores, *dp;     /* a tile */
	float *p_k, *ds_k, *ds; /* see hn_softmax_back */
	float *copy;
	float *dk, *dv;     /* [KEYS, wide] */
	float *dq;          /* [group, T_max, wide] */
	float *lse, *delta; /* [group, T_max] */
	uint64_t bytes;
};

static void
space_open(const struct backward *f, struct space *x, uint8_t *memory)
{
	const struct attention *a = &f->a;
	const int64_t padded = cpu_round_up(a->K, 2 * a->k->lanes);
	const int64_t keys = ATTENTION_KEYS * padded, rows = ATTENTION_ROWS * padded;
	const int64_t block = ATTENTION_ROWS * ATTENTION_KEYS;
	float *const m = (float *)(void *)memory;
	int64_t at = 0;

	x->kt = attention_take(m, &at, keys);
	x->vt = attention_take(m, &at, keys);
	x->kn = attention_take(m, &at, keys);
	x->q = attention_take(m, &at, rows);
	x->dout = attention_take(m, &at, rows);
	x->scores = attention_take(m, &at, a->k->tile_rows * ATTENTION_KEYS);
	x->dp = attention_take(m, &at, a->k->tile_rows * ATTENTION_KEYS);
	x->p_k = attention_take(m, &at, block);
	x->ds_k = attention_take(m, &at, block);
	x->ds = attention_take(m, &at, block);
	x->copy = attention_take(m, &at, a->k->tile_rows * padded);
	x->dk = attention_take(m, &at, ATTENTION_KEYS * a->wide);
	x->dv = attention_take(m, &at, ATTENTION_KEYS * a->wide);
	x->dq = attention_take(m, &at, a->group * f->T_max * a->wide);
	x->lse = attention_take(m, &at, a->group * f->T_max);
	x->delta = attention_take(m, &at, a->group * f->T_max);
	x->bytes = (uint64_t)at * 4;
}

/* lse and delta of all queries of the group, side by side. */
static void
gather_rows(const struct backward *f, const struct segment *s, const struct space *x, int64_t g)
{
	const struct attention *a = &f->a;
	float left[CPU_HEAD_DIM_MAX], right[CPU_HEAD_DIM_MAX];

	for (int64_t h = 0; h < a->group; h++) {
		for (int64_t i = 0; i < s->T; i++) {
			const int64_t row = s->q0 + i, head = g * a->group + h;
			const int64_t at = row * a->q.cols + head * a->K;

			x->lse[h * s->T + i] =
				*(const float *)(const void *)cpu_at(&f->lse, row * a->H + head);
			x->delta[h * s->T + i] =
				(float)a->k->dot(cpu_read(a->k, &f->dout, at, a->K, left),
					cpu_read(a->k, &f->o, at, a->K, right), a->K);
		}
	}
}

/* Columns [from, n) of m rows of p and ds in K order become 0: keys the rows do not see. */
static void
clear_unseen(const struct attention *a, const struct hn_softmax_back *b, int64_t from, int64_t n)
{
	const int64_t steps = a->bf16 ? (b->m + 1) / 2 : b->m;

	for (int64_t k = 0; k < steps && from < n; k++) {
		memset(b->p_k + k * b->ldk + from, 0, (size_t)(n - from) * 4);
		memset(b->ds_k + k * b->ldk + from, 0, (size_t)(n - from) * 4);
	}
}

/* dq of a tile += ds k over the first n keys of a block. */
static void
tile_queries(const struct attention *a, const struct key_block *b, const struct space *x,
	const struct hn_softmax_back *back, int64_t n, float *dq)
{
	const struct attention_product product = {.m = back->m,
		.n = a->K,
		.n_packed = a->K,
		.steps = a->bf16 ? (n + 1) / 2 : n,
		.packed = a->bf16 ? (b->n + 1) / 2 : b->n,
		.a = a->bf16 ? back->ds : back->ds_k,
		.lda = a->bf16 ? ATTENTION_KEYS / 2 : ATTENTION_KEYS,
		.add = 1,
		.b = x->kn,
		.c = dq,
		.ldc = a->wide};

	attention_multiply(a, &product);
}

/* Scores, dp, p, ds and dq of the tiles of queries [i, end) against n keys of a block.  A
 * tile takes only the keys that one of its rows sees. */
static void
block_scores(const struct backward *f, const struct segment *s, const struct key_block *b,
	const struct space *x, float *dq, int64_t g, int64_t h, int64_t i, int64_t end, int64_t n)
{
	const struct attention *a = &f->a;
	const int64_t head = g * a->group + h, tile = a->k->tile_rows, lanes = a->k->lanes;
	int32_t low[16], high[16];

	for (int64_t r = i; r < end; r += tile) {
		const int64_t m = cpu_min(tile, end - r), at = (r - i) * ATTENTION_KEYS;
		const int64_t seen = attention_visible(a, s, b, r, m, low, high);
		const int64_t wide = cpu_round_up(seen, lanes), some = cpu_min(wide, b->n);
		struct attention_product product = {.m = m,
			.n = some,
			.n_packed = b->n,
			.steps = a->words,
			.packed = a->words,
			.b = x->kt,
			.c = x->scores,
			.ldc = ATTENTION_KEYS};
		const struct hn_softmax_back back = {.m = m,
			.n = some,
			.scores = x->scores,
			.dp = x->dp,
			.lds = ATTENTION_KEYS,
			.low = low,
			.high = high,
			.scale = (float)a->attr->scale,
			.softcap = (float)a->attr->softcap,
			.lse = x->lse + h * s->T + r,
			.delta = x->delta + h * s->T + r,
			.bf16 = a->bf16,
			.ds = x->ds,
			.ldp = ATTENTION_KEYS,
			.p_k = x->p_k + (a->bf16 ? at / 2 : at),
			.ds_k = x->ds_k + (a->bf16 ? at / 2 : at),
			.ldk = ATTENTION_KEYS};

		clear_unseen(a, &back, wide, n);
		if (seen == 0)
			continue;
		product.a = attention_rows(a, &a->q, s->q0 + r, m, head, x->copy, &product.lda);
		attention_multiply(a, &product);
		product.a = attention_rows(a, &f->dout, s->q0 + r, m, head, x->copy, &product.lda);
		product.b = x->vt;
		product.c = x->dp;
		attention_multiply(a, &product);
		a->k->softmax_back(&back);
		tile_queries(a, b, x, &back, some, dq + (h * s->T + r) * a->wide);
	}
}

/* dk += ds^T q and dv += p^T do for n keys and `rows` queries, which see [low, high).  A tile
 * of keys takes only the queries between the first and the last that sees one of them: both
 * bounds ascend with the queries. */
static void
block_keys(const struct attention *a, const struct space *x, int64_t rows, int64_t n,
	const int32_t *low, const int32_t *high)
{
	const int64_t tile = a->k->tile_rows, pair = a->bf16 ? 2 : 1;
	int64_t first = 0, last = 0;

	for (int64_t j = 0; j < n; j += tile) {
		const int64_t m = cpu_min(tile, n - j);
		struct attention_product product = {.m = m,
			.n = a->K,
			.n_packed = a->K,
			.packed = cpu_ceil(rows, pair),
			.lda = ATTENTION_KEYS,
			.k_order = 1,
			.add = 1,
			.b = x->dout,
			.c = x->dv + j * a->wide,
			.ldc = a->wide};

		while (first < rows && high[first] <= j)
			first++;
		while (last < rows && low[last] < j + m)
			last++;
		product.skip = first / pair;
		product.steps = cpu_ceil(last, pair) - product.skip;
		if (product.steps <= 0)
			continue;
		product.a = x->p_k + product.skip * ATTENTION_KEYS + j;
		attention_multiply(a, &product);
		product.a = x->ds_k + product.skip * ATTENTION_KEYS + j;
		product.b = x->q;
		product.c = x->dk + j * a->wide;
		attention_multiply(a, &product);
	}
}

/* All queries of the group against one block of keys. */
static void
walk_queries(const struct backward *f, const struct segment *s, const struct key_block *b,
	const struct space *x, float *dq, int64_t g)
{
	const struct attention *a = &f->a;
	int32_t low[ATTENTION_ROWS], high[ATTENTION_ROWS];

	for (int64_t base = 0; base < s->T; base += ATTENTION_ROWS) {
		int64_t end = cpu_min(base + ATTENTION_ROWS, s->T), i = base;
		const int64_t n = attention_visible(a, s, b, base, end - base, low, high);

		if (n == 0)
			continue;
		/* Only the queries that see something; they lie side by side. */
		while (high[i - base] == 0)
			i++;
		while (high[end - 1 - base] == 0)
			end--;
		for (int64_t h = 0; h < a->group; h++) {
			const int64_t head = g * a->group + h;

			attention_pack(a, x->q, &a->q, s->q0 + i, end - i, head, 1);
			attention_pack(a, x->dout, &f->dout, s->q0 + i, end - i, head, 1);
			block_scores(f, s, b, x, dq, g, h, i, end, n);
			block_keys(a, x, end - i, n, low + (i - base), high + (i - base));
		}
	}
}

/* The gradients of a block go to their rows. */
static void
put_block(const struct backward *f, const struct key_block *b, const struct space *x, int64_t s,
	int64_t g)
{
	const struct attention *a = &f->a;
	float *prefix = f->prefix ? f->prefix + (s * a->G + g) * a->P * 2 * a->wide : NULL;

	for (int64_t j = 0; j < b->n; j++) {
		const int64_t at = (b->row + j) * f->dk.cols + g * a->K;
		const float *dk = x->dk + j * a->wide, *dv = x->dv + j * a->wide;

		if (b->prefix) {
			memcpy(prefix + (b->row + j) * 2 * a->wide, dk, (size_t)a->wide * 4);
			memcpy(prefix + ((b->row + j) * 2 + 1) * a->wide, dv, (size_t)a->wide * 4);
		} else if (f->overlap) {
			a->k->axpy(f->overlap + 2 * at, dk, 1.0f, a->K);
			a->k->axpy(f->overlap + 2 * at + a->K, dv, 1.0f, a->K);
		} else {
			a->k->from_f32(cpu_at(&f->dk, at), f->dk.dtype, dk, a->K);
			a->k->from_f32(cpu_at(&f->dv, at), f->dv.dtype, dv, a->K);
		}
	}
}

static void
put_queries(const struct backward *f, const struct segment *s, const float *dq, int64_t g)
{
	const struct attention *a = &f->a;

	for (int64_t h = 0; h < a->group; h++)
		for (int64_t i = 0; i < s->T; i++)
			a->k->from_f32(
				cpu_at(&f->dq,
					(s->q0 + i) * f->dq.cols + (g * a->group + h) * a->K),
				f->dq.dtype, dq + (h * s->T + i) * a->wide, a->K);
}

static void
piece(void *ctx, int64_t item, int32_t worker)
{
	const struct backward *f = ctx;
	const struct attention *a = &f->a;
	const struct work w = f->work[item / a->G];
	const int64_t g = item % a->G;
	const struct segment s = attention_segment(a, w.s);
	const int64_t n = attention_blocks(a, &s), half = cpu_ceil(n, w.halves);
	const int64_t dq_floats = a->group * s.T * a->wide;
	struct space x;
	float *dq;

	space_open(f, &x, a->call->d->worker[worker].memory);
	dq = w.halves == 1 ? x.dq : f->shared + w.dq + g * dq_floats;
	memset(dq, 0, (size_t)dq_floats * 4);
	gather_rows(f, &s, &x, g);
	for (int64_t j = w.half * half; j < cpu_min(n, (w.half + 1) * half); j++) {
		const struct key_block b = attention_block(a, &s, j);
		const struct cpu_mat *k = b.prefix ? &a->prefix_k : &a->key;

		attention_pack(a, x.kt, k, b.row, b.n, g, 0);
		attention_pack(a, x.kn, k, b.row, b.n, g, 1);
		attention_pack(a, x.vt, b.prefix ? &a->prefix_v : &a->v, b.row, b.n, g, 0);
		memset(x.dk, 0, (size_t)(ATTENTION_KEYS * a->wide) * 4);
		memset(x.dv, 0, (size_t)(ATTENTION_KEYS * a->wide) * 4);
		walk_queries(f, &s, &b, &x, dq, g);
		put_block(f, &b, &x, w.s, g);
	}
	if (w.halves == 1)
		put_queries(f, &s, dq, g);
}

/* ---- Sums between pieces ---- */

/* dq of a segment in two pieces: first + second, by key heads. */
static void
join_piece(void *ctx, int64_t item, int32_t worker)
{
	const struct backward *f = ctx;
	const struct attention *a = &f->a;
	const struct work w = f->work[item / a->G];
	const struct segment s = attention_segment(a, w.s);
	const int64_t g = item % a->G, n = a->group * s.T * a->wide;
	float *first = f->shared + w.dq + g * n;

	(void)worker;
	if (w.halves == 1 || w.half == 1)
		return;
	a->k->axpy(first, first + a->G * n, 1.0f, n);
	put_queries(f, &s, first, g);
}

/* The prefix's gradients: over segments in ascending order. */
static void
sum_prefix(const struct backward *f)
{
	const struct attention *a = &f->a;

	for (int64_t row = 0; row < a->P; row++) {
		for (int64_t g = 0; g < a->G; g++) {
			float *dk = (float *)(void *)cpu_at(
				&f->dprefix_k, row * a->G * a->K + g * a->K);
			float *dv = (float *)(void *)cpu_at(
				&f->dprefix_v, row * a->G * a->K + g * a->K);

			memset(dk, 0, (size_t)a->K * 4);
			memset(dv, 0, (size_t)a->K * 4);
			for (int64_t s = 0; s < a->S; s++) {
				const float *from =
					f->prefix + ((s * a->G + g) * a->P + row) * 2 * a->wide;

				a->k->axpy(dk, from, 1.0f, a->K);
				a->k->axpy(dv, from + a->wide, 1.0f, a->K);
			}
		}
	}
}

static void
put_overlap(const struct backward *f)
{
	const struct attention *a = &f->a;

	for (int64_t at = 0; at < a->key.rows * f->dk.cols; at += a->K) {
		a->k->from_f32(cpu_at(&f->dk, at), f->dk.dtype, f->overlap + 2 * at, a->K);
		a->k->from_f32(cpu_at(&f->dv, at), f->dv.dtype, f->overlap + 2 * at + a->K, a->K);
	}
}

/* Whether two segments may read one key row: ranges that do not ascend. */
static int
ranges_overlap(const struct attention *a)
{
	int64_t done = 0;

	for (int64_t s = 0; s < a->S; s++) {
		const struct segment segment = attention_segment(a, s);

		if (segment.U > 0 && segment.k0 < done)
			return 1;
		if (segment.U > 0)
			done = segment.k0 + segment.U;
	}
	return 0;
}

/* The list of pieces, and floats of shared scratch for the dq of halves. */
static int64_t
list_work(struct backward *f, int64_t *n)
{
	int64_t floats = 0;

	*n = 0;
	for (int64_t s = 0; s < f->a.S; s++) {
		const struct segment segment = attention_segment(&f->a, s);
		const int32_t halves = segment.U >= HALVES_FROM ? 2 : 1;

		for (int32_t half = 0; half < halves; half++) {
			if (f->work)
				f->work[*n] = (struct work){.s = (int32_t)s,
					.half = half,
					.halves = halves,
					.dq = floats};
			if (halves == 2)
				floats += f->a.H * segment.T * f->a.wide;
			(*n)++;
		}
		if (halves == 1 && segment.T > f->T_max)
			f->T_max = segment.T;
		if (segment.T > f->T_max)
			f->T_max = segment.T;
	}
	return floats;
}

/* Runs the pieces: all at once, or, where key rows are shared, one segment after the other. */
static void
run(struct backward *f, int64_t n)
{
	struct cpu_device *d = f->a.call->d;
	struct work *const all = f->work;

	if (!f->overlap) {
		cpu_run(d, n * f->a.G, piece, f);
	} else {
		for (int64_t i = 0; i < n; i++) {
			f->work = all + i;
			cpu_run(d, f->a.G, piece, f);
		}
		f->work = all;
		put_overlap(f);
	}
	cpu_run(d, n * f->a.G, join_piece, f);
}

enum hone_status
cpu_attention_back(const struct cpu_call *call, struct hone_error *err)
{
	struct backward f = {.dout = cpu_in(call, 0),
		.o = cpu_in(call, 4),
		.lse = cpu_in(call, 5),
		.dq = cpu_out(call, 0),
		.dk = cpu_out(call, 1),
		.dv = cpu_out(call, 2)};
	int64_t n, dq, prefix, overlap;
	struct space x;
	enum hone_status st;

	attention_open(&f.a, call, 1, 6);
	if (call->c->n_out > 4) {
		f.dprefix_k = cpu_out(call, 3);
		f.dprefix_v = cpu_out(call, 4);
	}
	dq = list_work(&f, &n);
	prefix = f.a.S * f.a.G * f.a.P * 2 * f.a.wide;
	overlap = ranges_overlap(&f.a) ? 2 * f.a.key.rows * f.dk.cols : 0;
	space_open(&f, &x, NULL);
	st = cpu_reserve(call->d,
		(uint64_t)(dq + prefix + overlap) * 4 + (uint64_t)n * sizeof *f.work, x.bytes, err);
	if (st)
		return st;
	f.work = (struct work *)(void *)call->d->shared.memory;
	f.shared = (float *)(void *)(f.work + n);
	f.prefix = f.shared + dq;
	f.overlap = overlap ? f.prefix + prefix : NULL;
	(void)list_work(&f, &n);

	memset(f.prefix, 0, (size_t)(prefix + overlap) * 4);
	memset(f.dq.p, 0, (size_t)(f.dq.rows * f.dq.cols * hone_dtype_bytes(f.dq.dtype)));
	memset(f.dk.p, 0, (size_t)(f.dk.rows * f.dk.cols * hone_dtype_bytes(f.dk.dtype)));
	memset(f.dv.p, 0, (size_t)(f.dv.rows * f.dv.cols * hone_dtype_bytes(f.dv.dtype)));
	run(&f, n);
	if (call->c->n_out > 4)
		sum_prefix(&f);
	return HONE_OK;
}
