/*
 * sites.c - the calls at sites: how an architecture's body meets the adapters of a view.
 *
 * At a linear site:   x -> input hooks -> x W^T -> output hooks on {x, y, bias} -> y + bias,
 * in the order of the INI, with the weight that the view has: an overlay's parameter where
 * one of its adapters trains the weight itself, else the stored weight.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "graph/build_state.h"

/* The graph of a place, for the wrappers of hone/graph.h. */
static struct hone_graph *
graph_of(const struct hone_build *at)
{
	return at->graph;
}

/* ---- weights ---- */

/* A trained parameter is one leaf in views with gradient and another in views without. */
static hone_node
param_node(const struct hn_at *at, const struct hn_param *param)
{
	const bool trains = at->pub.view->has_gradient && (param->spec.flags & HONE_PARAM_TRAIN);

	return hn_graph_param(at->builder->graph,
		(uint32_t)(param - at->builder->request->params->list), param->spec.rank,
		param->spec.dim, trains);
}

/* The parameter that stands for a stored weight or bias in this view, NULL: none does.  Of two
 * adapters that bring one, the first in the INI's order has it. */
static const struct hn_param *
overlay_of(const struct hn_at *at, const struct hn_site *site, int32_t slot)
{
	const struct hn_build_request *request = at->builder->request;

	for (uint32_t i = 0; at->has_adapters && i < request->n_adapters; i++) {
		const struct hn_param *param = hn_params_overlay(request->params, i, site, slot);

		if (param)
			return param;
	}
	return NULL;
}

/* The overlay comes first, then, for a tied head, the overlay of the site that it is
 * tied to, then the file. A weight that the file does not have must be a parameter: as a
 * stored leaf it would have no bytes. */
hone_node
hn_slot_node(const struct hn_at *at, const struct hn_site *site, int32_t slot)
{
	const struct hn_model *model = at->builder->request->model;
	const int32_t index = slot == HONE_SLOT_BIAS ? site->bias : site->weight;
	const struct hn_param *param;

	if (at->is_merged)
		return hn_merged_node(at, site, slot);
	param = overlay_of(at, site, slot);
	if (!param && slot == HONE_SLOT_WEIGHT && site->tied_to >= 0)
		param = overlay_of(at, &model->sites[site->tied_to], slot);
	if (param)
		return param_node(at, param);
	if (index < 0)
		return hone_node_none();
	if (!model->weights[index].tensor) {
		hn_graph_fail(at->builder->graph, HONE_ECONFIG,
			"%s is not in the model's file, so it must be trained: with [model] init = "
			"random choose adapter = full",
			model->weights[index].name);
		return hone_node_none();
	}
	return hn_graph_weight(at->builder->graph, (uint32_t)index, model->weights[index].rank,
		model->weights[index].dim);
}

/* ---- for architectures ---- */

/* An architecture that asks for a site which it did not declare gets one without
 * features, so that its code runs on to the check at its end; the graph keeps the
 * reason. */
static const struct hone_site *
build_site(const struct hone_build *at, const char *role, int32_t layer)
{
	struct hn_builder *b = hn_at_of(at)->builder;
	const struct hn_site *site = hn_model_site_at(b->request->model, role, layer);

	if (!site)
		hn_graph_fail(b->graph, HONE_EPLUGIN, "no site %s in layer %" PRId32, role, layer);
	return site ? &site->pub : &b->no_site.pub;
}

/* What stands behind a plugin's site: the public part is the first member. */
static const struct hn_site *
host_site(const struct hone_site *site)
{
	return (const struct hn_site *)(const void *)site;
}

/* From here on nodes are of this site: for reports, for the names of random streams,
 * and, where layers are recomputed, for the group of its layer (0 = kept, outside of
 * layers). */
static void
enter(const struct hone_build *at, const struct hone_site *site)
{
	struct hn_builder *b = hn_at_of(at)->builder;

	b->graph->where = site->name;
	if (b->request->recomputes)
		b->graph->group = site->layer >= 0 ? (uint32_t)site->layer + 1 : 0;
}

/* What linear and embedding sites have in common behind their product: the output hooks
 * see y [N,O] without the bias and the bias beside it, and the host adds it last. */
