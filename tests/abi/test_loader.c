/*
 * test_loader.c - each fault of a plugin file is refused with its reason, and nothing crashes.
 *
 * Would catch: a check of the loader that was lost or never reached, a file whose code runs
 * although its header says that it must not, and a message that names neither what was found
 * nor what was expected.  The files are made here, from tests/abi/plugins/probe.c, by the
 * compiler of this build.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hone/adapter.h>

#include "base/file.h"
#include "base/str.h"
#include "probe.h"
#include "registry/elf.h"
#include "registry/fpstate.h"
#include "registry/registry.h"
#include "support.h"

struct place {
	char *dir;
	char *file;   /* probe.so, in dir or a folder below it */
	char *folder; /* of file, after fresh(); NULL = dir */
};

static int
set_up(void **state)
{
	struct place *place = calloc(1, sizeof *place);

	place->dir = test_folder_make();
	place->file = hn_path_join(place->dir, "probe.so");
	*state = place;
	return 0;
}

static int
tear_down(void **state)
{
	struct place *place = *state;

	test_folder_remove(place->dir);
	free(place->file);
	free(place->folder);
	free(place);
	return 0;
}

/* Moves `file` to a folder of its own: dlopen answers with what it has already opened under
 * the same path, even when another file lies there now. */
static void
fresh(struct place *place, size_t i)
{
	char name[24];

	(void)snprintf(name, sizeof name, "%zu", i);
	free(place->file);
	free(place->folder);
	place->folder = hn_path_join(place->dir, name);
	assert_int_equal(mkdir(place->folder, 0755), 0);
	place->file = hn_path_join(place->folder, "probe.so");
}

/* What the loader says of one file; the caller finishes the report. */
static const struct hn_loader_entry *
load(struct hn_loader_report *report, const char *path)
{
	const struct hn_loader_request request = {0};

	hn_loader_load(report, path, &request);
	return &report->entries[report->n - 1];
}

static void
assert_refused(const char *path, const char *reason)
{
	struct hn_loader_report report = {0};
	const struct hn_loader_entry *entry = load(&report, path);

	assert_int_equal(entry->state, HN_PLUGIN_REFUSED);
	if (!strstr(entry->reason, reason))
		fail_msg("refused for another reason: %s\nexpected: %s", entry->reason, reason);
	assert_null(strchr(entry->reason, '\n'));
	hn_loader_report_fini(&report);
}

static void
assert_loads(const char *path)
{
	struct hn_loader_report report = {0};
	const struct hn_loader_entry *entry = load(&report, path);

	if (entry->state != HN_PLUGIN_LOADED)
		fail_msg("not loaded: %s", entry->reason);
	assert_non_null(entry->plugin);
	hn_loader_report_fini(&report);
}

/* Would catch: a check that refuses what is sound. */
static void
test_loader_sound_plugin_loads(void **state)
{
	struct place *place = *state;

	probe_compile(place->file, NULL, NULL);
	assert_loads(place->file);
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
		{"-DPROBE_NULL_CREATE", "probe.create: found NULL"},
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
	struct place *place = *state;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		fresh(place, i);
		probe_compile(place->file, rows[i].flag, NULL);
		assert_refused(place->file, rows[i].reason);
	}
}

/* Would catch: a role of a newer host that makes the whole plugin unusable. */
static void
test_loader_unknown_role_loads_with_remark(void **state)
{
	struct place *place = *state;
	struct hn_loader_report report = {0};
	const struct hn_loader_entry *entry;

	probe_compile(place->file, "-DPROBE_ROLE", NULL);
	entry = load(&report, place->file);
	assert_int_equal(entry->state, HN_PLUGIN_LOADED);
	assert_non_null(strstr(entry->reason, "role 'hone.adaptor/1' of 'probe' is not known"));
	hn_loader_report_fini(&report);
}

/* ---- files changed byte by byte ---- */

static uint8_t *
read_bytes(const char *path, size_t *n)
{
	struct hone_error err = {0};
	char *bytes;

	assert_int_equal(hn_file_read(path, 1 << 24, HONE_EIO, &bytes, n, &err), HONE_OK);
	return (uint8_t *)bytes;
}

