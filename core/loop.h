/*
 * loop.h - the training loop: steps, logging, evaluation, saving, stopping, the result.
 */
#ifndef HN_LOOP_H
#define HN_LOOP_H

#include "run.h"

/* How a run ended: its figures over all its sittings.  NAN = was not measured. */
struct hn_train_end {
	bool is_finished; /* false: a signal stopped it */
	int64_t steps;    /* 0 = it did not come so far */
	double loss, eval_loss, time_s;
};

/* Trains a run to its end, or goes on where its folder says; writes the result.  A finished
 * run says so and is HONE_OK.  Stopped by a signal: HONE_EINTERRUPTED after a checkpoint was
 * saved, err->reserved is the signal's number.  `end` is written in both cases. */
enum hone_status hn_train(
	struct hn_run *run, bool is_fresh, struct hn_train_end *end, struct hone_error *err);

#endif
