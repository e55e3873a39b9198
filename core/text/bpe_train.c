/*
 * bpe_train.c - learning byte-level BPE merges by counting pairs.
 *
 * Sennrich et al. 2016: the most frequent pair of neighbouring tokens becomes a token, again and
 * again, until the vocabulary is full.  Pairs are counted within words, and a word that occurs
 * c times counts c times.  Of equally frequent pairs the one with the smaller ids comes first.
 *
 * Words are kept once, as token ids.  A merge looks only at the words in which its pair has
 * been seen; counts of the neighbouring pairs are adjusted there, and a queue holds each pair
 * with the count it had when it was put in.  An entry whose count has changed since goes back
 * with the new one, so the queue is right whenever its top is.
 */
#include "text/bpe_train.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/table.h"
#include "text/parts.h"

struct hn_bpe_trainer {
	struct hn_pres pres;
	struct hn_matcher *matcher;
	struct hn_image spaced;
	struct hn_ranges words[2];
	struct hn_table counts; /* bytes of a word -> how often */
};

/* --- words ----------------------------------------------------------------------------------- */

enum hone_status
hn_bpe_trainer_create(struct hn_bpe_trainer **out, struct hone_error *err)
{
	static const int32_t all_bytes[256] = {0};
	struct hn_bpe_trainer *trainer = hn_alloc(sizeof *trainer);
	struct hn_str text = {0};
	enum hone_status st;
	json_t *json;

	*trainer = (struct hn_bpe_trainer){.matcher = hn_matcher_create()};
	hn_pre_name_json(hn_pre_name_find("smollm"), all_bytes, &text);
	json = json_loadb(text.text, text.len, 0, NULL);
	st = hn_pres_parse(&trainer->pres, json, err);
	json_decref(json);
	hn_str_fini(&text);
	if (!st && !trainer->matcher)
		st = hone_fail(err, HONE_ENOMEM, "no memory for a matcher");
	*out = trainer;
	if (st) {
		hn_bpe_trainer_destroy(trainer);
		*out = NULL;
	}
	return st;
}

void
hn_bpe_trainer_destroy(struct hn_bpe_trainer *trainer)
{
	if (!trainer)
		return;
	hn_pres_fini(&trainer->pres);
	hn_matcher_destroy(trainer->matcher);
	hn_image_fini(&trainer->spaced);
	free(trainer->words[0].at);
	free(trainer->words[1].at);
	hn_table_fini(&trainer->counts);
	free(trainer);
}

static enum hone_status
feed_line(struct hn_bpe_trainer *trainer, const char *line, size_t len, struct hone_error *err)
{
	struct hn_view view = {.text = line, .n = len};
	int which = 0;
	const enum hone_status st = hn_pres_run(&trainer->pres, trainer->matcher, &trainer->spaced,
		&view, trainer->words, &which, err);

	for (size_t i = 0; i < trainer->words[which].n && !st; i++) {
		const struct hn_range range = trainer->words[which].at[i];
		const char *word = view.text + range.begin;
		const size_t n = range.end - range.begin;
		uint64_t *count = hn_table_find(&trainer->counts, word, n);

		if (count)
			*count += 1;
		else
			(void)hn_table_put(&trainer->counts, word, n, 1);
	}
	return st;
}

enum hone_status
hn_bpe_trainer_feed(
	struct hn_bpe_trainer *trainer, const char *text, size_t len, struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	if (hn_utf8_check(text, len) != len)
		return hone_fail(err, HONE_EDATA, "the text is not valid UTF-8 at byte %zu",
			hn_utf8_check(text, len));
	for (size_t at = 0; at < len && !st;) {
		const char *end = memchr(text + at, '\n', len - at);
		const size_t n = end ? (size_t)(end + 1 - (text + at)) : len - at;

		if (n >= INT32_MAX / 2)
			return hone_fail(err, HONE_EDATA, "a line of %zu bytes", n);
		st = feed_line(trainer, text + at, n, err);
		at += n;
	}
	return st;
}

/* --- pairs and their queue -------------------------------------------------------------------- */

/* Words in which a pair has been seen. */
struct places {
	uint32_t *words;
	size_t n, cap;
};

