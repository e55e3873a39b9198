/*
 * train/generate.h - text from a model: prompts in, tokens out, with a key/value cache.
 *
 * Two programs share one cache: `prefill` runs blocks of prompt rows, `decode` one row per
 * sequence.  The cache has `sequences` regions of `longest` rows; sequence s of the batch
 * owns rows [s longest, (s + 1) longest), and position i of its text is row s longest + i.
 * A prompt that waits takes the region of a sequence that has ended, always the lowest free
 * one, so the order of everything follows from the prompts alone.
 *
 * Where a prompt begins as another text in the cache does, or as one that is about to be there,
 * the rows of that beginning are copied instead of computed again: a common preamble of many
 * prompts is run once.
 *
 * What a prompt gets does not depend on what else is in the batch, beyond the rounding of
 * products with another number of rows.  It is no server: prompts are all there at the start.
 */
#ifndef HN_TRAIN_GENERATE_H
#define HN_TRAIN_GENERATE_H

#include "graph/build.h"
#include "graph/engine.h"
#include "train/sample.h"

struct hn_generate_capacity {
	int64_t sequences;    /* in the batch */
	int64_t longest;      /* tokens of prompt and answer together */
	int64_t prefill_rows; /* 0 = 256, or all that the prompts can have */
};

struct hn_prompt {
	const int32_t *ids;
	int64_t n;
};

enum hn_finish {
	HN_FINISH_STOP = 1, /* an end token, which is no part of the answer */
	HN_FINISH_LENGTH,   /* max_new_tokens, or no room left */
};

/* "stop", "length". */
const char *hn_finish_name(enum hn_finish finish);

struct hn_decoding {
	int64_t max_new_tokens;
	struct hn_sampling sampling;
	const int32_t *ends; /* ids that end an answer */
	size_t n_ends;
	uint64_t first_prompt; /* added to a prompt's index in the key of its draws */
};

struct hn_answer {
	int64_t prompt; /* index */
	const int32_t *ids;
	int64_t n;
	enum hn_finish finish;
};

/* Either may be NULL.  Texts of several prompts come interleaved; what is borrowed is valid
 * during the call.  An error ends everything. */
struct hn_generate_sink {
	void *ctx;
	enum hone_status (*token)(void *ctx, int64_t prompt, int32_t id, struct hone_error *err);
	enum hone_status (*done)(void *ctx, const struct hn_answer *answer, struct hone_error *err);
};

struct hn_sequence {
	int64_t prompt;  /* index; -1 = free */
	int64_t n, n_in; /* tokens of the text; of which are in the cache */
	int64_t n_prompt;
	int64_t donor;    /* the sequence whose rows it waits for; -1 = none */
	int64_t n_shared; /* rows that it waits for */
	int32_t *ids;     /* [longest] */
};

struct hn_generator {
	struct hn_engine *engine;
	struct hn_program prefill, decode; /* owned by the engine: the struct stays in place */
	struct hn_generate_capacity capacity;
	int64_t vocabulary; /* width of a row of logits */
	struct hn_sequence *sequences;
	int32_t *ids;    /* of all sequences */
	int64_t *asking; /* sequence by row of logits */
	void *logits;    /* as the programs give them */
	struct hn_sampler sampler;
	int64_t n_runs, n_rows; /* of both programs so far: what a caller may tell */
};

/* Builds both programs and adds them to the engine, which is allocated afterwards.  Of
 * `request` are taken: model, params, adapters, compute, without_adapters.  Everything is
 * borrowed.  hn_generator_fini in any case, before or after the engine's. */
enum hone_status hn_generator_init(struct hn_generator *generator, struct hn_engine *engine,
	const struct hn_build_request *request, const struct hn_generate_capacity *capacity,
	struct hone_error *err);
void hn_generator_fini(struct hn_generator *generator);

/* Answers every prompt.  HONE_EDATA names a prompt that is empty, leaves no room for a token,
 * or has an id that the model does not know.  Allocates nothing. */
enum hone_status hn_generate(struct hn_generator *generator, const struct hn_prompt *prompts,
	int64_t n_prompts, const struct hn_decoding *decoding, const struct hn_generate_sink *sink,
	struct hone_error *err);

#endif
