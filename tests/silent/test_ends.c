/*
 * test_ends.c - where a text ends: the token that training appends and generation stops at.
 *
 * Would catch: a folder whose tokenizer names no end of sequence, on which a run learns texts
 * without an end, says nothing, and answers for ever; and a folder without
 * generation_config.json whose config.json knows the end, which nobody asked.
 */
#include <stdlib.h>
#include <string.h>

#include "place.h"

#define WORDS PLACE_OWN_MODEL "--set train.max_steps=1"

/* Puts `to` over the first `from`, which is as long. */
static void
patch(const struct place *place, const char *name, const char *from, const char *to)
{
	char *text = place_read(place, name), *at = strstr(text, from);

	assert_non_null(at);
	assert_int_equal(strlen(from), strlen(to));
	memcpy(at, to, strlen(to));
	place_write(place, name, text);
	free(text);
}

/* Tokens of the whole run. */
static int64_t
count_tokens(const struct place *place)
{
	json_t *json = place_json(place, "plan", WORDS " --json");
	const int64_t n = json_integer_value(json_object_get(json, "tokens"));

	json_decref(json);
	assert_true(n > 0);
	return n;
}

/* The tokenizer's own name for it is gone; config.json has the id. */
static void
test_ends_without_generation_config_come_from_the_model(void **state)
{
	struct place place;
	int64_t before;

	(void)state;
	place_open(&place);
	place_copy_model(&place, 0);
	before = count_tokens(&place);
	patch(&place, "model/tokenizer_config.json", "\"eos_token\"", "\"xos_token\"");
	assert_int_equal(count_tokens(&place), before);
	place_close(&place);
}

static void
test_ends_that_nobody_knows_are_told(void **state)
{
	struct place place;

	(void)state;
	place_open(&place);
	place_copy_model(&place, 0);
	patch(&place, "model/tokenizer_config.json", "\"eos_token\"", "\"xos_token\"");
	patch(&place, "model/config.json", "\"eos_token_id\"", "\"xos_token_id\"");
	(void)place_run(&place, "train", WORDS, 0);
	place_assert_says(&place, "warning: train: 40 rows are learned without an end",
		"set eos_token in tokenizer_config.json", NULL);
	(void)place_run(&place, "train", WORDS " --fresh --set data.strict=yes", 4);
	place_assert_says(&place, "40 have no end of sequence; of 40 rows", NULL);
	place_close(&place);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends_without_generation_config_come_from_the_model),
		cmocka_unit_test(test_ends_that_nobody_knows_are_told),
	};

	return cmocka_run_group_tests_name("ends", tests, NULL, NULL);
}
