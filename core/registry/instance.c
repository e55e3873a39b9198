/*
 * instance.c - a factory bound to a section and a model.
 *
 * Order: init of the plugin (once), values out of the section, create.  What a plugin says
 * when it fails gets the section as its place; a plugin that fails without a word is named.
 */
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "registry/fpstate.h"
#include "registry/registry.h"
#include "registry/sigstate.h"

/* Every key at its default, for instances without a configuration. */
static enum hone_status
fill_defaults(const struct hone_options *options, const char *section, void *values,
	struct hn_arena *arena, struct hone_error *err)
{
	const struct hn_option_ground ground = {.dir = "/", .arena = arena};

	for (uint32_t i = 0; i < options->n; i++) {
		const struct hone_option row = hn_options_at(options, i);
		struct hn_option_value value = {0};
		enum hone_status st =
			hn_option_parse(&row, row.default_value, &ground, &value, err);

		if (!st && value.is_absent && row.flags & HONE_OPTION_REQUIRED)
			st = hone_fail(
				err, HONE_ECONFIG, "%s is required; there is no default", row.key);
		if (st) {
			hone_error_while(err, "reading the defaults of [%s]", section);
			return st;
		}
		hn_option_store(&row, &value, values);
	}
	return HONE_OK;
}

/* The values of the section, in memory of the instance. */
static enum hone_status
read_values(
	struct hn_instance *instance, const struct hn_config_check *check, struct hone_error *err)
{
	const struct hone_options *options = instance->of->factory->options;
	enum hone_status st;
	void *values;

	if (!options) {
		if (check)
			hn_config_use(check->config, instance->section);
		return HONE_OK;
	}
	values = hn_arena_alloc(&instance->arena, (size_t)options->value_bytes);
	instance->values = values;
	if (!check)
		return fill_defaults(options, instance->section, values, &instance->arena, err);
	st = hn_config_read(check, instance->section, values);
	if (st == HONE_ENOTFOUND)
		return hone_fail(err, HONE_EBUG, "[%s] has no table of keys", instance->section);
	if (st && hn_diagnostics_status(check->diagnostics, err) == HONE_OK)
		return hone_fail(err, st, "[%s] cannot be read", instance->section);
	return st;
}

/* A number that no status has is a plugin's mistake, whatever was meant. */
static bool
is_status(enum hone_status st)
{
	switch ((int)st) {
#define KNOWN(name, value, exit_code, meaning) case value:
		HONE_STATUS_LIST(KNOWN)
#undef KNOWN
		return true;
	default:
		return false;
	}
}

/* Runs init and create; what they must not change in the process is put back. */
static enum hone_status
call_create(struct hn_instance *instance, struct hn_registry *registry, struct hone_error *err)
{
	const struct hone_factory *factory = instance->of->factory;
	const struct hn_services *services = hn_registry_services(registry);
	const struct hn_fp_state before = hn_fp_state_get();
	const struct hn_signal_state signals = hn_signal_state_get();
	const struct hone_host *host;
	struct hone_instance_info info = {.struct_size = sizeof info};
	struct hn_call call;
	enum hone_status st;
	char changed[128];

	info.section = instance->section;
	info.model = instance->model;
	st = hn_registry_start(registry, instance->of, &host, err);
	if (!st && factory->create) {
		hn_call_begin(&call, instance->section, "create", NULL);
		st = factory->create(host, &info, instance->values, &instance->self, err);
		hn_call_end(&call);
	} else if (!st)
		instance->self = (void *)(uintptr_t)instance->values;
	if (hn_fp_state_restore(&before, changed, sizeof changed) && services->log)
		hn_log_warn(services->log,
			"%s: plugin %s changed the floating-point state (%s); it was put back",
			instance->section, instance->of->plugin->id, changed);
	if (hn_signal_state_restore(&signals, changed, sizeof changed) && services->log)
		hn_log_warn(services->log, "%s: plugin %s changed %s; it was put back",
			instance->section, instance->of->plugin->id, changed);
	return st;
}

enum hone_status
hn_instance_create(struct hn_instance **out, struct hn_registry *registry,
	const struct hn_registered *of, const struct hn_instance_spec *spec, struct hone_error *err)
{
	struct hn_instance *instance = hn_alloc(sizeof *instance);
	struct hone_error why = {0};
	enum hone_status st;

	instance->of = of;
	instance->vt = of->factory->vt;
	instance->index = spec->index;
	instance->section = hn_arena_strdup(
		&instance->arena, spec->section ? spec->section : of->factory->name);
	instance->model = spec->model ? hn_arena_strdup(&instance->arena, spec->model) : NULL;
	st = read_values(instance, spec->check, &why);
	if (!st)
		st = call_create(instance, registry, &why);
	if (!st) {
		*out = instance;
		return HONE_OK;
	}
	if (!why.text[0])
		(void)hone_fail(&why, HONE_EPLUGIN,
			"plugin %s failed with status %d and no word; report it to its author",
			of->plugin->id, (int)st);
	if (!why.place[0])
		(void)snprintf(why.place, sizeof why.place, "[%s]", instance->section);
	st = is_status(st) ? st : HONE_EPLUGIN;
	why.status = (int32_t)st;
	if (err)
		*err = why;
	hn_arena_fini(&instance->arena);
	free(instance);
	return st;
}

void
hn_instance_destroy(struct hn_instance *instance)
{
	struct hn_call call;

	if (!instance)
		return;
	if (instance->of->factory->destroy) {
		hn_call_begin(&call, instance->section, "destroy", NULL);
		instance->of->factory->destroy(instance->self);
		hn_call_end(&call);
	}
	hn_arena_fini(&instance->arena);
	free(instance);
}
