/*
 * support/ops.c - see ops.h.
 *
 * The block of a run, all of it 0xFF at first:
 *
 *     guard | operand | guard | operand | ... | guard
 *
 * Each operand begins at the device's alignment; a guard is at least GUARD bytes, and what
 * the alignment leaves over belongs to it.  Only live elements of inputs (and of outputs that
 * are added to) are written before the run.  Afterwards every byte that is not a live
 * element of an output must be what it was.
 */
#include "instance.h"
#include "ops.h"

#include <hone/random.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 256

extern const struct hone_plugin hone_plugin_v1_reference;

bool
ops_say(char why[OPS_WHY], const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(why, OPS_WHY, fmt, args);
	va_end(args);
	return false;
}

/* ---- devices ---- */

bool
ops_open(const struct hone_plugin *plugin, const struct hone_host *host, const void *values,
	struct ops_device *out, char why[OPS_WHY])
{
	const struct hone_instance_info info = {.struct_size = sizeof info, .section = plugin->id};
	struct hone_device_info facts = {.struct_size = sizeof facts};
	struct hone_error err = {0};

	memset(out, 0, sizeof *out);
	for (uint32_t i = 0; i < plugin->n_factories && !out->factory; i++)
		if (!strcmp(plugin->factories[i]->role, HONE_ROLE_BACKEND))
			out->factory = plugin->factories[i];
	if (!out->factory)
		return ops_say(why, "%s has no backend", plugin->id);
	out->vt = out->factory->vt;
	if (instance_make(out->factory, host, &info, values, &out->self, &err) != HONE_OK)
		return ops_say(why, "create: %s", err.text);
	if (out->vt->device_info(out->self, 0, &facts, &err) != HONE_OK ||
		out->vt->open(out->self, 0, &out->device, &err) != HONE_OK) {
		instance_free(out->factory, out->self);
		return ops_say(why, "open: %s", err.text);
	}
	out->alignment = facts.alignment ? facts.alignment : 1;
	return true;
}

bool
ops_open_reference(struct ops_device *out)
{
	char why[OPS_WHY];

	return ops_open(&hone_plugin_v1_reference, NULL, NULL, out, why);
}

void
ops_close(struct ops_device *device)
{
	device->vt->close(device->device);
	instance_free(device->factory, device->self);
	memset(device, 0, sizeof *device);
}

/* ---- elements ---- */

int32_t
ops_dtype(int32_t dtype, int32_t compute)
{
	if (dtype == OPS_COMPUTE)
		return compute;
	if (dtype == OPS_STAT)
		return compute == HONE_DTYPE_F64 ? HONE_DTYPE_F64 : HONE_DTYPE_F32;
	return dtype;
}

/* The bits of the nearest binary16 of a number, ties to even. */
static uint16_t
f16_bits(double v)
{
	const uint16_t sign = signbit(v) ? 0x8000u : 0;
	const double size = fabs(v);
	int exponent = 0;

	if (isnan(v))
		return 0x7e00u;
	if (size >= 65520.0)
		return (uint16_t)(sign | 0x7c00u);
	(void)frexp(size, &exponent); /* size = [0.5, 1) 2^exponent */
	if (exponent < -13 || size == 0)
		exponent = -13;
	/* In units of the last place the number is whole; a carry moves into the exponent. */
	const uint32_t units = (uint32_t)rint(ldexp(size, 11 - exponent));
	return (uint16_t)(sign | ((uint32_t)(exponent + 13) * 1024u + units));
}

/* The nearest number with the 8 digits of bf16, ties to even; one rounding, not two. */
static float
bf16_nearest(double v)
{
	int exponent = 0;

	if (!isfinite(v))
		return (float)v;
	(void)frexp(v, &exponent);
	if (exponent < -125)
		exponent = -125;
	return (float)ldexp(rint(ldexp(v, 8 - exponent)), exponent - 8);
}

