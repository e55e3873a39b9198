/*
 * text/parts.h - what the files of core/text share about the inside of a tokenizer.
 *
 * A tokenizer is a vocabulary (spellings by id), the merges, the added tokens, the normalizer
 * and the pre-tokenizer as lists of steps, and the ids put around a text.  Not for use outside
 * core/text.
 */
#ifndef HN_TEXT_PARTS_H
#define HN_TEXT_PARTS_H

#include <jansson.h>

#include "text/tokenizer.h"

/* --- bytelevel.c: the alphabet that gives each byte a printable character ------------------ */

/* The code point that stands for a byte: itself for printable Latin-1, else U+0100 and up. */
uint32_t hn_alphabet_char(uint8_t byte);
/* The byte that a code point stands for, -1 when it is not in the alphabet. */
int32_t hn_alphabet_byte(uint32_t code_point);
/* Appends bytes spelt in the alphabet. */
void hn_alphabet_spell(struct hn_str *out, const char *bytes, size_t n);
/* Appends the bytes of a spelling; false, and nothing appended, when a character of it is not in
 * the alphabet. */
bool hn_alphabet_read(struct hn_str *out, const char *spelling, size_t n);

/* --- vocab.c: spellings by id, and back ---------------------------------------------------- */

struct hn_vocab {
	char *blob;       /* spellings in the order of their ids */
	uint32_t *begin;  /* n + 1 offsets; an id without a token is empty */
	uint32_t *slots;  /* open addressing over spellings of the model: id + 1, 0 = free */
	uint32_t n_slots; /* a power of two */
	int32_t n;
};

/* `in_model` (NULL = all) says which ids the model itself knows: only they are found. */
enum hone_status hn_vocab_init(struct hn_vocab *vocab, const struct hn_text *tokens, size_t n,
	const bool *in_model, struct hone_error *err);
void hn_vocab_fini(struct hn_vocab *vocab);
int32_t hn_vocab_find(const struct hn_vocab *vocab, const char *text, size_t len);
struct hn_text hn_vocab_text(const struct hn_vocab *vocab, int32_t id);

/* --- bpe.c: merging the bytes of a word ---------------------------------------------------- */

struct hn_merge {
	uint64_t pair; /* left << 32 | right; UINT64_MAX = free */
	uint32_t rank;
	int32_t id; /* of the concatenation */
};

struct hn_bpe {
	struct hn_merge *merges; /* open addressing */
	uint32_t n_slots;        /* a power of two */
	uint32_t n_merges;
	uint64_t *pairs;       /* n_merges by rank, for writing and hashing */
	int32_t byte_id[256];  /* token of each byte, -1 = none */
	int32_t unk;           /* token for a byte without one, -1 = dropped */
	bool fuse_unk;         /* neighbouring unknowns become one */
	bool ignore_merges;    /* a word that is a token is that token */
	bool drop_keeps_place; /* a dropped byte keeps its neighbours apart (llama.cpp) */
};

/* `merges` are "left right"; of equal pairs the first counts when `first_wins`, else the last. */
enum hone_status hn_bpe_init(struct hn_bpe *bpe, const struct hn_vocab *vocab,
	const struct hn_text *merges, size_t n, bool first_wins, struct hone_error *err);
void hn_bpe_fini(struct hn_bpe *bpe);

/* A piece of a word while it is merged, and in the end a token of it. */
struct hn_symbol {
	int32_t id; /* -1 = a byte without a token */
	uint32_t begin, end;
	int32_t prev, next; /* indices, -1 = none */
};

struct hn_candidate {
	uint32_t rank;
	int32_t left, right; /* symbols */
	int32_t right_id;    /* that the right one had; the left one's is safe while it is next */
	int32_t id;
};

struct hn_bpe_scratch {
	struct hn_symbol *symbols;
	size_t symbols_cap;
	struct hn_candidate *heap;
	size_t n_heap, heap_cap;
};
void hn_bpe_scratch_fini(struct hn_bpe_scratch *scratch);

/* Merges a word of n bytes; the tokens are scratch->symbols[0..return value) in order. */
size_t hn_bpe_merge(const struct hn_bpe *bpe, struct hn_bpe_scratch *scratch, const uint8_t *word,
	size_t n, size_t *n_dropped);

/* --- pattern.c: regular expressions of tokenizer files through PCRE2 ----------------------- */

struct hn_pattern;
struct hn_matcher;
enum hone_status hn_pattern_create(struct hn_pattern **out, const char *text, size_t len,
	bool is_literal, struct hone_error *err);
