/*
 * pretokenize.c - cutting text into words, within which bytes are merged.
 *
 * Steps of a tokenizer.json, in its order: Split (a pattern and what becomes of the matches),
 * Digits, Punctuation, Whitespace, WhitespaceSplit and, last, ByteLevel, which may put a space
 * in front and split by GPT-2's pattern.  All but the space are one kind of step here, a
 * pattern with a behavior; the steps of a Sequence each cut what the step before has left.
 *
 * The behaviors, on "The-final--countdown" by "-":
 *     Removed             The|final|countdown
 *     Isolated            The|-|final|-|-|countdown
 *     MergedWithPrevious  The-|final-|-|countdown
 *     MergedWithNext      The|-final|-|-countdown
 *     Contiguous          The|-|final|--|countdown
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/arena.h"
#include "text/parts.h"

enum { DEPTH_MAX = 8, STEPS_MAX = 64 };

const char hn_gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+"
			       "| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* \w of Rust's regex crate, in which this step is defined there: with joiners, unlike \w in
 * patterns of files. */
#define WORD                                                                                       \
	"\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200C}\\x{200D}\\x{24B6}-\\x{24E9}"                   \
	"\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"
static const char whitespace_pattern[] = "[" WORD "]+|[^" WORD "\\s]+";

static void
add_range(struct hn_ranges *ranges, size_t begin, size_t end)
{
	if (begin == end)
		return;
	ranges->at = hn_grow(ranges->at, &ranges->cap, ranges->n + 1, sizeof *ranges->at);
	ranges->at[ranges->n++] = (struct hn_range){(uint32_t)begin, (uint32_t)end};
}

/* Where a step is in one range: stretches come in, ranges go out. */
struct splitting {
	const struct hn_pre *step;
	struct hn_ranges *out;
	size_t begin, end; /* the range that may still grow; empty = none */
	bool was_match;
};

static void
flush(struct splitting *s)
{
	add_range(s->out, s->begin, s->end);
	s->begin = s->end;
}

/* One stretch, a match or what lies between matches, may be joined with its neighbours. */
static void
take(struct splitting *s, size_t begin, size_t end, bool is_match)
{
	bool joins = false;

	is_match = is_match != s->step->invert;
	switch (s->step->behavior) {
	case HN_SPLIT_REMOVED:
		if (is_match) {
			flush(s);
			s->begin = s->end = end;
			return;
		}
		break;
	case HN_SPLIT_ISOLATED:
		break;
	case HN_SPLIT_MERGED_WITH_PREVIOUS:
		joins = is_match && !s->was_match;
		break;
	case HN_SPLIT_MERGED_WITH_NEXT:
		joins = !is_match && s->was_match;
		break;
	case HN_SPLIT_CONTIGUOUS:
		joins = is_match == s->was_match;
		break;
	}
	s->was_match = is_match;
	if (!joins) {
		flush(s);
		s->begin = begin;
	}
	s->end = end;
}

static enum hone_status
give_up(struct hone_error *err)
{
	return hone_fail(err, HONE_EDATA,
		"the tokenizer's pattern takes too long on this text; "
		"break long runs without spaces into lines");
}

/* Cuts one range by the matches of a pattern. */
static enum hone_status
split_range(struct splitting *s, struct hn_matcher *matcher, const char *text,
	struct hn_range range, struct hone_error *err)
{
	const char *piece = text + range.begin;
	const size_t n = range.end - range.begin;
	size_t done = 0, at = 0, begin = 0, end = 0;

	s->begin = s->end = range.begin;
	s->was_match = false;
	while (at <= n) {
		const int found =
			hn_pattern_find(s->step->pattern, matcher, piece, n, at, &begin, &end);

		if (found < 0)
			return give_up(err);
		if (!found)
			break;
		if (begin > done)
			take(s, range.begin + done, range.begin + begin, false);
		if (end > begin || begin > done)
			take(s, range.begin + begin, range.begin + end, true);
		done = at = end;
		if (end == begin) /* matched nothing: look on behind the next character */
			for (at++; at < n && ((uint8_t)piece[at] & 0xC0) == 0x80;)
				at++;
	}
	if (done < n)
		take(s, range.begin + done, range.end, false);
	flush(s);
	return HONE_OK;
}

