/*
 * fuzz_tokenizer.c - bytes as a tokenizer.json, then a text behind a NUL as its input.
 *
 *     <tokenizer.json> NUL <text>
 *
 * Holds: nothing crashes or hangs; tokens lie inside the text; ids are tokens and decode.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void
encode_with(const struct hn_tokenizer *tok, const char *text, size_t len)
{
	struct hone_error err = {0};
	struct hn_encoder *encoder = NULL;
	struct hn_encoding out = {0};
	struct hn_str back = {0};

	HONE_BUG_ON(hn_encoder_create(&encoder, tok, &err));
	for (unsigned flags = 0; flags < 4; flags++) {
		if (hn_encode(encoder, text, len, flags, &out, &err)) {
			HONE_BUG_ON(out.n != 0 || !err.text[0]);
			continue;
		}
		for (size_t i = 0; i < out.n; i++)
			HONE_BUG_ON(out.begin[i] > out.end[i] || out.end[i] > len ||
				!hn_tokenizer_token(tok, out.ids[i]).len);
		hn_str_clear(&back);
		HONE_BUG_ON(hn_tokenizer_decode(tok, out.ids, out.n, flags & 1, &back, &err));
	}
	hn_str_fini(&back);
	hn_encoding_fini(&out);
	hn_encoder_destroy(encoder);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	const char *text = (const char *)bytes;
	const char *end = n ? memchr(text, '\0', n) : NULL;
	const size_t len = end ? (size_t)(end - text) : n;
	const struct hn_tokenizer_files files = {.origin = "fuzz", .tokenizer_json = {text, len}};
	struct hone_error err = {0};
	struct hn_tokenizer *tok = NULL;
	char hash[33];

	if (hn_tokenizer_parse(&tok, &files, &err)) {
		HONE_BUG_ON(tok || !err.text[0] || !err.place[0]);
		return 0;
	}
	hn_tokenizer_hash(tok, hash);
	if (end)
		encode_with(tok, end + 1, n - len - 1);
	else
		encode_with(tok, "it's 2024 \xC3\xA9\n", 13);
	hn_tokenizer_destroy(tok);
	return 0;
}
