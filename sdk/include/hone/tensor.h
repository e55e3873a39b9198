/*
 * hone/tensor.h - the closed list of element types, and small conversions.
 *
 * Types of graph values are closed: f32, bf16, f16, i32, u8, and f64, which only the
 * reference backend accepts (gradients are checked in it).  How weights are *stored* is an
 * open list of formats; see hone/storage.h.
 */
#ifndef HONE_TENSOR_H
#define HONE_TENSOR_H

#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HONE_MAX_RANK 4

enum hone_dtype {
	HONE_DTYPE_NONE = 0,
	HONE_DTYPE_F32 = 1,
	HONE_DTYPE_BF16 = 2,
	HONE_DTYPE_F16 = 3,
	HONE_DTYPE_I32 = 4,
	HONE_DTYPE_U8 = 5,
	HONE_DTYPE_F64 = 6,
};

/* Bytes of one element; 0 for a type that is not known.  [any thread, pure] */
static inline int64_t
hone_dtype_bytes(int32_t dtype)
{
	switch (dtype) {
	case HONE_DTYPE_F32:
	case HONE_DTYPE_I32:
		return 4;
	case HONE_DTYPE_BF16:
	case HONE_DTYPE_F16:
		return 2;
	case HONE_DTYPE_U8:
		return 1;
	case HONE_DTYPE_F64:
		return 8;
	default:
		return 0;
	}
}

/* "f32" ...; "none" for a type that is not known.  Static.  [any thread, pure] */
static inline const char *
hone_dtype_name(int32_t dtype)
{
	switch (dtype) {
	case HONE_DTYPE_F32:
		return "f32";
	case HONE_DTYPE_BF16:
		return "bf16";
	case HONE_DTYPE_F16:
		return "f16";
	case HONE_DTYPE_I32:
		return "i32";
	case HONE_DTYPE_U8:
		return "u8";
	case HONE_DTYPE_F64:
		return "f64";
	default:
		return "none";
	}
}

static inline float
hone_bf16_to_f32(uint16_t h)
{
	const uint32_t bits = (uint32_t)h << 16;
	float f;

	memcpy(&f, &bits, sizeof f);
	return f;
}

/* Rounds to nearest, ties to even; a NaN stays a NaN.  [any thread, pure] */
static inline uint16_t
hone_bf16_from_f32(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof bits);
	if ((bits & 0x7fffffffu) > 0x7f800000u)
		return (uint16_t)((bits >> 16) | 0x40u);
	return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* IEEE binary16 to f32, subnormals and infinities included.  [any thread, pure] */
static inline float
hone_f16_to_f32(uint16_t h)
{
	const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
	uint32_t exponent = (h >> 10) & 0x1fu, mantissa = h & 0x3ffu, bits;
	float f;

	if (exponent == 0x1f) {
		bits = sign | 0x7f800000u | (mantissa << 13);
	} else if (exponent) {
		bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
	} else if (mantissa) {
		exponent = 113;
		while (!(mantissa & 0x400u)) {
			mantissa <<= 1;
			exponent--;
		}
		bits = sign | (exponent << 23) | ((mantissa & 0x3ffu) << 13);
	} else {
		bits = sign;
	}
	memcpy(&f, &bits, sizeof f);
	return f;
}

/* f32 to IEEE binary16: to nearest, ties to even; too large becomes infinity, a NaN stays a
 * NaN.  [any thread, pure] */
static inline uint16_t
hone_f16_from_f32(float f)
{
	uint32_t bits, sign, mantissa, shift, half, rest, tie;
	int32_t exponent;

	memcpy(&bits, &f, sizeof bits);
	sign = (bits >> 16) & 0x8000u;
	bits &= 0x7fffffffu;
	if (bits > 0x7f800000u)
		return (uint16_t)(sign | 0x7e00u | ((bits >> 13) & 0x1ffu));
	if (bits >= 0x47800000u) /* 65536 and more, infinity */
		return (uint16_t)(sign | 0x7c00u);
	if (bits < 0x33000000u) /* below half of the smallest subnormal */
		return (uint16_t)sign;
	exponent = (int32_t)(bits >> 23) - 112;
	mantissa = bits & 0x7fffffu;
	shift = 13;
	if (exponent <= 0) { /* subnormal: the leading 1 is stored, nothing is implied */
		mantissa |= 0x800000u;
		shift = (uint32_t)(14 - exponent);
		exponent = 0;
	}
	half = ((uint32_t)exponent << 10) + (mantissa >> shift);
	rest = mantissa & ((1u << shift) - 1);
	tie = 1u << (shift - 1);
	if (rest > tie || (rest == tie && (half & 1u)))
		half++; /* may carry into the exponent, up to infinity: that is right */
	return (uint16_t)(sign | half);
}

#ifdef __cplusplus
}
#endif
#endif