/* Each numeric character by itself: what Split by \p{N}, Isolated, does, without a search for
 * text in ASCII. */
static void
split_digits(struct hn_ranges *out, const char *text, struct hn_range range)
{
	size_t done = range.begin;

	for (size_t i = range.begin; i < range.end;) {
		uint32_t c = (uint8_t)text[i];
		size_t width = 1;
		bool is_number = c - '0' < 10;

		if (c >= 0x80) {
			width = hn_utf8_decode(text + i, range.end - i, &c);
			width = width ? width : 1;
			const utf8proc_category_t kind = utf8proc_category((utf8proc_int32_t)c);

			is_number = kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL ||
				kind == UTF8PROC_CATEGORY_NO;
		}
		if (is_number) {
			add_range(out, done, i);
			add_range(out, i, i + width);
			done = i + width;
		}
		i += width;
	}
	add_range(out, done, range.end);
}

/* Puts a space in front of each word that does not begin with one. */
static void
put_spaces(struct hn_image *image, struct hn_view *view, const struct hn_ranges *in,
	struct hn_ranges *out)
{
	hn_image_clear(image);
	for (size_t i = 0; i < in->n; i++) {
		const struct hn_range range = in->at[i];
		const size_t start = image->text.len;
		const uint32_t from = hn_view_from(view, range.begin);

		if (view->text[range.begin] != ' ')
			hn_image_add(image, " ", 1, from, from);
		hn_image_copy(image, view, range.begin, range.end);
		add_range(out, start, image->text.len);
	}
	*view = hn_image_view(image);
}

enum hone_status
hn_pres_run(const struct hn_pres *pres, struct hn_matcher *matcher, struct hn_image *image,
	struct hn_view *view, struct hn_ranges words[2], int *which, struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	*which = 0;
	words[0].n = 0;
	add_range(&words[0], 0, view->n);
	for (size_t k = 0; k < pres->n && !st; k++) {
		const struct hn_ranges *in = &words[*which];
		struct hn_ranges *out = &words[!*which];
		struct splitting s = {.step = &pres->steps[k], .out = out};

		out->n = 0;
		if (s.step->kind == HN_PRE_SPACE)
			put_spaces(image, view, in, out);
		else if (s.step->kind == HN_PRE_DIGITS)
			for (size_t i = 0; i < in->n; i++)
				split_digits(out, view->text, in->at[i]);
		else
			for (size_t i = 0; i < in->n && !st; i++)
				st = split_range(&s, matcher, view->text, in->at[i], err);
		*which = !*which;
	}
	return st;
}

void
hn_pres_fini(struct hn_pres *pres)
{
	for (size_t i = 0; i < pres->n; i++)
		hn_pattern_destroy(pres->steps[i].pattern);
	free(pres->steps);
	*pres = (struct hn_pres){0};
}

static struct hn_pre *
push(struct hn_pres *pres, enum hn_pre_kind kind)
{
	pres->steps = hn_grow(pres->steps, &pres->cap, pres->n + 1, sizeof *pres->steps);
	pres->steps[pres->n] = (struct hn_pre){.kind = kind};
	return &pres->steps[pres->n++];
}

static enum hone_status
push_pattern(struct hn_pres *pres, const char *pattern, enum hn_behavior behavior, bool invert,
	struct hone_error *err)
{
	struct hn_pre *step = push(pres, HN_PRE_SPLIT);

	step->behavior = behavior;
	step->invert = invert;
	return hn_pattern_create(&step->pattern, pattern, strlen(pattern), false, err);
}

