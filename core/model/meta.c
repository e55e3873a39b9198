/*
 * meta.c - typed reading of a tensor file's metadata.
 *
 * Values keep the type that the file gave them; writers differ in which integer they take
 * for a count, so every integer type serves where the value fits.  Nothing is converted
 * that could lose something: a float is no integer, a string is no bool.
 *
 *     u8 i8 u16 i16 u32 i32 u64 i64   little-endian
 *     f32 f64                         IEEE, little-endian
 *     bool                            one byte, 0 or 1
 *     string                          u64 length, bytes, no NUL
 *     array                           elements of one type, one after another
 */
#include <stdio.h>
#include <string.h>

#include "model/tensors.h"

static const struct {
	const char *name;
	uint32_t bytes; /* 0: not a scalar */
} types[] = {
	[HN_META_U8] = {"u8", 1},
	[HN_META_I8] = {"i8", 1},
	[HN_META_U16] = {"u16", 2},
	[HN_META_I16] = {"i16", 2},
	[HN_META_U32] = {"u32", 4},
	[HN_META_I32] = {"i32", 4},
	[HN_META_F32] = {"f32", 4},
	[HN_META_BOOL] = {"bool", 1},
	[HN_META_STRING] = {"string", 0},
	[HN_META_ARRAY] = {"array", 0},
	[HN_META_U64] = {"u64", 8},
	[HN_META_I64] = {"i64", 8},
	[HN_META_F64] = {"f64", 8},
};

/* Guards the table: types come from files. */
static bool
is_known(int32_t type)
{
	return type >= 0 && (size_t)type < sizeof types / sizeof types[0];
}

const char *
hn_meta_type_name(int32_t type)
{
	return is_known(type) ? types[type].name : "none";
}

uint32_t
hn_meta_scalar_bytes(int32_t type)
{
	return is_known(type) ? types[type].bytes : 0;
}

/* The little-endian bytes as an unsigned number. */
static uint64_t
load(const uint8_t *bytes, uint32_t n)
{
	uint64_t u = 0;

	for (uint32_t i = 0; i < n; i++)
		u |= (uint64_t)bytes[i] << (8 * i);
	return u;
}

/* An arithmetic shift back fills the upper bits with the sign. */
static int64_t
sign_extend(uint64_t u, uint32_t bytes)
{
	const uint32_t shift = 64 - 8 * bytes;

	return (int64_t)(u << shift) >> shift;
}

/* The one place where bytes of a file become numbers; `n` is what is left of the file. */
bool
hn_meta_scalar(int32_t type, const uint8_t *bytes, uint64_t n, struct hn_meta_value *out)
{
	const uint32_t size = hn_meta_scalar_bytes(type);
	uint64_t u;

	if (size == 0 || n < size)
		return false;
	u = load(bytes, size);
	*out = (struct hn_meta_value){.type = type};
	if (type == HN_META_F32) {
		const uint32_t bits = (uint32_t)u;
		float f;

		memcpy(&f, &bits, sizeof f);
		out->as.f64 = (double)f;
	} else if (type == HN_META_F64) {
		memcpy(&out->as.f64, &u, sizeof u);
	} else if (type == HN_META_I8 || type == HN_META_I16 || type == HN_META_I32 ||
		type == HN_META_I64) {
		out->as.i64 = sign_extend(u, size);
	} else {
		out->as.u64 = u;
	}
	return true;
}

/* An f32 has at most nine significant digits; the first precision that comes back is the one
 * that a person wrote.  In any locale. */
double
hn_meta_decimal(double value)
{
	char text[32];
	double back = value;

	for (int digits = 6; digits <= 9; digits++) {
		char *comma;

		(void)snprintf(text, sizeof text, "%.*g", digits, value);
		comma = strchr(text, ','); /* a locale's */
		if (comma)
			*comma = '.';
		if (hn_parse_f64(text, &back) && (float)back == (float)value)
			return back;
	}
	return value;
}

/* The reader has walked the array once already; the checks here keep the function safe for a
 * view that somebody else made. */
bool
hn_meta_next(struct hn_meta_cursor *cursor, struct hn_meta_value *out)
{
	const struct hn_meta *array = cursor->array;
	const uint8_t *bytes;
	uint64_t left;

	if (cursor->idx >= array->n_elems)
		return false;
	bytes = array->elems + cursor->offset;
	left = array->elems_bytes - cursor->offset;
	if (array->elem_type == HN_META_STRING) {
		if (left < 8)
			return false;
		*out = (struct hn_meta_value){.type = HN_META_STRING};
		out->string_len = load(bytes, 8);
		if (out->string_len > left - 8)
			return false;
		out->string = (const char *)bytes + 8;
		cursor->offset += 8 + out->string_len;
	} else {
		if (!hn_meta_scalar(array->elem_type, bytes, left, out))
			return false;
		cursor->offset += hn_meta_scalar_bytes(array->elem_type);
	}
	cursor->idx++;
	return true;
}

