/*
 * registry/host.h - what the host gives to plugins (hone/host.h), one table per plugin.
 *
 * Interfaces by id: "hone.pool/1" over base/pool.  The services behind them belong to main
 * and may arrive later than the plugins: until there is a pool, work is done by the caller's
 * thread alone.  A new interface is one row in host.c.
 */
#ifndef HN_REGISTRY_HOST_H
#define HN_REGISTRY_HOST_H

#include <hone/host.h>

#include "base/log.h"
#include "base/pool.h"

/* Owned by main, outlives the registry.  Members may be NULL. */
struct hn_services {
	struct hn_pool *pool;
	struct hn_log *log;
};

/* `table` is what plugins see; the rest is ours.  Must not move while in use. */
struct hn_host {
	struct hone_host table;
	const struct hn_services *services;
	const char *plugin; /* its id, for the log */
};

void hn_host_init(struct hn_host *host, const struct hn_services *services, const char *plugin);

#endif
