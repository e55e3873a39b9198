/*
 * leaf_gate.h - a gated activation and its gradients in one pass, for one path (see lanes.h).
 *
 *     s = f(x)   h = s u          du = d s   dx = f'(x) (d u)
 *
 * Values that commands of their own would have stored are rounded to the type on the way, so
 * the bits are those of the single commands (gate.c); what is saved is the traffic and the
 * conversions between them.  Per element forward: 2 reads, 1 or 2 writes, one exponential.
 */
LANE vf
gate_load(const int bf16, const void *p, int64_t i)
{
	return bf16 ? v_from_bf16((const uint16_t *)p + i) : v_load((const float *)p + i);
}

LANE void
gate_store(const int bf16, void *p, int64_t i, vf v)
{
	if (bf16)
		v_to_bf16((uint16_t *)p + i, v);
	else
		v_store((float *)p + i, v);
}

LANE vf
gate_round(const int bf16, vf v)
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
	const vf s = gate_round(bf16, unary_value(kind, gate_load(bf16, g->x, i)));
	const vf h = s * gate_load(bf16, g->u, i);

	if (g->s)
		gate_store(bf16, g->s, i, s);
	gate_store(bf16, g->h, i, h);
}

LANE void
gate_back_vector(const int kind, const int bf16, const struct hn_gate_back *g, int64_t i)
{
	const vf d = gate_load(bf16, g->d, i);
	const vf t = gate_round(bf16, d * gate_load(bf16, g->u, i));
	const vf du = d * gate_load(bf16, g->s, i);
	const vf dx = unary_slope(kind, gate_load(bf16, g->x, i)) * t;

	gate_store(bf16, g->du, i, du);
	gate_store(bf16, g->dx, i, dx);
}

/* The last elements pass through whole vectors of their own. */
LANE void
gate_loop(const int kind, const int bf16, const struct hn_gate *g)
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
gate_back_loop(const int kind, const int bf16, const struct hn_gate_back *g)
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
