/*
 * test_export.c - results that load and are silently another model.
 *
 * C2  the adapter that is saved is not the one that was trained (peft#1402)
 * C3  something trained is not saved, or not read back (peft#1300, #2898)
 * C4  tied weights: a merge into one of two matrices that share memory, or the flag left as it
 *     was (peft#2018, #2777, transformers#45127)
 * C6  merging onto other numbers than the adapter was trained on (peft#2105)
 * C7  rows of q and k in llama.cpp's order (llama.cpp#21354)
 * C9  dropout active outside training; an adapter that is not the identity at its start
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_adapter.h"
#include "support.h"
#include "train/step.h"

#define FOLDER "golden/models/tiny-llama"
#define UNTIED "golden/models/tiny-llama-untied"
#define GGUF   "golden/gguf/tiny-llama-f32.gguf"

/* Merged weights are rounded to f32 once; the programs compute in f64. */
#define MERGED_TOLERANCE 1e-5

/* "lora" with these targets, or an adapter of the plugin `weights`. */
static void
open_with(struct bench_adapter *b, const char *model, const char *targets, int32_t compute,
	const struct golden_text *text)
{
	static const char *const layers[] = {"1"};
	static const struct layerwise_values layerwise = {{1, layers}, 1, 1, 0};

	bench_adapter_open(b, model, "reference", compute);
	b->values = (struct lora_values){.r = 4, .lora_alpha = 8};
	if (hn_streq(targets, "full"))
		bench_adapter(&b->bench, "weights", "full", "full", NULL);
	else if (hn_streq(targets, "layerwise"))
		bench_adapter(&b->bench, "weights", "layerwise", "layerwise", &layerwise);
	else {
		b->values.target_modules = bench_sites(&b->bench, targets);
		bench_adapter_lora(b, NULL);
	}
	bench_adapter_start(b, text);
}

static void
open_plain(
	struct bench_adapter *b, const char *model, int32_t compute, const struct golden_text *text)
{
	bench_adapter_open(b, model, "reference", compute);
	bench_adapter_start(b, text);
}

/* Weights a little beside the stored ones; adapters well away from zero. */
static void
disturb(struct bench_adapter *b)
{
	for (uint32_t i = 0; i < b->bench.params.n; i++) {
		const struct hn_param *param = &b->bench.params.list[i];
		float *values = malloc((size_t)param->n_elems * sizeof *values);
		struct hone_error err = {0};

		assert_false(
			hn_engine_get(&b->bench.engine, HN_MEMORY_PARAMS, param, values, &err));
		for (int64_t k = 0; k < param->n_elems; k++)
			values[k] += 0.05f * (float)sin((double)(k + (int64_t)i * 977));
		assert_false(
			hn_engine_set(&b->bench.engine, HN_MEMORY_PARAMS, param, values, &err));
		free(values);
	}
}

static double
distance(const struct golden_text *text, const double *a, const double *b)
{
	return greatest_distance(a, b, text->n * 263);
}

/* ---- C3 ---- */

/* C3: every kind of base and adapter through a folder and back. */
static void
test_export_adapter_loaded_again_gives_the_same_bits(void **state)
{
	static const char *const models[] = {FOLDER, GGUF};
	struct golden_text text;

	(void)state;
	golden_text_open(&text);
	for (size_t i = 0; i < 2; i++) {
		char *root = test_folder_make(), *dir = hn_path_join(root, "adapter");
		struct bench_adapter b, again;
		double *before, *after;
		struct hone_error err = {0};

		open_with(&b, models[i], "q_proj, v_proj, down_proj", HONE_DTYPE_F32, &text);
		disturb(&b);
		before = bench_adapter_logits(&b, &text);
		if (hn_export_adapter(&b.adapted, dir, NULL, &err))
			fail_msg("%s: %s", err.place, err.text);
		bench_adapter_open(&again, models[i], "reference", HONE_DTYPE_F32);
		bench_adapter_from(&again, dir);
		bench_adapter_start(&again, &text); /* init_from reads the folder */
		assert_int_equal(again.bench.params.n, b.bench.params.n);
		after = bench_adapter_logits(&again, &text);
		assert_memory_equal(before, after, (size_t)(text.n * 263) * sizeof *before);
		free(before);
		free(after);
		bench_adapter_close(&again);
		bench_adapter_close(&b);
		free(dir);
		test_folder_remove(root);
	}
	golden_text_close(&text);
}

