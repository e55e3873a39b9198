/*
 * attention_back.c - ATTENTION_BACK: scores are formed again, tile by tile.
 *
 *     p = e^(s - lse)    dv += p^T do    dp = do v^T    ds = p (dp - delta) slope scale
 *     dq += ds k         dk += ds^T q    delta = sum of do o          (five products)
 *
 * A piece is one segment and one key head with the query heads it serves, or half of the keys
 * of a long segment.  It walks blocks of keys; for each the gradients of keys and values stay
 * in f32 scratch while all queries that see it pass, some strips of columns at a time: strips
 * form p and ds [keys, columns] and dq, and then the keys take their share of all of them.
 * The gradients of the queries gather in f32 scratch over the blocks.  Nothing is shared
 * between pieces that run at once: halves write apart and are added in order, and so are the
 * prefix's gradients over segments.
 *
 * Flops 10 T U K a head (half when causal).  Twin: reference's attention.c.
 */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "attention.h"

#define BACK_KEYS    256  /* of a block */
#define BACK_STRIPS  4    /* between two turns of the keys */
#define HALVES_FROM  2048 /* keys from which a segment is two pieces a key head */
#define HALVES_FEW   8    /* pieces below which it is from fewer keys: there are more threads */
#define HALVES_LEAST 256  /* keys that are worth it then */
#define HALVES_UNIT  32   /* keys, of which both have a multiple */

struct work {
	int32_t s, g, half, halves;
	struct key_run run;
	int64_t dq; /* halves = 2: first float of this half's columns in the shared scratch */
};

struct backward {
	struct attention a;
	struct cpu_mat dout, o, lse, dq, dk, dv, dprefix_k, dprefix_v;
	struct work *work;
	int64_t n;
	_Atomic int32_t *n_done; /* [n] halves that are done, at the first of two */
	float *shared;           /* dq of halves */
	float *prefix;           /* [S, G, P, 2 wide] */
	float *overlap;          /* [L, G, 2 K] sums of keys that several segments read; or NULL */
	int64_t T_max;
};

/* A worker's scratch. */
struct space {
	float *k_copy, *v_copy, *k_t; /* of a block of keys */
	float *dk, *dv;               /* [keys, wide] */
	float *q, *dout;              /* [words][strip], of one strip */
	float *q_steps, *dout_steps;  /* [strips][strip in steps][wide] */
	float *p, *ds, *ds_t;         /* see hn_strip */
	float *dq;                    /* [strips of the segment][wide][strip] */
	float *lse, *delta;           /* [columns of the segment] */
	float *zeros;                 /* the row of columns that are not in use */
	uint8_t *state;               /* [strips] enum strip_state */
	uint64_t bytes;
};

enum strip_state { STRIP_NEW, STRIP_KNOWN, STRIP_DONE }; /* lse and delta; dq written */

/* A piece at work. */
struct piece {
	const struct backward *f;
	struct segment s;
	struct work w;
	struct space x;
	struct key_block b, next; /* next: no keys behind the last block */
	float *dq;
	int64_t g, end; /* columns of the segment */
};

/* Floats of dq of a segment and a key head. */
static int64_t
dq_floats(const struct attention *a, int64_t T)
{
	return cpu_round_up(T * a->group, a->strip) * a->wide;
}

static void
space_open(const struct backward *f, struct space *x, uint8_t *memory)
{
	const struct attention *a = &f->a;
	const int64_t some = BACK_STRIPS * a->strip, keys = a->keys;
	float *const m = (float *)(void *)memory;
	int64_t at = 0;

	x->k_copy = attention_take(m, &at, attention_copy_floats(a));
	x->v_copy = attention_take(m, &at, attention_copy_floats(a));
	x->k_t = attention_take(m, &at, keys * a->wide);
	x->dk = attention_take(m, &at, keys * a->wide);
	x->dv = attention_take(m, &at, keys * a->wide);
	x->q = attention_take(m, &at, a->words * a->strip);
	x->dout = attention_take(m, &at, a->words * a->strip);
	x->q_steps = attention_take(m, &at, some * a->wide);
	x->dout_steps = attention_take(m, &at, some * a->wide);
	x->p = attention_take(m, &at, keys * some);
	x->ds = attention_take(m, &at, keys * some);
	x->ds_t = attention_take(m, &at, keys / 2 * a->strip);
	x->dq = attention_take(m, &at, dq_floats(a, f->T_max));
	x->lse = attention_take(m, &at, cpu_round_up(f->T_max * a->group, a->strip));
	x->delta = attention_take(m, &at, cpu_round_up(f->T_max * a->group, a->strip));
	x->zeros = attention_take(m, &at, a->wide);
	x->state = (uint8_t *)attention_take(m, &at, f->T_max * a->group / a->strip / 4 + 1);
	x->bytes = (uint64_t)at * 4;
}

