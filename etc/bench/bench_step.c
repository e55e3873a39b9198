/*
 * bench_step.c - whole optimizer steps of a model, as a share of what the machine could do.
 *
 *     bench_step MODEL|smollm2 [FLAG...]
 *
 * "smollm2" is a model of SmolLM2-135M's shape with random bf16 weights, made in $TMPDIR.
 * Steps of LoRA (all linear layers) or of full fine-tuning run on random tokens; the best and
 * the median are printed with the floating-point operations that the work needs at least
 * (products of frozen weights forward and for the inputs' gradients, of trained ones also for
 * their own, attention with half its scores).
 *
 * The first of several steps touches fresh memory and is not counted.
 *
 * The multiply-add peak of the same threads is measured before the first step and after each.
 * "share" is of the best step at the highest peak seen, so it is a lower bound; "share_median"
 * is the median over the steps of the share at the mean of the peaks before and after it,
 * which holds where other work slows the machine down for a while.
 *
 * The planned memory is that of `hone plan` for this process.  --profile adds where the time
 * of all steps but the first goes, by kind of command, --places by place in the model.
 *
 * What the last two lines of flags take away, one by one, makes the ladder of etc/bench/run:
 * kernels of a lesser path, commands submitted one at a time (nothing that spans several:
 * gates, products that share an operand), the loss's rows in one chunk, micro-batches as large
 * as the step.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "bench_peak.h"
#include "bench_profile.h"
#include "bench_shape.h"
#include "footprint.h"
#include "result.h"
#include "run.h"
#include "train/report.h"
#include "train/step.h"

extern const struct hone_plugin hone_plugin_v1_reference;

enum { STEPS_MAX = 64 };

struct options {
	const char *model, *compute, *storage, *path;
	bool is_full, is_json, is_single, recomputes, profiles, by_place;
	int64_t rows, length, micro, chunk, rank, threads, steps;
	double supervised;
};

struct bench {
	struct options o;
	struct hn_log log;
	struct hn_run run;
	struct hn_engine engine;
	struct hn_step step;
	struct hn_footprint plan;
	struct bench_profile *profile;
	double start, ready;           /* seconds: began; ready for the first step after */
	double times[STEPS_MAX];       /* of the steps, in seconds */
	double peaks[STEPS_MAX + 1];   /* before the first step, and after each */
	double profiled;               /* seconds of the steps in the profile */
	char text[4096], folder[1024]; /* the INI; the model's folder */
};

/* With one thread the clock is the process's CPU time, which other work on the machine
 * disturbs little; with more it is the wall. */
static clockid_t the_clock = CLOCK_MONOTONIC;

static double
now(void)
{
	return bench_now(the_clock);
}

static void
die(const struct hone_error *err)
{
	(void)fprintf(stderr, "bench_step: %s: %s\n", err->place, err->text);
	exit(1);
}

/* ---- the command line ---- */

static const char *
text_of(int argc, char **argv, const char *flag, const char *otherwise)
{
	for (int i = 2; i + 1 < argc; i++)
		if (strcmp(argv[i], flag) == 0)
			return argv[i + 1];
	return otherwise;
}

static const char usage[] =
	"bench_step MODEL|smollm2 [--full] [--compute f32|bf16] [--storage native|nf4|...]\n"
	"    [--rows 2048] [--length 256] [--micro ROWS] [--rank 8] [--supervised 1.0]\n"
	"    [--steps 5] [--threads N] [--json] [--profile | --places] [--single]\n"
	"    [--path auto|avx512_bf16|avx512|avx2|portable] [--chunk 256] [--recompute]\n"
	"rows is a multiple of micro, and micro of length; the words are in etc/bench/README.md\n";

static double
number(int argc, char **argv, const char *flag, double otherwise)
{
	const char *text = text_of(argc, argv, flag, NULL);

	return text ? atof(text) : otherwise;
}

static bool
has(int argc, char **argv, const char *flag)
{
	for (int i = 2; i < argc; i++)
		if (strcmp(argv[i], flag) == 0)
			return true;
	return false;
}

