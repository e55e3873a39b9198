/*
 * bind.c - a micro-batch into the columns of a program.
 *
 * The names are put together once per program; binding is copies and counts.  Rows of a
 * micro-batch are consecutive rows of the window, so everything per row is one copy, less the
 * micro-batch's first row where it is an index.
 */
#include <inttypes.h>
#include <string.h>

#include "base/arena.h"
#include "base/str.h"
#include "data/window_impl.h"

struct target {
	const struct hn_window_column *column;
	uint32_t *at; /* NULL = the program does not read it */
};

struct selection_target {
	const struct hn_decl_selection *decl;
	const struct hn_window_column *column;
	const char *space;
	int64_t capacity;
	int32_t *index, *keys;
	struct target *columns; /* of rows; beside the stream's columns */
};

struct hn_binding_stream {
	const char *rows, *segments, *bounds; /* names of row spaces */
	int64_t cap_rows, cap_segments, cap_bounds;
	int32_t *tokens, *positions, *keys, *offsets, *ranges;
	struct target *columns;
	struct selection_target *selections;
	uint32_t n_selections;
};

/* ---- names to places ---- */

/* Rows that a space was planned for; no limit when the program has no such space. */
static int64_t
capacity_of(const struct hn_program *program, const char *space)
{
	for (uint32_t i = 1; i < program->graph.n_spaces; i++)
		if (hn_streq(program->graph.spaces[i].name, space))
			return program->graph.spaces[i].capacity;
	return INT64_MAX;
}

static void *
find(struct hn_binding *binding, const char *prefix, const char *name)
{
	return hn_program_column(
		binding->program, hn_arena_printf(&binding->arena, "%s.%s", prefix, name));
}

static struct target *
find_columns(struct hn_binding *binding, const struct hn_window_stream *s, const char *prefix,
	bool only_rows)
{
	struct target *out = hn_arena_array(&binding->arena, s->n_columns + 1u, sizeof *out);

	for (uint32_t c = 0; c < s->n_columns; c++) {
		out[c].column = &s->columns[c];
		if (!only_rows || s->columns[c].decl->scope == HONE_PER_ROW)
			out[c].at = find(binding, prefix, s->columns[c].decl->name);
	}
	return out;
}

static void
find_selection(struct hn_binding *binding, const struct hn_window_stream *s,
	const struct hn_decl_selection *decl, struct selection_target *out)
{
	out->decl = decl;
	out->column = hn_window_find_column(s, decl->column);
	out->space = hn_arena_printf(&binding->arena, "%s.%s", s->name, decl->name);
	out->capacity = capacity_of(binding->program, out->space);
	out->index = find(binding, out->space, "index");
	out->keys = find(binding, out->space, "keys");
	out->columns = find_columns(binding, s, out->space, true);
}

void
hn_binding_init(
	struct hn_binding *binding, const struct hn_window *window, struct hn_program *program)
{
	const struct hn_layout *layout = window->request.layout;

	memset(binding, 0, sizeof *binding);
	binding->program = program;
	binding->n_streams = window->n_streams;
	binding->streams =
		hn_arena_array(&binding->arena, window->n_streams + 1u, sizeof *binding->streams);
	for (uint32_t i = 0; i < window->n_streams; i++) {
		const struct hn_window_stream *s = &window->streams[i];
		struct hn_binding_stream *b = &binding->streams[i];

		b->rows = s->name;
		b->segments = hn_arena_printf(&binding->arena, "%s.segments", s->name);
		b->bounds = hn_arena_printf(&binding->arena, "%s.offsets", s->name);
		b->cap_rows = capacity_of(program, b->rows);
		b->cap_segments = capacity_of(program, b->segments);
		b->cap_bounds = capacity_of(program, b->bounds);
		b->tokens = find(binding, s->name, "tokens");
		b->positions = find(binding, s->name, "positions");
		b->keys = find(binding, s->name, "keys");
		b->offsets = find(binding, s->name, "offsets");
		b->ranges = find(binding, s->name, "ranges");
		b->columns = find_columns(binding, s, s->name, false);
		b->selections = hn_arena_array(
			&binding->arena, layout->n_selections + 1u, sizeof *b->selections);
		for (uint32_t k = 0; k < layout->n_selections; k++)
			if (hn_streq(layout->selections[k].stream, s->name))
				find_selection(binding, s, &layout->selections[k],
					&b->selections[b->n_selections++]);
	}
}

void
hn_binding_fini(struct hn_binding *binding)
{
	hn_arena_fini(&binding->arena);
	memset(binding, 0, sizeof *binding);
}

/* ---- one micro-batch ---- */

/* Rows [begin, end) and segments [first, last) of a stream. */
struct piece {
	const struct hn_window_stream *s;
	int64_t begin, end, first, last;
};

