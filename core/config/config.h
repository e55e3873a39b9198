/*
 * config/config.h - the configuration of a run: sections, keys, and where each came from.
 *
 * Three layers of text lie over each other, the later one wins: a preset ([run] preset =
 * qlora), the INI file, and --set section.key=value.  Nothing is typed at first, because
 * the option tables of plugins are not known yet:
 *
 *     hn_config_load      texts with their origin; syntax errors
 *     hn_config_read      one section against its table: typed values; all its errors
 *     hn_config_finish    sections that nobody knows or nobody uses
 *     hn_diagnostics_*    what was found, all of it
 *
 * Reading a section marks it as used.  `hn_config_print` writes what was read as an INI
 * file that gives the same values again, and `hn_config_diff` says what differs between two
 * configurations in a way that matters to a resumed run.
 */
#ifndef HN_CONFIG_CONFIG_H
#define HN_CONFIG_CONFIG_H

#include "base/table.h"
#include "config/diagnostic.h"
#include "config/option.h"

enum hn_layer {
	HN_LAYER_DEFAULT = 0,
	HN_LAYER_PRESET,
	HN_LAYER_FILE,
	HN_LAYER_SET,
};

/* One key as it was written in one layer. */
struct hn_config_value {
	const char *section, *key, *text;
	enum hn_layer layer;
	struct hn_ini_place at; /* of the key; for --set its text, without line */
	int32_t value_column;
	const char *dir; /* absolute: where a relative path in `text` starts */
	bool is_quoted, is_commented;
	uint32_t before; /* 1 + index of the value of a lower layer that it hides; 0 = none */
};

/* Known keys that we answer in words instead of with "unknown key". */
struct hn_config_answer {
	const char *key, *text;
	bool is_always_on; /* "yes" is what happens anyway: a warning, not an error */
};

/* Values of the field that a key has not: read as the key's own `means` and told, or, where that
 * is NULL, an error with `text`. */
struct hn_config_word {
	const char *key, *value, *means, *text;
};

/* A section that somebody knows: its keys, and who chooses it. */
struct hn_config_table {
	const char *name;                   /* "lora": owns [lora] and [lora.instance] */
	const struct hone_options *options; /* NULL: a section without keys */
	const char *role; /* the key of [run] that names it ("adapter"), NULL: the host's own */
	const char *help; /* one line for `hone explain`, or NULL */
	const char *kind; /* NULL: a section; else what it is that has none: "storage" */
	bool has_instances;
	const struct hn_config_answer *answers;
	size_t n_answers;
	const struct hn_config_word *words;
	size_t n_words;
};

struct hn_config_section {
	const char *name;            /* "lora.second" */
	const char *type, *instance; /* "lora", "second" or NULL */
	struct hn_ini_place at;      /* line 0: given by --set, or absent and read all the same */
	bool is_given, is_used;      /* by a layer; by hn_config_read or hn_config_use */
	const struct hn_config_table *table; /* after hn_config_read */
	uint32_t *values;                    /* indices into the configuration's values */
	size_t n, cap;
};

struct hn_config {
	struct hn_arena arena;
	const char *path, *dir;
	struct hn_config_value *values;
	size_t n_values, cap_values;
	struct hn_config_section *sections; /* in order of appearance */
	size_t n_sections, cap_sections;
	struct hn_table by_section; /* name -> section */
	struct hn_table by_key;     /* "section\nkey" -> topmost value */
	size_t *read_order;         /* sections that were read, in that order */
	size_t n_read, cap_read;
	bool is_unread; /* nothing of the file could be read: no key of it is missed */
};

struct hn_config_request {
	const char *path; /* of the INI file, as the user gave it */
	const char *text; /* its content, when it is not to be read; else NULL */
	size_t text_bytes;
	const char *const *sets; /* "section.key=value" */
	size_t n_sets;
	const char *preset_dir; /* where preset names are looked up; NULL = nowhere */
};

