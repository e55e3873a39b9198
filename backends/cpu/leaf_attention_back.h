/*
 * leaf_attention_back.h - attention backward on strips, for one path (see lanes.h).
 *
 * For each tile of keys s and dp are formed as in the forward, then p and ds from both while
 * they are in L1.  p and ds are kept as rows [keys, columns]: the order in which dk and dv take
 * them, and in f32 also dq; in bf16 dq takes ds zipped by two keys, as the forward takes p.
 * Formulas: leaf_attention.h.  Twin: attention_back of reference.
 */
/* p and ds of one key and a panel; r is infinite where nothing is seen, so p = 0. */
struct attend_pair {
	vf p, ds;
};

struct attend_column {
	vf c, r, delta, scale;
};

LANE struct attend_pair
attend_score_back(const int bf16, const struct hn_strip *s, const struct attend_column *col,
	int masked, int p, int64_t key, vf raw, vf dp)
{
	struct attend_pair out;

	if (s->softcap > 0) {
		const vf capped = cap_score(raw, s->scale, s->softcap);
		const vf t = capped * v_set(1.0f / s->softcap);

		out.p = attend_exp2(bf16, v_fma(capped, v_set(LOG2_E), -col->r));
		out.ds = out.p * (v_set(1.0f) - t * t) * v_fma(dp, col->scale, -col->delta);
	} else {
		out.p = attend_exp2(bf16, v_fma(raw, col->c, -col->r));
		out.ds = out.p * v_fma(dp, col->scale, -col->delta);
	}
	if (masked) {
		const vi seen = attend_seen(s, p, key);

		out.p = v_select(seen, out.p, v_set(0.0f));
		out.ds = v_select(seen, out.ds, v_set(0.0f));
	}
	return out;
}

/* Two keys of a panel: p and ds as rows [keys, columns], ds also as dq wants it. */
LANE void
attend_keep(
	const int bf16, const struct hn_strip *s, int64_t key, int p, const struct attend_pair x[2])
{
	const int64_t at = key * s->ld_rows + p * HN_LANES;

#ifdef HN_BF16
	if (bf16) {
		const __m512i weight = attend_round(x[0].p, x[1].p);
		const __m512i ds = attend_round(x[0].ds, x[1].ds);
		uint16_t *out = (uint16_t *)s->p + at, *out_ds = (uint16_t *)s->ds + at;

		_mm256_storeu_si256((__m256i *)(void *)out, _mm512_castsi512_si256(weight));
		_mm256_storeu_si256((__m256i *)(void *)(out + s->ld_rows),
			_mm512_extracti64x4_epi64(weight, 1));
		_mm256_storeu_si256((__m256i *)(void *)out_ds, _mm512_castsi512_si256(ds));
		_mm256_storeu_si256(
			(__m256i *)(void *)(out_ds + s->ld_rows), _mm512_extracti64x4_epi64(ds, 1));
		v_store(s->ds_t + key / 2 * ATTEND_STRIP + p * HN_LANES, attend_zip(ds));
		return;
	}
#endif
	(void)bf16;
	for (int i = 0; i < 2; i++) {
		v_store(s->p + at + i * s->ld_rows, x[i].p);
		v_store(s->ds + at + i * s->ld_rows, x[i].ds);
	}
}

LANE void
attend_tile_back(const int bf16, const int masked, const struct hn_strip *s, int64_t t, int p,
	const float *scores, const float *dp)
{
	const vf lse = v_load(s->lse + p * HN_LANES);
	const struct attend_column col = {.c = v_set(s->scale * LOG2_E),
		.r = v_select(lse == v_set(-INFINITY), v_set(INFINITY), lse * v_set(LOG2_E)),
		.delta = v_load(s->delta + p * HN_LANES) * v_set(s->scale),
		.scale = v_set(s->scale)};

	for (int64_t r = 0; r < ATTEND_ROWS; r += 2) {
		struct attend_pair x[2];

#pragma GCC unroll 2
		for (int i = 0; i < 2; i++) {
			const int64_t at = (r + i) * ATTEND_STRIP + p * HN_LANES;

			x[i] = attend_score_back(bf16, s, &col, masked, p, t * ATTEND_ROWS + r + i,
				v_load(scores + at), v_load(dp + at));
		}
		attend_keep(bf16, s, t * ATTEND_ROWS + r, p, x);
	}
}

