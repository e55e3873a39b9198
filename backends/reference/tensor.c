/*
 * tensor.c - the elements of an operand as doubles, and the small helpers of all kernels.
 *
 * A double is rounded once.  f32 is the processor's own conversion.  bf16 and f16 go through
 * an f32 rounded to odd (its last bit set when anything was lost), from which the second
 * rounding gives what one rounding would have given: 24 bits are more than 11 + 2.
 */
#include "reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* v as an f32 rounded to odd. */
static float
to_odd(double v)
{
	float f = (float)v;
	uint32_t bits;

	if ((double)f == v || v != v)
		return f;
	memcpy(&bits, &f, sizeof bits);
	if (fabs((double)f) > fabs(v))
		bits--; /* towards zero */
	bits |= 1;
	memcpy(&f, &bits, sizeof f);
	return f;
}

/* The nearest binary16 of an f32, ties to even. */
static uint16_t
f16_from_f32(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof bits);
	const uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
	const uint32_t size = bits & 0x7fffffffu;

	if (size > 0x7f800000u)
		return (uint16_t)(sign | 0x7e00u);
	if (size >= 0x477ff000u) /* 65520: rounds to infinity */
		return (uint16_t)(sign | 0x7c00u);
	if (size < 0x33000000u) /* below half of the smallest subnormal */
		return sign;
	/* The mantissa with its leading bit, and how far it moves right: 13 bits for a normal
	 * result, more for a subnormal one, whose unit is 2^-24. */
	const uint32_t exponent = size >> 23;
	const uint32_t mantissa = (size & 0x7fffffu) | 0x800000u;
	const uint32_t shift = exponent >= 113 ? 13 : 126 - exponent;
	const uint32_t kept = mantissa >> shift;
	const uint32_t lost = mantissa & ((1u << shift) - 1), half = 1u << (shift - 1);
	const uint32_t rounded = kept + (lost > half || (lost == half && (kept & 1)));

	/* The leading bit of a normal mantissa adds the last 1 of its exponent. */
	return (uint16_t)(sign | (exponent >= 113 ? ((exponent - 113) << 10) + rounded : rounded));
}

/* Towards zero; beyond the range the nearest bound; NaN gives 0. */
static double
whole(double v, double low, double high)
{
	if (v != v)
		return 0;
	return v <= low ? low : v >= high ? high : trunc(v);
}

double
ref_get(const struct ref_tensor *t, int64_t i)
{
	const uint8_t *at = t->data + i * hone_dtype_bytes(t->dtype);
	uint16_t half;
	int32_t integer;
	float f;
	double d = 0;

	switch (t->dtype) {
	case HONE_DTYPE_F32:
		memcpy(&f, at, sizeof f);
		return (double)f;
	case HONE_DTYPE_BF16:
		memcpy(&half, at, sizeof half);
		return (double)hone_bf16_to_f32(half);
	case HONE_DTYPE_F16:
		memcpy(&half, at, sizeof half);
		return (double)hone_f16_to_f32(half);
	case HONE_DTYPE_I32:
		memcpy(&integer, at, sizeof integer);
		return (double)integer;
	case HONE_DTYPE_U8:
		return (double)*at;
	case HONE_DTYPE_F64:
		memcpy(&d, at, sizeof d);
		return d;
	default:
		return d;
	}
}

void
ref_put(const struct ref_tensor *t, int64_t i, double value)
{
	uint8_t *at = t->data + i * hone_dtype_bytes(t->dtype);
	const float f = (float)value;
	uint16_t half;
	int32_t integer;

	switch (t->dtype) {
	case HONE_DTYPE_F32:
		memcpy(at, &f, sizeof f);
		break;
	case HONE_DTYPE_BF16:
		half = hone_bf16_from_f32(to_odd(value));
		memcpy(at, &half, sizeof half);
		break;
	case HONE_DTYPE_F16:
		half = f16_from_f32(to_odd(value));
		memcpy(at, &half, sizeof half);
		break;
	case HONE_DTYPE_I32:
		integer = (int32_t)whole(value, INT32_MIN, INT32_MAX);
		memcpy(at, &integer, sizeof integer);
		break;
	case HONE_DTYPE_U8:
		*at = (uint8_t)whole(value, 0, UINT8_MAX);
		break;
	case HONE_DTYPE_F64:
		memcpy(at, &value, sizeof value);
		break;
	default:
		break;
	}
}

void
ref_put_sum(const struct ref_tensor *t, int64_t i, double value, bool accumulate)
{
	ref_put(t, i, accumulate ? ref_get(t, i) + value : value);
}

enum hone_status
ref_load_row(const struct ref_tensor *t, int64_t row, double *dst, struct hone_error *err)
{
	if (t->operand->storage)
		return ref_decode_row(t, row, dst, err);
	for (int64_t j = 0; j < t->cols; j++)
		dst[j] = ref_get(t, row * t->cols + j);
	return HONE_OK;
}

void
ref_store_row(const struct ref_tensor *t, int64_t row, const double *src)
{
	for (int64_t j = 0; j < t->cols; j++)
		ref_put(t, row * t->cols + j, src[j]);
}

double *
ref_scratch(int64_t rows, int64_t cols, struct hone_error *err)
{
	double *p = NULL;

	if (cols == 0 || rows <= INT64_MAX / 16 / cols)
		p = calloc((size_t)(rows * cols) + 1, sizeof *p);
	if (!p)
		(void)hone_fail(err, HONE_ENOMEM,
			"the reference backend has no memory for %lld x %lld numbers",
			(long long)rows, (long long)cols);
	return p;
}

enum hone_status
ref_segment(const struct ref_tensor *offsets, int64_t s, int64_t n, int64_t *begin, int64_t *end,
	struct hone_error *err)
{
	*begin = (int64_t)ref_get(offsets, s);
	*end = (int64_t)ref_get(offsets, s + 1);
	if (*begin < 0 || *begin > *end || *end > n)
		return hone_fail(err, HONE_EBUG, "segment %lld is rows %lld..%lld of %lld",
			(long long)s, (long long)*begin, (long long)*end, (long long)n);
	return HONE_OK;
}

double
ref_log_sum_exp(const double *x, int64_t n, int64_t stride)
{
	double max = -INFINITY, sum = 0;

	for (int64_t i = 0; i < n; i++)
		max = ref_max(max, x[i * stride]);
	if (isinf(max) || max != max)
		return max;
	for (int64_t i = 0; i < n; i++)
		sum += exp(x[i * stride] - max);
	return max + log(sum);
}
