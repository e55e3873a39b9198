/*
 * excerpt.h - a few tokens of a run's data: what a merged model is tried on before it is kept.
 */
#ifndef HN_EXCERPT_H
#define HN_EXCERPT_H

#include "session.h"

struct hn_excerpt {
	int32_t *ids;
	int32_t *offsets; /* [n_segments + 1]: where each text begins */
	int64_t n_segments;
	const char *from; /* "validation", "train", "made-up" */
};

/* Takes the beginning of the validation data, or where there is none of the training data, as
 * the objective emits it; a text may be cut at its end.  Where the data cannot be read, a
 * warning says why, and tokens are drawn by chance: a result can be exported without its
 * data.  hn_excerpt_fini in any case. */
void hn_excerpt_take(struct hn_excerpt *excerpt, struct hn_run *run);
/* The same of a split of an open session, whose window is filled anew. */
enum hone_status hn_excerpt_take_split(struct hn_excerpt *excerpt, const struct hn_run *run,
	struct hn_split *split, struct hone_error *err);
void hn_excerpt_fini(struct hn_excerpt *excerpt);

#endif
