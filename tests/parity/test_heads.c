/*
 * test_heads.c - the head under two views in one program: the reference's is the file's, the
 * policy's has its adapters, and both run in the same row chunks.
 *
 * Would catch a head that always has the policy's adapters (a reference that moves while
 * training, a KL that is 0 at lm_head), gradients that reach the reference, rows of one view
 * under the head of another, and logits of the second view that exist as a whole.
 */
#include <stdlib.h>
#include <string.h>

#include "program_walk.h"
#include "support.h"
#include "train_run.h"
#include "two_views.h"

/* LoRA is on lm_head in all of them, or the head's own weight is trained. */
static const struct train_options runs[] = {
	{.adapters = {{.section = "lora"}}},
	{.adapters = {{.section = "lora"}}, .targets = "lm_head"},
	{.adapters = {{.section = "full"}}},
	{.adapters = {{.section = "full"}}, .model = "golden/models/tiny-llama-untied"},
	{.adapters = {{.section = "lora"}}, .backend = "cpu", .compute = HONE_DTYPE_F32},
	{.adapters = {{.section = "lora"}}, .backend = "cpu", .compute = HONE_DTYPE_BF16},
};
enum { RUNS = sizeof runs / sizeof runs[0] };

/* ---- what a head gives ---- */

/* two_views_nll, whose logits are outputs of the program, too. */
static enum hone_status
build_watched(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	struct hn_graph *graph = (struct hn_graph *)(void *)at->graph;
	const hone_stream text = at->vt->stream(at, "text");

	hn_graph_output(graph,
		at->vt->head(at, "lm",
			at->vt->select(at, text, "supervised", at->vt->forward(at, "policy"))),
		"policy.logits");
	hn_graph_output(graph,
		hone_head_of(at, "reference", "lm",
			at->vt->select(at, text, "supervised", at->vt->forward(at, "reference"))),
		"reference.logits");
	return two_views_nll.build(self, at, loss, err);
}

/* An output [M,V] of the step just run, as bytes. */
static uint8_t *
read_rows(const struct train_run *run, const char *name, int64_t n_rows, size_t *row_bytes)
{
	struct hone_error err = {0};
	uint8_t *bytes;

	*row_bytes = (size_t)(train_vocabulary(run) * hone_dtype_bytes(run->bench.engine.compute));
	bytes = calloc((size_t)n_rows, *row_bytes);
	if (hn_program_read(&run->step.train, name, bytes, (uint64_t)n_rows * *row_bytes, &err))
		fail_msg("%s", err.text);
	return bytes;
}

/* The logits of all rows by a program that knows one view only, as bytes. */
static uint8_t *
all_rows(struct hn_program *program, const struct train_texts *texts, size_t row_bytes)
{
	const size_t n = (size_t)texts->offsets[texts->n] * row_bytes;
	struct hone_error err = {0};
	uint8_t *bytes = calloc(n, 1);

	train_bind(program, texts, 0, texts->n, 0);
	if (hn_program_run(program, 5, 5, &err) ||
		hn_program_read(program, "logits", bytes, n, &err))
		fail_msg("%s", err.text);
	return bytes;
}

/* Rows of `some`, which are the supervised ones, that equal those of `all`. */
static int64_t
count_equal(const struct train_run *run, const uint8_t *some, const uint8_t *all, int64_t m,
	size_t row_bytes)
{
	const int32_t *index = hn_program_column(&run->step.train, "text.supervised.index");
	int64_t n = 0;

	for (int64_t i = 0; i < m; i++)
		n += memcmp(some + (size_t)i * row_bytes, all + (size_t)index[i] * row_bytes,
			     row_bytes) == 0;
	return n;
}

