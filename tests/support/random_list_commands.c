/*
 * support/random_list_commands.c - random lists of commands: single ones, and what programs emit.
 *
 * Weights of the draws favour what a backend may run together: products followed by elementwise
 * commands, gates, products of the same rows, a narrow product added to a wide one.
 */
#include "random_list_parts.h"

#define TRIES 6 /* for an operand that lies somewhere already */

/* Rows of activations: what was written last, more often than not. */
static int32_t
pick_rows(struct random_list *l)
{
	if (l->focus >= 0 && list_chance(l, 65))
		return l->focus;
	return list_chance(l, 50)    ? list_pick(l, ACT0, 0)
		: list_chance(l, 80) ? list_pick(l, ACT1, 0)
				     : list_pick(l, ACT2, 0);
}

/* c = -1: nothing is added. */
static void
product(struct random_list *l, int32_t form, int32_t a, int32_t b, int32_t c, int32_t y)
{
	const bool more = form == HONE_MATMUL_TN && list_chance(l, 60);

	if (l->o[y].dtype != HONE_DTYPE_F32 && form == HONE_MATMUL_TN)
		return;
	list_add(l,
		&(struct list_call){.op = HONE_OP_MATMUL,
			.flags = more ? HONE_COMMAND_ACCUMULATE : 0,
			.in = {a + 1, b + 1, c + 1},
			.out = {y + 1},
			.attr.matmul.form = form,
			.attr_size = sizeof(struct hone_attr_matmul),
			.name = form == HONE_MATMUL_NT   ? "nt"
				: form == HONE_MATMUL_NN ? "nn"
							 : "tn"});
}

/* Those of gates, those without jumps, and the others. */
static const int32_t kinds[] = {HONE_UNARY_SILU, HONE_UNARY_SILU, HONE_UNARY_GELU,
	HONE_UNARY_GELU_TANH, HONE_UNARY_SIGMOID, HONE_UNARY_NEG, HONE_UNARY_LOGSIGMOID,
	HONE_UNARY_SOFTPLUS, HONE_UNARY_TANH, HONE_UNARY_QUICK_GELU, HONE_UNARY_EXP,
	HONE_UNARY_SQUARE, HONE_UNARY_ABS, HONE_UNARY_RELU, HONE_UNARY_RECIPROCAL, HONE_UNARY_RSQRT,
	HONE_UNARY_LOG, HONE_UNARY_SQRT};
enum { N_SMOOTH = 10, N_KINDS = sizeof kinds / sizeof kinds[0] };

enum { N_GATES = 5 };

static int32_t
kind_of(struct random_list *l)
{
	return kinds[list_below(l, list_chance(l, 50) ? N_GATES : l->joins ? N_SMOOTH : N_KINDS)];
}

static void
unary(struct random_list *l, int32_t x, int32_t y)
{
	list_add(l,
		&(struct list_call){.op = HONE_OP_UNARY,
			.in = {x + 1},
			.out = {y + 1},
			.attr.unary.kind = kind_of(l),
			.attr_size = sizeof(struct hone_attr_unary),
			.name = "unary"});
}

static void
unary_back(struct random_list *l, int32_t dy, int32_t x, int32_t y)
{
	list_add(l,
		&(struct list_call){.op = HONE_OP_UNARY_BACK,
			.in = {dy + 1, x + 1},
			.out = {y + 1},
			.attr.unary.kind = kind_of(l),
			.attr_size = sizeof(struct hone_attr_unary),
			.name = "unary_back"});
}

static void
binary(struct random_list *l, int32_t kind, int32_t a, int32_t b, int32_t y)
{
	static const int32_t smooth[] = {HONE_BINARY_ADD, HONE_BINARY_ADD, HONE_BINARY_SUB,
		HONE_BINARY_MUL, HONE_BINARY_MUL, HONE_BINARY_MAX};

	if (!kind)
		kind = l->joins || list_chance(l, 80) ? DRAW(l, smooth)
						      : 1 + (int32_t)list_below(l, 8);
	list_add(l,
		&(struct list_call){.op = HONE_OP_BINARY,
			.in = {a + 1, b + 1},
			.out = {y + 1},
			.attr.binary.kind = kind,
			.attr_size = sizeof(struct hone_attr_binary),
			.name = "binary"});
}

