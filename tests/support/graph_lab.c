/*
 * graph_lab.c - leaves, columns and differences of a small graph.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hone/random.h>

#include "base/rng.h"
#include "graph_lab.h"
#include "instance.h"
#include "program_walk.h"
#include "support.h"

extern const struct hone_plugin hone_plugin_v1_reference;

static const int32_t offsets_of[LAB_SEGMENTS + 1] = {0, 3, 3, 5, 7};
static const int32_t picked_of[LAB_PICKED] = {5, 0, 2, 6, 2};

void
lab_open(struct lab *lab)
{
	const struct hone_factory *factory = hone_plugin_v1_reference.factories[0];
	const struct hone_instance_info info = {sizeof info, 0, factory->name, NULL};
	struct hone_error err = {0};
	void *self = NULL;

	memset(lab, 0, sizeof *lab);
	if (instance_make(factory, NULL, &info, NULL, &self, &err))
		fail_msg("%s", err.text);
	lab->device.vt = factory->vt;
	lab->device.name = factory->name;
	if (lab->device.vt->open(self, 0, &lab->device.device, &err))
		fail_msg("%s", err.text);
	hn_graph_init(&lab->graph, HONE_DTYPE_F64);
	lab->g = &lab->graph.base;
	lab->rows = hn_graph_space(&lab->graph, "rows", LAB_CAPACITY);
	lab->segments = hn_graph_space(&lab->graph, "segments", LAB_SEGMENTS + 2);
	lab->offsets = hn_graph_space(&lab->graph, "offsets", LAB_SEGMENTS + 3);
	lab->graph.spaces[lab->offsets].segments = lab->segments;
	lab->graph.spaces[lab->offsets].rows = lab->rows;
	lab->picked = hn_graph_space(&lab->graph, "picked", LAB_CAPACITY - 1);
	lab->params.list = lab->list;
}

void
lab_close(struct lab *lab)
{
	if (lab->engine.model)
		hn_engine_fini(&lab->engine);
	else
		hn_graph_fini(&lab->graph);
	lab->device.vt->close(lab->device.device);
}

/* ---- leaves ---- */

hone_node
lab_param(struct lab *lab, int64_t rows, int64_t cols, double shift, double spread)
{
	const uint32_t i = lab->params.n++;
	struct hn_param *param = &lab->list[i];

	assert_true(i < LAB_PARAMS);
	param->key = "lab";
	param->spec = hone_param_spec_make("lab", rows, cols);
	param->n_elems = rows * (cols ? cols : 1);
	param->offset = (uint64_t)lab->params.n_elems;
	lab->params.n_elems += (param->n_elems + 15) / 16 * 16;
	lab->shift[i] = shift;
	lab->spread[i] = spread;
	return hn_graph_param(&lab->graph, i, param->spec.rank, param->spec.dim, true);
}

static hone_node
column(struct lab *lab, const char *name, int32_t dtype, uint32_t space, int64_t cols)
{
	const int64_t dim[2] = {lab->graph.spaces[space].capacity, cols};

	return hn_graph_column(&lab->graph, name, dtype, space, cols ? 2 : 1, dim);
}

hone_node
lab_rows(struct lab *lab, int64_t cols, double shift, double spread)
{
	return hone_gather_rows(lab->g, lab_param(lab, LAB_CAPACITY, cols, shift, spread),
		column(lab, "order", HONE_DTYPE_I32, lab->rows, 0));
}

hone_node
lab_picked(struct lab *lab, int64_t cols, double shift, double spread)
{
	return hone_gather_rows(lab->g, lab_rows(lab, cols, shift, spread), lab_index(lab));
}

hone_node
lab_offsets(struct lab *lab)
{
	return column(lab, "offsets", HONE_DTYPE_I32, lab->offsets, 0);
}

hone_node
lab_ranges(struct lab *lab)
{
	return column(lab, "ranges", HONE_DTYPE_I32, lab->segments, 2);
}

hone_node
lab_keys(struct lab *lab)
{
	return column(lab, "keys", HONE_DTYPE_I32, lab->rows, 2);
}

hone_node
lab_index(struct lab *lab)
{
	return column(lab, "index", HONE_DTYPE_I32, lab->picked, 0);
}

hone_node
lab_labels(struct lab *lab)
{
	return column(lab, "labels", HONE_DTYPE_I32, lab->picked, 0);
}

hone_node
lab_positions(struct lab *lab)
{
	return column(lab, "positions", HONE_DTYPE_I32, lab->rows, 0);
}

/* ---- loss ---- */

static double
weight_at(uint32_t sum, int64_t i)
{
	return 0.25 + (double)hone_random_uniform(3, sum, 0, 0, i);
}

