/*
 * test_window.c - windows: emission, cuts, bound columns, sums, capacities, memory.
 *
 * Would catch: a label that is not the next token (double or missing shift), positions that go
 * on over segments (B7), keys that depend on the micro-batch, a cut that depends on anything
 * but lengths and budget, a capacity that some order exceeds, a denominator of one micro-batch
 * instead of the window, an allocation in the middle of a run, a plugin that breaks its word.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"
#include "base/str.h"
#include "bench_data.h"
#include "bench_model.h"
#include "plugin_values.h"
#include "support.h"

#define ROWS                                                                                       \
	"{\"prompt\":\"one two\",\"completion\":\" three\"}\n"                                     \
	"{\"prompt\":\"\",\"completion\":\"x\"}\n"                                                 \
	"{\"prompt\":\"a longer prompt with words\",\"completion\":\" and a longer answer\"}\n"    \
	"{\"prompt\":\"b\",\"completion\":\"c d e f g\"}\n"                                        \
	"{\"prompt\":\"again one two\",\"completion\":\" three four\"}\n"

static void
fill(struct bench_data *bench, const struct hn_order *order, int64_t step)
{
	if (hn_window_fill(&bench->window, order, hn_order_step(order, step), &bench->err))
		fail_msg("%s", bench->err.text);
}

/* ids and mask that the dataset holds */
static const int32_t *
ids_of(const struct bench_data *bench, int64_t example, const uint8_t **learned, int64_t *n)
{
	const struct hone_example *pub = &bench->data.examples[example].pub;

	*learned = hn_dataset_array(pub, "learned", n);
	return hn_dataset_array(pub, "ids", n);
}

static void
test_window_holds_examples_in_order(void **state)
{
	struct bench_data bench;
	const struct hn_order order = {.seed = 3, .n = 5, .window = 5, .shuffles = true};
	const struct hn_window_stream *s;
	int64_t at = 0, n_learned = 0;
	double weight = 0.0;

	(void)state;
	bench_data_open(&bench, "sft");
	assert_int_equal(bench_data_read(&bench, ROWS), HONE_OK);
	bench_window(&bench, 5, 20);
	fill(&bench, &order, 0);
	s = &bench.window.streams[0];
	assert_int_equal(s->n_segments, 5);
	for (int64_t e = 0; e < 5; e++) {
		const uint8_t *learned;
		int64_t n;
		const int32_t *ids = ids_of(&bench, hn_order_example(&order, 0, e), &learned, &n);

		assert_int_equal(s->segments[e].begin, at);
		assert_int_equal(s->segments[e].n, n);
		for (int64_t i = 0; i < n; i++) {
			const int32_t label = (int32_t)s->columns[0].values[at + i];
			const bool is_learned = i + 1 < n && learned[i + 1];

			assert_int_equal(s->tokens[at + i], ids[i]);
			assert_int_equal(label, is_learned ? ids[i + 1] : HONE_LABEL_NONE);
			n_learned += is_learned;
		}
		at += n;
	}
	assert_int_equal(s->n_rows, at);
	assert_int_equal(hn_window_weight(&bench.window, "text", "supervised", &weight, &bench.err),
		HONE_OK);
	assert_int_equal((int64_t)weight, n_learned);
	assert_int_equal(bench.data.report.supervised_tokens, n_learned);
	assert_int_equal(hn_window_weight(&bench.window, "text", "nothing", &weight, &bench.err),
		HONE_EPLUGIN);
	bench_data_close(&bench);
}

/* Greedy in order, for every budget; nothing is split or reordered. */
static void
test_window_cut_is_by_budget_in_order(void **state)
{
	struct bench_data bench;
	const struct hn_order order = {.n = 5, .window = 5};

	(void)state;
	bench_data_open(&bench, "sft");
	assert_int_equal(bench_data_read(&bench, ROWS), HONE_OK);
	for (int64_t budget = 1; budget < 80; budget++) {
		struct hn_capacity capacity;
		int64_t next = 0;

		bench_window(&bench, 5, budget);
		fill(&bench, &order, 0);
		capacity = hn_window_capacity(&bench.window);
		for (int64_t m = 0; m < bench.window.n_micros; m++) {
			const struct hn_micro *micro = &bench.window.micros[m];
			int64_t rows = 0;

			assert_int_equal(micro->first, next);
			assert_true(micro->n >= 1);
			for (int64_t e = next; e < next + micro->n; e++)
				rows += bench.data.examples[e].n_rows;
			assert_int_equal(micro->rows, rows);
			assert_true(rows <= budget || micro->n == 1);
			next += micro->n;
			if (next < 5) /* it was cut because the next did not fit */
				assert_true(rows + bench.data.examples[next].n_rows > budget);
			assert_true(rows <= capacity.rows && micro->n <= capacity.segments);
		}
		assert_int_equal(next, 5);
		if (bench.window.n_micros == 1) /* all of it: the bound is what is there */
			assert_int_equal(capacity.selected, bench.data.report.supervised_tokens);
	}
	bench_data_close(&bench);
}

