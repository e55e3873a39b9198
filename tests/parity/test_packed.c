/*
 * parity/test_packed.c - the cpu backend's products of a few rows with weights as they are
 * stored, against the reference on decoded ones, on every path.
 *
 * Blocks hold random codes and scales that are sane numbers.  Shapes end inside the chunks that
 * the kernels take (128 elements), inside pieces of rows, and beside every count of rows that
 * has code of its own.  The kernels form sums of exact weights in f32, so one tolerance holds
 * for both types, but for the rounding of the result to bf16.
 */
#include "cpu_host.h"
#include "support.h"

#include <hone/storage.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

/* f32: sums of some thousand terms of 2^-24; bf16: one rounding of the result, which may
 * fall to either side: 2^-8. */
#define TOLERANCE_F32  1e-5
#define TOLERANCE_BF16 8e-3

enum { TOKENS = 1, HALVES = 2 };

/* A device on `path`; false where this processor lacks it. */
static bool
open_path(struct cpu_host *h, struct ops_device *d, int32_t path, int32_t threads)
{
	cpu_host_open(h, threads);
	if (cpu_host_device(h, path, d))
		return true;
	cpu_host_close(h);
	return false;
}

static void
close_path(struct cpu_host *h, struct ops_device *d)
{
	ops_close(d);
	cpu_host_close(h);
}

/* ---- weights ---- */

/* Where the f16 numbers of a block lie; -1: none. */
struct format {
	const char *id;
	int half[HALVES];
};

static const struct format formats[] = {{"q4_0", {0, -1}}, {"q4_1", {0, 2}}, {"q8_0", {0, -1}},
	{"q4_k", {0, 2}}, {"q6_k", {208, -1}}};
enum { N_FORMATS = sizeof formats / sizeof *formats };

static const struct hone_storage_vt *
find_storage(const char *id, void **self)
{
	const struct hone_plugin *plugin = cpu_host_plugin("ggml");

	for (uint32_t i = 0; i < plugin->n_factories; i++)
		if (strcmp(plugin->factories[i]->name, id) == 0) {
			assert_int_equal(plugin->factories[i]->create(NULL, NULL, NULL, self, NULL),
				HONE_OK);
			return plugin->factories[i]->vt;
		}
	fail_msg("no storage '%s'", id);
	return NULL;
}

/* Exactly the bytes that the blocks have, so that a sanitizer sees what lies behind them. */
static uint8_t *
make_blocks(const struct format *format, const struct hone_storage_vt *vt, int64_t n_bytes)
{
	uint8_t *bytes = malloc((size_t)n_bytes);

	assert_non_null(bytes);
	for (int64_t i = 0; i < n_bytes; i++)
		bytes[i] = (uint8_t)hn_rng_below(7, 1, (uint64_t)i, 0, 256);
	for (int64_t at = 0; at < n_bytes; at += vt->block_bytes)
		for (int i = 0; i < HALVES && format->half[i] >= 0; i++) {
			const double u = hn_rng_uniform(7, 2, (uint64_t)at, (uint64_t)i);
			const uint16_t h = hone_f16_from_f32((float)(u - 0.4) / 8.0f);

			memcpy(bytes + at + format->half[i], &h, sizeof h);
		}
	return bytes;
}

struct shape {
	int64_t n, k; /* k in blocks of 32, or of 256 for the formats that have those */
};

static const struct shape shapes[] = {{9, 1}, {33, 3}, {40, 4}, {300, 18}, {17, 48}, {600, 5}};
static const int64_t row_counts[] = {1, 2, 3, 5, 8, 9, 32};
enum {
	N_SHAPES = sizeof shapes / sizeof *shapes,
	N_COUNTS = sizeof row_counts / sizeof *row_counts
};

