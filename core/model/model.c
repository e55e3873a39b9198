/*
 * model.c - opening a model, and matching the architecture's sites with what is stored.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "model/model.h"
#include "model/unmatched.h"

/* ---- configuration for plugins ---- */

static const struct hn_model_config *
config_of(const struct hone_model *model)
{
	return &((const struct hn_model *)(const void *)model)->checkpoint.config;
}

static enum hone_status
config_i64(const struct hone_model *model, const char *key, int64_t *out, struct hone_error *err)
{
	return hn_config_i64(config_of(model), key, out, err);
}

static enum hone_status
config_f64(const struct hone_model *model, const char *key, double *out, struct hone_error *err)
{
	return hn_config_f64(config_of(model), key, out, err);
}

static enum hone_status
config_bool(const struct hone_model *model, const char *key, int32_t *out, struct hone_error *err)
{
	bool value = false;
	const enum hone_status st = hn_config_bool(config_of(model), key, &value, err);

	if (!st)
		*out = value;
	return st;
}

static enum hone_status
config_string(
	const struct hone_model *model, const char *key, const char **out, struct hone_error *err)
{
	return hn_config_string(config_of(model), key, out, err);
}

static enum hone_status
config_array(const struct hone_model *model, const char *key, uint32_t cap, double *out,
	uint32_t *n, struct hone_error *err)
{
	const int64_t count = hn_config_count(config_of(model), key);
	char path[256];

	if (count < 0)
		return hone_fail(err, HONE_ENOTFOUND, "'%s' is no list", key);
	*n = (uint32_t)count;
	for (uint32_t i = 0; i < cap && i < *n; i++) {
		enum hone_status st;

		(void)snprintf(path, sizeof path, "%.200s.%u", key, i);
		st = hn_config_f64(config_of(model), path, &out[i], err);
		if (st)
			return st;
	}
	return HONE_OK;
}

static enum hone_status
stored_tensor(const struct hone_model *base, const char *name, uint32_t cap, double *out,
	uint32_t *n, struct hone_error *err)
{
	const struct hn_model *model = (const struct hn_model *)(const void *)base;
	const struct hn_tensor_info *tensor = hn_tensor_file_find(&model->checkpoint.tensors, name);
	const uint32_t found = tensor ? (uint32_t)tensor->n_elems : 0;
	float *values;

	if (!tensor || !hn_storage_is_host(tensor->storage) || tensor->n_elems > 65536)
		return hone_fail(err, HONE_ENOTFOUND, "no small tensor '%s'", name);
	values = hn_alloc(found * sizeof *values);
	hn_tensor_decode_host(tensor, 0, found, values);
	for (uint32_t i = 0; i < found && i < cap; i++)
		out[i] = (double)values[i];
	free(values);
	*n = found;
	return HONE_OK;
}

static const struct hone_model_vt model_vt = {
	.struct_size = sizeof model_vt,
	.config_i64 = config_i64,
	.config_f64 = config_f64,
	.config_bool = config_bool,
	.config_string = config_string,
	.config_array = config_array,
	.tensor = stored_tensor,
};

/* ---- open ---- */

enum hone_status
hn_model_open(
	struct hn_model *model, const struct hn_model_request *request, struct hone_error *err)
{
	enum hone_status st;

	memset(model, 0, sizeof *model);
	model->base.vt = &model_vt;
	model->name = hn_arena_strdup(&model->arena, request->name);
	model->is_random = request->is_random;
	model->find_storage = request->find_storage;
	model->find_ctx = request->find_ctx;
	if (request->is_random) {
		char *config = hn_path_join(request->path, "config.json");

		st = hn_model_config_open(&model->checkpoint.config, config, err);
		free(config);
		if (!st)
			model->checkpoint.path = hn_strdup(request->path);
	} else {
		st = hn_checkpoint_open(&model->checkpoint, request->path, err);
	}
	if (st)
		hn_arena_fini(&model->arena);
	return st;
}

