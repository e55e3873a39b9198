/*
 * train/checkpoint_files.h - what saving and loading share; only they include it.
 */
#ifndef HN_TRAIN_CHECKPOINT_FILES_H
#define HN_TRAIN_CHECKPOINT_FILES_H

#include "train/checkpoint.h"

#define HN_PARAMS_FILE    "params.safetensors"
#define HN_OPTIMIZER_FILE "optimizer.safetensors"
#define HN_CONFIG_FILE    "config.ini"
#define HN_MANIFEST_FILE  "manifest.json"
#define HN_BEST_LINK      "best"

/* A tensor of a checkpoint: one parameter's part of one of the engine's buffers. */
struct hn_state_tensor {
	char *name;
	const struct hn_engine *engine;
	const struct hn_param *param;
	int32_t kind; /* HN_MEMORY_PARAMS, MOMENT1, MOMENT2 */
};

/* The tensors of params.safetensors, or of optimizer.safetensors: a new array of *n. */
struct hn_state_tensor *hn_state_list(const struct hn_engine *engine, bool is_optimizer, size_t *n);
void hn_state_free(struct hn_state_tensor *list, size_t n);
/* "f32" or "f64": the type in memory. */
const char *hn_state_storage(const struct hn_engine *engine);
/* Bytes [from, from + n) of a tensor, as they are in memory. */
enum hone_status hn_state_read(const struct hn_state_tensor *tensor, uint64_t from, uint64_t n,
	void *out, struct hone_error *err);
uint64_t hn_state_bytes(const struct hn_state_tensor *tensor);

/* Opens a file of tensors and finds each of the list in it with its type and shape, and
 * nothing else; found[i] belongs to list[i].  Close *file when this returns HONE_OK. */
enum hone_status hn_state_open(struct hn_tensor_file *file, const char *path,
	const struct hn_state_tensor *list, size_t n, const struct hn_tensor_info **found,
	struct hone_error *err);

/* Hashes the files of `dir` and writes its manifest, atomically and synced. */
enum hone_status hn_manifest_write(
	const char *dir, const struct hn_save_request *request, struct hone_error *err);

/* The step of "step-000300", -1 for any other name. */
int64_t hn_step_of_name(const char *name);
/* Steps in checkpoints/, newest first; free the array. */
enum hone_status hn_steps_list(
	const struct hn_folder *folder, int64_t **steps, size_t *n, struct hone_error *err);
/* "<checkpoints>/<before>step-000300"; the caller frees. */
char *hn_step_path(const struct hn_folder *folder, const char *before, int64_t step);
/* The step that checkpoints/best means, -1 = none. */
int64_t hn_best_step(const struct hn_folder *folder);

#endif
