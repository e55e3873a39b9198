/*
 * hone/site.h - where a model uses its weights, and what is learned there.
 *
 * A *weight* is what is stored; a *site* is a place where one is used.  Two sites may use one
 * weight (a tied head).  Architectures declare sites; adapters declare parameters at them.
 * A site says nothing about how its weight is stored, and no plugin ever asks.
 *
 * Roles are the neutral names that patterns match beside those of Hugging Face and GGUF:
 * embed.token, attn.q, attn.k, attn.v, attn.o, mlp.gate, mlp.up, mlp.down, norm.attn,
 * norm.mlp, norm.final, lm_head, attn (the attention itself), stream (the hidden state
 * after a layer).
 */
#ifndef HONE_SITE_H
#define HONE_SITE_H

#include <hone/status.h>
#include <hone/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

enum hone_site_kind {
	HONE_SITE_LINEAR = 1,    /* weight [O,I], maybe bias [O] */
	HONE_SITE_EMBED = 2,     /* weight [V,D], rows by id */
	HONE_SITE_NORM = 3,      /* weight [D], maybe bias [D] */
	HONE_SITE_VALUE = 4,     /* a tensor that is used as it is */
	HONE_SITE_ATTENTION = 5, /* no weight: queries, keys and values meet here */
	HONE_SITE_STREAM = 6,    /* no weight: the hidden state between layers */
};

enum hone_site_flags {
	HONE_SITE_HEAD = 1,          /* turns hidden states into outputs; no adapter by default */
	HONE_SITE_STORED_IN_OUT = 2, /* the file holds [I,O] */
	HONE_SITE_HAS_BIAS = 4,
	HONE_SITE_OPTIONAL_BIAS = 8, /* in a spec: bias where the file has one */
	HONE_SITE_TIED = 16,         /* uses the weight of another site */
	HONE_SITE_NEW = 32,          /* the file has no such weight: initialised, must be trained */
};

/* Order of output rows in the stored weight, for sites whose rows are rotated by RoPE. */
enum hone_row_order {
	HONE_ROWS_PLAIN = 0,
	HONE_ROWS_ROPE_INTERLEAVED =
		1, /* pairs side by side per head, as llama.cpp stores q and k */
};

/* A site as plugins see it.  Owned by the host, valid for the run. */
struct hone_site {
	uint32_t struct_size;
	int32_t kind;         /* enum hone_site_kind */
	uint32_t flags;       /* enum hone_site_flags */
	int32_t layer;        /* -1 = outside the layers */
	const char *name;     /* Hugging Face's path: "model.layers.0.self_attn.q_proj" */
	const char *role;     /* "attn.q" */
	const char *tower;    /* "text" */
	const char *model;    /* "policy" */
	int64_t in_features;  /* I; EMBED: V; NORM: D; VALUE: dim[0] */
	int64_t out_features; /* O; EMBED and NORM: D */
	int64_t n_heads, n_kv_heads, head_dim; /* of the attention that it belongs to, or 0 */
	int32_t row_order; /* enum hone_row_order: how rows lie, hence how RoPE must turn them */
	uint32_t index;    /* position in the model's list */
	const void *internal;
};

/* Sites that an option names (target_modules), resolved by the host. */
struct hone_site_set {
	uint64_t n_bits;
	const uint64_t *bits; /* by site->index */
};

/* Is the site one of the set?  No for an absent set.  [any thread, pure] */
static inline int
hone_site_set_has(const struct hone_site_set *set, const struct hone_site *site)
{
	return set && site->index < set->n_bits &&
		(set->bits[site->index / 64] >> (site->index % 64) & 1);
}

/* A number per site ("q_proj: 16, layers.0: 4"); `values[site->index]`, NaN where unset. */
struct hone_site_map {
	uint64_t n;
	const double *values;
};

/* The number of a site, `unset` where the map has none.  [any thread, pure] */
static inline double
hone_site_map_get(const struct hone_site_map *map, const struct hone_site *site, double unset)
{
	if (!map || site->index >= map->n || map->values[site->index] != map->values[site->index])
		return unset;
	return map->values[site->index];
}

/* What an axis of a parameter runs along, so that the host can permute and slice it. */
enum hone_axis {
	HONE_AXIS_NONE = 0,
	HONE_AXIS_SITE_IN = 1,
	HONE_AXIS_SITE_OUT = 2,
	HONE_AXIS_ROPE_DIM = 3, /* columns of a rotated head, per kv head */
};

