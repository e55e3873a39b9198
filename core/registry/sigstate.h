/*
 * registry/sigstate.h - what of the process a plugin's code might change: signals and locale.
 *
 * hone ends a run well at SIGINT and SIGTERM, sees a closed pipe and a full disk as errors of
 * write(), and reads and writes numbers in the C locale.  A plugin, or a library that it pulls
 * in, that sets one of these otherwise is put right again, and named.
 */
#ifndef HN_REGISTRY_SIGSTATE_H
#define HN_REGISTRY_SIGSTATE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

enum { HN_SIGNALS_KEPT = 4 };

struct hn_signal_state {
	struct sigaction actions[HN_SIGNALS_KEPT];
	sigset_t mask; /* of this thread */
	char locale[128];
};

struct hn_signal_state hn_signal_state_get(void);

/* Puts the state back; true, and what had been changed in words, when it had to. */
bool hn_signal_state_restore(const struct hn_signal_state *before, char *changed, size_t n);

#endif
