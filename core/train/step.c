/*
 * step.c - accumulate, clip as PyTorch does, update.
 *
 *     norm = sqrt(sum g^2)      factor = min(1, max_norm / (norm + 1e-6))
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/damage.h"
#include "train/step.h"

#define REMEDY "; lower [train] learning_rate"

bool
hn_is_finite(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof bits);
	return (bits >> 52 & 0x7ff) != 0x7ff;
}

enum hone_status
hn_step_create(struct hn_step *step, struct hn_engine *engine,
	const struct hn_build_request *request, const struct hn_adamw *adamw, int64_t chunk_rows,
	struct hone_error *err)
{
	struct hn_graph graph;
	enum hone_status st;

	memset(step, 0, sizeof *step);
	step->engine = engine;
	engine->clears_late = true;
	st = hn_build(request, &graph, &step->result, err);
	if (!st && step->result.n_terms > HN_MAX_TERMS)
		st = hone_fail(err, HONE_EPLUGIN, "%u loss terms; %d are possible",
			step->result.n_terms, (int)HN_MAX_TERMS);
	if (st) {
		hn_graph_fini(&graph);
		return st;
	}
	st = hn_engine_add(engine, &step->train, "train", &graph, chunk_rows, err);
	if (!st)
		st = hn_build_norm(request->params, request->compute, &graph, err);
	if (!st)
		st = hn_engine_add(engine, &step->norm, "norm", &graph, chunk_rows, err);
	if (!st)
		st = hn_build_update(request->params, adamw, request->compute, &graph, err);
	return st ? st : hn_engine_add(engine, &step->update, "update", &graph, chunk_rows, err);
}

void
hn_step_begin(struct hn_step *step)
{
	memset(step->sums, 0, sizeof step->sums);
}

/* A scalar of the program's statistics type. */
static double
scalar(const struct hn_step *step, const void *bytes)
{
	return step->engine->stat == HONE_DTYPE_F64 ? *(const double *)bytes
						    : (double)*(const float *)bytes;
}

void
hn_step_set_denominator(struct hn_step *step, uint32_t i, double denominator)
{
	const double inverse =
		denominator > 0.0 ? step->result.terms[i].coefficient / denominator : 0.0;
	char name[128];
	void *column;

	(void)snprintf(name, sizeof name, "step.inverse.%s", step->result.terms[i].name);
	column = hn_program_column(&step->train, name);
	if (!column)
		return;
	if (step->engine->stat == HONE_DTYPE_F64)
		*(double *)column = inverse;
	else
		*(float *)column = (float)inverse;
}

/* Finds the first value of a kind that is not finite. */
static bool
find_not_finite(
	const struct hn_engine *engine, int32_t kind, const struct hn_param **out, int64_t *at)
{
	for (uint32_t p = 0; p < engine->params->n; p++) {
		const struct hn_param *param = &engine->params->list[p];
		float *values = hn_alloc((size_t)param->n_elems * sizeof *values);
		int64_t i = 0;

		(void)hn_engine_get(engine, kind, param, values, NULL);
		while (i < param->n_elems && hn_is_finite((double)values[i]))
			i++;
		free(values);
		*out = param;
		*at = i;
		if (i < param->n_elems)
			return true;
	}
	return false;
}

/* Names the tensor, too: a parameter where one is not finite, else a weight of the model's
 * file, else the first gradient that this loss spoilt. */
static enum hone_status
fail_term(const struct hn_step *step, const char *term, uint64_t number, struct hone_error *err)
{
	const struct hn_param *param;
	int64_t i;

	if (find_not_finite(step->engine, HN_MEMORY_PARAMS, &param, &i))
		return hone_fail(err, HONE_ENOTFINITE,
			"step %" PRIu64 ": loss term '%s' is not finite, because parameter '%s' is "
			"not at element %" PRId64 REMEDY,
			number + 1, term, param->key, i);
	(void)hone_fail(err, HONE_ENOTFINITE, "step %" PRIu64 ": loss term '%s' is not finite",
		number + 1, term);
	if (hn_model_blame(step->engine->model, err))
		return HONE_ENOTFINITE;
	if (find_not_finite(step->engine, HN_MEMORY_GRADS, &param, &i))
		return hone_fail(err, HONE_ENOTFINITE,
			"step %" PRIu64
			": loss term '%s' is not finite, nor is the gradient of '%s' "
			"at element %" PRId64 REMEDY,
			number + 1, term, param->key, i);
	return hone_fail(err, HONE_ENOTFINITE,
		"step %" PRIu64 ": loss term '%s' is not finite" REMEDY, number + 1, term);
}

