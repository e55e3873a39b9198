/*
 * checkpoint_state.c - an engine's parameters and moments as named tensors, and the names of
 * checkpoints.
 *
 * hn_engine_get gives f32 whatever the engine computes in; a checkpoint must come back bit for
 * bit, so the bytes are moved as they lie in the buffers.  Padding between parameters is not
 * saved: nothing reads it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "model/safetensors.h"
#include "train/checkpoint_files.h"

/* ---- tensors ---- */

const char *
hn_state_storage(const struct hn_engine *engine)
{
	return engine->stat == HONE_DTYPE_F64 ? "f64" : "f32";
}

static void
add(struct hn_state_tensor *list, size_t *n, const struct hn_engine *engine,
	const struct hn_param *param, int32_t kind)
{
	struct hn_str name = {0};

	hn_str_printf(&name, "%s%s",
		kind == HN_MEMORY_MOMENT1           ? "exp_avg/"
			: kind == HN_MEMORY_MOMENT2 ? "exp_avg_sq/"
						    : "",
		param->key);
	list[(*n)++] = (struct hn_state_tensor){hn_str_take(&name), engine, param, kind};
}

struct hn_state_tensor *
hn_state_list(const struct hn_engine *engine, bool is_optimizer, size_t *n)
{
	const struct hn_params *params = engine->params;
	struct hn_state_tensor *list = hn_alloc((2 * (size_t)params->n + 1) * sizeof *list);

	*n = 0;
	for (uint32_t i = 0; i < params->n; i++) {
		const struct hn_param *param = &params->list[i];

		if (!is_optimizer) {
			add(list, n, engine, param, HN_MEMORY_PARAMS);
		} else if (param->spec.flags & HONE_PARAM_TRAIN) {
			add(list, n, engine, param, HN_MEMORY_MOMENT1);
			add(list, n, engine, param, HN_MEMORY_MOMENT2);
		}
	}
	return list;
}

void
hn_state_free(struct hn_state_tensor *list, size_t n)
{
	while (n)
		free(list[--n].name);
	free(list);
}

uint64_t
hn_state_bytes(const struct hn_state_tensor *tensor)
{
	return (uint64_t)tensor->param->n_elems * (uint64_t)hone_dtype_bytes(tensor->engine->stat);
}

enum hone_status
hn_state_read(const struct hn_state_tensor *tensor, uint64_t from, uint64_t n, void *out,
	struct hone_error *err)
{
	const struct hn_engine *engine = tensor->engine;
	const struct hn_device *device = engine->devices;
	const uint64_t at = tensor->param->offset * (uint64_t)hone_dtype_bytes(engine->stat);
	const enum hone_status st = hn_engine_settle(engine, tensor->kind, err);

	return st ? st
		  : device->vt->download(
			    device->device, engine->buffers[tensor->kind], at + from, out, n, err);
}

/* One tensor of the list in the file, of our type. */
static enum hone_status
find(const struct hn_tensor_file *file, const struct hn_state_tensor *tensor,
	const struct hn_tensor_info **out, struct hone_error *err)
{
	const struct hone_param_spec *spec = &tensor->param->spec;
	const char *storage = hn_state_storage(tensor->engine);
	enum hone_status st =
		hn_tensor_file_expect(file, tensor->name, spec->rank, spec->dim, out, err);

	if (!st && !hn_streq((*out)->storage, storage))
		st = hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
			"tensor \"%.200s\" is %s; %s is needed", tensor->name, (*out)->storage,
			storage);
	return st;
}

/* With as many tensors as wanted, each of them found, there is no other. */
enum hone_status
hn_state_open(struct hn_tensor_file *file, const char *path, const struct hn_state_tensor *list,
	size_t n, const struct hn_tensor_info **found, struct hone_error *err)
{
	enum hone_status st;

	memset(file, 0, sizeof *file);
	st = hn_safetensors_open(file, path, err);
	for (size_t i = 0; !st && i < n; i++)
		st = find(file, &list[i], &found[i], err);
	if (!st && file->n_tensors != n)
		st = hone_fail_at(err, HONE_EMODEL, path, 0, 0, "has %zu tensors; this run has %zu",
			file->n_tensors, n);
	if (st)
		hn_tensor_file_close(file);
	return st;
}

/* ---- names ---- */

int64_t
hn_step_of_name(const char *name)
{
	static const char prefix[] = "step-";
	int64_t step;

	if (!hn_starts_with(name, prefix))
		return -1;
	name += sizeof prefix - 1;
	if (strspn(name, "0123456789") != strlen(name) || !hn_parse_i64(name, &step))
		return -1;
	return step;
}

char *
hn_step_path(const struct hn_folder *folder, const char *before, int64_t step)
{
	struct hn_str path = {0};

	hn_str_printf(&path, "%s/%sstep-%06" PRId64, folder->checkpoints, before, step);
	return hn_str_take(&path);
}

static int
newest_first(const void *a, const void *b)
{
	const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x < y) - (x > y);
}

/* By number: "step-1000000" sorts before "step-999999" by name. */
enum hone_status
hn_steps_list(const struct hn_folder *folder, int64_t **steps, size_t *n, struct hone_error *err)
{
	char **names = NULL;
	size_t n_names = 0;
	enum hone_status st = HONE_OK;

	*n = 0;
	*steps = NULL;
	if (hn_path_is_dir(folder->checkpoints))
		st = hn_dir_list(folder->checkpoints, &names, &n_names, err);
	*steps = hn_alloc((n_names + 1) * sizeof **steps);
	for (size_t i = 0; i < n_names; i++) {
		const int64_t step = hn_step_of_name(names[i]);

		if (step >= 0)
			(*steps)[(*n)++] = step;
		free(names[i]);
	}
	free(names);
	qsort(*steps, *n, sizeof **steps, newest_first);
	return st;
}

int64_t
hn_best_step(const struct hn_folder *folder)
{
	char *path = hn_path_join(folder->checkpoints, HN_BEST_LINK), target[64];
	const ssize_t got = readlink(path, target, sizeof target - 1);

	free(path);
	if (got < 0)
		return -1;
	target[got] = '\0';
	return hn_step_of_name(target);
}
