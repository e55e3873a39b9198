/*
 * test_registry.c - what was loaded is found by role and name, and bound to a section.
 *
 * Would catch: values that do not reach a plugin, a factory that is absent without a reason, and
 * a plugin of the tree that its users could not load.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hone/adapter.h>

#include "base/file.h"
#include "base/str.h"
#include "loader_place.h"
#include "registry/fpstate.h"

static struct hn_registry *
open_registry(const char *const *dirs, const struct hn_services *services)
{
	const struct hn_registry_request request = {
		.search = {.dirs = dirs, .n_dirs = 1, .only_dirs = true}, .services = services};
	struct hone_error err = {0};
	struct hn_registry *registry = NULL;

	assert_int_equal(hn_registry_create(&registry, &request, &err), HONE_OK);
	return registry;
}

/* Would catch: values that do not reach create, or an instance that is not destroyed. */
static void
test_registry_instance_gets_defaults(void **state)
{
	struct loader_place *place = *state;
	const char *dirs[] = {place->dir};
	struct hn_registry *registry;
	const struct hn_registered *probe;
	const struct hn_instance_spec spec = {.section = "probe.second", .model = "policy"};
	struct hn_instance *instance = NULL;
	struct hone_error err = {0};
	struct {
		int64_t rank;
		double scale;
	} values;

	probe_compile(place->file, NULL, NULL);
	registry = open_registry(dirs, NULL);
	assert_int_equal(
		hn_registry_need(registry, HONE_ROLE_ADAPTER, "probe", &probe, &err), HONE_OK);
	assert_ptr_equal(hn_registry_at(registry, NULL, 0), probe);
	assert_null(hn_registry_at(registry, HONE_ROLE_ADAPTER, 1));
	assert_null(hn_registry_find(registry, HONE_ROLE_STORAGE, "probe"));
	assert_int_equal(hn_instance_create(&instance, registry, probe, &spec, &err), HONE_OK);
	memcpy(&values, instance->self, sizeof values);
	assert_int_equal(values.rank, 8);
	assert_true(values.scale == 0.5);
	assert_string_equal(instance->section, "probe.second");
	assert_ptr_equal(instance->vt, probe->factory->vt);
	hn_instance_destroy(instance);
	hn_registry_destroy(registry);
}

/* Would catch: a section of the configuration that does not reach its plugin. */
static void
test_registry_instance_reads_its_section(void **state)
{
	static const char text[] = "[run]\noutput = x\n[probe]\nrank = 3\n";
	struct loader_place *place = *state;
	const char *dirs[] = {place->dir};
	const struct hn_config_request request = {
		.path = "run.ini", .text = text, .text_bytes = sizeof text - 1};
	struct hn_diagnostics diagnostics = {0};
	struct hn_config_check check = {.diagnostics = &diagnostics};
	struct hn_instance_spec spec = {.check = &check};
	struct hn_instance *instance = NULL;
	struct hn_registry *registry;
	struct hone_error err = {0};
	int64_t rank;

	probe_compile(place->file, NULL, NULL);
	registry = open_registry(dirs, NULL);
	assert_int_equal(hn_config_load(&check.config, &request, &diagnostics, &err), HONE_OK);
	check.tables = hn_registry_tables(registry, &check.n_tables);
	assert_int_equal(
		hn_instance_create(&instance, registry,
			hn_registry_find(registry, HONE_ROLE_ADAPTER, "probe"), &spec, &err),
		HONE_OK);
	memcpy(&rank, instance->values, sizeof rank);
	assert_int_equal(rank, 3);
	hn_instance_destroy(instance);

	hn_config_set(check.config, "probe.rank=65", &diagnostics);
	assert_int_not_equal(
		hn_instance_create(&instance, registry,
			hn_registry_find(registry, HONE_ROLE_ADAPTER, "probe"), &spec, &err),
		HONE_OK);
	assert_non_null(strstr(err.text, "rank = 65"));
	hn_config_destroy(check.config);
	hn_diagnostics_fini(&diagnostics);
	hn_registry_destroy(registry);
}

/* Would catch: "not found" where the file is there and was refused, or a name nearly right. */
static void
test_registry_absent_factory_says_why(void **state)
{
	struct loader_place *place = *state;
	const char *dirs[] = {place->dir};
	char *dora = hn_path_join(place->dir, "dora.so");
	const struct hn_registered *unused;
	struct hn_registry *registry;
	struct hone_error err = {0};

	registry = open_registry(dirs, NULL);
	assert_int_equal(
		hn_registry_need(registry, HONE_ROLE_ADAPTER, "x", &unused, &err), HONE_ECONFIG);
	assert_non_null(strstr(err.text, "no adapter 'x'; there is none at all; looked in "));
	assert_non_null(strstr(err.text, place->dir));
	hn_registry_destroy(registry);

	probe_compile(place->file, NULL, NULL);
	probe_compile(dora, "-DPROBE_NO_NOTE", NULL);
	registry = open_registry(dirs, NULL);
	assert_int_equal(
		hn_registry_need(registry, HONE_ROLE_ADAPTER, "dora", &unused, &err), HONE_EPLUGIN);
	assert_non_null(strstr(err.text, "no adapter 'dora': "));
	assert_non_null(strstr(err.text, "dora.so was refused: note: found no .note.hone"));
	assert_int_equal(hn_registry_need(registry, HONE_ROLE_ADAPTER, "prode", &unused, &err),
		HONE_ECONFIG);
	assert_non_null(strstr(err.text, "no adapter 'prode'; did you mean 'probe'?; refused: "));
	assert_non_null(strstr(err.text, "dora.so: note: found no .note.hone"));
	assert_non_null(strstr(err.text, "; looked in "));
	assert_int_equal(hn_registry_need(registry, HONE_ROLE_ADAPTER, "zzzzzz", &unused, &err),
		HONE_ECONFIG);
	assert_non_null(strstr(err.text, "no adapter 'zzzzzz'; there are probe; refused: "));
	hn_registry_destroy(registry);
	free(dora);
}

