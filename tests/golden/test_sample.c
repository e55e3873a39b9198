/*
 * test_sample.c - filters against transformers' logits processors; draws against softmax.
 *
 * Would catch: a penalty applied twice to a token that stands twice or divided where the logit
 * is negative, another order of the filters, top_p without the token that reaches it, top_k
 * that drops equals, a draw that leans to one side, ties that go to the higher id, draws that
 * do not repeat.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "model/safetensors.h"
#include "support.h"
#include "train/sample.h"

/* Logits up to 12 in float64, a few operations each. */
static const double SCORE = 1e-12;

static const struct hn_tensor_info *
tensor(const struct hn_tensor_file *file, const char *name)
{
	const struct hn_tensor_info *info = hn_tensor_file_find(file, name);

	assert_non_null(info);
	return info;
}

/* Scores are compared relative to the greatest: only differences have a meaning. */
static double
top(const double *scores, int64_t n)
{
	double max = -INFINITY;

	for (int64_t i = 0; i < n; i++)
		max = scores[i] > max ? scores[i] : max;
	return max;
}

static void
check_scores(const struct hn_sampler *sampler, const double *golden, int64_t row)
{
	const double shift = top(golden, sampler->n) - top(sampler->scores, sampler->n);

	for (int64_t i = 0; i < sampler->n; i++) {
		const double is = sampler->scores[i];

		if (isinf(is) != isinf(golden[i]) ||
			(!isinf(is) && fabs(is + shift - golden[i]) > SCORE))
			fail_msg("case %d, token %d: %.17g, not %.17g", (int)row, (int)i,
				is + shift, golden[i]);
	}
}

static void
test_sample_filters_equal_transformers(void **state)
{
	char *path = test_data_path("golden/sampling.safetensors");
	struct hn_tensor_file file;
	struct hn_sampler sampler;
	struct hone_error err = {0};
	const double *logits, *scores, *options;
	const int32_t *ids;
	int64_t n, V, T;

	(void)state;
	assert_int_equal(hn_safetensors_open(&file, path, &err), HONE_OK);
	n = tensor(&file, "logits")->dim[0];
	V = tensor(&file, "logits")->dim[1];
	T = tensor(&file, "ids")->dim[1];
	logits = (const void *)tensor(&file, "logits")->bytes;
	scores = (const void *)tensor(&file, "scores")->bytes;
	options = (const void *)tensor(&file, "options")->bytes;
	ids = (const void *)tensor(&file, "ids")->bytes;
	assert_true(n >= 20);
	hn_sampler_init(&sampler, V);
	for (int64_t i = 0; i < n; i++, options += 5) {
		const struct hn_sampling sampling = {.temperature = options[0],
			.top_k = (int64_t)options[1],
			.top_p = options[2],
			.min_p = options[3],
			.repetition_penalty = options[4]};

		memcpy(sampler.scores, logits + i * V, (size_t)V * sizeof *logits);
		hn_sampler_filter(&sampler, &sampling, ids + i * T, T);
		check_scores(&sampler, scores + i * V, i);
	}
	hn_sampler_fini(&sampler);
	hn_tensor_file_close(&file);
	free(path);
}

/* ---- draws ---- */

static int32_t
next(struct hn_sampler *sampler, const struct hn_sampling *sampling, const double *logits,
	int64_t n_ids, uint64_t prompt)
{
	static const int32_t ids[64];
	struct hone_error err = {0};
	int32_t id = -1;

	memcpy(sampler->scores, logits, (size_t)sampler->n * sizeof *logits);
	if (hn_sampler_next(sampler, sampling, ids, n_ids, prompt, &id, &err))
		fail_msg("%s", err.text);
	return id;
}

