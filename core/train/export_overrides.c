/*
 * export_overrides.c - an adapter_config.json as settings of an INI.
 *
 * PEFT has three ways to say which modules: a list of ends of paths, one expression over whole
 * paths, and either of them narrowed by exclude_modules and layers_to_transform.  An INI has
 * names and expressions; what is narrowed becomes one expression with look-aheads:
 *
 *     (?!<excluded>$)(?:<whole paths>|(?=<layer in the list>)<ends of paths>)
 *
 * An item that is a whole path counts in any layer, as in PEFT.
 *
 * A pattern of rank_pattern or alpha_pattern fits at any dot, so it becomes "(?:.*\.)?(?:P)".
 */
#include <ctype.h>
#include <jansson.h>
#include <limits.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "config/option.h"
#include "train/export_parts.h"

/* ---- patterns ---- */

static bool
is_regex(const char *item)
{
	return strpbrk(item, "^$()[]{}|+?*\\") != NULL;
}

static void
put_escaped(struct hn_str *out, const char *path)
{
	for (; *path; path++) {
		if (strchr("^$()[]{}|+?*\\.", *path))
			hn_str_putc(out, '\\');
		hn_str_putc(out, *path);
	}
}

bool
hn_pattern_fits(const char *pattern, const char *path)
{
	struct hn_str text = {0};
	PCRE2_SIZE offset = 0;
	pcre2_match_data *match = NULL;
	pcre2_code *regex;
	int code = 0, n = -1;

	hn_str_printf(&text, "(?:.*\\.)?(?:%s)$", pattern);
	regex = pcre2_compile(
		(PCRE2_SPTR)text.text, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED, &code, &offset, NULL);
	if (regex)
		match = pcre2_match_data_create_from_pattern(regex, NULL);
	if (match)
		n = pcre2_match(regex, (PCRE2_SPTR)path, PCRE2_ZERO_TERMINATED, 0, 0, match, NULL);
	pcre2_match_data_free(match);
	pcre2_code_free(regex);
	hn_str_fini(&text);
	return n > 0;
}

/* The items of a list, escaped, as "(?:a|b)"; false when one is no text. */
static bool
put_items(struct hn_str *out, const json_t *list)
{
	hn_str_puts(out, "(?:");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *item = json_string_value(json_array_get(list, i));

		if (!item)
			return false;
		hn_str_puts(out, i ? "|" : "");
		put_escaped(out, item);
	}
	hn_str_putc(out, ')');
	return json_array_size(list) > 0;
}

/* An expression over whole paths for a list of ends, or the expression that is given. */
static bool
put_modules(struct hn_str *out, const json_t *modules)
{
	if (json_is_string(modules)) {
		hn_str_printf(out, "(?:%s)", json_string_value(modules));
		return true;
	}
	hn_str_puts(out, "(?:.*\\.)?");
	return put_items(out, modules);
}

/* Layer numbers as "(?:0|3)". */
static bool
put_layers(struct hn_str *out, const json_t *layers)
{
	const size_t n = json_is_integer(layers) ? 1 : json_array_size(layers);

	hn_str_puts(out, "(?:");
	for (size_t i = 0; i < n; i++) {
		const json_t *layer = json_is_integer(layers) ? layers : json_array_get(layers, i);

		if (!json_is_integer(layer))
			return false;
		hn_str_printf(out, "%s%lld", i ? "|" : "", (long long)json_integer_value(layer));
	}
	hn_str_putc(out, ')');
	return n > 0;
}

/* PEFT looks at the first number of a path: lazily, and not again. */
static bool
put_layer_condition(struct hn_str *out, const json_t *layers, const json_t *pattern)
{
	const char *name = json_string_value(pattern);

	if (json_array_size(pattern) == 1)
		name = json_string_value(json_array_get(pattern, 0));
	if (json_array_size(pattern) > 1)
		return false;
	if (name)
		hn_str_printf(out, "(?=(?>(?:.*?\\.)?(?:%s)\\.(?=\\d+\\.))", name);
	else
		hn_str_puts(out, "(?=(?>.*?\\.[^.]*\\.(?=\\d+\\.))");
	if (!put_layers(out, layers))
		return false;
	hn_str_puts(out, "\\.)");
	return true;
}

static bool
is_given(const json_t *value)
{
	return value && !json_is_null(value) &&
		!(json_is_array(value) && json_array_size(value) == 0) &&
		!(json_is_string(value) && !json_string_length(value));
}

static bool
is_plain_list(const json_t *modules)
{
	if (!json_is_array(modules))
		return false;
	for (size_t i = 0; i < json_array_size(modules); i++) {
		const char *item = json_string_value(json_array_get(modules, i));

		if (!item || is_regex(item) || strchr(item, ',') || hn_streq(item, "all-linear"))
			return false;
	}
	return json_array_size(modules) > 0;
}

/* ---- values ---- */

static bool
put_list(struct hn_str *out, const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *item = json_string_value(json_array_get(list, i));

		if (!item)
			return false;
		hn_str_printf(out, "%s%s", i ? ", " : "", item);
	}
	return true;
}

