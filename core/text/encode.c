/*
 * encode.c - text to token ids, with the place of each token in the text.
 *
 * Most words of a text have been met before, so an encoder keeps the tokens of short words in a
 * direct-mapped cache; merging runs for the others.  The cache changes speed, never results.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "text/parts.h"

/* One cached word; 64 bytes.  n_tokens 0 = free. */
enum { CACHE_WORD = 22, CACHE_TOKENS = 8, CACHE_SLOTS = 8192 };
struct cached {
	uint8_t len, n_tokens;
	char word[CACHE_WORD];
	uint8_t ends[CACHE_TOKENS]; /* of each token, in the word */
	int32_t ids[CACHE_TOKENS];
};

struct hn_encoder {
	const struct hn_tokenizer *tok;
	struct hn_matcher *matcher;
	struct hn_image norm[2], spaced;
	struct hn_ranges words[2];
	struct hn_bpe_scratch bpe;
	struct hn_str spelling;
	struct cached *cache;
};

void
hn_encoding_fini(struct hn_encoding *encoding)
{
	free(encoding->ids);
	free(encoding->begin);
	free(encoding->end);
	*encoding = (struct hn_encoding){0};
}

enum hone_status
hn_encoder_create(struct hn_encoder **out, const struct hn_tokenizer *tok, struct hone_error *err)
{
	struct hn_encoder *encoder = hn_alloc(sizeof *encoder);

	*out = NULL;
	*encoder = (struct hn_encoder){.tok = tok, .matcher = hn_matcher_create()};
	encoder->cache = hn_alloc(CACHE_SLOTS * sizeof *encoder->cache);
	memset(encoder->cache, 0, CACHE_SLOTS * sizeof *encoder->cache);
	if (!encoder->matcher) {
		hn_encoder_destroy(encoder);
		return hone_fail(err, HONE_ENOMEM, "no memory for a matcher");
	}
	*out = encoder;
	return HONE_OK;
}

void
hn_encoder_destroy(struct hn_encoder *encoder)
{
	if (!encoder)
		return;
	hn_matcher_destroy(encoder->matcher);
	hn_image_fini(&encoder->norm[0]);
	hn_image_fini(&encoder->norm[1]);
	hn_image_fini(&encoder->spaced);
	free(encoder->words[0].at);
	free(encoder->words[1].at);
	hn_bpe_scratch_fini(&encoder->bpe);
	hn_str_fini(&encoder->spelling);
	free(encoder->cache);
	free(encoder);
}

static void
emit(struct hn_encoding *out, int32_t id, uint32_t begin, uint32_t end)
{
	if (out->n == out->cap) {
		size_t cap = out->cap;

		out->ids = hn_grow(out->ids, &cap, out->n + 1, sizeof *out->ids);
		out->begin = hn_realloc(out->begin, cap * sizeof *out->begin);
		out->end = hn_realloc(out->end, cap * sizeof *out->end);
		out->cap = cap;
	}
	out->ids[out->n] = id;
	out->begin[out->n] = begin;
	out->end[out->n] = end;
	out->n++;
}

/* A token of bytes [begin, end) of the view. */
static void
emit_in(struct hn_encoding *out, const struct hn_view *view, int32_t id, size_t begin, size_t end)
{
	emit(out, id, hn_view_from(view, begin), hn_view_to(view, end - 1));
}

/* Fills the tokens of a word into encoder->bpe.symbols. */
static size_t
merge_word(struct hn_encoder *encoder, const char *word, size_t n, size_t *n_dropped)
{
	const struct hn_tokenizer *tok = encoder->tok;

	if (tok->bpe.ignore_merges) {
		hn_str_clear(&encoder->spelling);
		hn_alphabet_spell(&encoder->spelling, word, n);
		const int32_t id =
			hn_vocab_find(&tok->vocab, encoder->spelling.text, encoder->spelling.len);
		if (id >= 0) {
			encoder->bpe.symbols = hn_grow(encoder->bpe.symbols,
				&encoder->bpe.symbols_cap, 1, sizeof *encoder->bpe.symbols);
			encoder->bpe.symbols[0] = (struct hn_symbol){id, 0, (uint32_t)n, -1, -1};
			return 1;
		}
	}
	return hn_bpe_merge(&tok->bpe, &encoder->bpe, (const uint8_t *)word, n, n_dropped);
}

static void
remember(struct cached *slot, const char *word, size_t n, const struct hn_symbol *symbols,
	size_t n_tokens)
{
	slot->len = (uint8_t)n;
	slot->n_tokens = (uint8_t)n_tokens;
	memcpy(slot->word, word, n);
	for (size_t i = 0; i < n_tokens; i++) {
		slot->ids[i] = symbols[i].id;
		slot->ends[i] = (uint8_t)symbols[i].end;
	}
}

static void
encode_word(struct hn_encoder *encoder, const struct hn_view *view, struct hn_range range,
	struct hn_encoding *out)
{
	const char *word = view->text + range.begin;
	const size_t n = range.end - range.begin;
	struct cached *slot = NULL;
	size_t dropped = 0, n_tokens;

