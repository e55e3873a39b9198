/*
 * e2e/test_run_folder.c - what a run leaves behind, and what the same command does again.
 *
 * Would catch: a file of the contract that is missing or renamed, JSON that other programs
 * cannot read, a finished run that trains again, --fresh that loses the old run.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "base/file.h"
#include "cli.h"
#include "support.h"

static void
train(struct cli *cli, const char *flag)
{
	(void)cli_run(cli, "train", "run.ini", flag, NULL);
	cli_expect(cli, 0, NULL);
}

/* "step loss grad_norm" of each line, all digits; the caller frees. */
static char *
read_losses(const struct cli *cli, const char *name)
{
	char *lines = cli_read(cli, name);
	struct hn_str out = {0};

	assert_non_null(lines);
	for (char *line = lines, *end; (end = strchr(line, '\n')); line = end + 1) {
		json_t *root = json_loadb(line, (size_t)(end - line), 0, NULL);

		hn_str_printf(&out, "%d %.17g %.17g\n",
			(int)json_integer_value(json_object_get(root, "step")),
			json_number_value(json_object_get(root, "loss")),
			json_number_value(json_object_get(root, "grad_norm")));
		json_decref(root);
	}
	free(lines);
	assert_true(out.len > 0);
	return hn_str_take(&out);
}

static void
test_run_folder_holds_what_the_contract_says(void **state)
{
	static const char *const names[] = {"config.ini", "metrics.jsonl", "log.txt", "checkpoints",
		"checkpoints/step-000004", "adapter/adapter_config.json",
		"adapter/adapter_model.safetensors", "adapter/tokenizer.json",
		"adapter/tokenizer_config.json", "adapter/README.md"};
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	train(&cli, NULL);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char path[128];

		(void)snprintf(path, sizeof path, "out/%s", names[i]);
		if (!cli_has(&cli, path))
			fail_msg("no %s\n%s", path, cli.err);
	}
	assert_false(cli_has(&cli, "out/model"));
	cli_close(&cli);
}

static void
check_keys(const json_t *line, const char *const *keys)
{
	for (; *keys; keys++)
		if (!json_is_number(json_object_get(line, *keys)))
			fail_msg("a metrics line without the number '%s'", *keys);
}

/* Each line a document of its own, steps in order, one line a step as logging_steps = 1 asks. */
static void
test_run_folder_metrics_have_the_names_of_the_field(void **state)
{
	static const char *const of_training[] = {"step", "epoch", "loss", "grad_norm",
		"learning_rate", "num_tokens", "num_supervised_tokens", "tokens_per_second",
		"memory_mb", "time_s", NULL};
	static const char *const of_evaluation[] = {
		"step", "epoch", "eval_loss", "eval_perplexity", "eval_num_tokens", NULL};
	int n_training = 0, n_evaluation = 0;
	struct cli cli;
	char *lines;

	(void)state;
	cli_open(&cli, NULL);
	(void)cli_run(&cli, "train", "run.ini", "--set", "data.validation=train.jsonl", NULL);
	cli_expect(&cli, 0, NULL);
	lines = cli_read(&cli, "out/metrics.jsonl");
	assert_non_null(lines);
	for (char *line = lines, *end; (end = strchr(line, '\n')); line = end + 1) {
		json_t *root;

		*end = '\0';
		root = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
		assert_non_null(root);
		assert_string_equal(
			json_string_value(json_object_get(root, "schema")), "hone.metrics/1");
		if (json_object_get(root, "loss")) {
			check_keys(root, of_training);
			assert_int_equal(
				json_integer_value(json_object_get(root, "step")), ++n_training);
		} else {
			check_keys(root, of_evaluation);
			n_evaluation++;
		}
		json_decref(root);
	}
	assert_int_equal(n_training, 4);
	assert_int_equal(n_evaluation, 2); /* before the first step, and at the end */
	free(lines);
	cli_close(&cli);
}

static void
test_run_folder_same_command_again_says_finished(void **state)
{
	char *before, *after;
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	train(&cli, NULL);
	before = cli_read(&cli, "out/metrics.jsonl");
	train(&cli, NULL);
	cli_expect(&cli, 0, "finished", NULL);
	after = cli_read(&cli, "out/metrics.jsonl");
	assert_string_equal(before, after);
	free(before);
	free(after);
	cli_close(&cli);
}

