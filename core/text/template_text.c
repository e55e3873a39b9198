/*
 * template_text.c - what templates do to strings, as Python's str does it.
 *
 * Strings are UTF-8 and count in code points.  White space is str.isspace.  Letter case is
 * Unicode's simple mapping; characters whose mapping is longer than one code point or depends
 * on what stands around them are refused rather than mapped wrongly.
 */
#include <string.h>
#include <utf8proc.h>

#include "text/template_impl.h"

bool
text_is_space(uint32_t c)
{
	return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
		c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
		c == 0x202f || c == 0x205f || c == 0x3000;
}

size_t
text_next(const char *text, size_t len, uint32_t *code_point)
{
	size_t n;

	if (len && (unsigned char)text[0] < 0x80) {
		*code_point = (unsigned char)text[0];
		return 1;
	}
	n = hn_utf8_decode(text, len, code_point);
	if (!n) {
		*code_point = 0xfffd;
		return 1;
	}
	return n;
}

size_t
text_count(const char *text, size_t len)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i++)
		count += ((unsigned char)text[i] & 0xc0u) != 0x80u;
	return count;
}

/* The empty needle is found at once. */
size_t
text_find(const char *text, size_t len, size_t from, const char *needle, size_t n)
{
	const char *found;

	if (from > len || n > len - from)
		return SIZE_MAX;
	found = n ? memmem(text + from, len - from, needle, n) : text + from;
	return found ? (size_t)(found - text) : SIZE_MAX;
}

/* Is the code point one of `chars`, or white space when there are none? */
static bool
is_stripped(uint32_t c, const struct tv *chars)
{
	uint32_t one;

	if (chars->kind != TV_STR)
		return text_is_space(c);
	for (size_t i = 0, n; i < chars->len; i += n) {
		n = text_next(chars->text + i, chars->len - i, &one);
		if (one == c)
			return true;
	}
	return false;
}

/* Borrows: the result lies within the text. */
struct tv
text_strip(struct tpl_render *r, const struct tv *text, const struct tv *chars, enum text_side side)
{
	size_t begin = 0, end = text->len, n;
	uint32_t c;
	struct tv out = *text;

	if (chars->kind != TV_ABSENT && chars->kind != TV_NONE && chars->kind != TV_STR)
		tpl_fail(r, "strip takes a str of characters, not a %s", tv_type_name(chars));
	if (!tpl_spend(r, chars->kind == TV_STR ? (uint64_t)text->len * chars->len : text->len))
		return tv_undefined();
	while ((side & TEXT_LEFT) && begin < end) {
		n = text_next(text->text + begin, end - begin, &c);
		if (!is_stripped(c, chars))
			break;
		begin += n;
	}
	while ((side & TEXT_RIGHT) && end > begin) {
		n = 1;
		while (n < end - begin && ((unsigned char)text->text[end - n] & 0xc0u) == 0x80u)
			n++;
		(void)text_next(text->text + end - n, n, &c);
		if (!is_stripped(c, chars))
			break;
		end -= n;
	}
	out.text = text->text + begin;
	out.len = (uint32_t)(end - begin);
	return out;
}

static bool
need_str(struct tpl_render *r, const struct tv *v, const char *what)
{
	if (v->kind != TV_STR)
		tpl_fail(r, "%s takes a str here, not a %s", what, tv_type_name(v));
	return !r->status;
}

/* count < 0 = all.  The empty text is replaced between all characters. */
struct tv
text_replace(struct tpl_render *r, const struct tv *text, const struct tv *old, const struct tv *by,
	int64_t count)
{
	struct hn_str out = {0};
	size_t from = 0, found;

	if (!need_str(r, old, "replace") || !need_str(r, by, "replace") || !tpl_spend(r, text->len))
		return tv_undefined();
	while (count != 0 && from <= text->len) {
		found = text_find(text->text, text->len, from, old->text, old->len);
		if (found == SIZE_MAX || !tpl_spend(r, by->len))
			break;
		if ((uint64_t)out.len + text->len + by->len > r->limits.mem_bytes) {
			tpl_fail(r, "replace makes a text of more than %llu bytes",
				(unsigned long long)r->limits.mem_bytes);
			break;
		}
		hn_str_add(&out, text->text + from, found - from);
		hn_str_add(&out, by->text, by->len);
		from = found + old->len;
		count--;
		if (!old->len) { /* between all characters, as Python has it */
			uint32_t c;
			const size_t n = from < text->len
				? text_next(text->text + from, text->len - from, &c)
				: 1;

			if (from < text->len)
				hn_str_add(&out, text->text + from, n);
			from += n;
		}
	}
	if (from < text->len)
		hn_str_add(&out, text->text + from, text->len - from);
	return tv_str_take(r, &out);
}

