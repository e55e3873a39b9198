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
rows_normalize(
	float *y, const float *x, float mean, float rstd, const float *w, const float *b, int64_t n)
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
