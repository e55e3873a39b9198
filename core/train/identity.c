/*
 * identity.c - samples, times and the whole content of a base model.
 *
 * The whole is read with pread through a small buffer and not through the mapping, so that
 * the memory that the process holds does not grow by pages which no step needs.  The content
 * of a model in one file is that file's xxh128, as xxh128sum prints it; of several it is the
 * hash of their hashes in the order of the index.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "base/str.h"
#include "train/identity.h"

enum { END_BYTES = 1 << 20, PAGE_BYTES = 4096, N_PAGES = 64 };

/* What can be hashed while somebody waits for the process to end. */
#define HASTE_BYTES (UINT64_C(1) << 30)

/* ---- samples ---- */

static void
put_hash(struct hn_str *out, const uint8_t *bytes, uint64_t n)
{
	char hash[33];

	hn_hash_hex(bytes, (size_t)n, hash);
	hn_str_puts(out, hash);
}

/* Both ends, and pages at equal distances between. */
static void
put_samples(struct hn_str *out, const struct hn_map *map)
{
	const uint64_t end_bytes = map->size < END_BYTES ? map->size : END_BYTES;

	hn_str_printf(out, "\n%" PRIu64 " ", map->size);
	put_hash(out, map->bytes, end_bytes);
	put_hash(out, map->bytes + map->size - end_bytes, end_bytes);
	for (uint64_t i = 0; map->size > 2 * END_BYTES && i < N_PAGES; i++)
		put_hash(out, map->bytes + (map->size - PAGE_BYTES) / N_PAGES * i, PAGE_BYTES);
}

void
hn_model_identity(const struct hn_model *model, char out[33])
{
	const struct hn_tensor_file *file = &model->checkpoint.tensors;
	char *config = json_dumps(model->checkpoint.config.stored, JSON_SORT_KEYS | JSON_COMPACT);
	struct hn_str text = {0};

	hn_str_puts(&text, config ? config : "");
	for (size_t i = 0; i < file->n_maps; i++)
		put_samples(&text, &file->maps[i]);
	hn_hash_hex(text.text, text.len, out);
	hn_str_fini(&text);
	free(config);
}

/* ---- the whole ---- */

static uint64_t
total_bytes(const struct hn_tensor_file *file)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < file->n_maps; i++)
		bytes += file->maps[i].size;
	return bytes;
}

/* What the files are told apart by without reading them. */
static void
note_files(struct hn_identity *identity)
{
	const struct hn_tensor_file *file = &identity->model->checkpoint.tensors;

	hn_str_clear(&identity->size);
	hn_str_clear(&identity->files);
	hn_str_printf(&identity->size, "%" PRIu64 " bytes in %zu file%s", total_bytes(file),
		file->n_maps, file->n_maps == 1 ? "" : "s");
	for (size_t i = 0; i < file->n_maps; i++)
		hn_str_printf(&identity->files, "%s%" PRIu64 "@%" PRId64, i ? " " : "",
			file->maps[i].size, file->maps[i].mtime_ns);
}

static enum hone_status
read_content(const struct hn_identity *identity, char out[33], struct hone_error *err)
{
	const struct hn_tensor_file *file = &identity->model->checkpoint.tensors;
	struct hn_str hashes = {0};
	enum hone_status st = HONE_OK;

	hn_str_puts(&hashes, "");
	for (size_t i = 0; i < file->n_maps && !st; i++) {
		st = hn_map_hash(&file->maps[i], file->map_paths[i], HONE_EMODEL, out, err);
		if (!st)
			hn_str_puts(&hashes, out);
	}
	if (!st && file->n_maps != 1)
		hn_hash_hex(hashes.text, hashes.len, out);
	hn_str_fini(&hashes);
	return st;
}

/* The first file that was written to since it was opened; -1 = none. */
static int64_t
find_changed(const struct hn_tensor_file *file)
{
	for (size_t i = 0; i < file->n_maps; i++)
		if (!hn_map_unchanged(&file->maps[i]))
			return (int64_t)i;
	return -1;
}

enum hone_status
hn_model_check_unchanged(const struct hn_model *model, struct hone_error *err)
{
	const int64_t changed = find_changed(&model->checkpoint.tensors);

	return changed < 0
		? HONE_OK
		: hone_fail_at(err, HONE_EMODEL, model->checkpoint.tensors.map_paths[changed], 0, 0,
			  "the file was written to while it was in use; what was computed "
			  "belongs to no model: put the file back and start again");
}

