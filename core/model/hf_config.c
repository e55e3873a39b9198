/*
 * hf_config.c - reading config.json, and the getters.
 *
 * Two copies of the document are kept: as stored, and neutral.  Getters read the neutral
 * one; nothing of it is ever written, so an export of a Hugging Face folder has the keys
 * that the folder had.
 *
 *     transformers 5                          neutral
 *     rope_parameters.rope_theta              rope_theta
 *     rope_parameters {rope_type, factor...}  rope_scaling, unless the type is "default"
 *     dtype                                   torch_dtype
 *     rope_scaling.type (older files)         rope_scaling.rope_type
 *
 * What is there under the neutral name is never overwritten, but for rope_theta: see
 * split_rope_parameters().  Configurations that nest one
 * part per modality (text_config) are read by path: "text_config.hidden_size".
 */
#include "model/hf_config.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_BYTES_MAX (UINT64_C(16) << 20)
#define KEY_BYTES_MAX    255

/* json_decref takes NULL. */
void
hn_model_config_close(struct hn_model_config *config)
{
	json_decref(config->stored);
	json_decref(config->neutral);
	free(config->path);
	memset(config, 0, sizeof *config);
}

/* An object that says something; null and {} are as good as absent. */
static json_t *
filled(json_t *doc, const char *key)
{
	json_t *object = json_object_get(doc, key);

	return json_object_size(object) ? object : NULL;
}

/* rope_parameters {rope_theta, rope_type, ...} becomes rope_theta and rope_scaling.  Where a
 * file says a thing twice, transformers 5 decides: rope_scaling counts before rope_parameters,
 * and the rope_theta within before the one beside it.  Per-layer-type parameters (an object of
 * objects) stay as they are. */
static void
split_rope_parameters(json_t *doc)
{
	json_t *scaling = filled(doc, "rope_scaling");
	json_t *rope = scaling ? scaling : filled(doc, "rope_parameters");
	json_t *theta = json_object_get(rope, "rope_theta");
	const char *type = json_string_value(json_object_get(rope, "rope_type"));

	if (!type)
		type = json_string_value(json_object_get(rope, "type"));
	if (theta && !json_is_null(theta))
		(void)json_object_set(doc, "rope_theta", theta);
	if (scaling || !type || hn_streq(type, "default"))
		return;
	scaling = json_copy(rope);
	(void)json_object_del(scaling, "rope_theta");
	(void)json_object_set_new(doc, "rope_scaling", scaling);
}

/* What two versions of transformers spell differently, under the older name. */
static void
neutralize(json_t *doc)
{
	json_t *scaling, *dtype = json_object_get(doc, "dtype");

	split_rope_parameters(doc);
	scaling = json_object_get(doc, "rope_scaling");
	if (json_object_get(scaling, "type") && !json_object_get(scaling, "rope_type"))
		(void)json_object_set(scaling, "rope_type", json_object_get(scaling, "type"));
	if (dtype && !json_object_get(doc, "torch_dtype"))
		(void)json_object_set(doc, "torch_dtype", dtype);
}

/* Duplicate keys are refused: which of two values counts differs between JSON readers, so a
 * configuration with both means two things. */
enum hone_status
hn_model_config_parse(struct hn_model_config *config, const char *text, size_t n, const char *path,
	struct hone_error *err)
{
	struct hn_model_config made = {0};
	json_error_t where;
	enum hone_status st;

	made.stored = json_loadb(text, n, JSON_REJECT_DUPLICATES, &where);
	if (!made.stored)
		return hone_fail_at(err, HONE_EMODEL, path, where.line, where.column,
			"not JSON: %s", where.text);
	made.path = hn_strdup(path);
	if (json_is_object(made.stored)) {
		made.neutral = json_deep_copy(made.stored);
		neutralize(made.neutral);
		st = hn_model_config_check(&made, err);
	} else {
		st = hone_fail_at(
			err, HONE_EMODEL, path, 1, 1, "a model's configuration is a JSON object");
	}
	if (st)
		hn_model_config_close(&made);
	else
		*config = made;
	return st;
}

/* Bounded: no configuration has 16 MiB. */
enum hone_status
hn_model_config_open(struct hn_model_config *config, const char *path, struct hone_error *err)
{
	char *text = NULL;
	size_t n = 0;
	enum hone_status st = hn_path_check_regular(path, HONE_EMODEL, err);

	if (!st)
		st = hn_file_read(path, CONFIG_BYTES_MAX, HONE_EMODEL, &text, &n, err);
	if (!st)
		st = hn_refuse_foreign((const uint8_t *)text, n, path, err);
	if (!st)
		st = hn_model_config_parse(config, text, n, path, err);
	free(text);
	return st;
}

/* ---- getters ---- */

/* One step of a path: a member of an object, an element of a list. */
static json_t *
child(json_t *at, const char *name)
{
	int64_t idx;

	if (json_is_object(at))
		return json_object_get(at, name);
	if (!json_is_array(at) || !hn_parse_i64(name, &idx) || idx < 0)
		return NULL;
	return json_array_get(at, (size_t)idx);
}

