/*
 * plan.c - `hone plan run.ini`: memory, steps, tokens and time before anything is trained.
 *
 * The run goes through every stage up to the memory plan, so the numbers are those that
 * training will use: the arena's offsets are decided, nothing is allocated.  "program" is what
 * this process holds at that point: code, plugins, tokenizer, prepared data, graphs.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands/command.h"
#include "data/preview.h"
#include "footprint.h"
#include "session.h"

struct plan {
	struct hn_footprint memory;
	int64_t tokens, supervised; /* of the whole run */
	double flops_per_token, seconds;
	int64_t trainable, all;
};

/* ---- operations ---- */

/* Floating-point operations of a command for one row of its row space. */
static double
flops_of_row(const struct hone_command *c)
{
	const struct hone_attr_matmul *attr = c->attr;
	const struct hone_attr_attention *attention = c->attr;

	if (c->op == HONE_OP_MATMUL && attr->form == HONE_MATMUL_TN)
		return 2.0 * (double)c->in[0].dim[1] * (double)c->in[1].dim[1];
	if (c->op == HONE_OP_MATMUL)
		return 2.0 * (double)c->in[1].dim[0] * (double)c->in[1].dim[1];
	if (c->op == HONE_OP_ATTENTION) /* per key: q k and p v, half of them in causal order */
		return (attention->causal ? 2.0 : 4.0) *
			(double)(attention->n_heads * attention->head_dim);
	if (c->op == HONE_OP_ATTENTION_BACK)
		return (attention->causal ? 5.0 : 10.0) *
			(double)(attention->n_heads * attention->head_dim);
	return 0.0;
}

static double
flops_per_token(const struct hn_session *s, double length, double supervised_share)
{
	const struct hn_program *p = &s->step.train;
	double sum = 0.0;

	for (uint32_t i = 0; i < p->n_commands; i++) {
		const struct hone_command *c = &p->commands[i];
		const uint32_t space = c->in[0].space;
		double flops = flops_of_row(c);

		if (c->op == HONE_OP_ATTENTION || c->op == HONE_OP_ATTENTION_BACK)
			flops *= length;
		sum += flops *
			(space && p->graph.spaces[space].is_chunked ? supervised_share : 1.0);
	}
	return sum;
}

/* Seconds of a product of 256 rows with a [1024, 1024] weight on the first device, best of 5:
 * what a whole step reaches is near to that rate. */
static double
measure_rate(const struct hn_run *run)
{
	enum { N = 256, D = 1024 };
	const struct hn_device *device = &run->devices[0];
	const uint64_t bytes = (uint64_t)(2 * N + D) * D * 4;
	const struct hone_attr_matmul attr = {HONE_MATMUL_NT, 0};
	const int64_t live = 0, begin = 0;
	const struct hone_run at = {sizeof at, 1, &live, &begin, 0, 0};
	struct hone_operand operand[3] = {{.dtype = run->compute, .rank = 2, .dim = {N, D}},
		{.dtype = run->compute, .rank = 2, .dim = {D, D}, .offset = (uint64_t)N * D * 4},
		{.dtype = run->compute,
			.rank = 2,
			.dim = {N, D},
			.offset = (uint64_t)(N + D) * D * 4}};
	const struct hone_command command = {.op = HONE_OP_MATMUL,
		.n_in = 2,
		.n_out = 1,
		.attr_size = sizeof attr,
		.attr = &attr,
		.in = operand,
		.out = &operand[2],
		.name = "plan"};
	struct hone_error err = {0};
	hone_buffer buffer = NULL;
	double best = INFINITY;

	if (run->compute == HONE_DTYPE_F64 ||
		device->vt->buffer_create(device->device, bytes, &buffer, &err))
		return 0.0;
	for (int i = 0; i < 3; i++)
		operand[i].buffer = buffer;
	for (int i = 0; i < 6; i++) {
		const double start = hn_now_s();

		if (device->vt->submit(device->device, &command, 1, sizeof command, &at, &err) ||
			device->vt->wait(device->device, &err))
			break;
		if (i > 0 && hn_now_s() - start < best)
			best = hn_now_s() - start;
	}
	device->vt->buffer_destroy(device->device, buffer);
	return 2.0 * N * D * D / best;
}

/* ---- counting ---- */

static void
count(const struct hn_session *s, struct plan *plan)
{
	const struct hn_run *run = s->run;
	const struct hn_dataset_report *r = &s->train.data.report;
	const double epochs = hn_order_epoch(&s->train.order, s->n_steps);
	const double share = r->tokens ? (double)r->supervised_tokens / (double)r->tokens : 0.0;
	double rate;

	plan->memory = hn_footprint_of(&s->engine); /* before anything is computed, as check does */
	rate = measure_rate(run);
	plan->tokens = (int64_t)(epochs * (double)r->tokens);
	plan->supervised = (int64_t)(epochs * (double)r->supervised_tokens);
	plan->flops_per_token = flops_per_token(
		s, r->examples ? (double)r->tokens / (double)r->examples : 0.0, share);
	plan->seconds =
		rate > 0.0 ? plan->flops_per_token * (double)plan->tokens / (0.6 * rate) : 0.0;
	plan->trainable = run->params.n_trained;
	for (uint32_t i = 0; i < run->model.n_weights; i++)
		plan->all += hn_weight_elems(&run->model.weights[i]);
	for (uint32_t i = 0; i < run->params.n; i++)
		if (!run->params.list[i].spec.overlay)
			plan->all += run->params.list[i].n_elems;
}