/* y = x w^T + c for m rows. */
static struct ops_case
make_case(const struct format *format, const struct shape *shape, int64_t m)
{
	void *self = NULL;
	const struct hone_storage_vt *vt = find_storage(format->id, &self);
	const int64_t k =
		(vt->block_elems == 256 ? (shape->k + 7) / 8 : shape->k) * vt->block_elems;
	struct ops_case c = {.op = HONE_OP_MATMUL,
		.attr_size = sizeof c.attr.matmul,
		.attr.matmul.form = HONE_MATMUL_NT,
		.n_in = 3,
		.n_out = 1,
		.live[TOKENS] = m,
		.seed = 3};

	(void)snprintf(c.name, sizeof c.name, "%s %lldx%lldx%lld", format->id, (long long)m,
		(long long)shape->n, (long long)k);
	c.in[0] = (struct ops_operand){
		.dtype = OPS_COMPUTE, .rank = 2, .space = TOKENS, .dim = {m + 1, k}};
	c.in[1] = (struct ops_operand){.dtype = OPS_COMPUTE,
		.rank = 2,
		.dim = {shape->n, k},
		.storage = vt,
		.storage_self = self,
		.n_bytes = shape->n * k / vt->block_elems * vt->block_bytes,
		.n_parts = 1};
	c.in[1].bytes = make_blocks(format, vt, c.in[1].n_bytes);
	c.in[2] = c.out[0] = (struct ops_operand){
		.dtype = OPS_COMPUTE, .rank = 2, .space = TOKENS, .dim = {m + 1, shape->n}};
	return c;
}

static void
free_case(struct ops_case *c)
{
	free((void *)(uintptr_t)c->in[1].bytes);
}

/* A weight of the host's own types. */
static struct ops_case
make_dense(int32_t dtype, const struct shape *shape, int64_t m)
{
	struct ops_case c = make_case(&formats[0], shape, m);

	free_case(&c);
	c.in[1].storage = NULL;
	c.in[1].bytes = NULL;
	c.in[1].n_bytes = c.in[1].n_parts = 0;
	c.in[1].dtype = dtype;
	(void)snprintf(c.name, sizeof c.name, "%s %lldx%lldx%lld", hone_dtype_name(dtype),
		(long long)m, (long long)shape->n, (long long)shape->k * 32 - 5);
	c.in[0].dim[1] = c.in[1].dim[1] = shape->k * 32 - 5;
	return c;
}

/* ---- tests ---- */

static const int32_t types[] = {HONE_DTYPE_F32, HONE_DTYPE_BF16};

/* The devices of all paths that this processor has. */
struct paths {
	struct cpu_host host[CPU_PATHS];
	struct ops_device device[CPU_PATHS];
	bool is_there[CPU_PATHS];
};

/* How many paths do not give the reference's results. */
static int
compare(struct paths *paths, const struct ops_device *reference, const struct ops_case *c,
	int32_t compute)
{
	const double tolerance = compute == HONE_DTYPE_F32 ? TOLERANCE_F32 : TOLERANCE_BF16;
	struct ops_data want, got;
	char why[OPS_WHY] = "";
	int wrong = 0;

	assert_true(ops_data_init(&want, c, compute));
	assert_true(ops_data_init(&got, c, compute));
	assert_true(ops_run(reference, c, compute, &want, why));
	for (int i = 1; i < CPU_PATHS; i++) {
		if (!paths->is_there[i] ||
			(ops_run(&paths->device[i], c, compute, &got, why) &&
				ops_near(&got, &want, c, tolerance, why)))
			continue;
		print_error("%s %s, %s: %s\n", cpu_host_path(i), c->name, hone_dtype_name(compute),
			why);
		wrong++;
	}
	ops_data_fini(&want);
	ops_data_fini(&got);
	return wrong;
}

/* Dense weights are read so up to 8 rows only. */
static int
compare_format(struct paths *paths, const struct ops_device *reference, size_t format)
{
	static const int32_t dense[] = {HONE_DTYPE_F32, HONE_DTYPE_BF16, HONE_DTYPE_F16};
	int wrong = 0;

	for (size_t s = 0; s < N_SHAPES; s++)
		for (size_t m = 0; m < N_COUNTS; m++) {
			struct ops_case c;

			if (format >= N_FORMATS && row_counts[m] > 8)
				continue;
			c = format < N_FORMATS
				? make_case(&formats[format], &shapes[s], row_counts[m])
				: make_dense(dense[format - N_FORMATS], &shapes[s], row_counts[m]);
			for (int t = 0; t < 2; t++)
				wrong += compare(paths, reference, &c, types[t]);
			free_case(&c);
		}
	return wrong;
}

