/*
 * test_support.c - temporary folders of tests.
 *
 * Would catch: folders of killed tests that stay in memory (/dev/shm) until the machine is
 * started again; a sweep that takes the folder of a test that is at work.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "support.h"

/* The folder of a process that made it and was gone a moment later; it says the name through
 * a pipe. */
static void
make_and_die(char *path, size_t n)
{
	ssize_t got;
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		const char *made = test_folder_make_in_memory();

		_exit(write(fds[1], made, strlen(made) + 1) < 0);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	got = read(fds[0], path, n);
	assert_true(got > 0 && (size_t)got <= n);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void
test_support_folder_of_a_dead_process_is_removed_by_the_next(void **state)
{
	char dead[512], *first = test_folder_make_in_memory(), *second;

	(void)state;
	make_and_die(dead, sizeof dead);
	assert_true(hn_path_is_dir(dead));
	assert_true(hn_path_is_dir(first)); /* the child let it be */
	second = test_folder_make_in_memory();
	assert_false(hn_path_is_dir(dead));
	assert_true(hn_path_is_dir(first));
	test_folder_remove(first);
	test_folder_remove(second);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_support_folder_of_a_dead_process_is_removed_by_the_next),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