void hn_pattern_destroy(struct hn_pattern *pattern);
struct hn_matcher *hn_matcher_create(void);
void hn_matcher_destroy(struct hn_matcher *matcher);
/* First match at or after `from` in valid UTF-8: 1 found, 0 none, -1 given up (limits). */
int hn_pattern_find(const struct hn_pattern *pattern, struct hn_matcher *matcher, const char *text,
	size_t n, size_t from, size_t *begin, size_t *end);

/* --- normalize.c ---------------------------------------------------------------------------- */

/* A text and where each of its bytes comes from.  from and to are NULL while it is the input
 * itself: then byte i is base + i. */
struct hn_view {
	const char *text;
	size_t n;
	const uint32_t *from, *to; /* begin and end in the input, per byte */
	uint32_t base;
};

/* A view that is being made. */
struct hn_image {
	struct hn_str text;
	uint32_t *from, *to;
	size_t from_cap, to_cap;
};
void hn_image_fini(struct hn_image *image);
void hn_image_clear(struct hn_image *image);
/* Appends n bytes that all come from [from, to) of the input. */
void hn_image_add(struct hn_image *image, const char *text, size_t n, uint32_t from, uint32_t to);
/* Appends bytes [begin, end) of a view. */
void hn_image_copy(struct hn_image *image, const struct hn_view *view, size_t begin, size_t end);
struct hn_view hn_image_view(const struct hn_image *image);
uint32_t hn_view_from(const struct hn_view *view, size_t i);
uint32_t hn_view_to(const struct hn_view *view, size_t i);

enum hn_norm_kind {
	HN_NORM_NFC,
	HN_NORM_NFD,
	HN_NORM_NFKC,
	HN_NORM_NFKD,
	HN_NORM_LOWERCASE,
	HN_NORM_REPLACE,
	HN_NORM_PREPEND,
};

struct hn_norm {
	enum hn_norm_kind kind;
	struct hn_pattern *pattern; /* replace */
	char *content;              /* replace, prepend */
	size_t content_len;
};

struct hn_norms {
	struct hn_norm *steps;
	size_t n, cap;
};

void hn_norms_fini(struct hn_norms *norms);
enum hone_status hn_norms_parse(struct hn_norms *norms, const json_t *json, struct hone_error *err);
/* Runs all steps over `in`; the result lies in one of the two images, or is `in` itself. */
enum hone_status hn_norms_run(const struct hn_norms *norms, struct hn_matcher *matcher,
	struct hn_image images[2], const struct hn_view *in, struct hn_view *out,
	struct hone_error *err);

/* --- pretokenize.c -------------------------------------------------------------------------- */

enum hn_pre_kind { HN_PRE_SPLIT, HN_PRE_DIGITS, HN_PRE_SPACE };
enum hn_behavior {
	HN_SPLIT_REMOVED,
	HN_SPLIT_ISOLATED,
	HN_SPLIT_MERGED_WITH_PREVIOUS,
	HN_SPLIT_MERGED_WITH_NEXT,
	HN_SPLIT_CONTIGUOUS,
};

struct hn_pre {
	enum hn_pre_kind kind;
	enum hn_behavior behavior;
	bool invert;
	struct hn_pattern *pattern; /* split */
};

struct hn_pres {
	struct hn_pre *steps;
	size_t n, cap;
	bool is_byte_level;
};

struct hn_range {
	uint32_t begin, end;
};

struct hn_ranges {
	struct hn_range *at;
	size_t n, cap;
};

extern const char hn_gpt2_pattern[];
void hn_pres_fini(struct hn_pres *pres);
enum hone_status hn_pres_parse(struct hn_pres *pres, const json_t *json, struct hone_error *err);
/* Cuts *view into words, words[*which]; a step that puts spaces in front of words changes the
 * view.  HONE_EDATA when a pattern gives up. */
enum hone_status hn_pres_run(const struct hn_pres *pres, struct hn_matcher *matcher,
	struct hn_image *image, struct hn_view *view, struct hn_ranges words[2], int *which,
	struct hone_error *err);

/* pre_names.c: a value of tokenizer.ggml.pre. */
struct hn_pre_name {
	const char *name;
	const char *pattern; /* NULL = GPT-2's, which ByteLevel has built in */
	bool individual_digits, ignore_merges, add_bos;
};
const struct hn_pre_name *hn_pre_name_find(const char *name); /* NULL when unknown */
/* The same pre-tokenizer as tokenizer.json has it, with the bytes below 128 that have no token
 * made words of their own. */
void hn_pre_name_json(
	const struct hn_pre_name *pre, const int32_t byte_id[256], struct hn_str *json);

