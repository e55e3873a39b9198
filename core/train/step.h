/*
 * train/step.h - one optimizer step: micro-batches accumulate, then all parameters move.
 *
 *     hn_step_begin; (bind a micro-batch; hn_step_micro)*; hn_step_end
 *
 * The gradients of all micro-batches are added in the order of the calls; the denominators
 * are in the cotangents already.  Nothing is applied when a loss term or the gradient's norm
 * is not finite.
 */
#ifndef HN_TRAIN_STEP_H
#define HN_TRAIN_STEP_H

#include "graph/build.h"
#include "graph/engine.h"

enum { HN_MAX_TERMS = 16 };

struct hn_step {
	struct hn_engine *engine;
	struct hn_program train, norm, update;
	struct hn_build_result result; /* terms of `train`, in its graph's arena */
	double sums[HN_MAX_TERMS];     /* of the terms over the step so far */
};

/* Builds and adds the three programs.  `request` is for training. */
enum hone_status hn_step_create(struct hn_step *step, struct hn_engine *engine,
	const struct hn_build_request *request, const struct hn_adamw *adamw, int64_t chunk_rows,
	struct hone_error *err);

void hn_step_begin(struct hn_step *step);
/* Sets the cotangent of term i to coefficient / denominator (0 when nothing is learned). */
void hn_step_set_denominator(struct hn_step *step, uint32_t i, double denominator);
/* Runs the micro-batch that is bound; HONE_ENOTFINITE names the term. */
enum hone_status hn_step_micro(
	struct hn_step *step, uint64_t seed, uint64_t number, struct hone_error *err);
/* Norm, clipping, AdamW; `number` counts from 0.  max_norm 0 = no clipping.  On
 * HONE_ENOTFINITE, which names the first parameter whose gradient is not finite, nothing has
 * changed. */
enum hone_status hn_step_end(struct hn_step *step, uint64_t number, double rate,
	const struct hn_adamw *adamw, double max_norm, double *grad_norm, struct hone_error *err);

/* What gradients of this norm are multiplied by, so that it becomes at most max_norm (0 = any);
 * never more than 1. */
double hn_clip_factor(double norm, double max_norm);

/* Whether a double, as its exponent's bits say, is neither infinite nor NaN. */
bool hn_is_finite(double value);

#endif
