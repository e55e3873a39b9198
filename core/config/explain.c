/*
 * explain.c - what an option table says, as text and as a JSON schema.
 *
 * Values of an INI are texts; the schema gives each the JSON type that a form or a search
 * over settings would use (a list is an array of strings, bytes are a string or a number).
 */
#include "config/explain.h"

#include <math.h>
#include <string.h>

/* A table or nothing, by its name. */
static const struct hn_config_table *
find_table(const struct hn_config_table *tables, size_t n, const char *name, size_t name_len)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(tables[i].name) == name_len &&
			memcmp(tables[i].name, name, name_len) == 0)
			return &tables[i];
	return NULL;
}

/* Number of a table's keys. */
static uint32_t
rows_of(const struct hn_config_table *table)
{
	return table->options ? table->options->n : 0;
}

/* What one writes for a value of this type. */
static const char *
type_name(int32_t type)
{
	switch (type) {
	case HONE_OPTION_BOOL:
		return "yes or no";
	case HONE_OPTION_I64:
		return "whole number";
	case HONE_OPTION_F64:
		return "number";
	case HONE_OPTION_STRING:
		return "text";
	case HONE_OPTION_CHOICE:
		return "one of";
	case HONE_OPTION_LIST:
		return "list, separated by commas";
	case HONE_OPTION_PATH:
		return "path, from the folder of the INI file";
	case HONE_OPTION_BYTES:
		return "bytes, such as 64KiB, 512MiB or 8GiB";
	case HONE_OPTION_SITES:
		return "places in the model: names, roles, a regex, or all-linear";
	case HONE_OPTION_SITE_MAP:
		return "pattern: number, ... of places in the model";
	default:
		return "unknown type";
	}
}

/* "a|b|c" as "a, b, c". */
static void
put_words(const char *words, struct hn_str *out)
{
	for (; *words; words++) {
		if (*words == '|')
			hn_str_puts(out, ", ");
		else
			hn_str_putc(out, *words);
	}
}

/* One key: type, range, default, meaning, aliases, whether a resume may change it. */
static void
explain_option(const char *section, const struct hone_option *option, struct hn_str *out)
{
	struct hn_str range = {0};

	hn_str_printf(out, "[%s] %s\n  %s", section, option->key, type_name(option->type));
	if (option->type == HONE_OPTION_CHOICE) {
		hn_str_putc(out, ' ');
		put_words(option->choices, out);
	}
	hn_option_put_range(option, &range);
	if (range.len) /* without its "must be" */
		hn_str_printf(out, ", %s", range.text + strlen("must be "));
	if (option->flags & HONE_OPTION_REQUIRED)
		hn_str_puts(out, "; required\n");
	else if (option->default_value)
		hn_str_printf(out, "; default %s\n", option->default_value);
	else
		hn_str_puts(out, "; not set by default\n");
	hn_str_printf(out, "  %s\n", option->help ? option->help : "");
	if (option->aliases) {
		hn_str_puts(out, "  also read: ");
		put_words(option->aliases, out);
		hn_str_putc(out, '\n');
	}
	if (option->flags & HONE_OPTION_RUNTIME)
		hn_str_puts(out, "  a run that goes on may change it\n");
	hn_str_fini(&range);
}

/* A section and all of its keys. */
static void
explain_table(const struct hn_config_table *table, struct hn_str *out)
{
	if (table->kind)
		hn_str_printf(out, "%s (%s)\n", table->name, table->kind);
	else
		hn_str_printf(out, "[%s]%s%s%s\n", table->name, table->has_instances ? " [" : "",
			table->has_instances ? table->name : "",
			table->has_instances ? ".name]" : "");
	if (table->help)
		hn_str_printf(out, "  %s\n", table->help);
	if (table->role)
		hn_str_printf(out, "  chosen by [run] %s = %s\n", table->role, table->name);
	for (uint32_t i = 0; i < rows_of(table); i++) {
		struct hone_option option = hn_options_at(table->options, i);

		hn_str_putc(out, '\n');
		explain_option(table->name, &option, out);
	}
}

/* Every key or answer of this name, in all tables; how many there were. */
static size_t
explain_key(
	const struct hn_config_table *tables, size_t n_tables, const char *key, struct hn_str *out)
{
	size_t n = 0;

	for (size_t i = 0; i < n_tables; i++) {
		int64_t row = tables[i].options ? hn_options_find(tables[i].options, key) : -1;

		if (row >= 0) {
			struct hone_option option = hn_options_at(tables[i].options, (uint32_t)row);

			hn_str_puts(out, n++ ? "\n" : "");
			explain_option(tables[i].name, &option, out);
		}
		for (size_t a = 0; a < tables[i].n_answers; a++)
			if (hn_streq(tables[i].answers[a].key, key))
				hn_str_printf(out, "%s%s: %s\n", n++ ? "\n" : "", key,
					tables[i].answers[a].text);
	}
	return n;
}

