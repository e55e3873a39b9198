/*
 * hone/op.h - the operations of a graph: names, operands, attributes, results.
 *
 * This list is the definition that every backend is held to; `reference` is its scalar
 * implementation.  Legend: N rows of a row space (live rows only; rows beyond the live count
 * are neither read nor written), D columns, I in, O out, H heads, G key/value heads, K head
 * width, S segments, V vocabulary, M selected rows.
 *
 * Rules for all: tensors are dense and row-major; "compute" is the program's activation
 * type (f32 or bf16; f64 on reference), "stat" is f32 (f64 when compute is f64); sums are
 * accumulated in f32 or better; every operand may be f32, bf16 or f16 unless said
 * otherwise, and the kernel converts, rounding once, to nearest even.  With 0 live rows an
 * op over rows writes nothing, and a sum over rows is 0.  An index, label or offset out of
 * range is the host's fault: it checks the columns that it binds.  max, min and argmax
 * keep a NaN.  Attribute structs only grow at their end: `attr_size` of a command says how
 * much is there, a backend's table says how much it understands.
 *
 * Memory: output 0 may lie in the memory of operand 0 of unary, unary_back (dy), binary, scale,
 * rope, dropout and put_rows, of operand 2 of matmul (c), and of operand 1 of nll_back
 * (logits); kernels read before they write.
 *
 * Flags: R row-local (row i of each output depends on row i of the row operands only, so a
 * region may run in row chunks); P pure; A honours HONE_COMMAND_ACCUMULATE (adds to what the
 * output holds instead of overwriting it); Z random.
 */
#ifndef HONE_OP_H
#define HONE_OP_H

#include <hone/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HONE_ROLE_OP "hone.op/1"

/* X(NAME, value, "name", flags).  Values are explicit and only grow. */
#define HONE_OP_LIST(X)                                                                            \
	X(MATMUL, 1, "matmul", "RPA")                                                              \
	X(UNARY, 2, "unary", "RP")                                                                 \
	X(UNARY_BACK, 3, "unary_back", "RP")                                                       \
	X(BINARY, 4, "binary", "RP")                                                               \
	X(SCALE, 5, "scale", "RP")                                                                 \
	X(CAST, 6, "cast", "RP")                                                                   \
	X(FILL, 7, "fill", "RP")                                                                   \
	X(RMS_NORM, 8, "rms_norm", "RP")                                                           \
	X(RMS_NORM_BACK, 9, "rms_norm_back", "RP")                                                 \
	X(RMS_NORM_WEIGHT_BACK, 10, "rms_norm_weight_back", "PA")                                  \
	X(LAYER_NORM, 11, "layer_norm", "RP")                                                      \
	X(LAYER_NORM_BACK, 12, "layer_norm_back", "RP")                                            \
	X(LAYER_NORM_WEIGHT_BACK, 13, "layer_norm_weight_back", "PA")                              \
	X(ROPE_TABLE, 14, "rope_table", "RP")                                                      \
	X(ROPE, 15, "rope", "RP")                                                                  \
	X(ATTENTION, 16, "attention", "P")                                                         \
	X(ATTENTION_BACK, 17, "attention_back", "P")                                               \
	X(GATHER_ROWS, 18, "gather_rows", "P")                                                     \
	X(SCATTER_ADD_ROWS, 19, "scatter_add_rows", "PA")                                          \
	X(PUT_ROWS, 20, "put_rows", "P")                                                           \
	X(SEGMENT_REDUCE, 21, "segment_reduce", "P")                                               \
	X(SEGMENT_REDUCE_BACK, 22, "segment_reduce_back", "P")                                     \
	X(SEGMENT_BROADCAST, 23, "segment_broadcast", "P")                                         \
	X(REDUCE_COLS, 24, "reduce_cols", "RP")                                                    \
	X(REDUCE_ROWS, 25, "reduce_rows", "PA")                                                    \
	X(NLL, 26, "nll", "RP")                                                                    \
	X(NLL_BACK, 27, "nll_back", "RP")                                                          \
	X(DROPOUT, 28, "dropout", "RPZ")                                                           \
	X(SLICE_COLS, 29, "slice_cols", "RP")                                                      \
	X(CONCAT_COLS, 30, "concat_cols", "RP")                                                    \
	X(BROADCAST, 31, "broadcast", "RP")                                                        \
	X(SUM_SQUARES, 32, "sum_squares", "PA")                                                    \
	X(ADAMW, 33, "adamw", "")                                                                  \
	X(DECODE, 34, "decode", "RP")

