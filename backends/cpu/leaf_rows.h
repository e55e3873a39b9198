/*
 * leaf_rows.h - loops over contiguous f32, for one path (see lanes.h).
 *
 * The operations move blocks of a row through L1 as f32, so these loops know one type; what
 * they cost beyond memory traffic is hidden by it, except for exponentials.  y may be the
 * same memory as x everywhere.  Sums are formed in double: two half vectors of double a
 * vector of f32, four chains.  Twins: the files of reference with the operations' names.
 */
typedef double vd __attribute__((vector_size(HN_LANES * 4)));
typedef float vs __attribute__((vector_size(HN_LANES * 2)));

LANE vd
to_double(const float *p)
{
#ifdef HN_AVX512
	return (vd)_mm512_cvtps_pd(_mm256_loadu_ps(p));
#else
	vs s;

	memcpy(&s, p, sizeof s);
	return __builtin_convertvector(s, vd);
#endif
}

LANE double
sum_double(vd v)
{
	double t[HN_LANES / 2];

	memcpy(t, &v, sizeof t);
	for (int half = HN_LANES / 4; half; half /= 2)
		for (int i = 0; i < half; i++)
			t[i] += t[i + half];
	return t[0];
}

LANE int64_t
left(int64_t n, int64_t i)
{
	return n - i < HN_LANES ? n - i : HN_LANES;
}

/* ---- Types ---- */

LANE uint16_t
f16_bits(float f)
{
	uint32_t x, sign, a, half, shift, odd;

	memcpy(&x, &f, sizeof x);
	sign = (x >> 16) & 0x8000u;
	a = x & 0x7fffffffu;
	if (a > 0x7f800000u)
		return (uint16_t)(sign | 0x7e00u | ((a >> 13) & 0x3ffu));
	if (a >= 0x47800000u)
		return (uint16_t)(sign | 0x7c00u);
	if (a >= 0x38800000u) {
		half = a - 0x38000000u;
		return (uint16_t)(sign | ((half + 0xfffu + ((half >> 13) & 1u)) >> 13));
	}
	if (a < 0x33000000u)
		return (uint16_t)sign;
	shift = 126u - (a >> 23);
	half = (a & 0x7fffffu) | 0x800000u;
	odd = (half >> shift) & 1u;
	return (uint16_t)(sign | ((half + (1u << (shift - 1)) - 1u + odd) >> shift));
}

static void
rows_to_f32(float *y, const void *x, int32_t dtype, int64_t n)
{
	int64_t i = 0;

	if (dtype == HONE_DTYPE_I32) {
		for (; i < n; i++)
			y[i] = (float)((const int32_t *)x)[i];
	} else if (dtype == HONE_DTYPE_U8) {
		for (; i < n; i++)
			y[i] = (float)((const uint8_t *)x)[i];
	} else if (dtype == HONE_DTYPE_F32) {
		memmove(y, x, (size_t)n * 4);
	} else if (dtype == HONE_DTYPE_BF16) {
		for (; i + HN_LANES <= n; i += HN_LANES)
			v_store(y + i, v_from_bf16((const uint16_t *)x + i));
		for (; i < n; i++)
			y[i] = hone_bf16_to_f32(((const uint16_t *)x)[i]);
	} else {
		for (; i + HN_LANES <= n; i += HN_LANES)
			v_store(y + i, v_from_f16((const uint16_t *)x + i));
		for (; i < n; i++)
			y[i] = hone_f16_to_f32(((const uint16_t *)x)[i]);
	}
}

static void
rows_from_f32(void *y, int32_t dtype, const float *x, int64_t n)
{
	int64_t i = 0;

	if (dtype == HONE_DTYPE_F32) {
		memmove(y, x, (size_t)n * 4);
	} else if (dtype == HONE_DTYPE_BF16) {
		for (; i + HN_LANES <= n; i += HN_LANES)
			v_to_bf16((uint16_t *)y + i, v_load(x + i));
		for (; i < n; i++)
			((uint16_t *)y)[i] = hone_bf16_from_f32(x[i]);
	} else if (dtype == HONE_DTYPE_I32) {
		for (; i < n; i++)
			((int32_t *)y)[i] = x[i] != x[i] ? 0
				: x[i] >= 2147483648.0f  ? INT32_MAX
				: x[i] <= -2147483648.0f ? INT32_MIN
							 : (int32_t)x[i];
	} else if (dtype == HONE_DTYPE_U8) {
		for (; i < n; i++)
			((uint8_t *)y)[i] = !(x[i] > 0) ? 0 : x[i] >= 255 ? 255 : (uint8_t)x[i];
	} else {
		for (; i < n; i++)
			((uint16_t *)y)[i] = f16_bits(x[i]);
	}
}

