/*
 * q8_0.c - 32 values in 34 bytes: one scale and signed bytes.
 *
 *     f16 d | i8 q[32]          x[i] = d q[i]
 *
 * Encoding: d = max |x| / 127, q = x / d rounded half away from zero.  The quotient uses d
 * before it is rounded to f16, as ggml does, so the bytes are ggml's.
 */
#include <math.h>

#include "formats.h"

#define ELEMS 32
#define BYTES 34

static void
q8_0_decode(const void *self, const void *const *parts, int64_t first, int64_t n, float *dst)
{
	const struct ggml_decoders *decoders = self;

	decoders->f32[GGML_Q8_0]((const uint8_t *)parts[0] + first / ELEMS * BYTES, n, dst);
}

static void
q8_0_decode_bf16(
	const void *self, const void *const *parts, int64_t first, int64_t n, uint16_t *dst)
{
	const struct ggml_decoders *decoders = self;

	decoders->bf16[GGML_Q8_0]((const uint8_t *)parts[0] + first / ELEMS * BYTES, n, dst);
}

static void
encode_block(const float *src, uint8_t *block)
{
	float max = 0, d, inverse;

	for (int i = 0; i < ELEMS; i++)
		max = fmaxf(max, fabsf(src[i]));
	d = max / 127;
	inverse = ggml_inverse(d);
	ggml_store_f16(block, d);
	for (int i = 0; i < ELEMS; i++)
		block[2 + i] = (uint8_t)(int8_t)roundf(src[i] * inverse);
}

static void
q8_0_encode(const void *self, const float *src, int64_t first, int64_t n, void *const *parts)
{
	uint8_t *block = (uint8_t *)parts[0] + first / ELEMS * BYTES;

	(void)self;
	for (; n > 0; n -= ELEMS, block += BYTES, src += ELEMS)
		encode_block(src, block);
}

const struct hone_storage_vt ggml_q8_0 = {
	.struct_size = sizeof(struct hone_storage_vt),
	.flags = HONE_STORAGE_WHOLE_ROWS,
	.id = "q8_0",
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.n_parts = 1,
	.decode = q8_0_decode,
	.decode_bf16 = q8_0_decode_bf16,
	.encode = q8_0_encode,
};
