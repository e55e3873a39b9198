/*
 * reference.h - private to the reference backend: operands read and written as double.
 *
 * A kernel sees a command through `struct ref_tensor`: memory, type, live rows and columns.
 * Whatever the type, an element is a double when it is read and is rounded once, to nearest
 * even, when it is written; all sums in between are in double.  That makes the backend
 * slow, and its results the ones that the faster backends are measured against.
 */
#ifndef HONE_REFERENCE_H
#define HONE_REFERENCE_H

#include <hone/backend.h>

#include <stdbool.h>
#include <stddef.h>

/* An operand of a command in a submission.  `rows` are the live rows; a tensor of rank 1 has
 * one column.  A stored weight has type HONE_DTYPE_NONE and is only read by rows. */
struct ref_tensor {
	uint8_t *data; /* row 0 of this submission */
	int32_t dtype;
	int64_t rows, cols;
	const struct hone_operand *operand;
};

/* What a kernel is called with.  Operands are opened: absent ones have data NULL. */
#define REF_MAX_IN  16
#define REF_MAX_OUT 5
struct ref_call {
	const struct hone_command *command;
	const struct hone_run *run;
	uint32_t n_in, n_out;
	struct ref_tensor in[REF_MAX_IN], out[REF_MAX_OUT];
};

typedef enum hone_status (*ref_kernel)(const struct ref_call *call, struct hone_error *err);
/* Refuses what the counts of a command do not tell: kinds, forms, shapes. */
typedef enum hone_status (*ref_check)(const struct hone_command *command, struct hone_error *err);

enum ref_op_flags {
	REF_ACCUMULATES = 1, /* honours HONE_COMMAND_ACCUMULATE */
	REF_STORED_0 = 2,    /* input 0 may be a stored weight */
	REF_STORED_1 = 4,    /* input 1 may be one */
};

/* One operation as this backend knows it.  Operand counts outside the range and larger
 * attributes belong to a later version, and are refused. */
struct ref_op {
	uint32_t op, attr_size;
	uint32_t n_in_min, n_in_max;
	uint32_t n_out_min, n_out_max;
	uint32_t flags;
	ref_kernel kernel;
	ref_check check; /* or NULL */
};

/* The operations of one file, ended by op 0. */
extern const struct ref_op ref_ops_product[], ref_ops_elementwise[], ref_ops_norm[], ref_ops_rope[],
	ref_ops_attention[], ref_ops_rows[], ref_ops_segment[], ref_ops_reduce[], ref_ops_loss[],
	ref_ops_random[], ref_ops_shape[], ref_ops_optimizer[], ref_ops_storage[];

/* Element i of a dense tensor, counted from row 0 of the submission. */
double ref_get(const struct ref_tensor *t, int64_t i);
void ref_put(const struct ref_tensor *t, int64_t i, double value);

/* The same, added to what is there when `accumulate`. */
void ref_put_sum(const struct ref_tensor *t, int64_t i, double value, bool accumulate);

/* Row i as doubles, dst [cols].  Stored weights are decoded.  Fails where the format does. */
enum hone_status ref_load_row(
	const struct ref_tensor *t, int64_t row, double *dst, struct hone_error *err);
void ref_store_row(const struct ref_tensor *t, int64_t row, const double *src);

/* Rows of a stored weight; the one place that knows hone/storage.h. */
enum hone_status ref_decode_row(
	const struct ref_tensor *t, int64_t row, double *dst, struct hone_error *err);

/* rows x cols doubles, zero; the caller frees.  NULL with the error set. */
double *ref_scratch(int64_t rows, int64_t cols, struct hone_error *err);

/* Rows [*begin, *end) of segment s by its offsets; refuses rows outside [0, n). */
enum hone_status ref_segment(const struct ref_tensor *offsets, int64_t s, int64_t n, int64_t *begin,
	int64_t *end, struct hone_error *err);

/* Elements of a tensor's live rows. */
static inline int64_t
ref_elems(const struct ref_tensor *t)
{
	return t->rows * t->cols;
}

static inline bool
ref_accumulates(const struct ref_call *call)
{
	return (call->command->flags & HONE_COMMAND_ACCUMULATE) != 0;
}

/* max that keeps a NaN once it has seen one, as PyTorch's does. */
static inline double
ref_max(double a, double b)
{
	return b > a || b != b ? b : a;
}

/* log(sum(exp(x[i * stride]))) of n numbers; -infinity when all are. */
double ref_log_sum_exp(const double *x, int64_t n, int64_t stride);

#endif
