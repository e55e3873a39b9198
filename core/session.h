/*
 * session.h - a run with its data, ready to compute: what train, eval and plan share.
 *
 *     data -> capacities -> programs -> memory
 *
 * Opening a session reads and prepares the data and plans the programs; only
 * hn_session_allocate asks for the memory.  So `hone plan` opens one and prints it, and `hone
 * check` opens one to see that it can.
 */
#ifndef HN_SESSION_H
#define HN_SESSION_H

#include "data/dataset.h"
#include "data/order.h"
#include "data/window.h"
#include "run.h"
#include "train/report.h"
#include "train/schedule.h"
#include "train/step.h"

/* One split with what emits its batches. */
struct hn_split {
	const char *name; /* "train", "validation", "test" */
	struct hn_dataset data;
	struct hn_window window;
	struct hn_order order;
	bool is_open, has_window;
	struct hn_binding binding; /* of the window to the program that reads it */
};

struct hn_session_want {
	bool trains;           /* programs of the optimizer step; otherwise evaluation only */
	bool without_adapters; /* evaluate the untouched file */
	bool recomputes;       /* layers are computed again in the backward, to save memory */
	const char *split;     /* evaluation: which split; NULL = validation, where there is one */
};

struct hn_session {
	struct hn_run *run;
	struct hn_session_want want;
	struct hn_text_service text;
	struct hn_split train, eval;
	int64_t n_steps, micro_batch_tokens, chunk_rows;
	struct hn_schedule_plan schedule;
	struct hn_adamw adamw;
	struct hn_engine engine;
	struct hn_step step;        /* when want.trains */
	struct hn_program evaluate; /* when eval.is_open */
	struct hn_build_result eval_result;
	double start_s; /* of the session, on the monotonic clock */
};

/* With [train] memory_limit a plan above it is made again with smaller micro-batches, then with
 * recomputation of layers; when nothing fits it is HONE_ENOMEM with the bytes. */
enum hone_status hn_session_open(struct hn_session *session, struct hn_run *run,
	const struct hn_session_want *want, struct hone_error *err);
enum hone_status hn_session_allocate(struct hn_session *session, struct hone_error *err);
void hn_session_close(struct hn_session *session);

/* One optimizer step `number` (from 0): emits, accumulates, updates.  `sums` of the terms are
 * in session->step; *loss is the value of the loss, *tokens and *supervised what it took. */
struct hn_step_outcome {
	double loss, grad_norm, rate;
	int64_t tokens, supervised;
};
enum hone_status hn_session_step(struct hn_session *session, int64_t number,
	struct hn_step_outcome *outcome, struct hone_error *err);

/* Evaluates the eval split: loss and metrics, weighted by their own denominators. */
enum hone_status hn_session_evaluate(
	struct hn_session *session, struct hn_eval_line *line, struct hone_error *err);

/* What was read: rows, tokens, what was cut or dropped; a warning for each that deserves one. */
void hn_session_banner(const struct hn_session *session);

double hn_now_s(void);

#endif
