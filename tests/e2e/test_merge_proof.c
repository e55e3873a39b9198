/*
 * test_merge_proof.c - `hone export --merge` with adapters whose merge is right, and wrong.
 *
 * Would catch: a merge that forgets a factor, transposes, scales the other axis or does nothing,
 * written as a sound file of a wrong model; a right merge that is refused because of rounding;
 * a shape fault in a plugin's hook that is told as the user's, without the plugin's name.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/arena.h"
#include "cli.h"
#include "probe.h"
#include "support.h"

#define GATED "tests/abi/plugins/gated.c"

/* A working folder with p/gated.so, and a run of it. */
static void
open_place(struct cli *cli, const char *source, const char *name, const char *flag)
{
	char *path, so[64];

	cli_open(cli, NULL);
	cli_patch(cli, "run.ini", "adapter   = lora", "adapter   = gated");
	cli_patch(cli, "run.ini", "[lora]\nr = 2\n", "");
	cli_patch(cli, "run.ini", "= 1e-3", "= 1e-2");
	cli_patch(cli, "run.ini", "num_train_epochs = 1", "num_train_epochs = 3");
	path = hn_path_join(cli->folder, "p");
	assert_int_equal(mkdir(path, 0755), 0);
	free(path);
	(void)snprintf(so, sizeof so, "p/%s.so", name);
	path = hn_path_join(cli->folder, so);
	plugin_compile(source, path, flag);
	free(path);
}

static void
train(struct cli *cli, const char *set)
{
	(void)cli_run(cli, "train", "run.ini", "--fresh", "--plugin-dir", "p", "--set", set, NULL);
	cli_expect(cli, 0, NULL);
}

/* The proof of `hone export --merge --json` with this type; json_decref the whole. */
static json_t *
export_json(struct cli *cli, const char *set, const char *dtype, json_t **proof)
{
	json_t *root;

	(void)cli_run(cli, "export", "run.ini", "--merge", "--to", "merged", "--json",
		"--plugin-dir", "p", "--set", set, "--dtype", dtype, NULL);
	cli_expect(cli, 0, NULL);
	root = cli_json(cli, "hone.export/1");
	*proof = json_object_get(root, "proof");
	assert_non_null(*proof);
	return root;
}

static double
number(const json_t *proof, const char *key)
{
	return json_number_value(json_object_get(proof, key));
}

/* ---- right ones ---- */

/* A limit that is too narrow would refuse some machine's right merge: an eighth of it is taken. */
static void
assert_far_from_limit(const json_t *proof, const char *what)
{
	const double merge = number(proof, "merge_difference");
	const double model = number(proof, "model_difference");

	print_message("%-28s merge %.1e of %.1e, model %.1e of %.1e\n", what, merge,
		number(proof, "merge_limit"), model, number(proof, "model_limit"));
	assert_true(merge <= number(proof, "merge_limit") / 8.0);
	assert_true(model <= number(proof, "model_limit") / 4.0);
}

/* sdk/template/adapter.c as its reader would begin: one factor per input. */
static void
make_template(const struct cli *cli)
{
	char *source = hn_path_join(cli->folder, "my.c");
	char *so = hn_path_join(cli->folder, "p/my_adapter.so"), *text = NULL;
	size_t n = 0;

	assert_int_equal(hn_file_read(HONE_SOURCE_DIR "/sdk/template/adapter.c", 1 << 16, HONE_EIO,
				 &text, &n, NULL),
		HONE_OK);
	cli_write(cli, "my.c", text);
	cli_patch(cli, "my.c", "	(void)params;\n	(void)err;\n", "");
	cli_patch(cli, "my.c", "		return HONE_OK;\n	return HONE_OK;\n",
		"		return HONE_OK;\n"
		"	struct hone_param_spec v = hone_param_spec_make(\"v\", site->in_features, "
		"0);\n"
		"	v.axis[0] = HONE_AXIS_SITE_IN;\n"
		"	v.init = HONE_INIT_ONE;\n"
		"	v.export_name = \"%s.my_v\";\n"
		"	return hone_params_declare(params, site, 1, &v, err);\n");
	cli_patch(cli, "my.c",
		"	(void)io;\n	if (!applies(my, site))\n		return HONE_OK;\n",
		"	if (!applies(my, site))\n		return HONE_OK;\n"
		"	hone_node x = hone_scale_cols(at->graph, io->x, hone_param(at, site, "
		"\"v\"));\n"
		"	io->y = at->vt->product(at, site, x);\n");
	cli_patch(cli, "my.c", "	(void)self;\n	(void)site;\n	(void)io;\n",
		"	if (applies(self, site))\n"
		"		io->weight = hone_scale_cols(\n"
		"			at->graph, io->weight, hone_param(at, site, \"v\"));\n");
	plugin_compile(source, so, NULL);
	free(text);
	free(so);
	free(source);
}

