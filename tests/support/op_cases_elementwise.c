/*
 * support/op_cases_elementwise.c - the cases of what works value by value: each kind of unary and
 * binary operation and its gradient, scales, casts.
 */
#include "op_cases_parts.h"

static void
add_unary(struct op_cases *t, int32_t kind, const int64_t shape[2], size_t value)
{
	const bool positive = kind == HONE_UNARY_LOG || kind == HONE_UNARY_SQRT ||
		kind == HONE_UNARY_RSQRT || kind == HONE_UNARY_RECIPROCAL;

	for (int back = 0; back < 2; back++) {
		struct ops_case *c = case_add(t, back ? HONE_OP_UNARY_BACK : HONE_OP_UNARY,
			"kind %d %lldx%lld %s", kind, (long long)shape[0], (long long)shape[1],
			case_values[value].name);
		struct ops_operand x = case_mat(OPS_COMPUTE, TOKENS, shape[0], shape[1]);

		c->attr.unary.kind = kind;
		c->attr_size = sizeof c->attr.unary;
		case_tokens(c, shape[0]);
		if (back)
			case_input(c, x);
		case_output(c, x);
		if (positive)
			x = case_filled(x, OPS_FILL_UNIFORM, 0.01, value == 1 ? 1e4 : 4);
		else if (kind != HONE_UNARY_EXP || value != 1)
			x = case_valued(x, value);
		case_input(c, x);
	}
}

static void
add_binary(struct op_cases *t, int32_t kind, const int64_t shape[2])
{
	static const char *const how[] = {"full", "row", "1xD row", "column", "scalar"};

	for (int b = 0; b < 5; b++) {
		struct ops_case *c = case_add(t, HONE_OP_BINARY, "kind %d %lldx%lld %s", kind,
			(long long)shape[0], (long long)shape[1], how[b]);
		struct ops_operand x = case_mat(OPS_COMPUTE, TOKENS, shape[0], shape[1]), y = x;

		if (b == 1)
			y = case_vec(HONE_DTYPE_F32, shape[1]);
		else if (b == 2)
			y = case_mat(OPS_COMPUTE, STATIC, 1, shape[1]);
		else if (b == 3)
			y = case_mat(OPS_STAT, TOKENS, shape[0], 1);
		else if (b == 4)
			y = case_vec(OPS_STAT, 1);
		if (kind == HONE_BINARY_DIV)
			y = case_filled(y, OPS_FILL_UNIFORM, 0.25, 4);
		if (kind >= HONE_BINARY_MIN) { /* ties */
			x = case_filled(x, OPS_FILL_INTEGER, -2, 3);
			y = case_filled(y, OPS_FILL_INTEGER, -2, 3);
		}
		c->attr.binary.kind = kind;
		c->attr_size = sizeof c->attr.binary;
		case_tokens(c, shape[0]);
		case_input(c, x);
		case_input(c, y);
		case_output(c, case_mat(OPS_COMPUTE, TOKENS, shape[0], shape[1]));
	}
}

void
op_cases_elementwise(struct op_cases *t)
{
	static const int32_t types[] = {OPS_COMPUTE, OPS_STAT, HONE_DTYPE_F32, HONE_DTYPE_BF16,
		HONE_DTYPE_F16, HONE_DTYPE_I32, HONE_DTYPE_U8};
	struct ops_case *c;

	for (int32_t kind = HONE_UNARY_NEG; kind <= HONE_UNARY_QUICK_GELU; kind++) {
		for (size_t i = 0; i < N_CASE_ROWS; i += 2)
			add_unary(t, kind, case_rows[i], 0);
		for (size_t i = 1; i < N_CASE_VALUES; i++)
			add_unary(t, kind, case_rows[5], i);
	}
	for (int32_t kind = HONE_BINARY_ADD; kind <= HONE_BINARY_EQUAL; kind++)
		for (size_t i = 0; i < N_CASE_ROWS; i += 2)
			add_binary(t, kind, case_rows[i]);
	for (int32_t kind = HONE_BINARY_LESS; kind <= HONE_BINARY_EQUAL; kind++) {
		c = case_add(t, HONE_OP_BINARY, "kind %d of i32", kind);
		c->attr.binary.kind = kind;
		c->attr_size = sizeof c->attr.binary;
		case_tokens(c, 13);
		case_input(c,
			case_filled(
				case_mat(HONE_DTYPE_I32, TOKENS, 13, 1), OPS_FILL_INTEGER, -2, 3));
		case_input(c,
			case_filled(
				case_mat(HONE_DTYPE_I32, TOKENS, 13, 1), OPS_FILL_INTEGER, -2, 3));
		case_output(c, case_mat(OPS_STAT, TOKENS, 13, 1));
	}
	for (size_t i = 0; i < N_CASE_ROWS; i++) {
		const int64_t N = case_rows[i][0], D = case_rows[i][1];

		c = case_add(t, HONE_OP_SCALE, "%lldx%lld", (long long)N, (long long)D);
		c->attr.scale = (struct hone_attr_scale){-0.37, 1.25};
		c->attr_size = sizeof c->attr.scale;
		case_tokens(c, N);
		case_input(c, case_mat(OPS_COMPUTE, TOKENS, N, D));
		case_output(c, case_mat(OPS_COMPUTE, TOKENS, N, D));
		c = case_add(t, HONE_OP_FILL, "%lldx%lld", (long long)N, (long long)D);
		c->attr.scale = (struct hone_attr_scale){9, -2.5};
		c->attr_size = sizeof c->attr.scale;
		case_tokens(c, N);
		case_input(c, case_mat(OPS_COMPUTE, TOKENS, N, D));
		case_output(c, case_mat(OPS_COMPUTE, TOKENS, N, D));
	}
	for (size_t from = 0; from < 7; from++)
		for (size_t to = 2; to < 7; to++) {
			c = case_add(t, HONE_OP_CAST, "%d to %s", types[from],
				hone_dtype_name(types[to]));
			c->attr.cast.dtype = types[to];
			c->attr_size = sizeof c->attr.cast;
			case_tokens(c, 7);
			/* Within all types' range; the fractions of negative numbers too. */
			case_input(c,
				case_filled(case_mat(types[from], TOKENS, 7, 33), OPS_FILL_UNIFORM,
					types[from] == HONE_DTYPE_U8 || types[to] == HONE_DTYPE_U8
						? 0
						: -100,
					200));
			case_output(c, case_mat(types[to], TOKENS, 7, 33));
		}
}
