/*
 * place.c - fork, exec, wait4; comparing what two runs left.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/str.h"
#include "place.h"

enum { WORDS_MAX = 64, TRAIN_ROWS = 40, VALIDATION_ROWS = 8, WAITS = 30000 };

static const char ini[] = "[run]\n"
			  "output = run\n"
			  "adapter = lora\n"
			  "objective = sft\n"
			  "backend = cpu\n"
			  "seed = 7\n"
			  "[model]\n"
			  "path = " HONE_TEST_DATA "/golden/models/tiny-llama\n"
			  "[data]\n"
			  "train = train.jsonl\n"
			  "validation = validation.jsonl\n"
			  "max_length = 64\n"
			  "[train]\n"
			  "learning_rate = 1e-2\n"
			  "num_train_epochs = 4\n"
			  "per_device_train_batch_size = 4\n"
			  "logging_steps = 3\n"
			  "compute = f32\n"
			  "[eval]\n"
			  "eval_steps = 7\n"
			  "[checkpoint]\n"
			  "save_steps = 2\n"
			  "[lora]\n"
			  "r = 4\n"
			  "lora_alpha = 8\n"
			  "lora_dropout = 0.1\n"
			  "target_modules = all-linear\n"
			  "[cpu]\n"
			  "threads = 2\n";

/* ---- files ---- */

char *
place_path(const struct place *place, const char *name)
{
	return hn_path_join(place->root, name);
}

void
place_write(const struct place *place, const char *name, const char *text)
{
	char *path = place_path(place, name);
	struct hone_error err = {0};

	if (hn_file_replace(path, text, strlen(text), &err))
		fail_msg("%s: %s", err.place, err.text);
	free(path);
}

char *
place_read(const struct place *place, const char *name)
{
	char *path = place_path(place, name), *text = NULL;
	size_t n;

	if (hn_file_read(path, UINT64_C(1) << 30, HONE_EIO, &text, &n, NULL))
		text = hn_strdup("");
	free(path);
	return text;
}

void
place_copy_files(const struct place *place, const char *folder, const char *const *names,
	const uint8_t tail[4])
{
	struct hone_error err = {0};
	char *dir = place_path(place, folder);

	assert_int_equal(hn_dir_make(dir, &err), HONE_OK);
	for (; *names; names++) {
		char *from = hn_path_join(HONE_TEST_DATA "/golden/models/tiny-llama", *names);
		char *to = hn_path_join(dir, *names), *bytes;
		size_t n;

		assert_int_equal(
			hn_file_read(from, UINT64_C(1) << 24, HONE_EIO, &bytes, &n, &err), HONE_OK);
		if (tail && !names[1])
			memcpy(bytes + n - 4, tail, 4);
		assert_int_equal(hn_file_replace(to, bytes, n, &err), HONE_OK);
		free(bytes);
		free(from);
		free(to);
	}
	free(dir);
}

void
place_write_sums(const struct place *place, const char *name, uint64_t seed, int n)
{
	struct hn_str text = {0};

	for (int i = 0; i < n; i++) {
		const unsigned a = (unsigned)hn_rng_below(seed, 0, (uint64_t)i, 0, 100);
		const unsigned b = (unsigned)hn_rng_below(seed, 0, (uint64_t)i, 1, 100);

		hn_str_printf(&text, "{\"prompt\": \"%u + %u = \", \"completion\": \"%u\"}\n", a, b,
			a + b);
	}
	place_write(place, name, text.text);
	hn_str_fini(&text);
}

/* The header's length, the header, the tensors' bytes: one more tensor at their end. */
static void
add_unused(struct hn_str *out, const char *bytes, size_t n, size_t n_unused)
{
	uint64_t header = 0, grown;
	struct hn_str text = {0};

	for (int i = 0; i < 8; i++)
		header |= (uint64_t)(uint8_t)bytes[i] << (8 * i);
	hn_str_add(&text, bytes + 8, (size_t)header);
	while (text.text[text.len - 1] != '}')
		text.len--;
	text.len--;
	hn_str_printf(&text,
		",\"unused\":{\"dtype\":\"U8\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}}",
		n_unused, n - 8 - (size_t)header, n - 8 - (size_t)header + n_unused);
	while (text.len % 8)
		hn_str_putc(&text, ' ');
	grown = text.len;
	for (int i = 0; i < 8; i++)
		hn_str_putc(out, (char)(grown >> (8 * i) & 0xff));
	hn_str_add(out, text.text, text.len);
	hn_str_add(out, bytes + 8 + header, n - 8 - (size_t)header);
	for (size_t i = 0; i < n_unused; i++)
		hn_str_putc(out, (char)(i * 2654435761u >> 13 & 0xff));
	hn_str_fini(&text);
}

