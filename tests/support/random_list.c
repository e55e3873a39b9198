/*
 * support/random_list.c - random lists of commands: shapes, places, what is legal.
 *
 * An operand gets its place when a command first takes it, so that it may lie across those at
 * hand.  A command that op.h rules out on the places drawn is left out of the list.
 */
#include "random_list_parts.h"

#include "support.h"

#include <hone/storage.h>

#include <string.h>

#include "base/rng.h"

#define MOST_BYTES  (160 * 1024) /* of an operand */
#define MOST_MACS   INT64_C(3000000)
#define NARROW_K    64 /* k of a product that another may take along, at most */
#define MANY_TRIES  6
#define WINDOW_ROWS 2

/* ---- drawing ---- */

int64_t
list_below(struct random_list *l, int64_t n)
{
	return (int64_t)hn_rng_below(l->seed, 0x11575, l->drawn++, 0, (uint64_t)n);
}

bool
list_chance(struct random_list *l, int64_t percent)
{
	return list_below(l, 100) < percent;
}

/* ---- shapes ---- */

/* A stored weight: 32 signed bytes a block, in parts of 512. */
static void
stored_decode(const void *self, const void *const *parts, int64_t first, int64_t n, float *dst)
{
	const int8_t *codes = parts[0];

	(void)self;
	for (int64_t i = 0; i < n; i++)
		dst[i] = (float)codes[first + i] / 512.0f;
}

static const struct hone_storage_vt stored = {.struct_size = sizeof stored,
	.id = "bytes",
	.block_elems = 32,
	.block_bytes = 32,
	.n_parts = 1,
	.decode = stored_decode};

/* Makes a weight a stored one, behind the memory that commands write. */
static void
store(struct random_list *l, uint32_t which)
{
	struct hone_operand *o = &l->o[which];

	o->dtype = HONE_DTYPE_NONE;
	o->storage = &stored;
	o->buffer = l->memory;
	o->offset = LIST_MEMORY;
	l->is_placed[which] = true;
}

/* rows x width[b], or width[a] x width[b]; a = -1 rows, -2 a vector. */
static const struct {
	int8_t a, b, count, f32;
} groups[N_GROUPS] = {[ACT0] = {-1, 0, 7, 0},
	[ACT1] = {-1, 1, 7, 0},
	[ACT2] = {-1, 2, 4, 0},
	[WIDE] = {0, 1, 2, 0},
	[WIDE_T] = {1, 0, 1, 0},
	[DOWN] = {2, 1, 3, 2},
	[UP] = {0, 2, 2, 2},
	[VEC0] = {-2, 0, 2, 0},
	[VEC1] = {-2, 1, 1, 0},
	[TABLE0] = {-1, -1, 1, 1},
	[TABLE1] = {-1, -2, 1, 1},
	[GRAD] = {0, 1, 1, 1},
	[GRAD_UP] = {0, 2, 2, 1},
	[GRAD_DOWN] = {2, 1, 2, 1},
	[COLUMN] = {-1, -3, 1, 1},
	[BOTH] = {-1, -4, 1, 0}};

static int64_t
columns_of(const struct random_list *l, int32_t b)
{
	switch (b) {
	case -1:
		return l->head[0];
	case -2:
		return l->head[1];
	case -3:
		return 1;
	case -4:
		return l->width[0] + l->width[1];
	default:
		return l->width[b];
	}
}

static uint64_t
bytes_of(const struct hone_operand *o)
{
	if (o->storage)
		return (uint64_t)(o->dim[0] * o->dim[1]);
	return (uint64_t)(o->dim[0] * hone_operand_row_elems(o) * hone_dtype_bytes(o->dtype));
}

/* Columns of a table for heads that divide a width: all of a head, or less. */
static int64_t
table_columns(struct random_list *l, int64_t width)
{
	static const int64_t heads[] = {4, 8, 10, 16, 26, 32, 32, 64, 64, 96, 128};
	const int64_t head = DRAW(l, heads);

	return width % head ? 4 : list_chance(l, 70) ? head : (head / 4 + 1) * 2;
}

/* Whether operands stay small, and, where that is asked for, a narrow product may join. */
static bool
sizes_fit(const struct random_list *l, bool joins)
{
	const int64_t *w = l->width, most = w[0] > w[1] ? w[0] : w[1];

	if (joins && (l->m < 9 || w[0] <= NARROW_K || w[1] <= NARROW_K || w[2] > NARROW_K))
		return false;
	return l->m * most * 4 <= MOST_BYTES && w[0] * w[1] * 4 <= MOST_BYTES &&
		l->m * w[0] * w[1] <= MOST_MACS;
}

