/*
 * test_terms.c - what is said of a loss that is not the mean negative log-likelihood.
 *
 * Would catch: exp(loss) called a perplexity whatever the loss is, in eval and in metrics.jsonl;
 * a term of another version's size that is read as if it were ours.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "cli.h"
#include "probe.h"
#include "support.h"

/* A working folder with p/terms.so, and a run of it that evaluates. */
static void
open_place(struct cli *cli, const char *flag)
{
	char *path;

	cli_open(cli, NULL);
	cli_patch(cli, "run.ini", "objective = sft", "objective = terms");
	cli_patch(cli, "run.ini", "[data]\n", "[data]\nvalidation = train.jsonl\n");
	path = hn_path_join(cli->folder, "p");
	assert_int_equal(mkdir(path, 0755), 0);
	free(path);
	path = hn_path_join(cli->folder, "p/terms.so");
	plugin_compile("tests/abi/plugins/terms.c", path, flag);
	free(path);
}

static void
train(struct cli *cli)
{
	(void)cli_run(cli, "train", "run.ini", "--plugin-dir", "p", NULL);
	cli_expect(cli, 0, NULL);
}

/* The answer of hone eval; json_decref it. */
static json_t *
eval(struct cli *cli)
{
	(void)cli_run(
		cli, "eval", "run.ini", "--split", "train", "--json", "--plugin-dir", "p", NULL);
	cli_expect(cli, 0, NULL);
	return cli_json(cli, "hone.eval/1");
}

static void
test_terms_perplexity_is_of_the_likelihood_term(void **state)
{
	double loss, nll, perplexity;
	struct cli cli;
	json_t *root;

	(void)state;
	open_place(&cli, NULL);
	train(&cli);
	root = eval(&cli);
	loss = json_number_value(json_object_get(root, "loss"));
	nll = json_number_value(json_object_get(root, "mean_nll"));
	perplexity = json_number_value(json_object_get(root, "perplexity"));
	print_message("loss %.6f, nll %.6f, perplexity %.6f\n", loss, nll, perplexity);
	assert_true(fabs(loss - nll) > 0.1);
	assert_true(fabs(log(perplexity) - nll) < 1e-9);
	json_decref(root);
	cli_close(&cli);
}

static void
test_terms_loss_without_likelihood_has_no_perplexity(void **state)
{
	struct cli cli;
	json_t *root;
	char *text;

	(void)state;
	open_place(&cli, "-DTERMS_OTHER");
	train(&cli);
	assert_null(strstr(cli.err, "perplexity"));
	root = eval(&cli);
	assert_true(json_is_number(json_object_get(root, "loss")));
	assert_null(json_object_get(root, "perplexity"));
	json_decref(root);
	text = cli_read(&cli, "out/metrics.jsonl");
	assert_non_null(strstr(text, "\"eval_loss\""));
	assert_null(strstr(text, "perplexity"));
	free(text);
	(void)cli_run(&cli, "eval", "run.ini", "--split", "train", "--plugin-dir", "p", NULL);
	cli_expect(&cli, 0, NULL);
	assert_non_null(strstr(cli.out, "num_tokens"));
	assert_null(strstr(cli.out, "perplexity"));
	(void)cli_run(&cli, "train", "run.ini", "--fresh", "--plugin-dir", "p", "--set",
		"checkpoint.metric_for_best_model=perplexity", "--set",
		"checkpoint.load_best_model_at_end=yes", NULL);
	cli_expect(&cli, 3, "metric_for_best_model = perplexity is no metric", "(loss, mean_nll)",
		NULL);
	cli_close(&cli);
}

static void
test_terms_term_without_size_is_refused(void **state)
{
	struct cli cli;

	(void)state;
	open_place(&cli, "-DTERMS_NO_SIZE");
	(void)cli_run(&cli, "check", "run.ini", "--plugin-dir", "p", NULL);
	cli_expect(&cli, 6, "[terms] build()", "struct_size is 0", NULL);
	cli_close(&cli);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_terms_perplexity_is_of_the_likelihood_term),
		cmocka_unit_test(test_terms_loss_without_likelihood_has_no_perplexity),
		cmocka_unit_test(test_terms_term_without_size_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
