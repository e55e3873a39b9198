/*
 * tensors.c - the list of stored tensors that both readers fill and everything else reads.
 *
 * A reader appends with hn_tensor_file_add and hn_tensor_file_add_meta, which own the copies
 * and the tables by name; it never touches the arrays itself.  Pointers into the arrays
 * (struct hn_tensor_info *) are stable once the file is open, because nothing is added then.
 *
 * Messages about a tensor have as their place the file that the tensor is in, which for a
 * model in shards is the shard.  Names in messages are cut at 200 bytes, so that the cause
 * behind them is always readable.
 *
 * Invariants after a successful open: every tensor's bytes lie inside its mapping; n_bytes
 * is what storage and shape ask for; names are unique, non-empty, valid UTF-8 without NUL.
 */
#include "model/tensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hone/tensor.h>

/* Reverse order of opening; the bytes of all tensors end with the maps. */
void
hn_tensor_file_close(struct hn_tensor_file *file)
{
	for (size_t i = 0; i < file->n_maps; i++)
		hn_map_close(&file->maps[i]);
	free(file->maps);
	free(file->map_paths);
	free(file->tensors);
	free(file->metas);
	hn_table_fini(&file->tensor_by_name);
	hn_table_fini(&file->meta_by_key);
	hn_arena_fini(&file->arena);
	memset(file, 0, sizeof *file);
}

/* The file that a tensor is in: a shard, or the only one. */
static const char *
place_of(const struct hn_tensor_file *file, const struct hn_tensor_info *tensor)
{
	return tensor->map_idx < file->n_maps ? file->map_paths[tensor->map_idx] : file->path;
}

/* ---- building ---- */

/* The copy of the name lives in the arena, so `tensor->name` may point into the mapping, where
 * strings have no NUL.  Storage names are the readers' constants and are not copied. */
enum hone_status
hn_tensor_file_add(struct hn_tensor_file *file, const struct hn_tensor_info *tensor,
	size_t name_len, struct hone_error *err)
{
	struct hn_tensor_info *added;

	if (name_len == 0 || memchr(tensor->name, 0, name_len) ||
		hn_utf8_check(tensor->name, name_len) != name_len)
		return hone_fail_at(err, HONE_EMODEL, place_of(file, tensor), 0, 0,
			"the name of tensor %zu is empty or not UTF-8 text", file->n_tensors);
	if (!hn_table_put(&file->tensor_by_name, tensor->name, name_len, file->n_tensors))
		return hone_fail_at(err, HONE_EMODEL, place_of(file, tensor), 0, 0,
			"tensor \"%.*s\" stands there twice", name_len > 200 ? 200 : (int)name_len,
			tensor->name);
	file->tensors = hn_grow(
		file->tensors, &file->cap_tensors, file->n_tensors + 1, sizeof *file->tensors);
	added = &file->tensors[file->n_tensors++];
	*added = *tensor;
	added->name = hn_arena_strndup(&file->arena, tensor->name, name_len);
	if (hn_storage_is_host(tensor->storage))
		added->flags |= HN_TENSOR_DECODABLE;
	return HONE_OK;
}

/* Scalars and array views are taken as they are; key and string value are copied, with a NUL
 * behind them, because they are handed to printf and strcmp later. */
enum hone_status
hn_tensor_file_add_meta(struct hn_tensor_file *file, const struct hn_meta *meta, size_t key_len,
	struct hone_error *err)
{
	struct hn_meta *added;

	if (key_len == 0 || memchr(meta->key, 0, key_len) ||
		hn_utf8_check(meta->key, key_len) != key_len)
		return hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
			"the key of metadata %zu is empty or not UTF-8 text", file->n_metas);
	if (!hn_table_put(&file->meta_by_key, meta->key, key_len, file->n_metas))
		return hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
			"metadata \"%.*s\" stands there twice", key_len > 200 ? 200 : (int)key_len,
			meta->key);
	file->metas =
		hn_grow(file->metas, &file->cap_metas, file->n_metas + 1, sizeof *file->metas);
	added = &file->metas[file->n_metas++];
	*added = *meta;
	added->key = hn_arena_strndup(&file->arena, meta->key, key_len);
	if (meta->value.type == HN_META_STRING)
		added->value.string =
			hn_arena_strndup(&file->arena, meta->value.string, meta->value.string_len);
	return HONE_OK;
}

/* The map is moved into the list only when nothing speaks against the file, so a failure has
 * exactly one thing to undo. */
enum hone_status
hn_tensor_file_map(
	struct hn_tensor_file *file, const char *path, uint32_t *map_idx, struct hone_error *err)
{
	struct hn_map map = {0};
	enum hone_status st;

