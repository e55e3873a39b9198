/*
 * attention_few.c - ATTENTION forward of segments with few columns: a token or two at the end
 * of a long cache, as when text is generated.
 *
 * Columns go one by one, lanes along the head (leaf_attention_few.h).  A piece is a run of keys
 * with all heads: so the cache is read once, in the order of memory, and by all threads however
 * few heads there are.  Its sums and maxima are those of its keys alone; they are put together
 * at the end as blocks are in streamed attention,
 *
 *     m = max m_i     o = sum 2^(m_i - m) o_i / sum 2^(m_i - m) t_i
 *
 * in the order of the keys ("flash decoding").  How keys are cut depends on their number alone.
 * Flops 4 U K a head; memory k, v once.  Twin: reference's attention.c.
 */
#include <math.h>
#include <string.h>

#include "attention.h"

#define KEYS       64 /* of a block: with all heads it comes from memory, each head from L1 */
#define PIECES_MAX 16 /* of a segment */

struct run {
	int32_t s, first, end; /* a segment, and its blocks [first, end) */
};

struct few {
	struct attention a;
	struct cpu_mat o, lse;
	struct run *run;
	int64_t n;          /* runs */
	float *sums;        /* [n][G columns][wide] */
	float *tops;        /* [n][2][padded G columns]: maxima, then totals */
	int64_t ld, ld_top; /* of a run */
};

/* A worker's scratch. */
struct space {
	float *copy, *scores, *q;
	uint64_t bytes;
};

static void
space_open(const struct attention *a, struct space *x, uint8_t *memory)
{
	float *const m = (float *)(void *)memory;
	int64_t at = 0;

	x->copy = attention_take(m, &at, attention_copy_floats(a));
	x->scores = attention_take(m, &at, cpu_round_up(a->keys, a->strip));
	x->q = attention_take(m, &at, ATTENTION_FEW * a->wide);
	x->bytes = (uint64_t)at * 4;
}

/* The element of q and o that column e of key head g begins with. */
static int64_t
column_at(const struct attention *a, const struct segment *s, int64_t g, int64_t e)
{
	return (s->q0 + e / a->group) * a->q.cols + (g * a->group + e % a->group) * a->K;
}

static void
pack_queries(const struct attention *a, const struct segment *s, int64_t g, float *q)
{
	for (int64_t e = 0; e < s->T * a->group; e++) {
		const struct hn_pack pack = {.bf16 = a->bf16,
			.dtype = a->q.dtype,
			.out = q + e * a->words,
			.w = a->words,
			.in = cpu_at(&a->q, column_at(a, s, g, e)),
			.ld = a->q.cols,
			.n = 1,
			.k = a->K};

		a->k->pack_copy(&pack);
	}
}

/* Asks for the keys and values of head g of a block. */
static void
fetch_head(const struct attention *a, const struct key_block *b, int64_t g)
{
	for (int values = 0; values < 2; values++) {
		const struct hn_fetch f = attention_fetch_keys(a, b, values, g, 0, 1);

		for (int64_t i = 0; i < f.n; i++)
			for (int64_t at = 0; at < f.bytes; at += 64)
				__builtin_prefetch(f.p + i * f.ld + at);
	}
}

/* Key head g of a block; o, top and total are of its columns. */
static void
add_block(const struct few *f, const struct segment *s, const struct key_block *b, int64_t g,
	const struct space *x, float *o, float *top, float *total)
{
	const struct attention *a = &f->a;
	const struct cpu_mat *v = b->prefix ? &a->prefix_v : &a->v;
	const int64_t columns = s->T * a->group;
	const enum attention_sight sight = attention_sees(a, s, b, 0, columns);
	int32_t low[ATTENTION_STRIP], high[ATTENTION_STRIP];
	struct hn_few few = {.bf16 = a->bf16,
		.value_dtype = v->dtype,
		.scale = (float)a->attr->scale,
		.softcap = (float)a->attr->softcap,
		.columns = columns,
		.n = b->n,
		.k = a->K,
		.low = low,
		.high = high,
		.value = cpu_at(v, b->row * v->cols + g * a->K),
		.ld_value = v->cols,
		.q = x->q,
		.ld_q = a->words,
		.scores = x->scores,
		.top = top,
		.total = total,
		.o = o,
		.ld_o = a->wide};

	if (sight == ATTENTION_NONE)
		return;
	for (int64_t i = 0; i < columns; i++) {
		low[i] = 0;
		high[i] = (int32_t)b->n;
	}
	if (sight == ATTENTION_SOME)
		attention_ranges(a, s, b, 0, columns, low, high);
	few.key = attention_keys(a, b->prefix ? &a->prefix_k : &a->key, b, g, x->copy);
	a->k->attend_few(&few);
}

