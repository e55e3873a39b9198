/*
 * hooks.c - asking the adapters of a view, in the order of the INI, what they do at a site.
 *
 * Every hook is the same walk: the adapters that have it, each with a place (`at`) of its own
 * in which param() finds this instance's parameters and dropout() draws this instance's
 * numbers.  What it may change is one value or one struct, so the walk takes a pointer to it.
 * The first error stays in the graph; the adapters after it then append nothing.
 *
 * What a plugin's function gives back is checked when it returns, and a fault in what it built is
 * the plugin's: the error says whose function it was, at which site, and what the graph saw.
 */
#include "base/crash.h"
#include "graph/build_state.h"

/* ---- whose fault ---- */

void
hn_graph_blame(struct hn_graph *graph, enum hone_status st, const struct hone_error *err,
	const char *who, const char *function, const char *place)
{
	const bool is_built = graph->error.status != 0; /* it stands in the graph already */
	struct hone_error *error = &graph->error;
	char text[sizeof error->text];

	if (st && !is_built && err->text[0])
		hn_graph_fail(graph, st, "%s", err->text);
	else if (st)
		hn_graph_fail(graph, HONE_EPLUGIN, HN_NO_WORD, (int)st);
	if (!error->status || graph->is_blamed)
		return;
	graph->is_blamed = true;
	/* A shape that no op takes.  What the user can change, in the host's words or the
	 * plugin's, stays as it was said. */
	if (error->status == HONE_EBUG || (is_built && error->status == HONE_EINVAL))
		error->status = HONE_EPLUGIN;
	if (error->status != HONE_EPLUGIN)
		return;
	(void)snprintf(text, sizeof text, "%s", error->text);
	(void)snprintf(error->text, sizeof error->text, "[%s] %s(): %.420s", who, function, text);
	if (place)
		(void)snprintf(error->place, sizeof error->place, "%s", place);
}

bool
hn_is_refused_in_hook(const struct hone_build *at, const char *call, const char *whom)
{
	const struct hn_at *here = hn_at_of(at);

	if (here->instance == HN_NO_INSTANCE)
		return false;
	hn_graph_fail(here->builder->graph, HONE_EPLUGIN,
		"%s is for %s; a product with a weight is hone_matmul_nt, with the site's own "
		"hone_product",
		call, whom);
	return true;
}

/* ---- what comes back ---- */

/* A node that a function was to give: rows of the space and as wide as `like`. */
static void
check_like(struct hn_graph *graph, const char *what, hone_node given, hone_node like)
{
	const struct hn_value *a, *b = hn_graph_value(graph, like.id);
	struct hn_str is = {0}, wanted = {0};

	if (graph->error.status || given.id == like.id)
		return;
	hn_value_print(graph, b, &wanted);
	if (given.id == 0 || given.id >= graph->n_values) {
		hn_graph_fail(graph, HONE_EPLUGIN, "%s comes back as no node of this graph, not %s",
			what, wanted.text);
	} else {
		a = hn_graph_value(graph, given.id);
		hn_value_print(graph, a, &is);
		if (a->space != b->space || a->rank != b->rank || a->dim[0] != b->dim[0] ||
			hn_value_cols(a) != hn_value_cols(b) || !hn_is_float(a->dtype))
			hn_graph_fail(graph, HONE_EPLUGIN, "%s comes back as %s, not %s", what,
				is.text, wanted.text);
	}
	hn_str_fini(&is);
	hn_str_fini(&wanted);
}

/* A bias is absent, or one number per output, as a vector or one row. */
static void
check_bias(struct hn_graph *graph, hone_node bias, int64_t n)
{
	const struct hn_value *value;
	struct hn_str is = {0};

	if (graph->error.status || !bias.id)
		return;
	value = hn_graph_value(graph, bias.id < graph->n_values ? bias.id : 0);
	if (!value->rank || value->space || hn_value_elems(value) != n ||
		hn_value_cols(value) != (value->rank == 1 ? 1 : n)) {
		hn_value_print(graph, value->rank ? value : NULL, &is);
		hn_graph_fail(graph, HONE_EPLUGIN,
			"bias comes back as %s, not one number for each of %lld outputs", is.text,
			(long long)n);
	}
	hn_str_fini(&is);
}

/* What one hook may change, before it runs and after. */
union subject {
	hone_node node;
	struct hone_site_io site;
	struct hone_attention_io attention;
	struct hone_merge_io merge;
};

static union subject
subject_of(enum hn_hook hook, const void *subject)
{
	union subject now = {{0}};

	if (hook == HN_HOOK_OUTPUT)
		now.site = *(const struct hone_site_io *)subject;
	else if (hook == HN_HOOK_ATTENTION)
		now.attention = *(const struct hone_attention_io *)subject;
	else if (hook == HN_HOOK_MERGE)
		now.merge = *(const struct hone_merge_io *)subject;
	else
		now.node = *(const hone_node *)subject;
	return now;
}

