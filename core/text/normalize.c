/*
 * normalize.c - what a tokenizer does to text before it looks for words.
 *
 * Steps of a tokenizer.json: NFC, NFD, NFKC, NFKD (utf8proc), Lowercase, Replace, Prepend and
 * Sequence.  Each byte of the result knows from which bytes of the input it comes, because
 * training masks are spans of the input.
 *
 * The four Unicode forms are applied to segments that no composition can cross (they begin at
 * a character below U+0300, a CJK ideograph, a kana or a Hangul syllable).  A segment that the
 * form leaves alone keeps exact places; one that it changes maps as a whole.  Text below U+0300
 * is its own NFC, so plain text costs one look at each byte.
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/arena.h"
#include "text/parts.h"

enum { DEPTH_MAX = 8, STEPS_MAX = 64 };

void
hn_image_fini(struct hn_image *image)
{
	hn_str_fini(&image->text);
	free(image->from);
	free(image->to);
	*image = (struct hn_image){0};
}

void
hn_image_clear(struct hn_image *image)
{
	hn_str_clear(&image->text);
}

void
hn_image_add(struct hn_image *image, const char *text, size_t n, uint32_t from, uint32_t to)
{
	const size_t start = image->text.len;

	hn_str_add(&image->text, text, n);
	image->from = hn_grow(image->from, &image->from_cap, start + n + 1, sizeof *image->from);
	image->to = hn_grow(image->to, &image->to_cap, start + n + 1, sizeof *image->to);
	for (size_t i = start; i < start + n; i++) {
		image->from[i] = from;
		image->to[i] = to;
	}
}

uint32_t
hn_view_from(const struct hn_view *view, size_t i)
{
	return view->from ? view->from[i] : view->base + (uint32_t)i;
}

uint32_t
hn_view_to(const struct hn_view *view, size_t i)
{
	return view->to ? view->to[i] : view->base + (uint32_t)i + 1;
}

void
hn_image_copy(struct hn_image *image, const struct hn_view *view, size_t begin, size_t end)
{
	const size_t start = image->text.len;

	hn_image_add(image, view->text + begin, end - begin, 0, 0);
	for (size_t i = begin; i < end; i++) {
		image->from[start + i - begin] = hn_view_from(view, i);
		image->to[start + i - begin] = hn_view_to(view, i);
	}
}

struct hn_view
hn_image_view(const struct hn_image *image)
{
	return (struct hn_view){image->text.text ? image->text.text : "", image->text.len,
		image->from, image->to, 0};
}

/* Whether no composition or reordering reaches over the left edge of a character. */
static bool
begins_segment(uint32_t c)
{
	return c < 0x300 || (c >= 0x3041 && c <= 0x3096) || (c >= 0x30A1 && c <= 0x30FA) ||
		(c >= 0x3400 && c <= 0x9FFF) || (c >= 0xAC00 && c <= 0xD7A3);
}

/* Whether the text is its own normal form for a reason that needs no tables. */
static bool
is_plain(const struct hn_view *in, enum hn_norm_kind kind)
{
	/* UTF-8 of characters below U+0300 begins with bytes below 0xCC. */
	const uint8_t limit = kind == HN_NORM_NFC ? 0xCC : 0x80;

	for (size_t i = 0; i < in->n; i++)
		if ((uint8_t)in->text[i] >= limit)
			return false;
	return true;
}