static void
put(uint8_t *at, int32_t dtype, double v)
{
	const float f = (float)v;
	uint16_t h;
	int32_t i;

	switch (dtype) {
	case HONE_DTYPE_F32:
		memcpy(at, &f, sizeof f);
		break;
	case HONE_DTYPE_BF16:
		h = hone_bf16_from_f32(bf16_nearest(v));
		memcpy(at, &h, sizeof h);
		break;
	case HONE_DTYPE_F16:
		h = f16_bits(v);
		memcpy(at, &h, sizeof h);
		break;
	case HONE_DTYPE_I32:
		i = fabs(v) < 2147483648.0 ? (int32_t)v : INT32_MIN;
		memcpy(at, &i, sizeof i);
		break;
	case HONE_DTYPE_U8:
		*at = v > -1 && v < 256 ? (uint8_t)v : 0;
		break;
	default:
		memcpy(at, &v, sizeof v);
	}
}

static double
get(const uint8_t *at, int32_t dtype)
{
	float f;
	double d;
	uint16_t h;
	int32_t i;

	switch (dtype) {
	case HONE_DTYPE_F32:
		memcpy(&f, at, sizeof f);
		return (double)f;
	case HONE_DTYPE_BF16:
		memcpy(&h, at, sizeof h);
		return (double)hone_bf16_to_f32(h);
	case HONE_DTYPE_F16:
		memcpy(&h, at, sizeof h);
		return (double)hone_f16_to_f32(h);
	case HONE_DTYPE_I32:
		memcpy(&i, at, sizeof i);
		return (double)i;
	case HONE_DTYPE_U8:
		return (double)*at;
	default:
		memcpy(&d, at, sizeof d);
		return d;
	}
}

double
ops_round(int32_t dtype, double v)
{
	uint8_t at[8];

	put(at, dtype, v);
	return get(at, dtype);
}

/* ---- shapes ---- */

static int64_t
row_elems(const struct ops_operand *o)
{
	int64_t n = 1;

	for (uint32_t i = 1; i < o->rank; i++)
		n *= o->dim[i];
	return n;
}

static int64_t
capacity(const struct ops_operand *o)
{
	return o->rank ? o->dim[0] * row_elems(o) : 0;
}

/* Elements before the first live one, and live elements. */
static int64_t
first_elem(const struct ops_case *c, const struct ops_operand *o)
{
	return o->space && (o->flags & HONE_OPERAND_WINDOW) ? c->begin[o->space] * row_elems(o) : 0;
}

static int64_t
live_elems(const struct ops_case *c, const struct ops_operand *o)
{
	return o->rank && o->space ? c->live[o->space] * row_elems(o) : capacity(o);
}

/* ---- numbers ---- */

static double
uniform(const struct ops_case *c, uint32_t which, int64_t i, int half)
{
	uint32_t four[4];

	hone_random_draw(c->seed + c->op, which, (uint64_t)i, 0, four);
	return ((double)four[half] + 0.5) / 4294967296.0;
}

static double
fill_value(const struct ops_case *c, const struct ops_operand *o, uint32_t which, int64_t i)
{
	const double u = uniform(c, which, i, 0);

	switch (o->fill) {
	case OPS_FILL_UNIFORM:
		return o->a + (o->b - o->a) * u;
	case OPS_FILL_INTEGER:
		return floor(o->a + (o->b - o->a) * u);
	case OPS_FILL_IOTA:
		return o->a + o->b * (double)i;
	case OPS_FILL_CONST:
		return o->a;
	case OPS_FILL_LIST:
		return i < o->n_list ? (double)o->list[i] : -1;
	default:
		return o->b +
			(o->a != 0 ? o->a : 1) * sqrt(-2 * log(u)) *
			cos(6.283185307179586 * uniform(c, which, i, 1));
	}
}

static bool
fill(const struct ops_case *c, const struct ops_operand *o, uint32_t which, int32_t compute,
	double **values, int64_t *n)
{
	const int32_t dtype = ops_dtype(o->dtype, compute);

	*n = o->storage ? 0 : live_elems(c, o);
	*values = calloc((size_t)*n + 1, sizeof **values);
	if (!*values)
		return false;
	for (int64_t i = 0; i < *n; i++)
		(*values)[i] = ops_round(dtype, fill_value(c, o, which, i));
	return true;
}

