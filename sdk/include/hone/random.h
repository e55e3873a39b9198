/*
 * hone/random.h - the random numbers that every backend draws alike: Philox4x32-10.
 *
 * Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".  A number is
 * a pure function of (seed, stream, counter): no state, no order, nothing to restore.  The
 * counter of a dropout mask is (row key, column), and a row key is (example's index in the
 * step, position in its segment): never a row number, a node index or a rank.
 *
 * The derivation, for the host, for every backend and for plugins:
 *
 *     key     = mix(mix(seed + G) + stream)      64 bits, the low half is the first key word
 *     counter = (c0 low, c0 high, c1 low, c1 high)
 *
 * with mix the finaliser of SplitMix64 (Steele, Lea, Flood 2014) and G its increment.  mix is
 * a bijection: for one seed two streams never share a key, nor for one stream two seeds, and
 * neighbouring seeds or streams give unrelated keys.
 *
 * All functions: [any thread, pure].
 */
#ifndef HONE_RANDOM_H
#define HONE_RANDOM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline void
hone_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
	uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
	uint32_t k0 = key[0], k1 = key[1];

	for (int round = 0; round < 10; round++) {
		const uint64_t p0 = UINT64_C(0xD2511F53) * c0;
		const uint64_t p1 = UINT64_C(0xCD9E8D57) * c2;
		const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
		const uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;

		c1 = (uint32_t)p1;
		c3 = (uint32_t)p0;
		c0 = n0;
		c2 = n2;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	out[0] = c0;
	out[1] = c1;
	out[2] = c2;
	out[3] = c3;
}

/* The finaliser of SplitMix64: a bijection of 64 bits. */
static inline uint64_t
hone_random_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

/* Key of (seed, stream), as above. */
static inline uint64_t
hone_random_key(uint64_t seed, uint64_t stream)
{
	return hone_random_mix(hone_random_mix(seed + UINT64_C(0x9E3779B97F4A7C15)) + stream);
}

/* Four 32-bit numbers at counter (c0, c1).  [any thread, pure] */
static inline void
hone_random_draw(uint64_t seed, uint64_t stream, uint64_t c0, uint64_t c1, uint32_t out[4])
{
	const uint64_t z = hone_random_key(seed, stream);
	const uint32_t key[2] = {(uint32_t)z, (uint32_t)(z >> 32)};
	const uint32_t counter[4] = {
		(uint32_t)c0, (uint32_t)(c0 >> 32), (uint32_t)c1, (uint32_t)(c1 >> 32)};

	hone_philox(counter, key, out);
}

/* The dropout draw: a number in [0, 1) with 24 bits for column j of the row with key
 * (example, position).  One draw serves four neighbouring columns.  [any thread, pure] */
static inline float
hone_random_uniform(
	uint64_t seed, uint64_t stream, int32_t example, int32_t position, int64_t column)
{
	uint32_t four[4];
	const uint64_t row = ((uint64_t)(uint32_t)example << 32) | (uint32_t)position;

	hone_random_draw(seed, stream, row, (uint64_t)column >> 2, four);
	return (float)(four[column & 3] >> 8) * (1.0f / 16777216.0f);
}

#ifdef __cplusplus
}
#endif
#endif
