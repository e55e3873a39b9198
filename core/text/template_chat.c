/*
 * template_chat.c - conversations: rendered, and which bytes of them a model learns.
 *
 * A template does not say where a message went; what a turn's bytes are has to be found out,
 * and what cannot be found out is refused.  Three ways, the first that applies to a turn:
 *
 *   generation  The template marks what it generates with {% generation %}.  Its ranges are
 *               taken; the last of a turn grows to the turn's end where that is known.
 *   prefix      With F the whole text, R(k) the text of the first k messages and R+(k) the
 *               same with the generation prompt: turn i is [|R+(i)|, |R(i+1)|), if both are
 *               beginnings of F.  Not where the template has no generation prompt, so that
 *               R+(i) = R(i): a header could stand there, which must not be learned.
 *   sentinel    For those, and for templates whose earlier text depends on later messages (a
 *               system prompt that moves into the last user's turn).  The contents of all assistant turns
 *               are replaced by unique words; F must equal that text with the contents (or
 *               the stripped contents) put back in their places.  What belongs to the turn
 *               before and behind its content is what stands there when the conversation
 *               ends with it, and has to stand there in F too.
 *
 * A template may close the whole text with eos_token whoever spoke last; then R ends with it
 * and F goes on instead, and R without it is compared.
 *
 * Refused are a turn behind whose content nothing stands (a model would never learn to stop)
 * and a turn without the last line of its content (the template has dropped or changed what
 * was said; text before the last line may go, as thoughts do).
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "text/template_impl.h"

#define SALTS 64

/* What the three ways share. */
struct chat {
	const struct hn_template *tpl;
	const json_t *messages, *vars;
	const struct hn_template_limits *limits;
	const char *full; /* F */
	size_t full_len;
};

static json_t *
unconst(const json_t *json)
{
	return (json_t *)(uintptr_t)json; /* jansson counts references in const values too */
}

/* vars with the conversation in it; the caller decrefs.  NULL without memory. */
static json_t *
chat_vars(const json_t *vars, const json_t *messages, bool add_generation_prompt)
{
	static const char *const absent[] = {"tools", "documents"};
	json_t *out = json_object();
	int rc = 0;

	for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
		rc |= json_object_set_new(out, absent[i], json_null());
	if (vars)
		rc |= json_object_update(out, unconst(vars));
	rc |= json_object_set(out, "messages", unconst(messages));
	rc |= json_object_set_new(
		out, "add_generation_prompt", json_boolean(add_generation_prompt));
	if (rc) {
		json_decref(out);
		return NULL;
	}
	return out;
}

enum hone_status
hn_template_render_chat(const struct hn_template *tpl, const json_t *messages,
	bool add_generation_prompt, const json_t *vars, const struct hn_template_limits *limits,
	struct hn_str *out, struct hn_spans *spans, struct hone_error *err)
{
	json_t *all;
	enum hone_status st;

	if (!json_is_array(messages) || (vars && !json_is_object(vars)))
		return hone_fail(err, HONE_EINVAL,
			"messages are a JSON array and the template's variables an object");
	all = chat_vars(vars, messages, add_generation_prompt);
	if (!all)
		return hone_fail(err, HONE_ENOMEM, "no memory for a conversation");
	st = hn_template_render(tpl, all, limits, out, spans, err);
	json_decref(all);
	return st;
}

/* Renders the first n of `messages`; false (and an empty text) when the template refuses. */
static bool
render_first(
	const struct chat *chat, const json_t *messages, size_t n, bool prompt, struct hn_str *out)
{
	json_t *first = json_array();
	struct hone_error ignored = {0};
	bool is_bad = !first;

	for (size_t i = 0; i < n && !is_bad; i++)
		is_bad = json_array_append(first, json_array_get(messages, i)) != 0;
	is_bad = is_bad ||
		hn_template_render_chat(chat->tpl, first, prompt, chat->vars, chat->limits, out,
			NULL, &ignored) != HONE_OK;
	json_decref(first);
	return !is_bad;
}

