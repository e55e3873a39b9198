/*
 * test_loader.c - each fault of a plugin is refused with its reason, and the folders are searched
 * in order.
 *
 * Would catch: a check of the loader that was lost or never reached, and a message that names
 * neither what was found nor what was expected.  The files are made from plugins/probe.c by the
 * compiler of this build.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "loader_place.h"
#include "registry/fpstate.h"

/* Would catch: a check that refuses what is sound. */
static void
test_loader_sound_plugin_loads(void **state)
{
	struct loader_place *place = *state;

	probe_compile(place->file, NULL, NULL);
	loader_loads(place->file);
}

/* Would catch: a member of the struct that is not looked at.  Each row has one fault. */
static void
test_loader_faulty_struct_is_refused_with_member(void **state)
{
	static const struct {
		const char *flag, *reason;
	} rows[] = {
		{"-DPROBE_NO_NOTE", "note: found no .note.hone"},
		{"-DPROBE_NO_SYMBOL", "symbol: found no hone_plugin_v1"},
		{"-DPROBE_PLUGIN_SIZE", "plugin.struct_size: found 16 bytes"},
		{"-DPROBE_ABI", "abi: found 0.2"},
		{"-DPROBE_ID", "plugin.id: found 'other', expected 'probe'"},
		{"-DPROBE_FACTORY_SIZE", "factory.struct_size: found 16 bytes"},
		{"-DPROBE_FACTORY_TWICE", "factories: found 'probe' twice"},
		{"-DPROBE_NULL_CREATE", "probe.create (it has a destroy): found NULL"},
		{"-DPROBE_NULL_VT", "adapter 'probe'.vt"},
		{"-DPROBE_VT_SIZE", "adapter 'probe'.vt.struct_size: found 8 bytes"},
		{"-DPROBE_VT_MEMBER", "adapter 'probe'.vt.declare: found NULL"},
		{"-DPROBE_NAME", "name of the adapter: found 'Probe.1'"},
		{"-DPROBE_SECTION_NAME", "found 'train', expected none of hone's own sections"},
		{"-DPROBE_OPTION_OUTSIDE", "option rank: the member lies outside the struct"},
		{"-DPROBE_OPTION_TYPE", "option scale: the type is not known"},
		{"-DPROBE_OPTION_TWICE", "option 'rank' stands twice"},
		{"-DPROBE_OPTION_DEFAULT", "default of option rank"},
		{"-DPROBE_MISSING_SYMBOL", "hone_symbol_that_nobody_has"},
	};
	struct loader_place *place = *state;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		loader_fresh(place, i);
		probe_compile(place->file, rows[i].flag, NULL);
		loader_refused(place->file, rows[i].reason);
	}
}

/* Would catch: a role of a newer host that makes the whole plugin unusable. */
static void
test_loader_unknown_role_loads_with_remark(void **state)
{
	struct loader_place *place = *state;
	struct hn_loader_report report = {0};
	const struct hn_loader_entry *entry;

	probe_compile(place->file, "-DPROBE_ROLE", NULL);
	entry = loader_load(&report, place->file);
	assert_int_equal(entry->state, HN_PLUGIN_LOADED);
	assert_non_null(strstr(entry->reason, "role 'hone.adaptor/1' of 'probe' is not known"));
	hn_loader_report_fini(&report);
}

/* ---- floating point, owners, duplicates ---- */

/* Would catch: a plugin that turns subnormals off for the whole process, unnoticed. */
static void
test_loader_fast_math_plugin_is_refused_and_state_restored(void **state)
{
#if defined(__x86_64__)
	struct loader_place *place = *state;
	const struct hn_fp_state before = hn_fp_state_get();
	struct hn_fp_state after;

	probe_compile(place->file, "-DPROBE_FAST_MATH", NULL);
	loader_refused(place->file, "MXCSR 0x1f80 -> 0x9fc0");
	after = hn_fp_state_get();
	assert_memory_equal(&before, &after, sizeof before);
#else
	(void)state;
	skip();
#endif
}

