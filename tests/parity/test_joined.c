/*
 * parity/test_joined.c - commands that the cpu backend runs as one, against the reference and
 * against themselves, one by one.
 *
 * A product and a narrow one added to it in place are submitted together, as programs do, with
 * the commands of an adapter between them; the reference runs the same list on memory of its
 * own.  Tolerances as in test_cpu.c: one rounding of operands and results more or less.
 */
#include "cpu_host.h"
#include "support.h"

#include <hone/storage.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

#define TOLERANCE_F32  2e-5
#define TOLERANCE_BF16 1.2e-2

/* ---- a list of commands on memory of its own ---- */

/* 32 signed bytes a block, in sixteenths. */
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
	.block_elems = 32,
	.block_bytes = 32,
	.n_parts = 1,
	.decode = stored_decode};

/* What is between the wide and the narrow product. */
enum between { ADAPTER, READS_RESULT, WRITES_INPUT };

struct shape {
	int32_t form;
	int64_t m, n, k, r;
	bool has_c, is_stored, narrow_first;
	enum between between;
};

enum { A, B, C, U, V, Y, COPY, N_OPERANDS };

struct list {
	struct hone_operand o[N_OPERANDS];
	struct hone_operand in[4][3];
	struct hone_attr_matmul matmul;
	struct hone_attr_scale twice;
	struct hone_command c[4];
	uint32_t n;
	uint8_t *memory;
};

/* Numbers in [-1, 1) of a type; f32 ones that bf16 holds, so that both paths see the same. */
static void
fill(struct hone_operand *o, uint64_t key)
{
	uint8_t *at = (uint8_t *)o->buffer + o->offset;
	const int64_t n = o->dim[0] * o->dim[1];

	for (int64_t i = 0; i < n; i++) {
		const float v = (float)(2.0 * hn_rng_uniform(7, key, (uint64_t)i, 0) - 1.0);
		const uint16_t h = hone_bf16_from_f32(v);

		if (o->storage)
			((int8_t *)at)[i] = (int8_t)(v * 15.0f);
		else if (o->dtype == HONE_DTYPE_BF16)
			((uint16_t *)(void *)at)[i] = h;
		else
			((float *)(void *)at)[i] = hone_bf16_to_f32(h);
	}
}

static struct hone_command
product(struct list *l, uint32_t at, uint32_t a, uint32_t b, int32_t c)
{
	l->in[at][0] = l->o[a];
	l->in[at][1] = l->o[b];
	if (c >= 0)
		l->in[at][2] = l->o[c];
	return (struct hone_command){.op = HONE_OP_MATMUL,
		.n_in = c >= 0 ? 3 : 2,
		.n_out = 1,
		.attr_size = sizeof l->matmul,
		.attr = &l->matmul,
		.in = l->in[at],
		.out = &l->o[Y],
		.name = "joined"};
}

static struct hone_command
scale(struct list *l, uint32_t from, uint32_t to)
{
	l->twice = (struct hone_attr_scale){.alpha = 2.0};
	return (struct hone_command){.op = HONE_OP_SCALE,
		.n_in = 1,
		.n_out = 1,
		.attr_size = sizeof l->twice,
		.attr = &l->twice,
		.in = &l->o[from],
		.out = &l->o[to],
		.name = "between"};
}

static void
list_init(struct list *l, const struct shape *s, int32_t dtype)
{
	const bool nt = s->form == HONE_MATMUL_NT;
	const int64_t dims[N_OPERANDS][2] = {{s->m, s->k}, {nt ? s->n : s->k, nt ? s->k : s->n},
		{s->m, s->n}, {s->m, s->r}, {nt ? s->n : s->r, nt ? s->r : s->n}, {s->m, s->n},
		{s->m, s->n}};
	uint64_t used = 0;

	memset(l, 0, sizeof *l);
	l->matmul.form = s->form;
	for (uint32_t i = 0; i < N_OPERANDS; i++) {
		l->o[i] = (struct hone_operand){.offset = used,
			.dtype = i == V ? HONE_DTYPE_F32 : dtype,
			.rank = 2,
			.dim = {dims[i][0], dims[i][1]}};
		used += ((uint64_t)(dims[i][0] * dims[i][1]) * 4 + 63) / 64 * 64;
	}
	l->memory = aligned_alloc(64, used);
	assert_non_null(l->memory);
	if (s->is_stored) {
		l->o[B].dtype = HONE_DTYPE_NONE;
		l->o[B].storage = &stored;
	}
	for (uint32_t i = 0; i < N_OPERANDS; i++) {
		l->o[i].buffer = l->memory;
		fill(&l->o[i], i);
	}
	if (s->narrow_first) {
		l->c[l->n++] = product(l, 0, U, V, s->has_c ? C : -1);
		l->c[l->n++] = scale(l, COPY, COPY);
		l->c[l->n++] = product(l, 2, A, B, Y);
		return;
	}
	l->c[l->n++] = product(l, 0, A, B, s->has_c ? C : -1);
	if (s->between == ADAPTER)
		l->c[l->n++] = scale(l, U, U);
	else if (s->between == READS_RESULT)
		l->c[l->n++] = scale(l, Y, COPY);
	else
		l->c[l->n++] = scale(l, A, A);
	l->c[l->n++] = product(l, 2, U, V, Y);
}