static hone_node
site_output(const struct hone_build *at, const struct hone_site *pub, hone_node x, hone_node y)
{
	const struct hn_at *here = hn_at_of(at);
	const struct hn_site *site = host_site(pub);
	struct hone_site_io io = {.struct_size = sizeof io,
		.x = x,
		.y = y,
		.bias = hn_slot_node(here, site, HONE_SLOT_BIAS)};

	hn_hooks_run(here, HN_HOOK_OUTPUT, pub, &io);
	return io.bias.id ? hone_add(graph_of(at), io.y, io.bias) : io.y;
}

/* y = hooks(x) W^T, and what the output hooks make of it; [N,I] -> [N,O]. */
static hone_node
build_linear(const struct hone_build *at, const struct hone_site *site, hone_node x)
{
	if (hn_is_refused_in_hook(at, "hone_linear", "architectures"))
		return hone_node_none();
	enter(at, site);
	hn_hooks_run(hn_at_of(at), HN_HOOK_INPUT, site, &x);
	return site_output(at, site, x,
		hone_matmul_nt(graph_of(at), x,
			hn_slot_node(hn_at_of(at), host_site(site), HONE_SLOT_WEIGHT)));
}

/* x W^T with the view's weight and nothing else: what DoRA needs of a frozen site inside
 * its own hook, where linear() would call the hook again. */
static hone_node
build_product(const struct hone_build *at, const struct hone_site *site, hone_node x)
{
	return hone_matmul_nt(
		graph_of(at), x, hn_slot_node(hn_at_of(at), host_site(site), HONE_SLOT_WEIGHT));
}

/* Rows of W [V,D] by id, i32 [N] -> [N,D]; the hooks see the ids as the site's input. */
static hone_node
build_embed(const struct hone_build *at, const struct hone_site *site, hone_stream stream,
	hone_node ids)
{
	(void)stream;
	if (hn_is_refused_in_hook(at, "embed", "architectures"))
		return hone_node_none();
	enter(at, site);
	return site_output(at, site, ids,
		hone_gather_rows(graph_of(at),
			hn_slot_node(hn_at_of(at), host_site(site), HONE_SLOT_WEIGHT), ids));
}

/* A norm site has no hooks: what trains there is an overlay of its weight or bias. */
static hone_node
build_norm(const struct hone_build *at, const struct hone_site *site, hone_node x, double eps)
{
	const hone_node weight = hn_slot_node(hn_at_of(at), host_site(site), HONE_SLOT_WEIGHT);
	const hone_node bias = hn_slot_node(hn_at_of(at), host_site(site), HONE_SLOT_BIAS);
	const struct hone_attr_norm attr = {eps};
	const hone_node in[3] = {x, weight, bias};
	hone_node out[3] = {{0}, {0}, {0}};

	if (hn_is_refused_in_hook(at, "hone_norm", "architectures"))
		return hone_node_none();
	enter(at, site);
	if (bias.id)
		(void)at->graph->vt->node(
			at->graph, HONE_OP_LAYER_NORM, 3, in, &attr, sizeof attr, 3, out);
	else
		(void)at->graph->vt->node(
			at->graph, HONE_OP_RMS_NORM, 2, in, &attr, sizeof attr, 2, out);
	return out[0];
}
/* New keys or values go into the cache; what attention then reads is the cache. */
static hone_node
write_cache(struct hn_builder *b, const struct hn_site *site, const char *what, hone_node rows)
{
	const int64_t cols = hn_value_cols(hn_graph_value(b->graph, rows.id));
	const int64_t dim[2] = {b->request->capacity.cache_rows, cols};
	const int64_t one = b->request->capacity.rows;
	char name[512];
	hone_node state, index, written;

	(void)snprintf(name, sizeof name, "%s.%s", site->pub.name, what);
	state = hn_graph_state(b->graph, name, b->graph->compute, 0, 2, dim);
	index = hn_graph_column(
		b->graph, "text.cache_rows", HONE_DTYPE_I32, b->streams[0].rows, 1, &one);
	written = hone_put_rows(&b->graph->base, state, rows, index);
	if (!b->graph->error.status)
		hn_graph_store(b->graph, written, HN_LEAF_STATE,
			b->graph->nodes[b->graph->values[state.id].node].leaf_index, false);
	return written;
}

/* q meets k and v of the same segment; hooks may put a prefix [P,G K] before the keys of
 * every segment. When decoding, keys and values go through the cache. */
