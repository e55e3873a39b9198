/*
 * cpu_host.c - a host with a pool for the cpu backend.
 */
#include "cpu_host.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "support.h"

struct values {
	int64_t threads;
	int32_t path;
};

static int32_t
pool_threads(const struct hone_host *host)
{
	return hn_pool_threads(((const struct cpu_host *)(const void *)host)->pool);
}

static void
pool_run(const struct hone_host *host, int64_t n, void (*fn)(void *ctx, int64_t i, int32_t worker),
	void *ctx)
{
	struct cpu_host *h = (struct cpu_host *)(uintptr_t)host;

	h->n_jobs++;
	hn_pool_run(h->pool, n, fn, ctx);
}

static const struct hone_pool_vt pool_vt = {
	.struct_size = sizeof pool_vt, .threads = pool_threads, .run = pool_run};

static const void *
get_interface(const struct hone_host *host, const char *id)
{
	(void)host;
	return strcmp(id, HONE_INTERFACE_POOL) == 0 ? &pool_vt : NULL;
}

const char *
cpu_host_path(int32_t path)
{
	static const char *const names[CPU_PATHS] = {
		"auto", "avx512_bf16", "avx512", "avx2", "portable"};

	return names[path];
}

void
cpu_host_open(struct cpu_host *h, int32_t threads)
{
	struct hone_error err = {0};

	*h = (struct cpu_host){.host = {.struct_size = sizeof h->host,
				       .abi = HONE_ABI,
				       .get_interface = get_interface}};
	assert_int_equal(hn_pool_create(&h->pool, threads, &err), HONE_OK);
}

void
cpu_host_close(struct cpu_host *h)
{
	hn_pool_destroy(h->pool);
}

bool
cpu_host_device(const struct cpu_host *h, int32_t path, struct ops_device *device)
{
	const struct values values = {.path = path};
	char why[OPS_WHY];

	return ops_open(cpu_host_plugin("cpu"), &h->host, &values, device, why);
}

const struct hone_plugin *
cpu_host_plugin(const char *name)
{
	char path[512];
	void *module;

	(void)snprintf(path, sizeof path, HONE_BINARY_DIR "/lib/hone/%s.so", name);
	module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!module)
		fail_msg("%s", dlerror());
	return dlsym(module, "hone_plugin_v1");
}
