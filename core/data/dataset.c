/*
 * dataset.c - a split: rows chosen, prepared in blocks by the pool, put together in order.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/str.h"
#include "data/order.h"
#include "data/prepare.h"

/* The work of all threads. */
struct work {
	const struct hn_jsonl *file;
	const uint32_t *rows; /* of the file, that belong to the part */
	int64_t n_rows;
	struct hn_dataset_block *blocks;
	struct hn_prepare *workers;
};

static void
prepare_block(void *ctx, int64_t i, int32_t worker)
{
	const struct work *work = ctx;
	struct hn_dataset_block *block = &work->blocks[i];
	const int64_t begin = i * HN_BLOCK_ROWS;
	const int64_t end =
		begin + HN_BLOCK_ROWS < work->n_rows ? begin + HN_BLOCK_ROWS : work->n_rows;

	for (int64_t r = begin; r < end && !block->status; r++)
		block->status = hn_prepare_row(
			&work->workers[worker], work->file, work->rows[r], r, block, &block->error);
	/* What growing left over goes back: blocks live as long as the run. */
	block->bytes = hn_realloc(block->bytes, block->n_bytes + 1);
	block->cap_bytes = block->n_bytes + 1;
}

/* ---- which rows ---- */

static enum hone_status
choose_rows(const struct hn_jsonl *file, const struct hn_dataset_request *request, uint32_t **rows,
	int64_t *n_rows, struct hone_error *err)
{
	const int64_t n = (int64_t)file->n;
	const int64_t n_taken =
		request->part == HN_PART_ALL ? 0 : hn_order_n_taken(request->validation_split, n);

	if (request->part != HN_PART_ALL && (n_taken < 1 || n_taken >= n))
		return hone_fail(err, HONE_ECONFIG,
			"[data] validation_split = %g takes %" PRId64 " of the %" PRId64
			" rows of %s; both sets need a row",
			request->validation_split, n_taken, n, file->path);
	*rows = hn_alloc((size_t)n * sizeof **rows);
	*n_rows = 0;
	for (int64_t i = 0; i < n; i++) {
		const bool is_taken =
			n_taken > 0 && hn_order_is_taken(request->seed, i, n, n_taken);

		if (request->part == HN_PART_ALL ||
			is_taken == (request->part == HN_PART_VALIDATION))
			(*rows)[(*n_rows)++] = (uint32_t)i;
	}
	return HONE_OK;
}

static enum hone_status
find_schema(
	struct hn_dataset *data, const struct hn_dataset_request *request, struct hone_error *err)
{
	struct hn_place place = {data->file.path, 0};
	json_t *row = NULL;
	enum hone_status st;

	data->schema = request->schema;
	if (data->schema != HN_SCHEMA_AUTO)
		return HONE_OK;
	place.line = data->file.rows[0].line;
	st = hn_jsonl_parse(&data->file, 0, &row, err);
	if (!st)
		st = hn_schema_detect(row, &place, &data->schema, err);
	json_decref(row);
	return st;
}

/* ---- putting together ---- */

static void
add_report(struct hn_dataset_report *sum, const struct hn_dataset_report *part)
{
	sum->straddles += part->straddles;
	sum->specials += part->specials;
	sum->lost_bytes += part->lost_bytes;
	sum->endless += part->endless;
	sum->tokens += part->tokens;
	sum->supervised_tokens += part->supervised_tokens;
	if (part->longest > sum->longest)
		sum->longest = part->longest;
	if (part->longest_row > sum->longest_row)
		sum->longest_row = part->longest_row;
}