/* Would catch: a create that fails without a word, or whose words lose their place. */
static void
test_registry_failing_create_names_section(void **state)
{
	static const struct {
		const char *flag, *text;
	} rows[] = {
		{"-DPROBE_CREATE_FAILS", "plugin probe failed with status 11 and no word"},
		{"-DPROBE_CREATE_SAYS", "rank = 8 does not fit"},
	};
	struct loader_place *place = *state;
	const struct hn_instance_spec spec = {0};

	for (size_t i = 0; i < 2; i++) {
		struct hn_instance *instance = NULL;
		struct hone_error err = {0};
		struct hn_registry *registry;

		loader_fresh(place, i);
		probe_compile(place->file, rows[i].flag, NULL);
		registry = open_registry((const char *const *)&place->folder, NULL);
		assert_int_equal(hn_instance_create(&instance, registry,
					 hn_registry_at(registry, NULL, 0), &spec, &err),
			HONE_EINVAL);
		assert_non_null(strstr(err.text, rows[i].text));
		assert_string_equal(err.place, "[probe]");
		assert_null(instance);
		hn_registry_destroy(registry);
	}
}

/* Would catch: arithmetic of the host that a plugin's create changed. */
static void
test_registry_create_that_changes_rounding_is_named(void **state)
{
#if defined(__x86_64__)
	struct loader_place *place = *state;
	const char *dirs[] = {place->dir};
	const struct hn_instance_spec spec = {0};
	const struct hn_fp_state before = hn_fp_state_get();
	struct hn_fp_state after;
	char *text = NULL;
	size_t n = 0;
	struct hn_log log;
	const struct hn_services services = {.log = &log};
	struct hn_instance *instance = NULL;
	struct hn_registry *registry;
	struct hone_error err = {0};

	probe_compile(place->file, "-DPROBE_CREATE_ROUNDS", NULL);
	hn_log_init(&log, NULL);
	log.stream = open_memstream(&text, &n);
	registry = open_registry(dirs, &services);
	assert_int_equal(hn_instance_create(&instance, registry, hn_registry_at(registry, NULL, 0),
				 &spec, &err),
		HONE_OK);
	after = hn_fp_state_get();
	assert_memory_equal(&before, &after, sizeof before);
	(void)fclose(log.stream);
	assert_non_null(strstr(text, "plugin probe changed the floating-point state (MXCSR"));
	free(text);
	hn_instance_destroy(instance);
	hn_registry_destroy(registry);
#else
	(void)state;
	skip();
#endif
}

/* Would catch: a plugin of our own that its users could not load. */
static void
test_registry_plugins_of_the_tree_load(void **state)
{
	const char *dirs[] = {HONE_BINARY_DIR "/lib/hone"};
	const struct hn_loader_report *report;
	struct hn_registry *registry;

	(void)state;
	if (!hn_path_is_dir(dirs[0]))
		skip(); /* nothing is built but tests */
	registry = open_registry(dirs, NULL);
	report = hn_registry_report(registry);
	for (size_t i = 0; i < report->n; i++)
		if (report->entries[i].state != HN_PLUGIN_LOADED || report->entries[i].reason)
			fail_msg("%s: %s", report->entries[i].path, report->entries[i].reason);
	hn_registry_destroy(registry);
}

/* Would catch: a stored format of the tree that the registry cannot give. */
static void
test_registry_storage_of_the_tree_is_found(void **state)
{
	const char *dirs[] = {HONE_BINARY_DIR "/lib/hone"};
	const struct hone_storage_vt *vt, *again;
	const void *self, *unused;
	struct hn_registry *registry;
	struct hone_error err = {0};

	(void)state;
	registry = open_registry(dirs, NULL);
	if (!hn_registry_find(registry, HONE_ROLE_STORAGE, "q8_0")) {
		hn_registry_destroy(registry);
		skip(); /* the plugin is not built in this build */
	}
	assert_int_equal(hn_registry_storage(registry, "q8_0", &vt, &self, &err), HONE_OK);
	assert_string_equal(vt->id, "q8_0");
	assert_int_equal(hn_registry_storage(registry, "q8_0", &again, &unused, &err), HONE_OK);
	assert_ptr_equal(vt, again);
	assert_int_equal(hn_registry_storage(registry, "q9_9", &vt, &self, &err), HONE_ENOTFOUND);
	hn_registry_destroy(registry);
}

/* Would catch: an interface that is promised and not there, or one that is made up. */
static void
test_host_interfaces_by_id(void **state)
{
	const struct hn_services services = {0};
	const struct hone_pool_vt *pool;
	struct hn_host host;

	(void)state;
	hn_host_init(&host, &services, "probe");
	pool = host.table.get_interface(&host.table, HONE_INTERFACE_POOL);
	assert_non_null(pool);
	assert_int_equal(pool->threads(&host.table), 1);
	assert_null(host.table.get_interface(&host.table, "hone.pool/1x"));
	assert_null(host.table.get_interface(&host.table, ""));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PLACE(test_registry_instance_gets_defaults),
		WITH_PLACE(test_registry_instance_reads_its_section),
		WITH_PLACE(test_registry_absent_factory_says_why),
		WITH_PLACE(test_registry_failing_create_names_section),
		WITH_PLACE(test_registry_create_that_changes_rounding_is_named),
		cmocka_unit_test(test_registry_plugins_of_the_tree_load),
		cmocka_unit_test(test_registry_storage_of_the_tree_is_found),
		cmocka_unit_test(test_host_interfaces_by_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
