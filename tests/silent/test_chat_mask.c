/*
 * Masks of conversations: what is learned is what the assistant said, and its end.
 *
 * Would catch: an empty or full mask (B3), a mask that begins at the wrong turn when two turns
 * have the same text, one that leaves out the end-of-turn token or takes the next header, and
 * a template whose mask cannot be known but is guessed (B2).  The learned texts come from
 * etc/golden/chat_template.py, which says per template what a turn reads like.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "support.h"
#include "text/template.h"

#define TEMPLATES_MIN 12

static const char tokens[] = "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}";

static struct hn_template *
parse(const char *text, size_t len)
{
	struct hn_template *tpl = NULL;
	struct hone_error err = {0};

	if (hn_template_parse(text, len, &tpl, &err))
		fail_msg("%d:%d %s", err.line, err.column, err.text);
	return tpl;
}

/* Each span is the learned text of its turn; returns whether all are. */
static bool
check_mask(const struct hn_template *tpl, const json_t *mask, const char *file)
{
	const json_t *learned = json_object_get(mask, "learned");
	json_t *vars = json_loads(tokens, 0, NULL);
	struct hone_error err = {0};
	struct hn_spans spans = {0};
	struct hn_str text = {0};
	bool is_good;
	enum hone_status st;

	hn_str_puts(&text, "kept"); /* spans count from what is appended */
	st = hn_chat_assistant_spans(
		tpl, json_object_get(mask, "messages"), vars, NULL, &text, &spans, &err);
	is_good = !st && spans.n == json_array_size(learned);
	for (size_t i = 0; is_good && i < spans.n; i++) {
		const json_t *want = json_array_get(learned, i);
		const struct hn_span span = spans.items[i];

		is_good = span.end - span.begin == json_string_length(want) &&
			!memcmp(text.text + 4 + span.begin, json_string_value(want),
				span.end - span.begin) &&
			(i == 0 || span.begin >= spans.items[i - 1].end);
		if (!is_good)
			print_message("turn %zu: got [%.*s], want [%s]\n", i,
				(int)(span.end - span.begin), text.text + 4 + span.begin,
				json_string_value(want));
	}
	if (!is_good)
		print_message("%s, %s: status %d %s, %zu spans of %zu\n[%s]\n", file,
			json_string_value(json_object_get(mask, "name")), (int)st, err.text,
			spans.n, json_array_size(learned), text.text);
	hn_spans_fini(&spans);
	hn_str_fini(&text);
	json_decref(vars);
	return is_good;
}

/* The masks of one file; 0 when it has none. */
static size_t
check_file(const char *path, const char *name, size_t *bad)
{
	json_t *file = json_load_file(path, JSON_ALLOW_NUL, NULL), *mask;
	const json_t *group = json_array_get(json_object_get(file, "groups"), 0);
	const json_t *text = json_object_get(group, "template");
	const json_t *masks = json_object_get(group, "masks");
	struct hn_template *tpl;
	size_t i;

	assert_non_null(file);
	if (masks) {
		tpl = parse(json_string_value(text), json_string_length(text));
		json_array_foreach(masks, i, mask)
		{
			*bad += !check_mask(tpl, mask, name);
		}
		hn_template_destroy(tpl);
	}
	i = json_array_size(masks);
	json_decref(file);
	return i;
}

/* B2, B3: the masked text is what was said, in every template. */
static void
test_chat_mask_of_each_template_is_what_was_said(void **state)
{
	char *folder = test_data_path("template"), **names = NULL;
	size_t n_names = 0, n_templates = 0, n_masks = 0, bad = 0;
	struct hone_error err = {0};

	(void)state;
	assert_int_equal(hn_dir_list(folder, &names, &n_names, &err), HONE_OK);
	for (size_t i = 0; i < n_names; i++) {
		char *path = hn_path_join(folder, names[i]);
		const size_t n = check_file(path, names[i], &bad);

		n_templates += n > 0;
		n_masks += n;
		free(path);
		free(names[i]);
	}
	free(names);
	free(folder);
	print_message("%zu masks of %zu templates\n", n_masks, n_templates);
	assert_true(n_templates >= TEMPLATES_MIN);
	assert_int_equal(bad, 0);
}

/* The mask of a conversation, as "text|text|"; or the status. */
static enum hone_status
mask_of(const char *template, const char *messages, char *out, size_t n)
{
	struct hn_template *tpl = parse(template, strlen(template));
	json_t *list = json_loads(messages, 0, NULL), *vars = json_loads(tokens, 0, NULL);
	struct hn_spans spans = {0};
	struct hone_error err = {0};
	struct hn_str text = {0};
	enum hone_status st;
	size_t used = 0;

	assert_non_null(list);
	out[0] = 0;
	st = hn_chat_assistant_spans(tpl, list, vars, NULL, &text, &spans, &err);
	for (size_t i = 0; i < spans.n; i++)
		used += (size_t)snprintf(out + used, n - used, "%.*s|",
			(int)(spans.items[i].end - spans.items[i].begin),
			text.text + spans.items[i].begin);
	assert_true(!st || (spans.n == 0 && text.len == 0 && err.text[0]));
	hn_spans_fini(&spans);
	hn_str_fini(&text);
	json_decref(list);
	json_decref(vars);
	hn_template_destroy(tpl);
	return st;
}

