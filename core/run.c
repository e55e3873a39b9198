/*
 * run.c - the pipeline, one stage after the other.
 *
 * Each stage takes what the ones before it froze and adds its own.  Errors of the
 * configuration are collected and printed together before the model is opened.
 */
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "base/file.h"
#include "model/recode.h"
#include "run.h"

/* ---- registry ---- */

static enum hone_status
stage_registry(struct hn_run *run, struct hone_error *err)
{
	const struct hn_run_request *request = run->request;
	const struct hn_registry_request wanted = {.builtins = request->builtins,
		.n_builtins = request->n_builtins,
		.search = {.dirs = request->plugin_dirs, .n_dirs = request->n_plugin_dirs},
		.services = &run->services};

	for (size_t i = 0; i < request->n_plugin_dirs; i++)
		if (!hn_path_is_dir(request->plugin_dirs[i]))
			return hone_fail_at(err, HONE_EUSAGE, request->plugin_dirs[i], 0, 0,
				"--plugin-dir: there is no such folder");
	return hn_registry_create(&run->registry, &wanted, err);
}

/* ---- config ---- */

struct hn_config_check
hn_run_check(struct hn_run *run)
{
	struct hn_config_check check = {.config = run->config, .diagnostics = &run->diagnostics};

	check.tables = hn_registry_tables(run->registry, &check.n_tables);
	return check;
}

/* The factory's name of an instance: "lora" of "lora.second". */
static const char *
type_of(const char *section, char *out, size_t n)
{
	const char *dot = strchr(section, '.');

	(void)snprintf(out, n, "%.*s", dot ? (int)(dot - section) : (int)strlen(section), section);
	return out;
}

/* A role whose name means nothing leaves nothing to say about the sections of the others. */
static void
forgive_sections(struct hn_run *run, const struct hn_config_check *check, const char *key)
{
	for (size_t i = 0; i < run->config->n_sections; i++) {
		const char *name = run->config->sections[i].name;
		const struct hn_config_table *table = hn_config_table(check, name);

		if (table && table->role && hn_streq(table->role, key))
			hn_config_use(run->config, name);
	}
}

static void
check_section(struct hn_run *run, const struct hn_config_check *check, const char *role,
	const char *key, const char *section)
{
	const struct hn_registered *found = NULL;
	const struct hn_config_value *value = hn_config_get(run->config, "run", key);
	struct hone_error err = {0};
	char type[64];
	enum hone_status st = hn_registry_need(
		run->registry, role, type_of(section, type, sizeof type), &found, &err);

	if (st) {
		const struct hn_ini_place at = value ? value->at : (struct hn_ini_place){0};

		run->is_plugin_refused |= st == HONE_EPLUGIN;
		if (hn_preset_is(run->request->preset_dir, section))
			hn_diagnose(&run->diagnostics, HN_SEVERITY_ERROR, at,
				"[run] %s = %s: %s is a preset: write [run] preset = %s", key,
				section, section, section);
		else
			hn_diagnose(&run->diagnostics, HN_SEVERITY_ERROR, at, "[run] %s = %s: %s",
				key, section, err.text);
		hn_config_use(run->config, section);
		forgive_sections(run, check, key);
		return;
	}
	if (hn_config_read(check, section, NULL) == HONE_ENOTFOUND)
		hn_config_use(run->config, section);
}

static void
print_diagnostics(const struct hn_run *run)
{
	struct hn_str line = {0};

	for (size_t i = 0; i < run->diagnostics.n; i++) {
		hn_str_clear(&line);
		hn_diagnostic_format(&run->diagnostics.items[i], &line);
		hn_log_info(run->log, "%s", line.text);
	}
	hn_str_fini(&line);
}

