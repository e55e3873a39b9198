/*
 * test_metrics.c - ROUGE-L against Google's rouge_score; what exact match forgives.
 *
 * Would catch: another tokenizer (underscores, digits, letters beyond ASCII), precision taken
 * for recall, a subsequence that must be contiguous, a text without words that divides by
 * zero, an exact match that ignores case or keeps the line break of an answer.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "train/metrics.h"

static const double ROUGE = 1e-9;

static struct hn_text
text_of(const json_t *item, const char *key)
{
	const json_t *value = json_object_get(item, key);

	return (struct hn_text){json_string_value(value), json_string_length(value)};
}

static struct hn_text
text(const char *bytes)
{
	return (struct hn_text){bytes, strlen(bytes)};
}

static double
number(const json_t *item, const char *key)
{
	return json_number_value(json_object_get(item, key));
}

static void
test_metrics_rouge_l_equals_rouge_score(void **state)
{
	char *path = test_data_path("golden/rouge.json");
	json_t *golden = json_load_file(path, 0, NULL);
	const json_t *cases = json_object_get(golden, "cases"), *item;
	struct hn_generated *pairs;
	struct hn_generated_metrics metrics;
	size_t i;

	(void)state;
	assert_true(json_array_size(cases) > 60);
	pairs = calloc(json_array_size(cases), sizeof *pairs);
	json_array_foreach(cases, i, item)
	{
		struct hn_rouge rouge;

		pairs[i] =
			(struct hn_generated){text_of(item, "reference"), text_of(item, "answer")};
		rouge = hn_rouge_l(pairs[i].reference, pairs[i].answer);
		if (fabs(rouge.f - number(item, "f")) > ROUGE ||
			fabs(rouge.precision - number(item, "precision")) > ROUGE ||
			fabs(rouge.recall - number(item, "recall")) > ROUGE)
			fail_msg("case %d: '%s' and '%s' give %g, not %g", (int)i,
				pairs[i].reference.bytes, pairs[i].answer.bytes, rouge.f,
				number(item, "f"));
	}
	hn_eval_generated(pairs, (int64_t)i, &metrics);
	assert_int_equal(metrics.n, i);
	assert_true(fabs(metrics.rouge_l - number(golden, "mean_f")) <= ROUGE);
	free(pairs);
	json_decref(golden);
	free(path);
}

static void
test_metrics_exact_match_takes_off_white_space_at_the_ends_only(void **state)
{
	(void)state;
	assert_true(hn_exact_match(text("42"), text(" 42\n")));
	assert_true(hn_exact_match(text("\t a b \r\n"), text("a b")));
	assert_true(hn_exact_match(text(""), text(" \n")));
	assert_false(hn_exact_match(text("a b"), text("a  b")));
	assert_false(hn_exact_match(text("Yes"), text("yes")));
	assert_false(hn_exact_match(text("yes"), text("yes.")));
	assert_false(hn_exact_match(text("yes"), text("")));
	assert_false(hn_exact_match(text("yes"), text("yes no")));
}

static void
test_metrics_exact_match_of_pairs_is_their_mean(void **state)
{
	const struct hn_generated pairs[4] = {{text("a"), text("a ")}, {text("a"), text("b")},
		{text("c d"), text("c d")}, {text("c d"), text("cd")}};
	struct hn_generated_metrics metrics;

	(void)state;
	hn_eval_generated(pairs, 4, &metrics);
	assert_true(metrics.exact_match == 0.5);
	assert_true(metrics.rouge_l == 0.5);
	hn_eval_generated(pairs, 0, &metrics);
	assert_true(metrics.exact_match == 0.0 && metrics.rouge_l == 0.0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_metrics_rouge_l_equals_rouge_score),
		cmocka_unit_test(test_metrics_exact_match_takes_off_white_space_at_the_ends_only),
		cmocka_unit_test(test_metrics_exact_match_of_pairs_is_their_mean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
