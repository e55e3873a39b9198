/*
 * loop.c - from the first step to the result, with everything that happens between steps.
 *
 *     open folder -> open session -> plan -> allocate -> initialise or resume
 *     step, log, evaluate, save                        (until the last step, or a signal)
 *     save, export, mark as finished
 *
 * All that a later step depends on beside parameters and moments is in struct hn_progress, so
 * a run that was stopped anywhere goes on as if nothing had happened.
 */
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "excerpt.h"
#include "loop.h"
#include "result.h"
#include "session.h"
#include "train/checkpoint.h"
#include "train/export.h"
#include "train/identity.h"
#include "train/interrupt.h"

enum { N_FACTS = HN_IDENTITY_FACTS + 8, SIZE_TEXT = 96 };

struct loop {
	struct hn_run *run;
	struct hn_session session;
	struct hn_folder folder;
	struct hn_progress at;
	struct hn_fact facts[N_FACTS];
	size_t n_facts;
	struct hn_identity base; /* of the model */
	char tokenizer[33], train_size[SIZE_TEXT], eval_size[SIZE_TEXT];
	struct hn_str config; /* the resolved configuration */
	struct hn_train_end *end;
	struct hn_step_outcome last;
	bool is_best; /* the last evaluation was the best so far */
	bool stops_early;
	bool is_fresh;      /* asked for by --fresh, which would begin anew once more */
	bool has_begun;     /* the first step is next: the folder is worth something from here on */
	int64_t saved_step; /* -1 = none in this sitting */
};

static bool
is_due(int64_t step, int64_t every)
{
	return every > 0 && step % every == 0;
}

/* ---- logging ---- */

static enum hone_status
log_step(struct loop *l, struct hone_error *err)
{
	struct hn_progress *at = &l->at;
	const double took = at->time_s - at->logged_time_s;
	const struct hn_train_line line = {.step = at->step,
		.epoch = hn_order_epoch(&l->session.train.order, at->step),
		.loss = at->loss_sum / at->loss_weight,
		.grad_norm = l->last.grad_norm,
		.learning_rate = l->last.rate,
		.num_tokens = at->tokens,
		.num_supervised_tokens = at->supervised_tokens,
		.tokens_per_second =
			took > 0.0 ? (double)(at->tokens - at->logged_tokens) / took : 0.0,
		.memory_mb = hn_memory_now_mb(),
		.time_s = at->time_s};
	struct hn_str json = {0};
	enum hone_status st;

	hn_train_line_json(&line, &json);
	hn_train_line_log(l->run->log, &line, l->session.n_steps);
	st = hn_folder_metrics(&l->folder, json.text, err);
	hn_str_fini(&json);
	at->loss_sum = at->loss_weight = 0.0;
	at->logged_step = at->step;
	at->logged_tokens = at->tokens;
	at->logged_time_s = at->time_s;
	return st;
}

static void
show_progress(const struct loop *l)
{
	const struct hn_progress *at = &l->at;
	const double took = at->time_s - at->logged_time_s;
	struct hn_str left = {0};

	hn_put_duration(
		&left, at->time_s / (double)at->step * (double)(l->session.n_steps - at->step));
	hn_log_progress(l->run->log,
		"step %" PRId64 "/%" PRId64 "  loss %.4f  %.0f tok/s  %.0f MB  %s left", at->step,
		l->session.n_steps, l->last.loss,
		took > 0.0 ? (double)(at->tokens - at->logged_tokens) / took : 0.0,
		hn_memory_now_mb(), left.text);
	hn_str_fini(&left);
}

/* ---- evaluation ---- */

