/*
 * forward.c - views, the forwards that an objective declared, and heads.
 *
 * Bodies are built before the objective's build runs, which then only fetches them.  A head is
 * built where the objective asks for it, under the same view and pass as the forward that its
 * rows come from: the adapters at lm_head belong to the view like those in the layers.
 */
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "graph/build_state.h"

/* ---- views ---- */

/* What is trained is seen by the policy alone, and only while it trains. */
struct hone_view
hn_view_make(const struct hn_build_request *request, const char *name)
{
	const bool trains = request->mode == HN_BUILD_TRAIN && hn_streq(name, "policy");

	return (struct hone_view){.struct_size = sizeof(struct hone_view),
		.index = hn_streq(name, "policy") ? 0 : 1,
		.name = name,
		.model = request->model->name,
		.has_gradient = trains,
		.has_dropout = trains};
}

/* A place outside of any instance: of an architecture or an objective. Whether its
 * adapters count is the view's name, and `without_adapters` makes even the policy the
 * untouched file. */
struct hn_at
hn_at_make(struct hn_builder *b, const struct hone_view *view, uint32_t pass)
{
	return (struct hn_at){.pub = {.struct_size = sizeof(struct hone_build),
				      .pass = pass,
				      .graph = &b->graph->base,
				      .view = view,
				      .model = &b->request->model->base,
				      .vt = &hn_build_vt},
		.builder = b,
		.instance = HN_NO_INSTANCE,
		.has_adapters = hn_streq(view->name, "policy") && !b->request->without_adapters,
		.is_merged = hn_streq(view->name, "policy") && b->request->is_merged};
}

/* ---- bodies ---- */

/* What an architecture gives: a matrix of rows of a space. */
static void
check_rows(struct hn_graph *graph, const char *what, hone_node given, uint32_t space)
{
	const bool is_node = given.id > 0 && given.id < graph->n_values;
	const struct hn_value *value = is_node ? hn_graph_value(graph, given.id) : NULL;
	struct hn_str is = {0};

	if (value && value->rank == 2 && value->space == space)
		return;
	hn_value_print(graph, value, &is);
	hn_graph_fail(graph, HONE_EPLUGIN, "*%s is %s, not a matrix with the rows of '%s'", what,
		is.text, graph->spaces[space].name);
	hn_str_fini(&is);
}

/* Leaves neither site nor group behind: what an objective appends next is nobody's
 * layer. */
hone_node
hn_build_body(struct hn_builder *b, struct hn_at *at, hone_stream stream)
{
	const struct hn_model *model = b->request->model;
	struct hone_error err = {0};
	hone_node hidden = {0};
	struct hn_call call;
	enum hone_status st;

	hn_call_begin(&call, hn_model_type(model), "body", NULL);
	st = model->architecture->body(model->architecture_self, &at->pub, stream, &hidden, &err);
	hn_call_end(&call);
	if (!st && !b->graph->error.status) /* so the stream is one */
		check_rows(b->graph, "hidden", hidden, b->streams[stream.id - 1].rows);
	b->graph->where = NULL;
	b->graph->group = 0;
	hn_graph_blame(b->graph, st, &err, hn_model_type(model), "body", NULL);
	return hidden;
}

/* The declared forwards in their order. Two with the same view, stream and pass are one
 * body by themselves, because equal pure nodes are one node. */
enum hone_status
hn_build_forwards(struct hn_builder *b, struct hone_error *err)
{
	const struct hn_layout *layout = b->request->layout;

	b->hidden = hn_arena_array(&b->graph->arena, layout->n_forwards + 1u, sizeof *b->hidden);
	for (uint32_t i = 0; i < layout->n_forwards; i++) {
		const struct hn_decl_forward *decl = &layout->forwards[i];
		const struct hone_view view = hn_view_make(b->request, decl->view);
		struct hn_at at = hn_at_make(b, &view, decl->pass);

		if (!hn_streq(decl->view, "policy") && !hn_streq(decl->view, "base"))
			return hone_fail(err, HONE_EUNSUPPORTED, "no view '%s'", decl->view);
		b->hidden[i] = hn_build_body(b, &at, hn_build_stream(&at.pub, decl->stream));
	}
	return hone_graph_status(&b->graph->base, err);
}

/* The declared forward of a name; the graph fails when there is none. */
static const struct hn_decl_forward *
find_forward(struct hn_builder *b, const char *name)
{
	const struct hn_layout *layout = b->request->layout;

	for (uint32_t i = 0; layout && i < layout->n_forwards; i++)
		if (hn_streq(layout->forwards[i].name, name))
			return &layout->forwards[i];
	hn_graph_fail(b->graph, HONE_EPLUGIN, "forward '%s' was not declared", name);
	return NULL;
}

