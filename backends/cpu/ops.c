/*
 * ops.c - the table of operations: function, size of attributes, operands.
 *
 * Operands are written one letter each: f a dense float (f32, bf16, f16), w the same or a
 * stored weight, s f32, i i32, a any type but f64, c f32 or bf16.  After '?' they may be
 * absent; '*' repeats the letter before it.  What a letter cannot say is in a check.
 */
#include "ops.h"

#include <hone/storage.h>

struct op_row {
	uint32_t op, attr_size;
	uint32_t accumulates;
	const char *in, *out;
	cpu_op run;
	enum hone_status (*check)(const struct hone_command *c, struct hone_error *err);
};

static int
fits_letter(const struct hone_operand *o, char letter)
{
	const int32_t t = o->dtype;

	if (o->rank > HONE_MAX_RANK)
		return 0;
	if (o->storage)
		return letter == 'w' && o->storage->n_parts <= CPU_PARTS_MAX;
	switch (letter) {
	case 's':
		return t == HONE_DTYPE_F32;
	case 'i':
		return t == HONE_DTYPE_I32;
	case 'c':
		return t == HONE_DTYPE_F32 || t == HONE_DTYPE_BF16;
	case 'a':
		return t != HONE_DTYPE_F64 && hone_dtype_bytes(t) > 0;
	default:
		return t == HONE_DTYPE_F32 || t == HONE_DTYPE_BF16 || t == HONE_DTYPE_F16;
	}
}

static enum hone_status
check_matmul(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_matmul *attr = c->attr;

	if (attr->form < HONE_MATMUL_NT || attr->form > HONE_MATMUL_TN)
		return hone_fail(err, HONE_EUNSUPPORTED, "matmul has no form %d", attr->form);
	if (attr->form != HONE_MATMUL_TN && c->flags & HONE_COMMAND_ACCUMULATE)
		return hone_fail(
			err, HONE_EUNSUPPORTED, "matmul nt and nn do not add to their output");
	if (attr->form == HONE_MATMUL_TN && (c->in[1].storage || c->out[0].dtype != HONE_DTYPE_F32))
		return hone_fail(err, HONE_EUNSUPPORTED,
			"matmul tn reads dense operands and writes f32 on cpu");
	return HONE_OK;
}

static enum hone_status
check_unary(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_unary *attr = c->attr;

	if (attr->kind < HONE_UNARY_NEG || attr->kind > HONE_UNARY_QUICK_GELU)
		return hone_fail(err, HONE_EUNSUPPORTED, "unary has no kind %d on cpu", attr->kind);
	return HONE_OK;
}

static enum hone_status
check_binary(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_binary *attr = c->attr;

	if (attr->kind < HONE_BINARY_ADD || attr->kind > HONE_BINARY_EQUAL)
		return hone_fail(
			err, HONE_EUNSUPPORTED, "binary has no kind %d on cpu", attr->kind);
	if (!fits_letter(&c->in[0], 'f') || !fits_letter(&c->in[1], 'f')) {
		if (attr->kind < HONE_BINARY_LESS || c->in[0].dtype != HONE_DTYPE_I32 ||
			c->in[1].dtype != HONE_DTYPE_I32 || c->out[0].dtype != HONE_DTYPE_F32)
			return hone_fail(err, HONE_EUNSUPPORTED, "binary of %s and %s on cpu",
				hone_dtype_name(c->in[0].dtype), hone_dtype_name(c->in[1].dtype));
	}
	if (cpu_beside(&c->in[0], &c->in[1]) == CPU_BESIDE_NEITHER)
		return hone_fail(err, HONE_EUNSUPPORTED,
			"binary: the second operand has neither the first's shape nor that of a "
			"row, "
			"a column or a scalar of it");
	return HONE_OK;
}

static enum hone_status
check_cast(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_cast *attr = c->attr;

	if (attr->dtype != c->out[0].dtype)
		return hone_fail(
			err, HONE_EUNSUPPORTED, "the output is not of the attribute's type");
	return HONE_OK;
}

