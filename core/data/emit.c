/*
 * emit.c - the services that an objective's `emit` sees, and one example through them.
 *
 * An objective is held to what it said in prepare: no stream has more rows than the example,
 * no selection more than what is learned of it.  The memory that was planned depends on it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"
#include "base/str.h"
#include "data/prepare.h"
#include "data/window_impl.h"

static struct hn_window *
of(struct hone_data *data)
{
	return (struct hn_window *)(void *)data;
}

static int64_t
emit_max_length(const struct hone_data *data)
{
	return ((const struct hn_window *)(const void *)data)->request.max_length;
}

static int32_t
emit_end_of_sequence(const struct hone_data *data)
{
	return ((const struct hn_window *)(const void *)data)->request.data->text->eos;
}

/* Grows what a stream holds by a segment of n rows, filled. */
static void
add_segment(struct hn_window *window, struct hn_window_stream *s, int64_t n, int64_t in_example)
{
	const size_t rows = (size_t)(s->n_rows + n), segments = (size_t)s->n_segments + 1;
	const bool is_first = in_example == 0;

	s->tokens = hn_grow(s->tokens, &s->cap_tokens, rows, sizeof *s->tokens);
	memset(s->tokens + s->n_rows, 0xff, (size_t)n * sizeof *s->tokens); /* -1: not set yet */
	s->segments = hn_grow(s->segments, &s->cap_segments, segments, sizeof *s->segments);
	s->segments[s->n_segments] = (struct hn_window_segment){
		(int32_t)s->n_rows, (int32_t)n, (int32_t)window->number, (int32_t)in_example};
	for (uint32_t c = 0; c < s->n_columns; c++) {
		struct hn_window_column *column = &s->columns[c];
		const bool is_row = column->decl->scope == HONE_PER_ROW;
		const int64_t from = is_row ? s->n_rows : s->n_segments;
		const int64_t to = is_row ? (int64_t)rows : s->n_segments + 1;
		uint32_t fill = column->fill;

		column->values =
			hn_grow(column->values, &column->cap, (size_t)to, sizeof *column->values);
		if (column->decl->scope == HONE_PER_EXAMPLE && !is_first)
			fill = column->values[from - 1]; /* an example has one value */
		for (int64_t i = from; i < to; i++)
			column->values[i] = fill;
	}
	s->n_rows = (int64_t)rows;
	s->n_segments = (int64_t)segments;
}

static enum hone_status
emit_segment(struct hone_data *data, const char *stream, const char *role, int64_t n,
	struct hone_error *err)
{
	struct hn_window *window = of(data);

	(void)role;
	for (uint32_t i = 0; i < window->n_streams; i++) {
		struct hn_window_stream *s = &window->streams[i];
		const struct hn_window_bound *begin = hn_window_bound_of(window, window->number, i);
		const int64_t in_example = s->n_rows - begin->row;

		if (!hn_streq(s->name, stream))
			continue;
		if (n < 1 || n > window->example->n_rows - in_example)
			return hone_fail(err, HONE_EPLUGIN,
				"a segment of %" PRId64 " rows in stream '%s' behind %" PRId64
				"; the example was said to have %" PRId64,
				n, stream, in_example, window->example->n_rows);
		window->segment_of = i;
		window->is_open = true;
		add_segment(window, s, n, in_example);
		return HONE_OK;
	}
	return hone_fail(err, HONE_EPLUGIN, "stream '%s' was not declared", stream);
}

static enum hone_status
put_tokens(struct hn_window *window, struct hn_window_stream *s, const int32_t *ids,
	struct hone_error *err)
{
	const struct hn_window_segment *segment = &s->segments[s->n_segments - 1];

	for (int32_t i = 0; i < segment->n; i++)
		if (ids[i] < 0 || ids[i] >= window->request.vocab)
			return hone_fail(err, HONE_EDATA,
				"token %d is not below the model's vocabulary of %" PRId64
				": the tokenizer is another model's, or the embeddings are too few",
				ids[i], window->request.vocab);
	memcpy(s->tokens + segment->begin, ids, (size_t)segment->n * sizeof *ids);
	return HONE_OK;
}

