/*
 * test_command_line.c - flags, words and paths: what is documented is taken, and nothing else.
 *
 * Numbers are those of the field's catalogue of bad inputs.  Would catch: a flag that help lists
 * and the parser refuses or the reverse, a flag that a command takes and never reads, a value
 * taken for a flag, a path that drives the terminal it is printed on, a wait for a pipe.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cli.h"
#include "commands/command.h"
#include "support.h"

#define MODEL HONE_TEST_DATA "/golden/models/tiny-llama"

/* Parses "hone COMMAND WORD..." with the word that the command needs, if `has_path`. */
static enum hone_status
parse(const struct hn_command_spec *command, bool has_path, const char *one, const char *two,
	struct hone_error *err)
{
	const char *argv[6] = {"hone", command->name};
	struct hn_args args;
	enum hone_status st;
	int n = 2;

	if (one)
		argv[n++] = one;
	if (two)
		argv[n++] = two;
	if (has_path && command->words[0] && command->words[0] != '[')
		argv[n++] = "x";
	st = hn_args_parse(&args, command, n, (char **)(uintptr_t)argv, err);
	hn_args_fini(&args);
	return st;
}

static bool
has_flag(const struct hn_command_spec *command, const char *name, size_t len)
{
	const struct hn_flag *flag;

	for (size_t i = 0; (flag = hn_command_flag(command, i)); i++)
		if (strlen(flag->name) == len && !strncmp(flag->name, name, len))
			return true;
	return false;
}

static void
test_command_line_every_flag_is_documented_and_taken(void **state)
{
	size_t n;
	const struct hn_command_spec *const *all = hn_commands(&n);

	(void)state;
	for (size_t c = 0; c < n; c++) {
		const struct hn_flag *flag;
		struct hn_str help = {0}, line = {0};
		struct hone_error err = {0};

		hn_command_help(all[c], &help);
		for (size_t i = 0; (flag = hn_command_flag(all[c], i)); i++) {
			hn_str_clear(&line);
			hn_str_printf(&line, "\n  %s%s%s ", flag->name, flag->value ? " " : "",
				flag->value ? flag->value : "");
			if (!strstr(help.text, line.text) || !strstr(help.text, flag->help))
				fail_msg("%s --help lacks %s", all[c]->name, flag->name);
			assert_int_equal(!flag->value, flag->kind == HN_FLAG_BOOL);
			if (parse(all[c], flag->kind != HN_FLAG_MANY, flag->name,
				    flag->value ? "1" : NULL, &err))
				fail_msg("%s %s: %s", all[c]->name, flag->name, err.text);
		}
		for (const char *at = help.text; (at = strstr(at, "--")); at += 2)
			if (!has_flag(all[c], at, strspn(at, "-abcdefghijklmnopqrstuvwxyz")))
				fail_msg("%s --help mentions %.20s", all[c]->name, at);
		hn_str_fini(&help);
		hn_str_fini(&line);
	}
}

static void
test_command_line_flags_of_other_commands_are_refused(void **state)
{
	size_t n;
	const struct hn_command_spec *const *all = hn_commands(&n);

	(void)state;
	for (size_t c = 0; c < n; c++) {
		for (size_t o = 0; o < n; o++) {
			const struct hn_flag *flag;
			struct hone_error err = {0};

			for (size_t i = 0; (flag = hn_command_flag(all[o], i)); i++) {
				if (has_flag(all[c], flag->name, strlen(flag->name)))
					continue;
				assert_int_equal(parse(all[c], true, flag->name,
							 flag->value ? "1" : NULL, &err),
					HONE_EUSAGE);
				assert_non_null(strstr(err.text, flag->name));
			}
		}
	}
}