static enum hone_status
check_rope_table(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_rope_table *attr = c->attr;

	if (attr->n < 1 || attr->n > 128 || hone_operand_row_elems(&c->out[0]) != 2 * attr->n)
		return hone_fail(err, HONE_EUNSUPPORTED, "rope_table with %lld frequencies",
			(long long)attr->n);
	return HONE_OK;
}

static enum hone_status
check_rope(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_rope *attr = c->attr;

	if (attr->layout != HONE_ROPE_HALVES && attr->layout != HONE_ROPE_INTERLEAVED)
		return hone_fail(
			err, HONE_EUNSUPPORTED, "rope has no layout %d on cpu", attr->layout);
	if (attr->head_dim < 1 || attr->head_dim > HN_CPU_BLOCK ||
		hone_operand_row_elems(&c->in[0]) % attr->head_dim ||
		hone_operand_row_elems(&c->in[1]) > attr->head_dim ||
		(hone_operand_row_elems(&c->in[1]) > 256 && c->in[1].dtype != HONE_DTYPE_F32))
		return hone_fail(err, HONE_EUNSUPPORTED,
			"rope: heads of %lld columns fit neither x nor the table",
			(long long)attr->head_dim);
	return HONE_OK;
}

static enum hone_status
check_attention(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_attention *attr = c->attr;
	const uint32_t q = c->op == HONE_OP_ATTENTION ? 0 : 1, needed = q ? 8 : 5;
	const int prefix = c->n_in > needed && c->in[needed].rank > 0;

	if (prefix != (c->n_in > needed + 1 && c->in[needed + 1].rank > 0) ||
		(q && c->n_out != (prefix ? 5u : 3u)))
		return hone_fail(err, HONE_EUNSUPPORTED,
			"attention: prefix keys and values, and their gradients, come in pairs");
	if (attr->head_dim < 1 || attr->head_dim > CPU_HEAD_DIM_MAX || attr->n_kv_heads < 1 ||
		attr->n_heads < 1 || attr->n_heads % attr->n_kv_heads ||
		hone_operand_row_elems(&c->in[q]) != attr->n_heads * attr->head_dim ||
		hone_operand_row_elems(&c->in[q + 1]) != attr->n_kv_heads * attr->head_dim)
		return hone_fail(err, HONE_EUNSUPPORTED,
			"attention: %lld heads over %lld of %lld columns do not fit q and k, or "
			"are "
			"wider than %d",
			(long long)attr->n_heads, (long long)attr->n_kv_heads,
			(long long)attr->head_dim, CPU_HEAD_DIM_MAX);
	return HONE_OK;
}

static enum hone_status
check_reduce(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_reduce *attr = c->attr;
	const int argmax = c->op == HONE_OP_REDUCE_COLS && attr->kind == HONE_REDUCE_ARGMAX;

	if (!argmax && (attr->kind < HONE_REDUCE_SUM || attr->kind > HONE_REDUCE_LSE))
		return hone_fail(err, HONE_EUNSUPPORTED, "reduction %d", attr->kind);
	if (c->op == HONE_OP_REDUCE_COLS &&
		c->out[0].dtype != (argmax ? HONE_DTYPE_I32 : HONE_DTYPE_F32))
		return hone_fail(err, HONE_EUNSUPPORTED, "reduce_cols to %s",
			hone_dtype_name(c->out[0].dtype));
	return HONE_OK;
}

static enum hone_status
check_slice(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_slice *attr = c->attr;

	if (attr->begin < 0 || attr->end < attr->begin ||
		attr->end > hone_operand_row_elems(&c->in[0]) ||
		attr->end - attr->begin != hone_operand_row_elems(&c->out[0]))
		return hone_fail(err, HONE_EUNSUPPORTED, "slice_cols outside its operand");
	return HONE_OK;
}

static enum hone_status
check_concat(const struct hone_command *c, struct hone_error *err)
{
	int64_t cols = 0;

	for (uint32_t i = 0; i < c->n_in; i++)
		cols += hone_operand_row_elems(&c->in[i]);
	if (cols != hone_operand_row_elems(&c->out[0]))
		return hone_fail(err, HONE_EUNSUPPORTED, "%lld columns side by side are not %lld",
			(long long)cols, (long long)hone_operand_row_elems(&c->out[0]));
	return HONE_OK;
}

