/*
 * attention.c - rotary positions and attention over segments.
 *
 * A rotation is undone by the rotation with the negative angle, so RoPE's backward is RoPE.
 */
#include "graph/ops/ops.h"

/* i32 [N] -> [N,2n]: cosines, then sines. Angles depend on positions alone, so one table
 * serves every layer; it has no gradient. */
static bool
infer_table(struct hn_infer *infer)
{
	const struct hone_attr_rope_table *attr = infer->attr;

	if (infer->in[0]->dtype != HONE_DTYPE_I32)
		return hn_infer_fail(infer, "positions are i32");
	if (attr->n < 1 || attr->n > 128)
		return hn_infer_fail(infer, "1 to 128 frequencies");
	hn_infer_rows(infer, 0, infer->in[0], 2 * attr->n, infer->graph->stat);
	return true;
}

/* The table's 2n columns may be fewer than head_dim: the columns behind them are not
 * rotated. */
static bool
infer_rope(struct hn_infer *infer)
{
	const struct hone_attr_rope *attr = infer->attr;
	const struct hn_value *x = infer->in[0], *t = infer->in[1];

	if (x->rank != 2 || attr->head_dim < 1 || x->dim[1] % attr->head_dim)
		return hn_infer_fail(infer, "columns are not a multiple of head_dim");
	if (t->rank != 2 || t->space != x->space || t->dim[1] > attr->head_dim)
		return hn_infer_fail(infer, "the table does not fit the rows or head_dim");
	hn_infer_like(infer, 0, x, x->dtype);
	return true;
}

/* dx = R^T dy, and R^T is R with the negative angle. */
static void
backward_rope(struct hn_gradient *grad)
{
	struct hone_attr_rope attr = *(const struct hone_attr_rope *)grad->node->attr;

	attr.inverse = !attr.inverse;
	grad->dx[0] = hone_node_make(&grad->graph->base, HONE_OP_ROPE, grad->dy[0], grad->in[1],
		hone_node_none(), &attr, sizeof attr);
}

/* Shapes before anything is read from them. Offsets know which rows they cut, and those
 * must be the queries' rows: two streams of equal capacity are still two. */
static bool
check_attention(struct hn_infer *infer, const struct hn_value *const *in)
{
	const struct hone_attr_attention *attr = infer->attr;
	const struct hn_graph *graph = infer->graph;
	const struct hn_value *q = in[0], *k = in[1], *v = in[2], *offsets = in[3], *ranges = in[4];
	const int64_t kv = attr->n_kv_heads * attr->head_dim;

	if (attr->n_heads < 1 || attr->n_kv_heads < 1 || attr->head_dim < 1 ||
		attr->n_heads % attr->n_kv_heads)
		return hn_infer_fail(infer, "heads are not a multiple of key/value heads");
	if (hn_value_cols(q) != attr->n_heads * attr->head_dim || hn_value_cols(k) != kv ||
		hn_value_cols(v) != kv || k->space != v->space)
		return hn_infer_fail(infer, "columns do not fit the heads");
	if (offsets->dtype != HONE_DTYPE_I32 || ranges->dtype != HONE_DTYPE_I32)
		return hn_infer_fail(infer, "offsets and ranges are i32");
	if (graph->spaces[offsets->space].rows != q->space)
		return hn_infer_fail(infer, "queries are rows of '%s', offsets are of rows of '%s'",
			graph->spaces[q->space].name,
			graph->spaces[graph->spaces[offsets->space].rows].name);
	return true;
}

/* o [N,H K] like q, and lse [N,H], which the backward needs to make the softmax again
 * without a row of scores. */
static bool
infer_attention(struct hn_infer *infer)
{
	const struct hone_attr_attention *attr = infer->attr;

	if (!check_attention(infer, infer->in))
		return false;
	hn_infer_like(infer, 0, infer->in[0], infer->graph->compute);
	hn_infer_rows(infer, 1, infer->in[0], attr->n_heads, infer->graph->stat);
	return true;
}

/* do, q, k, v, o, lse, offsets, ranges [, prefix_k, prefix_v] */
static bool
infer_attention_back(struct hn_infer *infer)
{
	const int32_t compute = infer->graph->compute, stat = infer->graph->stat;

	for (uint32_t i = 0; i < infer->n_out; i++)
		hn_infer_like(infer, i, infer->in[i < 3 ? i + 1 : i + 5], i < 3 ? compute : stat);
	return infer->n_out == (infer->n_in == 10 ? 5u : 3u) ||
		hn_infer_fail(infer, "%u results", infer->n_out);
}

/* One op for all operands, because they share the scores; with a prefix two results
 * more, which are sums over all segments and therefore of the statistics type. */
static void
backward_attention(struct hn_gradient *grad)
{
	const uint32_t n_in = grad->node->n_in;
	hone_node in[HN_MAX_IN] = {grad->dy[0], grad->in[0], grad->in[1], grad->in[2], grad->out[0],
		grad->out[1], grad->in[3], grad->in[4]};
	hone_node out[5] = {{0}, {0}, {0}, {0}, {0}};

	if (n_in == 7) {
		in[8] = grad->in[5];
		in[9] = grad->in[6];
	}
	(void)grad->graph->base.vt->node(&grad->graph->base, HONE_OP_ATTENTION_BACK, n_in + 3, in,
		grad->node->attr, grad->node->attr_size, n_in == 7 ? 5 : 3, out);
	for (uint32_t i = 0; i < 3; i++)
		grad->dx[i] = out[i];
	if (n_in == 7) {
		grad->dx[5] = out[3];
		grad->dx[6] = out[4];
	}
}

static const struct hn_op table[] = {
	{HONE_OP_ROPE_TABLE, "rope_table", HN_OP_ROW_LOCAL | HN_OP_PURE,
		sizeof(struct hone_attr_rope_table), 1, 1, 1, -1, infer_table, NULL},
	{HONE_OP_ROPE, "rope", HN_OP_ROW_LOCAL | HN_OP_PURE, sizeof(struct hone_attr_rope), 2, 2, 1,
		0, infer_rope, backward_rope},
	{HONE_OP_ATTENTION, "attention", HN_OP_PURE, sizeof(struct hone_attr_attention), 5, 7, 2,
		-1, infer_attention, backward_attention},
	{HONE_OP_ATTENTION_BACK, "attention_back", HN_OP_PURE, sizeof(struct hone_attr_attention),
		8, 10, 0, -1, infer_attention_back, NULL},
};

const struct hn_op_family hn_ops_attention = HN_OP_FAMILY(table);
