/*
 * gguf.c - the GGUF reader.
 *
 * Where the bytes are, with A the alignment:
 *
 *     0             "GGUF", u32 version, u64 n_tensors, u64 n_kv
 *     24            n_kv times: string key, u32 type, value
 *     ...           n_tensors times: string name, u32 n_dims, u64 ne[n_dims], u32 type, u64 offset
 *     next A        the data; tensor i at data + offset[i], and offset[i] is a multiple of A
 *
 * A cursor with checked reads walks header, metadata and tensor infos once.  Every count is
 * bounded by the bytes that are left before anything is stored: a metadata entry takes at
 * least 14 bytes, a tensor info at least 33.  Arrays stay in the mapping; they are walked
 * once, so that later readers (hn_meta_next) need no error path.
 *
 * Tensor data follow each other in the listed order, each padded to general.alignment (32
 * when absent), as llama.cpp demands: so no two tensors overlap and none lies outside.  The
 * padding behind the last tensor may be missing: no byte of a tensor is in it.
 *
 * Limits of the format: names have at most 63 bytes (ggml's tensors keep them in 64), keys at
 * most 65535, tensors 1 to 4 dimensions.  Ours: no dimension is 0, and an alignment is at
 * most a mebibyte.  Version 2 differs from 3 only in that big-endian files exist in 3;
 * version 1 had 32-bit counts and is not met any more.
 *
 * A type that is in the table but that nobody here decodes is no error: `hone inspect` shows
 * the file, and the loader refuses with the tensor's name (hn_tensor_check_decodable).
 */
#include "model/gguf.h"

#include <string.h>

#define DIMS_MAX       4
#define NAME_BYTES_MAX 63
#define KEY_BYTES_MAX  65535
#define KV_BYTES_MIN   14 /* length, one byte of key, type, one byte of value */
#define INFO_BYTES_MIN 33 /* length, one byte of name, n_dims, one ne, type, offset */
#define ALIGNMENT_MAX  (UINT32_C(1) << 20)

/* Stored types by number: elements and bytes of a block.  Bytes 0: a number that was never
 * given out or was withdrawn. */
static const struct {
	const char *storage;
	uint16_t elems, bytes;
} types[] = {
	[0] = {"f32", 1, 4},
	[1] = {"f16", 1, 2},
	[2] = {"q4_0", 32, 18},
	[3] = {"q4_1", 32, 20},
	[6] = {"q5_0", 32, 22},
	[7] = {"q5_1", 32, 24},
	[8] = {"q8_0", 32, 34},
	[9] = {"q8_1", 32, 36},
	[10] = {"q2_k", 256, 84},
	[11] = {"q3_k", 256, 110},
	[12] = {"q4_k", 256, 144},
	[13] = {"q5_k", 256, 176},
	[14] = {"q6_k", 256, 210},
	[15] = {"q8_k", 256, 292},
	[16] = {"iq2_xxs", 256, 66},
	[17] = {"iq2_xs", 256, 74},
	[18] = {"iq3_xxs", 256, 98},
	[19] = {"iq1_s", 256, 50},
	[20] = {"iq4_nl", 32, 18},
	[21] = {"iq3_s", 256, 110},
	[22] = {"iq2_s", 256, 82},
	[23] = {"iq4_xs", 256, 136},
	[24] = {"i8", 1, 1},
	[25] = {"i16", 1, 2},
	[26] = {"i32", 1, 4},
	[27] = {"i64", 1, 8},
	[28] = {"f64", 1, 8},
	[29] = {"iq1_m", 256, 56},
	[30] = {"bf16", 1, 2},
	[34] = {"tq1_0", 256, 54},
	[35] = {"tq2_0", 256, 66},
	[39] = {"mxfp4", 32, 17},
	[40] = {"nvfp4", 64, 36},
	[41] = {"q1_0", 128, 18},
	[42] = {"q2_0", 64, 18},
};
#define N_TYPES (sizeof types / sizeof types[0])

