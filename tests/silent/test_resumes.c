/*
 * test_resumes.c - D1, D2, D5, D6: a run that is resumed again and again, at chosen steps.
 *
 * Would catch: random numbers that are restored after the next batch was drawn (D1), or not
 * where an epoch ends (D2); a second resume in the same epoch that counts from the first (D5);
 * a checkpoint saved right after a resume that lacks what was not yet used (D6).  Every
 * stretch is resumed from a checkpoint that a resumed process wrote, and each run goes on to
 * the end, where adapter and metrics are those of the run that was never stopped.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "place.h"

/* 40 examples, 4 a step, 4 epochs: an epoch is 10 steps. */
enum { STEPS = 40 };

#define WORDS "--set checkpoint.save_steps=1 --set checkpoint.save_total_limit=99 "

/* Makes the folder as if the run had been killed when step `last` was saved. */
static void
cut_after(const struct place *place, int last)
{
	for (int step = last + 1; step <= STEPS; step++) {
		char name[64], *path;

		(void)snprintf(name, sizeof name, "run/checkpoints/step-%06d", step);
		path = place_path(place, name);
		assert_int_equal(hn_dir_remove(path, NULL), HONE_OK);
		free(path);
	}
	assert_int_equal(place_newest_step(place, "run"), last);
	place_write(place, "run/state.json",
		"{\"schema\": \"hone.run/1\", \"state\": \"running\", \"step\": 0}\n");
}

static void
check_stops(const int *stops, size_t n)
{
	struct place place;

	place_open(&place);
	(void)place_run(&place, "train", WORDS "--set run.output=whole", 0);
	(void)place_run(&place, "train", WORDS, 0);
	for (size_t i = 0; i < n; i++) {
		char from[32];

		cut_after(&place, stops[i]);
		(void)place_run(&place, "train", WORDS, 0);
		(void)snprintf(from, sizeof from, "step-%06d", stops[i]);
		place_assert_says(&place, "going on from", from, NULL);
		place_assert_same_result(&place, "whole", "run");
		place_assert_same_metrics(&place, "whole", "run");
	}
	place_close(&place);
}

/* D1, D5, D6: four resumes within the second epoch, two of them one step after another. */
static void
test_resumes_within_an_epoch_give_the_same_bytes(void **state)
{
	static const int stops[] = {12, 13, 14, 18};

	(void)state;
	check_stops(stops, sizeof stops / sizeof stops[0]);
}

/* D2: at the last step of an epoch and around it, and at the end of the next ones. */
static void
test_resumes_where_an_epoch_ends_give_the_same_bytes(void **state)
{
	static const int stops[] = {9, 10, 11, 20, 30, 39};

	(void)state;
	check_stops(stops, sizeof stops / sizeof stops[0]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resumes_within_an_epoch_give_the_same_bytes),
		cmocka_unit_test(test_resumes_where_an_epoch_ends_give_the_same_bytes),
	};

	return cmocka_run_group_tests_name("resumes", tests, NULL, NULL);
}
