/*
 * tokenizer.c - `hone tokenizer --train FILE...`: a byte-level BPE tokenizer from text.
 *
 * A .jsonl file gives its string fields, line by line; any other file is plain text.  The
 * special tokens are those of ChatML, so that the result can hold conversations:
 * <|endoftext|> ends a text, <|im_start|> and <|im_end|> enclose a turn.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "commands/command.h"
#include "text/bpe_train.h"

enum { MAX_FILE = 1 << 30 };

static enum hone_status feed_json(
	struct hn_bpe_trainer *trainer, const json_t *value, int depth, struct hone_error *err);

/* Feeds every string inside a JSON value. */
static enum hone_status
feed_members(
	struct hn_bpe_trainer *trainer, const json_t *object, int depth, struct hone_error *err)
{
	const char *key;
	json_t *member;
	enum hone_status st = HONE_OK;

	json_object_foreach((json_t *)(uintptr_t)object, key, member)
	{
		if (!st)
			st = feed_json(trainer, member, depth + 1, err);
	}
	return st;
}

static enum hone_status
feed_json(struct hn_bpe_trainer *trainer, const json_t *value, int depth, struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	if (depth > 64)
		return hone_fail(err, HONE_EDATA, "nested deeper than 64 levels");
	if (json_is_string(value))
		return hn_bpe_trainer_feed(
			trainer, json_string_value(value), json_string_length(value), err);
	if (json_is_object(value))
		return feed_members(trainer, value, depth, err);
	for (size_t i = 0; json_is_array(value) && i < json_array_size(value) && !st; i++)
		st = feed_json(trainer, json_array_get(value, i), depth + 1, err);
	return st;
}

static enum hone_status
feed_jsonl(struct hn_bpe_trainer *trainer, const char *path, const char *text, size_t n,
	struct hone_error *err)
{
	enum hone_status st = HONE_OK;
	int64_t line = 1;

	for (size_t at = 0; at < n && !st; line++) {
		const char *end = memchr(text + at, '\n', n - at);
		const size_t len = end ? (size_t)(end - text) - at : n - at;
		json_error_t why;
		json_t *row = len ? json_loadb(text + at, len, JSON_REJECT_DUPLICATES, &why) : NULL;

		if (len && !row)
			st = hone_fail_at(err, HONE_EDATA, path, line, why.column, "%s", why.text);
		else if (row && (st = feed_json(trainer, row, 0, err)) && err)
			(void)hone_fail_at(err, st, path, line, 0, "a field is not UTF-8");
		json_decref(row);
		at += len + 1;
	}
	return st;
}

static enum hone_status
feed_file(struct hn_bpe_trainer *trainer, const char *path, struct hone_error *err)
{
	char *text = NULL;
	size_t n = 0;
	enum hone_status st = hn_file_read(path, MAX_FILE, HONE_EDATA, &text, &n, err);

	if (st)
		return st;
	if (hn_ends_with(path, ".jsonl"))
		st = feed_jsonl(trainer, path, text, n, err);
	else if ((st = hn_bpe_trainer_feed(trainer, text, n, err)) && err)
		(void)snprintf(err->place, sizeof err->place, "%s", path);
	free(text);
	return st;
}

static void
put_written(const struct hn_context *context, int n)
{
	const char *to = context->args->to;
	struct hn_str *out = context->out;

	if (!context->args->json) {
		hn_str_put_visible(out, to, "");
		hn_str_printf(out, ": %d tokens\n", n);
		return;
	}
	hn_str_puts(out, "{\"schema\": \"hone.tokenizer/1\", \"path\": ");
	hn_str_put_json(out, to, strlen(to));
	hn_str_printf(out, ", \"num_tokens\": %d}\n", n);
}

static enum hone_status
train(const struct hn_context *context, int64_t vocab_size, struct hone_error *err)
{
	static const struct hn_text special[] = {
		{"<|endoftext|>", 13}, {"<|im_start|>", 12}, {"<|im_end|>", 10}};
	const struct hn_args *args = context->args;
	const struct hn_bpe_train_options options = {.vocab_size = (int32_t)vocab_size,
		.special = special,
		.n_special = 3,
		.bos = -1,
		.eos = 0,
		.unk = -1,
		.pad = 0};
	struct hn_bpe_trainer *trainer = NULL;
	struct hn_tokenizer *tokenizer = NULL;
	enum hone_status st = hn_bpe_trainer_create(&trainer, err);

	for (size_t i = 0; i < args->train.n && !st; i++)
		st = feed_file(trainer, args->train.items[i], err);
	if (!st)
		st = hn_bpe_trainer_finish(trainer, &options, &tokenizer, err);
	if (!st)
		st = hn_dir_make(args->to, err);
	if (!st)
		st = hn_tokenizer_write(tokenizer, args->to, err);
	if (!st)
		put_written(context, (int)hn_tokenizer_vocab_size(tokenizer));
	hn_tokenizer_destroy(tokenizer);
	hn_bpe_trainer_destroy(trainer);
	return st;
}

static enum hone_status
run_tokenizer(const struct hn_context *context, struct hone_error *err)
{
	const struct hn_args *args = context->args;
	int64_t vocab_size = 0;
	enum hone_status st;

	if (args->train.n == 0 || !args->vocab_size || !args->to)
		return hone_fail(err, HONE_EUSAGE,
			"hone tokenizer needs --train FILE..., --vocab-size N and --to DIR");
	st = hn_flag_i64(args->vocab_size, "--vocab-size", 0, 260, &vocab_size, err);
	if (!st && vocab_size > (1 << 24))
		st = hone_fail(
			err, HONE_EUSAGE, "--vocab-size %s is above 16777216", args->vocab_size);
	return st ? st : train(context, vocab_size, err);
}

static const struct hn_flag flags[] = {
	{"--train", HN_FLAG_MANY, HN_ARG(train), "FILE...", "text files, or .jsonl files"},
	{"--vocab-size", HN_FLAG_TEXT, HN_ARG(vocab_size), "N",
		"tokens to learn, special ones included"},
	{"--to", HN_FLAG_TEXT, HN_ARG(to), "DIR", "folder for tokenizer.json"},
};

const struct hn_command_spec hn_command_tokenizer = {
	"tokenizer", "", "learn a byte-level BPE tokenizer from text", flags, 3, run_tokenizer, 0};
