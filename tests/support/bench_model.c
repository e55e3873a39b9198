/*
 * bench_model.c - plugins by hand, one model, one engine.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "bench_model.h"
#include "instance.h"
#include "support.h"

extern const struct hone_plugin hone_plugin_v1_reference;

static const struct hone_plugin *
load(const char *file)
{
	char path[1024];
	void *handle;
	const struct hone_plugin *plugin;

	(void)snprintf(path, sizeof path, "%s/lib/hone/%s.so", HONE_BINARY_DIR, file);
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!handle)
		fail_msg("%s", dlerror());
	plugin = dlsym(handle, "hone_plugin_v1");
	assert_non_null(plugin);
	return plugin;
}

static const struct hone_factory *
find(const struct hone_plugin *plugin, const char *role, const char *name)
{
	for (uint32_t i = 0; i < plugin->n_factories; i++)
		if (hn_streq(plugin->factories[i]->role, role) &&
			hn_streq(plugin->factories[i]->name, name))
			return plugin->factories[i];
	return NULL;
}

const struct hone_factory *
bench_factory(const char *file, const char *role, const char *name)
{
	const struct hone_factory *factory = find(load(file), role, name);

	if (!factory)
		fail_msg("%s has no %s '%s'", file, role, name);
	return factory;
}

static const struct hone_storage_vt *
find_storage(void *ctx, const char *id, const void **self)
{
	static const char *const files[] = {"ggml", "nf4"};
	struct hone_error err = {0};

	(void)ctx;
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		const struct hone_factory *factory = find(load(files[i]), HONE_ROLE_STORAGE, id);
		void *made = NULL;

		if (!factory)
			continue;
		assert_int_equal(instance_make(factory, NULL, NULL, NULL, &made, &err), HONE_OK);
		*self = made;
		return factory->vt;
	}
	return NULL;
}

/* ---- the host table: a pool and nothing else ---- */

static int32_t
pool_threads(const struct hone_host *host)
{
	return hn_pool_threads(host->internal);
}

static void
pool_run(const struct hone_host *host, int64_t n, void (*fn)(void *, int64_t, int32_t), void *ctx)
{
	hn_pool_run(host->internal, n, fn, ctx);
}

static const void *
get_interface(const struct hone_host *host, const char *id)
{
	static const struct hone_pool_vt pool = {sizeof pool, 0, pool_threads, pool_run};

	(void)host;
	return hn_streq(id, HONE_INTERFACE_POOL) ? &pool : NULL;
}

static void
log_line(const struct hone_host *host, int32_t level, const char *text)
{
	(void)host;
	(void)level;
	(void)text;
}

static void
open_device(struct bench_model *bench, const struct hone_factory *factory, const void *values)
{
	const struct hone_instance_info info = {sizeof info, 0, factory->name, NULL};
	const uint32_t i = bench->n_devices++;
	struct hn_device *device = &bench->devices[i];
	struct hone_error err = {0};
	void *self = NULL;

	if (instance_make(factory, &bench->host, &info, values, &self, &err))
		fail_msg("%s", err.text);
	bench->backends[bench->n_backends] = factory;
	bench->backend_selves[bench->n_backends++] = self;
	device->vt = factory->vt;
	device->name = factory->name;
	if (device->vt->open(self, 0, &device->device, &err))
		fail_msg("%s", err.text);
}

void
bench_open(struct bench_model *bench, const char *path, const char *backend)
{
	bench_open_threads(bench, path, backend, 2);
}

void
bench_open_threads(
	struct bench_model *bench, const char *path, const char *backend, int32_t threads)
{
	char *full = test_data_path(path);
	const struct hn_model_request request = {
		.name = "policy", .path = full, .find_storage = find_storage};
	const struct hone_factory *llama = bench_factory("llama", HONE_ROLE_ARCHITECTURE, "llama");
	struct hone_error err = {0};
	static uint64_t defaults[64]; /* options of the cpu backend: all zero */

	memset(bench, 0, sizeof *bench);
	bench->host =
		(struct hone_host){sizeof bench->host, HONE_ABI, get_interface, log_line, NULL};
	assert_int_equal(hn_pool_create(&bench->pool, threads, &err), HONE_OK);
	bench->host.internal = bench->pool;
	if (hn_streq(backend, "cpu"))
		open_device(bench, bench_factory("cpu", HONE_ROLE_BACKEND, "cpu"), defaults);
	open_device(bench, hone_plugin_v1_reference.factories[0], NULL);
	if (hn_model_open(&bench->model, &request, &err) ||
		hn_model_declare(&bench->model, llama->vt, NULL, &err))
		fail_msg("%s: %s", err.place, err.text);
	free(full);
}

