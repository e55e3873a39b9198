/*
 * parity/test_cpu.c - the cpu backend against the reference, every operation, every path.
 *
 * Loads lib/hone/cpu.so as the host would and runs the cases of support/op_cases.h on each
 * kernel path that this processor has.  Tolerances are relative to a value plus the output's
 * root mean square, so they bound what rounding can do to a sum: f32 sums of up to some
 * thousand terms, one rounding of operands and results in bf16.
 */
#include "op_cases.h"
#include "support.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"

/* f32: 2^-24 a rounding, sums of a few hundred terms, exponentials of 3e-7.  bf16: 2^-9 a
 * rounding; operands that are rounded for the product and the result itself. */
#define TOLERANCE_F32  2e-5
#define TOLERANCE_BF16 1.2e-2

/* The option values of [cpu], as its table describes them. */
struct values {
	int64_t threads;
	int32_t path;
};

enum { AVX512_BF16 = 1, AVX512, AVX2, PORTABLE, N_PATHS };
static const char *const path_names[] = {"auto", "avx512_bf16", "avx512", "avx2", "portable"};

/* ---- a host with a pool ---- */

struct test_host {
	struct hone_host host;
	struct hn_pool *pool;
};

static int32_t
pool_threads(const struct hone_host *host)
{
	return hn_pool_threads(((const struct test_host *)(const void *)host)->pool);
}

static void
pool_run(const struct hone_host *host, int64_t n, void (*fn)(void *ctx, int64_t i, int32_t worker),
	void *ctx)
{
	hn_pool_run(((const struct test_host *)(const void *)host)->pool, n, fn, ctx);
}

static const struct hone_pool_vt pool_vt = {
	.struct_size = sizeof pool_vt, .threads = pool_threads, .run = pool_run};

static const void *
get_interface(const struct hone_host *host, const char *id)
{
	(void)host;
	return strcmp(id, HONE_INTERFACE_POOL) == 0 ? &pool_vt : NULL;
}

static void
host_open(struct test_host *h, int32_t threads)
{
	struct hone_error err = {0};

	memset(h, 0, sizeof *h);
	h->host = (struct hone_host){
		.struct_size = sizeof h->host, .abi = HONE_ABI, .get_interface = get_interface};
	assert_int_equal(hn_pool_create(&h->pool, threads, &err), HONE_OK);
}

static const struct hone_plugin *
load_plugin(void)
{
	static void *module;

	if (!module)
		module = dlopen(HONE_BINARY_DIR "/lib/hone/cpu.so", RTLD_NOW | RTLD_LOCAL);
	if (!module)
		fail_msg("%s", dlerror());
	return dlsym(module, "hone_plugin_v1");
}

/* false where this processor lacks the path. */
static bool
device_open(struct ops_device *d, const struct test_host *h, int32_t path)
{
	const struct values values = {.path = path};
	char why[OPS_WHY];

	return ops_open(load_plugin(), &h->host, &values, d, why);
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

/* One case on both; counts what differs and prints it. */
static int
compare(const struct ops_device *cpu, const struct ops_device *reference, const struct ops_case *c,
	int32_t compute, const char *path)
{
	struct ops_data got, want;
	char why[OPS_WHY] = "";
	bool ok;

	assert_true(ops_data_init(&got, c, compute));
	assert_true(ops_data_init(&want, c, compute));
	assert_true(ops_run(reference, c, compute, &want, why));
	ok = ops_run(cpu, c, compute, &got, why) &&
		(ops_near(&got, &want, c, tolerance_of(compute), why) ||
			near_cancelled(&got, &want, c, tolerance_of(compute)));
	if (!ok)
		print_error("%s %s, %s: %s\n", path, c->name, hone_dtype_name(compute), why);
	ops_data_fini(&got);
	ops_data_fini(&want);
	return !ok;
}

static void
all_cases(int32_t path)
{
	static const int32_t types[] = {HONE_DTYPE_F32, HONE_DTYPE_BF16};
	struct test_host h;
	struct ops_device cpu, reference;
	struct op_cases cases;
	int wrong = 0;

	host_open(&h, 2);
	assert_true(ops_open_reference(&reference));
	assert_true(op_cases_init(&cases));
	if (!device_open(&cpu, &h, path)) {
		hn_pool_destroy(h.pool);
		op_cases_fini(&cases);
		ops_close(&reference);
		skip();
	}
	for (size_t i = 0; i < cases.n; i++)
		for (size_t k = 0; k < 2; k++)
			wrong += compare(&cpu, &reference, &cases.items[i], types[k], path_names[path]);
	op_cases_fini(&cases);
	ops_close(&cpu);
	ops_close(&reference);
	hn_pool_destroy(h.pool);
	assert_int_equal(wrong, 0);
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cpu_avx512_bf16_agrees_with_reference),
		cmocka_unit_test(test_cpu_avx512_agrees_with_reference),
		cmocka_unit_test(test_cpu_avx2_agrees_with_reference),
		cmocka_unit_test(test_cpu_portable_agrees_with_reference),
	};

	return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
