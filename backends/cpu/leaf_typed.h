/*
 * leaf_typed.h - loops that read and write bf16 or f32 themselves, for one path (see lanes.h):
 * where a step spends its time, blocks of f32 beside the operands would cost more than the work.
 *
 * Gates: a gated activation and its gradients in one pass,
 *
 *     s = f(x)   h = s u          du = d s   dx = f'(x) (d u)
 *
 * Values that commands of their own would have stored are rounded to the type on the way, so
 * the bits are those of the single commands (gate.c).  Forward: 2 reads, 1 or 2 writes, one
 * exponential an element.  RMS norms: two passes over a row in L1, sums in f32 of at most 1024
 * elements, then in double.  Rotations of heads: in place or not, one pass.
 */
LANE vf
typed_load(const int bf16, const void *p, int64_t i)
{
	return bf16 ? v_from_bf16((const uint16_t *)p + i) : v_load((const float *)p + i);
}

LANE void
typed_store(const int bf16, void *p, int64_t i, vf v)
{
	if (bf16)
		v_to_bf16((uint16_t *)p + i, v);
	else
		v_store((float *)p + i, v);
}

LANE vf
typed_round(const int bf16, vf v)
{
	uint16_t part[HN_LANES];

	if (!bf16)
		return v;
	v_to_bf16(part, v);
	return v_from_bf16(part);
}

LANE void
gate_vector(const int kind, const int bf16, const struct hn_gate *g, int64_t i)
{
	const vf s = typed_round(bf16, unary_value(kind, typed_load(bf16, g->x, i)));
	const vf h = s * typed_load(bf16, g->u, i);

	if (g->s)
		typed_store(bf16, g->s, i, s);
	typed_store(bf16, g->h, i, h);
}

LANE void
gate_back_vector(const int kind, const int bf16, const struct hn_gate_back *g, int64_t i)
{
	const vf d = typed_load(bf16, g->d, i);
	const vf t = typed_round(bf16, d * typed_load(bf16, g->u, i));
	const vf du = d * typed_load(bf16, g->s, i);
	const vf dx = unary_slope(kind, typed_load(bf16, g->x, i)) * t;

	typed_store(bf16, g->du, i, du);
	typed_store(bf16, g->dx, i, dx);
}

/* A row; the last elements pass through whole vectors of their own. */
LANE void
gate_row(const int kind, const int bf16, const struct hn_gate *g)
{
	const int64_t whole = g->n / HN_LANES * HN_LANES;
	const size_t at = (size_t)whole * (bf16 ? 2 : 4), rest = (size_t)(g->n - whole);
	const size_t bytes = rest * (bf16 ? 2 : 4);
	float part[4][HN_LANES] = {{0}};
	const struct hn_gate last = {.x = part[0], .u = part[1], .s = part[2], .h = part[3]};

	for (int64_t i = 0; i < whole; i += HN_LANES)
		gate_vector(kind, bf16, g, i);
	if (!rest)
		return;
	memcpy(part[0], (const uint8_t *)g->x + at, bytes);
	memcpy(part[1], (const uint8_t *)g->u + at, bytes);
	gate_vector(kind, bf16, &last, 0);
	if (g->s)
		memcpy((uint8_t *)g->s + at, part[2], bytes);
	memcpy((uint8_t *)g->h + at, part[3], bytes);
}

LANE void
gate_loop(const int kind, const int bf16, const struct hn_gate *g)
{
	const int64_t step = g->ld * (bf16 ? 2 : 4);
	struct hn_gate row = *g;

	for (int64_t r = 0; r < g->m; r++) {
		gate_row(kind, bf16, &row);
		row.x = (const uint8_t *)row.x + step;
		row.u = (const uint8_t *)row.u + step;
		row.s = row.s ? (uint8_t *)row.s + step : NULL;
		row.h = (uint8_t *)row.h + step;
	}
}

LANE void
gate_back_row(const int kind, const int bf16, const struct hn_gate_back *g)
{
	const int64_t whole = g->n / HN_LANES * HN_LANES;
	const size_t at = (size_t)whole * (bf16 ? 2 : 4), rest = (size_t)(g->n - whole);
	const size_t bytes = rest * (bf16 ? 2 : 4);
	float part[6][HN_LANES] = {{0}};
	const struct hn_gate_back last = {.x = part[0],
		.u = part[1],
		.s = part[2],
		.d = part[3],
		.dx = part[4],
		.du = part[5]};

	for (int64_t i = 0; i < whole; i += HN_LANES)
		gate_back_vector(kind, bf16, g, i);
	if (!rest)
		return;
	memcpy(part[0], (const uint8_t *)g->x + at, bytes);
	memcpy(part[1], (const uint8_t *)g->u + at, bytes);
	memcpy(part[2], (const uint8_t *)g->s + at, bytes);
	memcpy(part[3], (const uint8_t *)g->d + at, bytes);
	gate_back_vector(kind, bf16, &last, 0);
	memcpy((uint8_t *)g->dx + at, part[4], bytes);
	memcpy((uint8_t *)g->du + at, part[5], bytes);
}

