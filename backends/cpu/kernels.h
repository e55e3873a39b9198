/*
 * kernels.h - the table of inner loops that a kernel path offers to the operations.
 *
 * The operations (product.c, attention.c, pointwise.c ...) are compiled once: they check
 * operands, split work by sizes and walk blocks.  The loops that touch every element are in
 * leaf_*.h, compiled once per path by path_*.c; this table is how one is called.  Adding a
 * path is one more path_*.c and a line in cpu_path.c.
 *
 * All lengths are in elements unless a name says otherwise.  Nothing here allocates or fails.
 */
#ifndef HN_CPU_KERNELS_H
#define HN_CPU_KERNELS_H

#include <stdint.h>

#define HN_THIN 8 /* rank up to which products take their thin forms */

/* Memory that is wanted soon: `rows` runs of bytes, `stride` apart.  A tile asks for some lines of
 * it between its steps, for L2: the processor's own prefetching ends with each row, and asked for
 * at once they would wait for each other. */
struct hn_ahead {
	const uint8_t *row; /* being asked for, from byte `at` */
	int64_t at, row_bytes, stride, rows;
	int64_t lines; /* that a tile asks for at most */
};

/* c [m, w] (+)= a b [+ u v]; see leaf_product.h for the two orders of a.  lda, ldu in 32-bit
 * words. */
struct hn_tile {
	int32_t bf16; /* 1: a and b hold bf16 pairs; 0: f32 */
	int32_t add;  /* 1: add to c */
	int64_t m, w, steps;
	const void *a;
	int64_t lda;
	const void *b;
	float *c;
	int64_t ldc;
	const void *u; /* row order: rows of `more` words, whose steps of v follow those of b */
	int64_t ldu, more;
	uint16_t *y;          /* not NULL: the result goes here as bf16, not to c */
	const uint16_t *plus; /* NULL, or bf16 laid out as y that is added to it */
	int64_t ldy;
	struct hn_ahead *ahead; /* NULL, or what to ask for meanwhile */
};

/* n columns (or rows) of k elements from a dense matrix into the layout of a panel w wide;
 * pack_nn: into as many panels as n needs, one behind the other.  What is missing up to w
 * columns or an even k is written as 0. */
struct hn_pack {
	int32_t bf16;  /* type of the panel: 1 = pairs of bf16, 0 = f32 */
	int32_t dtype; /* of `in` */
	void *out;
	int64_t w;
	const void *in; /* at the first element wanted */
	int64_t ld;     /* elements from row to row of `in` */
	int64_t n, k;
	int64_t steps; /* pack_nn: of a whole panel, 0 = those of k */
};

/* c [8, n] = a^T b: a in K order, 8 words a step; b [k, n] dense, ldb elements a row. */
struct hn_thin {
	int32_t bf16, dtype;
	const float *a;
	const void *b;
	int64_t ldb, n, k;
	float *c;
	int64_t ldc;
};

/* How rows of a weight lie in memory that products of a few rows read as they are; those whose
 * x is read in its own order come first. */
enum hn_packing {
	HN_PACKED_NONE,
	HN_PACKED_F32,
	HN_PACKED_F16,
	HN_PACKED_BF16,
	HN_PACKED_Q8_0,
	HN_PACKED_Q4_0,
	HN_PACKED_Q4_1,
	HN_PACKED_Q4_K,
	HN_PACKED_Q6_K,
};

/* Floats that packed_turn fills for k elements: x, and sums of its blocks. */
#define HN_PACKED_X(k)    (((k) + 255) / 256 * 256)
#define HN_PACKED_SUMS(k) (HN_PACKED_X(k) / 8)

/* out [m <= HN_THIN][n] = x w^T: rows of x and sums as packed_turn makes them. */
struct hn_packed {
	int32_t packing; /* enum hn_packing */
	int32_t pad;
	int64_t m, n, k;
	const void *w; /* n rows, one behind the other */
	const float *x, *sums;
	int64_t ldx, ld_sums;
	float *out;
	int64_t ldo;
};

/* y [m, n] = tile [+ c]. */
struct hn_finish {
	int64_t m, n;
	const float *tile;
	int64_t ldt;
	void *y;
	int64_t ldy;
	const void *c; /* NULL = none */
	int64_t ldc;
	int32_t y_dtype, c_dtype;
};

/* Registers of columns in a strip of attention; see leaf_attention.h. */
#define HN_PANELS 3

