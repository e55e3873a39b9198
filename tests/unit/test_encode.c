/*
 * test_encode.c - text to ids: places, special tokens, dropped bytes, patterns that run away,
 * and merging by heap and by search against the definition.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/pool.h"
#include "base/rng.h"
#include "text/parts.h"
#include "tokenizers.h"

/* Fails the test with the error's text. */
#define OK(call)                                                                                   \
	do {                                                                                       \
		if (call)                                                                          \
			fail_msg("%s: %s", err.place, err.text);                                   \
	} while (0)

/* Catches: an encoding of bytes that are not text, and a wrong offset in the message. */
static void
test_encode_invalid_utf8_names_byte(void **state)
{
	struct hn_tokenizer *tok = test_tokenizer_accepted(
		test_tokenizer_document(NULL, NULL, NULL, NULL, NULL), NULL, NULL);
	struct hone_error err = {0};
	struct hn_encoder *encoder = NULL;
	struct hn_encoding out = {0};

	(void)state;
	OK(hn_encoder_create(&encoder, tok, &err));
	assert_int_equal(hn_encode(encoder, "ab\xC3(", 4, 0, &out, &err), HONE_EDATA);
	assert_non_null(strstr(err.text, "at byte 2"));
	assert_int_equal(out.n, 0);
	OK(hn_encode(encoder, "", 0, 0, &out, &err));
	assert_int_equal(out.n, 0);
	hn_encoding_fini(&out);
	hn_encoder_destroy(encoder);
	hn_tokenizer_destroy(tok);
}

/* Catches: a byte without a token that goes unnoticed. */
static void
test_encode_bytes_without_token_are_counted(void **state)
{
	struct hn_tokenizer *tok = test_tokenizer_accepted(
		test_tokenizer_document(NULL, NULL, NULL, NULL, NULL), NULL, NULL);
	struct hone_error err = {0};
	struct hn_encoder *encoder = NULL;
	struct hn_encoding out = {0};

	(void)state;
	OK(hn_encoder_create(&encoder, tok, &err));
	OK(hn_encode(encoder, "abxab \xC3\xA9", 8, 0, &out, &err));
	assert_int_equal(out.n_dropped, 3);
	assert_int_equal(out.n, 3);
	assert_int_equal(out.begin[1], 3);
	assert_int_equal(out.end[1], 5);
	OK(hn_encode(encoder, "abxab \xC3\xA9", 8, 0, &out, &err)); /* now from the cache */
	assert_int_equal(out.n_dropped, 3);
	assert_int_equal(out.begin[1], 3);
	hn_encoding_fini(&out);
	hn_encoder_destroy(encoder);
	hn_tokenizer_destroy(tok);
}

/* Catches: text lost between tokens or told twice, and decoding that is not the inverse. */
static void
test_encode_places_tile_and_decode_inverts(void **state)
{
	struct hn_tokenizer *tok = test_tokenizer_style("tokenizer/gpt4o.json");
	char *path = test_data_path("tokenizer/lines.bin"), *lines = NULL;
	struct hone_error err = {0};
	struct hn_encoder *encoder = NULL;
	struct hn_encoding out = {0};
	struct hn_str back = {0};
	size_t len = 0;

	(void)state;
	OK(hn_file_read(path, 1 << 24, HONE_EDATA, &lines, &len, &err));
	OK(hn_encoder_create(&encoder, tok, &err));
	for (const char *at = lines; at < lines + len;) {
		const size_t n = (size_t)(uint8_t)at[0] | (size_t)(uint8_t)at[1] << 8;
		uint32_t done = 0;

		OK(hn_encode(encoder, at + 2, n, HN_ENCODE_PARSE_SPECIAL, &out, &err));
		for (size_t i = 0; i < out.n; i++) {
			assert_int_equal(out.begin[i], done);
			done = out.end[i];
		}
		assert_int_equal(done, n);
		hn_str_clear(&back);
		OK(hn_tokenizer_decode(tok, out.ids, out.n, false, &back, &err));
		assert_int_equal(back.len, n);
		assert_memory_equal(back.text, at + 2, n);
		at += 2 + n;
	}
	hn_str_fini(&back);
	hn_encoding_fini(&out);
	hn_encoder_destroy(encoder);
	hn_tokenizer_destroy(tok);
	free(lines);
	free(path);
}