void
hn_model_close(struct hn_model *model)
{
	hn_checkpoint_close(&model->checkpoint);
	hn_table_fini(&model->by_name);
	hn_table_fini(&model->by_place);
	free(model->sites);
	free(model->weights);
	hn_arena_fini(&model->arena);
	memset(model, 0, sizeof *model);
}

const char *
hn_model_type(const struct hn_model *model)
{
	const char *type = "";
	struct hone_error err = {0};

	(void)hn_config_string(&model->checkpoint.config, "model_type", &type, &err);
	return type;
}

bool
hn_model_is_of(const struct hn_model *model, const char *model_types)
{
	const char *type = hn_model_type(model);
	const size_t n = strlen(type);

	for (const char *at = model_types; n && at; at = strchr(at, '|')) {
		at += *at == '|';
		if (strncmp(at, type, n) == 0 && (at[n] == '|' || at[n] == '\0'))
			return true;
	}
	return false;
}

/* ---- sites ---- */

struct sink {
	struct hone_sites base;
	struct hn_model *model;
	struct hn_unmatched unmatched; /* weights of sites that the file has not, or otherwise */
};

static bool
is_gguf(const struct hn_model *model)
{
	return !model->is_random && model->checkpoint.tensors.format == HN_FILE_GGUF;
}

static enum hone_status
fill_weight(const struct hn_model *model, const struct hn_tensor_info *tensor,
	struct hn_weight *weight, struct hone_error *err)
{
	const char *path = model->checkpoint.path;

	weight->tensor = tensor;
	if (hn_streq(tensor->storage, "f32"))
		weight->dtype = HONE_DTYPE_F32;
	else if (hn_streq(tensor->storage, "bf16"))
		weight->dtype = HONE_DTYPE_BF16;
	else if (hn_streq(tensor->storage, "f16"))
		weight->dtype = HONE_DTYPE_F16;
	else
		weight->storage = model->find_storage
			? model->find_storage(
				  model->find_ctx, tensor->storage, &weight->storage_self)
			: NULL;
	if (!weight->dtype && !weight->storage)
		return hone_fail_at(err, HONE_EMODEL, path, 0, 0,
			"tensor '%s' is stored as %s, which no plugin here reads; use a file with "
			"another type (hone inspect shows them)",
			tensor->name, tensor->storage);
	return HONE_OK;
}

/* Finds the tensor <site name><suffix> and its shape, and adds it to the weights.  What is not
 * there or of another shape is an error when all sites were declared. */
static enum hone_status
add_weight(struct sink *sink, const struct hone_site_spec *spec, const char *suffix, uint32_t rank,
	const int64_t *dim, bool is_optional, int32_t *index, struct hone_error *err)
{
	struct hn_model *model = sink->model;
	const char *stem = is_gguf(model) ? spec->gguf_name : spec->name;
	const struct hn_tensor_file *file = &model->checkpoint.tensors;
	struct hn_weight weight = {.rank = rank};
	char *stored = hn_arena_printf(&model->arena, "%s%s", stem ? stem : spec->name, suffix);
	enum hone_status st = HONE_OK;

	*index = -1;
	memcpy(weight.dim, dim, rank * sizeof *dim);
	weight.name = hn_arena_printf(&model->arena, "%s%s", spec->name, suffix);
	if (model->is_random) {
		if (is_optional)
			return HONE_OK;
		weight.dtype = HONE_DTYPE_F32;
	} else {
		const struct hn_tensor_info *tensor = hn_tensor_file_find(file, stored);
		struct hone_error why = {0};

		if (!tensor && is_optional)
			return HONE_OK;
		if (hn_tensor_file_expect(file, stored, rank, dim, &tensor, &why)) {
			hn_unmatched_add(&sink->unmatched, stored, &why);
			return HONE_OK;
		}
		st = fill_weight(model, tensor, &weight, err);
	}
	if (st)
		return st;
	model->weights =
		hn_grow(model->weights, &model->cap_weights, model->n_weights + 1u, sizeof weight);
	model->weights[model->n_weights] = weight;
	*index = (int32_t)model->n_weights++;
	return HONE_OK;
}

