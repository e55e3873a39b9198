/*
 * attention.h - what the two directions of attention share.
 *
 * A segment's keys are walked in blocks of at most ATTENTION_KEYS rows, first those of the
 * prefix, then its own; a block never holds both, so what a query sees of a block is one
 * range.  Queries are walked in blocks of ATTENTION_ROWS positions, head by head, in tiles
 * of rows.  Scores exist only as a tile (forward) or a block (backward).
 */
#ifndef HN_CPU_ATTENTION_H
#define HN_CPU_ATTENTION_H

#include "cpu.h"

#define ATTENTION_KEYS 128 /* of a block; at most what leaf_attention.h allows */
#define ATTENTION_ROWS 96  /* query positions of a block: even, whole tiles on all paths */

struct attention {
	const struct cpu_call *call;
	const struct hn_cpu_kernels *k;
	const struct hone_attr_attention *attr;
	struct cpu_mat q, key, v, prefix_k, prefix_v;
	const int32_t *q_offsets, *kv_ranges;
	int64_t S, H, G, K, group; /* segments; heads; key heads; width; H / G */
	int64_t P;                 /* prefix rows */
	int64_t wide;              /* K in whole registers: row of an f32 accumulator */
	int64_t words;             /* 32-bit words of K in the compute type */
	int32_t bf16, pad;
};

/* One segment: query rows q0 .. q0 + T, key rows k0 .. k0 + U. */
struct segment {
	int64_t q0, T, k0, U;
};

/* n keys: rows `row`.. of the prefix or of the key stream. */
struct key_block {
	int64_t row, n;
	int64_t first; /* index of the first among the segment's own keys */
	int32_t prefix;
};

void attention_open(struct attention *a, const struct cpu_call *call, uint32_t q, uint32_t offsets);
struct segment attention_segment(const struct attention *a, int64_t s);

/* Block i of the keys of a segment, counted through the prefix; blocks, prefix included. */
int64_t attention_blocks(const struct attention *a, const struct segment *s);
struct key_block attention_block(const struct attention *a, const struct segment *s, int64_t i);

/* What queries i .. i + m see of a block: [low, high) for each, and the most of any; 0 when
 * none sees anything. */
int64_t attention_visible(const struct attention *a, const struct segment *s,
	const struct key_block *b, int64_t i, int64_t m, int32_t *low, int32_t *high);

/* Packs n rows of head `head` of x: along the head (for q k^T), or along the rows. */
void attention_pack(const struct attention *a, float *out, const struct cpu_mat *x, int64_t row,
	int64_t n, int64_t head, int along_rows);

/* c [m, n] (+)= a b; m at most a tile.  b's panels were packed for n_packed columns (which
 * decides their widths) and are `packed` steps deep; less of both may be used. */
struct attention_product {
	int64_t m, n, n_packed, steps, packed;
	int64_t skip; /* steps of b left out at the front; a begins behind them */
	const void *a;
	int64_t lda; /* words */
	int32_t k_order, add;
	const float *b;
	float *c;
	int64_t ldc;
};
void attention_multiply(const struct attention *a, const struct attention_product *p);

/* m rows of head `head` of x for a tile: in place where that is possible, else a copy. */
const void *attention_rows(const struct attention *a, const struct cpu_mat *x, int64_t row,
	int64_t m, int64_t head, float *copy, int64_t *lda);

/* n floats of a worker's scratch, whole cache lines; memory NULL only counts. */
static inline float *
attention_take(float *memory, int64_t *at, int64_t n)
{
	float *p = memory ? memory + *at : NULL;

	*at += cpu_round_up(n, 16);
	return p;
}

#endif
