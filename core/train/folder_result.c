/*
 * folder_result.c - whether a finished run's result is still what was written.
 *
 * state.json names the files with size and hash when the run ends, and the base model and
 * the tokenizer that they were made with.  Names from there are compared with what lies in the
 * folder and never used as paths.  A state without them is an older version's, and nothing is
 * known of its result.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/str.h"
#include "train/folder_result.h"

enum { STATE_BYTES_MAX = 1 << 20 };

/* adapter_config.json is compared with the run's own configuration whenever it is read, and
 * people put the hub's name of the base into it. */
static bool
is_watched(const char *name)
{
	return hn_ends_with(name, ".safetensors") || hn_streq(name, "config.json");
}

static enum hone_status
add_file(const char *output, const char *name, json_t *list, struct hone_error *err)
{
	char *path = hn_path_join(output, name), hash[33];
	struct stat info = {0};
	enum hone_status st = hn_hash_file(path, HONE_EIO, hash, err);

	if (!st && stat(path, &info))
		st = hn_fail_errno(err, HONE_EIO, path, "cannot be examined", errno);
	if (!st)
		(void)json_array_append_new(list,
			json_pack("{s:s, s:I, s:s}", "name", name, "bytes",
				(json_int_t)info.st_size, "hash", hash));
	free(path);
	return st;
}

/* The files of <output>/<dir>, and of the folders in it where `depth` allows: each further
 * adapter has one of its own. */
static enum hone_status
add_folder(const char *output, const char *dir, int depth, json_t *list, struct hone_error *err)
{
	char *path = hn_path_join(output, dir), **names = NULL;
	size_t n = 0;
	enum hone_status st = hn_path_is_dir(path) ? hn_dir_list(path, &names, &n, err) : HONE_OK;

	for (size_t i = 0; i < n; i++) {
		char *name = hn_path_join(dir, names[i]), *inner = hn_path_join(output, name);

		if (!st && depth > 0 && hn_path_is_dir(inner))
			st = add_folder(output, name, depth - 1, list, err);
		else if (!st && is_watched(names[i]) && hn_path_is_file(inner))
			st = add_file(output, name, list, err);
		free(inner);
		free(name);
		free(names[i]);
	}
	free(names);
	free(path);
	return st;
}

enum hone_status
hn_result_list(const char *output, json_t **out, struct hone_error *err)
{
	enum hone_status st;

	*out = json_array();
	st = add_folder(output, "adapter", 1, *out, err);
	return st ? st : add_folder(output, "model", 0, *out, err);
}

/* state.json where it says that the run is finished, else NULL; the caller decrefs. */
static json_t *
read_finished(const char *output)
{
	char *path = hn_path_join(output, HN_STATE_FILE), *text = NULL;
	json_t *json = NULL;
	const char *state;
	size_t n = 0;

	if (!hn_file_read(path, STATE_BYTES_MAX, HONE_EIO, &text, &n, NULL))
		json = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
	state = json_string_value(json_object_get(json, "state"));
	if (!state || !hn_streq(state, "finished")) {
		json_decref(json);
		json = NULL;
	}
	free(text);
	free(path);
	return json;
}

bool
hn_folder_is_finished(const char *output)
{
	json_t *json = read_finished(output);
	const bool is_finished = json != NULL;

	json_decref(json);
	return is_finished;
}

void
hn_folder_made_with(const char *output, struct hn_made_with *out)
{
	json_t *json = read_finished(output);
	const char *model = json_string_value(json_object_get(json, "model"));
	const char *tokenizer = json_string_value(json_object_get(json, "tokenizer"));

	(void)snprintf(out->model, sizeof out->model, "%s", model ? model : "");
	(void)snprintf(out->tokenizer, sizeof out->tokenizer, "%s", tokenizer ? tokenizer : "");
	json_decref(json);
}

static const json_t *
find_file(const json_t *list, const char *name)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *file = json_array_get(list, i);
		const char *other = json_string_value(json_object_get(file, "name"));

		if (other && hn_streq(other, name))
			return file;
	}
	return NULL;
}

enum hone_status
hn_folder_check_result(const char *output, struct hone_error *err)
{
	json_t *json = read_finished(output), *now = NULL;
	const json_t *want = json_object_get(json, "files");
	enum hone_status st = HONE_OK;

	if (json_array_size(want))
		st = hn_result_list(output, &now, err);
	for (size_t i = 0; i < json_array_size(want) && !st; i++) {
		const json_t *file = json_array_get(want, i);
		const char *name = json_string_value(json_object_get(file, "name"));
		const json_t *there = name ? find_file(now, name) : NULL;

		if (!there || !json_equal(there, file))
			st = hone_fail_at(err, HONE_EMODEL, output, 0, 0,
				"the result is damaged: %.200s %s", name ? name : "a file of it",
				there ? "has other bytes than were written" : "is gone");
	}
	json_decref(now);
	json_decref(json);
	return st;
}