/* A nibble, a scale or a minimum that is taken from the wrong place; a chunk that is cut; rows
 * of x or of w that are mistaken for their neighbours. */
static void
test_packed_products_agree_with_reference(void **state)
{
	static struct paths paths;
	struct ops_device reference;
	int wrong = 0;

	(void)state;
	assert_true(ops_open_reference(&reference));
	for (int32_t i = 1; i < CPU_PATHS; i++)
		paths.is_there[i] = open_path(&paths.host[i], &paths.device[i], i, 2);
	for (size_t f = 0; f < N_FORMATS + 3; f++)
		wrong += compare_format(&paths, &reference, f);
	for (int i = 1; i < CPU_PATHS; i++)
		if (paths.is_there[i])
			close_path(&paths.host[i], &paths.device[i]);
	ops_close(&reference);
	assert_int_equal(wrong, 0);
}

/* Row r of a product of 17 rows, and the product of that row alone. */
static void
check_rows(const struct ops_device *cpu, const struct format *format, const char *path)
{
	struct ops_case many = make_case(format, &shapes[3], 17), one = many;
	const int64_t k = many.in[0].dim[1], n = many.out[0].dim[1];
	struct ops_data all, alone;
	char why[OPS_WHY] = "";

	one.live[TOKENS] = 1;
	one.in[0].dim[0] = one.in[2].dim[0] = one.out[0].dim[0] = 2;
	assert_true(ops_data_init(&all, &many, HONE_DTYPE_F32));
	assert_true(ops_data_init(&alone, &one, HONE_DTYPE_F32));
	assert_true(ops_run(cpu, &many, HONE_DTYPE_F32, &all, why));
	for (int64_t r = 0; r < 17; r++) {
		memcpy(alone.in[0], all.in[0] + r * k, (size_t)k * sizeof(double));
		memcpy(alone.in[2], all.in[2] + r * n, (size_t)n * sizeof(double));
		assert_true(ops_run(cpu, &one, HONE_DTYPE_F32, &alone, why));
		if (memcmp(alone.out[0], all.out[0] + r * n, (size_t)n * sizeof(double)))
			fail_msg("%s %s: row %lld has other bits alone", path, format->id,
				(long long)r);
	}
	ops_data_fini(&all);
	ops_data_fini(&alone);
	free_case(&many);
}

/* Sums in an order that depends on how many rows there are: a prompt's answer would change with
 * the batch it is in. */
static void
test_packed_row_has_the_same_bits_in_any_batch(void **state)
{
	struct ops_device cpu;
	struct cpu_host h;

	(void)state;
	for (int32_t path = 1; path < CPU_PATHS; path++) {
		if (!open_path(&h, &cpu, path, 2))
			continue;
		for (size_t f = 0; f < N_FORMATS; f++)
			check_rows(&cpu, &formats[f], cpu_host_path(path));
		close_path(&h, &cpu);
	}
}

/* Pieces that are cut by the number of threads. */
static void
test_packed_any_number_of_threads_gives_the_same_bits(void **state)
{
	struct ops_case c = make_case(&formats[1], &shapes[5], 3);
	struct ops_data data[3];
	struct ops_device cpu;
	struct cpu_host h;
	char why[OPS_WHY] = "";

	(void)state;
	for (int32_t i = 0; i < 3; i++) {
		assert_true(open_path(&h, &cpu, 0, i + 1));
		assert_true(ops_data_init(&data[i], &c, HONE_DTYPE_F32));
		assert_true(ops_run(&cpu, &c, HONE_DTYPE_F32, &data[i], why));
		assert_memory_equal(data[i].out[0], data[0].out[0],
			(size_t)data[0].n_out_elems[0] * sizeof(double));
		close_path(&h, &cpu);
	}
	for (int i = 0; i < 3; i++)
		ops_data_fini(&data[i]);
	free_case(&c);
}

/* ---- commands that run as one ---- */

enum { X, W0, W1, W2, Y0, Y1, Y2, N_PLACES, WIDE = 64, COMMANDS = 6, PLACE = 8192 };

