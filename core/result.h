/*
 * result.h - what a run left behind, ready to be used: for eval, generate and export.
 *
 * A run's result is an adapter (<output>/adapter) or, where weights themselves were trained,
 * a model (<output>/model).  The first is read into the run's parameters, the second takes
 * the place of the model's file.  Of a run that was stopped it is the newest checkpoint, and
 * a line says so.
 */
#ifndef HN_RESULT_H
#define HN_RESULT_H

#include "graph/engine.h"
#include "run.h"
#include "train/checkpoint.h"
#include "train/export.h"

/* A run's model and adapters for train/export.h; init_from is each instance's option of that
 * name, where it has one. */
struct hn_adapted hn_adapted_of_run(const struct hn_run *run, const struct hn_engine *engine);

struct hn_result {
	bool is_base;          /* the untouched file was asked for */
	bool is_model;         /* the run's model file is the result itself */
	bool without_adapters; /* build graphs without them */
	bool is_unfinished;    /* there is no result yet, and `saved` stands for it */
	struct hn_saved saved; /* the newest checkpoint then */
	char *adapter;         /* folder of the PEFT adapter, or NULL */
	char *model_set;       /* "model.path=..." that was added, or NULL */
	const char **sets;
	struct hn_adapter_sets adapter_sets; /* what a folder of adapters asks for */
	struct hn_run_request request;
};

/* Opens the run of request->path with its result (is_base: without).  HONE_ECONFIG where
 * there is neither a result nor a checkpoint yet, with what to do; HONE_EMODEL where a
 * finished run's result is damaged.  hn_result_close closes both, in any case. */
enum hone_status hn_result_open(struct hn_result *result, struct hn_run *run,
	const struct hn_run_request *request, bool is_base, struct hone_error *err);
/* The same without an INI file: a model and, where `adapter` is not NULL, a PEFT folder.  The
 * run has no objective and no data; backend and precision are the defaults, or what
 * request->sets say. */
enum hone_status hn_result_open_model(struct hn_result *result, struct hn_run *run,
	const struct hn_run_request *request, const char *model, const char *adapter,
	struct hone_error *err);
/* Reads the adapter into an engine that is allocated. */
enum hone_status hn_result_load(const struct hn_result *result, const struct hn_run *run,
	const struct hn_engine *engine, struct hone_error *err);
void hn_result_close(struct hn_result *result, struct hn_run *run);

#endif
