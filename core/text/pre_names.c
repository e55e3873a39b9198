/*
 * pre_names.c - the pre-tokenizers that GGUF files name in tokenizer.ggml.pre.
 *
 * A name stands for patterns that llama.cpp carries; here each is the pre-tokenizer of a
 * tokenizer.json with the same effect, so there is one reader and one writer.  Contractions are
 * spelt '[sS] and not (?i:'s) because llama.cpp spells them so: (?i:) would also fold U+017F.
 * Two of llama.cpp's choices come with a name: llama-bpe takes a word that is a token as it is,
 * and adds begin-of-sequence where the file does not say otherwise.
 *
 * llama.cpp drops a byte without a token and keeps its neighbours apart; Hugging Face's library
 * would let them merge.  So such bytes (SmolLM2 has six of them among the control characters)
 * are made words of their own, which has llama.cpp's effect in both libraries.
 *
 * Names whose patterns have not been compared with llama.cpp are not listed, and a name that is
 * not listed is refused: a wrong pre-tokenizer gives wrong ids without a sign.
 */
#include "text/parts.h"

#define CONTRACTIONS "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define WORD         "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define NOT_WORD     " ?[^\\s\\p{L}\\p{N}]+[\\r\\n"
#define SPACES       "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* llama.cpp's spelling of "upper case or without case" and "lower case or without case". */
#define UPPER "((?=[\\p{L}])([^a-z]))"
#define LOWER "((?=[\\p{L}])([^A-Z]))"
#define ANY   "[^\\r\\n\\p{L}\\p{N}]?"

static const char llama3[] = CONTRACTIONS "|" WORD "|\\p{N}{1,3}|" NOT_WORD "]*|" SPACES;
static const char qwen2[] = CONTRACTIONS "|" WORD "|\\p{N}|" NOT_WORD "]*|" SPACES;
static const char gpt4o[] = ANY UPPER "*" LOWER "+" CONTRACTIONS "?|" ANY UPPER "+" LOWER
				      "*" CONTRACTIONS "?|\\p{N}{1,3}|" NOT_WORD "/]*|" SPACES;

/* name, pattern, individual digits, ignore merges, add begin-of-sequence */
static const struct hn_pre_name names[] = {
	{"gpt-2", NULL, false, false, false},
	{"phi-2", NULL, false, false, false},
	{"mpt", NULL, false, false, false},
	{"olmo", NULL, false, false, false},
	{"exaone4", NULL, false, false, false},
	{"smollm", NULL, true, false, false},
	{"starcoder", NULL, true, false, false},
	{"refact", NULL, true, false, false},
	{"command-r", NULL, true, false, false},
	{"codeshell", NULL, true, false, false},
	{"exaone", NULL, true, false, false},
	{"minerva-7b", NULL, true, false, false},
	{"llama-bpe", llama3, false, true, true},
	{"llama3", llama3, false, true, true},
	{"llama-v3", llama3, false, true, true},
	{"falcon3", llama3, false, true, true},
	{"pixtral", llama3, false, true, true},
	{"lfm2", llama3, false, true, true},
	{"dbrx", llama3, false, false, false},
	{"smaug-bpe", llama3, false, false, false},
	{"qwen2", qwen2, false, false, false},
	{"deepseek-r1-qwen", qwen2, false, false, false},
	{"megrez", qwen2, false, false, false},
	{"stablelm2", qwen2, false, false, false},
	{"gpt-4o", gpt4o, false, false, false},
	{"llama4", gpt4o, false, false, false},
};

const struct hn_pre_name *
hn_pre_name_find(const char *name)
{
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (hn_streq(name, names[i].name))
			return &names[i];
	return NULL;
}

static void
put_split(struct hn_str *json, const char *pattern, size_t len)
{
	hn_str_puts(json, "{\"type\":\"Split\",\"pattern\":{\"Regex\":");
	hn_str_put_json(json, pattern, len);
	hn_str_puts(json, "},\"behavior\":\"Isolated\",\"invert\":false},");
}

/* A class of the ASCII characters without a token; empty when all have one. */
static void
put_missing(struct hn_str *pattern, const int32_t byte_id[256])
{
	for (int b = 0; b < 128; b++)
		if (byte_id[b] < 0)
			hn_str_printf(pattern, "%s\\x%02X", pattern->len ? "" : "[", (unsigned)b);
	if (pattern->len)
		hn_str_puts(pattern, "]");
}

void
hn_pre_name_json(const struct hn_pre_name *pre, const int32_t byte_id[256], struct hn_str *json)
{
	struct hn_str missing = {0};
	bool use_regex;

	put_missing(&missing, byte_id);
	use_regex = !pre->pattern && !missing.len;
	hn_str_puts(json, "{\"type\":\"Sequence\",\"pretokenizers\":[");
	if (pre->individual_digits)
		hn_str_puts(json, "{\"type\":\"Digits\",\"individual_digits\":true},");
	if (!use_regex) {
		const char *pattern = pre->pattern ? pre->pattern : hn_gpt2_pattern;

		put_split(json, pattern, strlen(pattern));
	}
	if (missing.len)
		put_split(json, missing.text, missing.len);
	hn_str_printf(json,
		"{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
		"\"use_regex\":%s}]}",
		use_regex ? "true" : "false");
	hn_str_fini(&missing);
}
