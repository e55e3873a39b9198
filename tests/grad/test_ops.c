/*
 * grad/test_ops.c - the gradients of the reference backend against central differences.
 *
 * For a forward operation y = f(x) and random w, L = sum(w y).  The backward operation with
 * dy = w must give dL/dx, which is measured in double as (L(x + h) - L(x - h)) / 2h for every
 * element of x.  Each case is one row of a table: a forward, a backward, where the backward's
 * operands come from, and which inputs of the forward its outputs are the gradients of.
 *
 * Negative control: each gradient is scaled by 1.01 and the same comparison has to fail.
 */
#include "op_cases.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where an operand of the backward comes from: dy, input i or output i of the forward. */
enum { END = 0, DY = 1, IN = 10, OUT = 20 };

struct gradient {
	struct ops_case forward;
	struct ops_case back; /* op, attributes and outputs; its inputs are made */
	uint8_t from[OPS_IN];
	uint8_t to[OPS_OUT]; /* output i is the gradient of the forward's input to[i] */
	double step;         /* of the differences; 0 = 1e-5 */
};

/* The differences are good to h^2 f''' / 6 plus rounding 1e-16 / h; half of that is digits. */
#define STEP      1e-5
#define TOLERANCE 1e-7

enum { N = 1, M = 2, S = 3, L = 4, OFFSETS = 5 };

static struct ops_operand
f64(uint32_t space, int64_t rows, int64_t cols)
{
	return (struct ops_operand){.dtype = HONE_DTYPE_F64,
		.rank = 2,
		.space = space,
		.dim = {rows + (space ? 2 : 0), cols}};
}

static struct ops_operand
i32(uint32_t space, int64_t rows, int64_t cols, const int32_t *list)
{
	struct ops_operand o = f64(space, rows, cols);

	o.dtype = HONE_DTYPE_I32;
	o.fill = OPS_FILL_LIST;
	o.list = list;
	o.n_list = rows * cols;
	return o;
}

static struct ops_operand
within(struct ops_operand o, double low, double high)
{
	o.fill = OPS_FILL_UNIFORM;
	o.a = low;
	o.b = high;
	return o;
}

static void
input(struct gradient *g, struct ops_operand o)
{
	g->forward.in[g->forward.n_in++] = o;
}

/* An output of the forward. */
static void
output(struct gradient *g, struct ops_operand o)
{
	g->forward.out[g->forward.n_out++] = o;
}

/* An output of the backward: the gradient of the forward's input i. */
static void
gradient_of(struct gradient *g, uint8_t i)
{
	g->to[g->back.n_out] = i;
	g->back.out[g->back.n_out] = g->forward.in[i];
	g->back.out[g->back.n_out++].fill = OPS_FILL_CONST;
}

static void
from(struct gradient *g, uint32_t n, const uint8_t *list)
{
	memcpy(g->from, list, n);
}
#define FROM(g, ...)                                                                               \
	from(g, (uint32_t)sizeof((const uint8_t[]){__VA_ARGS__}), (const uint8_t[]){__VA_ARGS__})

/* Both operations, with the same attributes. */
static struct gradient
make(const char *name, uint32_t forward, uint32_t back)
{
	struct gradient g = {.forward = {.op = forward, .seed = 11, .step = 5}};

	(void)snprintf(g.forward.name, sizeof g.forward.name, "%s", name);
	g.forward.live[N] = 7;
	g.forward.live[M] = 5;
	g.forward.live[S] = 4;
	g.forward.live[OFFSETS] = 5;
	g.forward.live[L] = 9;
	g.back = g.forward;
	g.back.op = back;
	return g;
}

static void
attributes(struct gradient *g, union ops_attr attr, uint32_t forward, uint32_t back)
{
	g->forward.attr = attr;
	g->forward.attr_size = forward;
	g->back.attr = attr;
	g->back.attr_size = back;
}

/* ---- the check ---- */

static void
must_run(const struct ops_device *device, const struct ops_case *c, struct ops_data *data)
{
	char why[OPS_WHY];

	if (!ops_run(device, c, HONE_DTYPE_F64, data, why))
		fail_msg("%s: %s", c->name, why);
}

