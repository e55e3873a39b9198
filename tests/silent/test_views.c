/*
 * test_views.c - who sees which weights: the base view is the file, an adapter that does
 * nothing changes nothing, LoRA with B = 0 is the base, and documents do not see each other.
 * In the catalogue of silent bugs: C9 a wrong scale of LoRA, dropout outside of training.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "train_run.h"

static double *
logits_of(struct train_run *run, struct hn_program *program, const struct train_texts *texts,
	int64_t *n)
{
	double *out;

	*n = texts->offsets[texts->n] * train_vocabulary(run);
	out = calloc((size_t)*n, sizeof *out);
	train_logits(run, program, texts, 0, texts->n, out);
	return out;
}

/* ---- an adapter that does nothing ---- */

static enum hone_status
idle_input(const void *self, const struct hone_build *at, const struct hone_site *site,
	hone_node *x, struct hone_error *err)
{
	(void)self;
	(void)site;
	(void)x;
	return hone_graph_status(at->graph, err);
}

static enum hone_status
idle_output(const void *self, const struct hone_build *at, const struct hone_site *site,
	struct hone_site_io *io, struct hone_error *err)
{
	(void)self;
	(void)site;
	(void)io;
	return hone_graph_status(at->graph, err);
}

static enum hone_status
idle_attention(const void *self, const struct hone_build *at, const struct hone_site *site,
	struct hone_attention_io *io, struct hone_error *err)
{
	(void)self;
	(void)site;
	(void)io;
	return hone_graph_status(at->graph, err);
}

static enum hone_status
idle_hidden(const void *self, const struct hone_build *at, const struct hone_site *site,
	hone_node *h, struct hone_error *err)
{
	(void)self;
	(void)site;
	(void)h;
	return hone_graph_status(at->graph, err);
}

static enum hone_status
idle_create(const struct hone_host *host, const struct hone_instance_info *info, const void *values,
	void **self, struct hone_error *err)
{
	(void)host;
	(void)info;
	(void)values;
	(void)err;
	*self = NULL;
	return HONE_OK;
}

static const struct hone_adapter_vt idle_vt = {.struct_size = sizeof idle_vt,
	.input = idle_input,
	.output = idle_output,
	.attention = idle_attention,
	.hidden = idle_hidden};
static const struct hone_factory idle = {.struct_size = sizeof idle,
	.role = HONE_ROLE_ADAPTER,
	.name = "idle",
	.create = idle_create,
	.vt = &idle_vt};

/* Three steps; the values of all parameters at their end. */
static double *
values_after(const struct train_options *options, int64_t *n)
{
	struct train_texts texts;
	struct train_run run;
	double *values;

	train_texts_make(&texts, 4, 4, 5, 30, 263);
	train_open(&run, options);
	train_steps(&run, &texts, 3, 2, 1e-3, NULL);
	values = train_take(&run, HN_MEMORY_PARAMS);
	*n = run.bench.params.n_elems;
	train_close(&run);
	return values;
}

/* Would catch order, seeds or masks that depend on how many adapters there are. */
static void
test_views_idle_adapter_changes_no_bit(void **state)
{
	static const struct train_options around[] = {
		{.adapters = {{.section = "lora"}}, .dropout = 0.2},
		{.adapters = {{.section = "idle", .factory = &idle}, {.section = "lora"}},
			.dropout = 0.2},
		{.adapters = {{.section = "lora"}, {.section = "idle", .factory = &idle}},
			.dropout = 0.2},
	};

	(void)state;
	for (int variant = 0; variant < 4; variant++) {
		double *want = NULL;
		int64_t n = 0, m = 0;

		for (size_t i = 0; i < sizeof around / sizeof around[0]; i++) {
			struct train_options options = around[i];
			double *got;

			options.backend = variant & 1 ? "cpu" : "reference";
			options.compute = variant & 1 ? HONE_DTYPE_BF16 : HONE_DTYPE_F64;
			options.recomputes = variant & 2;
			got = values_after(&options, &m);
			if (want) {
				assert_int_equal(n, m);
				assert_memory_equal(got, want, (size_t)n * sizeof *want);
				free(got);
			} else {
				want = got;
				n = m;
			}
		}
		free(want);
	}
}

/* ---- the base view ---- */