static enum hone_status
tie(struct hn_model *model, const struct hone_site_spec *spec, struct hn_site *site,
	struct hone_error *err)
{
	const struct hn_site *owner = hn_model_site(model, spec->tied_to);

	if (!owner)
		return hone_fail(err, HONE_EBUG, "%s is tied to '%s', which is no site", spec->name,
			spec->tied_to);
	site->weight = owner->weight;
	site->tied_to = (int32_t)owner->pub.index;
	site->pub.flags |= HONE_SITE_TIED;
	return HONE_OK;
}

static enum hone_status
find_stored(struct sink *sink, const struct hone_site_spec *spec, struct hn_site *site,
	struct hone_error *err)
{
	struct hn_model *model = sink->model;
	const int64_t matrix[2] = {
		spec->kind == HONE_SITE_EMBED ? spec->in_features : spec->out_features,
		spec->kind == HONE_SITE_EMBED ? spec->out_features : spec->in_features};
	const int64_t vector = spec->out_features ? spec->out_features : spec->in_features;
	const bool is_vector = spec->kind == HONE_SITE_NORM || spec->kind == HONE_SITE_VALUE;
	enum hone_status st = HONE_OK;

	site->weight = site->bias = site->tied_to = -1;
	if (spec->kind == HONE_SITE_ATTENTION || spec->kind == HONE_SITE_STREAM)
		return HONE_OK;
	if (spec->tied_to)
		st = tie(model, spec, site, err);
	else
		st = add_weight(sink, spec, ".weight", is_vector ? 1 : 2,
			is_vector ? &vector : matrix, false, &site->weight, err);
	if (!st && (spec->flags & (HONE_SITE_HAS_BIAS | HONE_SITE_OPTIONAL_BIAS)))
		st = add_weight(sink, spec, ".bias", 1, &vector,
			(spec->flags & HONE_SITE_OPTIONAL_BIAS) != 0, &site->bias, err);
	if (site->bias >= 0)
		site->pub.flags |= HONE_SITE_HAS_BIAS;
	if (model->is_random)
		site->pub.flags |= HONE_SITE_NEW;
	return st;
}

static enum hone_status
declare_site(struct hone_sites *sites, const struct hone_site_spec *spec, struct hone_error *err)
{
	struct sink *sink = (struct sink *)(void *)sites;
	struct hn_model *model = sink->model;
	struct hn_site site = {.gguf_name = spec->gguf_name
			? hn_arena_strdup(&model->arena, spec->gguf_name)
			: NULL};
	char place[128];
	enum hone_status st;

	site.pub = (struct hone_site){.struct_size = sizeof site.pub,
		.kind = spec->kind,
		.flags = spec->flags & ~(uint32_t)HONE_SITE_OPTIONAL_BIAS,
		.layer = spec->layer,
		.name = hn_arena_strdup(&model->arena, spec->name),
		.role = hn_arena_strdup(&model->arena, spec->role),
		.tower = "text",
		.model = model->name,
		.in_features = spec->in_features,
		.out_features = spec->out_features,
		.n_heads = spec->n_heads,
		.n_kv_heads = spec->n_kv_heads,
		.head_dim = spec->head_dim,
		.row_order = is_gguf(model) ? spec->gguf_row_order : HONE_ROWS_PLAIN,
		.index = model->n_sites};
	st = find_stored(sink, spec, &site, err);
	if (st)
		return st;
	(void)snprintf(place, sizeof place, "%s/%" PRId32, spec->role, spec->layer);
	if (!hn_table_set(&model->by_name, spec->name, model->n_sites) ||
		!hn_table_set(&model->by_place, place, model->n_sites))
		return hone_fail(
			err, HONE_EBUG, "site '%s' (%s) is declared twice", spec->name, place);
	model->sites = hn_grow(model->sites, &model->cap_sites, model->n_sites + 1u, sizeof site);
	model->sites[model->n_sites++] = site;
	return HONE_OK;
}

