/*
 * test_checkpoint.c - whatever happens while a checkpoint is saved or lies on the disk, the
 * newest whole one comes back bit for bit, or there is a line that says why not.
 *
 * Kills are real: a child saves and gets SIGKILL at random instants, and, under ptrace, at the
 * entry and the exit of every system call of a save.  A process that dies loses nothing that it
 * has written, so what a power cut does to unsynced writes is not shown here.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "state_bench.h"
#include "support.h"

#define SITES     "q_proj, v_proj"
#define N_KILLS   100
#define KILL_MS   60 /* a start and several saves take about this long */
#define N_FLIPS   200
#define STOPS_MAX 4000

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

/* Syncing is free on /dev/shm, which lets the ptrace test be thorough. */
static char *
make_fast_folder(void)
{
	char *path = hn_path_join("/dev/shm", "hone-test-XXXXXX");

	if (mkdtemp(path))
		return path;
	free(path);
	return test_folder_make();
}

static void
open_folder(struct hn_folder *folder, struct hn_log *log, const char *path)
{
	struct hone_error err = {0};

	hn_log_init(log, NULL);
	if (hn_folder_open(folder, path, false, log, &err))
		fail_msg("%s: %s", err.place, err.text);
}

static void
save(struct hn_folder *folder, int64_t step, int64_t number, bool is_best, int64_t limit)
{
	struct hone_error err = {0};

	if (state_save(&bench, folder, step, number, is_best, limit, &err))
		fail_msg("%s: %s", err.place, err.text);
}

/* Loads the newest over a state that was never saved; returns its step. */
static int64_t
load_newest(const struct hn_folder *folder, struct hn_progress *progress)
{
	struct hn_saved saved;
	struct hone_error err = {0};

	state_set(&bench, progress, 999999);
	if (hn_checkpoint_newest(folder, &saved, &err) ||
		hn_checkpoint_load(&saved, &bench.engine, &err))
		fail_msg("%s: %s", err.place, err.text);
	*progress = saved.progress;
	hn_saved_close(&saved);
	return progress->step;
}

/* Nothing in checkpoints/ but whole names, at most `limit` and the best. */
static void
expect_tidy(const struct hn_folder *folder, size_t limit)
{
	struct hone_error err = {0};
	size_t n = 0, n_steps = 0;
	char **names = NULL;

	if (hn_path_is_dir(folder->checkpoints))
		assert_int_equal(hn_dir_list(folder->checkpoints, &names, &n, &err), HONE_OK);
	for (size_t i = 0; i < n; i++) {
		if (hn_starts_with(names[i], "step-"))
			n_steps++;
		else
			assert_string_equal(names[i], "best");
		free(names[i]);
	}
	free(names);
	assert_true(n_steps <= limit);
}

/* ---- killed at random instants ---- */

/* Goes on from the newest checkpoint and saves one after another, telling each number. */
static void
save_forever(const char *path, int out)
{
	struct hone_error err = {0};
	struct hn_folder folder;
	struct hn_saved saved;
	struct hn_log log;
	int64_t step = 0;

	hn_log_init(&log, NULL);
	if (hn_folder_open(&folder, path, false, &log, &err))
		_exit(1);
	if (folder.state == HN_FOLDER_RESUMABLE) {
		if (hn_checkpoint_newest(&folder, &saved, &err) ||
			hn_checkpoint_load(&saved, &bench.engine, &err))
			_exit(2);
		step = saved.progress.step;
	}
	for (;;) {
		step++;
		if (state_save(&bench, &folder, step, step, step % 3 == 0, 2, &err))
			_exit(3);
		if (write(out, &step, sizeof step) != sizeof step)
			_exit(4);
	}
}

/* Kills a child after a while; returns the last step that it was told was saved. */
static int64_t
run_and_kill(const char *path, int64_t after_ns, int64_t acknowledged)
{
	const struct timespec pause = {0, (long)after_ns};
	int fds[2], status;
	int64_t step;
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		(void)close(fds[0]);
		save_forever(path, fds[1]);
	}
	(void)close(fds[1]);
	(void)nanosleep(&pause, NULL);
	(void)kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFSIGNALED(status))
		fail_msg("the child ended by itself: %d", WEXITSTATUS(status));
	while (read(fds[0], &step, sizeof step) == sizeof step)
		acknowledged = step;
	(void)close(fds[0]);
	return acknowledged;
}

/* Would catch: a rename before its content, a checkpoint that is pruned before the next is
 * whole, a save that is acknowledged and lost, litter that stays, a lock that outlives its
 * process. */
