/*
 * test_malformed_tokenizer.c - the files of a tokenizer with one fault each (entries 58 to 61).
 *
 * A fault is a text of tiny-llama's tokenizer.json or tokenizer_config.json put in place of
 * another.  Would catch: a vocabulary, a merge or an added token that is believed, a part of a
 * kind that hone has not and leaves out, an error that names another file than the one to mend.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "refused.h"

#include "base/file.h"
#include "base/str.h"
#include "text/tokenizer.h"

#define MODEL HONE_TEST_DATA "/golden/models/tiny-llama"
#define VOCAB "tokenizer.json"
#define SIDE  "tokenizer_config.json"
#define BYTES "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define SPLIT(regex)                                                                               \
	"\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","         \
	"\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"Isolated\",\"invert\":false}," BYTES \
	"]},\"x\":{\"type\""
#define MERGES "\"merges\":[[\"t\",\"h\"]"
#define PAD    "\"id\":259,\"content\":\"<pad>\""
#define PRE    "\"pre_tokenizer\":{\"type\""

struct fault {
	const char *fault, *file, *from, *to, *place, *cause; /* cause NULL: it is accepted */
};

static const struct fault faults[] = {
	{"58 id twice", VOCAB, "\"!\":33", "\"!\":34", VOCAB, "id 34 has two tokens, '!' and '\"'"},
	{"58 id negative", VOCAB, "\"!\":33", "\"!\":-1", VOCAB, "a number from 0 to"},
	{"58 id 2^31", VOCAB, "\"!\":33", "\"!\":2147483648", VOCAB, "a number from 0 to"},
	{"58 id 2^64", VOCAB, "\"!\":33", "\"!\":18446744073709551616", VOCAB, "a number from 0"},
	{"58 id no whole number", VOCAB, "\"!\":33", "\"!\":33.0", VOCAB, "is expected here"},
	{"58 id a text", VOCAB, "\"!\":33", "\"!\":\"33\"", VOCAB, "a token's id is expected"},
	{"58 ids far apart", VOCAB, "\"!\":33", "\"!\":2000000000", VOCAB,
		"ids go up to 2000000000, but there are"},
	{"58 spelling twice", VOCAB, "\"!\":33", "\"!\":33,\"!\":263", VOCAB,
		"tokens 33 and 263 have the same spelling '!'"},
	{"58 no vocabulary", VOCAB, "\"vocab\":", "\"vocabulary\":", VOCAB,
		"model.vocab is missing"},
	{"58 gap", VOCAB, "\"!\":33,", "", VOCAB,
		NULL}, /* a row nobody uses, as in padded models */
	{"59 part not there", VOCAB, MERGES, "\"merges\":[[\"t\",\"zz\"]", VOCAB,
		"merge 0, 't zz': its right side is not in the vocabulary"},
	{"59 result not there", VOCAB, MERGES, "\"merges\":[[\"q\",\"x\"]", VOCAB,
		"merge 0, 'q x': its result is not in the vocabulary"},
	{"59 one word", VOCAB, MERGES, "\"merges\":[\"th\"", VOCAB, "a merge is two tokens"},
	{"59 three words", VOCAB, MERGES, "\"merges\":[\"t h e\"", VOCAB, "a merge is two tokens"},
	{"59 three parts", VOCAB, MERGES, "\"merges\":[[\"t\",\"h\",\"e\"]", VOCAB, "']'"},
	{"59 number", VOCAB, MERGES, "\"merges\":[7", VOCAB, "a merge is expected here"},
	{"59 texts and pairs", VOCAB, MERGES, "\"merges\":[\"t h\"", VOCAB, NULL},
	{"59 no merges", VOCAB, "\"merges\":", "\"merge\":", VOCAB, "model.merges is missing"},
	{"60 another token's id", VOCAB, PAD, "\"id\":258,\"content\":\"<pad>\"", VOCAB,
		"added token '<pad>' has the id 258, which is the token '<|im_end|>'"},
	{"60 another id than in the vocabulary", VOCAB, PAD, "\"id\":999,\"content\":\"<pad>\"",
		VOCAB, "'<pad>' has the id 999, in the vocabulary it is 259"},
	{"60 id negative", VOCAB, PAD, "\"id\":-1,\"content\":\"<pad>\"", VOCAB, "added_tokens[3]"},
	{"60 empty", VOCAB, PAD, "\"id\":259,\"content\":\"\"", VOCAB, "added_tokens[3] needs"},
	{"60 special token that is none", SIDE, "\"eos_token\": \"<|im_end|>\"",
		"\"eos_token\": \"<nope>\"", SIDE, "eos_token is '<nope>', which is no token"},
	{"60 special token of another kind", SIDE, "\"eos_token\": \"<|im_end|>\"",
		"\"eos_token\": 258", SIDE, "eos_token must be a text"},
	{"60 side file cut", SIDE, "\"clean_up", "{", SIDE, "expected"},
	{"61 normaliser", VOCAB, "\"normalizer\":null", "\"normalizer\":{\"type\":\"Nmt\"}", VOCAB,
		"normalizer 'Nmt' is not supported; there are NFC"},
	{"61 normaliser in a list", VOCAB, "\"normalizer\":null",
		"\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},"
		"{\"type\":\"Nmt\"}]}",
		VOCAB, "(at normalizer.normalizers[1])"},
	{"61 pre-tokenizer", VOCAB, "\"type\":\"Digits\"", "\"type\":\"Metaspace\"", VOCAB,
		"(at pre_tokenizer.pretokenizers[0])"},
	{"61 decoder", VOCAB, "\"decoder\":{\"type\":\"ByteLevel\"",
		"\"decoder\":{\"type\":\"Metaspace\"", VOCAB,
		"decoder 'Metaspace' is not supported"},
	{"61 post-processor", VOCAB, "\"post_processor\":null",
		"\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"Bert\"}]}",
		VOCAB, "(at post_processor.processors[0])"},
	{"61 post-processor without its token", VOCAB, "\"post_processor\":null",
		"\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
		"{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],"
		"\"special_tokens\":{}}",
		VOCAB, "names the special token '<s>' and gives no ids"},
	{"61 kind of model", VOCAB, "\"type\":\"BPE\"", "\"type\":\"Unigram\"", VOCAB,
		"model.type is 'Unigram'"},
	{"61 pattern that does not compile", VOCAB, PRE, SPLIT("(a"), VOCAB,
		"missing closing parenthesis"},
	{"61 pattern that refers back", VOCAB, PRE, SPLIT("(a)\\\\1"), VOCAB, "not supported"},
	{"61 pattern that recurses", VOCAB, PRE, SPLIT("(a|(?R))*"), VOCAB, "'(?R)' at byte 3"},
};

