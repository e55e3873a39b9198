/*
 * test_tokenizer.c - what the comparison with other libraries does not reach: refusals, places,
 * special tokens, side files, patterns that run away, and merging by heap against by search.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/rng.h"
#include "text/bpe_train.h"
#include "modelfile.h"
#include "model/gguf.h"
#include "text/parts.h"
#include "text/tokenizer_gguf.h"

/* Fails the test with the error's text. */
#define OK(call)                                                                                   \
	do {                                                                                       \
		if (call)                                                                          \
			fail_msg("%s: %s", err.place, err.text);                                   \
	} while (0)

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"
#define ROBERTA    "{\"type\":\"RobertaProcessing\",\"cls\":[\"<s>\",4],\"sep\":[\"<s>\",4]}"
#define SMALL_MODEL                                                                                \
	"{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"Ġ\":3},\"merges\":[\"a b\"]}"

/* A tokenizer.json of parts; NULL = null, or the small model. */
static char *
document(const char *added, const char *norm, const char *pre, const char *post, const char *model)
{
	struct hn_str text = {0};

	hn_str_printf(&text,
		"{\"added_tokens\":[%s],\n\"normalizer\":%s,\n\"pre_tokenizer\":%s,\n"
		"\"post_processor\":%s,\n\"decoder\":null,\n\"model\":%s}",
		added ? added : "", norm ? norm : "null", pre ? pre : BYTE_LEVEL,
		post ? post : "null", model ? model : SMALL_MODEL);
	return hn_str_take(&text);
}

static enum hone_status
parse(struct hn_tokenizer **tok, const char *json, const char *config, const char *generation,
	struct hone_error *err)
{
	const struct hn_tokenizer_files files = {
		.origin = "t.json",
		.tokenizer_json = {json, strlen(json)},
		.tokenizer_config = {config, config ? strlen(config) : 0},
		.generation_config = {generation, generation ? strlen(generation) : 0},
	};

	return hn_tokenizer_parse(tok, &files, err);
}

/* Parses, expects a refusal and that its text holds a word. */
static void
refused(char *json, enum hone_status status, const char *word)
{
	struct hone_error err = {0};
	struct hn_tokenizer *tok = NULL;

	assert_int_equal(parse(&tok, json, NULL, NULL, &err), status);
	assert_null(tok);
	assert_string_equal(err.place, "t.json");
	if (!strstr(err.text, word))
		fail_msg("'%s' does not say '%s'", err.text, word);
	free(json);
}

static struct hn_tokenizer *
accepted(char *json, const char *config, const char *generation)
{
	struct hone_error err = {0};
	struct hn_tokenizer *tok = NULL;

	OK(parse(&tok, json, config, generation, &err));
	free(json);
	return tok;
}

/* The ids of a text, as "1 2 3". */
static void
expect_ids(const struct hn_tokenizer *tok, const char *text, unsigned flags, const char *want)
{
	struct hone_error err = {0};
	struct hn_encoder *encoder = NULL;
	struct hn_encoding out = {0};
	struct hn_str got = {0};

	OK(hn_encoder_create(&encoder, tok, &err));
	OK(hn_encode(encoder, text, strlen(text), flags, &out, &err));
	hn_str_puts(&got, "");
	for (size_t i = 0; i < out.n; i++)
		hn_str_printf(&got, "%s%d", i ? " " : "", out.ids[i]);
	assert_string_equal(got.text, want);
	hn_str_fini(&got);
	hn_encoding_fini(&out);
	hn_encoder_destroy(encoder);
}

/* A style of tests/data/tokenizer. */
static struct hn_tokenizer *
style(const char *name)
{
	struct hone_error err = {0};
	char *path = test_data_path(name), *text = NULL;
	size_t n = 0;

	OK(hn_file_read(path, 1 << 24, HONE_EMODEL, &text, &n, &err));
	free(path);
	return accepted(text, NULL, NULL);
}

