/*
 * support/bench_model.h - a model on a device by hand: plugins loaded straight from the build
 * folder, without configuration, so that tests of graphs need nothing of the stages above.
 */
#ifndef HN_TEST_BENCH_MODEL_H
#define HN_TEST_BENCH_MODEL_H

#include <hone/plugin.h>

#include "graph/build.h"
#include "graph/engine.h"
#include "plugin_values.h"
#include "train/step.h"

struct bench_model {
	struct hn_model model;
	struct hn_params params;
	struct hn_adapter_ref adapters[4];
	const struct hone_factory *factories[4];
	uint32_t n_adapters;
	struct hn_device devices[2];
	uint32_t n_devices;
	const struct hone_factory *backends[2]; /* as they were opened, with their instances */
	void *backend_selves[2];
	uint32_t n_backends;
	struct hn_engine engine;
	struct hn_pool *pool;
	struct hone_host host;
};

/* The factory of a role and name in build/lib/hone/<file>.so; fails the test when absent. */
const struct hone_factory *bench_factory(const char *file, const char *role, const char *name);

/* Opens the model of tests/data/<path>, or of an absolute path, on "reference" or "cpu". */
void bench_open(struct bench_model *bench, const char *path, const char *backend);
/* The same with a pool of so many threads; bench_open takes 2. */
void bench_open_threads(
	struct bench_model *bench, const char *path, const char *backend, int32_t threads);
/* Adds an adapter whose values are given (as its option struct). */
void bench_adapter(struct bench_model *bench, const char *file, const char *name,
	const char *section, const void *values);
/* The same of a factory, which may be the test's own. */
void bench_adapter_of(struct bench_model *bench, const struct hone_factory *factory,
	const char *section, const void *values);
/* All sites that a text names. */
const struct hone_site_set *bench_sites(struct bench_model *bench, const char *text);
void bench_close(struct bench_model *bench);

/* A step of objective "sft". */
struct bench_training {
	struct sft_values sft;
	struct hn_adamw adamw;
	struct hn_capacity capacity;
	int64_t chunk_rows;
	int32_t compute;
};

/* Collects the layout, which hn_layout_fini ends, and builds and allocates the step's programs;
 * parameters are not yet set. */
void bench_training(struct bench_model *bench, struct hn_step *step, struct hn_layout *layout,
	const struct bench_training *training);

/* Fills tokens, positions, keys, offsets and ranges of stream "text". */
void bench_bind(
	struct hn_program *program, const int32_t *ids, const int32_t *offsets, int64_t n_segments);

#endif
