/*
 * end.c - elementwise commands that end a product: each block of rows and columns passes through
 * them as soon as its tiles are formed, while it is in L1, instead of in passes of their own.
 *
 *     y = x W^T [+ u v]      +  bias, residual, activation, gate, rotation of heads
 *     d = dy W  [+ u v]      +  the gradient of an activation
 *
 * A chain of commands is taken as long as each reads what stands in the block, and each of its
 * operands is the block's own elements, a vector along the columns, or the rotations of a row.
 * Since pieces of the product still run meanwhile, what is written must lie apart from all that
 * they read, and operands of one size must lie in one place or apart.  Only addresses are looked
 * at; core/graph/plan.c keeps a product's operands until its ends have run, so that their memory
 * is not given away.  Everything passes through memory in its own type: the bits are those of
 * the single commands.
 *
 * Operands beside y stream through L2 while the product needs it for its panels.  Up to two cost less
 * than a pass of their own; with the four of a gate's gradients packing slows down by a tenth,
 * which is more than is saved, so those stay a pass (gate.c).  Twins: unary, unary_back, binary, rope of reference.
 */
#include "joined.h"

#include "product.h"

#define FULL_MAX   16 /* operands of the block's size */
#define WHOLE_MAX  12 /* others, which nobody may write */
#define BESIDE_MAX 2  /* of the block's size beside y and the addend */

struct span {
	const uint8_t *begin, *end;
	int64_t element;
	int is_formed; /* by the product or an end: stands in the block */
};

struct find {
	const struct cpu_call *call;
	const struct cpu_product *p;
	struct cpu_end *end;
	struct span full[FULL_MAX], whole[WHOLE_MAX];
	int32_t n_full, n_whole, n_beside;
};

/* ---- The steps ---- */

static void
gate_rows(const struct hn_cpu_kernels *k, const struct cpu_end_step *s, int64_t row, int64_t m,
	int64_t col, int64_t n)
{
	cpu_gate_part(k, &s->gate, row * s->y.cols + col, m, n, s->y.cols);
}

static void
unary_rows(const struct hn_cpu_kernels *k, const struct cpu_end_step *s, int64_t row, int64_t m,
	int64_t col, int64_t n)
{
	float x[CPU_END_COLUMN], out[CPU_END_COLUMN];

	for (int64_t r = row; r < row + m; r++) {
		const int64_t at = r * s->y.cols + col;
		float *y = cpu_target(&s->y, at, out);

		k->unary(s->kind, y, cpu_read(k, &s->x, at, n, x), n);
		cpu_write(k, &s->y, at, n, y);
	}
}

static void
unary_back_rows(const struct hn_cpu_kernels *k, const struct cpu_end_step *s, int64_t row,
	int64_t m, int64_t col, int64_t n)
{
	float dy[CPU_END_COLUMN], x[CPU_END_COLUMN], out[CPU_END_COLUMN];

	for (int64_t r = row; r < row + m; r++) {
		const int64_t at = r * s->y.cols + col;
		float *y = cpu_target(&s->y, at, out);

		k->unary_back(
			s->kind, y, cpu_read(k, &s->x, at, n, dy), cpu_read(k, &s->z, at, n, x), n);
		cpu_write(k, &s->y, at, n, y);
	}
}

/* z is of x's size, or one row. */
static void
binary_rows(const struct hn_cpu_kernels *k, const struct cpu_end_step *s, int64_t row, int64_t m,
	int64_t col, int64_t n)
{
	float a[CPU_END_COLUMN], b[CPU_END_COLUMN], out[CPU_END_COLUMN];

	for (int64_t r = row; r < row + m; r++) {
		const int64_t at = r * s->y.cols + col;
		const float *right = cpu_read(k, &s->z, s->attr ? at : col, n, b);
		float *y = cpu_target(&s->y, at, out);

		k->binary(s->kind, y, cpu_read(k, &s->x, at, n, a), right, n);
		cpu_write(k, &s->y, at, n, y);
	}
}

static void
rope_rows(const struct hn_cpu_kernels *k, const struct cpu_end_step *s, int64_t row, int64_t m,
	int64_t col, int64_t n)
{
	const struct hone_attr_rope *attr = s->attr;

	for (int64_t r = row; r < row + m; r++)
		cpu_rope_row(k, attr, &s->x, &s->z, &s->y, r, col, n);
}

/* ---- Finding them ---- */

static struct span
span_of(const struct cpu_mat *m, int64_t elems)
{
	struct span s = {.begin = m->p, .end = m->p, .element = hone_dtype_bytes(m->dtype)};

	if (m->p)
		s.end += elems * s.element;
	return s;
}

