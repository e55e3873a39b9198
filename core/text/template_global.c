/*
 * template_global.c - the global functions that a template may call, and those that it may not.
 *
 * namespace, dict and range are Jinja2's; raise_exception and strftime_now are what
 * transformers adds.  The time is limits.now and no clock's, so a template renders the same
 * text every time.
 */
#include <string.h>

#include "text/template_impl.h"

static struct tv
global_namespace(struct tpl_render *r, const struct tv_args *args)
{
	struct tv out = tv_dict_new(r, TV_NAMESPACE, args->n_kw);

	if (args->n > 1 || (args->n == 1 && args->items[0].kind != TV_DICT))
		tpl_fail(r, "namespace takes one dict and named values here");
	for (size_t i = 0; args->n && !r->status && i < args->items[0].dict->n; i++)
		tv_dict_put(r, out.dict, args->items[0].dict->items[i].key,
			args->items[0].dict->items[i].value);
	for (size_t i = 0; i < args->n_kw && !r->status; i++)
		tv_dict_put(
			r, out.dict, tv_str(args->kw[i].name, args->kw[i].len), args->kw[i].value);
	return out;
}

static struct tv
global_dict(struct tpl_render *r, const struct tv_args *args)
{
	struct tv out = global_namespace(r, args);

	if (out.kind == TV_NAMESPACE)
		out.kind = TV_DICT;
	return out;
}

#define RANGE_MAX 100000 /* Jinja2's sandbox has the same */

static struct tv
global_range(struct tpl_render *r, const struct tv_args *args)
{
	int64_t start, stop, step, span;
	uint64_t count;
	struct tv out;

	for (size_t i = 0; i < args->n; i++)
		if (args->items[i].kind != TV_INT)
			tpl_fail(r, "range takes ints, not a %s", tv_type_name(&args->items[i]));
	if (args->n < 1 || args->n > 3 || args->n_kw)
		tpl_fail(r, "range takes one to three ints");
	if (r->status)
		return tv_undefined();
	start = args->n > 1 ? args->items[0].i : 0;
	stop = args->items[args->n > 1 ? 1 : 0].i;
	step = args->n > 2 ? args->items[2].i : 1;
	if (!step || step == INT64_MIN || __builtin_sub_overflow(stop, start, &span)) {
		tpl_fail(r, "the bounds or the step of this range are not offered");
		return tv_undefined();
	}
	count = step > 0 ? (span > 0 ? (uint64_t)(span - 1) / (uint64_t)step + 1 : 0)
			 : (span < 0 ? (uint64_t)(-(span + 1)) / (uint64_t)-step + 1 : 0);
	if (count > RANGE_MAX) {
		tpl_fail(r, "a range of more than %d numbers", RANGE_MAX);
		return tv_undefined();
	}
	out = tv_seq_new(r, SEQ_RANGE, (size_t)count);
	for (uint64_t i = 0; i < count && !r->status; i++)
		tv_seq_push(r, out.seq, tv_int(start + (int64_t)i * step));
	return out;
}

/* The template refuses the conversation: the one failure that is the data's. */
static struct tv
global_raise(struct tpl_render *r, const struct tv_args *args)
{
	struct tv text = tv_str("", 0);

	if (args->n == 1 && !args->n_kw)
		text = tv_to_str(r, &args->items[0]);
	else
		tpl_fail(r, "raise_exception takes one message");
	if (!r->status) {
		tpl_fail(r, "the template refuses these messages: %.*s",
			(int)(text.len < 300 ? text.len : 300), text.text);
		r->status = HONE_EDATA;
		if (r->err)
			r->err->status = HONE_EDATA;
	}
	return tv_undefined();
}

/* The civil date of a day number since 1970-01-01 (H. Hinnant's algorithm). */
static void
date_of_day(int64_t day, int *year, int *month, int *mday)
{
	const int64_t shifted = day + 719468;
	const int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
	const int64_t doe = shifted - era * 146097;
	const int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	const int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	const int64_t mp = (5 * doy + 2) / 153;

	*mday = (int)(doy - (153 * mp + 2) / 5 + 1);
	*month = (int)(mp < 10 ? mp + 3 : mp - 9);
	*year = (int)(yoe + era * 400 + (*month <= 2));
}

