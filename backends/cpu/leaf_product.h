/*
 * leaf_product.h - the inner loops of matrix products for one path (see lanes.h).
 *
 * A tile is m rows by w columns of c = a b, w = HN_LANES or twice that, with b packed:
 *     f32    panel[k][w]                 one element a value
 *     bf16   panel[k / 2][w][2]          pairs along k, as vdpbf16ps wants them
 * a is read in place.  "Row" order: element (r, k) at a[r lda + k].  "K" order: f32
 * a[k lda + r], bf16 the pair (2j, 2j + 1) of row r at 32-bit word a[j lda + r].  In both
 * types an address is that of a 32-bit word, so one body serves both with its own multiply.
 *
 * Per k step a tile of 12 x 32 does 24 multiply-adds on 2 vector loads and 12 broadcasts;
 * accumulators stay in registers, in ascending k.  A second product of a short k, u v, may follow
 * into the same accumulators: an update beside a frozen weight costs its own multiplications and
 * nothing else, and changes no bit where it is zero.  In f32 the sum is cut every TILE_CHAIN steps
 * and added to c: an error of rounding then grows with the length of a piece, not with K, for
 * one pass over the tile of c in a hundred.  Twin: the loops of reference's matmul.
 */

/* Rows of a tile: 2 HN_TILE_ROWS accumulators, two columns of b and a broadcast fit the
 * register file (32 registers with AVX-512, 16 else). */
#ifdef HN_AVX512
#define HN_TILE_ROWS 12
#else
#define HN_TILE_ROWS 6
#endif

enum { TILE_ROW_ORDER = 0, TILE_K_ORDER = 1 };
enum { TILE_CHAIN = 128 };
enum { AHEAD_STEPS = 4 }; /* between two lines asked for */

LANE vf
madd_f32(vf acc, const float *a, vf b)
{
	return v_fma(v_set(*a), b, acc);
}

#ifdef HN_BF16
LANE vf
madd_bf16(vf acc, const float *a, vf b)
{
	int32_t pair;

	memcpy(&pair, a, sizeof pair);
	return (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)b);
}
#endif

/* acc as bf16, plus what is added to it. */
LANE void
tile_to_bf16(const int m, const int nv, const struct hn_tile *t, vf acc[HN_TILE_ROWS][2])
{
#pragma GCC unroll 12
	for (int r = 0; r < m; r++)
#pragma GCC unroll 2
		for (int j = 0; j < nv; j++) {
			const int64_t at = r * t->ldy + j * HN_LANES;

			if (t->plus)
				acc[r][j] += v_from_bf16(t->plus + at);
			v_to_bf16(t->y + at, acc[r][j]);
		}
}

/* Asks for the next line, if one is left. */
LANE int64_t
ahead_next(struct hn_ahead *a, int64_t lines)
{
	if (lines <= 0 || a->rows <= 0)
		return 0;
	__builtin_prefetch(a->row + a->at, 0, 2);
	a->at += 64;
	if (a->at >= a->row_bytes) {
		a->at = 0;
		a->row += a->stride;
		a->rows--;
	}
	return lines - 1;
}

/* acc += a b over one word along k. */
LANE void
tile_step(const int m, const int nv, const int order, const int bf16, vf acc[HN_TILE_ROWS][2],
	const float *a, const float *const base[HN_TILE_ROWS / 3], const int64_t stride,
	const float *b)
{
	vf col[2];

#pragma GCC unroll 2
	for (int j = 0; j < nv; j++)
		col[j] = v_load(b + j * HN_LANES);
#pragma GCC unroll 12
	for (int r = 0; r < m; r++) {
		const float *p = order == TILE_K_ORDER ? a + r : base[r / 3] + (r % 3) * stride;
#pragma GCC unroll 2
		for (int j = 0; j < nv; j++) {
#ifdef HN_BF16
			if (bf16) {
				acc[r][j] = madd_bf16(acc[r][j], p, col[j]);
				continue;
			}
#endif
			acc[r][j] = madd_f32(acc[r][j], p, col[j]);
		}
	}
	(void)bf16;
}

/* acc += a b over `steps` words along k; m, nv, order and bf16 are constants at every call, so
 * that the loops unroll.  Row pointers come in threes off one base so that they fit the general
 * registers; the empty asm keeps the compiler from undoing that. */