static enum hone_status
read_behavior(const json_t *json, enum hn_behavior *out, struct hone_error *err)
{
	static const char *const names[] = {
		"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
	const char *text = json_string_value(json_object_get(json, "behavior"));

	for (size_t i = 0; text && i < sizeof names / sizeof names[0]; i++)
		if (hn_streq(text, names[i])) {
			*out = (enum hn_behavior)i;
			return HONE_OK;
		}
	return hone_fail(err, HONE_EMODEL, "pre-tokenizer behavior '%s' is not known",
		text ? text : "(none)");
}

static enum hone_status
parse_split(struct hn_pres *pres, const json_t *json, struct hone_error *err)
{
	const json_t *pattern = json_object_get(json, "pattern");
	const json_t *literal = json_object_get(pattern, "String");
	const json_t *regex = json_object_get(pattern, "Regex");
	const json_t *text = json_is_string(literal) ? literal : regex;
	struct hn_pre *step = push(pres, HN_PRE_SPLIT);
	enum hone_status st;

	if (!json_is_string(text))
		return hone_fail(err, HONE_EMODEL, "pre-tokenizer Split without a pattern");
	step->invert = json_is_true(json_object_get(json, "invert"));
	st = read_behavior(json, &step->behavior, err);
	if (st)
		return st;
	return hn_pattern_create(&step->pattern, json_string_value(text), json_string_length(text),
		text == literal, err);
}

static enum hone_status
parse_byte_level(struct hn_pres *pres, const json_t *json, struct hone_error *err)
{
	pres->is_byte_level = true;
	if (json_is_true(json_object_get(json, "add_prefix_space")))
		push(pres, HN_PRE_SPACE);
	if (json_is_false(json_object_get(json, "use_regex")))
		return HONE_OK;
	return push_pattern(pres, hn_gpt2_pattern, HN_SPLIT_ISOLATED, false, err);
}

static enum hone_status
parse_step(struct hn_pres *pres, const json_t *json, int depth, struct hone_error *err)
{
	const char *type = json_string_value(json_object_get(json, "type"));
	enum hn_behavior behavior = HN_SPLIT_ISOLATED;
	enum hone_status st = HONE_OK;

	if (!type || pres->n >= STEPS_MAX || depth > DEPTH_MAX)
		return hone_fail(err, HONE_EMODEL, "pre-tokenizer: %s",
			type ? "too many steps" : "a step without a type");
	if (pres->is_byte_level)
		return hone_fail(err, HONE_EMODEL,
			"pre-tokenizer '%s' after ByteLevel is not supported; ByteLevel must be "
			"last",
			type);
	if (hn_streq(type, "ByteLevel"))
		return parse_byte_level(pres, json, err);
	if (hn_streq(type, "Split"))
		return parse_split(pres, json, err);
	if (hn_streq(type, "Digits")) {
		if (!json_is_true(json_object_get(json, "individual_digits")))
			return push_pattern(pres, "\\p{N}+", HN_SPLIT_ISOLATED, false, err);
		push(pres, HN_PRE_DIGITS);
		return HONE_OK;
	}
	if (hn_streq(type, "Whitespace"))
		return push_pattern(pres, whitespace_pattern, HN_SPLIT_REMOVED, true, err);
	if (hn_streq(type, "WhitespaceSplit"))
		return push_pattern(pres, "\\s", HN_SPLIT_REMOVED, false, err);
	if (hn_streq(type, "Punctuation")) {
		if (json_object_get(json, "behavior"))
			st = read_behavior(json, &behavior, err);
		return st ? st : push_pattern(pres, "[\\p{P}!-/:-@\\[-`{-~]", behavior, false, err);
	}
	if (!hn_streq(type, "Sequence"))
		return hone_fail(err, HONE_EMODEL,
			"pre-tokenizer '%s' is not supported; there are ByteLevel, Split, Digits, "
			"Punctuation, Whitespace, WhitespaceSplit and Sequence",
			type);
	const json_t *steps = json_object_get(json, "pretokenizers");
	for (size_t i = 0; i < json_array_size(steps) && !st; i++) {
		st = parse_step(pres, json_array_get(steps, i), depth + 1, err);
		if (st)
			hn_json_path(err, "pretokenizers", i);
	}
	return st;
}

enum hone_status
hn_pres_parse(struct hn_pres *pres, const json_t *json, struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	if (json && !json_is_null(json))
		st = parse_step(pres, json, 0, err);
	if (!st && !pres->is_byte_level)
		return hone_fail(err, HONE_EMODEL,
			"the pre-tokenizer has no ByteLevel step: this is no byte-level BPE "
			"tokenizer, and "
			"SentencePiece-like ones are not supported");
	return st;
}