/* Would catch: code that anybody could have put there, run with the user's rights. */
static void
test_loader_open_permissions_are_refused(void **state)
{
	struct loader_place *place = *state;
	struct hn_loader_report report = {0};
	const struct hn_loader_request insecure = {.is_insecure = true};

	probe_compile(place->file, NULL, NULL);
	assert_int_equal(chmod(place->file, 0666), 0);
	loader_refused(place->file, "permissions: found 0666");
	assert_int_equal(chmod(place->file, 0644), 0);
	assert_int_equal(chmod(place->dir, 0777), 0);
	loader_refused(place->file, "permissions: found 0777");
	hn_loader_load(&report, place->file, &insecure);
	assert_int_equal(report.entries[0].state, HN_PLUGIN_LOADED);
	hn_loader_report_fini(&report);
	assert_int_equal(chmod(place->dir, 01777), 0);
	loader_loads(place->file);
	assert_int_equal(chmod(place->dir, 0755), 0);
	loader_loads(place->file);
}

/* Would catch: a umask of 0002 that makes every plugin unusable, or a group of several people
 * that is taken for a private one. */
static void
test_loader_group_write_needs_private_group(void **state)
{
	struct loader_place *place = *state;

	if (geteuid() != 0)
		skip(); /* only root can choose the group, and root's is private */
	probe_compile(place->file, NULL, NULL);
	assert_int_equal(chmod(place->file, 0664), 0);
	assert_int_equal(chown(place->file, 0, 4321), 0);
	loader_refused(place->file, "permissions: found 0664");
	assert_int_equal(chown(place->file, 0, getegid()), 0);
	loader_loads(place->file);
}

/* Would catch: a plugin that is taken for one because a library that it pulls in is one. */
static void
test_loader_symbol_of_a_dependency_is_refused(void **state)
{
	struct loader_place *place = *state;
	char *inner = hn_path_join(place->dir, "inner.so"), *flag;
	struct hn_str text = {0};

	hn_str_printf(&text, "-Wl,--no-as-needed,%s", inner);
	flag = hn_str_take(&text);
	probe_compile(inner, NULL, NULL);
	probe_compile(place->file, "-DPROBE_NO_SYMBOL", flag);
	loader_refused(place->file, "symbol: found no hone_plugin_v1");
	free(flag);
	free(inner);
}

/* Would catch: a file of another user that is run. */
static void
test_loader_foreign_owner_is_refused(void **state)
{
	struct loader_place *place = *state;

	if (geteuid() != 0)
		skip(); /* only root can give a file away */
	probe_compile(place->file, NULL, NULL);
	assert_int_equal(chown(place->file, 4321, 4321), 0);
	loader_refused(place->file, "owner: found uid 4321, expected root or uid 0");
}

/* Would catch: a pipe or folder that hangs or breaks the search. */
static void
test_loader_no_regular_file_is_refused(void **state)
{
	struct loader_place *place = *state;

	assert_int_equal(mkfifo(place->file, 0600), 0);
	loader_refused(place->file, "type: expected a regular file");
	unlink(place->file);
	assert_int_equal(mkdir(place->file, 0700), 0);
	loader_refused(place->file, "type: expected a regular file");
	rmdir(place->file);
	loader_refused(place->file, "cannot be found");
}