	if (n <= CACHE_WORD) {
		slot = &encoder->cache[hn_hash64(word, n) % CACHE_SLOTS];
		if (slot->n_tokens && slot->len == n && !memcmp(slot->word, word, n)) {
			for (size_t i = 0; i < slot->n_tokens; i++)
				emit_in(out, view, slot->ids[i],
					range.begin + (i ? slot->ends[i - 1] : 0),
					range.begin + slot->ends[i]);
			return;
		}
	}
	n_tokens = merge_word(encoder, word, n, &dropped);
	for (size_t i = 0; i < n_tokens; i++)
		emit_in(out, view, encoder->bpe.symbols[i].id,
			range.begin + encoder->bpe.symbols[i].begin,
			range.begin + encoder->bpe.symbols[i].end);
	out->n_dropped += dropped;
	if (slot && !dropped && n_tokens <= CACHE_TOKENS)
		remember(slot, word, n, encoder->bpe.symbols, n_tokens);
}

/* Text without added tokens in it. */
static enum hone_status
encode_words(struct hn_encoder *encoder, struct hn_view view, struct hn_encoding *out,
	struct hone_error *err)
{
	const struct hn_pres *pres = &encoder->tok->pres;
	enum hone_status st;
	int which = 0;

	if (!view.n)
		return HONE_OK;
	st = hn_pres_run(
		pres, encoder->matcher, &encoder->spaced, &view, encoder->words, &which, err);
	for (size_t i = 0; i < encoder->words[which].n && !st; i++)
		encode_word(encoder, &view, encoder->words[which].at[i], out);
	return st;
}

/* Bytes [begin, end) of a view as a view. */
static struct hn_view
part_of(const struct hn_view *view, size_t begin, size_t end)
{
	return (struct hn_view){
		.text = view->text + begin,
		.n = end - begin,
		.from = view->from ? view->from + begin : NULL,
		.to = view->to ? view->to + begin : NULL,
		.base = view->base + (uint32_t)begin,
	};
}

/* Text between raw added tokens: normalized, and searched for the other added tokens. */
static enum hone_status
encode_piece(struct hn_encoder *encoder, const struct hn_view *piece, unsigned flags,
	struct hn_encoding *out, struct hone_error *err)
{
	const struct hn_tokenizer *tok = encoder->tok;
	const struct hn_added *added;
	struct hn_view view;
	size_t done = 0, at = 0, begin = 0, end = 0;
	enum hone_status st;

	st = hn_norms_run(&tok->norms, encoder->matcher, encoder->norm, piece, &view, err);
	while (!st &&
		(added = hn_addeds_find(&tok->addeds, true, flags & HN_ENCODE_PARSE_SPECIAL,
			 view.text, view.n, &at, &begin, &end))) {
		st = encode_words(encoder, part_of(&view, done, begin), out, err);
		emit_in(out, &view, added->id, begin, end);
		done = end;
	}
	return st ? st : encode_words(encoder, part_of(&view, done, view.n), out, err);
}

static enum hone_status
encode_text(struct hn_encoder *encoder, const struct hn_view *text, unsigned flags,
	struct hn_encoding *out, struct hone_error *err)
{
	const struct hn_tokenizer *tok = encoder->tok;
	const struct hn_added *added;
	size_t done = 0, at = 0, begin = 0, end = 0;
	enum hone_status st = HONE_OK;
	struct hn_view piece;

	while (!st &&
		(added = hn_addeds_find(&tok->addeds, false, flags & HN_ENCODE_PARSE_SPECIAL,
			 text->text, text->n, &at, &begin, &end))) {
		piece = part_of(text, done, begin);
		st = encode_piece(encoder, &piece, flags, out, err);
		emit_in(out, text, added->id, begin, end);
		done = end;
	}
	piece = part_of(text, done, text->n);
	return st ? st : encode_piece(encoder, &piece, flags, out, err);
}

enum hone_status
hn_encode(struct hn_encoder *encoder, const char *text, size_t len, unsigned flags,
	struct hn_encoding *out, struct hone_error *err)
{
	const struct hn_tokenizer *tok = encoder->tok;
	const struct hn_view view = {.text = text, .n = len};
	enum hone_status st;

	out->n = 0;
	out->n_dropped = 0;
	if (len >= INT32_MAX / 2)
		return hone_fail(
			err, HONE_EDATA, "a text of %zu bytes; one text may have 1 GiB", len);
	if (hn_utf8_check(text, len) != len)
		return hone_fail(err, HONE_EDATA, "the text is not valid UTF-8 at byte %zu",
			hn_utf8_check(text, len));
	for (size_t i = 0; i < tok->n_before && (flags & HN_ENCODE_ADD_SPECIAL); i++)
		emit(out, tok->before[i], 0, 0);
	st = encode_text(encoder, &view, flags, out, err);
	for (size_t i = 0; i < tok->n_after && (flags & HN_ENCODE_ADD_SPECIAL); i++)
		emit(out, tok->after[i], (uint32_t)len, (uint32_t)len);
	if (st)
		out->n = 0;
	return st;
}