/* Reads the host's sections and those of the chosen instances; all errors at once. */
static enum hone_status
stage_config(struct hn_run *run, struct hone_error *err)
{
	const struct hn_run_request *request = run->request;
	const struct hn_config_request wanted = {.path = request->path,
		.text = request->text,
		.text_bytes = request->text ? strlen(request->text) : 0,
		.sets = request->sets,
		.n_sets = request->n_sets,
		.preset_dir = request->preset_dir};
	enum hone_status st = hn_config_load(&run->config, &wanted, &run->diagnostics, err);
	struct hn_config_check check;

	if (st)
		return st;
	check = hn_run_check(run);
	(void)hn_host_options_read(&check, &run->options);
	for (int64_t i = 0; i < run->options.run.adapter.n; i++)
		check_section(run, &check, "hone.adapter/1", "adapter",
			run->options.run.adapter.items[i]);
	for (int64_t i = 0; i < run->options.run.objective.n; i++)
		check_section(run, &check, "hone.objective/1", "objective",
			run->options.run.objective.items[i]);
	if (run->options.run.backend)
		check_section(run, &check, "hone.backend/1", "backend", run->options.run.backend);
	hn_config_finish(&check);
	hn_diagnostics_sort(&run->diagnostics);
	print_diagnostics(run);
	st = hn_diagnostics_status(&run->diagnostics, err);
	if (st && run->is_plugin_refused)
		st = HONE_EPLUGIN;
	if (st && run->log->stream && !run->log->is_quiet && err)
		err->text[0] = '\0'; /* it stands above with the others */
	return st;
}

/* ---- model ---- */

static const struct hone_storage_vt *
find_storage(void *ctx, const char *id, const void **self)
{
	const struct hone_storage_vt *vt = NULL;

	return hn_registry_storage(ctx, id, &vt, self, NULL) ? NULL : vt;
}

/* The architecture plugin that builds this model's type. */
static const struct hn_registered *
find_architecture(const struct hn_run *run)
{
	const struct hn_registered *found;

	for (size_t i = 0; (found = hn_registry_at(run->registry, HONE_ROLE_ARCHITECTURE, i));
		i++) {
		const struct hone_architecture_vt *vt = found->factory->vt;

		if (hn_model_is_of(&run->model, vt->model_types))
			return found;
	}
	return NULL;
}

static enum hone_status
fail_unknown_model(const struct hn_run *run, struct hone_error *err)
{
	const char *names[64];
	const struct hn_registered *found;
	size_t n = 0;

	for (size_t i = 0;
		n < 64 && (found = hn_registry_at(run->registry, HONE_ROLE_ARCHITECTURE, i)); i++)
		names[n++] = ((const struct hone_architecture_vt *)found->factory->vt)->model_types;
	return hn_model_config_fail_unknown(&run->model.checkpoint.config, names, n, err);
}

/* Every token must have a row; more rows than tokens are padding. */
static enum hone_status
check_vocabulary(const struct hn_run *run, struct hone_error *err)
{
	const struct hn_site *embed = hn_model_site_at(&run->model, "embed.token", -1);
	const int32_t n = hn_tokenizer_vocab_size(run->tokenizer);

	if (!embed || n <= embed->pub.in_features)
		return HONE_OK;
	return hone_fail_at(err, HONE_EMODEL, run->model.checkpoint.path, 0, 0,
		"the tokenizer has %d tokens, the embeddings have %lld rows; use the tokenizer "
		"that belongs to this model",
		(int)n, (long long)embed->pub.in_features);
}

/* Errors of [model] storage stand at its line. */
static enum hone_status
fail_storage(const struct hn_run *run, enum hone_status st, struct hone_error *err)
{
	const struct hn_config_value *value = hn_config_get(run->config, "model", "storage");
	const struct hone_error why = *err;

	if (!value)
		return st;
	return hone_fail_at(err, st, value->at.path, value->at.line, value->at.column,
		"[model] storage = %s: %s", run->options.model.storage, why.text);
}

/* "native, f32, bf16, nf4": the forms that weights can be kept in. */
static enum hone_status
check_storage(const struct hn_run *run, struct hone_error *err)
{
	const char *names[64] = {"native", "f32", "bf16"}, *near;
	const char *asked = run->options.model.storage;
	const struct hn_registered *found;
	struct hn_str list = {0};
	size_t n = 3;

	for (size_t i = 0; n < 64 && (found = hn_registry_at(run->registry, HONE_ROLE_STORAGE, i));
		i++)
		if (HONE_HAS((const struct hone_storage_vt *)found->factory->vt,
			    struct hone_storage_vt, encode))
			names[n++] = found->factory->name;
	for (size_t i = 0; i < n; i++) {
		if (hn_streq(asked, names[i]))
			return HONE_OK;
		hn_str_printf(&list, "%s%s", i ? ", " : "", names[i]);
	}
	near = hn_nearest(asked, names, n);
	if (!hn_registry_find(run->registry, HONE_ROLE_STORAGE, asked))
		(void)hone_fail(err, HONE_ECONFIG, "no storage '%.60s'%s%s%s%s", asked,
			near ? "; did you mean '" : "; there are ", near ? near : list.text,
			near ? "'? There are " : "", near ? list.text : "");
	else
		(void)hone_fail(err, HONE_ECONFIG,
			"%s is only read, not written; native leaves weights as the file has them, "
			"and there are %s",
			asked, list.text);
	hn_str_fini(&list);
	return HONE_ECONFIG;
}

