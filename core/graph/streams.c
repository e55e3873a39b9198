/*
 * streams.c - the row spaces of a batch and their columns: streams, selections, row keys.
 *
 * A stream "text" of N rows in S segments has the spaces
 *
 *     text              N     a row per token
 *     text.segments     S     a row per segment
 *     text.offsets      S+1   bounds: segment s has the rows offsets[s] .. offsets[s+1]
 *     text.<selection>  M     the rows where a column is set; they index into "text"
 *
 * Sizes here are capacities; how many rows live is said with each micro-batch.  A column is a
 * leaf that the data stage fills by its name, and it exists only when something reads it: so
 * nobody fills what nobody wants.  Rows of two spaces never meet, and every refusal names both.
 */
#include <stdio.h>

#include "graph/build_state.h"

/* The row spaces of one stream and of its selections, at their capacities.  Rows of selections
 * are what heads see, so ops over them run in chunks. */
static void
make_stream(struct hn_builder *b, struct hn_stream_state *s, const char *name)
{
	const struct hn_capacity *capacity = &b->request->capacity;
	const struct hn_layout *layout = b->request->layout;
	char text[256];

	s->name = name;
	s->rows = hn_graph_space(b->graph, name, capacity->rows);
	(void)snprintf(text, sizeof text, "%s.segments", name);
	s->segments = hn_graph_space(b->graph, text, capacity->segments);
	(void)snprintf(text, sizeof text, "%s.offsets", name);
	s->offsets = hn_graph_space(b->graph, text, capacity->segments + 1);
	b->graph->spaces[s->offsets].segments = s->segments;
	b->graph->spaces[s->offsets].rows = s->rows;
	s->selections = hn_arena_array(
		&b->graph->arena, layout ? layout->n_selections + 1u : 1u, sizeof *s->selections);
	for (uint32_t i = 0; layout && i < layout->n_selections; i++) {
		const struct hn_decl_selection *decl = &layout->selections[i];
		struct hn_selection_state *sel = &s->selections[s->n_selections];

		if (!hn_streq(decl->stream, name))
			continue;
		sel->name = decl->name;
		sel->column = decl->column;
		sel->prefix = hn_arena_printf(&b->graph->arena, "%s.%s", name, decl->name);
		sel->space = hn_graph_space(b->graph, sel->prefix, capacity->selected);
		b->graph->spaces[sel->space].is_chunked = true;
		s->n_selections++;
	}
}

/* One state per declared stream, in the order of the declaration: hone_stream.id counts
 * it from 1. Programs without an objective have the one stream "text". */
void
hn_make_streams(struct hn_builder *b)
{
	const struct hn_layout *layout = b->request->layout;

	b->n_streams = layout ? layout->n_streams : 1;
	b->streams = hn_arena_array(&b->graph->arena, b->n_streams, sizeof *b->streams);
	for (uint32_t i = 0; i < b->n_streams; i++)
		make_stream(b, &b->streams[i], layout ? layout->streams[i] : "text");
}

/* ---- columns of a stream ---- */

/* The state behind a handle. A wrong handle fails the graph and gives the first stream,
 * so that callers need no second check: nothing they append counts any more. */
static struct hn_stream_state *
stream_state(struct hn_builder *b, hone_stream stream)
{
	if (stream.id == 0 || stream.id > b->n_streams) {
		hn_graph_fail(b->graph, HONE_EPLUGIN, "no stream %u", stream.id);
		return &b->streams[0];
	}
	return &b->streams[stream.id - 1];
}

/* A column named "<stream>.<name>" of rows of a space, `cols` wide (0: a vector). */
hone_node
hn_stream_column(struct hn_builder *b, const char *prefix, const char *name, int32_t dtype,
	uint32_t space, int64_t cols)
{
	const int64_t dim[2] = {b->graph->spaces[space].capacity, cols};
	char text[256];

	(void)snprintf(text, sizeof text, "%s.%s", prefix, name);
	return hn_graph_column(b->graph, text, dtype, space, cols ? 2 : 1, dim);
}

/* Token ids i32 [N]. */
hone_node
hn_build_tokens(const struct hone_build *at, hone_stream stream)
{
	struct hn_builder *b = hn_at_of(at)->builder;
	const struct hn_stream_state *s = stream_state(b, stream);

	return hn_stream_column(b, s->name, "tokens", HONE_DTYPE_I32, s->rows, 0);
}

/* Positions i32 [N], from 0 in every segment; in decoding they go on where the cache
 * ends. */
hone_node
hn_build_positions(const struct hone_build *at, hone_stream stream)
{
	struct hn_builder *b = hn_at_of(at)->builder;
	const struct hn_stream_state *s = stream_state(b, stream);

	return hn_stream_column(b, s->name, "positions", HONE_DTYPE_I32, s->rows, 0);
}

/* An upper bound in rows, the same for all streams: what a table over positions must
 * cover. */
int64_t
hn_build_max_length(const struct hone_build *at, hone_stream stream)
{
	(void)stream;
	return hn_at_of(at)->builder->request->capacity.longest;
}

/* Bounds of the segments, i32 [S+1], of a row space of their own. */
hone_node
hn_stream_offsets(struct hn_builder *b, hone_stream stream)
{
	const struct hn_stream_state *s = stream_state(b, stream);

	return hn_stream_column(b, s->name, "offsets", HONE_DTYPE_I32, s->offsets, 0);
}

hone_node
hn_build_offsets(const struct hone_build *at, hone_stream stream)
{
	return hn_stream_offsets(hn_at_of(at)->builder, stream);
}

