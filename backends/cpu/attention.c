/*
 * attention.c - ATTENTION forward, streamed: Dao et al. 2022, arXiv:2205.14135, for a CPU.
 *
 * A piece is 96 query positions of one segment and all heads of one key head (GQA), so keys
 * and values are packed once for the group.  For each block of keys: pack K and V; for each
 * tile of rows: scores = q K^T into L1, softmax with running maximum and sum, o += p V.
 * Blocks that nobody sees are skipped.  Flops 4 T U K a head (half when causal); memory q,
 * k, v, o once and k, v again for each 96 queries.  p is rounded to bf16 for the second
 * product when the compute type is bf16; sums stay in f32.  Twin: reference's attention.c.
 */
#include <math.h>
#include <string.h>

#include "attention.h"
#include "product.h"

void
attention_open(struct attention *a, const struct cpu_call *call, uint32_t q, uint32_t offsets)
{
	const struct hone_attr_attention *attr = call->c->attr;
	const struct cpu_mat ranges = cpu_in(call, offsets + 1);

	*a = (struct attention){.call = call,
		.k = call->k,
		.attr = attr,
		.q = cpu_in(call, q),
		.key = cpu_in(call, q + 1),
		.v = cpu_in(call, q + 2),
		.q_offsets = (const int32_t *)(const void *)cpu_in(call, offsets).p,
		.kv_ranges = (const int32_t *)(const void *)ranges.p,
		.S = ranges.rows,
		.H = attr->n_heads,
		.G = attr->n_kv_heads,
		.K = attr->head_dim};
	if (cpu_has_in(call, offsets + 2)) {
		a->prefix_k = cpu_in(call, offsets + 2);
		a->prefix_v = cpu_in(call, offsets + 3);
		a->P = a->prefix_k.rows;
	}
	a->group = a->H / a->G;
	a->bf16 = call->k->bf16 && a->q.dtype == HONE_DTYPE_BF16;
	a->wide = cpu_round_up(a->K, call->k->lanes);
	a->words = a->bf16 ? (a->K + 1) / 2 : a->K;
}

struct segment
attention_segment(const struct attention *a, int64_t s)
{
	const int64_t q0 = a->q_offsets[s], k0 = a->kv_ranges[2 * s];

	return (struct segment){.q0 = q0,
		.T = a->q_offsets[s + 1] - q0,
		.k0 = k0,
		.U = a->kv_ranges[2 * s + 1] - k0};
}

int64_t
attention_blocks(const struct attention *a, const struct segment *s)
{
	return cpu_ceil(a->P, ATTENTION_KEYS) + cpu_ceil(s->U, ATTENTION_KEYS);
}

struct key_block
attention_block(const struct attention *a, const struct segment *s, int64_t i)
{
	const int64_t n_prefix = cpu_ceil(a->P, ATTENTION_KEYS);
	const int64_t first = (i < n_prefix ? i : i - n_prefix) * ATTENTION_KEYS;

	if (i < n_prefix)
		return (struct key_block){
			.row = first, .n = cpu_min(ATTENTION_KEYS, a->P - first), .prefix = 1};
	return (struct key_block){
		.row = s->k0 + first, .n = cpu_min(ATTENTION_KEYS, s->U - first), .first = first};
}

int64_t
attention_visible(const struct attention *a, const struct segment *s, const struct key_block *b,
	int64_t i, int64_t m, int32_t *low, int32_t *high)
{
	const int64_t w = a->attr->window;
	int64_t most = 0;

	for (int64_t r = 0; r < m; r++) {
		const int64_t at = i + r + s->U - s->T - b->first; /* own key, within the block */
		int64_t from = 0, to = b->n;

		if (!b->prefix && a->attr->causal)
			to = cpu_min(to, at + 1);
		if (!b->prefix && w > 0 && at - w + 1 > 0)
			from = at - w + 1;
		if (to <= from)
			from = to = 0;
		low[r] = (int32_t)from;
		high[r] = (int32_t)to;
		most = to > most ? to : most;
	}
	return most;
}

void
attention_pack(const struct attention *a, float *out, const struct cpu_mat *x, int64_t row,
	int64_t n, int64_t head, int along_rows)
{
	const int64_t lanes = a->k->lanes, panel = 2 * lanes, end = along_rows ? a->K : n;
	const int64_t depth = along_rows ? n : a->K;
	const int64_t steps = a->bf16 ? (depth + 1) / 2 : depth;

	for (int64_t col = 0; col < end; col += panel) {
		const int64_t some = cpu_min(panel, end - col), w = some > lanes ? panel : lanes;
		const int64_t at = along_rows ? row * x->cols + head * a->K + col
					      : (row + col) * x->cols + head * a->K;
		const struct hn_pack pack = {.bf16 = a->bf16,
			.dtype = x->dtype,
			.out = out,
			.w = w,
			.in = cpu_at(x, at),
			.ld = x->cols,
			.n = some,
			.k = depth};

		if (along_rows)
			a->k->pack_nn(&pack);
		else
			a->k->pack_nt(&pack);
		out += w * steps;
	}
}

