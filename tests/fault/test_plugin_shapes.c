/*
 * test_plugin_shapes.c - architectures that give back what they did not promise.
 *
 * Would catch: a hidden state or logits of another row space that go on into ops of other
 * plugins, whose names the error then has; a fault of a plugin told as the user's.
 */
#include <string.h>

#include "bench_model.h"
#include "support.h"

static const struct hone_architecture_vt *sound;

/* The final hidden states, but once per text. */
static enum hone_status
body_of_segments(const void *self, const struct hone_build *at, hone_stream stream,
	hone_node *hidden, struct hone_error *err)
{
	enum hone_status st = sound->body(self, at, stream, hidden, err);

	if (!st)
		*hidden = hone_segment_reduce(
			at->graph, *hidden, at->vt->offsets(at, stream), HONE_REDUCE_SUM);
	return st ? st : hone_graph_status(at->graph, err);
}

static enum hone_status
body_of_nothing(const void *self, const struct hone_build *at, hone_stream stream,
	hone_node *hidden, struct hone_error *err)
{
	(void)self;
	(void)at;
	(void)stream;
	(void)err;
	*hidden = hone_node_none();
	return HONE_OK;
}

/* A product that does not fit, and the status that the graph has. */
static enum hone_status
head_of_wrong_product(const void *self, const struct hone_build *at, const char *kind,
	hone_node rows, hone_node *out, struct hone_error *err)
{
	(void)self;
	(void)kind;
	*out = hone_matmul_nt(at->graph, hone_slice_cols(at->graph, rows, 0, 3), rows);
	return hone_graph_status(at->graph, err);
}

static enum hone_status
head_of_one_row(const void *self, const struct hone_build *at, const char *kind, hone_node rows,
	hone_node *out, struct hone_error *err)
{
	(void)self;
	(void)kind;
	*out = hone_sum_rows(at->graph, rows);
	return hone_graph_status(at->graph, err);
}

/* Builds with the architecture's table changed; the error must name it and its function. */
static void
expect(const struct hone_architecture_vt *vt, const char *first, const char *second)
{
	struct bench_model bench;
	struct hn_build_request request = {
		.mode = HN_BUILD_LOGITS, .capacity = {8, 2, 8, 1, 0}, .compute = HONE_DTYPE_F32};
	struct hn_build_result result;
	struct hn_graph graph;
	struct hone_error err = {0};

	bench_open(&bench, "golden/models/tiny-llama", "reference");
	sound = bench.model.architecture;
	bench.model.architecture = vt;
	request.model = &bench.model;
	request.params = &bench.params;
	if (hn_build(&request, &graph, &result, &err) != HONE_EPLUGIN || !strstr(err.text, first) ||
		!strstr(err.text, second))
		fail_msg("status %d: %s", err.status, err.text);
	hn_graph_fini(&graph);
	bench.model.architecture = sound;
	bench_close(&bench);
}

static void
test_plugin_shapes_architecture_that_breaks_its_promise_is_named(void **state)
{
	struct hone_architecture_vt vt;

	(void)state;
	{
		struct bench_model bench;

		bench_open(&bench, "golden/models/tiny-llama", "reference");
		vt = *bench.model.architecture;
		sound = bench.model.architecture;
		bench_close(&bench);
	}
	vt.body = body_of_segments;
	expect(&vt, "[llama] body(): *hidden is f32[text.segments,32]", "rows of 'text'");
	vt.body = body_of_nothing;
	expect(&vt, "[llama] body(): *hidden is none", "rows of 'text'");
	vt.body = sound->body;
	vt.head = head_of_wrong_product;
	expect(&vt, "[llama] head(): matmul(f32[text,3], f32[text,32])", "row space");
	vt.head = head_of_one_row;
	expect(&vt, "[llama] head(): *out is f32[1,32]", "rows of 'text'");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plugin_shapes_architecture_that_breaks_its_promise_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
