/*
 * train_run.c - a run from its parts, its windows, and its numbers as doubles.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hone/random.h>

#include "base/rng.h"
#include "support.h"
#include "train_run.h"

#define MODEL "golden/models/tiny-llama"

void
train_texts_make(struct train_texts *texts, uint64_t seed, int64_t n, int64_t min, int64_t max,
	int32_t vocabulary)
{
	int32_t at = 0;

	memset(texts, 0, sizeof *texts);
	texts->n = n;
	for (int64_t s = 0; s < n; s++) {
		uint32_t draw[4];
		int64_t length;

		hone_random_draw(seed, 1, (uint64_t)s, 0, draw);
		length = min + (int64_t)(draw[0] % (uint32_t)(max - min + 1));
		assert_true(at + length <= TRAIN_TOKENS && n <= TRAIN_TEXTS);
		for (int64_t i = 0; i < length; i++, at++) {
			hone_random_draw(seed, 2, (uint64_t)s, (uint64_t)i, draw);
			texts->ids[at] = (int32_t)(draw[0] % (uint32_t)vocabulary);
			texts->learned[at] = draw[1] % 3 != 0 || i == length - 1;
		}
		texts->offsets[s + 1] = at;
	}
}

/* ---- opening ---- */

static const char *
plugin_of(const char *section, char *name, size_t cap)
{
	(void)snprintf(name, cap, "%s", section);
	if (strchr(name, '.'))
		*strchr(name, '.') = 0;
	return hn_streq(name, "full") || hn_streq(name, "layerwise") ? "weights" : name;
}

static void
add_adapter(struct train_run *run, const struct train_adapter *adapter)
{
	const struct hone_factory *factory = adapter->factory;
	const void *values = adapter->values;
	char name[64];

	if (!factory) {
		const char *file = plugin_of(adapter->section, name, sizeof name);

		factory = bench_factory(file, HONE_ROLE_ADAPTER, name);
		if (!values)
			values = hn_streq(name, "lora") ? (const void *)&run->lora
							: (const void *)&run->layerwise;
	}
	bench_adapter_of(&run->bench, factory, adapter->section, values);
}

static void
fill_values(struct train_run *run, const struct train_options *options)
{
	static const char *const layers[] = {"1-2"};
	const int64_t r = options->r ? options->r : 4;

	run->lora = (struct lora_values){.r = r,
		.lora_alpha = 2.0 * (double)r,
		.lora_dropout = options->dropout,
		.target_modules = bench_sites(
			&run->bench, options->targets ? options->targets : "all-linear, lm_head")};
	run->layerwise =
		(struct layerwise_values){.layers = {.n = 1, .items = layers}, .train_norms = 1};
	run->sft = (struct sft_values){1, 1, options->label_smoothing};
	run->adamw = (struct hn_adamw){0.9, 0.999, 1e-8, options->weight_decay};
}

/* A program of another mode beside the training step. */
static enum hone_status
add_program(struct train_run *run, struct hn_program *program, const char *name,
	enum hn_build_mode mode, bool without_adapters, int64_t chunk_rows, struct hone_error *err)
{
	struct hn_build_request request = run->request;
	struct hn_build_result result;
	struct hn_graph graph;
	enum hone_status st;

	request.mode = mode;
	request.without_adapters = without_adapters;
	if (mode == HN_BUILD_LOGITS)
		request.layout = NULL;
	st = hn_build(&request, &graph, &result, err);
	if (st) {
		hn_graph_fini(&graph);
		return st;
	}
	if (mode == HN_BUILD_EVAL)
		run->eval_result = result;
	return hn_engine_add(&run->bench.engine, program, name, &graph, chunk_rows, err);
}

static enum hone_status
init_params(struct train_run *run, struct hone_error *err)
{
	const struct bench_model *bench = &run->bench;
	enum hone_status st = HONE_OK;

	for (uint32_t i = 0; i < bench->params.n && !st; i++) {
		const struct hn_param *param = &bench->params.list[i];
		float *values = hn_alloc((size_t)param->n_elems * sizeof *values);

		st = hn_param_init(param, &bench->model, bench->factories[param->instance_idx],
			bench->adapters[param->instance_idx].self, 1, values, err);
		if (!st)
			st = hn_engine_set(&bench->engine, HN_MEMORY_PARAMS, param, values, err);
		free(values);
	}
	return st;
}