static void
test_merge_proof_right_merges_are_written(void **state)
{
	static const char *const chains[] = {"run.adapter=gated", "run.adapter=lora",
		"run.adapter=lora, gated", "run.adapter=gated, lora, lora.last",
		"run.adapter=my_adapter"};
	static const char *const types[] = {"f32", "bf16"};
	struct cli cli;

	(void)state;
	open_place(&cli, GATED, "gated", NULL);
	make_template(&cli);
	for (size_t i = 0; i < sizeof chains / sizeof chains[0]; i++) {
		train(&cli, chains[i]);
		for (size_t t = 0; t < 2; t++) {
			json_t *proof, *root = export_json(&cli, chains[i], types[t], &proof);

			assert_string_equal(
				json_string_value(json_object_get(proof, "from")), "train");
			assert_true(number(proof, "tokens") > 32);
			assert_far_from_limit(proof, chains[i]);
			if (t == 1) /* rounding was seen */
				assert_true(number(proof, "model_difference") >
					16 * number(proof, "merge_difference"));
			json_decref(root);
		}
	}
	cli_close(&cli);
}

/* A result is exported where its data is gone, and is proven all the same. */
static void
test_merge_proof_without_data_takes_made_up_tokens(void **state)
{
	struct cli cli;
	json_t *root, *proof;

	(void)state;
	open_place(&cli, GATED, "gated", NULL);
	train(&cli, "run.seed=1");
	cli_remove(&cli, "train.jsonl");
	root = export_json(&cli, "run.seed=1", "f32", &proof);
	cli_expect(&cli, 0, "train.jsonl", "by chance", NULL);
	assert_string_equal(json_string_value(json_object_get(proof, "from")), "made-up");
	assert_far_from_limit(proof, "made-up tokens");
	json_decref(root);
	cli_close(&cli);
}

/* ---- wrong ones ---- */

/* Nothing stands beside the run but what stood there. */
static void
assert_nothing_left(const struct cli *cli)
{
	char **names = NULL;
	size_t n = 0;

	assert_int_equal(hn_dir_list(cli->folder, &names, &n, NULL), HONE_OK);
	for (size_t i = 0; i < n; i++) {
		if (strstr(names[i], "merged"))
			fail_msg("%s was left", names[i]);
		free(names[i]);
	}
	free(names);
}

static void
test_merge_proof_wrong_merge_is_refused(void **state)
{
	static const char *const faults[] = {"-DGATED_MERGE_SCALE", "-DGATED_MERGE_TRANSPOSED",
		"-DGATED_MERGE_AXIS", "-DGATED_MERGE_NOTHING"};
	static const char *const chains[] = {
		"run.adapter=gated", "run.adapter=lora, gated", "run.adapter=gated, lora"};

	(void)state;
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		const char *chain = chains[i % 3];
		struct cli cli;

		open_place(&cli, GATED, "gated", faults[i]);
		train(&cli, chain);
		for (int t = 0; t < 2; t++) {
			(void)cli_run(&cli, "export", "run.ini", "--merge", "--to", "merged",
				"--plugin-dir", "p", "--set", chain, "--dtype", t ? "bf16" : "f32",
				NULL);
			cli_expect(&cli, 6, "[gated]: what its merge() makes", "train data", NULL);
			assert_nothing_left(&cli);
		}
		cli_close(&cli);
	}
}

/* A whole model at the end of training holds what the adapter beside it merged. */
static void
test_merge_proof_wrong_merge_beside_trained_weights_is_refused(void **state)
{
	static const char *const flags[] = {NULL, "-DGATED_MERGE_SCALE"};
	struct cli cli;

	(void)state;
	for (int i = 0; i < 2; i++) {
		open_place(&cli, GATED, "gated", flags[i]);
		(void)cli_run(&cli, "train", "run.ini", "--plugin-dir", "p", "--set",
			"run.adapter=layerwise, gated", "--set", "layerwise.layers=0", NULL);
		if (i)
			cli_expect(&cli, 6, "[gated]: what its merge() makes", NULL);
		else
			cli_expect(&cli, 0, NULL);
		assert_int_equal(cli_has(&cli, "out/model"), !i);
		cli_close(&cli);
	}
}

