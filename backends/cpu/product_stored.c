/*
 * product_stored.c - slabs of a stored (quantised) weight, for the packing of panels.
 *
 * A product (product.c) packs the columns of b that a piece needs; of a stored b it asks here for
 * a rectangle at a time, a slab, that is decoded into a worker's scratch and packed from there
 * while it is in L1.  So each piece decodes what it packs and no copy of the weight exists, dense
 * or other; what is not decoded twice is up to how pieces are cut.
 *
 * Blocks run along the rows of the weight [O, I].  Where rows are whole blocks a slab is widened
 * to whole blocks and decoded where it will lie, to bf16 where the format does that and products
 * are formed from it.  Where blocks straddle rows (few weights of few formats) any range is read,
 * to f32.
 */
#include <hone/storage.h>

#include "product.h"

#define SLAB_ELEMS 8192 /* of a slab, about: 16 or 32 KiB */
#define FETCH_ROWS 64   /* ahead of the one being decoded */

int64_t
cpu_slab_unit(const struct hone_operand *w)
{
	const int64_t block = w->storage->block_elems ? (int64_t)w->storage->block_elems : 1;

	return hone_operand_row_elems(w) % block ? 1 : block;
}

int64_t
cpu_slab_k(const struct hone_operand *w, int32_t form, int64_t across, int64_t depth)
{
	const int64_t unit = form == CPU_NT ? cpu_multiple(cpu_slab_unit(w), 2) : 2;
	const int64_t most = cpu_max(SLAB_ELEMS / across / unit * unit, unit);

	/* slabs of about one size */
	return cpu_max(cpu_round_up(cpu_ceil(depth, cpu_ceil(depth, most)), unit), unit);
}

/* Elements of a row that are decoded for `cols` wherever they begin. */
static int64_t
span_of(const struct hone_operand *w, int64_t cols)
{
	const int64_t unit = cpu_slab_unit(w);

	return cpu_min(cpu_round_up(cols, unit) + unit, hone_operand_row_elems(w));
}

uint64_t
cpu_slab_bytes(const struct hone_operand *w, int64_t rows, int64_t cols)
{
	const int64_t buffer = cpu_slab_unit(w) == 1 ? cpu_stored_buffer(w) : 0;

	return (uint64_t)(rows * span_of(w, cols) + buffer) * 4;
}

/* n elements from `first` to place `at` of the memory; 0 where they cannot be had as bf16. */
static int
read_bf16(const struct cpu_slab *s, int64_t first, int64_t n, int64_t at)
{
	uint16_t *out = (uint16_t *)(void *)s->memory + at;

	return s->bf16 && cpu_slab_unit(s->from) > 1 &&
		cpu_stored_read_bf16(s->from, first, n, out);
}

static void
read_f32(const struct cpu_slab *s, int64_t first, int64_t n, int64_t at, int64_t end)
{
	float *memory = (float *)(void *)s->memory;

	cpu_stored_read(s->from, first, n, memory + at, memory + end);
}

/* Asks for n elements of the first part, for L2: parts of rows are too far apart for the processor
 * to see through, and what tiles have asked for (product.c) they may have pushed out again. */
static void
fetch(const struct hone_operand *w, int64_t first, int64_t n)
{
	const int64_t elems = (int64_t)w->storage->block_elems;
	const int64_t bytes = (int64_t)w->storage->block_bytes;
	const uint8_t *at = (const uint8_t *)w->buffer + w->offset + first / elems * bytes;
	const uint8_t *const end = at + n / elems * bytes + 63;

	for (; at < end; at += 64)
		__builtin_prefetch(at, 0, 2);
}

void
cpu_slab_read(struct cpu_slab *s, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
	const int64_t I = hone_operand_row_elems(s->from), unit = cpu_slab_unit(s->from);
	const int64_t from = col / unit * unit, to = cpu_round_up(col + cols, unit);
	const int64_t n = to - from, end = rows * n;
	const int64_t each = n == I ? end : n; /* whole rows lie one behind the other */
	const int64_t first = row * I + from;
	int is_bf16 = 1;

	for (int64_t at = 0, i = first; at < end; at += each, i += I) {
		if (n < I && unit > 1)
			fetch(s->from, i + FETCH_ROWS * I, n);
		is_bf16 = is_bf16 && read_bf16(s, i, each, at);
		if (!is_bf16)
			read_f32(s, i, each, at, end);
	}
	s->mat.dtype = is_bf16 ? HONE_DTYPE_BF16 : HONE_DTYPE_F32;
	s->mat.p = s->memory;
	s->mat.p = cpu_at(&s->mat, col - from);
	s->ld = n;
}
