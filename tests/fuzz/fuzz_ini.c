/*
 * fuzz_ini.c - any bytes as a configuration: no crash, and three things that always hold.
 *
 * 1. Where our reader finds no error in a file that plain inih can hold (short lines, no
 *    quotes), inih by itself gives the same keys with the same texts in the same order.
 * 2. Each value, written back with and without quotes, is read as the same text.
 * 3. Where the host's sections read without error, the resolved text reads without error,
 *    gives no difference, and is its own resolution.
 */
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#include "config/host_options.h"
#include "config/ini.h"

#define INIH_LINE    190 /* below inih's 200, which cuts */
#define INIH_SECTION 49

static void
require(int condition)
{
	if (!condition)
		__builtin_trap();
}

/* Whether plain inih reads this the way we do: what it cuts and what it takes literally. */
static int
is_for_inih(const struct hn_ini *ini, const uint8_t *bytes, size_t n)
{
	size_t line = 0;

	for (size_t i = 0; i < n; i++) {
		line = bytes[i] == '\n' ? 0 : line + 1;
		if (line > INIH_LINE)
			return 0;
	}
	for (size_t i = 0; i < ini->n; i++)
		if (ini->items[i].is_quoted)
			return 0;
	for (size_t i = 0; i < ini->n_sections; i++)
		if (strlen(ini->sections[i].name) > INIH_SECTION)
			return 0;
	return 1;
}

struct position {
	const struct hn_ini *ini;
	size_t i;
};

static int
compare(void *user, const char *section, const char *key, const char *value)
{
	struct position *at = user;
	const struct hn_ini_item *item = &at->ini->items[at->i];

	require(at->i < at->ini->n);
	require(strcmp(item->section, section) == 0);
	require(strcmp(item->key, key) == 0);
	require(strcmp(item->value, value) == 0);
	at->i++;
	return 1;
}

static void
check_against_inih(const struct hn_ini *ini, const uint8_t *bytes, size_t n)
{
	struct position at = {.ini = ini};
	char *text = malloc(n + 1);

	memcpy(text, bytes, n);
	text[n] = '\0';
	require(ini_parse_string(text, compare, &at) == 0);
	require(at.i == ini->n);
	free(text);
}

/* Writes all items again and reads them back. */
static void
check_written(const struct hn_ini *ini, int is_quoted)
{
	struct hn_str text = {0};
	struct hn_ini again = {0};
	struct hn_diagnostics found = {0};

	for (size_t i = 0; i < ini->n; i++) {
		hn_str_printf(&text, "[s%zu]\n%s = ", i, ini->items[i].key);
		if (is_quoted)
			hn_ini_put_quoted(&text, ini->items[i].value);
		else
			hn_ini_put_value(&text, ini->items[i].value);
		hn_str_puts(&text, " ; c\n");
	}
	if (ini->n) {
		hn_ini_parse(&again, "b.ini", text.text, text.len, &found);
		require(found.n == 0 && again.n == ini->n);
	}
	for (size_t i = 0; i < again.n; i++)
		require(strcmp(again.items[i].value, ini->items[i].value) == 0);
	hn_str_fini(&text);
	hn_ini_fini(&again);
	hn_diagnostics_fini(&found);
}

/* Loads and reads the host's sections; the configuration, or NULL when it has errors. */
static struct hn_config *
resolve(const char *text, size_t n, struct hn_host_options *host)
{
	struct hn_config_request request = {.path = "/a/b.ini", .text = text, .text_bytes = n};
	struct hn_diagnostics found = {0};
	struct hn_config_check check = {.diagnostics = &found};
	struct hone_error err = {0};
	struct hn_str out = {0};
	size_t n_errors;

	require(hn_config_load(&check.config, &request, &found, &err) == HONE_OK);
	check.tables = hn_host_tables(&check.n_tables);
	(void)hn_host_options_read(&check, host);
	hn_config_finish(&check);
	hn_diagnostics_format(&found, &out);
	require(out.len == 0 || hn_utf8_check(out.text, out.len) == out.len);
	n_errors = found.n_errors;
	hn_str_fini(&out);
	hn_diagnostics_fini(&found);
	if (n_errors == 0)
		return check.config;
	hn_config_destroy(check.config);
	return NULL;
}

static void
check_resolved(const struct hn_config *config)
{
	struct hn_str first = {0}, second = {0};
	struct hn_arena arena = {0};
	struct hn_host_options host;
	struct hn_config *again;
	size_t n_changes;

	hn_config_print(config, true, &first);
	again = resolve(first.text, first.len, &host);
	require(again != NULL);
	(void)hn_config_diff(config, again, &arena, &n_changes);
	require(n_changes == 0);
	hn_str_clear(&first);
	hn_config_print(config, false, &first);
	hn_config_print(again, false, &second);
	/* But for the preset, which the resolved text only mentions. */
	if (!hn_config_get(config, "run", "preset"))
		require(strcmp(first.text, second.text) == 0);
	hn_config_destroy(again);
	hn_arena_fini(&arena);
	hn_str_fini(&first);
	hn_str_fini(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct hn_ini ini = {0};
	struct hn_diagnostics found = {0};
	struct hn_host_options host;
	struct hn_config *config;

	hn_ini_parse(&ini, "a.ini", (const char *)bytes, n, &found);
	if (found.n == 0 && is_for_inih(&ini, bytes, n))
		check_against_inih(&ini, bytes, n);
	check_written(&ini, 0);
	check_written(&ini, 1);
	config = resolve((const char *)bytes, n, &host);
	if (config)
		check_resolved(config);
	hn_config_destroy(config);
	hn_ini_fini(&ini);
	hn_diagnostics_fini(&found);
	return 0;
}
