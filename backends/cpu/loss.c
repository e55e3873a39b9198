/*
 * loss.c - NLL and NLL_BACK over rows of logits.
 *
 *     lse = log sum e^x      nll = (1 - e) (lse - x[label]) + e (lse - mean(x))
 *     dx = dnll (e^(x - lse) - e / V - (1 - e) [j = label])
 *
 * A piece is a few rows.  Forward: two passes of a row (maximum; sum of exponentials), the
 * second from L2; backward one pass, in place when asked.  Twins: reference's loss.c.
 */
#include <math.h>

#include "cpu.h"

struct nll {
	const struct cpu_call *call;
	struct cpu_mat x, label, dnll, lse, y;
	int64_t rows;
	double smoothing;
};

static float *
cell(const struct cpu_mat *m, int64_t row)
{
	return (float *)(void *)cpu_at(m, row);
}

static int32_t
label_of(const struct nll *f, int64_t row)
{
	return ((const int32_t *)(const void *)f->label.p)[row];
}

static void
nll_row(const struct nll *f, int64_t r)
{
	const struct hn_cpu_kernels *k = f->call->k;
	const int64_t V = f->x.cols;
	const int32_t label = label_of(f, r);
	float x[HN_CPU_BLOCK], top = -INFINITY, at_label = 0;
	double sum = 0, mean = 0, lse, nll;

	for (int64_t j = 0; j < V; j += HN_CPU_BLOCK) {
		const int64_t n = cpu_min(HN_CPU_BLOCK, V - j);
		const float *v = cpu_read(k, &f->x, r * V + j, n, x), t = k->top(v, n);

		top = t > top || t != t ? t : top;
		if (label >= j && label < j + n)
			at_label = v[label - j];
		if (f->smoothing > 0)
			mean += k->sum(v, n);
		if (top != top)
			break;
	}
	for (int64_t j = 0; j < V && isfinite(top); j += HN_CPU_BLOCK) {
		const int64_t n = cpu_min(HN_CPU_BLOCK, V - j);

		sum += k->sum_exp(cpu_read(k, &f->x, r * V + j, n, x), top, n);
	}
	lse = isfinite(top) ? (double)top + log(sum) : (double)top;
	nll = (1 - f->smoothing) * (lse - (double)at_label);
	if (f->smoothing > 0)
		nll += f->smoothing * (lse - mean / (double)V);
	*cell(&f->y, r) = label < 0 ? 0.0f : (float)nll;
	*cell(&f->lse, r) = (float)lse;
}

static void
nll_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct nll *f = ctx;
	const int64_t end = cpu_min((i + 1) * f->rows, f->x.rows);

	(void)worker;
	for (int64_t r = i * f->rows; r < end; r++)
		nll_row(f, r);
}

static void
run(struct nll *f, void (*piece)(void *ctx, int64_t i, int32_t worker))
{
	const int64_t V = f->x.cols;

	f->rows = V >= HN_CPU_PIECE ? 1 : HN_CPU_PIECE / (V ? V : 1);
	cpu_run(f->call->d, cpu_ceil(f->x.rows, f->rows), piece, f);
}

enum hone_status
cpu_nll(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_nll *attr = call->c->attr;
	struct nll f = {.call = call,
		.x = cpu_in(call, 0),
		.label = cpu_in(call, 1),
		.y = cpu_out(call, 0),
		.lse = cpu_out(call, 1),
		.smoothing = attr->label_smoothing};

	(void)err;
	run(&f, nll_piece);
	return HONE_OK;
}

static void
back_row(const struct nll *f, int64_t r)
{
	const struct hn_cpu_kernels *k = f->call->k;
	const int64_t V = f->x.cols;
	const int32_t label = label_of(f, r);
	float one[1], x[HN_CPU_BLOCK], buffer[HN_CPU_BLOCK];
	const float d = label < 0 ? 0.0f : cpu_read(k, &f->dnll, r, 1, one)[0];

	for (int64_t j = 0; j < V; j += HN_CPU_BLOCK) {
		const int64_t n = cpu_min(HN_CPU_BLOCK, V - j);
		float *y = cpu_target(&f->y, r * V + j, buffer);

		if (label < 0)
			for (int64_t i = 0; i < n; i++)
				y[i] = 0;
		else
			k->softmax_grad(y, cpu_read(k, &f->x, r * V + j, n, x), *cell(&f->lse, r),
				d, (float)(f->smoothing / (double)V), n);
		if (label >= j && label < j + n)
			y[label - j] -= d * (float)(1 - f->smoothing);
		cpu_write(k, &f->y, r * V + j, n, y);
	}
}

static void
back_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct nll *f = ctx;
	const int64_t end = cpu_min((i + 1) * f->rows, f->x.rows);

	(void)worker;
	for (int64_t r = i * f->rows; r < end; r++)
		back_row(f, r);
}

enum hone_status
cpu_nll_back(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_attr_nll *attr = call->c->attr;
	struct nll f = {.call = call,
		.dnll = cpu_in(call, 0),
		.x = cpu_in(call, 1),
		.label = cpu_in(call, 2),
		.lse = cpu_in(call, 3),
		.y = cpu_out(call, 0),
		.smoothing = attr->label_smoothing};

	(void)err;
	run(&f, back_piece);
	return HONE_OK;
}
