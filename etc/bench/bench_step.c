/*
 * bench_step.c - optimizer steps of a whole model, as a share of the machine's own peak.
 *
 *     bench_step MODEL|smollm2 [--full] [--compute bf16|f32] [--rows 2048] [--length 256]
 *                [--micro ROWS] [--supervised 1.0] [--rank 8] [--threads N] [--steps 5] [--json]
 *                [--storage native|nf4|...] [--profile | --places]
 *
 * "smollm2" is a model of SmolLM2-135M's shape with random bf16 weights, made in $TMPDIR.
 * First the multiply-add peak of the same threads is measured.  Then steps of LoRA (all
 * linear layers) or of full fine-tuning run on random tokens; the best and the median are
 * printed with the floating-point operations that the work needs at least (products of
 * frozen weights forward and for the inputs' gradients, of trained ones also for their own,
 * attention with half its scores), so that the share is of what the machine could do.  The
 * planned memory is what the process holds before it allocates, and what it then asks for.  --profile adds where
 * the time of all steps but the first goes, by kind of command, --places by place in the model.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/rng.h"
#include "bench_peak.h"
#include "bench_profile.h"
#include "bench_shape.h"
#include "run.h"
#include "train/report.h"
#include "train/step.h"

extern const struct hone_plugin hone_plugin_v1_reference;

struct bench {
	const char *model, *compute, *storage;
	bool is_full, is_json;
	int64_t rows, length, micro, rank, threads, steps;
	double supervised;
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

static double
number(int argc, char **argv, const char *flag, double otherwise)
{
	for (int i = 2; i + 1 < argc; i++)
		if (strcmp(argv[i], flag) == 0)
			return atof(argv[i + 1]);
	return otherwise;
}

static bool
has(int argc, char **argv, const char *flag)
{
	for (int i = 2; i < argc; i++)
		if (strcmp(argv[i], flag) == 0)
			return true;
	return false;
}

static const char *
text_of(int argc, char **argv, const char *flag, const char *otherwise)
{
	for (int i = 2; i + 1 < argc; i++)
		if (strcmp(argv[i], flag) == 0)
			return argv[i + 1];
	return otherwise;
}

static double
plan_mb(const struct hn_engine *engine)
{
	uint64_t bytes[HN_MEMORY_KINDS];
	double sum = hn_memory_now_mb();

	hn_engine_bytes(engine, bytes);
	for (int kind = 0; kind < HN_MEMORY_KINDS; kind++)
		sum += (double)bytes[kind] / 1e6;
	return sum;
}

/* The weights' share of the floating-point operations of one token. */
static double
flops_per_token(const struct hn_run *run, const struct bench *b)
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
bind(struct hn_program *program, const struct bench *b, int64_t rows, int64_t vocabulary,
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

static int
compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* `times` sorted, in seconds; `flops` of a step; `peak_mb` in 10^6 bytes. */
static void
print_result(const struct bench *b, const double *times, double ready, double flops, double peak,
	double peak_mb, double planned_mb)
{
	const double median = times[b->steps / 2], share = flops / times[0] / peak;

	if (b->is_json) {
		(void)printf("{\"best_s\": %.6f, \"median_s\": %.6f, \"ready_s\": %.4f, "
			     "\"share\": %.4f, \"peak_gflops\": %.1f, \"peak_mb\": %.1f, \"planned_mb\": %.1f}\n",
			times[0], median, ready, share, peak / 1e9, peak_mb, planned_mb);
		return;
	}
	(void)printf("%s %s %lldx%lld supervised %.0f%%: best %.0f tok/s, median %.0f; "
		     "bound %.0f tok/s; %.1f%% of the peak of %.0f GFLOP/s; peak memory %.0f MB, "
		     "planned %.0f MB\n",
		b->is_full ? "full" : "lora", b->compute, (long long)(b->rows / b->length),
		(long long)b->length, b->supervised * 100.0, (double)b->rows / times[0],
		(double)b->rows / median, (double)b->rows * peak / flops, 100.0 * share, peak / 1e9,
		peak_mb, planned_mb);
}

static void
init_params(struct hn_run *run, struct hn_engine *engine, struct hone_error *err)
{
	for (uint32_t i = 0; i < run->params.n; i++) {
		const struct hn_param *param = &run->params.list[i];
		float *values = malloc((size_t)param->n_elems * sizeof *values);
		const struct hn_instance *of = run->adapters[param->instance_idx];

		if (hn_param_init(param, &run->model, of->of->factory, of->self, 1, values, err) ||
			hn_engine_set(engine, HN_MEMORY_PARAMS, param, values, err))
			die(err);
		free(values);
	}
}

int
main(int argc, char **argv)
{
	static const struct hone_plugin *const builtins[] = {&hone_plugin_v1_reference};
	static char text[4096], folder[1024], rank[64];
	struct bench b = {.model = argc > 1 ? argv[1] : NULL,
		.compute = has(argc, argv, "f32") ? "f32" : "bf16",
		.storage = text_of(argc, argv, "--storage", "native"),
		.is_full = has(argc, argv, "--full"),
		.is_json = has(argc, argv, "--json"),
		.rows = (int64_t)number(argc, argv, "--rows", 2048),
		.length = (int64_t)number(argc, argv, "--length", 256),
		.micro = (int64_t)number(argc, argv, "--micro", has(argc, argv, "--full") ? 512 : 256),
		.rank = (int64_t)number(argc, argv, "--rank", 8),
		.threads = (int64_t)number(argc, argv, "--threads", 0),
		.steps = (int64_t)number(argc, argv, "--steps", 5),
		.supervised = number(argc, argv, "--supervised", 1.0)};
	const char *const dirs[] = {HONE_BINARY_DIR "/lib/hone"};
	struct hn_log log;
	struct hn_run run;
	struct hn_engine engine;
	struct hn_step step;
	struct hone_error err = {0};
	const struct hn_adamw adamw = {0.9, 0.999, 1e-8, 0.0};
	struct hn_build_request request;
	struct rusage usage;
	double times[64], peak, flops, start = now(), ready, planned, profiled = 0.0;
	struct bench_profile *profile = NULL;
	int64_t vocabulary = 0;

	if (!b.model || b.steps > 64)
		return 2;
	b.micro = b.micro > b.length ? b.micro : b.length;
	if (b.threads == 1)
		the_clock = CLOCK_PROCESS_CPUTIME_ID;
	start = now();
	hn_log_init(&log, stderr);
	if (strcmp(b.model, "smollm2") == 0) {
		(void)snprintf(folder, sizeof folder, "%s/hone-bench-smollm2",
			getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
		if (bench_shape_write(folder, &err))
			die(&err);
		b.model = folder;
		start = now();
	}
	if (!b.is_full)
		(void)snprintf(rank, sizeof rank, "[lora]\nr = %d\n", (int)b.rank);
	(void)snprintf(text, sizeof text,
		"[run]\noutput = .\nadapter = %s\nobjective = sft\nbackend = cpu\n[model]\npath = %s\nstorage = %s\n"
		"[data]\ntrain = none\n[train]\nlearning_rate = 1e-4\ncompute = %s\n%s[cpu]\nthreads = %d\n",
		b.is_full ? "full" : "lora", b.model, b.storage, b.compute, rank, (int)b.threads);
	const struct hn_run_request wanted = {.path = "bench.ini",
		.text = text,
		.plugin_dirs = dirs,
		.n_plugin_dirs = 1,
		.builtins = builtins,
		.n_builtins = 1,
		.log = &log};

	if (hn_run_open(&run, &wanted, &err))
		die(&err);
	if (has(argc, argv, "--profile") || has(argc, argv, "--places"))
		profile = bench_profile_attach(
			&run.devices[0], now, has(argc, argv, "--places"));
	request = hn_run_build_request(&run, HN_BUILD_TRAIN);
	request.capacity = (struct hn_capacity){b.micro, b.micro / b.length, b.length, b.micro, 0};
	hn_engine_init(&engine, &run.model, &run.params, run.devices, run.n_devices, run.compute);
	if (hn_step_create(&step, &engine, &request, &adamw, 256, &err))
		die(&err);
	planned = plan_mb(&engine);
	if (hn_engine_allocate(&engine, &err))
		die(&err);
	init_params(&run, &engine, &err);
	vocabulary = hn_model_site_at(&run.model, "embed.token", -1)->pub.in_features;
	ready = now() - start;
	if (!b.is_json)
		(void)printf("ready after %.3f s, arena %.1f MB, parameters %.1f MB, weights %.1f MB "
		     "and %.1f MB as %s, %u commands, %u on the reference (%s)\n",
		ready, (double)engine.bytes[HN_MEMORY_ARENA] / 1e6,
		(double)engine.bytes[HN_MEMORY_PARAMS] * 4e-6,
		(double)engine.bytes[HN_MEMORY_WEIGHTS] / 1e6,
		(double)engine.bytes[HN_MEMORY_KEPT] / 1e6, b.storage, step.train.n_commands,
		step.train.n_fallback, step.train.fallback_reason);
	for (int64_t t = 0; t < b.steps; t++) {
		const double begin = now();
		double norm;

		hn_step_begin(&step);
		hn_step_set_denominator(&step, 0, (double)b.rows * b.supervised);
		for (int64_t at = 0; at < b.rows; at += b.micro) {
			(void)bind(&step.train, &b, b.micro, vocabulary, (uint64_t)at);
			if (hn_step_micro(&step, 1, (uint64_t)t, &err))
				die(&err);
		}
		if (hn_step_end(&step, (uint64_t)t, 1e-4, &adamw, 1.0, &norm, &err))
			die(&err);
		if (!isfinite(norm) || norm <= 0.0) {
			(void)fprintf(stderr, "bench_step: step %d's gradient has norm %g\n",
				(int)t, norm);
			return 1;
		}
		times[t] = now() - begin;
		profiled += times[t];
		if (t == 0 && profile && b.steps > 1) {
			bench_profile_clear(profile);
			profiled = 0.0;
		}
	}
	qsort(times, (size_t)b.steps, sizeof *times, compare);
	(void)getrusage(RUSAGE_SELF, &usage);
	flops = flops_per_token(&run, &b) * (double)b.rows;
	peak = bench_peak_flops(run.services.pool, strcmp(b.compute, "bf16") == 0, the_clock);
	if (profile)
		bench_profile_print(profile, profiled, peak);
	print_result(&b, times, ready, flops, peak, (double)usage.ru_maxrss * 1024e-6, planned);
	hn_engine_fini(&engine);
	hn_run_close(&run);
	free(profile);
	return 0;
}