/* --- added.c: tokens that are cut out of the text ------------------------------------------- */

struct hn_added {
	char *content; /* as written */
	size_t content_len;
	char *key; /* as searched for: normalized when `normalized` */
	size_t key_len;
	int32_t id;
	bool special, normalized, single_word, lstrip, rstrip;
};

struct hn_addeds {
	struct hn_added *at; /* by the bytes of key */
	size_t n, cap;
	uint32_t first
		[2]
		[257]; /* at[first[k][b] ..): raw (0) and normalized (1) keys with first byte b */
	bool has[2];
};

void hn_addeds_fini(struct hn_addeds *addeds);
void hn_addeds_push(struct hn_addeds *addeds, const struct hn_added *added); /* copies content */
/* Makes keys, sorts; refuses equal keys. */
enum hone_status hn_addeds_finish(
	struct hn_addeds *addeds, const struct hn_norms *norms, struct hone_error *err);
/* Next added token of the kind in text at or after `from`, not before `from` even with lstrip;
 * NULL when there is none.  [*begin, *end) is what it takes. */
const struct hn_added *hn_addeds_find(const struct hn_addeds *addeds, bool normalized,
	bool parse_special, const char *text, size_t n, size_t *from, size_t *begin, size_t *end);

/* --- tokenizer.c ---------------------------------------------------------------------------- */

struct hn_tokenizer {
	char *origin;
	struct hn_vocab vocab;
	struct hn_bpe bpe;
	struct hn_addeds addeds;
	bool *is_special; /* vocab.n */
	bool *is_added;   /* decoded as spelt */
	struct hn_norms norms;
	struct hn_pres pres;
	char *norms_json, *pres_json; /* canonical text, for writing and hashing; "null" */
	int32_t *before, *after;      /* ids put around a text */
	size_t n_before, n_after;
	int32_t bos, eos, unk, pad;
	int32_t *ends;
	size_t n_ends;
	char *chat_template;
	char *template_file; /* where it stands */
	size_t chat_template_len;
	char *source,
		*config_source; /* tokenizer.json and tokenizer_config.json as they were read */
	size_t source_len, config_source_len;
};

/* What both ways of making a tokenizer have in common. */
struct hn_tokenizer_build {
	const struct hn_text *tokens;
	const bool *in_model; /* NULL = all */
	size_t n_tokens;
	const struct hn_text *merges;
	size_t n_merges;
	bool first_merge_wins;
};
enum hone_status hn_tokenizer_build(
	struct hn_tokenizer *tok, const struct hn_tokenizer_build *build, struct hone_error *err);
struct hn_tokenizer *hn_tokenizer_alloc(const char *origin);
void hn_tokenizer_set_ends(struct hn_tokenizer *tok, const int32_t *ids, size_t n);

/* --- json_model.c: the two large values of a tokenizer.json --------------------------------- */

struct hn_json_model {
	struct hn_text *tokens; /* n_tokens, in the order of the file */
	int32_t *ids;
	size_t n_tokens, tokens_cap, ids_cap;
	struct hn_text *merges; /* "left right" */
	size_t n_merges, merges_cap;
	bool has_vocab, has_merges;
	char *bytes;        /* what the texts point into */
	struct hn_str rest; /* the document with both values emptied, lines kept */
};
void hn_json_model_fini(struct hn_json_model *model);
/* Cuts model.vocab and model.merges out of a document of valid UTF-8 and reads them. */
enum hone_status hn_json_model_cut(struct hn_json_model *model, const char *origin,
	const char *text, size_t len, struct hone_error *err);
/* The error of one place in a document. */
enum hone_status hn_json_fail(struct hone_error *err, const char *origin, const char *text,
	size_t offset, const char *what);

/* --- tokenizer_config.c ---------------------------------------------------------------------- */

/* Fills special ids, ends and chat template from the side files. */
enum hone_status hn_tokenizer_read_config(
	struct hn_tokenizer *tok, const struct hn_tokenizer_files *files, struct hone_error *err);
/* The path of a file in the folder of `origin`, for messages. */
void hn_text_beside(const char *origin, const char *name, char *out, size_t n);
/* Puts ".list[i]" before the path that is the place of an error; NULL-safe. */
void hn_json_path(struct hone_error *err, const char *list, size_t i);
/* jansson with what this house wants of it: duplicates refused, place in the error.  `name` is
 * a file beside `origin`, "" = `origin` itself. */
json_t *hn_json_parse(const char *text, size_t len, size_t flags, const char *origin,
	const char *name, struct hone_error *err);

#endif
