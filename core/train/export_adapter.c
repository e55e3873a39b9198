/*
 * export_adapter.c - parameters as a PEFT folder: adapter_config.json, adapter_model.safetensors.
 *
 * Values leave in the row order of Hugging Face and as f32, whatever the base is; names are
 * those that the plugin declared, with the site's path in them.  After writing, every tensor
 * is read back and compared bit for bit with the engine's.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"
#include "train/export_parts.h"

/* The tensors of one instance. */
struct bundle {
	struct hn_tensor_out *tensors;
	char **names;
	float **values;
	size_t n, cap_tensors, cap_names, cap_values;
};

static bool
trains_weights(const struct hn_adapter_ref *adapter)
{
	return (adapter->vt->flags & HONE_ADAPTER_TRAINS_WEIGHTS) != 0;
}

bool
hn_export_is_model(const struct hn_adapted *of)
{
	for (uint32_t i = 0; i < of->n_adapters; i++)
		if (trains_weights(&of->adapters[i]))
			return true;
	return false;
}

static void
bundle_fini(struct bundle *bundle)
{
	for (size_t i = 0; i < bundle->n; i++) {
		free(bundle->names[i]);
		free(bundle->values[i]);
	}
	free(bundle->tensors);
	free(bundle->names);
	free(bundle->values);
}

static enum hone_status
check_finite(const struct hn_param *param, const float *values, struct hone_error *err)
{
	for (int64_t i = 0; i < param->n_elems; i++)
		if (!isfinite(values[i]))
			return hone_fail(err, HONE_ENOTFINITE,
				"'%s' holds %g at %lld; such an adapter is not written", param->key,
				(double)values[i], (long long)i);
	return HONE_OK;
}

static enum hone_status
add_param(const struct hn_adapted *of, const struct hn_param *param, struct bundle *bundle,
	struct hone_error *err)
{
	const size_t i = bundle->n;
	float *values = malloc((size_t)param->n_elems * sizeof *values);
	struct hn_tensor_out tensor = {.storage = "f32", .rank = param->spec.rank};
	enum hone_status st;

	if (!values)
		return hone_fail(err, HONE_ENOMEM, "no memory for the values of '%s'", param->key);
	bundle->tensors = hn_grow(bundle->tensors, &bundle->cap_tensors, i + 1, sizeof tensor);
	bundle->names = hn_grow(bundle->names, &bundle->cap_names, i + 1, sizeof(char *));
	bundle->values = hn_grow(bundle->values, &bundle->cap_values, i + 1, sizeof values);
	bundle->names[i] = hn_param_export_name(param);
	bundle->values[i] = values;
	bundle->n++;
	st = hn_engine_get(of->engine, HN_MEMORY_PARAMS, param, values, err);
	if (!st)
		st = check_finite(param, values, err);
	hn_param_permute(param, false, values);
	tensor.name = bundle->names[i];
	tensor.bytes = values;
	memcpy(tensor.dim, param->spec.dim, param->spec.rank * sizeof *tensor.dim);
	bundle->tensors[i] = tensor;
	return st;
}

static enum hone_status
collect(const struct hn_adapted *of, uint32_t instance, struct bundle *bundle,
	struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	for (uint32_t i = 0; i < of->params->n && !st; i++) {
		const struct hn_param *param = &of->params->list[i];

		if (param->instance_idx == instance && param->spec.export_name)
			st = add_param(of, param, bundle, err);
	}
	return st;
}

