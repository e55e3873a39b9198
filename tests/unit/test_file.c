/*
 * test_file.c - files read, mapped, hashed, replaced; folders and paths.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "support.h"

/* A folder with a fresh name; each test works below its own. */
static int
setup(void **state)
{
	*state = test_folder_make();
	return 0;
}

static int
teardown(void **state)
{
	test_folder_remove(*state);
	return 0;
}

static void
put(const char *path, const void *bytes, size_t n)
{
	struct hone_error err = {0};

	if (hn_file_replace(path, bytes, n, &err))
		fail_msg("%s: %s", err.place, err.text);
}

static void
assert_holds(const char *path, const void *bytes, size_t n)
{
	struct hone_error err = {0};
	char *text;
	size_t len;

	assert_int_equal(hn_file_read(path, 1 << 24, HONE_EDATA, &text, &len, &err), HONE_OK);
	assert_int_equal(len, n);
	assert_memory_equal(text, bytes, n);
	assert_int_equal(text[len], 0);
	free(text);
}

static void
assert_n_names(const char *path, size_t expected)
{
	struct hone_error err = {0};
	char **names;
	size_t n;

	assert_int_equal(hn_dir_list(path, &names, &n, &err), HONE_OK);
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
	assert_int_equal(n, expected);
}

/* Catches: a temporary left behind, a file cut at its old length, a NUL that ends it. */
static void
test_file_replace_shows_the_new_bytes_only(void **state)
{
	char *path = hn_path_join(*state, "a");

	put(path, "longer than before", 18);
	put(path, "x\0y", 3);
	assert_holds(path, "x\0y", 3);
	put(path, "", 0);
	assert_holds(path, "", 0);
	assert_n_names(*state, 1);
	free(path);
}

/* Catches: pieces lost or swapped where the buffer overflows, at every size around it. */
static void
test_file_writer_pieces_come_in_order(void **state)
{
	static const size_t sizes[] = {1, 65535, 1, 65536, 3, 65537, 0, 200000, 7};
	char *path = hn_path_join(*state, "pieces"), *all = test_malloc(500000);
	struct hone_error err = {0};
	struct hn_writer *writer;
	size_t n = 0;

	for (size_t i = 0; i < 500000; i++)
		all[i] = (char)(i * 31 % 251);
	assert_int_equal(hn_writer_create(&writer, path, &err), HONE_OK);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		assert_int_equal(hn_writer_write(writer, all + n, sizes[i], &err), HONE_OK);
		n += sizes[i];
		assert_false(hn_path_is_file(path));
	}
	assert_int_equal(hn_writer_commit(writer, &err), HONE_OK);
	assert_holds(path, all, n);
	test_free(all);
	free(path);
}

/* Catches: an abandoned writer that leaves or changes anything. */
static void
test_file_writer_abandon_leaves_the_old_file(void **state)
{
	char *path = hn_path_join(*state, "a");
	struct hone_error err = {0};
	struct hn_writer *writer;

	put(path, "old", 3);
	assert_int_equal(hn_writer_create(&writer, path, &err), HONE_OK);
	assert_int_equal(hn_writer_write(writer, "new", 3, &err), HONE_OK);
	hn_writer_abandon(writer);
	hn_writer_abandon(NULL);
	assert_holds(path, "old", 3);
	assert_n_names(*state, 1);
	free(path);
}

/* Catches: a leftover of a process that had our id and died, which would refuse us forever. */
static void
test_file_writer_stale_temporary_is_taken_over(void **state)
{
	char *path = hn_path_join(*state, "a"), stale[4096];

	(void)snprintf(stale, sizeof stale, "%s.tmp-%ld", path, (long)getpid());
	put(stale, "stale and longer", 16);
	put(path, "new", 3);
	assert_holds(path, "new", 3);
	assert_n_names(*state, 1);
	free(path);
}

/* Catches: a rename over a device or into nowhere, without a line. */
static void
test_file_replace_of_no_file_place_is_refused(void **state)
{
	char *nowhere = hn_path_join(*state, "missing/a"), *pipe = hn_path_join(*state, "pipe");
	struct hone_error err = {0};

	assert_int_equal(hn_file_replace(nowhere, "x", 1, &err), HONE_EIO);
	assert_string_equal(err.place, nowhere);
	assert_non_null(strstr(err.text, "No such file"));
	assert_int_equal(hn_file_replace(*state, "x", 1, &err), HONE_EIO);
	assert_non_null(strstr(err.text, "not a regular file"));
	assert_int_equal(mkfifo(pipe, 0600), 0);
	assert_int_equal(hn_file_replace(pipe, "x", 1, &err), HONE_EIO);
	free(nowhere);
	free(pipe);
}

