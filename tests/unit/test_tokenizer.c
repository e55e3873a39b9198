/*
 * test_tokenizer.c - making tokenizers: what is refused and with which words, side files, the
 * hash, GGUF metadata, and training.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "model/gguf.h"
#include "modelfile.h"
#include "text/bpe_train.h"
#include "text/tokenizer_gguf.h"
#include "tokenizers.h"

/* Fails the test with the error's text. */
#define OK(call)                                                                                   \
	do {                                                                                       \
		if (call)                                                                          \
			fail_msg("%s: %s", err.place, err.text);                                   \
	} while (0)

/* Parses, expects a refusal and that its text holds a word. */
static void
refused(char *json, enum hone_status status, const char *word)
{
	struct hone_error err = {0};
	struct hn_tokenizer *tok = NULL;

	assert_int_equal(test_tokenizer_parse(&tok, json, NULL, NULL, &err), status);
	assert_null(tok);
	assert_string_equal(err.place, "t.json");
	if (!strstr(err.text, word))
		fail_msg("'%s' does not say '%s'", err.text, word);
	free(json);
}

/* Catches: a part of an unknown kind that is left out instead of refused. */
static void
test_tokenizer_unsupported_part_is_named(void **state)
{
	(void)state;
	refused(test_tokenizer_document(
			NULL, NULL, NULL, NULL, "{\"type\":\"Unigram\",\"vocab\":[]}"),
		HONE_EMODEL, "'Unigram'");
	refused(test_tokenizer_document(
			NULL, NULL, NULL, NULL, "{\"type\":\"WordPiece\",\"vocab\":{}}"),
		HONE_EMODEL, "'WordPiece'");
	refused(test_tokenizer_document(NULL, NULL, "{\"type\":\"Metaspace\"}", NULL, NULL),
		HONE_EMODEL, "'Metaspace'");
	refused(test_tokenizer_document(NULL, NULL, "null", NULL, NULL), HONE_EMODEL, "ByteLevel");
	refused(test_tokenizer_document(NULL, "{\"type\":\"Nmt\"}", NULL, NULL, NULL), HONE_EMODEL,
		"'Nmt'");
	refused(test_tokenizer_document(NULL, NULL, NULL, "{\"type\":\"Other\"}", NULL),
		HONE_EMODEL, "'Other'");
	refused(test_tokenizer_document(NULL, NULL, NULL, NULL,
			"{\"type\":\"BPE\",\"end_of_word_suffix\":\"</"
			"w>\",\"vocab\":{},\"merges\":[]}"),
		HONE_EMODEL, "end_of_word_suffix");
	refused(test_tokenizer_document("{\"id\":4,\"content\":\"<s>\"}", NULL, NULL,
			"{\"type\":\"Sequence\",\"processors\":[" ROBERTA "," ROBERTA "]}", NULL),
		HONE_EMODEL, "more than one part");
	refused(test_tokenizer_document(NULL, NULL, NULL, ROBERTA, NULL), HONE_EMODEL,
		"id 4, which is no token");
	refused(test_tokenizer_document(NULL, NULL, NULL, NULL,
			"{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{},\"merges\":[]}"),
		HONE_EMODEL, "dropout");
	refused(test_tokenizer_document(NULL, NULL,
			"{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL
			",{\"type\":\"Digits\"}]}",
			NULL, NULL),
		HONE_EMODEL, "after ByteLevel");
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
		refused(test_tokenizer_document(NULL, NULL, NULL, NULL, cases[i].model),
			HONE_EMODEL, cases[i].word);
	refused(test_tokenizer_document("{\"id\":1,\"content\":\"a\"}", NULL, NULL, NULL, NULL),
		HONE_EMODEL, "the id 1, which is the token 'b'");
	refused(test_tokenizer_document("{\"id\":9,\"content\":\"a\"}", NULL, NULL, NULL, NULL),
		HONE_EMODEL, "in the vocabulary it is 0");
	refused(test_tokenizer_document("{\"id\":9,\"content\":\"x\"},{\"id\":8,\"content\":\"x\"}",
			NULL, NULL, NULL, NULL),
		HONE_EMODEL, "are both 'x'");
	refused(test_tokenizer_document("{\"id\":9,\"content\":\"\"}", NULL, NULL, NULL, NULL),
		HONE_EMODEL, "added_tokens[0]");
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
	assert_int_equal(test_tokenizer_parse(&tok, in_vocab, NULL, NULL, &err), HONE_EMODEL);
	assert_int_equal(err.line, 3);
	assert_int_equal(err.column, 7);
	assert_int_equal(test_tokenizer_parse(&tok, behind, NULL, NULL, &err), HONE_EMODEL);
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
	refused(test_tokenizer_document(NULL, norm.text, NULL, NULL, NULL), HONE_EMODEL,
		"too many steps");
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
	assert_int_equal(hn_tokenizer_create(&tok, &spec, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "'brand-new'"));
	assert_string_equal(err.place, "m.gguf");
	spec.pre = NULL;
	assert_int_equal(hn_tokenizer_create(&tok, &spec, &err), HONE_EMODEL);
	spec.pre = "smollm";
	spec.eos = 1;
	assert_int_equal(hn_tokenizer_create(&tok, &spec, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "eos_token_id is 1; there are 1"));
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
	struct hn_tokenizer *tok = test_tokenizer_accepted(
		test_tokenizer_document(NULL, NULL, NULL, NULL, NULL), config, generation);
	size_t n = 0;
	const int32_t *ends = hn_tokenizer_ends(tok, &n);
	char *json = test_tokenizer_document(NULL, NULL, NULL, NULL, NULL);

	(void)state;
	assert_int_equal(hn_tokenizer_bos(tok), 0);
	assert_int_equal(hn_tokenizer_eos(tok), 1);
	assert_int_equal(hn_tokenizer_pad(tok), 2);
	assert_int_equal(n, 2);
	assert_int_equal(ends[0], 1);
	assert_int_equal(ends[1], 3);
	assert_string_equal(hn_tokenizer_chat_template(tok).bytes, "yes");
	hn_tokenizer_destroy(tok);
	assert_int_equal(test_tokenizer_parse(&tok, json, "{\"eos_token\":\"zz\"}", NULL, &err),
		HONE_EMODEL);
	assert_non_null(strstr(err.text, "'zz'"));
	free(json);
}