/* Pages show commands as "    hone train run.ini --fresh": each is taken as it stands there. */
static void
test_command_line_commands_of_the_readme_exist(void **state)
{
	char *text = NULL;
	struct hone_error err = {0};
	size_t n, len, n_found = 0;
	const struct hn_command_spec *const *all = hn_commands(&n);

	(void)state;
	assert_int_equal(
		hn_file_read(HONE_SOURCE_DIR "/README.md", 1 << 20, HONE_EIO, &text, &len, &err),
		HONE_OK);
	for (const char *at = text; (at = strstr(at, "\n    hone ")); at++) {
		const char *name = at + 10, *end = strchr(name, '\n');
		const struct hn_command_spec *command = NULL;

		for (size_t c = 0; c < n; c++)
			if (!strncmp(all[c]->name, name, strlen(all[c]->name)) &&
				name[strlen(all[c]->name)] == ' ')
				command = all[c];
		if (!command && strncmp(name, "plugins", 7) != 0)
			fail_msg("README: no command %.20s", name);
		for (const char *flag = name; command && (flag = strstr(flag, "--")) && flag < end;
			flag += 2)
			if (!has_flag(command, flag, strspn(flag, "-abcdefghijklmnopqrstuvwxyz")))
				fail_msg("README: %s has no %.20s", command->name, flag);
		n_found++;
	}
	assert_true(n_found >= 9);
	free(text);
}

static void
test_command_line_help_is_a_result(void **state)
{
	size_t n;
	const struct hn_command_spec *const *all = hn_commands(&n);
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	for (size_t c = 0; c < n; c++) {
		struct hn_str help = {0};

		hn_command_help(all[c], &help);
		(void)cli_run(&cli, all[c]->name, "--help", NULL);
		cli_expect(&cli, 0, NULL);
		assert_string_equal(cli.out, help.text);
		(void)cli_run(&cli, all[c]->name, "-h", NULL);
		assert_string_equal(cli.out, help.text);
		(void)cli_run(&cli, "--help", NULL);
		cli_expect(&cli, 0, NULL);
		assert_non_null(strstr(cli.out, all[c]->summary));
		hn_str_fini(&help);
	}
	cli_close(&cli);
}

/* 88 */
static void
test_command_line_88_words_that_cannot_be_taken_are_named(void **state)
{
	static const struct {
		const char *words[6];
		const char *says;
	} rows[] = {
		{{"train", "run.ini", "--frehs"}, "'--frehs'; did you mean '--fresh'?"},
		{{"plan", "run.ini", "--row=3"}, "'--row'; did you mean '--rows'?"},
		{{"train", "run.ini", "-x"}, "no flag '-x'"},
		{{"plan", "run.ini", "--rows"}, "--rows needs a value: --rows N"},
		{{"plan", "run.ini", "--rows", "--json"}, "begins with -- is written behind a '='"},
		{{"plan", "run.ini", "--rows", "1", "--rows=2"}, "--rows is given twice"},
		{{"train", "run.ini", "--fresh=yes"}, "--fresh takes no value"},
		{{"train", "run.ini", "again.ini"}, "'again.ini' is one word too many"},
		{{"version", "now"}, "'now' is one word too many"},
		{{"train", ""}, "an empty word"},
		{{"train", "--", "--fresh", "run.ini"}, "'run.ini' is one word too many"},
		{{"trian", "run.ini"}, "did you mean 'train'?"},
		{{""}, "no command ''"},
		{{"inspect", "x", "--set", "a.b=c"}, "no flag '--set'"},
	};
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		cli_start(&cli, rows[i].words);
		(void)cli_wait(&cli);
		cli_expect(&cli, 2, rows[i].says, NULL);
	}
	/* a list may be given again, a switch, too */
	(void)cli_run(&cli, "check", "run.ini", "--quiet", "--quiet", "--set", "lora.r=1", "--set",
		"lora.r=2", NULL);
	cli_expect(&cli, 0, NULL);
	/* behind -- a file may be called like a flag */
	(void)cli_run(&cli, "check", "--", "--fresh", NULL);
	cli_expect(&cli, 3, "--fresh: ", "No such file", NULL);
	cli_close(&cli);
}

