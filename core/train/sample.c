/*
 * sample.c - penalties, the filters over a heap of ids, and the draw.
 *
 * top_k and top_p need the likeliest tokens in order, mostly a few of a large vocabulary: ids
 * are made a heap in O(n), and each one taken costs O(log n).  A heap needs no memory of its
 * own and its order has no ties, so the result is the same everywhere.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"
#include "train/sample.h"
#include "train/step.h"

void
hn_sampler_init(struct hn_sampler *sampler, int64_t n)
{
	sampler->n = n;
	sampler->scores = hn_alloc((size_t)n * sizeof *sampler->scores);
	sampler->p = hn_alloc((size_t)n * sizeof *sampler->p);
	sampler->heap = hn_alloc((size_t)n * sizeof *sampler->heap);
	sampler->is_met = hn_alloc(((size_t)n / 64 + 1) * sizeof *sampler->is_met);
}

void
hn_sampler_fini(struct hn_sampler *sampler)
{
	free(sampler->scores);
	free(sampler->p);
	free(sampler->heap);
	free(sampler->is_met);
	memset(sampler, 0, sizeof *sampler);
}

/* ---- repetition penalty ---- */

/* Each token of the text once, however often it stands there. */
static void
penalise(struct hn_sampler *s, double penalty, const int32_t *ids, int64_t n_ids)
{
	for (int64_t i = 0; i < n_ids; i++) {
		const uint64_t bit = UINT64_C(1) << (ids[i] & 63);
		double *score = &s->scores[ids[i]];

		if (s->is_met[ids[i] / 64] & bit)
			continue;
		s->is_met[ids[i] / 64] |= bit;
		*score = *score < 0.0 ? *score * penalty : *score / penalty;
	}
	for (int64_t i = 0; i < n_ids; i++)
		s->is_met[ids[i] / 64] = 0;
}

/* ---- the heap: greatest score first, among equals the lower id ---- */

static bool
is_before(const struct hn_sampler *s, int32_t a, int32_t b)
{
	return s->scores[a] > s->scores[b] || (s->scores[a] == s->scores[b] && a < b);
}

static void
sift_down(struct hn_sampler *s, int64_t at, int64_t n)
{
	const int32_t id = s->heap[at];

	for (int64_t child; (child = 2 * at + 1) < n; at = child) {
		if (child + 1 < n && is_before(s, s->heap[child + 1], s->heap[child]))
			child++;
		if (!is_before(s, s->heap[child], id))
			break;
		s->heap[at] = s->heap[child];
	}
	s->heap[at] = id;
}

/* Makes a heap of the ids that are not left out; returns their number. */
static int64_t
make_heap(struct hn_sampler *s)
{
	int64_t n = 0;

	for (int32_t id = 0; id < s->n; id++)
		if (s->scores[id] > -INFINITY)
			s->heap[n++] = id;
	for (int64_t at = n / 2; at-- > 0;)
		sift_down(s, at, n);
	return n;
}

/* Takes the first of n; it moves to heap[n - 1], behind what remains. */
static int32_t
take_first(struct hn_sampler *s, int64_t n)
{
	const int32_t first = s->heap[0];

	s->heap[0] = s->heap[n - 1];
	s->heap[n - 1] = first;
	if (n > 1)
		sift_down(s, 0, n - 1);
	return first;
}

/* ---- filters ---- */

static double
greatest(const struct hn_sampler *s)
{
	double max = -INFINITY;

	for (int64_t i = 0; i < s->n; i++)
		max = s->scores[i] > max ? s->scores[i] : max;
	return max;
}

static void
leave_out_below(struct hn_sampler *s, double score)
{
	for (int64_t i = 0; i < s->n; i++)
		if (s->scores[i] < score)
			s->scores[i] = -INFINITY;
}

static void
keep_top_k(struct hn_sampler *s, int64_t k)
{
	int64_t n = make_heap(s);

	while (n > 0 && --k > 0)
		(void)take_first(s, n--);
	if (n > 0)
		leave_out_below(s, s->scores[s->heap[0]]);
}

/* p_i = exp(score - greatest); returns their sum. */
static double
weigh(struct hn_sampler *s)
{
	const double max = greatest(s);
	double sum = 0.0;

	for (int64_t i = 0; i < s->n; i++) {
		s->p[i] = s->scores[i] > -INFINITY ? exp(s->scores[i] - max) : 0.0;
		sum += s->p[i];
	}
	return sum;
}