/* Catches: a limit that is off by one, and one that is checked after the allocation. */
static void
test_file_read_above_limit_names_it(void **state)
{
	char *path = hn_path_join(*state, "a"), *text;
	struct hone_error err = {0};
	size_t len;

	put(path, "12345678", 8);
	assert_int_equal(hn_file_read(path, 8, HONE_EDATA, &text, &len, &err), HONE_OK);
	free(text);
	assert_int_equal(hn_file_read(path, 7, HONE_EDATA, &text, &len, &err), HONE_EDATA);
	assert_non_null(strstr(err.text, "7 bytes"));
	assert_null(text);
	/* A device has no size: the limit must hold while reading. */
	assert_int_equal(
		hn_file_read("/dev/zero", 1000, HONE_EDATA, &text, &len, &err), HONE_EDATA);
	assert_non_null(strstr(err.text, "1000 bytes"));
	assert_int_equal(hn_file_read("/dev/null", 0, HONE_EDATA, &text, &len, &err), HONE_OK);
	assert_int_equal(len, 0);
	free(text);
	free(path);
}

/* Catches: trusting fstat, which says 0 for files that the system makes up. */
static void
test_file_read_of_unknown_size_is_whole(void **state)
{
	struct hone_error err = {0};
	char *text;
	size_t len;

	(void)state;
	assert_int_equal(
		hn_file_read("/proc/self/status", 1 << 20, HONE_EDATA, &text, &len, &err), HONE_OK);
	assert_true(len > 100);
	assert_non_null(strstr(text, "Pid:"));
	free(text);
}

/* Catches: a buffer for streams that does not grow, or forgets what it held. */
static void
test_file_read_of_pipe_is_whole(void **state)
{
	enum { N = 1000000 };
	char *path = hn_path_join(*state, "pipe"), *bytes = test_malloc(N), *text;
	struct hone_error err = {0};
	size_t len;
	int status;
	pid_t child;

	for (size_t i = 0; i < N; i++)
		bytes[i] = (char)(i * 7 % 251);
	assert_int_equal(mkfifo(path, 0600), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		FILE *pipe = fopen(path, "w");

		_exit(pipe && fwrite(bytes, 1, N, pipe) == N && !fclose(pipe) ? 0 : 1);
	}
	assert_int_equal(hn_file_read(path, N, HONE_EDATA, &text, &len, &err), HONE_OK);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(len, N);
	assert_memory_equal(text, bytes, N);
	free(text);
	free(path);
	test_free(bytes);
}

/* Catches: a mapping of the wrong bytes, an empty file that fails, a change not noticed. */
static void
test_file_map_shows_bytes_and_changes(void **state)
{
	char *path = hn_path_join(*state, "a");
	struct hone_error err = {0};
	struct hn_map map = {0};
	FILE *file;

	hn_map_close(&map); /* of a zeroed map: must not close descriptor 0 */
	assert_true(fcntl(0, F_GETFD) >= 0);
	put(path, "weights", 7);
	assert_int_equal(hn_map_open(&map, path, HONE_EMODEL, &err), HONE_OK);
	assert_int_equal(map.size, 7);
	assert_memory_equal(map.bytes, "weights", 7);
	assert_true(hn_map_unchanged(&map));
	file = fopen(path, "a");
	assert_non_null(file);
	(void)fputc('!', file);
	(void)fclose(file);
	assert_false(hn_map_unchanged(&map));
	hn_map_close(&map);
	hn_map_close(&map);
	put(path, "", 0);
	assert_int_equal(hn_map_open(&map, path, HONE_EMODEL, &err), HONE_OK);
	assert_int_equal(map.size, 0);
	assert_non_null(map.bytes);
	assert_true(hn_map_unchanged(&map));
	hn_map_close(&map);
	free(path);
}

