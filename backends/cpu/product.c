/*
 * product.c - matrix products: y = a b^T (NT), a b (NN), a^T b (TN).
 *
 * y [m, n] is cut into pieces: a block of rows by a block of columns.  A piece packs the
 * columns of b that it needs into panels (in the type it computes in, so bf16, f16 and f32
 * mix freely), keeps them in L2, and walks its rows in tiles of HN_TILE_ROWS:
 *
 *     for each block of k:  pack b;  for each tile of rows:  for each panel:  tile
 *
 * so a tile of a is read once per block of columns and stays in L1, a panel streams from L2.
 * Where k is longer than a block the sums wait in f32, and go on in the same order: each
 * element of y is one chain over ascending k, whatever the split.  Where it is much longer (the
 * input's gradient of a head) all pieces take one block of k before any takes the next: the
 * block of a stays in L2 and b is read once, in the order of memory.  In TN both operands run
 * across k: a is packed for all pieces by all threads first, a block of k at a time, and the
 * sums wait in y, which is f32.
 *
 * A second product u v with a k of a few elements is part of the same tiles, as further steps
 * of the last block: adapters beside a weight (joined.c).
 *
 * How it is cut is product_plan.c's, what is packed and from where product_panels.c's.  What follows
 * a product elementwise runs on each block as soon as its rows are formed (end.c); gradients
 * of adapters that wait run behind the pieces (product_strips.c).
 *
 * The compute type: bf16 products with f32 sums when the path has them and the activation a
 * is bf16, whatever b is; else f32.  Flops 2 m n k; bytes of a (n / columns of a
 * block) + b (m / rows of a block) + y.  Thin products are in product_thin.c.  Twin: matmul
 * of reference.
 */
#include "joined.h"
#include "product_plan.h"

/* y of a tile: [row, row + m) by [col, col + n), from `tile`; `add` = onto what y holds. */
static void
finish_tile(const struct plan *plan, const float *tile, int64_t ldt, int64_t row, int64_t m,
	int64_t col, int64_t n, int add)
{
	const struct cpu_product *p = plan->p;
	const int64_t at = row * p->ldy + col;
	struct hn_finish f = {.m = m,
		.n = n,
		.tile = tile,
		.ldt = ldt,
		.y = cpu_at(&p->y, at),
		.ldy = p->ldy,
		.ldc = p->ldy,
		.y_dtype = p->y.dtype};

	if (p->c.p) {
		f.c = cpu_at(&p->c, at);
		f.c_dtype = p->c.dtype;
	} else if (add) {
		f.c = f.y;
		f.c_dtype = f.y_dtype;
	}
	plan->k->finish(&f);
}

/* Whether tiles can write y themselves: bf16, and nothing added but bf16. */
static int
ends_as_bf16(const struct cpu_product *p)
{
	return p->form != CPU_TN && p->y.dtype == HONE_DTYPE_BF16 &&
		(!p->c.p || p->c.dtype == HONE_DTYPE_BF16);
}

static void
set_target(const struct cpu_product *p, struct hn_tile *t, int64_t row, int64_t col)
{
	const int64_t at = row * p->ldy + col;

	t->y = (uint16_t *)(void *)cpu_at(&p->y, at);
	t->plus = p->c.p ? (const uint16_t *)(const void *)cpu_at(&p->c, at) : NULL;
	t->ldy = p->ldy;
}

/* What a tile of m rows by n columns is going to be added to; to be written where that is y. */
static void
fetch_addend(const struct cpu_product *p, int64_t row, int64_t m, int64_t col, int64_t n)
{
	const struct cpu_mat *c = p->c.p ? &p->c : &p->y;
	const int64_t element = hone_dtype_bytes(c->dtype), row_bytes = p->ldy * element;
	const uint8_t *at = cpu_at(c, row * p->ldy + col), *const end = at + m * row_bytes;
	const int64_t bytes = n * element;

	if (c->p == p->y.p) {
		for (; at < end; at += row_bytes)
			for (int64_t byte = 0; byte < bytes; byte += 64)
				__builtin_prefetch(at + byte, 1, 3);
		return;
	}
	for (; at < end; at += row_bytes)
		for (int64_t byte = 0; byte < bytes; byte += 64)
			__builtin_prefetch(at + byte, 0, 3);
}

/* ---- Walking a block ---- */

/* Rows of a against all panels of a block. */
struct walk {
	const struct plan *plan;
	struct hn_tile t;
	const float *panels;
	int64_t col0, col1;
	float *sums; /* of earlier blocks of k, at the tile; NULL when k has one block */
	int64_t ldsums;
	float *scratch; /* then: a tile */
	int last;       /* the last block of k */
	struct hn_ahead ahead;
};

