/*
 * order.c - orders, steps, and the rows of a validation split.
 */
#include <math.h>
#include <stdio.h>

#include "base/rng.h"
#include "data/order.h"

static int64_t
ceil_div(int64_t a, int64_t b)
{
	return a / b + (a % b != 0);
}

int64_t
hn_order_steps_per_epoch(const struct hn_order *order)
{
	return ceil_div(order->n, order->window);
}

int64_t
hn_order_steps(const struct hn_order *order, double num_train_epochs, int64_t max_steps)
{
	double steps;

	if (max_steps > 0)
		return max_steps;
	steps = ceil(num_train_epochs * (double)hn_order_steps_per_epoch(order));
	return steps < 1.0 ? 1 : steps > 9e15 ? (int64_t)9e15 : (int64_t)steps;
}

int64_t
hn_order_example(const struct hn_order *order, int64_t epoch, int64_t i)
{
	char name[64];

	if (!order->shuffles)
		return i;
	(void)snprintf(name, sizeof name, "data/order/%lld", (long long)epoch);
	return (int64_t)hn_rng_permute(
		order->seed, hn_rng_stream(name), (uint64_t)i, (uint64_t)order->n);
}

struct hn_order_step
hn_order_step(const struct hn_order *order, int64_t step)
{
	const int64_t per_epoch = hn_order_steps_per_epoch(order);
	const int64_t first = step % per_epoch * order->window;
	const int64_t left = order->n - first;

	return (struct hn_order_step){
		step / per_epoch, first, left < order->window ? left : order->window};
}

double
hn_order_epoch(const struct hn_order *order, int64_t n_steps)
{
	return (double)n_steps / (double)hn_order_steps_per_epoch(order);
}

bool
hn_order_is_taken(uint64_t seed, int64_t i, int64_t n, int64_t n_taken)
{
	return (int64_t)hn_rng_permute(seed, hn_rng_stream("data/validation_split"), (uint64_t)i,
		       (uint64_t)n) < n_taken;
}

int64_t
hn_order_n_taken(double validation_split, int64_t n)
{
	if (!(validation_split > 0.0))
		return 0;
	if (validation_split < 1.0)
		return (int64_t)ceil(validation_split * (double)n - 1e-9);
	return validation_split < (double)n ? (int64_t)validation_split : n;
}
