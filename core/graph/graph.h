/*
 * graph/graph.h - the graph as the host holds it: values, nodes, row spaces, leaves.
 *
 * A graph is built once per program, in one arena, and never changes after `plan`.  Nodes
 * are in the order of their creation, which is a topological order.  A value is one output
 * of a node; ids start at 1 and are what plugins hold (hone_node).
 */
#ifndef HN_GRAPH_GRAPH_H
#define HN_GRAPH_GRAPH_H

#include <stdbool.h>

#include <hone/graph.h>

#include "base/arena.h"
#include "base/str.h"
#include "base/table.h"

#define HN_MAX_IN  10
#define HN_MAX_OUT 5

#define HN_GROUP_CHEAP UINT32_MAX /* a group of nodes that are recomputed each by itself */

/* Where the memory of a leaf is; `index` says which one. */
enum hn_leaf {
	HN_LEAF_NONE = 0, /* an ordinary node */
	HN_LEAF_COLUMN,   /* filled by the host for every submission; index into columns */
	HN_LEAF_COUNT,    /* live rows of a row space, filled by the program; index = space */
	HN_LEAF_CONST,    /* bytes of the graph; index into constants */
	HN_LEAF_WEIGHT,   /* a stored weight; index into the model's weights */
	HN_LEAF_PARAM,    /* value of a parameter; index into the parameters */
	HN_LEAF_GRAD,     /* gradient of a parameter */
	HN_LEAF_MOMENT1,  /* first and second moment of the optimizer */
	HN_LEAF_MOMENT2,
	HN_LEAF_STATE, /* lives across submissions (key/value cache); index into states */
};

struct hn_space {
	const char *name;
	int64_t capacity;
	uint32_t segments, rows; /* of offsets: its segments, and the rows that they cut */
	bool is_chunked;         /* ops over its rows run in row chunks */
};

struct hn_value {
	int32_t dtype;
	uint32_t rank;
	uint32_t space;
	uint32_t node, slot; /* who makes it, and which of its outputs it is */
	int64_t dim[HONE_MAX_RANK];
	bool needs_grad; /* depends on a parameter that trains */
};

struct hn_node {
	uint32_t op;
	uint32_t n_in, n_out;
	uint32_t in[HN_MAX_IN];
	uint32_t first_out; /* value ids first_out .. first_out + n_out - 1 */
	const void *attr;
	uint32_t attr_size;
	int32_t leaf; /* enum hn_leaf */
	uint32_t leaf_index;
	uint32_t group;   /* recomputed together with these; 0 = kept */
	bool is_backward; /* made by differentiation */
	bool is_clone;    /* a recomputation: never merged with its original */
	bool stops_gradient;
	const char *name; /* where it comes from: "model.layers.0.mlp.up_proj", for reports */
};

/* A named input that the host fills: a column of a stream, offsets, positions, scalars. */
struct hn_column {
	const char *name; /* "text.tokens", "step.inv_weight.nll" */
	int32_t dtype;
	uint32_t rank;
	uint32_t space;
	int64_t dim[HONE_MAX_RANK];
	uint32_t value;
};

struct hn_constant {
	const void *bytes;
	uint64_t n_bytes;
};

struct hn_state {
	const char *name;
	uint64_t n_bytes;
	uint32_t value;
};

/* An output that outlives the submission. */
struct hn_output {
	uint32_t value;
	int32_t leaf; /* GRAD, STATE, PARAM, MOMENT1/2: stored there; NONE: read by name */
	uint32_t leaf_index;
	bool accumulates; /* added to what is there */
	const char *name;
};

struct hn_custom_ops; /* graph/custom.h */

struct hn_graph {
	struct hone_graph base; /* first: a plugin's struct hone_graph * is this */
	struct hn_arena arena;
	int32_t compute, stat; /* enum hone_dtype */

	struct hn_space *spaces; /* [0] is "static" */
	uint32_t n_spaces;
	size_t cap_spaces;
	struct hn_value *values; /* [0] unused */
	uint32_t n_values;
	size_t cap_values;
	struct hn_node *nodes; /* [0] unused */
	uint32_t n_nodes;
	size_t cap_nodes;
	struct hn_column *columns;
	uint32_t n_columns;
	size_t cap_columns;
	struct hn_constant *constants;
	uint32_t n_constants;
	size_t cap_constants;
	struct hn_state *states;
	uint32_t n_states;
	size_t cap_states;
	struct hn_output *outputs;
	uint32_t n_outputs;
	size_t cap_outputs;

	const struct hn_custom_ops *custom; /* plugins' ops, borrowed; NULL = none */
	struct hn_table equal;              /* bytes of a pure node -> node: equal nodes are one */
	const char *where;                  /* name given to new nodes; borrowed from the model */
	uint32_t group;                     /* group given to new nodes */
	bool in_backward, in_clone;
	bool recomputes_cheap;   /* norms and elementwise results are made again in the backward */
	struct hone_error error; /* the first; status 0 = none */
	bool is_blamed;          /* ... and it says whose it is */
};

/* compute: F32, BF16 or F64 (stat follows). */
void hn_graph_init(struct hn_graph *graph, int32_t compute);
void hn_graph_fini(struct hn_graph *graph);

