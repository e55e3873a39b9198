/*
 * support/op_cases_rows.c - the cases of what moves or joins whole rows, and of what runs over
 * segments.
 */
#include "op_cases_parts.h"

void
op_cases_rows(struct op_cases *t)
{
	static const int64_t shapes[][3] = {/* V, M, D */
		{5, 0, 3}, {1, 1, 1}, {7, 13, 17}, {50, 31, 65}, {3, 129, 33}};
	static const int32_t types[] = {
		OPS_COMPUTE, HONE_DTYPE_F32, HONE_DTYPE_BF16, HONE_DTYPE_F16};
	struct ops_case *c;

	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
		const int64_t V = shapes[i][0], M = shapes[i][1], D = shapes[i][2];
		struct ops_operand index = case_mat(HONE_DTYPE_I32, SELECTION, M, 1);

		index.rank = 1;
		index = case_filled(index, OPS_FILL_INTEGER, 0, (double)V);
		for (size_t k = 0; k < 4; k++) {
			c = case_add(t, HONE_OP_GATHER_ROWS, "%lld of %lldx%lld, type %d",
				(long long)M, (long long)V, (long long)D, types[k]);
			c->live[SELECTION] = M;
			case_input(c, case_mat(types[k], STATIC, V, D));
			case_input(c, index);
			case_output(c, case_mat(OPS_COMPUTE, SELECTION, M, D));
		}
		for (int k = 0; k < 3; k++) { /* a static table, added to, a row space */
			const uint32_t space = k == 2 ? TOKENS : STATIC;

			c = case_add(t, HONE_OP_SCATTER_ADD_ROWS, "%lld into %lldx%lld%s",
				(long long)M, (long long)V, (long long)D,
				k == 0           ? ""
					: k == 1 ? " accumulate"
						 : " of a row space");
			c->attr.rows = (struct hone_attr_rows){space ? 0 : V, space, 0};
			c->attr_size = sizeof c->attr.rows;
			c->flags = k == 1 ? HONE_COMMAND_ACCUMULATE : 0;
			c->live[SELECTION] = M;
			c->live[TOKENS] = V;
			case_input(c, case_mat(OPS_COMPUTE, SELECTION, M, D));
			case_input(c, index);
			case_output(c, case_mat(space ? OPS_COMPUTE : OPS_STAT, space, V, D));
		}
		for (uint32_t alias = 0; alias < 2; alias++) {
			c = case_add(t, HONE_OP_PUT_ROWS, "%lld into %lldx%lld%s",
				(long long)(M < V ? M : V), (long long)V, (long long)D,
				alias ? " in place" : "");
			c->live[TOKENS] = V;
			c->live[SELECTION] = M < V ? M : V;
			case_input(c, case_mat(OPS_COMPUTE, TOKENS, V, D));
			case_input(c, case_mat(OPS_COMPUTE, SELECTION, M, D));
			case_input(c, case_filled(index, OPS_FILL_IOTA, (double)(V - 1), -1));
			case_output(c, case_mat(OPS_COMPUTE, TOKENS, V, D));
			c->out[0].alias = alias;
		}
	}
}

static const int32_t seg_none[] = {0}, seg_one[] = {0, 1};
static const int32_t seg_few[] = {0, 0, 5, 6, 6, 23, 23}, seg_long[] = {0, 64, 193, 210};
static const int32_t seg_gap[] = {2, 5, 5, 6}; /* rows 0, 1 and 6 are in none */
static const struct {
	const int32_t *offsets;
	int64_t S, N, D;
} segments[] = {{seg_none, 0, 0, 3}, {seg_one, 1, 1, 1}, {seg_few, 6, 23, 17}, {seg_few, 6, 23, 1},
	{seg_long, 3, 210, 65}, {seg_gap, 3, 7, 3}};

void
op_cases_segments(struct op_cases *t)
{
	static const int32_t kinds[] = {
		HONE_REDUCE_SUM, HONE_REDUCE_MEAN, HONE_REDUCE_MAX, HONE_REDUCE_LSE, -1};

	for (size_t i = 0; i < sizeof segments / sizeof segments[0]; i++) {
		const int64_t S = segments[i].S, N = segments[i].N, D = segments[i].D;
		const struct ops_operand offsets =
			case_listed(OFFSETS, 1, segments[i].offsets, S + 1);
		const struct ops_operand y = case_mat(OPS_STAT, SEGMENTS, S, D);
		struct ops_case *c;

		for (size_t k = 0; kinds[k] > 0; k++)
			for (int ties = 0; ties < 2; ties++) {
				struct ops_operand x = case_mat(OPS_COMPUTE, TOKENS, N, D);

				x = ties ? case_filled(x, OPS_FILL_INTEGER, -2, 3) : x;
				c = case_add(t, HONE_OP_SEGMENT_REDUCE, "kind %d %lldx%lld%s",
					kinds[k], (long long)N, (long long)D, ties ? " ties" : "");
				c->attr.reduce.kind = kinds[k];
				c->attr_size = sizeof c->attr.reduce;
				c->live[TOKENS] = N;
				c->live[SEGMENTS] = S;
				c->live[OFFSETS] = S + 1;
				case_input(c, x);
				case_input(c, offsets);
				case_output(c, y);
				c = case_add(t, HONE_OP_SEGMENT_REDUCE_BACK, "kind %d %lldx%lld%s",
					kinds[k], (long long)N, (long long)D, ties ? " ties" : "");
				c->attr.reduce.kind = kinds[k];
				c->attr_size = sizeof c->attr.reduce;
				c->live[TOKENS] = N;
				c->live[SEGMENTS] = S;
				c->live[OFFSETS] = S + 1;
				case_input(c, y);
				case_input(c, x);
				case_input(c, y);
				case_input(c, offsets);
				case_output(c, case_mat(OPS_COMPUTE, TOKENS, N, D));
				c->forward = (struct ops_forward){.op = HONE_OP_SEGMENT_REDUCE,
					.attr_size = sizeof c->attr.reduce,
					.n_out = 1,
					.in = {2, 4},
					.to = {3},
					.out = {y}};
			}
		c = case_add(t, HONE_OP_SEGMENT_BROADCAST, "%lldx%lld", (long long)N, (long long)D);
		c->live[TOKENS] = N;
		c->live[SEGMENTS] = S;
		c->live[OFFSETS] = S + 1;
		case_input(c, case_mat(OPS_STAT, SEGMENTS, S, D));
		case_input(c, offsets);
		case_input(c, case_mat(OPS_COMPUTE, TOKENS, N, 3));
		case_output(c, case_mat(OPS_STAT, TOKENS, N, D));
	}
}