/* split(): by runs of white space. */
static void
split_space(struct tpl_render *r, const struct tv *text, int64_t max, struct tv_seq *out)
{
	size_t i = 0, begin, n = 0;
	uint32_t c;

	while (!r->status) {
		for (; i < text->len; i += n) {
			n = text_next(text->text + i, text->len - i, &c);
			if (!text_is_space(c))
				break;
		}
		if (i >= text->len)
			return;
		if (max == 0) {
			tv_seq_push(r, out, tv_str(text->text + i, text->len - i));
			return;
		}
		for (begin = i; i < text->len; i += n) {
			n = text_next(text->text + i, text->len - i, &c);
			if (text_is_space(c))
				break;
		}
		tv_seq_push(r, out, tv_str(text->text + begin, i - begin));
		max--;
	}
}

/* Parts borrow from the text; max < 0 = no limit. */
struct tv
text_split(struct tpl_render *r, const struct tv *text, const struct tv *separator, int64_t max)
{
	struct tv out = tv_seq_new(r, SEQ_LIST, 0);
	size_t from = 0, found;

	if (!tpl_spend(r, text->len))
		return out;
	if (separator->kind == TV_ABSENT || separator->kind == TV_NONE) {
		split_space(r, text, max, out.seq);
		return out;
	}
	if (!need_str(r, separator, "split"))
		return out;
	if (!separator->len) {
		tpl_fail(r, "split by the empty str");
		return out;
	}
	for (; max != 0 && !r->status; max--) {
		found = text_find(text->text, text->len, from, separator->text, separator->len);
		if (found == SIZE_MAX)
			break;
		tv_seq_push(r, out.seq, tv_str(text->text + from, found - from));
		from = found + separator->len;
	}
	tv_seq_push(r, out.seq, tv_str(text->text + from, text->len - from));
	return out;
}

/* str.splitlines: also at the separators that Unicode has for lines. */
struct tv
text_lines(struct tpl_render *r, const struct tv *text)
{
	struct tv out = tv_seq_new(r, SEQ_LIST, 0);
	size_t begin = 0, i = 0, n;
	uint32_t c;

	(void)tpl_spend(r, text->len);
	while (i < text->len && !r->status) {
		n = text_next(text->text + i, text->len - i, &c);
		if ((c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
			c == 0x2029) {
			tv_seq_push(r, out.seq, tv_str(text->text + begin, i - begin));
			if (c == '\r' && i + 1 < text->len && text->text[i + 1] == '\n')
				n++;
			begin = i + n;
		}
		i += n;
	}
	if (begin < text->len)
		tv_seq_push(r, out.seq, tv_str(text->text + begin, text->len - begin));
	return out;
}

/* Characters whose case is not one code point for one: the special casing of Unicode. */
static bool
is_special_case(uint32_t c, bool to_upper)
{
	if (!to_upper)
		return c == 0x130 || c == 0x3a3;
	return c == 0x149 || c == 0x1f0 || c == 0x390 || c == 0x3b0 || c == 0x587 ||
		(c >= 0x1e96 && c <= 0x1e9a) || (c >= 0x1f50 && c <= 0x1ffc) ||
		(c >= 0xfb00 && c <= 0xfb17);
}

enum change { TO_LOWER, TO_UPPER, TO_TITLE };

static void
put_changed(struct tpl_render *r, struct hn_str *out, uint32_t c, enum change change)
{
	const utf8proc_int32_t code = (utf8proc_int32_t)c;

	if (c == 0xdf && change != TO_LOWER) { /* sharp s, the one that is common */
		hn_str_puts(out, change == TO_UPPER ? "SS" : "Ss");
		return;
	}
	if (is_special_case(c, change != TO_LOWER))
		tpl_fail(r, "the letter case of U+%04X is not offered", (unsigned)c);
	hn_str_put_utf8(out,
		(uint32_t)(change == TO_LOWER        ? utf8proc_tolower(code)
				: change == TO_UPPER ? utf8proc_toupper(code)
						     : utf8proc_totitle(code)));
}

/* Has the character a case, so that title() goes on in lower case behind it? */
static bool
is_cased(uint32_t c)
{
	const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);

	return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
		category == UTF8PROC_CATEGORY_LT;
}

/* What begins a word for Jinja2's filter title: [-\s({\[<]. */
static bool
is_word_break(uint32_t c)
{
	return text_is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
}

