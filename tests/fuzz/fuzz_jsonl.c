/*
 * fuzz_jsonl.c - any bytes as a data file: lines, rows, shapes, tokens; no crash, and what always
 * holds.
 *
 * 1. Every refusal is HONE_EDATA (or the template's HONE_EUNSUPPORTED), with the file and one
 *    line of clean UTF-8.
 * 2. Rows lie in the file, in order, without line breaks.
 * 3. Of a sample that is read: ids are in the vocabulary, the masks are 0 or 1, what is learned
 *    with a mask is learned without one, and the same sample gives the same hash and ids twice.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hone/objective.h>

#include "base/str.h"
#include "bench_data.h"
#include "data/jsonl.h"

struct fuzz {
	struct hn_tokenizer *tok;
	struct hn_text_service text;
	struct hn_text_scratch scratch;
};

static void
require(int condition)
{
	if (!condition)
		__builtin_trap();
}

static void
check_error(enum hone_status st, const struct hone_error *err)
{
	require(st == HONE_EDATA || st == HONE_EUNSUPPORTED || st == HONE_EMODEL);
	require(err->text[0] != 0);
	require(!strpbrk(err->text, "\n\r\t\x1b"));
}

static int64_t
sum_learned(const struct hn_tokenised *tokens)
{
	int64_t sum = 0;

	for (int64_t i = 0; i < tokens->n; i++) {
		require(tokens->learned[i] <= 1);
		sum += tokens->learned[i];
	}
	return sum;
}

static void
check_sample(struct fuzz *fuzz, const struct hn_sample *sample)
{
	const uint32_t masked = HONE_TOKENISE_COMPLETION_ONLY | HONE_TOKENISE_ASSISTANT_ONLY;
	struct hn_tokenised tokens;
	struct hone_error err = {0};
	enum hone_status st;
	int64_t n;

	st = hn_tokenise(&fuzz->text, &fuzz->scratch, sample, 0, &tokens, &err);
	if (st) {
		check_error(st, &err);
		return;
	}
	n = tokens.n;
	require(n > 0 && sum_learned(&tokens) == n);
	for (int64_t i = 0; i < n; i++)
		require(tokens.ids[i] >= 0 && tokens.ids[i] < hn_tokenizer_vocab_size(fuzz->tok));
	st = hn_tokenise(&fuzz->text, &fuzz->scratch, sample, masked, &tokens, &err);
	if (st)
		check_error(st, &err);
	else
		require(tokens.n == n && sum_learned(&tokens) <= n);
	st = hn_tokenise_prompt(&fuzz->text, &fuzz->scratch, sample, &tokens, &err);
	if (st)
		check_error(st, &err);
	else
		require(sum_learned(&tokens) == 0);
}

static void
check_row(struct fuzz *fuzz, const json_t *row, const struct hn_place *place)
{
	for (int i = HN_SCHEMA_TEXT; i < HN_SCHEMA_COUNT; i++) {
		struct hn_sample sample, again;
		struct hone_error err = {0};
		enum hone_status st = hn_sample_read(&sample, (enum hn_schema)i, row, place, &err);

		if (st) {
			check_error(st, &err);
			require(err.line == place->line && hn_streq(err.place, place->file));
		} else {
			require(hn_sample_read(&again, (enum hn_schema)i, row, place, &err) ==
				HONE_OK);
			require(hn_sample_hash(&sample) == hn_sample_hash(&again));
			hn_sample_fini(&again);
			check_sample(fuzz, &sample);
		}
		hn_sample_fini(&sample);
	}
}

static void
check_rows(struct fuzz *fuzz, const struct hn_jsonl *file)
{
	uint64_t end = 0;

	for (size_t i = 0; i < file->n; i++) {
		const struct hn_jsonl_row *at = &file->rows[i];
		const struct hn_place place = {file->path, at->line};
		struct hone_error err = {0};
		enum hn_schema schema;
		json_t *row;
		enum hone_status st;

		require(at->offset >= end && at->n_bytes > 0);
		end = at->offset + at->n_bytes;
		require(end <= file->map.size);
		require(!memchr(file->map.bytes + at->offset, '\n', at->n_bytes));
		st = hn_jsonl_parse(file, i, &row, &err);
		if (st) {
			check_error(st, &err);
			require(row == NULL && err.line == (int32_t)at->line && err.column > 0);
			continue;
		}
		st = hn_schema_detect(row, &place, &schema, &err);
		if (st)
			check_error(st, &err);
		check_row(fuzz, row, &place);
		json_decref(row);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct fuzz fuzz; /* made once: the tokenizer takes longer than a row */
	struct hn_jsonl file;
	struct hone_error err = {0};
	char path[64];
	const int fd = memfd_create("rows.jsonl", 0);
	enum hone_status st;

	if (!fuzz.tok) {
		fuzz.tok = bench_tokenizer("qwen2", NULL, "<|im_end|>");
		require(!hn_text_service_init(&fuzz.text, fuzz.tok, 1753500000, &err));
		require(!hn_text_scratch_init(&fuzz.scratch, &fuzz.text, &err));
	}
	require(fd >= 0);
	if (n > 0)
		require(write(fd, bytes, n) == (ssize_t)n);
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	st = hn_jsonl_open(&file, path, &err);
	if (st)
		check_error(st, &err);
	else
		check_rows(&fuzz, &file);
	hn_jsonl_close(&file);
	(void)close(fd);
	return 0;
}
