/*
 * window.c - windows: made, filled, cut; sums over them; what they need at most.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <hone/random.h>

#include "base/arena.h"
#include "base/rng.h"
#include "base/str.h"
#include "data/window_impl.h"

/* Capacities in rows are multiples of this: one cache line of i32. */
enum { ROWS_STEP = 16 };

const struct hn_window_column *
hn_window_find_column(const struct hn_window_stream *stream, const char *name)
{
	for (uint32_t i = 0; i < stream->n_columns; i++)
		if (hn_streq(stream->columns[i].decl->name, name))
			return &stream->columns[i];
	return NULL;
}

int64_t
hn_window_count(const struct hn_window_column *column, const struct hn_decl_selection *selection,
	int64_t begin, int64_t end)
{
	const uint32_t value = (uint32_t)(int32_t)selection->value;
	int64_t n = 0;

	for (int64_t i = begin; i < end; i++)
		n += column->values[i] != value;
	return n;
}

/* ---- made ---- */

/* Bits of a fill value. */
static uint32_t
fill_bits(const struct hn_decl_column *decl)
{
	uint32_t bits;

	if (decl->dtype == HONE_DTYPE_I32) {
		bits = (uint32_t)(int32_t)decl->fill;
	} else {
		const float value = (float)decl->fill;

		memcpy(&bits, &value, sizeof bits);
	}
	return bits;
}

static void
make_streams(struct hn_window *window)
{
	const struct hn_layout *layout = window->request.layout;

	window->n_streams = layout->n_streams;
	window->streams = hn_alloc((layout->n_streams + 1u) * sizeof *window->streams);
	for (uint32_t i = 0; i < layout->n_streams; i++) {
		struct hn_window_stream *s = &window->streams[i];

		s->name = layout->streams[i];
		s->columns = hn_alloc((layout->n_columns + 1u) * sizeof *s->columns);
		for (uint32_t c = 0; c < layout->n_columns; c++)
			if (hn_streq(layout->columns[c].stream, s->name))
				s->columns[s->n_columns++] =
					(struct hn_window_column){&layout->columns[c], NULL, 0,
						fill_bits(&layout->columns[c])};
	}
}

/* A selection is of an i32 column of rows of its stream. */
static enum hone_status
check_layout(const struct hn_window *window, struct hone_error *err)
{
	const struct hn_layout *layout = window->request.layout;

	for (uint32_t k = 0; k < layout->n_selections; k++) {
		const struct hn_decl_selection *selection = &layout->selections[k];
		const struct hn_window_column *column = NULL;

		for (uint32_t i = 0; i < window->n_streams; i++)
			if (hn_streq(window->streams[i].name, selection->stream))
				column = hn_window_find_column(
					&window->streams[i], selection->column);
		if (!column || column->decl->scope != HONE_PER_ROW ||
			column->decl->dtype != HONE_DTYPE_I32)
			return hone_fail(err, HONE_EPLUGIN,
				"[%s] selection '%s': '%s' is no i32 column of rows of '%s'",
				window->request.objective_section, selection->name,
				selection->column, selection->stream);
	}
	return HONE_OK;
}

static void
restart(struct hn_window *window)
{
	window->n_examples = 0;
	window->n_micros = 0;
	for (uint32_t i = 0; i < window->n_streams; i++) {
		window->streams[i].n_rows = 0;
		window->streams[i].n_segments = 0;
	}
}

static void
set_epoch(struct hn_window *window, int64_t epoch)
{
	uint32_t x[4];

	hone_random_draw(window->request.seed, window->stream, (uint64_t)epoch, 0, x);
	window->epoch_key = (uint64_t)x[0] << 32 | x[1];
}

/* ---- what it needs ---- */

static int
descending(const void *a, const void *b)
{
	const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x < y) - (x > y);
}

/* Most selected first: a.n_learned / a.n_rows against b's, without a division. */
static int
by_share(const void *a, const void *b)
{
	const struct hn_dataset_example *x = *(const struct hn_dataset_example *const *)a;
	const struct hn_dataset_example *y = *(const struct hn_dataset_example *const *)b;
	const int64_t left = x->n_learned * y->n_rows, right = y->n_learned * x->n_rows;

	return (left < right) - (left > right);
}

/* Sum of the first n of a list. */
static int64_t
sum_first(const int64_t *list, int64_t n)
{
	int64_t sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += list[i];
	return sum;
}

/* Rows that examples of `rows` rows together can select: those with the largest share, the
 * last of them in part.  The bound of a knapsack, which no choice exceeds. */
