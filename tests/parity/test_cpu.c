/*
 * parity/test_cpu.c - the cpu backend against the reference, every operation, every path.
 *
 * Loads lib/hone/cpu.so as the host would and runs the cases of support/op_cases.h on each
 * kernel path that this processor has.  Tolerances are relative to a value plus the output's
 * root mean square, so they bound what rounding can do to a sum: f32 sums of up to some
 * thousand terms, one rounding of operands and results in bf16.
 */
#include "cpu_host.h"
#include "op_cases.h"
#include "support.h"

#include <hone/storage.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* f32: 2^-24 a rounding, sums of a few hundred terms, exponentials of 3e-7.  bf16: 2^-9 a
 * rounding; operands that are rounded for the product and the result itself. */
#define TOLERANCE_F32  2e-5
#define TOLERANCE_BF16 1.2e-2

/* The option values of [cpu], as its table describes them. */
enum { AVX512_BF16 = 1, AVX512, AVX2, PORTABLE };

/* ---- cases that are larger than those of the common table ---- */

/* A stored format of the test's own: 32 signed bytes a block, in sixteenths. */
#define STORED_BLOCK 32

static void
stored_decode(const void *self, const void *const *parts, int64_t first, int64_t n, float *dst)
{
	const int8_t *codes = parts[0];

	(void)self;
	for (int64_t i = 0; i < n; i++)
		dst[i] = (float)codes[first + i] / 16.0f;
}

static const struct hone_storage_vt stored = {.struct_size = sizeof stored,
	.id = "sixteenths",
	.block_elems = STORED_BLOCK,
	.block_bytes = STORED_BLOCK,
	.n_parts = 1,
	.decode = stored_decode};

/* The same with other blocks. */
static const struct hone_storage_vt stored_256 = {.struct_size = sizeof stored,
	.id = "sixteenths of 256",
	.block_elems = 256,
	.block_bytes = 256,
	.n_parts = 1,
	.decode = stored_decode};
static const struct hone_storage_vt stored_257 = {.struct_size = sizeof stored,
	.id = "sixteenths of 257",
	.block_elems = 257,
	.block_bytes = 257,
	.n_parts = 1,
	.decode = stored_decode};

static struct ops_case
with_format(struct ops_case c, const struct hone_storage_vt *format)
{
	c.in[1].storage = format;
	return c;
}

/* The plugin nf4 as it is built, and a weight in it. */
enum { NF4_PARTS = 3 };

struct nf4_weight {
	const struct hone_storage_vt *vt;
	void *self;
	uint8_t *bytes;
	int64_t n_bytes;
	uint64_t begin[NF4_PARTS];
};

static struct nf4_weight
nf4_make(int64_t n)
{
	const struct hone_plugin *plugin = cpu_host_plugin("nf4");
	struct nf4_weight w = {.vt = plugin->factories[0]->vt};
	float *values = malloc((size_t)n * sizeof *values);
	void *parts[NF4_PARTS + 1];
	struct hone_error err = {0};

	assert_int_equal(plugin->factories[0]->create(NULL, NULL, NULL, &w.self, &err), HONE_OK);
	for (uint32_t i = 0; i < NF4_PARTS; i++) {
		w.begin[i] = (uint64_t)w.n_bytes;
		w.n_bytes += (int64_t)(w.vt->part_bytes(w.self, i, n) + 63) / 64 * 64;
	}
	w.bytes = calloc((size_t)w.n_bytes, 1);
	parts[NF4_PARTS] = malloc(w.vt->work_bytes(w.self, n));
	assert_true(values && w.bytes && parts[NF4_PARTS]);
	for (uint32_t i = 0; i < NF4_PARTS; i++)
		parts[i] = w.bytes + w.begin[i];
	for (int64_t i = 0; i < n; i++)
		values[i] = (float)((i * 2654435761 >> 9) % 2001 - 1000) / 700.0f;
	w.vt->encode(w.self, values, 0, n, parts);
	w.vt->finish(w.self, n, parts);
	free(parts[NF4_PARTS]);
	free(values);
	return w;
}

