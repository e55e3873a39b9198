/*
 * test_generate.c - text from tiny models: greedy tokens against transformers, the cache
 * against the forward without one, batches against prompts alone.
 *
 * Would catch: a cache row in the wrong place, a position that restarts, a region that sees
 * its neighbour or what a text before it left there, logits of the wrong row, an answer that
 * depends on the size of a prefill block or on what else is in the batch, an end token in the
 * answer, memory asked for per token, rows of a common beginning that are another text's, that
 * come too early, or that are computed again.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_model.h"
#include "model/safetensors.h"
#include "support.h"
#include "train/generate.h"

enum { MAX_ANSWER = 24, MAX_PROMPTS = 12, MAX_IDS = 160 };

/* float32 against float32, products of another number of rows: either is up to 7e-6 from the
 * logits in float64 (test_logits.c prints it). */
static const double CACHED_F32 = 1.4e-5;

struct prompts {
	struct hn_tensor_file file;
	struct hn_prompt list[MAX_PROMPTS];
	int64_t n;
	const int32_t *greedy; /* 16 tokens behind prompt 2 */
};

static const void *
tensor(const struct prompts *p, const char *name)
{
	const struct hn_tensor_info *info = hn_tensor_file_find(&p->file, name);

	if (!info)
		fail_msg("no golden tensor %s", name);
	return info->bytes;
}

static void
open_prompts(struct prompts *p, const char *golden)
{
	char text[256];
	char *path;
	const int32_t *ids, *offsets;
	struct hone_error err = {0};

	memset(p, 0, sizeof *p);
	(void)snprintf(text, sizeof text, "golden/logits/%s.safetensors", golden);
	path = test_data_path(text);
	if (hn_safetensors_open(&p->file, path, &err))
		fail_msg("%s", err.text);
	free(path);
	ids = tensor(p, "input_ids");
	offsets = tensor(p, "segments");
	for (p->n = 0; p->n < 4; p->n++)
		p->list[p->n] =
			(struct hn_prompt){ids + offsets[p->n], offsets[p->n + 1] - offsets[p->n]};
	p->greedy = tensor(p, "greedy");
}

/* ---- a model that generates ---- */

struct setup {
	struct bench_model bench;
	struct hn_generator generator;
	struct hn_program full; /* logits of all rows, without a cache */
};

static void
open_setup(struct setup *s, const char *model, const char *backend, int32_t compute,
	struct hn_generate_capacity capacity)
{
	struct hn_build_request request = {.compute = compute};
	struct hn_build_result result;
	struct hn_graph graph;
	struct hone_error err = {0};

	bench_open(&s->bench, model, backend);
	hn_engine_init(&s->bench.engine, &s->bench.model, &s->bench.params, s->bench.devices,
		s->bench.n_devices, compute);
	request.model = &s->bench.model;
	request.params = &s->bench.params;
	if (hn_generator_init(&s->generator, &s->bench.engine, &request, &capacity, &err))
		fail_msg("%s", err.text);
	request.mode = HN_BUILD_LOGITS;
	request.capacity = (struct hn_capacity){MAX_IDS, 1, MAX_IDS, 1, 0};
	if (hn_build(&request, &graph, &result, &err) ||
		hn_engine_add(&s->bench.engine, &s->full, "logits", &graph, MAX_IDS, &err) ||
		hn_engine_allocate(&s->bench.engine, &err))
		fail_msg("%s", err.text);
	assert_int_equal(s->generator.prefill.n_fallback, 0);
	assert_int_equal(s->generator.decode.n_fallback, 0);
}

static void
close_setup(struct setup *s)
{
	hn_generator_fini(&s->generator);
	bench_close(&s->bench);
}

/* What came out, and what the sink saw on the way. */
struct answers {
	const struct hn_generator *generator;
	int32_t ids[MAX_PROMPTS][MAX_ANSWER];
	int64_t n[MAX_PROMPTS], n_streamed[MAX_PROMPTS];
	enum hn_finish finish[MAX_PROMPTS];
	int64_t order[MAX_PROMPTS], n_done;
	double *logits; /* of every streamed token, or NULL: for one prompt on f32 */
};

