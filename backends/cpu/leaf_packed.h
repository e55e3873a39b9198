/*
 * leaf_packed.h - dot products of a few rows with rows of a weight as it is stored, for one path
 * (see lanes.h): decoding text, where every weight is read once a token and used m times.
 *
 *     out[r][i] = sum_e x[r][e] w[i][e]        r < m <= 8, i < n, e < k
 *
 * A format's codes are turned into f32 in registers and multiplied there; a block's scale is
 * applied to the block's sum.  Codes of four bits are taken less 8, so that with a minimum
 *
 *     w = d q + min = d (q - 8) + (8 d + min)
 *
 * both parts are small; the second is multiplied by the sum of the block's x, which does not
 * depend on i and is made with the turned x (packed_turn).  So the numbers are those of the
 * exact weights, in f32, and no activation is quantised.  A row's sums are formed in one order
 * whatever m is.
 *
 * The widest path reads four blocks of nibbles as 16 words and takes nibble j of every word at
 * a time, so x is turned into that order; the others take codes in the order of x.  Bytes: the
 * weight's once; per weight a quarter of an instruction and m / 16 multiply-adds.  Formats are
 * described in plugins/storages/ggml.  Twin: matmul of reference on decoded weights.
 */
LANE float
half_at(const uint8_t *p)
{
	uint16_t h;

	memcpy(&h, p, sizeof h);
#if defined(HN_AVX512) || defined(HN_AVX2)
	return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
#else
	return hone_f16_to_f32(h);
#endif
}

/* Bytes of k elements of a row. */
LANE int64_t
packed_bytes(const int32_t packing, int64_t k)
{
	switch (packing) {
	case HN_PACKED_F32:
		return k * 4;
	case HN_PACKED_Q4_0:
		return k / 32 * 18;
	case HN_PACKED_Q4_1:
		return k / 32 * 20;
	case HN_PACKED_Q8_0:
		return k / 32 * 34;
	case HN_PACKED_Q4_K:
		return k / 256 * 144;
	case HN_PACKED_Q6_K:
		return k / 256 * 210;
	default:
		return k * 2;
	}
}

/* The sums of x that minima are multiplied by, over blocks of 32: q4_1 pairs of (8 s, s), 8 and
 * 8 zeros a chunk of 128; q4_k 8 s of eight blocks, then -s of them. */
static void
packed_sums(int32_t packing, const float *x, int64_t k, float *sums)
{
	const int64_t n = k / 32;

	memset(sums, 0, (size_t)HN_PACKED_SUMS(k) * 4);
	for (int64_t b = 0; b < n; b++) {
		vf sum = v_set(0.0f);
		float s;

		for (int i = 0; i < 32; i += HN_LANES)
			sum += v_load(x + 32 * b + i);
		s = v_sum(sum);
		if (packing == HN_PACKED_Q4_1) {
			sums[b / 4 * 16 + b % 4 * 2] = 8.0f * s;
			sums[b / 4 * 16 + b % 4 * 2 + 1] = s;
		} else {
			sums[b / 8 * 16 + b % 8] = 8.0f * s;
			sums[b / 8 * 16 + 8 + b % 8] = -s;
		}
	}
}

/* The 6-bit scales and minima of a q4_k block, as 8 and 8 bytes. */
LANE void
unpack_scales(const uint8_t *block, uint32_t out[4])
{
	uint32_t s[3];

	memcpy(s, block + 4, sizeof s);
	out[0] = s[0] & 0x3f3f3f3fu;
	out[1] = (s[2] & 0x0f0f0f0fu) | (s[0] >> 6 & 0x03030303u) << 4;
	out[2] = s[1] & 0x3f3f3f3fu;
	out[3] = (s[2] >> 4 & 0x0f0f0f0fu) | (s[1] >> 6 & 0x03030303u) << 4;
}

/* Rows of x and of sums; those behind the last are the last again, and nobody stores theirs. */
struct packed_rows {
	const float *x[HN_THIN], *sums[HN_THIN];
};

/* The sum of all lanes, by halves as v_sum forms it, without a way through memory. */
LANE float
packed_total(vf v)
{
#ifdef HN_AVX512
	const __m256 half = _mm256_add_ps(
		_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
	const __m128 quarter =
		_mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
	const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));

	return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
#else
	return v_sum(v);
#endif
}

/* ---- Dense rows and q8_0: the same on every path ---- */

