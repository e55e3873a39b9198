/*
 * attention_columns.c - what both directions of attention ask of a segment: its blocks of
 * keys, what columns see of them, and where the rows behind columns and keys lie.
 */
#include <string.h>

#include "attention.h"
#include "product.h"

void
attention_open(struct attention *a, const struct cpu_call *call, uint32_t q, uint32_t offsets,
	int64_t keys)
{
	const struct hone_attr_attention *attr = call->c->attr;
	const struct cpu_mat ranges = cpu_in(call, offsets + 1);

	*a = (struct attention){.call = call,
		.k = call->k,
		.attr = attr,
		.q = cpu_in(call, q),
		.key = cpu_in(call, q + 1),
		.v = cpu_in(call, q + 2),
		.q_offsets = (const int32_t *)(const void *)cpu_in(call, offsets).p,
		.kv_ranges = (const int32_t *)(const void *)ranges.p,
		.S = ranges.rows,
		.H = attr->n_heads,
		.G = attr->n_kv_heads,
		.K = attr->head_dim,
		.keys = keys};
	if (cpu_has_in(call, offsets + 2)) {
		a->prefix_k = cpu_in(call, offsets + 2);
		a->prefix_v = cpu_in(call, offsets + 3);
		a->P = a->prefix_k.rows;
	}
	a->group = a->H / a->G;
	a->bf16 = call->k->bf16 && a->q.dtype == HONE_DTYPE_BF16;
	a->wide = cpu_round_up(a->K, call->k->lanes);
	a->words = a->bf16 ? (a->K + 1) / 2 : a->K;
	a->strip = HN_PANELS * call->k->lanes;
}

struct segment
attention_segment(const struct attention *a, int64_t s)
{
	const int64_t q0 = a->q_offsets[s], k0 = a->kv_ranges[2 * s];

	return (struct segment){.q0 = q0,
		.T = a->q_offsets[s + 1] - q0,
		.k0 = k0,
		.U = a->kv_ranges[2 * s + 1] - k0};
}

int64_t
attention_blocks(const struct attention *a, const struct key_run *run)
{
	return (run->with_prefix ? cpu_ceil(a->P, a->keys) : 0) +
		cpu_ceil(run->to - run->from, a->keys);
}

struct key_block
attention_block(
	const struct attention *a, const struct segment *s, const struct key_run *run, int64_t i)
{
	const int64_t n_prefix = run->with_prefix ? cpu_ceil(a->P, a->keys) : 0;
	int64_t first = i * a->keys;

	if (i < n_prefix)
		return (struct key_block){
			.row = first, .n = cpu_min(a->keys, a->P - first), .prefix = 1};
	first = run->from + (i - n_prefix) * a->keys;
	return (struct key_block){
		.row = s->k0 + first, .n = cpu_min(a->keys, run->to - first), .first = first};
}

/* Where position i stands among the segment's own keys, counted from the block's first. */
static int64_t
own_key(const struct segment *s, const struct key_block *b, int64_t i)
{
	return i + s->U - s->T - b->first;
}

enum attention_sight
attention_sees(const struct attention *a, const struct segment *s, const struct key_block *b,
	int64_t e, int64_t end)
{
	const int64_t first = own_key(s, b, e / a->group), w = a->attr->window;
	const int64_t last = own_key(s, b, (end - 1) / a->group);

	if (b->prefix)
		return ATTENTION_ALL;
	if ((a->attr->causal && last < 0) || (w > 0 && first - w + 1 >= b->n))
		return ATTENTION_NONE;
	if ((a->attr->causal && first + 1 < b->n) || (w > 0 && last - w + 1 > 0))
		return ATTENTION_SOME;
	return ATTENTION_ALL;
}

void
attention_ranges(const struct attention *a, const struct segment *s, const struct key_block *b,
	int64_t e, int64_t end, int32_t *low, int32_t *high)
{
	const int64_t w = a->attr->window;
	int64_t at = own_key(s, b, e / a->group), h = e % a->group, i = 0;

	while (i < a->strip) {
		const int64_t from = w > 0 ? cpu_min(at - w + 1, b->n) : 0;
		const int64_t to = a->attr->causal ? cpu_min(at + 1, b->n) : b->n;
		const int64_t last = (e + i - h) + a->group >= end;

		for (; i < a->strip && (last || h < a->group); i++, h++) {
			low[i] = from > 0 ? (int32_t)from : 0;
			high[i] = to > 0 ? (int32_t)to : 0;
		}
		h = 0;
		at++;
	}
}

