/*
 * test_export_place.c - where `hone export --to` writes, and what it leaves alone.
 *
 * Would catch: somebody's file that goes with an older export, a mistyped folder that ends as
 * a failure of the disk, an older export that is gone when the new one fails, a replacement
 * that nobody is told of.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli.h"
#include "support.h"

static void
make_dir(const struct cli *cli, const char *name)
{
	char *path = hn_path_join(cli->folder, name);

	assert_int_equal(mkdir(path, 0755), 0);
	free(path);
}

static void
test_export_place_foreign_file_is_named_and_stays(void **state)
{
	static const struct {
		const char *to, *names; /* what stands before the colon */
	} rows[] = {
		{"thesis", "error: thesis/chapter.txt: hone did not write this"},
		{"mixed", "error: mixed/notes.txt: hone did not write this"},
		{"card", "error: card/README.md: hone did not write this"},
		{"file", "error: file: this is no folder"},
	};
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	make_dir(&cli, "thesis");
	cli_write(&cli, "thesis/chapter.txt", "years of work\n");
	make_dir(&cli, "card");
	cli_write(&cli, "card/README.md", "# mine\n");
	cli_write(&cli, "file", "a file\n");
	assert_int_equal(cli_run(&cli, "export", "run.ini", "--base", "--to", "mixed", NULL), 0);
	cli_write(&cli, "mixed/notes.txt", "kept\n");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		(void)cli_run(&cli, "export", "run.ini", "--base", "--to", rows[i].to, NULL);
		cli_expect(&cli, 2, rows[i].names, "name another", NULL);
	}
	assert_true(cli_has(&cli, "thesis/chapter.txt"));
	assert_true(cli_has(&cli, "mixed/notes.txt"));
	assert_true(cli_has(&cli, "mixed/model.safetensors"));
	assert_true(cli_has(&cli, "file"));
	cli_close(&cli);
}

/* An older export is replaced where it is, also behind a link, and that is said. */
static void
test_export_place_older_export_is_replaced_and_told(void **state)
{
	struct stat info;
	struct cli cli;
	json_t *root;
	char *link;

	(void)state;
	cli_open(&cli, NULL);
	(void)cli_run(&cli, "export", "run.ini", "--base", "--to", "place", "--json", NULL);
	root = cli_json(&cli, "hone.export/1");
	assert_true(json_is_false(json_object_get(root, "replaced")));
	json_decref(root);
	link = hn_path_join(cli.folder, "link");
	assert_int_equal(symlink("place", link), 0);
	(void)cli_run(&cli, "export", "run.ini", "--base", "--to", "link/", NULL);
	cli_expect(&cli, 0, NULL);
	assert_non_null(strstr(cli.out, "it replaces the older export"));
	assert_int_equal(lstat(link, &info), 0);
	assert_true(S_ISLNK(info.st_mode));
	(void)cli_run(&cli, "export", "run.ini", "--base", "--to", "place", "--json", NULL);
	root = cli_json(&cli, "hone.export/1");
	assert_true(json_is_true(json_object_get(root, "replaced")));
	json_decref(root);
	free(link);
	cli_close(&cli);
}

/* The disk takes no more: the older export is what it was, and nothing lies beside it. */
static void
test_export_place_failed_export_leaves_the_older_one(void **state)
{
	char *weights, before[33], after[33], **names = NULL;
	struct hone_error err = {0};
	struct cli cli;
	size_t n = 0, n_after = 0;

	(void)state;
	cli_open(&cli, NULL);
	assert_int_equal(cli_run(&cli, "export", "run.ini", "--base", "--to", "place", NULL), 0);
	weights = hn_path_join(cli.folder, "place/model.safetensors");
	assert_int_equal(hn_hash_file(weights, HONE_EIO, before, &err), HONE_OK);
	assert_int_equal(hn_dir_list(cli.folder, &names, &n, &err), HONE_OK);
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
	cli.file_limit = 4096;
	(void)cli_run(
		&cli, "export", "run.ini", "--base", "--dtype", "bf16", "--to", "place", NULL);
	cli_expect(&cli, 8, NULL);
	assert_int_equal(hn_hash_file(weights, HONE_EIO, after, &err), HONE_OK);
	assert_string_equal(before, after);
	assert_int_equal(hn_dir_list(cli.folder, &names, &n_after, &err), HONE_OK);
	assert_int_equal(n, n_after);
	for (size_t i = 0; i < n_after; i++)
		free(names[i]);
	free(names);
	free(weights);
	cli_close(&cli);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_export_place_foreign_file_is_named_and_stays),
		cmocka_unit_test(test_export_place_older_export_is_replaced_and_told),
		cmocka_unit_test(test_export_place_failed_export_leaves_the_older_one),
	};

	return cmocka_run_group_tests_name("export_place", tests, NULL, NULL);
}
