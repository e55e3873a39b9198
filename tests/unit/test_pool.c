/*
 * test_pool.c - each piece once, everything visible after the run, for every number of
 * threads; and nothing hangs between spinning and sleeping.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/pool.h"
#include "support.h"

#define N_PIECES 1000

struct marks {
	int32_t n_threads;
	uint8_t runs[N_PIECES]; /* plain on purpose: TSan sees two writers */
	int64_t by_worker[8];   /* plain: two threads must not share an index */
	_Atomic int32_t n_bad_workers;
};

static struct hn_pool *
make(int32_t n_threads)
{
	struct hone_error err = {0};
	struct hn_pool *pool;

	if (hn_pool_create(&pool, n_threads, &err))
		fail_msg("%s", err.text);
	return pool;
}

static void
mark(void *ctx, int64_t i, int32_t worker)
{
	struct marks *marks = ctx;

	if (worker < 0 || worker >= marks->n_threads) {
		marks->n_bad_workers++;
		return;
	}
	marks->runs[i]++;
	marks->by_worker[worker]++;
}

/* Catches: pieces run twice or never, a return before the last is done, worker indices out of
 * range or shared. */
static void
test_pool_each_piece_runs_once(void **state)
{
	static const int64_t ns[] = {0, 1, 2, 3, 7, N_PIECES};

	(void)state;
	for (int32_t n_threads = 1; n_threads <= 8; n_threads++) {
		struct hn_pool *pool = make(n_threads);

		assert_int_equal(hn_pool_threads(pool), n_threads);
		for (size_t k = 0; k < 6; k++) {
			struct marks marks = {.n_threads = n_threads};
			int64_t total = 0;

			hn_pool_run(pool, ns[k], mark, &marks);
			assert_int_equal(marks.n_bad_workers, 0);
			for (int64_t i = 0; i < N_PIECES; i++)
				assert_int_equal(marks.runs[i], i < ns[k]);
			for (int i = 0; i < 8; i++)
				total += marks.by_worker[i];
			assert_int_equal(total, ns[k]);
		}
		hn_pool_destroy(pool);
	}
}

static void
add_index(void *ctx, int64_t i, int32_t worker)
{
	int64_t *sums = ctx;

	(void)worker;
	sums[i] += i;
}

/* Catches: a late worker that takes a piece of the next job with the function or the context
 * of the last one: the contexts alternate and end with the stack of this function. */
static void
test_pool_many_short_jobs_do_not_mix(void **state)
{
	struct hn_pool *pool = make(4);

	(void)state;
	for (int64_t job = 0; job < 5000; job++) {
		int64_t sums[7] = {0};

		hn_pool_run(pool, 2 + job % 6, add_index, sums);
		for (int64_t i = 0; i < 7; i++)
			assert_int_equal(sums[i], i < 2 + job % 6 ? i : 0);
	}
	hn_pool_destroy(pool);
}

static void
doze(int64_t ns)
{
	const struct timespec time = {0, ns};

	(void)nanosleep(&time, NULL);
}

static void
doze_then_add(void *ctx, int64_t i, int32_t worker)
{
	doze(200000 * (i + 1));
	add_index(ctx, i, worker);
}

/* Catches: a wake-up that is lost when workers, or the caller, had gone to sleep. */
static void
test_pool_sleepers_wake_up(void **state)
{
	struct hn_pool *pool = make(3);

	(void)state;
	for (int job = 0; job < 40; job++) {
		int64_t sums[6] = {0};

		doze(job % 2 ? 300000 : 30000);
		hn_pool_run(pool, 6, job % 4 ? doze_then_add : add_index, sums);
		for (int64_t i = 0; i < 6; i++)
			assert_int_equal(sums[i], i);
	}
	hn_pool_destroy(pool);
}

struct meeting {
	_Atomic int n_here;
	_Atomic int n_met;
};

/* Waits until all three are here, at most five seconds. */
static void
meet(void *ctx, int64_t i, int32_t worker)
{
	struct meeting *meeting = ctx;

	(void)i;
	(void)worker;
	meeting->n_here++;
	for (int ms = 0; ms < 5000 && meeting->n_here < 3; ms++)
		doze(1000000);
	meeting->n_met += meeting->n_here == 3;
}

/* Catches: sleeping workers that nobody wakes, while the caller does all the work alone. */
static void
test_pool_sleeping_workers_join_in(void **state)
{
	struct hn_pool *pool = make(3);

	(void)state;
	for (int job = 0; job < 5; job++) {
		struct meeting meeting = {0};

		doze(2000000);
		hn_pool_run(pool, 3, meet, &meeting);
		assert_int_equal(meeting.n_met, 3);
	}
	hn_pool_destroy(pool);
}

static int64_t
cpu_ns(void)
{
	struct timespec time;

	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time), 0);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Catches: workers that spin for ever while there is nothing to do. */
static void
test_pool_idle_threads_cost_nothing(void **state)
{
	struct hn_pool *pool = make(4);
	int64_t sums[2] = {0}, before;

	(void)state;
	hn_pool_run(pool, 2, add_index, sums);
	doze(20000000);
	before = cpu_ns();
	doze(100000000);
	assert_true(cpu_ns() - before < 10000000);
	hn_pool_destroy(pool);
}

/* Catches: a start that hangs when the pool ends before its workers have begun. */
static void
test_pool_destroy_at_once_ends(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++)
		hn_pool_destroy(make(4));
	hn_pool_destroy(NULL);
}

/* Catches: numbers of threads that are not refused, and a default below one. */
static void
test_pool_threads_out_of_range_refused(void **state)
{
	struct hone_error err = {0};
	struct hn_pool *pool = make(0);

	(void)state;
	assert_in_range(hn_pool_threads(pool), 1, 1024);
	hn_pool_destroy(pool);
	assert_int_equal(hn_pool_create(&pool, -1, &err), HONE_EINVAL);
	assert_non_null(strstr(err.text, "threads = -1"));
	assert_int_equal(hn_pool_create(&pool, 100000, &err), HONE_EINVAL);
	assert_null(pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pool_each_piece_runs_once),
		cmocka_unit_test(test_pool_many_short_jobs_do_not_mix),
		cmocka_unit_test(test_pool_sleepers_wake_up),
		cmocka_unit_test(test_pool_sleeping_workers_join_in),
		cmocka_unit_test(test_pool_idle_threads_cost_nothing),
		cmocka_unit_test(test_pool_destroy_at_once_ends),
		cmocka_unit_test(test_pool_threads_out_of_range_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
