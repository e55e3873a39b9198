/*
 * train/checkpoint.h - a run's state on disk: complete or absent.
 *
 *     checkpoints/step-000300/
 *         params.safetensors      values of all parameters, buffers too, by param key
 *         optimizer.safetensors   "exp_avg/<key>" and "exp_avg_sq/<key>" of what trains
 *         config.ini              the resolved configuration
 *         manifest.json           last: progress, facts, size and hash of each file, own hash
 *     checkpoints/best -> step-000200
 *
 * Saving writes into a folder beside, syncs every file, the manifest last, then the folder,
 * reads everything back and compares it with memory, and only then renames.  So whatever
 * instant the process or the machine dies at, a folder called step-* is whole, and one
 * without a valid manifest does not exist as far as hone is concerned.  Numbers are stored
 * in the type they have in memory and come back bit for bit.  Randomness and the order of
 * data are functions of seed and step, so there is nothing else to save.
 *
 * Not the result of a run (that is a PEFT folder), not a format for other programs.
 */
#ifndef HN_TRAIN_CHECKPOINT_H
#define HN_TRAIN_CHECKPOINT_H

#include "config/config.h"
#include "graph/engine.h"
#include "train/folder.h"

/* Everything that a training loop needs beside parameters and moments.  Integers and doubles
 * come back exactly, not-finite ones too (a NaN as some NaN). */
struct hn_progress {
	int64_t step;                      /* optimizer steps that were done */
	int64_t tokens, supervised_tokens; /* seen since the run began */
	/* since the last logged step: sums over its steps */
	double loss_sum, loss_weight;
	int64_t logged_step, logged_tokens;
	double logged_time_s;
	double train_loss_sum; /* of each step's loss, over the whole run */
	double grad_norm;      /* of the last step */
	/* the best evaluation so far */
	double best_metric;
	int64_t best_step, last_eval_step; /* -1: none yet */
	int64_t patience_left;
	double last_eval_loss;
	double time_s; /* of training, over all its sittings */
};

/* Something that identifies what a run works with, by content: "model", "tokenizer",
 * "data.train", "kernel_path" ... */
struct hn_fact {
	const char *key, *value;
	bool is_note; /* recorded; a difference is a warning and no refusal */
	bool is_kept; /* only recorded: whoever wrote it compares it */
	/* Where they are given a difference is told in words, not in hashes: the file, the key
	 * that names it, and how large it is, which is the fact "<key>.size" of a checkpoint. */
	const char *path, *what, *size;
};

/* What is saved; everything is borrowed. */
struct hn_save_request {
	const struct hn_engine *engine; /* moments are saved where it has them */
	const struct hn_progress *progress;
	const char *config; /* hn_config_print's text */
	const struct hn_fact *facts;
	size_t n_facts;
	bool is_best;  /* checkpoints/best shall mean this one */
	int64_t limit; /* newest ones that are kept, besides the best; at least 1 */
};

/* Saves as step-<progress->step>, replacing one of the same step in one move, then prunes.  On
 * any error what was there stays and the half-written folder is gone; HONE_EIO names the path
 * and, when the disk is full, the bytes needed and free.  Trouble while pruning is a warning
 * in the folder's log. */
enum hone_status hn_checkpoint_save(
	struct hn_folder *folder, const struct hn_save_request *request, struct hone_error *err);

/* Makes checkpoints/best mean step-<step>, which is there.  Saving does it, too; a run that
 * died between the two does it when it goes on. */
enum hone_status hn_checkpoint_mark_best(
	const struct hn_folder *folder, int64_t step, struct hone_error *err);

/* A checkpoint that was found and whose files have the sizes and hashes of its manifest. */
struct hn_saved {
	char *path, *config;
	struct hn_progress progress;
	struct hn_fact *facts;
	size_t n_facts;
	bool has_moments;
	struct hn_arena arena; /* of the facts */
};

/* Verifies one checkpoint folder and reads its manifest. */
enum hone_status hn_saved_open(struct hn_saved *saved, const char *dir, struct hone_error *err);
void hn_saved_close(struct hn_saved *saved); /* a zeroed one is fine */
/* The value of one of its facts, borrowed; NULL when it has none of that name. */
const char *hn_saved_fact(const struct hn_saved *saved, const char *key);

/* The newest that is whole; each that is not is logged with its cause.  HONE_ENOTFOUND when
 * there is none at all; HONE_EIO when there are some and none is whole, so that a run never
 * silently begins anew. */
enum hone_status hn_checkpoint_newest(
	const struct hn_folder *folder, struct hn_saved *saved, struct hone_error *err);
/* The one that checkpoints/best means; HONE_ENOTFOUND when there is none. */
enum hone_status hn_checkpoint_best(
	const struct hn_folder *folder, struct hn_saved *saved, struct hone_error *err);

/* Puts values, and moments where the engine has them, into an allocated engine.  Every
 * parameter must be there with its shape and nothing else may be; nothing was changed when
 * this is not so. */
enum hone_status hn_checkpoint_load(
	const struct hn_saved *saved, const struct hn_engine *engine, struct hone_error *err);

/* What a checkpoint is compared with before a run goes on from it. */
struct hn_resume {
	const struct hn_config_check *check; /* the configuration now, its sections read */
	const struct hn_fact *facts;
	size_t n_facts;
	struct hn_log *log; /* differences beyond the first; notes; may be NULL */
};

/* HONE_ECONFIG naming key, old and new value and the remedy when something differs that
 * changes results: an option without HONE_OPTION_RUNTIME, or a fact that is no note. */
enum hone_status hn_checkpoint_check_same(
	const struct hn_saved *saved, const struct hn_resume *now, struct hone_error *err);

/* Whether `metric` is a new best.  The first that is finite is; one that is not finite never
 * is; it must gain more than `threshold` (0 = be better at all). */
bool hn_is_better(double metric, bool has_best, double best, bool greater, double threshold);

#endif
