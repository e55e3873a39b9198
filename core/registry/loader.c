/*
 * loader.c - the way of a file from a folder to a checked struct.
 *
 * dlclose is never called: threads, thread-local destructors and drivers that a plugin pulled
 * in would be left with code that is gone.  RTLD_NOW, so that a missing symbol shows now and
 * not at step 1000; RTLD_LOCAL, so that plugins do not see each other's symbols.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "registry/elf.h"
#include "registry/fpstate.h"
#include "registry/loader.h"
#include "registry/sigstate.h"
#include "registry/trust.h"
#include "registry/verify.h"

#define SUFFIX      ".so"
#define REASON_MAX  1024
#define SYMBOL      "hone_plugin_v1"
#define LINK_FLAGS  (O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
#define FOLDER_NAME "hone"

void
hn_loader_report_fini(struct hn_loader_report *report)
{
	free(report->entries);
	free(report->folders);
	hn_arena_fini(&report->arena);
	*report = (struct hn_loader_report){0};
}

static struct hn_loader_entry *
add_entry(struct hn_loader_report *report, const char *path, const char *id)
{
	struct hn_loader_entry *entry;

	report->entries =
		hn_grow(report->entries, &report->cap, report->n + 1, sizeof *report->entries);
	entry = &report->entries[report->n++];
	*entry = (struct hn_loader_entry){.state = HN_PLUGIN_REFUSED};
	entry->path = path ? hn_arena_strdup(&report->arena, path) : NULL;
	entry->id = id ? hn_arena_strdup(&report->arena, id) : NULL;
	return entry;
}

/* The reason of an entry; the place is left out where it is the entry's own path. */
static void
set_reason(struct hn_loader_report *report, struct hn_loader_entry *entry, struct hone_error *err)
{
	char text[REASON_MAX];

	if (entry->path && strcmp(err->place, entry->path) == 0)
		err->place[0] = '\0';
	hn_error_format(err, text, sizeof text);
	entry->reason = hn_arena_strdup(&report->arena, text);
}

/* An entry before `i` with this id that is loaded, or NULL. */
static const struct hn_loader_entry *
find_loaded(const struct hn_loader_report *report, size_t i, const char *id)
{
	for (size_t k = 0; k < i; k++)
		if (report->entries[k].state == HN_PLUGIN_LOADED &&
			strcmp(report->entries[k].id, id) == 0)
			return &report->entries[k];
	return NULL;
}

static const char *
shown_path(const struct hn_loader_entry *entry)
{
	return entry->path ? entry->path : "the one built into hone";
}

/* Does `plugin` give something that a loaded one gives already? */
static enum hone_status
check_rivals(const struct hn_loader_report *report, const struct hone_plugin *plugin,
	struct hone_error *err)
{
	const struct hone_plugin *other;
	const struct hone_factory *a, *b;

	for (size_t k = 0; k < report->n; k++) {
		other = report->entries[k].plugin;
		for (uint32_t i = 0; other && i < plugin->n_factories; i++) {
			for (uint32_t j = 0; j < other->n_factories; j++) {
				a = plugin->factories[i];
				b = other->factories[j];
				if (strcmp(a->name, b->name) != 0 ||
					(strcmp(a->role, b->role) != 0 &&
						!(a->options && b->options)))
					continue;
				return hone_fail(err, HONE_EPLUGIN,
					"factories: found '%s' (%.60s), expected a name that is "
					"free: %s has it; remove or rename one",
					a->name, a->role, shown_path(&report->entries[k]));
			}
		}
	}
	return HONE_OK;
}

enum hone_status
hn_loader_add_builtin(
	struct hn_loader_report *report, const struct hone_plugin *plugin, struct hone_error *err)
{
	struct hn_str remarks = {0};
	enum hone_status st = hn_verify_plugin(plugin, NULL, &remarks, err);
	struct hn_loader_entry *entry;

	hn_str_fini(&remarks);
	if (!st)
		st = check_rivals(report, plugin, err);
	if (st) {
		hone_error_while(err, "adding what is built in");
		return HONE_EBUG;
	}
	entry = add_entry(report, NULL, plugin->id);
	entry->state = HN_PLUGIN_LOADED;
	entry->plugin = plugin;
	return HONE_OK;
}

/* Everything that can be known without running the file's code. */
static enum hone_status
examine(struct hn_loader_entry *entry, const char *real, bool is_insecure, struct hn_elf_note *note,
	struct hone_error *err)
{
	struct stat info;
	enum hone_status st = is_insecure ? HONE_OK : hn_trust_check(real, err);
	int fd;

