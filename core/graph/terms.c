/*
 * terms.c - what an objective hands back: the numerators of its loss terms and metrics.
 */
#include "graph/build_state.h"

static enum hone_status
fail_no_sum(const struct hn_builder *b, const char *name, const struct hn_value *value,
	struct hone_error *err)
{
	struct hn_str is = {0};
	enum hone_status st;

	hn_value_print(b->graph, value, &is);
	st = hone_fail(err, HONE_EPLUGIN,
		"term '%s' is %s, but a term is one number: hone_sum_rows of one column", name,
		is.text);
	hn_str_fini(&is);
	return st;
}

/* A numerator is one number per micro-batch, whatever rows it was summed over. */
static enum hone_status
add_term(struct hn_builder *b, const char *name, hone_node sum, const char *stream,
	const char *weight, double coefficient, bool is_metric, struct hone_error *err)
{
	const struct hn_value *value = hn_graph_value(b->graph, sum.id);

	if (b->graph->error.status)
		return hone_graph_status(&b->graph->base, err);
	if (!value->rank || value->space || hn_value_elems(value) != 1)
		return fail_no_sum(b, name, value->rank ? value : NULL, err);
	b->terms = hn_grow(b->terms, &b->cap_terms, b->n_terms + 1u, sizeof *b->terms);
	b->term_nodes =
		hn_grow(b->term_nodes, &b->cap_term_nodes, b->n_terms + 1u, sizeof *b->term_nodes);
	b->terms[b->n_terms] = (struct hn_term){hn_arena_strdup(&b->graph->arena, name),
		hn_arena_strdup(&b->graph->arena, stream),
		hn_arena_strdup(&b->graph->arena, weight), coefficient, is_metric};
	b->term_nodes[b->n_terms++] = sum;
	return HONE_OK;
}

static enum hone_status
loss_term(struct hone_loss *base, const struct hone_term *term, struct hone_error *err)
{
	if (term->struct_size < sizeof *term)
		return hone_fail(err, HONE_EPLUGIN,
			"a term's struct_size is %u, expected at least %zu; set it to "
			"sizeof(struct hone_term)",
			term->struct_size, sizeof *term);
	return add_term(((struct hn_loss *)(void *)base)->builder, term->name, term->sum,
		term->stream, term->weight, term->coefficient, false, err);
}

/* In training metrics are not built: nobody would read them, and an argmax over all
 * logits costs a pass. */
static enum hone_status
loss_metric(struct hone_loss *base, const char *name, hone_node sum, const char *stream,
	const char *weight, struct hone_error *err)
{
	struct hn_builder *b = ((struct hn_loss *)(void *)base)->builder;

	if (b->request->mode == HN_BUILD_TRAIN) /* metrics are for evaluation */
		return HONE_OK;
	return add_term(b, name, sum, stream, weight, 1.0, true, err);
}

static const struct hone_loss_vt loss_vt = {
	.struct_size = sizeof loss_vt, .term = loss_term, .metric = loss_metric};

/* The object that an objective's build() puts its terms into. */
struct hn_loss
hn_loss_make(struct hn_builder *b)
{
	return (struct hn_loss){{&loss_vt}, b};
}