/* 88: a megabyte, in every place where a word can stand. */
static void
test_command_line_88_a_megabyte_is_one_short_line(void **state)
{
	enum { N = 1 << 20 };
	static const char *const before[] = {"--", "-", "", "--rows=", "--set"};
	size_t n;
	const struct hn_command_spec *const *all = hn_commands(&n);
	char *word = malloc(N + 16);

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		struct hone_error err = {0};
		char line[2048];

		(void)snprintf(word, 16, "%s", before[i]);
		for (size_t k = strlen(before[i]); k < N; k += 2)
			memcpy(word + k, "\xc3\xa4", 3); /* cut in the middle it is no UTF-8 */
		for (size_t c = 0; c < n; c++) {
			err.text[0] = '\0';
			(void)parse(all[c], true, word, "x", &err);
			hn_error_format(&err, line, sizeof line);
			assert_true(strlen(line) < 400);
			assert_int_equal(hn_utf8_check(line, strlen(line)), strlen(line));
		}
	}
	free(word);
}

/* 88: names of files are bytes: used as they are, and valid UTF-8 where JSON shows them. */
static void
test_command_line_88_names_that_are_no_utf8_work(void **state)
{
	struct cli cli;
	char *ini;

	(void)state;
	cli_open(&cli, NULL);
	ini = cli_read(&cli, "run.ini");
	cli_write(&cli, "caf\xe9.ini", ini);
	free(ini);
	(void)cli_run(&cli, "check", "caf\xe9.ini", NULL);
	cli_expect(&cli, 0, NULL);
	assert_non_null(strstr(cli.out, "caf\xe9.ini")); /* scripts get the name that they gave */
	(void)cli_run(&cli, "check", "caf\xe9.ini", "--json", NULL);
	cli_expect(&cli, 0, NULL);
	json_decref(cli_json(&cli, "hone.check/1"));
	cli_close(&cli);
}

/* Fails unless a text can be shown: no control character but line ends. */
static void
check_shown(const char *what, const char *text)
{
	for (const char *c = text; *c; c++)
		if (((unsigned char)*c < 0x20 && *c != '\n') || *c == 0x7f ||
			!strncmp(c, "\xc2\x9b", 2))
			fail_msg("%s shows byte %02x: %s", what, (unsigned char)*c, c);
}

/* 92: Would catch: ESC, a newline or C1 in a name that reaches the terminal, on either stream. */
static void
test_command_line_92_names_never_drive_the_terminal(void **state)
{
	static const char name[] = "a\x1b[2J\nok: forged\r\xc2\x9b"
				   "31mb";
	static const char shown[] = "a\\x1b[2J\\x0aok: forged\\x0d\\x9b31mb";
	char ini[64], to[64], set[64];
	struct cli cli;
	char *text;

	(void)state;
	cli_open(&cli, NULL);
	text = cli_read(&cli, "run.ini");
	(void)snprintf(ini, sizeof ini, "%s.ini", name);
	(void)snprintf(to, sizeof to, "%s.dir", name);
	(void)snprintf(set, sizeof set, "%s.jsonl", name);
	cli_write(&cli, ini, text);
	free(text);
	text = cli_read(&cli, "train.jsonl");
	cli_write(&cli, set, text);
	cli_write(&cli, name, "no model");
	free(text);

	(void)cli_run(&cli, "check", ini, NULL);
	cli_expect(&cli, 0, NULL);
	check_shown("check", cli.out);
	assert_non_null(strstr(cli.out, shown));
	(void)cli_run(&cli, "export", ini, "--base", "--to", to, NULL);
	cli_expect(&cli, 0, NULL);
	check_shown("export", cli.out);
	assert_non_null(strstr(cli.out, shown));
	(void)cli_run(&cli, "inspect", to, NULL);
	cli_expect(&cli, 0, NULL);
	check_shown("inspect", cli.out);
	(void)cli_run(&cli, "tokenizer", "--train", "train.jsonl", "--vocab-size", "262", "--to",
		to, NULL);
	cli_expect(&cli, 0, NULL);
	check_shown("tokenizer", cli.out);
	(void)cli_run(&cli, "inspect", name, NULL);
	cli_expect(&cli, 5, shown, NULL);
	check_shown("inspect", cli.err);
	(void)cli_run(&cli, "plugins", "--plugin-dir", name, NULL);
	cli_expect(&cli, 2, shown, NULL);
	check_shown("plugins", cli.err);
	(void)cli_run(&cli, name, NULL);
	check_shown("the command", cli.err);
	(void)cli_run(&cli, "train", "run.ini", name, NULL);
	check_shown("a word", cli.err);
	cli_close(&cli);
}

