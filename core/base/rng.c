/*
 * rng.c - Philox4x32-10, and what is made of its numbers.
 *
 * The counter words are c0 low, c0 high, c1 low, c1 high.  The 64-bit key is
 *
 *     key = mix(mix(seed + G) + stream),    mix = the finaliser of splitmix64
 *
 * with k0 its low half.  mix is a bijection, so for one seed two streams never share a key
 * (nor for one stream two seeds), and neighbouring seeds or streams give unrelated keys.
 * The rounds are those of hone/random.h, which every backend draws with;
 * test_rng_philox_known_answers() holds them to Random123's vectors.
 */
#include <math.h>
#include <string.h>
#include <xxhash.h>

#include <hone/random.h>

#include "base/arena.h"
#include "base/rng.h"

#define GOLDEN         0x9E3779B97F4A7C15u
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

void
hn_rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
	hone_philox(counter, key, out);
}

static uint64_t
mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

void
hn_rng_draw(uint64_t seed, uint64_t stream, uint64_t c0, uint64_t c1, uint32_t out[4])
{
	const uint64_t key = mix(mix(seed + GOLDEN) + stream);
	const uint32_t keys[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
	const uint32_t counter[4] = {
		(uint32_t)c0, (uint32_t)(c0 >> 32), (uint32_t)c1, (uint32_t)(c1 >> 32)};

	hn_rng_philox(counter, keys, out);
}

/* The draw as two 64-bit numbers. */
static void
draw_two(uint64_t seed, uint64_t stream, uint64_t c0, uint64_t c1, uint64_t out[2])
{
	uint32_t x[4];

	hn_rng_draw(seed, stream, c0, c1, x);
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

		hn_rng_draw(seed, stream, right, round, f);
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