/* ---- Unary ---- */

#define GELU_TANH_A 0.044715f
#define GELU_TANH_B 0.7978845608f

LANE vf
log_one_plus(vf e)
{
	const vf u = v_set(1.0f) + e;

	return v_log(u) + (e - (u - v_set(1.0f))) / u;
}

LANE vf
unary_value(const int kind, vf x)
{
	const vf one = v_set(1.0f), zero = v_set(0.0f);
	vf t;

	switch (kind) {
	case HONE_UNARY_NEG:
		return -x;
	case HONE_UNARY_EXP:
		return v_exp(x);
	case HONE_UNARY_LOG:
		return v_log(x);
	case HONE_UNARY_SQRT:
		return v_sqrt(x);
	case HONE_UNARY_RSQRT:
		return one / v_sqrt(x);
	case HONE_UNARY_SQUARE:
		return x * x;
	case HONE_UNARY_ABS:
		return v_abs(x);
	case HONE_UNARY_RECIPROCAL:
		return one / x;
	case HONE_UNARY_SIGMOID:
		return v_sigmoid(x);
	case HONE_UNARY_LOGSIGMOID:
		return v_select(x < zero, x, zero * x) - log_one_plus(v_exp_low(-v_abs(x)));
	case HONE_UNARY_SOFTPLUS:
		return v_select(x > zero, x, zero * x) + log_one_plus(v_exp_low(-v_abs(x)));
	case HONE_UNARY_TANH:
		return v_tanh(x);
	case HONE_UNARY_RELU:
		return v_select(x <= zero, zero, x);
	case HONE_UNARY_SILU:
		return x * v_sigmoid(x);
	case HONE_UNARY_GELU:
		return x * v_phi(x);
	case HONE_UNARY_GELU_TANH:
		t = v_set(GELU_TANH_B) * (x + v_set(GELU_TANH_A) * x * x * x);
		return x * v_sigmoid(t + t);
	default:
		return x * v_sigmoid(v_set(1.702f) * x);
	}
}

LANE vf
unary_slope(const int kind, vf x)
{
	const vf one = v_set(1.0f), zero = v_set(0.0f), half = v_set(0.5f);
	vf t, s, u;

	switch (kind) {
	case HONE_UNARY_NEG:
		return -one;
	case HONE_UNARY_EXP:
		return v_exp(x);
	case HONE_UNARY_LOG:
		return one / x;
	case HONE_UNARY_SQRT:
		return half / v_sqrt(x);
	case HONE_UNARY_RSQRT:
		return -half / (x * v_sqrt(x));
	case HONE_UNARY_SQUARE:
		return x + x;
	case HONE_UNARY_ABS:
		return v_select(x > zero, one, v_select(x < zero, -one, zero * x));
	case HONE_UNARY_RECIPROCAL:
		return -one / (x * x);
	case HONE_UNARY_SIGMOID:
		s = v_sigmoid_both(x, &t);
		return s * t;
	case HONE_UNARY_LOGSIGMOID:
		return v_sigmoid(-x);
	case HONE_UNARY_SOFTPLUS:
		return v_sigmoid(x);
	case HONE_UNARY_TANH:
		s = v_sigmoid_both(x + x, &t);
		return v_set(4.0f) * s * t;
	case HONE_UNARY_RELU:
		return v_select(x > zero, one, zero);
	case HONE_UNARY_SILU:
		s = v_sigmoid_both(x, &t);
		return s * (one + x * t);
	case HONE_UNARY_GELU:
		return v_phi(x) + x * v_set(0.39894228f) * v_exp_low(-half * x * x);
	case HONE_UNARY_GELU_TANH:
		t = v_set(2 * GELU_TANH_B) * (x + v_set(GELU_TANH_A) * x * x * x);
		s = v_sigmoid_both(t, &t);
		return s + x * s * t * v_set(2 * GELU_TANH_B) *
			(one + v_set(3 * GELU_TANH_A) * x * x);
	default:
		t = v_set(1.702f) * x;
		s = v_sigmoid_both(t, &u);
		return s * (one + t * u);
	}
}

