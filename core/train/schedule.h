/*
 * train/schedule.h - the learning rate of a step, as transformers' get_scheduler gives it.
 */
#ifndef HN_TRAIN_SCHEDULE_H
#define HN_TRAIN_SCHEDULE_H

#include "config/host_options.h"

struct hn_schedule_plan {
	int32_t type;          /* enum hn_schedule */
	double base;           /* learning_rate */
	int64_t warmup, total; /* optimizer steps */
	double cycles, power, end, min_lr;
};

/* Fills the plan from the options; a warm-up below 1 is a share of all steps, rounded up. */
struct hn_schedule_plan hn_schedule_make(const struct hn_train_options *train, int64_t total);

/* Rate of step `step`, counted from 0. */
double hn_schedule_rate(const struct hn_schedule_plan *plan, int64_t step);

#endif
