/*
 * generate.c - admitting prompts, prefill in blocks, decoding, and the end of a sequence.
 *
 *     while anything waits or lives:
 *         rows that a text shares with an earlier one are copied when they are there
 *         waiting prompts take free regions, lowest first
 *         prefill until every text but its newest token is in the cache
 *         decode one row per sequence
 *
 * A run of either program is the same thing: for some sequences, the rows of their text that
 * are not in the cache yet, and logits for those whose last token is among them.  A decoding
 * step is only the case in which that is one row each.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model/damage.h"
#include "train/generate.h"

/* A common beginning shorter than SHARED_MIN is not worth a run of its own. */
enum { PREFILL_ROWS = 256, SHARED_MIN = 16 };

const char *
hn_finish_name(enum hn_finish finish)
{
	return finish == HN_FINISH_STOP ? "stop" : "length";
}

/* ---- making ---- */

static enum hone_status
add_program(struct hn_generator *g, struct hn_program *program, const char *name, int64_t rows,
	const struct hn_build_request *request, struct hone_error *err)
{
	struct hn_build_request wanted = *request;
	struct hn_build_result result;
	struct hn_graph graph;
	enum hone_status st;

	wanted.mode = HN_BUILD_DECODE;
	wanted.objective = NULL;
	wanted.layout = NULL;
	wanted.recomputes = false;
	wanted.capacity = (struct hn_capacity){.rows = rows,
		.segments = g->capacity.sequences,
		.longest = g->capacity.longest,
		.selected = g->capacity.sequences,
		.cache_rows = g->capacity.sequences * g->capacity.longest};
	st = hn_build(&wanted, &graph, &result, err);
	if (st) {
		hn_graph_fini(&graph);
		return st;
	}
	return hn_engine_add(g->engine, program, name, &graph, rows, err);
}

static int64_t
width_of_logits(const struct hn_program *program)
{
	const struct hn_graph *graph = &program->graph;

	for (uint32_t i = 0; i < graph->n_outputs; i++)
		if (!graph->outputs[i].leaf && hn_streq(graph->outputs[i].name, "logits"))
			return hn_value_cols(hn_graph_value(graph, graph->outputs[i].value));
	return 0;
}

static void
make_memory(struct hn_generator *g)
{
	const size_t S = (size_t)g->capacity.sequences, L = (size_t)g->capacity.longest;

	g->sequences = hn_alloc(S * sizeof *g->sequences);
	g->ids = hn_alloc(S * L * sizeof *g->ids);
	g->asking = hn_alloc(S * sizeof *g->asking);
	g->logits = hn_alloc(S * (size_t)(g->vocabulary * hone_dtype_bytes(g->engine->compute)));
	hn_sampler_init(&g->sampler, g->vocabulary);
	for (size_t s = 0; s < S; s++) {
		g->sequences[s] = (struct hn_sequence){.prompt = -1, .donor = -1};
		g->sequences[s].ids = g->ids + s * L;
	}
}

enum hone_status
hn_generator_init(struct hn_generator *generator, struct hn_engine *engine,
	const struct hn_build_request *request, const struct hn_generate_capacity *capacity,
	struct hone_error *err)
{
	struct hn_generate_capacity *c = &generator->capacity;
	enum hone_status st;

	memset(generator, 0, sizeof *generator);
	generator->engine = engine;
	*c = *capacity;
	if (c->sequences < 1 || c->longest < 2 || c->longest > INT32_MAX / c->sequences)
		return hone_fail(err, HONE_EINVAL,
			"%" PRId64 " sequences of %" PRId64
			" tokens: a cache has from 2 to %d rows",
			c->sequences, c->longest, INT32_MAX);
	if (c->prefill_rows <= 0)
		c->prefill_rows = PREFILL_ROWS;
	if (c->prefill_rows > c->sequences * c->longest)
		c->prefill_rows = c->sequences * c->longest;
	st = add_program(generator, &generator->prefill, "prefill", c->prefill_rows, request, err);
	if (!st)
		st = add_program(
			generator, &generator->decode, "decode", c->sequences, request, err);
	if (st)
		return st;
	generator->vocabulary = width_of_logits(&generator->decode);
	make_memory(generator);
	return HONE_OK;
}

void
hn_generator_fini(struct hn_generator *generator)
{
	free(generator->sequences);
	free(generator->ids);
	free(generator->asking);
	free(generator->logits);
	hn_sampler_fini(&generator->sampler);
	generator->sequences = NULL;
	generator->ids = NULL;
	generator->asking = NULL;
	generator->logits = NULL;
}

