/*
 * test_frozen.c - what trains moves, what is frozen stays, and nothing else leaves a trace:
 * neither evaluation nor the number of threads.
 *
 * C1   an adapter without gradient, also with recomputed layers; a frozen weight that moves
 * C12  bf16 weights that small updates never move
 * D13  evaluation leaves dropout off
 * D14  evaluation takes from the random numbers of training
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "train_run.h"

struct kind {
	const char *name;
	struct train_options options;
};

static const struct kind kinds[] = {
	{"lora f64", {.adapters = {{.section = "lora"}}}},
	{"lora f32",
		{.adapters = {{.section = "lora"}}, .backend = "cpu", .compute = HONE_DTYPE_F32}},
	{"lora bf16 dropout",
		{.adapters = {{.section = "lora"}},
			.backend = "cpu",
			.compute = HONE_DTYPE_BF16,
			.dropout = 0.1}},
	{"lora gguf",
		{.adapters = {{.section = "lora"}},
			.model = "golden/gguf/tiny-llama-q8_0.gguf",
			.backend = "cpu",
			.compute = HONE_DTYPE_F32}},
	{"full f64", {.adapters = {{.section = "full"}}}},
	{"full bf16",
		{.adapters = {{.section = "full"}}, .backend = "cpu", .compute = HONE_DTYPE_BF16}},
	{"layerwise f32",
		{.adapters = {{.section = "layerwise"}},
			.backend = "cpu",
			.compute = HONE_DTYPE_F32}},
	{"recomputed", {.adapters = {{.section = "lora"}}, .recomputes = true, .dropout = 0.2}},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* ---- what moves ---- */

/* FNV-1a over all stored weights. */
static uint64_t
hash_weights(const struct hn_model *model)
{
	uint64_t hash = UINT64_C(14695981039346656037);

	for (uint32_t i = 0; i < model->n_weights; i++) {
		const struct hn_tensor_info *tensor = model->weights[i].tensor;

		for (uint64_t b = 0; b < tensor->n_bytes; b++)
			hash = (hash ^ ((const uint8_t *)tensor->bytes)[b]) *
				UINT64_C(1099511628211);
	}
	return hash;
}

static void
check_moves(const struct train_run *run, const char *kind, int step, const double *before,
	const double *after)
{
	for (uint32_t p = 0; p < run->bench.params.n; p++) {
		const struct hn_param *param = &run->bench.params.list[p];
		const bool waits = step == 0 && hn_streq(param->spec.name, "lora_A");
		const bool moved = memcmp(before + param->offset, after + param->offset,
					   (size_t)param->n_elems * sizeof *before) != 0;

		/* with B = 0 the gradient of A is 0, so A starts in the second step */
		if (moved == waits)
			fail_msg("%s, step %d: %s %s", kind, step + 1, param->key,
				moved ? "moved" : "did not move");
	}
}

/* C1: would catch an adapter without gradient (recomputed layers have cut it off elsewhere), a
 * parameter that the update forgets, and a write into the mapped file. */
static void
test_frozen_all_that_trains_moves_and_the_file_stays(void **state)
{
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 4, 4, 5, 30, 263);
	for (int k = 0; k < KINDS; k++) {
		struct train_run run;
		double *before, *after;
		uint64_t hash;

		train_open(&run, &kinds[k].options);
		hash = hash_weights(&run.bench.model);
		before = train_take(&run, HN_MEMORY_PARAMS);
		for (int step = 0; step < 2; step++) {
			(void)train_window(&run, &texts, 0, 4, 2, (uint64_t)step);
			(void)train_update(&run, (uint64_t)step, 1e-3, 1.0);
			after = train_take(&run, HN_MEMORY_PARAMS);
			check_moves(&run, kinds[k].name, step, before, after);
			free(before);
			before = after;
		}
		free(before);
		assert_true(hash == hash_weights(&run.bench.model));
		train_close(&run);
	}
}

/* ---- small steps in bf16 ---- */

/* Elements that 100 steps with a rate of 1e-5 have changed; the last loss. */
static int64_t
count_moved(int32_t compute, const struct train_texts *texts, double *loss)
{
	const struct train_options options = {
		.adapters = {{.section = "full"}}, .backend = "cpu", .compute = compute};
	struct train_run run;
	double *before, *after, losses[100];
	int64_t moved = 0;

	train_open(&run, &options);
	before = train_take(&run, HN_MEMORY_PARAMS);
	train_steps(&run, texts, 100, texts->n, 1e-5, losses);
	after = train_take(&run, HN_MEMORY_PARAMS);
	for (int64_t i = 0; i < run.bench.params.n_elems; i++)
		moved += before[i] != after[i];
	free(before);
	free(after);
	train_close(&run);
	*loss = losses[99];
	assert_true(losses[99] < losses[0]);
	return moved;
}

