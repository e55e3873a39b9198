/*
 * train/export_parts.h - what the exports of adapters and of models, and the import, share.
 */
#ifndef HN_TRAIN_EXPORT_PARTS_H
#define HN_TRAIN_EXPORT_PARTS_H

#include <hone/adapter.h>

#include "train/export.h"

struct json_t;

/* ---- export_folder.c: a folder that appears as a whole ---- */

struct hn_export_folder {
	char *path;                   /* where it shall stand */
	char *temp;                   /* where it is written */
	const struct hn_model *model; /* what it is made of */
	int lock;                     /* on temp, as long as it is at work */
};

/* Makes the temporary folder, and removes those beside it whose process was killed.  Refuses a `path` where something stands that hone did not
 * write, and the folder of the model itself. */
enum hone_status hn_folder_begin(struct hn_export_folder *folder, const char *path,
	const struct hn_model *model, struct hone_error *err);
/* Puts it in its place, unless the model was changed meanwhile; frees. */
enum hone_status hn_folder_commit(struct hn_export_folder *folder, struct hone_error *err);
/* Removes what was written; frees.  A zeroed struct is fine. */
void hn_folder_abandon(struct hn_export_folder *folder);

/* Writes a text file, and reads it back. */
enum hone_status hn_folder_put(
	const char *folder, const char *name, const struct hn_str *text, struct hone_error *err);
/* The tokenizer's files: copies of the base folder's, or made from a GGUF file's. */
enum hone_status hn_folder_put_tokenizer(
	const struct hn_adapted *of, const char *folder, struct hone_error *err);

/* ---- export_card.c ---- */

/* What the base is called: a GGUF file's repository, else its path, absolute and without "..".
 * The caller frees. */
char *hn_base_name(const struct hn_model *model);

/* What a folder holds, and so what its README.md may promise. */
struct hn_card_of {
	const char *type;   /* of the adapter ("lora"); NULL = a whole model */
	bool is_peft;       /* PEFT loads it: its plugin put a peft_type */
	bool can_be_merged; /* into the weights, for who has no plugin */
};
enum hone_status hn_card_write(const struct hn_adapted *of, const struct hn_card *card,
	const struct hn_card_of *what, const char *folder, struct hone_error *err);

/* ---- export_names.c: sites as PEFT's patterns ---- */

struct hn_named {
	const char *name; /* the end of a module's path, at a dot */
	double value;
};

/* The shortest list of names so that each site with values[site->index] (not NaN) is named,
 * with its value, and no other site of `universe` (NULL: all with a weight) is.  False when
 * no list does it.  Names live in `arena`, the list is freed by the caller. */
bool hn_sites_name(const struct hn_model *model, const double *values, const bool *universe,
	struct hn_arena *arena, struct hn_named **out, size_t *n);

/* ---- export_describe.c ---- */

/* What an adapter says of itself.  hn_described_fini in any case. */
struct hn_described {
	struct json_t *json;    /* the adapter_config.json, keys sorted; NULL on error */
	struct json_t *maps;    /* key of numbers by module -> key of the common number */
	struct json_t *open;    /* keys that say nothing about what is computed */
	struct json_t *refused; /* key -> [beginnings of values that are refused, why] */
	bool is_peft;           /* it named a peft_type itself: PEFT knows the technique */
};
enum hone_status hn_describe(const struct hn_adapted *of, uint32_t instance,
	struct hn_described *out, struct hone_error *err);
void hn_described_fini(struct hn_described *described);
/* The factory's name in a section: "lora" of "lora.second". */
void hn_adapter_type_of(const char *section, char type[64]);

/* ---- export_init.c ---- */

/* The values that a parameter begins with, into the engine. */
enum hone_status hn_param_start(
	const struct hn_adapted *to, const struct hn_param *param, struct hone_error *err);

/* ---- export_import.c, export_overrides.c ---- */

/* Reads a folder's adapter_config.json: an object with a peft_type, or a hone_adapter.  The
 * caller decrefs. */
enum hone_status hn_adapter_config_read(
	const char *folder, struct json_t **out, struct hone_error *err);
/* PEFT's rule for a key of rank_pattern: an expression that fits the end of a path at a dot. */
bool hn_pattern_fits(const char *pattern, const char *path);

/* ---- export_merge.c: weights with adapters in them ---- */

enum hn_source_kind {
	HN_SOURCE_STORED = 1, /* as in the file: weight `index` */
	HN_SOURCE_PARAM,      /* a parameter as it is: `index` */
	HN_SOURCE_COMPUTED,   /* what the merge program gives */
};

struct hn_source {
	enum hn_source_kind kind;
	uint32_t index;
};

struct hn_merger {
	const struct hn_adapted *of;
	const struct hn_engine *engine; /* computes in f32 */
	struct hn_engine own;           /* a copy for that, where the run's engine is f64 */
	bool has_own;
	struct hn_build_request request;
};

enum hone_status hn_merger_open(
	struct hn_merger *merger, const struct hn_adapted *of, struct hone_error *err);
void hn_merger_close(struct hn_merger *merger);
/* Where the weight or bias (enum hone_slot) of a site comes from. */
enum hone_status hn_merger_source(const struct hn_merger *merger, const struct hn_site *site,
	int32_t slot, struct hn_source *out, struct hone_error *err);
/* All n values in the order of Hugging Face. */
enum hone_status hn_merger_values(const struct hn_merger *merger, const struct hn_site *site,
	int32_t slot, const struct hn_source *source, int64_t n, float *out,
	struct hone_error *err);

/* Plans and runs a graph, which it takes over, in an arena of its own beside the engine's
 * parameters and weights: `bind` (may be NULL) fills its columns, and n numbers of an output
 * are read. */
enum hone_status hn_run_once(const struct hn_engine *engine, struct hn_graph *graph,
	void (*bind)(void *ctx, struct hn_program *program), void *ctx, const char *output,
	int64_t n, float *out, struct hone_error *err);

/* ---- export_proof.c: the merged model computes what base and adapters do ---- */

struct hn_prover {
	const struct hn_merger *merger;
	struct hn_proof *proof; /* rows in, differences out */
	float *wanted;          /* logits of base and adapters */
	int64_t n;
	double scale; /* the largest of them */
};

/* HONE_EPLUGIN names the adapter whose merge differs.  Before anything is written. */
enum hone_status hn_prover_check_merge(struct hn_prover *prover, struct hone_error *err);
/* After that, on the folder that was written in `dtype`; HONE_EIO when it is another model. */
enum hone_status hn_prover_check_file(
	struct hn_prover *prover, const char *folder, int32_t dtype, struct hone_error *err);
void hn_prover_fini(struct hn_prover *prover);

#endif
