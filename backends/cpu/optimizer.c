/*
 * optimizer.c - ADAMW in place: one pass over p, g, m, v (28 bytes an element in f32).
 *
 * Loshchilov and Hutter 2019, arXiv:1711.05101, in the order of PyTorch's operations.  Twin:
 * reference's optimizer.c.
 */
#include <math.h>
#include <string.h>

#include "cpu.h"

struct adamw {
	const struct cpu_call *call;
	struct cpu_mat p, g, m, v;
	int64_t n;
	struct hn_adamw u;
};

static float *
floats(const struct cpu_mat *m, int64_t at)
{
	return (float *)(void *)cpu_at(m, at);
}

static void
adamw_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct adamw *f = ctx;
	const int64_t end = cpu_min((i + 1) * HN_CPU_PIECE, f->n);
	struct hn_adamw u = f->u;
	float g[HN_CPU_BLOCK];

	(void)worker;
	for (int64_t at = i * HN_CPU_PIECE; at < end; at += HN_CPU_BLOCK) {
		const int64_t n = cpu_min(HN_CPU_BLOCK, end - at);

		u.p = floats(&f->p, at);
		u.m = floats(&f->m, at);
		u.v = floats(&f->v, at);
		u.g = cpu_read(f->call->k, &f->g, at, n, g);
		f->call->k->adamw(&u, n);
	}
}

/* The outputs are the memory of p, m, v; where a host gives other memory it is filled first. */
static struct cpu_mat
in_place(const struct cpu_call *call, uint32_t in, uint32_t out)
{
	const struct cpu_mat from = cpu_in(call, in), to = cpu_out(call, out);

	if (from.p != to.p)
		memcpy(to.p, from.p, (size_t)(from.rows * from.cols) * 4);
	return to;
}

enum hone_status
cpu_adamw(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_adamw *attr = call->c->attr;
	const struct cpu_mat hyper_mat = cpu_in(call, 4);
	const float *hyper = (const float *)(const void *)hyper_mat.p;
	const double lr = (double)hyper[0] * attr->lr_scale;
	struct adamw f = {.call = call,
		.p = in_place(call, 0, 0),
		.g = cpu_in(call, 1),
		.m = in_place(call, 2, 1),
		.v = in_place(call, 3, 2),
		.u = {.factor = hyper[3],
			.decay = (float)(1 - lr * attr->weight_decay),
			.beta1 = (float)attr->beta1,
			.gain1 = (float)(1 - attr->beta1),
			.beta2 = (float)attr->beta2,
			.gain2 = (float)(1 - attr->beta2),
			.step = (float)(lr / (double)hyper[1]),
			.root = (float)(1 / sqrt((double)hyper[2])),
			.eps = (float)attr->eps}};

	(void)err;
	f.n = f.p.rows * f.p.cols;
	cpu_run(call->d, cpu_ceil(f.n, HN_CPU_PIECE), adamw_piece, &f);
	return HONE_OK;
}
