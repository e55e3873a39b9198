/*
 * export_import.c - a PEFT folder into the parameters of an instance.
 *
 * The instance declares what it is; the folder must say the same.  What it declares is compared
 * in the form in which it would be exported: each key that the plugin describes is sought in
 * the folder's adapter_config.json.  Keys that the plugin leaves open may differ, modules are
 * compared by the tensors, and numbers per module, because one of them may be the common value
 * here and a pattern there.  A key that the plugin does not know must not ask for anything.
 *
 * Tensors: base_model.model.<path>.lora_A.weight, or the same with the adapter's name in it
 * (".lora_A.default.weight"), as PEFT's own state_dict has it.  Parameters that are not exported
 * get the values that they begin with, which declaration and model alone decide (param_spec.c).
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"
#include "train/export_parts.h"

#define CONFIG_MAX (UINT64_C(1) << 24)

/* ---- adapter_config.json ---- */

enum hone_status
hn_adapter_config_read(const char *folder, json_t **out, struct hone_error *err)
{
	char *path = hn_path_join(folder, "adapter_config.json"), *text = NULL;
	json_error_t wrong;
	size_t n = 0;
	enum hone_status st = hn_path_check_regular(path, HONE_EMODEL, err);

	if (!st)
		st = hn_file_read(path, CONFIG_MAX, HONE_EMODEL, &text, &n, err);
	*out = st ? NULL : json_loadb(text, n, JSON_REJECT_DUPLICATES, &wrong);
	if (!st && !*out)
		st = hone_fail_at(
			err, HONE_EMODEL, path, wrong.line, wrong.column, "%.200s", wrong.text);
	if (!st && !json_is_string(json_object_get(*out, "peft_type")) &&
		!json_is_string(json_object_get(*out, "hone_adapter"))) {
		json_decref(*out);
		*out = NULL;
		st = hone_fail_at(err, HONE_EMODEL, path, 0, 0,
			"it has no peft_type and no hone_adapter; name the folder of an adapter");
	}
	free(text);
	free(path);
	return st;
}

/* A value as a person would type it. */
static const char *
print(const json_t *value, char *out, size_t n)
{
	char *text = value
		? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9))
		: NULL;

	(void)snprintf(out, n, "%s", text ? text : "absent");
	free(text);
	return out;
}

static enum hone_status
fail_key(const char *folder, const char *key, const json_t *wanted, const json_t *found,
	struct hone_error *err)
{
	char a[96], b[96];

	return hone_fail_at(err, HONE_EMODEL, folder, 0, 0,
		"adapter_config.json: %s is %s, but this run declares %s; set the same or leave "
		"the "
		"adapter away",
		key, print(found, b, sizeof b), print(wanted, a, sizeof a));
}

static bool
is_nothing(const json_t *value)
{
	return !value || json_is_null(value) || json_is_false(value) ||
		((json_is_object(value) || json_is_array(value)) && json_object_size(value) == 0 &&
			json_array_size(value) == 0);
}

static bool
is_equal(const json_t *a, const json_t *b)
{
	if (is_nothing(a) && is_nothing(b))
		return true;
	if (json_is_number(a) && json_is_number(b))
		return json_number_value(a) == json_number_value(b);
	return json_equal(a, b) != 0;
}

/* Values that the plugin refuses, by how they begin: "a|b|c". */
static enum hone_status
check_refused(const char *folder, const struct hn_described *mine, const json_t *theirs,
	struct hone_error *err)
{
	const char *key;
	json_t *rule;

	json_object_foreach(mine->refused, key, rule)
	{
		const char *value = json_string_value(json_object_get(theirs, key));
		const char *word = json_string_value(json_array_get(rule, 0));

		while (value && word && *word) {
			const size_t n = strcspn(word, "|");

			if (strncmp(value, word, n) == 0)
				return hone_fail_at(err, HONE_EUNSUPPORTED, folder, 0, 0,
					"adapter_config.json: %.60s is '%.40s': %s", key, value,
					json_string_value(json_array_get(rule, 1)));
			word += n + (word[n] == '|');
		}
	}
	return HONE_OK;
}

/* Keys of every PEFT file that say nothing about what an adapter computes: where it comes
 * from, and which modules, which the tensors say. */
static bool
is_envelope(const char *key)
{
	static const char *const keys[] = {"inference_mode", "base_model_name_or_path", "revision",
		"task_type", "auto_mapping", "exclude_modules", "ensure_weight_tying"};

	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		if (hn_streq(key, keys[i]))
			return true;
	return hn_starts_with(key, "layers_");
}

/* Whether a key is not compared as it stands: open, or compared module by module. */
static bool
is_open(const struct hn_described *mine, const char *key)
{
	const char *pattern;
	json_t *common;

	if (is_envelope(key) || json_object_get(mine->open, key))
		return true;
	json_object_foreach(mine->maps, pattern, common)
	{
		if (hn_streq(key, pattern) || hn_streq(key, json_string_value(common)))
			return true;
	}
	return false;
}