static bool
is_prefix(const struct hn_str *text, const char *of, size_t len)
{
	return text->len <= len && (!text->len || !memcmp(of, text->text, text->len));
}

/* The eos_token of the variables, or the empty text. */
static struct tv
eos_token(const struct chat *chat)
{
	const json_t *eos = json_object_get(chat->vars, "eos_token");

	return json_is_string(eos) ? tv_str(json_string_value(eos), json_string_length(eos))
				   : tv_str("", 0);
}

static bool
ends_with(const struct hn_str *text, const struct tv *end)
{
	return end->len && text->len >= end->len &&
		!memcmp(text->text + text->len - end->len, end->text, end->len);
}

/* Does the template close the text of the first n messages with eos_token, too? */
static bool
is_closed_with_eos(const struct chat *chat, size_t n)
{
	const struct tv eos = eos_token(chat);
	struct hn_str text = {0};
	bool is_closed =
		render_first(chat, chat->messages, n, false, &text) && ends_with(&text, &eos);

	hn_str_fini(&text);
	return is_closed;
}

/* |R(n)| or |R+(n)| when it is a beginning of F, else SIZE_MAX.  A closing eos_token that
 * stands behind every last speaker does not count. */
static size_t
prefix_len(const struct chat *chat, size_t n, bool prompt)
{
	const struct tv eos = eos_token(chat);
	struct hn_str text = {0};
	size_t len = SIZE_MAX;

	if (render_first(chat, chat->messages, n, prompt, &text)) {
		if (is_prefix(&text, chat->full, chat->full_len)) {
			len = text.len;
		} else if (!prompt && n > 0 && ends_with(&text, &eos)) {
			text.len -= eos.len;
			if (is_prefix(&text, chat->full, chat->full_len) &&
				(is_closed_with_eos(chat, n - 1) ||
					is_closed_with_eos(chat, n + 1)))
				len = text.len;
		}
	}
	hn_str_fini(&text);
	return len;
}

static bool
is_assistant(const json_t *message)
{
	const char *role = json_string_value(json_object_get(message, "role"));

	return role && strcmp(role, "assistant") == 0;
}

/* The content of message i when it is a text; kind TV_ABSENT else. */
static struct tv
content_of(const json_t *messages, size_t i)
{
	const json_t *content = json_object_get(json_array_get(messages, i), "content");

	if (!json_is_string(content))
		return (struct tv){.kind = TV_ABSENT};
	return tv_str(json_string_value(content), json_string_length(content));
}

static struct tv
strip(const struct tv *text, enum text_side side)
{
	const struct tv none = {.kind = TV_ABSENT};

	return text_strip(NULL, text, &none, side);
}

static bool
starts_with(const char *text, size_t len, const char *prefix, size_t n)
{
	return n <= len && !memcmp(text, prefix, n);
}

/* Is the last line of what message i says within [begin, end) of F? */
static bool
holds_content(const struct chat *chat, size_t i, size_t begin, size_t end)
{
	const struct tv content = content_of(chat->messages, i);
	struct tv line;
	const char *newline;

	if (content.kind != TV_STR)
		return true;
	line = strip(&content, TEXT_BOTH);
	newline = line.len ? memrchr(line.text, '\n', line.len) : NULL;
	if (newline) {
		line.len -= (uint32_t)(newline + 1 - line.text);
		line.text = newline + 1;
		line = strip(&line, TEXT_BOTH);
	}
	return text_find(chat->full + begin, end - begin, 0, line.text, line.len) != SIZE_MAX;
}

static void
span_push(struct hn_spans *spans, size_t begin, size_t end, size_t message)
{
	spans->items = hn_grow(spans->items, &spans->cap, spans->n + 1, sizeof *spans->items);
	spans->items[spans->n++] =
		(struct hn_span){.begin = begin, .end = end, .message = (int64_t)message};
}

/* ---- prefix ---- */