static void
put_json(const struct hn_session *s, const struct plan *plan, struct hn_str *out)
{
	hn_str_puts(out, "{\"schema\": \"hone.plan/1\", \"memory\": ");
	hn_footprint_json(&plan->memory, out);
	hn_str_printf(out,
		", \"steps\": %" PRId64 ", \"tokens\": %" PRId64 ", \"supervised_share\": ",
		s->n_steps, plan->tokens);
	hn_str_put_f64(out, plan->tokens ? (double)plan->supervised / (double)plan->tokens : 0.0);
	hn_str_puts(out, ", \"flops_per_token\": ");
	hn_str_put_f64(out, plan->flops_per_token);
	hn_str_printf(out,
		", \"trainable_params\": %" PRId64 ", \"all_params\": %" PRId64 ", \"time_s\": ",
		plan->trainable, plan->all);
	hn_str_put_f64(out, plan->seconds);
	hn_str_puts(out, "}\n");
}

/* Commands that run elsewhere than on the chosen backend: plugins' ops, and what it cannot. */
static void
put_elsewhere(const struct hn_session *s, struct hn_str *out)
{
	const struct hn_program *p = &s->step.train;
	const struct hn_custom_ops *custom = &s->run->custom;

	for (uint32_t op = 0; op < custom->n; op++) {
		uint32_t n = 0;

		for (uint32_t i = 0; i < p->n_commands; i++)
			n += p->commands[i].op == HONE_OP_CUSTOM + op;
		if (n)
			hn_str_printf(out, "%u of %u commands are run by %s\n", n, p->n_commands,
				custom->list[op].who);
	}
	if (p->n_fallback)
		hn_str_printf(out, "%u of %u commands run on the reference backend: %s\n",
			p->n_fallback, p->n_commands, p->fallback_reason);
}

static void
put_text(const struct hn_session *s, const struct plan *plan, struct hn_str *out)
{
	hn_footprint_text(&plan->memory, out);
	hn_str_putc(out, '\n');
	hn_str_printf(out,
		"%" PRId64 " steps, %" PRId64 " tokens, %.1f %% of them learned\n"
		"%" PRId64 " of %" PRId64 " parameters train (%.2f %%)\n"
		"%.0f MFLOP a token; about ",
		s->n_steps, plan->tokens,
		plan->tokens ? 100.0 * (double)plan->supervised / (double)plan->tokens : 0.0,
		plan->trainable, plan->all, 100.0 * (double)plan->trainable / (double)plan->all,
		plan->flops_per_token / 1e6);
	hn_put_duration(out, plan->seconds);
	hn_str_puts(out, " of training on this machine (");
	hn_str_put_visible(out, s->run->device_info.name, "");
	hn_str_puts(out, ")\n");
	put_elsewhere(s, out);
}

static enum hone_status
make_plan(const struct hn_context *context, struct hn_run *run, struct hone_error *err)
{
	const struct hn_session_want want = {.trains = true};
	struct plan plan = {.seconds = 0.0};
	struct hn_session session;
	enum hone_status st = hn_session_open(&session, run, &want, err);
	int64_t rows = 3;

	if (!st)
		st = hn_flag_i64(context->args->rows, "--rows", 3, 0, &rows, err);
	if (!st) {
		hn_session_banner(&session);
		count(&session, &plan);
	}
	if (!st && context->args->graph)
		hn_graph_print(&session.step.train.graph, context->out);
	else if (!st && context->args->json)
		put_json(&session, &plan, context->out);
	else if (!st) {
		put_text(&session, &plan, context->out);
		st = hn_preview(
			&session.train.data, rows, context->is_colour_out, context->out, err);
	}
	hn_session_close(&session);
	return st;
}

static enum hone_status
run_plan(const struct hn_context *context, struct hone_error *err)
{
	const struct hn_run_request request = hn_context_request(context);
	struct hn_run run;
	enum hone_status st = hn_run_open(&run, &request, err);

	if (!st)
		st = make_plan(context, &run, err);
	hn_run_close(&run);
	return st;
}

static const struct hn_flag flags[] = {
	{"--rows", HN_FLAG_TEXT, HN_ARG(rows), "N", "rows of the preview (3)"},
	{"--graph", HN_FLAG_BOOL, HN_ARG(graph), NULL, "print the nodes of the training program"},
};

const struct hn_command_spec hn_command_plan = {"plan", "run.ini",
	"say what a run will need: memory, steps, tokens, time; show rows with what is learned",
	flags, 2, run_plan, HN_TAKES_RUN};
