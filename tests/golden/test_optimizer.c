/*
 * test_optimizer.c - A6, C13: AdamW over 20 steps, and clipping, against PyTorch.
 *
 * Would catch: decay that is added to the gradient instead of taken off the value, or taken
 * after the update; a bias correction that is off by one step; eps inside the root; moments
 * that forget in the wrong direction; a norm of each tensor instead of all; a factor that
 * enlarges small gradients, divides by a zero norm, or forgets PyTorch's 1e-6.
 *
 * Both go the way of a run: programs of hn_build_norm and hn_build_update, and hn_step_end.
 */
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "golden_file.h"
#include "support.h"
#include "train_run.h"

#define MODEL "golden/models/tiny-llama"

/* Where the update runs, and how far it may be from PyTorch in the same type, relative to the
 * greatest number of the tensor.  Rate, bias corrections and clipping factor are float32 in
 * every program (hone/op.h, ADAMW), half a unit of which is 6e-8 of a step of 1e-2; moments
 * take no part in that unless gradients are clipped. */
static const struct way {
	const char *backend;
	int32_t compute;
	double values, moments, clipped;
} ways[] = {
	{"reference", HONE_DTYPE_F64, 1e-8, 1e-13, 1e-7},
	{"reference", HONE_DTYPE_F32, 1e-6, 1e-6, 1e-6},
	{"cpu", HONE_DTYPE_F32, 1e-6, 1e-6, 1e-6},
};
enum { N_WAYS = sizeof ways / sizeof ways[0] };

/* ---- a run of nothing but parameters ---- */

/* The parameters that the test's own adapter declares, of the instance itself. */
struct shapes {
	uint32_t n;
	struct hone_param_spec specs[3];
};

static enum hone_status
shapes_declare(const void *self, const struct hone_site *site, struct hone_params *params,
	struct hone_error *err)
{
	const struct shapes *shapes = self;

	return site ? HONE_OK : hone_params_declare(params, NULL, shapes->n, shapes->specs, err);
}

static enum hone_status
shapes_create(const struct hone_host *host, const struct hone_instance_info *info,
	const void *values, void **self, struct hone_error *err)
{
	(void)host;
	(void)info;
	(void)err;
	*self = (void *)(uintptr_t)values;
	return HONE_OK;
}

static const struct hone_adapter_vt shapes_vt = {
	.struct_size = sizeof shapes_vt, .declare = shapes_declare};
static const struct hone_factory shapes_factory = {.struct_size = sizeof shapes_factory,
	.role = HONE_ROLE_ADAPTER,
	.name = "shapes",
	.create = shapes_create,
	.vt = &shapes_vt};

/* The programs that end a step, and zero moments. */
static void
open_run(struct train_run *run, const struct way *way, const struct shapes *shapes)
{
	struct hn_engine *engine = &run->bench.engine;
	struct hn_graph norm, update;
	struct hone_error err = {0};

	bench_open(&run->bench, MODEL, way->backend);
	bench_adapter_of(&run->bench, &shapes_factory, "shapes", shapes);
	assert_int_equal(run->bench.params.n, shapes->n);
	hn_engine_init(engine, &run->bench.model, &run->bench.params, run->bench.devices,
		run->bench.n_devices, way->compute);
	run->step.engine = engine;
	if (hn_build_norm(&run->bench.params, way->compute, &norm, &err) ||
		hn_engine_add(engine, &run->step.norm, "norm", &norm, 16, &err) ||
		hn_build_update(&run->bench.params, &run->adamw, way->compute, &update, &err) ||
		hn_engine_add(engine, &run->step.update, "update", &update, 16, &err) ||
		hn_engine_allocate(engine, &err))
		fail_msg("%s: %s", err.place, err.text);
}

/* Numbers of a golden tensor as doubles; the caller frees. */
static double *
numbers(const struct hn_tensor_file *file, const char *name, int64_t *n)
{
	const struct hn_tensor_info *info = hn_tensor_file_find(file, name);
	double *out;

	if (!info)
		fail_msg("no golden tensor %s", name);
	out = malloc((size_t)info->n_elems * sizeof *out);
	for (int64_t i = 0; i < info->n_elems; i++) {
		float narrow = 0.0f;

		if (hn_streq(info->storage, "f64"))
			memcpy(&out[i], info->bytes + 8 * i, 8);
		else
			memcpy(&narrow, info->bytes + 4 * i, 4);
		if (!hn_streq(info->storage, "f64"))
			out[i] = (double)narrow;
	}
	if (n)
		*n = info->n_elems;
	return out;
}

/* Sets a parameter's part of a whole buffer, whose padding is zero. */
static void
put(struct train_run *run, int32_t kind, uint32_t i, const double *values)
{
	const struct hn_param *param = &run->bench.params.list[i];
	double *all = train_take(run, kind);

	memcpy(all + param->offset, values, (size_t)param->n_elems * sizeof *all);
	train_put(run, kind, all);
	free(all);
}

