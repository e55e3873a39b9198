/*
 * train/sample.h - the next token from a row of logits.
 *
 *     logits -> repetition penalty -> temperature -> top_k -> top_p -> min_p -> draw
 *
 * The order and the meaning of each step are those of transformers' generate():
 *
 *     repetition penalty   z of every token that the text has: z > 0 ? z / r : z * r
 *     temperature          (z - greatest) / T; T = 0 takes the greatest and nothing else
 *                          below applies
 *     top_k                tokens below the k-th greatest leave; its equals stay
 *     top_p                the likeliest tokens until they hold p; the one that reaches it stays
 *     min_p                tokens less likely than p times the likeliest leave
 *
 * Among equals the lower id comes first, always.  A draw is a function of (seed, prompt,
 * position), so the same call gives the same text whatever else is in the batch.
 */
#ifndef HN_TRAIN_SAMPLE_H
#define HN_TRAIN_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>

#include <hone/status.h>

struct hn_sampling {
	double temperature;        /* 0 = greedy */
	int64_t top_k;             /* 0 = all */
	double top_p;              /* 1 (or 0, not set) = all */
	double min_p;              /* 0 = all */
	double repetition_penalty; /* 1 (or 0, not set) = none */
	uint64_t seed;
};

/* Memory for rows of n logits; nothing is allocated after init. */
struct hn_sampler {
	int64_t n;
	double *scores;   /* what the steps above leave; -infinity = left out */
	double *p;        /* exp(score - greatest); 0 = left out */
	int32_t *heap;    /* ids by score, greatest first */
	uint64_t *is_met; /* bits: ids already penalised */
};

void hn_sampler_init(struct hn_sampler *sampler, int64_t n);
void hn_sampler_fini(struct hn_sampler *sampler);

/* Applies all steps but the draw to sampler->scores; `ids` is the text so far.  Temperature 0
 * applies the penalty only. */
void hn_sampler_filter(struct hn_sampler *sampler, const struct hn_sampling *sampling,
	const int32_t *ids, int64_t n_ids);

/* The token that follows `ids`, after the caller has filled sampler->scores with logits.
 * HONE_ENOTFINITE when a logit is NaN or infinite. */
enum hone_status hn_sampler_next(struct hn_sampler *sampler, const struct hn_sampling *sampling,
	const int32_t *ids, int64_t n_ids, uint64_t prompt, int32_t *out, struct hone_error *err);

/* Whether `sampling` takes the greatest logit as it stands: then hn_sampler_greedy gives what
 * hn_sampler_next would, in one pass over the logits themselves. */
bool hn_sampler_is_greedy(const struct hn_sampling *sampling);
enum hone_status hn_sampler_greedy(const struct hn_sampler *sampler, const float *logits,
	int64_t n_ids, uint64_t prompt, int32_t *out, struct hone_error *err);

#endif
