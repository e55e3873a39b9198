/*
 * text/tokenizer.h - byte-level BPE tokenizers: text to token ids and back.
 *
 * Read from a Hugging Face tokenizer.json (with its side files), from the tokenizer's
 * description in a GGUF file, or trained by text/bpe_train.h.  Ids are those of Hugging Face's
 * `tokenizers` for the first and of llama.cpp (special tokens parsed) for the second.
 *
 * text -> added tokens cut out -> normalizer -> added tokens again -> pre-tokenizer (words)
 *      -> bytes merged by rank within a word -> begin- and end-of-sequence tokens
 *
 * Not here: SentencePiece, Unigram and WordPiece models (refused by name), truncation, padding,
 * and chat templates, of which only the text is kept.
 *
 * A struct hn_tokenizer does not change after it is made and may be shared between threads; a
 * struct hn_encoder is the scratch memory of one thread.
 */
#ifndef HN_TEXT_TOKENIZER_H
#define HN_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hone/status.h>

#include "base/str.h"

struct hn_tokenizer;

/* Bytes that are borrowed; NUL bytes may be among them. */
struct hn_text {
	const char *bytes;
	size_t len;
};

/* What a token is; the numbers are those of tokenizer.ggml.token_type. */
enum hn_token_type {
	HN_TOKEN_NORMAL = 1,
	HN_TOKEN_UNKNOWN = 2,
	HN_TOKEN_CONTROL = 3,      /* special: cut out of text, left out when decoding */
	HN_TOKEN_USER_DEFINED = 4, /* cut out of text, kept when decoding */
	HN_TOKEN_UNUSED = 5,
	HN_TOKEN_BYTE = 6,
};

/* A tokenizer as GGUF metadata describes it; everything is borrowed during create. */
struct hn_tokenizer_spec {
	const char *origin;           /* a path, for messages */
	const char *pre;              /* tokenizer.ggml.pre, for example "smollm" */
	const struct hn_text *tokens; /* n_tokens, spelt in the byte-level alphabet; empty = none */
	const int32_t *types;         /* n_tokens of enum hn_token_type; NULL = all normal */
	const struct hn_text *merges; /* n_merges of "left right", by rank */
	size_t n_tokens, n_merges;
	int32_t bos, eos, unk, pad;   /* ids; -1 = none */
	int32_t add_bos, add_eos;     /* 0, 1; -1 = what `pre` implies */
	struct hn_text chat_template; /* empty = none */
};

/* The files of a Hugging Face folder; only tokenizer_json is required, the others may be empty. */
struct hn_tokenizer_files {
	const char *origin; /* the folder or file, for messages */
	struct hn_text tokenizer_json;
	struct hn_text tokenizer_config; /* tokenizer_config.json: special tokens, chat template */
	struct hn_text special_tokens_map;
	struct hn_text generation_config; /* generation_config.json, else config.json: ends */
	struct hn_text chat_template;     /* chat_template.jinja; wins over tokenizer_config.json */
};

/* Each makes a tokenizer that the caller destroys; on failure *out is NULL. */
enum hone_status hn_tokenizer_create(
	struct hn_tokenizer **out, const struct hn_tokenizer_spec *spec, struct hone_error *err);
enum hone_status hn_tokenizer_parse(
	struct hn_tokenizer **out, const struct hn_tokenizer_files *files, struct hone_error *err);
/* Reads tokenizer.json and what lies beside it in `folder`. */
enum hone_status hn_tokenizer_load(
	struct hn_tokenizer **out, const char *folder, struct hone_error *err);
void hn_tokenizer_destroy(struct hn_tokenizer *tok); /* NULL-safe */

/* Tokens and their begin and end in the text that was encoded, in bytes.  Tokens that stand for
 * nothing in the text (begin of sequence) have begin = end.  A zeroed struct is empty. */
struct hn_encoding {
	int32_t *ids;
	uint32_t *begin, *end;
	size_t n, cap;
	size_t n_dropped; /* bytes without a token, left out as Hugging Face and llama.cpp do */
};
void hn_encoding_fini(struct hn_encoding *encoding);

enum {
	HN_ENCODE_ADD_SPECIAL = 1,   /* begin- and end-of-sequence as the tokenizer adds them */
	HN_ENCODE_PARSE_SPECIAL = 2, /* text that spells a special token becomes that token */
};

struct hn_encoder;
enum hone_status hn_encoder_create(
	struct hn_encoder **out, const struct hn_tokenizer *tok, struct hone_error *err);
void hn_encoder_destroy(struct hn_encoder *encoder); /* NULL-safe */

/* Replaces what `out` holds.  HONE_EDATA with the offset where `text` is not UTF-8, or where a
 * pattern of the tokenizer gives up; then `out` is empty.  One thread per encoder. */
enum hone_status hn_encode(struct hn_encoder *encoder, const char *text, size_t len, unsigned flags,
	struct hn_encoding *out, struct hone_error *err);

/* Appends the bytes that the ids stand for; they need not be UTF-8 at the ends.  Ids that are
 * not in the vocabulary are HONE_EINVAL.  skip_special leaves special tokens out. */
enum hone_status hn_tokenizer_decode(const struct hn_tokenizer *tok, const int32_t *ids, size_t n,
	bool skip_special, struct hn_str *out, struct hone_error *err);

/* Largest id + 1; ids without a token may lie between. */
int32_t hn_tokenizer_vocab_size(const struct hn_tokenizer *tok);
/* The id of a token by its spelling (in the byte-level alphabet), or -1. */
int32_t hn_tokenizer_find(const struct hn_tokenizer *tok, const char *token, size_t len);
/* The spelling of a token, borrowed; empty where there is none. */
struct hn_text hn_tokenizer_token(const struct hn_tokenizer *tok, int32_t id);
bool hn_tokenizer_is_special(const struct hn_tokenizer *tok, int32_t id);

/* Ids, -1 = none. */
int32_t hn_tokenizer_bos(const struct hn_tokenizer *tok);
int32_t hn_tokenizer_eos(const struct hn_tokenizer *tok);
int32_t hn_tokenizer_pad(const struct hn_tokenizer *tok);
int32_t hn_tokenizer_unk(const struct hn_tokenizer *tok);
/* Where generation stops: eos and those of generation_config.json, ascending; borrowed. */
const int32_t *hn_tokenizer_ends(const struct hn_tokenizer *tok, size_t *n);
/* Whether HN_ENCODE_ADD_SPECIAL puts a token in front, or behind. */
bool hn_tokenizer_adds_bos(const struct hn_tokenizer *tok);
bool hn_tokenizer_adds_eos(const struct hn_tokenizer *tok);
/* Jinja source, borrowed; empty = none. */
struct hn_text hn_tokenizer_chat_template(const struct hn_tokenizer *tok);
/* The file it stands in, for messages; borrowed. */
const char *hn_tokenizer_template_file(const struct hn_tokenizer *tok);

/* 128 bits over everything that decides ids, decoding and the chat template, as 32 hex digits:
 * equal for a tokenizer and for what hn_tokenizer_write made of it. */
void hn_tokenizer_hash(const struct hn_tokenizer *tok, char out[33]);

/* Writes tokenizer.json and tokenizer_config.json into `folder`, which exists: files that give
 * the same ids in Hugging Face's libraries. */
enum hone_status hn_tokenizer_write(
	const struct hn_tokenizer *tok, const char *folder, struct hone_error *err);

#endif
