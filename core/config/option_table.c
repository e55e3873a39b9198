/*
 * option_table.c - option tables themselves: rows, words, and whether a table is sound.
 *
 * Tables come from plugins, perhaps built against an older header: rows are copied out with
 * their own stride and never pointed into.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "config/option.h"

/* What the shorter row of an older header lacks reads as zero, that is "not given". */
struct hone_option
hn_options_at(const struct hone_options *options, uint32_t i)
{
	struct hone_option row = {0};
	size_t bytes = options->stride < sizeof row ? options->stride : sizeof row;

	memcpy(&row, (const char *)options->options + (size_t)i * options->stride, bytes);
	return row;
}

/* Compares whole words: "lora" is not found in "rank|lora_r". */
bool
hn_words_find(const char *words, const char *word, int32_t *index)
{
	size_t n = strlen(word), len;

	for (int32_t i = 0; words; i++) {
		len = strcspn(words, "|");
		if (len == n && memcmp(words, word, n) == 0) {
			*index = i;
			return true;
		}
		words = words[len] ? words + len + 1 : NULL;
	}
	return false;
}

/* n words have n - 1 bars; NULL has none of either. */
const char **
hn_words_split(const char *words, struct hn_arena *arena, size_t *n)
{
	size_t n_max = 1, len;
	const char **out;

	*n = 0;
	for (const char *c = words; c && *c; c++)
		n_max += *c == '|';
	out = hn_arena_array(arena, n_max, sizeof *out);
	while (words) {
		len = strcspn(words, "|");
		out[(*n)++] = hn_arena_strndup(arena, words, len);
		words = words[len] ? words + len + 1 : NULL;
	}
	return out;
}

/* Tables have tens of rows: a linear search needs no index that could be out of date. */
int64_t
hn_options_find(const struct hone_options *options, const char *word)
{
	int32_t unused;

	for (uint32_t i = 0; i < options->n; i++) {
		struct hone_option row = hn_options_at(options, i);

		if (hn_streq(row.key, word) || hn_words_find(row.aliases, word, &unused))
			return i;
	}
	return -1;
}

/* Keys and aliases compete; the caller prints the key, with the alias that was near. */
int64_t
hn_options_nearest(const struct hone_options *options, const char *word, struct hn_arena *arena,
	const char **matched)
{
	const char **words = NULL, **aliases, *near;
	size_t n = 0, cap = 0, n_aliases;
	int64_t found = -1;

	for (uint32_t i = 0; i < options->n; i++) {
		struct hone_option row = hn_options_at(options, i);

		aliases = hn_words_split(row.aliases, arena, &n_aliases);
		words = hn_grow(words, &cap, n + 1 + n_aliases, sizeof *words);
		words[n++] = row.key;
		for (size_t a = 0; a < n_aliases; a++)
			words[n++] = aliases[a];
	}
	near = n ? hn_nearest(word, words, n) : NULL;
	if (near) {
		found = hn_options_find(options, near);
		*matched = near;
	}
	free(words);
	return found;
}

/* Bytes of the member of a type, 0 for a type that this host does not know. */
static size_t
member_bytes(int32_t type)
{
	switch (type) {
	case HONE_OPTION_BOOL:
	case HONE_OPTION_CHOICE:
		return sizeof(int32_t);
	case HONE_OPTION_I64:
	case HONE_OPTION_BYTES:
	case HONE_OPTION_F64:
		return sizeof(int64_t);
	case HONE_OPTION_LIST:
		return sizeof(struct hone_strings);
	case HONE_OPTION_STRING:
	case HONE_OPTION_PATH:
	case HONE_OPTION_SITES:
	case HONE_OPTION_SITE_MAP:
		return sizeof(void *);
	default:
		return 0;
	}
}

/* Lower snake case: the one form that the INI, --set and a C member share. */
static bool
is_key(const char *key)
{
	if (!key || !*key)
		return false;
	return key[strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

/* What is wrong with one row by itself, or NULL. */
static const char *
find_fault(const struct hone_options *options, const struct hone_option *row)
{
	size_t bytes = member_bytes(row->type);
	size_t align = row->type == HONE_OPTION_LIST ? sizeof(void *) : bytes;

	if (!is_key(row->key))
		return "the key is not lower snake case";
	if (bytes == 0)
		return "the type is not known";
	if (row->offset > options->value_bytes || bytes > options->value_bytes - row->offset)
		return "the member lies outside the struct";
	if (row->offset % align)
		return "the member is not aligned";
	if (!(row->min <= row->max))
		return "min is above max";
	if ((row->type == HONE_OPTION_CHOICE) != (row->choices != NULL))
		return "choices belong to a CHOICE, and a CHOICE has them";
	if (row->flags & HONE_OPTION_REQUIRED && row->default_value)
		return "a required option has no default";
	if ((row->type == HONE_OPTION_BOOL || row->type == HONE_OPTION_CHOICE) &&
		!(row->flags & HONE_OPTION_REQUIRED) && !row->default_value)
		return "a BOOL or CHOICE needs a default";
	if (!row->help || !*row->help)
		return "help is missing";
	return NULL;
}

/* The default must parse; a path is tried from "/", sites are not resolved. */
static enum hone_status
check_default(const struct hone_option *row, const char *owner, struct hone_error *err)
{
	struct hn_arena arena = {0};
	struct hn_option_ground ground = {.dir = "/", .arena = &arena};
	struct hn_option_value value;
	struct hone_error why = {0};
	enum hone_status status = hn_option_parse(row, row->default_value, &ground, &value, &why);

	hn_arena_fini(&arena);
	if (status)
		return hone_fail(err, HONE_EPLUGIN, "%s: default of option %s", owner, why.text);
	return HONE_OK;
}

/* Stops at the first fault: it is for the plugin's author, not for the person who runs it. */
enum hone_status
hn_options_verify(const struct hone_options *options, const char *owner, struct hone_error *err)
{
	enum hone_status status = HONE_OK;
	struct hn_table seen = {0};
	struct hn_arena arena = {0};

	if (options->n &&
		(!options->options || options->stride < sizeof(void *) ||
			options->stride % sizeof(void *)))
		return hone_fail(
			err, HONE_EPLUGIN, "%s: the option table has no rows or no stride", owner);
	for (uint32_t i = 0; i < options->n && !status; i++) {
		struct hone_option row = hn_options_at(options, i);
		const char *fault = find_fault(options, &row), **words;
		size_t n_words;

		if (fault) {
			status = hone_fail(err, HONE_EPLUGIN, "%s: option %s: %s", owner,
				row.key ? row.key : "(without key)", fault);
			break;
		}
		words = hn_words_split(row.aliases, &arena, &n_words);
		if (!hn_table_set(&seen, row.key, i))
			fault = row.key;
		for (size_t a = 0; a < n_words; a++)
			if (!hn_table_set(&seen, words[a], i))
				fault = words[a];
		if (fault)
			status = hone_fail(
				err, HONE_EPLUGIN, "%s: option '%s' stands twice", owner, fault);
		else
			status = check_default(&row, owner, err);
	}
	hn_table_fini(&seen);
	hn_arena_fini(&arena);
	return status;
}
