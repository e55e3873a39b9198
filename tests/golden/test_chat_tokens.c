/*
 * test_chat_tokens.c - ids and masks of rows against transformers, by TRL's rules.
 *
 * Would catch: a begin or end of sequence that is missing or doubled (B6), a mask that is one
 * token off at the border of prompt and completion or at the end of a turn, a token over a
 * border that is not counted, text of a template that is tokenised with added tokens, a
 * generation prompt that differs from what training saw, and masks by token id, which pad =
 * eos would break (B1): in all these tokenizers the two are one.  The cases come from
 * etc/golden/chat_tokens.py.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hone/objective.h>

#include "base/file.h"
#include "base/str.h"
#include "data/tokenise.h"
#include "support.h"

static struct hn_tokenizer *
load(const json_t *group)
{
	const char *config = json_string_value(json_object_get(group, "config"));
	struct hn_tokenizer_files files = {
		.origin = "tokenizer", .tokenizer_config = {config, strlen(config)}};
	struct hn_tokenizer *tok = NULL;
	struct hone_error err = {0};
	char name[64], *path, *text = NULL;
	size_t n = 0;

	(void)snprintf(name, sizeof name, "tokenizer/%s.json",
		json_string_value(json_object_get(group, "tokenizer")));
	path = test_data_path(name);
	assert_int_equal(hn_file_read(path, 1 << 24, HONE_EMODEL, &text, &n, &err), HONE_OK);
	files.tokenizer_json = (struct hn_text){text, n};
	if (hn_tokenizer_parse(&tok, &files, &err))
		fail_msg("%s: %s", path, err.text);
	free(text);
	free(path);
	return tok;
}

static bool
same_ids(const struct hn_tokenised *got, const json_t *ids)
{
	if (got->n != (int64_t)json_array_size(ids))
		return false;
	for (int64_t i = 0; i < got->n; i++)
		if (got->ids[i] != json_integer_value(json_array_get(ids, (size_t)i)))
			return false;
	return true;
}

static bool
same_tokens(const struct hn_tokenised *got, const json_t *want)
{
	const char *learned = json_string_value(json_object_get(want, "learned"));

	if (!same_ids(got, json_object_get(want, "ids")) ||
		got->n_straddles != json_integer_value(json_object_get(want, "straddles")))
		return false;
	for (int64_t i = 0; i < got->n; i++)
		if (got->learned[i] != (learned[i] == '1'))
			return false;
	return true;
}

/* What differs, for a person. */
static void
show(const char *what, const struct hn_tokenised *got, const json_t *want)
{
	char *text = json_dumps(want, JSON_COMPACT);

	print_message("%s, want %s\n got", what, text);
	for (int64_t i = 0; i < got->n; i++)
		print_message(" %d%s", got->ids[i], got->learned[i] ? "*" : "");
	print_message(" straddles %d\n", (int)got->n_straddles);
	free(text);
}

/* One case three times: everything learned, masked, and as a prompt. */
static int
check_case(const struct hn_text_service *service, struct hn_text_scratch *scratch, const json_t *c)
{
	static const struct hn_place place = {"chat_tokens.json", 1};
	const uint32_t masked = HONE_TOKENISE_COMPLETION_ONLY | HONE_TOKENISE_ASSISTANT_ONLY;
	enum hn_schema schema;
	struct hn_sample sample;
	struct hn_tokenised got;
	struct hone_error err = {0};
	int bad = 0;

	assert_int_equal(
		hn_schema_parse(json_string_value(json_object_get(c, "schema")), &schema, &err),
		HONE_OK);
	if (hn_sample_read(&sample, schema, json_object_get(c, "row"), &place, &err))
		fail_msg("%s", err.text);
	if (hn_tokenise(service, scratch, &sample, 0, &got, &err))
		fail_msg("%s", err.text);
	if (!same_tokens(&got, json_object_get(c, "all")) && ++bad)
		show("all", &got, json_object_get(c, "all"));
	if (hn_tokenise(service, scratch, &sample, masked, &got, &err))
		fail_msg("%s", err.text);
	if (!same_tokens(&got, json_object_get(c, "masked")) && ++bad)
		show("masked", &got, json_object_get(c, "masked"));
	if (hn_tokenise_prompt(service, scratch, &sample, &got, &err))
		fail_msg("%s", err.text);
	if (!same_ids(&got, json_object_get(c, "prompt")) && ++bad)
		show("prompt", &got, json_object_get(c, "prompt"));
	hn_sample_fini(&sample);
	return bad;
}

static void
test_chat_tokens_of_all_schemas_are_those_of_transformers(void **state)
{
	char *path = test_data_path("chat_tokens.json");
	json_t *file = json_load_file(path, 0, NULL), *group, *c;
	size_t g, i, n = 0;
	int bad = 0;

	(void)state;
	assert_non_null(file);
	json_array_foreach(json_object_get(file, "groups"), g, group)
	{
		struct hn_tokenizer *tok = load(group);
		struct hn_text_service service;
		struct hn_text_scratch scratch;
		struct hone_error err = {0};

		if (hn_text_service_init(&service, tok,
			    json_integer_value(json_object_get(file, "now")), &err) ||
			hn_text_scratch_init(&scratch, &service, &err))
			fail_msg("%s", err.text);
		json_array_foreach(json_object_get(group, "cases"), i, c)
		{
			bad += check_case(&service, &scratch, c);
			n++;
		}
		hn_text_scratch_fini(&scratch);
		hn_text_service_fini(&service);
		hn_tokenizer_destroy(tok);
	}
	print_message("%zu rows, each three times\n", n);
	json_decref(file);
	free(path);
	assert_true(n >= 200);
	assert_int_equal(bad, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chat_tokens_of_all_schemas_are_those_of_transformers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
