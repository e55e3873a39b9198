/*
 * interrupt.c - a flag, and the handler that sets it.
 *
 * A handler may touch nothing but a sig_atomic_t and async-signal-safe calls, and it gets no
 * argument of ours; so this file, as base/guard.c, has variables of static storage that
 * change.  SA_RESTART keeps the signal from failing reads and writes that are under way.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "train/interrupt.h"

enum { N_SIGNALS = 3, DIGITS_MAX = 20 };

static const int signals[N_SIGNALS] = {SIGINT, SIGTERM, SIGHUP};
static volatile sig_atomic_t requested;
static _Atomic int64_t saved_step;
static struct sigaction before[N_SIGNALS];

static void
add(char *line, size_t *n, const char *text)
{
	const size_t more = strlen(text);

	memcpy(line + *n, text, more);
	*n += more;
}

/* Begins with a line of its own, because a progress line or ^C may stand there. */
static void
say_what_is_kept(void)
{
	char line[256], digits[DIGITS_MAX + 1] = {0};
	int64_t step = atomic_load(&saved_step);
	size_t n = 0, at = DIGITS_MAX;

	if (step < 0) {
		add(line, &n, "\nstopped at once: nothing was saved yet\n");
	} else {
		do
			digits[--at] = (char)('0' + step % 10);
		while ((step /= 10) > 0);
		add(line, &n, "\nstopped at once: the checkpoint of step ");
		add(line, &n, digits + at);
		add(line, &n, " is kept, the same command without --fresh goes on from there\n");
	}
	if (write(STDERR_FILENO, line, n) < 0)
		return;
}

/* The second signal, of whatever kind: the default action, which is delivered when this handler
 * returns and the signal is unblocked. */
static void
on_signal(int number)
{
	if (requested) {
		say_what_is_kept();
		(void)signal(number, SIG_DFL);
		(void)raise(number);
		return;
	}
	requested = number;
}

void
hn_interrupt_begin(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	requested = 0;
	atomic_store(&saved_step, -1);
	(void)sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < N_SIGNALS; i++) {
		(void)sigaction(signals[i], NULL, &before[i]);
		if (before[i].sa_handler != SIG_IGN)
			(void)sigaction(signals[i], &action, NULL);
	}
}

void
hn_interrupt_end(void)
{
	for (size_t i = 0; i < N_SIGNALS; i++)
		(void)sigaction(signals[i], &before[i], NULL);
}

void
hn_interrupt_saved(int64_t step)
{
	atomic_store(&saved_step, step);
}

int
hn_interrupt_requested(void)
{
	return (int)requested;
}
