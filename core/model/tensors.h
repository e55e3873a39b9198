/*
 * model/tensors.h - the common view of stored tensors, whatever file they came from.
 *
 * A tensor file is one safetensors file, a set of shards behind an index, or one GGUF file:
 * a list of named tensors whose bytes stay where they are, mapped read-only, and a list of
 * metadata.  Nothing here decodes more than the host's own types (f32, f16, bf16); other
 * storages are names, which the registry resolves to formats of the role hone.storage/1.
 *
 * Names come from files, so they are text and nothing else: never a path, never a format.
 * Shapes are row-major, outermost first, in memory order of both formats (GGUF's ne
 * reversed).
 */
#ifndef HN_MODEL_TENSORS_H
#define HN_MODEL_TENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hone/status.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/str.h"
#include "base/table.h"

/* Files hold tensors of higher rank than graphs do (3-d convolutions of video models), so
 * they can be listed; whoever uses one checks rank against HONE_MAX_RANK. */
#define HN_TENSOR_MAX_RANK 8

enum hn_file_format {
	HN_FILE_SAFETENSORS = 1,
	HN_FILE_GGUF = 2,
};

enum hn_tensor_flags {
	HN_TENSOR_DECODABLE = 1,  /* something in this process can turn it into f32 */
	HN_TENSOR_MISALIGNED = 2, /* bytes are not aligned for the element: read by memcpy */
};

/* One stored tensor.  All pointers live as long as the tensor file. */
struct hn_tensor_info {
	const char *name;
	const char *storage;  /* "f32", "bf16", "q4_1" ...: the field's name, lower case */
	const uint8_t *bytes; /* mapped, read-only */
	uint64_t n_bytes;
	int64_t n_elems;
	int64_t dim[HN_TENSOR_MAX_RANK]; /* outermost first; rank 0 is a scalar */
	uint32_t rank;
	uint32_t block_elems; /* elements of a storage block, 1 for plain types */
	uint32_t map_idx;     /* which of the maps holds the bytes */
	uint32_t flags;       /* enum hn_tensor_flags */
};

/* Types of metadata: the numbers are GGUF's.  safetensors has strings only. */
enum hn_meta_type {
	HN_META_U8 = 0,
	HN_META_I8 = 1,
	HN_META_U16 = 2,
	HN_META_I16 = 3,
	HN_META_U32 = 4,
	HN_META_I32 = 5,
	HN_META_F32 = 6,
	HN_META_BOOL = 7,
	HN_META_STRING = 8,
	HN_META_ARRAY = 9,
	HN_META_U64 = 10,
	HN_META_I64 = 11,
	HN_META_F64 = 12,
};

/* A value of metadata or an element of an array.  Integers and booleans are in `i64` and
 * `u64` (the type says which is meant), floats in `f64`. */
struct hn_meta_value {
	int32_t type; /* enum hn_meta_type */
	union {
		uint64_t u64;
		int64_t i64;
		double f64;
	} as;
	const char *string; /* of a scalar: NUL-terminated; of an element: not */
	uint64_t string_len;
};

struct hn_meta {
	const char *key;
	struct hn_meta_value value; /* type HN_META_ARRAY: see the members below */
	int32_t elem_type;
	uint64_t n_elems;
	const uint8_t *elems; /* borrowed from the mapping, checked to be inside it */
	uint64_t elems_bytes;
};

struct hn_tensor_file {
	enum hn_file_format format;
	const char *path; /* as the user gave it: for messages */
	uint32_t version; /* of a GGUF file, else 0 */

	struct hn_tensor_info *tensors; /* in the order of the file, shards one after another */
	size_t n_tensors, cap_tensors;
	struct hn_meta *metas;
	size_t n_metas, cap_metas;

	struct hn_map *maps; /* one for each file; none when parsed from memory */
	const char **map_paths;
	size_t n_maps, cap_maps, cap_map_paths;

	struct hn_table tensor_by_name, meta_by_key;
	struct hn_arena arena; /* names, strings */
};

/* Unmaps and frees; a zeroed struct is fine. */
void hn_tensor_file_close(struct hn_tensor_file *file);

/* NULL when absent. */
const struct hn_tensor_info *hn_tensor_file_find(
	const struct hn_tensor_file *file, const char *name);

/* The tensor `name` of this shape, or HONE_EMODEL with the shape wanted and found. */
enum hone_status hn_tensor_file_expect(const struct hn_tensor_file *file, const char *name,
	uint32_t rank, const int64_t *dim, const struct hn_tensor_info **out,
	struct hone_error *err);

/* Marks as decodable every tensor whose storage `has` accepts (the registry's question), and
 * clears the mark of others; the host's own types are always decodable. */
void hn_tensor_file_resolve(
	struct hn_tensor_file *file, bool (*has)(void *ctx, const char *storage), void *ctx);

