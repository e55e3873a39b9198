/*
 * bench_kernels.c - the cpu backend's kernels against this machine's own ceilings.
 *
 *     bench_kernels [--short] [threads [path [only]]]
 *
 * `only` runs the cases whose line begins with it ("bf16 tn").  --short runs each case once, to
 * see that it runs; its figures mean little.  A case that the backend refuses, or whose time is
 * none, makes the exit code 1.
 *
 * First the peaks, with the same threads: multiply-adds from registers, reads of memory.
 * Then each shape, best of several runs of at least a fixed time: products of SmolLM2-135M
 * (576, 192, 1536, 49152) for 2048 and 256 rows in all three forms and with adapters of rank
 * 8, attention with 9 and 3 heads of 64, and elementwise passes.  With one thread the clock
 * is that thread's CPU time, which other processes disturb little; with more it is the wall,
 * and on a shared machine only the best run means anything.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <hone/backend.h>
#include <hone/plugin.h>

#include "base/pool.h"
#include "bench_peak.h"

#define RUNS      7
#define MIN_RUN_S 0.02

struct bench_host {
	struct hone_host host;
	struct hn_pool *pool;
};

static struct hn_pool *
pool_of(const struct hone_host *host)
{
	return ((const struct bench_host *)(const void *)host)->pool;
}

static int32_t
pool_threads(const struct hone_host *host)
{
	return hn_pool_threads(pool_of(host));
}

static void
pool_run(const struct hone_host *host, int64_t n, void (*fn)(void *ctx, int64_t i, int32_t worker),
	void *ctx)
{
	hn_pool_run(pool_of(host), n, fn, ctx);
}

static const struct hone_pool_vt pool_vt = {
	.struct_size = sizeof pool_vt, .threads = pool_threads, .run = pool_run};

static const void *
get_interface(const struct hone_host *host, const char *id)
{
	(void)host;
	return strcmp(id, HONE_INTERFACE_POOL) == 0 ? &pool_vt : NULL;
}

struct bench {
	struct bench_host host;
	const struct hone_backend_vt *vt;
	void *self, *device;
	double peak_f32, peak_bf16, read; /* flop/s, byte/s, all threads */
	const char *only;                 /* start of the names wanted */
	int runs;                         /* of a case, beside the first */
	clockid_t clock;
	int n_failed;
	uint8_t *memory; /* operands of the case at hand */
	uint64_t bytes, used;
};

/* ---- Peaks ---- */

static void
measure_peaks(struct bench *b)
{
	const int32_t n = hn_pool_threads(b->host.pool);

	b->peak_f32 = bench_peak_flops(b->host.pool, 0, b->clock);
	b->peak_bf16 = bench_peak_flops(b->host.pool, 1, b->clock);
	b->read = bench_peak_read(b->host.pool, b->memory, b->bytes, b->clock);
	printf("peaks with %d threads: %.0f GFLOP/s f32, %.0f bf16; %.1f GB/s read\n", n,
		b->peak_f32 / 1e9, b->peak_bf16 / 1e9, b->read / 1e9);
}

/* ---- Cases ---- */

static struct hone_operand
operand(struct bench *b, int32_t dtype, int64_t rows, int64_t cols)
{
	const uint64_t bytes = (uint64_t)(rows * cols * hone_dtype_bytes(dtype));
	const struct hone_operand o = {.buffer = b->memory,
		.offset = b->used,
		.dtype = dtype,
		.rank = 2,
		.dim = {rows, cols}};

	b->used += (bytes + 4095) / 4096 * 4096;
	if (b->used > b->bytes) {
		(void)fprintf(stderr, "bench_kernels: its memory is too small for a case\n");
		b->n_failed++;
		b->used = 0;
	}
	return o;
}

static int
wanted(const struct bench *b, int32_t dtype, const char *name)
{
	char line[64];

	(void)snprintf(line, sizeof line, "%-4s %s", hone_dtype_name(dtype), name);
	return strncmp(line, b->only, strlen(b->only)) == 0;
}

/* Seconds of one run of a command, the best of several runs that last a while each; the
 * `copies` take turns. */
