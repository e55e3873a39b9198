/*
 * loop.h - the training loop: steps, logging, evaluation, saving, stopping, the result.
 */
#ifndef HN_LOOP_H
#define HN_LOOP_H

#include "run.h"

/* Trains a run to its end, or goes on where its folder says; writes the result.  A finished
 * run says so and is HONE_OK.  Stopped by a signal: HONE_EINTERRUPTED after a checkpoint was
 * saved, err->reserved is the signal's number. */
enum hone_status hn_train(struct hn_run *run, bool is_fresh, struct hone_error *err);

#endif
