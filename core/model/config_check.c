/*
 * config_check.c - what no architecture can work with, said before any weight is looked at.
 *
 * Only keys that mean the same in every family are looked at; whether a family's own keys
 * are there is the architecture's to say.
 */
#include <math.h>
#include <stdlib.h>

#include <jansson.h>

#include "model/hf_config.h"

#define LAYERS_MAX 1024

/* A whole number that, where it is given, is in [1, max]; 0 stands for absent. */
static enum hone_status
positive(const struct hn_model_config *config, const char *key, int64_t max, int64_t *out,
	struct hone_error *err)
{
	enum hone_status st = hn_config_i64_or(config, key, 0, out, err);

	if (st || !hn_config_has(config, key))
		return st;
	if (*out < 1 || *out > max)
		return hone_fail_at(err, HONE_EMODEL, config->path, 0, 0,
			"\"%s\" is %lld; 1 to %lld are allowed", key, (long long)*out,
			(long long)max);
	return HONE_OK;
}

/* Limits far above every model and far below what could overflow in a product of three. */
static enum hone_status
check_sizes(const struct hn_model_config *config, struct hone_error *err)
{
	static const struct {
		const char *key;
		int64_t max;
	} sizes[] = {
		{"num_hidden_layers", LAYERS_MAX},
		{"n_layer", LAYERS_MAX},
		{"vocab_size", INT32_MAX},
		{"intermediate_size", INT32_MAX},
		{"max_position_embeddings", INT32_MAX},
		{"head_dim", 1 << 20},
	};
	enum hone_status st = HONE_OK;
	int64_t value;

	for (size_t i = 0; !st && i < sizeof sizes / sizeof sizes[0]; i++)
		st = positive(config, sizes[i].key, sizes[i].max, &value, err);
	return st;
}

/* Grouped-query attention shares one key head among heads / kv_heads heads: it must come out even.
 * With a head_dim of its own (Qwen3) the width of the model need not be a multiple. */
static enum hone_status
check_heads(const struct hn_model_config *config, struct hone_error *err)
{
	int64_t width, heads, kv_heads;
	enum hone_status st = positive(config, "hidden_size", INT32_MAX, &width, err);

	if (!st)
		st = positive(config, "num_attention_heads", INT32_MAX, &heads, err);
	if (!st)
		st = positive(config, "num_key_value_heads", INT32_MAX, &kv_heads, err);
	if (st)
		return st;
	if (width && heads && width % heads && !hn_config_has(config, "head_dim"))
		return hone_fail_at(err, HONE_EMODEL, config->path, 0, 0,
			"hidden_size %lld is no multiple of num_attention_heads %lld",
			(long long)width, (long long)heads);
	if (kv_heads && heads && (kv_heads > heads || heads % kv_heads))
		return hone_fail_at(err, HONE_EMODEL, config->path, 0, 0,
			"num_attention_heads %lld is no multiple of num_key_value_heads %lld",
			(long long)heads, (long long)kv_heads);
	return HONE_OK;
}

/* A number that, where it is given, is finite and above zero. */
static enum hone_status
check_above_zero(const struct hn_model_config *config, const char *key, struct hone_error *err)
{
	double value;
	enum hone_status st = hn_config_f64_or(config, key, 1, &value, err);

	if (!st && !(value > 0 && isfinite(value)))
		st = hone_fail_at(err, HONE_EMODEL, config->path, 0, 0,
			"\"%s\" is %g; it must be above 0", key, value);
	return st;
}

/* Whether an architecture implements the scaling is its own to say; one that nobody has heard of
 * must not be left out in silence, which is what costs others their long contexts. */
static enum hone_status
check_rope(const struct hn_model_config *config, struct hone_error *err)
{
	static const char *const known[] = {
		"default", "linear", "dynamic", "yarn", "llama3", "longrope", "su", "mrope"};
	const char *type;
	enum hone_status st = check_above_zero(config, "rope_theta", err);

	if (st || !hn_config_has(config, "rope_scaling"))
		return st;
	st = hn_config_string(config, "rope_scaling.rope_type", &type, err);
	if (st)
		return hone_fail_at(err, HONE_EMODEL, config->path, 0, 0,
			"rope_scaling does not say its rope_type");
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (hn_streq(type, known[i]))
			return check_above_zero(config, "rope_scaling.factor", err);
	return hone_fail_at(err, HONE_EMODEL, config->path, 0, 0,
		"rope_scaling of type \"%.60s\" is not known, and leaving it out would give wrong "
		"positions; known are default, linear, dynamic, yarn, llama3, longrope, mrope",
		type);
}

/* Everything here holds for every family.  Keys that are absent pass. */
enum hone_status
hn_model_config_check(const struct hn_model_config *config, struct hone_error *err)
{
	static const char *const epsilons[] = {
		"rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"};
	enum hone_status st = check_sizes(config, err);

	if (!st)
		st = check_heads(config, err);
	for (size_t i = 0; !st && i < sizeof epsilons / sizeof epsilons[0]; i++)
		st = check_above_zero(config, epsilons[i], err);
	if (!st)
		st = check_rope(config, err);
	return st;
}

/* auto_map is mentioned only here: a model that is known natively is read whether or not its
 * folder brings code. */
enum hone_status
hn_model_config_fail_unknown(const struct hn_model_config *config, const char *const *known,
	size_t n, struct hone_error *err)
{
	const char *code = hn_config_has(config, "auto_map")
		? "; the folder brings its own code (auto_map), and hone runs no "
		  "code from model repositories"
		: "";
	struct hn_str list = {0};
	const char *type, *near;

	if (hn_config_string(config, "model_type", &type, NULL))
		return hone_fail_at(err, HONE_EMODEL, config->path, 0, 0,
			"\"model_type\" is missing, so nothing says what architecture this is%s",
			code);
	near = hn_nearest(type, known, n);
	for (size_t i = 0; i < n; i++)
		hn_str_printf(&list, "%s%s", i ? ", " : "", known[i]);
	(void)hone_fail_at(err, HONE_EMODEL, config->path, 0, 0,
		"no architecture here knows the model_type \"%.60s\"%s%s%s; known are %s%s", type,
		near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "",
		list.text ? list.text : "none", code);
	hn_str_fini(&list);
	return HONE_EMODEL;
}
