/*
 * export_proof.c - whether a merged model computes what its base and adapters compute.
 *
 * That the file holds the bytes that were made says nothing about whether they are right: a
 * merge() that forgets a scale writes a sound file of a wrong model.  So a few rows of the run's
 * data are computed in f32 on the run's devices, and their logits compared:
 *
 *     A   base and adapters, as training and evaluation build them
 *     M   every weight as the merge hooks make it, in f32, in the same graph (graph/merge.c)
 *     F   the model that was written, opened like any other
 *
 * M differs from A by the order of sums alone, so a difference is the plugin's; it is looked for
 * before anything is written.  F differs from M by the rounding of what is written; a difference
 * beyond that is ours: rows in the wrong order, a tie that config.json denies.
 *
 * Limits are shares of the largest logit of A, in units of rounding.
 *
 *     A and M    2^12 u, u = 2^-24.  A sum of I products in f32 is off by about sqrt(I) u of its
 *                size, sqrt(4096) = 64; 2 L products after each other add up like independent
 *                errors, sqrt(2 * 32) = 8; and the largest of some million logits' errors is
 *                five times the usual one: 2560 u.  A trained adapter moves logits by far more
 *                than 2^-12 of the largest, and whoever forgets alpha / r misses by a share of
 *                that.  An adapter that moves them less cannot be told from a right merge, nor
 *                is its model from the right one.
 *     A and F    64 u more, u = 2^-8 for bf16, 2^-11 for f16, 2^-24 for f32.  Each weight is off
 *                by u / sqrt(3) of itself, so a product by as much of its size, and the same 8
 *                and five make 23 u of the typical logit; the largest is larger than that.
 *
 * A bf16 model differs from what was trained by that much whatever merged it, which is why M is
 * asked and not F alone.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/export_parts.h"

#define F32_LIMIT      (4096.0 / 16777216.0) /* 2^12 u */
#define ROUNDING_UNITS 64.0

/* Rows are taken until their logits are this many: 16 MB. */
enum { LOGITS_MAX = 4 << 20, ROWS_MIN = 16 };

int64_t
hn_proof_rows_max(int64_t vocabulary)
{
	const int64_t n = LOGITS_MAX / (vocabulary > 0 ? vocabulary : 1);

	return n < ROWS_MIN ? ROWS_MIN : n > HN_PROOF_ROWS ? HN_PROOF_ROWS : n;
}

/* ---- logits ---- */

static void
bind(void *ctx, struct hn_program *program)
{
	const struct hn_proof *proof = ctx;
	int32_t *tokens = hn_program_column(program, "text.tokens");
	int32_t *positions = hn_program_column(program, "text.positions");
	int32_t *offsets = hn_program_column(program, "text.offsets");
	int32_t *ranges = hn_program_column(program, "text.ranges");

	hn_program_set_live(program, "text", proof->offsets[proof->n_segments]);
	hn_program_set_live(program, "text.segments", proof->n_segments);
	hn_program_set_live(program, "text.offsets", proof->n_segments + 1);
	for (int64_t s = 0; s <= proof->n_segments && offsets; s++)
		offsets[s] = proof->offsets[s];
	for (int64_t s = 0; s < proof->n_segments; s++) {
		for (int32_t i = proof->offsets[s]; i < proof->offsets[s + 1]; i++) {
			if (tokens)
				tokens[i] = proof->ids[i];
			if (positions)
				positions[i] = i - proof->offsets[s];
		}
		if (ranges) {
			ranges[2 * s] = proof->offsets[s];
			ranges[2 * s + 1] = proof->offsets[s + 1];
		}
	}
}

/* Width of the output "logits". */
static int64_t
width_of(const struct hn_graph *graph)
{
	for (uint32_t i = 0; i < graph->n_outputs; i++)
		if (graph->outputs[i].name && hn_streq(graph->outputs[i].name, "logits"))
			return hn_value_cols(hn_graph_value(graph, graph->outputs[i].value));
	return 0;
}

/* The logits of all rows, which the caller frees; *n numbers. */
static enum hone_status
run_logits(const struct hn_proof *proof, const struct hn_engine *engine,
	const struct hn_build_request *of, float **out, int64_t *n, struct hone_error *err)
{
	const int64_t rows = proof->offsets[proof->n_segments];
	struct hn_build_request request = *of;
	struct hn_build_result result;
	struct hn_graph graph;
	enum hone_status st;

	request.mode = HN_BUILD_LOGITS;
	request.compute = HONE_DTYPE_F32;
	request.capacity = (struct hn_capacity){
		.rows = rows, .segments = proof->n_segments, .longest = rows, .selected = rows};
	st = hn_build(&request, &graph, &result, err);
	if (st) {
		hn_graph_fini(&graph);
		return st;
	}
	*n = rows * width_of(&graph);
	*out = malloc((size_t)(*n + 1) * sizeof **out);
	if (*out)
		return hn_run_once(
			engine, &graph, bind, (void *)(uintptr_t)proof, "logits", *n, *out, err);
	hn_graph_fini(&graph);
	return hone_fail(err, HONE_ENOMEM, "no memory for %" PRId64 " logits", *n);
}

/* ---- comparing ---- */

static double
largest(const float *a, int64_t n)
{
	double most = 0.0;

	for (int64_t i = 0; i < n; i++)
		most = fabs((double)a[i]) > most || isnan(a[i]) ? fabs((double)a[i]) : most;
	return most;
}

