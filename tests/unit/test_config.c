/*
 * test_config.c - layers, origins, sections against tables, the resolved text, differences.
 *
 * The tables are small ones of this file, so that a change of the host's keys changes no
 * expectation here.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "config/config.h"
#include "support.h"

struct train_values {
	double rate;
	int64_t steps, batch;
	int32_t kind, flag;
	const char *name, *file;
	struct hone_strings list;
	int64_t limit, log_every;
};
struct lora_values {
	int64_t r;
	double alpha;
};

#define AT(member)      offsetof(struct train_values, member)
#define AT_LORA(member) offsetof(struct lora_values, member)
static const struct hone_option train_rows[] = {
	{.key = "learning_rate",
		.type = HONE_OPTION_F64,
		.flags = HONE_OPTION_REQUIRED | HONE_OPTION_OPEN_MIN,
		.offset = AT(rate),
		.max = 1,
		.aliases = "lr",
		.help = "peak step size"},
	{.key = "max_steps",
		.type = HONE_OPTION_I64,
		.offset = AT(steps),
		.min = 1,
		.max = 1e9,
		.help = "steps"},
	{.key = "batch_size",
		.type = HONE_OPTION_I64,
		.flags = HONE_OPTION_REQUIRED,
		.offset = AT(batch),
		.min = 1,
		.max = 1e9,
		.help = "examples"},
	{.key = "kind",
		.type = HONE_OPTION_CHOICE,
		.offset = AT(kind),
		.default_value = "linear",
		.choices = "linear|cosine",
		.help = "schedule"},
	{.key = "flag",
		.type = HONE_OPTION_BOOL,
		.offset = AT(flag),
		.default_value = "no",
		.help = "a flag"},
	{.key = "name", .type = HONE_OPTION_STRING, .offset = AT(name), .help = "a name"},
	{.key = "file", .type = HONE_OPTION_PATH, .offset = AT(file), .help = "a file"},
	{.key = "list",
		.type = HONE_OPTION_LIST,
		.offset = AT(list),
		.default_value = "a, b",
		.help = "a list"},
	{.key = "limit", .type = HONE_OPTION_BYTES, .offset = AT(limit), .help = "a limit"},
	{.key = "log_every",
		.type = HONE_OPTION_I64,
		.flags = HONE_OPTION_RUNTIME,
		.offset = AT(log_every),
		.default_value = "10",
		.help = "steps"},
};
static const struct hone_option lora_rows[] = {
	{.key = "r",
		.type = HONE_OPTION_I64,
		.offset = AT_LORA(r),
		.default_value = "8",
		.min = 1,
		.max = 4096,
		.aliases = "rank|lora_r",
		.help = "rank of A and B"},
	{.key = "lora_alpha",
		.type = HONE_OPTION_F64,
		.offset = AT_LORA(alpha),
		.default_value = "8",
		.help = "scale times rank"},
};
static const struct hone_option run_rows[] = {
	{.key = "adapter", .type = HONE_OPTION_LIST, .offset = 0, .help = "what is trained"},
	{.key = "preset", .type = HONE_OPTION_STRING, .offset = 16, .help = "a preset"},
};
static const struct hone_options run_options = {sizeof(struct hone_option), 2, 24, run_rows};
static const struct hone_options train_options = {
	sizeof(struct hone_option), 10, sizeof(struct train_values), train_rows};
static const struct hone_options lora_options = {
	sizeof(struct hone_option), 2, sizeof(struct lora_values), lora_rows};
static const struct hn_config_answer answers[] = {{"packing", "always; delete the line", true}};
static const struct hn_config_table tables[] = {
	{.name = "run", .options = &run_options},
	{.name = "train", .options = &train_options, .answers = answers, .n_answers = 1},
	{.name = "lora", .options = &lora_options, .role = "adapter", .has_instances = true},
	{.name = "dora", .options = &lora_options, .role = "adapter", .has_instances = true},
	{.name = "empty", .role = "objective"},
};

struct loaded {
	struct hn_config *config;
	struct hn_diagnostics found;
	struct hn_config_check check;
	struct train_values train;
	struct lora_values lora;
};

static void
load(struct loaded *at, const char *text, const char *const *sets, size_t n_sets,
	const char *preset_dir)
{
	struct hn_config_request request = {.path = "/base/run.ini",
		.text = text,
		.text_bytes = strlen(text),
		.sets = sets,
		.n_sets = n_sets,
		.preset_dir = preset_dir};
	struct hone_error err = {0};

	*at = (struct loaded){0};
	assert_int_equal(hn_config_load(&at->config, &request, &at->found, &err), HONE_OK);
	at->check = (struct hn_config_check){
		.config = at->config, .tables = tables, .n_tables = 5, .diagnostics = &at->found};
}

static void
unload(struct loaded *at)
{
	hn_config_destroy(at->config);
	hn_diagnostics_fini(&at->found);
}

/* Loads, reads [run], [train] and [lora], finishes. */
static void
load_all(struct loaded *at, const char *text, const char *const *sets, size_t n_sets,
	const char *preset_dir)
{
	unsigned char run[24];

	load(at, text, sets, n_sets, preset_dir);
	(void)hn_config_read(&at->check, "run", run);
	(void)hn_config_read(&at->check, "train", &at->train);
	(void)hn_config_read(&at->check, "lora", &at->lora);
	hn_config_finish(&at->check);
}