LANE void
unary_loop(const int kind, float *y, const float *dy, const float *x, int64_t n)
{
	for (int64_t i = 0; i < n; i += HN_LANES) {
		const int64_t w = left(n, i);
		const vf v = w == HN_LANES ? v_load(x + i) : v_load_n(x + i, w);
		const vf f = dy ? unary_slope(kind, v) * v_load_n(dy + i, w)
				: unary_value(kind, v);

		if (w == HN_LANES)
			v_store(y + i, f);
		else
			v_store_n(y + i, f, w);
	}
}

#define UNARY_CASE(kind)                                                                       \
	case kind:                                                                             \
		if (back)                                                                      \
			unary_loop(kind, y, dy, x, n);                                         \
		else                                                                           \
			unary_loop(kind, y, NULL, x, n);                                       \
		break

LANE void
unary_kinds(const int back, int32_t kind, float *y, const float *dy, const float *x, int64_t n)
{
	switch (kind) {
		UNARY_CASE(HONE_UNARY_NEG);
		UNARY_CASE(HONE_UNARY_EXP);
		UNARY_CASE(HONE_UNARY_LOG);
		UNARY_CASE(HONE_UNARY_SQRT);
		UNARY_CASE(HONE_UNARY_RSQRT);
		UNARY_CASE(HONE_UNARY_SQUARE);
		UNARY_CASE(HONE_UNARY_ABS);
		UNARY_CASE(HONE_UNARY_RECIPROCAL);
		UNARY_CASE(HONE_UNARY_SIGMOID);
		UNARY_CASE(HONE_UNARY_LOGSIGMOID);
		UNARY_CASE(HONE_UNARY_SOFTPLUS);
		UNARY_CASE(HONE_UNARY_TANH);
		UNARY_CASE(HONE_UNARY_RELU);
		UNARY_CASE(HONE_UNARY_SILU);
		UNARY_CASE(HONE_UNARY_GELU);
		UNARY_CASE(HONE_UNARY_GELU_TANH);
		UNARY_CASE(HONE_UNARY_QUICK_GELU);
	}
}

static void
rows_unary(int32_t kind, float *y, const float *x, int64_t n)
{
	unary_kinds(0, kind, y, NULL, x, n);
}

static void
rows_unary_back(int32_t kind, float *dx, const float *dy, const float *x, int64_t n)
{
	unary_kinds(1, kind, dx, dy, x, n);
}

/* ---- Binary ---- */

LANE vf
binary_value(const int kind, vf a, vf b)
{
	switch (kind) {
	case HONE_BINARY_ADD:
		return a + b;
	case HONE_BINARY_SUB:
		return a - b;
	case HONE_BINARY_MUL:
		return a * b;
	case HONE_BINARY_DIV:
		return a / b;
	case HONE_BINARY_MIN:
		return v_select((a < b) | (a != a), a, b);
	case HONE_BINARY_MAX:
		return v_select((a > b) | (a != a), a, b);
	case HONE_BINARY_LESS:
		return v_select(a < b, v_set(1.0f), v_set(0.0f));
	default:
		return v_select(a == b, v_set(1.0f), v_set(0.0f));
	}
}

/* b, or the scalar where b is NULL. */
LANE void
binary_loop(const int kind, float *y, const float *a, const float *b, float scalar, int64_t n)
{
	for (int64_t i = 0; i < n; i += HN_LANES) {
		const int64_t w = left(n, i);

		if (w == HN_LANES)
			v_store(y + i, binary_value(kind, v_load(a + i), b ? v_load(b + i) : v_set(scalar)));
		else
			v_store_n(y + i,
				binary_value(kind, v_load_n(a + i, w),
					b ? v_load_n(b + i, w) : v_set(scalar)),
				w);
	}
}

