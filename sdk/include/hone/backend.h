/*
 * hone/backend.h - a plugin role: run commands on a device.
 *
 * The host plans memory, order and types; a backend runs lists of commands on buffers.  A
 * command is one operation of hone/op.h with resolved operands.  `supports` is asked at
 * capacity shapes, with the storage format, before weights are placed; what a device cannot
 * do falls back and is reported.  Ten operations run a forward pass (matmul, binary, unary,
 * rms_norm, rope_table, rope, attention, gather_rows, nll, reduce_rows); a LoRA step without
 * fallback adds unary_back, rms_norm_back, attention_back, nll_back, scatter_add_rows, scale
 * and reduce_cols; the optimizer adds adamw and sum_squares.
 *
 * Threads: all functions are called from one thread at a time per device [main]; kernels may
 * use the host's pool (hone.pool/1).  The same bits must come out for any number of threads.
 */
#ifndef HONE_BACKEND_H
#define HONE_BACKEND_H

#include <hone/op.h>
#include <hone/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HONE_ROLE_BACKEND "hone.backend/1"

struct hone_host;
struct hone_storage_vt; /* hone/storage.h */

/* Memory on a device.  Opaque to the host; for devices whose memory the host can address
 * (HONE_DEVICE_HOST_MEMORY) it is the pointer itself. */
typedef void *hone_buffer;

enum hone_device_flags {
	HONE_DEVICE_HOST_MEMORY = 1,   /* buffers are plain pointers; import costs nothing */
	HONE_DEVICE_DETERMINISTIC = 2, /* the same input gives the same bits */
};

struct hone_device_info {
	uint32_t struct_size;
	uint32_t flags;        /* enum hone_device_flags */
	char name[128];        /* for people */
	char kernel_path[32];  /* "avx512_bf16", "portable": recorded with a run */
	uint64_t memory_bytes; /* 0 = not limited by the device */
	uint64_t max_buffer_bytes;
	uint32_t alignment;     /* of offsets, in bytes; a power of two */
	uint32_t has_fast_bf16; /* 1 where bf16 is worth being the default of `compute` */
};

enum hone_operand_flags {
	/* The operand lies outside a row-chunked region: its row 0 of this submission is row
	 * `begin` of its space.  hone_operand_skip gives the bytes. */
	HONE_OPERAND_WINDOW = 1,
};

/* One tensor of a command.  Dense and row-major; `dim` holds capacities.  When `space` is
 * not 0 the live rows of axis 0 are run->live[space], and dim[0] must not enter the maths.
 * When `storage` is not NULL, `dtype` is HONE_DTYPE_NONE and parts[0] lies at offset. */
struct hone_operand {
	hone_buffer buffer;
	uint64_t offset; /* bytes */
	int32_t dtype;   /* enum hone_dtype */
	uint32_t rank;
	int64_t dim[HONE_MAX_RANK];
	uint32_t space;                        /* 0 = static */
	uint32_t flags;                        /* enum hone_operand_flags */
	const struct hone_storage_vt *storage; /* NULL = dense of dtype */
	const void *storage_self;
	const uint64_t *part_offset; /* further parts of a bundle, in the same buffer; or NULL */
};

enum hone_command_flags {
	HONE_COMMAND_ACCUMULATE = 1, /* add to the outputs instead of overwriting them */
};

/* Frozen up to `name`; grows at its end.  Arrays of commands carry their stride. */
struct hone_command {
	uint32_t op;    /* enum hone_op, or an interned custom op */
	uint32_t flags; /* enum hone_command_flags */
	uint32_t n_in, n_out;
	uint32_t attr_size;
	uint32_t pad;
	const void *attr;
	const struct hone_operand *in;  /* n_in of them; an absent operand has rank 0 */
	const struct hone_operand *out; /* n_out of them */
	const char *name;               /* where it comes from, for reports */
};

/* What changes from one submission to the next. */
struct hone_run {
	uint32_t struct_size;
	uint32_t n_spaces;
	const int64_t *live;  /* [n_spaces] rows of each row space in this submission */
	const int64_t *begin; /* [n_spaces] first row of the window, 0 outside chunks */
	uint64_t seed, step;  /* of random ops */
};

