/*
 * host_options.c - the tables of the host's own sections.
 *
 * The tables are the only place of defaults.  HONE_OPTION_RUNTIME marks what a resumed run
 * may change: threads, logging, saving and evaluation intervals, limits, the place of
 * output; what changes a number of the training is never marked.  Contradictions between
 * keys are in host_check.c.
 *
 * Adding a key?  Its member goes into host_options.h, its meaning into the help text here.
 */
#include <math.h>

#include "config/host_options.h"

/* Number of rows, and a table around them. */
#define COUNT(array) (uint32_t)(sizeof(array) / sizeof((array)[0]))
#define TABLE(values, rows)                                                                        \
	{                                                                                          \
		.stride = sizeof(struct hone_option), .n = COUNT(rows),                            \
		.value_bytes = sizeof(struct values), .options = (rows)                            \
	}

/* Offset of a member, so that a row stays readable. */
#define AT(values, member) offsetof(struct values, member)

/* What is done and where.  Adapter, objective and backend are names of plugins: the registry
 * knows whether they exist, this table does not. */
static const struct hone_option run_rows[] = {
	{.key = "output",
		.type = HONE_OPTION_PATH,
		.flags = HONE_OPTION_REQUIRED | HONE_OPTION_RUNTIME,
		.offset = AT(hn_run_options, output),
		.aliases = "output_dir",
		.help = "folder of the run: result, checkpoints, metrics and log"},
	{.key = "adapter",
		.type = HONE_OPTION_LIST,
		.flags = HONE_OPTION_REQUIRED,
		.offset = AT(hn_run_options, adapter),
		.aliases = "adapters|finetuning_type|fine_tune_type",
		.help = "what is trained, for example lora; several as a list, in the order of "
			"their effect"},
	{.key = "objective",
		.type = HONE_OPTION_LIST,
		.flags = HONE_OPTION_REQUIRED,
		.offset = AT(hn_run_options, objective),
		.aliases = "objectives|stage|task",
		.help = "what it is trained for, for example sft"},
	{.key = "backend",
		.type = HONE_OPTION_STRING,
		.offset = AT(hn_run_options, backend),
		.default_value = "cpu",
		.aliases = "device",
		.help = "what computes"},
	{.key = "seed",
		.type = HONE_OPTION_I64,
		.offset = AT(hn_run_options, seed),
		.default_value = "42",
		.min = 0,
		.max = 9007199254740992.0,
		.help = "of every random number in the run"},
	{.key = "preset",
		.type = HONE_OPTION_STRING,
		.flags = HONE_OPTION_RUNTIME,
		.offset = AT(hn_run_options, preset),
		.help = "name of a preset, or path of an INI file, whose keys count where this "
			"file has none"},
};

/* The model that is tuned.  No key says its type: that is read from its files. */
static const struct hone_option model_rows[] = {
	{.key = "path",
		.type = HONE_OPTION_PATH,
		.flags = HONE_OPTION_REQUIRED,
		.offset = AT(hn_model_options, path),
		.aliases = "model_name_or_path|base_model|model|model_path|model_name",
		.help = "folder of a Hugging Face model, or a GGUF file"},
	{.key = "storage",
		.type = HONE_OPTION_STRING,
		.offset = AT(hn_model_options, storage),
		.default_value = "native",
		.aliases = "quantization|quantization_type|bnb_4bit_quant_type",
		.help = "how the frozen weights of linear layers are kept in memory: native (as "
			"the file stores them, mapped), f32, bf16, q4_0, q4_1, q8_0 or nf4: "
			"nf4 is QLoRA's; embeddings, norms and the head stay native"},
	{.key = "init",
		.type = HONE_OPTION_CHOICE,
		.offset = AT(hn_model_options, init),
		.default_value = "pretrained",
		.choices = "pretrained|random",
		.help = "random starts from fresh weights and needs a config.json only"},
};

