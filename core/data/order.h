/*
 * data/order.h - which example comes when: pure functions of seed, epoch and position.
 *
 * A run's place in its data is two integers, (epoch, index), and both follow from the number of
 * the optimizer step; nothing else is saved, so nothing can be restored wrongly.  Each epoch
 * has every example once, in an order of its own (a keyed permutation), or in the file's order.
 *
 *     batches of an epoch = ceil(examples / batch)
 *     steps of an epoch   = ceil(batches / gradient_accumulation_steps)
 *     steps of a run      = ceil(num_train_epochs * steps of an epoch), or max_steps
 *
 * A step's examples are the next batch * accumulation of the epoch; the last step of an epoch
 * takes what is left.  No step crosses epochs, nothing is dropped or repeated.  These are the
 * counts of transformers' Trainer.
 */
#ifndef HN_DATA_ORDER_H
#define HN_DATA_ORDER_H

#include <stdbool.h>
#include <stdint.h>

struct hn_order {
	uint64_t seed;
	int64_t n;      /* examples; at least 1 */
	int64_t window; /* examples of an optimizer step: batch * accumulation; at least 1 */
	bool shuffles;
};

/* Examples of one step: positions [first, first + n) of an epoch. */
struct hn_order_step {
	int64_t epoch, first, n;
};

int64_t hn_order_steps_per_epoch(const struct hn_order *order);
/* max_steps > 0 wins over epochs, and may be more than them. */
int64_t hn_order_steps(const struct hn_order *order, double num_train_epochs, int64_t max_steps);

/* The example at position i < n of an epoch. */
int64_t hn_order_example(const struct hn_order *order, int64_t epoch, int64_t i);
/* What optimizer step `step` (from 0) takes. */
struct hn_order_step hn_order_step(const struct hn_order *order, int64_t step);
/* How far the run is after `n_steps` steps, in epochs, for the logs. */
double hn_order_epoch(const struct hn_order *order, int64_t n_steps);

/* Whether row i of n goes to the validation set: exactly `n_taken` rows do, by keyed choice. */
bool hn_order_is_taken(uint64_t seed, int64_t i, int64_t n, int64_t n_taken);
/* Rows that [data] validation_split takes of n: below 1 a share (rounded up), else a count. */
int64_t hn_order_n_taken(double validation_split, int64_t n);

#endif
