/*
 * test_peft.c - adapters and merged models against PEFT.
 *
 * Would catch: an adapter applied to other modules than PEFT does, or with another scale; rows
 * of q and k in the wrong order between a folder and a GGUF base; an export that is not what
 * was trained; a merge that differs from the adapter it came from.  C7 and C9 (the scale) of the
 * catalogue of silent bugs.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_adapter.h"
#include "data/vocabulary.h"
#include "support.h"

#define FOLDER    "golden/models/tiny-llama"
#define UNTIED    "golden/models/tiny-llama-untied"
#define GGUF      "golden/gguf/tiny-llama-f32.gguf"
#define START     "golden/adapters/start"
#define PATTERNED "golden/peft/patterned"

/* f64: transformers' rotary frequencies are float32 (see test_logits.c).  f32: the issue's. */
#define F64_TOLERANCE    1e-5
#define F32_TOLERANCE    2e-4
#define MERGED_TOLERANCE 1e-5

static const struct {
	const char *model, *adapter, *golden;
} cases[] = {
	{FOLDER, START, "start"},
	{GGUF, START, "start"},
	{UNTIED, PATTERNED, "patterned"},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

/* Opens the model with the adapter of a folder and its values. */
static void
open_case(struct bench_adapter *b, size_t i, const char *backend, int32_t compute,
	const struct golden_text *text)
{
	char *folder = test_data_path(cases[i].adapter);

	bench_adapter_open(b, cases[i].model, backend, compute);
	bench_adapter_from(b, folder);
	bench_adapter_start(b, text);
	free(folder);
}

static double
distance_from_golden(const struct golden_text *text, const char *which, const double *logits)
{
	char name[64];
	const double *golden;
	double worst = 0.0;

	(void)snprintf(name, sizeof name, "%s.logits_f64", which);
	golden = (const void *)need_tensor(&text->file, name)->bytes;
	for (int64_t r = 0; r < text->n_rows; r++)
		worst = fmax(worst,
			greatest_distance(logits + text->rows[r] * 263, golden + r * 263, 263));
	return worst;
}

static void
test_peft_imported_adapter_gives_peft_logits(void **state)
{
	static const struct {
		const char *backend;
		int32_t compute;
		double tolerance;
	} ways[] = {{"reference", HONE_DTYPE_F64, F64_TOLERANCE},
		{"reference", HONE_DTYPE_F32, F32_TOLERANCE},
		{"cpu", HONE_DTYPE_F32, F32_TOLERANCE}};
	struct golden_text text;

	(void)state;
	golden_text_open(&text);
	for (size_t i = 0; i < N_CASES * 3; i++) {
		struct bench_adapter b;
		double *logits, d;

		open_case(&b, i / 3, ways[i % 3].backend, ways[i % 3].compute, &text);
		logits = bench_adapter_logits(&b, &text);
		d = distance_from_golden(&text, cases[i / 3].golden, logits);
		print_message("%-32s %-9s %s %.2e\n", cases[i / 3].model, ways[i % 3].backend,
			hone_dtype_name(ways[i % 3].compute), d);
		assert_true(d <= ways[i % 3].tolerance);
		free(logits);
		bench_adapter_close(&b);
	}
	golden_text_close(&text);
}

/* ---- exported again ---- */

/* Every tensor of `a` is in `b` with the same bytes, and nothing more is. */
static void
assert_same_tensors(const struct hn_tensor_file *a, const struct hn_tensor_file *b)
{
	assert_int_equal(a->n_tensors, b->n_tensors);
	for (size_t i = 0; i < a->n_tensors; i++) {
		const struct hn_tensor_info *x = &a->tensors[i];
		const struct hn_tensor_info *y = need_tensor(b, x->name);

		assert_string_equal(x->storage, y->storage);
		assert_int_equal(x->n_bytes, y->n_bytes);
		if (memcmp(x->bytes, y->bytes, x->n_bytes) != 0)
			fail_msg("%s differs", x->name);
	}
}

static void
test_peft_exported_adapter_is_the_imported_one(void **state)
{
	struct golden_text text;
	const struct hn_card card = {.objective = "sft", .loss = 1.25, .steps = 50};

	(void)state;
	golden_text_open(&text);
	for (size_t i = 0; i < N_CASES; i++) {
		char *from = test_data_path(cases[i].adapter), *root = test_folder_make();
		char *dir = hn_path_join(root, "adapter");
		struct hn_tensor_file a, c;
		struct bench_adapter b, again;
		struct hone_error err = {0};

		open_case(&b, i, "reference", HONE_DTYPE_F32, &text);
		if (hn_export_adapter(&b.adapted, dir, &card, &err))
			fail_msg("%s: %s", err.place, err.text);
		golden_open_in(&a, from, "adapter_model.safetensors");
		golden_open_in(&c, dir, "adapter_model.safetensors");
		assert_same_tensors(&a, &c);
		/* The written configuration declares the same again, so its import succeeds. */
		bench_adapter_open(&again, cases[i].model, "reference", HONE_DTYPE_F32);
		bench_adapter_from(&again, dir);
		assert_int_equal(again.bench.params.n, b.bench.params.n);
		bench_adapter_start(&again, &text);
		assert_int_equal(hn_import_adapter(&again.adapted, 0, from, &err), HONE_OK);
		bench_adapter_close(&again);
		bench_adapter_close(&b);
		hn_tensor_file_close(&a);
		hn_tensor_file_close(&c);
		free(dir);
		free(from);
		test_folder_remove(root);
	}
	golden_text_close(&text);
}

/* ---- merged ---- */

/* Golden merged weights against the folder's; returns how many there were. */
static size_t
compare_merged(const char *which, const char *dir, double *worst)
{
	struct hn_tensor_file golden, merged;
	char *path = test_data_path("golden/peft");
	size_t n = 0;

	golden_open_in(&golden, path, "merged.safetensors");
	golden_open_in(&merged, dir, "model.safetensors");
	for (size_t i = 0; i < golden.n_tensors; i++) {
		const struct hn_tensor_info *want = &golden.tensors[i], *is;
		const size_t k = strlen(which);

		if (!hn_starts_with(want->name, which) || want->name[k] != '.')
			continue;
		is = need_tensor(&merged, want->name + k + 1);
		assert_int_equal(is->n_elems, want->n_elems);
		n++;
		for (int64_t e = 0; e < is->n_elems; e++) {
			float x, y;

			hn_tensor_decode_host(want, e, 1, &x);
			hn_tensor_decode_host(is, e, 1, &y);
			*worst = fmax(*worst, (double)fabsf(x - y));
		}
	}
	hn_tensor_file_close(&golden);
	hn_tensor_file_close(&merged);
	free(path);
	return n;
}

static void
test_peft_merged_model_equals_peft(void **state)
{
	struct golden_text text;

	(void)state;
	golden_text_open(&text);
	for (size_t i = 0; i < N_CASES; i++) {
		char *root = test_folder_make(), *dir = hn_path_join(root, "model");
		struct hn_proof proof = golden_text_proof(&text);
		struct bench_adapter b, whole;
		double *before, *after, worst = 0.0, d, g;
		struct hone_error err = {0};

		open_case(&b, i, "reference", HONE_DTYPE_F64, &text);
		before = bench_adapter_logits(&b, &text);
		if (hn_export_model(&b.adapted, dir, HN_EXPORT_F32, NULL, &proof, &err))
			fail_msg("%s: %s", err.place, err.text);
		assert_true(proof.is_done && proof.merge <= 0.1 * proof.merge_limit);
		assert_true(compare_merged(cases[i].golden, dir, &worst) > 0);
		bench_adapter_open(&whole, dir, "reference", HONE_DTYPE_F64);
		bench_adapter_start(&whole, &text);
		after = bench_adapter_logits(&whole, &text);
		d = greatest_distance(before, after, text.n * 263);
		g = distance_from_golden(&text, cases[i].golden, after);
		print_message("%-32s weights %.1e, logits: from adapter %.1e, from PEFT %.1e\n",
			cases[i].model, worst, d, g);
		assert_true(worst <= 1e-6 && d <= MERGED_TOLERANCE && g <= F64_TOLERANCE);
		free(before);
		free(after);
		bench_adapter_close(&whole);
		bench_adapter_close(&b);
		free(dir);
		test_folder_remove(root);
	}
	golden_text_close(&text);
}

/* A GGUF file without adapter becomes the folder that it was made of, bit for bit. */
static void
test_peft_gguf_becomes_its_folder(void **state)
{
	char *root = test_folder_make(), *dir = hn_path_join(root, "model");
	char *origin = test_data_path(FOLDER);
	struct golden_text text;
	struct bench_adapter b;
	struct hn_tensor_file a, c;
	struct hone_error err = {0};

	(void)state;
	golden_text_open(&text);
	bench_adapter_open(&b, GGUF, "reference", HONE_DTYPE_F32);
	bench_adapter_start(&b, &text);
	if (hn_export_model(&b.adapted, dir, HN_EXPORT_AS_STORED, NULL, NULL, &err))
		fail_msg("%s: %s", err.place, err.text);
	golden_open_in(&a, origin, "model.safetensors");
	golden_open_in(&c, dir, "model.safetensors");
	assert_same_tensors(&a, &c);
	hn_tensor_file_close(&a);
	hn_tensor_file_close(&c);
	bench_adapter_close(&b);
	golden_text_close(&text);
	free(dir);
	free(origin);
	test_folder_remove(root);
}

/* ---- target_modules and patterns ---- */

/* What PEFT takes and an INI refuses; each with its reason. */
static const char *const not_offered[] = {
	"none_given",             /* PEFT has a table of models; here modules are named */
	"all_linear_excluding",   /* PEFT writes the names it found, never this, to disk */
	"half_of_one_name",       /* PEFT passes over a name that fits nothing; here an error */
	"one_unknown_name",       /* likewise */
	"rank_pattern_half_name", /* likewise */
	"embedding",              /* LoRA of embeddings */
};

static bool
is_not_offered(const char *name)
{
	for (size_t i = 0; i < sizeof not_offered / sizeof not_offered[0]; i++)
		if (hn_streq(name, not_offered[i]))
			return true;
	return false;
}

static void
write_config(const char *folder, json_t *config)
{
	char *path = hn_path_join(folder, "adapter_config.json");

	(void)json_object_set_new(config, "peft_type", json_string("LORA"));
	assert_int_equal(json_dump_file(config, path, 0), 0);
	free(path);
}

static double
scaling_at(const struct lora_values *v, const struct hone_site *site, double r)
{
	const double alpha = hone_site_map_get(v->alpha_pattern, site, v->lora_alpha);

	return alpha / (v->use_rslora ? sqrt(r) : r);
}

/* The instance's modules are those of the list, with their rank and scale. */
static void
compare_modules(const char *name, const struct bench_adapter *b, const json_t *modules)
{
	const size_t n = json_array_size(modules);

	if (b->bench.params.n != 2 * n)
		fail_msg("%s: %u modules, PEFT has %zu", name, b->bench.params.n / 2, n);
	for (size_t i = 0; i < n; i++) {
		const json_t *module = json_array_get(modules, i);
		const char *path = json_string_value(json_object_get(module, "module"));
		const double r = json_number_value(json_object_get(module, "r"));
		const double scaling = json_number_value(json_object_get(module, "scaling"));
		const struct hn_site *site = hn_model_site(&b->bench.model, path);
		const struct hn_param *a = site
			? hn_params_find(&b->bench.params, "lora", &site->pub, "lora_A")
			: NULL;

		if (!a)
			fail_msg("%s: %s is not adapted", name, path);
		if ((double)a->spec.dim[0] != r ||
			fabs(scaling_at(&b->values, &site->pub, r) - scaling) > 1e-12 * scaling)
			fail_msg("%s: %s has rank %d, PEFT %g", name, path, (int)a->spec.dim[0], r);
	}
}

/* Reads and declares; false when either is refused. */
static bool
declares(struct bench_adapter *b, const char *folder, struct hone_error *err)
{
	const struct hone_factory *lora = bench_factory("lora", HONE_ROLE_ADAPTER, "lora");

	if (bench_read_values(b, folder, err))
		return false;
	return !hn_params_collect(
		&b->bench.params, &b->bench.model, "lora", 0, lora, &b->values, err);
}

static void
test_peft_modules_are_those_of_peft(void **state)
{
	char *path = test_data_path("golden/peft/sites.json");
	json_t *list = json_load_file(path, 0, NULL);
	size_t n_same = 0, n_refused = 0;

	(void)state;
	assert_non_null(list);
	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *item = json_array_get(list, i), *config = json_object_get(item, "config");
		const char *name = json_string_value(json_object_get(item, "name"));
		const json_t *modules = json_object_get(item, "modules");
		char *folder = test_folder_make();
		struct bench_adapter b;
		struct hone_error err = {0};

		write_config(folder, config);
		bench_adapter_open(&b, UNTIED, "reference", HONE_DTYPE_F32);
		if (declares(&b, folder, &err)) {
			if (!modules || is_not_offered(name))
				fail_msg("%s is taken, PEFT refuses it", name);
			compare_modules(name, &b, modules);
			n_same++;
		} else {
			if (modules && !is_not_offered(name))
				fail_msg("%s: %s", name, err.text);
			assert_true(err.text[0]);
			n_refused++;
		}
		bench_adapter_close(&b);
		test_folder_remove(folder);
	}
	print_message("%zu as PEFT, %zu refused\n", n_same, n_refused);
	json_decref(list);
	free(path);
}

