/*
 * product_plan.c - how a general product is cut.
 *
 * NT, NN: y [m, n] is dealt out in runs of columns, one for each thread, and each in pieces whose
 * packed panels stay in L2, by blocks of rows.  TN: even blocks, chunks of y whose packed a stays
 * in L2.  k is cut by sizes alone, never by threads.  A stored b is cut where its blocks end, and
 * what follows a product says which columns belong together (end.c).
 */
#include "joined.h"
#include "product_plan.h"

#define B_BYTES  (384 * 1024) /* packed columns of a piece: L2, beside a */
#define ROWS_MAX 516          /* rows of a piece, a multiple of every tile */
#define WIDEST   192          /* columns of a piece, where blocks of a stored b are not wider */
#define BLOCKS   256          /* ... and at most */
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

/* TN: pieces worth having.  One thread is best served by few and wide ones.  Their number changes
 * no sum, for k is cut without it. */
static int64_t
pieces_wanted(const struct cpu_device *d)
{
	return d->n_workers > 1 ? cpu_min(PIECES, EACH * d->n_workers) : 1;
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
	const int64_t begins = plan->d->n_workers > 1 ? plan->granule - plan->unit : 0;

	plan->run = cpu_round_up(cpu_ceil(plan->p->n, plan->d->n_workers), plan->unit);
	plan->n_cols = cpu_ceil(plan->run + begins, plan->cols);
}

int64_t
cpu_plan_pieces(const struct plan *plan)
{
	return plan->d->n_workers * plan->n_cols * plan->n_rows;
}

/* A run is cut as if it began at the granule that its first column is in. */
struct block
cpu_plan_block(const struct plan *plan, int64_t i)
{
	const int64_t each = plan->n_cols * plan->n_rows, j = i % each;
	const int64_t first = i / each * plan->run, end = cpu_min(first + plan->run, plan->p->n);
	const int64_t col = first / plan->granule * plan->granule + j / plan->n_rows * plan->cols;
	const int64_t row = j % plan->n_rows * plan->rows;

	return (struct block){.row0 = row,
		.row1 = cpu_min(row + plan->rows, plan->p->m),
		.col0 = cpu_min(cpu_max(col, first), end),
		.col1 = cpu_min(col + plan->cols, end)};
}

/* Blocks of a stored b that runs along k (NT) are not cut by blocks of k, of one that runs along
 * the columns (NN) not by pieces; where they are too long for either they are decoded twice. */
static void
fit_blocks(struct plan *plan)
{
	const struct cpu_product *p = plan->p;
	const int64_t unit = p->stored ? cpu_slab_unit(p->stored) : 1;
	const int64_t pairs = cpu_multiple(unit, 2);
	int64_t wide, most;

	plan->unit = cpu_multiple(plan->panel, p->end ? p->end->unit : 1);
	plan->granule = plan->unit;
	wide = cpu_multiple(unit, plan->unit);
	if (p->form == CPU_NT && plan->depth < p->k && pairs <= plan->depth)
		plan->depth = cpu_round_up(plan->depth, pairs);
	if (p->form != CPU_NN || wide > BLOCKS)
		return;
	plan->granule = wide;
	most = B_BYTES / (plan->bf16 ? 2 : 4) / wide;
	if (plan->depth > most)
		plan->depth = cpu_round_up(cpu_ceil(p->k, cpu_ceil(p->k, most)), 2);
}

/* The slab of a stored b, behind all else in a worker's scratch. */
static void
fit_slab(struct plan *plan)
{
	const struct cpu_product *p = plan->p;
	const int64_t across = p->form == CPU_NT ? plan->panel : plan->cols;

	plan->slab_k = plan->depth;
	plan->slab_at = plan->bytes;
	if (!p->stored)
		return;
	plan->slab_k = cpu_slab_k(p->stored, p->form, across, plan->depth);
	plan->slab_at = (uint64_t)cpu_round_up((int64_t)plan->bytes, 64);
	plan->bytes = plan->slab_at +
		(p->form == CPU_NT ? cpu_slab_bytes(p->stored, across, plan->slab_k)
				   : cpu_slab_bytes(p->stored, plan->slab_k, across));
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
	fit_blocks(plan);
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
	cols = cpu_min(B_BYTES / (plan->depth * element), WIDEST) / plan->granule * plan->granule;
	plan->cols = cpu_max(cols, plan->granule);
	if (tn)
		cut_evenly(plan, pieces);
	else
		cut_runs(plan);

	steps = cpu_plan_steps(plan, plan->depth) + plan->more;
	/* What is decoded is kept for the next rows, all blocks of k of it. */
	plan->place_bytes = (uint64_t)cpu_round_up(plan->cols * steps * 4, 64);
	plan->places = p->stored && !plan->deep && plan->n_rows > 1
		? cpu_min(cpu_ceil(p->k, plan->depth), CPU_HELD)
		: 1;
	plan->places = cpu_max(plan->places, 1);
	plan->a_at = plan->place_bytes * (uint64_t)plan->places;
	plan->c_at = plan->a_at + (uint64_t)cpu_round_up(tn ? 0 : tile * steps * 4, 64);
	plan->bytes = plan->c_at +
		(uint64_t)(plan->depth < p->k && !tn && !plan->deep ? plan->rows * plan->cols
								    : tile * plan->panel) *
			4;
	fit_slab(plan);
}

struct plan
cpu_plan_of(const struct cpu_device *d, const struct cpu_product *p)
{
	struct plan plan = {.p = p, .d = d, .k = d->k, .bf16 = cpu_product_bf16(d, p)};

	plan.direct = cpu_product_direct(&p->a, p->lda, p->k, plan.bf16);
	plan.u_direct = cpu_product_direct(&p->u, p->ldu, p->r, plan.bf16);
	/* A probe knows no joined product: as many steps as one may add. */
	plan.more = cpu_plan_steps(&plan, d->is_probe && p->form != CPU_TN ? HN_NARROW : p->r);
	plan_make(&plan);
	return plan;
}

uint64_t
cpu_plan_shared(const struct plan *plan)
{
	const struct cpu_product *p = plan->p;

	if (p->form == CPU_TN)
		return (uint64_t)((plan->chunk + 16) * cpu_plan_steps(plan, plan->depth) * 4);
	return plan->deep ? (uint64_t)(p->m * cpu_round_up(p->n, plan->panel)) * 4 : 0;
}
