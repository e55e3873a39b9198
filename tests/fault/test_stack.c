/*
 * test_stack.c - the program with a small stack, as a shell's ulimit -s or a container gives it.
 *
 * Would catch: a segmentation fault instead of a line, and threads of the pool whose stacks are
 * as small as that limit was.
 */
#include <stdlib.h>
#include <string.h>

#include "place.h"

enum { KIB = 1024 };

static void
run_with(uint64_t soft_kib, uint64_t hard_kib, int code, const char *says)
{
	struct place place;

	place_open(&place);
	place.stack_bytes = soft_kib * KIB;
	place.stack_bytes_max = hard_kib * KIB;
	(void)place_run(&place, "train", "--set train.max_steps=3", code);
	place_assert_says(&place, says, NULL);
	place_close(&place);
}

/* Nothing can be done about a hard limit. */
static void
test_stack_too_small_is_8_and_says_so(void **state)
{
	(void)state;
	if (place_is_instrumented())
		skip();
	run_with(64, 64, 8, "ulimit -s");
	run_with(255, 255, 8, "ulimit -s");
}

/* A soft limit is raised; the threads do not have it. */
static void
test_stack_small_soft_limit_is_raised(void **state)
{
	(void)state;
	if (place_is_instrumented())
		skip();
	run_with(64, 8192, 0, "the result is in");
	run_with(64, 256, 0, "the result is in");
	run_with(256, 256, 0, "the result is in");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stack_too_small_is_8_and_says_so),
		cmocka_unit_test(test_stack_small_soft_limit_is_raised),
	};

	return cmocka_run_group_tests_name("stack", tests, NULL, NULL);
}