/* The turn by the prefix rule; false when the template does not follow it. */
static bool
turn_by_prefix(const struct chat *chat, size_t i, struct hn_span *out)
{
	const struct tv content = content_of(chat->messages, i);
	const size_t begin = prefix_len(chat, i, true);
	const size_t end = begin == SIZE_MAX ? SIZE_MAX : prefix_len(chat, i + 1, false);
	struct tv said, text;

	if (end == SIZE_MAX || end <= begin)
		return false;
	*out = (struct hn_span){.begin = begin, .end = end, .message = (int64_t)i};
	if (prefix_len(chat, i, false) == begin)
		return false;
	if (content.kind != TV_STR)
		return true;
	/* Something must stand behind the content. */
	said = strip(&content, TEXT_BOTH);
	text = tv_str(chat->full + begin, end - begin);
	return holds_content(chat, i, begin, end) &&
		!(said.len &&
			text_find(text.text, text.len, 0, said.text, said.len) ==
				(size_t)text.len - said.len);
}

/* ---- sentinel ---- */

/* The conversation with sentinels for the texts of assistant turns. */
struct sentinels {
	json_t *messages;
	struct hn_str full;      /* what it renders to */
	struct hn_span *content; /* of each message in F; begin = SIZE_MAX: no sentinel */
	int salt;
};

static void
sentinel_word(const struct sentinels *s, size_t i, char out[48])
{
	(void)snprintf(out, 48, "hnSaid%dx%zux", s->salt, i);
}

/* A salt whose words are nowhere in F. */
static bool
sentinel_salt(const struct chat *chat, struct sentinels *s)
{
	char word[48];

	for (s->salt = 0; s->salt < SALTS; s->salt++) {
		(void)snprintf(word, sizeof word, "hnSaid%dx", s->salt);
		if (!memmem(chat->full, chat->full_len, word, strlen(word)))
			return true;
	}
	return false;
}

/* Copies of the assistant's messages with a word for their content, rendered once. */
static bool
sentinel_messages(const struct chat *chat, struct sentinels *s)
{
	const size_t n = json_array_size(chat->messages);
	char word[48];
	bool is_bad;

	s->messages = json_array();
	is_bad = !s->messages;
	for (size_t i = 0; i < n && !is_bad; i++) {
		json_t *message = json_array_get(chat->messages, i);

		s->content[i] = (struct hn_span){.begin = SIZE_MAX};
		if (!is_assistant(message) || content_of(chat->messages, i).kind != TV_STR) {
			is_bad = json_array_append(s->messages, message) != 0;
			continue;
		}
		s->content[i].begin = 0;
		sentinel_word(s, i, word);
		message = json_copy(message);
		is_bad = json_object_set_new(message, "content", json_string(word)) != 0;
		is_bad = json_array_append_new(s->messages, message) != 0 || is_bad;
	}
	return !is_bad &&
		hn_template_render_chat(chat->tpl, s->messages, false, chat->vars, chat->limits,
			&s->full, NULL, NULL) == HONE_OK;
}

/* From `from`, the next sentinel in the text: its offset (the text's end when there is none
 * left) and, in *i, the message; *i starts at the first one that may come. */
static size_t
next_sentinel(const struct sentinels *s, size_t n, size_t from, size_t *i)
{
	size_t at = SIZE_MAX;
	char word[48];

	for (; *i < n && at == SIZE_MAX; ++*i) {
		if (s->content[*i].begin == SIZE_MAX)
			continue;
		sentinel_word(s, *i, word);
		at = text_find(s->full.text, s->full.len, from, word, strlen(word));
		if (at == SIZE_MAX)
			return SIZE_MAX;
		break;
	}
	return at == SIZE_MAX ? s->full.len : at;
}

