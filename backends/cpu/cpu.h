/*
 * cpu.h - what the files of this backend share: the device, its scratch memory, operands.
 *
 * An operation is one function here: it checks nothing that `supports` has checked, splits
 * its work into pieces, and runs them on the host's pool; each sum is cut by sizes alone.  So
 * any number of threads gives the same bits.  Memory an operation needs beside its operands comes from the
 * device's scratch, which only grows: after the first step nothing is allocated.
 */
#ifndef HN_CPU_H
#define HN_CPU_H

#include <stddef.h>

#include <hone/backend.h>
#include <hone/host.h>

#include "kernels.h"

/* Elements below which an elementwise operation is not worth waking threads for; also the
 * elements of one piece of it. */
#define HN_CPU_PIECE 8192
/* Elements of a row that pass through L1 at a time. */
#define HN_CPU_BLOCK 1024

#define CPU_HELD 4

struct cpu_scratch {
	uint8_t *memory;
	uint64_t bytes;
	int64_t held
		[CPU_HELD]; /* product_panels.c: which part of b is packed in each place, -1 = none */
};

struct cpu_device {
	const struct hn_cpu_kernels *k;
	const struct hone_host *host;
	const struct hone_pool_vt *pool; /* NULL = one thread */
	int32_t n_workers;
	struct cpu_scratch shared;
	struct cpu_scratch *worker; /* [n_workers] */
	struct cpu_strips *strips;  /* products that wait (product_strips.c) */
	int32_t is_probe;           /* only notes what would be reserved; runs nothing */
	void **owned;               /* buffers that are not imported */
	size_t n_owned, owned_max;
};

/* One command being run. */
struct cpu_call {
	struct cpu_device *d;
	const struct hn_cpu_kernels *k;
	const struct hone_command *c;
	const struct hone_run *run;
	const struct hone_command *joined;  /* a product before it that it takes along, or NULL */
	const struct hone_command *waiting; /* one before it that waits for a later one, or NULL */
	const uint8_t *later;               /* commands after it, `stride` apart */
	uint32_t n_later, stride;
	uint32_t *taken; /* CPU_TAKEN(i): later command i has run already, or runs with this one */
};

#define CPU_TAKEN(i)  (UINT32_C(2) << (i))
#define CPU_TAKEN_MAX 31

static inline const struct hone_command *
cpu_later(const struct cpu_call *call, uint32_t i)
{
	return (const void *)(call->later + (size_t)i * call->stride);
}

/* A dense operand on the host: rows are live rows. */
struct cpu_mat {
	uint8_t *p;
	int32_t dtype;
	int64_t rows, cols;
};

typedef enum hone_status (*cpu_op)(const struct cpu_call *call, struct hone_error *err);

/* Makes `shared` bytes for all and `each` bytes for every worker usable until the next call.
 * Contents are undefined.  [main] */
enum hone_status cpu_reserve(
	struct cpu_device *d, uint64_t shared, uint64_t each, struct hone_error *err);

/* One piece of scratch; what it held is lost when it grows.  [main] */
enum hone_status cpu_scratch_grow(
	const struct cpu_device *d, struct cpu_scratch *s, uint64_t bytes, struct hone_error *err);

/* Runs fn over [0, n) on the pool, or here when n is 1.  [main] */
void cpu_run(struct cpu_device *d, int64_t n, void (*fn)(void *ctx, int64_t i, int32_t worker),
	void *ctx);

/* The slot scratch_bytes (scratch.c).  [main] */
uint64_t cpu_scratch_bytes(void *device, const struct hone_command *commands, uint32_t n,
	uint32_t stride, const struct hone_run *run);

/* The kernels for a path's name, or for this processor (name NULL); NULL when the processor
 * or its operating system lacks it. */
const struct hn_cpu_kernels *cpu_path_find(const char *name);

struct cpu_mat cpu_mat_of(const struct hone_operand *operand, const struct hone_run *run);

static inline struct cpu_mat
cpu_in(const struct cpu_call *call, uint32_t i)
{
	return cpu_mat_of(&call->c->in[i], call->run);
}

static inline struct cpu_mat
cpu_out(const struct cpu_call *call, uint32_t i)
{
	return cpu_mat_of(&call->c->out[i], call->run);
}

static inline int
cpu_has_in(const struct cpu_call *call, uint32_t i)
{
	return i < call->c->n_in && call->c->in[i].rank > 0;
}

/* Address of element `at` of a matrix. */
static inline uint8_t *
cpu_at(const struct cpu_mat *m, int64_t at)
{
	return m->p + at * hone_dtype_bytes(m->dtype);
}