/* Unknown numbers and texts are settings of something; what switches it on is true, a list
 * or an object. */
static enum hone_status
check_unknown(const char *folder, const struct hn_described *mine, const json_t *theirs,
	struct hone_error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)theirs, key, value)
	{
		char text[96];

		if (json_object_get(mine->json, key) || is_open(mine, key) || is_nothing(value) ||
			json_is_string(value) || json_is_number(value))
			continue;
		return hone_fail_at(err, HONE_EUNSUPPORTED, folder, 0, 0,
			"adapter_config.json: %.60s = %s is not offered here; merge the adapter "
			"with "
			"PEFT and use the merged model",
			key, print(value, text, sizeof text));
	}
	return HONE_OK;
}

static enum hone_status
check_keys(const char *folder, const struct hn_described *mine, const json_t *theirs,
	struct hone_error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach(mine->json, key, value)
	{
		const json_t *found = json_object_get(theirs, key);

		if (is_open(mine, key) || is_equal(value, found) ||
			(!found && json_is_string(value) &&
				hn_streq(json_string_value(value), "none")))
			continue;
		return fail_key(folder, key, value, found, err);
	}
	return check_unknown(folder, mine, theirs, err);
}

/* ---- numbers per module ---- */

/* PEFT's look-up: the first pattern that fits the path, else the common value. */
static const json_t *
number_at(const json_t *config, const char *common, const char *pattern, const char *path)
{
	const json_t *map = json_object_get(config, pattern);
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)map, key, value)
	{
		if (hn_pattern_fits(key, path))
			return value;
	}
	return json_object_get(config, common);
}

/* One kind of number, at every module that has a parameter. */
static enum hone_status
check_map(const struct hn_adapted *to, uint32_t instance, const char *folder, const json_t *mine,
	const json_t *theirs, const char *pattern, const char *common, struct hone_error *err)
{
	for (uint32_t i = 0; i < to->params->n; i++) {
		const struct hn_param *param = &to->params->list[i];
		const char *path = param->site ? param->site->pub.name : NULL;
		const json_t *wanted, *found;
		char a[96], b[96];

		if (!path || param->instance_idx != instance)
			continue;
		wanted = number_at(mine, common, pattern, path);
		found = number_at(theirs, common, pattern, path);
		if (wanted && !is_equal(wanted, found))
			return hone_fail_at(err, HONE_EMODEL, folder, 0, 0,
				"adapter_config.json: %s at %s is %s, but this run declares %s; "
				"set "
				"the same or leave the adapter away",
				common, path, print(found, b, sizeof b),
				print(wanted, a, sizeof a));
	}
	return HONE_OK;
}

static enum hone_status
check_numbers(const struct hn_adapted *to, uint32_t instance, const char *folder,
	const struct hn_described *mine, const json_t *theirs, struct hone_error *err)
{
	enum hone_status st = HONE_OK;
	const char *pattern;
	json_t *common;

	json_object_foreach(mine->maps, pattern, common)
	{
		if (!st)
			st = check_map(to, instance, folder, mine->json, theirs, pattern,
				json_string_value(common), err);
	}
	return st;
}

static enum hone_status
check_config(
	const struct hn_adapted *to, uint32_t instance, const char *folder, struct hone_error *err)
{
	struct hn_described mine = {0};
	json_t *theirs = NULL;
	enum hone_status st = hn_adapter_config_read(folder, &theirs, err);

	if (!st)
		st = hn_describe(to, instance, &mine, err);
	if (!st)
		st = check_refused(folder, &mine, theirs, err);
	if (!st)
		st = check_keys(folder, &mine, theirs, err);
	if (!st)
		st = check_numbers(to, instance, folder, &mine, theirs, err);
	hn_described_fini(&mine);
	json_decref(theirs);
	return st;
}

/* ---- tensors ---- */

/* The name without the adapter's own: "lora_A.default.weight" -> "lora_A.weight". */
static char *
plain_name(const char *name)
{
	static const char own[] = ".default";
	const char *at = strstr(name, own);
	struct hn_str out = {0};

	if (at && (at[sizeof own - 1] == '.' || !at[sizeof own - 1])) {
		hn_str_add(&out, name, (size_t)(at - name));
		hn_str_puts(&out, at + sizeof own - 1);
	} else {
		hn_str_puts(&out, name);
	}
	return hn_str_take(&out);
}

static enum hone_status
open_tensors(struct hn_tensor_file *file, const char *folder, struct hone_error *err)
{
	char *path = hn_path_join(folder, "adapter_model.safetensors");
	char *pickle = hn_path_join(folder, "adapter_model.bin");
	enum hone_status st;

	if (!hn_path_is_file(path) && hn_path_is_file(pickle))
		st = hone_fail_at(err, HONE_EMODEL, pickle, 0, 0,
			"it is pickle, which can run code when it is read; save the adapter with "
			"safe_serialization=True");
	else
		st = hn_safetensors_open(file, path, err);
	free(path);
	free(pickle);
	return st;
}

