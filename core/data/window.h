/*
 * data/window.h - the examples of one optimizer step, and the micro-batches they are bound as.
 *
 * A window holds what `emit` makes of a step's examples: for each stream of the objective its
 * tokens, segments and columns.  Denominators are sums over the whole window, known before
 * the first micro-batch runs.  Then the window is cut, in its order, into micro-batches of at
 * most `micro_batch_tokens` rows: memory only, no number changes.  An example is never split;
 * one that is longer than the budget is a micro-batch by itself.
 *
 *     row key   (example's number in the window, row's number in the example)
 *     position  from 0 in each segment
 *
 * After the window is created nothing is allocated: its memory is for the largest step that
 * the data can give.
 */
#ifndef HN_DATA_WINDOW_H
#define HN_DATA_WINDOW_H

#include "data/dataset.h"
#include "data/order.h"
#include "graph/build.h"
#include "graph/program.h"

struct hn_window_request {
	const struct hn_dataset *data;
	const struct hn_layout *layout;
	const struct hone_objective_vt *objective;
	const void *objective_self;
	const char *objective_section;
	uint64_t seed;
	int64_t max_length;
	int64_t max_examples;       /* of a window */
	int64_t micro_batch_tokens; /* the budget; at least 1 */
	int64_t vocab;              /* token ids are below */
};

/* A column as the layout declares it; 4 bytes a value. */
struct hn_window_column {
	const struct hn_decl_column *decl;
	uint32_t *values; /* bits of i32 or f32 */
	size_t cap;
	uint32_t fill;
};

struct hn_window_segment {
	int32_t begin, n; /* rows of the stream */
	int32_t example;  /* of the window */
	int32_t begin_in_example;
};

struct hn_window_stream {
	const char *name;
	int32_t *tokens;
	size_t cap_tokens;
	int64_t n_rows;
	struct hn_window_segment *segments;
	size_t cap_segments;
	int64_t n_segments;
	struct hn_window_column *columns; /* of this stream */
	uint32_t n_columns;
};

/* Where an example's rows and segments begin in each stream; one behind the last. */
struct hn_window_bound {
	int64_t row, segment;
};

struct hn_micro {
	int64_t first, n; /* examples of the window */
	int64_t rows;     /* of the longest stream */
};

struct hn_window {
	struct hone_data base; /* first: what `emit` holds */
	struct hone_data_vt vt;
	struct hn_window_request request;
	struct hn_window_stream *streams;
	uint32_t n_streams;
	struct hn_window_bound *bounds; /* [max_examples + 1][n_streams] */
	int64_t n_examples;
	struct hn_micro *micros;
	int64_t n_micros;
	int32_t *labels; /* what the service of that name gives */
	size_t cap_labels;
	uint64_t stream, epoch_key; /* of random numbers */
	struct hn_capacity capacity;
	/* of the example at hand */
	const struct hn_dataset_example *example;
	int64_t number;      /* in the window */
	uint32_t segment_of; /* stream of the open segment */
	bool is_open;        /* a segment was begun */
};

/* Makes a window and emits every example once: memory, capacities, and a check of all ids
 * and lengths before the first step.  Finished by the caller in any case. */
enum hone_status hn_window_init(
	struct hn_window *window, const struct hn_window_request *request, struct hone_error *err);
void hn_window_fini(struct hn_window *window);

/* What every micro-batch of the run fits into, in whatever order the examples come. */
struct hn_capacity hn_window_capacity(const struct hn_window *window);

/* Emits the examples of a step and cuts them.  `step.n` is at most max_examples. */
enum hone_status hn_window_fill(struct hn_window *window, const struct hn_order *order,
	struct hn_order_step step, struct hone_error *err);

/* The denominator of a term: rows of a selection, or the sum of a column, over the window. */
enum hone_status hn_window_weight(const struct hn_window *window, const char *stream,
	const char *weight, double *out, struct hone_error *err);
/* The same over one micro-batch, for what is summed as it goes. */
enum hone_status hn_window_micro_weight(const struct hn_window *window, int64_t micro,
	const char *stream, const char *weight, double *out, struct hone_error *err);

/* Where a program wants its columns: found once, by name.  A column that no node reads is not
 * there and is not filled. */
struct hn_binding {
	struct hn_program *program;
	struct hn_binding_stream *streams;
	uint32_t n_streams;
	struct hn_arena arena;
};
void hn_binding_init(
	struct hn_binding *binding, const struct hn_window *window, struct hn_program *program);
void hn_binding_fini(struct hn_binding *binding);

/* Writes micro-batch i into the program's columns and sets its live rows. */
enum hone_status hn_window_bind(const struct hn_window *window, int64_t i,
	const struct hn_binding *binding, struct hone_error *err);

#endif
