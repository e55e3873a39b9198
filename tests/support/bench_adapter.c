/*
 * bench_adapter.c - one adapter, its values, its logits.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "bench_adapter.h"
#include "config/option.h"
#include "support.h"

void
golden_text_open(struct golden_text *text)
{
	char *path = test_data_path("golden/peft/logits.safetensors");
	struct hone_error err = {0};

	memset(text, 0, sizeof *text);
	if (hn_safetensors_open(&text->file, path, &err))
		fail_msg("%s", err.text);
	free(path);
	text->ids = (const void *)need_tensor(&text->file, "input_ids")->bytes;
	text->n = need_tensor(&text->file, "input_ids")->dim[0];
	text->segments = (const void *)need_tensor(&text->file, "segments")->bytes;
	text->n_segments = need_tensor(&text->file, "segments")->dim[0] - 1;
	text->rows = (const void *)need_tensor(&text->file, "rows")->bytes;
	text->n_rows = need_tensor(&text->file, "rows")->dim[0];
}

void
golden_text_close(struct golden_text *text)
{
	hn_tensor_file_close(&text->file);
}

struct hn_proof
golden_text_proof(const struct golden_text *text)
{
	return (struct hn_proof){.ids = text->ids,
		.offsets = text->segments,
		.n_segments = text->n_segments,
		.from = "golden"};
}

/* ---- values out of settings ---- */

static enum hone_status
resolve(void *ctx, const struct hone_option *option, const char *text, const void **out,
	struct hone_error *err)
{
	struct bench_adapter *b = ctx;
	const struct hone_site_set *set = NULL;
	const struct hone_site_map *map = NULL;
	enum hone_status st;

	if (option->type == HONE_OPTION_SITES) {
		st = hn_sites_resolve(&b->bench.model, text, &set, err);
		*out = set;
	} else {
		st = hn_site_map_resolve(&b->bench.model, text, &map, err);
		*out = map;
	}
	return st;
}

static const char *
setting(const struct hn_adapter_sets *sets, const char *key)
{
	char prefix[128];

	(void)snprintf(prefix, sizeof prefix, "%s.%s=", sets->type, key);
	for (size_t i = 0; i < sets->n; i++)
		if (hn_starts_with(sets->sets[i], prefix))
			return sets->sets[i] + strlen(prefix);
	return NULL;
}

enum hone_status
bench_read_values(struct bench_adapter *b, const char *folder, struct hone_error *err)
{
	const struct hone_options *options =
		bench_factory("lora", HONE_ROLE_ADAPTER, "lora")->options;
	const struct hn_option_ground ground = {"/", &b->arena, resolve, b};
	struct hn_adapter_sets sets = {0};
	enum hone_status st = hn_adapter_overrides(folder, options, &sets, err);

	for (uint32_t i = 0; i < options->n && !st; i++) {
		const struct hone_option option = hn_options_at(options, i);
		const char *text = setting(&sets, option.key);
		struct hn_option_value value = {0};

		st = hn_option_parse(
			&option, text ? text : option.default_value, &ground, &value, err);
		if (!st)
			hn_option_store(&option, &value, &b->values);
	}
	hn_adapter_sets_fini(&sets);
	return st;
}

/* ---- the bench ---- */

void
bench_adapter_open(struct bench_adapter *b, const char *model, const char *backend, int32_t compute)
{
	memset(b, 0, sizeof *b);
	b->compute = compute;
	bench_open(&b->bench, model, backend);
}

void
bench_adapter_lora(struct bench_adapter *b, const struct lora_values *values)
{
	if (values)
		b->values = *values;
	bench_adapter(&b->bench, "lora", "lora", "lora", &b->values);
}

void
bench_adapter_from(struct bench_adapter *b, const char *folder)
{
	struct hone_error err = {0};

	if (bench_read_values(b, folder, &err))
		fail_msg("%s: %s", err.place, err.text);
	bench_adapter_lora(b, NULL);
}

void
bench_adapter_start(struct bench_adapter *b, const struct golden_text *text)
{
	struct hn_build_request request = {.mode = HN_BUILD_LOGITS,
		.model = &b->bench.model,
		.params = &b->bench.params,
		.adapters = b->bench.adapters,
		.n_adapters = b->bench.n_adapters,
		.capacity = {text->n, text->n_segments, text->n, 1, 0},
		.compute = b->compute};
	struct hn_build_result result;
	struct hn_graph graph;
	struct hone_error err = {0};

	hn_engine_init(&b->bench.engine, &b->bench.model, &b->bench.params, b->bench.devices,
		b->bench.n_devices, b->compute);
	if (hn_build(&request, &graph, &result, &err) ||
		hn_engine_add(&b->bench.engine, &b->program, "logits", &graph, 256, &err) ||
		hn_engine_allocate(&b->bench.engine, &err))
		fail_msg("%s: %s", err.place, err.text);
	b->adapted = (struct hn_adapted){.model = &b->bench.model,
		.params = &b->bench.params,
		.engine = &b->bench.engine,
		.adapters = b->bench.adapters,
		.n_adapters = b->bench.n_adapters,
		.init_from = {b->values.init_from},
		.seed = 7};
	if (hn_params_init(&b->adapted, &err))
		fail_msg("%s: %s", err.place, err.text);
}

double *
bench_adapter_logits(struct bench_adapter *b, const struct golden_text *text)
{
	const int64_t vocabulary = 263, n = text->n * vocabulary;
	double *out = malloc((size_t)n * sizeof *out);
	struct hone_error err = {0};

	assert_true(b->compute == HONE_DTYPE_F64 || b->compute == HONE_DTYPE_F32);
	bench_bind(&b->program, text->ids, text->segments, text->n_segments);
	if (hn_program_run(&b->program, 1, 0, &err) ||
		hn_program_read(&b->program, "logits", out,
			(uint64_t)(n * hone_dtype_bytes(b->compute)), &err))
		fail_msg("%s", err.text);
	for (int64_t i = n; b->compute == HONE_DTYPE_F32 && i-- > 0;) {
		float value;

		memcpy(&value, (const float *)(const void *)out + i, sizeof value);
		out[i] = (double)value;
	}
	return out;
}

void
bench_adapter_close(struct bench_adapter *b)
{
	bench_close(&b->bench);
	hn_arena_fini(&b->arena);
}

void
bench_adapter_fill(struct bench_adapter *b, double scale)
{
	for (uint32_t i = 0; i < b->bench.params.n; i++) {
		const struct hn_param *param = &b->bench.params.list[i];
		float *values = malloc((size_t)param->n_elems * sizeof *values);
		struct hone_error err = {0};

		for (int64_t k = 0; k < param->n_elems; k++)
			values[k] = (float)(scale *
				hn_rng_normal(3, hn_rng_stream(param->key), (uint64_t)k, 0));
		hn_param_permute(param, true, values);
		assert_int_equal(
			hn_engine_set(&b->bench.engine, HN_MEMORY_PARAMS, param, values, &err),
			HONE_OK);
		free(values);
	}
}

double
greatest_distance(const double *a, const double *b, int64_t n)
{
	double worst = 0.0;

	for (int64_t i = 0; i < n; i++) {
		const double d = fabs(a[i] - b[i]);

		worst = d > worst || isnan(d) ? d : worst;
	}
	return worst;
}
