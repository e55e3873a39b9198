/*
 * export_place.c - whether an export may stand at a place.
 *
 * It may where nothing is, in an empty folder, and instead of an older export of hone's: a
 * folder with a model card that carries the tag "hone" and with no file but those that exports
 * write.  A file that somebody else put there, even into our own folder, would be gone with
 * it; so it is named, and everything stays.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "train/export_parts.h"

#define CARD     "README.md"
#define CARD_MAX (UINT64_C(1) << 20)

enum { NAME_SHOWN = 100 };

/* All names that an export can have: checklist with export_adapter.c, export_model.c and
 * hn_folder_put_tokenizer. */
static const char *const written[] = {CARD, "adapter_config.json", "adapter_model.safetensors",
	"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
	"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
	"merges.txt", "chat_template.jinja"};

static bool
is_same_place(const char *a, const char *b)
{
	char *x = realpath(a, NULL), *y = realpath(b, NULL);
	const bool is_same = x && y && hn_streq(x, y);

	free(x);
	free(y);
	return is_same;
}

static bool
has_card(const char *folder)
{
	char *card = hn_path_join(folder, CARD), *text = NULL;
	size_t n = 0;
	const enum hone_status st = hn_file_read(card, CARD_MAX, HONE_EIO, &text, &n, NULL);
	const bool is_hone = !st && strstr(text, "\n- hone\n") != NULL;

	free(card);
	free(text);
	return is_hone;
}

static bool
is_written(const char *name)
{
	for (size_t i = 0; i < sizeof written / sizeof written[0]; i++)
		if (hn_streq(name, written[i]))
			return true;
	return false;
}

/* The first entry that no export wrote, in *foreign (the caller frees) or NULL; each further
 * adapter has a folder of its own, in which there are no others (`depth`). */
static enum hone_status
find_foreign(const char *folder, int depth, char **foreign, bool *is_empty, struct hone_error *err)
{
	char **names = NULL;
	size_t n = 0;
	enum hone_status st = hn_dir_list(folder, &names, &n, err);

	*is_empty = n == 0;
	for (size_t i = 0; i < n; i++) {
		char *path = hn_path_join(folder, names[i]);
		bool inner_is_empty, is_dir = hn_path_is_dir(path);

		if (!st && !*foreign && is_dir && depth > 0 && has_card(path))
			st = find_foreign(path, depth - 1, foreign, &inner_is_empty, err);
		else if (!*foreign && (is_dir || !is_written(names[i])))
			*foreign = hn_strdup(path);
		free(path);
		free(names[i]);
	}
	free(names);
	return st;
}

static enum hone_status
check_folder(const char *path, bool *replaces, struct hone_error *err)
{
	char *foreign = NULL;
	bool is_empty;
	enum hone_status st = find_foreign(path, 1, &foreign, &is_empty, err);

	if (!st && !is_empty && !foreign && !has_card(path))
		foreign = hn_path_join(path, CARD);
	if (!st && foreign)
		st = hone_fail_at(err, HONE_EUSAGE, foreign, 0, 0,
			"hone did not write this, and an export replaces the whole folder; name "
			"another one, or move this away");
	*replaces = !st && !is_empty;
	free(foreign);
	return st;
}

enum hone_status
hn_export_check_place(
	const char *path, const struct hn_model *model, bool *replaces, struct hone_error *err)
{
	struct stat info;

	*replaces = false;
	if (is_same_place(path, model->checkpoint.path))
		return hone_fail_at(err, HONE_EUSAGE, path, 0, 0,
			"this is the model itself; name another folder for the result");
	if (lstat(path, &info))
		return HONE_OK;
	if (!hn_path_is_dir(path))
		return hone_fail_at(err, HONE_EUSAGE, path, 0, 0,
			"this is no folder; name another place for the result");
	return check_folder(path, replaces, err);
}
