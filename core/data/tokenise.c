/*
 * tokenise.c - samples to ids and masks.
 *
 * Masks are ranges of bytes of the text that is tokenised, and go to tokens by the offsets
 * that the tokenizer gives: a token is learned when it covers a byte of a learned range, or
 * when it stands for nothing and is an end of sequence.  No marker is ever searched for among
 * ids.
 */
#include <stdlib.h>
#include <string.h>

#include <hone/objective.h>

#include "base/arena.h"
#include "base/str.h"
#include "data/jsonl.h"
#include "data/tokenise.h"

/* ---- ids ---- */

/* Takes token `at` out. */
static void
remove_token(struct hn_encoding *e, size_t at)
{
	memmove(e->ids + at, e->ids + at + 1, (e->n - at - 1) * sizeof *e->ids);
	memmove(e->begin + at, e->begin + at + 1, (e->n - at - 1) * sizeof *e->begin);
	memmove(e->end + at, e->end + at + 1, (e->n - at - 1) * sizeof *e->end);
	e->n--;
}

static bool
is_added(const struct hn_encoding *e, size_t at)
{
	return e->begin[at] == e->end[at];
}

/* The scratch's text, also when nothing was ever written into it. */
static const char *
text_of(const struct hn_text_scratch *scratch)
{
	return scratch->text.text ? scratch->text.text : "";
}

/* A plain text with what the tokenizer adds, but nothing that is there already. */
static enum hone_status
encode_plain(const struct hn_text_service *service, struct hn_text_scratch *scratch,
	struct hone_error *err)
{
	struct hn_encoding *e = &scratch->encoding;
	enum hone_status st = hn_encode(scratch->encoder, text_of(scratch), scratch->text.len,
		HN_ENCODE_ADD_SPECIAL | HN_ENCODE_PARSE_SPECIAL, e, err);

	if (st)
		return st;
	if (e->n >= 2 && e->ids[0] == service->bos && e->ids[1] == service->bos && is_added(e, 0))
		remove_token(e, 0);
	if (e->n >= 2 && e->ids[e->n - 1] == service->eos && e->ids[e->n - 2] == service->eos &&
		is_added(e, e->n - 1))
		remove_token(e, e->n - 1);
	return HONE_OK;
}

static enum hone_status
encode_rendered(struct hn_text_scratch *scratch, struct hone_error *err)
{
	return hn_encode(scratch->encoder, text_of(scratch), scratch->text.len,
		HN_ENCODE_PARSE_SPECIAL, &scratch->encoding, err);
}

/* Appends end of sequence unless the last token is one. */
static void
append_eos(const struct hn_text_service *service, struct hn_text_scratch *scratch)
{
	struct hn_encoding *e = &scratch->encoding;
	const uint32_t at = (uint32_t)scratch->text.len;
	size_t cap;

	if (service->eos < 0 || (e->n > 0 && e->ids[e->n - 1] == service->eos))
		return;
	if (e->n == e->cap) { /* the three arrays grow together */
		cap = e->cap;
		e->ids = hn_grow(e->ids, &cap, e->n + 1, sizeof *e->ids);
		e->begin = hn_realloc(e->begin, cap * sizeof *e->begin);
		e->end = hn_realloc(e->end, cap * sizeof *e->end);
		e->cap = cap;
	}
	e->ids[e->n] = service->eos;
	e->begin[e->n] = at;
	e->end[e->n++] = at;
}

/* ---- masks ---- */

static uint8_t *
reserve_learned(struct hn_text_scratch *scratch, uint8_t value)
{
	const size_t n = scratch->encoding.n;

	scratch->learned = hn_grow(scratch->learned, &scratch->cap_learned, n + 1, 1);
	memset(scratch->learned, value, n);
	return scratch->learned;
}

/* Marks tokens that cover a byte of [begin, end), and those at the text's end that stand for
 * nothing; returns how many reach over a border. */
