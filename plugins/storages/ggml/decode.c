/*
 * decode.c - the blocks of all formats to f32 and to bf16, compiled for each processor.
 *
 * How a block lies in memory stands in the file of its format.  The loops are written once, in
 * plain C without branches, so that a compiler turns each into the registers of the target it is
 * asked for; no target fuses a multiplication with an addition, so all paths give the same bits.
 * bf16 is the f32 of the block rounded, while it is in L1.
 */
#include <string.h>

#include "formats.h"

#define INLINE __attribute__((always_inline)) static inline

INLINE void
q4_0_block(const uint8_t *restrict block, float *restrict dst)
{
	const float d = ggml_load_f16(block);

	for (int i = 0; i < 16; i++) {
		const int q = block[2 + i];

		dst[i] = d * (float)((q & 15) - 8);
		dst[i + 16] = d * (float)((q >> 4) - 8);
	}
}

INLINE void
q4_1_block(const uint8_t *restrict block, float *restrict dst)
{
	const float d = ggml_load_f16(block), m = ggml_load_f16(block + 2);

	for (int i = 0; i < 16; i++) {
		const int q = block[4 + i];

		dst[i] = d * (float)(q & 15) + m;
		dst[i + 16] = d * (float)(q >> 4) + m;
	}
}

INLINE void
q8_0_block(const uint8_t *restrict block, float *restrict dst)
{
	const float d = ggml_load_f16(block);

	for (int i = 0; i < 32; i++)
		dst[i] = d * (float)(int8_t)block[2 + i];
}

/* The scale and the minimum of run j. */
INLINE void
q4_k_scale(const uint8_t *s, int j, int *scale, int *min)
{
	if (j < 4) {
		*scale = s[j] & 63;
		*min = s[j + 4] & 63;
	} else {
		*scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
		*min = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
	}
}

INLINE void
q4_k_block(const uint8_t *restrict block, float *restrict dst)
{
	const float d = ggml_load_f16(block), dmin = ggml_load_f16(block + 2);

	for (int j = 0; j < 8; j++) {
		const uint8_t *restrict run = block + 16 + 32 * (j / 2);
		const int shift = j % 2 * 4;
		int scale, min;
		float ds, dm;

		q4_k_scale(block + 4, j, &scale, &min);
		ds = d * (float)scale;
		dm = dmin * (float)min;
		for (int l = 0; l < 32; l++)
			dst[32 * j + l] = ds * (float)(run[l] >> shift & 15) - dm;
	}
}

/* Run i of 16 values: half i / 8, g = i / 2 % 4. */
INLINE void
q6_k_block(const uint8_t *restrict block, float *restrict dst)
{
	const float d = ggml_load_f16(block + 208);

	for (int i = 0; i < 16; i++) {
		const int half = i / 8, g = i / 2 % 4, at = i % 2 * 16;
		const uint8_t *restrict low = block + 64 * half + 32 * (g & 1) + at;
		const uint8_t *restrict high = block + 128 + 32 * half + at;
		const float scale = d * (float)(int8_t)block[192 + i];
		const int shift = g < 2 ? 0 : 4;

		for (int l = 0; l < 16; l++) {
			const int u = (low[l] >> shift & 15) | (high[l] >> 2 * g & 3) << 4;

			dst[16 * i + l] = scale * (float)(u - 32);
		}
	}
}

/* As hone_bf16_from_f32: to nearest, ties to even; what is no number, and quiet since it was computed,
 * stays none. */
INLINE void
round_block(const float *restrict src, int n, uint16_t *restrict dst)
{
	for (int i = 0; i < n; i++) {
		uint32_t bits, rounded;

		memcpy(&bits, &src[i], sizeof bits);
		rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
		dst[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 : rounded);
	}
}

/* One format on one path: blocks of `elems` values in `bytes` bytes. */
#define TO_F32(path, target, format, elems, bytes)                                                 \
	target static void format##_f32_##path(const uint8_t *block, int64_t n, float *dst)        \
	{                                                                                          \
		for (; n > 0; n -= elems, block += bytes, dst += elems)                            \
			format##_block(block, dst);                                                \
	}
#define TO_BF16(path, target, format, elems, bytes)                                                \
	target static void format##_bf16_##path(const uint8_t *block, int64_t n, uint16_t *dst)    \
	{                                                                                          \
		float some[elems];                                                                 \
                                                                                                   \
		for (; n > 0; n -= elems, block += bytes, dst += elems) {                          \
			format##_block(block, some);                                               \
			round_block(some, elems, dst);                                             \
		}                                                                                  \
	}
#define ALL(one, path, target)                                                                     \
	one(path, target, q4_0, 32, 18) one(path, target, q4_1, 32, 20) one(path, target, q8_0,    \
		32, 34) one(path, target, q4_k, 256, 144) one(path, target, q6_k, 256, 210)