/* A new row space; names need not differ. */
uint32_t hn_graph_space(struct hn_graph *graph, const char *name, int64_t capacity);

/* Leaves.  Equal ones are one node. */
hone_node hn_graph_column(struct hn_graph *graph, const char *name, int32_t dtype, uint32_t space,
	uint32_t rank, const int64_t *dim);
hone_node hn_graph_weight(
	struct hn_graph *graph, uint32_t index, uint32_t rank, const int64_t *dim);
/* One memory may be read in several shapes of as many numbers, each a leaf of its own. */
hone_node hn_graph_param(
	struct hn_graph *graph, uint32_t index, uint32_t rank, const int64_t *dim, bool needs_grad);
hone_node hn_graph_leaf(struct hn_graph *graph, int32_t leaf, uint32_t index, int32_t dtype,
	uint32_t space, uint32_t rank, const int64_t *dim);
hone_node hn_graph_state(struct hn_graph *graph, const char *name, int32_t dtype, uint32_t space,
	uint32_t rank, const int64_t *dim);

/* x with row i (axis 0) or column j (axis 1) times v[i] or v[j]; see hone_scale_rows. */
hone_node hn_graph_scale_axis(struct hn_graph *graph, hone_node x, hone_node v, int32_t axis);

/* Makes a value an output. */
void hn_graph_output(struct hn_graph *graph, hone_node value, const char *name);
void hn_graph_store(
	struct hn_graph *graph, hone_node value, int32_t leaf, uint32_t index, bool accumulates);

/* Sets the sticky error when none is set; printf form. */
HONE_PRINTF(3, 4)
void hn_graph_fail(struct hn_graph *graph, enum hone_status status, const char *fmt, ...);

/* An id that a plugin made up is the value 0, which has no rank. */
static inline const struct hn_value *
hn_graph_value(const struct hn_graph *graph, uint32_t id)
{
	return &graph->values[id < graph->n_values ? id : 0];
}

/* "f32[text,64]": type, row space or size, sizes; "none" for NULL. */
void hn_value_print(const struct hn_graph *graph, const struct hn_value *value, struct hn_str *out);
/* Node by node as text, for tests and `hone plan --graph`. */
void hn_graph_print(const struct hn_graph *graph, struct hn_str *out);

/* ---- op families: what the graph must know of an op ---- */

struct hn_infer {
	struct hn_graph *graph;
	uint32_t op;
	const struct hn_value *in[HN_MAX_IN]; /* NULL = absent */
	uint32_t n_in, n_out;
	const void *attr;
	uint32_t attr_size;
	struct hn_value out[HN_MAX_OUT]; /* dtype, rank, dim, space to be filled */
	const char *op_name;
};

struct hn_gradient {
	struct hn_graph *graph;
	const struct hn_node *node;
	hone_node in[HN_MAX_IN], out[HN_MAX_OUT];
	hone_node dy[HN_MAX_OUT]; /* 0 = nobody wants it */
	bool wants[HN_MAX_IN];    /* operand needs a gradient */
	hone_node dx[HN_MAX_IN];  /* to be filled where wanted */
};

struct hn_op {
	uint32_t op;
	const char *name;
	uint32_t flags; /* enum hn_op_flags */
	uint32_t attr_size;
	uint32_t min_in, max_in, n_out; /* n_out 0 = asked for by the caller (attention_back) */
	int32_t in_place;               /* operand whose memory output 0 may take, or -1 */
	bool (*infer)(struct hn_infer *infer);      /* false after hn_infer_fail */
	void (*backward)(struct hn_gradient *grad); /* NULL = not differentiable */
};

enum hn_op_flags { HN_OP_ROW_LOCAL = 1, HN_OP_PURE = 2, HN_OP_ACCUMULATES = 4, HN_OP_RANDOM = 8 };

/* NULL for an id that is not in the list. */
const struct hn_op *hn_op_find(uint32_t op);
/* The same with the ops of plugins that this graph knows. */
const struct hn_op *hn_op_of(const struct hn_graph *graph, uint32_t op);

/* Reports a shape error with all operands; returns false. */
HONE_PRINTF(2, 3) bool hn_infer_fail(struct hn_infer *infer, const char *fmt, ...);
/* out[slot] = shape of `like` with a type. */
void hn_infer_like(
	struct hn_infer *infer, uint32_t slot, const struct hn_value *like, int32_t dtype);
/* out[slot] = [rows of `rows` (its space too), cols]. */
void hn_infer_rows(struct hn_infer *infer, uint32_t slot, const struct hn_value *rows, int64_t cols,
	int32_t dtype);
int64_t hn_value_cols(const struct hn_value *value);
int64_t hn_value_elems(const struct hn_value *value);
/* bf16 and f16 may meet f32; i32 not. */
bool hn_is_float(int32_t dtype);

/* ---- passes ---- */

/* Appends the backward of `seeds` (value, cotangent) and stores the gradients of all
 * parameters that need one, accumulating. */
struct hn_seed {
	hone_node value, cotangent;
};
enum hone_status hn_graph_backward(
	struct hn_graph *graph, const struct hn_seed *seeds, uint32_t n, struct hone_error *err);

/* Folds an addition into the product before it where nothing else reads the product. */
void hn_graph_fuse(struct hn_graph *graph);

#endif
