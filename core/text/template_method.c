/*
 * template_method.c - attributes, items and methods: the sandbox's wall.
 *
 * What a template can reach of a value is in the tables here and nowhere else.  A name that
 * Python has and we do not is refused by name; it must not read as undefined, because
 * templates ask "is defined".  Any other name is a missing attribute, which is undefined.
 */
#include <string.h>

#include "text/template_impl.h"

bool
tpl_is_word(const char *name, size_t len, const char *text)
{
	return strlen(text) == len && !memcmp(name, text, len);
}

/* The i-th of the space-separated words, or NULL. */
static const char *
word_at(const char *words, size_t i, size_t *len)
{
	while (*words) {
		*len = strcspn(words, " ");
		if (i-- == 0)
			return words;
		words += *len;
		words += *words == ' ';
	}
	return NULL;
}

bool
tpl_has_word(const char *words, const char *name, size_t name_len)
{
	const char *word;
	size_t len;

	for (size_t i = 0; (word = word_at(words, i, &len)); i++)
		if (len == name_len && !memcmp(word, name, len))
			return true;
	return false;
}

bool
tpl_bind(struct tpl_render *r, const char *what, const char *params, const struct tv_args *args,
	struct tv out[TPL_ARGS_MAX])
{
	const char *word;
	size_t n = 0, len;

	for (; n < TPL_ARGS_MAX && (word = word_at(params, n, &len)); n++) {
		out[n] = n < args->n ? args->items[n] : (struct tv){.kind = TV_ABSENT};
		for (size_t k = 0; k < args->n_kw; k++) {
			if (args->kw[k].len != len || memcmp(args->kw[k].name, word, len) != 0)
				continue;
			if (n < args->n)
				tpl_fail(r, "%s gets \"%.*s\" twice", what, (int)len, word);
			out[n] = args->kw[k].value;
		}
	}
	if (args->n > n)
		tpl_fail(r, "%s takes at most %zu argument%s here", what, n, n == 1 ? "" : "s");
	for (size_t k = 0; k < args->n_kw; k++)
		if (!tpl_has_word(params, args->kw[k].name, args->kw[k].len))
			tpl_fail(r, "%s has no argument \"%.*s\" here", what,
				(int)(args->kw[k].len < 80 ? args->kw[k].len : 80),
				args->kw[k].name);
	return !r->status;
}

/* An argument that has to be a str (or absent, when `may_miss`). */
static bool
want_str(struct tpl_render *r, const struct tv *arg, bool may_miss, const char *what)
{
	if (arg->kind != TV_STR && !(may_miss && arg->kind == TV_ABSENT))
		tpl_fail(r, "%s takes a str, not a %s", what, tv_type_name(arg));
	return !r->status;
}

/* An optional int. */
static int64_t
want_int(struct tpl_render *r, const struct tv *arg, int64_t missing, const char *what)
{
	if (arg->kind == TV_ABSENT)
		return missing;
	if (arg->kind != TV_INT)
		tpl_fail(r, "%s takes an int, not a %s", what, tv_type_name(arg));
	return arg->kind == TV_INT ? arg->i : missing;
}

/* ---- str ---- */

static struct tv
str_strip(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	return text_strip(r, self, arg, TEXT_BOTH);
}

static struct tv
str_lstrip(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	return text_strip(r, self, arg, TEXT_LEFT);
}

static struct tv
str_rstrip(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	return text_strip(r, self, arg, TEXT_RIGHT);
}

/* By a separator, or by runs of white space without one; -1 = no limit. */
static struct tv
str_split(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	return text_split(r, self, &arg[0], want_int(r, &arg[1], -1, "split"));
}

static struct tv
str_splitlines(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	(void)arg;
	return text_lines(r, self);
}

static bool
has_affix(const struct tv *self, const struct tv *affix, bool at_end)
{
	return affix->kind == TV_STR && affix->len <= self->len &&
		!memcmp(self->text + (at_end ? self->len - affix->len : 0), affix->text,
			affix->len);
}

/* startswith and endswith: a str or a tuple of them. */
static struct tv
str_affix(struct tpl_render *r, const struct tv *self, const struct tv *arg, bool at_end)
{
	const char *const what = at_end ? "endswith" : "startswith";

	if (arg->kind != TV_SEQ || arg->seq->kind != SEQ_TUPLE)
		return tv_bool(want_str(r, arg, false, what) && has_affix(self, arg, at_end));
	for (size_t i = 0; i < arg->seq->n; i++)
		if (want_str(r, &arg->seq->items[i], false, what) &&
			has_affix(self, &arg->seq->items[i], at_end))
			return tv_bool(true);
	return tv_bool(false);
}