static void
draw_sizes(struct random_list *l)
{
	static const int64_t rows[] = {300, 300, 64, 1}, ranks[] = {5, 8, 8, 8, 8, 32, 64, 96, 96};
	static const int64_t widths[] = {5, 8, 32, 64, 64, 96, 96, 130, 192, 192, 576};
	const bool joins = l->joins && list_chance(l, 70);

	do {
		l->m = list_chance(l, 30)    ? 1 + list_below(l, 9)
			: list_chance(l, 80) ? 9 + list_below(l, 62)
					     : DRAW(l, rows);
		l->width[0] = DRAW(l, widths);
		l->width[1] = DRAW(l, widths);
		l->width[2] = DRAW(l, ranks);
	} while (!sizes_fit(l, joins));
	l->head[0] = table_columns(l, l->width[0]);
	l->head[1] = table_columns(l, l->width[1]);
}

static void
draw_operands(struct random_list *l)
{
	const bool spaced = list_chance(l, 50), window = spaced && list_chance(l, 30);
	const bool mixed = !l->joins && list_chance(l, 20), adapters_f32 = list_chance(l, 60);
	const int64_t capacity = l->m + (spaced ? WINDOW_ROWS + list_below(l, 4) : 0);

	l->live[1] = l->m;
	l->begin[1] = window ? WINDOW_ROWS : 0;
	l->halves = l->joins || !mixed;
	for (uint32_t g = 0; g < N_GROUPS; g++) {
		for (int32_t i = 0; i < groups[g].count; i++) {
			struct hone_operand *o = &l->o[l->n_operands++];
			const bool rows = groups[g].a == -1, vector = groups[g].a == -2;
			const int64_t cols = columns_of(l, groups[g].b);

			*o = (struct hone_operand){.dtype = l->compute, .rank = vector ? 1 : 2};
			if (groups[g].f32 == 1 || (groups[g].f32 && adapters_f32))
				o->dtype = HONE_DTYPE_F32;
			else if (mixed && list_chance(l, 25))
				o->dtype = HONE_DTYPE_F32;
			o->dim[0] = vector ? cols : rows ? capacity : l->width[groups[g].a];
			o->dim[1] = vector ? 0 : cols;
			o->space = rows && spaced;
			if (rows && window && list_chance(l, 50))
				o->flags = HONE_OPERAND_WINDOW;
			if ((g == WIDE || g == WIDE_T) && o->dim[1] % 32 == 0 && list_chance(l, 20))
				store(l, l->n_operands - 1);
		}
	}
}

/* ---- places ---- */

static uint32_t
half_of(const struct random_list *l, const struct hone_operand *o)
{
	return l->halves && o->dtype != l->compute;
}

/* An operand that has its place, of the same half; the one written last more often. */
static int32_t
neighbour(struct random_list *l, uint32_t half, int64_t near)
{
	int32_t found = -1, n = 0;

	if (l->focus >= 0 && half_of(l, &l->o[l->focus]) == half && list_chance(l, near))
		return l->focus;
	for (uint32_t i = 0; i < l->n_operands; i++)
		if (l->is_placed[i] && !l->o[i].storage && half_of(l, &l->o[i]) == half &&
			list_below(l, ++n) == 0)
			found = (int32_t)i;
	return found;
}

/* Gives an operand its place: apart, or in, behind, across or before that of another. */
static void
place(struct random_list *l, uint32_t which)
{
	struct hone_operand *o = &l->o[which];
	const uint32_t half = half_of(l, o);
	const uint64_t first = half ? LIST_HALF : 0, size = half ? LIST_HALF / 2 : LIST_HALF;
	const uint64_t bytes = (bytes_of(o) + LIST_ALIGN - 1) / LIST_ALIGN * LIST_ALIGN;
	const bool small = o->rank == 1 || (which != 0 && bytes_of(o) < bytes_of(&l->o[0]));
	const int32_t other = neighbour(l, half, small ? 70 : 40);
	uint64_t at = first + l->used[half];

	if (l->is_placed[which])
		return;
	if (other >= 0 &&
		(!list_chance(l, small && l->apart < 100 ? l->apart / 2 : l->apart) ||
			l->used[half] + bytes > size)) {
		const uint64_t from = l->o[other].offset, there = bytes_of(&l->o[other]);
		const uint64_t lines = there / LIST_ALIGN;
		const int64_t how = list_below(l, o->rank == 1 && list_chance(l, 40) ? 3 : 10);

		at = from;
		if (how >= 3 && how < 5)
			at += (there + LIST_ALIGN - 1) / LIST_ALIGN * LIST_ALIGN;
		else if (how == 5)
			at += LIST_ALIGN;
		else if (how > 5 && how < 8)
			at += (uint64_t)list_below(l, (int64_t)lines + 1) * LIST_ALIGN;
		else if (how >= 8)
			at -= (uint64_t)list_below(l, (int64_t)(bytes / LIST_ALIGN) + 1) *
				LIST_ALIGN;
		if (at > from + there + LIST_ALIGN || at < first || at + bytes > first + size)
			at = first;
	}
	if (at + bytes > first + size)
		at = first;
	o->offset = at;
	o->buffer = l->memory;
	l->is_placed[which] = true;
	if (at + bytes - first > l->used[half])
		l->used[half] = at + bytes - first;
}

