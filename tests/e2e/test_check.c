/*
 * test_check.c - `hone check` finds what plan and train would stumble over.
 *
 * Would catch: an "ok" for a run whose data cannot be read, whose adapter fits nothing, whose
 * programs cannot be built or whose plan is above its limit; a check that computes or leaves
 * something behind.
 */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "support.h"

/* One line on stdout, nothing on stderr, no run folder. */
static void
test_check_sound_run_is_one_line(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, "[eval]\nmetrics = exact_match\n");
	cli_write(&cli, "v.jsonl", "{\"prompt\": \"9 and 9 make\", \"completion\": \" 99\"}\n");
	(void)cli_run(&cli, "check", "run.ini", "--set", "data.validation=v.jsonl", "--set",
		"data.test=v.jsonl", NULL);
	cli_expect(&cli, 0, NULL);
	assert_string_equal(cli.err, "");
	assert_int_equal(strncmp(cli.out, "ok: run.ini: ", 13), 0);
	assert_ptr_equal(strchr(cli.out, '\n'), cli.out + strlen(cli.out) - 1);
	assert_non_null(strstr(cli.out, "rows of train 16, validation 1, test 1;"));
	assert_non_null(strstr(cli.out, " 4 steps of "));
	assert_false(cli_has(&cli, "out"));
	cli_close(&cli);
}

static void
test_check_json_counts_rows_and_steps(void **state)
{
	struct cli cli;
	json_t *root, *rows;

	(void)state;
	cli_open(&cli, NULL);
	(void)cli_run(&cli, "check", "run.ini", "--json", NULL);
	cli_expect(&cli, 0, NULL);
	root = cli_json(&cli, "hone.check/1");
	rows = json_object_get(root, "rows");
	assert_true(json_is_true(json_object_get(root, "valid")));
	assert_int_equal(json_integer_value(json_object_get(root, "steps")), 4);
	assert_int_equal(json_integer_value(json_object_get(rows, "train")), 16);
	assert_null(json_object_get(rows, "test"));
	json_decref(root);
	cli_close(&cli);
}

/* `memory.peak` of a command's document, in bytes. */
static double
peak_of(struct cli *cli, const char *command, const char *schema)
{
	json_t *root;
	double peak;

	(void)cli_run(cli, command, "run.ini", "--json", NULL);
	cli_expect(cli, 0, NULL);
	root = cli_json(cli, schema);
	peak = json_number_value(json_object_get(json_object_get(root, "memory"), "peak"));
	json_decref(root);
	return peak;
}

/* Would catch: two commands that add up memory each in its own way.  What a process holds
 * differs a little from one start to the next. */
static void
test_check_memory_is_the_figure_of_plan(void **state)
{
	struct cli cli;
	double plan, check;

	(void)state;
	cli_open(&cli, NULL);
	plan = peak_of(&cli, "plan", "hone.plan/1");
	check = peak_of(&cli, "check", "hone.check/1");
	assert_true(plan > 1e6);
	if (fabs(check / plan - 1.0) > 0.05)
		fail_msg("plan says %.0f bytes, check %.0f", plan, check);
	(void)cli_run(&cli, "check", "run.ini", NULL);
	assert_non_null(strstr(cli.out, " MB at the peak\n"));
	cli_close(&cli);
}

/* Each is sound as keys go; only data, model, programs or the plan tell. */
static void
test_check_what_training_would_meet_is_told_now(void **state)
{
	static const struct {
		const char *set, *more;
		int code;
		const char *says;
	} rows[] = {
		{"lora.target_modules=nope_proj", NULL, 3, "'nope_proj' names no module"},
		{"lora.r=4096", NULL, 3, "r = 4096"},
		{"data.train=bad.jsonl", NULL, 4, "bad.jsonl:2:"},
		{"data.validation=bad.jsonl", NULL, 4, "bad.jsonl:2:"},
		{"data.test=bad.jsonl", NULL, 4, "bad.jsonl:2:"},
		{"data.train=none.jsonl", NULL, 4, "none.jsonl"},
		{"data.max_length=1", NULL, 4, "has a token to learn"},
		{"data.max_length=14", "data.strict=yes", 4, "strict = yes"},
		{"data.validation_split=16", NULL, 3, "both sets need a row"},
		{"data.schema=messages", NULL, 4, "'messages' is missing"},
		{"train.memory_limit=1M", "data.max_length=256", 8,
			"MB whatever the lengths of rows, and [train] memory_limit is 1M; raise "
			"it"},
		{"data.train=prompts.jsonl", NULL, 4,
			"none of 1 rows has a token to learn, and none was cut; a row needs an "
			"assistant's turn"},
		{"data.train=mixed.jsonl", NULL, 4, "human is user, gpt is assistant here"},
	};
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	cli_write(&cli, "bad.jsonl",
		"{\"prompt\": \"a\", \"completion\": \" b\"}\n{\"prompt\": \"a\"}\n");
	cli_write(&cli, "prompts.jsonl",
		"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n");
	cli_write(&cli, "mixed.jsonl",
		"{\"messages\": [{\"role\": \"human\", \"content\": \"a\"}]}\n");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		(void)cli_run(&cli, "check", "run.ini", "--set", rows[i].set, "--set",
			rows[i].more ? rows[i].more : "run.seed=1", NULL);
		cli_expect(&cli, rows[i].code, rows[i].says, NULL);
		assert_false(cli_has(&cli, "out"));
	}
	cli_close(&cli);
}

