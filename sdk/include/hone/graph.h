/*
 * hone/graph.h - appending nodes to a graph of the host.
 *
 * A plugin writes straight-line maths with these wrappers and checks once at the end:
 *
 *     hone_node h = hone_matmul_nt(g, x, a);
 *     y = hone_add(g, y, hone_matmul_nt(g, h, b));
 *     return hone_graph_status(g, err);
 *
 * The graph keeps its first error; after it every call returns the node 0 and does nothing.
 * A node is a small id, valid until the call in which it was made returns: a plugin keeps
 * none.  The host differentiates, plans memory, chooses types, recomputes and fuses; equal
 * pure nodes are one node.
 *
 * Shapes: dim[0] of a value with a row space is a capacity, the number of rows that it may
 * have at most.  It never enters the maths: ask hone_count() for the live number.  Two
 * values meet only when their row spaces are the same.
 *
 * Types: the host decides.  Ops in op.h marked "compute" have the program's activation type,
 * those marked "stat" f32 (f64 when gradients are checked).  Plugins do not cast.
 *
 * All functions: [build], on the thread of the build.
 */
#ifndef HONE_GRAPH_H
#define HONE_GRAPH_H

#include <stddef.h>

#include <hone/op.h>
#include <hone/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hone_node {
	uint32_t id; /* 0 = none */
} hone_node;

typedef struct hone_space {
	uint32_t id; /* 0 = static: an ordinary number of rows */
} hone_space;

/* What is known of a value. */
struct hone_value {
	uint32_t struct_size;
	int32_t dtype;
	uint32_t rank;
	hone_space space; /* of axis 0 */
	int64_t dim[HONE_MAX_RANK];
};

struct hone_graph {
	const struct hone_graph_vt *vt; /* the host's state follows */
};

struct hone_graph_vt {
	uint32_t struct_size;
	uint32_t pad;

	/* Appends a node with n_out outputs; on error all outputs are 0.  An absent operand is
	 * the node 0.  Attributes are copied. */
	enum hone_status (*node)(struct hone_graph *g, uint32_t op, uint32_t n_in,
		const hone_node *in, const void *attr, uint32_t attr_size, uint32_t n_out,
		hone_node *out);

	/* Shape and type; the caller sets out->struct_size. */
	enum hone_status (*value)(
		const struct hone_graph *g, hone_node node, struct hone_value *out);

	/* A value that never changes; `data` is copied. */
	hone_node (*constant)(struct hone_graph *g, int32_t dtype, uint32_t rank,
		const int64_t *dim, const void *data);

	/* Live rows of a row space as a value [1] stat. */
	hone_node (*count)(struct hone_graph *g, hone_space space);

	/* The same value, through which no gradient flows. */
	hone_node (*stop_gradient)(struct hone_graph *g, hone_node node);

	/* The sticky error: reads it, or sets it when none is set yet. */
	enum hone_status (*status)(const struct hone_graph *g, struct hone_error *err);
	void (*fail)(struct hone_graph *g, enum hone_status status, const char *text);

	/* Id of a plugin's op by its name; 0 when nobody registered it. */
	uint32_t (*custom_op)(const struct hone_graph *g, const char *name);

	/* x with row i (axis 0) or column j (axis 1) times v[i] or v[j]: see hone_scale_rows and
	 * hone_scale_cols. */
	hone_node (*scale_axis)(struct hone_graph *g, hone_node x, hone_node v, int32_t axis);
};

static inline enum hone_status
hone_graph_status(const struct hone_graph *g, struct hone_error *err)
{
	return g->vt->status(g, err);
}

/* Shape and type of a node; all zero for the node 0. */
static inline struct hone_value
hone_value_of(const struct hone_graph *g, hone_node node)
{
	struct hone_value value;

	memset(&value, 0, sizeof value);
	value.struct_size = (uint32_t)sizeof value;
	(void)g->vt->value(g, node, &value);
	return value;
}

static inline hone_node
hone_count(struct hone_graph *g, hone_space space)
{
	return g->vt->count(g, space);
}

static inline hone_node
hone_stop_gradient(struct hone_graph *g, hone_node node)
{
	return g->vt->stop_gradient(g, node);
}

