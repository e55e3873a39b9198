/*
 * test_nonfinite_run.c - A8: a run whose numbers overflow stops at that step and says where.
 *
 * Would catch: NaN written into the parameters and into the next checkpoint, a run that goes on
 * with a loss of NaN, a message from which nobody can tell step, loss term and tensor.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "model/checkpoint.h"
#include "place.h"

/* A copy of the model with +inf as an element of its last tensor (safetensors: the data end
 * with the file). */
static void
make_poisoned(const struct place *place)
{
	static const char *const names[] = {"config.json", "tokenizer.json",
		"tokenizer_config.json", "model.safetensors", NULL};
	static const uint8_t inf[4] = {0x00, 0x00, 0x80, 0x7f};

	place_copy_files(place, "poisoned", names, inf);
}

static void
test_nonfinite_weight_of_the_file_is_named(void **state)
{
	struct place place;

	(void)state;
	place_open(&place);
	make_poisoned(&place);
	place_write(&place, "run.ini",
		"[run]\noutput = run\nadapter = lora\nobjective = sft\n"
		"[model]\npath = poisoned\n[data]\ntrain = train.jsonl\nmax_length = 64\n"
		"[train]\nlearning_rate = 1e-3\ncompute = f32\n");
	(void)place_run(&place, "train", "", 9);
	/* No place before it: an error that was met and mended earlier has left one. */
	place_assert_says(&place, "error: step 1: loss term 'nll' is not finite, because ",
		"poisoned/model.safetensors: ", "tensor 'model.norm.weight' (f32) holds 1 value ",
		"the first at element 31; the file is damaged", NULL);
	assert_int_equal(place_newest_step(&place, "run"), -1);
	place_close(&place);
}

/* Writes `bytes` over the beginning of a tensor's data in a copy of a GGUF file. */
static void
spoil_gguf(const struct place *place, const char *from, const char *name, const uint8_t *bytes,
	size_t n)
{
	char *path = hn_path_join(HONE_TEST_DATA "/golden/gguf", from), *text;
	char *to = hn_path_join(place->root, "model.gguf");
	struct hn_tensor_file file = {0};
	const struct hn_tensor_info *tensor;
	struct hone_error err = {0};
	size_t len;

	assert_int_equal(hn_tensors_open(&file, path, &err), HONE_OK);
	tensor = hn_tensor_file_find(&file, name);
	assert_non_null(tensor);
	assert_int_equal(hn_file_read(path, 1 << 24, HONE_EIO, &text, &len, &err), HONE_OK);
	memcpy(text + (tensor->bytes - file.maps[tensor->map_idx].bytes), bytes, n);
	assert_int_equal(hn_file_replace(to, text, len, &err), HONE_OK);
	hn_tensor_file_close(&file);
	free(text);
	free(path);
	free(to);
}

/* The scale of the first block is infinite: its 32 values are.  Every command that computes
 * names tensor and count, and check finds it before. */
static void
test_nonfinite_block_scale_is_named_by_every_command(void **state)
{
	static const uint8_t inf[2] = {0x00, 0x7c};
	static const struct {
		const char *command, *words, *says;
	} rows[] = {
		{"check", "", "error: "},
		{"train", "", "error: step 1: loss term 'nll' is not finite, because "},
		{"train", "--set data.validation=validation.jsonl --set run.output=other",
			"the loss on the validation data is not finite, because "},
		{"eval", "--base --split train",
			"the loss on the train data is not finite, because "},
		{"generate", "--base --raw --prompt 1", "is not finite, because "},
	};
	struct place place;

	(void)state;
	place_open(&place);
	spoil_gguf(&place, "tiny-llama-q8_0.gguf", "blk.1.ffn_down.weight", inf, sizeof inf);
	place_write(&place, "run.ini",
		"[run]\noutput = run\nadapter = lora\nobjective = sft\n"
		"[model]\npath = model.gguf\n[data]\ntrain = train.jsonl\nmax_length = 64\n"
		"[train]\nlearning_rate = 1e-3\ncompute = f32\n");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		(void)place_run(&place, rows[i].command, rows[i].words, 9);
		place_assert_says(&place, rows[i].says,
			"model.gguf: ", "tensor 'blk.1.ffn_down.weight' (q8_0) holds 32 values ",
			"the first at element 0;", NULL);
	}
	place_close(&place);
}

/* Each step multiplies the parameters by 1 - 10 * 10 until they overflow. */
#define EXPLODES                                                                                   \
	"--set train.learning_rate=10 --set train.weight_decay=10 --set train.max_grad_norm=0 "    \
	"--set train.lr_scheduler_type=constant --set checkpoint.save_steps=1 "                    \
	"--set eval.eval_steps=1000 --set train.logging_steps=1 --set "                            \
	"checkpoint.save_total_limit=2 --set train.compute=f32"

/* Every line of metrics.jsonl is a number of a step that was made: at most `last`. */
static void
assert_nothing_logged_after(const struct place *place, int64_t last)
{
	char *text = place_read(place, "run/metrics.jsonl");
	int64_t step = -1;

	for (const char *at = text; *at; at += strcspn(at, "\n"), at += *at == '\n') {
		json_t *line = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);

		assert_non_null(line);
		step = (int64_t)json_integer_value(json_object_get(line, "step"));
		json_decref(line);
	}
	assert_int_equal(step, last);
	free(text);
}

static void
test_nonfinite_training_stops_at_its_step_and_keeps_the_checkpoint(void **state)
{
	struct place place;
	int64_t newest;
	char step[64], path[128], *before, *after;

	(void)state;
	place_open(&place);
	(void)place_run(&place, "train", EXPLODES, 9);
	newest = place_newest_step(&place, "run");
	assert_true(newest >= 1 && newest < 39);
	(void)snprintf(step, sizeof step, "step %d:", (int)newest + 1);
	place_assert_says(&place, step, "not finite", "lora_", "learning_rate", NULL);
	assert_nothing_logged_after(&place, newest);
	(void)snprintf(path, sizeof path, "run/checkpoints/step-%06d/manifest.json", (int)newest);
	before = place_read(&place, path);
	/* The checkpoint can be read and gives the same end again. */
	(void)place_run(&place, "train", EXPLODES, 9);
	place_assert_says(&place, "going on from", step, NULL);
	after = place_read(&place, path);
	assert_true(before[0]);
	assert_string_equal(before, after);
	assert_int_equal(place_newest_step(&place, "run"), newest);
	free(before);
	free(after);
	place_close(&place);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nonfinite_weight_of_the_file_is_named),
		cmocka_unit_test(test_nonfinite_block_scale_is_named_by_every_command),
		cmocka_unit_test(
			test_nonfinite_training_stops_at_its_step_and_keeps_the_checkpoint),
	};

	return cmocka_run_group_tests_name("nonfinite_run", tests, NULL, NULL);
}
