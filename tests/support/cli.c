/*
 * cli.c - starting the program in a folder of its own and keeping what it says.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "cli.h"
#include "support.h"

enum { N_ROWS = 16, N_WORDS = 32 };

static const char run_ini[] = "[run]\n"
			      "output    = out\n"
			      "adapter   = lora\n"
			      "objective = sft\n"
			      "backend   = reference\n"
			      "[model]\n"
			      "path = " HONE_TEST_DATA "/golden/models/tiny-llama\n"
			      "[data]\n"
			      "train = train.jsonl\n"
			      "max_length = 32\n"
			      "[lora]\n"
			      "r = 2\n"
			      "[train]\n"
			      "learning_rate = 1e-3\n"
			      "num_train_epochs = 1\n"
			      "per_device_train_batch_size = 4\n"
			      "logging_steps = 1\n";

void
cli_open(struct cli *cli, const char *extra)
{
	struct hn_str text = {0};

	*cli = (struct cli){.folder = test_folder_make()};
	hn_str_puts(&text, run_ini);
	hn_str_puts(&text, extra ? extra : "");
	cli_write(cli, "run.ini", text.text);
	text.len = 0;
	for (int i = 0; i < N_ROWS; i++)
		hn_str_printf(&text, "{\"prompt\": \"%d and %d make\", \"completion\": \" %d\"}\n",
			i, i, i + i);
	cli_write(cli, "train.jsonl", text.text);
	hn_str_fini(&text);
}

void
cli_close(struct cli *cli)
{
	free(cli->out);
	free(cli->err);
	test_folder_remove(cli->folder);
	memset(cli, 0, sizeof *cli);
}

void
cli_write(const struct cli *cli, const char *name, const char *text)
{
	char *path = hn_path_join(cli->folder, name);
	FILE *file = fopen(path, "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
	assert_int_equal(fclose(file), 0);
	free(path);
}

char *
cli_read(const struct cli *cli, const char *name)
{
	char *path = hn_path_join(cli->folder, name);
	FILE *file = fopen(path, "rb");
	struct hn_str text = {0};
	char block[4096];
	size_t n;

	free(path);
	if (!file)
		return NULL;
	hn_str_puts(&text, "");
	while ((n = fread(block, 1, sizeof block, file)) > 0)
		hn_str_add(&text, block, n);
	(void)fclose(file);
	return hn_str_take(&text);
}

int
cli_has(const struct cli *cli, const char *name)
{
	char *path = hn_path_join(cli->folder, name);
	const int is_there = access(path, F_OK) == 0;

	free(path);
	return is_there;
}

void
cli_remove(const struct cli *cli, const char *name)
{
	char *path = hn_path_join(cli->folder, name);
	struct hone_error err = {0};

	if (hn_path_is_dir(path))
		assert_int_equal(hn_dir_remove(path, &err), HONE_OK);
	else
		assert_int_equal(unlink(path), 0);
	free(path);
}

static void
write_bytes(const char *path, const char *bytes, size_t n)
{
	struct hone_error err = {0};

	if (hn_file_replace(path, bytes, n, &err))
		fail_msg("%s: %s", err.place, err.text);
}

static char *
read_bytes(const char *path, size_t *n)
{
	struct hone_error err = {0};
	char *bytes = NULL;

	if (hn_file_read(path, 1 << 24, HONE_EIO, &bytes, n, &err))
		fail_msg("%s: %s", err.place, err.text);
	return bytes;
}

void
cli_copy_model(const struct cli *cli, const char *folder)
{
	static const char *const names[] = {
		"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"};
	char *dir = hn_path_join(cli->folder, folder);
	struct hone_error err = {0};

	assert_int_equal(hn_dir_make(dir, &err), HONE_OK);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char *from = hn_path_join(HONE_TEST_DATA "/golden/models/tiny-llama", names[i]);
		char *to = hn_path_join(dir, names[i]), *bytes;
		size_t n;

		bytes = read_bytes(from, &n);
		write_bytes(to, bytes, n);
		free(bytes);
		free(from);
		free(to);
	}
	free(dir);
}

void
cli_patch(const struct cli *cli, const char *name, const char *from, const char *to)
{
	char *path = hn_path_join(cli->folder, name), *bytes, *at;
	struct hn_str out = {0};
	size_t n;

	bytes = read_bytes(path, &n);
	at = memmem(bytes, n, from, strlen(from));
	if (!at)
		fail_msg("%s has no %s", name, from);
	hn_str_add(&out, bytes, (size_t)(at - bytes));
	hn_str_puts(&out, to);
	at += strlen(from);
	hn_str_add(&out, at, n - (size_t)(at - bytes));
	write_bytes(path, out.text, out.len);
	hn_str_fini(&out);
	free(bytes);
	free(path);
}

/* In the child: folder, streams, limits, exec.  Never returns. */
static void
become(const struct cli *cli, const char *const *words)
{
	const struct rlimit limit = {(rlim_t)cli->file_limit, (rlim_t)cli->file_limit};
	const char *argv[N_WORDS + 2] = {"hone"};

	for (int i = 0; i < N_WORDS && words[i]; i++)
		argv[i + 1] = words[i];
	if (chdir(cli->folder) || dup2(open("/dev/null", O_RDONLY), 0) < 0 ||
		dup2(open("stdout", O_WRONLY | O_CREAT | O_TRUNC, 0600), 1) < 0 ||
		dup2(open("stderr", O_WRONLY | O_CREAT | O_TRUNC, 0600), 2) < 0)
		_exit(126);
	if (cli->file_limit && setrlimit(RLIMIT_FSIZE, &limit))
		_exit(126);
	if (cli->prepare)
		cli->prepare(cli);
	(void)execv(HONE_BINARY_DIR "/bin/hone", (char *const *)(uintptr_t)argv);
	_exit(127);
}

