/*
 * loader_place.c - a folder with one plugin file, and what the loader says of it.
 */
#include "loader_place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "support.h"

int
loader_set_up(void **state)
{
	struct loader_place *place = calloc(1, sizeof *place);

	place->dir = test_folder_make();
	place->file = hn_path_join(place->dir, "probe.so");
	*state = place;
	return 0;
}

int
loader_tear_down(void **state)
{
	struct loader_place *place = *state;

	test_folder_remove(place->dir);
	free(place->file);
	free(place->folder);
	free(place);
	return 0;
}

void
loader_fresh(struct loader_place *place, size_t i)
{
	char name[24];

	(void)snprintf(name, sizeof name, "%zu", i);
	free(place->file);
	free(place->folder);
	place->folder = hn_path_join(place->dir, name);
	assert_int_equal(mkdir(place->folder, 0755), 0);
	place->file = hn_path_join(place->folder, "probe.so");
}

const struct hn_loader_entry *
loader_load(struct hn_loader_report *report, const char *path)
{
	const struct hn_loader_request request = {0};

	hn_loader_load(report, path, &request);
	return &report->entries[report->n - 1];
}

void
loader_refused(const char *path, const char *reason)
{
	struct hn_loader_report report = {0};
	const struct hn_loader_entry *entry = loader_load(&report, path);

	assert_int_equal(entry->state, HN_PLUGIN_REFUSED);
	if (!strstr(entry->reason, reason))
		fail_msg("refused for another reason: %s\nexpected: %s", entry->reason, reason);
	assert_null(strchr(entry->reason, '\n'));
	hn_loader_report_fini(&report);
}

void
loader_loads(const char *path)
{
	struct hn_loader_report report = {0};
	const struct hn_loader_entry *entry = loader_load(&report, path);

	if (entry->state != HN_PLUGIN_LOADED)
		fail_msg("not loaded: %s", entry->reason);
	assert_non_null(entry->plugin);
	hn_loader_report_fini(&report);
}
