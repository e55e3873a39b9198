/*
 * test_program.c - whole programs against themselves: chunked, fused, twice, in dirty memory.
 *
 * The result of a program must not depend on how it was planned.  Would catch a sum over
 * chunks that starts anew or forgets the last rows, an addition folded into the wrong
 * product, ids that a plugin keeps from one build to the next, and two values that live in
 * one place at one time.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "program_walk.h"
#include "support.h"
#include "train_run.h"

/* f64: sums over chunks are added in another order; nothing else differs. */
static const double ROUNDING = 1e-12;

struct result {
	double loss;
	double *gradient;
	int64_t n;
};

static struct result
result_of(const struct train_options *options, const struct train_texts *texts, int64_t micro)
{
	struct result result;
	struct train_run run;

	train_open(&run, options);
	train_disturb(&run, 31, 0.02);
	result.loss = train_gradient(&run, texts, 0, texts->n, micro, 2);
	result.gradient = train_take(&run, HN_MEMORY_GRADS);
	result.n = run.bench.params.n_elems;
	train_close(&run);
	return result;
}

static void
assert_near(const struct result *got, const struct result *want, const char *what)
{
	const double distance = train_distance(got->gradient, want->gradient, want->n);

	assert_int_equal(got->n, want->n);
	if (!(fabs(got->loss - want->loss) <= ROUNDING * want->loss && distance <= ROUNDING))
		fail_msg("%s: loss %.15g and %.15g, gradients differ by %.2e", what, got->loss,
			want->loss, distance);
}

static void
assert_same(const struct result *got, const struct result *want)
{
	assert_int_equal(got->n, want->n);
	assert_memory_equal(&got->loss, &want->loss, sizeof want->loss);
	assert_memory_equal(
		got->gradient, want->gradient, (size_t)want->n * sizeof *want->gradient);
}

struct kind {
	const char *name;
	struct train_options options;
};

static const struct kind kinds[] = {
	{"lora", {.adapters = {{.section = "lora"}}, .dropout = 0.2, .label_smoothing = 0.1}},
	{"full", {.adapters = {{.section = "full"}}}},
	{"layerwise", {.adapters = {{.section = "layerwise"}}, .recomputes = true}},
	{"two", {.adapters = {{.section = "lora"}, {.section = "lora.second"}}, .dropout = 0.1}},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* ---- planning changes nothing ---- */

/* Would catch rows that a chunk skips, sums that start anew, keys outside their window. */
static void
test_program_chunked_equals_unchunked(void **state)
{
	static const int64_t chunks[] = {1, 3, 17, 511};
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 8, 5, 3, 20, 263);
	for (int k = 0; k < KINDS; k++) {
		struct train_options options = kinds[k].options;
		struct result whole, part;

		options.chunk_rows = 512; /* the capacity: nothing is chunked */
		whole = result_of(&options, &texts, 5);
		for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
			options.chunk_rows = chunks[c];
			part = result_of(&options, &texts, 5);
			assert_near(&part, &whole, kinds[k].name);
			free(part.gradient);
		}
		free(whole.gradient);
	}
}

/* Would catch a fusion that loses an operand or a reader. */
static void
test_program_fused_equals_unfused(void **state)
{
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 8, 4, 3, 20, 263);
	for (int k = 0; k < KINDS; k++) {
		struct train_options options = kinds[k].options;
		struct result fused = result_of(&options, &texts, 2), plain;

		options.without_fusion = true;
		plain = result_of(&options, &texts, 2);
		assert_near(&fused, &plain, kinds[k].name);
		free(fused.gradient);
		free(plain.gradient);
	}
}

/* Would catch a plugin or builder that keeps ids or counters from one build to the next. */
static void
test_program_built_twice_gives_same_bits(void **state)
{
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 9, 4, 3, 20, 263);
	for (int k = 0; k < KINDS; k++) {
		struct result one = result_of(&kinds[k].options, &texts, 2);
		struct result two = result_of(&kinds[k].options, &texts, 2);

		assert_same(&two, &one);
		free(one.gradient);
		free(two.gradient);
	}
}