/* ---- shapes ---- */

static const struct {
	const char *flag, *command, *says[3];
} shapes[] = {
	{"-DGATED_PRODUCT", "check",
		{"[gated] output(): matmul(", "2 columns of the second", "hone_matmul_nn"}},
	{"-DGATED_VECTOR", "check",
		{"[gated] output(): binary(", "hone_scale_cols", "hone_scale_rows"}},
	{"-DGATED_Y", "check", {"[gated] output(): y comes back as", "[text,2]", "[text,32]"}},
	{"-DGATED_NOTHING", "check",
		{"[gated] output(): y comes back as no node", "[text,32]", "y"}},
	{"-DGATED_BIAS", "check", {"[gated] output(): bias comes back as", "[2,32]", "32 outputs"}},
	{"-DGATED_MERGE_SHAPE", "export",
		{"[gated] merge(): weight comes back as", "[32,1]", "[32,32]"}},
};

static void
test_merge_proof_wrong_shape_names_plugin_site_and_op(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
		struct cli cli;

		open_place(&cli, GATED, "gated", shapes[i].flag);
		if (strcmp(shapes[i].command, "export") == 0) {
			train(&cli, "run.seed=1");
			(void)cli_run(&cli, "export", "run.ini", "--merge", "--to", "merged",
				"--plugin-dir", "p", "--set", "run.seed=1", NULL);
		} else {
			(void)cli_run(&cli, "check", "run.ini", "--plugin-dir", "p", NULL);
		}
		cli_expect(&cli, 6, "model.layers.0.self_attn.q_proj", shapes[i].says[0],
			shapes[i].says[1], shapes[i].says[2], NULL);
		cli_close(&cli);
	}
}

/* ---- a technique that PEFT does not have ---- */

/* What the program says, which the caller frees. */
static char *
generate(struct cli *cli, const char *a, const char *b, const char *c, const char *d)
{
	(void)cli_run(cli, "generate", "--raw", "--prompt", "3 and 3 make", "--plugin-dir", "p",
		"--max-new-tokens", "6", a, b, c, d, NULL);
	cli_expect(cli, 0, NULL);
	return hn_strdup(cli->out);
}

/* Would catch: a peft_type that PEFT does not know; a folder that hone itself cannot read. */
static void
test_merge_proof_adapter_unknown_to_peft_is_described_as_hones(void **state)
{
	struct cli cli;
	char *text, *of_run, *of_folder, *base;
	json_t *config;

	(void)state;
	open_place(&cli, GATED, "gated", NULL);
	train(&cli, "gated.r=3");
	text = cli_read(&cli, "out/adapter/adapter_config.json");
	config = json_loads(text, 0, NULL);
	assert_non_null(config);
	assert_null(json_object_get(config, "peft_type"));
	assert_null(json_object_get(config, "task_type"));
	assert_string_equal(json_string_value(json_object_get(config, "hone_adapter")), "gated");
	assert_int_equal(json_integer_value(json_object_get(config, "r")), 3);
	json_decref(config);
	free(text);
	of_run = generate(&cli, "run.ini", "--set", "gated.r=3", NULL);
	of_folder = generate(&cli, "--model", HONE_TEST_DATA "/golden/models/tiny-llama",
		"--adapter", "out/adapter");
	assert_string_equal(of_run, of_folder);
	base = generate(&cli, "--model", HONE_TEST_DATA "/golden/models/tiny-llama", NULL, NULL);
	assert_string_not_equal(of_folder, base); /* the adapter does something */
	free(base);
	free(of_run);
	free(of_folder);
	cli_close(&cli);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merge_proof_right_merges_are_written),
		cmocka_unit_test(test_merge_proof_without_data_takes_made_up_tokens),
		cmocka_unit_test(test_merge_proof_wrong_merge_is_refused),
		cmocka_unit_test(test_merge_proof_wrong_merge_beside_trained_weights_is_refused),
		cmocka_unit_test(test_merge_proof_wrong_shape_names_plugin_site_and_op),
		cmocka_unit_test(test_merge_proof_adapter_unknown_to_peft_is_described_as_hones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
