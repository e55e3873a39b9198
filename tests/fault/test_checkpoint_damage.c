/*
 * test_checkpoint_damage.c - checkpoints that lie on the disk otherwise than this run saved them.
 *
 * Damaged, forged, renamed, of another run: the newest whole one of this run comes back bit for
 * bit, or there is a line that says why not; nothing is half loaded.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "state_bench.h"
#include "support.h"

#define SITES   "q_proj, v_proj"
#define N_FLIPS 200

static struct bench_model bench; /* one engine for all cases; children get copies */

static int
setup(void **state)
{
	(void)state;
	state_bench_open(&bench, 4, SITES, HONE_DTYPE_F32);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	bench_close(&bench);
	return 0;
}

/* ---- damage ---- */

/* Changes one byte in place. */
static void
flip(const char *path, int64_t at)
{
	FILE *file = fopen(path, "r+b");
	int byte;

	assert_non_null(file);
	assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
	byte = fgetc(file);
	assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
	assert_int_equal(fputc(byte ^ 0x10, file), byte ^ 0x10);
	assert_int_equal(fclose(file), 0);
}

static int64_t
size_of(const char *path)
{
	struct stat info;

	assert_int_equal(stat(path, &info), 0);
	return (int64_t)info.st_size;
}

static const char *const names[] = {
	"manifest.json", "params.safetensors", "optimizer.safetensors", "config.ini"};

/* A folder with steps 1 and 2, and the path of a file of step 2. */
struct damaged {
	char *path, *file;
	struct hn_folder folder;
	struct hn_log log;
};

static void
damaged_open(struct damaged *on, const char *name)
{
	struct hn_str file = {0};

	on->path = test_folder_make_in_memory();
	state_folder_open(&on->folder, &on->log, on->path);
	state_save_whole(&bench, &on->folder, 1, 1, false, 2);
	state_save_whole(&bench, &on->folder, 2, 2, false, 2);
	hn_str_printf(&file, "%s/step-000002/%s", on->folder.checkpoints, name);
	on->file = hn_str_take(&file);
}

static void
damaged_close(struct damaged *on)
{
	hn_folder_close(&on->folder);
	free(on->file);
	test_folder_remove(on->path);
}

/* The newest whole one is `step`, and the log says so when it is not the newest. */
static void
expect_newest(struct damaged *on, int64_t step)
{
	struct hn_progress progress;
	char *path = hn_path_join(on->path, "log.txt"), *text;
	struct hone_error err = {0};
	size_t len;

	assert_int_equal(state_load_newest(&bench, &on->folder, &progress), step);
	state_expect(&bench, &progress, step);
	assert_int_equal(hn_file_read(path, 1 << 20, HONE_EIO, &text, &len, &err), HONE_OK);
	assert_int_equal(strstr(text, "step 2 is skipped") != NULL, step == 1);
	free(text);
	free(path);
}

/* Would catch: a file whose bytes, length or presence nobody checks. */
static void
test_checkpoint_damaged_file_falls_back_to_previous(void **state)
{
	(void)state;
	for (size_t i = 0; i < 4; i++)
		for (int how = 0; how < 4; how++) {
			struct damaged on;

			damaged_open(&on, names[i]);
			if (how == 0)
				flip(on.file, size_of(on.file) / 2);
			else if (how == 1)
				assert_int_equal(truncate(on.file, size_of(on.file) - 1), 0);
			else if (how == 2)
				assert_int_equal(truncate(on.file, size_of(on.file) + 1), 0);
			else
				assert_int_equal(unlink(on.file), 0);
			expect_newest(&on, 1);
			damaged_close(&on);
		}
}

/* Would catch: bytes of the manifest, or of the files, that no hash covers. */
static void
test_checkpoint_any_flipped_byte_is_found(void **state)
{
	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct damaged on;
		int64_t size;
		char *dir;

		damaged_open(&on, names[i]);
		size = size_of(on.file);
		dir = hn_path_dir(on.file);
		/* each byte of a small file, some of a large one */
		for (int64_t at = 0; at<size; at += size> 5000 ? size / N_FLIPS + 1 : 1) {
			struct hn_saved saved;
			struct hone_error err = {0};

			flip(on.file, at);
			if (hn_saved_open(&saved, dir, &err) != HONE_EIO)
				fail_msg("%s, byte %d", names[i], (int)at);
			assert_true(err.text[0] && hn_starts_with(err.place, dir));
			flip(on.file, at);
		}
		expect_newest(&on, 2);
		free(dir);
		damaged_close(&on);
	}
}

