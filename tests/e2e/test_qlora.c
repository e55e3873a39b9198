/*
 * test_qlora.c - [run] preset = qlora and [model] storage, as a user meets them.
 *
 * Would catch: a preset that is not found or whose keys do not count, a quantised weight that
 * is trained, a run that goes on with weights in another form, a plan without the converted
 * weights, an export that merges into what 4 bits read as, NaN in a file hidden by a code.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "model/safetensors.h"
#include "place.h"
#include "support.h"

static const char qlora[] =
	"[run]\noutput = run\npreset = qlora\nobjective = sft\nseed = 7\n"
	"[model]\npath = " HONE_TEST_DATA "/golden/models/tiny-llama\n"
	"[data]\ntrain = train.jsonl\nvalidation = validation.jsonl\nmax_length = 64\n"
	"[train]\nlearning_rate = 1e-2\nmax_steps = 12\nper_device_train_batch_size = 4\n"
	"logging_steps = 1\n[checkpoint]\nsave_steps = 4\n[lora]\nr = 4\n[cpu]\nthreads = 2\n";

static void
open_qlora(struct place *place)
{
	place_open(place);
	place_write(place, "run.ini", qlora);
}

/* First and last evaluation of a run. */
static void
eval_losses(const struct place *place, double *first, double *last)
{
	char *text = place_read(place, "run/metrics.jsonl");
	int n = 0;

	for (const char *at = text; *at; at += strcspn(at, "\n"), at += *at == '\n') {
		json_t *line = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
		const json_t *loss = json_object_get(line, "eval_loss");

		if (loss && n++ == 0)
			*first = json_number_value(loss);
		if (loss)
			*last = json_number_value(loss);
		json_decref(line);
	}
	assert_true(n >= 2);
	free(text);
}

static void
assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no '%s' in:\n%s", part, text);
}

static void
test_qlora_preset_trains_and_its_keys_have_their_origin(void **state)
{
	struct place place;
	double first = 0.0, last = 0.0;
	char *config;

	(void)state;
	open_qlora(&place);
	(void)place_run(&place, "train", "", 0);
	eval_losses(&place, &first, &last);
	print_message("validation loss %.4f -> %.4f\n", first, last);
	assert_true(last < 0.9 * first);
	config = place_read(&place, "run/config.ini");
	assert_has(config, "storage = \"nf4\"");
	assert_has(config, "compute = bf16");
	assert_has(config, "target_modules = all-linear");
	assert_has(config, "presets/qlora.ini:");
	free(config);
	config = place_read(&place, "run/adapter/adapter_config.json");
	assert_has(config, "\"peft_type\": \"LORA\"");
	free(config);
	(void)place_run(&place, "generate", "--prompt 12 --max-new-tokens 4 --temperature 0", 0);
	place_close(&place);
}

/* The quantised base is another than the file's: its loss tells. */
static void
test_qlora_base_has_a_loss_of_its_own(void **state)
{
	static const char *const words[] = {"--split validation --base --json",
		"--split validation --base --json --set model.storage=native"};
	double loss[2];
	struct place place;

	(void)state;
	open_qlora(&place);
	for (int i = 0; i < 2; i++) {
		json_t *root;
		char *text;

		(void)place_run(&place, "eval", words[i], 0);
		text = place_read(&place, "stdout");
		root = json_loads(text, 0, NULL);
		assert_non_null(root);
		loss[i] = json_number_value(json_object_get(root, "loss"));
		json_decref(root);
		free(text);
	}
	print_message("nf4 %.5f, native %.5f\n", loss[0], loss[1]);
	assert_true(loss[0] != loss[1]);
	assert_true(loss[0] > 0.8 * loss[1] && loss[0] < 1.2 * loss[1]);
	place_close(&place);
}

/* Would catch: an adapter used on weights it was not trained on, and nobody is told; an export
 * whose type and size are a surprise. */
