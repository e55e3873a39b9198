/*
 * test_border.c - what the host refuses or catches at the border, with plugins that get it
 * wrong on purpose.
 *
 * Would catch a host that lets a capacity into the maths, that mixes rows of two spaces, and
 * that hands a command to a backend which does not know all of its attributes.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "train_run.h"

/* ---- objectives by hand ---- */

static enum hone_status
declare(const void *self, struct hone_declare *decl, struct hone_error *err)
{
	enum hone_status st = decl->vt->stream(decl, "text", "policy", err);

	(void)self;
	if (!st)
		st = decl->vt->column(
			decl, "text", "labels", HONE_DTYPE_I32, HONE_PER_ROW, HONE_LABEL_NONE, err);
	if (!st)
		st = decl->vt->column(
			decl, "text", "quality", HONE_DTYPE_F32, HONE_PER_SEGMENT, 1.0, err);
	if (!st)
		st = decl->vt->selection(
			decl, "text", "supervised", "labels", HONE_LABEL_NONE, err);
	if (!st)
		st = decl->vt->forward(decl, "policy", "policy", "text", 0, err);
	return st ? st : decl->vt->head(decl, "lm", 0, err);
}

struct parts {
	hone_stream text;
	hone_node hidden, rows, logits, nll;
};

static struct parts
make_parts(const struct hone_build *at)
{
	struct parts p;

	p.text = at->vt->stream(at, "text");
	p.hidden = at->vt->forward(at, "policy");
	p.rows = at->vt->select(at, p.text, "supervised", p.hidden);
	p.logits = at->vt->head(at, "lm", p.rows);
	p.nll = hone_nll(
		at->graph, p.logits, at->vt->selected(at, p.text, "supervised", "labels"), 0.0);
	return p;
}

static enum hone_status
put_term(const struct hone_build *at, struct hone_loss *loss, hone_node sum, struct hone_error *err)
{
	const struct hone_term term = {
		(uint32_t)sizeof term, 0, "nll", sum, "text", "supervised", 1.0};
	const enum hone_status st = hone_graph_status(at->graph, err);

	return st ? st : loss->vt->term(loss, &term, err);
}

/* Right: the number of rows is asked for. */
static enum hone_status
build_count(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	const struct parts p = make_parts(at);
	const struct hone_value value = hone_value_of(at->graph, p.nll);

	(void)self;
	return put_term(at, loss,
		hone_div(at->graph, hone_sum_rows(at->graph, p.nll),
			hone_count(at->graph, value.space)),
		err);
}

/* Wrong: the capacity is taken for the number of rows. */
static enum hone_status
build_capacity(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	const struct parts p = make_parts(at);
	const struct hone_value value = hone_value_of(at->graph, p.nll);

	(void)self;
	return put_term(at, loss,
		hone_scale(at->graph, hone_sum_rows(at->graph, p.nll), 1.0 / (double)value.dim[0]),
		err);
}

/* Wrong: labels of all rows for logits of some. */
static enum hone_status
build_labels(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	const struct parts p = make_parts(at);

	(void)self;
	return put_term(at, loss,
		hone_sum_rows(at->graph,
			hone_nll(at->graph, p.logits, at->vt->column(at, p.text, "labels"), 0.0)),
		err);
}

/* Wrong: a number per segment meets a number per chosen row. */
static enum hone_status
build_segments(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	const struct parts p = make_parts(at);

	(void)self;
	return put_term(at, loss,
		hone_sum_rows(at->graph,
			hone_mul(at->graph, p.nll, at->vt->column(at, p.text, "quality"))),
		err);
}

/* Wrong: chosen rows are cut by the offsets of all rows. */
static enum hone_status
build_offsets(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	const struct parts p = make_parts(at);

	(void)self;
	return put_term(at, loss,
		hone_sum_rows(at->graph,
			hone_segment_reduce(
				at->graph, p.nll, at->vt->offsets(at, p.text), HONE_REDUCE_SUM)),
		err);
}

/* Wrong: chosen again from what is chosen already. */
static enum hone_status
build_select(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	const struct parts p = make_parts(at);

	(void)self;
	return put_term(at, loss,
		hone_sum_rows(at->graph, at->vt->select(at, p.text, "supervised", p.nll)), err);
}

/* Wrong: a per-segment column read through a selection of rows. */
static enum hone_status
build_selected(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	const struct parts p = make_parts(at);

	(void)self;
	return put_term(at, loss,
		hone_sum_rows(at->graph,
			hone_mul(at->graph, p.nll,
				at->vt->selected(at, p.text, "supervised", "quality"))),
		err);
}

/* Wrong: no sum, but a value per row. */
static enum hone_status
build_no_sum(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	(void)self;
	return put_term(at, loss, make_parts(at).nll, err);
}

static const struct hone_objective_vt counts = {sizeof counts, 0, declare, NULL, NULL, build_count};
static const struct hone_objective_vt bakes_capacity = {
	sizeof bakes_capacity, 0, declare, NULL, NULL, build_capacity};