/* Catches: places in the normalized text instead of the input. */
static void
test_encode_normalized_places_are_of_the_input(void **state)
{
	/* "Xe\u0301 ab": the e and its accent become one character of two bytes. */
	static const char text[] = "e\xCC\x81"
				   "ab";
	struct hn_tokenizer *tok = test_tokenizer_accepted(
		test_tokenizer_document(NULL, "{\"type\":\"NFC\"}", NULL, NULL, NULL), NULL, NULL);
	struct hone_error err = {0};
	struct hn_encoder *encoder = NULL;
	struct hn_encoding out = {0};

	(void)state;
	OK(hn_encoder_create(&encoder, tok, &err));
	OK(hn_encode(encoder, text, strlen(text), 0, &out, &err));
	assert_int_equal(out.n_dropped, 2);
	assert_int_equal(out.n, 1);
	assert_int_equal(out.ids[0], 2);
	assert_int_equal(out.begin[0], 3);
	assert_int_equal(out.end[0], 5);
	hn_encoding_fini(&out);
	hn_encoder_destroy(encoder);
	hn_tokenizer_destroy(tok);
}

/* Catches: unknown tokens that are not fused, or fused over known ones; a word that is a token
 * merged nevertheless.  The ids are what `tokenizers` 0.23 gives. */
static void
test_encode_unknown_and_whole_words(void **state)
{
	static const char *const vocab = "\"vocab\":{\"a\":0,\"<u>\":1},\"merges\":[]}";
	struct hn_str model = {0};
	struct hn_tokenizer *tok;

	(void)state;
	for (int fuse = 0; fuse < 2; fuse++) {
		hn_str_clear(&model);
		hn_str_printf(&model, "{\"unk_token\":\"<u>\",\"fuse_unk\":%s,%s",
			fuse ? "true" : "false", vocab);
		tok = test_tokenizer_accepted(
			test_tokenizer_document(NULL, NULL, NULL, NULL, model.text), NULL, NULL);
		test_tokenizer_expect_ids(tok, "axyzaxa", 0, fuse ? "0 1 0 1 0" : "0 1 1 1 0 1 0");
		hn_tokenizer_destroy(tok);
	}
	hn_str_fini(&model);
	tok = test_tokenizer_accepted(
		test_tokenizer_document(NULL, NULL, NULL, NULL,
			"{\"ignore_merges\":true,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"aba\":3},"
			"\"merges\":[\"a b\"]}"),
		NULL, NULL);
	test_tokenizer_expect_ids(tok, "aba", 0, "3");
	test_tokenizer_expect_ids(tok, "abab", 0, "2 2");
	hn_tokenizer_destroy(tok);
}

/* Catches: neighbours of a dropped byte that merge in a GGUF's tokenizer, where llama.cpp keeps
 * them apart.  U+40000 is F1 80 80 80, and F1 has no token. */
static void
test_encode_gguf_dropped_byte_keeps_place(void **state)
{
	static const struct hn_text tokens[] = {{"!", 1}, {"\xC4\xA2", 2}, {"!\xC4\xA2", 3}};
	static const struct hn_text merges[] = {{"! \xC4\xA2", 4}};
	const struct hn_tokenizer_spec spec = {.pre = "gpt-2",
		.tokens = tokens,
		.n_tokens = 3,
		.merges = merges,
		.n_merges = 1,
		.bos = -1,
		.eos = -1,
		.unk = -1,
		.pad = -1};
	struct hone_error err = {0};
	struct hn_tokenizer *tok = NULL;

	(void)state;
	OK(hn_tokenizer_create(&tok, &spec, &err));
	test_tokenizer_expect_ids(tok, "!\xF1\x80\x80\x80", 0, "0 1 1 1");
	hn_tokenizer_destroy(tok);
}

/* Catches: special tokens that stay special when asked not to, and that come out of decoding; an
 * added token of Latin letters decoded as if it were bytes. */
static void
test_encode_special_tokens_follow_flags(void **state)
{
	struct hn_tokenizer *tok = test_tokenizer_accepted(
		test_tokenizer_document("{\"id\":4,\"content\":\"<s>\",\"special\":true},"
					"{\"id\":5,\"content\":\"aa\",\"special\":false},"
					"{\"id\":6,\"content\":\"aab\",\"special\":false},"
					"{\"id\":7,\"content\":\"\xC3\xA9\",\"special\":false}",
			NULL, NULL,
			"{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
			"\"id\":\"<s>\"}},"
			"{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{"
			"\"ids\":[4]}}}",
			NULL),
		NULL, NULL);
	struct hone_error err = {0};
	struct hn_str back = {0};

	(void)state;
	test_tokenizer_expect_ids(tok, "a<s>b", HN_ENCODE_PARSE_SPECIAL, "0 4 1");
	test_tokenizer_expect_ids(tok, "a<s>b", 0, "0 1");
	test_tokenizer_expect_ids(tok, "ab", HN_ENCODE_ADD_SPECIAL, "4 2");
	test_tokenizer_expect_ids(tok, "aabaaa", 0, "6 5 0");
	assert_true(hn_tokenizer_adds_bos(tok));
	assert_false(hn_tokenizer_adds_eos(tok));
	OK(hn_tokenizer_decode(tok, (int32_t[]){4, 2, 3, 6, 7}, 5, true, &back, &err));
	assert_string_equal(back.text, "ab aab\xC3\xA9");
	assert_int_equal(
		hn_tokenizer_decode(tok, (int32_t[]){8}, 1, true, &back, &err), HONE_EINVAL);
	hn_str_fini(&back);
	hn_tokenizer_destroy(tok);
}

