/*
 * bench_peak.c - the machine's own ceilings, measured with the widest units it has: 24
 * independent accumulators hide the latency of the multiply-add on every core so far.
 */
#include "bench_peak.h"

#define ROUNDS 500000
#define TRIES  15

#ifdef __x86_64__
#include <immintrin.h>

#define CHAINS 24

__attribute__((target("avx512f"))) static float
peak_f32_512(int64_t rounds)
{
	const __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
	__m512 acc[CHAINS];

	for (int i = 0; i < CHAINS; i++)
		acc[i] = _mm512_set1_ps((float)i);
	for (int64_t r = 0; r < rounds; r++)
#pragma GCC unroll 24
		for (int i = 0; i < CHAINS; i++)
			acc[i] = _mm512_fmadd_ps(acc[i], x, y);
	for (int i = 1; i < CHAINS; i++)
		acc[0] = _mm512_add_ps(acc[0], acc[i]);
	return _mm512_reduce_add_ps(acc[0]);
}

__attribute__((target("avx512f,avx512bf16"))) static float
peak_bf16_512(int64_t rounds)
{
	const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f));
	__m512 acc[CHAINS];

	for (int i = 0; i < CHAINS; i++)
		acc[i] = _mm512_set1_ps((float)i);
	for (int64_t r = 0; r < rounds; r++)
#pragma GCC unroll 24
		for (int i = 0; i < CHAINS; i++)
			acc[i] = _mm512_dpbf16_ps(acc[i], x, x);
	for (int i = 1; i < CHAINS; i++)
		acc[0] = _mm512_add_ps(acc[0], acc[i]);
	return _mm512_reduce_add_ps(acc[0]);
}

__attribute__((target("avx2,fma"))) static float
peak_f32_256(int64_t rounds)
{
	const __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
	__m256 acc[CHAINS / 2];
	float t[8];

	for (int i = 0; i < CHAINS / 2; i++)
		acc[i] = _mm256_set1_ps((float)i);
	for (int64_t r = 0; r < rounds; r++)
#pragma GCC unroll 12
		for (int i = 0; i < CHAINS / 2; i++)
			acc[i] = _mm256_fmadd_ps(acc[i], x, y);
	for (int i = 1; i < CHAINS / 2; i++)
		acc[0] = _mm256_add_ps(acc[0], acc[i]);
	_mm256_storeu_ps(t, acc[0]);
	return t[0];
}

/* Runs `rounds` rounds of independent multiply-adds; gives the flops done.  `bf16` asks for
 * bf16 pairs; 0 where the processor has none.  *sink keeps the work alive. */
static double
peak_round(int bf16, int64_t rounds, float *sink)
{
	if (bf16 && __builtin_cpu_supports("avx512bf16")) {
		*sink = peak_bf16_512(rounds);
		return (double)rounds * CHAINS * 64;
	}
	if (bf16)
		return 0;
	if (__builtin_cpu_supports("avx512f")) {
		*sink = peak_f32_512(rounds);
		return (double)rounds * CHAINS * 32;
	}
	if (__builtin_cpu_supports("fma")) {
		*sink = peak_f32_256(rounds);
		return (double)rounds * CHAINS / 2 * 16;
	}
	*sink = 0;
	return 0;
}
#else
static double
peak_round(int bf16, int64_t rounds, float *sink)
{
	(void)bf16;
	(void)rounds;
	*sink = 0;
	return 0;
}
#endif

/* Sums n 64-byte lines. */
static uint64_t
sum_lines(const uint64_t *p, int64_t n_lines)
{
	uint64_t a = 0, b = 0, c = 0, d = 0;

	for (int64_t i = 0; i < n_lines; i++, p += 8) {
		a += p[0] + p[4];
		b += p[1] + p[5];
		c += p[2] + p[6];
		d += p[3] + p[7];
	}
	return a + b + c + d;
}

struct peak {
	int bf16;
	double flops; /* of a thread */
	float sink;
};

static void
peak_piece(void *ctx, int64_t i, int32_t worker)
{
	struct peak *p = ctx;
	float sink;
	const double flops = peak_round(p->bf16, ROUNDS, &sink);

	(void)worker;
	if (i == 0) {
		p->flops = flops;
		p->sink = sink;
	}
}

double
bench_now(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double
bench_best(struct hn_pool *pool, void (*piece)(void *ctx, int64_t i, int32_t worker), void *ctx,
	clockid_t clock)
{
	double least = 1e9;

	for (int r = 0; r < TRIES; r++) {
		const double begin = bench_now(clock);
		double took;

		hn_pool_run(pool, hn_pool_threads(pool), piece, ctx);
		took = bench_now(clock) - begin;
		least = took < least ? took : least;
	}
	return least;
}

double
bench_peak_flops(struct hn_pool *pool, int bf16, clockid_t clock)
{
	struct peak p = {.bf16 = bf16};
	const double s = bench_best(pool, peak_piece, &p, clock);

	return p.flops * hn_pool_threads(pool) / s;
}

struct reads {
	const uint64_t *memory;
	int64_t lines; /* of a thread */
	uint64_t sum;
};

static void
read_piece(void *ctx, int64_t i, int32_t worker)
{
	struct reads *r = ctx;
	const uint64_t sum = sum_lines(r->memory + i * r->lines * 8, r->lines);

	(void)worker;
	if (i == 0)
		r->sum = sum;
}

double
bench_peak_read(struct hn_pool *pool, const void *memory, uint64_t bytes, clockid_t clock)
{
	const int32_t n = hn_pool_threads(pool);
	struct reads r = {.memory = memory, .lines = (int64_t)(bytes / 64) / n};

	return (double)(r.lines * 64 * n) / bench_best(pool, read_piece, &r, clock);
}
