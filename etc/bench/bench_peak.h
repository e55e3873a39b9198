/*
 * bench_peak.h - what this processor can do at most: multiply-adds with every operand in a
 * register, and reads of memory; and the clock of all benches.
 */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

#include <stdint.h>
#include <time.h>

#include "base/pool.h"

double bench_now(clockid_t clock); /* seconds */

/* Seconds that the pool needs for one piece on each of its threads, best of several tries. */
double bench_best(struct hn_pool *pool, void (*piece)(void *ctx, int64_t i, int32_t worker),
	void *ctx, clockid_t clock);

/* Multiply-adds per second of all threads of the pool, best of several tries.  `bf16` asks for
 * bf16 pairs; 0 where the processor has none. */
double bench_peak_flops(struct hn_pool *pool, int bf16, clockid_t clock);

/* Bytes per second that all threads of the pool read of `memory`, best of several tries; it
 * should be several times the last cache and have been written to, and be 8-byte aligned. */
double bench_peak_read(
	struct hn_pool *pool, const void *memory, uint64_t bytes, clockid_t clock);

#endif
