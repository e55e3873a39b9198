/*
 * hone/custom_op.h - a plugin role: an operation that hone does not have.
 *
 * A technique that needs one asks for its id by name, hone_custom_op(g, "acme.wkv"), and appends
 * nodes with hone_graph_vt.node as for every other operation.  The op brings its shape rule, a
 * backward that emits nodes (so recomputation, chunks and the memory plan see it), and a
 * kernel for host memory.  It therefore runs on every backend whose memory the host can
 * address: the host runs the kernel between the backend's commands and reports how many.
 *
 * The factory's name is the op's name.  Nothing is kept: all functions are pure.
 */
#ifndef HONE_CUSTOM_OP_H
#define HONE_CUSTOM_OP_H

#include <hone/backend.h>
#include <hone/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The role is HONE_ROLE_OP of hone/op.h. */

enum hone_custom_op_flags {
	HONE_CUSTOM_OP_ROW_LOCAL = 1, /* row i of the results depends on row i of the operands */
	HONE_CUSTOM_OP_PURE = 2,      /* equal nodes may be one node */
};

/* What a backward is given.  An absent node is 0.
 *
 * wants[i] is 1 where operand i depends on something that trains; the op does not choose.  Each
 * wanted dx[i] is a node with the shape, the row space and the type of in[i] (or the type of the
 * statistics); anything else is an error that names the plugin.  None (0) is one, too, unless a
 * result has no cotangent: then what flows through that result alone is nothing.  An operand
 * that has no gradient by design is put in as hone_stop_gradient(g, x), and is never asked for;
 * a gradient that is zero is a node of zeros. */
struct hone_custom_gradient {
	uint32_t struct_size;
	uint32_t n_in, n_out;
	uint32_t attr_size;
	const void *attr;
	const hone_node *in, *out; /* operands and results of the forward */
	const hone_node *dy;       /* [n_out] cotangents; 0 = nobody wants it */
	const uint8_t *wants;      /* [n_in] 1 where dx is asked for */
	hone_node *dx;             /* [n_in] to be filled where wanted; like in[i] */
};

struct hone_op_vt {
	uint32_t struct_size;
	uint32_t flags;     /* enum hone_custom_op_flags */
	uint32_t attr_size; /* of the attribute struct; 0 = none */
	uint32_t min_in, max_in, n_out;

	/* Shapes and types of the results from those of the operands: fills out[0..n_out).
	 * dim[0] of a value with a row space is a capacity and is only passed on.
	 * [build, pure] */
	enum hone_status (*infer)(const void *self, uint32_t n_in, const struct hone_value *in,
		const void *attr, struct hone_value *out, struct hone_error *err);

	/* Appends the nodes of the gradient.  NULL: not differentiable.  [build, pure] */
	enum hone_status (*backward)(const void *self, struct hone_graph *g,
		struct hone_custom_gradient *grad, struct hone_error *err);

	/* Computes one command on host memory: operands by hone_operand_host, live rows by
	 * hone_operand_rows.  The same bits for the same operands.  [step, pure] */
	enum hone_status (*run)(const void *self, const struct hone_command *command,
		const struct hone_run *run, struct hone_error *err);
};

/* Id of a plugin's op by its name; 0, and an error of the graph, when nobody has it.  [build] */
static inline uint32_t
hone_custom_op(struct hone_graph *g, const char *name)
{
	return g->vt->custom_op(g, name);
}

#ifdef __cplusplus
}
#endif
#endif