/* Appends the normal form of one segment. */
static enum hone_status
normalize_segment(struct hn_image *image, const struct hn_view *in, size_t begin, size_t end,
	utf8proc_option_t options, struct hone_error *err)
{
	const utf8proc_ssize_t len = (utf8proc_ssize_t)(end - begin);
	const uint8_t *text = (const uint8_t *)in->text + begin;
	utf8proc_ssize_t need = utf8proc_decompose(text, len, NULL, 0, options);
	utf8proc_int32_t *points;

	if (need < 0)
		return hone_fail(
			err, HONE_EDATA, "normalization failed: %s", utf8proc_errmsg(need));
	points = hn_alloc(((size_t)need + 1) * sizeof *points);
	need = utf8proc_decompose(text, len, points, need, options);
	if (need > 0)
		need = utf8proc_reencode(points, need, options); /* in place, never longer */
	if (need < 0) {
		free(points);
		return hone_fail(
			err, HONE_EDATA, "normalization failed: %s", utf8proc_errmsg(need));
	}
	if (need == len && !memcmp(points, text, (size_t)len))
		hn_image_copy(image, in, begin, end);
	else
		hn_image_add(image, (const char *)points, (size_t)need, hn_view_from(in, begin),
			hn_view_to(in, end - 1));
	free(points);
	return HONE_OK;
}

