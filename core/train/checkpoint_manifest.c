/*
 * checkpoint_manifest.c - manifest.json: what makes a folder a checkpoint.
 *
 *     {
 *       "schema": "hone.checkpoint/1",
 *       "hone": "0.1.0", "abi": 1,
 *       "progress": {"step": 300, ...},
 *       "facts": [{"key": "model", "value": "...", "note": false}, ...],
 *       "files": [{"name": "params.safetensors", "bytes": 1234, "hash": "<xxh128>"}, ...],
 *       "hash": "<xxh128 of every byte before this line>"
 *     }
 *
 * The mark of completeness is the hash inside, not a name or a marker file, so copying a
 * checkpoint to another disk cannot lose it.  Names in a manifest are compared with the ones
 * that we know and never used as paths.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <hone/plugin.h>
#include <jansson.h>

#include "base/file.h"
#include "base/str.h"
#include "train/checkpoint_files.h"
#include "train/step.h"

#define SCHEMA    "hone.checkpoint/1"
#define HASH_LINE ",\n  \"hash\": \""
#define HASH_END  "\"\n}\n"

enum { MANIFEST_BYTES_MAX = 1 << 24, CONFIG_BYTES_MAX = 1 << 26, HASH_DIGITS = 32 };

/* ---- progress ---- */

static const struct {
	const char *key;
	size_t offset;
	bool is_real; /* a double, else an int64_t */
} fields[] = {
	{"step", offsetof(struct hn_progress, step), false},
	{"num_tokens", offsetof(struct hn_progress, tokens), false},
	{"num_supervised_tokens", offsetof(struct hn_progress, supervised_tokens), false},
	{"loss_sum", offsetof(struct hn_progress, loss_sum), true},
	{"loss_weight", offsetof(struct hn_progress, loss_weight), true},
	{"logged_step", offsetof(struct hn_progress, logged_step), false},
	{"logged_tokens", offsetof(struct hn_progress, logged_tokens), false},
	{"logged_time_s", offsetof(struct hn_progress, logged_time_s), true},
	{"train_loss_sum", offsetof(struct hn_progress, train_loss_sum), true},
	{"grad_norm", offsetof(struct hn_progress, grad_norm), true},
	{"best_metric", offsetof(struct hn_progress, best_metric), true},
	{"best_step", offsetof(struct hn_progress, best_step), false},
	{"patience_left", offsetof(struct hn_progress, patience_left), false},
	{"last_eval_step", offsetof(struct hn_progress, last_eval_step), false},
	{"last_eval_loss", offsetof(struct hn_progress, last_eval_loss), true},
	{"time_s", offsetof(struct hn_progress, time_s), true},
};

enum { N_FIELDS = sizeof fields / sizeof fields[0] };

/* The shortest text that reads back as the same double.  "-0" would be read as a whole number,
 * which has no sign of zero; JSON has no word for what is not finite, so that is a string. */
static void
put_real(struct hn_str *out, double value)
{
	const size_t at = out->len;

	if (!hn_is_finite(value))
		hn_str_putc(out, '"');
	hn_str_put_f64(out, value);
	if (!hn_is_finite(value))
		hn_str_putc(out, '"');
	else if (!strpbrk(out->text + at, ".e"))
		hn_str_puts(out, ".0");
}

static void
put_progress(struct hn_str *out, const struct hn_progress *progress)
{
	const char *base = (const char *)progress;

	for (size_t i = 0; i < N_FIELDS; i++) {
		const char *member = base + fields[i].offset;

		hn_str_printf(out, "%s\"%s\": ", i ? ",\n    " : "\n    ", fields[i].key);
		if (fields[i].is_real)
			put_real(out, *(const double *)(const void *)member);
		else
			hn_str_printf(out, "%" PRId64, *(const int64_t *)(const void *)member);
	}
}

/* A number, or the words that stand for what JSON cannot say. */
static bool
get_real(const json_t *json, double *out)
{
	const char *word = json_string_value(json);

	if (json_is_number(json)) {
		*out = json_number_value(json);
		return true;
	}
	if (!word)
		return false;
	*out = hn_streq(word, "inf") ? HUGE_VAL : hn_streq(word, "-inf") ? -HUGE_VAL : NAN;
	return true;
}

/* Every field must be there and of its type: a field that is missing would be a counter that
 * silently starts anew. */
static enum hone_status
get_progress(const json_t *json, const char *path, struct hn_progress *out, struct hone_error *err)
{
	char *base = (char *)out;

	for (size_t i = 0; i < N_FIELDS; i++) {
		const json_t *value = json_object_get(json, fields[i].key);
		char *member = base + fields[i].offset;
		bool is_good;

		if (fields[i].is_real) {
			is_good = get_real(value, (double *)(void *)member);
		} else {
			is_good = json_is_integer(value);
			*(int64_t *)(void *)member = (int64_t)json_integer_value(value);
		}
		if (!is_good)
			return hone_fail_at(err, HONE_EIO, path, 0, 0,
				"progress has no \"%s\" of the right type", fields[i].key);
	}
	return HONE_OK;
}

