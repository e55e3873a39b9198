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

/* ---- folders ---- */

/* Opens it as a run's; fails the test where that does not succeed, as all below. */
void state_folder_open(struct hn_folder *folder, struct hn_log *log, const char *path);
/* state_save where it must succeed. */
void state_save_whole(struct bench_model *bench, struct hn_folder *folder, int64_t step,
	int64_t number, bool is_best, int64_t limit);
/* Loads the newest over a state that was never saved; returns its step. */
int64_t state_load_newest(
	struct bench_model *bench, const struct hn_folder *folder, struct hn_progress *progress);
/* Nothing in checkpoints/ but whole names, at most `limit` and the best. */
void state_expect_tidy(const struct hn_folder *folder, size_t limit);

#endif
