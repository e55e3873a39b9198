/*
 * support/probe.h - tests/abi/plugins/probe.c compiled by the compiler of this build.
 */
#ifndef HN_TEST_PROBE_H
#define HN_TEST_PROBE_H

/* Runs a program to its end; the test fails unless it ends with 0. */
void test_run(const char *const *argv);

/* Compiles the probe to `out` with one more flag or two ("-DPROBE_<fault>"; either NULL). */
void probe_compile(const char *out, const char *flag, const char *more);

/* The same of any C file of the tree, by its path from the root; `flag` may be NULL. */
void plugin_compile(const char *source, const char *out, const char *flag);

#endif
