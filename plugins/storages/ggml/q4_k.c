/*
 * q4_k.c - 256 values in 144 bytes: eight runs of 32, each with a 6-bit scale and minimum.
 *
 *     f16 d | f16 dmin | u8 s[12] | u8 q[128]
 *
 *     x[32 j + l] = d S(j) u - dmin M(j)      u = lo(q[32 (j / 2) + l]) for even j, hi for odd
 *
 * The sixteen 6-bit numbers are packed into s: those of j < 4 in the low six bits of
 * s[0..7], those of j >= 4 as four bits in s[8..11] and two in the high bits of s[0..7].
 * Read only: ggml's encoder is a search, and a base is quantised before it comes here.
 */
#include "formats.h"

#define ELEMS 256
#define BYTES 144

static void
q4_k_decode(const void *self, const void *const *parts, int64_t first, int64_t n, float *dst)
{
	const struct ggml_decoders *decoders = self;

	decoders->f32[GGML_Q4_K]((const uint8_t *)parts[0] + first / ELEMS * BYTES, n, dst);
}

static void
q4_k_decode_bf16(
	const void *self, const void *const *parts, int64_t first, int64_t n, uint16_t *dst)
{
	const struct ggml_decoders *decoders = self;

	decoders->bf16[GGML_Q4_K]((const uint8_t *)parts[0] + first / ELEMS * BYTES, n, dst);
}

const struct hone_storage_vt ggml_q4_k = {
	.struct_size = sizeof(struct hone_storage_vt),
	.flags = HONE_STORAGE_WHOLE_ROWS,
	.id = "q4_k",
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.n_parts = 1,
	.decode = q4_k_decode,
	.decode_bf16 = q4_k_decode_bf16,
};