/* The weight's elements as operand 1 of a product. */
static struct ops_case
with_nf4(struct ops_case c, int64_t n)
{
	const struct nf4_weight w = nf4_make(n);

	c.in[1].storage = w.vt;
	c.in[1].storage_self = w.self;
	c.in[1].bytes = w.bytes; /* for the life of the process */
	c.in[1].n_bytes = w.n_bytes;
	c.in[1].n_parts = NF4_PARTS;
	memcpy(c.in[1].part_begin, w.begin, sizeof w.begin);
	return c;
}

#define STORED_MAX (4200 * 520)
static uint8_t stored_bytes[STORED_MAX];

enum { TOKENS = 1, KEYS = 2 };

static struct ops_operand
rows(int32_t dtype, uint32_t space, int64_t n, int64_t cols)
{
	return (struct ops_operand){
		.dtype = dtype, .rank = 2, .space = space, .dim = {n + (space ? 2 : 0), cols}};
}

/* y of form for N rows; b stored when asked, where it is. */
static struct ops_case
product_case(const char *name, int32_t form, int64_t N, int64_t O, int64_t I, bool is_stored)
{
	const bool tn = form == HONE_MATMUL_TN;
	struct ops_case c = {.op = HONE_OP_MATMUL,
		.attr_size = sizeof c.attr.matmul,
		.attr.matmul.form = form,
		.n_in = 2,
		.n_out = 1,
		.live[TOKENS] = N,
		.seed = 11};

	(void)snprintf(c.name, sizeof c.name, "%s %lldx%lldx%lld", name, (long long)N, (long long)O,
		(long long)I);
	c.in[0] = rows(OPS_COMPUTE, TOKENS, N, form == HONE_MATMUL_NT ? I : O);
	c.in[1] = tn ? rows(OPS_COMPUTE, TOKENS, N, I) : rows(OPS_COMPUTE, 0, O, I);
	c.out[0] = tn ? rows(OPS_STAT, 0, O, I)
		      : rows(OPS_COMPUTE, TOKENS, N, form == HONE_MATMUL_NT ? O : I);
	if (is_stored) {
		c.in[1].storage = &stored;
		c.in[1].bytes = stored_bytes;
		c.in[1].n_bytes = O * I;
		c.in[1].n_parts = 1;
	}
	return c;
}

static struct ops_operand
listed(int64_t n, int64_t cols, const int32_t *list)
{
	return (struct ops_operand){.dtype = HONE_DTYPE_I32,
		.rank = cols > 1 ? 2 : 1,
		.dim = {n / cols, cols},
		.fill = OPS_FILL_LIST,
		.list = list,
		.n_list = n};
}

/* Both directions of attention; P prefix rows.  The forward of the backward is the
 * reference's. */
static void
attention_cases(struct ops_case c[2], const char *name, const struct hone_attr_attention *attr,
	int64_t N, int64_t L, int64_t P, const int32_t *offsets, const int32_t *ranges, int64_t S)
{
	const int64_t q = attr->n_heads * attr->head_dim, k = attr->n_kv_heads * attr->head_dim;

	for (int back = 0; back < 2; back++) {
		struct ops_case *a = &c[back];
		uint32_t i = 0;

		*a = (struct ops_case){.op = back ? HONE_OP_ATTENTION_BACK : HONE_OP_ATTENTION,
			.attr_size = sizeof a->attr.attention,
			.attr.attention = *attr,
			.live = {[TOKENS] = N, [KEYS] = L},
			.seed = 5,
			.slack = 8};
		(void)snprintf(a->name, sizeof a->name, "%s%s", name, back ? " back" : "");
		if (back)
			a->in[i++] = rows(OPS_COMPUTE, TOKENS, N, q);
		a->in[i++] = rows(OPS_COMPUTE, TOKENS, N, q);
		a->in[i++] = rows(OPS_COMPUTE, KEYS, L, k);
		a->in[i++] = rows(OPS_COMPUTE, KEYS, L, k);
		if (back) {
			a->in[i++] = rows(OPS_COMPUTE, TOKENS, N, q);
			a->in[i++] = rows(OPS_STAT, TOKENS, N, attr->n_heads);
		}
		a->in[i++] = listed(S + 1, 1, offsets);
		a->in[i++] = listed(2 * S, 2, ranges);
		if (P) {
			a->in[i++] = rows(OPS_COMPUTE, 0, P, k);
			a->in[i++] = rows(OPS_COMPUTE, 0, P, k);
		}
		a->n_in = i;
		a->out[0] = rows(OPS_COMPUTE, TOKENS, N, q);
		a->out[1] = back ? rows(OPS_COMPUTE, KEYS, L, k)
				 : rows(OPS_STAT, TOKENS, N, attr->n_heads);
		a->out[2] = rows(OPS_COMPUTE, KEYS, L, k);
		a->out[3] = a->out[4] = rows(OPS_STAT, 0, P, k);
		a->n_out = back ? (P ? 5 : 3) : 2;
	}
	c[1].forward = (struct ops_forward){.op = HONE_OP_ATTENTION,
		.attr_size = sizeof c[1].attr.attention,
		.n_out = 2,
		.in = {2, 3, 4, 7, 8, P ? 9 : 0, P ? 10 : 0},
		.to = {5, 6},
		.out = {c[0].out[0], c[0].out[1]}};
}

