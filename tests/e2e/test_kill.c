/*
 * test_kill.c - a run that is killed or stopped at any instant ends as if nothing had been.
 *
 * Would catch: state that is not in the checkpoint (order, dropout, moments, counters, what was
 * logged), a checkpoint that can be seen half written, metrics that are there twice, a marker of
 * the best step that a kill leaves behind, a signal that loses the steps since the last save.
 * D1 and D6 of the catalogue of silent bugs at random instants; at chosen steps they, D2 and D5
 * are in silent/test_resumes.c.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/rng.h"
#include "base/str.h"
#include "place.h"

enum { KILLS = 24, TRIES = 400 };

/* The undisturbed run, and how long it takes. */
static double
reference(const struct place *place, const char *words)
{
	const double start = place_now_s();
	char all[256];

	(void)snprintf(all, sizeof all, "--set run.output=whole %s", words);
	(void)place_run(place, "train", all, 0);
	return place_now_s() - start;
}

static void
assert_same(const struct place *place, const char *output)
{
	place_assert_same_result(place, "whole", output);
	place_assert_same_metrics(place, "whole", output);
}

/* A result that a kill left half written. */
static void
leave_half_a_result(const struct place *place, const char *output)
{
	char name[64], *path;

	(void)snprintf(name, sizeof name, "%s/.adapter.tmp-999999999", output);
	path = place_path(place, name);
	assert_int_equal(hn_dir_make(path, NULL), HONE_OK);
	(void)snprintf(name, sizeof name, "%s/.adapter.tmp-999999999/README.md", output);
	place_write(place, name, "half");
	free(path);
}

/* Nothing that was being written is left over beside the run's own files. */
static void
assert_tidy(const struct place *place, const char *output)
{
	char *path = place_path(place, output), **names;
	size_t n;

	assert_int_equal(hn_dir_list(path, &names, &n, NULL), HONE_OK);
	for (size_t i = 0; i < n; i++) {
		if (strstr(names[i], ".tmp-"))
			fail_msg("%s is left in %s", names[i], path);
		free(names[i]);
	}
	free(names);
	free(path);
}

/* Kills after seeded random times, of start-up, steps, evaluation, saving and export; each run
 * goes on until it is finished, then a new one begins, until there were KILLS kills. */
static void
check_kills(const char *words, uint64_t seed)
{
	int kills = 0, runs = 0, resumed = 0;
	struct place place;
	char all[256];
	double whole_s;

	place_open(&place);
	whole_s = reference(&place, words);
	for (int i = 0; kills < KILLS || runs == 0; i++) {
		const double at = hn_rng_uniform(seed, 0, (uint64_t)i, 0) * whole_s;
		struct place_end end;
		pid_t pid;

		assert_true(i < TRIES);
		(void)snprintf(all, sizeof all, "--set run.output=killed%d %s", runs, words);
		pid = place_start(&place, "train", "run.ini", all);
		if (kills < KILLS) {
			place_sleep(at);
			(void)kill(pid, SIGKILL);
		}
		end = place_wait(pid);
		(void)snprintf(all, sizeof all, "killed%d", runs);
		kills += end.signal == SIGKILL;
		resumed += end.signal == SIGKILL && place_newest_step(&place, all) > 0;
		if (end.signal == SIGKILL)
			continue;
		assert_int_equal(end.code, 0);
		assert_same(&place, all);
		assert_tidy(&place, all);
		runs++;
	}
	print_message("%d kills, %d with a checkpoint, %d runs\n", kills, resumed, runs);
	assert_true(resumed >= KILLS / 4);
	place_close(&place);
}

static void
test_kill_at_random_instants_gives_the_same_bytes(void **state)
{
	(void)state;
	check_kills("", 11);
}

/* The same with the best step as the result: the mark of the best is one more thing to lose. */
static void
test_kill_with_best_model_gives_the_same_bytes(void **state)
{
	(void)state;
	check_kills("--set checkpoint.load_best_model_at_end=yes --set eval.eval_steps=3 "
		    "--set train.learning_rate=0.1 --set checkpoint.save_total_limit=1",
		12);
}

static bool
is_running(pid_t pid)
{
	siginfo_t info = {.si_pid = 0};

	return !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) && !info.si_pid;
}

/* A process that dies between the move of the best step's checkpoint and its mark: the mark is
 * set when the run goes on.  The instant is made by hand, because it is too short to be hit. */