static const struct hone_sites_vt sites_vt = {
	.struct_size = sizeof sites_vt, .declare = declare_site};

enum hone_status
hn_model_declare(struct hn_model *model, const struct hone_architecture_vt *architecture,
	const void *self, struct hone_error *err)
{
	struct sink sink = {.base = {&sites_vt}, .model = model};
	enum hone_status st = architecture->declare(self, &model->base, &sink.base, err);

	if (!st && model->n_sites == 0)
		st = hone_fail(err, HONE_EPLUGIN, "the architecture declares no site");
	if (sink.unmatched.n)
		st = hn_unmatched_finish(&sink.unmatched, err);
	else if (!st)
		st = hn_model_check_unused(model, err);
	/* What this model asks for and the architecture has not is the model's matter. */
	if (st == HONE_EUNSUPPORTED) {
		st = HONE_EMODEL;
		if (err)
			err->status = HONE_EMODEL;
	}
	if (st && err && !err->place[0])
		(void)snprintf(err->place, sizeof err->place, "%s",
			model->checkpoint.config.path ? model->checkpoint.config.path
						      : model->checkpoint.path);
	model->architecture = architecture;
	model->architecture_self = self;
	return st;
}

const struct hn_site *
hn_model_site(const struct hn_model *model, const char *name)
{
	const uint64_t *index = hn_table_get(&model->by_name, name);

	return index ? &model->sites[*index] : NULL;
}

const struct hn_site *
hn_model_site_at(const struct hn_model *model, const char *role, int32_t layer)
{
	char place[128];
	const uint64_t *index;

	(void)snprintf(place, sizeof place, "%.100s/%" PRId32, role, layer);
	index = hn_table_get(&model->by_place, place);
	return index ? &model->sites[*index] : NULL;
}

/* ---- values ---- */

int64_t
hn_weight_elems(const struct hn_weight *weight)
{
	int64_t n = 1;

	for (uint32_t i = 0; i < weight->rank; i++)
		n *= weight->dim[i];
	return n;
}

/* transformers' initial values: matrices normal, norms 1, biases 0. */
static void
initial_values(const struct hn_model *model, const struct hn_weight *weight, uint64_t seed,
	int64_t first, int64_t n, float *out)
{
	const uint64_t stream = hn_rng_stream(weight->name);
	struct hone_error err = {0};
	double range = 0.02;

	(void)hn_config_f64_or(&model->checkpoint.config, "initializer_range", 0.02, &range, &err);
	for (int64_t i = 0; i < n; i++) {
		if (weight->rank > 1)
			out[i] = (float)(range *
				hn_rng_normal(seed, stream, (uint64_t)(first + i), 0));
		else
			out[i] = hn_ends_with(weight->name, ".bias") ? 0.0f : 1.0f;
	}
}

enum hone_status
hn_weight_decode(const struct hn_model *model, const struct hn_weight *weight, uint64_t seed,
	int64_t first, int64_t n, float *out, struct hone_error *err)
{
	const void *parts[1];

	if (!weight->tensor) {
		initial_values(model, weight, seed, first, n, out);
		return HONE_OK;
	}
	if (!weight->storage) {
		hn_tensor_decode_host(weight->tensor, first, n, out);
		return HONE_OK;
	}
	if (weight->storage->n_parts != 1)
		return hone_fail(err, HONE_EUNSUPPORTED, "'%s' is stored in %u parts", weight->name,
			weight->storage->n_parts);
	parts[0] = weight->tensor->bytes;
	weight->storage->decode(weight->storage_self, parts, first, n, out);
	return HONE_OK;
}
