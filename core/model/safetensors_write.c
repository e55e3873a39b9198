/*
 * safetensors_write.c - the writer: the reference implementation's bytes, streamed.
 *
 * Layout decisions, all of them the reference's, so that the same tensors give the same file
 * in both: types in descending order of the enum (which puts the widest first, so every
 * tensor is aligned), names ascending within a type; compact JSON with __metadata__ first;
 * the header padded with spaces to a multiple of 8.
 */
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"

#define CHUNK_BYTES (UINT64_C(1) << 20)

/* A tensor with what sorting and writing need. */
struct item {
	const struct hn_tensor_out *tensor;
	const char *dtype;
	uint32_t order;
	uint64_t n_bytes, row_bytes;
	int64_t n_rows;
};

/* Names are unique, so the order is total and does not depend on qsort. */
static int
by_type_then_name(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->order != y->order)
		return x->order > y->order ? -1 : 1;
	return strcmp(x->tensor->name, y->tensor->name);
}

/* Metadata in the order of their keys: the reference leaves it to a hash, so its order changes
 * from run to run. */
static int
by_key(const void *a, const void *b)
{
	const struct hn_meta_out *x = a, *y = b;

	return strcmp(x->key, y->key);
}

/* Sizes of one tensor; rows are runs of the innermost dimension. */
static enum hone_status
measure(const struct hn_tensor_out *tensor, const char *path, struct item *item,
	struct hone_error *err)
{
	const uint32_t bits = hn_safetensors_bits(tensor->storage);
	int64_t n_elems;
	uint64_t n_bits;

	item->tensor = tensor;
	item->dtype = hn_safetensors_dtype(tensor->storage, &item->order);
	if (!item->dtype)
		return hone_fail_at(err, HONE_EINVAL, path, 0, 0,
			"safetensors has no type for \"%s\", wanted for tensor \"%.200s\"",
			tensor->storage, tensor->name);
	if (tensor->rank > HN_TENSOR_MAX_RANK ||
		!hn_shape_elems(tensor->rank, tensor->dim, &n_elems) ||
		__builtin_mul_overflow((uint64_t)n_elems, bits, &n_bits) || n_bits % 8)
		return hone_fail_at(err, HONE_EINVAL, path, 0, 0,
			"the shape of tensor \"%.200s\" cannot be written", tensor->name);
	item->n_bytes = n_bits / 8;
	item->n_rows = 1;
	if (tensor->rank > 1 && tensor->dim[tensor->rank - 1] > 0 && bits >= 8)
		item->n_rows = n_elems / tensor->dim[tensor->rank - 1];
	item->row_bytes = item->n_rows > 0 ? item->n_bytes / (uint64_t)item->n_rows : 0;
	return HONE_OK;
}

/* transformers refuses a file whose metadata lack "format". */
static void
put_metadata(struct hn_str *header, const struct hn_meta_out *metas, size_t n)
{
	struct hn_meta_out *sorted = hn_alloc((n + 1) * sizeof *sorted);
	bool has_format = false;

	for (size_t i = 0; i < n; i++) {
		sorted[i] = metas[i];
		has_format |= hn_streq(metas[i].key, "format");
	}
	if (!has_format)
		sorted[n++] = (struct hn_meta_out){"format", "pt"};
	qsort(sorted, n, sizeof *sorted, by_key);
	hn_str_puts(header, "{\"__metadata__\":{");
	for (size_t i = 0; i < n; i++) {
		hn_str_puts(header, i ? "," : "");
		hn_str_put_json(header, sorted[i].key, strlen(sorted[i].key));
		hn_str_putc(header, ':');
		hn_str_put_json(header, sorted[i].value, strlen(sorted[i].value));
	}
	hn_str_putc(header, '}');
	free(sorted);
}

/* The header's text, padded so that the data begin at a multiple of 8. */
static void
put_header(struct hn_str *header, const struct item *items, size_t n,
	const struct hn_meta_out *metas, size_t n_metas)
{
	uint64_t at = 0;

	put_metadata(header, metas, n_metas);
	for (size_t i = 0; i < n; i++) {
		const struct hn_tensor_out *tensor = items[i].tensor;

		hn_str_putc(header, ',');
		hn_str_put_json(header, tensor->name, strlen(tensor->name));
		hn_str_printf(header, ":{\"dtype\":\"%s\",\"shape\":[", items[i].dtype);
		for (uint32_t d = 0; d < tensor->rank; d++)
			hn_str_printf(header, "%s%lld", d ? "," : "", (long long)tensor->dim[d]);
		hn_str_printf(header, "],\"data_offsets\":[%llu,", (unsigned long long)at);
		at += items[i].n_bytes;
		hn_str_printf(header, "%llu]}", (unsigned long long)at);
	}
	hn_str_putc(header, '}');
	while (header->len % 8)
		hn_str_putc(header, ' ');
}