/* Catches: a pattern of a hostile file that runs for ever, and constructs read otherwise than
 * they are meant. */
static void
test_pattern_runaway_and_unknown_constructs_fail(void **state)
{
	static const char *const unknown[] = {"\\bx", "\\h", "[a&&b]", "[a[bc]]", "(?m:.)",
		"(*FAIL)", "a{2}+", "(?<n>a)", "\\1", "\\", "\\p{", "\\u12"};
	struct hone_error err = {0};
	struct hn_pattern *pattern = NULL;
	struct hn_matcher *matcher = hn_matcher_create();
	char text[4001];
	size_t begin = 0, end = 0;

	(void)state;
	memset(text, 'a', sizeof text);
	memcpy(text + sizeof text - 2, "!c", 2);
	OK(hn_pattern_create(&pattern, "(a|aa)+c", 8, false, &err));
	assert_int_equal(hn_pattern_find(pattern, matcher, text, sizeof text, 0, &begin, &end), -1);
	hn_pattern_destroy(pattern);
	for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
		assert_int_equal(
			hn_pattern_create(&pattern, unknown[i], strlen(unknown[i]), false, &err),
			HONE_EMODEL);
		assert_null(pattern);
	}
	assert_int_equal(hn_pattern_create(&pattern, "(a", 2, false, &err), HONE_EMODEL);
	assert_int_equal(hn_pattern_create(&pattern, "", 0, false, &err), HONE_EMODEL);
	hn_matcher_destroy(matcher);
}

/* Catches: Ruby's ^ and $ read as the ends of the text, ideographs newer than PCRE2's tables that
 * are no letters.  What they match is what `tokenizers` 0.23 matches. */
static void
test_pattern_lines_and_new_letters_match(void **state)
{
	static const struct {
		const char *pattern, *text;
		size_t begin, end;
	} cases[] = {
		{"^a", "b\na", 2, 3},
		{"a$", "ba\nb", 1, 2},
		{"\\p{L}", "!\xF0\xB1\x8D\x90", 1, 5},
		{"[^\\p{L}]", "\xF0\xB1\x8D\x90!", 4, 5},
		{"\\p{Lo}", "!\xF0\xAE\xAF\xB0", 1, 5},
		{"\\w", "!\xC2\xB2", 1, 3},
		{"\\S", " \n\xE2\x80\xA8x", 5, 6},
		{"[\\u4e16\\u754c]+", "\xE4\xB8\x96\xE7\x95\x8C", 0, 6},
	};
	struct hone_error err = {0};
	struct hn_matcher *matcher = hn_matcher_create();

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct hn_pattern *pattern = NULL;
		size_t begin = 0, end = 0;

		OK(hn_pattern_create(
			&pattern, cases[i].pattern, strlen(cases[i].pattern), false, &err));
		assert_int_equal(hn_pattern_find(pattern, matcher, cases[i].text,
					 strlen(cases[i].text), 0, &begin, &end),
			1);
		assert_int_equal(begin, cases[i].begin);
		assert_int_equal(end, cases[i].end);
		hn_pattern_destroy(pattern);
	}
	hn_matcher_destroy(matcher);
}

/* Lowest rank first, leftmost of equals: by the book, for comparison. */
static size_t
merge_slowly(const struct hn_tokenizer *tok, int32_t *ids, size_t n)
{
	for (;;) {
		const struct hn_bpe *bpe = &tok->bpe;
		uint32_t best = UINT32_MAX;
		size_t at = 0;
		int32_t id = -1;

		for (size_t i = 0; i + 1 < n; i++)
			for (uint32_t rank = 0; rank < bpe->n_merges && rank < best; rank++)
				if (bpe->pairs[rank] ==
					((uint64_t)(uint32_t)ids[i] << 32 | (uint32_t)ids[i + 1])) {
					best = rank;
					at = i;
				}
		if (best == UINT32_MAX)
			return n;
		struct hn_str joined = {0};
		const struct hn_text left = hn_vocab_text(&tok->vocab, ids[at]);
		const struct hn_text right = hn_vocab_text(&tok->vocab, ids[at + 1]);

		hn_str_add(&joined, left.bytes, left.len);
		hn_str_add(&joined, right.bytes, right.len);
		id = hn_vocab_find(&tok->vocab, joined.text, joined.len);
		hn_str_fini(&joined);
		ids[at] = id;
		memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
		n--;
	}
}

/* Catches: a heap that loses, repeats or misorders a merge; an array merge off by one.  Words of
 * 1 to 120 bytes from few letters, so that merges chain and touch. */