/* Sums of 4 registers each are added to one chain, so that the chain is short. */
LANE void
packed_dense(const int m, const int32_t dtype, const struct packed_rows *rows, const uint8_t *w,
	int64_t k, vf acc[HN_THIN])
{
	int64_t e = 0;

	for (; e + 4 * HN_LANES <= k; e += 4 * HN_LANES) {
		vf t[HN_THIN];

#pragma GCC unroll 4
		for (int j = 0; j < 4; j++) {
			const int64_t at = e + j * HN_LANES;
			const vf v = load_any(w, dtype, at, HN_LANES);

#pragma GCC unroll 8
			for (int r = 0; r < m; r++) {
				const vf x = v_load(rows->x[r] + at);

				t[r] = j ? v_fma(v, x, t[r]) : v * x;
			}
		}
#pragma GCC unroll 8
		for (int r = 0; r < m; r++)
			acc[r] += t[r];
	}
	for (; e < k; e += HN_LANES) {
		const int64_t n = k - e < HN_LANES ? k - e : HN_LANES;
		const vf v = load_any(w, dtype, e, n);

#pragma GCC unroll 8
		for (int r = 0; r < m; r++)
			acc[r] = v_fma(v, v_load_n(rows->x[r] + e, n), acc[r]);
	}
}

LANE vf
from_i8(const uint8_t *p)
{
#ifdef HN_AVX512
	return (vf)_mm512_cvtepi32_ps(
		_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
#else
	int8_t b __attribute__((vector_size(HN_LANES)));

	memcpy(&b, p, sizeof b);
	return __builtin_convertvector(__builtin_convertvector(b, vi), vf);
#endif
}

/* Even and odd blocks have chains of their own. */
LANE void
packed_q8_0(
	const int m, const struct packed_rows *rows, const uint8_t *w, int64_t k, vf acc[HN_THIN])
{
	vf odd[HN_THIN];

#pragma GCC unroll 8
	for (int r = 0; r < m; r++)
		odd[r] = v_set(0.0f);
	for (int64_t e = 0; e < k; e += 32, w += 34) {
		const vf d = v_set(half_at(w));
		vf t[HN_THIN];

#pragma GCC unroll 8
		for (int i = 0; i < 32; i += HN_LANES) {
			const vf v = from_i8(w + 2 + i);

#pragma GCC unroll 8
			for (int r = 0; r < m; r++) {
				const vf x = v_load(rows->x[r] + e + i);

				t[r] = i ? v_fma(v, x, t[r]) : v * x;
			}
		}
#pragma GCC unroll 8
		for (int r = 0; r < m; r++) {
			const vf old = acc[r];

			acc[r] = odd[r];
			odd[r] = v_fma(d, t[r], old);
		}
	}
#pragma GCC unroll 8
	for (int r = 0; r < m; r++)
		acc[r] += odd[r];
}

#ifdef HN_AVX512
/* ---- AVX-512: nibble j of 16 words at a time ---- */

/* q - 8 for a code q. */
LANE __m512
nibble_values(void)
{
	return _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
}

/* The codes of four blocks as 16 words, and their scales (and minima) as f32, in order; `n`
 * blocks are there, the others' scales are 0. */
LANE __m512i
load_blocks(const int32_t packing, const uint8_t *w, const int64_t n, __m256 *heads)
{
	const int head = packing == HN_PACKED_Q4_1 ? 2 : 1, words = 8 + head;
	const uint64_t there = (UINT64_C(1) << (n * words)) - 1;
	const __m512i i = _mm512_set_epi16(31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18,
		17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
	const __m512i width = _mm512_set1_epi16((short)words);
	const __m512i code = _mm512_add_epi16(_mm512_mullo_epi16(_mm512_srli_epi16(i, 3), width),
		_mm512_add_epi16(
			_mm512_and_si512(i, _mm512_set1_epi16(7)), _mm512_set1_epi16((short)head)));
	const __m512i first = head == 1
		? _mm512_mullo_epi16(i, width)
		: _mm512_add_epi16(_mm512_mullo_epi16(_mm512_srli_epi16(i, 1), width),
			  _mm512_and_si512(i, _mm512_set1_epi16(1)));
	__m512i low, high;

	if (n == 4) {
		low = _mm512_loadu_si512(w);
		high = _mm512_castsi128_si512(head == 2
				? _mm_loadu_si128((const __m128i *)(const void *)(w + 64))
				: _mm_loadl_epi64((const __m128i *)(const void *)(w + 64)));
	} else {
		low = _mm512_maskz_loadu_epi16((__mmask32)there, w);
		high = _mm512_castsi128_si512(
			_mm_maskz_loadu_epi16((__mmask8)(there >> 32), w + 64));
	}
	*heads = _mm256_cvtph_ps(
		_mm512_castsi512_si128(_mm512_permutex2var_epi16(low, first, high)));
	return _mm512_permutex2var_epi16(low, code, high);
}

/* q4_0 and q4_1: words 4 g .. 4 g + 3 are of block g. */
LANE void
packed_q4(const int m, const int32_t packing, const struct packed_rows *rows, const uint8_t *w,
	int64_t k, vf acc[HN_THIN])
{
	const __m512 values = nibble_values();
	const int step = packing == HN_PACKED_Q4_1 ? 2 : 1;
	const __m512i group = _mm512_setr_epi32(0, 0, 0, 0, step, step, step, step, 2 * step,
		2 * step, 2 * step, 2 * step, 3 * step, 3 * step, 3 * step, 3 * step);
	int64_t blocks = k / 32;

	for (int64_t at = 0; blocks > 0; at += 128, blocks -= 4) {
		__m256 heads;
		const __m512i q = blocks >= 4 ? load_blocks(packing, w, 4, &heads)
					      : load_blocks(packing, w, blocks, &heads);
		const __m512 wide = _mm512_zextps256_ps512(heads);
		const __m512 d = _mm512_permutexvar_ps(group, wide);
		vf t[HN_THIN];

#pragma GCC unroll 8
		for (int j = 0; j < 8; j++) {
			const vf v = (vf)_mm512_permutexvar_ps(
				_mm512_srli_epi32(q, 4u * (unsigned)j), values);

#pragma GCC unroll 8
			for (int r = 0; r < m; r++) {
				const vf x = v_load(rows->x[r] + at + 16 * j);

				t[r] = j ? v_fma(v, x, t[r]) : v * x;
			}
		}
#pragma GCC unroll 8
		for (int r = 0; r < m; r++) {
			acc[r] = v_fma((vf)d, t[r], acc[r]);
			if (packing == HN_PACKED_Q4_1)
				acc[r] = v_fma((vf)wide, v_load(rows->sums[r] + at / 8), acc[r]);
		}
		w += 4 * (16 + 2 * step);
	}
}

/* q4_k: 64 bytes are four runs of 32; low nibbles are of the even ones. */
LANE void
packed_q4_k(
	const int m, const struct packed_rows *rows, const uint8_t *w, int64_t k, vf acc[HN_THIN])
{
	const __m512 values = nibble_values();
	const __m512i second = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2);

	for (int64_t at = 0; at < k; at += 256, w += 144) {
		uint32_t packed[4];
		__m512 scales;

		unpack_scales(w, packed);
		scales = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(
					       (const __m128i *)(const void *)packed))),
			_mm512_mask_blend_ps(0xff00, _mm512_set1_ps(half_at(w)),
				_mm512_set1_ps(half_at(w + 2))));