/* Catches: a part of an unknown kind that is left out instead of refused. */
static void
test_tokenizer_unsupported_part_is_named(void **state)
{
	(void)state;
	refused(document(NULL, NULL, NULL, NULL, "{\"type\":\"Unigram\",\"vocab\":[]}"),
		HONE_EUNSUPPORTED, "'Unigram'");
	refused(document(NULL, NULL, NULL, NULL, "{\"type\":\"WordPiece\",\"vocab\":{}}"),
		HONE_EUNSUPPORTED, "'WordPiece'");
	refused(document(NULL, NULL, "{\"type\":\"Metaspace\"}", NULL, NULL), HONE_EUNSUPPORTED,
		"'Metaspace'");
	refused(document(NULL, NULL, "null", NULL, NULL), HONE_EUNSUPPORTED, "ByteLevel");
	refused(document(NULL, "{\"type\":\"Nmt\"}", NULL, NULL, NULL), HONE_EUNSUPPORTED, "'Nmt'");
	refused(document(NULL, NULL, NULL, "{\"type\":\"Other\"}", NULL), HONE_EUNSUPPORTED,
		"'Other'");
	refused(document(NULL, NULL, NULL, NULL,
			"{\"type\":\"BPE\",\"end_of_word_suffix\":\"</"
			"w>\",\"vocab\":{},\"merges\":[]}"),
		HONE_EUNSUPPORTED, "end_of_word_suffix");
	refused(document("{\"id\":4,\"content\":\"<s>\"}", NULL, NULL,
			"{\"type\":\"Sequence\",\"processors\":[" ROBERTA "," ROBERTA "]}", NULL),
		HONE_EUNSUPPORTED, "more than one part");
	refused(document(NULL, NULL, NULL, ROBERTA, NULL), HONE_EMODEL, "id 4, which is no token");
	refused(document(NULL, NULL, NULL, NULL,
			"{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{},\"merges\":[]}"),
		HONE_EUNSUPPORTED, "dropout");
	refused(document(NULL, NULL,
			"{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL
			",{\"type\":\"Digits\"}]}",
			NULL, NULL),
		HONE_EUNSUPPORTED, "after ByteLevel");
}

