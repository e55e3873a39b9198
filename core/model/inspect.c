/*
 * inspect.c - a model file described as text or JSON.
 *
 * Long arrays (vocabularies) are described by type and count, with their first elements.
 * The document of JSON has the keys schema, path, format, version (GGUF), files, config (a
 * folder's config.json), metadata {key: {type, value} or {type, of, count, first}}, tensors
 * [{name, type, shape, bytes}] and totals {tensors, parameters, bytes}.  Keys are only ever
 * added; tests/unit/test_inspect.c holds us to it.
 *
 * Text from the file is escaped, so that no control character of a stranger's file reaches
 * the terminal.
 */
#include "model/inspect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint.h"

#define ARRAY_SHOWN 8
#define TEXT_SHOWN  72

/* ---- values ---- */

/* JSON has no NaN and no infinity. */
static void
put_number(struct hn_str *out, double value)
{
	if (isfinite(value))
		hn_str_put_f64(out, value);
	else
		hn_str_puts(out, "null");
}

/* One value as JSON; strings whole. */
static void
put_value(struct hn_str *out, const struct hn_meta_value *value)
{
	switch (value->type) {
	case HN_META_STRING:
		hn_str_put_json(out, value->string, (size_t)value->string_len);
		break;
	case HN_META_F32:
	case HN_META_F64:
		put_number(out,
			value->type == HN_META_F32 ? hn_meta_decimal(value->as.f64)
						   : value->as.f64);
		break;
	case HN_META_BOOL:
		hn_str_puts(out, value->as.u64 ? "true" : "false");
		break;
	case HN_META_I8:
	case HN_META_I16:
	case HN_META_I32:
	case HN_META_I64:
		hn_str_printf(out, "%lld", (long long)value->as.i64);
		break;
	default:
		hn_str_printf(out, "%llu", (unsigned long long)value->as.u64);
		break;
	}
}

/* [first, elements] */
static void
put_first(struct hn_str *out, const struct hn_meta *meta)
{
	struct hn_meta_cursor cursor = {.array = meta};
	struct hn_meta_value value;

	hn_str_putc(out, '[');
	while (cursor.idx < ARRAY_SHOWN && hn_meta_next(&cursor, &value)) {
		hn_str_puts(out, cursor.idx > 1 ? ", " : "");
		put_value(out, &value);
	}
	hn_str_putc(out, ']');
}

/* ---- JSON ---- */

/* The type is part of the promise: a script can tell u32 from f32 without guessing. */
static void
put_json_meta(struct hn_str *out, const struct hn_meta *meta)
{
	hn_str_put_json(out, meta->key, strlen(meta->key));
	if (meta->value.type != HN_META_ARRAY) {
		hn_str_printf(out,
			": {\"type\": \"%s\", \"value\": ", hn_meta_type_name(meta->value.type));
		put_value(out, &meta->value);
	} else {
		hn_str_printf(out,
			": {\"type\": \"array\", \"of\": \"%s\", \"count\": %llu, \"first\": ",
			hn_meta_type_name(meta->elem_type), (unsigned long long)meta->n_elems);
		put_first(out, meta);
	}
	hn_str_putc(out, '}');
}

/* One tensor a line: such documents are looked at with grep. */
static void
put_json_tensor(struct hn_str *out, const struct hn_tensor_info *tensor)
{
	hn_str_puts(out, "{\"name\": ");
	hn_str_put_json(out, tensor->name, strlen(tensor->name));
	hn_str_printf(out, ", \"type\": \"%s\", \"shape\": ", tensor->storage);
	hn_shape_print(out, tensor->rank, tensor->dim);
	hn_str_printf(out, ", \"bytes\": %llu}", (unsigned long long)tensor->n_bytes);
}