#define N_LARGE 55

/* Several blocks of rows, columns and depth, of a stored weight too; a segment in
 * two halves; key rows that two segments read; prefix, window and softcap over blocks; heads
 * that do not divide a strip; so few columns that they go one by one. */
static size_t
large_cases(struct ops_case c[N_LARGE])
{
	static const int32_t long_q[] = {0, 300}, long_kv[] = {0, 2100};
	static const int32_t shared_q[] = {0, 150, 300}, shared_kv[] = {0, 200, 50, 300};
	static const int32_t packed_q[] = {0, 301, 303, 520},
			     packed_kv[] = {0, 301, 301, 303, 303, 520};
	static const int32_t thousand_q[] = {0, 1000}, thousand_kv[] = {0, 1000};
	static const int32_t last_q[] = {0, 1}, last_kv[] = {40, 2140};
	static const int32_t few_q[] = {0, 1, 3, 5}, few_kv[] = {0, 333, 333, 340, 340, 900};
	const struct hone_attr_attention causal = {
		.n_heads = 2, .n_kv_heads = 1, .head_dim = 16, .causal = 1, .scale = 0.25};
	struct hone_attr_attention odd = causal, groups = causal;
	size_t n = 0;

	for (size_t i = 0; i < STORED_MAX; i++)
		stored_bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	c[n++] = product_case("nt", HONE_MATMUL_NT, 1100, 230, 577, false);
	c[n++] = product_case("nt deep", HONE_MATMUL_NT, 37, 45, 4401, false);
	c[n++] = product_case("nn deep", HONE_MATMUL_NN, 61, 4401, 70, false);
	c[n++] = product_case("tn deep", HONE_MATMUL_TN, 1201, 205, 250, false);
	c[n++] = product_case("tn wide", HONE_MATMUL_TN, 33, 50, 3000, false);
	c[n++] = product_case("tn tall", HONE_MATMUL_TN, 512, 8300, 40, false);
	c[n++] = product_case("nt adapter in", HONE_MATMUL_NT, 300, 8, 576, false);
	c[n++] = product_case("nt adapter out", HONE_MATMUL_NT, 300, 576, 8, false);
	c[n++] = product_case("nn adapter", HONE_MATMUL_NN, 300, 576, 8, false);
	c[n++] = product_case("nn adapter", HONE_MATMUL_NN, 300, 8, 576, false);
	c[n++] = product_case("tn adapter", HONE_MATMUL_TN, 301, 8, 576, false);
	c[n++] = product_case("tn adapter", HONE_MATMUL_TN, 301, 576, 20, false);
	c[n++] = product_case("nt few rows", HONE_MATMUL_NT, 5, 1000, 301, false);
	c[n++] = product_case("nt stored", HONE_MATMUL_NT, 9, 4200, 512, true);
	c[n++] = product_case("nn stored", HONE_MATMUL_NN, 9, 4200, 512, true);
	c[n++] = product_case("nt stored deep", HONE_MATMUL_NT, 40, 256, 8192, true);
	c[n++] = product_case("nn stored deep", HONE_MATMUL_NN, 40, 8192, 256, true);
	c[n++] = product_case("nt stored odd", HONE_MATMUL_NT, 20, 64, 33, true);
	c[n++] = with_nf4(product_case("nt nf4", HONE_MATMUL_NT, 70, 520, 576, false), 520 * 576);
	c[n++] = with_nf4(product_case("nn nf4", HONE_MATMUL_NN, 70, 520, 576, false), 520 * 576);
	c[n++] = with_nf4(product_case("nt nf4 odd", HONE_MATMUL_NT, 20, 65, 33, false), 65 * 33);
	c[n++] = with_nf4(product_case("nn nf4 odd", HONE_MATMUL_NN, 20, 65, 33, false), 65 * 33);
	c[n++] = with_nf4(
		product_case("nt nf4 groups", HONE_MATMUL_NT, 5, 4200, 512, false), 4200 * 512);
	/* rows that are whole blocks: several blocks of rows, of k, of columns in pieces that begin
	 * inside a block of 256; an odd k, a panel that is not full */
	c[n++] = product_case("nt stored rows", HONE_MATMUL_NT, 1040, 40, 2112, true);
	c[n++] = product_case("nn stored rows", HONE_MATMUL_NN, 1040, 301, 96, true);
	c[n++] = product_case("nn stored deep, odd", HONE_MATMUL_NN, 520, 4109, 64, true);
	c[n++] = with_format(
		product_case("nt of 256", HONE_MATMUL_NT, 520, 40, 2304, true), &stored_256);
	c[n++] = with_format(
		product_case("nn of 256", HONE_MATMUL_NN, 520, 130, 1280, true), &stored_256);
	c[n++] = with_format(
		product_case("nn of 256", HONE_MATMUL_NN, 40, 1207, 1280, true), &stored_256);
	/* blocks that straddle rows, and one that no granule fits */
	c[n++] = product_case("nt stored straddles", HONE_MATMUL_NT, 70, 45, 2101, true);
	c[n++] = product_case("nn stored straddles", HONE_MATMUL_NN, 70, 45, 301, true);
	c[n++] = with_format(
		product_case("nt of 257", HONE_MATMUL_NT, 40, 45, 3 * 257, true), &stored_257);
	c[n++] = with_format(
		product_case("nn of 257", HONE_MATMUL_NN, 40, 45, 3 * 257, true), &stored_257);
	c[n++] = with_nf4(
		product_case("nt nf4 deep", HONE_MATMUL_NT, 520, 33, 4160, false), 33 * 4160);
	c[n++] = with_nf4(
		product_case("nn nf4 deep", HONE_MATMUL_NN, 40, 4301, 320, false), 4301 * 320);
	attention_cases(&c[n], "attention in halves", &causal, 300, 2100, 0, long_q, long_kv, 1);
	n += 2;
	attention_cases(
		&c[n], "attention shared keys", &causal, 300, 300, 0, shared_q, shared_kv, 2);
	n += 2;
	odd.head_dim = 24;
	odd.window = 90;
	odd.softcap = 3;
	attention_cases(&c[n], "attention prefix, window, softcap", &odd, 520, 520, 140, packed_q,
		packed_kv, 3);
	n += 2;
	groups.n_heads = 9;
	groups.n_kv_heads = 3;
	groups.head_dim = 64;
	attention_cases(&c[n], "attention 9 of 3", &groups, 303, 303, 0, packed_q, packed_kv, 2);
	n += 2;
	groups.causal = 0;
	attention_cases(&c[n], "attention both ways", &groups, 303, 303, 0, packed_q, packed_kv, 2);
	n += 2;
	groups.window = 37;
	groups.n_heads = 5;
	groups.n_kv_heads = 1;
	groups.head_dim = 40;
	attention_cases(
		&c[n], "attention 5 of 1, window", &groups, 520, 520, 3, packed_q, packed_kv, 3);
	n += 2;
	groups.causal = 1;
	groups.window = 0;
	attention_cases(
		&c[n], "attention of 1000", &groups, 1000, 1000, 0, thousand_q, thousand_kv, 1);
	n += 2;
	attention_cases(&c[n], "attention, a few columns", &causal, 5, 900, 0, few_q, few_kv, 3);
	n += 2;
	attention_cases(&c[n], "attention, a few columns, all", &odd, 5, 900, 33, few_q, few_kv, 3);
	n += 2;
	groups.n_heads = 14;
	groups.n_kv_heads = 2;
	groups.head_dim = 64;
	attention_cases(
		&c[n], "attention, the last token", &groups, 1, 2140, 0, last_q, last_kv, 1);
	n += 2;
	assert_int_equal(n, N_LARGE);
	return n;
}