static hone_node
build_attention(
	const struct hone_build *at, const struct hone_site *site, struct hone_attention_io *io)
{
	struct hn_builder *b = hn_at_of(at)->builder;
	const struct hone_attr_attention attr = {.n_heads = site->n_heads,
		.n_kv_heads = site->n_kv_heads,
		.head_dim = site->head_dim,
		.window = io->window,
		.causal = io->causal,
		.scale = io->scale,
		.softcap = io->softcap};
	hone_node in[7], out[2] = {{0}, {0}};

	if (hn_is_refused_in_hook(at, "attention", "architectures"))
		return hone_node_none();
	enter(at, site);
	hn_hooks_run(hn_at_of(at), HN_HOOK_ATTENTION, site, io);
	if (b->graph->error.status)
		return hone_node_none();
	in[0] = io->q;
	in[1] = io->k;
	in[2] = io->v;
	in[3] = hn_stream_offsets(b, io->q_stream);
	in[4] = hn_stream_ranges(b, io->kv_stream);
	in[5] = io->prefix_k;
	in[6] = io->prefix_v;
	if (b->request->mode == HN_BUILD_DECODE) {
		in[1] = write_cache(b, host_site(site), "k", io->k);
		in[2] = write_cache(b, host_site(site), "v", io->v);
	}
	(void)at->graph->vt->node(at->graph, HONE_OP_ATTENTION, io->prefix_k.id ? 7 : 5, in, &attr,
		sizeof attr, 2, out);
	return out[0];
}

/* What a layer hands to the next, [N,D]. */
static hone_node
build_hidden(
	const struct hone_build *at, const struct hone_site *site, hone_stream stream, hone_node h)
{
	struct hn_graph *graph = hn_at_of(at)->builder->graph;

	(void)stream;
	if (hn_is_refused_in_hook(at, "hidden", "architectures"))
		return hone_node_none();
	hn_hooks_run(hn_at_of(at), HN_HOOK_HIDDEN, site, &h);
	if (h.id && h.id < graph->n_values) /* what is handed to the next layer is kept */
		graph->nodes[graph->values[h.id].node].group = 0;
	return h;
}

/* A random stream is named by who draws, where, in which pass and for what, and never by
 * a node's number: two passes differ, a recomputation does not, and another adapter
 * beside this one changes no mask. */
static hone_node
build_dropout(const struct hone_build *at, hone_node x, double p, const char *name)
{
	const struct hn_at *here = hn_at_of(at);
	struct hn_builder *b = here->builder;
	struct hone_attr_dropout attr = {.p = p};
	char text[1024];

	if (b->graph->error.status || p <= 0.0)
		return x;
	(void)snprintf(text, sizeof text, "%s/%s/%u/%s",
		here->instance == HN_NO_INSTANCE ? at->view->model
						 : b->request->adapters[here->instance].section,
		b->graph->where ? b->graph->where : "", at->pass, name);
	attr.stream = hn_rng_stream(text);
	return hone_node_make(at->graph, HONE_OP_DROPOUT, x, hn_row_keys(b, x), hone_node_none(),
		&attr, sizeof attr);
}

/* ---- for adapters ---- */

/* A hook's own parameter by the name under which its instance declared it there. */
static hone_node
build_param(const struct hone_build *at, const struct hone_site *site, const char *name)
{
	const struct hn_at *here = hn_at_of(at);
	struct hn_builder *b = here->builder;
	const struct hn_param *param;

	if (here->instance == HN_NO_INSTANCE) {
		hn_graph_fail(b->graph, HONE_EPLUGIN, "param('%s') outside a hook", name);
		return hone_node_none();
	}
	param = hn_params_find(
		b->request->params, b->request->adapters[here->instance].section, site, name);
	if (!param) {
		hn_graph_fail(b->graph, HONE_EPLUGIN, "%s: parameter '%s' was not declared at %s",
			b->request->adapters[here->instance].section, name,
			site ? site->name : "the instance");
		return hone_node_none();
	}
	return param_node(here, param);
}

/* ---- the table that plugins see ---- */

const struct hone_build_vt hn_build_vt = {
	.struct_size = sizeof hn_build_vt,
	.site = build_site,
	.tokens = hn_build_tokens,
	.positions = hn_build_positions,
	.max_length = hn_build_max_length,
	.linear = build_linear,
	.embed = build_embed,
	.norm = build_norm,
	.attention = build_attention,
	.hidden = build_hidden,
	.dropout = build_dropout,
	.param = build_param,
	.product = build_product,
	.forward = hn_build_forward,
	.stream = hn_build_stream,
	.column = hn_build_column,
	.select = hn_build_select,
	.selected = hn_build_selected,
	.head = hn_build_head,
	.offsets = hn_build_offsets,
	.head_of = hn_build_head_of,
};
