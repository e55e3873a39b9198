/*
 * terms.c - a sound objective with two loss terms, and by -DTERMS_<way> one of another kind.
 *
 *     loss = 0.5 mean nll + 0.01 mean lse(logits)^2        metric mean_nll = mean nll
 *
 * The loss is no mean log-likelihood, its term "nll" is.
 */
#include <hone/objective.h>
#include <hone/plugin.h>

static enum hone_status
terms_declare(const void *self, struct hone_declare *decl, struct hone_error *err)
{
	enum hone_status st = decl->vt->stream(decl, "text", "policy", err);

	(void)self;
	if (!st)
		st = decl->vt->column(
			decl, "text", "labels", HONE_DTYPE_I32, HONE_PER_ROW, HONE_LABEL_NONE, err);
	if (!st)
		st = decl->vt->selection(
			decl, "text", "supervised", "labels", HONE_LABEL_NONE, err);
	if (!st)
		st = decl->vt->forward(decl, "policy", "policy", "text", 0, err);
	return st ? st : decl->vt->head(decl, "lm", 0, err);
}

static enum hone_status
terms_prepare(const void *self, struct hone_data *data, const struct hone_record *record,
	struct hone_error *err)
{
	struct hone_tokens tokens;
	enum hone_status st;

	(void)self;
	memset(&tokens, 0, sizeof tokens);
	tokens.struct_size = (uint32_t)sizeof tokens;
	st = data->vt->tokenise(data, record, 0, &tokens, err);
	if (!st)
		st = data->vt->put(data, "ids", HONE_DTYPE_I32, tokens.n, tokens.ids, err);
	return st ? st : data->vt->end_example(data, tokens.n, tokens.n - 1, err);
}

static enum hone_status
terms_emit(const void *self, struct hone_data *data, const struct hone_example *example,
	struct hone_error *err)
{
	int64_t n = 0;
	const int32_t *ids = data->vt->array(example, "ids", &n);
	enum hone_status st = data->vt->segment(data, "text", "text", n, err);

	(void)self;
	if (!st)
		st = data->vt->column(data, "tokens", ids, err);
	return st ? st
		  : data->vt->column(data, "labels", data->vt->labels(data, n, ids, NULL), err);
}

static enum hone_status
put(struct hone_loss *loss, const char *name, hone_node sum, double coefficient,
	struct hone_error *err)
{
	struct hone_term term = {
		(uint32_t)sizeof term, 0, name, sum, "text", "supervised", coefficient};

#ifdef TERMS_NO_SIZE
	term.struct_size = 0;
#endif
	return loss->vt->term(loss, &term, err);
}

static enum hone_status
terms_build(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	struct hone_graph *g = at->graph;
	const hone_stream text = at->vt->stream(at, "text");
	const hone_node labels = at->vt->selected(at, text, "supervised", "labels");
	const hone_node rows =
		at->vt->select(at, text, "supervised", at->vt->forward(at, "policy"));
	const hone_node logits = at->vt->head(at, "lm", rows);
	const hone_node nll = hone_sum_rows(g, hone_nll(g, logits, labels, 0.0));
	const hone_node lse = hone_reduce_cols(g, logits, HONE_REDUCE_LSE);
	enum hone_status st = HONE_OK;

	(void)self;
#ifndef TERMS_OTHER
	st = put(loss, "nll", nll, 0.5, err);
#endif
	if (!st)
		st = put(loss, "z", hone_sum_rows(g, hone_mul(g, lse, lse)), 0.01, err);
	if (!st)
		st = loss->vt->metric(loss, "mean_nll", nll, "text", "supervised", err);
	return st ? st : hone_graph_status(g, err);
}

static const struct hone_objective_vt terms_vt = {
	(uint32_t)sizeof terms_vt, 0, terms_declare, terms_prepare, terms_emit, terms_build};

static const struct hone_factory terms_factory = {.struct_size = sizeof terms_factory,
	.role = HONE_ROLE_OBJECTIVE,
	.name = "terms",
	.summary = "a likelihood and the size of its normaliser",
	.vt = &terms_vt};

static const struct hone_factory *const factories[] = {&terms_factory};

HONE_PLUGIN(terms, "0.1.0", "Apache-2.0", factories);
