/*
 * vocab.c - a vocabulary: spellings by id, and ids by spelling.
 *
 * One blob of bytes and offsets by id, and beside it an open-addressed table of ids keyed by
 * the hash of the spelling: 49,152 tokens take two allocations for the text and one for the
 * table.  An id without a token has an empty spelling and is never found.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "text/parts.h"

/* Slot where a spelling is or would be. */
static uint32_t
slot_of(const struct hn_vocab *vocab, const char *text, size_t len)
{
	const uint32_t mask = vocab->n_slots - 1;
	uint32_t slot = (uint32_t)hn_hash64(text, len) & mask;

	for (;; slot = (slot + 1) & mask) {
		const uint32_t used = vocab->slots[slot];

		if (!used)
			return slot;
		const struct hn_text have = hn_vocab_text(vocab, (int32_t)(used - 1));
		if (have.len == len && !memcmp(have.bytes, text, len))
			return slot;
	}
}

/* Copies the spellings into the blob. */
static enum hone_status
copy_texts(struct hn_vocab *vocab, const struct hn_text *tokens, size_t n, struct hone_error *err)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += tokens[i].len;
	if (bytes >= INT32_MAX)
		return hone_fail(err, HONE_EMODEL, "the vocabulary's text is over 2 GiB");
	vocab->blob = hn_alloc((size_t)bytes + 1);
	vocab->begin = hn_alloc((n + 1) * sizeof *vocab->begin);
	vocab->n = (int32_t)n;
	bytes = 0;
	for (size_t i = 0; i < n; i++) {
		vocab->begin[i] = (uint32_t)bytes;
		if (tokens[i].len)
			memcpy(vocab->blob + bytes, tokens[i].bytes, tokens[i].len);
		bytes += tokens[i].len;
	}
	vocab->begin[n] = (uint32_t)bytes;
	return HONE_OK;
}

enum hone_status
hn_vocab_init(struct hn_vocab *vocab, const struct hn_text *tokens, size_t n, const bool *in_model,
	struct hone_error *err)
{
	enum hone_status st;

	if (n == 0 || n > INT32_MAX / 4)
		return hone_fail(err, HONE_EMODEL, "a vocabulary of %zu tokens", n);
	st = copy_texts(vocab, tokens, n, err);
	if (st)
		return st;
	vocab->n_slots = 16;
	while (vocab->n_slots < 2 * n)
		vocab->n_slots *= 2;
	vocab->slots = hn_alloc(vocab->n_slots * sizeof *vocab->slots);
	memset(vocab->slots, 0, vocab->n_slots * sizeof *vocab->slots);
	for (size_t i = 0; i < n; i++) {
		if (!tokens[i].len || (in_model && !in_model[i]))
			continue;
		const uint32_t slot = slot_of(vocab, tokens[i].bytes, tokens[i].len);
		if (vocab->slots[slot])
			return hone_fail(err, HONE_EMODEL,
				"tokens %u and %zu have the same spelling '%.*s'",
				vocab->slots[slot] - 1, i,
				(int)(tokens[i].len < 40 ? tokens[i].len : 40), tokens[i].bytes);
		vocab->slots[slot] = (uint32_t)i + 1;
	}
	return HONE_OK;
}

void
hn_vocab_fini(struct hn_vocab *vocab)
{
	free(vocab->blob);
	free(vocab->begin);
	free(vocab->slots);
	*vocab = (struct hn_vocab){0};
}

int32_t
hn_vocab_find(const struct hn_vocab *vocab, const char *text, size_t len)
{
	const uint32_t used = vocab->n_slots ? vocab->slots[slot_of(vocab, text, len)] : 0;

	return used && len ? (int32_t)(used - 1) : -1;
}

struct hn_text
hn_vocab_text(const struct hn_vocab *vocab, int32_t id)
{
	if (id < 0 || id >= vocab->n)
		return (struct hn_text){NULL, 0};
	return (struct hn_text){
		vocab->blob + vocab->begin[id], vocab->begin[id + 1] - vocab->begin[id]};
}