static enum hone_status
on_token(void *ctx, int64_t prompt, int32_t id, struct hone_error *err)
{
	struct answers *a = ctx;
	const int64_t V = a->generator->vocabulary, i = a->n_streamed[prompt]++;

	(void)err;
	assert_true(i < MAX_ANSWER);
	a->ids[prompt][i] = id;
	for (int64_t v = 0; a->logits && v < V; v++)
		a->logits[i * V + v] = (double)((const float *)a->generator->logits)[v];
	return HONE_OK;
}

static enum hone_status
on_done(void *ctx, const struct hn_answer *answer, struct hone_error *err)
{
	struct answers *a = ctx;

	(void)err;
	assert_int_equal(answer->n, a->n_streamed[answer->prompt]);
	if (answer->n)
		assert_memory_equal(answer->ids, a->ids[answer->prompt],
			(size_t)answer->n * sizeof *answer->ids);
	a->n[answer->prompt] = answer->n;
	a->finish[answer->prompt] = answer->finish;
	a->order[a->n_done++] = answer->prompt;
	return HONE_OK;
}

static void
generate(struct setup *s, const struct hn_prompt *prompts, int64_t n,
	const struct hn_decoding *decoding, struct answers *out)
{
	const struct hn_generate_sink sink = {out, on_token, on_done};
	struct hone_error err = {0};
	uint64_t n_allocs;

	out->generator = &s->generator;
	n_allocs = hn_alloc_count();
	if (hn_generate(&s->generator, prompts, n, decoding, &sink, &err))
		fail_msg("%s", err.text);
	assert_int_equal(hn_alloc_count(), n_allocs);
	assert_int_equal(out->n_done, n);
}

/* ---- against transformers ---- */

static const struct {
	const char *model, *golden;
} models[] = {
	{"golden/models/tiny-llama", "tiny-llama"},
	{"golden/models/tiny-llama-untied", "tiny-llama-untied"},
	{"golden/models/tiny-llama3-rope", "tiny-llama3-rope"},
	{"golden/models/tiny-linear-rope", "tiny-linear-rope"},
	{"golden/models/tiny-llama-bf16", "tiny-llama-bf16"},
	{"golden/gguf/tiny-llama-f32.gguf", "tiny-llama"},
	{"golden/gguf/tiny-llama3-rope-f32.gguf", "tiny-llama3-rope"},
};

static void
check_greedy(const char *backend, int32_t compute)
{
	const struct hn_decoding decoding = {.max_new_tokens = 16};

	for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
		struct prompts p;
		struct setup s;
		struct answers a = {0};

		open_prompts(&p, models[i].golden);
		open_setup(&s, models[i].model, backend, compute,
			(struct hn_generate_capacity){1, 64, 0});
		generate(&s, &p.list[2], 1, &decoding, &a);
		assert_int_equal(a.n[0], 16);
		assert_int_equal(a.finish[0], HN_FINISH_LENGTH);
		assert_memory_equal(a.ids[0], p.greedy, 16 * sizeof *p.greedy);
		close_setup(&s);
		hn_tensor_file_close(&p.file);
	}
}

static void
test_generate_reference_f64_gives_transformers_tokens(void **state)
{
	(void)state;
	check_greedy("reference", HONE_DTYPE_F64);
}

static void
test_generate_reference_f32_gives_transformers_tokens(void **state)
{
	(void)state;
	check_greedy("reference", HONE_DTYPE_F32);
}

static void
test_generate_cpu_f32_gives_transformers_tokens(void **state)
{
	(void)state;
	check_greedy("cpu", HONE_DTYPE_F32);
}

/* ---- the cache against the forward without one ---- */

static double
distance_from_full(
	struct setup *s, const int32_t *ids, int64_t n_prompt, int64_t n, const double *cached)
{
	const int32_t offsets[2] = {0, (int32_t)n};
	const int64_t V = s->generator.vocabulary;
	float *full = malloc((size_t)(MAX_IDS * V) * sizeof *full);
	struct hone_error err = {0};
	double worst = 0.0;