/* ---- writing ---- */

static enum hone_status
put_file(struct hn_str *out, const char *dir, const char *name, bool is_first,
	struct hone_error *err)
{
	char *path = hn_path_join(dir, name), hash[HASH_DIGITS + 1];
	enum hone_status st = hn_hash_file(path, HONE_EIO, hash, err);
	struct stat info;

	if (!st && stat(path, &info))
		st = hn_fail_errno(err, HONE_EIO, path, "cannot be examined", errno);
	if (!st)
		hn_str_printf(out, "%s{\"name\": \"%s\", \"bytes\": %" PRId64 ", \"hash\": \"%s\"}",
			is_first ? "\n    " : ",\n    ", name, (int64_t)info.st_size, hash);
	free(path);
	return st;
}

static void
put_facts(struct hn_str *out, const struct hn_fact *facts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		hn_str_puts(out, i ? ",\n    {\"key\": " : "\n    {\"key\": ");
		hn_str_put_json(out, facts[i].key, strlen(facts[i].key));
		hn_str_puts(out, ", \"value\": ");
		hn_str_put_json(out, facts[i].value, strlen(facts[i].value));
		hn_str_printf(out, ", \"note\": %s}", facts[i].is_note ? "true" : "false");
	}
}

enum hone_status
hn_manifest_write(const char *dir, const struct hn_save_request *request, struct hone_error *err)
{
	char *path = hn_path_join(dir, HN_MANIFEST_FILE), hash[HASH_DIGITS + 1];
	struct hn_str text = {0};
	enum hone_status st;

	hn_str_printf(&text,
		"{\n  \"schema\": \"" SCHEMA "\",\n  \"hone\": \"%s\",\n  \"abi\": %u,\n"
		"  \"progress\": {",
		HONE_VERSION, (unsigned)HONE_ABI);
	put_progress(&text, request->progress);
	hn_str_puts(&text, "\n  },\n  \"facts\": [");
	put_facts(&text, request->facts, request->n_facts);
	hn_str_puts(&text, "\n  ],\n  \"files\": [");
	st = put_file(&text, dir, HN_PARAMS_FILE, true, err);
	if (!st && request->engine->has_moments)
		st = put_file(&text, dir, HN_OPTIMIZER_FILE, false, err);
	if (!st)
		st = put_file(&text, dir, HN_CONFIG_FILE, false, err);
	hn_str_puts(&text, "\n  ]");
	hn_hash_hex(text.text, text.len, hash);
	hn_str_printf(&text, HASH_LINE "%s" HASH_END, hash);
	if (!st)
		st = hn_file_replace(path, text.text, text.len, err);
	hn_str_fini(&text);
	free(path);
	return st;
}

/* ---- reading ---- */

/* The text ends with the hash of what stands before it. */
static enum hone_status
check_own_hash(const char *text, size_t len, const char *path, struct hone_error *err)
{
	const size_t tail = strlen(HASH_LINE) + HASH_DIGITS + strlen(HASH_END);
	char hash[HASH_DIGITS + 1], want[sizeof HASH_LINE + HASH_DIGITS + sizeof HASH_END];

	if (len < tail)
		return hone_fail_at(err, HONE_EIO, path, 0, 0, "is cut short");
	hn_hash_hex(text, len - tail, hash);
	(void)snprintf(want, sizeof want, HASH_LINE "%s" HASH_END, hash);
	if (memcmp(text + len - tail, want, tail) != 0)
		return hone_fail_at(err, HONE_EIO, path, 0, 0,
			"is damaged: its own hash does not fit its bytes");
	return HONE_OK;
}

/* A file of the manifest: as long as it says and with the bytes it says. */
static enum hone_status
check_file(
	const char *dir, const char *name, int64_t bytes, const char *want, struct hone_error *err)
{
	char *path = hn_path_join(dir, name), hash[HASH_DIGITS + 1];
	enum hone_status st = HONE_OK;
	struct stat info;

	if (stat(path, &info))
		st = hn_fail_errno(err, HONE_EIO, path, "cannot be examined", errno);
	else if ((int64_t)info.st_size != bytes)
		st = hone_fail_at(err, HONE_EIO, path, 0, 0,
			"has %" PRId64 " bytes; the manifest says %" PRId64, (int64_t)info.st_size,
			bytes);
	if (!st)
		st = hn_hash_file(path, HONE_EIO, hash, err);
	if (!st && !hn_streq(hash, want))
		st = hone_fail_at(err, HONE_EIO, path, 0, 0,
			"is damaged: its hash is %s; the manifest says %s", hash, want);
	free(path);
	return st;
}

