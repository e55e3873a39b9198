/*
 * test_no_allocation.c - after the plan a training step asks for no memory.
 *
 * Would catch: a lookup by name that makes a string, a scratch buffer of a kernel or of the batch
 * builder that grows with an unlucky window, a leak that only long runs show.  Calls of our own
 * allocating functions are counted, and the C library's blocks in use, which plugins share.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "loop.h"
#include "place.h"
#include "session.h"

extern const struct hone_plugin hone_plugin_v1_reference;

enum { WARM_STEPS = 1, STEPS = 10 };

static void
check_steps(const char *compute, const char *storage)
{
	const struct hone_plugin *const builtins[] = {&hone_plugin_v1_reference};
	const char *const dirs[] = {HONE_BINARY_DIR "/lib/hone"};
	char set[64], kept[64];
	const char *const sets[] = {set, kept};
	const struct hn_session_want want = {.trains = true};
	struct hone_error err = {0};
	struct hn_log log = {.is_quiet = true};
	struct hn_session session;
	struct hn_step_outcome outcome;
	struct mallinfo2 before, after;
	struct place place;
	struct hn_run run;
	uint64_t calls = 0;

	place_open(&place);
	(void)snprintf(set, sizeof set, "train.compute=%s", compute);
	(void)snprintf(kept, sizeof kept, "model.storage=%s", storage);
	{
		char *path = place_path(&place, "run.ini");
		const struct hn_run_request request = {.path = path,
			.sets = sets,
			.n_sets = 2,
			.plugin_dirs = dirs,
			.n_plugin_dirs = 1,
			.builtins = builtins,
			.n_builtins = 1,
			.log = &log};

		if (hn_run_open(&run, &request, &err) ||
			hn_session_open(&session, &run, &want, &err) ||
			hn_session_allocate(&session, &err))
			fail_msg("%s: %s", err.place, err.text);
		memset(&before, 0, sizeof before);
		for (int64_t step = 0; step < WARM_STEPS + STEPS; step++) {
			if (step == WARM_STEPS) {
				before = mallinfo2();
				calls = hn_alloc_count();
			}
			if (hn_session_step(&session, step, &outcome, &err))
				fail_msg("%s: %s", err.place, err.text);
		}
		after = mallinfo2();
		assert_true(hn_alloc_count() == calls);
		/* Sanitizers have an allocator of their own; then both are 0. */
		assert_true(after.uordblks == before.uordblks);
		assert_true(after.hblkhd == before.hblkhd);
		hn_session_close(&session);
		hn_run_close(&run);
		free(path);
	}
	place_close(&place);
}

static void
test_no_allocation_in_f32_steps(void **state)
{
	(void)state;
	check_steps("f32", "native");
}

static void
test_no_allocation_in_bf16_steps(void **state)
{
	(void)state;
	check_steps("bf16", "native");
}

/* Weights that are decoded in every product are decoded in memory that is there. */
static void
test_no_allocation_in_steps_on_nf4(void **state)
{
	(void)state;
	check_steps("bf16", "nf4");
	check_steps("f32", "nf4");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_allocation_in_f32_steps),
		cmocka_unit_test(test_no_allocation_in_bf16_steps),
		cmocka_unit_test(test_no_allocation_in_steps_on_nf4),
	};

	return cmocka_run_group_tests_name("no_allocation", tests, NULL, NULL);
}