static enum hone_status
check_broadcast(const struct hone_command *c, struct hone_error *err)
{
	const int64_t elems = c->in[0].dim[0] * hone_operand_row_elems(&c->in[0]);

	if (c->in[0].space || (elems != 1 && elems != hone_operand_row_elems(&c->out[0])))
		return hone_fail(err, HONE_EUNSUPPORTED, "broadcast: the operand is not one row");
	return HONE_OK;
}

static const struct op_row table[] = {
	{HONE_OP_MATMUL, sizeof(struct hone_attr_matmul), 1, "fw?f", "c", cpu_matmul, check_matmul},
	{HONE_OP_UNARY, sizeof(struct hone_attr_unary), 0, "f", "f", cpu_unary, check_unary},
	{HONE_OP_UNARY_BACK, sizeof(struct hone_attr_unary), 0, "ff", "f", cpu_unary_back,
		check_unary},
	{HONE_OP_BINARY, sizeof(struct hone_attr_binary), 0, "aa", "f", cpu_binary, check_binary},
	{HONE_OP_SCALE, sizeof(struct hone_attr_scale), 0, "f", "f", cpu_scale, NULL},
	{HONE_OP_CAST, sizeof(struct hone_attr_cast), 0, "a", "a", cpu_cast, check_cast},
	{HONE_OP_FILL, sizeof(struct hone_attr_scale), 0, "?a", "a", cpu_fill, NULL},
	{HONE_OP_RMS_NORM, sizeof(struct hone_attr_norm), 0, "ff", "fs", cpu_rms_norm, NULL},
	{HONE_OP_RMS_NORM_BACK, 0, 0, "fffs", "f", cpu_rms_norm_back, NULL},
	{HONE_OP_RMS_NORM_WEIGHT_BACK, 0, 1, "ffs", "s", cpu_rms_norm_weight_back, NULL},
	{HONE_OP_LAYER_NORM, sizeof(struct hone_attr_norm), 0, "fff", "fss", cpu_layer_norm, NULL},
	{HONE_OP_LAYER_NORM_BACK, 0, 0, "fffss", "f", cpu_layer_norm_back, NULL},
	{HONE_OP_LAYER_NORM_WEIGHT_BACK, 0, 1, "ffss", "ss", cpu_layer_norm_weight_back, NULL},
	{HONE_OP_ROPE_TABLE, sizeof(struct hone_attr_rope_table), 0, "i", "s", cpu_rope_table,
		check_rope_table},
	{HONE_OP_ROPE, sizeof(struct hone_attr_rope), 0, "ff", "f", cpu_rope, check_rope},
	{HONE_OP_ATTENTION, sizeof(struct hone_attr_attention), 0, "fffii?ff", "cs", cpu_attention,
		check_attention},
	{HONE_OP_ATTENTION_BACK, sizeof(struct hone_attr_attention), 0, "fffffsii?ff", "ccc?ss",
		cpu_attention_back, check_attention},
	{HONE_OP_GATHER_ROWS, 0, 0, "wi", "f", cpu_gather_rows, NULL},
	{HONE_OP_SCATTER_ADD_ROWS, sizeof(struct hone_attr_rows), 1, "fi", "f",
		cpu_scatter_add_rows, NULL},
	{HONE_OP_PUT_ROWS, 0, 0, "ffi", "f", cpu_put_rows, NULL},
	{HONE_OP_SEGMENT_REDUCE, sizeof(struct hone_attr_reduce), 0, "fi", "s", cpu_segment_reduce,
		check_reduce},
	{HONE_OP_SEGMENT_REDUCE_BACK, sizeof(struct hone_attr_reduce), 0, "fffi", "f",
		cpu_segment_reduce_back, check_reduce},
	{HONE_OP_SEGMENT_BROADCAST, 0, 0, "fia", "f", cpu_segment_broadcast, NULL},
	{HONE_OP_REDUCE_COLS, sizeof(struct hone_attr_reduce), 0, "f", "a", cpu_reduce_cols,
		check_reduce},
	{HONE_OP_REDUCE_ROWS, 0, 1, "f", "s", cpu_reduce_rows, NULL},
	{HONE_OP_NLL, sizeof(struct hone_attr_nll), 0, "fi", "ss", cpu_nll, NULL},
	{HONE_OP_NLL_BACK, sizeof(struct hone_attr_nll), 0, "ffis", "f", cpu_nll_back, NULL},
	{HONE_OP_DROPOUT, sizeof(struct hone_attr_dropout), 0, "fi", "f", cpu_dropout, NULL},
	{HONE_OP_SLICE_COLS, sizeof(struct hone_attr_slice), 0, "f", "f", cpu_slice_cols,
		check_slice},
	{HONE_OP_CONCAT_COLS, 0, 0, "f*", "f", cpu_concat_cols, check_concat},
	{HONE_OP_BROADCAST, 0, 0, "fa", "f", cpu_broadcast, check_broadcast},
	{HONE_OP_SUM_SQUARES, 0, 1, "f", "s", cpu_sum_squares, NULL},
	{HONE_OP_ADAMW, sizeof(struct hone_attr_adamw), 0, "sfsss", "sss", cpu_adamw, NULL},
	{HONE_OP_DECODE, sizeof(struct hone_attr_cast), 0, "w", "f", cpu_decode, check_cast},
};

