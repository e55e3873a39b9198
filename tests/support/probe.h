/*
 * support/probe.h - plugins with one fault each, compiled from tests/abi/plugins/probe.c by the
 * compiler of this build, and what the loader says of them.
 */
#ifndef HN_TEST_PROBE_H
#define HN_TEST_PROBE_H

#include "registry/registry.h"
#include "support.h"

struct probe_place {
	char *dir;
	char *file;   /* probe.so, in dir or a folder below it */
	char *folder; /* of file, after probe_fresh(); NULL = dir */
};

/* Give and take a struct probe_place as a test's state. */
int probe_set_up(void **state);
int probe_tear_down(void **state);

/* Moves `file` to a folder of its own, the i-th: dlopen answers with what it has already opened
 * under the same path, even when another file lies there now. */
void probe_fresh(struct probe_place *place, size_t i);

/* Compiles the probe to `out` with one more flag or two; NULL = none. */
void probe_compile(const char *out, const char *flag, const char *more);

/* What the loader says of one file; the caller finishes the report. */
const struct hn_loader_entry *probe_load(struct hn_loader_report *report, const char *path);

/* Fails the test unless the file is refused by one line that has `reason` in it. */
void probe_refused(const char *path, const char *reason);
/* Fails the test unless the file loads. */
void probe_loads(const char *path);

#define WITH_PROBE(test) cmocka_unit_test_setup_teardown(test, probe_set_up, probe_tear_down)

#endif