/* ---- one run of a program ---- */

struct bound {
	int64_t n_rows, n_segments, n_asking;
};

/* Columns of a program; those that nothing reads are NULL. */
struct columns {
	int32_t *tokens, *positions, *cache_rows, *offsets, *ranges, *last;
};

static struct columns
find_columns(const struct hn_program *program)
{
	return (struct columns){.tokens = hn_program_column(program, "text.tokens"),
		.positions = hn_program_column(program, "text.positions"),
		.cache_rows = hn_program_column(program, "text.cache_rows"),
		.offsets = hn_program_column(program, "text.offsets"),
		.ranges = hn_program_column(program, "text.ranges"),
		.last = hn_program_column(program, "text.last.index")};
}

static void
put(int32_t *column, int64_t i, int64_t value)
{
	if (column)
		column[i] = (int32_t)value;
}

/* Takes rows of sequence s, as many as are new and as fit, as one segment. */
static void
bind_sequence(struct hn_generator *g, const struct columns *c, int64_t s, int64_t rows,
	struct bound *bound)
{
	struct hn_sequence *sequence = &g->sequences[s];
	const int64_t base = s * g->capacity.longest, room = rows - bound->n_rows;
	int64_t n = sequence->n - sequence->n_in;

	n = n < room ? n : room;
	for (int64_t i = 0; i < n; i++) {
		const int64_t position = sequence->n_in + i, row = bound->n_rows + i;

		put(c->tokens, row, sequence->ids[position]);
		put(c->positions, row, position);
		put(c->cache_rows, row, base + position);
	}
	sequence->n_in += n;
	bound->n_rows += n;
	put(c->ranges, 2 * bound->n_segments, base);
	put(c->ranges, 2 * bound->n_segments + 1, base + sequence->n_in);
	put(c->offsets, ++bound->n_segments, bound->n_rows);
	if (sequence->n_in == sequence->n) {
		put(c->last, bound->n_asking, bound->n_rows - 1);
		g->asking[bound->n_asking++] = s;
	}
}

/* Runs what is new of the sequences, in their order, as far as `rows` go. */
static enum hone_status
run_rows(struct hn_generator *g, struct hn_program *program, int64_t rows, int64_t *n_asking,
	struct hone_error *err)
{
	const struct columns columns = find_columns(program);
	struct bound bound = {0};
	enum hone_status st;

	put(columns.offsets, 0, 0);
	for (int64_t s = 0; s < g->capacity.sequences && bound.n_rows < rows; s++)
		if (g->sequences[s].prompt >= 0 && g->sequences[s].donor < 0 &&
			g->sequences[s].n_in < g->sequences[s].n)
			bind_sequence(g, &columns, s, rows, &bound);
	hn_program_set_live(program, "text", bound.n_rows);
	hn_program_set_live(program, "text.segments", bound.n_segments);
	hn_program_set_live(program, "text.offsets", bound.n_segments + 1);
	hn_program_set_live(program, "text.last", bound.n_asking);
	st = hn_program_run(program, 0, 0, err);
	if (!st && bound.n_asking)
		st = hn_program_read(program, "logits", g->logits,
			(uint64_t)(bound.n_asking * g->vocabulary *
				hone_dtype_bytes(g->engine->compute)),
			err);
	g->n_runs++;
	g->n_rows += bound.n_rows;
	*n_asking = bound.n_asking;
	return st;
}

/* ---- what a call works on ---- */

struct call {
	struct hn_generator *g;
	const struct hn_prompt *prompts;
	int64_t n_prompts, next; /* the first that waits */
	const struct hn_decoding *decoding;
	const struct hn_generate_sink *sink;
};

/* Row r of the logits, as doubles. */
static void
take_scores(struct hn_generator *g, int64_t r)
{
	const int64_t V = g->vocabulary;
	double *scores = g->sampler.scores;

	if (g->engine->compute == HONE_DTYPE_F64)
		memcpy(scores, (const double *)g->logits + r * V, (size_t)V * sizeof *scores);
	else if (g->engine->compute == HONE_DTYPE_F32)
		for (int64_t i = 0; i < V; i++)
			scores[i] = (double)((const float *)g->logits)[r * V + i];
	else
		for (int64_t i = 0; i < V; i++)
			scores[i] =
				(double)hone_bf16_to_f32(((const uint16_t *)g->logits)[r * V + i]);
}

