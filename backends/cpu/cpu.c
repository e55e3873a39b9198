/*
 * cpu.c - the tuned backend for x86-64 processors: the plugin, its device, its commands.
 *
 * One device, the host's memory: buffers are pointers and import costs nothing.  Which
 * kernels run is decided once, when the instance is made: by CPUID, or by [cpu] path, which
 * exists so that tests and measurements can force one.  Paths differ in the last bits, so
 * the path's name is recorded with a run.  Within a path the same bits come out for any
 * number of threads.
 *
 * A command is looked up in the table at the end (op -> function, operands, attributes) and
 * runs on the calling thread and the host's pool, at once or with a later one of the same
 * submission that takes it along (joined.c); wait has nothing to wait for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <hone/host_memory.h>
#include <hone/plugin.h>
#include <hone/storage.h>

#include "cpu.h"
#include "joined.h"
#include "ops.h"
#include "product.h"

#define ALIGNMENT  64
#define HUGE_BYTES (UINT64_C(2) << 20)

#if defined(__SANITIZE_ADDRESS__)
#define HN_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HN_ASAN
#endif
#endif

struct cpu_values {
	int64_t threads; /* read by the host for its pool */
	int32_t path;
};

struct cpu {
	const struct hone_host *host;
	const struct hn_cpu_kernels *k;
};

static const struct hone_option options[] = {
	{.key = "threads",
		.type = HONE_OPTION_I64,
		.flags = HONE_OPTION_RUNTIME,
		.offset = offsetof(struct cpu_values, threads),
		.default_value = "0",
		.min = 0,
		.max = 1024,
		.help = "threads of the process, 0 = one per processor it may use"},
	{.key = "path",
		.type = HONE_OPTION_CHOICE,
		.offset = offsetof(struct cpu_values, path),
		.default_value = "auto",
		.choices = "auto|avx512_bf16|avx512|avx2|portable",
		.help = "kernels to use; auto takes the best this processor has; only avx512_bf16 "
			"has "
			"bf16 products, with the others [train] compute = auto is f32"},
};

static const struct hone_options option_table = {.stride = sizeof(struct hone_option),
	.n = sizeof options / sizeof *options,
	.value_bytes = sizeof(struct cpu_values),
	.options = options};

/* ---- Scratch, pool, operands ---- */

/* Large scratch is aligned to huge pages, which the kernel is asked for: packed panels are
 * walked with strides that would miss the TLB.  The address sanitizer sees one float too few
 * only where nothing is rounded up. */
static uint64_t
alignment_of(uint64_t bytes)
{
#ifdef HN_ASAN
	(void)bytes;
	return 64;
#else
	return bytes >= HUGE_BYTES / 2 ? HUGE_BYTES : 4096;
#endif
}

enum hone_status
cpu_scratch_grow(
	const struct cpu_device *d, struct cpu_scratch *s, uint64_t bytes, struct hone_error *err)
{
	const uint64_t align = alignment_of(bytes);
	uint8_t *memory;

	if (bytes <= s->bytes)
		return HONE_OK;
	bytes = (bytes + align - 1) / align * align;
	if (d->is_probe) {
		s->bytes = bytes;
		return HONE_OK;
	}
	memory = aligned_alloc(align, bytes);
	if (!memory)
		return hone_fail(err, HONE_ENOMEM,
			"the cpu backend has no memory for %llu bytes of scratch",
			(unsigned long long)bytes);
	if (align == HUGE_BYTES)
		(void)madvise(memory, bytes, MADV_HUGEPAGE);
	free(s->memory);
	s->memory = memory;
	s->bytes = bytes;
	return HONE_OK;
}

enum hone_status
cpu_reserve(struct cpu_device *d, uint64_t shared, uint64_t each, struct hone_error *err)
{
	const int32_t n = d->is_probe ? 1 : d->n_workers; /* a probe's one stands for all */
	enum hone_status st = cpu_scratch_grow(d, &d->shared, shared, err);

	for (int32_t i = 0; i < n && st == HONE_OK; i++)
		st = cpu_scratch_grow(d, &d->worker[i], each, err);
	return st;
}

void
cpu_run(struct cpu_device *d, int64_t n, void (*fn)(void *ctx, int64_t i, int32_t worker),
	void *ctx)
{
	if (d->is_probe)
		return;
	if (n > 1 && d->n_workers > 1) {
		d->pool->run(d->host, n, fn, ctx);
		return;
	}
	for (int64_t i = 0; i < n; i++)
		fn(ctx, i, 0);
}

