/*
 * registry.c - factories by role and name, and the plugins that they belong to.
 *
 * There are some dozens of factories, so they are a list that is walked.  The loader has seen
 * to it that role and name are unique and that no two tables of keys claim one section.
 */
#include <stdlib.h>
#include <string.h>

#include <hone/adapter.h>
#include <hone/backend.h>
#include <hone/objective.h>

#include "base/crash.h"
#include "base/str.h"
#include "config/host_options.h"
#include "registry/fpstate.h"
#include "registry/registry.h"
#include "registry/verify.h"

#define REPORT_MAX 400 /* bytes of a list in an error */
#define WORD_MAX   48

/* A plugin that is loaded, with its host. */
struct owner {
	const struct hone_plugin *plugin;
	struct hn_host host;
	bool is_started;
};

struct storage {
	const struct hn_registered *of;
	struct hn_instance *instance;
};

struct hn_registry {
	struct hn_loader_report report;
	const struct hn_services *services;
	struct hn_arena arena;
	struct owner *owners; /* one per loaded entry of the report */
	size_t n_owners;
	size_t *started; /* owners in the order of their init */
	size_t n_started;
	struct hn_registered *factories;
	size_t n;
	struct storage *storages;
	size_t n_storages, cap_storages;
	struct hn_config_table *tables;
	size_t n_tables, n_explained; /* sections, and behind them what has none */
};

static const struct hn_services no_services;

/* The roles that an INI chooses by a key of [run], and whether several can be chosen. */
static const struct {
	const char *role, *key;
	bool has_instances;
} chosen_roles[] = {
	{HONE_ROLE_ADAPTER, "adapter", true},
	{HONE_ROLE_OBJECTIVE, "objective", true},
	{HONE_ROLE_BACKEND, "backend", false},
};

/* Takes the plugins of the report over: an owner each, and their factories in one list. */
static void
collect(struct hn_registry *registry)
{
	const struct hn_loader_report *report = &registry->report;
	size_t n = 0, k = 0;

	for (size_t i = 0; i < report->n; i++) {
		registry->n_owners += report->entries[i].plugin != NULL;
		n += report->entries[i].plugin ? report->entries[i].plugin->n_factories : 0;
	}
	registry->owners =
		hn_arena_array(&registry->arena, registry->n_owners, sizeof *registry->owners);
	registry->started =
		hn_arena_array(&registry->arena, registry->n_owners, sizeof *registry->started);
	registry->factories = hn_arena_array(&registry->arena, n, sizeof *registry->factories);
	for (size_t i = 0; i < report->n; i++) {
		const struct hone_plugin *plugin = report->entries[i].plugin;

		if (!plugin)
			continue;
		registry->owners[k].plugin = plugin;
		hn_host_init(&registry->owners[k].host, registry->services, plugin->id);
		for (uint32_t f = 0; f < plugin->n_factories; f++)
			registry->factories[registry->n++] =
				(struct hn_registered){.factory = plugin->factories[f],
					.plugin = plugin,
					.path = report->entries[i].path,
					.owner = k};
		k++;
	}
}

/* "q4_0 (storage), q8_0 (storage)": what a plugin gives. */
static const char *
list_factories(struct hn_registry *registry, const struct hone_plugin *plugin)
{
	struct hn_str list = {0};
	const char *out;
	char word[WORD_MAX];

	for (uint32_t i = 0; i < plugin->n_factories; i++) {
		hn_role_word(plugin->factories[i]->role, word, sizeof word);
		hn_str_printf(
			&list, "%s%s (%s)", i ? ", " : "gives ", plugin->factories[i]->name, word);
	}
	out = hn_arena_strdup(&registry->arena, list.text);
	hn_str_fini(&list);
	return out;
}

/* A row for what `hone explain` is asked for and no section is called: behind the sections. */
static void
add_explained(struct hn_registry *registry, const char *name, const char *kind, const char *help)
{
	for (size_t i = 0; i < registry->n_explained; i++)
		if (hn_streq(registry->tables[i].name, name))
			return;
	registry->tables[registry->n_explained++] =
		(struct hn_config_table){.name = name, .kind = kind, .help = help};
}