static void
expect_found(const struct loaded *at, const char *wanted)
{
	struct hn_str out = {0};

	hn_diagnostics_format(&at->found, &out);
	assert_string_equal(out.text ? out.text : "", wanted);
	hn_str_fini(&out);
}

static void
expect_errors(const char *text, const char *wanted)
{
	struct loaded at;

	load_all(&at, text, NULL, 0, NULL);
	expect_found(&at, wanted);
	unload(&at);
}

/* Would catch: a default not written, or a value given that does not arrive. */
static void
test_config_section_without_errors_gives_values(void **state)
{
	struct loaded at;

	(void)state;
	load_all(&at, "[train]\nlearning_rate = 2e-4\nbatch_size = 4\nfile = data/a.txt\n", NULL, 0,
		NULL);
	expect_found(&at, "");
	assert_true(at.train.rate == 2e-4);
	assert_int_equal(at.train.batch, 4);
	assert_int_equal(at.train.steps, 0);
	assert_string_equal(at.train.file, "/base/data/a.txt");
	assert_int_equal(at.train.list.n, 2);
	assert_null(at.train.name);
	assert_int_equal(at.lora.r, 8);
	assert_null(hn_config_section(at.config, "lora"));
	assert_non_null(hn_config_section(at.config, "train"));
	unload(&at);
}

/* Would catch: one error hiding the others, a wrong place, a wrong or missing suggestion. */
static void
test_config_all_errors_come_at_once_with_places(void **state)
{
	(void)state;
	expect_errors(
		"[train]\nlearning_rate = 2e4\nkind = cosin\nbatch_sise = 4\npacking = no\n"
		"[lora]\nrnak = 4\nmax_steps = 3\nlora_aplha = 3\nmax_stepz = 1\nqqqqqqq = 1\n"
		"[dora]\nr = 4\n[trian]\n[train.x]\n",
		"/base/run.ini:1:1: error: [train] batch_size is required: examples\n"
		"/base/run.ini:2:17: error: [train] learning_rate = 2e4: must be above 0 and at "
		"most "
		"1; did you mean 2e-4?\n"
		"/base/run.ini:3:8: error: [train] kind = cosin: must be one of linear, cosine; "
		"did "
		"you mean cosine?\n"
		"/base/run.ini:4:1: error: [train] unknown key 'batch_sise'; did you mean "
		"'batch_size'?\n"
		"/base/run.ini:5:1: error: [train] packing: always; delete the line\n"
		"/base/run.ini:7:1: error: [lora] unknown key 'rnak'; did you mean 'r' (rank)?\n"
		"/base/run.ini:8:1: error: [lora] max_steps belongs into [train]\n"
		"/base/run.ini:9:1: error: [lora] unknown key 'lora_aplha'; did you mean "
		"'lora_alpha'?\n"
		"/base/run.ini:10:1: error: [lora] unknown key 'max_stepz'; did you mean [train] "
		"max_steps?\n"
		"/base/run.ini:11:1: error: [lora] unknown key 'qqqqqqq'\n"
		"/base/run.ini:12:1: error: [dora] is given, but [run] names no adapter\n"
		"/base/run.ini:14:1: error: unknown section [trian]; did you mean [train]?\n"
		"/base/run.ini:15:1: error: [train.x]: [train] has no instances\n"
		"13 errors\n");
}