/* The value that "best" is measured by: the loss, perplexity, or a metric of the objective. */
static enum hone_status
watched_metric(
	const struct loop *l, const struct hn_eval_line *line, double *out, struct hone_error *err)
{
	const char *name = l->run->options.checkpoint.metric_for_best_model;

	if (hn_starts_with(name, "eval_"))
		name += 5;
	if (hn_streq(name, "loss")) {
		*out = line->loss;
		return HONE_OK;
	}
	if (line->has_perplexity && hn_streq(name, "perplexity")) {
		*out = line->perplexity;
		return HONE_OK;
	}
	for (uint32_t i = 0; i < line->n_metrics; i++)
		if (hn_streq(line->metrics[i].name, name)) {
			*out = line->metrics[i].value;
			return HONE_OK;
		}
	return hone_fail(err, HONE_ECONFIG,
		"[checkpoint] metric_for_best_model = %s is no metric of this evaluation "
		"(loss%s%s%s)",
		name, line->has_perplexity ? ", perplexity" : "", line->n_metrics ? ", " : "",
		line->n_metrics ? line->metrics[0].name : "");
}

static bool
greater_is_better(const struct hn_checkpoint_options *o)
{
	const char *name = o->metric_for_best_model;

	if (o->greater_is_better != HN_GREATER_AUTO)
		return o->greater_is_better == HN_GREATER_YES;
	return !hn_ends_with(name, "loss") && !hn_ends_with(name, "perplexity");
}

static enum hone_status
judge(struct loop *l, const struct hn_eval_line *line, struct hone_error *err)
{
	const struct hn_train_options *train = &l->run->options.train;
	const bool greater = greater_is_better(&l->run->options.checkpoint);
	struct hn_progress *at = &l->at;
	double value = NAN;
	enum hone_status st = watched_metric(l, line, &value, err);
	bool gains;

	if (st || at->step == 0)
		return st;
	gains = hn_is_better(value, at->best_step >= 0, at->best_metric, greater,
		train->early_stopping_threshold);
	l->is_best = hn_is_better(value, at->best_step >= 0, at->best_metric, greater, 0.0);
	if (l->is_best) {
		at->best_metric = value;
		at->best_step = at->step;
	}
	if (train->early_stopping_patience > 0) {
		at->patience_left = gains ? train->early_stopping_patience : at->patience_left - 1;
		l->stops_early = at->patience_left <= 0;
	}
	return HONE_OK;
}

static enum hone_status
evaluate(struct loop *l, struct hone_error *err)
{
	struct hn_eval_line line = {
		.step = l->at.step, .epoch = hn_order_epoch(&l->session.train.order, l->at.step)};
	struct hn_str json = {0};
	char what[64];
	enum hone_status st;

	l->is_best = false;
	if (!l->session.eval.is_open || l->at.last_eval_step == l->at.step)
		return HONE_OK;
	st = hn_session_evaluate(&l->session, &line, err);
	if (st) {
		hone_error_while(err, "evaluating after step %" PRId64, l->at.step);
		return st;
	}
	(void)snprintf(what, sizeof what, "step %" PRId64 "  validation", l->at.step);
	hn_eval_line_log(l->run->log, &line, what);
	hn_eval_line_json(&line, &json);
	st = hn_folder_metrics(&l->folder, json.text, err);
	hn_str_fini(&json);
	l->at.last_eval_loss = line.loss;
	l->at.last_eval_step = l->at.step;
	return st ? st : judge(l, &line, err);
}

/* At each epoch's end, or every eval_steps; and at the end. */
static bool
evaluation_is_due(const struct loop *l)
{
	const int64_t every = l->run->options.eval.eval_steps;

	return l->at.step == l->session.n_steps ||
		is_due(l->at.step,
			every > 0 ? every : hn_order_steps_per_epoch(&l->session.train.order));
}

/* ---- what a checkpoint belongs to ---- */

static void
add_fact(struct loop *l, const char *key, const char *value, bool is_note)
{
	l->facts[l->n_facts++] = (struct hn_fact){.key = key, .value = value, .is_note = is_note};
}