/* L = sum(w y) at what data holds. */
static double
loss(const struct ops_device *device, const struct gradient *g, struct ops_data *data,
	const double *w)
{
	double sum = 0;

	must_run(device, &g->forward, data);
	for (int64_t i = 0; i < data->n_out_elems[0]; i++)
		sum += w[i] * data->out[0][i];
	return sum;
}

/* Whether d matches the differences of input `which`, all of its elements. */
static bool
matches(const struct ops_device *device, const struct gradient *g, struct ops_data *data,
	const double *w, uint32_t which, const double *d, double factor)
{
	const double h = g->step > 0 ? g->step : STEP;
	double *x = data->in[which], worst = 0, size = 0;

	for (int64_t i = 0; i < data->n_in_elems[which]; i++) {
		const double was = x[i];

		x[i] = was + h;
		const double above = loss(device, g, data, w);
		x[i] = was - h;
		const double below = loss(device, g, data, w);
		x[i] = was;
		const double slope = (above - below) / (2 * h);

		worst = fmax(worst, fabs(slope - factor * d[i]));
		size = fmax(size, fabs(slope));
		if (isnan(d[i]))
			return false;
	}
	return worst <= TOLERANCE * (1 + size);
}

/* Gives the backward its operands. */
static void
connect(struct gradient *g, const struct ops_data *fd, struct ops_data *bd)
{
	struct ops_case *b = &g->back;

	while (b->n_in < OPS_IN && g->from[b->n_in]) {
		const uint8_t code = g->from[b->n_in];

		b->in[b->n_in++] = code == DY ? g->forward.out[0]
			: code >= OUT         ? g->forward.out[code - OUT]
					      : g->forward.in[code - IN];
	}
	assert_true(ops_data_init(bd, b, HONE_DTYPE_F64));
	for (uint32_t i = 0; i < b->n_in; i++) {
		const uint8_t code = g->from[i];
		const double *values = code == OUT + 0 || code > OUT ? fd->out[code - OUT]
			: code >= IN                                 ? fd->in[code - IN]
								     : NULL;

		if (values)
			memcpy(bd->in[i], values, (size_t)bd->n_in_elems[i] * sizeof(double));
	}
}

/* Compares a gradient, and requires that one that is wrong by 1 % is refused. */
static void
check(const struct ops_device *device, struct gradient g)
{
	struct ops_data fd, bd;
	const double *w = NULL;

	assert_true(ops_data_init(&fd, &g.forward, HONE_DTYPE_F64));
	must_run(device, &g.forward, &fd);
	connect(&g, &fd, &bd);
	for (uint32_t i = 0; i < g.back.n_in; i++)
		if (g.from[i] == DY)
			w = bd.in[i];
	assert_non_null(w);
	must_run(device, &g.back, &bd);
	for (uint32_t i = 0; i < g.back.n_out; i++) {
		double size = 0;

		for (int64_t k = 0; k < bd.n_out_elems[i]; k++)
			size += fabs(bd.out[i][k]);
		if (!(size > 1e-3))
			fail_msg("%s: gradient %u is zero, the case shows nothing", g.forward.name,
				i);
		if (!matches(device, &g, &fd, w, g.to[i], bd.out[i], 1))
			fail_msg("%s: gradient %u does not match", g.forward.name, i);
		if (matches(device, &g, &fd, w, g.to[i], bd.out[i], 1.01))
			fail_msg("%s: gradient %u may be wrong by 1 %%", g.forward.name, i);
	}
	ops_data_fini(&fd);
	ops_data_fini(&bd);
}

/* ---- products ---- */

static void
check_product(const struct ops_device *device, const char *name, int32_t forward, int32_t back,
	uint8_t which)
{
	const int64_t n = 7, O = 3, I = 5;
	struct gradient g = make(name, HONE_OP_MATMUL, HONE_OP_MATMUL);
	const bool nn = forward == HONE_MATMUL_NN;

	attributes(&g, (union ops_attr){.matmul = {forward, 0}}, sizeof(struct hone_attr_matmul),
		sizeof(struct hone_attr_matmul));
	g.back.attr.matmul.form = back;
	input(&g, f64(N, n, nn ? O : I));
	input(&g, f64(0, O, I));
	output(&g, f64(N, n, nn ? I : O));
	if (which == 0)
		FROM(&g, DY, IN + 1);
	else if (nn)
		FROM(&g, IN + 0, DY);
	else
		FROM(&g, DY, IN + 0);
	gradient_of(&g, which);
	check(device, g);
}

