/*
 * config/option.h - a value's text against its row of an option table (hone/option.h).
 *
 * Text goes in, a typed and range-checked value comes out, or one sentence that names key,
 * value, what was expected and, where we can guess it, what was meant.  Who knows file,
 * line and section puts them before the sentence (config/check.c).
 *
 *     bool    yes no true false on off         bytes  512, 64K = 64KiB = 65536, 64KB = 64000
 *     i64     42, -1, 1_000                    list   a, b, c   ("\," is a comma in an item)
 *     f64     2e-4, 0.5, 10%                   path   from the folder of its file
 *     choice  one of the table's words         sites  kept as text, or given to a resolver
 *
 * No hex, no nan, no inf, no decimal comma; nothing depends on the locale.
 */
#ifndef HN_CONFIG_OPTION_H
#define HN_CONFIG_OPTION_H

#include <stdbool.h>

#include <hone/option.h>
#include <hone/status.h>

#include "base/arena.h"
#include "base/str.h"

/* Turns the text of a SITES or SITE_MAP option into what its member points to.  The result
 * lives as long as the values do.  Set once the model's sites are known (core/model). */
typedef enum hone_status (*hn_option_resolve_fn)(void *ctx, const struct hone_option *option,
	const char *text, const void **out, struct hone_error *err);

/* What a text needs to become a value. */
struct hn_option_ground {
	const char *dir;              /* absolute; where a relative path starts */
	struct hn_arena *arena;       /* owns strings, lists and paths of the values */
	hn_option_resolve_fn resolve; /* NULL: members of SITES and SITE_MAP stay NULL */
	void *resolve_ctx;
};

/* A parsed value; which member holds it follows from the option's type. */
struct hn_option_value {
	bool is_absent; /* no text and no default */
	int32_t index;  /* BOOL, CHOICE */
	int64_t i64;    /* I64, BYTES */
	double f64;
	const char *text; /* STRING, PATH, SITES, SITE_MAP */
	struct hone_strings list;
	const void *resolved; /* SITES, SITE_MAP */
};

/* Row i of a table, by value: a table made with an older header has shorter rows, and what
 * it lacks reads as zero. */
struct hone_option hn_options_at(const struct hone_options *options, uint32_t i);

/* Index of the row with this key or alias, -1 when there is none. */
int64_t hn_options_find(const struct hone_options *options, const char *word);

/* Index of the row whose key or alias is nearest to `word`, -1 when none is near; *matched
 * (owned by `arena`) is the key or alias that was near. */
int64_t hn_options_nearest(const struct hone_options *options, const char *word,
	struct hn_arena *arena, const char **matched);

/* Whether `word` is one of "a|b|c"; *index is its position. */
bool hn_words_find(const char *words, const char *word, int32_t *index);
/* "a|b|c" as an array of words, owned by `arena`. */
const char **hn_words_split(const char *words, struct hn_arena *arena, size_t *n);

/* Parses `text` (NULL = absent).  On failure the text of `err` begins with "key = value: ". */
enum hone_status hn_option_parse(const struct hone_option *option, const char *text,
	const struct hn_option_ground *ground, struct hn_option_value *out, struct hone_error *err);

/* Writes a parsed value to its member of `values`. */
void hn_option_store(
	const struct hone_option *option, const struct hn_option_value *value, void *values);

/* Appends the one text of a value: two texts mean the same value exactly when their
 * canonical texts are equal.  It parses back to the same value. */
void hn_option_put(
	const struct hone_option *option, const struct hn_option_value *value, struct hn_str *out);

/* "must be above 0 and at most 10"; nothing where there is no range. */
void hn_option_put_range(const struct hone_option *option, struct hn_str *out);

/* Checks a table that somebody else made: known types, members inside the struct and
 * aligned, keys and aliases unique, ranges in order, defaults that parse.  HONE_EPLUGIN. */
enum hone_status hn_options_verify(
	const struct hone_options *options, const char *owner, struct hone_error *err);

#endif
