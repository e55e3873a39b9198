/*
 * hone/host.h - what the host gives to every plugin.
 *
 * A plugin links against nothing of hone's: it gets this table at `create` and asks it for
 * services by id.  An interface that a host does not have is NULL, and that is ordinary.
 * The table and everything it returns live until the plugin's last instance is destroyed.
 */
#ifndef HONE_HOST_H
#define HONE_HOST_H

#include <hone/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum hone_log_level { HONE_LOG_INFO = 1, HONE_LOG_WARN = 2 };

struct hone_host {
	uint32_t struct_size;
	uint32_t abi; /* major << 16 | minor of the host */

	/* The interface with that id ("hone.pool/1"), or NULL.  [any thread, pure] */
	const void *(*get_interface)(const struct hone_host *host, const char *id);

	/* One line for the person at the screen and the run's log.  [main] */
	void (*log)(const struct hone_host *host, int32_t level, const char *text);

	void *internal; /* the host's own */
};

/* The process's thread pool. */
#define HONE_INTERFACE_POOL "hone.pool/1"
struct hone_pool_vt {
	uint32_t struct_size;
	uint32_t pad;

	/* Threads that may work at once, the caller included.  [any thread, pure] */
	int32_t (*threads)(const struct hone_host *host);

	/* Calls fn(ctx, i, worker) for each i in [0, n) on any threads and returns when all
	 * are done; worker is in [0, threads).  Worker w of T begins with the pieces from
	 * w n / T on and then helps the others: number pieces so that neighbours share memory.
	 * Sums may depend on sizes only, never on the number of threads.  Not re-entrant.
	 * [main] */
	void (*run)(const struct hone_host *host, int64_t n,
		void (*fn)(void *ctx, int64_t i, int32_t worker), void *ctx);
};

#ifdef __cplusplus
}
#endif
#endif
