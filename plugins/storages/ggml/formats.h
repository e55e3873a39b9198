/*
 * formats.h - the formats of this plugin, each in the file of its name.
 *
 * All are ggml's block formats: along a row, 32 or 256 values share a scale.  f16 numbers
 * are little-endian; "lo" and "hi" are the nibbles of a byte.
 */
#ifndef GGML_FORMATS_H
#define GGML_FORMATS_H

#include <float.h>
#include <math.h>

#include <hone/storage.h>

extern const struct hone_storage_vt ggml_q4_0, ggml_q4_1, ggml_q8_0, ggml_q4_k, ggml_q6_k;

enum ggml_format { GGML_Q4_0, GGML_Q4_1, GGML_Q8_0, GGML_Q4_K, GGML_Q6_K, GGML_FORMATS };

/* n values of whole blocks, as f32 or as bf16. */
struct ggml_decoders {
	void (*f32[GGML_FORMATS])(const uint8_t *block, int64_t n, float *dst);
	void (*bf16[GGML_FORMATS])(const uint8_t *block, int64_t n, uint16_t *dst);
};

/* Those of each path, and the best that this processor has: an instance of a format is these. */
extern const struct ggml_decoders ggml_portable, ggml_avx2, ggml_avx512;
const struct ggml_decoders *ggml_decoders_find(void);

/* The f16 at `bytes`, whatever its alignment. */
static inline float
ggml_load_f16(const uint8_t *bytes)
{
	return hone_f16_to_f32((uint16_t)(bytes[0] | bytes[1] << 8));
}

static inline void
ggml_store_f16(uint8_t *bytes, float value)
{
	const uint16_t h = hone_f16_from_f32(value);

	bytes[0] = (uint8_t)(h & 0xff);
	bytes[1] = (uint8_t)(h >> 8);
}

/* 1 / d.  A scale so small that this would be infinite is 0 in f16, so 0 does. */
static inline float
ggml_inverse(float d)
{
	return fabsf(d) >= FLT_MIN ? 1 / d : 0;
}

#endif