	bench_bind(&s->full, ids, offsets, 1);
	if (hn_program_run(&s->full, 1, 0, &err) ||
		hn_program_read(&s->full, "logits", full, (uint64_t)(n * V) * sizeof *full, &err))
		fail_msg("%s", err.text);
	for (int64_t i = n_prompt; i < n; i++)
		for (int64_t v = 0; v < V; v++) {
			const double d = fabs(
				(double)full[(i - 1) * V + v] - cached[(i - n_prompt) * V + v]);

			worst = d > worst || isnan(d) ? d : worst;
		}
	free(full);
	return worst;
}

static void
check_cache(const char *backend)
{
	const struct hn_decoding decoding = {.max_new_tokens = MAX_ANSWER};
	struct prompts p;
	struct setup s;
	double *logits;

	open_prompts(&p, "tiny-llama");
	open_setup(&s, "golden/models/tiny-llama", backend, HONE_DTYPE_F32,
		(struct hn_generate_capacity){1, MAX_IDS, 0});
	logits = malloc((size_t)(MAX_ANSWER * s.generator.vocabulary) * sizeof *logits);
	for (int64_t i = 0; i < p.n; i++) {
		struct answers a = {.logits = logits};
		int32_t ids[MAX_IDS];
		const int64_t n = p.list[i].n;
		double d;

		generate(&s, &p.list[i], 1, &decoding, &a);
		memcpy(ids, p.list[i].ids, (size_t)n * sizeof *ids);
		memcpy(ids + n, a.ids[0], (size_t)a.n[0] * sizeof *ids);
		d = distance_from_full(&s, ids, n, n + a.n[0], logits);
		print_message("%s, prompt of %d: %.2e\n", backend, (int)n, d);
		assert_true(d <= CACHED_F32);
	}
	free(logits);
	close_setup(&s);
	hn_tensor_file_close(&p.file);
}

static void
test_generate_reference_cached_logits_equal_full_forward(void **state)
{
	(void)state;
	check_cache("reference");
}

static void
test_generate_cpu_cached_logits_equal_full_forward(void **state)
{
	(void)state;
	check_cache("cpu");
}

/* ---- batches ---- */

/* Ten prompts of 1 to 96 tokens, cut from the golden ones. */
static int64_t
make_ragged(struct prompts *p)
{
	static const int64_t cut[6][2] = {{3, 5}, {2, 20}, {3, 50}, {1, 3}, {3, 1}, {3, 80}};

	for (size_t i = 0; i < 6; i++)
		p->list[p->n++] = (struct hn_prompt){p->list[cut[i][0]].ids + i, cut[i][1]};
	return p->n;
}

/* Each prompt by itself, in a region that is used again and again. */
static void
alone(struct setup *s, const struct prompts *p, const struct hn_decoding *decoding,
	struct answers *out)
{
	for (int64_t i = 0; i < p->n; i++) {
		struct hn_decoding one = *decoding;
		struct answers a = {0};

		one.first_prompt = (uint64_t)i;
		generate(s, &p->list[i], 1, &one, &a);
		memcpy(out->ids[i], a.ids[0], sizeof a.ids[0]);
		out->n[i] = a.n[0];
		out->finish[i] = a.finish[0];
	}
}

static void
check_same(const struct answers *a, const struct answers *b, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		assert_int_equal(a->n[i], b->n[i]);
		assert_int_equal(a->finish[i], b->finish[i]);
		assert_memory_equal(a->ids[i], b->ids[i], (size_t)a->n[i] * sizeof a->ids[i][0]);
	}
}

