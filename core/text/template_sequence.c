/*
 * template_sequence.c - the filters of a chat template that go through sequences.
 *
 * Where Jinja2 gives a generator (map, select, reject, items, unique, reverse ...), ours is
 * one too: it is true, has no length and can be read once.  So a template that forgets | list
 * fails here as it fails there.  Sorting is stable and ignores case unless told otherwise.
 */
#include <string.h>

#include "text/template_impl.h"

/* A generator has none, as in Python. */
static struct tv
filter_length(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)arg;
	switch ((enum tv_kind)v->kind) {
	case TV_UNDEFINED:
		return tv_int(0);
	case TV_STR:
		(void)tpl_spend(r, v->len);
		return tv_int((int64_t)text_count(v->text, v->len));
	case TV_DICT:
		return tv_int((int64_t)v->dict->n);
	case TV_LOOP:
		return tv_int((int64_t)v->loop->seq->n);
	case TV_SEQ:
		if (v->seq->kind != SEQ_GENERATOR)
			return tv_int((int64_t)v->seq->n);
		break;
	default:
		break;
	}
	tpl_fail(r, "a value of type %s has no length", tv_type_name(v));
	return tv_undefined();
}

/* For undefined; with boolean also for whatever is false. */
static struct tv
filter_default(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	(void)r;
	if (v->kind == TV_UNDEFINED || (tpl_flag_of(&arg[1], false) && !tv_truth(v)))
		return arg[0].kind == TV_ABSENT ? tv_str("", 0) : arg[0];
	return *v;
}

static struct tv
filter_list(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	const struct tv_seq *seq = tv_iterate(r, v);
	struct tv out = tv_seq_new(r, SEQ_LIST, seq ? seq->n : 0);

	(void)arg;
	for (size_t i = 0; seq && i < seq->n && !r->status; i++)
		tv_seq_push(r, out.seq, seq->items[i]);
	return out;
}

static struct tv
filter_first(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	const struct tv_seq *seq;

	(void)arg;
	if (v->kind == TV_SEQ && v->seq->kind == SEQ_GENERATOR) {
		tpl_fail(r, "first of a generator is not offered; put | list before it");
		return tv_undefined();
	}
	seq = tv_iterate(r, v);
	return seq && seq->n ? seq->items[0] : tv_undefined();
}

static struct tv
filter_last(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	const struct tv_seq *seq;

	(void)arg;
	if (tpl_is_undefined(r, v) || (v->kind == TV_SEQ && v->seq->kind == SEQ_GENERATOR)) {
		tpl_fail(r, "last of a generator is not offered; put | list before it");
		return tv_undefined();
	}
	seq = tv_iterate(r, v);
	return seq && seq->n ? seq->items[seq->n - 1] : tv_undefined();
}

/* A generator, unlike the method; undefined has no items. */
static struct tv
filter_items(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	struct tv out, view;

	(void)arg;
	if (v->kind == TV_UNDEFINED)
		return tv_seq_new(r, SEQ_GENERATOR, 0);
	if (v->kind != TV_DICT) {
		tpl_fail(r, "items takes a dict, not a %s", tv_type_name(v));
		return tv_undefined();
	}
	view = tpl_get_attr(r, v, "items", 5);
	if (r->status)
		return tv_undefined();
	out = view.bound->method->fn(r, v, NULL);
	if (!r->status)
		out.seq->kind = SEQ_GENERATOR;
	return out;
}

/* Digits only: a part of an attribute path that counts. */
static bool
is_index(const struct tv *key, int64_t *index)
{
	*index = 0;
	for (uint32_t i = 0; i < key->len && key->len < 10; i++) {
		if (key->text[i] < '0' || key->text[i] > '9')
			return false;
		*index = *index * 10 + (key->text[i] - '0');
	}
	return key->len > 0 && key->len < 10;
}

/* item.a.0.b for the attribute "a.0.b" (or an int), a missing one becoming `fallback`. */
static struct tv
get_path(struct tpl_render *r, struct tv item, const struct tv *path, const struct tv *fallback)
{
	size_t begin = 0, end;
	int64_t index;

	if (path->kind == TV_INT)
		return tpl_get_item(r, &item, path);
	if (path->kind != TV_STR) {
		tpl_fail(r, "an attribute is named by a str, not by a %s", tv_type_name(path));
		return tv_undefined();
	}
	for (; begin <= path->len && !r->status; begin = end + 1) {
		struct tv key;

		end = text_find(path->text, path->len, begin, ".", 1);
		if (end == SIZE_MAX)
			end = path->len;
		key = tv_str(path->text + begin, end - begin);
		if (is_index(&key, &index))
			key = tv_int(index);
		item = tpl_get_item(r, &item, &key);
		if (fallback->kind != TV_ABSENT && item.kind == TV_UNDEFINED)
			item = *fallback;
	}
	return item;
}

