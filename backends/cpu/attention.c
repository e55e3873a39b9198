/*
 * attention.c - ATTENTION forward, streamed: Dao et al. 2022, arXiv:2205.14135, for a CPU.
 *
 * A piece is a run of query positions of one segment, with all heads of one key head (GQA):
 * FORWARD_COLUMNS columns at most.  For each block of keys and each strip of columns: scores
 * into L1, softmax with running maximum and sum, o += v^T p.  Keys are read in place, values
 * are packed once a block; queries once a piece.  What nobody sees is skipped, to the panel of
 * columns and the tile of keys.  Flops 4 T U K a head (half when causal); memory q, k, v, o
 * once and k, v again for each piece.  p is rounded to bf16 for the second product when the
 * compute type is bf16; sums stay in f32.  Twin: reference's attention.c.
 */
#include <math.h>
#include <string.h>

#include "attention.h"
#include "product.h"

#define FORWARD_KEYS    128 /* of a block: a strip's scores are 24 KiB */
#define FORWARD_COLUMNS 384 /* of a piece; the accumulators stay in L2 */

void
attention_open(struct attention *a, const struct cpu_call *call, uint32_t q, uint32_t offsets,
	int64_t keys)
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
		.K = attr->head_dim,
		.keys = keys};
	if (cpu_has_in(call, offsets + 2)) {
		a->prefix_k = cpu_in(call, offsets + 2);
		a->prefix_v = cpu_in(call, offsets + 3);
		a->P = a->prefix_k.rows;
	}
	a->group = a->H / a->G;
	a->bf16 = call->k->bf16 && a->q.dtype == HONE_DTYPE_BF16;
	a->wide = cpu_round_up(a->K, call->k->lanes);
	a->words = a->bf16 ? (a->K + 1) / 2 : a->K;
	a->strip = HN_PANELS * call->k->lanes;
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
	return cpu_ceil(a->P, a->keys) + cpu_ceil(s->U, a->keys);
}

struct key_block
attention_block(const struct attention *a, const struct segment *s, int64_t i)
{
	const int64_t n_prefix = cpu_ceil(a->P, a->keys);
	const int64_t first = (i < n_prefix ? i : i - n_prefix) * a->keys;

	if (i < n_prefix)
		return (struct key_block){
			.row = first, .n = cpu_min(a->keys, a->P - first), .prefix = 1};
	return (struct key_block){
		.row = s->k0 + first, .n = cpu_min(a->keys, s->U - first), .first = first};
}

/* Where position i stands among the segment's own keys, counted from the block's first. */
static int64_t
own_key(const struct segment *s, const struct key_block *b, int64_t i)
{
	return i + s->U - s->T - b->first;
}

enum attention_sight
attention_sees(const struct attention *a, const struct segment *s, const struct key_block *b,
	int64_t e, int64_t end)
{
	const int64_t first = own_key(s, b, e / a->group), w = a->attr->window;
	const int64_t last = own_key(s, b, (end - 1) / a->group);

	if (b->prefix)
		return ATTENTION_ALL;
	if ((a->attr->causal && last < 0) || (w > 0 && first - w + 1 >= b->n))
		return ATTENTION_NONE;
	if ((a->attr->causal && first + 1 < b->n) || (w > 0 && last - w + 1 > 0))
		return ATTENTION_SOME;
	return ATTENTION_ALL;
}

void
attention_ranges(const struct attention *a, const struct segment *s, const struct key_block *b,
	int64_t e, int64_t end, int32_t *low, int32_t *high)
{
	const int64_t w = a->attr->window;
	int64_t at = own_key(s, b, e / a->group), h = e % a->group;

	for (int64_t i = 0; i < a->strip; i++) {
		int64_t from = 0, to = b->n;

		if (a->attr->causal)
			to = cpu_min(to, at + 1);
		if (w > 0 && at - w + 1 > 0)
			from = at - w + 1;
		if (to <= from)
			from = to = 0;
		low[i] = (int32_t)from;
		high[i] = (int32_t)to;
		if (e + i + 1 < end && ++h == a->group) {
			h = 0;
			at++;
		}
	}
}

void
attention_rows(const struct attention *a, const struct segment *s, const struct cpu_mat *x,
	int64_t g, int64_t e, int64_t end, uint8_t *row[ATTENTION_STRIP])
{
	int64_t h = e % a->group;
	const int64_t head = a->K * hone_dtype_bytes(x->dtype);
	const int64_t line = x->cols * hone_dtype_bytes(x->dtype);
	uint8_t *p = cpu_at(x, (s->q0 + e / a->group) * x->cols + g * a->group * a->K);

	for (int64_t i = 0; i < a->strip; i++) {
		row[i] = e + i < end ? p + h * head : NULL;
		if (++h == a->group) {
			h = 0;
			p += line;
		}
	}
}

