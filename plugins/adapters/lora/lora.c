/*
 * lora.c - low-rank adaptation of frozen linear layers.
 *
 * Beside a frozen W: [O, I] we train A: [R, I] and B: [O, R].  With s = alpha / R,
 *
 *     y  = x W^T + s (x A^T) B^T                      x: [N, I]   y: [N, O]
 *     dB = s dy^T (x A^T)     dA = s (dy B)^T x       dx += s (dy B) A
 *
 * Hu et al. 2021, arXiv:2106.09685, section 4.1; s = alpha / sqrt(R) is Kalajdzievski 2023,
 * arXiv:2312.03732 (use_rslora).  B starts at zero, so step 0 equals the base model.  The
 * factor s is applied to x A^T, which is R wide, instead of to the O columns of y.
 */
#include <math.h>

#include <hone/adapter.h>
#include <hone/plugin.h>

enum lora_init { LORA_INIT_TRUE = 0, LORA_INIT_GAUSSIAN = 1 };

struct lora {
	int64_t r; /* R */
	double lora_alpha, lora_dropout;
	const struct hone_site_set *target_modules;
	const struct hone_site_map *rank_pattern, *alpha_pattern;
	int32_t use_rslora;
	int32_t init_lora_weights; /* enum lora_init */
	const char *init_from;     /* read by the host */
};

#define AT(member) offsetof(struct lora, member)
static const struct hone_option options[] = {
	{"r", HONE_OPTION_I64, 0, AT(r), "8", 1, 4096, NULL, "rank|lora_r|lora_rank",
		"rank of the update"},
	{"lora_alpha", HONE_OPTION_F64, HONE_OPTION_OPEN_MIN, AT(lora_alpha), "8", 0, 1e6, NULL,
		"alpha", "the update is scaled by lora_alpha / r"},
	{"lora_dropout", HONE_OPTION_F64, HONE_OPTION_OPEN_MAX, AT(lora_dropout), "0", 0, 1, NULL,
		"dropout", "probability that an input of the update is dropped in training"},
	{"target_modules", HONE_OPTION_SITES, 0, AT(target_modules), "all-linear", 0, 0, NULL,
		"lora_target_modules|lora_target_linear|targets",
		"modules to adapt: names such as q_proj, v_proj, roles, a regular expression, or "
		"all-linear"},
	{"rank_pattern", HONE_OPTION_SITE_MAP, 0, AT(rank_pattern), NULL, 0, 0, NULL, NULL,
		"ranks that differ from r, as 'module: rank, ...'"},
	{"alpha_pattern", HONE_OPTION_SITE_MAP, 0, AT(alpha_pattern), NULL, 0, 0, NULL, NULL,
		"alphas that differ from lora_alpha, as 'module: alpha, ...'"},
	{"use_rslora", HONE_OPTION_BOOL, 0, AT(use_rslora), "no", 0, 0, NULL, "rslora",
		"scale by lora_alpha / sqrt(r) instead"},
	{"init_lora_weights", HONE_OPTION_CHOICE, 0, AT(init_lora_weights), "true", 0, 0,
		"true|gaussian", NULL,
		"how A starts: true is Kaiming uniform, gaussian normal with deviation 1 / r"},
	{"init_from", HONE_OPTION_PATH, 0, AT(init_from), NULL, 0, 0, NULL, NULL,
		"a PEFT adapter folder to go on from"},
};
static const struct hone_options option_table = {sizeof(struct hone_option),
	sizeof options / sizeof options[0], sizeof(struct lora), options};

static int64_t
rank_at(const struct lora *lora, const struct hone_site *site)
{
	return (int64_t)hone_site_map_get(lora->rank_pattern, site, (double)lora->r);
}

static double
scale_at(const struct lora *lora, const struct hone_site *site)
{
	const double alpha = hone_site_map_get(lora->alpha_pattern, site, lora->lora_alpha);
	const double r = (double)rank_at(lora, site);

	return alpha / (lora->use_rslora ? sqrt(r) : r);
}

static int
applies(const struct lora *lora, const struct hone_site *site)
{
	return site && site->kind == HONE_SITE_LINEAR &&
		hone_site_set_has(lora->target_modules, site);
}

/* The numbers of the two patterns, which are read as doubles. */
static enum hone_status
check_patterns(const struct lora *lora, const struct hone_site *site, struct hone_error *err)
{
	const double r = hone_site_map_get(lora->rank_pattern, site, (double)lora->r);
	const double alpha = hone_site_map_get(lora->alpha_pattern, site, lora->lora_alpha);

	if (r != floor(r))
		return hone_fail(err, HONE_ECONFIG, "rank_pattern gives %s %g; a rank is whole",
			site->name, r);
	if (r < 1 || r > (double)site->in_features || r > (double)site->out_features)
		return hone_fail(err, HONE_ECONFIG,
			"r = %.15g does not fit %s, which is [%lld, %lld]", r, site->name,
			(long long)site->out_features, (long long)site->in_features);
	if (alpha <= 0)
		return hone_fail(err, HONE_ECONFIG,
			"alpha_pattern gives %s %g, with which it learns nothing or the "
			"opposite; must be above 0",
			site->name, alpha);
	return HONE_OK;
}

