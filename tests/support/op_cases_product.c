/*
 * support/op_cases_product.c - the cases of the product: its three forms, the types of what is
 * frozen, sums onto another operand, and windows.
 */
#include "op_cases_parts.h"

static const int64_t products[][3] = {/* N, O, I */
	{0, 5, 7}, {1, 1, 1}, {1, 64, 1}, {1, 3, 129}, {2, 17, 16}, {13, 7, 3}, {17, 33, 65},
	{31, 1, 129}, {64, 64, 64}, {65, 15, 31}, {63, 127, 32}, {129, 577, 65}};

static struct ops_case *
add_matmul(struct op_cases *t, int32_t form, const int64_t s[3], const char *what)
{
	static const char *const forms[] = {"nt", "nn", "tn"};
	const int64_t N = s[0], O = s[1], I = s[2];
	struct ops_case *c = case_add(t, HONE_OP_MATMUL, "%s %lldx%lldx%lld %s", forms[form],
		(long long)N, (long long)O, (long long)I, what);

	c->attr.matmul.form = form;
	c->attr_size = sizeof c->attr.matmul;
	case_tokens(c, N);
	case_input(c, case_mat(OPS_COMPUTE, TOKENS, N, form == HONE_MATMUL_NT ? I : O));
	if (form == HONE_MATMUL_TN) {
		case_input(c, case_mat(OPS_COMPUTE, TOKENS, N, I));
		case_output(c, case_mat(OPS_STAT, STATIC, O, I));
	} else {
		case_input(c, case_mat(OPS_COMPUTE, STATIC, O, I));
		case_output(c, case_mat(OPS_COMPUTE, TOKENS, N, form == HONE_MATMUL_NT ? O : I));
	}
	return c;
}

void
op_cases_product(struct op_cases *t)
{
	static const int32_t types[] = {HONE_DTYPE_F32, HONE_DTYPE_BF16, HONE_DTYPE_F16};
	static const int64_t odd[3] = {19, 35, 67};
	struct ops_case *c;

	for (int32_t form = HONE_MATMUL_NT; form <= HONE_MATMUL_TN; form++) {
		for (size_t i = 0; i < sizeof products / sizeof products[0]; i++)
			(void)add_matmul(t, form, products[i], "");
		for (size_t i = 1; i < N_CASE_VALUES; i++) {
			c = add_matmul(t, form, odd, case_values[i].name);
			c->in[0] = case_valued(c->in[0], i);
		}
		for (size_t i = 0; i < 3; i++) {
			c = add_matmul(t, form, odd, hone_dtype_name(types[i]));
			c->in[1].dtype = types[i];
		}
		/* Plus a third operand, apart and in place. */
		c = add_matmul(t, form, odd, "plus c");
		case_input(c, c->out[0]);
		c = add_matmul(t, form, odd, "plus c in place");
		case_input(c, c->out[0]);
		c->out[0].alias = 3;
		/* The row operand lies outside a chunk. */
		c = add_matmul(t, form, odd, "window");
		c->in[0].flags = HONE_OPERAND_WINDOW;
		c->begin[TOKENS] = 2;
	}
	/* The similarity of rows with carried rows: the sum ends at the last live one. */
	c = add_matmul(t, HONE_MATMUL_NN, odd, "b of a row space");
	c->in[1] = case_mat(OPS_COMPUTE, KEYS, odd[1], odd[2]);
	c->in[0].dim[1] = c->in[1].dim[0];
	c->live[KEYS] = odd[1];
	c = add_matmul(t, HONE_MATMUL_TN, odd, "accumulate");
	c->flags = HONE_COMMAND_ACCUMULATE;
	c = add_matmul(t, HONE_MATMUL_TN, products[0], "accumulate");
	c->flags = HONE_COMMAND_ACCUMULATE;
	c = add_matmul(t, HONE_MATMUL_TN, odd, "both in a window");
	c->in[0].flags = c->in[1].flags = HONE_OPERAND_WINDOW;
	c->begin[TOKENS] = 3;
}