static enum hone_status
check_fits(const struct hn_binding_stream *b, const struct piece *p, struct hone_error *err)
{
	if (p->end - p->begin <= b->cap_rows && p->last - p->first <= b->cap_segments &&
		p->last - p->first + 1 <= b->cap_bounds)
		return HONE_OK;
	return hone_fail(err, HONE_EBUG,
		"%" PRId64 " rows in %" PRId64 " segments of '%s'; planned were %" PRId64
		" in %" PRId64,
		p->end - p->begin, p->last - p->first, b->rows, b->cap_rows, b->cap_segments);
}

/* Positions, keys, offsets and ranges come from the segments. */
static void
bind_segments(const struct hn_binding_stream *b, const struct piece *p)
{
	for (int64_t k = p->first; k < p->last; k++) {
		const struct hn_window_segment *segment = &p->s->segments[k];
		const int32_t at = segment->begin - (int32_t)p->begin;

		for (int32_t i = 0; i < segment->n; i++) {
			if (b->positions)
				b->positions[at + i] = i;
			if (b->keys) {
				b->keys[2 * (at + i)] = segment->example;
				b->keys[2 * (at + i) + 1] = segment->begin_in_example + i;
			}
		}
		if (b->offsets)
			b->offsets[k - p->first] = at;
		if (b->ranges) {
			b->ranges[2 * (k - p->first)] = at;
			b->ranges[2 * (k - p->first) + 1] = at + segment->n;
		}
	}
	if (b->offsets)
		b->offsets[p->last - p->first] = (int32_t)(p->end - p->begin);
}

static void
bind_columns(const struct hn_binding_stream *b, const struct piece *p)
{
	if (b->tokens)
		memcpy(b->tokens, p->s->tokens + p->begin,
			(size_t)(p->end - p->begin) * sizeof *b->tokens);
	for (uint32_t c = 0; c < p->s->n_columns; c++) {
		const struct target *target = &b->columns[c];
		const bool is_row = target->column->decl->scope == HONE_PER_ROW;
		const int64_t from = is_row ? p->begin : p->first;
		const int64_t to = is_row ? p->end : p->last;

		if (target->at)
			memcpy(target->at, target->column->values + from,
				(size_t)(to - from) * sizeof *target->at);
	}
}

/* Row `row` of the window is the n-th of the selection. */
static void
bind_selected(const struct selection_target *sel, const struct piece *p,
	const struct hn_window_segment *segment, int64_t row, int64_t n)
{
	if (sel->index)
		sel->index[n] = (int32_t)(row - p->begin);
	if (sel->keys) {
		sel->keys[2 * n] = segment->example;
		sel->keys[2 * n + 1] = segment->begin_in_example + (int32_t)row - segment->begin;
	}
	for (uint32_t c = 0; c < p->s->n_columns; c++)
		if (sel->columns[c].at)
			sel->columns[c].at[n] = sel->columns[c].column->values[row];
}

static enum hone_status
bind_selection(const struct hn_binding *binding, const struct selection_target *sel,
	const struct piece *p, struct hone_error *err)
{
	const uint32_t value = (uint32_t)(int32_t)sel->decl->value;
	const int64_t total = hn_window_count(sel->column, sel->decl, p->begin, p->end);
	int64_t n = 0;

	if (total > sel->capacity)
		return hone_fail(err, HONE_EBUG, "%" PRId64 " rows of '%s'; planned were %" PRId64,
			total, sel->space, sel->capacity);
	for (int64_t k = p->first; k < p->last; k++) {
		const struct hn_window_segment *segment = &p->s->segments[k];

		for (int64_t row = segment->begin; row < segment->begin + segment->n; row++)
			if (sel->column->values[row] != value)
				bind_selected(sel, p, segment, row, n++);
	}
	hn_program_set_live(binding->program, sel->space, n);
	return HONE_OK;
}

static enum hone_status
bind_stream(const struct hn_binding *binding, const struct hn_binding_stream *b,
	const struct piece *p, struct hone_error *err)
{
	enum hone_status st = check_fits(b, p, err);

	if (st)
		return st;
	bind_segments(b, p);
	bind_columns(b, p);
	hn_program_set_live(binding->program, b->rows, p->end - p->begin);
	hn_program_set_live(binding->program, b->segments, p->last - p->first);
	hn_program_set_live(binding->program, b->bounds, p->last - p->first + 1);
	for (uint32_t k = 0; k < b->n_selections && !st; k++)
		st = bind_selection(binding, &b->selections[k], p, err);
	return st;
}

enum hone_status
hn_window_bind(const struct hn_window *window, int64_t i, const struct hn_binding *binding,
	struct hone_error *err)
{
	const struct hn_micro *micro = &window->micros[i];
	enum hone_status st = HONE_OK;

	for (uint32_t k = 0; k < window->n_streams && !st; k++) {
		const struct hn_window_bound *begin = hn_window_bound_of(window, micro->first, k);
		const struct hn_window_bound *end =
			hn_window_bound_of(window, micro->first + micro->n, k);
		const struct piece piece = {
			&window->streams[k], begin->row, end->row, begin->segment, end->segment};

		st = bind_stream(binding, &binding->streams[k], &piece, err);
	}
	return st;
}
