/*
 * test_malformed_ini.c - the catalogue of bad configurations, each with what a user is told.
 *
 * One row is one file that people really write (or that somebody sends), through the whole
 * way: load, the host's sections, one plugin's section, unknown and unused ones.  Each row
 * has its error with place and remedy, and the number of errors, so that one mistake never
 * gives two messages.  Two entries of the field's catalogue have no row because hone has no
 * such thing: includes and environment variables; a third test shows that they are inert.
 */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"
#include "config/host_options.h"
#include "config/ini.h"
#include "support.h"

struct lora_values {
	int64_t r;
	double dropout;
};
static const struct hone_option lora_rows[] = {
	{.key = "r",
		.type = HONE_OPTION_I64,
		.offset = offsetof(struct lora_values, r),
		.default_value = "8",
		.min = 1,
		.max = 65536,
		.aliases = "rank|lora_r",
		.help = "rank of A and B"},
	{.key = "lora_dropout",
		.type = HONE_OPTION_F64,
		.flags = HONE_OPTION_OPEN_MAX,
		.offset = offsetof(struct lora_values, dropout),
		.default_value = "0",
		.max = 1,
		.help = "share of the input that is dropped"},
};
static const struct hone_options lora_options = {
	sizeof(struct hone_option), 2, sizeof(struct lora_values), lora_rows};

/* Loads, checks everything, and gives all messages; NULL text = read `path`. */
static char *
messages(const char *path, const char *text, size_t n, size_t *n_errors)
{
	struct hn_config_request request = {.path = path, .text = text, .text_bytes = n};
	struct hn_diagnostics found = {0};
	struct hn_config_check check = {.diagnostics = &found};
	struct hn_config_table tables[8];
	const struct hn_config_table *host_tables = hn_host_tables(&check.n_tables);
	struct hn_host_options host;
	struct lora_values lora;
	struct hone_error err = {0};
	struct hn_str out = {0};

	*n_errors = 1;
	if (hn_config_load(&check.config, &request, &found, &err)) {
		hn_str_printf(&out, "%s: %s", err.place, err.text);
	} else {
		memcpy(tables, host_tables, check.n_tables * sizeof *tables);
		tables[check.n_tables++] = (struct hn_config_table){.name = "lora",
			.options = &lora_options,
			.role = "adapter",
			.has_instances = true};
		check.tables = tables;
		(void)hn_host_options_read(&check, &host);
		(void)hn_config_read(&check, "lora", &lora);
		hn_config_finish(&check);
		hn_diagnostics_format(&found, &out);
		*n_errors = found.n_errors;
	}
	hn_config_destroy(check.config);
	hn_diagnostics_fini(&found);
	return hn_str_take(&out);
}

/* A complete configuration; %s is what the row adds at its end, line 12 on. */
#define COMPLETE                                                                                   \
	"[run]\noutput = o\nadapter = lora\nobjective = sft\n[model]\npath = m\n[data]\n"          \
	"train = t.jsonl\n[train]\nlearning_rate = 1e-4\n[lora]\n"

struct row {
	int number; /* in the catalogue */
	size_t n_errors;
	const char *added;  /* behind COMPLETE */
	const char *wanted; /* part of the messages */
};

