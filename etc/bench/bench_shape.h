/*
 * bench_shape.h - a model of SmolLM2-135M's shape with random weights: speed and memory do not
 * depend on their values, so benches need no download.
 */
#ifndef BENCH_SHAPE_H
#define BENCH_SHAPE_H

#include <hone/status.h>

/* Writes config.json, model.safetensors (bf16, 269 MB) and a small tokenizer into `folder`,
 * unless they are there. */
enum hone_status bench_shape_write(const char *folder, struct hone_error *err);

#endif
