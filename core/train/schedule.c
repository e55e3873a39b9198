/*
 * schedule.c - learning rates by step: a factor of the base rate, after a linear warm-up.
 *
 * With t the step, w the warm-up, n the total and p = (t - w) / (n - w):
 *     linear                 1 - p
 *     cosine                 (1 + cos(2 pi c p)) / 2, c = 1/2 unless lr_num_cycles says
 *     cosine_with_restarts   (1 + cos(pi (c p mod 1))) / 2
 *     polynomial             (base - end) (1 - p)^power + end
 *     inverse_sqrt           sqrt(s / (t + s - w)), s = w or 10000
 *     cosine_with_min_lr     cosine between 1 and min_lr / base
 * Each equals transformers to the last bits of a double (tests/golden/test_schedule.c).
 */
#include <math.h>

#include "train/schedule.h"

#define PI 3.14159265358979323846

struct hn_schedule_plan
hn_schedule_make(const struct hn_train_options *train, int64_t total)
{
	struct hn_schedule_plan plan = {.type = train->lr_scheduler_type,
		.base = train->learning_rate,
		.total = total,
		.cycles = train->lr_num_cycles,
		.power = train->lr_power,
		.end = train->lr_end,
		.min_lr = train->min_lr};

	plan.warmup = train->warmup_steps < 1.0 ? (int64_t)ceil(train->warmup_steps * (double)total)
						: (int64_t)train->warmup_steps;
	if (plan.type == HN_SCHEDULE_CONSTANT)
		plan.warmup = 0;
	return plan;
}

static double
progress(const struct hn_schedule_plan *plan, int64_t step)
{
	const int64_t span = plan->total - plan->warmup;

	return (double)(step - plan->warmup) / (double)(span > 1 ? span : 1);
}

static double
polynomial(const struct hn_schedule_plan *plan, int64_t step)
{
	const double left =
		1.0 - (double)(step - plan->warmup) / (double)(plan->total - plan->warmup);

	if (step > plan->total)
		return plan->end / plan->base;
	return ((plan->base - plan->end) * pow(left, plan->power) + plan->end) / plan->base;
}

static double
factor(const struct hn_schedule_plan *plan, int64_t step)
{
	const double p = progress(plan, step);
	const double half = plan->cycles > 0.0 ? plan->cycles : 0.5;
	const double whole = plan->cycles > 0.0 ? plan->cycles : 1.0;
	double shift, low;

	switch (plan->type) {
	case HN_SCHEDULE_LINEAR:
		return fmax(0.0,
			(double)(plan->total - step) /
				fmax(1.0, (double)(plan->total - plan->warmup)));
	case HN_SCHEDULE_COSINE:
		return fmax(0.0, 0.5 * (1.0 + cos(PI * half * 2.0 * p)));
	case HN_SCHEDULE_COSINE_WITH_RESTARTS:
		return p >= 1.0 ? 0.0 : fmax(0.0, 0.5 * (1.0 + cos(PI * fmod(whole * p, 1.0))));
	case HN_SCHEDULE_POLYNOMIAL:
		return polynomial(plan, step);
	case HN_SCHEDULE_INVERSE_SQRT:
		shift = plan->warmup > 0 ? (double)plan->warmup : 10000.0;
		return 1.0 / sqrt(((double)step + shift - (double)plan->warmup) / shift);
	case HN_SCHEDULE_COSINE_WITH_MIN_LR:
		low = plan->min_lr / plan->base;
		return fmax(0.0, 0.5 * (1.0 + cos(PI * half * 2.0 * p)) * (1.0 - low) + low);
	default: /* constant, constant_with_warmup */
		return 1.0;
	}
}

double
hn_schedule_rate(const struct hn_schedule_plan *plan, int64_t step)
{
	if (step < plan->warmup)
		return plan->base * ((double)step / (double)(plan->warmup > 1 ? plan->warmup : 1));
	return plan->base * factor(plan, step);
}
