/*
 * graph/build_state.h - what the files that build one graph share while they do.
 *
 *     streams.c   row spaces and columns of the batch
 *     hooks.c     the adapters of a view, asked in order
 *     sites.c     the calls at sites, and the table of all calls
 *     forward.c   views, declared forwards, heads
 *     terms.c     loss terms and metrics
 *     build.c     the whole graph;  merge.c, update.c: the two other kinds of graph
 */
#ifndef HN_GRAPH_BUILD_STATE_H
#define HN_GRAPH_BUILD_STATE_H

#include "graph/build.h"

#define HN_NO_INSTANCE UINT32_MAX
/* Of a plugin's function that fails with a status alone. */
#define HN_NO_WORD "the plugin failed with status %d and no word; report it to its author"

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
	struct hn_term *terms;
	hone_node *term_nodes;
	uint32_t n_terms;
	size_t cap_terms, cap_term_nodes;
};

/* A place in a build: what a plugin's struct hone_build * is, with the host's side of it. */
struct hn_at {
	struct hone_build pub; /* first */
	struct hn_builder *builder;
	uint32_t instance; /* whose hook runs; HN_NO_INSTANCE = the architecture or objective */
	bool has_adapters; /* the view has the policy's adapters */
	bool is_merged;    /* ... written into its weights, instead of beside them */
};

static inline const struct hn_at *
hn_at_of(const struct hone_build *at)
{
	return (const struct hn_at *)(const void *)at;
}

extern const struct hone_build_vt hn_build_vt;

/* ---- views and forwards ---- */

struct hone_view hn_view_make(const struct hn_build_request *request, const char *name);
/* A place under a view; `view` is borrowed and outlives it. */
struct hn_at hn_at_make(struct hn_builder *b, const struct hone_view *view, uint32_t pass);
/* Final hidden states of a stream under `at`, as the architecture builds them. */
hone_node hn_build_body(struct hn_builder *b, struct hn_at *at, hone_stream stream);
/* The bodies of all forwards of the layout. */
enum hone_status hn_build_forwards(struct hn_builder *b, struct hone_error *err);

/* ---- hooks ---- */

enum hn_hook { HN_HOOK_INPUT, HN_HOOK_OUTPUT, HN_HOOK_ATTENTION, HN_HOOK_HIDDEN, HN_HOOK_MERGE };

/* Lets the adapters of the view change `subject`: a hone_node * (INPUT, HIDDEN), a struct
 * hone_site_io *, hone_attention_io * or hone_merge_io *.  Errors go into the graph. */
void hn_hooks_run(
	const struct hn_at *at, enum hn_hook hook, const struct hone_site *site, void *subject);

/* After a plugin's function has returned `st`: an error that it left in the graph, or returned
 * as HONE_EPLUGIN or HONE_EBUG, becomes "[who] function(): ..." and HONE_EPLUGIN; so does a shape
 * that no op takes.  What the user can change stays as it was said.  The innermost function is the one to blame.  `place` is a site's name or NULL. */
void hn_graph_blame(struct hn_graph *graph, enum hone_status st, const struct hone_error *err,
	const char *who, const char *function, const char *place);

/* Whether `at` is an adapter's hook, where a call that runs hooks itself would never end; then the
 * graph fails: `call` is for `whom`.  [build] */
bool hn_is_refused_in_hook(const struct hone_build *at, const char *call, const char *whom);

/* Weight or bias of a site as the view has it: an overlay's parameter, else the stored one;
 * 0 where there is none. */
hone_node hn_slot_node(const struct hn_at *at, const struct hn_site *site, int32_t slot);
/* The same as the adapters' merge hooks leave it (merge.c). */
hone_node hn_merged_node(const struct hn_at *at, const struct hn_site *site, int32_t slot);

/* ---- loss ---- */

struct hn_loss {
	struct hone_loss base; /* first: a plugin's struct hone_loss * is this */
	struct hn_builder *builder;
};

struct hn_loss hn_loss_make(struct hn_builder *b);

/* ---- streams ---- */

void hn_make_streams(struct hn_builder *b);
/* A column named "<prefix>.<name>" of rows of a space, `cols` wide (0: a vector). */
hone_node hn_stream_column(struct hn_builder *b, const char *prefix, const char *name,
	int32_t dtype, uint32_t space, int64_t cols);
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
	const struct hone_build *at, hone_stream stream, const char *selection, const char *name);
hone_node hn_build_head(const struct hone_build *at, const char *kind, hone_node rows);
hone_node hn_build_head_of(
	const struct hone_build *at, const char *forward, const char *kind, hone_node rows);
hone_node hn_build_offsets(const struct hone_build *at, hone_stream stream);

#endif