/* Rows of words, and a copy of the last ones, padded to whole tiles. */
struct hn_rows {
	const float *p;
	int64_t ld;
	const float *tail;
	int64_t ld_tail;
};

#define HN_FETCHES 8 /* lists of a strip at most */

/* n rows of so many bytes, ld bytes apart, that will be read or written soon. */
struct hn_fetch {
	const uint8_t *p;
	int64_t ld, n, bytes;
};

/* A strip of columns against one block of keys, forward or backward. */
struct hn_strip {
	int32_t bf16;
	float scale, softcap; /* softcap 0 = none */
	int32_t pad;
	int64_t n;                 /* keys */
	int64_t words, depth;      /* of a head: steps; rows of acc, whole registers */
	int64_t columns;           /* in use */
	const int32_t *low, *high; /* [strip] keys [low, high) are seen; NULL = all are */
	struct hn_rows key, value; /* value: backward */
	const float *q;            /* [words][strip] */
	const float *value_t;      /* by tiles of depth: values; backward: keys */
	float *acc;                /* [depth][strip]: o, or dq */
	float *scores;             /* forward: [keys in whole tiles][strip] */
	float *top, *total;        /* forward: [strip] running maximum (times log2 e) and sum */
	const float *dout;         /* backward, as q */
	const float *lse, *delta;  /* [strip] of the forward; sum of do o */
	float *p, *ds;             /* [keys in whole tiles][ld_rows] of the compute type */
	int64_t ld_rows;           /* columns */
	float *ds_t;               /* bf16: [keys / 2][strip] pairs along the keys */
	int64_t panel;             /* this strip's first, among those of p */
	uint16_t *panels;          /* [tiles][2] panels of p that hold something */
	const struct hn_fetch *fetch;
	int64_t n_fetch;
};

/* Few columns, so that lanes are better taken along the head: forward, one block of keys. */
struct hn_few {
	int32_t bf16, value_dtype;
	float scale, softcap;
	int64_t columns, n, k;     /* k elements of a head */
	const int32_t *low, *high; /* [columns] keys [low, high) are seen */
	struct hn_rows key;        /* the tail is not read */
	const void *value;         /* rows in place, ld_value elements apart */
	int64_t ld_value;
	const float *q; /* [columns][ld_q] words of the compute type */
	int64_t ld_q;
	float *scores; /* [n in whole registers] */
	float *top, *total;
	float *o; /* [columns][ld_o] */
	int64_t ld_o;
};

/* dv and dk [keys in whole tiles][wide] of a block, over the columns of some strips. */
struct hn_strip_keys {
	int32_t bf16, pad;
	int64_t n;
	const uint16_t *panels;
	const float *p, *ds;
	int64_t ld_rows;       /* words */
	const float *q, *dout; /* [columns, in steps][wide] */
	int64_t wide;
	float *dk, *dv;
};

/* Rows of k elements that are the columns of a strip. */
struct hn_columns {
	int32_t bf16, dtype, other_dtype, pad;
	int64_t k;
	uint8_t *const *row, *const *other; /* [strip] */
	float *out;
	const float *factor; /* [strip] */
};

/* One head of one row: n pairs, (j, j + n) or interleaved; sign -1 turns backward. */
struct hn_rotate {
	int32_t bf16, interleaved; /* 1 = x and y are bf16, 0 = f32 */
	void *y;
	const void *x;
	const float *cosine, *sine;
	int64_t n;
	float sign;
	int32_t pad;
};

/* Dropout of one row: y = x factor where draw >> 8 >= threshold, else 0. */
struct hn_keep {
	float *y;
	const float *x;
	int64_t n, column;       /* of element 0, a multiple of 64 */
	uint32_t key[2], row[2]; /* of Philox: key, low words of the counter */
	uint32_t threshold;
	float factor;
};

/* One run of AdamW on n elements; constants are already combined. */
struct hn_adamw {
	float *p, *m, *v;
	const float *g;
	float factor, decay;              /* of g; of p: 1 - lr wd */
	float beta1, gain1, beta2, gain2; /* gain = 1 - beta */
	float step, root, eps;            /* lr / bias1, 1 / sqrt(bias2) */
};

/* One row of an RMS norm, all of one type: y = x rstd w; or, with dy, y is the gradient of x. */
struct hn_rms {
	int32_t bf16, pad;
	int64_t n;
	const void *x, *dy;
	const float *w;
	void *y;
};

