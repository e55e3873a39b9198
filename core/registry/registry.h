/*
 * registry/registry.h - what there is to choose from, by role and name; and instances of it.
 *
 * A factory comes from a file (loader.h) or is linked in; the caller says which are linked
 * in, because core names no plugin.  An instance is a factory bound to a section of the
 * configuration and to a model: [lora.second] for "policy".
 *
 *     hn_registry_create    loads everything; no plugin's init has run yet
 *     hn_registry_need      a factory, or an error that says what is wrong and what is there
 *     hn_instance_create    init of its plugin (once), values from the section, create
 *     hn_registry_destroy   shutdown of the plugins, in reverse order of init
 *
 * All of it on the main thread.
 */
#ifndef HN_REGISTRY_REGISTRY_H
#define HN_REGISTRY_REGISTRY_H

#include <stdbool.h>

#include <hone/plugin.h>
#include <hone/storage.h>

#include "config/config.h"
#include "registry/host.h"
#include "registry/loader.h"

struct hn_registry;

struct hn_registry_request {
	const struct hone_plugin *const *builtins;
	size_t n_builtins;
	struct hn_loader_request search;
	const struct hn_services *services; /* outlives the registry */
};

/* One factory and where it comes from.  Owned by the registry. */
struct hn_registered {
	const struct hone_factory *factory;
	const struct hone_plugin *plugin;
	const char *path; /* NULL: linked in */
	size_t owner;     /* the plugin, among the registry's */
};

enum hone_status hn_registry_create(struct hn_registry **out,
	const struct hn_registry_request *request, struct hone_error *err);
/* After the last instance is gone.  NULL-safe. */
void hn_registry_destroy(struct hn_registry *registry);

/* What was loaded, hidden and refused, and why. */
const struct hn_loader_report *hn_registry_report(const struct hn_registry *registry);

/* The factory with this role ("hone.adapter/1") and name, NULL when there is none. */
const struct hn_registered *hn_registry_find(
	const struct hn_registry *registry, const char *role, const char *name);

/* The i-th factory of a role (NULL = of all) in the order of loading, NULL past the last. */
const struct hn_registered *hn_registry_at(
	const struct hn_registry *registry, const char *role, size_t i);

/* The name nearest to `name` among those of a role, NULL when none is near. */
const char *hn_registry_nearest(
	const struct hn_registry *registry, const char *role, const char *name);

/* As find, but absence is an error: "no adapter 'dora': ...", with the reason when a file of
 * that name was refused, else the nearest name, else what there is and where it was sought.
 * HONE_ECONFIG, or HONE_EPLUGIN when a file was refused. */
enum hone_status hn_registry_need(const struct hn_registry *registry, const char *role,
	const char *name, const struct hn_registered **out, struct hone_error *err);

/* Appends "; refused: PATH: REASON" for each file that was, and "; looked in FOLDER, ...": a name
 * that is not there is mostly in one of these, or in a folder that was not searched. */
void hn_registry_put_sought(const struct hn_registry *registry, struct hn_str *out);

/* A table of sections for core/config: hone's own, then one for each factory that an INI can
 * choose (adapters, objectives, backends) or that has keys.  Owned by the registry. */
const struct hn_config_table *hn_registry_tables(struct hn_registry *registry, size_t *n);

/* The same, and behind them what has no section but a name: factories of other roles, plugins.
 * For `hone explain`. */
const struct hn_config_table *hn_registry_explained(const struct hn_registry *registry, size_t *n);

/* The stored format with this id and what to pass as its self; made once and kept.
 * HONE_ENOTFOUND (ordinary) when there is none.  f32, bf16 and f16 are the host's own. */
enum hone_status hn_registry_storage(struct hn_registry *registry, const char *id,
	const struct hone_storage_vt **vt, const void **self, struct hone_error *err);

struct hn_instance {
	const struct hn_registered *of;
	const char *section; /* "lora.second": prefix of its names */
	const char *model;   /* "policy", NULL: belongs to none */
	uint32_t index;      /* the caller's: position in the list of the INI */
	void *self;
	const void *vt;        /* the role's table, of->factory->vt */
	const void *values;    /* the struct that of->factory->options describes; NULL: none */
	struct hn_arena arena; /* of values and texts */
};

struct hn_instance_spec {
	const char *section; /* copied; NULL = the factory's name */
	const char *model;   /* copied, or NULL */
	uint32_t index;
	/* Configuration to read the section from, where the host writes its findings; its texts
	 * must outlive the instance.  NULL = every key at its default. */
	const struct hn_config_check *check;
};

/* Makes an instance.  On failure nothing is left.  A plugin that changes the floating-point
 * state is named in a warning, and the state is put back. */
enum hone_status hn_instance_create(struct hn_instance **out, struct hn_registry *registry,
	const struct hn_registered *of, const struct hn_instance_spec *spec,
	struct hone_error *err);
void hn_instance_destroy(struct hn_instance *instance); /* NULL-safe */

/* For instance.c: runs the plugin's init if it has not run, and gives its host. */
enum hone_status hn_registry_start(struct hn_registry *registry, const struct hn_registered *of,
	const struct hone_host **host, struct hone_error *err);

/* For instance.c: the services that the registry was created with. */
const struct hn_services *hn_registry_services(const struct hn_registry *registry);

#endif
