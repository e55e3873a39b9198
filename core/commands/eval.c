/*
 * eval.c - `hone eval run.ini`: loss, perplexity and metrics of a run's result on a split.
 *
 * With [eval] metrics = exact_match, rouge_l every prompt of the split is answered greedily
 * and compared with what the data say; loss and perplexity come from the data alone.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "commands/command.h"
#include "result.h"
#include "session.h"
#include "train/identity.h"
#include "train/metrics.h"

struct evaluation {
	const struct hn_context *context;
	struct hn_run *run;
	const struct hn_result *result;
	struct hn_session session;
	struct hn_answers answers;
	bool generates, has_exact_match, has_rouge;
	struct hn_str *references; /* by prompt */
	size_t n_references, cap_references;
	int64_t n_done;
};

/* ---- generated answers ---- */

static enum hone_status
read_metrics(struct evaluation *e, struct hone_error *err)
{
	static const char *const known[] = {"exact_match", "rouge_l"};
	const struct hone_strings *wanted = &e->run->options.eval.metrics;

	for (int64_t i = 0; i < wanted->n; i++) {
		const char *name = wanted->items[i], *near;

		e->has_exact_match |= hn_streq(name, known[0]);
		e->has_rouge |= hn_streq(name, known[1]);
		if (hn_streq(name, known[0]) || hn_streq(name, known[1]))
			continue;
		near = hn_nearest(name, known, 2);
		return hone_fail(err, HONE_ECONFIG, "[eval] metrics: no metric '%s'%s%s%s", name,
			near ? "; did you mean '" : "; exact_match and rouge_l are offered",
			near ? near : "", near ? "'?" : "");
	}
	e->generates = e->has_exact_match || e->has_rouge;
	return HONE_OK;
}

/* One prompt for every example whose row has an answer to compare with. */
static enum hone_status
ask_all(struct evaluation *e, struct hone_error *err)
{
	const struct hn_dataset *data = &e->session.eval.data;
	enum hone_status st = HONE_OK;

	for (int64_t i = 0; i < data->n_examples && !st; i++) {
		struct hn_sample sample = {0};
		const char *reference;
		json_t *row = NULL;

		st = hn_dataset_sample(data, i, &sample, &row, err);
		reference = st ? NULL : hn_sample_reference(&sample);
		if (reference && !(st = hn_answers_ask(&e->answers, &sample, err))) {
			e->references = hn_grow(e->references, &e->cap_references,
				e->n_references + 1, sizeof *e->references);
			e->references[e->n_references] = (struct hn_str){0};
			hn_str_puts(&e->references[e->n_references++], reference);
		}
		hn_sample_fini(&sample);
		json_decref(row);
	}
	if (!st && e->n_references == 0)
		st = hone_fail(err, HONE_ECONFIG,
			"[eval] metrics: the rows of this split have no answers to compare with");
	return st;
}

static enum hone_status
plan_answers(struct evaluation *e, struct hone_error *err)
{
	struct hn_build_request request = hn_run_build_request(e->run, HN_BUILD_DECODE);
	enum hone_status st = hn_answers_init(&e->answers, e->run->tokenizer, err);
	struct hn_answers_size size = {.max_new_tokens = e->run->options.generate.max_new_tokens,
		.batch_size = e->run->options.generate.batch_size};

	request.without_adapters = e->result->without_adapters;
	(void)hn_config_i64_or(
		&e->run->model.checkpoint.config, "max_position_embeddings", 0, &size.limit, NULL);
	if (!st)
		st = ask_all(e, err);
	return st ? st : hn_answers_plan(&e->answers, &e->session.engine, &request, &size, err);
}

static enum hone_status
on_done(void *ctx, int64_t asked, struct hone_error *err)
{
	struct evaluation *e = ctx;

	(void)asked;
	(void)err;
	hn_log_progress(e->context->log, "answers %" PRId64 "/%" PRId64, ++e->n_done, e->answers.n);
	return HONE_OK;
}

static enum hone_status
answer_all(struct evaluation *e, struct hn_eval_line *line, struct hone_error *err)
{
	const struct hn_decoding decoding = {
		.max_new_tokens = e->run->options.generate.max_new_tokens};
	const struct hn_answers_sink sink = {.ctx = e, .done = on_done};
	struct hn_generated *pairs = hn_alloc((e->n_references + 1) * sizeof *pairs);
	struct hn_generated_metrics metrics;
	enum hone_status st = hn_answers_run(&e->answers, &decoding, &sink, err);

	hn_log_progress_end(e->context->log);
	for (size_t i = 0; i < e->n_references && !st; i++)
		pairs[i] = (struct hn_generated){{e->references[i].text, e->references[i].len},
			{e->answers.asked[i].text.text, e->answers.asked[i].text.len}};
	if (!st) {
		hn_eval_generated(pairs, (int64_t)e->n_references, &metrics);
		if (e->has_exact_match)
			line->metrics[line->n_metrics++] =
				(struct hn_metric){"exact_match", metrics.exact_match};
		if (e->has_rouge)
			line->metrics[line->n_metrics++] =
				(struct hn_metric){"rouge_l", metrics.rouge_l};
	}
	free(pairs);
	return st;
}

/* ---- the command ---- */

static enum hone_status
evaluate(struct evaluation *e, struct hone_error *err)
{
	const struct hn_args *args = e->context->args;
	const struct hn_session_want want = {.without_adapters = e->result->without_adapters,
		.split = args->split ? args->split : "test"};
	struct hn_eval_line line = {0};
	enum hone_status st = read_metrics(e, err);

	if (!st)
		st = hn_session_open(&e->session, e->run, &want, err);
	if (!st)
		hn_session_banner(&e->session);
	if (!st && e->generates)
		st = plan_answers(e, err);
	if (!st)
		st = hn_session_allocate(&e->session, err);
	if (!st)
		st = hn_result_load(e->result, e->run, &e->session.engine, err);
	if (!st)
		st = hn_session_evaluate(&e->session, &line, err);
	if (!st && e->generates)
		st = answer_all(e, &line, err);
	if (!st)
		st = hn_model_check_unchanged(&e->run->model, err);
	if (!st)
		hn_eval_line_put(&line, want.split, args->json, e->context->out);
	hn_session_close(&e->session);
	if (e->answers.tok)
		hn_answers_fini(&e->answers);
	for (size_t i = 0; i < e->n_references; i++)
		hn_str_fini(&e->references[i]);
	free(e->references);
	return st;
}

static enum hone_status
run_eval(const struct hn_context *context, struct hone_error *err)
{
	const struct hn_run_request request = hn_context_request(context);
	struct hn_result result;
	struct hn_run run;
	enum hone_status st = hn_result_open(&result, &run, &request, context->args->base, err);

	if (!st) {
		struct evaluation e = {.context = context, .run = &run, .result = &result};

		st = evaluate(&e, err);
	}
	hn_result_close(&result, &run);
	return st;
}

static const struct hn_flag flags[] = {
	{"--split", HN_FLAG_TEXT, HN_ARG(split), "NAME", "train, validation or test (the default)"},
	{"--base", HN_FLAG_BOOL, HN_ARG(base), NULL, "evaluate the base model, without the result"},
};

const struct hn_command_spec hn_command_eval = {"eval", "run.ini",
	"evaluate a run's result on a split of its data", flags, 2, run_eval, HN_TAKES_RUN};
