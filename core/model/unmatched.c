/*
 * unmatched.c - counting what does not match, and the tensors of layers that nobody uses.
 */
#include "model/unmatched.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LISTED_MAX = 5, NAME_SHOWN = 60 };

void
hn_unmatched_add(struct hn_unmatched *unmatched, const char *name, const struct hone_error *why)
{
	if (unmatched->n++ == 0)
		unmatched->first = *why;
	else if (unmatched->n <= LISTED_MAX)
		hn_str_printf(&unmatched->others, "%s%.*s", unmatched->n > 2 ? ", " : "",
			NAME_SHOWN, name);
}

enum hone_status
hn_unmatched_finish(struct hn_unmatched *unmatched, struct hone_error *err)
{
	const struct hone_error *first = &unmatched->first;
	const enum hone_status st = (enum hone_status)first->status;

	if (unmatched->n > 1)
		(void)hone_fail_at(err, st, first->place, 0, 0,
			"%.240s (and %" PRIu32 " more: %s%s)", first->text, unmatched->n - 1,
			unmatched->others.text, unmatched->n > LISTED_MAX ? ", ..." : "");
	else if (unmatched->n && err)
		*err = *first;
	hn_str_fini(&unmatched->others);
	return unmatched->n ? st : HONE_OK;
}

/* Bytes of "model.layers." or "blk." in the name of a tensor of layer `layer`; 0 = it has no
 * such part. */
static size_t
stem_bytes(const char *name, int32_t layer)
{
	char number[16];
	const char *at;

	(void)snprintf(number, sizeof number, ".%" PRId32 ".", layer);
	at = strstr(name, number);
	return at ? (size_t)(at + 1 - name) : 0;
}

/* A tensor whose name says where the layers of this file are. */
static const char *
find_stem(const struct hn_model *model, size_t *n_bytes)
{
	*n_bytes = 0;
	for (uint32_t i = 0; i < model->n_sites; i++) {
		const struct hn_site *site = &model->sites[i];
		const char *name;

		if (site->weight < 0 || site->pub.layer < 0)
			continue;
		name = model->weights[site->weight].tensor->name;
		*n_bytes = stem_bytes(name, site->pub.layer);
		if (*n_bytes)
			return name;
	}
	return NULL;
}

/* Tables that older files keep and that follow from the configuration. */
static bool
is_derived(const char *name)
{
	return hn_ends_with(name, "rotary_emb.inv_freq") || strstr(name, "attn_rot_embd");
}

enum hone_status
hn_model_check_unused(const struct hn_model *model, struct hone_error *err)
{
	const struct hn_tensor_file *file = &model->checkpoint.tensors;
	struct hn_unmatched unused = {0};
	struct hone_error why = {0};
	size_t n_stem;
	const char *stem = model->is_random ? NULL : find_stem(model, &n_stem);
	bool *is_used;

	if (!stem)
		return HONE_OK;
	is_used = hn_alloc(file->n_tensors * sizeof *is_used);
	memset(is_used, 0, file->n_tensors * sizeof *is_used);
	for (uint32_t i = 0; i < model->n_weights; i++)
		is_used[model->weights[i].tensor - file->tensors] = true;
	for (size_t i = 0; i < file->n_tensors; i++) {
		const char *name = file->tensors[i].name;

		if (is_used[i] || strncmp(name, stem, n_stem) != 0 || is_derived(name))
			continue;
		(void)hone_fail_at(&why, HONE_EMODEL, file->path, 0, 0,
			"tensor \"%.120s\" has no place in the model that the configuration "
			"describes; use the configuration that belongs to this file",
			name);
		hn_unmatched_add(&unused, name, &why);
	}
	free(is_used);
	return hn_unmatched_finish(&unused, err);
}
