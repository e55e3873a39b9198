/*
 * test_model.c - gradients of whole training programs against central differences, in double.
 *
 * Each parameter is moved along a random direction d, so every element of it takes part:
 *
 *     (L(p + e d) - L(p - e d)) / 2e  =  g . d
 *
 * and the largest element of its gradient by itself.  Would catch: a backward that is wrong
 * only in company (a cotangent that is dropped where two meet, a contribution that
 * accumulation loses, a mask that differs between forward and backward or when recomputed).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hone/random.h>

#include "ia3.h"
#include "support.h"
#include "train_run.h"
#include "two_views.h"

/* Central differences in double leave e^2 of curvature and 1e-16 / e of rounding. */
static const double EPSILON = 1e-5;
static const double TOLERANCE = 1e-6;

static struct ia3_values factors; /* resolved when the model is open */

static void
choose_factors(struct bench_model *bench)
{
	factors.target_modules = bench_sites(bench, "all-linear");
	factors.feedforward_modules = bench_sites(bench, "q_proj, down_proj");
}

struct model_case {
	const char *name;
	struct train_options options;
};

static const struct model_case cases[] = {
	{"lora sft", {.adapters = {{.section = "lora"}}}},
	{"lora next_token", {.adapters = {{.section = "lora"}}, .objective = "next_token"}},
	{"lora dropout", {.adapters = {{.section = "lora"}}, .dropout = 0.3}},
	{"lora dropout recomputed",
		{.adapters = {{.section = "lora"}}, .dropout = 0.3, .recomputes = true}},
	{"lora smoothing", {.adapters = {{.section = "lora"}}, .label_smoothing = 0.1}},
	{"full sft", {.adapters = {{.section = "full"}}}},
	{"full next_token", {.adapters = {{.section = "full"}}, .objective = "next_token"}},
	{"full untied",
		{.adapters = {{.section = "full"}}, .model = "golden/models/tiny-llama-untied"}},
	{"full recomputed smoothing",
		{.adapters = {{.section = "full"}}, .recomputes = true, .label_smoothing = 0.2}},
	{"layerwise sft", {.adapters = {{.section = "layerwise"}}}},
	{"layerwise and lora", {.adapters = {{.section = "layerwise"}, {.section = "lora"}}}},
	{"kl to reference", {.adapters = {{.section = "lora"}}, .objective_vt = &two_views_kl}},
	{"kl, dropout, recomputed",
		{.adapters = {{.section = "lora"}},
			.objective_vt = &two_views_kl,
			.dropout = 0.3,
			.recomputes = true,
			.chunk_rows = 3}},
	{"kl full untied",
		{.adapters = {{.section = "full"}},
			.objective_vt = &two_views_kl,
			.model = "golden/models/tiny-llama-untied"}},
	{"log-probs of tokens",
		{.adapters = {{.section = "lora"}},
			.objective_vt = &two_views_tokens,
			.chunk_rows = 3}},
	{"ia3",
		{.adapters = {{.section = "ia3", .factory = &ia3_factory, .values = &factors}},
			.on_open = choose_factors}},
	{"log-probs of texts",
		{.adapters = {{.section = "lora"}}, .objective_vt = &two_views_texts}},
};

/* A gradient to be judged, and what it is judged with. */
struct judge {
	struct train_run *run;
	const struct train_texts *texts;
	double *values, *gradient, *moved;
};

static void
judge_open(struct judge *judge, struct train_run *run, const struct train_texts *texts)
{
	judge->run = run;
	judge->texts = texts;
	(void)train_gradient(run, texts, 0, texts->n, texts->n, 3);
	judge->values = train_take(run, HN_MEMORY_PARAMS);
	judge->moved = train_take(run, HN_MEMORY_PARAMS);
	judge->gradient = train_take(run, HN_MEMORY_GRADS);
}

static void
judge_close(struct judge *judge)
{
	free(judge->values);
	free(judge->moved);
	free(judge->gradient);
}

static double
loss_at(const struct judge *judge)
{
	train_put(judge->run, HN_MEMORY_PARAMS, judge->moved);
	return train_window(judge->run, judge->texts, 0, judge->texts->n, judge->texts->n, 3);
}

/* The slope along `direction` of one parameter, by differences. */
static double
slope(const struct judge *judge, const struct hn_param *param, const double *direction)
{
	double *moved = judge->moved + param->offset;
	const double *values = judge->values + param->offset;
	double high, low;

	for (int64_t i = 0; i < param->n_elems; i++)
		moved[i] = values[i] + EPSILON * direction[i];
	high = loss_at(judge);
	for (int64_t i = 0; i < param->n_elems; i++)
		moved[i] = values[i] - EPSILON * direction[i];
	low = loss_at(judge);
	for (int64_t i = 0; i < param->n_elems; i++)
		moved[i] = values[i];
	return (high - low) / (2.0 * EPSILON);
}

/* A normalised direction: random, plus the sign of each gradient so that it is not flat. */
static void
choose_direction(const struct judge *judge, const struct hn_param *param, double *direction)
{
	const double *gradient = judge->gradient + param->offset;
	double sum = 0.0;

	for (int64_t i = 0; i < param->n_elems; i++) {
		const double draw = (double)hone_random_uniform(11, param->offset, 0, 0, i) + 0.5;

		direction[i] = gradient[i] < 0.0 ? -draw : draw;
		sum += direction[i] * direction[i];
	}
	for (int64_t i = 0; i < param->n_elems; i++)
		direction[i] /= sqrt(sum);
}

