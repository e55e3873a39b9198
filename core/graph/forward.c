/*
 * forward.c - streams and their columns, declared forwards, loss terms: a whole graph.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "graph/build_state.h"

static struct hn_at *
state_of(const struct hone_build *at)
{
	return (struct hn_at *)(uintptr_t)(const void *)at;
}

/* ---- streams ---- */

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
static hone_node
column(struct hn_builder *b, const char *prefix, const char *name, int32_t dtype, uint32_t space,
	int64_t cols)
{
	const int64_t dim[2] = {b->graph->spaces[space].capacity, cols};
	char text[256];

	(void)snprintf(text, sizeof text, "%s.%s", prefix, name);
	return hn_graph_column(b->graph, text, dtype, space, cols ? 2 : 1, dim);
}

hone_node
hn_build_tokens(const struct hone_build *at, hone_stream stream)
{
	struct hn_builder *b = state_of(at)->builder;
	const struct hn_stream_state *s = stream_state(b, stream);

	return column(b, s->name, "tokens", HONE_DTYPE_I32, s->rows, 0);
}

hone_node
hn_build_positions(const struct hone_build *at, hone_stream stream)
{
	struct hn_builder *b = state_of(at)->builder;
	const struct hn_stream_state *s = stream_state(b, stream);

	return column(b, s->name, "positions", HONE_DTYPE_I32, s->rows, 0);
}

int64_t
hn_build_max_length(const struct hone_build *at, hone_stream stream)
{
	(void)stream;
	return state_of(at)->builder->request->capacity.longest;
}

hone_node
hn_stream_offsets(struct hn_builder *b, hone_stream stream)
{
	const struct hn_stream_state *s = stream_state(b, stream);

	return column(b, s->name, "offsets", HONE_DTYPE_I32, s->offsets, 0);
}

hone_node
hn_build_offsets(const struct hone_build *at, hone_stream stream)
{
	return hn_stream_offsets(state_of(at)->builder, stream);
}

hone_node
hn_stream_ranges(struct hn_builder *b, hone_stream stream)
{
	const struct hn_stream_state *s = stream_state(b, stream);

	return column(b, s->name, "ranges", HONE_DTYPE_I32, s->segments, 2);
}

hone_node
hn_row_keys(struct hn_builder *b, hone_node x)
{
	const uint32_t space = hn_graph_value(b->graph, x.id)->space;

	for (uint32_t i = 0; i < b->n_streams; i++) {
		const struct hn_stream_state *s = &b->streams[i];

		if (s->rows == space)
			return column(b, s->name, "keys", HONE_DTYPE_I32, space, 2);
		for (uint32_t k = 0; k < s->n_selections; k++)
			if (s->selections[k].space == space)
				return column(b, s->selections[k].prefix, "keys", HONE_DTYPE_I32,
					space, 2);
	}
	hn_graph_fail(b->graph, HONE_EPLUGIN, "dropout of rows of '%s', which have no keys",
		b->graph->spaces[space].name);
	return hone_node_none();
}

hone_stream
hn_build_stream(const struct hone_build *at, const char *name)
{
	struct hn_builder *b = state_of(at)->builder;

	for (uint32_t i = 0; i < b->n_streams; i++)
		if (hn_streq(b->streams[i].name, name))
			return (hone_stream){i + 1};
	hn_graph_fail(b->graph, HONE_EPLUGIN, "stream '%s' was not declared", name);
	return (hone_stream){0};
}

/* ---- columns and selections ---- */

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

hone_node
hn_build_column(const struct hone_build *at, hone_stream stream, const char *name)
{
	struct hn_builder *b = state_of(at)->builder;
	const struct hn_stream_state *s = stream_state(b, stream);
	const struct hn_decl_column *decl = declared_column(b, s->name, name);

	if (!decl)
		return hone_node_none();
	return column(b, s->name, name, decl->dtype,
		decl->scope == HONE_PER_ROW ? s->rows : s->segments, 0);
}

hone_node
hn_build_select(const struct hone_build *at, hone_stream stream, const char *selection, hone_node x)
{
	struct hn_builder *b = state_of(at)->builder;
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
	return hone_gather_rows(
		&b->graph->base, x, column(b, sel->prefix, "index", HONE_DTYPE_I32, sel->space, 0));
}

hone_node
hn_build_selected(
	const struct hone_build *at, hone_stream stream, const char *selection, const char *name)
{
	struct hn_builder *b = state_of(at)->builder;
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
	return column(b, sel->prefix, name, decl->dtype, sel->space, 0);
}

/* ---- forwards and heads ---- */

hone_node
hn_build_forward(const struct hone_build *at, const char *name)
{
	struct hn_builder *b = state_of(at)->builder;

	for (uint32_t i = 0; i < b->request->layout->n_forwards; i++)
		if (hn_streq(b->request->layout->forwards[i].name, name))
			return b->hidden[i];
	hn_graph_fail(b->graph, HONE_EPLUGIN, "forward '%s' was not declared", name);
	return hone_node_none();
}

