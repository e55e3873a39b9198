/*
 * export_names.c - the shortest names of a set of sites.
 *
 * PEFT's rule: an item names every module whose path is the item or ends with "." + item.  All
 * ends of all paths form a tree in which a longer end names fewer modules, so a site's best
 * item is its shortest end that names nothing wrong, and the union of these over the sites is
 * the one smallest list: two such items are either equal or name nothing in common.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/export_parts.h"

static bool
ends_at_dot(const char *name, const char *end)
{
	const size_t n = strlen(name), k = strlen(end);

	return n >= k && memcmp(name + n - k, end, k) == 0 && (n == k || name[n - k - 1] == '.');
}

static bool
is_in(const struct hn_model *model, const bool *universe, uint32_t i)
{
	return universe ? universe[i] : model->sites[i].weight >= 0;
}

/* Whether every site that `end` names has this value. */
static bool
names_only(const struct hn_model *model, const double *values, const bool *universe,
	const char *end, double value)
{
	for (uint32_t i = 0; i < model->n_sites; i++)
		if (is_in(model, universe, i) && values[i] != value &&
			ends_at_dot(model->sites[i].pub.name, end))
			return false;
	return true;
}

/* The shortest end of a site's path that names nothing else; NULL when even the path does. */
static const char *
shortest_end(const struct hn_model *model, const double *values, const bool *universe, uint32_t i)
{
	const char *name = model->sites[i].pub.name;

	for (const char *at = name + strlen(name); at > name;) {
		while (at > name && at[-1] != '.')
			at--;
		if (names_only(model, values, universe, at, values[i]))
			return at;
		at -= at > name;
	}
	return NULL;
}

bool
hn_sites_name(const struct hn_model *model, const double *values, const bool *universe,
	struct hn_arena *arena, struct hn_named **out, size_t *n)
{
	struct hn_table seen = {0};
	size_t cap = 0;
	bool is_complete = true;

	*out = NULL;
	*n = 0;
	for (uint32_t i = 0; i < model->n_sites && is_complete; i++) {
		const char *end;

		if (isnan(values[i]) || !is_in(model, universe, i))
			continue;
		end = shortest_end(model, values, universe, i);
		is_complete = end != NULL;
		if (!end || !hn_table_set(&seen, end, i))
			continue;
		*out = hn_grow(*out, &cap, *n + 1, sizeof **out);
		(*out)[(*n)++] = (struct hn_named){hn_arena_strdup(arena, end), values[i]};
	}
	hn_table_fini(&seen);
	return is_complete;
}