static bool
is_near(double want, double got)
{
	return fabs(want - got) <= TOLERANCE * fmax(fabs(want), fabs(got)) + 1e-10;
}

static int64_t
largest_of(const double *values, int64_t n)
{
	int64_t at = 0;

	for (int64_t i = 0; i < n; i++)
		if (fabs(values[i]) > fabs(values[at]))
			at = i;
	return at;
}

/* Whether the gradient of one parameter is what differences say; `worst` is relative. */
static bool
judge_param(const struct judge *judge, const struct hn_param *param, double *worst)
{
	const double *gradient = judge->gradient + param->offset;
	const int64_t n = param->n_elems, largest = largest_of(gradient, n);
	double *direction = calloc((size_t)n, sizeof *direction);
	double along, want, single;

	choose_direction(judge, param, direction);
	want = slope(judge, param, direction);
	along = 0.0;
	for (int64_t i = 0; i < n; i++)
		along += gradient[i] * direction[i];
	memset(direction, 0, (size_t)n * sizeof *direction);
	direction[largest] = 1.0;
	single = slope(judge, param, direction);
	free(direction);
	*worst = fmax(*worst, fabs(want - along) / fmax(fabs(want), 1e-12));
	return is_near(want, along) && is_near(single, gradient[largest]);
}

static void
check_case(const struct model_case *c)
{
	struct train_texts texts;
	struct train_run run;
	struct judge judge;
	double worst = 0.0;

	train_texts_make(&texts, 5, 3, 4, 9, 263);
	train_open(&run, &c->options);
	train_disturb(&run, 21, 0.02);
	judge_open(&judge, &run, &texts);
	for (uint32_t p = 0; p < run.bench.params.n; p++) {
		const struct hn_param *param = &run.bench.params.list[p];

		if (!judge_param(&judge, param, &worst))
			fail_msg("%s: the gradient of %s is wrong", c->name, param->key);
	}
	print_message("%-26s %3u parameters, worst %.1e\n", c->name, run.bench.params.n, worst);
	judge_close(&judge);
	train_close(&run);
}

/* Would catch any wrong gradient of a whole program, tied head and dropout included. */
static void
test_model_gradients_equal_differences(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		check_case(&cases[i]);
}

/* 1 % more of each gradient, one parameter after the other, must be seen. */
static void
check_one_percent(const struct train_options *options)
{
	struct train_texts texts;
	struct train_run run;
	struct judge judge;
	double worst = 0.0;

	train_texts_make(&texts, 5, 2, 4, 7, 263);
	train_open(&run, options);
	train_disturb(&run, 21, 0.02);
	judge_open(&judge, &run, &texts);
	for (uint32_t p = 0; p < run.bench.params.n; p++) {
		const struct hn_param *param = &run.bench.params.list[p];

		for (int64_t i = 0; i < param->n_elems; i++)
			judge.gradient[param->offset + (uint64_t)i] *= 1.01;
		if (judge_param(&judge, param, &worst))
			fail_msg("1 %% of the gradient of %s is not seen", param->key);
	}
	judge_close(&judge);
	train_close(&run);
}

/* Would catch a check that passes whatever it is given. */
static void
test_model_gradient_wrong_by_one_percent_is_caught(void **state)
{
	static const struct train_options two_views = {
		.adapters = {{.section = "lora"}}, .objective_vt = &two_views_kl};

	(void)state;
	check_one_percent(&cases[0].options);
	check_one_percent(&two_views);
}

struct outcome {
	double *gradient;
	int64_t n;
	uint64_t arena_bytes;
};

static struct outcome
outcome_of(const struct train_options *options)
{
	struct outcome out;
	struct train_texts texts;
	struct train_run run;

	train_texts_make(&texts, 6, 5, 3, 30, 263);
	train_open(&run, options);
	train_disturb(&run, 22, 0.02);
	(void)train_gradient(&run, &texts, 0, texts.n, 2, 3);
	out.gradient = train_take(&run, HN_MEMORY_GRADS);
	out.n = run.bench.params.n_elems;
	out.arena_bytes = run.step.train.arena_bytes;
	train_close(&run);
	return out;
}

/* Would catch a recomputation that draws other masks, rounds elsewhere or saves nothing. */
static void
test_model_recomputed_gives_same_bits_in_less_memory(void **state)
{
	static const struct model_case kinds[] = {
		{"lora", {.adapters = {{.section = "lora"}}, .dropout = 0.2}},
		{"full", {.adapters = {{.section = "full"}}}},
		{"layerwise", {.adapters = {{.section = "layerwise"}}}},
	};

	(void)state;
	for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
		struct train_options options = kinds[k].options;
		struct outcome kept = outcome_of(&options), less;

		options.recomputes = true;
		less = outcome_of(&options);
		assert_memory_equal(
			kept.gradient, less.gradient, (size_t)kept.n * sizeof *kept.gradient);
		print_message("%-10s arena %llu bytes, recomputed %llu\n", kinds[k].name,
			(unsigned long long)kept.arena_bytes, (unsigned long long)less.arena_bytes);
		assert_true(less.arena_bytes < kept.arena_bytes);
		free(kept.gradient);
		free(less.gradient);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model_gradients_equal_differences),
		cmocka_unit_test(test_model_gradient_wrong_by_one_percent_is_caught),
		cmocka_unit_test(test_model_recomputed_gives_same_bits_in_less_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