/* A token stays while those before it hold less than p. */
static void
keep_top_p(struct hn_sampler *s, double p)
{
	const double limit = p * weigh(s);
	int64_t n = make_heap(s);
	double held = 0.0;

	for (; n > 0 && held < limit; n--)
		held += s->p[take_first(s, n)];
	for (int64_t i = 0; i < n; i++)
		s->scores[s->heap[i]] = -INFINITY;
}

void
hn_sampler_filter(struct hn_sampler *sampler, const struct hn_sampling *sampling,
	const int32_t *ids, int64_t n_ids)
{
	double max;

	if (sampling->repetition_penalty > 0.0 && sampling->repetition_penalty != 1.0)
		penalise(sampler, sampling->repetition_penalty, ids, n_ids);
	if (sampling->temperature <= 0.0)
		return;
	/* Relative to the greatest, so that no temperature, however small, overflows. */
	max = greatest(sampler);
	for (int64_t i = 0; i < sampler->n; i++)
		sampler->scores[i] = (sampler->scores[i] - max) / sampling->temperature;
	if (sampling->top_k > 0 && sampling->top_k < sampler->n)
		keep_top_k(sampler, sampling->top_k);
	if (sampling->top_p > 0.0 && sampling->top_p < 1.0)
		keep_top_p(sampler, sampling->top_p);
	if (sampling->min_p > 0.0)
		leave_out_below(sampler, greatest(sampler) + log(sampling->min_p));
}

/* ---- the choice ---- */

static int32_t
likeliest(const struct hn_sampler *s)
{
	int32_t best = 0;

	for (int32_t id = 1; id < s->n; id++)
		if (s->scores[id] > s->scores[best])
			best = id;
	return best;
}

/* The id where the running sum of probabilities passes u; the last one that has any, where
 * rounding keeps the sum below it. */
static int32_t
draw(struct hn_sampler *s, double u)
{
	const double limit = u * weigh(s);
	double sum = 0.0;
	int32_t last = 0;

	for (int32_t id = 0; id < s->n; id++) {
		if (s->p[id] <= 0.0)
			continue;
		last = id;
		sum += s->p[id];
		if (sum > limit)
			break;
	}
	return last;
}

static enum hone_status
fail_not_finite(int64_t id, int64_t position, uint64_t prompt, struct hone_error *err)
{
	return hone_fail(err, HONE_ENOTFINITE,
		"the logit of token %" PRId64 " at position %" PRId64 " of prompt %" PRIu64
		" is not finite",
		id, position, prompt + 1);
}

bool
hn_sampler_is_greedy(const struct hn_sampling *sampling)
{
	return sampling->temperature <= 0.0 &&
		(sampling->repetition_penalty <= 0.0 || sampling->repetition_penalty == 1.0);
}

/* The first of the greatest.  Infinities and NaN have an exponent of ones. */
enum hone_status
hn_sampler_greedy(const struct hn_sampler *sampler, const float *logits, int64_t n_ids,
	uint64_t prompt, int32_t *out, struct hone_error *err)
{
	const uint32_t ones = 0x7f800000;
	float most = logits[0];
	int32_t best = 0;

	for (int32_t id = 0; id < sampler->n; id++) {
		uint32_t bits;

		memcpy(&bits, &logits[id], sizeof bits);
		if ((bits & ones) == ones)
			return fail_not_finite(id, n_ids, prompt, err);
		if (logits[id] > most) {
			most = logits[id];
			best = id;
		}
	}
	*out = best;
	return HONE_OK;
}

enum hone_status
hn_sampler_next(struct hn_sampler *sampler, const struct hn_sampling *sampling, const int32_t *ids,
	int64_t n_ids, uint64_t prompt, int32_t *out, struct hone_error *err)
{
	for (int64_t i = 0; i < sampler->n; i++)
		if (!hn_is_finite(sampler->scores[i]))
			return fail_not_finite(i, n_ids, prompt, err);
	hn_sampler_filter(sampler, sampling, ids, n_ids);
	*out = sampling->temperature <= 0.0
		? likeliest(sampler)
		: draw(sampler,
			  hn_rng_uniform(sampling->seed, hn_rng_stream("generate"), prompt,
				  (uint64_t)n_ids));
	return HONE_OK;
}
