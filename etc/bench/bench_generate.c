/*
 * bench_generate.c - generation from a model, as a share of what the machine could do.
 *
 *     bench_generate MODEL|smollm2 [FLAG...]
 *
 * `batch` prompts of random tokens, of which the first `shared` are the same in all, are
 * answered greedily by the generator that `hone generate` uses.  Prefill lasts until every
 * prompt has its first new token; what follows is decoding.  The best of the rounds is
 * printed, with two bounds: the multiply-adds that a prompt needs at least (the linear layers,
 * causal attention, the head for one row) against the peak of the same threads, and the bytes
 * of the weights as they are stored, which one decoding step of any batch reads once, against
 * the memory's bandwidth.  --profile adds where the time goes, by kind of command.
 *
 * "smollm2" is a model of SmolLM2-135M's shape with random bf16 weights, made in $TMPDIR.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"
#include "bench_peak.h"
#include "bench_profile.h"
#include "bench_shape.h"
#include "run.h"
#include "train/generate.h"

extern const struct hone_plugin hone_plugin_v1_reference;

enum { READ_BYTES = 256 << 20 };

struct bench {
	const char *model, *compute, *storage;
	bool is_json;
	int64_t prompt_tokens, new_tokens, batch, shared, threads, rounds;
	struct bench_profile *profile;
	/* of the run at hand */
	double begin, first; /* when it began; when the last prompt had its first token */
	int64_t n_begun, n_tokens;
	bool *has_begun; /* [batch] */
};

struct best {
	double prefill, decode; /* seconds */
	int64_t n_decoded;
};

/* With one thread the clock is the process's CPU time, as in bench_step, unless --wall asks. */
static clockid_t the_clock = CLOCK_MONOTONIC;

static double
now(void)
{
	return bench_now(the_clock);
}

