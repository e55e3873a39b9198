/*
 * cpu_host.h - the cpu backend in a test: a host that has a pool and nothing else, and the paths.
 */
#ifndef HN_TEST_CPU_HOST_H
#define HN_TEST_CPU_HOST_H

#include "ops.h"

#include <stdbool.h>

#include "base/pool.h"

enum { CPU_PATHS = 5 }; /* 0 = auto */

struct cpu_host {
	struct hone_host host;
	struct hn_pool *pool;
	int64_t n_jobs; /* that plugins have given to the pool */
};

/* As [cpu] path has it. */
const char *cpu_host_path(int32_t path);

void cpu_host_open(struct cpu_host *h, int32_t threads);
void cpu_host_close(struct cpu_host *h);

/* The backend's device; false where this processor lacks the path. */
bool cpu_host_device(const struct cpu_host *h, int32_t path, struct ops_device *device);

/* A plugin as it is built; fails the test where it is not. */
const struct hone_plugin *cpu_host_plugin(const char *name);

#endif
