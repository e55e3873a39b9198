/*
 * data/schema.h - the shapes that rows have, and what a row says in its shape.
 *
 *     text          {"text": "..."}
 *     prompt        {"prompt": "...", "completion": "..."}, or both as lists of messages
 *     messages      {"messages": [{"role": "user", "content": "..."}, ...]}
 *     alpaca        {"instruction": "...", "input": "...", "output": "..."}
 *     sharegpt      {"conversations": [{"from": "human", "value": "..."}, ...]}
 *
 * The shape is found from the first row, or named by [data] schema; every row has to have it.
 * Columns that hone does not know are left alone (ids, sources), but what would change the
 * text or what is learned of it and cannot be carried (tools, history, images, weights of
 * messages ...) is refused by name, unless it is null or empty.
 */
#ifndef HN_DATA_SCHEMA_H
#define HN_DATA_SCHEMA_H

#include <jansson.h>

#include <hone/status.h>

enum hn_schema {
	HN_SCHEMA_AUTO = 0,
	HN_SCHEMA_TEXT,
	HN_SCHEMA_PROMPT,
	HN_SCHEMA_MESSAGES,
	HN_SCHEMA_ALPACA,
	HN_SCHEMA_SHAREGPT,
	HN_SCHEMA_COUNT,
};

/* "auto", "text", "prompt", "messages", "alpaca", "sharegpt". */
const char *hn_schema_name(enum hn_schema schema);
/* HONE_ECONFIG with the nearest name. */
enum hone_status hn_schema_parse(const char *name, enum hn_schema *out, struct hone_error *err);

/* Where a row stands. */
struct hn_place {
	const char *file;
	int64_t line;
};

/* The schema of a row by its keys; an error where none fits, or more than one. */
enum hone_status hn_schema_detect(const json_t *row, const struct hn_place *place,
	enum hn_schema *out, struct hone_error *err);

enum hn_sample_kind {
	HN_SAMPLE_TEXT = 1,  /* text */
	HN_SAMPLE_PAIR,      /* prompt and text (the completion) */
	HN_SAMPLE_CHAT,      /* messages */
	HN_SAMPLE_CHAT_PAIR, /* n_prompt messages of the prompt, then those of the completion */
};

/* What a row says.  Texts are borrowed from the row, messages are owned. */
struct hn_sample {
	enum hn_sample_kind kind;
	const char *prompt, *text;
	json_t *messages; /* of {"role", "content"} */
	size_t n_prompt;
};

/* Reads a row in its schema (not AUTO).  The row must outlive the sample, which the caller
 * finishes in any case. */
enum hone_status hn_sample_read(struct hn_sample *sample, enum hn_schema schema, const json_t *row,
	const struct hn_place *place, struct hone_error *err);
void hn_sample_fini(struct hn_sample *sample);

/* A hash of all that the sample says: equal for equal rows, whatever their keys' order. */
uint64_t hn_sample_hash(const struct hn_sample *sample);

/* The answer that a model is compared with: completion, or the last assistant's turn; NULL
 * where there is none. */
const char *hn_sample_reference(const struct hn_sample *sample);

#endif