/* Random lengths, all windows of many epochs: no micro-batch exceeds what was planned. */
static void
test_window_capacity_is_enough_for_every_order(void **state)
{
	static const int64_t budgets[] = {1, 40, 97, 300, 5000};
	struct bench_data bench;
	struct hn_str rows = {0};

	(void)state;
	for (uint64_t i = 0; i < 90; i++) {
		hn_str_puts(&rows, "{\"prompt\":\"");
		for (uint64_t k = 0; k < hn_rng_below(1, 1, i, 0, 40); k++)
			hn_str_puts(&rows, "w ");
		hn_str_puts(&rows, "\",\"completion\":\"a");
		for (uint64_t k = 0; k < hn_rng_below(1, 1, i, 1, 20); k++)
			hn_str_puts(&rows, " b");
		hn_str_puts(&rows, "\"}\n");
	}
	bench_data_open(&bench, "sft");
	assert_int_equal(bench_data_read(&bench, rows.text), HONE_OK);
	for (size_t b = 0; b < sizeof budgets / sizeof budgets[0]; b++) {
		const struct hn_order order = {.seed = b, .n = 90, .window = 7, .shuffles = true};
		struct hn_capacity capacity;
		uint64_t n_allocated;

		bench_window(&bench, 7, budgets[b]);
		capacity = hn_window_capacity(&bench.window);
		assert_true(capacity.longest == bench.data.report.longest);
		n_allocated = hn_alloc_count();
		for (int64_t step = 0; step < 13 * 20; step++) {
			double total = 0.0, part = 0.0;

			fill(&bench, &order, step);
			assert_int_equal(
				hn_window_weight(&bench.window, "text", "supervised", &total, NULL),
				HONE_OK);
			for (int64_t m = 0; m < bench.window.n_micros; m++) {
				assert_true(bench.window.micros[m].rows <= capacity.rows);
				assert_true(bench.window.micros[m].n <= capacity.segments);
				assert_int_equal(hn_window_micro_weight(&bench.window, m, "text",
							 "supervised", &part, NULL),
					HONE_OK);
				assert_true(part <= (double)capacity.selected);
				total -= part;
			}
			assert_true(total == 0.0);
		}
		assert_int_equal(hn_alloc_count(), n_allocated);
	}
	hn_str_fini(&rows);
	bench_data_close(&bench);
}

/* ---- bound to a program ---- */

/* A program that reads all columns: the keys are for LoRA's dropout. */
static void
plan(struct bench_model *model, const struct bench_data *bench, struct hn_program *program)
{
	struct hn_build_request request = {.mode = HN_BUILD_TRAIN,
		.adapters = model->adapters,
		.n_adapters = model->n_adapters,
		.model = &model->model,
		.params = &model->params,
		.objective = bench->factory->vt,
		.objective_self = &bench->sft,
		.objective_section = "sft",
		.layout = &bench->layout,
		.capacity = hn_window_capacity(&bench->window),
		.compute = HONE_DTYPE_F32};
	struct hn_build_result result;
	struct hn_graph graph;
	struct hone_error err = {0};

	if (hn_build(&request, &graph, &result, &err) ||
		hn_program_plan(program, "eval", &graph, 16, &err))
		fail_msg("%s: %s", err.place, err.text);
	program->columns = hn_alloc(program->column_bytes);
	program->live = hn_alloc(program->graph.n_spaces * sizeof *program->live);
}

static int64_t
live(const struct hn_program *program, const char *space)
{
	for (uint32_t i = 1; i < program->graph.n_spaces; i++)
		if (hn_streq(program->graph.spaces[i].name, space))
			return program->live[i];
	fail_msg("no space %s", space);
	return -1;
}

static void
check_bound(const struct bench_data *bench, const struct hn_program *program, int64_t m)
{
	const struct hn_micro *micro = &bench->window.micros[m];
	const int32_t *tokens = hn_program_column(program, "text.tokens");
	const int32_t *positions = hn_program_column(program, "text.positions");
	const int32_t *offsets = hn_program_column(program, "text.offsets");
	const int32_t *index = hn_program_column(program, "text.supervised.index");
	const int32_t *labels = hn_program_column(program, "text.supervised.labels");
	const int32_t *keys = hn_program_column(program, "text.keys");
	int64_t at = 0, n_selected = 0;

	assert_true(keys && tokens && positions && offsets && index && labels);
	for (int64_t e = micro->first; e < micro->first + micro->n; e++) {
		const uint8_t *learned;
		int64_t n;
		const int32_t *ids = ids_of(bench, e, &learned, &n);

		assert_int_equal(offsets[e - micro->first], at);
		for (int64_t i = 0; i < n; i++) {
			assert_int_equal(tokens[at + i], ids[i]);
			assert_int_equal(positions[at + i], i);
			assert_int_equal(keys[2 * (at + i)], e);
			assert_int_equal(keys[2 * (at + i) + 1], i);
			if (i + 1 < n && learned[i + 1]) {
				assert_int_equal(index[n_selected], at + i);
				assert_int_equal(labels[n_selected++], ids[i + 1]);
			}
		}
		at += n;
	}
	assert_int_equal(offsets[micro->n], at);
	assert_int_equal(live(program, "text"), at);
	assert_int_equal(live(program, "text.segments"), micro->n);
	assert_int_equal(live(program, "text.offsets"), micro->n + 1);
	assert_int_equal(live(program, "text.supervised"), n_selected);
}

