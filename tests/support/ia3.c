/*
 * ia3.c - (IA)^3: frozen linear layers whose outputs or inputs are multiplied by learned numbers.
 *
 *     y = (x W^T + b) diag(l)    l: [O,1]     W' = diag(l) W, b' = l b
 *     y = (x diag(l)) W^T + b    l: [1,I]     W' = W diag(l)
 *
 * The second form is for the modules of feedforward_modules.  Shapes and names are PEFT's.
 * Liu et al. 2022, arXiv:2205.05638, section 3.3.  l starts at one, so that step 0 equals the
 * base model.
 */
#include <hone/adapter.h>

#include "ia3.h"

static int
applies(const struct ia3_values *ia3, const struct hone_site *site)
{
	return site && site->kind == HONE_SITE_LINEAR &&
		hone_site_set_has(ia3->target_modules, site);
}

/* Whether l scales the site's inputs. */
static int
is_feedforward(const struct ia3_values *ia3, const struct hone_site *site)
{
	return hone_site_set_has(ia3->feedforward_modules, site);
}

static enum hone_status
ia3_declare(const void *self, const struct hone_site *site, struct hone_params *params,
	struct hone_error *err)
{
	struct hone_param_spec l;

	if (!applies(self, site))
		return HONE_OK;
	if (is_feedforward(self, site)) {
		l = hone_param_spec_make("l", 1, site->in_features);
		l.axis[1] = HONE_AXIS_SITE_IN;
	} else {
		l = hone_param_spec_make("l", site->out_features, 1);
		l.axis[0] = HONE_AXIS_SITE_OUT;
	}
	l.init = HONE_INIT_ONE;
	l.export_name = "base_model.model.%s.ia3_l";
	return hone_params_declare(params, site, 1, &l, err);
}

static enum hone_status
ia3_input(const void *self, const struct hone_build *at, const struct hone_site *site, hone_node *x,
	struct hone_error *err)
{
	if (!applies(self, site) || !is_feedforward(self, site))
		return HONE_OK;
	*x = hone_scale_cols(at->graph, *x, hone_param(at, site, "l"));
	return hone_graph_status(at->graph, err);
}

static enum hone_status
ia3_output(const void *self, const struct hone_build *at, const struct hone_site *site,
	struct hone_site_io *io, struct hone_error *err)
{
	if (!applies(self, site) || is_feedforward(self, site))
		return HONE_OK;
	io->y = hone_scale_cols(at->graph, io->y, hone_param(at, site, "l"));
	if (io->bias.id)
		io->bias = hone_scale_cols(at->graph, io->bias, hone_param(at, site, "l"));
	return hone_graph_status(at->graph, err);
}

static enum hone_status
ia3_merge(const void *self, const struct hone_build *at, const struct hone_site *site,
	struct hone_merge_io *io, struct hone_error *err)
{
	struct hone_graph *g = at->graph;

	if (!applies(self, site))
		return HONE_OK;
	if (is_feedforward(self, site)) {
		io->weight = hone_scale_cols(g, io->weight, hone_param(at, site, "l"));
		return hone_graph_status(g, err);
	}
	io->weight = hone_scale_rows(g, io->weight, hone_param(at, site, "l"));
	if (io->bias.id)
		io->bias = hone_scale_rows(g, io->bias, hone_param(at, site, "l"));
	return hone_graph_status(g, err);
}

static enum hone_status
ia3_describe(const void *self, struct hone_export *doc, struct hone_error *err)
{
	const struct ia3_values *ia3 = self;

	(void)err;
	doc->vt->put_string(doc, "peft_type", "IA3");
	doc->vt->put_sites(doc, "target_modules", ia3->target_modules);
	doc->vt->put_sites(doc, "feedforward_modules", ia3->feedforward_modules);
	doc->vt->put_bool(doc, "fan_in_fan_out", 0);
	doc->vt->put_bool(doc, "init_ia3_weights", 1);
	doc->vt->put_null(doc, "modules_to_save");
	doc->vt->leave_open(doc, "init_ia3_weights");
	return HONE_OK;
}

static const struct hone_adapter_vt ia3_vt = {
	.struct_size = sizeof ia3_vt,
	.declare = ia3_declare,
	.input = ia3_input,
	.output = ia3_output,
	.merge = ia3_merge,
	.describe = ia3_describe,
};

static enum hone_status
ia3_create(const struct hone_host *host, const struct hone_instance_info *info, const void *values,
	void **self, struct hone_error *err)
{
	(void)host;
	(void)info;
	(void)err;
	*self = (void *)(uintptr_t)values;
	return HONE_OK;
}

const struct hone_factory ia3_factory = {
	.struct_size = sizeof ia3_factory,
	.role = HONE_ROLE_ADAPTER,
	.name = "ia3",
	.summary = "learned factors of outputs and inputs of linear layers",
	.create = ia3_create,
	.vt = &ia3_vt,
};