/* Catches: ".." and "." that stay, and a ".." behind a link that leads to another place. */
static void
test_file_path_normal_names_the_same_place(void **state)
{
	static const char *const cases[][2] = {{"/a/b/../c", "/a/c"}, {"/a/./b//c/", "/a/b/c"},
		{"/..", "/"}, {"/", "/"}, {"/a/../..", "/"}, {"/...a/..b", "/...a/..b"}};
	char here[4096], *deep = hn_path_join(*state, "deep/er"),
			 *link = hn_path_join(*state, "link");
	char *up = hn_path_join(link, ".."), *want = hn_path_join(*state, "deep"), *real, *is;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		is = hn_path_normal(cases[i][0]);
		assert_string_equal(is, cases[i][1]);
		free(is);
	}
	assert_non_null(getcwd(here, sizeof here));
	is = hn_path_normal("./x/../y");
	assert_memory_equal(is, here, strlen(here));
	assert_string_equal(is + strlen(here), "/y");
	free(is);
	assert_int_equal(hn_dir_make(deep, NULL), HONE_OK);
	assert_int_equal(symlink("deep/er", link), 0);
	is = hn_path_normal(link);
	assert_string_equal(hn_path_base(is), "link"); /* the name that a person gave */
	free(is);
	is = hn_path_normal(up);
	real = realpath(want, NULL);
	assert_string_equal(is, real);
	free(real);
	free(is);
	free(deep);
	free(link);
	free(up);
	free(want);
}

/* Catches: an open that hangs on a pipe, and errors that do not say what is there. */
static void
test_file_map_of_no_file_says_why(void **state)
{
	char *pipe = hn_path_join(*state, "pipe"), *missing = hn_path_join(*state, "missing");
	struct hone_error err = {0};
	struct hn_map map;

	assert_int_equal(mkfifo(pipe, 0600), 0);
	assert_int_equal(hn_map_open(&map, *state, HONE_EMODEL, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "is a folder"));
	assert_int_equal(hn_map_open(&map, pipe, HONE_EMODEL, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "pipe"));
	assert_int_equal(hn_map_open(&map, "/dev/zero", HONE_EDATA, &err), HONE_EDATA);
	assert_non_null(strstr(err.text, "device"));
	assert_int_equal(hn_map_open(&map, missing, HONE_EMODEL, &err), HONE_EMODEL);
	assert_string_equal(err.place, missing);
	assert_non_null(strstr(err.text, "No such file"));
	assert_non_null(strstr(err.text, "check the path"));
	hn_map_close(&map);
	free(pipe);
	free(missing);
}

/* Catches: a hash in pieces that differs from the hash at once, and another byte order than
 * xxh128sum's, whose line for an empty file is the constant. */
static void
test_file_hash_of_file_equals_hash_of_bytes(void **state)
{
	char *path = hn_path_join(*state, "a"), *bytes = test_calloc(600001, 1);
	char of_bytes[33], of_file[33];
	struct hone_error err = {0};

	for (size_t i = 0; i < 600001; i++)
		bytes[i] = (char)(i % 253);
	put(path, bytes, 600001);
	hn_hash_hex(bytes, 600001, of_bytes);
	assert_int_equal(hn_hash_file(path, HONE_EDATA, of_file, &err), HONE_OK);
	assert_string_equal(of_bytes, of_file);
	assert_int_equal(strlen(of_file), 32);
	hn_hash_hex("", 0, of_bytes);
	assert_string_equal(of_bytes, "99aa06d3014798d86001c324468d497f");
	assert_int_equal(hn_hash_file(*state, HONE_EDATA, of_file, &err), HONE_EDATA);
	assert_true(hn_hash64("a", 1) != hn_hash64("b", 1));
	test_free(bytes);
	free(path);
}

/* Catches: mkdir -p that stops at what exists, doubles slashes, or climbs over a file. */
static void
test_file_dir_make_all_prefixes(void **state)
{
	char *deep = hn_path_join(*state, "a//b/c/"), *file = hn_path_join(*state, "file");
	char *below = hn_path_join(file, "x");
	struct hone_error err = {0};

	assert_int_equal(hn_dir_make(deep, &err), HONE_OK);
	assert_int_equal(hn_dir_make(deep, &err), HONE_OK);
	assert_true(hn_path_is_dir(deep));
	assert_int_equal(hn_dir_make("/", &err), HONE_OK);
	put(file, "x", 1);
	assert_int_equal(hn_dir_make(below, &err), HONE_EIO);
	assert_int_equal(hn_dir_make(file, &err), HONE_EIO);
	assert_string_equal(err.place, file);
	assert_int_equal(hn_dir_make("", &err), HONE_EIO);
	assert_true(hn_path_is_file(file));
	assert_false(hn_path_is_dir(file));
	assert_false(hn_path_is_file(deep));
	free(deep);
	free(file);
	free(below);
}

