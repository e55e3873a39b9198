/*
 * test_generate.c - `hone generate` as a user runs it, against transformers and PEFT.
 *
 * Would catch: a prompt that is rendered or encoded otherwise than in training, an adapter
 * that is not applied or applied twice, an end token in the text, bytes that are no UTF-8 in
 * JSON, answers that come in another order than their prompts, a run without its adapter.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "support.h"

#define MODEL HONE_TEST_DATA "/golden/models/tiny-llama"

/* What a command prints on stdout; fails the test when it does not end with `status`. */
static char *
run(const char *command, int status)
{
	struct hn_str out = {0};
	char block[4096];
	size_t n;
	int rc;
	FILE *pipe = popen(command, "r");

	assert_non_null(pipe);
	while ((n = fread(block, 1, sizeof block, pipe)) > 0)
		hn_str_add(&out, block, n);
	rc = pclose(pipe);
	if (rc != status << 8)
		fail_msg("%s: exit status %d", command, rc >> 8);
	return hn_str_take(&out);
}

static void
put_quoted(struct hn_str *out, const char *word)
{
	hn_str_putc(out, '\'');
	for (; *word; word++)
		hn_str_puts(out, *word == '\'' ? "'\\''" : (const char[]){*word, '\0'});
	hn_str_putc(out, '\'');
}

static const char *
text_of(const json_t *item, const char *key)
{
	return json_string_value(json_object_get(item, key));
}

/* "hone generate --model ... --json" for a case, all but the prompt. */
static void
put_command(struct hn_str *out, const char *adapter, bool is_chat, const char *backend)
{
	hn_str_printf(out,
		HONE_BINARY_DIR "/bin/hone generate --model " MODEL
				" --max-new-tokens 20 --set run.backend=%s %s",
		backend, is_chat ? "--chat" : "--raw");
	if (adapter)
		hn_str_printf(out, " --adapter " HONE_TEST_DATA "/golden/%s", adapter);
}

static void
check_answer(const json_t *is, const json_t *want)
{
	static const char *const keys[] = {"prompt", "text", "finish_reason", "num_tokens"};
	bool is_same = hn_streq(text_of(is, "schema"), "hone.generate/1");

	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) /* texts hold NULs */
		is_same &= json_equal(json_object_get(is, keys[i]), json_object_get(want, keys[i]));
	if (!is_same)
		fail_msg("%s, adapter %s, chat %d: '%s', not '%s'", text_of(want, "prompt"),
			text_of(want, "adapter") ? text_of(want, "adapter") : "none",
			json_is_true(json_object_get(want, "chat")), text_of(is, "text"),
			text_of(want, "text"));
}

static json_t *
load_golden(void)
{
	json_t *golden =
		json_load_file(HONE_TEST_DATA "/golden/generate.json", JSON_ALLOW_NUL, NULL);

	assert_non_null(golden);
	assert_true(json_array_size(json_object_get(golden, "cases")) >= 20);
	return golden;
}

