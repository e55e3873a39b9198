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
 * The compute type: bf16 products with f32 sums when the path has them and the activation a
 * is bf16, whatever b is; else f32.  Flops 2 m n k; bytes of a (n / columns of a
 * block) + b (m / rows of a block) + y.  Thin products are in product_thin.c.  Twin: matmul
 * of reference.
 */
#include "product.h"

#include "joined.h"

#define B_BYTES  (384 * 1024) /* packed columns of a piece: L2, beside a */
#define ROWS_MAX 516          /* rows of a piece, a multiple of every tile */
#define WIDEST   192          /* columns of a piece */
#define PIECES   16           /* TN: wanted at most, so that threads finish together ... */
#define EACH     8            /* ... for each of several */
#define TN_ROWS  2064         /* TN: the same where there are enough pieces */
#define A_ROWS   96           /* TN: rows of y whose a one piece packs: whole tiles */
#define A_BYTES  (8 << 20)    /* TN: a packed at a time */

int32_t
cpu_product_bf16(const struct cpu_device *d, const struct cpu_product *p)
{
	if (!d->k->bf16)
		return 0;
	return p->a.dtype == HONE_DTYPE_BF16;
}

/* Row-order operands can be read in place when they are of the compute type and, in bf16,
 * pairs never straddle two rows. */
int
cpu_product_direct(const struct cpu_mat *a, int64_t lda, int64_t k, int32_t bf16)
{
	if (!bf16)
		return a->dtype == HONE_DTYPE_F32;
	return a->dtype == HONE_DTYPE_BF16 && lda % 2 == 0 && k % 2 == 0 &&
		(uintptr_t)a->p % 4 == 0;
}

struct plan {
	const struct cpu_product *p;
	const struct cpu_device *d;
	const struct hn_cpu_kernels *k;
	int32_t bf16, direct, u_direct;
	int64_t more;               /* steps of u v, in the last block of k */
	int64_t rows, cols, depth;  /* of a block; depth is even */
	int64_t n_rows, n_cols;     /* blocks; NT, NN: n_cols of each thread's run of columns */
	int64_t run;                /* NT, NN: columns of a run */
	int64_t unit;               /* NT, NN: columns that no piece divides, whole panels */
	int64_t panel;              /* columns of a full panel */
	uint64_t a_at, c_at, bytes; /* scratch of a worker: b at 0, a, c */
	int32_t deep, pad;          /* NT, NN: one block of k after the other, for all pieces */
	float *shared;              /* TN: a, packed, of a chunk at k0; deep: sums [m, n] */
	int64_t k0;
	int64_t chunk, m0, m1;   /* TN: rows of y at a time, and those at hand */
	int64_t a_rows;          /* TN: of a piece that packs a */
	int64_t n_strips;        /* pieces that run beside: product_strips.c */
	const struct plan *next; /* the product after this one, NULL = unknown */
};

/* TN: pieces worth having.  One thread is best served by few and wide ones.  Their number changes
 * no sum, for k is cut without it. */
static int64_t
pieces_wanted(const struct cpu_device *d)
{
	return d->n_workers > 1 ? cpu_min(PIECES, EACH * d->n_workers) : 1;
}

/* Words along k of a block of `depth` elements. */
static int64_t
steps_of(const struct plan *plan, int64_t depth)
{
	return plan->bf16 ? (depth + 1) / 2 : depth;
}

/* TN: blocks of columns of one width, narrower when there would be too few pieces, but not so
 * narrow that a is streamed from memory for each. */
static void
cut_evenly(struct plan *plan, int64_t pieces)
{
	const int64_t n = plan->p->n, bytes = plan->rows * plan->depth * (plan->bf16 ? 2 : 4);
	const int64_t least = bytes > 512 * 1024 ? 96 : plan->panel;

	while (plan->cols > least && cpu_ceil(n, plan->cols) * plan->n_rows < pieces)
		plan->cols -= plan->panel;
	plan->n_cols = cpu_ceil(n, plan->cols);
	plan->cols = cpu_round_up(cpu_ceil(n, plan->n_cols), plan->panel);
	plan->n_cols = cpu_ceil(n, plan->cols);
}

