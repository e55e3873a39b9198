/*
 * simple.c - commands that only look: version, plugins, explain, inspect.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "commands/command.h"
#include "config/explain.h"
#include "model/inspect.h"

/* ---- version ---- */

static enum hone_status
run_version(const struct hn_context *context, struct hone_error *err)
{
	(void)err;
	if (context->args->json)
		hn_str_printf(context->out,
			"{\"schema\": \"hone.version/1\", \"version\": \"%s\", \"abi\": "
			"\"%d.%d\"}\n",
			HONE_VERSION, HONE_ABI_MAJOR, HONE_ABI_MINOR);
	else
		hn_str_printf(context->out, "hone %s, plugin ABI %d.%d\n", HONE_VERSION,
			HONE_ABI_MAJOR, HONE_ABI_MINOR);
	return HONE_OK;
}

const struct hn_command_spec hn_command_version = {
	"version", "", "print the version and the plugin ABI", NULL, 0, run_version, 0};

/* ---- plugins ---- */

static const char *
role_word(const char *role)
{
	const char *dot = strchr(role, '.');

	return dot ? dot + 1 : role;
}

static void
put_json_pair(struct hn_str *out, const char *key, const char *value, const char *end)
{
	hn_str_printf(out, "\"%s\": ", key);
	hn_str_put_json(out, value, strlen(value));
	hn_str_puts(out, end);
}

static void
put_plugins_json(struct hn_str *out, const struct hn_registry *registry)
{
	const struct hn_loader_report *report = hn_registry_report(registry);
	const struct hn_registered *found;

	hn_str_puts(out, "{\"schema\": \"hone.plugins/1\", \"factories\": [");
	for (size_t i = 0; (found = hn_registry_at(registry, NULL, i)); i++) {
		hn_str_puts(out, i ? ", {" : "{");
		put_json_pair(out, "role", found->factory->role, ", ");
		put_json_pair(out, "name", found->factory->name, ", ");
		put_json_pair(out, "plugin", found->plugin->id, ", ");
		put_json_pair(out, "version", found->plugin->version, ", ");
		put_json_pair(out, "path", found->path ? found->path : "", "}");
	}
	hn_str_puts(out, "], \"refused\": [");
	for (size_t i = 0, n = 0; i < report->n; i++) {
		if (report->entries[i].state != HN_PLUGIN_REFUSED)
			continue;
		hn_str_puts(out, n++ ? ", {" : "{");
		put_json_pair(
			out, "path", report->entries[i].path ? report->entries[i].path : "", ", ");
		put_json_pair(out, "reason",
			report->entries[i].reason ? report->entries[i].reason : "", "}");
	}
	hn_str_puts(out, "], \"remarks\": [");
	for (size_t i = 0, n = 0; i < report->n; i++) {
		if (report->entries[i].state != HN_PLUGIN_LOADED || !report->entries[i].reason)
			continue;
		hn_str_puts(out, n++ ? ", {" : "{");
		put_json_pair(
			out, "path", report->entries[i].path ? report->entries[i].path : "", ", ");
		put_json_pair(out, "remark", report->entries[i].reason, "}");
	}
	hn_str_puts(out, "]}\n");
}

/* "refused: path: reason", or what is odd about a file that was loaded all the same. */
static void
put_entry(struct hn_str *out, const char *word, const struct hn_loader_entry *entry)
{
	hn_str_puts(out, word);
	hn_str_put_visible(out, entry->path ? entry->path : "", "");
	hn_str_puts(out, ": ");
	hn_str_put_visible(out, entry->reason ? entry->reason : "", "");
	hn_str_putc(out, '\n');
}

static void
put_plugins_text(struct hn_str *out, const struct hn_registry *registry)
{
	const struct hn_loader_report *report = hn_registry_report(registry);
	const struct hn_registered *found;

	for (size_t i = 0; (found = hn_registry_at(registry, NULL, i)); i++)
		hn_str_printf(out, "%-16s %-12s %s\n", role_word(found->factory->role),
			found->factory->name,
			found->factory->summary ? found->factory->summary : "");
	for (size_t i = 0; i < report->n; i++)
		if (report->entries[i].state == HN_PLUGIN_REFUSED)
			put_entry(out, "refused: ", &report->entries[i]);
		else if (report->entries[i].state == HN_PLUGIN_LOADED && report->entries[i].reason)
			put_entry(out, "remark: ", &report->entries[i]);
}