/* Greatest distance of a parameter's part from `want`, relative to the greatest of `want`. */
static double
distance(const struct train_run *run, int32_t kind, uint32_t i, const double *want)
{
	const struct hn_param *param = &run->bench.params.list[i];
	double *all = train_take(run, kind), d;

	d = train_distance(all + param->offset, want, param->n_elems);
	free(all);
	return d;
}

/* What PyTorch has after every step, and its last moments. */
struct path {
	double *start, *gradients, *values, *m, *v;
	int64_t n, n_steps;
};

/* The same of one element each, relative to the greatest gradient it ever had (`power` 2: to its
 * square), so that those of 1e-20 are not lost beside those of 1e4.  What float32 cannot hold
 * as a normal number may be zero. */
static double
moment_distance(const struct train_run *run, int32_t kind, const struct path *path,
	const double *want, int power)
{
	double *all = train_take(run, kind), worst = 0.0;

	for (int64_t i = 0; i < path->n; i++) {
		double scale = 0.0, d;

		for (int64_t t = 0; t < path->n_steps; t++)
			scale = fmax(scale, fabs(path->gradients[t * path->n + i]));
		d = fabs(all[i] - want[i]) / fmax(pow(scale, power), FLT_MIN);
		worst = d > worst || isnan(d) ? d : worst;
	}
	free(all);
	return worst;
}

/* ---- AdamW ---- */

static double
number(const json_t *given, const char *key, double otherwise)
{
	const json_t *value = json_object_get(given, key);

	return value ? json_number_value(value) : otherwise;
}

static struct hn_adamw
options_of(const json_t *given)
{
	const json_t *betas = json_object_get(given, "betas");

	return (struct hn_adamw){.beta1 = betas ? json_number_value(json_array_get(betas, 0)) : 0.9,
		.beta2 = betas ? json_number_value(json_array_get(betas, 1)) : 0.999,
		.eps = number(given, "eps", 1e-8),
		.weight_decay = number(given, "weight_decay", 0.0)};
}

static void
read_path(struct path *path, const struct hn_tensor_file *file, const char *name,
	const struct way *way)
{
	const char *precision = way->compute == HONE_DTYPE_F64 ? "f64" : "f32";
	double **const into[] = {&path->values, &path->m, &path->v};
	static const char *const parts[] = {"values", "m", "v"};

	path->start = numbers(file, "start", &path->n);
	path->gradients = numbers(file, "gradients", &path->n_steps);
	path->n_steps /= path->n;
	for (int i = 0; i < 3; i++) {
		char key[96];
		int64_t n;

		(void)snprintf(key, sizeof key, "%s.%s.%s", name, precision, parts[i]);
		*into[i] = numbers(file, key, &n);
		assert_int_equal(n, i ? path->n : path->n * path->n_steps);
	}
}

static void
free_path(struct path *path)
{
	free(path->start);
	free(path->gradients);
	free(path->values);
	free(path->m);
	free(path->v);
}

static void
follow(const struct hn_tensor_file *file, const char *name, const json_t *given,
	const struct way *way, double rate)
{
	struct train_run run = {.adamw = options_of(given)};
	struct shapes shapes = {.n = 1};
	double worst = 0.0, d, m, v;
	struct path path;

	read_path(&path, file, name, way);
	shapes.specs[0] = hone_param_spec_make("p", path.n, 0);
	shapes.specs[0].export_name = "p";
	open_run(&run, way, &shapes);
	put(&run, HN_MEMORY_PARAMS, 0, path.start);
	for (int64_t t = 0; t < path.n_steps; t++) {
		put(&run, HN_MEMORY_GRADS, 0, path.gradients + t * path.n);
		(void)train_update(&run, (uint64_t)t, rate, 0.0);
		d = distance(&run, HN_MEMORY_PARAMS, 0, path.values + t * path.n);
		if (!(d <= way->values))
			fail_msg("%s, step %d: values are off by %.2e", name, (int)t, d);
		worst = fmax(worst, d);
	}
	m = moment_distance(&run, HN_MEMORY_MOMENT1, &path, path.m, 1);
	v = moment_distance(&run, HN_MEMORY_MOMENT2, &path, path.v, 2);
	print_message("%-8s %-9s %s: values %.1e, m %.1e, v %.1e\n", name, way->backend,
		hone_dtype_name(way->compute), worst, m, v);
	assert_true(m <= way->moments && v <= way->moments);
	bench_close(&run.bench);
	free_path(&path);
}

