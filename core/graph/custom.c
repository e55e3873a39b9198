/*
 * custom.c - a plugin's op as a graph's op, and the device that runs it.
 *
 * To a graph the op is one more entry of the op list: flags, shape rule and backward are small
 * functions that hand over to the plugin and check what comes back.  To a program it is a
 * command that the device of this file runs itself: that device stands in front of a backend
 * whose memory the host can address, and passes everything else on.
 */
#include <string.h>

#include <hone/plugin.h>

#include "base/crash.h"
#include "graph/build_state.h"
#include "graph/custom.h"

/* ---- for graphs ---- */

const struct hn_op *
hn_op_of(const struct hn_graph *graph, uint32_t op)
{
	const uint32_t i = op - HONE_OP_CUSTOM;

	if (op < HONE_OP_CUSTOM)
		return hn_op_find(op);
	return graph->custom && i < graph->custom->n ? &graph->custom->list[i].op : NULL;
}

/* What a plugin's shape rule sees of a value. */
static void
to_public(const struct hn_value *value, struct hone_value *out)
{
	*out = (struct hone_value){.struct_size = sizeof *out,
		.dtype = value->dtype,
		.rank = value->rank,
		.space = {value->space}};
	memcpy(out->dim, value->dim, sizeof out->dim);
}

/* A shape as a plugin gave it: types and row spaces that exist, sizes above 0. */
static bool
from_public(struct hn_infer *infer, const struct hone_value *value, struct hn_value *out)
{
	bool is_sound = value->rank > 0 && value->rank <= HONE_MAX_RANK &&
		hone_dtype_bytes(value->dtype) > 0 && value->space.id < infer->graph->n_spaces;

	*out = (struct hn_value){
		.dtype = value->dtype, .rank = value->rank, .space = value->space.id};
	for (uint32_t i = 0; is_sound && i < value->rank; i++) {
		out->dim[i] = value->dim[i];
		is_sound = value->dim[i] > 0;
	}
	if (is_sound && out->space)
		out->dim[0] = infer->graph->spaces[out->space].capacity;
	return is_sound || hn_infer_fail(infer, "the plugin gives no shape for a result");
}

/* The plugin's shape rule, between two translations. */
static bool
infer_custom(struct hn_infer *infer)
{
	const struct hn_custom_op *custom = &infer->graph->custom->list[infer->op - HONE_OP_CUSTOM];
	struct hone_value in[HN_MAX_IN], out[HN_MAX_OUT];
	struct hone_error err = {0};
	struct hn_call call;
	enum hone_status st;

	memset(in, 0, sizeof in);
	memset(out, 0, sizeof out);
	for (uint32_t i = 0; i < infer->n_in; i++)
		if (infer->in[i])
			to_public(infer->in[i], &in[i]);
	hn_call_begin(&call, custom->who, "infer", infer->graph->where);
	st = custom->vt->infer(custom->self, infer->n_in, in, infer->attr, out, &err);
	hn_call_end(&call);
	if (st && err.text[0]) /* whoever put these operands in is to blame */
		return hn_infer_fail(infer, "%s", err.text);
	for (uint32_t i = 0; i < infer->n_out && !st; i++)
		if (!from_public(infer, &out[i], &infer->out[i]))
			st = HONE_EPLUGIN;
	if (st)
		hn_graph_blame(infer->graph, st, &err, custom->who, "infer", NULL);
	return !st;
}

/* A gradient is as large as its operand, of its rows, and of its type or of the parameters'. */
static bool
is_gradient_of(const struct hn_graph *graph, const struct hn_value *dx, const struct hn_value *x)
{
	return dx->space == x->space && dx->rank == x->rank &&
		memcmp(dx->dim, x->dim, x->rank * sizeof x->dim[0]) == 0 &&
		(dx->dtype == x->dtype || dx->dtype == graph->stat);
}

/* What a backward gave for an operand that was asked for.  None is an answer only where a result
 * has no cotangent: the others may not depend on this operand. */