static enum hone_status
run_plugins(const struct hn_context *context, struct hone_error *err)
{
	const struct hn_run_request request = hn_context_request(context);
	struct hn_run run;
	const enum hone_status st = hn_run_open_registry(&run, &request, err);

	if (!st && context->args->json)
		put_plugins_json(context->out, run.registry);
	else if (!st)
		put_plugins_text(context->out, run.registry);
	hn_run_close(&run);
	return st;
}

const struct hn_command_spec hn_command_plugins = {"plugins", "",
	"list what was loaded, by role, and what was refused and why", NULL, 0, run_plugins,
	HN_TAKES_PLUGINS};

/* ---- explain ---- */

/* A name that no table has may be of a plugin that was not found: where it was looked for. */
static void
add_sought(const struct hn_run *run, const struct hn_config_table *tables, size_t n,
	const char *name, struct hone_error *err)
{
	const size_t len = strcspn(name, ".");
	struct hn_str sought = {0};
	bool is_known = false;

	for (size_t i = 0; i < n; i++)
		is_known |= strlen(tables[i].name) == len && memcmp(tables[i].name, name, len) == 0;
	if (is_known || !err)
		return;
	hn_str_puts(&sought, err->text);
	hn_registry_put_sought(run->registry, &sought);
	(void)hone_fail(err, HONE_EUSAGE, "%.450s; --plugin-dir DIR adds a folder", sought.text);
	hn_str_fini(&sought);
}

/* Presets are files of an installation, so no table knows them. */
static enum hone_status
explain(const struct hn_context *context, const struct hn_config_table *tables, size_t n,
	struct hone_error *err)
{
	const char *name = context->args->path;
	enum hone_status st;

	if (context->args->json)
		return hn_explain_json(tables, n, name, context->out, err);
	if (name && hn_preset_is(context->preset_dir, name))
		return hn_preset_put(context->preset_dir, name, context->out, err);
	st = hn_explain(tables, n, name, context->out, err);
	if (!st && name && (hn_streq(name, "preset") || hn_streq(name, "run.preset"))) {
		hn_str_puts(context->out, "  there are: ");
		hn_preset_list(context->preset_dir, context->out);
		hn_str_puts(context->out, "; hone explain NAME shows one\n");
	}
	return st;
}

static enum hone_status
run_explain(const struct hn_context *context, struct hone_error *err)
{
	const struct hn_run_request request = hn_context_request(context);
	const struct hn_config_table *tables;
	struct hn_run run;
	size_t n = 0;
	enum hone_status st = hn_run_open_registry(&run, &request, err);

	if (!st) {
		tables = hn_registry_explained(run.registry, &n);
		st = explain(context, tables, n, err);
		if (st && context->args->path)
			add_sought(&run, tables, n, context->args->path, err);
	}
	hn_run_close(&run);
	return st;
}

const struct hn_command_spec hn_command_explain = {"explain", "[NAME[.KEY]]",
	"explain a section of the configuration, a key of it or a plugin; list them without a name",
	NULL, 0, run_explain, HN_TAKES_PLUGINS};

/* ---- inspect ---- */

static enum hone_status
run_inspect(const struct hn_context *context, struct hone_error *err)
{
	char *adapter = hn_path_join(context->args->path, "adapter_model.safetensors");
	char *config = hn_path_join(context->args->path, "config.json");
	const bool is_adapter = hn_path_is_file(adapter) && !hn_path_is_file(config);
	const enum hone_status st = hn_inspect(
		is_adapter ? adapter : context->args->path, context->args->json, context->out, err);

	free(adapter);
	free(config);
	return st;
}

const struct hn_command_spec hn_command_inspect = {"inspect", "FILE_OR_FOLDER",
	"show format, metadata and tensors of a model file", NULL, 0, run_inspect, 0};
