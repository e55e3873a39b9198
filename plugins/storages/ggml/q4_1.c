/*
 * q4_1.c - 32 values in 20 bytes: scale, minimum, and nibbles from 0 to 15.
 *
 *     f16 d | f16 m | u8 q[16]     x[i] = d lo(q[i]) + m          i < 16
 *                                  x[i] = d hi(q[i - 16]) + m     i >= 16
 *
 * Encoding: m = min x, d = (max x - min x) / 15, q = (x - m) / d rounded half up.
 */
#include <math.h>

#include "formats.h"

#define ELEMS 32
#define BYTES 20

static void
q4_1_decode(const void *self, const void *const *parts, int64_t first, int64_t n, float *dst)
{
	const struct ggml_decoders *decoders = self;

	decoders->f32[GGML_Q4_1]((const uint8_t *)parts[0] + first / ELEMS * BYTES, n, dst);
}

static void
q4_1_decode_bf16(
	const void *self, const void *const *parts, int64_t first, int64_t n, uint16_t *dst)
{
	const struct ggml_decoders *decoders = self;

	decoders->bf16[GGML_Q4_1]((const uint8_t *)parts[0] + first / ELEMS * BYTES, n, dst);
}

static unsigned
quantize(float x, float m, float inverse)
{
	return (unsigned)((x - m) * inverse + 0.5f); /* at most 15.50001 */
}

static void
encode_block(const float *src, uint8_t *block)
{
	float min = src[0], max = src[0], d, inverse;

	for (int i = 1; i < ELEMS; i++) {
		min = fminf(min, src[i]);
		max = fmaxf(max, src[i]);
	}
	d = (max - min) / 15;
	inverse = ggml_inverse(d);
	ggml_store_f16(block, d);
	ggml_store_f16(block + 2, min);
	for (int i = 0; i < ELEMS / 2; i++)
		block[4 + i] = (uint8_t)(quantize(src[i], min, inverse) |
			quantize(src[i + ELEMS / 2], min, inverse) << 4);
}

static void
q4_1_encode(const void *self, const float *src, int64_t first, int64_t n, void *const *parts)
{
	uint8_t *block = (uint8_t *)parts[0] + first / ELEMS * BYTES;

	(void)self;
	for (; n > 0; n -= ELEMS, block += BYTES, src += ELEMS)
		encode_block(src, block);
}

const struct hone_storage_vt ggml_q4_1 = {
	.struct_size = sizeof(struct hone_storage_vt),
	.flags = HONE_STORAGE_WHOLE_ROWS,
	.id = "q4_1",
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.n_parts = 1,
	.decode = q4_1_decode,
	.decode_bf16 = q4_1_decode_bf16,
	.encode = q4_1_encode,
};