/* Would catch an overlay that trains the file's weight, or a base that sees adapters. */
static void
test_views_base_equals_the_file_under_every_adapter(void **state)
{
	static const struct train_options kinds[] = {
		{.adapters = {{.section = "lora"}}, .dropout = 0.2},
		{.adapters = {{.section = "full"}}},
		{.adapters = {{.section = "layerwise"}}},
		{.adapters = {{.section = "layerwise"}, {.section = "lora"},
			 {.section = "lora.second"}}},
	};
	struct train_texts texts;
	double *want = NULL;
	int64_t n = 0;

	(void)state;
	train_texts_make(&texts, 4, 4, 5, 30, 263);
	for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
		struct train_run run;
		double *base, *policy;

		train_open(&run, &kinds[k]);
		policy = logits_of(&run, &run.logits, &texts, &n);
		if (!want) {
			/* LoRA starts with B = 0: what it gives is what the file gives */
			want = policy;
			policy = NULL;
		} else {
			/* overlays start as the file, too */
			assert_memory_equal(policy, want, (size_t)n * sizeof *want);
		}
		free(policy);
		train_steps(&run, &texts, 3, 2, 1e-2, NULL);
		base = logits_of(&run, &run.base, &texts, &n);
		policy = logits_of(&run, &run.logits, &texts, &n);
		assert_memory_equal(base, want, (size_t)n * sizeof *want);
		assert_true(train_distance(policy, base, n) > 1e-3);
		free(base);
		free(policy);
		train_close(&run);
	}
	free(want);
}

/* An objective that looks at the base view beside the policy, as DPO does. */
static enum hone_status
pair_declare(const void *self, struct hone_declare *decl, struct hone_error *err)
{
	const struct hone_objective_vt *sft =
		bench_factory("causal", HONE_ROLE_OBJECTIVE, "sft")->vt;
	const enum hone_status st = sft->declare(self, decl, err);

	return st ? st : decl->vt->forward(decl, "reference", "base", "text", 0, err);
}

static enum hone_status
pair_build(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	const struct hone_objective_vt *sft =
		bench_factory("causal", HONE_ROLE_OBJECTIVE, "sft")->vt;
	const hone_node h = at->vt->forward(at, "reference");
	const hone_node sum = hone_sum_rows(at->graph,
		hone_reduce_cols(
			at->graph, hone_unary(at->graph, h, HONE_UNARY_SQUARE), HONE_REDUCE_SUM));
	const struct hone_term term = {
		(uint32_t)sizeof term, 0, "reference", sum, "text", "supervised", 1.0};
	const enum hone_status st = sft->build(self, at, loss, err);

	return st ? st : loss->vt->term(loss, &term, err);
}

/* Would catch a base view inside a training program that sees trained values, drops inputs,
 * or sends gradients. */
static void
test_views_base_beside_policy_stays_and_sends_no_gradient(void **state)
{
	static const struct hone_objective_vt pair = {
		sizeof pair, 0, pair_declare, NULL, NULL, pair_build};
	static const char *const sections[] = {"lora", "full", "layerwise"};
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 4, 4, 5, 30, 263);
	for (size_t k = 0; k < 3; k++) {
		struct train_options options = {
			.adapters = {{.section = sections[k]}}, .dropout = 0.2};
		struct train_run alone, beside;
		double first = 0.0;

		train_open(&alone, &options);
		options.objective_vt = &pair;
		train_open(&beside, &options);
		for (uint64_t t = 0; t < 3; t++) {
			train_steps(&alone, &texts, 1, 2, 1e-2, NULL);
			train_steps(&beside, &texts, 1, 2, 1e-2, NULL);
			assert_int_equal(beside.step.result.n_terms, 2);
			if (t == 0)
				first = beside.step.sums[1];
			assert_true(first > 0.0);
			assert_memory_equal(&first, &beside.step.sums[1], sizeof first);
			assert_memory_equal(
				&alone.step.sums[0], &beside.step.sums[0], sizeof first);
		}
		train_assert_same_params(&alone, &beside);
		train_close(&alone);
		train_close(&beside);
	}
}

/* ---- LoRA's formula ---- */

static struct lora_values chosen; /* resolved when the model is open */

static void
choose_plain(struct bench_model *bench)
{
	chosen = (struct lora_values){
		.r = 4, .lora_alpha = 6, .target_modules = bench_sites(bench, "all-linear")};
}

static void
choose_rslora(struct bench_model *bench)
{
	choose_plain(bench);
	chosen.use_rslora = 1;
}

static void
choose_patterns(struct bench_model *bench)
{
	struct hone_error err = {0};

	choose_plain(bench);
	if (hn_site_map_resolve(
		    &bench->model, "q_proj: 2, down_proj: 8", &chosen.rank_pattern, &err) ||
		hn_site_map_resolve(
			&bench->model, "q_proj: 3, gate_proj: 20", &chosen.alpha_pattern, &err))
		fail_msg("%s", err.text);
}

