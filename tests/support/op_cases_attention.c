/*
 * support/op_cases_attention.c - the cases of attention and of rotary positions, forward and
 * backward.
 */
#include <math.h>

#include "op_cases_parts.h"

/* ---- rope ---- */

static void
add_rope_case(struct op_cases *t, int64_t N, int64_t H, int64_t K, int64_t n)
{
	struct ops_case *c =
		case_add(t, HONE_OP_ROPE_TABLE, "%lld rows, %lld", (long long)N, (long long)n);

	c->attr.rope_table.n = n;
	c->attr.rope_table.scale = 1.25;
	for (int64_t j = 0; j < n; j++)
		c->attr.rope_table.inv_freq[j] = pow(10000, -(double)j / (double)n);
	c->attr_size = sizeof c->attr.rope_table;
	case_tokens(c, N);
	case_input(c,
		case_filled(case_mat(HONE_DTYPE_I32, TOKENS, N, 1), OPS_FILL_INTEGER, 0, 100000));
	c->in[0].rank = 1;
	case_output(c, case_mat(OPS_STAT, TOKENS, N, 2 * n));
	for (int32_t layout = 0; layout < 2; layout++)
		for (int32_t inverse = 0; inverse < 2; inverse++) {
			c = case_add(t, HONE_OP_ROPE, "%lldx%lldx%lld of %lld, layout %d%s",
				(long long)N, (long long)H, (long long)K, (long long)n, layout,
				inverse ? " inverse" : "");
			c->attr.rope = (struct hone_attr_rope){K, layout, inverse};
			c->attr_size = sizeof c->attr.rope;
			case_tokens(c, N);
			case_input(c, case_mat(OPS_COMPUTE, TOKENS, N, H * K));
			case_input(c,
				case_filled(case_mat(OPS_STAT, TOKENS, N, 2 * n), OPS_FILL_UNIFORM,
					-1, 1));
			case_output(c, case_mat(OPS_COMPUTE, TOKENS, N, H * K));
		}
}

void
op_cases_rope(struct op_cases *t)
{
	add_rope_case(t, 0, 2, 4, 2);
	add_rope_case(t, 1, 1, 2, 1);
	add_rope_case(t, 7, 3, 64, 32);
	add_rope_case(t, 5, 2, 80, 16); /* partial: 32 of 80 columns turn */
	add_rope_case(t, 33, 9, 6, 3);
	add_rope_case(t, 2, 1, 256, 128);
}

/* ---- attention ---- */
struct attention_shape {
	const char *name;
	int64_t H, G, K, window, P;
	int32_t causal;
	double scale, softcap;
	double size;              /* of q */
	int64_t n_segments, N, L; /* L = 0: the keys are in the rows of the queries */
	const int32_t *q_offsets, *kv_ranges;
};

static const int32_t one_q[] = {0, 1}, one_kv[] = {0, 1};
static const int32_t few_q[] = {0, 5, 6, 6, 23}, few_kv[] = {0, 5, 5, 6, 6, 6, 6, 23};
static const int32_t two_q[] = {0, 65, 129}, two_kv[] = {0, 65, 65, 129};
static const int32_t long_q[] = {0, 131}, long_kv[] = {0, 131};
/* Keys of their own: more, fewer and no keys, shared keys, and keys of nobody (18, 19). */
static const int32_t own_q[] = {0, 3, 9, 10, 14, 17};
static const int32_t own_kv[] = {0, 7, 7, 10, 10, 10, 10, 18, 2, 9};

/* Queries 0, 6 and 7 are in no segment, and keys 0 and 7 in no range. */
static const int32_t gap_q[] = {1, 4, 4, 6}, gap_kv[] = {1, 4, 4, 4, 4, 7};