/* Rows of a micro-batch are those that a run takes by itself. */
static struct options
parse(int argc, char **argv)
{
	const bool is_full = has(argc, argv, "--full");
	const int64_t length = (int64_t)number(argc, argv, "--length", 256);
	const int64_t micro = (int64_t)number(argc, argv, "--micro", is_full ? 512 : 256);

	return (struct options){.model = argc > 1 ? argv[1] : NULL,
		.compute = text_of(argc, argv, "--compute", "bf16"),
		.storage = text_of(argc, argv, "--storage", "native"),
		.path = text_of(argc, argv, "--path", "auto"),
		.is_full = is_full,
		.is_json = has(argc, argv, "--json"),
		.is_single = has(argc, argv, "--single"),
		.recomputes = has(argc, argv, "--recompute"),
		.profiles = has(argc, argv, "--profile") || has(argc, argv, "--places"),
		.by_place = has(argc, argv, "--places"),
		.rows = (int64_t)number(argc, argv, "--rows", 2048),
		.length = length,
		.micro = micro > length ? micro : length,
		.chunk = (int64_t)number(argc, argv, "--chunk", 256),
		.rank = (int64_t)number(argc, argv, "--rank", 8),
		.threads = (int64_t)number(argc, argv, "--threads", 0),
		.steps = (int64_t)number(argc, argv, "--steps", 5),
		.supervised = number(argc, argv, "--supervised", 1.0)};
}

/* Steps consist of whole micro-batches, and those of whole segments. */
static bool
is_sound(const struct options *o)
{
	return o->model && o->model[0] != '-' && o->steps > 0 && o->steps <= STEPS_MAX && o->length > 0 && o->micro > 0 &&
		o->micro % o->length == 0 && o->rows >= o->micro && o->rows % o->micro == 0 &&
		o->chunk > 0 && o->supervised > 0.0 && o->supervised <= 1.0;
}

/* ---- commands one at a time ---- */

/* The device's table with another submit, which gets the device alone. */
static struct hone_backend_vt the_single;
static const struct hone_backend_vt *the_inner;

static enum hone_status
submit_single(void *device, const struct hone_command *commands, uint32_t n, uint32_t stride,
	const struct hone_run *run, struct hone_error *err)
{
	const uint8_t *at = (const uint8_t *)commands;
	enum hone_status st = HONE_OK;

	for (uint32_t i = 0; i < n && !st; i++, at += stride)
		st = the_inner->submit(device, (const void *)at, 1, stride, run, err);
	return st;
}

static void
attach_single(struct hn_device *device)
{
	the_inner = device->vt;
	the_single = *device->vt;
	the_single.submit = submit_single;
	device->vt = &the_single;
}

/* ---- the work ---- */

/* The weights' share of the floating-point operations of one token. */
static double
flops_per_token(const struct hn_run *run, const struct options *b)
{
	double blocks = 0.0, head = 0.0, lora = 0.0, attention = 0.0;

	for (uint32_t i = 0; i < run->model.n_sites; i++) {
		const struct hone_site *site = &run->model.sites[i].pub;
		const double n = (double)site->in_features * (double)site->out_features;

		if (site->kind == HONE_SITE_ATTENTION)
			attention += 4.0 * (double)(site->n_heads * site->head_dim) *
				(double)b->length * 0.5;
		if (site->kind != HONE_SITE_LINEAR)
			continue;
		if (site->flags & HONE_SITE_HEAD) {
			head += n;
			continue;
		}
		blocks += n;
		lora += (double)(b->rank * (site->in_features + site->out_features));
	}
	if (b->is_full)
		return 6.0 * (blocks + head * b->supervised) + attention * 3.5;
	return 4.0 * (blocks + head * b->supervised) + attention * 3.5 + 6.0 * lora;
}

/* Random tokens in segments of `length`, every row supervised with the given share. */
static int64_t
bind(struct hn_program *program, const struct options *b, int64_t rows, int64_t vocabulary,
	uint64_t key)
{
	int32_t *tokens = hn_program_column(program, "text.tokens");
	int32_t *positions = hn_program_column(program, "text.positions");
	int32_t *offsets = hn_program_column(program, "text.offsets");
	int32_t *ranges = hn_program_column(program, "text.ranges");
	int32_t *index = hn_program_column(program, "text.supervised.index");
	int32_t *labels = hn_program_column(program, "text.supervised.labels");
	const int64_t n = rows / b->length;
	int64_t m = 0;

	for (int64_t i = 0; i < rows; i++) {
		tokens[i] = (int32_t)hn_rng_below(1, key, (uint64_t)i, 0, (uint64_t)vocabulary);
		positions[i] = (int32_t)(i % b->length);
		if (hn_rng_uniform(2, key, (uint64_t)i, 0) < b->supervised) {
			index[m] = (int32_t)i;
			labels[m++] =
				(int32_t)hn_rng_below(3, key, (uint64_t)i, 0, (uint64_t)vocabulary);
		}
	}
	for (int64_t s = 0; s <= n; s++)
		offsets[s] = (int32_t)(s * b->length);
	for (int64_t s = 0; s < n; s++) {
		ranges[2 * s] = offsets[s];
		ranges[2 * s + 1] = offsets[s + 1];
	}
	hn_program_set_live(program, "text", rows);
	hn_program_set_live(program, "text.segments", n);
	hn_program_set_live(program, "text.offsets", n + 1);
	hn_program_set_live(program, "text.supervised", m);
	return m;
}

