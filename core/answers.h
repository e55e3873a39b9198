/*
 * answers.h - a list of prompts and the texts that a model answers them with: for generate,
 * and for evaluation of generated text.
 *
 *     hn_answers_init      the text service of a tokenizer
 *     hn_answers_ask       a prompt becomes tokens, one after the other
 *     hn_answers_plan      programs, as large as these prompts need; then allocate the engine
 *     hn_answers_run       every prompt gets its text
 *
 * Here tokens and text meet; what makes tokens is train/generate.h and knows no text.
 */
#ifndef HN_ANSWERS_H
#define HN_ANSWERS_H

#include "data/tokenise.h"
#include "train/generate.h"

struct hn_asked {
	int32_t *ids;
	int64_t n_ids;
	struct hn_str text;    /* so far; bytes that need not be UTF-8 while it grows */
	int64_t n_tokens;      /* of the answer */
	enum hn_finish finish; /* 0 = not done */
};

/* Either may be NULL.  `bytes` are what one token adds to the answer `asked`, in order. */
struct hn_answers_sink {
	void *ctx;
	enum hone_status (*text)(
		void *ctx, int64_t asked, const char *bytes, size_t n, struct hone_error *err);
	enum hone_status (*done)(void *ctx, int64_t asked, struct hone_error *err);
};

struct hn_answers {
	const struct hn_tokenizer *tok;
	struct hn_text_service text;
	struct hn_text_scratch scratch;
	struct hn_asked *asked;
	int64_t n;
	size_t cap;
	int64_t longest_prompt;
	struct hn_generator generator;
	const struct hn_answers_sink *sink; /* during hn_answers_run */
};

/* The tokenizer is borrowed.  hn_answers_fini in any case; after the engine's. */
enum hone_status hn_answers_init(
	struct hn_answers *answers, const struct hn_tokenizer *tok, struct hone_error *err);
void hn_answers_fini(struct hn_answers *answers);

/* Appends the prompt of a sample: what it says before its completion or its last answer. */
enum hone_status hn_answers_ask(
	struct hn_answers *answers, const struct hn_sample *sample, struct hone_error *err);

struct hn_answers_size {
	int64_t max_new_tokens;
	int64_t limit;      /* of prompt and answer that the model can have at all; 0 = none */
	int64_t batch_size; /* prompts at a time; 0 = as many as are worth it */
};

/* Adds the programs to an engine, which is allocated afterwards. */
enum hone_status hn_answers_plan(struct hn_answers *answers, struct hn_engine *engine,
	const struct hn_build_request *request, const struct hn_answers_size *size,
	struct hone_error *err);

/* Answers all prompts; the texts are in answers->asked.  `ends` of the decoding are those of
 * the tokenizer where it has none.  Special tokens are left out of texts. */
enum hone_status hn_answers_run(struct hn_answers *answers, const struct hn_decoding *decoding,
	const struct hn_answers_sink *sink, struct hone_error *err);

#endif
