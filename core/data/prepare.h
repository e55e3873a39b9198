/*
 * data/prepare.h - the services that an objective's `prepare` sees, and where its arrays go.
 *
 * Rows are prepared in blocks of fixed size, each by one worker; a block's arrays lie in one
 * piece of memory.  Private to core/data.
 */
#ifndef HN_DATA_PREPARE_H
#define HN_DATA_PREPARE_H

#include "data/dataset.h"

/* Rows of one block of work. */
enum { HN_BLOCK_ROWS = 64 };

struct hn_dataset_block {
	uint8_t *bytes;
	size_t n_bytes, cap_bytes;
	struct hn_dataset_array *arrays;
	size_t n_arrays, cap_arrays;
	struct hn_dataset_example *examples; /* moved into the dataset when all are done */
	size_t n_examples, cap_examples;
	uint64_t hashes[HN_BLOCK_ROWS];
	size_t n_hashes;
	struct hn_table names, counts;
	struct hn_dataset_report report;
	enum hone_status status;
	struct hone_error error;
};

/* What one worker needs; `base` is what the plugin holds. */
struct hn_prepare {
	struct hone_data base;
	struct hone_data_vt vt;
	const struct hn_dataset_request *request;
	enum hn_schema schema;
	struct hn_text_scratch scratch;
	/* of the row at hand */
	struct hn_dataset_block *block;
	struct hone_record record;
	struct hn_place place;
	const json_t *row;
	int64_t row_index; /* in the file */
	struct hn_sample sample;
	uint32_t first_array; /* of the example that is being made */
};

enum hone_status hn_prepare_init(struct hn_prepare *prepare,
	const struct hn_dataset_request *request, enum hn_schema schema, struct hone_error *err);
void hn_prepare_fini(struct hn_prepare *prepare);

/* Prepares row `i` of the file, the index-th of its split, into the block. */
enum hone_status hn_prepare_row(struct hn_prepare *prepare, const struct hn_jsonl *file, size_t i,
	int64_t index, struct hn_dataset_block *block, struct hone_error *err);

void hn_dataset_block_fini(struct hn_dataset_block *block);

/* A table of services that all fail, for a phase to put its own in (refuse.c). */
struct hone_data_vt hn_data_refusing(void);

#endif
