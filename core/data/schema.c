/*
 * schema.c - rows to samples: a text, a pair, or a list of messages.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/str.h"
#include "data/jsonl.h"
#include "data/schema.h"

struct schema {
	const char *name;
	const char *keys[3]; /* what a row must have */
};

static const struct schema schemas[HN_SCHEMA_COUNT] = {
	[HN_SCHEMA_AUTO] = {"auto", {NULL, NULL, NULL}},
	[HN_SCHEMA_TEXT] = {"text", {"text", NULL, NULL}},
	[HN_SCHEMA_PROMPT] = {"prompt", {"prompt", "completion", NULL}},
	[HN_SCHEMA_MESSAGES] = {"messages", {"messages", NULL, NULL}},
	[HN_SCHEMA_ALPACA] = {"alpaca", {"instruction", "output", NULL}},
	[HN_SCHEMA_SHAREGPT] = {"sharegpt", {"conversations", NULL, NULL}},
};

/* Of a row and of a message: what changes text or mask and is not carried. */
static const char *const row_refused[] = {"tools", "functions", "history", "documents", "image",
	"images", "video", "videos", "audio", "audios", "chat_template_kwargs"};
static const char *const message_refused[] = {"tool_calls", "tool_call_id", "function_call",
	"image", "images", "reasoning_content", "reasoning", "thinking"};
/* Whatever their value: 0 and false say that a turn is not learned. */
static const char *const mask_refused[] = {"weight", "train", "training", "mask"};

const char *
hn_schema_name(enum hn_schema schema)
{
	return schemas[schema].name;
}

enum hone_status
hn_schema_parse(const char *name, enum hn_schema *out, struct hone_error *err)
{
	const char *names[HN_SCHEMA_COUNT], *nearest;

	for (int i = 0; i < HN_SCHEMA_COUNT; i++) {
		names[i] = schemas[i].name;
		if (hn_streq(name, names[i])) {
			*out = (enum hn_schema)i;
			return HONE_OK;
		}
	}
	nearest = hn_nearest(name, names, HN_SCHEMA_COUNT);
	return hone_fail(err, HONE_ECONFIG,
		"schema = %s is not known%s%s; there are auto, text, prompt, messages, alpaca and "
		"sharegpt",
		name, nearest ? "; did you mean " : "", nearest ? nearest : "");
}

/* ---- which schema ---- */

static bool
has_keys(const json_t *row, const struct schema *schema)
{
	for (size_t i = 0; i < 3 && schema->keys[i]; i++)
		if (!json_object_get(row, schema->keys[i]))
			return false;
	return schema->keys[0] != NULL;
}

/* The keys of a row, for a message. */
static void
list_keys(const json_t *row, char *out, size_t n)
{
	struct hn_str text = {0};
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)row, key, value)
	{
		if (text.len < n)
			hn_str_printf(&text, "%s%.40s", text.len ? ", " : "", key);
	}
	(void)snprintf(out, n, "%s", text.len ? text.text : "none");
	out[hn_utf8_check(out, strlen(out))] = 0;
	hn_str_fini(&text);
}

/* The key of the row that is nearest to `key`, for one that is missing; NULL when none is. */
static const char *
nearest_key(const json_t *row, const char *key)
{
	const char **keys = hn_alloc((json_object_size(row) + 1) * sizeof *keys), *name, *near;
	json_t *value;
	size_t n = 0;

	json_object_foreach((json_t *)(uintptr_t)row, name, value)
	{
		keys[n++] = name;
	}
	near = hn_nearest(key, keys, n);
	free(keys);
	return near;
}

/* Appends what is misspelt if the row was meant as this schema: "'promt' is 'prompt' (prompt +
 * completion)".  A key that is neither there nor near says that it was not. */
static void
put_misspelt(const json_t *row, const struct schema *schema, struct hn_str *out)
{
	struct hn_str keys = {0}, found = {0};
	bool is_near = true;

	for (size_t i = 0; i < 3 && schema->keys[i]; i++) {
		const char *near = json_object_get(row, schema->keys[i])
			? schema->keys[i]
			: nearest_key(row, schema->keys[i]);

		is_near = is_near && near;
		hn_str_printf(&keys, "%s%s", i ? " + " : "", schema->keys[i]);
		if (near && !hn_streq(near, schema->keys[i]))
			hn_str_printf(&found, "%s'%s' for '%.40s'", found.len ? " and " : "",
				schema->keys[i], near);
	}
	if (is_near && found.len)
		hn_str_printf(
			out, "; did you mean %s (%s: %s)?", found.text, schema->name, keys.text);
	hn_str_fini(&keys);
	hn_str_fini(&found);
}

