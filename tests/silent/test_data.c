/*
 * test_data.c - the field's silent bugs of data, and that hone has none of them.
 *
 * Each test is named for what it would catch; the letters are those of the catalogue of silent
 * bugs: B1 end of sequence masked because it is the padding token, B4 all labels cut, B5 silent
 * truncation or dropping, B6 begin of sequence twice or missing, B7 positions that go on over
 * packed documents, D3/D4/D7 epochs repeated or shortened, D11 the last window, D12 shared seeds.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "bench_data.h"
#include "bench_model.h"
#include "support.h"

static const uint8_t *
learned_of(const struct bench_data *bench, int64_t example, const int32_t **ids, int64_t *n)
{
	const struct hone_example *pub = &bench->data.examples[example].pub;

	*ids = hn_dataset_array(pub, "ids", n);
	return hn_dataset_array(pub, "learned", n);
}

/* B1: pad is the end of sequence in this tokenizer; every row's end is still a target, exactly
 * once, whether the file spells it or not. */
static void
test_data_end_of_sequence_is_learned_though_it_is_the_padding(void **state)
{
	static const char rows[] = "{\"prompt\":\"a\",\"completion\":\" b\"}\n"
				   "{\"prompt\":\"a\",\"completion\":\" b<|im_end|>\"}\n"
				   "{\"prompt\":\"\",\"completion\":\"b\"}\n";
	struct bench_data bench;

	(void)state;
	bench_data_open(&bench, "sft");
	assert_int_equal(hn_tokenizer_pad(bench.tok), hn_tokenizer_eos(bench.tok));
	assert_int_equal(bench_data_read(&bench, rows), HONE_OK);
	for (int64_t e = 0; e < 3; e++) {
		const int32_t *ids;
		int64_t n, ends = 0;
		const uint8_t *learned = learned_of(&bench, e, &ids, &n);

		for (int64_t i = 0; i < n; i++)
			ends += ids[i] == hn_tokenizer_eos(bench.tok);
		assert_int_equal(ends, 1);
		assert_int_equal(ids[n - 1], hn_tokenizer_eos(bench.tok));
		assert_int_equal(learned[n - 1], 1);
	}
	assert_int_equal(bench.data.report.specials, 0);
	bench_data_close(&bench);
}

/* B3 on tokens: the learned tokens of a conversation, decoded, are what was said with its end. */
static void
test_data_learned_tokens_of_a_conversation_are_what_was_said(void **state)
{
	static const char row[] =
		"{\"messages\":[{\"role\":\"user\",\"content\":\"same\"},{\"role\":\"assistant\","
		"\"content\":\"same\"},{\"role\":\"user\",\"content\":\"and?\"},"
		"{\"role\":\"assistant\",\"content\":\"Gr\xc3\xbc\xc3\x9f"
		"e \xf0\x9f\x8f\xbd\"}]}\n";
	struct bench_data bench;
	struct hn_str text = {0};
	const uint8_t *learned;
	const int32_t *ids;
	int64_t n;

	(void)state;
	bench_data_open(&bench, "sft");
	assert_int_equal(bench_data_read(&bench, row), HONE_OK);
	learned = learned_of(&bench, 0, &ids, &n);
	for (int64_t i = 0; i < n; i++)
		if (learned[i])
			assert_int_equal(
				hn_tokenizer_decode(bench.tok, &ids[i], 1, false, &text, NULL),
				HONE_OK);
	assert_string_equal(text.text,
		"same<|im_end|>\nGr\xc3\xbc\xc3\x9f"
		"e \xf0\x9f\x8f\xbd<|im_end|>\n");
	bench.sft.assistant_only_loss = 0;
	assert_int_equal(bench_data_read(&bench, row), HONE_OK);
	learned = learned_of(&bench, 0, &ids, &n);
	for (int64_t i = 0; i < n; i++)
		assert_int_equal(learned[i], 1);
	hn_str_fini(&text);
	bench_data_close(&bench);
}

/* B4: prompts as long as max_length leave nothing to learn: dropped with a count, and when that
 * is all there is, an error that says what to do. */