#define BINARY_CASE(kind)                                                                      \
	case kind:                                                                             \
		if (b)                                                                         \
			binary_loop(kind, y, a, b, 0.0f, n);                                   \
		else                                                                           \
			binary_loop(kind, y, a, NULL, scalar, n);                              \
		break

LANE void
binary_kinds(int32_t kind, float *y, const float *a, const float *b, float scalar, int64_t n)
{
	switch (kind) {
		BINARY_CASE(HONE_BINARY_ADD);
		BINARY_CASE(HONE_BINARY_SUB);
		BINARY_CASE(HONE_BINARY_MUL);
		BINARY_CASE(HONE_BINARY_DIV);
		BINARY_CASE(HONE_BINARY_MIN);
		BINARY_CASE(HONE_BINARY_MAX);
		BINARY_CASE(HONE_BINARY_LESS);
		BINARY_CASE(HONE_BINARY_EQUAL);
	}
}

static void
rows_binary(int32_t kind, float *y, const float *a, const float *b, int64_t n)
{
	binary_kinds(kind, y, a, b, 0.0f, n);
}

static void
rows_binary_scalar(int32_t kind, float *y, const float *a, float b, int64_t n)
{
	binary_kinds(kind, y, a, NULL, b, n);
}

static void
rows_affine(float *y, const float *x, float alpha, float beta, int64_t n)
{
	for (int64_t i = 0; i < n; i += HN_LANES) {
		const int64_t w = left(n, i);

		v_store_n(y + i, v_load_n(x + i, w) * v_set(alpha) + v_set(beta), w);
	}
}

static void
rows_axpy(float *y, const float *x, float alpha, int64_t n)
{
	for (int64_t i = 0; i < n; i += HN_LANES) {
		const int64_t w = left(n, i);

		v_store_n(y + i, v_fma(v_load_n(x + i, w), v_set(alpha), v_load_n(y + i, w)), w);
	}
}

static void
rows_pick_max(float *y, const float *x, int64_t n)
{
	for (int64_t i = 0; i < n; i += HN_LANES) {
		const int64_t w = left(n, i);
		const vf a = v_load_n(y + i, w), b = v_load_n(x + i, w);

		v_store_n(y + i, v_select((b > a) | (b != b), b, a), w);
	}
}

/* ---- Reductions ---- */

/* sum of (a - shift_a) (b - shift_b) in double; b NULL stands for 1. */
LANE double
sum_products(const float *a, float shift, const float *b, const int square, int64_t n)
{
	vd acc[4] = {{0}};
	double tail = 0;
	int64_t i = 0;

	for (; i + 2 * HN_LANES <= n; i += 2 * HN_LANES) {
#pragma GCC unroll 4
		for (int j = 0; j < 4; j++) {
			const vd x = to_double(a + i + j * (HN_LANES / 2)) - (double)shift;

			if (square)
				acc[j] += x * x;
			else if (b)
				acc[j] += x * to_double(b + i + j * (HN_LANES / 2));
			else
				acc[j] += x;
		}
	}
	for (; i < n; i++) {
		const double x = (double)a[i] - (double)shift;

		tail += x * (square ? x : b ? (double)b[i] : 1.0);
	}
	return sum_double((acc[0] + acc[1]) + (acc[2] + acc[3])) + tail;
}

static double
rows_sum(const float *x, int64_t n)
{
	return sum_products(x, 0.0f, NULL, 0, n);
}

static double
rows_dot(const float *a, const float *b, int64_t n)
{
	return sum_products(a, 0.0f, b, 0, n);
}

static double
rows_square_about(const float *x, float mean, int64_t n)
{
	return sum_products(x, mean, NULL, 1, n);
}

/* The maximum; NaN if there is one: an ordered compare of the sum of x - x would not do, so
 * NaN lanes are gathered beside the maxima. */
