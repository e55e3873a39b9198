/*
 * unit/test_reference.c - the reference backend against PyTorch in double, its conduct in
 * guarded memory, and what it refuses.
 */
#include "op_cases.h"
#include "op_golden.h"
#include "support.h"

#include <hone/storage.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Both sides sum a few numbers in double, in another order. */
#define GOLDEN_TOLERANCE 1e-12

/* ---- values ---- */

/* A copy of a golden case's inputs, with room for outputs. */
static void
data_copy(struct ops_data *to, const struct ops_data *from)
{
	*to = *from;
	for (uint32_t i = 0; i < from->n_in; i++) {
		to->in[i] = malloc(((size_t)from->n_in_elems[i] + 1) * sizeof(double));
		assert_non_null(to->in[i]);
		memcpy(to->in[i], from->in[i], (size_t)from->n_in_elems[i] * sizeof(double));
	}
	for (uint32_t i = 0; i < from->n_out; i++) {
		to->out[i] = calloc((size_t)from->n_out_elems[i] + 1, sizeof(double));
		assert_non_null(to->out[i]);
	}
}

/* Catches: any operation, forward or backward, that computes something else than PyTorch;
 * and an operation without a golden value at all. */
static void
test_reference_golden_cases_match_pytorch(void **state)
{
	struct op_golden golden;
	bool seen[64] = {false};
	char why[OPS_WHY] = "memory";

	if (!op_golden_load(&golden, why))
		fail_msg("%s", why);
	for (size_t i = 0; i < golden.n; i++) {
		const struct op_golden_case *g = &golden.cases[i];
		struct ops_data got;

		data_copy(&got, &g->data);
		if (!ops_run(*state, &g->command, HONE_DTYPE_F64, &got, why) ||
			!ops_near(&got, &g->data, &g->command, GOLDEN_TOLERANCE, why))
			fail_msg("%s: %s", g->command.name, why);
		ops_data_fini(&got);
		seen[g->command.op] = true;
	}
	for (uint32_t op = HONE_OP_MATMUL; op <= HONE_OP_ADAMW; op++)
		if (!seen[op])
			fail_msg("%s has no golden case", op_name(op));
	op_golden_fini(&golden);
}

/* Catches: a golden comparison that accepts anything. */
static void
test_reference_golden_value_off_by_a_little_is_refused(void **state)
{
	struct op_golden golden;
	char why[OPS_WHY] = "memory";

	(void)state;
	if (!op_golden_load(&golden, why))
		fail_msg("%s", why);
	for (size_t i = 0; i < golden.n; i++) {
		const struct op_golden_case *g = &golden.cases[i];
		struct ops_data changed;
		int64_t largest = 0;

		data_copy(&changed, &g->data);
		for (uint32_t k = 0; k < g->data.n_out; k++)
			memcpy(changed.out[k], g->data.out[k],
				(size_t)g->data.n_out_elems[k] * sizeof(double));
		for (int64_t k = 1; k < changed.n_out_elems[0]; k++)
			if (fabs(changed.out[0][k]) > fabs(changed.out[0][largest]))
				largest = k;
		changed.out[0][largest] += 1e-9 * (1 + fabs(changed.out[0][largest]));
		if (!isfinite(changed.out[0][largest]))
			changed.out[0][largest] = 0;
		if (ops_near(&changed, &g->data, &g->command, GOLDEN_TOLERANCE, why))
			fail_msg("%s accepts a wrong value", g->command.name);
		ops_data_fini(&changed);
	}
	op_golden_fini(&golden);
}

