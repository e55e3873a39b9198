/*
 * causal.c - learning the next token: sft and next_token.
 *
 *     loss = sum over learned rows of -log p(labels[i] | rows 0..i) / number of learned rows
 *
 * with the number taken over the whole optimizer step.  The two differ in how a record
 * becomes examples:
 *
 *     sft          one example; of a prompt with completion the completion is learned, of a
 *                  conversation the assistant's turns, of a text everything.  Too long: cut.
 *     next_token   a text is cut into consecutive blocks; nothing is lost, all is learned,
 *                  and two texts never share a block.
 */

#include <hone/objective.h>
#include <hone/plugin.h>

struct sft {
	int32_t completion_only_loss, assistant_only_loss;
	double label_smoothing_factor;
};

#define AT(member) offsetof(struct sft, member)
static const struct hone_option options[] = {
	{"completion_only_loss", HONE_OPTION_BOOL, 0, AT(completion_only_loss), "yes", 0, 0, NULL,
		NULL, "prompt and completion: learn the completion only"},
	{"assistant_only_loss", HONE_OPTION_BOOL, 0, AT(assistant_only_loss), "yes", 0, 0, NULL,
		NULL, "conversations: learn the assistant's turns only"},
	{"label_smoothing_factor", HONE_OPTION_F64, HONE_OPTION_OPEN_MAX,
		AT(label_smoothing_factor), "0", 0, 1, NULL, "label_smoothing",
		"share of the target's probability that is spread over all tokens"},
};
static const struct hone_options option_table = {sizeof(struct hone_option),
	sizeof options / sizeof options[0], sizeof(struct sft), options};

/* Both: one stream, one label per row, one forward, rows with a label selected. */
static enum hone_status
causal_declare(const void *self, struct hone_declare *decl, struct hone_error *err)
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

/* Learned tokens that are a target of some row: the first token never is. */
static int64_t
count_learned(const uint8_t *learned, int64_t n)
{
	int64_t count = 0;

	for (int64_t i = 1; i < n; i++)
		count += learned[i];
	return count;
}

static enum hone_status
sft_prepare(const void *self, struct hone_data *data, const struct hone_record *record,
	struct hone_error *err)
{
	const struct sft *sft = self;
	struct hone_tokens tokens;
	int64_t n, learned;
	enum hone_status st;

	memset(&tokens, 0, sizeof tokens);
	tokens.struct_size = (uint32_t)sizeof tokens;
	st = data->vt->tokenise(data, record,
		(sft->completion_only_loss ? HONE_TOKENISE_COMPLETION_ONLY : 0u) |
			(sft->assistant_only_loss ? HONE_TOKENISE_ASSISTANT_ONLY : 0u),
		&tokens, err);
	if (st)
		return st;
	n = tokens.n;
	if (n > data->vt->max_length(data)) {
		n = data->vt->max_length(data);
		data->vt->count(data, "truncated", 1);
		if (count_learned(tokens.learned, n) < count_learned(tokens.learned, tokens.n))
			data->vt->count(data, "truncated_answers", 1);
	}
	learned = count_learned(tokens.learned, n);
	if (learned == 0) {
		data->vt->count(data, "dropped", 1);
		return HONE_OK;
	}
	st = data->vt->put(data, "ids", HONE_DTYPE_I32, n, tokens.ids, err);
	if (!st)
		st = data->vt->put(data, "learned", HONE_DTYPE_U8, n, tokens.learned, err);
	return st ? st : data->vt->end_example(data, n, learned, err);
}

static enum hone_status
causal_emit(const void *self, struct hone_data *data, const struct hone_example *example,
	struct hone_error *err)
{
	int64_t n = 0;
	const int32_t *ids = data->vt->array(example, "ids", &n);
	const uint8_t *learned = data->vt->array(example, "learned", &n);
	enum hone_status st;