	st = hn_path_check_regular(path, HONE_EMODEL, err);
	if (!st)
		st = hn_map_open(&map, path, HONE_EMODEL, err);
	if (st)
		return st;
	st = hn_refuse_foreign(map.bytes, map.size, path, err);
	if (st) {
		hn_map_close(&map);
		return st;
	}
	file->maps = hn_grow(file->maps, &file->cap_maps, file->n_maps + 1, sizeof *file->maps);
	file->map_paths = hn_grow(
		file->map_paths, &file->cap_map_paths, file->n_maps + 1, sizeof *file->map_paths);
	file->maps[file->n_maps] = map;
	file->map_paths[file->n_maps] = hn_arena_strdup(&file->arena, path);
	*map_idx = (uint32_t)file->n_maps++;
	return HONE_OK;
}

/* Whether the file begins with these bytes. */
static bool
begins(const uint8_t *bytes, uint64_t n, const char *with, size_t len)
{
	return n >= len && memcmp(bytes, with, len) == 0;
}

/* What a download that needed a login leaves behind. */
static bool
is_web_page(const uint8_t *bytes, uint64_t n)
{
	while (n && (*bytes == ' ' || *bytes == '\n' || *bytes == '\r' || *bytes == '\t')) {
		bytes++;
		n--;
	}
	return begins(bytes, n, "<!DOCTYPE", 9) || begins(bytes, n, "<!doctype", 9) ||
		begins(bytes, n, "<html", 5) || begins(bytes, n, "<HTML", 5) ||
		begins(bytes, n, "<?xml", 5);
}

/* By the first bytes alone: names lie (model.safetensors that is a pointer file is the most
 * frequent one).  Nothing here is ever unpacked or run. */
enum hone_status
hn_refuse_foreign(const uint8_t *bytes, uint64_t n, const char *path, struct hone_error *err)
{
	if (n == 0)
		return hone_fail_at(err, HONE_EMODEL, path, 0, 0,
			"the file is empty; the download was cut, get it again");
	if (begins(bytes, n, "version https://git-lfs", 23))
		return hone_fail_at(err, HONE_EMODEL, path, 0, 0,
			"this is a Git LFS pointer, not the model; run \"git lfs pull\" in its "
			"folder");
	if (is_web_page(bytes, n))
		return hone_fail_at(err, HONE_EMODEL, path, 0, 0,
			"this is a web page, not the model; the download went wrong "
			"(a login or an error page), get it again");
	if (begins(bytes, n, "PK\3\4", 4) || begins(bytes, n, "\x80\2", 2) ||
		begins(bytes, n, "\x80\4", 2))
		return hone_fail_at(err, HONE_EMODEL, path, 0, 0,
			"this is pickle or a zip of pickles, which can run code and is not read; "
			"convert it to safetensors (save_pretrained of transformers does)");
	if (begins(bytes, n, "\x1f\x8b", 2))
		return hone_fail_at(err, HONE_EMODEL, path, 0, 0,
			"this is gzip; unpack it with \"gunzip\" first");
	return HONE_OK;
}

/* ---- reading ---- */

/* Constant time: models have hundreds of tensors, and architectures ask for each by name. */
const struct hn_tensor_info *
hn_tensor_file_find(const struct hn_tensor_file *file, const char *name)
{
	const uint64_t *idx = hn_table_get(&file->tensor_by_name, name);

	return idx ? &file->tensors[*idx] : NULL;
}

void
hn_shape_print(struct hn_str *out, uint32_t rank, const int64_t *dim)
{
	hn_str_putc(out, '[');
	for (uint32_t i = 0; i < rank; i++)
		hn_str_printf(out, "%s%lld", i ? ", " : "", (long long)dim[i]);
	hn_str_putc(out, ']');
}

/* The product is also formed past a zero, so that [2^62, 4, 0] is refused: a shape that lies
 * once is not trusted in the next place that multiplies it. */
bool
hn_shape_elems(uint32_t rank, const int64_t *dim, int64_t *out)
{
	int64_t n = 1;

	for (uint32_t i = 0; i < rank; i++)
		if (dim[i] < 0 || __builtin_mul_overflow(n, dim[i], &n))
			return false;
	*out = n;
	return true;
}

/* Rank and every dimension; nothing is broadcast and no 1 is dropped. */
static bool
is_shape(const struct hn_tensor_info *tensor, uint32_t rank, const int64_t *dim)
{
	if (tensor->rank != rank)
		return false;
	for (uint32_t i = 0; i < rank; i++)
		if (tensor->dim[i] != dim[i])
			return false;
	return true;
}

/* Both shapes are in the message: which of the two is wrong is for the reader to see. */
enum hone_status
hn_tensor_file_expect(const struct hn_tensor_file *file, const char *name, uint32_t rank,
	const int64_t *dim, const struct hn_tensor_info **out, struct hone_error *err)
{
	const struct hn_tensor_info *tensor = hn_tensor_file_find(file, name);
	struct hn_str wanted = {0}, found = {0};

	if (!tensor)
		return hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
			"tensor \"%.200s\" is missing; the file is of another model or incomplete",
			name);
	if (is_shape(tensor, rank, dim)) {
		*out = tensor;
		return HONE_OK;
	}
	hn_shape_print(&wanted, rank, dim);
	hn_shape_print(&found, tensor->rank, tensor->dim);
	(void)hone_fail_at(err, HONE_EMODEL, place_of(file, tensor), 0, 0,
		"tensor \"%.200s\" is %s, and the configuration asks for %s", name, found.text,
		wanted.text);
	hn_str_fini(&wanted);
	hn_str_fini(&found);
	return HONE_EMODEL;
}

