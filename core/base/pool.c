/*
 * pool.c - fork and join in about a microsecond, with threads that sleep when idle.
 *
 * The pieces of a job are dealt out in runs: thread t of T begins with pieces [t n / T,
 * (t + 1) n / T), and who has finished helps the others.  So the rows of a matrix stay in the
 * cache of the thread that wrote them from one job to the next, and threads that are busy share
 * no line of memory: what one processor has just written costs another several times its own.
 *
 * A run is one atomic word: the job's number in the high half, the pieces that nobody has taken
 * in the low half.  A thread takes a piece by compare-and-swap of the word minus one.  Success
 * proves that the job is still open, and it stays open until that piece is counted as done;
 * so fn and ctx are read after the swap and need no lock, and a worker that wakes too late
 * finds no piece and touches nothing.  The caller waits for pieces, never for workers.
 *
 * Both waits (a worker's for a job, the caller's for the last piece) spin for SPIN_NS and
 * then block.  Who blocks announces it first and looks again; who publishes looks at the
 * announcement afterwards.  All four are sequentially consistent, so one sees the other.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/pool.h"
#include "base/str.h"

#define THREADS_MAX      1024
#define SPIN_NS          30000
#define PAUSES_PER_CLOCK 32
#define PIECES_MAX       ((int64_t)UINT32_MAX)
#define CPUS_MAX         16384
#define STACK_BYTES_MIN  ((size_t)1 << 20)
#define LINE             128 /* bytes: processors fetch lines of memory in pairs */

/* A thread of the pool, the caller first; each on lines of its own. */
struct worker {
	_Alignas(LINE) _Atomic uint64_t open; /* job << 32 | pieces of its run not taken */
	struct hn_pool *pool;
	pthread_t thread;
	int32_t index;
};

struct hn_pool {
	_Alignas(LINE) _Atomic int64_t n_done;   /* pieces of the job that have returned */
	_Alignas(LINE) _Atomic int32_t n_asleep; /* workers that block or are about to */
	_Atomic bool is_waiting;                 /* the caller blocks or is about to */
	_Atomic bool is_stopping;
	bool is_running;
	uint32_t job;
	void (*fn)(void *ctx, int64_t i, int32_t worker);
	void *ctx;
	int64_t first, n; /* of the job: pieces first .. first + n */
	pthread_mutex_t mutex;
	pthread_cond_t work, done;
	int32_t n_threads, n_started;
	struct worker workers[];
};

/* Tells the processor that this is a wait: the other thread of a core gets its turn. */
static void
relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static int64_t
now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool
has_work(struct worker *self)
{
	return (uint32_t)atomic_load(&self->open) != 0 || atomic_load(&self->pool->is_stopping);
}

/* n is plain: only the caller changes it, while no job is open. */
static bool
is_done(struct worker *self)
{
	return atomic_load(&self->pool->n_done) == self->pool->n;
}

/* True as soon as `ready` says so, false after SPIN_NS. */
static bool
spin(struct worker *self, bool (*ready)(struct worker *self))
{
	int64_t end = now_ns() + SPIN_NS;

	do {
		for (int i = 0; i < PAUSES_PER_CLOCK; i++) {
			if (ready(self))
				return true;
			relax();
		}
	} while (now_ns() < end);
	return false;
}

/* The first piece of a thread's run. */
static int64_t
first_of(const struct hn_pool *pool, int32_t thread)
{
	return pool->n * thread / pool->n_threads;
}

/* Takes and runs pieces of a thread's run until none is left; how many, and in *n what the job
 * has in all. */
static int64_t
work_off_run(struct hn_pool *pool, int32_t thread, int32_t worker, int64_t *n)
{
	struct worker *owner = &pool->workers[thread];
	uint64_t open = atomic_load(&owner->open);
	int64_t n_run = 0;

	while ((uint32_t)open) {
		if (!atomic_compare_exchange_weak(&owner->open, &open, open - 1))
			continue;
		*n = pool->n;
		pool->fn(pool->ctx,
			pool->first + first_of(pool, thread + 1) - (int64_t)(uint32_t)open, worker);
		n_run++;
		open = atomic_load(&owner->open);
	}
	return n_run;
}

/* The worker's own run, then what is left of those of the others; all are counted as done at
 * once.  The last one to count wakes the caller if it blocks. */
static void
work_off(struct hn_pool *pool, int32_t worker)
{
	int64_t n_run = 0, n = 0;

	for (int32_t i = 0; i < pool->n_threads; i++)
		n_run += work_off_run(pool, (worker + i) % pool->n_threads, worker, &n);
	if (n_run && atomic_fetch_add(&pool->n_done, n_run) + n_run == n &&
		atomic_load(&pool->is_waiting)) {
		(void)pthread_mutex_lock(&pool->mutex);
		(void)pthread_cond_signal(&pool->done);
		(void)pthread_mutex_unlock(&pool->mutex);
	}
}

