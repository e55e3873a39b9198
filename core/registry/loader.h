/*
 * registry/loader.h - plugins out of folders, each checked before any of its code runs.
 *
 * A file is refused, with one line, for the first of these that fails: owner and permissions
 * (trust.h), ELF header and note (elf.h), ABI and struct sizes, dlopen with all symbols, the
 * floating-point state after it (fpstate.h), the struct behind hone_plugin_v1 (verify.h).
 * What is loaded stays loaded until the process ends.  The working directory is never
 * searched, and folders are not searched deeper.
 *
 * Nothing here prints: everything that happened is in the report, for `hone plugins` and for
 * the error "no adapter 'dora'".
 */
#ifndef HN_REGISTRY_LOADER_H
#define HN_REGISTRY_LOADER_H

#include <stdbool.h>

#include <hone/plugin.h>

#include "base/arena.h"

enum hn_plugin_state {
	HN_PLUGIN_LOADED = 1,
	HN_PLUGIN_HIDDEN,  /* an earlier folder has a plugin with its name; not looked at */
	HN_PLUGIN_REFUSED, /* with a reason */
};

/* One file, one linked-in plugin, or a folder that could not be searched. */
struct hn_loader_entry {
	enum hn_plugin_state state;
	const char *path;                 /* NULL: linked into the host */
	const char *id;                   /* the file's name without .so; NULL: a folder */
	const char *reason;               /* one line; loaded: a remark, or NULL */
	const struct hone_plugin *plugin; /* loaded only; valid until the process ends */
	uint64_t dev, ino;
};

struct hn_loader_report {
	struct hn_arena arena;           /* of all texts */
	struct hn_loader_entry *entries; /* in the order of the search; linked-in ones first */
	size_t n, cap;
	const char **folders; /* that were searched */
	size_t n_folders, cap_folders;
};

/* Where to look. */
struct hn_loader_request {
	const char *const *dirs; /* --plugin-dir, in order */
	size_t n_dirs;
	bool only_dirs;      /* look nowhere else */
	bool is_insecure;    /* do not ask for owners and permissions */
	const char *exe_dir; /* of the running program; NULL = ask the system */
};

/* A zeroed report is empty; fini frees it, not the plugins. */
void hn_loader_report_fini(struct hn_loader_report *report);

/* Adds a plugin that is linked into the host.  HONE_EBUG when it is not sound.  [main] */
enum hone_status hn_loader_add_builtin(
	struct hn_loader_report *report, const struct hone_plugin *plugin, struct hone_error *err);

/* Searches, in this order: `dirs`; the absolute entries of HONE_PLUGIN_PATH, unless the
 * process has more rights than its user; beside the program (../lib/hone, ../<libdir>/hone);
 * $XDG_DATA_HOME/hone/plugins; the library folder of this build.  Never fails: what went
 * wrong is in the report.  [main] */
void hn_loader_scan(struct hn_loader_report *report, const struct hn_loader_request *request);

/* Loads one file, as a scan does.  Its entry is the last one of the report.  [main] */
void hn_loader_load(
	struct hn_loader_report *report, const char *path, const struct hn_loader_request *request);

#endif