#pragma GCC unroll 8
		for (int r = 0; r < m; r++)
			acc[r] = v_fma((vf)scales, v_load(rows->sums[r] + at / 16), acc[r]);
#pragma GCC unroll 2
		for (int half = 0; half < 2; half++) {
			const __m512i q = _mm512_loadu_si512(w + 16 + 64 * half);

#pragma GCC unroll 2
			for (int h = 0; h < 2; h++) {
				const __m512 d = _mm512_permutexvar_ps(
					_mm512_add_epi32(second, _mm512_set1_epi32(4 * half + h)),
					scales);
				vf t[HN_THIN];

#pragma GCC unroll 4
				for (int b = 0; b < 4; b++) {
					const int j = 2 * b + h;
					const vf v = (vf)_mm512_permutexvar_ps(
						_mm512_srli_epi32(q, 4u * (unsigned)j), values);

#pragma GCC unroll 8
					for (int r = 0; r < m; r++) {
						const vf x = v_load(
							rows->x[r] + at + 128 * half + 16 * j);

						t[r] = b ? v_fma(v, x, t[r]) : v * x;
					}
				}
#pragma GCC unroll 8
				for (int r = 0; r < m; r++)
					acc[r] = v_fma((vf)d, t[r], acc[r]);
			}
		}
	}
}