hone_node
hn_build_head(const struct hone_build *at, const char *kind, hone_node rows)
{
	const struct hn_at *here = state_of(at);
	const struct hn_model *model = here->builder->request->model;
	struct hone_error err = {0};
	hone_node out = {0};
	enum hone_status st;

	here->builder->graph->group = 0;
	st = model->architecture->head(model->architecture_self, at, kind, rows, &out, &err);
	if (st)
		hn_graph_fail(here->builder->graph, st, "%s", err.text);
	return out;
}

static hone_node
build_body(struct hn_builder *b, struct hn_at *at, hone_stream stream)
{
	const struct hn_model *model = b->request->model;
	struct hone_error err = {0};
	hone_node hidden = {0};
	const enum hone_status st = model->architecture->body(
		model->architecture_self, &at->pub, stream, &hidden, &err);

	b->graph->where = NULL;
	b->graph->group = 0;
	if (st)
		hn_graph_fail(b->graph, st, "%s", err.text);
	return hidden;
}

/* ---- loss ---- */

struct loss {
	struct hone_loss base;
	struct hn_builder *builder;
};

static enum hone_status
add_term(struct hn_builder *b, const char *name, hone_node sum, const char *stream,
	const char *weight, double coefficient, bool is_metric, struct hone_error *err)
{
	const struct hn_value *value = hn_graph_value(b->graph, sum.id);

	if (b->graph->error.status)
		return hone_graph_status(&b->graph->base, err);
	if (sum.id == 0 || value->space || hn_value_elems(value) != 1)
		return hone_fail(err, HONE_EPLUGIN,
			"term '%s' is no sum: it has %" PRId64 " values of rows '%s'", name,
			hn_value_elems(value), b->graph->spaces[value->space].name);
	b->terms = hn_grow(b->terms, &b->cap_terms, b->n_terms + 1u, sizeof *b->terms);
	b->term_nodes =
		hn_grow(b->term_nodes, &b->cap_term_nodes, b->n_terms + 1u, sizeof *b->term_nodes);
	b->terms[b->n_terms] = (struct hn_term){hn_arena_strdup(&b->graph->arena, name),
		hn_arena_strdup(&b->graph->arena, stream),
		hn_arena_strdup(&b->graph->arena, weight), coefficient, is_metric};
	b->term_nodes[b->n_terms++] = sum;
	return HONE_OK;
}

static enum hone_status
loss_term(struct hone_loss *base, const struct hone_term *term, struct hone_error *err)
{
	return add_term(((struct loss *)(void *)base)->builder, term->name, term->sum, term->stream,
		term->weight, term->coefficient, false, err);
}

static enum hone_status
loss_metric(struct hone_loss *base, const char *name, hone_node sum, const char *stream,
	const char *weight, struct hone_error *err)
{
	struct hn_builder *b = ((struct loss *)(void *)base)->builder;

	if (b->request->mode == HN_BUILD_TRAIN) /* metrics are for evaluation */
		return HONE_OK;
	return add_term(b, name, sum, stream, weight, 1.0, true, err);
}

static const struct hone_loss_vt loss_vt = {
	.struct_size = sizeof loss_vt, .term = loss_term, .metric = loss_metric};

/* ---- a whole graph ---- */

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

static void
make_streams(struct hn_builder *b)
{
	const struct hn_layout *layout = b->request->layout;

	b->n_streams = layout ? layout->n_streams : 1;
	b->streams = hn_arena_array(&b->graph->arena, b->n_streams, sizeof *b->streams);
	for (uint32_t i = 0; i < b->n_streams; i++)
		make_stream(b, &b->streams[i], layout ? layout->streams[i] : "text");
}

static struct hone_view
make_view(const struct hn_build_request *request, const char *name)
{
	const bool trains = request->mode == HN_BUILD_TRAIN && hn_streq(name, "policy");

	return (struct hone_view){.struct_size = sizeof(struct hone_view),
		.index = hn_streq(name, "policy") ? 0 : 1,
		.name = name,
		.model = request->model->name,
		.has_gradient = trains,
		.has_dropout = trains};
}

static struct hn_at
make_at(struct hn_builder *b, const struct hone_view *view, uint32_t pass)
{
	return (struct hn_at){.pub = {.struct_size = sizeof(struct hone_build),
				      .pass = pass,
				      .graph = &b->graph->base,
				      .view = view,
				      .model = &b->request->model->base,
				      .vt = &hn_build_vt},
		.builder = b,
		.instance = HN_NO_INSTANCE,
		.has_adapters = hn_streq(view->name, "policy") && !b->request->without_adapters};
}