/* Declares A and B for a linear site among the targets. */
static enum hone_status
lora_declare(const void *self, const struct hone_site *site, struct hone_params *params,
	struct hone_error *err)
{
	const struct lora *lora = self;
	struct hone_param_spec ab[2];
	enum hone_status st;
	int64_t R, I, O;

	if (site && !applies(lora, site) && hone_site_set_has(lora->target_modules, site))
		return hone_fail(err, HONE_EUNSUPPORTED,
			"target_modules names %s, which is no linear layer", site->name);
	if (!applies(lora, site))
		return HONE_OK;
	st = check_patterns(lora, site, err);
	if (st)
		return st;
	R = rank_at(lora, site);
	I = site->in_features;
	O = site->out_features;
	ab[0] = hone_param_spec_make("lora_A", R, I);
	ab[0].export_name = "base_model.model.%s.lora_A.weight";
	ab[0].axis[1] = HONE_AXIS_SITE_IN;
	ab[0].init = lora->init_lora_weights == LORA_INIT_GAUSSIAN ? HONE_INIT_NORMAL
								   : HONE_INIT_KAIMING_UNIFORM;
	ab[0].init_scale = 1.0 / (double)R;
	ab[1] = hone_param_spec_make("lora_B", O, R);
	ab[1].export_name = "base_model.model.%s.lora_B.weight";
	ab[1].axis[0] = HONE_AXIS_SITE_OUT;
	return hone_params_declare(params, site, 2, ab, err);
}

/* y += (s dropout(x) A^T) B^T */
static enum hone_status
lora_output(const void *self, const struct hone_build *at, const struct hone_site *site,
	struct hone_site_io *io, struct hone_error *err)
{
	const struct lora *lora = self;
	struct hone_graph *g = at->graph;
	hone_node x, h;

	if (!applies(lora, site))
		return HONE_OK;
	x = hone_dropout(at, io->x, lora->lora_dropout, "x");
	h = hone_matmul_nt(g, x, hone_param(at, site, "lora_A")); /* [N, R] */
	h = hone_scale(g, h, scale_at(lora, site));
	io->y = hone_add(g, io->y, hone_matmul_nt(g, h, hone_param(at, site, "lora_B")));
	return hone_graph_status(g, err);
}

/* W += s B A */
static enum hone_status
lora_merge(const void *self, const struct hone_build *at, const struct hone_site *site,
	struct hone_merge_io *io, struct hone_error *err)
{
	const struct lora *lora = self;
	struct hone_graph *g = at->graph;
	hone_node delta;

	if (!applies(lora, site))
		return HONE_OK;
	delta = hone_matmul_nn(g, hone_param(at, site, "lora_B"), hone_param(at, site, "lora_A"));
	io->weight = hone_add(g, io->weight, hone_scale(g, delta, scale_at(lora, site)));
	return hone_graph_status(g, err);
}

/* The keys that PEFT reads. */
static enum hone_status
lora_describe(const void *self, struct hone_export *doc, struct hone_error *err)
{
	static const char *const open[] = {"lora_dropout", "init_lora_weights", "loftq_config",
		"eva_config", "corda_config", "lora_ga_config"};
	const struct lora *lora = self;

	(void)err;
	doc->vt->put_string(doc, "peft_type", "LORA");
	doc->vt->put_i64(doc, "r", lora->r);
	doc->vt->put_f64(doc, "lora_alpha", lora->lora_alpha);
	doc->vt->put_f64(doc, "lora_dropout", lora->lora_dropout);
	doc->vt->put_sites(doc, "target_modules", lora->target_modules);
	doc->vt->put_map(doc, "rank_pattern", lora->rank_pattern, "r", (double)lora->r);
	doc->vt->put_map(doc, "alpha_pattern", lora->alpha_pattern, "lora_alpha", lora->lora_alpha);
	doc->vt->put_bool(doc, "use_rslora", lora->use_rslora);
	doc->vt->put_bool(doc, "use_dora", 0);
	doc->vt->put_bool(doc, "fan_in_fan_out", 0);
	doc->vt->put_bool(doc, "init_lora_weights", 1);
	doc->vt->put_string(doc, "bias", "none");
	doc->vt->put_null(doc, "modules_to_save");
	doc->vt->put_null(doc, "layers_to_transform");
	doc->vt->put_null(doc, "layers_pattern");
	for (size_t i = 0; i < sizeof open / sizeof open[0]; i++)
		doc->vt->leave_open(doc, open[i]);
	doc->vt->refuse(doc, "init_lora_weights", "pissa|olora|corda|loftq|lora_ga",
		"the adapter belongs to a changed base; save it in PEFT with "
		"path_initial_model_for_weight_conversion");
	return HONE_OK;
}

static const struct hone_adapter_vt lora_vt = {
	.struct_size = sizeof lora_vt,
	.declare = lora_declare,
	.output = lora_output,
	.merge = lora_merge,
	.describe = lora_describe,
};

static const struct hone_factory lora_factory = {
	.struct_size = sizeof lora_factory,
	.role = HONE_ROLE_ADAPTER,
	.name = "lora",
	.summary = "low-rank updates beside frozen linear layers (LoRA, rsLoRA)",
	.options = &option_table,
	.vt = &lora_vt,
};
static const struct hone_factory *const factories[] = {&lora_factory};
HONE_PLUGIN(lora, "0.1.0", "Apache-2.0", factories);
