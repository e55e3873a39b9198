/*
 * template_value.c - the values of a chat template: made, compared, iterated.
 *
 * They are Python's, as far as templates see them: None, bool, 64-bit int, float, str, list,
 * tuple, dict in the order of insertion, and Jinja2's undefined.  Values are small and copied;
 * what they point to lives in the rendering's arena and counts against its memory.
 */
#include <math.h>
#include <string.h>

#include "text/template_impl.h"

#define PER_STEP_BYTES 128

/* A step for each call and for each 128 bytes; without a rendering (the lexer) free. */
bool
tpl_spend(struct tpl_render *r, uint64_t bytes)
{
	if (!r)
		return true;
	r->steps += 1 + bytes / PER_STEP_BYTES;
	if (r->steps > r->limits.steps)
		tpl_fail(r, "rendering takes more than %llu steps",
			(unsigned long long)r->limits.steps);
	return !r->status;
}

void *
tpl_alloc(struct tpl_render *r, uint64_t bytes)
{
	if (r->status)
		return NULL;
	/* The arena's own rounding is covered by 16 bytes per value. */
	if (bytes > r->limits.mem_bytes || r->mem + bytes + 16 > r->limits.mem_bytes) {
		tpl_fail(r, "rendering takes more than %llu bytes of memory",
			(unsigned long long)r->limits.mem_bytes);
		return NULL;
	}
	r->mem += bytes + 16;
	return tpl_spend(r, bytes) ? hn_arena_alloc(&r->arena, (size_t)bytes) : NULL;
}

struct tv
tv_str_copy(struct tpl_render *r, const char *text, size_t len)
{
	char *copy = tpl_alloc(r, len);

	if (!copy)
		return tv_undefined();
	if (len)
		memcpy(copy, text, len);
	return tv_str(copy, len);
}

struct tv
tv_str_take(struct tpl_render *r, struct hn_str *str)
{
	struct tv out = tv_str_copy(r, str->text ? str->text : "", str->len);

	hn_str_fini(str);
	return out;
}

struct tv
tv_seq_new(struct tpl_render *r, enum seq_kind kind, size_t cap)
{
	struct tv_seq *seq = tpl_alloc(r, sizeof *seq);

	if (!seq)
		return tv_undefined();
	seq->kind = kind;
	if (cap) {
		seq->items = tpl_alloc(r, (uint64_t)cap * sizeof *seq->items);
		if (!seq->items)
			return tv_undefined();
		seq->cap = cap;
	}
	return (struct tv){.kind = TV_SEQ, .seq = seq};
}

/* Grows by doubling; the old array stays in the arena and counts. */
void
tv_seq_push(struct tpl_render *r, struct tv_seq *seq, struct tv item)
{
	if (r->status)
		return;
	if (seq->n == seq->cap) {
		const size_t cap = seq->cap ? 2 * seq->cap : 8;
		struct tv *items = tpl_alloc(r, (uint64_t)cap * sizeof *items);

		if (!items)
			return;
		if (seq->n)
			memcpy(items, seq->items, seq->n * sizeof *items);
		seq->items = items;
		seq->cap = cap;
	}
	seq->items[seq->n++] = item;
}

struct tv
tv_dict_new(struct tpl_render *r, enum tv_kind kind, size_t cap)
{
	struct tv_dict *dict = tpl_alloc(r, sizeof *dict);

	if (!dict)
		return tv_undefined();
	if (cap) {
		dict->items = tpl_alloc(r, (uint64_t)cap * sizeof *dict->items);
		if (!dict->items)
			return tv_undefined();
		dict->cap = cap;
	}
	return (struct tv){.kind = (uint8_t)kind, .dict = dict};
}

/* A linear search that is paid for: real dicts have few keys. */
const struct tv *
tv_dict_find(struct tpl_render *r, const struct tv_dict *dict, const struct tv *key)
{
	if (!tpl_spend(r, dict->n * 16))
		return NULL;
	for (size_t i = 0; i < dict->n; i++) {
		const struct tv *k = &dict->items[i].key;

		/* Strings first: nearly all keys are, and most differ in length. */
		if (k->kind == TV_STR && key->kind == TV_STR) {
			if (k->len == key->len && !memcmp(k->text, key->text, k->len))
				return &dict->items[i].value;
		} else if (tv_eq(r, k, key, 0)) {
			return &dict->items[i].value;
		}
	}
	return NULL;
}

