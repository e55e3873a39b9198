/*
 * result.c - finding a run's result and putting it in place.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "config/ini.h"
#include "result.h"
#include "train/export.h"
#include "train/folder.h"
#include "train/identity.h"

_Static_assert((int)HN_ADAPTED_MAX >= (int)HN_RUN_ADAPTERS, "one init_from for each adapter");

/* The instance's option "init_from", which the host wrote into the values itself. */
static const char *
init_from_of(const struct hn_instance *instance)
{
	const struct hone_options *options = instance->of->factory->options;
	const int64_t i = options && instance->values ? hn_options_find(options, "init_from") : -1;
	struct hone_option row;

	if (i < 0)
		return NULL;
	row = hn_options_at(options, (uint32_t)i);
	if (row.type != HONE_OPTION_PATH)
		return NULL;
	return *(const char *const *)(const void *)((const uint8_t *)instance->values + row.offset);
}

struct hn_adapted
hn_adapted_of_run(const struct hn_run *run, const struct hn_engine *engine)
{
	struct hn_adapted adapted = {.model = &run->model,
		.params = &run->params,
		.engine = engine,
		.adapters = run->adapter_refs,
		.n_adapters = run->n_adapters,
		.tokenizer = run->tokenizer,
		.seed = (uint64_t)run->options.run.seed,
		.custom = &run->custom};

	for (uint32_t i = 0; i < run->n_adapters; i++) {
		adapted.init_from[i] = init_from_of(run->adapters[i]);
		adapted.said[i] = (struct hn_adapter_said){
			run->adapters[i]->of->factory->options, run->adapters[i]->values};
	}
	return adapted;
}

static bool
trains_weights(const struct hn_run *run)
{
	for (uint32_t i = 0; i < run->n_adapters; i++)
		if (run->adapter_refs[i].vt->flags & HONE_ADAPTER_TRAINS_WEIGHTS)
			return true;
	return false;
}

static enum hone_status
fail_no_result(const struct hn_run *run, const char *what, struct hone_error *err)
{
	return hone_fail_at(err, HONE_ECONFIG, what, 0, 0,
		"there is no result of this run yet; train first (hone train %s), or ask for the "
		"base "
		"model (--base)",
		run->request->path);
}

static enum hone_status
fail_damaged(const struct hn_run *run, struct hone_error *err)
{
	const size_t n = err ? strlen(err->text) : 0;

	if (err)
		(void)snprintf(err->text + n, sizeof err->text - n,
			"; hone train %s makes it again from the last checkpoint",
			run->request->path);
	return HONE_EMODEL;
}

/* The newest checkpoint of a run that has not come to its end. */
static enum hone_status
open_checkpoint(
	struct hn_result *result, struct hn_run *run, const char *wanted, struct hone_error *err)
{
	char *output = hn_strdup(run->options.run.output);
	char *checkpoints = hn_path_join(output, "checkpoints");
	const struct hn_folder folder = {.path = output,
		.checkpoints = checkpoints,
		.lock = -1,
		.metrics = -1,
		.log = run->log};
	enum hone_status st = HONE_ENOTFOUND;

	if (hn_path_is_dir(checkpoints) && !hn_folder_is_finished(output))
		st = hn_checkpoint_newest(&folder, &result->saved, err);
	free(checkpoints);
	free(output);
	if (st == HONE_ENOTFOUND)
		return fail_no_result(run, wanted, err);
	if (st)
		return st;
	result->is_unfinished = true;
	hn_log_warn(run->log,
		"this run is not finished: its checkpoint after step %" PRId64
		" is used (%s); hone train %s goes on",
		result->saved.progress.step, result->saved.path, run->request->path);
	return HONE_OK;
}

/* What is loaded into a model must have been trained on that one, and read by this tokenizer:
 * another base of the same shapes would take it without a word.  "" or NULL = not known. */
static enum hone_status
check_base(const struct hn_run *run, const char *of, const char *model, const char *tokenizer,
	struct hone_error *err)
{
	char now[33] = "";

