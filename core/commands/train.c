/*
 * train.c - `hone train run.ini`: train, or go on where the run's folder says.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "commands/command.h"
#include "loop.h"
#include "train/step.h"

static void
put_number(struct hn_str *out, const char *key, double value)
{
	hn_str_printf(out, ", \"%s\": ", key);
	if (hn_is_finite(value))
		hn_str_put_f64(out, value);
	else
		hn_str_puts(out, "null");
}

/* Also of a run that a signal stopped: what it has come to. */
static void
put_json(const struct hn_run *run, const struct hn_train_end *end, struct hn_str *out)
{
	static const char *const names[] = {"adapter", "model"};
	const char *output = run->options.run.output;

	hn_str_puts(out, "{\"schema\": \"hone.train/1\", \"output\": ");
	hn_str_put_json(out, output, strlen(output));
	hn_str_printf(out, ", \"finished\": %s, \"steps\": %" PRId64,
		end->is_finished ? "true" : "false", end->steps);
	put_number(out, "loss", end->loss);
	put_number(out, "eval_loss", end->eval_loss);
	put_number(out, "time_s", end->time_s);
	for (int i = 0; i < 2 && end->is_finished; i++) {
		char *path = hn_path_join(output, names[i]);

		if (hn_path_is_dir(path)) {
			hn_str_puts(out, ", \"result\": ");
			hn_str_put_json(out, path, strlen(path));
			i = 2;
		}
		free(path);
	}
	hn_str_puts(out, "}\n");
}

static enum hone_status
run_train(const struct hn_context *context, struct hone_error *err)
{
	const struct hn_run_request request = hn_context_request(context);
	struct hn_train_end end = {.loss = NAN, .eval_loss = NAN};
	struct hn_run run;
	enum hone_status st = hn_run_open(&run, &request, err);

	if (!st) {
		st = hn_train(&run, context->args->fresh, &end, err);
		if (context->args->json && (!st || st == HONE_EINTERRUPTED))
			put_json(&run, &end, context->out);
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