/* Would catch: a missing required key reported one per run, or without a place. */
static void
test_config_missing_keys_come_together(void **state)
{
	(void)state;
	expect_errors("[lora]\nr = 4\n",
		"/base/run.ini: error: [train] learning_rate is required: peak step size\n"
		"/base/run.ini: error: [train] batch_size is required: examples\n"
		"2 errors\n");
}

/* Would catch: an alias that is read silently, or two words for one key where one wins. */
static void
test_config_aliases_are_read_and_answered(void **state)
{
	struct loaded at;

	(void)state;
	load_all(&at,
		"[train]\nlr = 1e-3\nbatch_size = 1\npacking = yes\n[lora]\nlora_r = 5\nr = 6\n",
		NULL, 0, NULL);
	expect_found(&at,
		"/base/run.ini:2:1: warning: [train] 'lr' is called 'learning_rate' here and read "
		"as "
		"that\n"
		"/base/run.ini:4:1: warning: [train] packing: always; delete the line\n"
		"/base/run.ini:6:1: warning: [lora] 'lora_r' is called 'r' here and read as that\n"
		"/base/run.ini:7:1: error: [lora] r says what 'lora_r' in line 6 says; keep one\n"
		"1 error, 3 warnings\n");
	assert_true(at.train.rate == 1e-3);
	unload(&at);
}

/* Would catch: an empty value taken for zero, and text lost to a comment unsaid. */
static void
test_config_empty_and_commented_values_are_told(void **state)
{
	(void)state;
	expect_errors("[train]\nlr =\nbatch_size = 2 ; two\nname = say ; what\n",
		"/base/run.ini:2:1: warning: [train] 'lr' is called 'learning_rate' here and read "
		"as "
		"that\n"
		"/base/run.ini:2:1: error: [train] lr has no value; write one, or delete the line\n"
		"/base/run.ini:4:8: warning: [train] name: the text after ' ;' is a comment; quote "
		"the value to keep it, or to silence this\n"
		"1 error, 2 warnings\n");
}

/* Would catch: unused sections passed over, and an instance mixed up with its plugin. */
static void
test_config_unused_sections_are_errors(void **state)
{
	struct loaded at;
	struct lora_values second;

	(void)state;
	load_all(&at,
		"[run]\nadapter = lora\n[train]\nlearning_rate = 1\nbatch_size = 1\n[dora]\n"
		"[lora.second]\nr = 3\n[lora.third]\n[empty]\n",
		NULL, 0, NULL);
	expect_found(&at,
		"/base/run.ini:6:1: error: [dora] is given, but adapter = lora\n"
		"/base/run.ini:7:1: error: [lora.second] is given, but adapter = lora\n"
		"/base/run.ini:9:1: error: [lora.third] is given, but adapter = lora\n"
		"/base/run.ini:10:1: error: [empty] is given, but [run] names no objective\n"
		"4 errors\n");
	assert_int_equal(hn_config_read(&at.check, "lora.second", &second), HONE_OK);
	assert_int_equal(second.r, 3);
	hn_config_use(at.config, "lora.third"); /* read elsewhere: no longer reported */
	at.found.n = at.found.n_errors = 0;
	hn_config_finish(&at.check);
	assert_int_equal(at.found.n_errors, 2);
	assert_int_equal(hn_config_read(&at.check, "nobody", NULL), HONE_ENOTFOUND);
	assert_string_equal(hn_config_section(at.config, "lora.second")->instance, "second");
	unload(&at);
}

/* Would catch: --set losing to the file, read as INI text, or refused without a reason. */
static void
test_config_set_wins_over_the_file(void **state)
{
	static const char *const sets[] = {"train.learning_rate=0.5", "lora.r=32", "lora.r=16",
		"train.name= a ; b ", "novalue", "noline=1", ".x=1", "a.b.=1", "lora.rnak=1"};
	struct loaded at;

	(void)state;
	load_all(&at, "[train]\nlr = 1e-3\nbatch_size = 1\n[lora]\nr = 4\n", sets, 9, NULL);
	assert_true(at.train.rate == 0.5);
	assert_int_equal(at.lora.r, 16);
	assert_string_equal(at.train.name, " a ; b ");
#define FORM "error: must read section.key=value, for example train.learning_rate=2e-4\n"
	expect_found(&at,
		"--set novalue: " FORM "--set noline=1: " FORM "--set .x=1: " FORM
		"--set a.b.=1: " FORM "/base/run.ini:2:1: warning: [train] 'lr' is called "
		"'learning_rate' here and read as "
		"that\n"
		"--set lora.rnak=1: error: [lora] unknown key 'rnak'; did you mean 'r' (rank)?\n"
		"5 errors, 1 warning\n");
	unload(&at);
}

