/*
 * probe.c - starting the compiler for a plugin that a test needs.
 */
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/file.h"
#include "probe.h"
#include "support.h"

extern char **environ;

void
test_run(const char *const *argv)
{
	pid_t child;
	int status;

	assert_int_equal(
		posix_spawnp(&child, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ),
		0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

void
probe_compile(const char *out, const char *flag, const char *more)
{
	const char *argv[] = {HONE_TEST_CC, "-shared", "-fPIC", "-O1", "-fvisibility=hidden",
		"-D_GNU_SOURCE", "-I" HONE_SOURCE_DIR "/sdk/include", "-o", out,
		HONE_SOURCE_DIR "/tests/abi/plugins/probe.c", flag ? flag : "-DPROBE_SOUND", more,
		NULL};

	test_run(argv);
}

void
plugin_compile(const char *source, const char *out, const char *flag)
{
	char *path = hn_path_join(HONE_SOURCE_DIR, source);
	const char *argv[] = {HONE_TEST_CC, "-shared", "-fPIC", "-O1", "-fvisibility=hidden",
		"-D_GNU_SOURCE", "-I" HONE_SOURCE_DIR "/sdk/include", "-o", out, path, flag, NULL};

	test_run(argv);
	free(path);
}
