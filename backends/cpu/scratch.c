/*
 * scratch.c - how much scratch commands will take, before any memory is theirs.
 *
 * Products take by far the most: packed panels for each worker, and the columns of a transposed
 * operand or decoded weights for all.  Their own code says how much: it runs on a copy of the
 * device that notes what is reserved and runs no piece.  Other operations reserve less, and
 * some as the data say (attention); they are not counted.
 */
#include "ops.h"

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

uint64_t
cpu_scratch_bytes(void *device, const struct hone_command *commands, uint32_t n, uint32_t stride,
	const struct hone_run *run)
{
	const struct cpu_device *real = device;
	struct cpu_scratch worker = {.memory = device};
	struct cpu_device d = {.k = real->k,
		.host = real->host,
		.pool = real->pool,
		.n_workers = real->n_workers, /* they decide how products are cut */
		.shared = {.memory = device},
		.worker = &worker,
		.is_probe = 1};
	const uint8_t *at = (const uint8_t *)commands;

	for (uint32_t i = 0; i < n; i++, at += stride) {
		const struct hone_command *c = (const void *)at;

		if (c->op == HONE_OP_MATMUL && cpu_op_check(c, NULL) == HONE_OK)
			(void)probe(&d, c, run);
	}
	return d.shared.bytes + worker.bytes * (uint64_t)real->n_workers;
}