/* lse and delta of the strip from e. */
static void
know_strip(const struct piece *p, int64_t e)
{
	const struct attention *a = &p->f->a;
	uint8_t *row[ATTENTION_STRIP], *other[ATTENTION_STRIP];
	const struct hn_columns dots = {.dtype = p->f->dout.dtype,
		.other_dtype = p->f->o.dtype,
		.k = a->K,
		.row = row,
		.other = other,
		.out = p->x.delta + e};

	attention_gather(a, &p->s, &p->f->lse, p->g, e, p->end, p->x.lse + e);
	attention_rows(a, &p->s, &p->f->dout, p->g, e, p->end, p->x.zeros, row);
	attention_rows(a, &p->s, &p->f->o, p->g, e, p->end, p->x.zeros, other);
	a->k->dot_columns(&dots);
}

/* dq [depth][strip] of the strip from e goes to its rows. */
static void
put_strip(const struct backward *f, const struct segment *s, const float *dq, int64_t g, int64_t e)
{
	const struct attention *a = &f->a;
	float one[ATTENTION_STRIP], rest[CPU_HEAD_DIM_MAX];
	uint8_t *row[ATTENTION_STRIP];
	const struct hn_columns unpack = {
		.dtype = f->dq.dtype, .k = a->K, .row = row, .out = (float *)dq, .factor = one};

	for (int64_t i = 0; i < a->strip; i++)
		one[i] = 1.0f;
	attention_rows(a, s, &f->dq, g, e, s->T * a->group, rest, row);
	a->k->unpack_columns(&unpack);
}

/* The queries of the strip from e, number i of its turn, in the forms that products take. */
static void
pack_strip(const struct piece *p, int64_t e, int64_t i)
{
	const struct attention *a = &p->f->a;
	const int64_t steps = a->bf16 ? a->strip / 2 : a->strip;
	uint8_t *row[ATTENTION_STRIP];
	struct hn_columns pack = {.bf16 = a->bf16, .dtype = a->q.dtype, .k = a->K, .row = row};

	attention_rows(a, &p->s, &a->q, p->g, e, p->end, p->x.zeros, row);
	pack.out = p->x.q;
	a->k->pack_columns(&pack);
	pack.out = p->x.q_steps + i * steps * a->wide;
	a->k->pack_steps(&pack);
	attention_rows(a, &p->s, &p->f->dout, p->g, e, p->end, p->x.zeros, row);
	pack.dtype = p->f->dout.dtype;
	pack.out = p->x.dout;
	a->k->pack_columns(&pack);
	pack.out = p->x.dout_steps + i * steps * a->wide;
	a->k->pack_steps(&pack);
}

/* Whether no key of a later block is seen by the columns of the strip from e. */
static int
is_last(const struct piece *p, int64_t e)
{
	const int64_t end = cpu_min(e + p->f->a.strip, p->end);

	return p->next.n == 0 ||
		attention_sees(&p->f->a, &p->s, &p->next, e, end) == ATTENTION_NONE;
}

/* What is wanted while the strip from e is worked on: the rows of the next one, where its own
 * gradients go, a share of the next block. */