/* ---- the result ---- */

static int
compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double
median(double *values, int64_t n)
{
	qsort(values, (size_t)n, sizeof *values, compare);
	return values[n / 2];
}

struct outcome {
	double best, median, share, share_median, peak, flops, peak_mb;
};

static struct outcome
evaluate(struct bench *b)
{
	const struct options *o = &b->o;
	const int64_t first = o->steps > 1, n = o->steps - first;
	struct outcome out = {.flops = flops_per_token(&b->run, o) * (double)o->rows,
		.peak_mb = hn_memory_peak_mb()};
	double shares[STEPS_MAX];

	for (int64_t i = 0; i <= o->steps; i++)
		out.peak = b->peaks[i] > out.peak ? b->peaks[i] : out.peak;
	for (int64_t i = first; i < o->steps; i++)
		shares[i - first] =
			out.flops / b->times[i] / (0.5 * (b->peaks[i] + b->peaks[i + 1]));
	out.median = median(b->times + first, n);
	out.best = b->times[first];
	out.share = out.flops / out.best / out.peak;
	out.share_median = median(shares, n);
	return out;
}

static void
print_outcome(const struct bench *b, const struct outcome *out)
{
	const struct options *o = &b->o;
	const double planned_mb = (double)b->plan.peak / 1e6;

	if (o->is_json) {
		(void)printf("{\"rows\": %lld, \"best_s\": %.6f, \"median_s\": %.6f, "
			     "\"ready_s\": %.4f, \"share\": %.4f, \"share_median\": %.4f, "
			     "\"gflop\": %.2f, \"peak_gflops\": %.1f, \"peak_mb\": %.1f, "
			     "\"planned_mb\": %.1f}\n",
			(long long)o->rows, out->best, out->median, b->ready, out->share,
			out->share_median, out->flops / 1e9, out->peak / 1e9, out->peak_mb,
			planned_mb);
		return;
	}
	(void)printf("%s %s %lldx%lld supervised %.0f%%: best %.0f tok/s, median %.0f; "
		     "bound %.0f tok/s; %.1f%% of the peak of %.0f GFLOP/s, median %.1f%%; peak "
		     "memory %.0f MB, planned %.0f MB (%+.1f%%)\n",
		o->is_full ? "full" : "lora", o->compute, (long long)(o->rows / o->length),
		(long long)o->length, o->supervised * 100.0, (double)o->rows / out->best,
		(double)o->rows / out->median, (double)o->rows * out->peak / out->flops,
		100.0 * out->share, out->peak / 1e9, 100.0 * out->share_median, out->peak_mb,
		planned_mb, 100.0 * (planned_mb / out->peak_mb - 1.0));
}

/* ---- the run ---- */

static void
make_ini(struct bench *b)
{
	const struct options *o = &b->o;
	char rank[64] = "";

	if (!o->is_full)
		(void)snprintf(rank, sizeof rank, "[lora]\nr = %d\n", (int)o->rank);
	(void)snprintf(b->text, sizeof b->text,
		"[run]\noutput = .\nadapter = %s\nobjective = sft\nbackend = cpu\n[model]\npath = "
		"%s\nstorage = %s\n[data]\ntrain = none\n[train]\nlearning_rate = 1e-4\ncompute = "
		"%s\n%s[cpu]\nthreads = %d\npath = %s\n",
		o->is_full ? "full" : "lora", o->model, o->storage, o->compute, rank,
		(int)o->threads, o->path);
}

