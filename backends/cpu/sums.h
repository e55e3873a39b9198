/*
 * sums.h - sums over rows in an order that depends on the number of rows alone.
 */
#ifndef HN_CPU_SUMS_H
#define HN_CPU_SUMS_H

#include "cpu.h"

/* y [D] (+)= sum over n_rows of what `row` writes for columns [at, at + n). */
struct cpu_sums {
	const struct cpu_call *call;
	const void *ctx;
	void (*row)(const void *ctx, int64_t row, int64_t at, int64_t n, float *out);
	int64_t n_rows;
	struct cpu_mat y; /* f32; honours HONE_COMMAND_ACCUMULATE */
};

enum hone_status cpu_sum_rows(const struct cpu_sums *s, struct hone_error *err);

#endif