static const struct row rows[] = {
	{1, 1, "rnak = 4\n",
		"run.ini:12:1: error: [lora] unknown key 'rnak'; did you mean 'r' (rank)?"},
	{1, 1, "[eval]\neval_stesp = 4\n",
		"run.ini:13:1: error: [eval] unknown key 'eval_stesp'; did you mean 'eval_steps'?"},
	{2, 1, "[evla]\n", "run.ini:12:1: error: unknown section [evla]; did you mean [eval]?"},
	{2, 1, "[wandb]\n",
		"run.ini:12:1: error: unknown section [wandb]; no part of hone and no plugin found "
		"here owns it"},
	{2, 1, "max_steps = 4\n", "run.ini:12:1: error: [lora] max_steps belongs into [train]"},
	{2, 1, "[eval]\nrank = 4\n", "run.ini:13:1: error: [eval] rank belongs into [lora]"},
	{3, 1, "r = 4\nr = 5\n",
		"run.ini:13:1: error: [lora] r is given twice; the first is in line 12"},
	{3, 1, "r = 4\nrank = 5\n",
		"run.ini:13:1: error: [lora] rank says what 'r' in line 12 says; keep one"},
	{4, 1, "[lora]\n",
		"run.ini:12:1: error: [lora] is given twice; the first is in line 11. Join the "
		"two"},
	{6, 1, "r = 4\rlora_dropout = 0\n",
		"run.ini:12:6: error: a carriage return without a newline; save the file with Unix "
		"or Windows line ends"},
	{6, 1, "r = 4\xff\n",
		"run.ini:12:6: error: byte 0xff is not UTF-8; save the file as UTF-8"},
	{6, 1, "r = \xc0\xaf\n", "run.ini:12:5: error: byte 0xc0 is not UTF-8"},
	{6, 1, "r = \xed\xa0\x80\n", "run.ini:12:5: error: byte 0xed is not UTF-8"},
	{6, 1, "; \xc3\n", "run.ini:12:3: error: byte 0xc3 is not UTF-8"},
	{6, 1, "r = \x1b[31m\n",
		"run.ini:12:5: error: a control character (byte 0x1b) cannot stand in a "
		"configuration"},
	{8, 1, "r = 8x\n",
		"run.ini:12:5: error: [lora] r = 8x: must be a whole number; 'x' is left over"},
	{8, 1, "r = 99999999999999999999\n",
		"run.ini:12:5: error: [lora] r = 99999999999999999999: must be at least 1 and at "
		"most 65536"},
	{8, 1, "lora_dropout = 0,05\n",
		"run.ini:12:16: error: [lora] lora_dropout = 0,05: use a decimal point"},
	{8, 1, "lora_dropout = nan\n",
		"run.ini:12:16: error: [lora] lora_dropout = nan: must be a number such as"},
	{8, 1, "lora_dropout = inf\n",
		"run.ini:12:16: error: [lora] lora_dropout = inf: must be a number such as"},
	{8, 1, "lora_dropout = 0x1p-4\n",
		"run.ini:12:16: error: [lora] lora_dropout = 0x1p-4: must be a number such as"},
	{8, 1, "[train.x]\n", "run.ini:12:1: error: [train.x]: [train] has no instances"},
	{9, 1, "lora_dropout = 1.0\n",
		"run.ini:12:16: error: [lora] lora_dropout = 1.0: must be at least 0 and below 1"},
	{9, 1, "r = 0\n",
		"run.ini:12:5: error: [lora] r = 0: must be at least 1 and at most 65536"},
	{9, 1, "r = -1\n",
		"run.ini:12:5: error: [lora] r = -1: must be at least 1 and at most 65536"},
	{9, 1, "r = 8 # rank\n", "('#' starts a comment only at a line's start; ' ;' does here)"},
	{9, 1, "r =\n",
		"run.ini:12:1: error: [lora] r has no value; write one, or delete the line"},
	{10, 1, "[checkpoint]\nload_best_model_at_end = yes\n",
		"run.ini:13:26: error: [checkpoint] load_best_model_at_end = yes: needs [data] "
		"validation or validation_split"},
	{10, 1, "[dora]\n", "unknown section [dora]; did you mean [lora]?"},
	{10, 1, "[lora.second]\nr = 4\n",
		"run.ini:12:1: error: [lora.second] is given, but adapter = lora"},
	{12, 0, "[generate]\n[data.x]\n", NULL},
	{13, 1, "https://h/x\n",
		"run.ini:12:6: error: expected key = value, found 'https://h/x': is the key "
		"missing, or ':' meant as '='?"},
	{13, 1, "r: 4\n",
		"run.ini:12:2: error: expected key = value, found 'r: 4': is the key missing, or "
		"':' meant as '='?"},
	{13, 1, "  r = 4\n", "run.ini:12:3: error: the line is indented"},
	{13, 1, "r = \"4\n", "run.ini:12:7: error: the closing quote is missing"},
	{13, 1, "= 4\n", "run.ini:12:1: error: a key is missing before '='"},
	{13, 1, "a key = 4\n",
		"run.ini:12:2: error: a key is of letters, digits, '_', '-' and '.', this is 'a "
		"key '"},
	{13, 1, "[eval\neval_steps = -4\n", "run.ini:12:6: error: the section's ']' is missing"},
	{16, 0, "rank = 4\n",
		"run.ini:12:1: warning: [lora] 'rank' is called 'r' here and read as that"},
	{16, 1, "[eval]\nevaluation_strategy = epoch\n",
		"run.ini:13:1: error: [eval] evaluation_strategy: write eval_steps"},
};

