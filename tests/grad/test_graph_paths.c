/*
 * test_graph_paths.c - gradients on their way to parameters, against central differences.
 *
 * Where test_graph_ops.c asks each op, this asks what lies between ops and memory: values
 * that several parameters take as their gradient, contributions that no op can add by itself,
 * sums of chunks, gradients that are stopped.  Each case runs twice in an arena full of NaN,
 * and the second run must add the same again.
 */
#include <math.h>
#include <string.h>

#include "graph_lab.h"
#include "support.h"

/* Two parameters whose gradients are one node, and one that is used twice. */
static void
one_gradient_two_parameters(struct lab *lab, int32_t kind)
{
	const hone_node x = lab_rows(lab, 3, 0.0, 1.0), p = lab_param(lab, 3, 0, 0.0, 1.0);
	hone_node y = hone_add(lab->g, x, p);

	(void)kind;
	y = hone_add(lab->g, y, lab_param(lab, 3, 0, 0.0, 1.0));
	lab_loss(lab, hone_add(lab->g, y, p));
}

/* A gradient that no op adds by itself must last until it is added. */
static void
gradient_outlives_its_command(struct lab *lab, int32_t kind)
{
	const hone_node p = lab_param(lab, 4, 3, 0.0, 1.0), q = lab_param(lab, 4, 3, 0.0, 1.0);
	hone_node y = hone_mul(lab->g, p, q);

	(void)kind;
	for (int i = 0; i < 4; i++)
		y = hone_mul(lab->g, hone_unary(lab->g, y, HONE_UNARY_TANH),
			lab_param(lab, 4, 3, 0.5, 1.0));
	lab_loss(lab, y);
}

static void
same_operand_twice(struct lab *lab, int32_t kind)
{
	const hone_node p = lab_param(lab, 4, 4, 0.0, 1.0);

	(void)kind;
	lab_loss(lab, hone_add(lab->g, p, p));
	lab_loss(lab, hone_mul(lab->g, p, p));
	lab_loss(lab, hone_matmul_nn(lab->g, p, p));
}

static void
equal_nodes(struct lab *lab, int32_t kind)
{
	const hone_node x = lab_rows(lab, 3, 0.0, 1.0);

	(void)kind;
	/* x x and 1 x x are two nodes of one value: their gradients cancel */
	lab_loss(lab,
		hone_sub(lab->g, hone_mul(lab->g, x, x),
			hone_mul(lab->g, hone_scale(lab->g, x, 1.0), x)));
	lab_loss(lab, x);
}

/* The gradient of the parameter is the cotangent itself, which no node makes. */
static void
loss_is_parameter(struct lab *lab, int32_t kind)
{
	(void)kind;
	lab_loss(lab, lab_rows(lab, 2, 0.0, 1.0));
	lab->loss = hone_add(lab->g, lab->loss, lab_param(lab, 1, 0, 0.0, 1.0));
}

/* Numbers along one axis of x: `kind` is axis + 2 shape of the vector + 6 (it is computed, no
 * parameter) + 12 (x is rows of a row space).  A square matrix, so that lengths tell nothing. */
static void
vector_along_axis(struct lab *lab, int32_t kind)
{
	static const int64_t shapes[3][2] = {{4, 0}, {4, 1}, {1, 4}};
	const int32_t axis = kind % 2, shape = kind / 2 % 3;
	const hone_node x = kind / 12 ? lab_rows(lab, 4, 0.0, 1.0) : lab_param(lab, 4, 4, 0.0, 1.0);
	hone_node v = lab_param(lab, shapes[shape][0], shapes[shape][1], 1.0, 0.5);

	if (kind / 6 % 2)
		v = hone_unary(lab->g, v, HONE_UNARY_SQUARE);
	lab_loss(lab, axis ? hone_scale_cols(lab->g, x, v) : hone_scale_rows(lab->g, x, v));
	lab_loss(lab, hone_scale_cols(lab->g, lab_param(lab, 4, 0, 0.0, 1.0), v)); /* a bias */
}

/* One number for each row of a row space. */
static void
rows_of_a_space(struct lab *lab, int32_t kind)
{
	const hone_node v = lab_rows(lab, 1, 1.0, 0.5);

	(void)kind;
	lab_loss(lab, hone_scale_rows(lab->g, lab_rows(lab, 4, 0.0, 1.0), v));
}

/* A head over chosen rows, two at a time. */
static void
chunked_head(struct lab *lab, int32_t smoothing)
{
	const struct hone_attr_norm attr = {1e-5};
	const hone_node in[2] = {lab_picked(lab, 4, 0.0, 1.0), lab_param(lab, 4, 0, 1.0, 0.3)};
	hone_node out[2] = {{0}, {0}};

	lab->picked_is_chunked = true;
	(void)lab->g->vt->node(lab->g, HONE_OP_RMS_NORM, 2, in, &attr, sizeof attr, 2, out);
	lab_loss(lab,
		hone_nll(lab->g, hone_matmul_nt(lab->g, out[0], lab_param(lab, 5, 4, 0.0, 1.0)),
			lab_labels(lab), (double)smoothing / 10.0));
}