/* Runs the forward operation on the reference and takes over what the case asks for. */
static bool
run_forward(struct ops_data *data, const struct ops_case *c, int32_t compute)
{
	const struct ops_forward *f = &c->forward;
	struct ops_case fc = *c;
	struct ops_data fd;
	struct ops_device reference;
	char why[OPS_WHY];
	bool ok;

	fc.op = f->op;
	fc.flags = 0;
	fc.attr_size = f->attr_size;
	fc.n_in = 0;
	fc.forward.op = 0;
	while (fc.n_in < OPS_IN && f->in[fc.n_in]) {
		fc.in[fc.n_in] = c->in[f->in[fc.n_in] - 1];
		fc.n_in++;
	}
	fc.n_out = f->n_out;
	memcpy(fc.out, f->out, sizeof f->out);
	ok = ops_open_reference(&reference) && ops_data_init(&fd, &fc, compute);
	if (!ok)
		return false;
	for (uint32_t i = 0; i < fc.n_in; i++)
		memcpy(fd.in[i], data->in[f->in[i] - 1], (size_t)fd.n_in_elems[i] * sizeof(double));
	ok = ops_run(&reference, &fc, compute, &fd, why);
	for (uint32_t i = 0; ok && i < f->n_out; i++)
		if (f->to[i])
			memcpy(data->in[f->to[i] - 1], fd.out[i],
				(size_t)fd.n_out_elems[i] * sizeof(double));
	ops_data_fini(&fd);
	ops_close(&reference);
	return ok;
}

bool
ops_data_init(struct ops_data *data, const struct ops_case *c, int32_t compute)
{
	bool ok = true;

	memset(data, 0, sizeof *data);
	data->n_in = c->n_in;
	data->n_out = c->n_out;
	for (uint32_t i = 0; ok && i < c->n_in; i++)
		ok = fill(c, &c->in[i], i, compute, &data->in[i], &data->n_in_elems[i]);
	for (uint32_t i = 0; ok && i < c->n_out; i++)
		ok = fill(c, &c->out[i], 100 + i, compute, &data->out[i], &data->n_out_elems[i]);
	if (ok && c->forward.op)
		ok = run_forward(data, c, compute);
	if (!ok)
		ops_data_fini(data);
	return ok;
}

void
ops_data_fini(struct ops_data *data)
{
	for (uint32_t i = 0; i < OPS_IN; i++)
		free(data->in[i]);
	for (uint32_t i = 0; i < OPS_OUT; i++)
		free(data->out[i]);
	memset(data, 0, sizeof *data);
}

/* ---- one run ---- */

/* A command with its operands, and the block that they lie in. */
struct packed {
	struct hone_command command;
	struct hone_operand in[OPS_IN], out[OPS_OUT];
	uint64_t parts[OPS_IN][OPS_PARTS];
	struct hone_run run;
	uint64_t bytes;
	uint8_t *before, *after, *may_change; /* [bytes] */
};

static void
packed_fini(struct packed *p)
{
	free(p->before);
	free(p->after);
	free(p->may_change);
}

static void
place(struct packed *p, const struct ops_operand *from, struct hone_operand *to, int32_t compute,
	uint64_t alignment)
{
	*to = (struct hone_operand){.dtype = ops_dtype(from->dtype, compute),
		.rank = from->rank,
		.space = from->space,
		.flags = from->flags,
		.storage = from->storage,
		.storage_self = from->storage_self};
	memcpy(to->dim, from->dim, sizeof to->dim);
	if (from->storage)
		to->dtype = HONE_DTYPE_NONE;
	if (!from->rank)
		return;
	p->bytes = (p->bytes + alignment - 1) / alignment * alignment;
	to->offset = p->bytes;
	p->bytes += from->storage ? (uint64_t)from->n_bytes
				  : (uint64_t)(capacity(from) * hone_dtype_bytes(to->dtype));
	p->bytes += GUARD;
}