/* Would catch: a mistake of the catalogue that gives no message, the wrong one, or two. */
static void
test_malformed_ini_each_mistake_has_one_message(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct hn_str text = {0};
		char *found;
		size_t n_errors;

		hn_str_printf(&text, "%s%s", COMPLETE, rows[i].added);
		found = messages("run.ini", text.text, text.len, &n_errors);
		if (rows[i].wanted && !strstr(found, rows[i].wanted))
			fail_msg("entry %d: wanted\n%s\nfound\n%s", rows[i].number, rows[i].wanted,
				found);
		if (rows[i].wanted && n_errors != rows[i].n_errors)
			fail_msg("entry %d: %zu errors\n%s", rows[i].number, n_errors, found);
		free(found);
		hn_str_fini(&text);
	}
}

/* Entry 5.  Would catch: a line cut somewhere, or a limit without its number. */
static void
test_malformed_ini_value_above_the_limit_is_refused(void **state)
{
	struct hn_str text = {0};
	size_t n_errors;
	char *found;

	(void)state;
	hn_str_puts(&text, COMPLETE "[generate]\nx = ");
	for (size_t i = 0; i <= HN_INI_VALUE_MAX; i++)
		hn_str_putc(&text, 'a');
	found = messages("run.ini", text.text, text.len, &n_errors);
	assert_int_equal(n_errors, 1);
	assert_non_null(strstr(found,
		"run.ini:13:5: error: the value is 1048577 bytes long, the "
		"limit is 1048576; put long text into a file"));
	free(found);
	hn_str_fini(&text);
}

/* Entry 6.  Would catch: a UTF-16 file reported line by line, a NUL that ends the file. */
static void
test_malformed_ini_other_encodings_are_named(void **state)
{
	static const char utf16[] = "\xff\xfe[\0r\0u\0n\0]\0\n\0";
	static const char bare[] = "[\0r\0u\0n\0]\0\n\0";
	static const char big[] = "\0[\0r\0u\0n\0]\0\n";
	static const char nul[] = COMPLETE "r = 4\0\nrnak = 5\n";
	size_t n_errors;
	char *found;

	(void)state;
	found = messages("run.ini", utf16, sizeof utf16 - 1, &n_errors);
	assert_non_null(
		strstr(found, "run.ini: error: the file looks like UTF-16; save it as UTF-8"));
	free(found);
	found = messages("run.ini", bare, sizeof bare - 1, &n_errors);
	assert_non_null(strstr(found, "the file looks like UTF-16"));
	free(found);
	found = messages("run.ini", big, sizeof big - 1, &n_errors);
	assert_non_null(strstr(found, "the file looks like UTF-16"));
	free(found);
	found = messages("run.ini", nul, sizeof nul - 1, &n_errors);
	assert_int_equal(n_errors, 2);
	assert_non_null(strstr(found, "run.ini:12:6: error: a control character (byte 0x00)"));
	assert_non_null(strstr(found, "run.ini:13:1: error: [lora] unknown key 'rnak'"));
	free(found);
}