/* 92: the same on a real terminal, where the configuration itself is shown. */
static void
test_command_line_92_shown_configuration_drives_no_terminal(void **state)
{
	const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
	char folder[] = "x\x1b[2Jy", text[65536];
	struct cli cli;
	size_t n = 0;
	ssize_t got;
	pid_t child;
	char *path;

	(void)state;
	if (terminal < 0 || grantpt(terminal) || unlockpt(terminal))
		skip();
	cli_open(&cli, NULL);
	path = hn_path_join(cli.folder, folder);
	assert_int_equal(mkdir(path, 0755), 0);
	child = fork();
	if (!child) {
		const char *words[] = {"hone", "check", "run.ini", "--show-origin", "--set",
			"run.output=out", NULL};
		const int tty = open(ptsname(terminal), O_RDWR | O_NOCTTY);

		if (tty < 0 || chdir(path) || link("../run.ini", "run.ini") || dup2(tty, 1) < 0 ||
			dup2(tty, 2) < 0)
			_exit(126);
		(void)execv(HONE_BINARY_DIR "/bin/hone", (char *const *)(uintptr_t)words);
		_exit(127);
	}
	while (n + 1 < sizeof text && (got = read(terminal, text + n, sizeof text - 1 - n)) > 0) {
		n += (size_t)got;
		text[n] = '\0';
		if (strstr(text, "[lora]") && strstr(text, "init_from"))
			break;
	}
	(void)kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_non_null(strstr(text, "x\\x1b[2Jy/out"));
	assert_null(strchr(text, '\x1b'));
	(void)close(terminal);
	free(path);
	cli_close(&cli);
}

/* 8, 9: generation's numbers, by flag and by key. */
static void
test_command_line_generation_ranges_are_kept(void **state)
{
	static const struct {
		const char *flag, *value;
	} flags[] = {{"--temperature", "1e308"}, {"--temperature", "nan"},
		{"--temperature", "-0.1"}, {"--temperature", "101"}, {"--temperature", "1e-300"},
		{"--temperature", "0x1"}, {"--temperature", ""}, {"--max-new-tokens", "0"},
		{"--max-new-tokens", "-1"}, {"--max-new-tokens", "16777217"},
		{"--max-new-tokens", "1e3"}, {"--max-new-tokens", "99999999999999999999"}};
	static const char *const sets[] = {"temperature=1e308", "temperature=nan", "temperature=-1",
		"temperature=1e-300", "top_p=0", "top_p=1.5", "top_p=-1", "top_p=nan", "min_p=-0.1",
		"min_p=1.1", "top_k=-1", "top_k=1.5", "top_k=16777217", "repetition_penalty=0",
		"repetition_penalty=101", "repetition_penalty=inf", "max_new_tokens=0",
		"max_new_tokens=16777217"};
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
		(void)cli_run(&cli, "generate", "--model", MODEL, "--prompt", "a", flags[i].flag,
			flags[i].value, NULL);
		cli_expect(&cli, 2, flags[i].flag, "must be", NULL);
	}
	for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
		char set[64], key[64];

		(void)snprintf(set, sizeof set, "generate.%s", sets[i]);
		(void)snprintf(key, sizeof key, "%.*s", (int)strcspn(sets[i], "="), sets[i]);
		(void)cli_run(
			&cli, "generate", "--model", MODEL, "--prompt", "a", "--set", set, NULL);
		cli_expect(&cli, 3, "[generate]", key, NULL);
		(void)cli_run(&cli, "check", "run.ini", "--set", set, NULL);
		cli_expect(&cli, 3, "[generate]", key, NULL);
	}
	/* the smallest and largest that are allowed give an answer */
	(void)cli_run(&cli, "generate", "--model", MODEL, "--prompt", "a", "--max-new-tokens", "4",
		"--temperature", "1.2e-38", "--set", "generate.top_p=1e-30", "--set",
		"generate.repetition_penalty=1e-30", NULL);
	cli_expect(&cli, 0, NULL);
	(void)cli_run(&cli, "generate", "--model", MODEL, "--prompt", "a", "--max-new-tokens", "4",
		"--temperature", "100", "--set", "generate.min_p=1", "--set",
		"generate.repetition_penalty=100", NULL);
	cli_expect(&cli, 0, NULL);
	cli_close(&cli);
}