struct cpu_mat
cpu_mat_of(const struct hone_operand *operand, const struct hone_run *run)
{
	struct cpu_mat m = {0};

	if (operand->rank == 0)
		return m;
	m.p = hone_operand_host(operand, run);
	m.dtype = operand->dtype;
	m.rows = hone_operand_rows(operand, run);
	m.cols = hone_operand_row_elems(operand);
	return m;
}

/* ---- Device ---- */

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
	const struct cpu *cpu = self;
	const uint32_t size = out->struct_size;
	struct hone_device_info info = {.struct_size = (uint32_t)sizeof info,
		.flags = HONE_DEVICE_HOST_MEMORY | HONE_DEVICE_DETERMINISTIC,
		.max_buffer_bytes = INT64_MAX,
		.alignment = ALIGNMENT,
		.has_fast_bf16 = (uint32_t)cpu->k->bf16};

	if (i != 0)
		return hone_fail(err, HONE_EINVAL, "cpu has one device, not %u", i + 1);
	(void)snprintf(info.name, sizeof info.name, "this processor (%s)", cpu->k->name);
	(void)snprintf(info.kernel_path, sizeof info.kernel_path, "%s", cpu->k->name);
	memcpy(out, &info, size < sizeof info ? size : sizeof info);
	out->struct_size = size < sizeof info ? size : (uint32_t)sizeof info;
	return HONE_OK;
}

static void
device_close(void *device)
{
	struct cpu_device *d = device;

	if (!d)
		return;
	for (int32_t i = 0; d->worker && i < d->n_workers; i++)
		free(d->worker[i].memory);
	for (size_t i = 0; i < d->n_owned; i++)
		free(d->owned[i]);
	cpu_strips_destroy(d->strips);
	free(d->owned);
	free(d->worker);
	free(d->shared.memory);
	free(d);
}

static enum hone_status
device_open(const void *self, uint32_t i, void **device, struct hone_error *err)
{
	const struct cpu *cpu = self;
	struct cpu_device *d;

	if (i != 0)
		return hone_fail(err, HONE_EINVAL, "cpu has one device, not %u", i + 1);
	d = calloc(1, sizeof *d);
	if (!d)
		return hone_fail(err, HONE_ENOMEM, "no memory for a device");
	d->k = cpu->k;
	d->host = cpu->host;
	d->pool = cpu->host->get_interface(cpu->host, HONE_INTERFACE_POOL);
	d->n_workers = d->pool ? d->pool->threads(d->host) : 1;
	if (d->n_workers < 1)
		d->n_workers = 1;
	d->worker = calloc((size_t)d->n_workers, sizeof *d->worker);
	d->strips = cpu_strips_create();
	if (!d->worker || !d->strips) {
		device_close(d);
		return hone_fail(err, HONE_ENOMEM, "no memory for a device");
	}
	*device = d;
	return HONE_OK;
}

/* Room for one more buffer in the list of those that this device owns. */
static enum hone_status
own_reserve(struct cpu_device *d, struct hone_error *err)
{
	const size_t capacity = d->owned_max ? 2 * d->owned_max : 16;
	void **owned;

	if (d->n_owned < d->owned_max)
		return HONE_OK;
	owned = realloc(d->owned, capacity * sizeof *owned);
	if (!owned)
		return hone_fail(err, HONE_ENOMEM, "no memory for a buffer's record");
	d->owned = owned;
	d->owned_max = capacity;
	return HONE_OK;
}

static enum hone_status
buffer_create(void *device, uint64_t bytes, hone_buffer *out, struct hone_error *err)
{
	struct cpu_device *d = device;
	const uint64_t align = bytes >= HUGE_BYTES ? HUGE_BYTES : ALIGNMENT;
	void *memory = NULL;
	const enum hone_status st = own_reserve(d, err);

	if (st)
		return st;
	if (bytes <= PTRDIFF_MAX - align)
		memory = aligned_alloc(align, (bytes / align + 1) * align);
	if (!memory)
		return hone_fail(err, HONE_ENOMEM, "no memory for a buffer of %llu bytes",
			(unsigned long long)bytes);
	if (align == HUGE_BYTES)
		(void)madvise(memory, (bytes / align + 1) * align, MADV_HUGEPAGE);
	d->owned[d->n_owned++] = memory;
	*out = memory;
	return HONE_OK;
}

