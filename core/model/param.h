/*
 * model/param.h - the parameters that instances declare: one list for the run.
 *
 * A parameter is known by "instance/site/name" (or "instance//name").  Its values, gradient
 * and two moments lie at the same offset of four buffers; only trained ones have the last
 * three.
 */
#ifndef HN_MODEL_PARAM_H
#define HN_MODEL_PARAM_H

#include "model/model.h"

struct hn_param {
	const char *key;             /* "lora/model.layers.0.self_attn.q_proj/lora_A" */
	const char *instance;        /* section: "lora" */
	uint32_t instance_idx;       /* among the run's adapters */
	const struct hn_site *site;  /* NULL: of the instance itself */
	struct hone_param_spec spec; /* strings owned by the list */
	int64_t n_elems;
	uint64_t offset; /* in elements: all buffers hold numbers of one type */
};

struct hn_params {
	struct hn_param *list;
	uint32_t n;
	size_t cap;
	struct hn_table by_key;
	struct hn_table by_export; /* "<instance_idx>/<name of the tensor>" */
	struct hn_arena arena;
	int64_t n_elems;   /* of all, padding included: size of the value buffer */
	int64_t n_trained; /* sum of elements that train, without padding */
};

/* ---- param_spec.c ---- */

/* HONE_EPLUGIN unless it is sound: its shape, its flags, and that its values come back from a
 * result.  `is_model`: the adapter's result is the model itself. */
enum hone_status hn_param_spec_check(const struct hone_param_spec *spec, bool has_site,
	bool is_model, int64_t *n_elems, struct hone_error *err);
/* Whether two declarations say the same. */
bool hn_param_spec_is_same(const struct hone_param_spec *a, const struct hone_param_spec *b);

/* ---- param.c ---- */

/* Asks one adapter for its parameters at every site and of its own. */
enum hone_status hn_params_collect(struct hn_params *params, const struct hn_model *model,
	const char *instance, uint32_t instance_idx, const struct hone_factory *factory,
	const void *self, struct hone_error *err);
void hn_params_fini(struct hn_params *params);

/* NULL when there is none.  `site` may be NULL. */
const struct hn_param *hn_params_find(const struct hn_params *params, const char *instance,
	const struct hone_site *site, const char *name);
/* The overlay of a slot by this instance, NULL when it has none. */
const struct hn_param *hn_params_overlay(const struct hn_params *params, uint32_t instance_idx,
	const struct hn_site *site, int32_t slot);

/* The tensor's name in an export: export_name with the site's.  The caller frees. */
char *hn_param_export_name(const struct hn_param *param);

/* Initial values of a parameter, n_elems of f32; HONE_INIT_CALL asks the plugin. */
enum hone_status hn_param_init(const struct hn_param *param, const struct hn_model *model,
	const struct hone_factory *factory, const void *self, uint64_t seed, float *out,
	struct hone_error *err);

/* Reorders rows or columns tagged SITE_OUT between the order of the stored weight and Hugging
 * Face's (HONE_ROWS_ROPE_INTERLEAVED); `to_stored` says which way.  In place; `n_elems` values. */
void hn_param_permute(const struct hn_param *param, bool to_stored, float *values);
/* The same for `cols` values per row of a site's weight. */
void hn_rows_permute(const struct hone_site *site, bool to_stored, int64_t cols, float *values);

#endif