/* The token after the sequence whose logits are row r. */
static enum hone_status
choose(const struct call *call, const struct hn_sequence *sequence, int64_t r, int32_t *id,
	struct hone_error *err)
{
	struct hn_generator *g = call->g;
	const struct hn_sampling *sampling = &call->decoding->sampling;
	const uint64_t prompt = call->decoding->first_prompt + (uint64_t)sequence->prompt;

	if (g->engine->compute == HONE_DTYPE_F32 && hn_sampler_is_greedy(sampling))
		return hn_sampler_greedy(&g->sampler, (const float *)g->logits + r * g->vocabulary,
			sequence->n, prompt, id, err);
	take_scores(g, r);
	return hn_sampler_next(&g->sampler, sampling, sequence->ids, sequence->n, prompt, id, err);
}

static bool
is_end(const struct hn_decoding *decoding, int32_t id)
{
	for (size_t i = 0; i < decoding->n_ends; i++)
		if (decoding->ends[i] == id)
			return true;
	return false;
}

/* Gives the answer out; the region is free. */
static enum hone_status
finish(const struct call *call, struct hn_sequence *sequence, enum hn_finish why,
	struct hone_error *err)
{
	const struct hn_answer answer = {.prompt = sequence->prompt,
		.ids = sequence->ids + sequence->n_prompt,
		.n = sequence->n - sequence->n_prompt,
		.finish = why};

	sequence->prompt = -1;
	return call->sink->done ? call->sink->done(call->sink->ctx, &answer, err) : HONE_OK;
}

/* Appends the next token of the sequence whose logits are row r. */
static enum hone_status
extend(const struct call *call, int64_t r, struct hone_error *err)
{
	struct hn_generator *g = call->g;
	const struct hn_decoding *decoding = call->decoding;
	struct hn_sequence *sequence = &g->sequences[g->asking[r]];
	int32_t id = 0;
	enum hone_status st = choose(call, sequence, r, &id, err);

	if (st == HONE_ENOTFINITE)
		(void)hn_model_blame(g->engine->model, err);
	if (st)
		return st;
	if (is_end(decoding, id))
		return finish(call, sequence, HN_FINISH_STOP, err);
	sequence->ids[sequence->n++] = id;
	if (call->sink->token)
		st = call->sink->token(call->sink->ctx, sequence->prompt, id, err);
	if (!st &&
		(sequence->n == g->capacity.longest ||
			sequence->n - sequence->n_prompt >= decoding->max_new_tokens))
		st = finish(call, sequence, HN_FINISH_LENGTH, err);
	return st;
}

static enum hone_status
run_and_extend(
	const struct call *call, struct hn_program *program, int64_t rows, struct hone_error *err)
{
	int64_t n_asking = 0;
	enum hone_status st = run_rows(call->g, program, rows, &n_asking, err);

	for (int64_t r = 0; r < n_asking && !st; r++)
		st = extend(call, r, err);
	return st;
}

/* ---- the loop ---- */

/* How many of a prompt's tokens, all but the last at most, a text begins with too. */
static int64_t
count_shared(const struct hn_prompt *prompt, const int32_t *ids, int64_t n)
{
	int64_t i = 0;

	n = n < prompt->n - 1 ? n : prompt->n - 1;
	while (i < n && prompt->ids[i] == ids[i])
		i++;
	return i;
}

/* Gives region s to a prompt.  What the region itself holds of its beginning stays; else the
 * text that has most of it is waited for: a living one will have all its tokens in the cache,
 * one that has ended keeps its rows until the region is given away. */
static void
take_region(struct hn_generator *g, int64_t s, const struct hn_prompt *prompt, int64_t index)
{
	struct hn_sequence *sequence = &g->sequences[s];
	int64_t own = count_shared(prompt, sequence->ids, sequence->n_in);

	own = own < SHARED_MIN ? 0 : own;
	*sequence = (struct hn_sequence){.prompt = index,
		.n = prompt->n,
		.n_in = own,
		.n_prompt = prompt->n,
		.donor = -1,
		.n_shared = own < SHARED_MIN ? SHARED_MIN - 1 : own,
		.ids = sequence->ids};
	for (int64_t d = 0; d < g->capacity.sequences; d++) {
		const struct hn_sequence *other = &g->sequences[d];
		const int64_t there = other->prompt >= 0 ? other->n : other->n_in;
		const int64_t n = d == s ? 0 : count_shared(prompt, other->ids, there);

		if (n > sequence->n_shared) {
			sequence->n_shared = n;
			sequence->donor = d;
		}
	}
	memcpy(sequence->ids, prompt->ids, (size_t)prompt->n * sizeof *prompt->ids);
}

