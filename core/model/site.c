/*
 * site.c - which sites a text names: target_modules, rank_pattern and their like.
 *
 * An item is, in this order: "all-linear"; a regular expression that fits a site's whole
 * name, when it has one of ^$()[]{}|+?\; a glob with '*' over names or roles; otherwise the
 * end of a name at a dot ("q_proj", "self_attn.q_proj"), of a GGUF name ("attn_q"), or a role
 * ("attn.q").  All spellings go through the one table of the architecture.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <fnmatch.h>
#include <float.h>
#include <math.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

static bool
ends_at_dot(const char *name, const char *item)
{
	const size_t n = name ? strlen(name) : 0, k = strlen(item);

	return name && n >= k && memcmp(name + n - k, item, k) == 0 &&
		(n == k || name[n - k - 1] == '.');
}

static bool
is_regex(const char *item)
{
	return strpbrk(item, "^$()[]{}|+?\\") != NULL;
}

static pcre2_code *
compile(const char *item, struct hone_error *err)
{
	PCRE2_UCHAR text[200];
	PCRE2_SIZE offset = 0;
	int code = 0;
	pcre2_code *regex = pcre2_compile((PCRE2_SPTR)item, PCRE2_ZERO_TERMINATED,
		PCRE2_ANCHORED | PCRE2_ENDANCHORED, &code, &offset, NULL);

	if (!regex) {
		(void)pcre2_get_error_message(code, text, sizeof text);
		(void)hone_fail(err, HONE_ECONFIG, "'%s' is no regular expression: %s at %zu", item,
			(const char *)text, (size_t)offset);
	}
	return regex;
}

static bool
fits_regex(const pcre2_code *regex, const char *name)
{
	pcre2_match_data *match = pcre2_match_data_create_from_pattern(regex, NULL);
	const int n = match
		? pcre2_match(regex, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, match, NULL)
		: -1;

	pcre2_match_data_free(match);
	return n > 0;
}

static bool
fits(const struct hn_site *site, const char *item, const pcre2_code *regex)
{
	if (site->weight < 0)
		return false;
	if (hn_streq(item, "all-linear"))
		return site->pub.kind == HONE_SITE_LINEAR && !(site->pub.flags & HONE_SITE_HEAD);
	if (regex)
		return fits_regex(regex, site->pub.name);
	if (strchr(item, '*'))
		return fnmatch(item, site->pub.role, 0) == 0 ||
			fnmatch(item, site->pub.name, 0) == 0;
	return ends_at_dot(site->pub.name, item) || ends_at_dot(site->gguf_name, item) ||
		hn_streq(site->pub.role, item);
}

static const char *
last_part(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot ? dot + 1 : name;
}

static enum hone_status
fail_no_site(const struct hn_model *model, const char *item, struct hone_error *err)
{
	const char **words = hn_alloc(((size_t)model->n_sites * 2 + 1) * sizeof *words);
	const char *nearest;
	size_t n = 0;

	for (uint32_t i = 0; i < model->n_sites; i++) {
		if (model->sites[i].weight < 0)
			continue;
		words[n++] = last_part(model->sites[i].pub.name);
		words[n++] = model->sites[i].pub.role;
	}
	words[n++] = "all-linear";
	nearest = hn_nearest(item, words, n);
	(void)hone_fail(err, HONE_ECONFIG, "'%s' names no module of this model%s%s%s", item,
		nearest ? "; did you mean '" : "; all-linear names every linear layer",
		nearest ? nearest : "", nearest ? "'?" : "");
	free(words);
	return HONE_ECONFIG;
}

/* Calls `mark` for every site that `item` names. */
static enum hone_status
each_site(struct hn_model *model, const char *item, void (*mark)(void *ctx, uint32_t site),
	void *ctx, struct hone_error *err)
{
	pcre2_code *regex = is_regex(item) ? compile(item, err) : NULL;
	uint32_t n = 0;

	if (is_regex(item) && !regex)
		return HONE_ECONFIG;
	for (uint32_t i = 0; i < model->n_sites; i++) {
		if (!fits(&model->sites[i], item, regex))
			continue;
		mark(ctx, i);
		n++;
	}
	pcre2_code_free(regex);
	return n ? HONE_OK : fail_no_site(model, item, err);
}

/* Next item of a list: commas inside brackets belong to a regular expression. */
static char *
next_item(const char **text, struct hn_arena *arena)
{
	const char *begin, *end;
	int depth = 0;

	while (**text == ' ' || **text == ',')
		(*text)++;
	if (!**text)
		return NULL;
	begin = *text;
	for (; **text && (**text != ',' || depth); (*text)++) {
		depth += **text == '(' || **text == '[' || **text == '{';
		depth -= **text == ')' || **text == ']' || **text == '}';
	}
	for (end = *text; end > begin && end[-1] == ' ';)
		end--;
	return hn_arena_strndup(arena, begin, (size_t)(end - begin));
}

static void
mark_bit(void *ctx, uint32_t site)
{
	((uint64_t *)ctx)[site / 64] |= UINT64_C(1) << (site % 64);
}

enum hone_status
hn_sites_resolve(struct hn_model *model, const char *text, const struct hone_site_set **out,
	struct hone_error *err)
{
	struct hone_site_set *set = hn_arena_alloc(&model->arena, sizeof *set);
	uint64_t *bits = hn_arena_array(&model->arena, model->n_sites / 64 + 1, sizeof *bits);
	enum hone_status st = HONE_OK;
	char *item;

	while (!st && (item = next_item(&text, &model->arena)))
		st = each_site(model, item, mark_bit, bits, err);
	set->n_bits = model->n_sites;
	set->bits = bits;
	if (!st)
		*out = set;
	return st;
}

struct number {
	double *values;
	double value;
};

static void
mark_number(void *ctx, uint32_t site)
{
	const struct number *number = ctx;

	if (isnan(number->values[site]))
		number->values[site] = number->value;
}

enum hone_status
hn_site_map_resolve(struct hn_model *model, const char *text, const struct hone_site_map **out,
	struct hone_error *err)
{
	struct hone_site_map *map = hn_arena_alloc(&model->arena, sizeof *map);
	struct number number = {hn_arena_array(&model->arena, model->n_sites, sizeof(double)), 0.0};
	enum hone_status st = HONE_OK;
	char *item;

	for (uint32_t i = 0; i < model->n_sites; i++)
		number.values[i] = NAN;
	while (!st && (item = next_item(&text, &model->arena))) {
		char *colon = strrchr(item, ':'), *end = colon;

		if (!colon || !hn_parse_f64(colon + 1 + strspn(colon + 1, " "), &number.value))
			return hone_fail(err, HONE_ECONFIG,
				"'%s' is not 'pattern: number' (for example q_proj: 16)", item);
		if (number.value != 0 &&
			(fabs(number.value) < (double)FLT_MIN ||
				fabs(number.value) > (double)FLT_MAX))
			return hone_fail(err, HONE_ECONFIG,
				"'%s': the number is 0 or infinite in single precision", item);
		while (end > item && end[-1] == ' ')
			end--;
		*end = '\0';
		st = each_site(model, item, mark_number, &number, err);
	}
	map->n = model->n_sites;
	map->values = number.values;
	if (!st)
		*out = map;
	return st;
}