static double
seconds_of(struct bench *b, const struct hone_command *c, int64_t copies)
{
	static const int64_t none[1];
	const struct hone_run run = {
		.struct_size = sizeof run, .n_spaces = 1, .live = none, .begin = none, .seed = 1};
	struct hone_error err = {0};
	enum hone_status st = b->vt->supports(b->device, c, &err);
	double least = 1e9;
	int64_t times = copies, at = 0;

	for (int r = 0; r <= b->runs && !st; r++) {
		const double from = bench_now(b->clock);
		double took;

		for (int64_t i = 0; i < times && !st; i++, at = (at + 1) % copies)
			st = b->vt->submit(b->device, c + at, 1, sizeof *c, &run, &err);
		took = (bench_now(b->clock) - from) / (double)times;
		if (r > 0 || b->runs == 0)
			least = took < least ? took : least;
		else
			times = took > MIN_RUN_S ? 1 : (int64_t)(MIN_RUN_S / took) + 1;
	}
	if (st)
		(void)fprintf(stderr, "bench_kernels: %s\n", err.text);
	b->n_failed += st || !(least > 0.0);
	return least;
}

static double
seconds(struct bench *b, const struct hone_command *c)
{
	return seconds_of(b, c, 1);
}

/* Operands of a product lie in memory, not in a cache, as those of a model's layers do: so
 * many copies take turns that they fill ROTATE_BYTES. */
#define ROTATE_BYTES (UINT64_C(160) << 20)
#define COPIES_MAX   256

static void
product(struct bench *b, int32_t form, int32_t dtype, int64_t N, int64_t O, int64_t I)
{
	static const char *const names[] = {"nt", "nn", "tn"};
	const struct hone_attr_matmul attr = {.form = form};
	static struct hone_operand operands[3 * COPIES_MAX];
	static struct hone_command commands[COPIES_MAX];
	const double peak =
		dtype == HONE_DTYPE_BF16 && b->peak_bf16 > 0 ? b->peak_bf16 : b->peak_f32;
	int64_t copies = 0;
	double s;

	if (!wanted(b, dtype, names[form]))
		return;
	b->used = 0;
	while (copies < COPIES_MAX && (copies == 0 || b->used < ROTATE_BYTES)) {
		struct hone_operand *in = &operands[3 * copies], *out = in + 2;

		commands[copies++] = (struct hone_command){.op = HONE_OP_MATMUL,
			.n_in = 2,
			.n_out = 1,
			.attr_size = sizeof attr,
			.attr = &attr,
			.in = in,
			.out = out};
		in[0] = operand(b, dtype, N, form == HONE_MATMUL_NT ? I : O);
		in[1] = form == HONE_MATMUL_TN ? operand(b, dtype, N, I) : operand(b, dtype, O, I);
		*out = form == HONE_MATMUL_TN
			? operand(b, HONE_DTYPE_F32, O, I)
			: operand(b, dtype, N, form == HONE_MATMUL_NT ? O : I);
	}
	s = seconds_of(b, commands, copies);
	printf("%-4s %s N %5lld O %5lld I %5lld  %7.0f GFLOP/s  %3.0f %% of peak\n",
		hone_dtype_name(dtype), names[form], (long long)N, (long long)O, (long long)I,
		2.0 * (double)(N * O) * (double)I / s / 1e9,
		100 * 2.0 * (double)(N * O) * (double)I / s / peak);
}

static void
products(struct bench *b, int32_t dtype)
{
	static const int64_t shapes[][3] = {{2048, 576, 576}, {2048, 192, 576}, {2048, 1536, 576},
		{2048, 576, 1536}, {512, 576, 576}, {512, 192, 576}, {512, 1536, 576},
		{512, 576, 1536}, {256, 49152, 576}, {512, 8, 576}, {512, 576, 8}, {512, 8, 1536},
		{512, 1536, 8}, {512, 16, 576}, {512, 24, 576}, {512, 576, 16}, {512, 64, 576},
		{512, 576, 64}, {1, 1536, 576}, {1, 49152, 576}};

	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		for (int32_t form = 0; form < 3; form++)
			if (form == 0 || shapes[i][0] > 1)
				product(b, form, dtype, shapes[i][0], shapes[i][1], shapes[i][2]);
}

