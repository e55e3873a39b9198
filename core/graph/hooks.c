/*
 * hooks.c - asking the adapters of a view, in the order of the INI, what they do at a site.
 *
 * Every hook is the same walk: the adapters that have it, each with a place (`at`) of its own
 * in which param() finds this instance's parameters and dropout() draws this instance's
 * numbers.  What it may change is one value or one struct, so the walk takes a pointer to it.
 * The first error stays in the graph; the adapters after it then append nothing.
 */
#include "graph/build_state.h"

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
	case HN_HOOK_MERGE: /* struct hone_merge_io: there is no merge without every adapter */
		return HONE_HAS(vt, struct hone_adapter_vt, merge)
			? vt->merge(adapter->self, at, site, subject, err)
			: hone_fail(err, HONE_EUNSUPPORTED, "%s cannot be merged into weights",
				  adapter->section);
	}
	return HONE_EBUG;
}

void
hn_hooks_run(const struct hn_at *at, enum hn_hook hook, const struct hone_site *site, void *subject)
{
	const struct hn_build_request *request = at->builder->request;

	if (at->is_merged) /* what they would do is in the weights */
		return;
	for (uint32_t i = 0; at->has_adapters && i < request->n_adapters; i++) {
		struct hn_at here = *at;
		struct hone_error err = {0};
		enum hone_status st;

		here.instance = i;
		st = call(hook, &request->adapters[i], &here.pub, site, subject, &err);
		if (st)
			hn_graph_fail(at->builder->graph, st, "%s", err.text);
	}
}