static void
test_data_row_without_a_label_after_cutting_is_counted_never_trained(void **state)
{
	static const char long_prompt[] =
		"{\"prompt\":\"0123456789012345678901234567890123456789\",\"completion\":\"x\"}\n";
	struct bench_data bench;
	struct hn_str rows = {0};

	(void)state;
	bench_data_open(&bench, "sft");
	bench.request.max_length = 16;
	hn_str_printf(
		&rows, "%s%s{\"prompt\":\"a\",\"completion\":\"b\"}\n", long_prompt, long_prompt);
	assert_int_equal(bench_data_read(&bench, rows.text), HONE_OK);
	assert_int_equal(bench.data.report.rows, 3);
	assert_int_equal(bench.data.report.dropped, 2);
	assert_int_equal(bench.data.report.truncated, 2);
	assert_int_equal(bench.data.report.truncated_answers, 2);
	assert_int_equal(bench.data.n_examples, 1);
	assert_int_equal(bench_data_read(&bench, long_prompt), HONE_EDATA);
	assert_non_null(strstr(bench.err.text, "max_length = 16"));
	assert_non_null(strstr(bench.err.text, "longest row has"));
	hn_str_fini(&rows);
	bench_data_close(&bench);
}

/* B5: counts are the truth for every max_length, and next_token loses no token at all. */
static void
test_data_what_is_cut_is_counted_and_blocks_lose_nothing(void **state)
{
	struct bench_data whole, cut;
	struct hn_str rows = {0};

	(void)state;
	for (int i = 0; i < 40; i++)
		hn_str_printf(&rows, "{\"text\":\"%.*s\"}\n", 1 + i * 3,
			"ab cd ef gh ij kl mn op qr st uv wx yz 01 23 45 67 89 ab cd ef gh ij kl "
			"mn op "
			"qr st uv wx yz 01 23 45 67 89 ab cd ef gh ij kl mn op qr st uv wx yz");
	bench_data_open(&whole, "sft");
	assert_int_equal(bench_data_read(&whole, rows.text), HONE_OK);
	assert_int_equal(whole.data.report.truncated, 0);
	for (int64_t max = 2; max < 60; max += 9) {
		int64_t want_cut = 0, want_tokens = 0, total = 0, blocks = 0;

		for (int64_t e = 0; e < whole.data.n_examples; e++) {
			const int64_t n = whole.data.examples[e].n_rows;

			want_cut += n > max;
			want_tokens += n > max ? max : n;
			total += n;
			blocks += n % max == 1; /* a last block of one token has no target */
		}
		bench_data_open(&cut, "sft");
		cut.request.max_length = max;
		assert_int_equal(bench_data_read(&cut, rows.text), HONE_OK);
		assert_int_equal(cut.data.report.truncated, want_cut);
		assert_int_equal(cut.data.report.tokens, want_tokens);
		bench_data_close(&cut);
		bench_data_open(&cut, "next_token");
		cut.request.max_length = max;
		assert_int_equal(bench_data_read(&cut, rows.text), HONE_OK);
		assert_int_equal(cut.data.report.tokens + cut.data.report.dropped, total);
		assert_int_equal(cut.data.report.dropped, blocks);
		assert_int_equal(cut.data.report.truncated, 0);
		bench_data_close(&cut);
	}
	hn_str_fini(&rows);
	bench_data_close(&whole);
}

static int64_t
count_front(const struct bench_data *bench, int64_t example, int32_t id)
{
	const int32_t *ids;
	int64_t n, front = 0;

	(void)learned_of(bench, example, &ids, &n);
	while (front < n && ids[front] == id)
		front++;
	return front;
}

/* B6: a tokenizer that adds begin (and end) of sequence by itself: one of each, also when the
 * text spells them; one that adds none gets none; a template writes its own. */