/* One segment of T tokens, or several; flops of the causal half. */
static void
attention(struct bench *b, int32_t dtype, int64_t S, int64_t T)
{
	const int64_t H = 9, G = 3, K = 64, N = S * T;
	const struct hone_attr_attention attr = {
		.n_heads = H, .n_kv_heads = G, .head_dim = K, .causal = 1, .scale = 0.125};
	const double peak =
		dtype == HONE_DTYPE_BF16 && b->peak_bf16 > 0 ? b->peak_bf16 : b->peak_f32;
	const double flops = 4.0 * (double)(S * H * K) * (double)T * (double)(T + 1) / 2;
	struct hone_operand in[8], out[3];
	struct hone_command c = {.op = HONE_OP_ATTENTION,
		.n_in = 5,
		.n_out = 2,
		.attr_size = sizeof attr,
		.attr = &attr,
		.in = in,
		.out = out};
	int32_t *offsets, *ranges;
	double s;

	if (!wanted(b, dtype, "attention"))
		return;
	b->used = 0;
	in[1] = in[0] = operand(b, dtype, N, H * K);
	in[0] = operand(b, dtype, N, H * K);
	in[2] = operand(b, dtype, N, G * K);
	in[3] = operand(b, dtype, N, G * K);
	in[4] = operand(b, dtype, N, H * K);
	in[5] = operand(b, HONE_DTYPE_F32, N, H);
	in[6] = operand(b, HONE_DTYPE_I32, S + 1, 1);
	in[6].rank = 1;
	in[7] = operand(b, HONE_DTYPE_I32, S, 2);
	offsets = (int32_t *)(void *)(b->memory + in[6].offset);
	ranges = (int32_t *)(void *)(b->memory + in[7].offset);
	for (int32_t i = 0; i <= S; i++) {
		offsets[i] = i * (int32_t)T;
		if (i < S) {
			ranges[2 * i] = i * (int32_t)T;
			ranges[2 * i + 1] = (i + 1) * (int32_t)T;
		}
	}
	/* Forward takes q, k, v, offsets, ranges; backward do, q, k, v, o, lse, ... */
	const struct hone_operand forward[5] = {in[1], in[2], in[3], in[6], in[7]};
	const struct hone_operand forward_out[2] = {in[4], in[5]};

	c.in = forward;
	c.out = forward_out;
	s = seconds(b, &c);
	printf("%-4s attention      %2lld x %4lld  %7.0f GFLOP/s  %3.0f %% of peak\n",
		hone_dtype_name(dtype), (long long)S, (long long)T, flops / s / 1e9,
		100 * flops / s / peak);
	out[0] = operand(b, dtype, N, H * K);
	out[1] = operand(b, dtype, N, G * K);
	out[2] = operand(b, dtype, N, G * K);
	c.op = HONE_OP_ATTENTION_BACK;
	c.n_in = 8;
	c.n_out = 3;
	c.in = in;
	c.out = out;
	s = seconds(b, &c);
	printf("%-4s attention_back %2lld x %4lld  %7.0f GFLOP/s  %3.0f %% of peak\n",
		hone_dtype_name(dtype), (long long)S, (long long)T, 2.5 * flops / s / 1e9,
		100 * 2.5 * flops / s / peak);
}

struct pass {
	const char *name;
	uint32_t op, n_in, n_out, attr_size;
	const void *attr;
	int64_t N, D;
	const char *in, *out; /* x [N, D]  w [D]  s f32 [N, 1]  i i32 [N]  k i32 [N, 2]
	                         t f32 [N, 64] */
};