	if (st)
		return st;
	fd = open(real, LINK_FLAGS);
	if (fd < 0)
		return hn_fail_errno(err, HONE_EPLUGIN, real, "cannot be opened", errno);
	if (fstat(fd, &info))
		st = hn_fail_errno(err, HONE_EPLUGIN, real, "cannot be examined", errno);
	else if (!S_ISREG(info.st_mode))
		st = hone_fail(err, HONE_EPLUGIN, "type: expected a regular file; remove it");
	else
		st = hn_elf_note_read(fd, (uint64_t)info.st_size, note, err);
	(void)close(fd);
	if (st)
		return st;
	entry->dev = info.st_dev;
	entry->ino = info.st_ino;
	st = hn_verify_abi(note->abi, note->abi_min, err);
	if (!st)
		st = hn_verify_size(
			"note.plugin_bytes", note->plugin_bytes, HN_PLUGIN_BYTES_MIN, err);
	if (!st)
		st = hn_verify_size(
			"note.factory_bytes", note->factory_bytes, HN_FACTORY_BYTES_MIN, err);
	return st;
}

/* The symbol, if this very file defines it and not a library that it pulls in. */
static const struct hone_plugin *
find_symbol(void *handle)
{
	const void *symbol = dlsym(handle, SYMBOL);
	struct link_map *own = NULL;
	void *owner = NULL;
	Dl_info info;

	if (!symbol || dlinfo(handle, RTLD_DI_LINKMAP, &own) ||
		!dladdr1(symbol, &info, &owner, RTLD_DL_LINKMAP) || owner != own)
		return NULL;
	return symbol;
}

/* Runs the file's start-up code; *out is its struct. */
static enum hone_status
open_module(const char *real, const struct hone_plugin **out, struct hn_str *remarks,
	struct hone_error *err)
{
	const struct hn_fp_state before = hn_fp_state_get();
	const struct hn_signal_state signals = hn_signal_state_get();
	const char *slash = strrchr(real, '/');
	struct hn_call call;
	char changed[128];
	const char *why;
	void *handle;

	(void)dlerror();
	hn_call_begin(&call, slash ? slash + 1 : real, "dlopen", NULL);
	handle = dlopen(real, RTLD_NOW | RTLD_LOCAL);
	hn_call_end(&call);
	if (hn_signal_state_restore(&signals, changed, sizeof changed))
		hn_str_printf(remarks, "its start-up code changed %s, which was put back", changed);
	if (hn_fp_state_restore(&before, changed, sizeof changed))
		return hone_fail(err, HONE_EPLUGIN,
			"floating-point state: its start-up code changed %s, expected no change; "
			"link it without -ffast-math",
			changed);
	if (!handle) {
		why = dlerror();
		return hone_fail(err, HONE_EPLUGIN,
			"dlopen: %.300s; install what is missing, or build it against this system",
			why ? why : "failed");
	}
	*out = find_symbol(handle);
	if (!*out)
		return hone_fail(err, HONE_EPLUGIN,
			"symbol: found no " SYMBOL ", expected one; end its source with "
			"HONE_PLUGIN(...) and export that name");
	return HONE_OK;
}

/* The struct against the note, the headers and the other plugins. */
static enum hone_status
check_module(struct hn_loader_report *report, struct hn_loader_entry *entry,
	const struct hn_elf_note *note, const struct hone_plugin *plugin, struct hn_str *remarks,
	struct hone_error *err)
{
	enum hone_status st = hn_verify_plugin(plugin, entry->id, remarks, err);

	if (!st && (plugin->abi != note->abi || plugin->struct_size != note->plugin_bytes))
		st = hone_fail(err, HONE_EPLUGIN,
			"note: found abi 0x%x and %u bytes, expected 0x%x and %u as in the struct; "
			"build all of it with the same headers",
			note->abi, note->plugin_bytes, plugin->abi, plugin->struct_size);
	if (!st)
		st = check_rivals(report, plugin, err);
	if (!st && remarks->len)
		entry->reason = hn_arena_strdup(&report->arena, remarks->text);
	return st;
}

/* Is the file that `entry` names loaded already, by its name or under another one? */
static bool
hide(struct hn_loader_report *report, struct hn_loader_entry *entry, const char *real)
{
	const size_t last = report->n - 1;
	const struct hn_loader_entry *other = find_loaded(report, last, entry->id);
	struct stat info;

	if (!other && !stat(real, &info))
		for (size_t k = 0; k < last && !other; k++)
			if (report->entries[k].plugin && report->entries[k].path &&
				report->entries[k].dev == info.st_dev &&
				report->entries[k].ino == info.st_ino)
				other = &report->entries[k];
	if (!other)
		return false;
	entry->state = HN_PLUGIN_HIDDEN;
	entry->reason = hn_arena_printf(&report->arena, "hidden by %s", shown_path(other));
	return true;
}

void
hn_loader_load(
	struct hn_loader_report *report, const char *path, const struct hn_loader_request *request)
{
	const char *base = hn_path_base(path);
	const size_t n = strlen(base) - (hn_ends_with(base, SUFFIX) ? strlen(SUFFIX) : 0);
	struct hn_loader_entry *entry =
		add_entry(report, path, hn_arena_strndup(&report->arena, base, n));
	struct hone_error err = {0};
	struct hn_elf_note note = {0};
	const struct hone_plugin *plugin = NULL;
	struct hn_str remarks = {0};
	char *real = realpath(path, NULL);
	enum hone_status st;

