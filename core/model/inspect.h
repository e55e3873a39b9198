/*
 * model/inspect.h - what is in a model file, for a person or for a program.
 *
 * `hone inspect FILE_OR_FOLDER [--json]`: format, configuration, metadata, tensors, totals.
 * It works on every file that can be read, also where no architecture or storage here knows
 * what to do with it.
 */
#ifndef HN_MODEL_INSPECT_H
#define HN_MODEL_INSPECT_H

#include <stdbool.h>

#include <hone/status.h>

#include "base/str.h"
#include "model/tensors.h"

/* Appends the description of `path` to `out`, as text or as a JSON document of the schema
 * "hone.inspect/1".  On failure `out` is unchanged. */
enum hone_status hn_inspect(
	const char *path, bool as_json, struct hn_str *out, struct hone_error *err);

/* The same for tensors that are open; `config_text` is the text of a config.json or NULL. */
void hn_inspect_json(
	const struct hn_tensor_file *file, const char *config_text, struct hn_str *out);
void hn_inspect_text(
	const struct hn_tensor_file *file, const char *config_text, struct hn_str *out);

#endif