static int64_t
bound_selected(const struct hn_dataset *data, int64_t rows)
{
	const struct hn_dataset_example **sorted =
		hn_alloc((size_t)data->n_examples * sizeof *sorted);
	int64_t left = rows, selected = 0;

	for (int64_t i = 0; i < data->n_examples; i++)
		sorted[i] = &data->examples[i];
	qsort(sorted, (size_t)data->n_examples, sizeof *sorted, by_share);
	for (int64_t i = 0; i < data->n_examples && left > 0; i++) {
		const int64_t n = sorted[i]->n_rows;

		if (n <= left)
			selected += sorted[i]->n_learned;
		else
			selected += (sorted[i]->n_learned * left + n - 1) / n;
		left -= n;
	}
	free(sorted);
	return selected;
}

static int64_t
round_up(int64_t n)
{
	return (n + ROWS_STEP - 1) / ROWS_STEP * ROWS_STEP;
}

/* Capacities of a micro-batch, and *max_rows of a whole window. */
static void
find_capacity(struct hn_window *window, int64_t segments_per_example, int64_t *max_rows)
{
	const struct hn_dataset *data = window->request.data;
	const int64_t budget = window->request.micro_batch_tokens;
	const int64_t most = window->request.max_examples < data->n_examples
		? window->request.max_examples
		: data->n_examples;
	int64_t *lengths = hn_alloc((size_t)data->n_examples * sizeof *lengths);
	int64_t longest, rows, n_short = 0, sum = 0;

	for (int64_t i = 0; i < data->n_examples; i++)
		lengths[i] = data->examples[i].n_rows;
	qsort(lengths, (size_t)data->n_examples, sizeof *lengths, descending);
	*max_rows = sum_first(lengths, most);
	longest = lengths[0];
	rows = *max_rows < budget ? *max_rows : budget;
	if (rows < longest)
		rows = longest;
	/* As many as the shortest allow: an over-long one is alone. */
	while (n_short < most && sum + lengths[data->n_examples - 1 - n_short] <= rows)
		sum += lengths[data->n_examples - 1 - n_short++];
	window->capacity = (struct hn_capacity){.rows = round_up(rows),
		.segments = n_short * segments_per_example,
		.longest = longest,
		.selected = bound_selected(data, rows)};
	if (window->capacity.selected < 1)
		window->capacity.selected = 1;
	free(lengths);
}

/* Emits each example once, alone: all that emit could refuse is refused before the first step,
 * and the most segments of an example are known. */
static enum hone_status
measure(struct hn_window *window, int64_t *segments, struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	*segments = 1;
	set_epoch(window, 0);
	for (int64_t i = 0; i < window->request.data->n_examples && !st; i++) {
		restart(window);
		st = hn_window_emit(window, i, err);
		for (uint32_t s = 0; s < window->n_streams; s++)
			if (window->streams[s].n_segments > *segments)
				*segments = window->streams[s].n_segments;
	}
	restart(window);
	return st;
}

/* Memory for the largest step. */
static void
reserve(struct hn_window *window, int64_t max_rows, int64_t segments_per_example)
{
	const size_t rows = (size_t)max_rows;
	const size_t segments = (size_t)(window->request.max_examples * segments_per_example);

	for (uint32_t i = 0; i < window->n_streams; i++) {
		struct hn_window_stream *s = &window->streams[i];

		s->tokens = hn_grow(s->tokens, &s->cap_tokens, rows, sizeof *s->tokens);
		s->segments = hn_grow(s->segments, &s->cap_segments, segments, sizeof *s->segments);
		for (uint32_t c = 0; c < s->n_columns; c++)
			s->columns[c].values = hn_grow(s->columns[c].values, &s->columns[c].cap,
				s->columns[c].decl->scope == HONE_PER_ROW ? rows : segments,
				sizeof *s->columns[c].values);
	}
}

enum hone_status
hn_window_init(
	struct hn_window *window, const struct hn_window_request *request, struct hone_error *err)
{
	const size_t n = (size_t)request->max_examples;
	int64_t segments = 1, max_rows = 0;
	enum hone_status st;
	char name[128];

	memset(window, 0, sizeof *window);
	if (request->max_examples < 1 || request->max_examples > INT32_MAX ||
		request->micro_batch_tokens < 1)
		return hone_fail(err, HONE_EINVAL,
			"%" PRId64 " examples in micro-batches of %" PRId64 " tokens",
			request->max_examples, request->micro_batch_tokens);
	window->request = *request;
	(void)snprintf(name, sizeof name, "data/emit/%s", request->objective_section);
	window->stream = hn_rng_stream(name);
	hn_window_services(window);
	make_streams(window);
	st = check_layout(window, err);
	if (st)
		return st;
	window->bounds = hn_alloc((n + 1) * (window->n_streams + 1u) * sizeof *window->bounds);
	window->micros = hn_alloc(n * sizeof *window->micros);
	st = measure(window, &segments, err);
	if (st)
		return st;
	find_capacity(window, segments, &max_rows);
	if (max_rows > INT32_MAX)
		return hone_fail(err, HONE_ECONFIG,
			"a step of %" PRId64 " examples can have %" PRId64
			" tokens; make per_device_train_batch_size or max_length smaller",
			request->max_examples, max_rows);
	reserve(window, max_rows, segments);
	return HONE_OK;
}

