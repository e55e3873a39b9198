/*
 * leaf_attention.h - attention on strips of columns, for one path (see lanes.h).
 *
 * A column is one query of one head.  A strip is HN_PANELS registers of them, so that a
 * vector holds one thing of HN_LANES queries: masks, maxima, sums and corrections of the
 * softmax need no shuffle.  Scores are formed transposed, as tiles of ATTEND_ROWS keys:
 *     s [keys, strip] = k q^T      k read in place, q packed      q [steps][strip]
 *     o [depth, strip] += v^T p    v packed by tiles of depth     p [keys][strip]
 * In bf16 a step is a 32-bit word with two elements along the sum.  For s that is how rows lie
 * in memory; for p two keys are zipped as they are rounded, over the scores they came from.
 * A tile takes only the panels of which a column sees one of its keys (struct hn_reach).
 *
 * Exponentials are taken to base 2, so that scaling, shifting and the change of base are one
 * multiply-add: with c = scale log2 e, maximum t (in units of log 2) and sum l of a column,
 *     t' = max(t, max c q.k)   p = 2^(c q.k - t')   f = 2^(t - t')
 *     l' = f l + sum p         o' = f o + v^T p
 * where keys outside [low, high) count as -infinity.  A softcap is applied to the scores
 * first, in place.  Backward, with r = lse log2 e, for tiles of keys:
 *     p = 2^(c q.k - r)        ds = p (dp - delta) scale [1 - (s / cap)^2]
 *     dq [depth, strip] += k^T ds      dv [keys, depth] += p do      dk += ds q
 *
 * Per score and 16 lanes: a third of a cycle beside the products.  Twin: attention and
 * attention_back of reference.
 */
#define LOG2_E 1.44269504f

/* Keys of a tile: with HN_PANELS vectors of columns its accumulators, one step of the columns
 * and a broadcast fit the register file. */
#ifdef HN_AVX512
#define ATTEND_ROWS 8
#else
#define ATTEND_ROWS 4
#endif
#define ATTEND_STRIP (HN_PANELS * HN_LANES)
#define ATTEND_TILES 64 /* of a block at most */

/* ---- Products ---- */

/* c [rows, nv registers] = a b.  Row order: element (r, k) of a at a[r lda + k]; K order: at
 * a[k lda + r].  All strides in 32-bit words. */
struct attend_product {
	const float *a, *b;
	int64_t lda, ldb, steps;
	float *c;
	int64_t ldc;
	float *with;    /* [nv registers]: factors, or maxima */
	int64_t second; /* words from one tile of a to another below it; 0 = there is none */
};

enum { ATTEND_K_ORDER = 0, ATTEND_ROW_ORDER = 1 };
enum {
	ATTEND_STORE, /* c = a b */
	ATTEND_MAX,   /* and `with` its greatest by columns */
	ATTEND_ADD,   /* c += a b */
	ATTEND_SCALE  /* c = with c + a b */
};

LANE vf
attend_madd(const int bf16, vf acc, const float *a, vf b)
{
#ifdef HN_BF16
	int32_t pair;

	if (bf16) {
		memcpy(&pair, a, sizeof pair);
		return (vf)_mm512_dpbf16_ps(
			(__m512)acc, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)b);
	}
#endif
	(void)bf16;
	return v_fma(v_set(*a), b, acc);
}

LANE void
attend_end(const int nv, const int m, const int end, const struct attend_product *t,
	vf acc[2 * ATTEND_ROWS][3])
{
#pragma GCC unroll 3
	for (int j = 0; j < nv; j++) {
		vf with = v_set(0.0f);

		if (end == ATTEND_MAX || end == ATTEND_SCALE)
			with = v_load(t->with + j * HN_LANES);
#pragma GCC unroll 16
		for (int r = 0; r < m; r++) {
			float *c = t->c + r * t->ldc + j * HN_LANES;

			if (end == ATTEND_MAX)
				with = v_max(acc[r][j], with);
			else if (end == ATTEND_ADD)
				acc[r][j] += v_load(c);
			else if (end == ATTEND_SCALE)
				acc[r][j] = v_fma(v_load(c), with, acc[r][j]);
			v_store(c, acc[r][j]);
		}
		if (end == ATTEND_MAX)
			v_store(t->with + j * HN_LANES, with);
	}
}