static void
check_batches(const char *backend, const struct hn_decoding *decoding)
{
	static const struct hn_generate_capacity capacities[] = {
		{3, 120, 0}, {4, 130, 5}, {10, 120, 64}, {2, 121, 1}};
	struct answers expected = {0};
	struct prompts p;
	struct setup s;

	open_prompts(&p, "tiny-llama");
	(void)make_ragged(&p);
	open_setup(&s, "golden/models/tiny-llama", backend, HONE_DTYPE_F32,
		(struct hn_generate_capacity){1, 140, 0});
	alone(&s, &p, decoding, &expected);
	close_setup(&s);
	for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
		struct answers a = {0};

		open_setup(&s, "golden/models/tiny-llama", backend, HONE_DTYPE_F32, capacities[i]);
		generate(&s, p.list, p.n, decoding, &a);
		check_same(&expected, &a, p.n);
		close_setup(&s);
	}
	hn_tensor_file_close(&p.file);
}

static void
test_generate_batch_gives_what_each_prompt_gives_alone(void **state)
{
	const struct hn_decoding decoding = {.max_new_tokens = 18};

	(void)state;
	check_batches("reference", &decoding);
	check_batches("cpu", &decoding);
}

/* Answers that end at different times, so that waiting prompts take their places. */
/* Nine prompts of which the last is the beginning of another, all but one with a common beginning
 * of 60 tokens, in few regions and in many. */
static void
check_shared(const char *backend)
{
	static const struct hn_generate_capacity capacities[] = {
		{3, 120, 0}, {9, 120, 16}, {2, 100, 0}, {1, 110, 0}};
	const struct hn_decoding decoding = {.max_new_tokens = 14};
	static int32_t ids[8][70];
	struct answers expected = {0};
	struct prompts p;
	struct setup s;
	int64_t n_rows = 0;

	open_prompts(&p, "tiny-llama");
	for (int i = 0; i < 8; i++) {
		memcpy(ids[i], p.list[3].ids, sizeof ids[i]);
		memcpy(ids[i] + 60, p.list[2].ids + i, (size_t)(1 + i) * sizeof ids[i][0]);
	}
	p.list[0] = (struct hn_prompt){p.list[2].ids, 20};
	for (p.n = 1; p.n < 8; p.n++)
		p.list[p.n] = (struct hn_prompt){ids[p.n], 61 + p.n};
	p.list[p.n++] = (struct hn_prompt){ids[0], 40};
	open_setup(&s, "golden/models/tiny-llama", backend, HONE_DTYPE_F32,
		(struct hn_generate_capacity){1, 120, 0});
	alone(&s, &p, &decoding, &expected);
	n_rows = s.generator.n_rows;
	close_setup(&s);
	for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
		struct answers a = {0};

		open_setup(&s, "golden/models/tiny-llama", backend, HONE_DTYPE_F32, capacities[i]);
		generate(&s, p.list, p.n, &decoding, &a);
		check_same(&expected, &a, p.n);
		/* Six of the common beginnings, and the 39 tokens before the last one's last. */
		assert_int_equal(s.generator.n_rows, n_rows - 6 * 60 - 39);
		close_setup(&s);
	}
	hn_tensor_file_close(&p.file);
}

static void
test_generate_common_beginnings_are_run_once_and_change_nothing(void **state)
{
	(void)state;
	check_shared("reference");
	check_shared("cpu");
}

/* One text asked four times in a batch is drawn four times. */
static void
test_generate_equal_prompts_are_drawn_apart(void **state)
{
	const struct hn_decoding decoding = {
		.max_new_tokens = 16, .sampling = {.temperature = 2.0, .seed = 7}};
	struct answers a = {0};
	struct prompts p;
	struct setup s;

	(void)state;
	open_prompts(&p, "tiny-llama");
	open_setup(&s, "golden/models/tiny-llama", "cpu", HONE_DTYPE_F32,
		(struct hn_generate_capacity){4, 60, 0});
	p.list[0] = p.list[1] = p.list[3] = p.list[2];
	generate(&s, p.list, 4, &decoding, &a);
	for (int i = 1; i < 4; i++)
		assert_memory_not_equal(a.ids[0], a.ids[i], 16 * sizeof a.ids[0][0]);
	close_setup(&s);
	hn_tensor_file_close(&p.file);
}

