/*
 * template_lex.c - cuts a chat template into tokens, with Jinja2's rules for white space.
 *
 * Outside of tags everything is data.  {% %} holds a statement, {{ }} an expression, {# #} a
 * comment, {% raw %} ... {% endraw %} plain data.  White space around tags:
 *
 *   trim_blocks     one newline behind %} and #} is dropped, unless written +%}
 *   lstrip_blocks   blanks between the line's start and {% or {# are dropped, unless {%+
 *   {%- {{- {#-     all white space before is dropped;   -%} -}} -#}  all behind
 *
 * Line ends become \n first, and one newline at the template's end is dropped.  White space
 * is what Python's str.isspace says.  Identifiers are ASCII here; Jinja2 has Unicode ones.
 */
#include <stdlib.h>
#include <string.h>

#include "text/template_impl.h"

#define BRACKETS_MAX 128

struct lex {
	struct hn_arena *arena;
	struct tok_list *out;
	const char *text;
	size_t len, pos;
	size_t counted; /* line and column are those of this offset */
	int32_t line, column;
	bool is_line_start; /* the last tag ended with a newline */
	struct hone_error *err;
	enum hone_status status;
};

/* Moves line and column on to the offset `to`, which never goes back. */
static void
count_to(struct lex *lex, size_t to)
{
	for (; lex->counted < to; lex->counted++) {
		const char c = lex->text[lex->counted];

		if (c == '\n') {
			lex->line++;
			lex->column = 1;
		} else if (((unsigned char)c & 0xc0u) != 0x80u) {
			lex->column++;
		}
	}
}

/* Fails at the current position. */
static void
fail(struct lex *lex, const char *what)
{
	if (lex->status)
		return;
	count_to(lex, lex->pos);
	lex->status =
		hone_fail_at(lex->err, HONE_EMODEL, TPL_PLACE, lex->line, lex->column, "%s", what);
}

/* Does `text` stand at the offset? */
static bool
at(const struct lex *lex, size_t pos, const char *text)
{
	const size_t n = strlen(text);

	return lex->len - pos >= n && !memcmp(lex->text + pos, text, n);
}

/* A token at the offset, with its line and column; valid until the next push. */
static struct tok *
push(struct lex *lex, enum tok_kind kind, size_t pos)
{
	struct tok_list *list = lex->out;

	count_to(lex, pos);
	list->items = hn_grow(list->items, &list->cap, list->n + 1, sizeof *list->items);
	list->items[list->n] =
		(struct tok){.kind = kind, .line = lex->line, .column = lex->column, .text = ""};
	return &list->items[list->n++];
}

