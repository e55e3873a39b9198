/*
 * support/op_cases_shape.c - the cases of what changes shape or type, of randomness and of the
 * optimizer.
 */
#include "op_cases_parts.h"

void
op_cases_shape(struct op_cases *t)
{
	struct ops_case *c;

	for (size_t i = 0; i < N_CASE_ROWS; i++) {
		const int64_t N = case_rows[i][0], D = case_rows[i][1];

		c = case_add(t, HONE_OP_DROPOUT, "%lldx%lld", (long long)N, (long long)D);
		c->attr.dropout =
			(struct hone_attr_dropout){i % 3 ? 0.25 : 0.5, 0x1234567890abcdefu + i};
		c->attr_size = sizeof c->attr.dropout;
		case_tokens(c, N);
		case_input(c, case_mat(OPS_COMPUTE, TOKENS, N, D));
		case_input(c,
			case_filled(
				case_mat(HONE_DTYPE_I32, TOKENS, N, 2), OPS_FILL_INTEGER, 0, 1000));
		case_output(c, case_mat(OPS_COMPUTE, TOKENS, N, D));

		c = case_add(t, HONE_OP_SLICE_COLS, "%lldx%lld", (long long)N, (long long)D);
		c->attr.slice = (struct hone_attr_slice){D / 3, D - D / 4};
		c->attr_size = sizeof c->attr.slice;
		case_tokens(c, N);
		case_input(c, case_mat(OPS_COMPUTE, TOKENS, N, D));
		case_output(c, case_mat(OPS_COMPUTE, TOKENS, N, D - D / 4 - D / 3));

		c = case_add(t, HONE_OP_CONCAT_COLS, "%lldx%lld", (long long)N, (long long)D);
		case_tokens(c, N);
		case_input(c, case_mat(OPS_COMPUTE, TOKENS, N, D));
		case_input(c, case_mat(OPS_COMPUTE, TOKENS, N, 1));
		case_input(c, case_mat(HONE_DTYPE_F32, TOKENS, N, 2 * D));
		case_output(c, case_mat(OPS_COMPUTE, TOKENS, N, 3 * D + 1));

		for (int from = 0; from < 3; from++) {
			c = case_add(t, HONE_OP_BROADCAST, "%lldx%lld from %d", (long long)N,
				(long long)D, from);
			case_tokens(c, N);
			case_input(c,
				from == 0 ? case_mat(OPS_STAT, STATIC, 1, D)
					  : case_vec(OPS_STAT, from == 1 ? D : 1));
			case_input(c, case_mat(OPS_COMPUTE, TOKENS, N, 2));
			case_output(c, case_mat(OPS_STAT, TOKENS, N, D));
		}
	}
	for (int64_t n = 1; n < 300; n = 3 * n + 2) {
		c = case_add(t, HONE_OP_ADAMW, "%lld", (long long)n);
		c->attr.adamw = (struct hone_attr_adamw){0.9, 0.999, 1e-8, 0.01, 0.5};
		c->attr_size = sizeof c->attr.adamw;
		case_input(c, case_mat(HONE_DTYPE_F32, STATIC, 1, n));
		case_input(c, case_mat(OPS_STAT, STATIC, 1, n));
		case_input(c, case_mat(HONE_DTYPE_F32, STATIC, 1, n));
		case_input(c,
			case_filled(
				case_mat(HONE_DTYPE_F32, STATIC, 1, n), OPS_FILL_UNIFORM, 0, 2));
		case_input(c, case_filled(case_vec(HONE_DTYPE_F32, 4), OPS_FILL_UNIFORM, 0.1, 0.9));
		for (uint32_t k = 0; k < 3; k++) {
			static const uint32_t in_place[] = {1, 3, 4};

			case_output(c, case_mat(HONE_DTYPE_F32, STATIC, 1, n));
			c->out[k].alias = in_place[k];
		}
	}
}