/* n elements from `at` as f32: the memory itself when it is f32, else converted to buffer. */
static inline const float *
cpu_read(const struct hn_cpu_kernels *k, const struct cpu_mat *m, int64_t at, int64_t n,
	float *buffer)
{
	if (m->dtype == HONE_DTYPE_F32)
		return (const float *)(const void *)cpu_at(m, at);
	k->to_f32(buffer, cpu_at(m, at), m->dtype, n);
	return buffer;
}

/* Where n results may be formed: in place when the type is f32, else the buffer; cpu_write
 * then converts. */
static inline float *
cpu_target(const struct cpu_mat *m, int64_t at, float *buffer)
{
	return m->dtype == HONE_DTYPE_F32 ? (float *)(void *)cpu_at(m, at) : buffer;
}

static inline void
cpu_write(const struct hn_cpu_kernels *k, const struct cpu_mat *m, int64_t at, int64_t n,
	const float *from)
{
	if (m->dtype != HONE_DTYPE_F32)
		k->from_f32(cpu_at(m, at), m->dtype, from, n);
}

static inline int64_t
cpu_min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t
cpu_max(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static inline int64_t
cpu_ceil(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

static inline int64_t
cpu_round_up(int64_t a, int64_t b)
{
	return cpu_ceil(a, b) * b;
}

/* The least common multiple of two positive numbers. */
static inline int64_t
cpu_multiple(int64_t a, int64_t b)
{
	int64_t x = a, y = b;

	while (y) {
		const int64_t rest = x % y;

		x = y;
		y = rest;
	}
	return a / x * b;
}

/* product.c: y [m, n] = a b + u v + c, all dense but b, u v of the same form (NT, NN). */
enum { CPU_NT = 0, CPU_NN = 1, CPU_TN = 2 };
struct cpu_product {
	int32_t form, accumulate;
	int64_t m, n, k;
	int64_t r;                         /* of u v; 0 = none */
	struct cpu_mat a, b, u, v, c, y;   /* c.p NULL = none; rows and cols unused */
	int64_t lda, ldb, ldu, ldv, ldy;   /* elements from row to row; c has y's */
	const struct hone_operand *stored; /* b where it is quantised, else NULL */
	const struct cpu_end *end;         /* NULL, or what follows it; NT and NN of product.c */
};

/* pointwise.c: how b lies beside a in BINARY. */
enum cpu_beside {
	CPU_BESIDE_FULL,
	CPU_BESIDE_ROW,
	CPU_BESIDE_COLUMN,
	CPU_BESIDE_SCALAR,
	CPU_BESIDE_NEITHER
};
enum cpu_beside cpu_beside(const struct hone_operand *a, const struct hone_operand *b);

/* rope.c: columns [col, col + D) of a row, whole heads, which may be turned in place. */
void cpu_rope_row(const struct hn_cpu_kernels *k, const struct hone_attr_rope *attr,
	const struct cpu_mat *x, const struct cpu_mat *table, const struct cpu_mat *y, int64_t row,
	int64_t col, int64_t D);

/* stored.c: elements [first, first + n) of a stored operand as f32, whatever its blocks;
 * `buffer` holds cpu_stored_buffer(o) floats beside the result. */
#define CPU_PARTS_MAX 8
int64_t cpu_stored_buffer(const struct hone_operand *o);
void cpu_stored_read(
	const struct hone_operand *o, int64_t first, int64_t n, float *out, float *buffer);
/* The same to bf16 in one go, where the format does that and the range is whole blocks; 0 where
 * nothing was read. */
int cpu_stored_read_bf16(const struct hone_operand *o, int64_t first, int64_t n, uint16_t *out);

/* attention.c */
#define CPU_HEAD_DIM_MAX 256

/* attention_few.c: the segments of ATTENTION that have few columns. */
enum hone_status cpu_attention_few(const struct cpu_call *call, struct hone_error *err);

enum hone_status cpu_decode(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_matmul(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_unary(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_unary_back(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_binary(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_scale(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_cast(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_fill(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_dropout(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_slice_cols(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_concat_cols(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_broadcast(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_rms_norm(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_rms_norm_back(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_rms_norm_weight_back(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_layer_norm(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_layer_norm_back(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_layer_norm_weight_back(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_rope_table(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_rope(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_attention(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_attention_back(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_gather_rows(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_scatter_add_rows(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_put_rows(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_segment_reduce(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_segment_reduce_back(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_segment_broadcast(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_reduce_cols(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_reduce_rows(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_nll(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_nll_back(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_sum_squares(const struct cpu_call *call, struct hone_error *err);
enum hone_status cpu_adamw(const struct cpu_call *call, struct hone_error *err);

#endif