const struct hone_site_set *
bench_sites(struct bench_model *bench, const char *text)
{
	const struct hone_site_set *set = NULL;
	struct hone_error err = {0};

	if (hn_sites_resolve(&bench->model, text, &set, &err))
		fail_msg("%s", err.text);
	return set;
}

void
bench_adapter(struct bench_model *bench, const char *file, const char *name, const char *section,
	const void *values)
{
	bench_adapter_of(bench, bench_factory(file, HONE_ROLE_ADAPTER, name), section, values);
}

void
bench_adapter_of(struct bench_model *bench, const struct hone_factory *factory, const char *section,
	const void *values)
{
	const struct hone_instance_info info = {sizeof info, 0, section, "policy"};
	const uint32_t i = bench->n_adapters++;
	struct hone_error err = {0};
	void *self = NULL;

	if (instance_make(factory, &bench->host, &info, values, &self, &err))
		fail_msg("%s", err.text);
	bench->factories[i] = factory;
	bench->adapters[i] = (struct hn_adapter_ref){section, factory->vt, self};
	if (hn_params_collect(&bench->params, &bench->model, section, i, factory, self, &err))
		fail_msg("%s", err.text);
}

void
bench_training(struct bench_model *bench, struct hn_step *step, struct hn_layout *layout,
	const struct bench_training *training)
{
	const struct hone_factory *sft = bench_factory("causal", HONE_ROLE_OBJECTIVE, "sft");
	const struct hn_build_request request = {.mode = HN_BUILD_TRAIN,
		.model = &bench->model,
		.params = &bench->params,
		.adapters = bench->adapters,
		.n_adapters = bench->n_adapters,
		.objective = sft->vt,
		.objective_self = &training->sft,
		.layout = layout,
		.capacity = training->capacity,
		.compute = training->compute};
	struct hone_error err = {0};

	if (hn_layout_collect(layout, sft->vt, &training->sft, &err))
		fail_msg("%s", err.text);
	hn_engine_init(&bench->engine, &bench->model, &bench->params, bench->devices,
		bench->n_devices, training->compute);
	if (hn_step_create(
		    step, &bench->engine, &request, &training->adamw, training->chunk_rows, &err) ||
		hn_engine_allocate(&bench->engine, &err))
		fail_msg("%s: %s", err.place, err.text);
}

void
bench_close(struct bench_model *bench)
{
	if (bench->engine.model)
		hn_engine_fini(&bench->engine);
	for (uint32_t i = 0; i < bench->n_devices; i++)
		bench->devices[i].vt->close(bench->devices[i].device);
	for (uint32_t i = 0; i < bench->n_backends; i++)
		if (HONE_HAS(bench->backends[i], struct hone_factory, destroy))
			bench->backends[i]->destroy(bench->backend_selves[i]);
	hn_params_fini(&bench->params);
	hn_model_close(&bench->model);
	hn_pool_destroy(bench->pool);
}

void
bench_bind(
	struct hn_program *program, const int32_t *ids, const int32_t *offsets, int64_t n_segments)
{
	int32_t *tokens = hn_program_column(program, "text.tokens");
	int32_t *positions = hn_program_column(program, "text.positions");
	int32_t *keys = hn_program_column(program, "text.keys");
	int32_t *bounds = hn_program_column(program, "text.offsets");
	int32_t *ranges = hn_program_column(program, "text.ranges");
	const int64_t n = offsets[n_segments];

	hn_program_set_live(program, "text", n);
	hn_program_set_live(program, "text.segments", n_segments);
	hn_program_set_live(program, "text.offsets", n_segments + 1);
	for (int64_t s = 0; s < n_segments; s++) {
		for (int32_t i = offsets[s]; i < offsets[s + 1]; i++) {
			tokens[i] = ids[i];
			positions[i] = i - offsets[s];
			if (keys) {
				keys[2 * i] = (int32_t)s;
				keys[2 * i + 1] = i - offsets[s];
			}
		}
		ranges[2 * s] = offsets[s];
		ranges[2 * s + 1] = offsets[s + 1];
	}
	memcpy(bounds, offsets, (size_t)(n_segments + 1) * sizeof *bounds);
}
