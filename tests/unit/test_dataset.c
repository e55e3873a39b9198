/*
 * test_dataset.c - splits: rows to examples in parallel, validation splits, reports, previews.
 *
 * Would catch: an order or content that depends on threads, a split whose parts overlap or leave
 * a row out, rows of both parts that are not noticed, arrays of another example, counts that
 * drift from what is there, a border within characters that the tokenizer joins, a preview
 * that marks what is not learned or lets a file speak to the terminal.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "bench_data.h"
#include "data/preview.h"
#include "support.h"

static void
put_rows(struct hn_str *rows, int first, int n)
{
	for (int i = first; i < first + n; i++)
		hn_str_printf(rows, "{\"prompt\":\"row %d says\",\"completion\":\" %d%s\"}\n", i,
			i * 7, i % 5 ? "" : " and more");
}

/* All ids and masks of a dataset, one after the other. */
static void
put_all(const struct hn_dataset *data, struct hn_str *out)
{
	for (int64_t e = 0; e < data->n_examples; e++) {
		int64_t n = 0;
		const char *ids = hn_dataset_array(&data->examples[e].pub, "ids", &n);

		assert_int_equal(data->examples[e].pub.index, e);
		hn_str_add(out, ids, (size_t)n * 4);
		ids = hn_dataset_array(&data->examples[e].pub, "learned", &n);
		hn_str_add(out, ids, (size_t)n);
		assert_null(hn_dataset_array(&data->examples[e].pub, "other", &n));
		assert_int_equal(n, 0);
	}
}

static void
test_dataset_is_the_same_for_every_number_of_threads(void **state)
{
	struct bench_data bench;
	struct hn_str rows = {0}, first = {0}, all = {0};

	(void)state;
	put_rows(&rows, 0, 1000);
	bench_data_open(&bench, "sft");
	for (int32_t threads = 1; threads <= 7; threads += 2) {
		hn_pool_destroy(bench.pool);
		assert_int_equal(hn_pool_create(&bench.pool, threads, &bench.err), HONE_OK);
		bench.request.pool = bench.pool;
		assert_int_equal(bench_data_read(&bench, rows.text), HONE_OK);
		assert_int_equal(bench.data.n_examples, 1000);
		assert_int_equal(hn_dataset_line(&bench.data, 999), 1000);
		hn_str_clear(&all);
		put_all(&bench.data, &all);
		if (threads == 1)
			hn_str_add(&first, all.text, all.len);
		assert_int_equal(all.len, first.len);
		assert_memory_equal(all.text, first.text, all.len);
	}
	hn_str_fini(&rows);
	hn_str_fini(&first);
	hn_str_fini(&all);
	bench_data_close(&bench);
}

static void
test_dataset_parts_of_a_split_are_the_file(void **state)
{
	struct bench_data bench;
	struct hn_dataset taken;
	struct hn_str rows = {0};
	char seen[201] = {0};

	(void)state;
	put_rows(&rows, 0, 200);
	bench_data_open(&bench, "sft");
	bench.request.validation_split = 0.1;
	bench.request.part = HN_PART_TRAIN;
	assert_int_equal(bench_data_read(&bench, rows.text), HONE_OK);
	bench.request.part = HN_PART_VALIDATION;
	assert_int_equal(hn_dataset_open(&taken, &bench.request, &bench.err), HONE_OK);
	assert_int_equal(bench.data.n_examples, 180);
	assert_int_equal(taken.n_examples, 20);
	assert_int_equal(hn_dataset_count_shared(&bench.data, &taken), 0);
	for (int64_t i = 0; i < 180; i++)
		seen[hn_dataset_line(&bench.data, i)]++;
	for (int64_t i = 0; i < 20; i++)
		seen[hn_dataset_line(&taken, i)]++;
	for (int i = 1; i <= 200; i++)
		assert_int_equal(seen[i], 1);
	hn_dataset_close(&taken);
	bench.request.validation_split = 200;
	assert_int_equal(hn_dataset_open(&taken, &bench.request, &bench.err), HONE_ECONFIG);
	assert_non_null(strstr(bench.err.text, "validation_split = 200"));
	hn_dataset_close(&taken);
	hn_str_fini(&rows);
	bench_data_close(&bench);
}

static void
test_dataset_rows_of_two_splits_are_counted(void **state)
{
	struct bench_data a, b;
	struct hn_str rows = {0};

	(void)state;
	bench_data_open(&a, "sft");
	bench_data_open(&b, "sft");
	put_rows(&rows, 0, 100);
	assert_int_equal(bench_data_read(&a, rows.text), HONE_OK);
	hn_str_clear(&rows);
	put_rows(&rows, 90, 30);
	hn_str_puts(&rows, "{\"completion\":\" 0 and more\",\"id\":1,\"prompt\":\"row 0 says\"}\n");
	hn_str_puts(&rows, "{\"completion\":\" 0 and more\",\"id\":2,\"prompt\":\"row 0 says\"}\n");
	assert_int_equal(bench_data_read(&b, rows.text), HONE_OK);
	assert_int_equal(hn_dataset_count_shared(&a.data, &b.data), 12);
	hn_str_fini(&rows);
	bench_data_close(&a);
	bench_data_close(&b);
}