/* One tile of rows.  t.add says whether it adds to what sums (TN: y) hold. */
static void
walk_panels(struct walk *w, int64_t row)
{
	const struct plan *plan = w->plan;
	const struct cpu_product *p = plan->p;
	const int tn = p->form == CPU_TN, carry = w->t.add;
	void (*const run)(const struct hn_tile *) =
		tn ? plan->k->tile_k_order : plan->k->tile_row_order;
	struct hn_tile *t = &w->t;

	t->b = w->panels;
	for (int64_t col = w->col0; col < w->col1;) {
		const int64_t n = cpu_min(plan->panel, w->col1 - col);
		const int in_place = p->y.dtype == HONE_DTYPE_F32 && !p->c.p && !w->sums;

		t->w = n > plan->k->lanes ? plan->panel : plan->k->lanes;
		t->y = NULL;
		t->ahead = &w->ahead;
		if (tn || (w->last && p->c.p))
			fetch_addend(p, row, t->m, col, n);
		if (in_place && n == t->w) {
			t->c = (float *)(void *)cpu_at(&p->y, row * p->ldy + col);
			t->ldc = p->ldy;
			t->add = tn && carry;
			run(t);
		} else {
			t->c = w->sums ? w->sums + (col - w->col0) : w->scratch;
			t->ldc = w->sums ? w->ldsums : plan->panel;
			t->add = w->sums && carry;
			if (w->last && n == t->w && ends_as_bf16(p))
				set_target(p, t, row, col);
			run(t);
			if (!t->y && w->last)
				finish_tile(plan, t->c, t->ldc, row, t->m, col, n, tn && carry);
		}
		t->b = (const float *)t->b + t->w * (t->steps + t->more);
		col += n;
	}
	t->add = carry;
}

/* m rows of a matrix from element `at`, as words of the compute type: in place, or copied. */
static const void *
tile_rows_of(const struct plan *plan, const struct cpu_mat *mat, int64_t ld, int64_t at, int64_t m,
	int64_t depth, int direct, float *copy, int64_t *ld_words)
{
	const struct hn_pack pack = {.bf16 = plan->bf16,
		.dtype = mat->dtype,
		.out = copy,
		.w = cpu_plan_steps(plan, depth),
		.in = cpu_at(mat, at),
		.ld = ld,
		.n = m,
		.k = depth};

	*ld_words = direct ? (plan->bf16 ? ld / 2 : ld) : pack.w;
	if (direct)
		return pack.in;
	plan->k->pack_copy(&pack);
	return copy;
}

/* The rows of a from `row` at k0 for a tile, and those of u with the last block. */
static void
tile_a(const struct plan *plan, struct hn_tile *t, float *copy, int64_t row, int64_t k0,
	int64_t depth)
{
	const struct cpu_product *p = plan->p;

	t->a = tile_rows_of(
		plan, &p->a, p->lda, row * p->lda + k0, t->m, depth, plan->direct, copy, &t->lda);
	if (t->more)
		t->u = tile_rows_of(plan, &p->u, p->ldu, row * p->ldu, t->m, p->r, plan->u_direct,
			copy + plan->k->tile_rows * t->steps, &t->ldu);
}

/* A piece of NT or NN. */
static void
piece(void *ctx, int64_t i, int32_t worker)
{
	const struct plan *plan = ctx;
	const struct cpu_product *p = plan->p;
	const struct block at = cpu_plan_block(plan, i);
	const int64_t row0 = at.row0, rows = at.row1 - at.row0, col0 = at.col0, col1 = at.col1;
	const int64_t n_tiles = cpu_ceil(rows, plan->k->tile_rows);
	const int64_t n_panels = cpu_ceil(col1 - col0, plan->panel);
	uint8_t *scratch = plan->d->worker[worker].memory;
	float *const copy = (float *)(void *)(scratch + plan->a_at);
	float *const c = (float *)(void *)(scratch + plan->c_at);
	const int64_t end = plan->deep ? plan->k0 + 1 : p->k;

	if (col0 >= col1)
		return;
	for (int64_t k0 = plan->k0; k0 < end || k0 == 0; k0 += plan->depth) {
		const int64_t depth = cpu_min(plan->depth, p->k - k0);
		struct walk w = {.plan = plan,
			.t = {.bf16 = plan->bf16,
				.add = k0 > 0,
				.steps = cpu_plan_steps(plan, depth)},
			.col0 = col0,
			.col1 = col1,
			.scratch = c,
			.ldsums = plan->deep ? cpu_round_up(p->n, plan->panel) : plan->cols,
			.last = k0 + plan->depth >= p->k};

		w.t.more = w.last ? plan->more : 0;
		w.panels = cpu_panels_of(plan, worker, &at, k0, w.t.more);
		w.ahead = cpu_panels_ahead(plan, i, k0, n_panels * n_tiles, worker);
		for (int64_t tile = 0; tile < n_tiles; tile++) {
			const int64_t row = row0 + rows * tile / n_tiles;

			w.t.m = row0 + rows * (tile + 1) / n_tiles - row;
			if (plan->deep)
				w.sums = plan->shared + row * w.ldsums + col0;
			else if (plan->depth < p->k)
				w.sums = c + (row - row0) * plan->cols;
			tile_a(plan, &w.t, copy, row, k0, depth);
			walk_panels(&w, row);
			if (w.last && p->end)
				cpu_end_run(p->end, row, w.t.m, col0, col1 - col0);
		}
	}
}

