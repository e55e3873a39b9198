/*
 * train/identity.h - which base model a run belongs to, and whether it still is that one.
 *
 *     at the start        configuration, size and samples of each file: milliseconds
 *     when it goes on     the same; a file with another time is read whole at once
 *     before it saves     read whole once in a sitting, and again where its time has changed
 *
 * A file that is equal in size, time and samples is trusted until the first saving, where
 * its whole content is hashed and compared with what the checkpoint says that the run began
 * with.  So the first step waits for nothing, and a bit that flipped in the middle of the
 * weights is found before anything is saved that was computed with it.
 *
 * Not security: whoever can write the model can write the checkpoint.
 */
#ifndef HN_TRAIN_IDENTITY_H
#define HN_TRAIN_IDENTITY_H

#include "base/log.h"
#include "model/model.h"
#include "train/checkpoint.h"

struct hn_identity {
	struct hn_model *model;
	struct hn_log *log;
	char sample[33];
	char content[33];          /* xxh128 of all its bytes; "" = not known yet */
	bool is_read;              /* it was read whole in this sitting */
	bool has_warned;           /* of a file that took its place */
	struct hn_str size, files; /* "1 file of 4096 bytes"; size and time of each file */
};

/* Samples the model, which is borrowed: the maps of its files learn accepted times. */
void hn_identity_open(struct hn_identity *identity, struct hn_model *model, struct hn_log *log);
void hn_identity_close(struct hn_identity *identity); /* a zeroed one is fine */

/* The facts of a checkpoint: "model" (the samples) and what goes with it.  At most
 * HN_IDENTITY_FACTS; they point into the identity, which is up to date after
 * hn_identity_check. */
enum { HN_IDENTITY_FACTS = 4 };
size_t hn_identity_facts(const struct hn_identity *identity, struct hn_fact *out);

/* Takes up what a checkpoint says, and compares at once where a file's time is another.
 * HONE_ECONFIG when its content is. */
enum hone_status hn_identity_resume(
	struct hn_identity *identity, const struct hn_saved *saved, struct hone_error *err);

/* Before anything is saved that was computed with the model.  HONE_ECONFIG when it is not the
 * one that the run began with, HONE_EMODEL when it was changed while it was in use.
 * `in_haste`: a large model is not read for it, and the next sitting does. */
enum hone_status hn_identity_check(
	struct hn_identity *identity, bool in_haste, struct hone_error *err);

/* HONE_EMODEL when a file of the model was written to since it was opened, or was accepted:
 * before a result that was computed with it is shown or put in its place. */
enum hone_status hn_model_check_unchanged(const struct hn_model *model, struct hone_error *err);

/* The sampled identity of a model wherever it lies: a hash of its configuration and, for each of
 * its files, size, both ends (headers are there) and pages spread over the rest. */
void hn_model_identity(const struct hn_model *model, char out[33]);

#endif
