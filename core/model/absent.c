/*
 * absent.c - the message for a model's path that names nothing.
 *
 * It says how far the path goes and what lies there: a name that is nearly the one that was
 * meant, or the models of the last folder that exists.  "org/name" of the Hugging Face hub
 * looks like a path of which two parts are missing; only that is told that nothing is fetched.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/str.h"
#include "model/checkpoint.h"

enum { SHOWN = 4, NAME_SHOWN = 60 };

/* A path cut where it ceases to be: `dir` exists, `missing` is the first part that does not,
 * and there are `n_missing` of these. */
struct cut {
	char *dir, *missing;
	size_t n_missing;
};

static struct cut
cut_path(const char *path)
{
	struct cut cut = {.dir = hn_path_dir(path), .n_missing = 1};

	cut.missing = hn_strdup(hn_path_base(path));
	while (!hn_path_is_dir(cut.dir) && !hn_streq(cut.dir, ".") && !hn_streq(cut.dir, "/")) {
		char *up = hn_path_dir(cut.dir);

		free(cut.missing);
		cut.missing = hn_strdup(hn_path_base(cut.dir));
		free(cut.dir);
		cut.dir = up;
		cut.n_missing++;
	}
	cut.missing[strcspn(cut.missing, "/")] = '\0'; /* slashes at the end */
	return cut;
}

static const char *
shown(const char *dir)
{
	return hn_streq(dir, ".") ? "the current folder" : dir;
}

static bool
is_model_file(const char *name)
{
	return hn_ends_with(name, ".gguf") || hn_ends_with(name, ".safetensors");
}

/* Folders are shown only where they are models. */
static bool
is_model_in(const char *dir, const char *name)
{
	char *path, *config;
	bool is;

	if (is_model_file(name))
		return true;
	path = hn_path_join(dir, name);
	config = hn_path_join(path, "config.json");
	is = hn_path_is_file(config);
	free(config);
	free(path);
	return is;
}

/* "; in models lie a.gguf, b.gguf and 3 more" */
static void
put_models(struct hn_str *out, const char *dir, char *const *names, size_t n)
{
	size_t n_models = 0;

	for (size_t i = 0; i < n; i++) {
		if (!is_model_in(dir, names[i]) || n_models++ >= SHOWN)
			continue;
		if (n_models == 1)
			hn_str_printf(out, "; in %.*s lie ", 2 * NAME_SHOWN, shown(dir));
		hn_str_printf(out, "%s%.*s", n_models > 1 ? ", " : "", NAME_SHOWN, names[i]);
	}
	if (n_models > SHOWN)
		hn_str_printf(out, " and %zu more", n_models - SHOWN);
	if (n_models == 0)
		hn_str_printf(out, "; no model lies in %.*s", 2 * NAME_SHOWN, shown(dir));
}

static void
put_near(struct hn_str *out, const char *path, const struct cut *cut)
{
	char **names = NULL;
	const char *near;
	size_t n = 0;

	if (hn_dir_list(cut->dir, &names, &n, NULL))
		return;
	near = hn_nearest(cut->missing, (const char *const *)names, n);
	if (near)
		hn_str_printf(out, "; did you mean '%.*s' in %.*s?", NAME_SHOWN, near,
			2 * NAME_SHOWN, shown(cut->dir));
	else if (cut->n_missing == 2 && !is_model_file(path))
		hn_str_printf(out,
			": no folder '%.*s' in %.*s; a name of the Hugging Face hub is no path, "
			"and "
			"hone downloads nothing: get the model first",
			NAME_SHOWN, cut->missing, 2 * NAME_SHOWN, shown(cut->dir));
	else if (cut->n_missing > 1)
		hn_str_printf(out, ": no folder '%.*s' in %.*s", NAME_SHOWN, cut->missing,
			2 * NAME_SHOWN, shown(cut->dir));
	else
		put_models(out, cut->dir, names, n);
	while (n)
		free(names[--n]);
	free(names);
}

enum hone_status
hn_fail_absent(const char *path, struct hone_error *err)
{
	struct hn_str near = {0};
	struct stat info;
	struct cut cut;

	if (stat(path, &info) == 0)
		return hone_fail_at(err, HONE_EMODEL, path, 0, 0,
			"is a device, pipe or socket; a folder or a regular file is needed");
	cut = cut_path(path);
	hn_str_puts(&near, "");
	put_near(&near, path, &cut);
	(void)hone_fail_at(
		err, HONE_EMODEL, path, 0, 0, "there is no such file or folder%s", near.text);
	hn_str_fini(&near);
	free(cut.dir);
	free(cut.missing);
	return HONE_EMODEL;
}
