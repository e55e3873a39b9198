/*
 * elementwise.c - UNARY, UNARY_BACK, BINARY, SCALE, CAST, FILL.
 *
 * Functions of one element are written in the form that loses nothing for large |x|:
 * logsigmoid and softplus through log1p(exp(-|x|)), gelu through erfc.  A NaN stays a NaN in
 * min and max.  Element i of the output depends on element i of the operands alone, so any
 * operand may share the memory of the output.
 */
#include "reference.h"

#include <math.h>

#define SQRT_HALF      0.70710678118654752440
#define SQRT_2_PI_INV  0.39894228040143267794 /* 1 / sqrt(2 pi) */
#define SQRT_2_OVER_PI 0.79788456080286535588
#define GELU_CUBE      0.044715
#define QUICK_GELU     1.702

static double
sigmoid(double x)
{
	const double e = exp(-fabs(x));

	return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

/* The argument of tanh in gelu_tanh. */
static double
gelu_inner(double x)
{
	return SQRT_2_OVER_PI * (x + GELU_CUBE * x * x * x);
}

static double
value(int32_t kind, double x)
{
	switch (kind) {
	case HONE_UNARY_NEG:
		return -x;
	case HONE_UNARY_EXP:
		return exp(x);
	case HONE_UNARY_LOG:
		return log(x);
	case HONE_UNARY_SQRT:
		return sqrt(x);
	case HONE_UNARY_RSQRT:
		return 1 / sqrt(x);
	case HONE_UNARY_SQUARE:
		return x * x;
	case HONE_UNARY_ABS:
		return fabs(x);
	case HONE_UNARY_RECIPROCAL:
		return 1 / x;
	case HONE_UNARY_SIGMOID:
		return sigmoid(x);
	case HONE_UNARY_LOGSIGMOID:
		return (x < 0 ? x : 0) - log1p(exp(-fabs(x)));
	case HONE_UNARY_SOFTPLUS:
		return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
	case HONE_UNARY_TANH:
		return tanh(x);
	case HONE_UNARY_RELU:
		return x <= 0 ? 0 : x;
	case HONE_UNARY_SILU:
		return x * sigmoid(x);
	case HONE_UNARY_GELU:
		return 0.5 * x * erfc(-x * SQRT_HALF);
	case HONE_UNARY_GELU_TANH:
		return 0.5 * x * (1 + tanh(gelu_inner(x)));
	default:
		return x * sigmoid(QUICK_GELU * x);
	}
}

/* 1 - tanh(x)^2, which is 4 exp(-2 |x|) far out, where tanh is 1. */
static double
tanh_slope(double x)
{
	return 4 * sigmoid(2 * x) * sigmoid(-2 * x);
}

/* d/dx of x sigmoid(c x). */
static double
swish_slope(double x, double c)
{
	const double s = sigmoid(c * x);

	return s + c * x * s * (1 - s);
}

static double
gelu_tanh_slope(double x)
{
	const double t = tanh(gelu_inner(x));
	const double inner = SQRT_2_OVER_PI * (1 + 3 * GELU_CUBE * x * x);

	return 0.5 * (1 + t) + 0.5 * x * tanh_slope(gelu_inner(x)) * inner;
}

static double
slope(int32_t kind, double x)
{
	switch (kind) {
	case HONE_UNARY_NEG:
		return -1;
	case HONE_UNARY_EXP:
		return exp(x);
	case HONE_UNARY_LOG:
		return 1 / x;
	case HONE_UNARY_SQRT:
		return 0.5 / sqrt(x);
	case HONE_UNARY_RSQRT:
		return -0.5 / (x * sqrt(x));
	case HONE_UNARY_SQUARE:
		return 2 * x;
	case HONE_UNARY_ABS:
		return x > 0 ? 1 : x < 0 ? -1 : 0;
	case HONE_UNARY_RECIPROCAL:
		return -1 / (x * x);
	case HONE_UNARY_SIGMOID:
		return sigmoid(x) * sigmoid(-x);
	case HONE_UNARY_LOGSIGMOID:
		return sigmoid(-x);
	case HONE_UNARY_SOFTPLUS:
		return sigmoid(x);
	case HONE_UNARY_TANH:
		return tanh_slope(x);
	case HONE_UNARY_RELU:
		return x > 0 ? 1 : 0;
	case HONE_UNARY_SILU:
		return swish_slope(x, 1);
	case HONE_UNARY_GELU:
		return 0.5 * erfc(-x * SQRT_HALF) + x * SQRT_2_PI_INV * exp(-0.5 * x * x);
	case HONE_UNARY_GELU_TANH:
		return gelu_tanh_slope(x);
	default:
		return swish_slope(x, QUICK_GELU);
	}
}

static enum hone_status
unary(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_unary *attr = call->command->attr;

	(void)err;
	for (int64_t i = 0; i < ref_elems(&call->out[0]); i++)
		ref_put(&call->out[0], i, value(attr->kind, ref_get(&call->in[0], i)));
	return HONE_OK;
}

static enum hone_status
unary_back(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_unary *attr = call->command->attr;

	(void)err;
	for (int64_t i = 0; i < ref_elems(&call->out[0]); i++)
		ref_put(&call->out[0], i,
			ref_get(&call->in[0], i) * slope(attr->kind, ref_get(&call->in[1], i)));
	return HONE_OK;
}

static enum hone_status
check_unary(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_unary *attr = c->attr;

	if (attr->kind < HONE_UNARY_NEG || attr->kind > HONE_UNARY_QUICK_GELU)
		return hone_fail(err, HONE_EUNSUPPORTED, "unary has no kind %d", attr->kind);
	return HONE_OK;
}

/* ---- two operands ---- */

/* How b lies beside a: element i of a goes with element index(i) of b. */
enum beside { FULL, ROW, COLUMN, SCALAR, NEITHER };

static bool
same_rows(const struct hone_operand *a, const struct hone_operand *b)
{
	return a->space == b->space && (a->space || a->dim[0] == b->dim[0]);
}

static enum beside
beside(const struct hone_operand *a, const struct hone_operand *b)
{
	const int64_t D = hone_operand_row_elems(a);
	const int64_t b_cols = hone_operand_row_elems(b);

	if (same_rows(a, b) && b_cols == D)
		return FULL;
	if (!b->space && b->dim[0] == 1 && b_cols == 1)
		return SCALAR;
	if (same_rows(a, b) && b_cols == 1 && (b->rank > 1 || b->space))
		return COLUMN;
	/* A static vector is a row where it can be one, else a column. */
	if (!b->space && ((b->rank == 1 && b->dim[0] == D) || (b->dim[0] == 1 && b_cols == D)))
		return ROW;
	return same_rows(a, b) && b_cols == 1 ? COLUMN : NEITHER;
}

static double
combine(int32_t kind, double a, double b)
{
	switch (kind) {
	case HONE_BINARY_ADD:
		return a + b;
	case HONE_BINARY_SUB:
		return a - b;
	case HONE_BINARY_MUL:
		return a * b;
	case HONE_BINARY_DIV:
		return a / b;
	case HONE_BINARY_MIN:
		return b < a || b != b ? b : a;
	case HONE_BINARY_MAX:
		return ref_max(a, b);
	case HONE_BINARY_LESS:
		return a < b ? 1 : 0;
	default:
		return a == b ? 1 : 0;
	}
}

static enum hone_status
binary(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_binary *attr = call->command->attr;
	const struct ref_tensor *a = &call->in[0], *b = &call->in[1];
	const enum beside how = beside(a->operand, b->operand);
	const int64_t D = a->cols;

	(void)err;
	for (int64_t i = 0; i < ref_elems(&call->out[0]); i++) {
		const int64_t at = how == FULL ? i : how == ROW ? i % D : how == COLUMN ? i / D : 0;

		ref_put(&call->out[0], i, combine(attr->kind, ref_get(a, i), ref_get(b, at)));
	}
	return HONE_OK;
}

static enum hone_status
check_binary(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_binary *attr = c->attr;

	if (attr->kind < HONE_BINARY_ADD || attr->kind > HONE_BINARY_EQUAL)
		return hone_fail(err, HONE_EUNSUPPORTED, "binary has no kind %d", attr->kind);
	if (beside(&c->in[0], &c->in[1]) == NEITHER)
		return hone_fail(err, HONE_EUNSUPPORTED,
			"binary: the second operand is neither of the first's shape nor a row, "
			"a column or a scalar");
	return HONE_OK;
}

/* ---- one operand and numbers ---- */

static enum hone_status
scale(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_scale *attr = call->command->attr;

	(void)err;
	for (int64_t i = 0; i < ref_elems(&call->out[0]); i++)
		ref_put(&call->out[0], i, attr->alpha * ref_get(&call->in[0], i) + attr->beta);
	return HONE_OK;
}

static enum hone_status
cast(const struct ref_call *call, struct hone_error *err)
{
	(void)err;
	for (int64_t i = 0; i < ref_elems(&call->out[0]); i++)
		ref_put(&call->out[0], i, ref_get(&call->in[0], i));
	return HONE_OK;
}

static enum hone_status
check_cast(const struct hone_command *c, struct hone_error *err)
{
	const struct hone_attr_cast *attr = c->attr;

	if (attr->dtype != c->out[0].dtype)
		return hone_fail(err, HONE_EUNSUPPORTED, "cast to %s has an output of type %s",
			hone_dtype_name(attr->dtype), hone_dtype_name(c->out[0].dtype));
	return HONE_OK;
}

static enum hone_status
fill(const struct ref_call *call, struct hone_error *err)
{
	const struct hone_attr_scale *attr = call->command->attr;

	(void)err;
	for (int64_t i = 0; i < ref_elems(&call->out[0]); i++)
		ref_put(&call->out[0], i, attr->beta);
	return HONE_OK;
}

const struct ref_op ref_ops_elementwise[] = {
	{HONE_OP_UNARY, sizeof(struct hone_attr_unary), 1, 1, 1, 1, 0, unary, check_unary},
	{HONE_OP_UNARY_BACK, sizeof(struct hone_attr_unary), 2, 2, 1, 1, 0, unary_back,
		check_unary},
	{HONE_OP_BINARY, sizeof(struct hone_attr_binary), 2, 2, 1, 1, 0, binary, check_binary},
	{HONE_OP_SCALE, sizeof(struct hone_attr_scale), 1, 1, 1, 1, 0, scale, NULL},
	{HONE_OP_CAST, sizeof(struct hone_attr_cast), 1, 1, 1, 1, 0, cast, check_cast},
	{HONE_OP_FILL, sizeof(struct hone_attr_scale), 1, 1, 1, 1, 0, fill, NULL},
	{0},
};