static void
test_bpe_heap_and_search_equal_definition(void **state)
{
	struct hn_tokenizer *tok = test_tokenizer_style("tokenizer/gpt4o.json");
	struct hn_bpe_scratch scratch = {0};
	size_t dropped = 0;

	(void)state;
	for (uint64_t k = 0; k < 400; k++) {
		uint8_t word[120];
		int32_t ids[120];
		const size_t n = (size_t)hn_rng_below(1, 2, k, 0, 120) + 1;

		for (size_t i = 0; i < n; i++) {
			word[i] = (uint8_t) "theanrios l,="[hn_rng_below(1, 3, k, i, 13)];
			ids[i] = tok->bpe.byte_id[word[i]];
		}
		const size_t want = merge_slowly(tok, ids, n);

		assert_int_equal(hn_bpe_merge(&tok->bpe, &scratch, word, n, &dropped), want);
		for (size_t i = 0; i < want; i++)
			assert_int_equal(scratch.symbols[i].id, ids[i]);
	}
	assert_int_equal(dropped, 0);
	hn_bpe_scratch_fini(&scratch);
	hn_tokenizer_destroy(tok);
}

/* Catches: a megabyte without a space that takes minutes. */
static void
test_encode_long_word_is_not_quadratic(void **state)
{
	enum { N = 1 << 20 };
	struct hn_tokenizer *tok = test_tokenizer_style("tokenizer/llama3.json");
	struct hone_error err = {0};
	struct hn_encoder *encoder = NULL;
	struct hn_encoding out = {0};
	char *text = hn_alloc(N);

	(void)state;
	for (size_t i = 0; i < N; i++)
		text[i] = "thequickfox"[i % 11];
	OK(hn_encoder_create(&encoder, tok, &err));
	OK(hn_encode(encoder, text, N, 0, &out, &err));
	assert_true(out.n > 0 && out.n <= N);
	assert_int_equal(out.end[out.n - 1], N);
	hn_encoding_fini(&out);
	hn_encoder_destroy(encoder);
	hn_tokenizer_destroy(tok);
	free(text);
}

/* One thread's share of test_encode_threads_share_a_tokenizer(). */
struct share {
	const struct hn_tokenizer *tok;
	struct hn_encoding out[16];
};

static void
encode_share(void *ctx, int64_t i, int32_t worker)
{
	static const char text[] =
		"The 3 quick foxes'll \xE4\xB8\x96\xE7\x95\x8C <|im_end|>\n\n  jump";
	struct share *share = ctx;
	struct hone_error err = {0};
	struct hn_encoder *encoder = NULL;

	(void)worker;
	if (hn_encoder_create(&encoder, share->tok, &err))
		return;
	for (int k = 0; k < 50; k++)
		(void)hn_encode(
			encoder, text, sizeof text - 1 - (size_t)(k % 3), 3, &share->out[i], &err);
	hn_encoder_destroy(encoder);
}

/* Catches: memory that encoders of one tokenizer share. */
static void
test_encode_threads_share_a_tokenizer(void **state)
{
	struct share share = {.tok = test_tokenizer_style("tokenizer/llama3.json")};
	struct hone_error err = {0};
	struct hn_pool *pool = NULL;

	(void)state;
	OK(hn_pool_create(&pool, 4, &err));
	hn_pool_run(pool, 16, encode_share, &share);
	hn_pool_destroy(pool);
	assert_true(share.out[0].n > 5);
	for (int i = 0; i < 16; i++) {
		assert_int_equal(share.out[i].n, share.out[0].n);
		assert_memory_equal(share.out[i].ids, share.out[0].ids,
			share.out[0].n * sizeof *share.out[0].ids);
	}
	for (int i = 0; i < 16; i++)
		hn_encoding_fini(&share.out[i]);
	hn_tokenizer_destroy((struct hn_tokenizer *)(uintptr_t)share.tok);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encode_invalid_utf8_names_byte),
		cmocka_unit_test(test_encode_bytes_without_token_are_counted),
		cmocka_unit_test(test_encode_places_tile_and_decode_inverts),
		cmocka_unit_test(test_encode_normalized_places_are_of_the_input),
		cmocka_unit_test(test_encode_unknown_and_whole_words),
		cmocka_unit_test(test_encode_gguf_dropped_byte_keeps_place),
		cmocka_unit_test(test_encode_special_tokens_follow_flags),
		cmocka_unit_test(test_pattern_runaway_and_unknown_constructs_fail),
		cmocka_unit_test(test_pattern_lines_and_new_letters_match),
		cmocka_unit_test(test_bpe_heap_and_search_equal_definition),
		cmocka_unit_test(test_encode_long_word_is_not_quadratic),
		cmocka_unit_test(test_encode_threads_share_a_tokenizer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