/* 64 codes of q6_k less 32: low four bits by `shift` 0 or 4 of `low`, the other two from `high`
 * by 2 (shift / 2) in the first 32 bytes and 2 more in the others. */
LANE __m512i
sixes(__m512i low, __m512i high, const int shift)
{
	const __m512i by = _mm512_add_epi16(_mm512_set1_epi16((short)shift),
		_mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1));
	const __m512i four =
		_mm512_and_si512(shift ? _mm512_srli_epi16(low, 4) : low, _mm512_set1_epi8(15));
	const __m512i two = _mm512_slli_epi16(
		_mm512_and_si512(_mm512_srlv_epi16(high, by), _mm512_set1_epi8(3)), 4);

	return _mm512_sub_epi8(_mm512_or_si512(four, two), _mm512_set1_epi8(32));
}

/* q6_k: byte b of 16 words at a time, moved to the top of its word: 2^24 the code, with its
 * sign. */
LANE void
packed_q6_k(
	const int m, const struct packed_rows *rows, const uint8_t *w, int64_t k, vf acc[HN_THIN])
{
	const __m512i group = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
	const __m512i top = _mm512_broadcast_i32x4(
		_mm_setr_epi8(-1, -1, -1, 0, -1, -1, -1, 4, -1, -1, -1, 8, -1, -1, -1, 12));
	const __m512i next = _mm512_set1_epi32(1 << 24);

	for (int64_t at = 0; at < k; at += 256, w += 210) {
		const __m512 scales = _mm512_mul_ps(
			_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(
				_mm_loadu_si128((const __m128i *)(const void *)(w + 192)))),
			_mm512_set1_ps(half_at(w + 208) * 0x1p-24f));

#pragma GCC unroll 4
		for (int part = 0; part < 4; part++) {
			const int half = part / 2, shift = part % 2 * 4;
			const __m512i s = sixes(_mm512_loadu_si512(w + 64 * half),
				_mm512_broadcast_i64x4(_mm256_loadu_si256(
					(const __m256i *)(const void *)(w + 128 + 32 * half))),
				shift);
			const __m512 d = _mm512_permutexvar_ps(
				_mm512_add_epi32(group, _mm512_set1_epi32(4 * part)), scales);
			__m512i pick = top;
			vf t[HN_THIN];

#pragma GCC unroll 4
			for (int b = 0; b < 4; b++) {
				const vf v = (vf)_mm512_cvtepi32_ps(_mm512_shuffle_epi8(s, pick));

				pick = _mm512_add_epi32(pick, next);
#pragma GCC unroll 8
				for (int r = 0; r < m; r++) {
					const vf x = v_load(rows->x[r] + at + 64 * part + 16 * b);

					t[r] = b ? v_fma(v, x, t[r]) : v * x;
				}
			}
#pragma GCC unroll 8
			for (int r = 0; r < m; r++)
				acc[r] = v_fma((vf)d, t[r], acc[r]);
		}
	}
}

/* The element of a chunk that is read as lane `lane` of register j. */
LANE int
turned(int32_t packing, int j, int lane)
{
	if (packing == HN_PACKED_Q6_K) /* chunks of 64, byte j */
		return 4 * lane + j;
	if (packing == HN_PACKED_Q4_K) /* byte j / 2, nibble j % 2 of 8 words a pair of runs */
		return lane / 8 * 64 + j % 2 * 32 + lane % 8 * 4 + j / 2;
	return lane / 4 * 32 + j % 2 * 16 + lane % 4 * 4 + j / 2;
}

static void
packed_turn(int32_t packing, const float *x, int64_t k, float *out, float *sums)
{
	const int registers = packing == HN_PACKED_Q6_K ? 4 : 8;
	const int64_t chunk = registers * 16, whole = k / chunk * chunk;
	float last[128] = {0};
	int32_t from[8][16];

	if (packing == HN_PACKED_Q4_1 || packing == HN_PACKED_Q4_K)
		packed_sums(packing, x, k, sums);
	if (packing <= HN_PACKED_Q8_0) {
		memcpy(out, x, (size_t)k * 4);
		return;
	}
	for (int j = 0; j < registers; j++)
		for (int i = 0; i < 16; i++)
			from[j][i] = turned(packing, j, i);
	memcpy(last, x + whole, (size_t)(k - whole) * 4);
	for (int64_t at = 0; at < k; at += chunk)
		for (int j = 0; j < registers; j++)
			_mm512_storeu_ps(out + at + 16 * j,
				_mm512_i32gather_ps(_mm512_loadu_si512(from[j]),
					at < whole ? x + at : last, 4));
}
#else
/* ---- other paths: codes in the order of x ---- */

