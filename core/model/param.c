/*
 * param.c - collecting, finding, initialising and reordering parameters.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hone/adapter.h>

#include "base/crash.h"
#include "base/rng.h"
#include "model/param.h"

enum { PAD_ELEMS = 16 }; /* every parameter starts at 64 bytes of f32 */

struct sink {
	struct hone_params base;
	struct hn_params *params;
	const char *instance;
	uint32_t instance_idx;
	bool is_model; /* the adapter's result is the model, not a file of its parameters */
};

/* One tensor of the instance's file for each name. */
static enum hone_status
take_export_name(struct hn_params *params, const struct hn_param *param, struct hone_error *err)
{
	char *name = hn_param_export_name(param);
	char *key = hn_arena_printf(&params->arena, "%u/%s", param->instance_idx, name);
	const uint64_t *other = hn_table_get(&params->by_export, key);
	enum hone_status st = HONE_OK;

	if (other)
		st = hone_fail(err, HONE_EPLUGIN,
			"parameters '%.120s' and '%.120s' have one export_name, \"%.120s\"; each "
			"needs its own",
			params->list[*other].key, param->key, name);
	else
		(void)hn_table_set(&params->by_export, key, params->n);
	free(name);
	return st;
}

/* What all sites share may be declared from each of them: the first time counts. */
static enum hone_status
check_again(const struct hn_param *first, const struct hone_param_spec *spec, bool *is_done,
	struct hone_error *err)
{
	*is_done = !first->site && hn_param_spec_is_same(&first->spec, spec);
	if (*is_done)
		return HONE_OK;
	return hone_fail(err, HONE_EPLUGIN, "parameter '%s' is declared twice%s", first->key,
		first->site ? "" : ", and not the same both times");
}

static enum hone_status
add_param(struct sink *sink, const struct hone_site *site, const struct hone_param_spec *spec,
	struct hone_error *err)
{
	struct hn_params *params = sink->params;
	struct hn_param param = {.instance_idx = sink->instance_idx,
		.site = (const struct hn_site *)(const void *)site,
		.spec = *spec};
	enum hone_status st =
		hn_param_spec_check(spec, site != NULL, sink->is_model, &param.n_elems, err);
	const uint64_t *first;
	bool is_done = false;

	if (st)
		return st;
	param.instance = hn_arena_strdup(&params->arena, sink->instance);
	param.key = hn_arena_printf(
		&params->arena, "%s/%s/%s", sink->instance, site ? site->name : "", spec->name);
	first = hn_table_get(&params->by_key, param.key);
	if (first)
		st = check_again(&params->list[*first], spec, &is_done, err);
	else if (spec->export_name)
		st = take_export_name(params, &param, err);
	if (st || is_done)
		return st;
	param.spec.name = hn_arena_strdup(&params->arena, spec->name);
	param.spec.export_name =
		spec->export_name ? hn_arena_strdup(&params->arena, spec->export_name) : NULL;
	param.offset = (uint64_t)params->n_elems;
	(void)hn_table_set(&params->by_key, param.key, params->n);
	params->n_elems += (param.n_elems + PAD_ELEMS - 1) / PAD_ELEMS * PAD_ELEMS;
	if (spec->flags & HONE_PARAM_TRAIN)
		params->n_trained += param.n_elems;
	params->list = hn_grow(params->list, &params->cap, params->n + 1u, sizeof param);
	params->list[params->n++] = param;
	return HONE_OK;
}

static enum hone_status
declare(struct hone_params *base, const struct hone_site *site, uint32_t n, uint32_t stride,
	const struct hone_param_spec *specs, struct hone_error *err)
{
	struct sink *sink = (struct sink *)(void *)base;
	enum hone_status st = HONE_OK;

	for (uint32_t i = 0; i < n && !st; i++) {
		const struct hone_param_spec *from =
			(const void *)((const uint8_t *)specs + (size_t)i * stride);
		struct hone_param_spec spec = {0};

		memcpy(&spec, from, stride < sizeof spec ? stride : sizeof spec);
		st = add_param(sink, site, &spec, err);
	}
	return st;
}

static const struct hone_params_vt params_vt = {
	.struct_size = sizeof params_vt, .declare = declare};

enum hone_status
hn_params_collect(struct hn_params *params, const struct hn_model *model, const char *instance,
	uint32_t instance_idx, const struct hone_factory *factory, const void *self,
	struct hone_error *err)
{
	const struct hone_adapter_vt *vt = factory->vt;
	struct sink sink = {{&params_vt}, params, instance, instance_idx,
		(vt->flags & HONE_ADAPTER_TRAINS_WEIGHTS) != 0};
	struct hone_error why = {0}; /* a plugin may fail without a word */
	enum hone_status st;

	if (!vt->declare)
		return HONE_OK;
	st = vt->declare(self, NULL, &sink.base, &why);
	for (uint32_t i = 0; i < model->n_sites && !st; i++)
		st = vt->declare(self, &model->sites[i].pub, &sink.base, &why);
	if (!st)
		return HONE_OK;
	if (!why.text[0])
		(void)hone_fail(&why, st,
			"the plugin failed with status %d and no word; report it to "
			"its author",
			(int)st);
	hone_error_while(&why, "%s declares its parameters", instance);
	if (err)
		*err = why;
	return st;
}

void
hn_params_fini(struct hn_params *params)
{
	free(params->list);
	hn_table_fini(&params->by_key);
	hn_table_fini(&params->by_export);
	hn_arena_fini(&params->arena);
	memset(params, 0, sizeof *params);
}

