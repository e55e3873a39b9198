/*
 * train/metrics.h - how near answers are to their references: exact match and ROUGE-L.
 *
 * Exact match is 1 where answer and reference are the same bytes after white space (space, tab,
 * line breaks) is taken off both ends; nothing else is forgiven: case, punctuation and spaces
 * inside count.
 *
 * ROUGE-L (Lin 2004, "ROUGE: a package for automatic evaluation of summaries", section 3) is
 * Google's rouge_score with its default tokenizer: words are runs of [a-z0-9] after
 * lower-casing, without stemming, and with L the longest common subsequence of words,
 *
 *     precision = L / words of the answer      recall = L / words of the reference
 *     F = 2 precision recall / (precision + recall)
 *
 * 0 where either text has no word.  So texts in scripts other than Latin have no words: the
 * metric says 0 for them, as rouge_score does.
 */
#ifndef HN_TRAIN_METRICS_H
#define HN_TRAIN_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/tokenizer.h"

bool hn_exact_match(struct hn_text reference, struct hn_text answer);

struct hn_rouge {
	double precision, recall, f;
};
struct hn_rouge hn_rouge_l(struct hn_text reference, struct hn_text answer);

/* A reference and what the model answered; borrowed. */
struct hn_generated {
	struct hn_text reference, answer;
};

struct hn_generated_metrics {
	int64_t n;                   /* pairs */
	double exact_match, rouge_l; /* means over pairs, from 0 to 1; 0 for no pairs */
};

/* The metrics of all pairs, each with the same weight.  [any thread] */
void hn_eval_generated(
	const struct hn_generated *pairs, int64_t n, struct hn_generated_metrics *out);

#endif