hone_node
hn_build_forward(const struct hone_build *at, const char *name)
{
	struct hn_builder *b = hn_at_of(at)->builder;
	const struct hn_decl_forward *decl = find_forward(b, name);

	return decl ? b->hidden[decl - b->request->layout->forwards] : hone_node_none();
}

/* ---- heads ---- */

/* The forward whose hidden states `value` is; NULL: it is none. */
static const struct hn_decl_forward *
forward_of(const struct hn_builder *b, uint32_t value, const char *view, uint32_t pass)
{
	const struct hn_decl_forward *found = NULL;

	for (uint32_t i = 0; i < b->request->layout->n_forwards; i++) {
		const struct hn_decl_forward *decl = &b->request->layout->forwards[i];

		if (b->hidden[i].id != value)
			continue;
		found = decl;
		if (hn_streq(decl->view, view) && decl->pass == pass)
			break; /* two views without a difference are one node */
	}
	return found;
}

/* Rows that come from forwards of other views or passes alone do not belong under this head:
 * the numbers would be neither model's.  Returns such a forward, NULL when all is well. */
static const struct hn_decl_forward *
foreign_rows(const struct hn_builder *b, hone_node rows, const char *view, uint32_t pass)
{
	const struct hn_graph *graph = b->graph;
	const struct hn_decl_forward *foreign = NULL;
	bool *is_above, is_own = false;

	if (rows.id >= graph->n_values) /* the first op on it says so */
		return NULL;
	is_above = hn_alloc(graph->n_values * sizeof *is_above);
	memset(is_above, 0, graph->n_values * sizeof *is_above);
	is_above[rows.id] = true;
	for (uint32_t v = rows.id; v > 0 && !is_own; v--) {
		const struct hn_node *node = &graph->nodes[graph->values[v].node];
		const struct hn_decl_forward *from;

		if (!is_above[v])
			continue;
		from = forward_of(b, v, view, pass);
		is_own = from && hn_streq(from->view, view) && from->pass == pass;
		if (from)
			foreign = from;
		for (uint32_t k = 0; k < node->n_in && !from; k++)
			is_above[node->in[k]] = true;
	}
	free(is_above);
	return is_own ? NULL : foreign;
}

/* The architecture's head under one view and pass. */
static hone_node
build_head(const struct hn_at *at, const char *kind, hone_node rows)
{
	struct hn_builder *b = at->builder;
	const struct hn_model *model = b->request->model;
	struct hone_error err = {0};
	hone_node out = {0};
	struct hn_call call;
	enum hone_status st;

	if (b->graph->error.status)
		return out;
	b->graph->group = 0;
	hn_call_begin(&call, hn_model_type(model), "head", NULL);
	st = model->architecture->head(model->architecture_self, &at->pub, kind, rows, &out, &err);
	hn_call_end(&call);
	if (!st && !b->graph->error.status && rows.id < b->graph->n_values)
		check_rows(b->graph, "out", out, hn_graph_value(b->graph, rows.id)->space);
	b->graph->where = NULL;
	hn_graph_blame(b->graph, st, &err, hn_model_type(model), "head", NULL);
	return out;
}

/* The head of the view and pass of `at`, for an objective the policy's. The logits-only
 * programs have no declared forwards, and nothing to mistake. */
hone_node
hn_build_head(const struct hone_build *at, const char *kind, hone_node rows)
{
	struct hn_builder *b = hn_at_of(at)->builder;
	const struct hn_decl_forward *foreign = b->hidden && !b->graph->error.status
		? foreign_rows(b, rows, at->view->name, at->pass)
		: NULL;

	if (hn_is_refused_in_hook(at, "head", "objectives"))
		return hone_node_none();
	if (foreign)
		hn_graph_fail(b->graph, HONE_EPLUGIN,
			"head '%s' is of view '%s', pass %u; the rows are of forward '%s' (view "
			"'%s', pass %u), so ask head_of for that",
			kind, at->view->name, at->pass, foreign->name, foreign->view,
			foreign->pass);
	return build_head(hn_at_of(at), kind, rows);
}

/* The same in the place that the declared forward was built in. */
hone_node
hn_build_head_of(const struct hone_build *at, const char *forward, const char *kind, hone_node rows)
{
	struct hn_builder *b = hn_at_of(at)->builder;
	const struct hn_decl_forward *decl = find_forward(b, forward);
	struct hone_view view;
	struct hn_at here;

	if (!decl || hn_is_refused_in_hook(at, "hone_head_of", "objectives"))
		return hone_node_none();
	view = hn_view_make(b->request, decl->view);
	here = hn_at_make(b, &view, decl->pass);
	return hn_build_head(&here.pub, kind, rows);
}