static int
overlap(const struct span *a, const struct span *b)
{
	return a->begin < b->end && b->begin < a->end;
}

/* Notes memory that no end may write; 0 where one does already. */
static int
hold(struct find *f, struct span s)
{
	for (int32_t i = 0; i < f->n_full; i++)
		if (f->full[i].is_formed && overlap(&f->full[i], &s))
			return 0;
	if (f->n_whole == WHOLE_MAX)
		return 0;
	f->whole[f->n_whole++] = s;
	return 1;
}

/* Notes an operand of the block's size, which lies in one place with each other one or apart. */
static int
place(struct find *f, struct span s)
{
	int32_t at = f->n_full;

	for (int32_t i = 0; i < f->n_full; i++) {
		if (s.begin == f->full[i].begin && s.element == f->full[i].element)
			at = i;
		else if (overlap(&f->full[i], &s))
			return 0;
	}
	for (int32_t i = 0; i < f->n_whole && s.is_formed; i++)
		if (overlap(&f->whole[i], &s))
			return 0;
	if (at == FULL_MAX)
		return 0;
	s.is_formed |= at < f->n_full && f->full[at].is_formed;
	f->full[at] = s;
	f->n_full += at == f->n_full;
	return 1;
}

static int
is_full(const struct find *f, const struct hone_operand *o)
{
	return o->rank && !o->storage && hone_operand_row_elems(o) == f->p->n &&
		hone_operand_rows(o, f->call->run) == f->p->m &&
		(o->dtype == HONE_DTYPE_F32 || o->dtype == HONE_DTYPE_BF16);
}

static int
is_formed(const struct find *f, const struct hone_operand *o)
{
	const uint8_t *p = hone_operand_host(o, f->call->run);

	for (int32_t i = 0; i < f->n_full; i++)
		if (f->full[i].begin == p)
			return f->full[i].is_formed;
	return 0;
}

/* Counts operands of the block's size that stand in memory of their own; 0 where they are too many. */
static int
stays_small(struct find *f, const struct hone_operand *o)
{
	const uint8_t *p = hone_operand_host(o, f->call->run);

	for (int32_t i = 0; i < f->n_full; i++)
		if (f->full[i].begin == p)
			return 1;
	return ++f->n_beside <= BESIDE_MAX;
}

/* Notes the operands of a command; 0 where it cannot end the product. */
static int
take_operands(struct find *f, const struct hone_command *c)
{
	if (c->flags & HONE_COMMAND_ACCUMULATE || c->n_out != 1)
		return 0;
	for (uint32_t i = 0; i < c->n_in; i++) {
		const struct hone_operand *o = &c->in[i];
		const struct cpu_mat mat = cpu_mat_of(o, f->call->run);

		if (o->storage || (!is_full(f, o) && !hold(f, span_of(&mat, mat.rows * mat.cols))))
			return 0;
		if (!is_full(f, o))
			continue;
		if (!stays_small(f, o) || !place(f, span_of(&mat, f->p->m * f->p->n)))
			return 0;
	}
	for (uint32_t i = 0; i < c->n_out; i++) {
		const struct cpu_mat mat = cpu_mat_of(&c->out[i], f->call->run);
		struct span s = span_of(&mat, f->p->m * f->p->n);

		s.is_formed = 1;
		if (!is_full(f, &c->out[i]) || !stays_small(f, &c->out[i]) || !place(f, s))
			return 0;
	}
	return 1;
}

/* Does one of n commands read what stands in the block? */
static int
reads_block(const struct find *f, const struct hone_command *const *c, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < c[i]->n_in; k++)
			if (is_full(f, &c[i]->in[k]) && is_formed(f, &c[i]->in[k]))
				return 1;
	return 0;
}

/* Rotation needs whole heads in a piece, and pieces for all threads. */
static int
rope_step(struct find *f, struct cpu_end_step *s, const struct hone_command *c)
{
	const struct hone_attr_rope *attr = c->attr;
	const int64_t n = f->p->n, K = attr->head_dim, run = cpu_ceil(n, f->call->d->n_workers);
	const int64_t unit = cpu_multiple(2 * f->call->k->lanes, K);

	if (unit > CPU_END_COLUMN || n % K || (f->end->unit > 1 && f->end->unit != K) ||
		16 * cpu_round_up(run, unit) > 17 * run)
		return 0;
	s->z = cpu_mat_of(&c->in[1], f->call->run);
	s->attr = attr;
	s->rows = rope_rows;
	f->end->unit = K;
	return is_full(f, &c->in[0]) && !is_full(f, &c->in[1]);
}