/* ---- C3, C4, C6, C7: whole models ---- */

static const struct {
	const char *model, *targets;
	bool has_head; /* lm_head.weight stands in the file */
} merges[] = {
	{FOLDER, "full", false},
	{FOLDER, "layerwise", false},
	{FOLDER, "all-linear", false},
	{FOLDER, "lm_head, q_proj", true},
	{UNTIED, "full", true},
	{UNTIED, "lm_head", true},
	{GGUF, "full", false},
	{GGUF, "layerwise", false},
	{GGUF, "lm_head, k_proj", true},
	{"golden/gguf/tiny-llama-q8_0.gguf", "all-linear", false},
	{"golden/gguf/tiny-llama-untied-f16.gguf", "all-linear, lm_head", true},
	{"golden/models/tiny-llama3-rope", "q_proj, k_proj", false},
	{"golden/models/tiny-llama-bf16", "all-linear", false},
};

static void
check_files(const char *dir, const char *name, bool has_head)
{
	struct hn_checkpoint back = {0};
	struct hone_error err = {0};
	bool is_tied = false;

	if (hn_checkpoint_open(&back, dir, &err))
		fail_msg("%s: %s", err.place, err.text);
	assert_int_equal(hn_config_bool(&back.config, "tie_word_embeddings", &is_tied, &err), 0);
	if (is_tied == has_head ||
		(hn_tensor_file_find(&back.tensors, "lm_head.weight") != NULL) != has_head)
		fail_msg("%s: tie_word_embeddings is %s", name, is_tied ? "true" : "false");
	hn_checkpoint_close(&back);
}

static void
test_export_merged_model_gives_the_same_logits(void **state)
{
	struct golden_text text;

	(void)state;
	golden_text_open(&text);
	for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++) {
		char *root = test_folder_make(), *dir = hn_path_join(root, "model");
		struct bench_adapter b, whole;
		double *start, *before, *after, moved, gap;
		struct hone_error err = {0};

		open_with(&b, merges[i].model, merges[i].targets, HONE_DTYPE_F64, &text);
		start = bench_adapter_logits(&b, &text);
		disturb(&b);
		before = bench_adapter_logits(&b, &text);
		if (hn_export_model(&b.adapted, dir, HN_EXPORT_F32, NULL, NULL, &err))
			fail_msg("%s: %s", err.place, err.text);
		check_files(dir, merges[i].targets, merges[i].has_head);
		open_plain(&whole, dir, HONE_DTYPE_F64, &text);
		after = bench_adapter_logits(&whole, &text);
		moved = distance(&text, start, before);
		gap = distance(&text, before, after);
		print_message("%-40s %-20s moved %.1e, gap %.1e\n", merges[i].model,
			merges[i].targets, moved, gap);
		assert_true(moved > 0.1 && gap <= MERGED_TOLERANCE);
		free(start);
		free(before);
		free(after);
		bench_adapter_close(&whole);
		bench_adapter_close(&b);
		free(dir);
		test_folder_remove(root);
	}
	golden_text_close(&text);
}

/* As stored: what nothing changes keeps its bits, in the file's own type. */
static void
test_export_untouched_weights_keep_their_bits(void **state)
{
	char *root = test_folder_make(), *dir = hn_path_join(root, "model");
	char *origin = test_data_path("golden/models/tiny-llama-bf16");
	struct hn_checkpoint was = {0}, is = {0};
	struct golden_text text;
	struct bench_adapter b;
	struct hone_error err = {0};
	size_t n_same = 0;

	(void)state;
	golden_text_open(&text);
	open_with(&b, "golden/models/tiny-llama-bf16", "q_proj", HONE_DTYPE_F32, &text);
	disturb(&b);
	if (hn_export_model(&b.adapted, dir, HN_EXPORT_AS_STORED, NULL, NULL, &err) ||
		hn_checkpoint_open(&was, origin, &err) || hn_checkpoint_open(&is, dir, &err))
		fail_msg("%s: %s", err.place, err.text);
	for (size_t i = 0; i < was.tensors.n_tensors; i++) {
		const struct hn_tensor_info *a = &was.tensors.tensors[i];
		const struct hn_tensor_info *c = need_tensor(&is.tensors, a->name);

		assert_string_equal(a->storage, c->storage);
		n_same += memcmp(a->bytes, c->bytes, a->n_bytes) == 0;
	}
	assert_int_equal(n_same + 3, was.tensors.n_tensors); /* three layers' q_proj */
	hn_checkpoint_close(&was);
	hn_checkpoint_close(&is);
	bench_adapter_close(&b);
	golden_text_close(&text);
	free(origin);
	free(dir);
	test_folder_remove(root);
}