enum hone_status
hn_step_micro(struct hn_step *step, uint64_t seed, uint64_t number, struct hone_error *err)
{
	enum hone_status st = hn_engine_settle(step->engine, HN_MEMORY_GRADS, err);
	char name[128];
	double cell = 0.0;

	if (!st)
		st = hn_program_run(&step->train, seed, number, err);

	for (uint32_t i = 0; i < step->result.n_terms && !st; i++) {
		(void)snprintf(name, sizeof name, "term.%s", step->result.terms[i].name);
		st = hn_program_read(&step->train, name, &cell,
			(uint64_t)hone_dtype_bytes(step->engine->stat), err);
		if (st)
			break;
		step->sums[i] += scalar(step, &cell);
		if (!hn_is_finite(step->sums[i]))
			st = fail_term(step, step->result.terms[i].name, number, err);
	}
	return st;
}

/* Names the weight of the model's file that is not finite, or the first parameter whose gradient
 * is not. */
static enum hone_status
fail_norm(const struct hn_step *step, uint64_t number, struct hone_error *err)
{
	const struct hn_param *param;
	int64_t i;

	(void)hone_fail(err, HONE_ENOTFINITE,
		"step %" PRIu64 ": the norm of the gradients is not finite", number + 1);
	if (hn_model_blame(step->engine->model, err))
		return HONE_ENOTFINITE;
	if (find_not_finite(step->engine, HN_MEMORY_GRADS, &param, &i))
		return hone_fail(err, HONE_ENOTFINITE,
			"step %" PRIu64
			": the gradient of '%s' is not finite at element %" PRId64 REMEDY,
			number + 1, param->key, i);
	return hone_fail(err, HONE_ENOTFINITE,
		"step %" PRIu64 ": the norm of the gradients is not finite" REMEDY, number + 1);
}

double
hn_clip_factor(double norm, double max_norm)
{
	const double factor = max_norm / (norm + 1e-6);

	return max_norm > 0.0 && factor < 1.0 ? factor : 1.0;
}

static enum hone_status
settle(const struct hn_step *step, struct hone_error *err)
{
	static const int32_t kinds[] = {HN_MEMORY_GRADS, HN_MEMORY_MOMENT1, HN_MEMORY_MOMENT2};
	enum hone_status st = HONE_OK;

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && !st; i++)
		st = hn_engine_settle(step->engine, kinds[i], err);
	return st;
}

enum hone_status
hn_step_end(struct hn_step *step, uint64_t number, double rate, const struct hn_adamw *adamw,
	double max_norm, double *grad_norm, struct hone_error *err)
{
	float *hyper = hn_program_column(&step->update, "step.hyper");
	const double t = (double)number + 1.0;
	double cell = 0.0, norm;
	enum hone_status st = settle(step, err);

	if (!st)
		st = hn_program_run(&step->norm, 0, 0, err);
	if (!st)
		st = hn_program_read(&step->norm, "norm2", &cell,
			(uint64_t)hone_dtype_bytes(step->engine->stat), err);
	if (st)
		return st;
	norm = sqrt(scalar(step, &cell));
	if (!hn_is_finite(norm))
		return fail_norm(step, number, err);
	*grad_norm = norm;
	hyper[0] = (float)rate;
	hyper[1] = (float)(1.0 - pow(adamw->beta1, t));
	hyper[2] = (float)(1.0 - pow(adamw->beta2, t));
	hyper[3] = (float)hn_clip_factor(norm, max_norm);
	return hn_program_run(&step->update, 0, 0, err);
}