static enum hone_status
build_forwards(struct hn_builder *b, struct hone_error *err)
{
	const struct hn_layout *layout = b->request->layout;

	b->hidden = hn_arena_array(&b->graph->arena, layout->n_forwards + 1u, sizeof *b->hidden);
	for (uint32_t i = 0; i < layout->n_forwards; i++) {
		const struct hn_decl_forward *decl = &layout->forwards[i];
		const struct hone_view view = make_view(b->request, decl->view);
		struct hn_at at = make_at(b, &view, decl->pass);

		if (!hn_streq(decl->view, "policy") && !hn_streq(decl->view, "base"))
			return hone_fail(err, HONE_EUNSUPPORTED, "no view '%s'", decl->view);
		b->hidden[i] = build_body(b, &at, hn_build_stream(&at.pub, decl->stream));
	}
	return hone_graph_status(&b->graph->base, err);
}

/* Cotangents of the terms are coefficient / denominator, which the host knows beforehand. */
static enum hone_status
differentiate(struct hn_builder *b, struct hone_error *err)
{
	struct hn_seed *seeds = hn_alloc((b->n_terms + 1u) * sizeof *seeds);
	const int64_t one = 1;
	enum hone_status st;
	uint32_t n = 0;
	char name[128];

	for (uint32_t i = 0; i < b->n_terms; i++) {
		if (b->terms[i].is_metric ||
			!hn_graph_value(b->graph, b->term_nodes[i].id)->needs_grad)
			continue;
		(void)snprintf(name, sizeof name, "step.inverse.%s", b->terms[i].name);
		seeds[n++] = (struct hn_seed){b->term_nodes[i],
			hn_graph_column(b->graph, name, b->graph->stat, 0, 1, &one)};
	}
	st = n ? hn_graph_backward(b->graph, seeds, n, err)
	       : hone_fail(err, HONE_ECONFIG,
			 "nothing trains: no loss term depends on a parameter; check adapter and "
			 "target_modules");
	free(seeds);
	return st;
}

static enum hone_status
build_objective(struct hn_builder *b, struct hn_build_result *result, struct hone_error *err)
{
	const struct hone_view view = make_view(b->request, "policy");
	struct hn_at at = make_at(b, &view, 0);
	struct loss loss = {{&loss_vt}, b};
	char name[128];
	enum hone_status st = build_forwards(b, err);

	if (!st)
		st = b->request->objective->build(
			b->request->objective_self, &at.pub, &loss.base, err);
	if (!st)
		st = hone_graph_status(&b->graph->base, err);
	for (uint32_t i = 0; i < b->n_terms && !st; i++) {
		(void)snprintf(name, sizeof name, "%s.%s",
			b->terms[i].is_metric ? "metric" : "term", b->terms[i].name);
		hn_graph_output(b->graph, b->term_nodes[i], name);
	}
	if (!st && b->request->mode == HN_BUILD_TRAIN)
		st = differentiate(b, err);
	result->n_terms = b->n_terms;
	result->terms = hn_arena_array(&b->graph->arena, b->n_terms + 1u, sizeof *result->terms);
	for (uint32_t i = 0; i < b->n_terms; i++)
		result->terms[i] = b->terms[i];
	return st;
}

/* Logits of every row, or (DECODE) of the rows that "text.last.index" names. */
static enum hone_status
build_logits(struct hn_builder *b, struct hone_error *err)
{
	const struct hone_view view = make_view(b->request, "policy");
	struct hn_at at = make_at(b, &view, 0);
	hone_node rows = build_body(b, &at, (hone_stream){1}), logits;

	if (b->request->mode == HN_BUILD_DECODE && !b->graph->error.status) {
		const uint32_t last =
			hn_graph_space(b->graph, "text.last", b->request->capacity.segments);

		rows = hone_gather_rows(&b->graph->base, rows,
			column(b, "text.last", "index", HONE_DTYPE_I32, last, 0));
	}
	logits = hn_build_head(&at.pub, "lm", rows);
	hn_graph_output(b->graph, logits, "logits");
	if (b->request->mode == HN_BUILD_DECODE)
		hn_graph_output(b->graph,
			hone_reduce_cols(&b->graph->base, logits, HONE_REDUCE_ARGMAX), "argmax");
	return hone_graph_status(&b->graph->base, err);
}

enum hone_status
hn_build(const struct hn_build_request *request, struct hn_graph *graph,
	struct hn_build_result *result, struct hone_error *err)
{
	struct hn_builder b = {.request = request, .graph = graph};
	enum hone_status st;

	memset(result, 0, sizeof *result);
	hn_graph_init(graph, request->compute);
	graph->custom = request->custom;
	graph->recomputes_cheap = request->mode == HN_BUILD_TRAIN;
	make_streams(&b);
	st = request->mode == HN_BUILD_TRAIN || request->mode == HN_BUILD_EVAL
		? build_objective(&b, result, err)
		: build_logits(&b, err);
	free(b.terms);
	free(b.term_nodes);
	if (st && err && !err->status)
		(void)hone_graph_status(&graph->base, err);
	if (!st && !request->without_fusion)
		hn_graph_fuse(graph);
	return st;
}
