/*
 * leaf_pack.h - loads of any dense type, and packing for matrix products, for one path (see
 * lanes.h).
 *
 * A panel holds w columns of b for all steps of k: f32 panel[k][w], or pairs of bf16 along k
 * in 32-bit words, panel[k / 2][w].  Columns of b are rows of the stored matrix in NT, which
 * is a transpose of squares of words in registers, and columns in NN and TN, which is a copy
 * (bf16: two rows interleaved).  Types are converted on the way, so mixed operands cost
 * nothing more.  Per element: one read of b, one write of the panel, about a quarter of an
 * instruction.
 */
/* HN_LANES halves; the first n, the others 0. */
LANE vh
load_halves(const uint16_t *p, int64_t n)
{
#ifdef HN_AVX512
	return (vh)_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1u), p);
#else
	vh h = {0};

	memcpy(&h, p, (size_t)n * 2);
	return h;
#endif
}

/* HN_LANES elements of any dense type as f32; the first n, the others 0. */
LANE vf
load_any(const void *p, int32_t dtype, int64_t at, int64_t n)
{
	uint16_t part[HN_LANES];
	const uint16_t *h = (const uint16_t *)p + at;
	vh some;

	if (dtype == HONE_DTYPE_F32)
		return n == HN_LANES ? v_load((const float *)p + at)
				     : v_load_n((const float *)p + at, n);
	if (n < HN_LANES) {
		some = load_halves(h, n);
		memcpy(part, &some, sizeof some);
		h = part;
	}
	return dtype == HONE_DTYPE_BF16 ? v_from_bf16(h) : v_from_f16(h);
}

/* The bf16 bits of HN_LANES elements in the low halves of 32-bit words. */
LANE vu
load_bf16_bits(const void *p, int32_t dtype, int64_t at, int64_t n)
{
	uint16_t part[HN_LANES];
	vh h;

	if (dtype == HONE_DTYPE_BF16 && n == HN_LANES) {
		memcpy(&h, (const uint16_t *)p + at, sizeof h);
	} else if (dtype == HONE_DTYPE_BF16) {
		h = load_halves((const uint16_t *)p + at, n);
	} else {
		v_to_bf16(part, load_any(p, dtype, at, n));
		memcpy(&h, part, sizeof h);
	}
	return v_widen(h);
}

/* 32-bit words k of one row: f32 elements [k, k + n), or bf16 pairs of elements
 * [2k, 2k + 2n) of which only those below `limit` exist. */
LANE vf
row_words(const int bf16, const uint8_t *row, int32_t dtype, int64_t word, int64_t limit)
{
	uint16_t pair[2 * HN_LANES];
	vf v;
	int64_t n;

	if (!bf16) {
		n = limit - word < HN_LANES ? limit - word : HN_LANES;
		return load_any(row, dtype, word, n);
	}
	n = limit - 2 * word < 2 * HN_LANES ? limit - 2 * word : 2 * HN_LANES;
	if (dtype == HONE_DTYPE_BF16 && n == 2 * HN_LANES) {
		memcpy(&v, row + 4 * word, sizeof v);
		return v;
	}
	memset(pair, 0, sizeof pair);
	if (dtype == HONE_DTYPE_BF16) {
		memcpy(pair, row + 4 * word, (size_t)n * 2);
	} else {
		for (int64_t i = 0; i < n; i += HN_LANES)
			v_to_bf16(pair + i,
				load_any(row, dtype, 2 * word + i,
					n - i < HN_LANES ? n - i : HN_LANES));
	}
	memcpy(&v, pair, sizeof v);
	return v;
}