static enum hone_status
make_programs(struct train_run *run, int64_t chunk_rows, struct hone_error *err)
{
	struct hn_engine *engine = &run->bench.engine;
	enum hone_status st =
		hn_step_create(&run->step, engine, &run->request, &run->adamw, chunk_rows, err);

	if (!st)
		st = add_program(run, &run->eval, "eval", HN_BUILD_EVAL, false, chunk_rows, err);
	if (!st)
		st = add_program(
			run, &run->logits, "logits", HN_BUILD_LOGITS, false, chunk_rows, err);
	if (!st)
		st = add_program(run, &run->base, "base", HN_BUILD_LOGITS, true, chunk_rows, err);
	if (!st)
		st = hn_engine_allocate(engine, err);
	return st ? st : init_params(run, err);
}

enum hone_status
train_try(struct train_run *run, const struct train_options *options, struct hone_error *err)
{
	static const struct hn_capacity usual = {512, 16, 256, 512, 0};
	const int32_t compute = options->compute ? options->compute : HONE_DTYPE_F64;
	const struct hone_objective_vt *vt = options->objective_vt;
	enum hone_status st;

	memset(run, 0, sizeof *run);
	bench_open_threads(&run->bench, options->model ? options->model : MODEL,
		options->backend ? options->backend : "reference",
		options->threads ? options->threads : 2);
	if (options->on_open)
		options->on_open(&run->bench);
	fill_values(run, options);
	for (uint32_t i = 0; i < TRAIN_ADAPTERS && options->adapters[i].section; i++)
		add_adapter(run, &options->adapters[i]);
	if (!vt)
		vt = bench_factory("causal", HONE_ROLE_OBJECTIVE,
			options->objective ? options->objective : "sft")
			     ->vt;
	st = hn_layout_collect(&run->layout, vt, &run->sft, err);
	if (st)
		return st;
	hn_engine_init(&run->bench.engine, &run->bench.model, &run->bench.params,
		run->bench.devices, run->bench.n_devices, compute);
	run->request = (struct hn_build_request){.mode = HN_BUILD_TRAIN,
		.model = &run->bench.model,
		.params = &run->bench.params,
		.adapters = run->bench.adapters,
		.n_adapters = run->bench.n_adapters,
		.objective = vt,
		.objective_self = &run->sft,
		.layout = &run->layout,
		.capacity = options->capacity.rows ? options->capacity : usual,
		.compute = compute,
		.recomputes = options->recomputes,
		.without_fusion = options->without_fusion};
	return make_programs(run, options->chunk_rows ? options->chunk_rows : 17, err);
}

void
train_open(struct train_run *run, const struct train_options *options)
{
	struct hone_error err = {0};

	if (train_try(run, options, &err))
		fail_msg("%s: %s", err.place, err.text);
}

void
train_close(struct train_run *run)
{
	bench_close(&run->bench);
	hn_layout_fini(&run->layout);
}

void
train_disturb(struct train_run *run, uint64_t seed, double scale)
{
	double *values = train_take(run, HN_MEMORY_PARAMS);

	for (int64_t i = 0; i < run->bench.params.n_elems; i++)
		values[i] += scale * hn_rng_normal(seed, 77, (uint64_t)i, 0);
	train_put(run, HN_MEMORY_PARAMS, values);
	free(values);
}

/* ---- windows ---- */

int64_t
train_learned(const struct train_texts *texts, int64_t first, int64_t n)
{
	int64_t count = 0;

	for (int64_t s = first; s < first + n; s++)
		for (int32_t i = texts->offsets[s] + 1; i < texts->offsets[s + 1]; i++)
			count += texts->learned[i];
	return count;
}

