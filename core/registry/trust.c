/*
 * trust.c - owners and permissions along a path.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "registry/trust.h"

/* Is the group of `info` the user's own: same name, and no other member? */
static bool
is_private_group(const struct stat *info)
{
	const struct passwd *user;
	const struct group *group;
	char *name;
	bool is_private;

	if (info->st_uid != geteuid() || info->st_gid != getegid())
		return false;
	user = getpwuid(info->st_uid);
	if (!user)
		return false;
	name = hn_strdup(user->pw_name);
	group = getgrgid(info->st_gid);
	is_private = group && strcmp(group->gr_name, name) == 0;
	for (char **member = group ? group->gr_mem : NULL; member && *member; member++)
		is_private = is_private && strcmp(*member, name) == 0;
	free(name);
	return is_private;
}

static enum hone_status
check_component(const char *path, struct hone_error *err)
{
	struct stat info;
	mode_t open;

	if (stat(path, &info))
		return hn_fail_errno(err, HONE_EPLUGIN, path, "cannot be examined", errno);
	if (info.st_uid != 0 && info.st_uid != geteuid())
		return hone_fail_at(err, HONE_EPLUGIN, path, 0, 0,
			"owner: found uid %lu, expected root or uid %lu; copy it to a folder of "
			"yours, or chown it",
			(unsigned long)info.st_uid, (unsigned long)geteuid());
	open = info.st_mode & (S_IWGRP | S_IWOTH);
	if (S_ISDIR(info.st_mode) && info.st_mode & S_ISVTX)
		open = 0;
	if (open == S_IWGRP && is_private_group(&info))
		open = 0;
	if (open)
		return hone_fail_at(err, HONE_EPLUGIN, path, 0, 0,
			"permissions: found %04o, expected no write access for group and others; "
			"chmod go-w it",
			(unsigned)(info.st_mode & 07777));
	return HONE_OK;
}

enum hone_status
hn_trust_check(const char *real, struct hone_error *err)
{
	char *prefix = hn_strdup(real);
	enum hone_status st = check_component("/", err);

	for (size_t i = 1; prefix[0] && !st; i++) {
		if (real[i] != '/' && real[i])
			continue;
		prefix[i] = '\0';
		st = check_component(prefix, err);
		prefix[i] = real[i];
		if (!real[i])
			break;
	}
	free(prefix);
	return st;
}
