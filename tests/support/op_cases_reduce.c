/*
 * support/op_cases_reduce.c - the cases of what makes fewer numbers of many: sums, arg max, loss.
 */
#include "op_cases_parts.h"

void
op_cases_reductions(struct op_cases *t)
{
	struct ops_case *c;

	for (size_t i = 0; i < N_CASE_ROWS; i++) {
		const int64_t N = case_rows[i][0], D = case_rows[i][1];

		for (int32_t kind = HONE_REDUCE_SUM; kind <= HONE_REDUCE_ARGMAX; kind++)
			for (size_t v = 0; v < 4; v++) {
				c = case_add(t, HONE_OP_REDUCE_COLS, "kind %d %lldx%lld %s", kind,
					(long long)N, (long long)D,
					v == 3 ? "ties" : case_values[v].name);
				c->attr.reduce.kind = kind;
				c->attr_size = sizeof c->attr.reduce;
				c->slack = 4;
				case_tokens(c, N);
				case_input(c,
					v == 3 ? case_filled(case_mat(OPS_COMPUTE, TOKENS, N, D),
							 OPS_FILL_INTEGER, -2, 3)
					       : case_valued(
							 case_mat(OPS_COMPUTE, TOKENS, N, D), v));
				case_output(c,
					case_mat(kind == HONE_REDUCE_ARGMAX ? HONE_DTYPE_I32
									    : OPS_STAT,
						TOKENS, N, 1));
			}
		for (uint32_t flags = 0; flags < 2; flags++) {
			c = case_add(t, HONE_OP_REDUCE_ROWS, "%lldx%lld%s", (long long)N,
				(long long)D, flags ? " accumulate" : "");
			c->flags = flags;
			c->slack = 4;
			case_tokens(c, N);
			case_input(c, case_mat(OPS_COMPUTE, TOKENS, N, D));
			case_output(c, case_mat(OPS_STAT, STATIC, 1, D));
			c = case_add(t, HONE_OP_SUM_SQUARES, "%lldx%lld%s", (long long)N,
				(long long)D, flags ? " accumulate" : "");
			c->flags = flags;
			case_tokens(c, N);
			case_input(c, case_mat(OPS_COMPUTE, TOKENS, N, D));
			case_output(c, case_vec(OPS_STAT, 1));
		}
	}
}

void
op_cases_loss(struct op_cases *t)
{
	static const int64_t shapes[][2] = {
		{0, 7}, {1, 1}, {1, 2}, {13, 17}, {5, 577}, {66, 33}, {3, 20001}};

	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
		for (size_t v = 0; v < 4; v++)
			for (int kind = 0; kind < 3; kind++) { /* forward, backward, in place */
				const int64_t M = shapes[i][0], V = shapes[i][1];
				const struct ops_operand x =
					case_valued(case_mat(OPS_COMPUTE, SELECTION, M, V), v);
				const struct ops_operand stat = case_mat(OPS_STAT, SELECTION, M, 1);
				struct ops_operand labels =
					case_mat(HONE_DTYPE_I32, SELECTION, M, 1);
				struct ops_case *c =
					case_add(t, kind ? HONE_OP_NLL_BACK : HONE_OP_NLL,
						"%lldx%lld %s%s", (long long)M, (long long)V,
						case_values[v].name, kind == 2 ? " in place" : "");

				labels.rank = 1;
				c->attr.nll.label_smoothing = v & 1 ? 0.1 : 0;
				c->attr_size = sizeof c->attr.nll;
				c->live[SELECTION] = M;
				if (kind)
					case_input(c, stat);
				case_input(c, x);
				case_input(c,
					case_filled(labels, OPS_FILL_INTEGER, M > 2 ? -2 : 0,
						(double)V));
				if (!kind) {
					case_output(c, stat);
					case_output(c, stat);
					continue;
				}
				case_input(c, stat);
				case_output(c, case_mat(OPS_COMPUTE, SELECTION, M, V));
				c->out[0].alias = kind == 2 ? 2 : 0;
				c->forward = (struct ops_forward){.op = HONE_OP_NLL,
					.attr_size = sizeof c->attr.nll,
					.n_out = 2,
					.in = {2, 3},
					.to = {0, 4},
					.out = {stat, stat}};
			}
}
