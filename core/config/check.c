/*
 * check.c - a section against its table: every error of it, and its typed values.
 *
 * The message order of care: a key that is known elsewhere is misplaced rather than
 * misspelled, a key of the field that we answer in words is neither, and only then the
 * nearest word is looked for, among keys and aliases, here before elsewhere.
 *
 * Hidden layers are checked like the topmost one, but only the topmost value is parsed: a
 * preset's bad value that the file replaces harms nobody, a preset's bad key is a mistake.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/config.h"

#define MAX_HOMES 3 /* sections named in "belongs into ..." */

static const struct hone_options no_options;

/* A section without keys has a table without options. */
static const struct hone_options *
options_of(const struct hn_config_table *table)
{
	return table->options ? table->options : &no_options;
}

/* The part before the first dot owns the section, if it may have instances. */
const struct hn_config_table *
hn_config_table(const struct hn_config_check *check, const char *section)
{
	size_t n = strcspn(section, ".");

	for (size_t i = 0; i < check->n_tables; i++) {
		const struct hn_config_table *table = &check->tables[i];

		if (strlen(table->name) == n && memcmp(table->name, section, n) == 0)
			return section[n] && !table->has_instances ? NULL : table;
	}
	return NULL;
}

const struct hn_config_value *
hn_config_find(
	const struct hn_config *config, const char *section, const struct hone_option *option)
{
	const struct hn_config_value *top = hn_config_get(config, section, option->key), *other;
	struct hn_arena arena = {0};
	const char **aliases;
	size_t n = 0;

	/* The key itself first, then what else it is called.
	 * Values are kept in the order of their layers: the last one is the topmost. */
	aliases = hn_words_split(option->aliases, &arena, &n);
	for (size_t i = 0; i < n; i++) {
		other = hn_config_get(config, section, aliases[i]);
		if (other && (!top || other > top))
			top = other;
	}
	hn_arena_fini(&arena);
	return top;
}

/* The place of a value's text, where its key has a line. */
static struct hn_ini_place
text_place(const struct hn_config_value *value)
{
	struct hn_ini_place at = value->at;

	if (at.line)
		at.column = value->value_column;
	return at;
}

/* An error with its section before it: "[train] learning_rate = 2e4: ...". */
static void
fail_at(const struct hn_config_check *check, struct hn_ini_place at, const char *section,
	const char *text)
{
	hn_diagnose(check->diagnostics, HN_SEVERITY_ERROR, at, "[%.60s] %s", section, text);
}

/* The words that a section has for a key it does not offer. */
static const struct hn_config_answer *
find_answer(const struct hn_config_table *table, const char *key)
{
	for (size_t i = 0; i < table->n_answers; i++)
		if (hn_streq(table->answers[i].key, key))
			return &table->answers[i];
	return NULL;
}

/* Says them: a warning where the user asked for what happens anyway. */
static void
give_answer(const struct hn_config_check *check, const struct hn_config_value *value,
	const struct hn_config_answer *answer)
{
	bool is_agreed = answer->is_always_on &&
		(strcasecmp(value->text, "yes") == 0 || strcasecmp(value->text, "true") == 0 ||
			strcasecmp(value->text, "on") == 0);

	hn_diagnose(check->diagnostics, is_agreed ? HN_SEVERITY_WARNING : HN_SEVERITY_ERROR,
		value->at, "[%.60s] %s: %s", value->section, value->key, answer->text);
}

/* "[train]" or "[lora] or [dora]": the tables but this one that know the key. */
static size_t
find_homes(const struct hn_config_check *check, const struct hn_config_table *not_this,
	const char *key, struct hn_str *out)
{
	size_t n = 0;

	for (size_t i = 0; i < check->n_tables && n < MAX_HOMES; i++) {
		const struct hn_config_table *table = &check->tables[i];

		if (table != not_this && hn_options_find(options_of(table), key) >= 0)
			hn_str_printf(out, "%s[%s]", n++ ? " or " : "", table->name);
	}
	return n;
}

