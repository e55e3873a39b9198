/*
 * build.c - the calls at sites: how an architecture's body meets the adapters of a view.
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

static struct hn_at *
state_of(const struct hone_build *at)
{
	return (struct hn_at *)(uintptr_t)(const void *)at;
}

static struct hone_graph *
graph_of(const struct hone_build *at)
{
	return at->graph;
}

static void
fail(struct hn_builder *b, enum hone_status status, const struct hone_error *err)
{
	hn_graph_fail(b->graph, status, "%s", err->text);
}

/* `at` as an adapter's hook gets it: the instance is known to param(). */
static struct hn_at
at_instance(const struct hn_at *at, uint32_t instance)
{
	struct hn_at copy = *at;

	copy.instance = instance;
	return copy;
}

/* ---- weights ---- */

static hone_node
param_node(const struct hn_at *at, const struct hn_param *param)
{
	const bool trains = at->pub.view->has_gradient && (param->spec.flags & HONE_PARAM_TRAIN);

	return hn_graph_param(at->builder->graph,
		(uint32_t)(param - at->builder->request->params->list), param->spec.rank,
		param->spec.dim, trains);
}

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

static hone_node
slot_node(const struct hn_at *at, const struct hn_site *site, int32_t slot)
{
	const struct hn_model *model = at->builder->request->model;
	const int32_t index = slot == HONE_SLOT_BIAS ? site->bias : site->weight;
	const struct hn_param *param = overlay_of(at, site, slot);

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

/* ---- hooks ---- */

static void
run_input_hooks(const struct hn_at *at, const struct hn_site *site, hone_node *x)
{
	const struct hn_build_request *request = at->builder->request;

	for (uint32_t i = 0; at->has_adapters && i < request->n_adapters; i++) {
		const struct hn_adapter_ref *adapter = &request->adapters[i];
		const struct hn_at here = at_instance(at, i);
		struct hone_error err = {0};
		enum hone_status st;

		if (!HONE_HAS(adapter->vt, struct hone_adapter_vt, input))
			continue;
		st = adapter->vt->input(adapter->self, &here.pub, &site->pub, x, &err);
		if (st)
			fail(at->builder, st, &err);
	}
}

static void
run_output_hooks(const struct hn_at *at, const struct hn_site *site, struct hone_site_io *io)
{
	const struct hn_build_request *request = at->builder->request;

	for (uint32_t i = 0; at->has_adapters && i < request->n_adapters; i++) {
		const struct hn_adapter_ref *adapter = &request->adapters[i];
		const struct hn_at here = at_instance(at, i);
		struct hone_error err = {0};
		enum hone_status st;

		if (!HONE_HAS(adapter->vt, struct hone_adapter_vt, output))
			continue;
		st = adapter->vt->output(adapter->self, &here.pub, &site->pub, io, &err);
		if (st)
			fail(at->builder, st, &err);
	}
}

/* ---- for architectures ---- */

static const struct hone_site *
build_site(const struct hone_build *at, const char *role, int32_t layer)
{
	struct hn_builder *b = state_of(at)->builder;
	const struct hn_site *site = hn_model_site_at(b->request->model, role, layer);

	if (!site)
		hn_graph_fail(b->graph, HONE_EPLUGIN, "no site %s in layer %" PRId32, role, layer);
	return site ? &site->pub : &b->no_site.pub;
}

static const struct hn_site *
host_site(const struct hone_site *site)
{
	return (const struct hn_site *)(const void *)site;
}

static void
enter(const struct hone_build *at, const struct hone_site *site)
{
	struct hn_builder *b = state_of(at)->builder;

	b->graph->where = site->name;
	if (b->request->recomputes)
		b->graph->group = site->layer >= 0 ? (uint32_t)site->layer + 1 : 0;
}

static hone_node
site_output(const struct hone_build *at, const struct hone_site *pub, hone_node x, hone_node y)
{
	const struct hn_at *here = state_of(at);
	const struct hn_site *site = host_site(pub);
	struct hone_site_io io = {.struct_size = sizeof io,
		.x = x,
		.y = y,
		.bias = slot_node(here, site, HONE_SLOT_BIAS)};

	run_output_hooks(here, site, &io);
	return io.bias.id ? hone_add(graph_of(at), io.y, io.bias) : io.y;
}

static hone_node
build_linear(const struct hone_build *at, const struct hone_site *site, hone_node x)
{
	enter(at, site);
	run_input_hooks(state_of(at), host_site(site), &x);
	return site_output(at, site, x,
		hone_matmul_nt(graph_of(at), x,
			slot_node(state_of(at), host_site(site), HONE_SLOT_WEIGHT)));
}

static hone_node
build_product(const struct hone_build *at, const struct hone_site *site, hone_node x)
{
	return hone_matmul_nt(
		graph_of(at), x, slot_node(state_of(at), host_site(site), HONE_SLOT_WEIGHT));
}

static hone_node
build_embed(const struct hone_build *at, const struct hone_site *site, hone_stream stream,
	hone_node ids)
{
	(void)stream;
	enter(at, site);
	return site_output(at, site, ids,
		hone_gather_rows(graph_of(at),
			slot_node(state_of(at), host_site(site), HONE_SLOT_WEIGHT), ids));
}

static hone_node
build_norm(const struct hone_build *at, const struct hone_site *site, hone_node x, double eps)
{
	const hone_node weight = slot_node(state_of(at), host_site(site), HONE_SLOT_WEIGHT);
	const hone_node bias = slot_node(state_of(at), host_site(site), HONE_SLOT_BIAS);
	const struct hone_attr_norm attr = {eps};
	const hone_node in[3] = {x, weight, bias};
	hone_node out[3] = {{0}, {0}, {0}};

	enter(at, site);
	if (bias.id)
		(void)at->graph->vt->node(
			at->graph, HONE_OP_LAYER_NORM, 3, in, &attr, sizeof attr, 3, out);
	else
		(void)at->graph->vt->node(
			at->graph, HONE_OP_RMS_NORM, 2, in, &attr, sizeof attr, 2, out);
	return out[0];
}

static void
run_attention_hooks(
	const struct hn_at *at, const struct hn_site *site, struct hone_attention_io *io)
{
	const struct hn_build_request *request = at->builder->request;

	for (uint32_t i = 0; at->has_adapters && i < request->n_adapters; i++) {
		const struct hn_adapter_ref *adapter = &request->adapters[i];
		const struct hn_at here = at_instance(at, i);
		struct hone_error err = {0};
		enum hone_status st;

		if (!HONE_HAS(adapter->vt, struct hone_adapter_vt, attention))
			continue;
		st = adapter->vt->attention(adapter->self, &here.pub, &site->pub, io, &err);
		if (st)
			fail(at->builder, st, &err);
	}
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

static hone_node
build_attention(
	const struct hone_build *at, const struct hone_site *site, struct hone_attention_io *io)
{
	struct hn_builder *b = state_of(at)->builder;
	const struct hone_attr_attention attr = {.n_heads = site->n_heads,
		.n_kv_heads = site->n_kv_heads,
		.head_dim = site->head_dim,
		.window = io->window,
		.causal = io->causal,
		.scale = io->scale,
		.softcap = io->softcap};
	hone_node in[7], out[2] = {{0}, {0}};

	enter(at, site);
	run_attention_hooks(state_of(at), host_site(site), io);
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

static hone_node
build_hidden(
	const struct hone_build *at, const struct hone_site *site, hone_stream stream, hone_node h)
{
	const struct hn_at *here = state_of(at);
	const struct hn_build_request *request = here->builder->request;

	(void)stream;
	for (uint32_t i = 0; here->has_adapters && i < request->n_adapters; i++) {
		const struct hn_adapter_ref *adapter = &request->adapters[i];
		const struct hn_at instance = at_instance(here, i);
		struct hone_error err = {0};
		enum hone_status st;

		if (!HONE_HAS(adapter->vt, struct hone_adapter_vt, hidden))
			continue;
		st = adapter->vt->hidden(adapter->self, &instance.pub, site, &h, &err);
		if (st)
			fail(here->builder, st, &err);
	}
	if (h.id) /* what is handed to the next layer is kept */
		here->builder->graph->nodes[here->builder->graph->values[h.id].node].group = 0;
	return h;
}

static hone_node
build_dropout(const struct hone_build *at, hone_node x, double p, const char *name)
{
	const struct hn_at *here = state_of(at);
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

static hone_node
build_param(const struct hone_build *at, const struct hone_site *site, const char *name)
{
	const struct hn_at *here = state_of(at);
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
};

/* ---- merging ---- */

enum hone_status
hn_build_merge(const struct hn_build_request *request, const struct hn_site *site,
	struct hn_graph *graph, struct hone_error *err)
{
	const struct hone_view view = {
		.struct_size = sizeof view, .name = "policy", .model = request->model->name};
	struct hn_builder b = {.request = request, .graph = graph};
	struct hn_at at = {
		.pub = {sizeof at.pub, 0, &graph->base, &view, &request->model->base, &hn_build_vt},
		.builder = &b,
		.instance = HN_NO_INSTANCE,
		.has_adapters = true};
	const struct hone_attr_cast f32 = {HONE_DTYPE_F32, 0};
	struct hone_merge_io io = {.struct_size = sizeof io};

	hn_graph_init(graph, HONE_DTYPE_F32);
	graph->custom = request->custom;
	graph->where = site->pub.name;
	io.weight = slot_node(&at, site, HONE_SLOT_WEIGHT);
	io.bias = slot_node(&at, site, HONE_SLOT_BIAS);
	if (io.weight.id && graph->nodes[graph->values[io.weight.id].node].leaf == HN_LEAF_WEIGHT)
		io.weight = hone_node_make(&graph->base, HONE_OP_DECODE, io.weight,
			hone_node_none(), hone_node_none(), &f32, sizeof f32);
	for (uint32_t i = 0; i < request->n_adapters; i++) {
		const struct hn_adapter_ref *adapter = &request->adapters[i];
		const struct hn_at here = at_instance(&at, i);
		enum hone_status st;

		if (!HONE_HAS(adapter->vt, struct hone_adapter_vt, merge))
			return hone_fail(err, HONE_EUNSUPPORTED, "%s cannot be merged into weights",
				adapter->section);
		st = adapter->vt->merge(adapter->self, &here.pub, &site->pub, &io, err);
		if (st)
			return st;
	}
	/* A copy, so that an untouched weight has memory of its own, too. */
	hn_graph_output(graph, hone_affine(&graph->base, io.weight, 1.0, 0.0), "weight");
	if (io.bias.id)
		hn_graph_output(graph, hone_affine(&graph->base, io.bias, 1.0, 0.0), "bias");
	return hone_graph_status(&graph->base, err);
}

/* ---- the optimizer ---- */

static hone_node
leaf_of(struct hn_graph *graph, int32_t leaf, uint32_t i, const struct hn_param *param)
{
	return hn_graph_leaf(graph, leaf, i, graph->stat, 0, param->spec.rank, param->spec.dim);
}

enum hone_status
hn_build_update(const struct hn_params *params, const struct hn_adamw *adamw, int32_t compute,
	struct hn_graph *graph, struct hone_error *err)
{
	const int64_t four = 4;
	hone_node hyper;

	hn_graph_init(graph, compute);
	hyper = hn_graph_column(graph, "step.hyper", HONE_DTYPE_F32, 0, 1, &four);
	for (uint32_t i = 0; i < params->n; i++) {
		const struct hn_param *param = &params->list[i];
		const struct hone_attr_adamw attr = {adamw->beta1, adamw->beta2, adamw->eps,
			param->spec.flags & HONE_PARAM_NO_DECAY ? 0.0 : adamw->weight_decay,
			param->spec.lr_scale};
		const hone_node in[5] = {leaf_of(graph, HN_LEAF_PARAM, i, param),
			leaf_of(graph, HN_LEAF_GRAD, i, param),
			leaf_of(graph, HN_LEAF_MOMENT1, i, param),
			leaf_of(graph, HN_LEAF_MOMENT2, i, param), hyper};
		const struct hone_attr_scale zero = {0.0, 0.0};
		hone_node out[3] = {{0}, {0}, {0}};

		if (!(param->spec.flags & HONE_PARAM_TRAIN))
			continue;
		graph->where = param->key;
		(void)graph->base.vt->node(
			&graph->base, HONE_OP_ADAMW, 5, in, &attr, sizeof attr, 3, out);
		hn_graph_store(graph, out[0], HN_LEAF_PARAM, i, false);
		hn_graph_store(graph, out[1], HN_LEAF_MOMENT1, i, false);
		hn_graph_store(graph, out[2], HN_LEAF_MOMENT2, i, false);
		hn_graph_store(graph,
			hone_node_make(&graph->base, HONE_OP_FILL, out[0], hone_node_none(),
				hone_node_none(), &zero, sizeof zero),
			HN_LEAF_GRAD, i, false);
	}
	return hone_graph_status(&graph->base, err);
}

enum hone_status
hn_build_norm(const struct hn_params *params, int32_t compute, struct hn_graph *graph,
	struct hone_error *err)
{
	hone_node sum = {0};

	hn_graph_init(graph, compute);
	for (uint32_t i = 0; i < params->n; i++) {
		const struct hn_param *param = &params->list[i];
		hone_node square;

		if (!(param->spec.flags & HONE_PARAM_TRAIN))
			continue;
		graph->where = param->key;
		square = hone_node_make(&graph->base, HONE_OP_SUM_SQUARES,
			leaf_of(graph, HN_LEAF_GRAD, i, param), hone_node_none(), hone_node_none(),
			NULL, 0);
		sum = sum.id ? hone_add(&graph->base, sum, square) : square;
	}
	if (sum.id)
		hn_graph_output(graph, sum, "norm2");
	return hone_graph_status(&graph->base, err);
}
