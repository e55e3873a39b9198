/*
 * checkpoint.c - saving: beside, synced, read back, renamed, and only then the old ones go.
 *
 *     .tmp-step-000300/   params, optimizer, config: each written, synced; folder synced
 *                         cache dropped, tensors read back and compared with memory
 *                         manifest.json: written, synced; folder synced
 *     rename              RENAME_NOREPLACE, or RENAME_EXCHANGE with one of the same step
 *     checkpoints/        synced
 *     best                a new link renamed over the old one
 *     prune               .trash-step-000100 first, so a kill never leaves half a checkpoint
 *
 * A kill before the rename leaves a folder with a dot, which the next opening removes; one
 * after it leaves too many checkpoints, which the next saving prunes.  An fsync that failed is
 * not tried again on that file: the whole attempt is given up.  (Pillai et al. 2014, "All File
 * Systems Are Not Created Equal", says what else goes wrong.)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "model/safetensors.h"
#include "train/checkpoint_files.h"

#define TMP_PREFIX   ".tmp-"
#define TRASH_PREFIX ".trash-"

/* Headers, manifest and the file system's own needs. */
#define SLACK_BYTES   (UINT64_C(1) << 16)
#define COMPARE_BYTES (UINT64_C(1) << 18)

/* ---- writing ---- */

static enum hone_status
fill(void *ctx, const struct hn_tensor_out *tensor, int64_t first_row, int64_t n_rows, void *dst,
	struct hone_error *err)
{
	const struct hn_state_tensor *from = ctx;
	const uint64_t elem = (uint64_t)hone_dtype_bytes(from->engine->stat);
	const uint64_t row = tensor->rank > 1 ? (uint64_t)tensor->dim[tensor->rank - 1] * elem
					      : hn_state_bytes(from);

	return hn_state_read(from, (uint64_t)first_row * row, (uint64_t)n_rows * row, dst, err);
}

static enum hone_status
write_tensors(const char *path, struct hn_state_tensor *list, size_t n, struct hone_error *err)
{
	struct hn_tensor_out *out = hn_alloc((n + 1) * sizeof *out);
	enum hone_status st;

	for (size_t i = 0; i < n; i++) {
		const struct hone_param_spec *spec = &list[i].param->spec;

		out[i] = (struct hn_tensor_out){.name = list[i].name,
			.storage = hn_state_storage(list[i].engine),
			.rank = spec->rank,
			.fill = fill,
			.ctx = &list[i]};
		memcpy(out[i].dim, spec->dim, spec->rank * sizeof spec->dim[0]);
	}
	st = hn_safetensors_write(path, out, n, NULL, 0, err);
	free(out);
	return st;
}

/* So that reading back asks the disk and not our own memory; only a hint. */
static void
drop_cache(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	(void)close(fd);
}

static enum hone_status
compare_tensor(const struct hn_state_tensor *tensor, const struct hn_tensor_info *stored,
	const struct hn_tensor_file *file, void *buffer, struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	for (uint64_t at = 0; at < stored->n_bytes && !st; at += COMPARE_BYTES) {
		const uint64_t left = stored->n_bytes - at;
		const uint64_t n = left < COMPARE_BYTES ? left : COMPARE_BYTES;

		st = hn_state_read(tensor, at, n, buffer, err);
		if (!st && memcmp(buffer, stored->bytes + at, (size_t)n) != 0)
			st = hone_fail_at(err, HONE_EIO, file->path, 0, 0,
				"reads back with other bytes than were written (tensor "
				"\"%.200s\"); the disk or the memory is faulty",
				tensor->name);
		hn_tensor_file_forget(file);
	}
	return st;
}

static enum hone_status
read_back(const char *path, const struct hn_state_tensor *list, size_t n, struct hone_error *err)
{
	const struct hn_tensor_info **found = hn_alloc((n + 1) * sizeof *found);
	void *buffer = hn_alloc(COMPARE_BYTES);
	struct hn_tensor_file file;
	enum hone_status st;

	drop_cache(path);
	st = hn_state_open(&file, path, list, n, found, err);
	for (size_t i = 0; i < n && !st; i++)
		st = compare_tensor(&list[i], found[i], &file, buffer, err);
	hn_tensor_file_close(&file);
	free(buffer);
	free(found);
	return st;
}

