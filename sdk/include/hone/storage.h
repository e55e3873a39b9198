/*
 * hone/storage.h - the role of stored formats: how weights lie in files and in memory.
 *
 * A storage format turns blocks of bytes into f32 and, where it can, back.  A weight stays
 * as it is stored, mapped read-only, and is decoded a few rows at a time, where no backend
 * reads the format itself.  f32, f16 and bf16 are the host's own and have no plugin.
 *
 * One stored weight may be several stored tensors, its *parts*: block codes, and beside them
 * scales, code books.  Part 0 has the weight's own name; part i has the name with part_names[i]
 * behind it.  Everything that decoding needs is in the parts, so a format keeps no state.
 *
 * A weight of shape [O, I] is O * I elements in row-major order, and blocks run along that
 * order.  With HONE_STORAGE_WHOLE_ROWS no block straddles two rows: I is a multiple of
 * block_elems.  All calls may come from any thread at once.
 */
#ifndef HONE_STORAGE_H
#define HONE_STORAGE_H

#include <hone/status.h>
#include <hone/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HONE_ROLE_STORAGE "hone.storage/1"

enum hone_storage_flags {
	HONE_STORAGE_WHOLE_ROWS = 1, /* a row is a whole number of blocks */
};

/* What is known about a stored weight before it is decoded.  Filled by the host. */
struct hone_storage_weight {
	uint32_t struct_size;
	uint32_t rank;
	int64_t dim[HONE_MAX_RANK]; /* outermost first */
	const char *name;           /* for messages */
	const void *const *parts;   /* n_parts of the format */
	const uint64_t *part_bytes;
};

/* One format.  The factory's name and `id` are the same: the name under which files and
 * backends know it ("q4_1").  Made once, const, valid as long as the plugin. */
struct hone_storage_vt {
	uint32_t struct_size; /* sizeof(struct hone_storage_vt) */
	uint32_t flags;       /* enum hone_storage_flags */
	const char *id;
	uint32_t block_elems; /* elements of a block */
	uint32_t
		block_bytes; /* its bytes in part 0, which has n_elems / block_elems of them (up) */
	uint32_t n_parts;    /* 1 = one stored tensor */
	uint32_t pad;
	const char *const *part_names; /* n_parts of them, the first ""; NULL when n_parts is 1 */

	/* Says whether the parts fit shape and each other; part 0 has been checked by the
	 * host already.  Optional: absent = part 0 is all there is to check.  [any thread, pure] */
	enum hone_status (*check)(
		const void *self, const struct hone_storage_weight *weight, struct hone_error *err);

	/* Writes elements [first, first + n) to dst.  first is a multiple of block_elems, and
	 * so is n unless it reaches the weight's end.  Parts may have any alignment.  Cannot
	 * fail: the sizes were checked.  [any thread, pure] */
	void (*decode)(
		const void *self, const void *const *parts, int64_t first, int64_t n, float *dst);

	/* Writes the blocks of elements [first, first + n) from src, which holds n finite
	 * values.  Same rules.  Optional: absent = the format is only read.  With work_bytes,
	 * parts[n_parts] is the work memory.  [any thread] */
	void (*encode)(
		const void *self, const float *src, int64_t first, int64_t n, void *const *parts);

	/* Bytes of part `part` for a weight of n_elems.  Optional for formats of one part.
	 * [any thread, pure] */
	uint64_t (*part_bytes)(const void *self, uint32_t part, int64_t n_elems);

	/* As decode, but to bf16, rounded to nearest, ties to even: the same bits as decode
	 * and hone_bf16_from_f32.  Optional: absent = the caller converts.
	 * [any thread, pure] */
	void (*decode_bf16)(const void *self, const void *const *parts, int64_t first, int64_t n,
		uint16_t *dst);

	/* For formats with parts that depend on the whole weight, such as scales of scales:
	 * bytes of memory that `encode` keeps what it finds in, and what turns that into the
	 * remaining parts, once, when every block is encoded.  The result must not depend on the
	 * order in which blocks were.  Optional, both or none.  [any thread, pure] */
	uint64_t (*work_bytes)(const void *self, int64_t n_elems);
	void (*finish)(const void *self, int64_t n_elems, void *const *parts);
};

#ifdef __cplusplus
}
#endif
#endif
