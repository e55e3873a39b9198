/*
 * leaf_attention.h - softmax on tiles of attention scores, for one path (see lanes.h).
 *
 * Exponentials are taken to base 2, so that scaling, shifting and the change of base are one
 * multiply-add: with c = scale log2 e, maximum t (in units of log 2) and sum l of a row,
 *     t' = max(t, max c q.k)   p = 2^(c q.k - t')   f = 2^(t - t')
 *     l' = f l + sum p         o' = f o
 * where keys outside [low, high) count as -infinity.  A softcap is applied to the scores
 * first, in place.  Backward, with r = lse log2 e:
 *     p = 2^(c q.k - r)        ds = p (dp - delta) scale [1 - (s / cap)^2]
 *
 * Maxima and sums of the lanes of a row are formed for HN_LANES rows together, by a
 * transpose.  Per score: one exponential (ten operations) and three or four others; the tile
 * stays in L1.  Twin: attention and attention_back of reference.
 */
#define HN_KEYS_MAX 256 /* keys of a tile at most */
#define LOG2_E      1.44269504f

LANE vi
seen_lanes(int64_t j, int32_t low, int32_t high)
{
	int32_t at[HN_LANES];
	vi index;

	for (int i = 0; i < HN_LANES; i++)
		at[i] = i;
	memcpy(&index, at, sizeof index);
	index += (int32_t)j;
	return (index >= low) & (index < high);
}

LANE vf
cap_score(vf s, float scale, float cap)
{
	return v_set(cap) * v_tanh(s * v_set(scale / cap));
}

LANE void
store_compute(const int bf16, void *p, int64_t at, vf v)
{
	if (bf16)
		v_to_bf16((uint16_t *)p + at, v);
	else
		v_store((float *)p + at, v);
}

/* Scores become scaled and capped ones: the caller goes on with a scale of 1. */
static void
cap_scores(const struct hn_softmax *s)
{
	for (int64_t i = 0; i < s->m; i++)
		for (int64_t j = 0; j < s->n; j += HN_LANES) {
			float *at = s->scores + i * s->lds + j;

			v_store(at,
				s->softcap > 0 ? cap_score(v_load(at), s->scale, s->softcap)
					       : v_load(at) * v_set(s->scale));
		}
}

/* Lane-wise maxima of c times a row's seen scores; c > 0. */
LANE vf
row_maxima(const struct hn_softmax *s, int64_t i, float c, const int masked)
{
	const float *scores = s->scores + i * s->lds;
	vf most = v_set(-INFINITY);

	for (int64_t j = 0; j < s->n; j += HN_LANES) {
		vf v = v_load(scores + j);

		if (masked)
			v = v_select(seen_lanes(j, s->low[i], s->high[i]), v, v_set(-INFINITY));
		most = v_max(v, most);
	}
	return most * v_set(c);
}

/* p of a row and the lane-wise sums of it. */
LANE vf
row_weights(const struct hn_softmax *s, const int bf16, int64_t i, float c, float shift,
	const int masked)
{
	const float *scores = s->scores + i * s->lds;
	vf total = v_set(0.0f);

	for (int64_t j = 0; j < s->n; j += HN_LANES) {
		vf p = v_exp2_low(v_fma(v_load(scores + j), v_set(c), v_set(-shift)));

		if (masked)
			p = v_select(seen_lanes(j, s->low[i], s->high[i]), p, v_set(0.0f));
		total += p;
		store_compute(bf16, s->p, i * s->ldp + j, p);
	}
	return total;
}

/* Rows [i, i + m), m at most HN_LANES. */
LANE void
softmax_rows(const struct hn_softmax *s, const int bf16, int64_t i, int64_t m, float c)
{
	vf lanes[HN_LANES], top = v_set(-INFINITY), sum = v_set(0.0f), factor;
	const vf old = v_load_n(s->top + i, m);
	float shift[HN_LANES], f[HN_LANES];
	int masked[HN_LANES];

	for (int64_t r = 0; r < HN_LANES; r++) {
		lanes[r] = v_set(-INFINITY);
		if (r >= m)
			continue;
		masked[r] = s->low[i + r] > 0 || s->high[i + r] < s->n || s->n % HN_LANES;
		lanes[r] = masked[r] ? row_maxima(s, i + r, c, 1) : row_maxima(s, i + r, c, 0);
	}
	transpose(lanes);
	for (int r = 0; r < HN_LANES; r++)
		top = v_max(lanes[r], top);
	top = v_max(top, old);
	v_store(shift, v_select(top > v_set(-INFINITY), top, v_set(0.0f)));
	factor = v_exp2_low(old - v_load(shift));
	v_store(f, factor);
	for (int64_t r = 0; r < HN_LANES; r++) {
		lanes[r] = v_set(0.0f);
		if (r >= m)
			continue;
		lanes[r] = masked[r] ? row_weights(s, bf16, i + r, c, shift[r], 1)
				     : row_weights(s, bf16, i + r, c, shift[r], 0);
	}
	transpose(lanes);
	for (int r = 0; r < HN_LANES; r++)
		sum += lanes[r];
	v_store_n(s->total + i, v_fma(v_load_n(s->total + i, m), factor, sum), m);
	v_store_n(s->top + i, top, m);
	for (int64_t r = 0; r < m; r++) {
		float *out = s->out + (i + r) * s->ldo;

		for (int64_t j = 0; j < s->head_dim && f[r] != 1.0f; j += HN_LANES)
			v_store(out + j, v_load(out + j) * v_set(f[r]));
	}
}

