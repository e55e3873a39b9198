/*
 * registry/sigstate.h - what of the process a plugin's code might change: signals.
 *
 * hone ends a run well at SIGINT and SIGTERM, and sees a closed pipe and a full disk as errors of
 * write().  A plugin, or a library that it pulls in, that sets these otherwise is put right
 * again, and named.  The locale is not kept: no number here is read or written by its rules.
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
};

struct hn_signal_state hn_signal_state_get(void);

/* Puts the state back; true, and what had been changed in words, when it had to. */
bool hn_signal_state_restore(const struct hn_signal_state *before, char *changed, size_t n);

#endif