/* ---- for etc/golden/load_exports.py ---- */

static json_t *
numbers(const double *values, int64_t n)
{
	json_t *list = json_array();

	for (int64_t i = 0; i < n; i++)
		(void)json_array_append_new(list, json_real(values[i]));
	return list;
}

static json_t *
integers(const int32_t *values, int64_t n)
{
	json_t *list = json_array();

	for (int64_t i = 0; i < n; i++)
		(void)json_array_append_new(list, json_integer(values[i]));
	return list;
}

/* Exports one case in every form and describes it: where, and our logits of its rows. */
static json_t *
keep_case(size_t i, const struct golden_text *text, const char *root)
{
	static const char *const bases[] = {FOLDER, FOLDER, UNTIED};
	json_t *item = json_object(), *rows = json_array();
	char name[32], *dir, *base = test_data_path(bases[i]);
	struct hn_tokenizer *tokenizer = NULL;
	struct hn_proof proof = golden_text_proof(text);
	struct bench_adapter b;
	struct hone_error err = {0};
	double *logits;

	open_case(&b, i, "cpu", HONE_DTYPE_F32, text);
	logits = bench_adapter_logits(&b, text);
	if (hn_vocabulary_open(&tokenizer, &b.bench.model, &err))
		fail_msg("%s", err.text);
	b.adapted.tokenizer = tokenizer;
	for (int form = 0; form < 3; form++) {
		static const char *const forms[] = {"adapter", "model", "bf16"};

		(void)snprintf(name, sizeof name, "%zu-%s", i, forms[form]);
		dir = hn_path_join(root, name);
		if (form ? hn_export_model(&b.adapted, dir,
				   form == 1 ? HN_EXPORT_F32 : HN_EXPORT_BF16, NULL, &proof, &err)
			 : hn_export_adapter(&b.adapted, dir, NULL, &err))
			fail_msg("%s: %s", err.place, err.text);
		(void)json_object_set_new(item, forms[form], json_string(dir));
		free(dir);
	}
	for (int64_t r = 0; r < text->n_rows; r++)
		(void)json_array_append_new(rows, numbers(logits + text->rows[r] * 263, 263));
	(void)json_object_set_new(item, "name", json_string(cases[i].model));
	(void)json_object_set_new(item, "base", json_string(base));
	(void)json_object_set_new(item, "logits", rows);
	hn_tokenizer_destroy(tokenizer);
	bench_adapter_close(&b);
	free(logits);
	free(base);
	return item;
}