/* The key of any table that is nearest to a name, as "section.key", or NULL.  Its section was
 * not said, so it must be nearer than a word that is compared with its equals. */
static const char *
nearest_key(const struct hn_config_table *tables, size_t n_tables, const char *name,
	struct hn_arena *arena)
{
	const char *near = NULL, *matched;
	size_t least = 1 + strlen(name) / 8;

	for (size_t i = 0; i < n_tables; i++) {
		const struct hone_options *options = tables[i].options;
		const int64_t row =
			options ? hn_options_nearest(options, name, arena, &matched) : -1;
		const size_t distance = row >= 0 ? hn_edit_distance(name, matched) : SIZE_MAX;

		if (distance > least || (near && distance == least))
			continue;
		least = distance;
		near = hn_arena_printf(
			arena, "%s.%s", tables[i].name, hn_options_at(options, (uint32_t)row).key);
	}
	return near;
}

/* No such section or key: the nearest of both. */
static enum hone_status
refuse_name(const struct hn_config_table *tables, size_t n_tables, const char *name,
	struct hone_error *err)
{
	struct hn_arena arena = {0};
	const char **names = hn_arena_array(&arena, n_tables + 1, sizeof *names), *near;

	for (size_t i = 0; i < n_tables; i++)
		names[i] = tables[i].name;
	near = hn_nearest(name, names, n_tables);
	if (!near)
		near = nearest_key(tables, n_tables, name, &arena);
	(void)hone_fail(err, HONE_EUSAGE, "nothing is called '%.60s'%s%s%s", name,
		near ? "; did you mean '" : "; hone explain lists the names", near ? near : "",
		near ? "'?" : "");
	hn_arena_fini(&arena);
	return HONE_EUSAGE;
}

/* A key that this section has not: the section is known, so every near word counts. */
static enum hone_status
refuse_key(const struct hn_config_table *table, const char *key, struct hone_error *err)
{
	struct hn_arena arena = {0};
	const char *matched = NULL;
	const int64_t row =
		table->options ? hn_options_nearest(table->options, key, &arena, &matched) : -1;

	if (row < 0)
		(void)hone_fail(err, HONE_EUSAGE,
			"[%s] has no key '%.60s'; hone explain %s lists them", table->name, key,
			table->name);
	else
		(void)hone_fail(err, HONE_EUSAGE, "[%s] has no key '%.60s'; did you mean '%s.%s'?",
			table->name, key, table->name,
			hn_options_at(table->options, (uint32_t)row).key);
	hn_arena_fini(&arena);
	return HONE_EUSAGE;
}

enum hone_status
hn_explain(const struct hn_config_table *tables, size_t n_tables, const char *name,
	struct hn_str *out, struct hone_error *err)
{
	const struct hn_config_table *table;
	size_t n;

	for (size_t i = 0; i < n_tables && !name; i++)
		hn_str_printf(out, "%-16s %s%s%s\n", tables[i].name,
			tables[i].kind ? tables[i].kind : "", tables[i].kind ? ": " : "",
			tables[i].help ? tables[i].help : "");
	if (!name)
		return HONE_OK;
	/* A section, then its key, then a key of any section. */
	n = strcspn(name, ".");
	table = find_table(tables, n_tables, name, n);
	if (table && !name[n]) {
		explain_table(table, out);
		return HONE_OK;
	}
	if (table && explain_key(table, 1, name + n + 1, out))
		return HONE_OK;
	if (!name[n] && explain_key(tables, n_tables, name, out))
		return HONE_OK;
	if (table)
		return refuse_key(table, name + n + 1, err);
	return refuse_name(tables, n_tables, name, err);
}

/* A NUL-terminated text as a JSON string. */
static void
put_json(struct hn_str *out, const char *text)
{
	hn_str_put_json(out, text, strlen(text));
}

/* "a|b|c" as the schema's enum. */
static void
json_words(const char *words, struct hn_str *out)
{
	size_t n;

	hn_str_puts(out, ",\"enum\":[");
	for (;;) {
		n = strcspn(words, "|");
		hn_str_put_json(out, words, n);
		if (!words[n])
			break;
		hn_str_putc(out, ',');
		words += n + 1;
	}
	hn_str_putc(out, ']');
}

