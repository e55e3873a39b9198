/*
 * hone/build.h - one place in one build: graph, view, pass, and the calls at sites.
 *
 * A *view* is a model with an ordered list of adapters, each with one of its parameter sets
 * (live, initial), with or without gradient and dropout: `policy` is the model with its
 * adapters, which trains and drops in a training program and neither in any other; `base` is
 * the untouched file.  The same code builds all of them: what differs is in struct
 * hone_build, which every function of a role gets first.
 *
 * A *stream* is a ragged set of sequences of a batch: N rows, segments with offsets [S+1],
 * each belonging to an example.  There is no padding and no mask.
 *
 * Architectures call linear, embed, norm, attention and hidden; the host applies there what
 * the view's adapters do.  Adapters' hooks may call graph functions, product and param, and
 * never the calls of architectures.  All functions: [build].
 */
#ifndef HONE_BUILD_H
#define HONE_BUILD_H

#include <hone/graph.h>
#include <hone/site.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Named model configuration: Hugging Face's keys, whatever the file was ("hidden_size",
 * "rope_scaling.factor").  Legal in every phase. */
struct hone_model {
	const struct hone_model_vt *vt;
};

struct hone_model_vt {
	uint32_t struct_size;
	uint32_t pad;
	/* HONE_ENOTFOUND when absent (null counts as absent), HONE_EMODEL when of another
	 * type; both name the key in err. */
	enum hone_status (*config_i64)(const struct hone_model *model, const char *key,
		int64_t *out, struct hone_error *err);
	enum hone_status (*config_f64)(const struct hone_model *model, const char *key, double *out,
		struct hone_error *err);
	enum hone_status (*config_bool)(const struct hone_model *model, const char *key,
		int32_t *out, struct hone_error *err);
	/* Borrowed for the run. */
	enum hone_status (*config_string)(const struct hone_model *model, const char *key,
		const char **out, struct hone_error *err);
	/* Copies at most `cap` numbers, sets *n to how many there are. */
	enum hone_status (*config_array)(const struct hone_model *model, const char *key,
		uint32_t cap, double *out, uint32_t *n, struct hone_error *err);
	/* Copies a small stored tensor (rope_freqs.weight) as double; ENOTFOUND when absent. */
	enum hone_status (*tensor)(const struct hone_model *model, const char *name, uint32_t cap,
		double *out, uint32_t *n, struct hone_error *err);
};

typedef struct hone_stream {
	uint32_t id; /* 0 = none */
} hone_stream;

struct hone_view {
	uint32_t struct_size;
	uint32_t index;
	const char *name;  /* "policy", "base" */
	const char *model; /* "policy" */
	int32_t has_gradient, has_dropout;
};

/* q, k, v of an attention site, and how they meet. */
struct hone_attention_io {
	uint32_t struct_size;
	int32_t causal;
	hone_node q, k, v;               /* [N,H K], [N,G K], [N,G K], rotated already */
	hone_node prefix_k, prefix_v;    /* [P,G K]: set by adapters, 0 = none */
	hone_stream q_stream, kv_stream; /* usually the same */
	double scale, softcap;
	int64_t window;
};

/* A linear site, as adapters' `output` sees it. */
struct hone_site_io {
	uint32_t struct_size;
	uint32_t pad;
	hone_node x;    /* [N,I] the site's input, after `input` hooks; EMBED: ids i32 [N] */
	hone_node y;    /* [N,O] without bias */
	hone_node bias; /* [O], 0 = none; the host adds it last */
};

/* First argument of every building function; valid for that call only. */
struct hone_build {
	uint32_t struct_size;
	uint32_t pass; /* 0; 1 for a second forward of the same stream with other dropout */
	struct hone_graph *graph;
	const struct hone_view *view;
	const struct hone_model *model;
	const struct hone_build_vt *vt;
};

struct hone_build_vt {
	uint32_t struct_size;
	uint32_t pad;

	/* --- for architectures --- */