static void
die(const struct hone_error *err)
{
	(void)fprintf(stderr, "bench_generate: %s: %s\n", err->place, err->text);
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

static int64_t
number(int argc, char **argv, const char *flag, int64_t otherwise)
{
	const char *text = text_of(argc, argv, flag, NULL);

	return text ? strtoll(text, NULL, 10) : otherwise;
}

static bool
has(int argc, char **argv, const char *flag)
{
	for (int i = 2; i < argc; i++)
		if (strcmp(argv[i], flag) == 0)
			return true;
	return false;
}

/* ---- bounds ---- */

/* Floating-point operations of T tokens: two a weight and token, the head for `heads` of them. */
static double
prompt_flops(const struct hn_run *run, double T, double heads)
{
	double flops = 0.0;

	for (uint32_t i = 0; i < run->model.n_sites; i++) {
		const struct hone_site *site = &run->model.sites[i].pub;
		const double n = (double)site->in_features * (double)site->out_features;

		if (site->kind == HONE_SITE_ATTENTION)
			flops += 2.0 * (double)(site->n_heads * site->head_dim) * T * T;
		else if (site->kind == HONE_SITE_LINEAR)
			flops += 2.0 * n * (site->flags & HONE_SITE_HEAD ? heads : T);
	}
	return flops;
}

static uint64_t
stored_bytes(const struct hn_weight *weight)
{
	const struct hn_form *kept = weight->kept;
	const int64_t n = hn_weight_elems(weight);

	if (!kept)
		return weight->tensor ? weight->tensor->n_bytes : 0;
	if (!kept->storage)
		return (uint64_t)(n * hone_dtype_bytes(kept->dtype));
	if (kept->storage->part_bytes) {
		uint64_t bytes = 0;

		for (uint32_t p = 0; p < kept->storage->n_parts; p++)
			bytes += kept->storage->part_bytes(kept->storage_self, p, n);
		return bytes;
	}
	return (uint64_t)(n / kept->storage->block_elems) * kept->storage->block_bytes;
}

/* Bytes of all linear weights as the engine keeps them. */
static double
weight_bytes(const struct hn_model *model)
{
	double bytes = 0.0;

	for (uint32_t i = 0; i < model->n_sites; i++) {
		const struct hn_site *site = &model->sites[i];
		const int32_t owner = site->tied_to >= 0 ? site->tied_to : (int32_t)i;
		const int32_t weight = model->sites[owner].weight;

		if (site->pub.kind == HONE_SITE_LINEAR && weight >= 0)
			bytes += (double)stored_bytes(&model->weights[weight]);
	}
	return bytes;
}

/* Bytes a second that these threads read from memory. */
static double
bandwidth(struct hn_pool *pool)
{
	uint8_t *memory = aligned_alloc(4096, READ_BYTES);
	double rate = 0.0;

	if (memory) {
		memset(memory, 1, READ_BYTES);
		rate = bench_peak_read(pool, memory, READ_BYTES, the_clock);
	}
	free(memory);
	return rate;
}

/* ---- one round ---- */

static enum hone_status
on_token(void *ctx, int64_t prompt, int32_t id, struct hone_error *err)
{
	struct bench *b = ctx;

	(void)id;
	(void)err;
	b->n_tokens++;
	if (b->n_begun == b->batch)
		return HONE_OK;
	b->n_begun += !b->has_begun[prompt];
	b->has_begun[prompt] = true;
	if (b->n_begun == b->batch) {
		b->first = now();
		b->n_tokens = 0;
		if (b->profile && b->new_tokens > 1)
			bench_profile_clear(b->profile);
	}
	return HONE_OK;
}

static struct hn_prompt *
make_prompts(const struct bench *b, int64_t vocabulary)
{
	struct hn_prompt *prompts = hn_alloc((size_t)b->batch * sizeof *prompts);
	const int64_t T = b->prompt_tokens;

	for (int64_t i = 0; i < b->batch; i++) {
		int32_t *ids = hn_alloc((size_t)T * sizeof *ids);

		for (int64_t t = 0; t < T; t++)
			ids[t] = (int32_t)hn_rng_below(1, t < b->shared ? 0 : (uint64_t)i + 1,
				(uint64_t)t, 0, (uint64_t)vocabulary);
		prompts[i] = (struct hn_prompt){ids, T};
	}
	return prompts;
}

static struct best
measure(struct bench *b, struct hn_generator *generator, struct hone_error *err)
{
	struct hn_prompt *prompts = make_prompts(b, generator->vocabulary);
	const struct hn_decoding decoding = {.max_new_tokens = b->new_tokens};
	const struct hn_generate_sink sink = {b, on_token, NULL};
	struct best best = {1e9, 1e9, 0};

	b->has_begun = hn_alloc((size_t)b->batch * sizeof *b->has_begun);
	for (int64_t r = 0; r < b->rounds; r++) {
		double end;

		b->n_begun = b->n_tokens = 0;
		memset(b->has_begun, 0, (size_t)b->batch * sizeof *b->has_begun);
		b->begin = now();
		if (hn_generate(generator, prompts, b->batch, &decoding, &sink, err))
			die(err);
		end = now();
		if (b->first - b->begin < best.prefill)
			best.prefill = b->first - b->begin;
		if (end - b->first < best.decode)
			best.decode = end - b->first;
		best.n_decoded = b->n_tokens;
	}
	for (int64_t i = 0; i < b->batch; i++)
		free((void *)(uintptr_t)prompts[i].ids);
	free(prompts);
	free(b->has_begun);
	return best;
}

static void
print_result(const struct bench *b, const struct hn_run *run, const struct best *best)
{
	struct hn_pool *pool = run->services.pool;
	const bool is_bf16 = strcmp(b->compute, "bf16") == 0;
	const double peak = bench_peak_flops(pool, is_bf16, the_clock), read = bandwidth(pool);
	const double shared = b->batch > 1 ? (double)b->shared : 0.0, B = (double)b->batch;
	/* What prompts share is needed once. */
	const double flops = B * prompt_flops(run, (double)b->prompt_tokens, 1.0) -
		(B - 1.0) * prompt_flops(run, shared, 0.0);
	const double bytes = weight_bytes(&run->model);
	const double prefill = (double)(b->batch * b->prompt_tokens) / best->prefill;
	const double decode = best->n_decoded ? (double)best->n_decoded / best->decode : 0.0;
	const double flops_share = flops / best->prefill / peak;
	const double read_share = decode / (double)b->batch * bytes / read;

	if (b->profile)
		bench_profile_print(b->profile, best->decode, peak);
	if (b->is_json) {
		(void)printf("{\"prefill_tok_s\": %.2f, \"decode_tok_s\": %.2f, "
			     "\"flops_share\": %.4f, \"bandwidth_share\": %.4f, "
			     "\"weight_bytes\": %.0f, \"read_gb_s\": %.2f, "
			     "\"peak_gflops\": %.1f, \"threads\": %d}\n",
			prefill, decode, flops_share, read_share, bytes, read / 1e9, peak / 1e9,
			(int)hn_pool_threads(pool));
		return;
	}
	(void)printf("%s %s, %lld x (%lld + %lld) tokens, %d threads: prefill %.0f tok/s "
		     "(%.1f%% of %.0f GFLOP/s), decode %.1f tok/s (%.1f MB a step, %.1f%% of "
		     "%.1f GB/s)\n",
		b->compute, b->storage, (long long)b->batch, (long long)b->prompt_tokens,
		(long long)b->new_tokens, (int)hn_pool_threads(pool), prefill, 100.0 * flops_share,
		peak / 1e9, decode, bytes / 1e6, 100.0 * read_share, read / 1e9);
}

/* ---- the run ---- */

/* The folder of the model that "smollm2" stands for. */
static const char *
made_model(struct hone_error *err)
{
	static char folder[1024];

	(void)snprintf(folder, sizeof folder, "%s/hone-bench-smollm2",
		getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (bench_shape_write(folder, err))
		die(err);
	return folder;
}

static void
bench(struct bench *b, bool with_profile)
{
	static const struct hone_plugin *const builtins[] = {&hone_plugin_v1_reference};
	static char text[4096];
	const char *const dirs[] = {HONE_BINARY_DIR "/lib/hone"};
	const struct hn_generate_capacity capacity = {
		.sequences = b->batch, .longest = b->prompt_tokens + b->new_tokens};
	struct hn_run_request wanted = {.path = "bench.ini",
		.text = text,
		.plugin_dirs = dirs,
		.n_plugin_dirs = 1,
		.builtins = builtins,
		.n_builtins = 1,
		.is_model_only = true};
	struct hn_generator generator = {0};
	struct hn_build_request request;
	struct hone_error err = {0};
	struct hn_engine engine;
	struct hn_log log;
	struct hn_run run;
	struct best best;

	hn_log_init(&log, stderr);
	wanted.log = &log;
	if (strcmp(b->model, "smollm2") == 0)
		b->model = made_model(&err);
	(void)snprintf(text, sizeof text,
		"[run]\noutput = .\nadapter = \"\"\nobjective = \"\"\nbackend = cpu\n[model]\npath = "
		"%s\nstorage = %s\n[data]\ntrain = none\n[train]\nlearning_rate = 1\ncompute = "
		"%s\n[cpu]\nthreads = %d\n",
		b->model, b->storage, b->compute, (int)b->threads);
	if (hn_run_open(&run, &wanted, &err))
		die(&err);
	if (with_profile)
		b->profile = bench_profile_attach(&run.devices[0], now, false);
	request = hn_run_build_request(&run, HN_BUILD_DECODE);
	request.without_adapters = true;
	hn_engine_init(
		&engine, &run.model, &run.params, run.devices, run.n_devices, run.compute);
	if (hn_generator_init(&generator, &engine, &request, &capacity, &err) ||
		hn_engine_allocate(&engine, &err))
		die(&err);
	best = measure(b, &generator, &err);
	print_result(b, &run, &best);
	hn_generator_fini(&generator);
	hn_engine_fini(&engine);
	hn_run_close(&run);
	free(b->profile);
}

int
main(int argc, char **argv)
{
	struct bench b = {.model = argc > 1 ? argv[1] : NULL,
		.compute = text_of(argc, argv, "--compute", "f32"),
		.storage = text_of(argc, argv, "--storage", "native"),
		.is_json = has(argc, argv, "--json"),
		.prompt_tokens = number(argc, argv, "--prompt-tokens", 512),
		.new_tokens = number(argc, argv, "--new-tokens", 128),
		.batch = number(argc, argv, "--batch", 1),
		.shared = number(argc, argv, "--shared", 0),
		.threads = number(argc, argv, "--threads", 0),
		.rounds = number(argc, argv, "--rounds", 3)};

	if (!b.model || b.model[0] == '-' || b.prompt_tokens < 1 || b.new_tokens < 1 ||
		b.batch < 1 || b.rounds < 1) {
		(void)fprintf(stderr,
			"bench_generate MODEL|smollm2 [--compute f32|bf16] [--storage native|nf4|...]\n"
			"    [--prompt-tokens 512] [--new-tokens 128] [--batch 1] [--shared 0]\n"
			"    [--threads N] [--rounds 3] [--wall] [--json] [--profile]\n");
		return 2;
	}
	if (b.threads == 1 && !has(argc, argv, "--wall"))
		the_clock = CLOCK_PROCESS_CPUTIME_ID;
	bench(&b, has(argc, argv, "--profile"));
	return 0;
}
