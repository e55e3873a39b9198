/*
 * test_stopped_run.c - what can be done with a run that did not come to its end, whose folder
 * is gone, or whose result was damaged.
 *
 * Would catch: a promise that a checkpoint was saved where there is no folder any more, a run
 * whose checkpoints cannot be used before it ends, one that is used without saying that it is
 * not finished, and a damaged result that is evaluated, exported or taken for whole.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "place.h"

#define LONG "--set train.num_train_epochs=400"

static bool
has_folder(const struct place *place, const char *name)
{
	char *path = place_path(place, name);
	const bool is_there = hn_path_is_dir(path);

	free(path);
	return is_there;
}

static void
remove_folder(const struct place *place, const char *name)
{
	char *path = place_path(place, name);

	assert_int_equal(hn_dir_remove(path, NULL), HONE_OK);
	free(path);
}

static bool
says(const struct place *place, const char *words)
{
	char *text = place_read(place, "stderr");
	const bool is_there = strstr(text, words) != NULL;

	free(text);
	return is_there;
}

/* The folder is put out of the way in one move, as a person's rm would in many. */
static void
test_stopped_run_without_its_folder_is_8(void **state)
{
	char *from, *to;
	struct place place;
	struct place_end end;
	pid_t pid;

	(void)state;
	place_open(&place);
	pid = place_start(&place, "train", "run.ini", LONG " --set checkpoint.save_steps=1000000");
	for (int i = 0; i < 20000 && !says(&place, "step 3/"); i++)
		place_sleep(1e-3);
	from = place_path(&place, "run");
	to = place_path(&place, "moved");
	assert_int_equal(rename(from, to), 0);
	(void)kill(pid, SIGTERM);
	end = place_wait(pid);
	if (end.code != 8)
		fail_msg("exit %d:\n%s", end.code, place_read(&place, "stderr"));
	place_assert_says(&place, "the run's folder was removed or renamed", NULL);
	assert_false(has_folder(&place, "run"));
	free(from);
	free(to);
	place_close(&place);
}

static void
test_stopped_run_is_used_by_its_checkpoint_and_says_so(void **state)
{
	static const char *const commands[] = {"eval", "generate", "export"};
	static const char *const words[] = {
		"--split validation --json", "--prompt 1 --max-new-tokens 2", "--to exported"};
	struct place place;
	char step[64];
	pid_t pid;

	(void)state;
	place_open(&place);
	pid = place_start(&place, "train", "run.ini", LONG);
	place_wait_saved(&place, "run", 2);
	(void)kill(pid, SIGTERM);
	assert_int_equal(place_wait(pid).code, 143);
	(void)snprintf(
		step, sizeof step, "after step %d is used", (int)place_newest_step(&place, "run"));
	for (int i = 0; i < 3; i++) {
		(void)place_run(&place, commands[i], words[i], 0);
		place_assert_says(&place, "warning: this run is not finished", step,
			"hone train run.ini goes on", NULL);
	}
	assert_true(has_folder(&place, "exported"));
	place_close(&place);
}

/* Would catch: --fresh advised by leaving it out of the sentence, which throws away the steps
 * that were just saved. */
static void
test_stopped_run_says_how_it_goes_on(void **state)
{
	static const struct {
		const char *words, *says;
		int signal;
	} rows[] = {
		{LONG " --fresh", "; the same command without --fresh goes on from there", SIGTERM},
		{LONG, "stopped by SIGINT after step ", SIGINT},
		{LONG, "; the same command goes on from there", SIGHUP},
	};
	struct place place;
	int64_t step;
	pid_t pid;

	(void)state;
	place_open(&place);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		step = i ? place_newest_step(&place, "run") + 2 : 2;
		pid = place_start(&place, "train", "run.ini", rows[i].words);
		place_wait_saved(&place, "run", step);
		(void)kill(pid, rows[i].signal);
		assert_int_equal(place_wait(pid).code, 128 + rows[i].signal);
		place_assert_says(&place, rows[i].says, NULL);
	}
	place_close(&place);
}

