/*
 * product_plan.h - how a general product is cut into pieces, and what a piece packs (product_plan.c,
 * product_panels.c); product.c runs them.
 */
#ifndef HN_CPU_PRODUCT_PLAN_H
#define HN_CPU_PRODUCT_PLAN_H

#include "product.h"

struct plan {
	const struct cpu_product *p;
	const struct cpu_device *d;
	const struct hn_cpu_kernels *k;
	int32_t bf16, direct, u_direct;
	int64_t more;                  /* steps of u v, in the last block of k */
	int64_t rows, cols, depth;     /* of a block; depth is even */
	int64_t n_rows, n_cols;        /* blocks; NT, NN: n_cols of each thread's run of columns */
	int64_t run;                   /* NT, NN: columns of a run */
	int64_t panel;                 /* columns of a full panel */
	int64_t unit;                  /* NT, NN: columns that nothing divides, whole panels */
	int64_t granule;               /* NT, NN: pieces begin at multiples of it, runs need not */
	uint64_t a_at, c_at, bytes;    /* scratch of a worker: b at 0, a, c, a slab of a stored b */
	uint64_t slab_at, place_bytes; /* place: for the panels of one block of k */
	int64_t places;
	int64_t slab_k;    /* rows of a slab along k */
	int32_t deep, pad; /* NT, NN: one block of k after the other, for all pieces */
	float *shared;     /* TN: a, packed, of a chunk at k0; deep: sums [m, n] */
	int64_t k0;
	int64_t chunk, m0, m1;   /* TN: rows of y at a time, and those at hand */
	int64_t a_rows;          /* TN: of a piece that packs a */
	int64_t n_strips;        /* pieces that run beside: product_strips.c */
	const struct plan *next; /* the product after this one, NULL = unknown */
};

/* NT, NN: the part of y that piece i forms; it may be empty. */
struct block {
	int64_t row0, row1, col0, col1;
};

/* Everything but memory and `next`. */
struct plan cpu_plan_of(const struct cpu_device *d, const struct cpu_product *p);

/* Bytes of shared scratch: TN: a, packed; deep: sums. */
uint64_t cpu_plan_shared(const struct plan *plan);

/* NT, NN: pieces of the product; which block one forms. */
int64_t cpu_plan_pieces(const struct plan *plan);
struct block cpu_plan_block(const struct plan *plan, int64_t i);

/* Words along k of a block of `depth` elements. */
static inline int64_t
cpu_plan_steps(const struct plan *plan, int64_t depth)
{
	return plan->bf16 ? (depth + 1) / 2 : depth;
}

/* The columns of b that a piece needs, of the block at k0, as panels; with v when `more` is set.
 * They stay with the worker for the next rows.  [worker] */
const float *cpu_panels_of(
	const struct plan *plan, int32_t worker, const struct block *at, int64_t k0, int64_t more);

/* What this worker packs after the block at k0 of piece i: the next block, the next piece of its
 * run, or the first one of the next product; shared out over `times` tiles. */
struct hn_ahead cpu_panels_ahead(
	const struct plan *plan, int64_t i, int64_t k0, int64_t times, int32_t worker);

#endif
