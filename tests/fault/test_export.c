/*
 * test_export.c - adapters that are not what the run declares, and places that are taken.
 *
 * Would catch: an adapter that is read with another scale, technique or module than it was made
 * with; half of it set before the error is found; a result that replaces somebody's files.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench_adapter.h"
#include "support.h"
#include "train/export_parts.h"

#define FOLDER "golden/models/tiny-llama"

struct place {
	struct golden_text text;
	struct bench_adapter b;
	char *root, *dir; /* dir: an adapter that fits, freshly exported */
};

static void
setup(struct place *p)
{
	struct hone_error err = {0};

	memset(p, 0, sizeof *p);
	golden_text_open(&p->text);
	p->root = test_folder_make();
	p->dir = hn_path_join(p->root, "adapter");
	bench_adapter_open(&p->b, FOLDER, "reference", HONE_DTYPE_F32);
	p->b.values = (struct lora_values){.r = 4,
		.lora_alpha = 8,
		.target_modules = bench_sites(&p->b.bench, "q_proj, v_proj")};
	bench_adapter_lora(&p->b, NULL);
	bench_adapter_start(&p->b, &p->text);
	if (hn_export_adapter(&p->b.adapted, p->dir, NULL, &err))
		fail_msg("%s: %s", err.place, err.text);
}

static void
teardown(struct place *p)
{
	bench_adapter_close(&p->b);
	golden_text_close(&p->text);
	free(p->dir);
	test_folder_remove(p->root);
}

/* ---- adapter_config.json ---- */

/* Sets keys of the folder's configuration to what `text` (JSON) says. */
static void
edit_config(const struct place *p, const char *text)
{
	char *path = hn_path_join(p->dir, "adapter_config.json");
	json_t *config = json_load_file(path, 0, NULL), *change = json_loads(text, 0, NULL);

	assert_non_null(config);
	assert_non_null(change);
	assert_int_equal(json_object_update(config, change), 0);
	assert_int_equal(json_dump_file(config, path, 0), 0);
	json_decref(config);
	json_decref(change);
	free(path);
}

static const struct {
	const char *edit;
	enum hone_status status;
	const char *says; /* part of the message; NULL: it is taken */
} configs[] = {
	{"{}", HONE_OK, NULL},
	/* what only mattered in training, or in nothing */
	{"{\"lora_dropout\": 0.1, \"init_lora_weights\": \"gaussian\", \"peft_version\": \"9.9\","
	 "\"megatron_core\": \"megatron.core\", \"qalora_group_size\": 16, \"loftq_config\": {},"
	 "\"use_dora\": null, \"target_modules\": [\"model.layers.0.self_attn.q_proj\"]}",
		HONE_OK, NULL},
	/* the same ranks and alphas said in another way */
	{"{\"r\": 16, \"rank_pattern\": {\"[qv]_proj\": 4}}", HONE_OK, NULL},
	{"{\"r\": 8}", HONE_EMODEL, "r at model.layers.0.self_attn.q_proj is 8"},
	{"{\"lora_alpha\": 16}", HONE_EMODEL, "lora_alpha at"},
	{"{\"alpha_pattern\": {\"layers.2.self_attn.v_proj\": 9}}", HONE_EMODEL, "v_proj is 9"},
	{"{\"lora_alpha\": null}", HONE_EMODEL, "lora_alpha at"},
	{"{\"peft_type\": \"LOHA\"}", HONE_EMODEL, "peft_type is \"LOHA\""},
	{"{\"peft_type\": 3}", HONE_EMODEL, "no peft_type"},
	{"{\"use_rslora\": true}", HONE_EMODEL, "use_rslora is true"},
	{"{\"use_dora\": true}", HONE_EMODEL, "use_dora is true"},
	{"{\"bias\": \"all\"}", HONE_EMODEL, "bias is \"all\""},
	{"{\"modules_to_save\": [\"lm_head\"]}", HONE_EMODEL, "modules_to_save"},
	{"{\"use_qalora\": true}", HONE_EUNSUPPORTED, "use_qalora"},
	{"{\"layer_replication\": [[0, 2]]}", HONE_EUNSUPPORTED, "layer_replication"},
	{"{\"init_lora_weights\": \"pissa_niter_4\"}", HONE_EUNSUPPORTED, "changed base"},
};

