/*
 * test_order.c - orders of epochs, steps, splits.
 *
 * Would catch: an epoch that repeats or leaves out an example (D7, D8), the same order in every
 * epoch (D3, D4), a step that crosses epochs or drops the last window, step counts that differ
 * from transformers' (D11), a validation split of another size or one that overlaps.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/order.h"
#include "support.h"

static void
test_order_shuffled_epoch_has_each_example_once(void **state)
{
	(void)state;
	for (int64_t n = 1; n <= 130; n++) {
		const struct hn_order order = {.seed = 7, .n = n, .window = 4, .shuffles = true};

		for (int64_t epoch = 0; epoch < 3; epoch++) {
			char seen[130] = {0};

			for (int64_t i = 0; i < n; i++) {
				const int64_t e = hn_order_example(&order, epoch, i);

				assert_in_range(e, 0, n - 1);
				assert_int_equal(seen[e]++, 0);
			}
		}
	}
}

static void
test_order_epochs_and_seeds_differ(void **state)
{
	const struct hn_order a = {.seed = 7, .n = 1000, .window = 4, .shuffles = true};
	const struct hn_order b = {.seed = 8, .n = 1000, .window = 4, .shuffles = true};
	int same_epoch = 0, same_seed = 0, same_place = 0;

	(void)state;
	for (int64_t i = 0; i < 1000; i++) {
		same_epoch += hn_order_example(&a, 0, i) == hn_order_example(&a, 1, i);
		same_seed += hn_order_example(&a, 0, i) == hn_order_example(&b, 0, i);
		same_place += hn_order_example(&a, 0, i) == i;
	}
	assert_true(same_epoch < 10 && same_seed < 10 && same_place < 10);
}

static void
test_order_unshuffled_is_the_files(void **state)
{
	const struct hn_order order = {.seed = 7, .n = 9, .window = 2};

	(void)state;
	for (int64_t i = 0; i < 9; i++)
		assert_int_equal(hn_order_example(&order, i, i), i);
}

/* Steps that follow one another are the epochs' examples without gap or overlap, and their
 * number is transformers': ceil(ceil(n / batch) / accumulation). */
static void
test_order_steps_cover_each_epoch_for_all_sizes(void **state)
{
	(void)state;
	for (int64_t n = 1; n <= 50; n++) {
		for (int64_t batch = 1; batch <= 8; batch++) {
			for (int64_t accumulation = 1; accumulation <= 3; accumulation++) {
				const struct hn_order order = {
					.n = n, .window = batch * accumulation, .shuffles = true};
				const int64_t batches = (n + batch - 1) / batch;
				const int64_t steps = (batches + accumulation - 1) / accumulation;
				int64_t next = 0, epoch = 0;

				assert_int_equal(hn_order_steps_per_epoch(&order), steps);
				for (int64_t s = 0; s < 3 * steps; s++) {
					const struct hn_order_step at = hn_order_step(&order, s);

					assert_int_equal(at.epoch, epoch);
					assert_int_equal(at.first, next);
					assert_true(at.n >= 1 && at.n <= order.window);
					next += at.n;
					if (next == n) {
						next = 0;
						epoch++;
					}
				}
				assert_int_equal(next, 0);
				assert_int_equal(epoch, 3);
			}
		}
	}
}

static void
test_order_number_of_steps_is_that_of_transformers(void **state)
{
	const struct hn_order order = {.n = 100, .window = 8}; /* 13 steps an epoch */

	(void)state;
	assert_int_equal(hn_order_steps(&order, 3.0, -1), 39);
	assert_int_equal(hn_order_steps(&order, 0.5, -1), 7);
	assert_int_equal(hn_order_steps(&order, 1e-9, -1), 1);
	assert_int_equal(hn_order_steps(&order, 3.0, 5), 5);
	assert_int_equal(hn_order_steps(&order, 1.0, 1000), 1000);
	assert_int_equal(hn_order_step(&order, 999).epoch, 76);
	assert_int_equal(hn_order_step(&order, 12).n, 4);
	assert_true(fabs(hn_order_epoch(&order, 26) - 2.0) < 1e-12);
}

static void
test_order_split_takes_exactly_as_many(void **state)
{
	(void)state;
	assert_int_equal(hn_order_n_taken(0.1, 100), 10);
	assert_int_equal(hn_order_n_taken(0.1, 101), 11);
	assert_int_equal(hn_order_n_taken(20.0, 101), 20);
	assert_int_equal(hn_order_n_taken(0.0, 101), 0);
	assert_int_equal(hn_order_n_taken(1e9, 101), 101);
	for (int64_t n = 2; n <= 200; n += 11) {
		const int64_t want = hn_order_n_taken(0.3, n);
		int64_t got = 0;

		for (int64_t i = 0; i < n; i++)
			got += hn_order_is_taken(42, i, n, want);
		assert_int_equal(got, want);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_shuffled_epoch_has_each_example_once),
		cmocka_unit_test(test_order_epochs_and_seeds_differ),
		cmocka_unit_test(test_order_unshuffled_is_the_files),
		cmocka_unit_test(test_order_steps_cover_each_epoch_for_all_sizes),
		cmocka_unit_test(test_order_number_of_steps_is_that_of_transformers),
		cmocka_unit_test(test_order_split_takes_exactly_as_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
