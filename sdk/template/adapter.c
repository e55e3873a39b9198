/*
 * my_adapter.c - an adapter that does nothing: copy it, rename it, write the maths.
 *
 * Here stands what the technique computes, with shapes, and the paper:
 *
 *     y = x W^T                                       x: [N, I]   y: [N, O]
 *
 * The gradient is not written down in code: the host derives it from the nodes.  What the
 * functions are for is in hone/adapter.h; a slot of the table that is not needed is left out.
 */
#include <hone/adapter.h>
#include <hone/plugin.h>

/* The values of the section, written by the host: they are what the functions get as `self`.
 * A factory with a create makes something of its own from them, and frees it in destroy. */
struct my_adapter {
	const struct hone_site_set *target_modules;
	double strength;
};

#define AT(member) offsetof(struct my_adapter, member)

static const struct hone_option options[] = {
	{
		.key = "target_modules",
		.type = HONE_OPTION_SITES,
		.offset = AT(target_modules),
		.default_value = "all-linear",
		.help = "modules to adapt: names, roles, a regular expression, or all-linear",
	},
	{
		.key = "strength",
		.type = HONE_OPTION_F64,
		.offset = AT(strength),
		.default_value = "1",
		.min = 0,
		.max = 100,
		.help = "factor of what would be added",
	},
};

static const struct hone_options option_table = {
	sizeof(struct hone_option),
	sizeof options / sizeof options[0],
	sizeof(struct my_adapter),
	options,
};

static int
applies(const struct my_adapter *my, const struct hone_site *site)
{
	return site && site->kind == HONE_SITE_LINEAR &&
		hone_site_set_has(my->target_modules, site);
}

/* Declares what is trained at a site.  To train a matrix [4, I] here:
 *
 *     struct hone_param_spec a = hone_param_spec_make("my_A", 4, site->in_features);
 *
 *     a.axis[1] = HONE_AXIS_SITE_IN;
 *     a.init = HONE_INIT_KAIMING_UNIFORM;
 *     a.export_name = "base_model.model.%s.my_A.weight";
 *     return hone_params_declare(params, site, 1, &a, err);
 */
static enum hone_status
my_adapter_declare(const void *self, const struct hone_site *site, struct hone_params *params,
	struct hone_error *err)
{
	const struct my_adapter *my = self;

	(void)params;
	(void)err;
	if (!applies(my, site))
		return HONE_OK;
	return HONE_OK;
}

/* Changes what a site gives.  To add something to y:
 *
 *     hone_node h = hone_matmul_nt(at->graph, io->x, hone_param(at, site, "my_A"));
 *
 *     io->y = hone_add(at->graph, io->y, ...);
 */
static enum hone_status
my_adapter_output(const void *self, const struct hone_build *at, const struct hone_site *site,
	struct hone_site_io *io, struct hone_error *err)
{
	const struct my_adapter *my = self;

	(void)io;
	if (!applies(my, site))
		return HONE_OK;
	return hone_graph_status(at->graph, err);
}

/* The same change, written into the weight: io->weight is [O, I]. */
static enum hone_status
my_adapter_merge(const void *self, const struct hone_build *at, const struct hone_site *site,
	struct hone_merge_io *io, struct hone_error *err)
{
	(void)self;
	(void)site;
	(void)io;
	return hone_graph_status(at->graph, err);
}

/* The keys of the exported adapter_config.json.  An adapter that PEFT knows, in PEFT's layout,
 * also puts "peft_type" with PEFT's word: the export's README.md then says how PEFT loads it.
 * Any other is found again by its name, which the host puts: `--model BASE --adapter DIR`. */
static enum hone_status
my_adapter_describe(const void *self, struct hone_export *doc, struct hone_error *err)
{
	const struct my_adapter *my = self;

	(void)err;
	doc->vt->put_sites(doc, "target_modules", my->target_modules);
	doc->vt->put_f64(doc, "strength", my->strength);
	return HONE_OK;
}

static const struct hone_adapter_vt my_adapter_vt = {
	.struct_size = sizeof my_adapter_vt,
	.declare = my_adapter_declare,
	.output = my_adapter_output,
	.merge = my_adapter_merge,
	.describe = my_adapter_describe,
};

static const struct hone_factory my_adapter_factory = {
	.struct_size = sizeof my_adapter_factory,
	.role = HONE_ROLE_ADAPTER,
	.name = "my_adapter",
	.summary = "does nothing",
	.options = &option_table,
	.vt = &my_adapter_vt,
};

static const struct hone_factory *const factories[] = {&my_adapter_factory};

HONE_PLUGIN(my_adapter, "0.1.0", "Apache-2.0", factories);