static struct hone_operand
letter(struct bench *b, char what, int32_t dtype, int64_t N, int64_t D, uint64_t *bytes)
{
	struct hone_operand o;

	switch (what) {
	case 'w':
		o = operand(b, HONE_DTYPE_F32, D, 1);
		o.rank = 1;
		return o;
	case 's':
		return operand(b, HONE_DTYPE_F32, N, 1);
	case 'i':
		o = operand(b, HONE_DTYPE_I32, N, 1);
		o.rank = 1;
		return o;
	case 'k':
		return operand(b, HONE_DTYPE_I32, N, 2);
	case 't':
		return operand(b, HONE_DTYPE_F32, N, 64);
	case 'f':
		*bytes += (uint64_t)(N * D) * 4;
		return operand(b, HONE_DTYPE_F32, N, D);
	case 'h':
		o = operand(b, HONE_DTYPE_F32, 4, 1);
		o.rank = 1;
		for (int i = 0; i < 4; i++)
			((float *)(void *)(b->memory + o.offset))[i] = 0.5f;
		return o;
	case '1':
		o = operand(b, HONE_DTYPE_F32, 1, 1);
		o.rank = 1;
		return o;
	default:
		*bytes += (uint64_t)(N * D * hone_dtype_bytes(dtype));
		return operand(b, dtype, N, D);
	}
}

static void
run_pass(struct bench *b, const struct pass *p, int32_t dtype)
{
	struct hone_operand in[6], out[4];
	struct hone_command c = {.op = p->op,
		.n_in = p->n_in,
		.n_out = p->n_out,
		.attr_size = p->attr_size,
		.attr = p->attr,
		.in = in,
		.out = out};
	uint64_t bytes = 0;
	double s;

	if (!wanted(b, dtype, p->name))
		return;
	b->used = 0;
	for (uint32_t i = 0; i < p->n_in; i++)
		in[i] = letter(b, p->in[i], dtype, p->N, p->D, &bytes);
	for (uint32_t i = 0; i < p->n_out; i++)
		out[i] = p->op == HONE_OP_ADAMW ? in[i ? i + 1 : 0]
						: letter(b, p->out[i], dtype, p->N, p->D, &bytes);
	if (p->op == HONE_OP_ADAMW)
		bytes += 3 * (uint64_t)(p->N * p->D) * 4;
	s = seconds(b, &c);
	printf("%-4s %-14s N %5lld D %5lld  %6.1f GB/s  %3.0f %% of reads\n",
		hone_dtype_name(dtype), p->name, (long long)p->N, (long long)p->D,
		(double)bytes / s / 1e9, 100 * (double)bytes / s / b->read);
}

static void
passes(struct bench *b, int32_t dtype)
{
	static const struct hone_attr_unary silu = {.kind = HONE_UNARY_SILU};
	static const struct hone_attr_unary gelu = {.kind = HONE_UNARY_GELU};
	static const struct hone_attr_binary add = {.kind = HONE_BINARY_ADD};
	static const struct hone_attr_norm norm = {.eps = 1e-5};
	static const struct hone_attr_rope rope = {.head_dim = 64};
	static const struct hone_attr_nll nll = {0};
	static const struct hone_attr_dropout dropout = {.p = 0.1, .stream = 3};
	static const struct hone_attr_adamw adamw = {
		.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .lr_scale = 1};
	const struct pass list[] = {
		{"add", HONE_OP_BINARY, 2, 1, sizeof add, &add, 2048, 576, "xx", "x"},
		{"add", HONE_OP_BINARY, 2, 1, sizeof add, &add, 32768, 1536, "xx", "x"},
		{"silu", HONE_OP_UNARY, 1, 1, sizeof silu, &silu, 2048, 1536, "x", "x"},
		{"silu_back", HONE_OP_UNARY_BACK, 2, 1, sizeof silu, &silu, 2048, 1536, "xx", "x"},
		{"gelu", HONE_OP_UNARY, 1, 1, sizeof gelu, &gelu, 2048, 1536, "x", "x"},
		{"rms_norm", HONE_OP_RMS_NORM, 2, 2, sizeof norm, &norm, 2048, 576, "xw", "xs"},
		{"rms_norm_back", HONE_OP_RMS_NORM_BACK, 4, 1, 0, NULL, 2048, 576, "xxws", "x"},
		{"rms_weight", HONE_OP_RMS_NORM_WEIGHT_BACK, 3, 1, 0, NULL, 2048, 576, "xxs", "w"},
		{"layer_norm", HONE_OP_LAYER_NORM, 3, 3, sizeof norm, &norm, 2048, 384, "xww",
			"xss"},
		{"rope", HONE_OP_ROPE, 2, 1, sizeof rope, &rope, 2048, 576, "xt", "x"},
		{"nll", HONE_OP_NLL, 2, 2, sizeof nll, &nll, 256, 49152, "xi", "ss"},
		{"nll_back", HONE_OP_NLL_BACK, 4, 1, sizeof nll, &nll, 256, 49152, "sxis", "x"},
		{"dropout", HONE_OP_DROPOUT, 2, 1, sizeof dropout, &dropout, 2048, 576, "xk", "x"},
		{"sum_squares", HONE_OP_SUM_SQUARES, 1, 1, 0, NULL, 2048, 1536, "x", "1"},
		{"adamw", HONE_OP_ADAMW, 5, 3, sizeof adamw, &adamw, 8192, 576, "ffffh", "fff"},
	};

	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		run_pass(b, &list[i], dtype);
}

