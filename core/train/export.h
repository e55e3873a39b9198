/*
 * train/export.h - results that load in other tools, and adapters that come from them.
 *
 *     hn_params_init     initial values of everything that is declared, or of init_from
 *     hn_import_adapter  a PEFT folder into the parameters of one instance
 *     hn_export_adapter  the parameters as a PEFT folder
 *     hn_export_model    weights with the adapters merged in, as a Hugging Face folder
 *
 * All of them speak the order of rows of Hugging Face outside and that of the model's file
 * inside: llama.cpp stores the rows of q and k pairwise, so values of an axis that is tagged
 * HONE_AXIS_SITE_OUT are reordered on the way where the base is a GGUF file.
 *
 * An export is written into a folder beside its place, read back and compared with what was
 * meant, and only then renamed: what stands under the name is complete and right.  An older
 * export there is replaced; a folder with anything that hone did not write is refused.  A merged
 * model is also run: see export_proof.c.
 *
 * Not here: checkpoints of a run, GGUF files, pickle.
 */
#ifndef HN_TRAIN_EXPORT_H
#define HN_TRAIN_EXPORT_H

#include "graph/build.h"
#include "graph/engine.h"
#include "text/tokenizer.h"

struct hone_options;

enum { HN_ADAPTED_MAX = 16 };

/* What the INI says to one adapter: its factory's table and the struct of its values. */
struct hn_adapter_said {
	const struct hone_options *options; /* NULL = not known */
	const void *values;
};

/* A model, its adapters, and the engine that holds their values.  Everything is borrowed;
 * the engine is allocated. */
struct hn_adapted {
	const struct hn_model *model;
	const struct hn_params *params;
	const struct hn_engine *engine;
	const struct hn_adapter_ref *adapters; /* in the order of the INI */
	uint32_t n_adapters;
	const char *init_from[HN_ADAPTED_MAX]; /* by adapter: a PEFT folder, or NULL */
	struct hn_adapter_said said[HN_ADAPTED_MAX];
	const struct hn_tokenizer *tokenizer; /* NULL: a folder's own files are copied, if any */
	uint64_t seed;                        /* of initial values */
	const struct hn_custom_ops *custom;   /* plugins' ops, NULL = none */
};

/* Numbers of the run for the model card.  NAN and negative counts are left out, as NULL is. */
struct hn_card {
	const char *objective, *data;
	const char *storage; /* [model] storage of the run where it is not native, or NULL */
	double loss, eval_loss, epochs, learning_rate, time_s;
	int64_t steps, num_tokens;
};
/* Nothing known. */
struct hn_card hn_card_none(void);

/* ---- values in ---- */

/* Initial values of all parameters into the engine: what each declared, then init_from. */
enum hone_status hn_params_init(const struct hn_adapted *to, struct hone_error *err);

/* Reads adapter_config.json and adapter_model.safetensors of `folder` into the parameters of
 * adapter `instance`.  Every key that decides what the adapter computes must say what the
 * instance declares, and the tensors must be exactly its parameters: HONE_EMODEL names the
 * first that differs, with what was wanted and found.  Nothing is set on failure. */
enum hone_status hn_import_adapter(
	const struct hn_adapted *to, uint32_t instance, const char *folder, struct hone_error *err);

/* The settings of an INI that declare what the adapter of a PEFT folder needs, for
 * hn_run_request.sets: "run.adapter=lora", "lora.r=4", ..., "lora.init_from=<folder>". */
struct hn_adapter_sets {
	char type[64]; /* the factory's name: hone_adapter, else peft_type in lower case */
	char **sets;
	size_t n, cap;
};
/* What kind of adapter it is; so that the caller finds the factory and its table. */
enum hone_status hn_adapter_type(const char *folder, char type[64], struct hone_error *err);
/* Keys of adapter_config.json that are keys of `options` (the factory's) become settings.
 * HONE_EUNSUPPORTED names what an INI cannot say.  hn_adapter_sets_fini in any case. */
enum hone_status hn_adapter_overrides(const char *folder, const struct hone_options *options,
	struct hn_adapter_sets *out, struct hone_error *err);
void hn_adapter_sets_fini(struct hn_adapter_sets *sets);

/* ---- values out ---- */

/* Whether the result is the model (an adapter trains the weights themselves) and belongs into
 * model/ instead of adapter/. */
bool hn_export_is_model(const struct hn_adapted *of);

/* Whether an export may stand at `path`: HONE_EUSAGE names what is there and is not hone's, or
 * says that it is the model itself.  *replaces: an older export is there, which both functions
 * below replace in one step when the new one is whole. */
enum hone_status hn_export_check_place(
	const char *path, const struct hn_model *model, bool *replaces, struct hone_error *err);

/* Writes the adapters as PEFT folders: the first at `dir`, each further one in a folder of
 * its section's name inside.  `card` may be NULL. */
enum hone_status hn_export_adapter(const struct hn_adapted *of, const char *dir,
	const struct hn_card *card, struct hone_error *err);

enum hn_export_dtype {
	HN_EXPORT_AS_STORED = 0, /* f32 where the file mixes types or is quantised */
	HN_EXPORT_F32,
	HN_EXPORT_BF16,
};

enum { HN_PROOF_ROWS = 256 };

/* Tokens on which a merged model is compared with base and adapters, and what was found. */
struct hn_proof {
	const int32_t *ids;
	const int32_t *offsets;    /* [n_segments + 1]: where each text begins */
	int64_t n_segments;        /* at least 1, each with a token; HN_PROOF_ROWS tokens at most */
	const char *from;          /* "validation" */
	bool is_done;              /* the rest was filled in */
	double merge, merge_limit; /* largest difference of a logit, in f32, and what is allowed */
	double file, file_limit;   /* the same of the file, in the type that was written */
};
/* Tokens that a proof should have at most, for a vocabulary of this size. */
int64_t hn_proof_rows_max(int64_t vocabulary);

/* Writes all weights of the model, with every adapter merged into them, as a Hugging Face
 * folder of one safetensors file.  Merging is done in f32 and rounded once.  A tied head is
 * not written; where an adapter unties it, both matrices are, and config.json says so.  One
 * tensor at a time is in memory.  HONE_EUNSUPPORTED names an adapter that cannot be merged.
 * With a `proof` (may be NULL; nothing is proven without adapters) the model is refused unless
 * it computes what they do: HONE_EPLUGIN names the adapter whose merge is wrong. */
enum hone_status hn_export_model(const struct hn_adapted *of, const char *dir,
	enum hn_export_dtype dtype, const struct hn_card *card, struct hn_proof *proof,
	struct hone_error *err);

#endif