/* ---- choosing operands ---- */

static bool
same_shape(const struct hone_operand *a, const struct hone_operand *b)
{
	return a->rank == b->rank && a->space == b->space && a->dim[0] == b->dim[0] &&
		(a->rank < 2 || a->dim[1] == b->dim[1]);
}

/* A number of group g: rather one that is none of `but`. */
int32_t
list_pick(struct random_list *l, enum list_group g, uint64_t but)
{
	int32_t first = 0, i;

	for (uint32_t k = 0; k < (uint32_t)g; k++)
		first += groups[k].count;
	for (int tries = 0;; tries++) {
		i = first + (int32_t)list_below(l, groups[g].count);
		if (!(but >> i & 1) || tries == MANY_TRIES || list_chance(l, 10))
			return i;
	}
}

/* An operand that has the shape of another. */
int32_t
list_pick_like(struct random_list *l, int32_t like)
{
	int32_t found = like, n = 0;
	const bool known = list_chance(l, 50);

	for (uint32_t i = 0; i < l->n_operands; i++)
		if (same_shape(&l->o[i], &l->o[like]) && (l->is_placed[i] || !known) &&
			list_below(l, ++n) == 0)
			found = (int32_t)i;
	return found;
}

/* One of `rows` and `cols`, whether rows are of a space or not. */
int32_t
list_pick_shape(struct random_list *l, uint32_t space, int64_t rows, int64_t cols)
{
	int32_t found = -1, n = 0;

	for (uint32_t i = 0; i < l->n_operands; i++)
		if (l->o[i].rank == 2 && l->o[i].space == space && l->o[i].dim[0] == rows &&
			l->o[i].dim[1] == cols && list_below(l, ++n) == 0)
			found = (int32_t)i;
	return found;
}

/* ---- adding commands ---- */

/* The operand that output 0 may share memory with, or -1. */
static int32_t
in_place_of(uint32_t op)
{
	switch (op) {
	case HONE_OP_MATMUL:
		return 2;
	case HONE_OP_UNARY:
	case HONE_OP_UNARY_BACK:
	case HONE_OP_BINARY:
	case HONE_OP_SCALE:
	case HONE_OP_ROPE:
		return 0;
	default:
		return -1;
	}
}

static bool
same_operand(const struct hone_operand *a, const struct hone_operand *b)
{
	return a->offset == b->offset && a->dtype == b->dtype && a->flags == b->flags &&
		same_shape(a, b);
}

static bool
overlap(const struct hone_operand *a, const struct hone_operand *b)
{
	return a->offset < b->offset + bytes_of(b) && b->offset < a->offset + bytes_of(a);
}

static bool
is_legal(const struct list_item *item)
{
	const int32_t in_place = in_place_of(item->c.op);

	for (uint32_t i = 0; i < item->c.n_in; i++)
		if (item->in[i].storage &&
			(i != 1 || item->c.op != HONE_OP_MATMUL ||
				item->attr.matmul.form == HONE_MATMUL_TN))
			return false;
	if (item->out[0].storage)
		return false;
	for (uint32_t o = 0; o < item->c.n_out; o++)
		for (uint32_t i = 0; i < item->c.n_in; i++)
			if (overlap(&item->out[o], &item->in[i]) &&
				!(o == 0 && (int32_t)i == in_place &&
					same_operand(&item->out[o], &item->in[i])))
				return false;
	return item->c.n_out < 2 || !overlap(&item->out[0], &item->out[1]);
}