/* ---- C7 ---- */

/* C7: an adapter made on one kind of base does the same on the other. */
static void
test_export_adapter_moves_between_folder_and_gguf(void **state)
{
	static const char *const ways[2][2] = {{FOLDER, GGUF}, {GGUF, FOLDER}};
	struct golden_text text;

	(void)state;
	golden_text_open(&text);
	for (size_t i = 0; i < 2; i++) {
		char *root = test_folder_make(), *dir = hn_path_join(root, "adapter");
		struct bench_adapter b, other;
		double *here, *there, gap;
		struct hone_error err = {0};

		open_with(&b, ways[i][0], "all-linear", HONE_DTYPE_F64, &text);
		disturb(&b);
		here = bench_adapter_logits(&b, &text);
		if (hn_export_adapter(&b.adapted, dir, NULL, &err))
			fail_msg("%s: %s", err.place, err.text);
		bench_adapter_open(&other, ways[i][1], "reference", HONE_DTYPE_F64);
		bench_adapter_from(&other, dir);
		bench_adapter_start(&other, &text);
		there = bench_adapter_logits(&other, &text);
		gap = distance(&text, here, there);
		print_message("%s -> %s %.1e\n", ways[i][0], ways[i][1], gap);
		assert_true(gap <= 1e-5);
		free(here);
		free(there);
		bench_adapter_close(&other);
		bench_adapter_close(&b);
		free(dir);
		test_folder_remove(root);
	}
	golden_text_close(&text);
}

/* ---- C9 ---- */

/* C9, not to the bit: without an adapter the residual is added inside of the product, which spares
 * one rounding. */
static void
test_export_adapter_starts_as_the_base(void **state)
{
	struct golden_text text;
	struct bench_adapter plain, b;
	double *base, *adapted, *again;

	(void)state;
	golden_text_open(&text);
	open_plain(&plain, FOLDER, HONE_DTYPE_F64, &text);
	bench_adapter_open(&b, FOLDER, "reference", HONE_DTYPE_F64);
	b.values = (struct lora_values){.r = 4,
		.lora_alpha = 64,
		.lora_dropout = 0.5,
		.target_modules = bench_sites(&b.bench, "all-linear")};
	bench_adapter_lora(&b, NULL);
	bench_adapter_start(&b, &text);
	base = bench_adapter_logits(&plain, &text);
	adapted = bench_adapter_logits(&b, &text);
	assert_true(distance(&text, base, adapted) <= 1e-12);
	disturb(&b);
	free(adapted);
	adapted = bench_adapter_logits(&b, &text);
	again = bench_adapter_logits(&b, &text);
	assert_true(distance(&text, base, adapted) > 0.1);
	assert_true(distance(&text, adapted, again) == 0.0); /* no dropout here */
	free(base);
	free(adapted);
	free(again);
	bench_adapter_close(&b);
	bench_adapter_close(&plain);
	golden_text_close(&text);
}

/* ---- C2 ---- */