/* NT, NN: a run of columns for each thread, so that what a thread has written of one product it
 * finds in its cache for the next; base/pool.h says who begins where. */
static void
cut_runs(struct plan *plan)
{
	plan->run = cpu_round_up(cpu_ceil(plan->p->n, plan->d->n_workers), plan->unit);
	plan->n_cols = cpu_ceil(plan->run, plan->cols);
}

/* NT, NN: the part of y that piece i forms; it may be empty. */
struct block {
	int64_t row0, row1, col0, col1;
};

static int64_t
count_pieces(const struct plan *plan)
{
	return plan->d->n_workers * plan->n_cols * plan->n_rows;
}

static struct block
block_of(const struct plan *plan, int64_t i)
{
	const int64_t each = plan->n_cols * plan->n_rows, j = i % each;
	const int64_t run = i / each * plan->run, col = run + j / plan->n_rows * plan->cols;
	const int64_t row = j % plan->n_rows * plan->rows;

	return (struct block){.row0 = row,
		.row1 = cpu_min(row + plan->rows, plan->p->m),
		.col0 = cpu_min(col, plan->p->n),
		.col1 = cpu_min(cpu_min(col + plan->cols, run + plan->run), plan->p->n)};
}

static void
plan_make(struct plan *plan)
{
	const struct cpu_product *p = plan->p;
	const int64_t element = plan->bf16 ? 2 : 4, tile = plan->k->tile_rows;
	const int64_t longest = plan->bf16 ? 2048 : 1024;
	const int64_t pieces = pieces_wanted(plan->d);
	const int tn = p->form == CPU_TN;
	/* A long k is cut shorter: a tile of a then stays in L1, its block in L2. */
	const int64_t n_depth = cpu_ceil(p->k, p->k > 2 * longest ? longest / 2 : longest);
	int64_t steps, cols, rows_max;

	plan->deep = !tn && p->k > 2 * longest;
	plan->panel = 2 * plan->k->lanes;
	plan->depth = p->k ? cpu_round_up(cpu_ceil(p->k, n_depth), 2) : 2;
	if (tn)
		plan->depth = cpu_min(plan->depth, plan->bf16 ? 512 : 256);
	plan->chunk = p->m;
	rows_max = ROWS_MAX;
	if (tn) {
		plan->chunk = cpu_round_up(A_BYTES / (plan->depth * element), TN_ROWS);
		plan->chunk = cpu_min(plan->chunk, p->m);
		plan->a_rows = p->m > pieces * 8 * A_ROWS ? 8 * A_ROWS : A_ROWS;
		if (cpu_ceil(plan->chunk, TN_ROWS) * cpu_ceil(p->n, 192) >= pieces)
			rows_max = TN_ROWS;
	}
	plan->n_rows = cpu_ceil(plan->chunk, rows_max);
	plan->rows = cpu_round_up(cpu_ceil(plan->chunk, plan->n_rows), tile);
	plan->n_rows = cpu_ceil(plan->chunk, plan->rows);

	/* Columns: as many as stay in L2. */
	plan->unit = plan->panel;
	if (p->end)
		plan->unit = cpu_least_multiple(plan->panel, p->end->unit);
	cols = cpu_min(WIDEST, B_BYTES / (plan->depth * element)) / plan->unit * plan->unit;
	plan->cols = cpu_max(cols, plan->unit);
	if (tn)
		cut_evenly(plan, pieces);
	else
		cut_runs(plan);

	steps = steps_of(plan, plan->depth) + plan->more;
	plan->a_at = (uint64_t)cpu_round_up(plan->cols * steps * 4, 64);
	plan->c_at = plan->a_at + (uint64_t)cpu_round_up(tn ? 0 : tile * steps * 4, 64);
	plan->bytes = plan->c_at +
		(uint64_t)(plan->depth < p->k && !tn && !plan->deep ? plan->rows * plan->cols
								    : tile * plan->panel) *
			4;
}

/* A matrix that panels are packed from: b, or v behind it. */
struct source {
	const struct cpu_mat *mat;
	int64_t ld, k0, depth;
	int64_t at; /* steps of a panel before its own */
};