static double
element(const struct hone_operand *o, int64_t i)
{
	const uint8_t *at = (const uint8_t *)o->buffer + o->offset;

	return o->dtype == HONE_DTYPE_BF16
		? (double)hone_bf16_to_f32(((const uint16_t *)(const void *)at)[i])
		: (double)((const float *)(const void *)at)[i];
}

static void
run(const struct ops_device *device, const struct list *l, uint32_t n)
{
	static const int64_t none[1];
	const struct hone_run live = {
		.struct_size = sizeof live, .n_spaces = 1, .live = none, .begin = none};
	struct hone_error err = {0};

	if (device->vt->submit(device->device, l->c, n, sizeof l->c[0], &live, &err) ||
		device->vt->wait(device->device, &err))
		fail_msg("%s", err.text);
}

/* Elements of Y and of COPY beyond the tolerance. */
static int64_t
count_wrong(const struct list *got, const struct list *want, double tolerance)
{
	int64_t wrong = 0;

	for (uint32_t o = Y; o <= COPY; o++) {
		const int64_t n = got->o[o].dim[0] * got->o[o].dim[1];
		double square = 0.0;

		for (int64_t i = 0; i < n; i++)
			square += element(&want->o[o], i) * element(&want->o[o], i);
		square = sqrt(square / (double)n);
		for (int64_t i = 0; i < n; i++) {
			const double w = element(&want->o[o], i);

			wrong += !(
				fabs(element(&got->o[o], i) - w) <= tolerance * (fabs(w) + square));
		}
	}
	return wrong;
}

/* ---- gated activations ---- */

enum { X, UP, S, H, D, T, DX, DU, N_GATE };

/* Where operands lie: `in_place[i]` is the operand whose memory i takes. */
struct gate_shape {
	int32_t kind;
	int64_t rows, cols;
	uint8_t in_place[N_GATE];
	bool swapped; /* u s instead of s u */
};

static const struct gate_shape gates[] = {
	{HONE_UNARY_SILU, 3, 5, {X, UP, S, S, D, T, T, D}, false},
	{HONE_UNARY_SILU, 64, 512, {X, UP, S, H, D, T, T, D}, false},
	{HONE_UNARY_GELU, 33, 1537, {X, UP, S, S, D, T, T, DU}, true},
	{HONE_UNARY_GELU_TANH, 1, 31, {X, UP, S, X, D, T, T, S}, false},
	{HONE_UNARY_SIGMOID, 7, 19, {X, UP, S, UP, D, T, T, DU}, true},
	/* these may not be joined: a result lies where another is still read */
	{HONE_UNARY_SILU, 9, 40, {X, UP, X, X, D, T, T, D}, false},
	{HONE_UNARY_SILU, 9, 40, {X, UP, UP, H, D, T, T, X}, false},
	{HONE_UNARY_SILU, 9, 40, {X, UP, S, H, D, D, D, DU}, false},
	{HONE_UNARY_SILU, 9, 40, {X, UP, S, H, D, S, S, DU}, false},
	{HONE_UNARY_SILU, 9, 40, {X, UP, S, H, D, T, DX, T}, false},
	{HONE_UNARY_RELU, 9, 40, {X, UP, S, H, D, T, T, DU}, false},
};

struct gate_list {
	struct hone_operand o[N_GATE], in[5][2];
	struct hone_attr_unary unary;
	struct hone_attr_binary mul;
	struct hone_command c[5];
	uint8_t *memory;
	size_t bytes;
};

