/*
 * reference.c - the backend that defines what is right: plain scalar C.
 *
 * One device, "the host's memory", whose buffers are pointers.  A command is looked up in the
 * tables of the op families (product.c, elementwise.c ...), its operands are opened, and its
 * kernel runs at once on the calling thread; nothing is asynchronous, so wait is empty.
 *
 * What it is not: fast.  Every other backend is compared with this one, and whatever no other
 * backend can do falls back to it.  Each kernel file says in its essay what its operations
 * compute; the specification is hone/op.h.
 */
#include "reference.h"

#include <hone/host_memory.h>
#include <hone/plugin.h>

#include <stdlib.h>

static const struct ref_op *const families[] = {ref_ops_product, ref_ops_elementwise, ref_ops_norm,
	ref_ops_rope, ref_ops_attention, ref_ops_rows, ref_ops_segment, ref_ops_reduce,
	ref_ops_loss, ref_ops_random, ref_ops_shape, ref_ops_optimizer, ref_ops_storage};
#define N_FAMILIES (sizeof families / sizeof families[0])

/* Buffers that this device allocated; an imported one is the caller's. */
struct device {
	void **owned;
	size_t n_owned, capacity;
};

#define ALIGNMENT 64

/* ---- device ---- */

static enum hone_status
device_count(const void *self, uint32_t *n, struct hone_error *err)
{
	(void)self;
	(void)err;
	*n = 1;
	return HONE_OK;
}

static enum hone_status
device_info(const void *self, uint32_t i, struct hone_device_info *out, struct hone_error *err)
{
	struct hone_device_info info = {.struct_size = (uint32_t)sizeof info,
		.flags = HONE_DEVICE_HOST_MEMORY | HONE_DEVICE_DETERMINISTIC,
		.name = "reference (scalar, double sums)",
		.kernel_path = "scalar",
		.max_buffer_bytes = INT64_MAX,
		.alignment = ALIGNMENT};

	(void)self;
	if (i != 0)
		return hone_fail(err, HONE_EINVAL, "reference has one device, not %u", i + 1);
	if (out->struct_size < info.struct_size)
		info.struct_size = out->struct_size;
	memcpy(out, &info, info.struct_size);
	return HONE_OK;
}

static enum hone_status
device_open(const void *self, uint32_t i, void **device, struct hone_error *err)
{
	struct device *d;

	(void)self;
	if (i != 0)
		return hone_fail(err, HONE_EINVAL, "reference has one device, not %u", i + 1);
	d = calloc(1, sizeof *d);
	if (!d)
		return hone_fail(err, HONE_ENOMEM, "no memory for a device");
	*device = d;
	return HONE_OK;
}

static void
device_close(void *device)
{
	struct device *d = device;

	if (!d)
		return;
	for (size_t i = 0; i < d->n_owned; i++)
		free(d->owned[i]);
	free(d->owned);
	free(d);
}

/* ---- buffers ---- */

static enum hone_status
buffer_create(void *device, uint64_t bytes, hone_buffer *out, struct hone_error *err)
{
	struct device *d = device;
	void *memory = NULL;

	if (d->n_owned == d->capacity) {
		const size_t capacity = d->capacity ? 2 * d->capacity : 16;
		void **owned = realloc(d->owned, capacity * sizeof *owned);

		if (!owned)
			return hone_fail(err, HONE_ENOMEM, "no memory for a buffer's record");
		d->owned = owned;
		d->capacity = capacity;
	}
	if (bytes <= PTRDIFF_MAX - ALIGNMENT)
		memory = aligned_alloc(
			ALIGNMENT, (size_t)(bytes + ALIGNMENT) & ~(size_t)(ALIGNMENT - 1));
	if (!memory)
		return hone_fail(err, HONE_ENOMEM, "no memory for a buffer of %llu bytes",
			(unsigned long long)bytes);
	d->owned[d->n_owned++] = memory;
	*out = memory;
	return HONE_OK;
}

static void
buffer_destroy(void *device, hone_buffer buffer)
{
	struct device *d = device;

	for (size_t i = 0; buffer && i < d->n_owned; i++)
		if (d->owned[i] == buffer) {
			free(buffer);
			d->owned[i] = d->owned[--d->n_owned];
			return;
		}
}

/* ---- commands ---- */

static const struct ref_op *
find(uint32_t op)
{
	for (size_t i = 0; op && i < N_FAMILIES; i++)
		for (const struct ref_op *known = families[i]; known->op; known++)
			if (known->op == op)
				return known;
	return NULL;
}

static enum hone_status
check_operand(const struct hone_operand *o, const char *which, uint32_t i, bool may_be_stored,
	struct hone_error *err)
{
	if (o->rank > HONE_MAX_RANK)
		return hone_fail(err, HONE_EUNSUPPORTED, "%s %u has rank %u", which, i, o->rank);
	if (o->storage)
		return may_be_stored
			? HONE_OK
			: hone_fail(err, HONE_EUNSUPPORTED,
				  "%s %u is a stored weight, which has to be decoded first", which,
				  i);
	if (o->rank && !hone_dtype_bytes(o->dtype))
		return hone_fail(err, HONE_EUNSUPPORTED, "%s %u has the unknown type %d", which, i,
			o->dtype);
	return HONE_OK;
}