/* Announced under the mutex and before the last look, so that a job published meanwhile
 * either is seen here or sees the announcement. */
static void
sleep_until_work(struct worker *self)
{
	struct hn_pool *pool = self->pool;

	(void)pthread_mutex_lock(&pool->mutex);
	(void)atomic_fetch_add(&pool->n_asleep, 1);
	while (!has_work(self))
		(void)pthread_cond_wait(&pool->work, &pool->mutex);
	(void)atomic_fetch_sub(&pool->n_asleep, 1);
	(void)pthread_mutex_unlock(&pool->mutex);
}

/* Spins between jobs, because in a step the next one is microseconds away, and sleeps
 * when it is not. */
static void *
worker_main(void *arg)
{
	struct worker *self = arg;
	struct hn_pool *pool = self->pool;

	while (!atomic_load(&pool->is_stopping)) {
		if (!spin(self, has_work))
			sleep_until_work(self);
		work_off(pool, self->index);
	}
	return NULL;
}

/* The pieces are done, not the workers: one that wakes late finds nothing and harms
 * nothing. */
static void
wait_until_done(struct hn_pool *pool)
{
	struct worker *self = &pool->workers[0];

	if (spin(self, is_done))
		return;
	(void)pthread_mutex_lock(&pool->mutex);
	atomic_store(&pool->is_waiting, true);
	while (!is_done(self))
		(void)pthread_cond_wait(&pool->done, &pool->mutex);
	atomic_store(&pool->is_waiting, false);
	(void)pthread_mutex_unlock(&pool->mutex);
}

/* One job of at most PIECES_MAX pieces. */
static void
run_job(struct hn_pool *pool, int64_t first, int64_t n)
{
	const uint64_t job = ++pool->job;

	pool->first = first;
	pool->n = n;
	atomic_store(&pool->n_done, 0);
	for (int32_t t = pool->n_threads - 1; t >= 0; t--)
		atomic_store(&pool->workers[t].open,
			job << 32 | (uint64_t)(first_of(pool, t + 1) - first_of(pool, t)));
	if (atomic_load(&pool->n_asleep)) {
		(void)pthread_mutex_lock(&pool->mutex);
		(void)pthread_cond_broadcast(&pool->work);
		(void)pthread_mutex_unlock(&pool->mutex);
	}
	work_off(pool, 0);
	wait_until_done(pool);
}

/* Without a second thread, and for one piece, there is nothing to hand over. The pieces
 * are the caller's cut, so sums do not depend on the number of threads. */
void
hn_pool_run(struct hn_pool *pool, int64_t n, void (*fn)(void *ctx, int64_t i, int32_t worker),
	void *ctx)
{
	HONE_BUG_ON(pool->is_running);
	pool->is_running = true;
	if (n <= 1 || pool->n_threads == 1) {
		for (int64_t i = 0; i < n; i++)
			fn(ctx, i, 0);
	} else {
		pool->fn = fn;
		pool->ctx = ctx;
		for (int64_t first = 0; first < n; first += PIECES_MAX)
			run_job(pool, first, n - first < PIECES_MAX ? n - first : PIECES_MAX);
	}
	pool->is_running = false;
}

int32_t
hn_pool_threads(const struct hn_pool *pool)
{
	return pool->n_threads;
}

/* Processors that the scheduler may give us; masks grow because a machine may have more than
 * a cpu_set_t holds. */
static int32_t
count_affinity(void)
{
	for (size_t n_cpus = CPU_SETSIZE; n_cpus <= CPUS_MAX; n_cpus *= 2) {
		cpu_set_t *set = CPU_ALLOC(n_cpus);
		size_t bytes = CPU_ALLOC_SIZE(n_cpus);
		int count = 0;

		if (!set)
			break;
		if (!sched_getaffinity(0, bytes, set))
			count = CPU_COUNT_S(bytes, set);
		CPU_FREE(set);
		if (count > 0)
			return count;
	}
	return 1;
}

/* The quota of one cpu.max, "<quota> <period>" or "max <period>", in processors rounded up;
 * THREADS_MAX where there is none. */
static int32_t
read_quota(const char *path)
{
	struct hone_error err = {0};
	int64_t quota, period, n = THREADS_MAX;
	char *text, *space;
	size_t len;

	if (hn_file_read(path, 4096, HONE_EIO, &text, &len, &err))
		return THREADS_MAX;
	text[strcspn(text, "\n")] = '\0';
	space = strchr(text, ' ');
	if (space) {
		*space = '\0';
		if (hn_parse_i64(text, &quota) && hn_parse_i64(space + 1, &period) && quota > 0 &&
			period > 0)
			n = quota / period + (quota % period != 0);
	}
	free(text);
	return n < THREADS_MAX ? (int32_t)n : THREADS_MAX;
}

