/*
 * rng.c - what the host makes of Philox's numbers: streams by name, numbers in a range,
 * normal numbers, a permutation.
 *
 * The draw itself, its key and its counter are those of hone/random.h, so that the host's
 * numbers, a backend's and a plugin's are one generator.
 */
#include <math.h>
#include <string.h>
#include <xxhash.h>

#include <hone/random.h>

#include "base/arena.h"
#include "base/rng.h"

#define FEISTEL_ROUNDS 8
#define TWO_PI         6.283185307179586476925

/* Keeps permutations apart from the draws of the same stream: "permute" in ASCII. */
#define PERMUTE_DOMAIN 0x7065726D757465u

__extension__ typedef unsigned __int128 wide;

uint64_t
hn_rng_stream(const char *name)
{
	return XXH3_64bits(name, strlen(name));
}

/* The draw as two 64-bit numbers. */
static void
draw_two(uint64_t seed, uint64_t stream, uint64_t c0, uint64_t c1, uint64_t out[2])
{
	uint32_t x[4];

	hone_random_draw(seed, stream, c0, c1, x);
	out[0] = (uint64_t)x[1] << 32 | x[0];
	out[1] = (uint64_t)x[3] << 32 | x[2];
}

double
hn_rng_uniform(uint64_t seed, uint64_t stream, uint64_t c0, uint64_t c1)
{
	uint64_t x[2];

	draw_two(seed, stream, c0, c1, x);
	return (double)(x[0] >> 11) * 0x1p-53;
}

/* floor(x n / 2^128) of all 128 bits: no number is likelier than another by more than
 * n / 2^128, without a rejection that would need a second draw. */
uint64_t
hn_rng_below(uint64_t seed, uint64_t stream, uint64_t c0, uint64_t c1, uint64_t n)
{
	uint64_t x[2];

	draw_two(seed, stream, c0, c1, x);
	return (uint64_t)(((wide)x[1] * n + (uint64_t)((wide)x[0] * n >> 64)) >> 64);
}

/* sqrt(-2 ln u) cos(2 pi v) with u in (0, 1], so that the logarithm is finite. */
double
hn_rng_normal(uint64_t seed, uint64_t stream, uint64_t c0, uint64_t c1)
{
	uint64_t x[2];
	double u, v;

	draw_two(seed, stream, c0, c1, x);
	u = (double)((x[0] >> 11) + 1) * 0x1p-53;
	v = (double)(x[1] >> 11) * 0x1p-53;
	return sqrt(-2.0 * log(u)) * cos(TWO_PI * v);
}

/* One pass of the network over halves of `bits` bits: a bijection of [0, 4^bits). */
static uint64_t
feistel(uint64_t seed, uint64_t stream, uint64_t x, unsigned bits)
{
	const uint64_t mask = ((uint64_t)1 << bits) - 1;
	uint64_t left = x >> bits, right = x & mask;

	for (uint64_t round = 0; round < FEISTEL_ROUNDS; round++) {
		uint64_t other = right;
		uint32_t f[4];

		hone_random_draw(seed, stream, right, round, f);
		right = left ^ (f[0] & mask);
		left = other;
	}
	return left << bits | right;
}

/* The network permutes [0, 4^bits) with 4^bits the least such power >= n; walking on along
 * the cycle until a number is below n again is a permutation of [0, n).  4^bits < 4 n, so
 * that takes fewer than 4 passes on average. */
uint64_t
hn_rng_permute(uint64_t seed, uint64_t stream, uint64_t i, uint64_t n)
{
	unsigned bits = 1;

	HONE_BUG_ON(i >= n);
	while (bits < 32 && (uint64_t)1 << 2 * bits < n)
		bits++;
	do
		i = feistel(seed, stream ^ PERMUTE_DOMAIN, i, bits);
	while (i >= n);
	return i;
}
