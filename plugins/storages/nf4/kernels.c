/*
 * kernels.c - a block of 64: decoding by table in registers, encoding by counting midpoints.
 *
 * The 16 products of code book and scale are one register of AVX-512 (two of AVX2), so
 * decoding is a permutation by the codes: per 16 weights a load, a doubling of bytes, a shift
 * and a permutation.  bf16 rounds the 16 products instead of the 64 weights.  Encoding is
 * written once and compiled for each processor: the code is the number of midpoints below x,
 * 15 comparisons without branches.  Each weight is one product of two f32 numbers wherever it
 * is formed, so all paths give the same bits.
 */
#include <math.h>

#include "nf4.h"

/* ---- encode ---- */

/* bitsandbytes' order of roundings: full blocks times the reciprocal, a short one divided. */
__attribute__((always_inline)) static inline float
encode_block(const float *src, int64_t n, uint8_t *codes)
{
	float scaled[NF4_BLOCK] = {0}, max = 0;
	uint8_t code[NF4_BLOCK] = {0};

	if (n == NF4_BLOCK) {
		float inverse;

		for (int i = 0; i < NF4_BLOCK; i++)
			max = fabsf(src[i]) > max ? fabsf(src[i]) : max;
		inverse = 1 / (max > NF4_SMALLEST ? max : NF4_SMALLEST);
		for (int i = 0; i < NF4_BLOCK; i++)
			scaled[i] = src[i] * inverse;
	} else {
		max = NF4_SMALLEST;
		for (int64_t i = 0; i < n; i++)
			max = fabsf(src[i]) > max ? fabsf(src[i]) : max;
		for (int64_t i = 0; i < n; i++)
			scaled[i] = src[i] / max;
	}
	for (int c = 0; c < 15; c++) {
		const float middle = (nf4_book[c] + nf4_book[c + 1]) / 2;

		for (int i = 0; i < NF4_BLOCK; i++)
			code[i] = (uint8_t)(code[i] + (scaled[i] > middle));
	}
	for (int i = 0; i < NF4_BLOCK_BYTES; i++)
		codes[i] = (uint8_t)(code[2 * i] << 4 | code[2 * i + 1]);
	return max;
}

static float
encode_portable(const float *src, int64_t n, uint8_t *codes)
{
	return encode_block(src, n, codes);
}

/* ---- decode ---- */

static void
decode_portable(const uint8_t *codes, float scale, int64_t n, float *dst)
{
	float book[16];

	for (int i = 0; i < 16; i++)
		book[i] = nf4_book[i] * scale;
	for (int64_t i = 0; i + 1 < n; i += 2) {
		dst[i] = book[codes[i / 2] >> 4];
		dst[i + 1] = book[codes[i / 2] & 15];
	}
	if (n % 2)
		dst[n - 1] = book[codes[n / 2] >> 4];
}

static void
decode_bf16_portable(const uint8_t *codes, float scale, int64_t n, uint16_t *dst)
{
	uint16_t book[16];

	for (int i = 0; i < 16; i++)
		book[i] = hone_bf16_from_f32(nf4_book[i] * scale);
	for (int64_t i = 0; i + 1 < n; i += 2) {
		dst[i] = book[codes[i / 2] >> 4];
		dst[i + 1] = book[codes[i / 2] & 15];
	}
	if (n % 2)
		dst[n - 1] = book[codes[n / 2] >> 4];
}

const struct nf4_kernels nf4_portable = {decode_portable, decode_bf16_portable, encode_portable};

#ifdef __x86_64__
#include <immintrin.h>

#define AVX2   __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

AVX2 static float
encode_avx2(const float *src, int64_t n, uint8_t *codes)
{
	return encode_block(src, n, codes);
}

