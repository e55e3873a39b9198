/*
 * checkpoint_load.c - going on: which checkpoint, whether it fits this run, and its values.
 *
 * Choosing, comparing and loading are apart, because the configuration is compared before
 * any memory is asked for, and values are loaded after.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "base/str.h"
#include "train/checkpoint_files.h"
#include "train/step.h"

/* ---- which ---- */

/* Opens step-N, whose manifest must be of step N. */
static enum hone_status
open_step(const struct hn_folder *folder, int64_t step, struct hn_saved *saved,
	struct hone_error *err)
{
	char *path = hn_step_path(folder, "", step);
	enum hone_status st = hn_saved_open(saved, path, err);

	if (!st && saved->progress.step != step) {
		st = hone_fail_at(err, HONE_EIO, path, 0, 0,
			"holds step %" PRId64 ": the folder was renamed", saved->progress.step);
		hn_saved_close(saved);
	}
	free(path);
	return st;
}

enum hone_status
hn_checkpoint_newest(const struct hn_folder *folder, struct hn_saved *saved, struct hone_error *err)
{
	struct hone_error why = {0};
	int64_t *steps;
	size_t n, i = 0;
	enum hone_status st = hn_steps_list(folder, &steps, &n, err);

	memset(saved, 0, sizeof *saved);
	while (!st && i < n && open_step(folder, steps[i], saved, &why)) {
		hn_log_warn(folder->log, "checkpoint step %" PRId64 " is skipped: %s: %s", steps[i],
			why.place, why.text);
		i++;
	}
	if (!st && !n)
		st = hone_fail_at(
			err, HONE_ENOTFOUND, folder->checkpoints, 0, 0, "there is no checkpoint");
	else if (!st && i == n)
		st = hone_fail_at(err, HONE_EIO, folder->checkpoints, 0, 0,
			"none of %zu checkpoints is whole (the oldest: %.200s); restore one, or "
			"begin anew with --fresh",
			n, why.text);
	free(steps);
	return st;
}

enum hone_status
hn_checkpoint_best(const struct hn_folder *folder, struct hn_saved *saved, struct hone_error *err)
{
	const int64_t step = hn_best_step(folder);

	memset(saved, 0, sizeof *saved);
	if (step < 0)
		return hone_fail_at(err, HONE_ENOTFOUND, folder->checkpoints, 0, 0,
			"no checkpoint is marked as the best");
	return open_step(folder, step, saved, err);
}

/* ---- values ---- */

/* A file of tensors with what of it goes where. */
struct loading {
	struct hn_tensor_file file;
	struct hn_state_tensor *list;
	const struct hn_tensor_info **found;
	size_t n;
};

static enum hone_status
begin(struct loading *loading, const struct hn_saved *saved, const struct hn_engine *engine,
	bool is_optimizer, struct hone_error *err)
{
	char *path = hn_path_join(saved->path, is_optimizer ? HN_OPTIMIZER_FILE : HN_PARAMS_FILE);
	enum hone_status st;

	loading->list = hn_state_list(engine, is_optimizer, &loading->n);
	loading->found = hn_alloc((loading->n + 1) * sizeof *loading->found);
	st = hn_state_open(&loading->file, path, loading->list, loading->n, loading->found, err);
	free(path);
	return st;
}

static enum hone_status
upload(const struct loading *loading, struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	for (size_t i = 0; i < loading->n && !st; i++) {
		const struct hn_state_tensor *tensor = &loading->list[i];
		const struct hn_engine *engine = tensor->engine;
		const uint64_t elem = (uint64_t)hone_dtype_bytes(engine->stat);

		st = hn_engine_settle(engine, tensor->kind, err);
		if (!st)
			st = engine->devices->vt->upload(engine->devices->device,
				engine->buffers[tensor->kind], tensor->param->offset * elem,
				loading->found[i]->bytes, loading->found[i]->n_bytes, err);
		hn_tensor_file_forget(&loading->file);
	}
	return st;
}

static void
end(struct loading *loading)
{
	hn_tensor_file_close(&loading->file);
	hn_state_free(loading->list, loading->n);
	free(loading->found);
}

/* Both files are checked before the first value moves. */
enum hone_status
hn_checkpoint_load(
	const struct hn_saved *saved, const struct hn_engine *engine, struct hone_error *err)
{
	struct loading params = {0}, optimizer = {0};
	enum hone_status st = HONE_OK;

	if (engine->has_moments && !saved->has_moments)
		return hone_fail_at(err, HONE_EIO, saved->path, 0, 0,
			"has no " HN_OPTIMIZER_FILE
			": the optimizer's moments are lost and training cannot go on from here");
	st = begin(&params, saved, engine, false, err);
	if (!st && engine->has_moments)
		st = begin(&optimizer, saved, engine, true, err);
	if (!st)
		st = upload(&params, err);
	if (!st && engine->has_moments)
		st = upload(&optimizer, err);
	end(&params);
	end(&optimizer);
	return st;
}

/* ---- the same run? ---- */

/* The first difference becomes the error; all of them are logged when there are more. */
struct differences {
	struct hone_error first;
	struct hn_str more; /* a line for each */
	size_t n;
};

HONE_PRINTF(4, 5)
static void
add_difference(struct differences *all, const char *path, int32_t line, const char *fmt, ...)
{
	char text[400];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	if (all->n++ == 0)
		(void)hone_fail_at(&all->first, HONE_ECONFIG, path, line, 0, "%s", text);
	hn_str_printf(&all->more, "%s  %s", all->n > 1 ? "\n" : "", text);
}