static void
explain_rest(struct hn_registry *registry)
{
	char word[WORD_MAX];

	for (size_t i = 0; i < registry->n; i++) {
		const struct hone_factory *factory = registry->factories[i].factory;

		hn_role_word(factory->role, word, sizeof word);
		add_explained(registry, factory->name, hn_arena_strdup(&registry->arena, word),
			factory->summary);
	}
	for (size_t i = 0; i < registry->n_owners; i++)
		add_explained(registry, registry->owners[i].plugin->id, "plugin",
			list_factories(registry, registry->owners[i].plugin));
}

/* The host's tables, and one for each factory that may have a section. */
static void
make_tables(struct hn_registry *registry)
{
	size_t n_host;
	const struct hn_config_table *host = hn_host_tables(&n_host);
	struct hn_config_table *tables = hn_arena_array(
		&registry->arena, n_host + 2 * registry->n + registry->n_owners, sizeof *tables);
	size_t n = 0;

	for (size_t i = 0; i < n_host; i++)
		tables[n++] = host[i];
	for (size_t i = 0; i < registry->n; i++) {
		const struct hone_factory *factory = registry->factories[i].factory;
		struct hn_config_table table = {.name = factory->name,
			.options = factory->options,
			.help = factory->summary};

		for (size_t r = 0; r < sizeof chosen_roles / sizeof chosen_roles[0]; r++) {
			if (strcmp(chosen_roles[r].role, factory->role) != 0)
				continue;
			table.role = chosen_roles[r].key;
			table.has_instances = chosen_roles[r].has_instances;
		}
		if (table.role || table.options)
			tables[n++] = table;
	}
	registry->tables = tables;
	registry->n_tables = registry->n_explained = n;
	explain_rest(registry);
}

enum hone_status
hn_registry_create(
	struct hn_registry **out, const struct hn_registry_request *request, struct hone_error *err)
{
	struct hn_registry *registry = hn_alloc(sizeof *registry);
	enum hone_status st = HONE_OK;

	registry->services = request->services ? request->services : &no_services;
	for (size_t i = 0; i < request->n_builtins && !st; i++)
		st = hn_loader_add_builtin(&registry->report, request->builtins[i], err);
	if (st) {
		hn_registry_destroy(registry);
		return st;
	}
	hn_loader_scan(&registry->report, &request->search);
	collect(registry);
	make_tables(registry);
	*out = registry;
	return HONE_OK;
}

void
hn_registry_destroy(struct hn_registry *registry)
{
	if (!registry)
		return;
	for (size_t i = registry->n_storages; i-- > 0;)
		hn_instance_destroy(registry->storages[i].instance);
	free(registry->storages);
	for (size_t i = registry->n_started; i-- > 0;) {
		const struct hone_plugin *plugin = registry->owners[registry->started[i]].plugin;
		struct hn_call call;

		hn_call_begin(&call, plugin->id, "shutdown", NULL);
		if (plugin->shutdown)
			plugin->shutdown();
		hn_call_end(&call);
	}
	hn_loader_report_fini(&registry->report);
	hn_arena_fini(&registry->arena);
	free(registry);
}

const struct hn_loader_report *
hn_registry_report(const struct hn_registry *registry)
{
	return &registry->report;
}

const struct hn_services *
hn_registry_services(const struct hn_registry *registry)
{
	return registry->services;
}

const struct hn_registered *
hn_registry_find(const struct hn_registry *registry, const char *role, const char *name)
{
	for (size_t i = 0; i < registry->n; i++) {
		const struct hone_factory *factory = registry->factories[i].factory;

		if (strcmp(factory->name, name) == 0 && strcmp(factory->role, role) == 0)
			return &registry->factories[i];
	}
	return NULL;
}

const struct hn_registered *
hn_registry_at(const struct hn_registry *registry, const char *role, size_t i)
{
	for (size_t k = 0; k < registry->n; k++) {
		if (role && strcmp(registry->factories[k].factory->role, role) != 0)
			continue;
		if (i-- == 0)
			return &registry->factories[k];
	}
	return NULL;
}

const char *
hn_registry_nearest(const struct hn_registry *registry, const char *role, const char *name)
{
	const struct hn_registered *one;
	const char **names = NULL, *near;
	size_t n = 0, cap = 0;

	while ((one = hn_registry_at(registry, role, n))) {
		names = hn_grow(names, &cap, n + 1, sizeof *names);
		names[n++] = one->factory->name;
	}
	near = n ? hn_nearest(name, names, n) : NULL;
	free(names);
	return near;
}

