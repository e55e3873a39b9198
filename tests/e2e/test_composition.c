/*
 * test_composition.c - every in-tree adapter with every objective, on every backend, in every
 * type: three steps of each, and two instances of one plugin.
 *
 * Would catch a combination that nobody has tried: an adapter that works alone, an op that a
 * backend computes otherwise than the reference, a name that two instances share.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "train_run.h"

enum { STEPS = 3 };

struct chain {
	const char *name;
	struct train_adapter adapters[TRAIN_ADAPTERS];
	double rate;
};

static const struct chain chains[] = {
	{"lora", {{.section = "lora"}}, 2e-2},
	{"full", {{.section = "full"}}, 5e-3},
	{"layerwise", {{.section = "layerwise"}}, 5e-3},
	{"lora + lora.second", {{.section = "lora"}, {.section = "lora.second"}}, 2e-2},
};
enum { CHAINS = sizeof chains / sizeof chains[0] };

static const char *const objectives[] = {"sft", "next_token"};

/* The losses of three steps and one more window after them. */
static void
losses_of(const struct chain *chain, const char *objective, const char *backend, int32_t compute,
	double losses[STEPS + 1])
{
	struct train_options options = {
		.backend = backend, .compute = compute, .objective = objective, .dropout = 0.05};
	struct train_texts texts;
	struct train_run run;

	memcpy(options.adapters, chain->adapters, sizeof options.adapters);
	train_texts_make(&texts, 2, 6, 6, 24, 263);
	train_open(&run, &options);
	assert_int_equal(run.step.train.n_fallback, 0);
	train_steps(&run, &texts, STEPS, 3, chain->rate, losses);
	losses[STEPS] = train_window(&run, &texts, 0, texts.n, 3, STEPS);
	train_close(&run);
}

/*
 * What two backends may differ by, as a share of the loss, in units u of the type's rounding.
 * f32 (u = 2^-24): the reference adds in double, cpu in f32; a sum of I <= 96 terms is off by
 * sqrt(96) u, and a dozen of them follow each other with errors that are independent.
 * bf16 (u = 2^-8): both add in f32 or better and round at the same places, so they differ
 * only where a sum lies beside the middle of two numbers, and then by one unit of one value.
 */
static double
tolerance_of(int32_t compute)
{
	return compute == HONE_DTYPE_F32 ? 32.0 / 16777216.0 : 2.0 / 256.0;
}

static void
check(const struct chain *chain, const char *objective, int32_t compute)
{
	double exact[STEPS + 1], cpu[STEPS + 1], worst = 0.0;

	losses_of(chain, objective, "reference", compute, exact);
	losses_of(chain, objective, "cpu", compute, cpu);
	for (int t = 0; t <= STEPS; t++)
		worst = fmax(worst, fabs(cpu[t] - exact[t]) / exact[t]);
	print_message("%-19s %-10s %-4s  %.4f -> %.4f, backends differ by %.1e\n", chain->name,
		objective, hone_dtype_name(compute), exact[0], exact[STEPS], worst);
	for (int t = 1; t <= STEPS; t++) {
		assert_true(exact[t] < exact[t - 1]);
		assert_true(cpu[t] < cpu[t - 1]);
	}
	assert_true(worst <= tolerance_of(compute));
}

static void
test_composition_every_combination_learns_alike(void **state)
{
	static const int32_t types[] = {HONE_DTYPE_F32, HONE_DTYPE_BF16};

	(void)state;
	for (int c = 0; c < CHAINS; c++)
		for (int o = 0; o < 2; o++)
			for (int t = 0; t < 2; t++)
				check(&chains[c], objectives[o], types[t]);
}

/* ---- two instances of one plugin ---- */

