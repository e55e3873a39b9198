/*
 * prepare.c - one row to examples: what the objective asks for, and what it puts.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/str.h"
#include "data/prepare.h"

static struct hn_prepare *
of(struct hone_data *data)
{
	return (struct hn_prepare *)(void *)data;
}

static const struct hn_prepare *
of_const(const struct hone_data *data)
{
	return (const struct hn_prepare *)(const void *)data;
}

/* ---- what a plugin calls ---- */

static enum hone_status
data_tokenise(struct hone_data *data, const struct hone_record *record, uint32_t flags,
	struct hone_tokens *out, struct hone_error *err)
{
	struct hn_prepare *p = of(data);
	struct hn_tokenised tokens;
	enum hone_status st;

	(void)record;
	st = hn_tokenise(p->request->text, &p->scratch, &p->sample, flags, &tokens, err);
	if (st)
		return st;
	if (tokens.n > INT32_MAX / 4)
		return hone_fail(
			err, HONE_EDATA, "the row has %lld tokens; split it", (long long)tokens.n);
	p->block->report.straddles += tokens.n_straddles;
	p->block->report.specials += tokens.has_special;
	p->block->report.lost_bytes += tokens.n_lost;
	p->block->report.endless += tokens.is_endless;
	if (tokens.n > p->block->report.longest_row)
		p->block->report.longest_row = tokens.n;
	out->n = (int32_t)tokens.n;
	out->ids = tokens.ids;
	out->learned = tokens.learned;
	return HONE_OK;
}

static enum hone_status
data_field(struct hone_data *data, const struct hone_record *record, const char *name,
	const char **out, struct hone_error *err)
{
	const json_t *value = json_object_get(of(data)->row, name);

	(void)record;
	if (!value || json_is_null(value))
		return HONE_ENOTFOUND;
	if (!json_is_string(value))
		return hone_fail(err, HONE_EDATA, "'%s' is not a text", name);
	*out = json_string_value(value);
	return HONE_OK;
}

static int64_t
data_max_length(const struct hone_data *data)
{
	return of_const(data)->request->max_length;
}

static int32_t
data_end_of_sequence(const struct hone_data *data)
{
	return of_const(data)->request->text->eos;
}

static size_t
dtype_bytes(int32_t dtype)
{
	switch (dtype) {
	case HONE_DTYPE_U8:
		return 1;
	case HONE_DTYPE_I32:
	case HONE_DTYPE_F32:
		return 4;
	case HONE_DTYPE_F64:
		return 8;
	default:
		return 0;
	}
}

/* The number of a name in the block's table. */
static uint32_t
intern(struct hn_table *names, const char *name)
{
	const uint64_t *known = hn_table_get(names, name);

	if (known)
		return (uint32_t)*known;
	(void)hn_table_set(names, name, names->n);
	return (uint32_t)(names->n - 1);
}

static enum hone_status
data_put(struct hone_data *data, const char *name, int32_t dtype, int64_t n, const void *values,
	struct hone_error *err)
{
	struct hn_dataset_block *block = of(data)->block;
	const size_t size = dtype_bytes(dtype);
	struct hn_dataset_array *array;
	size_t begin;

	if (size == 0 || n < 0 || n > INT32_MAX || (n > 0 && !values))
		return hone_fail(err, HONE_EPLUGIN,
			"array '%s': %lld values of type %d cannot be kept", name, (long long)n,
			dtype);
	begin = (block->n_bytes + 7) & ~(size_t)7;
	block->bytes = hn_grow(block->bytes, &block->cap_bytes, begin + (size_t)n * size + 8, 1);
	if (n > 0)
		memcpy(block->bytes + begin, values, (size_t)n * size);
	block->n_bytes = begin + (size_t)n * size;
	block->arrays = hn_grow(
		block->arrays, &block->cap_arrays, block->n_arrays + 1, sizeof *block->arrays);
	array = &block->arrays[block->n_arrays++];
	array->name = intern(&block->names, name);
	array->dtype = dtype;
	array->n = n;
	array->offset = begin;
	return HONE_OK;
}