/* nv, tiles (one, or two below each other), order and bf16 are constants at every call.  The
 * empty asm keeps the compiler from making a pointer of every row. */
LANE void
attend_body(const int nv, const int tiles, const int order, const int bf16, int end,
	const struct attend_product *t)
{
	const int m = tiles * ATTEND_ROWS;
	const float *b = t->b, *base[2][3];
	const int64_t lda = t->lda, ldb = t->ldb;
	int64_t stride = lda;
	vf acc[2 * ATTEND_ROWS][3];

#pragma GCC unroll 16
	for (int r = 0; r < m; r++)
#pragma GCC unroll 3
		for (int j = 0; j < nv; j++)
			acc[r][j] = v_set(0.0f);
#pragma GCC unroll 2
	for (int h = 0; h < tiles; h++)
#pragma GCC unroll 3
		for (int i = 0; i < 3; i++)
			base[h][i] = t->a + h * t->second +
				(order == ATTEND_K_ORDER ? 3 * i : 3 * i * lda);
	for (int64_t k = t->steps; k > 0; k--) {
		vf col[3];

		if (order == ATTEND_ROW_ORDER)
			__asm__("" : "+r"(stride));
#pragma GCC unroll 3
		for (int j = 0; j < nv; j++)
			col[j] = v_load(b + j * HN_LANES);
#pragma GCC unroll 16
		for (int r = 0; r < m; r++) {
			const int row = r % ATTEND_ROWS;
			const float *p = order == ATTEND_K_ORDER
				? base[r / ATTEND_ROWS][0] + row
				: base[r / ATTEND_ROWS][row / 3] + (row % 3) * stride;
#pragma GCC unroll 3
			for (int j = 0; j < nv; j++)
				acc[r][j] = attend_madd(bf16, acc[r][j], p, col[j]);
		}
		b += ldb;
#pragma GCC unroll 2
		for (int h = 0; h < tiles; h++)
#pragma GCC unroll 3
			for (int i = 0; i < 3; i++)
				base[h][i] += order == ATTEND_K_ORDER ? lda : 1;
	}
	switch (end) {
	case ATTEND_STORE:
		attend_end(nv, m, ATTEND_STORE, t, acc);
		break;
	case ATTEND_MAX:
		attend_end(nv, m, ATTEND_MAX, t, acc);
		break;
	case ATTEND_ADD:
		attend_end(nv, m, ATTEND_ADD, t, acc);
		break;
	default:
		attend_end(nv, m, ATTEND_SCALE, t, acc);
	}
}

/* Two tiles go with one register of columns, else the chains of sums would be too few. */
LANE void
attend_orders(const int order, const int bf16, int64_t nv, int end, const struct attend_product *t)
{
	if (nv == 3)
		attend_body(3, 1, order, bf16, end, t);
	else if (nv == 2)
		attend_body(2, 1, order, bf16, end, t);
	else if (t->second)
		attend_body(1, 2, order, bf16, end, t);
	else
		attend_body(1, 1, order, bf16, end, t);
}

static void
attend_rows(int bf16, int64_t nv, int end, const struct attend_product *t)
{
#ifdef HN_BF16
	if (bf16) {
		attend_orders(ATTEND_ROW_ORDER, 1, nv, end, t);
		return;
	}
#endif
	(void)bf16;
	attend_orders(ATTEND_ROW_ORDER, 0, nv, end, t);
}

static void
attend_depth(int bf16, int64_t nv, int end, const struct attend_product *t)
{
#ifdef HN_BF16
	if (bf16) {
		attend_orders(ATTEND_K_ORDER, 1, nv, end, t);
		return;
	}
#endif
	(void)bf16;
	attend_orders(ATTEND_K_ORDER, 0, nv, end, t);
}

