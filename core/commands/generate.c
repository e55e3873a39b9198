/*
 * generate.c - `hone generate`: what the model answers to a prompt.
 *
 * The prompt is --prompt, or each line of stdin.  One prompt's text is shown while it comes;
 * several are answered in batches and shown in their order.  A prompt is rendered as the run's
 * data were: rows of messages by the chat template, everything else as it stands.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answers.h"
#include "commands/command.h"
#include "data/jsonl.h"
#include "model/hf_config.h"
#include "result.h"
#include "session.h"
#include "train/identity.h"

enum { STDIN_MAX = 64 << 20 };

struct asking {
	const struct hn_context *context;
	struct hn_run run;
	struct hn_result result;
	struct hn_answers answers;
	struct hn_engine engine;
	struct hn_str input;  /* of stdin, lines ended by NUL */
	const char **prompts; /* by answer: as the user wrote them */
	size_t n, cap;
	int64_t n_shown;
	bool is_chat;
};

/* ---- what the user wrote ---- */

static enum hone_status
check_flags(const struct hn_args *args, struct hone_error *err)
{
	if (!args->path == !args->model)
		return hone_fail(
			err, HONE_EUSAGE, "hone generate needs either a run.ini or --model PATH");
	if (args->adapter && !args->model)
		return hone_fail(err, HONE_EUSAGE,
			"--adapter goes with --model; a run.ini has an adapter of its own");
	if (args->base && args->adapter)
		return hone_fail(err, HONE_EUSAGE, "--base leaves out what --adapter names");
	if (args->chat && args->raw)
		return hone_fail(err, HONE_EUSAGE, "--chat and --raw exclude each other");
	if (args->system && args->raw)
		return hone_fail(err, HONE_EUSAGE, "--system needs a chat template, not --raw");
	if (!args->prompt && isatty(STDIN_FILENO))
		return hone_fail(err, HONE_EUSAGE,
			"no prompt: give --prompt TEXT, or one prompt a line on stdin");
	return HONE_OK;
}

static enum hone_status
read_stdin(struct hn_str *input, struct hone_error *err)
{
	char block[16384];
	size_t n;

	while ((n = fread(block, 1, sizeof block, stdin)) > 0 && input->len <= STDIN_MAX)
		hn_str_add(input, block, n);
	if (ferror(stdin))
		return hone_fail_at(err, HONE_EIO, "stdin", 0, 0, "cannot be read");
	if (input->len > STDIN_MAX)
		return hone_fail_at(err, HONE_EDATA, "stdin", 0, 0, "more than 64 MiB of prompts");
	if (input->len && memchr(input->text, '\0', input->len))
		return hone_fail_at(err, HONE_EDATA, "stdin", 0, 0, "a NUL byte; prompts are text");
	return HONE_OK;
}

static void
add_prompt(struct asking *a, const char *text)
{
	a->prompts = hn_grow(a->prompts, &a->cap, a->n + 1, sizeof *a->prompts);
	a->prompts[a->n++] = text;
}

/* Lines end in LF or CRLF; empty ones are no prompts. */
static enum hone_status
read_prompts(struct asking *a, struct hone_error *err)
{
	enum hone_status st;
	char *next;

	if (a->context->args->prompt) {
		add_prompt(a, a->context->args->prompt);
		return HONE_OK;
	}
	st = read_stdin(&a->input, err);
	for (char *line = a->input.text; !st && line && *line; line = next) {
		const size_t n = strcspn(line, "\n");

		next = line[n] ? line + n + 1 : line + n;
		line[n] = '\0';
		if (n && line[n - 1] == '\r')
			line[n - 1] = '\0';
		if (*line)
			add_prompt(a, line);
	}
	if (!st && a->n == 0)
		st = hone_fail_at(err, HONE_EDATA, "stdin", 0, 0, "there is no prompt");
	return st;
}

/* ---- how it is rendered ---- */