/* Of two results of one command only one is a gradient. */
static void
chunked_norm_bias(struct lab *lab, int32_t kind)
{
	static const double ones[4] = {1.0, 0.5, 2.0, -1.0};
	const struct hone_attr_norm attr = {1e-5};
	const int64_t four = 4;
	const hone_node in[3] = {lab_picked(lab, 4, 0.0, 1.0),
		kind ? lab_param(lab, 4, 0, 1.0, 0.3)
		     : lab->g->vt->constant(lab->g, HONE_DTYPE_F64, 1, &four, ones),
		kind ? lab->g->vt->constant(lab->g, HONE_DTYPE_F64, 1, &four, ones)
		     : lab_param(lab, 4, 0, 0.0, 0.3)};
	hone_node out[3] = {{0}, {0}, {0}};

	lab->picked_is_chunked = true;
	(void)lab->g->vt->node(lab->g, HONE_OP_LAYER_NORM, 3, in, &attr, sizeof attr, 3, out);
	lab_loss(lab, out[0]);
}

/* Rows that need a sum of all of them cannot run in chunks. */
static void
chunks_need_own_sum(struct lab *lab, int32_t kind)
{
	const hone_node y = hone_nll(lab->g, lab_picked(lab, 5, 0.0, 1.0), lab_labels(lab), 0.1);

	(void)kind;
	lab->picked_is_chunked = true;
	lab_loss(lab, hone_mul(lab->g, y, hone_sum_rows(lab->g, y)));
}

/* Of two chunked spaces the second needs a sum of the first, and the first's gradient needs
 * one of the second. */
static void
chunks_need_each_other(struct lab *lab, int32_t kind)
{
	const int64_t capacity = 6;
	const uint32_t space = hn_graph_space(&lab->graph, "picked", capacity);
	const hone_node index = hn_graph_column(
		&lab->graph, "zeros", HONE_DTYPE_I32, space, 1, &capacity); /* row 0, each time */
	const hone_node x = lab_picked(lab, 3, 0.0, 1.0);
	const hone_node z = hone_gather_rows(lab->g, lab_rows(lab, 3, 0.0, 1.0), index);
	const hone_node sum = hone_sum_rows(lab->g, hone_unary(lab->g, x, HONE_UNARY_TANH));

	(void)kind;
	lab->picked_is_chunked = true;
	lab->graph.spaces[space].is_chunked = true;
	lab_loss(lab, hone_unary(lab->g, hone_mul(lab->g, z, sum), HONE_UNARY_TANH));
}

/* A product that an addition and something else read: folding it away would lose it. */
static void
product_read_twice(struct lab *lab, int32_t kind)
{
	const hone_node y =
		hone_matmul_nt(lab->g, lab_rows(lab, 4, 0.0, 1.0), lab_param(lab, 3, 4, 0.0, 1.0));

	(void)kind;
	lab_loss(lab, hone_add(lab->g, lab_rows(lab, 3, 0.0, 1.0), y));
	lab_loss(lab, hone_unary(lab->g, y, HONE_UNARY_TANH));
}

/* Two products that meet: one of them stays a product. */
static void
sum_of_products(struct lab *lab, int32_t kind)
{
	const hone_node x = lab_rows(lab, 4, 0.0, 1.0);
	hone_node y = hone_matmul_nt(lab->g, x, lab_param(lab, 4, 4, 0.0, 1.0));

	(void)kind;
	y = hone_add(lab->g, hone_matmul_nt(lab->g, x, lab_param(lab, 4, 4, 0.0, 1.0)), y);
	lab_loss(lab, hone_add(lab->g, x, hone_unary(lab->g, y, HONE_UNARY_TANH)));
}

static const struct lab_case cases[] = {
	{"one gradient, two parameters", one_gradient_two_parameters, 0},
	{"gradient outlives its command", gradient_outlives_its_command, 0},
	{"same operand twice", same_operand_twice, 0},
	{"chunks need their own sum", chunks_need_own_sum, 0},
	{"chunks need each other", chunks_need_each_other, 0},
	{"product read twice", product_read_twice, 0},
	{"sum of products", sum_of_products, 0},
	{"equal nodes", equal_nodes, 0},
	{"loss is a parameter", loss_is_parameter, 0},
	{"chunked head", chunked_head, 1},
	{"chunked norm, bias alone", chunked_norm_bias, 0},
	{"chunked norm, weight alone", chunked_norm_bias, 1},
	{"rows of a space", rows_of_a_space, 0},
};