struct hone_backend_vt {
	uint32_t struct_size;
	uint32_t pad;

	/* Number of devices; 0 is no error.  [main] */
	enum hone_status (*device_count)(const void *self, uint32_t *n, struct hone_error *err);

	/* Facts about device i; the caller sets out->struct_size.  [main] */
	enum hone_status (*device_info)(
		const void *self, uint32_t i, struct hone_device_info *out, struct hone_error *err);

	/* Opens device i; close frees it with all buffers destroyed before.  [main] */
	enum hone_status (*open)(
		const void *self, uint32_t i, void **device, struct hone_error *err);
	void (*close)(void *device);

	/* HONE_OK, or HONE_EUNSUPPORTED with the reason in err->text.  Buffers are NULL, dims
	 * are capacities, attr_size may be larger than what this backend knows.  [main, pure] */
	enum hone_status (*supports)(
		void *device, const struct hone_command *command, struct hone_error *err);

	/* Memory, aligned as declared, content undefined.  [main] */
	enum hone_status (*buffer_create)(
		void *device, uint64_t bytes, hone_buffer *out, struct hone_error *err);
	/* Borrows host memory that outlives the buffer; read-only memory is only ever read.
	 * HONE_EUNSUPPORTED where the device cannot: the host then copies.  [main] */
	enum hone_status (*buffer_import)(void *device, void *memory, uint64_t bytes,
		hone_buffer *out, struct hone_error *err);
	void (*buffer_destroy)(void *device, hone_buffer buffer);
	enum hone_status (*upload)(void *device, hone_buffer buffer, uint64_t offset,
		const void *from, uint64_t bytes, struct hone_error *err);
	enum hone_status (*download)(void *device, hone_buffer buffer, uint64_t offset, void *to,
		uint64_t bytes, struct hone_error *err);

	/* Runs commands in order.  May return before they are done; an error of asynchronous
	 * work comes from `wait`.  `stride` is sizeof(struct hone_command) of the host.  [main] */
	enum hone_status (*submit)(void *device, const struct hone_command *commands, uint32_t n,
		uint32_t stride, const struct hone_run *run, struct hone_error *err);
	enum hone_status (*wait)(void *device, struct hone_error *err);

	/* Bytes of the host's memory that running these commands takes beside buffers, about:
	 * scratch that kernels keep.  Buffers are NULL, dims are capacities, run->live the rows
	 * of a submission.  NULL: nothing worth planning.  [main, pure] */
	uint64_t (*scratch_bytes)(void *device, const struct hone_command *commands, uint32_t n,
		uint32_t stride, const struct hone_run *run);
};

/* Live rows of axis 0.  [any thread, pure] */
static inline int64_t
hone_operand_rows(const struct hone_operand *operand, const struct hone_run *run)
{
	if (operand->rank == 0)
		return 0;
	return operand->space ? run->live[operand->space] : operand->dim[0];
}

/* Elements of one row: the product of dims 1.. [any thread, pure] */
static inline int64_t
hone_operand_row_elems(const struct hone_operand *operand)
{
	int64_t n = 1;

	for (uint32_t i = 1; i < operand->rank; i++)
		n *= operand->dim[i];
	return n;
}

/* Bytes from the operand's start to row 0 of this submission.  [any thread, pure] */
static inline uint64_t
hone_operand_skip(const struct hone_operand *operand, const struct hone_run *run)
{
	if (!(operand->flags & HONE_OPERAND_WINDOW) || !operand->space)
		return 0;
	return (uint64_t)(run->begin[operand->space] * hone_operand_row_elems(operand) *
		hone_dtype_bytes(operand->dtype));
}

/* The memory of an operand on a device with HONE_DEVICE_HOST_MEMORY.  [any thread, pure] */
static inline void *
hone_operand_host(const struct hone_operand *operand, const struct hone_run *run)
{
	return (uint8_t *)operand->buffer + operand->offset + hone_operand_skip(operand, run);
}

#ifdef __cplusplus
}
#endif
#endif
