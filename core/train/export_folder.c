/*
 * export_folder.c - a folder that appears as a whole, and the files that are only copied.
 *
 * Everything is written into ".<name>.tmp-<pid>" beside the place.  At the end the two names
 * are exchanged in one step where the file system can do that (the older export is then
 * removed), so at no moment is there half an export under the name.
 *
 * The folder is locked and has the file ".hone-export" in it until it is whole.  A process that
 * is killed leaves it behind; the next export into the same parent removes what has the name,
 * the mark, no process of that number and no lock: nothing else can be sure to be litter.
 *
 * What may stand at the place and be replaced is the matter of export_place.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train/export_parts.h"
#include "train/identity.h"

#define COPY_MAX (UINT64_C(1) << 30)
#define MARK     ".hone-export"

/* Beside the place, so that the last step is a rename: "out/.adapter.tmp-123". */
static char *
temp_beside(const char *path)
{
	char *dir = hn_path_dir(path), *temp;
	struct hn_str name = {0};

	hn_str_printf(&name, ".%s.tmp-%ld", hn_path_base(path), (long)getpid());
	temp = hn_path_join(dir, name.text);
	hn_str_fini(&name);
	free(dir);
	return temp;
}

/* ---- what a killed process left ---- */

/* The number at the end of ".<name>.tmp-<pid>"; 0 for any other name. */
static pid_t
pid_of_temp(const char *name)
{
	const char *at = name[0] == '.' ? strrchr(name, '-') : NULL;
	int64_t pid = 0;

	if (!at || at - name < 6 || strncmp(at - 4, ".tmp", 4) != 0 ||
		at[1 + strspn(at + 1, "0123456789")] || !hn_parse_i64(at + 1, &pid) ||
		pid > INT_MAX)
		return 0;
	return (pid_t)pid;
}

/* Locks a folder; -1 when somebody has it or there is none. */
static int
lock_folder(const char *path)
{
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB)) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

static void
remove_stale(const char *path)
{
	char *mark = hn_path_join(path, MARK);
	const int lock = hn_path_is_file(mark) ? lock_folder(path) : -1;

	if (lock >= 0) {
		(void)hn_dir_remove(path, NULL);
		(void)close(lock);
	}
	free(mark);
}

/* A process of another container may have a number that is none here: the lock is asked, too. */
static void
sweep(const char *dir)
{
	char **names = NULL;
	size_t n = 0;

	if (hn_dir_list(dir, &names, &n, NULL))
		n = 0;
	for (size_t i = 0; i < n; i++) {
		const pid_t pid = pid_of_temp(names[i]);

		if (pid > 0 && kill(pid, 0) && errno == ESRCH) {
			char *path = hn_path_join(dir, names[i]);

			remove_stale(path);
			free(path);
		}
		free(names[i]);
	}
	free(names);
}

/* An unmarked folder is only never swept. */
static void
mark(const char *folder)
{
	char *path = hn_path_join(folder, MARK);
	const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);

	if (fd >= 0)
		(void)close(fd);
	free(path);
}

static void
unmark(const char *folder)
{
	char *path = hn_path_join(folder, MARK);

	(void)unlink(path);
	free(path);
}

/* ---- beginning and ending ---- */

/* The temporary folder, ours alone. */
static enum hone_status
make_temp(struct hn_export_folder *folder, struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	folder->temp = temp_beside(folder->path);
	if (hn_path_is_dir(folder->temp))
		st = hn_dir_remove(folder->temp, err);
	if (!st)
		st = hn_dir_make(folder->temp, err);
	if (st)
		return st;
	folder->lock = lock_folder(folder->temp);
	mark(folder->temp);
	return HONE_OK;
}

/* A folder that is there by its real name, so that a link to it stays one; else the path as it
 * is, without slashes at its end. */
static char *
real_place(const char *path)
{
	char *real = hn_path_is_dir(path) ? realpath(path, NULL) : NULL;
	char *copy = hn_strdup(real ? real : path);
	size_t n = strlen(copy);

	while (n > 1 && copy[n - 1] == '/')
		copy[--n] = '\0';
	free(real);
	return copy;
}

enum hone_status
hn_folder_begin(struct hn_export_folder *folder, const char *path, const struct hn_model *model,
	struct hone_error *err)
{
	bool replaces;
	enum hone_status st;
	char *dir;