void
lab_loss(struct lab *lab, hone_node y)
{
	const struct hone_value value = hone_value_of(lab->g, y);
	const int64_t cols = value.rank > 1 ? value.dim[1] : 1;
	int64_t dim[2] = {value.dim[0], cols};
	double *weights = calloc((size_t)(dim[0] * cols), sizeof *weights);
	char name[32];
	hone_node w, sum;

	if (value.space.id) {
		(void)snprintf(name, sizeof name, "weights.%u", lab->n_sums);
		w = column(lab, name, HONE_DTYPE_F64, value.space.id, cols);
	} else {
		for (int64_t i = 0; i < dim[0] * cols; i++)
			weights[i] = weight_at(lab->n_sums, i);
		w = lab->g->vt->constant(lab->g, HONE_DTYPE_F64, 2, dim, weights);
	}
	free(weights);
	lab->n_sums++;
	sum = hone_sum_rows(
		lab->g, hone_reduce_cols(lab->g, hone_mul(lab->g, y, w), HONE_REDUCE_SUM));
	lab->loss = lab->loss.id ? hone_add(lab->g, lab->loss, sum) : sum;
}

/* ---- running ---- */

static void
fill_weights(struct lab *lab)
{
	for (uint32_t k = 0; k < lab->n_sums; k++) {
		char name[32];
		double *w;
		int64_t n = 0;

		(void)snprintf(name, sizeof name, "weights.%u", k);
		w = hn_program_column(&lab->program, name);
		for (uint32_t c = 0; c < lab->program.graph.n_columns; c++)
			if (hn_streq(lab->program.graph.columns[c].name, name))
				n = hn_value_elems(hn_graph_value(
					&lab->program.graph, lab->program.graph.columns[c].value));
		for (int64_t i = 0; i < n; i++)
			w[i] = weight_at(k, i);
	}
}

static void
fill_columns(struct lab *lab)
{
	struct hn_program *p = &lab->program;
	int32_t *order = hn_program_column(p, "order"), *bounds = hn_program_column(p, "offsets");
	int32_t *ranges = hn_program_column(p, "ranges"), *keys = hn_program_column(p, "keys");
	int32_t *index = hn_program_column(p, "index"), *labels = hn_program_column(p, "labels");
	int32_t *positions = hn_program_column(p, "positions");

	for (int32_t i = 0; i < LAB_ROWS; i++) {
		if (order)
			order[i] = i;
		if (positions)
			positions[i] = 3 * i + 1;
		if (keys) {
			keys[2 * i] = i / 3;
			keys[2 * i + 1] = i % 3;
		}
	}
	if (bounds)
		memcpy(bounds, offsets_of, sizeof offsets_of);
	for (int32_t s = 0; s < LAB_SEGMENTS && ranges; s++) {
		ranges[2 * s] = offsets_of[s];
		ranges[2 * s + 1] = offsets_of[s + 1];
	}
	for (int32_t m = 0; m < LAB_PICKED; m++) {
		if (index)
			index[m] = picked_of[m];
		if (labels)
			labels[m] = m == 3 ? -100 : (3 * m + 1) % 5;
	}
	fill_weights(lab);
}

static void
fill_params(struct lab *lab)
{
	for (uint32_t p = 0; p < lab->params.n; p++) {
		const struct hn_param *param = &lab->list[p];
		double *values = lab_values(lab, HN_MEMORY_PARAMS, p);

		for (int64_t i = 0; i < param->n_elems; i++)
			values[i] = lab->shift[p] +
				lab->spread[p] * hn_rng_normal(17, p, (uint64_t)i, 0);
	}
}

void
lab_finish(struct lab *lab, int64_t chunk_rows, bool fuses)
{
	static const double one = 1.0;
	const int64_t dim = 1;
	struct hone_error err = {0};
	struct hn_seed seed;
	char why[256] = "";

	if (hone_graph_status(lab->g, &err))
		fail_msg("%s", err.text);
	seed = (struct hn_seed){
		lab->loss, lab->g->vt->constant(lab->g, HONE_DTYPE_F64, 1, &dim, &one)};
	lab->graph.spaces[lab->picked].is_chunked = lab->picked_is_chunked;
	hn_graph_output(&lab->graph, lab->loss, "loss");
	if (hn_graph_backward(&lab->graph, &seed, 1, &err))
		fail_msg("%s", err.text);
	if (fuses)
		hn_graph_fuse(&lab->graph);
	lab->params.list = lab->list;
	hn_engine_init(&lab->engine, &lab->model, &lab->params, &lab->device, 1, HONE_DTYPE_F64);
	if (hn_engine_add(&lab->engine, &lab->program, "lab", &lab->graph, chunk_rows, &err) ||
		hn_engine_allocate(&lab->engine, &err))
		fail_msg("%s: %s", err.place, err.text);
	if (!program_walk(&lab->program, why))
		fail_msg("%s", why);
	hn_program_set_live(&lab->program, "rows", LAB_ROWS);
	hn_program_set_live(&lab->program, "segments", LAB_SEGMENTS);
	hn_program_set_live(&lab->program, "offsets", LAB_SEGMENTS + 1);
	hn_program_set_live(&lab->program, "picked", LAB_PICKED);
	fill_columns(lab);
	fill_params(lab);
}