	/* The site with that role and layer (-1 outside layers); an error when there is none. */
	const struct hone_site *(*site)(
		const struct hone_build *at, const char *role, int32_t layer);
	hone_node (*tokens)(const struct hone_build *at, hone_stream stream);    /* i32 [N] */
	hone_node (*positions)(const struct hone_build *at, hone_stream stream); /* i32 [N] */
	/* Longest segment that may occur in the stream, in rows. */
	int64_t (*max_length)(const struct hone_build *at, hone_stream stream);
	hone_node (*linear)(const struct hone_build *at, const struct hone_site *site, hone_node x);
	hone_node (*embed)(const struct hone_build *at, const struct hone_site *site,
		hone_stream stream, hone_node ids);
	/* RMSNorm when the site has no bias, LayerNorm when it has one. */
	hone_node (*norm)(
		const struct hone_build *at, const struct hone_site *site, hone_node x, double eps);
	/* o [N,H K]; keeps the key/value cache in programs that decode. */
	hone_node (*attention)(const struct hone_build *at, const struct hone_site *site,
		struct hone_attention_io *io);
	/* The hidden state behind a layer: hooks, taps and recomputation attach here. */
	hone_node (*hidden)(const struct hone_build *at, const struct hone_site *site,
		hone_stream stream, hone_node h);
	hone_node (*dropout)(const struct hone_build *at, hone_node x, double p, const char *name);

	/* --- for adapters --- */

	/* The parameter that this instance declared at `site` (NULL: of the instance). */
	hone_node (*param)(
		const struct hone_build *at, const struct hone_site *site, const char *name);
	/* x W^T with the weight that the view has here, without bias and hooks. */
	hone_node (*product)(
		const struct hone_build *at, const struct hone_site *site, hone_node x);

	/* --- for objectives --- */

	/* Final hidden states [N,D] of a forward that `declare` asked for. */
	hone_node (*forward)(const struct hone_build *at, const char *name);
	hone_stream (*stream)(const struct hone_build *at, const char *name);
	/* A declared column: [N], or [M] when read through a selection. */
	hone_node (*column)(const struct hone_build *at, hone_stream stream, const char *name);
	hone_node (*select)(const struct hone_build *at, hone_stream stream, const char *selection,
		hone_node x);
	hone_node (*selected)(const struct hone_build *at, hone_stream stream,
		const char *selection, const char *column);
	/* The head `kind` ("lm") on rows [M,D] of the policy's forward, pass 0: logits [M,V]. */
	hone_node (*head)(const struct hone_build *at, const char *kind, hone_node rows);
	/* Segment offsets i32 [S+1] of a stream. */
	hone_node (*offsets)(const struct hone_build *at, hone_stream stream);
	/* The head as the declared forward `forward` has it, under its view and its pass: the
	 * weights and adapters at the head's sites are those of that view.  Rows that come from
	 * forwards of other views or passes alone are an error.  See hone_head_of. */
	hone_node (*head_of)(
		const struct hone_build *at, const char *forward, const char *kind, hone_node rows);
};

static inline hone_node
hone_linear(const struct hone_build *at, const struct hone_site *site, hone_node x)
{
	return at->vt->linear(at, site, x);
}

static inline hone_node
hone_norm(const struct hone_build *at, const struct hone_site *site, hone_node x, double eps)
{
	return at->vt->norm(at, site, x, eps);
}

static inline hone_node
hone_param(const struct hone_build *at, const struct hone_site *site, const char *name)
{
	return at->vt->param(at, site, name);
}

static inline hone_node
hone_product(const struct hone_build *at, const struct hone_site *site, hone_node x)
{
	return at->vt->product(at, site, x);
}

/* Drops elements of x with probability p where the view has dropout; x itself elsewhere.
 * `name` tells several uses of one instance at one site apart. */
static inline hone_node
hone_dropout(const struct hone_build *at, hone_node x, double p, const char *name)
{
	return p > 0.0 && at->view->has_dropout ? at->vt->dropout(at, x, p, name) : x;
}

/* The head `kind` on rows [M,D] of a declared forward, under that forward's view and pass:
 *
 *     p = at->vt->head(at, "lm", select(forward("policy")))
 *     q = hone_head_of(at, "reference", "lm", select(forward("reference")))
 *
 * Both views' logits are of one row space and may meet; no gradient flows to a view without.
 * A host of before this call fails the graph with HONE_EUNSUPPORTED. */
static inline hone_node
hone_head_of(const struct hone_build *at, const char *forward, const char *kind, hone_node rows)
{
	if (at->vt->struct_size <
		offsetof(struct hone_build_vt, head_of) + sizeof at->vt->head_of) {
		(at->graph->vt->fail)(at->graph, HONE_EUNSUPPORTED,
			"this host has heads of the policy's view only");
		return hone_node_none();
	}
	return at->vt->head_of(at, forward, kind, rows);
}

#ifdef __cplusplus
}
#endif
#endif
