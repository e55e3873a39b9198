/*
 * bpe.c - merging the bytes of a word: byte-pair encoding with given merges.
 *
 * A word starts as one token per byte.  Of all neighbouring pairs that have a merge, the one of
 * the lowest rank is joined, the leftmost where ranks are equal, until no pair has one
 * (Sennrich et al. 2016).  Short words search their pairs anew for each merge, which is
 * quickest up to some dozens of bytes; long ones keep the pairs in a heap over a linked list,
 * so that a megabyte without a space costs n log n and not n squared.
 *
 * A byte without a token is the unknown token where the model has one; else it is dropped, as
 * Hugging Face and llama.cpp do, and counted.  (SmolLM2 has no tokens for 21 bytes.)
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "text/parts.h"

/* Words up to this many symbols are merged by search. */
enum { SHORT_WORD = 40 };
static const uint64_t free_pair = UINT64_MAX;

static uint64_t
pair_of(int32_t left, int32_t right)
{
	return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static uint32_t
slot_of(const struct hn_bpe *bpe, uint64_t pair)
{
	const uint32_t mask = bpe->n_slots - 1;
	uint32_t slot = (uint32_t)((pair * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & mask;

	while (bpe->merges[slot].pair != pair && bpe->merges[slot].pair != free_pair)
		slot = (slot + 1) & mask;
	return slot;
}

/* The merge of two neighbours, or NULL. */
static const struct hn_merge *
merge_find(const struct hn_bpe *bpe, int32_t left, int32_t right)
{
	const struct hn_merge *merge;

	if (left < 0 || right < 0)
		return NULL;
	merge = &bpe->merges[slot_of(bpe, pair_of(left, right))];
	return merge->pair == free_pair ? NULL : merge;
}

/* Reads one "left right" into ids: the two and their concatenation. */
static enum hone_status
read_merge(const struct hn_vocab *vocab, const struct hn_text *merge, size_t rank,
	struct hn_str *joined, int32_t ids[3], struct hone_error *err)
{
	const char *space = memchr(merge->bytes, ' ', merge->len);
	const size_t left = space ? (size_t)(space - merge->bytes) : 0;
	const int shown = (int)(merge->len < 60 ? merge->len : 60);

	if (!space || left == 0 || left + 1 >= merge->len ||
		memchr(space + 1, ' ', merge->len - left - 1))
		return hone_fail(err, HONE_EMODEL,
			"merge %zu is '%.*s'; a merge is two tokens with one space between", rank,
			shown, merge->bytes);
	hn_str_clear(joined);
	hn_str_add(joined, merge->bytes, left);
	hn_str_add(joined, space + 1, merge->len - left - 1);
	ids[0] = hn_vocab_find(vocab, merge->bytes, left);
	ids[1] = hn_vocab_find(vocab, space + 1, merge->len - left - 1);
	ids[2] = hn_vocab_find(vocab, joined->text, joined->len);
	if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0)
		return hone_fail(err, HONE_EMODEL,
			"merge %zu, '%.*s': %s is not in the vocabulary; the file is damaged or "
			"edited",
			rank, shown, merge->bytes,
			ids[0] < 0 ? "its left side"
				   : (ids[1] < 0 ? "its right side" : "its result"));
	return HONE_OK;
}

static enum hone_status
fill_merges(struct hn_bpe *bpe, const struct hn_vocab *vocab, const struct hn_text *merges,
	size_t n, bool first_wins, struct hone_error *err)
{
	struct hn_str joined = {0};
	enum hone_status st = HONE_OK;

	for (size_t i = 0; i < n && !st; i++) {
		int32_t ids[3] = {-1, -1, -1};

		st = read_merge(vocab, &merges[i], i, &joined, ids, err);
		if (st)
			break;
		bpe->pairs[i] = pair_of(ids[0], ids[1]);
		struct hn_merge *slot = &bpe->merges[slot_of(bpe, bpe->pairs[i])];
		if (slot->pair == free_pair || !first_wins)
			*slot = (struct hn_merge){bpe->pairs[i], (uint32_t)i, ids[2]};
	}
	hn_str_fini(&joined);
	return st;
}

enum hone_status
hn_bpe_init(struct hn_bpe *bpe, const struct hn_vocab *vocab, const struct hn_text *merges,
	size_t n, bool first_wins, struct hone_error *err)
{
	if (n > INT32_MAX / 4)
		return hone_fail(err, HONE_EMODEL, "%zu merges", n);
	bpe->n_slots = 16;
	while (bpe->n_slots < n + n / 2)
		bpe->n_slots *= 2;
	bpe->merges = hn_alloc(bpe->n_slots * sizeof *bpe->merges);
	memset(bpe->merges, 0xFF, bpe->n_slots * sizeof *bpe->merges);
	bpe->pairs = hn_alloc((n + 1) * sizeof *bpe->pairs);
	bpe->n_merges = (uint32_t)n;
	for (int b = 0; b < 256; b++) {
		struct hn_str spelling = {0};

		hn_str_put_utf8(&spelling, hn_alphabet_char((uint8_t)b));
		bpe->byte_id[b] = hn_vocab_find(vocab, spelling.text, spelling.len);
		hn_str_fini(&spelling);
	}
	return fill_merges(bpe, vocab, merges, n, first_wins, err);
}

void
hn_bpe_fini(struct hn_bpe *bpe)
{
	free(bpe->merges);
	free(bpe->pairs);
	*bpe = (struct hn_bpe){0};
}

void
hn_bpe_scratch_fini(struct hn_bpe_scratch *scratch)
{
	free(scratch->symbols);
	free(scratch->heap);
	*scratch = (struct hn_bpe_scratch){0};
}

/* One symbol per byte. */
static size_t
start(const struct hn_bpe *bpe, struct hn_bpe_scratch *scratch, const uint8_t *word, size_t n,
	size_t *n_dropped)
{
	size_t count = 0;
	bool was_unk = false;

	scratch->symbols =
		hn_grow(scratch->symbols, &scratch->symbols_cap, n, sizeof *scratch->symbols);
	for (size_t i = 0; i < n; i++) {
		const int32_t id = bpe->byte_id[word[i]];
		const bool is_unk = id < 0 && bpe->unk >= 0;

		if (id < 0 && !is_unk) {
			*n_dropped += 1;
			if (!bpe->drop_keeps_place)
				continue;
		}
		if (is_unk && was_unk && bpe->fuse_unk) {
			scratch->symbols[count - 1].end = (uint32_t)i + 1;
			continue;
		}
		was_unk = is_unk;
		scratch->symbols[count++] = (struct hn_symbol){
			is_unk ? bpe->unk : id, (uint32_t)i, (uint32_t)i + 1, -1, -1};
	}
	return count;
}

/* Merges by searching all pairs each time; the symbols stay an array. */
static size_t
merge_short(const struct hn_bpe *bpe, struct hn_symbol *s, size_t n)
{
	const struct hn_merge *merges[SHORT_WORD];

	for (size_t i = 0; i + 1 < n; i++)
		merges[i] = merge_find(bpe, s[i].id, s[i + 1].id);
	for (;;) {
		size_t best = n;

		for (size_t i = 0; i + 1 < n; i++)
			if (merges[i] && (best == n || merges[i]->rank < merges[best]->rank))
				best = i;
		if (best == n)
			return n;
		s[best].id = merges[best]->id;
		s[best].end = s[best + 1].end;
		memmove(&s[best + 1], &s[best + 2], (n - best - 2) * sizeof *s);
		if (best + 2 < n)
			memmove(&merges[best + 1], &merges[best + 2],
				(n - best - 2) * sizeof(merges[0]));
		n--;
		if (best > 0)
			merges[best - 1] = merge_find(bpe, s[best - 1].id, s[best].id);
		if (best + 1 < n)
			merges[best] = merge_find(bpe, s[best].id, s[best + 1].id);
	}
}

static bool
comes_before(const struct hn_candidate *a, const struct hn_candidate *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static void
heap_push(struct hn_bpe_scratch *scratch, struct hn_candidate candidate)
{
	size_t i = scratch->n_heap++;

	scratch->heap =
		hn_grow(scratch->heap, &scratch->heap_cap, scratch->n_heap, sizeof *scratch->heap);
	for (; i > 0; i = (i - 1) / 2) {
		if (!comes_before(&candidate, &scratch->heap[(i - 1) / 2]))
			break;
		scratch->heap[i] = scratch->heap[(i - 1) / 2];
	}
	scratch->heap[i] = candidate;
}

static struct hn_candidate
heap_pop(struct hn_bpe_scratch *scratch)
{
	struct hn_candidate *heap = scratch->heap;
	const struct hn_candidate top = heap[0];
	const struct hn_candidate last = heap[--scratch->n_heap];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= scratch->n_heap)
			break;
		if (child + 1 < scratch->n_heap && comes_before(&heap[child + 1], &heap[child]))
			child++;
		if (!comes_before(&heap[child], &last))
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = last;
	return top;
}

/* Puts the pair of two symbols on the heap when it has a merge. */
static void
offer(const struct hn_bpe *bpe, struct hn_bpe_scratch *scratch, int32_t left, int32_t right)
{
	const struct hn_symbol *s = scratch->symbols;
	const struct hn_merge *merge;

	if (left < 0 || right < 0)
		return;
	merge = merge_find(bpe, s[left].id, s[right].id);
	if (merge)
		heap_push(scratch,
			(struct hn_candidate){merge->rank, left, right, s[right].id, merge->id});
}

/* Merges with a heap of pairs over a linked list of symbols.  A symbol that was joined to its
 * left neighbour has end = begin; candidates whose symbols have changed are passed over. */
static size_t
merge_long(const struct hn_bpe *bpe, struct hn_bpe_scratch *scratch, size_t n)
{
	struct hn_symbol *s = scratch->symbols;
	size_t count = 0;

	scratch->n_heap = 0;
	for (size_t i = 0; i < n; i++) {
		s[i].prev = (int32_t)i - 1;
		s[i].next = i + 1 < n ? (int32_t)i + 1 : -1;
	}
	for (size_t i = 0; i + 1 < n; i++)
		offer(bpe, scratch, (int32_t)i, (int32_t)i + 1);
	while (scratch->n_heap) {
		const struct hn_candidate c = heap_pop(scratch);
		struct hn_symbol *left = &s[c.left], *right = &s[c.right];

		if (left->begin == left->end || right->begin == right->end ||
			left->next != c.right || right->id != c.right_id)
			continue;
		left->id = c.id;
		left->end = right->end;
		left->next = right->next;
		right->end = right->begin;
		if (left->next >= 0)
			s[left->next].prev = c.left;
		offer(bpe, scratch, left->prev, c.left);
		offer(bpe, scratch, c.left, left->next);
	}
	for (size_t i = 0; i < n; i++)
		if (s[i].end > s[i].begin)
			s[count++] = s[i];
	return count;
}

size_t
hn_bpe_merge(const struct hn_bpe *bpe, struct hn_bpe_scratch *scratch, const uint8_t *word,
	size_t n, size_t *n_dropped)
{
	size_t count = start(bpe, scratch, word, n, n_dropped);
	size_t kept = 0;

	count = count <= SHORT_WORD ? merge_short(bpe, scratch->symbols, count)
				    : merge_long(bpe, scratch, count);
	for (size_t i = 0; i < count; i++)
		if (scratch->symbols[i].id >= 0)
			scratch->symbols[kept++] = scratch->symbols[i];
	return kept;
}