static void
scale(struct random_list *l, int32_t x, int32_t y)
{
	static const double alphas[] = {2.0, 0.5, -1.0, 1.25};

	list_add(l,
		&(struct list_call){.op = HONE_OP_SCALE,
			.in = {x + 1},
			.out = {y + 1},
			.attr.scale = {.alpha = DRAW(l, alphas),
				.beta = list_chance(l, 20) ? 0.125 : 0},
			.attr_size = sizeof(struct hone_attr_scale),
			.name = "scale"});
}

/* Rotates x by a table of its width, where heads fit. */
static void
rope(struct random_list *l, int32_t x, int32_t y)
{
	const bool first = l->o[x].dim[1] == l->width[0];
	const int32_t table = list_pick(l, first ? TABLE0 : TABLE1, 0);
	const int64_t width = l->o[x].dim[1];
	int64_t head = l->o[table].dim[1];

	while (head <= 128 && width % head)
		head++;
	if (head > 128)
		return;
	if (list_chance(l, 20) && 2 * head <= 128 && width % (2 * head) == 0)
		head *= 2;
	list_add(l,
		&(struct list_call){.op = HONE_OP_ROPE,
			.in = {x + 1, table + 1},
			.out = {y + 1},
			.attr.rope = {.head_dim = head,
				.layout = list_chance(l, 50) ? HONE_ROPE_HALVES
							     : HONE_ROPE_INTERLEAVED,
				.inverse = list_chance(l, 40)},
			.attr_size = sizeof(struct hone_attr_rope),
			.name = "rope"});
}

/* The operand itself, or any of its shape. */
static int32_t
in_place_or_like(struct random_list *l, int32_t x)
{
	return list_chance(l, 45) ? x : list_pick_like(l, x);
}

static int32_t
vector_of(struct random_list *l, int32_t x)
{
	const int64_t cols = l->o[x].dim[1];

	return cols == l->width[0]    ? list_pick(l, VEC0, 0)
		: cols == l->width[1] ? list_pick(l, VEC1, 0)
				      : -1;
}

/* ---- single commands ---- */

static void
random_product(struct random_list *l)
{
	static const enum list_group weights[] = {WIDE, WIDE, WIDE, WIDE_T, DOWN, UP, GRAD};
	const int32_t b = list_pick(l, DRAW(l, weights), 0);
	const bool nt = list_chance(l, 60);
	const struct hone_operand *rows = &l->o[0];
	const int32_t a = list_pick_shape(l, rows->space, rows->dim[0], l->o[b].dim[nt]);
	const int32_t y = list_pick_shape(l, rows->space, rows->dim[0], l->o[b].dim[!nt]);
	const int32_t c = list_chance(l, 50) ? -1 : in_place_or_like(l, y);

	product(l, nt ? HONE_MATMUL_NT : HONE_MATMUL_NN, a, b, c, y);
}

static void
random_tn(struct random_list *l)
{
	const int64_t how = list_below(l, 3);
	const int32_t y = list_pick(l, how == 0 ? GRAD : how == 1 ? GRAD_UP : GRAD_DOWN, 0);
	const int32_t c = list_chance(l, 10) ? in_place_or_like(l, y) : -1;

	product(l, HONE_MATMUL_TN, list_pick(l, how == 2 ? ACT2 : ACT0, 0),
		list_pick(l, how == 1 ? ACT2 : ACT1, 0), c, y);
}