/* Would catch: a warning at every answer that was never near the end, or none at the end. */
static void
test_command_line_room_is_told_only_where_it_cuts(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	(void)cli_run(&cli, "generate", "--model", MODEL, "--raw", "--prompt", "Hello",
		"--max-new-tokens", "16777216", "--set", "run.backend=reference", NULL);
	cli_expect(&cli, 0, NULL);
	assert_non_null(strstr(cli.err, "warning: 1 of 1 answers end where the model's room does"));
	(void)cli_run(&cli, "generate", "--model", MODEL, "--raw", "--prompt", "Hello",
		"--max-new-tokens", "4", "--set", "run.backend=reference", NULL);
	cli_expect(&cli, 0, NULL);
	assert_null(strstr(cli.err, "warning"));
	assert_non_null(strstr(cli.err, "4 tokens in "));
	cli_close(&cli);
}

/* 7: what is no regular file, in every place where one is read. */
static void
test_command_line_7_what_is_no_file_is_named(void **state)
{
	static const char *const names[] = {"pipe", "socket", "folder"};
	static const char *const kinds[] = {"is a pipe; ", "is a socket; ", "is a folder; "};
	static const char *const parts[] = {"config.json", "tokenizer.json", "model.safetensors"};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct cli cli;
	char *path;
	int fd;

	(void)state;
	cli_open(&cli, NULL);
	path = hn_path_join(cli.folder, "pipe");
	assert_int_equal(mkfifo(path, 0600), 0);
	free(path);
	path = hn_path_join(cli.folder, "folder");
	assert_int_equal(mkdir(path, 0700), 0);
	free(path);
	path = hn_path_join(cli.folder, "socket");
	assert_true(strlen(path) < sizeof address.sun_path);
	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
	free(path);

	for (int i = 0; i < 3; i++) {
		char set[64];

		(void)cli_run(&cli, "check", names[i], NULL);
		cli_expect(&cli, 3, kinds[i], NULL);
		(void)snprintf(set, sizeof set, "data.train=%s", names[i]);
		(void)cli_run(&cli, "check", "run.ini", "--set", set, NULL);
		cli_expect(&cli, 4, kinds[i], NULL);
		if (i == 2)
			continue; /* a folder may be a model */
		(void)snprintf(set, sizeof set, "model.path=%s", names[i]);
		(void)cli_run(&cli, "check", "run.ini", "--set", set, NULL);
		cli_expect(&cli, 5, kinds[i], NULL);
		(void)cli_run(&cli, "inspect", names[i], NULL);
		cli_expect(&cli, 5, kinds[i], NULL);
	}
	/* each file of a model's folder in turn is a pipe */
	for (int i = 0; i < 3; i++) {
		char *folder = hn_path_join(cli.folder, parts[i]);

		assert_int_equal(mkdir(folder, 0700), 0);
		for (int k = 0; k < 3; k++) {
			char *from = hn_path_join(MODEL, parts[k]);
			char *to = hn_path_join(folder, parts[k]);

			assert_int_equal(k == i ? mkfifo(to, 0600) : symlink(from, to), 0);
			free(from);
			free(to);
		}
		path = hn_strdup("model.path=");
		path = realloc(path, strlen(folder) + 16);
		(void)strcat(path, folder);
		(void)cli_run(&cli, "check", "run.ini", "--set", path, NULL);
		cli_expect(&cli, 5, parts[i], "is a pipe; ", NULL);
		free(path);
		free(folder);
	}
	(void)cli_run(&cli, "check", "run.ini", "--set", "data.train=/dev/zero", NULL);
	cli_expect(&cli, 4, "/dev/zero: is a device; ", NULL);
	(void)cli_run(&cli, "check", "run.ini", "--set", "model.path=/dev/zero", NULL);
	cli_expect(&cli, 5, "/dev/zero: is a device; ", NULL);
	(void)cli_run(&cli, "check", "/dev/stdin", NULL);
	cli_expect(&cli, 3, "/dev/stdin: is no place for a configuration", NULL);
	(void)close(fd);
	cli_close(&cli);
}