/* Lanes: the codes of four bytes, high nibble first; bit 3 chooses the half of the book. */
AVX2 static void
decode_avx2(const uint8_t *codes, float scale, int64_t n, float *dst)
{
	const __m256 by = _mm256_set1_ps(scale);
	const __m256 low = _mm256_mul_ps(_mm256_loadu_ps(nf4_book), by);
	const __m256 high = _mm256_mul_ps(_mm256_loadu_ps(nf4_book + 8), by);
	const __m256i shift = _mm256_setr_epi32(4, 0, 4, 0, 4, 0, 4, 0);

	if (n < NF4_BLOCK) {
		decode_portable(codes, scale, n, dst);
		return;
	}
	for (int i = 0; i < NF4_BLOCK; i += 8) {
		const __m128i four = _mm_loadu_si32(codes + i / 2);
		const __m256i at = _mm256_srlv_epi32(
			_mm256_cvtepu8_epi32(_mm_unpacklo_epi8(four, four)), shift);
		const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(at, 28));

		_mm256_storeu_ps(dst + i,
			_mm256_blendv_ps(_mm256_permutevar8x32_ps(low, at),
				_mm256_permutevar8x32_ps(high, at), upper));
	}
}

static const struct nf4_kernels avx2 = {decode_avx2, decode_bf16_portable, encode_avx2};

AVX512 static float
encode_avx512(const float *src, int64_t n, uint8_t *codes)
{
	return encode_block(src, n, codes);
}

/* A permutation looks at the low 4 bits of a lane, so nothing is masked. */
AVX512 static void
decode_avx512(const uint8_t *codes, float scale, int64_t n, float *dst)
{
	const __m512 book = _mm512_mul_ps(_mm512_loadu_ps(nf4_book), _mm512_set1_ps(scale));
	const __m512i shift = _mm512_setr_epi32(4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0);

	if (n < NF4_BLOCK) {
		decode_portable(codes, scale, n, dst);
		return;
	}
	for (int i = 0; i < NF4_BLOCK; i += 16) {
		const __m128i eight =
			_mm_loadl_epi64((const __m128i *)(const void *)(codes + i / 2));
		const __m512i at = _mm512_srlv_epi32(
			_mm512_cvtepu8_epi32(_mm_unpacklo_epi8(eight, eight)), shift);

		_mm512_storeu_ps(dst + i, _mm512_permutexvar_ps(at, book));
	}
}

/* The 16 products in bf16 stand twice in a register of 32: the fifth bit of a lane, which
 * belongs to the other nibble, does not matter then. */
AVX512 static void
decode_bf16_avx512(const uint8_t *codes, float scale, int64_t n, uint16_t *dst)
{
	const __m512 product = _mm512_mul_ps(_mm512_loadu_ps(nf4_book), _mm512_set1_ps(scale));
	const __m512i bits = _mm512_castps_si512(product);
	const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
	const __m512i round = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
	const __m256i half =
		_mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_add_epi32(bits, round), 16));
	const __m512i book = _mm512_broadcast_i64x4(half);

	if (n < NF4_BLOCK) {
		decode_bf16_portable(codes, scale, n, dst);
		return;
	}
	for (int i = 0; i < NF4_BLOCK; i += 32) {
		const __m512i byte = _mm512_cvtepu8_epi32(
			_mm_loadu_si128((const __m128i *)(const void *)(codes + i / 2)));
		const __m512i at =
			_mm512_or_si512(_mm512_srli_epi32(byte, 4), _mm512_slli_epi32(byte, 16));

		_mm512_storeu_si512(dst + i, _mm512_permutexvar_epi16(at, book));
	}
}

static const struct nf4_kernels avx512 = {decode_avx512, decode_bf16_avx512, encode_avx512};

const struct nf4_kernels *
nf4_kernels_find(void)
{
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
		return &avx512;
	return __builtin_cpu_supports("avx2") ? &avx2 : &nf4_portable;
}
#else
const struct nf4_kernels *
nf4_kernels_find(void)
{
	return &nf4_portable;
}
#endif