#define TABLE(path)                                                                                \
	const struct ggml_decoders ggml_##path = {                                                 \
		.f32 = {q4_0_f32_##path, q4_1_f32_##path, q8_0_f32_##path, q4_k_f32_##path,        \
			q6_k_f32_##path},                                                          \
		.bf16 = {q4_0_bf16_##path, q4_1_bf16_##path, q8_0_bf16_##path, q4_k_bf16_##path,   \
			q6_k_bf16_##path},                                                         \
	}

ALL(TO_F32, portable, )
ALL(TO_BF16, portable, )
TABLE(portable);

#ifdef __x86_64__
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
/* No processor has AVX-512 without f16c. */
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,f16c")))
ALL(TO_F32, avx2, AVX2)
ALL(TO_BF16, avx2, AVX2)
TABLE(avx2);

ALL(TO_F32, avx512, AVX512)
TO_BF16(avx512, AVX512, q6_k, 256, 210)

/* ---- bf16 with AVX-512: of 4-bit codes the 16 values of a scale are rounded, not the weights ---- */

AVX512 INLINE __m512
wide_f16(const uint8_t *bytes)
{
	return _mm512_set1_ps(_cvtsh_ss((uint16_t)(bytes[0] | bytes[1] << 8)));
}

/* As round_block. */
AVX512 INLINE __m256i
round_16(__m512 values)
{
	const __m512i bits = _mm512_castps_si512(values), half = _mm512_srli_epi32(bits, 16);
	const __m512i odd = _mm512_and_si512(half, _mm512_set1_epi32(1));
	const __m512i rounded = _mm512_srli_epi32(
		_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);

	return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(
		rounded, _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q), half));
}

/* The values of 32 codes, one in the low 4 bits of each lane: the 16 stand in the register twice, so
 * that the fifth bit, which belongs to the other code of a byte, does not matter. */
AVX512 INLINE void
store_codes(uint16_t *dst, __m512 book, __m512i codes)
{
	const __m512i twice = _mm512_broadcast_i64x4(round_16(book));

	_mm512_storeu_si512(dst, _mm512_permutexvar_epi16(codes, twice));
}

/* 0 to 15. */
AVX512 INLINE __m512
all_codes(void)
{
	return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

/* 16 bytes: their low nibbles, then their high ones. */
AVX512 INLINE __m512i
low_then_high(const uint8_t *bytes)
{
	const __m256i wide =
		_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)bytes));

	return _mm512_inserti64x4(_mm512_castsi256_si512(wide), _mm256_srli_epi16(wide, 4), 1);
}

AVX512 static void
q4_0_bf16_avx512(const uint8_t *block, int64_t n, uint16_t *dst)
{
	const __m512 codes = _mm512_sub_ps(all_codes(), _mm512_set1_ps(8));

	for (; n > 0; n -= 32, block += 18, dst += 32)
		store_codes(dst, _mm512_mul_ps(wide_f16(block), codes), low_then_high(block + 2));
}

AVX512 static void
q4_1_bf16_avx512(const uint8_t *block, int64_t n, uint16_t *dst)
{
	for (; n > 0; n -= 32, block += 20, dst += 32)
		store_codes(dst,
			_mm512_add_ps(
				_mm512_mul_ps(wide_f16(block), all_codes()), wide_f16(block + 2)),
			low_then_high(block + 4));
}

AVX512 static void
q8_0_bf16_avx512(const uint8_t *block, int64_t n, uint16_t *dst)
{
	for (; n > 0; n -= 32, block += 34, dst += 32)
		for (int i = 0; i < 32; i += 16) {
			const __m512i q = _mm512_cvtepi8_epi32(
				_mm_loadu_si128((const __m128i *)(const void *)(block + 2 + i)));

			_mm256_storeu_si256((__m256i *)(void *)(dst + i),
				round_16(_mm512_mul_ps(wide_f16(block), _mm512_cvtepi32_ps(q))));
		}
}

AVX512 static void
q4_k_bf16_avx512(const uint8_t *block, int64_t n, uint16_t *dst)
{
	for (; n > 0; n -= 256, block += 144, dst += 256)
		for (int j = 0; j < 8; j++) {
			const __m512i bytes = _mm512_cvtepu8_epi16(_mm256_loadu_si256(
				(const __m256i *)(const void *)(block + 16 + 32 * (j / 2))));
			__m512 scaled, least;
			int scale, min;

			q4_k_scale(block + 4, j, &scale, &min);
			scaled = _mm512_mul_ps(wide_f16(block), _mm512_set1_ps((float)scale));
			least = _mm512_mul_ps(wide_f16(block + 2), _mm512_set1_ps((float)min));
			store_codes(dst + 32 * j,
				_mm512_sub_ps(_mm512_mul_ps(scaled, all_codes()), least),
				j % 2 ? _mm512_srli_epi16(bytes, 4) : bytes);
		}
}

TABLE(avx512);

const struct ggml_decoders *
ggml_decoders_find(void)
{
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
		return &ggml_avx512;
	return __builtin_cpu_supports("avx2") ? &ggml_avx2 : &ggml_portable;
}
#else
const struct ggml_decoders *
ggml_decoders_find(void)
{
	return &ggml_portable;
}
#endif
