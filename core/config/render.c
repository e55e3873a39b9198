/*
 * render.c - the configuration as it counts, as text; and what differs between two.
 *
 *     r = 16                              ; run.ini:12, over preset qlora.ini:4
 *     lora_dropout = 0                    ; default
 *     ; max_steps                         ; not set
 *
 * A value is printed as it was written, so 2e-4 stays 2e-4; only paths are made absolute,
 * because the text may be read in another folder.  `preset` becomes a comment: what it gave
 * is all there.  Two configurations are compared by canonical texts, so that 2e-4 and
 * 0.0002 are no difference.
 */
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/ini.h"

#define COMMENT_COLUMN 36
#define COMMENT_ABOVE  100 /* a longer "key = value" has its comment in the line above */

/* Text for a comment: a path with a newline must not end it. */
static void
put_clean(struct hn_str *out, const char *text)
{
	size_t n = strlen(text);
	bool is_utf8 = hn_utf8_check(text, n) == n;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		hn_str_putc(out, c < 0x20 || c == 0x7f || (c >= 0x80 && !is_utf8) ? '?' : text[i]);
	}
}

/* "run.ini:14", "preset qlora.ini:3" or "--set". */
static void
put_one_origin(const struct hn_config_value *value, struct hn_str *out)
{
	if (value->layer == HN_LAYER_SET) {
		hn_str_puts(out, "--set");
		return;
	}
	if (value->layer == HN_LAYER_PRESET)
		hn_str_puts(out, "preset ");
	put_clean(out, value->at.path);
	hn_str_printf(out, ":%d", value->at.line);
}

void
hn_config_put_origin(
	const struct hn_config *config, const struct hn_config_value *value, struct hn_str *out)
{
	if (!value) {
		hn_str_puts(out, "default");
		return;
	}
	put_one_origin(value, out);
	/* From the topmost layer down. */
	while (value->before) {
		value = &config->values[value->before - 1];
		hn_str_puts(out, ", over ");
		put_one_origin(value, out);
	}
}

/* The text that stands for an option in a section: as written, a path made absolute. */
static const char *
shown_text(const struct hn_config *config, const struct hone_option *option,
	const struct hn_config_value *value, struct hn_arena *arena)
{
	const char *text = value ? value->text : option->default_value;
	struct hn_option_ground ground = {
		.dir = value ? value->dir : config->dir,
		.arena = arena,
	};
	struct hn_option_value parsed;

	if (text && option->type == HONE_OPTION_PATH &&
		!hn_option_parse(option, text, &ground, &parsed, NULL))
		return parsed.text;
	return text;
}

/* One line, or two where the comment would hang too far to the right. */
static void
print_option(const struct hn_config *config, const char *section, const struct hone_option *option,
	bool with_origin, struct hn_str *out)
{
	const struct hn_config_value *value = hn_config_find(config, section, option);
	bool is_preset = hn_streq(section, "run") && hn_streq(option->key, "preset");
	struct hn_arena arena = {0};
	struct hn_str line = {0}, origin = {0};
	const char *text = shown_text(config, option, value, &arena);

	/* What is not set becomes a comment, so that the page shows every key there is. */
	if (!text) {
		hn_str_printf(&line, "; %s", option->key);
		hn_str_puts(&origin, "not set");
	} else {
		hn_str_printf(&line, "%s%s = ", is_preset ? "; " : "", option->key);
		if (option->type == HONE_OPTION_STRING) /* free text: its end must be seen */
			hn_ini_put_quoted(&line, text);
		else
			hn_ini_put_value(&line, text);
		hn_config_put_origin(config, value, &origin);
	}
	if (with_origin && line.len > COMMENT_ABOVE)
		hn_str_printf(out, "; %s\n%s", origin.text, line.text);
	else if (with_origin)
		hn_str_printf(out, "%-*s ; %s", COMMENT_COLUMN, line.text, origin.text);
	else
		hn_str_puts(out, line.text);
	hn_str_putc(out, '\n');
	hn_str_fini(&line);
	hn_str_fini(&origin);
	hn_arena_fini(&arena);
}

