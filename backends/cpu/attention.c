/*
 * attention.c - ATTENTION forward, streamed: Dao et al. 2022, arXiv:2205.14135, for a CPU.
 *
 * A piece is a run of query positions of one segment, with all heads of one key head (GQA):
 * FORWARD_COLUMNS columns at most; segments of few columns are in attention_few.c.  For each
 * block of keys and each strip of columns: scores into L1, softmax with running maximum and sum,
 * o += v^T p.  Keys are read in place, values are packed once a block; queries once a piece.
 * What nobody sees is skipped, to the panel of columns and the tile of keys.  Flops 4 T U K a
 * head (half when causal); memory q, k, v, o once and k, v again for each piece.  p is rounded
 * to bf16 for the second product when the compute type is bf16; sums stay in f32.  Twin:
 * reference's attention.c.
 */
#include <math.h>
#include <string.h>

#include "attention.h"

#define FORWARD_KEYS    128 /* of a block: a strip's scores are 24 KiB */
#define FORWARD_COLUMNS 192 /* of a piece; the accumulators stay in L2 */

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
	float *copy;         /* keys that cannot be read in place */
	float *v;            /* packed block of values */
	float *scores;       /* of a strip against a block */
	float *q, *o;        /* [strips][words or wide][strip] */
	float *top, *total;  /* [strips][strip] */
	float *zeros, *rest; /* the rows of columns that are not in use, read and written */
	uint64_t bytes;
};

/* A piece at work: columns [first, end) of a segment and key head g. */
struct piece {
	const struct forward *f;
	struct segment s;
	struct space x;
	struct key_run run;
	int64_t g, first, end;
	int64_t packed; /* columns before this one are packed */
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
	x->zeros = attention_take(m, &at, a->wide);
	x->rest = attention_take(m, &at, a->wide);
	x->bytes = (uint64_t)at * 4;
}

/* Packs the next strip of queries and clears its sums. */
static void
pack_strip(struct piece *p)
{
	const struct attention *a = &p->f->a;
	const struct space *x = &p->x;
	const int64_t at = p->packed - p->first;
	uint8_t *row[ATTENTION_STRIP];
	const struct hn_columns pack = {.bf16 = a->bf16,
		.dtype = a->q.dtype,
		.k = a->K,
		.row = row,
		.out = x->q + at * a->words};

	attention_rows(a, &p->s, &a->q, p->g, p->packed, p->end, x->zeros, row);
	a->k->pack_columns(&pack);
	memset(x->o + at * a->wide, 0, (size_t)(a->strip * a->wide) * 4);
	for (int64_t i = 0; i < a->strip; i++) {
		x->top[at + i] = -INFINITY;
		x->total[at + i] = 0;
	}
	p->packed += a->strip;
}

/* What is wanted while the strip from e works on block j: the queries of the next strip, where
 * its own results go when no more keys come, a share of the next block. */
static int64_t
wanted(const struct piece *p, int64_t j, int64_t e, struct hn_fetch fetch[HN_FETCHES])
{
	const struct attention *a = &p->f->a;
	const int64_t strips = cpu_ceil(p->end - p->first, a->strip);
	const int64_t i = (e - p->first) / a->strip;
	int64_t n = 0;
	struct key_block b;

	if (p->packed < p->end)
		fetch[n++] = attention_fetch(a, &p->s, &a->q, p->g, p->packed, p->end);
	if (j + 1 < attention_blocks(a, &p->run)) {
		b = attention_block(a, &p->s, &p->run, j + 1);
		if (attention_sees(a, &p->s, &b, p->first, p->end) != ATTENTION_NONE) {
			fetch[n++] = attention_fetch_keys(a, &b, 0, p->g, i, strips);
			fetch[n++] = attention_fetch_keys(a, &b, 1, p->g, i, strips);
			return n;
		}
	}
	fetch[n++] = attention_fetch(a, &p->s, &p->f->o, p->g, e, p->end);
	return n;
}

