/*
 * nf4.c - 4.127 bits a weight: NormalFloat codes with scales that are quantised themselves.
 *
 *     codes          u8 [N / 64][32]       two codes a byte, the first in the high nibble
 *     absmax         u8 [N / 64]           a scale for 64 weights
 *     nested_absmax  f32 [1 + N / 16384]   the scales' mean m, then a scale for 256 scales
 *
 *     w[i] = book[code i] s[i / 64]        s[b] = map[absmax[b]] nested[b / 256] + m
 *
 * Blocks run along row-major order and may straddle rows; the last of each kind may be short.
 * Encoding is bitsandbytes' to the bit: a block's scale is its largest magnitude, x / scale is
 * formed as x (1 / scale) in full blocks and as a quotient in a short one, and takes the
 * nearest code, the lower one at a tie.  The scales less their mean are quantised the same
 * way with the map.  (Its library for CPUs looks 8-bit codes up in a coarse table, so there a
 * few in a thousand are the neighbour of the nearest.  The mean is summed in double here; in
 * f32 there.)
 *
 * Dettmers et al. 2023, QLoRA, arXiv:2305.14314, section 3.
 */
#include <math.h>

#include <hone/plugin.h>

#include "nf4.h"

static int64_t
blocks_of(int64_t n)
{
	return (n + NF4_BLOCK - 1) / NF4_BLOCK;
}

static uint64_t
nf4_part_bytes(const void *self, uint32_t part, int64_t n_elems)
{
	const uint64_t blocks = (uint64_t)blocks_of(n_elems);

	(void)self;
	switch (part) {
	case NF4_CODES:
		return blocks * NF4_BLOCK_BYTES;
	case NF4_SCALES:
		return blocks;
	default:
		return (1 + (blocks + NF4_NEST - 1) / NF4_NEST) * 4;
	}
}

static enum hone_status
nf4_check(const void *self, const struct hone_storage_weight *weight, struct hone_error *err)
{
	int64_t n = 1;

	for (uint32_t i = 0; i < weight->rank; i++)
		n *= weight->dim[i];
	for (uint32_t i = 0; i < NF4_PARTS; i++)
		if (weight->part_bytes[i] != nf4_part_bytes(self, i, n))
			return hone_fail(err, HONE_EMODEL,
				"'%s': part %u has %llu bytes, %llu are needed", weight->name, i,
				(unsigned long long)weight->part_bytes[i],
				(unsigned long long)nf4_part_bytes(self, i, n));
	return HONE_OK;
}

/* ---- decode ---- */

/* Two roundings, as in bitsandbytes: no fused multiply-add. */
static float
scale_of(const void *const *parts, int64_t block)
{
	const uint8_t code = ((const uint8_t *)parts[NF4_SCALES])[block];

	return nf4_scale_map[code] * nf4_load(parts[NF4_NESTED], 1 + block / NF4_NEST) +
		nf4_load(parts[NF4_NESTED], 0);
}

static void
nf4_decode(const void *self, const void *const *parts, int64_t first, int64_t n, float *dst)
{
	const struct nf4_kernels *kernels = self;
	const uint8_t *codes = parts[NF4_CODES];

	for (int64_t b = first / NF4_BLOCK; n > 0; b++, n -= NF4_BLOCK, dst += NF4_BLOCK)
		kernels->decode(codes + b * NF4_BLOCK_BYTES, scale_of(parts, b),
			n < NF4_BLOCK ? n : NF4_BLOCK, dst);
}

static void
nf4_decode_bf16(const void *self, const void *const *parts, int64_t first, int64_t n, uint16_t *dst)
{
	const struct nf4_kernels *kernels = self;
	const uint8_t *codes = parts[NF4_CODES];

	for (int64_t b = first / NF4_BLOCK; n > 0; b++, n -= NF4_BLOCK, dst += NF4_BLOCK)
		kernels->decode_bf16(codes + b * NF4_BLOCK_BYTES, scale_of(parts, b),
			n < NF4_BLOCK ? n : NF4_BLOCK, dst);
}

/* ---- encode ---- */

static uint64_t
nf4_work_bytes(const void *self, int64_t n_elems)
{
	(void)self;
	return (uint64_t)blocks_of(n_elems) * 4;
}