void
hn_window_fini(struct hn_window *window)
{
	for (uint32_t i = 0; i < window->n_streams; i++) {
		struct hn_window_stream *s = &window->streams[i];

		for (uint32_t c = 0; c < s->n_columns; c++)
			free(s->columns[c].values);
		free(s->columns);
		free(s->tokens);
		free(s->segments);
	}
	free(window->streams);
	free(window->bounds);
	free(window->micros);
	free(window->labels);
	memset(window, 0, sizeof *window);
}

struct hn_capacity
hn_window_capacity(const struct hn_window *window)
{
	return window->capacity;
}

/* ---- filled and cut ---- */

/* Rows of an example in its longest stream. */
static int64_t
rows_of(const struct hn_window *window, int64_t example)
{
	int64_t rows = 0;

	for (uint32_t i = 0; i < window->n_streams; i++) {
		const int64_t n = hn_window_bound_of(window, example + 1, i)->row -
			hn_window_bound_of(window, example, i)->row;

		rows = n > rows ? n : rows;
	}
	return rows;
}

/* Goes on with a micro-batch as long as the budget lasts. */
static void
cut(struct hn_window *window)
{
	struct hn_micro *micro = NULL;

	for (int64_t e = 0; e < window->n_examples; e++) {
		const int64_t rows = rows_of(window, e);

		if (!micro || micro->rows + rows > window->request.micro_batch_tokens) {
			micro = &window->micros[window->n_micros++];
			*micro = (struct hn_micro){.first = e};
		}
		micro->n++;
		micro->rows += rows;
	}
}

enum hone_status
hn_window_fill(struct hn_window *window, const struct hn_order *order, struct hn_order_step step,
	struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	if (step.n > window->request.max_examples ||
		step.first + step.n > window->request.data->n_examples)
		return hone_fail(err, HONE_EBUG,
			"a window of %" PRId64 " examples from %" PRId64
			"; it was made for %" PRId64,
			step.n, step.first, window->request.max_examples);
	restart(window);
	set_epoch(window, step.epoch);
	for (int64_t i = 0; i < step.n && !st; i++)
		st = hn_window_emit(
			window, hn_order_example(order, step.epoch, step.first + i), err);
	if (!st)
		cut(window);
	return st;
}

/* ---- sums ---- */

static double
sum_column(const struct hn_window_column *column, int64_t begin, int64_t end)
{
	double sum = 0.0;

	for (int64_t i = begin; i < end; i++) {
		float value;

		memcpy(&value, &column->values[i], sizeof value);
		sum += column->decl->dtype == HONE_DTYPE_I32 ? (double)(int32_t)column->values[i]
							     : (double)value;
	}
	return sum;
}

/* Of examples [first, first + n). */
static enum hone_status
weight_of(const struct hn_window *window, int64_t first, int64_t n, const char *stream,
	const char *weight, double *out, struct hone_error *err)
{
	const struct hn_layout *layout = window->request.layout;

	for (uint32_t i = 0; i < window->n_streams; i++) {
		const struct hn_window_stream *s = &window->streams[i];
		const struct hn_window_bound *begin = hn_window_bound_of(window, first, i);
		const struct hn_window_bound *end = hn_window_bound_of(window, first + n, i);
		const struct hn_window_column *column;

		if (!hn_streq(s->name, stream))
			continue;
		for (uint32_t k = 0; k < layout->n_selections; k++) {
			const struct hn_decl_selection *selection = &layout->selections[k];

			if (!hn_streq(selection->stream, stream) ||
				!hn_streq(selection->name, weight))
				continue;
			*out = (double)hn_window_count(hn_window_find_column(s, selection->column),
				selection, begin->row, end->row);
			return HONE_OK;
		}
		column = hn_window_find_column(s, weight);
		if (!column)
			break;
		*out = column->decl->scope == HONE_PER_ROW
			? sum_column(column, begin->row, end->row)
			: sum_column(column, begin->segment, end->segment);
		return HONE_OK;
	}
	return hone_fail(err, HONE_EPLUGIN,
		"[%s] a loss term is weighted by '%s' of stream '%s', which is neither a selection "
		"nor a column",
		window->request.objective_section, weight, stream);
}

enum hone_status
hn_window_weight(const struct hn_window *window, const char *stream, const char *weight,
	double *out, struct hone_error *err)
{
	return weight_of(window, 0, window->n_examples, stream, weight, out, err);
}

enum hone_status
hn_window_micro_weight(const struct hn_window *window, int64_t micro, const char *stream,
	const char *weight, double *out, struct hone_error *err)
{
	const struct hn_micro *m = &window->micros[micro];

	return weight_of(window, m->first, m->n, stream, weight, out, err);
}