enum hone_op {
	HONE_OP_NONE = 0,
#define HONE_OP_ENUM(name, value, text, flags) HONE_OP_##name = value,
	HONE_OP_LIST(HONE_OP_ENUM)
#undef HONE_OP_ENUM
		HONE_OP_CUSTOM = 0x10000, /* ids from here on are interned names of plugins' ops */
};

/* MATMUL (a, b [, c]) -> y.  y = op(a, b), plus c where it is given.  c has the shape of y
 * and may be the same memory.  b of NT and NN may be a stored (quantised) weight.
 *   NT: a [N,I] b [O,I] -> [N,O] compute     NN: a [N,O] b [O,I] -> [N,I] compute
 *   TN: a [N,O] b [N,I] -> [O,I] stat; sums over the live rows; A applies to TN only.
 * Where b of NT or NN is of a row space, only its live rows take part: NT leaves the other
 * columns of y as they are, NN sums over live rows. */
enum hone_matmul_form { HONE_MATMUL_NT = 0, HONE_MATMUL_NN = 1, HONE_MATMUL_TN = 2 };
struct hone_attr_matmul {
	int32_t form; /* enum hone_matmul_form */
	int32_t pad;
};

/* UNARY (x) -> f(x), type of x.  UNARY_BACK (dy, x) -> dy f'(x), type of dy.
 * gelu is exact (erf); gelu_tanh the tanh form; quick_gelu x sigmoid(1.702 x).  The
 * derivative of abs, relu at 0 is 0. */
enum hone_unary {
	HONE_UNARY_NEG = 1,
	HONE_UNARY_EXP = 2,
	HONE_UNARY_LOG = 3,
	HONE_UNARY_SQRT = 4,
	HONE_UNARY_RSQRT = 5,
	HONE_UNARY_SQUARE = 6,
	HONE_UNARY_ABS = 7,
	HONE_UNARY_RECIPROCAL = 8,
	HONE_UNARY_SIGMOID = 9,
	HONE_UNARY_LOGSIGMOID = 10,
	HONE_UNARY_SOFTPLUS = 11,
	HONE_UNARY_TANH = 12,
	HONE_UNARY_RELU = 13,
	HONE_UNARY_SILU = 14,
	HONE_UNARY_GELU = 15,
	HONE_UNARY_GELU_TANH = 16,
	HONE_UNARY_QUICK_GELU = 17,
};
struct hone_attr_unary {
	int32_t kind; /* enum hone_unary */
	int32_t pad;
};

/* BINARY (a, b) -> a o b, shape and type of a.  b has the shape of a, or is a row [D] or
 * [1,D], a column ([N,1], or [N] of the row space), or a scalar [1]; nothing else broadcasts.
 * Tried in the order same shape, scalar, column, row; a static vector is rather a row.  A
 * vector [D] beside a static matrix names no axis: the graph refuses it (hone_scale_rows and
 * hone_scale_cols name one), kernels take it as a row.
 * Comparisons also take two i32 operands, and then give stat. */
enum hone_binary {
	HONE_BINARY_ADD = 1,
	HONE_BINARY_SUB = 2,
	HONE_BINARY_MUL = 3,
	HONE_BINARY_DIV = 4,
	HONE_BINARY_MIN = 5,
	HONE_BINARY_MAX = 6,
	HONE_BINARY_LESS = 7,  /* 1 where a < b, else 0 */
	HONE_BINARY_EQUAL = 8, /* 1 where a = b, else 0 */
};
struct hone_attr_binary {
	int32_t kind; /* enum hone_binary */
	int32_t pad;
};