LANE void
tile_sum(const int m, const int nv, const int order, const int bf16, vf acc[HN_TILE_ROWS][2],
	const float *a, const int64_t lda, const float *b, const int64_t steps,
	struct hn_ahead *ahead)
{
	const float *base[HN_TILE_ROWS / 3];
	int64_t stride = lda, lines = ahead ? ahead->lines : 0;

#pragma GCC unroll 4
	for (int i = 0; i < HN_TILE_ROWS / 3; i++)
		base[i] = a + 3 * i * lda;
	for (int64_t k = 0; k < steps; k++) {
		if (order == TILE_ROW_ORDER)
			__asm__("" : "+r"(stride));
		if (lines && k % AHEAD_STEPS == 0)
			lines = ahead_next(ahead, lines);
		tile_step(m, nv, order, bf16, acc, a, base, stride, b);
		b += nv * HN_LANES;
		if (order == TILE_K_ORDER) {
			a += lda;
		} else {
#pragma GCC unroll 4
			for (int i = 0; i < HN_TILE_ROWS / 3; i++)
				base[i]++;
		}
	}
}

/* One tile. */
LANE void
tile_body(const int m, const int nv, const int order, const int bf16, const struct hn_tile *t)
{
	const int64_t ldc = t->ldc;
	float *const c = t->c;
	vf acc[HN_TILE_ROWS][2];

#pragma GCC unroll 12
	for (int r = 0; r < m; r++)
#pragma GCC unroll 2
		for (int j = 0; j < nv; j++)
			acc[r][j] = v_set(0.0f);
	tile_sum(m, nv, order, bf16, acc, t->a, t->lda, t->b, t->steps, t->ahead);
	if (order == TILE_ROW_ORDER && t->more)
		tile_sum(m, nv, order, bf16, acc, t->u, t->ldu,
			(const float *)t->b + t->steps * nv * HN_LANES, t->more, NULL);
#pragma GCC unroll 12
	for (int r = 0; r < m; r++)
#pragma GCC unroll 2
		for (int j = 0; j < nv; j++)
			if (t->add)
				acc[r][j] += v_load(c + r * ldc + j * HN_LANES);
	if (order == TILE_ROW_ORDER && t->y) {
		tile_to_bf16(m, nv, t, acc);
		return;
	}
#pragma GCC unroll 12
	for (int r = 0; r < m; r++)
#pragma GCC unroll 2
		for (int j = 0; j < nv; j++)
			v_store(c + r * ldc + j * HN_LANES, acc[r][j]);
}

/* The tile in pieces of TILE_CHAIN steps, each added to c. */
LANE void
tile_pieces(const int m, const int nv, const int order, const int bf16, const struct hn_tile *t)
{
	struct hn_tile piece = *t;

	if (bf16 || (order == TILE_ROW_ORDER && t->y)) {
		tile_body(m, nv, order, bf16, t);
		return;
	}
	for (int64_t k = 0; k < t->steps || k == 0; k += TILE_CHAIN) {
		piece.steps = t->steps - k < TILE_CHAIN ? t->steps - k : TILE_CHAIN;
		piece.more = k + TILE_CHAIN < t->steps ? 0 : t->more;
		tile_body(m, nv, order, bf16, &piece);
		piece.a = (const float *)piece.a +
			(order == TILE_K_ORDER ? TILE_CHAIN * t->lda : TILE_CHAIN);
		piece.b = (const float *)piece.b + TILE_CHAIN * nv * HN_LANES;
		piece.add = 1;
	}
}

/* The tile with `m` rows; a switch, so that every count of rows is straight-line code. */
#define TILE_CASE(rows)                                                                            \
	case rows:                                                                                 \
		tile_pieces(rows, nv, order, bf16, t);                                             \
		break

LANE void
tile_rows(const int nv, const int order, const int bf16, const struct hn_tile *t)
{
	switch (t->m) {
		TILE_CASE(1);
		TILE_CASE(2);
		TILE_CASE(3);
		TILE_CASE(4);
		TILE_CASE(5);
		TILE_CASE(6);
#ifdef HN_AVX512
		TILE_CASE(7);
		TILE_CASE(8);
		TILE_CASE(9);
		TILE_CASE(10);
		TILE_CASE(11);
		TILE_CASE(12);
#endif
	}
}

static void
tile_row_order(const struct hn_tile *t)
{
#ifdef HN_BF16
	if (t->bf16 && t->w > HN_LANES)
		tile_rows(2, TILE_ROW_ORDER, 1, t);
	else if (t->bf16)
		tile_rows(1, TILE_ROW_ORDER, 1, t);
	else
#endif
		if (t->w > HN_LANES)
		tile_rows(2, TILE_ROW_ORDER, 0, t);
	else
		tile_rows(1, TILE_ROW_ORDER, 0, t);
}

