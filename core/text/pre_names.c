/*
 * pre_names.c - the pre-tokenizers that GGUF files name in tokenizer.ggml.pre.
 *
 * A name stands for patterns that llama.cpp carries; here each is the pre-tokenizer of a
 * tokenizer.json with the same effect, so there is one reader and one writer.  Contractions are
 * spelt '[sS] and not (?i:'s) because llama.cpp spells them so: (?i:) would also fold U+017F.
 * Two of llama.cpp's choices come with a name: llama-bpe takes a word that is a token as it is,
 * and adds begin-of-sequence where the file does not say otherwise.
 *
 * Names whose patterns have not been compared with llama.cpp are not listed, and a name that is
 * not listed is refused: a wrong pre-tokenizer gives wrong ids without a sign.
 */
#include "text/parts.h"

#define BYTES                                                                                      \
	"{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":"
#define SPLIT(pattern)                                                                             \
	"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"    \
	"\"" pattern "\"},\"behavior\":\"Isolated\",\"invert\":false}," BYTES "false}]}"
#define CONTRACTIONS "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define NOT_WORD     " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n"
#define SPACES       "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define WORD         "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+"
/* llama.cpp's spelling of "upper case or without case" and "lower case or without case". */
#define UPPER "((?=[\\\\p{L}])([^a-z]))"
#define LOWER "((?=[\\\\p{L}])([^A-Z]))"
#define ANY   "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?"

static const char gpt2[] = BYTES "true}";
static const char digits[] = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
			     "\"individual_digits\":true}," BYTES "true}]}";
static const char llama3[] = SPLIT(CONTRACTIONS "|" WORD "|\\\\p{N}{1,3}|" NOT_WORD "]*|" SPACES);
static const char qwen2[] = SPLIT(CONTRACTIONS "|" WORD "|\\\\p{N}|" NOT_WORD "]*|" SPACES);
static const char gpt4o[] =
	SPLIT(ANY UPPER "*" LOWER "+" CONTRACTIONS "?|" ANY UPPER "+" LOWER "*" CONTRACTIONS
			"?|\\\\p{N}{1,3}|" NOT_WORD "/]*|" SPACES);

static const struct hn_pre_name names[] = {
	{"gpt-2", gpt2, false, false},
	{"phi-2", gpt2, false, false},
	{"mpt", gpt2, false, false},
	{"olmo", gpt2, false, false},
	{"exaone4", gpt2, false, false},
	{"smollm", digits, false, false},
	{"starcoder", digits, false, false},
	{"refact", digits, false, false},
	{"command-r", digits, false, false},
	{"codeshell", digits, false, false},
	{"exaone", digits, false, false},
	{"minerva-7b", digits, false, false},
	{"llama-bpe", llama3, true, true},
	{"llama3", llama3, true, true},
	{"llama-v3", llama3, true, true},
	{"falcon3", llama3, true, true},
	{"pixtral", llama3, true, true},
	{"lfm2", llama3, true, true},
	{"dbrx", llama3, false, false},
	{"smaug-bpe", llama3, false, false},
	{"qwen2", qwen2, false, false},
	{"deepseek-r1-qwen", qwen2, false, false},
	{"megrez", qwen2, false, false},
	{"stablelm2", qwen2, false, false},
	{"gpt-4o", gpt4o, false, false},
	{"llama4", gpt4o, false, false},
};

const struct hn_pre_name *
hn_pre_name_find(const char *name)
{
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (hn_streq(name, names[i].name))
			return &names[i];
	return NULL;
}