static void
gate_command(struct gate_list *l, uint32_t at, uint32_t op, int a, int b, int y)
{
	const bool is_unary = op != HONE_OP_BINARY;

	l->in[at][0] = l->o[a];
	if (b >= 0)
		l->in[at][1] = l->o[b];
	l->c[at] = (struct hone_command){.op = op,
		.n_in = b >= 0 ? 2 : 1,
		.n_out = 1,
		.attr = is_unary ? (const void *)&l->unary : &l->mul,
		.attr_size = is_unary ? sizeof l->unary : sizeof l->mul,
		.in = l->in[at],
		.out = &l->o[y],
		.name = "gate"};
}

static void
gate_init(struct gate_list *l, const struct gate_shape *s, int32_t dtype)
{
	const size_t each = ((size_t)(s->rows * s->cols) * 4 + 63) / 64 * 64;

	memset(l, 0, sizeof *l);
	l->unary.kind = s->kind;
	l->mul.kind = HONE_BINARY_MUL;
	l->bytes = each * N_GATE;
	l->memory = aligned_alloc(64, l->bytes);
	assert_non_null(l->memory);
	memset(l->memory, 0, l->bytes);
	for (uint32_t i = 0; i < N_GATE; i++) {
		l->o[i] = (struct hone_operand){.buffer = l->memory,
			.offset = each * s->in_place[i],
			.dtype = dtype,
			.rank = 2,
			.dim = {s->rows, s->cols}};
		if (s->in_place[i] == i)
			fill(&l->o[i], i);
	}
	gate_command(l, 0, HONE_OP_UNARY, X, -1, S);
	gate_command(l, 1, HONE_OP_BINARY, s->swapped ? UP : S, s->swapped ? S : UP, H);
	gate_command(l, 2, HONE_OP_BINARY, D, UP, T);
	gate_command(l, 3, HONE_OP_BINARY, s->swapped ? S : D, s->swapped ? D : S, DU);
	gate_command(l, 4, HONE_OP_UNARY_BACK, T, X, DX);
}

static const struct shape shapes[] = {
	{HONE_MATMUL_NT, 96, 192, 576, 8, false, false, false, ADAPTER},
	{HONE_MATMUL_NT, 530, 70, 577, 5, true, false, false, ADAPTER},
	{HONE_MATMUL_NT, 13, 1001, 129, 64, true, false, false, ADAPTER},
	{HONE_MATMUL_NT, 37, 45, 4401, 1, false, false, false, ADAPTER},
	{HONE_MATMUL_NT, 3, 200, 300, 8, true, false, false, ADAPTER},
	{HONE_MATMUL_NT, 9, 4200, 512, 8, true, true, false, ADAPTER},
	{HONE_MATMUL_NT, 40, 4200, 512, 8, true, true, false, ADAPTER},
	{HONE_MATMUL_NN, 96, 576, 192, 8, false, false, true, ADAPTER},
	{HONE_MATMUL_NN, 41, 577, 1537, 7, true, false, true, ADAPTER},
	{HONE_MATMUL_NN, 61, 70, 4401, 16, true, false, true, ADAPTER},
	{HONE_MATMUL_NN, 1, 33, 100, 2, false, false, true, ADAPTER},
	{HONE_MATMUL_NN, 9, 512, 4200, 8, true, true, true, ADAPTER},
	{HONE_MATMUL_NT, 96, 192, 576, 8, true, false, false, READS_RESULT},
	{HONE_MATMUL_NT, 96, 192, 576, 8, true, false, false, WRITES_INPUT},
};

enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

/* Opens a path with two threads; false where this processor lacks it. */
static bool
open_cpu(struct ops_device *d, struct cpu_host *h, int32_t path)
{
	cpu_host_open(h, 2);
	if (cpu_host_device(h, path, d))
		return true;
	cpu_host_close(h);
	return false;
}

/* An addend that is lost or added twice; steps of the narrow product from a wrong panel; a
 * product that waits although its result is read, or its operand written, in between. */
