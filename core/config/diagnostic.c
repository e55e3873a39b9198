/*
 * diagnostic.c - the list of errors and warnings that a configuration gives.
 *
 * Bounded: HN_DIAGNOSTICS_MAX entries are kept, later ones only counted.  So the linear
 * search for equal entries and the insertion sort below stay cheap whatever the file.
 */
#include "config/diagnostic.h"

#include <stdlib.h>
#include <string.h>

#define CLIP_CHARS 60

void
hn_diagnostics_fini(struct hn_diagnostics *list)
{
	free(list->items);
	hn_arena_fini(&list->arena);
	*list = (struct hn_diagnostics){0};
}

/* Both may be NULL: a diagnostic without a place. */
static bool
same_path(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* Whether the same is in the list already, to the letter. */
static bool
is_known(const struct hn_diagnostics *list, const struct hn_diagnostic *item)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct hn_diagnostic *old = &list->items[i];

		if (old->severity == item->severity && old->place.line == item->place.line &&
			old->place.column == item->place.column &&
			same_path(old->place.path, item->place.path) &&
			strcmp(old->text, item->text) == 0)
			return true;
	}
	return false;
}

void
hn_diagnose(struct hn_diagnostics *list, enum hn_severity severity, struct hn_ini_place place,
	const char *fmt, ...)
{
	struct hn_diagnostic item = {.severity = severity, .place = place};
	char text[1024];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	text[hn_utf8_check(text, strlen(text))] = '\0'; /* no half character where it was cut */
	item.text = text;
	if (is_known(list, &item))
		return;

	if (severity == HN_SEVERITY_ERROR)
		list->n_errors++;
	else
		list->n_warnings++;
	if (list->n >= HN_DIAGNOSTICS_MAX)
		return;
	item.text = hn_arena_strdup(&list->arena, text);
	if (place.path)
		item.place.path = hn_arena_strdup(&list->arena, place.path);
	list->items = hn_grow(list->items, &list->cap, list->n + 1, sizeof *list->items);
	list->items[list->n++] = item;
}

/* Position of the first entry with this path: the order in which files were met. */
static size_t
file_rank(const struct hn_diagnostic *items, size_t n, const char *path)
{
	size_t i = 0;

	while (i < n && !same_path(items[i].place.path, path))
		i++;
	return i;
}

void
hn_diagnostics_sort(struct hn_diagnostics *list)
{
	size_t rank[HN_DIAGNOSTICS_MAX];

	for (size_t i = 0; i < list->n; i++)
		rank[i] = file_rank(list->items, list->n, list->items[i].place.path);

	/* Insertion keeps the order of equal entries. */
	for (size_t i = 1; i < list->n; i++) {
		struct hn_diagnostic item = list->items[i];
		size_t item_rank = rank[i], at = i;

		for (; at > 0; at--) {
			const struct hn_ini_place *old = &list->items[at - 1].place;

			if (rank[at - 1] < item_rank)
				break;
			if (rank[at - 1] == item_rank &&
				(old->line < item.place.line ||
					(old->line == item.place.line &&
						old->column <= item.place.column)))
				break;
			list->items[at] = list->items[at - 1];
			rank[at] = rank[at - 1];
		}
		list->items[at] = item;
		rank[at] = item_rank;
	}
}

void
hn_diagnostic_format(const struct hn_diagnostic *item, struct hn_str *out)
{
	if (item->place.path) {
		hn_str_puts(out, item->place.path);
		if (item->place.line > 0)
			hn_str_printf(out, ":%d", item->place.line);
		if (item->place.line > 0 && item->place.column > 0)
			hn_str_printf(out, ":%d", item->place.column);
		hn_str_puts(out, ": ");
	}
	hn_str_puts(out, item->severity == HN_SEVERITY_ERROR ? "error: " : "warning: ");
	hn_str_puts(out, item->text);
}

void
hn_diagnostics_format(const struct hn_diagnostics *list, struct hn_str *out)
{
	size_t n_all = list->n_errors + list->n_warnings;

	for (size_t i = 0; i < list->n; i++) {
		hn_diagnostic_format(&list->items[i], out);
		hn_str_putc(out, '\n');
	}
	if (n_all > list->n)
		hn_str_printf(out, "... and %zu more\n", n_all - list->n);
	if (list->n_errors)
		hn_str_printf(out, "%zu error%s%s", list->n_errors, list->n_errors == 1 ? "" : "s",
			list->n_warnings ? ", " : "\n");
	if (list->n_warnings)
		hn_str_printf(
			out, "%zu warning%s\n", list->n_warnings, list->n_warnings == 1 ? "" : "s");
}

enum hone_status
hn_diagnostics_status(const struct hn_diagnostics *list, struct hone_error *err)
{
	if (list->n_errors == 0)
		return HONE_OK;
	for (size_t i = 0; i < list->n; i++) {
		const struct hn_diagnostic *item = &list->items[i];

		if (item->severity == HN_SEVERITY_ERROR)
			return hone_fail_at(err, HONE_ECONFIG,
				item->place.path ? item->place.path : "", item->place.line,
				item->place.column, "%s", item->text);
	}
	return hone_fail(err, HONE_ECONFIG, "%zu errors", list->n_errors);
}

const char *
hn_clip(struct hn_arena *arena, const char *text, size_t n)
{
	size_t used = 0, step;
	uint32_t code_point;
	struct hn_str clip = {0};
	const char *out;

	for (int chars = 0; used < n && chars < CLIP_CHARS; chars++) {
		step = hn_utf8_decode(text + used, n - used, &code_point);
		if (step == 0 || code_point < 0x20 || code_point == 0x7f)
			hn_str_putc(&clip, '?');
		else
			hn_str_add(&clip, text + used, step);
		used += step ? step : 1;
	}
	hn_str_puts(&clip, used < n ? "..." : "");
	out = hn_arena_strndup(arena, clip.text ? clip.text : "", clip.len);
	hn_str_fini(&clip);
	return out;
}
