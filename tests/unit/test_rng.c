/*
 * test_rng.c - Philox against Random123's vectors; the moments of what is made of it; the
 * permutation is one.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hone/random.h>

#include "base/rng.h"
#include "support.h"

struct known_answer {
	uint32_t counter[4], key[2], answer[4];
};

/* The lines "philox4x32 10" of kat_vectors in the Random123 distribution. */
static const struct known_answer known_answers[] = {
	{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
	{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
		{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
	{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
		{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

/* Catches: any slip in rounds, constants or the order of words. */
static void
test_rng_philox_known_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof known_answers / sizeof known_answers[0]; i++) {
		const struct known_answer *known = &known_answers[i];
		uint32_t out[4];

		hone_philox(known->counter, known->key, out);
		assert_memory_equal(out, known->answer, sizeof out);
	}
}

/* Catches: another mix or another nesting in the key's derivation.  The numbers are the first
 * of SplitMix64 with seed 0, as its authors' code prints them: mix(G), mix(2 G), mix(3 G). */
static void
test_rng_mix_is_that_of_splitmix64(void **state)
{
	static const uint64_t first[] = {UINT64_C(0xE220A8397B1DCDAF), UINT64_C(0x6E789E6AA1B965F4),
		UINT64_C(0x06C45D188009454F)};
	const uint64_t increment = UINT64_C(0x9E3779B97F4A7C15);

	(void)state;
	for (uint64_t i = 0; i < 3; i++)
		assert_true(hone_random_mix((i + 1) * increment) == first[i]);
	assert_true(hone_random_key(0, 0) == hone_random_mix(first[0]));
	assert_true(hone_random_key(increment, 5) == hone_random_mix(first[1] + 5));
}

/* Catches: an argument that does not reach the draw, or two that reach it as a sum. */
static void
test_rng_each_argument_changes_the_draw(void **state)
{
	static const uint64_t at[][4] = {{0, 0, 0, 0}, {1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0},
		{0, 0, 0, 1}, {0, 0, (uint64_t)1 << 32, 0}, {0, 0, 0, (uint64_t)1 << 32},
		{(uint64_t)1 << 32, 0, 0, 0}, {0, (uint64_t)1 << 32, 0, 0}};
	enum { N = sizeof at / sizeof at[0] };
	uint32_t out[N][4];

	(void)state;
	for (size_t i = 0; i < N; i++) {
		hone_random_draw(at[i][0], at[i][1], at[i][2], at[i][3], out[i]);
		for (size_t j = 0; j < i; j++)
			assert_memory_not_equal(out[i], out[j], sizeof out[i]);
	}
}

/* Catches: streams whose names are cut or hashed to the same number. */
static void
test_rng_stream_differs_by_name(void **state)
{
	(void)state;
	assert_true(hn_rng_stream("lora/a/x") != hn_rng_stream("lora/b/x"));
	assert_true(hn_rng_stream("lora/a/x") == hn_rng_stream("lora/a/x"));
	/* XXH3_64bits("") with seed 0, from the specification of xxHash. */
	assert_true(hn_rng_stream("") == 0x2d06800538d394c2u);
}

/* Catches: a range that is open or closed at the wrong end, a lost half of the bits, and
 * neighbouring streams that go together.  Bounds are five standard errors. */
static void
test_rng_moments_of_uniform_and_normal(void **state)
{
	enum { N = 100000 };
	double mean = 0, square = 0, normal = 0, normal_square = 0, fourth = 0, product = 0;

	(void)state;
	for (uint64_t i = 0; i < N; i++) {
		double u = hn_rng_uniform(7, 1, i, 0), v = hn_rng_uniform(7, 2, i, 0);
		double z = hn_rng_normal(7, 3, i, 0);

		assert_true(u >= 0 && u < 1 && isfinite(z));
		mean += u / N;
		square += u * u / N;
		product += (u - 0.5) * (v - 0.5) / N;
		normal += z / N;
		normal_square += z * z / N;
		fourth += z * z * z * z / N;
	}
	assert_true(fabs(mean - 0.5) < 5 * sqrt(1.0 / 12 / N));
	assert_true(fabs(square - 1.0 / 3) < 5 * sqrt(4.0 / 45 / N));
	assert_true(fabs(product) < 5 / 12.0 / sqrt(N));
	assert_true(fabs(normal) < 5 / sqrt(N));
	assert_true(fabs(normal_square - 1) < 5 * sqrt(2.0 / N));
	assert_true(fabs(fourth - 3) < 5 * sqrt(96.0 / N));
}

/* Catches: a number outside of the range, a bias, and a product that wraps for a large n. */
static void
test_rng_below_fills_its_range_evenly(void **state)
{
	const uint64_t large = (uint64_t)3 << 62;
	int count[10] = {0}, n_high = 0;

	(void)state;
	for (uint64_t i = 0; i < 100000; i++) {
		uint64_t x = hn_rng_below(1, 2, i, 3, large);

		count[hn_rng_below(1, 2, i, 0, 10)]++;
		assert_true(x < large);
		n_high += x >= (uint64_t)1 << 63;
	}
	for (int i = 0; i < 10; i++)
		assert_in_range(count[i], 9500, 10500);
	assert_in_range(n_high, 32500, 34200);
	assert_true(hn_rng_below(1, 2, 3, 4, 1) == 0);
	assert_true(hn_rng_below(1, 2, 3, 4, 0) == 0);
}

static void
assert_bijection(uint64_t seed, uint64_t n)
{
	unsigned char *seen = test_calloc(n, 1);

	for (uint64_t i = 0; i < n; i++) {
		uint64_t to = hn_rng_permute(seed, 5, i, n);

		assert_true(to < n);
		assert_int_equal(seen[to], 0);
		seen[to] = 1;
	}
	test_free(seen);
}

/* Catches: rows that are seen twice or never in an epoch. */
static void
test_rng_permute_small_n_is_a_bijection(void **state)
{
	(void)state;
	for (uint64_t n = 1; n <= 300; n++)
		assert_bijection(n, n);
	assert_bijection(1, 65536);
	assert_bijection(2, 65537);
	assert_bijection(3, 99991);
}

/* Catches: halves that are cut to 32 bits, and an n near 2^64 that never ends. */
static void
test_rng_permute_large_n_stays_inside_and_apart(void **state)
{
	static const uint64_t ns[] = {
		(uint64_t)1 << 33, ((uint64_t)1 << 40) + 1, (uint64_t)1 << 62, UINT64_MAX};

	(void)state;
	for (size_t k = 0; k < sizeof ns / sizeof ns[0]; k++) {
		uint64_t to[300];
		int n_high = 0;

		for (uint64_t i = 0; i < 300; i++) {
			to[i] = hn_rng_permute(1, 2, i, ns[k]);
			assert_true(to[i] < ns[k]);
			n_high += to[i] >= ns[k] / 2;
			for (uint64_t j = 0; j < i; j++)
				assert_true(to[i] != to[j]);
		}
		assert_in_range(n_high, 100, 200);
	}
}

/* Catches: a network too short to shuffle: each place must hold each index about as often
 * over the seeds, and each of the six orders of three rows must come up. */
static void
test_rng_permute_places_are_even(void **state)
{
	int order[27] = {0}, place[10][10] = {{0}};

	(void)state;
	for (uint64_t seed = 0; seed < 6000; seed++) {
		order[9 * hn_rng_permute(seed, 1, 0, 3) + 3 * hn_rng_permute(seed, 1, 1, 3) +
			hn_rng_permute(seed, 1, 2, 3)]++;
		for (uint64_t i = 0; i < 10; i++)
			place[i][hn_rng_permute(seed, 1, i, 10)]++;
	}
	for (int i = 0; i < 27; i++)
		if (order[i])
			assert_in_range(order[i], 850, 1150);
	assert_true(order[5] && order[7] && order[11] && order[15] && order[19] && order[21]);
	for (int i = 0; i < 10; i++)
		for (int j = 0; j < 10; j++)
			assert_in_range(place[i][j], 480, 720);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rng_philox_known_answers),
		cmocka_unit_test(test_rng_mix_is_that_of_splitmix64),
		cmocka_unit_test(test_rng_each_argument_changes_the_draw),
		cmocka_unit_test(test_rng_stream_differs_by_name),
		cmocka_unit_test(test_rng_moments_of_uniform_and_normal),
		cmocka_unit_test(test_rng_below_fills_its_range_evenly),
		cmocka_unit_test(test_rng_permute_small_n_is_a_bijection),
		cmocka_unit_test(test_rng_permute_large_n_stays_inside_and_apart),
		cmocka_unit_test(test_rng_permute_places_are_even),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