/* Weights that are kept in another form than the file's. */
static enum hone_status
keep_weights(struct hn_run *run, struct hone_error *err)
{
	struct hone_error why = {0};
	enum hone_status st = check_storage(run, &why);

	if (!st)
		st = hn_model_keep(
			&run->model, run->options.model.storage, run->services.pool, &why);
	if (!st)
		return HONE_OK;
	*err = why;
	return fail_storage(run, st, err);
}

static enum hone_status
stage_model(struct hn_run *run, struct hone_error *err)
{
	const struct hn_model_options *options = &run->options.model;
	const struct hn_model_request wanted = {.name = "policy",
		.path = options->path,
		.is_random = options->init == HN_MODEL_INIT_RANDOM,
		.find_storage = find_storage,
		.find_ctx = run->registry};
	const struct hn_instance_spec spec = {.model = "policy"};
	const struct hn_registered *found;
	enum hone_status st = hn_model_open(&run->model, &wanted, err);

	if (st)
		return st;
	run->has_model = true;
	found = find_architecture(run);
	if (!found)
		return fail_unknown_model(run, err);
	st = hn_instance_create(&run->architecture, run->registry, found, &spec, err);
	if (!st)
		st = hn_model_declare(
			&run->model, run->architecture->vt, run->architecture->self, err);
	if (!st)
		st = keep_weights(run, err);
	if (!st)
		st = hn_vocabulary_open(&run->tokenizer, &run->model, err);
	return st ? st : check_vocabulary(run, err);
}

/* ---- backend ---- */

static enum hone_status
open_device(struct hn_run *run, struct hn_instance *instance, struct hone_error *err)
{
	const struct hone_backend_vt *vt = instance->vt;
	struct hn_device *device = &run->devices[run->n_devices];
	struct hn_call call;
	uint32_t n = 0;
	enum hone_status st;

	hn_call_begin(&call, instance->section, "device_count", NULL);
	st = vt->device_count(instance->self, &n, err);
	hn_call_end(&call);
	if (!st && n == 0)
		st = hone_fail(err, HONE_EDEVICE,
			"backend '%s' finds no device here; [run] backend = reference always runs",
			instance->section);
	if (!st) {
		hn_call_begin(&call, instance->section, "open", NULL);
		st = vt->open(instance->self, 0, &device->device, err);
		hn_call_end(&call);
	}
	if (st)
		return st;
	device->vt = vt;
	device->name = instance->section;
	if (run->n_devices++ == 0) {
		run->device_info.struct_size = sizeof run->device_info;
		st = vt->device_info(instance->self, 0, &run->device_info, err);
	}
	return st;
}

static enum hone_status
open_backend(struct hn_run *run, const char *name, const struct hn_config_check *check,
	struct hn_instance **out, struct hone_error *err)
{
	const struct hn_instance_spec spec = {.section = name, .check = check};
	const struct hn_registered *found = NULL;
	enum hone_status st = hn_registry_need(run->registry, HONE_ROLE_BACKEND, name, &found, err);

	if (!st)
		st = hn_instance_create(out, run->registry, found, &spec, err);
	return st ? st : open_device(run, *out, err);
}

static int32_t
choose_compute(const struct hn_run *run)
{
	switch (run->options.train.compute) {
	case HN_COMPUTE_F32:
		return HONE_DTYPE_F32;
	case HN_COMPUTE_BF16:
		return HONE_DTYPE_BF16;
	case HN_COMPUTE_F64:
		return HONE_DTYPE_F64;
	default:
		return run->device_info.has_fast_bf16 ? HONE_DTYPE_BF16 : HONE_DTYPE_F32;
	}
}