static enum hone_status
run_unicode(enum hn_norm_kind kind, struct hn_image *image, const struct hn_view *in,
	struct hone_error *err)
{
	static const int options[] = {
		[HN_NORM_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
		[HN_NORM_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
		[HN_NORM_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
		[HN_NORM_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
	};
	size_t begin = 0;
	enum hone_status st = HONE_OK;

	for (size_t i = 0; i < in->n && !st;) {
		uint32_t c = 0;
		const size_t width = hn_utf8_decode(in->text + i, in->n - i, &c);

		if (i > begin && begins_segment(c)) {
			st = normalize_segment(
				image, in, begin, i, (utf8proc_option_t)options[kind], err);
			begin = i;
		}
		i += width ? width : 1;
	}
	if (!st && begin < in->n)
		st = normalize_segment(
			image, in, begin, in->n, (utf8proc_option_t)options[kind], err);
	return st;
}

/* Character by character; only U+0130 has a lower case of two characters. */
static void
run_lowercase(struct hn_image *image, const struct hn_view *in)
{
	struct hn_str lower = {0};

	for (size_t i = 0; i < in->n;) {
		uint32_t c = 0;
		size_t width = hn_utf8_decode(in->text + i, in->n - i, &c);

		width = width ? width : 1;
		hn_str_clear(&lower);
		if (c == 0x130) {
			hn_str_puts(&lower, "i\xCC\x87");
		} else {
			hn_str_put_utf8(&lower, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
		}
		hn_image_add(image, lower.text, lower.len, hn_view_from(in, i),
			hn_view_to(in, i + width - 1));
		i += width;
	}
	hn_str_fini(&lower);
}

static enum hone_status
run_replace(const struct hn_norm *step, struct hn_matcher *matcher, struct hn_image *image,
	const struct hn_view *in, struct hone_error *err)
{
	size_t done = 0, at = 0, begin = 0, end = 0;

	while (at <= in->n) {
		const int found =
			hn_pattern_find(step->pattern, matcher, in->text, in->n, at, &begin, &end);

		if (found < 0)
			return hone_fail(err, HONE_EDATA,
				"the normalizer's pattern takes too long on this text");
		if (!found)
			break;
		if (end == begin)
			return hone_fail(err, HONE_EMODEL,
				"the normalizer's pattern matches nothing at all; that is not "
				"supported");
		hn_image_copy(image, in, done, begin);
		hn_image_add(image, step->content, step->content_len, hn_view_from(in, begin),
			hn_view_to(in, end - 1));
		done = at = end;
	}
	hn_image_copy(image, in, done, in->n);
	return HONE_OK;
}

enum hone_status
hn_norms_run(const struct hn_norms *norms, struct hn_matcher *matcher, struct hn_image images[2],
	const struct hn_view *in, struct hn_view *out, struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	*out = *in;
	for (size_t i = 0; i < norms->n && !st && out->n; i++) {
		const struct hn_norm *step = &norms->steps[i];
		struct hn_image *image = &images[out->from == images[0].from && out->from];
		const struct hn_view now = *out;

		if (step->kind <= HN_NORM_NFKD && is_plain(&now, step->kind))
			continue;
		hn_image_clear(image);
		if (step->kind == HN_NORM_REPLACE) {
			st = run_replace(step, matcher, image, &now, err);
		} else if (step->kind == HN_NORM_PREPEND) {
			hn_image_add(image, step->content, step->content_len, hn_view_from(&now, 0),
				hn_view_from(&now, 0));
			hn_image_copy(image, &now, 0, now.n);
		} else if (step->kind == HN_NORM_LOWERCASE) {
			run_lowercase(image, &now);
		} else {
			st = run_unicode(step->kind, image, &now, err);
		}
		*out = hn_image_view(image);
	}
	return st;
}

void
hn_norms_fini(struct hn_norms *norms)
{
	for (size_t i = 0; i < norms->n; i++) {
		hn_pattern_destroy(norms->steps[i].pattern);
		free(norms->steps[i].content);
	}
	free(norms->steps);
	*norms = (struct hn_norms){0};
}

static struct hn_norm *
push(struct hn_norms *norms, enum hn_norm_kind kind)
{
	norms->steps = hn_grow(norms->steps, &norms->cap, norms->n + 1, sizeof *norms->steps);
	norms->steps[norms->n] = (struct hn_norm){.kind = kind};
	return &norms->steps[norms->n++];
}

static enum hone_status
push_content(struct hn_norm *step, const json_t *json, const char *key, struct hone_error *err)
{
	const json_t *content = json_object_get(json, key);

	if (!json_is_string(content))
		return hone_fail(err, HONE_EMODEL, "a normalizer without the text '%s'", key);
	step->content_len = json_string_length(content);
	step->content = hn_alloc(step->content_len + 1);
	memcpy(step->content, json_string_value(content), step->content_len + 1);
	return HONE_OK;
}

static enum hone_status
push_replace(struct hn_norms *norms, const json_t *json, struct hone_error *err)
{
	struct hn_norm *step = push(norms, HN_NORM_REPLACE);
	const json_t *pattern = json_object_get(json, "pattern");
	const json_t *literal = json_object_get(pattern, "String");
	const json_t *regex = json_object_get(pattern, "Regex");
	const json_t *text = json_is_string(literal) ? literal : regex;
	enum hone_status st;

	if (!json_is_string(text))
		return hone_fail(err, HONE_EMODEL, "normalizer Replace without a pattern");
	st = push_content(step, json, "content", err);
	if (st)
		return st;
	return hn_pattern_create(&step->pattern, json_string_value(text), json_string_length(text),
		text == literal, err);
}

static enum hone_status
parse_step(struct hn_norms *norms, const json_t *json, int depth, struct hone_error *err)
{
	static const char *const plain[] = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase"};
	const char *type = json_string_value(json_object_get(json, "type"));
	enum hone_status st = HONE_OK;

	if (!type || norms->n >= STEPS_MAX || depth > DEPTH_MAX)
		return hone_fail(err, HONE_EMODEL, "normalizer: %s",
			type ? "too many steps" : "a step without a type");
	for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
		if (hn_streq(type, plain[i]))
			return push(norms, (enum hn_norm_kind)i) ? HONE_OK : HONE_EBUG;
	if (hn_streq(type, "Replace"))
		return push_replace(norms, json, err);
	if (hn_streq(type, "Prepend"))
		return push_content(push(norms, HN_NORM_PREPEND), json, "prepend", err);
	if (!hn_streq(type, "Sequence"))
		return hone_fail(err, HONE_EMODEL,
			"normalizer '%s' is not supported; there are NFC, NFD, NFKC, NFKD, "
			"Lowercase, "
			"Replace, Prepend and Sequence",
			type);
	const json_t *steps = json_object_get(json, "normalizers");
	for (size_t i = 0; i < json_array_size(steps) && !st; i++) {
		st = parse_step(norms, json_array_get(steps, i), depth + 1, err);
		if (st)
			hn_json_path(err, "normalizers", i);
	}
	return st;
}

enum hone_status
hn_norms_parse(struct hn_norms *norms, const json_t *json, struct hone_error *err)
{
	return !json || json_is_null(json) ? HONE_OK : parse_step(norms, json, 0, err);
}