void
hn_config_print(const struct hn_config *config, bool with_origin, struct hn_str *out)
{
	for (size_t i = 0; i < config->n_read; i++) {
		const struct hn_config_section *section = &config->sections[config->read_order[i]];
		const struct hone_options *options = section->table->options;

		hn_str_printf(out, "%s[%s]\n", i ? "\n" : "", section->name);
		for (uint32_t row = 0; options && row < options->n; row++) {
			struct hone_option option = hn_options_at(options, row);

			print_option(config, section->name, &option, with_origin, out);
		}
	}
}

/* The canonical text of an option's value; NULL when absent; the raw text when it does not
 * parse (such a configuration has been refused). */
static const char *
canonical(const struct hn_config *config, const char *section, const struct hone_option *option,
	struct hn_arena *arena)
{
	const struct hn_config_value *value = hn_config_find(config, section, option);
	const char *text = value ? value->text : option->default_value, *out;
	struct hn_option_ground ground = {
		.dir = value ? value->dir : config->dir,
		.arena = arena,
	};
	struct hn_option_value parsed;
	struct hn_str str = {0};

	if (!text || hn_option_parse(option, text, &ground, &parsed, NULL))
		return text;
	hn_option_put(option, &parsed, &str);
	out = hn_arena_strdup(arena, str.text ? str.text : "");
	hn_str_fini(&str);
	return out;
}

/* The section of this name if it was read, else NULL. */
static const struct hn_config_section *
find_read(const struct hn_config *config, const char *name)
{
	const struct hn_config_section *section;

	for (size_t i = 0; i < config->n_read; i++) {
		section = &config->sections[config->read_order[i]];
		if (hn_streq(section->name, name))
			return section;
	}
	return NULL;
}

/* The list being made; copied into the caller's arena at the end. */
struct changes {
	struct hn_config_change *items;
	size_t n, cap;
};

/* Names are copied: the list must not die with one of the configurations. */
static void
add_change(struct changes *changes, struct hn_arena *arena, struct hn_config_change change)
{
	change.section = hn_arena_strdup(arena, change.section);
	if (change.key)
		change.key = hn_arena_strdup(arena, change.key);
	changes->items =
		hn_grow(changes->items, &changes->cap, changes->n + 1, sizeof *changes->items);
	changes->items[changes->n++] = change;
}

/* NULL is absent, and equal to absent only. */
static bool
is_same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* Compares one section that both have read, by the table of `now`. */
static void
diff_section(const struct hn_config *old, const struct hn_config *now,
	const struct hn_config_section *section, struct changes *changes, struct hn_arena *arena)
{
	const struct hone_options *options = section->table->options;

	for (uint32_t i = 0; options && i < options->n; i++) {
		struct hone_option option = hn_options_at(options, i);
		const char *was, *is;

		if (option.flags & HONE_OPTION_RUNTIME)
			continue;
		was = canonical(old, section->name, &option, arena);
		is = canonical(now, section->name, &option, arena);
		if (!is_same(was, is))
			add_change(changes, arena,
				(struct hn_config_change){section->name, option.key, was, is});
	}
}

struct hn_config_change *
hn_config_diff(
	const struct hn_config *old, const struct hn_config *now, struct hn_arena *arena, size_t *n)
{
	struct changes changes = {0};
	struct hn_config_change *out;

	for (size_t i = 0; i < now->n_read; i++) {
		const struct hn_config_section *section = &now->sections[now->read_order[i]];

		if (find_read(old, section->name))
			diff_section(old, now, section, &changes, arena);
		else
			add_change(&changes, arena,
				(struct hn_config_change){section->name, NULL, NULL, "used"});
	}
	/* And what was used and is not any more. */
	for (size_t i = 0; i < old->n_read; i++) {
		const struct hn_config_section *section = &old->sections[old->read_order[i]];

		if (!find_read(now, section->name))
			add_change(&changes, arena,
				(struct hn_config_change){section->name, NULL, "used", NULL});
	}
	*n = changes.n;
	out = changes.n ? hn_arena_copy(arena, changes.items, changes.n * sizeof *out) : NULL;
	free(changes.items);
	return out;
}
