/*
 * loop.h - the training loop: steps, logging, evaluation, saving, stopping, the result.
 */
#ifndef HN_LOOP_H
#define HN_LOOP_H

#include "run.h"

/* Trains a run to its end, or goes on where its folder says; writes the result.  Returns
 * HONE_EINTERRUPTED with err->line = the signal's number after a checkpoint was saved. */
enum hone_status hn_train(struct hn_run *run, bool is_fresh, struct hone_error *err);

#endif
