/*
 * test_training.c - 50 steps of LoRA and 20 of full fine-tuning against PEFT and PyTorch.
 *
 * Would catch: a wrong gradient of any op on the way, a loss that is normalised per micro-batch
 * instead of per step, clipping or bias correction or weight decay in the wrong place, a
 * schedule that is off by one step, parameters that do not move; A1 and C13 (with decay, norms
 * and biases are left out as transformers leaves them out) of the catalogue of silent bugs.
 * QLoRA: PyTorch trains on the weights that bitsandbytes reads back from its NF4, hone on its own.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_model.h"
#include "golden_file.h"
#include "model/recode.h"
#include "model/safetensors.h"
#include "support.h"
#include "train/schedule.h"
#include "train_run.h"

struct run {
	const char *model, *curves, *which; /* which = "plain" or "accum2" ... */
	const char *backend;
	int32_t compute;
	int64_t batch, micro, steps, warmup;
	double rate, clip, decay;
	bool is_full;
	double tolerance;    /* relative, of the loss at every step */
	const char *storage; /* of linear weights; NULL: as stored */
};

struct rows {
	struct hn_tensor_file file;
	const int32_t *ids, *labels, *segments;
};

/* Binds rows [first, first + n) of the file as one micro-batch; returns learned tokens. */
static int64_t
bind(struct hn_program *program, const struct rows *rows, int64_t first, int64_t n)
{
	int32_t *index = hn_program_column(program, "text.supervised.index");
	int32_t *labels = hn_program_column(program, "text.supervised.labels");
	int32_t offsets[16] = {0};
	int32_t ids[4096];
	int64_t m = 0, at = 0;

	for (int64_t s = 0; s < n; s++) {
		const int64_t r = (first + s) % 40;

		for (int32_t i = rows->segments[r]; i < rows->segments[r + 1]; i++, at++) {
			ids[at] = rows->ids[i];
			if (i + 1 < rows->segments[r + 1] && rows->labels[i + 1] >= 0) {
				index[m] = (int32_t)at;
				labels[m++] = rows->labels[i + 1];
			}
		}
		offsets[s + 1] = (int32_t)at;
	}
	bench_bind(program, ids, offsets, n);
	hn_program_set_live(program, "text.supervised", m);
	return m;
}

static int64_t
count(const struct rows *rows, int64_t first, int64_t n)
{
	int64_t m = 0;

	for (int64_t s = 0; s < n; s++) {
		const int64_t r = (first + s) % 40;

		for (int32_t i = rows->segments[r] + 1; i < rows->segments[r + 1]; i++)
			m += rows->labels[i] >= 0;
	}
	return m;
}

/* Values of all parameters: from the adapter in adapters/start, or from the model. */
static void
load_params(struct bench_model *bench, const struct run *run)
{
	struct hn_tensor_file start;
	struct hone_error err = {0};

	golden_open(&start, "golden/adapters/start/adapter_model.safetensors");
	for (uint32_t i = 0; i < bench->params.n; i++) {
		const struct hn_param *param = &bench->params.list[i];
		float *values = malloc((size_t)param->n_elems * sizeof *values);
		char name[512];

		if (run->is_full) {
			if (hn_param_init(param, &bench->model, bench->factories[0],
				    bench->adapters[0].self, 1, values, &err))
				fail_msg("%s", err.text);
		} else {
			(void)snprintf(name, sizeof name, "base_model.model.%s.%s.weight",
				param->site->pub.name, param->spec.name);
			hn_tensor_decode_host(need_tensor(&start, name), 0, param->n_elems, values);
		}
		hn_param_permute(param, true, values);
		assert_int_equal(
			hn_engine_set(&bench->engine, HN_MEMORY_PARAMS, param, values, &err),
			HONE_OK);
		free(values);
	}
	hn_tensor_file_close(&start);
}

static const double *
curve(const struct hn_tensor_file *file, const struct run *run, const char *precision,
	const char *what)
{
	char name[128];

	(void)snprintf(name, sizeof name, "%s.%s.%s", run->which, precision, what);
	return (const void *)need_tensor(file, name)->bytes;
}