void
attention_multiply(const struct attention *a, const struct attention_product *p)
{
	const int64_t lanes = a->k->lanes, panel = 2 * lanes;
	const float *b = p->b;

	for (int64_t col = 0; col < p->n; col += panel) {
		const int64_t w = p->n_packed - col > lanes ? panel : lanes;
		const struct hn_tile t = {.bf16 = a->bf16,
			.add = p->add,
			.m = p->m,
			.w = w,
			.steps = p->steps,
			.a = p->a,
			.lda = p->lda,
			.b = b + p->skip * w,
			.c = p->c + col,
			.ldc = p->ldc};

		if (p->k_order)
			a->k->tile_k_order(&t);
		else
			a->k->tile_row_order(&t);
		b += panel * p->packed;
	}
}

const void *
attention_rows(const struct attention *a, const struct cpu_mat *x, int64_t row, int64_t m,
	int64_t head, float *copy, int64_t *lda)
{
	const struct hn_pack pack = {.bf16 = a->bf16,
		.dtype = x->dtype,
		.out = copy,
		.w = a->words,
		.in = cpu_at(x, row * x->cols + head * a->K),
		.ld = x->cols,
		.n = m,
		.k = a->K};

	*lda = a->bf16 ? x->cols / 2 : x->cols;
	if (cpu_product_direct(x, x->cols, a->K, a->bf16))
		return pack.in;
	a->k->pack_copy(&pack);
	*lda = a->words;
	return copy;
}

/* ---- Forward ---- */

struct work {
	int32_t s, block;
};

struct forward {
	struct attention a;
	struct cpu_mat o, lse;
	struct work *work;
};

/* A worker's scratch. */
struct space {
	float *k, *v;       /* packed block of keys, of values */
	float *scores, *p;  /* a tile */
	float *copy;        /* rows of q that cannot be read in place */
	float *o;           /* [group, ATTENTION_ROWS, wide] */
	float *top, *total; /* [group, ATTENTION_ROWS] */
	uint64_t bytes;
};

static void
space_open(const struct attention *a, struct space *x, uint8_t *memory)
{
	const int64_t padded = cpu_round_up(a->K, 2 * a->k->lanes), tile = a->k->tile_rows;
	float *const m = (float *)(void *)memory;
	int64_t at = 0;

	x->k = attention_take(m, &at, ATTENTION_KEYS * padded);
	x->v = attention_take(m, &at, ATTENTION_KEYS * padded);
	x->scores = attention_take(m, &at, tile * ATTENTION_KEYS);
	x->p = attention_take(m, &at, tile * ATTENTION_KEYS);
	x->copy = attention_take(m, &at, tile * padded);
	x->o = attention_take(m, &at, a->group * ATTENTION_ROWS * a->wide);
	x->top = attention_take(m, &at, a->group * ATTENTION_ROWS);
	x->total = attention_take(m, &at, a->group * ATTENTION_ROWS);
	x->bytes = (uint64_t)at * 4;
}

/* Rows [i, i + m) of head h (of the group) against a packed block. */
static void
forward_tile(const struct attention *a, const struct segment *s, const struct key_block *b,
	const struct space *x, int64_t head, int64_t h, int64_t i, int64_t m, int64_t base)
{
	int32_t low[16], high[16];
	const int64_t n = attention_visible(a, s, b, i, m, low, high);
	const int64_t at = h * ATTENTION_ROWS + (i - base);
	const int64_t steps = a->bf16 ? (n + 1) / 2 : n;
	struct attention_product qk = {.m = m,
		.n = n,
		.n_packed = b->n,
		.steps = a->words,
		.packed = a->words,
		.b = x->k,
		.c = x->scores,
		.ldc = ATTENTION_KEYS};
	const struct hn_softmax softmax = {.m = m,
		.n = n,
		.scores = x->scores,
		.lds = ATTENTION_KEYS,
		.low = low,
		.high = high,
		.scale = (float)a->attr->scale,
		.softcap = (float)a->attr->softcap,
		.top = x->top + at,
		.total = x->total + at,
		.out = x->o + at * a->wide,
		.ldo = a->wide,
		.head_dim = a->wide,
		.bf16 = a->bf16,
		.p = x->p,
		.ldp = ATTENTION_KEYS};
	const struct attention_product pv = {.m = m,
		.n = a->K,
		.n_packed = a->K,
		.steps = steps,
		.packed = a->bf16 ? (b->n + 1) / 2 : b->n,
		.a = x->p,
		.lda = a->bf16 ? ATTENTION_KEYS / 2 : ATTENTION_KEYS,
		.add = 1,
		.b = x->v,
		.c = x->o + at * a->wide,
		.ldc = a->wide};

	if (n == 0)
		return;
	qk.a = attention_rows(a, &a->q, s->q0 + i, m, head, x->copy, &qk.lda);
	attention_multiply(a, &qk);
	a->k->softmax(&softmax);
	attention_multiply(a, &pv);
}

