/*
 * template_test.c - the tests of a chat template: x is defined, x is in y ...
 */
#include <string.h>

#include "text/template_impl.h"

static bool
is_defined(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r, (void)arg;
	return v->kind != TV_UNDEFINED;
}

static bool
is_undefined(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r, (void)arg;
	return v->kind == TV_UNDEFINED;
}

static bool
is_none(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r, (void)arg;
	return v->kind == TV_NONE;
}

static bool
is_string(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r, (void)arg;
	return v->kind == TV_STR;
}

static bool
is_mapping(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r, (void)arg;
	return v->kind == TV_DICT;
}

/* Whatever iter() takes; undefined is an empty sequence. */
static bool
is_iterable(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r, (void)arg;
	return v->kind == TV_UNDEFINED || v->kind == TV_STR || v->kind == TV_SEQ ||
		v->kind == TV_DICT || v->kind == TV_LOOP;
}

/* Whatever has a length and items: strings and dicts too, and undefined. */
static bool
is_sequence(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r, (void)arg;
	return v->kind == TV_UNDEFINED || v->kind == TV_STR || v->kind == TV_DICT ||
		(v->kind == TV_SEQ && v->seq->kind <= SEQ_RANGE);
}

static bool
is_number(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r, (void)arg;
	return v->kind == TV_BOOL || v->kind == TV_INT || v->kind == TV_FLOAT;
}

static bool
is_integer(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r, (void)arg;
	return v->kind == TV_INT;
}

static bool
is_float(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r, (void)arg;
	return v->kind == TV_FLOAT;
}

static bool
is_boolean(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r, (void)arg;
	return v->kind == TV_BOOL;
}

static bool
is_true(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r, (void)arg;
	return v->kind == TV_BOOL && v->b;
}

static bool
is_false(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r, (void)arg;
	return v->kind == TV_BOOL && !v->b;
}

static bool
is_callable(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r, (void)arg;
	return v->kind == TV_MACRO || v->kind == TV_METHOD || v->kind == TV_GLOBAL ||
		v->kind == TV_UNDEFINED;
}

static bool
is_eq(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	return tv_compare(r, CMP_EQ, v, arg);
}

static bool
is_ne(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	return tv_compare(r, CMP_NE, v, arg);
}

static bool
is_lt(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	return tv_compare(r, CMP_LT, v, arg);
}

static bool
is_le(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	return tv_compare(r, CMP_LE, v, arg);
}

static bool
is_gt(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	return tv_compare(r, CMP_GT, v, arg);
}

static bool
is_ge(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	return tv_compare(r, CMP_GE, v, arg);
}

static bool
is_in(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	return tv_compare(r, CMP_IN, v, arg);
}

/* v mod n for ints; fails for anything else. */
static int64_t
modulo(struct tpl_render *r, const struct tv *v, int64_t n)
{
	if (v->kind != TV_INT || !n || n == -1) {
		tpl_fail(r, "this test takes ints, and no division by 0 or -1");
		return 0;
	}
	return v->i % n;
}

static bool
is_even(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)arg;
	return modulo(r, v, 2) == 0;
}

static bool
is_odd(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)arg;
	return modulo(r, v, 2) != 0;
}

static bool
is_divisible(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	return modulo(r, v, arg->kind == TV_INT ? arg->i : 0) == 0;
}

static const struct tpl_test tests[] = {
	{"boolean", 0, is_boolean},
	{"callable", 0, is_callable},
	{"defined", 0, is_defined},
	{"divisibleby", 1, is_divisible},
	{"eq", 1, is_eq},
	{"equalto", 1, is_eq},
	{"==", 1, is_eq},
	{"even", 0, is_even},
	{"false", 0, is_false},
	{"float", 0, is_float},
	{"ge", 1, is_ge},
	{">=", 1, is_ge},
	{"gt", 1, is_gt},
	{"greaterthan", 1, is_gt},
	{">", 1, is_gt},
	{"in", 1, is_in},
	{"integer", 0, is_integer},
	{"iterable", 0, is_iterable},
	{"le", 1, is_le},
	{"<=", 1, is_le},
	{"lt", 1, is_lt},
	{"lessthan", 1, is_lt},
	{"<", 1, is_lt},
	{"mapping", 0, is_mapping},
	{"ne", 1, is_ne},
	{"!=", 1, is_ne},
	{"none", 0, is_none},
	{"number", 0, is_number},
	{"odd", 0, is_odd},
	{"sequence", 0, is_sequence},
	{"string", 0, is_string},
	{"true", 0, is_true},
	{"undefined", 0, is_undefined},
};

const struct tpl_test *
tpl_test_find(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
		if (strlen(tests[i].name) == len && !memcmp(tests[i].name, name, len))
			return &tests[i];
	return NULL;
}

bool
tpl_test_apply(struct tpl_render *r, const struct tpl_test *test, const struct tv *v,
	const struct tv_args *args)
{
	if (args->n != (size_t)test->n_args || args->n_kw)
		tpl_fail(r, "the test \"%s\" takes %d arguments", test->name, test->n_args);
	return !r->status && test->fn(r, v, args->items);
}
