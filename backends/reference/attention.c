/*
 * attention.c - ATTENTION and ATTENTION_BACK over ragged segments.
 *
 * For query row i of segment s and head h, with the keys j that it sees (the prefix first):
 *
 *     z_j = scale q.k_j      t_j = c tanh(z_j / c)  or z_j      lse = log sum_j exp(t_j)
 *     p_j = exp(t_j - lse)   o = sum_j p_j v_j
 *
 *     delta = do.o           dt_j = p_j (do.v_j - delta)        dz_j = dt_j (1 - (t_j / c)^2)
 *     dq = scale sum_j dz_j k_j      dk_j += scale dz_j q       dv_j += p_j do
 *
 * The backward takes o and lse as they are given (rounded to their types), like every
 * streamed implementation (Dao et al. 2022, arXiv:2205.14135, appendix B).  A key head is
 * shared by H / G query heads, and a key row by all segments whose range holds it; their
 * gradients add up in ascending order of segment, row and head.  A row with lse = -infinity
 * sees nothing and gives nothing.
 */
#include "reference.h"

#include <math.h>
#include <stdlib.h>

/* The operands of either direction, and the scores of one row and head. */
struct attention {
	const struct hone_attr_attention *attr;
	const struct ref_tensor *q, *k, *v, *q_offsets, *kv_ranges;
	const struct ref_tensor *prefix_k, *prefix_v; /* data NULL = none */
	int64_t H, G, K, P;                           /* P prefix rows */
	double *t;                                    /* [P + L] scores, then probabilities */
	double *dq, *dk, *dv, *dprefix_k, *dprefix_v; /* backward only */
};

/* One segment: query rows [q0, q0 + T), key rows [k0, k0 + U). */
struct segment {
	int64_t q0, T, k0, U;
};

static enum hone_status
find_segment(const struct attention *a, int64_t s, struct segment *out, struct hone_error *err)
{
	int64_t q1, k1;
	enum hone_status st = ref_segment(a->q_offsets, s, a->q->rows, &out->q0, &q1, err);

	if (st == HONE_OK)
		st = ref_segment(a->kv_ranges, 2 * s, a->k->rows, &out->k0, &k1, err);
	if (st != HONE_OK)
		return st;
	out->T = q1 - out->q0;
	out->U = k1 - out->k0;
	return HONE_OK;
}

/* The keys [*first, *last) of the segment that query i of it sees. */
static void
visible(const struct attention *a, const struct segment *s, int64_t i, int64_t *first,
	int64_t *last)
{
	const int64_t shift = s->U - s->T, w = a->attr->window;

	*first = w > 0 && i + shift - w + 1 > 0 ? i + shift - w + 1 : 0;
	*last = a->attr->causal && i + shift + 1 < s->U ? i + shift + 1 : s->U;
	if (*last < *first)
		*last = *first;
}

/* Element of key or value j of head g: j below P is a prefix row, else row j - P of the
 * segment. */
static double
at(const struct attention *a, const struct ref_tensor *rows, const struct ref_tensor *prefix,
	const struct segment *s, int64_t j, int64_t g, int64_t d)
{
	const int64_t column = g * a->K + d;

	if (j < a->P)
		return ref_get(prefix, j * prefix->cols + column);
	return ref_get(rows, (s->k0 + j - a->P) * rows->cols + column);
}

/* t_j of query row (in the stream) `row`, head h. */
static double
score(const struct attention *a, const struct segment *s, int64_t row, int64_t h, int64_t j)
{
	const int64_t g = h / (a->H / a->G);
	const double c = a->attr->softcap;
	double dot = 0;

	for (int64_t d = 0; d < a->K; d++)
		dot += ref_get(a->q, row * a->q->cols + h * a->K + d) *
			at(a, a->k, a->prefix_k, s, j, g, d);
	dot *= a->attr->scale;
	return c > 0 ? c * tanh(dot / c) : dot;
}

/* Fills a->t for all keys that the row sees; the others are -infinity. */
static void
scores(const struct attention *a, const struct segment *s, int64_t i, int64_t h)
{
	int64_t first, last;

	visible(a, s, i, &first, &last);
	for (int64_t j = 0; j < a->P + s->U; j++)
		a->t[j] = j < a->P || (j >= a->P + first && j < a->P + last)
			? score(a, s, s->q0 + i, h, j)
			: -INFINITY;
}