/* ---- capacities ---- */

/* Losses and gradients of two live counts under a capacity, one after the other. */
static double *
numbers_under(
	const struct hone_objective_vt *objective, const struct hn_capacity *capacity, int64_t *n)
{
	const struct train_options options = {.adapters = {{.section = "lora"}},
		.objective_vt = objective,
		.capacity = *capacity};
	struct train_texts texts;
	struct train_run run;
	double *out;

	train_texts_make(&texts, 3, 4, 4, 12, 263);
	train_open(&run, &options);
	train_disturb(&run, 3, 0.02);
	*n = run.bench.params.n_elems + 1;
	out = calloc((size_t)(2 * *n), sizeof *out);
	for (int64_t live = 0; live < 2; live++) {
		double *gradient;

		out[live * *n] = train_gradient(&run, &texts, 0, live ? 4 : 2, 4, 0);
		gradient = train_take(&run, HN_MEMORY_GRADS);
		memcpy(out + live * *n + 1, gradient, (size_t)(*n - 1) * sizeof *out);
		free(gradient);
	}
	train_close(&run);
	return out;
}

static bool
is_free_of_capacity(const struct hone_objective_vt *objective)
{
	static const struct hn_capacity small = {64, 5, 32, 64, 0}, large = {96, 9, 40, 80, 0};
	int64_t n, m;
	double *a = numbers_under(objective, &small, &n), *b = numbers_under(objective, &large, &m);
	const bool is_same = n == m && memcmp(a, b, (size_t)(2 * n) * sizeof *a) == 0;

	free(a);
	free(b);
	return is_same;
}

/* Would catch a count() that gives capacities, and in-tree objectives that use them. */
static void
test_border_live_counts_only_enter_the_maths(void **state)
{
	const struct hone_factory *sft = bench_factory("causal", HONE_ROLE_OBJECTIVE, "sft");

	(void)state;
	assert_true(is_free_of_capacity(&counts));
	assert_true(is_free_of_capacity(sft->vt));
}

/* Would catch a check that no plugin can fail. */
static void
test_border_baked_capacity_is_caught(void **state)
{
	(void)state;
	assert_false(is_free_of_capacity(&bakes_capacity));
}

/* ---- row spaces ---- */

struct refusal {
	enum hone_status (*build)(const void *self, const struct hone_build *at,
		struct hone_loss *loss, struct hone_error *err);
	const char *names[2];
};

