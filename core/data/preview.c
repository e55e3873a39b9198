/*
 * preview.c - token ids back to text, in runs of learned and not learned.
 *
 * The objective's arrays "ids" and "learned" are shown; an objective that keeps its tokens
 * otherwise is said to.  A target is what a row predicts, so the first token is none.
 */
#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "data/preview.h"

/* Tokens shown of a long example, at its beginning and at its end. */
enum { HEAD = 384, TAIL = 128 };

#define GREEN "\x1b[32m"
#define DIM   "\x1b[2m"
#define RESET "\x1b[0m"

struct shown {
	const struct hn_tokenizer *tok;
	const int32_t *ids;
	const uint8_t *learned; /* NULL = all */
	bool has_colour;
	struct hn_str *out, bytes;
};

static bool
is_target(const struct shown *s, int64_t i)
{
	return i > 0 && (!s->learned || s->learned[i]);
}

/* Bytes as text that a terminal takes as text. */
static void
put_text(struct hn_str *out, const char *text, size_t n)
{
	uint32_t c = 0;

	for (size_t i = 0; i < n;) {
		const size_t len = hn_utf8_decode(text + i, n - i, &c);

		if (len == 0)
			hn_str_put_utf8(out, 0xfffd);
		else if (c == '\n')
			hn_str_puts(out, "↵\n");
		else if (c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e) ||
			(c >= 0x2066 && c <= 0x2069)) /* controls, and marks of direction */
			hn_str_printf(out, "\\x%02x", c);
		else
			hn_str_add(out, text + i, len);
		i += len ? len : 1;
	}
}

/* Tokens [begin, end), in runs. */
static enum hone_status
put_tokens(struct shown *s, int64_t begin, int64_t end, struct hone_error *err)
{
	for (int64_t i = begin, next; i < end; i = next) {
		const bool is_learned = is_target(s, i);
		enum hone_status st;

		for (next = i + 1; next < end && is_target(s, next) == is_learned;)
			next++;
		hn_str_clear(&s->bytes);
		st = hn_tokenizer_decode(
			s->tok, s->ids + i, (size_t)(next - i), false, &s->bytes, err);
		if (st)
			return st;
		hn_str_puts(s->out, !is_learned ? "" : s->has_colour ? GREEN : "[[");
		put_text(s->out, s->bytes.text ? s->bytes.text : "", s->bytes.len);
		hn_str_puts(s->out, !is_learned ? "" : s->has_colour ? RESET : "]]");
	}
	return HONE_OK;
}

static enum hone_status
put_example(struct shown *s, const struct hn_dataset *data, int64_t example, struct hone_error *err)
{
	const struct hn_dataset_example *e = &data->examples[example];
	int64_t n = 0, n_learned = 0;
	enum hone_status st;

	s->ids = hn_dataset_array(&e->pub, "ids", &n);
	s->learned = hn_dataset_array(&e->pub, "learned", &n_learned);
	if (s->learned && n_learned != n)
		s->learned = NULL;
	hn_str_puts(s->out, s->has_colour ? DIM : "");
	hn_str_put_visible(s->out, data->file.path, "");
	hn_str_printf(s->out, ":%" PRId64 ": %" PRId64 " tokens, %" PRId64 " learned",
		hn_dataset_line(data, example), e->n_rows, e->n_learned);
	hn_str_puts(s->out, s->has_colour ? RESET "\n" : "\n");
	if (!s->ids) {
		hn_str_puts(s->out, "(the objective keeps no plain tokens)\n");
		return HONE_OK;
	}
	if (n <= HEAD + TAIL) {
		st = put_tokens(s, 0, n, err);
	} else {
		st = put_tokens(s, 0, HEAD, err);
		hn_str_printf(s->out, "\n... %" PRId64 " tokens more ...\n", n - HEAD - TAIL);
		if (!st)
			st = put_tokens(s, n - TAIL, n, err);
	}
	hn_str_putc(s->out, '\n');
	return st;
}

enum hone_status
hn_preview(const struct hn_dataset *data, int64_t n, bool has_colour, struct hn_str *out,
	struct hone_error *err)
{
	struct shown shown = {.tok = data->text->tok, .has_colour = has_colour, .out = out};
	enum hone_status st = HONE_OK;

	for (int64_t i = 0; i < n && i < data->n_examples && !st; i++)
		st = put_example(&shown, data, i, err);
	hn_str_fini(&shown.bytes);
	return st;
}
