/*
 * base/file.h - files: mapped, read whole, replaced atomically.
 *
 * Errors name path and cause.  Reading fails with the status that the caller gives (a data
 * file, a model file); writing fails with HONE_EIO.
 */
#ifndef HN_BASE_FILE_H
#define HN_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hone/status.h>

struct hn_guarded;

/* A file mapped read-only.  One that is cut while mapped ends the process with a line and the
 * exit code of hn_map_open's status (base/guard.h); hn_map_unchanged says whether the file still
 * has the size and mtime that it was opened with, before anything is made of it.  `bytes` is
 * never NULL while open, and closing a zeroed or closed map does nothing. */
struct hn_map {
	const uint8_t *bytes;
	uint64_t size;
	int64_t mtime_ns;
	int fd;
	struct hn_guarded *guard;
};

/* Fills err with "<doing>: <the system's text>; <what helps>", for example
 * hn_fail_errno(err, HONE_EIO, path, "cannot be written", errno).  No memory, no descriptors and
 * a failing disk have their own status instead of `status`; it is returned. */
enum hone_status hn_fail_errno(struct hone_error *err, enum hone_status status, const char *path,
	const char *doing, int error);

enum hone_status hn_map_open(
	struct hn_map *map, const char *path, enum hone_status on_error, struct hone_error *err);
void hn_map_close(struct hn_map *map);
bool hn_map_unchanged(const struct hn_map *map);
/* Takes the file's time of now for the one that it has: it was looked at and is the same. */
void hn_map_accept(struct hn_map *map);
/* Whether `path` names the mapped file, and not one that took its place or none at all. */
bool hn_map_is_at(const struct hn_map *map, const char *path);
/* Gives back the memory that reading a map has taken: for a file that is read once, piece by
 * piece, as when it is compared.  What is needed again is read from the file again. */
void hn_map_forget(const struct hn_map *map);

/* The whole file, NUL-terminated; the caller frees.  At most `max_bytes` (an error beyond). */
enum hone_status hn_file_read(const char *path, uint64_t max_bytes, enum hone_status on_error,
	char **out, size_t *out_len, struct hone_error *err);

/* Writes beside the place (".tmp-<pid>"), syncs, renames over it, syncs the folder.  On any
 * error the old file is untouched and the temporary is gone; only where the sync of the folder
 * fails, which is last, the new file stands and may not outlive a power cut. */
enum hone_status hn_file_replace(
	const char *path, const void *bytes, size_t n, struct hone_error *err);

/* A file written piece by piece with the same guarantee: create, write..., commit | abandon.
 * After a failed write the first error is kept and commit returns it. */
struct hn_writer;
enum hone_status hn_writer_create(struct hn_writer **out, const char *path, struct hone_error *err);
enum hone_status hn_writer_write(
	struct hn_writer *writer, const void *bytes, size_t n, struct hone_error *err);
enum hone_status hn_writer_commit(struct hn_writer *writer, struct hone_error *err); /* frees */
void hn_writer_abandon(struct hn_writer *writer); /* frees; NULL-safe */

bool hn_path_is_dir(const char *path);
bool hn_path_is_file(const char *path);
/* HONE_OK for a regular file, and where nothing is there: who opens it says so.  Anything else
 * is named (a folder, a pipe, a socket, a device, no right to look), with what to do. */
enum hone_status hn_path_check_regular(
	const char *path, enum hone_status on_error, struct hone_error *err);
/* mkdir -p. */
enum hone_status hn_dir_make(const char *path, struct hone_error *err);
/* Removes a folder and what is in it; does not follow links. */
enum hone_status hn_dir_remove(const char *path, struct hone_error *err);
enum hone_status hn_dir_sync(const char *path, struct hone_error *err);
/* Names in a folder, sorted by bytes, without "." and ".."; free each and the array. */
enum hone_status hn_dir_list(const char *path, char ***names, size_t *n, struct hone_error *err);
/* Joins with one slash; `name` absolute -> a copy of name.  The caller frees. */
char *hn_path_join(const char *dir, const char *name);
/* Absolute and without ".", ".." and double slashes, naming the same place: what is written
 * down for another time or another program.  Links stay, except one before a ".." that would
 * lead elsewhere.  The caller frees. */
char *hn_path_normal(const char *path);
/* The folder part ("." when none); the caller frees. */
char *hn_path_dir(const char *path);
/* Last component, borrowed. */
const char *hn_path_base(const char *path);

/* XXH3 128-bit of bytes or of a file, as 32 hex digits and NUL (what xxh128sum prints):
 * identity of content, not security. */
void hn_hash_hex(const void *bytes, size_t n, char out[33]);
uint64_t hn_hash64(const void *bytes, size_t n);
enum hone_status hn_hash_file(
	const char *path, enum hone_status on_error, char out[33], struct hone_error *err);
/* The same of a mapped file as it is now, by its descriptor: it is read through a small buffer,
 * so the memory that the mapping takes does not grow.  `path` is for messages. */
enum hone_status hn_map_hash(const struct hn_map *map, const char *path, enum hone_status on_error,
	char out[33], struct hone_error *err);

#endif