/* The row before a learned token has it as its label. */
static void
bind_labels(struct hn_program *program, const struct train_texts *texts, int64_t first, int64_t n,
	int64_t base)
{
	int32_t *index = hn_program_column(program, "text.supervised.index");
	int32_t *keys = hn_program_column(program, "text.supervised.keys");
	int32_t *labels = hn_program_column(program, "text.supervised.labels");
	int32_t *all = hn_program_column(program, "text.labels");
	const int32_t begin = texts->offsets[first];
	int64_t m = 0;

	for (int64_t s = first; s < first + n; s++) {
		for (int32_t i = texts->offsets[s]; i < texts->offsets[s + 1]; i++) {
			const bool has = i + 1 < texts->offsets[s + 1] && texts->learned[i + 1];

			if (all)
				all[i - begin] = has ? texts->ids[i + 1] : HONE_LABEL_NONE;
			if (!has || !index)
				continue;
			index[m] = i - begin;
			if (keys) {
				keys[2 * m] = (int32_t)(s - base);
				keys[2 * m + 1] = i - texts->offsets[s];
			}
			if (labels)
				labels[m] = texts->ids[i + 1];
			m++;
		}
	}
	hn_program_set_live(program, "text.supervised", m);
}

void
train_bind(struct hn_program *program, const struct train_texts *texts, int64_t first, int64_t n,
	int64_t base)
{
	int32_t *keys = hn_program_column(program, "text.keys");
	int32_t offsets[TRAIN_TEXTS + 1];

	for (int64_t s = 0; s <= n; s++)
		offsets[s] = texts->offsets[first + s] - texts->offsets[first];
	bench_bind(program, texts->ids + texts->offsets[first], offsets, n);
	for (int64_t s = 0; s < n && keys; s++)
		for (int32_t i = offsets[s]; i < offsets[s + 1]; i++)
			keys[2 * i] = (int32_t)(first + s - base);
	bind_labels(program, texts, first, n, base);
}

double
train_window(struct train_run *run, const struct train_texts *texts, int64_t first, int64_t n,
	int64_t micro, uint64_t step)
{
	const double learned = (double)train_learned(texts, first, n);
	struct hone_error err = {0};

	hn_step_begin(&run->step);
	for (uint32_t i = 0; i < run->step.result.n_terms; i++)
		hn_step_set_denominator(&run->step, i, learned);
	for (int64_t at = first; at < first + n; at += micro) {
		train_bind(&run->step.train, texts, at,
			at + micro > first + n ? first + n - at : micro, first);
		if (hn_step_micro(&run->step, 7, step, &err))
			fail_msg("%s", err.text);
	}
	return run->step.sums[0] / learned;
}

double
train_gradient(struct train_run *run, const struct train_texts *texts, int64_t first, int64_t n,
	int64_t micro, uint64_t step)
{
	struct hone_error err = {0};

	if (hn_engine_clear(&run->bench.engine, HN_MEMORY_GRADS, &err))
		fail_msg("%s", err.text);
	return train_window(run, texts, first, n, micro, step);
}

double
train_update(struct train_run *run, uint64_t step, double rate, double max_norm)
{
	struct hone_error err = {0};
	double norm = 0.0;

	if (hn_step_end(&run->step, step, rate, &run->adamw, max_norm, &norm, &err))
		fail_msg("%s", err.text);
	return norm;
}

void
train_steps(struct train_run *run, const struct train_texts *texts, uint64_t n_steps, int64_t micro,
	double rate, double *losses)
{
	for (uint64_t t = 0; t < n_steps; t++) {
		const double loss = train_window(run, texts, 0, texts->n, micro, t);

		(void)train_update(run, t, rate, 1.0);
		if (losses)
			losses[t] = loss;
	}
}

/* ---- numbers ---- */

static double
scalar(const struct train_run *run, const struct hn_program *program, const char *name)
{
	struct hone_error err = {0};
	double wide = 0.0;
	float narrow = 0.0f;

	if (run->bench.engine.stat == HONE_DTYPE_F64
			? hn_program_read(program, name, &wide, sizeof wide, &err)
			: hn_program_read(program, name, &narrow, sizeof narrow, &err))
		fail_msg("%s", err.text);
	return run->bench.engine.stat == HONE_DTYPE_F64 ? wide : (double)narrow;
}