/* ---- tests ---- */

static double
tolerance_of(int32_t compute)
{
	return compute == HONE_DTYPE_F32 ? TOLERANCE_F32 : TOLERANCE_BF16;
}

static double
rms(const double *x, int64_t n)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += x[i] * x[i];
	return n ? sqrt(sum / (double)n) : 0;
}

/* Gradients whose terms cancel (one column to a norm, one key to a query) are as exact as
 * their terms: the sizes of dy and of x or q bound those. */
static bool
near_cancelled(const struct ops_data *got, const struct ops_data *want, const struct ops_case *c,
	double tolerance)
{
	const double size = rms(want->in[1], want->n_in_elems[1]);
	const double dy = rms(want->in[0], want->n_in_elems[0]) * (size > 1 ? size : 1);

	if (c->op != HONE_OP_RMS_NORM_BACK && c->op != HONE_OP_ATTENTION_BACK &&
		c->op != HONE_OP_LAYER_NORM_BACK)
		return false;
	for (uint32_t i = 0; i < want->n_out; i++)
		for (int64_t k = 0; k < want->n_out_elems[i]; k++)
			if (!(fabs(got->out[i][k] - want->out[i][k]) <=
				    tolerance * (fabs(want->out[i][k]) + dy)))
				return false;
	return true;
}