/* NULL when absent or null. */
static json_t *
find(const struct hn_model_config *config, const char *key)
{
	json_t *at = config->neutral;

	while (at && *key) {
		const size_t len = strcspn(key, ".");
		char name[KEY_BYTES_MAX + 1];

		if (len > KEY_BYTES_MAX)
			return NULL;
		memcpy(name, key, len);
		name[len] = '\0';
		at = child(at, name);
		key += len + (key[len] == '.');
	}
	return json_is_null(at) ? NULL : at;
}

/* Filled although the caller may go on with a default: then nobody reads it. */
static enum hone_status
fail_absent(const struct hn_model_config *config, const char *key, struct hone_error *err)
{
	return hone_fail_at(err, HONE_ENOTFOUND, config->path, 0, 0, "\"%s\" is missing", key);
}

static enum hone_status
fail_type(const struct hn_model_config *config, const char *key, const char *wanted,
	struct hone_error *err)
{
	return hone_fail_at(
		err, HONE_EMODEL, config->path, 0, 0, "\"%s\" should be %s", key, wanted);
}

enum hone_status
hn_config_i64(
	const struct hn_model_config *config, const char *key, int64_t *out, struct hone_error *err)
{
	const json_t *found = find(config, key);

	if (!found)
		return fail_absent(config, key, err);
	if (!json_is_integer(found))
		return fail_type(config, key, "a whole number", err);
	*out = json_integer_value(found);
	return HONE_OK;
}

/* A whole number is a number: "rope_theta": 10000 is how most files write it. */
enum hone_status
hn_config_f64(
	const struct hn_model_config *config, const char *key, double *out, struct hone_error *err)
{
	const json_t *found = find(config, key);

	if (!found)
		return fail_absent(config, key, err);
	if (!json_is_number(found))
		return fail_type(config, key, "a number", err);
	*out = json_number_value(found);
	return HONE_OK;
}

enum hone_status
hn_config_bool(
	const struct hn_model_config *config, const char *key, bool *out, struct hone_error *err)
{
	const json_t *found = find(config, key);

	if (!found)
		return fail_absent(config, key, err);
	if (!json_is_boolean(found))
		return fail_type(config, key, "true or false", err);
	*out = json_is_true(found);
	return HONE_OK;
}

enum hone_status
hn_config_string(const struct hn_model_config *config, const char *key, const char **out,
	struct hone_error *err)
{
	const json_t *found = find(config, key);

	if (!found)
		return fail_absent(config, key, err);
	if (!json_is_string(found))
		return fail_type(config, key, "a string", err);
	*out = json_string_value(found);
	return HONE_OK;
}

/* The four *_or functions: null counts as absent, as in transformers. */
enum hone_status
hn_config_i64_or(const struct hn_model_config *config, const char *key, int64_t absent,
	int64_t *out, struct hone_error *err)
{
	if (find(config, key))
		return hn_config_i64(config, key, out, err);
	*out = absent;
	return HONE_OK;
}

enum hone_status
hn_config_f64_or(const struct hn_model_config *config, const char *key, double absent, double *out,
	struct hone_error *err)
{
	if (find(config, key))
		return hn_config_f64(config, key, out, err);
	*out = absent;
	return HONE_OK;
}

enum hone_status
hn_config_bool_or(const struct hn_model_config *config, const char *key, bool absent, bool *out,
	struct hone_error *err)
{
	if (find(config, key))
		return hn_config_bool(config, key, out, err);
	*out = absent;
	return HONE_OK;
}

enum hone_status
hn_config_string_or(const struct hn_model_config *config, const char *key, const char *absent,
	const char **out, struct hone_error *err)
{
	if (find(config, key))
		return hn_config_string(config, key, out, err);
	*out = absent;
	return HONE_OK;
}

bool
hn_config_has(const struct hn_model_config *config, const char *key)
{
	return find(config, key) != NULL;
}

/* For lists of layers' kinds, labels and the like. */
int64_t
hn_config_count(const struct hn_model_config *config, const char *key)
{
	const json_t *found = find(config, key);

	if (json_is_array(found))
		return (int64_t)json_array_size(found);
	return json_is_object(found) ? (int64_t)json_object_size(found) : -1;
}

/* *n may exceed cap; the caller sees that something was left out. */
enum hone_status
hn_config_i64s(const struct hn_model_config *config, const char *key, int64_t *out, size_t cap,
	size_t *n, struct hone_error *err)
{
	json_t *found = find(config, key);
	const bool is_list = json_is_array(found);

	*n = is_list ? json_array_size(found) : found != NULL;
	for (size_t i = 0; i < *n; i++) {
		const json_t *one = is_list ? json_array_get(found, i) : found;

		if (!json_is_integer(one))
			return fail_type(config, key, "a whole number or a list of them", err);
		if (i < cap)
			out[i] = json_integer_value(one);
	}
	return HONE_OK;
}
