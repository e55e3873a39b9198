/*
 * gate.c - elementwise commands that run as one: a gated activation and its gradients.
 *
 *     UNARY  s = f(x)        BINARY t = d u
 *     BINARY h = s u         BINARY du = d s        UNARY_BACK dx = f'(x) t, in t's place
 *
 * as the feed-forward layers of Llama and its relatives have them, and recompute them.  The
 * commands must follow each other, have one type and size, and their memory must be the same
 * or apart; where h takes the place of s, s is never written.  Bits are those of the single
 * commands.  Bytes: each operand once, instead of once a command.  Twins: unary, binary,
 * unary_back of reference.
 */
#include "joined.h"

struct gate {
	struct cpu_device *d;
	struct hn_gate forward;
	struct hn_gate_back back;
	int64_t n, element;
};

static int
known_kind(int32_t kind)
{
	return kind == HONE_UNARY_SIGMOID || kind == HONE_UNARY_SILU || kind == HONE_UNARY_GELU ||
		kind == HONE_UNARY_GELU_TANH;
}

static int
is_multiplication(const struct hone_command *c)
{
	return c->op == HONE_OP_BINARY &&
		((const struct hone_attr_binary *)c->attr)->kind == HONE_BINARY_MUL &&
		!(c->flags & HONE_COMMAND_ACCUMULATE);
}

/* All operands have the size and type of the first result, and lie apart or in one place. */
static int
fit(const struct hone_operand *const *o, uint32_t n, const struct hone_run *run)
{
	const int64_t elems = hone_operand_rows(o[0], run) * hone_operand_row_elems(o[0]);
	const int64_t bytes = elems * hone_dtype_bytes(o[0]->dtype);

	if (o[0]->dtype != HONE_DTYPE_BF16 && o[0]->dtype != HONE_DTYPE_F32)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *a = hone_operand_host(o[i], run);

		if (!o[i]->rank || o[i]->dtype != o[0]->dtype || o[i]->storage ||
			o[i]->space != o[0]->space || o[i]->dim[0] != o[0]->dim[0] ||
			hone_operand_row_elems(o[i]) != hone_operand_row_elems(o[0]))
			return 0;
		for (uint32_t k = 0; k < i; k++) {
			const uint8_t *b = hone_operand_host(o[k], run);

			if (a != b && a < b + bytes && b < a + bytes)
				return 0;
		}
	}
	return elems > 0;
}

static int
same(const struct hone_operand *a, const struct hone_operand *b, const struct hone_run *run)
{
	return hone_operand_host(a, run) == hone_operand_host(b, run);
}

/* The operand of a multiplication beside the one at `place`; NULL when neither is there. */
static const struct hone_operand *
beside(const struct hone_command *c, const struct hone_operand *place, const struct hone_run *run)
{
	if (same(&c->in[0], place, run))
		return &c->in[1];
	return same(&c->in[1], place, run) ? &c->in[0] : NULL;
}

static int
find_forward(struct gate *g, const struct hone_command *f, const struct hone_command *mul,
	const struct hone_run *run)
{
	const struct hone_operand *x = &f->in[0], *s = &f->out[0], *h = &mul->out[0], *u;
	const struct hone_operand *all[4] = {s, x, h, NULL};
	const int32_t kind = ((const struct hone_attr_unary *)f->attr)->kind;

	if (!is_multiplication(mul) || !known_kind(kind) || f->flags & HONE_COMMAND_ACCUMULATE)
		return 0;
	u = beside(mul, s, run);
	all[3] = u;
	/* s may not take the place of x or u: those are read beside it, or after it. */
	if (!u || !fit(all, 4, run) || same(s, u, run) || same(s, x, run))
		return 0;
	g->forward = (struct hn_gate){.kind = kind,
		.bf16 = s->dtype == HONE_DTYPE_BF16,
		.x = hone_operand_host(x, run),
		.u = hone_operand_host(u, run),
		.s = same(s, h, run) ? NULL : hone_operand_host(s, run),
		.h = hone_operand_host(h, run)};
	g->n = hone_operand_rows(s, run) * hone_operand_row_elems(s);
	return 1;
}