static void
check_dx(const struct hn_gradient *grad, uint32_t i, bool has_all_dy)
{
	struct hn_graph *graph = grad->graph;
	const uint32_t id = grad->dx[i].id;
	const struct hn_value *x = hn_graph_value(graph, grad->in[i].id);
	struct hn_str is = {0}, wanted = {0};

	if (graph->error.status || (!id && !has_all_dy))
		return;
	hn_value_print(graph, x, &wanted);
	if (!id) {
		hn_graph_fail(graph, HONE_EPLUGIN,
			"dx[%u] is wanted and comes back as none, not %s", i, wanted.text);
	} else if (id >= graph->n_values) {
		hn_graph_fail(graph, HONE_EPLUGIN,
			"dx[%u] comes back as no node of this graph, not %s", i, wanted.text);
	} else if (!is_gradient_of(graph, hn_graph_value(graph, id), x)) {
		hn_value_print(graph, hn_graph_value(graph, id), &is);
		hn_graph_fail(graph, HONE_EPLUGIN, "dx[%u] comes back as %s, not %s", i, is.text,
			wanted.text);
	}
	hn_str_fini(&is);
	hn_str_fini(&wanted);
}

static void
check_gradients(const struct hn_gradient *grad)
{
	bool has_all_dy = true;

	for (uint32_t i = 0; i < grad->node->n_out; i++)
		has_all_dy &= grad->dy[i].id != 0;
	for (uint32_t i = 0; i < grad->node->n_in; i++)
		if (grad->wants[i])
			check_dx(grad, i, has_all_dy);
}

/* The plugin appends nodes like any backward; only the struct it fills is another. */
static void
backward_custom(struct hn_gradient *grad)
{
	const struct hn_custom_op *custom =
		&grad->graph->custom->list[grad->node->op - HONE_OP_CUSTOM];
	uint8_t wants[HN_MAX_IN];
	struct hone_error err = {0};
	struct hone_custom_gradient given = {.struct_size = sizeof given,
		.n_in = grad->node->n_in,
		.n_out = grad->node->n_out,
		.attr_size = grad->node->attr_size,
		.attr = grad->node->attr,
		.in = grad->in,
		.out = grad->out,
		.dy = grad->dy,
		.wants = wants,
		.dx = grad->dx};
	struct hn_call call;
	enum hone_status st;

	for (uint32_t i = 0; i < HN_MAX_IN; i++)
		wants[i] = grad->wants[i];
	hn_call_begin(&call, custom->who, "backward", grad->graph->where);
	st = custom->vt->backward(custom->self, &grad->graph->base, &given, &err);
	hn_call_end(&call);
	if (!st)
		check_gradients(grad);
	hn_graph_blame(grad->graph, st, &err, custom->who, "backward", NULL);
}

enum hone_status
hn_custom_ops_add(struct hn_custom_ops *ops, const char *plugin, const char *name,
	const struct hone_op_vt *vt, const void *self, struct hone_error *err)
{
	struct hn_custom_op *custom = &ops->list[ops->n];
	const char *slash = plugin ? strrchr(plugin, '/') : NULL;
	const char *file = slash ? slash + 1 : plugin;

	for (uint32_t i = 0; i < ops->n; i++)
		if (hn_streq(ops->list[i].name, name))
			return hone_fail(err, HONE_EPLUGIN, "op '%s' is there twice", name);
	if (ops->n == HN_MAX_CUSTOM_OPS || vt->max_in > HN_MAX_IN || vt->n_out == 0 ||
		vt->n_out > HN_MAX_OUT || vt->min_in > vt->max_in || vt->min_in == 0)
		return hone_fail(err, HONE_EPLUGIN,
			"op '%s': %u to %u operands and %u results are not possible", name,
			vt->min_in, vt->max_in, vt->n_out);
	*custom = (struct hn_custom_op){.name = name, .vt = vt, .self = self};
	(void)snprintf(custom->who, sizeof custom->who, "%.80s%s%.64s", file ? file : "",
		file ? ": " : "", name);
	custom->op = (struct hn_op){.op = HONE_OP_CUSTOM + ops->n,
		.name = name,
		.flags = (vt->flags & HONE_CUSTOM_OP_ROW_LOCAL ? HN_OP_ROW_LOCAL : 0u) |
			(vt->flags & HONE_CUSTOM_OP_PURE ? HN_OP_PURE : 0u),
		.attr_size = vt->attr_size,
		.min_in = vt->min_in,
		.max_in = vt->max_in,
		.n_out = vt->n_out,
		.in_place = -1,
		.infer = infer_custom,
		.backward = HONE_HAS(vt, struct hone_op_vt, backward) ? backward_custom : NULL};
	ops->n++;
	return HONE_OK;
}

/* ---- the device ----
 *
 * The functions below that only pass on have the contracts of hone/backend.h. */

/* The backend behind this device. */
static const struct hn_device *
inner_of(void *device)
{
	return &((struct hn_custom_ops *)device)->inner;
}