static double
distance(const float *a, const float *b, int64_t n)
{
	double most = 0.0;

	for (int64_t i = 0; i < n; i++) {
		const double d = fabs((double)a[i] - (double)b[i]);

		most = d > most || isnan(d) ? d : most;
	}
	return most;
}

/* ---- the plugins' part ---- */

/* A and M with the first n adapters.  `wanted` is A, which the caller frees. */
static enum hone_status
compare_merge(struct hn_prover *prover, uint32_t n, struct hone_error *err)
{
	const struct hn_merger *merger = prover->merger;
	struct hn_build_request request = merger->request;
	float *merged = NULL;
	enum hone_status st;

	free(prover->wanted);
	prover->wanted = NULL;
	request.n_adapters = n;
	st = run_logits(prover->proof, merger->engine, &request, &prover->wanted, &prover->n, err);
	request.is_merged = true;
	if (!st)
		st = run_logits(prover->proof, merger->engine, &request, &merged, &prover->n, err);
	if (!st) {
		prover->scale = largest(prover->wanted, prover->n);
		prover->proof->merge = distance(prover->wanted, merged, prover->n);
		prover->proof->merge_limit = F32_LIMIT * prover->scale;
	}
	free(merged);
	return st;
}

static bool
is_merge_right(const struct hn_proof *proof)
{
	return proof->merge <= proof->merge_limit; /* not for NaN */
}

/* The first adapter in the chain that merges what it does not compute is to blame. */
static enum hone_status
fail_merge(struct hn_prover *prover, struct hone_error *err)
{
	const struct hn_merger *merger = prover->merger;
	const struct hn_proof *proof = prover->proof;
	uint32_t n = 1;

	for (; n < merger->of->n_adapters; n++)
		if (compare_merge(prover, n, err) || !is_merge_right(proof))
			break;
	if (n == merger->of->n_adapters && n > 1 && compare_merge(prover, n, err))
		return HONE_EPLUGIN;
	return hone_fail(err, HONE_EPLUGIN,
		"[%s]: what its merge() makes of the weights is not what the adapter computes: on "
		"%" PRId64 " tokens of the %s data logits differ by %.3g, where the order of sums "
		"explains %.3g; compare merge() with output() and input(): factor, axis, bias",
		merger->of->adapters[n - 1].section, (int64_t)proof->offsets[proof->n_segments],
		proof->from, proof->merge, proof->merge_limit);
}

enum hone_status
hn_prover_check_merge(struct hn_prover *prover, struct hone_error *err)
{
	const enum hone_status st = compare_merge(prover, prover->merger->of->n_adapters, err);

	if (st)
		return st;
	if (!isfinite(prover->scale))
		return hone_fail(err, HONE_ENOTFINITE,
			"the logits of base and adapter are not finite; such a model is not "
			"written");
	return is_merge_right(prover->proof) ? HONE_OK : fail_merge(prover, err);
}

/* ---- the file's part ---- */

static double
unit_of(int32_t dtype)
{
	return dtype == HONE_DTYPE_BF16   ? 1.0 / 256.0
		: dtype == HONE_DTYPE_F16 ? 1.0 / 2048.0
					  : 1.0 / 16777216.0;
}

/* The written model's logits: its file is mapped, so a device that borrows memory copies
 * nothing of it. */
static enum hone_status
run_file(const struct hn_prover *prover, const struct hn_model *model, float **out, int64_t *n,
	struct hone_error *err)
{
	const struct hn_engine *of = prover->merger->engine;
	const struct hn_params none = {0};
	const struct hn_build_request request = {
		.model = model, .params = &none, .custom = prover->merger->request.custom};
	struct hn_engine engine;
	enum hone_status st;

	hn_engine_init(&engine, model, &none, of->devices, of->n_devices, HONE_DTYPE_F32);
	st = hn_engine_allocate(&engine, err);
	if (!st)
		st = run_logits(prover->proof, &engine, &request, out, n, err);
	hn_engine_fini(&engine);
	return st;
}

enum hone_status
hn_prover_check_file(
	struct hn_prover *prover, const char *folder, int32_t dtype, struct hone_error *err)
{
	const struct hn_model *base = prover->merger->of->model;
	const struct hn_model_request request = {.name = base->name, .path = folder};
	struct hn_proof *proof = prover->proof;
	struct hn_model model = {0};
	float *logits = NULL;
	int64_t n = 0;
	enum hone_status st = hn_model_open(&model, &request, err);

	if (!st)
		st = hn_model_declare(&model, base->architecture, base->architecture_self, err);
	if (!st)
		st = run_file(prover, &model, &logits, &n, err);
	hn_model_close(&model);
	if (!st) {
		proof->file = n == prover->n ? distance(prover->wanted, logits, n) : NAN;
		proof->file_limit = (F32_LIMIT + ROUNDING_UNITS * unit_of(dtype)) * prover->scale;
	}
	free(logits);
	if (!st && !(proof->file <= proof->file_limit))
		st = hone_fail(err, HONE_EIO,
			"the model that was written does not compute what was meant: its logits "
			"differ by %.3g, where rounding to %s explains %.3g; nothing is kept of it",
			proof->file, hone_dtype_name(dtype), proof->file_limit);
	return st;
}

void
hn_prover_fini(struct hn_prover *prover)
{
	free(prover->wanted);
	*prover = (struct hn_prover){0};
}