/* title() begins words behind whatever has no case, the filter behind blanks and brackets. */
struct tv
text_case(struct tpl_render *r, const struct tv *text, enum text_case how)
{
	struct hn_str out = {0};
	bool is_start = true;
	enum change change;
	struct tv result;
	uint32_t c;

	(void)tpl_spend(r, text->len);
	for (size_t i = 0, n; i < text->len && !r->status; i += n) {
		n = text_next(text->text + i, text->len - i, &c);
		if (how == CASE_LOWER || (how != CASE_UPPER && !is_start))
			change = TO_LOWER;
		else
			change =
				how == CASE_UPPER || how == CASE_TITLE_FILTER ? TO_UPPER : TO_TITLE;
		put_changed(r, &out, c, change);
		if (how == CASE_TITLE)
			is_start = !is_cased(c);
		else
			is_start = how == CASE_TITLE_FILTER && is_word_break(c);
	}
	result = tv_str_take(r, &out);
	result.flag = text->flag && result.kind == TV_STR;
	return result;
}

/* A bound of a slice: absent = `missing`, negative from the end, then into [low, high]. */
static int64_t
slice_bound(struct tpl_render *r, const struct tv *bound, int64_t n, int64_t missing, int64_t low,
	int64_t high)
{
	int64_t i;

	if (bound->kind == TV_ABSENT || bound->kind == TV_NONE)
		return missing;
	if (bound->kind != TV_INT && bound->kind != TV_BOOL) {
		tpl_fail(r, "a slice takes an int here, not a %s", tv_type_name(bound));
		return 0;
	}
	i = bound->kind == TV_BOOL ? bound->b : bound->i;
	if (i < 0)
		i += n;
	return i < low ? low : i > high ? high : i;
}

/* Bounds beyond the ends are cut, as Python does; a step of 0 fails. */
bool
slice_indices(struct tpl_render *r, const struct tv bounds[3], size_t n, int64_t *start,
	int64_t *step, size_t *count)
{
	const int64_t len = (int64_t)n;
	int64_t stop;

	*step = slice_bound(r, &bounds[2], 0, 1, -len - 1, len + 1);
	if (!*step && !r->status)
		tpl_fail(r, "a slice's step is 0");
	if (r->status)
		return false;
	if (*step > 0) {
		*start = slice_bound(r, &bounds[0], len, 0, 0, len);
		stop = slice_bound(r, &bounds[1], len, len, 0, len);
		*count = stop > *start ? (size_t)((stop - *start - 1) / *step + 1) : 0;
	} else {
		*start = slice_bound(r, &bounds[0], len, len - 1, -1, len - 1);
		stop = slice_bound(r, &bounds[1], len, -1, -1, len - 1);
		*count = *start > stop ? (size_t)((*start - stop - 1) / -*step + 1) : 0;
	}
	return !r->status;
}

struct tv
text_slice(struct tpl_render *r, const struct tv *text, const struct tv bounds[3])
{
	const size_t n = text_count(text->text, text->len);
	int64_t start, step;
	size_t count, *offsets, at = 0;
	struct hn_str out = {0};
	uint32_t c;

	if (!tpl_spend(r, text->len) || !slice_indices(r, bounds, n, &start, &step, &count))
		return tv_undefined();
	offsets = tpl_alloc(r, (uint64_t)(n + 1) * sizeof *offsets);
	if (!offsets)
		return tv_undefined();
	for (size_t i = 0; i < n; i++) {
		offsets[i] = at;
		at += text_next(text->text + at, text->len - at, &c);
	}
	offsets[n] = text->len;
	if (step == 1 && count)
		return tv_str(text->text + offsets[start],
			offsets[(size_t)start + count] - offsets[start]);
	for (size_t i = 0; i < count; i++) {
		const size_t k = (size_t)(start + (int64_t)i * step);

		hn_str_add(&out, text->text + offsets[k], offsets[k + 1] - offsets[k]);
	}
	return tv_str_take(r, &out);
}

/* HTML's five; markup stays as it is. */
struct tv
text_escape(struct tpl_render *r, const struct tv *text)
{
	static const char letters[] = "&<>'\"";
	static const char *const escapes[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
	struct hn_str out = {0};
	struct tv result;

	if (text->flag)
		return *text;
	(void)tpl_spend(r, text->len);
	for (size_t i = 0; i < text->len; i++) {
		const char c = text->text[i], *letter = c ? strchr(letters, c) : NULL;

		if (letter)
			hn_str_puts(&out, escapes[letter - letters]);
		else
			hn_str_putc(&out, c);
	}
	result = tv_str_take(r, &out);
	result.flag = result.kind == TV_STR;
	return result;
}