LANE vi
bytes_at(const uint8_t *p)
{
	uint8_t b __attribute__((vector_size(HN_LANES)));

	memcpy(&b, p, sizeof b);
	return __builtin_convertvector(b, vi);
}

/* low[r] += (nibble - 8) x of n bytes, high likewise with x `apart` elements on. */
LANE void
packed_nibbles(const int m, const uint8_t *q, const int n, const struct packed_rows *rows,
	int64_t at, const int apart, vf low[HN_THIN], vf high[HN_THIN])
{
#pragma GCC unroll 8
	for (int i = 0; i < n; i += HN_LANES) {
		const vi b = bytes_at(q + i);
		const vf lo = __builtin_convertvector((b & 15) - 8, vf);
		const vf hi = __builtin_convertvector((b >> 4) - 8, vf);

		for (int r = 0; r < m; r++) {
			low[r] = v_fma(lo, v_load(rows->x[r] + at + i), low[r]);
			high[r] = v_fma(hi, v_load(rows->x[r] + at + apart + i), high[r]);
		}
	}
}

LANE void
packed_q4(const int m, const int32_t packing, const struct packed_rows *rows, const uint8_t *w,
	int64_t k, vf acc[HN_THIN])
{
	const int head = packing == HN_PACKED_Q4_1 ? 4 : 2;

	for (int64_t at = 0; at < k; at += 32, w += head + 16) {
		const float d = half_at(w), low_at = head == 4 ? half_at(w + 2) : 0.0f;
		const int64_t sum = at / 128 * 16 + at % 128 / 16;
		vf low[HN_THIN], high[HN_THIN];

		for (int r = 0; r < m; r++)
			low[r] = high[r] = v_set(0.0f);
		packed_nibbles(m, w + head, 16, rows, at, 16, low, high);
		for (int r = 0; r < m; r++) {
			acc[r] = v_fma(v_set(d), low[r] + high[r], acc[r]);
			if (head == 4)
				acc[r][0] +=
					d * rows->sums[r][sum] + low_at * rows->sums[r][sum + 1];
		}
	}
}

LANE void
packed_q4_k(
	const int m, const struct packed_rows *rows, const uint8_t *w, int64_t k, vf acc[HN_THIN])
{
	for (int64_t at = 0; at < k; at += 256, w += 144) {
		const float d = half_at(w), min = half_at(w + 2);
		uint32_t packed[4];
		uint8_t s[16];

		unpack_scales(w, packed);
		memcpy(s, packed, sizeof s);
		for (int pair = 0; pair < 4; pair++) {
			vf low[HN_THIN], high[HN_THIN];

			for (int r = 0; r < m; r++)
				low[r] = high[r] = v_set(0.0f);
			packed_nibbles(
				m, w + 16 + 32 * pair, 32, rows, at + 64 * pair, 32, low, high);
			for (int r = 0; r < m; r++) {
				acc[r] = v_fma(v_set(d * s[2 * pair]), low[r], acc[r]);
				acc[r] = v_fma(v_set(d * s[2 * pair + 1]), high[r], acc[r]);
			}
		}
		for (int r = 0; r < m; r++)
			for (int j = 0; j < 8; j++)
				acc[r][j % HN_LANES] += d * s[j] * rows->sums[r][at / 16 + j] +
					min * s[8 + j] * rows->sums[r][at / 16 + 8 + j];
	}
}

LANE void
packed_q6_k(
	const int m, const struct packed_rows *rows, const uint8_t *w, int64_t k, vf acc[HN_THIN])
{
	for (int64_t at = 0; at < k; at += 256, w += 210) {
		const float d = half_at(w + 208);

		for (int run = 0; run < 16; run++) {
			const int g = run / 2 % 4, first = run % 2 * 16;
			const uint8_t *low = w + run / 8 * 64 + g % 2 * 32 + first;
			const uint8_t *high = w + 128 + run / 8 * 32 + first;
			const vf scale = v_set(d * (float)(int8_t)w[192 + run]);
			vf t[HN_THIN];

			for (int r = 0; r < m; r++)
				t[r] = v_set(0.0f);
#pragma GCC unroll 4
			for (int i = 0; i < 16; i += HN_LANES) {
				const vi four = bytes_at(low + i) >> g / 2 * 4 & 15;
				const vi two = bytes_at(high + i) >> 2 * g & 3;
				const vf v = __builtin_convertvector((four | two << 4) - 32, vf);

				for (int r = 0; r < m; r++)
					t[r] = v_fma(
						v, v_load(rows->x[r] + at + 16 * run + i), t[r]);
			}
			for (int r = 0; r < m; r++)
				acc[r] = v_fma(scale, t[r], acc[r]);
		}
	}
}

