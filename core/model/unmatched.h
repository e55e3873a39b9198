/*
 * model/unmatched.h - where an architecture's sites and the tensors of a file differ.
 *
 * Every difference is counted before one error is made of them: a file of another model differs
 * in all of its layers, and one name would not tell that from a file that lacks one tensor.
 */
#ifndef HN_MODEL_UNMATCHED_H
#define HN_MODEL_UNMATCHED_H

#include "model/model.h"

/* Differences so far; a zeroed struct is none. */
struct hn_unmatched {
	struct hone_error first;
	struct hn_str others; /* names of the next few */
	uint32_t n;
};

/* Adds the tensor `name` with its reason. */
void hn_unmatched_add(
	struct hn_unmatched *unmatched, const char *name, const struct hone_error *why);
/* One error of all: the first reason, how many more there are, and some of their names.  Frees
 * what was collected.  HONE_OK when there are none. */
enum hone_status hn_unmatched_finish(struct hn_unmatched *unmatched, struct hone_error *err);

/* HONE_EMODEL when the layers of the file hold tensors that no site uses: a bias or a norm that
 * is left out makes another function of the model.  What lies outside of the layers (a second
 * head, a tied one) is left alone. */
enum hone_status hn_model_check_unused(const struct hn_model *model, struct hone_error *err);

#endif
