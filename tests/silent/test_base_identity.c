/*
 * test_base_identity.c - a base model that is another one than a run began with.
 *
 * Would catch: a bit that flips in the middle of the weights, or an edited model under the same
 * name, and a run that goes on with it and saves; and the opposite, a run that is refused
 * because its model was only touched or copied.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "place.h"

/* Large enough that most of it is in no sample. */
enum { UNUSED_BYTES = 5 << 20, FLIPPED_AT = 2500003 };

#define WORDS PLACE_OWN_MODEL "--set train.num_train_epochs=400"

/* One bit in the middle of the model; `is_silent` puts the file's time back. */
static void
flip(const struct place *place, bool is_silent)
{
	char *path = place_path(place, "model/model.safetensors"), byte;
	const int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat info;

	assert_int_equal(fstat(fd, &info), 0);
	assert_int_equal(pread(fd, &byte, 1, FLIPPED_AT), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, FLIPPED_AT), 1);
	if (is_silent) {
		const struct timespec times[2] = {info.st_atim, info.st_mtim};

		assert_int_equal(futimens(fd, times), 0);
	}
	(void)close(fd);
	free(path);
}

/* A run that was stopped by SIGTERM after some checkpoints; gives the newest one's step. */
static int64_t
stopped_run(struct place *place)
{
	pid_t pid;

	place_open(place);
	place_copy_model(place, UNUSED_BYTES);
	pid = place_start(place, "train", "run.ini", WORDS);
	place_wait_saved(place, "run", 2);
	(void)kill(pid, SIGTERM);
	assert_int_equal(place_wait(pid).code, 143);
	return place_newest_step(place, "run");
}

/* Goes on, and saves. */
static void
goes_on(const struct place *place)
{
	const int64_t step = place_newest_step(place, "run");
	const pid_t pid = place_start(place, "train", "run.ini", WORDS);

	place_wait_saved(place, "run", step + 2);
	(void)kill(pid, SIGTERM);
	assert_int_equal(place_wait(pid).code, 143);
	place_assert_says(place, "going on from", NULL);
}

static void
assert_refused(const struct place *place, int64_t step)
{
	(void)place_run(place, "train", WORDS, 3);
	place_assert_says(place, "the base model is another one", "its content was", "and is",
		"--fresh", NULL);
	assert_int_equal(place_newest_step(place, "run"), step);
}

static void
test_base_identity_flipped_bit_is_refused_at_once(void **state)
{
	struct place place;
	int64_t step;

	(void)state;
	step = stopped_run(&place);
	flip(&place, false);
	assert_refused(&place, step);
	flip(&place, false); /* put back, at another time: the same model */
	goes_on(&place);
	place_close(&place);
}

/* The same size, time and samples: found before the next saving. */
static void
test_base_identity_silently_flipped_bit_is_refused_before_saving(void **state)
{
	struct place place;
	int64_t step;

	(void)state;
	step = stopped_run(&place);
	flip(&place, true);
	assert_refused(&place, step);
	place_assert_says(&place, "going on from", NULL);
	place_close(&place);
}

static void
test_base_identity_touched_model_is_accepted(void **state)
{
	struct place place;
	int64_t step;
	char *path;
	pid_t pid;

	(void)state;
	step = stopped_run(&place);
	path = place_path(&place, "model/model.safetensors");
	assert_int_equal(utimensat(AT_FDCWD, path, NULL, 0), 0);
	pid = place_start(&place, "train", "run.ini", WORDS);
	place_wait_saved(&place, "run", step + 2);
	/* and once more while it runs */
	assert_int_equal(utimensat(AT_FDCWD, path, NULL, 0), 0);
	place_wait_saved(&place, "run", step + 6);
	(void)kill(pid, SIGTERM);
	assert_int_equal(place_wait(pid).code, 143);
	place_assert_says(&place, "going on from", NULL);
	free(path);
	place_close(&place);
}

static void
test_base_identity_written_to_while_in_use_is_5(void **state)
{
	struct place place;
	struct place_end end;
	pid_t pid;

	(void)state;
	place_open(&place);
	place_copy_model(&place, UNUSED_BYTES);
	pid = place_start(&place, "train", "run.ini", WORDS);
	place_wait_saved(&place, "run", 2);
	flip(&place, false);
	end = place_wait(pid);
	if (end.code != 5)
		fail_msg("exit %d:\n%s", end.code, place_read(&place, "stderr"));
	place_assert_says(&place, "model/model.safetensors", "written to while it was in use",
		"last checkpoint", NULL);
	flip(&place, false);
	goes_on(&place);
	place_close(&place);
}