/* All prompts of one kind on stdin, one a line: one batch. */
static void
check_batch(const json_t *cases, const char *adapter, bool is_chat, const char *backend)
{
	struct hn_str command = {0};
	const json_t *item;
	char *out, *line;
	size_t i;

	hn_str_puts(&command, "printf '%s\\n' ");
	json_array_foreach(cases, i, item)
	{
		if (json_is_true(json_object_get(item, "chat")) != is_chat ||
			!hn_streq(adapter ? adapter : "",
				text_of(item, "adapter") ? text_of(item, "adapter") : ""))
			continue;
		put_quoted(&command, text_of(item, "prompt"));
		hn_str_putc(&command, ' ');
	}
	hn_str_puts(&command, "| ");
	put_command(&command, adapter, is_chat, backend);
	hn_str_puts(&command, " --json --set generate.batch_size=3");
	out = line = run(command.text, 0);
	json_array_foreach(cases, i, item)
	{
		json_error_t why;
		json_t *is;

		if (json_is_true(json_object_get(item, "chat")) != is_chat ||
			!hn_streq(adapter ? adapter : "",
				text_of(item, "adapter") ? text_of(item, "adapter") : ""))
			continue;
		is = json_loads(line, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &why);
		if (!is)
			fail_msg("%s: %s", why.text, line);
		check_answer(is, item);
		json_decref(is);
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
	assert_int_equal(*line, '\0');
	free(out);
	hn_str_fini(&command);
}

static void
test_generate_texts_equal_transformers_and_peft(void **state)
{
	json_t *golden = load_golden();
	const json_t *cases = json_object_get(golden, "cases");

	(void)state;
	for (int is_chat = 0; is_chat < 2; is_chat++) {
		check_batch(cases, NULL, is_chat, "cpu");
		check_batch(cases, "adapters/final", is_chat, "cpu");
	}
	check_batch(cases, "adapters/final", true, "reference");
	json_decref(golden);
}

/* The same without --json.  Bytes that are no UTF-8 stand there as they are, so texts are
 * compared up to the first of them. */
static void
test_generate_text_without_json_is_the_same(void **state)
{
	json_t *golden = load_golden();
	const json_t *item;
	size_t i, n = 0;

	(void)state;
	json_array_foreach(json_object_get(golden, "cases"), i, item)
	{
		const char *want = text_of(item, "text"), *bad = strstr(want, "\xef\xbf\xbd");
		const size_t len = bad ? (size_t)(bad - want) : strlen(want);
		struct hn_str command = {0};
		char *out;

		if (len == 0)
			continue;
		put_command(&command, text_of(item, "adapter"),
			json_is_true(json_object_get(item, "chat")), "cpu");
		hn_str_puts(&command, " --prompt ");
		put_quoted(&command, text_of(item, "prompt"));
		out = run(command.text, 0);
		assert_int_equal(strncmp(out, want, len), 0);
		assert_null(strstr(out, "hone.generate"));
		n++;
		free(out);
		hn_str_fini(&command);
	}
	assert_true(n > 0);
	json_decref(golden);
}

/* ---- a run.ini ---- */

static void
write_text(const char *folder, const char *name, const char *text)
{
	struct hn_str path = {0};
	FILE *file;

	hn_str_printf(&path, "%s/%s", folder, name);
	file = fopen(path.text, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
	assert_int_equal(fclose(file), 0);
	hn_str_fini(&path);
}

static char *
run_ini(const char *folder, const char *flags, int status)
{
	struct hn_str command = {0};
	char *out;

	hn_str_printf(&command,
		HONE_BINARY_DIR
		"/bin/hone generate %s/run.ini --max-new-tokens 20 --json %s 2>/dev/null",
		folder, flags);
	out = run(command.text, status);
	hn_str_fini(&command);
	return out;
}

static const char ini[] = "[run]\noutput = out\nadapter = lora\nobjective = sft\n"
			  "[model]\npath = " MODEL "\n[data]\ntrain = rows.jsonl\n"
			  "[train]\nlearning_rate = 1e-4\ncompute = f32\n"
			  "[lora]\nr = 4\nlora_alpha = 8\n";

/* Finds the golden text for "Hello". */
static const json_t *
golden_hello(const json_t *golden, bool has_adapter, bool is_chat)
{
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(golden, "cases"), i, item)
	{
		if (hn_streq(text_of(item, "prompt"), "Hello") &&
			json_is_true(json_object_get(item, "chat")) == is_chat &&
			(text_of(item, "adapter") != NULL) == has_adapter)
			return json_object_get(item, "text");
	}
	return NULL;
}

static void
check_ini(const char *folder, const char *flags, const json_t *want)
{
	char *out = run_ini(folder, flags, 0);
	json_t *is = json_loads(out, JSON_ALLOW_NUL, NULL);

	assert_non_null(is);
	assert_true(json_equal(json_object_get(is, "text"), want));
	json_decref(is);
	free(out);
}

static void
test_generate_run_uses_its_adapter_and_renders_as_its_data(void **state)
{
	json_t *golden = load_golden();
	char *folder = test_folder_make();
	struct hn_str command = {0};

	(void)state;
	write_text(folder, "run.ini", ini);
	write_text(folder, "rows.jsonl",
		"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": "
		"\"assistant\", \"content\": \"b\"}]}\n");
	free(run_ini(folder, "--prompt Hello", 3)); /* no result yet */
	check_ini(folder, "--prompt Hello --base", golden_hello(golden, false, true));
	hn_str_printf(&command,
		"mkdir %s/out && cp -r " HONE_TEST_DATA "/golden/adapters/final %s/out/adapter",
		folder, folder);
	free(run(command.text, 0));
	check_ini(folder, "--prompt Hello", golden_hello(golden, true, true));
	check_ini(folder, "--prompt Hello --raw", golden_hello(golden, true, false));
	write_text(folder, "rows.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
	check_ini(folder, "--prompt Hello", golden_hello(golden, true, false));
	check_ini(folder, "--prompt Hello --chat --base", golden_hello(golden, false, true));
	hn_str_fini(&command);
	test_folder_remove(folder);
	json_decref(golden);
}

static void
test_generate_wrong_flags_exit_2(void **state)
{
	static const char *const wrong[] = {"", "--model a --adapter b --base --prompt c",
		"run.ini --model a --prompt c", "run.ini --adapter b --prompt c",
		"--model a --chat --raw --prompt c", "--model a --raw --system b --prompt c",
		"--model " MODEL " --prompt c --max-new-tokens 0",
		"--model " MODEL " --prompt c --temperature -1"};

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct hn_str command = {0};

		hn_str_printf(&command,
			HONE_BINARY_DIR "/bin/hone generate %s 2>/dev/null </dev/null", wrong[i]);
		free(run(command.text, 2));
		hn_str_fini(&command);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_generate_texts_equal_transformers_and_peft),
		cmocka_unit_test(test_generate_text_without_json_is_the_same),
		cmocka_unit_test(test_generate_run_uses_its_adapter_and_renders_as_its_data),
		cmocka_unit_test(test_generate_wrong_flags_exit_2),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
