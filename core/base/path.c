/*
 * path.c - folders, and paths as text.
 *
 * Paths are bytes with slashes; nothing here resolves "~", and ".." and links only
 * hn_path_normal does.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/str.h"

#define OPEN_FOLDERS_MAX 16

bool
hn_path_is_dir(const char *path)
{
	struct stat info;

	return !stat(path, &info) && S_ISDIR(info.st_mode);
}

bool
hn_path_is_file(const char *path)
{
	struct stat info;

	return !stat(path, &info) && S_ISREG(info.st_mode);
}

enum hone_status
hn_path_check_regular(const char *path, enum hone_status on_error, struct hone_error *err)
{
	const char *kind = "a device";
	struct stat info;

	if (stat(path, &info))
		return errno == ENOENT
			? HONE_OK
			: hn_fail_errno(err, on_error, path, "cannot be reached", errno);
	if (S_ISREG(info.st_mode))
		return HONE_OK;
	if (S_ISDIR(info.st_mode))
		return hone_fail_at(err, on_error, path, 0, 0, "is a folder; name a file in it");
	if (S_ISFIFO(info.st_mode))
		kind = "a pipe";
	else if (S_ISSOCK(info.st_mode))
		kind = "a socket";
	return hone_fail_at(err, on_error, path, 0, 0,
		"is %s; a regular file is needed: write what it gives to a file and name that",
		kind);
}

/* Makes each prefix that ends before a slash, then the whole.  A prefix that exists is fine
 * here: if it is no folder the next one fails with ENOTDIR. */
enum hone_status
hn_dir_make(const char *path, struct hone_error *err)
{
	char *prefix = hn_strdup(path);
	enum hone_status st = HONE_OK;
	int error;

	if (strlen(path) >= PATH_MAX) /* before its first folders are made */
		st = hn_fail_errno(err, HONE_EIO, path, "cannot be created", ENAMETOOLONG);
	for (size_t i = 1; path[0] && !st; i++) {
		if (path[i] != '/' && path[i])
			continue;
		prefix[i] = '\0';
		error = mkdir(prefix, 0777) ? errno : 0;
		if (error && error != EEXIST && !hn_path_is_dir(prefix))
			st = hn_fail_errno(err, HONE_EIO, prefix, "cannot be created", error);
		prefix[i] = path[i];
		if (!path[i])
			break;
	}
	if (!st && !hn_path_is_dir(path))
		st = hn_fail_errno(err, HONE_EIO, path, "cannot be created as a folder",
			path[0] ? ENOTDIR : ENOENT);
	free(prefix);
	return st;
}

/* What nftw calls for each entry; the folder comes after what is in it. */
static int
remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
	(void)info;
	(void)kind;
	(void)place;
	return remove(path);
}

/* Children before their folder, links as links. */
enum hone_status
hn_dir_remove(const char *path, struct hone_error *err)
{
	struct stat info;

	if (lstat(path, &info))
		return hn_fail_errno(err, HONE_EIO, path, "cannot be removed", errno);
	if (!S_ISDIR(info.st_mode))
		return hn_fail_errno(err, HONE_EIO, path, "cannot be removed", ENOTDIR);
	if (nftw(path, remove_one, OPEN_FOLDERS_MAX, FTW_DEPTH | FTW_PHYS))
		return hn_fail_errno(err, HONE_EIO, path, "cannot be removed", errno);
	return HONE_OK;
}

/* File systems that cannot sync a folder say EINVAL; they keep their own order. */
enum hone_status
hn_dir_sync(const char *path, struct hone_error *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum hone_status st = HONE_OK;

	if (fd < 0)
		return hn_fail_errno(err, HONE_EIO, path, "cannot be synced to disk", errno);
	if (fsync(fd) && errno != EINVAL)
		st = hn_fail_errno(err, HONE_EIO, path, "cannot be synced to disk", errno);
	(void)close(fd);
	return st;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
free_names(char **names, size_t n)
{
	while (n)
		free(names[--n]);
	free(names);
}

enum hone_status
hn_dir_list(const char *path, char ***names, size_t *n, struct hone_error *err)
{
	char **list = NULL;
	size_t len = 0, cap = 0;
	const struct dirent *entry;
	DIR *dir = opendir(path);
	int error;

	*names = NULL;
	*n = 0;
	if (!dir)
		return hn_fail_errno(err, HONE_EIO, path, "cannot be listed", errno);
	while (errno = 0, (entry = readdir(dir)) != NULL) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		list = hn_grow(list, &cap, len + 1, sizeof *list);
		list[len++] = hn_strdup(entry->d_name);
	}
	error = errno;
	(void)closedir(dir);
	if (error) {
		free_names(list, len);
		return hn_fail_errno(err, HONE_EIO, path, "cannot be listed", error);
	}
	if (len)
		qsort(list, len, sizeof *list, compare_names);
	*names = list;
	*n = len;
	return HONE_OK;
}

char *
hn_path_join(const char *dir, const char *name)
{
	size_t n = strlen(dir), m = strlen(name);
	char *path;

	if (name[0] == '/' || !n)
		return hn_strdup(name);
	while (n && dir[n - 1] == '/')
		n--;
	path = hn_alloc(n + 1 + m + 1);
	memcpy(path, dir, n);
	path[n] = '/';
	memcpy(path + n + 1, name, m);
	return path;
}

/* Offset of the last component; slashes at the end belong to it. */
static size_t
base_at(const char *path)
{
	size_t n = strlen(path);

	while (n && path[n - 1] == '/')
		n--;
	while (n && path[n - 1] != '/')
		n--;
	return n;
}

/* Takes "." and ".." out by the text alone. */
static char *
collapse(const char *path)
{
	struct hn_str out = {0};

	hn_str_puts(&out, "");
	for (const char *at = path; *at;) {
		const size_t n = strcspn(at, "/");

		if (n == 2 && at[0] == '.' && at[1] == '.') {
			while (out.len && out.text[--out.len] != '/')
				;
			out.text[out.len] = '\0';
		} else if (n && !(n == 1 && at[0] == '.')) {
			hn_str_putc(&out, '/');
			hn_str_add(&out, at, n);
		}
		at += n;
		at += strspn(at, "/");
	}
	if (!out.len)
		hn_str_putc(&out, '/');
	return hn_str_take(&out);
}

char *
hn_path_normal(const char *path)
{
	char here[PATH_MAX], *whole, *normal, *resolved;
	struct stat a, b;

	if (path[0] != '/' && !getcwd(here, sizeof here))
		return hn_strdup(path);
	whole = path[0] == '/' ? hn_strdup(path) : hn_path_join(here, path);
	normal = collapse(whole);
	/* "link/.." is the folder above what the link means, and not the one that holds it. */
	if (!stat(whole, &a) &&
		(stat(normal, &b) || a.st_dev != b.st_dev || a.st_ino != b.st_ino) &&
		(resolved = realpath(whole, NULL))) {
		free(normal);
		normal = hn_strdup(resolved);
		free(resolved);
	}
	free(whole);
	return normal;
}

char *
hn_path_dir(const char *path)
{
	size_t n = base_at(path);
	char *dir;

	if (!n)
		return hn_strdup(path[0] == '/' ? "/" : ".");
	while (n > 1 && path[n - 1] == '/')
		n--;
	dir = hn_alloc(n + 1);
	memcpy(dir, path, n);
	return dir;
}

const char *
hn_path_base(const char *path)
{
	return path + base_at(path);
}