#define TWO_TURNS                                                                                  \
	"[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"one\"},"     \
	"{\"role\":\"user\",\"content\":\"r\"},{\"role\":\"assistant\",\"content\":\"two\"}]"

/* B2: would catch a mask that is invented where the template hides the content. */
static void
test_chat_mask_that_cannot_be_known_is_refused(void **state)
{
	static const char *const templates[] = {
		/* depends on the number of messages, and changes the content */
		"{{ messages | length }}{% for m in messages %}<{{ m.role }}>{{ m.content | upper "
		"}}</s>{% endfor %}",
		/* earlier turns are dropped */
		"{% for m in messages[-1:] %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}",
		/* nothing ends a turn */
		"{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
		"{% if add_generation_prompt %}<assistant>{% endif %}",
		/* only the last turn has no end: earlier tails are not known from it */
		"{{ messages | length }}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
		"{% if not loop.last %}</s>{% endif %}{% endfor %}",
		/* the content is dropped, with and without generation blocks */
		"{% for m in messages %}<{{ m.role }}>{% for p in m.content if p.text %}{{ p.text "
		"}}"
		"{% endfor %}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
		"{% for m in messages %}<{{ m.role }}>{% generation %}</s>{% endgeneration %}"
		"{% endfor %}",
		/* generation blocks that mark nothing */
		"{% for m in messages %}{{ m.content }}</s>{% generation %}{% endgeneration %}"
		"{% endfor %}",
		/* a generation block whose place is not known */
		"{% for m in messages %}{% set x %}{% generation %}{{ m.content }}"
		"{% endgeneration %}{% endset %}{{ x }}{% endfor %}",
	};
	char out[256];

	(void)state;
	for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++)
		if (mask_of(templates[i], TWO_TURNS, out, sizeof out) == HONE_OK)
			fail_msg("template %zu gives [%s]", i, out);
}

/* Would catch a fallback that only works for the last turn. */
static void
test_chat_mask_when_earlier_text_changes_is_found_by_content(void **state)
{
	char out[256];

	(void)state;
	assert_int_equal(mask_of("{{ messages | length }}{% for m in messages %}[{{ m.role }}] "
				 "{{ m.content | trim }}</s>\n{% endfor %}"
				 "{% if add_generation_prompt %}[assistant]{% endif %}",
				 TWO_TURNS, out, sizeof out),
		HONE_OK);
	assert_string_equal(out, "one</s>\n|two</s>\n|");
}

/* Would catch a template like Phi-3's, which closes the text with eos_token whoever speaks
 * last, and whose earlier turns would be refused or would learn the next header's start. */
static void
test_chat_mask_of_a_text_closed_with_eos_ends_before_the_next_header(void **state)
{
	char out[256];

	(void)state;
	assert_int_equal(
		mask_of("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
			"{{ '<|assistant|>' if add_generation_prompt else eos_token }}",
			TWO_TURNS, out, sizeof out),
		HONE_OK);
	assert_string_equal(out, "one<|end|>|two<|end|></s>|");
}

/* Would catch a mask that stops at the block's end and leaves out what stands behind it, or
 * that joins two blocks of a turn and learns what is between them. */
static void
test_chat_mask_of_generation_blocks_grows_to_the_turns_end(void **state)
{
	char out[256];

	(void)state;
	assert_int_equal(
		mask_of("{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}"
			"{% generation %}A{% endgeneration %}-{% generation %}{{ m.content }}"
			"{% endgeneration %}{% else %}{{ m.content }}{% endif %}</s>{% endfor %}",
			TWO_TURNS, out, sizeof out),
		HONE_OK);
	assert_string_equal(out, "A|one</s>|A|two</s>|");
}

/* Would catch an error where there is just nothing to learn: the data layer counts it. */
static void
test_chat_mask_without_assistant_is_empty(void **state)
{
	char out[64];

	(void)state;
	assert_int_equal(mask_of("{% for m in messages %}{{ m.content }}{% endfor %}",
				 "[{\"role\":\"user\",\"content\":\"q\"}]", out, sizeof out),
		HONE_OK);
	assert_string_equal(out, "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chat_mask_of_each_template_is_what_was_said),
		cmocka_unit_test(test_chat_mask_that_cannot_be_known_is_refused),
		cmocka_unit_test(test_chat_mask_when_earlier_text_changes_is_found_by_content),
		cmocka_unit_test(
			test_chat_mask_of_a_text_closed_with_eos_ends_before_the_next_header),
		cmocka_unit_test(test_chat_mask_of_generation_blocks_grows_to_the_turns_end),
		cmocka_unit_test(test_chat_mask_without_assistant_is_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