/* Copies a file of the model, with the fault if it is in this one. */
static void
copy(const char *folder, const char *name, const struct fault *f)
{
	char *from = hn_path_join(MODEL, name), *to = hn_path_join(folder, name), *text, *at;
	struct hone_error err = {0};
	struct hn_str out = {0};
	size_t n;

	assert_int_equal(hn_file_read(from, 1 << 24, HONE_EIO, &text, &n, &err), HONE_OK);
	if (strcmp(name, f->file) == 0) {
		at = strstr(text, f->from);
		if (!at)
			fail_msg("%s: no %s in %s", f->fault, f->from, name);
		hn_str_add(&out, text, (size_t)(at - text));
		hn_str_puts(&out, f->to);
		hn_str_puts(&out, at + strlen(f->from));
	} else {
		hn_str_add(&out, text, n);
	}
	assert_int_equal(hn_file_replace(to, out.text, out.len, &err), HONE_OK);
	hn_str_fini(&out);
	free(text);
	free(from);
	free(to);
}

static void
test_tokenizer_file_fault_is_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		char *folder = test_folder_make(), *place = hn_path_join(folder, faults[i].place);
		struct hn_tokenizer *tok = NULL;
		struct hone_error err = {0};
		enum hone_status st;

		copy(folder, VOCAB, &faults[i]);
		copy(folder, SIDE, &faults[i]);
		st = hn_tokenizer_load(&tok, folder, &err);
		if (faults[i].cause)
			test_refused(st, &err, faults[i].fault, place, faults[i].cause);
		else if (st)
			fail_msg("%s: %s", faults[i].fault, err.text);
		assert_int_equal(tok == NULL, st != HONE_OK);
		hn_tokenizer_destroy(tok);
		free(place);
		test_folder_remove(folder);
	}
}

/* Would catch: "no such file" where a tokenizer of another kind lies in the folder. */
static void
test_tokenizer_of_another_kind_is_named(void **state)
{
	static const char *const others[] = {"tokenizer.model", "vocab.json", NULL};
	struct hn_tokenizer *tok;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		char *folder = test_folder_make(), *path;
		struct hone_error err = {0};

		if (others[i]) {
			path = hn_path_join(folder, others[i]);
			assert_int_equal(hn_file_replace(path, "{}", 2, &err), HONE_OK);
			free(path);
		}
		test_refused(hn_tokenizer_load(&tok, folder, &err), &err, "another kind", folder,
			others[i] ? "save_pretrained" : "there is no tokenizer.json in it");
		if (others[i])
			assert_non_null(strstr(err.text, others[i]));
		assert_null(tok);
		test_folder_remove(folder);
	}
}

/* 61.  Would catch: a pattern of the file that makes a short text take for ever. */
static void
test_tokenizer_pattern_that_backtracks_is_stopped(void **state)
{
	static const struct fault slow = {
		"61 backtracking", VOCAB, PRE, SPLIT("(a+)+$"), VOCAB, NULL};
	char *folder = test_folder_make(), text[5001];
	struct hn_encoding encoding = {0};
	struct hn_encoder *encoder;
	struct hn_tokenizer *tok;
	struct hone_error err = {0};

	(void)state;
	memset(text, 'a', sizeof text);
	text[sizeof text - 1] = 'b';
	copy(folder, VOCAB, &slow);
	copy(folder, SIDE, &slow);
	assert_int_equal(hn_tokenizer_load(&tok, folder, &err), HONE_OK);
	assert_int_equal(hn_encoder_create(&encoder, tok, &err), HONE_OK);
	assert_int_equal(hn_encode(encoder, text, sizeof text, 0, &encoding, &err), HONE_EDATA);
	assert_non_null(strstr(err.text, "takes too long on this text"));
	assert_int_equal(encoding.n, 0);
	hn_encoding_fini(&encoding);
	hn_encoder_destroy(encoder);
	hn_tokenizer_destroy(tok);
	test_folder_remove(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tokenizer_file_fault_is_named),
		cmocka_unit_test(test_tokenizer_of_another_kind_is_named),
		cmocka_unit_test(test_tokenizer_pattern_that_backtracks_is_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
