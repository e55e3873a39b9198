/*
 * llama.c - the Llama family: RMSNorm, rotary positions, grouped queries, SwiGLU.
 *
 *     h  = embed(ids)
 *     h += o(attention(rope(q(n)), rope(k(n)), v(n)))    n = rms_norm(h)
 *     h += down(silu(gate(m)) up(m))                     m = rms_norm(h)
 *     logits = lm_head(rms_norm(h))
 *
 * Touvron et al. 2023, arXiv:2302.13971; grouped queries: Ainslie et al. 2023,
 * arXiv:2305.13245; RoPE: Su et al. 2021, arXiv:2104.09864.  Everything is read from the
 * model's configuration; nothing is kept.  Rotation follows the order in which the file
 * stores the rows of q and k, which the site knows.
 */
#include <math.h>

#include <hone/architecture.h>
#include <hone/plugin.h>

struct config {
	int64_t D, F, V, L; /* hidden, feed-forward, vocabulary, layers */
	int64_t H, G, K;    /* heads, key/value heads, head width */
	double eps, theta;
	int32_t is_tied;
};

/* ---- configuration ---- */

static enum hone_status
read_i64(const struct hone_model *model, const char *key, int64_t absent, int64_t *out,
	struct hone_error *err)
{
	const enum hone_status st = model->vt->config_i64(model, key, out, err);

	if (st != HONE_ENOTFOUND || absent < 0)
		return st == HONE_ENOTFOUND
			? hone_fail(err, HONE_EMODEL, "the configuration has no '%s'", key)
			: st;
	*out = absent;
	return HONE_OK;
}

static enum hone_status
read_f64(const struct hone_model *model, const char *key, double absent, double *out,
	struct hone_error *err)
{
	const enum hone_status st = model->vt->config_f64(model, key, out, err);

	if (st != HONE_ENOTFOUND)
		return st;
	*out = absent;
	return HONE_OK;
}

static enum hone_status
read_config(const struct hone_model *model, struct config *c, struct hone_error *err)
{
	enum hone_status st = read_i64(model, "hidden_size", -1, &c->D, err);

	if (!st)
		st = read_i64(model, "intermediate_size", -1, &c->F, err);
	if (!st)
		st = read_i64(model, "vocab_size", -1, &c->V, err);
	if (!st)
		st = read_i64(model, "num_hidden_layers", -1, &c->L, err);
	if (!st)
		st = read_i64(model, "num_attention_heads", -1, &c->H, err);
	if (!st)
		st = read_i64(model, "num_key_value_heads", c->H, &c->G, err);
	if (!st)
		st = read_i64(model, "head_dim", c->H > 0 ? c->D / c->H : 0, &c->K, err);
	if (!st)
		st = read_f64(model, "rms_norm_eps", 1e-6, &c->eps, err);
	if (!st)
		st = read_f64(model, "rope_theta", 10000.0, &c->theta, err);
	if (!st) {
		c->is_tied = 0;
		st = model->vt->config_bool(model, "tie_word_embeddings", &c->is_tied, err);
		st = st == HONE_ENOTFOUND ? HONE_OK : st;
	}
	if (!st &&
		(c->D < 1 || c->F < 1 || c->V < 1 || c->L < 1 || c->H < 1 || c->G < 1 || c->K < 2 ||
			c->K > 256 || c->K % 2 || c->H % c->G))
		st = hone_fail(
			err, HONE_EMODEL, "sizes in the configuration do not fit each other");
	return st;
}

/* What the configuration may ask for and this file does not build. */
static enum hone_status
refuse_unknown(const struct hone_model *model, struct hone_error *err)
{
	static const char *const flags[] = {"attention_bias", "mlp_bias"};
	struct hone_error ignored;
	const char *text = NULL;
	int32_t value = 0;
	double number = 0.0;

	memset(&ignored, 0, sizeof ignored);
	for (int i = 0; i < 2; i++)
		if (!model->vt->config_bool(model, flags[i], &value, &ignored) && value)
			return hone_fail(
				err, HONE_EUNSUPPORTED, "%s = true is not offered", flags[i]);
	if (!model->vt->config_string(model, "hidden_act", &text, &ignored) &&
		strcmp(text, "silu") != 0)
		return hone_fail(
			err, HONE_EUNSUPPORTED, "hidden_act = %s; only silu is offered", text);
	if (!model->vt->config_f64(model, "attention_dropout", &number, &ignored) && number > 0.0)
		return hone_fail(
			err, HONE_EUNSUPPORTED, "attention_dropout = %g is not offered", number);
	if (!model->vt->config_f64(model, "partial_rotary_factor", &number, &ignored) &&
		number < 1.0)
		return hone_fail(err, HONE_EUNSUPPORTED,
			"partial_rotary_factor = %g is not offered", number);
	return HONE_OK;
}