/* TN: packs a's columns (rows of y) of the chunk for this block of k, in K order, tile after
 * tile. */
static void
piece_a(void *ctx, int64_t i, int32_t worker)
{
	const struct plan *plan = ctx;
	const struct cpu_product *p = plan->p;
	const int64_t row = plan->m0 + i * plan->a_rows;
	const int64_t depth = cpu_min(plan->depth, p->k - plan->k0);
	const struct hn_pack pack = {.bf16 = plan->bf16,
		.dtype = p->a.dtype,
		.out = plan->shared + (row - plan->m0) * cpu_plan_steps(plan, depth),
		.w = plan->k->tile_rows,
		.in = cpu_at(&p->a, plan->k0 * p->lda + row),
		.ld = p->lda,
		.n = cpu_min(plan->a_rows, plan->m1 - row),
		.k = depth};

	(void)worker;
	plan->k->pack_nn(&pack);
}

/* A piece of TN for one chunk and block of k, added to y unless it is the first. */
static void
piece_tn(void *ctx, int64_t i, int32_t worker)
{
	const struct plan *plan = ctx;
	const struct cpu_product *p = plan->p;
	const int64_t tile = plan->k->tile_rows, depth = cpu_min(plan->depth, p->k - plan->k0);
	const int64_t row0 = plan->m0 + i / plan->n_cols * plan->rows;
	const int64_t col0 = i % plan->n_cols * plan->cols;
	const struct block at = {.row0 = row0,
		.row1 = cpu_min(row0 + plan->rows, plan->m1),
		.col0 = col0,
		.col1 = cpu_min(col0 + plan->cols, p->n)};
	uint8_t *scratch = plan->d->worker[worker].memory;
	struct walk w = {.plan = plan,
		.t = {.bf16 = plan->bf16,
			.add = plan->k0 > 0 || p->accumulate,
			.steps = cpu_plan_steps(plan, depth),
			.lda = tile},
		.col0 = at.col0,
		.col1 = at.col1,
		.scratch = (float *)(void *)(scratch + plan->c_at),
		.last = 1};

	if (at.row0 >= at.row1)
		return;
	w.panels = cpu_panels_of(plan, worker, &at, plan->k0, 0);
	for (int64_t row = at.row0; row < at.row1; row += tile) {
		w.t.m = cpu_min(tile, at.row1 - row);
		w.t.a = plan->shared + (row - plan->m0) * w.t.steps;
		walk_panels(&w, row);
	}
}

/* Chunks of y, blocks of k one after the other; within one, a is packed before any piece
 * starts. */
static void
run_tn(struct cpu_device *d, struct plan *plan)
{
	const struct cpu_product *p = plan->p;

	for (plan->m0 = 0; plan->m0 < p->m; plan->m0 += plan->chunk) {
		plan->m1 = cpu_min(plan->m0 + plan->chunk, p->m);
		for (plan->k0 = 0; plan->k0 < p->k || plan->k0 == 0; plan->k0 += plan->depth) {
			cpu_run(d, cpu_ceil(plan->m1 - plan->m0, plan->a_rows), piece_a, plan);
			cpu_run(d, plan->n_rows * plan->n_cols, piece_tn, plan);
		}
	}
}

/* A piece of the product, or behind those of each run one of what runs beside it. */
static void
piece_or_strip(void *ctx, int64_t i, int32_t worker)
{
	const struct plan *plan = ctx;
	const int64_t n = plan->d->n_workers, own = plan->n_cols * plan->n_rows;
	const int64_t more = cpu_ceil(plan->n_strips, n), run = i / (own + more);
	const int64_t j = i % (own + more);

	if (j < own)
		piece(ctx, run * own + j, worker);
	else if (run * more + j - own < plan->n_strips)
		cpu_strips_piece(plan->d, run * more + j - own);
}