static int64_t
wanted(const struct piece *p, int64_t e, struct hn_fetch fetch[HN_FETCHES])
{
	const struct backward *f = p->f;
	const struct attention *a = &f->a;
	const int64_t next = e + a->strip, n_strips = cpu_ceil(p->end, a->strip);
	int64_t n = 0;

	if (next < p->end) {
		fetch[n++] = attention_fetch(a, &p->s, &a->q, p->g, next, p->end);
		fetch[n++] = attention_fetch(a, &p->s, &f->dout, p->g, next, p->end);
		if (p->x.state[next / a->strip] == STRIP_NEW)
			fetch[n++] = attention_fetch(a, &p->s, &f->o, p->g, next, p->end);
		fetch[n++] = (struct hn_fetch){.p = (const uint8_t *)(p->dq + next * a->wide),
			.ld = a->strip * 4,
			.n = a->wide,
			.bytes = a->strip * 4};
	}
	if (p->next.n > 0) {
		fetch[n++] = attention_fetch_keys(a, &p->next, 0, p->g, e / a->strip, n_strips);
		fetch[n++] = attention_fetch_keys(a, &p->next, 1, p->g, e / a->strip, n_strips);
	}
	if (p->w.halves == 1 && is_last(p, e))
		fetch[n++] = attention_fetch(a, &p->s, &f->dq, p->g, e, p->end);
	return n;
}

/* The strip from column e, number i of its turn, against a block: p, ds and dq. */
static void
one_strip(struct piece *p, struct hn_strip *strip, int64_t e, int64_t i)
{
	const struct attention *a = &p->f->a;
	const struct space *x = &p->x;
	const int64_t end = cpu_min(e + a->strip, p->end);
	const int64_t at = a->bf16 ? i * a->strip / 2 : i * a->strip;
	const enum attention_sight sight = attention_sees(a, &p->s, &p->b, e, end);
	uint8_t *const state = x->state + e / a->strip;
	int32_t low[ATTENTION_STRIP], high[ATTENTION_STRIP];
	struct hn_fetch fetch[HN_FETCHES];

	if (sight == ATTENTION_NONE)
		return;
	if (sight == ATTENTION_SOME)
		attention_ranges(a, &p->s, &p->b, e, end, low, high);
	if (*state == STRIP_NEW)
		know_strip(p, e);
	*state = STRIP_KNOWN;
	pack_strip(p, e, i);
	strip->fetch = fetch;
	strip->n_fetch = wanted(p, e, fetch);
	strip->low = sight == ATTENTION_SOME ? low : NULL;
	strip->high = sight == ATTENTION_SOME ? high : NULL;
	strip->columns = end - e;
	strip->lse = x->lse + e;
	strip->delta = x->delta + e;
	strip->p = x->p + at;
	strip->ds = x->ds + at;
	strip->panel = i * HN_PANELS;
	strip->acc = p->dq + e * a->wide;
	a->k->attend_back(strip);
	if (p->w.halves == 1 && is_last(p, e)) {
		put_strip(p->f, &p->s, strip->acc, p->g, e);
		*state = STRIP_DONE;
	}
}

/* All columns against one block of keys, some strips a turn. */
static void
walk_columns(struct piece *p)
{
	const struct attention *a = &p->f->a;
	const struct key_block *b = &p->b;
	const struct space *x = &p->x;
	const int64_t turn = BACK_STRIPS * a->strip;
	uint16_t panels[BACK_KEYS / 2]; /* tiles have four keys at least */
	struct hn_strip strip = {.bf16 = a->bf16,
		.scale = (float)a->attr->scale,
		.softcap = (float)a->attr->softcap,
		.n = b->n,
		.words = a->words,
		.depth = a->wide,
		.value_t = x->k_t,
		.q = x->q,
		.dout = x->dout,
		.ld_rows = turn,
		.ds_t = x->ds_t,
		.panels = panels};
	const struct hn_strip_keys keys = {.bf16 = a->bf16,
		.n = b->n,
		.panels = panels,
		.p = x->p,
		.ds = x->ds,
		.ld_rows = a->bf16 ? turn / 2 : turn,
		.q = x->q_steps,
		.dout = x->dout_steps,
		.wide = a->wide,
		.dk = x->dk,
		.dv = x->dv};

	strip.key = attention_keys(a, b->prefix ? &a->prefix_k : &a->key, b, p->g, x->k_copy);
	strip.value = attention_keys(a, b->prefix ? &a->prefix_v : &a->v, b, p->g, x->v_copy);
	for (int64_t e = 0; e < p->end; e += turn) {
		if (attention_sees(a, &p->s, b, e, cpu_min(e + turn, p->end)) == ATTENTION_NONE)
			continue;
		memset(panels, 0, sizeof panels);
		for (int64_t i = 0; i < BACK_STRIPS && e + i * a->strip < p->end; i++)
			one_strip(p, &strip, e + i * a->strip, i);
		a->k->attend_keys(&keys);
	}
}

