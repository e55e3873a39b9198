/*
 * support/op_cases_norm.c - the cases of RMS and layer norm and of their gradients.
 */
#include "op_cases_parts.h"

static void
add_rms(struct op_cases *t, const int64_t shape[2], size_t value, uint32_t flags)
{
	const int64_t N = shape[0], D = shape[1];
	const struct ops_operand x = case_valued(case_mat(OPS_COMPUTE, TOKENS, N, D), value);
	const struct ops_operand w =
		case_filled(case_vec(HONE_DTYPE_F32, D), OPS_FILL_NORMAL, 0.3, 1);
	const struct ops_operand y = case_mat(OPS_COMPUTE, TOKENS, N, D);
	const struct ops_operand stat = case_mat(OPS_STAT, TOKENS, N, 1);
	static const uint32_t ops[] = {
		HONE_OP_RMS_NORM, HONE_OP_RMS_NORM_BACK, HONE_OP_RMS_NORM_WEIGHT_BACK};

	for (size_t i = 0; i < 3; i++) {
		struct ops_case *c =
			case_add(t, ops[i], "%lldx%lld %s%s", (long long)N, (long long)D,
				case_values[value].name, flags && i == 2 ? " accumulate" : "");

		c->attr.norm.eps = 1e-6; /* the gradients have no attributes, their forward has */
		c->attr_size = i == 0 ? sizeof c->attr.norm : 0;
		c->slack = 4;
		case_tokens(c, N);
		if (i == 0) {
			case_input(c, x);
			case_input(c, w);
			case_output(c, y);
			case_output(c, stat);
			continue;
		}
		case_input(c, y);
		case_input(c, x);
		if (i == 1)
			case_input(c, w);
		case_input(c, stat);
		if (i == 1) {
			case_output(c, y);
			c->forward = (struct ops_forward){.op = HONE_OP_RMS_NORM,
				.attr_size = sizeof c->attr.norm,
				.n_out = 2,
				.in = {2, 3},
				.to = {0, 4},
				.out = {y, stat}};
		} else {
			case_output(c, case_vec(OPS_STAT, D));
			c->in[2] = case_filled(stat, OPS_FILL_UNIFORM, 0.5, 2);
			c->flags = flags;
		}
	}
}

static void
add_layer(struct op_cases *t, const int64_t shape[2], size_t value, uint32_t flags)
{
	const int64_t N = shape[0], D = shape[1];
	const struct ops_operand x = case_valued(case_mat(OPS_COMPUTE, TOKENS, N, D), value);
	const struct ops_operand w = case_filled(case_vec(OPS_COMPUTE, D), OPS_FILL_NORMAL, 0.3, 1);
	const struct ops_operand y = case_mat(OPS_COMPUTE, TOKENS, N, D);
	const struct ops_operand stat = case_mat(OPS_STAT, TOKENS, N, 1);
	struct ops_case *c;

	c = case_add(t, HONE_OP_LAYER_NORM, "%lldx%lld %s", (long long)N, (long long)D,
		case_values[value].name);
	c->attr.norm.eps = 1e-5;
	c->attr_size = sizeof c->attr.norm;
	c->slack = 4;
	case_tokens(c, N);
	case_input(c, x);
	case_input(c, w);
	case_input(c, case_vec(OPS_COMPUTE, D));
	case_output(c, y);
	case_output(c, stat);
	case_output(c, stat);

	c = case_add(t, HONE_OP_LAYER_NORM_BACK, "%lldx%lld %s", (long long)N, (long long)D,
		case_values[value].name);
	c->attr.norm.eps = 1e-5; /* of the forward */
	c->slack = 4;
	case_tokens(c, N);
	case_input(c, y);
	case_input(c, x);
	case_input(c, w);
	case_input(c, stat);
	case_input(c, stat);
	case_output(c, y);
	c->forward = (struct ops_forward){.op = HONE_OP_LAYER_NORM,
		.attr_size = sizeof c->attr.norm,
		.n_out = 3,
		.in = {2, 3, 3},
		.to = {0, 4, 5},
		.out = {y, stat, stat}};

	c = case_add(t, HONE_OP_LAYER_NORM_WEIGHT_BACK, "%lldx%lld %s%s", (long long)N,
		(long long)D, case_values[value].name, flags ? " accumulate" : "");
	c->slack = 4;
	c->flags = flags;
	case_tokens(c, N);
	case_input(c, y);
	case_input(c, x);
	case_input(c, stat);
	case_input(c, case_filled(stat, OPS_FILL_UNIFORM, 0.5, 2));
	case_output(c, case_vec(OPS_STAT, D));
	case_output(c, case_vec(OPS_STAT, D));
}

void
op_cases_norms(struct op_cases *t)
{
	for (size_t i = 0; i < N_CASE_ROWS; i++) {
		add_rms(t, case_rows[i], 0, 0);
		add_layer(t, case_rows[i], 0, 0);
	}
	for (size_t i = 1; i < N_CASE_VALUES; i++) {
		add_rms(t, case_rows[6], i, 0);
		add_layer(t, case_rows[6], i, 0);
	}
	add_rms(t, case_rows[6], 0, HONE_COMMAND_ACCUMULATE);
	add_layer(t, case_rows[6], 0, HONE_COMMAND_ACCUMULATE);
	add_rms(t, case_rows[0], 0, HONE_COMMAND_ACCUMULATE);
	add_layer(t, case_rows[0], 0, HONE_COMMAND_ACCUMULATE);
}