static enum hone_status
check_operands(const struct ref_op *known, const struct hone_command *c, struct hone_error *err)
{
	static const uint32_t stored[] = {REF_STORED_0, REF_STORED_1};

	for (uint32_t i = 0; i < c->n_in; i++) {
		const bool may = i < 2 && (known->flags & stored[i]);
		const enum hone_status st = check_operand(&c->in[i], "input", i, may, err);

		if (st != HONE_OK)
			return st;
		if (!c->in[i].rank && i < known->n_in_min)
			return hone_fail(err, HONE_EUNSUPPORTED, "input %u is absent", i);
	}
	for (uint32_t i = 0; i < c->n_out; i++) {
		const enum hone_status st = check_operand(&c->out[i], "output", i, false, err);

		if (st != HONE_OK)
			return st;
		if (!c->out[i].rank)
			return hone_fail(err, HONE_EUNSUPPORTED, "output %u is absent", i);
	}
	return HONE_OK;
}

static enum hone_status
supports(void *device, const struct hone_command *c, struct hone_error *err)
{
	const struct ref_op *known = find(c->op);
	enum hone_status st;

	(void)device;
	if (!known)
		return hone_fail(
			err, HONE_EUNSUPPORTED, "reference does not know operation %u", c->op);
	if (c->attr_size != known->attr_size)
		return hone_fail(err, HONE_EUNSUPPORTED,
			"reference knows %u bytes of attributes of operation %u, not %u",
			known->attr_size, c->op, c->attr_size);
	if (c->n_in < known->n_in_min || c->n_in > known->n_in_max || c->n_out < known->n_out_min ||
		c->n_out > known->n_out_max)
		return hone_fail(err, HONE_EUNSUPPORTED,
			"reference does not know operation %u with %u inputs and %u outputs", c->op,
			c->n_in, c->n_out);
	if (c->flags & ~(uint32_t)(known->flags & REF_ACCUMULATES ? HONE_COMMAND_ACCUMULATE : 0))
		return hone_fail(err, HONE_EUNSUPPORTED,
			"operation %u does not add to its output (flags %u)", c->op, c->flags);
	st = check_operands(known, c, err);
	return st == HONE_OK && known->check ? known->check(c, err) : st;
}

static void
open_tensor(const struct hone_operand *o, const struct hone_run *run, struct ref_tensor *t)
{
	memset(t, 0, sizeof *t);
	t->operand = o;
	if (!o->rank)
		return;
	t->data = hone_operand_host(o, run);
	t->dtype = o->storage ? HONE_DTYPE_NONE : o->dtype;
	t->rows = hone_operand_rows(o, run);
	t->cols = hone_operand_row_elems(o);
}

static enum hone_status
run_command(const struct hone_command *c, const struct hone_run *run, struct hone_error *err)
{
	const struct ref_op *known = find(c->op);
	struct ref_call call = {.command = c, .run = run, .n_in = c->n_in, .n_out = c->n_out};
	enum hone_status st;

	if (!known || c->n_in > REF_MAX_IN || c->n_out > REF_MAX_OUT)
		return hone_fail(err, HONE_EBUG,
			"operation %u was submitted without asking supports", c->op);
	for (uint32_t i = 0; i < c->n_in; i++)
		open_tensor(&c->in[i], run, &call.in[i]);
	for (uint32_t i = 0; i < c->n_out; i++)
		open_tensor(&c->out[i], run, &call.out[i]);
	st = known->kernel(&call, err);
	if (st != HONE_OK && c->name)
		hone_error_while(err, "computing %s", c->name);
	return st;
}

static enum hone_status
submit(void *device, const struct hone_command *commands, uint32_t n, uint32_t stride,
	const struct hone_run *run, struct hone_error *err)
{
	const uint8_t *at = (const uint8_t *)commands;
	enum hone_status st = HONE_OK;

	(void)device;
	for (uint32_t i = 0; i < n && st == HONE_OK; i++)
		st = run_command((const void *)(at + (size_t)i * stride), run, err);
	return st;
}

/* ---- the plugin ---- */

static const struct hone_backend_vt backend = {
	.struct_size = (uint32_t)sizeof(struct hone_backend_vt),
	.device_count = device_count,
	.device_info = device_info,
	.open = device_open,
	.close = device_close,
	.supports = supports,
	.buffer_create = buffer_create,
	.buffer_import = hone_host_import,
	.buffer_destroy = buffer_destroy,
	.upload = hone_host_upload,
	.download = hone_host_download,
	.submit = submit,
	.wait = hone_host_wait,
};

static const struct hone_factory factory = {
	.struct_size = (uint32_t)sizeof(struct hone_factory),
	.role = HONE_ROLE_BACKEND,
	.name = "reference",
	.summary = "scalar, accumulating in double: defines what is right",
	.vt = &backend,
};

static const struct hone_factory *const factories[] = {&factory};
HONE_PLUGIN(reference, "0.1.0", "Apache-2.0", factories);