static int64_t
depth_of(const struct list_item *item)
{
	return item->attr.matmul.form == HONE_MATMUL_NT ? item->in[1].dim[1] : item->in[1].dim[0];
}

/* Whether a product might take an earlier one of the list along. */
static bool
may_join(const struct random_list *l, const struct list_item *item)
{
	if (item->c.op != HONE_OP_MATMUL || item->attr.matmul.form == HONE_MATMUL_TN ||
		item->c.n_in < 3 || item->in[2].offset != item->out[0].offset)
		return false;
	for (uint32_t i = 0; i < l->n; i++) {
		const struct list_item *one = &l->item[i];

		if (one->c.op == HONE_OP_MATMUL &&
			one->attr.matmul.form == item->attr.matmul.form &&
			one->out[0].offset == item->out[0].offset &&
			(depth_of(one) <= NARROW_K) != (depth_of(item) <= NARROW_K))
			return true;
	}
	return false;
}

void
list_add(struct random_list *l, const struct list_call *call)
{
	struct list_item *item = &l->item[l->n];

	if (l->n == LIST_COMMANDS)
		return;
	*item = (struct list_item){.attr = call->attr,
		.c = {.op = call->op,
			.flags = call->flags,
			.attr_size = call->attr_size,
			.name = call->name}};
	for (; item->c.n_in < 3 && call->in[item->c.n_in]; item->c.n_in++) {
		place(l, (uint32_t)call->in[item->c.n_in] - 1);
		item->in[item->c.n_in] = l->o[call->in[item->c.n_in] - 1];
	}
	for (; item->c.n_out < 2 && call->out[item->c.n_out]; item->c.n_out++) {
		place(l, (uint32_t)call->out[item->c.n_out] - 1);
		item->out[item->c.n_out] = l->o[call->out[item->c.n_out] - 1];
	}
	item->c.attr = call->attr_size ? &item->attr : NULL;
	item->c.in = item->c.n_in ? item->in : NULL;
	item->c.out = item->out;
	if (!is_legal(item) || (!l->joins && may_join(l, item)) || !l->keep(l->ctx, l, item))
		return;
	l->n++;
	if (item->out[0].rank == 2 && (item->out[0].space || item->out[0].dim[0] == l->m))
		l->focus = call->out[0] - 1;
}

void
random_list_begin(struct random_list *l, uint64_t seed, uint8_t *memory)
{
	static const int32_t apart[] = {100, 80, 50, 20};

	memset(l, 0, sizeof *l);
	l->seed = seed;
	l->memory = memory;
	l->focus = -1;
	l->joins = list_chance(l, 30);
	l->compute = list_chance(l, 50) ? HONE_DTYPE_F32 : HONE_DTYPE_BF16;
	l->apart = DRAW(l, apart);
	draw_sizes(l);
	draw_operands(l);
}

struct hone_run
random_list_run(const struct random_list *l)
{
	return (struct hone_run){.struct_size = sizeof(struct hone_run),
		.n_spaces = 2,
		.live = l->live,
		.begin = l->begin};
}

static void
print_operand(const struct hone_operand *o)
{
	print_error(" %s[%lld,%lld]@%llu..%llu%s%s", hone_dtype_name(o->dtype),
		(long long)o->dim[0], (long long)(o->rank > 1 ? o->dim[1] : 0),
		(unsigned long long)o->offset, (unsigned long long)(o->offset + bytes_of(o)),
		o->space ? " rows" : "", o->flags ? " window" : "");
}

void
random_list_print(const struct random_list *l)
{
	print_error("seed %llu: %s, rows %lld, from row %lld%s\n", (unsigned long long)l->seed,
		hone_dtype_name(l->compute), (long long)l->m, (long long)l->begin[1],
		l->joins ? ", may join" : "");
	for (uint32_t i = 0; i < l->n; i++) {
		const struct list_item *item = &l->item[i];

		print_error("%2u %s", i, item->c.name);
		if (item->c.op == HONE_OP_UNARY || item->c.op == HONE_OP_UNARY_BACK ||
			item->c.op == HONE_OP_BINARY)
			print_error(" %d", item->attr.unary.kind);
		if (item->c.op == HONE_OP_ROPE)
			print_error(" %lld", (long long)item->attr.rope.head_dim);
		if (item->c.flags)
			print_error(" +=");
		for (uint32_t k = 0; k < item->c.n_in; k++)
			print_operand(&item->in[k]);
		print_error(" ->");
		for (uint32_t k = 0; k < item->c.n_out; k++)
			print_operand(&item->out[k]);
		print_error("\n");
	}
}