/* The rows that `fill` makes, through a buffer of about a mebibyte. */
static enum hone_status
write_filled(struct hn_writer *writer, const struct item *item, struct hone_error *err)
{
	const uint64_t per_chunk =
		item->row_bytes >= CHUNK_BYTES ? 1 : CHUNK_BYTES / item->row_bytes;
	const int64_t step = (int64_t)per_chunk;
	const size_t size = (size_t)(per_chunk * item->row_bytes);
	void *rows = hn_pages_alloc(size);
	enum hone_status st = HONE_OK;

	if (!rows)
		return hone_fail(err, HONE_ENOMEM, "no memory for a row of tensor \"%.200s\"",
			item->tensor->name);
	for (int64_t at = 0; !st && at < item->n_rows; at += step) {
		const int64_t left = item->n_rows - at, n = left < step ? left : step;

		st = item->tensor->fill(item->tensor->ctx, item->tensor, at, n, rows, err);
		if (!st)
			st = hn_writer_write(writer, rows, (size_t)n * item->row_bytes, err);
	}
	hn_pages_free(rows, size);
	return st;
}

/* Length word, header, then the tensors in the header's order; the data follow without a gap. */
static enum hone_status
write_all(struct hn_writer *writer, const struct hn_str *header, const struct item *items, size_t n,
	struct hone_error *err)
{
	uint8_t word[8];
	enum hone_status st;

	for (int i = 0; i < 8; i++)
		word[i] = (uint8_t)((uint64_t)header->len >> (8 * i));
	st = hn_writer_write(writer, word, sizeof word, err);
	if (!st)
		st = hn_writer_write(writer, header->text, header->len, err);
	for (size_t i = 0; !st && i < n; i++) {
		if (items[i].n_bytes == 0)
			continue;
		if (items[i].tensor->bytes)
			st = hn_writer_write(
				writer, items[i].tensor->bytes, (size_t)items[i].n_bytes, err);
		else
			st = write_filled(writer, &items[i], err);
	}
	return st;
}

/* Measures and sorts; refuses what the reader would refuse. */
static enum hone_status
prepare(struct item *items, const struct hn_tensor_out *tensors, size_t n, const char *path,
	struct hone_error *err)
{
	enum hone_status st = HONE_OK;
	struct hn_table names = {0};

	for (size_t i = 0; !st && i < n; i++) {
		st = measure(&tensors[i], path, &items[i], err);
		if (!st && !hn_table_set(&names, tensors[i].name, i))
			st = hone_fail_at(err, HONE_EINVAL, path, 0, 0,
				"tensor \"%.200s\" would be written twice", tensors[i].name);
		if (!st && (hn_streq(tensors[i].name, "__metadata__") || !tensors[i].name[0]))
			st = hone_fail_at(err, HONE_EINVAL, path, 0, 0,
				"\"%s\" is no name for a tensor", tensors[i].name);
	}
	hn_table_fini(&names);
	if (!st) /* items after one that was refused were not measured */
		qsort(items, n, sizeof *items, by_type_then_name);
	return st;
}

/* The header is made before the file is created: every offset is known from shapes alone, so
 * nothing is written twice and nothing is sought. */
enum hone_status
hn_safetensors_write(const char *path, const struct hn_tensor_out *tensors, size_t n_tensors,
	const struct hn_meta_out *metas, size_t n_metas, struct hone_error *err)
{
	struct item *items = hn_alloc((n_tensors + 1) * sizeof *items);
	struct hn_writer *writer = NULL;
	struct hn_str header = {0};
	enum hone_status st = prepare(items, tensors, n_tensors, path, err);

	if (!st) {
		put_header(&header, items, n_tensors, metas, n_metas);
		st = hn_writer_create(&writer, path, err);
	}
	if (!st) {
		st = write_all(writer, &header, items, n_tensors, err);
		if (st)
			hn_writer_abandon(writer);
		else
			st = hn_writer_commit(writer, err);
	}
	hn_str_fini(&header);
	free(items);
	return st;
}