/* A result that is gone and never made again; an export that takes the result's place. */
static void
test_run_folder_result_is_made_again_and_kept_from_exports(void **state)
{
	static const char name[] = "out/adapter/adapter_model.safetensors";
	struct hone_error err = {0};
	struct cli cli;
	char *folder;

	(void)state;
	cli_open(&cli, NULL);
	assert_int_equal(cli_run(&cli, "train", "run.ini", NULL), 0);
	(void)cli_run(&cli, "export", "run.ini", "--merge", "--to", "out/adapter", NULL);
	cli_expect(&cli, 2, "out/adapter", "--to another folder", NULL);
	assert_true(cli_has(&cli, name));
	folder = hn_path_join(cli.folder, "out/adapter");
	assert_int_equal(hn_dir_remove(folder, &err), HONE_OK);
	free(folder);
	(void)cli_run(&cli, "train", "run.ini", NULL);
	cli_expect(&cli, 0, "going on from", NULL);
	assert_true(cli_has(&cli, name));
	cli_close(&cli);
}

/* A result that is not one: what is exported of a stopped run into the place where its result
 * will be was taken for it, without a word about its step; and checkpoints are pruned. */
static void
test_run_folder_takes_no_export_before_its_result_is_there(void **state)
{
	static const char *const places[] = {"out/adapter", "out/model", "out/checkpoints/mine",
		"out/adapter/mine", "./out/../out/adapter/", "link/adapter", "out", ""};
	struct hone_error err = {0};
	struct cli cli;
	char *link, *folder;

	(void)state;
	cli_open(&cli, NULL);
	train(&cli, NULL);
	folder = hn_path_join(cli.folder, "out/adapter");
	assert_int_equal(hn_dir_remove(folder, &err), HONE_OK);
	free(folder);
	cli_write(&cli, "out/state.json",
		"{\"schema\": \"hone.run/1\", \"state\": \"running\", \"step\": 0}\n");
	link = hn_path_join(cli.folder, "link");
	assert_int_equal(symlink("out", link), 0);
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		(void)cli_run(&cli, "export", "run.ini", "--to", places[i], NULL);
		cli_expect(&cli, 2, "--to", NULL);
	}
	assert_false(cli_has(&cli, "out/adapter"));
	assert_false(cli_has(&cli, "out/checkpoints/mine"));
	(void)cli_run(&cli, "export", "run.ini", "--to", "out/mine", NULL);
	cli_expect(&cli, 0, "this run is not finished", NULL);
	free(link);
	cli_close(&cli);
}

/* A pipe waited for a reader that never comes; behind a link another file got our lines. */
static void
test_run_folder_appends_to_its_own_files_only(void **state)
{
	static const char *const names[] = {"metrics.jsonl", "log.txt"};
	struct cli cli;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		char *path, *text;

		cli_open(&cli, NULL);
		cli_write(&cli, "other", "mine\n");
		(void)cli_run(&cli, "train", "run.ini", "--set", "train.max_steps=2", NULL);
		path = hn_path_join(cli.folder, i ? "out/log.txt" : "out/metrics.jsonl");
		assert_int_equal(unlink(path), 0);
		assert_int_equal(mkfifo(path, 0600), 0);
		(void)cli_run(&cli, "train", "run.ini", "--set", "train.max_steps=2", NULL);
		cli_expect(&cli, 8, names[i], "is a pipe", NULL);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(symlink("../other", path), 0);
		(void)cli_run(&cli, "train", "run.ini", "--set", "train.max_steps=2", NULL);
		cli_expect(&cli, 8, names[i], "is a link", "remove it", NULL);
		text = cli_read(&cli, "other");
		assert_string_equal(text, "mine\n");
		free(text);
		free(path);
		cli_close(&cli);
	}
}

static void
test_run_folder_fresh_renames_the_old_one(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	train(&cli, NULL);
	train(&cli, "--fresh");
	train(&cli, "--fresh");
	assert_true(cli_has(&cli, "out/adapter/adapter_model.safetensors"));
	assert_true(cli_has(&cli, "out.1/adapter/adapter_model.safetensors"));
	assert_true(cli_has(&cli, "out.2/adapter/adapter_model.safetensors"));
	cli_close(&cli);
}

/* Starts a run that its data refuse. */
static void
refuse(struct cli *cli, const char *output, const char *flag)
{
	struct hn_str set = {0};

	hn_str_printf(&set, "run.output=%s", output);
	(void)cli_run(cli, "train", "run.ini", "--set", "data.train=bad.jsonl", "--set", set.text,
		flag, NULL);
	cli_expect(cli, 4, "bad.jsonl:1:", NULL);
	hn_str_fini(&set);
}

