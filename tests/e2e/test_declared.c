/*
 * test_declared.c - what a plugin declares comes back from the run's result, or is refused.
 *
 * Would catch: a trained parameter that no file holds, so that a run which learned evaluates as
 * its base; two parameters that are one tensor of the file, seen only when it is written; a
 * constant that a result leaves at zero; a bias that a merge drops; a folder of an adapter
 * without `describe` that hone writes and cannot read.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/file.h"
#include "cli.h"
#include "probe.h"
#include "support.h"

/* A working folder with p/declared.so, and a run of it. */
static void
open_place(struct cli *cli, const char *flag)
{
	char *path;

	cli_open(cli, NULL);
	cli_patch(cli, "run.ini", "adapter   = lora", "adapter   = declared");
	cli_patch(cli, "run.ini", "[lora]\nr = 2\n", "[declared]\nfactor = 4\n");
	cli_patch(cli, "run.ini", "= 1e-3", "= 1e-2");
	path = hn_path_join(cli->folder, "p");
	assert_int_equal(mkdir(path, 0755), 0);
	free(path);
	path = hn_path_join(cli->folder, "p/declared.so");
	plugin_compile("tests/abi/plugins/declared.c", path, flag);
	free(path);
}

static void
train(struct cli *cli)
{
	(void)cli_run(cli, "train", "run.ini", "--plugin-dir", "p", NULL);
	cli_expect(cli, 0, NULL);
}

/* ---- declarations ---- */

static const struct {
	const char *flag, *says[2];
} faults[] = {
	{"-DDECLARED_TRAINED_UNNAMED", {"parameter 'v' trains", "export_name"}},
	{"-DDECLARED_DRAWN_UNNAMED", {"parameter 'c' is drawn at random", "export_name"}},
	{"-DDECLARED_FILLED_UNNAMED", {"parameter 'c' is filled", "export_name"}},
	{"-DDECLARED_BUFFER_UNNAMED", {"parameter 'c' is a buffer", "export_name"}},
	{"-DDECLARED_ONE_NAME", {"q_proj/v' and '", "\"model.layers.0.self_attn.q_proj.v\""}},
	{"-DDECLARED_FIXED_NAME", {"parameter 'v'", "needs one %s"}},
	{"-DDECLARED_NO_NAME_OF_TENSOR", {"parameter 'v'", "needs one %s"}},
	{"-DDECLARED_FROZEN_TRAIN", {"parameter 'c'", "HONE_PARAM_FROZEN"}},
	{"-DDECLARED_NO_SIZE", {"struct_size is 0", "hone_param_spec_make"}},
	{"-DDECLARED_TWICE", {"q_proj/v' is declared twice", "declared"}},
	{"-DDECLARED_SHARED_FORMAT", {"parameter 's'", "without a site"}},
	{"-DDECLARED_SHARED_SHAPES", {"declared//s' is declared twice", "not the same"}},
	{"-DDECLARED_SHARED_WEIGHT", {"parameter 's'", "without a site"}},
};

static void
test_declared_fault_is_refused_by_check(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		struct cli cli;

		open_place(&cli, faults[i].flag);
		(void)cli_run(&cli, "check", "run.ini", "--plugin-dir", "p", NULL);
		cli_expect(&cli, 6, "declared declares its parameters", faults[i].says[0],
			faults[i].says[1], NULL);
		cli_close(&cli);
	}
}

/* ---- the result ---- */

static double
eval_loss(struct cli *cli, const char *flag)
{
	json_t *root;
	double loss;

	(void)cli_run(cli, "eval", "run.ini", "--split", "train", "--json", "--plugin-dir", "p",
		flag, NULL);
	cli_expect(cli, 0, NULL);
	root = cli_json(cli, "hone.eval/1");
	loss = json_number_value(json_object_get(root, "loss"));
	json_decref(root);
	return loss;
}

/* The loss of the last evaluation in training, by what metrics.jsonl says. */
static double
trained_loss(const struct cli *cli)
{
	char *text = cli_read(cli, "out/metrics.jsonl"), *at = text, *found = NULL;
	double loss;

	assert_non_null(text);
	while ((at = strstr(at, "\"eval_loss\": ")) != NULL)
		found = at += 13;
	assert_non_null(found);
	loss = strtod(found, NULL);
	free(text);
	return loss;
}