/* Puts the contents back: F has to be the sentinels' text with each word replaced. */
static bool
sentinel_match(const struct chat *chat, struct sentinels *s)
{
	static const enum text_side sides[] = {0, TEXT_BOTH, TEXT_RIGHT, TEXT_LEFT};
	const size_t n = json_array_size(chat->messages);
	size_t i = 0, at = next_sentinel(s, n, 0, &i), pos = 0, next, next_at, gap, k;
	char word[48];

	if (at == SIZE_MAX ||
		!starts_with(chat->full, chat->full_len, s->full.text ? s->full.text : "", at))
		return false;
	for (pos = at; i < n; i = next, at = next_at) {
		const struct tv content = content_of(chat->messages, i);
		struct tv said = content;

		sentinel_word(s, i, word);
		at += strlen(word);
		next = i + 1;
		next_at = next_sentinel(s, n, at, &next);
		if (next_at == SIZE_MAX)
			return false;
		gap = next_at - at;
		for (k = 0; k < 4; k++) {
			said = sides[k] ? strip(&content, sides[k]) : content;
			if (starts_with(
				    chat->full + pos, chat->full_len - pos, said.text, said.len) &&
				starts_with(chat->full + pos + said.len,
					chat->full_len - pos - said.len, s->full.text + at, gap))
				break;
		}
		if (k == 4)
			return false;
		s->content[i].begin = pos;
		s->content[i].end = pos + said.len;
		pos += said.len + gap;
	}
	return pos == chat->full_len;
}

/* |R+(i)| of the sentinels' conversation as far as it is a beginning of `text`, else
 * `missing`.  Without a generation prompt of its own it must reach the word but for blanks,
 * or what stands between is the turn's header. */
static size_t
sentinel_prompt(const struct chat *chat, const struct sentinels *s, size_t i,
	const struct hn_str *text, size_t word_at)
{
	struct hn_str prompt = {0}, bare = {0};
	size_t len = word_at;
	struct tv lead;

	if (render_first(chat, s->messages, i, true, &prompt) &&
		is_prefix(&prompt, text->text, word_at)) {
		lead = tv_str(text->text + prompt.len, word_at - prompt.len);
		if (strip(&lead, TEXT_BOTH).len == 0 ||
			(render_first(chat, s->messages, i, false, &bare) &&
				bare.len != prompt.len))
			len = prompt.len;
	}
	hn_str_fini(&prompt);
	hn_str_fini(&bare);
	return len;
}

/* The turn by its sentinel: content, and around it what stands there when the conversation
 * ends with this turn. */
static bool
turn_by_sentinel(const struct chat *chat, const struct sentinels *s, size_t i, struct hn_span *out)
{
	const struct hn_span content = s->content[i];
	struct hn_str text = {0};
	size_t at, behind, lead, tail;
	bool is_found = false;
	char word[48];

	if (content.begin == SIZE_MAX)
		return false;
	sentinel_word(s, i, word);
	if (!render_first(chat, s->messages, i + 1, false, &text))
		goto out;
	at = text_find(text.text, text.len, 0, word, strlen(word));
	if (at == SIZE_MAX)
		goto out;
	behind = at + strlen(word);
	tail = text.len - behind;
	lead = at - sentinel_prompt(chat, s, i, &text, at);
	if (lead > content.begin ||
		memcmp(chat->full + content.begin - lead, text.text + at - lead, lead) != 0)
		lead = 0;
	if (!tail ||
		!starts_with(chat->full + content.end, chat->full_len - content.end,
			text.text + behind, tail))
		goto out;
	*out = (struct hn_span){content.begin - lead, content.end + tail, (int64_t)i};
	is_found = true;
out:
	hn_str_fini(&text);
	return is_found;
}

static void
sentinels_fini(struct sentinels *s)
{
	json_decref(s->messages);
	hn_str_fini(&s->full);
	free(s->content);
}

/* ---- all turns ---- */

/* The one message for a turn whose bytes are not known. */
static enum hone_status
refuse_turn(size_t i, struct hone_error *err)
{
	return hone_fail_at(err, HONE_EUNSUPPORTED, TPL_PLACE, 0, 0,
		"what this template makes of the assistant's turn (message %zu) cannot be told "
		"apart: the conversation up to it is not the beginning of the whole text, its "
		"content is not in the text as it is, or nothing ends the turn; use a template "
		"with {%% generation %%} blocks, or [sft] assistant_only_loss = no",
		i + 1);
}

