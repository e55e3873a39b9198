/*
 * base/guard.h - what would end the process without a word: mapped files that are cut under our
 * hands, and a stack too small to begin with.
 *
 * Reading a page of a mapping whose file has become shorter, or whose disk has failed, is
 * SIGBUS, which ends a process without a word.  Every mapping of base/file.h is entered here
 * with the line that is to be said; main installs the handler that says it.  A SIGBUS
 * anywhere else keeps its meaning, a bug: base/crash.h.
 *
 * Not here: noticing a change before a page of it is read; that is hn_map_unchanged.
 */
#ifndef HN_BASE_GUARD_H
#define HN_BASE_GUARD_H

#include <stdint.h>

#include <hone/status.h>

struct hn_guarded;

/* Enters the range [bytes, bytes + n) of the file `path`, open as `fd`.  When it cannot be read
 * any more the process ends with the exit code of `status`.  Remove it before it is unmapped. */
struct hn_guarded *hn_guard_add(
	const void *bytes, uint64_t n, const char *path, int fd, enum hone_status status);
void hn_guard_remove(struct hn_guarded *guarded); /* NULL-safe */

/* Handles SIGBUS from now on, in every thread, and what base/crash.h does.  [main] */
void hn_guard_install(void);
/* A file that gets the last line, too: log.txt.  -1 = none. */
void hn_guard_log(int fd);
/* A whole line, on stderr and there; may be called in a handler. */
void hn_guard_say(const char *line);

/* Raises a low limit of the stack as far as the system lets us.  0, or the exit code where it
 * stays too low, which is said on stderr.  First of all in main, with next to no stack. */
int hn_guard_stack(void);

/* The program's exit code for a status, as sdk's list has it; 1 for an unknown one. */
int hn_exit_code(int32_t status);

#endif
