/*
 * model/hf_config.h - one document of hyper-parameters, under Hugging Face's names.
 *
 * It comes from config.json, or is derived from a GGUF file's metadata; architectures read
 * it without knowing which.  Two spellings of transformers are made one for the getters:
 * rope_parameters (version 5) is also found as rope_theta and rope_scaling (version 4), the
 * key "type" of rope_scaling as "rope_type", and dtype as torch_dtype.  What is written back
 * keeps the spelling that was read.
 *
 * A key may be a path through objects and lists: "rope_scaling.factor", "eos_token_id.0".
 */
#ifndef HN_MODEL_HF_CONFIG_H
#define HN_MODEL_HF_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hone/status.h>

#include "base/str.h"
#include "model/tensors.h"

struct json_t;

struct hn_model_config {
	char *path;             /* of the file it came from: for messages */
	struct json_t *stored;  /* as it was read or derived: what is written back */
	struct json_t *neutral; /* what the getters read */
	bool is_derived;        /* from GGUF */
	bool has_rope_freqs;    /* GGUF carries frequency factors that no known scaling explains */
};

/* Reads config.json and checks what every architecture relies on (hn_model_config_check).
 * `config` is untouched on failure. */
enum hone_status hn_model_config_open(
	struct hn_model_config *config, const char *path, struct hone_error *err);
/* The same for text in memory. */
enum hone_status hn_model_config_parse(struct hn_model_config *config, const char *text, size_t n,
	const char *path, struct hone_error *err);
/* From the metadata and tensor names of a GGUF file.  Architectures: llama. */
enum hone_status hn_model_config_from_gguf(
	struct hn_model_config *config, const struct hn_tensor_file *gguf, struct hone_error *err);
/* A zeroed struct is fine. */
void hn_model_config_close(struct hn_model_config *config);

/* HONE_ENOTFOUND when the key is absent or null, HONE_EMODEL when it is of another type; in
 * both `err` names key and file.  Borrowed strings live as long as the config. */
enum hone_status hn_config_i64(const struct hn_model_config *config, const char *key, int64_t *out,
	struct hone_error *err);
enum hone_status hn_config_f64(
	const struct hn_model_config *config, const char *key, double *out, struct hone_error *err);
enum hone_status hn_config_bool(
	const struct hn_model_config *config, const char *key, bool *out, struct hone_error *err);
enum hone_status hn_config_string(const struct hn_model_config *config, const char *key,
	const char **out, struct hone_error *err);

/* The same with a value for absence: they fail only where the type is wrong. */
enum hone_status hn_config_i64_or(const struct hn_model_config *config, const char *key,
	int64_t absent, int64_t *out, struct hone_error *err);
enum hone_status hn_config_f64_or(const struct hn_model_config *config, const char *key,
	double absent, double *out, struct hone_error *err);
enum hone_status hn_config_bool_or(const struct hn_model_config *config, const char *key,
	bool absent, bool *out, struct hone_error *err);
enum hone_status hn_config_string_or(const struct hn_model_config *config, const char *key,
	const char *absent, const char **out, struct hone_error *err);

/* Whether the key is there and not null. */
bool hn_config_has(const struct hn_model_config *config, const char *key);
/* Elements of a list, members of an object; -1 for anything else. */
int64_t hn_config_count(const struct hn_model_config *config, const char *key);
/* A key that is one number or a list of them (eos_token_id): at most `cap` are written, *n
 * says how many there are, 0 when absent. */
enum hone_status hn_config_i64s(const struct hn_model_config *config, const char *key, int64_t *out,
	size_t cap, size_t *n, struct hone_error *err);

/* Contradictions and values out of their range, in what the common keys say: sizes, heads,
 * epsilon, rope.  Called by open, parse and from_gguf. */
enum hone_status hn_model_config_check(
	const struct hn_model_config *config, struct hone_error *err);

/* The message for a model_type that no architecture here knows: HONE_EMODEL with the nearest
 * of n known names, and, where the folder brings code of its own, that it is not run. */
enum hone_status hn_model_config_fail_unknown(const struct hn_model_config *config,
	const char *const *known, size_t n, struct hone_error *err);

/* Appends the text of a config.json that transformers 4 and 5 load.  `dtype` ("float32",
 * "bfloat16" ...) replaces the stored one unless NULL.  HONE_EUNSUPPORTED for a GGUF file whose
 * rope_freqs cannot be said in config.json. */
enum hone_status hn_model_config_render(const struct hn_model_config *config, const char *dtype,
	struct hn_str *out, struct hone_error *err);

/* The Hugging Face repository ("owner/name") that a GGUF file says it is, or NULL.  Borrowed
 * from the file. */
const char *hn_gguf_repository(const struct hn_tensor_file *gguf);

/* Lengths and types of the tokenizer's arrays in a GGUF file: tokens, scores, token_type agree,
 * scores are finite, byte tokens are spelt <0x00> to <0xFF>.  HONE_OK when there is none. */
enum hone_status hn_gguf_check_tokens(const struct hn_tensor_file *gguf, struct hone_error *err);

#endif