/* Entry 7.  Would catch: inih's success on a folder, or a wait for a pipe's other end. */
static void
test_malformed_ini_what_is_no_file_is_named(void **state)
{
	char *dir = test_folder_make(), *path = hn_path_join(dir, "x.ini"), *found;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t n_errors;
	int fd;

	(void)state;
	found = messages(dir, NULL, 0, &n_errors);
	assert_non_null(strstr(found, ": is a folder; give the INI file inside it"));
	free(found);

	found = messages(path, NULL, 0, &n_errors);
	assert_non_null(strstr(found, strerror(ENOENT)));
	free(found);

	assert_int_equal(mkfifo(path, 0600), 0);
	found = messages(path, NULL, 0, &n_errors);
	assert_non_null(strstr(found, ": is a pipe; a regular file is needed"));
	free(found);
	assert_int_equal(unlink(path), 0);

	if (strlen(path) < sizeof address.sun_path) {
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		(void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
		assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
		found = messages(path, NULL, 0, &n_errors);
		assert_non_null(strstr(found, ": is a socket; a regular file is needed"));
		free(found);
		(void)close(fd);
		assert_int_equal(unlink(path), 0);
	}

	/* what comes by a descriptor has no folder that its paths could start from */
	found = messages("/dev/null", NULL, 0, &n_errors);
	assert_non_null(strstr(found, "/dev/null: is a device; a regular file is needed"));
	free(found);
	found = messages("/dev/stdin", NULL, 0, &n_errors);
	assert_true(strstr(found, "/dev/stdin: is no place for a configuration") ||
		strstr(found, strerror(ENOENT))); /* or it is closed */
	free(found);

	fd = creat(path, 0600);
	found = messages(path, NULL, 0, &n_errors);
	assert_non_null(strstr(found, "x.ini: error: the file is empty"));
	free(found);
	assert_int_equal(ftruncate(fd, HN_INI_FILE_MAX + 1), 0);
	found = messages(path, NULL, 0, &n_errors);
	assert_non_null(
		strstr(found, ": is 16777217 bytes long; a configuration has at most 16777216"));
	free(found);
	(void)close(fd);
	free(path);
	test_folder_remove(dir);
}

/* Entry 8.  Would catch: a number read by the locale's rules. */
static void
test_malformed_ini_numbers_ignore_the_locale(void **state)
{
	static const char *const locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8"};
	static const char text[] = COMPLETE "lora_dropout = 0.25\n";
	size_t n_errors;
	char *found;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		if (setlocale(LC_ALL, locales[i]))
			break;
	found = messages("run.ini", text, sizeof text - 1, &n_errors);
	assert_string_equal(found, "");
	free(found);
	(void)setlocale(LC_ALL, "C");
}

/* Entry 11.  Would catch: one missing key per run. */
static void
test_malformed_ini_missing_keys_come_together(void **state)
{
	static const char text[] = "[run]\nadapter = lora\n";
	size_t n_errors;
	char *found;

	(void)state;
	found = messages("run.ini", text, sizeof text - 1, &n_errors);
	assert_int_equal(n_errors, 5);
	assert_non_null(strstr(found, "run.ini:1:1: error: [run] output is required"));
	assert_non_null(strstr(found, "run.ini:1:1: error: [run] objective is required"));
	assert_non_null(strstr(found, "run.ini: error: [model] path is required"));
	assert_non_null(strstr(found, "run.ini: error: [data] train is required"));
	assert_non_null(strstr(found,
		"run.ini: error: [train] learning_rate is required: peak step "
		"size; usual: full 1e-5 to 5e-5, LoRA 1e-4 to 5e-4"));
	free(found);
}

/* Entry 12.  Would catch: text of a prompt lost to " ;" without a word. */
static void
test_malformed_ini_text_lost_to_a_comment_is_told(void **state)
{
	static const char text[] =
		COMPLETE "[checkpoint]\nmetric_for_best_model = accuracy ; of what\n";
	size_t n_errors;
	char *found;

	(void)state;
	found = messages("run.ini", text, sizeof text - 1, &n_errors);
	assert_int_equal(n_errors, 0);
	assert_non_null(strstr(found,
		"run.ini:13:25: warning: [checkpoint] metric_for_best_model: the text after ' ;' "
		"is "
		"a comment; quote the value to keep it"));
	free(found);
}

/* Entries 14, 15.  Would catch: files opened or variables read that nobody asked for. */
static void
test_malformed_ini_includes_and_variables_are_inert(void **state)
{
	static const char text[] = COMPLETE "include = other.ini\n@include x\n[eval]\n"
					    "metrics = ${HOME}\n";
	size_t n_errors;
	char *found;

	(void)state;
	found = messages("run.ini", text, sizeof text - 1, &n_errors);
	assert_int_equal(n_errors, 2);
	assert_non_null(strstr(found, "run.ini:12:1: error: [lora] unknown key 'include'"));
	assert_non_null(strstr(found, "run.ini:13:1: error: expected key = value"));
	free(found);
}

/* Would catch: a file of nothing but mistakes that takes memory or time without bound. */
static void
test_malformed_ini_many_mistakes_are_bounded(void **state)
{
	static const char *const lines[] = {"x\n", "[a]\n", "k = 1\n", "[\n", "\xff\n", " x\n"};
	size_t n_errors;
	char *found;

	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		struct hn_str text = {0};

		hn_str_puts(&text, "[run]\n");
		while (text.len < 4000000)
			hn_str_puts(&text, lines[i]);
		found = messages("run.ini", text.text, text.len, &n_errors);
		assert_true(n_errors >= 100 && n_errors < 200); /* reading stops */
		assert_true(strlen(found) < 40000);
		assert_non_null(strstr(found, "... and "));
		free(found);
		hn_str_fini(&text);
	}
}