static void
test_qlora_adapter_on_other_weights_is_warned_of(void **state)
{
	struct place place;
	json_t *root;
	char *text;

	(void)state;
	open_qlora(&place);
	(void)place_run(&place, "train", "--set train.max_steps=2", 0);
	(void)place_run(&place, "eval", "--split validation --set train.max_steps=2", 0);
	text = place_read(&place, "stderr");
	assert_null(strstr(text, "storage was"));
	free(text);
	(void)place_run(&place, "eval",
		"--split validation --set train.max_steps=2 --set model.storage=native", 0);
	place_assert_says(&place,
		"warning: [model] storage was nf4 where the adapter was trained and is native",
		NULL);
	(void)place_run(&place, "export", "--set train.max_steps=2 --merge --dtype bf16 --to m", 0);
	text = place_read(&place, "stdout");
	assert_has(text, ": the model, bf16, ");
	assert_has(text, " MB, read back and compared");
	free(text);
	(void)place_run(
		&place, "export", "--set train.max_steps=2 --merge --dtype f32 --to f --json", 0);
	text = place_read(&place, "stdout");
	root = json_loads(text, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(root, "dtype")), "f32");
	assert_true(json_integer_value(json_object_get(root, "bytes")) > 1000);
	json_decref(root);
	free(text);
	place_close(&place);
}

static void
test_qlora_going_on_with_another_storage_is_refused(void **state)
{
	struct place place;

	(void)state;
	open_qlora(&place);
	(void)place_run(&place, "train", "--set train.max_steps=12", 0);
	(void)place_run(&place, "train", "--set model.storage=native", 3);
	place_assert_says(&place, "[model] storage was nf4 and is native", NULL);
	place_close(&place);
}

static void
test_qlora_refusals_are_one_line_at_the_key(void **state)
{
	static const struct {
		const char *words, *says;
	} wrong[] = {
		{"--set run.adapter=full", "adapter 'full' trains model.layers.0."},
		{"--set run.adapter=layerwise --set layerwise.layers=1",
			"adapter 'layerwise' trains model.layers.1."},
		{"--set model.storage=nf5", "no storage 'nf5'"},
		{"--set model.storage=q6_k", "q6_k is only read"},
	};
	struct place place;

	(void)state;
	place_open(&place);
	place_write(&place, "run.ini",
		"[run]\noutput = run\nadapter = lora\nobjective = sft\n"
		"[model]\npath = " HONE_TEST_DATA "/golden/models/tiny-llama\nstorage = nf4\n"
		"[data]\ntrain = train.jsonl\nmax_length = 64\n[train]\nlearning_rate = 1e-2\n");
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		(void)place_run(&place, "train", wrong[i].words, 3);
		place_assert_says(&place, "[model] storage = ", wrong[i].says, NULL);
	}
	/* A dense form of weights that are trained changes nothing. */
	(void)place_run(&place, "check", "--set run.adapter=full --set model.storage=bf16", 0);
	place_close(&place);
}

static void
test_qlora_plan_names_the_converted_weights(void **state)
{
	struct place place;
	json_t *root, *memory;
	json_int_t converted, mapped;
	char *text;

	(void)state;
	open_qlora(&place);
	(void)place_run(&place, "plan", "--json", 0);
	text = place_read(&place, "stdout");
	root = json_loads(text, 0, NULL);
	assert_non_null(root);
	memory = json_object_get(root, "memory");
	converted = json_integer_value(json_object_get(memory, "converted"));
	mapped = json_integer_value(json_object_get(memory, "weights"));
	/* 21 matrices, 36,864 weights, 4.13 bits and the ends of parts; f32 of the rest */
	assert_true(converted > 36864 * 413 / 800 && converted < 36864 * 8 / 8);
	assert_int_equal(mapped, (263 + 7) * 32 * 4);
	json_decref(root);
	free(text);
	(void)place_run(&place, "plan", "", 0);
	text = place_read(&place, "stdout");
	assert_has(text, "weights converted for [model] storage");
	free(text);
	place_close(&place);
}

