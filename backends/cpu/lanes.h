/*
 * lanes.h - vectors of f32 for one kernel path: the few words that its kernels are written in.
 *
 * Not a header in the ordinary sense: each path_*.c defines HN_LANES (f32 per register) and
 * one of HN_AVX512, HN_AVX2 or neither, opens its compile target and includes kernels.h,
 * which includes this.  So every kernel is written once and compiled once per path.  Words
 * that the compiler's vector extension expresses well are plain C; the rest are intrinsics.
 *
 * v_exp, v_log, v_tanh: relative error below 3e-7 over the range of f32, subnormal results
 * flushed to zero; NaN and infinities come out as the C library's functions give them.
 */
#define LANE static inline __attribute__((always_inline, unused))

typedef float vf __attribute__((vector_size(HN_LANES * 4)));
typedef int32_t vi __attribute__((vector_size(HN_LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(HN_LANES * 4)));
typedef uint16_t vh __attribute__((vector_size(HN_LANES * 2)));

LANE vf
v_load(const float *p)
{
	vf v;

	memcpy(&v, p, sizeof v);
	return v;
}

LANE void
v_store(float *p, vf v)
{
	memcpy(p, &v, sizeof v);
}

/* The first n lanes; the others are 0.  Whole vectors are the case that must be fast. */
LANE vf
v_load_n(const float *p, int64_t n)
{
	if (n == HN_LANES)
		return v_load(p);
#ifdef HN_AVX512
	return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
#else
	vf v = {0};

	memcpy(&v, p, (size_t)n * 4);
	return v;
#endif
}

LANE void
v_store_n(float *p, vf v, int64_t n)
{
	if (n == HN_LANES) {
		v_store(p, v);
		return;
	}
#ifdef HN_AVX512
	_mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), (__m512)v);
#else
	memcpy(p, &v, (size_t)n * 4);
#endif
}

LANE vf
v_set(float x)
{
#if defined(HN_AVX512)
	return (vf)_mm512_set1_ps(x);
#elif defined(HN_AVX2)
	return (vf)_mm256_set1_ps(x);
#else
	return (vf){x, x, x, x};
#endif
}

/* a b + c, rounded once where the path has it. */
LANE vf
v_fma(vf a, vf b, vf c)
{
#if defined(HN_AVX512)
	return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(HN_AVX2)
	return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
	return a * b + c;
#endif
}

LANE vf
v_select(vi mask, vf a, vf b)
{
	return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

/* a > b ? a : b, so a NaN in `a` gives b. */
LANE vf
v_max(vf a, vf b)
{
#if defined(HN_AVX512)
	return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(HN_AVX2)
	return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
	return v_select(a > b, a, b);
#endif
}

LANE vf
v_min(vf a, vf b)
{
#if defined(HN_AVX512)
	return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(HN_AVX2)
	return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
	return v_select(a < b, a, b);
#endif
}

LANE vf
v_sqrt(vf a)
{
#if defined(HN_AVX512)
	return (vf)_mm512_sqrt_ps((__m512)a);
#elif defined(HN_AVX2)
	return (vf)_mm256_sqrt_ps((__m256)a);
#else
	return (vf){sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])};
#endif
}

LANE vf
v_abs(vf a)
{
	return (vf)((vi)a & 0x7fffffff);
}

/* Sums and maxima of a vector's lanes, by halves. */
LANE float
v_sum(vf v)
{
	float t[HN_LANES];

	memcpy(t, &v, sizeof t);
	for (int half = HN_LANES / 2; half; half /= 2)
		for (int i = 0; i < half; i++)
			t[i] += t[i + half];
	return t[0];
}

LANE float
v_top(vf v)
{
	float t[HN_LANES];

	memcpy(t, &v, sizeof t);
	for (int half = HN_LANES / 2; half; half /= 2)
		for (int i = 0; i < half; i++)
			t[i] = t[i] > t[i + half] ? t[i] : t[i + half];
	return t[0];
}

/* 16-bit lanes to 32 bits and back: the compilers split the widest vectors needlessly. */
LANE vu
v_widen(vh h)
{
#ifdef HN_AVX512
	return (vu)_mm512_cvtepu16_epi32((__m256i)h);
#else
	return __builtin_convertvector(h, vu);
#endif
}

LANE vh
v_narrow(vu u)
{
#ifdef HN_AVX512
	return (vh)_mm512_cvtepi32_epi16((__m512i)u);
#else
	return __builtin_convertvector(u, vh);
#endif
}

LANE vf
v_from_bf16(const uint16_t *p)
{
	vh h;

	memcpy(&h, p, sizeof h);
	return (vf)(v_widen(h) << 16);
}