static void
test_checkpoint_killed_at_random_newest_is_whole(void **state)
{
	char *path = make_fast_folder();
	int64_t acknowledged = 0, resumed = 0;

	(void)state;
	for (uint64_t i = 0; i < N_KILLS; i++) {
		const uint64_t after = hn_hash64(&i, sizeof i) % (KILL_MS * UINT64_C(1000000));
		struct hn_progress progress;
		struct hn_folder folder;
		struct hn_log log;

		acknowledged = run_and_kill(path, (int64_t)after, acknowledged);
		open_folder(&folder, &log, path);
		expect_tidy(&folder, 5); /* two, best, and two that a kill kept from pruning */
		if (folder.state == HN_FOLDER_RESUMABLE) {
			const int64_t step = load_newest(&folder, &progress);

			assert_true(step >= acknowledged);
			state_expect(&bench, &progress, step);
			resumed += acknowledged > 0;
		} else {
			assert_int_equal(acknowledged, 0);
		}
		hn_folder_close(&folder);
	}
	print_message(
		"%d kills, %d after a save, %d saves\n", N_KILLS, (int)resumed, (int)acknowledged);
	assert_true(resumed > N_KILLS / 2);
	test_folder_remove(path);
}

/* ---- killed at every system call ---- */

/* Saves one checkpoint, stops for its tracer, then saves the next. */
static void
save_traced(const char *path, int64_t second_step)
{
	struct hone_error err = {0};
	struct hn_folder folder;
	struct hn_log log;

	hn_log_init(&log, NULL);
	if (hn_folder_open(&folder, path, false, &log, &err) ||
		state_save(&bench, &folder, 1, 1, true, 1, &err))
		_exit(1);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(125);
	(void)raise(SIGSTOP);
	_exit(state_save(&bench, &folder, second_step, 2, true, 1, &err) ? 2 : 0);
}

/* Lets the child make `stops` halves of system calls and kills it.  False when it was done
 * before. */
static bool
kill_at_stop(const char *path, int64_t second_step, int stops)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child)
		save_traced(path, second_step);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 125)
		skip(); /* a container that forbids ptrace */
	if (WIFEXITED(status))
		fail_msg("the child ended before it was traced: %d", WEXITSTATUS(status));
	for (int i = 0; i < stops; i++) {
		assert_int_equal(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
		assert_int_equal(waitpid(child, &status, 0), child);
		if (WIFEXITED(status)) {
			assert_int_equal(WEXITSTATUS(status), 0);
			return false;
		}
	}
	(void)kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	return true;
}

/* The first or the second state, never neither; the best link always leads somewhere. */
static int
kill_everywhere(int64_t second_step, int *n_new)
{
	int stops = 0;
	bool was_killed = true;

	*n_new = 0;
	for (; was_killed && stops < STOPS_MAX; stops++) {
		char *path = make_fast_folder();
		struct hn_progress progress;
		struct hn_folder folder;
		struct hn_saved best;
		struct hn_log log;
		struct hone_error err = {0};
		bool is_new;

		was_killed = kill_at_stop(path, second_step, stops);
		open_folder(&folder, &log, path);
		expect_tidy(&folder, was_killed ? 2 : 1);
		(void)load_newest(&folder, &progress);
		is_new = progress.tokens == 2 * 1000003;
		state_expect(&bench, &progress, is_new ? 2 : 1);
		*n_new += is_new;
		if (hn_checkpoint_best(&folder, &best, &err))
			fail_msg("%s: %s", err.place, err.text);
		hn_saved_close(&best);
		hn_folder_close(&folder);
		test_folder_remove(path);
	}
	assert_true(stops < STOPS_MAX);
	return stops;
}

/* Would catch: any order of the protocol's steps in which neither the old nor the new
 * checkpoint can be loaded; with a limit of one, and when a step is saved again. */
static void
test_checkpoint_killed_at_every_call_old_or_new(void **state)
{
	static const int64_t steps[] = {2, 1};

	(void)state;
	for (int i = 0; i < 2; i++) {
		int n_new, stops = kill_everywhere(steps[i], &n_new);

		print_message("%s step: %d stops, %d gave the new state\n",
			steps[i] == 1 ? "same" : "next", stops, n_new);
		assert_true(stops > 100 && n_new > 3 && n_new < stops - 50);
	}
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

	on->path = make_fast_folder();
	open_folder(&on->folder, &on->log, on->path);
	save(&on->folder, 1, 1, false, 2);
	save(&on->folder, 2, 2, false, 2);
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

	assert_int_equal(load_newest(&on->folder, &progress), step);
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
	assert_int_equal(load_newest(&on.folder, &progress), 2);
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
	save(&on.folder, 1, 7, false, 1);
	assert_int_equal(load_newest(&on.folder, &progress), 1);
	state_expect(&bench, &progress, 7);
	expect_tidy(&on.folder, 1);
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
	char *path = make_fast_folder();

	(void)state;
	state_bench_open(&wide, 4, SITES, HONE_DTYPE_F64);
	open_folder(&folder, &log, path);
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

/* ---- a disk that is full ---- */

/* In a child: what `act` says, by its exit code.  125 = not possible here. */
static int
run_child(int (*act)(const char *path, int64_t arg), const char *path, int64_t arg)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child)
		_exit(act(path, arg));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* 0 when saving step 2 fails as it should, with step 1 as before and nothing beside it;
 * 1 when it is saved. */
