/*
 * added.c - tokens that are found in the text before anything else looks at it.
 *
 * Special tokens and words added to a vocabulary later.  A match is the leftmost, and of those
 * the longest, as in Hugging Face's library.  (llama.cpp looks for the longest token first
 * everywhere; the two differ only where the spellings of two such tokens overlap in a text.)
 *
 * Tokens with `normalized` are searched for in normalized text, by their normalized spelling;
 * the others in the text as it came.  `lstrip` and `rstrip` take the whitespace beside a match;
 * `single_word` refuses one that a letter touches, and looks on behind it.
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/arena.h"
#include "text/parts.h"

void
hn_addeds_fini(struct hn_addeds *addeds)
{
	for (size_t i = 0; i < addeds->n; i++) {
		free(addeds->at[i].content);
		free(addeds->at[i].key);
	}
	free(addeds->at);
	*addeds = (struct hn_addeds){0};
}

void
hn_addeds_push(struct hn_addeds *addeds, const struct hn_added *added)
{
	struct hn_added *mine;

	addeds->at = hn_grow(addeds->at, &addeds->cap, addeds->n + 1, sizeof *addeds->at);
	mine = &addeds->at[addeds->n++];
	*mine = *added;
	mine->content = hn_alloc(added->content_len + 1);
	memcpy(mine->content, added->content, added->content_len);
	mine->content[added->content_len] = '\0';
	mine->key = NULL;
}

/* Raw ones first, then by the bytes of the key, shorter first. */
static int
compare(const void *left, const void *right)
{
	const struct hn_added *a = left, *b = right;
	const size_t n = a->key_len < b->key_len ? a->key_len : b->key_len;
	const int order = memcmp(a->key, b->key, n);

	if (a->normalized != b->normalized)
		return a->normalized ? 1 : -1;
	if (order)
		return order;
	return a->key_len < b->key_len ? -1 : a->key_len > b->key_len;
}

static enum hone_status
make_key(struct hn_added *added, const struct hn_norms *norms, struct hn_matcher *matcher,
	struct hone_error *err)
{
	struct hn_image images[2] = {{{0}, NULL, NULL, 0, 0}, {{0}, NULL, NULL, 0, 0}};
	struct hn_view in = {.text = added->content, .n = added->content_len}, out = in;
	enum hone_status st = HONE_OK;

	if (added->normalized)
		st = hn_norms_run(norms, matcher, images, &in, &out, err);
	added->key_len = out.n;
	added->key = hn_alloc(out.n + 1);
	memcpy(added->key, out.text, out.n);
	added->key[out.n] = '\0';
	hn_image_fini(&images[0]);
	hn_image_fini(&images[1]);
	if (!st && !added->key_len)
		return hone_fail(err, HONE_EMODEL, "added token %d is empty", added->id);
	return st;
}

enum hone_status
hn_addeds_finish(struct hn_addeds *addeds, const struct hn_norms *norms, struct hone_error *err)
{
	struct hn_matcher *matcher = hn_matcher_create();
	enum hone_status st = HONE_OK;
	size_t at = 0;

	if (!matcher)
		return hone_fail(err, HONE_ENOMEM, "no memory for a matcher");
	for (size_t i = 0; i < addeds->n && !st; i++)
		st = make_key(&addeds->at[i], norms, matcher, err);
	hn_matcher_destroy(matcher);
	if (st)
		return st;
	if (addeds->n)
		qsort(addeds->at, addeds->n, sizeof *addeds->at, compare);
	for (size_t i = 1; i < addeds->n; i++)
		if (compare(&addeds->at[i - 1], &addeds->at[i]) == 0)
			return hone_fail(err, HONE_EMODEL,
				"added tokens %d and %d are both '%.60s'", addeds->at[i - 1].id,
				addeds->at[i].id, addeds->at[i].key);
	for (int kind = 0; kind < 2; kind++)
		for (int byte = 0; byte <= 256; byte++) {
			while (at < addeds->n && addeds->at[at].normalized == (kind == 1) &&
				byte > (uint8_t)addeds->at[at].key[0])
				at++;
			addeds->first[kind][byte] = (uint32_t)at;
		}
	for (size_t i = 0; i < addeds->n; i++)
		addeds->has[addeds->at[i].normalized] = true;
	return HONE_OK;
}