static void
test_generate_sampled_batch_with_ends_gives_what_each_prompt_gives_alone(void **state)
{
	int32_t ends[40];
	struct hn_decoding decoding = {.max_new_tokens = 20,
		.sampling = {.temperature = 1.5,
			.top_k = 100,
			.top_p = 0.95,
			.repetition_penalty = 1.2,
			.seed = 7},
		.ends = ends,
		.n_ends = 40};

	(void)state;
	for (int32_t i = 0; i < 40; i++)
		ends[i] = 3 + 5 * i;
	check_batches("cpu", &decoding);
}

/* ---- ends ---- */

static void
test_generate_end_token_stops_and_is_not_in_the_answer(void **state)
{
	struct hn_decoding decoding = {.max_new_tokens = 16};
	struct prompts p;
	struct setup s;
	struct answers a = {0}, b = {0};
	int64_t at = 5;

	(void)state;
	open_prompts(&p, "tiny-llama");
	open_setup(&s, "golden/models/tiny-llama", "cpu", HONE_DTYPE_F32,
		(struct hn_generate_capacity){1, 40, 0});
	decoding.ends = &p.greedy[at];
	decoding.n_ends = 1;
	for (int64_t i = 0; i < at; i++)
		at = p.greedy[i] == p.greedy[at] ? i : at;
	generate(&s, &p.list[2], 1, &decoding, &a);
	assert_int_equal(a.n[0], at);
	assert_int_equal(a.finish[0], HN_FINISH_STOP);
	/* 33 tokens and room for 40: seven more. */
	decoding.n_ends = 0;
	generate(&s, &p.list[2], 1, &decoding, &b);
	assert_int_equal(b.n[0], 7);
	assert_int_equal(b.finish[0], HN_FINISH_LENGTH);
	assert_memory_equal(b.ids[0], p.greedy, 7 * sizeof *p.greedy);
	close_setup(&s);
	hn_tensor_file_close(&p.file);
}

static void
test_generate_bad_prompt_is_refused_by_number(void **state)
{
	const int32_t ids[41] = {1, 2, 263};
	const struct hn_prompt bad[][2] = {
		{{ids, 2}, {ids, 0}}, {{ids, 2}, {ids, 40}}, {{ids, 2}, {ids, 3}}};
	const char *const says[] = {"no token", "no room", "token 263"};
	const struct hn_decoding decoding = {.max_new_tokens = 2};
	const struct hn_generate_sink sink = {0};
	struct setup s;

	(void)state;
	open_setup(&s, "golden/models/tiny-llama", "cpu", HONE_DTYPE_F32,
		(struct hn_generate_capacity){1, 40, 0});
	for (size_t i = 0; i < 3; i++) {
		struct hone_error err = {0};

		assert_int_equal(
			hn_generate(&s.generator, bad[i], 2, &decoding, &sink, &err), HONE_EDATA);
		assert_non_null(strstr(err.text, "prompt 2"));
		assert_non_null(strstr(err.text, says[i]));
	}
	close_setup(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_generate_reference_f64_gives_transformers_tokens),
		cmocka_unit_test(test_generate_reference_f32_gives_transformers_tokens),
		cmocka_unit_test(test_generate_cpu_f32_gives_transformers_tokens),
		cmocka_unit_test(test_generate_reference_cached_logits_equal_full_forward),
		cmocka_unit_test(test_generate_cpu_cached_logits_equal_full_forward),
		cmocka_unit_test(test_generate_batch_gives_what_each_prompt_gives_alone),
		cmocka_unit_test(test_generate_common_beginnings_are_run_once_and_change_nothing),
		cmocka_unit_test(test_generate_equal_prompts_are_drawn_apart),
		cmocka_unit_test(
			test_generate_sampled_batch_with_ends_gives_what_each_prompt_gives_alone),
		cmocka_unit_test(test_generate_end_token_stops_and_is_not_in_the_answer),
		cmocka_unit_test(test_generate_bad_prompt_is_refused_by_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