static inline hone_node
hone_node_none(void)
{
	hone_node none = {0};

	return none;
}

/* One output, up to three operands: what most wrappers are. */
static inline hone_node
hone_node_make(struct hone_graph *g, uint32_t op, hone_node a, hone_node b, hone_node c,
	const void *attr, uint32_t attr_size)
{
	const hone_node in[3] = {a, b, c};
	hone_node out = {0};

	(void)g->vt->node(g, op, c.id ? 3 : b.id ? 2 : a.id ? 1 : 0, in, attr, attr_size, 1, &out);
	return out;
}

static inline hone_node
hone_matmul(struct hone_graph *g, hone_node a, hone_node b, int32_t form)
{
	const struct hone_attr_matmul attr = {form, 0};

	return hone_node_make(
		g, HONE_OP_MATMUL, a, b, hone_node_none(), &attr, (uint32_t)sizeof attr);
}

/* [N,I] x [O,I] -> [N,O]:  a b^T. */
static inline hone_node
hone_matmul_nt(struct hone_graph *g, hone_node a, hone_node b)
{
	return hone_matmul(g, a, b, HONE_MATMUL_NT);
}

/* [N,O] x [O,I] -> [N,I]:  a b. */
static inline hone_node
hone_matmul_nn(struct hone_graph *g, hone_node a, hone_node b)
{
	return hone_matmul(g, a, b, HONE_MATMUL_NN);
}

/* [N,O] x [N,I] -> [O,I]:  a^T b, a sum over rows. */
static inline hone_node
hone_matmul_tn(struct hone_graph *g, hone_node a, hone_node b)
{
	return hone_matmul(g, a, b, HONE_MATMUL_TN);
}

static inline hone_node
hone_unary(struct hone_graph *g, hone_node x, int32_t kind)
{
	const struct hone_attr_unary attr = {kind, 0};

	return hone_node_make(g, HONE_OP_UNARY, x, hone_node_none(), hone_node_none(), &attr,
		(uint32_t)sizeof attr);
}

static inline hone_node
hone_binary(struct hone_graph *g, hone_node a, hone_node b, int32_t kind)
{
	const struct hone_attr_binary attr = {kind, 0};

	return hone_node_make(
		g, HONE_OP_BINARY, a, b, hone_node_none(), &attr, (uint32_t)sizeof attr);
}

static inline hone_node
hone_add(struct hone_graph *g, hone_node a, hone_node b)
{
	return hone_binary(g, a, b, HONE_BINARY_ADD);
}

static inline hone_node
hone_sub(struct hone_graph *g, hone_node a, hone_node b)
{
	return hone_binary(g, a, b, HONE_BINARY_SUB);
}

static inline hone_node
hone_mul(struct hone_graph *g, hone_node a, hone_node b)
{
	return hone_binary(g, a, b, HONE_BINARY_MUL);
}

static inline hone_node
hone_div(struct hone_graph *g, hone_node a, hone_node b)
{
	return hone_binary(g, a, b, HONE_BINARY_DIV);
}

/* alpha x + beta. */
static inline hone_node
hone_affine(struct hone_graph *g, hone_node x, double alpha, double beta)
{
	const struct hone_attr_scale attr = {alpha, beta};

	return hone_node_make(g, HONE_OP_SCALE, x, hone_node_none(), hone_node_none(), &attr,
		(uint32_t)sizeof attr);
}

static inline hone_node
hone_scale(struct hone_graph *g, hone_node x, double alpha)
{
	return hone_affine(g, x, alpha, 0.0);
}

static inline hone_node
hone_scale_axis(struct hone_graph *g, hone_node x, hone_node v, int32_t axis)
{
	if (g->vt->struct_size <
		offsetof(struct hone_graph_vt, scale_axis) + sizeof g->vt->scale_axis) {
		(g->vt->fail)(g, HONE_EUNSUPPORTED, "this host cannot scale along an axis");
		return hone_node_none();
	}
	return g->vt->scale_axis(g, x, v, axis);
}

/* diag(v) x: row i of x [R,D] times v[i].  v is R numbers as [R], [R,1] or [1,R]; where R is a
 * row space, a value of that space.  The number of them is checked, and which axis is meant is
 * never told from lengths.  For a weight [O,I] these are the outputs. */
