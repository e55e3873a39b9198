/*
 * graph/build_state.h - what build.c (sites) and forward.c (streams, objectives) share while
 * one graph is built.
 */
#ifndef HN_GRAPH_BUILD_STATE_H
#define HN_GRAPH_BUILD_STATE_H

#include "graph/build.h"

#define HN_NO_INSTANCE UINT32_MAX

struct hn_selection_state {
	const char *name, *column;
	uint32_t space;
	char *prefix; /* "text.supervised" */
};

struct hn_stream_state {
	const char *name;
	uint32_t rows, segments, offsets; /* row spaces */
	struct hn_selection_state *selections;
	uint32_t n_selections;
};

struct hn_builder {
	const struct hn_build_request *request;
	struct hn_graph *graph;
	struct hn_stream_state *streams; /* hone_stream.id - 1 */
	uint32_t n_streams;
	hone_node *hidden; /* by the layout's forwards */
	struct hn_site no_site;
	struct hone_loss loss; /* first member of what plugins see; see forward.c */
	struct hn_term *terms;
	hone_node *term_nodes;
	uint32_t n_terms;
	size_t cap_terms, cap_term_nodes;
};

struct hn_at {
	struct hone_build pub; /* first: a plugin's struct hone_build * is this */
	struct hn_builder *builder;
	uint32_t instance; /* whose hook runs; HN_NO_INSTANCE = the architecture or objective */
	bool has_adapters; /* the view has the policy's adapters */
};

extern const struct hone_build_vt hn_build_vt;

hone_node hn_stream_offsets(struct hn_builder *b, hone_stream stream);
hone_node hn_stream_ranges(struct hn_builder *b, hone_stream stream);
/* Row keys i32 [N,2] of the row space of x. */
hone_node hn_row_keys(struct hn_builder *b, hone_node x);

hone_node hn_build_tokens(const struct hone_build *at, hone_stream stream);
hone_node hn_build_positions(const struct hone_build *at, hone_stream stream);
int64_t hn_build_max_length(const struct hone_build *at, hone_stream stream);
hone_node hn_build_forward(const struct hone_build *at, const char *name);
hone_stream hn_build_stream(const struct hone_build *at, const char *name);
hone_node hn_build_column(const struct hone_build *at, hone_stream stream, const char *name);
hone_node hn_build_select(
	const struct hone_build *at, hone_stream stream, const char *selection, hone_node x);
hone_node hn_build_selected(
	const struct hone_build *at, hone_stream stream, const char *selection, const char *column);
hone_node hn_build_head(const struct hone_build *at, const char *kind, hone_node rows);
hone_node hn_build_offsets(const struct hone_build *at, hone_stream stream);

#endif