/* A file of data, by content; `size` is what a person can compare. */
static void
add_file(struct loop *l, const struct hn_split *split, const char *const names[3], char *size)
{
	const struct hn_jsonl *file = &split->data.file;

	(void)snprintf(size, SIZE_TEXT, "%zu rows in %" PRIu64 " bytes", file->n, file->map.size);
	l->facts[l->n_facts++] = (struct hn_fact){.key = names[0],
		.value = file->hash,
		.path = file->path,
		.what = names[2],
		.size = size};
	l->facts[l->n_facts++] =
		(struct hn_fact){.key = names[1], .value = size, .is_note = true, .is_kept = true};
}

static void
collect_facts(struct loop *l)
{
	static const char *const train[] = {"data.train", "data.train.size", "[data] train"};
	static const char *const eval[] = {
		"data.validation", "data.validation.size", "[data] validation"};

	l->n_facts = hn_identity_facts(&l->base, l->facts);
	add_fact(l, "tokenizer", l->tokenizer, false);
	add_file(l, &l->session.train, train, l->train_size);
	if (l->session.eval.is_open)
		add_file(l, &l->session.eval, eval, l->eval_size);
	add_fact(l, "compute", hone_dtype_name(l->run->compute), false);
	add_fact(l, "kernel_path", l->run->device_info.kernel_path, false);
	add_fact(l, "hone", HONE_VERSION, true);
}

/* ---- saving ---- */

static enum hone_status
save(struct loop *l, bool in_haste, struct hone_error *err)
{
	struct hn_save_request request = {.engine = &l->session.engine,
		.progress = &l->at,
		.config = l->config.text,
		.facts = l->facts,
		.is_best = l->is_best,
		.limit = l->run->options.checkpoint.save_total_limit};
	enum hone_status st;

	if (l->saved_step == l->at.step && !l->is_best)
		return HONE_OK;
	st = hn_identity_check(&l->base, in_haste, err);
	if (st)
		return st;
	collect_facts(l); /* what the check has found out is among them */
	request.n_facts = l->n_facts;
	st = hn_checkpoint_save(&l->folder, &request, err);
	if (!st) {
		l->saved_step = l->at.step;
		hn_interrupt_saved(l->at.step);
	}
	return st;
}

static bool
save_is_due(const struct loop *l)
{
	const struct hn_checkpoint_options *o = &l->run->options.checkpoint;

	return l->at.step == l->session.n_steps || l->stops_early ||
		is_due(l->at.step, o->save_steps) || (o->load_best_model_at_end && l->is_best);
}

/* ---- steps ---- */

static enum hone_status
one_step(struct loop *l, struct hone_error *err)
{
	struct hn_progress *at = &l->at;
	const double begin = hn_now_s();
	enum hone_status st = hn_session_step(&l->session, at->step, &l->last, err);

	if (st)
		return st;
	at->step++;
	at->time_s += hn_now_s() - begin;
	at->tokens += l->last.tokens;
	at->supervised_tokens += l->last.supervised;
	at->loss_sum += l->last.loss;
	at->loss_weight += 1.0;
	at->train_loss_sum += l->last.loss;
	at->grad_norm = l->last.grad_norm;
	show_progress(l);
	if (is_due(at->step, l->run->options.train.logging_steps) || at->step == l->session.n_steps)
		st = log_step(l, err);
	return st;
}

/* As a person knows it: the handled ones of interrupt.c. */
static const char *
signal_name(int number)
{
	return number == SIGINT ? "SIGINT" : number == SIGTERM ? "SIGTERM" : "SIGHUP";
}

/* For whoever reads the end of a run by machine. */
static void
note_end(const struct loop *l, const struct hn_progress *at, bool is_finished)
{
	struct hn_train_end *end = l->end;

	end->is_finished = is_finished;
	end->steps = at->step;
	end->loss = at->step ? at->train_loss_sum / (double)at->step : NAN;
	end->eval_loss = at->last_eval_loss;
	end->time_s = at->time_s;
}