LANE void
gate_back_loop(const int kind, const int bf16, const struct hn_gate_back *g)
{
	const int64_t step = g->ld * (bf16 ? 2 : 4);
	struct hn_gate_back row = *g;

	for (int64_t r = 0; r < g->m; r++) {
		gate_back_row(kind, bf16, &row);
		row.x = (const uint8_t *)row.x + step;
		row.u = (const uint8_t *)row.u + step;
		row.s = (const uint8_t *)row.s + step;
		row.d = (const uint8_t *)row.d + step;
		row.dx = (uint8_t *)row.dx + step;
		row.du = (uint8_t *)row.du + step;
	}
}

/* The kinds that gate: cpu_gate_find() knows the same list. */
#define GATE_CASE(kind, loop)                                                                      \
	case kind:                                                                                 \
		if (g->bf16)                                                                       \
			loop(kind, 1, g);                                                          \
		else                                                                               \
			loop(kind, 0, g);                                                          \
		break

static void
rows_gate(const struct hn_gate *g)
{
	switch (g->kind) {
		GATE_CASE(HONE_UNARY_SIGMOID, gate_loop);
		GATE_CASE(HONE_UNARY_SILU, gate_loop);
		GATE_CASE(HONE_UNARY_GELU, gate_loop);
		GATE_CASE(HONE_UNARY_GELU_TANH, gate_loop);
	}
}

static void
rows_gate_back(const struct hn_gate_back *g)
{
	switch (g->kind) {
		GATE_CASE(HONE_UNARY_SIGMOID, gate_back_loop);
		GATE_CASE(HONE_UNARY_SILU, gate_back_loop);
		GATE_CASE(HONE_UNARY_GELU, gate_back_loop);
		GATE_CASE(HONE_UNARY_GELU_TANH, gate_back_loop);
	}
}

/* The last elements, fewer than a register. */
LANE vf
typed_load_n(const int bf16, const void *p, int64_t i, int64_t n)
{
	uint16_t part[HN_LANES] = {0};

	if (n == HN_LANES)
		return typed_load(bf16, p, i);
	if (!bf16)
		return v_load_n((const float *)p + i, n);
	memcpy(part, (const uint16_t *)p + i, (size_t)n * 2);
	return v_from_bf16(part);
}

LANE void
typed_store_n(const int bf16, void *p, int64_t i, vf v, int64_t n)
{
	uint16_t part[HN_LANES];

	if (n == HN_LANES) {
		typed_store(bf16, p, i, v);
	} else if (!bf16) {
		v_store_n((float *)p + i, v, n);
	} else {
		v_to_bf16(part, v);
		memcpy((uint16_t *)p + i, part, (size_t)n * 2);
	}
}

/* ---- Rotation of a head ---- */

LANE void
rotate_halves(const int bf16, const struct hn_rotate *r)
{
	for (int64_t j = 0; j < r->n; j += HN_LANES) {
		const int64_t w = left(r->n, j);
		const vf c = v_load_n(r->cosine + j, w);
		const vf s = v_load_n(r->sine + j, w) * v_set(r->sign);
		const vf a = typed_load_n(bf16, r->x, j, w);
		const vf b = typed_load_n(bf16, r->x, r->n + j, w);

		typed_store_n(bf16, r->y, j, a * c - b * s, w);
		typed_store_n(bf16, r->y, r->n + j, b * c + a * s, w);
	}
}

LANE vf
swap_pairs(vf v)
{
#if HN_LANES == 16
	return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#elif HN_LANES == 8
	return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
#else
	return __builtin_shufflevector(v, v, 1, 0, 3, 2);
#endif
}

/* Pairs [j, j + lanes) of f32: both halves of a pair lie in one register. */
LANE void
rotate_pairs_f32(const struct hn_rotate *r, int64_t j, vf c, vf s)
{
	const vf a = typed_load(0, r->x, 2 * j), b = typed_load(0, r->x, 2 * j + HN_LANES);

	typed_store(0, r->y, 2 * j, a * zip_low(c, c) + swap_pairs(a) * zip_low(-s, s));
	typed_store(
		0, r->y, 2 * j + HN_LANES, b * zip_high(c, c) + swap_pairs(b) * zip_high(-s, s));
}