static void
write_bytes(const char *path, const void *bytes, size_t n)
{
	FILE *file;

	unlink(path); /* a new inode: the old one may be mapped */
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, n, file), n);
	assert_int_equal(fclose(file), 0);
}

/* Offset of the description of our note. */
static size_t
find_note(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i + 24 <= n; i++)
		if (memcmp(bytes + i, "\5\0\0\0\20\0\0\0\1\0\0\0HONE\0\0\0\0", 20) == 0)
			return i + 20;
	fail_msg("no note");
	return 0;
}

/* Writes `value` at `at` of a copy of the file, and asks for the refusal. */
static void
assert_patch_refused(const char *path, const uint8_t *bytes, size_t n, size_t at, uint32_t value,
	size_t value_bytes, const char *reason)
{
	uint8_t *copy = malloc(n);

	memcpy(copy, bytes, n);
	memcpy(copy + at, &value, value_bytes);
	write_bytes(path, copy, n);
	assert_refused(path, reason);
	free(copy);
}

/* Would catch: a foreign file that reaches dlopen, whose message nobody understands. */
static void
test_loader_foreign_header_is_refused_with_field(void **state)
{
	struct place *place = *state;
	size_t n, note;
	uint8_t *bytes;

	probe_compile(place->file, NULL, NULL);
	bytes = read_bytes(place->file, &n);
	note = find_note(bytes, n);
	const struct {
		size_t at;
		uint32_t value;
		size_t bytes;
		const char *reason;
	} rows[] = {
		{0, 0x21, 1, "format: expected an ELF shared object"},
		{EI_CLASS, ELFCLASS32, 1, "ELF class: found 1, expected 2"},
		{EI_DATA, ELFDATA2MSB, 1, "ELF byte order: found 2, expected 1"},
		{offsetof(Elf64_Ehdr, e_machine), EM_SPARC, 2, "ELF machine: found 2, expected"},
		{offsetof(Elf64_Ehdr, e_type), ET_EXEC, 2, "ELF type: found 2, expected 3"},
		{offsetof(Elf64_Ehdr, e_phnum), 0, 2, "ELF program headers: found 0"},
		{offsetof(Elf64_Ehdr, e_phnum), 60000, 2, "ELF program headers: found 60000"},
		{offsetof(Elf64_Ehdr, e_phentsize), 8, 2, "of 8 bytes"},
		{offsetof(Elf64_Ehdr, e_phoff), 0xfffffff0u, 4, "(program headers)"},
		{note, HONE_ABI + 1, 4,
			"abi: found 0.2 (and it asks for 0.1 at least), expected 0.1"},
		{note, 0x10000, 4, "abi: found 1.0"},
		{note + 4, HONE_ABI + 7, 4, "asks for 0.8 at least"},
		{note + 8, 24, 4, "note.plugin_bytes: found 24 bytes"},
		{note + 8, 4096, 4, "note: found abi 0x1 and 4096 bytes"},
		{note + 12, 8, 4, "note.factory_bytes: found 8 bytes"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_patch_refused(place->file, bytes, n, rows[i].at, rows[i].value,
			rows[i].bytes, rows[i].reason);
	free(bytes);
}

/* Would catch: a read behind the end of a file that lost its tail, and SIGBUS in dlopen. */
static void
test_loader_truncated_file_is_refused_at_every_length(void **state)
{
	struct place *place = *state;
	size_t n, step = 1;
	uint8_t *bytes;

	probe_compile(place->file, NULL, "-s");
	bytes = read_bytes(place->file, &n);
	for (size_t cut = 0; cut < n; cut += step) {
		step = cut < 1024 ? 1 : 97;
		write_bytes(place->file, bytes, cut);
		assert_refused(place->file, cut < 4 && cut > 0 ? "format" : "size: found");
	}
	write_bytes(place->file, bytes, n - 1);
	assert_refused(place->file, "(section headers)");
	free(bytes);
}

/* Would catch: notes or headers that lead the reader out of its buffer.  Damages the headers
 * in every byte; only files that the reader refuses are of interest, so nothing is opened. */
static void
test_loader_damaged_headers_never_crash(void **state)
{
	struct place *place = *state;
	size_t n, note;
	uint8_t *bytes;

	probe_compile(place->file, NULL, NULL);
	bytes = read_bytes(place->file, &n);
	note = find_note(bytes, n);
	/* The ABI in the note is made foreign first: nothing below can reach dlopen. */
	bytes[note + 3] = 0x7f;
	for (size_t at = 16; at < 1024; at++) {
		uint8_t was = bytes[at];

		bytes[at] ^= 0xff;
		write_bytes(place->file, bytes, n);
		assert_refused(place->file, "");
		bytes[at] = was;
	}
	for (size_t at = note - 20; at < note; at++) {
		uint8_t was = bytes[at];

		bytes[at] = 0xff;
		write_bytes(place->file, bytes, n);
		assert_refused(place->file, "");
		bytes[at] = was;
	}
	free(bytes);
}

/* ---- floating point, owners, duplicates ---- */

/* Would catch: a plugin that turns subnormals off for the whole process, unnoticed. */
static void
test_loader_fast_math_plugin_is_refused_and_state_restored(void **state)
{
#if defined(__x86_64__)
	struct place *place = *state;
	const struct hn_fp_state before = hn_fp_state_get();
	struct hn_fp_state after;

	probe_compile(place->file, "-ffast-math", NULL);
	assert_refused(place->file, "MXCSR 0x1f80 -> 0x9fc0");
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
	struct place *place = *state;
	struct hn_loader_report report = {0};
	const struct hn_loader_request insecure = {.is_insecure = true};

	probe_compile(place->file, NULL, NULL);
	assert_int_equal(chmod(place->file, 0666), 0);
	assert_refused(place->file, "permissions: found 0666");
	assert_int_equal(chmod(place->file, 0644), 0);
	assert_int_equal(chmod(place->dir, 0777), 0);
	assert_refused(place->file, "permissions: found 0777");
	hn_loader_load(&report, place->file, &insecure);
	assert_int_equal(report.entries[0].state, HN_PLUGIN_LOADED);
	hn_loader_report_fini(&report);
	assert_int_equal(chmod(place->dir, 01777), 0);
	assert_loads(place->file);
	assert_int_equal(chmod(place->dir, 0755), 0);
	assert_loads(place->file);
}

/* Would catch: a umask of 0002 that makes every plugin unusable, or a group of several people
 * that is taken for a private one. */
static void
test_loader_group_write_needs_private_group(void **state)
{
	struct place *place = *state;

	if (geteuid() != 0)
		skip(); /* only root can choose the group, and root's is private */
	probe_compile(place->file, NULL, NULL);
	assert_int_equal(chmod(place->file, 0664), 0);
	assert_int_equal(chown(place->file, 0, 4321), 0);
	assert_refused(place->file, "permissions: found 0664");
	assert_int_equal(chown(place->file, 0, getegid()), 0);
	assert_loads(place->file);
}

/* Would catch: a plugin that is taken for one because a library that it pulls in is one. */
static void
test_loader_symbol_of_a_dependency_is_refused(void **state)
{
	struct place *place = *state;
	char *inner = hn_path_join(place->dir, "inner.so"), *flag;
	struct hn_str text = {0};

	hn_str_printf(&text, "-Wl,--no-as-needed,%s", inner);
	flag = hn_str_take(&text);
	probe_compile(inner, NULL, NULL);
	probe_compile(place->file, "-DPROBE_NO_SYMBOL", flag);
	assert_refused(place->file, "symbol: found no hone_plugin_v1");
	free(flag);
	free(inner);
}

/* Would catch: a note that is missed because others stand before it or because of its
 * alignment, and small files that the reader takes for sound. */
static void
test_elf_notes_of_small_files(void **state)
{
#if defined(__x86_64__)
	static const struct {
		const char *name, *reason; /* NULL: a note is found */
	} rows[] = {
		{"sound", NULL},
		{"second_note", NULL},
		{"aligned8", NULL},
		{"mixed_alignment", NULL},
		{"other_abi", NULL},
		{"short_desc", "note: found no"},
		{"huge_name", "note: found no"},
		{"huge_desc", "note: found no"},
		{"no_note", "note: found no"},
		{"huge_segment", "(a segment)"},
		{"sections_gone", "(section headers)"},
		{"many_headers", "ELF program headers: found 65535"},
		{"header_cut", "(an ELF header)"},
		{"empty", "(an ELF header)"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char *path = hn_path_join(HONE_SOURCE_DIR "/tests/fuzz/seeds/elf", rows[i].name);
		const int fd = open(path, O_RDONLY | O_CLOEXEC);
		struct hn_elf_note note = {0};
		struct hone_error err = {0};
		struct stat info;
		enum hone_status st;

		assert_int_equal(fstat(fd, &info), 0);
		st = hn_elf_note_read(fd, (uint64_t)info.st_size, &note, &err);
		if (!rows[i].reason && (st || note.plugin_bytes != 72))
			fail_msg("%s: %s", rows[i].name, err.text);
		if (rows[i].reason && (!st || !strstr(err.text, rows[i].reason)))
			fail_msg("%s: %s", rows[i].name, st ? err.text : "accepted");
		(void)close(fd);
		free(path);
	}
#else
	(void)state;
	skip();
#endif
}

/* Would catch: a file of another user that is run. */
static void
test_loader_foreign_owner_is_refused(void **state)
{
	struct place *place = *state;

	if (geteuid() != 0)
		skip(); /* only root can give a file away */
	probe_compile(place->file, NULL, NULL);
	assert_int_equal(chown(place->file, 4321, 4321), 0);
	assert_refused(place->file, "owner: found uid 4321, expected root or uid 0");
}

/* Would catch: a pipe or folder that hangs or breaks the search. */
static void
test_loader_no_regular_file_is_refused(void **state)
{
	struct place *place = *state;

	assert_int_equal(mkfifo(place->file, 0600), 0);
	assert_refused(place->file, "type: expected a regular file");
	unlink(place->file);
	assert_int_equal(mkdir(place->file, 0700), 0);
	assert_refused(place->file, "type: expected a regular file");
	rmdir(place->file);
	assert_refused(place->file, "cannot be found");
}

/* Would catch: the later of two folders winning, or a plugin that stands twice. */
static void
test_loader_earlier_folder_hides_later(void **state)
{
	struct place *place = *state;
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
	struct place *place = *state;
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
	struct place *place = *state;
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

/* ---- registry and instances ---- */

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
	struct place *place = *state;
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
	struct place *place = *state;
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
	struct place *place = *state;
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
	struct place *place = *state;
	const struct hn_instance_spec spec = {0};

	for (size_t i = 0; i < 2; i++) {
		struct hn_instance *instance = NULL;
		struct hone_error err = {0};
		struct hn_registry *registry;

		fresh(place, i);
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
	struct place *place = *state;
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

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PLACE(test_loader_sound_plugin_loads),
		WITH_PLACE(test_loader_faulty_struct_is_refused_with_member),
		WITH_PLACE(test_loader_unknown_role_loads_with_remark),
		WITH_PLACE(test_loader_foreign_header_is_refused_with_field),
		WITH_PLACE(test_loader_truncated_file_is_refused_at_every_length),
		WITH_PLACE(test_loader_damaged_headers_never_crash),
		WITH_PLACE(test_loader_fast_math_plugin_is_refused_and_state_restored),
		WITH_PLACE(test_loader_open_permissions_are_refused),
		WITH_PLACE(test_loader_group_write_needs_private_group),
		WITH_PLACE(test_loader_symbol_of_a_dependency_is_refused),
		cmocka_unit_test(test_elf_notes_of_small_files),
		WITH_PLACE(test_loader_foreign_owner_is_refused),
		WITH_PLACE(test_loader_no_regular_file_is_refused),
		WITH_PLACE(test_loader_earlier_folder_hides_later),
		WITH_PLACE(test_loader_same_factory_twice_is_refused),
		WITH_PLACE(test_loader_relative_environment_is_refused),
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