static void
test_data_begin_and_end_of_sequence_stand_once(void **state)
{
	static const char rows[] = "{\"text\":\"a\"}\n"
				   "{\"text\":\"<|begin_of_text|>a\"}\n"
				   "{\"text\":\"a<|eot_id|>\"}\n"
				   "{\"text\":\"<|begin_of_text|>a<|eot_id|>\"}\n";
	struct bench_data bench;

	(void)state;
	bench_data_open_with(
		&bench, "sft", bench_tokenizer("llama3", "<|begin_of_text|>", "<|eot_id|>"));
	assert_true(bench.text.adds_bos && bench.text.adds_eos);
	assert_int_equal(bench_data_read(&bench, rows), HONE_OK);
	for (int64_t e = 0; e < 4; e++) {
		const int32_t *ids;
		int64_t n;

		(void)learned_of(&bench, e, &ids, &n);
		assert_int_equal(n, 3);
		assert_int_equal(count_front(&bench, e, bench.text.bos), 1);
		assert_int_equal(ids[2], bench.text.eos);
	}
	assert_int_equal(bench_data_read(&bench,
				 "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
				 "{\"role\":\"assistant\",\"content\":\"b\"}]}\n"),
		HONE_OK);
	assert_int_equal(count_front(&bench, 0, bench.text.bos), 0);
	bench_data_close(&bench);
	bench_data_open_with(
		&bench, "sft", bench_tokenizer("smollm", "<|im_start|>", "<|im_end|>"));
	assert_int_equal(bench_data_read(&bench, "{\"text\":\"a\"}\n"), HONE_OK);
	assert_int_equal(count_front(&bench, 0, bench.text.bos), 0);
	bench_data_close(&bench);
}

/* B6: what generation starts from is the beginning of what was trained on. */
static void
test_data_prompt_of_generation_is_the_beginning_of_training(void **state)
{
	static const char *const rows[] = {"{\"prompt\":\"a question?\",\"completion\":\" b\"}\n",
		"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
		"{\"role\":\"assistant\",\"content\":\"b\"}]}\n",
		"{\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}],"
		"\"completion\":[{\"role\":\"assistant\",\"content\":\"b\"}]}\n"};
	struct hn_text_scratch scratch;
	struct bench_data bench;

	(void)state;
	bench_data_open_with(
		&bench, "sft", bench_tokenizer("llama3", "<|begin_of_text|>", "<|eot_id|>"));
	assert_int_equal(hn_text_scratch_init(&scratch, &bench.text, &bench.err), HONE_OK);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct hn_tokenised prompt;
		struct hn_sample sample;
		const uint8_t *learned;
		const int32_t *ids;
		json_t *row;
		int64_t n;

		assert_int_equal(bench_data_read(&bench, rows[i]), HONE_OK);
		learned = learned_of(&bench, 0, &ids, &n);
		assert_int_equal(
			hn_dataset_sample(&bench.data, 0, &sample, &row, &bench.err), HONE_OK);
		assert_int_equal(
			hn_tokenise_prompt(&bench.text, &scratch, &sample, &prompt, &bench.err),
			HONE_OK);
		assert_true(prompt.n > 0 && prompt.n < n);
		assert_memory_equal(prompt.ids, ids, (size_t)prompt.n * sizeof *ids);
		assert_int_equal(learned[prompt.n], 1);
		assert_int_equal(learned[prompt.n - 1], 0);
		hn_sample_fini(&sample);
		json_decref(row);
	}
	hn_text_scratch_fini(&scratch);
	bench_data_close(&bench);
}

/* B7: rows of a micro-batch are segments of their own, positions restart, and no label looks
 * into the next document. */
static void
test_data_documents_of_a_micro_batch_are_apart(void **state)
{
	const struct hn_order order = {.n = 3, .window = 3};
	const struct hn_window_stream *s;
	struct bench_data bench;

	(void)state;
	bench_data_open(&bench, "next_token");
	assert_int_equal(bench_data_read(&bench,
				 "{\"text\":\"a b c\"}\n{\"text\":\"d\"}\n{\"text\":\"e f\"}\n"),
		HONE_OK);
	bench_window(&bench, 3, 1000);
	assert_int_equal(
		hn_window_fill(&bench.window, &order, hn_order_step(&order, 0), &bench.err),
		HONE_OK);
	assert_int_equal(bench.window.n_micros, 1);
	s = &bench.window.streams[0];
	assert_int_equal(s->n_segments, 3);
	for (int64_t k = 0; k < 3; k++) {
		const struct hn_window_segment *segment = &s->segments[k];
		const int32_t last = segment->begin + segment->n - 1;

		assert_int_equal(segment->example, k);
		assert_int_equal(segment->begin_in_example, 0);
		assert_int_equal(s->tokens[last], hn_tokenizer_eos(bench.tok));
		assert_int_equal((int32_t)s->columns[0].values[last], HONE_LABEL_NONE);
	}
	bench_data_close(&bench);
}

