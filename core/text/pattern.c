/*
 * pattern.c - regular expressions of tokenizer files, run by PCRE2.
 *
 * Tokenizer files are written for Oniguruma (Ruby syntax).  PCRE2 reads most of that alike;
 * what it reads otherwise is rewritten, and what cannot be is refused by name:
 *
 *     \s \S    Unicode White_Space; PCRE2's own \s also takes U+180E
 *     \w       letters, marks, decimal and letter numbers, connectors, circled letters
 *     \d \D    \p{Nd}
 *     \p{L}    with the ideographs of Unicode 15 to 17; other characters assigned since the
 *              Unicode of the installed PCRE2 (14 in Debian 12) are none of letter or number
 *     ^ $      match at every line, as Ruby's do (PCRE2_MULTILINE)
 *     refused  \b \h \R \X \G \K, nested classes, && in classes, (?...) forms other than
 *              groups, (?i: ...), look-around and atomic groups
 *
 * A file's pattern is hostile until shown otherwise: its length is limited, and so is the work
 * of one match in proportion to the text.  Matching gives up with an error, it does not hang.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "text/parts.h"

enum { PATTERN_MAX = 8192, STEPS_MIN = 200000, STEPS_PER_BYTE = 32 };
enum { JIT_STACK_MIN = 32 * 1024, JIT_STACK_MAX = 8 * 1024 * 1024, HEAP_MAX_KIB = 64 * 1024 };

/* CJK extensions H, I and J (Unicode 15 to 17), which PCRE2's tables may not have yet. */
#define NEW_IDEOGRAPHS "\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{33479}"

static const char space_class[] = "\\t-\\r\\x20\\x{85}\\p{Z}";
/* Oniguruma counts the superscripts and fractions of Latin-1 as word characters. */
static const char word_class[] = "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\xB2\\xB3\\xB9\\xBC-\\xBE"
				 "\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}"
				 "\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}" NEW_IDEOGRAPHS;

struct hn_pattern {
	pcre2_code *code;
};

struct hn_matcher {
	pcre2_match_data *data;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
};

/* A pattern on its way from one syntax to the other. */
struct rewriting {
	const char *in;
	size_t n, i;
	bool in_class;
	size_t class_start; /* where a ] is still a literal */
	struct hn_str out;
};

static void
put_class(struct rewriting *r, const char *class, bool negated)
{
	if (!r->in_class)
		hn_str_puts(&r->out, negated ? "[^" : "[");
	hn_str_puts(&r->out, class);
	if (!r->in_class)
		hn_str_puts(&r->out, "]");
}

/* What is refused at r->i, in words. */
static enum hone_status
refuse(const struct rewriting *r, struct hone_error *err)
{
	const size_t left = r->n - r->i;

	return hone_fail(err, HONE_EMODEL,
		"the pattern's '%.*s' at byte %zu is a construct that is not supported",
		(int)(left < 4 ? left : 4), r->in + r->i, r->i);
}

/* \uXXXX, four hex digits. */
static enum hone_status
rewrite_code_point(struct rewriting *r, struct hone_error *err)
{
	if (r->n - r->i < 6)
		return refuse(r, err);
	for (size_t k = 2; k < 6; k++)
		if (!strchr("0123456789abcdefABCDEF", r->in[r->i + k]) || !r->in[r->i + k])
			return refuse(r, err);
	hn_str_printf(&r->out, "\\x{%.4s}", r->in + r->i + 2);
	r->i += 6;
	return HONE_OK;
}

/* An escape that both read alike, with the {...} of \p, \P and \x. */
static enum hone_status
copy_escape(struct rewriting *r, char c, struct hone_error *err)
{
	size_t len = 2;

	if (strchr("pPx", c) && r->i + 2 < r->n && r->in[r->i + 2] == '{') {
		const char *close = memchr(r->in + r->i, '}', r->n - r->i);

		if (!close)
			return refuse(r, err);
		len = (size_t)(close + 1 - (r->in + r->i));
	}
	hn_str_add(&r->out, r->in + r->i, len);
	r->i += len;
	return HONE_OK;
}

static bool
is_property(const struct rewriting *r, const char *name)
{
	const size_t len = strlen(name);

	return r->n - r->i >= 2 + len && !memcmp(r->in + r->i + 2, name, len);
}

static enum hone_status
rewrite_escape(struct rewriting *r, struct hone_error *err)
{
	const char c = r->i + 1 < r->n ? r->in[r->i + 1] : '\0';
	const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

	if (c == 'u')
		return rewrite_code_point(r, err);
	if (c == 'p' && (is_property(r, "{L}") || is_property(r, "{Lo}"))) {
		const bool is_lo = is_property(r, "{Lo}");

		put_class(r, is_lo ? "\\p{Lo}" NEW_IDEOGRAPHS : "\\p{L}" NEW_IDEOGRAPHS, false);
		r->i += is_lo ? 6 : 5;
		return HONE_OK;
	}
	if (c == 's' || (c == 'S' && !r->in_class))
		put_class(r, space_class, c == 'S');
	else if (c == 'w' || (c == 'W' && !r->in_class))
		put_class(r, word_class, c == 'W');
	else if (c == 'd' || c == 'D')
		hn_str_puts(&r->out, c == 'd' ? "\\p{Nd}" : "\\P{Nd}");
	else if (c == '\0' || (c >= '0' && c <= '9') || (is_letter && !strchr("pPrntfx", c)))
		return refuse(r, err);
	else
		return copy_escape(r, c, err);
	r->i += 2;
	return HONE_OK;
}

