/*
 * export_init.c - initial values of parameters, and what a run says about itself.
 *
 * Random values are drawn in the order of Hugging Face and then put into that of the file, so
 * that a run on a folder and one on its GGUF twin start equal.  A copy of the stored weight is
 * in the file's order already.
 */
#include <stdlib.h>

#include "run.h"
#include "train/export.h"

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
		.seed = (uint64_t)run->options.run.seed};

	for (uint32_t i = 0; i < run->n_adapters; i++)
		adapted.init_from[i] = init_from_of(run->adapters[i]);
	return adapted;
}

static enum hone_status
init_param(const struct hn_adapted *to, const struct hn_param *param, struct hone_error *err)
{
	const struct hn_adapter_ref *adapter = &to->adapters[param->instance_idx];
	const struct hone_factory factory = {.vt = adapter->vt};
	float *values = malloc((size_t)param->n_elems * sizeof *values);
	enum hone_status st;

	if (!values)
		return hone_fail(err, HONE_ENOMEM, "no memory for the values of '%s'", param->key);
	st = hn_param_init(param, to->model, &factory, adapter->self, to->seed, values, err);
	if (!st && param->spec.init != HONE_INIT_WEIGHT)
		hn_param_permute(param, true, values);
	if (!st)
		st = hn_engine_set(to->engine, HN_MEMORY_PARAMS, param, values, err);
	/* A weight that a parameter begins from need not stay in memory beside it. */
	if (param->spec.init == HONE_INIT_WEIGHT)
		hn_tensor_file_forget(&to->model->checkpoint.tensors);
	free(values);
	return st;
}

enum hone_status
hn_params_init(const struct hn_adapted *to, struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	for (uint32_t i = 0; i < to->params->n && !st; i++)
		st = init_param(to, &to->params->list[i], err);
	for (uint32_t i = 0; i < to->n_adapters && !st; i++)
		if (to->init_from[i])
			st = hn_import_adapter(to, i, to->init_from[i], err);
	return st;
}
