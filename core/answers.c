/*
 * answers.c - prompts to tokens, tokens to texts.
 */
#include <stdlib.h>
#include <string.h>

#include "answers.h"

/* Sequences in a batch where nobody says: more only help while products of so few rows wait for
 * the weights, and each costs its part of the cache. */
enum { SEQUENCES_MAX = 32, CACHE_BYTES = 256 << 20 };

enum hone_status
hn_answers_init(struct hn_answers *answers, const struct hn_tokenizer *tok, struct hone_error *err)
{
	enum hone_status st;

	memset(answers, 0, sizeof *answers);
	answers->tok = tok;
	st = hn_text_service_init(&answers->text, tok, 0, err);
	return st ? st : hn_text_scratch_init(&answers->scratch, &answers->text, err);
}

void
hn_answers_fini(struct hn_answers *answers)
{
	for (int64_t i = 0; i < answers->n; i++) {
		free(answers->asked[i].ids);
		hn_str_fini(&answers->asked[i].text);
	}
	free(answers->asked);
	hn_generator_fini(&answers->generator);
	hn_text_scratch_fini(&answers->scratch);
	hn_text_service_fini(&answers->text);
	memset(answers, 0, sizeof *answers);
}

enum hone_status
hn_answers_ask(struct hn_answers *answers, const struct hn_sample *sample, struct hone_error *err)
{
	struct hn_tokenised tokens;
	struct hn_asked *asked;
	enum hone_status st =
		hn_tokenise_prompt(&answers->text, &answers->scratch, sample, &tokens, err);

	if (st)
		return st;
	answers->asked = hn_grow(
		answers->asked, &answers->cap, (size_t)answers->n + 1, sizeof *answers->asked);
	asked = &answers->asked[answers->n++];
	*asked = (struct hn_asked){
		.n_ids = tokens.n, .ids = hn_alloc((size_t)(tokens.n + 1) * sizeof *asked->ids)};
	if (tokens.n)
		memcpy(asked->ids, tokens.ids, (size_t)tokens.n * sizeof *asked->ids);
	if (tokens.n > answers->longest_prompt)
		answers->longest_prompt = tokens.n;
	return HONE_OK;
}

/* Bytes of keys and values of one token. */
static int64_t
cache_row_bytes(const struct hn_engine *engine)
{
	int64_t n = 0;

	for (uint32_t i = 0; i < engine->model->n_sites; i++) {
		const struct hone_site *site = &engine->model->sites[i].pub;

		if (site->kind == HONE_SITE_ATTENTION)
			n += 2 * site->n_kv_heads * site->head_dim;
	}
	return n * hone_dtype_bytes(engine->compute);
}

static int64_t
choose_sequences(const struct hn_answers *answers, const struct hn_engine *engine, int64_t longest,
	int64_t batch_size)
{
	const int64_t row = cache_row_bytes(engine);
	int64_t n = batch_size;

	if (n <= 0) {
		n = row > 0 ? CACHE_BYTES / row / longest : SEQUENCES_MAX;
		n = n < 1 ? 1 : n > SEQUENCES_MAX ? SEQUENCES_MAX : n;
	}
	return n < answers->n ? n : answers->n;
}

enum hone_status
hn_answers_plan(struct hn_answers *answers, struct hn_engine *engine,
	const struct hn_build_request *request, const struct hn_answers_size *size,
	struct hone_error *err)
{
	int64_t longest = answers->longest_prompt + size->max_new_tokens;
	struct hn_generate_capacity capacity = {0};

	if (size->limit > 0 && longest > size->limit)
		longest = size->limit;
	capacity.longest = longest > 2 ? longest : 2;
	capacity.sequences = choose_sequences(answers, engine, capacity.longest, size->batch_size);
	return hn_generator_init(&answers->generator, engine, request, &capacity, err);
}

/* ---- running ---- */

/* Ids without a token, which a padded head can give, stand for no text. */
static enum hone_status
on_token(void *ctx, int64_t i, int32_t id, struct hone_error *err)
{
	struct hn_answers *answers = ctx;
	struct hn_asked *asked = &answers->asked[i];
	const size_t begin = asked->text.len;
	enum hone_status st = HONE_OK;

	asked->n_tokens++;
	if (hn_tokenizer_token(answers->tok, id).len)
		st = hn_tokenizer_decode(answers->tok, &id, 1, true, &asked->text, err);
	if (st || asked->text.len == begin || !answers->sink || !answers->sink->text)
		return st;
	return answers->sink->text(
		answers->sink->ctx, i, asked->text.text + begin, asked->text.len - begin, err);
}

static enum hone_status
on_done(void *ctx, const struct hn_answer *answer, struct hone_error *err)
{
	struct hn_answers *answers = ctx;

	answers->asked[answer->prompt].finish = answer->finish;
	if (!answers->sink || !answers->sink->done)
		return HONE_OK;
	return answers->sink->done(answers->sink->ctx, answer->prompt, err);
}

enum hone_status
hn_answers_run(struct hn_answers *answers, const struct hn_decoding *decoding,
	const struct hn_answers_sink *sink, struct hone_error *err)
{
	const struct hn_generate_sink tokens = {answers, on_token, on_done};
	struct hn_decoding with_ends = *decoding;
	struct hn_prompt *prompts = hn_alloc((size_t)(answers->n + 1) * sizeof *prompts);
	enum hone_status st;

	if (!with_ends.ends)
		with_ends.ends = hn_tokenizer_ends(answers->tok, &with_ends.n_ends);
	for (int64_t i = 0; i < answers->n; i++) {
		prompts[i] = (struct hn_prompt){answers->asked[i].ids, answers->asked[i].n_ids};
		hn_str_clear(&answers->asked[i].text);
		answers->asked[i].n_tokens = 0;
		answers->asked[i].finish = 0;
	}
	answers->sink = sink;
	st = hn_generate(&answers->generator, prompts, answers->n, &with_ends, &tokens, err);
	answers->sink = NULL;
	free(prompts);
	return st;
}