/* "; did you mean 'r' (rank)?" from this table, or "; did you mean [train] ...?". */
static void
put_nearest(const struct hn_config_check *check, const struct hn_config_table *table,
	const char *key, struct hn_str *out)
{
	struct hn_arena arena = {0};
	const char *matched = NULL;
	int64_t row = hn_options_nearest(options_of(table), key, &arena, &matched);

	/* Nothing near in this section: the key may be another one's, and misspelled. */
	for (size_t i = 0; row < 0 && i < check->n_tables; i++) {
		const struct hone_options *options = options_of(&check->tables[i]);

		row = hn_options_nearest(options, key, &arena, &matched);
		if (row >= 0)
			hn_str_printf(out, "; did you mean [%s] %s?", check->tables[i].name,
				hn_options_at(options, (uint32_t)row).key);
	}
	if (row >= 0 && !out->len) {
		const char *canonical = hn_options_at(options_of(table), (uint32_t)row).key;

		hn_str_printf(out, "; did you mean '%s'", canonical);
		if (!hn_streq(canonical, matched))
			hn_str_printf(out, " (%s)", matched);
		hn_str_puts(out, "?");
	}
	hn_arena_fini(&arena);
}

/* The order of care that the head of this file names. */
static void
complain_unknown_key(const struct hn_config_check *check, const struct hn_config_table *table,
	const struct hn_config_value *value)
{
	const struct hn_config_answer *answer = find_answer(table, value->key);
	struct hn_str text = {0};

	if (answer) {
		give_answer(check, value, answer);
		return;
	}
	if (find_homes(check, table, value->key, &text)) {
		hn_diagnose(check->diagnostics, HN_SEVERITY_ERROR, value->at,
			"[%.60s] %s belongs into %s", value->section, value->key, text.text);
		hn_str_fini(&text);
		return;
	}
	/* An answer of another section: users of flat configurations put keys anywhere. */
	for (size_t i = 0; i < check->n_tables && !answer; i++)
		answer = find_answer(&check->tables[i], value->key);
	if (answer) {
		give_answer(check, value, answer);
	} else {
		put_nearest(check, table, value->key, &text);
		hn_diagnose(check->diagnostics, HN_SEVERITY_ERROR, value->at,
			"[%.60s] unknown key '%s'%s", value->section, value->key,
			text.text ? text.text : "");
	}
	hn_str_fini(&text);
}

/* Two words for one option in one file: `lr` and `learning_rate`.  --set may repeat. */
static void
check_twice(const struct hn_config_check *check, const struct hn_config_section *section,
	const int64_t *rows, size_t i)
{
	const struct hn_config_value *values = check->config->values, *old;
	const struct hn_config_value *value = &values[section->values[i]];

	for (size_t j = 0; j < i && value->layer != HN_LAYER_SET; j++) {
		old = &values[section->values[j]];
		if (rows[j] == rows[i] && old->layer == value->layer)
			hn_diagnose(check->diagnostics, HN_SEVERITY_ERROR, value->at,
				"[%.60s] %s says what '%s' in line %d says; keep one",
				section->name, value->key, old->key, old->at.line);
	}
}

/* All keys that the layers give: unknown ones, aliases, and two words for one thing. */
static void
check_keys(const struct hn_config_check *check, const struct hn_config_section *section,
	const struct hn_config_table *table)
{
	const struct hone_options *options = options_of(table);
	int64_t *rows = hn_alloc((section->n + 1) * sizeof *rows);

	for (size_t i = 0; i < section->n; i++) {
		const struct hn_config_value *value = &check->config->values[section->values[i]];
		struct hone_option row;

		rows[i] = hn_options_find(options, value->key);
		if (rows[i] < 0) {
			complain_unknown_key(check, table, value);
			rows[i] = -1 - (int64_t)i; /* equal to no other */
			if (check->diagnostics->n_errors > HN_DIAGNOSTICS_MAX)
				break;
			continue;
		}
		row = hn_options_at(options, (uint32_t)rows[i]);
		if (!hn_streq(row.key, value->key)) {
			hn_diagnose(check->diagnostics, HN_SEVERITY_WARNING, value->at,
				"[%.60s] '%s' is called '%s' here and read as that", section->name,
				value->key, row.key);
			check_twice(check, section, rows, i);
		} else if (row.aliases) {
			check_twice(check, section, rows, i);
		}
	}
	free(rows);
}

