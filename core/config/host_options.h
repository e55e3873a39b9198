/*
 * config/host_options.h - the host's own sections: [run] [model] [data] [train] [eval]
 * [checkpoint] [generate].
 *
 * Keys, meanings and defaults are those of Hugging Face's Trainer and TRL; where a key has
 * another home or another name here, an alias or an answer says so.  What a technique or a
 * backend needs is in its own section and its own table.
 */
#ifndef HN_CONFIG_HOST_OPTIONS_H
#define HN_CONFIG_HOST_OPTIONS_H

#include "config/config.h"

struct hn_run_options {
	const char *output;                     /* the run's folder */
	struct hone_strings adapter, objective; /* instances, in order: "lora", "lora.second" */
	const char *backend;
	int64_t seed;
	const char *preset; /* as written; NULL = none */
};

enum hn_model_init { HN_MODEL_INIT_PRETRAINED = 0, HN_MODEL_INIT_RANDOM };

struct hn_model_options {
	const char *path;
	const char *storage; /* "native" = as the file stores it */
	int32_t init;        /* enum hn_model_init */
};

struct hn_data_options {
	const char *train, *validation, *test; /* NULL = none */
	int64_t max_length;
	int32_t shuffle, strict;
	double validation_split; /* below 1 a share, from 1 on a count, 0 = none */
	const char *schema;      /* "auto" = from the first rows */
};

enum hn_schedule {
	HN_SCHEDULE_LINEAR = 0,
	HN_SCHEDULE_COSINE,
	HN_SCHEDULE_COSINE_WITH_RESTARTS,
	HN_SCHEDULE_POLYNOMIAL,
	HN_SCHEDULE_CONSTANT,
	HN_SCHEDULE_CONSTANT_WITH_WARMUP,
	HN_SCHEDULE_INVERSE_SQRT,
	HN_SCHEDULE_COSINE_WITH_MIN_LR,
};

enum hn_optim { HN_OPTIM_ADAMW = 0 };

enum hn_compute { HN_COMPUTE_AUTO = 0, HN_COMPUTE_F32, HN_COMPUTE_BF16, HN_COMPUTE_F64 };

struct hn_train_options {
	double learning_rate;
	double num_train_epochs;
	int64_t max_steps; /* -1 = by epochs */
	int64_t per_device_train_batch_size, gradient_accumulation_steps;
	int32_t lr_scheduler_type; /* enum hn_schedule */
	double warmup_steps;       /* below 1 a share of all steps, from 1 on a count */
	double lr_num_cycles;      /* cosine 0.5, with restarts 1 (a whole number); 0 = that */
	double lr_power, lr_end;   /* polynomial */
	double min_lr;             /* cosine_with_min_lr */
	int32_t optim;             /* enum hn_optim */
	double weight_decay, adam_beta1, adam_beta2, adam_epsilon;
	double max_grad_norm;       /* 0 = no clipping */
	int32_t compute;            /* enum hn_compute */
	int64_t micro_batch_tokens; /* 0 = by the host, from INI and model */
	int64_t memory_limit;       /* bytes; 0 = what the device has */
	int64_t logging_steps;
	int64_t early_stopping_patience; /* evaluations without gain; 0 = off */
	double early_stopping_threshold;
};

struct hn_eval_options {
	int64_t eval_steps; /* 0 = at each epoch's end */
	int64_t per_device_eval_batch_size;
	struct hone_strings metrics;
};

enum hn_greater { HN_GREATER_AUTO = 0, HN_GREATER_YES, HN_GREATER_NO };

struct hn_checkpoint_options {
	int64_t save_steps, save_total_limit;
	int32_t load_best_model_at_end;
	const char *metric_for_best_model;
	int32_t greater_is_better; /* enum hn_greater; auto = not for a name that ends in "loss" */
};

struct hn_generate_options {
	int64_t max_new_tokens;
	int64_t batch_size; /* 0 = auto */
	double temperature; /* 0 = greedy */
	int64_t top_k;      /* 0 = all */
	double top_p, min_p, repetition_penalty;
};

struct hn_host_options {
	struct hn_run_options run;
	struct hn_model_options model;
	struct hn_data_options data;
	struct hn_train_options train;
	struct hn_eval_options eval;
	struct hn_checkpoint_options checkpoint;
	struct hn_generate_options generate;
};

/* The seven tables, in the order in which they are printed. */
const struct hn_config_table *hn_host_tables(size_t *n);

/* Reads the seven sections and checks what no single key can: contradictions between keys,
 * each with the lines of both.  HONE_ECONFIG when errors were added to check->diagnostics.
 * `check->tables` holds at least the host's. */
enum hone_status hn_host_options_read(
	const struct hn_config_check *check, struct hn_host_options *out);

#endif