/* Shared, frozen and trained parameters: a result evaluates as the run did at its end. */
static void
test_declared_result_evaluates_as_in_training(void **state)
{
	struct cli cli;
	double trained, read, base;

	(void)state;
	open_place(&cli, NULL);
	cli_patch(&cli, "run.ini", "[data]\n", "[data]\nvalidation = train.jsonl\n");
	train(&cli);
	trained = trained_loss(&cli);
	read = eval_loss(&cli, NULL);
	base = eval_loss(&cli, "--base");
	print_message("in training %.9f, of the result %.9f, base %.9f\n", trained, read, base);
	assert_true(fabs(trained - read) < 1e-7);
	assert_true(base - trained > 1e-3);
	(void)cli_run(
		&cli, "export", "run.ini", "--merge", "--to", "merged", "--plugin-dir", "p", NULL);
	cli_expect(&cli, 0, NULL);
	cli_close(&cli);
}

/* Would catch: a name that is sought as PEFT would shorten it, after it was written as it is. */
static void
test_declared_name_with_default_in_it_is_read(void **state)
{
	struct cli cli;

	(void)state;
	open_place(&cli, "-DDECLARED_DEFAULT");
	train(&cli);
	assert_true(eval_loss(&cli, "--base") - eval_loss(&cli, NULL) > 1e-3);
	cli_close(&cli);
}

/* ---- the merge ---- */

static void
test_declared_bias_without_place_cannot_be_merged(void **state)
{
	struct cli cli;

	(void)state;
	open_place(&cli, "-DDECLARED_BIAS");
	train(&cli);
	(void)cli_run(
		&cli, "export", "run.ini", "--merge", "--to", "merged", "--plugin-dir", "p", NULL);
	cli_expect(&cli, 3, "q_proj has no bias in this model's file",
		"[declared] cannot be merged", NULL);
	assert_false(cli_has(&cli, "merged"));
	cli_close(&cli);
}

/* ---- the folder ---- */

/* What the program says, which the caller frees. */
static char *
generate(struct cli *cli, const char *a, const char *b, const char *c, const char *d)
{
	(void)cli_run(cli, "generate", "--raw", "--prompt", "3 and 3 make", "--plugin-dir", "p",
		"--max-new-tokens", "6", a, b, c, d, NULL);
	cli_expect(cli, 0, NULL);
	return hn_strdup(cli->out);
}

/* Without describe(), or with one that forgets the sites, the host says what the INI said. */
static void
test_declared_folder_without_describe_is_read(void **state)
{
	static const char *const flags[] = {NULL, "-DDECLARED_SITES_UNSAID"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		char *of_run, *of_folder, *base, *text;
		struct cli cli;
		json_t *config;

		open_place(&cli, flags[i]);
		train(&cli);
		text = cli_read(&cli, "out/adapter/adapter_config.json");
		config = json_loads(text, 0, NULL);
		assert_int_equal(json_array_size(json_object_get(config, "target_modules")), 2);
		assert_true(json_number_value(json_object_get(config, "factor")) == 4.0);
		json_decref(config);
		free(text);
		of_run = generate(&cli, "run.ini", "--set", "declared.notes=z", NULL);
		of_folder = generate(&cli, "--model", HONE_TEST_DATA "/golden/models/tiny-llama",
			"--adapter", "out/adapter");
		base = generate(
			&cli, "--model", HONE_TEST_DATA "/golden/models/tiny-llama", NULL, NULL);
		assert_string_equal(of_run, of_folder);
		assert_string_not_equal(of_folder, base); /* the adapter does something */
		free(base);
		free(of_run);
		free(of_folder);
		cli_close(&cli);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_declared_fault_is_refused_by_check),
		cmocka_unit_test(test_declared_result_evaluates_as_in_training),
		cmocka_unit_test(test_declared_name_with_default_in_it_is_read),
		cmocka_unit_test(test_declared_bias_without_place_cannot_be_merged),
		cmocka_unit_test(test_declared_folder_without_describe_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
