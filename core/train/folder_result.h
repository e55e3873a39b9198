/*
 * train/folder_result.h - what folder.c and folder_result.c share; only they include it.
 */
#ifndef HN_TRAIN_FOLDER_RESULT_H
#define HN_TRAIN_FOLDER_RESULT_H

#include <jansson.h>

#include "train/folder.h"

#define HN_STATE_FILE "state.json"

/* The files of a run's result that decide what it computes, as they are now:
 * [{"name": "adapter/adapter_model.safetensors", "bytes": 4096, "hash": "<xxh128>"}, ...].
 * The caller decrefs. */
enum hone_status hn_result_list(const char *output, json_t **out, struct hone_error *err);

#endif