struct reader {
	struct hn_tensor_file *file;
	const uint8_t *bytes;
	uint64_t n, at;
	struct hone_error *err;
};

HONE_PRINTF(2, 3) static enum hone_status fail(const struct reader *r, const char *fmt, ...)
{
	char text[400];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	return hone_fail_at(r->err, HONE_EMODEL, r->file->path, 0, 0, "at byte %llu: %s",
		(unsigned long long)r->at, text);
}

/* Bytes behind the cursor; at <= n always holds, so this never wraps. */
static uint64_t
left(const struct reader *r)
{
	return r->n - r->at;
}

/* Lengths, counts, dimensions, offsets. */
static enum hone_status
read_u64(struct reader *r, uint64_t *out)
{
	struct hn_meta_value value;

	if (!hn_meta_scalar(HN_META_U64, r->bytes + r->at, left(r), &value))
		return fail(r, "the file ends too early; it is cut, get it again");
	r->at += 8;
	*out = value.as.u64;
	return HONE_OK;
}

static enum hone_status
read_u32(struct reader *r, uint32_t *out)
{
	struct hn_meta_value value;

	if (!hn_meta_scalar(HN_META_U32, r->bytes + r->at, left(r), &value))
		return fail(r, "the file ends too early; it is cut, get it again");
	r->at += 4;
	*out = (uint32_t)value.as.u64;
	return HONE_OK;
}

/* A borrowed string; `what` is for the message. */
static enum hone_status
read_string(struct reader *r, const char *what, const char **out, uint64_t *len)
{
	enum hone_status st = read_u64(r, len);

	if (st)
		return st;
	if (*len > left(r))
		return fail(r, "the length of %s, %llu, exceeds the %llu bytes that are left", what,
			(unsigned long long)*len, (unsigned long long)left(r));
	*out = (const char *)r->bytes + r->at;
	r->at += *len;
	return HONE_OK;
}

/* ---- metadata ---- */

/* A bool other than 0 and 1 is the first sign of a cursor that went astray. */
static enum hone_status
check_bools(const struct reader *r, const uint8_t *bytes, uint64_t n, const char *key)
{
	for (uint64_t i = 0; i < n; i++)
		if (bytes[i] > 1)
			return fail(r, "a bool of \"%s\" is %u", key, bytes[i]);
	return HONE_OK;
}

/* The view is kept, not the elements: a vocabulary of 150,000 strings costs one walk here and no
 * memory.  The bound is by division, because the product of count and size may wrap. */
static enum hone_status
read_array(struct reader *r, const char *key, struct hn_meta *meta)
{
	uint32_t type, size;
	enum hone_status st = read_u32(r, &type);

	if (!st)
		st = read_u64(r, &meta->n_elems);
	if (st)
		return st;
	if (type > HN_META_F64 || type == HN_META_ARRAY)
		return fail(r, "\"%s\" is an array of type %u (%s), which is not read", key, type,
			type == HN_META_ARRAY ? "arrays of arrays" : "unknown");
	meta->elem_type = (int32_t)type;
	meta->elems = r->bytes + r->at;
	size = type == HN_META_STRING ? 8 : hn_meta_scalar_bytes((int32_t)type);
	if (meta->n_elems > left(r) / size)
		return fail(r, "\"%s\" has %llu elements of %s, and %llu bytes are left", key,
			(unsigned long long)meta->n_elems, hn_meta_type_name((int32_t)type),
			(unsigned long long)left(r));
	if (type == HN_META_STRING) {
		for (uint64_t i = 0; !st && i < meta->n_elems; i++) {
			const char *text;
			uint64_t len;

			st = read_string(r, "a string of an array", &text, &len);
		}
	} else {
		r->at += meta->n_elems * size;
	}
	meta->elems_bytes = (uint64_t)(r->bytes + r->at - meta->elems);
	if (!st && type == HN_META_BOOL)
		st = check_bools(r, meta->elems, meta->n_elems, key);
	return st;
}