/* Would catch: a script that cannot tell a stopped run from a finished one, nor find its result;
 * more epochs for a finished run, met with nothing but the advice to begin anew. */
static void
test_stopped_run_and_finished_run_say_so_in_json(void **state)
{
	struct place place;
	json_t *root;
	char *out;
	pid_t pid;

	(void)state;
	place_open(&place);
	pid = place_start(&place, "train", "run.ini", LONG " --json");
	place_wait_saved(&place, "run", 2);
	(void)kill(pid, SIGTERM);
	assert_int_equal(place_wait(pid).code, 143);
	out = place_read(&place, "stdout");
	root = json_loads(out, 0, NULL);
	assert_true(json_is_false(json_object_get(root, "finished")));
	assert_true(json_integer_value(json_object_get(root, "steps")) >= 2);
	json_decref(root);
	free(out);
	for (int i = 0; i < 2; i++) { /* the second time it is finished already */
		root = place_json(&place, "train", i ? "--json" : "--fresh --json");
		assert_true(json_is_true(json_object_get(root, "finished")));
		assert_true(json_number_value(json_object_get(root, "loss")) > 0);
		assert_true(json_number_value(json_object_get(root, "eval_loss")) > 0);
		assert_true(json_number_value(json_object_get(root, "time_s")) > 0);
		assert_non_null(
			strstr(json_string_value(json_object_get(root, "result")), "/run/adapter"));
		json_decref(root);
	}
	(void)place_run(&place, "train", LONG, 3);
	place_assert_says(&place,
		"or begin from its result: another [run] output and [lora] "
		"init_from = ",
		"/run/adapter", NULL);
	place_close(&place);
}

/* A checkpoint of the last step is worth what the result is. */
static void
test_stopped_run_of_the_last_step_equals_the_result(void **state)
{
	char *result, *checkpoint;
	struct place place;

	(void)state;
	place_open(&place);
	(void)place_run(&place, "train", "", 0);
	(void)place_run(&place, "eval", "--split validation --json", 0);
	result = place_read(&place, "stdout");
	(void)place_run(&place, "export", "--to whole", 0);
	remove_folder(&place, "run/adapter");
	(void)place_run(&place, "eval", "--split validation", 3); /* finished: it is made again */
	place_write(&place, "run/state.json",
		"{\"schema\": \"hone.run/1\", \"state\": \"running\", \"step\": 0}\n");
	(void)place_run(&place, "eval", "--split validation --json", 0);
	checkpoint = place_read(&place, "stdout");
	assert_true(strlen(result) > 20);
	assert_string_equal(result, checkpoint);
	(void)place_run(&place, "export", "--to stopped", 0);
	place_assert_same_folder(&place, "whole", "stopped");
	free(result);
	free(checkpoint);
	place_close(&place);
}

static void
flip(const struct place *place, const char *name, off_t at)
{
	char *path = place_path(place, name), byte;
	const int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	(void)close(fd);
	free(path);
}

static void
test_stopped_run_damaged_result_is_told_and_made_again(void **state)
{
	static const char *const commands[] = {"eval", "generate", "export"};
	static const char *const words[] = {
		"--split validation", "--prompt 1 --max-new-tokens 2", "--to exported"};
	struct place place;

	(void)state;
	place_open(&place);
	(void)place_run(&place, "train", "--set run.output=whole", 0);
	(void)place_run(&place, "train", "", 0);
	flip(&place, "run/adapter/adapter_model.safetensors", 20001);
	for (int i = 0; i < 3; i++) {
		(void)place_run(&place, commands[i], words[i], 5);
		place_assert_says(&place, "the result is damaged",
			"adapter/adapter_model.safetensors", "makes it again", NULL);
	}
	assert_false(has_folder(&place, "exported"));
	(void)place_run(&place, "train", "", 0);
	place_assert_says(&place, "warning: ", "the result is damaged", "made again", NULL);
	place_assert_same_result(&place, "whole", "run");
	(void)place_run(&place, "train", "", 0);
	place_assert_says(&place, "is finished", NULL);
	place_close(&place);
}

