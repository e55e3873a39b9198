/*
 * bench_peak.h - what this processor can do at most: multiply-adds with every operand in a
 * register, and reads of memory.
 */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

#include <stdint.h>

/* Runs `rounds` rounds of independent multiply-adds; gives the flops done.  `bf16` asks for
 * bf16 pairs; 0 where the processor has none.  *sink keeps the work alive. */
double bench_peak_round(int bf16, int64_t rounds, float *sink);

/* Sums n 64-byte lines. */
uint64_t bench_peak_read(const uint64_t *p, int64_t n_lines);

#endif