/* Copies the rows that sequences wait for, where they are there.  Before regions are given
 * away. */
static enum hone_status
copy_shared(struct hn_generator *g, struct hone_error *err)
{
	const int64_t longest = g->capacity.longest;
	enum hone_status st = HONE_OK;

	for (int64_t s = 0; s < g->capacity.sequences && !st; s++) {
		struct hn_sequence *sequence = &g->sequences[s];

		if (sequence->prompt < 0 || sequence->donor < 0 ||
			g->sequences[sequence->donor].n_in < sequence->n_shared)
			continue;
		st = hn_engine_copy_rows(g->engine, &g->prefill,
			sequence->donor * longest + sequence->n_in, s * longest + sequence->n_in,
			sequence->n_shared - sequence->n_in, err);
		sequence->n_in = sequence->n_shared;
		sequence->donor = -1;
	}
	return st;
}

/* Waiting prompts take free regions. */
static enum hone_status
admit(struct call *call, struct hone_error *err)
{
	struct hn_generator *g = call->g;
	enum hone_status st = copy_shared(g, err);

	for (int64_t s = 0; s < g->capacity.sequences && call->next < call->n_prompts && !st; s++) {
		if (g->sequences[s].prompt >= 0)
			continue;
		take_region(g, s, &call->prompts[call->next], call->next);
		call->next++;
		st = copy_shared(g, err);
	}
	return st;
}

/* Whether some sequence lives, and whether one has more than a row to run. */
static bool
is_any_alive(const struct hn_generator *g, bool *has_prefill)
{
	bool is_alive = false;

	*has_prefill = false;
	for (int64_t s = 0; s < g->capacity.sequences; s++) {
		const struct hn_sequence *sequence = &g->sequences[s];

		if (sequence->prompt < 0)
			continue;
		is_alive = true;
		*has_prefill |= sequence->donor < 0 && sequence->n - sequence->n_in > 1;
	}
	return is_alive;
}

static enum hone_status
check_prompt(const struct hn_generator *g, const struct hn_prompt *prompt, int64_t i,
	struct hone_error *err)
{
	if (prompt->n < 1)
		return hone_fail(err, HONE_EDATA,
			"prompt %" PRId64 " has no token: give at least one word", i + 1);
	if (prompt->n >= g->capacity.longest)
		return hone_fail(err, HONE_EDATA,
			"prompt %" PRId64 " has %" PRId64
			" tokens, which leaves no room for an answer: "
			"prompt and answer together have at most %" PRId64,
			i + 1, prompt->n, g->capacity.longest);
	for (int64_t k = 0; k < prompt->n; k++)
		if (prompt->ids[k] < 0 || prompt->ids[k] >= g->vocabulary)
			return hone_fail(err, HONE_EDATA,
				"prompt %" PRId64 " has token %" PRId32
				", but the model knows %" PRId64
				": its tokenizer is of another model",
				i + 1, prompt->ids[k], g->vocabulary);
	return HONE_OK;
}

enum hone_status
hn_generate(struct hn_generator *generator, const struct hn_prompt *prompts, int64_t n_prompts,
	const struct hn_decoding *decoding, const struct hn_generate_sink *sink,
	struct hone_error *err)
{
	struct call call = {generator, prompts, n_prompts, 0, decoding, sink};
	enum hone_status st = HONE_OK;
	bool has_prefill;

	if (decoding->max_new_tokens < 1)
		return hone_fail(err, HONE_EINVAL, "max_new_tokens = %" PRId64 ": at least 1",
			decoding->max_new_tokens);
	for (int64_t i = 0; i < n_prompts && !st; i++)
		st = check_prompt(generator, &prompts[i], i, err);
	/* Rows of an earlier call may be of other weights. */
	for (int64_t s = 0; s < generator->capacity.sequences; s++) {
		generator->sequences[s].prompt = -1;
		generator->sequences[s].n_in = 0;
	}
	while (!st) {
		st = admit(&call, err);
		if (st || !is_any_alive(generator, &has_prefill))
			break;
		st = has_prefill ? run_and_extend(&call, &generator->prefill,
					   generator->capacity.prefill_rows, err)
				 : run_and_extend(&call, &generator->decode,
					   generator->capacity.sequences, err);
	}
	return st;
}