/* Would catch a reference that sees adapters at lm_head, from the first bit on. */
static void
test_heads_reference_is_the_untouched_model_bit_for_bit(void **state)
{
	const struct hone_objective_vt watched = {
		(uint32_t)sizeof watched, 0, two_views_nll.declare, NULL, NULL, build_watched};
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 4, 4, 5, 30, 263);
	for (int r = 0; r < RUNS; r++) {
		struct train_options options = runs[r];
		const int64_t m = train_learned(&texts, 0, texts.n);
		uint8_t *policy, *reference, *base, *adapted;
		struct train_run run;
		size_t row;

		options.objective_vt = &watched;
		options.chunk_rows = 512; /* whole, so that outputs are whole */
		train_open(&run, &options);
		train_disturb(&run, 31, 0.05);
		(void)train_window(&run, &texts, 0, texts.n, texts.n, 0);
		policy = read_rows(&run, "policy.logits", m, &row);
		reference = read_rows(&run, "reference.logits", m, &row);
		base = all_rows(&run.base, &texts, row);
		adapted = all_rows(&run.logits, &texts, row);
		assert_int_equal(count_equal(&run, reference, base, m, row), m);
		assert_int_equal(count_equal(&run, policy, adapted, m, row), m);
		assert_int_equal(count_equal(&run, policy, base, m, row), 0);
		free(policy);
		free(reference);
		free(base);
		free(adapted);
		train_close(&run);
	}
}

/* Would catch log-probabilities that depend on how the rows are cut into chunks: of each
 * supervised row by itself, which is a sum of one. */
static void
test_heads_log_probs_are_the_same_in_chunks(void **state)
{
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 4, 6, 5, 30, 263);
	for (int r = 0; r < RUNS; r++) {
		struct train_options options = runs[r];
		struct train_run whole, chunks;

		options.objective_vt = &two_views_nll;
		options.chunk_rows = 512;
		train_open(&whole, &options);
		options.chunk_rows = 3;
		train_open(&chunks, &options);
		train_disturb(&whole, 31, 0.05);
		train_disturb(&chunks, 31, 0.05);
		for (int32_t i = 0; i < texts.offsets[texts.n]; i++)
			texts.learned[i] = 0;
		for (int64_t s = 0; s < texts.n; s++) {
			texts.learned[texts.offsets[s + 1] - 2] = 1;
			(void)train_window(&whole, &texts, s, 1, 1, 0);
			(void)train_window(&chunks, &texts, s, 1, 1, 0);
			assert_memory_equal(whole.step.sums, chunks.step.sums, 2 * sizeof(double));
			assert_true(whole.step.sums[0] != whole.step.sums[1]);
			texts.learned[texts.offsets[s + 1] - 2] = 0;
		}
		train_close(&whole);
		train_close(&chunks);
	}
}

/* ---- training against the reference ---- */

/* Would catch a KL that does not start at 0, does not stay above it, or whose reference moves. */
static void
test_heads_kl_is_zero_at_the_start_and_the_reference_stays(void **state)
{
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 4, 4, 5, 30, 263);
	for (int r = 0; r < 4; r++) {
		struct train_options options = runs[r];
		struct train_run kl, nll;
		double first;

		options.objective_vt = &two_views_kl;
		train_open(&kl, &options);
		assert_true(train_window(&kl, &texts, 0, 4, 2, 0) == 0.0);
		train_disturb(&kl, 31, 0.05);
		assert_true(train_gradient(&kl, &texts, 0, 4, 2, 0) > 1e-6);

		options.objective_vt = &two_views_nll;
		train_open(&nll, &options);
		(void)train_window(&nll, &texts, 0, 4, 2, 0);
		first = nll.step.sums[1];
		for (uint64_t t = 0; t < 3; t++) {
			train_steps(&nll, &texts, 1, 2, 1e-2, NULL);
			assert_memory_equal(&first, &nll.step.sums[1], sizeof first);
		}
		assert_true(nll.step.sums[0] < first);
		train_close(&kl);
		train_close(&nll);
	}
}

/* Would catch a reference that sends gradients: they are those of the policy's term alone. */
static void
test_heads_reference_sends_no_gradient(void **state)
{
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 4, 4, 5, 30, 263);
	for (int r = 0; r < 4; r++) {
		struct train_options options = runs[r];
		struct train_run both, alone;
		double *a, *b;

		train_open(&alone, &options);
		options.objective_vt = &two_views_nll;
		train_open(&both, &options);
		train_disturb(&both, 31, 0.05);
		train_disturb(&alone, 31, 0.05);
		(void)train_gradient(&both, &texts, 0, 4, 2, 0);
		(void)train_gradient(&alone, &texts, 0, 4, 2, 0);
		a = train_take(&both, HN_MEMORY_GRADS);
		b = train_take(&alone, HN_MEMORY_GRADS);
		assert_memory_equal(a, b, (size_t)alone.bench.params.n_elems * sizeof *a);
		free(a);
		free(b);
		train_close(&both);
		train_close(&alone);
	}
}