/* Catches: a conversion to f16 or bf16 that is not exact for a number of that type. */
static void
test_reference_cast_all_halves_round_trip(void **state)
{
	static const int32_t types[] = {HONE_DTYPE_F16, HONE_DTYPE_BF16};

	for (size_t k = 0; k < 2; k++) {
		struct ops_case c = {.name = "cast", .op = HONE_OP_CAST, .n_in = 1, .n_out = 1};
		struct ops_data data;
		char why[OPS_WHY];

		c.attr.cast.dtype = types[k];
		c.attr_size = sizeof c.attr.cast;
		c.in[0] = (struct ops_operand){.dtype = HONE_DTYPE_F64, .rank = 1, .dim = {65536}};
		c.out[0] = (struct ops_operand){.dtype = types[k], .rank = 1, .dim = {65536}};
		assert_true(ops_data_init(&data, &c, HONE_DTYPE_F64));
		for (int32_t i = 0; i < 65536; i++)
			data.in[0][i] = (double)(k == 0 ? hone_f16_to_f32((uint16_t)i)
							: hone_bf16_to_f32((uint16_t)i));
		if (!ops_run(*state, &c, HONE_DTYPE_F64, &data, why))
			fail_msg("%s", why);
		for (int32_t i = 0; i < 65536; i++) {
			const double was = data.in[0][i], is = data.out[0][i];

			if (was != is && !(isnan(was) && isnan(is)))
				fail_msg("%s %#x: %g became %g", hone_dtype_name(types[k]),
					(unsigned)i, was, is);
		}
		ops_data_fini(&data);
	}
}

/* Catches: a number rounded twice on its way to bf16 or f16.  Just above a tie it goes up,
 * although the nearest f32 is the tie, which would go down to the even neighbour. */
static void
test_reference_cast_just_above_a_tie_rounds_once(void **state)
{
	static const struct {
		int32_t dtype;
		double value, wanted;
	} ties[] = {
		{HONE_DTYPE_BF16, 1 + 0x1p-8 + 0x1p-40, 1 + 0x1p-7},
		{HONE_DTYPE_BF16, 1 + 0x1p-8 - 0x1p-40, 1},
		{HONE_DTYPE_BF16, -(1 + 3 * 0x1p-8) + 0x1p-40, -(1 + 0x1p-7)},
		{HONE_DTYPE_F16, 1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-10},
		{HONE_DTYPE_F16, 1 + 3 * 0x1p-11 - 0x1p-40, 1 + 0x1p-10},
		{HONE_DTYPE_F16, 0x1p-25 + 0x1p-60, 0x1p-24},
	};

	for (size_t i = 0; i < sizeof ties / sizeof ties[0]; i++) {
		struct ops_case c = {.name = "cast", .op = HONE_OP_CAST, .n_in = 1, .n_out = 1};
		struct ops_data data;
		char why[OPS_WHY];

		c.attr.cast.dtype = ties[i].dtype;
		c.attr_size = sizeof c.attr.cast;
		c.in[0] = (struct ops_operand){.dtype = HONE_DTYPE_F64,
			.rank = 1,
			.dim = {1},
			.fill = OPS_FILL_CONST,
			.a = ties[i].value};
		c.out[0] = (struct ops_operand){.dtype = ties[i].dtype, .rank = 1, .dim = {1}};
		assert_true(ops_data_init(&data, &c, HONE_DTYPE_F64));
		if (!ops_run(*state, &c, HONE_DTYPE_F64, &data, why))
			fail_msg("%s", why);
		assert_true(data.out[0][0] == ties[i].wanted);
		ops_data_fini(&data);
	}
}

/* ---- memory ---- */

static bool
any_nan(const struct ops_data *data)
{
	for (uint32_t i = 0; i < data->n_out; i++)
		for (int64_t k = 0; k < data->n_out_elems[i]; k++)
			if (isnan(data->out[i][k]))
				return true;
	return false;
}

/* Catches: a kernel that writes beyond live rows or operands, or reads there (a NaN stands
 * there), or leaves an element of its output unwritten (a NaN as well). */
static void
test_reference_all_cases_stay_in_their_rows(void **state)
{
	static const int32_t types[] = {HONE_DTYPE_F32, HONE_DTYPE_BF16, HONE_DTYPE_F64};
	bool seen[64] = {false};
	struct op_cases cases;
	char why[OPS_WHY];

	assert_true(op_cases_init(&cases));
	for (size_t i = 0; i < cases.n; i++)
		for (size_t k = 0; k < 3; k++) {
			const struct ops_case *c = &cases.items[i];
			struct ops_data data;

			if (!ops_data_init(&data, c, types[k]))
				fail_msg("%s: its inputs cannot be made", c->name);
			if (!ops_run(*state, c, types[k], &data, why))
				fail_msg("%s, %s: %s", c->name, hone_dtype_name(types[k]), why);
			if (any_nan(&data))
				fail_msg("%s, %s: NaN", c->name, hone_dtype_name(types[k]));
			ops_data_fini(&data);
			seen[c->op] = true;
		}
	for (uint32_t op = HONE_OP_MATMUL; op <= HONE_OP_ADAMW; op++)
		if (!seen[op])
			fail_msg("%s has no case", op_name(op));
	op_cases_fini(&cases);
}