static int
binary_step(struct find *f, struct cpu_end_step *s, const struct hone_command *c)
{
	const enum cpu_beside how = cpu_beside(&c->in[0], &c->in[1]);

	s->z = cpu_mat_of(&c->in[1], f->call->run);
	s->kind = ((const struct hone_attr_binary *)c->attr)->kind;
	s->attr = how == CPU_BESIDE_FULL ? c->attr : NULL;
	s->rows = binary_rows;
	return is_full(f, &c->in[0]) && (how == CPU_BESIDE_FULL || how == CPU_BESIDE_ROW) &&
		(how == CPU_BESIDE_FULL) == is_full(f, &c->in[1]);
}

/* The step that begins with the first of n commands; how many it takes, 0 = it is none. */
static uint32_t
find_step(struct find *f, struct cpu_end_step *s, const struct hone_command *const *c, uint32_t n)
{
	uint32_t taken = cpu_gate_find(&s->gate, c, n, f->call->run);

	*s = (struct cpu_end_step){
		.gate = s->gate, .y = cpu_mat_of(&c[0]->out[0], f->call->run), .rows = gate_rows};
	if (!c[0]->n_in) /* as FILL may be */
		return 0;
	s->x = cpu_mat_of(&c[0]->in[0], f->call->run);
	if (taken)
		return is_full(f, &c[0]->out[0]) ? taken : 0;
	switch (c[0]->op) {
	case HONE_OP_UNARY:
		s->kind = ((const struct hone_attr_unary *)c[0]->attr)->kind;
		s->rows = unary_rows;
		return is_full(f, &c[0]->in[0]) != 0;
	case HONE_OP_UNARY_BACK:
		s->z = cpu_mat_of(&c[0]->in[1], f->call->run);
		s->kind = ((const struct hone_attr_unary *)c[0]->attr)->kind;
		s->rows = unary_back_rows;
		return is_full(f, &c[0]->in[0]) && is_full(f, &c[0]->in[1]);
	case HONE_OP_BINARY:
		return binary_step(f, s, c[0]) != 0;
	case HONE_OP_ROPE:
		return rope_step(f, s, c[0]) != 0;
	default:
		return 0;
	}
}

/* What the product reads, and its y. */
static int
begin(struct find *f, const struct hone_command *c)
{
	const struct cpu_product *p = f->p;
	const int nt = p->form == CPU_NT;
	struct span y = span_of(&p->y, p->m * p->n), addend = span_of(&p->c, p->m * p->n);

	y.is_formed = 1;
	return p->form != CPU_TN && is_full(f, &c->out[0]) && p->ldy == p->n && place(f, y) &&
		(!p->c.p || place(f, addend)) && hold(f, span_of(&p->a, p->m * p->lda)) &&
		hold(f, span_of(&p->b, (nt ? p->n : p->k) * p->ldb)) &&
		(!p->r ||
			(hold(f, span_of(&p->u, p->m * p->ldu)) &&
				hold(f, span_of(&p->v, (nt ? p->n : p->r) * p->ldv))));
}

void
cpu_end_find(const struct cpu_call *call, const struct cpu_product *p, struct cpu_end *end)
{
	enum { LOOK = 10 };
	const struct hone_command *c[LOOK];
	uint32_t bit[LOOK], n = 0, at = 0;
	struct find f = {.call = call, .p = p, .end = end};

	*end = (struct cpu_end){.k = call->k, .unit = 1};
	if (!call->taken || !begin(&f, call->c))
		return;
	for (uint32_t i = 0; i < call->n_later && n < LOOK && i < LOOK; i++) {
		if (*call->taken & CPU_TAKEN(i))
			continue;
		c[n] = cpu_later(call, i);
		bit[n++] = CPU_TAKEN(i);
	}
	while (at < n && end->n < CPU_ENDS) {
		const struct cpu_end kept = *end;
		const uint32_t some = find_step(&f, &end->step[end->n], c + at, n - at);
		uint32_t good = reads_block(&f, c + at, some) ? 0 : some + 1;

		while (good < some && take_operands(&f, c[at + good]))
			good++;
		if (!some || good != some) {
			*end = kept;
			return;
		}
		for (uint32_t i = 0; i < some; i++) {
			cpu_strips_yield(call, c[at + i]);
			*call->taken |= bit[at + i];
		}
		end->n++;
		at += some;
	}
}

/* ---- Running them ---- */

void
cpu_end_run(const struct cpu_end *end, int64_t row, int64_t m, int64_t col, int64_t n)
{
	const int64_t most = CPU_END_COLUMN / end->unit * end->unit;

	for (int64_t at = 0; at < n; at += most)
		for (int32_t i = 0; i < end->n; i++)
			end->step[i].rows(
				end->k, &end->step[i], row, m, col + at, cpu_min(most, n - at));
}