const struct hn_meta *
hn_meta_find(const struct hn_tensor_file *file, const char *key)
{
	const uint64_t *idx = hn_table_get(&file->meta_by_key, key);

	return idx ? &file->metas[*idx] : NULL;
}

/* Absence has a status of its own: for many keys it is ordinary. */
static enum hone_status
fail_absent(const struct hn_tensor_file *file, const char *key, struct hone_error *err)
{
	return hone_fail_at(
		err, HONE_ENOTFOUND, file->path, 0, 0, "metadata \"%s\" is missing", key);
}

/* Says both types, an array with that of its elements. */
static enum hone_status
fail_type(const struct hn_tensor_file *file, const struct hn_meta *meta, const char *wanted,
	struct hone_error *err)
{
	return hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
		"metadata \"%s\" should be %s and is %s%s%s", meta->key, wanted,
		hn_meta_type_name(meta->value.type),
		meta->value.type == HN_META_ARRAY ? " of " : "",
		meta->value.type == HN_META_ARRAY ? hn_meta_type_name(meta->elem_type) : "");
}

static bool
is_unsigned(int32_t type)
{
	return type == HN_META_U8 || type == HN_META_U16 || type == HN_META_U32 ||
		type == HN_META_U64;
}

static bool
is_signed(int32_t type)
{
	return type == HN_META_I8 || type == HN_META_I16 || type == HN_META_I32 ||
		type == HN_META_I64;
}

/* The union holds the same 64 bits for both signs, so what is not negative is read as it is. */
enum hone_status
hn_meta_u64(
	const struct hn_tensor_file *file, const char *key, uint64_t *out, struct hone_error *err)
{
	const struct hn_meta *meta = hn_meta_find(file, key);

	if (!meta)
		return fail_absent(file, key, err);
	if (!is_unsigned(meta->value.type) &&
		!(is_signed(meta->value.type) && meta->value.as.i64 >= 0))
		return fail_type(file, meta, "a whole number that is not negative", err);
	*out = meta->value.as.u64;
	return HONE_OK;
}

/* The counterpart: what is above 2^63 - 1 would come out negative and is refused. */
enum hone_status
hn_meta_i64(
	const struct hn_tensor_file *file, const char *key, int64_t *out, struct hone_error *err)
{
	const struct hn_meta *meta = hn_meta_find(file, key);

	if (!meta)
		return fail_absent(file, key, err);
	if (!is_signed(meta->value.type) &&
		!(is_unsigned(meta->value.type) && meta->value.as.i64 >= 0))
		return fail_type(file, meta, "a whole number below 2^63", err);
	*out = meta->value.as.i64;
	return HONE_OK;
}

/* Some writers store a base of 10000 as an integer. */
enum hone_status
hn_meta_f64(const struct hn_tensor_file *file, const char *key, double *out, struct hone_error *err)
{
	const struct hn_meta *meta = hn_meta_find(file, key);

	if (!meta)
		return fail_absent(file, key, err);
	if (meta->value.type == HN_META_F32 || meta->value.type == HN_META_F64)
		*out = meta->value.as.f64;
	else if (is_unsigned(meta->value.type))
		*out = (double)meta->value.as.u64;
	else if (is_signed(meta->value.type))
		*out = (double)meta->value.as.i64;
	else
		return fail_type(file, meta, "a number", err);
	return HONE_OK;
}

enum hone_status
hn_meta_bool(const struct hn_tensor_file *file, const char *key, bool *out, struct hone_error *err)
{
	const struct hn_meta *meta = hn_meta_find(file, key);

	if (!meta)
		return fail_absent(file, key, err);
	if (meta->value.type != HN_META_BOOL)
		return fail_type(file, meta, "a bool", err);
	*out = meta->value.as.u64 != 0;
	return HONE_OK;
}

enum hone_status
hn_meta_string(const struct hn_tensor_file *file, const char *key, const char **out,
	struct hone_error *err)
{
	const struct hn_meta *meta = hn_meta_find(file, key);

	if (!meta)
		return fail_absent(file, key, err);
	if (meta->value.type != HN_META_STRING)
		return fail_type(file, meta, "a string", err);
	*out = meta->value.string;
	return HONE_OK;
}

/* The view is borrowed; hn_meta_next walks it. */
enum hone_status
hn_meta_array(const struct hn_tensor_file *file, const char *key, int32_t elem_type,
	const struct hn_meta **out, struct hone_error *err)
{
	const struct hn_meta *meta = hn_meta_find(file, key);

	if (!meta)
		return fail_absent(file, key, err);
	if (meta->value.type != HN_META_ARRAY)
		return fail_type(file, meta, "an array", err);
	if (elem_type >= 0 && meta->elem_type != elem_type)
		return hone_fail_at(err, HONE_EMODEL, file->path, 0, 0,
			"metadata \"%s\" should be an array of %s and is one of %s", key,
			hn_meta_type_name(elem_type), hn_meta_type_name(meta->elem_type));
	*out = meta;
	return HONE_OK;
}