/* Rows.  max_length cuts, and the cut is counted and told; nothing is ever padded to it. */
static const struct hone_option data_rows[] = {
	{.key = "train",
		.type = HONE_OPTION_PATH,
		.flags = HONE_OPTION_REQUIRED,
		.offset = AT(hn_data_options, train),
		.aliases = "train_file|dataset|train_data",
		.help = "file of training rows: JSON lines (.jsonl), one object a line"},
	{.key = "validation",
		.type = HONE_OPTION_PATH,
		.offset = AT(hn_data_options, validation),
		.aliases = "validation_file|valid|eval_dataset|eval_file",
		.help = "file of validation rows"},
	{.key = "test",
		.type = HONE_OPTION_PATH,
		.offset = AT(hn_data_options, test),
		.aliases = "test_file",
		.help = "file of test rows, read by hone eval only"},
	{.key = "max_length",
		.type = HONE_OPTION_I64,
		.offset = AT(hn_data_options, max_length),
		.default_value = "1024",
		.min = 1,
		.max = 16777216,
		.aliases = "max_seq_length|cutoff_len|sequence_len|seq_len|seq_length|block_size",
		.help = "tokens of an example; what is longer is cut and counted"},
	{.key = "shuffle",
		.type = HONE_OPTION_BOOL,
		.offset = AT(hn_data_options, shuffle),
		.default_value = "yes",
		.aliases = "shuffle_dataset",
		.help = "a new order in each epoch"},
	{.key = "validation_split",
		.type = HONE_OPTION_F64,
		.offset = AT(hn_data_options, validation_split),
		.default_value = "0",
		.min = 0,
		.max = 1e9,
		.aliases = "val_set_size|val_size|test_split_size",
		.help = "rows taken from train for validation: below 1 a share, from 1 on a count"},
	{.key = "strict",
		.type = HONE_OPTION_BOOL,
		.offset = AT(hn_data_options, strict),
		.default_value = "no",
		.help = "warnings about rows are errors"},
	{.key = "schema",
		.type = HONE_OPTION_STRING,
		.offset = AT(hn_data_options, schema),
		.default_value = "auto",
		.aliases = "dataset_type|format",
		.help = "kind of the rows, for example messages; auto: from their keys"},
};

#define SCHEDULES                                                                                  \
	"linear|cosine|cosine_with_restarts|polynomial|constant|constant_with_warmup|"             \
	"inverse_sqrt|cosine_with_min_lr"

/* Hugging Face's words and defaults, but for learning_rate, which has none: no number is
 * right for full training and adapters alike. */