static enum hone_status
save_tensors(
	const char *dir, const struct hn_engine *engine, bool is_optimizer, struct hone_error *err)
{
	char *path = hn_path_join(dir, is_optimizer ? HN_OPTIMIZER_FILE : HN_PARAMS_FILE);
	size_t n;
	struct hn_state_tensor *list = hn_state_list(engine, is_optimizer, &n);
	enum hone_status st = write_tensors(path, list, n, err);

	if (!st)
		st = read_back(path, list, n, err);
	hn_state_free(list, n);
	free(path);
	return st;
}

/* Everything into a new folder. */
static enum hone_status
write_folder(const char *dir, const struct hn_save_request *request, struct hone_error *err)
{
	char *config = hn_path_join(dir, HN_CONFIG_FILE);
	enum hone_status st = HONE_OK;

	if (mkdir(dir, 0777))
		st = hn_fail_errno(err, HONE_EIO, dir, "cannot be created", errno);
	if (!st)
		st = save_tensors(dir, request->engine, false, err);
	if (!st && request->engine->has_moments)
		st = save_tensors(dir, request->engine, true, err);
	if (!st)
		st = hn_file_replace(config, request->config, strlen(request->config), err);
	if (!st)
		st = hn_manifest_write(dir, request, err);
	free(config);
	return st ? st : hn_dir_sync(dir, err);
}

/* ---- room ---- */

static uint64_t
bytes_needed(const struct hn_save_request *request)
{
	uint64_t bytes = SLACK_BYTES + strlen(request->config);

	for (int is_optimizer = 0; is_optimizer <= request->engine->has_moments; is_optimizer++) {
		size_t n;
		struct hn_state_tensor *list = hn_state_list(request->engine, is_optimizer, &n);

		for (size_t i = 0; i < n; i++)
			bytes += hn_state_bytes(&list[i]) + strlen(list[i].name) + 128;
		hn_state_free(list, n);
	}
	return bytes;
}

/* UINT64_MAX where the file system does not say. */
static uint64_t
bytes_free(const char *path)
{
	struct statvfs info;

	if (statvfs(path, &info) || !info.f_frsize)
		return UINT64_MAX;
	return (uint64_t)info.f_frsize * (geteuid() ? info.f_bavail : info.f_bfree);
}

static enum hone_status
check_room(const char *path, uint64_t needed, struct hone_error *err)
{
	const uint64_t n = bytes_free(path);

	if (n >= needed)
		return HONE_OK;
	return hone_fail_at(err, HONE_EIO, path, 0, 0,
		"no room for a checkpoint: %" PRIu64 " bytes are needed, %" PRIu64
		" are free; free some space, or lower [checkpoint] save_total_limit",
		needed, n);
}

/* ---- moving into place ---- */

/* One of the same step is exchanged with the new one in a single move and lies under the
 * temporary name then; it goes when the move is synced.  File systems that know neither flag
 * (EINVAL) get a plain rename, before which the old one has to go. */
static enum hone_status
move_into_place(const char *from, const char *to, struct hone_error *err)
{
	const bool exists = hn_path_is_dir(to);
	const unsigned flag = exists ? RENAME_EXCHANGE : RENAME_NOREPLACE;
	int error = renameat2(AT_FDCWD, from, AT_FDCWD, to, flag) ? errno : 0;

	if (error == EINVAL || error == ENOSYS) {
		enum hone_status st = exists ? hn_dir_remove(to, err) : HONE_OK;

		if (st)
			return st;
		error = rename(from, to) ? errno : 0;
	}
	return error ? hn_fail_errno(err, HONE_EIO, to, "cannot be moved into its place", error)
		     : HONE_OK;
}

