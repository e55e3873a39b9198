/*
 * base/rng.h - random numbers of the host, by seed, stream and counter.
 *
 * They are made of the draws of hone/random.h, which says how (seed, stream) become a key.  A
 * number is a pure function of its arguments: nothing has a state that could be restored
 * wrongly, and the order of calls does not matter.  A stream is the hash of a name such as
 * "lora/model.layers.0.self_attn.q_proj/x".
 */
#ifndef HN_BASE_RNG_H
#define HN_BASE_RNG_H

#include <stdint.h>

/* 64-bit hash of a name: the key of its stream. */
uint64_t hn_rng_stream(const char *name);

/* One number in [0, 1) with 53 bits; in [0, n), 0 for n = 0; standard normal (Box-Muller on
 * one draw). */
double hn_rng_uniform(uint64_t seed, uint64_t stream, uint64_t c0, uint64_t c1);
uint64_t hn_rng_below(uint64_t seed, uint64_t stream, uint64_t c0, uint64_t c1, uint64_t n);
double hn_rng_normal(uint64_t seed, uint64_t stream, uint64_t c0, uint64_t c1);

/* A keyed permutation of [0, n): where index i < n goes.  A Feistel network with cycle walking,
 * so the position in shuffled data is one integer and nothing is stored. */
uint64_t hn_rng_permute(uint64_t seed, uint64_t stream, uint64_t i, uint64_t n);

#endif