static void
follow(const struct run *run)
{
	static const struct sft_values sft_options = {1, 1, 0.0};
	const struct hone_factory *sft = bench_factory("causal", HONE_ROLE_OBJECTIVE, "sft");
	const struct hn_adamw adamw = {0.9, 0.999, 1e-8, run->decay};
	const struct hn_schedule_plan plan = {.type = HN_SCHEDULE_LINEAR,
		.base = run->rate,
		.warmup = run->warmup,
		.total = run->steps};
	const char *precision = run->compute == HONE_DTYPE_F64 ? "f64"
		: run->compute == HONE_DTYPE_F32               ? "f32"
							       : "bf16";
	struct lora_values lora = {.r = 4, .lora_alpha = 8};
	struct hn_layout layout;
	struct bench_model bench;
	struct hn_step step;
	struct rows rows;
	struct hn_tensor_file curves;
	struct hone_error err = {0};
	double worst = 0.0, worst_norm = 0.0;

	golden_open(&rows.file, "golden/training/rows.safetensors");
	rows.ids = (const void *)need_tensor(&rows.file, "input_ids")->bytes;
	rows.labels = (const void *)need_tensor(&rows.file, "labels")->bytes;
	rows.segments = (const void *)need_tensor(&rows.file, "segments")->bytes;
	golden_open(&curves, run->curves);
	bench_open(&bench, run->model, run->backend);
	if (hn_model_keep(&bench.model, run->storage, bench.pool, &err))
		fail_msg("%s", err.text);
	lora.target_modules = bench_sites(&bench, "all-linear");
	if (run->is_full)
		bench_adapter(&bench, "weights", "full", "full", NULL);
	else
		bench_adapter(&bench, "lora", "lora", "lora", &lora);
	assert_int_equal(hn_layout_collect(&layout, sft->vt, &sft_options, &err), HONE_OK);
	hn_engine_init(&bench.engine, &bench.model, &bench.params, bench.devices, bench.n_devices,
		run->compute);
	const struct hn_build_request request = {.mode = HN_BUILD_TRAIN,
		.model = &bench.model,
		.params = &bench.params,
		.adapters = bench.adapters,
		.n_adapters = bench.n_adapters,
		.objective = sft->vt,
		.objective_self = &sft_options,
		.layout = &layout,
		.capacity = {1024, 16, 1024, 1024, 0},
		.compute = run->compute};

	/* chunks of 17 rows: the head runs in several, the last one short */
	if (hn_step_create(&step, &bench.engine, &request, &adamw, 17, &err) ||
		hn_engine_allocate(&bench.engine, &err))
		fail_msg("%s: %s", err.place, err.text);
	load_params(&bench, run);
	for (int64_t t = 0; t < run->steps; t++) {
		const int64_t first = t * run->batch, learned = count(&rows, first, run->batch);
		const double want = curve(&curves, run, precision, "loss")[t];
		const double want_norm = curve(&curves, run, precision, "grad_norm")[t];
		double norm = 0.0, loss;

		hn_step_begin(&step);
		hn_step_set_denominator(&step, 0, (double)learned);
		for (int64_t at = 0; at < run->batch; at += run->micro) {
			(void)bind(&step.train, &rows, first + at, run->micro);
			if (hn_step_micro(&step, 1, (uint64_t)t, &err))
				fail_msg("%s", err.text);
		}
		if (hn_step_end(&step, (uint64_t)t, hn_schedule_rate(&plan, t), &adamw, run->clip,
			    &norm, &err))
			fail_msg("%s", err.text);
		loss = step.sums[0] / (double)learned;
		worst = fmax(worst, fabs(loss - want) / want);
		worst_norm = fmax(worst_norm, fabs(norm - want_norm) / want_norm);
		if (!(fabs(loss - want) / want <= run->tolerance))
			fail_msg("step %d: loss %.9g, PyTorch has %.9g", (int)t, loss, want);
	}
	print_message("%-6s %-9s %-8s %-4s %-4s loss %.2e norm %.2e\n",
		run->is_full ? "full" : "lora", run->backend, run->which, precision,
		run->storage ? run->storage : "", worst, worst_norm);
	/* The norm follows the loss more loosely: it sums what rounding does everywhere. */
	assert_true(worst_norm <= run->tolerance * 50.0);
	bench_close(&bench);
	hn_layout_fini(&layout);
	hn_tensor_file_close(&rows.file);
	hn_tensor_file_close(&curves);
}

