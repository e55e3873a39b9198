/*
 * base/pool.h - the one thread pool of the process.
 *
 * Work is split by the caller into n pieces; any thread may run any piece, and no sum may depend
 * on how many there are of either.  So the same bits come out for every number of threads.  Each
 * thread begins with a run of neighbouring pieces, the same share of every job: jobs over the
 * same rows should number them alike.  One job at a time; the calling thread works too.
 */
#ifndef HN_BASE_POOL_H
#define HN_BASE_POOL_H

#include <stdint.h>

#include <hone/status.h>

struct hn_pool;

/* Starts n_threads - 1 workers (0 = one per processor this process may use). */
enum hone_status hn_pool_create(struct hn_pool **out, int32_t n_threads, struct hone_error *err);
void hn_pool_destroy(struct hn_pool *pool); /* NULL-safe */
int32_t hn_pool_threads(const struct hn_pool *pool);

/* Calls fn(ctx, i, worker) for each i in [0, n), and returns when all are done.  `worker` is
 * in [0, threads): an index for scratch memory.  Not re-entrant. */
void hn_pool_run(struct hn_pool *pool, int64_t n, void (*fn)(void *ctx, int64_t i, int32_t worker),
	void *ctx);

#endif