void
attention_gather(const struct attention *a, const struct segment *s, const struct cpu_mat *x,
	int64_t g, int64_t e, int64_t end, float *out)
{
	int64_t h = e % a->group;
	const float *p = (const float *)(const void *)cpu_at(
		x, (s->q0 + e / a->group) * a->H + g * a->group);

	for (int64_t i = 0; i < a->strip; i++) {
		out[i] = e + i < end ? p[h] : 0.0f;
		if (++h == a->group) {
			h = 0;
			p += a->H;
		}
	}
}

int64_t
attention_copy_floats(const struct attention *a)
{
	return (a->keys + a->k->key_rows) * a->words;
}

struct hn_rows
attention_keys(const struct attention *a, const struct cpu_mat *x, const struct key_block *b,
	int64_t g, float *copy)
{
	const int64_t tile = a->k->key_rows, whole = b->n / tile * tile;
	const int direct = cpu_product_direct(x, x->cols, a->K, a->bf16);
	const int64_t from = direct ? whole : 0;
	const struct hn_pack pack = {.bf16 = a->bf16,
		.dtype = x->dtype,
		.out = copy,
		.w = a->words,
		.in = cpu_at(x, (b->row + from) * x->cols + g * a->K),
		.ld = x->cols,
		.n = b->n - from,
		.k = a->K};
	struct hn_rows rows = {.p = copy, .ld = a->words, .tail = copy, .ld_tail = a->words};

	if (pack.n > 0)
		a->k->pack_copy(&pack);
	memset(copy + pack.n * a->words, 0,
		(size_t)((cpu_round_up(pack.n, tile) - pack.n) * a->words) * 4);
	if (direct) {
		rows.p = (const float *)(const void *)cpu_at(x, b->row * x->cols + g * a->K);
		rows.ld = a->bf16 ? x->cols / 2 : x->cols;
	} else {
		rows.tail = copy + whole * a->words;
	}
	return rows;
}

void
attention_depths(const struct attention *a, const struct cpu_mat *x, const struct key_block *b,
	int64_t g, float *out)
{
	const struct hn_pack pack = {.bf16 = a->bf16,
		.dtype = x->dtype,
		.out = out,
		.in = cpu_at(x, b->row * x->cols + g * a->K),
		.ld = x->cols,
		.n = a->K,
		.k = b->n};

	a->k->pack_depths(&pack);
}

/* ---- Forward ---- */

struct work {
	int32_t s, block;
};

struct forward {
	struct attention a;
	struct cpu_mat o, lse;
	struct work *work;
	int64_t rows; /* query positions of a piece at most */
};

/* A worker's scratch. */
struct space {
	float *copy;        /* keys that cannot be read in place */
	float *v;           /* packed block of values */
	float *scores;      /* of a strip against a block */
	float *q, *o;       /* [strips][words or wide][strip] */
	float *top, *total; /* [strips][strip] */
	uint64_t bytes;
};

static void
space_open(const struct forward *f, struct space *x, uint8_t *memory)
{
	const struct attention *a = &f->a;
	const int64_t columns = cpu_round_up(f->rows * a->group, a->strip);
	float *const m = (float *)(void *)memory;
	int64_t at = 0;

	x->copy = attention_take(m, &at, attention_copy_floats(a));
	x->v = attention_take(m, &at, a->keys * a->wide);
	x->scores = attention_take(m, &at, a->keys * a->strip);
	x->q = attention_take(m, &at, columns * a->words);
	x->o = attention_take(m, &at, columns * a->wide);
	x->top = attention_take(m, &at, columns);
	x->total = attention_take(m, &at, columns);
	x->bytes = (uint64_t)at * 4;
}

/* Packs the queries of a piece and clears its sums. */
static void
begin_piece(const struct forward *f, const struct segment *s, const struct space *x, int64_t g,
	int64_t first, int64_t end)
{
	const struct attention *a = &f->a;
	const int64_t columns = cpu_round_up(end - first, a->strip);

	memset(x->o, 0, (size_t)(columns * a->wide) * 4);
	for (int64_t i = 0; i < columns; i++) {
		x->top[i] = -INFINITY;
		x->total[i] = 0;
	}
	for (int64_t e = first; e < end; e += a->strip) {
		uint8_t *row[ATTENTION_STRIP];
		const struct hn_columns pack = {.bf16 = a->bf16,
			.dtype = a->q.dtype,
			.k = a->K,
			.row = row,
			.out = x->q + (e - first) * a->words};

		attention_rows(a, s, &a->q, g, e, end, row);
		a->k->pack_columns(&pack);
	}
}

