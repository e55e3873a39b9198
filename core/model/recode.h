/*
 * model/recode.h - [model] storage: frozen weights kept in memory in another form than the
 * file's.
 *
 * Which: the weights of linear sites.  Heads, embeddings, norms and biases stay as the file
 * stores them, mapped, as QLoRA does it, and so does a weight that has the wanted form
 * already.  struct hn_weight goes on describing the file, and hn_weight_decode reads it: only
 * an engine places the other form (graph/engine.c), in one piece of memory for all weights.
 *
 * A weight is read, checked and encoded in pieces of some thousand elements, by all threads of
 * the pool.  No f32 copy of it exists, and the bytes do not depend on the number of threads.
 */
#ifndef HN_MODEL_RECODE_H
#define HN_MODEL_RECODE_H

#include "base/pool.h"
#include "model/param.h"

/* Keeps linear weights as `name`: "native" (or NULL: nothing changes), "f32", "bf16", or a
 * format that the model's find_storage knows and that can encode.  HONE_ECONFIG when it cannot
 * be done, saying why.  `pool` (NULL: the caller's thread) encodes.  After hn_model_declare. */
enum hone_status hn_model_keep(
	struct hn_model *model, const char *name, struct hn_pool *pool, struct hone_error *err);

/* Quantised weights are frozen: HONE_ECONFIG naming instance and site where one trains. */
enum hone_status hn_model_check_kept(
	const struct hn_model *model, const struct hn_params *params, struct hone_error *err);

/* Bytes of the kept form, and where its part `part` begins in them. */
uint64_t hn_kept_bytes(const struct hn_weight *weight);
uint64_t hn_kept_part(const struct hn_weight *weight, uint32_t part);

/* Scratch for one weight after the other; reserved on first use.  Zero it before. */
struct hn_recoder {
	float *values; /* a piece for each thread */
	uint8_t *work; /* of the format, then what pieces found */
	size_t n_values, cap_values, cap_work;
};
void hn_recoder_fini(struct hn_recoder *recoder);

/* Writes a weight in its kept form to `out`, hn_kept_bytes of it.  HONE_EMODEL naming the
 * tensor when a value is not finite. */
enum hone_status hn_weight_recode(struct hn_recoder *recoder, const struct hn_model *model,
	const struct hn_weight *weight, uint8_t *out, struct hone_error *err);

#endif