/* A required key that is not there: its help says what to write. */
static void
complain_missing(const struct hn_config_check *check, const struct hn_config_section *section,
	const struct hone_option *option)
{
	struct hn_ini_place at = {.path = check->config->path};

	if (check->config->is_unread)
		return;
	if (section->is_given && section->at.line)
		at = section->at;
	hn_diagnose(check->diagnostics, HN_SEVERITY_ERROR, at, "[%.60s] %s is required: %s",
		section->name, option->key, option->help);
}

/* "${HOME}/x", "$HOME/x" or "~/x": what a shell would replace. */
static bool
names_variable(const char *path)
{
	return strstr(path, "${") || path[0] == '$' || hn_starts_with(path, "~/");
}

/* A value that other programs have for what the key says: read as that, or refused with what to
 * write.  False: refused. */
static bool
take_word(const struct hn_config_check *check, const struct hn_config_section *section,
	const struct hone_option *option, const struct hn_config_value *value)
{
	const struct hn_config_table *table = section->table;
	struct hn_config_value *own = &check->config->values[value - check->config->values];

	for (size_t i = 0; i < table->n_words; i++) {
		const struct hn_config_word *word = &table->words[i];

		if (!hn_streq(word->key, option->key) || !hn_streq(word->value, value->text))
			continue;
		hn_diagnose(check->diagnostics,
			word->means ? HN_SEVERITY_WARNING : HN_SEVERITY_ERROR, text_place(value),
			word->means ? "[%.60s] %s: '%s' is called '%s' here and read as that"
				    : "[%.60s] %s = %s: %s",
			section->name, value->key, word->value,
			word->means ? word->means : word->text);
		if (word->means)
			own->text = word->means;
		return word->means != NULL;
	}
	return true;
}

/* Parses the value of one option, given or default, and writes it. */
static void
read_option(const struct hn_config_check *check, const struct hn_config_section *section,
	const struct hone_option *option, void *values)
{
	const struct hn_config_value *value = hn_config_find(check->config, section->name, option);
	struct hn_option_ground ground = {
		.dir = value ? value->dir : check->config->dir,
		.arena = &check->config->arena,
		.resolve = check->resolve,
		.resolve_ctx = check->resolve_ctx,
	};
	struct hn_option_value parsed;
	struct hone_error err = {0};
	struct hn_ini_place at = {.path = check->config->path};

	if (!value && option->flags & HONE_OPTION_REQUIRED) {
		complain_missing(check, section, option);
		return;
	}
	/* Three kinds of trouble: no text, text lost to a comment, text that does not parse. */
	if (value)
		at = text_place(value);
	if (value && value->text[0] == '\0' && !value->is_quoted) {
		hn_diagnose(check->diagnostics, HN_SEVERITY_ERROR, value->at,
			"[%.60s] %s has no value; write one, or delete the line", section->name,
			value->key);
		return;
	}
	if (value && value->is_commented && !value->is_quoted && option->type == HONE_OPTION_STRING)
		hn_diagnose(check->diagnostics, HN_SEVERITY_WARNING, at,
			"[%.60s] %s: the text after ' ;' is a comment; quote the value to keep it, "
			"or to silence this",
			section->name, value->key);
	if (value && option->type == HONE_OPTION_PATH && names_variable(value->text))
		hn_diagnose(check->diagnostics, HN_SEVERITY_WARNING, at,
			"[%.60s] %s: hone reads no environment variables, so this stays as it is "
			"written; write the path in full",
			section->name, value->key);
	if (value && !take_word(check, section, option, value))
		return;
	if (hn_option_parse(
		    option, value ? value->text : option->default_value, &ground, &parsed, &err))
		fail_at(check, at, section->name, err.text);
	else if (values)
		hn_option_store(option, &parsed, values);
}

