/*
 * safetensors.c - the reader: one file, and the shards behind an index.
 *
 * Checks, in the order of the reference implementation: the length word against 100 MB and
 * the file; the header (safetensors_header.c); per tensor a known type, a shape whose
 * product fits, end - begin = the bytes that type and shape ask for; then over all tensors,
 * sorted by offset: first begin 0, each begin the previous end, last end the file's end.  So
 * no byte of a file is without a tensor and none has two.
 *
 * The last rule is what makes the format safe to map: a file cannot hide bytes behind a valid
 * header, and two names cannot alias one buffer.
 *
 * A model in shards is one list of tensors over several maps.  The index is compared with the
 * shards in both directions, and a stray shard in the folder is refused: the silent way to
 * train a wrong model is a folder in which two downloads met.
 *
 * The start of the data need not be aligned (old writers do not pad the header): such
 * tensors are marked HN_TENSOR_MISALIGNED and stay readable.
 */
#include "model/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors_header.h"

#define HEADER_BYTES_MAX UINT64_C(100000000)
#define INDEX_BYTES_MAX  (UINT64_C(64) << 20)

/* In the order of the reference's enum; files are written in the descending order. */
static const struct {
	const char *dtype, *storage;
	uint32_t bits;
} dtypes[] = {
	{"BOOL", "bool", 8},
	{"F4", "f4", 4},
	{"F6_E2M3", "f6_e2m3", 6},
	{"F6_E3M2", "f6_e3m2", 6},
	{"U8", "u8", 8},
	{"I8", "i8", 8},
	{"F8_E5M2", "f8_e5m2", 8},
	{"F8_E4M3", "f8_e4m3", 8},
	{"F8_E8M0", "f8_e8m0", 8},
	{"F8_E4M3FNUZ", "f8_e4m3fnuz", 8},
	{"F8_E5M2FNUZ", "f8_e5m2fnuz", 8},
	{"I16", "i16", 16},
	{"U16", "u16", 16},
	{"F16", "f16", 16},
	{"BF16", "bf16", 16},
	{"I32", "i32", 32},
	{"U32", "u32", 32},
	{"F32", "f32", 32},
	{"C64", "c64", 64},
	{"F64", "f64", 64},
	{"I64", "i64", 64},
	{"U64", "u64", 64},
};
#define N_DTYPES (sizeof dtypes / sizeof dtypes[0])

/* Linear: 22 entries, asked once per tensor. */
uint32_t
hn_safetensors_bits(const char *storage)
{
	for (size_t i = 0; i < N_DTYPES; i++)
		if (hn_streq(dtypes[i].storage, storage))
			return dtypes[i].bits;
	return 0;
}

const char *
hn_safetensors_dtype(const char *storage, uint32_t *order)
{
	for (uint32_t i = 0; i < N_DTYPES; i++) {
		if (!hn_streq(dtypes[i].storage, storage))
			continue;
		*order = i;
		return dtypes[i].dtype;
	}
	return NULL;
}

/* ---- one file ---- */

struct parse {
	struct hn_tensor_file *file;
	const char *path;
	const uint8_t *data; /* behind the header */
	uint64_t data_bytes;
	uint32_t map_idx;
};

/* Lists what is known, because the next question would be exactly that. */
static enum hone_status
fail_dtype(const char *path, const struct hn_st_entry *entry, struct hone_error *err)
{
	struct hn_str known = {0};

	for (size_t i = 0; i < N_DTYPES; i++)
		hn_str_printf(&known, "%s%s", i ? " " : "", dtypes[i].dtype);
	(void)hone_fail_at(err, HONE_EMODEL, path, 0, 0,
		"tensor \"%.100s\" has the unknown type \"%.20s\"; known are %s", entry->name,
		entry->dtype, known.text);
	hn_str_fini(&known);
	return HONE_EMODEL;
}

