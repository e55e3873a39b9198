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
