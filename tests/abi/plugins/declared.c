/*
 * declared.c - a sound adapter whose parameters are declared in every way that the contract has,
 * and by -DDECLARED_<fault> one with exactly one fault in a declaration, its merge or its export.
 *
 *     y = x W^T + f (x (s + c)^T) v^T     s, c: [1,I]   v: [O,1]   f = [declared] factor
 *
 * s is of the instance itself and declared from each site's call; c is a constant that is not
 * exported; v is of the site.
 */
#include <hone/adapter.h>
#include <hone/plugin.h>

struct declared {
	const struct hone_site_set *target_modules;
	double factor;
	struct hone_strings notes;
};

#define AT(member) offsetof(struct declared, member)

static const struct hone_option options[] = {
	{.key = "target_modules",
		.type = HONE_OPTION_SITES,
		.offset = AT(target_modules),
		.default_value = "q_proj, v_proj",
		.help = "modules to adapt"},
	{.key = "factor",
		.type = HONE_OPTION_F64,
		.offset = AT(factor),
		.default_value = "1",
		.min = 0,
		.max = 100,
		.help = "factor of what is added"},
	{.key = "notes",
		.type = HONE_OPTION_LIST,
		.flags = HONE_OPTION_RUNTIME,
		.offset = AT(notes),
		.default_value = "a, b",
		.help = "words that change nothing"},
};

static const struct hone_options option_table = {sizeof(struct hone_option),
	sizeof options / sizeof options[0], sizeof(struct declared), options};

static int
applies(const struct declared *declared, const struct hone_site *site)
{
	return site && site->kind == HONE_SITE_LINEAR &&
		hone_site_set_has(declared->target_modules, site);
}

/* What all sites share. */
static enum hone_status
declare_shared(const struct hone_site *site, struct hone_params *params, struct hone_error *err)
{
	struct hone_param_spec s = hone_param_spec_make("s", 1, site->in_features);

	s.init = HONE_INIT_KAIMING_UNIFORM;
	s.export_name = "declared.s";
#ifdef DECLARED_SHARED_FORMAT
	s.export_name = "base_model.%s.s";
#endif
#ifdef DECLARED_SHARED_SHAPES
	s.dim[1] += site->layer;
#endif
#ifdef DECLARED_SHARED_WEIGHT
	s.init = HONE_INIT_WEIGHT;
#endif
	return hone_params_declare(params, NULL, 1, &s, err);
}

static enum hone_status
declared_declare(const void *self, const struct hone_site *site, struct hone_params *params,
	struct hone_error *err)
{
	struct hone_param_spec all[3];
	uint32_t n = 2;
	enum hone_status st;

	if (!applies(self, site))
		return HONE_OK;
	all[0] = hone_param_spec_make("v", site->out_features, 1);
	all[0].axis[0] = HONE_AXIS_SITE_OUT;
	all[0].export_name = "%s.v";
	all[1] = hone_param_spec_make("c", 1, site->in_features);
	all[1].axis[1] = HONE_AXIS_SITE_IN;
	all[1].init = HONE_INIT_CONSTANT;
	all[1].init_scale = 0.25;
	all[1].flags = HONE_PARAM_FROZEN;
#if defined DECLARED_TRAINED_UNNAMED
	all[0].export_name = NULL;
#elif defined DECLARED_DRAWN_UNNAMED
	all[1].init = HONE_INIT_NORMAL;
#elif defined DECLARED_FILLED_UNNAMED
	all[1].init = HONE_INIT_CALL;
#elif defined DECLARED_BUFFER_UNNAMED
	all[1].flags = HONE_PARAM_BUFFER;
#elif defined DECLARED_ONE_NAME
	all[1].export_name = "%s.v";
#elif defined DECLARED_FIXED_NAME
	all[0].export_name = "v";
#elif defined DECLARED_NO_NAME_OF_TENSOR
	all[0].export_name = "";
#elif defined DECLARED_FROZEN_TRAIN
	all[1].flags |= HONE_PARAM_TRAIN;
#elif defined DECLARED_NO_SIZE
	all[1].struct_size = 0;
#elif defined DECLARED_TWICE
	all[1] = all[0];
#elif defined DECLARED_DEFAULT /* looks like PEFT's name of an adapter */
	all[0].export_name = "%s.default.v";
#elif defined DECLARED_BIAS
	all[n] = hone_param_spec_make("b", site->out_features, 0);
	all[n].axis[0] = HONE_AXIS_SITE_OUT;
	all[n++].export_name = "%s.b";
#endif
	st = declare_shared(site, params, err);
	return st ? st : hone_params_declare(params, site, n, all, err);
}

static hone_node
row(const struct hone_build *at, const struct hone_site *site)
{
	return hone_add(at->graph, hone_param(at, NULL, "s"), hone_param(at, site, "c"));
}

static enum hone_status
declared_output(const void *self, const struct hone_build *at, const struct hone_site *site,
	struct hone_site_io *io, struct hone_error *err)
{
	const struct declared *declared = self;
	struct hone_graph *g = at->graph;
	hone_node h;

	if (!applies(declared, site))
		return HONE_OK;
	h = hone_scale(g, hone_matmul_nt(g, io->x, row(at, site)), declared->factor);
	io->y = hone_add(g, io->y, hone_matmul_nt(g, h, hone_param(at, site, "v")));
#ifdef DECLARED_BIAS
	io->bias = hone_param(at, site, "b");
#endif
	return hone_graph_status(g, err);
}

static enum hone_status
declared_merge(const void *self, const struct hone_build *at, const struct hone_site *site,
	struct hone_merge_io *io, struct hone_error *err)
{
	const struct declared *declared = self;
	struct hone_graph *g = at->graph;
	hone_node d;

	if (!applies(declared, site))
		return HONE_OK;
	d = hone_matmul_nn(g, hone_param(at, site, "v"), row(at, site));
	io->weight = hone_add(g, io->weight, hone_scale(g, d, declared->factor));
#ifdef DECLARED_BIAS
	io->bias = hone_param(at, site, "b");
#endif
	return hone_graph_status(g, err);
}

#ifdef DECLARED_SITES_UNSAID
static enum hone_status
declared_describe(const void *self, struct hone_export *doc, struct hone_error *err)
{
	const struct declared *declared = self;

	(void)err;
	doc->vt->put_f64(doc, "factor", declared->factor);
	return HONE_OK;
}
#endif

static const struct hone_adapter_vt declared_vt = {
	.struct_size = sizeof declared_vt,
	.declare = declared_declare,
	.output = declared_output,
	.merge = declared_merge,
#ifdef DECLARED_SITES_UNSAID
	.describe = declared_describe,
#endif
};

static enum hone_status
declared_create(const struct hone_host *host, const struct hone_instance_info *info,
	const void *values, void **self, struct hone_error *err)
{
	(void)host;
	(void)info;
	(void)err;
	*self = (void *)(uintptr_t)values;
	return HONE_OK;
}

static const struct hone_factory declared_factory = {.struct_size = sizeof declared_factory,
	.role = HONE_ROLE_ADAPTER,
	.name = "declared",
	.summary = "a column per site and a row for all",
	.options = &option_table,
	.create = declared_create,
	.vt = &declared_vt};

static const struct hone_factory *const factories[] = {&declared_factory};

HONE_PLUGIN(declared, "0.1.0", "Apache-2.0", factories);
