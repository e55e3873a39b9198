/*
 * memory.c - bytes asked for, as what the process will hold.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "train/memory.h"

#define HUGE_PAGE_BYTES (UINT64_C(2) << 20)

/* Large buffers consist of huge pages where the system has them. */
static uint64_t
as_allocated(uint64_t bytes)
{
	return bytes < HUGE_PAGE_BYTES
		? bytes
		: (bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
}

void
hn_memory_plan_make(const struct hn_engine *engine, struct hn_memory_plan *out)
{
	const uint64_t mapped = hn_engine_mapped_bytes(engine);

	hn_engine_bytes(engine, out->bytes);
	for (int kind = HN_MEMORY_ARENA; kind < HN_MEMORY_KINDS; kind++)
		if (kind != HN_MEMORY_WEIGHTS)
			out->bytes[kind] = as_allocated(out->bytes[kind]);
	out->around = mapped > out->bytes[HN_MEMORY_WEIGHTS]
		? mapped - out->bytes[HN_MEMORY_WEIGHTS]
		: 0; /* weights that are not of a mapped file */
	out->program = (uint64_t)(hn_memory_now_mb() * 1e6);
	out->peak = out->program + out->around;
	for (int kind = HN_MEMORY_ARENA; kind < HN_MEMORY_KINDS; kind++)
		out->peak += out->bytes[kind];
}

/* A line "VmHWM:   1234 kB" of /proc/self/status, in MB; 0 when there is none. */
static double
status_mb(const char *key)
{
	struct hone_error err = {0};
	char *text = NULL, *at;
	int64_t kb = 0;
	size_t n = 0;

	if (hn_file_read("/proc/self/status", 65536, HONE_EIO, &text, &n, &err))
		return 0.0;
	at = strstr(text, key);
	if (at)
		for (at += strlen(key); *at && *at != '\n'; at++)
			if (*at >= '0' && *at <= '9')
				kb = kb * 10 + (*at - '0');
	free(text);
	return (double)kb * 1024e-6;
}

double
hn_memory_now_mb(void)
{
	return status_mb("VmRSS:");
}

double
hn_memory_peak_mb(void)
{
	return status_mb("VmHWM:");
}
