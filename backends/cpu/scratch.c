/*
 * scratch.c - how much scratch commands will take, before any memory is theirs.
 *
 * Products and attention take by far the most: packed panels for each worker, the columns of a
 * transposed operand for all, the gradients of a segment's queries.  Their own
 * code says how much: it runs on a copy of the device that notes what is reserved and runs no
 * piece.  Attention takes most when all rows are one segment, which is what is asked about.
 * Other operations reserve less and are not counted.
 */
#include "ops.h"
#include "product.h"

#define ATTENTION_IN  10 /* operands of its backward with a prefix */
#define ATTENTION_OUT 5

/* The command with operands that have an address, and without an addend, which changes no
 * scratch but is read before pieces run. */
static enum hone_status
probe(struct cpu_device *d, const struct hone_command *command, const struct hone_run *run)
{
	struct hone_operand in[2] = {command->in[0], command->in[1]}, out = command->out[0];
	struct hone_command c = *command;
	const struct cpu_call call = {.d = d, .k = d->k, .c = &c, .run = run};

	in[0].buffer = in[1].buffer = out.buffer = (hone_buffer)d;
	c.n_in = 2;
	c.in = in;
	c.out = &out;
	return cpu_op_find(c.op)(&call, NULL);
}

/* Attention from the operand `q` on, with all rows as one segment. */
static enum hone_status
probe_attention(struct cpu_device *d, const struct hone_command *command, uint32_t q,
	uint32_t offsets, const struct hone_run *run)
{
	const int32_t rows = (int32_t)hone_operand_rows(&command->in[q], run);
	const int32_t keys = (int32_t)hone_operand_rows(&command->in[q + 1], run);
	int32_t segment[2] = {0, rows}, range[2] = {0, keys};
	struct hone_operand in[ATTENTION_IN], out[ATTENTION_OUT];
	struct hone_command c = *command;
	const struct cpu_call call = {.d = d, .k = d->k, .c = &c, .run = run};

	for (uint32_t i = 0; i < c.n_in; i++) {
		in[i] = command->in[i];
		in[i].buffer = (hone_buffer)d;
	}
	for (uint32_t i = 0; i < c.n_out; i++) {
		out[i] = command->out[i];
		out[i].buffer = (hone_buffer)d;
	}
	in[offsets] = (struct hone_operand){
		.buffer = segment, .dtype = HONE_DTYPE_I32, .rank = 1, .dim = {2}};
	in[offsets + 1] = (struct hone_operand){
		.buffer = range, .dtype = HONE_DTYPE_I32, .rank = 2, .dim = {1, 2}};
	c.in = in;
	c.out = out;
	return cpu_op_find(c.op)(&call, NULL);
}

uint64_t
cpu_scratch_bytes(void *device, const struct hone_command *commands, uint32_t n, uint32_t stride,
	const struct hone_run *run)
{
	const struct cpu_device *real = device;
	struct cpu_scratch worker = {.memory = device};
	struct cpu_strips *strips = cpu_strips_create();
	struct cpu_device d = {.k = real->k,
		.strips = strips,
		.host = real->host,
		.pool = real->pool,
		.n_workers = real->n_workers, /* they decide how products are cut */
		.shared = {.memory = device},
		.worker = &worker,
		.is_probe = 1};
	const uint8_t *at = (const uint8_t *)commands;
	uint64_t bytes;

	for (uint32_t i = 0; i < n && strips; i++, at += stride) {
		const struct hone_command *c = (const void *)at;

		if (cpu_op_check(c, NULL))
			continue;
		if (c->op == HONE_OP_MATMUL)
			(void)probe(&d, c, run);
		else if (c->op == HONE_OP_ATTENTION)
			(void)probe_attention(&d, c, 0, 3, run);
		else if (c->op == HONE_OP_ATTENTION_BACK)
			(void)probe_attention(&d, c, 1, 6, run);
	}
	bytes = d.shared.bytes + worker.bytes * (uint64_t)real->n_workers;
	if (strips)
		bytes += cpu_strips_bytes(strips);
	cpu_strips_destroy(strips);
	return bytes;
}