/* Would catch parameters, seeds or masks known by plugin and site instead of by instance. */
static void
test_composition_two_instances_are_apart(void **state)
{
	const struct train_options options = {
		.adapters = {{.section = "lora"}, {.section = "lora.second"}}};
	struct train_texts texts;
	struct train_run run;
	const struct hn_params *params = &run.bench.params;
	double *values, *gradient;

	(void)state;
	train_texts_make(&texts, 2, 4, 6, 24, 263);
	train_open(&run, &options);
	train_steps(&run, &texts, 1, 2, 1e-2, NULL); /* B leaves 0 */
	(void)train_gradient(&run, &texts, 0, 4, 2, 1);
	values = train_take(&run, HN_MEMORY_PARAMS);
	gradient = train_take(&run, HN_MEMORY_GRADS);
	assert_int_equal(params->n % 2, 0);
	for (uint32_t i = 0; i < params->n; i++) {
		const struct hn_param *one = &params->list[i], *other;
		double largest = 0.0;

		for (int64_t k = 0; k < one->n_elems; k++)
			largest = fmax(largest, fabs(gradient[one->offset + (uint64_t)k]));
		if (!(largest > 1e-9))
			fail_msg("%s has no gradient", one->key);
		if (!hn_streq(one->instance, "lora"))
			continue;
		other = hn_params_find(params, "lora.second", &one->site->pub, one->spec.name);
		assert_non_null(other);
		assert_true(other->offset != one->offset);
		assert_string_not_equal(other->key, one->key);
		assert_memory_not_equal(values + one->offset, values + other->offset,
			(size_t)one->n_elems * sizeof *values);
	}
	free(values);
	free(gradient);
	train_close(&run);
}

/* Would catch a second instance that gets the first one's masks: with equal values and equal
 * masks both would have equal gradients. */
static void
test_composition_two_instances_drop_differently(void **state)
{
	struct train_options options = {
		.adapters = {{.section = "lora"}, {.section = "lora.second"}}};
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 2, 4, 6, 24, 263);
	for (int has_dropout = 0; has_dropout < 2; has_dropout++) {
		struct train_run run;
		double *values, *gradient;
		bool is_same;

		options.dropout = has_dropout ? 0.3 : 0.0;
		train_open(&run, &options);
		train_disturb(&run, 81, 0.02);
		values = train_take(&run, HN_MEMORY_PARAMS);
		for (int64_t i = 0; i < run.bench.params.n_elems / 2; i++)
			values[run.bench.params.n_elems / 2 + i] = values[i];
		train_put(&run, HN_MEMORY_PARAMS, values);
		(void)train_gradient(&run, &texts, 0, 4, 2, 1);
		gradient = train_take(&run, HN_MEMORY_GRADS);
		is_same = train_distance(gradient, gradient + run.bench.params.n_elems / 2,
				  run.bench.params.n_elems / 2) < 1e-12;
		assert_true(is_same == !has_dropout);
		free(values);
		free(gradient);
		train_close(&run);
	}
}

/* Would catch a name that is declared twice and overwrites the first. */
static void
test_composition_same_instance_twice_is_refused(void **state)
{
	const struct hone_factory *factory = bench_factory("lora", HONE_ROLE_ADAPTER, "lora");
	struct lora_values lora = {.r = 2, .lora_alpha = 4};
	struct bench_model bench;
	struct hone_error err = {0};

	(void)state;
	bench_open(&bench, "golden/models/tiny-llama", "reference");
	lora.target_modules = bench_sites(&bench, "q_proj");
	bench_adapter(&bench, "lora", "lora", "lora", &lora);
	assert_int_equal(
		hn_params_collect(&bench.params, &bench.model, "lora", 1, factory, &lora, &err),
		HONE_EPLUGIN);
	assert_non_null(strstr(err.text, "lora/model.layers.0.self_attn.q_proj/lora_A"));
	bench_close(&bench);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_composition_every_combination_learns_alike),
		cmocka_unit_test(test_composition_two_instances_are_apart),
		cmocka_unit_test(test_composition_two_instances_drop_differently),
		cmocka_unit_test(test_composition_same_instance_twice_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
