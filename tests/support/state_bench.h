/*
 * support/state_bench.h - a small LoRA engine whose whole state follows from one number, so
 * that a test can say which of the states that were saved has come back.
 */
#ifndef HN_TEST_STATE_BENCH_H
#define HN_TEST_STATE_BENCH_H

#include "bench_model.h"
#include "train/checkpoint.h"

/* An engine with parameters and moments and without programs, on the reference backend;
 * `sites` is the text of target_modules. */
void state_bench_open(struct bench_model *bench, int64_t rank, const char *sites, int32_t compute);

/* Sets values, moments and progress to those of `number`; every bit pattern that is a number
 * may occur. */
void state_set(struct bench_model *bench, struct hn_progress *progress, int64_t number);

/* Fails the test unless values, moments and progress are bit for bit those of `number`. */
void state_expect(
	const struct bench_model *bench, const struct hn_progress *progress, int64_t number);

/* Saves the state of `number` as step `step`. */
enum hone_status state_save(struct bench_model *bench, struct hn_folder *folder, int64_t step,
	int64_t number, bool is_best, int64_t limit, struct hone_error *err);

#endif