/* All pieces at once, or block of k after block. */
static void
run_blocks(struct cpu_device *d, struct plan *plan)
{
	const int64_t n = cpu_plan_pieces(plan);

	plan->n_strips = cpu_strips_take(d);
	for (int32_t i = 0; i < d->n_workers && !d->is_probe; i++)
		for (int place = 0; place < CPU_HELD; place++)
			d->worker[i].held[place] = -1;
	do {
		cpu_run(d, n + cpu_round_up(plan->n_strips, d->n_workers), piece_or_strip, plan);
		plan->n_strips = 0;
		plan->k0 += plan->depth;
	} while (plan->deep && plan->k0 < plan->p->k);
}

enum hone_status
cpu_product_run(struct cpu_device *d, const struct cpu_product *p, const struct cpu_product *next,
	struct hone_error *err)
{
	struct plan plan, after;
	uint64_t shared;
	enum hone_status st;

	if (p->m == 0 || p->n == 0)
		return HONE_OK;
	plan = cpu_plan_of(d, p);
	if (next) {
		after = cpu_plan_of(d, next);
		plan.next = &after;
	}
	shared = cpu_plan_shared(&plan);
	st = cpu_reserve(d, shared, plan.bytes, err);
	if (st)
		return st;
	plan.shared = shared ? (float *)(void *)d->shared.memory : NULL;
	if (p->form == CPU_TN)
		run_tn(d, &plan);
	else
		run_blocks(d, &plan);
	return HONE_OK;
}

/* TN with a third operand: y starts as c (plus y), and the product is added to it. */
static void
start_from_c(const struct cpu_call *call, struct cpu_product *p)
{
	const int64_t n = p->m * p->n;
	float *y = (float *)(void *)p->y.p, c[HN_CPU_BLOCK];

	for (int64_t at = 0; at < n; at += HN_CPU_BLOCK) {
		const int64_t some = cpu_min(HN_CPU_BLOCK, n - at);
		const float *from = cpu_read(call->k, &p->c, at, some, c);

		if (p->accumulate)
			call->k->axpy(y + at, from, 1.0f, some);
		else if (y + at != from)
			call->k->affine(y + at, from, 1.0f, 0.0f, some);
	}
	p->accumulate = 1;
	p->c.p = NULL;
}

struct cpu_product
cpu_product_of(const struct hone_command *c, const struct hone_run *run)
{
	const struct hone_attr_matmul *attr = c->attr;
	struct cpu_product p = {.form = attr->form,
		.accumulate = (c->flags & HONE_COMMAND_ACCUMULATE) != 0,
		.a = cpu_mat_of(&c->in[0], run),
		.b = cpu_mat_of(&c->in[1], run),
		.y = cpu_mat_of(&c->out[0], run)};

	/* b of a row space: only its live rows take part; y and a keep their capacity. */
	p.m = p.form == CPU_TN ? p.a.cols : p.a.rows;
	p.k = p.form == CPU_TN ? p.a.rows : p.form == CPU_NN ? p.b.rows : p.a.cols;
	p.n = p.form == CPU_NT ? p.b.rows : p.b.cols;
	p.lda = p.a.cols;
	p.ldb = p.b.cols;
	p.ldy = p.y.cols;
	p.stored = c->in[1].storage ? &c->in[1] : NULL;
	if (c->n_in > 2 && c->in[2].rank > 0)
		p.c = cpu_mat_of(&c->in[2], run);
	return p;
}

/* Commands to look through for the next product. */
#define LOOK_AHEAD 12

/* The next general product, whose first panels can be asked for already. */
static int
find_next(const struct cpu_call *call, struct cpu_product *next)
{
	const uint8_t *at = call->later;

	for (uint32_t i = 0; i < call->n_later && i < LOOK_AHEAD; i++, at += call->stride) {
		const struct hone_command *c = (const void *)at;

		if (c->op != HONE_OP_MATMUL)
			continue;
		*next = cpu_product_of(c, call->run);
		if (next->form != CPU_TN && !cpu_product_is_thin(next) &&
			!cpu_product_is_packed(next, &c->in[1]) && next->k > HN_NARROW &&
			next->m > 0 && next->n > 0)
			return 1;
	}
	return 0;
}

enum hone_status
cpu_matmul(const struct cpu_call *call, struct hone_error *err)
{
	struct cpu_product p = cpu_product_of(call->c, call->run), next;
	struct cpu_end end;

	if (call->joined) {
		const struct cpu_product earlier = cpu_product_of(call->joined, call->run);

		p = cpu_join_product(&earlier, &p);
	}
	if (p.c.p && p.form == CPU_TN)
		start_from_c(call, &p);
	if (cpu_product_is_thin(&p))
		return cpu_product_thin(call, &p, err);
	cpu_end_find(call, &p, &end);
	if (end.n)
		p.end = &end;
	return cpu_product_run(call->d, &p, find_next(call, &next) ? &next : NULL, err);
}
