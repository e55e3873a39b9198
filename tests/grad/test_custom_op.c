/*
 * test_custom_op.c - an operation that a plugin brings, in a graph like any other.
 *
 * Would catch: a custom op whose gradient is lost or taken twice, that does not run inside a
 * row-chunked region or together with ops of the reference, whose shape is not checked, or
 * that a graph finds under a wrong id.
 */
#include <math.h>
#include <string.h>

#include "graph/custom.h"
#include "graph_lab.h"
#include "support.h"

/* y = x^3, dx = 3 x^2 dy: the smallest op that has a backward of its own. */
static enum hone_status
cube_infer(const void *self, uint32_t n_in, const struct hone_value *in, const void *attr,
	struct hone_value *out, struct hone_error *err)
{
	(void)self;
	(void)n_in;
	(void)attr;
	if (in[0].rank != 2)
		return hone_fail(err, HONE_EINVAL, "cube takes a matrix");
	out[0] = in[0];
	return HONE_OK;
}

static enum hone_status
cube_backward(const void *self, struct hone_graph *g, struct hone_custom_gradient *grad,
	struct hone_error *err)
{
	const hone_node x = grad->in[0];

	(void)self;
	if (grad->wants[0])
		grad->dx[0] = hone_mul(g, grad->dy[0], hone_scale(g, hone_mul(g, x, x), 3.0));
	return hone_graph_status(g, err);
}

static enum hone_status
cube_run(const void *self, const struct hone_command *command, const struct hone_run *run,
	struct hone_error *err)
{
	const int64_t n =
		hone_operand_rows(&command->in[0], run) * hone_operand_row_elems(&command->in[0]);
	const double *x = hone_operand_host(&command->in[0], run);
	double *y = hone_operand_host(&command->out[0], run);

	(void)self;
	if (command->in[0].dtype != HONE_DTYPE_F64)
		return hone_fail(err, HONE_EUNSUPPORTED, "cube is for f64");
	for (int64_t i = 0; i < n; i++)
		y[i] = x[i] * x[i] * x[i];
	return HONE_OK;
}

static const struct hone_op_vt cube = {.struct_size = sizeof cube,
	.flags = HONE_CUSTOM_OP_ROW_LOCAL | HONE_CUSTOM_OP_PURE,
	.min_in = 1,
	.max_in = 1,
	.n_out = 1,
	.infer = cube_infer,
	.backward = cube_backward,
	.run = cube_run};

static hone_node
make_cube(struct lab *lab, hone_node x)
{
	return hone_node_make(lab->g, hone_custom_op(lab->g, "test.cube"), x, hone_node_none(),
		hone_node_none(), NULL, 0);
}

static void
open_with_cube(struct lab *lab, struct hn_custom_ops *ops)
{
	struct hone_error err = {0};

	memset(ops, 0, sizeof *ops);
	assert_int_equal(hn_custom_ops_add(ops, NULL, "test.cube", &cube, NULL, &err), HONE_OK);
	lab_open(lab);
	lab->graph.custom = ops;
	lab->device = hn_custom_device(ops, &lab->device);
}

static void
test_custom_op_gradient_equals_central_differences(void **state)
{
	struct hn_custom_ops ops;
	struct lab lab;
	char why[256] = "";

	(void)state;
	for (int chunks = 0; chunks < 2; chunks++) {
		open_with_cube(&lab, &ops);
		lab.picked_is_chunked = chunks;
		const hone_node rows = lab_rows(&lab, 3, 0.5, 1.0);
		const hone_node picked = hone_gather_rows(lab.g, rows, lab_index(&lab));

		lab_loss(&lab, make_cube(&lab, hone_scale(lab.g, rows, 0.5)));
		lab_loss(&lab, make_cube(&lab, picked));
		lab_finish(&lab, 2, true);
		if (!lab_check(&lab, 1.0, why))
			fail_msg("%s", why);
		assert_false(lab_check(&lab, 1.01, why));
		lab_close(&lab);
	}
}

static void
test_custom_op_unknown_name_or_shape_is_an_error(void **state)
{
	struct hn_custom_ops ops;
	struct lab lab;
	struct hone_error err = {0};

	(void)state;
	open_with_cube(&lab, &ops);
	assert_int_equal(hone_custom_op(lab.g, "test.square"), 0);
	assert_int_equal(hone_graph_status(lab.g, &err), HONE_EPLUGIN);
	assert_non_null(strstr(err.text, "test.square"));
	lab_close(&lab);

	open_with_cube(&lab, &ops);
	memset(&err, 0, sizeof err);
	(void)make_cube(&lab, lab_param(&lab, 4, 0, 0.0, 1.0));
	assert_int_not_equal(hone_graph_status(lab.g, &err), HONE_OK);
	assert_non_null(strstr(err.text, "cube takes a matrix"));
	lab_close(&lab);
}

static void
test_custom_op_taken_name_is_refused(void **state)
{
	struct hn_custom_ops ops = {.n = 0};
	struct hone_error err = {0};

	(void)state;
	assert_int_equal(hn_custom_ops_add(&ops, NULL, "test.cube", &cube, NULL, &err), HONE_OK);
	assert_int_equal(
		hn_custom_ops_add(&ops, NULL, "test.cube", &cube, NULL, &err), HONE_EPLUGIN);
	assert_int_equal(ops.n, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_custom_op_gradient_equals_central_differences),
		cmocka_unit_test(test_custom_op_unknown_name_or_shape_is_an_error),
		cmocka_unit_test(test_custom_op_taken_name_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