void
place_copy_model(const struct place *place, size_t n_unused)
{
	static const char *const names[] = {"model.safetensors", "config.json", "tokenizer.json",
		"tokenizer_config.json", NULL};
	char *path = place_path(place, "model/model.safetensors"), *bytes;
	struct hn_str longer = {0};
	size_t n;

	place_copy_files(place, "model", names, NULL);
	if (n_unused) {
		assert_int_equal(hn_file_read(path, 1 << 24, HONE_EIO, &bytes, &n, NULL), HONE_OK);
		add_unused(&longer, bytes, n, n_unused);
		assert_int_equal(hn_file_replace(path, longer.text, longer.len, NULL), HONE_OK);
		hn_str_fini(&longer);
		free(bytes);
	}
	free(path);
}

void
place_open(struct place *place)
{
	*place = (struct place){.root = test_folder_make_in_memory()};
	place_write_sums(place, "train.jsonl", 1, TRAIN_ROWS);
	place_write_sums(place, "validation.jsonl", 2, VALIDATION_ROWS);
	place_write(place, "run.ini", ini);
}

void
place_close(struct place *place)
{
	test_folder_remove(place->root);
}

/* ---- processes ---- */

bool
place_is_instrumented(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#elif defined(__has_feature)
	return __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
	return false;
#endif
}

