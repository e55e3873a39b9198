/*
 * test_packing.c - documents in one batch neither see nor teach each other, and positions are
 * exact as far as they go.
 *
 * Would catch attention across documents, positions that go on from one to the next, and
 * angles of RoPE that lose bits far out.  In the catalogue of silent bugs: B7 packing leaks
 * across documents, C8 rotary tables in too narrow a type.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "train_run.h"

/* f64: a row is the same sums in the same order; f32 on cpu: tiles may differ. */
static void
check_packing(const char *backend, int32_t compute, double tolerance)
{
	const struct train_options options = {
		.adapters = {{.section = "lora"}}, .backend = backend, .compute = compute};
	struct train_texts texts;
	struct train_run run;
	double *packed, *alone;
	int64_t V, rows;

	train_texts_make(&texts, 4, 7, 1, 40, 263);
	train_open(&run, &options);
	train_disturb(&run, 71, 0.02);
	V = train_vocabulary(&run);
	rows = texts.offsets[texts.n];
	packed = calloc((size_t)(rows * V), sizeof *packed);
	alone = calloc((size_t)(rows * V), sizeof *alone);
	train_logits(&run, &run.logits, &texts, 0, texts.n, packed);
	for (int64_t s = 0; s < texts.n; s++)
		train_logits(&run, &run.logits, &texts, s, 1, alone + texts.offsets[s] * V);
	assert_true(train_distance(packed, alone, rows * V) <= tolerance);
	free(packed);
	free(alone);
	train_close(&run);
}

/* B7: logits, with positions that restart. */
static void
test_packing_logits_equal_those_of_each_document_alone(void **state)
{
	(void)state;
	check_packing("reference", HONE_DTYPE_F64, 0.0);
	check_packing("reference", HONE_DTYPE_F32, 0.0);
	check_packing("cpu", HONE_DTYPE_F32, 1e-5);
	check_packing("cpu", HONE_DTYPE_BF16, 2e-2);
}

/* Document A has tokens 0..99 and nothing to learn, document B 100..199. */
static void
make_two(struct train_texts *texts, bool a_first)
{
	memset(texts, 0, sizeof *texts);
	texts->n = 2;
	for (int32_t s = 0; s < 2; s++) {
		const bool is_a = a_first ? s == 0 : s == 1;

		texts->offsets[s + 1] = texts->offsets[s] + 12;
		for (int32_t i = 0; i < 12; i++) {
			texts->ids[12 * s + i] = (is_a ? 0 : 100) + i * 7;
			texts->learned[12 * s + i] = !is_a;
		}
	}
}

/* B7: gradient of B's loss by the embeddings of A's tokens: exactly 0, in either order. */
static void
test_packing_no_gradient_reaches_the_other_document(void **state)
{
	static const char *const backends[] = {"reference", "cpu"};

	(void)state;
	for (int variant = 0; variant < 4; variant++) {
		const struct train_options options = {.adapters = {{.section = "full"}},
			.model = "golden/models/tiny-llama-untied",
			.backend = backends[variant / 2],
			.compute = variant / 2 ? HONE_DTYPE_F32 : HONE_DTYPE_F64};
		struct train_texts texts;
		struct train_run run;
		const struct hn_param *embedding;
		double *gradient, other = 0.0, own = 0.0;

		make_two(&texts, variant % 2 == 0);
		train_open(&run, &options);
		(void)train_gradient(&run, &texts, 0, 2, 2, 0);
		gradient = train_take(&run, HN_MEMORY_GRADS);
		embedding = hn_params_find(&run.bench.params, "full",
			&hn_model_site_at(&run.bench.model, "embed.token", -1)->pub, "weight");
		for (int64_t i = 0; i < 100 * embedding->spec.dim[1]; i++) {
			const double *rows = gradient + embedding->offset;

			other = fmax(other, fabs(rows[i]));
			own = fmax(own, fabs(rows[100 * embedding->spec.dim[1] + i]));
		}
		assert_true(other == 0.0);
		assert_true(own > 1e-6);
		free(gradient);
		train_close(&run);
	}
}

/* ---- positions ---- */

