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
unpack_scale(const uint8_t *s, int j, int *scale, int *min)
{
	if (j < 4) {
		*scale = s[j] & 63;
		*min = s[j + 4] & 63;
	} else {
		*scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
		*min = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
	}
}

static void
decode_block(const uint8_t *block, float *dst)
{
	const float d = ggml_load_f16(block), dmin = ggml_load_f16(block + 2);
	const uint8_t *s = block + 4, *q = block + 16;

	for (int j = 0; j < 8; j++) {
		const uint8_t *run = q + 32 * (j / 2);
		const int shift = j % 2 * 4;
		int scale, min;
		float ds, dm;

		unpack_scale(s, j, &scale, &min);
		ds = d * (float)scale;
		dm = dmin * (float)min;
		for (int l = 0; l < 32; l++)
			dst[32 * j + l] = ds * (float)(run[l] >> shift & 15) - dm;
	}
}

static void
q4_k_decode(const void *self, const void *const *parts, int64_t first, int64_t n, float *dst)
{
	const uint8_t *block = (const uint8_t *)parts[0] + first / ELEMS * BYTES;

	(void)self;
	for (; n > 0; n -= ELEMS, block += BYTES, dst += ELEMS)
		decode_block(block, dst);
}

const struct hone_storage_vt ggml_q4_k = {
	.struct_size = sizeof(struct hone_storage_vt),
	.flags = HONE_STORAGE_WHOLE_ROWS,
	.id = "q4_k",
	.block_elems = ELEMS,
	.block_bytes = BYTES,
	.n_parts = 1,
	.decode = q4_k_decode,
};
