/*
 * param_spec.c - what a plugin may declare as a parameter.
 *
 * A run's result is what stands in its files, so the values of a parameter must come back from
 * there.  An exported tensor is read; the values of others are made again where they follow
 * from the declaration and the model alone:
 *
 *     trained, a buffer, drawn at random, filled by the plugin     needs an export_name
 *     frozen at zero, one, a constant or the stored weight         made again without one
 *
 * A draw depends on [run] seed, which a folder of an adapter does not hold, so it counts among
 * the first.  An adapter whose result is the model itself (HONE_ADAPTER_TRAINS_WEIGHTS) needs no
 * names: it is merged, and the merge is proven.
 *
 * Not here: whether a name is another parameter's, too (param.c).
 */
#include <inttypes.h>
#include <string.h>

#include "model/param.h"

#define ELEMS_MAX (INT64_C(1) << 46)

static enum hone_status
check_shape(const struct hone_param_spec *spec, int64_t *n_elems, struct hone_error *err)
{
	int64_t n = 1;

	if (!spec->name || spec->rank == 0 || spec->rank > HONE_MAX_RANK)
		return hone_fail(err, HONE_EPLUGIN, "a parameter without name or shape");
	for (uint32_t i = 0; i < spec->rank; i++)
		if (spec->dim[i] < 1 || n > ELEMS_MAX / spec->dim[i])
			return hone_fail(err, HONE_EPLUGIN,
				"parameter '%s': dimension %u is %" PRId64, spec->name, i,
				spec->dim[i]);
		else
			n *= spec->dim[i];
	*n_elems = n;
	return HONE_OK;
}

/* Flags that say opposite things, and what only makes sense at a site. */
static enum hone_status
check_kind(const struct hone_param_spec *spec, bool has_site, struct hone_error *err)
{
	const uint32_t still = HONE_PARAM_FROZEN | HONE_PARAM_BUFFER;

	if (spec->flags & HONE_PARAM_TRAIN && spec->flags & still)
		return hone_fail(err, HONE_EPLUGIN,
			"parameter '%s' has HONE_PARAM_TRAIN beside %s; hone_param_spec_make sets "
			"the first, so assign the flags instead of adding to them",
			spec->name,
			spec->flags & HONE_PARAM_FROZEN ? "HONE_PARAM_FROZEN"
							: "HONE_PARAM_BUFFER");
	if (!has_site && (spec->overlay || spec->init == HONE_INIT_WEIGHT))
		return hone_fail(err, HONE_EPLUGIN,
			"parameter '%s' takes a site's weight, but is declared without a site",
			spec->name);
	return HONE_OK;
}

/* Whether the values can be made again from the declaration and the model. */
static bool
is_made_again(const struct hone_param_spec *spec)
{
	if (spec->flags & (HONE_PARAM_TRAIN | HONE_PARAM_BUFFER))
		return false;
	return spec->init == HONE_INIT_ZERO || spec->init == HONE_INIT_ONE ||
		spec->init == HONE_INIT_CONSTANT || spec->init == HONE_INIT_WEIGHT;
}

static enum hone_status
fail_no_export(const struct hone_param_spec *spec, bool has_site, struct hone_error *err)
{
	return hone_fail(err, HONE_EPLUGIN,
		"parameter '%s' %s, but has no export_name, so no result would hold its values; "
		"give it one, such as \"%s%s\"",
		spec->name,
		spec->flags & HONE_PARAM_TRAIN            ? "trains"
			: spec->flags & HONE_PARAM_BUFFER ? "is a buffer"
			: spec->init == HONE_INIT_CALL    ? "is filled by the plugin"
							  : "is drawn at random",
		has_site ? "%s." : "", spec->name);
}

static uint32_t
count(const char *text, const char *part)
{
	uint32_t n = 0;

	for (const char *at = strstr(text, part); at; at = strstr(at + 1, part))
		n++;
	return n;
}

static enum hone_status
check_export_name(const struct hone_param_spec *spec, bool has_site, struct hone_error *err)
{
	const char *name = spec->export_name;

	if (count(name, "%s") != (has_site ? 1u : 0u))
		return hone_fail(err, HONE_EPLUGIN,
			has_site ? "parameter '%s': export_name \"%.120s\" needs one %%s, for the "
				   "site's name"
				 : "parameter '%s': export_name \"%.120s\" has %%s, but the "
				   "parameter is declared without a site and is named as it stands",
			spec->name, name);
	if (!name[0] || strcmp(name, "__metadata__") == 0)
		return hone_fail(err, HONE_EPLUGIN,
			"parameter '%s': export_name \"%s\" is no name for a tensor", spec->name,
			name);
	return HONE_OK;
}

enum hone_status
hn_param_spec_check(const struct hone_param_spec *spec, bool has_site, bool is_model,
	int64_t *n_elems, struct hone_error *err)
{
	enum hone_status st;

	if (spec->struct_size < sizeof *spec)
		return hone_fail(err, HONE_EPLUGIN,
			"a parameter's struct_size is %u, expected at least %zu; begin with "
			"hone_param_spec_make",
			spec->struct_size, sizeof *spec);
	st = check_shape(spec, n_elems, err);
	if (!st)
		st = check_kind(spec, has_site, err);
	if (st)
		return st;
	if (spec->export_name)
		return check_export_name(spec, has_site, err);
	return is_model || is_made_again(spec) ? HONE_OK : fail_no_export(spec, has_site, err);
}

static bool
is_same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool
hn_param_spec_is_same(const struct hone_param_spec *a, const struct hone_param_spec *b)
{
	if (a->rank != b->rank)
		return false;
	for (uint32_t i = 0; i < a->rank; i++)
		if (a->dim[i] != b->dim[i] || a->axis[i] != b->axis[i])
			return false;
	return is_same_text(a->name, b->name) && is_same_text(a->export_name, b->export_name) &&
		a->init == b->init && a->flags == b->flags && a->overlay == b->overlay &&
		a->init_scale == b->init_scale && a->lr_scale == b->lr_scale;
}
