/*
 * config.c - loading: three layers of text, merged, with the origin of each key.
 *
 * A value is never thrown away when a higher layer hides it: origins show both, and a key
 * that only a hidden layer misspells is still an error.  Values stand in one array in the
 * order of their layers, so "the topmost" is "the last" everywhere.  Which of `lr` and `learning_rate`
 * counts is decided where tables are known (check.c); here they are two keys.
 */
#include "config/config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "config/ini.h"

void
hn_config_destroy(struct hn_config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->n_sections; i++)
		free(config->sections[i].values);
	free(config->sections);
	free(config->values);
	free(config->read_order);
	hn_table_fini(&config->by_section);
	hn_table_fini(&config->by_key);
	hn_arena_fini(&config->arena);
	free(config);
}

/* The section of that name, added if it is new. */
static size_t
intern_section(struct hn_config *config, const char *name, struct hn_ini_place at)
{
	const uint64_t *old = hn_table_get(&config->by_section, name);
	struct hn_config_section *section;
	const char *dot = strchr(name, '.');

	if (old)
		return (size_t)*old;
	config->sections = hn_grow(config->sections, &config->cap_sections, config->n_sections + 1,
		sizeof *config->sections);
	section = &config->sections[config->n_sections];
	*section = (struct hn_config_section){.name = hn_arena_strdup(&config->arena, name)};
	section->at = at;
	section->type = section->name;
	if (dot) {
		section->type = hn_arena_strndup(&config->arena, name, (size_t)(dot - name));
		section->instance = section->name + (dot - name) + 1;
	}
	(void)hn_table_set(&config->by_section, name, config->n_sections);
	return config->n_sections++;
}

/* Adds a value over what is there; texts in `value` must outlive the configuration. */
static void
add_value(struct hn_config *config, struct hn_config_value value)
{
	struct hn_ini_place header = {.path = value.at.path};
	size_t index = intern_section(config, value.section, header);
	struct hn_config_section *section = &config->sections[index];
	char *full = hn_arena_printf(&config->arena, "%s\n%s", value.section, value.key);
	const uint64_t *old = hn_table_get(&config->by_key, full);

	/* The caller's name may be a shorter-lived copy; ours lives as long as the values. */
	value.section = section->name;
	value.before = old ? (uint32_t)*old + 1 : 0;
	config->values = hn_grow(
		config->values, &config->cap_values, config->n_values + 1, sizeof *config->values);
	config->values[config->n_values] = value;
	section->values =
		hn_grow(section->values, &section->cap, section->n + 1, sizeof *section->values);
	section->values[section->n++] = (uint32_t)config->n_values;
	section->is_given = true;
	(void)hn_table_set(&config->by_key, full, config->n_values++);
}

/* Adds all sections and keys of a parsed file as one layer. */
static void
add_layer(struct hn_config *config, const struct hn_ini *ini, enum hn_layer layer, const char *dir)
{
	struct hn_arena *arena = &config->arena;
	const char *path = hn_arena_strdup(arena, ini->path);

	for (size_t i = 0; i < ini->n_sections; i++) {
		struct hn_ini_place at = {.path = path, .line = ini->sections[i].line, .column = 1};
		size_t index = intern_section(config, ini->sections[i].name, at);

		/* Messages point into the file rather than into its preset. */
		config->sections[index].is_given = true;
		if (layer == HN_LAYER_FILE)
			config->sections[index].at = at;
	}
	for (size_t i = 0; i < ini->n; i++) {
		const struct hn_ini_item *item = &ini->items[i];

		add_value(config,
			(struct hn_config_value){
				.section = item->section,
				.key = hn_arena_strdup(arena, item->key),
				.text = hn_arena_strdup(arena, item->value),
				.layer = layer,
				.at = {path, item->line, item->column},
				.value_column = item->value_column,
				.dir = dir,
				.is_quoted = item->is_quoted,
				.is_commented = item->is_commented,
			});
	}
}