/* One case on a path against what the reference gave; 1 and a line where they differ. */
static int
compare_with(const struct ops_device *cpu, const struct ops_data *want_in, const struct ops_case *c,
	int32_t compute, const char *path)
{
	const struct ops_data want = *want_in;
	struct ops_data got;
	char why[OPS_WHY] = "";
	bool ok;

	assert_true(ops_data_init(&got, c, compute));
	ok = ops_run(cpu, c, compute, &got, why) &&
		(ops_near(&got, &want, c, tolerance_of(compute), why) ||
			near_cancelled(&got, &want, c, tolerance_of(compute)));
	if (!ok)
		print_error("%s %s, %s: %s\n", path, c->name, hone_dtype_name(compute), why);
	ops_data_fini(&got);
	return !ok;
}

static int
compare(const struct ops_device *cpu, const struct ops_device *reference, const struct ops_case *c,
	int32_t compute, const char *path)
{
	struct ops_data want;
	char why[OPS_WHY] = "";
	int wrong;

	assert_true(ops_data_init(&want, c, compute));
	assert_true(ops_run(reference, c, compute, &want, why));
	wrong = compare_with(cpu, &want, c, compute, path);
	ops_data_fini(&want);
	return wrong;
}

static const int32_t types[] = {HONE_DTYPE_F32, HONE_DTYPE_BF16};

static void
all_cases(int32_t path)
{
	struct cpu_host h;
	struct ops_device cpu, reference;
	struct op_cases cases;
	int wrong = 0;

	cpu_host_open(&h, 2);
	assert_true(ops_open_reference(&reference));
	assert_true(op_cases_init(&cases));
	if (!cpu_host_device(&h, path, &cpu)) {
		cpu_host_close(&h);
		op_cases_fini(&cases);
		ops_close(&reference);
		skip();
	}
	for (size_t i = 0; i < cases.n; i++)
		for (size_t k = 0; k < 2; k++)
			wrong += compare(
				&cpu, &reference, &cases.items[i], types[k], cpu_host_path(path));
	op_cases_fini(&cases);
	ops_close(&cpu);
	ops_close(&reference);
	cpu_host_close(&h);
	assert_int_equal(wrong, 0);
}