/* ---- sites ---- */

struct row {
	int32_t kind;
	const char *name, *gguf, *role;
	int64_t in, out;
	int32_t order;
};

static enum hone_status
declare_row(struct hone_sites *sites, const struct config *c, int32_t layer, const struct row *row,
	uint32_t flags, const char *tied_to, struct hone_error *err)
{
	struct hone_site_spec spec;
	char name[128], gguf[64];

	memset(&spec, 0, sizeof spec);
	if (layer < 0) {
		(void)snprintf(name, sizeof name, "%s", row->name);
		(void)snprintf(gguf, sizeof gguf, "%s", row->gguf);
	} else {
		(void)snprintf(name, sizeof name, "model.layers.%d.%s", (int)layer, row->name);
		(void)snprintf(gguf, sizeof gguf, "blk.%d.%s", (int)layer, row->gguf);
	}
	spec.struct_size = (uint32_t)sizeof spec;
	spec.kind = row->kind;
	spec.flags = flags;
	spec.layer = layer;
	spec.name = name;
	spec.gguf_name = gguf;
	spec.role = row->role;
	spec.tied_to = tied_to;
	spec.in_features = row->in;
	spec.out_features = row->out;
	spec.n_heads = c->H;
	spec.n_kv_heads = c->G;
	spec.head_dim = c->K;
	spec.gguf_row_order = row->order;
	return hone_sites_declare(sites, &spec, err);
}

static enum hone_status
declare_layer(
	struct hone_sites *sites, const struct config *c, int32_t layer, struct hone_error *err)
{
	const int64_t q = c->H * c->K, kv = c->G * c->K;
	const struct row rows[] = {
		{HONE_SITE_NORM, "input_layernorm", "attn_norm", "norm.attn", c->D, c->D, 0},
		{HONE_SITE_LINEAR, "self_attn.q_proj", "attn_q", "attn.q", c->D, q,
			HONE_ROWS_ROPE_INTERLEAVED},
		{HONE_SITE_LINEAR, "self_attn.k_proj", "attn_k", "attn.k", c->D, kv,
			HONE_ROWS_ROPE_INTERLEAVED},
		{HONE_SITE_LINEAR, "self_attn.v_proj", "attn_v", "attn.v", c->D, kv, 0},
		{HONE_SITE_ATTENTION, "self_attn", "attn", "attn", 0, 0, 0},
		{HONE_SITE_LINEAR, "self_attn.o_proj", "attn_output", "attn.o", q, c->D, 0},
		{HONE_SITE_NORM, "post_attention_layernorm", "ffn_norm", "norm.mlp", c->D, c->D, 0},
		{HONE_SITE_LINEAR, "mlp.gate_proj", "ffn_gate", "mlp.gate", c->D, c->F, 0},
		{HONE_SITE_LINEAR, "mlp.up_proj", "ffn_up", "mlp.up", c->D, c->F, 0},
		{HONE_SITE_LINEAR, "mlp.down_proj", "ffn_down", "mlp.down", c->F, c->D, 0},
		{HONE_SITE_STREAM, "output", "layer_output", "stream", c->D, c->D, 0},
	};
	enum hone_status st = HONE_OK;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0] && !st; i++)
		st = declare_row(sites, c, layer, &rows[i], 0, NULL, err);
	return st;
}

static enum hone_status
llama_declare(const void *self, const struct hone_model *model, struct hone_sites *sites,
	struct hone_error *err)
{
	struct config c;
	enum hone_status st = read_config(model, &c, err);

	(void)self;
	if (!st)
		st = refuse_unknown(model, err);
	if (!st) {
		const struct row embed = {HONE_SITE_EMBED, "model.embed_tokens", "token_embd",
			"embed.token", c.V, c.D, 0};

		st = declare_row(sites, &c, -1, &embed, 0, NULL, err);
	}
	for (int32_t i = 0; i < c.L && !st; i++)
		st = declare_layer(sites, &c, i, err);
	if (!st) {
		const struct row norm = {
			HONE_SITE_NORM, "model.norm", "output_norm", "norm.final", c.D, c.D, 0};

		st = declare_row(sites, &c, -1, &norm, 0, NULL, err);
	}
	if (!st) {
		const struct row head = {
			HONE_SITE_LINEAR, "lm_head", "output", "lm_head", c.D, c.V, 0};

		st = declare_row(sites, &c, -1, &head, HONE_SITE_HEAD,
			c.is_tied ? "model.embed_tokens" : NULL, err);
	}
	return st;
}