#define LORA   "golden/training/lora-curves.safetensors"
#define FULL   "golden/training/full-curves.safetensors"
#define QLORA  "golden/nf4/curves.safetensors"
#define FOLDER "golden/models/tiny-llama"
#define GGUF   "golden/gguf/tiny-llama-f32.gguf"

/* f64: what is left is transformers' float32 rotary frequencies.  f32: the 2e-5; PyTorch
 * differs from itself by 1e-6 between two attention kernels.  bf16: 2e-2, as PyTorch itself
 * differs by 1.2e-2. */
static const struct run runs[] = {
	{FOLDER, LORA, "plain", "reference", HONE_DTYPE_F64, 4, 4, 50, 5, 5e-3, 1.0, 0.0, false,
		2e-6, NULL},
	{FOLDER, LORA, "plain", "reference", HONE_DTYPE_F64, 4, 1, 50, 5, 5e-3, 1.0, 0.0, false,
		2e-6, NULL},
	{GGUF, LORA, "plain", "reference", HONE_DTYPE_F64, 4, 2, 50, 5, 5e-3, 1.0, 0.0, false, 2e-6,
		NULL},
	{FOLDER, LORA, "accum2", "reference", HONE_DTYPE_F64, 8, 4, 50, 5, 5e-3, 1.7, 0.0, false,
		2e-6, NULL},
	{FOLDER, FULL, "plain", "reference", HONE_DTYPE_F64, 4, 4, 20, 2, 2e-3, 1.0, 0.0, true,
		2e-6, NULL},
	{FOLDER, FULL, "decay", "reference", HONE_DTYPE_F64, 4, 2, 20, 2, 2e-3, 5.0, 0.1, true,
		2e-6, NULL},
	{FOLDER, LORA, "plain", "reference", HONE_DTYPE_F32, 4, 4, 50, 5, 5e-3, 1.0, 0.0, false,
		2e-5, NULL},
	{FOLDER, LORA, "plain", "reference", HONE_DTYPE_BF16, 4, 4, 50, 5, 5e-3, 1.0, 0.0, false,
		2e-2, NULL},
	{FOLDER, QLORA, "plain", "reference", HONE_DTYPE_F64, 4, 4, 50, 5, 5e-3, 1.0, 0.0, false,
		2e-6, "nf4"},
};

static const struct run runs_cpu[] = {
	{FOLDER, LORA, "plain", "cpu", HONE_DTYPE_F32, 4, 4, 50, 5, 5e-3, 1.0, 0.0, false, 2e-5,
		NULL},
	{GGUF, LORA, "plain", "cpu", HONE_DTYPE_F32, 4, 2, 50, 5, 5e-3, 1.0, 0.0, false, 2e-5,
		NULL},
	{FOLDER, LORA, "accum2", "cpu", HONE_DTYPE_F32, 8, 4, 50, 5, 5e-3, 1.7, 0.0, false, 2e-5,
		NULL},
	{FOLDER, LORA, "plain", "cpu", HONE_DTYPE_BF16, 4, 4, 50, 5, 5e-3, 1.0, 0.0, false, 2e-2,
		NULL},
	{FOLDER, LORA, "accum2", "cpu", HONE_DTYPE_BF16, 8, 4, 50, 5, 5e-3, 1.7, 0.0, false, 2e-2,
		NULL},
	{FOLDER, QLORA, "plain", "cpu", HONE_DTYPE_F32, 4, 4, 50, 5, 5e-3, 1.0, 0.0, false, 2e-5,
		"nf4"},
	{FOLDER, QLORA, "plain", "cpu", HONE_DTYPE_BF16, 4, 4, 50, 5, 5e-3, 1.0, 0.0, false, 2e-2,
		"nf4"},
	{FOLDER, FULL, "plain", "cpu", HONE_DTYPE_F32, 4, 4, 20, 2, 2e-3, 1.0, 0.0, true, 2e-5,
		NULL},
	{FOLDER, FULL, "decay", "cpu", HONE_DTYPE_F32, 4, 2, 20, 2, 2e-3, 5.0, 0.1, true, 2e-5,
		NULL},
};

static void
test_training_reference_follows_pytorch(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++)
		follow(&runs[i]);
}

static void
test_training_cpu_follows_pytorch(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof runs_cpu / sizeof runs_cpu[0]; i++)
		follow(&runs_cpu[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_training_reference_follows_pytorch),
		cmocka_unit_test(test_training_cpu_follows_pytorch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