static enum hone_status
fail_unknown(const json_t *row, const struct hn_place *place, struct hone_error *err)
{
	struct hn_str near = {0};
	char keys[160];

	for (int i = HN_SCHEMA_AUTO + 1; i < HN_SCHEMA_COUNT; i++)
		put_misspelt(row, &schemas[i], &near);
	list_keys(row, keys, near.len ? sizeof keys / 2 : sizeof keys);
	(void)hone_fail_at(err, HONE_EDATA, place->file, place->line, 0,
		"this row has the keys %s%s", keys,
		near.len ? near.text
			 : "; known are text, prompt + completion, messages, instruction + "
			   "output (alpaca) and conversations (sharegpt)");
	hn_str_fini(&near);
	return hn_data_clean(HONE_EDATA, err);
}

enum hone_status
hn_schema_detect(const json_t *row, const struct hn_place *place, enum hn_schema *out,
	struct hone_error *err)
{
	int first = HN_SCHEMA_AUTO;

	for (int i = HN_SCHEMA_AUTO + 1; i < HN_SCHEMA_COUNT; i++) {
		if (!has_keys(row, &schemas[i]))
			continue;
		if (first)
			return hone_fail_at(err, HONE_EDATA, place->file, place->line, 0,
				"this row could be %s or %s; say which with [data] schema = %s",
				schemas[first].name, schemas[i].name, schemas[i].name);
		first = i;
	}
	*out = (enum hn_schema)first;
	return first ? HONE_OK : fail_unknown(row, place, err);
}

/* ---- reading ---- */

struct reader {
	struct hn_sample *sample;
	const json_t *row;
	const struct hn_place *place;
	struct hone_error *err;
};

#define FAIL(r, ...)                                                                               \
	hone_fail_at((r)->err, HONE_EDATA, (r)->place->file, (r)->place->line, 0, __VA_ARGS__)

static const char *
type_name(const json_t *value)
{
	static const char *const names[] = {
		"an object", "a list", "a string", "a number", "a number", "true", "false", "null"};

	return value ? names[json_typeof(value)] : "missing";
}

static bool
is_nothing(const json_t *value)
{
	return !value || json_is_null(value) || json_is_false(value) ||
		(json_is_string(value) && json_string_length(value) == 0) ||
		(json_is_array(value) && json_array_size(value) == 0) ||
		(json_is_object(value) && json_object_size(value) == 0);
}

static enum hone_status
refuse_row_fields(const struct reader *r)
{
	for (size_t i = 0; i < sizeof row_refused / sizeof row_refused[0]; i++)
		if (!is_nothing(json_object_get(r->row, row_refused[i])))
			return FAIL(r,
				"'%s' cannot be carried: hone trains on texts; take the column out "
				"of the rows",
				row_refused[i]);
	return HONE_OK;
}

/* A key that other rows have, or that [data] schema promises. */
static enum hone_status
fail_missing(const struct reader *r, const char *key)
{
	const char *near = nearest_key(r->row, key);

	return FAIL(r, "'%s' is missing; %s%.40s%s", key,
		near ? "did you mean it by '" : "a text is needed", near ? near : "",
		near ? "'?" : "");
}

/* A required text; `is_full`: it must not be empty. */
static enum hone_status
read_text(const struct reader *r, const char *key, bool is_full, const char **out)
{
	const json_t *value = json_object_get(r->row, key);

	if (!value)
		return fail_missing(r, key);
	if (!json_is_string(value))
		return FAIL(r, "'%s' is %s; a text is needed", key, type_name(value));
	if (is_full && json_string_length(value) == 0)
		return FAIL(r, "'%s' is empty: there is nothing to learn; take the row out", key);
	*out = json_string_value(value);
	return HONE_OK;
}

static bool
is_blank(const char *text)
{
	return text[strspn(text, " \t\r\n")] == 0;
}