static void
random_cast_or_norm(struct random_list *l)
{
	const int32_t x = pick_rows(l), y = list_pick_like(l, x), w = vector_of(l, x);

	if (w >= 0 && list_chance(l, 50)) {
		list_add(l,
			&(struct list_call){.op = HONE_OP_RMS_NORM,
				.in = {x + 1, w + 1},
				.out = {y + 1, list_pick(l, COLUMN, 0) + 1},
				.attr.norm.eps = 1e-5,
				.attr_size = sizeof(struct hone_attr_norm),
				.name = "rms_norm"});
		return;
	}
	list_add(l,
		&(struct list_call){.op = HONE_OP_CAST,
			.in = {x + 1},
			.out = {y + 1},
			.attr.cast.dtype = l->o[y].dtype,
			.attr_size = sizeof(struct hone_attr_cast),
			.name = "cast"});
}

static void
random_columns(struct random_list *l)
{
	const int32_t both = list_pick(l, BOTH, 0);
	const bool left = list_chance(l, 50);

	if (list_chance(l, 50)) {
		list_add(l,
			&(struct list_call){.op = HONE_OP_CONCAT_COLS,
				.in = {list_pick(l, ACT0, 0) + 1, list_pick(l, ACT1, 0) + 1},
				.out = {both + 1},
				.name = "concat"});
		return;
	}
	list_add(l,
		&(struct list_call){.op = HONE_OP_SLICE_COLS,
			.in = {both + 1},
			.out = {list_pick(l, left ? ACT0 : ACT1, 0) + 1},
			.attr.slice = {.begin = left ? 0 : l->width[0],
				.end = l->width[0] + (left ? 0 : l->width[1])},
			.attr_size = sizeof(struct hone_attr_slice),
			.name = "slice"});
}

/* An elementwise command on what was written last, more often than not. */
static void
random_elementwise(struct random_list *l)
{
	const int32_t x = pick_rows(l), y = in_place_or_like(l, x), v = vector_of(l, x);
	const int64_t how = list_below(l, 10);

	if (how < 3)
		unary(l, x, y);
	else if (how < 5)
		binary(l, 0, x, list_pick_like(l, x), y);
	else if (how < 7 && v >= 0)
		binary(l, 0, x, v, y);
	else if (how < 8)
		unary_back(l, x, list_pick_like(l, x), y);
	else
		rope(l, x, y);
}

/* A command on anything, weights too, that a list may trip over. */
static void
stranger(struct random_list *l)
{
	const int64_t how = list_below(l, 10);
	int32_t x = (int32_t)list_below(l, l->n_operands);

	if (list_chance(l, 6)) { /* an op without an operand */
		list_add(l,
			&(struct list_call){.op = HONE_OP_FILL,
				.out = {x + 1},
				.attr.scale = {.beta = 0.0625},
				.attr_size = sizeof(struct hone_attr_scale),
				.name = "fill"});
		return;
	}
	if (how < 5) {
		for (int tries = 0; tries < TRIES && !l->is_placed[x]; tries++)
			x = (int32_t)list_below(l, l->n_operands);
		scale(l, x, list_chance(l, 70) ? x : list_pick_like(l, x));
	} else if (how < 7) {
		random_elementwise(l);
	} else if (how < 8) {
		random_tn(l);
	} else if (how < 9) {
		random_cast_or_norm(l);
	} else {
		random_columns(l);
	}
}

static void
random_command(struct random_list *l)
{
	const int64_t how = list_below(l, 20);

	if (how < 6)
		random_product(l);
	else if (how < 8)
		random_tn(l);
	else if (how < 16)
		random_elementwise(l);
	else
		stranger(l);
}

/* ---- what programs emit ---- */

static void
perhaps(struct random_list *l)
{
	if (list_chance(l, l->joins ? 20 : 12))
		stranger(l);
}

static uint64_t
bit(int32_t i)
{
	return UINT64_C(1) << i;
}