/* Bytes that type and shape ask for. */
static enum hone_status
needed_bytes(const char *path, const struct hn_st_entry *entry, uint32_t bits, int64_t *n_elems,
	uint64_t *n_bytes, struct hone_error *err)
{
	uint64_t n_bits;

	if (!hn_shape_elems(entry->rank, entry->dim, n_elems) ||
		__builtin_mul_overflow((uint64_t)*n_elems, bits, &n_bits))
		return hone_fail_at(err, HONE_EMODEL, path, 0, 0,
			"the shape of tensor \"%.200s\" is too large: its product overflows",
			entry->name);
	if (n_bits % 8)
		return hone_fail_at(err, HONE_EMODEL, path, 0, 0,
			"tensor \"%.200s\" does not fill whole bytes", entry->name);
	*n_bytes = n_bits / 8;
	return HONE_OK;
}

/* One tensor of the header.  The order of the checks is that of the messages' use: a type that is
 * not known explains more than a size that is then wrong.  Whether tensors touch each other is
 * seen only when all are there (check_cover). */
static enum hone_status
on_tensor(void *ctx, const struct hn_st_entry *entry, struct hone_error *err)
{
	const struct parse *p = ctx;
	struct hn_tensor_info tensor = {
		.name = entry->name, .rank = entry->rank, .block_elems = 1, .map_idx = p->map_idx};
	enum hone_status st;
	size_t type = 0;

	while (type < N_DTYPES && !hn_streq(dtypes[type].dtype, entry->dtype))
		type++;
	if (type == N_DTYPES)
		return fail_dtype(p->path, entry, err);
	memcpy(tensor.dim, entry->dim, sizeof tensor.dim);
	tensor.storage = dtypes[type].storage;
	st = needed_bytes(p->path, entry, dtypes[type].bits, &tensor.n_elems, &tensor.n_bytes, err);
	if (st)
		return st;
	if (entry->begin > entry->end)
		return hone_fail_at(err, HONE_EMODEL, p->path, 0, 0,
			"data_offsets of tensor \"%.200s\" are reversed: [%llu, %llu]", entry->name,
			(unsigned long long)entry->begin, (unsigned long long)entry->end);
	if (entry->end > p->data_bytes)
		return hone_fail_at(err, HONE_EMODEL, p->path, 0, 0,
			"tensor \"%.200s\" ends at %llu, and there are %llu bytes of data; "
			"the file is cut, get it again",
			entry->name, (unsigned long long)entry->end,
			(unsigned long long)p->data_bytes);
	if (entry->end - entry->begin != tensor.n_bytes)
		return hone_fail_at(err, HONE_EMODEL, p->path, 0, 0,
			"tensor \"%.200s\" has %llu bytes, and its shape in %s needs %llu",
			entry->name, (unsigned long long)(entry->end - entry->begin), entry->dtype,
			(unsigned long long)tensor.n_bytes);
	tensor.bytes = p->data + entry->begin;
	if (dtypes[type].bits > 8 && (uintptr_t)tensor.bytes % (dtypes[type].bits / 8))
		tensor.flags |= HN_TENSOR_MISALIGNED;
	return hn_tensor_file_add(p->file, &tensor, entry->name_len, err);
}

/* One pair of __metadata__. */
static enum hone_status
on_meta(void *ctx, const char *key, size_t key_len, const char *value, size_t value_len,
	struct hone_error *err)
{
	const struct parse *p = ctx;
	const struct hn_meta meta = {.key = key,
		.value = {.type = HN_META_STRING, .string = value, .string_len = value_len}};

	/* Shards repeat each other's metadata; the first one's is kept. */
	if (p->map_idx > 0 && hn_table_find(&p->file->meta_by_key, key, key_len))
		return HONE_OK;
	return hn_tensor_file_add_meta(p->file, &meta, key_len, err);
}

/* By address, empty tensors before the one that begins where they stand. */
static int
by_offset(const void *a, const void *b)
{
	const struct hn_tensor_info *const *x = a, *const *y = b;

	if ((*x)->bytes != (*y)->bytes)
		return (*x)->bytes < (*y)->bytes ? -1 : 1;
	if ((*x)->n_bytes != (*y)->n_bytes)
		return (*x)->n_bytes < (*y)->n_bytes ? -1 : 1;
	return 0;
}