/* SCALE (x) -> alpha x + beta, type of x.  FILL (like) -> beta everywhere, shape and type of
 * `like`, whose values are not read. */
struct hone_attr_scale {
	double alpha, beta;
};

/* CAST (x) -> x in another type of the closed list.  To i32 and u8: towards zero, then to the
 * nearest bound of the type; NaN gives 0. */
struct hone_attr_cast {
	int32_t dtype;
	int32_t pad;
};

/* RMS_NORM (x [N,D], w [D]) -> (y [N,D] compute, rstd [N,1] stat);
 *   rstd = 1 / sqrt(mean(x^2) + eps), y = x rstd w.
 * RMS_NORM_BACK (dy, x, w, rstd) -> dx.  RMS_NORM_WEIGHT_BACK (dy, x, rstd) -> dw [D] stat.
 * LAYER_NORM (x, w, b) -> (y, mean [N,1], rstd [N,1]).  LAYER_NORM_BACK (dy, x, w, mean,
 * rstd) -> dx.  LAYER_NORM_WEIGHT_BACK (dy, x, mean, rstd) -> (dw [D], db [D]) stat.
 * Variances are divided by D.  The gradients have no attributes. */
struct hone_attr_norm {
	double eps;
};

/* ROPE_TABLE (positions i32 [N]) -> [N, 2 n] stat: cos(p f_j) in columns 0..n-1, sin in
 * n..2n-1, both times `scale`; angles are formed in double.
 * ROPE (x [N,H K], table [N, 2 n]) -> y: rotates the first 2n of every K columns; pairs are
 * (j, j + n) for HALVES (Hugging Face) and (2j, 2j + 1) for INTERLEAVED (llama.cpp's files);
 * `inverse` rotates by the negative angle (the backward). */
enum hone_rope_layout { HONE_ROPE_HALVES = 0, HONE_ROPE_INTERLEAVED = 1 };
struct hone_attr_rope_table {
	int64_t n; /* frequencies, at most 128 */
	double scale;
	double inv_freq[128];
};
struct hone_attr_rope {
	int64_t head_dim;
	int32_t layout; /* enum hone_rope_layout */
	int32_t inverse;
};

/* ATTENTION (q [N,H K], k [L,G K], v [L,G K], q_offsets i32 [S+1], kv_ranges i32 [S,2]
 *            [, prefix_k [P,G K], prefix_v [P,G K]]) -> (o [N,H K] compute, lse [N,H] stat).
 * Offsets are a row space of their own whose live count is S + 1; kv_ranges has S live rows.
 * Segment s has query rows q_offsets[s]..q_offsets[s+1] and key rows kv_ranges[s][0]..[1] of
 * the key stream (N rows or another row space of L).  Head h uses key head h / (H / G).
 * Prefix rows stand before every segment's keys and are seen by every query, whatever the mask;
 * they do not count in U.
 * causal: query i of T sees key j of U iff j <= i + (U - T) (ends aligned); window w > 0
 * also asks j > i + (U - T) - w, causal or not.  softcap c > 0: score = c tanh(score / c)
 * after scale.
 * A query that sees no key, or is in no segment, gives o = 0, lse = -infinity, dq = 0.
 * ATTENTION_BACK (do, q, k, v, o, lse, q_offsets, kv_ranges [, prefix_k, prefix_v])
 *   -> (dq, dk, dv [, dprefix_k, dprefix_v stat]).  Key rows in no range get dk = dv = 0; a row
 * in several ranges gets the sum.  o and lse are taken as they are given. */
struct hone_attr_attention {
	int64_t n_heads, n_kv_heads, head_dim;
	int64_t window; /* 0 = none */
	int32_t causal;
	int32_t pad;
	double scale;   /* of q k^T, usually 1 / sqrt(head_dim) */
	double softcap; /* 0 = none */
};

