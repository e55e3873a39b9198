/*
 * session.c - data, programs and memory of a run; one step; one evaluation.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "footprint.h"
#include "model/damage.h"
#include "session.h"

/* Rows of a micro-batch: products gain little beyond a few hundred rows, and memory grows with
 * every one more.  So a run takes 256, or 512 where what they need is small beside what the
 * model needs anyway; fewer where a limit asks for it.  Nothing here depends on the machine:
 * where a step is cut decides how its sums round. */
enum { MICRO_ROWS = 256, MICRO_ROWS_LARGE = 512, MICRO_ROWS_LEAST = 32, CHUNK_ROWS = 256 };

double
hn_now_s(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- data ---- */

static enum hone_status
open_split(struct hn_session *s, struct hn_split *split, const char *name, const char *path,
	enum hn_part part, int64_t window, bool shuffles, struct hone_error *err)
{
	const struct hn_run *run = s->run;
	const struct hn_data_options *data = &run->options.data;
	struct hn_dataset_request request = {.path = path,
		.text = &s->text,
		.objective = run->objective->vt,
		.objective_self = run->objective->self,
		.objective_section = run->objective->section,
		.max_length = data->max_length,
		.is_strict = data->strict,
		.part = part,
		.validation_split = data->validation_split,
		.seed = (uint64_t)run->options.run.seed,
		.pool = run->services.pool};
	enum hone_status st = hn_schema_parse(data->schema, &request.schema, err);

	if (st)
		return st;
	split->name = name;
	split->is_open = true;
	st = hn_dataset_open(&split->data, &request, err);
	split->order = (struct hn_order){.seed = (uint64_t)run->options.run.seed,
		.n = split->data.n_examples,
		.window = window,
		.shuffles = shuffles};
	return st;
}

static enum hone_status
fail_no_split(const char *name, struct hone_error *err)
{
	return hone_fail(err, HONE_ECONFIG,
		"[data] %s is not given; name its file, or choose another --split", name);
}

static enum hone_status
open_eval_split(struct hn_session *s, struct hone_error *err)
{
	const struct hn_data_options *data = &s->run->options.data;
	const int64_t window = s->run->options.eval.per_device_eval_batch_size;
	const char *name = s->want.split ? s->want.split : "validation";
	const char *path = hn_streq(name, "validation") ? data->validation
		: hn_streq(name, "test")                ? data->test
		: hn_streq(name, "train")               ? data->train
							: NULL;

	if (!hn_streq(name, "validation") && !hn_streq(name, "test") && !hn_streq(name, "train"))
		return hone_fail(
			err, HONE_EUSAGE, "--split '%s' is none of train, validation, test", name);
	if (!path && hn_streq(name, "validation") && data->validation_split > 0.0)
		return open_split(
			s, &s->eval, name, data->train, HN_PART_VALIDATION, window, false, err);
	if (!path)
		return s->want.split ? fail_no_split(name, err) : HONE_OK;
	return open_split(s, &s->eval, name, path,
		hn_streq(name, "train") && data->validation_split > 0.0 && !data->validation
			? HN_PART_TRAIN
			: HN_PART_ALL,
		window, false, err);
}

static enum hone_status
open_data(struct hn_session *s, struct hone_error *err)
{
	const struct hn_host_options *o = &s->run->options;
	const bool splits = o->data.validation_split > 0.0 && !o->data.validation;
	enum hone_status st = hn_text_service_init(&s->text, s->run->tokenizer, 0, err);

	if (!st && s->want.trains)
		st = open_split(s, &s->train, "train", o->data.train,
			splits ? HN_PART_TRAIN : HN_PART_ALL,
			o->train.per_device_train_batch_size * o->train.gradient_accumulation_steps,
			o->data.shuffle, err);
	if (!st)
		st = open_eval_split(s, err);
	if (!st && o->data.strict && s->train.is_open && s->eval.is_open)
		st = hn_dataset_check_apart(&s->train.data, &s->eval.data, s->eval.name, err);
	return st;
}

/* ---- programs ---- */

static enum hone_status
open_window(struct hn_session *s, struct hn_split *split, struct hone_error *err)
{
	const struct hn_run *run = s->run;
	const struct hn_window_request request = {.data = &split->data,
		.layout = &run->layout,
		.objective = run->objective->vt,
		.objective_self = run->objective->self,
		.objective_section = run->objective->section,
		.seed = (uint64_t)run->options.run.seed,
		.max_length = run->options.data.max_length,
		.max_examples =
			split->order.window < split->order.n ? split->order.window : split->order.n,
		.micro_batch_tokens = s->micro_batch_tokens,
		.vocab = hn_model_site_at(&run->model, "embed.token", -1)->pub.in_features};

	split->has_window = true;
	return hn_window_init(&split->window, &request, err);
}

static enum hone_status
add_train_programs(struct hn_session *s, struct hone_error *err)
{
	const struct hn_train_options *t = &s->run->options.train;
	struct hn_build_request request = hn_run_build_request(s->run, HN_BUILD_TRAIN);
	enum hone_status st = open_window(s, &s->train, err);

	if (st)
		return st;
	s->n_steps = hn_order_steps(&s->train.order, t->num_train_epochs, t->max_steps);
	s->schedule = hn_schedule_make(t, s->n_steps);
	s->adamw =
		(struct hn_adamw){t->adam_beta1, t->adam_beta2, t->adam_epsilon, t->weight_decay};
	request.capacity = hn_window_capacity(&s->train.window);
	request.recomputes = s->want.recomputes;
	st = hn_step_create(&s->step, &s->engine, &request, &s->adamw, s->chunk_rows, err);
	return st;
}

static enum hone_status
add_eval_program(struct hn_session *s, struct hone_error *err)
{
	struct hn_build_request request = hn_run_build_request(s->run, HN_BUILD_EVAL);
	struct hn_graph graph;
	enum hone_status st = open_window(s, &s->eval, err);

	if (st)
		return st;
	request.without_adapters = s->want.without_adapters;
	request.capacity = hn_window_capacity(&s->eval.window);
	st = hn_build(&request, &graph, &s->eval_result, err);
	if (st) {
		hn_graph_fini(&graph);
		return st;
	}
	return hn_engine_add(&s->engine, &s->evaluate, "eval", &graph, s->chunk_rows, err);
}

static void
close_window(struct hn_split *split)
{
	if (split->has_window)
		hn_window_fini(&split->window);
	split->has_window = false;
}

static void
drop_programs(struct hn_session *s)
{
	close_window(&s->train);
	close_window(&s->eval);
	hn_engine_fini(&s->engine);
}

/* Plans the programs for micro-batches of so many rows, or of the longest example where that
 * is longer; instead of those planned before. */
static enum hone_status
add_programs(struct hn_session *s, int64_t rows, struct hone_error *err)
{
	struct hn_run *run = s->run;
	enum hone_status st = HONE_OK;

	drop_programs(s);
	hn_engine_init(
		&s->engine, &run->model, &run->params, run->devices, run->n_devices, run->compute);
	s->micro_batch_tokens = rows;
	if (s->want.trains)
		st = add_train_programs(s, err);
	if (!st && s->eval.is_open)
		st = add_eval_program(s, err);
	return st;
}

/* Whether twice the rows cost little: their activations beside all that does not grow. */
static bool
has_room(const struct hn_session *s)
{
	uint64_t bytes[HN_MEMORY_KINDS], all = 0;

	hn_engine_bytes(&s->engine, bytes);
	for (int kind = 0; kind < HN_MEMORY_KINDS; kind++)
		all += bytes[kind];
	return 5 * bytes[HN_MEMORY_ARENA] <= all;
}

/* What no length changes: all but activations, scratch and the micro-batch itself. */
static uint64_t
fixed_bytes(const struct hn_footprint *f)
{
	uint64_t bytes = 0;

	for (int i = 0; i < HN_FOOTPRINT_KINDS; i++)
		if (!hn_streq(f->kinds[i].key, "activations") &&
			!hn_streq(f->kinds[i].key, "scratch") &&
			!hn_streq(f->kinds[i].key, "columns"))
			bytes += f->kinds[i].bytes;
	return bytes;
}

/* Shorter rows are a remedy only where the longest one is what keeps micro-batches large. */
static enum hone_status
fail_limit(const struct hn_session *s, int64_t rows, struct hone_error *err)
{
	const struct hn_train_options *t = &s->run->options.train;
	const struct hn_config_value *value =
		hn_config_get(s->run->config, "train", "memory_limit");
	const struct hn_footprint f = hn_footprint_of(&s->engine);
	const uint64_t fixed = fixed_bytes(&f), limit = (uint64_t)t->memory_limit;
	const int64_t longest[] = {s->train.is_open ? s->train.data.report.longest : 0,
		s->eval.is_open ? s->eval.data.report.longest : 0};
	const bool is_long = longest[0] > rows || longest[1] > rows;
	struct hn_arena arena = {0};
	const char *written = value ? hn_clip(&arena, value->text, strlen(value->text)) : "too low";

	if (fixed > limit || (!is_long && !t->micro_batch_tokens))
		(void)hone_fail(err, HONE_ENOMEM,
			"the plan needs at least %.1f MB %s, and [train] memory_limit is %s; raise "
			"it, or take a smaller r or model%s",
			(double)(fixed > limit ? fixed : f.peak) / 1e6,
			fixed > limit ? "whatever the lengths of rows"
				      : "with the smallest micro-batches",
			written,
			hn_streq(s->run->options.model.storage, "native")
				? ", or [model] storage = nf4"
				: "");
	else
		(void)hone_fail(err, HONE_ENOMEM,
			"the plan needs %.1f MB, and [train] memory_limit is %s; lower %s%s%s",
			(double)f.peak / 1e6, written,
			t->micro_batch_tokens ? "[train] micro_batch_tokens" : "",
			t->micro_batch_tokens && is_long ? " or " : "",
			is_long ? "[data] max_length" : "");
	hn_arena_fini(&arena);
	return HONE_ENOMEM;
}

/* Plans again until the limit holds: fewer rows, then all of them with layers computed again,
 * then fewer.  Rows that the INI asks for stay. */
static enum hone_status
keep_limit(struct hn_session *s, struct hone_error *err)
{
	const uint64_t limit = (uint64_t)s->run->options.train.memory_limit;
	const int64_t asked = s->run->options.train.micro_batch_tokens;
	const int64_t first = s->micro_batch_tokens, least = asked ? asked : MICRO_ROWS_LEAST;
	int64_t rows = first;
	enum hone_status st = HONE_OK;

	while (!st && limit && hn_footprint_of(&s->engine).peak > limit) {
		if (rows / 2 >= least) {
			rows /= 2;
		} else if (s->want.trains && !s->want.recomputes) {
			s->want.recomputes = true;
			rows = first;
		} else {
			return fail_limit(s, rows, err);
		}
		st = add_programs(s, rows, err);
	}
	return st;
}

enum hone_status
hn_session_open(struct hn_session *session, struct hn_run *run, const struct hn_session_want *want,
	struct hone_error *err)
{
	const int64_t asked = run->options.train.micro_batch_tokens;
	enum hone_status st;

	memset(session, 0, sizeof *session);
	session->run = run;
	session->want = *want;
	session->start_s = hn_now_s();
	session->chunk_rows = CHUNK_ROWS;
	st = open_data(session, err);
	if (!st)
		st = add_programs(session, asked ? asked : MICRO_ROWS, err);
	if (!st && !asked && has_room(session))
		st = add_programs(session, MICRO_ROWS_LARGE, err);
	return st ? st : keep_limit(session, err);
}

enum hone_status
hn_session_allocate(struct hn_session *session, struct hone_error *err)
{
	const enum hone_status st = hn_engine_allocate(&session->engine, err);

	if (st)
		return st;
	if (session->want.trains)
		hn_binding_init(
			&session->train.binding, &session->train.window, &session->step.train);
	if (session->eval.is_open)
		hn_binding_init(&session->eval.binding, &session->eval.window, &session->evaluate);
	return HONE_OK;
}

static void
close_split(struct hn_split *split)
{
	if (!split->is_open)
		return;
	hn_binding_fini(&split->binding);
	close_window(split);
	hn_dataset_close(&split->data);
}

void
hn_session_close(struct hn_session *session)
{
	if (!session->run)
		return;
	close_split(&session->train);
	close_split(&session->eval);
	hn_engine_fini(&session->engine);
	hn_text_service_fini(&session->text);
	memset(session, 0, sizeof *session);
}

/* ---- one step ---- */

/* Emits the examples of step `number` of a split. */
static enum hone_status
emit_step(struct hn_split *split, int64_t number, struct hone_error *err)
{
	return hn_window_fill(
		&split->window, &split->order, hn_order_step(&split->order, number), err);
}

/* Rows of all streams, and those with a target: what logs count. */
static int64_t
window_tokens(const struct hn_window *window)
{
	int64_t n = 0;

	for (uint32_t i = 0; i < window->n_streams; i++)
		n += window->streams[i].n_rows;
	return n;
}

/* Sets the denominators of the train program's terms; gives them for the report. */
static enum hone_status
set_denominators(struct hn_session *session, double *weights, struct hone_error *err)
{
	struct hn_step *step = &session->step;
	enum hone_status st = HONE_OK;

	for (uint32_t i = 0; i < step->result.n_terms && !st; i++) {
		st = hn_window_weight(&session->train.window, step->result.terms[i].stream,
			step->result.terms[i].weight, &weights[i], err);
		hn_step_set_denominator(step, i, weights[i]);
	}
	return st;
}

static enum hone_status
run_window(struct hn_session *session, int64_t number, struct hn_step_outcome *outcome,
	struct hone_error *err)
{
	const struct hn_run *run = session->run;
	struct hn_step *step = &session->step;
	struct hn_window *window = &session->train.window;
	double weights[HN_MAX_TERMS] = {0};
	enum hone_status st = emit_step(&session->train, number, err);

	memset(outcome, 0, sizeof *outcome);
	hn_step_begin(step);
	if (!st)
		st = set_denominators(session, weights, err);
	for (int64_t m = 0; m < window->n_micros && !st; m++) {
		st = hn_window_bind(window, m, &session->train.binding, err);
		if (!st)
			st = hn_step_micro(
				step, (uint64_t)run->options.run.seed, (uint64_t)number, err);
	}
	if (st)
		return st;
	for (uint32_t i = 0; i < step->result.n_terms; i++)
		outcome->loss += weights[i] > 0.0
			? step->result.terms[i].coefficient * step->sums[i] / weights[i]
			: 0.0;
	outcome->tokens = window_tokens(window);
	outcome->supervised = (int64_t)weights[0];
	outcome->rate = hn_schedule_rate(&session->schedule, number);
	return hn_step_end(step, (uint64_t)number, outcome->rate, &session->adamw,
		run->options.train.max_grad_norm, &outcome->grad_norm, err);
}

/* Micro-batches add to the gradients, and the update makes them 0 again.  A window that ends
 * before its update would leave its part, maybe NaN, to the next one. */
enum hone_status
hn_session_step(struct hn_session *session, int64_t number, struct hn_step_outcome *outcome,
	struct hone_error *err)
{
	const enum hone_status st = run_window(session, number, outcome, err);

	if (st)
		(void)hn_engine_clear(&session->engine, HN_MEMORY_GRADS, NULL);
	return st;
}

/* ---- evaluation ---- */

struct sums {
	double sum[HN_MAX_TERMS], weight[HN_MAX_TERMS];
};

/* A scalar output of the eval program. */
static enum hone_status
read_sum(struct hn_session *s, const struct hn_term *term, double *out, struct hone_error *err)
{
	char name[128];
	float narrow = 0.0f;
	enum hone_status st;

	(void)snprintf(name, sizeof name, "%s.%s", term->is_metric ? "metric" : "term", term->name);
	if (s->engine.stat == HONE_DTYPE_F64)
		return hn_program_read(&s->evaluate, name, out, sizeof *out, err);
	st = hn_program_read(&s->evaluate, name, &narrow, sizeof narrow, err);
	*out = (double)narrow;
	return st;
}

static enum hone_status
add_window(struct hn_session *s, struct sums *sums, struct hone_error *err)
{
	const struct hn_build_result *result = &s->eval_result;
	enum hone_status st = HONE_OK;

	for (int64_t m = 0; m < s->eval.window.n_micros && !st; m++) {
		st = hn_window_bind(&s->eval.window, m, &s->eval.binding, err);
		if (!st)
			st = hn_program_run(&s->evaluate, 0, 0, err);
		for (uint32_t i = 0; i < result->n_terms && !st; i++) {
			double sum = 0.0;

			st = read_sum(s, &result->terms[i], &sum, err);
			sums->sum[i] += sum;
		}
	}
	for (uint32_t i = 0; i < result->n_terms && !st; i++) {
		double weight = 0.0;

		st = hn_window_weight(&s->eval.window, result->terms[i].stream,
			result->terms[i].weight, &weight, err);
		sums->weight[i] += weight;
	}
	return st;
}

/* Of the likelihood, whatever else the loss has; a loss without one has no perplexity. */
static void
put_perplexity(const struct hn_term *term, double mean, struct hn_eval_line *line)
{
	if (line->has_perplexity || !hn_streq(term->name, "nll"))
		return;
	line->has_perplexity = true;
	line->perplexity = exp(mean);
}

enum hone_status
hn_session_evaluate(struct hn_session *session, struct hn_eval_line *line, struct hone_error *err)
{
	struct hn_split *split = &session->eval;
	const int64_t n = hn_order_steps_per_epoch(&split->order);
	struct sums sums = {{0}, {0}};
	enum hone_status st = HONE_OK;

	line->loss = 0.0;
	line->has_perplexity = false;
	line->n_metrics = 0;
	line->num_tokens = 0;
	for (int64_t i = 0; i < n && !st; i++) {
		st = emit_step(split, i, err);
		if (!st)
			st = add_window(session, &sums, err);
		hn_log_progress(
			session->run->log, "%s %" PRId64 "/%" PRId64, split->name, i + 1, n);
	}
	hn_log_progress_end(session->run->log);
	for (uint32_t i = 0; i < session->eval_result.n_terms; i++) {
		const struct hn_term *term = &session->eval_result.terms[i];
		const double mean = sums.weight[i] > 0.0 ? sums.sum[i] / sums.weight[i] : NAN;

		if (!term->is_metric) {
			line->loss += term->coefficient * mean;
			put_perplexity(term, mean, line);
		} else if (line->n_metrics < HN_MAX_METRICS) {
			line->metrics[line->n_metrics++] = (struct hn_metric){term->name, mean};
		}
	}
	line->num_tokens = (int64_t)sums.weight[0];
	if (st || hn_is_finite(line->loss))
		return st;
	(void)hone_fail(err, HONE_ENOTFINITE, "the loss on the %s data is not finite", split->name);
	(void)hn_model_blame(&session->run->model, err);
	return HONE_ENOTFINITE;
}

/* ---- what was read ---- */

static void
split_banner(struct hn_log *log, const struct hn_split *split, int64_t room)
{
	const struct hn_dataset_report *r = &split->data.report;

	hn_log_info(log,
		"%s: %" PRId64 " rows (%s), %" PRId64 " examples, %" PRId64 " tokens, %" PRId64
		" learned (%.0f %%), longest %" PRId64,
		split->name, r->rows, hn_schema_name(split->data.schema), r->examples, r->tokens,
		r->supervised_tokens,
		r->tokens ? 100.0 * (double)r->supervised_tokens / (double)r->tokens : 0.0,
		r->longest);
	if (r->truncated)
		hn_log_warn(log,
			"%s: %" PRId64 " rows are longer than max_length and were cut, %" PRId64
			" of them in what is learned",
			split->name, r->truncated, r->truncated_answers);
	if (r->dropped)
		hn_log_warn(log, "%s: %" PRId64 " examples have nothing to learn and were dropped",
			split->name, r->dropped);
	if (r->specials)
		hn_log_warn(log, "%s: %" PRId64 " rows spell special tokens in their text",
			split->name, r->specials);
	if (r->straddles)
		hn_log_warn(log,
			"%s: %" PRId64 " tokens reach from the prompt into the completion and are "
			"learned",
			split->name, r->straddles);
	if (r->lost_bytes)
		hn_log_warn(log, "%s: %" PRId64 " bytes have no token and were left out",
			split->name, r->lost_bytes);
	if (r->endless)
		hn_log_warn(log,
			"%s: %" PRId64 " rows are learned without an end, because the tokenizer "
			"names no end of sequence: answers will not stop; set eos_token in "
			"tokenizer_config.json",
			split->name, r->endless);
	if (room > 0 && r->longest > room)
		hn_log_warn(log,
			"%s: the longest example has %" PRId64 " tokens, and the model was made "
			"for %" PRId64 "; lower [data] max_length",
			split->name, r->longest, room);
}

void
hn_session_banner(const struct hn_session *session)
{
	struct hn_log *log = session->run->log;
	int64_t shared, room = 0;

	(void)hn_config_i64_or(
		&session->run->model.checkpoint.config, "max_position_embeddings", 0, &room, NULL);
	if (session->train.is_open)
		split_banner(log, &session->train, room);
	if (session->eval.is_open)
		split_banner(log, &session->eval, room);
	if (!session->train.is_open || !session->eval.is_open)
		return;
	shared = hn_dataset_count_shared(&session->train.data, &session->eval.data);
	if (shared)
		hn_log_warn(log, "%" PRId64 " rows of the %s data stand in the training data, too",
			shared, session->eval.name);
}
