/*
 * bench_profile.c - times of commands by kind: operation, form, types, sizes.
 *
 * Floating-point operations are counted for products and attention (causal, half the
 * scores), bytes (operands and results, each once) for everything else.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "bench_profile.h"

enum { KINDS_MAX = 512, NAME_MAX_ = 96 };

struct kind {
	char name[NAME_MAX_];
	double seconds, flops, bytes;
	int64_t n;
};

struct bench_profile {
	struct hone_backend_vt vt; /* the device's, with another submit */
	const struct hone_backend_vt *inner;
	double (*now)(void);
	bool by_place;
	struct kind kinds[KINDS_MAX];
	uint32_t n_kinds;
};

/* submit() gets the device alone, so the one that measures is here. */
static struct bench_profile *the_profile;

static int64_t
rows_of(const struct hone_operand *o, const struct hone_run *run)
{
	return hone_operand_rows(o, run);
}

static const char *
form_of(const struct hone_command *c)
{
	static const char *const forms[] = {"nt", "nn", "tn"};
	static const char *const unary[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

	if (c->op == HONE_OP_MATMUL)
		return forms[((const struct hone_attr_matmul *)c->attr)->form];
	if ((c->op == HONE_OP_UNARY || c->op == HONE_OP_UNARY_BACK || c->op == HONE_OP_BINARY) &&
		*(const int32_t *)c->attr < 10)
		return unary[*(const int32_t *)c->attr];
	return "";
}

static void
name_kind(char *name, const struct hone_command *c, const struct hone_run *run)
{
	const struct hn_op *op = hn_op_find(c->op);
	int n = snprintf(name, NAME_MAX_, "%s %s", op ? op->name : "custom", form_of(c));

	for (uint32_t i = 0; i < c->n_in && n > 0 && n < NAME_MAX_ - 1; i++)
		n += snprintf(name + n, (size_t)(NAME_MAX_ - n), " %s%lldx%lld",
			c->in[i].storage                        ? "q"
				: c->in[i].dtype == HONE_DTYPE_BF16 ? "b"
				: c->in[i].dtype == HONE_DTYPE_F32  ? "f"
								    : "i",
			(long long)rows_of(&c->in[i], run),
			(long long)hone_operand_row_elems(&c->in[i]));
	if (n > 0 && n < NAME_MAX_ - 1)
		(void)snprintf(name + n, (size_t)(NAME_MAX_ - n), "%s%s",
			c->out[0].dtype == HONE_DTYPE_F32 ? " -> f" : "",
			c->flags & HONE_COMMAND_ACCUMULATE ? " +=" : "");
}

static double
flops_of(const struct hone_command *c, const struct hone_run *run)
{
	const struct hone_attr_attention *a = c->attr;
	const double out = (double)rows_of(&c->out[0], run) *
		(double)hone_operand_row_elems(&c->out[0]);
	double k;

	if (c->op == HONE_OP_MATMUL) {
		const int32_t form = ((const struct hone_attr_matmul *)c->attr)->form;

		k = form == HONE_MATMUL_TN ? (double)rows_of(&c->in[0], run)
					   : (double)hone_operand_row_elems(&c->in[0]);
		return 2.0 * out * k;
	}
	if (c->op != HONE_OP_ATTENTION && c->op != HONE_OP_ATTENTION_BACK)
		return 0.0;
	/* rows over segments: their mean length */
	k = (double)rows_of(&c->out[0], run);
	{
		const struct hone_operand *ranges =
			&c->in[c->op == HONE_OP_ATTENTION ? 4 : 7];
		const double n = (double)rows_of(ranges, run);

		k = n > 0 ? k / n : 0;
	}
	return (c->op == HONE_OP_ATTENTION ? 2.0 : 5.0) * out * k * (a->causal ? 1.0 : 2.0);
}

static double
bytes_of(const struct hone_command *c, const struct hone_run *run)
{
	double bytes = 0.0;

	for (uint32_t i = 0; i < c->n_in + c->n_out; i++) {
		const struct hone_operand *o = i < c->n_in ? &c->in[i] : &c->out[i - c->n_in];

		if (o->rank && (!o->storage))
			bytes += (double)rows_of(o, run) * (double)hone_operand_row_elems(o) *
				(double)hone_dtype_bytes(o->dtype);
	}
	return bytes;
}

static struct kind *
find_kind(struct bench_profile *p, const char *name)
{
	for (uint32_t i = 0; i < p->n_kinds; i++)
		if (strcmp(p->kinds[i].name, name) == 0)
			return &p->kinds[i];
	if (p->n_kinds == KINDS_MAX)
		return &p->kinds[KINDS_MAX - 1];
	(void)snprintf(p->kinds[p->n_kinds].name, NAME_MAX_, "%s", name);
	return &p->kinds[p->n_kinds++];
}

/* "model.layers.#.mlp.up_proj: 4 from matmul": commands that are of one place in the model. */
static void
name_place(char *name, const struct hone_command *c, uint32_t n)
{
	const struct hn_op *op = hn_op_find(c->op);
	size_t len = 0;

	for (const char *p = c->name; *p && len < NAME_MAX_ / 2; p++)
		if (*p < '0' || *p > '9')
			name[len++] = *p;
		else if (len == 0 || name[len - 1] != '#')
			name[len++] = '#';
	(void)snprintf(name + len, NAME_MAX_ - len, ": %u from %s %s", n,
		op ? op->name : "custom", form_of(c));
}

/* How many commands from `c` on are of the same place. */
static uint32_t
count_place(const struct hone_command *c, uint32_t n, uint32_t stride)
{
	const uint8_t *at = (const uint8_t *)c;
	uint32_t i = 1;

	while (i < n &&
		strcmp(((const struct hone_command *)(const void *)(at + i * stride))->name,
			c->name) == 0)
		i++;
	return i;
}

static enum hone_status
submit(void *device, const struct hone_command *commands, uint32_t n, uint32_t stride,
	const struct hone_run *run, struct hone_error *err)
{
	struct bench_profile *p = the_profile;
	const uint8_t *at = (const uint8_t *)commands;
	enum hone_status st = HONE_OK;
	uint32_t some;

	for (uint32_t i = 0; i < n && !st; i += some, at += some * stride) {
		const struct hone_command *c = (const void *)at;
		char name[NAME_MAX_];
		struct kind *kind;
		double begin;

		some = p->by_place ? count_place(c, n - i, stride) : 1;
		if (p->by_place)
			name_place(name, c, some);
		else
			name_kind(name, c, run);
		kind = find_kind(p, name);
		begin = p->now();
		st = p->inner->submit(device, c, some, stride, run, err);
		kind->seconds += p->now() - begin;
		for (uint32_t k = 0; k < some; k++) {
			c = (const void *)(at + k * stride);
			kind->flops += flops_of(c, run);
			kind->bytes += bytes_of(c, run);
		}
		kind->n++;
	}
	return st;
}

struct bench_profile *
bench_profile_attach(struct hn_device *device, double (*now)(void), bool by_place)
{
	struct bench_profile *p = hn_alloc(sizeof *p);

	memset(p, 0, sizeof *p);
	p->inner = device->vt;
	p->vt = *device->vt;
	p->vt.submit = submit;
	p->now = now;
	p->by_place = by_place;
	device->vt = &p->vt;
	the_profile = p;
	return p;
}

void
bench_profile_clear(struct bench_profile *profile)
{
	profile->n_kinds = 0;
	memset(profile->kinds, 0, sizeof profile->kinds);
}

static int
longer_first(const void *a, const void *b)
{
	const struct kind *const *x = a, *const *y = b;

	return (*x)->seconds > (*y)->seconds ? -1 : (*x)->seconds < (*y)->seconds;
}

void
bench_profile_print(const struct bench_profile *profile, double seconds, double peak)
{
	const struct kind *order[KINDS_MAX];
	double sum = 0.0;

	for (uint32_t i = 0; i < profile->n_kinds; i++) {
		order[i] = &profile->kinds[i];
		sum += profile->kinds[i].seconds;
	}
	qsort(order, profile->n_kinds, sizeof(const struct kind *), longer_first);
	for (uint32_t i = 0; i < profile->n_kinds; i++) {
		const struct kind *k = order[i];

		(void)printf("%5.2f%% %7.1f ms %6lld x  %s", 100.0 * k->seconds / seconds,
			k->seconds * 1e3, (long long)k->n, k->name);
		if (k->flops > 0.0)
			(void)printf("  %.0f GFLOP/s, %.0f%% of peak", k->flops / k->seconds / 1e9,
				100.0 * k->flops / k->seconds / peak);
		else
			(void)printf("  %.1f GB/s", k->bytes / k->seconds / 1e9);
		(void)printf("\n");
	}
	(void)printf("%5.2f%% %7.1f ms in commands of %.1f ms\n", 100.0 * sum / seconds, sum * 1e3,
		seconds * 1e3);
}