/* A gate: h = f(x) u; s, NULL or what f(x) is stored to.  All of one type, m rows of n elements,
 * ld apart. */
struct hn_gate {
	int32_t kind, bf16; /* enum hone_unary; 1 = bf16, 0 = f32 */
	int64_t m, n, ld;
	const void *x, *u;
	void *s, *h;
};

/* Its gradients: dx = f'(x) (d u), du = d s. */
struct hn_gate_back {
	int32_t kind, bf16;
	int64_t m, n, ld;
	const void *x, *u, *s, *d;
	void *dx, *du;
};

struct hn_cpu_kernels {
	const char *name;
	int32_t lanes;     /* f32 in a register; a panel is this or twice this wide */
	int32_t tile_rows; /* rows of a tile at most */
	int32_t bf16;      /* 1: tiles of bf16 exist */
	int32_t key_rows;  /* keys of a tile of attention */

	/* leaf_product.h */
	void (*tile_row_order)(const struct hn_tile *t);
	void (*tile_k_order)(const struct hn_tile *t);
	void (*pack_nt)(const struct hn_pack *p);
	void (*pack_nn)(const struct hn_pack *p);
	void (*pack_copy)(const struct hn_pack *p);
	void (*dots)(const struct hn_tile *t);
	void (*thin)(const struct hn_thin *t);
	void (*finish)(const struct hn_finish *f);

	/* leaf_packed.h */
	void (*packed_turn)(int32_t packing, const float *x, int64_t k, float *out, float *sums);
	void (*packed)(const struct hn_packed *p);

	/* leaf_attention.h */
	void (*attend)(const struct hn_strip *s);
	void (*attend_few)(const struct hn_few *s);
	void (*attend_back)(const struct hn_strip *s);
	void (*attend_keys)(const struct hn_strip_keys *s);
	void (*pack_columns)(const struct hn_columns *x);
	void (*pack_steps)(const struct hn_columns *x);
	void (*pack_depths)(const struct hn_pack *x);
	void (*unpack_columns)(const struct hn_columns *x);
	void (*dot_columns)(const struct hn_columns *x);
	void (*end_columns)(const float *top, const float *total, float *lse, float *factor);

	/* leaf_rows.h: y, x, a, b are f32 of n elements; y may be x. */
	void (*to_f32)(float *y, const void *x, int32_t dtype, int64_t n);
	void (*from_f32)(void *y, int32_t dtype, const float *x, int64_t n);
	void (*unary)(int32_t kind, float *y, const float *x, int64_t n);
	void (*unary_back)(int32_t kind, float *dx, const float *dy, const float *x, int64_t n);
	float (*rms_norm)(const struct hn_rms *r, double eps); /* gives rstd */
	void (*rms_norm_back)(const struct hn_rms *r, float rstd);
	void (*gate)(const struct hn_gate *g);
	void (*gate_back)(const struct hn_gate_back *g);
	void (*binary)(int32_t kind, float *y, const float *a, const float *b, int64_t n);
	void (*binary_scalar)(int32_t kind, float *y, const float *a, float b, int64_t n);
	void (*affine)(float *y, const float *x, float alpha, float beta, int64_t n);
	void (*axpy)(float *y, const float *x, float alpha, int64_t n); /* y += alpha x */
	void (*pick_max)(float *y, const float *x, int64_t n);          /* y = max(y, x) */
	double (*sum)(const float *x, int64_t n);
	double (*dot)(const float *a, const float *b, int64_t n);
	double (*square_about)(const float *x, float mean, int64_t n); /* sum (x - mean)^2 */
	float (*top)(const float *x, int64_t n);
	double (*sum_exp)(const float *x, float top, int64_t n); /* sum e^(x - top) */
	void (*normalize)(float *y, const float *x, float mean, float rstd, const float *w,
		const float *b, int64_t n); /* (x - mean) rstd w + b; b may be NULL */
	void (*softmax_grad)(float *dx, const float *x, float lse, float d, float uniform,
		int64_t n); /* d (e^(x - lse) - uniform) */
	void (*rotate)(const struct hn_rotate *r);
	void (*keep)(const struct hn_keep *d);
	void (*adamw)(const struct hn_adamw *u, int64_t n);
};

extern const struct hn_cpu_kernels hn_cpu_avx512_bf16, hn_cpu_avx512, hn_cpu_avx2, hn_cpu_portable;

#endif
