/*
 * product_panels.c - the panels of b that a piece packs, and what it asks of memory ahead of that.
 *
 * Panels are of the compute type, whatever b is.  A stored (quantised) b is decoded inside the
 * packing, a slab at a time (product_stored.c): no dense copy of it exists.  Row blocks of the
 * same columns follow each other, and a worker that still holds those columns packs nothing.
 * Between the steps of its tiles a piece asks for what the worker packs next.
 */
#include <hone/storage.h>

#include "product_plan.h"

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

/* The same of a stored b, a slab of it after the other: NT: of one panel, NN: of all. */
static void
pack_stored(const struct plan *plan, uint8_t *memory, float *out, const struct block *at,
	int64_t k0, int64_t depth, int64_t steps)
{
	const int nt = plan->p->form == CPU_NT;
	const int64_t across = nt ? plan->panel : at->col1 - at->col0;
	struct cpu_slab slab = {.from = plan->p->stored, .bf16 = plan->bf16, .memory = memory};

	for (int64_t col = at->col0; col < at->col1; col += across, out += across * steps) {
		const int64_t n = cpu_min(across, at->col1 - col);

		for (int64_t k = 0; k < depth; k += plan->slab_k) {
			const int64_t some = cpu_min(plan->slab_k, depth - k);
			struct source from = {
				.mat = &slab.mat, .depth = some, .at = cpu_plan_steps(plan, k)};

			if (nt)
				cpu_slab_read(&slab, col, n, k0 + k, some);
			else
				cpu_slab_read(&slab, k0 + k, some, col, n);
			from.ld = slab.ld;
			pack_source(plan, &from, out, 0, n, steps);
		}
	}
}

const float *
cpu_panels_of(
	const struct plan *plan, int32_t worker, const struct block *at, int64_t k0, int64_t more)
{
	const struct cpu_product *p = plan->p;
	const int64_t depth = cpu_min(plan->depth, p->k - k0), steps = cpu_plan_steps(plan, depth);
	const int64_t col = at->col0, end = at->col1, key = col * p->k + k0;
	const int64_t place = k0 / plan->depth % plan->places;
	struct cpu_scratch *scratch = &plan->d->worker[worker];
	float *out = (float *)(void *)(scratch->memory + (uint64_t)place * plan->place_bytes);
	const struct source b = {.mat = &p->b, .ld = p->ldb, .k0 = k0, .depth = depth};
	const struct source v = {.mat = &p->v, .ld = p->ldv, .depth = p->r, .at = steps};

	if (p->form != CPU_TN && scratch->held[place] == key)
		return out;
	scratch->held[place] = key;
	if (p->stored)
		pack_stored(
			plan, scratch->memory + plan->slab_at, out, at, k0, depth, steps + more);
	else
		pack_source(plan, &b, out, col, end, steps + more);
	if (more)
		pack_source(plan, &v, out, col, end, steps + more);
	return out;
}

/* ---- Fetching ahead ---- */

/* Bytes from one element of b to the one `n` behind it; NT, NN: n is whole blocks, rounded up. */
static int64_t
b_bytes(const struct cpu_product *p, int64_t n)
{
	const int64_t unit = p->stored ? cpu_slab_unit(p->stored) : 1;

	return cpu_ceil(n, unit) *
		(p->stored ? (int64_t)p->stored->storage->block_bytes
			   : hone_dtype_bytes(p->b.dtype));
}

/* The block of b that piece i packs for k0, shared out over `times` tiles; of a stored one what
 * is in its first part, nothing where blocks straddle rows. */
static struct hn_ahead
ahead_of_b(const struct plan *plan, int64_t i, int64_t k0, int64_t times)
{
	const struct cpu_product *p = plan->p;
	const struct block at = cpu_plan_block(plan, i);
	const int64_t cols = at.col1 - at.col0, depth = cpu_min(plan->depth, p->k - k0);
	const int nt = p->form == CPU_NT;
	struct hn_ahead a = {.row_bytes = b_bytes(p, nt ? depth : cols),
		.stride = b_bytes(p, p->ldb),
		.rows = nt ? cols : depth};

	if (cols <= 0 || depth <= 0)
		return (struct hn_ahead){0};
	if (p->stored && cpu_slab_unit(p->stored) == 1)
		return (struct hn_ahead){0};
	if (p->stored)
		a.row_bytes += 63; /* rows begin anywhere in a line */
	a.row = p->b.p + (nt ? at.col0 : k0) * a.stride + b_bytes(p, nt ? k0 : at.col0);
	a.lines = a.rows * (a.row_bytes / 64 + 1) / times + 1;
	return a;
}

struct hn_ahead
cpu_panels_ahead(const struct plan *plan, int64_t i, int64_t k0, int64_t times, int32_t worker)
{
	const int64_t each = plan->n_cols * plan->n_rows, last = (i + 1) % each == 0;
	const int all = plan->deep || cpu_ceil(plan->p->k, plan->depth) <= plan->places;

	if (all && (i + 1) % plan->n_rows)
		return (struct hn_ahead){0}; /* the next piece finds its panels */
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
