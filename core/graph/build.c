/*
 * build.c - a whole graph: forwards, the objective's terms, their backward; or logits.
 *
 *     TRAIN   forwards -> terms -> backward       outputs "term.<name>", gradients
 *     EVAL    forwards -> terms and metrics       outputs "term.<name>", "metric.<name>"
 *     LOGITS  body -> head, every row             output "logits" [N,V]
 *     DECODE  body -> head, a row per segment     outputs "logits" [S,V], "argmax" [S,1]
 *
 * With L = sum over terms of coefficient_i sum_i / weight_i, and weight_i known for the whole
 * optimizer step before its first micro-batch, dL/dsum_i is a number that the host fills in
 * (step.inverse.<term>).  So the gradients of micro-batches add up to that of the one big
 * batch, whatever the split, and L itself is never a node.
 */
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "graph/build_state.h"

/* The backward of all terms at once, each with its cotangent from the host.  Metrics and terms
 * without a parameter below them have none; when nothing is left, the run would learn nothing,
 * and that is the user's to mend. */
static enum hone_status
differentiate(struct hn_builder *b, struct hone_error *err)
{
	struct hn_seed *seeds = hn_alloc((b->n_terms + 1u) * sizeof *seeds);
	const int64_t one = 1;
	enum hone_status st;
	uint32_t n = 0;
	char name[128];

	for (uint32_t i = 0; i < b->n_terms; i++) {
		if (b->terms[i].is_metric ||
			!hn_graph_value(b->graph, b->term_nodes[i].id)->needs_grad)
			continue;
		(void)snprintf(name, sizeof name, "step.inverse.%s", b->terms[i].name);
		seeds[n++] = (struct hn_seed){b->term_nodes[i],
			hn_graph_column(b->graph, name, b->graph->stat, 0, 1, &one)};
	}
	st = n ? hn_graph_backward(b->graph, seeds, n, err)
	       : hone_fail(err, HONE_ECONFIG,
			 "nothing trains: no loss term depends on a parameter; check adapter and "
			 "target_modules");
	free(seeds);
	return st;
}

/* The objective's terms; what is wrong with what it built is said in its name. */
static enum hone_status
run_objective(
	struct hn_builder *b, const struct hn_at *at, struct hn_loss *loss, struct hone_error *err)
{
	const char *section = b->request->objective_section;
	const char *who = section ? section : "objective";
	struct hone_error why = {0};
	struct hn_call call;
	enum hone_status st;

	hn_call_begin(&call, who, "build", NULL);
	st = b->request->objective->build(b->request->objective_self, &at->pub, &loss->base, &why);
	hn_call_end(&call);
	hn_graph_blame(b->graph, st, &why, who, "build", NULL);
	return hone_graph_status(&b->graph->base, err);
}

/* Forwards first, so that the objective only fetches them; then its terms, which become
 * outputs under their names; then, in training, the backward. `result` describes the
 * terms in the order of the declaration, also when the build fails: they lie in the
 * graph's arena. */
static enum hone_status
build_objective(struct hn_builder *b, struct hn_build_result *result, struct hone_error *err)
{
	const struct hone_view view = hn_view_make(b->request, "policy");
	struct hn_at at = hn_at_make(b, &view, 0);
	struct hn_loss loss = hn_loss_make(b);
	char name[128];
	enum hone_status st = hn_build_forwards(b, err);

	if (!st)
		st = run_objective(b, &at, &loss, err);
	for (uint32_t i = 0; i < b->n_terms && !st; i++) {
		(void)snprintf(name, sizeof name, "%s.%s",
			b->terms[i].is_metric ? "metric" : "term", b->terms[i].name);
		hn_graph_output(b->graph, b->term_nodes[i], name);
	}
	if (!st && b->request->mode == HN_BUILD_TRAIN)
		st = differentiate(b, err);
	result->n_terms = b->n_terms;
	result->terms = hn_arena_array(&b->graph->arena, b->n_terms + 1u, sizeof *result->terms);
	for (uint32_t i = 0; i < b->n_terms; i++)
		result->terms[i] = b->terms[i];
	return st;
}

/* Logits of every row, or (DECODE) of the rows that "text.last.index" names. */
static enum hone_status
build_logits(struct hn_builder *b, struct hone_error *err)
{
	const struct hone_view view = hn_view_make(b->request, "policy");
	struct hn_at at = hn_at_make(b, &view, 0);
	hone_node rows = hn_build_body(b, &at, (hone_stream){1}), logits;

	/* Only the last row of each segment decides about the next token: [S,D] instead of [N,D]
	 * goes into the head. */
	if (b->request->mode == HN_BUILD_DECODE && !b->graph->error.status) {
		const uint32_t last =
			hn_graph_space(b->graph, "text.last", b->request->capacity.segments);

		rows = hone_gather_rows(&b->graph->base, rows,
			hn_stream_column(b, "text.last", "index", HONE_DTYPE_I32, last, 0));
	}
	logits = hn_build_head(&at.pub, "lm", rows);
	hn_graph_output(b->graph, logits, "logits");
	if (b->request->mode == HN_BUILD_DECODE)
		hn_graph_output(b->graph,
			hone_reduce_cols(&b->graph->base, logits, HONE_REDUCE_ARGMAX), "argmax");
	return hone_graph_status(&b->graph->base, err);
}

enum hone_status
hn_build(const struct hn_build_request *request, struct hn_graph *graph,
	struct hn_build_result *result, struct hone_error *err)
{
	struct hn_builder b = {.request = request, .graph = graph};
	enum hone_status st;

	memset(result, 0, sizeof *result);
	hn_graph_init(graph, request->compute);
	graph->custom = request->custom;
	graph->recomputes_cheap = request->mode == HN_BUILD_TRAIN;
	hn_make_streams(&b);
	st = request->mode == HN_BUILD_TRAIN || request->mode == HN_BUILD_EVAL
		? build_objective(&b, result, err)
		: build_logits(&b, err);
	free(b.terms);
	free(b.term_nodes);
	/* A function of a role may return the status alone; the graph has the reason. */
	if (st && err && !err->status)
		(void)hone_graph_status(&graph->base, err);
	if (!st && !request->without_fusion)
		hn_graph_fuse(graph);
	return st;
}
