/*
 * metrics.c - words, their longest common subsequence, and means.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/table.h"
#include "train/metrics.h"

/* ---- exact match ---- */

static bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct hn_text
strip(struct hn_text text)
{
	while (text.len && is_space(text.bytes[0])) {
		text.bytes++;
		text.len--;
	}
	while (text.len && is_space(text.bytes[text.len - 1]))
		text.len--;
	return text;
}

bool
hn_exact_match(struct hn_text reference, struct hn_text answer)
{
	const struct hn_text a = strip(reference), b = strip(answer);

	return a.len == b.len && (a.len == 0 || memcmp(a.bytes, b.bytes, a.len) == 0);
}

/* ---- words ---- */

/* Words of a text as numbers: equal words of one table have equal numbers. */
struct words {
	uint32_t *items;
	size_t n, cap;
};

/* The letter or digit at the front of the text in lower case, or 0; *len is how many bytes it
 * has.  Two characters beyond ASCII have a lower case that begins with an ASCII letter: the
 * Kelvin sign (U+212A, k) and I with a dot (U+0130, i and a mark that ends the word). */
static char
letter(const char *at, size_t n, size_t *len, bool *ends_word)
{
	*len = 1;
	*ends_word = false;
	if ((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9'))
		return *at;
	if (*at >= 'A' && *at <= 'Z')
		return (char)(*at - 'A' + 'a');
	if (n >= 3 && memcmp(at, "\xe2\x84\xaa", 3) == 0) {
		*len = 3;
		return 'k';
	}
	if (n >= 2 && memcmp(at, "\xc4\xb0", 2) == 0) {
		*len = 2;
		*ends_word = true;
		return 'i';
	}
	return 0;
}

static void
add_word(struct words *words, struct hn_table *table, struct hn_str *word)
{
	const uint64_t *known;

	if (word->len == 0)
		return;
	known = hn_table_find(table, word->text, word->len);
	words->items = hn_grow(words->items, &words->cap, words->n + 1, sizeof *words->items);
	words->items[words->n++] = known ? (uint32_t)*known : (uint32_t)table->n;
	if (!known)
		(void)hn_table_put(table, word->text, word->len, table->n);
	hn_str_clear(word);
}

static void
split(struct words *words, struct hn_table *table, struct hn_text text)
{
	struct hn_str word = {0};

	for (size_t at = 0, len; at < text.len; at += len) {
		bool ends_word;
		const char c = letter(text.bytes + at, text.len - at, &len, &ends_word);

		if (c)
			hn_str_putc(&word, c);
		if (!c || ends_word)
			add_word(words, table, &word);
	}
	add_word(words, table, &word);
	hn_str_fini(&word);
}

/* ---- ROUGE-L ---- */

/* Length of the longest common subsequence, with one row of the table:
 *
 *     row[j + 1] = a_i = b_j ? above-left + 1 : max(above, left)
 */
static size_t
common(const struct words *a, const struct words *b)
{
	uint32_t *row = hn_alloc((b->n + 1) * sizeof *row);
	size_t longest;

	for (size_t i = 0; i < a->n; i++) {
		uint32_t above_left = 0;

		for (size_t j = 0; j < b->n; j++) {
			const uint32_t above = row[j + 1], left = row[j];

			if (a->items[i] == b->items[j])
				row[j + 1] = above_left + 1;
			else
				row[j + 1] = above > left ? above : left;
			above_left = above;
		}
	}
	longest = row[b->n];
	free(row);
	return longest;
}

struct hn_rouge
hn_rouge_l(struct hn_text reference, struct hn_text answer)
{
	struct hn_table table = {0};
	struct words a = {0}, b = {0};
	struct hn_rouge rouge = {0};

	split(&a, &table, reference);
	split(&b, &table, answer);
	if (a.n && b.n) {
		const double n = (double)common(&a, &b);

		rouge.precision = n / (double)b.n;
		rouge.recall = n / (double)a.n;
		if (n > 0.0)
			rouge.f = 2.0 * rouge.precision * rouge.recall /
				(rouge.precision + rouge.recall);
	}
	free(a.items);
	free(b.items);
	hn_table_fini(&table);
	return rouge;
}

/* ---- all pairs ---- */

void
hn_eval_generated(const struct hn_generated *pairs, int64_t n, struct hn_generated_metrics *out)
{
	*out = (struct hn_generated_metrics){.n = n};
	for (int64_t i = 0; i < n; i++) {
		out->exact_match += hn_exact_match(pairs[i].reference, pairs[i].answer);
		out->rouge_l += hn_rouge_l(pairs[i].reference, pairs[i].answer).f;
	}
	if (n > 0) {
		out->exact_match /= (double)n;
		out->rouge_l /= (double)n;
	}
}