/* Catches: a product form whose operands or transposition are swapped, for the ways in which
 * one form is the gradient of another. */
static void
test_matmul_forms_are_gradients_of_each_other(void **state)
{
	check_product(*state, "nt, da by nn", HONE_MATMUL_NT, HONE_MATMUL_NN, 0);
	check_product(*state, "nt, db by tn", HONE_MATMUL_NT, HONE_MATMUL_TN, 1);
	check_product(*state, "nn, da by nt", HONE_MATMUL_NN, HONE_MATMUL_NT, 0);
	check_product(*state, "nn, db by tn", HONE_MATMUL_NN, HONE_MATMUL_TN, 1);
}

/* Catches: a TN product that sums over something else than the live rows. */
static void
test_matmul_tn_gradients_are_nt_and_nn(void **state)
{
	for (uint8_t which = 0; which < 2; which++) {
		struct gradient g = make("tn", HONE_OP_MATMUL, HONE_OP_MATMUL);

		attributes(&g, (union ops_attr){.matmul = {HONE_MATMUL_TN, 0}},
			sizeof(struct hone_attr_matmul), sizeof(struct hone_attr_matmul));
		/* y = a^T b: da[n,o] = sum_i b[n,i] dy[o,i]; db[n,i] = sum_o a[n,o] dy[o,i] */
		g.back.attr.matmul.form = which ? HONE_MATMUL_NN : HONE_MATMUL_NT;
		input(&g, f64(N, 7, 3));
		input(&g, f64(N, 7, 5));
		output(&g, f64(0, 3, 5));
		if (which)
			FROM(&g, IN + 0, DY);
		else
			FROM(&g, IN + 1, DY);
		gradient_of(&g, which);
		check(*state, g);
	}
}

/* ---- elementwise and norms ---- */

/* Catches: a wrong derivative of any unary function. */
static void
test_unary_back_all_kinds_match(void **state)
{
	for (int32_t kind = HONE_UNARY_NEG; kind <= HONE_UNARY_QUICK_GELU; kind++) {
		struct gradient g = make("unary", HONE_OP_UNARY, HONE_OP_UNARY_BACK);
		const bool positive = kind == HONE_UNARY_LOG || kind == HONE_UNARY_SQRT ||
			kind == HONE_UNARY_RSQRT || kind == HONE_UNARY_RECIPROCAL;

		(void)snprintf(g.forward.name, sizeof g.forward.name, "unary kind %d", kind);
		attributes(&g, (union ops_attr){.unary = {kind, 0}}, sizeof(struct hone_attr_unary),
			sizeof(struct hone_attr_unary));
		/* Away from the kink of abs and relu by more than the step, on both sides. */
		input(&g, within(f64(N, 7, 5), positive ? 0.5 : -2.5, 2.5));
		output(&g, f64(N, 7, 5));
		FROM(&g, DY, IN + 0);
		gradient_of(&g, 0);
		check(*state, g);
	}
}

/* Catches: a norm's gradient without the term through rstd or mean; a weight gradient that
 * misses rstd. */
