/*
 * crash.c - which call is under way, and the handler that tells it.
 *
 * The handler takes no lock and no memory: it puts the line together in an array and writes it.
 * It runs on a stack of its own, because a plugin that calls itself for ever leaves none.  Then
 * the signal's default action is put back and the handler returns: a fault of the processor is
 * met again at the same instruction, with the registers of a core file as they were; a signal
 * that was sent is sent again.
 *
 * A signal from another process is no fault of anybody here, and ends hone without a line.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hone/status.h>

#include "base/crash.h"
#include "base/guard.h"

enum { LINE_MAX_BYTES = 1024, STACK_BYTES = 64 << 10 };

static const struct {
	int number;
	const char *name;
} fatal[] = {{SIGSEGV, "segmentation fault"}, {SIGBUS, "bus error"}, {SIGFPE, "arithmetic fault"},
	{SIGILL, "illegal instruction"}, {SIGABRT, "abort"}};

/* As in guard.c: a handler gets no argument of ours. */
static const struct hn_call *_Atomic current;
static atomic_bool is_said;
static _Alignas(16) unsigned char stack[STACK_BYTES];

/* ---- calls ---- */

void
hn_call_begin(struct hn_call *call, const char *who, const char *function, const char *place)
{
	*call = (struct hn_call){who, function, place, atomic_load(&current)};
	atomic_store(&current, call);
}

void
hn_call_end(const struct hn_call *call)
{
	atomic_store(&current, call->before);
}

/* ---- the line ---- */

static size_t
put(char line[LINE_MAX_BYTES], size_t at, const char *text)
{
	for (; *text && at + 2 < LINE_MAX_BYTES; text++)
		line[at++] = *text;
	return at;
}

static void
say_call(const struct hn_call *call, const char *what, const char *remedy)
{
	char line[LINE_MAX_BYTES];
	size_t at = put(line, 0, "error: ");

	if (call) {
		at = put(line, at, "[");
		at = put(line, at, call->who);
		at = put(line, at, "] ");
		at = put(line, at, call->function);
		at = put(line, at, "()");
		at = put(line, at, call->place ? " at " : "");
		at = put(line, at, call->place ? call->place : "");
		at = put(line, at, ": ");
	} else {
		at = put(line, at, "hone: ");
	}
	at = put(line, at, what);
	at = put(line, at, remedy);
	line[at++] = '\n';
	line[at] = '\0';
	hn_guard_say(line);
}

/* ---- the two ends ---- */

static const char *
name_of(int number)
{
	for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
		if (fatal[i].number == number)
			return fatal[i].name;
	return "a fatal signal";
}

void
hn_crash_said(void)
{
	atomic_store(&is_said, true);
}

void
hn_crash_end(int number, const siginfo_t *info)
{
	const struct sigaction usual = {.sa_handler = SIG_DFL};
	const bool is_fault = info->si_code > 0; /* by the kernel */
	const struct hn_call *call = atomic_load(&current);

	if ((is_fault || info->si_pid == getpid()) && !atomic_exchange(&is_said, true))
		say_call(call, name_of(number),
			call ? " in the plugin; report it to its author"
			     : ", a bug in hone; please report it");
	(void)sigaction(number, &usual, NULL);
	if (!is_fault)
		(void)raise(number); /* comes when the handler has returned */
}

static void
on_signal(int number, siginfo_t *info, void *context)
{
	(void)context;
	hn_crash_end(number, info);
}

/* At exit, which in the middle of a call nobody but the plugin can have asked for. */
static void
on_exit_in_call(void)
{
	const struct hn_call *call = atomic_load(&current);

	if (!call)
		return;
	say_call(call, "the plugin ended the process by exit()",
		"; a function returns a status instead; report it to its author");
	_exit(hn_exit_code(HONE_EPLUGIN));
}

/* A sanitizer has a stack and handlers of its own. */
void
hn_crash_install(void)
{
	const struct sigaction action = {
		.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	const stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
	struct sigaction now;
	stack_t other;

	if (!sigaltstack(NULL, &other) && other.ss_flags & SS_DISABLE)
		(void)sigaltstack(&own, NULL);
	for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
		if (!sigaction(fatal[i].number, NULL, &now) && !(now.sa_flags & SA_SIGINFO) &&
			now.sa_handler == SIG_DFL)
			(void)sigaction(fatal[i].number, &action, NULL);
	(void)atexit(on_exit_in_call);
	(void)at_quick_exit(on_exit_in_call);
}