static const struct hone_option train_rows[] = {
	{.key = "learning_rate",
		.type = HONE_OPTION_F64,
		.flags = HONE_OPTION_REQUIRED | HONE_OPTION_OPEN_MIN,
		.offset = AT(hn_train_options, learning_rate),
		.min = 0,
		.max = 10,
		.aliases = "lr",
		.help = "peak step size; usual: full 1e-5 to 5e-5, LoRA 1e-4 to 5e-4"},
	{.key = "num_train_epochs",
		.type = HONE_OPTION_F64,
		.flags = HONE_OPTION_OPEN_MIN,
		.offset = AT(hn_train_options, num_train_epochs),
		.default_value = "3",
		.min = 0,
		.max = 1000000,
		.aliases = "num_epochs|epochs",
		.help = "passes over the data; may be 0.5"},
	{.key = "max_steps",
		.type = HONE_OPTION_I64,
		.offset = AT(hn_train_options, max_steps),
		.default_value = "-1",
		.min = -1,
		.max = 1e12,
		.aliases = "iters",
		.help = "optimizer steps, instead of num_train_epochs; -1: by epochs"},
	{.key = "per_device_train_batch_size",
		.type = HONE_OPTION_I64,
		.offset = AT(hn_train_options, per_device_train_batch_size),
		.default_value = "8",
		.min = 1,
		.max = 1048576,
		.aliases = "batch_size|micro_batch_size|train_batch_size",
		.help = "examples of a batch"},
	{.key = "gradient_accumulation_steps",
		.type = HONE_OPTION_I64,
		.offset = AT(hn_train_options, gradient_accumulation_steps),
		.default_value = "1",
		.min = 1,
		.max = 1048576,
		.aliases = "grad_accum|grad_accumulation_steps|grad_accum_steps",
		.help = "batches of an optimizer step"},
	{.key = "lr_scheduler_type",
		.type = HONE_OPTION_CHOICE,
		.offset = AT(hn_train_options, lr_scheduler_type),
		.default_value = "linear",
		.choices = SCHEDULES,
		.aliases = "lr_scheduler|lr_schedule|scheduler",
		.help = "how the learning rate goes from its peak to the end"},
	{.key = "warmup_steps",
		.type = HONE_OPTION_F64,
		.offset = AT(hn_train_options, warmup_steps),
		.default_value = "0",
		.min = 0,
		.max = 1e12,
		.aliases = "warmup_ratio|warmup",
		.help = "rise to the peak: from 1 on steps, below 1 a share of all"},
	{.key = "lr_num_cycles",
		.type = HONE_OPTION_F64,
		.offset = AT(hn_train_options, lr_num_cycles),
		.min = 0,
		.max = 1000000,
		.flags = HONE_OPTION_OPEN_MIN,
		.aliases = "num_cycles",
		.help = "waves of cosine (0.5 if not set) or restarts of cosine_with_restarts (1)"},
	{.key = "lr_power",
		.type = HONE_OPTION_F64,
		.offset = AT(hn_train_options, lr_power),
		.default_value = "1",
		.min = 0,
		.max = 100,
		.flags = HONE_OPTION_OPEN_MIN,
		.aliases = "power",
		.help = "exponent of polynomial"},
	{.key = "lr_end",
		.type = HONE_OPTION_F64,
		.offset = AT(hn_train_options, lr_end),
		.default_value = "1e-7",
		.min = 0,
		.max = 10,
		.help = "last learning rate of polynomial"},
	{.key = "min_lr",
		.type = HONE_OPTION_F64,
		.offset = AT(hn_train_options, min_lr),
		.default_value = "0",
		.min = 0,
		.max = 10,
		.help = "last learning rate of cosine_with_min_lr"},
	{.key = "optim",
		.type = HONE_OPTION_CHOICE,
		.offset = AT(hn_train_options, optim),
		.default_value = "adamw",
		.choices = "adamw",
		.aliases = "optimizer",
		.help = "the optimizer"},
	{.key = "weight_decay",
		.type = HONE_OPTION_F64,
		.offset = AT(hn_train_options, weight_decay),
		.default_value = "0",
		.min = 0,
		.max = 10,
		.help = "decoupled, not of biases and norms"},
	{.key = "adam_beta1",
		.type = HONE_OPTION_F64,
		.flags = HONE_OPTION_OPEN_MAX,
		.offset = AT(hn_train_options, adam_beta1),
		.default_value = "0.9",
		.min = 0,
		.max = 1,
		.aliases = "beta1",
		.help = "decay of the first moment"},
	{.key = "adam_beta2",
		.type = HONE_OPTION_F64,
		.flags = HONE_OPTION_OPEN_MAX,
		.offset = AT(hn_train_options, adam_beta2),
		.default_value = "0.999",
		.min = 0,
		.max = 1,
		.aliases = "beta2",
		.help = "decay of the second moment"},
	{.key = "adam_epsilon",
		.type = HONE_OPTION_F64,
		.offset = AT(hn_train_options, adam_epsilon),
		.default_value = "1e-8",
		.min = 1e-20, /* a smaller one does not bound m / (sqrt(v) + eps) where v is 0 in f32 */
		.max = 1,
		.aliases = "epsilon|adam_eps",
		.help = "added to the root of the second moment"},
	{.key = "max_grad_norm",
		.type = HONE_OPTION_F64,
		.offset = AT(hn_train_options, max_grad_norm),
		.default_value = "1",
		.min = 0,
		.max = 1e9,
		.aliases = "gradient_clipping|grad_clip|max_gradient_norm",
		.help = "longest gradient of an optimizer step; 0: not clipped"},
	{.key = "compute",
		.type = HONE_OPTION_CHOICE,
		.offset = AT(hn_train_options, compute),
		.default_value = "auto",
		.choices = "auto|f32|bf16|f64",
		.aliases = "dtype|torch_dtype|precision|mixed_precision",
		.help = "type of activations; auto: bf16 where the device computes in it, else "
			"f32"},
	{.key = "micro_batch_tokens",
		.type = HONE_OPTION_I64,
		.offset = AT(hn_train_options, micro_batch_tokens),
		.min = 1,
		.max = 1e12,
		.help = "tokens computed at once, in whole rows of data: a longer row goes alone; "
			"not set: "
			"256, or 512 where that costs little beside the weights; steps are the "
			"same but "
			"for rounding"},
	{.key = "memory_limit",
		.type = HONE_OPTION_BYTES,
		.flags = HONE_OPTION_RUNTIME,
		.offset = AT(hn_train_options, memory_limit),
		.min = 1048576,
		.max = INFINITY,
		.help = "memory a run may plan for, such as 8GiB: micro-batches become smaller, "
			"then "
			"layers are computed again in the backward; a plan is true to a few "
			"percent"},
	{.key = "logging_steps",
		.type = HONE_OPTION_I64,
		.flags = HONE_OPTION_RUNTIME,
		.offset = AT(hn_train_options, logging_steps),
		.default_value = "10",
		.min = 1,
		.max = 1e12,
		.aliases = "steps_per_report|log_every",
		.help = "steps between two lines of metrics"},
	{.key = "early_stopping_patience",
		.type = HONE_OPTION_I64,
		.offset = AT(hn_train_options, early_stopping_patience),
		.min = 1,
		.max = 1000000,
		.aliases = "patience",
		.help = "stop after so many evaluations without gain; not set: never"},
	{.key = "early_stopping_threshold",
		.type = HONE_OPTION_F64,
		.offset = AT(hn_train_options, early_stopping_threshold),
		.default_value = "0",
		.min = 0,
		.max = INFINITY,
		.help = "a smaller gain does not count"},
};