double
place_now_s(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void
place_sleep(double seconds)
{
	struct timespec t = {.tv_sec = (time_t)seconds};

	t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
	(void)nanosleep(&t, NULL);
}

/* In the child: never returns. */
static void
become(const struct place *place, char *const *argv)
{
	const int out = open("stdout", O_WRONLY | O_CREAT | O_TRUNC, 0666);
	const int errors = open("stderr", O_WRONLY | O_CREAT | O_TRUNC, 0666);
	const struct rlimit limit = {place->file_bytes_max, place->file_bytes_max};
	const struct rlimit stack = {place->stack_bytes, place->stack_bytes_max};

	if (out < 0 || errors < 0 || dup2(out, STDOUT_FILENO) < 0 ||
		dup2(errors, STDERR_FILENO) < 0)
		_exit(127);
	if (place->file_bytes_max && setrlimit(RLIMIT_FSIZE, &limit))
		_exit(127);
	if (place->stack_bytes && setrlimit(RLIMIT_STACK, &stack))
		_exit(127);
	(void)execv(argv[0], argv);
	_exit(127);
}

pid_t
place_start(const struct place *place, const char *command, const char *ini_name, const char *words)
{
	char *argv[WORDS_MAX] = {HONE_BINARY_DIR "/bin/hone"}, *save = NULL;
	char *copy = hn_strdup(words), *name = hn_strdup(ini_name), *verb = hn_strdup(command);
	size_t n = 1;
	pid_t pid;

	argv[n++] = verb;
	argv[n++] = name;
	for (char *word = strtok_r(copy, " ", &save); word && n + 1 < WORDS_MAX;
		word = strtok_r(NULL, " ", &save))
		argv[n++] = word;
	pid = fork();
	if (pid < 0)
		fail_msg("fork");
	if (pid == 0) {
		if (chdir(place->root))
			_exit(127);
		become(place, argv);
	}
	free(copy);
	free(name);
	free(verb);
	return pid;
}

struct place_end
place_wait(pid_t pid)
{
	struct place_end end = {.code = -1};
	struct rusage usage;
	int status = 0;

	if (wait4(pid, &status, 0, &usage) != pid)
		fail_msg("wait4");
	if (WIFEXITED(status))
		end.code = WEXITSTATUS(status);
	else
		end.signal = WTERMSIG(status);
	end.rss_bytes = (int64_t)usage.ru_maxrss * 1024;
	return end;
}

struct place_end
place_run(const struct place *place, const char *command, const char *words, int code)
{
	const struct place_end end = place_wait(place_start(place, command, "run.ini", words));

	if (end.code != code)
		fail_msg("hone %s run.ini %s: exit %d, signal %d, not exit %d:\n%s", command, words,
			end.code, end.signal, code, place_read(place, "stderr"));
	return end;
}

json_t *
place_json(const struct place *place, const char *command, const char *words)
{
	json_t *json;
	char *text;

	(void)place_run(place, command, words, 0);
	text = place_read(place, "stdout");
	json = json_loads(text, 0, NULL);
	assert_non_null(json);
	free(text);
	return json;
}

double
place_eval_loss(const struct place *place, const char *words)
{
	json_t *json = place_json(place, "eval", words);
	const json_t *loss = json_object_get(json, "loss");
	double value;

	assert_true(json_is_number(loss));
	value = json_number_value(loss);
	json_decref(json);
	return value;
}

void
place_assert_says(const struct place *place, ...)
{
	char *text = place_read(place, "stderr");
	const char *word;
	va_list words;

	va_start(words, place);
	while ((word = va_arg(words, const char *)))
		if (!strstr(text, word))
			fail_msg("nothing says '%s':\n%s", word, text);
	va_end(words);
	free(text);
}

/* ---- what two runs left ---- */

static char *
path_in(const char *dir, const char *name)
{
	struct hn_str path = {0};

	hn_str_printf(&path, "%s/%s", dir, name);
	return hn_str_take(&path);
}

static void
assert_same_file(const struct place *place, const char *a, const char *b, const char *name)
{
	char *paths[2] = {path_in(a, name), path_in(b, name)}, *full[2], hash[2][33];
	struct hone_error err = {0};

	for (int i = 0; i < 2; i++) {
		full[i] = place_path(place, paths[i]);
		if (hn_hash_file(full[i], HONE_EIO, hash[i], &err))
			fail_msg("%s: %s", err.place, err.text);
	}
	if (!hn_streq(hash[0], hash[1]))
		fail_msg("%s and %s differ", full[0], full[1]);
	for (int i = 0; i < 2; i++) {
		free(paths[i]);
		free(full[i]);
	}
}

void
place_assert_same_folder(const struct place *place, const char *a, const char *b)
{
	const char *dirs[2] = {a, b};
	struct hone_error err = {0};
	char **names[2];
	size_t n[2];

	for (int i = 0; i < 2; i++) {
		char *full = place_path(place, dirs[i]);

		if (hn_dir_list(full, &names[i], &n[i], &err))
			fail_msg("%s: %s", err.place, err.text);
		free(full);
	}
	assert_int_equal(n[0], n[1]);
	assert_true(n[0] >= 3);
	for (size_t i = 0; i < n[0]; i++) {
		char *inner = path_in(a, names[0][i]), *full = place_path(place, inner);

		assert_string_equal(names[0][i], names[1][i]);
		if (!hn_streq(names[0][i], "README.md") && !hn_path_is_dir(full))
			assert_same_file(place, a, b, names[0][i]);
		free(full);
		free(inner);
		free(names[0][i]);
		free(names[1][i]);
	}
	free(names[0]);
	free(names[1]);
}

void
place_assert_same_result(const struct place *place, const char *a, const char *b)
{
	char *dirs[2] = {path_in(a, "adapter"), path_in(b, "adapter")};

	place_assert_same_folder(place, dirs[0], dirs[1]);
	free(dirs[0]);
	free(dirs[1]);
}

/* The line at *at without what a clock or a memory decides; NULL at the end. */
static json_t *
next_line(const char **at)
{
	json_error_t why;
	json_t *line;

	if (!**at)
		return NULL;
	line = json_loads(*at, JSON_DISABLE_EOF_CHECK, &why);
	if (!line)
		fail_msg("metrics.jsonl: %s: %s", why.text, *at);
	(void)json_object_del(line, "time_s");
	(void)json_object_del(line, "tokens_per_second");
	(void)json_object_del(line, "memory_mb");
	*at += strcspn(*at, "\n");
	*at += **at == '\n';
	return line;
}

void
place_assert_same_metrics(const struct place *place, const char *a, const char *b)
{
	char *paths[2] = {path_in(a, "metrics.jsonl"), path_in(b, "metrics.jsonl")};
	char *text[2] = {place_read(place, paths[0]), place_read(place, paths[1])};
	const char *at[2] = {text[0], text[1]};
	int n = 0;

	for (;; n++) {
		json_t *x = next_line(&at[0]), *y = next_line(&at[1]);

		if (!x && !y)
			break;
		if (!json_equal(x, y))
			fail_msg("line %d of metrics.jsonl differs:\n%s\n%s", n + 1,
				x ? json_dumps(x, 0) : "none", y ? json_dumps(y, 0) : "none");
		json_decref(x);
		json_decref(y);
	}
	assert_true(n > 2);
	for (int i = 0; i < 2; i++) {
		free(paths[i]);
		free(text[i]);
	}
}

int64_t
place_newest_step(const struct place *place, const char *output)
{
	char *inner = path_in(output, "checkpoints"), *path = place_path(place, inner), **names;
	int64_t newest = -1, step;
	struct hone_error err = {0};
	size_t n;

	if (!hn_path_is_dir(path) || hn_dir_list(path, &names, &n, &err)) {
		free(inner);
		free(path);
		return -1;
	}
	for (size_t i = 0; i < n; i++) {
		const char *digits = hn_starts_with(names[i], "step-") ? names[i] + 5 : "";

		while (digits[0] == '0' && digits[1])
			digits++;
		if (hn_parse_i64(digits, &step) && step > newest)
			newest = step;
		free(names[i]);
	}
	free(names);
	free(inner);
	free(path);
	return newest;
}

void
place_wait_saved(const struct place *place, const char *output, int64_t step)
{
	for (int i = 0; i < WAITS; i++) {
		if (place_newest_step(place, output) >= step)
			return;
		place_sleep(1e-3);
	}
	fail_msg("no checkpoint of step %" PRId64 ":\n%s", step, place_read(place, "stderr"));
}
