/*
 * segment.c - between rows and their segments: reduce, broadcast.
 */
#include "graph/ops/ops.h"

/* The row space of segments that offsets speak of; 0 when they are no offsets. */
static uint32_t
segments_of(const struct hn_infer *infer, const struct hn_value *offsets)
{
	return offsets->dtype == HONE_DTYPE_I32 ? infer->graph->spaces[offsets->space].segments : 0;
}

/* Are `rows` those that the offsets cut? */
static bool
check_rows(struct hn_infer *infer, const struct hn_value *rows, const struct hn_value *offsets)
{
	const struct hn_graph *graph = infer->graph;
	const uint32_t cut = graph->spaces[offsets->space].rows;

	return rows->space == cut ||
		hn_infer_fail(infer, "rows of '%s' meet offsets of rows of '%s'",
			graph->spaces[rows->space].name, graph->spaces[cut].name);
}

/* [N,D] -> [S,D]: it couples rows, so it never runs in chunks. */
static bool
infer_reduce(struct hn_infer *infer)
{
	const uint32_t segments = segments_of(infer, infer->in[1]);

	if (!segments)
		return hn_infer_fail(infer, "the second operand holds no segment offsets");
	if (!check_rows(infer, infer->in[0], infer->in[1]))
		return false;
	infer->out[0] = (struct hn_value){.dtype = infer->graph->stat,
		.rank = 2,
		.space = segments,
		.dim = {infer->graph->spaces[segments].capacity, hn_value_cols(infer->in[0])}};
	return true;
}

static bool
infer_reduce_back(struct hn_infer *infer)
{
	hn_infer_like(infer, 0, infer->in[1], infer->in[1]->dtype);
	return true;
}

static bool
infer_broadcast(struct hn_infer *infer)
{
	const struct hn_graph *graph = infer->graph;
	const uint32_t segments = segments_of(infer, infer->in[1]);

	if (!segments || infer->in[0]->space != segments)
		return hn_infer_fail(infer, "rows of '%s' meet offsets of segments '%s'",
			graph->spaces[infer->in[0]->space].name, graph->spaces[segments].name);
	if (!check_rows(infer, infer->in[2], infer->in[1]))
		return false;
	hn_infer_rows(infer, 0, infer->in[2], hn_value_cols(infer->in[0]), infer->in[0]->dtype);
	return true;
}

/* One op for all kinds; it sees x and y, as MAX and LSE need them. */
static void
backward_reduce(struct hn_gradient *grad)
{
	const hone_node in[4] = {grad->dy[0], grad->in[0], grad->out[0], grad->in[1]};

	(void)grad->graph->base.vt->node(&grad->graph->base, HONE_OP_SEGMENT_REDUCE_BACK, 4, in,
		grad->node->attr, grad->node->attr_size, 1, &grad->dx[0]);
}

/* A segment's row was repeated for each of its rows, so theirs add up. */
static void
backward_broadcast(struct hn_gradient *grad)
{
	grad->dx[0] =
		hone_segment_reduce(&grad->graph->base, grad->dy[0], grad->in[1], HONE_REDUCE_SUM);
}

static const struct hn_op table[] = {
	{HONE_OP_SEGMENT_REDUCE, "segment_reduce", HN_OP_PURE, sizeof(struct hone_attr_reduce), 2,
		2, 1, -1, infer_reduce, backward_reduce},
	{HONE_OP_SEGMENT_REDUCE_BACK, "segment_reduce_back", HN_OP_PURE,
		sizeof(struct hone_attr_reduce), 4, 4, 1, -1, infer_reduce_back, NULL},
	{HONE_OP_SEGMENT_BROADCAST, "segment_broadcast", HN_OP_PURE, 0, 3, 3, 1, -1,
		infer_broadcast, backward_broadcast},
};

const struct hn_op_family hn_ops_segment = HN_OP_FAMILY(table);
