/*
 * model/safetensors_header.h - the JSON of a safetensors header, read without a tree.
 *
 * The header may be 100 MB and its author is not our friend.  A JSON tree would cost twenty
 * times the text; this reader walks it once and calls back per tensor.  It accepts only what
 * the format has: one object of objects, strings, and non-negative integers.
 */
#ifndef HN_MODEL_SAFETENSORS_HEADER_H
#define HN_MODEL_SAFETENSORS_HEADER_H

#include "model/tensors.h"

/* A tensor of the header; strings are valid during the callback. */
struct hn_st_entry {
	const char *name;
	size_t name_len;
	const char *dtype; /* "BF16" */
	uint32_t rank;
	int64_t dim[HN_TENSOR_MAX_RANK];
	uint64_t begin, end; /* relative to the end of the header */
};

struct hn_st_handler {
	void *ctx;
	enum hone_status (*tensor)(
		void *ctx, const struct hn_st_entry *entry, struct hone_error *err);
	enum hone_status (*meta)(void *ctx, const char *key, size_t key_len, const char *value,
		size_t value_len, struct hone_error *err);
};

/* Reads `n` bytes of header text; offsets in messages count from the file's start, where
 * the text begins at byte 8. */
enum hone_status hn_st_header_read(const char *text, size_t n, const char *path,
	const struct hn_st_handler *handler, struct hone_error *err);

#endif