/* Where the keys of each segment begin and end in the key stream, i32 [S,2]. In training
 * that is what the offsets say; in decoding, rows of the cache. */
hone_node
hn_stream_ranges(struct hn_builder *b, hone_stream stream)
{
	const struct hn_stream_state *s = stream_state(b, stream);

	return hn_stream_column(b, s->name, "ranges", HONE_DTYPE_I32, s->segments, 2);
}

/* What a row is called, whatever its number in this micro-batch: (example in the step,
 * position in the segment). Only rows of streams and selections have such a name; random
 * draws over other rows would depend on the split into micro-batches, so they are
 * refused. */
hone_node
hn_row_keys(struct hn_builder *b, hone_node x)
{
	const uint32_t space = hn_graph_value(b->graph, x.id)->space;

	for (uint32_t i = 0; i < b->n_streams; i++) {
		const struct hn_stream_state *s = &b->streams[i];

		if (s->rows == space)
			return hn_stream_column(b, s->name, "keys", HONE_DTYPE_I32, space, 2);
		for (uint32_t k = 0; k < s->n_selections; k++)
			if (s->selections[k].space == space)
				return hn_stream_column(b, s->selections[k].prefix, "keys",
					HONE_DTYPE_I32, space, 2);
	}
	hn_graph_fail(b->graph, HONE_EPLUGIN, "dropout of rows of '%s', which have no keys",
		b->graph->spaces[space].name);
	return hone_node_none();
}

/* The handle of a declared stream. */
hone_stream
hn_build_stream(const struct hone_build *at, const char *name)
{
	struct hn_builder *b = hn_at_of(at)->builder;

	for (uint32_t i = 0; i < b->n_streams; i++)
		if (hn_streq(b->streams[i].name, name))
			return (hone_stream){i + 1};
	hn_graph_fail(b->graph, HONE_EPLUGIN, "stream '%s' was not declared", name);
	return (hone_stream){0};
}

/* ---- columns and selections ---- */

/* What the objective declared under a name. Columns that the host makes by itself
 * (tokens, positions) are not among them and have calls of their own. */
static const struct hn_decl_column *
declared_column(struct hn_builder *b, const char *stream, const char *name)
{
	const struct hn_layout *layout = b->request->layout;

	for (uint32_t i = 0; layout && i < layout->n_columns; i++)
		if (hn_streq(layout->columns[i].stream, stream) &&
			hn_streq(layout->columns[i].name, name))
			return &layout->columns[i];
	hn_graph_fail(b->graph, HONE_EPLUGIN, "column '%s' of stream '%s' was not declared", name,
		stream);
	return NULL;
}

static const struct hn_selection_state *
find_selection(struct hn_builder *b, const struct hn_stream_state *s, const char *name)
{
	for (uint32_t k = 0; k < s->n_selections; k++)
		if (hn_streq(s->selections[k].name, name))
			return &s->selections[k];
	hn_graph_fail(b->graph, HONE_EPLUGIN, "selection '%s' of stream '%s' was not declared",
		name, s->name);
	return NULL;
}

/* A column as it was declared: one value per row of the stream, or per segment. */
hone_node
hn_build_column(const struct hone_build *at, hone_stream stream, const char *name)
{
	struct hn_builder *b = hn_at_of(at)->builder;
	const struct hn_stream_state *s = stream_state(b, stream);
	const struct hn_decl_column *decl = declared_column(b, s->name, name);

	if (!decl)
		return hone_node_none();
	return hn_stream_column(b, s->name, name, decl->dtype,
		decl->scope == HONE_PER_ROW ? s->rows : s->segments, 0);
}

/* Rows [N,D] of a stream to the chosen rows [M,D]: a gather, whose gradient adds back. */
hone_node
hn_build_select(const struct hone_build *at, hone_stream stream, const char *selection, hone_node x)
{
	struct hn_builder *b = hn_at_of(at)->builder;
	const struct hn_stream_state *s = stream_state(b, stream);
	const struct hn_selection_state *sel = find_selection(b, s, selection);

	if (!sel || b->graph->error.status)
		return hone_node_none();
	if (hn_graph_value(b->graph, x.id)->space != s->rows) {
		hn_graph_fail(b->graph, HONE_EPLUGIN,
			"selection '%s' is of rows of '%s', not of '%s'", selection, s->name,
			b->graph->spaces[hn_graph_value(b->graph, x.id)->space].name);
		return hone_node_none();
	}
	return hone_gather_rows(&b->graph->base, x,
		hn_stream_column(b, sel->prefix, "index", HONE_DTYPE_I32, sel->space, 0));
}

/* A per-row column of the stream, read at the chosen rows: the data stage fills it in
 * that order, so no integer has to be gathered on the device. */
hone_node
hn_build_selected(
	const struct hone_build *at, hone_stream stream, const char *selection, const char *name)
{
	struct hn_builder *b = hn_at_of(at)->builder;
	const struct hn_stream_state *s = stream_state(b, stream);
	const struct hn_selection_state *sel = find_selection(b, s, selection);
	const struct hn_decl_column *decl = declared_column(b, s->name, name);

	if (!sel || !decl)
		return hone_node_none();
	if (decl->scope != HONE_PER_ROW) {
		hn_graph_fail(b->graph, HONE_EPLUGIN,
			"column '%s' is not per row: it cannot be read through selection '%s'",
			name, selection);
		return hone_node_none();
	}
	return hn_stream_column(b, sel->prefix, name, decl->dtype, sel->space, 0);
}
