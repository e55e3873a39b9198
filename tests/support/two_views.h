/*
 * support/two_views.h - objectives that compare the policy with the untouched model, written
 * against the SDK alone, as a technique's author would: for tests of heads under two views.
 *
 * Beside sft's declarations all of them ask for the forward "reference" of the view "base".
 */
#ifndef HN_TEST_TWO_VIEWS_H
#define HN_TEST_TWO_VIEWS_H

#include <hone/objective.h>

/* KL(policy || reference) of the next token on every supervised row:
 *     sum_v p_v (log p_v - log q_v),  p, q the softmax of both views' logits. */
extern const struct hone_objective_vt two_views_kl;

/* -log sigmoid(beta (log p(label) - log q(label))) on every supervised row: DPO's terms, one
 * token at a time, so that both heads run in row chunks. */
extern const struct hone_objective_vt two_views_tokens;

/* The same of whole texts: log-probabilities are summed over the rows of a segment first, as
 * DPO does, and the heads are those of all rows. */
extern const struct hone_objective_vt two_views_texts;

/* Negative log-probabilities of the labels, terms "policy" and "reference". */
extern const struct hone_objective_vt two_views_nll;

/* Wrong: the policy's head on the reference's rows, and the reverse. */
extern const struct hone_objective_vt two_views_crossed, two_views_crossed_back;

#endif