static void
test_joined_products_agree_with_reference(void **state)
{
	const struct ops_device *reference = *state;
	int failures = 0;

	for (int32_t path = 0; path < CPU_PATHS; path++) {
		struct ops_device cpu;
		struct cpu_host h;

		if (!open_cpu(&cpu, &h, path))
			continue;
		for (int i = 0; i < 2 * N_SHAPES; i++) {
			const int32_t dtype = i % 2 ? HONE_DTYPE_BF16 : HONE_DTYPE_F32;
			struct list got, want;
			int64_t wrong;

			list_init(&got, &shapes[i / 2], dtype);
			list_init(&want, &shapes[i / 2], dtype);
			run(&cpu, &got, got.n);
			run(reference, &want, want.n);
			wrong = count_wrong(&got, &want, i % 2 ? TOLERANCE_BF16 : TOLERANCE_F32);
			if (wrong)
				print_error("path %d, shape %d, %s: %lld elements differ\n", path,
					i / 2, hone_dtype_name(dtype), (long long)wrong);
			failures += wrong != 0;
			free(got.memory);
			free(want.memory);
		}
		ops_close(&cpu);
		cpu_host_close(&h);
	}
	assert_int_equal(failures, 0);
}

/* A base model that changes by being adapted: with V = 0 the result must be, bit for bit,
 * that of the wide product alone. */
static void
test_joined_zero_update_changes_no_bit(void **state)
{
	(void)state;
	for (int32_t path = 0; path < CPU_PATHS; path++) {
		struct ops_device cpu;
		struct cpu_host h;

		if (!open_cpu(&cpu, &h, path))
			continue;
		for (int i = 0; i < 2 * N_SHAPES; i++) {
			const int32_t dtype = i % 2 ? HONE_DTYPE_BF16 : HONE_DTYPE_F32;
			const struct shape *s = &shapes[i / 2];
			struct list both, alone;

			if (s->narrow_first || s->between != ADAPTER)
				continue;
			list_init(&both, s, dtype);
			list_init(&alone, s, dtype);
			memset(both.memory + both.o[V].offset, 0,
				(size_t)(both.o[V].dim[0] * both.o[V].dim[1]) * 4);
			run(&cpu, &both, both.n);
			run(&cpu, &alone, 1);
			if (memcmp(both.memory + both.o[Y].offset, alone.memory + alone.o[Y].offset,
				    (size_t)(s->m * s->n * hone_dtype_bytes(dtype))))
				fail_msg("path %d, shape %d, %s: other bits", path, i / 2,
					hone_dtype_name(dtype));
			free(both.memory);
			free(alone.memory);
		}
		ops_close(&cpu);
		cpu_host_close(&h);
	}
}

/* ---- Adapters side by side ---- */

enum {
	S_X,
	S_W,
	S_B,
	S_A0,
	S_A1,
	S_A2,
	S_U0,
	S_U1,
	S_Y,
	N_STACKED,
	STACKED = 6,
	STACKED_FLOATS = 6144
};

struct stack {
	struct hone_operand o[N_STACKED], in[STACKED][3], last;
	struct hone_attr_matmul matmul;
	struct hone_attr_scale twice;
	struct hone_command c[STACKED];
	uint8_t *memory;
};

/* y = x w; u0 = x a0; u0 = 2 u0; y = u0 b + y; u1 = x a1; and w = x a2, which no one may have
 * written before w was read. */
static void
stack_init(struct stack *l)
{
	static const int64_t dims[N_STACKED][2] = {
		{60, 96}, {40, 96}, {40, 8}, {8, 96}, {5, 96}, {8, 96}, {60, 8}, {60, 5}, {60, 40}};
	static const int places[STACKED][4] = {{S_X, S_W, -1, S_Y}, {S_X, S_A0, -1, S_U0},
		{S_U0, -1, -1, S_U0}, {S_U0, S_B, S_Y, S_Y}, {S_X, S_A1, -1, S_U1},
		{S_X, S_A2, -1, S_W}};

	memset(l, 0, sizeof *l);
	l->memory = aligned_alloc(64, N_STACKED * STACKED_FLOATS * 4);
	assert_non_null(l->memory);
	memset(l->memory, 0, N_STACKED * STACKED_FLOATS * 4);
	l->matmul.form = HONE_MATMUL_NT;
	l->twice = (struct hone_attr_scale){.alpha = 2.0};
	for (int i = 0; i < N_STACKED; i++) {
		l->o[i] = (struct hone_operand){.buffer = l->memory,
			.offset = (uint64_t)i * STACKED_FLOATS * 4,
			.dtype = HONE_DTYPE_F32,
			.rank = 2,
			.dim = {dims[i][0], dims[i][1]}};
		fill(&l->o[i], (uint64_t)i);
	}
	for (int i = 0; i < STACKED; i++) {
		const int is_scale = places[i][1] < 0;
		struct hone_command *c = &l->c[i];

		*c = (struct hone_command){.op = is_scale ? HONE_OP_SCALE : HONE_OP_MATMUL,
			.n_out = 1,
			.attr = is_scale ? (const void *)&l->twice : (const void *)&l->matmul,
			.attr_size = is_scale ? sizeof l->twice : sizeof l->matmul,
			.in = l->in[i],
			.out = &l->o[places[i][3]],
			.name = "stacked"};
		for (; c->n_in < 3 && places[i][c->n_in] >= 0; c->n_in++)
			l->in[i][c->n_in] = l->o[places[i][c->n_in]];
	}
	l->last = l->o[S_W];
	l->last.dim[0] = dims[S_X][0];
	l->last.dim[1] = dims[S_A2][0];
	l->c[STACKED - 1].out = &l->last;
}