static void
test_optimizer_adamw_follows_pytorch(void **state)
{
	struct hn_tensor_file file;
	const char *text = NULL, *name;
	struct hone_error err = {0};
	json_t *facts, *cases, *given;

	(void)state;
	golden_open(&file, "golden/optimizer/adamw.safetensors");
	assert_int_equal(hn_meta_string(&file, "facts", &text, &err), HONE_OK);
	facts = json_loads(text, 0, NULL);
	cases = json_object_get(facts, "cases");
	assert_int_equal(json_object_size(cases), 4);
	for (int i = 0; i < N_WAYS; i++)
		json_object_foreach(cases, name, given)
			follow(&file, name, given, &ways[i], number(facts, "lr", 0.0));
	json_decref(facts);
	hn_tensor_file_close(&file);
}

/* ---- clipping ---- */

static const char *const clips[] = {"above", "below", "near", "half", "zero", "huge"};
enum { N_CLIPS = sizeof clips / sizeof clips[0] };

static double *
clip_part(
	const struct hn_tensor_file *file, const char *name, int part, const char *what, int64_t *n)
{
	char key[96];

	if (part < 0)
		(void)snprintf(key, sizeof key, "%s.%s", name, what);
	else
		(void)snprintf(key, sizeof key, "%s.%d.%s", name, part, what);
	return numbers(file, key, n);
}

/* In double, as PyTorch had it. */
static void
test_optimizer_clip_factor_is_pytorchs(void **state)
{
	struct hn_tensor_file file;

	(void)state;
	golden_open(&file, "golden/optimizer/clip.safetensors");
	for (int i = 0; i < N_CLIPS * 3; i++) {
		const char *name = clips[i / 3];
		int64_t n;
		double *gradient = clip_part(&file, name, i % 3, "gradient", &n);
		double *clipped = clip_part(&file, name, i % 3, "clipped", NULL);
		double *norm = clip_part(&file, name, -1, "norm", NULL);
		double *limit = clip_part(&file, name, -1, "limit", NULL);

		for (int64_t k = 0; k < n; k++)
			gradient[k] *= hn_clip_factor(*norm, *limit);
		if (!(train_distance(gradient, clipped, n) <= 1e-15))
			fail_msg("%s: %.17g, PyTorch has %.17g", name, gradient[0], clipped[0]);
		assert_true(hn_clip_factor(*norm, 0.0) == 1.0);
		free(gradient);
		free(clipped);
		free(norm);
		free(limit);
	}
	hn_tensor_file_close(&file);
}

/* One step with beta1 = beta2 = 0 keeps the clipped gradient as the first moment. */
static void
clip_in_a_step(const struct hn_tensor_file *file, const char *name, const struct way *way)
{
	struct train_run run = {.adamw = {0.0, 0.0, 1e-8, 0.0}};
	struct shapes shapes = {.n = 3};
	double *norm = clip_part(file, name, -1, "norm", NULL);
	double *limit = clip_part(file, name, -1, "limit", NULL);
	double worst = 0.0, got;

	/* The shapes of the golden tensors: [5, 7], [1], [2, 3, 2]. */
	shapes.specs[0] = hone_param_spec_make("a", 5, 7);
	shapes.specs[1] = hone_param_spec_make("b", 1, 0);
	shapes.specs[2] = hone_param_spec_make("c", 2, 3);
	for (uint32_t i = 0; i < 3; i++)
		shapes.specs[i].export_name = shapes.specs[i].name;
	shapes.specs[2].rank = 3;
	shapes.specs[2].dim[2] = 2;
	open_run(&run, way, &shapes);
	for (uint32_t i = 0; i < 3; i++) {
		double *gradient = clip_part(file, name, (int)i, "gradient", NULL);

		put(&run, HN_MEMORY_GRADS, i, gradient);
		free(gradient);
	}
	got = train_update(&run, 0, 1e-3, *limit);
	for (uint32_t i = 0; i < 3; i++) {
		double *clipped = clip_part(file, name, (int)i, "clipped", NULL);

		worst = fmax(worst, distance(&run, HN_MEMORY_MOMENT1, i, clipped));
		free(clipped);
	}
	print_message("clip %-5s %-9s %s: norm %.1e, clipped %.1e\n", name, way->backend,
		hone_dtype_name(way->compute), fabs(got - *norm) / fmax(*norm, 1e-30), worst);
	assert_true(fabs(got - *norm) <= way->moments * *norm);
	assert_true(worst <= way->clipped);
	bench_close(&run.bench);
	free(norm);
	free(limit);
}

static void
test_optimizer_step_clips_as_pytorch(void **state)
{
	struct hn_tensor_file file;

	(void)state;
	golden_open(&file, "golden/optimizer/clip.safetensors");
	for (int i = 0; i < N_CLIPS * N_WAYS; i++)
		clip_in_a_step(&file, clips[i % N_CLIPS], &ways[i / N_CLIPS]);
	hn_tensor_file_close(&file);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_optimizer_adamw_follows_pytorch),
		cmocka_unit_test(test_optimizer_clip_factor_is_pytorchs),
		cmocka_unit_test(test_optimizer_step_clips_as_pytorch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
