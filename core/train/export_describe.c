/*
 * export_describe.c - the adapter_config.json: what the plugin says, and what PEFT needs.
 *
 * The plugin fills a struct hone_export; sites become target_modules, numbers per site become
 * patterns.  Numbers without a fraction are written as integers, because PEFT makes shapes of
 * ranks.  Of PEFT's many keys only those are written that all its versions know: it warns of
 * others, and fills in absent ones.
 *
 *     peft_type     put by the plugin: PEFT knows the technique, and its envelope stands around it
 *     hone_adapter  put by the host where there is none: the plugin that reads the folder
 *
 * hone reads its own folders by making an INI of them.  So where a plugin without peft_type has
 * no describe() the host writes all of its options, and where it has one, the sites that it left
 * out, because no default stands for them.
 */
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "config/option.h"
#include "train/export_parts.h"

struct doc {
	struct hone_export base; /* first: a plugin's struct hone_export * is this */
	const struct hn_model *model;
	bool *adapted; /* by site: the instance has a parameter there */
	json_t *json;
	struct hn_described *rules;
	const char *wrong; /* the first key whose value JSON cannot hold */
};

static void
put(struct hone_export *base, const char *key, json_t *value)
{
	struct doc *doc = (struct doc *)(void *)base;

	if ((!key || json_object_set_new(doc->json, key, value)) && !doc->wrong)
		doc->wrong = key ? key : "(no name)";
}

static json_t *
number(double value)
{
	const bool is_whole = value == floor(value) && fabs(value) < 9e15;

	return is_whole ? json_integer((json_int_t)value) : json_real(value);
}

static void
put_string(struct hone_export *doc, const char *key, const char *value)
{
	if (key && value && hn_streq(key, "peft_type"))
		((struct doc *)(void *)doc)->rules->is_peft = true;
	put(doc, key, value ? json_string(value) : json_null());
}

static void
put_f64(struct hone_export *doc, const char *key, double value)
{
	put(doc, key, number(value));
}

static void
put_i64(struct hone_export *doc, const char *key, int64_t value)
{
	put(doc, key, json_integer(value));
}

static void
put_bool(struct hone_export *doc, const char *key, int32_t value)
{
	put(doc, key, json_boolean(value));
}

static void
put_null(struct hone_export *doc, const char *key)
{
	put(doc, key, json_null());
}

static void
leave_open(struct hone_export *base, const char *key)
{
	(void)json_object_set_new(((struct doc *)(void *)base)->rules->open, key, json_true());
}

