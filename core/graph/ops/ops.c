/*
 * ops.c - finding an op by its id, and what shape rules share.
 */
#include <inttypes.h>
#include <string.h>

#include "graph/ops/ops.h"

static const struct hn_op_family *const families[] = {&hn_ops_product, &hn_ops_elementwise,
	&hn_ops_norm, &hn_ops_attention, &hn_ops_rows, &hn_ops_segment, &hn_ops_reduce,
	&hn_ops_loss, &hn_ops_shape, &hn_ops_optimizer};

const struct hn_op *
hn_op_find(uint32_t op)
{
	for (size_t f = 0; f < sizeof families / sizeof families[0]; f++)
		for (uint32_t i = 0; i < families[f]->n; i++)
			if (families[f]->ops[i].op == op)
				return &families[f]->ops[i];
	return NULL;
}

void
hn_value_print(const struct hn_graph *graph, const struct hn_value *value, struct hn_str *out)
{
	if (!value) {
		hn_str_puts(out, "none");
		return;
	}
	hn_str_printf(out, "%s[", hone_dtype_name(value->dtype));
	for (uint32_t i = 0; i < value->rank; i++) {
		if (i == 0 && value->space)
			hn_str_printf(out, "%s", graph->spaces[value->space].name);
		else
			hn_str_printf(out, "%s%" PRId64, i ? "," : "", value->dim[i]);
	}
	hn_str_putc(out, ']');
}

bool
hn_infer_fail(struct hn_infer *infer, const char *fmt, ...)
{
	struct hn_str text = {0};
	char what[256];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(what, sizeof what, fmt, args);
	va_end(args);
	hn_str_printf(&text, "%s(", infer->op_name);
	for (uint32_t i = 0; i < infer->n_in; i++) {
		if (i)
			hn_str_puts(&text, ", ");
		hn_value_print(infer->graph, infer->in[i], &text);
	}
	hn_graph_fail(infer->graph, HONE_EINVAL, "%s): %s", text.text, what);
	hn_str_fini(&text);
	return false;
}

void
hn_infer_like(struct hn_infer *infer, uint32_t slot, const struct hn_value *like, int32_t dtype)
{
	infer->out[slot] =
		(struct hn_value){.dtype = dtype, .rank = like->rank, .space = like->space};
	memcpy(infer->out[slot].dim, like->dim, sizeof like->dim);
}

void
hn_infer_rows(struct hn_infer *infer, uint32_t slot, const struct hn_value *rows, int64_t cols,
	int32_t dtype)
{
	infer->out[slot] = (struct hn_value){
		.dtype = dtype, .rank = 2, .space = rows->space, .dim = {rows->dim[0], cols}};
}

int64_t
hn_value_cols(const struct hn_value *value)
{
	int64_t n = 1;

	for (uint32_t i = 1; i < value->rank; i++)
		n *= value->dim[i];
	return n;
}

int64_t
hn_value_elems(const struct hn_value *value)
{
	return value->rank ? value->dim[0] * hn_value_cols(value) : 0;
}

bool
hn_is_float(int32_t dtype)
{
	return dtype == HONE_DTYPE_F32 || dtype == HONE_DTYPE_BF16 || dtype == HONE_DTYPE_F16 ||
		dtype == HONE_DTYPE_F64;
}

/* ---- printing ---- */

static const char *const leaf_names[] = {"", "column", "count", "constant", "weight", "param",
	"grad", "moment1", "moment2", "state"};

static void
print_node(const struct hn_graph *graph, const struct hn_node *node, struct hn_str *out)
{
	for (uint32_t i = 0; i < node->n_out; i++) {
		hn_str_printf(out, "%s%%%u ", i ? ", " : "", node->first_out + i);
		hn_value_print(graph, &graph->values[node->first_out + i], out);
	}
	if (node->leaf)
		hn_str_printf(out, " = %s %u", leaf_names[node->leaf], node->leaf_index);
	else
		hn_str_printf(out, " = %s", hn_op_of(graph, node->op)->name);
	for (uint32_t i = 0; i < node->n_in; i++)
		hn_str_printf(out, "%s%%%u", i ? ", " : " ", node->in[i]);
	if (node->name)
		hn_str_printf(out, "  # %s", node->name);
	hn_str_putc(out, '\n');
}

void
hn_graph_print(const struct hn_graph *graph, struct hn_str *out)
{
	for (uint32_t i = 1; i < graph->n_nodes; i++)
		print_node(graph, &graph->nodes[i], out);
}