static void
tile_k_order(const struct hn_tile *t)
{
#ifdef HN_BF16
	if (t->bf16 && t->w > HN_LANES)
		tile_rows(2, TILE_K_ORDER, 1, t);
	else if (t->bf16)
		tile_rows(1, TILE_K_ORDER, 1, t);
	else
#endif
		if (t->w > HN_LANES)
		tile_rows(2, TILE_K_ORDER, 0, t);
	else
		tile_rows(1, TILE_K_ORDER, 0, t);
}

/* ---- Thin products ---- */

#ifdef HN_AVX512
#define DOT_ROWS 3
#else
#define DOT_ROWS 1
#endif

LANE vf
multiply_add(const int bf16, vf acc, vf a, vf b)
{
#ifdef HN_BF16
	if (bf16)
		return (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)a, (__m512bh)b);
#endif
	(void)bf16;
	return v_fma(a, b, acc);
}

/* Adds the lanes of two vectors into the even and odd lanes of one. */
LANE vf
fold(vf a, vf b)
{
	return zip_low(a, b) + zip_high(a, b);
}

/* The sums of the lanes of 8 vectors.  Folding in pairs reverses the bits of the vectors'
 * numbers, so they are taken in that order. */
LANE void
store_sums(float *out, const vf v[HN_THIN])
{
#if HN_LANES == 4
	v_store(out, fold(fold(v[0], v[2]), fold(v[1], v[3])));
	v_store(out + 4, fold(fold(v[4], v[6]), fold(v[5], v[7])));
#else
	const vf a = fold(fold(v[0], v[4]), fold(v[2], v[6]));
	const vf b = fold(fold(v[1], v[5]), fold(v[3], v[7]));
	float t[HN_LANES];

	v_store(t, fold(a, b));
	for (int i = 0; i < HN_THIN; i++) {
#if HN_LANES == 16
		t[i] += t[i + 8];
#endif
		out[i] = t[i];
	}
#endif
}

/* m rows of a against the 8 rows of b: 8 m dot products along contiguous memory. */
LANE void
dots_body(const int m, const int bf16, const struct hn_tile *t, int64_t row)
{
	const float *a = (const float *)t->a + row * t->lda, *b = t->b;
	const int64_t whole = t->steps / HN_LANES * HN_LANES;
	vf acc[DOT_ROWS][HN_THIN];

#pragma GCC unroll 3
	for (int i = 0; i < m; i++)
#pragma GCC unroll 8
		for (int r = 0; r < HN_THIN; r++)
			acc[i][r] = v_set(0.0f);
	for (int64_t k = 0; k < whole; k += HN_LANES) {
		vf x[DOT_ROWS];

#pragma GCC unroll 3
		for (int i = 0; i < m; i++)
			x[i] = v_load(a + i * t->lda + k);
#pragma GCC unroll 8
		for (int r = 0; r < HN_THIN; r++) {
			const vf y = v_load(b + r * t->w + k);

#pragma GCC unroll 3
			for (int i = 0; i < m; i++)
				acc[i][r] = multiply_add(bf16, acc[i][r], x[i], y);
		}
	}
	for (int i = 0; i < m && whole < t->steps; i++) {
		const vf x = v_load_n(a + i * t->lda + whole, t->steps - whole);

		for (int r = 0; r < HN_THIN; r++)
			acc[i][r] = multiply_add(bf16, acc[i][r], x,
				v_load_n(b + r * t->w + whole, t->steps - whole));
	}
#pragma GCC unroll 3
	for (int i = 0; i < m; i++)
		store_sums(t->c + (row + i) * t->ldc, acc[i]);
}

/* c [m, 8] = a b^T for b of 8 rows, `w` words apart; no packing of a. */
static void
dots(const struct hn_tile *t)
{
	int64_t row = 0;

#ifdef HN_BF16
	for (; t->bf16 && row + DOT_ROWS <= t->m; row += DOT_ROWS)
		dots_body(DOT_ROWS, 1, t, row);
	for (; t->bf16 && row < t->m; row++)
		dots_body(1, 1, t, row);
#endif
	for (; row + DOT_ROWS <= t->m; row += DOT_ROWS)
		dots_body(DOT_ROWS, 0, t, row);
	for (; row < t->m; row++)
		dots_body(1, 0, t, row);
}

/* c [8, n <= lanes] += a^T b with a packed in K order (8 words a step) and the rows of b read
 * in place: what a packed panel would hold is formed in the register. */