/* "(" and what follows it. */
static enum hone_status
rewrite_group(struct rewriting *r, struct hone_error *err)
{
	static const char *const forms[] = {
		"(?:", "(?i:", "(?-i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};

	if (r->i + 1 < r->n && r->in[r->i + 1] == '*')
		return refuse(r, err);
	if (r->i + 1 >= r->n || r->in[r->i + 1] != '?') {
		hn_str_putc(&r->out, '(');
		r->i++;
		return HONE_OK;
	}
	for (size_t k = 0; k < sizeof forms / sizeof forms[0]; k++) {
		const size_t len = strlen(forms[k]);

		if (r->n - r->i >= len && !memcmp(r->in + r->i, forms[k], len)) {
			hn_str_add(&r->out, forms[k], len);
			r->i += len;
			return HONE_OK;
		}
	}
	return refuse(r, err);
}

/* One character inside [...]. */
static enum hone_status
rewrite_in_class(struct rewriting *r, struct hone_error *err)
{
	const char c = r->in[r->i];

	if (c == '[' || (c == '&' && r->i + 1 < r->n && r->in[r->i + 1] == '&'))
		return refuse(r, err);
	if (c == ']' && r->i > r->class_start)
		r->in_class = false;
	hn_str_putc(&r->out, c);
	r->i++;
	return HONE_OK;
}

static enum hone_status
rewrite_one(struct rewriting *r, struct hone_error *err)
{
	const char c = r->in[r->i];

	if (c == '\\')
		return rewrite_escape(r, err);
	if (r->in_class)
		return rewrite_in_class(r, err);
	if (c == '(')
		return rewrite_group(r, err);
	if (c == '}' && r->i + 1 < r->n && r->in[r->i + 1] == '+')
		return refuse(r, err); /* possessive here, repeated in Ruby */
	hn_str_putc(&r->out, c);
	r->i++;
	if (c == '[') {
		r->in_class = true;
		if (r->i < r->n && r->in[r->i] == '^') {
			hn_str_putc(&r->out, '^');
			r->i++;
		}
		r->class_start = r->i;
	}
	return HONE_OK;
}

static enum hone_status
compile(struct hn_pattern *pattern, const char *text, size_t len, uint32_t options,
	struct hone_error *err)
{
	PCRE2_SIZE offset = 0;
	int code = 0;

	pattern->code = pcre2_compile((PCRE2_SPTR)text, len, options, &code, &offset, NULL);
	if (!pattern->code) {
		PCRE2_UCHAR why[128];

		(void)pcre2_get_error_message(code, why, sizeof why);
		return hone_fail(err, HONE_EMODEL, "the pattern does not compile: %s (at byte %zu)",
			(const char *)why, offset);
	}
	(void)pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE); /* without it: slower, alike */
	return HONE_OK;
}

enum hone_status
hn_pattern_create(struct hn_pattern **out, const char *text, size_t len, bool is_literal,
	struct hone_error *err)
{
	struct rewriting r = {.in = text, .n = len};
	enum hone_status st = HONE_OK;

	*out = NULL;
	if (len == 0 || len > PATTERN_MAX)
		return hone_fail(err, HONE_EMODEL, "a pattern of %zu bytes; 1 to %d are read", len,
			PATTERN_MAX);
	*out = hn_alloc(sizeof **out);
	**out = (struct hn_pattern){0};
	if (is_literal) {
		st = compile(*out, text, len, PCRE2_UTF | PCRE2_LITERAL, err);
	} else {
		while (r.i < r.n && !st)
			st = rewrite_one(&r, err);
		if (!st)
			st = compile(*out, r.out.text, r.out.len,
				PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C |
					PCRE2_NO_AUTO_CAPTURE,
				err);
	}
	hn_str_fini(&r.out);
	if (st) {
		hn_pattern_destroy(*out);
		*out = NULL;
	}
	return st;
}

void
hn_pattern_destroy(struct hn_pattern *pattern)
{
	if (!pattern)
		return;
	pcre2_code_free(pattern->code);
	free(pattern);
}

struct hn_matcher *
hn_matcher_create(void)
{
	struct hn_matcher *matcher = hn_alloc(sizeof *matcher);

	*matcher = (struct hn_matcher){
		.data = pcre2_match_data_create(1, NULL),
		.context = pcre2_match_context_create(NULL),
		.stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL),
	};
	if (!matcher->data || !matcher->context) {
		hn_matcher_destroy(matcher);
		return NULL;
	}
	if (matcher->stack)
		pcre2_jit_stack_assign(matcher->context, NULL, matcher->stack);
	(void)pcre2_set_heap_limit(matcher->context, HEAP_MAX_KIB);
	return matcher;
}

void
hn_matcher_destroy(struct hn_matcher *matcher)
{
	if (!matcher)
		return;
	pcre2_match_data_free(matcher->data);
	pcre2_match_context_free(matcher->context);
	if (matcher->stack)
		pcre2_jit_stack_free(matcher->stack);
	free(matcher);
}

int
hn_pattern_find(const struct hn_pattern *pattern, struct hn_matcher *matcher, const char *text,
	size_t n, size_t from, size_t *begin, size_t *end)
{
	const uint64_t steps = STEPS_MIN + STEPS_PER_BYTE * (uint64_t)(n - from);
	int rc;

	(void)pcre2_set_match_limit(
		matcher->context, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
	rc = pcre2_match(pattern->code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK,
		matcher->data, matcher->context);
	if (rc == PCRE2_ERROR_NOMATCH)
		return 0;
	if (rc < 0)
		return -1;
	const PCRE2_SIZE *at = pcre2_get_ovector_pointer(matcher->data);
	*begin = at[0];
	*end = at[1];
	return 1;
}
