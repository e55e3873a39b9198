/*
 * layout.c - what an objective declares: streams, columns, selections, forwards, heads.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/build.h"

static struct hn_layout *
host_layout(struct hone_declare *decl)
{
	return (struct hn_layout *)(void *)decl;
}

/* Names are few: a search in order is enough. */
static bool
has_stream(const struct hn_layout *layout, const char *name)
{
	for (uint32_t i = 0; i < layout->n_streams; i++)
		if (hn_streq(layout->streams[i], name))
			return true;
	return false;
}

static enum hone_status
fail_no_stream(const char *what, const char *name, const char *stream, struct hone_error *err)
{
	return hone_fail(err, HONE_EPLUGIN, "%s '%s' is of stream '%s', which is not declared",
		what, name, stream);
}

/* Everything else names its stream, so two of one name could not be told apart. */
static enum hone_status
declare_stream(
	struct hone_declare *decl, const char *name, const char *model, struct hone_error *err)
{
	struct hn_layout *layout = host_layout(decl);

	(void)model;
	if (has_stream(layout, name))
		return hone_fail(err, HONE_EPLUGIN, "stream '%s' is declared twice", name);
	layout->streams = hn_grow(layout->streams, &layout->cap_streams, layout->n_streams + 1u,
		sizeof *layout->streams);
	layout->streams[layout->n_streams++] = hn_arena_strdup(&layout->arena, name);
	return HONE_OK;
}

/* Columns go to the device as they are, so their types are the two that every backend
 * reads as indices and as numbers. */
static enum hone_status
declare_column(struct hone_declare *decl, const char *stream, const char *name, int32_t dtype,
	int32_t scope, double fill, struct hone_error *err)
{
	struct hn_layout *layout = host_layout(decl);

	if (!has_stream(layout, stream))
		return fail_no_stream("column", name, stream, err);
	if (dtype != HONE_DTYPE_I32 && dtype != HONE_DTYPE_F32)
		return hone_fail(err, HONE_EPLUGIN, "column '%s' is neither i32 nor f32", name);
	layout->columns = hn_grow(layout->columns, &layout->cap_columns, layout->n_columns + 1u,
		sizeof *layout->columns);
	layout->columns[layout->n_columns++] =
		(struct hn_decl_column){hn_arena_strdup(&layout->arena, stream),
			hn_arena_strdup(&layout->arena, name), dtype, scope, fill};
	return HONE_OK;
}

/* The column may be declared later: it is looked for when batches are made. */
static enum hone_status
declare_selection(struct hone_declare *decl, const char *stream, const char *name,
	const char *column, int64_t value, struct hone_error *err)
{
	struct hn_layout *layout = host_layout(decl);

	if (!has_stream(layout, stream))
		return fail_no_stream("selection", name, stream, err);
	layout->selections = hn_grow(layout->selections, &layout->cap_selections,
		layout->n_selections + 1u, sizeof *layout->selections);
	layout->selections[layout->n_selections++] = (struct hn_decl_selection){
		hn_arena_strdup(&layout->arena, stream), hn_arena_strdup(&layout->arena, name),
		hn_arena_strdup(&layout->arena, column), value};
	return HONE_OK;
}

/* The view is not checked here but where it is built: which views there are is the
 * builder's to say. */
static enum hone_status
declare_forward(struct hone_declare *decl, const char *name, const char *view, const char *stream,
	uint32_t pass, struct hone_error *err)
{
	struct hn_layout *layout = host_layout(decl);

	if (!has_stream(layout, stream))
		return fail_no_stream("forward", name, stream, err);
	layout->forwards = hn_grow(layout->forwards, &layout->cap_forwards, layout->n_forwards + 1u,
		sizeof *layout->forwards);
	layout->forwards[layout->n_forwards++] = (struct hn_decl_forward){
		hn_arena_strdup(&layout->arena, name), hn_arena_strdup(&layout->arena, view),
		hn_arena_strdup(&layout->arena, stream), pass};
	return HONE_OK;
}

/* Heads are asked for by kind, and the architecture answers. A number of outputs of its
 * own would need a site that no file has. */
static enum hone_status
declare_head(struct hone_declare *decl, const char *kind, int64_t n_out, struct hone_error *err)
{
	struct hn_layout *layout = host_layout(decl);

	if (n_out != 0)
		return hone_fail(err, HONE_EUNSUPPORTED,
			"a new head '%s' with %lld outputs is not offered yet", kind,
			(long long)n_out);
	layout->heads = hn_grow(
		layout->heads, &layout->cap_heads, layout->n_heads + 1u, sizeof *layout->heads);
	layout->heads[layout->n_heads++] = hn_arena_strdup(&layout->arena, kind);
	return HONE_OK;
}

static const struct hone_declare_vt declare_vt = {
	.struct_size = sizeof declare_vt,
	.stream = declare_stream,
	.column = declare_column,
	.selection = declare_selection,
	.forward = declare_forward,
	.head = declare_head,
};

/* Collects what the objective says of itself, before any data or weight is read. */
enum hone_status
hn_layout_collect(struct hn_layout *layout, const struct hone_objective_vt *objective,
	const void *self, struct hone_error *err)
{
	memset(layout, 0, sizeof *layout);
	layout->base.vt = &declare_vt;
	return objective->declare(self, &layout->base, err);
}

void
hn_layout_fini(struct hn_layout *layout)
{
	free(layout->streams);
	free(layout->columns);
	free(layout->selections);
	free(layout->forwards);
	free(layout->heads);
	hn_arena_fini(&layout->arena);
	memset(layout, 0, sizeof *layout);
}