/* Would catch a capacity that enters the maths of an in-tree plugin. */
static void
test_program_two_capacities_give_same_bits(void **state)
{
	static const struct hn_capacity small = {96, 6, 32, 96, 0}, large = {300, 11, 200, 250, 0};
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 9, 4, 3, 20, 263);
	for (int k = 0; k < KINDS; k++) {
		struct train_options options = kinds[k].options;
		struct result one, two;

		options.capacity = small;
		one = result_of(&options, &texts, 4);
		options.capacity = large;
		two = result_of(&options, &texts, 4);
		assert_same(&two, &one);
		free(one.gradient);
		free(two.gradient);
	}
}

/* Would catch 0 / 0 and sums that keep the last micro-batch's value: one micro-batch of three
 * has nothing to learn, in every position. */
static void
test_program_micro_batch_without_labels_changes_nothing(void **state)
{
	struct train_texts texts, fewer;

	(void)state;
	for (int k = 0; k < KINDS; k++) {
		struct train_options options = kinds[k].options;
		struct result with, without;

		options.dropout = 0.0; /* other examples would have other keys */
		for (int64_t empty = 0; empty < 3; empty++) {
			train_texts_make(&texts, 10, 3, 6, 12, 263);
			memset(texts.learned + texts.offsets[empty], 0,
				(size_t)(texts.offsets[empty + 1] - texts.offsets[empty]));
			fewer = (struct train_texts){.n = 0};
			for (int64_t s = 0; s < 3; s++) {
				const int32_t n = texts.offsets[s + 1] - texts.offsets[s];
				const int32_t at = fewer.offsets[fewer.n];

				if (s == empty)
					continue;
				memcpy(fewer.ids + at, texts.ids + texts.offsets[s],
					(size_t)n * sizeof *fewer.ids);
				memcpy(fewer.learned + at, texts.learned + texts.offsets[s],
					(size_t)n);
				fewer.offsets[++fewer.n] = at + n;
			}
			with = result_of(&options, &texts, 1);
			without = result_of(&options, &fewer, 1);
			assert_same(&with, &without);
			free(with.gradient);
			free(without.gradient);
		}
	}
}

/* ---- memory ---- */

static void
walk(const struct hn_program *program, const char *kind)
{
	char why[256] = "";

	if (!program_walk(program, why))
		fail_msg("%s, program '%s': %s", kind, program->name, why);
}

/* Would catch two values that share memory while both are needed. */
static void
test_program_memory_no_two_live_values_overlap(void **state)
{
	(void)state;
	for (int k = 0; k < KINDS; k++)
		for (int variant = 0; variant < 8; variant++) {
			struct train_options options = kinds[k].options;
			struct train_run run;

			options.recomputes = variant & 1;
			options.without_fusion = variant & 2;
			options.chunk_rows = variant & 4 ? 512 : 16;
			train_open(&run, &options);
			walk(&run.step.train, kinds[k].name);
			walk(&run.step.norm, kinds[k].name);
			walk(&run.step.update, kinds[k].name);
			walk(&run.eval, kinds[k].name);
			walk(&run.logits, kinds[k].name);
			train_close(&run);
		}
}

/* Would catch a walk that accepts everything: a value moved onto another must be seen. */
static void
test_program_memory_moved_value_is_caught(void **state)
{
	struct train_run run;
	struct hn_program *program = &run.step.train;
	char why[256] = "";
	int caught = 0, moved = 0;

	(void)state;
	train_open(&run, &kinds[0].options);
	for (uint32_t i = 0; i < program->n_operands; i += 37) {
		struct hn_location *place = &program->operand_places[i];
		const uint64_t offset = place->offset;

		if (place->kind != HN_MEMORY_ARENA)
			continue;
		place->offset = offset ? 0 : 4096;
		moved++;
		caught += !program_walk(program, why);
		place->offset = offset;
	}
	assert_true(moved > 10);
	assert_int_equal(caught, moved);
	train_close(&run);
}

static const struct hn_location *
place_of(const struct hn_program *program, const struct hone_operand *operand)
{
	return &program->operand_places[operand - program->operands];
}

