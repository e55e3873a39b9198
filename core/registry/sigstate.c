/*
 * sigstate.c - signal handling and signal mask, read and put back.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "registry/sigstate.h"

static const struct {
	int number;
	const char *name;
} kept[HN_SIGNALS_KEPT] = {
	{SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}, {SIGPIPE, "SIGPIPE"}, {SIGXFSZ, "SIGXFSZ"}};

struct hn_signal_state
hn_signal_state_get(void)
{
	struct hn_signal_state state;

	memset(&state, 0, sizeof state);
	for (int i = 0; i < HN_SIGNALS_KEPT; i++)
		(void)sigaction(kept[i].number, NULL, &state.actions[i]);
	(void)pthread_sigmask(SIG_SETMASK, NULL, &state.mask);
	return state;
}

static bool
is_blocked_otherwise(const sigset_t *before, const sigset_t *now)
{
	for (int i = 0; i < HN_SIGNALS_KEPT; i++)
		if (sigismember(before, kept[i].number) != sigismember(now, kept[i].number))
			return true;
	return false;
}

/* A handler with three arguments lies in the same place as one with one. */
bool
hn_signal_state_restore(const struct hn_signal_state *before, char *changed, size_t n)
{
	const struct hn_signal_state now = hn_signal_state_get();
	struct hn_str text = {0};
	bool has_changed;

	for (int i = 0; i < HN_SIGNALS_KEPT; i++) {
		if (now.actions[i].sa_handler == before->actions[i].sa_handler)
			continue;
		hn_str_printf(&text, "%sthe handling of %s", text.len ? ", " : "", kept[i].name);
		(void)sigaction(kept[i].number, &before->actions[i], NULL);
	}
	if (is_blocked_otherwise(&before->mask, &now.mask)) {
		hn_str_printf(&text, "%sthe mask of signals", text.len ? ", " : "");
		(void)pthread_sigmask(SIG_SETMASK, &before->mask, NULL);
	}
	has_changed = text.len > 0;
	if (has_changed)
		(void)snprintf(changed, n, "%s", text.text);
	hn_str_fini(&text);
	return has_changed;
}
