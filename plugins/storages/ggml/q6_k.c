/*
 * q6_k.c - 256 values in 210 bytes: sixteen runs of 16, each with an 8-bit scale.
 *
 *     u8 ql[128] | u8 qh[64] | i8 s[16] | f16 d          (the scale comes last here)
 *
 * In each half of 128 values (n = 0, 1), with g = 0..3 and l = 0..31:
 *
 *     x[128 n + 32 g + l] = d s[8 n + 2 g + l / 16] (u - 32)
 *     u = (lo for g < 2, hi else, of ql[64 n + 32 (g & 1) + l]) | (qh[32 n + l] >> 2 g & 3) << 4
 *
 * Read only, for the reason given in q4_k.c.
 */
#include "formats.h"

#define ELEMS 256
#define BYTES 210

static void
q6_k_decode(const void *self, const void *const *parts, int64_t first, int64_t n, float *dst)
{
	const struct ggml_decoders *decoders = self;

	decoders->f32[GGML_Q6_K]((const uint8_t *)parts[0] + first / ELEMS * BYTES, n, dst);
}

static void
q6_k_decode_bf16(
	const void *self, const void *const *parts, int64_t first, int64_t n, uint16_t *dst)
{
	const struct ggml_decoders *decoders = self;

	decoders->bf16[GGML_Q6_K]((const uint8_t *)parts[0] + first / ELEMS * BYTES, n, dst);
}

const struct hone_storage_vt ggml_q6_k = {
	.struct_size = sizeof(struct hone_storage_vt),
	.flags = HONE_STORAGE_WHOLE_ROWS,
	.id = "q6_k",
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.n_parts = 1,
	.decode = q6_k_decode,
	.decode_bf16 = q6_k_decode_bf16,
};