/* Evaluated is where there are validation rows, always before the first step and at the end. */
static const struct hone_option eval_rows[] = {
	{.key = "eval_steps",
		.type = HONE_OPTION_I64,
		.flags = HONE_OPTION_RUNTIME,
		.offset = AT(hn_eval_options, eval_steps),
		.min = 1,
		.max = 1e12,
		.aliases = "steps_per_eval|eval_every",
		.help = "steps between two evaluations; not set: at each epoch's end; before the "
			"first step "
			"there is one in any case"},
	{.key = "per_device_eval_batch_size",
		.type = HONE_OPTION_I64,
		.offset = AT(hn_eval_options, per_device_eval_batch_size),
		.default_value = "8",
		.min = 1,
		.max = 1048576,
		.aliases = "eval_batch_size",
		.help = "examples of an evaluation's batch"},
	{.key = "metrics",
		.type = HONE_OPTION_LIST,
		.offset = AT(hn_eval_options, metrics),
		.aliases = "metric",
		.help = "exact_match, rouge_l: hone eval then answers every prompt of the split, "
			"greedily, and compares"},
};

/* The best checkpoint is kept besides save_total_limit. */
static const struct hone_option checkpoint_rows[] = {
	{.key = "save_steps",
		.type = HONE_OPTION_I64,
		.flags = HONE_OPTION_RUNTIME,
		.offset = AT(hn_checkpoint_options, save_steps),
		.default_value = "500",
		.min = 1,
		.max = 1e12,
		.aliases = "save_every|steps_per_save",
		.help = "steps between two checkpoints; the end has one too"},
	{.key = "save_total_limit",
		.type = HONE_OPTION_I64,
		.flags = HONE_OPTION_RUNTIME,
		.offset = AT(hn_checkpoint_options, save_total_limit),
		.default_value = "2",
		.min = 1,
		.max = 1000000,
		.help = "checkpoints that are kept, besides the best"},
	{.key = "load_best_model_at_end",
		.type = HONE_OPTION_BOOL,
		.offset = AT(hn_checkpoint_options, load_best_model_at_end),
		.default_value = "no",
		.help = "the result is the best checkpoint's, not the last step's"},
	{.key = "metric_for_best_model",
		.type = HONE_OPTION_STRING,
		.offset = AT(hn_checkpoint_options, metric_for_best_model),
		.default_value = "loss",
		.help = "what makes a checkpoint the best"},
	{.key = "greater_is_better",
		.type = HONE_OPTION_CHOICE,
		.offset = AT(hn_checkpoint_options, greater_is_better),
		.default_value = "auto",
		.choices = "auto|yes|no",
		.help = "auto: no for a metric that ends in loss, else yes"},
};

