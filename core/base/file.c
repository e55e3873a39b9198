/*
 * file.c - reading: mapped, whole, hashed; and how an errno becomes a line.
 *
 * Mapping and hashing take regular files only and never block on a pipe.  Reading whole also
 * takes pipes and devices, bounded by the caller's limit and not by what fstat says.
 * Writing is in writer.c, folders and paths are in path.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/guard.h"

#define READ_BYTES ((size_t)1 << 18)

/* What a person can do about it; empty where nothing general helps. */
static const char *
remedy(int error)
{
	switch (error) {
	case ENOENT:
		return "; check the path";
	case EACCES:
	case EPERM:
		return "; check its permissions";
	case EROFS:
		return "; choose another folder";
	case ENOSPC:
	case EDQUOT:
		return "; free some space or choose another disk";
	case EFBIG:
		return "; raise the limit of file sizes (ulimit -f)";
	case EMFILE:
	case ENFILE:
		return "; raise the limit of open files (ulimit -n)";
	case ENOTDIR:
	case EISDIR:
		return "; name a file where a file is meant, a folder where a folder is";
	default:
		return "";
	}
}

/* What is the machine's fault is not the file's, whatever the caller opened. */
static enum hone_status
status_of(int error, enum hone_status of_file)
{
	switch (error) {
	case ENOMEM:
		return HONE_ENOMEM;
	case EMFILE:
	case ENFILE:
	case EIO:
	case ESTALE:
	case ENOSPC:
	case EDQUOT:
		return HONE_EIO;
	default:
		return of_file;
	}
}

/* "cannot be opened: No such file or directory; check the path": what was tried, what
 * the system says, what to do. */
enum hone_status
hn_fail_errno(struct hone_error *err, enum hone_status status, const char *path, const char *doing,
	int error)
{
	char text[128];

	return hone_fail_at(err, status_of(error, status), path, 0, 0, "%s: %s%s", doing,
		strerror_r(error, text, sizeof text), remedy(error));
}

/* read(2) that goes on after a signal. */
static ssize_t
read_some(int fd, void *bytes, size_t n)
{
	ssize_t got;

	do
		got = read(fd, bytes, n);
	while (got < 0 && errno == EINTR);
	return got;
}

/* Opens a regular file; O_NONBLOCK keeps a pipe without a writer from holding us. */
static enum hone_status
open_regular(int *out, struct stat *info, const char *path, enum hone_status on_error,
	struct hone_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	enum hone_status st = HONE_OK;

	if (fd < 0)
		return hn_fail_errno(err, on_error, path, "cannot be opened", errno);
	if (fstat(fd, info))
		st = hn_fail_errno(err, on_error, path, "cannot be examined", errno);
	else if (S_ISDIR(info->st_mode))
		st = hone_fail_at(err, on_error, path, 0, 0, "is a folder; name a file in it");
	else if (!S_ISREG(info->st_mode))
		st = hone_fail_at(err, on_error, path, 0, 0,
			"is a device, pipe or socket; a regular file is needed");
	if (st)
		(void)close(fd);
	else
		*out = fd;
	return st;
}

/* With the size, what tells that a file under a map was changed. */
static int64_t
mtime_ns(const struct stat *info)
{
	return (int64_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec;
}

/* What `bytes` of an empty file points to: the system maps no empty range. */
static const uint8_t no_bytes[1] = {0};

/* The descriptor stays open: hn_map_unchanged asks about this very file, whatever has
 * its name by then. */
enum hone_status
hn_map_open(struct hn_map *map, const char *path, enum hone_status on_error, struct hone_error *err)
{
	struct stat info;
	enum hone_status st;
	void *bytes = NULL;
	int fd = -1;

	*map = (struct hn_map){.fd = -1};
	st = open_regular(&fd, &info, path, on_error, err);
	if (st)
		return st;
	if (info.st_size > 0)
		bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED) {
		st = hn_fail_errno(err, on_error, path, "cannot be mapped", errno);
		(void)close(fd);
		return st;
	}
	map->bytes = bytes ? bytes : no_bytes;
	map->size = (uint64_t)info.st_size;
	map->mtime_ns = mtime_ns(&info);
	map->fd = fd;
	if (map->size)
		map->guard = hn_guard_add(map->bytes, map->size, path, fd, on_error);
	return HONE_OK;
}

/* Gives the pages back to the system; the next access reads them again. So walking a
 * large file once does not fill the memory. */
void
hn_map_forget(const struct hn_map *map)
{
	if (map->size)
		(void)madvise((void *)(uintptr_t)map->bytes, (size_t)map->size, MADV_DONTNEED);
}

void
hn_map_close(struct hn_map *map)
{
	if (map->bytes) {
		hn_guard_remove(map->guard);
		if (map->size)
			(void)munmap((void *)(uintptr_t)map->bytes, (size_t)map->size);
		(void)close(map->fd);
	}
	*map = (struct hn_map){.fd = -1};
}

bool
hn_map_unchanged(const struct hn_map *map)
{
	struct stat info;

	return map->bytes && !fstat(map->fd, &info) && (uint64_t)info.st_size == map->size &&
		mtime_ns(&info) == map->mtime_ns;
}

void
hn_map_accept(struct hn_map *map)
{
	struct stat info;

	if (map->bytes && !fstat(map->fd, &info))
		map->mtime_ns = mtime_ns(&info);
}

bool
hn_map_is_at(const struct hn_map *map, const char *path)
{
	struct stat own, there;

	return map->bytes && !fstat(map->fd, &own) && !stat(path, &there) &&
		own.st_dev == there.st_dev && own.st_ino == there.st_ino;
}

