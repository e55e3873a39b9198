/*
 * weights.c - training the model's own weights: all of them (full), or some (layerwise).
 *
 * A trained weight is an overlay: a copy that replaces the stored weight in the views that
 * contain the adapter.  The file stays as it is, so every other view still sees it.
 *
 *     full        every weight and bias
 *     layerwise   layers by number or range, and whether embeddings, norms and head train
 *
 * Norms and biases have no weight decay, as in every trainer of the field.
 */
#include <stdlib.h>

#include <hone/adapter.h>
#include <hone/plugin.h>

struct layerwise {
	struct hone_strings layers; /* "0-3, 28" */
	int32_t train_embeddings, train_norms, train_head;
};

#define AT(member) offsetof(struct layerwise, member)
static const struct hone_option options[] = {
	{"layers", HONE_OPTION_LIST, HONE_OPTION_REQUIRED, AT(layers), NULL, 0, 0, NULL,
		"layers_to_transform", "layers to train: numbers and ranges, such as 0-3, 28"},
	{"train_embeddings", HONE_OPTION_BOOL, 0, AT(train_embeddings), "no", 0, 0, NULL, NULL,
		"train the token embeddings"},
	{"train_norms", HONE_OPTION_BOOL, 0, AT(train_norms), "yes", 0, 0, NULL, NULL,
		"train the norms of the chosen layers, and the last one with the head"},
	{"train_head", HONE_OPTION_BOOL, 0, AT(train_head), "no", 0, 0, NULL, NULL,
		"train the output head (a tied head is the embeddings)"},
};
static const struct hone_options option_table = {sizeof(struct hone_option),
	sizeof options / sizeof options[0], sizeof(struct layerwise), options};

static int
has_weight(const struct hone_site *site)
{
	return site && site->kind != HONE_SITE_ATTENTION && site->kind != HONE_SITE_STREAM &&
		!(site->flags & HONE_SITE_TIED);
}

/* Overlays of a site's weight and bias. */
static enum hone_status
declare_overlays(const struct hone_site *site, struct hone_params *params, struct hone_error *err)
{
	const int is_norm = site->kind == HONE_SITE_NORM || site->kind == HONE_SITE_VALUE;
	const int is_embed = site->kind == HONE_SITE_EMBED;
	const int64_t out = site->out_features ? site->out_features : site->in_features;
	struct hone_param_spec spec[2];

	spec[0] = is_norm ? hone_param_spec_make("weight", out, 0)
			  : hone_param_spec_make("weight", is_embed ? site->in_features : out,
				    is_embed ? out : site->in_features);
	spec[0].export_name = "%s.weight";
	spec[0].axis[0] = is_norm || is_embed ? HONE_AXIS_NONE : HONE_AXIS_SITE_OUT;
	spec[0].init = HONE_INIT_WEIGHT;
	spec[0].overlay = HONE_SLOT_WEIGHT;
	spec[0].flags |= is_norm ? HONE_PARAM_NO_DECAY : 0u;
	spec[1] = hone_param_spec_make("bias", out, 0);
	spec[1].export_name = "%s.bias";
	spec[1].axis[0] = HONE_AXIS_SITE_OUT;
	spec[1].init = HONE_INIT_WEIGHT;
	spec[1].overlay = HONE_SLOT_BIAS;
	spec[1].flags |= HONE_PARAM_NO_DECAY;
	return hone_params_declare(
		params, site, site->flags & HONE_SITE_HAS_BIAS ? 2 : 1, spec, err);
}

static enum hone_status
full_declare(const void *self, const struct hone_site *site, struct hone_params *params,
	struct hone_error *err)
{
	(void)self;
	return has_weight(site) ? declare_overlays(site, params, err) : HONE_OK;
}

/* Whether "3" or "0-5" holds the layer. */
static int
range_has(const char *text, int32_t layer)
{
	char *end = NULL;
	const long first = strtol(text, &end, 10);
	const long last = *end == '-' ? strtol(end + 1, &end, 10) : first;

	return layer >= first && layer <= last;
}

static enum hone_status
check_ranges(const struct layerwise *self, struct hone_error *err)
{
	for (int64_t i = 0; i < self->layers.n; i++) {
		const char *text = self->layers.items[i];
		char *end = NULL;
		const long first = strtol(text, &end, 10);
		const long last = end != text && *end == '-' ? strtol(end + 1, &end, 10) : first;

		if (end == text || *end || first < 0 || last < first)
			return hone_fail(err, HONE_ECONFIG,
				"layers: '%s' is no number or range such as 0-3", text);
	}
	return HONE_OK;
}

static int
layer_chosen(const struct layerwise *self, int32_t layer)
{
	for (int64_t i = 0; i < self->layers.n; i++)
		if (range_has(self->layers.items[i], layer))
			return 1;
	return 0;
}

static enum hone_status
layerwise_declare(const void *self, const struct hone_site *site, struct hone_params *params,
	struct hone_error *err)
{
	const struct layerwise *l = self;
	int chosen;

	if (!has_weight(site))
		return HONE_OK;
	if (site->kind == HONE_SITE_EMBED)
		chosen = l->train_embeddings;
	else if (site->layer < 0)
		chosen = l->train_head && (site->kind != HONE_SITE_NORM || l->train_norms);
	else
		chosen = layer_chosen(l, site->layer) &&
			(site->kind != HONE_SITE_NORM || l->train_norms);
	return chosen ? declare_overlays(site, params, err) : HONE_OK;
}

/* The overlay is the merged weight already. */
static enum hone_status
weights_merge(const void *self, const struct hone_build *at, const struct hone_site *site,
	struct hone_merge_io *io, struct hone_error *err)
{
	(void)self;
	(void)site;
	(void)io;
	return hone_graph_status(at->graph, err);
}

static const struct hone_adapter_vt full_vt = {
	.struct_size = sizeof full_vt,
	.flags = HONE_ADAPTER_TRAINS_WEIGHTS,
	.declare = full_declare,
	.merge = weights_merge,
};

static const struct hone_adapter_vt layerwise_vt = {
	.struct_size = sizeof layerwise_vt,
	.flags = HONE_ADAPTER_TRAINS_WEIGHTS,
	.declare = layerwise_declare,
	.merge = weights_merge,
};

static enum hone_status
layerwise_create(const struct hone_host *host, const struct hone_instance_info *info,
	const void *values, void **self, struct hone_error *err)
{
	(void)host;
	(void)info;
	*self = (void *)(uintptr_t)values;
	return check_ranges(values, err);
}

static const struct hone_factory full_factory = {
	.struct_size = sizeof full_factory,
	.role = HONE_ROLE_ADAPTER,
	.name = "full",
	.summary = "train every weight of the model",
	.vt = &full_vt,
};
static const struct hone_factory layerwise_factory = {
	.struct_size = sizeof layerwise_factory,
	.role = HONE_ROLE_ADAPTER,
	.name = "layerwise",
	.summary = "train some layers of the model, and freeze the others",
	.options = &option_table,
	.create = layerwise_create,
	.vt = &layerwise_vt,
};
static const struct hone_factory *const factories[] = {&full_factory, &layerwise_factory};
HONE_PLUGIN(weights, "0.1.0", "Apache-2.0", factories);
