/*
 * leaf_attention_few.h - attention of few columns, forward, for one path (see lanes.h).
 *
 * With one query of a few heads, as when text is generated, a strip would be nearly empty.
 * Here lanes lie along the head, one column after the other: q k of HN_LANES keys are as many
 * chains of sums that a transpose adds up; o gathers rows of values as they lie in memory.
 * Nothing is packed; the cache of keys and values is read once a column from L1 or L2 and
 * once from memory.  Formulas: leaf_attention.h.  Twin: attention of reference.
 */
LANE vf
few_madd(const int bf16, vf acc, vf a, vf b)
{
#ifdef HN_BF16
	if (bf16)
		return (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)a, (__m512bh)b);
#endif
	(void)bf16;
	return v_fma(a, b, acc);
}

/* q k of a register of keys from j: one chain of sums a key, added up by a transpose.  Keys
 * behind the last are the last again.  `registers`: of a head's words, when that is known. */
LANE vf
few_scores(const int bf16, const int registers, const struct hn_few *s, const float *q, int64_t j)
{
	const int64_t words = registers ? registers * HN_LANES : bf16 ? (s->k + 1) / 2 : s->k;
	const int64_t whole = words / HN_LANES * HN_LANES;
	vf v[HN_LANES], sum = v_set(0.0f);

#pragma GCC unroll 16
	for (int i = 0; i < HN_LANES; i++) {
		const float *key = s->key.p + (j + i < s->n ? j + i : s->n - 1) * s->key.ld;

		v[i] = v_set(0.0f);
#pragma GCC unroll 8
		for (int64_t w = 0; w < whole; w += HN_LANES)
			v[i] = few_madd(bf16, v[i], v_load(key + w), v_load(q + w));
		if (whole < words)
			v[i] = few_madd(bf16, v[i], v_load_n(key + whole, words - whole),
				v_load_n(q + whole, words - whole));
	}
	transpose(v);
#pragma GCC unroll 16
	for (int i = 0; i < HN_LANES; i++)
		sum += v[i];
	return sum;
}

/* p of one column over its scores; its maximum and sum move on.  Returns the correction. */
LANE float
few_softmax(const struct hn_few *s, int64_t column, const int bf16, const int registers)
{
	const int plain = s->softcap <= 0 && s->scale > 0;
	const float c = (plain ? s->scale : 1.0f) * LOG2_E, old = s->top[column];
	vf most = v_set(-INFINITY), total = v_set(0.0f);
	float top, shift, factor[HN_LANES];

	for (int64_t j = 0; j < s->n; j += HN_LANES) {
		vf v = few_scores(bf16, registers, s, s->q + column * s->ld_q, j);

		if (s->softcap > 0)
			v = cap_score(v, s->scale, s->softcap);
		else if (!plain)
			v *= v_set(s->scale);
		v = v_select(seen_lanes(j, s->low[column], s->high[column]), v, v_set(-INFINITY));
		v_store(s->scores + j, v);
		most = v_max(v, most);
	}
	top = v_top(most) * c;
	top = top > old ? top : old;
	shift = top > -INFINITY ? top : 0.0f;
	for (int64_t j = 0; j < s->n; j += HN_LANES) {
		const vf p = attend_exp2(0, v_fma(v_load(s->scores + j), v_set(c), v_set(-shift)));

		v_store(s->scores + j, p);
		total += p;
	}
	v_store(factor, v_exp2_low(v_set(old - shift)));
	s->top[column] = top;
	s->total[column] = s->total[column] * factor[0] + v_sum(total);
	return factor[0];
}

/* Registers [d, d + 4) of o = factor o + p v of one column; `whole`: the head has all four. */
LANE void
few_values(const int32_t dtype, const int whole, const struct hn_few *s, float *o, float factor,
	int64_t d)
{
	const uint8_t *row = s->value;
	const int64_t step = s->ld_value * hone_dtype_bytes(dtype);
	int64_t n[4];
	vf acc[4];

#pragma GCC unroll 4
	for (int i = 0; i < 4; i++) {
		const int64_t at = d + i * HN_LANES, left = s->k > at ? s->k - at : 0;

		n[i] = whole || left >= HN_LANES ? HN_LANES : left;
		acc[i] = n[i] ? v_load(o + at) * v_set(factor) : v_set(0.0f);
	}
	for (int64_t j = 0; j < s->n; j++, row += step) {
		const vf p = v_set(s->scores[j]);

#pragma GCC unroll 4
		for (int i = 0; i < 4; i++)
			if (n[i])
				acc[i] = v_fma(
					p, load_any(row, dtype, d + i * HN_LANES, n[i]), acc[i]);
	}
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++)
		if (n[i])
			v_store(o + d + i * HN_LANES, acc[i]);
}

LANE void
few_columns(const int bf16, const int32_t dtype, const int registers, const struct hn_few *s)
{
	for (int64_t column = 0; column < s->columns; column++) {
		const float factor = few_softmax(s, column, bf16, registers);
		float *o = s->o + column * s->ld_o;

		for (int64_t d = 0; d < s->k; d += 4 * HN_LANES)
			if (d + 4 * HN_LANES <= s->k)
				few_values(dtype, 1, s, o, factor, d);
			else
				few_values(dtype, 0, s, o, factor, d);
	}
}

/* Heads of 64 and 128 elements have code of their own. */
LANE void
few_types(const int bf16, const int32_t dtype, const struct hn_few *s)
{
	if (s->k == 64 && HN_LANES >= 8)
		few_columns(bf16, dtype, 64 / HN_LANES / (1 + bf16), s);
	else if (s->k == 128 && HN_LANES == 16)
		few_columns(bf16, dtype, 128 / HN_LANES / (1 + bf16), s);
	else
		few_columns(bf16, dtype, 0, s);
}

static void
attend_few(const struct hn_few *s)
{
#ifdef HN_BF16
	if (s->bf16 && s->value_dtype == HONE_DTYPE_BF16)
		few_types(1, HONE_DTYPE_BF16, s);
	else if (s->bf16)
		few_types(1, s->value_dtype, s);
	else
#endif
		if (s->value_dtype == HONE_DTYPE_F32)
		few_types(0, HONE_DTYPE_F32, s);
	else
		few_types(0, s->value_dtype, s);
}