static enum hone_status
index_tensors(const struct hn_tensor_file *file, struct hn_table *by_name, struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	for (size_t i = 0; i < file->n_tensors && !st; i++) {
		char *name = plain_name(file->tensors[i].name);

		if (!hn_table_set(by_name, name, i))
			st = hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
				"tensor '%.200s' is there with and without the adapter's name",
				name);
		free(name);
	}
	return st;
}

static enum hone_status
check_tensor(const struct hn_tensor_file *file, const struct hn_tensor_info *tensor,
	const struct hn_param *param, struct hone_error *err)
{
	const struct hone_param_spec *spec = &param->spec;
	bool is_shape = tensor->rank == spec->rank;
	struct hn_str wanted = {0}, found = {0};
	enum hone_status st = HONE_OK;

	for (uint32_t i = 0; i < spec->rank && is_shape; i++)
		is_shape = tensor->dim[i] == spec->dim[i];
	if (!is_shape) {
		hn_shape_print(&wanted, spec->rank, spec->dim);
		hn_shape_print(&found, tensor->rank, tensor->dim);
		st = hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
			"tensor '%.200s' is %s, but '%.120s' is %s", tensor->name, found.text,
			param->key, wanted.text);
	} else if (!hn_storage_is_host(tensor->storage)) {
		st = hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
			"tensor '%.200s' is stored as %s; an adapter is f32, f16 or bf16",
			tensor->name, tensor->storage);
	}
	hn_str_fini(&wanted);
	hn_str_fini(&found);
	return st ? st : hn_tensor_check_finite(file, tensor, err);
}

/* Finds the tensor of each parameter; `chosen` by parameter.  Then none may be left. */
static enum hone_status
match(const struct hn_adapted *to, uint32_t instance, const struct hn_tensor_file *file,
	const struct hn_tensor_info **chosen, struct hone_error *err)
{
	bool *used = hn_alloc(file->n_tensors + 1);
	struct hn_table by_name = {0};
	enum hone_status st = index_tensors(file, &by_name, err);

	memset(used, 0, file->n_tensors + 1);
	for (uint32_t i = 0; i < to->params->n && !st; i++) {
		const struct hn_param *param = &to->params->list[i];
		char *name, *plain;
		const uint64_t *at;

		if (param->instance_idx != instance || !param->spec.export_name)
			continue;
		name = hn_param_export_name(param);
		plain = plain_name(name);
		at = hn_table_get(&by_name, plain);
		free(plain);
		if (!at)
			st = hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
				"tensor '%.200s' is missing; this run declares it ('%.120s'), the "
				"adapter was made with other target_modules",
				name, param->key);
		else
			st = check_tensor(file, &file->tensors[*at], param, err);
		if (!st) {
			chosen[i] = &file->tensors[*at];
			used[*at] = true;
		}
		free(name);
	}
	for (size_t i = 0; i < file->n_tensors && !st; i++)
		if (!used[i])
			st = hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
				"tensor '%.200s' is none that this run declares; name its module "
				"in "
				"target_modules",
				file->tensors[i].name);
	hn_table_fini(&by_name);
	free(used);
	return st;
}

static enum hone_status
set_values(const struct hn_adapted *to, const struct hn_param *param,
	const struct hn_tensor_info *tensor, struct hone_error *err)
{
	float *values = malloc((size_t)param->n_elems * sizeof *values);
	enum hone_status st;

	if (!values)
		return hone_fail(err, HONE_ENOMEM, "no memory for the values of '%s'", param->key);
	hn_tensor_decode_host(tensor, 0, param->n_elems, values);
	hn_param_permute(param, true, values);
	st = hn_engine_set(to->engine, HN_MEMORY_PARAMS, param, values, err);
	free(values);
	return st;
}

enum hone_status
hn_import_adapter(
	const struct hn_adapted *to, uint32_t instance, const char *folder, struct hone_error *err)
{
	const struct hn_tensor_info **chosen = hn_alloc((to->params->n + 1u) * sizeof *chosen);
	struct hn_tensor_file file = {0};
	enum hone_status st = check_config(to, instance, folder, err);

	memset(chosen, 0, (to->params->n + 1u) * sizeof *chosen);
	if (!st)
		st = open_tensors(&file, folder, err);
	if (!st)
		st = match(to, instance, &file, chosen, err);
	for (uint32_t i = 0; i < to->params->n && !st; i++)
		if (chosen[i])
			st = set_values(to, &to->params->list[i], chosen[i], err);
		else if (to->params->list[i].instance_idx == instance)
			st = hn_param_start(to, &to->params->list[i], err);
	hn_tensor_file_close(&file);
	free(chosen);
	return st;
}
