/*
 * state_bench.c - states made of hashes, saved into folders and loaded again.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "plugin_values.h"
#include "state_bench.h"
#include "support.h"

static const int32_t kinds[] = {HN_MEMORY_PARAMS, HN_MEMORY_MOMENT1, HN_MEMORY_MOMENT2};

void
state_bench_open(struct bench_model *bench, int64_t rank, const char *sites, int32_t compute)
{
	struct lora_values lora = {.r = rank, .lora_alpha = 8};
	struct hone_error err = {0};

	bench_open(bench, "golden/models/tiny-llama", "reference");
	lora.target_modules = bench_sites(bench, sites);
	bench_adapter(bench, "lora", "lora", "lora", &lora);
	hn_engine_init(&bench->engine, &bench->model, &bench->params, bench->devices,
		bench->n_devices, compute);
	bench->engine.has_moments = true; /* as the update program would say */
	if (hn_engine_allocate(&bench->engine, &err))
		fail_msg("%s", err.text);
}

/* Bytes of one parameter in one buffer: a hash per element.  As f64 or f32 they are any
 * number, subnormal, infinite and NaN among them. */
static uint8_t *
make(const struct bench_model *bench, int32_t kind, uint32_t i, int64_t number, uint64_t *n)
{
	const uint64_t elem = bench->engine.stat == HONE_DTYPE_F64 ? 8 : 4;
	uint8_t *bytes;

	*n = (uint64_t)bench->params.list[i].n_elems * elem;
	bytes = malloc(*n + 8);
	for (uint64_t at = 0; at < *n; at += elem) {
		const uint64_t key[] = {(uint64_t)number, (uint64_t)kind, i, at};
		const uint64_t hash = hn_hash64(key, sizeof key);

		memcpy(bytes + at, &hash, elem);
	}
	return bytes;
}

static struct hn_progress
make_progress(int64_t step, int64_t number)
{
	return (struct hn_progress){.step = step,
		.tokens = number * 1000003,
		.supervised_tokens = INT64_MAX - 1 - number, /* number is -1 or more */
		.loss_sum = 0.1 * (double)number,
		.loss_weight = 1.0 / 3.0,
		.logged_step = -1,
		.logged_tokens = number,
		.logged_time_s = 5e-324,
		.train_loss_sum = -0.0,
		.grad_norm = 1.7976931348623157e308,
		.best_metric = number % 2 ? (double)INFINITY : -(double)INFINITY,
		.best_step = number / 2,
		.patience_left = 3,
		.last_eval_step = -1,
		.time_s = 123456789.125 + (double)number};
}

void
state_set(struct bench_model *bench, struct hn_progress *progress, int64_t number)
{
	const struct hn_device *device = bench->devices;
	const uint64_t elem = bench->engine.stat == HONE_DTYPE_F64 ? 8 : 4;
	struct hone_error err = {0};

	for (uint32_t i = 0; i < bench->params.n; i++)
		for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
			uint64_t n;
			uint8_t *bytes = make(bench, kinds[k], i, number, &n);

			assert_int_equal(
				device->vt->upload(device->device, bench->engine.buffers[kinds[k]],
					bench->params.list[i].offset * elem, bytes, n, &err),
				HONE_OK);
			free(bytes);
		}
	*progress = make_progress(number, number);
}

void
state_expect(const struct bench_model *bench, const struct hn_progress *progress, int64_t number)
{
	const struct hn_device *device = bench->devices;
	const uint64_t elem = bench->engine.stat == HONE_DTYPE_F64 ? 8 : 4;
	const struct hn_progress want = make_progress(progress->step, number);
	struct hone_error err = {0};

	for (uint32_t i = 0; i < bench->params.n; i++)
		for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
			uint64_t n;
			uint8_t *bytes = make(bench, kinds[k], i, number, &n), *got = malloc(n + 8);

			assert_int_equal(device->vt->download(device->device,
						 bench->engine.buffers[kinds[k]],
						 bench->params.list[i].offset * elem, got, n, &err),
				HONE_OK);
			assert_memory_equal(bytes, got, n);
			free(bytes);
			free(got);
		}
	assert_memory_equal(/* no padding: all members have eight bytes */
		&want, progress, sizeof want);
}

enum hone_status
state_save(struct bench_model *bench, struct hn_folder *folder, int64_t step, int64_t number,
	bool is_best, int64_t limit, struct hone_error *err)
{
	static const struct hn_fact facts[] = {{.key = "model", .value = "a \"quoted\" value"},
		{.key = "hone", .value = "0.1.0", .is_note = true}};
	struct hn_progress progress;
	const struct hn_save_request request = {.engine = &bench->engine,
		.progress = &progress,
		.config = "[run]\noutput = o\n",
		.facts = facts,
		.n_facts = 2,
		.is_best = is_best,
		.limit = limit};

	state_set(bench, &progress, number);
	progress.step = step;
	return hn_checkpoint_save(folder, &request, err);
}

/* ---- folders ---- */

void
state_folder_open(struct hn_folder *folder, struct hn_log *log, const char *path)
{
	struct hone_error err = {0};

	hn_log_init(log, NULL);
	if (hn_folder_open(folder, path, false, log, &err))
		fail_msg("%s: %s", err.place, err.text);
}

void
state_save_whole(struct bench_model *bench, struct hn_folder *folder, int64_t step, int64_t number,
	bool is_best, int64_t limit)
{
	struct hone_error err = {0};

	if (state_save(bench, folder, step, number, is_best, limit, &err))
		fail_msg("%s: %s", err.place, err.text);
}

int64_t
state_load_newest(
	struct bench_model *bench, const struct hn_folder *folder, struct hn_progress *progress)
{
	struct hn_saved saved;
	struct hone_error err = {0};

	state_set(bench, progress, 999999);
	if (hn_checkpoint_newest(folder, &saved, &err) ||
		hn_checkpoint_load(&saved, &bench->engine, &err))
		fail_msg("%s: %s", err.place, err.text);
	*progress = saved.progress;
	hn_saved_close(&saved);
	return progress->step;
}

void
state_expect_tidy(const struct hn_folder *folder, size_t limit)
{
	struct hone_error err = {0};
	size_t n = 0, n_steps = 0;
	char **names = NULL;

	if (hn_path_is_dir(folder->checkpoints))
		assert_int_equal(hn_dir_list(folder->checkpoints, &names, &n, &err), HONE_OK);
	for (size_t i = 0; i < n; i++) {
		if (hn_starts_with(names[i], "step-"))
			n_steps++;
		else
			assert_string_equal(names[i], "best");
		free(names[i]);
	}
	free(names);
	assert_true(n_steps <= limit);
}
