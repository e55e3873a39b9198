/*
 * folder.c - taking a run's folder: lock, state, what --fresh moves away, and metrics.
 *
 * The lock is flock(2) on a file that is never removed: the system gives it back however the
 * process ends, and a file that stays cannot be locked twice under one name.  --fresh renames
 * the folder with the lock in it, so after locking we look whether the name still means the
 * file that we have.
 *
 * Names with a leading dot inside checkpoints/ and "<name>.tmp-<pid>" at the top are work of
 * a process that was killed; we hold the lock, so nobody is at it and it is removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/guard.h"
#include "base/str.h"
#include "train/folder.h"
#include "train/folder_result.h"

#define LOCK_NAME    ".lock"
#define STATE_NAME   HN_STATE_FILE
#define METRICS_NAME "metrics.jsonl"
#define STATE_SCHEMA "hone.run/1"

enum { LOCK_TRIES = 8, RENAMES_MAX = 100000, STATE_BYTES_MAX = 1 << 20 };

static void
free_names(char **names, size_t n)
{
	while (n)
		free(names[--n]);
	free(names);
}

/* ---- whose folder it is ---- */

/* What state.json says; a finished run's step, -1 for one that was stopped. */
static enum hone_status
read_state(const char *path, int64_t *finished_step, struct hone_error *err)
{
	const char *schema, *state;
	json_t *json = NULL;
	json_int_t step = 0;
	char *text = NULL;
	size_t len = 0;
	enum hone_status st = hn_file_read(path, STATE_BYTES_MAX, HONE_EIO, &text, &len, err);

	if (!st)
		json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (!st &&
		(json_unpack(json, "{s:s, s:s, s:I}", "schema", &schema, "state", &state, "step",
			 &step) ||
			!hn_streq(schema, STATE_SCHEMA)))
		st = hone_fail_at(err, HONE_ECONFIG, path, 0, 0,
			"is not what hone writes (" STATE_SCHEMA
			"); name another folder in [run] output");
	if (!st)
		*finished_step = hn_streq(state, "finished") ? (int64_t)step : -1;
	json_decref(json);
	free(text);
	return st;
}

/* What a run may leave behind before it has said that the folder is its own. */
static bool
is_early(const char *name)
{
	return hn_streq(name, LOCK_NAME) || hn_starts_with(name, STATE_NAME ".tmp-");
}

/* Whether the folder is a run's (*is_run, with its state) or as good as empty; anybody else's
 * is refused. */
static enum hone_status
examine(const char *path, bool *is_run, int64_t *finished_step, struct hone_error *err)
{
	char *state = hn_path_join(path, STATE_NAME);
	enum hone_status st = HONE_OK;
	char **names = NULL;
	size_t n = 0;

	*is_run = hn_path_is_file(state);
	if (*is_run)
		st = read_state(state, finished_step, err);
	else
		st = hn_dir_list(path, &names, &n, err);
	for (size_t i = 0; i < n && !st; i++)
		if (!is_early(names[i]))
			st = hone_fail_at(err, HONE_ECONFIG, path, 0, 0,
				"is no run's folder and is not empty (\"%.100s\" is in it); name "
				"another folder in [run] output",
				names[i]);
	free_names(names, n);
	free(state);
	return st;
}

/* ---- the lock ---- */

static enum hone_status
fail_busy(int fd, const char *path, struct hone_error *err)
{
	char who[160] = "";
	const ssize_t got = pread(fd, who, sizeof who - 1, 0);

	who[got > 0 ? got : 0] = '\0';
	who[strcspn(who, "\n")] = '\0';
	return hone_fail_at(err, HONE_ECONFIG, path, 0, 0,
		"is in use by another run (%s); wait for it, stop it, or name another folder in "
		"[run] output",
		who[0] ? who : "it does not say which");
}

/* Writes who we are; a failure costs only a worse message for others. */
static void
sign_lock(int fd)
{
	char host[HOST_NAME_MAX + 1] = "", text[HOST_NAME_MAX + 64];
	int n;

	(void)gethostname(host, sizeof host - 1);
	n = snprintf(text, sizeof text, "process %ld on %s\n", (long)getpid(), host);
	if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)n, 0) != n)
		return;
}