/* str() of each item with the separator between. */
static struct tv
filter_join(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	const struct tv none = {.kind = TV_ABSENT};
	struct tv separator = arg[0].kind == TV_ABSENT ? tv_str("", 0) : tpl_soft_str(r, &arg[0]);
	const struct tv_seq *seq = tv_iterate(r, v);
	struct hn_str out = {0};

	for (size_t i = 0; seq && i < seq->n && !r->status; i++) {
		struct tv item = seq->items[i];

		if (arg[1].kind != TV_ABSENT && arg[1].kind != TV_NONE)
			item = get_path(r, item, &arg[1], &none);
		item = tv_to_str(r, &item);
		if (r->status || !tpl_spend(r, (uint64_t)item.len + separator.len))
			break;
		if (out.len > r->limits.mem_bytes)
			tpl_fail(r, "join makes too long a text");
		if (i)
			hn_str_add(&out, separator.text, separator.len);
		hn_str_add(&out, item.text, item.len);
	}
	return tv_str_take(r, &out);
}

/* A text backwards is a text; anything else becomes a generator. */
static struct tv
filter_reverse(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	static const struct tv backwards[3] = {
		{.kind = TV_ABSENT}, {.kind = TV_ABSENT}, {.kind = TV_INT, .i = -1}};
	const struct tv_seq *seq;
	struct tv out;

	(void)arg;
	if (v->kind == TV_STR)
		return text_slice(r, v, backwards);
	seq = tpl_is_undefined(r, v) ? NULL : tv_iterate(r, v);
	out = tv_seq_new(r, SEQ_GENERATOR, seq ? seq->n : 0);
	for (size_t i = seq ? seq->n : 0; i > 0 && !r->status; i--)
		tv_seq_push(r, out.seq, seq->items[i - 1]);
	return out;
}

/* What a value is sorted and compared by: an attribute, lower case unless case matters. */
static struct tv
sort_key(struct tpl_render *r, struct tv item, const struct tv *attribute, bool is_cased)
{
	const struct tv none = {.kind = TV_ABSENT};

	if (attribute->kind == TV_STR &&
		text_find(attribute->text, attribute->len, 0, ",", 1) != SIZE_MAX)
		tpl_fail(r, "several attributes are not offered here");
	if (attribute->kind != TV_ABSENT && attribute->kind != TV_NONE)
		item = get_path(r, item, attribute, &none);
	if (item.kind == TV_UNDEFINED)
		(void)tpl_is_undefined(r, &item);
	return item.kind == TV_STR && !is_cased ? text_case(r, &item, CASE_LOWER) : item;
}

struct keyed {
	struct tv item, key;
};

/* Merges the sorted halves [0, middle) and [middle, n) of `from` into `to`. */
static void
merge(struct tpl_render *r, const struct keyed *from, struct keyed *to, size_t middle, size_t n,
	bool reverse)
{
	size_t i = 0, j = middle;

	for (size_t k = 0; k < n; k++) {
		int order = 0;

		if (i < middle && j < n && !r->status)
			order = tv_order(r, &from[j].key, &from[i].key, 0);
		if (i >= middle || (j < n && (reverse ? order > 0 : order < 0)))
			to[k] = from[j++];
		else
			to[k] = from[i++];
	}
}

/* Stable merge sort, from runs of one. */
static struct tv
sorted(struct tpl_render *r, struct keyed *items, size_t n, bool reverse)
{
	struct keyed *other = tpl_alloc(r, (uint64_t)n * sizeof *other), *swap;
	struct tv out = tv_seq_new(r, SEQ_LIST, n);

	for (size_t width = 1; other && width < n && !r->status; width *= 2) {
		for (size_t begin = 0; begin < n; begin += 2 * width) {
			const size_t left = n - begin < width ? n - begin : width;
			const size_t both = n - begin < 2 * width ? n - begin : 2 * width;

			merge(r, items + begin, other + begin, left, both, reverse);
		}
		swap = items;
		items = other;
		other = swap;
	}
	for (size_t i = 0; i < n && !r->status; i++)
		tv_seq_push(r, out.seq, items[i].item);
	return out;
}