/* The tensors from `first` on cover the data without hole or overlap. */
static enum hone_status
check_cover(const struct parse *p, size_t first, struct hone_error *err)
{
	const size_t n = p->file->n_tensors - first;
	const struct hn_tensor_info **sorted = hn_alloc((n + 1) * sizeof *sorted);
	const char *before = "the start of the data";
	uint64_t end = 0, begin = 0;
	size_t i;

	for (i = 0; i < n; i++)
		sorted[i] = &p->file->tensors[first + i];
	qsort(sorted, n, sizeof *sorted, by_offset);
	for (i = 0; i < n; i++) {
		begin = (uint64_t)(sorted[i]->bytes - p->data);
		if (begin != end)
			break;
		end += sorted[i]->n_bytes;
		before = sorted[i]->name;
	}
	if (i < n)
		(void)hone_fail_at(err, HONE_EMODEL, p->path, 0, 0,
			"tensor \"%.150s\" begins at %llu, and \"%.150s\" before it ends at %llu: "
			"%s",
			sorted[i]->name, (unsigned long long)begin, before, (unsigned long long)end,
			begin < end ? "they overlap" : "there is a hole");
	else if (end != p->data_bytes)
		(void)hone_fail_at(err, HONE_EMODEL, p->path, 0, 0,
			"%llu bytes follow the last tensor, \"%.200s\", which ends at %llu",
			(unsigned long long)(p->data_bytes - end), before, (unsigned long long)end);
	free(sorted);
	return i < n || end != p->data_bytes ? HONE_EMODEL : HONE_OK;
}

/* The length word is compared with the file first and with the limit second: "the file is cut"
 * is the frequent case, a header above 100 MB the hostile one. */
enum hone_status
hn_safetensors_read(struct hn_tensor_file *file, const uint8_t *bytes, uint64_t n, const char *path,
	uint32_t map_idx, struct hone_error *err)
{
	struct parse p = {.file = file, .path = path, .map_idx = map_idx};
	const struct hn_st_handler handler = {&p, on_tensor, on_meta};
	const size_t first = file->n_tensors;
	struct hn_meta_value word;
	uint64_t header_bytes;
	enum hone_status st;

	if (!hn_meta_scalar(HN_META_U64, bytes, n, &word))
		return hone_fail_at(err, HONE_EMODEL, path, 0, 0,
			"the file has %llu bytes; a safetensors file has at least 8",
			(unsigned long long)n);
	header_bytes = word.as.u64;
	if (header_bytes > n - 8)
		return hone_fail_at(err, HONE_EMODEL, path, 0, 0,
			"at byte 0: header length %llu exceeds the file's %llu bytes; "
			"the file is cut or not safetensors",
			(unsigned long long)header_bytes, (unsigned long long)n);
	if (header_bytes > HEADER_BYTES_MAX)
		return hone_fail_at(err, HONE_EMODEL, path, 0, 0,
			"at byte 0: header length %llu exceeds the format's limit of %llu",
			(unsigned long long)header_bytes, (unsigned long long)HEADER_BYTES_MAX);
	p.data = bytes + 8 + header_bytes;
	p.data_bytes = n - 8 - header_bytes;
	st = hn_st_header_read((const char *)bytes + 8, (size_t)header_bytes, path, &handler, err);
	if (!st)
		st = check_cover(&p, first, err);
	return st;
}

/* Files are built aside and moved to the caller when they are whole. */
static void
begin(struct hn_tensor_file *file, const char *path)
{
	memset(file, 0, sizeof *file);
	file->format = HN_FILE_SAFETENSORS;
	file->path = hn_arena_strdup(&file->arena, path);
}