/* Turns without generation blocks, onto `spans`. */
static enum hone_status
spans_of_turns(const struct chat *chat, struct hn_spans *spans, struct hone_error *err)
{
	const size_t n = json_array_size(chat->messages);
	struct sentinels s = {0};
	bool is_tried = false, has_sentinels = false;
	enum hone_status st = HONE_OK;
	size_t last = 0;

	for (size_t i = 0; i < n && !st; i++) {
		struct hn_span span = {0};

		if (!is_assistant(json_array_get(chat->messages, i)))
			continue;
		if (!turn_by_prefix(chat, i, &span)) {
			if (!is_tried) {
				is_tried = true;
				s.content = hn_alloc(n * sizeof *s.content);
				has_sentinels = sentinel_salt(chat, &s) &&
					sentinel_messages(chat, &s) && sentinel_match(chat, &s);
			}
			if (!has_sentinels || !turn_by_sentinel(chat, &s, i, &span))
				st = refuse_turn(i, err);
		}
		if (!st && span.begin < last)
			st = refuse_turn(i, err);
		if (!st) {
			span_push(spans, span.begin, span.end, i);
			last = span.end;
		}
	}
	sentinels_fini(&s);
	return st;
}

/* Gives the ranges of generation blocks their turn and lets the last of a turn grow. */
static enum hone_status
spans_of_blocks(const struct chat *chat, const struct hn_spans *blocks, struct hn_spans *spans,
	struct hone_error *err)
{
	const size_t n = json_array_size(chat->messages), first = spans->n;

	for (size_t k = 0; k < blocks->n; k++)
		if (blocks->items[k].begin < blocks->items[k].end &&
			(spans->n == first ||
				blocks->items[k].begin >= spans->items[spans->n - 1].end))
			span_push(spans, blocks->items[k].begin, blocks->items[k].end, (size_t)-1);
	if (spans->n == first)
		return hone_fail_at(err, HONE_EUNSUPPORTED, TPL_PLACE, 0, 0,
			"the template's generation blocks mark nothing in a conversation with an "
			"assistant's turn: nothing could be learned");
	for (size_t i = 0; i < n; i++) {
		struct hn_span *latest = NULL;
		bool is_held = false;
		size_t begin, end;

		if (!is_assistant(json_array_get(chat->messages, i)))
			continue;
		begin = prefix_len(chat, i, false);
		end = begin == SIZE_MAX ? SIZE_MAX : prefix_len(chat, i + 1, false);
		for (size_t k = first; end != SIZE_MAX && k < spans->n; k++) {
			if (spans->items[k].begin < begin || spans->items[k].end > end)
				continue;
			latest = &spans->items[k];
			latest->message = (int64_t)i;
			is_held = is_held || holds_content(chat, i, latest->begin, latest->end);
		}
		if (latest && (latest + 1 == spans->items + spans->n || latest[1].begin >= end))
			latest->end = end;
		if (latest && !is_held)
			return refuse_turn(i, err);
	}
	return HONE_OK;
}

/* A failure of any turn takes back the text and all spans. */
enum hone_status
hn_chat_assistant_spans(const struct hn_template *tpl, const json_t *messages, const json_t *vars,
	const struct hn_template_limits *limits, struct hn_str *out, struct hn_spans *spans,
	struct hone_error *err)
{
	struct chat chat = {.tpl = tpl, .messages = messages, .vars = vars, .limits = limits};
	const size_t n_before = spans->n, out_start = out->len;
	struct hn_spans blocks = {0};
	bool has_turn = false;
	enum hone_status st;

	st = hn_template_render_chat(tpl, messages, false, vars, limits, out, &blocks, err);
	if (st)
		goto out;
	for (size_t i = 0; i < json_array_size(messages); i++)
		has_turn = has_turn || is_assistant(json_array_get(messages, i));
	chat.full = out->text ? out->text + out_start : "";
	chat.full_len = out->len - out_start;
	if (has_turn && tpl->has_generation)
		st = spans_of_blocks(&chat, &blocks, spans, err);
	else if (has_turn)
		st = spans_of_turns(&chat, spans, err);
	if (st) {
		spans->n = n_before;
		out->len = out_start;
		if (out->text)
			out->text[out_start] = 0;
	}
out:
	hn_spans_fini(&blocks);
	return st;
}