/* Counted again from what is there. */
static void
test_dataset_report_is_the_truth(void **state)
{
	struct bench_data bench;
	struct hn_str rows = {0};
	int64_t tokens = 0, learned = 0, longest = 0;

	(void)state;
	put_rows(&rows, 0, 150);
	hn_str_puts(&rows, "\n{\"prompt\":\"a <|im_start|> b\",\"completion\":\"c\"}\n");
	hn_str_puts(&rows, "{\"prompt\":\"wor\",\"completion\":\"d the\"}\n");
	bench_data_open(&bench, "sft");
	assert_int_equal(bench_data_read(&bench, rows.text), HONE_OK);
	for (int64_t e = 0; e < bench.data.n_examples; e++) {
		int64_t n = 0;
		const uint8_t *mask = hn_dataset_array(&bench.data.examples[e].pub, "learned", &n);

		tokens += n;
		longest = n > longest ? n : longest;
		for (int64_t i = 1; i < n; i++)
			learned += mask[i];
	}
	assert_int_equal(bench.data.report.rows, 152);
	assert_int_equal(bench.data.report.examples, 152);
	assert_int_equal(bench.data.report.tokens, tokens);
	assert_int_equal(bench.data.report.supervised_tokens, learned);
	assert_int_equal(bench.data.report.longest, longest);
	assert_int_equal(bench.data.report.specials, 1);
	assert_int_equal(bench.data.report.empty_lines, 1);
	hn_str_fini(&rows);
	bench_data_close(&bench);
}

/* The border lies between "e" and a combining accent, which NFC makes one character of. */
static void
test_dataset_token_over_the_border_is_learned_and_counted(void **state)
{
	struct bench_data bench;
	const uint8_t *learned;
	int64_t n = 0;

	(void)state;
	bench_data_open_with(&bench, "sft", bench_tokenizer("qwen2", NULL, "<|im_end|>"));
	assert_int_equal(
		bench_data_read(&bench, "{\"prompt\":\"a: e\",\"completion\":\"\xcc\x81 b\"}\n"),
		HONE_OK);
	assert_int_equal(bench.data.report.straddles, 1);
	learned = hn_dataset_array(&bench.data.examples[0].pub, "learned", &n);
	assert_int_equal(learned[0], 0);
	assert_int_equal(learned[n - 1], 1);
	bench_data_close(&bench);
}

static void
test_dataset_rows_need_a_template_for_conversations(void **state)
{
	struct bench_data bench;

	(void)state;
	bench_data_open(&bench, "sft");
	hn_template_destroy(bench.text.tpl);
	bench.text.tpl = NULL;
	assert_int_equal(bench_data_read(&bench,
				 "{\"messages\":[{\"role\":\"assistant\",\"content\":\"b\"}]}\n"),
		HONE_EMODEL);
	assert_non_null(strstr(bench.err.text, "chat template"));
	assert_int_equal(bench.err.line, 1);
	bench_data_close(&bench);
}

static void
test_dataset_preview_shows_what_is_learned(void **state)
{
	struct bench_data bench;
	struct hn_str out = {0}, want = {0};

	(void)state;
	bench_data_open(&bench, "sft");
	assert_int_equal(bench_data_read(&bench,
				 "{\"prompt\":\"a\\u001b[31m\\nb\",\"completion\":\" c\"}\n"
				 "{\"prompt\":\"x\",\"completion\":\"\xc3\xa4\"}\n"),
		HONE_OK);
	assert_int_equal(hn_preview(&bench.data, 1, false, &out, &bench.err), HONE_OK);
	hn_str_printf(&want, "%s:1: %d tokens, %d learned\na\\x1b[31m↵\nb[[ c<|im_end|>]]\n",
		bench.path, (int)bench.data.examples[0].n_rows,
		(int)bench.data.examples[0].n_learned);
	assert_string_equal(out.text, want.text);
	hn_str_clear(&out);
	assert_int_equal(hn_preview(&bench.data, 10, true, &out, &bench.err), HONE_OK);
	assert_non_null(strstr(out.text, "\x1b[32m\xc3\xa4<|im_end|>\x1b[0m\n"));
	assert_null(strstr(out.text, "\x1b[31m"));
	hn_str_fini(&out);
	hn_str_fini(&want);
	bench_data_close(&bench);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dataset_is_the_same_for_every_number_of_threads),
		cmocka_unit_test(test_dataset_parts_of_a_split_are_the_file),
		cmocka_unit_test(test_dataset_rows_of_two_splits_are_counted),
		cmocka_unit_test(test_dataset_report_is_the_truth),
		cmocka_unit_test(test_dataset_token_over_the_border_is_learned_and_counted),
		cmocka_unit_test(test_dataset_rows_need_a_template_for_conversations),
		cmocka_unit_test(test_dataset_preview_shows_what_is_learned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