/* One large case on every path that is there; the reference runs once. */
static int
compare_paths(const struct cpu_host *h, const struct ops_device *reference,
	const struct ops_case *c, int32_t compute)
{
	struct ops_data want;
	char why[OPS_WHY] = "";
	int wrong = 0;

	assert_true(ops_data_init(&want, c, compute));
	assert_true(ops_run(reference, c, compute, &want, why));
	for (int32_t path = AVX512_BF16; path < CPU_PATHS; path++) {
		struct ops_device cpu;

		if (!cpu_host_device(h, path, &cpu))
			continue;
		wrong += compare_with(&cpu, &want, c, compute, cpu_host_path(path));
		ops_close(&cpu);
	}
	ops_data_fini(&want);
	return wrong;
}

/* A second block of rows, columns, depth, keys or queries that is taken from the wrong place;
 * a stored weight whose second slab is; parts of one that are taken for each other. */
static void
test_cpu_large_shapes_agree_with_reference(void **state)
{
	static struct ops_case large[N_LARGE];
	const size_t n = large_cases(large);
	struct cpu_host h;
	struct ops_device reference;
	int wrong = 0;

	(void)state;
	cpu_host_open(&h, 2);
	assert_true(ops_open_reference(&reference));
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < 2; k++)
			wrong += compare_paths(&h, &reference, &large[i], types[k]);
	ops_close(&reference);
	cpu_host_close(&h);
	assert_int_equal(wrong, 0);
}

/* The outputs of a case with so many threads. */
static void
run_with(int32_t threads, const struct ops_case *c, int32_t compute, struct ops_data *out)
{
	struct cpu_host h;
	struct ops_device cpu;
	char why[OPS_WHY] = "";

	cpu_host_open(&h, threads);
	assert_true(cpu_host_device(&h, 0, &cpu));
	assert_true(ops_data_init(out, c, compute));
	if (!ops_run(&cpu, c, compute, out, why))
		fail_msg("%s: %s", c->name, why);
	ops_close(&cpu);
	cpu_host_close(&h);
}

static void
same_bits(const struct ops_case *c, int32_t compute)
{
	struct ops_data one, more;

	run_with(1, c, compute, &one);
	for (int32_t threads = 2; threads <= 3; threads++) {
		run_with(threads, c, compute, &more);
		for (uint32_t i = 0; i < one.n_out; i++)
			if (memcmp(one.out[i], more.out[i],
				    (size_t)one.n_out_elems[i] * sizeof(double)))
				fail_msg("%s, %s: other bits with %d threads", c->name,
					hone_dtype_name(compute), threads);
		ops_data_fini(&more);
	}
	ops_data_fini(&one);
}

/* Work that is split by the number of threads, or sums taken in the order they finish. */
static void
test_cpu_any_number_of_threads_gives_the_same_bits(void **state)
{
	static struct ops_case large[N_LARGE];
	const size_t n_large = large_cases(large);
	struct op_cases cases;

	(void)state;
	assert_true(op_cases_init(&cases));
	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < n_large; i++)
			same_bits(&large[i], types[k]);
		for (size_t i = 0; i < cases.n; i += 7)
			same_bits(&cases.items[i], types[k]);
	}
	op_cases_fini(&cases);
}

/* A kernel of the bf16 path that reads a wrong pair, tail or guard, or forgets a row. */
static void
test_cpu_avx512_bf16_agrees_with_reference(void **state)
{
	(void)state;
	all_cases(AVX512_BF16);
}

/* bf16 that is widened in packing; masks and tails of 16 lanes. */
static void
test_cpu_avx512_agrees_with_reference(void **state)
{
	(void)state;
	all_cases(AVX512);
}