/* Would catch: a command line that smuggles in what a file could not hold. */
static void
test_config_set_values_are_checked_like_a_files(void **state)
{
	const char *sets[] = {"train.name=\x1b[31m", "train.name=\xff", NULL};
	struct hn_str big = {0};
	struct loaded at;

	(void)state;
	hn_str_puts(&big, "train.name=");
	for (int i = 0; i < 1048577; i++)
		hn_str_putc(&big, 'x');
	sets[2] = big.text;
	load(&at, "[train]\n", sets, 3, NULL);
	expect_found(&at,
		"--set train.name=?[31m: error: a control character (byte 0x1b) cannot stand in a "
		"value\n"
		"--set train.name=?: error: the value is not UTF-8\n"
		"--set train.name=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...: error: the "
		"value is 1048577 bytes long, the limit is 1048576\n"
		"3 errors\n");
	unload(&at);
	hn_str_fini(&big);
}

/* Would catch: a canonical key in the file that wins over an alias on the command line. */
static void
test_config_set_by_alias_wins_over_the_key(void **state)
{
	static const char *const sets[] = {"train.lr=0.25"};
	struct loaded at;

	(void)state;
	load_all(&at, "[train]\nlearning_rate = 1\nbatch_size = 1\n", sets, 1, NULL);
	assert_int_equal(at.found.n_errors, 0);
	assert_true(at.train.rate == 0.25);
	unload(&at);
}

static void
write_file(const char *dir, const char *name, const char *text)
{
	struct hone_error err = {0};
	char *path = hn_path_join(dir, name);

	assert_int_equal(hn_file_replace(path, text, strlen(text), &err), HONE_OK);
	free(path);
}

/* Would catch: a preset that wins over the file, or whose values have no origin. */
static void
test_config_preset_is_below_the_file(void **state)
{
	char *dir = test_folder_make(), *real = realpath(dir, NULL), wanted[1200];
	static const char *const sets[] = {"lora.lora_alpha=3"},
				 *const by_set[] = {"run.preset=small"};
	struct hn_str out = {0};
	struct loaded at;

	(void)state;
	write_file(dir, "small.ini", "[lora]\nr = 2\nlora_alpha = 4\n[train]\nfile = p.txt\n");
	load_all(&at,
		"[run]\npreset = small\n[train]\nlearning_rate = 1\nbatch_size = 1\n[lora]\n"
		"lora_alpha = 5\n",
		sets, 1, dir);
	expect_found(&at, "");
	assert_int_equal(at.lora.r, 2);
	assert_true(at.lora.alpha == 3);
	(void)snprintf(wanted, sizeof wanted, "%s/p.txt", real);
	assert_string_equal(at.train.file, wanted);
	hn_config_print(at.config, true, &out);
	(void)snprintf(wanted, sizeof wanted, "; preset %s/small.ini:2\n", dir);
	assert_non_null(strstr(out.text, wanted));
	(void)snprintf(wanted, sizeof wanted,
		"; --set, over /base/run.ini:7, over preset %s/small.ini:3\n", dir);
	assert_non_null(strstr(out.text, wanted));
	assert_non_null(strstr(out.text, "; preset = \"small\""));
	assert_non_null(strstr(out.text, "; max_steps                          ; not set\n"));
	(void)snprintf(wanted, sizeof wanted, "\nfile = %s/p.txt", real); /* wherever it is read */
	assert_non_null(strstr(out.text, wanted));
	hn_str_fini(&out);
	unload(&at);
	free(real);
	load_all(&at, "[train]\nlearning_rate = 1\nbatch_size = 1\n", by_set, 1, dir);
	expect_found(&at, "");
	assert_int_equal(at.lora.r, 2);
	unload(&at);
	test_folder_remove(dir);
}