/* All fixed-size types; hn_meta_scalar knows their widths. */
static enum hone_status
read_scalar(struct reader *r, const char *key, uint32_t type, struct hn_meta *meta)
{
	if (!hn_meta_scalar((int32_t)type, r->bytes + r->at, left(r), &meta->value))
		return fail(r, "the file ends inside the value of \"%s\"", key);
	if (type == HN_META_BOOL && meta->value.as.u64 > 1)
		return fail(r, "the bool \"%s\" is %u", key, r->bytes[r->at]);
	r->at += hn_meta_scalar_bytes((int32_t)type);
	return HONE_OK;
}

/* One entry.  The key is copied to a short buffer for messages only. */
static enum hone_status
read_kv(struct reader *r)
{
	struct hn_meta meta = {.elem_type = -1};
	char key[120];
	uint64_t len;
	uint32_t type;
	enum hone_status st = read_string(r, "a key", &meta.key, &len);

	if (st)
		return st;
	if (len == 0 || len > KEY_BYTES_MAX)
		return fail(r, "a key of %llu bytes; 1 to %d are allowed", (unsigned long long)len,
			KEY_BYTES_MAX);
	(void)snprintf(key, sizeof key, "%.*s", (int)(len < 100 ? len : 100), meta.key);
	st = read_u32(r, &type);
	if (st)
		return st;
	if (type > HN_META_F64)
		return fail(r, "\"%s\" has the unknown value type %u", key, type);
	meta.value.type = (int32_t)type;
	if (type == HN_META_STRING)
		st = read_string(r, "a value", &meta.value.string, &meta.value.string_len);
	else if (type == HN_META_ARRAY)
		st = read_array(r, key, &meta);
	else
		st = read_scalar(r, key, type, &meta);
	if (st)
		return st;
	if (type == HN_META_STRING && memchr(meta.value.string, 0, meta.value.string_len))
		return fail(r, "the value of \"%s\" holds a NUL byte", key);
	return hn_tensor_file_add_meta(r->file, &meta, len, r->err);
}

/* ---- tensors ---- */

/* Innermost first in the file, outermost first in hn_tensor_info. */
static enum hone_status
read_dims(struct reader *r, const char *name, struct hn_tensor_info *tensor)
{
	enum hone_status st = read_u32(r, &tensor->rank);

	if (st)
		return st;
	if (tensor->rank == 0 || tensor->rank > DIMS_MAX)
		return fail(r, "tensor \"%s\" has %u dimensions; 1 to %d are allowed", name,
			tensor->rank, DIMS_MAX);
	for (uint32_t i = 0; i < tensor->rank; i++) {
		uint64_t ne;

		st = read_u64(r, &ne);
		if (st)
			return st;
		if (ne == 0 || ne > INT64_MAX)
			return fail(
				r, "dimension %u of tensor \"%s\" is %lld", i, name, (long long)ne);
		tensor->dim[tensor->rank - 1 - i] = (int64_t)ne;
	}
	if (!hn_shape_elems(tensor->rank, tensor->dim, &tensor->n_elems))
		return fail(
			r, "the shape of tensor \"%s\" is too large: its product overflows", name);
	return HONE_OK;
}

/* The stored type and the bytes that it needs. */
static enum hone_status
read_type(struct reader *r, const char *name, struct hn_tensor_info *tensor)
{
	uint32_t type;
	int64_t row = tensor->dim[tensor->rank - 1];
	enum hone_status st = read_u32(r, &type);

	if (st)
		return st;
	if (type >= N_TYPES || !types[type].bytes)
		return fail(r,
			"tensor \"%s\" is stored as type %u, which is unknown or withdrawn; "
			"convert the model again with a current converter",
			name, type);
	tensor->storage = types[type].storage;
	tensor->block_elems = types[type].elems;
	if (row % types[type].elems)
		return fail(r,
			"a row of tensor \"%s\" has %lld elements, no multiple of the %u "
			"of a %s block",
			name, (long long)row, types[type].elems, tensor->storage);
	if (__builtin_mul_overflow((uint64_t)(tensor->n_elems / types[type].elems),
		    (uint64_t)types[type].bytes, &tensor->n_bytes))
		return fail(r, "the shape of tensor \"%s\" is too large for its bytes", name);
	return HONE_OK;
}