static float
rows_top(const float *x, int64_t n)
{
	vf most[2] = {v_set(-INFINITY), v_set(-INFINITY)};
	vi odd = {0};
	int32_t any[HN_LANES], nan = 0;
	float top;
	int64_t i = 0;

	for (; i + 2 * HN_LANES <= n; i += 2 * HN_LANES) {
		const vf a = v_load(x + i), b = v_load(x + i + HN_LANES);

		most[0] = v_max(a, most[0]);
		most[1] = v_max(b, most[1]);
		odd |= (a != a) | (b != b);
	}
	top = v_top(v_max(most[0], most[1]));
	memcpy(any, &odd, sizeof any);
	for (int j = 0; j < HN_LANES; j++)
		nan |= any[j];
	for (; i < n; i++) {
		nan |= x[i] != x[i];
		top = x[i] > top ? x[i] : top;
	}
	return nan ? NAN : top;
}

static double
rows_sum_exp(const float *x, float top, int64_t n)
{
	const vf t = v_set(top);
	double sum = 0;

	for (int64_t from = 0; from < n; from += 1024) {
		const int64_t to = n - from < 1024 ? n : from + 1024;
		vf acc[2] = {v_set(0.0f), v_set(0.0f)};
		int64_t i = from;

		for (; i + 2 * HN_LANES <= to; i += 2 * HN_LANES) {
			acc[0] += v_exp_low(v_load(x + i) - t);
			acc[1] += v_exp_low(v_load(x + i + HN_LANES) - t);
		}
		sum += (double)v_sum(acc[0] + acc[1]);
		for (; i < to; i++)
			sum += exp((double)x[i] - (double)top);
	}
	return sum;
}

/* ---- Norms, softmax, rope, dropout, AdamW ---- */

static void
rows_normalize(float *y, const float *x, float mean, float rstd, const float *w, const float *b,
	int64_t n)
{
	for (int64_t i = 0; i < n; i += HN_LANES) {
		const int64_t k = left(n, i);
		vf v = (v_load_n(x + i, k) - v_set(mean)) * v_set(rstd);

		if (w)
			v *= v_load_n(w + i, k);
		if (b)
			v += v_load_n(b + i, k);
		v_store_n(y + i, v, k);
	}
}

static void
rows_softmax_grad(float *dx, const float *x, float lse, float d, float uniform, int64_t n)
{
	for (int64_t i = 0; i < n; i += HN_LANES) {
		const int64_t w = left(n, i);
		const vf p = v_exp_low(v_load_n(x + i, w) - v_set(lse));

		v_store_n(dx + i, (p - v_set(uniform)) * v_set(d), w);
	}
}

LANE vf
swap_pairs(vf v)
{
#if HN_LANES == 16
	return __builtin_shufflevector(
		v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#elif HN_LANES == 8
	return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
#else
	return __builtin_shufflevector(v, v, 1, 0, 3, 2);
#endif
}

static void
rotate_halves(const struct hn_rotate *r)
{
	for (int64_t j = 0; j < r->n; j += HN_LANES) {
		const int64_t w = left(r->n, j);
		const vf c = v_load_n(r->cosine + j, w);
		const vf s = v_load_n(r->sine + j, w) * v_set(r->sign);
		const vf a = v_load_n(r->x + j, w), b = v_load_n(r->x + r->n + j, w);

		v_store_n(r->y + j, a * c - b * s, w);
		v_store_n(r->y + r->n + j, b * c + a * s, w);
	}
}

static void
rotate_pairs(const struct hn_rotate *r)
{
	int64_t j = 0;

	for (; j + HN_LANES <= r->n; j += HN_LANES) {
		const vf c = v_load(r->cosine + j), s = v_load(r->sine + j) * v_set(r->sign);
		const vf a = v_load(r->x + 2 * j), b = v_load(r->x + 2 * j + HN_LANES);

		v_store(r->y + 2 * j, a * zip_low(c, c) + swap_pairs(a) * zip_low(-s, s));
		v_store(r->y + 2 * j + HN_LANES,
			b * zip_high(c, c) + swap_pairs(b) * zip_high(-s, s));
	}
	for (; j < r->n; j++) {
		const float c = r->cosine[j], s = r->sine[j] * r->sign;
		const float a = r->x[2 * j], b = r->x[2 * j + 1];

		r->y[2 * j] = a * c - b * s;
		r->y[2 * j + 1] = b * c + a * s;
	}
}

static void
rows_rotate(const struct hn_rotate *r)
{
	if (r->interleaved)
		rotate_pairs(r);
	else
		rotate_halves(r);
}

typedef uint64_t vq __attribute__((vector_size(HN_LANES * 4)));

/* The low halves of 64-bit lanes times a 32-bit constant. */
LANE vq
multiply_low(vq a, uint64_t b)
{
#if defined(HN_AVX512)
	return (vq)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64((long long)b));
#elif defined(HN_AVX2)
	return (vq)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x((long long)b));