/* Whether rows of the run's data are conversations: the first row says. */
static enum hone_status
data_is_chat(const struct hn_run *run, bool *out, struct hone_error *err)
{
	const char *path = run->options.data.train;
	const struct hn_place place = {path, 1};
	struct hn_sample sample = {0};
	struct hn_jsonl file;
	json_t *row = NULL;
	enum hn_schema schema = HN_SCHEMA_AUTO;
	enum hone_status st = hn_jsonl_open(&file, path, err);

	if (!st)
		st = hn_schema_parse(run->options.data.schema, &schema, err);
	if (!st)
		st = hn_jsonl_parse(&file, 0, &row, err);
	if (!st && schema == HN_SCHEMA_AUTO)
		st = hn_schema_detect(row, &place, &schema, err);
	if (!st)
		st = hn_sample_read(&sample, schema, row, &place, err);
	*out = sample.kind == HN_SAMPLE_CHAT || sample.kind == HN_SAMPLE_CHAT_PAIR;
	hn_sample_fini(&sample);
	json_decref(row);
	hn_jsonl_close(&file);
	return st;
}

static enum hone_status
choose_rendering(struct asking *a, struct hone_error *err)
{
	const struct hn_args *args = a->context->args;
	enum hone_status st = HONE_OK;

	if (args->chat || args->raw)
		a->is_chat = args->chat;
	else if (args->model)
		a->is_chat = a->answers.text.tpl != NULL;
	else
		st = data_is_chat(&a->run, &a->is_chat, err);
	if (st && err)
		hn_log_warn(a->context->log,
			"how the data were rendered is not known; --chat or --raw say it");
	if (!st && args->system && !a->is_chat)
		st = hone_fail(err, HONE_EUSAGE,
			"--system needs a chat template, and prompts are raw here; --chat asks for "
			"one");
	return st;
}

static json_t *
make_messages(const char *system, const char *prompt)
{
	json_t *list = json_array();

	if (system)
		json_array_append_new(
			list, json_pack("{ss ss}", "role", "system", "content", system));
	json_array_append_new(list, json_pack("{ss ss}", "role", "user", "content", prompt));
	return list;
}

static enum hone_status
ask(struct asking *a, const char *prompt, struct hone_error *err)
{
	const char *system = a->context->args->system;
	struct hn_sample sample = {.kind = HN_SAMPLE_PAIR, .prompt = prompt, .text = ""};
	enum hone_status st;

	if (hn_utf8_check(prompt, strlen(prompt)) != strlen(prompt) ||
		(system && hn_utf8_check(system, strlen(system)) != strlen(system)))
		return hone_fail(
			err, HONE_EDATA, "prompt %zu is not UTF-8", (size_t)a->answers.n + 1);
	if (a->is_chat) {
		sample.kind = HN_SAMPLE_CHAT_PAIR;
		sample.messages = make_messages(system, prompt);
		sample.n_prompt = json_array_size(sample.messages);
	}
	st = hn_answers_ask(&a->answers, &sample, err);
	hn_sample_fini(&sample);
	return st;
}

/* ---- what comes out ---- */

/* Bytes of an invalid sequence that are replaced as one: the longest beginning of a character
 * that stands there ("maximal subpart", Unicode 15, section 3.9), as Hugging Face does. */
static size_t
invalid_bytes(const char *text, size_t n)
{
	const unsigned char *t = (const unsigned char *)text;
	const size_t more = t[0] < 0xc2 ? 0
		: t[0] < 0xe0           ? 1
		: t[0] < 0xf0           ? 2
		: t[0] < 0xf5           ? 3
					: 0;
	unsigned char low = t[0] == 0xe0 ? 0xa0 : t[0] == 0xf0 ? 0x90 : 0x80;
	unsigned char high = t[0] == 0xed ? 0x9f : t[0] == 0xf4 ? 0x8f : 0xbf;
	size_t at = 1;

	for (; at <= more && at < n && t[at] >= low && t[at] <= high; at++) {
		low = 0x80;
		high = 0xbf;
	}
	return at;
}

/* The answer as UTF-8: what is none, such as a character that was cut at the end, is U+FFFD. */
static void
put_valid(struct hn_str *out, const struct hn_str *text)
{
	for (size_t at = 0; at < text->len;) {
		uint32_t code_point = 0xfffd;
		const size_t n = hn_utf8_decode(text->text + at, text->len - at, &code_point);

		hn_str_put_utf8(out, n ? code_point : 0xfffd);
		at += n ? n : invalid_bytes(text->text + at, text->len - at);
	}
}

