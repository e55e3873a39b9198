/*
 * probe.c - compiles tests/abi/plugins/probe.c and asks the loader about it.
 */
#include "probe.h"

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "support.h"

extern char **environ;

int
probe_set_up(void **state)
{
	struct probe_place *place = calloc(1, sizeof *place);

	place->dir = test_folder_make();
	place->file = hn_path_join(place->dir, "probe.so");
	*state = place;
	return 0;
}

int
probe_tear_down(void **state)
{
	struct probe_place *place = *state;

	test_folder_remove(place->dir);
	free(place->file);
	free(place->folder);
	free(place);
	return 0;
}

void
probe_fresh(struct probe_place *place, size_t i)
{
	char name[24];

	(void)snprintf(name, sizeof name, "%zu", i);
	free(place->file);
	free(place->folder);
	place->folder = hn_path_join(place->dir, name);
	assert_int_equal(mkdir(place->folder, 0755), 0);
	place->file = hn_path_join(place->folder, "probe.so");
}

static void
run(const char *const *argv)
{
	pid_t child;
	int status;

	assert_int_equal(
		posix_spawnp(&child, argv[0], NULL, NULL, (char *const *)argv, environ), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

void
probe_compile(const char *out, const char *flag, const char *more)
{
	const char *argv[] = {HONE_TEST_CC, "-shared", "-fPIC", "-O1", "-fvisibility=hidden",
		"-I" HONE_SOURCE_DIR "/sdk/include", "-o", out,
		HONE_SOURCE_DIR "/tests/abi/plugins/probe.c", flag ? flag : "-DPROBE_SOUND", more,
		NULL};

	run(argv);
}

const struct hn_loader_entry *
probe_load(struct hn_loader_report *report, const char *path)
{
	const struct hn_loader_request request = {0};

	hn_loader_load(report, path, &request);
	return &report->entries[report->n - 1];
}

void
probe_refused(const char *path, const char *reason)
{
	struct hn_loader_report report = {0};
	const struct hn_loader_entry *entry = probe_load(&report, path);

	assert_int_equal(entry->state, HN_PLUGIN_REFUSED);
	if (!strstr(entry->reason, reason))
		fail_msg("refused for another reason: %s\nexpected: %s", entry->reason, reason);
	assert_null(strchr(entry->reason, '\n'));
	hn_loader_report_fini(&report);
}

void
probe_loads(const char *path)
{
	struct hn_loader_report report = {0};
	const struct hn_loader_entry *entry = probe_load(&report, path);

	if (entry->state != HN_PLUGIN_LOADED)
		fail_msg("not loaded: %s", entry->reason);
	assert_non_null(entry->plugin);
	hn_loader_report_fini(&report);
}