/* Two steps of AdamW at rate 1e-2: in the first A's gradient is zero, because B is. */
static void
train(struct bench_adapter *b, struct hn_step *step, struct hn_layout *layout,
	const struct golden_text *text)
{
	const struct bench_training training = {.sft = {1, 1, 0.0},
		.adamw = {0.9, 0.999, 1e-8, 0.0},
		.capacity = {text->n, text->n_segments, text->n, text->n, 0},
		.chunk_rows = 64,
		.compute = HONE_DTYPE_F32};
	struct hone_error err = {0};

	bench_training(&b->bench, step, layout, &training);
	b->adapted = (struct hn_adapted){.model = &b->bench.model,
		.params = &b->bench.params,
		.engine = &b->bench.engine,
		.adapters = b->bench.adapters,
		.n_adapters = b->bench.n_adapters};
	assert_int_equal(hn_params_init(&b->adapted, &err), HONE_OK);
	for (uint64_t t = 0; t < 2; t++) {
		int32_t *index = hn_program_column(&step->train, "text.supervised.index");
		int32_t *labels = hn_program_column(&step->train, "text.supervised.labels");
		const int32_t last = text->segments[text->n_segments];
		double norm;

		for (int32_t i = 0; i + 1 < last; i++) {
			index[i] = i;
			labels[i] = text->ids[i + 1];
		}
		hn_step_begin(step);
		hn_step_set_denominator(step, 0, (double)(last - 1));
		bench_bind(&step->train, text->ids, text->segments, text->n_segments);
		hn_program_set_live(&step->train, "text.supervised", last - 1);
		if (hn_step_micro(step, 1, t, &err) ||
			hn_step_end(step, t, 1e-2, &training.adamw, 1.0, &norm, &err))
			fail_msg("%s", err.text);
	}
}

/* C2: what is in the file is what is in memory, is not what it began with, and B is not zero. */
static void
test_export_saved_adapter_is_the_trained_one(void **state)
{
	char *root = test_folder_make(), *dir = hn_path_join(root, "adapter");
	char *path = hn_path_join(dir, "adapter_model.safetensors");
	struct hn_tensor_file file = {0};
	struct golden_text text;
	struct hn_layout layout;
	struct hn_step step;
	struct bench_adapter b;
	struct hone_error err = {0};

	(void)state;
	golden_text_open(&text);
	bench_adapter_open(&b, FOLDER, "reference", HONE_DTYPE_F32);
	b.values = (struct lora_values){
		.r = 4, .lora_alpha = 8, .target_modules = bench_sites(&b.bench, "all-linear")};
	bench_adapter_lora(&b, NULL);
	train(&b, &step, &layout, &text);
	if (hn_export_adapter(&b.adapted, dir, NULL, &err) ||
		hn_safetensors_open(&file, path, &err))
		fail_msg("%s: %s", err.place, err.text);
	assert_int_equal(file.n_tensors, b.bench.params.n);
	for (uint32_t i = 0; i < b.bench.params.n; i++) {
		const struct hn_param *param = &b.bench.params.list[i];
		float *now = malloc((size_t)param->n_elems * sizeof *now);
		float *then = malloc((size_t)param->n_elems * sizeof *then);
		char name[256];

		(void)snprintf(name, sizeof name, "base_model.model.%s.%s.weight",
			param->site->pub.name, param->spec.name);
		assert_false(hn_engine_get(&b.bench.engine, HN_MEMORY_PARAMS, param, now, &err));
		assert_false(hn_param_init(param, &b.bench.model, b.bench.factories[0],
			b.bench.adapters[0].self, 0, then, &err));
		assert_memory_equal(
			need_tensor(&file, name)->bytes, now, (size_t)param->n_elems * sizeof *now);
		if (memcmp(now, then, (size_t)param->n_elems * sizeof *now) == 0)
			fail_msg("%s did not move", name);
		free(now);
		free(then);
	}
	hn_tensor_file_close(&file);
	bench_adapter_close(&b);
	hn_layout_fini(&layout);
	golden_text_close(&text);
	free(path);
	free(dir);
	test_folder_remove(root);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_export_saved_adapter_is_the_trained_one),
		cmocka_unit_test(test_export_adapter_loaded_again_gives_the_same_bits),
		cmocka_unit_test(test_export_merged_model_gives_the_same_logits),
		cmocka_unit_test(test_export_untouched_weights_keep_their_bits),
		cmocka_unit_test(test_export_adapter_moves_between_folder_and_gguf),
		cmocka_unit_test(test_export_adapter_starts_as_the_base),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
