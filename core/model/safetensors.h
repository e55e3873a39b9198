/*
 * model/safetensors.h - reading and writing safetensors.
 *
 *     off 0     u64 LE   N, bytes of the header
 *     off 8     N bytes  JSON: {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ...,
 *                        "__metadata__": {text: text}}, spaces may follow
 *     off 8+N            the tensors' bytes, little-endian, row-major, without holes
 *
 * A large model is several such files beside model.safetensors.index.json, whose weight_map
 * says which tensor is in which file.
 */
#ifndef HN_MODEL_SAFETENSORS_H
#define HN_MODEL_SAFETENSORS_H

#include "model/tensors.h"

/* One file.  `file` is zeroed by the caller and untouched on failure; on success it is closed
 * with hn_tensor_file_close. */
enum hone_status hn_safetensors_open(
	struct hn_tensor_file *file, const char *path, struct hone_error *err);

/* The shards that an index names.  Shard names are bare file names; each tensor is in exactly
 * the shard that the index says, and no shard holds a tensor that the index does not name. */
enum hone_status hn_safetensors_open_index(
	struct hn_tensor_file *file, const char *index_path, struct hone_error *err);

/* The weights in a folder: model.safetensors, else the index, else the only *.safetensors
 * file.  HONE_ENOTFOUND when there is none. */
enum hone_status hn_safetensors_open_folder(
	struct hn_tensor_file *file, const char *folder, struct hone_error *err);

/* A file that lies in memory; the bytes are borrowed and must outlive `file`. */
enum hone_status hn_safetensors_parse(struct hn_tensor_file *file, const uint8_t *bytes, uint64_t n,
	const char *path, struct hone_error *err);

/* What the reader appends to `file` for one mapped file; shared with the index. */
enum hone_status hn_safetensors_read(struct hn_tensor_file *file, const uint8_t *bytes, uint64_t n,
	const char *path, uint32_t map_idx, struct hone_error *err);

/* A tensor to write: its bytes, or a function that makes them row by row (a row is the
 * innermost dimension), so that a merged model need not lie in memory. */
struct hn_tensor_out {
	const char *name;
	const char *storage; /* "f32", "bf16" ...: a safetensors type in lower case */
	uint32_t rank;
	int64_t dim[HN_TENSOR_MAX_RANK];
	const void *bytes; /* NULL: `fill` is called */
	enum hone_status (*fill)(void *ctx, const struct hn_tensor_out *tensor, int64_t first_row,
		int64_t n_rows, void *dst, struct hone_error *err);
	void *ctx;
};

struct hn_meta_out {
	const char *key, *value;
};

/* Writes the file atomically.  The same tensors give the same bytes: they are sorted as the
 * reference implementation does (type descending, then name), metadata by key.  Without a
 * "format" among the metadata, "format": "pt" is added: transformers asks for it.  `fill` is
 * called in the order of the file, rows ascending. */
enum hone_status hn_safetensors_write(const char *path, const struct hn_tensor_out *tensors,
	size_t n_tensors, const struct hn_meta_out *metas, size_t n_metas, struct hone_error *err);

/* Bits of an element by storage name; 0 when safetensors has no such type. */
uint32_t hn_safetensors_bits(const char *storage);
/* The type's name in the file ("BF16") and its rank in the order of writing; NULL when
 * there is no such type. */
const char *hn_safetensors_dtype(const char *storage, uint32_t *order);

#endif