const struct hn_param *
hn_params_find(const struct hn_params *params, const char *instance, const struct hone_site *site,
	const char *name)
{
	char key[1024];
	const uint64_t *index;

	(void)snprintf(key, sizeof key, "%s/%s/%s", instance, site ? site->name : "", name);
	index = hn_table_get(&params->by_key, key);
	return index ? &params->list[*index] : NULL;
}

const struct hn_param *
hn_params_overlay(const struct hn_params *params, uint32_t instance_idx, const struct hn_site *site,
	int32_t slot)
{
	for (uint32_t i = 0; i < params->n; i++) {
		const struct hn_param *param = &params->list[i];

		if (param->site == site && param->instance_idx == instance_idx &&
			param->spec.overlay == slot)
			return param;
	}
	return NULL;
}

/* Only the first "%s" counts, and nothing else is a format. */
char *
hn_param_export_name(const struct hn_param *param)
{
	const char *text = param->spec.export_name, *at = strstr(text, "%s");
	struct hn_str name = {0};

	if (!at)
		return hn_strdup(text);
	hn_str_add(&name, text, (size_t)(at - text));
	hn_str_puts(&name, param->site ? param->site->pub.name : "");
	hn_str_puts(&name, at + 2);
	return hn_str_take(&name);
}

static void
fill_random(const struct hn_param *param, uint64_t seed, double scale, bool is_uniform, float *out)
{
	const uint64_t stream = hn_rng_stream(param->key);

	for (int64_t i = 0; i < param->n_elems; i++) {
		const uint64_t at = (uint64_t)i;
		const double draw = is_uniform ? 2.0 * hn_rng_uniform(seed, stream, at, 0) - 1.0
					       : hn_rng_normal(seed, stream, at, 0);

		out[i] = (float)(scale * draw);
	}
}

static enum hone_status
fill_weight(const struct hn_param *param, const struct hn_model *model, uint64_t seed, float *out,
	struct hone_error *err)
{
	const int32_t index =
		param->spec.overlay == HONE_SLOT_BIAS ? param->site->bias : param->site->weight;
	const struct hn_weight *weight = index < 0 ? NULL : &model->weights[index];

	if (!weight || hn_weight_elems(weight) != param->n_elems)
		return hone_fail(err, HONE_EPLUGIN, "'%s' has no weight of its shape to start from",
			param->key);
	return hn_weight_decode(model, weight, seed, 0, param->n_elems, out, err);
}

enum hone_status
hn_param_init(const struct hn_param *param, const struct hn_model *model,
	const struct hone_factory *factory, const void *self, uint64_t seed, float *out,
	struct hone_error *err)
{
	const struct hone_adapter_vt *vt = factory->vt;
	const struct hone_param_spec *spec = &param->spec;
	const double fan_in =
		(double)(spec->rank > 1 ? param->n_elems / spec->dim[0] : spec->dim[0]);
	struct hn_call under_way;
	enum hone_status st;

	switch (spec->init) {
	case HONE_INIT_ZERO:
	case HONE_INIT_ONE:
	case HONE_INIT_CONSTANT:
		for (int64_t i = 0; i < param->n_elems; i++)
			out[i] = spec->init == HONE_INIT_ZERO ? 0.0f
				: spec->init == HONE_INIT_ONE ? 1.0f
							      : (float)spec->init_scale;
		return HONE_OK;
	case HONE_INIT_KAIMING_UNIFORM:
		fill_random(param, seed, 1.0 / sqrt(fan_in), true, out);
		return HONE_OK;
	case HONE_INIT_NORMAL:
		fill_random(param, seed, spec->init_scale, false, out);
		return HONE_OK;
	case HONE_INIT_WEIGHT:
		return fill_weight(param, model, seed, out, err);
	case HONE_INIT_CALL:
		if (!vt->fill)
			break;
		hn_call_begin(&under_way, factory->name, "fill", param->key);
		st = vt->fill(self, param->site ? &param->site->pub : NULL, spec->name,
			seed ^ hn_rng_stream(param->key), param->n_elems, out, err);
		hn_call_end(&under_way);
		return st;
	default:
		break;
	}
	return hone_fail(
		err, HONE_EPLUGIN, "'%s' has no initial values (init %d)", param->key, spec->init);
}

/* ---- row order ---- */

/* llama.cpp stores row 2j of a head where Hugging Face has j, and 2j + 1 where it has
 * j + head_dim / 2. */
void
hn_rows_permute(const struct hone_site *site, bool to_stored, int64_t cols, float *values)
{
	const int64_t k = site->head_dim, half = k / 2;
	float *head;

	if (site->row_order != HONE_ROWS_ROPE_INTERLEAVED || k < 2)
		return;
	head = hn_alloc((size_t)(k * cols) * sizeof *head);
	for (int64_t h = 0; h < site->out_features / k; h++) {
		float *rows = values + h * k * cols;

		memcpy(head, rows, (size_t)(k * cols) * sizeof *head);
		for (int64_t j = 0; j < k; j++) {
			const int64_t plain = j, stored = j < half ? 2 * j : 2 * (j - half) + 1;
			const int64_t to = to_stored ? stored : plain;
			const int64_t from = to_stored ? plain : stored;

			memcpy(rows + to * cols, head + from * cols, (size_t)cols * sizeof *head);
		}
	}
	free(head);
}

void
hn_param_permute(const struct hn_param *param, bool to_stored, float *values)
{
	if (!param->site || param->spec.axis[0] != HONE_AXIS_SITE_OUT)
		return;
	hn_rows_permute(&param->site->pub, to_stored, param->n_elems / param->spec.dim[0], values);
}