/* The file holds exactly these tensors with exactly these bytes. */
static enum hone_status
compare(const char *path, const struct bundle *bundle, struct hone_error *err)
{
	struct hn_tensor_file file = {0};
	enum hone_status st = hn_safetensors_open(&file, path, err);

	if (!st && file.n_tensors != bundle->n)
		st = hone_fail_at(err, HONE_EIO, path, 0, 0,
			"%zu tensors were written, %zu are there", bundle->n, file.n_tensors);
	for (size_t i = 0; i < bundle->n && !st; i++) {
		const struct hn_tensor_out *out = &bundle->tensors[i];
		const struct hn_tensor_info *in = NULL;

		st = hn_tensor_file_expect(&file, out->name, out->rank, out->dim, &in, err);
		if (!st &&
			(!hn_streq(in->storage, "f32") ||
				memcmp(in->bytes, out->bytes, in->n_bytes) != 0))
			st = hone_fail_at(err, HONE_EIO, path, 0, 0,
				"tensor '%s' read back is not what was written", out->name);
		hn_tensor_file_forget(&file);
	}
	hn_tensor_file_close(&file);
	return st;
}

static enum hone_status
put_config(const struct hn_adapted *of, uint32_t instance, const char *folder, bool *is_peft,
	struct hone_error *err)
{
	struct hn_model_config config = {.path = (char *)(uintptr_t)folder};
	struct hn_described described = {0};
	struct hn_str text = {0};
	enum hone_status st = hn_describe(of, instance, &described, err);

	config.stored = described.json;
	*is_peft = described.is_peft;
	if (!st)
		st = hn_model_config_render(&config, NULL, &text, err);
	if (!st)
		st = hn_folder_put(folder, "adapter_config.json", &text, err);
	hn_described_fini(&described);
	hn_str_fini(&text);
	return st;
}

/* One instance into a folder that exists. */
static enum hone_status
export_instance(const struct hn_adapted *of, uint32_t instance, const struct hn_card *card,
	const char *folder, struct hone_error *err)
{
	char *path = hn_path_join(folder, "adapter_model.safetensors");
	const struct hone_adapter_vt *vt = of->adapters[instance].vt;
	struct bundle bundle = {0};
	char type[64];
	struct hn_card_of what = {
		.type = type, .can_be_merged = HONE_HAS(vt, struct hone_adapter_vt, merge)};
	enum hone_status st = collect(of, instance, &bundle, err);

	hn_adapter_type_of(of->adapters[instance].section, type);
	if (!st && bundle.n == 0)
		st = hone_fail(err, HONE_EUNSUPPORTED, "[%s] has nothing that can be exported",
			of->adapters[instance].section);
	if (!st)
		st = hn_safetensors_write(path, bundle.tensors, bundle.n, NULL, 0, err);
	if (!st)
		st = compare(path, &bundle, err);
	if (!st)
		st = put_config(of, instance, folder, &what.is_peft, err);
	if (!st)
		st = hn_folder_put_tokenizer(of, folder, err);
	if (!st)
		st = hn_card_write(of, card, &what, folder, err);
	bundle_fini(&bundle);
	free(path);
	return st;
}

static enum hone_status
export_nested(const struct hn_adapted *of, uint32_t instance, const struct hn_card *card,
	const char *folder, struct hone_error *err)
{
	char *nested = hn_path_join(folder, of->adapters[instance].section);
	enum hone_status st = hn_dir_make(nested, err);

	if (!st)
		st = export_instance(of, instance, card, nested, err);
	free(nested);
	return st;
}

enum hone_status
hn_export_adapter(const struct hn_adapted *of, const char *dir, const struct hn_card *card,
	struct hone_error *err)
{
	struct hn_export_folder folder = {0};
	uint32_t n = 0;
	enum hone_status st = hn_folder_begin(&folder, dir, of->model, err);

	for (uint32_t i = 0; i < of->n_adapters && !st; i++) {
		if (trains_weights(&of->adapters[i]))
			continue;
		st = n++ ? export_nested(of, i, card, folder.temp, err)
			 : export_instance(of, i, card, folder.temp, err);
	}
	if (!st && n == 0)
		st = hone_fail(err, HONE_EUNSUPPORTED,
			"there is no adapter to export; what was trained are weights of the model");
	if (!st)
		return hn_folder_commit(&folder, err);
	hn_folder_abandon(&folder);
	if (err && !err->place[0])
		(void)snprintf(err->place, sizeof err->place, "%s", dir);
	return st;
}