/* Would catch: a preset that is not there taken for an empty one, and presets in a ring. */
static void
test_config_wrong_presets_are_errors(void **state)
{
	char *dir = test_folder_make(), wanted[1200];
	struct loaded at;

	(void)state;
	write_file(dir, "small.ini", "[run]\npreset = small\n");
	load(&at, "[run]\npreset = smal\n", NULL, 0, dir);
	expect_found(&at,
		"/base/run.ini:2:10: error: [run] preset: there is no preset 'smal'; did you mean "
		"'small'?\n1 error\n");
	unload(&at);
	load(&at, "[run]\npreset = elsewhere/other.ini\n", NULL, 0, dir);
	expect_found(&at,
		"/base/run.ini:2:10: error: [run] preset: /base/elsewhere/other.ini: No such file "
		"or "
		"directory\n1 error\n");
	unload(&at);
	load(&at, "[run]\npreset = small\n", NULL, 0, dir);
	(void)snprintf(wanted, sizeof wanted,
		"%s/small.ini:2:1: error: a preset cannot name another preset; copy its keys\n1 "
		"error\n",
		dir);
	expect_found(&at, wanted);
	unload(&at);
	test_folder_remove(dir);
}

/* Would catch: a text that gives other values when it is loaded, whatever the values. */
static void
test_config_print_loads_to_the_same_values(void **state)
{
	static const char *const names[] = {"a", "\"a ; b\"", "\" x \"", "\"\"",
		"\"q\\\"\\\\\\n\\t\"", "\xC3\xA4", "a # b", "=", "[x]", "a;b"};
	static const char *const lists[] = {"x", "x, y", "x\\,y, z", "\"\"", "\"a ; b, c\"", "#"};
	static const char *const paths[] = {"a", "./a/b", "../a", "/a b", "\"a ; b\""};
	static const char *const rates[] = {"1", "2e-4", "10%", "0.1", "1_0e-3", "3e-37"};

	(void)state;
	for (uint64_t i = 0; i < 500; i++) {
		struct hn_str text = {0}, first = {0}, second = {0};
		struct hn_arena arena = {0};
		struct loaded a, b;
		size_t n_changes;

#define DRAW(n) hn_rng_below(7, 1, i, text.len, n)
		hn_str_printf(&text, "[train]\nlr = %s\n", rates[DRAW(6)]);
		hn_str_printf(&text, "batch_size = %d\n", (int)DRAW(1000) + 1);
		hn_str_printf(&text, "name = %s\n", names[DRAW(10)]);
		hn_str_printf(&text, "list = %s\n", lists[DRAW(6)]);
		if (DRAW(2))
			hn_str_printf(&text, "file = %s ; c\n", paths[DRAW(5)]);
		if (DRAW(2))
			hn_str_printf(&text, "flag = %s\n", DRAW(2) ? "True" : "off");
		if (DRAW(2))
			hn_str_printf(&text, "kind = cosine\nlimit = %dK\n", (int)DRAW(99));
		if (DRAW(2))
			hn_str_printf(&text, "[lora]\nrank = %d\n", (int)DRAW(99) + 1);
		load_all(&a, text.text, NULL, 0, NULL);
		assert_int_equal(a.found.n_errors, 0);
		hn_config_print(a.config, i % 2, &first);
		load_all(&b, first.text, NULL, 0, NULL);
		expect_found(&b, "");
		assert_null(hn_config_diff(a.config, b.config, &arena, &n_changes));
		assert_int_equal(n_changes, 0);
		assert_true(a.train.rate == b.train.rate && a.train.limit == b.train.limit);
		assert_string_equal(a.train.name, b.train.name);
		assert_int_equal(a.train.list.n, b.train.list.n);
		assert_int_equal(a.lora.r, b.lora.r);
		if (a.train.file)
			assert_string_equal(a.train.file, b.train.file);
		/* And the text is its own resolution. */
		hn_str_clear(&first);
		hn_config_print(a.config, false, &first);
		hn_config_print(b.config, false, &second);
		assert_string_equal(first.text, second.text);
		hn_arena_fini(&arena);
		hn_str_fini(&text);
		hn_str_fini(&first);
		hn_str_fini(&second);
		unload(&a);
		unload(&b);
	}
}