/* Would catch rows of two spaces that meet, and messages that do not say which. */
static void
test_border_rows_of_two_spaces_are_refused_by_name(void **state)
{
	static const struct refusal refusals[] = {
		{build_labels, {"'text.supervised'", "'text'"}},
		{build_segments, {"'text.supervised'", "'text.segments'"}},
		{build_offsets, {"'text.supervised'", "'text'"}},
		{build_select, {"'text.supervised'", "'text'"}},
		{build_selected, {"'quality'", "'supervised'"}},
		{build_no_sum, {"'nll'", "[text.supervised,1]"}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
		const struct hone_objective_vt vt = {
			sizeof vt, 0, declare, NULL, NULL, refusals[i].build};
		const struct train_options options = {
			.adapters = {{.section = "lora"}}, .objective_vt = &vt};
		struct train_run run;
		struct hone_error err = {0};

		if (!train_try(&run, &options, &err))
			fail_msg("refusal %d: not refused", (int)i);
		assert_int_equal(err.status, HONE_EPLUGIN);
		assert_memory_equal(err.text, "[objective] build(): ", 21);
		if (!strstr(err.text, refusals[i].names[0]) ||
			!strstr(err.text, refusals[i].names[1]))
			fail_msg("refusal %d does not name %s and %s: %s", (int)i,
				refusals[i].names[0], refusals[i].names[1], err.text);
		train_close(&run);
	}
}

/* ---- a backend of yesterday ---- */

enum { KNOWN = 16 };

struct old_device {
	const struct hone_backend_vt *vt; /* what runs its commands */
	void *device;
	uint32_t n_submitted, largest;
	struct hone_backend_vt table;
};

static enum hone_status
old_supports(void *device, const struct hone_command *command, struct hone_error *err)
{
	const struct old_device *old = device;

	if (command->attr_size > KNOWN)
		return hone_fail(err, HONE_EUNSUPPORTED,
			"old: %u bytes of attributes, %d are known", command->attr_size, KNOWN);
	return old->vt->supports(old->device, command, err);
}

static enum hone_status
old_create(void *device, uint64_t bytes, hone_buffer *out, struct hone_error *err)
{
	const struct old_device *old = device;

	return old->vt->buffer_create(old->device, bytes, out, err);
}

static enum hone_status
old_import(void *device, void *memory, uint64_t bytes, hone_buffer *out, struct hone_error *err)
{
	const struct old_device *old = device;

	return old->vt->buffer_import(old->device, memory, bytes, out, err);
}

static void
old_destroy(void *device, hone_buffer buffer)
{
	const struct old_device *old = device;

	old->vt->buffer_destroy(old->device, buffer);
}

static enum hone_status
old_upload(void *device, hone_buffer buffer, uint64_t offset, const void *from, uint64_t bytes,
	struct hone_error *err)
{
	const struct old_device *old = device;

	return old->vt->upload(old->device, buffer, offset, from, bytes, err);
}

static enum hone_status
old_download(void *device, hone_buffer buffer, uint64_t offset, void *to, uint64_t bytes,
	struct hone_error *err)
{
	const struct old_device *old = device;

	return old->vt->download(old->device, buffer, offset, to, bytes, err);
}

static enum hone_status
old_submit(void *device, const struct hone_command *commands, uint32_t n, uint32_t stride,
	const struct hone_run *run, struct hone_error *err)
{
	struct old_device *old = device;

	for (uint32_t i = 0; i < n; i++)
		if (commands[i].attr_size > old->largest)
			old->largest = commands[i].attr_size;
	old->n_submitted += n;
	return old->vt->submit(old->device, commands, n, stride, run, err);
}

static enum hone_status
old_wait(void *device, struct hone_error *err)
{
	const struct old_device *old = device;

	return old->vt->wait(old->device, err);
}

static void
old_close(void *device)
{
	free(device);
}

/* Puts the backend of yesterday in front of the reference. */
static void
put_old_in_front(struct bench_model *bench)
{
	struct old_device *old = calloc(1, sizeof *old);

	old->vt = bench->devices[0].vt;
	old->device = bench->devices[0].device;
	old->table = (struct hone_backend_vt){.struct_size = sizeof old->table,
		.close = old_close,
		.supports = old_supports,
		.buffer_create = old_create,
		.buffer_import = old_import,
		.buffer_destroy = old_destroy,
		.upload = old_upload,
		.download = old_download,
		.submit = old_submit,
		.wait = old_wait};
	bench->devices[1] = bench->devices[0];
	bench->devices[0] = (struct hn_device){&old->table, old, "old"};
	bench->n_devices = 2;
}

/* Would catch attributes cut to what a backend knows, and fallbacks nobody counts. */
static void
test_border_backend_gets_no_attributes_beyond_its_own(void **state)
{
	struct train_options options = {
		.adapters = {{.section = "lora"}}, .on_open = put_old_in_front};
	struct train_texts texts;
	struct train_run run, plain;
	const struct old_device *old;
	uint32_t n_larger = 0;

	(void)state;
	train_texts_make(&texts, 3, 4, 4, 12, 263);
	train_open(&run, &options);
	old = run.bench.devices[0].device;
	(void)train_gradient(&run, &texts, 0, 4, 2, 0);
	(void)train_update(&run, 0, 1e-3, 1.0);
	for (uint32_t i = 0; i < run.step.train.n_commands; i++)
		n_larger += run.step.train.commands[i].attr_size > KNOWN;
	assert_true(n_larger > 0);
	assert_int_equal(run.step.train.n_fallback, n_larger);
	assert_non_null(strstr(run.step.train.fallback_reason, "16 are known"));
	assert_true(old->n_submitted > 0);
	assert_true(old->largest <= KNOWN);

	options.on_open = NULL;
	train_open(&plain, &options);
	assert_int_equal(plain.step.train.n_fallback, 0);
	(void)train_gradient(&plain, &texts, 0, 4, 2, 0);
	(void)train_update(&plain, 0, 1e-3, 1.0);
	train_assert_same_params(&run, &plain);
	train_close(&run);
	train_close(&plain);
}

/* Would catch a backend that ignores attributes of a later version of an op. */
static void
test_border_backends_refuse_attributes_of_tomorrow(void **state)
{
	static const char *const backends[] = {"reference", "cpu"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		const struct train_options options = {.adapters = {{.section = "full"}},
			.backend = backends[i],
			.compute = HONE_DTYPE_F32};
		uint8_t attr[2048] = {0};
		struct train_run run;
		const struct hn_device *device = &run.bench.devices[0];

		train_open(&run, &options);
		for (uint32_t c = 0; c < run.step.train.n_commands; c++) {
			struct hone_command command = run.step.train.commands[c];
			struct hone_error err = {0};

			if (device->vt->supports(device->device, &command, &err))
				fail_msg("%s: %s", backends[i], err.text);
			if (command.attr_size)
				memcpy(attr, command.attr, command.attr_size);
			command.attr = attr;
			command.attr_size += 8;
			attr[command.attr_size - 1] = 1;
			if (!device->vt->supports(device->device, &command, &err))
				fail_msg("%s takes op %u with attributes that it does not know",
					backends[i], command.op);
			attr[command.attr_size - 1] = 0;
		}
		train_close(&run);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_border_live_counts_only_enter_the_maths),
		cmocka_unit_test(test_border_baked_capacity_is_caught),
		cmocka_unit_test(test_border_rows_of_two_spaces_are_refused_by_name),
		cmocka_unit_test(test_border_backend_gets_no_attributes_beyond_its_own),
		cmocka_unit_test(test_border_backends_refuse_attributes_of_tomorrow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