/* From the same operands, the result is that of double rounded once, bit for bit. */
static void
check_rounded_once(const struct ops_device *device, const struct ops_case *c, int32_t compute)
{
	struct ops_data narrow, wide;
	char why[OPS_WHY];

	assert_true(ops_data_init(&narrow, c, compute));
	assert_true(ops_data_init(&wide, c, HONE_DTYPE_F64));
	for (uint32_t k = 0; k < c->n_in; k++)
		memcpy(wide.in[k], narrow.in[k], (size_t)wide.n_in_elems[k] * sizeof(double));
	for (uint32_t k = 0; k < c->n_out; k++)
		memcpy(wide.out[k], narrow.out[k], (size_t)wide.n_out_elems[k] * sizeof(double));
	if (!ops_run(device, c, compute, &narrow, why) ||
		!ops_run(device, c, HONE_DTYPE_F64, &wide, why))
		fail_msg("%s: %s", c->name, why);
	for (uint32_t k = 0; k < c->n_out; k++)
		for (int64_t i = 0; i < wide.n_out_elems[k]; i++)
			wide.out[k][i] =
				ops_round(ops_dtype(c->out[k].dtype, compute), wide.out[k][i]);
	if (!ops_near(&narrow, &wide, c, 0, why))
		fail_msg("%s, %s: %s", c->name, hone_dtype_name(compute), why);
	ops_data_fini(&narrow);
	ops_data_fini(&wide);
}

/* Catches: a sum that is rounded on its way in f32 or bf16. */
static void
test_reference_results_are_rounded_once(void **state)
{
	struct op_cases cases;

	assert_true(op_cases_init(&cases));
	for (size_t i = 0; i < cases.n; i++) {
		check_rounded_once(*state, &cases.items[i], HONE_DTYPE_F32);
		check_rounded_once(*state, &cases.items[i], HONE_DTYPE_BF16);
	}
	op_cases_fini(&cases);
}

/* ---- what is refused ---- */

static enum hone_status
ask(const struct ops_device *device, const struct hone_command *command, struct hone_error *err)
{
	memset(err, 0, sizeof *err);
	return device->vt->supports(device->device, command, err);
}

/* Catches: an operation, attribute or operand of a later version that is computed wrongly
 * instead of being refused with a reason. */
static void
test_reference_supports_unknown_is_refused_with_reason(void **state)
{
	const struct hone_attr_unary kind = {HONE_UNARY_EXP, 0}, later = {99, 0};
	const struct hone_operand x[3] = {{.dtype = HONE_DTYPE_F32, .rank = 2, .dim = {3, 4}},
		{.dtype = HONE_DTYPE_F32, .rank = 2, .dim = {3, 4}},
		{.dtype = HONE_DTYPE_F32, .rank = 2, .dim = {3, 4}}};
	const struct hone_operand odd = {.dtype = 99, .rank = 2, .dim = {3, 4}};
	const struct hone_command good = {.op = HONE_OP_UNARY,
		.n_in = 1,
		.n_out = 1,
		.attr_size = sizeof kind,
		.attr = &kind,
		.in = x,
		.out = x};
	struct hone_command bad[7];
	struct hone_error err;

	assert_int_equal(ask(*state, &good, &err), HONE_OK);
	for (size_t i = 0; i < 7; i++)
		bad[i] = good;
	bad[0].op = 4000;
	bad[1].attr_size = sizeof kind + 8;
	bad[2].n_in = 2;
	bad[3].n_out = 2;
	bad[4].attr = &later;
	bad[5].in = &odd;
	bad[6].flags = HONE_COMMAND_ACCUMULATE;
	for (size_t i = 0; i < 7; i++) {
		if (ask(*state, &bad[i], &err) != HONE_EUNSUPPORTED || !err.text[0])
			fail_msg("command %zu was not refused", i);
		assert_int_equal(err.status, HONE_EUNSUPPORTED);
	}
}