static enum hone_status
data_end_example(struct hone_data *data, int64_t rows, int64_t n_learned, struct hone_error *err)
{
	struct hn_prepare *p = of(data);
	struct hn_dataset_block *block = p->block;
	struct hn_dataset_example *example;

	if (rows < 1 || rows > p->request->max_length || n_learned < 0 || n_learned > rows)
		return hone_fail(err, HONE_EPLUGIN,
			"an example of %lld rows, %lld of them learned; max_length is %lld",
			(long long)rows, (long long)n_learned, (long long)p->request->max_length);
	block->examples = hn_grow(block->examples, &block->cap_examples, block->n_examples + 1,
		sizeof *block->examples);
	example = &block->examples[block->n_examples++];
	memset(example, 0, sizeof *example);
	example->row = p->row_index;
	example->n_rows = rows;
	example->n_learned = n_learned;
	example->first_array = p->first_array;
	example->n_arrays = (uint32_t)block->n_arrays - p->first_array;
	p->first_array = (uint32_t)block->n_arrays;
	block->report.tokens += rows;
	block->report.supervised_tokens += n_learned;
	if (rows > block->report.longest)
		block->report.longest = rows;
	return HONE_OK;
}

static void
data_count(struct hone_data *data, const char *what, int64_t n)
{
	struct hn_table *counts = &of(data)->block->counts;
	const uint64_t *old = hn_table_get(counts, what);

	(void)hn_table_set(counts, what, (old ? *old : 0) + (uint64_t)n);
}

/* ---- rows ---- */

enum hone_status
hn_prepare_init(struct hn_prepare *prepare, const struct hn_dataset_request *request,
	enum hn_schema schema, struct hone_error *err)
{
	memset(prepare, 0, sizeof *prepare);
	prepare->vt = hn_data_refusing();
	prepare->vt.tokenise = data_tokenise;
	prepare->vt.field = data_field;
	prepare->vt.max_length = data_max_length;
	prepare->vt.end_of_sequence = data_end_of_sequence;
	prepare->vt.put = data_put;
	prepare->vt.end_example = data_end_example;
	prepare->vt.count = data_count;
	prepare->base.vt = &prepare->vt;
	prepare->request = request;
	prepare->schema = schema;
	return hn_text_scratch_init(&prepare->scratch, request->text, err);
}

void
hn_prepare_fini(struct hn_prepare *prepare)
{
	hn_text_scratch_fini(&prepare->scratch);
	memset(prepare, 0, sizeof *prepare);
}

/* An error of the row that does not say where gets the row's place. */
static enum hone_status
at_row(const struct hn_prepare *p, enum hone_status st, struct hone_error *err)
{
	if (!err->line) {
		(void)snprintf(err->place, sizeof err->place, "%s", p->place.file);
		err->line = (int32_t)p->place.line;
		err->column = 0;
	}
	return st;
}

/* Calls the objective, and holds it to its contract. */
static enum hone_status
call_prepare(struct hn_prepare *p, struct hone_error *err)
{
	const struct hn_dataset_request *request = p->request;
	enum hone_status st;

	p->first_array = (uint32_t)p->block->n_arrays;
	st = request->objective->prepare(request->objective_self, &p->base, &p->record, err);
	if (st == HONE_ENOTFOUND && !err->status)
		return hone_fail(err, HONE_EDATA, "[%s] needs a field that this row does not have",
			request->objective_section);
	if (st && !err->status)
		return hone_fail(err, HONE_EPLUGIN, "[%s] failed without a reason",
			request->objective_section);
	if (!st && p->first_array != p->block->n_arrays)
		return hone_fail(err, HONE_EPLUGIN, "[%s] put an array and ended no example",
			request->objective_section);
	return st;
}

enum hone_status
hn_prepare_row(struct hn_prepare *prepare, const struct hn_jsonl *file, size_t i, int64_t index,
	struct hn_dataset_block *block, struct hone_error *err)
{
	json_t *row = NULL;
	enum hone_status st = hn_jsonl_parse(file, i, &row, err);

	if (st)
		return st;
	prepare->block = block;
	prepare->row = row;
	prepare->row_index = (int64_t)i;
	prepare->place = (struct hn_place){file->path, file->rows[i].line};
	prepare->record = (struct hone_record){.struct_size = sizeof prepare->record,
		.file = file->path,
		.line = file->rows[i].line,
		.index = index};
	st = hn_sample_read(&prepare->sample, prepare->schema, row, &prepare->place, err);
	if (!st) {
		block->hashes[block->n_hashes++] = hn_sample_hash(&prepare->sample);
		st = call_prepare(prepare, err);
	}
	hn_sample_fini(&prepare->sample);
	json_decref(row);
	prepare->row = NULL;
	return st ? at_row(prepare, st, err) : HONE_OK;
}

void
hn_dataset_block_fini(struct hn_dataset_block *block)
{
	free(block->bytes);
	free(block->arrays);
	free(block->examples);
	hn_table_fini(&block->names);
	hn_table_fini(&block->counts);
	memset(block, 0, sizeof *block);
}