double *
lab_values(const struct lab *lab, int32_t kind, uint32_t param)
{
	return (double *)lab->engine.buffers[kind] + lab->list[param].offset;
}

static double
run(struct lab *lab)
{
	struct hone_error err = {0};
	double loss = 0.0;

	/* Nothing may be read that this run has not written: the arena is full of NaN. */
	memset(lab->engine.buffers[HN_MEMORY_ARENA], 0xff, lab->engine.bytes[HN_MEMORY_ARENA]);
	if (hn_program_run(&lab->program, 1, 2, &err) ||
		hn_program_read(&lab->program, "loss", &loss, sizeof loss, &err))
		fail_msg("%s", err.text);
	return loss;
}

double
lab_run(struct lab *lab)
{
	struct hone_error err = {0};

	if (hn_engine_clear(&lab->engine, HN_MEMORY_GRADS, &err))
		fail_msg("%s", err.text);
	return run(lab);
}

/* Whether a second run adds the same gradients to those of the first. */
static bool
adds_up(struct lab *lab, const double *gradient, char why[256])
{
	const double *twice = lab->engine.buffers[HN_MEMORY_GRADS];

	(void)run(lab);
	for (int64_t i = 0; i < lab->params.n_elems; i++)
		if (fabs(twice[i] - 2.0 * gradient[i]) > 1e-12 * fabs(gradient[i])) {
			(void)snprintf(why, 256, "two runs add up to %.9g, not to twice %.9g",
				twice[i], gradient[i]);
			return false;
		}
	return true;
}

/* Differences of fourth order: what is left is 1e-10 for functions of size 1. */
static double
difference(struct lab *lab, double *value)
{
	static const double h = 1e-3;
	const double at = *value;
	double far, near;

	*value = at + h;
	near = lab_run(lab);
	*value = at - h;
	near -= lab_run(lab);
	*value = at + 2.0 * h;
	far = lab_run(lab);
	*value = at - 2.0 * h;
	far -= lab_run(lab);
	*value = at;
	return (8.0 * near - far) / (12.0 * h);
}

static bool
equals_differences(struct lab *lab, const double *gradient, double factor, char why[256])
{
	static const double tolerance = 1e-6;

	for (uint32_t p = 0; p < lab->params.n; p++) {
		const struct hn_param *param = &lab->list[p];
		double *values = lab_values(lab, HN_MEMORY_PARAMS, p);

		for (int64_t i = 0; i < param->n_elems; i++) {
			const double got = factor * gradient[param->offset + (uint64_t)i];
			const double want = difference(lab, values + i);

			if (fabs(got - want) <= tolerance * (fabs(want) + 1e-3))
				continue;
			(void)snprintf(why, 256,
				"parameter %u, element %d: gradient %.9g, differences say %.9g", p,
				(int)i, got, want);
			return false;
		}
	}
	return true;
}

bool
lab_check(struct lab *lab, double factor, char why[256])
{
	const size_t n_bytes = (size_t)lab->params.n_elems * sizeof(double);
	double *gradient = malloc(n_bytes);
	bool is_right;

	(void)lab_run(lab);
	memcpy(gradient, lab->engine.buffers[HN_MEMORY_GRADS], n_bytes);
	is_right = adds_up(lab, gradient, why) && equals_differences(lab, gradient, factor, why);
	free(gradient);
	return is_right;
}

static int
check_case(const struct lab_case *c, bool fuses)
{
	struct lab lab;
	char why[256] = "";
	int failures = 0;

	lab_open(&lab);
	c->build(&lab, c->kind);
	lab_finish(&lab, 2, fuses);
	if (!lab_check(&lab, 1.0, why)) {
		print_error("%s: %s\n", c->name, why);
		failures++;
	} else if (lab_check(&lab, 1.01, why)) {
		print_error("%s: a gradient wrong by 1 %% is not seen\n", c->name);
		failures++;
	}
	lab_close(&lab);
	return failures;
}

int
lab_check_cases(const struct lab_case *cases, size_t n, bool fuses)
{
	int failures = 0;

	for (size_t i = 0; i < n; i++)
		failures += check_case(&cases[i], fuses);
	return failures;
}
