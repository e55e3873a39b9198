/*
 * eval.c - `hone eval run.ini`: loss, perplexity and metrics of a run's result on a split.
 */
#include "commands/command.h"
#include "result.h"
#include "session.h"

static enum hone_status
evaluate(const struct hn_context *context, const struct hn_result *result, struct hn_run *run,
	struct hone_error *err)
{
	const struct hn_args *args = context->args;
	const struct hn_session_want want = {.without_adapters = result->without_adapters,
		.split = args->split ? args->split : "test"};
	struct hn_eval_line line = {0};
	struct hn_session session;
	enum hone_status st = hn_session_open(&session, run, &want, err);

	if (!st)
		hn_session_banner(&session);
	if (!st)
		st = hn_session_allocate(&session, err);
	if (!st)
		st = hn_result_load(result, run, &session.engine, err);
	if (!st)
		st = hn_session_evaluate(&session, &line, err);
	if (!st)
		hn_eval_line_put(&line, want.split, args->json, context->out);
	hn_session_close(&session);
	return st;
}

static enum hone_status
run_eval(const struct hn_context *context, struct hone_error *err)
{
	const struct hn_run_request request = hn_context_request(context);
	struct hn_result result;
	struct hn_run run;
	enum hone_status st = hn_result_open(&result, &run, &request, context->args->base, err);

	if (!st)
		st = evaluate(context, &result, &run, err);
	hn_result_close(&result, &run);
	return st;
}

static const struct hn_flag flags[] = {
	{"--split", HN_FLAG_TEXT, HN_ARG(split), "NAME", "train, validation or test (the default)"},
	{"--base", HN_FLAG_BOOL, HN_ARG(base), NULL, "evaluate the base model, without the result"},
};

const struct hn_command_spec hn_command_eval = {
	"eval", "run.ini", "evaluate a run's result on a split of its data", flags, 2, run_eval};