/* Would catch: a stray file (a file browser's) that costs a good checkpoint. */
static void
test_checkpoint_extra_file_is_no_damage(void **state)
{
	struct damaged on;
	struct hone_error err = {0};

	(void)state;
	damaged_open(&on, ".DS_Store");
	assert_int_equal(hn_file_replace(on.file, "x", 1, &err), HONE_OK);
	expect_newest(&on, 2);
	damaged_close(&on);
}

/* Would catch: a folder renamed by hand that is taken for another step. */
static void
test_checkpoint_renamed_folder_is_skipped(void **state)
{
	struct damaged on;
	struct hn_progress progress;
	char *from, *to;

	(void)state;
	damaged_open(&on, "");
	from = hn_path_join(on.folder.checkpoints, "step-000001");
	to = hn_path_join(on.folder.checkpoints, "step-000009");
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(state_load_newest(&bench, &on.folder, &progress), 2);
	free(from);
	free(to);
	damaged_close(&on);
}

/* Would catch: a run that begins anew because all of its checkpoints are damaged. */
static void
test_checkpoint_none_whole_is_an_error(void **state)
{
	struct damaged on;
	struct hn_saved saved;
	struct hone_error err = {0};
	char *first;

	(void)state;
	damaged_open(&on, "manifest.json");
	first = hn_path_join(on.folder.checkpoints, "step-000001/manifest.json");
	flip(on.file, 10);
	flip(first, 10);
	assert_int_equal(hn_checkpoint_newest(&on.folder, &saved, &err), HONE_EIO);
	assert_non_null(strstr(err.text, "none of 2 checkpoints is whole"));
	assert_non_null(strstr(err.text, "--fresh"));
	free(first);
	damaged_close(&on);
}

/* Would catch: a newer damaged checkpoint that counts among the newest, so that with a limit
 * of one the one just saved would be pruned. */
static void
test_checkpoint_saved_after_going_back_is_kept(void **state)
{
	struct damaged on;
	struct hn_progress progress;

	(void)state;
	damaged_open(&on, "manifest.json");
	flip(on.file, 10);
	state_save_whole(&bench, &on.folder, 1, 7, false, 1);
	assert_int_equal(state_load_newest(&bench, &on.folder, &progress), 1);
	state_expect(&bench, &progress, 7);
	state_expect_tidy(&on.folder, 1);
	damaged_close(&on);
}

/* ---- a manifest that somebody wrote ---- */

/* Replaces a text in the manifest of `dir` and makes its own hash right again. */
static void
forge(const char *path, const char *from, const char *to)
{
	struct hn_str text = {0};
	struct hone_error err = {0};
	char *old, *at, hash[33];
	size_t len;

	assert_int_equal(hn_file_read(path, 1 << 20, HONE_EIO, &old, &len, &err), HONE_OK);
	at = strstr(old, from);
	assert_non_null(at);
	hn_str_add(&text, old, (size_t)(at - old));
	hn_str_puts(&text, to);
	hn_str_puts(&text, at + strlen(from));
	at = strstr(text.text, ",\n  \"hash\": \"");
	assert_non_null(at);
	hn_hash_hex(text.text, (size_t)(at - text.text), hash);
	memcpy(at + strlen(",\n  \"hash\": \""), hash, 32);
	assert_int_equal(hn_file_replace(path, text.text, text.len, &err), HONE_OK);
	hn_str_fini(&text);
	free(old);
}

/* Would catch: a manifest whose hash is right and whose content is believed: names that lead
 * elsewhere, files that are not looked at, counters that are missing. */