static void
put_json(struct hn_str *out, const char *prompt, const struct hn_asked *asked)
{
	struct hn_str text = {0};

	put_valid(&text, &asked->text);
	hn_str_puts(out, "{\"schema\": \"hone.generate/1\", \"prompt\": ");
	hn_str_put_json(out, prompt, strlen(prompt));
	hn_str_puts(out, ", \"text\": ");
	hn_str_put_json(out, text.text ? text.text : "", text.len);
	hn_str_printf(out, ", \"num_tokens\": %" PRId64 ", \"finish_reason\": \"%s\"}\n",
		asked->n_tokens, hn_finish_name(asked->finish));
	hn_str_fini(&text);
}

static enum hone_status
on_text(void *ctx, int64_t asked, const char *bytes, size_t n, struct hone_error *err)
{
	const struct asking *a = ctx;

	(void)asked;
	return a->n == 1 && !a->context->args->json ? hn_show(a->context->stream, bytes, n, err)
						    : HONE_OK;
}

/* Shows the answers that are done and wait for none before them. */
static enum hone_status
on_done(void *ctx, int64_t done, struct hone_error *err)
{
	struct asking *a = ctx;
	enum hone_status st = HONE_OK;

	(void)done;
	while (a->n_shown < a->answers.n && a->answers.asked[a->n_shown].finish && !st) {
		const struct hn_asked *asked = &a->answers.asked[a->n_shown];
		struct hn_str line = {0};

		if (a->context->args->json) {
			put_json(&line, a->prompts[a->n_shown], asked);
		} else {
			if (a->n > 1 && asked->text.len)
				hn_str_add(&line, asked->text.text, asked->text.len);
			hn_str_putc(&line, '\n');
		}
		st = hn_show(a->context->stream, line.text, line.len, err);
		hn_str_fini(&line);
		a->n_shown++;
	}
	return st;
}

/* ---- from the command line to text ---- */

static enum hone_status
read_decoding(const struct asking *a, struct hn_decoding *out, struct hone_error *err)
{
	const struct hn_generate_options *options = &a->run.options.generate;
	const struct hn_args *args = a->context->args;
	double max_new_tokens = 0.0;
	enum hone_status st;

	*out = (struct hn_decoding){.sampling = {.top_k = options->top_k,
					    .top_p = options->top_p,
					    .min_p = options->min_p,
					    .repetition_penalty = options->repetition_penalty,
					    .seed = (uint64_t)a->run.options.run.seed}};
	st = hn_flag_generate(args->max_new_tokens, "--max-new-tokens", "max_new_tokens",
		(double)options->max_new_tokens, &max_new_tokens, err);
	out->max_new_tokens = (int64_t)max_new_tokens;
	return st ? st
		  : hn_flag_generate(args->temperature, "--temperature", "temperature",
			    options->temperature, &out->sampling.temperature, err);
}

static enum hone_status
open_result(struct asking *a, struct hone_error *err)
{
	const struct hn_args *args = a->context->args;
	const struct hn_run_request request = hn_context_request(a->context);

	if (args->model)
		return hn_result_open_model(
			&a->result, &a->run, &request, args->model, args->adapter, err);
	return hn_result_open(&a->result, &a->run, &request, args->base, err);
}

/* An answer that ends because the model has no room for more is told, once for all. */
static void
warn_of_room(const struct asking *a, const struct hn_decoding *decoding)
{
	int64_t n = 0;

	for (int64_t i = 0; i < a->answers.n; i++)
		n += a->answers.asked[i].finish == HN_FINISH_LENGTH &&
			a->answers.asked[i].n_tokens < decoding->max_new_tokens;
	if (n)
		hn_log_warn(a->context->log,
			"%" PRId64 " of %" PRId64 " answers end where the model's room does, which "
			"is %" PRId64 " tokens with the prompt",
			n, a->answers.n, a->answers.generator.capacity.longest);
}