/* ---- forward ---- */

static void
forward_row(const struct attention *a, const struct segment *s, int64_t i, int64_t h,
	const struct ref_tensor *o, const struct ref_tensor *lse_out)
{
	const int64_t n = a->P + s->U, row = s->q0 + i, g = h / (a->H / a->G);

	scores(a, s, i, h);
	const double lse = ref_log_sum_exp(a->t, n, 1);

	for (int64_t d = 0; d < a->K; d++) {
		double sum = 0;

		/* A key that is not seen is not read: its value may be anything. */
		for (int64_t j = 0; j < n; j++)
			if (a->t[j] != -INFINITY)
				sum += exp(a->t[j] - lse) * at(a, a->v, a->prefix_v, s, j, g, d);
		ref_put(o, row * o->cols + h * a->K + d, sum);
	}
	ref_put(lse_out, row * a->H + h, lse);
}

/* Rows of no segment see nothing. */
static void
clear_outputs(const struct ref_tensor *o, const struct ref_tensor *lse)
{
	for (int64_t i = 0; i < ref_elems(o); i++)
		ref_put(o, i, 0);
	for (int64_t i = 0; i < ref_elems(lse); i++)
		ref_put(lse, i, -INFINITY);
}

/* Takes the operands that both directions have; `first` is the place of q, `offsets` that of
 * q_offsets.  The caller frees t. */
static enum hone_status
open_attention(const struct ref_call *call, uint32_t first, uint32_t offsets, struct attention *a,
	struct hone_error *err)
{
	static const struct ref_tensor absent;
	const bool has_prefix = call->n_in > offsets + 3;

	*a = (struct attention){.attr = call->command->attr,
		.q = &call->in[first],
		.k = &call->in[first + 1],
		.v = &call->in[first + 2],
		.q_offsets = &call->in[offsets],
		.kv_ranges = &call->in[offsets + 1],
		.prefix_k = has_prefix ? &call->in[offsets + 2] : &absent,
		.prefix_v = has_prefix ? &call->in[offsets + 3] : &absent};
	a->H = a->attr->n_heads;
	a->G = a->attr->n_kv_heads;
	a->K = a->attr->head_dim;
	a->P = a->prefix_k->rows;
	a->t = ref_scratch(1, a->P + a->k->rows, err);
	return a->t ? HONE_OK : HONE_ENOMEM;
}

static enum hone_status
attention(const struct ref_call *call, struct hone_error *err)
{
	struct attention a;
	struct segment s;
	enum hone_status st = open_attention(call, 0, 3, &a, err);

	if (st != HONE_OK)
		return st;
	clear_outputs(&call->out[0], &call->out[1]);
	for (int64_t i = 0; st == HONE_OK && i < a.kv_ranges->rows; i++) {
		st = find_segment(&a, i, &s, err);
		for (int64_t row = 0; st == HONE_OK && row < s.T; row++)
			for (int64_t h = 0; h < a.H; h++)
				forward_row(&a, &s, row, h, &call->out[0], &call->out[1]);
	}
	free(a.t);
	return st;
}

/* ---- backward ---- */

/* Where the gradient of key or value j, head g, is summed. */
static double *
gradient(const struct attention *a, double *rows, double *prefix, const struct segment *s,
	int64_t j, int64_t g)
{
	const int64_t cols = a->G * a->K;

	return j < a->P ? prefix + j * cols + g * a->K
			: rows + (s->k0 + j - a->P) * cols + g * a->K;
}

/* What one key gives to and takes from one query. */
static void
backward_key(const struct attention *a, const struct segment *s, const struct ref_tensor *d_o,
	int64_t row, int64_t h, int64_t j, double p, double delta)
{
	const int64_t g = h / (a->H / a->G), column = row * a->q->cols + h * a->K;
	const double c = a->attr->softcap, part = c > 0 ? a->t[j] / c : 0;
	double *dk = gradient(a, a->dk, a->dprefix_k, s, j, g);
	double *dv = gradient(a, a->dv, a->dprefix_v, s, j, g);
	double dot = 0;

	for (int64_t d = 0; d < a->K; d++)
		dot += ref_get(d_o, column + d) * at(a, a->v, a->prefix_v, s, j, g, d);
	const double dz = p * (dot - delta) * (1 - part * part) * a->attr->scale;

	for (int64_t d = 0; d < a->K; d++) {
		a->dq[column + d] += dz * at(a, a->k, a->prefix_k, s, j, g, d);
		dk[d] += dz * ref_get(a->q, column + d);
		dv[d] += p * ref_get(d_o, column + d);
	}
}