LANE void
attend_back_types(const int bf16, const struct hn_strip *s)
{
	float scores[ATTEND_ROWS * ATTEND_STRIP], dp[ATTEND_ROWS * ATTEND_STRIP];
	struct attend_reach reach;

	attend_look(s, &reach);
	for (int64_t t = 0; t < reach.tiles; t++) {
		const int from = reach.from[t], to = reach.to[t];
		const int masked = s->softcap > 0 || attend_masked(&reach, t, from, to);
		struct attend_product product = {.b = s->q + from * HN_LANES,
			.ldb = ATTEND_STRIP,
			.steps = s->words,
			.c = scores + from * HN_LANES,
			.ldc = ATTEND_STRIP};

		attend_fetch(s, &reach, t);
		if (from == to)
			continue;
		product.a = attend_tile(&s->key, s->n, t, &product.lda);
		attend_rows(bf16, to - from, ATTEND_STORE, &product);
		product.a = attend_tile(&s->value, s->n, t, &product.lda);
		product.b = s->dout + from * HN_LANES;
		product.c = dp + from * HN_LANES;
		attend_rows(bf16, to - from, ATTEND_STORE, &product);
		for (int p = from; p < to; p++) {
			if (masked)
				attend_tile_back(bf16, 1, s, t, p, scores, dp);
			else
				attend_tile_back(bf16, 0, s, t, p, scores, dp);
		}
		if (s->panels[2 * t] == s->panels[2 * t + 1])
			s->panels[2 * t] = (uint16_t)(s->panel + from);
		s->panels[2 * t + 1] = (uint16_t)(s->panel + to);
	}
	if (bf16)
		attend_gather(1, s, &reach, s->value_t, s->ds_t, ATTEND_STRIP, s->acc, NULL);
	else
		attend_gather(0, s, &reach, s->value_t, s->ds, s->ld_rows, s->acc, NULL);
}

static void
attend_back(const struct hn_strip *s)
{
#ifdef HN_BF16
	if (s->bf16) {
		attend_back_types(1, s);
		return;
	}
#endif
	attend_back_types(0, s);
}

/* dv += p do and dk += ds q over the columns of some strips. */
LANE void
attend_keys_types(const int bf16, const struct hn_strip_keys *s)
{
	const int64_t pair = bf16 ? 2 : 1, registers = s->wide / HN_LANES;

	for (int64_t t = 0; t * ATTEND_ROWS < s->n; t++) {
		const int64_t first = s->panels[2 * t] * HN_LANES / pair;
		const int64_t steps = s->panels[2 * t + 1] * HN_LANES / pair - first;
		const int64_t at = t * ATTEND_ROWS * s->ld_rows + first;
		int64_t nv;

		for (int64_t v = 0; v < registers && steps > 0; v += nv) {
			const int64_t c = t * ATTEND_ROWS * s->wide + v * HN_LANES;
			const int64_t b = first * s->wide + v * HN_LANES;
			struct attend_product product = {.a = s->p + at,
				.lda = s->ld_rows,
				.b = s->dout + b,
				.ldb = s->wide,
				.steps = steps,
				.c = s->dv + c,
				.ldc = s->wide};

			nv = registers - v == 4 ? 2 : registers - v < 3 ? registers - v : 3;
			attend_rows(bf16, nv, ATTEND_ADD, &product);
			product.a = s->ds + at;
			product.b = s->q + b;
			product.c = s->dk + c;
			attend_rows(bf16, nv, ATTEND_ADD, &product);
		}
	}
}

static void
attend_keys(const struct hn_strip_keys *s)
{
#ifdef HN_BF16
	if (s->bf16) {
		attend_keys_types(1, s);
		return;
	}
#endif
	attend_keys_types(0, s);
}