static int64_t
mark(struct hn_text_scratch *scratch, size_t begin, size_t end)
{
	const struct hn_encoding *e = &scratch->encoding;
	int64_t n_straddles = 0;

	for (size_t i = 0; i < e->n; i++) {
		const bool covers = e->end[i] > begin && e->begin[i] < end;

		if (covers && !is_added(e, i)) {
			scratch->learned[i] = 1;
			n_straddles += e->begin[i] < begin || e->end[i] > end;
		} else if (is_added(e, i) && i > 0 && e->begin[i] == end &&
			end == scratch->text.len) {
			scratch->learned[i] = 1;
		}
	}
	return n_straddles;
}

static void
finish(struct hn_text_scratch *scratch, struct hn_tokenised *out)
{
	out->n = (int64_t)scratch->encoding.n;
	out->ids = scratch->encoding.ids;
	out->learned = scratch->learned;
	out->n_lost = (int64_t)scratch->encoding.n_dropped;
}

/* ---- the kinds of samples ---- */

static enum hone_status
tokenise_plain(const struct hn_text_service *service, struct hn_text_scratch *scratch,
	const struct hn_sample *sample, uint32_t flags, struct hn_tokenised *out,
	struct hone_error *err)
{
	const bool is_masked =
		sample->kind == HN_SAMPLE_PAIR && (flags & HONE_TOKENISE_COMPLETION_ONLY);
	size_t border;
	enum hone_status st;

	hn_str_clear(&scratch->text);
	if (sample->kind == HN_SAMPLE_PAIR)
		hn_str_puts(&scratch->text, sample->prompt);
	border = scratch->text.len;
	hn_str_puts(&scratch->text, sample->text);
	st = encode_plain(service, scratch, err);
	if (st)
		return st;
	append_eos(service, scratch);
	out->is_endless = service->eos < 0;
	(void)reserve_learned(scratch, !is_masked);
	if (is_masked)
		out->n_straddles = mark(scratch, border, scratch->text.len);
	finish(scratch, out);
	return HONE_OK;
}

static enum hone_status
need_template(const struct hn_text_service *service, struct hone_error *err)
{
	if (service->tpl)
		return HONE_OK;
	return hone_fail(err, HONE_EMODEL,
		"the rows are conversations and the tokenizer has no chat template; use a model "
		"with one, put chat_template.jinja beside tokenizer.json, or give the rows as "
		"prompt and completion");
}

/* Renders the first n messages, or all when nothing follows. */
static enum hone_status
render_first(const struct hn_text_service *service, const json_t *messages, size_t n,
	bool add_generation_prompt, struct hn_str *out, struct hone_error *err)
{
	json_t *first = json_array();
	enum hone_status st = HONE_OK;

	for (size_t i = 0; i < n && !st; i++)
		if (json_array_append(first, json_array_get(messages, i)))
			st = hone_fail(err, HONE_ENOMEM, "no memory for a conversation");
	hn_str_clear(out);
	if (!st)
		st = hn_template_render_chat(service->tpl, first, add_generation_prompt,
			service->vars, &service->limits, out, NULL, err);
	json_decref(first);
	return st;
}

static enum hone_status
tokenise_chat(const struct hn_text_service *service, struct hn_text_scratch *scratch,
	const struct hn_sample *sample, uint32_t flags, struct hn_tokenised *out,
	struct hone_error *err)
{
	const bool is_masked = (flags & HONE_TOKENISE_ASSISTANT_ONLY) != 0;
	enum hone_status st;

	hn_str_clear(&scratch->text);
	scratch->spans.n = 0;
	st = is_masked ? hn_chat_assistant_spans(service->tpl, sample->messages, service->vars,
				 &service->limits, &scratch->text, &scratch->spans, err)
		       : hn_template_render_chat(service->tpl, sample->messages, false,
				 service->vars, &service->limits, &scratch->text, NULL, err);
	if (!st)
		st = encode_rendered(scratch, err);
	if (st)
		return st;
	(void)reserve_learned(scratch, !is_masked);
	for (size_t i = 0; i < scratch->spans.n; i++)
		out->n_straddles +=
			mark(scratch, scratch->spans.items[i].begin, scratch->spans.items[i].end);
	finish(scratch, out);
	return HONE_OK;
}