static void
test_import_config_that_differs_names_key_and_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
		struct place p;
		struct hone_error err = {0};
		enum hone_status st;

		setup(&p);
		edit_config(&p, configs[i].edit);
		st = hn_import_adapter(&p.b.adapted, 0, p.dir, &err);
		if (st != configs[i].status ||
			(configs[i].says && !strstr(err.text, configs[i].says)))
			fail_msg("%s: %d %s", configs[i].edit, st, err.text);
		teardown(&p);
	}
}

/* ---- adapter_model.safetensors ---- */

enum tensor_change { RENAMED, PLAIN, MISSING, EXTRA, SHAPE, NOT_FINITE, HALF, TWICE, N_CHANGES };

static const char *const says[N_CHANGES] = {[MISSING] = "is missing",
	[EXTRA] = "is none that this run declares",
	[SHAPE] = "is [4, 64], but",
	[NOT_FINITE] = "lora_A.weight",
	[TWICE] = "with and without"};

/* Writes the folder's tensors again, with one thing changed. */
static void
rewrite(const struct place *p, enum tensor_change change)
{
	char *path = hn_path_join(p->dir, "adapter_model.safetensors");
	struct hn_tensor_file file = {0};
	struct hn_tensor_out out[32];
	char names[32][256];
	static float values[32][4096];
	static uint16_t half[32][4096];
	struct hone_error err = {0};
	size_t n = 0;

	assert_int_equal(hn_safetensors_open(&file, path, &err), HONE_OK);
	for (size_t i = 0; i < file.n_tensors; i++, n++) {
		const struct hn_tensor_info *t = &file.tensors[i];
		const char *dot = strrchr(t->name, '.');

		hn_tensor_decode_host(t, 0, t->n_elems, values[n]);
		(void)snprintf(names[n], sizeof names[n], "%s", t->name);
		if (change == RENAMED)
			(void)snprintf(names[n], sizeof names[n], "%.*s.default%s",
				(int)(dot - t->name), t->name, dot);
		for (int64_t k = 0; k < t->n_elems; k++)
			half[n][k] = hone_bf16_from_f32(values[n][k]);
		out[n] = (struct hn_tensor_out){.name = names[n],
			.storage = change == HALF ? "bf16" : "f32",
			.rank = t->rank,
			.dim = {t->dim[0], t->dim[1]},
			.bytes = change == HALF ? (void *)half[n] : (void *)values[n]};
	}
	hn_tensor_file_close(&file);
	n -= change == MISSING;
	if (change == SHAPE)
		out[0].dim[1] = 64;
	if (change == NOT_FINITE)
		values[0][7] = NAN;
	if (change == EXTRA || change == TWICE) {
		out[n] = out[0];
		out[n].name = change == EXTRA
			? "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
			: "base_model.model.model.layers.0.self_attn.q_proj.lora_A."
			  "default.weight";
		n++;
	}
	assert_int_equal(hn_safetensors_write(path, out, n, NULL, 0, &err), HONE_OK);
	free(path);
}

/* All values, to see that a refused adapter leaves them alone. */
static double
sum_of_values(const struct bench_adapter *b)
{
	double sum = 0.0;

	for (uint32_t i = 0; i < b->bench.params.n; i++) {
		const struct hn_param *param = &b->bench.params.list[i];
		float *values = malloc((size_t)param->n_elems * sizeof *values);
		struct hone_error err = {0};

		assert_false(
			hn_engine_get(&b->bench.engine, HN_MEMORY_PARAMS, param, values, &err));
		for (int64_t k = 0; k < param->n_elems; k++)
			sum += (double)(values[k] * (float)(k % 31 + 1));
		free(values);
	}
	return sum;
}

static void
test_import_tensors_that_differ_are_named_and_nothing_is_set(void **state)
{
	(void)state;
	for (int change = 0; change < N_CHANGES; change++) {
		struct place p;
		struct hone_error err = {0};
		double kept;
		enum hone_status st;

		setup(&p);
		rewrite(&p, (enum tensor_change)change);
		bench_adapter_fill(&p.b, 0.1);
		kept = sum_of_values(&p.b);
		st = hn_import_adapter(&p.b.adapted, 0, p.dir, &err);
		if (says[change] ? !st || !strstr(err.text, says[change]) : st != HONE_OK)
			fail_msg("change %d: %d %s", change, st, err.text);
		assert_true((sum_of_values(&p.b) == kept) == (st != HONE_OK));
		teardown(&p);
	}
}