/* Rounds to nearest, ties to even, as hone_bf16_from_f32 does; the bf16 path's instruction
 * takes subnormal numbers for 0. */
LANE void
v_to_bf16(uint16_t *p, vf v)
{
#ifdef HN_BF16
	const __m256bh h = _mm512_cvtneps_pbh((__m512)v);
#else
	const vu bits = (vu)v;
	const vu quiet = bits | 0x400000u;
	const vu round = bits + (0x7fffu + ((bits >> 16) & 1u));
	const vu nan = (vu)(v != v);
	const vh h = v_narrow(((nan & quiet) | (~nan & round)) >> 16);
#endif

	memcpy(p, &h, sizeof h);
}

LANE vf
v_from_f16(const uint16_t *p)
{
#if defined(HN_AVX512)
	return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
#elif defined(HN_AVX2)
	return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
#else
	return (vf){hone_f16_to_f32(p[0]), hone_f16_to_f32(p[1]), hone_f16_to_f32(p[2]),
		hone_f16_to_f32(p[3])};
#endif
}

/* 2^n for whole n in [-126, 127]. */
LANE vf
v_exp2_int(vf n)
{
	return (vf)((__builtin_convertvector(n, vi) + 127) << 23);
}

/* e^x for x <= 88: Cephes' polynomial after x = n ln 2 + r.  x < -87 gives 0, NaN a NaN. */
LANE vf
v_exp_low(vf x)
{
	const vf magic = v_set(12582912.0f);
	const vf n = (v_fma(x, v_set(1.44269504f), magic)) - magic;
	vf r = v_fma(n, v_set(-0.693359375f), x);
	vf p = v_set(1.9875691500e-4f);

	r = v_fma(n, v_set(2.12194440e-4f), r);
	p = v_fma(p, r, v_set(1.3981999507e-3f));
	p = v_fma(p, r, v_set(8.3334519073e-3f));
	p = v_fma(p, r, v_set(4.1665795894e-2f));
	p = v_fma(p, r, v_set(1.6666665459e-1f));
	p = v_fma(p, r, v_set(5.0000001201e-1f));
	p = v_fma(p, r * r, r + v_set(1.0f));
#ifdef HN_AVX512
	return (vf)_mm512_maskz_scalef_ps(
		_mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-87.0f), _CMP_NLT_UQ), (__m512)p,
		(__m512)n);
#else
	const vi zero = x < v_set(-87.0f);

	return v_select(zero, v_set(0.0f), p * v_exp2_int(v_select(zero, v_set(0.0f), n)));
#endif
}

/* 2^x for x <= 127 or so: Cephes' polynomial on [-1/2, 1/2].  x < -126 gives 0, NaN a NaN. */
LANE vf
v_exp2_low(vf x)
{
#ifdef HN_AVX512
	const vf n =
		(vf)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
	const vf magic = v_set(12582912.0f), n = (x + magic) - magic;
#endif
	const vf r = x - n;
	vf p = v_set(1.535336188e-4f);

	p = v_fma(p, r, v_set(1.339887440e-3f));
	p = v_fma(p, r, v_set(9.618437357e-3f));
	p = v_fma(p, r, v_set(5.550332471e-2f));
	p = v_fma(p, r, v_set(2.402264791e-1f));
	p = v_fma(p, r, v_set(6.931472029e-1f));
	p = v_fma(p, r, v_set(1.0f));
#ifdef HN_AVX512
	return (vf)_mm512_maskz_scalef_ps(
		_mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ), (__m512)p,
		(__m512)n);
#else
	const vi zero = x < v_set(-126.0f);

	return v_select(zero, v_set(0.0f),
		p * v_exp2_int(v_min(v_set(127.0f), v_select(zero, v_set(0.0f), n))));
#endif
}

/* e^x, infinite above 88.72. */
LANE vf
v_exp(vf x)
{
	const vf low = v_exp_low(v_select(x > v_set(88.0f), v_set(88.0f), x));
	const vf rest = v_exp_low(v_select(x > v_set(88.7228f), v_set(100.0f), x) - v_set(88.0f));
	const vf high = v_select(x > v_set(88.7228f), v_set(INFINITY), low * rest);

	return v_select(x > v_set(88.0f), high, low);
}