/* Saves what there is and says that a signal came. */
static enum hone_status
stop(struct loop *l, int signal, struct hone_error *err)
{
	enum hone_status st;

	hn_log_progress_end(l->run->log);
	l->is_best = false;
	st = save(l, true, err);
	if (st)
		return st;
	(void)hone_fail(err, HONE_EINTERRUPTED,
		"stopped by %s after step %" PRId64 "; the same command %sgoes on from there",
		signal_name(signal), l->at.step, l->is_fresh ? "without --fresh " : "");
	note_end(l, &l->at, false);
	if (err)
		err->reserved = signal;
	return HONE_EINTERRUPTED;
}

static enum hone_status
run_steps(struct loop *l, struct hone_error *err)
{
	enum hone_status st = l->at.step == 0 ? evaluate(l, err) : HONE_OK;

	while (!st && l->at.step < l->session.n_steps && !l->stops_early) {
		const int signal = hn_interrupt_requested();

		if (signal)
			return stop(l, signal, err);
		st = one_step(l, err);
		l->is_best = false;
		if (!st && evaluation_is_due(l))
			st = evaluate(l, err);
		if (!st && save_is_due(l))
			st = save(l, false, err);
	}
	if (!st && l->stops_early && l->at.step < l->session.n_steps)
		hn_log_info(l->run->log,
			"no gain in %" PRId64 " evaluations: stopped early after step %" PRId64,
			l->run->options.train.early_stopping_patience, l->at.step);
	return st;
}

/* ---- begin and end ---- */

static enum hone_status
open_session(struct loop *l, struct hone_error *err)
{
	const struct hn_session_want want = {.trains = true};
	enum hone_status st = hn_session_open(&l->session, l->run, &want, err);

	if (st)
		return st;
	hn_session_banner(&l->session);
	hn_log_info(l->run->log,
		"%" PRId64 " parameters train; %" PRId64
		" steps; compute %s; micro-batches of %" PRId64 " tokens; %s",
		l->run->params.n_trained, l->session.n_steps, hone_dtype_name(l->run->compute),
		l->session.micro_batch_tokens, l->run->device_info.name);
	hn_identity_open(&l->base, &l->run->model, l->run->log);
	hn_tokenizer_hash(l->run->tokenizer, l->tokenizer);
	collect_facts(l);
	return hn_session_allocate(&l->session, err);
}

/* Takes up the newest whole checkpoint, if it is of this run. */
static enum hone_status
resume(struct loop *l, struct hone_error *err)
{
	const struct hn_config_check check = hn_run_check(l->run);
	const struct hn_resume now = {
		.check = &check, .facts = l->facts, .n_facts = l->n_facts, .log = l->run->log};
	struct hn_saved saved = {0};
	enum hone_status st = hn_checkpoint_newest(&l->folder, &saved, err);

	if (!st)
		st = hn_checkpoint_check_same(&saved, &now, err);
	if (!st)
		st = hn_identity_resume(&l->base, &saved, err);
	if (!st)
		st = hn_checkpoint_load(&saved, &l->session.engine, err);
	if (!st) {
		l->at = saved.progress;
		l->saved_step = l->at.step;
		hn_interrupt_saved(l->at.step);
		l->stops_early = l->run->options.train.early_stopping_patience > 0 &&
			l->at.patience_left <= 0;
		hn_log_info(l->run->log, "going on from %s", saved.path);
		st = hn_folder_metrics_cut(&l->folder, l->at.step, err);
	}
	/* The process may have died after the checkpoint was in place and before it was marked. */
	if (!st && l->at.best_step >= 0 && l->at.best_step == l->at.step)
		st = hn_checkpoint_mark_best(&l->folder, l->at.step, err);
	hn_saved_close(&saved);
	return st;
}

static enum hone_status
begin(struct loop *l, struct hone_error *err)
{
	const struct hn_adapted to = hn_adapted_of_run(l->run, &l->session.engine);
	enum hone_status st;

	l->at.last_eval_step = l->at.best_step = -1;
	l->at.last_eval_loss = NAN;
	l->at.patience_left = l->run->options.train.early_stopping_patience;
	if (l->folder.state == HN_FOLDER_RESUMABLE)
		st = resume(l, err);
	else if (!(st = hn_folder_metrics_cut(&l->folder, -1, err)))
		st = hn_params_init(&to, err);
	return st ? st : hn_folder_write(&l->folder, "config.ini", l->config.text, err);
}

