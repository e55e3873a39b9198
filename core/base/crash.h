/*
 * base/crash.h - the last line of a process that a plugin ends: by a signal, or by exit().
 *
 * The host notes on its stack which function of which plugin it calls.  When a signal comes
 * that ends the process, one line names that function, and the signal then does what it would
 * have done: exit status and core file stay the same.  An exit() inside a call is no success,
 * whatever its number: the process ends with 6.
 *
 * Not here: mapped files that are cut (base/guard.h), and threads: a crash in a worker while the
 * main thread is in a plugin's function is told as that function's.
 */
#ifndef HN_BASE_CRASH_H
#define HN_BASE_CRASH_H

#include <signal.h>

/* A call of a plugin's function, on the caller's stack.  Texts are borrowed. */
struct hn_call {
	const char *who, *function; /* "lora" or "focal.so: focal_term"; "output" */
	const char *place;          /* a site's name, or NULL */
	const struct hn_call *before;
};

/* Around the call; calls nest.  [main] */
void hn_call_begin(struct hn_call *call, const char *who, const char *function, const char *place);
void hn_call_end(const struct hn_call *call);

/* From now on the lines are said.  A signal that has a handler already, as a sanitizer's, keeps
 * it.  [main] */
void hn_crash_install(void);
/* Somebody has said what is wrong and aborts: no second line. */
void hn_crash_said(void);
/* For other handlers: the line, and `number` does what it does by default. */
void hn_crash_end(int number, const siginfo_t *info);

#endif