static void
stack_run(const struct ops_device *device, const struct stack *l, uint32_t step)
{
	static const int64_t none[1];
	const struct hone_run live = {
		.struct_size = sizeof live, .n_spaces = 1, .live = none, .begin = none};
	struct hone_error err = {0};

	for (uint32_t i = 0; i < STACKED; i += step)
		if (device->vt->submit(device->device, l->c + i, step, sizeof l->c[0], &live, &err))
			fail_msg("%s", err.text);
}

/* A product of few columns that runs before the weight under it was read by the product that
 * waits.  The wide result is formed in one sum or in two: 104 products of numbers below 1 in f32 are
 * within 104 of its roundings, 1e-5. */
static void
test_joined_stack_leaves_alone_what_a_waiting_product_reads(void **state)
{
	(void)state;
	for (int32_t path = 0; path < CPU_PATHS; path++) {
		struct stack one, all;
		struct ops_device cpu;
		struct cpu_host h;
		double far = 0.0;

		if (!open_cpu(&cpu, &h, path))
			continue;
		stack_init(&one);
		stack_init(&all);
		stack_run(&cpu, &one, 1);
		stack_run(&cpu, &all, STACKED);
		assert_memory_equal(one.memory, all.memory, (size_t)S_Y * STACKED_FLOATS * 4);
		for (int64_t i = 0; i < 60 * 40; i++)
			far = fmax(far, fabs(element(&one.o[S_Y], i) - element(&all.o[S_Y], i)));
		assert_true(far < 2e-5);
		free(one.memory);
		free(all.memory);
		ops_close(&cpu);
		cpu_host_close(&h);
	}
}

static void
submit_gate(const struct ops_device *device, const struct gate_list *l, uint32_t from, uint32_t n)
{
	static const int64_t none[1];
	const struct hone_run live = {
		.struct_size = sizeof live, .n_spaces = 1, .live = none, .begin = none};
	struct hone_error err = {0};

	if (device->vt->submit(device->device, l->c + from, n, sizeof l->c[0], &live, &err))
		fail_msg("%s", err.text);
}

/* A rounding that joined commands skip, a tail, an operand that is overwritten before it is
 * read; the activation that stays in memory for the backward and is not stored. */
static void
test_joined_gate_gives_the_bits_of_its_commands(void **state)
{
	(void)state;
	for (int32_t path = 0; path < CPU_PATHS; path++) {
		struct ops_device cpu;
		struct cpu_host h;

		if (!open_cpu(&cpu, &h, path))
			continue;
		for (size_t i = 0; i < 2 * (sizeof gates / sizeof gates[0]); i++) {
			const int32_t dtype = i % 2 ? HONE_DTYPE_BF16 : HONE_DTYPE_F32;
			struct gate_list together, single;

			gate_init(&together, &gates[i / 2], dtype);
			gate_init(&single, &gates[i / 2], dtype);
			submit_gate(&cpu, &together, 0, 5);
			for (uint32_t k = 0; k < 5; k++)
				submit_gate(&cpu, &single, k, 1);
			if (memcmp(together.memory, single.memory, single.bytes))
				fail_msg("path %d, gate %zu, %s: other bits", path, i / 2,
					hone_dtype_name(dtype));
			free(together.memory);
			free(single.memory);
		}
		ops_close(&cpu);
		cpu_host_close(&h);
	}
}