/* Only what Python can hash and JSON can bring. */
void
tv_dict_put(struct tpl_render *r, struct tv_dict *dict, struct tv key, struct tv value)
{
	struct tv *old;

	if (r->status)
		return;
	if (key.kind == TV_SEQ || key.kind == TV_DICT || key.kind == TV_UNDEFINED ||
		key.kind > TV_DICT) {
		tpl_fail(r, "a %s cannot be the key of a dict here", tv_type_name(&key));
		return;
	}
	old = (struct tv *)(uintptr_t)tv_dict_find(r, dict, &key);
	if (old) {
		*old = value;
		return;
	}
	if (dict->n == dict->cap) {
		const size_t cap = dict->cap ? 2 * dict->cap : 8;
		struct tv_pair *items = tpl_alloc(r, (uint64_t)cap * sizeof *items);

		if (!items)
			return;
		if (dict->n)
			memcpy(items, dict->items, dict->n * sizeof *items);
		dict->items = items;
		dict->cap = cap;
	}
	if (!r->status)
		dict->items[dict->n++] = (struct tv_pair){key, value};
}

/* A JSON object's members in their order.  Keys are unique, so nothing is searched. */
static struct tv
dict_from_json(struct tpl_render *r, const json_t *json, int depth)
{
	struct tv out = tv_dict_new(r, TV_DICT, json_object_size(json));
	json_t *object = (json_t *)(uintptr_t)json; /* jansson's iterators take no const */

	if (r->status)
		return out;
	for (void *it = json_object_iter(object); it && !r->status;
		it = json_object_iter_next(object, it)) {
		struct tv_pair *pair = &out.dict->items[out.dict->n++];

		pair->key = tv_str_copy(r, json_object_iter_key(it), json_object_iter_key_len(it));
		pair->value = tv_from_json(r, json_object_iter_value(it), depth + 1);
	}
	return out;
}

struct tv
tv_from_json(struct tpl_render *r, const json_t *json, int depth)
{
	struct tv out;

	if (depth > TPL_DEPTH_MAX)
		tpl_fail(r, "a variable is nested more than %d levels deep", TPL_DEPTH_MAX);
	if (r->status)
		return tv_undefined();
	switch (json_typeof(json)) {
	case JSON_OBJECT:
		return dict_from_json(r, json, depth);
	case JSON_ARRAY:
		out = tv_seq_new(r, SEQ_LIST, json_array_size(json));
		for (size_t i = 0; i < json_array_size(json) && !r->status; i++)
			tv_seq_push(
				r, out.seq, tv_from_json(r, json_array_get(json, i), depth + 1));
		return out;
	case JSON_STRING:
		return tv_str_copy(r, json_string_value(json), json_string_length(json));
	case JSON_INTEGER:
		return tv_int(json_integer_value(json));
	case JSON_REAL:
		return tv_float(json_real_value(json));
	case JSON_TRUE:
		return tv_bool(true);
	case JSON_FALSE:
		return tv_bool(false);
	default:
		return tv_none();
	}
}

/* A generator is true, even one that would give nothing. */
bool
tv_truth(const struct tv *v)
{
	switch ((enum tv_kind)v->kind) {
	case TV_ABSENT:
	case TV_UNDEFINED:
	case TV_NONE:
		return false;
	case TV_BOOL:
		return v->b;
	case TV_INT:
		return v->i != 0;
	case TV_FLOAT:
		return v->f != 0;
	case TV_STR:
		return v->len > 0;
	case TV_SEQ:
		return v->seq->kind == SEQ_GENERATOR || v->seq->n > 0;
	case TV_DICT:
		return v->dict->n > 0;
	case TV_LOOP:
		return v->loop->seq->n > 0;
	default:
		return true;
	}
}

const char *
tv_type_name(const struct tv *v)
{
	static const char *const names[] = {"missing argument", "undefined value", "None", "bool",
		"int", "float", "str", "list", "dict", "namespace", "loop", "macro", "method",
		"function"};
	static const char *const seqs[] = {"list", "tuple", "range", "view", "generator"};

	return v->kind == TV_SEQ ? seqs[v->seq->kind] : names[v->kind];
}