/* D3, D4, D7, D8, D11: through windows, each epoch has every example once, in another order,
 * for sizes that divide and that do not; stopping and going on changes nothing because there is
 * nothing to restore. */
static void
test_data_each_epoch_has_each_example_once_in_its_own_order(void **state)
{
	struct bench_data bench;
	struct hn_str rows = {0};

	(void)state;
	bench_data_open(&bench, "sft");
	for (int n = 1; n <= 23; n++) {
		struct hn_order order = {.seed = 42, .n = n, .window = 4, .shuffles = true};
		int64_t first[23] = {0}, n_same = 0;

		hn_str_printf(&rows, "{\"text\":\"row %d\"}\n", n);
		assert_int_equal(bench_data_read(&bench, rows.text), HONE_OK);
		bench_window(&bench, 4, 1000);
		for (int64_t epoch = 0; epoch < 3; epoch++) {
			const int64_t steps = hn_order_steps_per_epoch(&order);
			int64_t seen[23] = {0}, at = 0;

			for (int64_t s = 0; s < steps; s++) {
				const struct hn_order_step step =
					hn_order_step(&order, epoch * steps + s);

				assert_int_equal(
					hn_window_fill(&bench.window, &order, step, &bench.err),
					HONE_OK);
				assert_int_equal(bench.window.n_examples, step.n);
				for (int64_t i = 0; i < step.n; i++, at++) {
					const int64_t e = hn_order_example(
						&order, step.epoch, step.first + i);

					seen[e]++;
					n_same += epoch > 0 && first[at] == e;
					if (epoch == 0)
						first[at] = e;
				}
			}
			assert_int_equal(at, n);
			for (int64_t e = 0; e < n; e++)
				assert_int_equal(seen[e], 1);
		}
		assert_true(n < 8 || n_same < n);
	}
	hn_str_fini(&rows);
	bench_data_close(&bench);
}

/* D12: draws in emit differ by epoch, example and number, and not by who asks when. */
static void
test_data_random_draws_are_distinct_and_repeatable(void **state)
{
	const struct hn_order order = {.seed = 42, .n = 8, .window = 8};
	struct bench_data bench;
	struct hn_str rows = {0};
	double draws[2][3][8][4];

	(void)state;
	bench_data_open(&bench, "sft");
	for (int i = 0; i < 8; i++)
		hn_str_printf(&rows, "{\"text\":\"row %d\"}\n", i);
	assert_int_equal(bench_data_read(&bench, rows.text), HONE_OK);
	bench_window(&bench, 8, 1000);
	for (int round = 0; round < 2; round++) {
		for (int k = 0; k < 3; k++) {
			const int64_t epoch = round ? 2 - k : k; /* another order of asking */

			assert_int_equal(hn_window_fill(&bench.window, &order,
						 hn_order_step(&order, epoch), &bench.err),
				HONE_OK);
			for (int64_t e = 0; e < 8; e++) {
				bench.window.example = &bench.data.examples[e];
				for (uint64_t i = 0; i < 4; i++)
					draws[round][epoch][e][i] =
						bench.window.vt.uniform(&bench.window.base, i);
			}
		}
	}
	assert_memory_equal(draws[0], draws[1], sizeof draws[0]);
	for (int i = 0; i < 96; i++)
		for (int k = 0; k < i; k++)
			assert_true((&draws[0][0][0][0])[i] != (&draws[0][0][0][0])[k]);
	hn_str_fini(&rows);
	bench_data_close(&bench);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_data_end_of_sequence_is_learned_though_it_is_the_padding),
		cmocka_unit_test(test_data_learned_tokens_of_a_conversation_are_what_was_said),
		cmocka_unit_test(
			test_data_row_without_a_label_after_cutting_is_counted_never_trained),
		cmocka_unit_test(test_data_what_is_cut_is_counted_and_blocks_lose_nothing),
		cmocka_unit_test(test_data_begin_and_end_of_sequence_stand_once),
		cmocka_unit_test(test_data_prompt_of_generation_is_the_beginning_of_training),
		cmocka_unit_test(test_data_documents_of_a_micro_batch_are_apart),
		cmocka_unit_test(test_data_each_epoch_has_each_example_once_in_its_own_order),
		cmocka_unit_test(test_data_random_draws_are_distinct_and_repeatable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