static void
test_checkpoint_forged_manifest_is_refused(void **state)
{
	static const char *const forged[][3] = {
		{"hone.checkpoint/1", "hone.checkpoint/2", "this version reads"},
		{"\"config.ini\"", "\"../../../x\"", "does not know"},
		{"\"config.ini\"", "\"params.safetensors\"", "there twice"},
		{"\"name\": \"config.ini\"", "\"nam\": \"config.ini\"", "not as hone writes"},
		{"\"files\": [", "\"filez\": [", "not as hone writes"},
		{"\"step\": 2", "\"step\": 2.0", "no \"step\""},
		{"\"step\": 2", "\"stop\": 2", "no \"step\""},
		{"\"time_s\": 1", "\"time_z\": 1", "no \"time_s\""},
		{"\"best_metric\": \"", "\"best_matric\": \"", "no \"best_metric\""},
		{"\"note\": false", "\"note\": 0", "not as hone writes"},
		{"\"schema\": \"", "\"schema\": \"a\", \"schema\": \"", "not as hone writes"},
		{"\"bytes\": ", "\"bytes\": -", "the manifest says -"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
		struct damaged on;
		struct hn_saved saved;
		struct hone_error err = {0};
		char *dir;

		damaged_open(&on, "manifest.json");
		dir = hn_path_dir(on.file);
		forge(on.file, forged[i][0], forged[i][1]);
		if (hn_saved_open(&saved, dir, &err) != HONE_EIO)
			fail_msg("%s was believed", forged[i][1]);
		if (!strstr(err.text, forged[i][2]))
			fail_msg("'%s' does not say '%s'", err.text, forged[i][2]);
		free(dir);
		damaged_close(&on);
	}
}

/* ---- another run's checkpoint ---- */

/* Would catch: values loaded by position, a parameter that is left as it was initialised, an
 * engine that is half overwritten when loading is refused. */
static void
test_checkpoint_of_other_shapes_changes_nothing(void **state)
{
	struct bench_model other;
	struct hn_progress progress;
	struct hn_saved saved;
	struct damaged on;
	struct hone_error err = {0};

	(void)state;
	damaged_open(&on, "");
	state_bench_open(&other, 2, SITES, HONE_DTYPE_F32);
	state_set(&other, &progress, 5);
	assert_int_equal(hn_checkpoint_newest(&on.folder, &saved, &err), HONE_OK);
	assert_int_equal(hn_checkpoint_load(&saved, &other.engine, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "lora_A"));
	state_expect(&other, &progress, 5);
	bench_close(&other);
	/* fewer parameters: those that are left over are not ignored */
	state_bench_open(&other, 4, "q_proj", HONE_DTYPE_F32);
	state_set(&other, &progress, 6);
	assert_int_equal(hn_checkpoint_load(&saved, &other.engine, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "this run has"));
	state_expect(&other, &progress, 6);
	bench_close(&other);
	/* the same shapes in another type */
	state_bench_open(&other, 4, SITES, HONE_DTYPE_F64);
	assert_int_equal(hn_checkpoint_load(&saved, &other.engine, &err), HONE_EMODEL);
	assert_non_null(strstr(err.text, "f64 is needed"));
	bench_close(&other);
	hn_saved_close(&saved);
	damaged_close(&on);
}

/* Would catch: doubles that pass through float on their way. */
static void
test_checkpoint_of_f64_returns_bit_for_bit(void **state)
{
	struct bench_model wide;
	struct hn_progress progress;
	struct hn_folder folder;
	struct hn_saved saved;
	struct hn_log log;
	struct hone_error err = {0};
	char *path = test_folder_make_in_memory();

	(void)state;
	state_bench_open(&wide, 4, SITES, HONE_DTYPE_F64);
	state_folder_open(&folder, &log, path);
	assert_int_equal(state_save(&wide, &folder, 3, 3, false, 2, &err), HONE_OK);
	state_set(&wide, &progress, 4);
	assert_int_equal(hn_checkpoint_newest(&folder, &saved, &err), HONE_OK);
	assert_int_equal(hn_checkpoint_load(&saved, &wide.engine, &err), HONE_OK);
	state_expect(&wide, &saved.progress, 3);
	assert_int_equal(saved.n_facts, 2);
	assert_string_equal(saved.facts[0].value, "a \"quoted\" value");
	assert_true(saved.facts[1].is_note);
	assert_string_equal(saved.config, "[run]\noutput = o\n");
	hn_saved_close(&saved);
	hn_folder_close(&folder);
	bench_close(&wide);
	test_folder_remove(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_checkpoint_damaged_file_falls_back_to_previous),
		cmocka_unit_test(test_checkpoint_any_flipped_byte_is_found),
		cmocka_unit_test(test_checkpoint_extra_file_is_no_damage),
		cmocka_unit_test(test_checkpoint_renamed_folder_is_skipped),
		cmocka_unit_test(test_checkpoint_none_whole_is_an_error),
		cmocka_unit_test(test_checkpoint_saved_after_going_back_is_kept),
		cmocka_unit_test(test_checkpoint_forged_manifest_is_refused),
		cmocka_unit_test(test_checkpoint_of_other_shapes_changes_nothing),
		cmocka_unit_test(test_checkpoint_of_f64_returns_bit_for_bit),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