	(void)self;
	st = data->vt->segment(data, "text", "text", n, err);
	if (!st)
		st = data->vt->column(data, "tokens", ids, err);
	return st ? st
		  : data->vt->column(data, "labels", data->vt->labels(data, n, ids, learned), err);
}

/* ---- next_token ---- */

static enum hone_status
next_token_prepare(const void *self, struct hone_data *data, const struct hone_record *record,
	struct hone_error *err)
{
	const int64_t block = data->vt->max_length(data);
	struct hone_tokens tokens;
	enum hone_status st;

	(void)self;
	memset(&tokens, 0, sizeof tokens);
	tokens.struct_size = (uint32_t)sizeof tokens;
	st = data->vt->tokenise(data, record, 0, &tokens, err);
	for (int64_t begin = 0; begin < tokens.n && !st; begin += block) {
		const int64_t n = tokens.n - begin < block ? tokens.n - begin : block;
		const int64_t learned = count_learned(tokens.learned + begin, n);

		if (learned == 0) { /* a block of one token has no target */
			data->vt->count(data, "dropped", 1);
			continue;
		}
		st = data->vt->put(data, "ids", HONE_DTYPE_I32, n, tokens.ids + begin, err);
		if (!st)
			st = data->vt->put(
				data, "learned", HONE_DTYPE_U8, n, tokens.learned + begin, err);
		if (!st)
			st = data->vt->end_example(data, n, learned, err);
	}
	return st;
}

/* ---- loss ---- */

static enum hone_status
build(const struct hone_build *at, double label_smoothing, struct hone_loss *loss,
	struct hone_error *err)
{
	struct hone_graph *g = at->graph;
	const hone_stream text = at->vt->stream(at, "text");
	const hone_node labels = at->vt->selected(at, text, "supervised", "labels");
	const hone_node rows =
		at->vt->select(at, text, "supervised", at->vt->forward(at, "policy"));
	const hone_node logits = at->vt->head(at, "lm", rows); /* [M, V] */
	const hone_node nll = hone_nll(g, logits, labels, label_smoothing);
	const hone_node hit = hone_binary(
		g, hone_reduce_cols(g, logits, HONE_REDUCE_ARGMAX), labels, HONE_BINARY_EQUAL);
	const struct hone_term term = {
		(uint32_t)sizeof term, 0, "nll", hone_sum_rows(g, nll), "text", "supervised", 1.0};
	enum hone_status st = loss->vt->term(loss, &term, err);

	if (!st)
		st = loss->vt->metric(loss, "mean_token_accuracy", hone_sum_rows(g, hit), "text",
			"supervised", err);
	return st ? st : hone_graph_status(g, err);
}

static enum hone_status
sft_build(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	return build(at, ((const struct sft *)self)->label_smoothing_factor, loss, err);
}

static enum hone_status
next_token_build(const void *self, const struct hone_build *at, struct hone_loss *loss,
	struct hone_error *err)
{
	(void)self;
	return build(at, 0.0, loss, err);
}

static const struct hone_objective_vt sft_vt = {
	(uint32_t)sizeof sft_vt, 0, causal_declare, sft_prepare, causal_emit, sft_build};
static const struct hone_objective_vt next_token_vt = {(uint32_t)sizeof next_token_vt, 0,
	causal_declare, next_token_prepare, causal_emit, next_token_build};

static const struct hone_factory sft_factory = {
	.struct_size = sizeof sft_factory,
	.role = HONE_ROLE_OBJECTIVE,
	.name = "sft",
	.summary = "supervised fine-tuning on texts, prompts with completions, conversations",
	.options = &option_table,
	.vt = &sft_vt,
};
static const struct hone_factory next_token_factory = {
	.struct_size = sizeof next_token_factory,
	.role = HONE_ROLE_OBJECTIVE,
	.name = "next_token",
	.summary = "language modelling on texts of any length, in blocks of max_length",
	.vt = &next_token_vt,
};
static const struct hone_factory *const factories[] = {&sft_factory, &next_token_factory};
HONE_PLUGIN(causal, "0.1.0", "Apache-2.0", factories);