/* The live elements of the inputs, and the bytes of stored weights. */
static void
write_inputs(struct packed *p, const struct ops_case *c, const struct ops_data *data)
{
	for (uint32_t i = 0; i < c->n_in; i++) {
		const struct ops_operand *o = &c->in[i];
		const uint64_t size = (uint64_t)hone_dtype_bytes(p->in[i].dtype);
		uint8_t *at = p->before + p->in[i].offset + (uint64_t)first_elem(c, o) * size;

		if (o->storage) {
			memcpy(p->before + p->in[i].offset, o->bytes, (size_t)o->n_bytes);
			for (uint32_t k = 1; k < o->n_parts; k++)
				p->parts[i][k - 1] = p->in[i].offset + o->part_begin[k];
			p->in[i].part_offset = o->n_parts > 1 ? p->parts[i] : NULL;
		}
		for (int64_t k = 0; k < data->n_in_elems[i]; k++)
			put(at + (uint64_t)k * size, p->in[i].dtype, data->in[i][k]);
	}
}

/* Marks what a run may change, and writes what it adds to. */
static void
write_outputs(struct packed *p, const struct ops_case *c, const struct ops_data *data)
{
	for (uint32_t i = 0; i < c->n_out; i++) {
		const struct ops_operand *o = &c->out[i];
		const uint64_t size = (uint64_t)hone_dtype_bytes(p->out[i].dtype);
		const uint64_t begin = p->out[i].offset + (uint64_t)first_elem(c, o) * size;

		memset(p->may_change + begin, 1, (size_t)live_elems(c, o) * size);
		if (c->flags & HONE_COMMAND_ACCUMULATE)
			for (int64_t k = 0; k < data->n_out_elems[i]; k++)
				put(p->before + begin + (uint64_t)k * size, p->out[i].dtype,
					data->out[i][k]);
	}
}

/* Lays the operands out and writes what is known before the run. */
static bool
pack(struct packed *p, const struct ops_device *device, const struct ops_case *c, int32_t compute,
	const struct ops_data *data)
{
	memset(p, 0, sizeof *p);
	p->bytes = GUARD;
	for (uint32_t i = 0; i < c->n_in; i++)
		place(p, &c->in[i], &p->in[i], compute, device->alignment);
	for (uint32_t i = 0; i < c->n_out; i++) {
		if (c->out[i].alias) {
			p->out[i] = p->in[c->out[i].alias - 1];
			p->out[i].dtype = ops_dtype(c->out[i].dtype, compute);
		} else {
			place(p, &c->out[i], &p->out[i], compute, device->alignment);
		}
	}
	p->before = malloc(p->bytes);
	p->after = malloc(p->bytes);
	p->may_change = calloc(p->bytes, 1);
	if (!p->before || !p->after || !p->may_change)
		return false;
	memset(p->before, 0xFF, p->bytes);
	p->command = (struct hone_command){.op = c->op,
		.flags = c->flags,
		.n_in = c->n_in,
		.n_out = c->n_out,
		.attr_size = c->attr_size,
		.attr = c->attr_size ? &c->attr : NULL,
		.in = p->in,
		.out = p->out,
		.name = c->name};
	p->run = (struct hone_run){.struct_size = sizeof p->run,
		.n_spaces = OPS_SPACES,
		.live = c->live,
		.begin = c->begin,
		.seed = c->seed,
		.step = c->step};
	write_inputs(p, c, data);
	write_outputs(p, c, data);
	return true;
}

/* Which operand a byte lies in or behind, for the message. */
static bool
say_where(const struct packed *p, uint64_t at, char why[OPS_WHY])
{
	const char *kind = "the first guard", *place = "";
	uint32_t which = 0;
	uint64_t nearest = 0;

	for (uint32_t i = 0; i < p->command.n_in; i++)
		if (p->in[i].rank && p->in[i].offset <= at && p->in[i].offset >= nearest) {
			nearest = p->in[i].offset;
			kind = "input";
			which = i;
		}
	for (uint32_t i = 0; i < p->command.n_out; i++)
		if (p->out[i].rank && p->out[i].offset <= at && p->out[i].offset >= nearest) {
			nearest = p->out[i].offset;
			kind = "output";
			which = i;
			place = " (a row that is not live, or the guard behind it)";
		}
	return ops_say(why, "byte %llu of %s %u was written%s", (unsigned long long)(at - nearest),
		kind, which, place);
}