/* GATHER_ROWS (table [V,D], index i32 [M]) -> [M,D], compute when the table is a weight or
 * parameter, else type of the table.  The table may be stored (quantised).
 * SCATTER_ADD_ROWS (rows [M,D], index i32 [M]) -> [V,D]: zero, plus row m added to row
 * index[m], in ascending m.  Type: stat when the result is a static table, else type of
 * rows.  `rows` of the attribute is V when static; else `space` is the row space of the result.
 * PUT_ROWS (x [V,D], rows [M,D], index i32 [M]) -> x with row index[m] replaced by row m, in
 * ascending m; the memory of x may be that of the result. */
struct hone_attr_rows {
	int64_t rows;
	uint32_t space;
	uint32_t pad;
};

/* SEGMENT_REDUCE (x [N,D], offsets i32 [S+1]) -> [S,D] stat; an empty segment gives 0.
 * Each column by itself.  S is the live count of the operand that has S rows.
 * SEGMENT_REDUCE_BACK (dy [S,D], x, y, offsets) -> dx [N,D], type of x.  The gradient of max
 * goes to the first row that holds it.
 * SEGMENT_BROADCAST (x [S,D], offsets, like [N,*]) -> [N,D], row i gets the row of its
 * segment.  A row of no segment gets 0, here and as dx. */
enum hone_reduce {
	HONE_REDUCE_SUM = 1,
	HONE_REDUCE_MEAN = 2,
	HONE_REDUCE_MAX = 3,
	HONE_REDUCE_LSE = 4,
	HONE_REDUCE_ARGMAX = 5, /* REDUCE_COLS only: i32, the lowest index of the maximum */
};
struct hone_attr_reduce {
	int32_t kind; /* enum hone_reduce */
	int32_t pad;
};

/* REDUCE_COLS (x [N,D]) -> [N,1] stat (ARGMAX: i32).  REDUCE_ROWS (x [N,D]) -> [1,D] stat,
 * the sum over live rows in a fixed tree that depends on the number of live rows alone. */

/* NLL (logits [M,V], labels i32 [M]) -> (nll [M,1] stat, lse [M,1] stat):
 *   nll = (1 - e) (lse - x[label]) + e (lse - mean(x)), e = label_smoothing.
 * e = 0 leaves mean(x) out.  A label < 0 gives nll = 0, the row's lse, and dlogits = 0.
 * NLL_BACK (dnll [M,1], logits, labels, lse) -> dlogits, type of logits, which may be the same
 * memory. */
struct hone_attr_nll {
	double label_smoothing;
};

/* DROPOUT (x [N,D], keys i32 [N,2]) -> x m / (1 - p).  Column j of row i is kept iff
 * hone_random_uniform(seed, stream ^ step, keys[i], j) >= p, both as doubles, see
 * hone/random.h; seed and step come with the submission.  The backward is the same op on dy. */
struct hone_attr_dropout {
	double p;
	uint64_t stream;
};

/* SLICE_COLS (x [N,D]) -> x[:, begin..end).  CONCAT_COLS (x, y, ...) -> side by side.
 * BROADCAST (x [1,D] or [D] or [1], like [N,*]) -> [N,D] of the row space of `like`. */
struct hone_attr_slice {
	int64_t begin, end;
};

/* SUM_SQUARES (x) -> [1] stat, in a fixed tree over all elements, accumulated in double.
 * ADAMW (p, g, m, v, hyper f32 [4]) -> (p, m, v), in place; Loshchilov and Hutter 2019 as
 * PyTorch computes it: hyper = {learning rate, 1 - beta1^t, 1 - beta2^t, gradient factor},
 * lr = hyper[0] lr_scale;
 *   g *= factor;  p *= 1 - lr wd;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
 *   p -= lr / bias1 * m / (sqrt(v) / sqrt(bias2) + eps). */
struct hone_attr_adamw {
	double beta1, beta2, eps, weight_decay, lr_scale;
};

/* DECODE (stored [O,I]) -> dense [O,I] of the type in the attribute struct hone_attr_cast. */

#ifdef __cplusplus
}
#endif
#endif