void
hn_registry_put_sought(const struct hn_registry *registry, struct hn_str *out)
{
	const struct hn_loader_report *report = &registry->report;

	for (size_t i = 0; i < report->n && out->len < REPORT_MAX; i++) {
		const struct hn_loader_entry *entry = &report->entries[i];

		if (entry->state == HN_PLUGIN_REFUSED)
			hn_str_printf(out, "; refused: %.120s: %.160s", entry->path, entry->reason);
	}
	hn_str_puts(out, "; looked in");
	for (size_t i = 0; i < report->n_folders && out->len < REPORT_MAX; i++)
		hn_str_printf(out, "%s %s", i ? "," : "", report->folders[i]);
	hn_str_puts(out, report->n_folders ? "" : " no folder; say --plugin-dir");
}

/* "there are full, lora". */
static void
put_known(const struct hn_registry *registry, const char *role, struct hn_str *out)
{
	const struct hn_registered *one;
	size_t n = 0;

	while ((one = hn_registry_at(registry, role, n)) && out->len < REPORT_MAX)
		hn_str_printf(out, "%s%s", n++ ? ", " : "there are ", one->factory->name);
	if (!n)
		hn_str_puts(out, "there is none at all");
}

enum hone_status
hn_registry_need(const struct hn_registry *registry, const char *role, const char *name,
	const struct hn_registered **out, struct hone_error *err)
{
	const struct hn_registered *found = hn_registry_find(registry, role, name);
	struct hn_str known = {0};
	const char *near;
	char word[WORD_MAX];

	if (found) {
		*out = found;
		return HONE_OK;
	}
	hn_role_word(role, word, sizeof word);
	for (size_t i = 0; i < registry->report.n; i++) {
		const struct hn_loader_entry *entry = &registry->report.entries[i];

		if (entry->state == HN_PLUGIN_REFUSED && entry->id && !strcmp(entry->id, name))
			return hone_fail(err, HONE_EPLUGIN, "no %s '%.60s': %s was refused: %s",
				word, name, entry->path, entry->reason);
	}
	near = hn_registry_nearest(registry, role, name);
	if (near)
		hn_str_printf(&known, "did you mean '%s'?", near);
	else
		put_known(registry, role, &known);
	hn_registry_put_sought(registry, &known);
	(void)hone_fail(err, HONE_ECONFIG, "no %s '%.60s'; %s", word, name, known.text);
	hn_str_fini(&known);
	return HONE_ECONFIG;
}

const struct hn_config_table *
hn_registry_tables(struct hn_registry *registry, size_t *n)
{
	*n = registry->n_tables;
	return registry->tables;
}

const struct hn_config_table *
hn_registry_explained(const struct hn_registry *registry, size_t *n)
{
	*n = registry->n_explained;
	return registry->tables;
}

enum hone_status
hn_registry_storage(struct hn_registry *registry, const char *id, const struct hone_storage_vt **vt,
	const void **self, struct hone_error *err)
{
	const struct hn_registered *of = hn_registry_find(registry, HONE_ROLE_STORAGE, id);
	const struct hn_instance_spec spec = {0};
	struct hn_instance *made = NULL;
	enum hone_status st;

	if (!of)
		return hone_fail(err, HONE_ENOTFOUND,
			"no plugin reads the stored format '%.60s'; install one, or convert the "
			"model to f32 or bf16",
			id);
	for (size_t i = 0; i < registry->n_storages && !made; i++)
		if (registry->storages[i].of == of)
			made = registry->storages[i].instance;
	if (!made) {
		st = hn_instance_create(&made, registry, of, &spec, err);
		if (st)
			return st;
		registry->storages = hn_grow(registry->storages, &registry->cap_storages,
			registry->n_storages + 1, sizeof *registry->storages);
		registry->storages[registry->n_storages++] = (struct storage){of, made};
	}
	*vt = made->vt;
	*self = made->self;
	return HONE_OK;
}

enum hone_status
hn_registry_start(struct hn_registry *registry, const struct hn_registered *of,
	const struct hone_host **host, struct hone_error *err)
{
	struct owner *owner = &registry->owners[of->owner];
	enum hone_status st = HONE_OK;
	struct hn_call call;

	*host = &owner->host.table;
	if (owner->is_started)
		return HONE_OK;
	if (owner->plugin->init) {
		hn_call_begin(&call, owner->plugin->id, "init", NULL);
		st = owner->plugin->init(*host, err);
		hn_call_end(&call);
	}
	if (st)
		return st;
	owner->is_started = true;
	registry->started[registry->n_started++] = of->owner;
	return HONE_OK;
}
