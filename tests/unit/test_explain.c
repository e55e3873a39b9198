/*
 * test_explain.c - option tables as text and as a JSON schema.
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "config/explain.h"
#include "config/host_options.h"
#include "support.h"

static char *
explain(const char *name)
{
	size_t n;
	const struct hn_config_table *tables = hn_host_tables(&n);
	struct hn_str out = {0};
	struct hone_error err = {0};

	if (hn_explain(tables, n, name, &out, &err))
		hn_str_printf(&out, "! %s", err.text);
	return hn_str_take(&out);
}

static void
expect(const char *name, const char *wanted)
{
	char *found = explain(name);

	assert_string_equal(found, wanted);
	free(found);
}

/* Would catch: a range, default or alias left out, and a key not found by its alias. */
static void
test_explain_key_says_all_that_its_row_says(void **state)
{
	static const char lr[] = "[train] learning_rate\n"
				 "  number, above 0 and at most 10; required\n"
				 "  peak step size; usual: full 1e-5 to 5e-5, LoRA 1e-4 to 5e-4\n"
				 "  also read: lr\n";

	(void)state;
	expect("train.learning_rate", lr);
	expect("learning_rate", lr);
	expect("lr", lr);
	expect("checkpoint.greater_is_better",
		"[checkpoint] greater_is_better\n"
		"  one of auto, yes, no; default auto\n"
		"  auto: no for a metric that ends in loss, else yes\n");
	expect("memory_limit",
		"[train] memory_limit\n"
		"  bytes, such as 64KiB, 512MiB or 8GiB, at least 1048576; not set by default\n"
		"  memory a run may plan for, such as 8GiB: micro-batches become smaller, then "
		"layers are computed again in the backward; a plan is true to a few percent\n"
		"  a run that goes on may change it\n");
	expect("padding_free", "padding_free: always: there is no padding here; delete the line\n");
}

/* Would catch: a name that nobody knows answered with nothing. */
static void
test_explain_unknown_name_gives_the_nearest(void **state)
{
	(void)state;
	expect("trian", "! nothing is called 'trian'; did you mean 'train'?");
	expect("learning_rat",
		"! nothing is called 'learning_rat'; did you mean "
		"'train.learning_rate'?");
	expect("train.learning_rat",
		"! [train] has no key 'learning_rat'; did you mean "
		"'train.learning_rate'?");
	expect("train.zzzzzzzz", "! [train] has no key 'zzzzzzzz'; hone explain train lists them");
	expect("qqqqqqqqq", "! nothing is called 'qqqqqqqqq'; hone explain lists the names");
	/* Three letters off are too many where not even the section is known. */
	expect("my_adapter", "! nothing is called 'my_adapter'; hone explain lists the names");
}

/* Would catch: a section's page that leaves keys out. */
static void
test_explain_section_lists_every_key(void **state)
{
	size_t n;
	const struct hn_config_table *tables = hn_host_tables(&n);
	char *all = explain(NULL), head[64];

	(void)state;
	for (size_t t = 0; t < n; t++) {
		char *page = explain(tables[t].name);

		assert_non_null(strstr(all, tables[t].name));
		for (uint32_t i = 0; i < tables[t].options->n; i++) {
			(void)snprintf(head, sizeof head, "[%s] %s\n", tables[t].name,
				hn_options_at(tables[t].options, i).key);
			assert_non_null(strstr(page, head));
		}
		free(page);
	}
	free(all);
}

