/*
 * support/op_golden.c - see op_golden.h.
 *
 * The attributes of a case are an object whose keys are the members of the struct in
 * hone/op.h; one table says where each key of each operation is stored.
 */
#include "op_golden.h"
#include "op_cases.h"
#include "support.h"

#include <jansson.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- attributes ---- */

enum member { I32, I64, F64, F64_LIST };
#define AT(family, member) offsetof(union ops_attr, family.member)

/* Where the keys of an operation go. */
static const struct {
	uint32_t op;
	const char *key;
	size_t offset;
	enum member type;
} members[] = {
	{HONE_OP_MATMUL, "form", AT(matmul, form), I32},
	{HONE_OP_UNARY, "kind", AT(unary, kind), I32},
	{HONE_OP_UNARY_BACK, "kind", AT(unary, kind), I32},
	{HONE_OP_BINARY, "kind", AT(binary, kind), I32},
	{HONE_OP_SCALE, "alpha", AT(scale, alpha), F64},
	{HONE_OP_SCALE, "beta", AT(scale, beta), F64},
	{HONE_OP_FILL, "alpha", AT(scale, alpha), F64},
	{HONE_OP_FILL, "beta", AT(scale, beta), F64},
	{HONE_OP_CAST, "dtype", AT(cast, dtype), I32},
	{HONE_OP_RMS_NORM, "eps", AT(norm, eps), F64},
	{HONE_OP_LAYER_NORM, "eps", AT(norm, eps), F64},
	{HONE_OP_ROPE_TABLE, "n", AT(rope_table, n), I64},
	{HONE_OP_ROPE_TABLE, "scale", AT(rope_table, scale), F64},
	{HONE_OP_ROPE_TABLE, "inv_freq", AT(rope_table, inv_freq), F64_LIST},
	{HONE_OP_ROPE, "head_dim", AT(rope, head_dim), I64},
	{HONE_OP_ROPE, "layout", AT(rope, layout), I32},
	{HONE_OP_ROPE, "inverse", AT(rope, inverse), I32},
	{HONE_OP_ATTENTION, "n_heads", AT(attention, n_heads), I64},
	{HONE_OP_ATTENTION, "n_kv_heads", AT(attention, n_kv_heads), I64},
	{HONE_OP_ATTENTION, "head_dim", AT(attention, head_dim), I64},
	{HONE_OP_ATTENTION, "window", AT(attention, window), I64},
	{HONE_OP_ATTENTION, "causal", AT(attention, causal), I32},
	{HONE_OP_ATTENTION, "scale", AT(attention, scale), F64},
	{HONE_OP_ATTENTION, "softcap", AT(attention, softcap), F64},
	{HONE_OP_SCATTER_ADD_ROWS, "rows", AT(rows, rows), I64},
	{HONE_OP_SEGMENT_REDUCE, "kind", AT(reduce, kind), I32},
	{HONE_OP_SEGMENT_REDUCE_BACK, "kind", AT(reduce, kind), I32},
	{HONE_OP_REDUCE_COLS, "kind", AT(reduce, kind), I32},
	{HONE_OP_NLL, "label_smoothing", AT(nll, label_smoothing), F64},
	{HONE_OP_NLL_BACK, "label_smoothing", AT(nll, label_smoothing), F64},
	{HONE_OP_DROPOUT, "p", AT(dropout, p), F64},
	{HONE_OP_DROPOUT, "stream", AT(dropout, stream), I64},
	{HONE_OP_SLICE_COLS, "begin", AT(slice, begin), I64},
	{HONE_OP_SLICE_COLS, "end", AT(slice, end), I64},
	{HONE_OP_ADAMW, "beta1", AT(adamw, beta1), F64},
	{HONE_OP_ADAMW, "beta2", AT(adamw, beta2), F64},
	{HONE_OP_ADAMW, "eps", AT(adamw, eps), F64},
	{HONE_OP_ADAMW, "weight_decay", AT(adamw, weight_decay), F64},
	{HONE_OP_ADAMW, "lr_scale", AT(adamw, lr_scale), F64},
};