static void
piece(void *ctx, int64_t item, int32_t worker)
{
	const struct few *f = ctx;
	const struct attention *a = &f->a;
	const struct run *run = &f->run[item];
	const struct segment s = attention_segment(a, run->s);
	const struct key_run keys = {.to = s.U, .with_prefix = 1};
	const int64_t columns = s.T * a->group, padded = f->ld_top / 2;
	float *sums = f->sums + item * f->ld, *tops = f->tops + item * f->ld_top;
	struct space x;

	space_open(a, &x, a->call->d->worker[worker].memory);
	memset(sums, 0, (size_t)(a->G * columns * a->wide) * 4);
	for (int64_t i = 0; i < padded; i++) {
		tops[i] = -INFINITY;
		tops[padded + i] = 0;
	}
	for (int64_t j = run->first; j < run->end; j++) {
		const struct key_block b = attention_block(a, &s, &keys, j);

		fetch_head(a, &b, 0);
		for (int64_t g = 0; g < a->G; g++) {
			if (g + 1 < a->G)
				fetch_head(a, &b, g + 1);
			pack_queries(a, &s, g, x.q);
			add_block(f, &s, &b, g, &x, sums + g * columns * a->wide,
				tops + g * columns, tops + padded + g * columns);
		}
	}
}

/* Adds the runs of column c behind the first to it. */
static void
put_together(const struct few *f, int64_t first, int64_t n, int64_t c)
{
	const int64_t padded = f->ld_top / 2, wide = f->a.wide;
	float *top = f->tops + first * f->ld_top + c, *total = top + padded;
	float *o = f->sums + first * f->ld + c * wide;
	float most = *top, factor;

	for (int64_t i = 1; i < n; i++)
		most = fmaxf(most, top[i * f->ld_top]);
	if (n == 1 || most == -INFINITY)
		return;
	factor = exp2f(*top - most);
	f->a.k->affine(o, o, factor, 0.0f, wide);
	*total *= factor;
	for (int64_t i = 1; i < n; i++) {
		factor = exp2f(top[i * f->ld_top] - most);
		f->a.k->axpy(o, o + i * f->ld, factor, wide);
		*total += factor * total[i * f->ld_top];
	}
	*top = most;
}

/* The results of a segment whose runs begin with `first`. */
static void
end_segment(const struct few *f, int64_t first, int64_t n)
{
	const struct attention *a = &f->a;
	const struct segment s = attention_segment(a, f->run[first].s);
	const int64_t columns = s.T * a->group, padded = f->ld_top / 2;
	float buffer[CPU_HEAD_DIM_MAX], lse[ATTENTION_STRIP], factor[ATTENTION_STRIP];
	float *tops = f->tops + first * f->ld_top;

	for (int64_t c = 0; c < a->G * columns; c++)
		put_together(f, first, n, c);
	for (int64_t c = 0; c < a->G * columns; c++) {
		const int64_t g = c / columns, e = c % columns, at = column_at(a, &s, g, e);
		float *o = cpu_target(&f->o, at, buffer);

		if (c % a->strip == 0)
			a->k->end_columns(tops + c, tops + padded + c, lse, factor);
		a->k->affine(
			o, f->sums + first * f->ld + c * a->wide, factor[c % a->strip], 0.0f, a->K);
		cpu_write(a->k, &f->o, at, a->K, o);
		*(float *)(void *)cpu_at(
			&f->lse, (s.q0 + e / a->group) * a->H + g * a->group + e % a->group) =
			lse[c % a->strip];
	}
}

/* The runs of all segments with few columns; NULL counts them. */
static int64_t
list_runs(const struct attention *a, struct run *list)
{
	int64_t n = 0;

	for (int64_t s = 0; s < a->S; s++) {
		const struct segment segment = attention_segment(a, s);
		const struct key_run keys = {.to = segment.U, .with_prefix = 1};
		const int64_t blocks = attention_blocks(a, &keys);
		const int64_t step = cpu_ceil(blocks, PIECES_MAX) + (blocks == 0);

		if (!attention_is_few(a, &segment))
			continue;
		for (int64_t j = 0; j == 0 || j < blocks; j += step, n++)
			if (list)
				list[n] = (struct run){.s = (int32_t)s,
					.first = (int32_t)j,
					.end = (int32_t)cpu_min(j + step, blocks)};
	}
	return n;
}

enum hone_status
cpu_attention_few(const struct cpu_call *call, struct hone_error *err)
{
	struct few f = {.o = cpu_out(call, 0), .lse = cpu_out(call, 1)};
	uint64_t sums_at, tops_at;
	struct space x;
	uint8_t *memory;
	enum hone_status st;

	attention_open(&f.a, call, 0, 3, KEYS);
	f.n = list_runs(&f.a, NULL);
	if (!f.n)
		return HONE_OK;
	f.ld = f.a.G * ATTENTION_FEW * f.a.wide;
	f.ld_top = 2 * cpu_round_up(f.a.G * ATTENTION_FEW, ATTENTION_STRIP);
	sums_at = (uint64_t)cpu_round_up(f.n * (int64_t)sizeof *f.run, 64);
	tops_at = sums_at + (uint64_t)(f.n * f.ld * 4);
	space_open(&f.a, &x, NULL);
	st = cpu_reserve(call->d, tops_at + (uint64_t)(f.n * f.ld_top * 4), x.bytes, err);
	if (st)
		return st;
	memory = call->d->shared.memory;
	f.run = (struct run *)(void *)memory;
	f.sums = (float *)(void *)(memory + sums_at);
	f.tops = (float *)(void *)(memory + tops_at);
	(void)list_runs(&f.a, f.run);
	cpu_run(call->d, f.n, piece, &f);
	for (int64_t i = 0, n; i < f.n; i += n) {
		for (n = 1; i + n < f.n && f.run[i + n].s == f.run[i].s;)
			n++;
		end_segment(&f, i, n);
	}
	return HONE_OK;
}