/* Catches: a damaged vocabulary that is taken, with ids that are wrong or out of bounds. */
static void
test_tokenizer_damaged_vocabulary_is_refused(void **state)
{
#define MODEL(vocab, merges) "{\"vocab\":{" vocab "},\"merges\":[" merges "]}"
	static const struct {
		const char *model, *word;
	} cases[] = {
		{MODEL("\"a\":0,\"b\":0", ""), "id 0 has two tokens"},
		{MODEL("\"a\":0,\"a\":1", ""), "same spelling"},
		{MODEL("\"a\":70000", ""), "ids go up to 70000"},
		{MODEL("\"a\":-1", ""), "a token's id is expected"},
		{MODEL("\"a\":2147483647", ""), "a token's id is expected"},
		{MODEL("\"a\":1.5", ""), "',' or '}' is expected"},
		{MODEL("\"a\":01", ""), "a token's id is expected"},
		{MODEL("", ""), "there are 0 tokens"},
		{MODEL("\"a\":0", "\"a b\""), "right side"},
		{MODEL("\"b\":0", "\"a b\""), "left side"},
		{MODEL("\"a\":0,\"b\":1", "\"a b\""), "its result"},
		{MODEL("\"a\":0,\"b\":1", "\"ab\""), "one space between"},
		{MODEL("\"a\":0,\"b\":1", "[\"a\"]"), "',' is expected"},
		{MODEL("\"a\":0,\"b\":1", "7"), "a merge is expected"},
		{MODEL("\"\\ud800\":0", ""), "invalid character or escape"},
		{MODEL("\"\\x41\":0", ""), "invalid character or escape"},
		{"{\"vocab\":{\"a\":0}}", "model.merges is missing"},
		{"{\"merges\":[]}", "model.vocab is missing"},
		{"{\"unk_token\":\"u\",\"vocab\":{\"a\":0},\"merges\":[]}", "unk_token 'u'"},
		{"{\"vocab\":{\"a\":0},\"vocab\":{\"b\":0},\"merges\":[]}", "duplicate"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		refused(document(NULL, NULL, NULL, NULL, cases[i].model), HONE_EMODEL,
			cases[i].word);
	refused(document("{\"id\":1,\"content\":\"a\"}", NULL, NULL, NULL, NULL), HONE_EMODEL,
		"the id 1, which is the token 'b'");
	refused(document("{\"id\":9,\"content\":\"a\"}", NULL, NULL, NULL, NULL), HONE_EMODEL,
		"in the vocabulary it is 0");
	refused(document("{\"id\":9,\"content\":\"x\"},{\"id\":8,\"content\":\"x\"}", NULL, NULL,
			NULL, NULL),
		HONE_EMODEL, "are both 'x'");
	refused(document("{\"id\":9,\"content\":\"\"}", NULL, NULL, NULL, NULL), HONE_EMODEL,
		"added_tokens[0]");
#undef MODEL
}

/* Catches: a message without the line and column in the two values that are read apart, or
 * lines behind them that are off. */
static void
test_tokenizer_error_names_line_and_column(void **state)
{
	struct hone_error err = {0};
	struct hn_tokenizer *tok = NULL;
	static const char in_vocab[] =
		"{\"model\":{\n\"vocab\":{\"a\":0,\n  \"b\" 1},\"merges\":[]}}";
	static const char behind[] = "{\"model\":{\"vocab\":{\n\n\"a\":0},\"merges\":[\n]},\n  x}";

	(void)state;
	assert_int_equal(parse(&tok, in_vocab, NULL, NULL, &err), HONE_EMODEL);
	assert_int_equal(err.line, 3);
	assert_int_equal(err.column, 7);
	assert_int_equal(parse(&tok, behind, NULL, NULL, &err), HONE_EMODEL);
	assert_int_equal(err.line, 5);
}

/* Catches: recursion on input, and a step count without a bound. */
static void
test_tokenizer_deep_sequences_are_refused(void **state)
{
	struct hn_str norm = {0};

	(void)state;
	for (int i = 0; i < 40; i++)
		hn_str_puts(&norm, "{\"type\":\"Sequence\",\"normalizers\":[");
	hn_str_puts(&norm, "{\"type\":\"NFC\"}");
	for (int i = 0; i < 40; i++)
		hn_str_puts(&norm, "]}");
	refused(document(NULL, norm.text, NULL, NULL, NULL), HONE_EMODEL, "too many steps");
	hn_str_fini(&norm);
}

/* Catches: a name of a pre-tokenizer that is guessed. */
static void
test_tokenizer_unknown_pre_is_refused(void **state)
{
	static const struct hn_text tokens[] = {{"a", 1}};
	struct hn_tokenizer_spec spec = {.origin = "m.gguf",
		.pre = "brand-new",
		.tokens = tokens,
		.n_tokens = 1,
		.bos = -1,
		.eos = -1,
		.unk = -1,
		.pad = -1};
	struct hone_error err = {0};
	struct hn_tokenizer *tok = NULL;

	(void)state;
	assert_int_equal(hn_tokenizer_create(&tok, &spec, &err), HONE_EUNSUPPORTED);
	assert_non_null(strstr(err.text, "'brand-new'"));
	assert_string_equal(err.place, "m.gguf");
	spec.pre = NULL;
	assert_int_equal(hn_tokenizer_create(&tok, &spec, &err), HONE_EUNSUPPORTED);
	spec.pre = "smollm";
	spec.eos = 1;
	assert_int_equal(hn_tokenizer_create(&tok, &spec, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "eos_token_id is 1; there are 1"));
}

/* Catches: an encoding of bytes that are not text, and a wrong offset in the message. */
static void
test_encode_invalid_utf8_names_byte(void **state)
{
	struct hn_tokenizer *tok = accepted(document(NULL, NULL, NULL, NULL, NULL), NULL, NULL);
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
	struct hn_tokenizer *tok = accepted(document(NULL, NULL, NULL, NULL, NULL), NULL, NULL);
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
	struct hn_tokenizer *tok = style("tokenizer/gpt4o.json");
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
	struct hn_tokenizer *tok =
		accepted(document(NULL, "{\"type\":\"NFC\"}", NULL, NULL, NULL), NULL, NULL);
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
		tok = accepted(document(NULL, NULL, NULL, NULL, model.text), NULL, NULL);
		expect_ids(tok, "axyzaxa", 0, fuse ? "0 1 0 1 0" : "0 1 1 1 0 1 0");
		hn_tokenizer_destroy(tok);
	}
	hn_str_fini(&model);
	tok = accepted(
		document(NULL, NULL, NULL, NULL,
			"{\"ignore_merges\":true,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"aba\":3},"
			"\"merges\":[\"a b\"]}"),
		NULL, NULL);
	expect_ids(tok, "aba", 0, "3");
	expect_ids(tok, "abab", 0, "2 2");
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
	expect_ids(tok, "!\xF1\x80\x80\x80", 0, "0 1 1 1");
	hn_tokenizer_destroy(tok);
}

/* Catches: special tokens that stay special when asked not to, and that come out of decoding. */
static void
test_encode_special_tokens_follow_flags(void **state)
{
	struct hn_tokenizer *tok =
		accepted(document("{\"id\":4,\"content\":\"<s>\",\"special\":true},"
				  "{\"id\":5,\"content\":\"aa\",\"special\":false},"
				  "{\"id\":6,\"content\":\"aab\",\"special\":false}",
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
	expect_ids(tok, "a<s>b", HN_ENCODE_PARSE_SPECIAL, "0 4 1");
	expect_ids(tok, "a<s>b", 0, "0 1");
	expect_ids(tok, "ab", HN_ENCODE_ADD_SPECIAL, "4 2");
	expect_ids(tok, "aabaaa", 0, "6 5 0");
	assert_true(hn_tokenizer_adds_bos(tok));
	assert_false(hn_tokenizer_adds_eos(tok));
	OK(hn_tokenizer_decode(tok, (int32_t[]){4, 2, 3, 6}, 4, true, &back, &err));
	assert_string_equal(back.text, "ab aab");
	assert_int_equal(
		hn_tokenizer_decode(tok, (int32_t[]){7}, 1, true, &back, &err), HONE_EINVAL);
	hn_str_fini(&back);
	hn_tokenizer_destroy(tok);
}

/* Catches: 1e30 in tokenizer_config.json refused, ends of a list lost, a template not found. */
static void
test_tokenizer_side_files_are_read(void **state)
{
	static const char config[] =
		"{\"model_max_length\":1000000000000000019884624838656,"
		"\"bos_token\":{\"content\":\"a\"},\"eos_token\":\"b\",\"pad_token\":null,"
		"\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"no\"},"
		"{\"name\":\"default\",\"template\":\"yes\"}]}";
	static const char generation[] = "{\"eos_token_id\":[3,1,99],\"pad_token_id\":2}";
	struct hone_error err = {0};
	struct hn_tokenizer *tok =
		accepted(document(NULL, NULL, NULL, NULL, NULL), config, generation);
	size_t n = 0;
	const int32_t *ends = hn_tokenizer_ends(tok, &n);
	char *json = document(NULL, NULL, NULL, NULL, NULL);

	(void)state;
	assert_int_equal(hn_tokenizer_bos(tok), 0);
	assert_int_equal(hn_tokenizer_eos(tok), 1);
	assert_int_equal(hn_tokenizer_pad(tok), 2);
	assert_int_equal(n, 2);
	assert_int_equal(ends[0], 1);
	assert_int_equal(ends[1], 3);
	assert_string_equal(hn_tokenizer_chat_template(tok).bytes, "yes");
	hn_tokenizer_destroy(tok);
	assert_int_equal(parse(&tok, json, "{\"eos_token\":\"zz\"}", NULL, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "'zz'"));
	free(json);
}

/* Catches: a change of what decides ids that the resume check would not see. */
static void
test_tokenizer_hash_sees_each_part(void **state)
{
	static const char *const pre = "{\"type\":\"ByteLevel\",\"use_regex\":false}";
	struct hn_tokenizer *toks[] = {
		accepted(document(NULL, NULL, NULL, NULL, NULL), NULL, NULL),
		accepted(document(NULL, "{\"type\":\"NFC\"}", NULL, NULL, NULL), NULL, NULL),
		accepted(document(NULL, NULL, pre, NULL, NULL), NULL, NULL),
		accepted(document("{\"id\":4,\"content\":\"c\"}", NULL, NULL, NULL, NULL), NULL,
			NULL),
		accepted(document(NULL, NULL, NULL, NULL, NULL), "{\"chat_template\":\"x\"}", NULL),
		accepted(document(NULL, NULL, NULL, NULL, NULL), "{\"eos_token\":\"a\"}", NULL),
		accepted(document(NULL, NULL, NULL, NULL,
				 "{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"Ġ\":3},\"merges\":[]}"),
			NULL, NULL),
		accepted(document(NULL, NULL, NULL, NULL,
				 "{\"vocab\":{\"a\":1,\"b\":0,\"ab\":2,\"Ġ\":3},\"merges\":[\"a "
				 "b\"]}"),
			NULL, NULL),
	};
	enum { N = sizeof toks / sizeof toks[0] };
	char hash[N + 1][33];

	(void)state;
	for (size_t i = 0; i < N; i++) {
		hn_tokenizer_hash(toks[i], hash[i]);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(hash[i], hash[k]);
		hn_tokenizer_destroy(toks[i]);
	}
	/* The same tokenizer in other words: white space, escapes, merges as pairs. */
	toks[0] = accepted(
		document(NULL, NULL, NULL, NULL,
			"{\"merges\" : [ [ \"a\" , \"\\u0062\" ] ],\n\"vocab\": { \"b\" : 1,"
			"\"a\":0 ,\"ab\":2,\"\\u0120\":3}, \"type\":\"BPE\"}"),
		NULL, NULL);
	hn_tokenizer_hash(toks[0], hash[N]);
	assert_string_equal(hash[N], hash[0]);
	hn_tokenizer_destroy(toks[0]);
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
			HONE_EUNSUPPORTED);
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

/* Key, "string array" and its elements, into a GGUF file. */
static void
put_strings(struct hn_str *out, const char *key, const char *const *texts, size_t n)
{
	test_put_key(out, key, 9);
	test_put_u32(out, 8);
	test_put_u64(out, n);
	for (size_t i = 0; i < n; i++)
		test_put_string(out, texts[i]);
}

/* A GGUF file with a tokenizer of two tokens and `n_types` types. */
static enum hone_status
from_gguf(const char *model, const char *pre, uint64_t n_types, struct hone_error *err)
{
	static const char *const tokens[] = {"a", "b"};
	struct hn_str text = {0};
	struct hn_tensor_file file = {0};
	struct hn_tokenizer *tok = NULL;
	enum hone_status st;

	test_put_gguf(&text, 3, 0, pre ? 5 : 4);
	test_put_kv_string(&text, "tokenizer.ggml.model", model);
	if (pre)
		test_put_kv_string(&text, "tokenizer.ggml.pre", pre);
	put_strings(&text, "tokenizer.ggml.tokens", tokens, 2);
	put_strings(&text, "tokenizer.ggml.merges", tokens, 0);
	test_put_key(&text, "tokenizer.ggml.token_type", 9);
	test_put_u32(&text, 5);
	test_put_u64(&text, n_types);
	for (uint64_t i = 0; i < n_types; i++)
		test_put_u32(&text, HN_TOKEN_NORMAL);
	test_put_padding(&text, 32);
	assert_int_equal(
		hn_gguf_parse(&file, (const uint8_t *)text.text, text.len, "m.gguf", err), HONE_OK);
	st = hn_tokenizer_from_gguf(&tok, &file, err);
	assert_true(st ? !tok : tok != NULL);
	hn_tokenizer_destroy(tok);
	hn_tensor_file_close(&file);
	hn_str_fini(&text);
	return st;
}

/* Catches: a kind of tokenizer in a GGUF file that is taken for another, arrays of unequal
 * lengths. */
static void
test_tokenizer_gguf_metadata_is_checked(void **state)
{
	struct hone_error err = {0};

	(void)state;
	assert_int_equal(from_gguf("gpt2", "smollm", 2, &err), HONE_OK);
	assert_int_equal(from_gguf("llama", "smollm", 2, &err), HONE_EUNSUPPORTED);
	assert_non_null(strstr(err.text, "'llama'"));
	assert_int_equal(from_gguf("gpt2", "other", 2, &err), HONE_EUNSUPPORTED);
	assert_non_null(strstr(err.text, "'other'"));
	assert_int_equal(from_gguf("gpt2", NULL, 2, &err), HONE_EUNSUPPORTED);
	assert_non_null(strstr(err.text, "pre is missing"));
	assert_int_equal(from_gguf("gpt2", "smollm", 3, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "3 values for 2 tokens"));
	assert_string_equal(err.place, "m.gguf");
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
	struct hn_tokenizer *tok = style("tokenizer/gpt4o.json");
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
	struct hn_tokenizer *tok = style("tokenizer/llama3.json");
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

/* Catches: a vocabulary too small for the bytes, special tokens that are equal, input that is
 * not text, and a second run that differs. */
static void
test_bpe_train_checks_and_is_deterministic(void **state)
{
	static const struct hn_text twice[] = {{"<s>", 3}, {"<s>", 3}};
	static const char text[] = "low lower lowest newest widest 2024 2025\nlow low new new\n";
	struct hn_bpe_train_options options = {
		.vocab_size = 255, .bos = -1, .eos = -1, .unk = -1, .pad = -1};
	struct hn_bpe_trainer *trainer = NULL;
	struct hn_tokenizer *tok[2] = {NULL, NULL};
	struct hone_error err = {0};
	char hash[2][33];

	(void)state;
	OK(hn_bpe_trainer_create(&trainer, &err));
	OK(hn_bpe_trainer_feed(trainer, text, sizeof text - 1, &err));
	assert_int_equal(hn_bpe_trainer_feed(trainer, "a\xFF", 2, &err), HONE_EDATA);
	assert_int_equal(hn_bpe_trainer_finish(trainer, &options, &tok[0], &err), HONE_EINVAL);
	options.vocab_size = 280;
	options.special = twice;
	options.n_special = 2;
	assert_int_equal(hn_bpe_trainer_finish(trainer, &options, &tok[0], &err), HONE_EINVAL);
	options.n_special = 1;
	options.eos = 0;
	for (int i = 0; i < 2; i++) {
		OK(hn_bpe_trainer_finish(trainer, &options, &tok[i], &err));
		hn_tokenizer_hash(tok[i], hash[i]);
	}
	assert_string_equal(hash[0], hash[1]);
	assert_true(hn_tokenizer_vocab_size(tok[0]) > 257);
	expect_ids(tok[0], "<s>", HN_ENCODE_PARSE_SPECIAL, "0");
	assert_int_equal(hn_tokenizer_find(tok[0], "low", 3) > 256, true);
	hn_tokenizer_destroy(tok[0]);
	hn_tokenizer_destroy(tok[1]);
	hn_bpe_trainer_destroy(trainer);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tokenizer_unsupported_part_is_named),
		cmocka_unit_test(test_tokenizer_damaged_vocabulary_is_refused),
		cmocka_unit_test(test_tokenizer_error_names_line_and_column),
		cmocka_unit_test(test_tokenizer_deep_sequences_are_refused),
		cmocka_unit_test(test_tokenizer_unknown_pre_is_refused),
		cmocka_unit_test(test_encode_invalid_utf8_names_byte),
		cmocka_unit_test(test_encode_bytes_without_token_are_counted),
		cmocka_unit_test(test_encode_places_tile_and_decode_inverts),
		cmocka_unit_test(test_encode_normalized_places_are_of_the_input),
		cmocka_unit_test(test_encode_unknown_and_whole_words),
		cmocka_unit_test(test_encode_gguf_dropped_byte_keeps_place),
		cmocka_unit_test(test_encode_special_tokens_follow_flags),
		cmocka_unit_test(test_tokenizer_side_files_are_read),
		cmocka_unit_test(test_tokenizer_hash_sees_each_part),
		cmocka_unit_test(test_pattern_runaway_and_unknown_constructs_fail),
		cmocka_unit_test(test_pattern_lines_and_new_letters_match),
		cmocka_unit_test(test_tokenizer_gguf_metadata_is_checked),
		cmocka_unit_test(test_bpe_heap_and_search_equal_definition),
		cmocka_unit_test(test_encode_long_word_is_not_quadratic),
		cmocka_unit_test(test_bpe_train_checks_and_is_deterministic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
