/*
 * support/cli.h - the program as a user runs it: words in, exit code, stdout and stderr out.
 *
 * Each struct cli is a working folder of its own, in which the program is started with stdin
 * closed off.  It holds what a small run needs: run.ini and train.jsonl for the bundled
 * tiny-llama, which trains in well under a second.
 */
#ifndef HN_TEST_CLI_H
#define HN_TEST_CLI_H

#include <jansson.h>
#include <sys/types.h>

struct cli {
	char *folder;
	pid_t child;       /* between cli_start and cli_wait */
	int code;          /* as a shell gives it: 128 + n for signal n */
	char *out, *err;   /* of the last command */
	long file_limit;   /* RLIMIT_FSIZE of the program in bytes; 0 = none */
	long memory_limit; /* for prepare */
	void (*prepare)(
		const struct cli *cli); /* called in the child before the program; or NULL */
};

/* Makes the folder with run.ini (LoRA, sft, reference backend, 4 steps) and its data.
 * `extra` is appended to run.ini; may be NULL. */
void cli_open(struct cli *cli, const char *extra);
void cli_close(struct cli *cli);

/* Writes, reads (the caller frees; NULL = there is none) and asks for files of the folder. */
void cli_write(const struct cli *cli, const char *name, const char *text);
char *cli_read(const struct cli *cli, const char *name);
int cli_has(const struct cli *cli, const char *name);

/* Copies tiny-llama with its tokenizer to a folder below. */
void cli_copy_model(const struct cli *cli, const char *folder);
/* Puts `to` where `from` stands first in a file, which may be binary; fails the test where it
 * stands nowhere. */
void cli_patch(const struct cli *cli, const char *name, const char *from, const char *to);

/* Removes a file, or a folder with what is in it. */
void cli_remove(const struct cli *cli, const char *name);

/* Runs "hone WORD... " to its end; the words end with NULL.  Returns the exit code. */
int cli_run(struct cli *cli, const char *word, ...);
/* The same, started only; cli_wait ends it. */
void cli_start(struct cli *cli, const char *const *words);
int cli_wait(struct cli *cli);

/* stdout as one JSON document of this schema; fails the test otherwise.  json_decref it. */
json_t *cli_json(const struct cli *cli, const char *schema);

/* Fails the test, with what was printed, unless the last command ended with `code`, its stderr
 * holds each text (NULL ends them), and, where code is not 0, its stdout is empty. */
void cli_expect(const struct cli *cli, int code, ...);

#endif
