/*
 * test_scratch.c - the scratch that a backend's kernels will keep, asked for before it is taken.
 *
 * Would catch: a slot that is read from a table older than it, workers that are
 * not counted, a question that runs kernels on operands without memory, and a backend
 * without the slot that is given bytes.  That the bytes are right is e2e/test_plan_memory's.
 */
#include <stddef.h>

#include "support.h"
#include "train_run.h"

static struct hone_backend_vt old_vt;

static uint64_t
never(void *device, const struct hone_command *commands, uint32_t n, uint32_t stride,
	const struct hone_run *run)
{
	(void)device;
	(void)commands;
	(void)n;
	(void)stride;
	(void)run;
	fail_msg("a slot beyond the table's size was called");
	return 1;
}

/* The device's table as one had it before the slot: what lies behind is not of it. */
static void
make_old(struct bench_model *bench)
{
	old_vt = *bench->devices[0].vt;
	old_vt.struct_size = offsetof(struct hone_backend_vt, scratch_bytes);
	old_vt.scratch_bytes = never;
	bench->devices[0].vt = &old_vt;
}

static uint64_t
scratch_of(const struct train_options *options)
{
	struct train_run run;
	uint64_t bytes;

	train_open(&run, options);
	bytes = hn_engine_scratch_bytes(&run.bench.engine);
	train_close(&run);
	return bytes;
}

static void
test_scratch_of_cpu_grows_with_threads(void **state)
{
	struct train_options options = {.adapters = {{.section = "full"}},
		.backend = "cpu",
		.compute = HONE_DTYPE_F32,
		.threads = 1};
	uint64_t one, two;

	(void)state;
	one = scratch_of(&options);
	options.threads = 2;
	two = scratch_of(&options);
	assert_true(one > 0 && two > one && two <= 2 * one);
}

static void
test_scratch_of_a_table_without_the_slot_is_0(void **state)
{
	struct train_options options = {.adapters = {{.section = "lora"}},
		.backend = "cpu",
		.compute = HONE_DTYPE_F32,
		.on_open = make_old};

	(void)state;
	assert_int_equal(scratch_of(&options), 0);
	options.backend = "reference";
	options.on_open = NULL;
	assert_int_equal(scratch_of(&options), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scratch_of_cpu_grows_with_threads),
		cmocka_unit_test(test_scratch_of_a_table_without_the_slot_is_0),
	};

	return cmocka_run_group_tests_name("scratch", tests, NULL, NULL);
}
