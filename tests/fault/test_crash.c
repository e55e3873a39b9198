/*
 * test_crash.c - the last line of a process that ends by a signal or in the middle of a call.
 *
 * Each case runs in a child whose stderr is a file.  Would catch: a crash of the host that is told
 * as a plugin's, or the other way about; a line about a signal that somebody else sent; a
 * sanitizer's handler that is taken away; an end that loses its signal or its exit code.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/guard.h"
#include "support.h"

static volatile int *volatile nowhere = (volatile int *)16;

static void
crash(void)
{
	*nowhere = 1;
}

static void
crash_in_call(void)
{
	struct hn_call call;

	hn_call_begin(&call, "vera", "output", "layer.0");
	crash();
}

static void
crash_in_inner_call(void)
{
	struct hn_call outer, inner;

	hn_call_begin(&outer, "llama", "body", NULL);
	hn_call_begin(&inner, "vera", "output", "layer.0");
	crash();
}

static void
crash_after_inner_call(void)
{
	struct hn_call outer, inner;

	hn_call_begin(&outer, "llama", "body", NULL);
	hn_call_begin(&inner, "vera", "output", "layer.0");
	hn_call_end(&inner);
	crash();
}

static void
crash_after_call(void)
{
	struct hn_call call;

	hn_call_begin(&call, "vera", "output", "layer.0");
	hn_call_end(&call);
	crash();
}

static void
raise_in_call(void)
{
	struct hn_call call;

	hn_call_begin(&call, "vera", "output", NULL);
	(void)raise(SIGILL);
}

static void
be_killed_in_call(void)
{
	const pid_t self = getpid(), child = fork();
	struct hn_call call;

	hn_call_begin(&call, "vera", "output", NULL);
	if (child == 0) {
		(void)kill(self, SIGSEGV);
		_exit(0);
	}
	for (;;)
		(void)pause();
}

static void
find_bug_in_call(void)
{
	struct hn_call call;

	hn_call_begin(&call, "vera", "output", NULL);
	HONE_BUG_ON(nowhere != NULL);
}

static void
leave_in_call(void)
{
	struct hn_call call;

	hn_call_begin(&call, "vera", "output", NULL);
	exit(0);
}

static void
leave_quickly_in_call(void)
{
	struct hn_call call;

	hn_call_begin(&call, "vera", "output", NULL);
	quick_exit(0);
}

static void
leave_after_call(void)
{
	struct hn_call call;

	hn_call_begin(&call, "vera", "output", NULL);
	hn_call_end(&call);
	quick_exit(3);
}

/* What is installed before counts, so a sanitizer's handlers go first. */
static void
prepare(const char *path)
{
	static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
	const struct rlimit none = {0, 0};

	if (!freopen(path, "w", stderr))
		_exit(99);
	(void)setrlimit(RLIMIT_CORE, &none);
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		(void)signal(numbers[i], SIG_DFL);
}

/* What the child said, which the caller frees; *code as a shell has it. */
static char *
run(void (*end)(void), void (*handler)(int), int *code)
{
	char *folder = test_folder_make(), *path = hn_path_join(folder, "stderr"), *text;
	const pid_t child = fork();
	int status;
	FILE *file;

	assert_true(child >= 0);
	if (child == 0) {
		prepare(path);
		if (handler)
			(void)signal(SIGSEGV, handler);
		hn_guard_install();
		end();
		_exit(98);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	*code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	text = calloc(1, 4096);
	file = fopen(path, "r");
	assert_non_null(file);
	(void)fread(text, 1, 4095, file);
	(void)fclose(file);
	test_folder_remove(folder);
	free(path);
	return text;
}

static void
test_crash_each_end_is_said_once_and_keeps_its_code(void **state)
{
	static const struct {
		void (*end)(void);
		int code;
		const char *says;
	} rows[] = {
		{crash, 128 + SIGSEGV,
			"error: hone: segmentation fault, a bug in hone; please report it\n"},
		{crash_in_call, 128 + SIGSEGV,
			"error: [vera] output() at layer.0: segmentation fault in the plugin; "
			"report it to its author\n"},
		{crash_in_inner_call, 128 + SIGSEGV,
			"error: [vera] output() at layer.0: segmentation fault in the plugin; "
			"report it to its author\n"},
		{crash_after_inner_call, 128 + SIGSEGV,
			"error: [llama] body(): segmentation fault in the plugin; report it to "
			"its author\n"},
		{crash_after_call, 128 + SIGSEGV,
			"error: hone: segmentation fault, a bug in hone; please report it\n"},
		{raise_in_call, 128 + SIGILL,
			"error: [vera] output(): illegal instruction in the plugin; report it to "
			"its author\n"},
		{be_killed_in_call, 128 + SIGSEGV, ""},
		{leave_in_call, 6,
			"error: [vera] output(): the plugin ended the process by exit(); a "
			"function returns a status instead; report it to its author\n"},
		{leave_quickly_in_call, 6,
			"error: [vera] output(): the plugin ended the process by exit(); a "
			"function returns a status instead; report it to its author\n"},
		{leave_after_call, 3, ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		int code;
		char *text = run(rows[i].end, NULL, &code);

		if (code != rows[i].code || strcmp(text, rows[i].says) != 0)
			fail_msg("row %zu: code %d: %s", i, code, text);
		free(text);
	}
}

static void
test_crash_bug_of_the_host_is_no_plugins(void **state)
{
	int code;
	char *text = run(find_bug_in_call, NULL, &code);

	(void)state;
	assert_int_equal(code, 128 + SIGABRT);
	assert_ptr_equal(strstr(text, "bug in hone: "), text);
	assert_null(strstr(text, "vera"));
	free(text);
}

static void
end_with_77(int number)
{
	(void)number;
	_exit(77);
}

static void
test_crash_handler_that_was_there_is_kept(void **state)
{
	int code;
	char *text = run(crash_in_call, end_with_77, &code);

	(void)state;
	assert_int_equal(code, 77);
	assert_string_equal(text, "");
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crash_each_end_is_said_once_and_keeps_its_code),
		cmocka_unit_test(test_crash_bug_of_the_host_is_no_plugins),
		cmocka_unit_test(test_crash_handler_that_was_there_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
