/*
 * support/train_run.h - a training run by hand: a model, adapters, an objective, and the
 * programs of a run (train, norm, update, eval, logits, base), without configuration or data.
 *
 * The texts are token ids with a mark of what is learned; binding does what the batch builder
 * does: labels are shifted, learned rows selected, and row keys are (example in the step,
 * position), whatever the micro-batch.
 */
#ifndef HN_TEST_TRAIN_RUN_H
#define HN_TEST_TRAIN_RUN_H

#include "bench_model.h"
#include "plugin_values.h"
#include "train/step.h"

enum { TRAIN_TEXTS = 64, TRAIN_TOKENS = 4096, TRAIN_ADAPTERS = 4 };

struct train_texts {
	int64_t n;
	int32_t offsets[TRAIN_TEXTS + 1];
	int32_t ids[TRAIN_TOKENS];
	uint8_t learned[TRAIN_TOKENS];
};

/* n texts of min to max tokens below `vocabulary`; about two thirds are learned, in each text
 * at least the last.  The same seed gives the same texts. */
void train_texts_make(struct train_texts *texts, uint64_t seed, int64_t n, int64_t min, int64_t max,
	int32_t vocabulary);

/* One adapter of the run: "lora", "lora.second", "full", "layerwise"; or a factory. */
struct train_adapter {
	const char *section;
	const struct hone_factory *factory; /* NULL: of the plugin that the section names */
	const void *values;                 /* NULL: train_open's own */
};

struct train_options {
	const char *model;                             /* NULL: golden/models/tiny-llama */
	const char *backend;                           /* NULL: "reference" */
	int32_t compute;                               /* 0: f64 */
	int32_t threads;                               /* 0: 2 */
	struct train_adapter adapters[TRAIN_ADAPTERS]; /* section NULL ends the list */
	const char *targets;                           /* of lora; NULL: "all-linear, lm_head" */
	int64_t r;                                     /* of lora; 0: 4 */
	double dropout;                                /* of lora */
	const char *objective;                         /* NULL: "sft" */
	const struct hone_objective_vt *objective_vt;  /* instead of `objective` */
	double label_smoothing;
	int64_t chunk_rows;          /* 0: 17 */
	struct hn_capacity capacity; /* rows 0: 512 rows, 16 texts */
	bool recomputes, without_fusion;
	double weight_decay;
	/* Called when model and devices are open, before adapters and programs are made. */
	void (*on_open)(struct bench_model *bench);
};

struct train_run {
	struct bench_model bench;
	struct hn_layout layout;
	struct hn_step step;
	struct hn_program eval, logits, base;
	struct hn_build_result eval_result;
	struct hn_adamw adamw;
	struct lora_values lora;
	struct layerwise_values layerwise;
	struct sft_values sft;
	struct hn_build_request request;
};

/* Opens, builds, allocates and initialises parameters with seed 1.  On an error `err` says
 * why; train_close is due in any case.  train_open fails the test instead. */
enum hone_status train_try(
	struct train_run *run, const struct train_options *options, struct hone_error *err);
void train_open(struct train_run *run, const struct train_options *options);
void train_close(struct train_run *run);

/* Adds `scale` times a normal number to every value, so that no gradient is 0 by its place. */
void train_disturb(struct train_run *run, uint64_t seed, double scale);

/* Rows with a target in texts [first, first + n). */
int64_t train_learned(const struct train_texts *texts, int64_t first, int64_t n);
/* Binds texts [first, first + n) as one micro-batch; their keys count from first - base. */
void train_bind(struct hn_program *program, const struct train_texts *texts, int64_t first,
	int64_t n, int64_t base);

/* One window over texts [first, first + n) in micro-batches; gradients are added to what is
 * there.  Returns the mean loss per learned row. */
double train_window(struct train_run *run, const struct train_texts *texts, int64_t first,
	int64_t n, int64_t micro, uint64_t step);
/* Gradients to zero, then one window. */
double train_gradient(struct train_run *run, const struct train_texts *texts, int64_t first,
	int64_t n, int64_t micro, uint64_t step);
/* Clips (max_norm 0: not) and updates; returns the norm. */
double train_update(struct train_run *run, uint64_t step, double rate, double max_norm);
/* Whole steps over all texts, with clipping at 1; losses (NULL: not wanted) by step. */
void train_steps(struct train_run *run, const struct train_texts *texts, uint64_t n_steps,
	int64_t micro, double rate, double *losses);
/* Mean loss of the eval program. */
double train_eval(struct train_run *run, const struct train_texts *texts, int64_t first, int64_t n);
/* Logits of texts [first, first + n), [rows, V]; `out` holds that many doubles. */
void train_logits(struct train_run *run, struct hn_program *program,
	const struct train_texts *texts, int64_t first, int64_t n, double *out);
/* Width of the vocabulary. */
int64_t train_vocabulary(const struct train_run *run);

/* A whole buffer of HN_MEMORY_PARAMS, GRADS ... as doubles, n_elems with padding; the caller
 * frees.  train_put writes one back. */
double *train_take(const struct train_run *run, int32_t kind);
void train_put(struct train_run *run, int32_t kind, const double *values);
/* Every value of the parameters has the same bits in both. */
void train_assert_same_params(const struct train_run *a, const struct train_run *b);

/* The largest |a - b| over n, relative to the largest |b|. */
double train_distance(const double *a, const double *b, int64_t n);

#endif