/* Columns [col, end) as panels of `steps` steps in all. */
static void
pack_source(const struct plan *plan, const struct source *from, float *out, int64_t col,
	int64_t end, int64_t steps)
{
	const int nt = plan->p->form == CPU_NT;
	const int64_t lanes = plan->k->lanes;

	while (col < end) {
		const int64_t whole = nt ? 0 : (end - col) / plan->panel * plan->panel;
		const int64_t n = whole ? whole : cpu_min(plan->panel, end - col);
		const int64_t w = n > lanes ? plan->panel : lanes;
		const struct hn_pack pack = {.bf16 = plan->bf16,
			.dtype = from->mat->dtype,
			.out = out + from->at * w,
			.w = w,
			.in = cpu_at(from->mat,
				nt ? col * from->ld + from->k0 : from->k0 * from->ld + col),
			.ld = from->ld,
			.n = n,
			.k = from->depth,
			.steps = steps};

		if (nt)
			plan->k->pack_nt(&pack);
		else
			plan->k->pack_nn(&pack);
		out += cpu_round_up(n, w) * steps;
		col += n;
	}
}

/* Columns [col, end) of b, rows [k0, k0 + depth), as panels; with v when `more` is set. */
static void
pack_b(const struct plan *plan, float *out, int64_t col, int64_t end, int64_t k0, int64_t depth,
	int64_t more)
{
	const struct cpu_product *p = plan->p;
	const int64_t steps = steps_of(plan, depth);
	const struct source b = {.mat = &p->b, .ld = p->ldb, .k0 = k0, .depth = depth};
	const struct source v = {.mat = &p->v, .ld = p->ldv, .depth = p->r, .at = steps};

	pack_source(plan, &b, out, col, end, steps + more);
	if (more)
		pack_source(plan, &v, out, col, end, steps + more);
}

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

/* ---- Fetching ahead ---- */

/* The block of b that piece i packs for k0, shared out over `times` tiles. */
static struct hn_ahead
ahead_of_b(const struct plan *plan, int64_t i, int64_t k0, int64_t times)
{
	const struct cpu_product *p = plan->p;
	const struct block at = block_of(plan, i);
	const int64_t cols = at.col1 - at.col0, element = hone_dtype_bytes(p->b.dtype);
	const int64_t depth = cpu_min(plan->depth, p->k - k0);
	const int nt = p->form == CPU_NT;
	struct hn_ahead a = {.row_bytes = (nt ? depth : cols) * element,
		.stride = p->ldb * element,
		.rows = nt ? cols : depth};

	if (cols <= 0 || depth <= 0)
		return (struct hn_ahead){0};
	a.row = cpu_at(&p->b, nt ? at.col0 * p->ldb + k0 : k0 * p->ldb + at.col0);
	a.lines = a.rows * (a.row_bytes / 64 + 1) / times + 1;
	return a;
}

/* What this worker packs after the block at k0 of piece i: the next block, the next piece of its
 * run, or the first one of the next product. */
static struct hn_ahead
ahead_after(const struct plan *plan, int64_t i, int64_t k0, int64_t times, int32_t worker)
{
	const int64_t each = plan->n_cols * plan->n_rows, last = (i + 1) % each == 0;

	if (!plan->deep && k0 + plan->depth < plan->p->k)
		return ahead_of_b(plan, i, k0 + plan->depth, times);
	if (!last)
		return ahead_of_b(plan, i + 1, plan->deep ? k0 : 0, times);
	if (plan->deep && k0 + plan->depth < plan->p->k)
		return ahead_of_b(plan, worker * each, k0 + plan->depth, times);
	if (plan->next)
		return ahead_of_b(
			plan->next, worker * plan->next->n_cols * plan->next->n_rows, 0, times);
	return (struct hn_ahead){0};
}

/* The rows of a from `row` on, which another thread may have written; asked for during half of the
 * panels of the tile before. */