/* ---- Setup ---- */

struct values {
	int64_t threads;
	int32_t path;
};

static int
open_backend(struct bench *b, const char *path)
{
	static const char *const names[] = {"auto", "avx512_bf16", "avx512", "avx2", "portable"};
	struct values values = {0};
	const struct hone_instance_info info = {.struct_size = sizeof info, .section = "cpu"};
	struct hone_device_info facts = {.struct_size = sizeof facts};
	void *module = dlopen(HONE_BINARY_DIR "/lib/hone/cpu.so", RTLD_NOW | RTLD_LOCAL);
	const struct hone_plugin *plugin = module ? dlsym(module, "hone_plugin_v1") : NULL;
	struct hone_error err = {0};

	if (!plugin) {
		(void)fprintf(stderr, "bench_kernels: %s\n", dlerror());
		return 0;
	}
	for (int32_t i = 0; i < 5; i++)
		if (strcmp(names[i], path) == 0)
			values.path = i;
	b->vt = plugin->factories[0]->vt;
	if (plugin->factories[0]->create(&b->host.host, &info, &values, &b->self, &err) ||
		b->vt->device_info(b->self, 0, &facts, &err) ||
		b->vt->open(b->self, 0, &b->device, &err)) {
		(void)fprintf(stderr, "bench_kernels: %s\n", err.text);
		return 0;
	}
	printf("kernels: %s\n", facts.kernel_path);
	return 1;
}

int
main(int argc, char **argv)
{
	struct bench b = {.bytes = UINT64_C(768) << 20};
	struct hone_error err = {0};
	const int is_short = argc > 1 && strcmp(argv[1], "--short") == 0;
	int64_t threads;

	argc -= is_short;
	argv += is_short;
	threads = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
	b.only = argc > 3 ? argv[3] : "";
	b.runs = is_short ? 0 : RUNS;
	b.host.host = (struct hone_host){
		.struct_size = sizeof b.host.host, .abi = HONE_ABI, .get_interface = get_interface};
	b.memory = aligned_alloc(UINT64_C(2) << 20, b.bytes);
	if (!b.memory || hn_pool_create(&b.host.pool, (int32_t)threads, &err)) {
		(void)fprintf(stderr, "bench_kernels: %s\n", b.memory ? err.text : "no memory");
		return 1;
	}
	(void)madvise(b.memory, b.bytes, MADV_HUGEPAGE); /* as the arena is */
	memset(b.memory, 0, b.bytes);
	b.clock = hn_pool_threads(b.host.pool) == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
	if (!open_backend(&b, argc > 2 ? argv[2] : "auto"))
		return 1;
	measure_peaks(&b);
	for (int i = 0; i < 2; i++) {
		const int32_t dtype = i ? HONE_DTYPE_BF16 : HONE_DTYPE_F32;

		products(&b, dtype);
		for (int64_t T = 256; T <= 4096; T *= 4)
			attention(&b, dtype, T == 256 ? 8 : 1, T);
		passes(&b, dtype);
	}
	return b.n_failed > 0;
}
