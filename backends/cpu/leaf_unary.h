/*
 * leaf_unary.h - conversions, functions of one and of two values over contiguous f32, for one
 * path (see lanes.h).
 *
 * Each kind is a loop of its own: the evaluators are inlined with the kind as a constant.
 * Up to 12 cycles a vector for what needs an exponential, else memory-bound.  y may be the
 * same memory as x.  Twins: reference's elementwise.c and tensor.c.
 */
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
		return s +
			x * s * t * v_set(2 * GELU_TANH_B) * (one + v_set(3 * GELU_TANH_A) * x * x);
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
		const vf f = dy ? unary_slope(kind, v) * v_load_n(dy + i, w) : unary_value(kind, v);

		if (w == HN_LANES)
			v_store(y + i, f);
		else
			v_store_n(y + i, f, w);
	}
}

#define UNARY_CASE(kind)                                                                           \
	case kind:                                                                                 \
		if (back)                                                                          \
			unary_loop(kind, y, dy, x, n);                                             \
		else                                                                               \
			unary_loop(kind, y, NULL, x, n);                                           \
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
			v_store(y + i,
				binary_value(
					kind, v_load(a + i), b ? v_load(b + i) : v_set(scalar)));
		else
			v_store_n(y + i,
				binary_value(kind, v_load_n(a + i, w),
					b ? v_load_n(b + i, w) : v_set(scalar)),
				w);
	}
}

#define BINARY_CASE(kind)                                                                          \
	case kind:                                                                                 \
		if (b)                                                                             \
			binary_loop(kind, y, a, b, 0.0f, n);                                       \
		else                                                                               \
			binary_loop(kind, y, a, NULL, scalar, n);                                  \
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