/* ---- One job ---- */

enum {
	J_ROWS = 64,
	J_K = 96,
	J_N = 256,
	J_HEAD = 64,
	J_BYTES = J_K * J_N * 4, /* of the largest */
	J_COMMANDS = 4
};

/* x [m, k], weights of NT and NN, matrices [m, n], bias [n], rotations, narrow operands, their
 * gradients. */
enum { X0, W_NT, W_NN, M0, M1, M2, M3, M4, BIAS, TURNS, DY, T0, T1, G0, G1, N_JOB_OPERANDS };

static const struct {
	int64_t rows, cols;
	int32_t dtype;
} job_operands[N_JOB_OPERANDS] = {[X0] = {J_ROWS, J_K, HONE_DTYPE_F32},
	[W_NT] = {J_N, J_K, HONE_DTYPE_F32},
	[W_NN] = {J_K, J_N, HONE_DTYPE_F32},
	[M0] = {J_ROWS, J_N, HONE_DTYPE_F32},
	[M1] = {J_ROWS, J_N, HONE_DTYPE_F32},
	[M2] = {J_ROWS, J_N, HONE_DTYPE_F32},
	[M3] = {J_ROWS, J_N, HONE_DTYPE_F32},
	[M4] = {J_ROWS, J_N, HONE_DTYPE_F32},
	[BIAS] = {1, J_N, HONE_DTYPE_F32},
	[TURNS] = {J_ROWS, J_HEAD, HONE_DTYPE_F32},
	[DY] = {J_ROWS, J_N, HONE_DTYPE_F32},
	[T0] = {J_ROWS, 8, HONE_DTYPE_F32},
	[T1] = {J_ROWS, 8, HONE_DTYPE_F32},
	[G0] = {8, J_K, HONE_DTYPE_F32},
	[G1] = {8, J_K, HONE_DTYPE_F32}};

static const struct hone_attr_matmul nt = {.form = HONE_MATMUL_NT}, nn = {.form = HONE_MATMUL_NN},
				     tn = {.form = HONE_MATMUL_TN};
static const struct hone_attr_unary silu = {.kind = HONE_UNARY_SILU},
				    gelu = {.kind = HONE_UNARY_GELU};
static const struct hone_attr_binary add = {.kind = HONE_BINARY_ADD},
				     mul = {.kind = HONE_BINARY_MUL};
static const struct hone_attr_rope turn = {.head_dim = J_HEAD, .layout = HONE_ROPE_HALVES};

struct job_command {
	uint32_t op;
	const void *attr;
	uint64_t attr_size;
	int in[2], out; /* in[1] -1 = none */
};

#define PRODUCT(form, a, b, y)                                                                     \
	{                                                                                          \
		HONE_OP_MATMUL, &(form), sizeof(form), {a, b}, y                                   \
	}
#define POINT(op, attr, a, b, y)                                                                   \
	{                                                                                          \
		op, &(attr), sizeof(attr), {a, b}, y                                               \
	}

static const struct {
	const char *name;
	int64_t n_jobs; /* at once */
	struct job_command c[J_COMMANDS];
} jobs[] = {
	{"bias, activation", 1,
		{PRODUCT(nt, X0, W_NT, M0), POINT(HONE_OP_BINARY, add, M0, BIAS, M0),
			POINT(HONE_OP_UNARY, gelu, M0, -1, M1)}},
	{"residual", 1, {PRODUCT(nt, X0, W_NT, M0), POINT(HONE_OP_BINARY, add, M2, M0, M0)}},
	{"gate", 1,
		{PRODUCT(nt, X0, W_NT, M0), POINT(HONE_OP_UNARY, silu, M1, -1, M2),
			POINT(HONE_OP_BINARY, mul, M2, M0, M2)}},
	{"gradients of a gate, a pass of their own", 2,
		{PRODUCT(nn, X0, W_NN, M0), POINT(HONE_OP_BINARY, mul, M0, M1, M4),
			POINT(HONE_OP_BINARY, mul, M0, M2, M0),
			POINT(HONE_OP_UNARY_BACK, silu, M4, M3, M4)}},
	{"gradient of an activation", 1,
		{PRODUCT(nn, X0, W_NN, M0), POINT(HONE_OP_UNARY_BACK, gelu, M0, M1, M0)}},
	{"rotation", 1, {PRODUCT(nt, X0, W_NT, M0), POINT(HONE_OP_ROPE, turn, M0, TURNS, M0)}},
	{"gradients of adapters", 1,
		{PRODUCT(tn, T0, X0, G0), PRODUCT(tn, T1, X0, G1), PRODUCT(nt, X0, W_NT, M0)}},
	/* these may not: nothing of the product is read; a gradient that is needed */
	{"another's activation", 2,
		{PRODUCT(nt, X0, W_NT, M0), POINT(HONE_OP_UNARY, gelu, M1, -1, M2)}},
	{"a gradient as weight", 2, {PRODUCT(tn, T0, DY, M3), PRODUCT(nt, DY, M3, M4)}},
};

