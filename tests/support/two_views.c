/*
 * two_views.c - policy and reference side by side.
 */
#include "two_views.h"

#define BETA 0.7 /* of the sigmoid: large enough to leave the linear part */

static enum hone_status
declare(const void *self, struct hone_declare *decl, struct hone_error *err)
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
	if (!st)
		st = decl->vt->forward(decl, "reference", "base", "text", 0, err);
	return st ? st : decl->vt->head(decl, "lm", 0, err);
}

/* Both views' logits [M,V] of the supervised rows. */
static void
logits_of(const struct hone_build *at, hone_node *policy, hone_node *reference)
{
	const hone_stream text = at->vt->stream(at, "text");

	*policy = at->vt->head(
		at, "lm", at->vt->select(at, text, "supervised", at->vt->forward(at, "policy")));
	*reference = hone_head_of(at, "reference", "lm",
		at->vt->select(at, text, "supervised", at->vt->forward(at, "reference")));
}

static enum hone_status
put_term(const struct hone_build *at, struct hone_loss *loss, const char *name, hone_node rows,
	struct hone_error *err)
{
	const struct hone_term term = {(uint32_t)sizeof term, 0, name,
		hone_sum_rows(at->graph, rows), "text", "supervised", 1.0};
	const enum hone_status st = hone_graph_status(at->graph, err);

	return st ? st : loss->vt->term(loss, &term, err);
}

static hone_node
log_softmax(struct hone_graph *g, hone_node logits)
{
	return hone_sub(g, logits, hone_reduce_cols(g, logits, HONE_REDUCE_LSE));
}

static enum hone_status
build_kl(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	struct hone_graph *g = at->graph;
	hone_node p, q;

	(void)self;
	logits_of(at, &p, &q);
	p = log_softmax(g, p);
	q = log_softmax(g, q);
	return put_term(at, loss, "kl",
		hone_reduce_cols(g,
			hone_mul(g, hone_unary(g, p, HONE_UNARY_EXP), hone_sub(g, p, q)),
			HONE_REDUCE_SUM),
		err);
}

/* -log sigmoid(beta d) for d = log p - log q. */
static hone_node
preference(struct hone_graph *g, hone_node policy_nll, hone_node reference_nll)
{
	const hone_node d = hone_sub(g, reference_nll, policy_nll);

	return hone_scale(g, hone_unary(g, hone_scale(g, d, BETA), HONE_UNARY_LOGSIGMOID), -1.0);
}

static enum hone_status
build_tokens(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	const hone_node labels =
		at->vt->selected(at, at->vt->stream(at, "text"), "supervised", "labels");
	hone_node p, q;

	(void)self;
	logits_of(at, &p, &q);
	return put_term(at, loss, "tokens",
		preference(at->graph, hone_nll(at->graph, p, labels, 0.0),
			hone_nll(at->graph, q, labels, 0.0)),
		err);
}

/* Rows without a label give 0, so the sum over a segment is that of its labels. */
static enum hone_status
build_texts(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	struct hone_graph *g = at->graph;
	const hone_stream text = at->vt->stream(at, "text");
	const hone_node labels = at->vt->column(at, text, "labels");
	const hone_node offsets = at->vt->offsets(at, text);
	const hone_node p = at->vt->head(at, "lm", at->vt->forward(at, "policy"));
	const hone_node q = hone_head_of(at, "reference", "lm", at->vt->forward(at, "reference"));

	(void)self;
	return put_term(at, loss, "texts",
		preference(g,
			hone_segment_reduce(
				g, hone_nll(g, p, labels, 0.0), offsets, HONE_REDUCE_SUM),
			hone_segment_reduce(
				g, hone_nll(g, q, labels, 0.0), offsets, HONE_REDUCE_SUM)),
		err);
}

static enum hone_status
build_nll(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	const hone_node labels =
		at->vt->selected(at, at->vt->stream(at, "text"), "supervised", "labels");
	hone_node p, q;
	enum hone_status st;

	(void)self;
	logits_of(at, &p, &q);
	st = put_term(at, loss, "policy", hone_nll(at->graph, p, labels, 0.0), err);
	return st ? st : put_term(at, loss, "reference", hone_nll(at->graph, q, labels, 0.0), err);
}

/* `rows` of one forward under the head of another. */
static enum hone_status
cross(const struct hone_build *at, struct hone_loss *loss, const char *head, const char *rows,
	struct hone_error *err)
{
	const hone_stream text = at->vt->stream(at, "text");
	const hone_node labels = at->vt->selected(at, text, "supervised", "labels");
	const hone_node x = at->vt->select(at, text, "supervised", at->vt->forward(at, rows));

	return put_term(at, loss, "crossed",
		hone_nll(at->graph,
			head ? hone_head_of(at, head, "lm", x) : at->vt->head(at, "lm", x), labels,
			0.0),
		err);
}

static enum hone_status
build_crossed(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	(void)self;
	return cross(at, loss, NULL, "reference", err);
}

static enum hone_status
build_crossed_back(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	(void)self;
	return cross(at, loss, "reference", "policy", err);
}

#define TWO_VIEWS(build)                                                                           \
	{                                                                                          \
		(uint32_t)sizeof(struct hone_objective_vt), 0, declare, NULL, NULL, build          \
	}

const struct hone_objective_vt two_views_kl = TWO_VIEWS(build_kl);
const struct hone_objective_vt two_views_tokens = TWO_VIEWS(build_tokens);
const struct hone_objective_vt two_views_texts = TWO_VIEWS(build_texts);
const struct hone_objective_vt two_views_nll = TWO_VIEWS(build_nll);
const struct hone_objective_vt two_views_crossed = TWO_VIEWS(build_crossed);
const struct hone_objective_vt two_views_crossed_back = TWO_VIEWS(build_crossed_back);
