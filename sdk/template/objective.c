/*
 * my_objective.c - an objective that teaches nothing: copy it, rename it, write the loss.
 *
 *     loss = c sum over learned rows of -log p(labels[i] | rows 0..i) / number of learned rows
 *
 * with c = 0: every step of the way of the data is there, and no weight moves.  The four
 * functions in the order in which the host calls them: declare once, prepare once per record,
 * emit once per example and epoch, build once per program.  hone/objective.h says the rest.
 */
#include <hone/objective.h>
#include <hone/plugin.h>

/* The values of the section, written by the host: they are what the functions get as `self`.
 * A factory with a create makes something of its own from them, and frees it in destroy. */
struct my_objective {
	double coefficient; /* c */
};

static const struct hone_option options[] = {
	{
		.key = "coefficient",
		.type = HONE_OPTION_F64,
		.offset = offsetof(struct my_objective, coefficient),
		.default_value = "0",
		.min = 0,
		.max = 1000,
		.help = "factor of the loss",
	},
};

static const struct hone_options option_table = {
	sizeof(struct hone_option),
	sizeof options / sizeof options[0],
	sizeof(struct my_objective),
	options,
};

/* One stream of tokens, a label per row, the rows that have one, a forward, a head. */
static enum hone_status
my_objective_declare(const void *self, struct hone_declare *decl, struct hone_error *err)
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

/* A record becomes one example, cut to max_length.  Everything that needs the tokenizer is
 * here; the result is cached. */
static enum hone_status
my_objective_prepare(const void *self, struct hone_data *data, const struct hone_record *record,
	struct hone_error *err)
{
	struct hone_tokens tokens = {.struct_size = sizeof tokens};
	enum hone_status st = data->vt->tokenise(data, record, 0, &tokens, err);
	int64_t n = tokens.n, n_learned = 0;

	(void)self;
	if (st)
		return st;
	if (n > data->vt->max_length(data)) {
		n = data->vt->max_length(data);
		data->vt->count(data, "truncated", 1);
	}
	for (int64_t i = 1; i < n; i++)
		n_learned += tokens.learned[i];
	if (!n_learned) {
		data->vt->count(data, "dropped", 1);
		return HONE_OK;
	}
	st = data->vt->put(data, "ids", HONE_DTYPE_I32, n, tokens.ids, err);
	if (!st)
		st = data->vt->put(data, "learned", HONE_DTYPE_U8, n, tokens.learned, err);
	return st ? st : data->vt->end_example(data, n, n_learned, err);
}

/* An example becomes segments with columns, anew in each epoch: masks and noise belong here. */
static enum hone_status
my_objective_emit(const void *self, struct hone_data *data, const struct hone_example *example,
	struct hone_error *err)
{
	int64_t n = 0;
	const int32_t *ids = data->vt->array(example, "ids", &n);
	const uint8_t *learned = data->vt->array(example, "learned", &n);
	enum hone_status st = data->vt->segment(data, "text", "text", n, err);

	(void)self;
	if (!st)
		st = data->vt->column(data, "tokens", ids, err);
	if (st)
		return st;
	return data->vt->column(data, "labels", data->vt->labels(data, n, ids, learned), err);
}

/* The loss of a micro-batch: a sum, and the column whose count is its denominator. */
static enum hone_status
my_objective_build(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	const struct my_objective *my = self;
	struct hone_graph *g = at->graph;
	const hone_stream text = at->vt->stream(at, "text");
	const hone_node labels = at->vt->selected(at, text, "supervised", "labels"); /* [M] */
	const hone_node hidden = at->vt->forward(at, "policy");                      /* [N, D] */
	const hone_node rows = at->vt->select(at, text, "supervised", hidden);       /* [M, D] */
	const hone_node logits = at->vt->head(at, "lm", rows);                       /* [M, V] */
	const struct hone_term term = {
		.struct_size = sizeof term,
		.name = "nll",
		.sum = hone_sum_rows(g, hone_nll(g, logits, labels, 0.0)),
		.stream = "text",
		.weight = "supervised",
		.coefficient = my->coefficient,
	};
	enum hone_status st = loss->vt->term(loss, &term, err);

	return st ? st : hone_graph_status(g, err);
}

static const struct hone_objective_vt my_objective_vt = {
	.struct_size = sizeof my_objective_vt,
	.declare = my_objective_declare,
	.prepare = my_objective_prepare,
	.emit = my_objective_emit,
	.build = my_objective_build,
};

static const struct hone_factory my_objective_factory = {
	.struct_size = sizeof my_objective_factory,
	.role = HONE_ROLE_OBJECTIVE,
	.name = "my_objective",
	.summary = "next tokens with a loss of 0",
	.options = &option_table,
	.vt = &my_objective_vt,
};

static const struct hone_factory *const factories[] = {&my_objective_factory};

HONE_PLUGIN(my_objective, "0.1.0", "Apache-2.0", factories);