/* Would catch: a limit on keys or sections that is not there, or not told. */
static void
test_malformed_ini_too_many_keys_are_refused(void **state)
{
	struct hn_str text = {0};
	size_t n_errors;
	char *found;

	(void)state;
	hn_str_puts(&text, "[run]\n");
	for (int i = 0; i < 10001; i++)
		hn_str_printf(&text, "k%d = 1\n", i);
	found = messages("run.ini", text.text, text.len, &n_errors);
	assert_non_null(strstr(found, "error: too many keys; this is not a configuration"));
	free(found);
	hn_str_clear(&text);
	for (int i = 0; i < 10001; i++)
		hn_str_printf(&text, "[s%d]\n", i);
	found = messages("run.ini", text.text, text.len, &n_errors);
	assert_non_null(strstr(found, "run.ini:10001:1: error: too many sections; this is not"));
	free(found);
	hn_str_clear(&text);
	hn_str_puts(&text, "[run]\n");
	for (int i = 0; i < 101; i++)
		hn_str_putc(&text, 'k');
	hn_str_puts(&text, " = 1\n");
	found = messages("run.ini", text.text, text.len, &n_errors);
	assert_non_null(
		strstr(found, "run.ini:2:1: error: the key is 101 bytes long, the limit is 100"));
	free(found);
	hn_str_fini(&text);
}

/* Would catch: a crash or a silent success where a file was cut. */
static void
test_malformed_ini_cut_at_every_byte_never_crashes(void **state)
{
	static const char text[] = COMPLETE "r = 16 ; c\nlora_dropout = \"10%\" ; \xc3\xa4\n";
	size_t n_errors;

	(void)state;
	for (size_t n = 0; n < sizeof text; n++) {
		char *copy = malloc(n ? n : 1), *found; /* so that a read beyond is seen */

		memcpy(copy, text, n);
		found = messages("run.ini", copy, n, &n_errors);
		/* Before the learning rate has its value nothing is complete. */
		if (n < strlen(COMPLETE) - strlen("1e-4\n[lora]\n"))
			assert_true(n_errors > 0);
		free(found);
		free(copy);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_malformed_ini_each_mistake_has_one_message),
		cmocka_unit_test(test_malformed_ini_value_above_the_limit_is_refused),
		cmocka_unit_test(test_malformed_ini_other_encodings_are_named),
		cmocka_unit_test(test_malformed_ini_what_is_no_file_is_named),
		cmocka_unit_test(test_malformed_ini_numbers_ignore_the_locale),
		cmocka_unit_test(test_malformed_ini_missing_keys_come_together),
		cmocka_unit_test(test_malformed_ini_text_lost_to_a_comment_is_told),
		cmocka_unit_test(test_malformed_ini_includes_and_variables_are_inert),
		cmocka_unit_test(test_malformed_ini_many_mistakes_are_bounded),
		cmocka_unit_test(test_malformed_ini_too_many_keys_are_refused),
		cmocka_unit_test(test_malformed_ini_cut_at_every_byte_never_crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