/* ---- What a strip sees of a block ---- */

/* Tiles [first, end) of keys that some column of a panel sees; keys [all_from, all_to) are
 * those that every column of it does.  Both bounds ascend with the columns. */
struct attend_reach {
	int64_t first[HN_PANELS], end[HN_PANELS], all_from[HN_PANELS], all_to[HN_PANELS];
	int64_t tiles, share[HN_FETCHES];
	uint8_t from[ATTEND_TILES], to[ATTEND_TILES]; /* panels that see a tile */
};

static void
attend_look(const struct hn_strip *s, struct attend_reach *r)
{
	r->tiles = (s->n + ATTEND_ROWS - 1) / ATTEND_ROWS;
	for (int p = 0; p < HN_PANELS; p++) {
		const int first = p * HN_LANES, last = first + HN_LANES - 1;
		int64_t from = 0, to = s->n;

		r->all_from[p] = 0;
		r->all_to[p] = s->n;
		if (s->low) {
			from = s->low[first];
			to = s->high[last];
			r->all_from[p] = s->low[last];
			r->all_to[p] = s->high[first];
		}
		if (from >= to || first >= s->columns)
			from = to = 0;
		r->first[p] = from / ATTEND_ROWS;
		r->end[p] = (to + ATTEND_ROWS - 1) / ATTEND_ROWS;
	}
	for (int64_t t = 0; t < r->tiles; t++) {
		int from = 0, to = HN_PANELS;

		while (from < to && !(r->first[from] <= t && t < r->end[from]))
			from++;
		while (to > from && !(r->first[to - 1] <= t && t < r->end[to - 1]))
			to--;
		r->from[t] = (uint8_t)from;
		r->to[t] = (uint8_t)to;
	}
	for (int i = 0; i < s->n_fetch; i++)
		r->share[i] = (s->fetch[i].n + r->tiles - 1) / r->tiles;
}

/* Whether a column of the panels misses a key of tile t. */
LANE int
attend_masked(const struct attend_reach *r, int64_t t, int from, int to)
{
	int masked = 0;

	for (int p = from; p < to; p++)
		masked |= r->all_from[p] > t * ATTEND_ROWS || r->all_to[p] < (t + 1) * ATTEND_ROWS;
	return masked;
}

LANE vi
attend_seen(const struct hn_strip *s, int p, int64_t key)
{
	vi low, high, at = (vi){0} + (int32_t)key;

	if (!s->low)
		return at < (int32_t)s->n;
	memcpy(&low, s->low + p * HN_LANES, sizeof low);
	memcpy(&high, s->high + p * HN_LANES, sizeof high);
	return (at >= low) & (at < high);
}

/* Rows of tile t of the keys (or values): in place, or padded where they run out. */
LANE const float *
attend_tile(const struct hn_rows *rows, int64_t n, int64_t t, int64_t *ld)
{
	const int whole = (t + 1) * ATTEND_ROWS <= n;

	*ld = whole ? rows->ld : rows->ld_tail;
	return whole ? rows->p + t * ATTEND_ROWS * rows->ld : rows->tail;
}

/* acc [depth, strip] (+)= tiles^T x: x holds `steps a tile` rows for each tile of keys.  Tiles
 * that the same panels see go together; f32 sums are cut as those of products are. */