/* Asked once after opening, so that a missing plugin is known before any memory is planned. */
void
hn_tensor_file_resolve(
	struct hn_tensor_file *file, bool (*has)(void *ctx, const char *storage), void *ctx)
{
	for (size_t i = 0; i < file->n_tensors; i++) {
		struct hn_tensor_info *tensor = &file->tensors[i];

		tensor->flags &= ~(uint32_t)HN_TENSOR_DECODABLE;
		if (hn_storage_is_host(tensor->storage) || has(ctx, tensor->storage))
			tensor->flags |= HN_TENSOR_DECODABLE;
	}
}

enum hone_status
hn_tensor_check_decodable(const struct hn_tensor_file *file, const struct hn_tensor_info *tensor,
	struct hone_error *err)
{
	if (tensor->flags & HN_TENSOR_DECODABLE)
		return HONE_OK;
	return hone_fail_at(err, HONE_EMODEL, place_of(file, tensor), 0, 0,
		"tensor \"%.200s\" is stored as %s, which no storage plugin here can decode; "
		"install one or convert the file to f16, bf16 or q8_0 first",
		tensor->name, tensor->storage);
}

uint64_t
hn_tensor_file_bytes(const struct hn_tensor_file *file)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < file->n_tensors; i++)
		sum += file->tensors[i].n_bytes; /* inside mappings: cannot overflow */
	return sum;
}

void
hn_tensor_file_forget(const struct hn_tensor_file *file)
{
	for (size_t i = 0; i < file->n_maps; i++)
		hn_map_forget(&file->maps[i]);
}

int64_t
hn_tensor_file_elems(const struct hn_tensor_file *file)
{
	int64_t sum = 0;

	for (size_t i = 0; i < file->n_tensors; i++)
		sum += file->tensors[i].n_elems; /* at least a bit each: cannot overflow */
	return sum;
}

/* ---- the host's own storages ---- */

bool
hn_storage_is_host(const char *storage)
{
	return hn_streq(storage, "f32") || hn_streq(storage, "f16") || hn_streq(storage, "bf16");
}

/* memcpy per element: the bytes may have any alignment, and compilers make it a plain load. */
static void
decode_16(const uint8_t *bytes, int64_t n, bool is_bf16, float *dst)
{
	for (int64_t i = 0; i < n; i++) {
		uint16_t h;

		memcpy(&h, bytes + 2 * i, sizeof h);
		dst[i] = is_bf16 ? hone_bf16_to_f32(h) : hone_f16_to_f32(h);
	}
}

/* Ranges are the caller's promise: a wrong one is our bug, not the file's. */
void
hn_tensor_decode_host(const struct hn_tensor_info *tensor, int64_t first, int64_t n, float *dst)
{
	HONE_BUG_ON(!hn_storage_is_host(tensor->storage));
	HONE_BUG_ON(first < 0 || n < 0 || first > tensor->n_elems - n);
	if (hn_streq(tensor->storage, "f32"))
		memcpy(dst, tensor->bytes + 4 * first, (size_t)n * sizeof *dst);
	else
		decode_16(tensor->bytes + 2 * first, n, hn_streq(tensor->storage, "bf16"), dst);
}

/* Decodes through a small buffer on the stack, so a model of any size needs no memory. */
int64_t
hn_tensor_count_nonfinite(const struct hn_tensor_info *tensor, int64_t *first)
{
	float row[1024];
	int64_t count = 0;

	*first = -1;
	for (int64_t at = 0; at < tensor->n_elems; at += 1024) {
		const int64_t left = tensor->n_elems - at, n = left < 1024 ? left : 1024;

		hn_tensor_decode_host(tensor, at, n, row);
		for (int64_t i = 0; i < n; i++) {
			uint32_t bits;

			/* By the exponent's bits: holds whatever the compiler assumes. */
			memcpy(&bits, &row[i], sizeof bits);
			if ((bits & 0x7f800000u) != 0x7f800000u)
				continue;
			if (count++ == 0)
				*first = at + i;
		}
	}
	return count;
}

enum hone_status
hn_tensor_check_finite(const struct hn_tensor_file *file, const struct hn_tensor_info *tensor,
	struct hone_error *err)
{
	int64_t first;
	const int64_t count = hn_tensor_count_nonfinite(tensor, &first);

	if (count == 0)
		return HONE_OK;
	return hone_fail_at(err, HONE_EMODEL, place_of(file, tensor), 0, 0,
		"tensor \"%.200s\" holds %lld values that are NaN or infinite, the first at "
		"element "
		"%lld; "
		"the file is damaged, get it again",
		tensor->name, (long long)count, (long long)first);
}