static void
test_norms_back_match(void **state)
{
	const struct ops_operand x = f64(N, 7, 6), w = f64(0, 1, 6), stat = f64(N, 7, 1);
	const union ops_attr attr = {.norm = {1e-2}};

	for (int layer = 0; layer < 2; layer++)
		for (int weight = 0; weight < 2; weight++) {
			struct gradient g = make(layer ? "layer norm" : "rms norm",
				layer ? HONE_OP_LAYER_NORM : HONE_OP_RMS_NORM,
				layer ? (weight ? HONE_OP_LAYER_NORM_WEIGHT_BACK
						: HONE_OP_LAYER_NORM_BACK)
				      : (weight ? HONE_OP_RMS_NORM_WEIGHT_BACK
						: HONE_OP_RMS_NORM_BACK));

			attributes(&g, attr, sizeof(struct hone_attr_norm), 0);
			input(&g, x);
			input(&g, w);
			if (layer)
				input(&g, w);
			output(&g, x);
			output(&g, stat);
			if (layer)
				output(&g, stat);
			if (layer && weight)
				FROM(&g, DY, IN + 0, OUT + 1, OUT + 2);
			else if (layer)
				FROM(&g, DY, IN + 0, IN + 1, OUT + 1, OUT + 2);
			else if (weight)
				FROM(&g, DY, IN + 0, OUT + 1);
			else
				FROM(&g, DY, IN + 0, IN + 1, OUT + 1);
			gradient_of(&g, weight ? 1 : 0);
			if (layer && weight)
				gradient_of(&g, 2);
			check(*state, g);
		}
}

/* ---- rope and attention ---- */

/* Catches: an inverse rotation that does not undo the rotation, in either layout. */
static void
test_rope_inverse_is_its_gradient(void **state)
{
	for (int32_t layout = 0; layout < 2; layout++) {
		struct gradient g = make("rope", HONE_OP_ROPE, HONE_OP_ROPE);

		attributes(&g, (union ops_attr){.rope = {6, layout, 0}},
			sizeof(struct hone_attr_rope), sizeof(struct hone_attr_rope));
		g.back.attr.rope.inverse = 1;
		input(&g, f64(N, 7, 12));
		input(&g, f64(N, 7, 4)); /* 4 of 6 columns turn */
		output(&g, f64(N, 7, 12));
		FROM(&g, DY, IN + 1);
		gradient_of(&g, 0);
		check(*state, g);
	}
}

static const int32_t q_offsets[] = {0, 3, 3, 4, 7};
static const int32_t own_ranges[] = {0, 3, 3, 3, 3, 4, 4, 7};
static const int32_t key_ranges[] = {0, 4, 1, 3, 3, 8, 2, 4}; /* shared rows; 8 is nobody's */

static void
check_attention(const struct ops_device *device, const char *name, struct hone_attr_attention attr,
	bool shared_rows, bool prefix)
{
	struct gradient g = make(name, HONE_OP_ATTENTION, HONE_OP_ATTENTION_BACK);
	const int64_t kv = attr.n_kv_heads * attr.head_dim, q = attr.n_heads * attr.head_dim;
	const struct ops_operand k = shared_rows ? f64(N, 7, kv) : f64(L, 9, kv);

	attributes(&g, (union ops_attr){.attention = attr}, sizeof attr, sizeof attr);
	input(&g, f64(N, 7, q));
	input(&g, k);
	input(&g, k);
	input(&g, i32(OFFSETS, 5, 1, q_offsets));
	input(&g, i32(S, 4, 2, shared_rows ? own_ranges : key_ranges));
	if (prefix) {
		input(&g, f64(0, 2, kv));
		input(&g, f64(0, 2, kv));
		FROM(&g, DY, IN + 0, IN + 1, IN + 2, OUT + 0, OUT + 1, IN + 3, IN + 4, IN + 5,
			IN + 6);
	} else {
		FROM(&g, DY, IN + 0, IN + 1, IN + 2, OUT + 0, OUT + 1, IN + 3, IN + 4);
	}
	output(&g, f64(N, 7, q));
	output(&g, f64(N, 7, attr.n_heads));
	for (uint8_t i = 0; i < 3; i++)
		gradient_of(&g, i);
	if (prefix) {
		gradient_of(&g, 5);
		gradient_of(&g, 6);
	}
	check(device, g);
}

/* Catches: a gradient that leaks through the mask, misses a head of a group, a shared key
 * row, the prefix, or the derivative of softcap. */