	*folder = (struct hn_export_folder){.path = real_place(path), .model = model, .lock = -1};
	st = hn_export_check_place(folder->path, model, &replaces, err);
	if (st)
		return st;
	dir = hn_path_dir(folder->path);
	sweep(dir);
	free(dir);
	return make_temp(folder, err);
}

static void
fini(struct hn_export_folder *folder)
{
	free(folder->path);
	if (folder->temp && folder->lock >= 0)
		(void)close(folder->lock);
	free(folder->temp);
	*folder = (struct hn_export_folder){.lock = -1};
}

/* Exchanges the names, or moves the old folder out of the way first. */
static enum hone_status
replace(const struct hn_export_folder *folder, struct hone_error *err)
{
	struct hn_str old = {0};
	enum hone_status st = HONE_OK;

	if (!renameat2(AT_FDCWD, folder->temp, AT_FDCWD, folder->path, RENAME_EXCHANGE)) {
		mark(folder->temp); /* the older export now */
		return hn_dir_remove(folder->temp, err);
	}
	hn_str_printf(&old, "%s.old", folder->temp);
	if (rename(folder->path, old.text) || rename(folder->temp, folder->path))
		st = hn_fail_errno(err, HONE_EIO, folder->path, "cannot be replaced", errno);
	if (!st)
		st = hn_dir_remove(old.text, err);
	else if (!hn_path_is_dir(folder->path))
		(void)rename(old.text, folder->path);
	hn_str_fini(&old);
	return st;
}

enum hone_status
hn_folder_commit(struct hn_export_folder *folder, struct hone_error *err)
{
	char *dir = hn_path_dir(folder->path);
	enum hone_status st = hn_model_check_unchanged(folder->model, err);

	unmark(folder->temp);
	if (!st)
		st = hn_dir_sync(folder->temp, err);
	if (!st && hn_path_is_dir(folder->path))
		st = replace(folder, err);
	else if (!st && rename(folder->temp, folder->path))
		st = hn_fail_errno(err, HONE_EIO, folder->path, "cannot be created", errno);
	if (!st)
		st = hn_dir_sync(dir, err);
	free(dir);
	if (st)
		hn_folder_abandon(folder);
	else
		fini(folder);
	return st;
}

void
hn_folder_abandon(struct hn_export_folder *folder)
{
	if (folder->temp && hn_path_is_dir(folder->temp))
		(void)hn_dir_remove(folder->temp, NULL);
	fini(folder);
}

enum hone_status
hn_folder_put(
	const char *folder, const char *name, const struct hn_str *text, struct hone_error *err)
{
	char *path = hn_path_join(folder, name), *back = NULL;
	size_t n = 0;
	enum hone_status st = hn_file_replace(path, text->text, text->len, err);

	if (!st)
		st = hn_file_read(path, COPY_MAX, HONE_EIO, &back, &n, err);
	if (!st && (n != text->len || memcmp(back, text->text, n) != 0))
		st = hone_fail_at(err, HONE_EIO, path, 0, 0,
			"what was read back is not what was written; the disk is not to be "
			"trusted");
	free(back);
	free(path);
	return st;
}

/* Copies a file of the base where there is one. */
static enum hone_status
copy_file(const char *from, const char *name, const char *folder, struct hone_error *err)
{
	char *path = hn_path_join(from, name), *text = NULL;
	struct hn_str copy = {0};
	enum hone_status st = HONE_OK;

	if (hn_path_is_file(path)) {
		size_t n = 0;

		st = hn_file_read(path, COPY_MAX, HONE_EMODEL, &text, &n, err);
		if (!st) {
			hn_str_add(&copy, text, n);
			st = hn_folder_put(folder, name, &copy, err);
		}
	}
	hn_str_fini(&copy);
	free(text);
	free(path);
	return st;
}

enum hone_status
hn_folder_put_tokenizer(const struct hn_adapted *of, const char *folder, struct hone_error *err)
{
	static const char *const files[] = {"tokenizer.json", "tokenizer_config.json",
		"special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
		"chat_template.jinja"};
	const char *base = of->model->checkpoint.path;
	char *own = hn_path_join(base, files[0]);
	const bool has_own = hn_path_is_file(own);
	enum hone_status st = HONE_OK;

	free(own);
	for (size_t i = 0; has_own && !st && i < sizeof files / sizeof files[0]; i++)
		st = copy_file(base, files[i], folder, err);
	if (!has_own && of->tokenizer)
		st = hn_tokenizer_write(of->tokenizer, folder, err);
	return st;
}