/* Loads and merges.  Fails only where the file cannot be read at all; everything else is in
 * `diagnostics`, and *out holds what could be read.  The caller destroys *out. */
enum hone_status hn_config_load(struct hn_config **out, const struct hn_config_request *request,
	struct hn_diagnostics *diagnostics, struct hone_error *err);
void hn_config_destroy(struct hn_config *config); /* NULL-safe */

/* The section of this name, NULL when no layer gives it.  Valid until the next read. */
const struct hn_config_section *hn_config_section(const struct hn_config *config, const char *name);

/* The topmost text of exactly this key (no aliases), NULL when no layer gives it. */
const struct hn_config_value *hn_config_get(
	const struct hn_config *config, const char *section, const char *key);

/* The value that counts for an option, by its key or an alias; NULL = the default. */
const struct hn_config_value *hn_config_find(
	const struct hn_config *config, const char *section, const struct hone_option *option);

/* Gives an error about a section's values its place: that of the key that `err->text` begins
 * with, else of the section.  A place that is known stays. */
void hn_config_locate(const struct hn_config *config, const char *section, struct hone_error *err);

/* Marks a section as used without reading it (its plugin speaks another table). */
void hn_config_use(struct hn_config *config, const char *section);

/* Adds a value as --set does, over all layers; for commands that change a configuration. */
void hn_config_set(
	struct hn_config *config, const char *assignment, struct hn_diagnostics *diagnostics);

/* Everything that reading needs. */
struct hn_config_check {
	struct hn_config *config;
	const struct hn_config_table *tables; /* all that are known, also of unused plugins */
	size_t n_tables;
	hn_option_resolve_fn resolve; /* of SITES and SITE_MAP, NULL before the model is known */
	void *resolve_ctx;
	struct hn_diagnostics *diagnostics;
};

/* Whether a folder of presets has this name; "cpt, qlora", or "none"; a page of one of them. */
bool hn_preset_is(const char *preset_dir, const char *name);
void hn_preset_list(const char *preset_dir, struct hn_str *out);
enum hone_status hn_preset_put(
	const char *preset_dir, const char *name, struct hn_str *out, struct hone_error *err);

/* The table of a section name or of its type, NULL when nobody owns it. */
const struct hn_config_table *hn_config_table(
	const struct hn_config_check *check, const char *section);

/* Checks one section against its table and writes its values (NULL = only check), which is
 * zeroed first: every option is written, absent ones with their default.  Reports: unknown
 * and misplaced keys, aliases, a key given twice, required keys that are missing, values
 * that do not parse.  Strings live as long as the configuration.
 * HONE_ECONFIG when an error was added or the file is unread, HONE_ENOTFOUND when no table owns the section. */
enum hone_status hn_config_read(
	const struct hn_config_check *check, const char *name, void *values);

/* Reports sections that nobody knows, and those that nobody has read.  Call last. */
void hn_config_finish(const struct hn_config_check *check);

/* Where a value comes from: "run.ini:14", "--set", "preset qlora.ini:3", "default", and
 * what it hides: "run.ini:14, over preset qlora.ini:3". */
void hn_config_put_origin(
	const struct hn_config *config, const struct hn_config_value *value, struct hn_str *out);

/* The configuration as it counts: each section that was read, each key of its table, with
 * its origin as a comment if asked for.  Paths are absolute, aliases are replaced.  Loading
 * that text gives the same values. */
void hn_config_print(const struct hn_config *config, bool with_origin, struct hn_str *out);

/* One key that differs, or (key NULL) a section that only one of the two uses: then the
 * other's text is NULL, as it is for a key that is absent. */
struct hn_config_change {
	const char *section, *key;
	const char *was, *is; /* canonical texts */
};

/* What differs between the sections that were read of two configurations, without the keys
 * that a resumed run may change (HONE_OPTION_RUNTIME).  The array and its texts are owned
 * by `arena`. */
struct hn_config_change *hn_config_diff(const struct hn_config *old, const struct hn_config *now,
	struct hn_arena *arena, size_t *n);

#endif