/* Pairs of bf16 are words. */
LANE void
rotate_pairs_bf16(const struct hn_rotate *r, int64_t j, vf c, vf s)
{
	uint16_t low[HN_LANES], high[HN_LANES];
	vh first, second;
	vu words;
	vf a, b;

	memcpy(&words, (const uint16_t *)r->x + 2 * j, sizeof words);
	a = (vf)(words << 16);
	b = (vf)(words & 0xffff0000u);
	v_to_bf16(low, a * c - b * s);
	v_to_bf16(high, b * c + a * s);
	memcpy(&first, low, sizeof first);
	memcpy(&second, high, sizeof second);
	words = (vu)v_widen(first) | (vu)v_widen(second) << 16;
	memcpy((uint16_t *)r->y + 2 * j, &words, sizeof words);
}

LANE void
rotate_pairs(const int bf16, const struct hn_rotate *r)
{
	int64_t j = 0;

	for (; j + HN_LANES <= r->n; j += HN_LANES) {
		const vf c = v_load(r->cosine + j), s = v_load(r->sine + j) * v_set(r->sign);

		if (bf16)
			rotate_pairs_bf16(r, j, c, s);
		else
			rotate_pairs_f32(r, j, c, s);
	}
	for (; j < r->n; j++) {
		const float c = r->cosine[j], s = r->sine[j] * r->sign;
		const vf x = typed_load_n(bf16, r->x, 2 * j, 2);
		const vf y = {x[0] * c - x[1] * s, x[1] * c + x[0] * s};

		typed_store_n(bf16, r->y, 2 * j, y, 2);
	}
}

static void
rows_rotate(const struct hn_rotate *r)
{
	if (r->interleaved && r->bf16)
		rotate_pairs(1, r);
	else if (r->interleaved)
		rotate_pairs(0, r);
	else if (r->bf16)
		rotate_halves(1, r);
	else
		rotate_halves(0, r);
}

/* ---- RMS norm ---- */

#define RMS_BLOCK 1024

/* Sum of x x, or (back) of dy w x. */
LANE double
rms_sum(const int bf16, const int back, const struct hn_rms *r)
{
	double sum = 0;

	for (int64_t from = 0; from < r->n; from += RMS_BLOCK) {
		const int64_t to = r->n - from < RMS_BLOCK ? r->n : from + RMS_BLOCK;
		vf acc[4] = {v_set(0.0f), v_set(0.0f), v_set(0.0f), v_set(0.0f)};
		int64_t i = from;

		for (; i + 4 * HN_LANES <= to; i += 4 * HN_LANES) {
#pragma GCC unroll 4
			for (int j = 0; j < 4; j++) {
				const int64_t at = i + j * HN_LANES;
				const vf x = typed_load(bf16, r->x, at);

				acc[j] = back
					? v_fma(typed_load(bf16, r->dy, at) * v_load(r->w + at), x,
						  acc[j])
					: v_fma(x, x, acc[j]);
			}
		}
		for (; i < to; i += HN_LANES) {
			const int64_t n = left(to, i);
			const vf x = typed_load_n(bf16, r->x, i, n);

			acc[0] = back
				? v_fma(typed_load_n(bf16, r->dy, i, n) * v_load_n(r->w + i, n), x,
					  acc[0])
				: v_fma(x, x, acc[0]);
		}
		sum += (double)v_sum((acc[0] + acc[1]) + (acc[2] + acc[3]));
	}
	return sum;
}

LANE float
rms_forward(const int bf16, const struct hn_rms *r, double eps)
{
	const float rstd = (float)(1 / sqrt(rms_sum(bf16, 0, r) / (double)r->n + eps));

	for (int64_t i = 0; i < r->n; i += HN_LANES) {
		const int64_t n = left(r->n, i);
		const vf x = typed_load_n(bf16, r->x, i, n) * v_set(rstd);

		typed_store_n(bf16, r->y, i, x * v_load_n(r->w + i, n), n);
	}
	return rstd;
}

/* dx = rstd (g - xhat mean(g xhat)) with g = dy w, xhat = x rstd. */
LANE void
rms_backward(const int bf16, const struct hn_rms *r, float rstd)
{
	const double mean = rms_sum(bf16, 1, r) * (double)rstd / (double)r->n;
	const vf along = v_set((float)(-mean * (double)rstd));

	for (int64_t i = 0; i < r->n; i += HN_LANES) {
		const int64_t n = left(r->n, i);
		const vf g = typed_load_n(bf16, r->dy, i, n) * v_load_n(r->w + i, n);
		const vf dx = v_fma(typed_load_n(bf16, r->x, i, n), along, g) * v_set(rstd);

		typed_store_n(bf16, r->y, i, dx, n);
	}
}

static float
rows_rms_norm(const struct hn_rms *r, double eps)
{
	return r->bf16 ? rms_forward(1, r, eps) : rms_forward(0, r, eps);
}

static void
rows_rms_norm_back(const struct hn_rms *r, float rstd)
{
	if (r->bf16)
		rms_backward(1, r, rstd);
	else
		rms_backward(0, r, rstd);
}