	if (model && model[0])
		hn_model_identity(&run->model, now);
	if (model && !hn_streq(model, now))
		return hone_fail_at(err, HONE_ECONFIG, run->model.checkpoint.path, 0, 0,
			"this is another base model than that of %s; put it back, or ask for the "
			"base model (--base)",
			of);
	now[0] = '\0';
	if (tokenizer && tokenizer[0])
		hn_tokenizer_hash(run->tokenizer, now);
	if (tokenizer && !hn_streq(tokenizer, now))
		return hone_fail_at(err, HONE_ECONFIG, run->model.checkpoint.path, 0, 0,
			"the tokenizer is another one than that of %s; put it back, or ask for "
			"the base model (--base)",
			of);
	return HONE_OK;
}

static enum hone_status
load_checkpoint(const struct hn_result *result, const struct hn_run *run,
	const struct hn_engine *engine, struct hone_error *err)
{
	const enum hone_status st =
		check_base(run, result->saved.path, hn_saved_fact(&result->saved, "model"),
			hn_saved_fact(&result->saved, "tokenizer"), err);

	return st ? st : hn_checkpoint_load(&result->saved, engine, err);
}

/* Opens the run once more with the trained model in place of its base. */
static enum hone_status
open_model(struct hn_result *result, struct hn_run *run, const char *folder, struct hone_error *err)
{
	const struct hn_run_request *request = &result->request;
	const size_t n = request->n_sets;

	result->model_set = hn_alloc(strlen(folder) + 16);
	(void)snprintf(result->model_set, strlen(folder) + 16, "model.path=%s", folder);
	result->sets = hn_alloc((n + 2) * sizeof *result->sets);
	for (size_t i = 0; i < n; i++)
		result->sets[i] = request->sets[i];
	result->sets[n] = result->model_set;
	result->sets[n + 1] = "model.init=pretrained";
	result->request.sets = result->sets;
	result->request.n_sets = n + 2;
	hn_run_close(run);
	result->is_model = result->without_adapters = true;
	return hn_run_open(run, &result->request, err);
}

enum hone_status
hn_result_open(struct hn_result *result, struct hn_run *run, const struct hn_run_request *request,
	bool is_base, struct hone_error *err)
{
	enum hone_status st;
	char *folder;

	memset(result, 0, sizeof *result);
	result->request = *request;
	result->is_base = result->without_adapters = is_base;
	st = hn_run_open(run, &result->request, err);
	if (st || is_base)
		return st;
	folder = hn_path_join(run->options.run.output, trains_weights(run) ? "model" : "adapter");
	if (!hn_path_is_dir(folder))
		st = open_checkpoint(result, run, folder, err);
	else if (hn_folder_check_result(run->options.run.output, err))
		st = fail_damaged(run, err);
	else if (trains_weights(run))
		st = open_model(result, run, folder, err);
	else
		result->adapter = hn_strdup(folder);
	free(folder);
	return st;
}

/* ---- without an INI file ---- */

/* Required keys that nobody reads here, and empty lists of adapters and objectives.  f32,
 * because nothing was trained in another type, and logits in bf16 have ties: they are 0.125
 * apart from 16 on. */
static const char model_only[] = "[run]\noutput = .\nadapter = \"\"\nobjective = \"\"\n"
				 "[model]\npath = .\n[data]\ntrain = .\n"
				 "[train]\nlearning_rate = 1\ncompute = f32\n";

/* What an INI would have to say about the adapter; its factory's table tells the keys. */
static enum hone_status
read_adapter(
	struct hn_result *result, struct hn_run *run, const char *folder, struct hone_error *err)
{
	const struct hn_registered *found = NULL;
	char type[64] = "";
	enum hone_status st = hn_adapter_type(folder, type, err);