/* The longest key that text begins with: the sorted keys are narrowed byte by byte. */
static const struct hn_added *
longest(const struct hn_addeds *addeds, bool normalized, const char *text, size_t n)
{
	const uint32_t *first = &addeds->first[normalized][(uint8_t)text[0]];
	size_t low = first[0], high = first[1];
	const struct hn_added *best = NULL;

	for (size_t depth = 1; low < high; depth++) {
		/* All of [low, high) begin with text[0..depth). */
		if (addeds->at[low].key_len == depth)
			best = &addeds->at[low++];
		if (depth == n)
			break;
		const uint8_t c = (uint8_t)text[depth];
		size_t a = low, b = high;

		while (a < b) { /* first with key[depth] >= c */
			const size_t mid = a + (b - a) / 2;

			if ((uint8_t)addeds->at[mid].key[depth] < c)
				a = mid + 1;
			else
				b = mid;
		}
		low = a;
		b = high;
		while (a < b) { /* first with key[depth] > c */
			const size_t mid = a + (b - a) / 2;

			if ((uint8_t)addeds->at[mid].key[depth] <= c)
				a = mid + 1;
			else
				b = mid;
		}
		high = a;
	}
	return best;
}

/* The code point that ends at text + end, and its width. */
static size_t
char_before(const char *text, size_t end, uint32_t *c)
{
	size_t start = end;

	do
		start--;
	while (start > 0 && ((uint8_t)text[start] & 0xC0) == 0x80);
	return hn_utf8_decode(text + start, end - start, c);
}

/* \w of Rust's regex crate: letters, marks, numbers that are letters or decimals, connectors. */
static bool
is_word(uint32_t c)
{
	switch (utf8proc_category((utf8proc_int32_t)c)) {
	case UTF8PROC_CATEGORY_LU:
	case UTF8PROC_CATEGORY_LL:
	case UTF8PROC_CATEGORY_LT:
	case UTF8PROC_CATEGORY_LM:
	case UTF8PROC_CATEGORY_LO:
	case UTF8PROC_CATEGORY_MN:
	case UTF8PROC_CATEGORY_MC:
	case UTF8PROC_CATEGORY_ME:
	case UTF8PROC_CATEGORY_ND:
	case UTF8PROC_CATEGORY_NL:
	case UTF8PROC_CATEGORY_PC:
		return true;
	default:
		return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
			(c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
			(c >= 0x1F170 && c <= 0x1F189);
	}
}

static bool
is_space(uint32_t c)
{
	switch (utf8proc_category((utf8proc_int32_t)c)) {
	case UTF8PROC_CATEGORY_ZS:
	case UTF8PROC_CATEGORY_ZL:
	case UTF8PROC_CATEGORY_ZP:
		return true;
	default:
		return (c >= '\t' && c <= '\r') || c == 0x85;
	}
}

static bool
stands_alone(const char *text, size_t n, size_t begin, size_t end)
{
	uint32_t c = 0;

	if (begin > 0 && char_before(text, begin, &c) && is_word(c))
		return false;
	return end == n || !hn_utf8_decode(text + end, n - end, &c) || !is_word(c);
}

/* Widens a match over whitespace, to the left not past `limit`. */
static void
strip(const struct hn_added *added, const char *text, size_t n, size_t limit, size_t *begin,
	size_t *end)
{
	uint32_t c = 0;
	size_t width;

	while (added->lstrip && *begin > limit && (width = char_before(text, *begin, &c)) &&
		is_space(c))
		*begin -= width;
	while (added->rstrip && *end < n && (width = hn_utf8_decode(text + *end, n - *end, &c)) &&
		is_space(c))
		*end += width;
}

const struct hn_added *
hn_addeds_find(const struct hn_addeds *addeds, bool normalized, bool parse_special,
	const char *text, size_t n, size_t *from, size_t *begin, size_t *end)
{
	const size_t limit = *from;

	if (!addeds->has[normalized])
		return NULL;
	for (size_t i = *from; i < n; i++) {
		const uint32_t *first = &addeds->first[normalized][(uint8_t)text[i]];
		const struct hn_added *added =
			first[0] == first[1] ? NULL : longest(addeds, normalized, text + i, n - i);

		if (!added)
			continue;
		*begin = i;
		*end = i + added->key_len;
		if ((added->special && !parse_special) ||
			(added->single_word && !stands_alone(text, n, *begin, *end))) {
			i = *end - 1;
			continue;
		}
		strip(added, text, n, limit, begin, end);
		*from = *end;
		return added;
	}
	return NULL;
}
