/*
 * test_interrupt.c - what SIGINT, SIGTERM and SIGHUP do to a process, asked of children.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"
#include "train/interrupt.h"

/* Runs `act` in a child and gives its wait status. */
static int
run_child(int (*act)(int signal), int number)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child)
		_exit(act(number));
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static int
send_once(int number)
{
	if (hn_interrupt_requested())
		return 1;
	hn_interrupt_begin();
	(void)raise(number);
	return hn_interrupt_requested() == number ? 0 : 2;
}

/* Would catch: a first signal that kills the step, or one that is not noticed. */
static void
test_interrupt_first_signal_is_remembered(void **state)
{
	(void)state;
	assert_int_equal(run_child(send_once, SIGINT), 0);
	assert_int_equal(run_child(send_once, SIGTERM), 0);
	assert_int_equal(run_child(send_once, SIGHUP), 0);
}

/* The first is of the other kind: any second one counts. */
static int
send_twice(int number)
{
	hn_interrupt_begin();
	(void)raise(number == SIGINT ? SIGTERM : SIGINT);
	(void)raise(number);
	return 3;
}

/* Would catch: a process that cannot be stopped while it saves, and a second signal that is
 * lost because it is of the other kind. */
static void
test_interrupt_second_signal_ends_at_once(void **state)
{
	const int signals[] = {SIGINT, SIGTERM, SIGHUP};

	(void)state;
	for (int i = 0; i < 3; i++) {
		const int status = run_child(send_twice, signals[i]);

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), signals[i]); /* a shell shows 128 + it */
	}
}

/* stderr is a pipe; what the second signal says is compared with what was saved. */
static void
check_second_says(int64_t saved, const char *want)
{
	char text[256] = "";
	int fds[2], status;
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		hn_interrupt_begin();
		hn_interrupt_saved(saved);
		if (dup2(fds[1], STDERR_FILENO) < 0)
			_exit(1);
		(void)raise(SIGINT);
		(void)raise(SIGINT);
		_exit(2);
	}
	(void)close(fds[1]);
	assert_true(read(fds[0], text, sizeof text - 1) > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
	assert_string_equal(text, want);
	(void)close(fds[0]);
}

/* Would catch: a second Ctrl-C that leaves a person without knowing what is lost. */
static void
test_interrupt_second_signal_says_what_is_kept(void **state)
{
	(void)state;
	check_second_says(-1, "\nstopped at once: nothing was saved yet\n");
	check_second_says(0,
		"\nstopped at once: the checkpoint of step 0 is kept, the same "
		"command without --fresh goes on from there\n");
	check_second_says(1203,
		"\nstopped at once: the checkpoint of step 1203 is kept, the same "
		"command without --fresh goes on from there\n");
}

static int
send_ignored(int number)
{
	(void)signal(number, SIG_IGN);
	hn_interrupt_begin();
	(void)raise(number);
	(void)raise(number);
	return hn_interrupt_requested();
}

/* Would catch: a run started by nohup, or in the background of a script, that Ctrl-C meant
 * for something else ends. */
static void
test_interrupt_ignored_signal_stays_ignored(void **state)
{
	(void)state;
	assert_int_equal(run_child(send_ignored, SIGINT), 0);
}

static int
end_then_send(int number)
{
	hn_interrupt_begin();
	hn_interrupt_end();
	(void)raise(number);
	return 3;
}

/* Would catch: handlers that stay after training, so that the export cannot be stopped. */
static void
test_interrupt_end_restores_default(void **state)
{
	int status;

	(void)state;
	status = run_child(end_then_send, SIGTERM);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

/* Reads a pipe that gets its byte after the signal. */
static int
read_through(int number)
{
	int fds[2];
	char byte = 0;
	pid_t parent = getpid(), child;

	hn_interrupt_begin();
	if (pipe(fds))
		return 1;
	child = fork();
	if (child < 0)
		return 2;
	if (!child) {
		(void)usleep(20000);
		(void)kill(parent, number);
		(void)usleep(20000);
		_exit(write(fds[1], "x", 1) == 1 ? 0 : 1);
	}
	if (read(fds[0], &byte, 1) != 1 || byte != 'x')
		return 3;
	(void)waitpid(child, NULL, 0);
	return hn_interrupt_requested() == number ? 0 : 4;
}

/* Would catch: a checkpoint that fails with "Interrupted system call". */
static void
test_interrupt_does_not_fail_reads_under_way(void **state)
{
	(void)state;
	assert_int_equal(run_child(read_through, SIGINT), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interrupt_first_signal_is_remembered),
		cmocka_unit_test(test_interrupt_second_signal_ends_at_once),
		cmocka_unit_test(test_interrupt_second_signal_says_what_is_kept),
		cmocka_unit_test(test_interrupt_ignored_signal_stays_ignored),
		cmocka_unit_test(test_interrupt_end_restores_default),
		cmocka_unit_test(test_interrupt_does_not_fail_reads_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