static enum hone_status
add_message(const struct reader *r, const char *role, const char *content)
{
	json_t *message;

	if (hn_streq(role, "assistant") && is_blank(content))
		return FAIL(r,
			"message %zu, the assistant's, is empty: there is nothing to learn; take "
			"it "
			"out",
			json_array_size(r->sample->messages) + 1);
	message = json_pack("{s:s, s:s}", "role", role, "content", content);
	if (!message || json_array_append_new(r->sample->messages, message))
		return hone_fail(r->err, HONE_ENOMEM, "no memory for a row");
	return HONE_OK;
}

/* The names that ShareGPT files give to the roles. */
static const char *
role_of(const char *from)
{
	static const char *const names[][2] = {{"system", "system"}, {"developer", "developer"},
		{"human", "user"}, {"user", "user"}, {"gpt", "assistant"},
		{"assistant", "assistant"}, {"chatgpt", "assistant"}, {"model", "assistant"},
		{"bing", "assistant"}, {"bard", "assistant"}};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (hn_streq(from, names[i][0]))
			return names[i][1];
	return NULL;
}

/* A field of the message that is not carried, or NULL. */
static const char *
refused_field(const json_t *message)
{
	for (size_t i = 0; i < sizeof message_refused / sizeof message_refused[0]; i++)
		if (!is_nothing(json_object_get(message, message_refused[i])))
			return message_refused[i];
	for (size_t i = 0; i < sizeof mask_refused / sizeof mask_refused[0]; i++) {
		const json_t *value = json_object_get(message, mask_refused[i]);

		if (value && !json_is_null(value))
			return mask_refused[i];
	}
	return NULL;
}

/* Roles of messages are themselves, ShareGPT's are translated. */
static enum hone_status
read_message(const struct reader *r, const json_t *message, size_t at, bool is_sharegpt)
{
	const char *role_key = is_sharegpt ? "from" : "role";
	const char *text_key = is_sharegpt ? "value" : "content";
	const json_t *from = json_object_get(message, role_key);
	const json_t *content = json_object_get(message, text_key);
	const char *role, *refused;

	if (!json_is_object(message))
		return FAIL(r, "message %zu is %s; an object with '%s' and '%s' is needed", at,
			type_name(message), role_key, text_key);
	if (!json_is_string(from))
		return FAIL(r, "message %zu: '%s' is %s; a text is needed", at, role_key,
			type_name(from));
	if (!json_is_string(content))
		return FAIL(r, "message %zu: '%s' is %s; only a text is carried", at, text_key,
			type_name(content));
	refused = refused_field(message);
	if (refused)
		return FAIL(r, "message %zu: '%s' cannot be carried; take it out", at, refused);
	role = role_of(json_string_value(from));
	if (!role || (!is_sharegpt && !hn_streq(role, json_string_value(from))))
		return FAIL(r, "message %zu: the %s '%.40s' is not carried; there are %s%s", at,
			role_key, json_string_value(from),
			is_sharegpt ? "system, human and gpt"
				    : "system, developer, user and assistant",
			role ? ": human is user, gpt is assistant here" : "");
	return add_message(r, role, json_string_value(content));
}

/* Appends the messages of a list to the sample's. */
static enum hone_status
read_messages(const struct reader *r, const char *key, bool is_sharegpt)
{
	const json_t *list = json_object_get(r->row, key);
	enum hone_status st = HONE_OK;

	if (!json_is_array(list))
		return FAIL(r, "'%s' is %s; a list of messages is needed", key, type_name(list));
	if (json_array_size(list) == 0)
		return FAIL(
			r, "'%s' has no message: there is nothing to learn; take the row out", key);
	for (size_t i = 0; i < json_array_size(list) && !st; i++)
		st = read_message(r, json_array_get(list, i), i + 1, is_sharegpt);
	return st;
}

/* The system prompt of alpaca and sharegpt rows, where they have one. */
static enum hone_status
read_system(const struct reader *r)
{
	const json_t *system = json_object_get(r->row, "system");

	if (is_nothing(system))
		return HONE_OK;
	if (!json_is_string(system))
		return FAIL(r, "'system' is %s; a text is needed", type_name(system));
	return add_message(r, "system", json_string_value(system));
}