/* ---- memory ---- */

/* Rows of the widest value of the arena that is V wide. */
static int64_t
widest_logits(const struct hn_program *program, int64_t vocabulary)
{
	int64_t most = 0;

	for (uint32_t v = 1; v < program->graph.n_values; v++)
		if (program->places[v].kind == HN_MEMORY_ARENA && program->graph.values[v].space &&
			hn_value_cols(&program->graph.values[v]) == vocabulary &&
			hn_program_rows(program, v) > most)
			most = hn_program_rows(program, v);
	return most;
}

/* Would catch the second view's logits planned as a whole, and two values in one place. */
static void
test_heads_of_both_views_run_in_row_chunks(void **state)
{
	static const struct hone_objective_vt *const objectives[] = {
		&two_views_kl, &two_views_tokens, &two_views_nll};

	(void)state;
	for (int r = 0; r < RUNS; r++)
		for (size_t k = 0; k < 3; k++) {
			struct train_options options = runs[r];
			struct train_run run;
			char why[256];

			options.objective_vt = objectives[k];
			options.chunk_rows = 9;
			train_open(&run, &options);
			assert_int_equal(widest_logits(&run.step.train, train_vocabulary(&run)), 9);
			if (!program_walk(&run.step.train, why))
				fail_msg("%s", why);
			train_close(&run);
		}
}

/* Chunks of 9 and one of 512: the same loss and gradient up to the order of sums. */
static void
test_heads_chunked_gradients_equal_whole_ones(void **state)
{
	static const struct hone_objective_vt *const objectives[] = {
		&two_views_kl, &two_views_tokens};
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 4, 4, 5, 30, 263);
	for (int r = 0; r < 4; r++)
		for (size_t k = 0; k < 2; k++) {
			struct train_options options = runs[r];
			double *gradient[2], loss[2];
			int64_t n = 0;

			options.objective_vt = objectives[k];
			for (int i = 0; i < 2; i++) {
				struct train_run run;

				options.chunk_rows = i ? 9 : 512;
				train_open(&run, &options);
				train_disturb(&run, 31, 0.05);
				loss[i] = train_gradient(&run, &texts, 0, 4, 4, 0);
				gradient[i] = train_take(&run, HN_MEMORY_GRADS);
				n = run.bench.params.n_elems;
				train_close(&run);
			}
			assert_true(train_distance(&loss[1], &loss[0], 1) < 1e-13);
			assert_true(train_distance(gradient[1], gradient[0], n) < 1e-12);
			free(gradient[0]);
			free(gradient[1]);
		}
}

/* ---- refusals ---- */

/* Would catch numbers that are neither model's: hidden states of one, the head of the other. */
static void
test_heads_rows_of_another_view_are_refused_by_name(void **state)
{
	static const struct {
		const struct hone_objective_vt *vt;
		const char *names[3];
	} wrong[] = {{&two_views_crossed, {"'policy'", "'reference'", "head_of"}},
		{&two_views_crossed_back, {"'base'", "'policy'", "head_of"}}};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		const struct train_options options = {
			.adapters = {{.section = "lora"}}, .objective_vt = wrong[i].vt};
		struct hone_error err = {0};
		struct train_run run;

		assert_int_equal(train_try(&run, &options, &err), HONE_EPLUGIN);
		for (size_t k = 0; k < 3; k++)
			if (!strstr(err.text, wrong[i].names[k]))
				fail_msg("does not name %s: %s", wrong[i].names[k], err.text);
		train_close(&run);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads_reference_is_the_untouched_model_bit_for_bit),
		cmocka_unit_test(test_heads_log_probs_are_the_same_in_chunks),
		cmocka_unit_test(test_heads_kl_is_zero_at_the_start_and_the_reference_stays),
		cmocka_unit_test(test_heads_reference_sends_no_gradient),
		cmocka_unit_test(test_heads_of_both_views_run_in_row_chunks),
		cmocka_unit_test(test_heads_chunked_gradients_equal_whole_ones),
		cmocka_unit_test(test_heads_rows_of_another_view_are_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
