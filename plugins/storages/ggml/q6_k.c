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
decode_half(const uint8_t *ql, const uint8_t *qh, const uint8_t *s, float d, float *dst)
{
	for (int g = 0; g < 4; g++) {
		const uint8_t *low = ql + 32 * (g & 1);

		for (int l = 0; l < 32; l++) {
			const int nibble = low[l] >> (g < 2 ? 0 : 4) & 15;
			const int u = nibble | (qh[l] >> 2 * g & 3) << 4;
			const float scale = d * (float)(int8_t)s[2 * g + l / 16];

			dst[32 * g + l] = scale * (float)(u - 32);
		}
	}
}

static void
q6_k_decode(const void *self, const void *const *parts, int64_t first, int64_t n, float *dst)
{
	const uint8_t *block = (const uint8_t *)parts[0] + first / ELEMS * BYTES;

	(void)self;
	for (; n > 0; n -= ELEMS, block += BYTES, dst += ELEMS)
		for (int half = 0; half < 2; half++)
			decode_half(block + 64 * half, block + 128 + 32 * half,
				block + 192 + 8 * half, ggml_load_f16(block + 208),
				dst + 128 * half);
}

const struct hone_storage_vt ggml_q6_k = {
	.struct_size = sizeof(struct hone_storage_vt),
	.flags = HONE_STORAGE_WHOLE_ROWS,
	.id = "q6_k",
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.n_parts = 1,
	.decode = q6_k_decode,
};