/* ---- rotary positions ---- */

/* Llama 3's scaling: long wavelengths are divided by `factor`, short ones stay, those
 * between are mixed (Meta's reference code, use_scaled_rope). */
static enum hone_status
scale_llama3(
	const struct hone_model *model, struct hone_attr_rope_table *table, struct hone_error *err)
{
	double factor = 8.0, low = 1.0, high = 4.0, original = 8192.0;
	enum hone_status st = read_f64(model, "rope_scaling.factor", factor, &factor, err);

	if (!st)
		st = read_f64(model, "rope_scaling.low_freq_factor", low, &low, err);
	if (!st)
		st = read_f64(model, "rope_scaling.high_freq_factor", high, &high, err);
	if (!st)
		st = read_f64(model, "rope_scaling.original_max_position_embeddings", original,
			&original, err);
	for (int64_t j = 0; j < table->n && !st; j++) {
		const double wavelength = 2.0 * 3.14159265358979323846 / table->inv_freq[j];
		const double smooth = (original / wavelength - low) / (high - low);

		if (wavelength > original / low)
			table->inv_freq[j] /= factor;
		else if (wavelength >= original / high)
			table->inv_freq[j] *= (1.0 - smooth) / factor + smooth;
	}
	return st;
}

/* GGUF files may carry the divisor of every frequency instead of how it came about. */
static enum hone_status
apply_stored_factors(
	const struct hone_model *model, struct hone_attr_rope_table *table, struct hone_error *err)
{
	struct hone_error ignored;
	double factors[128];
	uint32_t n = 0;

	memset(&ignored, 0, sizeof ignored);
	if (model->vt->tensor(model, "rope_freqs.weight", 128, factors, &n, &ignored))
		return HONE_OK;
	if ((int64_t)n != table->n)
		return hone_fail(err, HONE_EMODEL, "rope_freqs.weight holds %u factors, not %lld",
			n, (long long)table->n);
	for (uint32_t j = 0; j < n; j++) {
		if (!(factors[j] > 0.0))
			return hone_fail(
				err, HONE_EMODEL, "rope_freqs.weight[%u] is %g", j, factors[j]);
		table->inv_freq[j] /= factors[j];
	}
	return HONE_OK;
}

static enum hone_status
apply_scaling(
	const struct hone_model *model, struct hone_attr_rope_table *table, struct hone_error *err)
{
	struct hone_error ignored;
	const char *type = "default";
	double factor = 1.0;
	enum hone_status st;

	memset(&ignored, 0, sizeof ignored);
	st = model->vt->config_string(model, "rope_scaling.rope_type", &type, &ignored);
	if (st == HONE_ENOTFOUND)
		return apply_stored_factors(model, table, err);
	if (!st && strcmp(type, "default") == 0)
		return HONE_OK;
	if (!st && strcmp(type, "llama3") == 0)
		return scale_llama3(model, table, err);
	if (!st && strcmp(type, "linear") == 0) {
		st = read_f64(model, "rope_scaling.factor", 1.0, &factor, err);
		for (int64_t j = 0; j < table->n && !st; j++)
			table->inv_freq[j] /= factor;
		return st;
	}
	return hone_fail(err, HONE_EUNSUPPORTED,
		"rope_scaling type '%s' is not offered (default, linear, llama3 are)", type);
}

static hone_node
rope_table(const struct hone_build *at, const struct config *c, hone_stream stream,
	enum hone_status *st, struct hone_error *err)
{
	struct hone_attr_rope_table table;

	memset(&table, 0, sizeof table);
	table.n = c->K / 2;
	table.scale = 1.0;
	for (int64_t j = 0; j < table.n; j++)
		table.inv_freq[j] = pow(c->theta, -2.0 * (double)j / (double)c->K);
	*st = apply_scaling(at->model, &table, err);
	return hone_node_make(at->graph, HONE_OP_ROPE_TABLE, at->vt->positions(at, stream),
		hone_node_none(), hone_node_none(), &table, (uint32_t)sizeof table);
}