static void
test_import_pickle_is_refused(void **state)
{
	struct place p;
	struct hone_error err = {0};
	char *from, *to;

	(void)state;
	setup(&p);
	from = hn_path_join(p.dir, "adapter_model.safetensors");
	to = hn_path_join(p.dir, "adapter_model.bin");
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(hn_import_adapter(&p.b.adapted, 0, p.dir, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "pickle"));
	free(from);
	free(to);
	teardown(&p);
}

/* ---- places ---- */

static void
test_export_place_that_is_not_ours_is_left_alone(void **state)
{
	struct place p;
	struct hone_error err = {0};
	char *mine, *file;
	char **names = NULL;
	size_t n = 0;

	(void)state;
	setup(&p);
	mine = hn_path_join(p.root, "thesis");
	file = hn_path_join(mine, "README.md");
	assert_int_equal(hn_dir_make(mine, &err), HONE_OK);
	assert_int_equal(hn_file_replace(file, "years of work\n", 14, &err), HONE_OK);
	assert_int_equal(hn_export_adapter(&p.b.adapted, mine, NULL, &err), HONE_EUSAGE);
	assert_int_equal(
		hn_export_model(&p.b.adapted, mine, HN_EXPORT_F32, NULL, NULL, &err), HONE_EUSAGE);
	assert_true(hn_path_is_file(file));
	assert_int_equal(hn_export_model(&p.b.adapted, p.b.bench.model.checkpoint.path,
				 HN_EXPORT_F32, NULL, NULL, &err),
		HONE_EUSAGE);
	assert_non_null(strstr(err.text, "the model itself"));
	/* An older export is replaced, and nothing temporary stays. */
	assert_int_equal(hn_export_adapter(&p.b.adapted, p.dir, NULL, &err), HONE_OK);
	assert_int_equal(hn_dir_list(p.root, &names, &n, &err), HONE_OK);
	assert_int_equal(n, 2);
	while (n)
		free(names[--n]);
	free(names);
	free(file);
	free(mine);
	teardown(&p);
}

static void
test_export_value_that_is_not_finite_leaves_nothing(void **state)
{
	struct place p;
	struct hone_error err = {0};
	const struct hn_param *param;
	float *values;
	char *model;

	(void)state;
	setup(&p);
	model = hn_path_join(p.root, "model");
	param = &p.b.bench.params.list[1];
	values = calloc((size_t)param->n_elems, sizeof *values);
	values[3] = INFINITY;
	assert_false(hn_engine_set(&p.b.bench.engine, HN_MEMORY_PARAMS, param, values, &err));
	assert_int_equal(hn_export_adapter(&p.b.adapted, p.dir, NULL, &err), HONE_ENOTFINITE);
	assert_int_equal(hn_export_model(&p.b.adapted, model, HN_EXPORT_F32, NULL, NULL, &err),
		HONE_ENOTFINITE);
	assert_false(hn_path_is_dir(model));
	/* the export of before is still whole */
	assert_int_equal(hn_import_adapter(&p.b.adapted, 0, p.dir, &err), HONE_OK);
	free(values);
	free(model);
	teardown(&p);
}

/* What the README.md of the folder says; the caller frees. */
static char *
card_of(const char *dir)
{
	char *path = hn_path_join(dir, "README.md"), *text = NULL;
	struct hone_error err = {0};
	size_t n;

	assert_int_equal(hn_file_read(path, 1 << 20, HONE_EIO, &text, &n, &err), HONE_OK);
	free(path);
	return text;
}

/* A plugin that names no peft_type. */
static enum hone_status
describe_rank(const void *self, struct hone_export *doc, struct hone_error *err)
{
	(void)self, (void)err;
	doc->vt->put_i64(doc, "rank", 4);
	return HONE_OK;
}

/* Would catch: a README.md that tells a third party's users to load with PEFT what PEFT cannot
 * load, or LoRA's users not to. */
static void
test_export_card_promises_peft_only_where_the_plugin_does(void **state)
{
	struct place p;
	struct hone_adapter_vt other;
	struct hone_error err = {0};
	char *text;

	(void)state;
	setup(&p);
	text = card_of(p.dir);
	assert_non_null(strstr(text, "library_name: peft\n"));
	assert_non_null(strstr(text, "PeftModel.from_pretrained"));
	free(text);

	other = *p.b.adapted.adapters[0].vt;
	for (int i = 0; i < 3; i++) { /* says something else; says nothing; cannot be merged */
		struct hn_adapter_ref ref = p.b.adapted.adapters[0];
		struct hn_adapted adapted = p.b.adapted;

		other.describe = i == 0 ? describe_rank : NULL;
		other.merge = i == 2 ? NULL : other.merge;
		ref.vt = &other;
		adapted.adapters = &ref;
		assert_int_equal(hn_export_adapter(&adapted, p.dir, NULL, &err), HONE_OK);
		text = card_of(p.dir);
		assert_null(strstr(text, "PeftModel"));
		assert_non_null(strstr(text, "library_name: hone\n"));
		assert_non_null(strstr(text, "PEFT does not know `lora`"));
		assert_non_null(strstr(text, "hone generate --model '/"));
		assert_int_equal(strstr(text, "--merge") != NULL, i < 2);
		free(text);
	}
	teardown(&p);
}