/* Nothing of it changes a training: all of it may differ when a run goes on. */
static const struct hone_option generate_rows[] = {
	{.key = "max_new_tokens",
		.type = HONE_OPTION_I64,
		.flags = HONE_OPTION_RUNTIME,
		.offset = AT(hn_generate_options, max_new_tokens),
		.default_value = "256",
		.min = 1,
		.max = 16777216,
		.aliases = "max_tokens",
		.help = "longest answer"},
	{.key = "batch_size",
		.type = HONE_OPTION_I64,
		.flags = HONE_OPTION_RUNTIME,
		.offset = AT(hn_generate_options, batch_size),
		.default_value = "0",
		.min = 0,
		.max = 4096,
		.help = "prompts answered at a time; 0: up to 32, as a cache of 256 MiB has "
			"room"},
	{.key = "temperature",
		.type = HONE_OPTION_F64,
		.flags = HONE_OPTION_RUNTIME,
		.offset = AT(hn_generate_options, temperature),
		.default_value = "0",
		.min = 0,
		.max = 100,
		.aliases = "temp",
		.help = "0: always the likeliest token"},
	{.key = "top_k",
		.type = HONE_OPTION_I64,
		.flags = HONE_OPTION_RUNTIME,
		.offset = AT(hn_generate_options, top_k),
		.default_value = "0",
		.min = 0,
		.max = 16777216,
		.help = "draw from so many of the likeliest tokens; 0: from all"},
	{.key = "top_p",
		.type = HONE_OPTION_F64,
		.flags = HONE_OPTION_RUNTIME | HONE_OPTION_OPEN_MIN,
		.offset = AT(hn_generate_options, top_p),
		.default_value = "1",
		.min = 0,
		.max = 1,
		.help = "draw from the likeliest tokens that hold this share"},
	{.key = "min_p",
		.type = HONE_OPTION_F64,
		.flags = HONE_OPTION_RUNTIME,
		.offset = AT(hn_generate_options, min_p),
		.default_value = "0",
		.min = 0,
		.max = 1,
		.help = "leave out tokens below this share of the likeliest one"},
	{.key = "repetition_penalty",
		.type = HONE_OPTION_F64,
		.flags = HONE_OPTION_RUNTIME | HONE_OPTION_OPEN_MIN,
		.offset = AT(hn_generate_options, repetition_penalty),
		.default_value = "1",
		.min = 0,
		.max = 100,
		.help = "divides the scores of tokens that have appeared; 1: none"},
};

static const struct hone_options run_options = TABLE(hn_run_options, run_rows);
static const struct hone_options model_options = TABLE(hn_model_options, model_rows);
static const struct hone_options data_options = TABLE(hn_data_options, data_rows);
static const struct hone_options train_options = TABLE(hn_train_options, train_rows);
static const struct hone_options eval_options = TABLE(hn_eval_options, eval_rows);
static const struct hone_options checkpoint_options = TABLE(hn_checkpoint_options, checkpoint_rows);
static const struct hone_options generate_options = TABLE(hn_generate_options, generate_rows);

/* Keys of the field that have no place here, and why.  The last member: what a 'yes' asks
 * for happens anyway, so it is only a warning.  None of them may be a key of any table. */
