/*
 * test_explained.c - `hone explain` knows whatever the plugins of the tree bring.
 *
 * Would catch: a key, alias, answer, section or plugin that is listed somewhere and that
 * explain does not find, as text or as JSON; a document that is no JSON or lacks the key.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "config/explain.h"
#include "registry/registry.h"
#include "support.h"

struct tree {
	struct hn_registry *registry;
	const struct hn_config_table *tables;
	size_t n, n_sections;
};

static int
set_up(void **state)
{
	static const char *const dirs[] = {HONE_BINARY_DIR "/lib/hone"};
	const struct hn_registry_request request = {
		.search = {.dirs = dirs, .n_dirs = 1, .only_dirs = true}};
	struct tree *tree = calloc(1, sizeof *tree);
	struct hone_error err = {0};

	assert_int_equal(hn_registry_create(&tree->registry, &request, &err), HONE_OK);
	tree->tables = hn_registry_explained(tree->registry, &tree->n);
	(void)hn_registry_tables(tree->registry, &tree->n_sections);
	*state = tree;
	return 0;
}

static int
tear_down(void **state)
{
	struct tree *tree = *state;

	hn_registry_destroy(tree->registry);
	free(tree);
	return 0;
}

/* Both forms for a name; the document is the caller's to release. */
static json_t *
explain(const struct tree *tree, const char *name, struct hn_str *text)
{
	struct hn_str json = {0};
	struct hone_error err = {0};
	json_t *root;

	if (hn_explain(tree->tables, tree->n, name, text, &err) ||
		hn_explain_json(tree->tables, tree->n, name, &json, &err))
		fail_msg("%s: %s", name, err.text);
	root = json_loads(json.text, JSON_REJECT_DUPLICATES, NULL);
	if (!root)
		fail_msg("%s: no JSON: %s", name, json.text);
	assert_string_equal(json_string_value(json_object_get(root, "schema")), "hone.options/1");
	hn_str_fini(&json);
	return root;
}

static bool
is_section(const struct tree *tree, const char *name)
{
	for (size_t t = 0; t < tree->n; t++)
		if (!strcmp(tree->tables[t].name, name))
			return true;
	return false;
}

/* A key by one of its names, alone and behind its section. */
static void
check_key(const struct tree *tree, const struct hn_config_table *table, const char *word,
	const struct hone_option *row)
{
	/* alone "train" is [train], not [data] train */
	for (size_t i = 0; i < (is_section(tree, word) ? 1 : 2); i++) {
		char name[160], head[160];
		struct hn_str text = {0};
		json_t *root, *section, *keys;

		(void)snprintf(
			name, sizeof name, "%s%s%s", i ? "" : table->name, i ? "" : ".", word);
		(void)snprintf(head, sizeof head, "[%s] %s\n", table->name, row->key);
		root = explain(tree, name, &text);
		section = json_object_get(json_object_get(root, "properties"), table->name);
		keys = json_object_get(section, "properties");
		if (!strstr(text.text, head))
			fail_msg("%s: text lacks %s", name, head);
		if (!json_object_get(keys, row->key) || json_object_size(keys) != 1)
			fail_msg(
				"%s: JSON lacks [%s] %s, or has more", name, table->name, row->key);
		json_decref(root);
		hn_str_fini(&text);
	}
}

static void
test_explained_every_key_by_every_name(void **state)
{
	const struct tree *tree = *state;
	struct hn_arena arena = {0};
	size_t n_keys = 0;

	for (size_t t = 0; t < tree->n; t++) {
		const struct hn_config_table *table = &tree->tables[t];

		for (uint32_t i = 0; table->options && i < table->options->n; i++) {
			const struct hone_option row = hn_options_at(table->options, i);
			size_t n = 0;
			const char **aliases = hn_words_split(row.aliases, &arena, &n);

			check_key(tree, table, row.key, &row);
			for (size_t a = 0; a < n; a++)
				check_key(tree, table, aliases[a], &row);
			n_keys++;
		}
	}
	assert_true(n_keys > 50);
	hn_arena_fini(&arena);
}

static void
test_explained_every_section_answer_and_plugin(void **state)
{
	const struct tree *tree = *state;
	size_t n_plugins = 0;

	for (size_t t = 0; t < tree->n; t++) {
		const struct hn_config_table *table = &tree->tables[t];
		struct hn_str text = {0};
		json_t *root = explain(tree, table->name, &text), *one;

		assert_non_null(strstr(text.text, table->name));
		if (table->kind) {
			one = json_array_get(json_object_get(root, "plugins"), 0);
			assert_string_equal(
				json_string_value(json_object_get(one, "kind")), table->kind);
			n_plugins++;
		} else {
			assert_non_null(
				json_object_get(json_object_get(root, "properties"), table->name));
		}
		json_decref(root);
		for (size_t a = 0; a < table->n_answers; a++) {
			hn_str_clear(&text);
			root = explain(tree, table->answers[a].key, &text);
			assert_non_null(json_object_get(
				json_object_get(root, "answers"), table->answers[a].key));
			json_decref(root);
		}
		hn_str_fini(&text);
	}
	assert_true(n_plugins > 4); /* stored formats, the architecture, files of several */
}

static void
test_explained_unknown_name_is_refused_alike(void **state)
{
	static const char *const names[] = {"lora.rr_", "zzzzzzzz", "lora.", ".r", "lora.r.x", ""};
	const struct tree *tree = *state;

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct hone_error text = {0}, json = {0};
		struct hn_str out = {0};

		assert_int_equal(
			hn_explain(tree->tables, tree->n, names[i], &out, &text), HONE_EUSAGE);
		assert_int_equal(
			hn_explain_json(tree->tables, tree->n, names[i], &out, &json), HONE_EUSAGE);
		assert_string_equal(text.text, json.text);
		assert_int_equal(out.len, 0);
		hn_str_fini(&out);
	}
}

/* Would catch: a factory that explain lists and `hone plugins` does not, or the reverse. */
static void
test_explained_names_every_factory(void **state)
{
	const struct tree *tree = *state;
	const struct hn_registered *found;

	for (size_t i = 0; (found = hn_registry_at(tree->registry, NULL, i)); i++) {
		struct hn_str text = {0};

		json_decref(explain(tree, found->factory->name, &text));
		hn_str_clear(&text);
		json_decref(explain(tree, found->plugin->id, &text));
		hn_str_fini(&text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_explained_every_key_by_every_name),
		cmocka_unit_test(test_explained_every_section_answer_and_plugin),
		cmocka_unit_test(test_explained_unknown_name_is_refused_alike),
		cmocka_unit_test(test_explained_names_every_factory),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