static enum hone_status
fail_shape(const char *path, const char *what, struct hone_error *err)
{
	return hone_fail_at(err, HONE_EIO, path, 0, 0, "%s is not as hone writes it", what);
}

/* Each of our files at most once, params and configuration always, and no other name. */
static enum hone_status
check_files(const json_t *files, const char *dir, struct hn_saved *saved, struct hone_error *err)
{
	static const char *const names[] = {HN_PARAMS_FILE, HN_CONFIG_FILE, HN_OPTIMIZER_FILE};
	bool has[3] = {false, false, false};
	enum hone_status st = HONE_OK;

	for (size_t i = 0; i < json_array_size(files) && !st; i++) {
		const char *name, *hash;
		json_int_t bytes;
		size_t which = 0;

		if (json_unpack(json_array_get(files, i), "{s:s, s:I, s:s}", "name", &name, "bytes",
			    &bytes, "hash", &hash))
			return fail_shape(dir, "\"files\"", err);
		while (which < 3 && !hn_streq(name, names[which]))
			which++;
		if (which == 3 || has[which])
			return hone_fail_at(err, HONE_EIO, dir, 0, 0,
				"the manifest names \"%.100s\", which this version does not know "
				"or which is there twice",
				name);
		has[which] = true;
		st = check_file(dir, names[which], (int64_t)bytes, hash, err);
	}
	if (!st && (!has[0] || !has[1]))
		st = hone_fail_at(err, HONE_EIO, dir, 0, 0, "the manifest lacks %s",
			has[0] ? names[1] : names[0]);
	saved->has_moments = has[2];
	return st;
}

static enum hone_status
get_facts(const json_t *list, const char *path, struct hn_saved *saved, struct hone_error *err)
{
	const size_t n = json_array_size(list);

	saved->facts = hn_arena_array(&saved->arena, n + 1, sizeof *saved->facts);
	for (size_t i = 0; i < n; i++) {
		const char *key, *value;
		int note;

		if (json_unpack(json_array_get(list, i), "{s:s, s:s, s:b}", "key", &key, "value",
			    &value, "note", &note))
			return fail_shape(path, "\"facts\"", err);
		saved->facts[saved->n_facts++] =
			(struct hn_fact){.key = hn_arena_strdup(&saved->arena, key),
				.value = hn_arena_strdup(&saved->arena, value),
				.is_note = note != 0};
	}
	return HONE_OK;
}

/* The manifest's content, and through it the files. */
static enum hone_status
read_manifest(struct hn_saved *saved, const json_t *json, const char *path, struct hone_error *err)
{
	const char *schema = json_string_value(json_object_get(json, "schema"));
	const json_t *files = json_object_get(json, "files");
	enum hone_status st;

	if (!schema || !hn_streq(schema, SCHEMA))
		return hone_fail_at(err, HONE_EIO, path, 0, 0,
			"has schema \"%.60s\"; this version reads " SCHEMA, schema ? schema : "");
	if (!json_is_array(files))
		return fail_shape(path, "\"files\"", err);
	st = get_progress(json_object_get(json, "progress"), path, &saved->progress, err);
	if (!st)
		st = get_facts(json_object_get(json, "facts"), path, saved, err);
	return st ? st : check_files(files, saved->path, saved, err);
}

enum hone_status
hn_saved_open(struct hn_saved *saved, const char *dir, struct hone_error *err)
{
	char *path = hn_path_join(dir, HN_MANIFEST_FILE), *text = NULL;
	json_t *json = NULL;
	size_t len = 0;
	enum hone_status st;

	memset(saved, 0, sizeof *saved);
	saved->path = hn_strdup(dir);
	st = hn_file_read(path, MANIFEST_BYTES_MAX, HONE_EIO, &text, &len, err);
	if (!st)
		st = check_own_hash(text, len, path, err);
	if (!st && !(json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL)))
		st = fail_shape(path, "the JSON", err);
	if (!st)
		st = read_manifest(saved, json, path, err);
	free(text);
	free(path);
	json_decref(json);
	if (!st) {
		path = hn_path_join(dir, HN_CONFIG_FILE);
		st = hn_file_read(path, CONFIG_BYTES_MAX, HONE_EIO, &saved->config, &len, err);
		free(path);
	}
	if (st)
		hn_saved_close(saved);
	return st;
}

void
hn_saved_close(struct hn_saved *saved)
{
	free(saved->path);
	free(saved->config);
	hn_arena_fini(&saved->arena);
	memset(saved, 0, sizeof *saved);
}