/* The result is the last step's, or the best one's where that was asked for. */
static enum hone_status
take_best(struct loop *l, struct hone_error *err)
{
	struct hn_saved best = {0};
	enum hone_status st;

	if (!l->run->options.checkpoint.load_best_model_at_end || l->at.best_step < 0)
		return HONE_OK;
	st = hn_checkpoint_best(&l->folder, &best, err);
	if (!st)
		st = hn_checkpoint_load(&best, &l->session.engine, err);
	if (!st) {
		l->at.last_eval_loss = best.progress.last_eval_loss; /* what the card shows */
		hn_log_info(l->run->log, "the best step was %" PRId64, best.progress.step);
	}
	hn_saved_close(&best);
	return st;
}

/* What an adapter merges beside weights that were trained is proven as in hone export; trained
 * weights alone are written as they are. */
static enum hone_status
export_model(struct loop *l, const struct hn_adapted *of, const char *dir,
	const struct hn_card *card, struct hone_error *err)
{
	struct hn_excerpt rows = {0};
	struct hn_proof proof = {0};
	enum hone_status st = HONE_OK;
	bool merges = false;

	for (uint32_t i = 0; i < of->n_adapters; i++)
		merges |= !(of->adapters[i].vt->flags & HONE_ADAPTER_TRAINS_WEIGHTS);
	if (merges)
		st = hn_excerpt_take_split(&rows, l->run, &l->session.train, err);
	proof = (struct hn_proof){.ids = rows.ids,
		.offsets = rows.offsets,
		.n_segments = rows.n_segments,
		.from = rows.from};
	if (!st)
		st = hn_export_model(
			of, dir, HN_EXPORT_AS_STORED, card, merges ? &proof : NULL, err);
	hn_excerpt_fini(&rows);
	return st;
}

static enum hone_status
export_result(struct loop *l, struct hone_error *err)
{
	const struct hn_run *run = l->run;
	const struct hn_adapted of = hn_adapted_of_run(run, &l->session.engine);
	struct hn_card card = hn_card_none();
	const bool is_model = hn_export_is_model(&of);
	char *dir = hn_path_join(run->options.run.output, is_model ? "model" : "adapter");
	enum hone_status st = hn_folder_check_there(&l->folder, err);
	struct hn_made_with with;

	(void)snprintf(with.model, sizeof with.model, "%s", l->base.sample);
	(void)snprintf(with.tokenizer, sizeof with.tokenizer, "%s", l->tokenizer);
	if (!st)
		st = hn_identity_check(&l->base, false, err);
	if (!st)
		st = take_best(l, err);
	card.objective = run->objective->section;
	if (strcmp(run->options.model.storage, "native") != 0)
		card.storage = run->options.model.storage;
	card.loss = l->at.step ? l->at.train_loss_sum / (double)l->at.step : NAN;
	card.eval_loss = l->at.last_eval_loss;
	card.epochs = hn_order_epoch(&l->session.train.order, l->at.step);
	card.learning_rate = run->options.train.learning_rate;
	card.time_s = l->at.time_s;
	card.steps = l->at.step;
	card.num_tokens = l->at.tokens;
	/* So that writing the result never needs more memory than the steps did. */
	hn_engine_release(&l->session.engine);
	if (!st)
		st = is_model ? export_model(l, &of, dir, &card, err)
			      : hn_export_adapter(&of, dir, &card, err);
	if (!st)
		st = hn_folder_finish(&l->folder, l->at.step, &with, err);
	if (!st) {
		note_end(l, &l->at, true);
		hn_log_info(run->log, "the result is in %s", dir);
	}
	free(dir);
	return st;
}