	if (!real) {
		(void)hn_fail_errno(&err, HONE_EPLUGIN, path, "cannot be found", errno);
		set_reason(report, entry, &err);
		return;
	}
	if (hide(report, entry, real)) {
		free(real);
		return;
	}
	st = examine(entry, real, request->is_insecure, &note, &err);
	if (!st)
		st = open_module(real, &plugin, &remarks, &err);
	if (!st)
		st = check_module(report, entry, &note, plugin, &remarks, &err);
	hn_str_fini(&remarks);
	if (st) {
		set_reason(report, entry, &err);
	} else {
		entry->state = HN_PLUGIN_LOADED;
		entry->plugin = plugin;
	}
	free(real);
}

/* Loads all of a folder in the order of names.  An absent folder matters only where somebody
 * named it. */
static void
scan_folder(struct hn_loader_report *report, const char *path, bool is_named,
	const struct hn_loader_request *request)
{
	struct hone_error err = {0};
	char *real = realpath(path, NULL), **names = NULL, *file;
	size_t n = 0;
	enum hone_status st;

	if (!real || !hn_path_is_dir(real)) {
		if (is_named) {
			(void)hn_fail_errno(&err, HONE_EPLUGIN, path, "cannot be searched",
				real ? ENOTDIR : errno);
			set_reason(report, add_entry(report, path, NULL), &err);
		}
		free(real);
		return;
	}
	for (size_t i = 0; i < report->n_folders; i++) {
		if (strcmp(report->folders[i], real) == 0) {
			free(real);
			return;
		}
	}
	report->folders = hn_grow(report->folders, &report->cap_folders, report->n_folders + 1,
		sizeof *report->folders);
	report->folders[report->n_folders++] = hn_arena_strdup(&report->arena, real);
	st = request->is_insecure ? HONE_OK : hn_trust_check(real, &err);
	if (!st)
		st = hn_dir_list(real, &names, &n, &err);
	if (st)
		set_reason(report, add_entry(report, real, NULL), &err);
	for (size_t i = 0; i < n; i++) {
		if (names[i][0] != '.' && hn_ends_with(names[i], SUFFIX)) {
			file = hn_path_join(real, names[i]);
			hn_loader_load(report, file, request);
			free(file);
		}
		free(names[i]);
	}
	free(names);
	free(real);
}

/* The absolute entries of HONE_PLUGIN_PATH; the others are refused, not silently left out. */
static void
scan_environment(struct hn_loader_report *report, const struct hn_loader_request *request)
{
	const char *list = secure_getenv("HONE_PLUGIN_PATH");
	struct hone_error err = {0};
	char *path;
	size_t n;

	for (; list && *list; list += list[n] ? n + 1 : n) {
		n = strcspn(list, ":");
		if (!n)
			continue;
		path = hn_arena_strndup(&report->arena, list, n);
		if (path[0] == '/') {
			scan_folder(report, path, true, request);
			continue;
		}
		(void)hone_fail(&err, HONE_EPLUGIN,
			"HONE_PLUGIN_PATH: found a relative path, expected absolute ones; write it "
			"from / on");
		set_reason(report, add_entry(report, path, NULL), &err);
	}
}

/* ../lib/hone of a build tree or a small prefix, and ../<libdir>/hone of a distribution. */
static void
scan_beside_program(struct hn_loader_report *report, const struct hn_loader_request *request)
{
	char *program = request->exe_dir ? NULL : realpath("/proc/self/exe", NULL);
	char *dir = program ? hn_path_dir(program) : NULL;
	const char *from = request->exe_dir ? request->exe_dir : dir;
	const char *places[] = {"../lib/" FOLDER_NAME, "../" HONE_LIBDIR_NAME "/" FOLDER_NAME};

	for (size_t i = 0; from && i < sizeof places / sizeof places[0]; i++) {
		char *path = hn_path_join(from, places[i]);

		scan_folder(report, path, false, request);
		free(path);
	}
	free(dir);
	free(program);
}

static void
scan_user(struct hn_loader_report *report, const struct hn_loader_request *request)
{
	const char *data = secure_getenv("XDG_DATA_HOME"), *home = secure_getenv("HOME");
	char *path = NULL;

	if (data && data[0] == '/')
		path = hn_path_join(data, FOLDER_NAME "/plugins");
	else if (home && home[0] == '/')
		path = hn_path_join(home, ".local/share/" FOLDER_NAME "/plugins");
	if (path)
		scan_folder(report, path, false, request);
	free(path);
}

void
hn_loader_scan(struct hn_loader_report *report, const struct hn_loader_request *request)
{
	for (size_t i = 0; i < request->n_dirs; i++)
		scan_folder(report, request->dirs[i], true, request);
	if (request->only_dirs)
		return;
	scan_environment(report, request);
	scan_beside_program(report, request);
	scan_user(report, request);
	scan_folder(report, HONE_LIBDIR "/" FOLDER_NAME, false, request);
}