/* Written by hand and not through a tree: the order of keys is the order of reading. */
void
hn_inspect_json(const struct hn_tensor_file *file, const char *config_text, struct hn_str *out)
{
	hn_str_puts(out, "{\n  \"schema\": \"hone.inspect/1\",\n  \"path\": ");
	hn_str_put_json(out, file->path, strlen(file->path));
	hn_str_printf(out, ",\n  \"format\": \"%s\",\n",
		file->format == HN_FILE_GGUF ? "gguf" : "safetensors");
	if (file->format == HN_FILE_GGUF)
		hn_str_printf(out, "  \"version\": %u,\n", file->version);
	hn_str_puts(out, "  \"files\": [");
	for (size_t i = 0; i < file->n_maps; i++) {
		hn_str_puts(out, i ? ", " : "");
		hn_str_put_json(out, file->map_paths[i], strlen(file->map_paths[i]));
	}
	hn_str_puts(out, "],\n");
	if (config_text)
		hn_str_printf(out, "  \"config\": %s,\n", config_text);
	hn_str_puts(out, "  \"metadata\": {");
	for (size_t i = 0; i < file->n_metas; i++) {
		hn_str_puts(out, i ? ",\n    " : "\n    ");
		put_json_meta(out, &file->metas[i]);
	}
	hn_str_puts(out, file->n_metas ? "\n  },\n" : "},\n");
	hn_str_puts(out, "  \"tensors\": [");
	for (size_t i = 0; i < file->n_tensors; i++) {
		hn_str_puts(out, i ? ",\n    " : "\n    ");
		put_json_tensor(out, &file->tensors[i]);
	}
	hn_str_puts(out, file->n_tensors ? "\n  ],\n" : "],\n");
	hn_str_printf(out,
		"  \"totals\": {\"tensors\": %zu, \"parameters\": %lld, \"bytes\": %llu}\n}\n",
		file->n_tensors, (long long)hn_tensor_file_elems(file),
		(unsigned long long)hn_tensor_file_bytes(file));
}

/* ---- text ---- */

/* A text of the file on one line, cut where it is long.  The quotes of JSON are taken off
 * again: what is left has its escapes. */
static void
put_text(struct hn_str *out, const char *text, size_t n)
{
	struct hn_str json = {0};
	size_t shown = n < TEXT_SHOWN ? n : TEXT_SHOWN;

	while (shown < n && shown > 0 && ((unsigned char)text[shown] & 0xc0) == 0x80)
		shown--;
	hn_str_put_json(&json, text, shown);
	hn_str_add(out, json.text + 1, json.len - 2);
	if (shown < n)
		hn_str_printf(out, "... (%zu bytes)", n);
	hn_str_fini(&json);
}

/* Width counts bytes; names in files are ASCII in practice. */
static void
put_padded(struct hn_str *out, const char *text, size_t width)
{
	const size_t from = out->len;

	put_text(out, text, strlen(text));
	while (out->len - from < width)
		hn_str_putc(out, ' ');
}

/* 134515008 as 134,515,008 */
static void
put_grouped(struct hn_str *out, uint64_t n)
{
	char digits[24];
	const int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			hn_str_putc(out, ',');
		hn_str_putc(out, digits[i]);
	}
}

/* One line each, whatever the value holds. */
static void
put_text_meta(struct hn_str *out, const struct hn_meta *meta, size_t width)
{
	hn_str_puts(out, "  ");
	put_padded(out, meta->key, width);
	if (meta->value.type == HN_META_STRING) {
		hn_str_puts(out, "  ");
		put_text(out, meta->value.string, (size_t)meta->value.string_len);
	} else if (meta->value.type == HN_META_ARRAY) {
		hn_str_printf(out, "  %llu x %s", (unsigned long long)meta->n_elems,
			hn_meta_type_name(meta->elem_type));
	} else {
		hn_str_puts(out, "  ");
		put_value(out, &meta->value);
	}
	hn_str_putc(out, '\n');
}

static void
put_text_tensor(struct hn_str *out, const struct hn_tensor_info *tensor, size_t width)
{
	hn_str_puts(out, "  ");
	put_padded(out, tensor->name, width);
	hn_str_printf(out, "  %-6s ", tensor->storage);
	put_grouped(out, tensor->n_bytes);
	hn_str_puts(out, " bytes  ");
	hn_shape_print(out, tensor->rank, tensor->dim);
	hn_str_putc(out, '\n');
}