/* Runs a list `step` commands at a time; how many jobs the pool was given. */
static int64_t
run_jobs(const struct ops_device *cpu, struct cpu_host *h, size_t which, uint32_t step,
	uint8_t *memory)
{
	static const int64_t none[1];
	const struct hone_run live = {
		.struct_size = sizeof live, .n_spaces = 1, .live = none, .begin = none};
	struct hone_operand o[N_JOB_OPERANDS], in[J_COMMANDS][2];
	struct hone_command c[J_COMMANDS];
	struct hone_error err = {0};
	uint32_t n = 0;

	for (int i = 0; i < N_JOB_OPERANDS; i++) {
		o[i] = (struct hone_operand){.buffer = memory,
			.offset = (uint64_t)i * J_BYTES,
			.dtype = job_operands[i].dtype,
			.rank = 2,
			.dim = {job_operands[i].rows, job_operands[i].cols}};
		fill(&o[i], (uint64_t)i);
	}
	o[M3].dim[0] = which == sizeof jobs / sizeof *jobs - 1 ? 8 : J_ROWS;
	o[M4].dim[1] = which == sizeof jobs / sizeof *jobs - 1 ? 8 : J_N;
	for (; n < J_COMMANDS && jobs[which].c[n].op; n++) {
		const struct job_command *j = &jobs[which].c[n];

		in[n][0] = o[j->in[0]];
		if (j->in[1] >= 0)
			in[n][1] = o[j->in[1]];
		c[n] = (struct hone_command){.op = j->op,
			.n_in = j->in[1] >= 0 ? 2 : 1,
			.n_out = 1,
			.attr = j->attr,
			.attr_size = (uint32_t)j->attr_size,
			.in = in[n],
			.out = &o[j->out],
			.name = jobs[which].name};
	}
	h->n_jobs = 0;
	for (uint32_t i = 0; i < n; i += step)
		if (cpu->vt->submit(cpu->device, c + i, step < n - i ? step : n - i, sizeof *c,
			    &live, &err))
			fail_msg("%s: %s", jobs[which].name, err.text);
	return h->n_jobs;
}

/* Commands that stand together and are passes of their own nevertheless, which no result shows. */
static void
test_joined_commands_are_one_job(void **state)
{
	uint8_t *memory = aligned_alloc(64, (size_t)N_JOB_OPERANDS * J_BYTES);
	struct ops_device cpu;
	struct cpu_host h;

	(void)state;
	assert_non_null(memory);
	memset(memory, 0, (size_t)N_JOB_OPERANDS * J_BYTES);
	for (int32_t path = 0; path < CPU_PATHS; path++) {
		if (!open_cpu(&cpu, &h, path))
			continue;
		for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
			const int64_t alone = run_jobs(&cpu, &h, i, 1, memory);
			const int64_t together = run_jobs(&cpu, &h, i, J_COMMANDS, memory);

			if (alone < 2 || together != jobs[i].n_jobs)
				fail_msg(
					"path %d, %s: %lld jobs one by one, %lld at once, not %lld",
					path, jobs[i].name, (long long)alone, (long long)together,
					(long long)jobs[i].n_jobs);
		}
		ops_close(&cpu);
		cpu_host_close(&h);
	}
	free(memory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_joined_products_agree_with_reference),
		cmocka_unit_test(test_joined_zero_update_changes_no_bit),
		cmocka_unit_test(test_joined_stack_leaves_alone_what_a_waiting_product_reads),
		cmocka_unit_test(test_joined_gate_gives_the_bits_of_its_commands),
		cmocka_unit_test(test_joined_commands_are_one_job),
	};

	return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