struct pair {
	uint64_t key; /* left << 32 | right */
	int64_t count;
	struct places fresh; /* seen since its last entry in the queue */
	bool is_merged;
};

struct entry {
	uint64_t key;
	int64_t count;
	struct places places;
};

struct training {
	int32_t *symbols;       /* of all words, one word after the other */
	size_t *start, *length; /* of each word; length shrinks */
	const struct hn_table *counts;
	struct pair *pairs;
	size_t n_pairs, pairs_cap;
	uint32_t *slots; /* hash of the key -> pair + 1 */
	size_t n_slots;
	struct entry *queue;
	size_t n_queue, queue_cap;
	uint64_t *touched; /* keys of pairs with fresh places */
	size_t n_touched, touched_cap;
	struct hn_table ids;  /* spelling -> id; entries are in the order of ids */
	struct hn_str merges; /* "left right", NUL after each */
	size_t n_merges;
};

static uint32_t *
slot_of(const struct training *t, uint64_t key)
{
	size_t slot = (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 29) & (t->n_slots - 1);

	while (t->slots[slot] && t->pairs[t->slots[slot] - 1].key != key)
		slot = (slot + 1) & (t->n_slots - 1);
	return &t->slots[slot];
}

static void
rehash(struct training *t)
{
	free(t->slots);
	t->n_slots = t->n_slots ? 2 * t->n_slots : 1024;
	t->slots = hn_alloc(t->n_slots * sizeof *t->slots);
	memset(t->slots, 0, t->n_slots * sizeof *t->slots);
	for (size_t i = 0; i < t->n_pairs; i++)
		*slot_of(t, t->pairs[i].key) = (uint32_t)i + 1;
}

static struct pair *
pair_get(struct training *t, uint64_t key)
{
	uint32_t *slot;

	if (2 * (t->n_pairs + 1) > t->n_slots)
		rehash(t);
	slot = slot_of(t, key);
	if (!*slot) {
		t->pairs = hn_grow(t->pairs, &t->pairs_cap, t->n_pairs + 1, sizeof *t->pairs);
		t->pairs[t->n_pairs] = (struct pair){.key = key};
		*slot = (uint32_t)++t->n_pairs;
	}
	return &t->pairs[*slot - 1];
}

/* Adds to a pair's count; a gain in word w is a fresh place. */
static void
change(struct training *t, int32_t left, int32_t right, int64_t by, uint32_t w)
{
	const uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
	struct pair *pair = pair_get(t, key);
	struct places *fresh = &pair->fresh;

	pair->count += by;
	if (by <= 0 || (fresh->n && fresh->words[fresh->n - 1] == w))
		return;
	if (!fresh->n) {
		t->touched =
			hn_grow(t->touched, &t->touched_cap, t->n_touched + 1, sizeof *t->touched);
		t->touched[t->n_touched++] = key;
	}
	fresh->words = hn_grow(fresh->words, &fresh->cap, fresh->n + 1, sizeof *fresh->words);
	fresh->words[fresh->n++] = w;
}

static bool
comes_before(const struct entry *a, const struct entry *b)
{
	return a->count != b->count ? a->count > b->count : a->key < b->key;
}

static void
queue_push(struct training *t, struct entry entry)
{
	size_t i = t->n_queue++;

	t->queue = hn_grow(t->queue, &t->queue_cap, t->n_queue, sizeof *t->queue);
	for (; i > 0 && comes_before(&entry, &t->queue[(i - 1) / 2]); i = (i - 1) / 2)
		t->queue[i] = t->queue[(i - 1) / 2];
	t->queue[i] = entry;
}

static struct entry
queue_pop(struct training *t)
{
	const struct entry top = t->queue[0];
	const struct entry last = t->queue[--t->n_queue];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < t->n_queue) {
		if (child + 1 < t->n_queue && comes_before(&t->queue[child + 1], &t->queue[child]))
			child++;
		if (!comes_before(&t->queue[child], &last))
			break;
		t->queue[i] = t->queue[child];
		i = child;
	}
	t->queue[i] = last;
	t->queue[t->n_queue] = (struct entry){0}; /* its places are the caller's, or moved */
	return top;
}