/* Columns [first, end) against a block of keys. */
static void
forward_block(const struct forward *f, const struct segment *s, const struct key_block *b,
	const struct space *x, int64_t g, int64_t first, int64_t end)
{
	const struct attention *a = &f->a;
	int32_t low[ATTENTION_STRIP], high[ATTENTION_STRIP];
	struct hn_strip strip = {.bf16 = a->bf16,
		.scale = (float)a->attr->scale,
		.softcap = (float)a->attr->softcap,
		.n = b->n,
		.words = a->words,
		.depth = a->wide,
		.value_t = x->v,
		.scores = x->scores};

	if (attention_sees(a, s, b, first, end) == ATTENTION_NONE)
		return;
	strip.key = attention_keys(a, b->prefix ? &a->prefix_k : &a->key, b, g, x->copy);
	attention_depths(a, b->prefix ? &a->prefix_v : &a->v, b, g, x->v);
	for (int64_t e = first; e < end; e += a->strip) {
		const int64_t next = cpu_min(e + a->strip, end), at = e - first;
		const enum attention_sight sight = attention_sees(a, s, b, e, next);

		if (sight == ATTENTION_NONE)
			continue;
		if (sight == ATTENTION_SOME)
			attention_ranges(a, s, b, e, next, low, high);
		strip.low = sight == ATTENTION_SOME ? low : NULL;
		strip.high = sight == ATTENTION_SOME ? high : NULL;
		strip.columns = next - e;
		strip.q = x->q + at * a->words;
		strip.acc = x->o + at * a->wide;
		strip.top = x->top + at;
		strip.total = x->total + at;
		a->k->attend(&strip);
	}
}

/* o / sum and lse of the columns of a piece. */
static void
forward_end(const struct forward *f, const struct segment *s, const struct space *x, int64_t g,
	int64_t first, int64_t end)
{
	const struct attention *a = &f->a;

	for (int64_t e = first; e < end; e += a->strip) {
		uint8_t *row[ATTENTION_STRIP];
		float lse[ATTENTION_STRIP], factor[ATTENTION_STRIP];
		float *out = (float *)(void *)cpu_at(
			&f->lse, (s->q0 + e / a->group) * a->H + g * a->group);
		const struct hn_columns o = {.dtype = f->o.dtype,
			.k = a->K,
			.row = row,
			.out = x->o + (e - first) * a->wide,
			.factor = factor};
		int64_t h = e % a->group;

		a->k->end_columns(x->top + (e - first), x->total + (e - first), lse, factor);
		attention_rows(a, s, &f->o, g, e, end, row);
		a->k->unpack_columns(&o);
		for (int64_t i = 0; i < cpu_min(a->strip, end - e); i++) {
			out[h] = lse[i];
			if (++h == a->group) {
				h = 0;
				out += a->H;
			}
		}
	}
}

static void
forward_piece(void *ctx, int64_t item, int32_t worker)
{
	const struct forward *f = ctx;
	const struct attention *a = &f->a;
	const struct work w = f->work[item / a->G];
	const int64_t g = item % a->G, base = (int64_t)w.block * f->rows;
	const struct segment s = attention_segment(a, w.s);
	const int64_t first = base * a->group, end = cpu_min(base + f->rows, s.T) * a->group;
	struct space x;

	space_open(f, &x, a->call->d->worker[worker].memory);
	begin_piece(f, &s, &x, g, first, end);
	for (int64_t j = 0; j < attention_blocks(a, &s); j++) {
		const struct key_block b = attention_block(a, &s, j);

		forward_block(f, &s, &b, &x, g, first, end);
	}
	forward_end(f, &s, &x, g, first, end);
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

	attention_open(&f.a, call, 0, 3, FORWARD_KEYS);
	f.rows = f.a.group < FORWARD_COLUMNS ? FORWARD_COLUMNS / f.a.group : 1;
	space_open(&f, &x, NULL);
	st = cpu_reserve(call->d, (uint64_t)(f.a.q.rows / f.rows + f.a.S + 1) * sizeof(struct work),
		x.bytes, err);
	if (st)
		return st;
	f.work = (struct work *)(void *)call->d->shared.memory;
	for (int64_t s = 0; s < f.a.S; s++) {
		const struct segment segment = attention_segment(&f.a, s);

		/* Late queries of a causal segment see most: they start first. */
		for (int64_t b = cpu_ceil(segment.T, f.rows); b-- > 0;)
			f.work[n++] = (struct work){.s = (int32_t)s, .block = (int32_t)b};
	}
	clear_between(&f);
	cpu_run(call->d, n * f.a.G, forward_piece, &f);
	return HONE_OK;
}