/* Bytes of an operation's attributes; 0 for those that have none. */
static uint32_t
attr_size(uint32_t op)
{
	switch (op) {
	case HONE_OP_MATMUL:
		return sizeof(struct hone_attr_matmul);
	case HONE_OP_UNARY:
	case HONE_OP_UNARY_BACK:
		return sizeof(struct hone_attr_unary);
	case HONE_OP_BINARY:
		return sizeof(struct hone_attr_binary);
	case HONE_OP_SCALE:
	case HONE_OP_FILL:
		return sizeof(struct hone_attr_scale);
	case HONE_OP_CAST:
		return sizeof(struct hone_attr_cast);
	case HONE_OP_RMS_NORM:
	case HONE_OP_LAYER_NORM:
		return sizeof(struct hone_attr_norm);
	case HONE_OP_ROPE_TABLE:
		return sizeof(struct hone_attr_rope_table);
	case HONE_OP_ROPE:
		return sizeof(struct hone_attr_rope);
	case HONE_OP_ATTENTION:
	case HONE_OP_ATTENTION_BACK:
		return sizeof(struct hone_attr_attention);
	case HONE_OP_SCATTER_ADD_ROWS:
		return sizeof(struct hone_attr_rows);
	case HONE_OP_SEGMENT_REDUCE:
	case HONE_OP_SEGMENT_REDUCE_BACK:
	case HONE_OP_REDUCE_COLS:
		return sizeof(struct hone_attr_reduce);
	case HONE_OP_NLL:
	case HONE_OP_NLL_BACK:
		return sizeof(struct hone_attr_nll);
	case HONE_OP_DROPOUT:
		return sizeof(struct hone_attr_dropout);
	case HONE_OP_SLICE_COLS:
		return sizeof(struct hone_attr_slice);
	case HONE_OP_ADAMW:
		return sizeof(struct hone_attr_adamw);
	default:
		return 0;
	}
}

static int32_t
dtype_of(const char *name)
{
	for (int32_t dtype = HONE_DTYPE_F32; name && dtype <= HONE_DTYPE_F64; dtype++)
		if (!strcmp(hone_dtype_name(dtype), name))
			return dtype;
	return HONE_DTYPE_NONE;
}

static void
store(uint8_t *to, enum member type, const json_t *value)
{
	const int64_t whole = json_is_string(value) ? dtype_of(json_string_value(value))
						    : (int64_t)json_integer_value(value);
	const int32_t narrow = (int32_t)whole;
	double real = json_number_value(value);

	if (type == I32)
		memcpy(to, &narrow, sizeof narrow);
	else if (type == I64)
		memcpy(to, &whole, sizeof whole);
	else if (type == F64)
		memcpy(to, &real, sizeof real);
	for (size_t i = 0; type == F64_LIST && i < json_array_size(value) && i < 128; i++) {
		real = json_number_value(json_array_get(value, i));
		memcpy(to + i * sizeof real, &real, sizeof real);
	}
}

static bool
read_attributes(struct ops_case *c, json_t *attr, char why[OPS_WHY])
{
	const char *key;
	json_t *value;

	c->attr_size = attr_size(c->op);
	json_object_foreach(attr, key, value)
	{
		/* The gradient's attributes are those of attention. */
		const uint32_t op = c->op == HONE_OP_ATTENTION_BACK ? HONE_OP_ATTENTION : c->op;
		bool known = true;

		if (!strcmp(key, "seed"))
			c->seed = (uint64_t)json_integer_value(value);
		else if (!strcmp(key, "step"))
			c->step = (uint64_t)json_integer_value(value);
		else
			known = false;
		for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
			if (members[i].op == op && !strcmp(members[i].key, key)) {
				store((uint8_t *)&c->attr + members[i].offset, members[i].type,
					value);
				known = true;
			}
		if (!known)
			return ops_say(why, "%s: unknown attribute %s", c->name, key);
	}
	return true;
}

/* ---- operands ---- */

struct numbers {
	double *values;
	size_t n;
};