static int
find_back(struct gate *g, const struct hone_command *mul, const struct hone_command *other,
	const struct hone_command *back, const struct hone_run *run)
{
	const struct hone_operand *t = &mul->out[0], *dx = &back->out[0], *x = &back->in[1];
	const struct hone_operand *d = &mul->in[0], *u = &mul->in[1], *du = &other->out[0], *s;
	const struct hone_operand *all[7] = {t, dx, x, d, u, du, NULL};
	const int32_t kind = ((const struct hone_attr_unary *)back->attr)->kind;

	if (!is_multiplication(other) || !known_kind(kind))
		return 0;
	s = beside(other, d, run);
	all[6] = s;
	if (!s || !fit(all, 7, run) || !same(&back->in[0], t, run) || !same(dx, t, run))
		return 0;
	/* Single commands would read these after they were written. */
	if (same(t, d, run) || same(t, s, run) || same(t, x, run) || same(du, x, run) ||
		same(du, t, run))
		return 0;
	g->back = (struct hn_gate_back){.kind = kind,
		.bf16 = t->dtype == HONE_DTYPE_BF16,
		.x = hone_operand_host(x, run),
		.u = hone_operand_host(u, run),
		.s = hone_operand_host(s, run),
		.d = hone_operand_host(d, run),
		.dx = hone_operand_host(dx, run),
		.du = hone_operand_host(du, run)};
	g->n = hone_operand_rows(t, run) * hone_operand_row_elems(t);
	return 1;
}

static void
piece_forward(void *ctx, int64_t i, int32_t worker)
{
	const struct gate *g = ctx;
	const int64_t at = i * HN_CPU_PIECE * g->element;
	struct hn_gate part = g->forward;

	(void)worker;
	part.n = cpu_min(HN_CPU_PIECE, g->n - i * HN_CPU_PIECE);
	part.x = (const uint8_t *)part.x + at;
	part.u = (const uint8_t *)part.u + at;
	part.s = part.s ? (uint8_t *)part.s + at : NULL;
	part.h = (uint8_t *)part.h + at;
	g->d->k->gate(&part);
}

static void
piece_back(void *ctx, int64_t i, int32_t worker)
{
	const struct gate *g = ctx;
	const int64_t at = i * HN_CPU_PIECE * g->element;
	struct hn_gate_back part = g->back;

	(void)worker;
	part.n = cpu_min(HN_CPU_PIECE, g->n - i * HN_CPU_PIECE);
	part.x = (const uint8_t *)part.x + at;
	part.u = (const uint8_t *)part.u + at;
	part.s = (const uint8_t *)part.s + at;
	part.d = (const uint8_t *)part.d + at;
	part.dx = (uint8_t *)part.dx + at;
	part.du = (uint8_t *)part.du + at;
	g->d->k->gate_back(&part);
}

uint32_t
cpu_gate_run(struct cpu_device *d, const void *commands, uint32_t n, uint32_t stride,
	const struct hone_run *run)
{
	const uint8_t *at = commands;
	const struct hone_command *c = commands, *next, *third;
	struct gate g = {.d = d};

	if (n < 2 || (c->op != HONE_OP_UNARY && !is_multiplication(c)))
		return 0;
	next = (const void *)(at + stride);
	g.element = hone_dtype_bytes(c->out[0].dtype);
	if (c->op == HONE_OP_UNARY) {
		if (!find_forward(&g, c, next, run))
			return 0;
		cpu_run(d, cpu_ceil(g.n, HN_CPU_PIECE), piece_forward, &g);
		return 2;
	}
	third = (const void *)(at + 2 * (size_t)stride);
	if (n < 3 || third->op != HONE_OP_UNARY_BACK || !find_back(&g, c, next, third, run))
		return 0;
	cpu_run(d, cpu_ceil(g.n, HN_CPU_PIECE), piece_back, &g);
	return 3;
}
