/*
 * gated.c - a sound adapter with a matrix product and a vector in it, and by -DGATED_<fault> one
 * with exactly one fault: a merge that is not what the hooks compute, or a shape that is wrong.
 *
 *     y = (x W^T + s x A^T B^T + b) diag(l)      s = alpha / r     A: [r,I]  B: [O,r]  l: [O]
 *     W' = diag(l) (W + s B A)      b' = l b
 *
 * It belongs to no published technique, so it has no peft_type.
 */
#include <hone/adapter.h>
#include <hone/plugin.h>

struct gated {
	const struct hone_site_set *target_modules;
	int64_t r;
	double alpha;
	const char *init_from;
};

#define AT(member) offsetof(struct gated, member)

static const struct hone_option options[] = {
	{.key = "target_modules",
		.type = HONE_OPTION_SITES,
		.offset = AT(target_modules),
		.default_value = "q_proj, o_proj, down_proj",
		.help = "modules to adapt"},
	{.key = "r",
		.type = HONE_OPTION_I64,
		.offset = AT(r),
		.default_value = "2",
		.min = 1,
		.max = 64,
		.help = "rank"},
	{.key = "alpha",
		.type = HONE_OPTION_F64,
		.offset = AT(alpha),
		.default_value = "8",
		.min = 0,
		.max = 100,
		.help = "times 1 / r: the factor"},
	{.key = "init_from",
		.type = HONE_OPTION_PATH,
		.offset = AT(init_from),
		.help = "a folder to begin from"},
};

static const struct hone_options option_table = {sizeof(struct hone_option),
	sizeof options / sizeof options[0], sizeof(struct gated), options};

static int
applies(const struct gated *gated, const struct hone_site *site)
{
	return site && site->kind == HONE_SITE_LINEAR &&
		hone_site_set_has(gated->target_modules, site);
}

static enum hone_status
gated_declare(const void *self, const struct hone_site *site, struct hone_params *params,
	struct hone_error *err)
{
	const struct gated *gated = self;
	struct hone_param_spec all[3];

	if (!applies(gated, site))
		return HONE_OK;
	all[0] = hone_param_spec_make("A", gated->r, site->in_features);
	all[0].axis[1] = HONE_AXIS_SITE_IN;
	all[0].init = HONE_INIT_KAIMING_UNIFORM;
	all[0].export_name = "%s.gated_A";
	all[1] = hone_param_spec_make("B", site->out_features, gated->r);
	all[1].axis[0] = HONE_AXIS_SITE_OUT;
	all[1].export_name = "%s.gated_B";
	all[2] = hone_param_spec_make("l", site->out_features, 1);
	all[2].axis[0] = HONE_AXIS_SITE_OUT;
	all[2].init = HONE_INIT_ONE;
	all[2].export_name = "%s.gated_l";
	return hone_params_declare(params, site, 3, all, err);
}

static enum hone_status
gated_output(const void *self, const struct hone_build *at, const struct hone_site *site,
	struct hone_site_io *io, struct hone_error *err)
{
	const struct gated *gated = self;
	struct hone_graph *g = at->graph;
	hone_node h, l;

	if (!applies(gated, site))
		return HONE_OK;
	l = hone_param(at, site, "l");
	h = hone_matmul_nt(g, io->x, hone_param(at, site, "A"));
#ifdef GATED_PRODUCT /* a b^T where a b is meant */
	h = hone_matmul_nt(g, io->x, hone_param(at, site, "B"));
#endif
	h = hone_scale(g, h, gated->alpha / (double)gated->r);
	io->y = hone_add(g, io->y, hone_matmul_nt(g, h, hone_param(at, site, "B")));
#ifdef GATED_VECTOR /* a column beside an output [N,O] */
	io->y = hone_mul(g, io->y, l);
#elif defined GATED_Y /* what the low rank gives, not the output */
	io->y = h;
#elif defined GATED_NOTHING
	io->y = hone_node_none();
#else
	io->y = hone_scale_cols(g, io->y, l);
#endif
	if (io->bias.id)
		io->bias = hone_scale_cols(g, io->bias, l);
#ifdef GATED_BIAS
	io->bias = hone_param(at, site, "A");
#endif
	return hone_graph_status(g, err);
}

static enum hone_status
gated_merge(const void *self, const struct hone_build *at, const struct hone_site *site,
	struct hone_merge_io *io, struct hone_error *err)
{
	const struct gated *gated = self;
	struct hone_graph *g = at->graph;
	double s = gated->alpha / (double)gated->r;
	hone_node l, d;

	if (!applies(gated, site))
		return HONE_OK;
	l = hone_param(at, site, "l");
	d = hone_matmul_nn(g, hone_param(at, site, "B"), hone_param(at, site, "A"));
#ifdef GATED_MERGE_SCALE /* forgets alpha / r */
	s = 1.0;
#endif
#ifdef GATED_MERGE_TRANSPOSED /* (B A)^T = A^T B^T, which fits where the site is square */
	if (site->in_features == site->out_features && gated->r == 2) {
		static const float one[4] = {1, 0, 0, 1};
		static const int64_t dim[2] = {2, 2};
		hone_node eye = g->vt->constant(g, HONE_DTYPE_F32, 2, dim, one);

		d = hone_matmul_nt(g, hone_matmul_tn(g, hone_param(at, site, "A"), eye),
			hone_param(at, site, "B"));
	}
#endif
#ifdef GATED_MERGE_NOTHING
	return HONE_OK;
#endif
#ifdef GATED_MERGE_SHAPE
	io->weight = l;
	return HONE_OK;
#endif
	io->weight = hone_add(g, io->weight, hone_scale(g, d, s));
#ifdef GATED_MERGE_AXIS /* one number per input: fits where the site is square */
	if (site->in_features == site->out_features)
		io->weight = hone_scale_cols(g, io->weight, l);
	else
#endif
		io->weight = hone_scale_rows(g, io->weight, l);
	if (io->bias.id)
		io->bias = hone_scale_rows(g, io->bias, l);
	return hone_graph_status(g, err);
}

static enum hone_status
gated_describe(const void *self, struct hone_export *doc, struct hone_error *err)
{
	const struct gated *gated = self;

	(void)err;
	doc->vt->put_sites(doc, "target_modules", gated->target_modules);
	doc->vt->put_i64(doc, "r", gated->r);
	doc->vt->put_f64(doc, "alpha", gated->alpha);
	return HONE_OK;
}

static const struct hone_adapter_vt gated_vt = {.struct_size = sizeof gated_vt,
	.declare = gated_declare,
	.output = gated_output,
	.merge = gated_merge,
	.describe = gated_describe};

static enum hone_status
gated_create(const struct hone_host *host, const struct hone_instance_info *info,
	const void *values, void **self, struct hone_error *err)
{
	(void)host;
	(void)info;
	(void)err;
	*self = (void *)(uintptr_t)values;
	return HONE_OK;
}

static const struct hone_factory gated_factory = {.struct_size = sizeof gated_factory,
	.role = HONE_ROLE_ADAPTER,
	.name = "gated",
	.summary = "a low-rank update and a factor per output",
	.options = &option_table,
	.create = gated_create,
	.vt = &gated_vt};

static const struct hone_factory *const factories[] = {&gated_factory};

HONE_PLUGIN(gated, "0.1.0", "Apache-2.0", factories);
