/*
 * tokenizers.c - small tokenizer.json documents, and what a test does with them.
 */
#include "tokenizers.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "support.h"

/* Fails the test with the error's text. */
#define OK(call)                                                                                   \
	do {                                                                                       \
		if (call)                                                                          \
			fail_msg("%s: %s", err.place, err.text);                                   \
	} while (0)

char *
test_tokenizer_document(
	const char *added, const char *norm, const char *pre, const char *post, const char *model)
{
	struct hn_str text = {0};

	hn_str_printf(&text,
		"{\"added_tokens\":[%s],\n\"normalizer\":%s,\n\"pre_tokenizer\":%s,\n"
		"\"post_processor\":%s,\n\"decoder\":null,\n\"model\":%s}",
		added ? added : "", norm ? norm : "null", pre ? pre : BYTE_LEVEL,
		post ? post : "null", model ? model : SMALL_MODEL);
	return hn_str_take(&text);
}

enum hone_status
test_tokenizer_parse(struct hn_tokenizer **tok, const char *json, const char *config,
	const char *generation, struct hone_error *err)
{
	const struct hn_tokenizer_files files = {
		.origin = "t.json",
		.tokenizer_json = {json, strlen(json)},
		.tokenizer_config = {config, config ? strlen(config) : 0},
		.generation_config = {generation, generation ? strlen(generation) : 0},
	};

	return hn_tokenizer_parse(tok, &files, err);
}

struct hn_tokenizer *
test_tokenizer_accepted(char *json, const char *config, const char *generation)
{
	struct hone_error err = {0};
	struct hn_tokenizer *tok = NULL;

	OK(test_tokenizer_parse(&tok, json, config, generation, &err));
	free(json);
	return tok;
}

void
test_tokenizer_expect_ids(
	const struct hn_tokenizer *tok, const char *text, unsigned flags, const char *want)
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

struct hn_tokenizer *
test_tokenizer_style(const char *name)
{
	struct hone_error err = {0};
	char *path = test_data_path(name), *text = NULL;
	size_t n = 0;

	OK(hn_file_read(path, 1 << 24, HONE_EMODEL, &text, &n, &err));
	free(path);
	return test_tokenizer_accepted(text, NULL, NULL);
}