/* Would catch: a long value cut or its comment read as part of it. */
static void
test_config_print_keeps_long_values(void **state)
{
	struct hn_str text = {0}, out = {0};
	struct loaded a, b;

	(void)state;
	hn_str_puts(&text, "[train]\nlearning_rate = 1\nbatch_size = 1\nname = \"");
	for (int i = 0; i < 100000; i++)
		hn_str_puts(&text, i % 3 ? " ;" : "\\\"");
	hn_str_puts(&text, "\"\n");
	load_all(&a, text.text, NULL, 0, NULL);
	hn_config_print(a.config, true, &out);
	assert_non_null(strstr(out.text, "\n; /base/run.ini:4\nname = \"")); /* to be seen */
	load_all(&b, out.text, NULL, 0, NULL);
	expect_found(&b, "");
	assert_int_equal(strlen(a.train.name), 200000 - 33334);
	assert_string_equal(a.train.name, b.train.name);
	hn_str_fini(&text);
	hn_str_fini(&out);
	unload(&a);
	unload(&b);
}

/* Would catch: 2e-4 and 0.0002 taken for a difference, a RUNTIME key for one that matters,
 * and a changed adapter for none. */
static void
test_config_diff_names_what_matters(void **state)
{
	struct loaded a, b;
	struct hn_arena arena = {0};
	struct hn_config_change *changes;
	unsigned char run[24];
	size_t n;

	(void)state;
	load_all(&a, "[train]\nlr = 2e-4\nbatch_size = 1_0\nlog_every = 5\nfile = a\nname = x\n",
		NULL, 0, NULL);
	load(&b,
		"[train]\nlearning_rate = 0.0002\nbatch_size = 10\nfile = ./a\nlist = "
		"a,b,c\n[dora]\n",
		NULL, 0, NULL);
	(void)hn_config_read(&b.check, "run", run);
	(void)hn_config_read(&b.check, "train", &b.train);
	(void)hn_config_read(&b.check, "dora", &b.lora);
	changes = hn_config_diff(a.config, b.config, &arena, &n);
	assert_int_equal(n, 4);
	assert_string_equal(changes[0].key, "name");
	assert_string_equal(changes[0].was, "x");
	assert_null(changes[0].is);
	assert_string_equal(changes[1].section, "train");
	assert_string_equal(changes[1].key, "list");
	assert_string_equal(changes[1].was, "a, b");
	assert_string_equal(changes[1].is, "a, b, c");
	assert_string_equal(changes[2].section, "dora");
	assert_null(changes[2].key);
	assert_null(changes[2].was);
	assert_string_equal(changes[3].section, "lora");
	assert_null(changes[3].is);
	hn_arena_fini(&arena);
	unload(&a);
	unload(&b);
}

/* Would catch: a section read twice that doubles every message. */
static void
test_config_reading_twice_reports_once(void **state)
{
	struct loaded at;
	struct hone_error err = {0};

	(void)state;
	load_all(&at, "[train]\nlearning_rate = 1\n", NULL, 0, NULL);
	assert_int_equal(hn_config_read(&at.check, "train", NULL), HONE_OK);
	assert_int_equal(at.found.n, 1);
	assert_int_equal(at.config->n_read, 3);
	assert_int_equal(err.status, HONE_OK);
	assert_int_equal(hn_diagnostics_status(&at.found, &err), HONE_ECONFIG);
	assert_string_equal(err.place, "/base/run.ini");
	assert_int_equal(err.line, 1);
	unload(&at);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config_section_without_errors_gives_values),
		cmocka_unit_test(test_config_all_errors_come_at_once_with_places),
		cmocka_unit_test(test_config_missing_keys_come_together),
		cmocka_unit_test(test_config_aliases_are_read_and_answered),
		cmocka_unit_test(test_config_empty_and_commented_values_are_told),
		cmocka_unit_test(test_config_unused_sections_are_errors),
		cmocka_unit_test(test_config_set_wins_over_the_file),
		cmocka_unit_test(test_config_set_values_are_checked_like_a_files),
		cmocka_unit_test(test_config_set_by_alias_wins_over_the_key),
		cmocka_unit_test(test_config_preset_is_below_the_file),
		cmocka_unit_test(test_config_wrong_presets_are_errors),
		cmocka_unit_test(test_config_print_loads_to_the_same_values),
		cmocka_unit_test(test_config_print_keeps_long_values),
		cmocka_unit_test(test_config_diff_names_what_matters),
		cmocka_unit_test(test_config_reading_twice_reports_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