static int
compare_hashes(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void
take_block(struct hn_dataset *data, const struct hn_dataset_block *block)
{
	for (size_t i = 0; i < block->n_examples; i++) {
		struct hn_dataset_example *example = &data->examples[data->n_examples];

		*example = block->examples[i];
		example->pub.struct_size = (uint32_t)sizeof example->pub;
		example->pub.index = data->n_examples++;
		example->block = block;
	}
	for (size_t i = 0; i < block->counts.n; i++) {
		const struct hn_table_entry *entry = &block->counts.entries[i];
		const uint64_t *old = hn_table_get(&data->counts, entry->key);

		(void)hn_table_set(&data->counts, entry->key, (old ? *old : 0) + entry->value);
	}
	memcpy(data->row_hashes + data->n_rows, block->hashes,
		block->n_hashes * sizeof *block->hashes);
	data->n_rows += (int64_t)block->n_hashes;
	add_report(&data->report, &block->report);
}

static int64_t
count_of(const struct hn_dataset *data, const char *what)
{
	const uint64_t *n = hn_table_get(&data->counts, what);

	return n ? (int64_t)*n : 0;
}

/* Examples, hashes and counts of all blocks, in the order of the rows.  The first error of the
 * first row that has one is the error. */
static enum hone_status
collect(struct hn_dataset *data, int64_t n_rows, struct hone_error *err)
{
	struct hn_dataset_report *report = &data->report;
	size_t n_examples = 0;

	for (size_t b = 0; b < data->n_blocks; b++) {
		if (data->blocks[b].status) {
			*err = data->blocks[b].error;
			return data->blocks[b].status;
		}
		n_examples += data->blocks[b].n_examples;
	}
	data->examples = hn_alloc((n_examples + 1) * sizeof *data->examples);
	data->row_hashes = hn_alloc((size_t)n_rows * sizeof *data->row_hashes);
	for (size_t b = 0; b < data->n_blocks; b++) {
		take_block(data, &data->blocks[b]);
		free(data->blocks[b].examples);
		data->blocks[b].examples = NULL;
	}
	qsort(data->row_hashes, (size_t)data->n_rows, sizeof *data->row_hashes, compare_hashes);
	report->rows = n_rows;
	report->examples = data->n_examples;
	report->truncated = count_of(data, "truncated");
	report->truncated_answers = count_of(data, "truncated_answers");
	report->dropped = count_of(data, "dropped");
	report->empty_lines = data->file.n_empty;
	return HONE_OK;
}

static enum hone_status
prepare_all(struct hn_dataset *data, const struct hn_dataset_request *request, const uint32_t *rows,
	int64_t n_rows, struct hone_error *err)
{
	const int32_t n_workers = hn_pool_threads(request->pool);
	struct work work = {&data->file, rows, n_rows, NULL, NULL};
	enum hone_status st = HONE_OK;

	data->n_blocks = (size_t)((n_rows + HN_BLOCK_ROWS - 1) / HN_BLOCK_ROWS);
	data->blocks = hn_alloc(data->n_blocks * sizeof *data->blocks);
	work.blocks = data->blocks;
	work.workers = hn_alloc((size_t)n_workers * sizeof *work.workers);
	for (int32_t i = 0; i < n_workers && !st; i++)
		st = hn_prepare_init(&work.workers[i], request, data->schema, err);
	if (!st)
		hn_pool_run(request->pool, (int64_t)data->n_blocks, prepare_block, &work);
	for (int32_t i = 0; i < n_workers; i++)
		hn_prepare_fini(&work.workers[i]);
	free(work.workers);
	return st ? st : collect(data, n_rows, err);
}

/* ---- after ---- */

static enum hone_status
check_report(const struct hn_dataset *data, const struct hn_dataset_request *request,
	struct hone_error *err)
{
	const struct hn_dataset_report *r = &data->report;

	if (!hn_map_unchanged(&data->file.map))
		return hone_fail_at(err, HONE_EDATA, data->file.path, 0, 0,
			"the file was changed while it was read; start again");
	if (r->examples == 0 && r->longest_row <= request->max_length)
		return hone_fail_at(err, HONE_EDATA, data->file.path, 0, 0,
			"none of %" PRId64 " rows has a token to learn, and none was cut%s",
			r->rows,
			data->schema == HN_SCHEMA_MESSAGES || data->schema == HN_SCHEMA_SHAREGPT
				? "; a row needs an assistant's turn"
				: "");
	if (r->examples == 0)
		return hone_fail_at(err, HONE_EDATA, data->file.path, 0, 0,
			"none of %" PRId64 " rows has a token to learn after cutting to max_length "
			"= %" PRId64 "; the longest row has %" PRId64 " tokens",
			r->rows, request->max_length, r->longest_row);
	if (request->is_strict &&
		(r->truncated || r->dropped || r->specials || r->lost_bytes || r->endless))
		return hone_fail_at(err, HONE_EDATA, data->file.path, 0, 0,
			"[data] strict = yes: %" PRId64 " rows are cut to max_length = %" PRId64
			" (%" PRId64 " of them in the answer), %" PRId64 " have nothing to learn, "
			"%" PRId64 " spell special tokens, %" PRId64
			" bytes have no token, %" PRId64 " have no end of sequence; of %" PRId64
			" rows",
			r->truncated, request->max_length, r->truncated_answers, r->dropped,
			r->specials, r->lost_bytes, r->endless, r->rows);
	return HONE_OK;
}

enum hone_status
hn_dataset_open(
	struct hn_dataset *data, const struct hn_dataset_request *request, struct hone_error *err)
{
	struct hone_error found = {0}; /* hn_prepare_row asks whether a place is known */
	uint32_t *rows = NULL;
	int64_t n_rows = 0;
	enum hone_status st;

	memset(data, 0, sizeof *data);
	data->text = request->text;
	json_decref(json_object()); /* jansson seeds its tables at the first one: not in threads */
	st = hn_jsonl_open(&data->file, request->path, &found);
	if (!st)
		st = find_schema(data, request, &found);
	if (!st)
		st = choose_rows(&data->file, request, &rows, &n_rows, &found);
	if (!st)
		st = prepare_all(data, request, rows, n_rows, &found);
	if (!st)
		st = check_report(data, request, &found);
	free(rows);
	if (st && err)
		*err = found;
	return st;
}

void
hn_dataset_close(struct hn_dataset *data)
{
	for (size_t b = 0; b < data->n_blocks; b++)
		hn_dataset_block_fini(&data->blocks[b]);
	free(data->blocks);
	free(data->examples);
	free(data->row_hashes);
	hn_table_fini(&data->counts);
	hn_jsonl_close(&data->file);
	memset(data, 0, sizeof *data);
}

/* ---- asking ---- */

const void *
hn_dataset_array(const struct hone_example *example, const char *name, int64_t *n)
{
	const struct hn_dataset_example *own = (const void *)example;
	const struct hn_dataset_block *block = own->block;

	for (uint32_t i = 0; i < own->n_arrays; i++) {
		const struct hn_dataset_array *array = &block->arrays[own->first_array + i];

		if (hn_streq(block->names.entries[array->name].key, name)) {
			*n = array->n;
			return block->bytes + array->offset;
		}
	}
	*n = 0;
	return NULL;
}

enum hone_status
hn_dataset_sample(const struct hn_dataset *data, int64_t example, struct hn_sample *sample,
	json_t **row, struct hone_error *err)
{
	const size_t i = (size_t)data->examples[example].row;
	const struct hn_place place = {data->file.path, data->file.rows[i].line};
	enum hone_status st;

	memset(sample, 0, sizeof *sample);
	*row = NULL;
	if (!hn_map_unchanged(&data->file.map))
		return hone_fail_at(err, HONE_EDATA, data->file.path, 0, 0,
			"the file was changed while it was in use; start again");
	st = hn_jsonl_parse(&data->file, i, row, err);
	return st ? st : hn_sample_read(sample, data->schema, *row, &place, err);
}

int64_t
hn_dataset_line(const struct hn_dataset *data, int64_t example)
{
	return data->file.rows[data->examples[example].row].line;
}

int64_t
hn_dataset_count_shared(const struct hn_dataset *a, const struct hn_dataset *b)
{
	int64_t i = 0, n_shared = 0;

	for (int64_t k = 0; k < b->n_rows; k++) {
		while (i < a->n_rows && a->row_hashes[i] < b->row_hashes[k])
			i++;
		n_shared += i < a->n_rows && a->row_hashes[i] == b->row_hashes[k];
	}
	return n_shared;
}

enum hone_status
hn_dataset_check_apart(const struct hn_dataset *train, const struct hn_dataset *other,
	const char *name, struct hone_error *err)
{
	const int64_t n = hn_dataset_count_shared(train, other);

	if (!n)
		return HONE_OK;
	return hone_fail_at(err, HONE_EDATA, other->file.path, 0, 0,
		"[data] strict = yes: %lld rows of the %s data stand in the training data, too; "
		"take them out of one of the two",
		(long long)n, name);
}

bool
hn_dataset_unchanged(const struct hn_dataset *data)
{
	return hn_map_unchanged(&data->file.map);
}