/* The schema's type, and for a choice its words. */
static void
json_type(const struct hone_option *option, struct hn_str *out)
{
	switch (option->type) {
	case HONE_OPTION_BOOL:
		hn_str_puts(out, "\"type\":\"boolean\"");
		break;
	case HONE_OPTION_I64:
		hn_str_puts(out, "\"type\":\"integer\"");
		break;
	case HONE_OPTION_F64:
		hn_str_puts(out, "\"type\":\"number\"");
		break;
	case HONE_OPTION_LIST:
		hn_str_puts(out, "\"type\":\"array\",\"items\":{\"type\":\"string\"}");
		break;
	case HONE_OPTION_BYTES:
		hn_str_puts(out, "\"type\":[\"string\",\"integer\"]");
		break;
	default:
		hn_str_puts(out, "\"type\":\"string\"");
		break;
	}
	if (option->type == HONE_OPTION_CHOICE)
		json_words(option->choices, out);
	if (option->type == HONE_OPTION_PATH)
		hn_str_puts(out, ",\"format\":\"path\"");
}

/* The schema's bounds; an open bound is an exclusive one. */
static void
json_range(const struct hone_option *option, struct hn_str *out)
{
	if (option->min == 0 && option->max == 0)
		return;
	if (option->min > -INFINITY) {
		hn_str_puts(out,
			option->flags & HONE_OPTION_OPEN_MIN ? ",\"exclusiveMinimum\":"
							     : ",\"minimum\":");
		hn_str_put_f64(out, option->min);
	}
	if (option->max < INFINITY) {
		hn_str_puts(out,
			option->flags & HONE_OPTION_OPEN_MAX ? ",\"exclusiveMaximum\":"
							     : ",\"maximum\":");
		hn_str_put_f64(out, option->max);
	}
}

/* The default, as a value of the option's JSON type. */
static void
json_default(const struct hone_option *option, struct hn_str *out)
{
	struct hn_arena arena = {0};
	struct hn_option_ground ground = {.dir = "", .arena = &arena};
	struct hn_option_value value;

	if (!option->default_value ||
		hn_option_parse(option, option->default_value, &ground, &value, NULL))
		return;
	hn_str_puts(out, ",\"default\":");
	switch (option->type) {
	case HONE_OPTION_BOOL:
		hn_str_puts(out, value.index ? "true" : "false");
		break;
	case HONE_OPTION_I64:
	case HONE_OPTION_F64:
		hn_option_put(option, &value, out);
		break;
	case HONE_OPTION_LIST:
		hn_str_putc(out, '[');
		for (int64_t i = 0; i < value.list.n; i++) {
			hn_str_puts(out, i ? "," : "");
			put_json(out, value.list.items[i]);
		}
		hn_str_putc(out, ']');
		break;
	default:
		put_json(out, option->default_value);
		break;
	}
	hn_arena_fini(&arena);
}

/* Whether row `i` belongs to what was asked for: a key, by any of its names, or all. */
static bool
is_asked(const struct hn_config_table *table, const char *key, uint32_t i)
{
	return !key || hn_options_find(table->options, key) == (int64_t)i;
}

/* Other names that are read as this one. */
static void
json_aliases(const struct hone_option *option, struct hn_str *out)
{
	struct hn_arena arena = {0};
	const char **words;
	size_t n = 0;

	words = hn_words_split(option->aliases, &arena, &n);
	for (size_t i = 0; i < n; i++) {
		hn_str_puts(out, i ? "," : ",\"aliases\":[");
		put_json(out, words[i]);
	}
	hn_str_puts(out, n ? "]" : "");
	hn_arena_fini(&arena);
}

static void
json_option(const struct hone_option *option, struct hn_str *out)
{
	put_json(out, option->key);
	hn_str_puts(out, ":{");
	json_type(option, out);
	json_range(option, out);
	json_default(option, out);
	json_aliases(option, out);
	hn_str_puts(out, ",\"description\":");
	put_json(out, option->help ? option->help : "");
	hn_str_putc(out, '}');
}

/* One section as an object that allows no other keys; with `key`, that one alone. */
static void
json_table(const struct hn_config_table *table, const char *key, struct hn_str *out)
{
	size_t n = 0, n_required = 0;

	hn_str_puts(out, "{\"type\":\"object\",\"description\":");
	put_json(out, table->help ? table->help : table->name);
	hn_str_printf(out, ",\"additionalProperties\":%s,\"properties\":{", key ? "true" : "false");
	for (uint32_t i = 0; i < rows_of(table); i++) {
		struct hone_option option = hn_options_at(table->options, i);

		if (!is_asked(table, key, i))
			continue;
		hn_str_puts(out, n++ ? "," : "");
		json_option(&option, out);
	}
	hn_str_puts(out, "},\"required\":[");
	for (uint32_t i = 0; i < rows_of(table); i++) {
		struct hone_option option = hn_options_at(table->options, i);

		if (option.flags & HONE_OPTION_REQUIRED && is_asked(table, key, i)) {
			hn_str_puts(out, n_required++ ? "," : "");
			put_json(out, option.key);
		}
	}
	hn_str_puts(out, "]}");
}

