/*
 * bench_machine.c - what this machine can do: multiply-adds in f32 and bf16, reads of memory.
 *
 *     bench_machine [THREADS]
 *
 * Prints one object of JSON.  THREADS 0 or none: one for each processor of this process.  The
 * clock is the wall, the best of several short tries counts; a processor without bf16 products
 * has 0 of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "bench_peak.h"

#define READ_BYTES ((size_t)512 << 20)

int
main(int argc, char **argv)
{
	const long threads = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
	struct hone_error err = {0};
	struct hn_pool *pool = NULL;
	uint8_t *memory;

	if (hn_pool_create(&pool, (int32_t)threads, &err)) {
		(void)fprintf(stderr, "bench_machine: %s\n", err.text);
		return 1;
	}
	memory = hn_alloc(READ_BYTES);
	memset(memory, 1, READ_BYTES);
	(void)printf("{\"threads\": %d, \"f32_gflops\": %.1f, \"bf16_gflops\": %.1f, "
		     "\"read_gb_s\": %.2f}\n",
		hn_pool_threads(pool), bench_peak_flops(pool, 0, CLOCK_MONOTONIC) / 1e9,
		bench_peak_flops(pool, 1, CLOCK_MONOTONIC) / 1e9,
		bench_peak_read(pool, memory, READ_BYTES, CLOCK_MONOTONIC) / 1e9);
	free(memory);
	hn_pool_destroy(pool);
	return 0;
}