static inline hone_node
hone_scale_rows(struct hone_graph *g, hone_node x, hone_node v)
{
	return hone_scale_axis(g, x, v, 0);
}

/* x diag(v): column j of x [R,D] times v[j].  v is D numbers as [D], [1,D] or [D,1].  For a
 * weight [O,I] these are the inputs, for an output y [N,O] of a site its outputs.  A vector
 * x [D] has one axis: rows and columns are the same there. */
static inline hone_node
hone_scale_cols(struct hone_graph *g, hone_node x, hone_node v)
{
	return hone_scale_axis(g, x, v, 1);
}

/* Sum over the live rows, [N,D] -> [1,D] stat; over columns, [N,D] -> [N,1] stat. */
static inline hone_node
hone_sum_rows(struct hone_graph *g, hone_node x)
{
	return hone_node_make(
		g, HONE_OP_REDUCE_ROWS, x, hone_node_none(), hone_node_none(), NULL, 0);
}

static inline hone_node
hone_reduce_cols(struct hone_graph *g, hone_node x, int32_t kind)
{
	const struct hone_attr_reduce attr = {kind, 0};

	return hone_node_make(g, HONE_OP_REDUCE_COLS, x, hone_node_none(), hone_node_none(), &attr,
		(uint32_t)sizeof attr);
}

/* Rows of `table` by index: [V,D], i32 [M] -> [M,D]. */
static inline hone_node
hone_gather_rows(struct hone_graph *g, hone_node table, hone_node index)
{
	return hone_node_make(g, HONE_OP_GATHER_ROWS, table, index, hone_node_none(), NULL, 0);
}

/* x with the rows at `index` replaced. */
static inline hone_node
hone_put_rows(struct hone_graph *g, hone_node x, hone_node rows, hone_node index)
{
	return hone_node_make(g, HONE_OP_PUT_ROWS, x, rows, index, NULL, 0);
}

static inline hone_node
hone_slice_cols(struct hone_graph *g, hone_node x, int64_t begin, int64_t end)
{
	const struct hone_attr_slice attr = {begin, end};

	return hone_node_make(g, HONE_OP_SLICE_COLS, x, hone_node_none(), hone_node_none(), &attr,
		(uint32_t)sizeof attr);
}

/* x [1,D], [D] or [1] repeated for every row of `like`. */
static inline hone_node
hone_broadcast(struct hone_graph *g, hone_node x, hone_node like)
{
	return hone_node_make(g, HONE_OP_BROADCAST, x, like, hone_node_none(), NULL, 0);
}

/* [N,D] -> [S,D] and back, by offsets i32 [S+1]. */
static inline hone_node
hone_segment_reduce(struct hone_graph *g, hone_node x, hone_node offsets, int32_t kind)
{
	const struct hone_attr_reduce attr = {kind, 0};

	return hone_node_make(g, HONE_OP_SEGMENT_REDUCE, x, offsets, hone_node_none(), &attr,
		(uint32_t)sizeof attr);
}

/* -log p(label) per row, [M,1] stat; a negative label gives 0. */
static inline hone_node
hone_nll(struct hone_graph *g, hone_node logits, hone_node labels, double label_smoothing)
{
	const struct hone_attr_nll attr = {label_smoothing};
	const hone_node in[2] = {logits, labels};
	hone_node out[2] = {{0}, {0}};

	(void)g->vt->node(g, HONE_OP_NLL, 2, in, &attr, (uint32_t)sizeof attr, 2, out);
	return out[0];
}

/* x w / sqrt(mean(x^2) + eps): for norms that are not sites. */
static inline hone_node
hone_rms_norm(struct hone_graph *g, hone_node x, hone_node w, double eps)
{
	const struct hone_attr_norm attr = {eps};
	const hone_node in[2] = {x, w};
	hone_node out[2] = {{0}, {0}};

	(void)g->vt->node(g, HONE_OP_RMS_NORM, 2, in, &attr, (uint32_t)sizeof attr, 2, out);
	return out[0];
}

#ifdef __cplusplus
}
#endif
#endif
