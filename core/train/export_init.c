/*
 * export_init.c - initial values of parameters.
 *
 * Random values are drawn in the order of Hugging Face and then put into that of the file, so
 * that a run on a folder and one on its GGUF twin start equal.  A copy of the stored weight is
 * in the file's order already.
 */
#include <stdlib.h>

#include "train/export_parts.h"

enum hone_status
hn_param_start(const struct hn_adapted *to, const struct hn_param *param, struct hone_error *err)
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
		st = hn_param_start(to, &to->params->list[i], err);
	for (uint32_t i = 0; i < to->n_adapters && !st; i++)
		if (to->init_from[i])
			st = hn_import_adapter(to, i, to->init_from[i], err);
	return st;
}