/* Several adapters: the first at the place, the others in folders of their names. */
static void
test_export_second_adapter_has_its_own_folder(void **state)
{
	struct golden_text text;
	struct bench_adapter b;
	struct lora_values other = {.r = 2, .lora_alpha = 4};
	struct hone_error err = {0};
	char *root = test_folder_make(), *dir = hn_path_join(root, "adapter");
	char *nested = hn_path_join(dir, "lora.second");

	(void)state;
	golden_text_open(&text);
	bench_adapter_open(&b, FOLDER, "reference", HONE_DTYPE_F32);
	b.values = (struct lora_values){
		.r = 4, .lora_alpha = 8, .target_modules = bench_sites(&b.bench, "q_proj")};
	bench_adapter_lora(&b, NULL);
	other.target_modules = bench_sites(&b.bench, "q_proj, up_proj");
	bench_adapter(&b.bench, "lora", "lora", "lora.second", &other);
	bench_adapter_start(&b, &text);
	bench_adapter_fill(&b, 0.1);
	if (hn_export_adapter(&b.adapted, dir, NULL, &err))
		fail_msg("%s: %s", err.place, err.text);
	assert_int_equal(hn_import_adapter(&b.adapted, 0, dir, &err), HONE_OK);
	assert_int_equal(hn_import_adapter(&b.adapted, 1, nested, &err), HONE_OK);
	assert_int_not_equal(hn_import_adapter(&b.adapted, 1, dir, &err), HONE_OK);
	bench_adapter_close(&b);
	golden_text_close(&text);
	free(nested);
	free(dir);
	test_folder_remove(root);
}

/* ---- a file that is another model ---- */

/* Would catch: a written model that nobody ran; the file of other values is a sound file. */
static void
test_export_model_that_computes_something_else_is_refused(void **state)
{
	static const enum hn_export_dtype types[] = {HN_EXPORT_F32, HN_EXPORT_BF16};
	static const int32_t dtypes[] = {HONE_DTYPE_F32, HONE_DTYPE_BF16};

	(void)state;
	for (int t = 0; t < 2; t++) {
		struct hone_error err = {0};
		struct hn_merger merger;
		struct hn_proof proof;
		struct hn_prover prover;
		struct place p;
		char *model;

		setup(&p);
		model = hn_path_join(p.root, "model");
		proof = golden_text_proof(&p.text);
		prover = (struct hn_prover){.merger = &merger, .proof = &proof};
		bench_adapter_fill(&p.b, 0.3);
		if (hn_export_model(&p.b.adapted, model, types[t], NULL, NULL, &err) ||
			hn_merger_open(&merger, &p.b.adapted, &err) ||
			hn_prover_check_merge(&prover, &err) ||
			hn_prover_check_file(&prover, model, dtypes[t], &err))
			fail_msg("%s: %s", err.place, err.text);
		bench_adapter_fill(&p.b, 0.0);
		assert_int_equal(hn_prover_check_merge(&prover, &err), HONE_OK);
		assert_int_equal(hn_prover_check_file(&prover, model, dtypes[t], &err), HONE_EIO);
		assert_non_null(strstr(err.text, "does not compute what was meant"));
		hn_prover_fini(&prover);
		hn_merger_close(&merger);
		free(model);
		teardown(&p);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_import_config_that_differs_names_key_and_values),
		cmocka_unit_test(test_import_tensors_that_differ_are_named_and_nothing_is_set),
		cmocka_unit_test(test_import_pickle_is_refused),
		cmocka_unit_test(test_export_place_that_is_not_ours_is_left_alone),
		cmocka_unit_test(test_export_value_that_is_not_finite_leaves_nothing),
		cmocka_unit_test(test_export_card_promises_peft_only_where_the_plugin_does),
		cmocka_unit_test(test_export_second_adapter_has_its_own_folder),
		cmocka_unit_test(test_export_model_that_computes_something_else_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