	if (st)
		return st;
	st = hn_run_open_registry(run, &result->request, err);
	if (!st)
		st = hn_registry_need(run->registry, HONE_ROLE_ADAPTER, type, &found, err);
	if (!st)
		st = hn_adapter_overrides(
			folder, found->factory->options, &result->adapter_sets, err);
	hn_run_close(run);
	result->adapter = hn_strdup(folder);
	return st;
}

enum hone_status
hn_result_open_model(struct hn_result *result, struct hn_run *run,
	const struct hn_run_request *request, const char *model, const char *adapter,
	struct hone_error *err)
{
	const struct hn_adapter_sets *extra = &result->adapter_sets;
	struct hn_str set = {0};
	enum hone_status st = HONE_OK;
	size_t n = 0;

	memset(result, 0, sizeof *result);
	memset(run, 0, sizeof *run);
	result->request = *request;
	result->request.path = "--model";
	result->request.text = model_only;
	result->request.is_model_only = true;
	result->is_base = result->without_adapters = !adapter;
	if (adapter)
		st = read_adapter(result, run, adapter, err);
	if (st)
		return st;
	hn_str_printf(&set, "model.path=%s", model);
	result->model_set = hn_str_take(&set);
	result->sets = hn_alloc((request->n_sets + extra->n + 1) * sizeof *result->sets);
	result->sets[n++] = result->model_set;
	for (size_t i = 0; i < extra->n; i++)
		result->sets[n++] = extra->sets[i];
	for (size_t i = 0; i < request->n_sets; i++)
		result->sets[n++] = request->sets[i];
	result->request.sets = result->sets;
	result->request.n_sets = n;
	return hn_run_open(run, &result->request, err);
}

/* The weights that an adapter meets may be kept in another form than those it was trained on:
 * going on with it would be refused, using it is only told. */
static void
warn_of_storage(const struct hn_run *run)
{
	char *path = hn_path_join(run->options.run.output, "config.ini");
	const char *now = run->options.model.storage, *was = NULL;
	struct hn_diagnostics found = {0};
	struct hn_arena arena = {0};
	struct hn_ini ini = {0};

	if (hn_path_is_file(path) && !hn_ini_read(&ini, path, &found, NULL))
		for (size_t i = 0; i < ini.n; i++)
			if (hn_streq(ini.items[i].section, "model") &&
				hn_streq(ini.items[i].key, "storage"))
				was = ini.items[i].value;
	if (was && !hn_streq(was, now))
		hn_log_warn(run->log,
			"[model] storage was %s where the adapter was trained and is %s: what it "
			"says here is not what it has learned",
			hn_clip(&arena, was, strlen(was)), now);
	hn_arena_fini(&arena);
	hn_ini_fini(&ini);
	hn_diagnostics_fini(&found);
	free(path);
}

enum hone_status
hn_result_load(const struct hn_result *result, const struct hn_run *run,
	const struct hn_engine *engine, struct hone_error *err)
{
	const struct hn_adapted to = hn_adapted_of_run(run, engine);
	struct hn_made_with with = {0};
	enum hone_status st;

	if (!result->request.is_model_only && (result->is_unfinished || result->adapter))
		warn_of_storage(run);
	if (result->is_unfinished)
		return load_checkpoint(result, run, engine, err);
	if (!result->adapter)
		return HONE_OK;
	if (!result->request.is_model_only)
		hn_folder_made_with(run->options.run.output, &with);
	st = check_base(run, result->adapter, with.model, with.tokenizer, err);
	for (uint32_t i = 0; i < run->n_adapters && !st; i++) {
		char *folder = i ? hn_path_join(result->adapter, run->adapters[i]->section)
				 : hn_strdup(result->adapter);

		st = hn_import_adapter(&to, i, folder, err);
		free(folder);
	}
	return st;
}

void
hn_result_close(struct hn_result *result, struct hn_run *run)
{
	hn_run_close(run);
	hn_saved_close(&result->saved);
	free(result->adapter);
	free(result->model_set);
	free(result->sets);
	hn_adapter_sets_fini(&result->adapter_sets);
	memset(result, 0, sizeof *result);
}