static void
test_attention_back_matches(void **state)
{
	const struct hone_attr_attention plain = {2, 2, 3, 0, 0, 0, 0.6, 0};
	const struct hone_attr_attention causal = {2, 1, 3, 0, 1, 0, 0.6, 0};
	const struct hone_attr_attention all = {4, 2, 3, 2, 1, 0, 0.9, 1.5};
	const struct hone_attr_attention window = {2, 1, 3, 2, 1, 0, 0.6, 0};

	check_attention(*state, "attention", plain, true, false);
	check_attention(*state, "causal, shared heads", causal, true, false);
	check_attention(*state, "causal, prefix", causal, true, true);
	check_attention(*state, "window", window, true, false);
	check_attention(*state, "window, softcap, prefix", all, true, true);
	check_attention(*state, "own keys", plain, false, false);
	check_attention(*state, "own keys, causal", causal, false, false);
	check_attention(*state, "own keys, all", all, false, true);
}

/* ---- rows, segments, reductions ---- */

static const int32_t index_of_5[] = {2, 0, 2, 5, 1}, unique_5[] = {6, 0, 3, 5, 1};

/* Catches: a scatter that overwrites where an index repeats; a gather that is off by one. */
static void
test_gather_and_scatter_are_gradients_of_each_other(void **state)
{
	struct gradient g = make("gather", HONE_OP_GATHER_ROWS, HONE_OP_SCATTER_ADD_ROWS);

	attributes(&g, (union ops_attr){.rows = {6, 0, 0}}, 0, sizeof(struct hone_attr_rows));
	input(&g, f64(0, 6, 3));
	input(&g, i32(M, 5, 1, index_of_5));
	output(&g, f64(M, 5, 3));
	FROM(&g, DY, IN + 1);
	gradient_of(&g, 0);
	check(*state, g);

	g = make("scatter_add", HONE_OP_SCATTER_ADD_ROWS, HONE_OP_GATHER_ROWS);
	attributes(&g, (union ops_attr){.rows = {0, N, 0}}, sizeof(struct hone_attr_rows), 0);
	input(&g, f64(M, 5, 3));
	input(&g, i32(M, 5, 1, index_of_5));
	output(&g, f64(N, 7, 3));
	FROM(&g, DY, IN + 1);
	gradient_of(&g, 0);
	check(*state, g);
}

/* Catches: put_rows that keeps a trace of the row it replaces. */
static void
test_put_rows_gradient_of_rows_is_gather(void **state)
{
	struct gradient g = make("put_rows", HONE_OP_PUT_ROWS, HONE_OP_GATHER_ROWS);

	input(&g, f64(N, 7, 3));
	input(&g, f64(M, 5, 3));
	input(&g, i32(M, 5, 1, unique_5));
	output(&g, f64(N, 7, 3));
	FROM(&g, DY, IN + 2);
	gradient_of(&g, 1);
	check(*state, g);
}

/* Catches: a segment's gradient that reaches a neighbour, or misses 1 / n or exp(x - y). */
static void
test_segment_reduce_back_all_kinds_match(void **state)
{
	static const char *const names[] = {"", "sum", "mean", "max", "lse"};

	for (int32_t kind = HONE_REDUCE_SUM; kind <= HONE_REDUCE_LSE; kind++) {
		struct gradient g =
			make(names[kind], HONE_OP_SEGMENT_REDUCE, HONE_OP_SEGMENT_REDUCE_BACK);

		attributes(&g, (union ops_attr){.reduce = {kind, 0}},
			sizeof(struct hone_attr_reduce), sizeof(struct hone_attr_reduce));
		input(&g, f64(N, 7, 3));
		input(&g, i32(OFFSETS, 5, 1, q_offsets));
		output(&g, f64(S, 4, 3));
		FROM(&g, DY, IN + 0, OUT + 0, IN + 1);
		gradient_of(&g, 0);
		check(*state, g);
	}
}