/* Tails of 8 lanes and tiles of 6 rows. */
static void
test_cpu_avx2_agrees_with_reference(void **state)
{
	(void)state;
	all_cases(AVX2);
}

/* What runs where nothing else does: it is rarely exercised by hand. */
static void
test_cpu_portable_agrees_with_reference(void **state)
{
	(void)state;
	all_cases(PORTABLE);
}

/* ---- what a device says ---- */

/* A path that is forced but not taken, or recorded under another's name. */
static void
test_cpu_forced_path_is_reported(void **state)
{
	struct cpu_host h;

	(void)state;
	cpu_host_open(&h, 1);
	for (int32_t path = AVX512_BF16; path < CPU_PATHS; path++) {
		struct hone_device_info info = {.struct_size = sizeof info};
		struct hone_error err = {0};
		struct ops_device cpu;

		if (!cpu_host_device(&h, path, &cpu))
			continue;
		assert_int_equal(cpu.vt->device_info(cpu.self, 0, &info, &err), HONE_OK);
		assert_string_equal(info.kernel_path, cpu_host_path(path));
		assert_int_equal(info.has_fast_bf16, path == AVX512_BF16);
		ops_close(&cpu);
	}
	cpu_host_close(&h);
}

/* A later attribute, a type or an operand that is computed as if it were not there. */
static void
test_cpu_unknown_attribute_type_or_operand_is_refused(void **state)
{
	struct cpu_host h;
	struct ops_device cpu;
	struct hone_attr_matmul attr[2] = {{.form = HONE_MATMUL_NT}};
	struct hone_operand in[4], out;
	struct hone_command c = {.op = HONE_OP_MATMUL,
		.n_in = 2,
		.n_out = 1,
		.attr_size = sizeof attr[0],
		.attr = attr,
		.in = in,
		.out = &out};
	struct hone_error err = {0};

	(void)state;
	cpu_host_open(&h, 1);
	assert_true(cpu_host_device(&h, 0, &cpu));
	out = (struct hone_operand){.dtype = HONE_DTYPE_F32, .rank = 2, .dim = {3, 3}};
	for (int i = 0; i < 4; i++)
		in[i] = out;
	assert_int_equal(cpu.vt->supports(cpu.device, &c, &err), HONE_OK);
	c.attr_size = sizeof attr;
	assert_int_equal(cpu.vt->supports(cpu.device, &c, &err), HONE_EUNSUPPORTED);
	c.attr_size = sizeof attr[0];
	c.n_in = 4;
	assert_int_equal(cpu.vt->supports(cpu.device, &c, &err), HONE_EUNSUPPORTED);
	c.n_in = 1;
	assert_int_equal(cpu.vt->supports(cpu.device, &c, &err), HONE_EUNSUPPORTED);
	c.n_in = 2;
	in[1].dtype = HONE_DTYPE_F64;
	assert_int_equal(cpu.vt->supports(cpu.device, &c, &err), HONE_EUNSUPPORTED);
	in[1].dtype = HONE_DTYPE_F32;
	c.flags = HONE_COMMAND_ACCUMULATE; /* nt does not add to its output */
	assert_int_equal(cpu.vt->supports(cpu.device, &c, &err), HONE_EUNSUPPORTED);
	c.flags = 0;
	c.op = HONE_OP_CUSTOM + 1;
	assert_int_equal(cpu.vt->supports(cpu.device, &c, &err), HONE_EUNSUPPORTED);
	ops_close(&cpu);
	cpu_host_close(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cpu_avx512_bf16_agrees_with_reference),
		cmocka_unit_test(test_cpu_avx512_agrees_with_reference),
		cmocka_unit_test(test_cpu_avx2_agrees_with_reference),
		cmocka_unit_test(test_cpu_portable_agrees_with_reference),
		cmocka_unit_test(test_cpu_large_shapes_agree_with_reference),
		cmocka_unit_test(test_cpu_any_number_of_threads_gives_the_same_bits),
		cmocka_unit_test(test_cpu_forced_path_is_reported),
		cmocka_unit_test(test_cpu_unknown_attribute_type_or_operand_is_refused),
	};

	return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
