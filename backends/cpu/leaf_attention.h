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
