/*
 * hone/architecture.h - a plugin role: the shape of a pretrained model.
 *
 * An architecture says which sites a model has and how hidden states flow between them.  It
 * holds no weights, knows no adapter, no storage format and no device, and keeps no state:
 * everything is read from the model's configuration.
 */
#ifndef HONE_ARCHITECTURE_H
#define HONE_ARCHITECTURE_H

#include <hone/build.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HONE_ROLE_ARCHITECTURE "hone.architecture/1"

/* One site as an architecture declares it.  Copied by the host. */
struct hone_site_spec {
	uint32_t struct_size;
	int32_t kind;
	uint32_t flags;
	int32_t layer;
	const char *name;      /* path in Hugging Face's files, without ".weight" */
	const char *gguf_name; /* the same in GGUF files, or NULL */
	const char *role;
	const char *tied_to;               /* name of the site whose weight it uses, or NULL */
	int64_t in_features, out_features; /* as in struct hone_site */
	int64_t n_heads, n_kv_heads, head_dim;
	int32_t gguf_row_order; /* enum hone_row_order of the GGUF file's rows */
	int32_t pad;
};

struct hone_sites {
	const struct hone_sites_vt *vt;
};

struct hone_sites_vt {
	uint32_t struct_size;
	uint32_t pad;
	/* The host checks name, shape and type against the file.  [declare] */
	enum hone_status (*declare)(struct hone_sites *sites, const struct hone_site_spec *spec,
		struct hone_error *err);
};

/* Adds one site; the spec is copied.  [declare] */
static inline enum hone_status
hone_sites_declare(
	struct hone_sites *sites, const struct hone_site_spec *spec, struct hone_error *err)
{
	return sites->vt->declare(sites, spec, err);
}

struct hone_architecture_vt {
	uint32_t struct_size;
	uint32_t pad;

	/* "llama|mistral": values of model_type (config.json) and general.architecture (GGUF)
	 * that this architecture builds. */
	const char *model_types;

	/* Declares every site, in the order of the layers.  Refuses what the configuration asks
	 * for and this architecture cannot do, by key and value.  [declare, pure] */
	enum hone_status (*declare)(const void *self, const struct hone_model *model,
		struct hone_sites *sites, struct hone_error *err);

	/* Tokens of a stream to final hidden states [N,D], normalised as the head wants them.
	 * [build, pure] */
	enum hone_status (*body)(const void *self, const struct hone_build *at, hone_stream stream,
		hone_node *hidden, struct hone_error *err);

	/* Rows [M,D] to the outputs of a head: kind "lm" gives logits [M,V].  HONE_EUNSUPPORTED
	 * for a kind that it does not have.  [build, pure] */
	enum hone_status (*head)(const void *self, const struct hone_build *at, const char *kind,
		hone_node rows, hone_node *out, struct hone_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