/* Hands the finished file over, or closes what was begun. */
static enum hone_status
end(struct hn_tensor_file *made, struct hn_tensor_file *out, enum hone_status st)
{
	if (st)
		hn_tensor_file_close(made);
	else
		*out = *made;
	return st;
}

enum hone_status
hn_safetensors_parse(struct hn_tensor_file *file, const uint8_t *bytes, uint64_t n,
	const char *path, struct hone_error *err)
{
	struct hn_tensor_file made;
	enum hone_status st;

	begin(&made, path);
	st = hn_refuse_foreign(bytes, n, path, err);
	if (!st)
		st = hn_safetensors_read(&made, bytes, n, made.path, 0, err);
	return end(&made, file, st);
}

/* One more file of the model: mapped, checked, its tensors appended. */
static enum hone_status
map_and_read(struct hn_tensor_file *file, const char *path, struct hone_error *err)
{
	uint32_t idx;
	enum hone_status st = hn_tensor_file_map(file, path, &idx, err);

	if (st)
		return st;
	return hn_safetensors_read(
		file, file->maps[idx].bytes, file->maps[idx].size, file->map_paths[idx], idx, err);
}

enum hone_status
hn_safetensors_open(struct hn_tensor_file *file, const char *path, struct hone_error *err)
{
	struct hn_tensor_file made;

	begin(&made, path);
	return end(&made, file, map_and_read(&made, path, err));
}

/* ---- shards ---- */

/* A name that stays in the folder. */
static bool
is_bare_name(const char *name)
{
	return name[0] && !strchr(name, '/') && !strchr(name, '\\') && !hn_streq(name, ".") &&
		!hn_streq(name, "..");
}

/* Opens the shards of weight_map in the order in which it first names them. */
static enum hone_status
read_shards(struct hn_tensor_file *file, const char *folder, json_t *weight_map,
	struct hn_table *shards, struct hone_error *err)
{
	enum hone_status st = HONE_OK;
	const char *tensor;
	json_t *shard;

	json_object_foreach(weight_map, tensor, shard)
	{
		const char *name = json_string_value(shard);
		char *path;

		if (!name || !is_bare_name(name))
			return hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
				"weight_map names \"%.200s\" for tensor \"%.200s\", which is not "
				"the "
				"name of a file beside the index",
				name ? name : "(no string)", tensor);
		if (hn_table_get(shards, name))
			continue;
		(void)hn_table_set(shards, name, file->n_maps);
		path = hn_path_join(folder, name);
		if (hn_path_is_file(path))
			st = map_and_read(file, path, err);
		else
			st = hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
				"the index names the file \"%.200s\", which is missing; "
				"the download is incomplete",
				name);
		free(path);
		if (st)
			return st;
	}
	return HONE_OK;
}

/* Each tensor of the index is in the shard it says, and no shard holds another one. */
static enum hone_status
check_weight_map(const struct hn_tensor_file *file, json_t *weight_map,
	const struct hn_table *shards, struct hone_error *err)
{
	const char *name;
	json_t *shard;

	json_object_foreach(weight_map, name, shard)
	{
		const struct hn_tensor_info *tensor = hn_tensor_file_find(file, name);

		if (!tensor || tensor->map_idx != *hn_table_get(shards, json_string_value(shard)))
			return hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
				"the index says that tensor \"%.200s\" is in \"%.200s\", "
				"and it is not",
				name, json_string_value(shard));
	}
	for (size_t i = 0; i < file->n_tensors; i++)
		if (!json_object_get(weight_map, file->tensors[i].name))
			return hone_fail_at(err, HONE_EMODEL,
				file->map_paths[file->tensors[i].map_idx], 0, 0,
				"tensor \"%.200s\" is not named in the index; "
				"index and shards are of different saves",
				file->tensors[i].name);
	return HONE_OK;
}

/* A file that looks like a shard of this model but that the index does not name is left over
 * from another save: which of the two is meant is not ours to guess. */