/* Keys are made once per item; equal ones keep their order, in reverse too. */
static struct tv
filter_sort(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	const struct tv_seq *seq = tv_iterate(r, v);
	struct keyed *items = tpl_alloc(r, seq ? (uint64_t)seq->n * sizeof *items : 0);

	for (size_t i = 0; seq && items && i < seq->n && !r->status; i++) {
		items[i].item = seq->items[i];
		items[i].key = sort_key(r, seq->items[i], &arg[2], tpl_flag_of(&arg[1], false));
	}
	if (r->status)
		return tv_undefined();
	return sorted(r, items, seq->n, tpl_flag_of(&arg[0], false));
}

static struct tv
filter_dictsort(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	const struct tv none = {.kind = TV_ABSENT};
	const bool by_value = tv_equals_text(&arg[1], "value");
	const struct tv_seq *seq;
	struct keyed *items;
	struct tv pairs;

	if (arg[1].kind != TV_ABSENT && !by_value && !tv_equals_text(&arg[1], "key"))
		tpl_fail(r, "dictsort goes by \"key\" or \"value\"");
	pairs = filter_items(r, v, NULL);
	if (tpl_is_undefined(r, v))
		return tv_undefined();
	seq = pairs.seq;
	items = tpl_alloc(r, (uint64_t)seq->n * sizeof *items);
	for (size_t i = 0; items && i < seq->n && !r->status; i++) {
		items[i].item = seq->items[i];
		items[i].key = sort_key(r, seq->items[i].seq->items[by_value ? 1 : 0], &none,
			tpl_flag_of(&arg[0], false));
	}
	if (r->status)
		return tv_undefined();
	return sorted(r, items, seq->n, tpl_flag_of(&arg[2], false));
}

/* The first of each kind, by the key that sort would use. */
static struct tv
filter_unique(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	const struct tv_seq *seq = tv_iterate(r, v);
	struct tv out = tv_seq_new(r, SEQ_GENERATOR, 0), keys = tv_seq_new(r, SEQ_LIST, 0);

	for (size_t i = 0; seq && i < seq->n && !r->status; i++) {
		struct tv key = sort_key(r, seq->items[i], &arg[1], tpl_flag_of(&arg[0], false));
		bool is_known = false;

		for (size_t k = 0; k < keys.seq->n && !is_known && !r->status; k++)
			is_known = tv_eq(r, &keys.seq->items[k], &key, 0);
		if (is_known)
			continue;
		tv_seq_push(r, keys.seq, key);
		tv_seq_push(r, out.seq, seq->items[i]);
	}
	return out;
}

/* The least (sign 1) or greatest (sign -1) item; the first of equals. */
static struct tv
extreme(struct tpl_render *r, const struct tv *v, const struct tv *arg, int sign)
{
	const struct tv_seq *seq = tv_iterate(r, v);
	struct tv best = tv_undefined(), best_key = best;

	for (size_t i = 0; seq && i < seq->n && !r->status; i++) {
		struct tv key = sort_key(r, seq->items[i], &arg[1], tpl_flag_of(&arg[0], false));

		if (i && sign * tv_order(r, &key, &best_key, 0) >= 0)
			continue;
		best = seq->items[i];
		best_key = key;
	}
	return best;
}

static struct tv
filter_min(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	return extreme(r, v, arg, 1);
}

static struct tv
filter_max(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	return extreme(r, v, arg, -1);
}

/* Ints until the first float. */
static struct tv
filter_sum(struct tpl_render *r, const struct tv *v, const struct tv *arg)
{
	const struct tv none = {.kind = TV_ABSENT};
	const struct tv_seq *seq = tv_iterate(r, v);
	int64_t total = tpl_int_of(r, &arg[1], 0, "sum");
	double total_f = 0;
	bool is_float = false;

	for (size_t i = 0; seq && i < seq->n && !r->status; i++) {
		struct tv item = seq->items[i];

		if (arg[0].kind != TV_ABSENT && arg[0].kind != TV_NONE)
			item = get_path(r, item, &arg[0], &none);
		if (item.kind == TV_FLOAT && !is_float) {
			is_float = true;
			total_f = (double)total;
		}
		if (item.kind == TV_BOOL)
			item = tv_int(item.b);
		if (item.kind != TV_INT && item.kind != TV_FLOAT)
			tpl_fail(r, "sum takes numbers here, not a %s", tv_type_name(&item));
		else if (is_float)
			total_f += item.kind == TV_FLOAT ? item.f : (double)item.i;
		else if (__builtin_add_overflow(total, item.i, &total))
			tpl_fail(r, "an int of more than 64 bits");
	}
	return is_float ? tv_float(total_f) : tv_int(total);
}