/* The absolute folder of a file, owned by the configuration. */
static const char *
absolute_dir(struct hn_config *config, const char *path)
{
	char *dir = hn_path_dir(path), *real = realpath(dir, NULL), *full, *cwd;
	const char *out;

	if (!real) { /* not there (a text without a file): the place it would have */
		cwd = getcwd(NULL, 0);
		full = hn_path_join(cwd ? cwd : "/", dir);
		out = hn_arena_strdup(&config->arena, full);
		free(full);
		free(cwd);
	} else {
		out = hn_arena_strdup(&config->arena, real);
	}
	free(real);
	free(dir);
	return out;
}

/* Whether n bytes can be a section or key: what the INI reader takes for one. */
static bool
is_name(const char *text, size_t n)
{
	return n > 0 &&
		strspn(text,
			"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			"0123456789_-.") >= n &&
		text[0] != '.' && text[n - 1] != '.' && !memmem(text, n, "..", 2);
}

void
hn_config_set(struct hn_config *config, const char *assignment, struct hn_diagnostics *diagnostics)
{
	const char *equals = strchr(assignment, '='), *dot = NULL;
	struct hone_error err = {0};
	struct hn_ini_place at = {0};

	at.path = hn_arena_printf(&config->arena, "--set %s",
		hn_clip(&config->arena, assignment, strlen(assignment)));
	if (equals)
		dot = memrchr(assignment, '.', (size_t)(equals - assignment));
	if (!dot || !is_name(assignment, (size_t)(dot - assignment)) ||
		!is_name(dot + 1, (size_t)(equals - dot) - 1)) {
		hn_diagnose(diagnostics, HN_SEVERITY_ERROR, at,
			"must read section.key=value, for example train.learning_rate=2e-4");
		return;
	}
	if (hn_ini_check_value(equals + 1, &err)) {
		hn_diagnose(diagnostics, HN_SEVERITY_ERROR, at, "%s", err.text);
		return;
	}
	/* A path typed in a shell starts where the shell is, as its completion says. */
	add_value(config,
		(struct hn_config_value){
			.section = hn_arena_strndup(
				&config->arena, assignment, (size_t)(dot - assignment)),
			.key = hn_arena_strndup(
				&config->arena, dot + 1, (size_t)(equals - dot) - 1),
			.text = hn_arena_strdup(&config->arena, equals + 1),
			.layer = HN_LAYER_SET,
			.at = at,
			.dir = absolute_dir(config, "x"),
			.is_quoted = true,
		});
}

/* The preset that the run asks for: --set before the file. */
static bool
find_preset(
	const struct hn_ini *ini, const struct hn_config_request *request, struct hn_ini_item *out)
{
	static const char key[] = "run.preset=";
	bool is_found = false;

	for (size_t i = 0; i < ini->n; i++) {
		if (hn_streq(ini->items[i].section, "run") &&
			hn_streq(ini->items[i].key, "preset")) {
			*out = ini->items[i];
			is_found = true;
		}
	}
	for (size_t i = 0; i < request->n_sets; i++) {
		if (hn_starts_with(request->sets[i], key)) {
			*out = (struct hn_ini_item){
				.path = "--set run.preset",
				.value = request->sets[i] + strlen(key),
			};
			is_found = true;
		}
	}
	return is_found;
}

/* The preset's file; NULL where a name is none.  The caller frees. */
static char *
preset_path(const char *preset_dir, const char *name)
{
	char file[NAME_MAX + 1], *path;

	if (!preset_dir || !*name || strlen(name) > 200 || strchr(name, '/'))
		return NULL;
	(void)snprintf(file, sizeof file, "%s.ini", name);
	path = hn_path_join(preset_dir, file);
	if (hn_path_is_file(path))
		return path;
	free(path);
	return NULL;
}

bool
hn_preset_is(const char *preset_dir, const char *name)
{
	char *path = preset_path(preset_dir, name);
	const bool is = path != NULL;

	free(path);
	return is;
}

void
hn_preset_list(const char *preset_dir, struct hn_str *out)
{
	struct hone_error err = {0};
	char **names = NULL;
	size_t n = 0, n_put = 0;

	if (!preset_dir || hn_dir_list(preset_dir, &names, &n, &err))
		n = 0;
	for (size_t i = 0; i < n; i++) {
		if (hn_ends_with(names[i], ".ini"))
			hn_str_printf(out, "%s%.*s", n_put++ ? ", " : "", (int)strlen(names[i]) - 4,
				names[i]);
		free(names[i]);
	}
	free(names);
	if (!n_put)
		hn_str_puts(out, "none");
}

enum hone_status
hn_preset_put(const char *preset_dir, const char *name, struct hn_str *out, struct hone_error *err)
{
	char *path = preset_path(preset_dir, name), *text = NULL;
	size_t n = 0;
	enum hone_status st = path ? hn_file_read(path, 1 << 20, HONE_ECONFIG, &text, &n, err)
				   : hone_fail(err, HONE_ENOTFOUND, "no preset '%.60s'", name);

	if (!st) {
		hn_str_printf(out, "%s (preset)\n  chosen by [run] preset = %s\n\n", name, name);
		hn_str_add(out, text, n);
	}
	free(text);
	free(path);
	return st;
}

/* Names the presets there are: what a person needs who mistyped one. */
static void
complain_unknown_preset(const char *name, const char *preset_dir, struct hn_ini_place at,
	struct hn_diagnostics *diagnostics)
{
	struct hn_str list = {0};
	struct hone_error err = {0};
	char **names = NULL;
	const char *near, *shown;
	size_t n = 0, n_names = 0;

	if (!preset_dir || hn_dir_list(preset_dir, &names, &n, &err))
		n = 0;
	/* Both the list and the nearest name are without ".ini", as one writes them. */
	for (size_t i = 0; i < n; i++) {
		if (hn_ends_with(names[i], ".ini")) {
			names[i][strlen(names[i]) - 4] = '\0';
			hn_str_printf(&list, "%s%s", n_names ? ", " : "", names[i]);
			n_names++;
		}
	}
	shown = hn_clip(&diagnostics->arena, name, strlen(name));
	near = n ? hn_nearest(name, (const char *const *)names, n) : NULL;
	if (near)
		hn_diagnose(diagnostics, HN_SEVERITY_ERROR, at,
			"[run] preset: there is no preset '%s'; did you mean '%s'?", shown, near);
	else
		hn_diagnose(diagnostics, HN_SEVERITY_ERROR, at,
			"[run] preset: there is no preset '%s'; there are: %s (or give a path "
			"that ends in .ini)",
			shown, n_names ? list.text : "none");
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
	hn_str_fini(&list);
}

/* Reads the preset file as the lowest layer.  A preset has no preset. */
static void
load_preset(struct hn_config *config, const struct hn_config_request *request,
	const struct hn_ini_item *asked, struct hn_diagnostics *diagnostics)
{
	const char *name = asked->value;
	bool is_path = strchr(name, '/') || hn_ends_with(name, ".ini");
	struct hn_ini_place at = {asked->path, asked->line, asked->value_column};
	struct hn_ini ini = {0};
	struct hone_error err = {0};
	char file[NAME_MAX + 1], *path;

	/* A name is looked up in the folder of presets, a path from where it was written. */
	(void)snprintf(file, sizeof file, "%.200s.ini", name);
	path = is_path ? hn_path_join(asked->line ? config->dir : ".", name)
		       : hn_path_join(request->preset_dir ? request->preset_dir : "", file);
	if (!is_path && (!*name || !request->preset_dir || !hn_path_is_file(path))) {
		complain_unknown_preset(name, request->preset_dir, at, diagnostics);
	} else if (hn_ini_read(&ini, path, diagnostics, &err)) {
		hn_diagnose(diagnostics, HN_SEVERITY_ERROR, at, "[run] preset: %s: %s",
			hn_clip(&config->arena, path, strlen(path)), err.text);
	} else {
		for (size_t i = 0; i < ini.n; i++)
			if (hn_streq(ini.items[i].section, "run") &&
				hn_streq(ini.items[i].key, "preset"))
				hn_diagnose(diagnostics, HN_SEVERITY_ERROR,
					(struct hn_ini_place){path, ini.items[i].line, 1},
					"a preset cannot name another preset; copy its keys");
		add_layer(config, &ini, HN_LAYER_PRESET, absolute_dir(config, path));
	}
	hn_ini_fini(&ini);
	free(path);
}

/* The preset first, then the file, then --set: each layer lies over those before. */
enum hone_status
hn_config_load(struct hn_config **out, const struct hn_config_request *request,
	struct hn_diagnostics *diagnostics, struct hone_error *err)
{
	struct hn_config *config;
	struct hn_ini_item preset = {0};
	struct hn_ini ini = {0};
	enum hone_status status;

	*out = NULL;
	if (request->text) {
		hn_ini_parse(&ini, request->path, request->text, request->text_bytes, diagnostics);
	} else {
		status = hn_ini_read(&ini, request->path, diagnostics, err);
		if (status) {
			hn_ini_fini(&ini);
			return status;
		}
	}
	/* From here on nothing fails: what is wrong is told, and the rest is there to check. */
	config = hn_alloc(sizeof *config);
	*config = (struct hn_config){0};
	config->path = hn_arena_strdup(&config->arena, request->path);
	config->dir = absolute_dir(config, request->path);
	config->is_unread = ini.is_unread;
	if (find_preset(&ini, request, &preset))
		load_preset(config, request, &preset, diagnostics);
	add_layer(config, &ini, HN_LAYER_FILE, config->dir);
	for (size_t i = 0; i < request->n_sets; i++)
		hn_config_set(config, request->sets[i], diagnostics);
	hn_ini_fini(&ini);
	*out = config;
	return HONE_OK;
}

const struct hn_config_section *
hn_config_section(const struct hn_config *config, const char *name)
{
	const uint64_t *index = hn_table_get(&config->by_section, name);

	return index && config->sections[*index].is_given ? &config->sections[*index] : NULL;
}

/* The table maps to the value that was added last, which is the topmost. */
const struct hn_config_value *
hn_config_get(const struct hn_config *config, const char *section, const char *key)
{
	struct hn_str full = {0};
	const uint64_t *index;

	hn_str_printf(&full, "%s\n%s", section, key);
	index = hn_table_get(&config->by_key, full.text);
	hn_str_fini(&full);
	return index ? &config->values[*index] : NULL;
}

void
hn_config_locate(const struct hn_config *config, const char *section, struct hone_error *err)
{
	const size_t key_bytes = strspn(err->text, "abcdefghijklmnopqrstuvwxyz0123456789_");
	const struct hn_config_section *found = hn_config_section(config, section);
	const struct hn_config_value *value = NULL;
	struct hn_ini_place at = found ? found->at : (struct hn_ini_place){.path = config->path};
	char key[HN_INI_KEY_MAX + 1], text[sizeof err->text];

	if (err->place[0])
		return;
	memcpy(text, err->text, sizeof text);
	(void)snprintf(key, sizeof key, "%.*s", (int)key_bytes, text);
	if (hn_starts_with(text + key_bytes, " = "))
		value = hn_config_get(config, section, key);
	if (value) {
		at = value->at;
		at.column = at.line ? value->value_column : 0;
	}
	(void)hone_fail_at(err, (enum hone_status)err->status, at.path ? at.path : config->path,
		at.line, at.line ? at.column : 0, "[%.60s] %.440s", section, text);
}

void
hn_config_use(struct hn_config *config, const char *section)
{
	const uint64_t *index = hn_table_get(&config->by_section, section);

	if (index)
		config->sections[*index].is_used = true;
}