/* A closed set of letters in the C locale, from limits.now. */
static struct tv
format_time(struct tpl_render *r, const struct tv *format)
{
	static const char *const months[] = {"January", "February", "March", "April", "May", "June",
		"July", "August", "September", "October", "November", "December"};
	static const char *const days[] = {
		"Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"};
	const int64_t now = r->limits.now;
	const int64_t day = now >= 0 ? now / 86400 : -((86399 - now) / 86400);
	const int second = (int)(now - day * 86400);
	const char *weekday = days[((day % 7) + 7) % 7];
	struct hn_str out = {0};
	int year, month, mday;

	if (format->kind != TV_STR) {
		tpl_fail(r, "strftime_now takes a str here, not a %s", tv_type_name(format));
		return tv_undefined();
	}
	date_of_day(day, &year, &month, &mday);
	for (size_t i = 0; i < format->len && !r->status; i++) {
		const char c = format->text[i];
		const char letter = i + 1 < format->len ? format->text[i + 1] : 0;

		if (c != '%') {
			hn_str_putc(&out, c);
			continue;
		}
		i++;
		switch (letter) {
		case 'Y':
			hn_str_printf(&out, "%d", year);
			break;
		case 'y':
			hn_str_printf(&out, "%02d", year % 100);
			break;
		case 'm':
			hn_str_printf(&out, "%02d", month);
			break;
		case 'd':
			hn_str_printf(&out, "%02d", mday);
			break;
		case 'e':
			hn_str_printf(&out, "%2d", mday);
			break;
		case 'H':
			hn_str_printf(&out, "%02d", second / 3600);
			break;
		case 'I':
			hn_str_printf(&out, "%02d", (second / 3600 + 11) % 12 + 1);
			break;
		case 'M':
			hn_str_printf(&out, "%02d", second / 60 % 60);
			break;
		case 'S':
			hn_str_printf(&out, "%02d", second % 60);
			break;
		case 'p':
			hn_str_puts(&out, second < 43200 ? "AM" : "PM");
			break;
		case 'B':
			hn_str_puts(&out, months[month - 1]);
			break;
		case 'b':
			hn_str_printf(&out, "%.3s", months[month - 1]);
			break;
		case 'A':
			hn_str_puts(&out, weekday);
			break;
		case 'a':
			hn_str_printf(&out, "%.3s", weekday);
			break;
		case 'F':
			hn_str_printf(&out, "%d-%02d-%02d", year, month, mday);
			break;
		case '%':
			hn_str_putc(&out, '%');
			break;
		default:
			tpl_fail(r,
				"strftime_now offers %%Y %%y %%m %%d %%e %%H %%I %%M %%S %%p "
				"%%B %%b %%A %%a %%F and %%%%, and nothing else");
		}
	}
	return tv_str_take(r, &out);
}

static struct tv
global_strftime(struct tpl_render *r, const struct tv_args *args)
{
	if (args->n == 1 && !args->n_kw)
		return format_time(r, &args->items[0]);
	tpl_fail(r, "strftime_now takes one format");
	return tv_undefined();
}

const struct tpl_global *
tpl_global_find(const char *name, size_t len)
{
	static const struct tpl_global globals[] = {{"namespace", global_namespace},
		{"dict", global_dict}, {"range", global_range}, {"raise_exception", global_raise},
		{"strftime_now", global_strftime}};

	for (size_t i = 0; i < sizeof globals / sizeof globals[0]; i++)
		if (tpl_is_word(name, len, globals[i].name))
			return &globals[i];
	return NULL;
}

bool
tpl_global_is_refused(const char *name, size_t len)
{
	return tpl_has_word("lipsum cycler joiner self varargs kwargs", name, len);
}