/* An adapter of (almost) nothing: what is merged must be the file's own weights. */
static void
test_qlora_merge_is_into_the_weights_of_the_file(void **state)
{
	static const char name[] = "model.layers.1.mlp.down_proj.weight";
	struct hn_tensor_file base = {0}, merged = {0};
	const struct hn_tensor_info *a, *b;
	struct hone_error err = {0};
	struct place place;
	char *path;

	(void)state;
	open_qlora(&place);
	(void)place_run(&place, "train",
		"--set train.learning_rate=1e-30 --set train.lr_scheduler_type=constant --set "
		"train.max_steps=2",
		0);
	path = place_path(&place, "merged");
	{
		struct hn_str words = {0};

		hn_str_printf(&words,
			"--merge --to %s --set train.learning_rate=1e-30 --set "
			"train.lr_scheduler_type=constant --set train.max_steps=2",
			path);
		(void)place_run(&place, "export", words.text, 0);
		hn_str_fini(&words);
	}
	free(path);
	path = place_path(&place, "merged/model.safetensors");
	assert_int_equal(hn_safetensors_open(&merged, path, &err), HONE_OK);
	assert_int_equal(
		hn_safetensors_open(
			&base, HONE_TEST_DATA "/golden/models/tiny-llama/model.safetensors", &err),
		HONE_OK);
	a = hn_tensor_file_find(&base, name);
	b = hn_tensor_file_find(&merged, name);
	assert_true(a && b && a->n_bytes == b->n_bytes);
	assert_memory_equal(a->bytes, b->bytes, a->n_bytes);
	hn_tensor_file_close(&base);
	hn_tensor_file_close(&merged);
	free(path);
	place_close(&place);
}

/* A copy of the model with a NaN in a linear weight. */
static void
make_damaged(const struct place *place)
{
	static const char *const names[] = {
		"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"};
	static const uint8_t nan[4] = {0x01, 0x00, 0xc0, 0x7f};
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	char *dir = place_path(place, "damaged");
	size_t at;

	assert_int_equal(
		hn_safetensors_open(
			&file, HONE_TEST_DATA "/golden/models/tiny-llama/model.safetensors", &err),
		HONE_OK);
	at = (size_t)(hn_tensor_file_find(&file, "model.layers.2.self_attn.o_proj.weight")->bytes -
		file.maps[0].bytes);
	hn_tensor_file_close(&file);
	assert_int_equal(hn_dir_make(dir, &err), HONE_OK);
	for (size_t i = 0; i < 4; i++) {
		char *from = hn_path_join(HONE_TEST_DATA "/golden/models/tiny-llama", names[i]);
		char *to = hn_path_join(dir, names[i]), *bytes;
		size_t n;

		assert_int_equal(
			hn_file_read(from, UINT64_C(1) << 24, HONE_EIO, &bytes, &n, &err), HONE_OK);
		if (i == 3)
			memcpy(bytes + at + 4 * 77, nan, sizeof nan);
		assert_int_equal(hn_file_replace(to, bytes, n, &err), HONE_OK);
		free(bytes);
		free(from);
		free(to);
	}
	free(dir);
}

static void
test_qlora_names_a_weight_that_is_not_finite(void **state)
{
	struct place place;

	(void)state;
	open_qlora(&place);
	make_damaged(&place);
	(void)place_run(&place, "train", "--set model.path=damaged", 9);
	place_assert_says(&place, "model.layers.2.self_attn.o_proj.weight",
		"damaged/model.safetensors: ", "holds 1 value ", "first at element 77", NULL);
	place_close(&place);
}

static void
test_qlora_explain_tells_the_storages(void **state)
{
	struct place place;
	char *text;

	(void)state;
	open_qlora(&place);
	(void)place_wait(place_start(&place, "explain", "model.storage", ""));
	text = place_read(&place, "stdout");
	assert_has(text, "nf4 is QLoRA's");
	assert_has(text, "native");
	free(text);
	place_close(&place);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_qlora_preset_trains_and_its_keys_have_their_origin),
		cmocka_unit_test(test_qlora_base_has_a_loss_of_its_own),
		cmocka_unit_test(test_qlora_adapter_on_other_weights_is_warned_of),
		cmocka_unit_test(test_qlora_going_on_with_another_storage_is_refused),
		cmocka_unit_test(test_qlora_refusals_are_one_line_at_the_key),
		cmocka_unit_test(test_qlora_plan_names_the_converted_weights),
		cmocka_unit_test(test_qlora_merge_is_into_the_weights_of_the_file),
		cmocka_unit_test(test_qlora_names_a_weight_that_is_not_finite),
		cmocka_unit_test(test_qlora_explain_tells_the_storages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