#else
	return a * b;
#endif
}

/* Bits of the columns 4 group .. 4 group + 2 HN_LANES: HN_LANES / 2 draws of Philox4x32-10 in
 * the lanes of 64-bit vectors, then put in the order of the columns. */
LANE void
philox_lanes(const struct hn_keep *d, uint64_t group, uint32_t bits[2 * HN_LANES])
{
	const vq low = ((vq){0}) + UINT64_C(0xffffffff);
	uint64_t at[HN_LANES / 2], pair[2][HN_LANES / 2], order[HN_LANES];
	uint32_t k0 = d->key[0], k1 = d->key[1];
	vq c0 = ((vq){0}) + d->row[0], c1 = ((vq){0}) + d->row[1], c2, c3;

	for (uint64_t i = 0; i < HN_LANES / 2; i++)
		at[i] = group + i;
	memcpy(&c2, at, sizeof c2);
	c3 = c2 >> 32;
	c2 &= low;
#pragma GCC unroll 10
	for (int round = 0; round < 10; round++) {
		const vq p0 = multiply_low(c0, UINT64_C(0xD2511F53));
		const vq p1 = multiply_low(c2, UINT64_C(0xCD9E8D57));


		c0 = (p1 >> 32) ^ c1 ^ (uint64_t)k0;
		c2 = (p0 >> 32) ^ c3 ^ (uint64_t)k1;
		c1 = p1 & low;
		c3 = p0 & low;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	c0 |= c1 << 32;
	c2 |= c3 << 32;
	memcpy(pair[0], &c0, sizeof c0);
	memcpy(pair[1], &c2, sizeof c2);
	for (int i = 0; i < HN_LANES / 2; i++) {
		order[2 * i] = pair[0][i];
		order[2 * i + 1] = pair[1][i];
	}
	memcpy(bits, order, sizeof order);
}

static void
rows_keep(const struct hn_keep *d)
{
	for (int64_t i = 0; i < d->n; i += 2 * HN_LANES) {
		uint32_t bits[2 * HN_LANES];

		philox_lanes(d, (uint64_t)(d->column + i) / 4, bits);
		for (int64_t j = i; j < i + 2 * HN_LANES && j < d->n; j += HN_LANES) {
			const int64_t w = left(d->n, j);
			vu draw;
			vf v;

			memcpy(&draw, bits + (j - i), sizeof draw);
			v = v_load_n(d->x + j, w) * v_set(d->factor);
			v_store_n(d->y + j,
				v_select((vi)(draw >> 8) >= (int32_t)d->threshold, v, v_set(0.0f)),
				w);
		}
	}
}

/* Loshchilov and Hutter 2019 as PyTorch computes it; 7 memory streams of f32. */
static void
rows_adamw(const struct hn_adamw *u, int64_t n)
{
	for (int64_t i = 0; i < n; i += HN_LANES) {
		const int64_t w = left(n, i);
		const vf g = v_load_n(u->g + i, w) * v_set(u->factor);
		const vf m = v_load_n(u->m + i, w) * v_set(u->beta1) + v_set(u->gain1) * g;
		const vf v = v_load_n(u->v + i, w) * v_set(u->beta2) + v_set(u->gain2) * g * g;
		const vf p = v_load_n(u->p + i, w) * v_set(u->decay);

		v_store_n(u->m + i, m, w);
		v_store_n(u->v + i, v, w);
		v_store_n(u->p + i,
			p - v_set(u->step) * m / (v_sqrt(v) * v_set(u->root) + v_set(u->eps)), w);
	}
}