/* Another file under the name: the run keeps its own, and says that they are two. */
static void
test_base_identity_replaced_model_is_told(void **state)
{
	struct place place;
	pid_t pid;

	(void)state;
	place_open(&place);
	place_copy_model(&place, UNUSED_BYTES);
	pid = place_start(&place, "train", "run.ini", WORDS);
	place_wait_saved(&place, "run", 2);
	place_copy_model(&place, UNUSED_BYTES - 8);
	place_wait_saved(&place, "run", place_newest_step(&place, "run") + 4);
	(void)kill(pid, SIGTERM);
	assert_int_equal(place_wait(pid).code, 143);
	place_assert_says(&place, "warning: ", "model/model.safetensors was replaced", NULL);
	(void)place_run(&place, "train", WORDS, 3);
	place_assert_says(&place, "the file of [model] path had", "bytes in 1 file", NULL);
	place_close(&place);
}

/* Data that changed are told in words: rows and bytes, or content alone. */
static void
test_base_identity_changed_data_is_told_in_words(void **state)
{
	struct place place;
	char *rows;

	(void)state;
	(void)stopped_run(&place);
	rows = place_read(&place, "train.jsonl");
	rows[strlen(rows) - 4]++; /* the last digit: as many bytes */
	place_write(&place, "train.jsonl", rows);
	(void)place_run(&place, "train", WORDS, 3);
	place_assert_says(&place, "train.jsonl: the content of the file of [data] train changed",
		"40 rows", "as before", "put it back", NULL);
	place_write_sums(&place, "train.jsonl", 1, 41);
	(void)place_run(&place, "train", WORDS, 3);
	place_assert_says(&place, "train.jsonl: the file of [data] train had 40 rows in",
		"and has 41 rows in", "put it back", "--fresh", NULL);
	free(rows);
	place_close(&place);
}

/* Every command that uses the result, with further words. */
static void
assert_result_is_refused(const struct place *place, const char *words, const char *says)
{
	static const char *const commands[] = {
		"eval", "--split validation", "generate", "--prompt a", "export", "--to out"};
	struct hn_str text = {0};

	for (size_t i = 0; i < 6; i += 2) {
		hn_str_clear(&text);
		hn_str_printf(&text, "%s %s", words, commands[i + 1]);
		(void)place_run(place, commands[i], text.text, 3);
		place_assert_says(place, says, "put it back", "--base", NULL);
	}
	hn_str_fini(&text);
}

/* Another base of the same shapes takes the adapter without a word, and what comes out is
 * neither's; and the other way round a base that lies elsewhere is the same one. */
static void
test_base_identity_result_on_another_base_is_refused(void **state)
{
	struct place place;
	char *path, *config, *at;

	(void)state;
	place_open(&place);
	place_copy_model(&place, 0);
	(void)place_run(&place, "train", PLACE_OWN_MODEL "--set train.max_steps=2", 0);
	(void)place_run(&place, "eval", "--split validation", 0);
	config = place_read(&place, "model/config.json");
	at = strstr(config, "1e-05");
	assert_non_null(at);
	at[4] = '6';
	place_write(&place, "model/config.json", config);
	assert_result_is_refused(&place, PLACE_OWN_MODEL, "this is another base model than that");
	path = place_path(&place, "out");
	assert_int_not_equal(access(path, F_OK), 0);
	(void)place_run(&place, "eval", PLACE_OWN_MODEL "--split validation --base", 0);
	free(config);
	free(path);
	place_close(&place);
}

/* The ids of two tokens change places: every text is other tokens than the adapter learned. */
static void
test_base_identity_result_with_another_tokenizer_is_refused(void **state)
{
	struct place place;
	char *text, *a, *b;

	(void)state;
	place_open(&place);
	place_copy_model(&place, 0);
	(void)place_run(&place, "train", PLACE_OWN_MODEL "--set train.max_steps=2", 0);
	text = place_read(&place, "model/tokenizer.json");
	a = strstr(text, "\"3\":");
	b = strstr(text, "\"4\":");
	assert_non_null(a);
	assert_non_null(b);
	a[1] = '4';
	b[1] = '3';
	place_write(&place, "model/tokenizer.json", text);
	assert_result_is_refused(&place, PLACE_OWN_MODEL, "the tokenizer is another one than that");
	free(text);
	place_close(&place);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base_identity_flipped_bit_is_refused_at_once),
		cmocka_unit_test(test_base_identity_silently_flipped_bit_is_refused_before_saving),
		cmocka_unit_test(test_base_identity_touched_model_is_accepted),
		cmocka_unit_test(test_base_identity_written_to_while_in_use_is_5),
		cmocka_unit_test(test_base_identity_replaced_model_is_told),
		cmocka_unit_test(test_base_identity_changed_data_is_told_in_words),
		cmocka_unit_test(test_base_identity_result_on_another_base_is_refused),
		cmocka_unit_test(test_base_identity_result_with_another_tokenizer_is_refused),
	};

	return cmocka_run_group_tests_name("base_identity", tests, NULL, NULL);
}