static void
shape_model(struct bench *b)
{
	struct hone_error err = {0};

	if (strcmp(b->o.model, "smollm2") != 0)
		return;
	(void)snprintf(b->folder, sizeof b->folder, "%s/hone-bench-smollm2",
		getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (bench_shape_write(b->folder, &err))
		die(&err);
	b->o.model = b->folder;
}

/* Everything before the first step; the request names memory that ends with this process. */
static void
open_run(struct bench *b, const struct hn_run_request *request)
{
	const struct hn_adamw adamw = {0.9, 0.999, 1e-8, 0.0};
	const struct options *o = &b->o;
	struct hn_build_request build;
	struct hn_adapted adapted;
	struct hn_str text = {0};
	struct hone_error err = {0};

	if (hn_run_open(&b->run, request, &err))
		die(&err);
	if (o->is_single)
		attach_single(&b->run.devices[0]);
	if (o->profiles)
		b->profile = bench_profile_attach(&b->run.devices[0], now, o->by_place);
	build = hn_run_build_request(&b->run, HN_BUILD_TRAIN);
	build.capacity =
		(struct hn_capacity){o->micro, o->micro / o->length, o->length, o->micro, 0};
	build.recomputes = o->recomputes;
	hn_engine_init(&b->engine, &b->run.model, &b->run.params, b->run.devices, b->run.n_devices,
		b->run.compute);
	if (hn_step_create(&b->step, &b->engine, &build, &adamw, o->chunk, &err))
		die(&err);
	b->plan = hn_footprint_of(&b->engine);
	adapted = hn_adapted_of_run(&b->run, &b->engine);
	if (hn_engine_allocate(&b->engine, &err) || hn_params_init(&adapted, &err))
		die(&err);
	b->ready = now() - b->start;
	if (o->is_json)
		return;
	(void)printf("ready after %.3f s; %u commands, %u on the reference (%s)\n", b->ready,
		b->step.train.n_commands, b->step.train.n_fallback, b->step.train.fallback_reason);
	hn_footprint_text(&b->plan, &text);
	(void)fputs(text.text, stdout);
	hn_str_fini(&text);
}

static void
run_step(struct bench *b, uint64_t t)
{
	const struct hn_adamw adamw = {0.9, 0.999, 1e-8, 0.0};
	const int64_t vocabulary =
		hn_model_site_at(&b->run.model, "embed.token", -1)->pub.in_features;
	const struct options *o = &b->o;
	struct hone_error err = {0};
	double norm;

	hn_step_begin(&b->step);
	hn_step_set_denominator(&b->step, 0, (double)o->rows * o->supervised);
	for (int64_t at = 0; at < o->rows; at += o->micro) {
		(void)bind(&b->step.train, o, o->micro, vocabulary, (uint64_t)at);
		if (hn_step_micro(&b->step, 1, t, &err))
			die(&err);
	}
	if (hn_step_end(&b->step, t, 1e-4, &adamw, 1.0, &norm, &err))
		die(&err);
	if (!isfinite(norm) || norm <= 0.0) {
		(void)fprintf(stderr, "bench_step: step %d's gradient has norm %g\n", (int)t, norm);
		exit(1);
	}
}

static double
peak_now(const struct bench *b)
{
	return bench_peak_flops(b->run.services.pool, strcmp(b->o.compute, "bf16") == 0, the_clock);
}

static void
run_steps(struct bench *b)
{
	b->peaks[0] = peak_now(b);
	for (int64_t t = 0; t < b->o.steps; t++) {
		const double begin = now();

		run_step(b, (uint64_t)t);
		b->times[t] = now() - begin;
		b->peaks[t + 1] = peak_now(b);
		b->profiled += b->times[t];
		if (t == 0 && b->profile && b->o.steps > 1) {
			bench_profile_clear(b->profile);
			b->profiled = 0.0;
		}
	}
}

int
main(int argc, char **argv)
{
	static const struct hone_plugin *const builtins[] = {&hone_plugin_v1_reference};
	const char *const dirs[] = {HONE_BINARY_DIR "/lib/hone"};
	static struct bench b;
	struct hn_run_request request = {.path = "bench.ini",
		.plugin_dirs = dirs,
		.n_plugin_dirs = 1,
		.builtins = builtins,
		.n_builtins = 1};
	struct outcome out;

	b.o = parse(argc, argv);
	if (!is_sound(&b.o)) {
		(void)fprintf(stderr, "%s", usage);
		return 2;
	}
	if (b.o.threads == 1)
		the_clock = CLOCK_PROCESS_CPUTIME_ID;
	hn_log_init(&b.log, stderr);
	shape_model(&b);
	make_ini(&b);
	request.text = b.text;
	request.log = &b.log;
	b.start = now();
	open_run(&b, &request);
	run_steps(&b);
	out = evaluate(&b);
	if (b.profile)
		bench_profile_print(b.profile, b.profiled, out.peak);
	print_outcome(&b, &out);
	hn_engine_fini(&b.engine);
	hn_run_close(&b.run);
	free(b.profile);
	return 0;
}