/* Would catch: the later of two folders winning, or a plugin that stands twice. */
static void
test_loader_earlier_folder_hides_later(void **state)
{
	struct loader_place *place = *state;
	char *second = hn_path_join(place->dir, "second"), *linked, *other;
	const char *dirs[] = {place->dir, second, "/nonexistent/hone"};
	const struct hn_loader_request request = {.dirs = dirs, .n_dirs = 3, .only_dirs = true};
	struct hn_loader_report report = {0};

	assert_int_equal(mkdir(second, 0755), 0);
	linked = hn_path_join(second, "alias.so");
	other = hn_path_join(second, "probe.so");
	probe_compile(place->file, NULL, NULL);
	probe_compile(other, NULL, NULL);
	assert_int_equal(symlink(place->file, linked), 0);
	hn_loader_scan(&report, &request);

	assert_int_equal(report.n, 4);
	assert_int_equal(report.entries[0].state, HN_PLUGIN_LOADED);
	assert_string_equal(report.entries[1].id, "alias"); /* the same file */
	assert_int_equal(report.entries[1].state, HN_PLUGIN_HIDDEN);
	assert_int_equal(report.entries[2].state, HN_PLUGIN_HIDDEN);
	assert_int_equal(report.entries[3].state, HN_PLUGIN_REFUSED); /* no such folder */
	assert_null(report.entries[3].id);
	assert_int_equal(report.n_folders, 2);
	hn_loader_report_fini(&report);
	free(other);
	free(linked);
	free(second);
}

/* Would catch: two plugins that give one name, where the winner depends on luck. */
static void
test_loader_same_factory_twice_is_refused(void **state)
{
	struct loader_place *place = *state;
	struct hn_loader_report report = {0};
	const struct hn_loader_request request = {0};
	char *other = hn_path_join(place->dir, "other.so");

	probe_compile(place->file, NULL, NULL);
	probe_compile(other, "-DPROBE_ID", NULL);
	hn_loader_load(&report, place->file, &request);
	hn_loader_load(&report, other, &request);
	assert_int_equal(report.entries[0].state, HN_PLUGIN_LOADED);
	assert_int_equal(report.entries[1].state, HN_PLUGIN_REFUSED);
	assert_non_null(strstr(report.entries[1].reason, "expected a name that is free"));
	hn_loader_report_fini(&report);
	free(other);
}

/* Would catch: the working directory as a place for code, through an empty or relative entry. */
static void
test_loader_relative_environment_is_refused(void **state)
{
	struct loader_place *place = *state;
	char *list;
	const struct hn_loader_request request = {.exe_dir = place->dir};
	struct hn_loader_report report = {0};
	struct hn_str text = {0};
	bool is_loaded = false, is_told = false;

	probe_compile(place->file, NULL, NULL);
	hn_str_printf(&text, ".::plugins:%s", place->dir);
	list = hn_str_take(&text);
	assert_int_equal(setenv("HONE_PLUGIN_PATH", list, 1), 0);
	assert_int_equal(setenv("XDG_DATA_HOME", "/nonexistent", 1), 0);
	hn_loader_scan(&report, &request);
	for (size_t i = 0; i < report.n; i++) {
		const struct hn_loader_entry *entry = &report.entries[i];

		is_told = is_told ||
			(strcmp(entry->path, ".") == 0 &&
				strstr(entry->reason, "found a relative path"));
		is_loaded = is_loaded ||
			(entry->id && strcmp(entry->id, "probe") == 0 &&
				entry->state == HN_PLUGIN_LOADED);
	}
	assert_true(is_told);
	assert_true(is_loaded);
	assert_int_equal(unsetenv("HONE_PLUGIN_PATH"), 0);
	hn_loader_report_fini(&report);
	free(list);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PLACE(test_loader_sound_plugin_loads),
		WITH_PLACE(test_loader_faulty_struct_is_refused_with_member),
		WITH_PLACE(test_loader_unknown_role_loads_with_remark),
		WITH_PLACE(test_loader_fast_math_plugin_is_refused_and_state_restored),
		WITH_PLACE(test_loader_open_permissions_are_refused),
		WITH_PLACE(test_loader_group_write_needs_private_group),
		WITH_PLACE(test_loader_symbol_of_a_dependency_is_refused),
		WITH_PLACE(test_loader_foreign_owner_is_refused),
		WITH_PLACE(test_loader_no_regular_file_is_refused),
		WITH_PLACE(test_loader_earlier_folder_hides_later),
		WITH_PLACE(test_loader_same_factory_twice_is_refused),
		WITH_PLACE(test_loader_relative_environment_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