static enum hone_status
emit_column(struct hone_data *data, const char *name, const void *values, struct hone_error *err)
{
	struct hn_window *window = of(data);
	struct hn_window_stream *s = &window->streams[window->segment_of];
	const struct hn_window_segment *segment;
	struct hn_window_column *column;

	if (!window->is_open || !values)
		return hone_fail(err, HONE_EPLUGIN, "column '%s' %s", name,
			values ? "before any segment" : "without values");
	if (hn_streq(name, "tokens"))
		return put_tokens(window, s, values, err);
	column = (struct hn_window_column *)(uintptr_t)hn_window_find_column(s, name);
	if (!column)
		return hone_fail(err, HONE_EPLUGIN, "column '%s' of stream '%s' was not declared",
			name, s->name);
	segment = &s->segments[s->n_segments - 1];
	if (column->decl->scope == HONE_PER_ROW) {
		memcpy(column->values + segment->begin, values,
			(size_t)segment->n * sizeof *column->values);
	} else {
		const int64_t first = column->decl->scope == HONE_PER_SEGMENT
			? s->n_segments - 1
			: hn_window_bound_of(window, window->number, window->segment_of)->segment;

		for (int64_t i = first; i < s->n_segments; i++)
			memcpy(&column->values[i], values, sizeof *column->values);
	}
	return HONE_OK;
}

static const int32_t *
emit_labels(struct hone_data *data, int64_t n, const int32_t *ids, const uint8_t *learned)
{
	struct hn_window *window = of(data);

	if (n < 1)
		return window->labels;
	window->labels =
		hn_grow(window->labels, &window->cap_labels, (size_t)n, sizeof *window->labels);
	for (int64_t i = 0; i + 1 < n; i++)
		window->labels[i] = !learned || learned[i + 1] ? ids[i + 1] : HONE_LABEL_NONE;
	window->labels[n - 1] = HONE_LABEL_NONE;
	return window->labels;
}

static double
emit_uniform(const struct hone_data *data, uint64_t i)
{
	const struct hn_window *window = (const void *)data;

	return hn_rng_uniform(
		window->request.seed, window->epoch_key, (uint64_t)window->example->pub.index, i);
}

void
hn_window_services(struct hn_window *window)
{
	window->vt = hn_data_refusing();
	window->vt.max_length = emit_max_length;
	window->vt.end_of_sequence = emit_end_of_sequence;
	window->vt.segment = emit_segment;
	window->vt.column = emit_column;
	window->vt.labels = emit_labels;
	window->vt.uniform = emit_uniform;
	window->base.vt = &window->vt;
}

/* ---- one example ---- */

/* Did the example set all tokens, and select no more than it said? */
static enum hone_status
check_example(const struct hn_window *window, struct hone_error *err)
{
	const struct hn_layout *layout = window->request.layout;

	for (uint32_t i = 0; i < window->n_streams; i++) {
		const struct hn_window_stream *s = &window->streams[i];
		const int64_t begin = hn_window_bound_of(window, window->number, i)->row;

		for (int64_t r = begin; r < s->n_rows; r++)
			if (s->tokens[r] < 0)
				return hone_fail(err, HONE_EPLUGIN,
					"row %" PRId64 " of stream '%s' has no token", r - begin,
					s->name);
		for (uint32_t k = 0; k < layout->n_selections; k++) {
			const struct hn_decl_selection *selection = &layout->selections[k];
			int64_t n;

			if (!hn_streq(selection->stream, s->name))
				continue;
			n = hn_window_count(hn_window_find_column(s, selection->column), selection,
				begin, s->n_rows);
			if (n > window->example->n_learned)
				return hone_fail(err, HONE_EPLUGIN,
					"%" PRId64 " rows are selected as '%s', %" PRId64
					" were said to be learned",
					n, selection->name, window->example->n_learned);
		}
	}
	return HONE_OK;
}

enum hone_status
hn_window_emit(struct hn_window *window, int64_t example, struct hone_error *err)
{
	const struct hn_window_request *request = &window->request;
	enum hone_status st;

	window->example = &request->data->examples[example];
	window->number = window->n_examples;
	window->is_open = false;
	for (uint32_t i = 0; i < window->n_streams; i++)
		*hn_window_bound_of(window, window->number, i) = (struct hn_window_bound){
			window->streams[i].n_rows, window->streams[i].n_segments};
	st = request->objective->emit(
		request->objective_self, &window->base, &window->example->pub, err);
	if (!st)
		st = check_example(window, err);
	if (st) {
		hone_error_while(err, "emitting the example of %s:%" PRId64 " for [%s]",
			request->data->file.path, hn_dataset_line(request->data, example),
			request->objective_section);
		return st;
	}
	window->n_examples++;
	for (uint32_t i = 0; i < window->n_streams; i++)
		*hn_window_bound_of(window, window->n_examples, i) = (struct hn_window_bound){
			window->streams[i].n_rows, window->streams[i].n_segments};
	return HONE_OK;
}