static enum hone_status
check_no_other_shards(const struct hn_tensor_file *file, const char *folder,
	const struct hn_table *shards, struct hone_error *err)
{
	char **names = NULL;
	size_t n = 0;
	enum hone_status st = hn_dir_list(folder, &names, &n, err);

	for (size_t i = 0; i < n; i++) {
		if (!st && hn_starts_with(names[i], "model-") && strstr(names[i], "-of-") &&
			hn_ends_with(names[i], ".safetensors") && !hn_table_get(shards, names[i]))
			st = hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
				"\"%.200s\" lies beside the index, which does not name it; "
				"remove it, or get the index of this save",
				names[i]);
		free(names[i]);
	}
	free(names);
	return st;
}

/* The weight map, whole: opened, compared in both directions, and no stray shard beside it. */
static enum hone_status
read_index(struct hn_tensor_file *file, const char *folder, json_t *index, struct hone_error *err)
{
	json_t *weight_map = json_object_get(index, "weight_map");
	struct hn_table shards = {0};
	enum hone_status st;

	if (!json_is_object(weight_map) || json_object_size(weight_map) == 0)
		return hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
			"the index has no \"weight_map\" with tensors in it");
	st = read_shards(file, folder, weight_map, &shards, err);
	if (!st)
		st = check_weight_map(file, weight_map, &shards, err);
	if (!st)
		st = check_no_other_shards(file, folder, &shards, err);
	hn_table_fini(&shards);
	return st;
}

/* The index is a document of bounded size, so here a JSON tree is fine. */
enum hone_status
hn_safetensors_open_index(
	struct hn_tensor_file *file, const char *index_path, struct hone_error *err)
{
	struct hn_tensor_file made;
	json_error_t where;
	json_t *index;
	char *text = NULL, *folder;
	size_t len;
	enum hone_status st =
		hn_file_read(index_path, INDEX_BYTES_MAX, HONE_EMODEL, &text, &len, err);

	if (st)
		return st;
	index = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	free(text);
	if (!index)
		return hone_fail_at(err, HONE_EMODEL, index_path, where.line, where.column,
			"not JSON: %s", where.text);
	begin(&made, index_path);
	folder = hn_path_dir(index_path);
	st = read_index(&made, folder, index, err);
	free(folder);
	json_decref(index);
	return end(&made, file, st);
}

/* The only *.safetensors in the folder that is no adapter. */
static enum hone_status
find_only(const char *folder, char **path, struct hone_error *err)
{
	char **names = NULL;
	size_t n = 0, found = 0;
	enum hone_status st = hn_dir_list(folder, &names, &n, err);

	*path = NULL;
	for (size_t i = 0; i < n; i++) {
		if (hn_ends_with(names[i], ".safetensors") &&
			!hn_starts_with(names[i], "adapter_") && found++ == 0)
			*path = hn_path_join(folder, names[i]);
		free(names[i]);
	}
	free(names);
	if (!st && found == 1)
		return HONE_OK;
	free(*path);
	*path = NULL;
	if (st)
		return st;
	if (found == 0)
		return hone_fail_at(
			err, HONE_ENOTFOUND, folder, 0, 0, "there is no .safetensors file in it");
	return hone_fail_at(err, HONE_EMODEL, folder, 0, 0,
		"there are %zu .safetensors files and no model.safetensors.index.json that says "
		"what is where",
		found);
}

/* The order in which transformers looks. */
enum hone_status
hn_safetensors_open_folder(struct hn_tensor_file *file, const char *folder, struct hone_error *err)
{
	char *single = hn_path_join(folder, "model.safetensors");
	char *index = hn_path_join(folder, "model.safetensors.index.json");
	char *only = NULL;
	enum hone_status st;

	if (hn_path_is_file(single)) {
		st = hn_safetensors_open(file, single, err);
	} else if (hn_path_is_file(index)) {
		st = hn_safetensors_open_index(file, index, err);
	} else {
		st = find_only(folder, &only, err);
		if (!st)
			st = hn_safetensors_open(file, only, err);
	}
	free(only);
	free(single);
	free(index);
	return st;
}