enum { POSITIONS = 4096, LAST = 131072 };

static const struct hone_attr_rope_table *
table_of(const struct hn_graph *graph)
{
	for (uint32_t i = 1; i < graph->n_nodes; i++)
		if (!graph->nodes[i].leaf && graph->nodes[i].op == HONE_OP_ROPE_TABLE)
			return graph->nodes[i].attr;
	fail_msg("the model has no rotary table");
	return NULL;
}

/* The table of the model's own frequencies on a backend, in f32. */
static void
run_table(struct bench_model *bench, const struct hone_attr_rope_table *attr,
	const int32_t *positions, float *out)
{
	const int64_t n = POSITIONS;
	struct hn_graph graph;
	struct hn_program program;
	struct hone_error err = {0};
	uint32_t space;

	hn_graph_init(&graph, HONE_DTYPE_F32);
	space = hn_graph_space(&graph, "rows", n);
	hn_graph_output(&graph,
		hone_node_make(&graph.base, HONE_OP_ROPE_TABLE,
			hn_graph_column(&graph, "positions", HONE_DTYPE_I32, space, 1, &n),
			hone_node_none(), hone_node_none(), attr, sizeof *attr),
		"table");
	hn_engine_init(&bench->engine, &bench->model, &bench->params, bench->devices,
		bench->n_devices, HONE_DTYPE_F32);
	if (hn_engine_add(&bench->engine, &program, "table", &graph, n, &err) ||
		hn_engine_allocate(&bench->engine, &err))
		fail_msg("%s", err.text);
	assert_int_equal(program.n_fallback, 0);
	hn_program_set_live(&program, "rows", n);
	memcpy(hn_program_column(&program, "positions"), positions, (size_t)n * sizeof *positions);
	if (hn_program_run(&program, 0, 0, &err) ||
		hn_program_read(
			&program, "table", out, (uint64_t)(n * 2 * attr->n) * sizeof *out, &err))
		fail_msg("%s", err.text);
	hn_engine_fini(&bench->engine);
}

/* theta^(-2j/d) and its angles in long double; the model is tiny-llama: theta 10000, d 8. */
static void
check_table(const struct hone_attr_rope_table *attr, const int32_t *positions, const float *table)
{
	assert_int_equal(attr->n, 4);
	for (int64_t j = 0; j < attr->n; j++) {
		const long double f = powl(10000.0L, -2.0L * (long double)j / 8.0L);

		assert_true(fabsl((long double)attr->inv_freq[j] - f) <= 4e-16L * f);
		for (int64_t i = 0; i < POSITIONS; i++) {
			const long double angle = f * (long double)positions[i];
			const float *row = table + i * 2 * attr->n;

			assert_true(fabsl((long double)row[j] - cosl(angle)) <= 1e-6L);
			assert_true(fabsl((long double)row[attr->n + j] - sinl(angle)) <= 1e-6L);
		}
	}
}

/* C8: would catch angles formed in float: off by 4e-3 at 131072. */
static void
test_packing_rope_table_is_exact_to_131072(void **state)
{
	static const char *const backends[] = {"reference", "cpu"};
	int32_t positions[POSITIONS];
	struct hone_attr_rope_table attr;
	struct train_run run;

	(void)state;
	train_open(&run, &(struct train_options){.adapters = {{.section = "lora"}}});
	attr = *table_of(&run.logits.graph);
	train_close(&run);
	for (int32_t i = 0; i < POSITIONS; i++)
		positions[i] = i < POSITIONS / 2 ? 64 * i : LAST - (i - POSITIONS / 2);
	for (size_t b = 0; b < 2; b++) {
		float *table = calloc((size_t)(POSITIONS * 2 * attr.n), sizeof *table);
		struct bench_model bench;

		bench_open(&bench, "golden/models/tiny-llama", backends[b]);
		run_table(&bench, &attr, positions, table);
		check_table(&attr, positions, table);
		free(table);
		bench_close(&bench);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packing_logits_equal_those_of_each_document_alone),
		cmocka_unit_test(test_packing_no_gradient_reaches_the_other_document),
		cmocka_unit_test(test_packing_rope_table_is_exact_to_131072),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