/* The section to read; one that no layer gives is added, all of it defaults. */
static size_t
open_section(struct hn_config *config, const char *name, const struct hn_config_table *table)
{
	const uint64_t *found = hn_table_get(&config->by_section, name);
	struct hn_config_section *section;
	size_t index;

	if (found) {
		index = (size_t)*found;
	} else {
		index = config->n_sections;
		config->sections = hn_grow(config->sections, &config->cap_sections, index + 1,
			sizeof *config->sections);
		config->sections[index] = (struct hn_config_section){
			.name = hn_arena_strdup(&config->arena, name),
			.type = table->name,
		};
		(void)hn_table_set(&config->by_section, name, config->n_sections++);
	}
	section = &config->sections[index];
	/* The first read sets the place in the printed order. */
	if (!section->table) {
		config->read_order = hn_grow(config->read_order, &config->cap_read,
			config->n_read + 1, sizeof *config->read_order);
		config->read_order[config->n_read++] = index;
	}
	section->is_used = true;
	section->table = table;
	return index;
}

enum hone_status
hn_config_read(const struct hn_config_check *check, const char *name, void *values)
{
	const struct hn_config_table *table = hn_config_table(check, name);
	size_t n_errors = check->diagnostics->n_errors;
	const struct hn_config_section *section;
	const struct hone_options *options;
	size_t index;

	if (!table)
		return HONE_ENOTFOUND;
	options = options_of(table);
	index = open_section(check->config, name, table); /* may move the sections */
	section = &check->config->sections[index];
	/* All keys that are given, then all options that there are. */
	if (values)
		memset(values, 0, options->value_bytes);
	check_keys(check, section, table);
	for (uint32_t i = 0; i < options->n; i++) {
		struct hone_option row = hn_options_at(options, i);

		read_option(check, section, &row, values);
	}
	return check->diagnostics->n_errors > n_errors || check->config->is_unread ? HONE_ECONFIG
										   : HONE_OK;
}

/* Nobody owns it: misspelled, an instance of what has none, or of a plugin not found. */
static void
complain_unknown_section(
	const struct hn_config_check *check, const struct hn_config_section *section)
{
	const char **names = hn_alloc((check->n_tables + 1) * sizeof *names), *near;
	bool is_type_known = false;

	for (size_t i = 0; i < check->n_tables; i++) {
		names[i] = check->tables[i].name;
		is_type_known |= hn_streq(names[i], section->type);
	}
	near = hn_nearest(section->type, names, check->n_tables);
	if (is_type_known)
		hn_diagnose(check->diagnostics, HN_SEVERITY_ERROR, section->at,
			"[%.60s]: [%s] has no instances", section->name, section->type);
	else if (near)
		hn_diagnose(check->diagnostics, HN_SEVERITY_ERROR, section->at,
			"unknown section [%.60s]; did you mean [%s%s%.60s]?", section->name, near,
			section->instance ? "." : "", section->instance ? section->instance : "");
	else
		hn_diagnose(check->diagnostics, HN_SEVERITY_ERROR, section->at,
			"unknown section [%.60s]; no part of hone and no plugin found here owns it",
			section->name);
	free(names);
}

/* Known and not read: most often a technique that [run] does not choose. */
static void
complain_unused_section(const struct hn_config_check *check,
	const struct hn_config_section *section, const struct hn_config_table *table)
{
	const struct hn_config_value *chosen;

	chosen = table->role ? hn_config_get(check->config, "run", table->role) : NULL;
	if (chosen)
		hn_diagnose(check->diagnostics, HN_SEVERITY_ERROR, section->at,
			"[%.60s] is given, but %s = %s", section->name, table->role,
			hn_clip(&check->diagnostics->arena, chosen->text, strlen(chosen->text)));
	else if (table->role)
		hn_diagnose(check->diagnostics, HN_SEVERITY_ERROR, section->at,
			"[%.60s] is given, but [run] names no %s", section->name, table->role);
	else
		hn_diagnose(check->diagnostics, HN_SEVERITY_ERROR, section->at,
			"[%.60s] is given, but nothing in this run uses it", section->name);
}

/* Sorted here, because sections are read in the host's order and not in the file's. */
void
hn_config_finish(const struct hn_config_check *check)
{
	for (size_t i = 0; i < check->config->n_sections; i++) {
		const struct hn_config_section *section = &check->config->sections[i];
		const struct hn_config_table *table = hn_config_table(check, section->name);

		if (section->is_used)
			continue;
		if (!table)
			complain_unknown_section(check, section);
		else
			complain_unused_section(check, section, table);
	}
	hn_diagnostics_sort(check->diagnostics);
}
