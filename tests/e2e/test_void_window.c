/*
 * test_void_window.c - a window that was given up leaves nothing behind.
 *
 * Would catch: gradients of the part that ran, NaN among them, which the next window adds to;
 * so that a caller who goes on after HONE_ENOTFINITE never gets a finite norm again, or trains
 * on half a window more than it says.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "place.h"
#include "result.h"
#include "session.h"

extern const struct hone_plugin hone_plugin_v1_reference;

static void
open_session(
	struct hn_session *session, struct hn_run *run, struct place *place, struct hn_log *log)
{
	const struct hone_plugin *const builtins[] = {&hone_plugin_v1_reference};
	const char *const dirs[] = {HONE_BINARY_DIR "/lib/hone"};
	const char *const sets[] = {"train.compute=f32"};
	const struct hn_session_want want = {.trains = true};
	char *path = place_path(place, "run.ini");
	const struct hn_run_request request = {.path = path,
		.sets = sets,
		.n_sets = 1,
		.plugin_dirs = dirs,
		.n_plugin_dirs = 1,
		.builtins = builtins,
		.n_builtins = 1,
		.log = log};
	struct hn_adapted adapted;
	struct hone_error err = {0};

	if (hn_run_open(run, &request, &err) || hn_session_open(session, run, &want, &err) ||
		hn_session_allocate(session, &err))
		fail_msg("%s: %s", err.place, err.text);
	adapted = hn_adapted_of_run(run, &session->engine);
	if (hn_params_init(&adapted, &err))
		fail_msg("%s: %s", err.place, err.text);
	free(path);
}

static float *
values_of(const struct hn_session *session, int32_t kind, const struct hn_param *param)
{
	float *values = calloc((size_t)param->n_elems, sizeof *values);
	struct hone_error err = {0};

	if (hn_engine_get(&session->engine, kind, param, values, &err))
		fail_msg("%s", err.text);
	return values;
}

static void
put_values(const struct hn_session *session, const struct hn_param *param, const float *values)
{
	struct hone_error err = {0};

	if (hn_engine_set(&session->engine, HN_MEMORY_PARAMS, param, values, &err))
		fail_msg("%s", err.text);
}

static void
assert_no_gradient(const struct hn_session *session)
{
	for (uint32_t i = 0; i < session->engine.params->n; i++) {
		const struct hn_param *param = &session->engine.params->list[i];
		float *gradient = values_of(session, HN_MEMORY_GRADS, param);

		for (int64_t k = 0; k < param->n_elems; k++)
			if (gradient[k] != 0.0f)
				fail_msg("%s keeps %g", param->key, (double)gradient[k]);
		free(gradient);
	}
}

/* A step with one parameter that is not finite fails; the parameter is put back. */
static void
fail_step(struct hn_session *session, int64_t number)
{
	const struct hn_param *param = &session->engine.params->list[1];
	float *good = values_of(session, HN_MEMORY_PARAMS, param);
	float *bad = values_of(session, HN_MEMORY_PARAMS, param);
	struct hn_step_outcome outcome;
	struct hone_error err = {0};

	bad[3] = NAN;
	put_values(session, param, bad);
	assert_int_equal(hn_session_step(session, number, &outcome, &err), HONE_ENOTFINITE);
	assert_no_gradient(session);
	put_values(session, param, good);
	free(good);
	free(bad);
}

/* Steps 0, 1, 2: with a failure before step 1 or without, the same bits. */
static void
test_void_window_leaves_no_gradient_behind(void **state)
{
	struct hn_step_outcome outcome[2][3];
	struct hn_log log = {.is_quiet = true};

	(void)state;
	memset(outcome, 0, sizeof outcome);
	for (int fails = 0; fails < 2; fails++) {
		struct hn_session session;
		struct hone_error err = {0};
		struct place place;
		struct hn_run run;

		place_open(&place);
		open_session(&session, &run, &place, &log);
		for (int64_t t = 0; t < 3; t++) {
			if (fails && t == 1)
				fail_step(&session, t);
			if (hn_session_step(&session, t, &outcome[fails][t], &err))
				fail_msg("%s: %s", err.place, err.text);
		}
		hn_session_close(&session);
		hn_run_close(&run);
		place_close(&place);
	}
	for (int t = 0; t < 3; t++) {
		assert_true(outcome[0][t].grad_norm > 0.0);
		assert_memory_equal(&outcome[0][t].loss, &outcome[1][t].loss, sizeof(double));
		assert_memory_equal(
			&outcome[0][t].grad_norm, &outcome[1][t].grad_norm, sizeof(double));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_void_window_leaves_no_gradient_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