LANE void
attend_gather(const int bf16, const struct hn_strip *s, const struct attend_reach *r,
	const float *packed, const float *x, int64_t ldx, float *acc, float *factor)
{
	const int64_t a_tile = bf16 ? ATTEND_ROWS / 2 : ATTEND_ROWS;
	const int64_t all = bf16 ? (s->n + 1) / 2 : s->n,
		      most = bf16 ? r->tiles : 128 / ATTEND_ROWS;
	int64_t t = 0;

	while (t < r->tiles) {
		const int from = r->from[t], to = r->to[t];
		const int64_t begin = t++;
		struct attend_product product = {.lda = ATTEND_ROWS,
			.ldb = ldx,
			.ldc = ATTEND_STRIP,
			.with = factor ? factor + from * HN_LANES : NULL,
			.b = x + begin * a_tile * ldx + from * HN_LANES};

		while (t < r->tiles && t - begin < most && r->to[t] == to && r->from[t] == from)
			t++;
		if (from == to)
			continue;
		product.steps = (t * a_tile < all ? t * a_tile : all) - begin * a_tile;
		if (to - from == 1 && s->depth % (2 * ATTEND_ROWS) == 0)
			product.second = all * ATTEND_ROWS;
		for (int64_t d = 0; d < s->depth;
			d += product.second ? 2 * ATTEND_ROWS : ATTEND_ROWS) {
			product.a = packed + d * all + begin * a_tile * ATTEND_ROWS;
			product.c = acc + d * ATTEND_STRIP + from * HN_LANES;
			attend_depth(bf16, to - from, factor ? ATTEND_SCALE : ATTEND_ADD, &product);
		}
		for (int i = from * HN_LANES; factor && i < to * HN_LANES; i++)
			factor[i] = 1.0f;
	}
}

/* Rows that are wanted soon, brought nearer while others are worked on: a share at each tile,
 * so that they never wait for one another. */
LANE void
attend_fetch(const struct hn_strip *s, const struct attend_reach *r, int64_t t)
{
	for (int i = 0; i < s->n_fetch; i++) {
		const struct hn_fetch *f = s->fetch + i;
		const int64_t share = r->share[i];
		const int64_t end = (t + 1) * share < f->n ? (t + 1) * share : f->n;

		for (int64_t row = t * share; row < end; row++)
			for (int64_t at = 0; at < f->bytes; at += 64)
				__builtin_prefetch(f->p + row * f->ld + at, 0, 2);
	}
}

/* ---- Exponentials ---- */

/* 2^x for x <= 127 or so; NaN gives NaN.  r = x - floor(x); the polynomials are minimax on
 * [0, 1) with p(0) = 1: relative errors 3e-6 (where the result becomes bf16) and 1.4e-7. */
LANE vf
attend_exp2(const int bf16, vf x)
{
#ifdef HN_AVX512
	const vf r = (vf)_mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
	vf p;

	if (bf16) {
		p = v_set(0.01342668571f);
		p = v_fma(p, r, v_set(0.05224247277f));
		p = v_fma(p, r, v_set(0.241280213f));
		p = v_fma(p, r, v_set(0.6930448413f));
	} else {
		p = v_set(0.001867130166f);
		p = v_fma(p, r, v_set(0.009017029777f));
		p = v_fma(p, r, v_set(0.05579991266f));
		p = v_fma(p, r, v_set(0.2401644439f));
		p = v_fma(p, r, v_set(0.6931512952f));
	}
	p = v_fma(p, r, v_set(1.0f));
	return (vf)_mm512_scalef_ps((__m512)p, (__m512)x);
#else
	(void)bf16;
	return v_exp2_low(x);
#endif
}

/* Which of the keys j.. of a row are in [low, high). */
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

