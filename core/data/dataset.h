/*
 * data/dataset.h - one split of the data, prepared for one objective.
 *
 * Opening reads every row, in parallel, and lets the objective prepare it: tokens, masks, what
 * the objective wants to keep, as named arrays in a few large blocks.  What an epoch changes
 * (masks, swaps) is not here: the objective's `emit` makes it, in window.h.  Order and content
 * do not depend on the number of threads.
 *
 * What was cut, dropped, or looks wrong is counted; [data] strict makes it an error.
 */
#ifndef HN_DATA_DATASET_H
#define HN_DATA_DATASET_H

#include <hone/objective.h>

#include "base/pool.h"
#include "base/table.h"
#include "data/jsonl.h"
#include "data/tokenise.h"

enum hn_part {
	HN_PART_ALL = 0,
	HN_PART_TRAIN,      /* what validation_split leaves */
	HN_PART_VALIDATION, /* what it takes */
};

struct hn_dataset_request {
	const char *path;
	enum hn_schema schema; /* AUTO: from the first row */
	const struct hn_text_service *text;
	const struct hone_objective_vt *objective;
	const void *objective_self;
	const char *objective_section; /* "sft": keys random numbers, named in errors */
	int64_t max_length;
	bool is_strict;
	enum hn_part part;
	double validation_split;
	uint64_t seed; /* of the split */
	struct hn_pool *pool;
};

struct hn_dataset_array {
	uint32_t name; /* in the block's names */
	int32_t dtype;
	int64_t n;
	uint64_t offset; /* in the block's bytes */
};

struct hn_dataset_example {
	struct hone_example pub; /* first: what plugins see */
	int64_t row;             /* in the file's rows */
	int64_t n_rows;          /* in the longest stream, as the objective says */
	int64_t n_learned;
	uint32_t first_array, n_arrays; /* in the block's arrays */
	const struct hn_dataset_block *block;
};

struct hn_dataset_report {
	int64_t rows, examples;
	int64_t truncated, truncated_answers, dropped;
	int64_t straddles, specials; /* tokens over a border; rows that spell special tokens */
	int64_t lost_bytes;          /* that the vocabulary cannot spell */
	int64_t endless;             /* rows whose end is no token: the tokenizer names none */
	int64_t tokens, supervised_tokens;
	int64_t longest;     /* example */
	int64_t longest_row; /* before anything is cut */
	int64_t empty_lines;
};

struct hn_dataset {
	struct hn_jsonl file;
	enum hn_schema schema;
	const struct hn_text_service *text;
	struct hn_dataset_example *examples;
	int64_t n_examples;
	uint64_t *row_hashes; /* of the rows of this part, sorted */
	int64_t n_rows;
	struct hn_table counts; /* all counts of the objective by name */
	struct hn_dataset_report report;
	struct hn_dataset_block *blocks;
	size_t n_blocks;
};

/* Reads and prepares a split.  Closed by the caller in any case. */
enum hone_status hn_dataset_open(
	struct hn_dataset *data, const struct hn_dataset_request *request, struct hone_error *err);
void hn_dataset_close(struct hn_dataset *data);

/* An array of an example by name, NULL when it has none. */
const void *hn_dataset_array(const struct hone_example *example, const char *name, int64_t *n);

/* What the row behind an example says, read from the file again: prompt and answer for
 * generation.  HONE_EDATA when the file has changed.  The caller finishes the sample and
 * decrefs *row, which the sample borrows from. */
enum hone_status hn_dataset_sample(const struct hn_dataset *data, int64_t example,
	struct hn_sample *sample, json_t **row, struct hone_error *err);
/* Line of the row behind an example. */
int64_t hn_dataset_line(const struct hn_dataset *data, int64_t example);

/* Rows of `b` that say the same as a row of `a`. */
int64_t hn_dataset_count_shared(const struct hn_dataset *a, const struct hn_dataset *b);
/* HONE_EDATA where there are any; `name` is that of the other split. */
enum hone_status hn_dataset_check_apart(const struct hn_dataset *train,
	const struct hn_dataset *other, const char *name, struct hone_error *err);

/* Whether the file is as it was when it was opened. */
bool hn_dataset_unchanged(const struct hn_dataset *data);

#endif