static enum hone_status
too_large(const char *path, uint64_t max_bytes, enum hone_status on_error, struct hone_error *err)
{
	return hone_fail_at(err, on_error, path, 0, 0,
		"is larger than the %" PRIu64 " bytes that such a file may have", max_bytes);
}

/* A file on its way into memory; cap does not count the NUL. */
struct contents {
	char *text;
	size_t len, cap, first_cap;
};

/* Doubles the buffer until the file ends.  The buffer holds at most max_bytes, one byte that
 * tells "more than that", and the NUL. */
static enum hone_status
read_to_end(int fd, const char *path, uint64_t max_bytes, enum hone_status on_error,
	struct contents *buffer, struct hone_error *err)
{
	size_t limit = max_bytes < SIZE_MAX / 4 ? (size_t)max_bytes + 1 : SIZE_MAX / 4;

	for (;;) {
		ssize_t got;

		if (buffer->len == buffer->cap) {
			size_t cap = buffer->cap ? buffer->cap * 2 : buffer->first_cap;
			char *grown;

			cap = cap < limit ? cap : limit;
			grown = realloc(buffer->text, cap + 1);
			if (!grown)
				return hone_fail_at(err, HONE_ENOMEM, path, 0, 0,
					"does not fit in memory: %zu bytes were refused", cap);
			buffer->text = grown;
			buffer->cap = cap;
		}
		got = read_some(fd, buffer->text + buffer->len, buffer->cap - buffer->len);
		if (got < 0)
			return hn_fail_errno(err, on_error, path, "cannot be read", errno);
		if (!got)
			return HONE_OK;
		buffer->len += (size_t)got;
		if (buffer->len > max_bytes)
			return too_large(path, max_bytes, on_error, err);
	}
}

/* The size that fstat gives is a hint for the first buffer. Files of /proc say 0, and
 * any file may grow while it is read; the limit holds for what is read. */
enum hone_status
hn_file_read(const char *path, uint64_t max_bytes, enum hone_status on_error, char **out,
	size_t *out_len, struct hone_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct contents buffer = {.first_cap = READ_BYTES};
	struct stat info;
	enum hone_status st;

	*out = NULL;
	*out_len = 0;
	if (fd < 0)
		return hn_fail_errno(err, on_error, path, "cannot be opened", errno);
	if (fstat(fd, &info))
		st = hn_fail_errno(err, on_error, path, "cannot be examined", errno);
	else if (S_ISDIR(info.st_mode))
		st = hone_fail_at(err, on_error, path, 0, 0, "is a folder; name a file in it");
	else if (S_ISREG(info.st_mode) && (uint64_t)info.st_size > max_bytes)
		st = too_large(path, max_bytes, on_error, err);
	else {
		/* One byte more than fstat says: the end is seen without growing. */
		if (info.st_size > 0)
			buffer.first_cap = (size_t)info.st_size + 1;
		st = read_to_end(fd, path, max_bytes, on_error, &buffer, err);
	}
	(void)close(fd);
	if (st) {
		free(buffer.text);
		return st;
	}
	buffer.text[buffer.len] = '\0';
	*out = buffer.text;
	*out_len = buffer.len;
	return HONE_OK;
}

/* High half first, as xxhsum prints it. */
static void
put_hex(XXH128_hash_t hash, char out[33])
{
	(void)snprintf(
		out, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64, (uint64_t)hash.low64);
}

void
hn_hash_hex(const void *bytes, size_t n, char out[33])
{
	put_hex(XXH3_128bits(bytes, n), out);
}

uint64_t
hn_hash64(const void *bytes, size_t n)
{
	return XXH3_64bits(bytes, n);
}

/* Read and not mapped, so that a file that is cut meanwhile is an error or another hash but
 * never a signal.  By offset: a mapped file's descriptor is shared. */
static enum hone_status
hash_descriptor(
	int fd, const char *path, enum hone_status on_error, char out[33], struct hone_error *err)
{
	XXH3_state_t *state = XXH3_createState();
	uint8_t *bytes = hn_alloc(READ_BYTES);
	enum hone_status st = HONE_OK;
	ssize_t got = 1;

	if (!state || XXH3_128bits_reset(state) == XXH_ERROR)
		st = hone_fail_at(err, HONE_ENOMEM, path, 0, 0, "cannot be hashed: no memory");
	for (off_t at = 0; !st && got; at += got) {
		do
			got = pread(fd, bytes, READ_BYTES, at);
		while (got < 0 && errno == EINTR);
		if (got < 0)
			st = hn_fail_errno(err, on_error, path, "cannot be read", errno);
		else
			(void)XXH3_128bits_update(state, bytes, (size_t)got);
	}
	if (!st)
		put_hex(XXH3_128bits_digest(state), out);
	(void)XXH3_freeState(state);
	free(bytes);
	return st;
}

enum hone_status
hn_map_hash(const struct hn_map *map, const char *path, enum hone_status on_error, char out[33],
	struct hone_error *err)
{
	return hash_descriptor(map->fd, path, on_error, out, err);
}

enum hone_status
hn_hash_file(const char *path, enum hone_status on_error, char out[33], struct hone_error *err)
{
	struct stat info;
	enum hone_status st;
	int fd;

	st = open_regular(&fd, &info, path, on_error, err);
	if (st)
		return st;
	st = hash_descriptor(fd, path, on_error, out, err);
	(void)close(fd);
	return st;
}
