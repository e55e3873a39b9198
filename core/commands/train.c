/*
 * train.c - `hone train run.ini`: train, or go on where the run's folder says.
 */
#include <string.h>

#include "commands/command.h"
#include "loop.h"

static enum hone_status
run_train(const struct hn_context *context, struct hone_error *err)
{
	const struct hn_run_request request = hn_context_request(context);
	struct hn_run run;
	enum hone_status st = hn_run_open(&run, &request, err);

	if (!st)
		st = hn_train(&run, context->args->fresh, err);
	if (!st && context->args->json) {
		hn_str_puts(context->out, "{\"schema\": \"hone.train/1\", \"output\": ");
		hn_str_put_json(
			context->out, run.options.run.output, strlen(run.options.run.output));
		hn_str_puts(context->out, ", \"finished\": true}\n");
	}
	hn_run_close(&run);
	return st;
}

static const struct hn_flag flags[] = {
	{"--fresh", HN_FLAG_BOOL, HN_ARG(fresh), NULL,
		"start anew; an older run folder is renamed, not removed"},
};

const struct hn_command_spec hn_command_train = {"train", "run.ini",
	"train; the same command again goes on", flags, 1, run_train, HN_TAKES_RUN};
