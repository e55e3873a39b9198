/*
 * writer.c - files that are replaced as a whole or not at all.
 *
 * Bytes go to "<path>.tmp-<pid>" in the same folder; commit syncs that file, renames it over
 * the place and syncs the folder, so that a reader, or the machine after a power cut, sees
 * the old file or the new one.  The first error of a writer is kept: whoever writes many
 * pieces may check only the commit.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/str.h"

#define BUFFER_BYTES ((size_t)1 << 16)

struct hn_writer {
	char *path, *temporary;
	int fd;
	struct hone_error first; /* status 0 = no error yet */
	size_t n;                /* bytes that wait in the buffer */
	unsigned char buffer[BUFFER_BYTES];
};

/* Keeps the first error and hands out that one every time. */
static enum hone_status
failed(struct hn_writer *writer, const char *doing, int error, struct hone_error *err)
{
	if (!writer->first.status)
		(void)hn_fail_errno(&writer->first, HONE_EIO, writer->path, doing, error);
	if (err)
		*err = writer->first;
	return HONE_EIO;
}

/* All n bytes: write(2) may take fewer, and a signal may come between. */
static enum hone_status
write_all(struct hn_writer *writer, const unsigned char *bytes, size_t n, struct hone_error *err)
{
	while (n) {
		ssize_t put = write(writer->fd, bytes, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return failed(writer, "cannot be written", put ? errno : EIO, err);
		bytes += put;
		n -= (size_t)put;
	}
	return HONE_OK;
}

/* A leftover under our own process id is from a process that is gone. */
static int
open_temporary(const char *path)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
	int fd = open(path, flags, 0666);

	if (fd < 0 && errno == EEXIST && !unlink(path))
		fd = open(path, flags, 0666);
	return fd;
}

/* The temporary file is in the folder of its place, because a rename between file
 * systems is a copy, and a copy can be seen half done. */
enum hone_status
hn_writer_create(struct hn_writer **out, const char *path, struct hone_error *err)
{
	struct hn_writer *writer;
	struct hn_str temporary = {0};
	struct stat info;
	int fd, error;

	*out = NULL;
	/* A rename over a device would replace the device. */
	if (!stat(path, &info) && !S_ISREG(info.st_mode))
		return hone_fail_at(err, HONE_EIO, path, 0, 0,
			"cannot be written: it exists and is not a regular file; choose another "
			"name");
	hn_str_printf(&temporary, "%s.tmp-%ld", path, (long)getpid());
	fd = open_temporary(temporary.text);
	error = errno;
	if (fd < 0) {
		hn_str_fini(&temporary);
		return hn_fail_errno(err, HONE_EIO, path, "cannot be created", error);
	}
	writer = hn_alloc(sizeof *writer);
	writer->path = hn_strdup(path);
	writer->temporary = hn_str_take(&temporary);
	writer->fd = fd;
	*out = writer;
	return HONE_OK;
}

/* The buffer counts as empty even after an error: the writer has failed then, and what
 * was in it will not be asked for. */
static enum hone_status
flush(struct hn_writer *writer, struct hone_error *err)
{
	size_t n = writer->n;

	writer->n = 0;
	return write_all(writer, writer->buffer, n, err);
}

/* Small pieces are gathered, large ones go out as they are. After an error nothing is
 * written any more. */
enum hone_status
hn_writer_write(struct hn_writer *writer, const void *bytes, size_t n, struct hone_error *err)
{
	if (writer->first.status)
		return failed(writer, "", 0, err);
	if (n > BUFFER_BYTES - writer->n) {
		enum hone_status st = flush(writer, err);

		if (st)
			return st;
	}
	if (n >= BUFFER_BYTES)
		return write_all(writer, bytes, n, err);
	if (n)
		memcpy(writer->buffer + writer->n, bytes, n);
	writer->n += n;
	return HONE_OK;
}

static void
writer_free(struct hn_writer *writer)
{
	free(writer->path);
	free(writer->temporary);
	free(writer);
}

/* Sync before rename: else the new name may survive a power cut and its bytes not. The
 * writer is gone afterwards, whatever happened; on an error the old file is as it was. */
enum hone_status
hn_writer_commit(struct hn_writer *writer, struct hone_error *err)
{
	enum hone_status st = HONE_OK;
	char *dir;

	if (writer->first.status)
		st = failed(writer, "", 0, err);
	if (!st)
		st = flush(writer, err);
	if (!st && fsync(writer->fd))
		st = failed(writer, "cannot be synced to disk", errno, err);
	if (close(writer->fd) && !st)
		st = failed(writer, "cannot be closed", errno, err);
	if (!st && rename(writer->temporary, writer->path))
		st = failed(writer, "cannot be replaced", errno, err);
	if (st) {
		(void)unlink(writer->temporary);
		writer_free(writer);
		return st;
	}
	dir = hn_path_dir(writer->path);
	st = hn_dir_sync(dir, err);
	free(dir);
	writer_free(writer);
	return st;
}

/* NULL-safe, for the one exit of a function that failed somewhere. */
void
hn_writer_abandon(struct hn_writer *writer)
{
	if (!writer)
		return;
	(void)close(writer->fd);
	(void)unlink(writer->temporary);
	writer_free(writer);
}

enum hone_status
hn_file_replace(const char *path, const void *bytes, size_t n, struct hone_error *err)
{
	struct hn_writer *writer;
	enum hone_status st = hn_writer_create(&writer, path, err);

	if (st)
		return st;
	(void)hn_writer_write(writer, bytes, n, NULL);
	return hn_writer_commit(writer, err);
}