/* Moves the fresh places of all touched pairs into the queue. */
static void
queue_touched(struct training *t)
{
	for (size_t i = 0; i < t->n_touched; i++) {
		struct pair *pair = pair_get(t, t->touched[i]);

		if (pair->count > 0)
			queue_push(t, (struct entry){pair->key, pair->count, pair->fresh});
		else
			free(pair->fresh.words);
		pair->fresh = (struct places){0};
	}
	t->n_touched = 0;
}

/* --- training --------------------------------------------------------------------------------- */

/* Merges a pair in one word, from left to right. */
static void
merge_in_word(struct training *t, uint32_t w, int32_t left, int32_t right, int32_t id)
{
	const int64_t count = (int64_t)t->counts->entries[w].value;
	int32_t *s = t->symbols + t->start[w];
	const size_t n = t->length[w];
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		if (s[i] != left || i + 1 >= n || s[i + 1] != right) {
			s[out++] = s[i];
			continue;
		}
		if (out > 0) {
			change(t, s[out - 1], left, -count, w);
			change(t, s[out - 1], id, count, w);
		}
		if (i + 2 < n) {
			change(t, right, s[i + 2], -count, w);
			change(t, id, s[i + 2], count, w);
		}
		s[out++] = id;
		i++;
	}
	t->length[w] = out;
}

/* The id of a spelling, new when it is new. */
static int32_t
token_of(struct training *t, const char *spelling, size_t len)
{
	const uint64_t *have = hn_table_find(&t->ids, spelling, len);

	if (have)
		return (int32_t)*have;
	(void)hn_table_put(&t->ids, spelling, len, t->ids.n);
	return (int32_t)t->ids.n - 1;
}

static void
merge_pair(struct training *t, const struct entry *top)
{
	const int32_t left = (int32_t)(top->key >> 32), right = (int32_t)(uint32_t)top->key;
	const struct hn_table_entry *tokens = t->ids.entries;
	struct pair *pair = pair_get(t, top->key);
	struct hn_str spelling = {0};

	hn_str_add(&spelling, tokens[left].key, tokens[left].key_len);
	hn_str_add(&spelling, tokens[right].key, tokens[right].key_len);
	if (!pair->is_merged) {
		hn_str_printf(&t->merges, "%s %s", tokens[left].key, tokens[right].key);
		hn_str_add(&t->merges, "", 1);
		t->n_merges++;
		pair->is_merged = true;
	}
	const int32_t id = token_of(t, spelling.text, spelling.len);
	for (size_t i = 0; i < top->places.n; i++)
		merge_in_word(t, top->places.words[i], left, right, id);
	hn_str_fini(&spelling);
	queue_touched(t);
}

/* Special tokens first, then the bytes in the order of their characters. */
static void
start_vocabulary(struct training *t, const struct hn_bpe_train_options *options)
{
	for (size_t i = 0; i < options->n_special; i++)
		(void)token_of(t, options->special[i].bytes, options->special[i].len);
	for (uint32_t c = 0; c < 0x200; c++) {
		struct hn_str spelling = {0};

		if (hn_alphabet_byte(c) < 0)
			continue;
		hn_str_put_utf8(&spelling, c);
		(void)token_of(t, spelling.text, spelling.len);
		hn_str_fini(&spelling);
	}
}

static void
start_words(struct training *t)
{
	int32_t byte_id[256];
	size_t total = 0, at = 0;

	for (int b = 0; b < 256; b++) {
		struct hn_str spelling = {0};

		hn_str_put_utf8(&spelling, hn_alphabet_char((uint8_t)b));
		byte_id[b] = token_of(t, spelling.text, spelling.len);
		hn_str_fini(&spelling);
	}
	for (size_t w = 0; w < t->counts->n; w++)
		total += t->counts->entries[w].key_len;
	t->symbols = hn_alloc((total + 1) * sizeof *t->symbols);
	t->start = hn_alloc((t->counts->n + 1) * sizeof *t->start);
	t->length = hn_alloc((t->counts->n + 1) * sizeof *t->length);
	for (size_t w = 0; w < t->counts->n; w++) {
		const struct hn_table_entry *word = &t->counts->entries[w];

		t->start[w] = at;
		t->length[w] = word->key_len;
		for (size_t i = 0; i < word->key_len; i++)
			t->symbols[at++] = byte_id[(uint8_t)word->key[i]];
		for (size_t i = 0; i + 1 < word->key_len; i++)
			change(t, t->symbols[t->start[w] + i], t->symbols[t->start[w] + i + 1],
				(int64_t)word->value, (uint32_t)w);
	}
	queue_touched(t);
}