/* o / sum and lse of the rows of a piece. */
static void
forward_finish(const struct forward *f, const struct segment *s, const struct space *x, int64_t g,
	int64_t base, int64_t end)
{
	const struct attention *a = &f->a;
	float row[CPU_HEAD_DIM_MAX];

	for (int64_t h = 0; h < a->group; h++) {
		for (int64_t i = base; i < end; i++) {
			const int64_t at = h * ATTENTION_ROWS + (i - base), head = g * a->group + h;
			const float total = x->total[at];
			float *lse = (float *)(void *)cpu_at(&f->lse, (s->q0 + i) * a->H + head);
			float *o = cpu_target(&f->o, (s->q0 + i) * f->o.cols + head * a->K, row);

			a->k->affine(o, x->o + at * a->wide,
				total > 0 || total != total ? 1 / total : 0.0f, 0.0f, a->K);
			cpu_write(a->k, &f->o, (s->q0 + i) * f->o.cols + head * a->K, a->K, o);
			/* The maximum is kept in units of log 2. */
			*lse = x->top[at] > -INFINITY || total != total
				? (float)((double)x->top[at] * 0.69314718055994531 +
					  log((double)total))
				: -INFINITY;
		}
	}
}

static void
forward_piece(void *ctx, int64_t item, int32_t worker)
{
	const struct forward *f = ctx;
	const struct attention *a = &f->a;
	const struct work w = f->work[item / a->G];
	const int64_t g = item % a->G, base = (int64_t)w.block * ATTENTION_ROWS;
	const struct segment s = attention_segment(a, w.s);
	const int64_t end = cpu_min(base + ATTENTION_ROWS, s.T), tile = a->k->tile_rows;
	struct space x;

	space_open(a, &x, a->call->d->worker[worker].memory);
	memset(x.o, 0, (size_t)(a->group * ATTENTION_ROWS * a->wide) * 4);
	for (int64_t i = 0; i < a->group * ATTENTION_ROWS; i++) {
		x.top[i] = -INFINITY;
		x.total[i] = 0;
	}
	for (int64_t j = 0; j < attention_blocks(a, &s); j++) {
		const struct key_block b = attention_block(a, &s, j);
		int32_t low[ATTENTION_ROWS], high[ATTENTION_ROWS];

		if (!attention_visible(a, &s, &b, base, end - base, low, high))
			continue;
		attention_pack(a, x.k, b.prefix ? &a->prefix_k : &a->key, b.row, b.n, g, 0);
		attention_pack(a, x.v, b.prefix ? &a->prefix_v : &a->v, b.row, b.n, g, 1);
		for (int64_t h = 0; h < a->group; h++)
			for (int64_t i = base; i < end; i += tile)
				forward_tile(a, &s, &b, &x, g * a->group + h, h, i,
					cpu_min(tile, end - i), base);
	}
	forward_finish(f, &s, &x, g, base, end);
}

/* Rows of no segment: o = 0, lse = -infinity.  Segments ascend. */
static void
clear_between(const struct forward *f)
{
	const struct attention *a = &f->a;
	int64_t done = 0;

	for (int64_t s = 0; s <= a->S; s++) {
		const int64_t begin = s < a->S ? a->q_offsets[s] : a->q.rows;

		for (int64_t i = done; i < begin; i++) {
			float *lse = (float *)(void *)cpu_at(&f->lse, i * a->H);

			memset(cpu_at(&f->o, i * f->o.cols), 0,
				(size_t)(f->o.cols * hone_dtype_bytes(f->o.dtype)));
			for (int64_t h = 0; h < a->H; h++)
				lse[h] = -INFINITY;
		}
		if (s < a->S && a->q_offsets[s + 1] > done)
			done = a->q_offsets[s + 1];
	}
}

enum hone_status
cpu_attention(const struct cpu_call *call, struct hone_error *err)
{
	struct forward f = {.o = cpu_out(call, 0), .lse = cpu_out(call, 1)};
	struct space x;
	int64_t n = 0;
	enum hone_status st;

	attention_open(&f.a, call, 0, 3);
	space_open(&f.a, &x, NULL);
	st = cpu_reserve(call->d,
		(uint64_t)(f.a.q.rows / ATTENTION_ROWS + f.a.S + 1) * sizeof(struct work), x.bytes,
		err);
	if (st)
		return st;
	f.work = (struct work *)(void *)call->d->shared.memory;
	for (int64_t s = 0; s < f.a.S; s++) {
		const struct segment segment = attention_segment(&f.a, s);

		/* Late queries of a causal segment see most: they start first. */
		for (int64_t b = cpu_ceil(segment.T, ATTENTION_ROWS); b-- > 0;)
			f.work[n++] = (struct work){.s = (int32_t)s, .block = (int32_t)b};
	}
	clear_between(&f);
	cpu_run(call->d, n * f.a.G, forward_piece, &f);
	return HONE_OK;
}