/* Catches: a change of what decides ids that the resume check would not see. */
static void
test_tokenizer_hash_sees_each_part(void **state)
{
	static const char *const pre = "{\"type\":\"ByteLevel\",\"use_regex\":false}";
	struct hn_tokenizer *toks[] = {
		test_tokenizer_accepted(
			test_tokenizer_document(NULL, NULL, NULL, NULL, NULL), NULL, NULL),
		test_tokenizer_accepted(
			test_tokenizer_document(NULL, "{\"type\":\"NFC\"}", NULL, NULL, NULL), NULL,
			NULL),
		test_tokenizer_accepted(
			test_tokenizer_document(NULL, NULL, pre, NULL, NULL), NULL, NULL),
		test_tokenizer_accepted(test_tokenizer_document("{\"id\":4,\"content\":\"c\"}",
						NULL, NULL, NULL, NULL),
			NULL, NULL),
		test_tokenizer_accepted(test_tokenizer_document(NULL, NULL, NULL, NULL, NULL),
			"{\"chat_template\":\"x\"}", NULL),
		test_tokenizer_accepted(test_tokenizer_document(NULL, NULL, NULL, NULL, NULL),
			"{\"eos_token\":\"a\"}", NULL),
		test_tokenizer_accepted(
			test_tokenizer_document(NULL, NULL, NULL, NULL,
				"{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"Ġ\":3},\"merges\":[]}"),
			NULL, NULL),
		test_tokenizer_accepted(
			test_tokenizer_document(NULL, NULL, NULL, NULL,
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
	toks[0] = test_tokenizer_accepted(
		test_tokenizer_document(NULL, NULL, NULL, NULL,
			"{\"merges\" : [ [ \"a\" , \"\\u0062\" ] ],\n\"vocab\": { \"b\" : 1,"
			"\"a\":0 ,\"ab\":2,\"\\u0120\":3}, \"type\":\"BPE\"}"),
		NULL, NULL);
	hn_tokenizer_hash(toks[0], hash[N]);
	assert_string_equal(hash[N], hash[0]);
	hn_tokenizer_destroy(toks[0]);
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
	assert_int_equal(from_gguf("llama", "smollm", 2, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "'llama'"));
	assert_int_equal(from_gguf("gpt2", "other", 2, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "'other'"));
	assert_int_equal(from_gguf("gpt2", NULL, 2, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "pre is missing"));
	assert_int_equal(from_gguf("gpt2", "smollm", 3, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "3 values for 2 tokens"));
	assert_string_equal(err.place, "m.gguf");
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
	test_tokenizer_expect_ids(tok[0], "<s>", HN_ENCODE_PARSE_SPECIAL, "0");
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
		cmocka_unit_test(test_tokenizer_side_files_are_read),
		cmocka_unit_test(test_tokenizer_hash_sees_each_part),
		cmocka_unit_test(test_tokenizer_gguf_metadata_is_checked),
		cmocka_unit_test(test_bpe_train_checks_and_is_deterministic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
