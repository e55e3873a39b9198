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
#include "product.h"

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
find_forward(struct cpu_gate *g, const struct hone_command *f, const struct hone_command *mul,
	const struct hone_run *run)
{
	const struct hone_operand *x = &f->in[0], *s = &f->out[0], *h = &mul->out[0], *u;
	const struct hone_operand *const all[5] = {s, x, h, &mul->in[0], &mul->in[1]};
	const int32_t kind = ((const struct hone_attr_unary *)f->attr)->kind;

	if (!is_multiplication(mul) || !known_kind(kind) || f->flags & HONE_COMMAND_ACCUMULATE)
		return 0;
	u = beside(mul, s, run);
	/* s may not take the place of x or u: those are read beside it, or after it. */
	if (!u || !fit(all, 5, run) || same(s, u, run) || same(s, x, run))
		return 0;
	g->forward = (struct hn_gate){.kind = kind,
		.bf16 = s->dtype == HONE_DTYPE_BF16,
		.x = hone_operand_host(x, run),
		.u = hone_operand_host(u, run),
		.s = same(s, h, run) ? NULL : hone_operand_host(s, run),
		.h = hone_operand_host(h, run)};
	g->n = hone_operand_rows(s, run) * hone_operand_row_elems(s);
	g->is_back = 0;
	return 1;
}

static int
find_back(struct cpu_gate *g, const struct hone_command *mul, const struct hone_command *other,
	const struct hone_command *back, const struct hone_run *run)
{
	const struct hone_operand *t = &mul->out[0], *dx = &back->out[0], *x = &back->in[1];
	const struct hone_operand *d = &mul->in[0], *u = &mul->in[1], *du = &other->out[0], *s;
	const struct hone_operand *const all[9] = {
		t, dx, x, d, u, du, &other->in[0], &other->in[1], &back->in[0]};
	const int32_t kind = ((const struct hone_attr_unary *)back->attr)->kind;

	if (!is_multiplication(other) || !known_kind(kind))
		return 0;
	s = beside(other, d, run);
	if (!s || !fit(all, 9, run) || !same(&back->in[0], t, run) || !same(dx, t, run))
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
	g->is_back = 1;
	return 1;
}

uint32_t
cpu_gate_find(struct cpu_gate *g, const struct hone_command *const *c, uint32_t n,
	const struct hone_run *run)
{
	if (n < 2)
		return 0;
	g->element = hone_dtype_bytes(c[0]->out[0].dtype);
	if (c[0]->op == HONE_OP_UNARY)
		return find_forward(g, c[0], c[1], run) ? 2 : 0;
	if (n < 3 || !is_multiplication(c[0]) || c[2]->op != HONE_OP_UNARY_BACK)
		return 0;
	return find_back(g, c[0], c[1], c[2], run) ? 3 : 0;
}

void
cpu_gate_part(const struct hn_cpu_kernels *k, const struct cpu_gate *g, int64_t at, int64_t m,
	int64_t n, int64_t ld)
{
	const int64_t byte = at * g->element;

	if (g->is_back) {
		const struct hn_gate_back *b = &g->back;
		const struct hn_gate_back part = {.kind = b->kind,
			.bf16 = b->bf16,
			.m = m,
			.n = n,
			.ld = ld,
			.x = (const uint8_t *)b->x + byte,
			.u = (const uint8_t *)b->u + byte,
			.s = (const uint8_t *)b->s + byte,
			.d = (const uint8_t *)b->d + byte,
			.dx = (uint8_t *)b->dx + byte,
			.du = (uint8_t *)b->du + byte};

		k->gate_back(&part);
	} else {
		const struct hn_gate *f = &g->forward;
		const struct hn_gate part = {.kind = f->kind,
			.bf16 = f->bf16,
			.m = m,
			.n = n,
			.ld = ld,
			.x = (const uint8_t *)f->x + byte,
			.u = (const uint8_t *)f->u + byte,
			.s = f->s ? (uint8_t *)f->s + byte : NULL,
			.h = (uint8_t *)f->h + byte};

		k->gate(&part);
	}
}

struct job {
	struct cpu_gate gate;
	const struct hn_cpu_kernels *k;
};

static void
piece(void *ctx, int64_t i, int32_t worker)
{
	const struct job *job = ctx;
	const int64_t at = i * HN_CPU_PIECE;

	(void)worker;
	cpu_gate_part(job->k, &job->gate, at, 1, cpu_min(HN_CPU_PIECE, job->gate.n - at), 0);
}

uint32_t
cpu_gate_run(const struct cpu_call *call)
{
	const struct hone_command *c[CPU_GATE_COMMANDS] = {call->c};
	struct job job = {.k = call->k};
	uint32_t n = 1;

	if (call->c->op != HONE_OP_UNARY && call->c->op != HONE_OP_BINARY)
		return 0;
	for (; n < CPU_GATE_COMMANDS && n <= call->n_later; n++)
		c[n] = cpu_later(call, n - 1);
	n = cpu_gate_find(&job.gate, c, n, call->run);
	for (uint32_t i = 1; i < n; i++)
		cpu_strips_yield(call, c[i]);
	if (n)
		cpu_run(call->d, cpu_ceil(job.gate.n, HN_CPU_PIECE), piece, &job);
	return n;
}
