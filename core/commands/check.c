/*
 * check.c - `hone check run.ini`: everything that plan and train would stumble over, computed
 * by nobody.
 *
 * The run goes through the stages of plan - keys, plugins, model, data, programs, memory - and
 * through those of eval for the test split, and stops before anything is measured or asked of
 * a device.  The weights are read once, to see that they are numbers: a start does not.  What deserves a warning is one; what is sound is one line.
 */
#include <inttypes.h>
#include <string.h>

#include "commands/command.h"
#include "footprint.h"
#include "model/damage.h"
#include "session.h"

struct checked {
	int64_t trained, steps, rows[3]; /* of train, validation, test; -1 = not given */
	uint32_t commands;
	struct hn_footprint memory; /* the figures of plan */
};

/* A session says everything about its data; only its warnings are wanted here. */
static void
warn_of_data(const struct hn_session *session, struct hn_log *log)
{
	const bool was_quiet = log->is_quiet;

	log->is_quiet = true;
	hn_session_banner(session);
	log->is_quiet = was_quiet;
}

static enum hone_status
check_training(struct checked *checked, struct hn_run *run, struct hone_error *err)
{
	const struct hn_session_want want = {.trains = true};
	struct hn_session session;
	enum hone_status st = hn_session_open(&session, run, &want, err);

	if (!st) {
		warn_of_data(&session, run->log);
		checked->steps = session.n_steps;
		checked->rows[0] = session.train.data.report.rows;
		checked->rows[1] = session.eval.is_open ? session.eval.data.report.rows : -1;
		checked->commands = session.step.train.n_commands;
		checked->memory = hn_footprint_of(&session.engine);
	}
	hn_session_close(&session);
	return st ? st : hn_model_check_finite(&run->model, err);
}

/* Nobody but eval reads the test split, and that is hours later. */
static enum hone_status
check_test(struct checked *checked, struct hn_run *run, struct hone_error *err)
{
	const struct hn_session_want want = {.split = "test"};
	struct hn_session session;
	enum hone_status st;

	checked->rows[2] = -1;
	if (!run->options.data.test)
		return HONE_OK;
	st = hn_session_open(&session, run, &want, err);
	if (!st) {
		warn_of_data(&session, run->log);
		checked->rows[2] = session.eval.data.report.rows;
	}
	hn_session_close(&session);
	return st;
}

static void
put_text(const struct checked *checked, const char *path, struct hn_str *out)
{
	static const char *const names[] = {"train", "validation", "test"};

	hn_str_puts(out, "ok: ");
	hn_str_put_visible(out, path, "");
	hn_str_puts(out, ": keys, plugins, model; rows of");
	for (int i = 0; i < 3; i++)
		if (checked->rows[i] >= 0)
			hn_str_printf(
				out, "%s %s %" PRId64, i ? "," : "", names[i], checked->rows[i]);
	hn_str_printf(out,
		"; %" PRId64 " trained parameters, %" PRId64
		" steps of %u commands, about %.0f MB at the peak\n",
		checked->trained, checked->steps, checked->commands,
		(double)checked->memory.peak / 1e6);
}

static void
put_json(const struct checked *checked, const char *path, struct hn_str *out)
{
	static const char *const names[] = {"train", "validation", "test"};

	hn_str_puts(out, "{\"schema\": \"hone.check/1\", \"path\": ");
	hn_str_put_json(out, path, strlen(path));
	hn_str_printf(out,
		", \"valid\": true, \"trainable_params\": %" PRId64 ", \"steps\": %" PRId64
		", \"rows\": {",
		checked->trained, checked->steps);
	for (int i = 0; i < 3; i++)
		if (checked->rows[i] >= 0)
			hn_str_printf(out, "%s\"%s\": %" PRId64, i ? ", " : "", names[i],
				checked->rows[i]);
	hn_str_puts(out, "}, \"memory\": ");
	hn_footprint_json(&checked->memory, out);
	hn_str_puts(out, "}\n");
}

static void
put_json_item(struct hn_str *out, const char *file, int32_t line, int32_t column,
	const char *severity, const char *message)
{
	hn_str_puts(out, "{\"file\": ");
	hn_str_put_json(out, file, strlen(file));
	hn_str_printf(out,
		", \"line\": %d, \"column\": %d, \"severity\": \"%s\", \"message\": ", line, column,
		severity);
	hn_str_put_json(out, message, strlen(message));
	hn_str_putc(out, '}');
}

/* What was found, as an editor or a script reads it: the configuration's diagnostics, and the
 * error of a later stage.  0 = no line. */
static void
put_json_invalid(const struct hn_run *run, const char *path, const struct hone_error *err,
	struct hn_str *out)
{
	const struct hn_diagnostics *list = &run->diagnostics;

	hn_str_puts(out, "{\"schema\": \"hone.check/1\", \"path\": ");
	hn_str_put_json(out, path, strlen(path));
	hn_str_puts(out, ", \"valid\": false, \"diagnostics\": [");
	for (size_t i = 0; i < list->n; i++) {
		const struct hn_diagnostic *item = &list->items[i];

		hn_str_puts(out, i ? ", " : "");
		put_json_item(out, item->place.path ? item->place.path : "", item->place.line,
			item->place.column,
			item->severity == HN_SEVERITY_ERROR ? "error" : "warning", item->text);
	}
	if (!list->n_errors) {
		hn_str_puts(out, list->n ? ", " : "");
		put_json_item(out, err->place, err->line, err->column, "error", err->text);
	}
	hn_str_puts(out, "]}\n");
}

/* The resolved configuration; on a terminal without what could drive it. */
static void
put_origins(const struct hn_context *context, const struct hn_run *run)
{
	struct hn_str text = {0};

	hn_config_print(run->config, true, &text);
	if (context->is_terminal_out)
		hn_str_put_visible(context->out, text.text, "\n\t");
	else
		hn_str_puts(context->out, text.text);
	hn_str_fini(&text);
}

static enum hone_status
run_check(const struct hn_context *context, struct hone_error *err)
{
	const struct hn_run_request request = hn_context_request(context);
	struct checked checked = {.rows = {-1, -1, -1}};
	struct hn_run run;
	enum hone_status st = hn_run_open(&run, &request, err);

	if (!st && context->args->show_origin) {
		put_origins(context, &run);
	} else if (!st) {
		checked.trained = run.params.n_trained;
		st = check_training(&checked, &run, err);
		if (!st)
			st = check_test(&checked, &run, err);
		if (!st)
			(context->args->json ? put_json : put_text)(
				&checked, context->args->path, context->out);
	}
	if (st && context->args->json)
		put_json_invalid(&run, context->args->path, err, context->out);
	hn_run_close(&run);
	return st;
}

static const struct hn_flag flags[] = {
	{"--show-origin", HN_FLAG_BOOL, HN_ARG(show_origin), NULL,
		"print the resolved configuration, each value with where it comes from"},
};

const struct hn_command_spec hn_command_check = {"check", "run.ini",
	"check keys, plugins, model, data, programs and memory, without computing", flags, 1,
	run_check, HN_TAKES_RUN};
