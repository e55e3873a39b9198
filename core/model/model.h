/*
 * model/model.h - a pretrained model as the run sees it: configuration, weights, sites.
 *
 * The file is mapped and stays as it is.  The architecture declares sites; each is matched
 * with a stored tensor by Hugging Face's or GGUF's name and its shape is checked.  Nothing is
 * decoded here and no adapter is known.
 */
#ifndef HN_MODEL_MODEL_H
#define HN_MODEL_MODEL_H

#include <hone/architecture.h>
#include <hone/plugin.h>
#include <hone/storage.h>

#include "model/checkpoint.h"

struct hn_pool;

/* A form that weights can have in memory; see model/recode.h. */
struct hn_form {
	const char *name; /* "nf4", "bf16" */
	int32_t dtype;    /* of a host type, else NONE */
	const struct hone_storage_vt *storage;
	const void *storage_self;
};

/* A stored tensor that some site uses. */
struct hn_weight {
	const struct hn_tensor_info *tensor;   /* NULL: not in the file, initialised (NEW) */
	const struct hone_storage_vt *storage; /* NULL: one of the host's own types */
	const void *storage_self;
	int32_t dtype; /* of a host type, else NONE */
	uint32_t rank;
	int64_t dim[HONE_MAX_RANK];
	const char *name;           /* Hugging Face's, with ".weight" or ".bias" */
	const struct hn_form *kept; /* how engines keep it; NULL: as stored */
};

struct hn_site {
	struct hone_site pub; /* first: a plugin's struct hone_site * is this */
	const char *gguf_name;
	int32_t weight, bias; /* index into weights, -1 = none */
	int32_t tied_to;      /* site that owns the weight, -1 = itself */
};

/* Finds a storage format by id; NULL when no plugin has it. */
typedef const struct hone_storage_vt *(*hn_storage_find_fn)(
	void *ctx, const char *id, const void **self);

struct hn_model {
	struct hone_model base; /* first: a plugin's struct hone_model * is this */
	const char *name;       /* "policy" */
	struct hn_checkpoint checkpoint;
	const struct hone_architecture_vt *architecture;
	const void *architecture_self;
	bool is_random; /* [model] init = random: no weight is read */
	struct hn_site *sites;
	uint32_t n_sites;
	size_t cap_sites;
	struct hn_weight *weights;
	uint32_t n_weights;
	size_t cap_weights;
	struct hn_table by_name, by_place; /* "model.layers.0..." and "attn.q/0" -> site */
	struct hn_arena arena;
	hn_storage_find_fn find_storage;
	void *find_ctx;
	struct hn_form kept;  /* [model] storage, unless native */
	struct hn_pool *pool; /* encodes what is kept so; NULL: the caller's thread */
};

struct hn_model_request {
	const char *name, *path;
	bool is_random;
	hn_storage_find_fn find_storage;
	void *find_ctx;
};

/* Opens file and configuration.  The caller then picks the architecture by
 * hn_model_type and calls hn_model_declare. */
enum hone_status hn_model_open(
	struct hn_model *model, const struct hn_model_request *request, struct hone_error *err);
void hn_model_close(struct hn_model *model);

/* model_type of config.json or general.architecture of a GGUF file. */
const char *hn_model_type(const struct hn_model *model);
/* Whether "llama|mistral" has this model's type. */
bool hn_model_is_of(const struct hn_model *model, const char *model_types);

/* Lets the architecture declare its sites, and matches them with the file. */
enum hone_status hn_model_declare(struct hn_model *model,
	const struct hone_architecture_vt *architecture, const void *self, struct hone_error *err);

/* NULL when there is none. */
const struct hn_site *hn_model_site(const struct hn_model *model, const char *name);
const struct hn_site *hn_model_site_at(
	const struct hn_model *model, const char *role, int32_t layer);

/* Elements [first, first + n) of a weight as f32; of a weight that the file does not have,
 * its initial values (normal with the configuration's initializer_range, seeded by name). */
enum hone_status hn_weight_decode(const struct hn_model *model, const struct hn_weight *weight,
	uint64_t seed, int64_t first, int64_t n, float *out, struct hone_error *err);

int64_t hn_weight_elems(const struct hn_weight *weight);

/* ---- patterns: target_modules, rank_pattern ---- */

/* Resolves "all-linear", "q_proj, v_proj", "attn.*", "attn_q", a regular expression.  An item
 * that names no site is an error with the nearest name.  Lives in the model's arena. */
enum hone_status hn_sites_resolve(struct hn_model *model, const char *text,
	const struct hone_site_set **out, struct hone_error *err);
/* "pattern: number, pattern: number"; the first pattern that fits counts, as in PEFT. */
enum hone_status hn_site_map_resolve(struct hn_model *model, const char *text,
	const struct hone_site_map **out, struct hone_error *err);

#endif