/* The least quota of our control group and of those above it (cgroup v2). */
static int32_t
count_cgroup(void)
{
	struct hone_error err = {0};
	struct hn_str path = {0};
	char *groups, *line;
	int32_t n = THREADS_MAX;
	size_t len;

	if (hn_file_read("/proc/self/cgroup", 65536, HONE_EIO, &groups, &len, &err))
		return n;
	line = hn_starts_with(groups, "0::") ? groups : strstr(groups, "\n0::");
	line = line ? strchr(line, '/') : NULL;
	if (line)
		line[strcspn(line, "\n")] = '\0';
	while (line) {
		char *slash = strrchr(line, '/');
		int32_t quota;

		hn_str_clear(&path);
		hn_str_printf(&path, "/sys/fs/cgroup%s/cpu.max", line);
		quota = read_quota(path.text);
		n = quota < n ? quota : n;
		if (!slash)
			break;
		*slash = '\0';
	}
	hn_str_fini(&path);
	free(groups);
	return n;
}

/* What the scheduler allows and what the control group pays for: in a container the
 * second is often less, and more threads than that only wait. */
static int32_t
count_processors(void)
{
	int32_t n = count_affinity(), quota = count_cgroup();

	n = quota < n ? quota : n;
	return n < THREADS_MAX ? n : THREADS_MAX;
}

/* Signals that people send go to the main thread; those of a faulty access stay where they
 * are raised. */
static void
mask_signals(sigset_t *old)
{
	static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
	sigset_t set;

	(void)sigfillset(&set);
	for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
		(void)sigdelset(&set, own[i]);
	(void)pthread_sigmask(SIG_BLOCK, &set, old);
}

/* A thread's stack has the size that the shell's limit had, which may be 16 KiB. */
static void
init_attributes(pthread_attr_t *attributes)
{
	size_t bytes = 0;

	(void)pthread_attr_init(attributes);
	if (!pthread_attr_getstacksize(attributes, &bytes) && bytes < STACK_BYTES_MIN)
		(void)pthread_attr_setstacksize(attributes, STACK_BYTES_MIN);
}

/* Threads inherit the mask of their creator, so it is set around the loop and put back. */
static int
start_workers(struct hn_pool *pool)
{
	pthread_attr_t attributes;
	sigset_t old;
	int error = 0;

	init_attributes(&attributes);
	mask_signals(&old);
	while (!error && pool->n_started < pool->n_threads - 1) {
		struct worker *worker = &pool->workers[pool->n_started + 1];

		worker->index = pool->n_started + 1;
		error = pthread_create(&worker->thread, &attributes, worker_main, worker);
		if (!error)
			pool->n_started++;
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attributes);
	return error;
}

enum hone_status
hn_pool_create(struct hn_pool **out, int32_t n_threads, struct hone_error *err)
{
	struct hn_pool *pool;
	char text[128];
	size_t bytes;
	int error;

	*out = NULL;
	if (n_threads < 0 || n_threads > THREADS_MAX)
		return hone_fail(err, HONE_EINVAL,
			"threads = %" PRId32 " is out of range; 0 (all processors) to %d",
			n_threads, THREADS_MAX);
	if (!n_threads)
		n_threads = count_processors();
	bytes = sizeof *pool + (size_t)n_threads * sizeof pool->workers[0];
	pool = aligned_alloc(LINE, bytes);
	if (!pool)
		return hone_fail(
			err, HONE_ENOMEM, "out of memory for %" PRId32 " threads", n_threads);
	memset(pool, 0, bytes);
	for (int32_t t = 0; t < n_threads; t++)
		pool->workers[t].pool = pool;
	pool->n_threads = n_threads;
	(void)pthread_mutex_init(&pool->mutex, NULL);
	(void)pthread_cond_init(&pool->work, NULL);
	(void)pthread_cond_init(&pool->done, NULL);
	error = start_workers(pool);
	if (error) {
		hn_pool_destroy(pool);
		return hone_fail(err, HONE_ENOMEM,
			"threads = %" PRId32 " cannot be started: %s; ask for fewer", n_threads,
			strerror_r(error, text, sizeof text));
	}
	*out = pool;
	return HONE_OK;
}

/* Also for a pool whose threads started only in part. */
void
hn_pool_destroy(struct hn_pool *pool)
{
	if (!pool)
		return;
	(void)pthread_mutex_lock(&pool->mutex);
	atomic_store(&pool->is_stopping, true);
	(void)pthread_cond_broadcast(&pool->work);
	(void)pthread_mutex_unlock(&pool->mutex);
	for (int32_t i = 0; i < pool->n_started; i++)
		(void)pthread_join(pool->workers[i + 1].thread, NULL);
	(void)pthread_cond_destroy(&pool->work);
	(void)pthread_cond_destroy(&pool->done);
	(void)pthread_mutex_destroy(&pool->mutex);
	free(pool);
}