static const char *
shown(const char *value)
{
	return value ? value : "not set";
}

static void
diff_configs(const struct hn_config *old, const struct hn_config *now, struct differences *all)
{
	struct hn_arena arena = {0};
	size_t n;
	const struct hn_config_change *changes = hn_config_diff(old, now, &arena, &n);

	for (size_t i = 0; i < n; i++) {
		const struct hn_config_change *change = &changes[i];
		const struct hn_config_value *value =
			change->key ? hn_config_get(now, change->section, change->key) : NULL;

		if (change->key)
			add_difference(all, value ? value->at.path : "",
				value ? (int32_t)value->at.line : 0,
				"[%.60s] %.60s was %.100s and is %.100s", change->section,
				change->key, shown(change->was), shown(change->is));
		else
			add_difference(all, "", 0, "[%.60s] was %s and is %s", change->section,
				change->was ? "used" : "not used",
				change->is ? "used" : "not used");
	}
	hn_arena_fini(&arena);
}

/* Reads the sections of the saved text by the tables of today. */
static enum hone_status
compare_config(const struct hn_saved *saved, const struct hn_config_check *now,
	struct differences *all, struct hone_error *err)
{
	char *path = hn_path_join(saved->path, HN_CONFIG_FILE);
	const struct hn_config_request request = {
		.path = path, .text = saved->config, .text_bytes = strlen(saved->config)};
	struct hn_diagnostics diagnostics = {0};
	struct hn_config_check check = *now;
	struct hn_config *old = NULL;
	enum hone_status st = hn_config_load(&old, &request, &diagnostics, err);

	check.config = old;
	check.diagnostics = &diagnostics;
	check.resolve = NULL;
	for (size_t i = 0; !st && i < old->n_sections; i++)
		if (hn_config_read(&check, old->sections[i].name, NULL) == HONE_ENOTFOUND)
			add_difference(all, "", 0, "[%.60s] was used and nothing knows it now",
				old->sections[i].name);
	if (!st && diagnostics.n_errors)
		st = hone_fail_at(err, HONE_ECONFIG, path, 0, 0,
			"cannot be read by this version: %.300s; begin anew with --fresh",
			diagnostics.n ? diagnostics.items[0].text : "");
	if (!st)
		diff_configs(old, now->config, all);
	hn_config_destroy(old);
	hn_diagnostics_fini(&diagnostics);
	free(path);
	return st;
}

static const char *
fact_value(const struct hn_fact *facts, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (hn_streq(facts[i].key, key))
			return facts[i].value;
	return NULL;
}

const char *
hn_saved_fact(const struct hn_saved *saved, const char *key)
{
	return fact_value(saved->facts, saved->n_facts, key);
}

/* "t.jsonl: [data] train had 40 rows in 1204 bytes and has 41 rows in 1230 bytes". */
static void
add_file_difference(
	struct differences *all, const struct hn_saved *saved, const struct hn_fact *fact)
{
	char key[80];
	const char *size;

	(void)snprintf(key, sizeof key, "%.60s.size", fact->key);
	size = hn_saved_fact(saved, key);
	if (size && !hn_streq(size, fact->size))
		add_difference(all, fact->path, 0, "the file of %.60s had %.100s and has %.100s",
			fact->what, size, fact->size);
	else
		add_difference(all, fact->path, 0,
			"the content of the file of %.60s changed (%.100s%s)", fact->what,
			fact->size, size ? ", as before" : "");
}

static void
compare_facts(const struct hn_saved *saved, const struct hn_resume *now, struct differences *all)
{
	for (size_t i = 0; i < now->n_facts; i++) {
		const struct hn_fact *fact = &now->facts[i];
		const char *was = fact_value(saved->facts, saved->n_facts, fact->key);

		if (fact->is_kept || (was && hn_streq(was, fact->value)))
			continue;
		if (!fact->is_note && was && fact->path)
			add_file_difference(all, saved, fact);
		else if (!fact->is_note)
			add_difference(all, "", 0, "%.60s was %.100s and is %.100s", fact->key,
				shown(was), fact->value);
		else if (now->log)
			hn_log_warn(now->log, "%s was %s and is %s", fact->key, shown(was),
				fact->value);
	}
	for (size_t i = 0; i < saved->n_facts; i++) {
		const struct hn_fact *fact = &saved->facts[i];

		if (!fact->is_note && !fact_value(now->facts, now->n_facts, fact->key))
			add_difference(all, "", 0, "%.60s was %.100s and is not set", fact->key,
				fact->value);
	}
}

enum hone_status
hn_checkpoint_check_same(
	const struct hn_saved *saved, const struct hn_resume *now, struct hone_error *err)
{
	struct differences all = {0};
	enum hone_status st = compare_config(saved, now->check, &all, err);

	if (!st) {
		compare_facts(saved, now, &all);
		if (all.n > 1 && now->log)
			hn_log_warn(now->log, "since %s was saved there changed:\n%s", saved->path,
				all.more.text);
		if (all.n)
			st = hone_fail_at(err, HONE_ECONFIG, all.first.place, all.first.line, 0,
				"%s%s since this run began; put it back, or begin anew with "
				"--fresh",
				all.first.text, all.n > 1 ? " (and more differs)" : "");
	}
	hn_str_fini(&all.more);
	return st;
}

/* ---- the best ---- */

bool
hn_is_better(double metric, bool has_best, double best, bool greater, double threshold)
{
	if (!hn_is_finite(metric))
		return false;
	if (!has_best)
		return true;
	return (greater ? metric - best : best - metric) > threshold;
}