static void
test_kill_before_the_mark_of_the_best_is_healed(void **state)
{
	static const char words[] = "--set checkpoint.load_best_model_at_end=yes "
				    "--set eval.eval_steps=4 --set checkpoint.save_steps=4 "
				    "--set checkpoint.save_total_limit=9";
	bool is_healed = false;
	struct place place;
	char *best;
	pid_t pid;

	(void)state;
	place_open(&place);
	(void)place_run(&place, "train", words, 0);
	/* As if it had died at step 8, where the loss still falls. */
	best = place_path(&place, "run/checkpoints/best");
	for (int step = 12; step <= 40; step += 4) {
		char name[64], *path;

		(void)snprintf(name, sizeof name, "run/checkpoints/step-%06d", step);
		path = place_path(&place, name);
		if (hn_path_is_dir(path))
			assert_int_equal(hn_dir_remove(path, NULL), HONE_OK);
		free(path);
	}
	assert_int_equal(unlink(best), 0);
	assert_int_equal(symlink("step-000004", best), 0);
	place_write(&place, "run/state.json",
		"{\"schema\": \"hone.run/1\", \"state\": \"running\", \"step\": 0}\n");
	leave_half_a_result(&place, "run");
	/* The next evaluation is at the end, so nothing else makes step 8 the best one. */
	pid = place_start(&place, "train", "run.ini",
		"--set checkpoint.load_best_model_at_end=yes --set eval.eval_steps=1000 "
		"--set checkpoint.save_steps=4 --set checkpoint.save_total_limit=9");
	while (!is_healed && is_running(pid)) {
		char target[64] = "";
		const ssize_t n = readlink(best, target, sizeof target - 1);

		is_healed = n > 0 && hn_streq(target, "step-000008");
		place_sleep(1e-4);
	}
	(void)place_wait(pid);
	place_assert_says(&place, "going on from", "step-000008", NULL);
	assert_true(is_healed);
	assert_tidy(&place, "run");
	free(best);
	place_close(&place);
}

/* Both signals: the step is finished, a checkpoint saved, and the run ends the same. */
static void
check_signal(int number, int code)
{
	struct place place;
	double at_s;
	int stopped = 0;
	char *run;

	place_open(&place);
	run = place_path(&place, "run");
	at_s = 0.3 * reference(&place, "--set checkpoint.save_steps=1000");
	for (int i = 0; i < TRIES; i++) {
		pid_t pid =
			place_start(&place, "train", "run.ini", "--set checkpoint.save_steps=1000");
		struct place_end end;

		if (stopped < 3) {
			place_sleep(at_s * (1.0 + 0.3 * (double)stopped));
			(void)kill(pid, number);
		}
		end = place_wait(pid);
		if (end.code == 0 && stopped)
			break;
		/* The signal came too late: the reference was slower than this. */
		if (end.code == 0) {
			assert_int_equal(hn_dir_remove(run, NULL), HONE_OK);
			at_s *= 0.8;
			continue;
		}
		/* Before the handler stands, which is after start-up, the signal just ends it. */
		if (end.signal == number) {
			at_s *= 1.1;
			continue;
		}
		assert_int_equal(end.code, code);
		place_assert_says(&place, "the same command goes on", NULL);
		assert_true(place_newest_step(&place, "run") >= 0);
		stopped++;
	}
	assert_true(stopped > 0);
	assert_same(&place, "run");
	free(run);
	place_close(&place);
}

static void
test_sigint_saves_and_the_run_ends_the_same(void **state)
{
	(void)state;
	check_signal(SIGINT, 130);
}

static void
test_sigterm_saves_and_the_run_ends_the_same(void **state)
{
	(void)state;
	check_signal(SIGTERM, 143);
}

/* A terminal that is closed, a connection that breaks. */
static void
test_sighup_saves_and_the_run_ends_the_same(void **state)
{
	(void)state;
	check_signal(SIGHUP, 129);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kill_at_random_instants_gives_the_same_bytes),
		cmocka_unit_test(test_kill_with_best_model_gives_the_same_bytes),
		cmocka_unit_test(test_kill_before_the_mark_of_the_best_is_healed),
		cmocka_unit_test(test_sigint_saves_and_the_run_ends_the_same),
		cmocka_unit_test(test_sigterm_saves_and_the_run_ends_the_same),
		cmocka_unit_test(test_sighup_saves_and_the_run_ends_the_same),
	};

	return cmocka_run_group_tests_name("kill", tests, NULL, NULL);
}
