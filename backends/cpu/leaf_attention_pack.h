/*
 * leaf_attention_pack.h - rows of heads as strips of columns and back, for one path (see
 * lanes.h).
 *
 * What attention reads beside the keys in place: queries as columns (a transpose of squares of
 * words), queries as steps of a sum over them, values by tiles of depth; and what it writes.
 * Per element about half an instruction; once a piece or once a block.
 */
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