static bool
execute(const struct ops_device *device, struct packed *p, char why[OPS_WHY])
{
	const struct hone_backend_vt *vt = device->vt;
	hone_buffer buffer = NULL;
	struct hone_error err = {0};
	enum hone_status st = vt->supports(device->device, &p->command, &err);

	if (st != HONE_OK)
		return ops_say(why, "not supported: %s", err.text);
	st = vt->buffer_create(device->device, p->bytes, &buffer, &err);
	if (st != HONE_OK)
		return ops_say(why, "buffer: %s", err.text);
	for (uint32_t i = 0; i < p->command.n_in; i++)
		p->in[i].buffer = buffer;
	for (uint32_t i = 0; i < p->command.n_out; i++)
		p->out[i].buffer = buffer;
	st = vt->upload(device->device, buffer, 0, p->before, p->bytes, &err);
	if (st == HONE_OK)
		st = vt->submit(
			device->device, &p->command, 1, (uint32_t)sizeof p->command, &p->run, &err);
	if (st == HONE_OK)
		st = vt->wait(device->device, &err);
	if (st == HONE_OK)
		st = vt->download(device->device, buffer, 0, p->after, p->bytes, &err);
	vt->buffer_destroy(device->device, buffer);
	return st == HONE_OK ? true : ops_say(why, "%s", err.text);
}

bool
ops_run(const struct ops_device *device, const struct ops_case *c, int32_t compute,
	struct ops_data *data, char why[OPS_WHY])
{
	struct packed p;
	bool ok = pack(&p, device, c, compute, data) || ops_say(why, "no memory");

	ok = ok && execute(device, &p, why);
	for (uint64_t i = 0; ok && i < p.bytes; i++)
		if (!p.may_change[i] && p.before[i] != p.after[i])
			ok = say_where(&p, i, why);
	for (uint32_t i = 0; ok && i < c->n_out; i++) {
		const uint64_t size = (uint64_t)hone_dtype_bytes(p.out[i].dtype);
		const uint8_t *at =
			p.after + p.out[i].offset + (uint64_t)first_elem(c, &c->out[i]) * size;

		for (int64_t k = 0; k < data->n_out_elems[i]; k++)
			data->out[i][k] = get(at + (uint64_t)k * size, p.out[i].dtype);
	}
	packed_fini(&p);
	return ok;
}

/* ---- comparison ---- */

static bool
same_kind(double got, double want)
{
	if (isnan(want) || isnan(got))
		return isnan(want) && isnan(got);
	return !isinf(want) || got == want;
}

bool
ops_near(const struct ops_data *got, const struct ops_data *want, const struct ops_case *c,
	double tolerance, char why[OPS_WHY])
{
	const double factor = tolerance * (c->slack > 0 ? c->slack : 1);

	for (uint32_t i = 0; i < want->n_out; i++) {
		double squares = 0;
		int64_t n = 0;

		for (int64_t k = 0; k < want->n_out_elems[i]; k++)
			if (isfinite(want->out[i][k])) {
				squares += want->out[i][k] * want->out[i][k];
				n++;
			}
		const double rms = n ? sqrt(squares / (double)n) : 0;

		for (int64_t k = 0; k < want->n_out_elems[i]; k++) {
			const double g = got->out[i][k], w = want->out[i][k];
			/* Below the smallest normal f32 a device may flush to zero. */
			const double allowed = factor * (fabs(w) + rms) + 1e-37;

			if (!same_kind(g, w) || (isfinite(w) && !(fabs(g - w) <= allowed)))
				return ops_say(why,
					"output %u, element %lld: %.9g, wanted %.9g (+- %.3g)", i,
					(long long)k, g, w, allowed);
		}
	}
	return true;
}

int
ops_setup(void **state)
{
	struct ops_device *device = malloc(sizeof *device);

	*state = device;
	return device && ops_open_reference(device) ? 0 : -1;
}

int
ops_teardown(void **state)
{
	ops_close(*state);
	free(*state);
	return 0;
}