/* Imported memory is not in the list and stays the caller's. */
static void
buffer_destroy(void *device, hone_buffer buffer)
{
	struct cpu_device *d = device;

	for (size_t i = 0; buffer && i < d->n_owned; i++) {
		if (d->owned[i] != buffer)
			continue;
		free(buffer);
		d->owned[i] = d->owned[--d->n_owned];
		return;
	}
}

/* ---- Commands ---- */

static enum hone_status
supports(void *device, const struct hone_command *command, struct hone_error *err)
{
	(void)device;
	return cpu_op_check(command, err);
}

static enum hone_status
run_call(const struct cpu_call *call, cpu_op beside, struct hone_error *err)
{
	const cpu_op op = beside ? beside : cpu_op_find(call->c->op);
	enum hone_status st;

	if (!op)
		return hone_fail(err, HONE_EBUG,
			"operation %u was submitted to cpu without asking supports", call->c->op);
	st = op(call, err);
	if (st && call->c->name)
		hone_error_while(err, "computing %s", call->c->name);
	return st;
}

/* What runs a command together with those beside it; NULL = its own operation does. */
static cpu_op
find_beside(const struct cpu_call *call)
{
	if (!call->waiting && cpu_is_packed(call->c, call->run))
		return cpu_product_packed;
	return cpu_is_stack(call->c, call->run) ? cpu_product_stack : NULL;
}

static enum hone_status
submit(void *device, const struct hone_command *commands, uint32_t n, uint32_t stride,
	const struct hone_run *run, struct hone_error *err)
{
	struct cpu_device *d = device;
	const uint8_t *const first = (const uint8_t *)commands;
	const struct hone_command *waiting = NULL;
	uint32_t taken_at = 0; /* by which command, where `waiting` is one */
	uint32_t taken = 0;    /* bit j: command i + j has run already */
	enum hone_status st = HONE_OK;

	for (uint32_t i = 0, n_done; i < n && !st; i += n_done, taken >>= n_done) {
		const uint8_t *at = first + (size_t)i * stride;
		struct cpu_call call = {.d = d,
			.k = d->k,
			.c = (const void *)at,
			.run = run,
			.waiting = waiting,
			.later = at + stride,
			.n_later = n - i - 1,
			.stride = stride,
			.taken = &taken};
		cpu_op beside;

		n_done = 1;
		if (taken & 1)
			continue;
		cpu_strips_yield(&call, call.c);
		beside = find_beside(&call);
		if (beside) {
			st = run_call(&call, beside, err);
			continue;
		}
		n_done = cpu_gate_run(&call);
		if (n_done)
			continue;
		n_done = 1;
		if (!waiting) {
			taken_at = i + cpu_join_find(at, n - i, stride, run);
			if (taken_at > i) {
				waiting = call.c;
				continue;
			}
		} else if (i == taken_at) {
			call.joined = waiting;
			waiting = NULL;
		}
		st = run_call(&call, NULL, err);
	}
	cpu_strips_flush(d);
	return st;
}

/* ---- The plugin ---- */

static enum hone_status
cpu_create(const struct hone_host *host, const struct hone_instance_info *info, const void *values,
	void **self, struct hone_error *err)
{
	static const char *const names[] = {NULL, "avx512_bf16", "avx512", "avx2", "portable"};
	const struct cpu_values *v = values;
	const char *name = v && v->path > 0 && v->path < 5 ? names[v->path] : NULL;
	const struct hn_cpu_kernels *k = cpu_path_find(name);
	struct cpu *cpu;

	(void)info;
	if (!k)
		return hone_fail(err, HONE_EDEVICE,
			"[cpu] path = %s: this processor or its operating system lacks it; use "
			"auto",
			name ? name : "auto");
	cpu = calloc(1, sizeof *cpu);
	if (!cpu)
		return hone_fail(err, HONE_ENOMEM, "no memory for the cpu backend");
	cpu->host = host;
	cpu->k = k;
	*self = cpu;
	return HONE_OK;
}

static void
cpu_destroy(void *self)
{
	free(self);
}

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
	.scratch_bytes = cpu_scratch_bytes,
};

static const struct hone_factory factory = {
	.struct_size = (uint32_t)sizeof(struct hone_factory),
	.role = HONE_ROLE_BACKEND,
	.name = "cpu",
	.summary = "tuned for x86-64: AVX-512 with bf16, AVX-512, AVX2, or portable",
	.options = &option_table,
	.create = cpu_create,
	.destroy = cpu_destroy,
	.vt = &backend,
};

static const struct hone_factory *const factories[] = {&factory};
HONE_PLUGIN(cpu, "0.1.0", "Apache-2.0", factories);
