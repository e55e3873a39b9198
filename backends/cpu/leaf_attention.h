/*
 * leaf_attention.h - softmax on tiles of attention scores, for one path (see lanes.h).
 *
 * Forward, one row of a tile with running maximum t and sum l:
 *     s = scale q.k, capped to c tanh(s / c), -infinity outside [low, high)
 *     t' = max(t, max s)   p = e^(s - t')   l' = l e^(t - t') + sum p   o' = o e^(t - t')
 * Backward: p = e^(s - lse), ds = p (dp - delta) (1 - (s / c)^2) scale.
 *
 * Per score: one exponential, about ten other operations, one load and one store of the
 * tile, which stays in L1.  Twin: attention and attention_back of reference.
 */
#define HN_KEYS_MAX 256 /* keys of a tile at most */

/* Scaled, capped and masked scores of keys j.. of one row. */
LANE vf
score_lanes(const float *scores, int64_t j, float scale, float softcap)
{
	vf s = v_load(scores + j) * v_set(scale);

	if (softcap > 0)
		s = v_set(softcap) * v_tanh(s * v_set(1.0f / softcap));
	return s;
}

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

LANE void
store_compute(const int bf16, void *p, int64_t at, vf v)
{
	if (bf16)
		v_to_bf16((uint16_t *)p + at, v);
	else
		v_store((float *)p + at, v);
}

LANE void
softmax_row(const int bf16, const int capped, const struct hn_softmax *s, int64_t i)
{
	const int32_t low = s->low[i], high = s->high[i];
	const int masked = low > 0 || high < s->n || s->n % HN_LANES;
	const float *scores = s->scores + i * s->lds;
	const float softcap = capped ? s->softcap : 0.0f;
	float row[HN_KEYS_MAX], top, shift, factor;
	float *out = s->out + i * s->ldo;
	vf most = v_set(-INFINITY), total = v_set(0.0f);

	for (int64_t j = 0; j < s->n; j += HN_LANES) {
		vf v = score_lanes(scores, j, s->scale, softcap);

		if (masked)
			v = v_select(seen_lanes(j, low, high), v, v_set(-INFINITY));
		v_store(row + j, v);
		most = v_max(v, most);
	}
	top = v_top(most);
	top = top > s->top[i] ? top : s->top[i];
	shift = top > -INFINITY ? top : 0.0f;
	for (int64_t j = 0; j < s->n; j += HN_LANES) {
		const vf p = v_exp_low(v_load(row + j) - v_set(shift));

		total += p;
		store_compute(bf16, s->p, i * s->ldp + j, p);
	}
	if (top > s->top[i]) {
		factor = s->top[i] > -INFINITY ? expf(s->top[i] - top) : 0.0f;
		s->total[i] *= factor;
		for (int64_t j = 0; j < s->head_dim; j += HN_LANES)
			v_store(out + j, v_load(out + j) * v_set(factor));
		s->top[i] = top;
	}
	s->total[i] += v_sum(total);
}

static void
softmax(const struct hn_softmax *s)
{
	if (s->softcap > 0) {
		for (int64_t i = 0; i < s->m; i++) {
			if (s->bf16)
				softmax_row(1, 1, s, i);
			else
				softmax_row(0, 1, s, i);
		}
	} else if (s->bf16) {
		for (int64_t i = 0; i < s->m; i++)
			softmax_row(1, 0, s, i);
	} else {
		for (int64_t i = 0; i < s->m; i++)
			softmax_row(0, 0, s, i);
	}
}

struct score_pair {
	vf p, ds;
};

/* p and ds of keys j.. of row i. */
LANE struct score_pair
score_back(const int capped, const struct hn_softmax_back *b, int64_t i, int64_t j)
{
	const int32_t low = b->low[i], high = b->high[i];
	const float lse = b->lse[i];
	const vf s = score_lanes(b->scores + i * b->lds, j, b->scale, capped ? b->softcap : 0.0f);
	const vf dp = v_load(b->dp + i * b->lds + j);
	struct score_pair out;

	out.p = v_exp(s - v_set(lse > -INFINITY ? lse : INFINITY));
	if (low > j || high < j + HN_LANES) {
		const vi seen = seen_lanes(j, low, high);

		out.p = v_select(seen, out.p, v_set(0.0f));
		out.ds = v_select(seen, out.p * (dp - v_set(b->delta[i])), v_set(0.0f));
	} else {
		out.ds = out.p * (dp - v_set(b->delta[i]));
	}
	out.ds *= v_set(b->scale);
	if (capped) {
		const vf t = s * v_set(1.0f / b->softcap);

		out.ds *= v_set(1.0f) - t * t;
	}
	return out;
}

/* bf16 bits of two rows as pairs. */
LANE vf
pair_words(vf first, vf second)
{
	uint16_t a[HN_LANES], b[HN_LANES];
	vh low, high;

	store_compute(1, a, 0, first);
	store_compute(1, b, 0, second);
	memcpy(&low, a, sizeof low);
	memcpy(&high, b, sizeof high);
	return (vf)(__builtin_convertvector(low, vu) | (__builtin_convertvector(high, vu) << 16));
}

LANE void
softmax_back_pairs(const int capped, const struct hn_softmax_back *b)
{
	for (int64_t i = 0; i < b->m; i += 2) {
		for (int64_t j = 0; j < b->n; j += HN_LANES) {
			const int64_t at = i / 2 * b->ldk + j;
			const struct score_pair x = score_back(capped, b, i, j);
			struct score_pair y = {v_set(0.0f), v_set(0.0f)};

			store_compute(1, b->ds, i * b->ldp + j, x.ds);
			if (i + 1 < b->m) {
				y = score_back(capped, b, i + 1, j);
				store_compute(1, b->ds, (i + 1) * b->ldp + j, y.ds);
			}
			v_store(b->p_k + at, pair_words(x.p, y.p));
			v_store(b->ds_k + at, pair_words(x.ds, y.ds));
		}
	}
}

LANE void
softmax_back_rows(const int capped, const struct hn_softmax_back *b)
{
	for (int64_t i = 0; i < b->m; i++) {
		for (int64_t j = 0; j < b->n; j += HN_LANES) {
			const struct score_pair x = score_back(capped, b, i, j);

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