/* What of the tables is asked for: all, one table, or a key of one or of all. */
struct asked {
	const struct hn_config_table *tables, *table; /* NULL: all of them */
	size_t n_tables;
	const char *key; /* NULL: all keys */
};

static bool
has_table(const struct asked *asked, const struct hn_config_table *table)
{
	if (asked->table && asked->table != table)
		return false;
	return !asked->key || (table->options && hn_options_find(table->options, asked->key) >= 0);
}

/* The members of the document; how many there were. */
static size_t
json_sections(const struct asked *asked, struct hn_str *out)
{
	size_t n = 0, n_patterns = 0;

	hn_str_puts(out, "\"properties\":{");
	for (size_t i = 0; i < asked->n_tables; i++) {
		if (asked->tables[i].kind || !has_table(asked, &asked->tables[i]))
			continue;
		hn_str_puts(out, n++ ? "," : "");
		put_json(out, asked->tables[i].name);
		hn_str_putc(out, ':');
		json_table(&asked->tables[i], asked->key, out);
	}
	hn_str_puts(out, "},\"patternProperties\":{");
	for (size_t i = 0; i < asked->n_tables; i++) {
		const struct hn_config_table *table = &asked->tables[i];

		if (!table->has_instances || !has_table(asked, table))
			continue;
		hn_str_printf(out, "%s\"^%s[.]\":{\"$ref\":\"#/properties/%s\"}",
			n_patterns++ ? "," : "", table->name, table->name);
	}
	hn_str_puts(out, "}");
	return n;
}

/* Plugins and what else has a name and no section. */
static size_t
json_plugins(const struct asked *asked, struct hn_str *out)
{
	size_t n = 0;

	for (size_t i = 0; i < asked->n_tables && !asked->key; i++) {
		const struct hn_config_table *table = &asked->tables[i];

		if (!table->kind || !has_table(asked, table))
			continue;
		hn_str_puts(out, n++ ? ",{\"name\":" : ",\"plugins\":[{\"name\":");
		put_json(out, table->name);
		hn_str_puts(out, ",\"kind\":");
		put_json(out, table->kind);
		hn_str_puts(out, ",\"description\":");
		put_json(out, table->help ? table->help : "");
		hn_str_putc(out, '}');
	}
	hn_str_puts(out, n ? "]" : "");
	return n;
}

/* Keys that are answered in words. */
static size_t
json_answers(const struct asked *asked, struct hn_str *out)
{
	size_t n = 0;

	for (size_t i = 0; i < asked->n_tables && asked->key; i++) {
		const struct hn_config_table *table = &asked->tables[i];

		for (size_t a = 0; a < table->n_answers; a++) {
			if ((asked->table && asked->table != table) ||
				!hn_streq(table->answers[a].key, asked->key))
				continue;
			hn_str_printf(out, "%s", n++ ? "," : ",\"answers\":{");
			put_json(out, asked->key);
			hn_str_putc(out, ':');
			put_json(out, table->answers[a].text);
		}
	}
	hn_str_puts(out, n ? "}" : "");
	return n;
}

enum hone_status
hn_explain_json(const struct hn_config_table *tables, size_t n_tables, const char *name,
	struct hn_str *out, struct hone_error *err)
{
	const size_t dot = name ? strcspn(name, ".") : 0, from = out->len;
	struct asked asked = {.tables = tables, .n_tables = n_tables};
	size_t n;

	/* The same order as in text: a section, its key, a key of any section. */
	asked.table = name ? find_table(tables, n_tables, name, dot) : NULL;
	if (name && asked.table && name[dot])
		asked.key = name + dot + 1;
	else if (name && !asked.table)
		asked.key = name;
	hn_str_puts(out,
		"{\"schema\":\"hone.options/1\","
		"\"$schema\":\"https://json-schema.org/draft/2020-12/schema\","
		"\"type\":\"object\",");
	n = json_sections(&asked, out);
	n += json_plugins(&asked, out);
	n += json_answers(&asked, out);
	if (n == 0) {
		out->len = from;
		out->text[from] = '\0';
		return asked.table && asked.key ? refuse_key(asked.table, asked.key, err)
						: refuse_name(tables, n_tables, name, err);
	}
	hn_str_printf(out, ",\"additionalProperties\":%s}\n", asked.key ? "true" : "false");
	return HONE_OK;
}
