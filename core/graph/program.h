/*
 * graph/program.h - a graph ordered, placed in memory, and turned into commands.
 *
 *     graph --order--> units --plan--> offsets --compile--> commands --link--> run
 *
 * Planning allocates nothing on a device: the peak is known before anything runs.  Programs
 * of a run share one arena, as large as the largest needs; a program owns its columns.
 * Running a program allocates nothing.
 *
 * Row-chunked regions: all nodes that touch rows of a chunked space (the selection that goes
 * into a head) form one block of commands, forward and backward together, which runs once
 * per chunk of rows.  Values inside hold one chunk only, so logits never exist as a whole.
 * Sums that leave the region accumulate from chunk to chunk.
 */
#ifndef HN_GRAPH_PROGRAM_H
#define HN_GRAPH_PROGRAM_H

#include <hone/backend.h>

#include "graph/graph.h"

/* Where an operand lies. */
enum hn_memory_kind {
	HN_MEMORY_NONE = 0,
	HN_MEMORY_ARENA,
	HN_MEMORY_COLUMNS, /* columns, counts, constants: written by the host */
	HN_MEMORY_STATES,
	HN_MEMORY_PARAMS,
	HN_MEMORY_GRADS,
	HN_MEMORY_MOMENT1,
	HN_MEMORY_MOMENT2,
	HN_MEMORY_WEIGHTS, /* of the file, mapped */
	HN_MEMORY_KEPT,    /* weights in another form than the file's: see model/recode.h */
	HN_MEMORY_KINDS,
};

/* A stored weight as programs see it; `index` of HN_LEAF_WEIGHT counts these. */
struct hn_weight_ref {
	int32_t dtype; /* NONE when stored in a format */
	uint32_t rank;
	int64_t dim[HONE_MAX_RANK];
	const struct hone_storage_vt *storage;
	const void *storage_self;
	const uint64_t *part_offset;
	hone_buffer buffer; /* set when weights are placed; NULL before */
	uint64_t offset;
};

/* Where parameters lie in the buffers of values, gradients and moments (equal offsets). */
struct hn_param_ref {
	uint64_t offset; /* bytes */
};

struct hn_tables {
	const struct hn_weight_ref *weights;
	uint32_t n_weights;
	const struct hn_param_ref *params;
	uint32_t n_params;
};

struct hn_device {
	const struct hone_backend_vt *vt;
	void *device;
	const char *name;
};

struct hn_location {
	int32_t kind; /* enum hn_memory_kind */
	uint64_t offset, n_bytes;
	uint32_t weight;
};

/* Commands that run one after the other, or once per chunk of `space`. */
struct hn_block {
	uint32_t begin, end; /* commands */
	uint32_t space;      /* 0 = once */
	uint32_t device;
};

struct hn_program {
	struct hn_graph graph; /* owned */
	const char *name;      /* "train", "eval": static */
	int64_t chunk_rows;
	uint32_t *order; /* nodes in the order of execution */
	uint32_t n_order;
	uint32_t *unit_space;       /* by position in order: chunked space, or 0 */
	struct hn_location *places; /* by value */
	uint64_t arena_bytes, column_bytes, state_bytes;
	uint64_t activation_bytes; /* of which kept from forward to backward */

	struct hone_command *commands;
	struct hone_operand *operands;
	uint32_t n_commands, n_operands;
	struct hn_location *operand_places; /* beside operands */
	struct hn_block *blocks;
	uint32_t n_blocks;

	uint8_t *columns; /* host memory of columns, counts, constants */
	hone_buffer column_buffer;
	const struct hn_device *devices;
	uint32_t n_devices;
	int64_t *live, *begin; /* by row space; the caller sets live */
	uint32_t n_fallback;   /* not on the first device, without plugins' ops */
	char fallback_reason[256];
};

/* Orders and plans `graph`, which the program takes over (also on error: fini frees it).
 * Graphs with a sticky error are refused with it. */
enum hone_status hn_program_plan(struct hn_program *program, const char *name,
	struct hn_graph *graph, int64_t chunk_rows, struct hone_error *err);

/* Makes commands and asks the devices in their order who runs each.  The last device is the
 * reference, which runs everything. */
enum hone_status hn_program_compile(struct hn_program *program, const struct hn_tables *tables,
	const struct hn_device *devices, uint32_t n_devices, struct hone_error *err);

/* Scratch that a device's kernels will keep for these commands; 0 where it does not say. */
uint64_t hn_device_scratch(const struct hn_device *device, const struct hone_command *commands,
	uint32_t n, uint32_t stride, const struct hone_run *run);

/* That of the first device for a compiled program, at the rows it was planned for. */
uint64_t hn_program_scratch(const struct hn_program *program);

/* Binds memory: buffers by enum hn_memory_kind (COLUMNS and WEIGHTS are found elsewhere). */
enum hone_status hn_program_link(struct hn_program *program, const struct hn_tables *tables,
	const hone_buffer buffers[HN_MEMORY_KINDS], struct hone_error *err);

void hn_program_fini(struct hn_program *program);

/* Host memory of a column by name, NULL when the program has none (nothing reads it). */
void *hn_program_column(const struct hn_program *program, const char *name);
/* Sets the live rows of every row space with that name. */
void hn_program_set_live(struct hn_program *program, const char *space, int64_t rows);

/* Runs with the columns and live counts set before. */
enum hone_status hn_program_run(
	struct hn_program *program, uint64_t seed, uint64_t step, struct hone_error *err);

/* Copies a named output of the last run: `n_bytes` at most. */
enum hone_status hn_program_read(const struct hn_program *program, const char *output, void *out,
	uint64_t n_bytes, struct hone_error *err);

/* ---- parts, for program.c ---- */
enum hone_status hn_program_order(struct hn_program *program, struct hone_error *err);
enum hone_status hn_program_place(struct hn_program *program, struct hone_error *err);
/* Rows that a value has memory for: a chunk inside its region, else its capacity. */
int64_t hn_program_rows(const struct hn_program *program, uint32_t value);
/* Value is made inside the region of its row space. */
bool hn_program_is_inner(const struct hn_program *program, uint32_t value);
/* The output that stores this value in a leaf's memory directly, or NULL. */
const struct hn_output *hn_program_store_of(const struct hn_program *program, uint32_t value);

#endif