/* Lanes of a and b in turn: the lower halves, the upper halves. */
LANE vf
zip_low(vf a, vf b)
{
#if HN_LANES == 16
	return __builtin_shufflevector(
		a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif HN_LANES == 8
	return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
	return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#endif
}

LANE vf
zip_high(vf a, vf b)
{
#if HN_LANES == 16
	return __builtin_shufflevector(
		a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif HN_LANES == 8
	return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
	return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

#ifdef HN_AVX512
/* Squares of four words within the lanes of 128 bits of four vectors: shuffles that stay within
 * lanes cost half of those that cross them. */
LANE void
turn_lanes(vf v[4])
{
	vf t[4];

#pragma GCC unroll 2
	for (int i = 0; i < 4; i += 2) {
		t[i] = (vf)_mm512_unpacklo_ps((__m512)v[i], (__m512)v[i + 1]);
		t[i + 1] = (vf)_mm512_unpackhi_ps((__m512)v[i], (__m512)v[i + 1]);
	}
#pragma GCC unroll 2
	for (int i = 0; i < 2; i++) {
		v[2 * i] = (vf)_mm512_unpacklo_pd((__m512d)t[i], (__m512d)t[i + 2]);
		v[2 * i + 1] = (vf)_mm512_unpackhi_pd((__m512d)t[i], (__m512d)t[i + 2]);
	}
}

/* Transposes a square of words: of lanes of four words first, then within them. */
LANE void
transpose(vf v[HN_LANES])
{
	vf t[HN_LANES];

#pragma GCC unroll 4
	for (int i = 0; i < 4; i++) {
		const __m512 a = (__m512)v[i], b = (__m512)v[i + 4];
		const __m512 c = (__m512)v[i + 8], d = (__m512)v[i + 12];
		const __m512 even_ab = _mm512_shuffle_f32x4(a, b, 0x88);
		const __m512 odd_ab = _mm512_shuffle_f32x4(a, b, 0xdd);
		const __m512 even_cd = _mm512_shuffle_f32x4(c, d, 0x88);
		const __m512 odd_cd = _mm512_shuffle_f32x4(c, d, 0xdd);

		t[i] = (vf)_mm512_shuffle_f32x4(even_ab, even_cd, 0x88);
		t[i + 4] = (vf)_mm512_shuffle_f32x4(odd_ab, odd_cd, 0x88);
		t[i + 8] = (vf)_mm512_shuffle_f32x4(even_ab, even_cd, 0xdd);
		t[i + 12] = (vf)_mm512_shuffle_f32x4(odd_ab, odd_cd, 0xdd);
	}
#pragma GCC unroll 4
	for (int i = 0; i < HN_LANES; i += 4)
		turn_lanes(t + i);
#pragma GCC unroll 16
	for (int i = 0; i < HN_LANES; i++)
		v[i] = t[i];
}

/* Packs four words of sixteen rows that lie row_bytes apart, w words from step to step.  The
 * lanes come from memory where they belong, so that no shuffle crosses them.  The line after
 * next is asked for in four of the rows, from `soon`. */
LANE void
pack_square(float *out, int64_t w, const uint8_t *row, int64_t row_bytes, int64_t soon)
{
	const uint8_t *later = row + soon * row_bytes + 128;
	vf v[4];

#pragma GCC unroll 4
	for (int i = 0; i < 4; i++, later += row_bytes)
		__builtin_prefetch(later, 0, 3);
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++, row += row_bytes) {
		v[i] = (vf)_mm512_castps128_ps512(_mm_loadu_ps((const float *)(const void *)row));
#pragma GCC unroll 3
		for (int lane = 1; lane < 4; lane++) {
			const uint8_t *at = row + 4 * lane * row_bytes;

			v[i] = (vf)_mm512_mask_broadcast_f32x4((__m512)v[i],
				(__mmask16)(15u << 4 * lane),
				_mm_loadu_ps((const float *)(const void *)at));
		}
	}
	turn_lanes(v);
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++)
		v_store(out + i * w, v[i]);
}
#else
/* Transposes a square of words: log2(lanes) perfect shuffles of the rows. */
LANE void
transpose(vf v[HN_LANES])
{
	vf t[HN_LANES];

#pragma GCC unroll 4
	for (int n = HN_LANES; n > 1; n /= 2) {
#pragma GCC unroll 8
		for (int i = 0; i < HN_LANES / 2; i++) {
			t[2 * i] = zip_low(v[i], v[i + HN_LANES / 2]);
			t[2 * i + 1] = zip_high(v[i], v[i + HN_LANES / 2]);
		}
#pragma GCC unroll 16
		for (int i = 0; i < HN_LANES; i++)
			v[i] = t[i];
	}
}

#endif

/* Packs b for a product along its rows (NT): column j of the panel is row j of b. */
LANE void
pack_rows_as_columns(const int bf16, const int32_t dtype, const struct hn_pack *p)
{
	const int64_t words = bf16 ? (p->k + 1) / 2 : p->k;
	const int64_t row_bytes = p->ld * hone_dtype_bytes(dtype);

	for (int64_t j = 0; j < p->w; j += HN_LANES) {
		int64_t word = 0;

#ifdef HN_AVX512
		if (dtype == (bf16 ? HONE_DTYPE_BF16 : HONE_DTYPE_F32) && p->n - j >= HN_LANES)
			for (; word + 4 <= (bf16 ? p->k / 2 : p->k); word += 4)
				pack_square((float *)p->out + word * p->w + j, p->w,
					(const uint8_t *)p->in + j * row_bytes + 4 * word,
					row_bytes, word % 16);
#endif
		for (; word < words; word += HN_LANES) {
			const int64_t n = words - word < HN_LANES ? words - word : HN_LANES;
			float *out = (float *)p->out + word * p->w + j;
			vf v[HN_LANES];

#pragma GCC unroll 16
			for (int i = 0; i < HN_LANES; i++)
				v[i] = j + i < p->n
					? row_words(bf16,
						  (const uint8_t *)p->in + (j + i) * row_bytes,
						  dtype, word, p->k)
					: v_set(0.0f);
			transpose(v);
			if (n == HN_LANES) {
#pragma GCC unroll 16
				for (int i = 0; i < HN_LANES; i++)
					v_store(out + i * p->w, v[i]);
				continue;
			}
			for (int64_t i = 0; i < n; i++)
				v_store(out + i * p->w, v[i]);
		}
	}
}

/* Words of HN_LANES columns at one step of k: f32 of row k, or the pair of rows. */
LANE vf
column_words(const int bf16, const uint8_t *row, int64_t row_bytes, int32_t dtype, int64_t at,
	int64_t n, int second)
{
	vu low, high;

	if (!bf16)
		return load_any(row, dtype, at, n);
	low = load_bf16_bits(row, dtype, at, n);
	if (!second)
		return (vf)low;
	high = load_bf16_bits(row + row_bytes, dtype, at, n);
	return (vf)(low | (high << 16));
}

#ifdef HN_AVX512
/* The pairs of two rows of bf16: two vectors of words. */
LANE void
pair_rows(float *out, const uint8_t *low, const uint8_t *high)
{
	const __m512i first = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41,
		9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
	const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
	const __m512i a = _mm512_loadu_si512(low), b = _mm512_loadu_si512(high);

	v_store(out, (vf)_mm512_permutex2var_epi16(a, first, b));
	v_store(out + HN_LANES, (vf)_mm512_permutex2var_epi16(a, second, b));
}
#endif

#define FETCH_STEPS 8  /* ahead of a panel being packed */
#define PACK_STEPS  16 /* steps of one panel before the next: its rows are in L1 by then */

/* One step of a panel of two registers, columns from j. */
LANE void
pack_whole_step(const int bf16, const int32_t dtype, float *out, const uint8_t *row,
	int64_t row_bytes, int64_t j)
{
#ifdef HN_AVX512
	if (bf16 && dtype == HONE_DTYPE_BF16) {
		pair_rows(out, row + 2 * j, row + row_bytes + 2 * j);
		return;
	}
#endif
	v_store(out, column_words(bf16, row, row_bytes, dtype, j, HN_LANES, 1));
	v_store(out + HN_LANES,
		column_words(bf16, row, row_bytes, dtype, j + HN_LANES, HN_LANES, 1));
}

/* Asks for the columns from j some steps ahead.  Fetching is to a level behind L1 before, and
 * rows are too far apart for the processor to see through. */
LANE void
fetch_columns(const int bf16, const int32_t dtype, const uint8_t *row, int64_t row_bytes, int64_t j)
{
	const uint8_t *soon =
		row + FETCH_STEPS * (bf16 ? 2 : 1) * row_bytes + j * hone_dtype_bytes(dtype);

	__builtin_prefetch(soon, 0, 3);
	if (bf16)
		__builtin_prefetch(soon + row_bytes, 0, 3);
}

/* Steps [from, to) of one panel, columns [j, j + w). */
LANE void
pack_steps(const int bf16, const int32_t dtype, const struct hn_pack *p, float *out, int64_t j,
	int64_t from, int64_t to)
{
	const int64_t row_bytes = p->ld * hone_dtype_bytes(dtype), step = bf16 ? 2 : 1;
	const int64_t paired = bf16 ? p->k / 2 : p->k; /* steps before a last single row */
	const uint8_t *row = (const uint8_t *)p->in + from * step * row_bytes;

	out += from * p->w;
#ifdef HN_AVX512
	/* Narrower panels (a of TN): whole registers, whose surplus the next step overwrites. */
	if (bf16 && dtype == HONE_DTYPE_BF16 && p->w < HN_LANES && p->n - j >= HN_LANES)
		for (; from < to - 1 && from < paired; from++, row += step * row_bytes, out += p->w)
			v_store(out, column_words(1, row, row_bytes, dtype, j, HN_LANES, 1));
#endif
	if (p->w == 2 * HN_LANES && p->n - j >= p->w) {
		const int64_t end = to < paired ? to : paired;

		for (; from < end; from++, row += step * row_bytes, out += 2 * HN_LANES) {
			fetch_columns(bf16, dtype, row, row_bytes, j);
			pack_whole_step(bf16, dtype, out, row, row_bytes, j);
		}
	}
	for (int64_t k = from; k < to; k++, row += step * row_bytes, out += p->w) {
		for (int64_t i = 0; i < p->w; i += HN_LANES) {
			const int64_t w = p->w - i < HN_LANES ? p->w - i : HN_LANES;
			const int64_t rest = p->n - j - i;
			const int64_t n = rest < 0 ? 0 : rest < w ? rest : w;

			v_store_n(out + i,
				column_words(bf16, row, row_bytes, dtype, j + i, n, k < paired), w);
		}
	}
}

/* Asks for the rows of steps [from, to), where nobody else does (a of TN): the processor does
 * not see through their distance. */
LANE void
fetch_steps(const int bf16, const struct hn_pack *p, int64_t from, int64_t to)
{
	const int64_t element = hone_dtype_bytes(p->dtype), step = bf16 ? 2 : 1;
	const int64_t end = to * step < p->k ? to * step : p->k;
	const uint8_t *row = (const uint8_t *)p->in + from * step * p->ld * element;

	for (int64_t k = from * step; k < end; k++, row += p->ld * element)
		for (int64_t at = 0; at < p->n * element; at += 64)
			__builtin_prefetch(row + at, 0, 3);
}

/* Packs b for a product along its columns (NN, TN): column j of the panels is column j of b.
 * Some rows at a time are spread over all panels: whole rows are read in memory's order,
 * and the panels, which lie a multiple of 4 KiB apart, do not evict each other from L1. */
LANE void
pack_columns(const int bf16, const int32_t dtype, const struct hn_pack *p)
{
	const int64_t steps = bf16 ? (p->k + 1) / 2 : p->k;
	const int64_t whole = p->steps ? p->steps : steps;

	for (int64_t k = 0; k < steps; k += PACK_STEPS) {
		const int64_t to = steps - k < PACK_STEPS ? steps : k + PACK_STEPS;
		float *panel = p->out;

		if (p->w != 2 * HN_LANES)
			fetch_steps(bf16, p, to, steps - to < PACK_STEPS ? steps : to + PACK_STEPS);
		for (int64_t j = 0; j < p->n; j += p->w, panel += p->w * whole)
			pack_steps(bf16, dtype, p, panel, j, k, to);
	}
}

/* Copies n rows of k elements in the compute type, rows `w` words apart, tails zeroed. */
LANE void
pack_plain(const int bf16, const struct hn_pack *p)
{
	const int64_t words = bf16 ? (p->k + 1) / 2 : p->k;
	const int64_t row_bytes = p->ld * hone_dtype_bytes(p->dtype);

	for (int64_t i = 0; i < p->n; i++) {
		const uint8_t *row = (const uint8_t *)p->in + i * row_bytes;
		float *out = (float *)p->out + i * p->w;

		for (int64_t word = 0; word < words; word += HN_LANES) {
			const vf v = row_words(bf16, row, p->dtype, word, p->k);

			if (words - word >= HN_LANES)
				v_store(out + word, v);
			else
				v_store_n(out + word, v, words - word);
		}
	}
}

static void
pack_nt(const struct hn_pack *p)
{
	if (p->bf16 && p->dtype == HONE_DTYPE_BF16)
		pack_rows_as_columns(1, HONE_DTYPE_BF16, p);
	else if (p->bf16)
		pack_rows_as_columns(1, p->dtype, p);
	else if (p->dtype == HONE_DTYPE_F32)
		pack_rows_as_columns(0, HONE_DTYPE_F32, p);
	else
		pack_rows_as_columns(0, p->dtype, p);
}

static void
pack_nn(const struct hn_pack *p)
{
	if (p->bf16 && p->dtype == HONE_DTYPE_BF16)
		pack_columns(1, HONE_DTYPE_BF16, p);
	else if (p->bf16)
		pack_columns(1, p->dtype, p);
	else if (p->dtype == HONE_DTYPE_F32)
		pack_columns(0, HONE_DTYPE_F32, p);
	else
		pack_columns(0, p->dtype, p);
}

static void
pack_copy(const struct hn_pack *p)
{
	if (p->bf16)
		pack_plain(1, p);
	else
		pack_plain(0, p);
}
