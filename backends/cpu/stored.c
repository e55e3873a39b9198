/*
 * stored.c - stored (quantised) weights: reading any range of elements, and DECODE.
 *
 * A format decodes whole blocks; a range that starts or ends inside one goes through a small
 * buffer.  Products decode a slab of a weight at a time into a worker's scratch
 * (product_stored.c).  Twin: decode of reference.
 */
#include <string.h>

#include <hone/plugin.h>
#include <hone/storage.h>

#include "cpu.h"

#define CHUNK 4096 /* elements decoded at a time, rounded to blocks */

static int64_t
chunk_of(const struct hone_storage_vt *vt)
{
	return cpu_round_up(CHUNK, vt->block_elems ? vt->block_elems : 1);
}

int64_t
cpu_stored_buffer(const struct hone_operand *o)
{
	return o->storage ? chunk_of(o->storage) : 0;
}

static void
find_parts(const struct hone_operand *o, const void *parts[CPU_PARTS_MAX])
{
	const uint8_t *memory = o->buffer;

	parts[0] = memory + o->offset;
	for (uint32_t i = 1; i < o->storage->n_parts && o->part_offset; i++)
		parts[i] = memory + o->part_offset[i - 1];
}

int
cpu_stored_read_bf16(const struct hone_operand *o, int64_t first, int64_t n, uint16_t *out)
{
	const struct hone_storage_vt *vt = o->storage;
	const int64_t block = vt->block_elems ? vt->block_elems : 1;
	const void *parts[CPU_PARTS_MAX] = {NULL};

	if (!HONE_HAS(vt, struct hone_storage_vt, decode_bf16) || first % block || n % block)
		return 0;
	find_parts(o, parts);
	vt->decode_bf16(o->storage_self, parts, first, n, out);
	return 1;
}

void
cpu_stored_read(const struct hone_operand *o, int64_t first, int64_t n, float *out, float *buffer)
{
	const struct hone_storage_vt *vt = o->storage;
	const int64_t block = vt->block_elems ? vt->block_elems : 1, chunk = chunk_of(vt);
	const int64_t total = o->dim[0] * hone_operand_row_elems(o), end = first + n;
	const void *parts[CPU_PARTS_MAX] = {NULL};

	find_parts(o, parts);
	while (first < end) {
		const int64_t from = first / block * block;
		int64_t to = cpu_min(cpu_round_up(end, block), from + chunk);
		int64_t some;

		to = cpu_min(to, total);
		some = cpu_min(end, to) - first;
		if (from == first && to <= end) {
			vt->decode(o->storage_self, parts, from, to - from, out);
		} else {
			vt->decode(o->storage_self, parts, from, to - from, buffer);
			memcpy(out, buffer + (first - from), (size_t)some * 4);
		}
		out += some;
		first += some;
	}
}

struct decode {
	const struct cpu_call *call;
	struct cpu_mat y;
	int64_t chunk, total;
};

static void
piece(void *ctx, int64_t i, int32_t worker)
{
	const struct decode *d = ctx;
	const int64_t at = i * d->chunk, n = cpu_min(d->chunk, d->total - at);
	float *buffer = (float *)(void *)d->call->d->worker[worker].memory;
	float *target = cpu_target(&d->y, at, buffer + d->chunk);

	cpu_stored_read(&d->call->c->in[0], at, n, target, buffer);
	cpu_write(d->call->k, &d->y, at, n, target);
}

enum hone_status
cpu_decode(const struct cpu_call *call, struct hone_error *err)
{
	const struct hone_operand *o = &call->c->in[0];
	struct decode d = {.call = call, .y = cpu_out(call, 0)};
	enum hone_status st;

	if (!o->storage)
		return cpu_cast(call, err);
	d.chunk = chunk_of(o->storage);
	d.total = o->dim[0] * hone_operand_row_elems(o);
	st = cpu_reserve(call->d, 0, (uint64_t)d.chunk * 8, err);
	if (st)
		return st;
	cpu_run(call->d, cpu_ceil(d.total, d.chunk), piece, &d);
	return HONE_OK;
}