static bool
read_operand(struct ops_operand *o, const json_t *entry, const struct numbers *numbers,
	double **values, int64_t *n)
{
	const json_t *dim = json_object_get(entry, "dim");
	const size_t offset = (size_t)json_integer_value(json_object_get(entry, "offset"));

	*o = (struct ops_operand){
		.dtype = dtype_of(json_string_value(json_object_get(entry, "dtype"))),
		.rank = (uint32_t)json_array_size(dim)};
	if (!o->dtype || !o->rank || o->rank > HONE_MAX_RANK)
		return false;
	*n = 1;
	for (uint32_t i = 0; i < o->rank; i++) {
		o->dim[i] = (int64_t)json_integer_value(json_array_get(dim, i));
		*n *= o->dim[i];
	}
	if (offset > numbers->n || (size_t)*n > numbers->n - offset)
		return false;
	*values = malloc(((size_t)*n + 1) * sizeof **values);
	if (*values)
		memcpy(*values, numbers->values + offset, (size_t)*n * sizeof **values);
	return *values != NULL;
}

static uint32_t
op_by_name(const char *name)
{
	for (uint32_t op = 1; name && op < 100; op++)
		if (!strcmp(op_name(op), name))
			return op;
	return HONE_OP_NONE;
}

static bool
read_case(struct op_golden_case *to, const json_t *entry, const struct numbers *numbers,
	char why[OPS_WHY])
{
	struct ops_case *c = &to->command;
	const json_t *in = json_object_get(entry, "in"), *out = json_object_get(entry, "out");
	const char *op = json_string_value(json_object_get(entry, "op"));

	c->op = op_by_name(op);
	if (!c->op)
		return ops_say(why, "no operation %s", op ? op : "");
	(void)snprintf(c->name, sizeof c->name, "%s %s", op,
		json_string_value(json_object_get(entry, "name")));
	c->n_in = to->data.n_in = (uint32_t)json_array_size(in);
	c->n_out = to->data.n_out = (uint32_t)json_array_size(out);
	if (c->n_in > OPS_IN || c->n_out > OPS_OUT)
		return ops_say(why, "%s: too many operands", c->name);
	for (uint32_t i = 0; i < c->n_in; i++)
		if (!read_operand(&c->in[i], json_array_get(in, i), numbers, &to->data.in[i],
			    &to->data.n_in_elems[i]))
			return ops_say(why, "%s: input %u", c->name, i);
	for (uint32_t i = 0; i < c->n_out; i++)
		if (!read_operand(&c->out[i], json_array_get(out, i), numbers, &to->data.out[i],
			    &to->data.n_out_elems[i]))
			return ops_say(why, "%s: output %u", c->name, i);
	return read_attributes(c, json_object_get(entry, "attr"), why);
}

static bool
read_numbers(struct numbers *numbers, char why[OPS_WHY])
{
	char *path = test_data_path("golden/ops.bin");
	FILE *file = path ? fopen(path, "rb") : NULL;
	long bytes = 0;

	free(path);
	if (!file)
		return ops_say(why, "golden/ops.bin cannot be opened");
	if (!fseek(file, 0, SEEK_END) && (bytes = ftell(file)) > 0 && !fseek(file, 0, SEEK_SET))
		numbers->values = malloc((size_t)bytes);
	numbers->n = (size_t)bytes / sizeof(double);
	if (numbers->values)
		numbers->n = fread(numbers->values, sizeof(double), numbers->n, file);
	(void)fclose(file);
	return numbers->values ? true : ops_say(why, "golden/ops.bin cannot be read");
}

bool
op_golden_load(struct op_golden *golden, char why[OPS_WHY])
{
	char *path = test_data_path("golden/ops.json");
	json_error_t error;
	json_t *root = path ? json_load_file(path, JSON_REJECT_DUPLICATES, &error) : NULL;
	json_t *cases = json_object_get(root, "cases");
	struct numbers numbers = {0};
	bool ok = read_numbers(&numbers, why);

	free(path);
	memset(golden, 0, sizeof *golden);
	if (ok && json_array_size(cases) == 0)
		ok = ops_say(why, "golden/ops.json has no cases");
	golden->cases = calloc(json_array_size(cases) + 1, sizeof *golden->cases);
	for (size_t i = 0; ok && golden->cases && i < json_array_size(cases); i++) {
		golden->n = i + 1;
		ok = read_case(&golden->cases[i], json_array_get(cases, i), &numbers, why);
	}
	free(numbers.values);
	json_decref(root);
	return ok && golden->cases;
}

void
op_golden_fini(struct op_golden *golden)
{
	for (size_t i = 0; i < golden->n; i++)
		ops_data_fini(&golden->cases[i].data);
	free(golden->cases);
	memset(golden, 0, sizeof *golden);
}