/* Programs and memory for these prompts, with the result in them. */
static enum hone_status
make_ready(struct asking *a, const struct hn_decoding *decoding, struct hone_error *err)
{
	struct hn_build_request request = hn_run_build_request(&a->run, HN_BUILD_DECODE);
	struct hn_answers_size size = {.max_new_tokens = decoding->max_new_tokens,
		.batch_size = a->run.options.generate.batch_size};
	enum hone_status st;

	request.without_adapters = a->result.without_adapters;
	(void)hn_config_i64_or(
		&a->run.model.checkpoint.config, "max_position_embeddings", 0, &size.limit, NULL);
	hn_engine_init(&a->engine, &a->run.model, &a->run.params, a->run.devices, a->run.n_devices,
		a->run.compute);
	st = hn_answers_plan(&a->answers, &a->engine, &request, &size, err);
	if (!st)
		st = hn_engine_allocate(&a->engine, err);
	return st ? st : hn_result_load(&a->result, &a->run, &a->engine, err);
}

static void
tell_pace(const struct asking *a, double s)
{
	int64_t n = 0;

	for (int64_t i = 0; i < a->answers.n; i++)
		n += a->answers.asked[i].n_tokens;
	hn_log_info(a->context->log,
		"%" PRId64 " tokens in %.2f s, prompts included: %.1f tokens/s", n, s,
		s > 0.0 ? (double)n / s : 0.0);
}

static enum hone_status
generate(struct asking *a, struct hone_error *err)
{
	const struct hn_answers_sink sink = {a, on_text, on_done};
	struct hn_decoding decoding = {0};
	enum hone_status st = open_result(a, err);
	double begin;

	if (!st)
		st = hn_answers_init(&a->answers, a->run.tokenizer, err);
	if (!st)
		st = choose_rendering(a, err);
	if (!st)
		st = read_decoding(a, &decoding, err);
	if (!st)
		st = read_prompts(a, err);
	for (size_t i = 0; i < a->n && !st; i++)
		st = ask(a, a->prompts[i], err);
	if (!st)
		st = make_ready(a, &decoding, err);
	begin = hn_now_s();
	if (!st)
		st = hn_answers_run(&a->answers, &decoding, &sink, err);
	if (!st) {
		tell_pace(a, hn_now_s() - begin);
		warn_of_room(a, &decoding);
	}
	return st ? st : hn_model_check_unchanged(&a->run.model, err);
}

static enum hone_status
run_generate(const struct hn_context *context, struct hone_error *err)
{
	struct asking *a = hn_alloc(sizeof *a);
	enum hone_status st = check_flags(context->args, err);

	a->context = context;
	if (!st)
		st = generate(a, err);
	if (a->engine.model)
		hn_engine_fini(&a->engine);
	hn_answers_fini(&a->answers);
	hn_result_close(&a->result, &a->run);
	hn_str_fini(&a->input);
	free(a->prompts);
	free(a);
	return st;
}

static const struct hn_flag flags[] = {
	{"--prompt", HN_FLAG_TEXT, HN_ARG(prompt), "TEXT",
		"absent: each line of stdin that is not empty is a prompt"},
	{"--system", HN_FLAG_TEXT, HN_ARG(system), "TEXT", "system message before the prompt"},
	{"--model", HN_FLAG_TEXT, HN_ARG(model), "PATH", "a model instead of a run.ini"},
	{"--adapter", HN_FLAG_TEXT, HN_ARG(adapter), "DIR", "the folder of an adapter for --model"},
	{"--base", HN_FLAG_BOOL, HN_ARG(base), NULL, "the base model, without the run's result"},
	{"--chat", HN_FLAG_BOOL, HN_ARG(chat), NULL, "render by the chat template"},
	{"--raw", HN_FLAG_BOOL, HN_ARG(raw), NULL, "the prompt as it stands"},
	{"--max-new-tokens", HN_FLAG_TEXT, HN_ARG(max_new_tokens), "N",
		"tokens of the longest answer"},
	{"--temperature", HN_FLAG_TEXT, HN_ARG(temperature), "T",
		"0: always the likeliest token; other ways of drawing: hone explain generate"},
};

const struct hn_command_spec hn_command_generate = {"generate", "[run.ini]",
	"answer prompts with a run's result, or with any model", flags,
	sizeof flags / sizeof flags[0], run_generate, HN_TAKES_RUN};
