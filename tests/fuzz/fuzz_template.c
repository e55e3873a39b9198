/*
 * Fuzzes the chat template: parse, render a conversation, find the assistant's turns.
 *
 * Would catch: a read past a token or string, a limit that is not kept, a leak on an error, a
 * span outside of the text.
 */
#include <stdint.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/arena.h"
#include "text/template.h"

static const char conversation[] =
	"[{\"role\": \"system\", \"content\": \"Be 你好.\"},"
	"{\"role\": \"user\", \"content\": \" Hi \\n\"}, {\"role\": \"assistant\", \"content\": "
	"\"Yes\"},"
	"{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"x\"}]},"
	"{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\":"
	"{\"name\": \"f\", \"arguments\": {\"a\": 1.5, \"b\": [true, null, -3]}}}]},"
	"{\"role\": \"assistant\", \"content\": \"<think>no</think>Yes\"}]";

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	const struct hn_template_limits limits = {
		.steps = 20000, .mem_bytes = 1 << 22, .out_bytes = 1 << 18};
	struct hn_template *tpl = NULL;
	struct hn_spans spans = {0};
	struct hone_error err = {0};
	struct hn_str out = {0};
	json_t *messages, *vars;

	if (hn_template_parse((const char *)bytes, n, &tpl, &err)) {
		HONE_BUG_ON(err.line < 0 || !err.text[0]);
		return 0;
	}
	messages = json_loads(conversation, 0, NULL);
	vars = json_loads("{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}", 0, NULL);
	(void)hn_template_render_chat(tpl, messages, true, vars, &limits, &out, &spans, &err);
	hn_str_clear(&out);
	hn_spans_fini(&spans);
	if (!hn_chat_assistant_spans(tpl, messages, vars, &limits, &out, &spans, &err))
		for (size_t i = 0; i < spans.n; i++)
			HONE_BUG_ON(spans.items[i].begin >= spans.items[i].end ||
				spans.items[i].end > out.len ||
				(i && spans.items[i].begin < spans.items[i - 1].end));
	HONE_BUG_ON(hn_utf8_check(out.text ? out.text : "", out.len) != out.len);
	hn_spans_fini(&spans);
	hn_str_fini(&out);
	json_decref(messages);
	json_decref(vars);
	hn_template_destroy(tpl);
	return 0;
}
