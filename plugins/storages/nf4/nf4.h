/*
 * nf4.h - what the files of this plugin share: the layout, the two code books, the kernels.
 *
 * Everything is bitsandbytes': the code book of 16 values (Dettmers et al. 2023,
 * arXiv:2305.14314, appendix E), its map of 256 for 8 bits (arXiv:2110.02861, section 2),
 * blocks of 64 elements, and blocks of 256 scales.
 */
#ifndef NF4_H
#define NF4_H

#include <stdint.h>
#include <string.h>

#include <hone/storage.h>

enum { NF4_BLOCK = 64, NF4_BLOCK_BYTES = NF4_BLOCK / 2, NF4_NEST = 256 };

/* A scale below this counts as this where something is divided by it. */
#define NF4_SMALLEST 1e-38f

/* Parts, and behind them the work memory of encoding. */
enum { NF4_CODES = 0, NF4_SCALES, NF4_NESTED, NF4_PARTS, NF4_WORK = NF4_PARTS };

extern const float nf4_book[16];       /* ascending */
extern const float nf4_scale_map[256]; /* ascending */

/* What is done per block, for one kind of processor; all give the same bits. */
struct nf4_kernels {
	/* Elements [0, n) of a block, n <= 64, times scale. */
	void (*decode)(const uint8_t *codes, float scale, int64_t n, float *dst);
	void (*decode_bf16)(const uint8_t *codes, float scale, int64_t n, uint16_t *dst);
	/* Codes of a block of n elements; unused nibbles stand for 0.  Returns its scale. */
	float (*encode)(const float *src, int64_t n, uint8_t *codes);
};

extern const struct nf4_kernels nf4_portable;

/* The best for this processor. */
const struct nf4_kernels *nf4_kernels_find(void);

/* A float at any alignment. */
static inline float
nf4_load(const void *bytes, int64_t i)
{
	float value;

	memcpy(&value, (const uint8_t *)bytes + 4 * i, sizeof value);
	return value;
}

static inline void
nf4_store(void *bytes, int64_t i, float value)
{
	memcpy((uint8_t *)bytes + 4 * i, &value, sizeof value);
}

#endif