/* Catches: broadcasts and the sums that are their gradients disagreeing on who repeats. */
static void
test_broadcasts_and_sums_are_gradients_of_each_other(void **state)
{
	struct gradient g =
		make("segment_broadcast", HONE_OP_SEGMENT_BROADCAST, HONE_OP_SEGMENT_REDUCE);

	attributes(&g, (union ops_attr){.reduce = {HONE_REDUCE_SUM, 0}}, 0,
		sizeof(struct hone_attr_reduce));
	input(&g, f64(S, 4, 3));
	input(&g, i32(OFFSETS, 5, 1, q_offsets));
	input(&g, f64(N, 7, 1));
	output(&g, f64(N, 7, 3));
	FROM(&g, DY, IN + 1);
	gradient_of(&g, 0);
	check(*state, g);

	g = make("broadcast", HONE_OP_BROADCAST, HONE_OP_REDUCE_ROWS);
	input(&g, f64(0, 1, 3));
	input(&g, f64(N, 7, 1));
	output(&g, f64(N, 7, 3));
	FROM(&g, DY);
	gradient_of(&g, 0);
	check(*state, g);

	g = make("reduce_rows", HONE_OP_REDUCE_ROWS, HONE_OP_BROADCAST);
	input(&g, f64(N, 7, 3));
	output(&g, f64(0, 1, 3));
	FROM(&g, DY, IN + 0);
	gradient_of(&g, 0);
	check(*state, g);

	g = make("concat_cols", HONE_OP_CONCAT_COLS, HONE_OP_SLICE_COLS);
	attributes(&g, (union ops_attr){.slice = {2, 5}}, 0, sizeof(struct hone_attr_slice));
	input(&g, f64(N, 7, 2));
	input(&g, f64(N, 7, 3));
	output(&g, f64(N, 7, 5));
	FROM(&g, DY);
	gradient_of(&g, 1);
	check(*state, g);
}

/* ---- loss and randomness ---- */

/* Catches: a cross-entropy gradient without smoothing, or for a row without a label. */
static void
test_nll_back_matches(void **state)
{
	static const int32_t labels[] = {3, -1, 0, 5, -100};

	for (int smooth = 0; smooth < 2; smooth++) {
		struct gradient g =
			make(smooth ? "nll, smoothing" : "nll", HONE_OP_NLL, HONE_OP_NLL_BACK);

		attributes(&g, (union ops_attr){.nll = {smooth ? 0.2 : 0}},
			sizeof(struct hone_attr_nll), sizeof(struct hone_attr_nll));
		input(&g, f64(M, 5, 6));
		input(&g, i32(M, 5, 1, labels));
		output(&g, f64(M, 5, 1));
		output(&g, f64(M, 5, 1));
		FROM(&g, DY, IN + 0, IN + 1, OUT + 1);
		gradient_of(&g, 0);
		check(*state, g);
	}
}

/* Catches: a mask that differs between forward and backward, or a missing 1 / (1 - p). */
static void
test_dropout_is_its_own_gradient(void **state)
{
	static const int32_t keys[] = {0, 0, 0, 1, 0, 2, 1, 0, 1, 1, 9, 0, 9, 1};
	struct gradient g = make("dropout", HONE_OP_DROPOUT, HONE_OP_DROPOUT);

	attributes(&g, (union ops_attr){.dropout = {0.4, 77}}, sizeof(struct hone_attr_dropout),
		sizeof(struct hone_attr_dropout));
	input(&g, f64(N, 7, 9));
	input(&g, i32(N, 7, 2, keys));
	output(&g, f64(N, 7, 9));
	FROM(&g, DY, IN + 1);
	gradient_of(&g, 0);
	check(*state, g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matmul_forms_are_gradients_of_each_other),
		cmocka_unit_test(test_matmul_tn_gradients_are_nt_and_nn),
		cmocka_unit_test(test_unary_back_all_kinds_match),
		cmocka_unit_test(test_norms_back_match),
		cmocka_unit_test(test_rope_inverse_is_its_gradient),
		cmocka_unit_test(test_attention_back_matches),
		cmocka_unit_test(test_gather_and_scatter_are_gradients_of_each_other),
		cmocka_unit_test(test_put_rows_gradient_of_rows_is_gather),
		cmocka_unit_test(test_segment_reduce_back_all_kinds_match),
		cmocka_unit_test(test_broadcasts_and_sums_are_gradients_of_each_other),
		cmocka_unit_test(test_nll_back_matches),
		cmocka_unit_test(test_dropout_is_its_own_gradient),
	};

	return cmocka_run_group_tests_name("grad/ops", tests, ops_setup, ops_teardown);
}