static bool
overlap(const struct hn_location *a, const struct hn_location *b)
{
	return a->kind == HN_MEMORY_ARENA && b->kind == HN_MEMORY_ARENA &&
		a->offset < b->offset + b->n_bytes && b->offset < a->offset + a->n_bytes;
}

static bool
is_elementwise(const struct hone_command *c)
{
	return c->op == HONE_OP_UNARY || c->op == HONE_OP_UNARY_BACK || c->op == HONE_OP_BINARY ||
		c->op == HONE_OP_ROPE;
}

/* Does the command read what the product has made? */
static bool
reads(const struct hn_program *program, const struct hone_command *c,
	const struct hone_command *product)
{
	for (uint32_t k = 0; k < c->n_in; k++)
		if (c->in[k].rank &&
			overlap(place_of(program, &c->in[k]), place_of(program, product->out)))
			return true;
	return false;
}

/* A product's rows whose memory is given to what follows it elementwise: a backend could not run the
 * two as one.  The nearest product of those results is looked for, a few commands back. */
static void
test_program_memory_of_a_product_outlives_its_ends(void **state)
{
	enum { BACK = 12 };
	int pairs = 0;

	(void)state;
	for (int k = 0; k < KINDS; k++) {
		struct train_run run;
		const struct hn_program *program = &run.step.train;

		train_open(&run, &kinds[k].options);
		for (uint32_t i = 1; i < program->n_commands; i++) {
			const struct hone_command *c = &program->commands[i], *product = c - 1;
			const struct hone_command *end = i > BACK ? c - BACK : program->commands;

			if (!is_elementwise(c))
				continue;
			while (product >= end && !reads(program, c, product))
				product--;
			if (product < end || product->op != HONE_OP_MATMUL)
				continue;
			pairs++;
			if (overlap(place_of(program, c->out), place_of(program, product->in)))
				fail_msg("%s: %s writes where %s reads its rows", kinds[k].name,
					c->name, product->name);
		}
		train_close(&run);
	}
	assert_true(pairs > 10 * KINDS);
}

static void
poison(struct train_run *run)
{
	memset(run->bench.engine.buffers[HN_MEMORY_ARENA], 0xff,
		run->bench.engine.bytes[HN_MEMORY_ARENA]);
}

/* Would catch a program that reads what a program before it, or nobody, has written. */
static void
test_program_memory_full_of_nan_changes_no_bit(void **state)
{
	struct train_texts texts;

	(void)state;
	train_texts_make(&texts, 12, 4, 20, 40, 263); /* several chunks */
	for (int k = 0; k < KINDS; k++) {
		struct train_run clean, dirty;

		train_open(&clean, &kinds[k].options);
		train_open(&dirty, &kinds[k].options);
		for (uint64_t step = 0; step < 3; step++) {
			double losses[2] = {0.0, 0.0};

			for (int64_t s = 0; s < 4; s += 2) {
				poison(&dirty);
				losses[0] += train_window(&clean, &texts, s, 2, 2, step);
				losses[1] += train_window(&dirty, &texts, s, 2, 2, step);
			}
			poison(&dirty);
			assert_memory_equal(&losses[0], &losses[1], sizeof losses[0]);
			(void)train_update(&clean, step, 1e-3, 1.0);
			(void)train_update(&dirty, step, 1e-3, 1.0);
		}
		train_assert_same_params(&clean, &dirty);
		train_close(&clean);
		train_close(&dirty);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_program_chunked_equals_unchunked),
		cmocka_unit_test(test_program_fused_equals_unfused),
		cmocka_unit_test(test_program_built_twice_gives_same_bits),
		cmocka_unit_test(test_program_two_capacities_give_same_bits),
		cmocka_unit_test(test_program_micro_batch_without_labels_changes_nothing),
		cmocka_unit_test(test_program_memory_no_two_live_values_overlap),
		cmocka_unit_test(test_program_memory_moved_value_is_caught),
		cmocka_unit_test(test_program_memory_of_a_product_outlives_its_ends),
		cmocka_unit_test(test_program_memory_full_of_nan_changes_no_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