/* The columns of a piece against block j. */
static void
forward_block(struct piece *p, int64_t j)
{
	const struct attention *a = &p->f->a;
	const struct space *x = &p->x;
	const struct key_block b = attention_block(a, &p->s, &p->run, j);
	int32_t low[ATTENTION_STRIP], high[ATTENTION_STRIP];
	struct hn_fetch fetch[HN_FETCHES];
	struct hn_strip strip = {.bf16 = a->bf16,
		.scale = (float)a->attr->scale,
		.softcap = (float)a->attr->softcap,
		.n = b.n,
		.words = a->words,
		.depth = a->wide,
		.value_t = x->v,
		.scores = x->scores,
		.fetch = fetch};

	if (attention_sees(a, &p->s, &b, p->first, p->end) == ATTENTION_NONE)
		return;
	strip.key = attention_keys(a, b.prefix ? &a->prefix_k : &a->key, &b, p->g, x->copy);
	attention_depths(a, b.prefix ? &a->prefix_v : &a->v, &b, p->g, x->v);
	for (int64_t e = p->first; e < p->end; e += a->strip) {
		const int64_t next = cpu_min(e + a->strip, p->end), at = e - p->first;
		const enum attention_sight sight = attention_sees(a, &p->s, &b, e, next);

		if (sight == ATTENTION_NONE)
			continue;
		while (p->packed <= e)
			pack_strip(p);
		if (sight == ATTENTION_SOME)
			attention_ranges(a, &p->s, &b, e, next, low, high);
		strip.n_fetch = wanted(p, j, e, fetch);
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

/* o / sum and lse of the strip from e. */
static void
end_strip(const struct piece *p, int64_t e)
{
	const struct attention *a = &p->f->a;
	const int64_t at = e - p->first;
	uint8_t *row[ATTENTION_STRIP];
	float lse[ATTENTION_STRIP], factor[ATTENTION_STRIP];
	float *out = (float *)(void *)cpu_at(
		&p->f->lse, (p->s.q0 + e / a->group) * a->H + p->g * a->group);
	const struct hn_columns o = {.dtype = p->f->o.dtype,
		.k = a->K,
		.row = row,
		.out = p->x.o + at * a->wide,
		.factor = factor};
	int64_t h = e % a->group;

	a->k->end_columns(p->x.top + at, p->x.total + at, lse, factor);
	attention_rows(a, &p->s, &p->f->o, p->g, e, p->end, p->x.rest, row);
	a->k->unpack_columns(&o);
	for (int64_t i = 0; i < cpu_min(a->strip, p->end - e); i++) {
		out[h] = lse[i];
		if (++h == a->group) {
			h = 0;
			out += a->H;
		}
	}
}

static void
forward_piece(void *ctx, int64_t item, int32_t worker)
{
	const struct forward *f = ctx;
	const struct attention *a = &f->a;
	const struct work w = f->work[item / a->G];
	const int64_t base = (int64_t)w.block * f->rows;
	struct piece p = {.f = f, .s = attention_segment(a, w.s), .g = item % a->G};

	p.run = (struct key_run){.to = p.s.U, .with_prefix = 1};
	p.first = base * a->group;
	p.end = cpu_min(base + f->rows, p.s.T) * a->group;
	p.packed = p.first;
	space_open(f, &p.x, a->call->d->worker[worker].memory);
	memset(p.x.zeros, 0, (size_t)a->wide * 4);
	for (int64_t j = 0; j < attention_blocks(a, &p.run); j++)
		forward_block(&p, j);
	while (p.packed < p.end)
		pack_strip(&p);
	for (int64_t e = p.first; e < p.end; e += a->strip)
		end_strip(&p, e);
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
	int64_t n = 0, last;
	enum hone_status st;

	attention_open(&f.a, call, 0, 3, FORWARD_KEYS);
	f.rows = f.a.group < FORWARD_COLUMNS ? FORWARD_COLUMNS / f.a.group : 1;
	space_open(&f, &x, NULL);
	st = cpu_reserve(call->d, (uint64_t)(f.a.q.rows / f.rows + f.a.S + 1) * sizeof(struct work),
		x.bytes, err);
	if (st || call->d->is_probe)
		return st;
	f.work = (struct work *)(void *)call->d->shared.memory;
	for (int64_t s = 0; s < f.a.S; s++) {
		const struct segment segment = attention_segment(&f.a, s);

		if (attention_is_few(&f.a, &segment))
			continue;
		/* Late queries of a causal segment see most: late and early in turns. */
		last = cpu_ceil(segment.T, f.rows) - 1;
		for (int64_t b = 0; b <= last; b++)
			f.work[n++] = (struct work){
				.s = (int32_t)s, .block = (int32_t)(b % 2 ? b / 2 : last - b / 2)};
	}
	clear_between(&f);
	if (n)
		cpu_run(call->d, n * f.a.G, forward_piece, &f);
	return cpu_attention_few(call, err);
}