/* A str or a tuple of them. */
static struct tv
str_startswith(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	return str_affix(r, self, arg, false);
}

static struct tv
str_endswith(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	return str_affix(r, self, arg, true);
}

static struct tv
str_removeprefix(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	if (!want_str(r, arg, false, "removeprefix") || !has_affix(self, arg, false))
		return *self;
	return tv_str(self->text + arg->len, self->len - arg->len);
}

static struct tv
str_removesuffix(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	if (!want_str(r, arg, false, "removesuffix") || !has_affix(self, arg, true))
		return *self;
	return tv_str(self->text, self->len - arg->len);
}

static struct tv
str_upper(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	(void)arg;
	return text_case(r, self, CASE_UPPER);
}

static struct tv
str_lower(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	(void)arg;
	return text_case(r, self, CASE_LOWER);
}

static struct tv
str_title(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	(void)arg;
	return text_case(r, self, CASE_TITLE);
}

static struct tv
str_capitalize(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	(void)arg;
	return text_case(r, self, CASE_CAPITALIZE);
}

static struct tv
str_replace(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	return text_replace(r, self, &arg[0], &arg[1], want_int(r, &arg[2], -1, "replace"));
}

/* In code points; -1 = not found. */
static struct tv
str_find(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	size_t at;

	if (!want_str(r, arg, false, "find") || !tpl_spend(r, self->len))
		return tv_undefined();
	at = text_find(self->text, self->len, 0, arg->text, arg->len);
	return tv_int(at == SIZE_MAX ? -1 : (int64_t)text_count(self->text, at));
}

/* Without overlaps; the empty text is between all characters. */
static struct tv
str_count(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	int64_t count = 0;
	size_t at = 0;

	if (!want_str(r, arg, false, "count") || !tpl_spend(r, self->len))
		return tv_undefined();
	if (!arg->len)
		return tv_int((int64_t)text_count(self->text, self->len) + 1);
	while ((at = text_find(self->text, self->len, at, arg->text, arg->len)) != SIZE_MAX) {
		at += arg->len;
		count++;
	}
	return tv_int(count);
}

/* Unlike the filter join, takes nothing but texts. */
static struct tv
str_join(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	const struct tv_seq *seq = tv_iterate(r, arg);
	struct hn_str out = {0};

	for (size_t i = 0; seq && i < seq->n && !r->status; i++) {
		if (!want_str(r, &seq->items[i], false, "join of a str") ||
			!tpl_spend(r, (uint64_t)self->len + seq->items[i].len))
			break;
		if (out.len > r->limits.mem_bytes)
			tpl_fail(r, "join makes too long a text");
		if (i)
			hn_str_add(&out, self->text, self->len);
		hn_str_add(&out, seq->items[i].text, seq->items[i].len);
	}
	return tv_str_take(r, &out);
}

/* ---- dict and loop ---- */

/* None for a missing key, not undefined. */
static struct tv
dict_get(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	const struct tv *found = NULL;

	if (arg[0].kind == TV_SEQ || arg[0].kind == TV_DICT || arg[0].kind == TV_ABSENT)
		tpl_fail(r, "get takes a key, not a %s", tv_type_name(&arg[0]));
	else
		found = tv_dict_find(r, self->dict, &arg[0]);
	if (found)
		return *found;
	return arg[1].kind == TV_ABSENT ? tv_none() : arg[1];
}

/* keys, values or pairs, as a sequence of `kind`. */
static struct tv
dict_list(struct tpl_render *r, const struct tv *self, bool with_key, bool with_value)
{
	struct tv out = tv_seq_new(r, SEQ_VIEW, self->dict->n);

	for (size_t i = 0; i < self->dict->n && !r->status; i++) {
		const struct tv_pair *pair = &self->dict->items[i];
		struct tv item = with_key ? pair->key : pair->value;

		if (with_key && with_value) {
			item = tv_seq_new(r, SEQ_TUPLE, 2);
			if (r->status)
				break;
			tv_seq_push(r, item.seq, pair->key);
			tv_seq_push(r, item.seq, pair->value);
		}
		tv_seq_push(r, out.seq, item);
	}
	return out;
}

static struct tv
dict_keys(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	(void)arg;
	return dict_list(r, self, true, false);
}

