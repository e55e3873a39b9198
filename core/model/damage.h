/*
 * model/damage.h - weights of the model's file that are NaN or infinite.
 *
 * Nobody looks for them when a run starts: that would read the whole file before the first
 * step.  `hone check` looks, and whoever meets a number that is not finite asks here whether
 * the file is to blame.
 */
#ifndef HN_MODEL_DAMAGE_H
#define HN_MODEL_DAMAGE_H

#include "model/model.h"

/* Elements of a weight as it is stored (block scales count for the elements of their blocks)
 * that are not finite, and the first one's index.  0 for a weight that is not in the file. */
int64_t hn_weight_count_nonfinite(
	const struct hn_model *model, const struct hn_weight *weight, int64_t *first);

/* HONE_ENOTFINITE with file, tensor, type, count and first index of `weight`. */
enum hone_status hn_weight_fail_nonfinite(
	const struct hn_model *model, const struct hn_weight *weight, struct hone_error *err);

/* Reads all weights, and does that for the first with such values; HONE_OK when all are
 * finite.  What was read is given back to the system. */
enum hone_status hn_model_check_finite(const struct hn_model *model, struct hone_error *err);

/* Appends ", because FILE: tensor ..." to an error that some number is not finite, where the
 * file is to blame; whether it is. */
bool hn_model_blame(const struct hn_model *model, struct hone_error *err);

#endif