static void
test_sample_draws_follow_softmax(void **state)
{
	enum { V = 12, DRAWS = 20000 };
	static const double logits[V] = {
		0.3, -1.0, 2.0, 0.0, 1.1, -2.5, 0.7, 1.9, -0.4, 0.2, -1.7, 1.4};
	const struct hn_sampling sampling = {.temperature = 0.8, .seed = 3};
	struct hn_sampler sampler;
	int64_t count[V] = {0};
	double sum = 0.0, chi2 = 0.0;

	(void)state;
	hn_sampler_init(&sampler, V);
	for (int64_t i = 0; i < DRAWS; i++)
		count[next(&sampler, &sampling, logits, i % 50, (uint64_t)(i / 50))]++;
	for (int i = 0; i < V; i++)
		sum += exp(logits[i] / 0.8);
	for (int i = 0; i < V; i++) {
		const double expected = DRAWS * exp(logits[i] / 0.8) / sum;

		chi2 += ((double)count[i] - expected) * ((double)count[i] - expected) / expected;
	}
	/* 11 degrees of freedom: above 31.26 is one in a thousand; below 1.83 as rare. */
	print_message("chi-square %.2f\n", chi2);
	assert_true(chi2 < 31.26 && chi2 > 1.83);
	hn_sampler_fini(&sampler);
}

static void
test_sample_draws_repeat_and_depend_on_seed_prompt_and_position(void **state)
{
	enum { V = 64, N = 32 };
	static const double logits[V];
	struct hn_sampling sampling = {.temperature = 1.0, .seed = 5};
	struct hn_sampler sampler;
	int differs[3] = {0};

	(void)state;
	hn_sampler_init(&sampler, V);
	for (int64_t i = 0; i < N; i++) {
		const int32_t id = next(&sampler, &sampling, logits, i, 1);

		assert_int_equal(next(&sampler, &sampling, logits, i, 1), id);
		differs[0] += next(&sampler, &sampling, logits, i, 2) != id;
		differs[1] += next(&sampler, &sampling, logits, i + 1, 1) != id;
		sampling.seed = 6;
		differs[2] += next(&sampler, &sampling, logits, i, 1) != id;
		sampling.seed = 5;
	}
	for (int k = 0; k < 3; k++)
		assert_true(differs[k] > N / 2);
	hn_sampler_fini(&sampler);
}

static void
test_sample_equals_go_to_the_lower_id(void **state)
{
	static const double logits[5] = {1.0, 3.0, 2.0, 3.0, 3.0};
	const struct hn_sampling greedy = {0}, cold = {.temperature = 1e-300, .top_p = 0.3};
	struct hn_sampler sampler;

	(void)state;
	hn_sampler_init(&sampler, 5);
	assert_int_equal(next(&sampler, &greedy, logits, 0, 0), 1);
	/* 0.3 of three equals is the first of them, at any temperature. */
	for (int64_t i = 0; i < 50; i++)
		assert_int_equal(next(&sampler, &cold, logits, i, 0), 1);
	hn_sampler_fini(&sampler);
}

static void
test_sample_logit_not_finite_is_refused_with_its_token(void **state)
{
	const double bad[3] = {NAN, INFINITY, -INFINITY};
	const struct hn_sampling greedy = {0};
	struct hn_sampler sampler;

	(void)state;
	hn_sampler_init(&sampler, 4);
	for (int i = 0; i < 3; i++) {
		struct hone_error err = {0};
		int32_t id = -1;

		memset(sampler.scores, 0, 4 * sizeof *sampler.scores);
		sampler.scores[2] = bad[i];
		assert_int_equal(
			hn_sampler_next(&sampler, &greedy, NULL, 0, 6, &id, &err), HONE_ENOTFINITE);
		assert_non_null(strstr(err.text, "token 2"));
		assert_non_null(strstr(err.text, "prompt 7"));
		assert_int_equal(id, -1);
	}
	hn_sampler_fini(&sampler);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sample_filters_equal_transformers),
		cmocka_unit_test(test_sample_draws_follow_softmax),
		cmocka_unit_test(test_sample_draws_repeat_and_depend_on_seed_prompt_and_position),
		cmocka_unit_test(test_sample_equals_go_to_the_lower_id),
		cmocka_unit_test(test_sample_logit_not_finite_is_refused_with_its_token),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
