/*
 * test_cut_files.c - files that are cut, replaced or written into while a run has them mapped.
 *
 * Would catch: a process that a shortened file ends with SIGBUS and no word (exit 135), a
 * result that is made of weights which changed meanwhile, a lock or half a result that stays
 * behind, and saved checkpoints that are lost with it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "place.h"

enum { TRIES = 20000, MANY_ROWS = 20000 };

static void
cut_to(const struct place *place, const char *name, off_t n)
{
	char *path = place_path(place, name);

	assert_int_equal(truncate(path, n), 0);
	free(path);
}

/* Waits until the process has the file mapped. */
static void
wait_mapped(pid_t pid, const char *name)
{
	char path[64];

	(void)snprintf(path, sizeof path, "/proc/%ld/maps", (long)pid);
	for (int i = 0; i < TRIES; i++) {
		char *text = NULL;
		size_t n = 0;
		const bool is_there = !hn_file_read(path, 1 << 24, HONE_EIO, &text, &n, NULL) &&
			strstr(text, name);

		free(text);
		if (is_there)
			return;
		place_sleep(1e-3);
	}
	fail_msg("%s was never mapped", name);
}

static void
assert_no_result(const struct place *place, const char *name)
{
	char *path = place_path(place, name);

	assert_false(hn_path_is_dir(path));
	free(path);
}

/* run.ini for the reference backend, which reads weights where they are mapped. */
static void
use_reference(const struct place *place)
{
	char *text = place_read(place, "run.ini"), *cpu = strstr(text, "[cpu]");
	struct hn_str ini = {0};

	assert_non_null(cpu);
	*cpu = '\0';
	cpu = strstr(text, "backend = cpu\n");
	assert_non_null(cpu);
	hn_str_add(&ini, text, (size_t)(cpu - text));
	hn_str_puts(&ini, "backend = reference\n");
	hn_str_puts(&ini, cpu + strlen("backend = cpu\n"));
	place_write(place, "run.ini", ini.text);
	hn_str_fini(&ini);
	free(text);
}

static void
check_cut_while_training(bool is_reference)
{
	static const char words[] = PLACE_OWN_MODEL "--set train.num_train_epochs=400";
	struct place place;
	struct place_end end;
	pid_t pid;

	place_open(&place);
	place_copy_model(&place, 0);
	if (is_reference)
		use_reference(&place);
	pid = place_start(&place, "train", "run.ini", words);
	place_wait_saved(&place, "run", 2);
	cut_to(&place, "model/model.safetensors", 0);
	end = place_wait(pid);
	if (end.code != 5)
		fail_msg("exit %d, signal %d\n%s", end.code, end.signal,
			place_read(&place, "stderr"));
	place_assert_says(&place, "error: ", "model/model.safetensors", "put it back", NULL);
	assert_no_result(&place, "run/adapter");
	/* Whole again: the same run goes on, as its lock is free and its checkpoints are there. */
	place_copy_model(&place, 0);
	pid = place_start(&place, "train", "run.ini", words);
	place_wait_saved(&place, "run", place_newest_step(&place, "run") + 2);
	(void)kill(pid, SIGTERM);
	assert_int_equal(place_wait(pid).code, 143);
	place_assert_says(&place, "going on from", NULL);
	place_close(&place);
}

static void
test_cut_model_while_training_is_5_and_checkpoints_stay(void **state)
{
	(void)state;
	check_cut_while_training(false);
	check_cut_while_training(true);
}

/* Cut where nothing else looks: generate has the model mapped and waits for its prompts. */
static void
test_cut_model_while_generate_waits_is_5(void **state)
{
	struct place place;
	struct place_end end;
	int fds[2], kept;
	char *out;
	pid_t pid;

	(void)state;
	place_open(&place);
	place_copy_model(&place, 0);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	kept = dup(STDIN_FILENO);
	assert_true(dup2(fds[0], STDIN_FILENO) == STDIN_FILENO);
	pid = place_start(&place, "generate", "--model", "model --raw --max-new-tokens 4");
	wait_mapped(pid, "model.safetensors");
	place_sleep(0.3); /* so that it waits for stdin, and not we for it */
	cut_to(&place, "model/model.safetensors", 4096);
	assert_int_equal(write(fds[1], "12 + 12 = \n", 11), 11);
	(void)close(fds[1]);
	end = place_wait(pid);
	(void)dup2(kept, STDIN_FILENO);
	(void)close(kept);
	(void)close(fds[0]);
	if (end.code != 5)
		fail_msg("exit %d, signal %d\n%s", end.code, end.signal,
			place_read(&place, "stderr"));
	place_assert_says(&place, "error: ", "model/model.safetensors", "put it back", NULL);
	out = place_read(&place, "stdout");
	assert_string_equal(out, "");
	free(out);
	place_close(&place);
}

/* The pool's threads read the rows. */
static void
test_cut_data_while_they_are_read_is_4(void **state)
{
	struct place place;
	struct place_end end;
	pid_t pid;

	(void)state;
	place_open(&place);
	place_write_sums(&place, "many.jsonl", 3, MANY_ROWS);
	pid = place_start(&place, "train", "run.ini", "--set data.train=many.jsonl");
	wait_mapped(pid, "many.jsonl");
	cut_to(&place, "many.jsonl", 4096);
	end = place_wait(pid);
	if (end.code != 4)
		fail_msg("exit %d, signal %d\n%s", end.code, end.signal,
			place_read(&place, "stderr"));
	place_assert_says(&place, "error: ", "many.jsonl", NULL);
	assert_no_result(&place, "run/adapter");
	place_close(&place);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_model_while_training_is_5_and_checkpoints_stay),
		cmocka_unit_test(test_cut_model_while_generate_waits_is_5),
		cmocka_unit_test(test_cut_data_while_they_are_read_is_4),
	};

	return cmocka_run_group_tests_name("cut_files", tests, NULL, NULL);
}
