/*
 * excerpt.c - the first texts of a split, through the same stages as an evaluation's.
 */
#include <stdlib.h>

#include "base/rng.h"
#include "excerpt.h"
#include "train/export.h"

enum { MADE_UP_ROWS = 32, MADE_UP_SEGMENTS = 2 };

static int64_t
vocabulary_of(const struct hn_run *run)
{
	return hn_model_site_at(&run->model, "embed.token", -1)->pub.in_features;
}

static void
reserve(struct hn_excerpt *excerpt, int64_t rows, int64_t segments)
{
	hn_excerpt_fini(excerpt);
	excerpt->ids = hn_alloc((size_t)rows * sizeof *excerpt->ids);
	excerpt->offsets = hn_alloc((size_t)(segments + 1) * sizeof *excerpt->offsets);
	excerpt->offsets[0] = 0;
}

/* Adds a text, or as much of it as fits. */
static void
add_segment(struct hn_excerpt *excerpt, const int32_t *ids, int64_t n, int64_t rows)
{
	int32_t at = excerpt->offsets[excerpt->n_segments];

	if (at == rows || n == 0)
		return;
	for (int64_t i = 0; i < n && at < rows; i++)
		excerpt->ids[at++] = ids[i];
	excerpt->offsets[++excerpt->n_segments] = at;
}

enum hone_status
hn_excerpt_take_split(struct hn_excerpt *excerpt, const struct hn_run *run, struct hn_split *split,
	struct hone_error *err)
{
	const struct hn_window_stream *stream = split->window.streams;
	const int64_t rows = hn_proof_rows_max(vocabulary_of(run));
	enum hone_status st =
		hn_window_fill(&split->window, &split->order, hn_order_step(&split->order, 0), err);

	if (st)
		return st;
	reserve(excerpt, rows, stream->n_segments);
	excerpt->from = split->name;
	for (int64_t s = 0; s < stream->n_segments; s++)
		add_segment(excerpt, stream->tokens + stream->segments[s].begin,
			stream->segments[s].n, rows);
	return excerpt->n_segments ? HONE_OK : hone_fail(err, HONE_EDATA, "there is no token");
}

static enum hone_status
take_data(struct hn_excerpt *excerpt, struct hn_run *run, struct hone_error *err)
{
	const struct hn_data_options *data = &run->options.data;
	const char *split =
		data->validation || data->validation_split > 0.0 ? "validation" : "train";
	const struct hn_session_want want = {.split = split};
	struct hn_session session = {0};
	enum hone_status st = hn_session_open(&session, run, &want, err);

	if (!st)
		st = hn_excerpt_take_split(excerpt, run, &session.eval, err);
	hn_session_close(&session);
	return st;
}

/* Any ids do: the comparison is between two computations, not with the truth. */
static void
make_up(struct hn_excerpt *excerpt, int64_t vocabulary)
{
	const uint64_t stream = hn_rng_stream("excerpt");

	reserve(excerpt, MADE_UP_ROWS, MADE_UP_SEGMENTS);
	for (int64_t i = 0; i < MADE_UP_ROWS; i++)
		excerpt->ids[i] =
			(int32_t)hn_rng_below(0, stream, (uint64_t)i, 0, (uint64_t)vocabulary);
	for (int32_t s = 1; s <= MADE_UP_SEGMENTS; s++)
		excerpt->offsets[s] = s * MADE_UP_ROWS / MADE_UP_SEGMENTS;
	excerpt->n_segments = MADE_UP_SEGMENTS;
	excerpt->from = "made-up";
}

void
hn_excerpt_take(struct hn_excerpt *excerpt, struct hn_run *run)
{
	struct hone_error err = {0};

	*excerpt = (struct hn_excerpt){0};
	if (!take_data(excerpt, run, &err))
		return;
	hn_log_warn(run->log, "%s%s%s: the model is tried on tokens drawn by chance instead",
		err.place, err.place[0] ? ": " : "", err.text);
	make_up(excerpt, vocabulary_of(run));
}

void
hn_excerpt_fini(struct hn_excerpt *excerpt)
{
	free(excerpt->ids);
	free(excerpt->offsets);
	*excerpt = (struct hn_excerpt){0};
}
