/*
 * text/template.h - chat templates: a sandboxed subset of Jinja2.
 *
 * A chat template is a program that comes with a model and turns a list of messages into
 * text.  It is parsed once and rendered many times with the environment that transformers'
 * apply_chat_template sets up: trim_blocks, lstrip_blocks, no kept trailing newline, loop
 * controls, raise_exception, strftime_now, tojson without HTML escapes, and the tags
 * {% generation %} {% endgeneration %}.  What is rendered is what Jinja2 renders, byte for
 * byte; what is not offered is refused with line and column in the template, never guessed.
 *
 * It is no general Jinja2: no import, include, extends, block, autoescape, recursive loops,
 * call with * or **, printf-style formatting or big integers, and nothing that writes into a
 * list or dict.  A template reads its variables and nothing else: attributes are those of a
 * closed list, names with two leading underscores are refused, there is no clock.
 *
 * Errors: place HN_TEMPLATE_PLACE, HONE_EMODEL for the template, HONE_EDATA where the template
 * itself refuses the messages (raise_exception).
 */
#ifndef HN_TEXT_TEMPLATE_H
#define HN_TEXT_TEMPLATE_H

/* The place of every error here; who knows the file puts that instead. */
#define HN_TEMPLATE_PLACE "chat_template"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include <hone/status.h>

#include "base/str.h"

struct hn_template;

/* What one rendering may use.  A zero means the default that stands beside the field. */
struct hn_template_limits {
	uint64_t out_bytes; /* 16 MiB */
	uint64_t steps;     /* 1e6: nodes evaluated, and one per 128 bytes that are moved */
	uint64_t mem_bytes; /* 128 MiB (at most 2 GiB): all values, freed at the end */
	int32_t depth;      /* 400, and at most that: nested expressions, blocks, macro calls */
	int64_t now;        /* what strftime_now formats: seconds since 1970-01-01 UTC.  Given
	                     * by the caller and never the clock, so that runs repeat. */
};

/* A range of bytes of the rendered text. */
struct hn_span {
	size_t begin, end;
	int64_t message; /* index of the message whose turn it is; -1 = not known */
};

/* A zeroed struct is empty. */
struct hn_spans {
	struct hn_span *items;
	size_t n, cap;
};

void hn_spans_fini(struct hn_spans *spans);

/* Parses `len` bytes of UTF-8.  *out is immutable and owned by the caller; on error it is
 * unchanged.  The text is copied.  Any thread. */
enum hone_status hn_template_parse(
	const char *text, size_t len, struct hn_template **out, struct hone_error *err);
void hn_template_destroy(struct hn_template *tpl); /* NULL-safe */

/* True when the template has a {% generation %} block. */
bool hn_template_has_generation(const struct hn_template *tpl);

/* Renders with the variables of the JSON object `vars` and appends to `out`.  `spans` (may be
 * NULL) receives the ranges of the generation blocks, in bytes from the start of what was
 * appended, message = -1.  On error `out` and `spans` are as before.  Any thread. */
enum hone_status hn_template_render(const struct hn_template *tpl, const json_t *vars,
	const struct hn_template_limits *limits, struct hn_str *out, struct hn_spans *spans,
	struct hone_error *err);

/* The same for a conversation: `vars` (may be NULL) with messages and add_generation_prompt
 * set, and tools and documents none unless vars has them, as apply_chat_template does. */
enum hone_status hn_template_render_chat(const struct hn_template *tpl, const json_t *messages,
	bool add_generation_prompt, const json_t *vars, const struct hn_template_limits *limits,
	struct hn_str *out, struct hn_spans *spans, struct hone_error *err);

/* Renders a whole conversation (no generation prompt), appends it to `out` and says which
 * ranges a model learns, in bytes from the start of what was appended: each assistant turn's
 * content, its end-of-turn token and what the template puts behind it, in order and disjoint.
 * How, and what is checked before a range is believed, is at the top of template_chat.c.
 * Fails with HONE_EUNSUPPORTED when the template does not let one know; a mask is never
 * guessed.  On error `out` and `spans` are as before.  A conversation without an assistant
 * turn has no spans and is no error. */
enum hone_status hn_chat_assistant_spans(const struct hn_template *tpl, const json_t *messages,
	const json_t *vars, const struct hn_template_limits *limits, struct hn_str *out,
	struct hn_spans *spans, struct hone_error *err);

#endif