static struct tv
dict_values(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	(void)arg;
	return dict_list(r, self, false, true);
}

static struct tv
dict_items(struct tpl_render *r, const struct tv *self, const struct tv *arg)
{
	(void)arg;
	return dict_list(r, self, true, true);
}

static struct tv
loop_cycle(struct tpl_render *r, const struct tv *self, const struct tv_args *args)
{
	if (!args->n || args->n_kw) {
		tpl_fail(r, "loop.cycle takes the values to go through");
		return tv_undefined();
	}
	return args->items[self->loop->index0 % args->n];
}

static const struct tpl_method methods[] = {
	{"strip", TV_STR, "chars", str_strip, NULL},
	{"lstrip", TV_STR, "chars", str_lstrip, NULL},
	{"rstrip", TV_STR, "chars", str_rstrip, NULL},
	{"split", TV_STR, "sep maxsplit", str_split, NULL},
	{"splitlines", TV_STR, "", str_splitlines, NULL},
	{"startswith", TV_STR, "prefix", str_startswith, NULL},
	{"endswith", TV_STR, "suffix", str_endswith, NULL},
	{"removeprefix", TV_STR, "prefix", str_removeprefix, NULL},
	{"removesuffix", TV_STR, "suffix", str_removesuffix, NULL},
	{"upper", TV_STR, "", str_upper, NULL},
	{"lower", TV_STR, "", str_lower, NULL},
	{"title", TV_STR, "", str_title, NULL},
	{"capitalize", TV_STR, "", str_capitalize, NULL},
	{"replace", TV_STR, "old new count", str_replace, NULL},
	{"find", TV_STR, "sub", str_find, NULL},
	{"count", TV_STR, "sub", str_count, NULL},
	{"join", TV_STR, "iterable", str_join, NULL},
	{"get", TV_DICT, "key default", dict_get, NULL},
	{"keys", TV_DICT, "", dict_keys, NULL},
	{"values", TV_DICT, "", dict_values, NULL},
	{"items", TV_DICT, "", dict_items, NULL},
	{"cycle", TV_LOOP, "*", NULL, loop_cycle},
};

/* What else Python's types have: refused by name. */
static const char *
refused_names(const struct tv *v)
{
	switch ((enum tv_kind)v->kind) {
	case TV_STR:
		return "casefold center encode expandtabs format format_map index isalnum isalpha "
		       "isascii isdecimal isdigit isidentifier islower isnumeric isprintable "
		       "isspace istitle isupper ljust maketrans partition rfind rindex rjust "
		       "rpartition rsplit swapcase translate zfill unescape striptags escape";
	case TV_DICT:
		return "clear copy fromkeys pop popitem setdefault update";
	case TV_SEQ:
		return "append clear copy count extend index insert pop remove reverse sort start "
		       "stop step mapping isdisjoint send throw close gi_frame gi_code gi_running";
	case TV_BOOL:
	case TV_INT:
	case TV_FLOAT:
		return "real imag numerator denominator as_integer_ratio bit_count bit_length "
		       "conjugate from_bytes to_bytes fromhex hex is_integer";
	case TV_LOOP:
		return "changed iter";
	case TV_MACRO:
	case TV_METHOD:
	case TV_GLOBAL:
		return "name arguments catch_kwargs catch_varargs caller explicit_caller func_name";
	default:
		return "";
	}
}

/* The undefined value that is named for a missing attribute. */
static struct tv
missing(const char *name, size_t len)
{
	struct tv out = tv_undefined();

	out.flag = true;
	out.text = name;
	out.len = (uint32_t)len;
	return out;
}

/* The attributes of loop. */
static struct tv
loop_attr(const struct tv *v, const char *name, size_t len)
{
	const struct tv_loop *loop = v->loop;
	const size_t n = loop->seq->n, i = loop->index0;

	if (tpl_is_word(name, len, "index"))
		return tv_int((int64_t)i + 1);
	if (tpl_is_word(name, len, "index0"))
		return tv_int((int64_t)i);
	if (tpl_is_word(name, len, "revindex"))
		return tv_int((int64_t)(n - i));
	if (tpl_is_word(name, len, "revindex0"))
		return tv_int((int64_t)(n - i) - 1);
	if (tpl_is_word(name, len, "first"))
		return tv_bool(i == 0);
	if (tpl_is_word(name, len, "last"))
		return tv_bool(i + 1 == n);
	if (tpl_is_word(name, len, "length"))
		return tv_int((int64_t)n);
	if (tpl_is_word(name, len, "depth") || tpl_is_word(name, len, "depth0"))
		return tv_int(len == 5); /* only recursive loops are deeper */
	if (tpl_is_word(name, len, "previtem") && i > 0)
		return loop->seq->items[i - 1];
	if (tpl_is_word(name, len, "nextitem") && i + 1 < n)
		return loop->seq->items[i + 1];
	return missing(name, len);
}