static const struct attention_shape attentions[] = {
	{"no rows", 2, 1, 4, 0, 0, 1, 0.5, 0, 1, 0, 0, 0, few_q, few_kv},
	{"one row", 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 1, 0, one_q, one_kv},
	{"causal", 4, 2, 16, 0, 0, 1, 0.25, 0, 1, 4, 23, 0, few_q, few_kv},
	{"bidirectional", 3, 3, 5, 0, 0, 0, 0.4, 0, 1, 4, 23, 0, few_q, few_kv},
	{"9 heads of 64", 9, 3, 64, 0, 0, 1, 0.125, 0, 1, 2, 129, 0, two_q, two_kv},
	{"head of 80", 2, 2, 80, 0, 0, 1, 0.11, 0, 1, 2, 129, 0, two_q, two_kv},
	{"head of 128", 2, 1, 128, 0, 0, 0, 0.09, 0, 1, 1, 131, 0, long_q, long_kv},
	{"window 1", 2, 1, 8, 1, 0, 1, 0.35, 0, 1, 4, 23, 0, few_q, few_kv},
	{"window 4", 2, 1, 8, 4, 0, 1, 0.35, 0, 1, 4, 23, 0, few_q, few_kv},
	{"window 70", 2, 2, 32, 70, 0, 1, 0.2, 0, 1, 1, 131, 0, long_q, long_kv},
	{"window, bidirectional", 2, 1, 8, 3, 0, 0, 0.35, 0, 1, 4, 23, 0, few_q, few_kv},
	{"softcap", 2, 1, 16, 0, 0, 1, 1, 5, 3, 4, 23, 0, few_q, few_kv},
	{"prefix", 4, 2, 16, 0, 5, 1, 0.25, 0, 1, 4, 23, 0, few_q, few_kv},
	{"prefix, window, softcap", 4, 1, 16, 3, 33, 1, 0.25, 2, 1, 4, 23, 0, few_q, few_kv},
	{"own keys", 2, 1, 8, 0, 0, 0, 0.35, 0, 1, 5, 17, 20, own_q, own_kv},
	{"own keys, causal", 2, 1, 8, 0, 0, 1, 0.35, 0, 1, 5, 17, 20, own_q, own_kv},
	{"own keys, causal, window", 2, 1, 8, 2, 0, 1, 0.35, 0, 1, 5, 17, 20, own_q, own_kv},
	{"own keys, prefix", 2, 2, 8, 0, 3, 1, 0.35, 0, 1, 5, 17, 20, own_q, own_kv},
	{"rows of no segment", 2, 1, 8, 0, 0, 1, 0.35, 0, 1, 3, 8, 0, gap_q, gap_kv},
	{"scores of 1e4", 2, 1, 16, 0, 0, 1, 1, 0, 3e3, 4, 23, 0, few_q, few_kv},
	{"zeros", 2, 1, 16, 0, 0, 1, 1, 0, 0, 4, 23, 0, few_q, few_kv},
};

static void
add_attention_case(struct op_cases *t, const struct attention_shape *a, bool back)
{
	const uint32_t keys = a->L ? KEYS : TOKENS;
	const int64_t L = a->L ? a->L : a->N;
	const struct ops_operand q = case_filled(case_mat(OPS_COMPUTE, TOKENS, a->N, a->H * a->K),
		a->size != 0 ? OPS_FILL_NORMAL : OPS_FILL_CONST, a->size, 0);
	const struct ops_operand o = case_mat(OPS_COMPUTE, TOKENS, a->N, a->H * a->K);
	const struct ops_operand k = case_mat(OPS_COMPUTE, keys, L, a->G * a->K);
	const struct ops_operand lse = case_mat(OPS_STAT, TOKENS, a->N, a->H);
	const struct ops_operand prefix = case_mat(HONE_DTYPE_F32, STATIC, a->P, a->G * a->K);
	const struct ops_operand ranges = case_listed(SEGMENTS, 2, a->kv_ranges, 2 * a->n_segments);
	struct ops_case *c =
		case_add(t, back ? HONE_OP_ATTENTION_BACK : HONE_OP_ATTENTION, "%s", a->name);

	c->attr.attention = (struct hone_attr_attention){
		a->H, a->G, a->K, a->window, a->causal, 0, a->scale, a->softcap};
	c->attr_size = sizeof c->attr.attention;
	c->slack = a->size > 100 ? 64 : 8; /* rounded q of 1e3: scores move by whole numbers */
	c->live[TOKENS] = a->N;
	c->live[KEYS] = a->L;
	c->live[SEGMENTS] = a->n_segments;
	c->live[OFFSETS] = a->n_segments + 1;
	if (back)
		case_input(c, o);
	case_input(c, q);
	case_input(c, k);
	case_input(c, k);
	if (back) {
		case_input(c, o);
		case_input(c, lse);
	}
	case_input(c, case_listed(OFFSETS, 1, a->q_offsets, a->n_segments + 1));
	case_input(c, ranges);
	if (a->P) {
		case_input(c, prefix);
		case_input(c, prefix);
	}
	case_output(c, o);
	if (!back) {
		case_output(c, lse);
		return;
	}
	case_output(c, k);
	case_output(c, k);
	c->forward = (struct ops_forward){.op = HONE_OP_ATTENTION,
		.attr_size = sizeof c->attr.attention,
		.n_out = 2,
		.in = {2, 3, 4, 7, 8},
		.to = {5, 6},
		.out = {o, lse}};
	if (a->P) {
		c->forward.in[5] = 9;
		c->forward.in[6] = 10;
		case_output(c, case_mat(OPS_STAT, STATIC, a->P, a->G * a->K));
		case_output(c, case_mat(OPS_STAT, STATIC, a->P, a->G * a->K));
	}
}

void
op_cases_attention(struct op_cases *t)
{
	for (size_t i = 0; i < sizeof attentions / sizeof attentions[0]; i++) {
		add_attention_case(t, &attentions[i], false);
		add_attention_case(t, &attentions[i], true);
	}
}
