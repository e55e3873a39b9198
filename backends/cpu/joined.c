/*
 * joined.c - commands that run as one: a product, and a narrow one added to it in place; and those
 * that read the same rows.
 *
 *     y  = a b [+ c]            y' = u v [+ c]
 *     y' = u v + y        or    y  = a b + y'          u v of a few elements of k
 *
 * Adapters beside a weight are the first, forward; the gradients of their inputs the second.
 * The later command takes the earlier along: one pass of tiles with some steps more, instead
 * of writing y, reading it again and rounding it twice.
 *
 * The earlier may wait when its result lies where the later one's will, so that nothing reads
 * it after that, and when no command between the two touches that memory or writes what the
 * earlier one reads.  Only addresses are looked at: who built the graph does not matter.
 */
#include "joined.h"

#include "product.h"

#define LOOK_AHEAD 12 /* commands to look through; less than the bits of `taken` */

struct range {
	const uint8_t *begin, *end;
};

/* The memory of an operand; none of a stored weight, which nobody writes. */
static struct range
range_of(const struct hone_operand *o, const struct hone_run *run)
{
	struct range r = {NULL, NULL};

	if (!o->rank || o->storage)
		return r;
	r.begin = hone_operand_host(o, run);
	r.end = r.begin + o->dim[0] * hone_operand_row_elems(o) * hone_dtype_bytes(o->dtype);
	return r;
}

static int
overlap(struct range a, struct range b)
{
	return a.begin < b.end && b.begin < a.end;
}

/* Does the command read or write the range? */
static int
touches(const struct hone_command *c, struct range r, const struct hone_run *run)
{
	for (uint32_t i = 0; i < c->n_in + c->n_out; i++)
		if (overlap(range_of(i < c->n_in ? &c->in[i] : &c->out[i - c->n_in], run), r))
			return 1;
	return 0;
}

int
cpu_touches(const struct hone_command *c, const struct hone_operand *o, const struct hone_run *run)
{
	return touches(c, range_of(o, run), run);
}

/* Does `later` write what `c` reads? */
static int
overwrites(
	const struct hone_command *later, const struct hone_command *c, const struct hone_run *run)
{
	for (uint32_t i = 0; i < later->n_out; i++)
		for (uint32_t k = 0; k < c->n_in; k++)
			if (overlap(range_of(&later->out[i], run), range_of(&c->in[k], run)))
				return 1;
	return 0;
}

int
cpu_may_pass(const struct hone_command *later, const struct hone_command *earlier,
	const struct hone_run *run)
{
	for (uint32_t i = 0; i < later->n_out; i++)
		if (touches(earlier, range_of(&later->out[i], run), run))
			return 0;
	return !overwrites(earlier, later, run);
}

void
cpu_take_party(const struct cpu_call *call, const struct cpu_party *party)
{
	for (uint32_t i = 0; i < call->n_later && i < LOOK_AHEAD; i++) {
		const struct hone_command *c = cpu_later(call, i);
		const uint32_t bit = CPU_TAKEN(i);
		int may = !(*call->taken & bit) && party->fits(party->job, c) &&
			cpu_may_pass(c, call->c, call->run) &&
			(!call->waiting || cpu_may_pass(c, call->waiting, call->run));

		for (uint32_t j = 0; j < i && may; j++)
			may = cpu_may_pass(c, cpu_later(call, j), call->run);
		if (!may)
			continue;
		cpu_strips_yield(call, c);
		*call->taken |= bit;
		party->add(party->job, c);
	}
}

static int64_t
depth_of(const struct hone_command *c, const struct hone_run *run)
{
	const struct hone_attr_matmul *attr = c->attr;

	return attr->form == CPU_NN && !c->in[1].storage ? hone_operand_rows(&c->in[1], run)
							 : hone_operand_row_elems(&c->in[0]);
}

static int
is_product(const struct hone_command *c)
{
	return c->op == HONE_OP_MATMUL &&
		((const struct hone_attr_matmul *)c->attr)->form != CPU_TN &&
		!(c->flags & HONE_COMMAND_ACCUMULATE);
}

int
cpu_same_place(
	const struct hone_operand *a, const struct hone_operand *b, const struct hone_run *run)
{
	return a->rank == 2 && b->rank == 2 && a->dtype == b->dtype && a->space == b->space &&
		a->dim[0] == b->dim[0] && a->dim[1] == b->dim[1] &&
		hone_operand_host(a, run) == hone_operand_host(b, run);
}

/* Is `later` a product that is added in place to `c`, one of the two narrow, the other not?
 * A general product must be left for the wide one: thin and packed ones do not take another
 * along. */
static int
completes(
	const struct hone_command *c, const struct hone_command *later, const struct hone_run *run)
{
	const struct hone_attr_matmul *one = c->attr, *other = later->attr;
	const int64_t k = depth_of(c, run), r = depth_of(later, run);
	const struct hone_command *narrow = k < r ? c : later;
	const struct hone_command *wide = k < r ? later : c;
	const int64_t few = one->form != CPU_NT ? 0 : wide->in[1].storage ? CPU_FEW : HN_THIN;

	if (!is_product(later) || later->n_in < 3 || one->form != other->form ||
		c->in[0].dtype != later->in[0].dtype)
		return 0;
	/* Rows of a space are columns of y that may be fewer than y has, and than the other's. */
	if (one->form == CPU_NT && (c->in[1].space || later->in[1].space))
		return 0;
	if (!cpu_same_place(&c->out[0], &later->in[2], run) ||
		!cpu_same_place(&c->out[0], &later->out[0], run))
		return 0;
	if (overlap(range_of(&later->in[0], run), range_of(&c->out[0], run)) ||
		overlap(range_of(&later->in[1], run), range_of(&c->out[0], run)))
		return 0;
	return !narrow->in[1].storage && (k < r ? k : r) <= HN_NARROW &&
		(k < r ? r : k) > HN_NARROW && hone_operand_rows(&c->out[0], run) > few &&
		hone_operand_row_elems(&c->out[0]) > HN_THIN;
}

uint32_t
cpu_join_find(const void *commands, uint32_t n, uint32_t stride, const struct hone_run *run)
{
	const struct hone_command *c = commands;
	const uint8_t *at = commands;
	struct range y;

	if (!is_product(c))
		return 0;
	y = range_of(&c->out[0], run);
	for (uint32_t i = 1; i < n && i <= LOOK_AHEAD; i++) {
		const struct hone_command *later = (const void *)(at += stride);

		if (is_product(later) && completes(c, later, run))
			return i;
		if (touches(later, y, run) || overwrites(later, c, run))
			return 0;
	}
	return 0;
}

struct cpu_product
cpu_join_product(const struct cpu_product *earlier, const struct cpu_product *later)
{
	const int narrow_first = earlier->k < later->k;
	const struct cpu_product *wide = narrow_first ? later : earlier;
	const struct cpu_product *narrow = narrow_first ? earlier : later;
	struct cpu_product p = *wide;

	p.u = narrow->a;
	p.v = narrow->b;
	p.r = narrow->k;
	p.ldu = narrow->lda;
	p.ldv = narrow->ldb;
	p.c = earlier->c;
	p.y = later->y;
	return p;
}