/* The mapping keeps the file of before, so what is computed is right; but the run will not go
 * on from here with another one. */
static void
warn_of_replaced(struct hn_identity *identity)
{
	const struct hn_tensor_file *file = &identity->model->checkpoint.tensors;

	for (size_t i = 0; i < file->n_maps && !identity->has_warned; i++) {
		if (hn_map_is_at(&file->maps[i], file->map_paths[i]))
			continue;
		identity->has_warned = true;
		hn_log_warn(identity->log,
			"%s was replaced or removed; this run goes on with the file that it began "
			"with, and whoever uses its result needs that one",
			file->map_paths[i]);
	}
}

/* ---- asking ---- */

void
hn_identity_open(struct hn_identity *identity, struct hn_model *model, struct hn_log *log)
{
	*identity = (struct hn_identity){.model = model, .log = log};
	hn_model_identity(model, identity->sample);
	note_files(identity);
}

void
hn_identity_close(struct hn_identity *identity)
{
	hn_str_fini(&identity->size);
	hn_str_fini(&identity->files);
	*identity = (struct hn_identity){0};
}

size_t
hn_identity_facts(const struct hn_identity *identity, struct hn_fact *out)
{
	const struct hn_fact facts[HN_IDENTITY_FACTS] = {
		{.key = "model",
			.value = identity->sample,
			.path = identity->model->checkpoint.path,
			.what = "[model] path",
			.size = identity->size.text},
		{.key = "model.size",
			.value = identity->size.text,
			.is_note = true,
			.is_kept = true},
		{.key = "model.files",
			.value = identity->files.text ? identity->files.text : "",
			.is_note = true,
			.is_kept = true},
		{.key = "model.content",
			.value = identity->content,
			.is_note = true,
			.is_kept = true},
	};

	memcpy(out, facts, sizeof facts);
	return HN_IDENTITY_FACTS;
}

static enum hone_status
fail_other(const struct hn_identity *identity, const char *now, int64_t changed,
	struct hone_error *err)
{
	const struct hn_checkpoint *base = &identity->model->checkpoint;

	if (changed >= 0)
		return hone_fail_at(err, HONE_EMODEL, base->tensors.map_paths[changed], 0, 0,
			"the file was written to while it was in use (its content was %s and is "
			"%s), so nothing more is saved; put it back and start the same command "
			"again, which goes on from the last checkpoint",
			identity->content[0] ? identity->content : "never read whole", now);
	return hone_fail_at(err, HONE_ECONFIG, base->path, 0, 0,
		"the base model is another one: its content was %s and is %s (%s) since this run "
		"began; put it back, or begin anew with --fresh",
		identity->content, now, identity->size.text);
}

enum hone_status
hn_identity_check(struct hn_identity *identity, bool in_haste, struct hone_error *err)
{
	struct hn_tensor_file *file = &identity->model->checkpoint.tensors;
	const int64_t changed = find_changed(file);
	char now[33] = "";
	enum hone_status st;

	warn_of_replaced(identity);
	if (changed < 0 && (identity->is_read || (in_haste && total_bytes(file) > HASTE_BYTES)))
		return HONE_OK;
	/* The times before the content: a write that comes between is seen next time. */
	for (size_t i = 0; i < file->n_maps; i++)
		hn_map_accept(&file->maps[i]);
	st = read_content(identity, now, err);
	if (st)
		return st;
	if (identity->content[0] ? !hn_streq(identity->content, now) : changed >= 0)
		return fail_other(identity, now, changed, err);
	(void)snprintf(identity->content, sizeof identity->content, "%s", now);
	identity->is_read = true;
	note_files(identity);
	return HONE_OK;
}

enum hone_status
hn_identity_resume(
	struct hn_identity *identity, const struct hn_saved *saved, struct hone_error *err)
{
	const char *content = hn_saved_fact(saved, "model.content");
	const char *files = hn_saved_fact(saved, "model.files");

	/* A run that was stopped in haste, or by a version that did not know it. */
	if (!content || !content[0])
		return HONE_OK;
	(void)snprintf(identity->content, sizeof identity->content, "%s", content);
	if (files && identity->files.text && hn_streq(files, identity->files.text))
		return HONE_OK;
	return hn_identity_check(identity, false, err);
}
