/*
 * unit/test_ops.c - that the harness of support/ops.h notices a backend that misbehaves.
 */
#include "op_cases.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

/* Ways in which a backend can be wrong; the reference with its submission spoiled. */
enum spoil { ROW_TOO_MANY, ROW_TOO_FEW, WRITES_INPUT, WRITES_GUARD, N_SPOILS };

struct spoiled {
	enum spoil how;
	void *device;
	const struct hone_backend_vt *vt;
};

static enum hone_status
spoiled_submit(void *device, const struct hone_command *command, uint32_t n, uint32_t stride,
	const struct hone_run *run, struct hone_error *err)
{
	const struct spoiled *s = device;
	struct hone_run changed = *run;
	int64_t live[OPS_SPACES];
	uint8_t *in = (uint8_t *)command->in[0].buffer + command->in[0].offset;
	enum hone_status st;

	memcpy(live, run->live, sizeof live);
	live[1] += s->how == ROW_TOO_MANY ? 1 : s->how == ROW_TOO_FEW ? -1 : 0;
	changed.live = live;
	st = s->vt->submit(s->device, command, n, stride, &changed, err);
	if (s->how == WRITES_INPUT)
		in[0] ^= 1;
	if (s->how == WRITES_GUARD)
		in[-1] ^= 1;
	return st;
}

static enum hone_status
spoiled_supports(void *device, const struct hone_command *command, struct hone_error *err)
{
	const struct spoiled *s = device;

	return s->vt->supports(s->device, command, err);
}

static enum hone_status
spoiled_create(void *device, uint64_t bytes, hone_buffer *out, struct hone_error *err)
{
	const struct spoiled *s = device;

	return s->vt->buffer_create(s->device, bytes, out, err);
}

static void
spoiled_destroy(void *device, hone_buffer buffer)
{
	const struct spoiled *s = device;

	s->vt->buffer_destroy(s->device, buffer);
}

/* Catches: a harness that lets a backend write, skip or read rows that it must not. */
static void
test_ops_run_spoiled_backend_is_noticed(void **state)
{
	const struct ops_device *reference = *state;
	const struct ops_case sum = {.name = "reduce_rows",
		.op = HONE_OP_REDUCE_ROWS,
		.n_in = 1,
		.n_out = 1,
		.in = {{.dtype = HONE_DTYPE_F32, .rank = 2, .dim = {9, 4}, .space = 1}},
		.out = {{.dtype = HONE_DTYPE_F32, .rank = 2, .dim = {1, 4}}},
		.live = {0, 6}};
	struct ops_case fill = {.name = "scale",
		.op = HONE_OP_SCALE,
		.attr_size = sizeof(struct hone_attr_scale),
		.attr = {.scale = {2, 1}},
		.n_in = 1,
		.n_out = 1,
		.in = {{.dtype = HONE_DTYPE_F32, .rank = 2, .dim = {9, 4}}},
		.out = {{.dtype = HONE_DTYPE_F32, .rank = 2, .dim = {9, 4}, .space = 1}},
		.live = {0, 6}};
	struct spoiled spoiled = {.device = reference->device, .vt = reference->vt};
	struct hone_backend_vt vt = *reference->vt;
	struct ops_device device = *reference;
	char why[OPS_WHY];

	vt.submit = spoiled_submit;
	vt.supports = spoiled_supports;
	vt.buffer_create = spoiled_create;
	vt.buffer_destroy = spoiled_destroy;
	device.vt = &vt;
	device.device = &spoiled;
	for (int how = 0; how < N_SPOILS; how++) {
		struct ops_data got, want;
		bool ok;

		spoiled.how = (enum spoil)how;
		/* Written: too many rows fail at once, too few leave NaN where numbers should be. */
		assert_true(ops_data_init(&got, &fill, HONE_DTYPE_F32));
		assert_true(ops_data_init(&want, &fill, HONE_DTYPE_F32));
		assert_true(ops_run(reference, &fill, HONE_DTYPE_F32, &want, why));
		ok = ops_run(&device, &fill, HONE_DTYPE_F32, &got, why);
		assert_true(how == ROW_TOO_FEW ? ok : !ok);
		assert_false(ok && ops_near(&got, &want, &fill, 1e-3, why));
		ops_data_fini(&got);
		ops_data_fini(&want);
		/* Read: a row that is not live makes the sum NaN. */
		assert_true(ops_data_init(&got, &sum, HONE_DTYPE_F32));
		assert_true(ops_data_init(&want, &sum, HONE_DTYPE_F32));
		assert_true(ops_run(reference, &sum, HONE_DTYPE_F32, &want, why));
		ok = ops_run(&device, &sum, HONE_DTYPE_F32, &got, why);
		assert_false(ok && ops_near(&got, &want, &sum, 1e-3, why));
		ops_data_fini(&got);
		ops_data_fini(&want);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ops_run_spoiled_backend_is_noticed),
	};

	return cmocka_run_group_tests_name("unit/ops", tests, ops_setup, ops_teardown);
}