/* What a refused start made is gone, with the folders above it; what was there stays. */
static void
test_run_folder_of_a_refused_start_is_taken_back(void **state)
{
	struct cli cli;
	char *path;

	(void)state;
	cli_open(&cli, NULL);
	cli_write(&cli, "bad.jsonl", "not JSON\n");
	refuse(&cli, "out", NULL);
	assert_false(cli_has(&cli, "out"));
	refuse(&cli, "runs/of/mine", NULL);
	assert_false(cli_has(&cli, "runs"));
	path = hn_path_join(cli.folder, "there");
	assert_int_equal(mkdir(path, 0755), 0);
	free(path);
	refuse(&cli, "there", NULL);
	assert_true(cli_has(&cli, "there"));
	refuse(&cli, "there/is/one", NULL);
	assert_true(cli_has(&cli, "there"));
	assert_false(cli_has(&cli, "there/is"));
	train(&cli, NULL);
	cli_close(&cli);
}

/* --fresh moves an older run away only for one that begins. */
static void
test_run_folder_refused_fresh_start_leaves_the_older_run(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	cli_write(&cli, "bad.jsonl", "not JSON\n");
	train(&cli, NULL);
	refuse(&cli, "out", "--fresh");
	assert_non_null(strstr(cli.err, "the older run is "));
	assert_false(cli_has(&cli, "out.1"));
	train(&cli, NULL);
	cli_expect(&cli, 0, "is finished after step 4", NULL);
	cli_close(&cli);
}

/* Commands that answer with --json: one document on stdout, with the name of its schema. */
static void
test_run_folder_json_documents_name_their_schema(void **state)
{
	static const char *const model = HONE_TEST_DATA "/golden/models/tiny-llama";
	struct cli cli;
	json_t *root;

	(void)state;
	cli_open(&cli, NULL);
	(void)cli_run(&cli, "version", "--json", NULL);
	json_decref(cli_json(&cli, "hone.version/1"));
	(void)cli_run(&cli, "plugins", "--json", NULL);
	json_decref(cli_json(&cli, "hone.plugins/1"));
	(void)cli_run(&cli, "inspect", model, "--json", NULL);
	json_decref(cli_json(&cli, "hone.inspect/1"));
	(void)cli_run(&cli, "plan", "run.ini", "--json", NULL);
	root = cli_json(&cli, "hone.plan/1");
	assert_int_equal(json_integer_value(json_object_get(root, "steps")), 4);
	json_decref(root);
	train(&cli, NULL);
	(void)cli_run(&cli, "eval", "run.ini", "--split", "train", "--json", NULL);
	root = cli_json(&cli, "hone.eval/1");
	assert_string_equal(json_string_value(json_object_get(root, "split")), "train");
	assert_true(json_is_number(json_object_get(root, "loss")));
	assert_true(json_is_number(json_object_get(root, "perplexity")));
	assert_true(json_is_integer(json_object_get(root, "num_tokens")));
	json_decref(root);
	cli_close(&cli);
}

/* config.ini of the run is enough to run again: the same losses come out, digit by digit. */
static void
test_run_folder_kept_configuration_runs_again(void **state)
{
	char *config, *first, *second;
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	train(&cli, NULL);
	config = cli_read(&cli, "out/config.ini");
	assert_non_null(config);
	cli_write(&cli, "again.ini", config);
	(void)cli_run(&cli, "train", "again.ini", "--set", "run.output=other", NULL);
	cli_expect(&cli, 0, NULL);
	first = read_losses(&cli, "out/metrics.jsonl");
	second = read_losses(&cli, "other/metrics.jsonl");
	assert_string_equal(first, second);
	free(config);
	free(first);
	free(second);
	cli_close(&cli);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run_folder_of_a_refused_start_is_taken_back),
		cmocka_unit_test(test_run_folder_refused_fresh_start_leaves_the_older_run),
		cmocka_unit_test(test_run_folder_holds_what_the_contract_says),
		cmocka_unit_test(test_run_folder_metrics_have_the_names_of_the_field),
		cmocka_unit_test(test_run_folder_same_command_again_says_finished),
		cmocka_unit_test(test_run_folder_result_is_made_again_and_kept_from_exports),
		cmocka_unit_test(test_run_folder_takes_no_export_before_its_result_is_there),
		cmocka_unit_test(test_run_folder_appends_to_its_own_files_only),
		cmocka_unit_test(test_run_folder_fresh_renames_the_old_one),
		cmocka_unit_test(test_run_folder_json_documents_name_their_schema),
		cmocka_unit_test(test_run_folder_kept_configuration_runs_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