/* Catches: a removal that follows a link out of the folder. */
static void
test_file_dir_remove_keeps_what_links_show(void **state)
{
	char *tree = hn_path_join(*state, "tree/sub"), *kept = hn_path_join(*state, "kept");
	char *link = hn_path_join(tree, "link"), *file = hn_path_join(tree, "file");
	char *inside = hn_path_join(kept, "inside"), *top = hn_path_dir(tree);
	char *top_link = hn_path_join(*state, "top_link");
	struct hone_error err = {0};

	assert_int_equal(hn_dir_make(tree, &err), HONE_OK);
	assert_int_equal(hn_dir_make(kept, &err), HONE_OK);
	put(inside, "x", 1);
	put(file, "x", 1);
	assert_int_equal(symlink(kept, link), 0);
	assert_int_equal(symlink(kept, top_link), 0);
	assert_int_equal(hn_dir_remove(top, &err), HONE_OK);
	assert_false(hn_path_is_dir(top));
	assert_int_equal(hn_dir_remove(top_link, &err), HONE_EIO);
	assert_int_equal(hn_dir_remove(inside, &err), HONE_EIO);
	assert_int_equal(hn_dir_remove(top, &err), HONE_EIO);
	assert_true(hn_path_is_file(inside));
	free(tree);
	free(kept);
	free(link);
	free(file);
	free(inside);
	free(top);
	free(top_link);
}

/* Catches: the order of the disk instead of bytes, and "." among the names. */
static void
test_file_dir_list_is_sorted_by_bytes(void **state)
{
	static const char *const sorted[] = {"B", "a", "a1", "b", "\xC3\xA9"};
	static const int order[] = {3, 0, 4, 2, 1};
	struct hone_error err = {0};
	char **names;
	size_t n;

	for (int i = 0; i < 5; i++) {
		char *path = hn_path_join(*state, sorted[order[i]]);

		put(path, "", 0);
		free(path);
	}
	assert_int_equal(hn_dir_list(*state, &names, &n, &err), HONE_OK);
	assert_int_equal(n, 5);
	for (size_t i = 0; i < n; i++) {
		assert_string_equal(names[i], sorted[i]);
		free(names[i]);
	}
	free(names);
	assert_int_equal(hn_dir_list("/nonexistent", &names, &n, &err), HONE_EIO);
	assert_null(names);
	assert_int_equal(hn_dir_sync(*state, &err), HONE_OK);
	assert_int_equal(hn_dir_sync("/nonexistent", &err), HONE_EIO);
}

static void
assert_path(char *made, const char *expected)
{
	assert_string_equal(made, expected);
	free(made);
}

/* Catches: doubled slashes, an absolute name that is joined, "" where "." or "/" belongs. */
static void
test_file_path_join_and_dir(void **state)
{
	(void)state;
	assert_path(hn_path_join("a", "b"), "a/b");
	assert_path(hn_path_join("a//", "b"), "a/b");
	assert_path(hn_path_join("/", "b"), "/b");
	assert_path(hn_path_join("a", "/b"), "/b");
	assert_path(hn_path_join("", "b"), "b");
	assert_path(hn_path_dir("a/b/c"), "a/b");
	assert_path(hn_path_dir("a//b"), "a");
	assert_path(hn_path_dir("a/b/"), "a");
	assert_path(hn_path_dir("a"), ".");
	assert_path(hn_path_dir("/a"), "/");
	assert_path(hn_path_dir("/"), "/");
	assert_path(hn_path_dir(""), ".");
	assert_string_equal(hn_path_base("a/b.c"), "b.c");
	assert_string_equal(hn_path_base("b"), "b");
	assert_string_equal(hn_path_base("/b"), "b");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_file_replace_shows_the_new_bytes_only),
		CASE(test_file_writer_pieces_come_in_order),
		CASE(test_file_writer_abandon_leaves_the_old_file),
		CASE(test_file_writer_stale_temporary_is_taken_over),
		CASE(test_file_replace_of_no_file_place_is_refused),
		CASE(test_file_read_above_limit_names_it),
		CASE(test_file_read_of_unknown_size_is_whole),
		CASE(test_file_read_of_pipe_is_whole),
		CASE(test_file_map_shows_bytes_and_changes),
		CASE(test_file_path_normal_names_the_same_place),
		CASE(test_file_map_of_no_file_says_why),
		CASE(test_file_hash_of_file_equals_hash_of_bytes),
		CASE(test_file_dir_make_all_prefixes),
		CASE(test_file_dir_remove_keeps_what_links_show),
		CASE(test_file_dir_list_is_sorted_by_bytes),
		CASE(test_file_path_join_and_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