static void
run(struct training *t, const struct hn_bpe_train_options *options)
{
	while (t->ids.n < (size_t)options->vocab_size && t->n_queue) {
		struct entry top = queue_pop(t);
		const int64_t count = pair_get(t, top.key)->count;
		const bool is_enough = count > 0 && count >= options->min_count;

		if (top.count != count && count > 0) {
			top.count = count;
			queue_push(t, top);
			continue;
		}
		if (is_enough)
			merge_pair(t, &top);
		free(top.places.words);
		if (!is_enough && count > 0)
			break; /* all that follow are rarer still */
	}
}

/* The learned tokens and merges as a tokenizer. */
static enum hone_status
make(struct training *t, const struct hn_bpe_train_options *options, struct hn_tokenizer **out,
	struct hone_error *err)
{
	struct hn_text *tokens = hn_alloc((t->ids.n + 1) * sizeof *tokens);
	struct hn_text *merges = hn_alloc((t->n_merges + 1) * sizeof *merges);
	int32_t *types = hn_alloc((t->ids.n + 1) * sizeof *types);
	const char *at = t->merges.text;
	enum hone_status st;

	for (size_t i = 0; i < t->ids.n; i++) {
		tokens[i] = (struct hn_text){t->ids.entries[i].key, t->ids.entries[i].key_len};
		types[i] = i < options->n_special ? HN_TOKEN_CONTROL : HN_TOKEN_NORMAL;
	}
	for (size_t i = 0; i < t->n_merges; i++) {
		merges[i] = (struct hn_text){at, strlen(at)};
		at += merges[i].len + 1;
	}
	st = hn_tokenizer_create(out,
		&(struct hn_tokenizer_spec){
			.origin = "the trained tokenizer",
			.pre = "smollm",
			.tokens = tokens,
			.types = types,
			.merges = merges,
			.n_tokens = t->ids.n,
			.n_merges = t->n_merges,
			.bos = options->bos,
			.eos = options->eos,
			.unk = options->unk,
			.pad = options->pad,
			.add_bos = 0,
			.add_eos = 0,
		},
		err);
	free(tokens);
	free(merges);
	free(types);
	return st;
}

static void
training_fini(struct training *t)
{
	for (size_t i = 0; i < t->n_pairs; i++)
		free(t->pairs[i].fresh.words);
	for (size_t i = 0; i < t->n_queue; i++)
		free(t->queue[i].places.words);
	free(t->symbols);
	free(t->start);
	free(t->length);
	free(t->pairs);
	free(t->slots);
	free(t->queue);
	free(t->touched);
	hn_table_fini(&t->ids);
	hn_str_fini(&t->merges);
}

enum hone_status
hn_bpe_trainer_finish(const struct hn_bpe_trainer *trainer,
	const struct hn_bpe_train_options *options, struct hn_tokenizer **out,
	struct hone_error *err)
{
	struct training t = {.counts = &trainer->counts};
	const int64_t least = 256 + (int64_t)options->n_special;
	enum hone_status st;

	*out = NULL;
	if (options->vocab_size < least || options->vocab_size > INT32_MAX / 4)
		return hone_fail(err, HONE_EINVAL,
			"a vocabulary of %d; the 256 bytes and the special tokens take %lld",
			options->vocab_size, (long long)least);
	start_vocabulary(&t, options);
	if ((int64_t)t.ids.n != least) {
		training_fini(&t);
		return hone_fail(
			err, HONE_EINVAL, "two special tokens are equal, or one is a single byte");
	}
	start_words(&t);
	run(&t, options);
	st = make(&t, options, out, err);
	training_fini(&t);
	return st;
}
