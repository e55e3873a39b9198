/*
 * support/bench_adapter.h - a model with a LoRA adapter and a program that gives logits, for
 * tests of what goes into folders and comes out of them.
 */
#ifndef HN_TEST_BENCH_ADAPTER_H
#define HN_TEST_BENCH_ADAPTER_H

#include "bench_model.h"
#include "golden_file.h"
#include "model/safetensors.h"
#include "plugin_values.h"
#include "train/export.h"

struct bench_adapter {
	struct bench_model bench;
	struct lora_values values;
	struct hn_arena arena; /* of values that were read */
	struct hn_program program;
	struct hn_adapted adapted;
	int64_t n, vocabulary; /* rows of the text, width of a logit row */
	int32_t compute;
};

/* The text of tests/data/golden/peft/logits.safetensors, and what PEFT gives for it. */
struct golden_text {
	struct hn_tensor_file file;
	const int32_t *ids, *segments, *rows;
	int64_t n, n_segments, n_rows;
};

void golden_text_open(struct golden_text *text);
void golden_text_close(struct golden_text *text);
/* The text as a merged model's proof, borrowed. */
struct hn_proof golden_text_proof(const struct golden_text *text);

/* Reads the settings that hn_adapter_overrides makes of a folder into values; what a site
 * option names is resolved against the model.  On failure the first error. */
enum hone_status bench_read_values(
	struct bench_adapter *b, const char *folder, struct hone_error *err);

/* Opens a model without adapter; then adds LoRA with these values (NULL: what `folder` asks
 * for), or the plugin `weights`' adapter of a name. */
void bench_adapter_open(
	struct bench_adapter *b, const char *model, const char *backend, int32_t compute);
void bench_adapter_lora(struct bench_adapter *b, const struct lora_values *values);
void bench_adapter_from(struct bench_adapter *b, const char *folder);
/* Builds the program for the text, allocates, and sets initial values. */
void bench_adapter_start(struct bench_adapter *b, const struct golden_text *text);
/* Runs it: n rows of logits as doubles, which the caller frees. */
double *bench_adapter_logits(struct bench_adapter *b, const struct golden_text *text);
void bench_adapter_close(struct bench_adapter *b);

/* Values of every parameter: normal numbers by name, so that no matrix is zero. */
void bench_adapter_fill(struct bench_adapter *b, double scale);

double greatest_distance(const double *a, const double *b, int64_t n);

#endif