#ifdef HN_BF16
/* Rounds two registers; the lanes of `first` are the lower half. */
LANE __m512i
attend_round(vf first, vf second)
{
	return (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}

/* The same as pairs (first, second) of each lane. */
LANE vf
attend_zip(__m512i halves)
{
	static const uint16_t order[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
		8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};

	return (vf)_mm512_permutexvar_epi16(_mm512_loadu_si512(order), halves);
}
#endif

/* ---- Forward ---- */

/* Scores of a tile whose masks or softcap matter, formed anew in place; maxima of them. */
static void
attend_mask(const struct hn_strip *s, int64_t t, int from, int to, float *scores, float *most)
{
	const int plain = s->softcap <= 0 && s->scale > 0;

	for (int p = from; p < to; p++) {
		vf top = v_load(most + p * HN_LANES);

		for (int r = 0; r < ATTEND_ROWS; r++) {
			float *at = scores + r * ATTEND_STRIP + p * HN_LANES;
			vf v = v_load(at);

			if (s->softcap > 0)
				v = cap_score(v, s->scale, s->softcap);
			else if (!plain)
				v *= v_set(s->scale);
			v = v_select(attend_seen(s, p, t * ATTEND_ROWS + r), v, v_set(-INFINITY));
			v_store(at, v);
			top = v_max(v, top);
		}
		v_store(most + p * HN_LANES, top);
	}
}

/* The scores of a strip and their maxima by columns, not yet times c. */
LANE void
attend_scores(const int bf16, const struct hn_strip *s, const struct attend_reach *r, float *most)
{
	const int plain = s->softcap <= 0 && s->scale > 0;

	for (int64_t t = 0; t < r->tiles; t++) {
		const int from = r->from[t], to = r->to[t];
		const int masked = !plain || attend_masked(r, t, from, to);
		float *scores = s->scores + t * ATTEND_ROWS * ATTEND_STRIP;
		struct attend_product product = {.b = s->q + from * HN_LANES,
			.ldb = ATTEND_STRIP,
			.steps = s->words,
			.c = scores + from * HN_LANES,
			.ldc = ATTEND_STRIP,
			.with = most + from * HN_LANES};

		attend_fetch(s, r, t);
		if (from == to)
			continue;
		product.a = attend_tile(&s->key, s->n, t, &product.lda);
		if (!masked && to - from == 1 && (t + 2) * ATTEND_ROWS <= r->all_to[from]) {
			product.second = ATTEND_ROWS * product.lda;
			attend_fetch(s, r, ++t);
		}
		attend_rows(bf16, to - from, masked ? ATTEND_STORE : ATTEND_MAX, &product);
		if (masked)
			attend_mask(s, t, from, to, scores, most);
	}
}

/* p of a panel over its scores, from row `from` to row `to`; returns the sums. */
LANE vf
attend_weights(const int bf16, float *scores, int64_t from, int64_t to, vf c, vf shift)
{
	vf total[2] = {v_set(0.0f), v_set(0.0f)};

	for (int64_t k = from; k < to; k += 4) {
		vf p[4];

#pragma GCC unroll 4
		for (int i = 0; i < 4; i++)
			p[i] = attend_exp2(
				bf16, v_fma(v_load(scores + (k + i) * ATTEND_STRIP), c, -shift));
		total[0] += p[0] + p[1];
		total[1] += p[2] + p[3];
#ifdef HN_BF16
		if (bf16) {
			float *out = scores + k / 2 * ATTEND_STRIP;

			v_store(out, attend_zip(attend_round(p[0], p[1])));
			v_store(out + ATTEND_STRIP, attend_zip(attend_round(p[2], p[3])));
			continue;
		}
#endif
#pragma GCC unroll 4
		for (int i = 0; i < 4; i++)
			v_store(scores + (k + i) * ATTEND_STRIP, p[i]);
	}
	return total[0] + total[1];
}

LANE void
attend_softmax(const int bf16, const struct hn_strip *s, const struct attend_reach *r,
	const float *most, float *factor)
{
	const int plain = s->softcap <= 0 && s->scale > 0;
	const vf c = v_set((plain ? s->scale : 1.0f) * LOG2_E);

	for (int p = 0; p < HN_PANELS; p++) {
		const vf old = v_load(s->top + p * HN_LANES);
		const vf top = v_max(v_load(most + p * HN_LANES) * c, old);
		const vf shift = v_select(top > v_set(-INFINITY), top, v_set(0.0f));
		const vf f = v_exp2_low(old - shift);
		vf total = v_load(s->total + p * HN_LANES) * f;

		if (r->first[p] >= r->end[p])
			continue;
		total += attend_weights(bf16, s->scores + p * HN_LANES, r->first[p] * ATTEND_ROWS,
			r->end[p] * ATTEND_ROWS, c, shift);
		v_store(s->top + p * HN_LANES, top);
		v_store(s->total + p * HN_LANES, total);
		v_store(factor + p * HN_LANES, f);
	}
}

LANE void
attend_types(const int bf16, const struct hn_strip *s)
{
	float most[ATTEND_STRIP], factor[ATTEND_STRIP];
	struct attend_reach reach;

	for (int i = 0; i < ATTEND_STRIP; i++) {
		most[i] = -INFINITY;
		factor[i] = 1.0f;
	}
	attend_look(s, &reach);
	attend_scores(bf16, s, &reach, most);
	attend_softmax(bf16, s, &reach, most, factor);
	attend_gather(bf16, s, &reach, s->value_t, s->scores, ATTEND_STRIP, s->acc, factor);
}

static void
attend(const struct hn_strip *s)
{
#ifdef HN_BF16
	if (s->bf16) {
		attend_types(1, s);
		return;
	}
#endif
	attend_types(0, s);
}

/* ---- Few columns ---- */

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
 * behind the last are the last again. */
LANE vf
few_scores(const int bf16, const struct hn_few *s, const float *q, int64_t j)
{
	const int64_t words = bf16 ? (s->k + 1) / 2 : s->k, whole = words / HN_LANES * HN_LANES;
	vf v[HN_LANES], sum = v_set(0.0f);

#pragma GCC unroll 16
	for (int i = 0; i < HN_LANES; i++) {
		const float *key = s->key.p + (j + i < s->n ? j + i : s->n - 1) * s->key.ld;

		v[i] = v_set(0.0f);
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
few_softmax(const struct hn_few *s, int64_t column, const int bf16)
{
	const int plain = s->softcap <= 0 && s->scale > 0;
	const float c = (plain ? s->scale : 1.0f) * LOG2_E, old = s->top[column];
	vf most = v_set(-INFINITY), total = v_set(0.0f);
	float top, shift, factor[HN_LANES];

	for (int64_t j = 0; j < s->n; j += HN_LANES) {
		vf v = few_scores(bf16, s, s->q + column * s->ld_q, j);

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

/* Registers [d, d + 4) of o = factor o + p v of one column. */
LANE void
few_values(const int32_t dtype, const struct hn_few *s, float *o, float factor, int64_t d)
{
	const uint8_t *row = s->value;
	const int64_t step = s->ld_value * hone_dtype_bytes(dtype);
	int64_t n[4];
	vf acc[4];

#pragma GCC unroll 4
	for (int i = 0; i < 4; i++) {
		const int64_t at = d + i * HN_LANES, left = s->k > at ? s->k - at : 0;

		n[i] = left < HN_LANES ? left : HN_LANES;
		acc[i] = n[i] ? v_load(o + at) * v_set(factor) : v_set(0.0f);
	}
	for (int64_t j = 0; j < s->n; j++, row += step) {
		const vf p = v_set(s->scores[j]);

#pragma GCC unroll 4
		for (int i = 0; i < 4; i++)
			if (n[3] == HN_LANES || n[i])
				acc[i] = v_fma(p,
					load_any(row, dtype, d + i * HN_LANES,
						n[3] == HN_LANES ? HN_LANES : n[i]),
					acc[i]);
	}
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++)
		if (n[i])
			v_store(o + d + i * HN_LANES, acc[i]);
}

LANE void
few_types(const int bf16, const int32_t dtype, const struct hn_few *s)
{
	for (int64_t column = 0; column < s->columns; column++) {
		const float factor = few_softmax(s, column, bf16);

		for (int64_t d = 0; d < s->k; d += 4 * HN_LANES)
			few_values(dtype, s, s->o + column * s->ld_o, factor, d);
	}
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

/* ---- Backward ---- */

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

/* ---- Columns from rows and back ---- */

/* A square of words from `word` of the rows from j, of which `n` exist. */
LANE void
attend_square(const int bf16, const int32_t dtype, const int whole, const struct hn_columns *x,
	int64_t j, int64_t word, int64_t n)
{
	float *out = x->out + word * ATTEND_STRIP + j;
	vf v[HN_LANES];

#pragma GCC unroll 16
	for (int i = 0; i < HN_LANES; i++)
		v[i] = whole ? v_load((const float *)(const void *)x->row[j + i] + word)
			     : row_words(bf16, x->row[j + i], dtype, word, x->k);
	transpose(v);
#pragma GCC unroll 16
	for (int i = 0; i < HN_LANES; i++)
		if (whole || i < n)
			v_store(out + i * ATTEND_STRIP, v[i]);
}

/* Rows as the columns of a strip: out [words][strip]. */
LANE void
attend_columns(const int bf16, const int32_t dtype, const struct hn_columns *x)
{
	const int same = dtype == (bf16 ? HONE_DTYPE_BF16 : HONE_DTYPE_F32);
	const int64_t words = bf16 ? (x->k + 1) / 2 : x->k, full = bf16 ? x->k / 2 : x->k;

	for (int64_t j = 0; j < ATTEND_STRIP; j += HN_LANES)
		for (int64_t word = 0; word < words; word += HN_LANES) {
			if (same && word + HN_LANES <= full)
				attend_square(bf16, dtype, 1, x, j, word, HN_LANES);
			else
				attend_square(bf16, dtype, 0, x, j, word, words - word);
		}
}

static void
pack_columns_of(const struct hn_columns *x)
{
#ifdef HN_BF16
	if (x->bf16 && x->dtype == HONE_DTYPE_BF16)
		attend_columns(1, HONE_DTYPE_BF16, x);
	else if (x->bf16)
		attend_columns(1, x->dtype, x);
	else
#endif
		if (x->dtype == HONE_DTYPE_F32)
		attend_columns(0, HONE_DTYPE_F32, x);
	else
		attend_columns(0, x->dtype, x);
}

/* Rows as the steps of a sum over them: out [strip / 2][wide] in pairs, or [strip][wide]. */
LANE void
attend_steps(const int bf16, const int32_t dtype, const struct hn_columns *x)
{
	const int64_t wide = (x->k + HN_LANES - 1) / HN_LANES * HN_LANES;
	const int step = bf16 ? 2 : 1;
	float *out = x->out;

	for (int i = 0; i < ATTEND_STRIP; i += step, out += wide) {
		const uint8_t *row = x->row[i], *next = x->row[i + step - 1];

		for (int64_t d = 0; d < wide; d += HN_LANES) {
			const int64_t n = x->k - d < HN_LANES ? x->k - d : HN_LANES;

			v_store(out + d, column_words(bf16, row, next - row, dtype, d, n, 1));
		}
	}
}

static void
pack_steps_of(const struct hn_columns *x)
{
#ifdef HN_BF16
	if (x->bf16 && x->dtype == HONE_DTYPE_BF16)
		attend_steps(1, HONE_DTYPE_BF16, x);
	else if (x->bf16)
		attend_steps(1, x->dtype, x);
	else
#endif
		if (x->dtype == HONE_DTYPE_F32)
		attend_steps(0, HONE_DTYPE_F32, x);
	else
		attend_steps(0, x->dtype, x);
}

/* Rows of keys as tiles of depth: out [depth / tile][steps][tile], pairs along the keys. */
LANE void
attend_depths(const int bf16, const int32_t dtype, const struct hn_pack *x)
{
	const int64_t steps = bf16 ? (x->k + 1) / 2 : x->k, step = bf16 ? 2 : 1;
	const int64_t row_bytes = x->ld * hone_dtype_bytes(dtype);
	const uint8_t *row = x->in;

	for (int64_t i = 0; i < steps; i++, row += step * row_bytes) {
		for (int64_t d = 0; d < x->n; d += HN_LANES) {
			const int64_t n = x->n - d < HN_LANES ? x->n - d : HN_LANES;
			float part[HN_LANES];

			v_store(part,
				column_words(
					bf16, row, row_bytes, dtype, d, n, step * i + 1 < x->k));
			for (int64_t q = 0; q < HN_LANES; q += ATTEND_ROWS)
				memcpy((float *)x->out + (d + q) * steps + i * ATTEND_ROWS,
					part + q, ATTEND_ROWS * 4);
		}
	}
}

/* k rows of n elements each. */
static void
pack_depths(const struct hn_pack *x)
{
#ifdef HN_BF16
	if (x->bf16 && x->dtype == HONE_DTYPE_BF16)
		attend_depths(1, HONE_DTYPE_BF16, x);
	else if (x->bf16)
		attend_depths(1, x->dtype, x);
	else
#endif
		if (x->dtype == HONE_DTYPE_F32)
		attend_depths(0, HONE_DTYPE_F32, x);
	else
		attend_depths(0, x->dtype, x);
}

/* The columns of acc [depth][strip], times their factors, to rows. */
LANE void
attend_put(const int32_t dtype, const struct hn_columns *x, int64_t j)
{
	const vf factor = v_load(x->factor + j);

	for (int64_t d = 0; d < x->k; d += HN_LANES) {
		const int64_t n = x->k - d < HN_LANES ? x->k - d : HN_LANES;
		vf v[HN_LANES];

#pragma GCC unroll 16
		for (int i = 0; i < HN_LANES; i++)
			v[i] = v_load(x->out + (d + i) * ATTEND_STRIP + j) * factor;
		transpose(v);
#pragma GCC unroll 16
		for (int i = 0; i < HN_LANES; i++)
			store_any(x->row[j + i], dtype, d, v[i], n);
	}
}

static void
unpack_columns(const struct hn_columns *x)
{
	for (int64_t j = 0; j < ATTEND_STRIP; j += HN_LANES) {
		if (x->dtype == HONE_DTYPE_BF16)
			attend_put(HONE_DTYPE_BF16, x, j);
		else
			attend_put(HONE_DTYPE_F32, x, j);
	}
}

/* Sums over the k elements of row[i] and other[i], by columns. */
LANE void
attend_dots(const int32_t dtype, const int32_t other, const struct hn_columns *x, int64_t j)
{
	vf v[HN_LANES], sum = v_set(0.0f);

	for (int i = 0; i < HN_LANES; i++) {
		vf dot = v_set(0.0f);

		for (int64_t d = 0; d < x->k; d += HN_LANES) {
			const int64_t n = x->k - d < HN_LANES ? x->k - d : HN_LANES;

			dot = v_fma(load_any(x->row[j + i], dtype, d, n),
				load_any(x->other[j + i], other, d, n), dot);
		}
		v[i] = dot;
	}
	transpose(v);
	for (int i = 0; i < HN_LANES; i++)
		sum += v[i];
	v_store(x->out + j, sum);
}

static void
dot_columns(const struct hn_columns *x)
{
	for (int64_t j = 0; j < ATTEND_STRIP; j += HN_LANES) {
		if (x->dtype == HONE_DTYPE_BF16 && x->other_dtype == HONE_DTYPE_BF16)
			attend_dots(HONE_DTYPE_BF16, HONE_DTYPE_BF16, x, j);
		else
			attend_dots(x->dtype, x->other_dtype, x, j);
	}
}

/* lse and the factors 1 / total of a strip. */
static void
end_columns(const float *top, const float *total, float *lse, float *factor)
{
	for (int64_t j = 0; j < ATTEND_STRIP; j += HN_LANES) {
		const vf t = v_load(top + j), sum = v_load(total + j), zero = v_set(0.0f);
		const vi some = (sum > zero) | (sum != sum);
		/* ln 2 in two parts: the maximum may be large. */
		const vf low = v_fma(t, v_set(-2.12194440e-4f), v_log(sum));
		const vf all = v_fma(t, v_set(0.693359375f), low);

		v_store(factor + j, v_select(some, v_set(1.0f) / sum, zero));
		v_store(lse + j,
			v_select((t > v_set(-INFINITY)) | (sum != sum), all, v_set(-INFINITY)));
	}
}
