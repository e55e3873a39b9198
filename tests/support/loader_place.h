/*
 * support/loader_place.h - a folder for one plugin file, which probe_compile makes, and what the
 * loader says of it.
 */
#ifndef HN_TEST_LOADER_PLACE_H
#define HN_TEST_LOADER_PLACE_H

#include "probe.h"
#include "registry/registry.h"
#include "support.h"

struct loader_place {
	char *dir;
	char *file;   /* probe.so, in dir or a folder below it */
	char *folder; /* of file, after loader_fresh(); NULL = dir */
};

/* Give and take a struct loader_place as a test's state. */
int loader_set_up(void **state);
int loader_tear_down(void **state);

/* Moves `file` to a folder of its own, the i-th: dlopen answers with what it has already opened
 * under the same path, even when another file lies there now. */
void loader_fresh(struct loader_place *place, size_t i);

/* What the loader says of one file; the caller finishes the report. */
const struct hn_loader_entry *loader_load(struct hn_loader_report *report, const char *path);

/* Fails the test unless the file is refused by one line that has `reason` in it. */
void loader_refused(const char *path, const char *reason);
/* Fails the test unless the file loads. */
void loader_loads(const char *path);

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, loader_set_up, loader_tear_down)

#endif
