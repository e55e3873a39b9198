/*
 * text_service.c - what the text service knows of a tokenizer: its template, the texts of its
 * special tokens for the template, and where data spell one of them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/str.h"
#include "data/tokenise.h"

struct hn_text_special {
	char *text;
	size_t len;
	int32_t id;
};

/* ---- the service ---- */

/* Adds a variable with the text of a token. */
static enum hone_status
set_token(struct hn_text_service *service, const char *name, int32_t id, struct hone_error *err)
{
	struct hn_str text = {0};
	enum hone_status st = HONE_OK;

	if (id >= 0)
		st = hn_tokenizer_decode(service->tok, &id, 1, false, &text, err);
	if (!st && text.len && json_object_set_new(service->vars, name, json_string(text.text)))
		st = hone_fail(err, HONE_EMODEL, "%s is not a text that a template can use", name);
	hn_str_fini(&text);
	return st;
}

static enum hone_status
collect_specials(struct hn_text_service *service, struct hone_error *err)
{
	const int32_t n = hn_tokenizer_vocab_size(service->tok);
	enum hone_status st = HONE_OK;
	size_t cap = 0;

	for (int32_t id = 0; id < n && !st; id++) {
		struct hn_str text = {0};

		if (!hn_tokenizer_is_special(service->tok, id))
			continue;
		st = hn_tokenizer_decode(service->tok, &id, 1, false, &text, err);
		if (!st && text.len) {
			service->specials = hn_grow(service->specials, &cap,
				service->n_specials + 1, sizeof *service->specials);
			service->starts_special[(uint8_t)text.text[0]] = true;
			service->specials[service->n_specials].len = text.len;
			service->specials[service->n_specials].id = id;
			service->specials[service->n_specials++].text = hn_str_take(&text);
		}
		hn_str_fini(&text);
	}
	return st;
}

/* A template is one value of most files, so a line and column in it are no place in the file.
 * What goes wrong in a row has the row for its place: only a file that cannot be parsed is
 * named alone. */
enum hone_status
hn_text_service_fail(const struct hn_text_service *service, bool is_row, enum hone_status st,
	struct hone_error *err)
{
	const char *file = hn_tokenizer_template_file(service->tok);
	char text[sizeof err->text];
	const int32_t line = err ? err->line : 0, column = err ? err->column : 0;

	if (!st || !err || !hn_streq(err->place, HN_TEMPLATE_PLACE))
		return st;
	memcpy(text, err->text, sizeof text);
	if (is_row && line)
		return hone_fail(err, st,
			"%.300s (line %d, column %d of the chat_template in %.120s)", text,
			(int)line, (int)column, file);
	if (is_row)
		return hone_fail(err, st, "%s", text);
	return hone_fail_at(err, st, file, 0, 0, "chat_template, line %d, column %d: %.440s",
		(int)line, (int)column, text);
}

enum hone_status
hn_text_service_init(struct hn_text_service *service, const struct hn_tokenizer *tok, int64_t now,
	struct hone_error *err)
{
	const struct hn_text source = hn_tokenizer_chat_template(tok);
	enum hone_status st = HONE_OK;

	memset(service, 0, sizeof *service);
	service->tok = tok;
	service->vars = json_object();
	service->limits.now = now;
	service->bos = hn_tokenizer_bos(tok);
	service->eos = hn_tokenizer_eos(tok);
	service->adds_bos = hn_tokenizer_adds_bos(tok);
	service->adds_eos = hn_tokenizer_adds_eos(tok);
	if (source.len)
		st = hn_text_service_fail(service, false,
			hn_template_parse(source.bytes, source.len, &service->tpl, err), err);
	if (!st)
		st = set_token(service, "bos_token", service->bos, err);
	if (!st)
		st = set_token(service, "eos_token", service->eos, err);
	if (!st)
		st = set_token(service, "pad_token", hn_tokenizer_pad(tok), err);
	if (!st)
		st = set_token(service, "unk_token", hn_tokenizer_unk(tok), err);
	return st ? st : collect_specials(service, err);
}

void
hn_text_service_fini(struct hn_text_service *service)
{
	hn_template_destroy(service->tpl);
	json_decref(service->vars);
	for (size_t i = 0; i < service->n_specials; i++)
		free(service->specials[i].text);
	free(service->specials);
	memset(service, 0, sizeof *service);
}

enum hone_status
hn_text_scratch_init(struct hn_text_scratch *scratch, const struct hn_text_service *service,
	struct hone_error *err)
{
	memset(scratch, 0, sizeof *scratch);
	return hn_encoder_create(&scratch->encoder, service->tok, err);
}

void
hn_text_scratch_fini(struct hn_text_scratch *scratch)
{
	hn_encoder_destroy(scratch->encoder);
	hn_encoding_fini(&scratch->encoding);
	hn_str_fini(&scratch->text);
	hn_str_fini(&scratch->prompt);
	hn_spans_fini(&scratch->spans);
	free(scratch->learned);
	memset(scratch, 0, sizeof *scratch);
}

/* ---- special tokens inside the data ---- */

/* Does text[0..len) begin with a special token? Its length, or 0. */
static size_t
special_at(const struct hn_text_service *service, const char *text, size_t len, int32_t *id)
{
	size_t longest = 0;

	if (!service->starts_special[(uint8_t)text[0]])
		return 0;
	for (size_t i = 0; i < service->n_specials; i++) {
		const struct hn_text_special *special = &service->specials[i];

		if (special->len > longest && special->len <= len &&
			memcmp(text, special->text, special->len) == 0) {
			longest = special->len;
			*id = special->id;
		}
	}
	return longest;
}

/* Whether the text spells a special token; with `is_whole`, one begin of sequence in front and
 * one end of sequence behind are what a person writes on purpose. */
static bool
spells_special(const struct hn_text_service *service, const char *text, bool is_whole)
{
	const size_t len = strlen(text);
	size_t n;
	int32_t id = -1;

	for (size_t i = 0; i < len; i += n) {
		n = special_at(service, text + i, len - i, &id);
		if (n == 0)
			n = 1;
		else if (!is_whole ||
			!((i == 0 && id == service->bos) || (i + n == len && id == service->eos)))
			return true;
	}
	return false;
}

bool
hn_sample_spells_special(const struct hn_text_service *service, const struct hn_sample *sample)
{
	if (sample->prompt && spells_special(service, sample->prompt, true))
		return true;
	if (sample->text && spells_special(service, sample->text, true))
		return true;
	for (size_t i = 0; i < json_array_size(sample->messages); i++) {
		const json_t *message = json_array_get(sample->messages, i);

		if (spells_special(
			    service, json_string_value(json_object_get(message, "content")), false))
			return true;
	}
	return false;
}