double
train_eval(struct train_run *run, const struct train_texts *texts, int64_t first, int64_t n)
{
	struct hone_error err = {0};
	char name[64];

	train_bind(&run->eval, texts, first, n, first);
	if (hn_program_run(&run->eval, 99, 99, &err))
		fail_msg("%s", err.text);
	(void)snprintf(name, sizeof name, "term.%s", run->eval_result.terms[0].name);
	return scalar(run, &run->eval, name) / (double)train_learned(texts, first, n);
}

int64_t
train_vocabulary(const struct train_run *run)
{
	return hn_model_site_at(&run->bench.model, "lm_head", -1)->pub.out_features;
}

static double
element(const void *bytes, int32_t dtype, int64_t i)
{
	switch (dtype) {
	case HONE_DTYPE_F64:
		return ((const double *)bytes)[i];
	case HONE_DTYPE_BF16:
		return (double)hone_bf16_to_f32(((const uint16_t *)bytes)[i]);
	default:
		return (double)((const float *)bytes)[i];
	}
}

void
train_logits(struct train_run *run, struct hn_program *program, const struct train_texts *texts,
	int64_t first, int64_t n, double *out)
{
	const int64_t rows = texts->offsets[first + n] - texts->offsets[first];
	const int64_t count = rows * train_vocabulary(run);
	const int32_t dtype = run->bench.engine.compute;
	const uint64_t n_bytes = (uint64_t)(count * hone_dtype_bytes(dtype));
	void *bytes = hn_alloc(n_bytes);
	struct hone_error err = {0};

	train_bind(program, texts, first, n, first);
	if (hn_program_run(program, 5, 5, &err) ||
		hn_program_read(program, "logits", bytes, n_bytes, &err))
		fail_msg("%s", err.text);
	for (int64_t i = 0; i < count; i++)
		out[i] = element(bytes, dtype, i);
	free(bytes);
}

double *
train_take(const struct train_run *run, int32_t kind)
{
	const struct hn_engine *engine = &run->bench.engine;
	const int64_t n = run->bench.params.n_elems;
	const uint64_t n_bytes = (uint64_t)(n * hone_dtype_bytes(engine->stat));
	void *bytes = hn_alloc(n_bytes + 1);
	double *out = hn_alloc((size_t)(n + 1) * sizeof *out);
	struct hone_error err = {0};

	if (hn_engine_settle(engine, kind, &err) ||
		engine->devices->vt->download(
			engine->devices->device, engine->buffers[kind], 0, bytes, n_bytes, &err))
		fail_msg("%s", err.text);
	for (int64_t i = 0; i < n; i++)
		out[i] = element(bytes, engine->stat, i);
	free(bytes);
	return out;
}

void
train_put(struct train_run *run, int32_t kind, const double *values)
{
	const struct hn_engine *engine = &run->bench.engine;
	const int64_t n = run->bench.params.n_elems;
	const bool is_wide = engine->stat == HONE_DTYPE_F64;
	float *narrow = hn_alloc((size_t)(n + 1) * sizeof *narrow);
	struct hone_error err = {0};

	for (int64_t i = 0; i < n; i++)
		narrow[i] = (float)values[i];
	if (hn_engine_settle(engine, kind, &err) ||
		engine->devices->vt->upload(engine->devices->device, engine->buffers[kind], 0,
			is_wide ? (const void *)values : (const void *)narrow,
			(uint64_t)(n * hone_dtype_bytes(engine->stat)), &err))
		fail_msg("%s", err.text);
	free(narrow);
}

void
train_assert_same_params(const struct train_run *a, const struct train_run *b)
{
	double *of_a = train_take(a, HN_MEMORY_PARAMS), *of_b = train_take(b, HN_MEMORY_PARAMS);

	assert_int_equal(a->bench.params.n_elems, b->bench.params.n_elems);
	assert_memory_equal(of_a, of_b, (size_t)a->bench.params.n_elems * sizeof *of_a);
	free(of_a);
	free(of_b);
}

double
train_distance(const double *a, const double *b, int64_t n)
{
	double worst = 0.0, largest = 0.0;

	for (int64_t i = 0; i < n; i++) {
		if (isnan(a[i]) != isnan(b[i]))
			return INFINITY;
		worst = fmax(worst, fabs(a[i] - b[i]));
		largest = fmax(largest, fabs(b[i]));
	}
	return largest > 0.0 ? worst / largest : worst;
}