static hone_node
rotate(const struct hone_build *at, const struct config *c, const struct hone_site *site,
	hone_node x, hone_node table)
{
	const struct hone_attr_rope attr = {c->K,
		site->row_order == HONE_ROWS_ROPE_INTERLEAVED ? HONE_ROPE_INTERLEAVED
							      : HONE_ROPE_HALVES,
		0};

	return hone_node_make(
		at->graph, HONE_OP_ROPE, x, table, hone_node_none(), &attr, (uint32_t)sizeof attr);
}

/* ---- body and head ---- */

static hone_node
attention(const struct hone_build *at, const struct config *c, hone_stream stream, int32_t layer,
	hone_node n, hone_node table)
{
	const struct hone_site *q = at->vt->site(at, "attn.q", layer);
	const struct hone_site *k = at->vt->site(at, "attn.k", layer);
	struct hone_attention_io io;

	memset(&io, 0, sizeof io);
	io.struct_size = (uint32_t)sizeof io;
	io.causal = 1;
	io.q = rotate(at, c, q, hone_linear(at, q, n), table);
	io.k = rotate(at, c, k, hone_linear(at, k, n), table);
	io.v = hone_linear(at, at->vt->site(at, "attn.v", layer), n);
	io.q_stream = io.kv_stream = stream;
	io.scale = 1.0 / sqrt((double)c->K);
	return hone_linear(at, at->vt->site(at, "attn.o", layer),
		at->vt->attention(at, at->vt->site(at, "attn", layer), &io));
}

static hone_node
feed_forward(const struct hone_build *at, int32_t layer, hone_node m)
{
	struct hone_graph *g = at->graph;
	const hone_node gate = hone_linear(at, at->vt->site(at, "mlp.gate", layer), m);
	const hone_node up = hone_linear(at, at->vt->site(at, "mlp.up", layer), m);

	return hone_linear(at, at->vt->site(at, "mlp.down", layer),
		hone_mul(g, hone_unary(g, gate, HONE_UNARY_SILU), up));
}

static enum hone_status
llama_body(const void *self, const struct hone_build *at, hone_stream stream, hone_node *hidden,
	struct hone_error *err)
{
	struct hone_graph *g = at->graph;
	struct config c;
	enum hone_status st = read_config(at->model, &c, err);
	hone_node h, table;

	(void)self;
	if (st)
		return st;
	table = rope_table(at, &c, stream, &st, err);
	if (st)
		return st;
	h = at->vt->embed(
		at, at->vt->site(at, "embed.token", -1), stream, at->vt->tokens(at, stream));
	for (int32_t i = 0; i < c.L; i++) {
		hone_node n = hone_norm(at, at->vt->site(at, "norm.attn", i), h, c.eps), m;

		h = hone_add(g, h, attention(at, &c, stream, i, n, table));
		m = hone_norm(at, at->vt->site(at, "norm.mlp", i), h, c.eps);
		h = hone_add(g, h, feed_forward(at, i, m));
		h = at->vt->hidden(at, at->vt->site(at, "stream", i), stream, h);
	}
	*hidden = h;
	return hone_graph_status(g, err);
}

/* The last norm belongs to the head: it is then computed for selected rows only. */
static enum hone_status
llama_head(const void *self, const struct hone_build *at, const char *kind, hone_node rows,
	hone_node *out, struct hone_error *err)
{
	struct config c;
	const enum hone_status st = read_config(at->model, &c, err);

	(void)self;
	if (st)
		return st;
	if (strcmp(kind, "lm") != 0)
		return hone_fail(err, HONE_EUNSUPPORTED, "llama has no head '%s'", kind);
	*out = hone_linear(at, at->vt->site(at, "lm_head", -1),
		hone_norm(at, at->vt->site(at, "norm.final", -1), rows, c.eps));
	return hone_graph_status(at->graph, err);
}

static const struct hone_architecture_vt llama_vt = {
	sizeof(struct hone_architecture_vt), 0, "llama", llama_declare, llama_body, llama_head};

static const struct hone_factory llama_factory = {
	.struct_size = sizeof llama_factory,
	.role = HONE_ROLE_ARCHITECTURE,
	.name = "llama",
	.summary = "Llama and its relatives (SmolLM2, Llama 3, TinyLlama)",
	.vt = &llama_vt,
};
static const struct hone_factory *const factories[] = {&llama_factory};
HONE_PLUGIN(llama, "0.1.0", "Apache-2.0", factories);