/* Whether `path` still names the file behind fd. */
static bool
is_same_file(int fd, const char *path)
{
	struct stat a, b;

	return !fstat(fd, &a) && !stat(path, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static enum hone_status
take_lock(const char *folder, int *out, struct hone_error *err)
{
	char *path = hn_path_join(folder, LOCK_NAME);
	enum hone_status st = HONE_OK;
	int fd = -1;

	for (int tries = 0; !st && fd < 0 && tries < LOCK_TRIES; tries++) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
		if (fd < 0)
			st = hn_fail_errno(err, HONE_EIO, path, "cannot be opened", errno);
		else if (flock(fd, LOCK_EX | LOCK_NB))
			st = errno == EWOULDBLOCK
				? fail_busy(fd, folder, err)
				: hn_fail_errno(err, HONE_EIO, path, "cannot be locked", errno);
		if (fd >= 0 && (st || !is_same_file(fd, path))) {
			(void)close(fd);
			fd = -1;
		}
	}
	if (!st && fd < 0)
		st = hone_fail_at(err, HONE_ECONFIG, folder, 0, 0,
			"is being renamed by other runs again and again; start once more");
	if (!st)
		sign_lock(fd);
	*out = fd;
	free(path);
	return st;
}

/* ---- --fresh ---- */

/* Renames the folder to the first free "<path>.<n>". */
static enum hone_status
rename_numbered(const char *path, char **renamed, struct hone_error *err)
{
	for (int i = 1; i < RENAMES_MAX; i++) {
		struct hn_str to = {0};

		hn_str_printf(&to, "%s.%d", path, i);
		if (!renameat2(AT_FDCWD, path, AT_FDCWD, to.text, RENAME_NOREPLACE)) {
			*renamed = hn_str_take(&to);
			return HONE_OK;
		}
		hn_str_fini(&to);
		if (errno != EEXIST)
			return hn_fail_errno(
				err, HONE_EIO, path, "cannot be renamed, as --fresh asks", errno);
	}
	return hone_fail_at(
		err, HONE_ECONFIG, path, 0, 0, "has too many numbered neighbours; remove some");
}

/* Moves an old run away; whoever works in it keeps it. */
static enum hone_status
move_away(const char *path, char **renamed, struct hone_error *err)
{
	enum hone_status st;
	int64_t finished_step;
	bool is_run;
	int lock = -1;

	if (!hn_path_is_dir(path))
		return HONE_OK;
	st = examine(path, &is_run, &finished_step, err);
	if (st || !is_run)
		return st;
	st = take_lock(path, &lock, err);
	if (!st)
		st = rename_numbered(path, renamed, err);
	if (lock >= 0)
		(void)close(lock);
	return st;
}

/* ---- state ---- */

/* `files` is what hn_result_list gave; it and `with` are NULL of a run that is not finished. */
static enum hone_status
write_state(const struct hn_folder *folder, const char *state, int64_t step, const json_t *files,
	const struct hn_made_with *with, struct hone_error *err)
{
	char *list = files ? json_dumps(files, JSON_SORT_KEYS) : NULL;
	struct hn_str text = {0};
	enum hone_status st;

	hn_str_printf(&text,
		"{\n  \"schema\": \"" STATE_SCHEMA "\",\n  \"state\": \"%s\",\n  \"step\": %" PRId64
		"%s%s",
		state, step, list ? ",\n  \"files\": " : "", list ? list : "");
	if (with)
		hn_str_printf(&text, ",\n  \"model\": \"%s\",\n  \"tokenizer\": \"%s\"",
			with->model, with->tokenizer);
	hn_str_puts(&text, "\n}\n");
	st = hn_folder_write(folder, STATE_NAME, text.text, err);
	hn_str_fini(&text);
	free(list);
	return st;
}

/* ".adapter.tmp-<pid>" and ".model.tmp-<pid>": a result that was being written. */
static bool
is_export_leftover(const char *name)
{
	return hn_starts_with(name, ".adapter.tmp-") || hn_starts_with(name, ".model.tmp-");
}

/* Removes what was left half done, and looks whether a checkpoint is there. */
static enum hone_status
sweep(struct hn_folder *folder, struct hone_error *err)
{
	enum hone_status st;
	char **names;
	size_t n;

	st = hn_dir_list(folder->path, &names, &n, err);
	for (size_t i = 0; i < n; i++) {
		char *path = hn_path_join(folder->path, names[i]);

		if (strstr(names[i], ".tmp-") && hn_path_is_file(path))
			(void)unlink(path);
		else if (is_export_leftover(names[i]) && hn_path_is_dir(path))
			(void)hn_dir_remove(path, NULL);
		free(path);
	}
	free_names(names, n);
	if (st || !hn_path_is_dir(folder->checkpoints))
		return st;
	st = hn_dir_list(folder->checkpoints, &names, &n, err);
	for (size_t i = 0; i < n && !st; i++) {
		char *path = hn_path_join(folder->checkpoints, names[i]);
		struct stat info;

		if (hn_starts_with(names[i], "step-") && folder->state == HN_FOLDER_EMPTY)
			folder->state = HN_FOLDER_RESUMABLE;
		else if (names[i][0] == '.' && !lstat(path, &info) && S_ISDIR(info.st_mode))
			st = hn_dir_remove(path, err);
		else if (names[i][0] == '.')
			(void)unlink(path);
		free(path);
	}
	free_names(names, n);
	return st;
}

/* ---- opening ---- */

/* What is appended to: a pipe would be waited for, and a link leads to a file that is not the
 * run's (.lock and what is replaced do not follow one either). */
static enum hone_status
check_own_file(const char *path, struct hone_error *err)
{
	struct stat info;

	if (!lstat(path, &info) && S_ISLNK(info.st_mode))
		return hone_fail_at(err, HONE_EIO, path, 0, 0,
			"is a link, and hone writes nothing behind it; remove it");
	return hn_path_check_regular(path, HONE_EIO, err);
}

static enum hone_status
open_metrics(struct hn_folder *folder, struct hone_error *err)
{
	char *path = hn_path_join(folder->path, METRICS_NAME);
	enum hone_status st = check_own_file(path, err);

	if (folder->metrics >= 0)
		(void)close(folder->metrics);
	folder->metrics =
		st ? -1 : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (!st && folder->metrics < 0)
		st = hn_fail_errno(err, HONE_EIO, path, "cannot be opened", errno);
	free(path);
	return st;
}

static enum hone_status
attach_log(struct hn_folder *folder, struct hn_log *log, struct hone_error *err)
{
	char *path = hn_path_join(folder->path, "log.txt");
	enum hone_status st = check_own_file(path, err);

	folder->log = log;
	log->file = st ? NULL : fopen(path, "ae");
	if (!st && !log->file)
		st = hn_fail_errno(err, HONE_EIO, path, "cannot be opened", errno);
	if (!st)
		hn_guard_log(fileno(log->file));
	free(path);
	return st;
}

/* Without slashes at its end, so that ".1" can follow; "/" stays. */
static char *
copy_trimmed(const char *output)
{
	char *path = hn_strdup(output);
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		path[--n] = '\0';
	return path;
}

enum hone_status
hn_folder_open(struct hn_folder *folder, const char *output, bool fresh, struct hn_log *log,
	struct hone_error *err)
{
	enum hone_status st = HONE_OK;
	int64_t finished_step = -1;
	bool is_run = false;

	*folder = (struct hn_folder){.lock = -1, .metrics = -1, .path = copy_trimmed(output)};
	folder->checkpoints = hn_path_join(folder->path, "checkpoints");
	if (fresh)
		st = move_away(folder->path, &folder->renamed, err);
	if (!st) {
		folder->made = hn_folder_first_absent(folder->path);
		st = hn_dir_make(folder->path, err);
	}
	/* Before the lock, which would leave a file in a folder that is not ours, and after it,
	 * because a run may just have ended there. */
	if (!st)
		st = examine(folder->path, &is_run, &finished_step, err);
	if (!st)
		st = take_lock(folder->path, &folder->lock, err);
	if (!st)
		st = examine(folder->path, &is_run, &finished_step, err);
	if (!st && !is_run)
		st = write_state(folder, "running", 0, NULL, NULL, err);
	if (!st && finished_step >= 0) {
		folder->state = HN_FOLDER_FINISHED;
		folder->finished_step = finished_step;
	}
	if (!st)
		st = sweep(folder, err);
	if (!st)
		st = open_metrics(folder, err);
	return st ? st : attach_log(folder, log, err);
}

void
hn_folder_close(struct hn_folder *folder)
{
	if (!folder->path)
		return;
	if (folder->log && folder->log->file) {
		hn_guard_log(-1);
		(void)fclose(folder->log->file);
		folder->log->file = NULL;
	}
	if (folder->metrics >= 0)
		(void)close(folder->metrics);
	if (folder->lock >= 0)
		(void)close(folder->lock);
	free(folder->path);
	free(folder->checkpoints);
	free(folder->renamed);
	free(folder->made);
	*folder = (struct hn_folder){.lock = -1, .metrics = -1};
}

enum hone_status
hn_folder_check_there(const struct hn_folder *folder, struct hone_error *err)
{
	char *path = hn_path_join(folder->path, LOCK_NAME);
	const bool is_there = folder->lock < 0 || is_same_file(folder->lock, path);

	free(path);
	return is_there
		? HONE_OK
		: hone_fail_at(err, HONE_EIO, folder->path, 0, 0,
			  "the run's folder was removed or renamed while the run was at "
			  "work: nothing was saved there since; put it back, or start anew");
}

enum hone_status
hn_folder_write(
	const struct hn_folder *folder, const char *name, const char *text, struct hone_error *err)
{
	char *path = hn_path_join(folder->path, name);
	enum hone_status st = hn_folder_check_there(folder, err);

	if (!st)
		st = hn_file_replace(path, text, strlen(text), err);
	free(path);
	return st;
}

enum hone_status
hn_folder_finish(struct hn_folder *folder, int64_t step, const struct hn_made_with *with,
	struct hone_error *err)
{
	json_t *files = NULL;
	enum hone_status st = hn_result_list(folder->path, &files, err);

	if (!st)
		st = write_state(folder, "finished", step, files, with, err);
	json_decref(files);
	if (!st) {
		folder->state = HN_FOLDER_FINISHED;
		folder->finished_step = step;
	}
	return st;
}

/* ---- metrics ---- */

enum hone_status
hn_folder_metrics(struct hn_folder *folder, const char *line, struct hone_error *err)
{
	const off_t before = lseek(folder->metrics, 0, SEEK_END);
	struct hn_str text = {0};
	enum hone_status st = HONE_OK;
	ssize_t put;

	hn_str_puts(&text, line);
	hn_str_putc(&text, '\n');
	do
		put = write(folder->metrics, text.text, text.len);
	while (put < 0 && errno == EINTR);
	if (put < 0 || (size_t)put != text.len) {
		char *path = hn_path_join(folder->path, METRICS_NAME);

		st = hn_fail_errno(
			err, HONE_EIO, path, "cannot be written", put < 0 ? errno : ENOSPC);
		/* Half a line would be glued to the next one. */
		if (put > 0 && before >= 0 && ftruncate(folder->metrics, before))
			hone_error_while(err, "taking half a line back");
		free(path);
	}
	hn_str_fini(&text);
	return st;
}

/* Whether a line is whole JSON with a step that is not after `step`. */
static bool
keeps(const char *line, size_t n, int64_t step)
{
	json_t *json = json_loadb(line, n, 0, NULL);
	const json_t *value = json_object_get(json, "step");
	const bool keep = json_is_integer(value) && json_integer_value(value) <= step;

	json_decref(json);
	return keep;
}

enum hone_status
hn_folder_metrics_cut(struct hn_folder *folder, int64_t step, struct hone_error *err)
{
	char *path = hn_path_join(folder->path, METRICS_NAME);
	struct hn_writer *writer = NULL;
	struct hn_map map = {.fd = -1};
	enum hone_status st = hn_map_open(&map, path, HONE_EIO, err);

	if (!st)
		st = hn_writer_create(&writer, path, err);
	for (uint64_t at = 0; !st && at < map.size;) {
		const char *line = (const char *)map.bytes + at;
		const char *end = memchr(line, '\n', (size_t)(map.size - at));
		const size_t n = end ? (size_t)(end - line) + 1 : 0;

		if (!end) /* torn: the process died while it was written */
			break;
		if (keeps(line, n, step))
			st = hn_writer_write(writer, line, n, err);
		at += n;
	}
	if (!st)
		st = hn_writer_commit(writer, err);
	else
		hn_writer_abandon(writer);
	hn_map_close(&map);
	free(path);
	return st ? st : open_metrics(folder, err);
}
