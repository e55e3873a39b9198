/*
 * option_value.c - typed values into the struct that a table describes, and back to the one
 * canonical text.
 */
#include <inttypes.h>
#include <string.h>

#include "config/option.h"

/* memcpy, because the member's address comes from a number in a table. */
void
hn_option_store(const struct hone_option *option, const struct hn_option_value *value, void *values)
{
	char *member = (char *)values + option->offset;

	switch (option->type) {
	case HONE_OPTION_BOOL:
	case HONE_OPTION_CHOICE:
		memcpy(member, &value->index, sizeof value->index);
		break;
	case HONE_OPTION_I64:
	case HONE_OPTION_BYTES:
		memcpy(member, &value->i64, sizeof value->i64);
		break;
	case HONE_OPTION_F64:
		memcpy(member, &value->f64, sizeof value->f64);
		break;
	case HONE_OPTION_STRING:
	case HONE_OPTION_PATH:
		memcpy(member, &value->text, sizeof value->text);
		break;
	case HONE_OPTION_LIST:
		memcpy(member, &value->list, sizeof value->list);
		break;
	case HONE_OPTION_SITES:
	case HONE_OPTION_SITE_MAP:
		memcpy(member, &value->resolved, sizeof value->resolved);
		break;
	default:
		break;
	}
}

/* The inverse of parse_list. */
static void
put_list(const struct hone_strings *list, struct hn_str *out)
{
	for (int64_t i = 0; i < list->n; i++) {
		if (i)
			hn_str_puts(out, ", ");
		for (const char *c = list->items[i]; *c; c++)
			hn_str_printf(out, "%s%c", *c == ',' ? "\\" : "", *c);
	}
}

/* Word `index` of "a|b|c". */
static void
put_word(const char *words, int32_t index, struct hn_str *out)
{
	for (; index > 0 && strchr(words, '|'); index--)
		words = strchr(words, '|') + 1;
	hn_str_add(out, words, strcspn(words, "|"));
}

/* Adding a type?  See hn_option_parse. */
void
hn_option_put(
	const struct hone_option *option, const struct hn_option_value *value, struct hn_str *out)
{
	if (value->is_absent)
		return;
	switch (option->type) {
	case HONE_OPTION_BOOL:
		hn_str_puts(out, value->index ? "yes" : "no");
		break;
	case HONE_OPTION_I64:
	case HONE_OPTION_BYTES:
		hn_str_printf(out, "%" PRId64, value->i64);
		break;
	case HONE_OPTION_F64:
		hn_str_put_f64(out, value->f64);
		break;
	case HONE_OPTION_CHOICE:
		put_word(option->choices, value->index, out);
		break;
	case HONE_OPTION_LIST:
		put_list(&value->list, out);
		break;
	default:
		hn_str_puts(out, value->text ? value->text : "");
		break;
	}
}