static const struct op_row *
find(uint32_t op)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (table[i].op == op)
			return &table[i];
	return NULL;
}

cpu_op
cpu_op_find(uint32_t op)
{
	const struct op_row *row = find(op);

	return row ? row->run : NULL;
}

static enum hone_status
check_letters(const char *letters, const struct hone_operand *operands, uint32_t n,
	const char *what, struct hone_error *err)
{
	const char *at = letters;
	int optional = 0;

	for (uint32_t i = 0; i < n; i++) {
		char letter;

		if (*at == '?') {
			optional = 1;
			at++;
		}
		letter = *at == '*' ? at[-1] : *at;
		if (!letter)
			return hone_fail(
				err, HONE_EUNSUPPORTED, "cpu does not know %s %u", what, i);
		if (*at != '*')
			at++;
		if (operands[i].rank == 0 && optional)
			continue;
		if (operands[i].rank == 0 || !fits_letter(&operands[i], letter))
			return hone_fail(err, HONE_EUNSUPPORTED, "%s %u is %s on cpu", what, i,
				operands[i].rank == 0 ? "absent"
					: operands[i].storage
					? "a stored weight, which has to be decoded first"
					: hone_dtype_name(operands[i].dtype));
	}
	if (*at && *at != '?' && *at != '*')
		return hone_fail(err, HONE_EUNSUPPORTED, "%s %u is absent", what, n);
	return HONE_OK;
}

enum hone_status
cpu_op_check(const struct hone_command *c, struct hone_error *err)
{
	const struct op_row *row = find(c->op);
	enum hone_status st;

	if (!row)
		return hone_fail(err, HONE_EUNSUPPORTED, "cpu does not know operation %u", c->op);
	if (c->attr_size > row->attr_size)
		return hone_fail(err, HONE_EUNSUPPORTED,
			"operation %u has %u bytes of attributes, cpu knows %u", c->op,
			c->attr_size, row->attr_size);
	if (c->attr_size < row->attr_size)
		return hone_fail(
			err, HONE_EUNSUPPORTED, "operation %u lacks its attributes", c->op);
	if (c->flags & ~(row->accumulates ? (uint32_t)HONE_COMMAND_ACCUMULATE : 0u))
		return hone_fail(err, HONE_EUNSUPPORTED, "operation %u does not know flags %u",
			c->op, c->flags);
	st = check_letters(row->in, c->in, c->n_in, "input", err);
	if (st == HONE_OK)
		st = check_letters(row->out, c->out, c->n_out, "output", err);
	return st == HONE_OK && row->check ? row->check(c, err) : st;
}