static void
test_graph_paths_gradients_equal_differences(void **state)
{
	(void)state;
	assert_int_equal(lab_check_cases(cases, sizeof cases / sizeof cases[0], false), 0);
	assert_int_equal(lab_check_cases(cases, sizeof cases / sizeof cases[0], true), 0);
}

/* Would catch the gradient of a vector summed over the wrong axis, or lost where a parameter is
 * read in another shape: each axis, each shape of the vector, read or computed, both kinds of x. */
static void
test_graph_paths_vector_along_axis_equals_differences(void **state)
{
	enum { KINDS = 24 };
	struct lab_case kinds[KINDS];
	char names[KINDS][32];

	(void)state;
	for (int32_t kind = 0; kind < KINDS; kind++) {
		const int32_t axis = kind / 12 ? 1 : kind % 2; /* rows have no static numbers */

		(void)snprintf(names[kind], sizeof names[kind], "vector along axis, %d", kind);
		kinds[kind] =
			(struct lab_case){names[kind], vector_along_axis, kind - kind % 2 + axis};
	}
	assert_int_equal(lab_check_cases(kinds, KINDS, false), 0);
}

/* Would catch a computed vector that is turned into the wrong axis: x diag(v^2) is x diag(v)
 * diag(v), where v is read and v^2 computed. */
static void
test_graph_paths_computed_vector_lies_like_a_parameter(void **state)
{
	static const int64_t shapes[3][2] = {{4, 0}, {4, 1}, {1, 4}};

	(void)state;
	for (int32_t kind = 0; kind < 6; kind++) {
		struct lab lab;
		hone_node x, v, square, once, twice;
		double loss;

		lab_open(&lab);
		x = lab_param(&lab, 4, 4, 0.0, 1.0);
		v = lab_param(&lab, shapes[kind / 2][0], shapes[kind / 2][1], 1.0, 0.5);
		square = hone_unary(lab.g, v, HONE_UNARY_SQUARE);
		once = hone_scale_axis(lab.g, x, square, kind % 2);
		twice = hone_scale_axis(lab.g, hone_scale_axis(lab.g, x, v, kind % 2), v, kind % 2);
		lab_loss(&lab, hone_sub(lab.g, once, twice));
		lab_finish(&lab, 2, false);
		loss = lab_run(&lab);
		assert_true(fabs(loss) < 1e-12);
		lab_close(&lab);
	}
}

/* Would catch an axis told from a length: beside a square matrix, and a vector too long. */
static void
test_graph_paths_vector_without_an_axis_is_refused(void **state)
{
	(void)state;
	for (int32_t kind = 0; kind < 5; kind++) {
		struct lab lab;
		struct hone_error err = {0};
		hone_node x, v;

		lab_open(&lab);
		x = kind == 4 ? lab_rows(&lab, 4, 0.0, 1.0) : lab_param(&lab, 4, 4, 0.0, 1.0);
		v = lab_param(&lab, kind == 3 ? 1 : kind == 2 ? 5 : 4, 0, 0.0, 1.0);
		(void)(kind == 0                ? hone_mul(lab.g, x, v)
				: kind == 1     ? hone_add(lab.g, x, v)
				: kind % 2 == 0 ? hone_scale_rows(lab.g, x, v)
						: hone_scale_cols(lab.g, x, v));
		assert_int_equal(hone_graph_status(lab.g, &err), HONE_EINVAL);
		assert_non_null(strstr(err.text, kind < 2 ? "names no axis" : "numbers"));
		hn_graph_fini(&lab.graph);
		lab.graph = (struct hn_graph){0};
		lab_close(&lab);
	}
}

/* Would catch a gradient that flows where it was stopped, or not beside it. */
static void
test_graph_paths_stop_gradient_blocks_one_path_only(void **state)
{
	struct lab lab;
	double *gradient;

	(void)state;
	lab_open(&lab);
	{
		const hone_node p = lab_param(&lab, 1, 0, 2.0, 0.0);
		const hone_node stop = hone_stop_gradient(lab.g, hone_mul(lab.g, p, p));

		lab_loss(&lab, hone_mul(lab.g, p, stop)); /* p^3, of which p^2 is a constant */
	}
	lab_finish(&lab, 3, false);
	const double loss = lab_run(&lab);
	gradient = lab_values(&lab, HN_MEMORY_GRADS, 0);
	assert_true(fabs(gradient[0] - loss / 2.0) < 1e-12 * fabs(loss));
	lab_close(&lab);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_graph_paths_gradients_equal_differences),
		cmocka_unit_test(test_graph_paths_vector_along_axis_equals_differences),
		cmocka_unit_test(test_graph_paths_computed_vector_lies_like_a_parameter),
		cmocka_unit_test(test_graph_paths_vector_without_an_axis_is_refused),
		cmocka_unit_test(test_graph_paths_stop_gradient_blocks_one_path_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