/* A plugin's op runs in host memory, always; all else is the backend's to answer. */
static enum hone_status
supports(void *device, const struct hone_command *command, struct hone_error *err)
{
	const struct hn_device *inner = inner_of(device);

	if (command->op >= HONE_OP_CUSTOM)
		return HONE_OK;
	return inner->vt->supports(inner->device, command, err);
}

/* A plugin's kernel.  What it says when it fails gets its name, and the site as the place. */
static enum hone_status
run_custom(const struct hn_custom_op *custom, const struct hone_command *command,
	const struct hone_run *run, struct hone_error *err)
{
	struct hone_error why = {0};
	struct hn_call call;
	enum hone_status st;

	hn_call_begin(&call, custom->who, "run", command->name);
	st = custom->vt->run(custom->self, command, run, &why);
	hn_call_end(&call);
	if (!st)
		return HONE_OK;
	if (!why.text[0]) {
		(void)hone_fail(err, HONE_EPLUGIN, "[%s] run(): " HN_NO_WORD, custom->who, (int)st);
		st = HONE_EPLUGIN;
	} else {
		(void)hone_fail(err, st, "[%s] run(): %.400s", custom->who, why.text);
	}
	if (err && command->name)
		(void)snprintf(err->place, sizeof err->place, "%s", command->name);
	return st;
}

/* Commands one by one, because a kernel of a plugin may stand between any two. Buffers
 * are the backend's, in memory that the host can address. */
static enum hone_status
submit(void *device, const struct hone_command *commands, uint32_t n, uint32_t stride,
	const struct hone_run *run, struct hone_error *err)
{
	const struct hn_custom_ops *ops = device;
	enum hone_status st = HONE_OK;

	for (uint32_t i = 0; i < n && !st; i++) {
		const struct hone_command *command =
			(const void *)((const uint8_t *)commands + (size_t)i * stride);

		if (command->op < HONE_OP_CUSTOM) {
			st = ops->inner.vt->submit(ops->inner.device, command, 1, stride, run, err);
		} else {
			st = run_custom(
				&ops->list[command->op - HONE_OP_CUSTOM], command, run, err);
		}
	}
	return st;
}

static enum hone_status
buffer_create(void *device, uint64_t bytes, hone_buffer *out, struct hone_error *err)
{
	return inner_of(device)->vt->buffer_create(inner_of(device)->device, bytes, out, err);
}

static enum hone_status
buffer_import(void *device, void *memory, uint64_t bytes, hone_buffer *out, struct hone_error *err)
{
	const struct hn_device *inner = inner_of(device);

	return inner->vt->buffer_import(inner->device, memory, bytes, out, err);
}

static void
buffer_destroy(void *device, hone_buffer buffer)
{
	inner_of(device)->vt->buffer_destroy(inner_of(device)->device, buffer);
}

static enum hone_status
upload(void *device, hone_buffer buffer, uint64_t offset, const void *from, uint64_t bytes,
	struct hone_error *err)
{
	const struct hn_device *inner = inner_of(device);

	return inner->vt->upload(inner->device, buffer, offset, from, bytes, err);
}

static enum hone_status
download(void *device, hone_buffer buffer, uint64_t offset, void *to, uint64_t bytes,
	struct hone_error *err)
{
	const struct hn_device *inner = inner_of(device);

	return inner->vt->download(inner->device, buffer, offset, to, bytes, err);
}

static enum hone_status
wait_done(void *device, struct hone_error *err)
{
	return inner_of(device)->vt->wait(inner_of(device)->device, err);
}

static void
close_inner(void *device)
{
	inner_of(device)->vt->close(inner_of(device)->device);
}

static uint64_t
scratch_bytes(void *device, const struct hone_command *commands, uint32_t n, uint32_t stride,
	const struct hone_run *run)
{
	const struct hn_device *inner = inner_of(device);

	return hn_device_scratch(inner, commands, n, stride, run);
}

static const struct hone_backend_vt device_vt = {
	.struct_size = sizeof device_vt,
	.close = close_inner,
	.supports = supports,
	.buffer_create = buffer_create,
	.buffer_import = buffer_import,
	.buffer_destroy = buffer_destroy,
	.upload = upload,
	.download = download,
	.submit = submit,
	.wait = wait_done,
	.scratch_bytes = scratch_bytes,
};

struct hn_device
hn_custom_device(struct hn_custom_ops *ops, const struct hn_device *inner)
{
	ops->inner = *inner;
	return (struct hn_device){&device_vt, ops, inner->name};
}