static bool
is_number(const struct tv *v)
{
	return v->kind == TV_BOOL || v->kind == TV_INT || v->kind == TV_FLOAT;
}

/* -1, 0, 1, or 2 where one is not a number.  Integers beside floats as Python does: exactly. */
static int
order_numbers(const struct tv *a, const struct tv *b)
{
	const int64_t i = a->kind == TV_BOOL ? a->b : a->i, j = b->kind == TV_BOOL ? b->b : b->i;

	if (a->kind != TV_FLOAT && b->kind != TV_FLOAT)
		return i < j ? -1 : i > j;
	if (a->kind == TV_FLOAT && b->kind == TV_FLOAT)
		return a->f < b->f ? -1 : a->f > b->f ? 1 : a->f == b->f ? 0 : 2;
	if (a->kind == TV_FLOAT) {
		const int reversed = order_numbers(b, a);

		return reversed == 2 ? 2 : -reversed;
	}
	if (isnan(b->f))
		return 2;
	if (b->f >= 9223372036854775808.0)
		return -1;
	if (b->f < -9223372036854775808.0)
		return 1;
	if (i != (int64_t)b->f)
		return i < (int64_t)b->f ? -1 : 1;
	return b->f > trunc(b->f) ? -1 : b->f < trunc(b->f);
}

static bool
eq_dicts(struct tpl_render *r, const struct tv_dict *a, const struct tv_dict *b, int depth)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n && !r->status; i++) {
		const struct tv *value = tv_dict_find(r, b, &a->items[i].key);

		if (!value || !tv_eq(r, &a->items[i].value, value, depth + 1))
			return false;
	}
	return true;
}

/* 1 == 1.0 == true; a list is no tuple; two undefined values are equal. */
bool
tv_eq(struct tpl_render *r, const struct tv *a, const struct tv *b, int depth)
{
	if (depth > TPL_DEPTH_MAX)
		tpl_fail(r, "values are nested too deeply to be compared");
	if (!tpl_spend(r, a->kind == TV_STR ? a->len : 0))
		return false;
	if (is_number(a) && is_number(b))
		return order_numbers(a, b) == 0;
	if (a->kind != b->kind)
		return false;
	switch ((enum tv_kind)a->kind) {
	case TV_UNDEFINED:
	case TV_NONE:
		return true;
	case TV_STR:
		return a->len == b->len && !memcmp(a->text, b->text, a->len);
	case TV_DICT:
		return eq_dicts(r, a->dict, b->dict, depth);
	case TV_SEQ:
		if (a->seq == b->seq)
			return true;
		if (a->seq->kind >= SEQ_VIEW || b->seq->kind >= SEQ_VIEW)
			tpl_fail(r, "comparing a %s is not offered", tv_type_name(a));
		if (a->seq->kind != b->seq->kind || a->seq->n != b->seq->n)
			return false;
		for (size_t i = 0; i < a->seq->n; i++)
			if (!tv_eq(r, &a->seq->items[i], &b->seq->items[i], depth + 1))
				return false;
		return true;
	default:
		tpl_fail(r, "comparing a %s is not offered", tv_type_name(a));
		return false;
	}
}

/* Numbers among themselves, texts, and lists item by item; 2 = not a number. */
int
tv_order(struct tpl_render *r, const struct tv *a, const struct tv *b, int depth)
{
	const size_t n =
		a->kind == TV_STR && b->kind == TV_STR && b->len < a->len ? b->len : a->len;
	int order;

	if (depth > TPL_DEPTH_MAX)
		tpl_fail(r, "values are nested too deeply to be compared");
	if (!tpl_spend(r, a->kind == TV_STR ? a->len : 0))
		return 0;
	if (is_number(a) && is_number(b))
		return order_numbers(a, b);
	if (a->kind == TV_STR && b->kind == TV_STR) {
		/* The order of UTF-8 bytes is that of code points. */
		order = memcmp(a->text, b->text, n);
		return order ? order : a->len < b->len ? -1 : a->len > b->len;
	}
	if (a->kind == TV_SEQ && b->kind == TV_SEQ && a->seq->kind == b->seq->kind &&
		a->seq->kind <= SEQ_TUPLE) {
		for (size_t i = 0; i < a->seq->n && i < b->seq->n && !r->status; i++)
			if (!tv_eq(r, &a->seq->items[i], &b->seq->items[i], depth + 1))
				return tv_order(r, &a->seq->items[i], &b->seq->items[i], depth + 1);
		return a->seq->n < b->seq->n ? -1 : a->seq->n > b->seq->n;
	}
	tpl_fail(r, "%s and %s have no order", tv_type_name(a), tv_type_name(b));
	return 0;
}