/* A method that knows its value; it can be called and asked for, not printed. */
static struct tv
bind_method(struct tpl_render *r, const struct tv *v, const struct tpl_method *method)
{
	struct tv_bound *bound = tpl_alloc(r, sizeof *bound);

	if (!bound)
		return tv_undefined();
	bound->self = *v;
	bound->method = method;
	return (struct tv){.kind = TV_METHOD, .bound = bound};
}

/* Methods before keys: d.items is the method even where d has a key "items". */
struct tv
tpl_get_attr(struct tpl_render *r, const struct tv *v, const char *name, size_t len)
{
	const struct tv key = tv_str(name, len);
	const struct tv *found;

	if (v->kind == TV_UNDEFINED) {
		tpl_fail(r, "%s\"%.*s\" is undefined, so it has no \"%.*s\"",
			v->flag ? "the attribute " : "", (int)(v->len < 80 ? v->len : 80), v->text,
			(int)(len < 80 ? len : 80), name);
		return tv_undefined();
	}
	for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
		if (methods[i].kind == v->kind && tpl_is_word(name, len, methods[i].name))
			return bind_method(r, v, &methods[i]);
	if (tpl_has_word(refused_names(v), name, len) || (len > 1 && !memcmp(name, "__", 2))) {
		tpl_fail(r, "the attribute \"%.*s\" of a value of type %s is not offered",
			(int)(len < 80 ? len : 80), name, tv_type_name(v));
		return tv_undefined();
	}
	if (v->kind == TV_LOOP)
		return loop_attr(v, name, len);
	if (v->kind == TV_DICT || v->kind == TV_NAMESPACE) {
		found = tv_dict_find(r, v->dict, &key);
		if (found)
			return *found;
	}
	return missing(name, len);
}

/* A list stays a list, a tuple a tuple. */
struct tv
tpl_get_slice(struct tpl_render *r, const struct tv *v, const struct tv bounds[3])
{
	int64_t start, step;
	size_t count;
	struct tv out;

	if (v->kind == TV_STR)
		return text_slice(r, v, bounds);
	if (v->kind != TV_SEQ || v->seq->kind > SEQ_RANGE) {
		tpl_fail(r, "a slice of a %s is not offered", tv_type_name(v));
		return tv_undefined();
	}
	if (!slice_indices(r, bounds, v->seq->n, &start, &step, &count))
		return tv_undefined();
	out = tv_seq_new(r, v->seq->kind, count);
	for (size_t i = 0; i < count && !r->status; i++)
		tv_seq_push(r, out.seq, v->seq->items[start + (int64_t)i * step]);
	return out;
}

/* Keys and indices before methods; out of range is undefined and no error. */
struct tv
tpl_get_item(struct tpl_render *r, const struct tv *v, const struct tv *key)
{
	struct tv bounds[3] = {{.kind = TV_INT}, {.kind = TV_INT}, {.kind = TV_ABSENT}};
	const struct tv *found;
	int64_t i, n;

	if (v->kind == TV_DICT && key->kind != TV_SEQ && key->kind != TV_DICT) {
		found = tv_dict_find(r, v->dict, key);
		if (found)
			return *found;
	}
	if (v->kind == TV_UNDEFINED || key->kind == TV_STR)
		return tpl_get_attr(r, v, key->kind == TV_STR ? key->text : "item",
			key->kind == TV_STR ? key->len : 4);
	if ((key->kind != TV_INT && key->kind != TV_BOOL) ||
		!(v->kind == TV_STR || (v->kind == TV_SEQ && v->seq->kind <= SEQ_RANGE)))
		return missing("", 0);
	i = key->kind == TV_BOOL ? key->b : key->i;
	n = v->kind == TV_STR ? (int64_t)text_count(v->text, v->len) : (int64_t)v->seq->n;
	if (i < -n || i >= n)
		return missing("", 0);
	i = i < 0 ? i + n : i;
	if (v->kind == TV_SEQ)
		return v->seq->items[i];
	bounds[0].i = i;
	bounds[1].i = i + 1;
	return text_slice(r, v, bounds);
}
