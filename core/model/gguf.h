/*
 * model/gguf.h - reading GGUF, the file format of llama.cpp (versions 2 and 3).
 *
 *     "GGUF" | u32 version | u64 n_tensors | u64 n_kv | kv... | tensor info... | pad | data
 *     string = u64 length, bytes        kv = string key, u32 type, value
 *     array  = u32 element type, u64 count, elements      (no arrays of arrays)
 *     info   = string name, u32 n_dims, u64 ne[n_dims], u32 type, u64 offset
 *
 * Everything is little-endian.  ne is innermost first; hn_tensor_info has it reversed.
 */
#ifndef HN_MODEL_GGUF_H
#define HN_MODEL_GGUF_H

#include "model/tensors.h"

/* Opens by mapping.  `file` is zeroed by the caller and untouched on failure.  Tensors of
 * types that this program cannot decode are listed without the mark HN_TENSOR_DECODABLE. */
enum hone_status hn_gguf_open(
	struct hn_tensor_file *file, const char *path, struct hone_error *err);

/* A file that lies in memory; the bytes are borrowed and must outlive `file`. */
enum hone_status hn_gguf_parse(struct hn_tensor_file *file, const uint8_t *bytes, uint64_t n,
	const char *path, struct hone_error *err);

#endif