/* target_modules with what narrows it; false when an INI cannot say it. */
static bool
put_targets(struct hn_str *out, const json_t *config, const json_t *targets)
{
	const json_t *excluded = json_object_get(config, "exclude_modules");
	const json_t *layers = json_object_get(config, "layers_to_transform");
	const char *all = json_string_value(targets);

	if (!is_given(excluded) && !is_given(layers)) {
		if (is_plain_list(targets))
			return put_list(out, targets);
		if (all && hn_streq(all, "all-linear")) {
			hn_str_puts(out, all);
			return true;
		}
	}
	if (all && (hn_streq(all, "all-linear") || is_given(layers)))
		return false;
	if (is_given(excluded)) {
		hn_str_puts(out, "(?!");
		if (!put_modules(out, excluded))
			return false;
		hn_str_puts(out, "$)");
	}
	if (!is_given(layers))
		return put_modules(out, targets);
	hn_str_puts(out, "(?:");
	if (!put_items(out, targets))
		return false;
	hn_str_putc(out, '|');
	if (!put_layer_condition(out, layers, json_object_get(config, "layers_pattern")) ||
		!put_modules(out, targets))
		return false;
	hn_str_putc(out, ')');
	return true;
}

static bool
put_map(struct hn_str *out, const json_t *map)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)map, key, value)
	{
		if (!json_is_number(value))
			return false;
		hn_str_puts(out, out->len ? ", " : "");
		hn_str_printf(out, is_regex(key) ? "(?:.*\\.)?(?:%s): " : "%s: ", key);
		hn_str_put_f64(out, json_number_value(value));
	}
	return json_is_object(map);
}

static bool
put_value(struct hn_str *out, const struct hone_option *option, const json_t *config,
	const json_t *value)
{
	if (option->type == HONE_OPTION_SITES)
		return put_targets(out, config, value);
	if (option->type == HONE_OPTION_SITE_MAP)
		return put_map(out, value);
	if (json_is_boolean(value))
		hn_str_puts(out,
			option->type == HONE_OPTION_BOOL ? (json_is_true(value) ? "yes" : "no")
				: json_is_true(value)    ? "true"
							 : "false");
	else if (json_is_integer(value))
		hn_str_printf(out, "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		hn_str_put_f64(out, json_real_value(value));
	else if (json_is_string(value))
		hn_str_puts(out, json_string_value(value));
	else
		return json_is_array(value) && put_list(out, value);
	return true;
}

/* How the values began does not matter to values that are read: it stays at its default. */
static bool
is_wanted(const struct hone_option *option, const json_t *value)
{
	return is_given(value) && !hn_starts_with(option->key, "init_") &&
		!(json_is_object(value) && json_object_size(value) == 0);
}

/* ---- the list ---- */

static void
add_set(struct hn_adapter_sets *sets, const char *section, const char *key, const char *value)
{
	struct hn_str text = {0};

	hn_str_printf(&text, "%s.%s=%s", section, key, value);
	sets->sets = hn_grow(sets->sets, &sets->cap, sets->n + 1, sizeof *sets->sets);
	sets->sets[sets->n++] = hn_str_take(&text);
}

static enum hone_status
add_option(struct hn_adapter_sets *sets, const struct hone_option *option, const json_t *config,
	const char *folder, struct hone_error *err)
{
	const json_t *value = json_object_get(config, option->key);
	struct hn_str text = {0};
	enum hone_status st = HONE_OK;

	if (is_wanted(option, value)) {
		if (put_value(&text, option, config, value))
			add_set(sets, sets->type, option->key, text.text ? text.text : "");
		else
			st = hone_fail_at(err, HONE_EUNSUPPORTED, folder, 0, 0,
				"adapter_config.json: an INI cannot say %s as it is there; name "
				"the "
				"modules one by one in target_modules",
				option->key);
	} else if (option->type == HONE_OPTION_SITES && !is_given(value)) {
		st = hone_fail_at(err, HONE_EUNSUPPORTED, folder, 0, 0,
			"adapter_config.json: %s is absent, and what that means differs from model "
			"to "
			"model; name the modules",
			option->key);
	}
	hn_str_fini(&text);
	return st;
}

enum hone_status
hn_adapter_type(const char *folder, char type[64], struct hone_error *err)
{
	json_t *config = NULL;
	const enum hone_status st = hn_adapter_config_read(folder, &config, err);
	const char *own = json_string_value(json_object_get(config, "hone_adapter"));
	const char *peft = json_string_value(json_object_get(config, "peft_type"));

	if (!st)
		(void)snprintf(type, 64, "%s", own ? own : peft);
	for (char *c = type; !st && !own && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	json_decref(config);
	return st;
}

enum hone_status
hn_adapter_overrides(const char *folder, const struct hone_options *options,
	struct hn_adapter_sets *out, struct hone_error *err)
{
	json_t *config = NULL;
	char *whole = realpath(folder, NULL);
	enum hone_status st;

	*out = (struct hn_adapter_sets){0};
	st = hn_adapter_type(folder, out->type, err);
	if (!st)
		st = hn_adapter_config_read(folder, &config, err);
	if (!st)
		add_set(out, "run", "adapter", out->type);
	for (uint32_t i = 0; options && i < options->n && !st; i++) {
		const struct hone_option option = hn_options_at(options, i);

		if (hn_streq(option.key, "init_from"))
			add_set(out, out->type, option.key, whole ? whole : folder);
		else
			st = add_option(out, &option, config, folder, err);
	}
	json_decref(config);
	free(whole);
	return st;
}

void
hn_adapter_sets_fini(struct hn_adapter_sets *sets)
{
	for (size_t i = 0; i < sets->n; i++)
		free(sets->sets[i]);
	free(sets->sets);
	*sets = (struct hn_adapter_sets){0};
}