static int
by_name(const void *a, const void *b)
{
	const struct hn_named *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* A path as a regular expression for itself. */
static void
put_escaped(struct hn_str *out, const char *path)
{
	for (; *path; path++) {
		if (!isalnum((unsigned char)*path) && *path != '_')
			hn_str_putc(out, '\\');
		hn_str_putc(out, *path);
	}
}

/* target_modules as one expression over whole paths: for sites that no list of ends names. */
static json_t *
sites_as_regex(const struct hn_model *model, const double *values)
{
	struct hn_str text = {0};
	json_t *json;

	for (uint32_t i = 0; i < model->n_sites; i++) {
		if (isnan(values[i]))
			continue;
		hn_str_puts(&text, text.len ? "|" : "(?:");
		put_escaped(&text, model->sites[i].pub.name);
	}
	hn_str_putc(&text, ')');
	json = json_string(text.text);
	hn_str_fini(&text);
	return json;
}

static void
put_sites(struct hone_export *base, const char *key, const struct hone_site_set *set)
{
	const struct hn_model *model = ((struct doc *)(void *)base)->model;
	double *values = hn_alloc((model->n_sites + 1u) * sizeof *values);
	struct hn_arena arena = {0};
	struct hn_named *names;
	json_t *json;
	size_t n;

	for (uint32_t i = 0; i < model->n_sites; i++)
		values[i] = hone_site_set_has(set, &model->sites[i].pub) ? 1.0 : (double)NAN;
	if (hn_sites_name(model, values, NULL, &arena, &names, &n)) {
		if (n)
			qsort(names, n, sizeof *names, by_name);
		json = json_array();
		for (size_t i = 0; i < n; i++)
			(void)json_array_append_new(json, json_string(names[i].name));
	} else {
		json = sites_as_regex(model, values);
	}
	put(base, key, json);
	leave_open(base, key); /* the tensors say which sites they are */
	free(names);
	free(values);
	hn_arena_fini(&arena);
}

/* Whole paths, anchored: a pattern that names one site whatever else ends like it. */
static void
map_by_paths(json_t *json, const struct hn_model *model, const double *values, double common)
{
	for (uint32_t i = 0; i < model->n_sites; i++) {
		struct hn_str text = {0};

		if (isnan(values[i]) || values[i] == common)
			continue;
		hn_str_putc(&text, '^');
		put_escaped(&text, model->sites[i].pub.name);
		(void)json_object_set_new(json, text.text, number(values[i]));
		hn_str_fini(&text);
	}
}

/* Only sites with parameters count: PEFT looks a pattern up for nothing else. */
static void
put_map(struct hone_export *base, const char *key, const struct hone_site_map *map,
	const char *common_key, double common)
{
	const struct doc *doc = (struct doc *)(void *)base;
	const struct hn_model *model = doc->model;
	double *values = hn_alloc((model->n_sites + 1u) * sizeof *values);
	json_t *json = json_object();
	struct hn_arena arena = {0};
	struct hn_named *names = NULL;
	bool is_named;
	size_t n = 0;

	for (uint32_t i = 0; i < model->n_sites; i++) {
		values[i] = hone_site_map_get(map, &model->sites[i].pub, common);
		if (!doc->adapted[i] || values[i] == common)
			values[i] = (double)NAN;
	}
	is_named = hn_sites_name(model, values, doc->adapted, &arena, &names, &n);
	if (n)
		qsort(names, n, sizeof *names, by_name);
	for (size_t i = 0; is_named && i < n; i++)
		(void)json_object_set_new(json, names[i].name, number(names[i].value));
	if (!is_named)
		map_by_paths(json, model, values, common);
	put(base, key, json);
	(void)json_object_set_new(doc->rules->maps, key, json_string(common_key));
	free(names);
	free(values);
	hn_arena_fini(&arena);
}

static void
refuse(struct hone_export *base, const char *key, const char *words, const char *why)
{
	(void)json_object_set_new(
		((struct doc *)(void *)base)->rules->refused, key, json_pack("[s, s]", words, why));
}

static const struct hone_export_vt export_vt = {
	.struct_size = sizeof export_vt,
	.put_string = put_string,
	.put_f64 = put_f64,
	.put_i64 = put_i64,
	.put_bool = put_bool,
	.put_null = put_null,
	.put_sites = put_sites,
	.put_map = put_map,
	.leave_open = leave_open,
	.refuse = refuse,
};

void
hn_adapter_type_of(const char *section, char type[64])
{
	const char *dot = strchr(section, '.');

	(void)snprintf(type, 64, "%.*s", dot ? (int)(dot - section) : 63, section);
}

static void
put_absent(struct doc *doc, const char *key, json_t *value)
{
	if (json_object_get(doc->json, key))
		json_decref(value);
	else
		put(&doc->base, key, value);
}

/* What belongs to no technique; the plugin's own word comes first.  PEFT's envelope is for
 * PEFT: a folder that it cannot load does not look as if it could. */
static void
put_general(struct doc *doc, const char *section)
{
	char type[64], *base = hn_base_name(doc->model);

	put_absent(doc, "base_model_name_or_path", json_string(base));
	free(base);
	if (doc->rules->is_peft) {
		put_absent(doc, "auto_mapping", json_null());
		put_absent(doc, "revision", json_null());
		put_absent(doc, "task_type", json_string("CAUSAL_LM"));
		put_absent(doc, "inference_mode", json_true());
		return;
	}
	hn_adapter_type_of(section, type);
	put_string(&doc->base, "hone_adapter", type);
}

/* ---- options as the INI has them ---- */

static json_t *
json_of_list(const struct hone_strings *list)
{
	json_t *json = json_array();

	for (int64_t i = 0; i < list->n; i++)
		(void)json_array_append_new(json, json_string(list->items[i]));
	return json;
}

static json_t *
json_of_choice(const char *choices, int32_t index)
{
	for (; index > 0 && strchr(choices, '|'); index--)
		choices = strchr(choices, '|') + 1;
	return json_stringn(choices, strcspn(choices, "|"));
}

/* The types of hone/option.h; sites and maps have words of their own. */
static void
put_option(struct doc *doc, const struct hone_option *option, const void *values)
{
	const void *at = (const uint8_t *)values + option->offset;
	const char *const *text = at;

	switch (option->type) {
	case HONE_OPTION_BOOL:
		put_bool(&doc->base, option->key, *(const int32_t *)at);
		break;
	case HONE_OPTION_I64:
	case HONE_OPTION_BYTES:
		put_i64(&doc->base, option->key, *(const int64_t *)at);
		break;
	case HONE_OPTION_F64:
		put_f64(&doc->base, option->key, *(const double *)at);
		break;
	case HONE_OPTION_STRING:
	case HONE_OPTION_PATH:
		put(&doc->base, option->key, *text ? json_string(*text) : json_null());
		break;
	case HONE_OPTION_CHOICE:
		put(&doc->base, option->key, json_of_choice(option->choices, *(const int32_t *)at));
		break;
	case HONE_OPTION_LIST:
		put(&doc->base, option->key, json_of_list(at));
		break;
	case HONE_OPTION_SITES:
		put_sites(&doc->base, option->key, *(const struct hone_site_set *const *)at);
		break;
	case HONE_OPTION_SITE_MAP: /* no number is common to the sites that it leaves out */
		put_map(&doc->base, option->key, *(const struct hone_site_map *const *)at, "",
			(double)NAN);
		break;
	default:
		break;
	}
}

/* Where the values come from does not say what they compute. */
static void
put_said(struct doc *doc, const struct hn_adapter_said *said, bool only_sites)
{
	for (uint32_t i = 0; said->options && said->values && i < said->options->n; i++) {
		const struct hone_option option = hn_options_at(said->options, i);

		if ((only_sites && option.type != HONE_OPTION_SITES) ||
			hn_starts_with(option.key, "init_") ||
			json_object_get(doc->json, option.key))
			continue;
		put_option(doc, &option, said->values);
		if (option.flags & HONE_OPTION_RUNTIME)
			leave_open(&doc->base, option.key);
	}
}

static int
by_text(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

static json_t *
sorted(json_t *json)
{
	const char **keys = hn_alloc((json_object_size(json) + 1) * sizeof *keys), *key;
	json_t *out = json_object(), *value;
	size_t n = 0;

	json_object_foreach(json, key, value)
	{
		keys[n++] = key;
	}
	qsort(keys, n, sizeof *keys, by_text);
	for (size_t i = 0; i < n; i++)
		(void)json_object_set(out, keys[i], json_object_get(json, keys[i]));
	free(keys);
	return out;
}

enum hone_status
hn_describe(const struct hn_adapted *of, uint32_t instance, struct hn_described *out,
	struct hone_error *err)
{
	const struct hn_adapter_ref *adapter = &of->adapters[instance];
	struct doc doc = {
		.base = {&export_vt}, .model = of->model, .json = json_object(), .rules = out};
	enum hone_status st = HONE_OK;
	struct hn_call under_way;
	bool is_silent = true;

	*out = (struct hn_described){NULL, json_object(), json_object(), json_object(), false};
	doc.adapted = hn_alloc(of->model->n_sites + 1u);
	memset(doc.adapted, 0, of->model->n_sites + 1u);
	for (uint32_t i = 0; i < of->params->n; i++)
		if (of->params->list[i].instance_idx == instance && of->params->list[i].site)
			doc.adapted[of->params->list[i].site->pub.index] = true;
	if (HONE_HAS(adapter->vt, struct hone_adapter_vt, describe)) {
		is_silent = false;
		hn_call_begin(&under_way, adapter->section, "describe", NULL);
		st = adapter->vt->describe(adapter->self, &doc.base, err);
		hn_call_end(&under_way);
	}
	if (!st && !out->is_peft)
		put_said(&doc, &of->said[instance], !is_silent);
	if (!st)
		put_general(&doc, adapter->section);
	if (!st && doc.wrong)
		st = hone_fail(err, HONE_EPLUGIN,
			"[%s] describes '%s' with a value that JSON cannot hold", adapter->section,
			doc.wrong);
	if (!st)
		out->json = sorted(doc.json);
	json_decref(doc.json);
	free(doc.adapted);
	return st;
}

void
hn_described_fini(struct hn_described *described)
{
	json_decref(described->json);
	json_decref(described->maps);
	json_decref(described->open);
	json_decref(described->refused);
	*described = (struct hn_described){0};
}