static size_t
skip_space(const struct lex *lex, size_t pos)
{
	uint32_t c;
	size_t n;

	for (; pos < lex->len; pos += n) {
		n = text_next(lex->text + pos, lex->len - pos, &c);
		if (!text_is_space(c))
			break;
	}
	return pos;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_name(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* The data before a tag, [begin, end), shortened as the tag's sign says. */
static void
push_data(struct lex *lex, size_t begin, size_t end, char sign, bool is_print)
{
	const struct tv none = {.kind = TV_ABSENT};
	struct tv text = tv_str(lex->text + begin, end - begin);
	size_t line = end;

	if (sign == '-') {
		text = text_strip(NULL, &text, &none, TEXT_RIGHT);
	} else if (sign != '+' && !is_print) {
		while (line > begin && lex->text[line - 1] != '\n')
			line--;
		if ((line > begin || lex->is_line_start) && skip_space(lex, line) >= end)
			text.len = (uint32_t)(line - begin);
	}
	if (text.len) {
		struct tok *tok = push(lex, TOK_DATA, begin);

		tok->text = text.text;
		tok->len = text.len;
	}
}

/* Behind a closing %} or #}: where the text goes on.  `sign` is what stood before it. */
static size_t
after_block(const struct lex *lex, size_t pos, char sign)
{
	if (sign == '-')
		return skip_space(lex, pos);
	if (sign != '+' && pos < lex->len && lex->text[pos] == '\n')
		return pos + 1;
	return pos;
}

/* Notes whether the tag ate the end of its line: lstrip_blocks asks. */
static void
move_behind_tag(struct lex *lex, size_t pos)
{
	lex->is_line_start = pos > 0 && lex->text[pos - 1] == '\n';
	lex->pos = pos;
}

/* pos is behind {# and its sign. */
static void
lex_comment(struct lex *lex)
{
	for (size_t i = lex->pos; i < lex->len; i++) {
		const char sign = lex->text[i] == '-' || lex->text[i] == '+' ? lex->text[i] : 0;
		const size_t mark = i + (sign ? 1 : 0);

		if (at(lex, mark, "#}")) {
			move_behind_tag(lex, after_block(lex, mark + 2, sign));
			return;
		}
	}
	lex->pos = lex->counted; /* its first brace */
	fail(lex, "the comment that begins here has no end; close it with #}");
}

/* {% raw %}: `body` is behind it.  Data up to {% endraw %}. */
static void
lex_raw(struct lex *lex, size_t body)
{
	for (size_t i = body; i + 2 <= lex->len; i++) {
		size_t pos = i + 2;
		char open = 0, close = 0;

		if (!at(lex, i, "{%"))
			continue;
		if (pos < lex->len && (lex->text[pos] == '-' || lex->text[pos] == '+'))
			open = lex->text[pos++];
		pos = skip_space(lex, pos);
		if (!at(lex, pos, "endraw"))
			continue;
		pos = skip_space(lex, pos + 6);
		if (pos < lex->len && (lex->text[pos] == '-' || lex->text[pos] == '+'))
			close = lex->text[pos++];
		if (!at(lex, pos, "%}"))
			continue;
		push_data(lex, body, i, open, false);
		move_behind_tag(lex, after_block(lex, pos + 2, close));
		return;
	}
	fail(lex, "the raw block that begins here has no end; close it with {% endraw %}");
}

/* The offset behind {% raw %} at pos, or 0.  No newline is trimmed behind it. */
static size_t
raw_begin(const struct lex *lex, size_t pos)
{
	pos += 2;
	if (pos < lex->len && (lex->text[pos] == '-' || lex->text[pos] == '+'))
		pos++;
	pos = skip_space(lex, pos);
	if (!at(lex, pos, "raw"))
		return 0;
	pos = skip_space(lex, pos + 3);
	if (at(lex, pos, "-%}"))
		return skip_space(lex, pos + 3);
	return at(lex, pos, "%}") ? pos + 2 : 0;
}

static int
hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* n digits of the base at text[i..end); returns how many were read. */
static size_t
read_digits(const char *text, size_t i, size_t end, size_t most, int base, uint32_t *code_point)
{
	size_t n = 0;

	*code_point = 0;
	for (; n < most && i + n < end; n++) {
		const int digit = hex_digit(text[i + n]);

		if (digit < 0 || digit >= base)
			break;
		*code_point = *code_point * (uint32_t)base + (uint32_t)digit;
	}
	return n;
}

/* One escape behind the backslash at text[i - 1]; returns the bytes it takes. */
static size_t
unescape(struct lex *lex, struct hn_str *out, size_t i, size_t end)
{
	static const char letters[] = "abfnrtv\\'\"";
	static const char values[] = "\a\b\f\n\r\t\v\\'\"";
	const char c = lex->text[i];
	const char *letter = c ? strchr(letters, c) : NULL;
	uint32_t code_point;
	size_t want, n;

	if (letter) {
		hn_str_putc(out, values[letter - letters]);
		return 1;
	}
	if (c == '\n')
		return 1;
	if (c >= '0' && c <= '7') {
		n = read_digits(lex->text, i, end, 3, 8, &code_point);
		hn_str_put_utf8(out, code_point);
		return n;
	}
	want = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
	if (want) {
		n = read_digits(lex->text, i + 1, end, want, 16, &code_point);
		if (n < want || code_point > 0x10ffff || (code_point & 0x1ff800u) == 0xd800u)
			fail(lex, "an escape in this string is no code point of Unicode");
		hn_str_put_utf8(out, code_point);
		return 1 + n;
	}
	if (c == 'N' || (unsigned char)c >= 0x80)
		fail(lex, "an escape in this string is not offered");
	hn_str_putc(out, '\\');
	return 0;
}

/* A string from its quote at pos. */
static void
lex_string(struct lex *lex)
{
	const char quote = lex->text[lex->pos];
	struct hn_str out = {0};
	size_t end = lex->pos + 1;
	struct tok *tok;

	while (end < lex->len && lex->text[end] != quote)
		end += lex->text[end] == '\\' ? 2 : 1;
	if (end >= lex->len) {
		fail(lex, "the string that begins here has no end");
		return;
	}
	for (size_t i = lex->pos + 1; i < end && !lex->status;) {
		const char c = lex->text[i++];

		if (c == '\\')
			i += unescape(lex, &out, i, end);
		else
			hn_str_putc(&out, c);
	}
	tok = push(lex, TOK_STRING, lex->pos);
	tok->text = hn_arena_copy(lex->arena, out.text ? out.text : "", out.len);
	tok->len = out.len;
	hn_str_fini(&out);
	lex->pos = end + 1;
}

/* Copies digits with single underscores between them away from pos; returns the new pos. */
static size_t
copy_digits(const struct lex *lex, size_t pos, char *out, size_t *n, size_t cap)
{
	while (pos < lex->len && *n + 1 < cap) {
		const char c = lex->text[pos];

		if (is_digit(c))
			out[(*n)++] = c;
		else if (c != '_' || pos + 1 >= lex->len || !is_digit(lex->text[pos + 1]))
			break;
		pos++;
	}
	return pos;
}

static bool
digit_at(const struct lex *lex, size_t pos)
{
	return pos < lex->len && is_digit(lex->text[pos]);
}

/* 12, 1_000, 1.5, 2e-3.  Not behind a dot, where x.0.1 is two subscripts. */
static void
lex_number(struct lex *lex, bool is_behind_dot)
{
	char digits[64];
	size_t n = 0, pos = copy_digits(lex, lex->pos, digits, &n, sizeof digits - 4), e;
	bool is_float = false;
	struct tok *tok;

	if (!is_behind_dot && pos < lex->len && lex->text[pos] == '.' && digit_at(lex, pos + 1)) {
		is_float = true;
		digits[n++] = '.';
		pos = copy_digits(lex, pos + 1, digits, &n, sizeof digits - 3);
	}
	e = pos + 1;
	if (!is_behind_dot && pos < lex->len && (lex->text[pos] | 0x20) == 'e') {
		if (e < lex->len && (lex->text[e] == '-' || lex->text[e] == '+'))
			e++;
		if (digit_at(lex, e)) {
			is_float = true;
			digits[n++] = 'e';
			if (lex->text[e - 1] == '-')
				digits[n++] = '-';
			pos = copy_digits(lex, e, digits, &n, sizeof digits);
		}
	}
	digits[n] = 0;
	tok = push(lex, is_float ? TOK_FLOAT : TOK_INT, lex->pos);
	if ((n > 1 && digits[0] == '0' && !is_float && digits[strspn(digits, "0")]) ||
		(pos < lex->len && is_name(lex->text[pos])) ||
		!(is_float ? hn_parse_f64(digits, &tok->f) : hn_parse_i64(digits, &tok->i)))
		fail(lex, "this number is not offered; write a decimal one of at most 64 bits");
	lex->pos = pos;
}

/* One operator; keeps the stack of open brackets. */
static void
lex_operator(struct lex *lex, char *brackets, size_t *depth)
{
	static const char *const pairs[] = {"**", "//", "==", "!=", "<=", ">="};
	const char c = lex->text[lex->pos];
	const char *const open = "([{", *const close = ")]}", *found;
	const int one = (unsigned char)c;
	int op = one;

	for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
		if (at(lex, lex->pos, pairs[i]))
			op = TOK_PAIR(pairs[i][0], pairs[i][1]);
	if (!c || (op == one && !strchr("+-/*%~[](){}<>=.:|,", c))) {
		fail(lex, "this character has no meaning in a tag");
		return;
	}
	found = strchr(open, c);
	if (found && *depth == BRACKETS_MAX) {
		fail(lex, "brackets are nested too deeply");
	} else if (found) {
		brackets[(*depth)++] = close[found - open];
	} else if (strchr(close, c)) {
		if (!*depth || brackets[*depth - 1] != c) {
			fail(lex, "this bracket closes nothing");
			return;
		}
		(*depth)--;
	}
	push(lex, TOK_OP, lex->pos)->op = op;
	lex->pos += op == one ? 1 : 2;
}

/* At the tag's end?  Then moves behind it. */
static bool
lex_tag_end(struct lex *lex, bool is_print)
{
	const char c = lex->text[lex->pos];
	const char sign = c == '-' || (c == '+' && !is_print) ? c : 0;
	const size_t mark = lex->pos + (sign ? 1 : 0);

	if (!at(lex, mark, is_print ? "}}" : "%}"))
		return false;
	push(lex, is_print ? TOK_PRINT_END : TOK_BLOCK_END, lex->pos);
	if (is_print)
		move_behind_tag(lex, sign ? skip_space(lex, mark + 2) : mark + 2);
	else
		move_behind_tag(lex, after_block(lex, mark + 2, sign));
	return true;
}

/* The inside of {% or {{ up to its end. */
static void
lex_tag(struct lex *lex, bool is_print)
{
	char brackets[BRACKETS_MAX];
	size_t depth = 0;
	const size_t begin = lex->pos;
	bool is_behind_dot = false;

	while (!lex->status) {
		lex->pos = skip_space(lex, lex->pos);
		if (lex->pos >= lex->len) {
			lex->pos = begin > lex->counted ? begin : lex->counted;
			fail(lex, "the template ends inside a tag");
			return;
		}
		if (!depth && lex_tag_end(lex, is_print))
			return;
		const char c = lex->text[lex->pos];

		if (is_digit(c)) {
			lex_number(lex, is_behind_dot);
		} else if (is_name(c)) {
			struct tok *tok = push(lex, TOK_NAME, lex->pos);

			tok->text = lex->text + lex->pos;
			while (lex->pos < lex->len && is_name(lex->text[lex->pos]))
				lex->pos++;
			tok->len = (size_t)(lex->text + lex->pos - tok->text);
		} else if (c == '"' || c == '\'') {
			lex_string(lex);
		} else {
			lex_operator(lex, brackets, &depth);
		}
		is_behind_dot = c == '.';
	}
}

/* One stretch of data and the tag behind it. */
static void
lex_next(struct lex *lex)
{
	const size_t begin = lex->pos;
	size_t tag = begin, body;
	char sign = 0;
	bool is_print;

	while (tag < lex->len && !at(lex, tag, "{%") && !at(lex, tag, "{{") && !at(lex, tag, "{#"))
		tag++;
	if (tag >= lex->len) {
		push_data(lex, begin, lex->len, '+', false);
		lex->pos = lex->len;
		return;
	}
	if (tag + 2 < lex->len && (lex->text[tag + 2] == '-' || lex->text[tag + 2] == '+'))
		sign = lex->text[tag + 2];
	is_print = lex->text[tag + 1] == '{';
	push_data(lex, begin, tag, sign, is_print);
	body = lex->text[tag + 1] == '%' ? raw_begin(lex, tag) : 0;
	if (body) {
		lex->pos = tag;
		lex->is_line_start = lex->text[body - 1] == '\n';
		lex_raw(lex, body);
		return;
	}
	count_to(lex, tag);
	lex->pos = tag + 2 + (sign ? 1 : 0);
	if (lex->text[tag + 1] == '#') {
		lex_comment(lex);
		return;
	}
	push(lex, is_print ? TOK_PRINT_BEGIN : TOK_BLOCK_BEGIN, tag);
	lex_tag(lex, is_print);
}

/* \r\n and \r become \n, one newline at the end goes. */
static char *
normalize(struct hn_arena *arena, const char *text, size_t len, size_t *out_len)
{
	char *out = hn_arena_alloc(arena, len + 1);
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\r' && i + 1 < len && text[i + 1] == '\n')
			continue;
		out[n++] = text[i] == '\r' ? '\n' : text[i];
	}
	if (n && out[n - 1] == '\n')
		n--;
	*out_len = n;
	return out;
}

enum hone_status
tpl_lex(struct hn_arena *arena, const char *text, size_t len, struct tok_list *out,
	struct hone_error *err)
{
	struct lex lex = {.arena = arena,
		.out = out,
		.line = 1,
		.column = 1,
		.is_line_start = true,
		.err = err};

	lex.text = normalize(arena, text, len, &lex.len);
	lex.pos = hn_utf8_check(lex.text, lex.len);
	if (lex.pos < lex.len)
		fail(&lex, "the template is not valid UTF-8");
	else
		lex.pos = 0;
	while (!lex.status && lex.pos < lex.len)
		lex_next(&lex);
	if (!lex.status)
		push(&lex, TOK_EOF, lex.len);
	return lex.status;
}