static void
packed_turn(int32_t packing, const float *x, int64_t k, float *out, float *sums)
{
	if (packing == HN_PACKED_Q4_1 || packing == HN_PACKED_Q4_K)
		packed_sums(packing, x, k, sums);
	memcpy(out, x, (size_t)k * 4);
}
#endif

/* ---- The table's functions ---- */

/* One row of the weight against m rows of x. */
LANE void
packed_row(const int m, const int32_t packing, const struct packed_rows *rows, const uint8_t *w,
	int64_t k, vf acc[HN_THIN])
{
	switch (packing) {
	case HN_PACKED_F32:
		packed_dense(m, HONE_DTYPE_F32, rows, w, k, acc);
		break;
	case HN_PACKED_F16:
		packed_dense(m, HONE_DTYPE_F16, rows, w, k, acc);
		break;
	case HN_PACKED_BF16:
		packed_dense(m, HONE_DTYPE_BF16, rows, w, k, acc);
		break;
	case HN_PACKED_Q8_0:
		packed_q8_0(m, rows, w, k, acc);
		break;
	case HN_PACKED_Q4_K:
		packed_q4_k(m, rows, w, k, acc);
		break;
	case HN_PACKED_Q6_K:
		packed_q6_k(m, rows, w, k, acc);
		break;
	default:
		packed_q4(m, packing, rows, w, k, acc);
	}
}

/* All rows of one format; m and the format are constants at every call. */
LANE void
packed_loop(const int m, const int32_t packing, const struct hn_packed *p)
{
	const int64_t bytes = packed_bytes(packing, p->k), ahead = 2048;
	struct packed_rows rows;

	for (int r = 0; r < m; r++) {
		const int64_t at = r < p->m ? r : p->m - 1;

		rows.x[r] = p->x + at * p->ldx;
		rows.sums[r] = p->sums + at * p->ld_sums;
	}
	for (int64_t i = 0; i < p->n; i++) {
		const uint8_t *w = (const uint8_t *)p->w + i * bytes;
		vf acc[HN_THIN];

		for (int64_t b = 0; b < bytes; b += 64)
			__builtin_prefetch(w + ahead + b);
#pragma GCC unroll 8
		for (int r = 0; r < m; r++)
			acc[r] = v_set(0.0f);
		packed_row(m, packing, &rows, w, p->k, acc);
		for (int r = 0; r < m && r < p->m; r++)
			p->out[r * p->ldo + i] = packed_total(acc[r]);
	}
}

LANE void
packed_formats(const int m, const struct hn_packed *p)
{
	switch (p->packing) {
	case HN_PACKED_F32:
		packed_loop(m, HN_PACKED_F32, p);
		break;
	case HN_PACKED_F16:
		packed_loop(m, HN_PACKED_F16, p);
		break;
	case HN_PACKED_BF16:
		packed_loop(m, HN_PACKED_BF16, p);
		break;
	case HN_PACKED_Q8_0:
		packed_loop(m, HN_PACKED_Q8_0, p);
		break;
	case HN_PACKED_Q4_0:
		packed_loop(m, HN_PACKED_Q4_0, p);
		break;
	case HN_PACKED_Q4_1:
		packed_loop(m, HN_PACKED_Q4_1, p);
		break;
	case HN_PACKED_Q4_K:
		packed_loop(m, HN_PACKED_Q4_K, p);
		break;
	case HN_PACKED_Q6_K:
		packed_loop(m, HN_PACKED_Q6_K, p);
		break;
	default:
		break;
	}
}

static void
packed(const struct hn_packed *p)
{
	if (p->m == 1)
		packed_formats(1, p);
	else if (p->m == 2)
		packed_formats(2, p);
	else if (p->m <= 4)
		packed_formats(4, p);
	else
		packed_formats(8, p);
}