static void
softmax(const struct hn_softmax *s)
{
	const int first = s->softcap > 0 || s->scale <= 0;
	const float c = (first ? 1.0f : s->scale) * LOG2_E;

	if (first)
		cap_scores(s);
	for (int64_t i = 0; i < s->m; i += HN_LANES) {
		const int64_t m = s->m - i < HN_LANES ? s->m - i : HN_LANES;

		if (s->bf16)
			softmax_rows(s, 1, i, m, c);
		else
			softmax_rows(s, 0, i, m, c);
	}
}

/* ---- Backward ---- */

struct score_pair {
	vf p, ds;
};

/* What a row needs of its statistics: r is infinite where nothing is seen, so p = 0. */
struct row_back {
	const float *scores, *dp;
	float r, delta;
	int32_t low, high;
};

LANE struct row_back
row_of(const struct hn_softmax_back *b, int64_t i)
{
	return (struct row_back){.scores = b->scores + i * b->lds,
		.dp = b->dp + i * b->lds,
		.r = b->lse[i] == -INFINITY ? INFINITY : b->lse[i] * LOG2_E,
		.delta = b->delta[i],
		.low = b->low[i],
		.high = b->high[i]};
}

/* p and ds of keys j.. of a row. */
LANE struct score_pair
score_back(const int capped, const struct hn_softmax_back *b, const struct row_back *row, int64_t j)
{
	const vf raw = v_load(row->scores + j), dp = v_load(row->dp + j);
	struct score_pair out;

	if (capped) {
		const vf s = cap_score(raw, b->scale, b->softcap), t = s * v_set(1.0f / b->softcap);

		out.p = v_exp2_low(v_fma(s, v_set(LOG2_E), v_set(-row->r)));
		out.ds = (v_set(1.0f) - t * t) * v_set(b->scale);
	} else {
		out.p = v_exp2_low(v_fma(raw, v_set(b->scale * LOG2_E), v_set(-row->r)));
		out.ds = v_set(b->scale);
	}
	out.ds *= out.p * (dp - v_set(row->delta));
	if (row->low > j || row->high < j + HN_LANES) {
		const vi seen = seen_lanes(j, row->low, row->high);

		out.p = v_select(seen, out.p, v_set(0.0f));
		out.ds = v_select(seen, out.ds, v_set(0.0f));
	}
	return out;
}

/* bf16 bits in the low halves of words. */
LANE vu
bf16_words(vf v)
{
	uint16_t bits[HN_LANES];
	vh h;

	v_to_bf16(bits, v);
	memcpy(&h, bits, sizeof h);
	return v_widen(h);
}

LANE void
softmax_back_pairs(const int capped, const struct hn_softmax_back *b)
{
	for (int64_t i = 0; i < b->m; i += 2) {
		const int two = i + 1 < b->m;
		const struct row_back first = row_of(b, i), second = row_of(b, two ? i + 1 : i);
		uint16_t *ds = (uint16_t *)b->ds + i * b->ldp;
		float *p_k = b->p_k + i / 2 * b->ldk, *ds_k = b->ds_k + i / 2 * b->ldk;

		for (int64_t j = 0; j < b->n; j += HN_LANES) {
			const struct score_pair x = score_back(capped, b, &first, j);
			struct score_pair y = {v_set(0.0f), v_set(0.0f)};

			v_to_bf16(ds + j, x.ds);
			if (two) {
				y = score_back(capped, b, &second, j);
				v_to_bf16(ds + b->ldp + j, y.ds);
			}
			v_store(p_k + j, (vf)(bf16_words(x.p) | (bf16_words(y.p) << 16)));
			v_store(ds_k + j, (vf)(bf16_words(x.ds) | (bf16_words(y.ds) << 16)));
		}
	}
}

LANE void
softmax_back_rows(const int capped, const struct hn_softmax_back *b)
{
	for (int64_t i = 0; i < b->m; i++) {
		const struct row_back row = row_of(b, i);

		for (int64_t j = 0; j < b->n; j += HN_LANES) {
			const struct score_pair x = score_back(capped, b, &row, j);

			v_store(b->p_k + i * b->ldk + j, x.p);
			v_store(b->ds_k + i * b->ldk + j, x.ds);
		}
	}
}

static void
softmax_back(const struct hn_softmax_back *b)
{
	if (b->bf16 && b->softcap > 0)
		softmax_back_pairs(1, b);
	else if (b->bf16)
		softmax_back_pairs(0, b);
	else if (b->softcap > 0)
		softmax_back_rows(1, b);
	else
		softmax_back_rows(0, b);
}
