/*
 * model/checkpoint.h - a model on disk: its configuration and its stored tensors.
 *
 * A checkpoint is a Hugging Face folder (config.json beside safetensors) or one GGUF file.
 * Opening maps and checks; no weight is read.
 */
#ifndef HN_MODEL_CHECKPOINT_H
#define HN_MODEL_CHECKPOINT_H

#include "model/hf_config.h"
#include "model/tensors.h"

struct hn_checkpoint {
	char *path; /* as it was given */
	struct hn_model_config config;
	struct hn_tensor_file tensors; /* .format says which of the two it is */
};

/* Opens `path`, or says what is missing and what to do.  `checkpoint` is untouched on failure. */
enum hone_status hn_checkpoint_open(
	struct hn_checkpoint *checkpoint, const char *path, struct hone_error *err);
/* A zeroed struct is fine. */
void hn_checkpoint_close(struct hn_checkpoint *checkpoint);

/* Only the tensors, of a folder or of a file of either format: what `hone inspect` shows. */
enum hone_status hn_tensors_open(
	struct hn_tensor_file *file, const char *path, struct hone_error *err);

/* HONE_EMODEL for a path that is neither a folder nor a regular file, with what lies near. */
enum hone_status hn_fail_absent(const char *path, struct hone_error *err);

#endif