/* C12: would catch weights kept in bf16, which updates below half a unit never move. */
static void
test_frozen_bf16_weights_move_as_in_f32(void **state)
{
	struct train_texts texts;
	double narrow, wide;
	int64_t in_f32, in_bf16;

	(void)state;
	train_texts_make(&texts, 4, 4, 5, 30, 263);
	in_f32 = count_moved(HONE_DTYPE_F32, &texts, &wide);
	in_bf16 = count_moved(HONE_DTYPE_BF16, &texts, &narrow);
	print_message("moved: %lld in f32, %lld in bf16; loss %.4f and %.4f\n", (long long)in_f32,
		(long long)in_bf16, wide, narrow);
	assert_true(in_f32 > 30000);
	assert_true((double)in_bf16 >= 0.99 * (double)in_f32);
	assert_true(fabs(narrow - wide) <= 0.01 * wide);
}

/* ---- what leaves no trace ---- */

struct trace {
	double *values, losses[6];
	int64_t n;
};

static struct trace
trace_of(const struct train_options *options, bool evaluates)
{
	struct train_texts texts, held_out;
	struct train_run run;
	struct trace trace;
	double *logits;

	train_texts_make(&texts, 4, 12, 5, 40, 263);
	train_texts_make(&held_out, 14, 5, 5, 50, 263);
	train_open(&run, options);
	logits = calloc((size_t)(held_out.offsets[5] * train_vocabulary(&run)), sizeof *logits);
	for (uint64_t t = 0; t < 6; t++) {
		trace.losses[t] = train_window(&run, &texts, 0, 12, 5, t);
		if (evaluates) /* even between backward and update */
			(void)train_eval(&run, &held_out, 0, 5);
		(void)train_update(&run, t, 1e-3, 1.0);
		if (evaluates && t % 2) {
			train_logits(&run, &run.logits, &held_out, 0, 5, logits);
			train_logits(&run, &run.base, &held_out, 0, 5, logits);
			(void)train_eval(&run, &held_out, 2, 3);
		}
	}
	free(logits);
	trace.values = train_take(&run, HN_MEMORY_PARAMS);
	trace.n = run.bench.params.n_elems;
	train_close(&run);
	return trace;
}

static void
assert_same(const char *what, struct trace *a, struct trace *b)
{
	if (memcmp(a->losses, b->losses, sizeof a->losses) != 0)
		fail_msg("%s: losses differ", what);
	if (a->n != b->n || memcmp(a->values, b->values, (size_t)a->n * sizeof *a->values) != 0)
		fail_msg("%s: parameters differ", what);
	free(b->values);
}

/* D13, D14: would catch evaluation that switches dropout off for good, or takes from the same numbers
 * or memory as training. */
static void
test_frozen_evaluation_changes_no_bit_of_training(void **state)
{
	(void)state;
	for (int k = 0; k < KINDS; k++) {
		struct trace plain = trace_of(&kinds[k].options, false);
		struct trace evaluated = trace_of(&kinds[k].options, true);

		assert_same(kinds[k].name, &plain, &evaluated);
		free(plain.values);
	}
}

/* Would catch sums whose shape follows the number of threads. */
static void
test_frozen_threads_change_no_bit(void **state)
{
	static const int32_t types[] = {HONE_DTYPE_F32, HONE_DTYPE_BF16};
	static const char *const sections[] = {"lora", "full"};

	(void)state;
	for (int variant = 0; variant < 4; variant++) {
		struct train_options options = {.adapters = {{.section = sections[variant / 2]}},
			.backend = "cpu",
			.compute = types[variant % 2],
			.dropout = 0.1,
			.threads = 1};
		struct trace one = trace_of(&options, false), more;

		for (options.threads = 2; options.threads <= 3; options.threads++) {
			more = trace_of(&options, false);
			assert_same(sections[variant / 2], &one, &more);
		}
		free(one.values);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frozen_all_that_trains_moves_and_the_file_stays),
		cmocka_unit_test(test_frozen_bf16_weights_move_as_in_f32),
		cmocka_unit_test(test_frozen_evaluation_changes_no_bit_of_training),
		cmocka_unit_test(test_frozen_threads_change_no_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
