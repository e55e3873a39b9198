/*
 * tokenizers.h - small tokenizer.json documents, and what a test does with them.
 */
#ifndef HN_TEST_TOKENIZERS_H
#define HN_TEST_TOKENIZERS_H

#include "text/tokenizer.h"

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"
#define ROBERTA    "{\"type\":\"RobertaProcessing\",\"cls\":[\"<s>\",4],\"sep\":[\"<s>\",4]}"
#define SMALL_MODEL                                                                                \
	"{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"Ġ\":3},\"merges\":[\"a b\"]}"

/* A tokenizer.json of parts; NULL = null, or the small model.  The caller frees. */
char *test_tokenizer_document(
	const char *added, const char *norm, const char *pre, const char *post, const char *model);
/* Parses with origin "t.json"; config and generation may be NULL. */
enum hone_status test_tokenizer_parse(struct hn_tokenizer **tok, const char *json,
	const char *config, const char *generation, struct hone_error *err);
/* The same where it must succeed; frees `json`. */
struct hn_tokenizer *test_tokenizer_accepted(
	char *json, const char *config, const char *generation);
/* A style of tests/data, for example "tokenizer/gpt4o.json". */
struct hn_tokenizer *test_tokenizer_style(const char *name);
/* Encodes, and compares the ids with "1 2 3". */
void test_tokenizer_expect_ids(
	const struct hn_tokenizer *tok, const char *text, unsigned flags, const char *want);

#endif