static enum hone_status
train(struct loop *l, struct hone_error *err)
{
	enum hone_status st = open_session(l, err);

	if (!st)
		st = begin(l, err);
	l->has_begun = !st;
	if (!st)
		st = run_steps(l, err);
	return st ? st : export_result(l, err);
}

/* How a finished run is gone beyond: the remedy of a configuration that asks for more steps. */
static void
advise_init_from(const struct loop *l, struct hone_error *err)
{
	const struct hn_run *run = l->run;
	const struct hn_adapted of = hn_adapted_of_run(run, NULL);
	const size_t n = err ? strlen(err->text) : 0;

	if (!err || !run->n_adapters)
		return;
	if (hn_export_is_model(&of))
		(void)snprintf(err->text + n, sizeof err->text - n,
			", or begin from its result: another [run] output and [model] path = "
			"%.200s/model",
			l->folder.path);
	else
		(void)snprintf(err->text + n, sizeof err->text - n,
			", or begin from its result: another [run] output and [%.60s] init_from = "
			"%.200s/adapter",
			run->adapters[0]->section, l->folder.path);
}

/* A finished run stays so only for the configuration that it was finished with. */
static enum hone_status
check_finished(struct loop *l, struct hone_error *err)
{
	const struct hn_config_check check = hn_run_check(l->run);
	struct hn_saved saved = {0};
	enum hone_status st = HONE_OK;

	if (!hn_checkpoint_newest(&l->folder, &saved, NULL)) {
		const struct hn_resume now = {.check = &check,
			.facts = saved.facts,
			.n_facts = saved.n_facts,
			.log = l->run->log};

		st = hn_checkpoint_check_same(&saved, &now, err);
		if (st)
			advise_init_from(l, err);
		note_end(l, &saved.progress, true);
	}
	hn_saved_close(&saved);
	if (!st)
		hn_log_info(l->run->log,
			"%s is finished after step %" PRId64 "; --fresh starts anew",
			l->folder.path, l->folder.finished_step);
	l->end->is_finished = !st;
	if (!l->end->steps)
		l->end->steps = l->folder.finished_step;
	return st;
}

/* Whether the run left its result, whole; one that is gone or damaged is made again from the
 * last checkpoint. */
static bool
has_result(const struct loop *l)
{
	static const char *const names[] = {"adapter", "model"};
	struct hone_error err = {0};
	bool found = false;

	for (int i = 0; i < 2; i++) {
		char *path = hn_path_join(l->folder.path, names[i]);

		found |= hn_path_is_dir(path);
		free(path);
	}
	if (!found || !hn_folder_check_result(l->folder.path, &err))
		return found;
	hn_log_warn(l->run->log, "%s: %s; it is made again from the last checkpoint", err.place,
		err.text);
	return false;
}

enum hone_status
hn_train(struct hn_run *run, bool is_fresh, struct hn_train_end *end, struct hone_error *err)
{
	struct loop l = {.run = run, .saved_step = -1, .is_fresh = is_fresh, .end = end};
	enum hone_status st =
		hn_folder_open(&l.folder, run->options.run.output, is_fresh, run->log, err);

	if (!st && l.folder.renamed)
		hn_log_info(run->log, "the older run is now %s", l.folder.renamed);
	if (!st && l.folder.state == HN_FOLDER_FINISHED && !has_result(&l))
		l.folder.state = HN_FOLDER_RESUMABLE;
	if (!st && l.folder.state == HN_FOLDER_FINISHED) {
		st = check_finished(&l, err);
	} else if (!st) {
		hn_config_print(run->config, true, &l.config);
		hn_interrupt_begin();
		st = train(&l, err);
		hn_interrupt_end();
	}
	hn_log_progress_end(run->log);
	hn_identity_close(&l.base);
	hn_session_close(&l.session);
	if (st && !l.has_begun)
		hn_folder_discard(&l.folder);
	hn_folder_close(&l.folder);
	hn_str_fini(&l.config);
	return st;
}