/* y = x w^T + s (x a^T) b^T, with a bias or not; the numbers of what was used. */
static int32_t
site(struct random_list *l, int32_t x, uint64_t *used)
{
	const int32_t y = list_pick(l, ACT0, *used), u = list_pick(l, ACT2, *used),
		      b = list_pick(l, UP, 0);
	const int32_t c = list_chance(l, 25) ? list_pick(l, ACT0, *used | bit(y)) : -1;
	const bool adapter = list_chance(l, 75);

	*used |= bit(y) | bit(u);
	product(l, HONE_MATMUL_NT, x, list_pick(l, WIDE, 0), c, y);
	if (adapter) {
		perhaps(l);
		product(l, HONE_MATMUL_NT, x, list_pick(l, DOWN, 0), -1, u);
		perhaps(l);
		scale(l, u, u);
		perhaps(l);
	}
	if (adapter && (l->joins || list_chance(l, 40))) {
		product(l, HONE_MATMUL_NT, u, b, y, y);
	} else if (adapter) {
		const int32_t d = list_pick(l, ACT0, *used);

		product(l, HONE_MATMUL_NT, u, b, -1, d);
		binary(l, HONE_BINARY_ADD, y, d, list_chance(l, 70) ? y : d);
	}
	if (list_chance(l, 30))
		binary(l, HONE_BINARY_ADD, y, list_pick(l, VEC0, 0),
			list_chance(l, 60) ? y : list_pick(l, ACT0, *used));
	return y;
}

/* A site and what follows one: activation, gate, residual, rotation. */
static void
forward(struct random_list *l)
{
	const int32_t x = list_pick(l, ACT1, 0);
	uint64_t used = bit(x);
	const int32_t y = site(l, x, &used), s = list_chance(l, 30) ? y : list_pick(l, ACT0, used);
	const int32_t h = list_chance(l, 40) ? s : list_pick(l, ACT0, used | bit(s));
	const int64_t how = list_below(l, 6);

	perhaps(l);
	if (how == 0) {
		unary(l, y, s);
	} else if (how == 1) {
		unary(l, y, s);
		perhaps(l);
		binary(l, HONE_BINARY_MUL, s, list_pick(l, ACT0, used | bit(s)), h);
	} else if (how == 2) {
		binary(l, HONE_BINARY_ADD, y, list_pick(l, ACT0, used), s);
	} else if (how == 3) {
		rope(l, y, s);
	} else if (how == 4) {
		binary(l, 0, y, list_pick(l, VEC0, 0), s);
	} else {
		const int32_t gate = list_pick(l, ACT0, used);

		unary(l, gate, s);
		binary(l, HONE_BINARY_MUL, s, y, h);
	}
	if (list_chance(l, 40))
		random_elementwise(l);
}

/* The gradients of a site, then those of what was before it. */
static void
backward(struct random_list *l)
{
	const int32_t dy = list_pick(l, ACT0, 0), u = list_pick(l, ACT2, 0),
		      du = list_pick(l, ACT2, bit(u));
	const int32_t x = list_pick(l, ACT1, 0), dx = list_pick(l, ACT1, bit(x)),
		      b = list_pick(l, UP, 0);
	const int32_t t = list_pick(l, ACT1, bit(x) | bit(dx)),
		      s = list_pick(l, ACT1, bit(x) | bit(dx) | bit(t));
	const int32_t up = list_pick(l, ACT1, bit(x) | bit(dx) | bit(t) | bit(s));
	const int32_t dup =
		list_chance(l, 50) ? dx : list_pick(l, ACT1, bit(t) | bit(dx) | bit(s) | bit(x));
	const bool narrow_first = list_chance(l, 70);

	product(l, HONE_MATMUL_TN, dy, u, -1, list_pick(l, GRAD_UP, 0));
	product(l, HONE_MATMUL_NN, dy, b, -1, du);
	scale(l, du, du);
	perhaps(l);
	product(l, HONE_MATMUL_TN, du, x, -1, list_pick(l, GRAD_DOWN, 0));
	if (list_chance(l, 15))
		product(l, HONE_MATMUL_TN, dy, x, -1, list_pick(l, GRAD, 0));
	if (narrow_first) {
		product(l, HONE_MATMUL_NN, du, list_pick(l, DOWN, 0), -1, dx);
		perhaps(l);
	}
	product(l, HONE_MATMUL_NN, dy, list_pick(l, WIDE, 0),
		narrow_first && (l->joins || list_chance(l, 50)) ? dx : -1, dx);
	if (list_chance(l, 60)) {
		binary(l, HONE_BINARY_MUL, dx, up, t);
		binary(l, HONE_BINARY_MUL, dx, s, dup);
		perhaps(l);
		unary_back(l, t, x, t);
	} else {
		unary_back(l, dx, x, list_chance(l, 50) ? dx : t);
		random_elementwise(l);
	}
}