static void
test_window_bound_columns_are_the_micro_batch(void **state)
{
	const struct hn_order order = {.n = 5, .window = 5};
	struct bench_data bench;
	struct bench_model model;
	struct hn_program program;
	struct hn_binding binding;
	struct lora_values lora = {.r = 4, .lora_alpha = 8, .lora_dropout = 0.5};

	(void)state;
	bench_data_open(&bench, "sft");
	assert_int_equal(bench_data_read(&bench, ROWS), HONE_OK);
	bench_window(&bench, 5, 24);
	bench_open(&model, "golden/models/tiny-llama", "reference");
	lora.target_modules = bench_sites(&model, "all-linear");
	bench_adapter(&model, "lora", "lora", "lora", &lora);
	memset(&program, 0, sizeof program);
	plan(&model, &bench, &program);
	hn_binding_init(&binding, &bench.window, &program);
	fill(&bench, &order, 0);
	assert_true(bench.window.n_micros > 2);
	for (int64_t m = 0; m < bench.window.n_micros; m++) {
		if (hn_window_bind(&bench.window, m, &binding, &bench.err))
			fail_msg("%s", bench.err.text);
		check_bound(&bench, &program, m);
	}
	hn_binding_fini(&binding);
	free(program.columns);
	free(program.live);
	program.columns = NULL;
	program.live = NULL;
	hn_program_fini(&program);
	bench_close(&model);
	bench_data_close(&bench);
}

/* ---- plugins that break their word ---- */

enum fault { NONE, LONGER, MORE_SELECTED, NO_TOKENS, BAD_TOKEN, NO_STREAM, NO_COLUMN, EARLY, PUTS };

static enum hone_status
bad_emit(const void *self, struct hone_data *data, const struct hone_example *example,
	struct hone_error *err)
{
	const enum fault fault = *(const enum fault *)self;
	int64_t n = 0;
	const int32_t *ids = data->vt->array(example, "ids", &n);
	int32_t other[256];
	enum hone_status st;

	for (int64_t i = 0; i < 256; i++)
		other[i] = i < n ? ids[i] : 0;
	if (fault == BAD_TOKEN)
		other[n - 1] = 1 << 20;
	if (fault == EARLY)
		return data->vt->column(data, "labels", ids, err);
	if (fault == PUTS)
		return data->vt->put(data, "x", HONE_DTYPE_I32, 1, ids, err);
	st = data->vt->segment(
		data, fault == NO_STREAM ? "image" : "text", "", n + (fault == LONGER), err);
	if (!st && fault != NO_TOKENS)
		st = data->vt->column(data, "tokens", other, err);
	if (!st)
		st = data->vt->column(data, fault == NO_COLUMN ? "weights" : "labels",
			fault == MORE_SELECTED ? other
					       : data->vt->labels(data, n, ids,
							 data->vt->array(example, "learned", &n)),
			err);
	return st;
}

static void
test_window_plugin_that_breaks_its_word_is_named(void **state)
{
	static const struct {
		enum fault fault;
		const char *says;
	} cases[] = {{NONE, NULL}, {LONGER, "was said to have"},
		{MORE_SELECTED, "said to be learned"}, {NO_TOKENS, "has no token"},
		{BAD_TOKEN, "vocabulary"}, {NO_STREAM, "'image' was not declared"},
		{NO_COLUMN, "'weights'"}, {EARLY, "before any segment"},
		{PUTS, "not a service of this phase"}};
	struct bench_data bench;

	(void)state;
	bench_data_open(&bench, "sft");
	assert_int_equal(bench_data_read(&bench, ROWS), HONE_OK);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct hone_objective_vt vt = *(const struct hone_objective_vt *)bench.factory->vt;
		const struct hn_window_request request = {.data = &bench.data,
			.layout = &bench.layout,
			.objective = &vt,
			.objective_self = &cases[i].fault,
			.objective_section = "sft",
			.max_length = 1024,
			.max_examples = 2,
			.micro_batch_tokens = 64,
			.vocab = 701};
		struct hn_window window;
		struct hone_error err = {0};

		vt.emit = bad_emit;
		assert_int_equal(
			hn_window_init(&window, &request, &err) != HONE_OK, cases[i].says != NULL);
		if (cases[i].says && !strstr(err.text, cases[i].says))
			fail_msg("'%s' does not say '%s'", err.text, cases[i].says);
		if (cases[i].says && !strstr(err.text, "rows.jsonl:"))
			fail_msg("'%s' names no row", err.text);
		hn_window_fini(&window);
	}
	bench_data_close(&bench);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window_holds_examples_in_order),
		cmocka_unit_test(test_window_cut_is_by_budget_in_order),
		cmocka_unit_test(test_window_capacity_is_enough_for_every_order),
		cmocka_unit_test(test_window_bound_columns_are_the_micro_batch),
		cmocka_unit_test(test_window_plugin_that_breaks_its_word_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