/* Would catch: presets that only the file system knows. */
static void
test_command_line_explain_knows_presets(void **state)
{
	struct cli cli;

	(void)state;
	cli_open(&cli, NULL);
	(void)cli_run(&cli, "explain", "qlora", NULL);
	cli_expect(&cli, 0, NULL);
	assert_non_null(strstr(cli.out, "chosen by [run] preset = qlora"));
	assert_non_null(strstr(cli.out, "\nstorage = nf4\n"));
	(void)cli_run(&cli, "explain", "run.preset", NULL);
	cli_expect(&cli, 0, NULL);
	assert_non_null(strstr(cli.out, "there are: qlora; hone explain NAME"));
	(void)cli_run(&cli, "explain", "lora.target_modules", NULL);
	assert_non_null(strstr(cli.out, "such as q_proj, v_proj"));
	cli_close(&cli);
}

/* Would catch: a plugin that lies nowhere, and nobody is told where it was looked for. */
static void
test_command_line_explain_of_an_absent_plugin_names_the_folders(void **state)
{
	struct cli cli;
	char looked[4096];

	(void)state;
	cli_open(&cli, NULL);
	(void)snprintf(looked, sizeof looked, "looked in %s, ", cli.folder);
	(void)cli_run(&cli, "explain", "outscale", "--plugin-dir", cli.folder, NULL);
	cli_expect(&cli, 2, "nothing is called 'outscale'", looked, "/lib/hone",
		"--plugin-dir DIR adds a folder", NULL);
	(void)cli_run(&cli, "explain", "lora.rnk", NULL);
	cli_expect(&cli, 2, "[lora] has no key 'rnk'; did you mean 'lora.r'?", NULL);
	assert_null(strstr(cli.err, "looked in"));
	cli_close(&cli);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_command_line_explain_knows_presets),
		cmocka_unit_test(test_command_line_explain_of_an_absent_plugin_names_the_folders),
		cmocka_unit_test(test_command_line_every_flag_is_documented_and_taken),
		cmocka_unit_test(test_command_line_flags_of_other_commands_are_refused),
		cmocka_unit_test(test_command_line_commands_of_the_readme_exist),
		cmocka_unit_test(test_command_line_help_is_a_result),
		cmocka_unit_test(test_command_line_88_words_that_cannot_be_taken_are_named),
		cmocka_unit_test(test_command_line_88_a_megabyte_is_one_short_line),
		cmocka_unit_test(test_command_line_88_names_that_are_no_utf8_work),
		cmocka_unit_test(test_command_line_92_names_never_drive_the_terminal),
		cmocka_unit_test(test_command_line_92_shown_configuration_drives_no_terminal),
		cmocka_unit_test(test_command_line_generation_ranges_are_kept),
		cmocka_unit_test(test_command_line_room_is_told_only_where_it_cuts),
		cmocka_unit_test(test_command_line_7_what_is_no_file_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
