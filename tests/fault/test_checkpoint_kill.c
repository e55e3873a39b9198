/*
 * test_checkpoint_kill.c - a process dies while it saves: the newest whole checkpoint comes back
 * bit for bit.
 *
 * Kills are real: a child saves and gets SIGKILL at random instants, and, under ptrace, at the
 * entry and the exit of every system call of a save.  A process that dies loses nothing that it
 * has written, so what a power cut does to unsynced writes is not shown here.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "state_bench.h"
#include "support.h"

#define SITES     "q_proj, v_proj"
#define N_KILLS   100
#define KILL_MS   60 /* a start and several saves take about this long */
#define STOPS_MAX 4000

static struct bench_model bench; /* one engine for all cases; children get copies */

static int
setup(void **state)
{
	(void)state;
	state_bench_open(&bench, 4, SITES, HONE_DTYPE_F32);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	bench_close(&bench);
	return 0;
}

/* ---- killed at random instants ---- */

/* Goes on from the newest checkpoint and saves one after another, telling each number. */
static void
save_forever(const char *path, int out)
{
	struct hone_error err = {0};
	struct hn_folder folder;
	struct hn_saved saved;
	struct hn_log log;
	int64_t step = 0;

	hn_log_init(&log, NULL);
	if (hn_folder_open(&folder, path, false, &log, &err))
		_exit(1);
	if (folder.state == HN_FOLDER_RESUMABLE) {
		if (hn_checkpoint_newest(&folder, &saved, &err) ||
			hn_checkpoint_load(&saved, &bench.engine, &err))
			_exit(2);
		step = saved.progress.step;
	}
	for (;;) {
		step++;
		if (state_save(&bench, &folder, step, step, step % 3 == 0, 2, &err))
			_exit(3);
		if (write(out, &step, sizeof step) != sizeof step)
			_exit(4);
	}
}

/* Kills a child after a while; returns the last step that it was told was saved. */
static int64_t
run_and_kill(const char *path, int64_t after_ns, int64_t acknowledged)
{
	const struct timespec pause = {0, (long)after_ns};
	int fds[2], status;
	int64_t step;
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		(void)close(fds[0]);
		save_forever(path, fds[1]);
	}
	(void)close(fds[1]);
	(void)nanosleep(&pause, NULL);
	(void)kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFSIGNALED(status))
		fail_msg("the child ended by itself: %d", WEXITSTATUS(status));
	while (read(fds[0], &step, sizeof step) == sizeof step)
		acknowledged = step;
	(void)close(fds[0]);
	return acknowledged;
}

/* Would catch: a rename before its content, a checkpoint that is pruned before the next is
 * whole, a save that is acknowledged and lost, litter that stays, a lock that outlives its
 * process. */
static void
test_checkpoint_killed_at_random_newest_is_whole(void **state)
{
	char *path = test_folder_make_in_memory();
	int64_t acknowledged = 0, resumed = 0;

	(void)state;
	for (uint64_t i = 0; i < N_KILLS; i++) {
		const uint64_t after = hn_hash64(&i, sizeof i) % (KILL_MS * UINT64_C(1000000));
		struct hn_progress progress;
		struct hn_folder folder;
		struct hn_log log;

		acknowledged = run_and_kill(path, (int64_t)after, acknowledged);
		state_folder_open(&folder, &log, path);
		state_expect_tidy(
			&folder, 5); /* two, best, and two that a kill kept from pruning */
		if (folder.state == HN_FOLDER_RESUMABLE) {
			const int64_t step = state_load_newest(&bench, &folder, &progress);

			assert_true(step >= acknowledged);
			state_expect(&bench, &progress, step);
			resumed += acknowledged > 0;
		} else {
			assert_int_equal(acknowledged, 0);
		}
		hn_folder_close(&folder);
	}
	print_message(
		"%d kills, %d after a save, %d saves\n", N_KILLS, (int)resumed, (int)acknowledged);
	assert_true(resumed > N_KILLS / 2);
	test_folder_remove(path);
}

/* ---- killed at every system call ---- */

/* Saves one checkpoint, stops for its tracer, then saves the next. */
static void
save_traced(const char *path, int64_t second_step)
{
	struct hone_error err = {0};
	struct hn_folder folder;
	struct hn_log log;

	hn_log_init(&log, NULL);
	if (hn_folder_open(&folder, path, false, &log, &err) ||
		state_save(&bench, &folder, 1, 1, true, 1, &err))
		_exit(1);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(125);
	(void)raise(SIGSTOP);
	_exit(state_save(&bench, &folder, second_step, 2, true, 1, &err) ? 2 : 0);
}

/* Lets the child make `stops` halves of system calls and kills it.  False when it was done
 * before. */
static bool
kill_at_stop(const char *path, int64_t second_step, int stops)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child)
		save_traced(path, second_step);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 125)
		skip(); /* a container that forbids ptrace */
	if (WIFEXITED(status))
		fail_msg("the child ended before it was traced: %d", WEXITSTATUS(status));
	for (int i = 0; i < stops; i++) {
		assert_int_equal(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
		assert_int_equal(waitpid(child, &status, 0), child);
		if (WIFEXITED(status)) {
			assert_int_equal(WEXITSTATUS(status), 0);
			return false;
		}
	}
	(void)kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	return true;
}

/* The first or the second state, never neither; the best link always leads somewhere. */
static int
kill_everywhere(int64_t second_step, int *n_new)
{
	int stops = 0;
	bool was_killed = true;

	*n_new = 0;
	for (; was_killed && stops < STOPS_MAX; stops++) {
		char *path = test_folder_make_in_memory();
		struct hn_progress progress;
		struct hn_folder folder;
		struct hn_saved best;
		struct hn_log log;
		struct hone_error err = {0};
		bool is_new;

		was_killed = kill_at_stop(path, second_step, stops);
		state_folder_open(&folder, &log, path);
		state_expect_tidy(&folder, was_killed ? 2 : 1);
		(void)state_load_newest(&bench, &folder, &progress);
		is_new = progress.tokens == 2 * 1000003;
		state_expect(&bench, &progress, is_new ? 2 : 1);
		*n_new += is_new;
		if (hn_checkpoint_best(&folder, &best, &err))
			fail_msg("%s: %s", err.place, err.text);
		hn_saved_close(&best);
		hn_folder_close(&folder);
		test_folder_remove(path);
	}
	assert_true(stops < STOPS_MAX);
	return stops;
}

/* Would catch: any order of the protocol's steps in which neither the old nor the new
 * checkpoint can be loaded; with a limit of one, and when a step is saved again. */
static void
test_checkpoint_killed_at_every_call_old_or_new(void **state)
{
	static const int64_t steps[] = {2, 1};

	(void)state;
	for (int i = 0; i < 2; i++) {
		int n_new, stops = kill_everywhere(steps[i], &n_new);

		print_message("%s step: %d stops, %d gave the new state\n",
			steps[i] == 1 ? "same" : "next", stops, n_new);
		assert_true(stops > 100 && n_new > 3 && n_new < stops - 50);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_checkpoint_killed_at_every_call_old_or_new),
		cmocka_unit_test(test_checkpoint_killed_at_random_newest_is_whole),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