static int
check_failed_save(struct hn_folder *folder, const char *word)
{
	struct hone_error err = {0};
	struct hn_saved saved;
	char **list;
	size_t n;

	if (!state_save(&bench, folder, 2, 2, false, 2, &err))
		return 1;
	if (err.status != HONE_EIO || !hn_starts_with(err.place, folder->checkpoints))
		return 10;
	if (!strstr(err.text, word) || !strstr(err.text, "needed") || !strstr(err.text, "free"))
		return 11;
	memset(&err, 0, sizeof err);
	if (hn_dir_list(folder->checkpoints, &list, &n, &err) || n != 1)
		return 12;
	if (hn_checkpoint_newest(folder, &saved, &err) || saved.progress.tokens != 1000003)
		return 13;
	return 0;
}

static int
save_limited(const char *path, int64_t bytes)
{
	const struct rlimit limit = {(rlim_t)bytes, (rlim_t)bytes};
	struct hone_error err = {0};
	struct hn_folder folder;
	struct hn_log log;

	(void)signal(SIGXFSZ, SIG_IGN);
	hn_log_init(&log, NULL);
	if (hn_folder_open(&folder, path, false, &log, &err) ||
		state_save(&bench, &folder, 1, 1, false, 2, &err) ||
		setrlimit(RLIMIT_FSIZE, &limit))
		return 100;
	return check_failed_save(&folder, "File too large");
}

/* Would catch: a write error that is not looked at, or one that leaves litter or costs the old
 * checkpoint; in each of the four files. */
static void
test_checkpoint_write_fails_old_one_stays(void **state)
{
	int n_failed = 0, got = 0;

	(void)state;
	for (int64_t bytes = 1; got == 0; bytes *= 2) {
		char *path = make_fast_folder();

		got = run_child(save_limited, path, bytes);
		n_failed += got == 0;
		test_folder_remove(path);
	}
	assert_int_equal(got, 1);
	assert_true(n_failed > 8);
}

/* A tmpfs of our own, seen by this process only. */
static int
mount_small(const char *path, const char *options)
{
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("none", path, "tmpfs", 0, options))
		return 125;
	return 0;
}

/* A disk with room for step 1 and not for step 2. */
static int
save_on_small_disk(const char *path, int64_t kib)
{
	struct hone_error err = {0};
	struct hn_folder folder;
	char options[64];
	struct hn_log log;

	(void)snprintf(options, sizeof options, "size=%dk", (int)kib);
	if (mount_small(path, options))
		return 125;
	hn_log_init(&log, NULL);
	if (hn_folder_open(&folder, path, false, &log, &err) ||
		state_save(&bench, &folder, 1, 1, false, 2, &err))
		return 100;
	return check_failed_save(&folder, "no room");
}

/* A disk that has bytes but no more places for files: no preflight sees it. */
static int
save_without_inodes(const char *path, int64_t n)
{
	struct hone_error err = {0};
	struct hn_folder folder;
	char options[64];
	struct hn_log log;

	(void)snprintf(options, sizeof options, "size=16m,nr_inodes=%d", (int)n);
	if (mount_small(path, options))
		return 125;
	hn_log_init(&log, NULL);
	if (hn_folder_open(&folder, path, false, &log, &err) ||
		state_save(&bench, &folder, 1, 1, false, 2, &err))
		return 100;
	return check_failed_save(&folder, "No space left");
}

/* Would catch: a full disk that is seen only after the old checkpoint was pruned, or that
 * leaves half a new one. */
static void
test_checkpoint_disk_full_old_one_stays(void **state)
{
	char *path = test_folder_make();
	int got, n_failed = 0;

	(void)state;
	for (int64_t kib = 64; (got = run_child(save_on_small_disk, path, kib)) != 1; kib += 8) {
		if (got == 125) {
			test_folder_remove(path);
			skip();
		}
		assert_true(got == 100 || got == 0);
		n_failed += got == 0;
	}
	print_message("no room at %d sizes\n", n_failed);
	assert_true(n_failed > 0);
	n_failed = 0;
	for (int64_t n = 8; n < 40; n++) {
		got = run_child(save_without_inodes, path, n);
		assert_true(got == 100 || got == 0 || got == 1);
		n_failed += got == 0;
	}
	print_message("out of inodes at %d places\n", n_failed);
	assert_true(n_failed >= 4 && got == 1);
	test_folder_remove(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_checkpoint_of_f64_returns_bit_for_bit),
		cmocka_unit_test(test_checkpoint_damaged_file_falls_back_to_previous),
		cmocka_unit_test(test_checkpoint_any_flipped_byte_is_found),
		cmocka_unit_test(test_checkpoint_extra_file_is_no_damage),
		cmocka_unit_test(test_checkpoint_renamed_folder_is_skipped),
		cmocka_unit_test(test_checkpoint_none_whole_is_an_error),
		cmocka_unit_test(test_checkpoint_saved_after_going_back_is_kept),
		cmocka_unit_test(test_checkpoint_forged_manifest_is_refused),
		cmocka_unit_test(test_checkpoint_of_other_shapes_changes_nothing),
		cmocka_unit_test(test_checkpoint_write_fails_old_one_stays),
		cmocka_unit_test(test_checkpoint_disk_full_old_one_stays),
		cmocka_unit_test(test_checkpoint_killed_at_every_call_old_or_new),
		cmocka_unit_test(test_checkpoint_killed_at_random_newest_is_whole),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
