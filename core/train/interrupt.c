/*
 * interrupt.c - a flag, and the two handlers that set it.
 *
 * A handler may touch nothing but a sig_atomic_t and async-signal-safe calls, and it gets no
 * argument of ours; so this file, as base/guard.c, has variables of static storage that
 * change.  SA_RESTART keeps the signal from failing reads and writes that are under way.
 */
#include <signal.h>
#include <stddef.h>

#include "train/interrupt.h"

enum { N_SIGNALS = 2 };

static const int signals[N_SIGNALS] = {SIGINT, SIGTERM};
static volatile sig_atomic_t requested;
static struct sigaction before[N_SIGNALS];

/* The second signal, of either kind: the default action, which is delivered when this handler
 * returns and the signal is unblocked. */
static void
on_signal(int number)
{
	if (requested) {
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

int
hn_interrupt_requested(void)
{
	return (int)requested;
}