static enum hone_status
read_alpaca(const struct reader *r)
{
	const json_t *input = json_object_get(r->row, "input");
	const char *instruction = NULL, *output = NULL;
	struct hn_str user = {0};
	enum hone_status st = read_text(r, "instruction", true, &instruction);

	if (!st)
		st = read_text(r, "output", true, &output);
	if (!st && input && !json_is_string(input) && !json_is_null(input))
		st = FAIL(r, "'input' is %s; a text is needed", type_name(input));
	if (!st)
		st = read_system(r);
	if (st)
		return st;
	hn_str_puts(&user, instruction);
	if (!is_nothing(input))
		hn_str_printf(&user, "\n%s", json_string_value(input));
	st = add_message(r, "user", user.text);
	if (!st)
		st = add_message(r, "assistant", output);
	hn_str_fini(&user);
	return st;
}

static enum hone_status
read_pair(const struct reader *r)
{
	struct hn_sample *sample = r->sample;
	const json_t *last;
	enum hone_status st;

	if (!json_is_array(json_object_get(r->row, "prompt"))) {
		sample->kind = HN_SAMPLE_PAIR;
		st = read_text(r, "prompt", false, &sample->prompt);
		return st ? st : read_text(r, "completion", true, &sample->text);
	}
	sample->kind = HN_SAMPLE_CHAT_PAIR;
	st = read_messages(r, "prompt", false);
	if (st)
		return st;
	sample->n_prompt = json_array_size(sample->messages);
	last = json_array_get(sample->messages, sample->n_prompt - 1);
	if (hn_streq(json_string_value(json_object_get(last, "role")), "assistant"))
		return FAIL(r,
			"the prompt ends with an assistant's turn; it belongs to the "
			"completion");
	return read_messages(r, "completion", false);
}

static enum hone_status
read_shape(const struct reader *r, enum hn_schema schema)
{
	enum hone_status st;

	r->sample->kind = HN_SAMPLE_CHAT;
	switch (schema) {
	case HN_SCHEMA_TEXT:
		r->sample->kind = HN_SAMPLE_TEXT;
		return read_text(r, "text", true, &r->sample->text);
	case HN_SCHEMA_PROMPT:
		return read_pair(r);
	case HN_SCHEMA_MESSAGES:
		return read_messages(r, "messages", false);
	case HN_SCHEMA_ALPACA:
		return read_alpaca(r);
	case HN_SCHEMA_SHAREGPT:
		st = read_system(r);
		return st ? st : read_messages(r, "conversations", true);
	default:
		return hone_fail(r->err, HONE_EBUG, "a row is read without a schema");
	}
}

enum hone_status
hn_sample_read(struct hn_sample *sample, enum hn_schema schema, const json_t *row,
	const struct hn_place *place, struct hone_error *err)
{
	const struct reader r = {sample, row, place, err};
	enum hone_status st;

	memset(sample, 0, sizeof *sample);
	sample->messages = json_array();
	st = refuse_row_fields(&r);
	if (!st)
		st = read_shape(&r, schema);
	return hn_data_clean(st, err);
}

void
hn_sample_fini(struct hn_sample *sample)
{
	json_decref(sample->messages);
	memset(sample, 0, sizeof *sample);
}

uint64_t
hn_sample_hash(const struct hn_sample *sample)
{
	struct hn_str all = {0};
	uint64_t hash;

	hn_str_printf(&all, "%d/%zu/", (int)sample->kind, sample->n_prompt);
	if (sample->prompt)
		hn_str_add(&all, sample->prompt, strlen(sample->prompt) + 1);
	if (sample->text)
		hn_str_add(&all, sample->text, strlen(sample->text) + 1);
	for (size_t i = 0; i < json_array_size(sample->messages); i++) {
		const json_t *message = json_array_get(sample->messages, i);
		const char *role = json_string_value(json_object_get(message, "role"));
		const char *content = json_string_value(json_object_get(message, "content"));

		hn_str_add(&all, role, strlen(role) + 1);
		hn_str_add(&all, content, strlen(content) + 1);
	}
	hash = hn_hash64(all.text, all.len);
	hn_str_fini(&all);
	return hash;
}

const char *
hn_sample_reference(const struct hn_sample *sample)
{
	if (sample->kind == HN_SAMPLE_PAIR)
		return sample->text;
	for (size_t i = json_array_size(sample->messages); i-- > sample->n_prompt;) {
		const json_t *message = json_array_get(sample->messages, i);

		if (hn_streq(json_string_value(json_object_get(message, "role")), "assistant"))
			return json_string_value(json_object_get(message, "content"));
	}
	return NULL;
}