/* Length of the common beginning, in whole characters. */
static size_t
common_prefix(const struct hn_str *a, const struct hn_str *b)
{
	size_t n = 0;

	while (n < a->len && n < b->len && a->text[n] == b->text[n])
		n++;
	while (n > 0 && n < b->len && ((uint8_t)b->text[n] & 0xc0) == 0x80)
		n--;
	return n;
}

static enum hone_status
tokenise_chat_pair(const struct hn_text_service *service, struct hn_text_scratch *scratch,
	const struct hn_sample *sample, uint32_t flags, struct hn_tokenised *out,
	struct hone_error *err)
{
	const bool is_masked = (flags & HONE_TOKENISE_COMPLETION_ONLY) != 0;
	const size_t n = json_array_size(sample->messages);
	enum hone_status st;

	st = render_first(service, sample->messages, n, false, &scratch->text, err);
	if (!st && is_masked)
		st = render_first(
			service, sample->messages, sample->n_prompt, true, &scratch->prompt, err);
	if (!st)
		st = encode_rendered(scratch, err);
	if (st)
		return st;
	(void)reserve_learned(scratch, !is_masked);
	if (is_masked)
		out->n_straddles = mark(scratch, common_prefix(&scratch->prompt, &scratch->text),
			scratch->text.len);
	finish(scratch, out);
	return HONE_OK;
}

enum hone_status
hn_tokenise(const struct hn_text_service *service, struct hn_text_scratch *scratch,
	const struct hn_sample *sample, uint32_t flags, struct hn_tokenised *out,
	struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	memset(out, 0, sizeof *out);
	out->has_special = hn_sample_spells_special(service, sample);
	if (sample->kind == HN_SAMPLE_TEXT || sample->kind == HN_SAMPLE_PAIR)
		st = tokenise_plain(service, scratch, sample, flags, out, err);
	else
		st = need_template(service, err);
	if (!st && sample->kind == HN_SAMPLE_CHAT)
		st = tokenise_chat(service, scratch, sample, flags, out, err);
	if (!st && sample->kind == HN_SAMPLE_CHAT_PAIR)
		st = tokenise_chat_pair(service, scratch, sample, flags, out, err);
	st = hn_text_service_fail(service, true, st, err);
	return hn_data_clean(st, err); /* a template may quote the row */
}

/* Messages before the last assistant's turn; all when there is none. */
static size_t
count_before_answer(const struct hn_sample *sample)
{
	for (size_t i = json_array_size(sample->messages); i-- > 0;) {
		const json_t *role = json_object_get(json_array_get(sample->messages, i), "role");

		if (hn_streq(json_string_value(role), "assistant"))
			return i;
	}
	return json_array_size(sample->messages);
}

enum hone_status
hn_tokenise_prompt(const struct hn_text_service *service, struct hn_text_scratch *scratch,
	const struct hn_sample *sample, struct hn_tokenised *out, struct hone_error *err)
{
	struct hn_encoding *e = &scratch->encoding;
	enum hone_status st;

	memset(out, 0, sizeof *out);
	out->has_special = hn_sample_spells_special(service, sample);
	if (sample->kind == HN_SAMPLE_TEXT || sample->kind == HN_SAMPLE_PAIR) {
		hn_str_clear(&scratch->text);
		hn_str_puts(&scratch->text,
			sample->kind == HN_SAMPLE_PAIR ? sample->prompt : sample->text);
		st = encode_plain(service, scratch, err);
		if (!st && service->adds_eos && e->n > 0 && is_added(e, e->n - 1) &&
			e->ids[e->n - 1] == service->eos)
			e->n--;
	} else {
		st = need_template(service, err);
		if (!st)
			st = render_first(service, sample->messages,
				sample->kind == HN_SAMPLE_CHAT ? count_before_answer(sample)
							       : sample->n_prompt,
				true, &scratch->text, err);
		if (!st)
			st = encode_rendered(scratch, err);
	}
	if (st)
		return hn_data_clean(hn_text_service_fail(service, true, st, err), err);
	(void)reserve_learned(scratch, 0);
	finish(scratch, out);
	return HONE_OK;
}