/* "210 x q4_1, 61 x f32": types in the order of their first tensor. */
static void
put_types(struct hn_str *out, const struct hn_tensor_file *file)
{
	struct hn_table count = {0};

	for (size_t i = 0; i < file->n_tensors; i++) {
		const uint64_t *n = hn_table_get(&count, file->tensors[i].storage);

		(void)hn_table_set(&count, file->tensors[i].storage, n ? *n + 1 : 1);
	}
	for (size_t i = 0; i < count.n; i++)
		hn_str_printf(out, "%s%llu x %s", i ? ", " : "",
			(unsigned long long)count.entries[i].value, count.entries[i].key);
	hn_table_fini(&count);
}

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t
most(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* Totals first: they are what people look for, and the list of tensors is long. */
void
hn_inspect_text(const struct hn_tensor_file *file, const char *config_text, struct hn_str *out)
{
	size_t width = 0;

	hn_str_put_visible(out, file->path, "");
	hn_str_printf(out, ": %s", file->format == HN_FILE_GGUF ? "GGUF" : "safetensors");
	if (file->format == HN_FILE_GGUF)
		hn_str_printf(out, " version %u", file->version);
	hn_str_printf(out, "\n%zu tensors (", file->n_tensors);
	put_types(out, file);
	hn_str_puts(out, "), ");
	put_grouped(out, (uint64_t)hn_tensor_file_elems(file));
	hn_str_puts(out, " parameters, ");
	put_grouped(out, hn_tensor_file_bytes(file));
	hn_str_printf(out, " bytes in %zu file%s\n", file->n_maps, file->n_maps == 1 ? "" : "s");
	if (config_text)
		hn_str_printf(out, "\nconfig.json\n%s", config_text);
	hn_str_puts(out, file->n_metas ? "\nmetadata\n" : "");
	for (size_t i = 0; i < file->n_metas; i++)
		width = most(width, least(strlen(file->metas[i].key), TEXT_SHOWN));
	for (size_t i = 0; i < file->n_metas; i++)
		put_text_meta(out, &file->metas[i], width);
	hn_str_puts(out, file->n_tensors ? "\ntensors\n" : "");
	width = 0;
	for (size_t i = 0; i < file->n_tensors; i++)
		width = most(width, least(strlen(file->tensors[i].name), TEXT_SHOWN));
	for (size_t i = 0; i < file->n_tensors; i++)
		put_text_tensor(out, &file->tensors[i], width);
}

/* The config.json beside the weights as text that is surely JSON; false when there is none.
 * A damaged one is an error: it is part of what is inspected. */
static enum hone_status
read_config(const char *path, struct hn_str *text, bool *has, struct hone_error *err)
{
	struct hn_model_config config = {0};
	char *file = hn_path_join(path, "config.json");
	enum hone_status st = HONE_OK;

	*has = hn_path_is_dir(path) && hn_path_is_file(file);
	if (*has)
		st = hn_model_config_open(&config, file, err);
	if (*has && !st)
		st = hn_model_config_render(&config, NULL, text, err);
	hn_model_config_close(&config);
	free(file);
	return st;
}

/* Needs no architecture, no plugin and no configuration. */
enum hone_status
hn_inspect(const char *path, bool as_json, struct hn_str *out, struct hone_error *err)
{
	struct hn_tensor_file file = {0};
	struct hn_str config = {0};
	bool has_config = false;
	enum hone_status st = hn_tensors_open(&file, path, err);

	if (!st)
		st = read_config(path, &config, &has_config, err);
	if (!st && as_json)
		hn_inspect_json(&file, has_config ? config.text : NULL, out);
	else if (!st)
		hn_inspect_text(&file, has_config ? config.text : NULL, out);
	hn_str_fini(&config);
	hn_tensor_file_close(&file);
	return st;
}
