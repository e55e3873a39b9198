/*
 * train/folder.h - the folder of a run: one process at a time, and what lies at its top.
 *
 *     <output>/.lock            held (flock) while a process works; says which
 *     <output>/state.json       "running" or "finished": what makes a folder a run's
 *     <output>/config.ini       the resolved configuration
 *     <output>/log.txt          appended to by the log
 *     <output>/metrics.jsonl    a line per call
 *     <output>/checkpoints/     train/checkpoint.h
 *
 * A folder that holds anything and no state.json is somebody else's and is left alone, also
 * by --fresh.  Errors of use are HONE_ECONFIG (another output is the remedy), those of the
 * disk HONE_EIO.
 */
#ifndef HN_TRAIN_FOLDER_H
#define HN_TRAIN_FOLDER_H

#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>

enum hn_folder_state {
	HN_FOLDER_EMPTY = 0, /* new, or stopped before anything was saved */
	HN_FOLDER_RESUMABLE, /* there are checkpoints; hn_checkpoint_newest says which are whole */
	HN_FOLDER_FINISHED,
};

struct hn_folder {
	char *path, *checkpoints;
	enum hn_folder_state state;
	int64_t finished_step; /* where state is HN_FOLDER_FINISHED */
	char *renamed;         /* where --fresh has put the old folder; NULL when there was none */
	char *made;            /* the topmost folder that opening made; NULL when all were there */
	struct hn_log *log;
	int lock, metrics; /* descriptors */
};

/* Opens `<output>`, made where it is absent, takes the lock and sweeps away what a process that
 * was killed left half done.  `fresh` renames an old run's folder to "<output>.1" (".2" ...)
 * first.  The log is borrowed and gets its file; nothing was said to it when this fails.
 * Close in any case. */
enum hone_status hn_folder_open(struct hn_folder *folder, const char *output, bool fresh,
	struct hn_log *log, struct hone_error *err);
/* Gives the lock back and takes the file from the log; a zeroed or closed folder is fine. */
void hn_folder_close(struct hn_folder *folder);

/* Before closing, of a run that was refused before its first step: removes what opening made,
 * unless something is in it by now, and puts back what --fresh had renamed. */
void hn_folder_discard(struct hn_folder *folder);
/* The topmost folder of `path` that is not there, or NULL; the caller frees. */
char *hn_folder_first_absent(const char *path);

/* Replaces "<output>/<name>" atomically. */
enum hone_status hn_folder_write(
	const struct hn_folder *folder, const char *name, const char *text, struct hone_error *err);

/* HONE_EIO when the path does not name the folder any more that was opened: removed or renamed
 * while the run was at work.  Whoever saves asks first. */
enum hone_status hn_folder_check_there(const struct hn_folder *folder, struct hone_error *err);

/* Whether `output` is the folder of a run that has come to its end. */
bool hn_folder_is_finished(const char *output);
/* HONE_EMODEL naming the first file of a finished run's result that is gone or has other bytes
 * than were written; HONE_OK for any other folder.  Weights are looked at, and the config.json
 * of a model: what a person may want to edit is not. */
enum hone_status hn_folder_check_result(const char *output, struct hone_error *err);

/* What a result belongs to: identities of the base model and of the tokenizer, as in the facts
 * of a checkpoint. */
struct hn_made_with {
	char model[33], tokenizer[33];
};

/* Marks the run as finished after `step`, with the hashes of its result and what it was made
 * with; the next opening says so. */
enum hone_status hn_folder_finish(struct hn_folder *folder, int64_t step,
	const struct hn_made_with *with, struct hone_error *err);
/* What the result of a finished run was made with; "" where that is not known. */
void hn_folder_made_with(const char *output, struct hn_made_with *out);

/* Appends one line (a JSON object without its newline) to metrics.jsonl with one write; a line
 * that fits only in part is taken back.  Not synced: a lost line is made again by the resumed
 * run. */
enum hone_status hn_folder_metrics(
	struct hn_folder *folder, const char *line, struct hone_error *err);
/* Keeps the lines whose "step" is at most `step` and drops the others, a torn last line with
 * them, atomically: a resumed run writes them again.  -1 drops all. */
enum hone_status hn_folder_metrics_cut(
	struct hn_folder *folder, int64_t step, struct hone_error *err);

#endif