void
attention_rows(const struct attention *a, const struct segment *s, const struct cpu_mat *x,
	int64_t g, int64_t e, int64_t end, float *rest, uint8_t *row[ATTENTION_STRIP])
{
	int64_t h = e % a->group, i = 0;
	const int64_t head = a->K * hone_dtype_bytes(x->dtype);
	const int64_t line = x->cols * hone_dtype_bytes(x->dtype);
	uint8_t *p = cpu_at(x, (s->q0 + e / a->group) * x->cols + g * a->group * a->K);

	for (; i < cpu_min(a->strip, end - e); i++) {
		row[i] = p + h * head;
		if (++h == a->group) {
			h = 0;
			p += line;
		}
	}
	for (; i < a->strip; i++)
		row[i] = (uint8_t *)rest;
}

struct hn_fetch
attention_fetch(const struct attention *a, const struct segment *s, const struct cpu_mat *x,
	int64_t g, int64_t e, int64_t end)
{
	const int64_t first = e / a->group, size = hone_dtype_bytes(x->dtype);
	const int64_t last = (cpu_min(e + a->strip, end) - 1) / a->group;

	return (struct hn_fetch){.p = cpu_at(x, (s->q0 + first) * x->cols + g * a->group * a->K),
		.ld = x->cols * size,
		.n = e < end ? last + 1 - first : 0,
		.bytes = a->group * a->K * size};
}

struct hn_fetch
attention_fetch_keys(const struct attention *a, const struct key_block *b, int values, int64_t g,
	int64_t i, int64_t n)
{
	const struct cpu_mat *own = values ? &a->v : &a->key;
	const struct cpu_mat *x = !b->prefix ? own : values ? &a->prefix_v : &a->prefix_k;
	const int64_t share = cpu_ceil(b->n, n), size = hone_dtype_bytes(x->dtype);
	const int64_t from = cpu_min(i * share, b->n);

	return (struct hn_fetch){.p = cpu_at(x, (b->row + from) * x->cols + g * a->K),
		.ld = x->cols * size,
		.n = cpu_min(share, b->n - from),
		.bytes = a->K * size};
}

void
attention_gather(const struct attention *a, const struct segment *s, const struct cpu_mat *x,
	int64_t g, int64_t e, int64_t end, float *out)
{
	int64_t h = e % a->group;
	const float *p = (const float *)(const void *)cpu_at(
		x, (s->q0 + e / a->group) * a->H + g * a->group);

	for (int64_t i = 0; i < a->strip; i++) {
		out[i] = e + i < end ? p[h] : 0.0f;
		if (++h == a->group) {
			h = 0;
			p += a->H;
		}
	}
}

int64_t
attention_copy_floats(const struct attention *a)
{
	return (a->keys + a->k->key_rows) * a->words;
}

struct hn_rows
attention_keys(const struct attention *a, const struct cpu_mat *x, const struct key_block *b,
	int64_t g, float *copy)
{
	const int64_t tile = a->k->key_rows, whole = b->n / tile * tile;
	const int direct = cpu_product_direct(x, x->cols, a->K, a->bf16);
	const int64_t from = direct ? whole : 0;
	const struct hn_pack pack = {.bf16 = a->bf16,
		.dtype = x->dtype,
		.out = copy,
		.w = a->words,
		.in = cpu_at(x, (b->row + from) * x->cols + g * a->K),
		.ld = x->cols,
		.n = b->n - from,
		.k = a->K};
	struct hn_rows rows = {.p = copy, .ld = a->words, .tail = copy, .ld_tail = a->words};

	if (pack.n > 0)
		a->k->pack_copy(&pack);
	memset(copy + pack.n * a->words, 0,
		(size_t)((cpu_round_up(pack.n, tile) - pack.n) * a->words) * 4);
	if (direct) {
		rows.p = (const float *)(const void *)cpu_at(x, b->row * x->cols + g * a->K);
		rows.ld = a->bf16 ? x->cols / 2 : x->cols;
	} else {
		rows.tail = copy + whole * a->words;
	}
	return rows;
}

void
attention_depths(const struct attention *a, const struct cpu_mat *x, const struct key_block *b,
	int64_t g, float *out)
{
	const struct hn_pack pack = {.bf16 = a->bf16,
		.dtype = x->dtype,
		.out = out,
		.in = cpu_at(x, b->row * x->cols + g * a->K),
		.ld = x->cols,
		.n = a->K,
		.k = b->n};

	a->k->pack_depths(&pack);
}