static void
check_subject(struct hn_graph *graph, enum hn_hook hook, const union subject *before,
	const union subject *now, const struct hone_site *site)
{
	if (graph->error.status)
		return;
	if (hook == HN_HOOK_OUTPUT) {
		check_like(graph, "y", now->site.y, before->site.y);
		check_bias(graph, now->site.bias,
			hn_value_cols(hn_graph_value(graph, before->site.y.id)));
	} else if (hook == HN_HOOK_ATTENTION) {
		check_like(graph, "q", now->attention.q, before->attention.q);
		check_like(graph, "k", now->attention.k, before->attention.k);
		check_like(graph, "v", now->attention.v, before->attention.v);
	} else if (hook == HN_HOOK_MERGE) {
		check_like(graph, "weight", now->merge.weight, before->merge.weight);
		check_bias(graph, now->merge.bias, site->out_features);
	} else {
		check_like(graph, hook == HN_HOOK_INPUT ? "x" : "h", now->node, before->node);
	}
}

/* A bias that the model's file has no place for would be lost on the way. */
static void
check_merged_bias(struct hn_graph *graph, const char *who, const struct hone_site *site,
	const struct hone_merge_io *io)
{
	const struct hn_site *own = (const struct hn_site *)(const void *)site;

	if (!graph->error.status && io->bias.id && own->bias < 0)
		hn_graph_fail(graph, HONE_EUNSUPPORTED,
			"%s has no bias in this model's file: [%s] cannot be merged; use it as an "
			"adapter",
			site->name, who);
}

/* ---- the walk ---- */

static const char *const names[] = {[HN_HOOK_INPUT] = "input",
	[HN_HOOK_OUTPUT] = "output",
	[HN_HOOK_ATTENTION] = "attention",
	[HN_HOOK_HIDDEN] = "hidden",
	[HN_HOOK_MERGE] = "merge"};

/* The function of a hook in one adapter's table, called on its subject.  HONE_OK where the
 * adapter has no such function: it leaves the site alone. */
static enum hone_status
call(enum hn_hook hook, const struct hn_adapter_ref *adapter, const struct hone_build *at,
	const struct hone_site *site, void *subject, struct hone_error *err)
{
	const struct hone_adapter_vt *vt = adapter->vt;

	switch (hook) {
	case HN_HOOK_INPUT: /* hone_node */
		return HONE_HAS(vt, struct hone_adapter_vt, input)
			? vt->input(adapter->self, at, site, subject, err)
			: HONE_OK;
	case HN_HOOK_OUTPUT: /* struct hone_site_io */
		return HONE_HAS(vt, struct hone_adapter_vt, output)
			? vt->output(adapter->self, at, site, subject, err)
			: HONE_OK;
	case HN_HOOK_ATTENTION: /* struct hone_attention_io */
		return HONE_HAS(vt, struct hone_adapter_vt, attention)
			? vt->attention(adapter->self, at, site, subject, err)
			: HONE_OK;
	case HN_HOOK_HIDDEN: /* hone_node */
		return HONE_HAS(vt, struct hone_adapter_vt, hidden)
			? vt->hidden(adapter->self, at, site, subject, err)
			: HONE_OK;
	case HN_HOOK_MERGE: /* struct hone_merge_io: is there, see has_merge */
		return vt->merge(adapter->self, at, site, subject, err);
	}
	return HONE_EBUG;
}

/* There is no merge without every adapter, and an adapter without the function is no matter of
 * one site. */
static bool
has_merge(struct hn_graph *graph, const struct hn_adapter_ref *adapter)
{
	if (HONE_HAS(adapter->vt, struct hone_adapter_vt, merge))
		return true;
	hn_graph_fail(graph, HONE_EUNSUPPORTED,
		"[%s] has no merge(), so it stays an adapter: export it without --merge",
		adapter->section);
	graph->error.place[0] = '\0';
	return false;
}

void
hn_hooks_run(const struct hn_at *at, enum hn_hook hook, const struct hone_site *site, void *subject)
{
	const struct hn_build_request *request = at->builder->request;

	if (at->is_merged) /* what they would do is in the weights */
		return;
	for (uint32_t i = 0; at->has_adapters && i < request->n_adapters; i++) {
		struct hn_graph *graph = at->builder->graph;
		const union subject before = subject_of(hook, subject);
		struct hn_at here = *at;
		struct hone_error err = {0};
		struct hn_call under_way;
		union subject now;
		enum hone_status st;

		if (graph->error.status ||
			(hook == HN_HOOK_MERGE && !has_merge(graph, &request->adapters[i])))
			return;
		here.instance = i;
		hn_call_begin(&under_way, request->adapters[i].section, names[hook], site->name);
		st = call(hook, &request->adapters[i], &here.pub, site, subject, &err);
		hn_call_end(&under_way);
		now = subject_of(hook, subject);
		if (!st)
			check_subject(graph, hook, &before, &now, site);
		if (!st && hook == HN_HOOK_MERGE)
			check_merged_bias(graph, request->adapters[i].section, site, &now.merge);
		hn_graph_blame(
			graph, st, &err, request->adapters[i].section, names[hook], site->name);
	}
}