/* Threads are a key of the backend's section, because other backends have none. */
static enum hone_status
make_pool(struct hn_run *run, struct hone_error *err)
{
	const struct hn_config_value *value =
		hn_config_get(run->config, run->options.run.backend, "threads");
	int64_t threads = 0;

	if (value && !hn_parse_i64(value->text, &threads))
		threads = 0;
	return hn_pool_create(&run->services.pool, (int32_t)threads, err);
}

/* Operations that plugins bring, and a last device that has them. */
static enum hone_status
open_custom_ops(struct hn_run *run, struct hone_error *err)
{
	const struct hn_registered *found;
	enum hone_status st = HONE_OK;

	for (size_t i = 0; !st && (found = hn_registry_at(run->registry, HONE_ROLE_OP, i)); i++) {
		const struct hn_instance_spec spec = {.index = (uint32_t)i};
		struct hn_instance *instance = NULL;

		st = hn_instance_create(&instance, run->registry, found, &spec, err);
		if (st)
			break;
		st = hn_custom_ops_add(&run->custom, found->path, found->factory->name,
			instance->vt, instance->self, err);
		if (st)
			hn_instance_destroy(instance);
		else
			run->custom_instances[run->custom.n - 1] = instance;
	}
	if (!st && run->custom.n)
		run->devices[run->n_devices - 1] =
			hn_custom_device(&run->custom, &run->devices[run->n_devices - 1]);
	return st;
}

static enum hone_status
stage_backend(struct hn_run *run, const struct hn_config_check *check, struct hone_error *err)
{
	const char *last = run->request->builtins[0]->factories[0]->name;
	enum hone_status st = make_pool(run, err);

	if (!st)
		st = open_backend(run, run->options.run.backend, check, &run->backend, err);
	if (!st && !hn_streq(run->options.run.backend, last))
		st = open_backend(run, last, NULL, &run->fallback, err);
	run->compute = choose_compute(run);
	if (!st && run->compute == HONE_DTYPE_F64 && run->fallback)
		st = hone_fail(
			err, HONE_ECONFIG, "[train] compute = f64 needs [run] backend = %s", last);
	return st ? st : open_custom_ops(run, err);
}

/* ---- declare ---- */

static enum hone_status
resolve(void *ctx, const struct hone_option *option, const char *text, const void **out,
	struct hone_error *err)
{
	struct hn_run *run = ctx;
	const struct hone_site_set *set = NULL;
	const struct hone_site_map *map = NULL;
	enum hone_status st = option->type == HONE_OPTION_SITES
		? hn_sites_resolve(&run->model, text, &set, err)
		: hn_site_map_resolve(&run->model, text, &map, err);

	*out = option->type == HONE_OPTION_SITES ? (const void *)set : (const void *)map;
	return st;
}

static enum hone_status
create_instance(struct hn_run *run, const struct hn_config_check *check, const char *role,
	const char *section, uint32_t index, struct hn_instance **out, struct hone_error *err)
{
	const struct hn_instance_spec spec = {
		.section = section, .model = "policy", .index = index, .check = check};
	const struct hn_registered *found = NULL;
	char type[64];
	enum hone_status st = hn_registry_need(
		run->registry, role, type_of(section, type, sizeof type), &found, err);

	return st ? st : hn_instance_create(out, run->registry, found, &spec, err);
}

static enum hone_status
declare_adapters(struct hn_run *run, const struct hn_config_check *check, struct hone_error *err)
{
	const struct hone_strings *list = &run->options.run.adapter;
	enum hone_status st = HONE_OK;

	if (list->n > HN_RUN_ADAPTERS)
		return hone_fail(err, HONE_ECONFIG, "[run] adapter lists more than %d",
			(int)HN_RUN_ADAPTERS);
	for (uint32_t i = 0; i < (uint32_t)list->n && !st; i++) {
		struct hn_instance *instance = NULL;
		struct hn_call call;

		st = create_instance(
			run, check, HONE_ROLE_ADAPTER, list->items[i], i, &instance, err);
		if (st)
			break;
		run->adapters[i] = instance;
		run->n_adapters = i + 1;
		run->adapter_refs[i] =
			(struct hn_adapter_ref){instance->section, instance->vt, instance->self};
		hn_call_begin(&call, instance->section, "declare", NULL);
		st = hn_params_collect(&run->params, &run->model, instance->section, i,
			instance->of->factory, instance->self, err);
		hn_call_end(&call);
		if (st)
			hn_config_locate(run->config, instance->section, err);
	}
	if (!st) {
		st = hn_model_check_kept(&run->model, &run->params, err);
		st = st ? fail_storage(run, st, err) : HONE_OK;
	}
	return st;
}