/* map(attribute=...), map("filter", ...). */
static struct tv
filter_map(struct tpl_render *r, const struct tv *v, const struct tv_args *args)
{
	struct tv bound[TPL_ARGS_MAX], out = tv_seq_new(r, SEQ_GENERATOR, 0);
	const struct tv_seq *seq;
	const struct tpl_filter *filter = NULL;
	struct tv_args rest = {0};

	if (args->n) {
		if (args->items[0].kind == TV_STR)
			filter = tpl_filter_find(args->items[0].text, args->items[0].len);
		if (!filter)
			tpl_fail(r, "map takes the name of a filter that is offered");
		rest = (struct tv_args){args->items + 1, args->n - 1, args->kw, args->n_kw};
	} else {
		(void)tpl_bind(r, "map", "attribute default", args, bound);
	}
	seq = r->status ? NULL : tv_iterate(r, v);
	for (size_t i = 0; seq && i < seq->n && !r->status; i++)
		tv_seq_push(r, out.seq,
			filter ? tpl_filter_apply(r, filter, &seq->items[i], &rest)
			       : get_path(r, seq->items[i], &bound[0], &bound[1]));
	return out;
}

/* select, reject and their kin with an attribute. */
static struct tv
choose(struct tpl_render *r, const struct tv *v, const struct tv_args *args, bool wanted,
	bool by_attribute)
{
	const struct tv none = {.kind = TV_ABSENT};
	const size_t first = by_attribute ? 1 : 0;
	struct tv out = tv_seq_new(r, SEQ_GENERATOR, 0);
	const struct tpl_test *test = NULL;
	const struct tv_seq *seq;
	struct tv_args rest = {0};

	if (args->n < first || args->n_kw)
		tpl_fail(r, "this filter takes %s and a test with its arguments",
			by_attribute ? "an attribute" : "nothing, or");
	if (!r->status && args->n > first) {
		if (args->items[first].kind == TV_STR)
			test = tpl_test_find(args->items[first].text, args->items[first].len);
		if (!test)
			tpl_fail(r, "the name of a test that is offered is expected");
		rest.items = args->items + first + 1;
		rest.n = args->n - first - 1;
	}
	seq = r->status ? NULL : tv_iterate(r, v);
	for (size_t i = 0; seq && i < seq->n && !r->status; i++) {
		struct tv item = seq->items[i];

		if (by_attribute)
			item = get_path(r, item, &args->items[0], &none);
		if ((test ? tpl_test_apply(r, test, &item, &rest) : tv_truth(&item)) == wanted)
			tv_seq_push(r, out.seq, seq->items[i]);
	}
	return out;
}

static struct tv
filter_select(struct tpl_render *r, const struct tv *v, const struct tv_args *args)
{
	return choose(r, v, args, true, false);
}

static struct tv
filter_reject(struct tpl_render *r, const struct tv *v, const struct tv_args *args)
{
	return choose(r, v, args, false, false);
}

static struct tv
filter_selectattr(struct tpl_render *r, const struct tv *v, const struct tv_args *args)
{
	return choose(r, v, args, true, true);
}

static struct tv
filter_rejectattr(struct tpl_render *r, const struct tv *v, const struct tv_args *args)
{
	return choose(r, v, args, false, true);
}

static const struct tpl_filter filters[] = {
	{"count", "", filter_length, NULL},
	{"d", "default_value boolean", filter_default, NULL},
	{"default", "default_value boolean", filter_default, NULL},
	{"dictsort", "case_sensitive by reverse", filter_dictsort, NULL},
	{"first", "", filter_first, NULL},
	{"items", "", filter_items, NULL},
	{"join", "d attribute", filter_join, NULL},
	{"last", "", filter_last, NULL},
	{"length", "", filter_length, NULL},
	{"list", "", filter_list, NULL},
	{"map", "*", NULL, filter_map},
	{"max", "case_sensitive attribute", filter_max, NULL},
	{"min", "case_sensitive attribute", filter_min, NULL},
	{"reject", "*", NULL, filter_reject},
	{"rejectattr", "*", NULL, filter_rejectattr},
	{"reverse", "", filter_reverse, NULL},
	{"select", "*", NULL, filter_select},
	{"selectattr", "*", NULL, filter_selectattr},
	{"sort", "reverse case_sensitive attribute", filter_sort, NULL},
	{"sum", "attribute start", filter_sum, NULL},
	{"unique", "case_sensitive attribute", filter_unique, NULL},
};

const struct tpl_filter *
tpl_sequence_filter_find(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++)
		if (strlen(filters[i].name) == len && !memcmp(filters[i].name, name, len))
			return &filters[i];
	return NULL;
}
