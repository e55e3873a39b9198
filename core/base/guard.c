/*
 * guard.c - a list of mapped ranges, and the handler that looks into it.
 *
 * The handler may call nothing that takes a lock or memory.  So the lines are put together
 * when a range is entered, the list is walked through atomic pointers, and what is left to do
 * is fstat, write and _exit.  Ranges are entered and removed by one thread while no other
 * reads a mapping that is being removed; the mutex is for two threads that open files.
 *
 * _exit and not a jump out of the fault: the value that could not be read is on its way into
 * a result, and whoever waits for that piece of work has locks of its own.  The lock of a
 * run's folder is the system's and ends with the process; what is half written lies under a
 * name that the next opening sweeps away.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/crash.h"
#include "base/guard.h"
#include "base/log.h"

#define ERASE_LINE "\r\033[K"

enum { LINE_MAX_BYTES = 1200 };

/* Measured: a small run works with 64 KiB, and a config.json of 2040 levels, near the 2048
 * that jansson takes, with 256. */
#define STACK_WANTED ((rlim_t)8 << 20)
#define STACK_LOW    ((rlim_t)1 << 20)
#define STACK_NEEDED ((rlim_t)256 << 10)

struct hn_guarded {
	struct hn_guarded *_Atomic next;
	uintptr_t begin, end;
	uint64_t size;
	int fd, code;
	char cut[LINE_MAX_BYTES], unreadable[LINE_MAX_BYTES]; /* whole lines */
};

/* As in train/interrupt.c: a handler gets no argument of ours. */
static struct hn_guarded *_Atomic first;
static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int log_fd = -1;
static atomic_flag is_ending = ATOMIC_FLAG_INIT;
static struct sigaction before;
static bool is_terminal;

int
hn_exit_code(int32_t status)
{
	switch (status) {
#define EXIT_CASE(name, value, code, meaning)                                                      \
	case value:                                                                                \
		return code;
		HONE_STATUS_LIST(EXIT_CASE)
#undef EXIT_CASE
	default: /* hone has no others: a plugin made it up */
		return 6;
	}
}

/* ---- the list ---- */

static void
make_line(char line[LINE_MAX_BYTES], const char *path, enum hone_status status, const char *cause)
{
	char text[LINE_MAX_BYTES - 16];
	struct hone_error err = {0};

	(void)hone_fail_at(&err, status, path, 0, 0, "%s", cause);
	hn_error_format(&err, text, sizeof text);
	(void)snprintf(line, LINE_MAX_BYTES, "error: %s\n", text);
}

struct hn_guarded *
hn_guard_add(const void *bytes, uint64_t n, const char *path, int fd, enum hone_status status)
{
	struct hn_guarded *guarded = hn_alloc(sizeof *guarded);

	guarded->begin = (uintptr_t)bytes;
	guarded->end = guarded->begin + (uintptr_t)n;
	guarded->size = n;
	guarded->fd = fd;
	guarded->code = hn_exit_code((int32_t)status);
	make_line(guarded->cut, path, status,
		"the file was cut while it was in use; put it back whole and start the same "
		"command "
		"again (what was saved before is whole)");
	make_line(guarded->unreadable, path, status,
		"the file cannot be read any more: its disk failed or was taken away; bring it "
		"back "
		"and start the same command again (what was saved before is whole)");
	(void)pthread_mutex_lock(&changing);
	atomic_store(&guarded->next, atomic_load(&first));
	atomic_store(&first, guarded);
	(void)pthread_mutex_unlock(&changing);
	return guarded;
}

void
hn_guard_remove(struct hn_guarded *guarded)
{
	struct hn_guarded *_Atomic *at = &first;

	if (!guarded)
		return;
	(void)pthread_mutex_lock(&changing);
	while (atomic_load(at) != guarded)
		at = &atomic_load(at)->next;
	atomic_store(at, atomic_load(&guarded->next));
	(void)pthread_mutex_unlock(&changing);
	free(guarded);
}

void
hn_guard_log(int fd)
{
	atomic_store(&log_fd, fd);
}

/* ---- the handler ---- */

/* All that can be done about a write that fails here is to go on. */
static void
say(int fd, const char *text)
{
	const size_t n = strlen(text);

	if (fd >= 0 && write(fd, text, n) < 0)
		return;
}

void
hn_guard_say(const char *line)
{
	if (is_terminal)
		say(STDERR_FILENO, ERASE_LINE);
	say(STDERR_FILENO, line);
	say(atomic_load(&log_fd), line);
}

_Noreturn static void
end_with(const struct hn_guarded *guarded)
{
	struct stat info;
	const bool is_cut = !fstat(guarded->fd, &info) && (uint64_t)info.st_size < guarded->size;

	hn_guard_say(is_cut ? guarded->cut : guarded->unreadable);
	_exit(guarded->code);
}

/* Codes from the kernel are positive; one that somebody sent has no address. */
static void
on_bus_error(int number, siginfo_t *info, void *context)
{
	const uintptr_t at = info->si_code > 0 ? (uintptr_t)info->si_addr : 0;

	(void)context;
	for (const struct hn_guarded *g = atomic_load(&first); g; g = atomic_load(&g->next)) {
		if (at < g->begin || at >= g->end)
			continue;
		if (!atomic_flag_test_and_set(&is_ending))
			end_with(g);
		for (;;) /* another thread is saying it */
			(void)pause();
	}
	(void)sigaction(number, &before, NULL);
	if (!(before.sa_flags & SA_SIGINFO) && before.sa_handler == SIG_DFL)
		hn_crash_end(number, info);
	else if (info->si_code <= 0)
		(void)raise(number);
	/* Otherwise the access is made again, and fails as it would have. */
}

void
hn_guard_install(void)
{
	struct sigaction action = {
		.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	is_terminal = isatty(STDERR_FILENO);
	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(SIGBUS, &action, &before);
	hn_crash_install();
}

/* ---- the stack ---- */

/* The limit of the first thread's stack is asked when it grows, so raising it helps at once. */
int
hn_guard_stack(void)
{
	static const char line[] =
		"error: the limit of the stack is below 256 KiB; raise it (ulimit -s 8192)\n";
	struct rlimit limit;

	if (getrlimit(RLIMIT_STACK, &limit) || limit.rlim_cur >= STACK_LOW)
		return 0;
	limit.rlim_cur = limit.rlim_max < STACK_WANTED ? limit.rlim_max : STACK_WANTED;
	(void)setrlimit(RLIMIT_STACK, &limit);
	if (limit.rlim_cur >= STACK_NEEDED)
		return 0;
	say(STDERR_FILENO, line);
	return hn_exit_code(HONE_ENOMEM);
}