/* y0 = x w0; y1 = x w1; y0 = 2 y2; y2 = x w2; x = 2 x; y1 = x w1 + y1, in f32. */
struct list {
	struct hone_operand in[COMMANDS][3], out[COMMANDS];
	struct hone_attr_matmul matmul;
	struct hone_attr_scale twice;
	struct hone_command c[COMMANDS];
	int64_t rows, n; /* of x; of each w */
	uint8_t *memory;
};

static struct hone_operand
place(const struct list *l, int at)
{
	const bool is_weight = at >= W0 && at <= W2, is_result = at >= Y0;

	return (struct hone_operand){.buffer = l->memory,
		.offset = (uint64_t)at * PLACE * 4,
		.dtype = HONE_DTYPE_F32,
		.rank = 2,
		.dim = {is_weight ? l->n : l->rows, is_result ? l->n : WIDE}};
}

static void
list_init(struct list *l, int64_t rows, int64_t n)
{
	static const int places[COMMANDS][4] = {{X, W0, 0, Y0}, {X, W1, 0, Y1}, {Y2, 0, 0, Y0},
		{X, W2, 0, Y2}, {X, 0, 0, X}, {X, W1, Y1, Y1}};
	static const uint32_t n_in[COMMANDS] = {2, 2, 1, 2, 1, 3};
	float *values;

	memset(l, 0, sizeof *l);
	l->rows = rows;
	l->n = n;
	l->memory = aligned_alloc(64, N_PLACES * PLACE * 4);
	assert_non_null(l->memory);
	values = (float *)(void *)l->memory;
	for (uint64_t i = 0; i < N_PLACES * PLACE; i++)
		values[i] = (float)(hn_rng_uniform(1, 2, i, 0) - 0.5);
	l->matmul.form = HONE_MATMUL_NT;
	l->twice = (struct hone_attr_scale){.alpha = 2.0};
	for (int i = 0; i < COMMANDS; i++) {
		const bool is_scale = n_in[i] == 1;

		for (uint32_t k = 0; k < n_in[i]; k++)
			l->in[i][k] = place(l, places[i][k]);
		l->out[i] = place(l, places[i][3]);
		l->c[i] = (struct hone_command){.op = is_scale ? HONE_OP_SCALE : HONE_OP_MATMUL,
			.n_in = n_in[i],
			.n_out = 1,
			.attr = is_scale ? (const void *)&l->twice : (const void *)&l->matmul,
			.attr_size = is_scale ? sizeof l->twice : sizeof l->matmul,
			.in = l->in[i],
			.out = &l->out[i],
			.name = "list"};
	}
}

/* `step` commands a submission. */
static void
list_run(const struct ops_device *device, struct list *l, uint32_t step)
{
	static const int64_t none[1];
	const struct hone_run run = {
		.struct_size = sizeof run, .n_spaces = 1, .live = none, .begin = none};
	struct hone_error err = {0};

	for (uint32_t i = 0; i < COMMANDS; i += step)
		if (device->vt->submit(device->device, l->c + i, step, sizeof l->c[0], &run, &err))
			fail_msg("%s", err.text);
}

/* A product that is taken before its rows are written, or before what it adds to; one that
 * runs twice.  A few rows with packed weights, and many rows with those of adapters. */
static void
test_packed_commands_together_give_the_bits_of_each_alone(void **state)
{
	static const int64_t sizes[][2] = {{3, WIDE}, {120, 8}, {120, 5}, {1, 8}};
	struct ops_device cpu;
	struct cpu_host h;

	(void)state;
	assert_true(open_path(&h, &cpu, 0, 2));
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct list one, all;

		list_init(&one, sizes[i][0], sizes[i][1]);
		list_init(&all, sizes[i][0], sizes[i][1]);
		list_run(&cpu, &one, 1);
		list_run(&cpu, &all, COMMANDS);
		assert_memory_equal(one.memory, all.memory, N_PLACES * PLACE * 4);
		free(one.memory);
		free(all.memory);
	}
	close_path(&h, &cpu);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packed_products_agree_with_reference),
		cmocka_unit_test(test_packed_row_has_the_same_bits_in_any_batch),
		cmocka_unit_test(test_packed_any_number_of_threads_gives_the_same_bits),
		cmocka_unit_test(test_packed_commands_together_give_the_bits_of_each_alone),
	};

	return cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
