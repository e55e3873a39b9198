/*
 * graph/build.h - from what the roles declared to the graph of one program.
 *
 * The objective says which streams, columns, selections and forwards it wants (a layout);
 * the builder makes row spaces and columns of them, lets the architecture build each
 * forward, applies the adapters of the view at every site, and collects the loss terms.
 *
 * Names that the data stage fills, for a stream "text":
 *   text.tokens i32 [N]       text.positions i32 [N]     text.keys i32 [N,2]
 *   text.offsets i32 [S+1]    text.ranges i32 [S,2]      text.<column>
 *   text.<selection>.index i32 [M]    text.<selection>.keys    text.<selection>.<column>
 *   step.inverse.<term> stat [1]: coefficient / denominator of the window
 * Row spaces: "text", "text.segments", "text.offsets", "text.<selection>".
 */
#ifndef HN_GRAPH_BUILD_H
#define HN_GRAPH_BUILD_H

#include <hone/adapter.h>
#include <hone/objective.h>

#include "graph/graph.h"
#include "model/param.h"

/* ---- what an objective declared ---- */

struct hn_decl_column {
	const char *stream, *name;
	int32_t dtype, scope;
	double fill;
};

struct hn_decl_selection {
	const char *stream, *name, *column;
	int64_t value;
};

struct hn_decl_forward {
	const char *name, *view, *stream;
	uint32_t pass;
};

struct hn_layout {
	struct hone_declare base; /* first: a plugin's struct hone_declare * is this */
	struct hn_arena arena;
	const char **streams;
	uint32_t n_streams;
	size_t cap_streams;
	struct hn_decl_column *columns;
	uint32_t n_columns;
	size_t cap_columns;
	struct hn_decl_selection *selections;
	uint32_t n_selections;
	size_t cap_selections;
	struct hn_decl_forward *forwards;
	uint32_t n_forwards;
	size_t cap_forwards;
	const char **heads;
	uint32_t n_heads;
	size_t cap_heads;
};

enum hone_status hn_layout_collect(struct hn_layout *layout,
	const struct hone_objective_vt *objective, const void *self, struct hone_error *err);
void hn_layout_fini(struct hn_layout *layout);

/* ---- building ---- */

struct hn_adapter_ref {
	const char *section; /* "lora.second" */
	const struct hone_adapter_vt *vt;
	const void *self;
};

enum hn_build_mode {
	HN_BUILD_TRAIN = 1, /* loss terms, backward, gradients */
	HN_BUILD_EVAL,      /* loss terms and metrics, no dropout */
	HN_BUILD_LOGITS,    /* logits of all rows of the first stream */
	HN_BUILD_DECODE,    /* key/value cache; logits and argmax of selected rows */
};

/* Capacities of one micro-batch. */
struct hn_capacity {
	int64_t rows, segments, longest;
	int64_t selected;   /* rows of any selection; at most rows */
	int64_t cache_rows; /* DECODE: rows of the cache */
};

struct hn_build_request {
	enum hn_build_mode mode;
	const struct hn_model *model;
	const struct hn_params *params;
	const struct hn_adapter_ref *adapters; /* of the policy, in the order of the INI */
	uint32_t n_adapters;
	const struct hone_objective_vt *objective; /* TRAIN, EVAL */
	const void *objective_self;
	const char *objective_section;
	const struct hn_layout *layout; /* TRAIN, EVAL */
	struct hn_capacity capacity;
	int32_t compute;
	const struct hn_custom_ops *custom; /* plugins' ops, NULL = none */
	bool without_adapters;              /* the policy view is the untouched file (--base) */
	bool recomputes;                    /* layers are computed again in the backward */
	bool is_merged;      /* the policy's adapters are in its weights (merge hooks) */
	bool without_fusion; /* every node runs as it was written, for comparisons */
};

struct hn_term {
	const char *name, *stream, *weight;
	double coefficient; /* metrics: 1 */
	bool is_metric;
};

struct hn_build_result {
	struct hn_term *terms; /* in the graph's arena */
	uint32_t n_terms;
};

/* Builds the graph (initialised here; the caller finishes it, also on error).  Outputs are
 * named "term.<name>" and "metric.<name>" ([1,1] stat); LOGITS: "logits"; DECODE: "logits" and
 * "argmax". */
enum hone_status hn_build(const struct hn_build_request *request, struct hn_graph *graph,
	struct hn_build_result *result, struct hone_error *err);

/* A graph that merges the adapters into one site's weight: output "weight" [O,I] f32, and
 * "bias" where one is made.  HONE_EUNSUPPORTED names the adapter that cannot. */
enum hone_status hn_build_merge(const struct hn_build_request *request, const struct hn_site *site,
	struct hn_graph *graph, struct hone_error *err);

/* The update of all trained parameters: column "step.hyper" f32 [4] feeds every AdamW. */
struct hn_adamw {
	double beta1, beta2, eps, weight_decay;
};
enum hone_status hn_build_update(const struct hn_params *params, const struct hn_adamw *adamw,
	int32_t compute, struct hn_graph *graph, struct hone_error *err);
/* The sum of squares of all gradients: output "norm2" stat [1,1]. */
enum hone_status hn_build_norm(const struct hn_params *params, int32_t compute,
	struct hn_graph *graph, struct hone_error *err);

#endif