/* Killed while its folder is there; false when it was too fast. */
static bool
kill_export(const struct place *place, char *litter, size_t n)
{
	struct place_end end;
	bool is_there = false;
	pid_t pid;

	pid = place_start(place, "export", "run.ini", "--merge --to exports/merged");
	(void)snprintf(litter, n, "exports/.merged.tmp-%ld", (long)pid);
	for (int i = 0; i < 1000000 && !is_there; i++) {
		char *path;

		is_there = has_folder(place, litter);
		path = place_path(place, "exports/merged");
		if (!is_there && hn_path_is_dir(path))
			i = 1000000;
		free(path);
	}
	(void)kill(pid, SIGKILL);
	end = place_wait(pid);
	return end.signal == SIGKILL && has_folder(place, litter);
}

/* A killed export's folder goes with the next one; nobody else's does. */
static void
test_stopped_run_litter_of_a_killed_export_is_removed(void **state)
{
	char litter[64] = "", alive[64], *path;
	bool is_killed = false;
	struct place place;

	(void)state;
	place_open(&place);
	(void)place_run(&place, "train", "", 0);
	for (int i = 0; i < 100 && !is_killed; i++) {
		is_killed = kill_export(&place, litter, sizeof litter);
		if (!is_killed && has_folder(&place, "exports/merged"))
			remove_folder(&place, "exports/merged");
	}
	assert_true(is_killed);
	(void)snprintf(alive, sizeof alive, "exports/.other.tmp-%ld", (long)getpid());
	path = place_path(&place, alive);
	assert_int_equal(hn_dir_make(path, NULL), HONE_OK);
	free(path);
	path = place_path(&place, "exports/.theirs.tmp-999999999");
	assert_int_equal(hn_dir_make(path, NULL), HONE_OK);
	free(path);
	(void)snprintf(alive, sizeof alive, "exports/.other.tmp-%ld/.hone-export", (long)getpid());
	place_write(&place, alive, "");
	(void)place_run(&place, "export", "--to exports/another", 0);
	assert_false(has_folder(&place, litter));
	(void)snprintf(alive, sizeof alive, "exports/.other.tmp-%ld", (long)getpid());
	assert_true(has_folder(&place, alive));
	assert_true(has_folder(&place, "exports/.theirs.tmp-999999999"));
	path = place_path(&place, "exports/another/.hone-export");
	assert_false(hn_path_is_file(path));
	free(path);
	place_close(&place);
}

/* What an adapter calls its base is a path that another program can use from anywhere. */
static void
test_stopped_run_base_of_an_export_is_a_normal_path(void **state)
{
	char *config, *want;
	struct place place;

	(void)state;
	place_open(&place);
	place_copy_model(&place, 0);
	(void)place_run(
		&place, "train", "--set model.path=model/../model/./ --set train.max_steps=2", 0);
	config = place_read(&place, "run/adapter/adapter_config.json");
	want = place_path(&place, "model\"");
	if (!strstr(config, want) || strstr(config, ".."))
		fail_msg("%s", config);
	free(config);
	free(want);
	place_close(&place);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stopped_run_without_its_folder_is_8),
		cmocka_unit_test(test_stopped_run_is_used_by_its_checkpoint_and_says_so),
		cmocka_unit_test(test_stopped_run_says_how_it_goes_on),
		cmocka_unit_test(test_stopped_run_and_finished_run_say_so_in_json),
		cmocka_unit_test(test_stopped_run_of_the_last_step_equals_the_result),
		cmocka_unit_test(test_stopped_run_damaged_result_is_told_and_made_again),
		cmocka_unit_test(test_stopped_run_litter_of_a_killed_export_is_removed),
		cmocka_unit_test(test_stopped_run_base_of_an_export_is_a_normal_path),
	};

	return cmocka_run_group_tests_name("stopped_run", tests, NULL, NULL);
}
