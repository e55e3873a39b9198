/*
 * graph/engine.h - devices, memory and programs of a run: what turns graphs into results.
 *
 *     hn_engine_init       devices and what lies in memory: weights, parameters
 *     hn_engine_add        a graph becomes a planned program (nothing is allocated)
 *     hn_engine_bytes      the peak, before anything is allocated
 *     hn_engine_allocate   one arena for all programs, parameters, moments; weights placed
 *
 * After allocate no memory is asked for.  Everything that is read before it is written starts
 * at 0.  Gradients and moments of an engine with `clears_late` are cleared when they are first
 * needed (hn_engine_settle): the first touch of fresh memory is slow, and the first forward
 * pass need not wait for memory that it does not use.  Buffers of parameters, gradients and moments have
 * equal layouts and hold numbers of the program's statistics type.
 *
 * A training program adds to the gradients, and the update program makes them 0.  After a
 * window without its update (HONE_ENOTFINITE, a device that failed) they hold what was added,
 * NaN included, until hn_engine_clear(engine, HN_MEMORY_GRADS, err): whoever runs windows and
 * goes on after an error calls it, as hn_session_step does.
 */
#ifndef HN_GRAPH_ENGINE_H
#define HN_GRAPH_ENGINE_H

#include "graph/program.h"
#include "model/param.h"

enum { HN_MAX_PROGRAMS = 16 };

struct hn_engine {
	const struct hn_model *model;
	const struct hn_params *params;
	const struct hn_device *devices; /* the last is the reference */
	uint32_t n_devices;
	int32_t compute, stat;
	struct hn_weight_ref *weights;
	struct hn_param_ref *param_refs;
	struct hn_tables tables;
	struct hn_program *programs[HN_MAX_PROGRAMS];
	uint32_t n_programs;
	bool has_gradients, has_moments;
	bool is_allocated;
	bool clears_late; /* set before hn_engine_allocate by who settles: train/step.c */
	bool *is_raw;     /* by kind: as allocated, and 0 for whoever asks */
	hone_buffer buffers[HN_MEMORY_KINDS];
	uint64_t bytes[HN_MEMORY_KINDS];
	uint64_t copied_bytes; /* weights that a device could not borrow */
	hone_buffer *copied;   /* by weight; NULL = borrowed */
	bool is_as_stored;     /* weights are those of the file, whatever the model keeps */
	uint64_t *part_offset; /* of kept weights: n_parts - 1 for each weight */
};

/* Everything is borrowed and outlives the engine. */
void hn_engine_init(struct hn_engine *engine, const struct hn_model *model,
	const struct hn_params *params, const struct hn_device *devices, uint32_t n_devices,
	int32_t compute);
void hn_engine_fini(struct hn_engine *engine);

/* Takes the weights as the file has them, also where the model keeps another form.  Before
 * anything is added. */
void hn_engine_use_file(struct hn_engine *engine);

/* Plans and compiles `graph` into `program`, which the engine finishes at its end; the
 * caller keeps it in place.  `chunk_rows`: rows of a row-chunked region at a time. */
enum hone_status hn_engine_add(struct hn_engine *engine, struct hn_program *program,
	const char *name, struct hn_graph *graph, int64_t chunk_rows, struct hone_error *err);

/* Bytes by kind for what was added so far (weights: mapped file bytes that programs read). */
void hn_engine_bytes(const struct hn_engine *engine, uint64_t bytes[HN_MEMORY_KINDS]);

/* What of the mapped file the programs will hold in memory: their weights, and what the kernel
 * maps around them (64 KiB at a time). */
uint64_t hn_engine_mapped_bytes(const struct hn_engine *engine);

/* Scratch of the first device's kernels, beside all buffers. */
uint64_t hn_engine_scratch_bytes(const struct hn_engine *engine);

enum hone_status hn_engine_allocate(struct hn_engine *engine, struct hone_error *err);

/* Gives back what only training needs: activations, gradients, moments.  Parameters and weights
 * stay; no program runs after this. */
void hn_engine_release(struct hn_engine *engine);

/* Copies a parameter's values, gradient or moment out as f32 (or in from f32). `kind` is
 * HN_MEMORY_PARAMS, GRADS, MOMENT1 or MOMENT2. */
enum hone_status hn_engine_get(const struct hn_engine *engine, int32_t kind,
	const struct hn_param *param, float *out, struct hone_error *err);
enum hone_status hn_engine_set(const struct hn_engine *engine, int32_t kind,
	const struct hn_param *param, const float *values, struct hone_error *err);
/* Clears a kind that still is as it was allocated; costs nothing afterwards. */
enum hone_status hn_engine_settle(
	const struct hn_engine *engine, int32_t kind, struct hone_error *err);
/* Rows [from, from + n) of every state of a program, such as a cache, to [to, to + n), which
 * lie apart from them. */
enum hone_status hn_engine_copy_rows(const struct hn_engine *engine,
	const struct hn_program *program, int64_t from, int64_t to, int64_t n,
	struct hone_error *err);
/* All of a kind to zero. */
enum hone_status hn_engine_clear(
	const struct hn_engine *engine, int32_t kind, struct hone_error *err);

#endif