/* Natural logarithm: Cephes' polynomial on [sqrt(1/2), sqrt(2)). */
LANE vf
v_log(vf x)
{
	const vi tiny = x < v_set(1.17549435e-38f);
	const vf scaled = v_select(tiny, x * v_set(8388608.0f), x);
	const vi bits = (vi)scaled;
	vi e = ((bits >> 23) & 255) - 126 - (tiny & 23);
	vf m = (vf)((bits & 0x007fffff) | 0x3f000000);
	const vi small = m < v_set(0.707106781f);
	vf p = v_set(7.0376836292e-2f), n, z, y;

	m = m + v_select(small, m, v_set(0.0f)) - v_set(1.0f);
	e += small;
	n = __builtin_convertvector(e, vf);
	z = m * m;
	p = v_fma(p, m, v_set(-1.1514610310e-1f));
	p = v_fma(p, m, v_set(1.1676998740e-1f));
	p = v_fma(p, m, v_set(-1.2420140846e-1f));
	p = v_fma(p, m, v_set(1.4249322787e-1f));
	p = v_fma(p, m, v_set(-1.6668057665e-1f));
	p = v_fma(p, m, v_set(2.0000714765e-1f));
	p = v_fma(p, m, v_set(-2.4999993993e-1f));
	p = v_fma(p, m, v_set(3.3333331174e-1f));
	y = p * m * z;
	y = v_fma(n, v_set(-2.12194440e-4f), y);
	y = v_fma(z, v_set(-0.5f), y);
	y = v_fma(n, v_set(0.693359375f), m + y);
	y = v_select(x == v_set(0.0f), v_set(-INFINITY), y);
	y = v_select(x < v_set(0.0f), v_set(NAN), y);
	return v_select((x != x) | (x == v_set(INFINITY)), x, y);
}

/* a / b for b in [1, 8e37]: an estimate of 1 / b and one step of Newton where dividing costs
 * more than the rest of a function. */
LANE vf
v_ratio(vf a, vf b)
{
#ifdef HN_AVX512
	const vf r = (vf)_mm512_rcp14_ps((__m512)b);

	return a * v_fma(r, v_fma(-b, r, v_set(1.0f)), r);
#else
	return a / b;
#endif
}

/* v, but 0 where x < least. */
LANE vf
v_zero_below(vf v, vf x, float least)
{
#ifdef HN_AVX512
	return (vf)_mm512_maskz_mov_ps(
		_mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(least), _CMP_NLT_UQ), (__m512)v);
#else
	return v_select(x < v_set(least), v_set(0.0f), v);
#endif
}

/* 1 / (1 + e^-x) and its complement, 1 / (1 + e^x).  Nothing cancels on either side; e^87 and
 * what is divided by it are still numbers of full precision. */
LANE vf
v_sigmoid_both(vf x, vf *other)
{
	const vf e = v_exp_low(v_min(v_set(87.0f), -x));
	const vf r = v_ratio(v_set(1.0f), v_set(1.0f) + e);

	*other = e * r;
	return v_zero_below(r, x, -87.0f);
}

LANE vf
v_sigmoid(vf x)
{
	vf other;

	return v_sigmoid_both(x, &other);
}

LANE vf
v_tanh(vf x)
{
	const vf one = v_set(1.0f), a = v_abs(x), z = x * x;
	const vf e = v_exp_low(v_set(-2.0f) * a);
	const vf far = v_ratio(one - e, one + e);
	const vf signed_far = (vf)((vi)far | ((vi)x & (vi)v_set(-0.0f)));
	vf p = v_set(-5.70498872745e-3f);

	p = v_fma(p, z, v_set(2.06390887954e-2f));
	p = v_fma(p, z, v_set(-5.37397155531e-2f));
	p = v_fma(p, z, v_set(1.33314422036e-1f));
	p = v_fma(p, z, v_set(-3.33332819422e-1f));
	p = v_fma(p * z, x, x);
	return v_select(a < v_set(0.625f), p, v_select(x != x, x, signed_far));
}

/* The normal distribution's Phi(x) = erfc(-x / sqrt 2) / 2; erfc by the Chebyshev fit of
 * Numerical Recipes (relative error 1.2e-7). */
LANE vf
v_phi(vf x)
{
	const vf z = v_min(v_set(1e15f), v_abs(x) * v_set(0.70710678f));
	const vf t = v_ratio(v_set(1.0f), v_fma(z, v_set(0.5f), v_set(1.0f)));
	vf p = v_set(0.17087277f), half;

	p = v_fma(p, t, v_set(-0.82215223f));
	p = v_fma(p, t, v_set(1.48851587f));
	p = v_fma(p, t, v_set(-1.13520398f));
	p = v_fma(p, t, v_set(0.27886807f));
	p = v_fma(p, t, v_set(-0.18628806f));
	p = v_fma(p, t, v_set(0.09678418f));
	p = v_fma(p, t, v_set(0.37409196f));
	p = v_fma(p, t, v_set(1.00002368f));
	p = v_fma(p, t, v_set(-1.26551223f));
	half = v_set(0.5f) * t * v_exp_low(p - z * z);
	return v_select(x > v_set(0.0f), v_set(1.0f) - half, half);
}