/* Is `item` in `in`? */
static bool
contains(struct tpl_render *r, const struct tv *item, const struct tv *in)
{
	const struct tv_seq *seq;

	if (in->kind == TV_STR) {
		if (item->kind != TV_STR) {
			tpl_fail(r, "\"in\" looks for a str in a str, not for a %s",
				tv_type_name(item));
			return false;
		}
		(void)tpl_spend(r, in->len);
		return text_find(in->text, in->len, 0, item->text, item->len) != SIZE_MAX;
	}
	if (in->kind == TV_DICT) {
		if (item->kind == TV_DICT || item->kind == TV_SEQ)
			tpl_fail(r, "a %s is no key of a dict", tv_type_name(item));
		return !r->status && tv_dict_find(r, in->dict, item) != NULL;
	}
	seq = tv_iterate(r, in);
	for (size_t i = 0; seq && i < seq->n && !r->status; i++)
		if (tv_eq(r, &seq->items[i], item, 0))
			return true;
	return false;
}

bool
tv_compare(struct tpl_render *r, enum cmp_op op, const struct tv *a, const struct tv *b)
{
	int order;

	switch (op) {
	case CMP_EQ:
		return tv_eq(r, a, b, 0);
	case CMP_NE:
		return !tv_eq(r, a, b, 0);
	case CMP_IN:
		return contains(r, a, b);
	case CMP_NOT_IN:
		return !contains(r, a, b);
	default:
		break;
	}
	order = tv_order(r, a, b, 0);
	if (order == 2 && is_number(a))
		return false; /* not a number */
	return op == CMP_LT    ? order < 0
		: op == CMP_LE ? order <= 0
		: op == CMP_GT ? order > 0
			       : order >= 0;
}

bool
tv_equals_text(const struct tv *v, const char *text)
{
	return v->kind == TV_STR && v->len == strlen(text) && !memcmp(v->text, text, v->len);
}

/* A string's code points, a dict's keys. */
static const struct tv_seq *
iterate_copy(struct tpl_render *r, const struct tv *v)
{
	struct tv out = tv_seq_new(r, SEQ_LIST, v->kind == TV_DICT ? v->dict->n : 0);
	uint32_t code_point;

	if (v->kind == TV_DICT) {
		for (size_t i = 0; i < v->dict->n && !r->status; i++)
			tv_seq_push(r, out.seq, v->dict->items[i].key);
	} else if (v->kind == TV_STR) {
		for (size_t i = 0, n; i < v->len && !r->status; i += n) {
			n = text_next(v->text + i, v->len - i, &code_point);
			tv_seq_push(r, out.seq, tv_str(v->text + i, n));
		}
	}
	return r->status ? NULL : out.seq;
}

/* Borrowed from the value where it is a sequence already. */
const struct tv_seq *
tv_iterate(struct tpl_render *r, const struct tv *v)
{
	static const struct tv_seq empty = {.kind = SEQ_LIST};

	if (!tpl_spend(r, 0))
		return NULL;
	switch ((enum tv_kind)v->kind) {
	case TV_UNDEFINED:
		return &empty;
	case TV_STR:
	case TV_DICT:
		return iterate_copy(r, v);
	case TV_SEQ:
		if (v->seq->kind != SEQ_GENERATOR)
			return v->seq;
		if (v->seq->is_spent)
			return &empty;
		v->seq->is_spent = true;
		return v->seq;
	default:
		tpl_fail(r, "a value of type %s cannot be iterated", tv_type_name(v));
		return NULL;
	}
}