static void
backward_row(const struct attention *a, const struct segment *s, const struct ref_call *call,
	int64_t i, int64_t h)
{
	const struct ref_tensor *d_o = &call->in[0], *o = &call->in[4];
	const int64_t row = s->q0 + i, column = row * a->q->cols + h * a->K;
	const double lse = ref_get(&call->in[5], row * a->H + h);
	double delta = 0;

	if (lse == -INFINITY)
		return;
	for (int64_t d = 0; d < a->K; d++)
		delta += ref_get(d_o, column + d) * ref_get(o, column + d);
	scores(a, s, i, h);
	for (int64_t j = 0; j < a->P + s->U; j++)
		if (a->t[j] != -INFINITY)
			backward_key(a, s, d_o, row, h, j, exp(a->t[j] - lse), delta);
}

static void
put_all(const struct ref_tensor *t, const double *from)
{
	for (int64_t i = 0; i < ref_elems(t); i++)
		ref_put(t, i, from[i]);
}

static void
close_backward(struct attention *a)
{
	free(a->t);
	free(a->dq);
	free(a->dk);
	free(a->dv);
	free(a->dprefix_k);
	free(a->dprefix_v);
}

static enum hone_status
attention_back(const struct ref_call *call, struct hone_error *err)
{
	struct attention a;
	struct segment s;
	enum hone_status st = open_attention(call, 1, 6, &a, err);

	if (st != HONE_OK)
		return st;
	a.dq = ref_scratch(a.q->rows, a.q->cols, err);
	a.dk = ref_scratch(a.k->rows, a.k->cols, err);
	a.dv = ref_scratch(a.v->rows, a.v->cols, err);
	a.dprefix_k = ref_scratch(a.P, a.k->cols, err);
	a.dprefix_v = ref_scratch(a.P, a.v->cols, err);
	if (!a.dq || !a.dk || !a.dv || !a.dprefix_k || !a.dprefix_v)
		st = HONE_ENOMEM;
	for (int64_t i = 0; st == HONE_OK && i < a.kv_ranges->rows; i++) {
		st = find_segment(&a, i, &s, err);
		for (int64_t row = 0; st == HONE_OK && row < s.T; row++)
			for (int64_t h = 0; h < a.H; h++)
				backward_row(&a, &s, call, row, h);
	}
	if (st == HONE_OK) {
		put_all(&call->out[0], a.dq);
		put_all(&call->out[1], a.dk);
		put_all(&call->out[2], a.dv);
		if (call->n_out > 4) {
			put_all(&call->out[3], a.dprefix_k);
			put_all(&call->out[4], a.dprefix_v);
		}
	}
	close_backward(&a);
	return st;
}

static enum hone_status
check(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_attention *attr = c->attr;
	const uint32_t q = c->op == HONE_OP_ATTENTION ? 0 : 1, needed = q ? 8 : 5;
	const bool prefix = c->n_in == needed + 2;

	if (c->n_in == needed + 1 || (q && c->n_out != (prefix ? 5u : 3u)))
		return hone_fail(err, HONE_EUNSUPPORTED,
			"attention: prefix keys and values, and their gradients, come in pairs");
	if (attr->head_dim < 1 || attr->n_kv_heads < 1 || attr->n_heads % attr->n_kv_heads ||
		hone_operand_row_elems(&c->in[q]) != attr->n_heads * attr->head_dim ||
		hone_operand_row_elems(&c->in[q + 1]) != attr->n_kv_heads * attr->head_dim)
		return hone_fail(err, HONE_EUNSUPPORTED,
			"attention: %lld heads over %lld of %lld columns fit neither q nor k",
			(long long)attr->n_heads, (long long)attr->n_kv_heads,
			(long long)attr->head_dim);
	return HONE_OK;
}

const struct ref_op ref_ops_attention[] = {
	{HONE_OP_ATTENTION, sizeof(struct hone_attr_attention), 5, 7, 2, 2, 0, attention, check},
	{HONE_OP_ATTENTION_BACK, sizeof(struct hone_attr_attention), 8, 10, 3, 5, 0, attention_back,
		check},
	{0},
};
