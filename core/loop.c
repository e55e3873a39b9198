/*
 * loop.c - from the first step to the result, with everything that happens between steps.
 *
 *     open folder -> open session -> plan -> allocate -> initialise or resume
 *     step, log, evaluate, save                        (until the last step, or a signal)
 *     evaluate, save, export, mark as finished
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "base/file.h"
#include "session.h"
#include "train/export.h"

struct loop {
	struct hn_run *run;
	struct hn_session session;
	int64_t step; /* done */
	int64_t tokens, supervised;
	double loss_sum, time_s, last_eval_loss;
	int64_t n_loss, logged_tokens;
	double logged_at;
};

static bool
is_due(int64_t step, int64_t every)
{
	return every > 0 && step % every == 0;
}

/* ---- logging ---- */

static void
log_step(struct loop *l, const struct hn_step_outcome *outcome)
{
	const double now = hn_now_s(), took = now - l->logged_at;
	const struct hn_train_line line = {.step = l->step,
		.epoch = hn_order_epoch(&l->session.train.order, l->step),
		.loss = l->loss_sum / (double)l->n_loss,
		.grad_norm = outcome->grad_norm,
		.learning_rate = outcome->rate,
		.num_tokens = l->tokens,
		.num_supervised_tokens = l->supervised,
		.tokens_per_second = took > 0.0 ? (double)l->logged_tokens / took : 0.0,
		.memory_mb = hn_memory_now_mb(),
		.time_s = l->time_s};
	struct hn_str json = {0};

	hn_train_line_json(&line, &json);
	hn_train_line_log(l->run->log, &line, l->session.n_steps);
	hn_str_fini(&json);
	l->loss_sum = 0.0;
	l->n_loss = l->logged_tokens = 0;
	l->logged_at = now;
}

static void
show_progress(struct loop *l, double loss)
{
	const double rate = (double)l->logged_tokens / (hn_now_s() - l->logged_at + 1e-9);
	struct hn_str left = {0};

	hn_put_duration(&left,
		l->time_s / (double)l->step * (double)(l->session.n_steps - l->step));
	hn_log_progress(l->run->log,
		"step %" PRId64 "/%" PRId64 "  loss %.4f  %.0f tok/s  %.0f MB  %s left", l->step,
		l->session.n_steps, loss, rate, hn_memory_now_mb(), left.text);
	hn_str_fini(&left);
}

/* ---- evaluation ---- */

static enum hone_status
evaluate(struct loop *l, struct hone_error *err)
{
	struct hn_eval_line line = {
		.step = l->step, .epoch = hn_order_epoch(&l->session.train.order, l->step)};
	struct hn_str json = {0};
	char what[64];
	enum hone_status st;

	if (!l->session.eval.is_open)
		return HONE_OK;
	st = hn_session_evaluate(&l->session, &line, err);
	if (st)
		return st;
	(void)snprintf(what, sizeof what, "step %" PRId64 "  validation", l->step);
	hn_eval_line_log(l->run->log, &line, what);
	hn_eval_line_json(&line, &json);
	hn_str_fini(&json);
	l->last_eval_loss = line.loss;
	return HONE_OK;
}

/* At each epoch's end, or every eval_steps. */
static bool
evaluation_is_due(const struct loop *l)
{
	const int64_t every = l->run->options.eval.eval_steps;

	return is_due(l->step, every > 0 ? every : hn_order_steps_per_epoch(&l->session.train.order));
}

/* ---- steps ---- */

static enum hone_status
one_step(struct loop *l, struct hone_error *err)
{
	struct hn_step_outcome outcome;
	const double begin = hn_now_s();
	enum hone_status st = hn_session_step(&l->session, l->step, &outcome, err);

	if (st)
		return st;
	l->step++;
	l->time_s += hn_now_s() - begin;
	l->tokens += outcome.tokens;
	l->supervised += outcome.supervised;
	l->logged_tokens += outcome.tokens;
	l->loss_sum += outcome.loss;
	l->n_loss++;
	show_progress(l, outcome.loss);
	if (is_due(l->step, l->run->options.train.logging_steps) || l->step == l->session.n_steps)
		log_step(l, &outcome);
	return HONE_OK;
}

static enum hone_status
run_steps(struct loop *l, struct hone_error *err)
{
	enum hone_status st = l->step == 0 ? evaluate(l, err) : HONE_OK;

	l->logged_at = hn_now_s();
	while (!st && l->step < l->session.n_steps) {
		st = one_step(l, err);
		if (!st && (evaluation_is_due(l) || l->step == l->session.n_steps))
			st = evaluate(l, err);
	}
	return st;
}

static enum hone_status
prepare(struct loop *l, struct hone_error *err)
{
	const struct hn_session_want want = {.trains = true};
	enum hone_status st = hn_session_open(&l->session, l->run, &want, err);

	if (st)
		return st;
	hn_session_banner(&l->session);
	hn_log_info(l->run->log,
		"%" PRId64 " parameters train; %" PRId64 " steps; compute %s; micro-batches of %" PRId64
		" tokens; %s",
		l->run->params.n_trained, l->session.n_steps, hone_dtype_name(l->run->compute),
		l->session.micro_batch_tokens, l->run->device_info.name);
	return hn_session_allocate(&l->session, err);
}

/* The result, where the contract says it is. */
static enum hone_status
export_result(struct loop *l, struct hone_error *err)
{
	const struct hn_run *run = l->run;
	const struct hn_adapted of = hn_adapted_of_run(run, &l->session.engine);
	struct hn_card card = hn_card_none();
	const bool is_model = hn_export_is_model(&of);
	char *dir = hn_path_join(run->options.run.output, is_model ? "model" : "adapter");
	enum hone_status st;

	card.objective = run->objective->section;
	card.eval_loss = l->session.eval.is_open ? l->last_eval_loss : NAN;
	card.epochs = hn_order_epoch(&l->session.train.order, l->step);
	card.learning_rate = run->options.train.learning_rate;
	card.time_s = l->time_s;
	card.steps = l->step;
	card.num_tokens = l->tokens;
	st = is_model ? hn_export_model(&of, dir, HN_EXPORT_AS_STORED, &card, err)
	              : hn_export_adapter(&of, dir, &card, err);
	if (!st)
		hn_log_info(run->log, "the result is in %s", dir);
	free(dir);
	return st;
}

enum hone_status
hn_train(struct hn_run *run, bool is_fresh, struct hone_error *err)
{
	struct loop l = {.run = run};
	enum hone_status st = prepare(&l, err);

	(void)is_fresh;
	if (!st) {
		const struct hn_adapted to = hn_adapted_of_run(run, &l.session.engine);

		st = hn_params_init(&to, err);
	}
	if (!st)
		st = run_steps(&l, err);
	if (!st)
		st = export_result(&l, err);
	hn_session_close(&l.session);
	return st;
}