/* A link that names its neighbour, so the folder may be moved. */
enum hone_status
hn_checkpoint_mark_best(const struct hn_folder *folder, int64_t step, struct hone_error *err)
{
	char *link = hn_path_join(folder->checkpoints, HN_BEST_LINK);
	char *tmp = hn_path_join(folder->checkpoints, TMP_PREFIX HN_BEST_LINK);
	char *target = hn_step_path(folder, "", step);
	enum hone_status st = HONE_OK;

	(void)unlink(tmp);
	if (symlink(hn_path_base(target), tmp) || rename(tmp, link)) {
		st = hn_fail_errno(err, HONE_EIO, link, "cannot be set", errno);
		(void)unlink(tmp);
	}
	free(link);
	free(tmp);
	free(target);
	return st ? st : hn_dir_sync(folder->checkpoints, err);
}

/* ---- pruning ---- */

static void
remove_step(struct hn_folder *folder, int64_t step)
{
	char *path = hn_step_path(folder, "", step),
	     *trash = hn_step_path(folder, TRASH_PREFIX, step);
	struct hone_error err = {0};
	enum hone_status st = HONE_OK;

	if (rename(path, trash))
		st = hn_fail_errno(&err, HONE_EIO, path, "cannot be put aside", errno);
	if (!st)
		st = hn_dir_remove(trash, &err);
	if (st)
		hn_log_warn(folder->log, "an old checkpoint stays: %s: %s", err.place, err.text);
	free(path);
	free(trash);
}

/* Keeps `limit` up to the one just saved, and the best.  Steps after it are ones that the run
 * went back from because they were damaged: they must not count among the newest. */
static void
prune(struct hn_folder *folder, int64_t saved_step, int64_t limit)
{
	const int64_t best = hn_best_step(folder);
	struct hone_error err = {0};
	int64_t *steps, kept = 0;
	size_t n;

	if (hn_steps_list(folder, &steps, &n, &err))
		hn_log_warn(folder->log, "old checkpoints stay: %s: %s", err.place, err.text);
	for (size_t i = 0; i < n; i++) {
		if (steps[i] <= saved_step && kept < (limit > 1 ? limit : 1))
			kept++;
		else if (steps[i] != best)
			remove_step(folder, steps[i]);
	}
	free(steps);
}

/* ---- saving ---- */

/* What is left under a temporary name: a half-written folder, or one that was replaced. */
static enum hone_status
remove_leftover(const char *tmp, struct hone_error *err)
{
	return hn_path_is_dir(tmp) ? hn_dir_remove(tmp, err) : HONE_OK;
}

/* The protocol, up to the synced move. */
static enum hone_status
save_step(struct hn_folder *folder, const struct hn_save_request *request, struct hone_error *err)
{
	const int64_t step = request->progress->step;
	const uint64_t needed = bytes_needed(request);
	char *tmp = hn_step_path(folder, TMP_PREFIX, step), *place = hn_step_path(folder, "", step);
	enum hone_status st = remove_leftover(tmp, err);

	if (!st)
		st = check_room(folder->checkpoints, needed, err);
	if (!st) {
		st = write_folder(tmp, request, err);
		if (!st)
			st = move_into_place(tmp, place, err);
		if (!st)
			st = hn_dir_sync(folder->checkpoints, err);
		(void)remove_leftover(tmp, NULL);
		if (st)
			hone_error_while(err,
				"saving step %" PRId64 ": %" PRIu64 " bytes needed, %" PRIu64
				" free",
				step, needed, bytes_free(folder->checkpoints));
	}
	free(tmp);
	free(place);
	return st;
}

enum hone_status
hn_checkpoint_save(
	struct hn_folder *folder, const struct hn_save_request *request, struct hone_error *err)
{
	const int64_t step = request->progress->step;
	enum hone_status st = hn_folder_check_there(folder, err);

	if (!st && !hn_path_is_dir(folder->checkpoints)) {
		st = hn_dir_make(folder->checkpoints, err);
		if (!st)
			st = hn_dir_sync(folder->path, err);
	}
	if (!st)
		st = save_step(folder, request, err);
	if (!st && request->is_best)
		st = hn_checkpoint_mark_best(folder, step, err);
	if (!st)
		prune(folder, step, request->limit);
	return st;
}