static struct hn_ahead
ahead_of_a(
	const struct plan *plan, int64_t row, int64_t m, int64_t k0, int64_t depth, int64_t panels)
{
	const struct cpu_product *p = plan->p;
	const int64_t element = hone_dtype_bytes(p->a.dtype);
	struct hn_ahead a = {.row = cpu_at(&p->a, row * p->lda + k0),
		.row_bytes = depth * element,
		.stride = p->lda * element,
		.rows = m};

	a.lines = a.rows * (a.row_bytes / 64 + 1) / ((panels + 1) / 2) + 1;
	return a;
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
	float *scratch;             /* then: a tile */
	int last;                   /* the last block of k */
	struct hn_ahead ahead;      /* of b */
	struct hn_ahead rows_ahead; /* of a, for the next tile */
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
		t->ahead = w->rows_ahead.rows > 0 && (col - w->col0) / plan->panel % 2 == 0
			? &w->rows_ahead
			: &w->ahead;
		if (tn || (w->last && p->c.p))
			fetch_addend(p, row, t->m, col, n);
		if (w->last && p->end)
			cpu_end_fetch(p->end, row, t->m, col, n);
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
		.w = steps_of(plan, depth),
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
	const struct block at = block_of(plan, i);
	const int64_t row0 = at.row0, rows = at.row1 - at.row0, col0 = at.col0, col1 = at.col1;
	const int64_t n_tiles = cpu_ceil(rows, plan->k->tile_rows);
	const int64_t n_panels = cpu_ceil(col1 - col0, plan->panel);
	uint8_t *scratch = plan->d->worker[worker].memory;
	float *const panels = (float *)(void *)scratch,
		     *const copy = (float *)(void *)(scratch + plan->a_at);
	float *const c = (float *)(void *)(scratch + plan->c_at);
	const int64_t end = plan->deep ? plan->k0 + 1 : p->k;
	const int is_first = plan->d->n_workers > 1 && i % (plan->n_cols * plan->n_rows) == 0;

	if (col0 >= col1)
		return;
	for (int64_t k0 = plan->k0; k0 < end || k0 == 0; k0 += plan->depth) {
		const int64_t depth = cpu_min(plan->depth, p->k - k0);
		struct walk w = {.plan = plan,
			.t = {.bf16 = plan->bf16, .add = k0 > 0, .steps = steps_of(plan, depth)},
			.panels = panels,
			.col0 = col0,
			.col1 = col1,
			.scratch = c,
			.ldsums = plan->deep ? cpu_round_up(p->n, plan->panel) : plan->cols,
			.last = k0 + plan->depth >= p->k};

		w.t.more = w.last ? plan->more : 0;
		pack_b(plan, panels, col0, col1, k0, depth, w.t.more);
		w.ahead = ahead_after(plan, i, k0, n_panels * n_tiles, worker);
		for (int64_t tile = 0; tile < n_tiles; tile++) {
			const int64_t row = row0 + rows * tile / n_tiles;

			w.t.m = row0 + rows * (tile + 1) / n_tiles - row;
			if (plan->deep)
				w.sums = plan->shared + row * w.ldsums + col0;
			else if (plan->depth < p->k)
				w.sums = c + (row - row0) * plan->cols;
			tile_a(plan, &w.t, copy, row, k0, depth);
			w.rows_ahead = (struct hn_ahead){0};
			if (is_first && tile + 1 < n_tiles)
				w.rows_ahead = ahead_of_a(plan, row + w.t.m,
					row0 + rows * (tile + 2) / n_tiles - row - w.t.m, k0, depth,
					n_panels);
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
		.out = plan->shared + (row - plan->m0) * steps_of(plan, depth),
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
	const int64_t row1 = cpu_min(row0 + plan->rows, plan->m1);
	const int64_t col0 = i % plan->n_cols * plan->cols, col1 = cpu_min(col0 + plan->cols, p->n);
	uint8_t *scratch = plan->d->worker[worker].memory;
	float *const panels = (float *)(void *)scratch;
	struct walk w = {.plan = plan,
		.t = {.bf16 = plan->bf16,
			.add = plan->k0 > 0 || p->accumulate,
			.steps = steps_of(plan, depth),
			.lda = tile},
		.panels = panels,
		.col0 = col0,
		.col1 = col1,
		.scratch = (float *)(void *)(scratch + plan->c_at),
		.last = 1};

	if (row0 >= row1)
		return;
	pack_b(plan, panels, col0, col1, plan->k0, depth, 0);
	for (int64_t row = row0; row < row1; row += tile) {
		w.t.m = cpu_min(tile, row1 - row);
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
		cpu_strips_piece(plan->d, run * more + j - own, worker);
}

/* All pieces at once, or block of k after block. */
static void
run_blocks(struct cpu_device *d, struct plan *plan)
{
	const int64_t n = count_pieces(plan);

	plan->n_strips = cpu_strips_take(d);
	do {
		cpu_run(d, n + cpu_round_up(plan->n_strips, d->n_workers), piece_or_strip, plan);
		plan->n_strips = 0;
		plan->k0 += plan->depth;
	} while (plan->deep && plan->k0 < plan->p->k);
}

/* Everything but scratch. */
static struct plan
plan_of(const struct cpu_device *d, const struct cpu_product *p)
{
	struct plan plan = {.p = p, .d = d, .k = d->k, .bf16 = cpu_product_bf16(d, p)};

	plan.direct = cpu_product_direct(&p->a, p->lda, p->k, plan.bf16);
	plan.u_direct = cpu_product_direct(&p->u, p->ldu, p->r, plan.bf16);
	/* A probe knows no joined product: as many steps as one may add. */
	plan.more = steps_of(&plan, d->is_probe && p->form != CPU_TN ? HN_NARROW : p->r);
	plan_make(&plan);
	return plan;
}

/* Shared scratch: TN: a, packed; deep: sums. */
static uint64_t
shared_of(const struct plan *plan)
{
	const struct cpu_product *p = plan->p;

	if (p->form == CPU_TN)
		return (uint64_t)((plan->chunk + 16) * steps_of(plan, plan->depth) * 4);
	return plan->deep ? (uint64_t)(p->m * cpu_round_up(p->n, plan->panel)) * 4 : 0;
}

uint64_t
cpu_product_shared(const struct cpu_device *d, const struct cpu_product *p)
{
	const struct plan plan = plan_of(d, p);

	return shared_of(&plan);
}

enum hone_status
cpu_product_run(struct cpu_device *d, const struct cpu_product *p, const struct cpu_product *next,
	uint64_t shared, struct hone_error *err)
{
	struct plan plan, after;
	uint64_t more;
	enum hone_status st;

	if (p->m == 0 || p->n == 0)
		return HONE_OK;
	plan = plan_of(d, p);
	if (next) {
		after = plan_of(d, next);
		plan.next = &after;
	}
	more = shared_of(&plan);
	st = cpu_reserve(d, shared + more, plan.bytes, err);
	if (st)
		return st;
	plan.shared = more ? (float *)(void *)(d->shared.memory + shared) : NULL;
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
	if (c->n_in > 2 && c->in[2].rank > 0)
		p.c = cpu_mat_of(&c->in[2], run);
	return p;
}

/* Commands to look through for the next product. */
#define LOOK_AHEAD 12

/* The next general product with a dense b, whose first panels can be asked for already. */
static int
find_next(const struct cpu_call *call, struct cpu_product *next)
{
	const uint8_t *at = call->later;

	for (uint32_t i = 0; i < call->n_later && i < LOOK_AHEAD; i++, at += call->stride) {
		const struct hone_command *c = (const void *)at;

		if (c->op != HONE_OP_MATMUL || c->in[1].storage)
			continue;
		*next = cpu_product_of(c, call->run);
		if (next->form != CPU_TN && !cpu_product_is_thin(next) && next->k > HN_NARROW &&
			next->m > 0 && next->n > 0)
			return 1;
	}
	return 0;
}

enum hone_status
cpu_matmul(const struct cpu_call *call, struct hone_error *err)
{
	struct cpu_product p = cpu_product_of(call->c, call->run), next;
	const struct hone_operand *b = &call->c->in[1];
	struct cpu_end end;

	if (call->joined) {
		const struct cpu_product earlier = cpu_product_of(call->joined, call->run);

		if (earlier.k >= p.k)
			b = &call->joined->in[1];
		p = cpu_join_product(&earlier, &p);
	}
	if (p.c.p && p.form == CPU_TN)
		start_from_c(call, &p);
	if (b->storage)
		return cpu_product_stored(call, b, &p, err);
	if (cpu_product_is_thin(&p))
		return cpu_product_thin(call, &p, err);
	cpu_end_find(call, &p, &end);
	if (end.n)
		p.end = &end;
	return cpu_product_run(call->d, &p, find_next(call, &next) ? &next : NULL, 0, err);
}