void
cli_start(struct cli *cli, const char *const *words)
{
	cli->child = fork();
	assert_true(cli->child >= 0);
	if (!cli->child)
		become(cli, words);
}

int
cli_wait(struct cli *cli)
{
	int status;

	assert_int_equal(waitpid(cli->child, &status, 0), cli->child);
	cli->child = 0;
	cli->code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	free(cli->out);
	free(cli->err);
	cli->out = cli_read(cli, "stdout");
	cli->err = cli_read(cli, "stderr");
	assert_non_null(cli->out);
	assert_non_null(cli->err);
	return cli->code;
}

int
cli_run(struct cli *cli, const char *word, ...)
{
	const char *words[N_WORDS + 1] = {word};
	va_list more;

	va_start(more, word);
	for (int i = 1; i < N_WORDS && words[i - 1]; i++)
		words[i] = va_arg(more, const char *);
	va_end(more);
	cli_start(cli, words);
	return cli_wait(cli);
}

json_t *
cli_json(const struct cli *cli, const char *schema)
{
	json_error_t error;
	json_t *root = json_loads(cli->out, JSON_REJECT_DUPLICATES, &error);

	if (!root)
		fail_msg("no JSON: %s\n%s\n%s", error.text, cli->out, cli->err);
	assert_string_equal(json_string_value(json_object_get(root, "schema")), schema);
	return root;
}

void
cli_expect(const struct cli *cli, int code, ...)
{
	const char *text;
	va_list texts;

	if (cli->code != code)
		fail_msg("exit code %d, expected %d\n%s%s", cli->code, code, cli->out, cli->err);
	if (code && cli->out[0])
		fail_msg("failed, but wrote to stdout: %s", cli->out);
	va_start(texts, code);
	while ((text = va_arg(texts, const char *)))
		if (!strstr(cli->err, text))
			fail_msg("stderr does not say '%s':\n%s", text, cli->err);
	va_end(texts);
}
