/*
 * attention.h - what the two directions of attention share.
 *
 * A segment's keys are walked in blocks, first those of the prefix, then its own; a block
 * never holds both, so what a query sees of a block is one range.  The queries of all heads
 * of one key head are the columns of a segment: column e is position e / group, head
 * e % group.  Columns are taken in strips (leaf_attention.h).  Scores exist only as a strip
 * against a block (forward) or a tile of it (backward).
 */
#ifndef HN_CPU_ATTENTION_H
#define HN_CPU_ATTENTION_H

#include "cpu.h"

#define ATTENTION_STRIP 48 /* columns of a strip at most: HN_PANELS widest registers */

struct attention {
	const struct cpu_call *call;
	const struct hn_cpu_kernels *k;
	const struct hone_attr_attention *attr;
	struct cpu_mat q, key, v, prefix_k, prefix_v;
	const int32_t *q_offsets, *kv_ranges;
	int64_t S, H, G, K, group; /* segments; heads; key heads; width; H / G */
	int64_t P;                 /* prefix rows */
	int64_t wide;              /* K in whole registers */
	int64_t words;             /* 32-bit words of K in the compute type */
	int64_t strip;             /* columns of a strip */
	int64_t keys;              /* of a block at most */
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

void attention_open(struct attention *a, const struct cpu_call *call, uint32_t q, uint32_t offsets,
	int64_t keys);
struct segment attention_segment(const struct attention *a, int64_t s);

/* The keys of a piece: own ones [from, to) of the segment, and the prefix before them or not. */
struct key_run {
	int64_t from, to;
	int32_t with_prefix, pad;
};

/* Block i of a run, and how many there are. */
int64_t attention_blocks(const struct attention *a, const struct key_run *run);
struct key_block attention_block(
	const struct attention *a, const struct segment *s, const struct key_run *run, int64_t i);

/* What columns [e, end) see of a block. */
enum attention_sight { ATTENTION_NONE, ATTENTION_SOME, ATTENTION_ALL };
enum attention_sight attention_sees(const struct attention *a, const struct segment *s,
	const struct key_block *b, int64_t e, int64_t end);

/* For SOME: the keys [low, high) of the block that each column of the strip from e sees. */
void attention_ranges(const struct attention *a, const struct segment *s, const struct key_block *b,
	int64_t e, int64_t end, int32_t *low, int32_t *high);

/* The rows of x behind the columns [e, end) of a strip; `rest` for the rest of it. */
void attention_rows(const struct attention *a, const struct segment *s, const struct cpu_mat *x,
	int64_t g, int64_t e, int64_t end, float *rest, uint8_t *row[ATTENTION_STRIP]);

/* The same rows, to be fetched. */
struct hn_fetch attention_fetch(const struct attention *a, const struct segment *s,
	const struct cpu_mat *x, int64_t g, int64_t e, int64_t end);

/* Share i of n of the keys or the values of a block, to be fetched. */
struct hn_fetch attention_fetch_keys(const struct attention *a, const struct key_block *b,
	int values, int64_t g, int64_t i, int64_t n);

/* The f32 of x [rows, heads] for the same columns; those not in use are 0. */
void attention_gather(const struct attention *a, const struct segment *s, const struct cpu_mat *x,
	int64_t g, int64_t e, int64_t end, float *out);

/* The keys of a block, head g: in place where that is possible, else copied. `copy` holds
 * attention_copy_floats(a). */
struct hn_rows attention_keys(const struct attention *a, const struct cpu_mat *x,
	const struct key_block *b, int64_t g, float *copy);
int64_t attention_copy_floats(const struct attention *a);

/* The keys of a block by tiles of depth; out holds keys x wide floats. */
void attention_depths(const struct attention *a, const struct cpu_mat *x, const struct key_block *b,
	int64_t g, float *out);

/* Segments of so few columns are left to cpu_attention_few. */
#define ATTENTION_FEW 8
static inline int
attention_is_few(const struct attention *a, const struct segment *s)
{
	return s->T > 0 && s->T * a->group <= ATTENTION_FEW;
}

/* n floats of a worker's scratch, whole cache lines; memory NULL only counts. */
static inline float *
attention_take(float *memory, int64_t *at, int64_t n)
{
	float *p = memory ? memory + *at : NULL;

	*at += cpu_round_up(n, 16);
	return p;
}

#endif