static enum hone_status
stage_declare(struct hn_run *run, struct hn_config_check *check, struct hone_error *err)
{
	const struct hone_strings *objectives = &run->options.run.objective;
	struct hn_call call;
	enum hone_status st;

	check->resolve = resolve;
	check->resolve_ctx = run;
	if (objectives->n > 1)
		return hone_fail(err, HONE_EUNSUPPORTED,
			"[run] objective: several objectives in one run are not offered yet");
	if (objectives->n == 0 && run->request->is_model_only)
		return declare_adapters(run, check, err);
	if (objectives->n == 0)
		return hone_fail(err, HONE_ECONFIG, "[run] objective is empty: name one");
	st = create_instance(
		run, check, HONE_ROLE_OBJECTIVE, objectives->items[0], 0, &run->objective, err);
	if (!st) {
		hn_call_begin(&call, run->objective->section, "declare", NULL);
		st = hn_layout_collect(&run->layout, run->objective->vt, run->objective->self, err);
		hn_call_end(&call);
	}
	return st ? st : declare_adapters(run, check, err);
}

/* A model that nobody builds or whose weights nobody reads may be one for a refused plugin. */
static void
warn_of_refused(const struct hn_run *run)
{
	const struct hn_loader_report *report = hn_registry_report(run->registry);

	for (size_t i = 0; i < report->n; i++)
		if (report->entries[i].state == HN_PLUGIN_REFUSED)
			hn_log_warn(run->log, "plugin refused: %s: %s", report->entries[i].path,
				report->entries[i].reason);
}

/* ---- the list ---- */

enum hone_status
hn_run_open_registry(
	struct hn_run *run, const struct hn_run_request *request, struct hone_error *err)
{
	memset(run, 0, sizeof *run);
	run->request = request;
	run->log = request->log;
	run->services.log = request->log;
	return stage_registry(run, err);
}

enum hone_status
hn_run_open(struct hn_run *run, const struct hn_run_request *request, struct hone_error *err)
{
	enum hone_status st = hn_run_open_registry(run, request, err);
	struct hn_config_check check;

	if (!st)
		st = stage_config(run, err);
	if (st)
		return st;
	check = hn_run_check(run);
	st = stage_backend(run, &check, err);
	if (!st && (st = stage_model(run, err)))
		warn_of_refused(run);
	if (!st)
		st = stage_declare(run, &check, err);
	return st;
}

void
hn_run_close(struct hn_run *run)
{
	hn_tokenizer_destroy(run->tokenizer);
	hn_layout_fini(&run->layout);
	hn_params_fini(&run->params);
	for (uint32_t i = run->n_devices; i-- > 0;)
		run->devices[i].vt->close(run->devices[i].device);
	for (uint32_t i = run->custom.n; i-- > 0;)
		hn_instance_destroy(run->custom_instances[i]);
	for (uint32_t i = run->n_adapters; i-- > 0;)
		hn_instance_destroy(run->adapters[i]);
	hn_instance_destroy(run->objective);
	hn_instance_destroy(run->architecture);
	hn_instance_destroy(run->fallback);
	hn_instance_destroy(run->backend);
	if (run->has_model)
		hn_model_close(&run->model);
	hn_config_destroy(run->config);
	hn_diagnostics_fini(&run->diagnostics);
	hn_registry_destroy(run->registry);
	hn_pool_destroy(run->services.pool);
	memset(run, 0, sizeof *run);
}

struct hn_build_request
hn_run_build_request(const struct hn_run *run, enum hn_build_mode mode)
{
	return (struct hn_build_request){.mode = mode,
		.model = &run->model,
		.params = &run->params,
		.adapters = run->adapter_refs,
		.n_adapters = run->n_adapters,
		.objective = run->objective ? run->objective->vt : NULL,
		.objective_self = run->objective ? run->objective->self : NULL,
		.objective_section = run->objective ? run->objective->section : NULL,
		.layout = &run->layout,
		.compute = run->compute,
		.custom = &run->custom};
}