/* Leaves the offset in `offset`; the place of the data is not known yet. */
static enum hone_status
read_info(struct reader *r, uint64_t *offset)
{
	struct hn_tensor_info tensor = {0};
	char name[NAME_BYTES_MAX + 1];
	uint64_t len;
	enum hone_status st = read_string(r, "a tensor's name", &tensor.name, &len);

	if (st)
		return st;
	if (len == 0 || len > NAME_BYTES_MAX)
		return fail(r, "a tensor's name has %llu bytes; 1 to %d are allowed",
			(unsigned long long)len, NAME_BYTES_MAX);
	memcpy(name, tensor.name, len);
	name[len] = '\0';
	st = read_dims(r, name, &tensor);
	if (!st)
		st = read_type(r, name, &tensor);
	if (!st)
		st = read_u64(r, offset);
	if (st)
		return st;
	return hn_tensor_file_add(r->file, &tensor, len, r->err);
}

/* Checks that the tensor at `idx` stands where the ones before it end, and points it at its
 * bytes.  `at` is the sum of the padded sizes so far. */
static enum hone_status
place(struct reader *r, size_t idx, uint64_t offset, uint64_t data, uint32_t alignment,
	uint64_t *at)
{
	struct hn_tensor_info *tensor = &r->file->tensors[idx];
	const uint64_t room = r->n - data;

	if (offset % alignment)
		return fail(r, "tensor \"%s\" has the offset %llu, no multiple of the alignment %u",
			tensor->name, (unsigned long long)offset, alignment);
	if (offset != *at)
		return fail(r,
			"tensor \"%s\" has the offset %llu, and the tensors before it end at "
			"%llu: %s",
			tensor->name, (unsigned long long)offset, (unsigned long long)*at,
			offset < *at ? "they overlap" : "there is a hole");
	if (offset > room || tensor->n_bytes > room - offset)
		return fail(r,
			"tensor \"%s\" needs %llu bytes at offset %llu of %llu; "
			"the file is cut, get it again",
			tensor->name, (unsigned long long)tensor->n_bytes,
			(unsigned long long)offset, (unsigned long long)room);
	tensor->bytes = r->bytes + data + offset;
	if ((uintptr_t)tensor->bytes % 4)
		tensor->flags |= HN_TENSOR_MISALIGNED;
	/* Inside the file, so neither sum overflows. */
	*at = offset + (tensor->n_bytes + alignment - 1) / alignment * alignment;
	return HONE_OK;
}

/* Read behind the metadata, whatever its place among them. */
static enum hone_status
read_alignment(const struct reader *r, uint32_t *out)
{
	const struct hn_meta *meta = hn_meta_find(r->file, "general.alignment");

	*out = 32;
	if (!meta)
		return HONE_OK;
	if (meta->value.type != HN_META_U32)
		return fail(r, "general.alignment should be u32 and is %s",
			hn_meta_type_name(meta->value.type));
	*out = (uint32_t)meta->value.as.u64;
	if (*out == 0 || (*out & (*out - 1)) || *out > ALIGNMENT_MAX)
		return fail(r, "general.alignment is %u; a power of two up to %u is allowed", *out,
			ALIGNMENT_MAX);
	return HONE_OK;
}