LANE void
thin_columns(const int bf16, const int32_t dtype, const int nv, const struct hn_thin *t, int64_t j,
	int64_t n)
{
	const int64_t row_bytes = t->ldb * hone_dtype_bytes(dtype);
	const int64_t step = bf16 ? 2 : 1;
	const uint8_t *row = t->b;
	const float *a = t->a;
	vf acc[HN_THIN][2];

#pragma GCC unroll 8
	for (int r = 0; r < HN_THIN; r++)
#pragma GCC unroll 2
		for (int i = 0; i < nv; i++)
			acc[r][i] = v_set(0.0f);
	for (int64_t k = 0; k < t->k; k += step) {
		vf col[2];

#pragma GCC unroll 2
		for (int i = 0; i < nv; i++)
			col[i] = column_words(bf16, row, row_bytes, dtype, j + i * HN_LANES,
				nv == 2 ? HN_LANES : n, k + 1 < t->k);
#pragma GCC unroll 8
		for (int r = 0; r < HN_THIN; r++)
#pragma GCC unroll 2
			for (int i = 0; i < nv; i++) {
				const vf x = v_set(a[r]);

				acc[r][i] = multiply_add(bf16, acc[r][i], x, col[i]);
			}
		a += HN_THIN;
		row += step * row_bytes;
	}
#pragma GCC unroll 8
	for (int r = 0; r < HN_THIN; r++)
#pragma GCC unroll 2
		for (int i = 0; i < nv; i++)
			v_store_n(t->c + r * t->ldc + j + i * HN_LANES, acc[r][i],
				nv == 2 ? HN_LANES : n);
}

LANE void
thin_strips(const int bf16, const int32_t dtype, const struct hn_thin *t)
{
	int64_t j = 0;

#ifdef HN_AVX512
	for (; j + 2 * HN_LANES <= t->n; j += 2 * HN_LANES)
		thin_columns(bf16, dtype, 2, t, j, HN_LANES);
#endif
	for (; j < t->n; j += HN_LANES)
		thin_columns(bf16, dtype, 1, t, j, t->n - j < HN_LANES ? t->n - j : HN_LANES);
}

static void
thin(const struct hn_thin *t)
{
#ifdef HN_BF16
	if (t->bf16 && t->dtype == HONE_DTYPE_BF16)
		thin_strips(1, HONE_DTYPE_BF16, t);
	else if (t->bf16)
		thin_strips(1, t->dtype, t);
	else
#endif
		if (t->dtype == HONE_DTYPE_F32)
		thin_strips(0, HONE_DTYPE_F32, t);
	else
		thin_strips(0, t->dtype, t);
}

/* ---- The end of a tile ---- */

LANE void
store_any(void *p, int32_t dtype, int64_t at, vf v, int64_t n)
{
	if (dtype == HONE_DTYPE_F32) {
		v_store_n((float *)p + at, v, n);
	} else if (n == HN_LANES) {
		v_to_bf16((uint16_t *)p + at, v);
	} else {
		uint16_t part[HN_LANES];

		v_to_bf16(part, v);
		memcpy((uint16_t *)p + at, part, (size_t)n * 2);
	}
}

/* The kinds of addend of `finish`, constants at each call. */
enum { ADD_NONE, ADD_F32, ADD_BF16, ADD_ANY };

LANE void
finish_rows(const int to_bf16, const int add, const struct hn_finish *f)
{
	for (int64_t i = 0; i < f->m; i++) {
		for (int64_t j = 0; j < f->n; j += HN_LANES) {
			const int64_t n = f->n - j < HN_LANES ? f->n - j : HN_LANES;
			const int64_t at = i * f->ldc + j;
			vf v = v_load_n(f->tile + i * f->ldt + j, n);

			if (add == ADD_F32)
				v += load_any(f->c, HONE_DTYPE_F32, at, n);
			else if (add == ADD_BF16)
				v += load_any(f->c, HONE_DTYPE_BF16, at, n);
			else if (add == ADD_ANY)
				v += load_any(f->c, f->c_dtype, at, n);
			store_any(f->y, to_bf16 ? HONE_DTYPE_BF16 : HONE_DTYPE_F32, i * f->ldy + j,
				v, n);
		}
	}
}

LANE void
finish_kinds(const int to_bf16, const struct hn_finish *f)
{
	if (!f->c)
		finish_rows(to_bf16, ADD_NONE, f);
	else if (f->c_dtype == HONE_DTYPE_F32)
		finish_rows(to_bf16, ADD_F32, f);
	else if (f->c_dtype == HONE_DTYPE_BF16)
		finish_rows(to_bf16, ADD_BF16, f);
	else
		finish_rows(to_bf16, ADD_ANY, f);
}

/* y = tile [+ c], in y's type (f32 or bf16); c may be the same memory as y. */
static void
finish(const struct hn_finish *f)
{
	if (f->y_dtype == HONE_DTYPE_BF16)
		finish_kinds(1, f);
	else
		finish_kinds(0, f);
}