/* s by the papers: alpha / r, or alpha / sqrt(r), with the site's own alpha and r. */
static double
scale_of(const struct hn_param *a)
{
	double alpha = 6.0;
	const double r = (double)a->spec.dim[0];

	if (chosen.alpha_pattern && strstr(a->key, "q_proj"))
		alpha = 3.0;
	if (chosen.alpha_pattern && strstr(a->key, "gate_proj"))
		alpha = 20.0;
	return chosen.use_rslora ? alpha / sqrt(r) : alpha / r;
}

/* weights += s B A, by hand. */
static void
add_update(const struct hn_params *params, const double *lora, const struct hn_param *a,
	double *weights)
{
	const struct hn_param *b = hn_params_find(params, "lora", &a->site->pub, "lora_B");
	const int64_t R = a->spec.dim[0], I = a->spec.dim[1], O = b->spec.dim[0];
	const double s = scale_of(a);

	for (int64_t o = 0; o < O; o++)
		for (int64_t r = 0; r < R; r++)
			for (int64_t i = 0; i < I; i++)
				weights[o * I + i] += s * lora[b->offset + (uint64_t)(o * R + r)] *
					lora[a->offset + (uint64_t)(r * I + i)];
}

static void
check_formula(void (*choose)(struct bench_model *))
{
	const struct train_options options = {
		.adapters = {{.section = "lora", .values = &chosen}}, .on_open = choose};
	struct train_texts texts;
	struct train_run lora, full;
	double *values, *weights, *a, *b;
	int64_t n;

	train_texts_make(&texts, 4, 3, 5, 20, 263);
	train_open(&lora, &options);
	train_disturb(&lora, 61, 0.1);
	train_open(&full, &(struct train_options){.adapters = {{.section = "full"}}});
	values = train_take(&lora, HN_MEMORY_PARAMS);
	weights = train_take(&full, HN_MEMORY_PARAMS);
	for (uint32_t i = 0; i < lora.bench.params.n; i++) {
		const struct hn_param *param = &lora.bench.params.list[i], *weight;

		if (!hn_streq(param->spec.name, "lora_A"))
			continue;
		weight = hn_params_find(&full.bench.params, "full",
			&hn_model_site(&full.bench.model, param->site->pub.name)->pub, "weight");
		add_update(&lora.bench.params, values, param, weights + weight->offset);
	}
	train_put(&full, HN_MEMORY_PARAMS, weights);
	a = logits_of(&lora, &lora.logits, &texts, &n);
	b = logits_of(&full, &full.logits, &texts, &n);
	assert_true(train_distance(a, b, n) < 1e-12);
	free(values);
	free(weights);
	free(a);
	free(b);
	train_close(&lora);
	train_close(&full);
}

/* C9: would catch alpha / r for rsLoRA, a pattern that changes rank but not scale. */
static void
test_views_lora_equals_weights_plus_scaled_product(void **state)
{
	(void)state;
	check_formula(choose_plain);
	check_formula(choose_rslora);
	check_formula(choose_patterns);
}

/* C9: would catch dropout outside of training. */
static void
test_views_eval_has_no_dropout(void **state)
{
	struct train_options options = {.adapters = {{.section = "lora"}}};
	struct train_texts texts;
	double loss[2], *logits[2];
	int64_t n = 0;

	(void)state;
	train_texts_make(&texts, 4, 3, 5, 20, 263);
	for (int i = 0; i < 2; i++) {
		struct train_run run;

		options.dropout = i ? 0.5 : 0.0;
		train_open(&run, &options);
		train_disturb(&run, 61, 0.1);
		loss[i] = train_eval(&run, &texts, 0, 3);
		logits[i] = logits_of(&run, &run.logits, &texts, &n);
		if (i)
			assert_true(train_window(&run, &texts, 0, 3, 3, 0) != loss[i]);
		train_close(&run);
	}
	assert_memory_equal(&loss[0], &loss[1], sizeof loss[0]);
	assert_memory_equal(logits[0], logits[1], (size_t)n * sizeof *logits[0]);
	free(logits[0]);
	free(logits[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_views_idle_adapter_changes_no_bit),
		cmocka_unit_test(test_views_base_equals_the_file_under_every_adapter),
		cmocka_unit_test(test_views_base_beside_policy_stays_and_sends_no_gradient),
		cmocka_unit_test(test_views_lora_equals_weights_plus_scaled_product),
		cmocka_unit_test(test_views_eval_has_no_dropout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