/* Catches: an index or a label that is out of range and is followed into foreign memory. */
static void
test_reference_index_out_of_range_is_an_error_with_its_row(void **state)
{
	static const int32_t index[] = {0, 4, 1}, label[] = {1, 2, 5}, negative[] = {0, -1, 2};
	const struct ops_operand table = {.dtype = HONE_DTYPE_F32, .rank = 2, .dim = {4, 5}};
	const struct ops_operand rows = {.dtype = HONE_DTYPE_F32, .rank = 2, .dim = {3, 5}};
	const struct ops_operand column = {.dtype = HONE_DTYPE_F32, .rank = 2, .dim = {3, 1}};
	struct ops_operand list = {.dtype = HONE_DTYPE_I32,
		.rank = 1,
		.dim = {3},
		.fill = OPS_FILL_LIST,
		.list = index,
		.n_list = 3};
	struct ops_case gather = {.name = "gather",
		.op = HONE_OP_GATHER_ROWS,
		.n_in = 2,
		.n_out = 1,
		.in = {table, list},
		.out = {rows}};
	struct ops_case nll = {.name = "nll",
		.op = HONE_OP_NLL,
		.attr_size = sizeof(struct hone_attr_nll),
		.n_in = 2,
		.n_out = 2,
		.in = {rows, list},
		.out = {column, column}};
	const struct ops_case *cases[] = {&gather, &gather, &nll};
	const char *const said[] = {"index 4 of row 1", "index -1 of row 1", "label 5 of row 2"};

	nll.in[1].list = label;
	for (size_t i = 0; i < 3; i++) {
		struct ops_data data;
		char why[OPS_WHY];

		gather.in[1].list = i == 1 ? negative : index;
		assert_true(ops_data_init(&data, cases[i], HONE_DTYPE_F32));
		assert_false(ops_run(*state, cases[i], HONE_DTYPE_F32, &data, why));
		assert_non_null(strstr(why, said[i]));
		ops_data_fini(&data);
	}
}

/* ---- stored weights ---- */

/* A format of two parts whose blocks of 4 straddle rows of 6: value = code * scale. */
static void
toy_decode(const void *self, const void *const *parts, int64_t first, int64_t n, float *dst)
{
	const int8_t *codes = parts[0];
	const uint8_t *scales = parts[1];

	(void)self;
	assert_int_equal(first % 4, 0);
	for (int64_t i = first; i < first + n; i++)
		dst[i - first] = (float)codes[i] * (float)scales[i / 4];
}

static const struct hone_storage_vt toy = {.struct_size = sizeof toy,
	.id = "toy",
	.block_elems = 4,
	.block_bytes = 4,
	.n_parts = 2,
	.decode = toy_decode};

/* Catches: a stored weight decoded at the wrong block, part or row; the end of the weight
 * inside a block. */