/* A gate or its gradients by themselves; or what only looks like them, by a vector. */
static void
gate(struct random_list *l)
{
	const enum list_group g = list_chance(l, 50) ? ACT0 : ACT1;
	const int32_t x = list_pick(l, g, 0), s = list_pick(l, g, bit(x)),
		      u = list_pick(l, g, bit(x) | bit(s));
	const int32_t h = list_chance(l, 40) ? s : list_pick(l, g, bit(u) | bit(s));
	const int32_t d = list_pick(l, g, bit(x) | bit(s) | bit(u)),
		      t = list_pick(l, g, bit(d) | bit(x));
	const bool swap = list_chance(l, 50);

	if (list_chance(l, 70)) {
		unary(l, x, s);
		if (list_chance(l, 30))
			binary(l, HONE_BINARY_MUL, u, vector_of(l, u), h);
		else
			binary(l, HONE_BINARY_MUL, swap ? u : s, swap ? s : u, h);
	}
	if (list_chance(l, 60)) {
		binary(l, HONE_BINARY_MUL, d, u, t);
		if (list_chance(l, 20))
			binary(l, HONE_BINARY_MUL, s, vector_of(l, s), list_pick(l, g, bit(t)));
		else
			binary(l, HONE_BINARY_MUL, swap ? s : d, swap ? d : s,
				list_pick(l, g, bit(t)));
		unary_back(l, t, x, t);
	}
}

/* Products of the same rows, which may run together, and commands in their way. */
static void
side_by_side(struct random_list *l)
{
	const int32_t x = list_pick(l, ACT1, 0);

	for (int64_t n = 4 + list_below(l, 5); n > 0; n--) {
		const int64_t how = list_below(l, 10);

		if (how < 4)
			product(l, HONE_MATMUL_NT, x, list_pick(l, DOWN, 0), -1,
				list_pick(l, ACT2, 0));
		else if (how < 6)
			product(l, HONE_MATMUL_NT, x, list_pick(l, WIDE, 0), -1,
				list_pick(l, ACT0, 0));
		else if (how < 7)
			product(l, HONE_MATMUL_NT, list_pick(l, ACT2, 0), list_pick(l, UP, 0), -1,
				list_pick(l, ACT0, 0));
		else if (how < 8)
			scale(l, x, x);
		else if (how < 9)
			unary(l, list_pick(l, ACT2, 0), list_pick(l, ACT2, 0));
		else
			stranger(l);
	}
}

void
random_list_draw(struct random_list *l)
{
	const uint32_t most = 3 + (uint32_t)list_below(l, l->joins ? 7 : LIST_COMMANDS - 2);

	for (int tries = 0; l->n < most && tries < 2 * LIST_COMMANDS; tries++) {
		const int64_t how = list_below(l, 20);

		if (how < 5)
			forward(l);
		else if (how < 8)
			backward(l);
		else if (how < 10)
			side_by_side(l);
		else if (how < 12)
			gate(l);
		else
			random_command(l);
	}
}