/* Codes, and the scales as they are: they are quantised when all are known. */
static void
nf4_encode(const void *self, const float *src, int64_t first, int64_t n, void *const *parts)
{
	const struct nf4_kernels *kernels = self;
	uint8_t *codes = parts[NF4_CODES];

	for (int64_t b = first / NF4_BLOCK; n > 0; b++, n -= NF4_BLOCK, src += NF4_BLOCK)
		nf4_store(parts[NF4_WORK], b,
			kernels->encode(
				src, n < NF4_BLOCK ? n : NF4_BLOCK, codes + b * NF4_BLOCK_BYTES));
}

/* Index of the nearest value of the map: how many midpoints lie below x. */
static uint8_t
nearest_scale(float x)
{
	int low = 0;

	for (int step = 128; step; step /= 2)
		if (x > (nf4_scale_map[low + step - 1] + nf4_scale_map[low + step]) / 2)
			low += step;
	return (uint8_t)low;
}

/* Scales [first, first + n), n <= 256, less their mean. */
static float
encode_scales(const void *scales, float mean, int64_t first, int64_t n, uint8_t *codes)
{
	float max = 0, inverse;

	for (int64_t i = 0; i < n; i++)
		max = fmaxf(max, fabsf(nf4_load(scales, first + i) - mean));
	if (n < NF4_NEST)
		max = fmaxf(max, NF4_SMALLEST);
	inverse = 1 / fmaxf(max, NF4_SMALLEST);
	for (int64_t i = 0; i < n; i++) {
		const float x = nf4_load(scales, first + i) - mean;

		codes[first + i] = nearest_scale(n < NF4_NEST ? x / max : x * inverse);
	}
	return max;
}

static void
nf4_finish(const void *self, int64_t n_elems, void *const *parts)
{
	const int64_t blocks = blocks_of(n_elems);
	double sum = 0;
	float mean;

	(void)self;
	for (int64_t b = 0; b < blocks; b++)
		sum += (double)nf4_load(parts[NF4_WORK], b);
	mean = blocks ? (float)(sum / (double)blocks) : 0;
	nf4_store(parts[NF4_NESTED], 0, mean);
	for (int64_t b = 0; b < blocks; b += NF4_NEST)
		nf4_store(parts[NF4_NESTED], 1 + b / NF4_NEST,
			encode_scales(parts[NF4_WORK], mean, b,
				blocks - b < NF4_NEST ? blocks - b : NF4_NEST, parts[NF4_SCALES]));
}

/* ---- the plugin ---- */

static const char *const part_names[NF4_PARTS] = {"", ".absmax", ".nested_absmax"};

static const struct hone_storage_vt nf4_vt = {
	.struct_size = sizeof(struct hone_storage_vt),
	.id = "nf4",
	.block_elems = NF4_BLOCK,
	.block_bytes = NF4_BLOCK_BYTES,
	.n_parts = NF4_PARTS,
	.part_names = part_names,
	.check = nf4_check,
	.decode = nf4_decode,
	.encode = nf4_encode,
	.part_bytes = nf4_part_bytes,
	.decode_bf16 = nf4_decode_bf16,
	.work_bytes = nf4_work_bytes,
	.finish = nf4_finish,
};

/* An instance is the table of its kernels, which is never written. */
static enum hone_status
nf4_create(const struct hone_host *host, const struct hone_instance_info *info, const void *values,
	void **self, struct hone_error *err)
{
	(void)host;
	(void)info;
	(void)values;
	(void)err;
	*self = (void *)(uintptr_t)(const void *)nf4_kernels_find();
	return HONE_OK;
}

static const struct hone_factory nf4 = {
	.struct_size = sizeof(struct hone_factory),
	.role = HONE_ROLE_STORAGE,
	.name = "nf4",
	.summary = "4.13 bits: NormalFloat codes in blocks of 64, scales in 8 bits (QLoRA)",
	.create = nf4_create,
	.vt = &nf4_vt,
};

static const struct hone_factory *const formats[] = {&nf4};

HONE_PLUGIN(nf4, "0.1.0", "Apache-2.0", formats);
