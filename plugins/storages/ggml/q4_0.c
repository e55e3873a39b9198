/*
 * q4_0.c - 32 values in 18 bytes: one scale, and nibbles that stand for -8 to 7.
 *
 *     f16 d | u8 q[16]          x[i] = d (lo(q[i]) - 8)          i < 16
 *                               x[i] = d (hi(q[i - 16]) - 8)     i >= 16
 *
 * Encoding: the value of largest magnitude becomes -8 exactly, d = it / -8; the others are
 * x / d + 8 rounded half up, at most 15.
 */
#include <math.h>

#include "formats.h"

#define ELEMS 32
#define BYTES 18

static void
q4_0_decode(const void *self, const void *const *parts, int64_t first, int64_t n, float *dst)
{
	const struct ggml_decoders *decoders = self;

	decoders->f32[GGML_Q4_0]((const uint8_t *)parts[0] + first / ELEMS * BYTES, n, dst);
}

static void
q4_0_decode_bf16(
	const void *self, const void *const *parts, int64_t first, int64_t n, uint16_t *dst)
{
	const struct ggml_decoders *decoders = self;

	decoders->bf16[GGML_Q4_0]((const uint8_t *)parts[0] + first / ELEMS * BYTES, n, dst);
}

static unsigned
quantize(float x, float inverse)
{
	const int q = (int)(x * inverse + 8.5f);

	return (unsigned)(q > 15 ? 15 : q);
}

static void
encode_block(const float *src, uint8_t *block)
{
	float largest = 0, d, inverse;

	for (int i = 0; i < ELEMS; i++)
		if (fabsf(src[i]) > fabsf(largest))
			largest = src[i];
	d = largest / -8;
	inverse = ggml_inverse(d);
	ggml_store_f16(block, d);
	for (int i = 0; i < ELEMS / 2; i++)
		block[2 + i] = (uint8_t)(quantize(src[i], inverse) |
			quantize(src[i + ELEMS / 2], inverse) << 4);
}

static void
q4_0_encode(const void *self, const float *src, int64_t first, int64_t n, void *const *parts)
{
	uint8_t *block = (uint8_t *)parts[0] + first / ELEMS * BYTES;

	(void)self;
	for (; n > 0; n -= ELEMS, block += BYTES, src += ELEMS)
		encode_block(src, block);
}

const struct hone_storage_vt ggml_q4_0 = {
	.struct_size = sizeof(struct hone_storage_vt),
	.flags = HONE_STORAGE_WHOLE_ROWS,
	.id = "q4_0",
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.n_parts = 1,
	.decode = q4_0_decode,
	.decode_bf16 = q4_0_decode_bf16,
	.encode = q4_0_encode,
};