/* The gradients of a block go to their rows. */
static void
put_block(const struct piece *p)
{
	const struct backward *f = p->f;
	const struct attention *a = &f->a;
	const struct key_block *b = &p->b;
	const struct space *x = &p->x;
	const int64_t g = p->g;
	float *prefix = f->prefix ? f->prefix + (p->w.s * a->G + g) * a->P * 2 * a->wide : NULL;

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

/* dq of a segment in two pieces: first + second. */
static void
join_halves(const struct piece *p)
{
	const struct backward *f = p->f;
	const struct attention *a = &f->a;
	float *first = f->shared + p->w.dq;

	for (int64_t e = 0; e < p->end; e += a->strip) {
		float *dq = first + e * a->wide;

		a->k->axpy(dq, dq + dq_floats(a, p->s.T), 1.0f, a->strip * a->wide);
		put_strip(f, &p->s, dq, p->g, e);
	}
}

static void
back_piece(void *ctx, int64_t item, int32_t worker)
{
	const struct backward *f = ctx;
	const struct attention *a = &f->a;
	const struct work w = f->work[item];
	struct piece p = {.f = f, .s = attention_segment(a, w.s), .w = w, .g = w.g};
	const int64_t floats = dq_floats(a, p.s.T), n = attention_blocks(a, &w.run);

	p.end = p.s.T * a->group;
	space_open(f, &p.x, a->call->d->worker[worker].memory);
	p.dq = w.halves == 1 ? p.x.dq : f->shared + w.dq + w.half * floats;
	memset(p.dq, 0, (size_t)floats * 4);
	memset(p.x.zeros, 0, (size_t)a->wide * 4);
	memset(p.x.state, STRIP_NEW, (size_t)cpu_ceil(p.end, a->strip));
	for (int64_t j = 0; j < n; j++) {
		int64_t rows;

		p.b = attention_block(a, &p.s, &w.run, j);
		p.next =
			j + 1 < n ? attention_block(a, &p.s, &w.run, j + 1) : (struct key_block){0};
		rows = cpu_round_up(p.b.n, a->k->key_rows);
		attention_depths(a, p.b.prefix ? &a->prefix_k : &a->key, &p.b, p.g, p.x.k_t);
		memset(p.x.dk, 0, (size_t)(rows * a->wide) * 4);
		memset(p.x.dv, 0, (size_t)(rows * a->wide) * 4);
		walk_columns(&p);
		put_block(&p);
	}
	for (int64_t e = 0; e < p.end && w.halves == 1; e += a->strip)
		if (p.x.state[e / a->strip] != STRIP_DONE)
			put_strip(f, &p.s, p.dq + e * a->wide, p.g, e);
	/* Whoever comes second of two halves finds both. */
	if (w.halves == 2 && atomic_fetch_add(&f->n_done[item - w.half], 1) == 1)
		join_halves(&p);
}

/* ---- Sums between pieces ---- */

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

static void
clear_rows(const struct cpu_mat *x, int64_t from, int64_t to)
{
	if (from < to)
		memset(cpu_at(x, from * x->cols), 0,
			(size_t)((to - from) * x->cols * hone_dtype_bytes(x->dtype)));
}

/* Gradients of queries in no segment and of keys in no range: both ascend, or the sums of
 * overlapping keys are written everywhere. */
static void
clear_rest(const struct backward *f)
{
	const struct attention *a = &f->a;
	int64_t query = 0, key = 0;

	for (int64_t s = 0; s <= a->S; s++) {
		const int last = s == a->S;
		const struct segment segment = last
			? (struct segment){.q0 = f->dq.rows, .k0 = f->dk.rows, .U = 1}
			: attention_segment(a, s);

		clear_rows(&f->dq, query, segment.q0);
		query = segment.q0 + segment.T > query ? segment.q0 + segment.T : query;
		if (segment.U <= 0 || f->overlap)
			continue;
		clear_rows(&f->dk, key, segment.k0);
		clear_rows(&f->dv, key, segment.k0);
		key = segment.k0 + segment.U;
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

/* Where the own keys of a segment are cut so that both halves see about as many queries. */
static int64_t
middle(const struct attention *a, const struct segment *s)
{
	/* Of queries that see all before them, half the pairs lie before 1 - sqrt(1/2). */
	const double share = a->attr->causal && a->attr->window <= 0 ? 0.29289 : 0.5;
	const int64_t before = s->U > s->T ? s->U - s->T : 0; /* keys that all queries see */
	const int64_t cut = share < 0.5 && before == 0 ? (int64_t)(share * (double)s->U) : s->U / 2;

	return (cut + HALVES_UNIT / 2) / HALVES_UNIT * HALVES_UNIT;
}

/* The list of pieces, and floats of shared scratch for the dq of halves.  The pieces of a segment
 * stand together, and the halves of a key head: so threads that share them have as much each. */
static int64_t
list_work(struct backward *f)
{
	const int64_t least = f->a.S * f->a.G < HALVES_FEW ? HALVES_LEAST : HALVES_FROM;
	int64_t floats = 0;

	f->n = 0;
	for (int64_t s = 0; s < f->a.S; s++) {
		const struct segment segment = attention_segment(&f->a, s);
		const int32_t halves = segment.U >= least ? 2 : 1;
		const int64_t cut = halves == 2 ? middle(&f->a, &segment) : segment.U;

		for (int32_t i = 0; i < f->a.G * halves; i++) {
			const int32_t half = i % halves;

			if (f->work)
				f->work[f->n] = (struct work){.s = (int32_t)s,
					.g = i / halves,
					.half = half,
					.halves = halves,
					.run = {.from = half ? cut : 0,
						.to = half ? segment.U : cut,
						.with_prefix = !half},
					.dq = floats};
			if (half)
				floats += 2 * dq_floats(&f->a, segment.T);
			f->n++;
		}
		if (segment.T > f->T_max)
			f->T_max = segment.T;
	}
	return floats;
}

/* Key head g of all segments, one after the other: they add to the same rows. */
static void
overlap_piece(void *ctx, int64_t g, int32_t worker)
{
	const struct backward *f = ctx;

	for (int64_t item = 0; item < f->n; item++)
		if (f->work[item].g == g)
			back_piece(ctx, item, worker);
}

static void
run(struct backward *f)
{
	struct cpu_device *d = f->a.call->d;

	if (f->overlap) {
		cpu_run(d, f->a.G, overlap_piece, f);
		put_overlap(f);
	} else {
		cpu_run(d, f->n, back_piece, f);
	}
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
	int64_t dq, prefix, overlap;
	struct space x;
	enum hone_status st;

	attention_open(&f.a, call, 1, 6, BACK_KEYS);
	if (call->c->n_out > 4) {
		f.dprefix_k = cpu_out(call, 3);
		f.dprefix_v = cpu_out(call, 4);
	}
	dq = list_work(&f);
	prefix = f.a.S * f.a.G * f.a.P * 2 * f.a.wide;
	overlap = ranges_overlap(&f.a) ? 2 * f.a.key.rows * f.dk.cols : 0;
	space_open(&f, &x, NULL);
	st = cpu_reserve(call->d,
		(uint64_t)(dq + prefix + overlap) * 4 +
			(uint64_t)(f.n + 1) * (sizeof *f.work + sizeof *f.n_done),
		x.bytes, err);
	if (st || call->d->is_probe)
		return st;
	f.work = (struct work *)(void *)call->d->shared.memory;
	f.n_done = (_Atomic int32_t *)(void *)(f.work + f.n);
	f.shared = (float *)(void *)(f.n_done + f.n);
	f.prefix = f.shared + dq;
	f.overlap = overlap ? f.prefix + prefix : NULL;
	(void)list_work(&f);

	for (int64_t i = 0; i < f.n; i++)
		atomic_init(&f.n_done[i], 0);
	memset(f.prefix, 0, (size_t)(prefix + overlap) * 4);
	clear_rest(&f);
	run(&f);
	if (call->c->n_out > 4)
		sum_prefix(&f);
	return HONE_OK;
}