/* Would catch: a schema that is no JSON, or that loses a key, type, range or default. */
static void
test_explain_json_is_a_schema_of_every_key(void **state)
{
	size_t n;
	const struct hn_config_table *tables = hn_host_tables(&n);
	struct hn_str out = {0};
	struct hone_error err = {0};
	json_error_t why;
	json_t *root, *train, *lr;

	(void)state;
	assert_int_equal(hn_explain_json(tables, n, NULL, &out, &err), HONE_OK);
	root = json_loads(out.text, JSON_REJECT_DUPLICATES, &why);
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "schema")), "hone.options/1");
	for (size_t t = 0; t < n; t++) {
		json_t *section =
			json_object_get(json_object_get(root, "properties"), tables[t].name);

		for (uint32_t i = 0; i < tables[t].options->n; i++) {
			struct hone_option row = hn_options_at(tables[t].options, i);
			json_t *key =
				json_object_get(json_object_get(section, "properties"), row.key);

			assert_non_null(json_object_get(key, "type"));
			assert_int_equal(
				json_object_get(key, "default") != NULL, row.default_value != NULL);
			assert_int_equal(json_object_get(key, "enum") != NULL, row.choices != NULL);
		}
	}
	train = json_object_get(json_object_get(root, "properties"), "train");
	assert_int_equal(json_array_size(json_object_get(train, "required")), 1);
	lr = json_object_get(json_object_get(train, "properties"), "learning_rate");
	assert_non_null(json_object_get(lr, "exclusiveMinimum"));
	assert_null(json_object_get(lr, "minimum"));
	assert_true(json_number_value(json_object_get(lr, "exclusiveMinimum")) == 0);
	assert_true(json_number_value(json_object_get(lr, "maximum")) == 10);
	assert_non_null(json_object_get(json_object_get(root, "patternProperties"), "^data[.]"));
	json_decref(root);
	hn_str_clear(&out);
	assert_int_equal(hn_explain_json(tables, n, "data", &out, &err), HONE_OK);
	root = json_loads(out.text, JSON_REJECT_DUPLICATES, &why);
	assert_non_null(root);
	assert_int_equal(json_object_size(json_object_get(root, "properties")), 1);
	json_decref(root);
	assert_int_equal(hn_explain_json(tables, n, "dat", &out, &err), HONE_EUSAGE);
	hn_str_fini(&out);
}

/* Would catch: the types that the host itself does not use left out of a plugin's page. */
static void
test_explain_plugin_section_shows_role_sites_and_lists(void **state)
{
	static const struct hone_option rows[] = {
		{.key = "target_modules",
			.type = HONE_OPTION_SITES,
			.default_value = "all-linear",
			.help = "where"},
		{.key = "rank_pattern", .type = HONE_OPTION_SITE_MAP, .help = "ranks"},
		{.key = "names",
			.type = HONE_OPTION_LIST,
			.default_value = "a, b",
			.help = "names"},
	};
	static const struct hone_options options = {sizeof(struct hone_option), 3, 64, rows};
	const struct hn_config_table table = {
		.name = "lora", .options = &options, .role = "adapter", .has_instances = true};
	struct hn_str out = {0};
	struct hone_error err = {0};

	(void)state;
	assert_int_equal(hn_explain(&table, 1, "lora", &out, &err), HONE_OK);
	assert_string_equal(out.text,
		"[lora] [lora.name]\n"
		"  chosen by [run] adapter = lora\n\n"
		"[lora] target_modules\n"
		"  places in the model: names, roles, a regex, or all-linear; default all-linear\n"
		"  where\n\n"
		"[lora] rank_pattern\n"
		"  pattern: number, ... of places in the model; not set by default\n"
		"  ranks\n\n"
		"[lora] names\n"
		"  list, separated by commas; default a, b\n"
		"  names\n");
	hn_str_clear(&out);
	assert_int_equal(hn_explain_json(&table, 1, "lora", &out, &err), HONE_OK);
	assert_non_null(strstr(out.text, "\"default\":[\"a\",\"b\"]"));
	hn_str_fini(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_explain_key_says_all_that_its_row_says),
		cmocka_unit_test(test_explain_unknown_name_gives_the_nearest),
		cmocka_unit_test(test_explain_section_lists_every_key),
		cmocka_unit_test(test_explain_plugin_section_shows_role_sites_and_lists),
		cmocka_unit_test(test_explain_json_is_a_schema_of_every_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
