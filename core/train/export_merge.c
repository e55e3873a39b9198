/*
 * export_merge.c - one weight with the adapters in it.
 *
 * The merge graph of a site says where its weight comes from: the stored tensor as it is, a
 * parameter as it is (a trained copy), or a computation, which then runs on the run's devices
 * in f32.  So only what an adapter changes costs anything, and whether a tied head still
 * equals the embedding is a question about two graphs, not about numbers.
 *
 * A run that trains in f64 has parameters of that type, and one with [model] storage has weights
 * in another form than the file's.  Their parameters are copied into an f32 engine with the
 * file's weights: what is merged into is what the file holds, not what its 4-bit form reads as.
 */
#include <stdlib.h>
#include <string.h>

#include "train/export_parts.h"

/* An engine in f32 with the same values. */
static enum hone_status
copy_engine(struct hn_merger *merger, struct hone_error *err)
{
	const struct hn_engine *from = merger->of->engine;
	enum hone_status st;

	hn_engine_init(&merger->own, from->model, from->params, from->devices, from->n_devices,
		HONE_DTYPE_F32);
	hn_engine_use_file(&merger->own);
	merger->has_own = true;
	merger->engine = &merger->own;
	st = hn_engine_allocate(&merger->own, err);
	for (uint32_t i = 0; i < from->params->n && !st; i++) {
		const struct hn_param *param = &from->params->list[i];
		float *values = malloc((size_t)param->n_elems * sizeof *values);

		if (!values)
			return hone_fail(
				err, HONE_ENOMEM, "no memory for the values of '%s'", param->key);
		st = hn_engine_get(from, HN_MEMORY_PARAMS, param, values, err);
		if (!st)
			st = hn_engine_set(&merger->own, HN_MEMORY_PARAMS, param, values, err);
		free(values);
	}
	return st;
}

enum hone_status
hn_merger_open(struct hn_merger *merger, const struct hn_adapted *of, struct hone_error *err)
{
	*merger = (struct hn_merger){.of = of,
		.engine = of->engine,
		.request = {.model = of->model,
			.params = of->params,
			.adapters = of->adapters,
			.n_adapters = of->n_adapters,
			.custom = of->custom,
			.compute = HONE_DTYPE_F32}};
	return of->engine->stat == HONE_DTYPE_F32 && !of->model->kept.name
		? HONE_OK
		: copy_engine(merger, err);
}

void
hn_merger_close(struct hn_merger *merger)
{
	if (merger->has_own)
		hn_engine_fini(&merger->own);
	*merger = (struct hn_merger){0};
}

static const struct hn_node *
node_of(const struct hn_graph *graph, uint32_t value)
{
	return &graph->nodes[graph->values[value].node];
}

/* What stands before the copy that every output of a merge graph ends with. */
static struct hn_source
source_of(const struct hn_graph *graph, const struct hn_output *output)
{
	const struct hn_node *node = node_of(graph, node_of(graph, output->value)->in[0]);

	if (node->op == HONE_OP_DECODE)
		node = node_of(graph, node->in[0]);
	if (node->leaf == HN_LEAF_WEIGHT)
		return (struct hn_source){HN_SOURCE_STORED, node->leaf_index};
	if (node->leaf == HN_LEAF_PARAM)
		return (struct hn_source){HN_SOURCE_PARAM, node->leaf_index};
	return (struct hn_source){HN_SOURCE_COMPUTED, 0};
}

static const char *
output_name(int32_t slot)
{
	return slot == HONE_SLOT_BIAS ? "bias" : "weight";
}

enum hone_status
hn_merger_source(const struct hn_merger *merger, const struct hn_site *site, int32_t slot,
	struct hn_source *out, struct hone_error *err)
{
	struct hn_graph graph;
	enum hone_status st = hn_build_merge(&merger->request, site, &graph, err);

	if (!st)
		st = hone_fail(err, HONE_EBUG, "the merged %s has no %s", site->pub.name,
			output_name(slot));
	for (uint32_t i = 0; i < graph.n_outputs && st == HONE_EBUG; i++) {
		if (!hn_streq(graph.outputs[i].name, output_name(slot)))
			continue;
		*out = source_of(&graph, &graph.outputs[i]);
		st = HONE_OK;
	}
	hn_graph_fini(&graph);
	return st;
}

enum hone_status
hn_run_once(const struct hn_engine *engine, struct hn_graph *graph,
	void (*bind)(void *ctx, struct hn_program *program), void *ctx, const char *output,
	int64_t n, float *out, struct hone_error *err)
{
	const struct hn_device *first = engine->devices;
	hone_buffer buffers[HN_MEMORY_KINDS] = {0};
	struct hn_program program = {0};
	enum hone_status st = hn_program_plan(&program, "merge", graph, HN_PROOF_ROWS, err);

	buffers[HN_MEMORY_PARAMS] = engine->buffers[HN_MEMORY_PARAMS];
	if (!st)
		st = hn_program_compile(
			&program, &engine->tables, engine->devices, engine->n_devices, err);
	if (!st)
		st = first->vt->buffer_create(
			first->device, program.arena_bytes + 64, &buffers[HN_MEMORY_ARENA], err);
	if (!st)
		st = hn_program_link(&program, &engine->tables, buffers, err);
	if (!st && bind)
		bind(ctx, &program);
	if (!st)
		st = hn_program_run(&program, 0, 0, err);
	if (!st)
		st = hn_program_read(&program, output, out, (uint64_t)n * sizeof *out, err);
	if (buffers[HN_MEMORY_ARENA])
		first->vt->buffer_destroy(first->device, buffers[HN_MEMORY_ARENA]);
	hn_program_fini(&program);
	return st;
}

/* A parameter knows by its tags whether its rows follow the site. */
static enum hone_status
param_values(const struct hn_merger *merger, uint32_t index, int64_t n, float *out,
	struct hone_error *err)
{
	const struct hn_param *param = &merger->of->params->list[index];
	enum hone_status st;

	if (param->n_elems != n)
		return hone_fail(
			err, HONE_EPLUGIN, "'%s' is not of the shape of its weight", param->key);
	st = hn_engine_get(merger->engine, HN_MEMORY_PARAMS, param, out, err);
	if (!st)
		hn_param_permute(param, false, out);
	return st;
}

enum hone_status
hn_merger_values(const struct hn_merger *merger, const struct hn_site *site, int32_t slot,
	const struct hn_source *source, int64_t n, float *out, struct hone_error *err)
{
	const struct hn_model *model = merger->of->model;
	struct hn_graph graph;
	enum hone_status st;

	if (source->kind == HN_SOURCE_PARAM)
		return param_values(merger, source->index, n, out, err);
	if (source->kind == HN_SOURCE_STORED) {
		st = hn_weight_decode(
			model, &model->weights[source->index], merger->of->seed, 0, n, out, err);
	} else {
		st = hn_build_merge(&merger->request, site, &graph, err);
		if (st)
			hn_graph_fini(&graph);
		else
			st = hn_run_once(
				merger->engine, &graph, NULL, NULL, output_name(slot), n, out, err);
	}
	if (!st)
		hn_rows_permute(&site->pub, false,
			slot == HONE_SLOT_BIAS ? 1 : n / site->pub.out_features, out);
	return st;
}