enum hone_init {
	HONE_INIT_ZERO = 1,
	HONE_INIT_ONE = 2,
	HONE_INIT_KAIMING_UNIFORM = 3, /* a = sqrt(5): U(-1/sqrt(I), 1/sqrt(I)), I = dim[1] */
	HONE_INIT_NORMAL = 4,          /* mean 0, standard deviation `init_scale` */
	HONE_INIT_WEIGHT = 5,          /* the decoded stored weight (overlays) */
	HONE_INIT_CONSTANT = 6,        /* `init_scale` */
	HONE_INIT_CALL = 7,            /* the adapter's `fill` */
};

enum hone_param_flags {
	HONE_PARAM_TRAIN = 1,    /* beside BUFFER or FROZEN it is refused */
	HONE_PARAM_BUFFER = 2,   /* saved, not trained */
	HONE_PARAM_NO_DECAY = 4, /* weight decay does not apply */
	HONE_PARAM_FROZEN = 8,   /* neither trained nor changed after its init */
};

enum hone_slot { HONE_SLOT_NONE = 0, HONE_SLOT_WEIGHT = 1, HONE_SLOT_BIAS = 2 };

/* One parameter that an instance declares.  Copied by the host, which allocates, seeds by
 * name, optimises, saves, restores and exports it.
 *
 * A result must bring back every value, so `export_name` is needed by what trains, by a buffer,
 * and by what begins at random or by the adapter's `fill`: a folder of an adapter does not hold
 * the seed.  What is frozen at zero, one, a constant or the stored weight may have none; it is
 * made again when the folder is read.  An adapter with HONE_ADAPTER_TRAINS_WEIGHTS needs no
 * names, because its result is the merged model.  Two parameters of one instance with one name
 * in the file are refused. */
struct hone_param_spec {
	uint32_t struct_size; /* set to sizeof(struct hone_param_spec) */
	uint32_t rank;
	const char *name;        /* within (instance, site): "lora_A" */
	const char *export_name; /* tensor's name: one %s is the site's; without a site no %s;
				  * NULL = not exported */
	int64_t dim[HONE_MAX_RANK];
	int32_t axis[HONE_MAX_RANK]; /* enum hone_axis */
	int32_t init;                /* enum hone_init */
	uint32_t flags;              /* enum hone_param_flags */
	double init_scale;
	double lr_scale; /* factor of the learning rate */
	int32_t overlay; /* enum hone_slot: replaces weight or bias of the site in views with it */
	int32_t pad;
};

/* A trainable matrix [rows, cols] (cols = 0: a vector) with the usual settings: all zero at
 * first.  `name` is borrowed.  [any thread, pure] */
static inline struct hone_param_spec
hone_param_spec_make(const char *name, int64_t rows, int64_t cols)
{
	struct hone_param_spec spec;

	memset(&spec, 0, sizeof spec);
	spec.struct_size = (uint32_t)sizeof spec;
	spec.rank = cols ? 2 : 1;
	spec.name = name;
	spec.dim[0] = rows;
	spec.dim[1] = cols;
	spec.init = HONE_INIT_ZERO;
	spec.flags = HONE_PARAM_TRAIN;
	spec.lr_scale = 1.0;
	return spec;
}

/* Where declared parameters go; the instance is known to it. */
struct hone_params {
	const struct hone_params_vt *vt;
};

struct hone_params_vt {
	uint32_t struct_size;
	uint32_t pad;

	/* All of them or none.  Specs are copied; `stride` is sizeof(struct hone_param_spec).
	 * `site` is NULL for parameters of the instance itself; such a one may be declared again
	 * by the same instance, from each site's call, with the same words: the first time
	 * counts.  Any other second declaration is an error.  [declare] */
	enum hone_status (*declare)(struct hone_params *params, const struct hone_site *site,
		uint32_t n, uint32_t stride, const struct hone_param_spec *specs,
		struct hone_error *err);
};

/* All of the n parameters or, on an error, none; the specs are copied.  [declare] */
static inline enum hone_status
hone_params_declare(struct hone_params *params, const struct hone_site *site, uint32_t n,
	const struct hone_param_spec *specs, struct hone_error *err)
{
	return params->vt->declare(
		params, site, n, (uint32_t)sizeof(struct hone_param_spec), specs, err);
}

#ifdef __cplusplus
}
#endif
#endif