static const struct hn_config_answer model_answers[] = {
	{"load_in_4bit", "write [model] storage = nf4", false},
	{"load_in_8bit", "write [model] storage = q8_0", false},
	{"revision", "models are files here; give the folder of that revision in [model] path",
		false},
	{"trust_remote_code", "no code comes with a model here; delete the line", false},
	{"quantization_config", "write [model] storage = nf4", false},
	{"flash_attention", "the backend chooses how attention is computed; delete the line",
		false},
	{"flash_attn", "the backend chooses how attention is computed; delete the line", false},
	{"attn_implementation", "the backend chooses how attention is computed; delete the line",
		false},
	/* Of an adapter, which gives its answers through nobody's table but this one. */
	{"bias", "biases stay as they are, which is PEFT's none; delete the line", false},
	{"task_type", "the objective says it; delete the line", false},
	{"modules_to_save",
		"not offered: beside the adapter nothing trains; delete the line, or write [run] "
		"adapter = full",
		false},
	{"use_dora", "DoRA is not offered; delete the line", false},
};
static const struct hn_config_answer data_answers[] = {
	{"packing", "always: examples are packed and never see each other; delete the line", true},
	{"sample_packing", "always: examples are packed and never see each other; delete the line",
		true},
	{"padding_free", "always: there is no padding here; delete the line", true},
	{"group_by_length", "there is no padding here that sorting could save; delete the line",
		false},
	{"train_on_inputs",
		"write completion_only_loss = no into [sft] for yes, completion_only_loss = yes "
		"for "
		"no",
		false},
	{"chat_template",
		"the model's own is used, of tokenizer_config.json or the GGUF file; delete the "
		"line",
		false},
	{"dataloader_num_workers", "rows are prepared by the run's own threads; delete the line",
		false},
	{"dataloader_drop_last", "nothing is dropped: the last batch may be short; delete the line",
		false},
};
static const struct hn_config_answer train_answers[] = {
	{"neftune_noise_alpha", "noise on embeddings is not offered; delete the line", false},
	{"bf16", "write compute = bf16", false},
	{"fp16", "write compute = bf16 or compute = f32; half precision is not offered", false},
	{"tf32", "write compute = bf16 or compute = f32", false},
	{"gradient_checkpointing",
		"what is recomputed follows from the memory plan; write memory_limit = 8GiB or the "
		"like",
		false},
	{"lr_scheduler_kwargs", "write lr_num_cycles, lr_power, lr_end or min_lr", false},
	{"logging_strategy", "write logging_steps", false},
	{"resume_from_checkpoint",
		"the same command goes on by itself; --fresh starts anew. Delete the line", false},
	{"report_to", "metrics are in metrics.jsonl of the run's folder; delete the line", false},
	{"data_seed", "[run] seed is the one seed of a run", false},
	{"deepspeed", "not offered; delete the line", false},
	{"fsdp", "not offered; delete the line", false},
	{"torch_compile", "graphs are always compiled; delete the line", true},
};
static const struct hn_config_answer eval_answers[] = {
	{"eval_strategy", "write eval_steps; without it each epoch's end is evaluated", false},
	{"evaluation_strategy", "write eval_steps; without it each epoch's end is evaluated",
		false},
	{"eval_on_start", "always, where there is validation data; delete the line", true},
	{"do_eval", "evaluated is where there is validation data; delete the line", true},
};
static const struct hn_config_answer checkpoint_answers[] = {
	{"save_strategy", "write save_steps; the end is always saved", false},
	{"save_only_model", "checkpoints are always complete; the result is in adapter/ or model/",
		false},
	{"push_to_hub", "not offered; the result is a folder that other tools upload", false},
};
static const struct hn_config_answer generate_answers[] = {
	{"do_sample", "write temperature; 0 is greedy", false},
};

/* Values of the field, for keys whose own words are others. */
static const struct hn_config_word model_words[] = {
	{"storage", "4bit", NULL, "write nf4, which is QLoRA's"},
	{"storage", "int4", NULL, "write nf4, which is QLoRA's"},
	{"storage", "8bit", NULL, "write q8_0"},
	{"storage", "int8", NULL, "write q8_0"},
	{"storage", "none", "native", NULL},
};
#define NO_8BIT "8-bit moments are not offered; write adamw"
static const struct hn_config_word train_words[] = {
	{"optim", "adamw_torch", "adamw", NULL},
	{"optim", "adamw_torch_fused", "adamw", NULL},
	{"optim", "adamw_hf", "adamw", NULL},
	{"optim", "adamw_8bit", NULL, NO_8BIT},
	{"optim", "adamw_bnb_8bit", NULL, NO_8BIT},
	{"optim", "paged_adamw_8bit", NULL, NO_8BIT},
	{"optim", "paged_adamw_32bit", NULL, "moments are never paged; write adamw"},
};

#define ANSWERS(list) .answers = (list), .n_answers = COUNT(list)
#define WORDS(list)   .words = (list), .n_words = COUNT(list)

/* In the order of the printed configuration. */
static const struct hn_config_table host_tables[] = {
	{.name = "run", .options = &run_options, .help = "what is done, and where it goes"},
	{.name = "model",
		.options = &model_options,
		.has_instances = true,
		.help = "the model that is tuned; [model.name]: another one",
		ANSWERS(model_answers),
		WORDS(model_words)},
	{.name = "data",
		.options = &data_options,
		.has_instances = true,
		.help = "rows; [data.name]: those of one objective",
		ANSWERS(data_answers)},
	{.name = "train",
		.options = &train_options,
		.help = "steps, schedule, optimizer, precision",
		ANSWERS(train_answers),
		WORDS(train_words)},
	{.name = "eval",
		.options = &eval_options,
		.help = "evaluation while training and after",
		ANSWERS(eval_answers)},
	{.name = "checkpoint",
		.options = &checkpoint_options,
		.help = "what is saved on the way, and which step is the result",
		ANSWERS(checkpoint_answers)},
	{.name = "generate",
		.options = &generate_options,
		.help = "of hone generate",
		ANSWERS(generate_answers)},
};

const struct hn_config_table *
hn_host_tables(size_t *n)
{
	*n = COUNT(host_tables);
	return host_tables;
}