/* Infos first, then places: where the data begin depends on the length of all infos. */
static enum hone_status
read_tensors(struct reader *r, uint64_t n)
{
	/* Offsets live until the data's place is known, which is behind the last info. */
	uint64_t *offsets = hn_arena_array(&r->file->arena, (size_t)n + 1, sizeof *offsets);
	enum hone_status st = HONE_OK;
	uint64_t data, at = 0;
	uint32_t alignment;

	for (uint64_t i = 0; !st && i < n; i++)
		st = read_info(r, &offsets[i]);
	if (!st)
		st = read_alignment(r, &alignment);
	if (st || n == 0)
		return st;
	data = (r->at + alignment - 1) / alignment * alignment;
	if (data > r->n)
		return fail(
			r, "the file ends before the data of its tensors; it is cut, get it again");
	for (uint64_t i = 0; !st && i < n; i++)
		st = place(r, (size_t)i, offsets[i], data, alignment, &at);
	return st;
}

/* ---- the file ---- */

/* A big-endian file has its version's bytes reversed, so its low half is zero. */
static enum hone_status
read_version(struct reader *r)
{
	uint32_t version;
	enum hone_status st;

	if (left(r) < 4 || memcmp(r->bytes, "GGUF", 4) != 0)
		return fail(r, "this is no GGUF file: it does not begin with \"GGUF\"");
	r->at = 4;
	st = read_u32(r, &version);
	if (st)
		return st;
	if ((version & 0xffffu) == 0 && version)
		return fail(r,
			"the file is big-endian (version 0x%08x); convert the model again for "
			"a little-endian machine",
			version);
	if (version != 2 && version != 3)
		return fail(r, "GGUF version %u is not read; 2 and 3 are: convert the model again",
			version);
	r->file->version = version;
	return HONE_OK;
}

/* Counts are bounded by the smallest entry that they could stand for, before anything is made. */
static enum hone_status
read_file(struct reader *r)
{
	uint64_t n_tensors, n_kv;
	enum hone_status st = read_version(r);

	if (!st)
		st = read_u64(r, &n_tensors);
	if (!st)
		st = read_u64(r, &n_kv);
	if (st)
		return st;
	if (n_tensors > left(r) / INFO_BYTES_MIN)
		return fail(r, "the file claims %llu tensors, and %llu bytes are left",
			(unsigned long long)n_tensors, (unsigned long long)left(r));
	if (n_kv > left(r) / KV_BYTES_MIN)
		return fail(r, "the file claims %llu metadata entries, and %llu bytes are left",
			(unsigned long long)n_kv, (unsigned long long)left(r));
	for (uint64_t i = 0; !st && i < n_kv; i++)
		st = read_kv(r);
	if (!st)
		st = read_tensors(r, n_tensors);
	return st;
}

enum hone_status
hn_gguf_parse(struct hn_tensor_file *file, const uint8_t *bytes, uint64_t n, const char *path,
	struct hone_error *err)
{
	struct hn_tensor_file made = {.format = HN_FILE_GGUF};
	struct reader r = {.file = &made, .bytes = bytes, .n = n, .err = err};
	enum hone_status st;

	made.path = hn_arena_strdup(&made.arena, path);
	st = hn_refuse_foreign(bytes, n, path, err);
	if (!st)
		st = read_file(&r);
	if (st)
		hn_tensor_file_close(&made);
	else
		*file = made;
	return st;
}

enum hone_status
hn_gguf_open(struct hn_tensor_file *file, const char *path, struct hone_error *err)
{
	struct hn_tensor_file made = {.format = HN_FILE_GGUF};
	struct reader r = {.file = &made, .err = err};
	uint32_t idx;
	enum hone_status st;

	made.path = hn_arena_strdup(&made.arena, path);
	st = hn_tensor_file_map(&made, path, &idx, err);
	if (!st) {
		r.bytes = made.maps[idx].bytes;
		r.n = made.maps[idx].size;
		st = read_file(&r);
	}
	if (st)
		hn_tensor_file_close(&made);
	else
		*file = made;
	return st;
}
