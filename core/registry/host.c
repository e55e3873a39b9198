/*
 * host.c - the host's table and its interfaces.
 */
#include <string.h>

#include <hone/plugin.h>

#include "registry/host.h"

static const struct hn_host *
host_of(const struct hone_host *table)
{
	return table->internal;
}

static int32_t
pool_threads(const struct hone_host *table)
{
	const struct hn_pool *pool = host_of(table)->services->pool;

	return pool ? hn_pool_threads(pool) : 1;
}

static void
pool_run(const struct hone_host *table, int64_t n, void (*fn)(void *ctx, int64_t i, int32_t worker),
	void *ctx)
{
	struct hn_pool *pool = host_of(table)->services->pool;

	if (pool) {
		hn_pool_run(pool, n, fn, ctx);
		return;
	}
	for (int64_t i = 0; i < n; i++)
		fn(ctx, i, 0);
}

static const struct hone_pool_vt pool_interface = {
	.struct_size = sizeof(struct hone_pool_vt),
	.threads = pool_threads,
	.run = pool_run,
};

static const struct {
	const char *id;
	const void *interface;
} interfaces[] = {
	{HONE_INTERFACE_POOL, &pool_interface},
};

static const void *
get_interface(const struct hone_host *table, const char *id)
{
	(void)table;
	for (size_t i = 0; i < sizeof interfaces / sizeof interfaces[0]; i++)
		if (strcmp(interfaces[i].id, id) == 0)
			return interfaces[i].interface;
	return NULL;
}

static void
write_log(const struct hone_host *table, int32_t level, const char *text)
{
	const struct hn_host *host = host_of(table);

	if (!host->services->log)
		return;
	if (level >= HONE_LOG_WARN)
		hn_log_warn(host->services->log, "%s: %s", host->plugin, text);
	else
		hn_log_info(host->services->log, "%s: %s", host->plugin, text);
}

void
hn_host_init(struct hn_host *host, const struct hn_services *services, const char *plugin)
{
	*host = (struct hn_host){.services = services, .plugin = plugin};
	host->table.struct_size = sizeof host->table;
	host->table.abi = HONE_ABI;
	host->table.get_interface = get_interface;
	host->table.log = write_log;
	host->table.internal = host;
}