/* Would catch: a person who brings a configuration of another program, and is told only that a
 * word is wrong, or is sent to another technique. */
static void
test_check_words_of_the_field_get_their_remedy(void **state)
{
	static const struct {
		const char *set, *says, *never;
	} rows[] = {
		{"run.adapter=qlora", "qlora is a preset: write [run] preset = qlora",
			"[lora] is given"},
		{"run.adapter=nobody", "no adapter 'nobody'", "[lora] is given"},
		{"train.optim=paged_adamw_8bit", "8-bit moments are not offered; write adamw",
			"mean"},
		{"lora.target_modules=[\"q_proj\", \"v_proj\"]", "write q_proj, v_proj",
			"names no"},
		{"run.objective=[sft]", "write sft", "is given"},
		{"lora.target_modules=all_linear", "did you mean 'all-linear'?", "[]"},
		{"model.quantization=4bit", "[model] quantization = 4bit: write nf4", "native"},
		{"model.storage=nf5",
			"no storage 'nf5'; did you mean 'nf4'? There are native, f32, bf16, ",
			"[]"},
		{"model.storage=q4_k", "q4_k is only read, not written", "[]"},
		{"lora.bias=none", "delete the line", "mean"},
		{"lora.use_dora=no", "DoRA is not offered", "use_rslora"},
		{"lora.lora_target_linear=yes", "all-linear names every linear layer", "mean"},
		{"sft.train_on_inputs=no", "completion_only_loss", "mean"},
		{"lora.modules_to_save=lm_head", "not offered", "mean"},
		{"train.flash_attention=yes", "delete the line", "mean"},
		{"model.quantization_config=x", "write [model] storage = nf4", "mean"},
	};
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		(void)cli_run(&cli, "check", "run.ini", "--set", rows[i].set, NULL);
		cli_expect(&cli, 3, rows[i].says, NULL);
		if (strstr(cli.err, rows[i].never))
			fail_msg("%s: '%s' is said:\n%s", rows[i].set, rows[i].never, cli.err);
	}
	(void)cli_run(&cli, "check", "run.ini", "--set", "train.optim=adamw_torch_fused", NULL);
	cli_expect(&cli, 0, "warning: [train] optim: 'adamw_torch_fused' is called 'adamw'", NULL);
	cli_close(&cli);
}

/* Would catch: a machine that asks for JSON and gets nothing where something is wrong. */
static void
test_check_json_of_a_wrong_run_lists_what_is_wrong(void **state)
{
	static const struct {
		const char *set, *message;
		int code, line;
	} rows[] = {
		{"run.seed=1", "unknown key 'rnk'", 3, 19},
		{"run.seed=x", "must be a whole number", 3, 0},
	};
	struct cli cli;
	json_t *root, *item = NULL;
	size_t n;

	(void)state;
	cli_open(&cli, "[lora]\nrnk = 2\n");
	for (size_t i = 0; i < 2; i++) {
		bool is_there = false;

		assert_int_equal(
			cli_run(&cli, "check", "run.ini", "--json", "--set", rows[i].set, NULL),
			rows[i].code);
		root = cli_json(&cli, "hone.check/1");
		assert_true(json_is_false(json_object_get(root, "valid")));
		json_array_foreach(json_object_get(root, "diagnostics"), n, item)
		{
			const char *text = json_string_value(json_object_get(item, "message"));

			assert_string_equal(
				json_string_value(json_object_get(item, "severity")), "error");
			is_there |= strstr(text, rows[i].message) &&
				json_integer_value(json_object_get(item, "line")) == rows[i].line;
		}
		if (!is_there)
			fail_msg("no line %d in %s", rows[i].line, cli.out);
		json_decref(root);
	}
	cli_close(&cli);
	/* What is no fault of the configuration stands there, too. */
	cli_open(&cli, NULL);
	assert_int_equal(
		cli_run(&cli, "check", "run.ini", "--json", "--set", "data.train=none", NULL), 4);
	root = cli_json(&cli, "hone.check/1");
	assert_int_equal(json_array_size(json_object_get(root, "diagnostics")), 1);
	json_decref(root);
	cli_close(&cli);
}

/* What deserves a warning in train gets it here. */
static void
test_check_rows_that_are_cut_are_warned_of(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	(void)cli_run(&cli, "check", "run.ini", "--set", "data.max_length=14", NULL);
	cli_expect(&cli, 0, "warning: train: ", "longer than max_length", NULL);
	cli_close(&cli);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_sound_run_is_one_line),
		cmocka_unit_test(test_check_json_counts_rows_and_steps),
		cmocka_unit_test(test_check_memory_is_the_figure_of_plan),
		cmocka_unit_test(test_check_what_training_would_meet_is_told_now),
		cmocka_unit_test(test_check_words_of_the_field_get_their_remedy),
		cmocka_unit_test(test_check_json_of_a_wrong_run_lists_what_is_wrong),
		cmocka_unit_test(test_check_rows_that_are_cut_are_warned_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
