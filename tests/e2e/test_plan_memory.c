/*
 * test_plan_memory.c - the plan is true: its peak is what the training process takes.
 *
 * Would catch: a buffer that the plan does not know, a checkpoint or a result that is written or
 * read back through memory of its own, weights that stay in memory beside their trained copy.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "place.h"

/* The promise is 2 %. */
static const double tolerance = 0.02;

static const char config[] =
	"{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": "
	"4096, "
	"\"hidden_size\": 384, \"intermediate_size\": 1024, \"num_hidden_layers\": 4, "
	"\"num_attention_heads\": 6, \"num_key_value_heads\": 6, \"hidden_act\": \"silu\", "
	"\"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"max_position_embeddings\": 256, "
	"\"tie_word_embeddings\": true, \"initializer_range\": 0.02, \"bos_token_id\": 257, "
	"\"eos_token_id\": 258, \"torch_dtype\": \"float32\"}\n";

static const char full_ini[] =
	"[run]\noutput = run\nadapter = full\nobjective = sft\n"
	"[model]\npath = middle\ninit = random\n"
	"[data]\ntrain = train.jsonl\nvalidation = validation.jsonl\nmax_length = 64\n"
	"[train]\nlearning_rate = 1e-4\nmax_steps = 4\ncompute = f32\n"
	"[checkpoint]\nsave_steps = 2\n[cpu]\nthreads = 2\n";

/* A model of 8.7 million parameters, of which there is only the configuration. */
static void
make_model(const struct place *place)
{
	static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", NULL};

	place_copy_files(place, "middle", names, NULL);
	place_write(place, "middle/config.json", config);
}

static int64_t
planned_peak(const struct place *place, const char *words)
{
	json_t *plan = place_json(place, "plan", words);
	const json_t *peak = json_object_get(json_object_get(plan, "memory"), "peak");
	const int64_t bytes = (int64_t)json_integer_value(peak);

	json_decref(plan);
	return bytes;
}

static void
check_plan(const struct place *place, const char *words)
{
	const int64_t plan = planned_peak(place, words);
	const int64_t peak = place_run(place, "train", words, 0).rss_bytes;

	print_message("%s: planned %.1f MB, taken %.1f MB, %+.1f %%\n",
		words[0] ? words : "run.ini", (double)plan / 1e6, (double)peak / 1e6,
		100.0 * ((double)peak / (double)plan - 1.0));
	assert_true(fabs((double)peak / (double)plan - 1.0) < tolerance);
}

/* Random weights; then the model that this made, in whose file the weights are mapped; then
 * that run gone on with from a checkpoint. */
static void
test_plan_full_training_takes_what_was_planned(void **state)
{
	struct place place;

	(void)state;
	if (place_is_instrumented())
		skip();
	place_open(&place);
	make_model(&place);
	place_write(&place, "run.ini", full_ini);
	check_plan(&place, "--json");
	check_plan(&place,
		"--json --set run.output=again --set model.path=run/model --set "
		"model.init=pretrained");
	place_close(&place);
}

static double
validation_loss(const struct place *place, const char *words)
{
	struct hn_str all = {0};
	double loss;

	hn_str_printf(&all, "%s --split validation", words);
	loss = place_eval_loss(place, all.text);
	hn_str_fini(&all);
	return loss;
}

/* Under a limit micro-batches get smaller and, where that is not enough, layers are computed
 * again; what is learned stays, but for how sums round.  Would catch: a limit that is only
 * checked, a smaller plan that costs rows, a larger one that is kept. */
static void
test_plan_memory_limit_is_kept_and_changes_no_result(void **state)
{
	static const char some[] = "--set train.max_steps=2 "
				   "--set train.per_device_train_batch_size=32 ";
	static const double cuts_mb[] = {3.0, 18.0, 22.0};
	struct place place;
	struct hn_str words = {0};
	double loss;
	int64_t peak;

	(void)state;
	if (place_is_instrumented())
		skip();
	place_open(&place);
	make_model(&place);
	place_write(&place, "run.ini", full_ini);
	hn_str_printf(&words, "%s--json", some);
	peak = planned_peak(&place, words.text);
	(void)place_run(&place, "train", words.text, 0);
	place_assert_says(&place, "micro-batches of 512 tokens", NULL);
	loss = validation_loss(&place, words.text);
	for (size_t i = 0; i < sizeof cuts_mb / sizeof cuts_mb[0]; i++) {
		const int64_t limit = peak - (int64_t)(cuts_mb[i] * 1e6);

		hn_str_clear(&words);
		hn_str_printf(&words,
			"%s--set run.output=cut%zu --set train.memory_limit=%lld --json", some, i,
			(long long)limit);
		print_message("%.1f MB less of %.1f\n", cuts_mb[i], (double)peak / 1e6);
		assert_true(planned_peak(&place, words.text) <= limit);
		check_plan(&place, words.text);
		assert_true(fabs(validation_loss(&place, words.text) / loss - 1.0) < 1e-5);
	}
	hn_str_clear(&words);
	hn_str_printf(&words, "%s--set run.output=none --set train.memory_limit=20M", some);
	(void)place_run(&place, "train", words.text, 8);
	place_assert_says(&place, "the plan needs", NULL);
	hn_str_fini(&words);
	place_close(&place);
}

/* The model of the examples, where HONE_SMOLLM2_GGUF names its file: 12 steps of LoRA. */
static void
test_plan_smollm2_lora_takes_what_was_planned(void **state)
{
	const char *model = getenv("HONE_SMOLLM2_GGUF");
	struct place place;
	struct hn_str ini = {0};

	(void)state;
	if (!model || !hn_path_is_file(model) || place_is_instrumented()) {
		print_message("skipped: HONE_SMOLLM2_GGUF names no file, or this build is "
			      "instrumented\n");
		skip();
	}
	place_open(&place);
	hn_str_printf(&ini,
		"[run]\noutput = run\nadapter = lora\nobjective = sft\n[model]\npath = %s\n"
		"[data]\ntrain = train.jsonl\nvalidation = validation.jsonl\nmax_length = 256\n"
		"[train]\nlearning_rate = 2e-4\nmax_steps = 12\n"
		"[checkpoint]\nsave_steps = 6\n"
		"[lora]\nr = 8\nlora_alpha = 16\ntarget_modules = all-linear\n",
		model);
	place_write(&place, "run.ini", ini.text);
	check_plan(&place, "--json");
	hn_str_fini(&ini);
	place_close(&place);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plan_full_training_takes_what_was_planned),
		cmocka_unit_test(test_plan_memory_limit_is_kept_and_changes_no_result),
		cmocka_unit_test(test_plan_smollm2_lora_takes_what_was_planned),
	};

	return cmocka_run_group_tests_name("plan_memory", tests, NULL, NULL);
}