/* golden_peft FOLDER: keeps the exports there for PEFT and transformers to load. */
static int
keep(const char *root)
{
	char *path = hn_path_join(root, "logits.json");
	json_t *doc = json_object(), *list = json_array();
	struct golden_text text;
	int rc;

	golden_text_open(&text);
	for (size_t i = 0; i < N_CASES; i++)
		(void)json_array_append_new(list, keep_case(i, &text, root));
	(void)json_object_set_new(doc, "input_ids", integers(text.ids, text.n));
	(void)json_object_set_new(doc, "segments", integers(text.segments, text.n_segments + 1));
	(void)json_object_set_new(doc, "rows", integers(text.rows, text.n_rows));
	(void)json_object_set_new(doc, "cases", list);
	rc = json_dump_file(doc, path, JSON_REAL_PRECISION(9));
	json_decref(doc);
	golden_text_close(&text);
	free(path);
	return rc ? 1 : 0;
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_peft_imported_adapter_gives_peft_logits),
		cmocka_unit_test(test_peft_exported_adapter_is_the_imported_one),
		cmocka_unit_test(test_peft_merged_model_equals_peft),
		cmocka_unit_test(test_peft_gguf_becomes_its_folder),
		cmocka_unit_test(test_peft_modules_are_those_of_peft),
	};

	if (argc > 1)
		return keep(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