/* HONE_EMODEL naming the tensor when it is not decodable, HONE_OK when it is. */
enum hone_status hn_tensor_check_decodable(const struct hn_tensor_file *file,
	const struct hn_tensor_info *tensor, struct hone_error *err);

/* Sum of the tensors' bytes, and of their elements. */
uint64_t hn_tensor_file_bytes(const struct hn_tensor_file *file);
/* hn_map_forget for each of its maps. */
void hn_tensor_file_forget(const struct hn_tensor_file *file);
int64_t hn_tensor_file_elems(const struct hn_tensor_file *file);

/* The host's own storages: f32, f16, bf16. */
bool hn_storage_is_host(const char *storage);
/* Decodes n elements from `first` on; the tensor is of a host storage.  Any alignment. */
void hn_tensor_decode_host(
	const struct hn_tensor_info *tensor, int64_t first, int64_t n, float *dst);
/* Values that are NaN or infinite in a tensor of a host storage; the first one's index. */
int64_t hn_tensor_count_nonfinite(const struct hn_tensor_info *tensor, int64_t *first);
/* HONE_EMODEL naming tensor, count and first index when there are any. */
enum hone_status hn_tensor_check_finite(const struct hn_tensor_file *file,
	const struct hn_tensor_info *tensor, struct hone_error *err);

/* Product of a shape; false when a dimension is negative or the product does not fit. */
bool hn_shape_elems(uint32_t rank, const int64_t *dim, int64_t *out);
/* Appends "[960, 320]". */
void hn_shape_print(struct hn_str *out, uint32_t rank, const int64_t *dim);

/* Metadata by key: HONE_ENOTFOUND when absent, HONE_EMODEL when of another kind (any integer
 * type serves u64 and i64 where the value fits; integers serve f64). */
const struct hn_meta *hn_meta_find(const struct hn_tensor_file *file, const char *key);
enum hone_status hn_meta_u64(
	const struct hn_tensor_file *file, const char *key, uint64_t *out, struct hone_error *err);
enum hone_status hn_meta_i64(
	const struct hn_tensor_file *file, const char *key, int64_t *out, struct hone_error *err);
enum hone_status hn_meta_f64(
	const struct hn_tensor_file *file, const char *key, double *out, struct hone_error *err);
enum hone_status hn_meta_bool(
	const struct hn_tensor_file *file, const char *key, bool *out, struct hone_error *err);
/* Borrowed, NUL-terminated. */
enum hone_status hn_meta_string(const struct hn_tensor_file *file, const char *key,
	const char **out, struct hone_error *err);
/* An array of elements of `elem_type`, or of any type when that is -1. */
enum hone_status hn_meta_array(const struct hn_tensor_file *file, const char *key,
	int32_t elem_type, const struct hn_meta **out, struct hone_error *err);

/* Walks an array: start with `at` = 0; false at the end.  Each step is one element, so a
 * vocabulary is read in one pass. */
struct hn_meta_cursor {
	const struct hn_meta *array;
	uint64_t idx;    /* of the next element */
	uint64_t offset; /* of its bytes */
};
bool hn_meta_next(struct hn_meta_cursor *cursor, struct hn_meta_value *out);

/* "u32", "string" ...; "none" for a type that is not known. */
const char *hn_meta_type_name(int32_t type);

/* A value that was stored as f32, as the decimal that its writer meant: the shortest that
 * reads back as the same f32.  1e-05 instead of 9.999999747378752e-06. */
double hn_meta_decimal(double value);

/* What the readers build files with.  add_* copies names and keys; a name that is there
 * already is HONE_EMODEL. */
enum hone_status hn_tensor_file_add(struct hn_tensor_file *file,
	const struct hn_tensor_info *tensor, size_t name_len, struct hone_error *err);
enum hone_status hn_tensor_file_add_meta(struct hn_tensor_file *file, const struct hn_meta *meta,
	size_t key_len, struct hone_error *err);
/* Maps one more file and returns its index; refuses what is plainly something else. */
enum hone_status hn_tensor_file_map(
	struct hn_tensor_file *file, const char *path, uint32_t *map_idx, struct hone_error *err);

/* Says what a file is that is no model at all: empty, a Git LFS pointer, a web page, pickle,
 * an archive.  HONE_OK when nothing of that is recognised. */
enum hone_status hn_refuse_foreign(
	const uint8_t *bytes, uint64_t n, const char *path, struct hone_error *err);

/* Element at `bytes` of a scalar type, whatever its alignment; `end` is checked. */
bool hn_meta_scalar(int32_t type, const uint8_t *bytes, uint64_t n, struct hn_meta_value *out);
/* Bytes of a scalar type; 0 for strings, arrays and types that are not known. */
uint32_t hn_meta_scalar_bytes(int32_t type);

#endif
