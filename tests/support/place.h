/*
 * support/place.h - a folder with data and a run.ini, and the built program run in it.
 *
 * The run is LoRA with dropout on golden/models/tiny-llama over little sums, in shuffled order
 * over several epochs, with evaluation: everything that a resumed run could get wrong.  Every
 * command gets further words ("--set train.max_steps=4"), so one place serves many runs.
 */
#ifndef HN_TEST_PLACE_H
#define HN_TEST_PLACE_H

#include <jansson.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "support.h"

struct place {
	char *root;
	uint64_t file_bytes_max;               /* RLIMIT_FSIZE of what is started; 0 = none */
	uint64_t stack_bytes, stack_bytes_max; /* RLIMIT_STACK, soft and hard; 0 = as it is */
};

/* How a process ended: by exit `code`, or by `signal`.  rss_bytes is its largest ever. */
struct place_end {
	int code, signal;
	int64_t rss_bytes;
};

/* Makes train.jsonl, validation.jsonl and run.ini. */
void place_open(struct place *place);
void place_close(struct place *place);

/* <root>/<name>; the caller frees. */
char *place_path(const struct place *place, const char *name);
/* Writes a file of the place. */
void place_write(const struct place *place, const char *name, const char *text);
/* A file of the place as text, "" where there is none; the caller frees. */
char *place_read(const struct place *place, const char *name);
/* Copies the model to <root>/model, with `n_unused` bytes behind its weights that no site uses:
 * for PLACE_OWN_MODEL among the words of a command. */
#define PLACE_OWN_MODEL "--set model.path=model "
void place_copy_model(const struct place *place, size_t n_unused);
/* Waits for a checkpoint of this step or a later one; fails the test when none comes. */
void place_wait_saved(const struct place *place, const char *output, int64_t step);
/* Copies files of golden/models/tiny-llama into the place's folder of that name, the names
 * ending with NULL; of the last file it changes the last four bytes to `tail` unless NULL. */
void place_copy_files(const struct place *place, const char *folder, const char *const *names,
	const uint8_t tail[4]);
/* Rows of little sums as JSONL. */
void place_write_sums(const struct place *place, const char *name, uint64_t seed, int n);

/* Starts `hone <command> <ini> <words>`; stdout and stderr become files of these names. */
pid_t place_start(
	const struct place *place, const char *command, const char *ini, const char *words);
struct place_end place_wait(pid_t pid);
/* Starts run.ini and waits; fails the test, with stderr, when it ends with another code. */
struct place_end place_run(
	const struct place *place, const char *command, const char *words, int code);
/* What a command says with code 0, as JSON; json_decref. */
json_t *place_json(const struct place *place, const char *command, const char *words);
/* The loss that hone eval says. */
double place_eval_loss(const struct place *place, const char *words);
/* What was written to stderr must have all these words, which NULL ends. */
void place_assert_says(const struct place *place, ...);

/* The same files with the same bytes in two folders, but for the card, which names times, and
 * but for folders in them. */
void place_assert_same_folder(const struct place *place, const char *a, const char *b);
/* The same of <a>/adapter and <b>/adapter. */
void place_assert_same_result(const struct place *place, const char *a, const char *b);
/* The same lines in metrics.jsonl, but for time, speed and memory. */
void place_assert_same_metrics(const struct place *place, const char *a, const char *b);
/* Steps of the checkpoints that are there: the newest, -1 when there is none. */
int64_t place_newest_step(const struct place *place, const char *output);

/* Whether this build counts memory otherwise: sanitizers keep shadows and freed blocks. */
bool place_is_instrumented(void);

double place_now_s(void);
void place_sleep(double seconds);

#endif