static void
test_reference_stored_weight_equals_decoded(void **state)
{
	enum { ROWS = 5, COLS = 6, CODES = ROWS * COLS };
	uint8_t bytes[CODES + 8];
	struct ops_case c = {.name = "stored", .n_out = 1, .live = {0}};
	struct ops_operand dense = {.dtype = HONE_DTYPE_F32, .rank = 2, .dim = {ROWS, COLS}};
	struct ops_operand stored = dense;
	char why[OPS_WHY];

	for (int i = 0; i < CODES + 8; i++)
		bytes[i] = (uint8_t)(i < CODES ? i * 7 % 100 : i - CODES + 1);
	stored.storage = &toy;
	stored.bytes = bytes;
	stored.n_bytes = sizeof bytes;
	stored.n_parts = 2;
	stored.part_begin[1] = CODES;
	for (int kind = 0; kind < 4; kind++) { /* decode, nt, nn, gather */
		static const int32_t index[] = {4, 0, 3};
		struct ops_data with, without;

		c.op = kind == 0    ? HONE_OP_DECODE
			: kind == 3 ? HONE_OP_GATHER_ROWS
				    : HONE_OP_MATMUL;
		c.n_in = kind == 0 ? 1 : 2;
		c.in[kind == 1 || kind == 2] = stored;
		c.out[0] = dense;
		if (kind == 0) {
			c.attr.cast.dtype = HONE_DTYPE_F32;
			c.attr_size = sizeof c.attr.cast;
		} else if (kind == 3) {
			c.attr_size = 0;
			c.in[1] = (struct ops_operand){.dtype = HONE_DTYPE_I32,
				.rank = 1,
				.dim = {3},
				.fill = OPS_FILL_LIST,
				.list = index,
				.n_list = 3};
			c.out[0].dim[0] = 3;
		} else {
			c.attr.matmul = (struct hone_attr_matmul){
				kind == 1 ? HONE_MATMUL_NT : HONE_MATMUL_NN, 0};
			c.attr_size = sizeof c.attr.matmul;
			c.in[0] = dense;
			c.in[0].dim[0] = 3;
			c.in[0].dim[1] = kind == 1 ? COLS : ROWS;
			c.out[0].dim[0] = 3;
			c.out[0].dim[1] = kind == 1 ? ROWS : COLS;
		}
		assert_true(ops_data_init(&with, &c, HONE_DTYPE_F32));
		if (!ops_run(*state, &c, HONE_DTYPE_F32, &with, why))
			fail_msg("kind %d: %s", kind, why);
		/* The same with the weight as plain numbers. */
		c.in[kind == 1 || kind == 2] = dense;
		if (kind == 0)
			c.op = HONE_OP_CAST;
		assert_true(ops_data_init(&without, &c, HONE_DTYPE_F32));
		for (int i = 0; i < CODES; i++)
			without.in[kind == 1 || kind == 2][i] =
				(double)(int8_t)bytes[i] * (double)bytes[CODES + i / 4];
		assert_true(ops_run(*state, &c, HONE_DTYPE_F32, &without, why));
		if (!ops_near(&with, &without, &c, 1e-12, why))
			fail_msg("kind %d: %s", kind, why);
		ops_data_fini(&with);
		ops_data_fini(&without);
	}
}

/* Catches: an imported buffer freed by the device, a created one not freed (leak checker). */
static void
test_reference_buffers_imported_is_the_memory_itself(void **state)
{
	const struct ops_device *d = *state;
	struct hone_error err = {0};
	hone_buffer imported, owned;
	char memory[64] = "as it was";

	assert_int_equal(
		d->vt->buffer_import(d->device, memory, sizeof memory, &imported, &err), HONE_OK);
	assert_ptr_equal(imported, memory);
	assert_int_equal(d->vt->buffer_create(d->device, 0, &owned, &err), HONE_OK);
	assert_int_equal((uintptr_t)owned % d->alignment, 0);
	d->vt->buffer_destroy(d->device, imported);
	d->vt->buffer_destroy(d->device, owned);
	assert_string_equal(memory, "as it was");
	assert_int_equal(d->vt->buffer_create(d->device, UINT64_MAX, &owned, &err), HONE_ENOMEM);
	assert_int_equal(d->vt->buffer_create(d->device, 100, &owned, &err), HONE_OK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reference_golden_cases_match_pytorch),
		cmocka_unit_test(test_reference_golden_value_off_by_a_little_is_refused),
		cmocka_unit_test(test_reference_cast_all_halves_round_trip),
		cmocka_unit_test(test_reference_cast_just_above_a_tie_rounds_once),
		cmocka_unit_test(test_reference_all_cases_stay_in_their_rows),
		cmocka_unit_test(test_reference_results_are_rounded_once),
		cmocka_unit_test(test_reference_supports_unknown_is_refused_with_reason),
		cmocka_unit_test(test_reference_index_out_of_range_is_an_error_with_its_row),
		cmocka_unit_test(test_reference_stored_weight_equals_decoded),
		cmocka_unit_test(test_reference_buffers_imported_is_the_memory_itself),
	};

	return cmocka_run_group_tests_name("unit/reference", tests, ops_setup, ops_teardown);
}
